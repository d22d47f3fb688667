package rules

import (
	"fmt"
	"math"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Perturbation is the distribution of a random direction v of all P parameters. E vvᵀ = I for all of them, so each
// estimate is unbiased; they differ in E|estimate|² for a gradient g and one tangent, and in what a step costs.
type Perturbation int

const (
	// Gaussian components are standard normal: (P+2)|g|².
	Gaussian Perturbation = iota
	// Rademacher components are -1 or 1: P|g|², the least there is.
	Rademacher
	// Sparse components are 0, and ±1/√Density with probability Density: (P-1+1/Density)|g|².
	Sparse
	// Orthogonal directions have length √P and are at right angles to each other: P|g|², and (P/K)|g|² for the average
	// of K of them, which is g itself for K = P.
	Orthogonal
	// RankOne directions of a weight matrix or kernel are products of two Rademacher vectors, one for the outputs and
	// one for the inputs; other parameters move as under Rademacher. P|g|². The tangent of a layer's product costs one
	// output unit, and a step draws and keeps a number for each input and output instead of one for each weight: the
	// cheapest of all in time and memory (so too the low-rank perturbations of Y. Chen et al. 2024, arXiv 2410.07698).
	RankOne
)

// ForwardGradient never runs a backward pass: one forward-mode pass computes the loss and its derivative d along a
// random direction v of all parameters, and d·v is an unbiased estimate of the gradient (A. Baydin et al. 2022, arXiv
// 2202.08587). Its variance grows with the number of parameters P, so the usable learning rate falls like 1/P. A step
// whose derivative is not finite is refused, as Refused counts.
type ForwardGradient struct {
	Optimizer    optim.Optimizer // nil means SGD with learning rate 0.001
	Options      optim.Options
	Tangents     int // directions averaged in a step; 0 means 1
	Perturbation Perturbation
	Density      float64 // of Sparse, in (0, 1]; 0 means 0.1
	// OneLayer moves in each step the parameters of one layer only, drawn with a probability equal to its share P_l/P of
	// all parameters, and divides the estimate by that probability: still unbiased. All Tangents are of that layer and begin
	// there, so a step costs less. For one tangent E|estimate|² is P Σ (1+(m-1)/P_l)|g_l|² where Perturbation says (P+m-1)|g|²; for
	// Rademacher and rank-one directions (m = 1) that is P|g|² as without OneLayer. Each layer has an optimiser of its own,
	// that steps when the layer is drawn: momentum and Adam average over the layer's own steps, and Adam's step, whose
	// length does not depend on the estimate's, is not divided by the probability. Schedules count all steps.
	OneLayer bool
}

// Name is "forward-gradient".
func (ForwardGradient) Name() string { return "forward-gradient" }

// Trainer compiles one forward program that carries values and tangents side by side; OneLayer one for each layer.
// Gaussian, Rademacher and rank-one directions are drawn again for the update, so that neither they nor the estimate
// are ever in memory as a whole.
func (r ForwardGradient) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective); err != nil {
		return nil, err
	}
	if r.Optimizer == nil {
		r.Optimizer = optim.SGD{LR: 0.001}
	}
	store, parts, err := r.parts(model, objective, spec)
	if err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	if !r.redraws() {
		return r.trainer(model, objective, spec, store, parts)
	}
	// Programs of losses and derivatives; the directions are for the updates alone.
	p := r.plan(model, objective, parts, func(g *graph.Graph, loss *graph.Node, _, _, slopes []*graph.Node) []Goal {
		goals := []Goal{{Loss: loss}}
		for _, d := range slopes {
			goals = append(goals, Goal{Loss: d})
		}
		return goals
	})
	p.Params = store
	inner, err := p.Trainer(spec)
	if err != nil {
		return nil, err
	}
	t := &forwardSteps{trainer: inner.(*trainer), draw: newPartDraw(parts, store.Seed)}
	for i, part := range parts {
		if err := t.redraw(r, part, t.phases[i]); err != nil {
			return nil, errors.Wrap(err, r.Name())
		}
	}
	t.stored = func() (*forwardSteps, error) { return r.trainer(model, objective, spec, store, parts) }
	return t, nil
}

// trainer has all directions and their mean in memory.
func (r ForwardGradient) trainer(model layers.Layer, objective objectives.Objective, spec Spec, store *graph.Params, parts []stepPart) (*forwardSteps, error) {
	clock := &runClock{of: r.Options.Schedule}
	r.Options.Schedule = clock
	p := r.plan(model, objective, parts, func(_ *graph.Graph, loss *graph.Node, params, grads, slopes []*graph.Node) []Goal {
		return []Goal{{Loss: guard(loss, slopes...), Clean: loss, Params: params, Grads: grads}}
	})
	p.Params = store
	inner, err := p.Trainer(spec)
	if err != nil {
		return nil, err
	}
	t := &forwardSteps{trainer: inner.(*trainer), draw: newPartDraw(parts, store.Seed)}
	clock.steps = t.steps.Ints()
	t.stored = func() (*forwardSteps, error) { return t, nil }
	return t, nil
}

// plan is the rule with goals made of the loss, the parameters, their estimates and the derivatives, a phase for each
// part.
func (r ForwardGradient) plan(model layers.Layer, objective objectives.Objective, parts []stepPart,
	goals func(g *graph.Graph, loss *graph.Node, params, grads, slopes []*graph.Node) []Goal) Plan {
	plan := Plan{Name: r.Name(), Predict: model.Apply, Optimizer: r.Optimizer, Options: r.Options}
	for _, part := range parts {
		plan.Phases = append(plan.Phases, func(s *graph.Scope, x, y *graph.Node) []Goal {
			loss := objective(model.Apply(s, x), y)
			var params []*graph.Node
			for _, q := range part.params {
				params = append(params, s.Graph().ParamNode(q.Name))
			}
			grads, slopes := r.estimate(loss, params, r.directions(s, loss, params), part.share)
			return goals(s.Graph(), loss, params, grads, slopes)
		})
	}
	return plan
}

// guard is the loss, and not finite if one of the numbers is not.
func guard(loss *graph.Node, numbers ...*graph.Node) *graph.Node {
	for _, n := range numbers {
		loss = graph.Add(loss, graph.Mul(graph.Sum(n), graph.Const(loss, 0)))
	}
	return loss
}

// direction is one direction of all parameters.
type direction struct {
	v        []*graph.Node // for each parameter
	at, move []*graph.Node // what forward mode starts from: nodes and their tangents
}

// estimate averages d·v/share over the directions; slopes are the derivatives d.
func (r ForwardGradient) estimate(loss *graph.Node, params []*graph.Node, along []direction, share float64) (grads, slopes []*graph.Node) {
	grads = make([]*graph.Node, len(params))
	for _, u := range along {
		d := graph.JVP([]*graph.Node{loss}, u.at, u.move)[0]
		slopes = append(slopes, d)
		mean := graph.Scale(d, 1/(share*float64(len(along))))
		for i := range params {
			grads[i] = plus(grads[i], graph.Mul(mean, u.v[i]))
		}
	}
	return grads, slopes
}

// directions draws the tangents of a step; a function of seed, number, parameter name and step.
func (r ForwardGradient) directions(s *graph.Scope, loss *graph.Node, params []*graph.Node) []direction {
	count := 0
	for _, p := range params {
		count += graph.TypeOf(p).Size()
	}
	k := max(r.Tangents, 1)
	density := r.Density
	if density == 0 {
		density = 0.1
	}
	switch {
	case r.Perturbation < Gaussian || r.Perturbation > RankOne:
		panic(graph.Fail(r.Name(), "Perturbation", "Gaussian, Rademacher, Sparse, Orthogonal or RankOne", int(r.Perturbation)))
	case r.Perturbation == Orthogonal && k > count:
		panic(graph.Fail(r.Name(), "Tangents", fmt.Sprintf("at most the %d parameters", count), k))
	case !(density > 0 && density <= 1):
		panic(graph.Fail(r.Name(), "Density", "0 to 1", r.Density))
	}
	all := make([]direction, k)
	for i := range all {
		all[i].at = params
		for _, p := range params {
			all[i].v = append(all[i].v, r.draw(s, tangentName(i, s.Graph().Param(p).Name), p, density))
		}
		all[i].move = all[i].v
	}
	switch r.Perturbation {
	case Orthogonal:
		orthogonalize(all, math.Sqrt(float64(count)))
	case RankOne:
		uses := usesOf(s.Graph(), loss, params)
		for i := range all {
			all[i] = r.rankOne(s, i, all[i], uses)
		}
	}
	return all
}

// draw makes independent components for one parameter.
func (r ForwardGradient) draw(s *graph.Scope, stream string, p *graph.Node, density float64) *graph.Node {
	shape := graph.ShapeOf(p)
	switch r.Perturbation {
	case Gaussian, Orthogonal:
		return s.Root().Normal(stream, shape...)
	case Sparse:
		sign := s.Root().Rademacher(stream, shape...)
		on := graph.Less(s.Root().Uniform(stream+"/on", shape...), graph.Const(sign, density))
		return graph.Scale(graph.Mul(sign, on), 1/math.Sqrt(density))
	}
	return s.Root().Rademacher(stream, shape...)
}

// orthogonalize makes the directions, as vectors of all parameters, orthogonal and of the given length (E. Schmidt
// 1907, one direction at a time).
func orthogonalize(all []direction, length float64) {
	dot := func(a, b []*graph.Node) (sum *graph.Node) {
		for i := range a {
			sum = plus(sum, graph.Dot(a[i], b[i]))
		}
		return sum
	}
	var unit [][]*graph.Node
	for k, u := range all {
		v := slices.Clone(u.v)
		for _, q := range unit {
			c := dot(v, q)
			for i := range v {
				v[i] = graph.Sub(v[i], graph.Mul(c, q[i]))
			}
		}
		inverse := graph.Rsqrt(dot(v, v))
		q, scaled := make([]*graph.Node, len(v)), make([]*graph.Node, len(v))
		for i := range v {
			q[i] = graph.Mul(v[i], inverse)
			scaled[i] = graph.Scale(q[i], length)
		}
		unit = append(unit, q)
		all[k] = direction{v: scaled, at: u.at, move: scaled}
	}
}

// usesOf lists the uses of each parameter; none if the model uses some parameter in a way of its own.
func usesOf(g *graph.Graph, loss *graph.Node, params []*graph.Node) map[*graph.Node][]graph.Use {
	uses := map[*graph.Node][]graph.Use{}
	for _, p := range params {
		if list, err := g.UsesOf(p, loss); err == nil {
			uses[p] = list
		}
	}
	return uses
}

// rankOne gives the weights of the direction the form pqᵀ.
func (r ForwardGradient) rankOne(s *graph.Scope, k int, u direction, uses map[*graph.Node][]graph.Use) direction {
	params := u.at
	u.at, u.move = nil, nil
	for i, w := range params {
		shape := graph.ShapeOf(w)
		if len(shape) > 1 {
			stream := tangentName(k, s.Graph().Param(w).Name)
			p, q := s.Root().Rademacher(stream+"/p", shape[0]), s.Root().Rademacher(stream+"/q", shape[1:]...)
			column := make([]int, len(shape))
			for j := range column {
				column[j] = 1
			}
			column[0] = shape[0]
			u.v[i] = graph.Mul(graph.Reshape(p, column...), q)
			var at, move []*graph.Node
			for _, use := range uses[w] {
				if d := use.OuterTangent(p, q); d != nil {
					at, move = append(at, use.Logit), append(move, d)
				}
			}
			if len(at) > 0 && len(at) == len(uses[w]) {
				u.at, u.move = append(u.at, at...), append(u.move, move...)
				continue
			}
		}
		u.at, u.move = append(u.at, w), append(u.move, u.v[i])
	}
	return u
}
