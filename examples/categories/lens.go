package main

import "slices"

// A Lens goes forward from a to b, and back from (a, change of b) to a change of a. T is what flows along its wires:
// nodes of a graph for smooth maps, bits for Boolean circuits. Nothing in this file knows which.
type Lens[T any] struct {
	In, Out int // wires of a and of b
	Forward func(a []T) []T
	Back    func(a, db []T) []T
}

// Then is f followed by g: forward f then g, back g then f. This is the chain rule.
func (f Lens[T]) Then(g Lens[T]) Lens[T] {
	return Lens[T]{f.In, g.Out,
		func(a []T) []T { return g.Forward(f.Forward(a)) },
		func(a, dc []T) []T { return f.Back(a, g.Back(f.Forward(a), dc)) },
	}
}

// Beside is f and g on wires of their own.
func (f Lens[T]) Beside(g Lens[T]) Lens[T] {
	return Lens[T]{f.In + g.In, f.Out + g.Out,
		func(a []T) []T { return join(f.Forward(a[:f.In]), g.Forward(a[f.In:])) },
		func(a, db []T) []T { return join(f.Back(a[:f.In], db[:f.Out]), g.Back(a[f.In:], db[f.Out:])) },
	}
}

// Identity is n wires that nothing happens on.
func Identity[T any](n int) Lens[T] {
	return Lens[T]{n, n, func(a []T) []T { return a }, func(_, db []T) []T { return db }}
}

// A Model is a lens with parameters: the first Params wires of its input.
type Model[T any] struct {
	Params int
	Lens[T]
}

// Then composes models: the parameters of both stand before the input, f's first.
func (f Model[T]) Then(g Model[T]) Model[T] {
	split := func(a []T) (p, q, x []T) { return a[:f.Params], a[f.Params : f.Params+g.Params], a[f.Params+g.Params:] }
	return Model[T]{f.Params + g.Params, Lens[T]{f.In + g.Params, g.Out,
		func(a []T) []T {
			p, q, x := split(a)
			return g.Forward(join(q, f.Forward(join(p, x))))
		},
		func(a, dc []T) []T {
			p, q, x := split(a)
			dg := g.Back(join(q, f.Forward(join(p, x))), dc)
			df := f.Back(join(p, x), dg[g.Params:])
			return join(df[:f.Params], dg[:g.Params], df[f.Params:])
		},
	}}
}

// A Learner is everything supervised learning needs, each part a lens (Cruttwell et al. 2021, figure 1): the model, a
// loss from (target, result) to a number, a cap that turns the loss into a change of the loss (the learning rate), and
// an update from (state, parameters) to the parameters the model is run with, whose way back is the optimiser.
type Learner[T any] struct {
	Model  Model[T]
	Loss   Lens[T]
	Cap    func(loss []T) []T
	Update Lens[T]
}

// Step is the whole way there and back: new state, new parameters, change of the input, loss.
func (l Learner[T]) Step(state, params, x, y []T) (state2, params2, dx, loss []T) {
	p := l.Update.Forward(join(state, params))
	result := l.Model.Forward(join(p, x))
	loss = l.Loss.Forward(join(y, result))
	dresult := l.Loss.Back(join(y, result), l.Cap(loss))[len(y):]
	d := l.Model.Back(join(p, x), dresult)
	after := l.Update.Back(join(state, params), d[:l.Model.Params])
	return after[:len(state)], after[len(state):], d[l.Model.Params:], loss
}

func join[T any](parts ...[]T) []T { return slices.Concat(parts...) }
