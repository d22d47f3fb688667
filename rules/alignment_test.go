package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/objectives"
)

// Backpropagation is aligned with itself; measuring changes no parameter and no running state. A single Gaussian
// tangent has the cosine |g·v|/(|g||v|), of mean square 1/P; averages of directions add.
func TestAlignment(t *testing.T) {
	d := toy(32)
	b := NewBatch(SpecOf(d, 16, 1))
	if err := b.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Rule{"backprop": Backprop{}, "noise": ForwardGradient{}} {
		tr := newTrainer(t, r, d)
		before := tr.Params().Clone()
		a, err := NewAlignment(tr, withNoise(), objectives.CrossEntropy)
		if err != nil {
			t.Fatal(err)
		}
		const n = 400
		var squares float64
		for step := range n {
			cos, ratio, err := a.Measure(b, step, 1)
			if err != nil {
				t.Fatal(err)
			}
			squares += cos * cos / n
			if name == "backprop" && (math.Abs(cos-1) > 1e-9 || math.Abs(ratio-1) > 1e-9) {
				t.Fatalf("backprop: cosine %v, ratio %v", cos, ratio)
			}
		}
		sameBits(t, name+" after measuring", before, tr.Params())
		if p := float64(tr.Params().Count()); name == "noise" && math.Abs(squares*p-1) > 5*math.Sqrt(2.0/n) {
			t.Errorf("mean squared cosine %v, want 1/%v", squares, p)
		}
	}
	other, err := MonoForward{Order: Sequential}.Trainer(mlp(4), objectives.CrossEntropy, SpecOf(d, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewAlignment(fake{other}, mlp(4), objectives.CrossEntropy); err == nil {
		t.Error("a foreign trainer: no error")
	}
}

// fake is a trainer that is made of no Plan.
type fake struct{ Trainer }
