package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/harpe-ml/harpe/graph"
)

// A law says that two lists of vectors are equal.
type law struct {
	name        string
	left, right []Node
}

// laws states what a reverse derivative has to satisfy (Cockett et al. 2019, definition 13) for f, f2: A to B and g: B
// to C, at a in A, directions u, v, w of A, b, b2 of B and c of C; then what follows from it for forward mode.
func laws(f, f2, g Lens[Node], a, u, v, w, b, b2, c []Node) []law {
	n := f.In
	sum := func(x, y []Node) []Node {
		z := make([]Node, len(x))
		for i := range x {
			z[i] = graph.Add(x[i], y[i])
		}
		return z
	}
	dot := func(x, y []Node) []Node {
		s := graph.Dot(x[0], y[0])
		for i := range x[1:] {
			s = graph.Add(s, graph.Dot(x[i+1], y[i+1]))
		}
		return []Node{s}
	}
	both := Smooth(n, f.Out, func(x []Node) []Node { return sum(f.Forward(x), f2.Forward(x)) })
	pair := Smooth(n, f.Out+f2.Out, func(x []Node) []Node { return join(f.Forward(x), f2.Forward(x)) })
	first := Smooth(2*n, n, func(x []Node) []Node { return x[:n] })
	composed := Smooth(n, g.Out, func(x []Node) []Node { return g.Forward(f.Forward(x)) })
	linear := Smooth(n, f.Out, func(x []Node) []Node { return Forward(f).Forward(join(a, x)) })
	D, DD := Forward(f), Forward(Forward(f))
	return []law{
		{"RD.1 sums of maps", both.Back(a, b), sum(f.Back(a, b), f2.Back(a, b))},
		{"RD.2 sums of changes", f.Back(a, sum(b, b2)), sum(f.Back(a, b), f.Back(a, b2))},
		{"RD.3 projections", first.Back(join(a, v), u), join(u, zeros(v))},
		{"RD.4 pairs", pair.Back(a, join(b, b2)), sum(f.Back(a, b), f2.Back(a, b2))},
		{"RD.5 chain rule", composed.Back(a, c), f.Then(g).Back(a, c)},
		{"RD.6 linear in the change", ForwardFromReverse(Reverse(f)).Forward(join(a, b, zeros(a), b2)), f.Back(a, b2)},
		{"RD.7 symmetric second derivative", DD.Forward(join(a, u, v, w)), DD.Forward(join(a, v, u, w))},
		{"forward mode from reverse", ForwardFromReverse(f).Forward(join(a, u)), D.Forward(join(a, u))},
		{"<R[f](a, b), u> = <b, D[f](a, u)>", dot(f.Back(a, b), u), dot(b, D.Forward(join(a, u)))},
		{"transposing D gives R", linear.Back(zeros(a), b), f.Back(a, b)},
	}
}

// An op is a map between vectors of four numbers.
type op struct {
	name string
	in   int
	f    func(a []Node) Node
}

func unary(name string, f func(x Node) Node) op {
	return op{name, 1, func(a []Node) Node { return f(a[0]) }}
}

// square takes four numbers as a matrix.
func square(x Node) Node { return graph.Reshape(x, 2, 2) }

// positive keeps an argument where logarithms and roots have derivatives.
func positive(x Node) Node { return graph.Shift(graph.Square(x), 0.5) }

var ops = []op{
	unary("exp", graph.Exp), unary("sin", graph.Sin), unary("tanh", graph.Tanh), unary("sigmoid", graph.Sigmoid),
	unary("softplus", graph.Softplus), unary("erf", graph.Erf), unary("relu", graph.ReLU), unary("gelu", graph.GELU),
	unary("log", func(x Node) Node { return graph.Log(positive(x)) }),
	unary("sqrt", func(x Node) Node { return graph.Sqrt(positive(x)) }),
	{"mul", 2, func(a []Node) Node { return graph.Mul(a[0], a[1]) }},
	{"div", 2, func(a []Node) Node { return graph.Div(a[0], positive(a[1])) }},
	{"pow", 2, func(a []Node) Node { return graph.Pow(positive(a[0]), a[1]) }},
	{"matmul", 2, func(a []Node) Node { return graph.Reshape(graph.MatMul(square(a[0]), square(a[1])), 4) }},
	unary("prod", func(x Node) Node { return graph.BroadcastTo(graph.Prod(x), 4) }),
	unary("cumsum", func(x Node) Node { return graph.CumSum(graph.Square(x), 0) }),
	unary("logsumexp", func(x Node) Node { return graph.BroadcastTo(graph.LogSumExp(x), 4) }),
	unary("softmax", func(x Node) Node { return graph.Softmax(x, 0) }),
	unary("standardize", func(x Node) Node { return graph.Standardize(x, 0.1, 0) }),
	{"attention", 3, func(a []Node) Node {
		return graph.Reshape(graph.Attention(square(a[0]), square(a[1]), square(a[2]), true), 4)
	}},
}

func (o op) lens() Lens[Node] {
	return Smooth(o.in, 1, func(a []Node) []Node { return []Node{o.f(a)} })
}

// deviation is how far the laws are from holding for an op at random points: the largest error of any, relative to 1
// plus the number it should be, and the law it is of.
func (o op) deviation(seed uint64) (worst float64, where string, err error) {
	r := rand.New(rand.NewPCG(seed, 0))
	list := func(s *graph.Scope, n int) (a []Node) {
		for range n {
			v := make([]float64, 4)
			for i := range v {
				v[i] = r.NormFloat64()
			}
			a = append(a, graph.Literal(s.Const(0), graph.ArrayOf(v, 4)))
		}
		return a
	}
	var stated []law
	values, err := compute(func(s *graph.Scope) (all []Node) {
		f := o.lens()
		other := Smooth(o.in, 1, func(a []Node) []Node { return []Node{graph.Sin(a[0])} })
		g := Smooth(1, 1, func(a []Node) []Node { return []Node{graph.Mul(graph.Tanh(a[0]), a[0])} })
		stated = laws(f, other, g, list(s, o.in), list(s, o.in), list(s, o.in), list(s, o.in), list(s, 1), list(s, 1), list(s, 1))
		for _, l := range stated {
			all = append(append(all, l.left...), l.right...)
		}
		return all
	})
	if err != nil {
		return 0, "", err
	}
	for _, l := range stated {
		n := len(l.left)
		for i := range n {
			for j := range values[i].Size() {
				want := values[n+i].At(j)
				if e := math.Abs(values[i].At(j)-want) / (1 + math.Abs(want)); !(e <= worst) {
					worst, where = e, l.name
				}
			}
		}
		values = values[2*n:]
	}
	return worst, where, nil
}

// costs is the floating-point work of an op's forward derivative by double reverse mode and by forward mode, in
// passes of the op itself.
func (o op) costs() (double, native float64, err error) {
	flops := func(build func(f Lens[Node], a, v []Node) []Node) float64 {
		var out []Node
		g, e := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
			var a, v []Node
			for i := range o.in {
				a, v = append(a, s.Input(fmt.Sprint("a", i), graph.Float64, 4)), append(v, s.Input(fmt.Sprint("v", i), graph.Float64, 4))
			}
			out = build(o.lens(), a, v)
		})
		if e != nil {
			err = e
			return 1
		}
		p, e := g.Compile(out...)
		if e != nil {
			err = e
			return 1
		}
		return float64(p.Stats().Flops)
	}
	pass := flops(func(f Lens[Node], a, _ []Node) []Node { return f.Forward(a) })
	double = flops(func(f Lens[Node], a, v []Node) []Node { return ForwardFromReverse(f).Forward(join(a, v)) }) / pass
	native = flops(func(f Lens[Node], a, v []Node) []Node { return Forward(f).Forward(join(a, v)) }) / pass
	return double, native, err
}

// forgetful is a softmax whose reverse rule leaves the sum over the row out, as a mistaken implementation might.
func forgetful() op {
	p := &graph.Primitive{
		Name: "forgetful softmax",
		Type: func(in []graph.Type) (graph.Type, error) { return in[0], nil },
		Kernel: func(_ graph.Type, _ []graph.Type) (graph.Kernel, error) {
			return func(out *graph.Array, in []*graph.Array) error {
				var sum float64
				for i, v := range in[0].Float64s() {
					out.Float64s()[i] = math.Exp(v)
					sum += math.Exp(v)
				}
				for i := range out.Size() {
					out.Float64s()[i] /= sum
				}
				return nil
			}, nil
		},
		VJP: func(y, dy Node, _ []Node) []Node { return []Node{graph.Mul(dy, y)} },
		JVP: func(y Node, _, dx []Node) Node { return graph.Mul(y, graph.Sub(dx[0], graph.Dot(y, dx[0]))) },
	}
	return unary(p.Name, func(x Node) Node { return graph.Apply(p, x) })
}

// compute builds nodes in float64 and returns their values.
func compute(build func(s *graph.Scope) []Node) ([]*graph.Array, error) {
	var nodes []Node
	g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) { nodes = build(s) })
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
	values := make([]*graph.Array, len(nodes))
	for i, n := range nodes {
		values[i] = p.Array(n)
	}
	return slices.Clip(values), nil
}
