package rules

import (
	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// GoodnessReadout says which blocks' goodness a ScalableForwardForward network predicts from.
type GoodnessReadout int

const (
	AverageBlocks GoodnessReadout = iota // the mean over all blocks
	LastBlock                            // that of the last one
)

// ScalableForwardForward trains each block of a model, such as a residual or an inverted residual one, from a goodness
// for each class: the mean squared response of a small auxiliary convolution with one channel a class, which the rule
// owns ("scalable-forward-forward/BLOCK/responses/weight"). The objective takes the goodness as its scores; with
// cross-entropy that is the log-sum-exp margin of A. Krutsylo 2025 (arXiv 2501.03176). One forward pass without
// negative data and without labels in the input is enough; backpropagation goes on inside of blocks only. What a block
// hands on is brought to mean 0 and variance 1 for each example.
//
// The model's own output layer, a last block that puts out class scores, takes no part: prediction is the goodness.
type ScalableForwardForward struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults; each block has one of its own
	Options   optim.Options
	Order     Order
	Readout   GoodnessReadout
	Kernel    int     // of the auxiliary convolutions, odd; 0 means 3
	Scale     float64 // of their initial weights, in standard deviations 1/√fan-in; 0 means 3
	Group     int     // responses a class of a block that puts out rows; 0 means 8
}

// Name is "scalable-forward-forward".
func (ScalableForwardForward) Name() string { return "scalable-forward-forward" }

// Trainer cuts the model at its blocks.
func (r ScalableForwardForward) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective,
		setting{"Order", r.Order.ok(), "Simultaneous, Sequential or SideBySide", r.Order},
		setting{"Readout", r.Readout == AverageBlocks || r.Readout == LastBlock, "AverageBlocks or LastBlock", r.Readout},
		setting{"Kernel", r.Kernel >= 0 && (r.Kernel == 0 || r.Kernel%2 == 1), "an odd number, or 0 for 3", r.Kernel},
		setting{"Scale", r.Scale >= 0, "at least 0", r.Scale},
		setting{"Group", r.Group >= 0, "at least 0", r.Group}); err != nil {
		return nil, err
	}
	if spec.Classes == 0 {
		return nil, graph.Fail(r.Name(), "spec", "classes: a block has a goodness for each", "regression targets")
	}
	if r.Kernel == 0 {
		r.Kernel = 3
	}
	if r.Scale == 0 {
		r.Scale = 3
	}
	params := spec.params()
	train, err := r.hidden(model, spec, params, true)
	if err != nil {
		return nil, err
	}
	eval, err := r.hidden(model, spec, params, false)
	if err != nil {
		return nil, err
	}
	head := layers.ClassResponses{Classes: spec.Classes, Kernel: r.Kernel, Scale: r.Scale, Group: r.Group, Name: "responses"}
	block := func(s *graph.Scope, p *graph.Piece, a *graph.Node) (h, goodness *graph.Node) {
		h = standardised(p.Apply(s, a))
		return h, objectives.ClassGoodness(head.Apply(s.Root().Sub(r.Name()).Sub(p.Name), h))
	}
	perBlock := func(s *graph.Scope, a *graph.Node) (names []string, each []*graph.Node) {
		var g *graph.Node
		for _, p := range eval {
			a, g = block(s, p, a)
			names, each = append(names, p.Name), append(each, g)
		}
		return names, each
	}
	return Plan{
		Name:   r.Name(),
		Params: params,
		Blocks: &BlockLocal{
			N:     len(train),
			Order: r.Order,
			Block: func(s *graph.Scope, i int, in []*graph.Node, y *graph.Node) ([]*graph.Node, []Goal) {
				h, g := block(s, train[i], in[0])
				loss := objective(g, y)
				return []*graph.Node{h}, []Goal{Minimize(loss, s.Graph().Trainable(loss))}
			},
		},
		Layers: perBlock,
		Predict: func(s *graph.Scope, x *graph.Node) *graph.Node {
			_, each := perBlock(s, x)
			if r.Readout == LastBlock {
				return each[len(each)-1]
			}
			var sum *graph.Node
			for _, g := range each {
				sum = plus(sum, g)
			}
			return graph.Scale(sum, 1/float64(len(each)))
		},
		Optimizer: orAdam(r.Optimizer),
		Options:   r.Options,
	}.Trainer(spec)
}

// hidden is the model's blocks but for its output layer.
func (r ScalableForwardForward) hidden(model layers.Layer, spec Spec, params *graph.Params, training bool) ([]*graph.Piece, error) {
	pieces, err := cut(model, spec, params, training)
	if err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	hidden, _ := hiddenAndHead(pieces, spec)
	return hidden, nil
}

// standardised brings each example of a batch to mean 0 and variance 1, without parameters.
func standardised(a *graph.Node) *graph.Node {
	var axes []int
	for i := 1; i < len(graph.ShapeOf(a)); i++ {
		axes = append(axes, i)
	}
	return graph.Standardize(a, 1e-5, axes...)
}
