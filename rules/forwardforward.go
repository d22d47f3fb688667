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
	Energy                          // the label with the highest sum of the layers' goodness, from one pass a class
	Votes                           // the highest sum of the layers' softmax over labels of their goodness, as Energy
)

// Normalization says what a layer sees of the activities below it. Of their direction alone it cannot tell how good they
// were.
type Normalization int

const (
	UnitRMS    Normalization = iota // scaled to mean square 1, as in Hinton's code
	UnitLength                      // scaled to Euclidean length 1
	Unscaled                        // as they are
)

// Of scales each example of a [batch, ...]; one of zeros stays so.
func (m Normalization) Of(a *graph.Node) *graph.Node {
	if m == Unscaled {
		return a
	}
	flat := graph.Flatten(a)
	size := graph.Norm(flat, 1)
	if m == UnitRMS {
		size = graph.Scale(size, 1/math.Sqrt(float64(graph.ShapeOf(flat)[1])))
	}
	zero := graph.Equal(size, graph.Const(size, 0))
	size = graph.KeepDims(graph.Where(zero, graph.Const(size, 1), size), graph.ShapeOf(flat), 1)
	return graph.Reshape(graph.Div(flat, size), graph.ShapeOf(a)...)
}

// ForwardForward trains each hidden layer to be active on examples with their true label and quiet on examples with a
// wrong one (G. Hinton 2022, arXiv 2212.13345). By default the goodness of a layer is the sum of its squared activities
// and its threshold the number of its units; each layer sees the activities of the one below scaled to unit mean square.
// The label is appended to the flattened input, so the first layer is wider by Classes inputs than under other rules;
// OverwriteLabel keeps the input's shape, as convolutions need it. A layer whose activity is bounded, as by Tanh, may
// never reach the threshold: give it a lower one. The learning rate is constant for the first half of the epochs, in
// Sequential order of each layer's, and then falls linearly, as in Hinton's code.
//
// The model's output layer, its last block, is the readout of the last hidden layer. Hidden layers between the first
// and the last have readouts of the rule's own ("forward-forward/BLOCK/readout"); they learn from the objective and
// send nothing back. The first of several hidden layers counts neither in the readout nor in the energy: see Skip.
//
// As in Hinton's code the gradient of a layer is half that of softplus(threshold-G) for positive and
// softplus(G-threshold) for negative examples, and a unit that is less active than its layer's average is pushed up by
// Peer, whether it is on or not.
type ForwardForward struct {
	Optimizer        optim.Optimizer // of the hidden layers; nil means Adam with its defaults
	ReadoutOptimizer optim.Optimizer // nil means Optimizer
	Options          optim.Options
	Order            Order // of the hidden layers; the readout learns in every step
	Goodness         objectives.Goodness
	Normalization    Normalization
	Collaboration    Collaboration
	Negatives        Negatives
	Readout          FFReadout
	Label            LabelPlace
	Temperature      float64 // of the probability that an example is positive; 0 means 1
	Threshold        float64 // in multiples of Goodness.Threshold; 0 means 1
	LabelStrength    float64 // size of the label's entry in the input; 0 means 1
	Peer             float64 // peer normalisation; 0 means 0.03, negative means none
	Skip             int     // hidden layers from the bottom that count neither in readout nor in energy; 0 means 1 of several, negative none
	Blur             int     // of the masks of HybridImages, in passes; 0 means 6
}

// Name is "forward-forward".
func (ForwardForward) Name() string { return "forward-forward" }

// Trainer cuts the model at its blocks and compiles a program for each hidden layer. The first also makes the pass with
// the neutral label for the readout, and the wrong labels.
func (r ForwardForward) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective, append(r.settings(spec),
		setting{"Order", r.Order.ok(), "Simultaneous, Sequential or SideBySide", r.Order},
		setting{"Collaboration", r.Collaboration.ok(), "None, Previous or All", r.Collaboration},
		setting{"Order", r.Collaboration != All || r.Order != Sequential, "Simultaneous or SideBySide with Collaboration All", "Sequential"},
		setting{"Peer", r.Peer == r.Peer, "a number", r.Peer})...); err != nil {
		return nil, err
	}
	n, eval, err := r.nets(r.Name(), model, spec, spec.params())
	if err != nil {
		return nil, err
	}
	var byLayer func(s *graph.Scope, x *graph.Node) ([]string, []*graph.Node)
	if r.labelled() {
		byLayer = eval.byLayer
	}
	return Plan{
		Name:   r.Name(),
		Params: n.params,
		Layers: byLayer,
		Blocks: &BlockLocal{N: len(n.hidden), Order: r.Order, Block: n.block,
			Enter: func(s *graph.Scope, x, y *graph.Node) ([]*graph.Node, []Goal) {
				scores := n.scores(s, x)
				loss := objective(scores, y)
				goal := Minimize(loss, s.Graph().Trainable(loss))
				goal.Optimizer = n.ReadoutOptimizer
				return n.contrasts(s, x, y, scores), []Goal{goal}
			}},
		Predict:   eval.predict,
		Optimizer: n.Optimizer,
		Options:   r.Options,
		Gain:      n.gain,
	}.Trainer(spec)
}

// gain is constant for the first half of the epochs and then falls linearly; layers that learn one after the other each
// have a course of their own.
func (n *ffNet) gain(epoch, epochs int) float64 {
	if n.Order == Sequential {
		count := len(n.hidden)
		first := func(layer int) int { return (layer*epochs + count - 1) / count } // epoch of a layer
		layer := epoch * count / epochs
		epoch, epochs = epoch-first(layer), first(layer+1)-first(layer)
	}
	return min(1, (1+2*float64(epochs-epoch-1))/float64(epochs))
}

// settings are those that rules with labels in the input share.
func (r ForwardForward) settings(spec Spec) []setting {
	images := len(spec.Input) == 2 || len(spec.Input) == 3
	return []setting{
		{"spec", spec.Classes > 0, "classes: it embeds labels in the input", "regression targets"},
		{"Goodness", r.Goodness.Known(), "one of objectives' constants", r.Goodness},
		{"Normalization", r.Normalization >= UnitRMS && r.Normalization <= Unscaled, "UnitRMS, UnitLength or Unscaled", r.Normalization},
		{"Negatives", r.Negatives >= HardLabel && r.Negatives <= HybridImages, "HardLabel, WrongLabel or HybridImages", r.Negatives},
		{"Negatives", r.labelled() || images, "examples [channels, height, width] or [height, width] for HybridImages", spec.Input},
		{"Negatives", r.labelled() || spec.Batch > 1, "a batch of at least 2 for HybridImages", spec.Batch},
		{"Readout", r.Readout >= SoftmaxReadout && r.Readout <= Votes, "SoftmaxReadout, Energy or Votes", r.Readout},
		{"Readout", r.labelled() || r.Readout == SoftmaxReadout, "SoftmaxReadout: with HybridImages no label is in the input", r.Readout},
		{"Label", r.Label == AppendLabel || r.Label == OverwriteLabel, "AppendLabel or OverwriteLabel", r.Label},
		{"Threshold", r.Threshold >= 0, "at least 0", r.Threshold},
		{"Temperature", r.Temperature >= 0, "at least 0", r.Temperature},
		{"LabelStrength", r.LabelStrength >= 0, "at least 0", r.LabelStrength},
		{"Blur", r.Blur >= 0, "at least 0", r.Blur},
	}
}

func (r ForwardForward) withDefaults() ForwardForward {
	r.Optimizer = orAdam(r.Optimizer)
	r.Threshold = orNumber(r.Threshold, 1)
	r.Temperature = orNumber(r.Temperature, 1)
	r.LabelStrength = orNumber(r.LabelStrength, 1)
	r.Peer = orNumber(r.Peer, 0.03)
	r.Blur = orNumber(r.Blur, 6)
	return r
}

// orNumber is v, or its default if it is 0.
func orNumber[T int | float64](v, standard T) T {
	if v == 0 {
		return standard
	}
	return v
}

// labelled says whether the hidden layers see labels.
func (r ForwardForward) labelled() bool { return r.Negatives != HybridImages }

// ffNet is a model cut for forward-forward.
type ffNet struct {
	ForwardForward
	name    string // of the rule, as in the names of its parameters
	params  *graph.Params
	classes int
	hidden  []*graph.Piece
	head    *graph.Piece // nil if the model ends with a hidden layer
	skip    int          // hidden layers that do not count
}

// nets are the model cut for training and for prediction.
func (r ForwardForward) nets(name string, model layers.Layer, spec Spec, params *graph.Params) (training, eval *ffNet, err error) {
	if training, err = r.net(name, model, spec, params, true); err != nil {
		return nil, nil, err
	}
	eval, err = r.net(name, model, spec, params, false)
	return training, eval, err
}

// net cuts a model whose examples have the label inside.
func (r ForwardForward) net(name string, model layers.Layer, spec Spec, params *graph.Params, training bool) (*ffNet, error) {
	size := graph.Type{Shape: spec.Input}.Size()
	switch {
	case !r.labelled():
	case r.Label == AppendLabel:
		spec.Input = []int{size + spec.Classes}
	case size < spec.Classes:
		return nil, graph.Fail(name, "spec", fmt.Sprintf("at least %d numbers an example, to overwrite with the label", spec.Classes), spec.Input)
	}
	pieces, err := cut(model, spec, params, training)
	if err != nil {
		return nil, errors.Wrapf(err, "%s: the model is given examples %v with the label inside", name, spec.Input)
	}
	n := &ffNet{ForwardForward: r.withDefaults(), name: name, params: params, classes: spec.Classes, skip: max(r.Skip, 0)}
	n.hidden, n.head = hiddenAndHead(pieces, spec)
	if r.Skip == 0 && len(n.hidden) > 1 {
		n.skip = 1
	}
	if n.skip >= len(n.hidden) {
		return nil, graph.Fail(name, "Skip", fmt.Sprintf("fewer than the %d hidden layers", len(n.hidden)), r.Skip)
	}
	return n, nil
}

// embed puts a label, [batch, classes], into the examples and scales them.
func (n *ffNet) embed(x, label *graph.Node) *graph.Node {
	flat, label := graph.Flatten(x), graph.Scale(label, n.LabelStrength)
	if n.Label == AppendLabel {
		return n.Normalization.Of(graph.Concat(1, flat, label))
	}
	rest := graph.Slice(flat, 1, n.classes, graph.ShapeOf(flat)[1], 1)
	return n.Normalization.Of(graph.Reshape(graph.Concat(1, label, rest), graph.ShapeOf(x)...))
}

// label is 1 at each class of y [batch]; another number is an error of the run.
func (n *ffNet) label(s *graph.Scope, y *graph.Node) *graph.Node {
	identity := graph.NewArray(s.DType(), n.classes, n.classes)
	for c := range n.classes {
		identity.Set(c*(n.classes+1), 1)
	}
	return graph.Take(graph.Literal(y, identity), y, 0)
}

// contrast is the layer's loss: half the mean of T·softplus((theta-G)/T) over positive plus T·softplus((G-theta)/T) over
// negative examples of goodness G, [batch], at temperature T.
func contrast(pos, neg *graph.Node, theta, temperature float64) *graph.Node {
	excess := func(g *graph.Node) *graph.Node { return graph.Scale(graph.Shift(g, -theta), 1/temperature) }
	both := graph.Add(graph.Softplus(graph.Neg(excess(pos))), graph.Softplus(excess(neg)))
	return graph.Scale(graph.Mean(both), temperature/2)
}

// threshold is that of a hidden layer by itself.
func (n *ffNet) threshold(p *graph.Piece) float64 {
	return n.Threshold * n.Goodness.Threshold(p.Out.Size()/p.Out.Shape[0])
}

// scores is the softmax readout of the hidden activities, under the neutral label if there are labels. Only the readout
// learns from it.
func (n *ffNet) scores(s *graph.Scope, x *graph.Node) *graph.Node {
	a := n.Normalization.Of(x)
	if n.labelled() {
		a = n.embed(x, graph.BroadcastTo(s.Const(1/(float64(n.classes)*n.LabelStrength)), graph.ShapeOf(x)[0], n.classes))
	}
	var z *graph.Node
	for i, p := range n.hidden {
		a = graph.Detach(n.Normalization.Of(p.Apply(s, a)))
		switch {
		case i == len(n.hidden)-1 && n.head != nil:
			z = plus(z, n.head.Apply(s, a))
		case i >= n.skip:
			flat := graph.Flatten(a)
			w := s.Root().Sub(n.name).Sub(p.Name).Param("readout", graph.Zeros(), graph.ShapeOf(flat)[1], n.classes)
			z = plus(z, graph.MatMul(flat, w))
		}
	}
	return z
}

// contrasts is what the first layer is given: positive and negative examples and, if all layers collaborate, the
// goodness of both over all layers.
func (n *ffNet) contrasts(s *graph.Scope, x, y, scores *graph.Node) []*graph.Node {
	out := []*graph.Node{n.Normalization.Of(x), nil}
	if n.labelled() {
		label := n.label(s, y)
		out[0], out[1] = n.embed(x, label), n.embed(x, n.wrongLabel(s, scores, label))
	} else {
		out[1] = n.Normalization.Of(n.hybrid(s, x))
	}
	if n.Collaboration == All {
		out = append(out, n.total(s, out[0]), n.total(s, out[1]))
	}
	return out
}

// block is hidden layer i, given positive and negative examples and the goodness of both in other layers. Its goal is
// its own; it hands on its activities and what the next one has to know.
func (n *ffNet) block(s *graph.Scope, i int, in []*graph.Node, _ *graph.Node) ([]*graph.Node, []Goal) {
	p := n.hidden[i]
	a, b := p.Apply(s, in[0]), p.Apply(s, in[1])
	good, rest := n.collaborate(n.Goodness.Of(a), n.Goodness.Of(b), in[2:])
	loss := contrast(good[0], good[1], n.shared(i), n.Temperature)
	params := s.Graph().Trainable(loss)
	learned := loss
	if n.Peer > 0 {
		learned = graph.Add(loss, n.peer(s, p, a))
	}
	out := append([]*graph.Node{n.Normalization.Of(a), n.Normalization.Of(b)}, rest...)
	return out, []Goal{{Loss: loss, Params: params, Grads: graph.Grad(learned, params...)}}
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
	mean := s.Root().Sub(n.name).Sub(p.Name).State("activity", graph.Constant(0.5), units)
	now := graph.Detach(graph.Add(graph.Scale(mean, 0.9), graph.Scale(graph.Mean(open, 0), 0.1)))
	s.Update(mean, now)
	push := graph.Sub(graph.Mean(now), now)
	return graph.Scale(graph.Mean(graph.Sum(graph.Mul(open, push), 1)), -n.Peer)
}

// predict is the class scores of the chosen readout.
func (n *ffNet) predict(s *graph.Scope, x *graph.Node) *graph.Node {
	if n.Readout == SoftmaxReadout {
		return n.scores(s, x)
	}
	var sum *graph.Node
	for _, e := range n.energies(s, x)[n.skip:] {
		if n.Readout == Votes {
			e = graph.Softmax(e, 1)
		}
		sum = plus(sum, e)
	}
	return sum
}

// byLayer is each hidden layer's goodness under each label.
func (n *ffNet) byLayer(s *graph.Scope, x *graph.Node) (names []string, scores []*graph.Node) {
	for _, p := range n.hidden {
		names = append(names, p.Name)
	}
	return names, n.energies(s, x)
}

// energies is, for each hidden layer, its goodness under each label: [batch, classes].
func (n *ffNet) energies(s *graph.Scope, x *graph.Node) []*graph.Node {
	each := make([][]*graph.Node, len(n.hidden))
	for c := range n.classes {
		onehot := graph.NewArray(s.DType(), 1, n.classes)
		onehot.Set(c, 1)
		label := graph.BroadcastTo(graph.Literal(x, onehot), graph.ShapeOf(x)[0], n.classes)
		for i, a := range n.activities(s, n.embed(x, label)) {
			each[i] = append(each[i], n.Goodness.Of(a))
		}
	}
	var layers []*graph.Node
	for _, g := range each {
		layers = append(layers, graph.Stack(1, g...))
	}
	return layers
}

// activities is those of each hidden layer for examples with the label inside.
func (n *ffNet) activities(s *graph.Scope, a *graph.Node) []*graph.Node {
	var list []*graph.Node
	for _, p := range n.hidden {
		a = p.Apply(s, a)
		list = append(list, a)
		a = n.Normalization.Of(a)
	}
	return list
}
