package rules

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// PhysicalForwardForward trains models whose blocks begin with something that cannot be differentiated, such as
// layers.BlackBox: only what follows in a block, usually a linear map, learns, from a loss of its own (A. Momeni et al.
// 2023, arXiv 2304.11042, in the form of their code). The goodness of a block is the cosine of the absolute values of its
// output and a fixed random direction ("physical-forward-forward/BLOCK/direction"); with the true label in the example it
// is to be larger than with a wrong one: objectives.GoodnessMargin. The part of a block that has no parameters is
// computed once a step, then the rest learns InnerSteps times from what was measured, before it hands on its output.
//
// Prediction is the label with the highest sum of the blocks' goodness. Neither the objective nor the model's output
// layer, if its last block puts out class scores, has a part in it. A model without a black box is trained the same way.
type PhysicalForwardForward struct {
	Optimizer     optim.Optimizer // nil means Adam with its defaults; each block has one of its own
	Options       optim.Options
	InnerSteps    int // 0 means 10
	Label         LabelPlace
	LabelStrength float64 // size of the label's entry in the input; 0 means 1
	Sharpness     float64 // of the margin; 0 means 4
}

// Name is "physical-forward-forward".
func (PhysicalForwardForward) Name() string { return "physical-forward-forward" }

// Trainer compiles two programs a block: what has no parameters, and the rest with its gradient.
func (r PhysicalForwardForward) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	like := ForwardForward{Negatives: WrongLabel, Normalization: Unscaled, Readout: Energy, Skip: -1,
		Label: r.Label, LabelStrength: r.LabelStrength, Optimizer: r.Optimizer}
	if err := arguments(r.Name(), model, objective, append(like.settings(spec),
		setting{"InnerSteps", r.InnerSteps >= 0, "at least 0", r.InnerSteps},
		setting{"Sharpness", r.Sharpness >= 0, "at least 0", r.Sharpness})...); err != nil {
		return nil, err
	}
	pairs, each := spec, spec // a batch holds an example with both labels, in prediction with all
	pairs.Batch, each.Batch = 2*spec.Batch, spec.Classes*spec.Batch
	n, err := like.net(r.Name(), model, pairs, spec.params(), true)
	if err == nil {
		err = n.unread(objective, spec)
	}
	if err != nil {
		return nil, err
	}
	eval, err := like.net(r.Name(), model, each, n.params, false)
	if err != nil {
		return nil, err
	}
	return Plan{
		Name:      r.Name(),
		Params:    n.params,
		Blocks:    r.blocks(n),
		Predict:   eval.cosines,
		Optimizer: n.Optimizer,
		Options:   r.Options,
	}.Trainer(spec)
}

// blocks are two for each of the model's: its response without parameters, and what learns.
func (r PhysicalForwardForward) blocks(n *ffNet) *BlockLocal {
	return &BlockLocal{N: 2 * len(n.hidden), Repeat: orNumber(r.InnerSteps, 10),
		Enter: func(s *graph.Scope, x, y *graph.Node) ([]*graph.Node, []Goal) {
			in := n.contrasts(s, x, y, nil)
			return []*graph.Node{graph.Concat(0, in...)}, nil
		},
		Block: func(s *graph.Scope, i int, in []*graph.Node, _ *graph.Node) ([]*graph.Node, []Goal) {
			p, x := n.hidden[i/2], in[0]
			h := p.Apply(s, x)
			measured := untrained(s, x, h)
			if i%2 == 0 {
				return append([]*graph.Node{x}, measured...), nil
			}
			at := map[*graph.Node]graph.Injection{}
			for j, m := range measured {
				at[m] = func(*graph.Node, func(*graph.Node) *graph.Node) *graph.Node { return in[j+1] }
			}
			h, _ = graph.Inject(h, at)
			g := n.cosine(s, p, h)
			half := graph.ShapeOf(g)[0] / 2
			loss := objectives.GoodnessMargin(graph.Slice(g, 0, 0, half, 1), graph.Slice(g, 0, half, 2*half, 1), orNumber(r.Sharpness, 4))
			return []*graph.Node{h}, []Goal{Minimize(loss, s.Graph().Trainable(loss))}
		},
	}
}

// untrained lists where the part of h that is computed from x without trained parameters ends: the nodes, x aside, that
// are combined with what depends on parameters, in the order of their making.
func untrained(s *graph.Scope, x, h *graph.Node) (ends []*graph.Node) {
	type kind struct{ fromX, trained bool }
	seen := map[*graph.Node]kind{x: {fromX: true}}
	found := map[*graph.Node]bool{x: true}
	var visit func(n *graph.Node) kind
	visit = func(n *graph.Node) kind {
		if k, ok := seen[n]; ok {
			return k
		}
		var k kind
		if q := s.Graph().Param(n); q != nil && !q.State {
			k.trained = true
		}
		operands := graph.Operands(n)
		for _, a := range operands {
			of := visit(a)
			k = kind{k.fromX || of.fromX, k.trained || of.trained}
		}
		for _, a := range operands {
			if of := seen[a]; k.trained && of.fromX && !of.trained && !found[a] {
				ends, found[a] = append(ends, a), true
			}
		}
		seen[n] = k
		return k
	}
	visit(h)
	return ends
}

// cosine is the goodness [batch] of a block's output.
func (n *ffNet) cosine(s *graph.Scope, p *graph.Piece, h *graph.Node) *graph.Node {
	h = graph.Abs(graph.Flatten(h))
	direction := s.Root().Sub(n.name).Sub(p.Name).State("direction", graph.NormalInit(1), graph.ShapeOf(h)[1])
	return objectives.CosineGoodness(h, direction)
}

// cosines is the sum of the blocks' goodness under each label: [batch, classes].
func (n *ffNet) cosines(s *graph.Scope, x *graph.Node) *graph.Node {
	batch := graph.ShapeOf(x)[0]
	var all []*graph.Node
	for c := range n.classes {
		onehot := graph.NewArray(s.DType(), 1, n.classes)
		onehot.Set(c, 1)
		all = append(all, n.embed(x, graph.BroadcastTo(graph.Literal(x, onehot), batch, n.classes)))
	}
	var sum *graph.Node
	for i, h := range n.activities(s, graph.Concat(0, all...)) {
		sum = plus(sum, n.cosine(s, n.hidden[i], h))
	}
	return graph.Transpose(graph.Reshape(sum, n.classes, batch))
}
