package rules

import (
	"fmt"
	"math"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Negatives says where forward-forward takes the wrong label of a negative example from.
type Negatives int

const (
	HardLabel  Negatives = iota // drawn from the readout's own mistakes: softmax of its scores without the true class
	WrongLabel                  // drawn uniformly from the other classes
)

// LabelPlace says where a forward-forward network finds the label of an example.
type LabelPlace int

const (
	AppendLabel    LabelPlace = iota // behind the flattened example, in Classes further numbers
	OverwriteLabel                   // in place of the example's first Classes numbers, whose shape it keeps
)

// FFReadout says how a forward-forward network predicts.
type FFReadout int

const (
	SoftmaxReadout FFReadout = iota // a linear readout of the hidden activities, from one pass with the neutral label
	Energy                          // the label under which the hidden layers are most active, from one pass a class
)

// ForwardForward trains each hidden layer to be active on examples with their true label and quiet on examples with a
// wrong one (G. Hinton 2022, arXiv 2212.13345). The goodness of a layer is the sum of its squared activities; its
// threshold is the number of its units; each layer sees the activities of the one below scaled to unit mean square, so
// goodness cannot be handed on. The label is appended to the flattened input, so the first layer is wider by Classes
// inputs than under other rules; OverwriteLabel keeps the input's shape, as convolutions need it. A layer whose activity
// is bounded, as by Tanh, may never reach the threshold: give it a lower one. The learning rate is constant for the
// first half of the epochs and then falls linearly, as in Hinton's code.
//
// The model's output layer, its last block, is the readout of the last hidden layer. Hidden layers between the first
// and the last have readouts of the rule's own ("forward-forward/BLOCK/readout"); they learn from the objective and
// send nothing back. The first of several hidden layers counts neither in the readout nor in the energy.
//
// As in Hinton's code the gradient of a layer is half that of softplus(threshold-G) for positive and
// softplus(G-threshold) for negative examples, and a unit that is less active than its layer's average is pushed up by
// Peer, whether it is on or not.
type ForwardForward struct {
	Optimizer        optim.Optimizer // of the hidden layers; nil means Adam with its defaults
	ReadoutOptimizer optim.Optimizer // nil means Optimizer
	Options          optim.Options
	Negatives        Negatives
	Readout          FFReadout
	Label            LabelPlace
	Temperature      float64 // of the probability that an example is positive; 0 means 1
	Threshold        float64 // goodness a unit at which an example counts as positive with probability 1/2; 0 means 1
	LabelStrength    float64 // size of the label's entry in the input; 0 means 1
	Peer             float64 // peer normalisation; 0 means 0.03, negative means none
}

// Name is "forward-forward".
func (ForwardForward) Name() string { return "forward-forward" }

// Trainer cuts the model at its blocks and compiles one program: the pass with the neutral label, the passes with the
// true and with a wrong one, and each layer's own gradient.
func (r ForwardForward) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective,
		setting{"Negatives", r.Negatives == HardLabel || r.Negatives == WrongLabel, "HardLabel or WrongLabel", r.Negatives},
		setting{"Readout", r.Readout == SoftmaxReadout || r.Readout == Energy, "SoftmaxReadout or Energy", r.Readout},
		setting{"Label", r.Label == AppendLabel || r.Label == OverwriteLabel, "AppendLabel or OverwriteLabel", r.Label},
		setting{"Threshold", r.Threshold >= 0, "at least 0", r.Threshold},
		setting{"Temperature", r.Temperature >= 0, "at least 0", r.Temperature},
		setting{"LabelStrength", r.LabelStrength >= 0, "at least 0", r.LabelStrength}); err != nil {
		return nil, err
	}
	if spec.Classes == 0 {
		return nil, graph.Fail(r.Name(), "spec", "classes: it embeds labels in the input", "regression targets")
	}
	r = r.withDefaults()
	params := spec.params()
	embedded := spec
	size := graph.Type{Shape: spec.Input}.Size()
	switch {
	case r.Label == AppendLabel:
		embedded.Input = []int{size + spec.Classes}
	case size < spec.Classes:
		return nil, graph.Fail(r.Name(), "spec", fmt.Sprintf("at least %d numbers an example, to overwrite with the label", spec.Classes), spec.Input)
	}
	n, err := newFFNet(r, model, embedded, params, true)
	if err != nil {
		return nil, errors.Wrapf(err, "%s: the model is given examples %v with the label inside", r.Name(), embedded.Input)
	}
	eval, err := newFFNet(r, model, embedded, params, false)
	if err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	return Plan{
		Name:   r.Name(),
		Params: params,
		Phases: []Phase{func(s *graph.Scope, x, y *graph.Node) []Goal {
			label := graph.OneHot(y, spec.Classes, s.DType())
			scores := n.scores(s, x)
			readout := objective(scores, y)
			goals := n.hiddenGoals(s, x, label, n.wrongLabel(s, scores, label))
			return append(goals, Goal{
				Loss: readout, Params: s.Graph().Trainable(readout),
				Grads: graph.Grad(readout, s.Graph().Trainable(readout)...), Optimizer: r.ReadoutOptimizer,
			})
		}},
		Predict: func(s *graph.Scope, x *graph.Node) *graph.Node {
			if r.Readout == Energy {
				return eval.energies(s, x)
			}
			return eval.scores(s, x)
		},
		Optimizer: r.Optimizer,
		Options:   r.Options,
		Gain: func(epoch, epochs int) float64 {
			return min(1, (1+2*float64(epochs-epoch-1))/float64(epochs))
		},
	}.Trainer(spec)
}

func (r ForwardForward) withDefaults() ForwardForward {
	r.Optimizer = orAdam(r.Optimizer)
	if r.Threshold == 0 {
		r.Threshold = 1
	}
	if r.Temperature == 0 {
		r.Temperature = 1
	}
	if r.LabelStrength == 0 {
		r.LabelStrength = 1
	}
	if r.Peer == 0 {
		r.Peer = 0.03
	}
	return r
}

// ffNet is a model cut for forward-forward.
type ffNet struct {
	ForwardForward
	classes int
	hidden  []*graph.Piece
	head    *graph.Piece // nil if the model ends with a hidden layer
}

func newFFNet(r ForwardForward, model layers.Layer, spec Spec, params *graph.Params, training bool) (*ffNet, error) {
	pieces, err := cut(model, spec, params, training)
	if err != nil {
		return nil, err
	}
	n := &ffNet{ForwardForward: r, classes: spec.Classes}
	n.hidden, n.head = hiddenAndHead(pieces, spec)
	return n, nil
}

// embed puts a label, [batch, classes], into the examples and scales each to unit mean square.
func (n *ffNet) embed(x, label *graph.Node) *graph.Node {
	flat, label := graph.Flatten(x), graph.Scale(label, n.LabelStrength)
	if n.Label == AppendLabel {
		return unitRMS(graph.Concat(1, flat, label))
	}
	rest := graph.Slice(flat, 1, n.classes, graph.ShapeOf(flat)[1], 1)
	return unitRMS(graph.Reshape(graph.Concat(1, label, rest), graph.ShapeOf(x)...))
}

// unitRMS scales each example of a batch to mean square 1; an example of zeros stays so.
func unitRMS(a *graph.Node) *graph.Node {
	flat := graph.Flatten(a)
	size := graph.ShapeOf(flat)[1]
	rms := graph.Scale(graph.Norm(flat, 1), 1/math.Sqrt(float64(size)))
	zero := graph.Equal(rms, graph.Const(rms, 0))
	rms = graph.KeepDims(graph.Where(zero, graph.Const(rms, 1), rms), graph.ShapeOf(flat), 1)
	return graph.Reshape(graph.Div(flat, rms), graph.ShapeOf(a)...)
}

// goodness is the sum of squared activities of each example: [batch, ...] to [batch].
func goodness(a *graph.Node) *graph.Node { return graph.Sum(graph.Square(graph.Flatten(a)), 1) }

// contrast is the layer's loss: half the mean of T·softplus((theta-G)/T) over positive plus T·softplus((G-theta)/T) over
// negative examples, at temperature T.
func contrast(pos, neg *graph.Node, theta, temperature float64) *graph.Node {
	excess := func(a *graph.Node) *graph.Node { return graph.Scale(graph.Shift(goodness(a), -theta), 1/temperature) }
	both := graph.Add(graph.Softplus(graph.Neg(excess(pos))), graph.Softplus(excess(neg)))
	return graph.Scale(graph.Mean(both), temperature/2)
}

// counts says whether hidden layer i takes part in readout and energy.
func (n *ffNet) counts(i int) bool { return i > 0 || len(n.hidden) == 1 }

// scores is the softmax readout of the hidden activities under the neutral label. Only the readout learns from it.
func (n *ffNet) scores(s *graph.Scope, x *graph.Node) *graph.Node {
	batch := graph.ShapeOf(x)[0]
	neutral := graph.BroadcastTo(s.Const(1/(float64(n.classes)*n.LabelStrength)), batch, n.classes)
	a := n.embed(x, neutral)
	var z *graph.Node
	for i, p := range n.hidden {
		a = graph.Detach(unitRMS(p.Apply(s, a)))
		switch {
		case i == len(n.hidden)-1 && n.head != nil:
			z = plus(z, n.head.Apply(s, a))
		case n.counts(i):
			flat := graph.Flatten(a)
			size := graph.ShapeOf(flat)[1]
			w := s.Root().Sub(n.Name()).Sub(p.Name).Param("readout", graph.Zeros(), size, n.classes)
			z = plus(z, graph.MatMul(flat, w))
		}
	}
	return z
}

// wrongLabel draws a label other than the true one for each example.
func (n *ffNet) wrongLabel(s *graph.Scope, scores, label *graph.Node) *graph.Node {
	u := s.Root().Sub(n.Name()).Uniform("negatives", graph.ShapeOf(label)...)
	z := graph.Neg(graph.Log(graph.Neg(graph.Log(u)))) // Gumbel noise: the largest of z + log p is drawn from p
	if n.Negatives == HardLabel {
		z = graph.Add(z, graph.LogSoftmax(graph.Detach(scores), 1))
	}
	z = graph.Where(label, graph.Const(z, math.Inf(-1)), z)
	return graph.OneHot(graph.ArgMax(z, 1), n.classes, s.DType())
}

// hiddenGoals is what each hidden layer learns from: its input is detached, so nothing reaches another layer.
func (n *ffNet) hiddenGoals(s *graph.Scope, x, right, wrong *graph.Node) []Goal {
	pos, neg := n.embed(x, right), n.embed(x, wrong)
	var goals []Goal
	for _, p := range n.hidden {
		a, b := p.Apply(s, pos), p.Apply(s, neg)
		theta := n.Threshold * float64(graph.TypeOf(a).Size()/graph.ShapeOf(a)[0])
		loss := contrast(a, b, theta, n.Temperature)
		params := s.Graph().Trainable(loss)
		learned := loss
		if n.Peer > 0 {
			learned = graph.Add(loss, n.peer(s, p, a))
		}
		goals = append(goals, Goal{Loss: loss, Params: params, Grads: graph.Grad(learned, params...)})
		pos, neg = graph.Detach(unitRMS(a)), graph.Detach(unitRMS(b))
	}
	return goals
}

// peer is linear in the activities: it raises units whose running mean is below their layer's average and lowers the
// others. Its derivative passes a ReLU at the layer's end unhindered, so that units that are always off come back.
func (n *ffNet) peer(s *graph.Scope, p *graph.Piece, a *graph.Node) *graph.Node {
	open := a
	if graph.OpName(a) == "relu" {
		pre := graph.Operands(a)[0]
		open = graph.Add(pre, graph.Detach(graph.Sub(a, pre)))
	}
	open = graph.Flatten(open)
	units := graph.ShapeOf(open)[1]
	mean := s.Root().Sub(n.Name()).Sub(p.Name).State("activity", graph.Constant(0.5), units)
	now := graph.Detach(graph.Add(graph.Scale(mean, 0.9), graph.Scale(graph.Mean(open, 0), 0.1)))
	s.Update(mean, now)
	push := graph.Sub(graph.Mean(now), now)
	return graph.Scale(graph.Mean(graph.Sum(graph.Mul(open, push), 1)), -n.Peer)
}

// energies is, for each class, the total goodness under that label: [batch, classes].
func (n *ffNet) energies(s *graph.Scope, x *graph.Node) *graph.Node {
	batch := graph.ShapeOf(x)[0]
	each := make([]*graph.Node, n.classes)
	for c := range n.classes {
		onehot := graph.NewArray(s.DType(), 1, n.classes)
		onehot.Set(c, 1)
		a := n.embed(x, graph.BroadcastTo(graph.Literal(x, onehot), batch, n.classes))
		for i, p := range n.hidden {
			a = p.Apply(s, a)
			if n.counts(i) {
				each[c] = plus(each[c], goodness(a))
			}
			a = unitRMS(a)
		}
	}
	return graph.Stack(1, each...)
}
