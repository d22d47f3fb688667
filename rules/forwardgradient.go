package rules

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Perturbation is the distribution of a random direction: independent components of mean 0 and variance 1.
type Perturbation int

const (
	Gaussian   Perturbation = iota // standard normal
	Rademacher                     // -1 or 1: the unit-variance choice of least variance
)

// ForwardGradient never runs a backward pass: one forward-mode pass computes the loss and its derivative d along a
// random direction v of all parameters, and d·v is an unbiased estimate of the gradient (A. Baydin et al. 2022, arXiv
// 2202.08587). Its variance grows with the number of parameters P, so the usable learning rate falls like 1/P.
type ForwardGradient struct {
	Optimizer    optim.Optimizer // nil means SGD with learning rate 0.001
	Options      optim.Options
	Tangents     int // directions averaged in a step; 0 means 1
	Perturbation Perturbation
}

// Name is "forward-gradient".
func (ForwardGradient) Name() string { return "forward-gradient" }

// Trainer compiles one forward program that carries values and tangents side by side.
func (r ForwardGradient) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	tangents := max(r.Tangents, 1)
	step := func(s *graph.Scope, x, y *graph.Node) []Goal {
		loss := objective(model.Apply(s, x), y)
		params := s.Graph().Trainable(loss)
		grads := make([]*graph.Node, len(params))
		for k := range tangents {
			v := r.directions(s, k, params)
			d := graph.Scale(graph.JVP([]*graph.Node{loss}, params, v)[0], 1/float64(tangents))
			for i := range params {
				g := graph.Mul(d, v[i])
				if grads[i] != nil {
					g = graph.Add(grads[i], g)
				}
				grads[i] = g
			}
		}
		return []Goal{{Loss: loss, Params: params, Grads: grads}}
	}
	optimizer := r.Optimizer
	if optimizer == nil {
		optimizer = optim.SGD{LR: 0.001}
	}
	return Plan{
		Name:      r.Name(),
		Phases:    []Phase{step},
		Predict:   model.Apply,
		Optimizer: optimizer,
		Options:   r.Options,
	}.Trainer(spec)
}

// directions draws tangent k of every parameter; a function of seed, k, parameter name and step.
func (r ForwardGradient) directions(s *graph.Scope, k int, params []*graph.Node) []*graph.Node {
	v := make([]*graph.Node, len(params))
	for i, p := range params {
		stream := fmt.Sprintf("tangent/%d/%s", k, s.Graph().Param(p).Name)
		shape := graph.ShapeOf(p)
		switch r.Perturbation {
		case Gaussian:
			v[i] = s.Root().Normal(stream, shape...)
		case Rademacher:
			u := s.Root().Uniform(stream, shape...)
			v[i] = graph.Shift(graph.Scale(graph.Greater(u, graph.Const(u, 0.5)), 2), -1)
		default:
			panic(graph.Fail(r.Name(), "Perturbation", "Gaussian or Rademacher", r.Perturbation))
		}
	}
	return v
}
