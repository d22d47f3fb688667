package graph

import (
	"fmt"
	"slices"
)

// Differentiation. Words used here: the cotangent of a node is the derivative of the final scalar with respect to it
// and flows from results to operands; its tangent is the derivative of it along a direction of the inputs and flows
// from operands to results. Both are ordinary nodes, so the functions below can be applied to their own results.
//
// A node is active when it lies on a way from the variables to the results through ops that have a derivative.

// Grad is the derivative of a scalar with respect to each of the variables, which may be any nodes. A variable it does
// not depend on gets zeros.
func Grad(loss *Node, wrt ...*Node) []*Node {
	if len(ShapeOf(loss)) != 0 {
		e := fail("grad", "loss", "a scalar", ShapeOf(loss))
		e.Operands = describe([]*Node{loss})
		panic(e)
	}
	return VJP([]*Node{loss}, []*Node{Const(loss, 1)}, wrt)
}

// VJP is reverse mode: the products of the cotangents dy of the results y with the Jacobian of y with respect to each
// variable of x. It costs about as much as computing y twice more, and needs y's intermediate values.
func VJP(y, dy, x []*Node) []*Node {
	checkPairs("vjp", "cotangent", y, dy)
	if slices.Contains(x, nil) {
		panic(fail("vjp", "variables", "nodes", "nil"))
	}
	order := active(y, x)
	sum := map[*Node]*Node{}
	add := func(n, d *Node) {
		if d == nil {
			return
		}
		if !TypeOf(d).Equal(TypeOf(n)) {
			panic(fail("vjp", "cotangent of "+label(n), TypeOf(n), TypeOf(d)))
		}
		sum[n] = plus(sum[n], d)
	}
	on := map[*Node]bool{}
	for _, n := range order {
		on[n] = true
	}
	for i, n := range y {
		if on[n] {
			add(n, dy[i])
		}
	}
	isX := map[*Node]bool{}
	for _, n := range x {
		isX[n] = true
	}
	result := map[*Node]*Node{}
	for _, n := range slices.Backward(order) {
		d := sum[n]
		delete(sum, n)
		if d == nil {
			continue
		}
		if isX[n] {
			result[n] = d
		}
		p := primitiveOf(n)
		if p == nil || p.VJP == nil && p.JVP == nil {
			continue
		}
		args := operands(n)
		first := len(n.Graph().AllNodes())
		rule := p.VJP
		if rule == nil {
			rule = transposed(p.JVP)
		}
		cotangents := rule(n, d, args)
		if len(cotangents) != len(args) {
			panic(fail(p.Name, "result of the reverse rule", fmt.Sprintf("%d nodes, one for each operand", len(args)), len(cotangents)))
		}
		for i, c := range cotangents {
			if on[args[i]] {
				add(args[i], c)
			}
		}
		for _, m := range n.Graph().AllNodes()[first:] {
			if in, ok := m.Op().(*instance); ok {
				in.reverse = true
			}
		}
	}
	out := make([]*Node, len(x))
	for i, n := range x {
		out[i] = result[n]
		if out[i] == nil {
			out[i] = Fill(n, 0)
		}
	}
	return out
}

// JVP is forward mode: the derivative of each result of y along the tangents dx of the variables x. It needs no
// stored values: a program that computes y and its tangent keeps about one layer of both at a time. A variable that is
// computed from another one moves with it, beside its own tangent; so VJP, its transpose, counts both ways too.
func JVP(y, x, dx []*Node) []*Node {
	checkPairs("jvp", "tangent", x, dx)
	tangent := map[*Node]*Node{}
	for i, n := range x {
		tangent[n] = plus(tangent[n], dx[i])
	}
	for _, n := range active(y, x) {
		p := primitiveOf(n)
		if p == nil || p.VJP == nil && p.JVP == nil {
			continue
		}
		args := operands(n)
		d := make([]*Node, len(args))
		some := false
		for i, a := range args {
			d[i] = tangent[a]
			some = some || d[i] != nil
		}
		if !some {
			continue
		}
		rule := p.JVP
		if rule == nil {
			rule = transposeRule(p.VJP)
		}
		t := rule(n, args, d)
		if t != nil && !TypeOf(t).Equal(TypeOf(n)) {
			panic(fail("jvp", "tangent of "+label(n), TypeOf(n), TypeOf(t)))
		}
		if t != nil {
			tangent[n] = plus(tangent[n], t)
		}
	}
	out := make([]*Node, len(y))
	for i, n := range y {
		out[i] = tangent[n]
		if out[i] == nil {
			out[i] = Fill(n, 0)
		}
	}
	return out
}

func checkPairs(op, what string, n, d []*Node) {
	if len(n) != len(d) {
		panic(fail(op, what+"s", fmt.Sprintf("%d nodes", len(n)), len(d)))
	}
	for i := range n {
		if n[i] == nil || d[i] == nil {
			panic(fail(op, fmt.Sprintf("%s %d", what, i), "a node and its "+what, "nil"))
		}
		if !TypeOf(n[i]).IsFloat() || !TypeOf(n[i]).Equal(TypeOf(d[i])) {
			panic(fail(op, fmt.Sprintf("%s %d", what, i), TypeOf(n[i]), TypeOf(d[i])))
		}
	}
}

// primitiveOf is the primitive of an inner node; nil for a leaf and for an op of Gorgonia's that has no rules here.
func primitiveOf(n *Node) *Primitive {
	switch op := n.Op().(type) {
	case nil:
		return nil
	case *instance:
		return op.prim
	}
	return foreignPrimitive(n)
}

// active lists, operands first, the nodes on the ways from x to y. Nodes are numbered in the order of their making,
// so operands have smaller numbers than results.
func active(y, x []*Node) []*Node {
	var list []*Node
	for n := range ancestors(y) {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b *Node) int { return int(a.ID() - b.ID()) })
	on := map[*Node]bool{}
	for _, n := range x {
		on[n] = true
	}
	var path []*Node
	for _, n := range list {
		if !on[n] && slices.ContainsFunc(operands(n), func(a *Node) bool { return on[a] }) {
			p := primitiveOf(n)
			if p == nil {
				panic(fail("derivative", "node "+n.Name(), "an op with rules in Harpe", n.Op()))
			}
			on[n] = p.VJP != nil || p.JVP != nil
		}
		if on[n] {
			path = append(path, n)
		}
	}
	return path
}
