package rules

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// RecurrentForwardForward turns a model into a network that settles under an image at its bottom and a label at its top
// (G. Hinton 2022, arXiv 2212.13345). At every iteration each hidden layer takes, from the iteration before, what its
// block makes of the layer below and what a matrix of the rule's own ("recurrent-forward-forward/BLOCK/topdown", [units
// above, units]) makes of the layer above, of the label where there is none; both are added before the ReLU at the
// block's end, or to the block's output if it ends otherwise. All layers change at once; each sees the others scaled to
// unit mean square and mixed with their state before by Damping. They start from one pass upwards.
//
// A layer learns at every iteration to be active, by the sum of squares against the number of its units, under the true
// label and quiet under a wrong one. Prediction is the label with the highest goodness, over the iterations from First to
// Last. Neither the objective nor the model's output layer has a part in it.
type RecurrentForwardForward struct {
	Optimizer   optim.Optimizer // nil means Adam with its defaults
	Options     optim.Options
	Iterations  int     // 0 means 8
	Damping     float64 // the share of the state before, below 1; 0 means 0.3
	First, Last int     // iterations that count in prediction, from 1; 0 means 3 and 5, but not beyond Iterations
	Peer        float64 // peer normalisation; 0 means 0.03, negative means none
}

// Name is "recurrent-forward-forward".
func (RecurrentForwardForward) Name() string { return "recurrent-forward-forward" }

// Trainer compiles one program of all iterations.
func (r RecurrentForwardForward) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	r.Iterations, r.Damping = orNumber(r.Iterations, 8), orNumber(r.Damping, 0.3)
	r.First, r.Last = orNumber(r.First, min(3, r.Iterations)), orNumber(r.Last, min(5, r.Iterations))
	like := ForwardForward{Optimizer: r.Optimizer, Negatives: WrongLabel, Readout: Energy, Skip: -1, Peer: r.Peer}
	if err := arguments(r.Name(), model, objective, append(like.settings(spec),
		setting{"Iterations", r.Iterations >= 1, "at least 1", r.Iterations},
		setting{"Damping", r.Damping >= 0 && r.Damping < 1, "0 <= Damping < 1", r.Damping},
		setting{"First, Last", r.First >= 1 && r.First <= r.Last && r.Last <= r.Iterations, "1 <= First <= Last <= Iterations",
			[]int{r.First, r.Last, r.Iterations}})...); err != nil {
		return nil, err
	}
	build := func(params *graph.Params, training bool) (*ffRecurrent, error) {
		pieces, err := cut(model, spec, params, training)
		if err != nil {
			return nil, err
		}
		n := &ffRecurrent{&ffNet{ForwardForward: like.withDefaults(), name: r.Name(), params: params, classes: spec.Classes}, r}
		n.hidden, n.head = hiddenAndHead(pieces, spec)
		return n, nil
	}
	params := spec.params()
	n, err := build(params, true)
	if err == nil {
		err = n.unread(objective, spec)
	}
	if err != nil {
		return nil, err
	}
	eval, err := build(params, false)
	if err != nil {
		return nil, err
	}
	return Plan{
		Name:      r.Name(),
		Params:    params,
		Phases:    []Phase{n.goals},
		Predict:   eval.energy,
		Optimizer: n.Optimizer,
		Options:   r.Options,
	}.Trainer(spec)
}

// ffRecurrent is a model cut for the rule.
type ffRecurrent struct {
	*ffNet
	rule RecurrentForwardForward
}

// settle runs the iterations under a label [batch, classes] and hands the activities of all layers of each to see.
// Nothing that a layer is given has a derivative.
func (n *ffRecurrent) settle(s *graph.Scope, x, label *graph.Node, iterations int, see func(t int, activities []*graph.Node)) {
	norm := func(a *graph.Node) *graph.Node { return graph.Detach(UnitRMS.Of(a)) }
	bottom, top := norm(x), graph.Scale(label, n.LabelStrength)
	a := bottom
	state := make([]*graph.Node, len(n.hidden))
	for i, p := range n.hidden {
		a = norm(p.Apply(s, a))
		state[i] = a
	}
	for t := 1; t <= iterations; t++ {
		active := make([]*graph.Node, len(state))
		for i, p := range n.hidden {
			below, above := bottom, top
			if i > 0 {
				below = state[i-1]
			}
			if i < len(state)-1 {
				above = graph.Flatten(state[i+1])
			}
			active[i] = n.layer(s, p, below, above)
		}
		for i, a := range active {
			state[i] = graph.Add(graph.Scale(state[i], n.rule.Damping), graph.Scale(norm(a), 1-n.rule.Damping))
		}
		see(t, active)
	}
}

// layer is the activity of a layer under what is below and above it.
func (n *ffRecurrent) layer(s *graph.Scope, p *graph.Piece, below, above *graph.Node) *graph.Node {
	up := p.Apply(s, below)
	rectified := graph.OpName(up) == "relu"
	if rectified {
		up = graph.Operands(up)[0]
	}
	units := graph.TypeOf(up).Size() / graph.ShapeOf(up)[0]
	from := graph.ShapeOf(above)[1]
	v := s.Root().Sub(n.name).Sub(p.Name).Param("topdown", graph.He(from), from, units)
	sum := graph.Add(up, graph.Reshape(graph.MatMul(above, v), graph.ShapeOf(up)...))
	if rectified {
		return graph.ReLU(sum)
	}
	return sum
}

// goals are those of the hidden layers: the mean over the iterations of their losses.
func (n *ffRecurrent) goals(s *graph.Scope, x, y *graph.Node) []Goal {
	right := n.label(s, y)
	loss, learned := make([]*graph.Node, len(n.hidden)), make([]*graph.Node, len(n.hidden))
	var good [][]*graph.Node
	n.settle(s, x, right, n.rule.Iterations, func(_ int, a []*graph.Node) { good = append(good, a) })
	n.settle(s, x, n.wrongLabel(s, nil, right), n.rule.Iterations, func(t int, b []*graph.Node) {
		for i, a := range good[t-1] {
			loss[i] = plus(loss[i], contrast(n.Goodness.Of(a), n.Goodness.Of(b[i]), n.threshold(n.hidden[i]), n.Temperature))
			if t == n.rule.Iterations {
				loss[i] = graph.Scale(loss[i], 1/float64(n.rule.Iterations))
				learned[i] = loss[i]
				if n.Peer > 0 {
					learned[i] = graph.Add(learned[i], n.peer(s, n.hidden[i], a))
				}
			}
		}
	})
	var goals []Goal
	for i, l := range loss {
		params := s.Graph().Trainable(l)
		goals = append(goals, Goal{Loss: l, Params: params, Grads: graph.Grad(learned[i], params...)})
	}
	return goals
}

// energy is the goodness under each label: [batch, classes].
func (n *ffRecurrent) energy(s *graph.Scope, x *graph.Node) *graph.Node {
	each := make([]*graph.Node, n.classes)
	for c := range each {
		onehot := graph.NewArray(s.DType(), 1, n.classes)
		onehot.Set(c, 1)
		label := graph.BroadcastTo(graph.Literal(x, onehot), graph.ShapeOf(x)[0], n.classes)
		n.settle(s, x, label, n.rule.Last, func(t int, a []*graph.Node) {
			for _, h := range a {
				if t >= n.rule.First {
					each[c] = plus(each[c], n.Goodness.Of(h))
				}
			}
		})
	}
	return graph.Stack(1, each...)
}
