package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

const (
	features, hidden, classes = 64, 32, 10
	batch                     = 32
)

// Perceptron is the model of the digits as a composition of lenses: 64 to 32 to 10.
func Perceptron() Model[Node] {
	return Dense().Then(Pointwise(graph.Sigmoid)).Then(Dense())
}

// A run is a learner of digits as one compiled program: a step there and back, whose new state and parameters take the
// old ones' place at its end.
type run struct {
	learner   Learner[Node]
	optimizer Optimizer
	params    *graph.Params // states, named "state/...", and parameters
	names     []string      // of the parameters
	step      *graph.Program
	x, y      Node
	loss      Node
}

// newRun makes a learner that starts from a copy of the given parameters.
func newRun(o Optimizer, start *graph.Params) (*run, error) {
	r := &run{optimizer: o, params: &graph.Params{DType: graph.Float64}}
	for p := range start.All() {
		if err := r.params.Add(&graph.Param{Name: p.Name, Value: p.Value.Clone()}); err != nil {
			return nil, err
		}
		r.names = append(r.names, p.Name)
	}
	r.learner = Learner[Node]{Perceptron(), CrossEntropy(), Rate(o.Cap), o.Lens(len(r.names))}
	g, err := graph.Build(r.params, func(s *graph.Scope) {
		r.x, r.y = s.Input("x", graph.Float64, batch, features), s.Input("y", graph.Int, batch)
		state, params := r.wires(s)
		state2, params2, _, loss := r.learner.Step(state, params, []Node{r.x}, []Node{graph.OneHot(r.y, classes, graph.Float64)})
		for i, n := range state {
			s.Update(n, state2[i])
		}
		for i, n := range params {
			s.Update(n, params2[i])
		}
		r.loss = loss[0]
	})
	if err != nil {
		return nil, err
	}
	r.step, err = g.Compile(append(g.Updates(), r.loss)...)
	return r, err
}

func (r *run) wires(s *graph.Scope) (state, params []Node) {
	for _, name := range r.names {
		shape := r.params.Get(name).Value.Shape
		for k := range r.optimizer.Slots {
			state = append(state, s.State(fmt.Sprintf("state/%s/%d", name, k), graph.Zeros(), shape...))
		}
		params = append(params, s.Param(name, graph.Zeros(), shape...))
	}
	return state, params
}

// train makes one step on a batch and returns the loss before it.
func (r *run) train(b *rules.Batch) (float64, error) {
	if err := r.step.Array(r.x).CopyFrom(b.X); err != nil {
		return 0, err
	}
	if err := r.step.Array(r.y).CopyFrom(b.Y); err != nil {
		return 0, err
	}
	err := r.step.Run()
	return r.step.Array(r.loss).Scalar(), err
}

// used is the values of the parameters that the model is run with: the update lens's way forward.
func (r *run) used() (values []*graph.Array, err error) {
	var nodes []Node
	g, err := graph.Build(r.params, func(s *graph.Scope) {
		state, params := r.wires(s)
		nodes = r.learner.Update.Forward(join(state, params))
	})
	if err != nil {
		return nil, err
	}
	p, err := g.Compile(nodes...)
	if err != nil {
		return nil, err
	}
	if err := p.Run(); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		values = append(values, p.Array(n).Clone())
	}
	return values, nil
}

// accuracy is the share of a set that is classified right.
func (r *run) accuracy(test *data.Set) (float64, error) {
	var x, best Node
	g, err := graph.Build(r.params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, test.Len(), features)
		state, params := r.wires(s)
		best = graph.ArgMax(r.learner.Model.Forward(join(r.learner.Update.Forward(join(state, params)), []Node{x}))[0], 1)
	})
	if err != nil {
		return 0, err
	}
	p, err := g.Compile(best)
	if err != nil {
		return 0, err
	}
	for i, v := range test.X {
		p.Array(x).Set(i, float64(v))
	}
	if err := p.Run(); err != nil {
		return 0, err
	}
	right := 0
	for i, k := range p.Array(best).Ints() {
		if k == test.Labels[i] {
			right++
		}
	}
	return float64(right) / float64(test.Len()), nil
}

// counterpart is the library's optimiser that an update lens should be equal to.
func counterpart(o Optimizer, eps float64) optim.Optimizer {
	switch o.Name {
	case "momentum":
		return optim.SGD{LR: eps, Momentum: 0.9}
	case "Nesterov":
		return optim.SGD{LR: eps, Momentum: 0.9, Nesterov: true}
	case "Adagrad":
		return optim.Adagrad{LR: eps}
	case "Adam":
		return optim.Adam{LR: eps}
	}
	return optim.SGD{LR: eps}
}

// backprop is the library's own trainer of the same model.
func backprop(o optim.Optimizer, train *data.Set, seed uint64) (rules.Trainer, error) {
	spec := rules.SpecOf(train, batch, seed)
	spec.DType = graph.Float64
	model := models.MLP{Hidden: []int{hidden}, Classes: classes, Activation: layers.Sigmoid{}}
	return rules.Backprop{Optimizer: o}.Trainer(model, objectives.CrossEntropy, spec)
}
