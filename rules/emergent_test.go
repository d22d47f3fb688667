package rules

import (
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Class 0 has mean activities (4, 1, 1, 1): unit 0 exceeds the others' mean 1 by three times, unit 1 is below theirs.
func TestEnsembles(t *testing.T) {
	a := graph.ArrayOf([]float64{3, 1, 1, 1, 0, 2, 2, 0, 5, 1, 1, 1}, 3, 4)
	labels := []int{0, 1, 0}
	e := Ensembles(a, labels, 3, 1)
	if !slices.EqualFunc(e, [][]int{{0}, {1, 2}, nil}, slices.Equal) {
		t.Errorf("ensembles %v", e)
	}
	// Unit 1 of class 1: 2 exceeds the others' mean 2/3 by twice that, not by more.
	if e := Ensembles(a, labels, 3, 2.001); !slices.EqualFunc(e, [][]int{{0}, nil, nil}, slices.Equal) {
		t.Errorf("ensembles at a ratio of 2: %v", e)
	}
	overlap := Overlap([][]int{{1, 3, 5}, {3, 4, 5, 9}, nil})
	for i, want := range [][]int{{3, 2, 0}, {2, 4, 0}, {0, 0, 0}} {
		if !slices.Equal(overlap[i], want) {
			t.Errorf("overlap of %d: want %v, got %v", i, want, overlap[i])
		}
	}
}

// Under the Euclidean norm the loss pushes a positive example's activities with the force sigmoid(theta-|h|), at most 1,
// without the factor 2|h| of the squared goodness.
func TestL2NormForce(t *testing.T) {
	v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
		h := literal(s, []int{1, 3}, 1, 2, 2) // norm 3
		quiet := literal(s, []int{1}, -1e4)
		g := objectives.L2Norm.Of(h)
		return []*graph.Node{graph.Norm(graph.Grad(graph.Scale(contrast(g, quiet, 3.5, 1), 2), h)[0])}
	})
	near(t, "force", v[0], 1e-12, 1/(1+math.Exp(-0.5)))
}

// One step of backpropagation on goodness by hand: the derivative in the first layer's weights comes through the second.
func TestBackpropOnGoodnessIsWhole(t *testing.T) {
	d := toy(16)
	tr, err := BackpropOnGoodness{}.Trainer(mlp(6, 5), objectives.CrossEntropy, SpecOf(d, 16, 5))
	if err != nil {
		t.Fatal(err)
	}
	goal := tr.(*trainer).phases[0].goals[0]
	if len(goal.Params) != 4 { // weight and bias of both hidden layers
		t.Errorf("%d parameters", len(goal.Params))
	}
	// A scale of the first layer's weights changes its own goodness, not its direction, which is all the second sees.
	n, err := BackpropOnGoodness{}.like().net("backprop-on-goodness", mlp(6, 5), tr.Spec(), tr.Params().Clone(), false)
	if err != nil {
		t.Fatal(err)
	}
	second := func() *graph.Array {
		return evaluate(t, n.params, func(s *graph.Scope) []*graph.Node {
			x, y := graph.NewArray(graph.Float32, 16, 4), graph.NewArray(graph.Float32, 16, 3)
			for i := range 64 {
				x.Set(i, math.Cos(float64(i)))
			}
			return n.activities(s, n.embed(graph.Literal(s.Const(0), x), graph.Literal(s.Const(0), y)))[1:]
		})[0]
	}
	before, w := second(), n.params.Get("dense1/weight").Value
	for i := range w.Size() {
		w.Set(i, 4*w.At(i))
	}
	after := second()
	for i := range before.Size() {
		if math.Abs(before.At(i)-after.At(i)) > 1e-6 {
			t.Fatalf("element %d of the second layer: %v and %v", i, before.At(i), after.At(i))
		}
	}
}

// What is read off a trained model agrees with its predictions, and what it says of layers with a second computation.
func TestRepresentation(t *testing.T) {
	d := toy(100) // no multiple of the batch
	model := mlp(8, 6)
	emergent := EmergentForwardForward()
	emergent.Label, emergent.Optimizer = AppendLabel, optim.Adam{LR: 2e-2}
	onGoodness := BackpropOnGoodness{Optimizer: optim.Adam{LR: 2e-2}}
	for _, c := range []struct {
		rule       Rule
		activities func(tr Trainer) ([]*graph.Array, error)
	}{
		{Backprop{}, func(tr Trainer) ([]*graph.Array, error) { return Activities(tr, model, d) }},
		{emergent, func(tr Trainer) ([]*graph.Array, error) { return emergent.Activities(tr, model, d) }},
		{onGoodness, func(tr Trainer) ([]*graph.Array, error) { return onGoodness.Activities(tr, model, d) }},
	} {
		tr, err := c.rule.Trainer(model, objectives.CrossEntropy, SpecOf(d, 16, 5))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Fit(t.Context(), tr, d, Config{Epochs: 30}); err != nil {
			t.Fatal(err)
		}
		a, err := c.activities(tr)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Represent(tr, a, d, 1)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Evaluate(tr, d)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(r.Accuracy-e.Accuracy) > 1e-12 || r.Accuracy < 0.5 || len(r.Hoyer) != 2 || len(r.Ensembles[1]) != 3 {
			t.Errorf("%s: %+v, accuracy %v", c.rule.Name(), r, e.Accuracy)
		}
		for l, h := range r.Hoyer {
			if !(h > 0 && h < 1) || !(r.Active[l] > 0 && r.Active[l] < 1) {
				t.Errorf("%s: layer %d: sparsity %v, active %v", c.rule.Name(), l+1, h, r.Active[l])
			}
		}
		if !slices.Equal(a[0].Shape, []int{100, 8}) {
			t.Errorf("%s: activities %v", c.rule.Name(), a[0].Shape)
		}
	}
}

// Energy over all layers is the last of the sums, and a single layer's is its own.
func TestLayerContributions(t *testing.T) {
	d := toy(90)
	r := ForwardForward{Readout: Energy, Skip: -1}
	tr, err := r.Trainer(mlp(8, 8, 8), objectives.CrossEntropy, SpecOf(d, 16, 5))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Fit(t.Context(), tr, d, Config{Epochs: 20}); err != nil {
		t.Fatal(err)
	}
	g, err := r.LayerGoodness(tr, mlp(8, 8, 8), d)
	if err != nil {
		t.Fatal(err)
	}
	alone, upTo := LayerContributions(g, d.y)
	e, err := Evaluate(tr, d)
	if err != nil {
		t.Fatal(err)
	}
	if len(alone) != 3 || math.Abs(upTo[2]-(1-e.Accuracy)) > 1e-9 || alone[0] != upTo[0] {
		t.Errorf("alone %v, up to %v, accuracy %v", alone, upTo, e.Accuracy)
	}
	// Two layers, four examples by hand: each alone gets one wrong, together none.
	first := graph.ArrayOf([]float64{3, 1, 1, 3, 2, 4, 5, 4}, 4, 2)
	second := graph.ArrayOf([]float64{0, 1, 0, 1, 3, 0, 2, 0}, 4, 2)
	alone, upTo = LayerContributions([]*graph.Array{first, second}, []int{0, 1, 0, 0})
	if !slices.Equal(alone, []float64{0.25, 0.25}) || !slices.Equal(upTo, []float64{0.25, 0}) {
		t.Errorf("alone %v, up to %v", alone, upTo)
	}
}

func TestEmergentErrors(t *testing.T) {
	d := toy(32)
	tr := trained(t, ForwardForward{}, d, Config{}, 8, 8)
	_, err := ForwardForward{}.LayerGoodness(tr, mlp(9, 9), d)
	wantError(t, err, "dense1/weight")
	_, err = ForwardForward{}.LayerGoodness(tr, mlp(8, 8, 8), d)
	wantError(t, err, "model")
	_, err = BackpropOnGoodness{}.Activities(tr, mlp(8, 8), d)
	wantError(t, err, "backprop-on-goodness", "forward-forward")
	_, err = ForwardForward{Negatives: HybridImages}.LayerGoodness(tr, mlp(8, 8), d)
	wantError(t, err, "HybridImages")
	_, err = Activities(tr, mlp(8, 8, 8), d)
	wantError(t, err, "dense1/weight")
	_, err = Represent(tr, nil, plane{4}, 1)
	wantError(t, err, "data")
	_, err = BackpropOnGoodness{Threshold: -1}.Trainer(mlp(8, 8), objectives.CrossEntropy, tr.Spec())
	wantError(t, err, "Threshold", "-1")
	_, err = BackpropOnGoodness{}.Trainer(layers.Flatten{}, objectives.CrossEntropy, tr.Spec())
	wantError(t, err, "backprop-on-goodness", "parameters")
	_, err = BackpropOnGoodness{}.Trainer(mlp(8, 8), objectives.MSE, tr.Spec())
	wantError(t, err, "backprop-on-goodness", "objective", "mse")
}
