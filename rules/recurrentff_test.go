package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// The iterations written out for one example: all layers at once, from the states before, and the goodness of the chosen
// iterations under each label.
func TestRecurrentSettles(t *testing.T) {
	d := toy(8)
	spec := SpecOf(d, 8, 5)
	spec.DType = graph.Float64
	r := RecurrentForwardForward{Iterations: 6, Damping: 0.25, First: 2, Last: 4}
	tr, err := r.Trainer(mlp(6, 5), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Fit(t.Context(), tr, d, Config{Epochs: 3}); err != nil {
		t.Fatal(err)
	}
	batch := firstBatch(t, d, spec)
	out, err := tr.Predict(batch)
	if err != nil {
		t.Fatal(err)
	}
	p := tr.Params()
	layer := func(name, block string, below, above []float64) []float64 {
		a := dense(p, name, below, true)
		v := p.Get("recurrent-forward-forward/" + block + "/topdown").Value
		for j := range a {
			for i, x := range above {
				a[j] += x * v.At(i*len(a)+j)
			}
			a[j] = max(a[j], 0)
		}
		return a
	}
	squares := func(a []float64) (s float64) {
		for _, v := range a {
			s += v * v
		}
		return s
	}
	for c := range 3 {
		label := make([]float64, 3)
		label[c] = 1
		x := rms(batch.X.Float64s()[:4])
		one := rms(dense(p, "dense1", x, false))
		two := rms(dense(p, "dense2", one, false))
		want := 0.0
		for iteration := 1; iteration <= 4; iteration++ {
			a, b := layer("dense1", "block1", x, two), layer("dense2", "block2", one, label)
			if iteration >= 2 {
				want += squares(a) + squares(b)
			}
			for k, s := range [][]float64{one, two} {
				for j, v := range rms([][]float64{a, b}[k]) {
					s[j] = 0.25*s[j] + 0.75*v
				}
			}
		}
		if math.Abs(out.At(c)-want) > 1e-9*want {
			t.Errorf("label %d: want %v, got %v", c, want, out.At(c))
		}
	}
}

func TestRecurrentIsLocal(t *testing.T) {
	d := images{toy(16)}
	for kind, model := range shapes {
		tr, err := RecurrentForwardForward{Iterations: 3}.Trainer(model, objectives.CrossEntropy, SpecOf(d, 8, 5))
		if err != nil {
			t.Fatal(err)
		}
		checkLocal(t, kind, tr)
	}
}

func TestRecurrentLearns(t *testing.T) {
	d := toy(96)
	tr, err := RecurrentForwardForward{Optimizer: optim.Adam{LR: 5e-3}}.Trainer(mlp(24, 24), objectives.CrossEntropy, SpecOf(d, 24, 5))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Fit(t.Context(), tr, d, Config{Epochs: 30, Validation: d})
	if err != nil {
		t.Fatal(err)
	}
	if a := h.Last().Accuracy; a < 0.8 {
		t.Errorf("accuracy %v on the training data", a)
	}
	if first, last := h.Records[0].Loss, h.Last().Loss; last > 0.8*first {
		t.Errorf("loss %v, then %v", first, last)
	}
}

func TestRecurrentErrors(t *testing.T) {
	spec := SpecOf(toy(16), 8, 5)
	for field, r := range map[string]RecurrentForwardForward{
		"Iterations": {Iterations: -1}, "Damping": {Damping: 1}, "First, Last": {First: 4, Last: 2},
	} {
		_, err := r.Trainer(mlp(4, 4), objectives.CrossEntropy, spec)
		wantError(t, err, "recurrent-forward-forward", field)
	}
	_, err := RecurrentForwardForward{}.Trainer(layers.Flatten{}, objectives.CrossEntropy, spec)
	wantError(t, err, "recurrent-forward-forward", "parameters")
	_, err = RecurrentForwardForward{}.Trainer(mlp(4), objectives.CrossEntropy, Spec{Input: []int{4}, Target: []int{1}, Batch: 2})
	wantError(t, err, "recurrent-forward-forward", "regression")
}
