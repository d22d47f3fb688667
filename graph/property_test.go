package graph_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// A composition is a random graph of primitives, a function of its seed. Values stay near 1: what can grow is squashed.
// Guards are nodes whose zeros are kinks: near them central differences mean nothing.
type composition struct {
	r      *rand.Rand
	pool   []*graph.Node
	guards []*graph.Node
}

// compose builds the composition of a seed from the nodes of compositionInputs.
func compose(seed uint64, x []*graph.Node) (y *graph.Node, guards []*graph.Node) {
	c := &composition{r: rand.New(rand.NewPCG(seed, 1)), pool: slices.Clone(x)}
	for range 3 + c.r.IntN(7) {
		n := compositionSteps[c.r.IntN(len(compositionSteps))](c)
		if graph.TypeOf(n).Size() > 60 {
			n = graph.Mean(n, 0)
		}
		c.pool = append(c.pool, n)
	}
	y = c.pool[len(c.pool)-1]
	return graph.Add(y, graph.Sum(c.pool[len(c.pool)-2])), c.guards
}

func compositionInputs(seed uint64) []*graph.Array {
	return arrays(gradcheck.Normal(seed, 2, 3), gradcheck.Normal(seed+1, 3), gradcheck.Normal(seed+2, 3, 2), gradcheck.Normal(seed+3, 2, 1), gradcheck.Normal(seed+4))
}

// pick is a node made before, the late ones preferred.
func (c *composition) pick() *graph.Node {
	n := len(c.pool)
	return c.pool[max(c.r.IntN(n), c.r.IntN(n))]
}

// with is a node that broadcasts with a.
func (c *composition) with(a *graph.Node) *graph.Node {
	b := c.pick()
	sa, sb := graph.ShapeOf(a), graph.ShapeOf(b)
	for i := 1; i <= min(len(sa), len(sb)); i++ {
		if x, y := sa[len(sa)-i], sb[len(sb)-i]; x != y && x != 1 && y != 1 {
			return graph.Mean(b)
		}
	}
	return b
}

// axes is a node of at least one axis, and one of them.
func (c *composition) axis() (*graph.Node, int) {
	n := c.pick()
	if len(graph.ShapeOf(n)) == 0 {
		n = graph.Reshape(n, 1)
	}
	return n, c.r.IntN(len(graph.ShapeOf(n)))
}

func (c *composition) index(like *graph.Node, n int, shape ...int) *graph.Node {
	a := graph.NewArray(graph.Int, shape...)
	for i := range a.Ints() {
		a.Ints()[i] = c.r.IntN(n)
	}
	return graph.Literal(like, a)
}

// elements is a node of the given shape made of the elements of another.
func (c *composition) elements(shape ...int) *graph.Node {
	x := graph.Reshape(c.pick(), -1)
	return graph.Take(graph.Tanh(x), c.index(x, graph.ShapeOf(x)[0], shape...), 0)
}

// apart says that a function has a kink where a and b are equal.
func (c *composition) apart(a, b *graph.Node) {
	c.guards = append(c.guards, graph.Sub(a, b))
}

func smooth(f func(x *graph.Node) *graph.Node) func(c *composition) *graph.Node {
	return func(c *composition) *graph.Node { return f(c.pick()) }
}

func positive(x *graph.Node) *graph.Node { return graph.Shift(graph.Square(graph.Tanh(x)), 0.5) }

func pair(f func(a, b *graph.Node) *graph.Node) func(c *composition) *graph.Node {
	return func(c *composition) *graph.Node { a := c.pick(); return f(a, c.with(a)) }
}

// kinked is a function with kinks at the given points.
func kinked(f func(x *graph.Node) *graph.Node, at ...float64) func(c *composition) *graph.Node {
	return func(c *composition) *graph.Node {
		x := c.pick()
		for _, k := range at {
			c.apart(x, graph.Const(x, k))
		}
		return f(x)
	}
}

func along(f func(x *graph.Node, axis int) *graph.Node) func(c *composition) *graph.Node {
	return func(c *composition) *graph.Node { return f(c.axis()) }
}

var compositionSteps = []func(c *composition) *graph.Node{
	smooth(graph.Neg), smooth(graph.Sin), smooth(graph.Cos), smooth(graph.Tanh), smooth(graph.Sigmoid), smooth(graph.Softplus),
	smooth(graph.Erf), smooth(graph.GELU), smooth(graph.SiLU), smooth(graph.Mish),
	smooth(func(x *graph.Node) *graph.Node { return graph.Exp(graph.Tanh(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Expm1(graph.Tanh(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Tan(graph.Tanh(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Square(graph.Tanh(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Atanh(graph.Scale(graph.Sin(x), 0.8)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Log(positive(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Log1p(positive(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Sqrt(positive(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Rsqrt(positive(x)) }),
	smooth(func(x *graph.Node) *graph.Node { return graph.Reciprocal(positive(x)) }),
	kinked(graph.ReLU, 0), kinked(graph.Abs, 0), kinked(graph.ReLU6, 0, 6), kinked(graph.HardSwish, -3, 3), kinked(graph.Sign, 0),
	kinked(func(x *graph.Node) *graph.Node { return graph.Clip(x, -0.5, 0.7) }, -0.5, 0.7),
	kinked(func(x *graph.Node) *graph.Node { return graph.ELU(x, 0.5) }, 0),
	kinked(func(x *graph.Node) *graph.Node { return graph.LeakyReLU(x, 0.1) }, 0),
	pair(graph.Add), pair(graph.Sub),
	pair(func(a, b *graph.Node) *graph.Node { return graph.Sin(graph.Mul(a, b)) }),
	pair(func(a, b *graph.Node) *graph.Node { return graph.Mul(graph.Tanh(a), graph.Tanh(b)) }),
	pair(func(a, b *graph.Node) *graph.Node { return graph.Tanh(graph.Div(a, positive(b))) }),
	pair(func(a, b *graph.Node) *graph.Node { return graph.Pow(positive(a), graph.Tanh(b)) }),
	func(c *composition) *graph.Node {
		a := c.pick()
		b := c.with(a)
		c.apart(a, b)
		return graph.Add(graph.Maximum(a, b), graph.Scale(graph.Minimum(a, b), 0.3))
	},
	func(c *composition) *graph.Node {
		a := c.pick()
		b := c.with(a)
		c.apart(a, b)
		return graph.Where(graph.Less(a, b), graph.Sin(a), graph.Tanh(b))
	},
	along(func(x *graph.Node, axis int) *graph.Node { return graph.Tanh(graph.Sum(x, axis)) }),
	along(func(x *graph.Node, axis int) *graph.Node { return graph.Mean(x, axis) }),
	along(func(x *graph.Node, axis int) *graph.Node { return graph.Prod(graph.Tanh(x), axis) }),
	along(func(x *graph.Node, axis int) *graph.Node { return graph.LogSumExp(x, axis) }),
	along(func(x *graph.Node, axis int) *graph.Node { return graph.Variance(graph.Tanh(x), axis) }),
	along(func(x *graph.Node, axis int) *graph.Node { return graph.Standardize(x, 0.3, axis) }),
	along(func(x *graph.Node, axis int) *graph.Node { return graph.Tanh(graph.CumSum(x, axis)) }),
	along(graph.Softmax), along(graph.LogSoftmax),
	func(c *composition) *graph.Node {
		x, axis := c.axis()
		n := graph.ShapeOf(x)[axis]
		for i := range n {
			for j := range i {
				c.apart(graph.Slice(x, axis, i, i+1, 1), graph.Slice(x, axis, j, j+1, 1))
			}
		}
		return graph.Max(x, axis)
	},
	func(c *composition) *graph.Node {
		x := c.pick()
		return graph.Transpose(x, c.r.Perm(len(graph.ShapeOf(x)))...)
	},
	func(c *composition) *graph.Node { return graph.Reshape(c.pick(), -1) },
	func(c *composition) *graph.Node {
		x := c.pick()
		return graph.BroadcastTo(x, append([]int{2}, graph.ShapeOf(x)...)...)
	},
	func(c *composition) *graph.Node {
		x, axis := c.axis()
		n := graph.ShapeOf(x)[axis]
		from := c.r.IntN(n)
		return graph.Slice(x, axis, from, from+1+c.r.IntN(n-from), 1+c.r.IntN(2))
	},
	func(c *composition) *graph.Node {
		x, axis := c.axis()
		return graph.Pad(x, axis, c.r.IntN(2), c.r.IntN(2), 0.3)
	},
	func(c *composition) *graph.Node { x, axis := c.axis(); return graph.Concat(axis, x, graph.Sin(x), x) },
	func(c *composition) *graph.Node { x, axis := c.axis(); return graph.Stack(axis, graph.Cos(x), x) },
	func(c *composition) *graph.Node {
		x, axis := c.axis()
		return graph.Take(x, c.index(x, graph.ShapeOf(x)[axis], 2, 2), axis)
	},
	func(c *composition) *graph.Node {
		x, axis := c.axis()
		return graph.ScatterAdd(x, c.index(x, 3, graph.ShapeOf(x)[axis]), axis, 3)
	},
	func(c *composition) *graph.Node {
		x, axis := c.axis()
		return graph.TakeAlong(x, c.index(x, graph.ShapeOf(x)[axis], graph.ShapeOf(x)...), axis)
	},
	func(c *composition) *graph.Node {
		x, axis := c.axis()
		return graph.PutAlong(x, c.index(x, 2, graph.ShapeOf(x)...), axis, 2)
	},
	func(c *composition) *graph.Node { // a matrix with another node's elements
		x, _ := c.axis()
		s := graph.ShapeOf(x)
		w := c.elements(s[len(s)-1], 2)
		if c.r.IntN(2) == 0 {
			return graph.Tanh(graph.MatMulT(x, graph.Transpose(w), false, true))
		}
		return graph.Tanh(graph.MatMul(x, w))
	},
	func(c *composition) *graph.Node { // batches that broadcast
		return graph.Tanh(graph.MatMulT(c.elements(2, 1, 2, 2), c.elements(2, 3, 2), c.r.IntN(2) == 0, true))
	},
	func(c *composition) *graph.Node {
		return graph.Tanh(graph.MatMulT(c.elements(3, 2), c.elements(3, 2), true, false))
	},
}

// calm says that no guard is near its kink at the inputs.
func calm(t *testing.T, seed uint64, inputs []*graph.Array) bool {
	values := computed(t, graph.Float64, inputs, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		y, guards := compose(seed, x)
		return append(guards, y)
	})
	for _, a := range values[:len(values)-1] {
		for _, v := range a.Float64s() {
			if math.Abs(v) < 0.02 {
				return false
			}
		}
	}
	return true
}

func TestRandomCompositions(t *testing.T) {
	const wanted = 500
	seen := map[string]bool{}
	tested, seed := 0, uint64(0)
	for ; tested < wanted && seed < 3*wanted; seed++ {
		inputs := compositionInputs(seed)
		if !calm(t, seed, inputs) {
			continue
		}
		tested++
		f := func(s *graph.Scope, x []*graph.Node) *graph.Node {
			y, _ := compose(seed, x)
			for _, n := range s.Graph().AllNodes() {
				if n.Op() != nil {
					name := n.Op().String()
					name = name[:len(name)-len(strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz_1"))]
					seen[name], seen[strings.TrimRight(name, "1")] = true, true // attributes may begin with a 1
				}
			}
			return y
		}
		// One in five to second order; second derivatives of deep compositions are large.
		o := gradcheck.Options{FirstOrder: seed%5 > 0, Tolerance: 1e-6}
		if err := o.Verify(f, inputs...); err != nil {
			t.Errorf("composition %d: %v", seed, err)
		}
	}
	if tested < wanted {
		t.Errorf("only %d of %d compositions keep away from kinks", tested, seed)
	}
	for _, name := range strings.Fields(`abs add atanh broadcast concat const cos cumsum detach div erf exp expm1 greater
		greater_equal less less_equal literal log log1p log_softmax logsumexp matmul max maximum minimum mul neg pad pow
		prod put_along reciprocal relu reshape rsqrt scatter_add sigmoid sign sin slice softplus sqrt square sub sum take
		take_along tan tanh transpose where`) {
		if !seen[name] {
			t.Errorf("no composition has %s", name)
		}
	}
}
