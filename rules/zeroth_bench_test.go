package rules

import (
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Steps of a perceptron of 1.8 million parameters at batch 128.
func BenchmarkZerothOrderStep(b *testing.B) {
	spec := Spec{Input: []int{784}, Classes: 10, Batch: 128, Seed: 1}
	model := layers.Sequential{mlp(1000)[0], mlp(1000)[0], layers.Dense{Units: 10}}
	forward := func(s *graph.Scope, x, y *graph.Node) []Goal {
		return []Goal{{Loss: objectives.CrossEntropy(model.Apply(s, x), y)}}
	}
	of := func(r Rule) func() (Trainer, error) {
		return func() (Trainer, error) { return r.Trainer(model, objectives.CrossEntropy, spec) }
	}
	for _, c := range []struct {
		name  string
		build func() (Trainer, error)
	}{
		{"forward pass", func() (Trainer, error) {
			return Plan{Name: "forward", Phases: []Phase{forward}, Predict: model.Apply, Optimizer: optim.SGD{}}.Trainer(spec)
		}},
		{"backprop", of(Backprop{Optimizer: optim.SGD{}})},
		{"mezo", of(MeZO{})},
		{"mezo adam", of(MeZO{Optimizer: optim.Adam{}})},
		{"mezo sparse", of(MeZO{Sparsity: 0.5})},
		{"one-byte", of(OneByte{})},
	} {
		b.Run(c.name, func(b *testing.B) {
			t, err := c.build()
			if err != nil {
				b.Fatal(err)
			}
			batch := NewBatch(spec)
			for b.Loop() {
				if _, err := t.Step(batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
