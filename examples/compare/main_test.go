package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/experiment"
	"github.com/harpe-ml/harpe/rules/events"
)

const small = `
name: small
data: {name: iris, validation: 0.2, normalize: feature}
model: {mlp: {hidden: [6]}}
rules: [backprop, mono-forward, {forward-gradient: {as: directions, tangents: 2}}]
epochs: 12
batch: 8
seeds: 2
patience: 5
best: true
every: 3
keep: 2
histograms: true
`

// file writes an experiment.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.yaml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// read is all that a comparison leaves but the times: the tables and the event logs.
func read(t *testing.T, out string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"small.csv", "small-curves.csv"} {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			all[name] += strings.Join(r[:len(r)-1], ",") + "\n"
		}
	}
	logs, err := filepath.Glob(filepath.Join(out, "runs", "*", "*", events.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for len(b) > 0 { // a record is a length, a sum, an event that begins with its time in 9 bytes, and a sum
			n := binary.LittleEndian.Uint64(b)
			fmt.Fprintf(&text, "%x\n", b[12+9:12+n])
			b = b[16+n:]
		}
		name, _ := filepath.Rel(out, path)
		all[name] = text.String()
	}
	return all
}

func sameResults(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if len(want) != 2+6 {
		t.Fatalf("want two tables and six logs, got %d files", len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s is not the same: %d and %d bytes", what, name, len(got[name]), len(want[name]))
		}
	}
}

// The results are the same whatever runs side by side, and however often Ctrl-C stops them.
func TestSameResults(t *testing.T) {
	path, want, parallel, stopped := file(t, small), t.TempDir(), t.TempDir(), t.TempDir()
	if err := run(t.Context(), []string{path, "-out", want, "-jobs", "1"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{path, "-jobs=5", "-out", parallel}, io.Discard); err != nil {
		t.Fatal(err)
	}
	sameResults(t, "five at a time", read(t, parallel), read(t, want))
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(60+20*n)*time.Millisecond)
		var text strings.Builder
		err := run(&interrupted{ctx}, []string{path, "-out", stopped, "-resume", "-seeds", "2"}, &text)
		cancel()
		if err == nil {
			t.Logf("stopped %d times", n)
			break
		}
		if !errors.Is(err, context.Canceled) || !strings.Contains(text.String(), path+" -out "+stopped+" -seeds 2 -resume") {
			t.Fatalf("%v: %s", err, text.String())
		}
	}
	sameResults(t, "stopped", read(t, stopped), read(t, want))
	for _, name := range []string{"small.html", "small.ipynb", "small.yaml", "runs/backprop/seed-1/checkpoint.safetensors", "runs/directions/seed-2/checkpoint-best.safetensors"} {
		if _, err := os.Stat(filepath.Join(stopped, name)); err != nil {
			t.Error(err)
		}
	}
}

// interrupted is a context that ends as if by Ctrl-C.
type interrupted struct{ context.Context }

func (c *interrupted) Err() error {
	if c.Context.Err() != nil {
		return context.Canceled
	}
	return nil
}

const childEnv = "HARPE_TEST_COMPARE"

// TestChild is the process that TestKilled kills.
func TestChild(t *testing.T) {
	if args := os.Getenv(childEnv); args != "" {
		if err := run(t.Context(), strings.Split(args, "\n"), os.Stdout); err != nil {
			t.Fatal(err)
		}
	}
}

// A comparison that is killed at any moments ends with the results of one that was not.
func TestKilled(t *testing.T) {
	path, want, out := file(t, small), t.TempDir(), t.TempDir()
	if err := run(t.Context(), []string{path, "-out", want}, io.Discard); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	kills := 0
	for range 6 {
		child := exec.Command(os.Args[0], "-test.run=^TestChild$")
		child.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{path, "-out", out, "-resume"}, "\n"))
		text, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		bufio.NewReader(text).ReadString('\n')
		go io.Copy(io.Discard, text)
		time.Sleep(time.Duration(20+r.IntN(60)) * time.Millisecond)
		child.Process.Kill()
		if child.Wait() != nil {
			kills++
		}
	}
	if kills == 0 {
		t.Error("every child ended before it was killed")
	}
	if err := run(t.Context(), []string{path, "-out", out, "-resume"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	sameResults(t, fmt.Sprintf("%d kills", kills), read(t, out), read(t, want))
}

// Runs of a folder are neither overwritten nor mixed with others by mistake.
func TestFolderIsGuarded(t *testing.T) {
	path, out := file(t, small), t.TempDir()
	args := func(more ...string) []string {
		return append([]string{path, "-out", out, "-rules", "backprop", "-seeds", "1"}, more...)
	}
	for _, c := range []struct {
		args []string
		want []string // of the error
	}{
		{args(), nil},
		{args(), []string{out, "-resume", "-restart"}},
		{args("-resume", "-epochs", "7"), []string{"another experiment", "backprop"}},
		{args("-resume"), nil},
		{args("-restart", "-epochs", "7"), nil},
		{args("-resume", "-restart"), []string{"one of them"}},
		{args("-jobs", "0"), []string{"-jobs"}},
		{args("-set", "epochs"), []string{"key=value"}},
		{args("-set", "optimiser=sgd"), []string{`"optimizer"`}},
		{args("another.yaml"), []string{"one file"}},
	} {
		err := run(t.Context(), c.args, io.Discard)
		if (err == nil) != (c.want == nil) {
			t.Fatalf("%v: %v", c.args, err)
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v: want %q in %v", c.args, w, err)
			}
		}
	}
}

// A run that fails is named and does not stop the others.
func TestFailedRun(t *testing.T) {
	out := t.TempDir()
	text := strings.Replace(small, "[backprop, mono-forward,", "[{backprop: {as: wild, optimizer: {sgd: {lr: 1e300}}}}, mono-forward,", 1)
	err := run(t.Context(), []string{file(t, text), "-out", out}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "2 of 6 runs failed") || !strings.Contains(err.Error(), "wild, seed 1") {
		t.Fatal(err)
	}
	got := read(t, out)["small.csv"]
	if strings.Count(got, "mono-forward,") != 2 || strings.Count(got, "directions,") != 2 || strings.Contains(got, "wild") {
		t.Errorf("the table is %s", got)
	}
}

// The page of the standard experiment and the example file: both files are right, and say how to change them.
func TestFiles(t *testing.T) {
	if _, err := experiment.Parse("default.yaml", standard); err != nil {
		t.Error(err)
	}
	e, err := experiment.Read("cnn.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for rule := range e.Rules {
		if _, err := e.Run(rule, 1); err != nil {
			t.Errorf("%+v", err)
		}
	}
}

// As many runs at a time as there is memory for, and always one.
func TestMemory(t *testing.T) {
	e, err := experiment.Parse("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	build := func() (*experiment.Run, error) { return e.Run(0, 1) }
	m := newMemory()
	_, leave, err := m.enter(build)
	if err != nil {
		t.Fatal(err)
	}
	size := m.used
	leave()
	for room, want := range map[int]int{0: 1, size: 1, 2*size + 1: 2, 3 * size: 3} {
		m.limit = room
		entered, hold := make(chan bool, 6), make(chan bool)
		var group sync.WaitGroup
		for range 6 {
			group.Add(1)
			go func() {
				defer group.Done()
				_, leave, err := m.enter(build)
				if err != nil {
					t.Error(err)
					return
				}
				entered <- true
				<-hold
				leave()
			}()
		}
		got := 0
		for patience := time.Minute; got < 6; got++ {
			if got == want { // another one would be too many
				patience = 50 * time.Millisecond
			}
			select {
			case <-entered:
				continue
			case <-time.After(patience):
			}
			break
		}
		close(hold)
		group.Wait()
		if got != want {
			t.Errorf("room for %d bytes, runs of %d: want %d at a time, got %d", room, size, want, got)
		}
	}
}
