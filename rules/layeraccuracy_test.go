package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/objectives"
)

// The accuracy of block i, and of all blocks together, is that of the same parameters under the readout that predicts
// so; a rule without scores of its blocks is refused.
func TestLayerAccuracy(t *testing.T) {
	d := toy(70) // 16 a batch: the last one is not full
	spec := SpecOf(d, 16, 3)
	tr, err := MonoForward{}.Trainer(noisyMLP(), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Fit(t.Context(), tr, d, Config{Epochs: 2}); err != nil {
		t.Fatal(err)
	}
	got, err := EvaluateLayers(tr, d)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Blocks) != 3 || len(got.Alone) != 3 || len(got.UpTo) != 3 {
		t.Fatalf("%d blocks, want 3", len(got.Blocks))
	}
	under := func(r Readout) float64 {
		other, err := MonoForward{Readout: r}.Trainer(noisyMLP(), objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Params().CopyFrom(tr.Params()); err != nil {
			t.Fatal(err)
		}
		e, err := Evaluate(other, d)
		if err != nil {
			t.Fatal(err)
		}
		return e.Accuracy
	}
	for what, c := range map[string][2]float64{
		"first block": {under(LayerReadout(0)), got.Alone[0]}, "second block": {under(LayerReadout(1)), got.Alone[1]},
		"last block": {under(LastLayer), got.Alone[2]}, "all": {under(SumLayers), got.UpTo[2]},
		"one block up to the first": {got.Alone[0], got.UpTo[0]},
	} {
		if math.Abs(c[0]-c[1]) > 1e-12 {
			t.Errorf("%s: want %v, got %v", what, c[0], c[1])
		}
	}
	bp, err := Backprop{}.Trainer(mlp(4), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	_, err = EvaluateLayers(bp, d)
	wantError(t, err, "layer accuracy", "backprop")
	_, err = MonoForward{Readout: LayerReadout(3)}.Trainer(noisyMLP(), objectives.CrossEntropy, spec)
	wantError(t, err, "mono-forward", "3 blocks", "block 3")
}
