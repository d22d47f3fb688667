package rules

import (
	"testing"

	"github.com/harpe-ml/harpe/objectives"
)

// What does not depend on the clock: the forward pass does two multiplications and additions for each weight and
// example, rank-one tangents need one product less than Gaussian ones, and only backpropagation goes backwards.
func TestMeasureCost(t *testing.T) {
	spec := Spec{Input: []int{64}, Classes: 3, Batch: 32}
	costs := map[string]Cost{}
	for name, r := range map[string]Rule{"backprop": Backprop{}, "gaussian": ForwardGradient{}, "rank one": ForwardGradient{Perturbation: RankOne}} {
		c, err := MeasureCost(r, mlp(96), objectives.CrossEntropy, spec, 2)
		if err != nil {
			t.Fatal(err)
		}
		costs[name] = c
		weights := 64*96 + 96*3
		if products := 2 * 32 * weights; c.ForwardFlops < products || float64(c.ForwardFlops) > 1.2*float64(products) {
			t.Errorf("%s: %d operations forward, products %d", name, c.ForwardFlops, products)
		}
		if want := 4 * (weights + 96 + 3); c.Parameters != want {
			t.Errorf("%s: parameters of %d bytes, want %d", name, c.Parameters, want)
		}
		if !(c.Step > 0 && c.Forward > 0 && c.Ratio() > 0) || c.ForwardMemory <= 0 || c.StepMemory <= c.ForwardMemory {
			t.Errorf("%s: %+v", name, c)
		}
		if (c.Reverse > 0) != (name == "backprop") {
			t.Errorf("%s: %d reverse instructions", name, c.Reverse)
		}
	}
	if saved := costs["gaussian"].StepFlops - costs["rank one"].StepFlops; saved < 2*32*64*90 {
		t.Errorf("rank-one tangents save %d operations", saved)
	}
	_, err := MeasureCost(ForwardGradient{Perturbation: 9}, mlp(4), objectives.CrossEntropy, spec, 1)
	wantError(t, err, "forward-gradient", "Perturbation")
}
