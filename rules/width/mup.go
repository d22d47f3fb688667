// Package width scales initialisation and learning rates with the size of a model, so that the hyper-parameters found for
// a small one are right for a large one.
//
// MuP is the maximal update parametrisation with its extension to depth: a rule around another rule that is given a small
// base model, and trains a wider one so that every layer's features change as much in a step as the base model's do:
//
//	base := models.MLP{Hidden: []int{32, 32}, Classes: 10}
//	rule := width.MuP{Base: base, Rule: func(o optim.Options) rules.Rule {
//		return rules.Backprop{Optimizer: optim.Adam{LR: 3e-3}, Options: o} // found with the base model
//	}}
//	trainer, err := rule.Trainer(models.MLP{Hidden: []int{1024, 1024}, Classes: 10}, objectives.CrossEntropy, spec)
//
// Branch is the residual branch that keeps deep networks in scale. Transformer has the scalings of transformers that are
// derived from their kernels, and Kernel these kernels.
package width

import (
	"math"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Family is a kind of optimiser: what its steps are proportional to.
type Family int

// Adaptive optimisers, such as Adam, make steps that do not depend on the gradient's size; those of Gradient ones, such
// as SGD with or without momentum, are proportional to it.
const (
	Adaptive Family = iota
	Gradient
)

// MuP trains by Rule in the maximal update parametrisation (G. Yang, E. Hu et al. 2022, arXiv 2203.03466, table 3). Where
// a weight has p times the inputs and q times the outputs of the same weight in Base, relative to Base
//
//	its initial standard deviation is multiplied by min(1, sqrt(q/p))/sqrt(p),
//	its learning rate by 1/p under an Adaptive optimiser and by q/p under a Gradient one,
//
// which is the spectral form of the table's rows (G. Yang, J. Simon, J. Bernstein 2023, arXiv 2310.17813); a bias, gain
// or embedding has p = 1. The factor 1/sqrt(p) is left to the layer's own initialisation, whose variance must fall as
// 1/inputs, as those of He and LeCun do, and nearly Glorot's from a wide layer to a narrow one.
type MuP struct {
	// Base is the small model. It has the same parameters as the model to train, of fewer units.
	Base layers.Layer
	// Rule makes the rule that trains, with the learning rates in its options.
	Rule   func(o optim.Options) rules.Rule
	Family Family // of Rule's optimiser
	// Depth is how many times the branches of the network that the learning rate was found for this one has (G. Yang,
	// D. Yu, C. Zhu, S. Hayou 2023, arXiv 2310.02244): the adaptive rates of parameters of a Branch are multiplied by
	// 1/sqrt(Depth). 0 means 1. Base has as many branches as the model.
	Depth float64
}

// Name is that of the rule with "mup-" before it.
func (m MuP) Name() string {
	if m.Rule == nil {
		return "mup"
	}
	return "mup-" + m.Rule(optim.Options{}).Name()
}

// Trainer makes the rule's trainer and rescales its initial parameters.
func (m MuP) Trainer(model layers.Layer, objective objectives.Objective, spec rules.Spec) (rules.Trainer, error) {
	if m.Rule == nil {
		return nil, graph.Fail("mup", "Rule", "a function", "nil")
	}
	table, err := m.Table(model, spec)
	if err != nil {
		return nil, err
	}
	t, err := m.Rule(optim.Options{Rates: table.Rates()}).Trainer(model, objective, spec)
	if err != nil {
		return nil, err
	}
	return t, table.Rescale(t.Params())
}

// A Table says how each tensor of a model differs from the standard parametrisation.
type Table []Scaling

// Scaling is one parameter's line of a Table.
type Scaling struct {
	Name    string
	In, Out float64 // how many times the inputs and the outputs of the base model's
	Init    float64 // what the initial values are multiplied with
	Rate    float64 // what the learning rate is multiplied with
}

// Table compares the model with Base, both built for data of the spec.
func (m MuP) Table(model layers.Layer, spec rules.Spec) (Table, error) {
	if m.Family != Adaptive && m.Family != Gradient {
		return nil, graph.Fail("mup", "Family", "Adaptive or Gradient", int(m.Family))
	}
	if m.Depth == 0 {
		m.Depth = 1
	}
	if !(m.Depth > 0) || math.IsInf(m.Depth, 1) {
		return nil, graph.Fail("mup", "Depth", "a positive number", m.Depth)
	}
	base, err := build("Base", m.Base, spec)
	if err != nil {
		return nil, err
	}
	target, err := build("model", model, spec)
	if err != nil {
		return nil, err
	}
	var table Table
	for p := range target.All() {
		if p.State {
			continue
		}
		b := base.Get(p.Name)
		if b == nil {
			return nil, graph.Fail("mup", "Base", "a parameter "+p.Name, "none")
		}
		s := Scaling{Name: p.Name}
		if s.In, s.Out, err = ratios(p, b); err != nil {
			return nil, err
		}
		s.Init, s.Rate = math.Min(1, math.Sqrt(s.Out/s.In)), 1/s.In
		if m.Family == Gradient {
			s.Rate = s.Out / s.In
		} else if InBranch(p.Name) {
			s.Rate /= math.Sqrt(m.Depth)
		}
		table = append(table, s)
	}
	return table, nil
}

// build makes a model's parameters.
func build(arg string, model layers.Layer, spec rules.Spec) (*graph.Params, error) {
	if model == nil {
		return nil, graph.Fail("mup", arg, "a layer", "nil")
	}
	params := &graph.Params{Seed: spec.Seed, DType: spec.DType}
	_, err := graph.Build(params, func(s *graph.Scope) {
		model.Apply(s.ForTraining(), s.Input("x", s.DType(), append([]int{spec.Batch}, spec.Input...)...))
	})
	return params, errors.Wrap(err, "mup: "+arg)
}

// ratios is how many times as many inputs and outputs p has as b. Weights are [in, out], those of convolutions
// [out, in, height, width]; vectors have outputs only.
func ratios(p, b *graph.Param) (in, out float64, err error) {
	shape, small := p.Value.Shape, b.Value.Shape
	if len(shape) != len(small) {
		return 0, 0, graph.Fail("mup", p.Name, b.Value.Type, p.Value.Type)
	}
	each := make([]float64, len(shape))
	for i := range shape {
		each[i] = float64(shape[i]) / float64(small[i])
	}
	in, out = 1, 1
	switch len(shape) {
	case 2:
		in, out = each[0], each[1]
	case 4:
		in, out = each[1], each[0]
		each = each[2:]
		if each[0] != 1 || each[1] != 1 {
			return 0, 0, graph.Fail("mup", p.Name, "windows of the base model's size", p.Value.Type)
		}
	default:
		for _, e := range each {
			out *= e
		}
	}
	return in, out, nil
}

// Rates is the learning rates for optim.Options.
func (t Table) Rates() map[string]float64 {
	rates := map[string]float64{}
	for _, s := range t {
		rates[s.Name] = s.Rate
	}
	return rates
}

// Rescale multiplies fresh parameters with their Init.
func (t Table) Rescale(params *graph.Params) error {
	for _, s := range t {
		p := params.Get(s.Name)
		if p == nil {
			return graph.Fail("mup", "parameters", s.Name, "none")
		}
		for i := range p.Value.Size() {
			p.Value.Set(i, s.Init*p.Value.At(i))
		}
	}
	return nil
}

// branch is the kind of a Branch's scope.
const branch = "branch"

// InBranch says whether a parameter of this name belongs to a Branch.
func InBranch(name string) bool {
	return strings.HasPrefix(name, branch) || strings.Contains(name, "/"+branch)
}

// Branch is one block of a deep residual network (arXiv 2310.02244):
//
//	y = x + A·Blocks^-Exponent·MS(body(x)),  MS(z) = z - mean of z over its last axis.
//
// Exponent 1/2 and, under MuP, its Depth make depth-muP, which keeps features and their changes of one size whatever the
// depth, for bodies of one weight such as a Dense with an activation. Exponent 1 is stable too, but neighbouring blocks
// compute the same; 0 is the plain residual network.
type Branch struct {
	Body     layers.Layer
	Blocks   int     // of the network
	A        float64 // 0 means 1
	Exponent float64 // 0 means 1/2, optim.Zero an exact 0
	KeepMean bool    // leaves MS out, as for an activation whose mean is 0
}

// Apply is y.
func (b Branch) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	if b.Body == nil || b.Blocks < 1 {
		panic(graph.Fail("branch", "Body, Blocks", "a layer, and at least 1", b.Blocks))
	}
	full := s.Layer(branch, "").Name("") // "branch1/", "branch2/", ... in s
	name := full[len(s.Name("")) : len(full)-1]
	return s.Block(name, x, func(s *graph.Scope, x *graph.Node) *graph.Node {
		y := b.Body.Apply(s.Sub(name), x)
		if !b.KeepMean {
			y = graph.Center(y, -1)
		}
		a, exponent := b.A, b.Exponent
		if a == 0 {
			a = 1
		}
		switch exponent {
		case 0:
			exponent = 0.5
		case optim.Zero:
			exponent = 0
		}
		return graph.Add(x, graph.Scale(y, a*math.Pow(float64(b.Blocks), -exponent)))
	})
}
