package rules

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Which epoch is the best, and when patience ends, worked out by hand.
func TestBestEpoch(t *testing.T) {
	d := toy(32)
	accuracies := func(list ...float64) (r []Record) {
		for _, a := range list {
			r = append(r, Record{Accuracy: a, Loss: 1 - a})
		}
		return r
	}
	for _, c := range []struct {
		records []Record
		config  Config
		best    int
		stale   bool
	}{
		{nil, Config{Patience: 1, Validation: d}, -1, false},
		{accuracies(.1, .3, .2), Config{Patience: 1, Validation: d}, 1, true},
		{accuracies(.1, .3, .2), Config{Patience: 2, Validation: d}, 1, false},
		{accuracies(.1, .3, .3, .3), Config{Patience: 2, Validation: d}, 1, true},
		{accuracies(.1, .3, .34, .38), Config{Patience: 2, MinDelta: .05, Validation: d}, 3, false},
		{accuracies(.1, .3, .34, .35), Config{Patience: 2, MinDelta: .06, Validation: d}, 1, true},
		{accuracies(.5, .4, .3), Config{Validation: d}, 0, false},
		{[]Record{{Loss: 3}, {Loss: 1}, {Loss: 2}}, Config{Patience: 1}, 1, true},
		{[]Record{{Accuracy: 1, Loss: 3}, {Loss: 1}}, Config{Patience: 1}, 1, false},
	} {
		f := &fit{Config: c.config, t: newTrainer(t, Backprop{}, d), history: &History{Records: c.records}}
		if best, stale := f.bestEpoch(), f.stale(); best != c.best || stale != c.stale {
			t.Errorf("%+v: want best %d and stale %v, got %d and %v", c.records, c.best, c.stale, best, stale)
		}
	}
	p := plane{32}
	tr, err := Backprop{}.Trainer(layers.Dense{Units: 2}, objectives.MSE, SpecOf(p, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	f := &fit{Config: Config{Validation: p}, t: tr, history: &History{Records: []Record{{Error: 3}, {Error: 1}, {Error: 2}}}}
	if best := f.bestEpoch(); best != 1 {
		t.Errorf("regression: want the record of the lowest error, got %d", best)
	}
}

// A run stops when its patience ends, with the parameters of its best epoch, also when it is interrupted and resumed;
// its files hold what they should; and resuming what has ended changes nothing.
func TestPatienceAndBest(t *testing.T) {
	d := toy(90)
	config := func(path string) Config {
		c := Config{Epochs: 60, Validation: d, Patience: 3, Best: true}
		if path != "" {
			c.Checkpoint, c.Resume, c.Every, c.Keep = path, true, 2, 2
		}
		return c
	}
	rule := Backprop{Optimizer: optim.SGD{LR: 1.5, Momentum: 0.9}} // unsteady
	seen := map[int]*graph.Params{}
	plain := newTrainer(t, rule, d)
	c := config("")
	c.OnEpoch = func(r Record) error { seen[r.Epoch] = plain.Params().Clone(); return nil }
	want, err := Fit(t.Context(), plain, d, c)
	if err != nil {
		t.Fatal(err)
	}
	best, last := 0, want.Last().Epoch
	for i, r := range want.Records {
		if r.Accuracy > want.Records[best].Accuracy {
			best = i
		}
	}
	if last == 60 || last != best+1+3 {
		t.Fatalf("stopped after epoch %d, best %d: want three epochs more than the best, before the end", last, best+1)
	}
	sameBits(t, "the best epoch in memory", seen[best+1], plain.Params())

	for _, stop := range []int{0, 1, 5*best + 2, 5*best + 5, 5*best + 6} {
		path := filepath.Join(t.TempDir(), "run.safetensors")
		ctx, cancel := context.WithCancel(t.Context())
		c := config(path)
		c.OnStep = func(p Progress) error {
			if p.Step == stop {
				cancel()
			}
			return nil
		}
		if _, err := Fit(ctx, newTrainer(t, rule, d), d, c); stop > 0 && !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at step %d: %v", stop, err)
		}
		for again := range 2 {
			tr := newTrainer(t, rule, d)
			got, err := Fit(t.Context(), tr, d, config(path))
			if err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("stopped at step %d, resumed %d times", stop, again+1)
			if got.Last().Epoch != last {
				t.Fatalf("%s: want %d epochs, got %d", what, last, got.Last().Epoch)
			}
			sameBits(t, what+": the best epoch", seen[best+1], tr.Params())
		}
		stored := newTrainer(t, rule, d)
		beside := strings.TrimSuffix(path, ".safetensors")
		if err := stored.Params().Load(beside + "-best.safetensors"); err != nil {
			t.Fatal(err)
		}
		sameBits(t, "the file of the best epoch", seen[best+1], stored.Params())
		for _, epoch := range []int{last - 1, last} {
			if _, err := stored.Load(fmt.Sprintf("%s-epoch%d.safetensors", beside, epoch)); err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("the copy of epoch %d", epoch), seen[epoch], stored.Params())
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 4 {
			t.Errorf("want the checkpoint, the best and two copies, got %v", entries)
		}
	}
}

// With every rule and every optimiser, and with every schedule: a run that is stopped in the middle of an epoch and
// resumed ends with the bits of one that was not.
func TestResumeEveryRuleAndOptimizer(t *testing.T) {
	d := toy(40) // two batches of 16
	check := func(what string, r Rule) {
		t.Helper()
		run := func(c Config) Trainer {
			c.Epochs = 2
			tr := newTrainer(t, r, d)
			if _, err := Fit(t.Context(), tr, d, c); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			return tr
		}
		path := filepath.Join(t.TempDir(), "run.safetensors")
		left := path + ".left" // what the run would leave if it were killed in its last step
		whole := run(Config{Checkpoint: path, Every: 1, OnStep: func(p Progress) error {
			if p.Step < 4 {
				return nil
			}
			return os.Rename(path, left)
		}})
		resumed := run(Config{Checkpoint: left, Resume: true})
		if resumed.Steps() != 4 || whole.Steps() != 4 {
			t.Fatalf("%s: want 4 steps, got %d and %d", what, resumed.Steps(), whole.Steps())
		}
		sameBits(t, what, whole.Params(), resumed.Params())
	}
	optimizers := optim.Names()
	if testing.Short() {
		optimizers = optimizers[:2]
	}
	for _, name := range Names() {
		for _, optimizer := range optimizers {
			r, err := ByName(name)
			if err != nil {
				t.Fatal(err)
			}
			o, err := optim.ByName(optimizer, 1e-3)
			if err != nil {
				t.Fatal(err)
			}
			if v := reflect.New(reflect.TypeOf(r)).Elem(); v.FieldByName("Optimizer").IsValid() {
				v.Set(reflect.ValueOf(r))
				v.FieldByName("Optimizer").Set(reflect.ValueOf(o))
				r = v.Interface().(Rule)
			} else if optimizer != optimizers[0] {
				continue
			}
			check(name+" with "+optimizer, r)
		}
	}
	for _, s := range []optim.Schedule{optim.Constant{}, optim.StepDecay{Every: 1}, optim.Exponential{Factor: 0.5}, optim.Cosine{Steps: 4},
		optim.WarmRestarts{Steps: 2}, optim.OneCycle{Steps: 4}, optim.Warmup{Steps: 3}} {
		check(fmt.Sprintf("%T", s), Backprop{Options: optim.Options{Schedule: s}})
	}
}

// The bar's text; on a file that is no terminal nothing is written.
func TestBar(t *testing.T) {
	p := Progress{Rule: "backprop", Epoch: 3, Epochs: 4, Step: 250, Steps: 400, Loss: 0.5}
	want := "backprop ━━━━━━━━━━━━┄┄┄┄┄┄┄┄ epoch 3 of 4 · 50 steps/s · 3s left · loss 0.5"
	if got := p.line(100, 2*time.Second); got != want {
		t.Errorf("want %q, got %q", want, got)
	}
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := toy(32)
	if _, err := Fit(t.Context(), newTrainer(t, Backprop{}, d), d, Config{Bar: f}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || len(text) > 0 {
		t.Errorf("want an empty file, got %q, %v", text, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	d := toy(32)
	for name, c := range map[string]Config{
		"Patience": {Patience: -1}, "MinDelta": {MinDelta: -1}, "Every": {Every: -1}, "Keep": {Keep: -1}, "Checkpoint": {Keep: 1},
	} {
		_, err := Fit(t.Context(), newTrainer(t, Backprop{}, d), d, c)
		wantError(t, err, "fit", name)
	}
}
