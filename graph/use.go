package graph

import (
	"fmt"
	"slices"
)

// What rules without a backward pass have to know of a model: where its parameters enter, and what the loss becomes
// when something is added there. Words used here: a use is one op that combines a parameter with data, such as the
// product of a dense layer; its logit is that op's result with all that is added to it, such as the bias.

// A Use is one place where a parameter enters a computation.
type Use struct {
	Param *Node // the parameter
	Op    *Node // matmul, conv2d, take, mul or add: what combines it with data
	Logit *Node // Op's result, with everything added to it before anything else is done with it

	operand int     // of Op, computed from Param
	links   []*Node // from Param to that operand: the parameter alone under other shapes or scales
	sums    []*Node // from Op to Logit
}

// Uses lists where y's trained parameters enter it, in the order of their making, operands first. A parameter that
// enters in another way than as the weight of MatMul or Conv2D, the table of Take along axis 0, or a broadcast factor or
// summand, panics with an *Error that names it.
func (g *Graph) Uses(y ...*Node) []Use {
	users := usersOf(y)
	var uses []Use
	for _, p := range g.Trainable(y...) {
		uses = append(uses, findUses(Use{Param: p}, p, users)...)
	}
	slices.SortStableFunc(uses, func(a, b Use) int { return int(a.Op.ID() - b.Op.ID()) })
	return uses
}

// UsesOf lists where one parameter enters y; the error is what Uses would panic with.
func (g *Graph) UsesOf(param *Node, y ...*Node) (uses []Use, err error) {
	defer rescue(&err)
	return findUses(Use{Param: param}, param, usersOf(y)), nil
}

// usersOf lists, for each node that y is computed from, the nodes that read it.
func usersOf(y []*Node) map[*Node][]*Node {
	users := map[*Node][]*Node{}
	for _, n := range byID(y) {
		for i, x := range operands(n) {
			if !slices.Contains(operands(n)[:i], x) {
				users[x] = append(users[x], n)
			}
		}
	}
	return users
}

// findUses follows the parameter, so far turned into w, to the ops that use it.
func findUses(u Use, w *Node, users map[*Node][]*Node) (found []Use) {
	for _, n := range users[w] {
		next := u
		i := slices.Index(operands(n), w)
		switch p := primitiveOf(n); {
		case p == nil || count(operands(n), w) > 1:
			panic(useError(u, n))
		case p.Name == "reshape", p.Name == "transpose", p.Name == "slice", p.Name == "broadcast",
			p.Elementwise && slices.Equal(ShapeOf(n), ShapeOf(w)):
			next.links = append(slices.Clone(u.links), n)
			found = append(found, findUses(next, n, users)...)
		case p.Name == "matmul" && i == 1 && len(ShapeOf(w)) == 2, p.Name == "conv2d" && i == 1,
			p.Name == "take" && i == 0 && p.Attrs == 0, p.Name == "mul", p.Name == "add":
			next.Op, next.operand = n, i
			next.climb(users)
			found = append(found, next)
		case p.VJP != nil || p.JVP != nil:
			panic(useError(u, n))
		}
	}
	return found
}

func count(list []*Node, n *Node) (times int) {
	for _, x := range list {
		if x == n {
			times++
		}
	}
	return times
}

func useError(u Use, n *Node) *Error {
	e := fail("uses", "use of "+u.Param.Name(), "matmul, conv2d, take, or a broadcast factor or summand", n.Op())
	e.Operands = describe(operands(n))
	return e
}

// climb finds the logit: behind the op, as long as all that is done with the result is adding to it or, as for the
// products of sequences, splitting its first axis.
func (u *Use) climb(users map[*Node][]*Node) {
	u.Logit = u.Op
	for len(users[u.Logit]) == 1 {
		n := users[u.Logit][0]
		splits := OpName(n) == "reshape" && len(ShapeOf(u.Logit)) > 0 && len(ShapeOf(n)) > 0 && ShapeOf(n)[0] <= ShapeOf(u.Logit)[0]
		if OpName(n) != "add" && !splits || count(operands(n), u.Logit) > 1 {
			return
		}
		u.sums = append(u.sums, n)
		u.Logit = n
	}
}

// Grad is the parameter's gradient through this use alone for a cotangent of its logit: the product of the cotangent
// with the op's other operand, a formula of one layer, in which nothing passes from op to op. The operands are those of
// a copy of the computation made by Inject; Same takes them from the computation itself.
func (u Use) Grad(cotangent *Node, copied func(*Node) *Node) *Node {
	for i := range u.sums {
		at := u.Op
		if last := len(u.sums) - 2 - i; last >= 0 {
			at = u.sums[last]
		}
		cotangent = shapedBack(cotangent, ShapeOf(at))
	}
	d := ownGrad(copied(u.Op), cotangent, u.operand)
	for i, n := range slices.Backward(u.links) {
		from := u.Param
		if i > 0 {
			from = u.links[i-1]
		}
		d = ownGrad(copied(n), d, slices.Index(operands(n), from))
	}
	return d
}

// Same is the counterpart of a node in the computation itself.
func Same(n *Node) *Node { return n }

// shapedBack is the cotangent of a summand of the given shape, or of what was reshaped.
func shapedBack(dy *Node, shape []int) *Node {
	if slices.Equal(ShapeOf(dy), shape) {
		return dy
	}
	if sizeOf(ShapeOf(dy)) == sizeOf(shape) {
		return Reshape(dy, shape...)
	}
	return SumTo(dy, shape)
}

// ownGrad is the cotangent of one operand of one op.
func ownGrad(n, dy *Node, operand int) *Node {
	return primitiveOf(n).VJP(n, dy, operands(n))[operand]
}

// forth carries a tangent of the op's result to the logit.
func (u Use) forth(d *Node) *Node {
	for _, n := range u.sums {
		if OpName(n) == "reshape" {
			d = Reshape(d, ShapeOf(n)...)
		} else {
			d = BroadcastTo(d, ShapeOf(n)...)
		}
	}
	return d
}

// OuterTangent is the logit's tangent when the parameter [m, n...] moves along the outer product of p [m] and q [n...]:
// at the cost of one output unit instead of all. It is nil for uses that have no such short cut.
func (u Use) OuterTangent(p, q *Node) *Node {
	if len(u.links) > 0 {
		return nil
	}
	x := operands(u.Op)
	switch a := primitiveOf(u.Op).Attrs.(type) {
	case matMulAttrs:
		left, right := p, q
		if a.TransB {
			left, right = q, p
		}
		s := ShapeOf(x[0])
		if len(s) != 2 {
			return nil
		}
		y := matMul(x[0], Reshape(left, -1, 1), a.TransA, false)
		return u.forth(Mul(y, right))
	case ConvOptions:
		if a.Groups != 1 {
			return nil
		}
		one := Conv2D(x[0], Reshape(q, slices.Concat([]int{1}, ShapeOf(q))...), a)
		return u.forth(Mul(one, Reshape(p, -1, 1, 1)))
	}
	return nil
}

// ExampleTangents is the logit's tangent when each example has a parameter of its own and that moves along v [batch,
// ...]: the examples lie along the first axis of the op's data, whose operands are those of a copy, as in Grad. A
// parameter that is used scaled, sliced or transposed is refused.
func (u Use) ExampleTangents(v *Node, copied func(*Node) *Node) *Node {
	batch := ShapeOf(v)[0]
	w := operands(u.Op)[u.operand]
	for _, n := range u.links {
		if OpName(n) != "reshape" {
			panic(useError(u, n))
		}
	}
	v = Reshape(v, slices.Concat([]int{batch}, ShapeOf(w))...)
	x := operands(copied(u.Op))
	p := primitiveOf(u.Op)
	s := ShapeOf(u.Op)
	refuse := func() {
		panic(fail("example_tangents", "data of "+p.Name, fmt.Sprintf("%d examples along the first axis", batch), TypeOf(x[0])))
	}
	var d *Node
	switch a := p.Attrs.(type) {
	case matMulAttrs:
		sx := ShapeOf(x[0])
		if a.TransA || len(sx) != 2 || sx[0]%batch != 0 {
			refuse()
		}
		d = MatMulT(Reshape(x[0], batch, sx[0]/batch, sx[1]), v, false, a.TransB)
	case ConvOptions:
		sx, sw := ShapeOf(x[0]), ShapeOf(w)
		if sx[0] != batch {
			refuse()
		}
		a.Groups *= batch
		d = Conv2D(Reshape(x[0], 1, batch*sx[1], sx[2], sx[3]), Reshape(v, batch*sw[0], sw[1], sw[2], sw[3]), a)
	default:
		switch p.Name {
		case "take":
			hot := OneHot(Reshape(x[1], batch, -1), ShapeOf(w)[0], w.Dtype())
			d = MatMul(hot, Reshape(v, batch, ShapeOf(w)[0], -1))
		default: // mul, add
			if s[0] != batch || len(ShapeOf(w)) == len(s) && ShapeOf(w)[0] != 1 {
				refuse()
			}
			each := make([]int, len(s))
			fill(each, 1)
			copy(each[len(s)-len(ShapeOf(w)):], ShapeOf(w))
			each[0] = batch
			d = Reshape(v, each...)
			if p.Name == "mul" {
				d = Mul(d, x[1-u.operand])
			}
			d = BroadcastTo(d, s...)
		}
	}
	return u.forth(Reshape(d, s...))
}

// An Injection makes what takes the place of n; copied gives the counterparts of earlier nodes.
type Injection func(n *Node, copied func(*Node) *Node) *Node

// Inject is y with each node of at replaced by what its function makes of it, such as the node plus noise: what depends
// on a replaced node is built once more, everything else is shared. State updates are not registered again. Copied
// gives, for each node that y is computed from, its counterpart before its own replacement.
func Inject(y *Node, at map[*Node]Injection) (result *Node, copied func(*Node) *Node) {
	before, after := map[*Node]*Node{}, map[*Node]*Node{}
	copied = func(n *Node) *Node {
		if m := before[n]; m != nil {
			return m
		}
		return n
	}
	for _, n := range byID([]*Node{y}) {
		m, args := n, slices.Clone(operands(n))
		changed := false
		for i, a := range args {
			args[i] = after[a]
			changed = changed || args[i] != a
		}
		if changed {
			p := primitiveOf(n)
			if p == nil {
				panic(fail("inject", "node "+n.Name(), "an op with rules in Harpe", n.Op()))
			}
			m = Apply(p, args...)
		}
		before[n], after[n] = m, m
		if f := at[n]; f != nil {
			after[n] = f(m, copied)
			if !TypeOf(after[n]).Equal(TypeOf(n)) {
				panic(fail("inject", "replacement of "+label(n), TypeOf(n), TypeOf(after[n])))
			}
		}
	}
	return after[y], copied
}
