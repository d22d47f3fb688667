package rules

import (
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
)

// What rules have to know that change a weight by the activity before and behind it: where weights enter the model and
// what is made of their results there.

// A site is one layer of weights: the parameters that meet in one sum, such as a matrix and a bias.
type site struct {
	uses     []graph.Use
	logit    *graph.Node // the sum
	activity *graph.Node // what becomes of the logit before it meets other values or takes another shape
	head     bool        // no other site lies between the logit and the model's output
}

// sites lists the layers of weights between x and y, in the order of their computation.
func sites(s *graph.Scope, x, y *graph.Node) []site {
	var list []site
	for _, u := range s.Graph().Uses(y) {
		if i := slices.IndexFunc(list, func(l site) bool { return l.logit == u.Logit }); i >= 0 {
			list[i].uses = append(list[i].uses, u)
			continue
		}
		list = append(list, site{uses: []graph.Use{u}, logit: u.Logit})
	}
	r := newReading(s, x, y)
	for i := range list {
		list[i].activity = r.activity(list[i].logit)
		behind := r.behind(list[i].logit)
		list[i].head = !slices.ContainsFunc(list, func(o site) bool { return o.logit != list[i].logit && behind[o.uses[0].Op] })
	}
	return list
}

// weight is the use of the layer's matrix or filters, nil if it has none, as that of a normalisation.
func (l site) weight() *graph.Use {
	for i, u := range l.uses {
		if op := graph.OpName(u.Op); op == "matmul" || op == "conv2d" {
			return &l.uses[i]
		}
	}
	return nil
}

// A reading is a computation with who reads what.
type reading struct {
	nodes []*graph.Node // operands first
	out   *graph.Node
	live  map[*graph.Node]bool // depends on the input or on trained parameters
}

func newReading(s *graph.Scope, x, y *graph.Node) *reading {
	r := &reading{out: y, live: map[*graph.Node]bool{x: true}}
	for _, p := range s.Graph().Trainable(y) {
		r.live[p] = true
	}
	seen := map[*graph.Node]bool{y: true}
	for stack := []*graph.Node{y}; len(stack) > 0; {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		r.nodes = append(r.nodes, n)
		for _, a := range graph.Operands(n) {
			if !seen[a] {
				seen[a] = true
				stack = append(stack, a)
			}
		}
	}
	slices.SortFunc(r.nodes, func(a, b *graph.Node) int { return int(a.ID() - b.ID()) })
	for _, n := range r.nodes {
		r.live[n] = r.live[n] || slices.ContainsFunc(graph.Operands(n), func(a *graph.Node) bool { return r.live[a] })
	}
	return r
}

// behind is the nodes computed from n.
func (r *reading) behind(n *graph.Node) map[*graph.Node]bool {
	found := map[*graph.Node]bool{}
	for _, m := range r.nodes {
		found[m] = slices.ContainsFunc(graph.Operands(m), func(a *graph.Node) bool { return a == n || found[a] })
	}
	return found
}

// activity follows the ops that keep the logit's shape and have no other operand that depends on data or weights, such
// as an activation function, whatever it is composed of, and dropout, to the last node that everything passes.
func (r *reading) activity(logit *graph.Node) *graph.Node {
	inside, leaves := map[*graph.Node]bool{}, map[*graph.Node]bool{r.out: true}
	for _, n := range r.nodes {
		args := graph.Operands(n)
		inside[n] = n == logit || graph.TypeOf(n).Equal(graph.TypeOf(logit)) &&
			slices.ContainsFunc(args, func(a *graph.Node) bool { return inside[a] }) &&
			!slices.ContainsFunc(args, func(a *graph.Node) bool { return !inside[a] && r.live[a] })
		for _, a := range args {
			leaves[a] = leaves[a] || !inside[n]
		}
	}
	passes := func(by *graph.Node) bool { // whether a way out leads past the node
		reached := map[*graph.Node]bool{logit: by != logit}
		for _, n := range r.nodes {
			if inside[n] && n != by {
				reached[n] = reached[n] || slices.ContainsFunc(graph.Operands(n), func(a *graph.Node) bool { return reached[a] })
			}
			if reached[n] && leaves[n] {
				return true
			}
		}
		return false
	}
	for _, n := range slices.Backward(r.nodes) {
		if inside[n] && !passes(n) {
			return n
		}
	}
	return logit
}

// name is that of the layer's matrix or filters.
func (l site) name(s *graph.Scope) string { return s.Graph().Param(l.weight().Param).Name }

// A firstPass is a model's pass on the examples, with its layers of weights and the output's error.
type firstPass struct {
	x, out    *graph.Node
	sites     []site
	objective objectives.Objective
	target    *graph.Node
	loss, e   *graph.Node // e is that of each example
}

func newPass(rule string, s *graph.Scope, model layers.Layer, x *graph.Node) *firstPass {
	p := &firstPass{x: x, out: model.Apply(s, x)}
	p.sites = sites(s, x, p.out)
	weights := 0
	for _, l := range p.sites {
		if l.weight() != nil {
			weights++
		}
	}
	if weights < 2 {
		panic(graph.Fail(rule, "model", "parameters in at least two dense or convolutional layers", weights))
	}
	return p
}

// normalize divides each example's activity of every hidden layer by its Euclidean norm.
func (p *firstPass) normalize(s *graph.Scope) {
	at, normal := map[*graph.Node]graph.Injection{}, map[*graph.Node]*graph.Node{}
	for _, l := range p.sites {
		if l.head || l.weight() == nil {
			continue
		}
		at[l.activity] = func(n *graph.Node, _ func(*graph.Node) *graph.Node) *graph.Node {
			axes := make([]int, len(graph.ShapeOf(n))-1)
			for i := range axes {
				axes[i] = i + 1
			}
			normal[n] = graph.Normalize(n, 1e-12, axes...)
			return normal[n]
		}
	}
	p.out, _ = graph.Inject(p.out, at)
	p.sites = sites(s, p.x, p.out)
	for i, l := range p.sites {
		if n := normal[l.activity]; n != nil {
			p.sites[i].activity = n
		}
	}
}

// judge computes loss and error.
func (p *firstPass) judge(objective objectives.Objective, target *graph.Node) {
	p.objective, p.target, p.loss = objective, target, objective(p.out, target)
	p.e = outputError(p.loss, p.out)
}

// outputError is the derivative of a mean loss by the output, for each example by itself.
func outputError(loss, out *graph.Node) *graph.Node {
	return graph.Scale(graph.Grad(loss, out)[0], float64(graph.ShapeOf(out)[0]))
}

// ideal is the output without error.
func (p *firstPass) ideal() *graph.Node {
	if graph.TypeOf(p.target).IsFloat() {
		return p.target
	}
	return graph.OneHot(p.target, graph.ShapeOf(p.out)[1], p.out.Dtype())
}

// goal moves each parameter against the mean of its directions over the batch.
func (p *firstPass) goal(s *graph.Scope, loss *graph.Node, d localProducts) Goal {
	goal := Goal{Loss: loss}
	for _, w := range s.Graph().Trainable(p.out) {
		if d[w] != nil {
			goal.Params = append(goal.Params, w)
			goal.Grads = append(goal.Grads, graph.Scale(d[w], 1/float64(graph.ShapeOf(p.x)[0])))
		}
	}
	return goal
}

// dense is the layers with matrices, which must be a chain from the flat input to the output.
func (p *firstPass) dense(rule string) []site {
	var list []site
	size := graph.TypeOf(p.x).Size() / graph.ShapeOf(p.x)[0]
	for _, l := range p.sites {
		w := l.weight()
		if w == nil {
			continue
		}
		shape := graph.ShapeOf(w.Param)
		if len(shape) != 2 || shape[0] != size || len(graph.ShapeOf(l.logit)) != 2 {
			panic(graph.Fail(rule, "Feedback", "Layerwise with a chain of dense layers only", "a layer with weight "+graph.TypeOf(w.Param).String()))
		}
		size = shape[1]
		list = append(list, l)
	}
	return list
}

// localProducts is the sum over the batch of each parameter's products.
type localProducts map[*graph.Node]*graph.Node

// add adds the products of a layer's activity behind its weights, or what stands for it, with those before them.
func (d localProducts) add(l site, behind *graph.Node, copied func(*graph.Node) *graph.Node) {
	for _, u := range l.uses {
		d[u.Param] = plus(d[u.Param], u.Grad(behind, copied))
	}
}

// Feedback says what the matrix F is that projects the output's error to the input, [inputs, outputs].
type Feedback int

const (
	Uniform   Feedback = iota // drawn from U(-b, b), b = scale·sqrt(6/inputs)
	Layerwise                 // product of a normal matrix for each dense layer, of standard deviation scale·sqrt(2/inputs)
)

// feedback is a rule's matrix F.
type feedback struct {
	rule  string
	kind  Feedback
	scale float64
}

func newFeedback(rule string, kind Feedback, scale float64) (feedback, error) {
	if kind != Uniform && kind != Layerwise {
		return feedback{}, graph.Fail(rule, "Feedback", "Uniform or Layerwise", int(kind))
	}
	if !(scale >= 0) || math.IsInf(scale, 0) {
		return feedback{}, graph.Fail(rule, "FeedbackScale", "a finite number of at least 0", scale)
	}
	return feedback{rule, kind, orDefault(scale, 0.05)}, nil
}

// std is the standard deviation of a layerwise F.
func (f feedback) std(p *firstPass) float64 {
	size := graph.TypeOf(p.x).Size() / graph.ShapeOf(p.x)[0]
	return f.scale * math.Sqrt(2/float64(size))
}

// layers is the factors of a layerwise F.
func (f feedback) layers(s *graph.Scope, p *firstPass) (list []*graph.Node) {
	dense := p.dense(f.rule)
	units := 1.0
	for _, l := range dense[:len(dense)-1] {
		units *= float64(graph.ShapeOf(l.weight().Param)[1])
	}
	std := math.Pow(f.std(p)/math.Sqrt(units), 1/float64(len(dense)))
	for _, l := range dense {
		list = append(list, s.Root().Sub(f.rule).State(l.name(s), graph.NormalInit(std), graph.ShapeOf(l.weight().Param)...))
	}
	return list
}

// product multiplies matrices, from the last, which is narrow, to the first.
func product(m []*graph.Node) *graph.Node {
	f := m[len(m)-1]
	for _, b := range slices.Backward(m[:len(m)-1]) {
		f = graph.MatMul(b, f)
	}
	return f
}

// project is F e in the shape of the input.
func (f feedback) project(s *graph.Scope, p *firstPass) *graph.Node {
	e := graph.Reshape(p.e, graph.ShapeOf(p.e)[0], -1)
	var m *graph.Node
	if f.kind == Layerwise {
		m = product(f.layers(s, p))
	} else {
		size := graph.TypeOf(p.x).Size() / graph.ShapeOf(p.x)[0]
		b := f.scale * math.Sqrt(6/float64(size))
		m = s.Root().Sub(f.rule).State("feedback", graph.UniformInit(-b, b), size, graph.ShapeOf(e)[1])
	}
	return graph.Reshape(graph.MatMulT(e, m, false, true), graph.ShapeOf(p.x)...)
}
