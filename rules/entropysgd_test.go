package rules

import (
	"math"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// entropySteps makes steps of a rule on a point and returns where it is.
func entropySteps(t *testing.T, r Rule, o objectives.Objective, steps int, start ...float64) *graph.Array {
	t.Helper()
	tr, err := r.Trainer(point(start...), o, onPoint)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for range steps {
		if _, err := tr.Step(NewBatch(onPoint)); err != nil {
			t.Fatalf("%+v", err)
		}
	}
	return tr.Params().Get("theta").Value
}

// On f = 2x² from x = 2 with γ = 1 the inner loop ends at γx/(h+γ) = 0.4, where the step of rate 1 jumps to. Momentum m
// multiplies the loss's part of a steady d by 1/(1-m), and so the end is that of γ(1-m).
func TestEntropySGDFixedPoint(t *testing.T) {
	r := EntropySGD{L: 400, Gamma: 1, Noise: optim.Zero, Momentum: optim.Zero}
	near(t, "x'", entropySteps(t, r, quadratic([]float64{4}, 0), 400, 2), 1e-9, 0.4)
	r.LR = 0.5 // half way
	near(t, "half way", entropySteps(t, r, quadratic([]float64{4}, 0), 400, 2), 1e-9, 1.2)
	r = EntropySGD{L: 1000, Gamma: 1, Noise: optim.Zero, InnerLR: 0.02}
	near(t, "momentum 0.9", entropySteps(t, r, quadratic([]float64{4}, 0), 1000, 2), 1e-9, 0.1*2/(4+0.1))
	// The gradient of the local entropy there is hγx/(h+γ) = 1.6, in closed form -F' and by quadrature.
	f := func(x float64) float64 { return 2 * x * x }
	slope := (LocalEntropy(f, 2+1e-4, 1) - LocalEntropy(f, 2-1e-4, 1)) / 2e-4
	near(t, "-dF/dx", graph.ArrayOf([]float64{-slope}, 1), 1e-6, 1.6)
	near(t, "F", graph.ArrayOf([]float64{LocalEntropy(f, 2, 1)}, 1), 1e-9, 0.5*math.Log(2*math.Pi/5)-0.5*4*1./5*4)
}

// One inner step without momentum and noise moves x by (1 - Average)·InnerLR·g. Without averaging it is gradient
// descent. A very stiff γ leaves x where it is.
func TestEntropySGDLimits(t *testing.T) {
	_, paper := paper()
	plain := EntropySGD{L: 1, Momentum: optim.Zero, Noise: optim.Zero, InnerLR: 0.2}
	near(t, "one inner step", entropySteps(t, plain, paper, 1, 0.3, -0.2), 1e-12, 0.3-0.25*0.2*1.5, -0.2+0.25*0.2*1.05)
	plain.Average = optim.Zero
	sgd := entropySteps(t, Backprop{Optimizer: optim.SGD{LR: 0.2}}, paper, 7, 0.3, -0.2)
	near(t, "gradient descent", entropySteps(t, plain, paper, 7, 0.3, -0.2), 1e-12, sgd.At(0), sgd.At(1))
	stiff := EntropySGD{L: 50, Gamma: 1e6, InnerLR: 1e-6, Momentum: optim.Zero, Noise: optim.Zero}
	near(t, "stiff", entropySteps(t, stiff, paper, 50, 0.3, -0.2), 3e-6, 0.3, -0.2)
	// Two loops of two steps, written out: momentum, averages, weight decay, growing γ and outer momentum.
	r := EntropySGD{L: 2, LR: 0.5, InnerLR: 0.1, Gamma: 0.4, Scoping: 0.5, Noise: optim.Zero, Average: 0.6, Momentum: 0.7, OuterMomentum: 0.3, WeightDecay: 0.05}
	x, w := 2.0, 0.0
	for loop := range 2 {
		at, mu, v := x, x, 0.0
		for range 2 {
			d := 4*at + 0.05*at
			v = 0.7*v + d
			d += 0.7*v - 0.4*math.Pow(1.5, float64(loop))*(x-at)
			at -= 0.1 * d
			mu = 0.6*mu + 0.4*at
		}
		w = 0.3*w + x - mu
		x -= 0.5 * (x - mu + 0.3*w)
	}
	near(t, "written out", entropySteps(t, r, quadratic([]float64{4}, 0), 4, 2), 1e-12, x)
}

// The noise is that of Langevin dynamics: on f = 0 with γ = 0 the mean of x' after L steps is x, its variance
// L·2·InnerLR·Noise². Each parameter and step draws its own.
func TestEntropySGDNoise(t *testing.T) {
	const n, steps = 20000, 9
	start := make([]float64, n)
	flat := func(theta, _ *graph.Node) *graph.Node { return graph.Scale(graph.Sum(theta), 0) }
	r := EntropySGD{L: 1000, Gamma: optim.Zero, Momentum: optim.Zero, Noise: 0.3, InnerLR: 0.05}
	at := entropySteps(t, r, flat, steps, start...)
	var mean, square, lag float64
	for i := range n {
		mean, square = mean+at.At(i)/n, square+at.At(i)*at.At(i)/n
		lag += at.At(i) * at.At((i+1)%n) / n
	}
	variance := steps * 2 * 0.05 * 0.09
	five := 5 / math.Sqrt(n)
	near(t, "mean, variance, covariance of neighbours", graph.ArrayOf([]float64{mean, square, lag}, 3), five*variance*1.5, 0, variance, 0)
}

// A double well: narrow and deep at -1, wide and shallow at 1. A weak γ prefers the wide one, a strong one the deep one.
func TestLocalEntropyPrefersWideValleys(t *testing.T) {
	f := func(x float64) float64 {
		return -3*math.Exp(-(x+1)*(x+1)/(2*0.02*0.02)) - 2*math.Exp(-(x-1)*(x-1)/(2*0.4*0.4))
	}
	for gamma, wide := range map[float64]bool{1: true, 10: true, 1e4: false, 1e5: false} {
		if got := LocalEntropy(f, 1, gamma) > LocalEntropy(f, -1, gamma); got != wide {
			t.Errorf("γ = %v: the wide valley has the higher local entropy: %v, want %v", gamma, got, wide)
		}
	}
}

// Same bits at one and two threads, stopped and resumed in the middle of a loop; no allocation in a step; it learns.
func TestEntropySGDRuns(t *testing.T) {
	d := toy(96)
	r := EntropySGD{L: 5, OuterMomentum: 0.5, Schedule: optim.StepDecay{Every: 10, Factor: 0.5}}
	whole := newTrainer(t, r, d)
	if _, err := Fit(t.Context(), whole, d, Config{Epochs: 4}); err != nil {
		t.Fatal(err)
	}
	old := runtime.GOMAXPROCS(1)
	single := newTrainer(t, r, d)
	_, err := Fit(t.Context(), single, d, Config{Epochs: 4})
	runtime.GOMAXPROCS(old)
	if err != nil {
		t.Fatal(err)
	}
	sameBits(t, "one thread", whole.Params(), single.Params())
	path := filepath.Join(t.TempDir(), "run")
	for _, epochs := range []int{2, 4} { // 12 steps: in the third loop
		half := newTrainer(t, r, d)
		if _, err := Fit(t.Context(), half, d, Config{Epochs: epochs, Checkpoint: path, Resume: true}); err != nil {
			t.Fatal(err)
		}
		if epochs == 4 {
			sameBits(t, "resumed", whole.Params(), half.Params())
		}
	}
	batch := NewBatch(whole.Spec())
	if err := batch.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(12, func() {
		if _, err := whole.Step(batch); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
	tr := newTrainer(t, EntropySGD{L: 10}, d)
	h, err := Fit(t.Context(), tr, d, Config{Epochs: 20, Validation: d})
	if err != nil {
		t.Fatal(err)
	}
	if h.Last().Accuracy < 0.85 {
		t.Errorf("accuracy %v", h.Last().Accuracy)
	}
	for field, r := range map[string]EntropySGD{"L": {L: -1}, "LR": {LR: -1}, "InnerLR": {InnerLR: optim.Zero}, "Average": {Average: 1}, "Momentum": {Momentum: 2}, "Noise": {Noise: math.NaN()}} {
		_, err := r.Trainer(mlp(4), objectives.CrossEntropy, SpecOf(d, 16, 1))
		wantError(t, err, "entropy-sgd", field)
	}
	_, err = EntropySGD{}.Trainer(nil, objectives.CrossEntropy, SpecOf(d, 16, 1))
	wantError(t, err, "entropy-sgd", "model")
}
