package graph

import (
	"fmt"
	"slices"
)

// Derivatives by other rules than the chain rule through every op: replaced ones, implicit ones, whole Jacobians.

// StraightThrough has the value of forward and the derivative of surrogate, which must have its type: the estimator of
// Y. Bengio, N. Léonard, A. Courville (2013, arXiv 1308.3432) is StraightThrough(Round(x), x).
func StraightThrough(forward, surrogate *Node) *Node {
	return Apply(straightThroughOp, forward, surrogate)
}

var straightThroughOp = &Primitive{
	Name: "straight_through",
	View: true,
	Type: func(in []Type) (Type, error) {
		if !in[1].Equal(in[0]) {
			return Type{}, fail("straight_through", "surrogate", in[0], in[1])
		}
		return in[0], needFloat("straight_through", in)
	},
	VJP: func(y, dy *Node, x []*Node) []*Node { return []*Node{nil, dy} },
	JVP: func(y *Node, x, dx []*Node) *Node { return dx[1] },
}

// CustomVJP has the value of y and the reverse rule vjp with respect to x: given the result's cotangent dy, the
// cotangent of each operand, nil for zero. The rule must be linear in dy; the forward rule is its transpose. How y is
// made of x does not matter to the derivative.
func CustomVJP(y *Node, x []*Node, vjp func(y, dy *Node, x []*Node) []*Node) *Node {
	p := customOp("custom_vjp", len(x))
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		d := vjp(y, dy, x[1:])
		if len(d) != len(x)-1 {
			panic(fail(p.Name, "result of the rule", fmt.Sprintf("%d nodes", len(x)-1), len(d)))
		}
		return append([]*Node{nil}, d...)
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node { return transposeRule(p.VJP)(y, x, dx) }
	return Apply(p, append([]*Node{y}, x...)...)
}

// CustomJVP has the value of y and the forward rule jvp with respect to x: the result's tangent given those of the
// operands, of which some, not all, may be nil. The rule must be linear in dx; the reverse rule is its transpose.
func CustomJVP(y *Node, x []*Node, jvp func(y *Node, x, dx []*Node) *Node) *Node {
	p := customOp("custom_jvp", len(x))
	p.JVP = func(y *Node, x, dx []*Node) *Node {
		if !slices.ContainsFunc(dx[1:], func(d *Node) bool { return d != nil }) {
			return nil
		}
		return jvp(y, x[1:], dx[1:])
	}
	p.VJP = transposed(p.JVP)
	return Apply(p, append([]*Node{y}, x...)...)
}

func customOp(name string, n int) *Primitive {
	return &Primitive{
		Name: name,
		View: true,
		Type: func(in []Type) (Type, error) {
			if n == 0 {
				return Type{}, fail(name, "operands", "at least one", "none")
			}
			return in[0], needFloat(name, in[:1])
		},
	}
}

// transposed makes the reverse rule of a forward rule, which is linear in the tangents: its reverse derivative at
// tangents of zero. What the forward rule itself computes is not needed, and not compiled.
func transposed(jvp func(y *Node, x, dx []*Node) *Node) func(y, dy *Node, x []*Node) []*Node {
	return func(y, dy *Node, x []*Node) []*Node {
		var at []int
		var zero []*Node
		dx := make([]*Node, len(x))
		for i, n := range x {
			if TypeOf(n).IsFloat() {
				dx[i] = Fill(n, 0)
				at, zero = append(at, i), append(zero, dx[i])
			}
		}
		out := make([]*Node, len(x))
		t := jvp(y, x, dx)
		if t == nil {
			return out
		}
		for i, d := range VJP([]*Node{t}, []*Node{dy}, zero) {
			out[at[i]] = d
		}
		return out
	}
}

// transposeRule makes the forward rule of a reverse rule in the same way.
func transposeRule(vjp func(y, dy *Node, x []*Node) []*Node) func(y *Node, x, dx []*Node) *Node {
	return func(y *Node, x, dx []*Node) *Node {
		zero := Fill(y, 0)
		var c, d []*Node
		for i, n := range vjp(y, zero, x) {
			if n != nil && dx[i] != nil {
				c, d = append(c, n), append(d, dx[i])
			}
		}
		if len(c) == 0 {
			return nil
		}
		return VJP(c, d, []*Node{zero})[0]
	}
}

// alias is x as a variable of its own: a derivative with respect to it leaves out the other ways in which a result
// depends on x.
func alias(x *Node) *Node { return Apply(aliasOp, x) }

var aliasOp = &Primitive{
	Name: "alias",
	View: true,
	Type: func(in []Type) (Type, error) { return in[0], nil },
	VJP:  func(y, dy *Node, x []*Node) []*Node { return []*Node{dy} },
	JVP:  func(y *Node, x, dx []*Node) *Node { return dx[0] },
}

func aliases(x []*Node) []*Node {
	a := make([]*Node, len(x))
	for i, n := range x {
		a[i] = alias(n)
	}
	return a
}

// Jacobian is the derivative of every element of y with respect to every element of x, in the shape of y followed by
// that of x. It costs as many products as the smaller of both has elements.
func Jacobian(y, x *Node) *Node {
	shape := slices.Concat(ShapeOf(y), ShapeOf(x))
	m, n := TypeOf(y).Size(), TypeOf(x).Size()
	if m == 0 || n == 0 {
		return constant(y.Graph(), y.Dtype(), 0, shape...)
	}
	if m <= n {
		rows := make([]*Node, m)
		for i := range rows {
			rows[i] = Reshape(VJP([]*Node{y}, []*Node{unitVector(y, i)}, []*Node{x})[0], n)
		}
		return Reshape(Stack(0, rows...), shape...)
	}
	columns := make([]*Node, n)
	for i := range columns {
		columns[i] = Reshape(JVP([]*Node{y}, []*Node{x}, []*Node{unitVector(x, i)})[0], m)
	}
	return Reshape(Stack(1, columns...), shape...)
}

// unitVector is a constant of like's type with 1 in element i and 0 elsewhere.
func unitVector(like *Node, i int) *Node {
	a := NewArray(like.Dtype(), ShapeOf(like)...)
	a.Set(i, 1)
	return Literal(like, a)
}

// HVP is the product of the Hessian of a scalar with the vector v, which has a part for each part of x. It costs about
// as much as two gradients (B. Pearlmutter 1994, "Fast exact multiplication by the Hessian").
func HVP(loss *Node, x, v []*Node) []*Node { return JVP(Grad(loss, x...), x, v) }
