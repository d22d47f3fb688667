package rules

import (
	"fmt"
	"testing"

	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

func TestZZCost(t *testing.T) {
	spec := Spec{Input: []int{784}, Classes: 10, Batch: 128}
	model := layers.Sequential{layers.Dense{Units: 1000, Activation: layers.ReLU{}}, layers.Dense{Units: 1000, Activation: layers.ReLU{}}, layers.Dense{Units: 10}}
	for range 2 {
		for _, r := range []Rule{Backprop{}, Backprop{Optimizer: optim.SGD{LR: .01}}, ForwardGradient{}, ForwardGradient{Perturbation: Rademacher}, ForwardGradient{Perturbation: RankOne}} {
			c, err := MeasureCost(r, model, objectives.CrossEntropy, spec, 60)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("%-18s step %v forward %v ratio %.2f\n", r.Name(), c.Step, c.Forward, c.Ratio())
		}
	}
}
