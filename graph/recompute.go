package graph

import "slices"

// Checkpoint is f(x), of whose intermediate values none is kept for the reverse pass: that computes them again from x
// when it comes to them, so a deep model needs memory for the ends of its blocks and the inside of one (T. Chen et al.
// 2016, arXiv 1604.06174). Values and derivatives are the same bits as without; random numbers are drawn again as they
// were. F may use parameters and other nodes from outside, and must not update states.
func Checkpoint(f func(x []*Node) *Node, x ...*Node) *Node {
	if len(x) == 0 {
		panic(fail("checkpoint", "operands", "at least one", "none"))
	}
	a := aliases(x)
	y := f(a)
	b := newRegion(y, a[len(a)-1])
	if len(b.inner) == 0 {
		return y
	}
	return Apply(checkpointOp(b), append([]*Node{y}, b.outer...)...)
}

// A region is a part of a graph: the nodes inside, operands first, the last one being its result, and the nodes outside
// that they use.
type region struct{ inner, outer []*Node }

// newRegion is the region of the nodes made after the node called after that y depends on. Leaves are outside.
func newRegion(y, after *Node) *region {
	r := &region{}
	inside := func(n *Node) bool { return n.ID() > after.ID() && n.Op() != nil }
	seen := map[*Node]bool{}
	var visit func(n *Node)
	visit = func(n *Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if !inside(n) {
			r.outer = append(r.outer, n)
			return
		}
		for _, x := range operands(n) {
			visit(x)
		}
		r.inner = append(r.inner, n)
	}
	if inside(y) {
		visit(y)
	}
	return r
}

// copy makes the region's nodes again, with other nodes in place of those outside.
func (r *region) copy(outer []*Node) *Node {
	now := map[*Node]*Node{}
	for i, n := range r.outer {
		now[n] = outer[i]
	}
	var last *Node
	for _, n := range r.inner {
		x := slices.Clone(operands(n))
		for i := range x {
			x[i] = now[x[i]]
		}
		last = apply(outer[0].Graph(), primitiveOf(n), x)
		now[n] = last
	}
	return last
}

// checkpointOp has the value of operand 0, the region's result. Forward mode goes through the region itself. Reverse
// mode goes through a copy of it, of the other operands held back until the cotangent is there.
func checkpointOp(r *region) *Primitive {
	return &Primitive{
		Name: "checkpoint",
		View: true,
		Type: func(in []Type) (Type, error) { return in[0], needFloat("checkpoint", in[:1]) },
		VJP: func(y, dy *Node, x []*Node) []*Node {
			held := make([]*Node, len(x)-1)
			var at []int
			var wrt []*Node
			for i, n := range x[1:] {
				held[i] = Apply(holdOp, n, dy)
				if TypeOf(n).IsFloat() {
					at, wrt = append(at, i+1), append(wrt, held[i])
				}
			}
			out := make([]*Node, len(x))
			for i, d := range VJP([]*Node{r.copy(held)}, []*Node{dy}, wrt) {
				out[at[i]] = d
			}
			return out
		},
		JVP: func(y *Node, x, dx []*Node) *Node { return dx[0] },
	}
}

// holdOp is operand 0, available when operand 1 has been computed. What is computed from it is thus not merged with
// what is computed from operand 0, and comes after operand 1.
var holdOp = &Primitive{
	Name: "hold",
	View: true,
	Type: func(in []Type) (Type, error) { return in[0], nil },
	VJP:  func(y, dy *Node, x []*Node) []*Node { return []*Node{dy, nil} },
	JVP:  func(y *Node, x, dx []*Node) *Node { return dx[0] },
}
