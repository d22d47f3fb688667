package rules

import (
	"slices"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

// losses is the objective of each example by itself, [batch]: numbers whose mean is the objective, if it is a mean or a
// sum over examples. Where the objective's graph ends in a sum, its terms are taken from there; otherwise the objective
// is built for each example alone.
func losses(objective objectives.Objective, out, target *graph.Node) *graph.Node {
	batch := graph.ShapeOf(out)[0]
	if each := summands(objective(out, target), out, batch); each != nil {
		return graph.Scale(each, float64(batch))
	}
	list := make([]*graph.Node, batch)
	for n := range list {
		list[n] = graph.Reshape(objective(graph.Slice(out, 0, n, n+1, 1), graph.Slice(target, 0, n, n+1, 1)), 1)
	}
	return graph.Concat(0, list...)
}

// summands finds the terms of a sum over examples, [batch], behind factors that do not depend on the output; nil if
// the loss is not such a sum.
func summands(loss, out *graph.Node, batch int) *graph.Node {
	x := graph.Operands(loss)
	switch name := graph.OpName(loss); name {
	case "neg":
		if each := summands(x[0], out, batch); each != nil {
			return graph.Neg(each)
		}
	case "mul", "div":
		i := 0
		if name == "mul" && !dependsOn(x[0], out) {
			i = 1
		}
		if dependsOn(x[1-i], out) {
			return nil
		}
		each := summands(x[i], out, batch)
		switch {
		case each == nil:
			return nil
		case name == "mul":
			return graph.Mul(each, x[1-i])
		}
		return graph.Div(each, x[1])
	case "sum":
		shape := graph.ShapeOf(x[0])
		if len(graph.ShapeOf(loss)) != 0 || len(shape) == 0 || shape[0] != batch {
			return nil
		}
		if len(shape) == 1 {
			return x[0]
		}
		return graph.Sum(graph.Reshape(x[0], batch, -1), 1)
	}
	return nil
}

// dependsOn says whether n is computed from x.
func dependsOn(n, x *graph.Node) bool {
	seen := map[*graph.Node]bool{}
	var from func(n *graph.Node) bool
	from = func(n *graph.Node) bool {
		if n == x {
			return true
		}
		if seen[n] {
			return false
		}
		seen[n] = true
		return slices.ContainsFunc(graph.Operands(n), from)
	}
	return from(n)
}

// perExample brings a number for each example, [batch], to the rank of x [batch, ...], to be broadcast with it.
func perExample(c, x *graph.Node) *graph.Node {
	shape := make([]int, len(graph.ShapeOf(x)))
	for i := range shape {
		shape[i] = 1
	}
	shape[0] = graph.ShapeOf(c)[0]
	return graph.Reshape(c, shape...)
}

// contract is Σ_n c_n v_n for c [batch] and v [batch, ...].
func contract(c, v *graph.Node) *graph.Node {
	shape := graph.ShapeOf(v)
	return graph.Reshape(graph.MatMul(graph.Reshape(c, 1, -1), graph.Reshape(v, shape[0], -1)), shape[1:]...)
}
