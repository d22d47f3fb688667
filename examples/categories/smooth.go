package main

import (
	"github.com/harpe-ml/harpe/graph"
)

// Node is what flows along the wires of a smooth lens.
type Node = *graph.Node

// fresh makes new nodes of the same values, so that a derivative by them does not pass from one through another.
func fresh(a []Node) []Node {
	x := make([]Node, len(a))
	for i, n := range a {
		x[i] = graph.Add(n, graph.Const(n, 0))
	}
	return x
}

// Smooth is the lens of a map between vectors: its way back is the reverse derivative R[f](a, db) = J'db, found by the
// library.
func Smooth(in, out int, f func(a []Node) []Node) Lens[Node] {
	return Lens[Node]{in, out,
		func(a []Node) []Node { return f(fresh(a)) },
		func(a, db []Node) []Node {
			x := fresh(a)
			return graph.VJP(f(x), db, x)
		},
	}
}

// Reverse is R[f] as a lens of its own, so that it can be differentiated again.
func Reverse(f Lens[Node]) Lens[Node] {
	return Smooth(f.In+f.Out, f.In, func(ab []Node) []Node { return f.Back(ab[:f.In], ab[f.In:]) })
}

// Forward is D[f](a, v) = Jv by the library's forward mode.
func Forward(f Lens[Node]) Lens[Node] {
	return Smooth(2*f.In, f.Out, func(av []Node) []Node {
		x := fresh(av[:f.In])
		return graph.JVP(f.Forward(x), x, av[f.In:])
	})
}

// ForwardFromReverse is D[f] made of R alone: the second part of R[R[f]]((a, 0), v) (Cockett et al. 2019, theorem 16).
func ForwardFromReverse(f Lens[Node]) Lens[Node] {
	twice := Reverse(f)
	return Smooth(2*f.In, f.Out, func(av []Node) []Node {
		a, v := av[:f.In], av[f.In:]
		return twice.Back(join(a, zeros(f.Forward(a))), v)[f.In:]
	})
}

func zeros(a []Node) []Node {
	z := make([]Node, len(a))
	for i, n := range a {
		z[i] = graph.Fill(n, 0)
	}
	return z
}

// Dense is x·w + b with parameters w [in, out] and b [out], x [batch, in].
func Dense() Model[Node] {
	return Model[Node]{2, Smooth(3, 1, func(a []Node) []Node { return []Node{graph.Add(graph.MatMul(a[2], a[0]), a[1])} })}
}

// Pointwise is a model without parameters.
func Pointwise(f func(x Node) Node) Model[Node] {
	return Model[Node]{0, Smooth(1, 1, func(a []Node) []Node { return []Node{f(a[0])} })}
}

// SquaredError is |y - z|²/2.
func SquaredError() Lens[Node] {
	return Smooth(2, 1, func(a []Node) []Node {
		return []Node{graph.Scale(graph.Sum(graph.Square(graph.Sub(a[1], a[0]))), 0.5)}
	})
}

// CrossEntropy is the mean over the batch of -<y, log softmax(z)>, y and z [batch, classes].
func CrossEntropy() Lens[Node] {
	return Smooth(2, 1, func(a []Node) []Node {
		batch := float64(graph.ShapeOf(a[0])[0])
		return []Node{graph.Scale(graph.Dot(a[0], graph.LogSoftmax(a[1], -1)), -1/batch)}
	})
}

// Rate is the cap of gradient descent: it answers any loss with the change -rate.
func Rate(rate float64) func(loss []Node) []Node {
	return func(loss []Node) []Node { return []Node{graph.Const(loss[0], -rate)} }
}

// An Optimizer is an update lens for one parameter. Its change dp points downhill and, but for Adagrad and Adam, whose
// cap is 1, already holds the learning rate.
type Optimizer struct {
	Name  string
	Slots int                                             // states a parameter
	Used  func(s []Node, p Node) Node                     // forward: the parameter the model is run with; nil means p
	Put   func(s []Node, p, dp Node) (s2 []Node, p2 Node) // back
	Cap   float64
}

// Lens is the update lens of n parameters. Its wires are the states of all, then the parameters.
func (o Optimizer) Lens(n int) Lens[Node] {
	states := func(a []Node, i int) []Node { return a[i*o.Slots : (i+1)*o.Slots] }
	return Lens[Node]{n*o.Slots + n, n,
		func(a []Node) []Node {
			p := a[n*o.Slots:]
			if o.Used == nil {
				return p
			}
			used := make([]Node, n)
			for i := range used {
				used[i] = o.Used(states(a, i), p[i])
			}
			return used
		},
		func(a, dp []Node) []Node {
			var s, p []Node
			for i := range n {
				s2, p2 := o.Put(states(a, i), a[n*o.Slots+i], dp[i])
				s, p = append(s, s2...), append(p, p2)
			}
			return join(s, p)
		},
	}
}

// Optimizers are the update lenses of the paper (section 3.4) with learning rate eps. All states start at 0.
func Optimizers(eps float64) []Optimizer {
	const gamma, beta1, beta2 = 0.9, 0.9, 0.999
	heavyBall := func(s []Node, p, dp Node) ([]Node, Node) {
		v := graph.Add(graph.Scale(s[0], gamma), dp)
		return []Node{v}, graph.Add(p, v)
	}
	return []Optimizer{
		{Name: "gradient descent", Cap: eps, Put: func(_ []Node, p, dp Node) ([]Node, Node) { return nil, graph.Add(p, dp) }},
		{Name: "momentum", Slots: 1, Cap: eps, Put: heavyBall},
		{Name: "Nesterov", Slots: 1, Cap: eps, Put: heavyBall, // the only one that looks ahead
			Used: func(s []Node, p Node) Node { return graph.Add(p, graph.Scale(s[0], gamma)) }},
		{Name: "Adagrad", Slots: 1, Cap: 1, Put: func(s []Node, p, dp Node) ([]Node, Node) {
			sum := graph.Add(s[0], graph.Square(dp))
			return []Node{sum}, graph.Add(p, graph.Scale(graph.Div(dp, graph.Shift(graph.Sqrt(sum), 1e-10)), eps))
		}},
		{Name: "Adam", Slots: 3, Cap: 1, Put: func(s []Node, p, dp Node) ([]Node, Node) {
			m := graph.Add(graph.Scale(s[0], beta1), graph.Scale(dp, 1-beta1))
			v := graph.Add(graph.Scale(s[1], beta2), graph.Scale(graph.Square(dp), 1-beta2))
			t := graph.Shift(s[2], 1) // the count of steps, kept in the shape of p
			unbias := func(x Node, beta float64) Node {
				return graph.Div(x, graph.OneMinus(graph.Pow(graph.Const(t, beta), t)))
			}
			step := graph.Div(unbias(m, beta1), graph.Shift(graph.Sqrt(unbias(v, beta2)), 1e-8))
			return []Node{m, v, t}, graph.Add(p, graph.Scale(step, eps))
		}},
	}
}
