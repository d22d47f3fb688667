package rules

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Backprop trains the graph whole, by the reverse-mode gradient of the objective (D. Rumelhart, G. Hinton, R. Williams
// 1986).
type Backprop struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults
	Options   optim.Options   // schedule and clipping
}

// Name is "backprop".
func (Backprop) Name() string { return "backprop" }

// Trainer compiles one program: forward, backward, all gradients.
func (r Backprop) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective); err != nil {
		return nil, err
	}
	step := func(s *graph.Scope, x, y *graph.Node) []Goal {
		loss := objective(model.Apply(s, x), y)
		return []Goal{Minimize(loss, s.Graph().Trainable(loss))}
	}
	return Plan{
		Name:      r.Name(),
		Phases:    []Phase{step},
		Predict:   model.Apply,
		Optimizer: orAdam(r.Optimizer),
		Options:   r.Options,
	}.Trainer(spec)
}

func orAdam(o optim.Optimizer) optim.Optimizer {
	if o == nil {
		return optim.Adam{}
	}
	return o
}
