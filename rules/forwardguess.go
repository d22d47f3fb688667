package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Guess says where the direction comes from along which ForwardGuess measures a block's gradient.
type Guess int

const (
	LocalGuess      Guess = iota // the gradient of the block's own loss, of a trained auxiliary net on its output
	NTKGuess                     // the same of an untrained auxiliary net, drawn anew in every step
	FixedNTKGuess                // the same of an untrained auxiliary net that stays
	GaussianGuess                // standard normal numbers
	RademacherGuess              // -1 or 1
)

// Target says which loss's gradient ForwardGuess measures.
type Target int

const (
	GlobalTarget Target = iota // the model's
	LocalTarget                // the block's own, of a trained auxiliary net
)

// Space says what moves along the guess.
type Space int

const (
	ActivationSpace Space = iota // the logits of each layer; its weights then follow from the layer's own formula
	WeightSpace                  // each parameter tensor
)

// An Auxiliary makes the net that turns a block's output into outputs numbers an example: class scores, or the elements
// of a regression.
type Auxiliary func(outputs int) layers.Layer

// AuxLinear is a linear auxiliary net; an image is first averaged down to 2 by 2 pixels.
func AuxLinear(outputs int) layers.Layer {
	return layers.Sequential{pooled, layers.Dense{Units: outputs}}
}

// AuxMLP has hidden ReLU layers of the given widths; an image is first averaged down to 2 by 2 pixels.
func AuxMLP(hidden ...int) Auxiliary {
	return func(outputs int) layers.Layer {
		net := layers.Sequential{pooled}
		for _, units := range hidden {
			net = append(net, layers.Dense{Units: units, Activation: layers.ReLU{}})
		}
		return append(net, layers.Dense{Units: outputs})
	}
}

// AuxCNN brings an image to the given channels with a 1x1 convolution, halves it with 3x3 ones of stride 2 followed by
// batch normalisation and ReLU, averages it to 2 by 2 pixels and ends with a linear layer.
func AuxCNN(channels, convolutions int) Auxiliary {
	return func(outputs int) layers.Layer {
		net := layers.Sequential{layers.Conv2D{Filters: channels, Kernel: layers.Both(1)}}
		for range convolutions {
			net = append(net, layers.Conv2D{Filters: channels, Stride: layers.Both(2), Padding: layers.Both(1)}, layers.BatchNorm{}, layers.ReLU{})
		}
		return append(net, pooled, layers.Dense{Units: outputs})
	}
}

var pooled = layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node {
	if len(graph.ShapeOf(x)) == 4 {
		x = graph.AdaptiveAvgPool2D(x, 2, 2)
	}
	return graph.Flatten(x)
})

// ForwardGuess measures, for each block of the model, the derivative of the target loss along a guessed direction v in
// forward mode, and moves along the guess by it: the estimate is the projection <g, v>v/|v|² of the gradient g on the
// guess (L. Fournier et al. 2023, "Can forward gradient match backpropagation?", arXiv 2306.06968). No derivative
// passes from block to block. A local guess is the gradient of a small loss that sees the block alone; the last block
// sees the loss itself and is trained by its gradient. Under random guesses nothing is ever run backwards, except in a
// local target's auxiliary net.
//
// A guess has one coefficient for each example and layer (in ActivationSpace) or parameter (in WeightSpace, which keeps
// a gradient for each example), or, PerBatch, one for all examples together. In a model that mixes examples, as batch
// normalisation does, only PerBatch measures the exact derivative. Auxiliary nets belong to the rule
// ("forward-guess/BLOCK/...").
type ForwardGuess struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults
	Options   optim.Options
	Target    Target
	Guess     Guess
	Space     Space
	PerBatch  bool
	Unscaled  bool      // <g, v>v, unbiased for random guesses, instead of the projection
	Auxiliary Auxiliary // nil means AuxLinear
}

// Name is "forward-guess".
func (ForwardGuess) Name() string { return "forward-guess" }

// Trainer cuts the model at its blocks and compiles one program.
func (r ForwardGuess) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	switch {
	case r.Target < GlobalTarget || r.Target > LocalTarget:
		return nil, graph.Fail(r.Name(), "Target", "GlobalTarget or LocalTarget", int(r.Target))
	case r.Guess < LocalGuess || r.Guess > RademacherGuess:
		return nil, graph.Fail(r.Name(), "Guess", "LocalGuess, NTKGuess, FixedNTKGuess, GaussianGuess or RademacherGuess", int(r.Guess))
	case r.Space < ActivationSpace || r.Space > WeightSpace:
		return nil, graph.Fail(r.Name(), "Space", "ActivationSpace or WeightSpace", int(r.Space))
	}
	if r.Auxiliary == nil {
		r.Auxiliary = AuxLinear
	}
	params := spec.params()
	pieces, err := MonoForward{}.pieces(model, spec, params, true)
	if err != nil {
		return nil, err
	}
	step := func(s *graph.Scope, x, y *graph.Node) []Goal {
		outs := make([]*graph.Node, len(pieces))
		for i, p := range pieces {
			x = p.Apply(s, x)
			outs[i] = x
		}
		n := guessNet{ForwardGuess: r, s: s, objective: objective, y: y, like: x}
		loss := n.judge(x)
		goal := Goal{}
		for i, p := range pieces {
			var own []*graph.Node
			for _, q := range p.Params {
				own = append(own, s.Graph().ParamNode(q.Name))
			}
			n.block(&goal, p.Name, own, outs[i], loss, i == len(pieces)-1)
		}
		goal.Loss, goal.Clean = guard(loss.loss, n.slopes...), loss.loss
		return []Goal{goal}
	}
	return Plan{
		Name:      r.Name(),
		Params:    params,
		Phases:    []Phase{step},
		Predict:   model.Apply,
		Optimizer: orAdam(r.Optimizer),
		Options:   r.Options,
	}.Trainer(spec)
}

// guessNet is what the blocks of a step have in common.
type guessNet struct {
	ForwardGuess
	s         *graph.Scope
	objective objectives.Objective
	y, like   *graph.Node // targets, and a node of the model output's type
	slopes    []*graph.Node
}

// judged is an output with its loss.
type judged struct{ scores, loss *graph.Node }

func (n *guessNet) judge(scores *graph.Node) judged { return judged{scores, n.objective(scores, n.y)} }

// block adds what a block and its auxiliary nets learn.
func (n *guessNet) block(goal *Goal, name string, params []*graph.Node, out *graph.Node, model judged, last bool) {
	target, guess := model, model
	if !last && (n.Target == LocalTarget || n.Guess == LocalGuess) {
		local := n.auxiliary(name, "aux", out)
		own := n.heads(name, "aux", local)
		goal.Params = append(goal.Params, own...)
		goal.Grads = append(goal.Grads, graph.Grad(local.loss, own...)...)
		guess = local
		if n.Target == LocalTarget {
			target = local
		}
	}
	if !last && (n.Guess == NTKGuess || n.Guess == FixedNTKGuess) {
		guess = n.auxiliary(name, "guess", out)
		if n.Guess == NTKGuess {
			n.redraw(n.heads(name, "guess", guess))
		}
	}
	goal.Params = append(goal.Params, params...)
	switch {
	case n.Guess < GaussianGuess && guess == target:
		goal.Grads = append(goal.Grads, graph.Grad(target.loss, params...)...) // its projection on itself
	case n.Space == WeightSpace:
		goal.Grads = append(goal.Grads, n.inWeights(params, target, guess)...)
	default:
		goal.Grads = append(goal.Grads, n.inActivations(params, out, target, guess)...)
	}
}

func (n *guessNet) scope(block, head string) *graph.Scope {
	return n.s.Root().Sub(n.Name()).Sub(block).Sub(head)
}

// auxiliary applies a net to a block's output; its result has the type of the model's.
func (n *guessNet) auxiliary(block, head string, out *graph.Node) judged {
	shape := graph.ShapeOf(n.like)
	net := n.Auxiliary(graph.TypeOf(n.like).Size() / shape[0])
	return n.judge(graph.Reshape(net.Apply(n.scope(block, head), out), shape...))
}

// heads are the parameters of an auxiliary net.
func (n *guessNet) heads(block, head string, of judged) []*graph.Node {
	prefix := n.scope(block, head).Name("")
	return slices.DeleteFunc(n.s.Graph().Trainable(of.loss), func(p *graph.Node) bool {
		return !strings.HasPrefix(n.s.Graph().Param(p).Name, prefix)
	})
}

// redraw gives the parameters new values after each step: normal, with the mean and variance of their first ones.
func (n *guessNet) redraw(params []*graph.Node) {
	for _, p := range params {
		q := n.s.Graph().Param(p)
		var sum, squares float64
		size := float64(q.Value.Size())
		for i := range q.Value.Size() {
			sum += q.Value.At(i) / size
			squares += q.Value.At(i) * q.Value.At(i) / size
		}
		noise := n.s.Root().Normal("guess/"+q.Name, q.Value.Shape...)
		n.s.Update(p, graph.Shift(graph.Scale(noise, math.Sqrt(max(squares-sum*sum, 0))), sum))
	}
}

// noise is a random guess.
func (n *guessNet) noise(name string, shape ...int) *graph.Node {
	if n.Guess == GaussianGuess {
		return n.s.Root().Normal("guess/"+name, shape...)
	}
	return n.s.Root().Rademacher("guess/"+name, shape...)
}

// inActivations moves each layer's logits.
func (n *guessNet) inActivations(params []*graph.Node, out *graph.Node, target, guess judged) []*graph.Node {
	var uses []graph.Use
	for _, u := range n.s.Graph().Uses(out) {
		if slices.Contains(params, u.Param) {
			uses = append(uses, u)
		}
	}
	grads := make([]*graph.Node, len(params))
	estimate := map[*graph.Node]*graph.Node{}
	for _, u := range uses {
		z := u.Logit
		if estimate[z] == nil {
			n.needExamples(u)
			var v *graph.Node
			if n.Guess >= GaussianGuess {
				v = n.noise(n.s.Graph().Param(u.Param).Name+fmt.Sprintf("/%d", len(estimate)), graph.ShapeOf(z)...)
			} else {
				v = graph.Grad(guess.loss, z)[0]
			}
			if n.PerBatch {
				slope := graph.JVP([]*graph.Node{target.loss}, []*graph.Node{z}, []*graph.Node{v})[0]
				estimate[z] = graph.Mul(n.coefficient(slope, graph.Sum(graph.Square(v))), v)
			} else {
				slopes := n.slopeOfEach(target, []*graph.Node{z}, []*graph.Node{v})
				c := n.coefficient(slopes, graph.Sum(graph.Square(graph.Flatten(v)), 1))
				estimate[z] = graph.Mul(perExample(c, v), v)
			}
		}
		i := slices.Index(params, u.Param)
		grads[i] = plus(grads[i], u.Grad(estimate[z], graph.Same))
	}
	return grads
}

func (n *guessNet) needExamples(u graph.Use) {
	if shape := graph.ShapeOf(u.Logit); len(shape) == 0 || shape[0] != graph.ShapeOf(n.like)[0] {
		panic(graph.Fail(n.Name(), "use of "+n.s.Graph().Param(u.Param).Name, fmt.Sprintf("a result for each of %d examples", graph.ShapeOf(n.like)[0]), shape))
	}
}

// inWeights moves each parameter.
func (n *guessNet) inWeights(params []*graph.Node, target, guess judged) []*graph.Node {
	grads := make([]*graph.Node, len(params))
	batch := graph.ShapeOf(n.like)[0]
	for i, p := range params {
		name := n.s.Graph().Param(p).Name
		if n.PerBatch {
			var v *graph.Node
			if n.Guess >= GaussianGuess {
				v = n.noise(name, graph.ShapeOf(p)...)
			} else {
				v = graph.Grad(guess.loss, p)[0]
			}
			slope := graph.JVP([]*graph.Node{target.loss}, []*graph.Node{p}, []*graph.Node{v})[0]
			grads[i] = graph.Mul(n.coefficient(slope, graph.Sum(graph.Square(v))), v)
			continue
		}
		each := slices.Concat([]int{batch}, graph.ShapeOf(p))
		var v *graph.Node
		if n.Guess >= GaussianGuess {
			v = n.noise(name, each...)
		} else {
			v = n.gradOfEach(guess, p)
		}
		at, move := n.exampleTangents(target, p, v)
		slopes := n.slopeOfEach(target, at, move)
		grads[i] = contract(n.coefficient(slopes, graph.Sum(graph.Square(graph.Reshape(v, batch, -1)), 1)), v)
	}
	return grads
}

// exampleTangents lists the logits of a parameter and their tangents when each example has a parameter of its own that
// moves along v [batch, ...].
func (n *guessNet) exampleTangents(of judged, p, v *graph.Node) (at, move []*graph.Node) {
	uses, err := n.s.Graph().UsesOf(p, of.loss)
	if err != nil {
		panic(err)
	}
	for _, u := range uses {
		n.needExamples(u)
		at, move = append(at, u.Logit), append(move, u.ExampleTangents(v, graph.Same))
	}
	return at, move
}

// gradOfEach is the derivative of each example's part of the loss by a parameter, [batch, ...]: as the logits' tangents
// are linear in the examples' own parameters, the transpose of that map takes the logits' derivatives back.
func (n *guessNet) gradOfEach(of judged, p *graph.Node) *graph.Node {
	own := graph.BroadcastTo(n.s.Const(0), slices.Concat([]int{graph.ShapeOf(n.like)[0]}, graph.ShapeOf(p))...)
	at, move := n.exampleTangents(of, p, own)
	parts := n.parts(of)
	back := graph.VJP([]*graph.Node{parts}, []*graph.Node{graph.Fill(parts, 1)}, at)
	return graph.VJP(move, back, []*graph.Node{own})[0]
}

// parts are what each example adds to a loss, [batch].
func (n *guessNet) parts(of judged) *graph.Node {
	each := losses(n.objective, of.scores, n.y)
	return graph.Scale(each, 1/float64(graph.ShapeOf(each)[0]))
}

// slopeOfEach is, for each example, its part of the target's derivative.
func (n *guessNet) slopeOfEach(target judged, at, move []*graph.Node) *graph.Node {
	return graph.JVP([]*graph.Node{n.parts(target)}, at, move)[0]
}

// coefficient turns a derivative along a guess of squared length norm into the factor of the guess.
func (n *guessNet) coefficient(slope, norm *graph.Node) *graph.Node {
	n.slopes = append(n.slopes, slope)
	if n.Unscaled {
		return slope
	}
	return graph.Div(slope, graph.Shift(norm, 1e-16))
}
