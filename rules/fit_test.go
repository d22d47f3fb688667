package rules

import (
	"context"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// everyRule is each rule with the options that have code of their own.
var everyRule = map[string]Rule{
	"backprop":           Backprop{},
	"backprop clipped":   Backprop{Optimizer: optim.SGD{LR: 0.1, Momentum: 0.9}, Options: optim.Options{Schedule: optim.Cosine{Steps: 30}, Clip: optim.Clip{Norm: 1}}},
	"mono-forward":       MonoForward{},
	"mono sequential":    MonoForward{Order: Sequential, Readout: SumLayers},
	"forward-forward":    ForwardForward{},
	"ff overwriting":     ForwardForward{Label: OverwriteLabel, Temperature: 2},
	"ff energy":          ForwardForward{Readout: Energy, Negatives: WrongLabel},
	"forward-gradient":   ForwardGradient{},
	"forward rademacher": ForwardGradient{Perturbation: Rademacher, Tangents: 3},
	"forward sparse":     ForwardGradient{Perturbation: Sparse},
	"forward orthogonal": ForwardGradient{Perturbation: Orthogonal, Tangents: 3},
	"forward rank one":   ForwardGradient{Perturbation: RankOne},
	"forward rank ones":  ForwardGradient{Perturbation: RankOne, Tangents: 2, Optimizer: optim.Adam{}},
	"guess activation":   ForwardGuess{},
	"guess weight":       ForwardGuess{Guess: NTKGuess, Target: LocalTarget, Space: WeightSpace, PerBatch: true},
	"guess random":       ForwardGuess{Guess: GaussianGuess, PerBatch: true},
	"likelihood ratio":   LikelihoodRatio{Draws: 2, LearnSigma: true, Sampler: SobolPoints},
	"likelihood joint":   LikelihoodRatio{Joint: true, OneSided: true, Baseline: true},
}

// withNoise has dropout and batch normalisation, so randomness and running state count.
func withNoise() layers.Layer {
	return layers.Sequential{
		layers.Dense{Units: 8}, layers.BatchNorm{}, layers.ReLU{},
		layers.Dense{Units: 8, Activation: layers.ReLU{}}, layers.Dropout{P: 0.2},
		layers.Dense{Units: 3},
	}
}

func newTrainer(t *testing.T, r Rule, d Data) Trainer {
	t.Helper()
	tr, err := r.Trainer(withNoise(), objectives.CrossEntropy, SpecOf(d, 16, 9))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return tr
}

func sameBits(t *testing.T, what string, a, b *graph.Params) {
	t.Helper()
	if a.Len() != b.Len() {
		t.Fatalf("%s: %d and %d parameters", what, a.Len(), b.Len())
	}
	for p := range a.All() {
		q := b.Get(p.Name)
		for i := range p.Value.Size() {
			if math.Float64bits(p.Value.At(i)) != math.Float64bits(q.Value.At(i)) {
				t.Fatalf("%s: %s[%d]: %v and %v", what, p.Name, i, p.Value.At(i), q.Value.At(i))
			}
		}
	}
}

func TestSameSeedSameBits(t *testing.T) {
	d := toy(90)
	for name, r := range everyRule {
		var runs []*graph.Params
		for _, procs := range []int{1, 2, 2} {
			old := runtime.GOMAXPROCS(procs)
			tr := newTrainer(t, r, d)
			_, err := Fit(t.Context(), tr, d, Config{Epochs: 3})
			runtime.GOMAXPROCS(old)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			runs = append(runs, tr.Params())
		}
		sameBits(t, name+" at GOMAXPROCS 1 and 2", runs[0], runs[1])
		sameBits(t, name+" twice", runs[1], runs[2])
	}
}

// A run that is cancelled at any step and resumed in a new trainer ends with the same bits and the same history.
func TestResume(t *testing.T) {
	d := toy(90) // five batches of 16
	for name, r := range everyRule {
		whole := newTrainer(t, r, d)
		want, err := Fit(t.Context(), whole, d, Config{Epochs: 4, Validation: d})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, stop := range []int{1, 5, 12} {
			path := filepath.Join(t.TempDir(), "run.safetensors")
			ctx, cancel := context.WithCancel(t.Context())
			c := Config{Epochs: 4, Validation: d, Checkpoint: path, Resume: true, OnStep: func(p Progress) error {
				if p.Step == stop {
					cancel()
				}
				return nil
			}}
			if _, err := Fit(ctx, newTrainer(t, r, d), d, c); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: stopped at step %d: %v", name, stop, err)
			}
			resumed := newTrainer(t, r, d)
			got, err := Fit(t.Context(), resumed, d, c)
			if err != nil {
				t.Fatalf("%s: resumed at step %d: %v", name, stop, err)
			}
			sameBits(t, name+" resumed", whole.Params(), resumed.Params())
			if len(got.Records) != len(want.Records) {
				t.Fatalf("%s: %d records, want %d", name, len(got.Records), len(want.Records))
			}
			for i, rec := range got.Records {
				w := want.Records[i]
				if rec.Step != w.Step || rec.Loss != w.Loss || rec.Accuracy != w.Accuracy {
					t.Fatalf("%s: record %d: %+v, want %+v", name, i, rec, w)
				}
			}
		}
	}
}

func TestLoadRefusesAnotherRun(t *testing.T) {
	d := toy(32)
	path := filepath.Join(t.TempDir(), "run.safetensors")
	if err := newTrainer(t, Backprop{}, d).Save(path, nil); err != nil {
		t.Fatal(err)
	}
	other := newTrainer(t, MonoForward{}, d)
	before := other.Params().Clone()
	_, err := other.Load(path)
	wantError(t, err, "mono-forward", "backprop")
	sameBits(t, "after a refused load", before, other.Params())
	spec := SpecOf(d, 16, 10)
	reseeded, err := Backprop{}.Trainer(withNoise(), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	_, err = reseeded.Load(path)
	wantError(t, err, "seed", "10", "9")
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("want an error with %q, got none", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("want %q in the error %q", w, err)
		}
	}
}

// A loss that is not finite stops the run with the name of the first node that is not, before anything is updated.
func TestNaNGuard(t *testing.T) {
	d := toy(32)
	model := layers.Sequential{
		layers.Dense{Units: 8},
		layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Log(x) }),
		layers.Dense{Units: 3},
	}
	tr, err := Backprop{}.Trainer(model, objectives.CrossEntropy, SpecOf(d, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	before := tr.Params().Clone()
	_, err = Fit(t.Context(), tr, d, Config{})
	wantError(t, err, "log", "finite", "step 0")
	sameBits(t, "after NaN", before, tr.Params())

	tr, err = Backprop{}.Trainer(mlp(4), objectives.CrossEntropy, SpecOf(d, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	tr.Params().Get("dense1/weight").Value.Set(3, math.Inf(1))
	_, err = Fit(t.Context(), tr, d, Config{})
	wantError(t, err, "dense1/weight", "element 3")
}

func TestFitErrors(t *testing.T) {
	d := toy(32)
	tr := newTrainer(t, Backprop{}, d)
	_, err := Fit(t.Context(), tr, toy(15), Config{})
	wantError(t, err, "16", "15")
	stop := errors.New("enough")
	if _, err := Fit(t.Context(), tr, d, Config{OnEpoch: func(Record) error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("want the callback's error, got %v", err)
	}
	if _, err := ByName("bakprop"); err == nil {
		t.Error("unknown rule: no error")
	} else {
		wantError(t, err, append(Names(), "bakprop")...)
	}
	for _, name := range Names() {
		if r, err := ByName(name); err != nil || r.Name() != name {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	for name, spec := range map[string]Spec{
		"Batch":   {Input: []int{4}, Classes: 3},
		"Classes": {Input: []int{4}, Classes: 1, Batch: 2},
		"Input":   {Input: []int{0}, Classes: 3, Batch: 2},
	} {
		for _, r := range all {
			_, err := r.Trainer(mlp(4), objectives.CrossEntropy, spec)
			wantError(t, err, name)
		}
	}
	for _, r := range []Rule{MonoForward{}, ForwardForward{}} {
		_, err := r.Trainer(mlp(4), objectives.MSE, Spec{Input: []int{4}, Target: []int{3}, Batch: 2})
		wantError(t, err, r.Name(), "classes")
	}
	_, err = Backprop{}.Trainer(layers.Sequential{layers.Dense{}}, objectives.CrossEntropy, SpecOf(d, 16, 1))
	wantError(t, err, "backprop", "dense", "Units")
}

// Regression: a linear model finds the plane its targets lie on.
func TestRegression(t *testing.T) {
	d := plane{64}
	tr, err := Backprop{Optimizer: optim.Adam{LR: 0.05}}.Trainer(layers.Dense{Units: 2}, objectives.MSE, SpecOf(d, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Fit(t.Context(), tr, d, Config{Epochs: 200, Validation: d})
	if err != nil {
		t.Fatal(err)
	}
	if e := h.Last().Error; e > 1e-6 {
		t.Errorf("mean squared error %v, want < 1e-6", e)
	}
}

// plane is y = (x0 + 2 x1, x0 - 1).
type plane struct{ n int }

func (p plane) Len() int           { return p.n }
func (p plane) InputShape() []int  { return []int{2} }
func (p plane) Classes() int       { return 0 }
func (p plane) TargetShape() []int { return []int{2} }
func (p plane) Read(i int, _ uint64, x, y []float32) int {
	r := graph.Rand(1, "plane", uint64(i))
	x[0], x[1] = float32(r.NormFloat64()), float32(r.NormFloat64())
	y[0], y[1] = x[0]+2*x[1], x[0]-1
	return -1
}

// After the first step a step allocates nothing, under any rule.
func TestStepAllocatesNothing(t *testing.T) {
	d := toy(32)
	for name, r := range everyRule {
		tr := newTrainer(t, r, d)
		batch := NewBatch(tr.Spec())
		order := make([]int, 16)
		if n := testing.AllocsPerRun(5, func() {
			if err := batch.Fill(d, order, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Step(batch); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Predict(batch); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a step", name, n)
		}
	}
}
