package rules

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"
)

const (
	killEnv  = "HARPE_TEST_CHECKPOINT" // tells a child what to write
	killsEnv = "HARPE_TEST_KILLS"      // how many kills at random moments; without it 30
)

// killedRun is what child and parent train: forward-forward has the most state. Every step writes a checkpoint, every
// epoch two or three.
func killedRun(t *testing.T, ctx context.Context, c Config) Trainer {
	d := toy(90)
	tr := newTrainer(t, ForwardForward{}, d)
	c.Epochs, c.Validation, c.Best = 1_000_000, d, true
	if c.Checkpoint != "" {
		c.Every, c.Keep, c.Resume = 1, 2, true
	}
	if _, err := Fit(ctx, tr, d, c); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return tr
}

// TestKilledChild is the process that the other tests kill; without one of them there is nothing to test.
func TestKilledChild(t *testing.T) {
	path := os.Getenv(killEnv)
	if path == "" {
		return
	}
	killedRun(t, t.Context(), Config{Checkpoint: path, OnStep: func(p Progress) error {
		_, err := fmt.Println("step", p.Step)
		return err
	}})
}

// A process that is killed at any moment leaves no checkpoint, best parameters or numbered copy that cannot be read,
// and the run that goes on from them, however often it is killed, has the bits of one that was not.
func TestKillsDuringCheckpoints(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 5
	}
	if text := os.Getenv(killsEnv); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "run.safetensors")
	random := rand.New(rand.NewPCG(1, 2))
	files, unfinished := 0, 0
	for range kills {
		killChild(t, path, time.Duration(random.IntN(30_000))*time.Microsecond)
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".tmp") {
				unfinished++
				continue
			}
			tr := newTrainer(t, ForwardForward{}, toy(90))
			file := filepath.Join(folder, e.Name())
			if strings.Contains(e.Name(), "-best") {
				err = tr.Params().Load(file)
			} else {
				_, err = tr.Load(file)
			}
			if err != nil {
				t.Errorf("unreadable: %v", err)
			}
			files++
		}
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
	}
	killed := newTrainer(t, ForwardForward{}, toy(90))
	if _, err := killed.Load(path); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	whole := killedRun(t, ctx, Config{OnStep: func(p Progress) error {
		if p.Step == killed.Steps() {
			cancel()
		}
		return nil
	}})
	sameBits(t, fmt.Sprintf("after %d kills and %d steps", kills, killed.Steps()), whole.Params(), killed.Params())
	t.Logf("%d kills, %d steps, %d files read, %d files were unfinished", kills, killed.Steps(), files, unfinished)
}

// killChild starts a process that goes on with the run and kills it some time after its first step.
func killChild(t *testing.T, path string, after time.Duration) {
	t.Helper()
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
	for range 2 { // after the second step there is a first checkpoint
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "step") {
			t.Fatalf("the child says %q", lines.Text())
		}
	}
	time.Sleep(after)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the child ended before it was killed")
	}
}

// A killed run that is resumed leaves none of its unfinished files behind, and touches nobody else's.
func TestResumeSweeps(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "run.safetensors")
	var ours, others []string
	for _, mark := range []string{"", "-best", "-epoch17"} {
		ours = append(ours, "run"+mark+".safetensors.0123456789abcdef.tmp")
	}
	others = append(others, "run2.safetensors.0123456789abcdef.tmp", "run.safetensors.tmp", "run-epoch17.safetensors", "notes.tmp")
	for _, name := range append(ours, others...) {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	d := toy(32)
	if _, err := Fit(t.Context(), newTrainer(t, Backprop{}, d), d, Config{Checkpoint: path, Resume: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range ours {
		if _, err := os.Stat(filepath.Join(folder, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
}
