package onnx

import (
	"github.com/harpe-ml/harpe/graph"
)

// Patterns: what layers make of several primitives and ONNX has one operator for. Each stands at the last node; what the
// operator makes superfluous is dropped at the end.

// pattern writes n if it ends one of the patterns.
func (e *exporter) pattern(n *graph.Node) (done bool, err error) {
	in := graph.Operands(n)
	if graph.OpName(n) == "mul" {
		return e.mean(n, in[0], in[1])
	}
	if graph.OpName(n) != "add" {
		return false, nil
	}
	y := in[0]
	c := &call{e: e, n: y}
	switch {
	case e.users[y] != 1:
		return false, nil
	case graph.OpName(y) == "matmul" && len(c.shape(0)) == 2 && len(c.shape(1)) == 2 && e.isVector(in[1], graph.ShapeOf(y)[1]):
		err = (&call{e: e, n: n}).is("Gemm", append(c.all(), e.names[in[1]]),
			integer("transA", int01(attr[bool](c, "TransA"))), integer("transB", int01(attr[bool](c, "TransB"))))
		return true, err
	case graph.OpName(y) == "conv2d":
		bias := e.channels(in[1], graph.ShapeOf(y))
		if bias == nil || e.g.Param(bias) == nil {
			return false, nil
		}
		err = c.conv(append(c.all(), e.names[bias]))
		e.names[n] = e.names[y]
		return true, err
	case graph.OpName(y) == "mul":
		return e.batchNorm(n, y, in[1])
	}
	return false, nil
}

// mean writes sum·(1/count).
func (e *exporter) mean(n, sum, factor *graph.Node) (done bool, err error) {
	if graph.OpName(sum) != "sum" || graph.OpName(factor) != "const" || graph.TypeOf(factor).Size() != 1 {
		return false, nil
	}
	c := &call{e: e, n: sum}
	axes := attr[[]int](c, "")
	count := 1
	for _, a := range axes {
		count *= c.shape(0)[a]
	}
	v, err := evaluate(factor)
	if err != nil || len(axes) == 0 || count == 0 {
		return false, err
	}
	want := v.Clone()
	want.Set(0, 1/float64(count))
	if v.At(0) != want.At(0) {
		return false, nil
	}
	return true, (&call{e: e, n: n}).is("ReduceMean", append(c.all(), e.list(axes...)), integer("keepdims", 0))
}

// isVector says that x is a parameter [n].
func (e *exporter) isVector(x *graph.Node, n int) bool {
	s := graph.ShapeOf(x)
	return e.g.Param(x) != nil && len(s) == 1 && s[0] == n
}

// channels is the node [channels] of which x is the form that is added to or multiplied with y, or nil.
func (e *exporter) channels(x *graph.Node, y []int) *graph.Node {
	if graph.OpName(x) != "reshape" {
		return nil
	}
	from, to := graph.Operands(x)[0], graph.ShapeOf(x)
	if s := graph.ShapeOf(from); len(s) != 1 || len(y) < 2 || s[0] != y[1] {
		return nil
	}
	first := len(to) - (len(y) - 1) // of the channels' axis
	for i, d := range to {
		if i != first && d != 1 || i == first && d != y[1] {
			return nil
		}
	}
	if first < 0 || first > 1 {
		return nil
	}
	return from
}

// batchNorm writes y + shift where y = x·scale, scale = weight·rsqrt(variance + eps) and shift = bias - mean·scale, if
// these are what they are called.
func (e *exporter) batchNorm(n, y, shift *graph.Node) (done bool, err error) {
	shape := graph.ShapeOf(n)
	scale := e.channels(graph.Operands(y)[1], shape)
	shift = e.channels(shift, shape)
	weight, root := pair(scale, "mul")
	sum := operand(root, "rsqrt", 0)
	variance, eps := pair(sum, "add")
	bias, moved := pair(shift, "sub")
	mean, again := pair(moved, "mul")
	for _, p := range []*graph.Node{weight, variance, bias, mean} {
		if p == nil || e.g.Param(p) == nil {
			return false, nil
		}
	}
	if again != scale || len(graph.Operands(eps)) != 0 || graph.TypeOf(eps).Size() != 1 || graph.OpName(eps) != "const" {
		return false, nil
	}
	v, err := evaluate(eps)
	if err != nil {
		return false, err
	}
	x := graph.Operands(y)[0]
	err = (&call{e: e, n: n}).is("BatchNormalization",
		[]string{e.names[x], e.names[weight], e.names[bias], e.names[mean], e.names[variance]}, float("epsilon", v.At(0)))
	return true, err
}

func operand(n *graph.Node, op string, i int) *graph.Node {
	if n == nil || graph.OpName(n) != op {
		return nil
	}
	return graph.Operands(n)[i]
}

func pair(n *graph.Node, op string) (a, b *graph.Node) { return operand(n, op, 0), operand(n, op, 1) }
