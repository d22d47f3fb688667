package rules

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

const killEnv = "HARPE_TEST_CHECKPOINT"

// killedRun is what child and parent train: forward-forward has the most state.
func killedRun(t *testing.T, c Config) *graph.Params {
	d := toy(90)
	tr := newTrainer(t, ForwardForward{}, d)
	c.Epochs = 40
	if _, err := Fit(t.Context(), tr, d, c); err != nil {
		t.Fatal(err)
	}
	return tr.Params()
}

// TestKilledChild is the process that TestResumeAfterKill kills; without it there is nothing to test.
func TestKilledChild(t *testing.T) {
	path := os.Getenv(killEnv)
	if path == "" {
		return
	}
	killedRun(t, Config{Checkpoint: path, OnEpoch: func(r Record) error {
		_, err := fmt.Println("epoch", r.Epoch)
		return err
	}})
}

// A process that is killed while it trains, at any moment, leaves a checkpoint from which the run ends with the same
// bits as one that was not interrupted.
func TestResumeAfterKill(t *testing.T) {
	want := killedRun(t, Config{})
	for _, after := range []int{2, 7, 19} {
		path := filepath.Join(t.TempDir(), "run.safetensors")
		child := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
		child.Env = append(os.Environ(), killEnv+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < after && lines.Scan(); n++ {
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended before it was killed")
		}
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("killed after epoch %d: %v", after, err)
		}
		got := killedRun(t, Config{Checkpoint: path, Resume: true})
		sameBits(t, fmt.Sprintf("killed after epoch %d", after), want, got)
	}
}
