package rules

import (
	"math"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// SKA is structured knowledge accumulation (B. Mahi 2025, arXiv 2503.13942): a dynamics of sigmoid layers without labels.
// One batch is passed through the network again and again; after each pass every layer descends its own entropy, from
// its sum z, its decisions D = sigmoid(z) and their change ΔD since the pass before:
//
//	H = -1/ln 2 Σ z·ΔD       ∂H/∂z = -1/ln 2 (z·D·(1-D) + ΔD)       W -= LR Xᵀ (∂H/∂z)/batch
//
// with X the input of the first layer, of the others the decisions below at the pass before (eq. 22 and the author's
// code; eq. 31 has no 1/ln 2 at ΔD). The first step only stores D. No derivative passes a layer.
//
// The batch is the one of the first step: later ones, and all labels, are not looked at, so an epoch is best a step. All
// layers of weights need the activation Sigmoid; the paper's weights start from layers.Normal(0.01). The loss is the
// network's entropy of the step, whatever the objective; SKALayers has the layers'. The rule does not learn classes: at
// its defaults the layers behind the first end with the same decisions for every image.
type SKA struct {
	Optimizer optim.Optimizer // nil means SGD with LR 0.01
	Options   optim.Options
}

// Name is "ska".
func (SKA) Name() string { return "ska" }

// Trainer compiles the pass, each layer's own formula and the metrics into one program.
func (r SKA) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective); err != nil {
		return nil, err
	}
	if r.Optimizer == nil {
		r.Optimizer = optim.SGD{LR: 0.01}
	}
	return Plan{
		Name:      r.Name(),
		Phases:    []Phase{func(s *graph.Scope, x, _ *graph.Node) []Goal { return r.goals(s, model, x) }},
		Predict:   model.Apply,
		Optimizer: r.Optimizer,
		Options:   r.Options,
	}.Trainer(spec)
}

// goals is one for each layer.
func (r SKA) goals(s *graph.Scope, model layers.Layer, x *graph.Node) []Goal {
	own := s.Root().Sub(r.Name())
	started := own.State("started", graph.Zeros())
	s.Update(started, s.Const(1))
	// last is the value at the last step, and now at the first.
	last := func(name string, now *graph.Node) *graph.Node {
		state := own.State(name, graph.Zeros(), graph.ShapeOf(now)...)
		s.Update(state, now)
		return graph.Where(started, state, now)
	}
	seen := own.State("batch", graph.Zeros(), graph.ShapeOf(x)...)
	fixed := graph.Where(started, seen, x)
	s.Update(seen, fixed)

	out := model.Apply(s, fixed)
	list := r.layers(s, fixed, out)
	at := map[*graph.Node]graph.Injection{}
	before := make([]*graph.Node, len(list))
	for i, l := range list {
		before[i] = last(l.name(s)+"/decisions", l.activity)
		at[l.activity] = func(*graph.Node, func(*graph.Node) *graph.Node) *graph.Node { return before[i] }
	}
	_, copied := graph.Inject(out, at)

	var goals []Goal
	batch, eta := float64(graph.ShapeOf(x)[0]), r.Optimizer.Rate()
	for i, l := range list {
		z, d := l.logit, l.activity
		shift := graph.Sub(d, before[i])
		slope := graph.Scale(graph.Add(graph.Mul(z, graph.Mul(d, graph.OneMinus(d))), shift), -1/math.Ln2)
		direction := graph.Scale(graph.Mul(slope, started), 1/batch)
		goal := Goal{Loss: objectives.KnowledgeEntropy(z, d, before[i])}
		for _, u := range l.uses {
			goal.Params = append(goal.Params, u.Param)
			goal.Grads = append(goal.Grads, u.Grad(direction, copied))
		}
		goals = append(goals, goal)

		was := last(l.name(s)+"/knowledge", z)
		metrics := own.State(l.name(s)+"/metrics", graph.Zeros(), skaMetrics)
		total := graph.Add(graph.Reshape(graph.Slice(metrics, 0, 1, 2, 1)), goal.Loss)
		s.Update(metrics, graph.Stack(0, goal.Loss, total, SKACosine(z, shift), SKATensorNet(z, was, d),
			SKAKnowledgeFlow(z, was, eta), SKALagrangian(z, was, d, eta), graph.Sqrt(graph.Dot(z, z))))
	}
	return goals
}

// layers is the layers of weights, each of which must end with a sigmoid.
func (r SKA) layers(s *graph.Scope, x, out *graph.Node) []site {
	list := sites(s, x, out)
	for _, l := range list {
		if l.weight() == nil {
			panic(graph.Fail(r.Name(), "model", "dense and convolutional layers only", s.Graph().Param(l.uses[0].Param).Name))
		}
		if graph.OpName(l.activity) != "sigmoid" || graph.Operands(l.activity)[0] != l.logit {
			panic(graph.Fail(r.Name(), "activation behind "+l.name(s), "Sigmoid, on every layer", graph.OpName(l.activity)))
		}
	}
	if len(list) == 0 {
		panic(graph.Fail(r.Name(), "model", "at least one layer with weights", "none"))
	}
	return list
}

// SKACosine is the cosine between knowledge z and the change of the decisions, both as one vector; 0 if one of them is.
func SKACosine(z, shift *graph.Node) *graph.Node {
	norms := graph.Mul(graph.Sqrt(graph.Dot(z, z)), graph.Sqrt(graph.Dot(shift, shift)))
	zero := graph.Equal(norms, graph.Const(norms, 0))
	return graph.Where(zero, norms, graph.Div(graph.Dot(z, shift), graph.Where(zero, graph.Const(norms, 1), norms)))
}

// SKATensorNet is Σ (z - z_before)·(D - 1/ln 2 z·D·(1-D)) (arXiv 2503.13942, section on the tensor net).
func SKATensorNet(z, before, decisions *graph.Node) *graph.Node {
	slope := graph.Scale(graph.Mul(z, graph.Mul(decisions, graph.OneMinus(decisions))), 1/math.Ln2)
	return graph.Dot(graph.Sub(z, before), graph.Sub(decisions, slope))
}

// SKAKnowledgeFlow is the speed of z: the Euclidean norm of z - z_before over the learning rate.
func SKAKnowledgeFlow(z, before *graph.Node, lr float64) *graph.Node {
	change := graph.Sub(z, before)
	return graph.Scale(graph.Sqrt(graph.Dot(change, change)), 1/lr)
}

// SKALagrangian is -Σ z·D·(1-D)·(z - z_before)/LR.
func SKALagrangian(z, before, decisions *graph.Node, lr float64) *graph.Node {
	slope := graph.Mul(z, graph.Mul(decisions, graph.OneMinus(decisions)))
	return graph.Scale(graph.Dot(slope, graph.Sub(z, before)), -1/lr)
}

// SKALayer is what is known of a layer after a step of SKA.
type SKALayer struct {
	Name       string  // of its weight
	Entropy    float64 // of the step, in bits, summed over batch and units
	Total      float64 // of all steps
	Cosine     float64 // of z and the change of the decisions
	TensorNet  float64
	Flow       float64 // of knowledge, in units of the learning rate
	Lagrangian float64
	Norm       float64 // of z, over batch and units
}

// skaMetrics is how many numbers of a layer are kept.
const skaMetrics = 7

// SKALayers is the state of each layer of an SKA trainer after its last step, from the input on.
func SKALayers(t Trainer) ([]SKALayer, error) {
	var list []SKALayer
	for q := range t.Params().All() {
		name, ok := strings.CutSuffix(q.Name, "/metrics")
		if name, own := strings.CutPrefix(name, SKA{}.Name()+"/"); ok && own && q.State {
			v := q.Value
			list = append(list, SKALayer{name, v.At(0), v.At(1), v.At(2), v.At(3), v.At(4), v.At(5), v.At(6)})
		}
	}
	if len(list) == 0 {
		return nil, graph.Fail("ska layers", "trainer", "one of SKA", t.Name())
	}
	return list, nil
}
