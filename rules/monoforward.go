package rules

import (
	"fmt"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Readout says where a local rule's prediction comes from.
type Readout int

const (
	LastLayer Readout = iota // the last block's scores: the plain feed-forward network
	SumLayers                // the sum of all blocks' scores
	firstLayer
)

// LayerReadout predicts from the scores of block i, counted from 0.
func LayerReadout(i int) Readout { return firstLayer + Readout(i) }

// MonoForward trains each block from the objective of its own class scores a·Mᵀ, where the projection M belongs to the
// block; only the detached activation a goes on to the next block (arXiv 2501.09238). The model's own output layer, its
// last block, serves as the projection of the block before it, so the trained model is an ordinary network; the other
// projections belong to the rule ("mono-forward/BLOCK/projection", [features, classes], no bias).
type MonoForward struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults; each block has one of its own
	Options   optim.Options
	Order     Order
	Readout   Readout
}

// Name is "mono-forward".
func (MonoForward) Name() string { return "mono-forward" }

// Trainer cuts the model at its blocks.
func (r MonoForward) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective,
		setting{"Order", r.Order.ok(), "Simultaneous, Sequential or SideBySide", r.Order},
		setting{"Readout", r.Readout >= LastLayer, "LastLayer, SumLayers or LayerReadout", r.Readout}); err != nil {
		return nil, err
	}
	if spec.Classes == 0 {
		return nil, graph.Fail(r.Name(), "spec", "classes: its layers learn class scores", "regression targets")
	}
	params := spec.params()
	pieces, err := r.pieces(model, spec, params, true)
	if err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	eval, err := r.pieces(model, spec, params, false)
	if err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	n := len(pieces)
	if last := LayerReadout(n - 1); r.Readout > last {
		return nil, graph.Fail(r.Name(), "Readout", fmt.Sprintf("one of the %d blocks", n), fmt.Sprintf("block %d", r.Readout-firstLayer))
	}
	scores := func(s *graph.Scope, i int, a *graph.Node) *graph.Node {
		if i == n-1 && isScores(pieces[i], spec) {
			return a
		}
		a = graph.Flatten(a)
		features := graph.ShapeOf(a)[1]
		m := s.Root().Sub(r.Name()).Sub(pieces[i].Name).Param("projection", graph.LeCun(features), features, spec.Classes)
		return graph.MatMul(a, m)
	}
	block := func(s *graph.Scope, i int, in []*graph.Node, y *graph.Node) ([]*graph.Node, []Goal) {
		a := pieces[i].Apply(s, in[0])
		loss := objective(scores(s, i, a), y)
		return []*graph.Node{a}, []Goal{Minimize(loss, s.Graph().Trainable(loss))}
	}
	perBlock := func(s *graph.Scope, a *graph.Node) (names []string, each []*graph.Node) {
		for i, p := range eval {
			a = p.Apply(s, a)
			names, each = append(names, p.Name), append(each, scores(s, i, a))
		}
		return names, each
	}
	return Plan{
		Name:   r.Name(),
		Params: params,
		Blocks: &BlockLocal{N: n, Block: block, Order: r.Order},
		Layers: perBlock,
		Predict: func(s *graph.Scope, x *graph.Node) *graph.Node {
			_, each := perBlock(s, x)
			switch {
			case r.Readout == LastLayer:
				return each[n-1]
			case r.Readout >= firstLayer:
				return each[r.Readout-firstLayer]
			}
			var sum *graph.Node
			for _, z := range each {
				sum = plus(sum, z)
			}
			return sum
		},
		Optimizer: orAdam(r.Optimizer),
		Options:   r.Options,
	}.Trainer(spec)
}

// pieces cuts the model; the output layer becomes part of the last hidden block.
func (r MonoForward) pieces(model layers.Layer, spec Spec, params *graph.Params, training bool) ([]*graph.Piece, error) {
	pieces, err := cut(model, spec, params, training)
	if err != nil {
		return nil, err
	}
	hidden, head := hiddenAndHead(pieces, spec)
	if head == nil {
		return pieces, nil
	}
	last := len(hidden) - 1
	joined, err := hidden[last].Join(head)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(hidden[:last]), joined), nil
}
