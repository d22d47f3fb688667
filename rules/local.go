package rules

import (
	"slices"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
)

// What the local rules share: cutting a model into trainable pieces.

// cut builds the model for inputs of the spec, in training or evaluation mode, and cuts it at its blocks. The
// parameters are made in params.
func cut(model layers.Layer, spec Spec, params *graph.Params, training bool) ([]*graph.Piece, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	var x, y *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		if training {
			s = s.ForTraining()
		}
		x = spec.input(s)
		y = model.Apply(s, x)
	})
	if err != nil {
		return nil, err
	}
	return g.Cut(x, y)
}

// isScores says whether a piece puts out one score a class.
func isScores(p *graph.Piece, spec Spec) bool {
	return slices.Equal(p.Out.Shape, []int{spec.Batch, spec.Classes})
}

// hiddenAndHead separates the model's output layer, nil if its last block puts out no class scores or is the only one.
func hiddenAndHead(pieces []*graph.Piece, spec Spec) (hidden []*graph.Piece, head *graph.Piece) {
	last := len(pieces) - 1
	if last > 0 && isScores(pieces[last], spec) {
		return pieces[:last], pieces[last]
	}
	return pieces, nil
}

// plus adds b to a sum that may not have begun.
func plus(sum, b *graph.Node) *graph.Node {
	if sum == nil {
		return b
	}
	return graph.Add(sum, b)
}

// arguments refuses a rule's missing arguments and, by name, settings it does not know.
func arguments(rule string, model layers.Layer, objective objectives.Objective, settings ...setting) error {
	if model == nil {
		return graph.Fail(rule, "model", "a layer", "nil")
	}
	if objective == nil {
		return graph.Fail(rule, "objective", "an objective", "nil")
	}
	for _, c := range settings {
		if !c.ok {
			return graph.Fail(rule, c.field, c.want, c.got)
		}
	}
	return nil
}

// setting is a hyper-parameter with whether its value is allowed.
type setting struct {
	field string
	ok    bool
	want  string
	got   any
}
