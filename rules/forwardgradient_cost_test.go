package rules

import (
	"testing"

	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// What does not depend on the clock: the forward pass does two multiplications and additions for each weight and
// example, rank-one tangents need one product less than Gaussian ones, those of one layer none of the layers before,
// and only backpropagation goes backwards.
func TestMeasureCost(t *testing.T) {
	spec := Spec{Input: []int{64}, Classes: 3, Batch: 32}
	names := []string{"backprop", "gaussian", "rank one", "one layer"}
	list, err := MeasureCost(mlp(96, 80), objectives.CrossEntropy, spec, 2,
		Backprop{}, ForwardGradient{}, ForwardGradient{Perturbation: RankOne}, ForwardGradient{OneLayer: true})
	if err != nil {
		t.Fatal(err)
	}
	const first, second, third = 64 * 96, 96 * 80, 80 * 3
	const weights, biases = first + second + third, 96 + 80 + 3
	costs := map[string]Cost{}
	for i, c := range list {
		name := names[i]
		costs[name] = c
		if products := 2 * 32 * weights; c.ForwardFlops < products || float64(c.ForwardFlops) > 1.2*float64(products) {
			t.Errorf("%s: %d operations forward, products %d", name, c.ForwardFlops, products)
		}
		if want := 4 * (weights + biases); c.Parameters != want {
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
	// A Gaussian tangent of layer l needs the product with its direction, and those with the weights of later layers.
	share := func(n int) float64 { return float64(n) / (weights + biases) }
	want := 2 * 32 * (weights + share(first+96)*weights + share(second+80)*(second+third) + share(third+3)*third)
	if got := float64(costs["one layer"].StepFlops); got < want || got > 1.2*want {
		t.Errorf("one layer: %v operations, products %v", got, want)
	}
	_, err = MeasureCost(mlp(4), objectives.CrossEntropy, spec, 1, ForwardGradient{Perturbation: 9})
	wantError(t, err, "forward-gradient", "Perturbation")
}

// Steps of forward gradients and of backpropagation by turns, on a perceptron of 1.8 million parameters at batch 128:
// the median time of a step, over that of backpropagation with the same optimiser, and the memory with parameters over
// that of a forward pass.
func BenchmarkForwardGradient(b *testing.B) {
	spec := Spec{Input: []int{784}, Classes: 10, Batch: 128, Seed: 1}
	model := layers.Sequential{mlp(1000)[0], mlp(1000)[0], layers.Dense{Units: 10}}
	for _, o := range []optim.Optimizer{optim.SGD{LR: 1e-6}, optim.Adam{LR: 1e-6}} {
		b.Run(o.Name(), func(b *testing.B) {
			costs, err := MeasureCost(model, objectives.CrossEntropy, spec, b.N, Backprop{Optimizer: o},
				ForwardGradient{Optimizer: o}, ForwardGradient{Optimizer: o, Perturbation: RankOne},
				ForwardGradient{Optimizer: o, OneLayer: true}, ForwardGradient{Optimizer: o, OneLayer: true, Perturbation: RankOne})
			if err != nil {
				b.Fatal(err)
			}
			for i, name := range []string{"gaussian", "rank-one", "one-layer-gaussian", "one-layer-rank-one"} {
				c := costs[i+1]
				b.ReportMetric(float64(c.Step)/float64(costs[0].Step), name+"/backprop")
				b.ReportMetric(float64(c.StepMemory+c.Parameters)/float64(c.ForwardMemory+c.Parameters), name+"-memory/forward")
			}
			b.ReportMetric(costs[0].Step.Seconds()*1e3, "backprop-ms")
		})
	}
}
