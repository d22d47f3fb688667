package graph

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
)

// Primitives that move and pick elements. Each is linear in its data, so its forward rule is itself and its reverse
// rule its transpose.

// linear is the forward rule of an op that is linear in operand 0 and does not differentiate the others.
func linear(p func() *Primitive) func(y *Node, x, dx []*Node) *Node {
	return func(y *Node, x, dx []*Node) *Node {
		if dx[0] == nil {
			return nil
		}
		return Apply(p(), append([]*Node{dx[0]}, x[1:]...)...)
	}
}

type constAttrs struct {
	Value uint64 // bits of the float64, so that NaN equals NaN
	DType string
	Shape []int
}

// constant is a node of one number in every element.
func constant(g *gorgonia.ExprGraph, dtype DType, v float64, shape ...int) *Node {
	return apply(g, fillOp(Type{dtype, slices.Clone(shape)}, v), nil)
}

func fillOp(t Type, v float64) *Primitive {
	return &Primitive{
		Name:  "const",
		Attrs: constAttrs{math.Float64bits(v), t.DType.String(), t.Shape},
		form:  fillForm(v),
		Type:  func([]Type) (Type, error) { return t, nil },
		Kernel: func(Type, []Type) (Kernel, error) {
			return func(out *Array, _ []*Array) error {
				for i := range out.Size() {
					out.Set(i, v)
				}
				return nil
			}, nil
		},
	}
}

// Const is a scalar constant in the graph and of the type of like.
func Const(like *Node, v float64) *Node { return constant(needNode(like).Graph(), like.Dtype(), v) }

// Fill is a node of the type and shape of like with v in every element.
func Fill(like *Node, v float64) *Node {
	return constant(like.Graph(), like.Dtype(), v, ShapeOf(like)...)
}

// Literal is a constant array in the graph of like. The array is shared, not copied.
func Literal(like *Node, value *Array) *Node {
	if value == nil {
		panic(fail("literal", "value", "an array", "nil"))
	}
	return apply(like.Graph(), &Primitive{
		Name:  "literal",
		Attrs: fmt.Sprintf("@%p", value),
		form:  value,
		Type:  func([]Type) (Type, error) { return value.Type, nil },
		Kernel: func(Type, []Type) (Kernel, error) {
			return func(out *Array, _ []*Array) error { return out.CopyFrom(value) }, nil
		},
	}, nil)
}

// Reshape gives x another shape of the same size; one axis may be -1, which takes what is left.
func Reshape(x *Node, shape ...int) *Node {
	shape = slices.Clone(shape)
	size := TypeOf(x).Size()
	if i := slices.Index(shape, -1); i >= 0 {
		if rest := -sizeOf(shape); rest > 0 && size%rest == 0 {
			shape[i] = size / rest
		}
	}
	if slices.Equal(shape, ShapeOf(x)) {
		return x
	}
	return Apply(reshapeOp(shape), x)
}

func reshapeOp(shape []int) *Primitive {
	return &Primitive{
		Name:  "reshape",
		Attrs: shape,
		View:  true,
		Type: func(in []Type) (Type, error) {
			for _, d := range shape {
				if d < 0 {
					return Type{}, fail("reshape", "shape", fmt.Sprintf("a shape of %d elements, at most one size -1", in[0].Size()), shape)
				}
			}
			if in[0].Size() != sizeOf(shape) {
				return Type{}, fail("reshape", "shape", fmt.Sprintf("a shape of %d elements", in[0].Size()), shape)
			}
			return Type{in[0].DType, shape}, nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node { return []*Node{Reshape(dy, ShapeOf(x[0])...)} },
		JVP: linear(func() *Primitive { return reshapeOp(shape) }),
	}
}

// Flatten keeps the first axis and joins the others: [n, c, h, w] to [n, c*h*w].
func Flatten(x *Node) *Node {
	s := ShapeOf(x)
	if len(s) == 0 {
		return Reshape(x, 1, 1)
	}
	return Reshape(x, s[0], sizeOf(s[1:]))
}

// Detach is x as a constant: no derivative of either direction passes.
func Detach(x *Node) *Node { return Apply(detachOp, x) }

var detachOp = &Primitive{
	Name: "detach",
	View: true,
	Type: func(in []Type) (Type, error) { return in[0], nil },
}

// assignOp stores operand 1 in the memory of operand 0, a state of the store. See Scope.Update.
var assignOp = &Primitive{
	Name: "assign",
	Type: func(in []Type) (Type, error) {
		if !in[0].Equal(in[1]) {
			return Type{}, fail("update", "value", in[0], in[1])
		}
		return in[0], nil
	},
	Kernel: func(Type, []Type) (Kernel, error) {
		return func(_ *Array, in []*Array) error { return in[0].CopyFrom(in[1]) }, nil
	},
}

// Transpose reorders the axes: axis i of the result is axis perm[i] of x. Without perm the axes are reversed.
func Transpose(x *Node, perm ...int) *Node {
	n := len(ShapeOf(x))
	if len(perm) == 0 {
		for i := range n {
			perm = append(perm, n-1-i)
		}
	}
	return Apply(transposeOp(slices.Clone(perm)), x)
}

func transposeOp(perm []int) *Primitive {
	return &Primitive{
		Name:  "transpose",
		Attrs: perm,
		form:  transposeForm(perm),
		Type: func(in []Type) (Type, error) {
			n := len(in[0].Shape)
			seen := make([]bool, n)
			shape := make([]int, n)
			for i, a := range perm {
				if len(perm) != n || a < 0 || a >= n || seen[a] {
					return Type{}, fail("transpose", "perm", fmt.Sprintf("a permutation of %d axes", n), perm)
				}
				seen[a] = true
				shape[i] = in[0].Shape[a]
			}
			if len(perm) != n {
				return Type{}, fail("transpose", "perm", fmt.Sprintf("a permutation of %d axes", n), perm)
			}
			return Type{in[0].DType, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			st := contiguous(in[0].Shape)
			src := make([]int, len(perm))
			for i, a := range perm {
				src[i] = st[a]
			}
			return copyKernel(out.DType, out.Shape, contiguous(out.Shape), 0, src, 0), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			inverse := make([]int, len(perm))
			for i, a := range perm {
				inverse[a] = i
			}
			return []*Node{Apply(transposeOp(inverse), dy)}
		},
		JVP: linear(func() *Primitive { return transposeOp(perm) }),
	}
}

// BroadcastTo repeats x along axes of size 1, and new leading axes, to the given shape.
func BroadcastTo(x *Node, shape ...int) *Node { return broadcastTo(x, shape) }

func broadcastTo(x *Node, shape []int) *Node {
	if slices.Equal(ShapeOf(x), shape) {
		return x
	}
	return Apply(broadcastOp(slices.Clone(shape)), x)
}

func broadcastOp(shape []int) *Primitive {
	return &Primitive{
		Name:  "broadcast",
		Attrs: shape,
		form:  broadcastForm{},
		Type: func(in []Type) (Type, error) {
			s, ok := broadcastShapes(shape, in[0].Shape)
			if !ok || slices.ContainsFunc(shape, func(d int) bool { return d < 0 }) || !slices.Equal(s, shape) {
				return Type{}, fail("broadcast", "shape", fmt.Sprintf("a shape that %v broadcasts to", in[0].Shape), shape)
			}
			return Type{in[0].DType, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			src := make([]int, len(shape))
			st := contiguous(in[0].Shape)
			for i, d := range in[0].Shape {
				if d != 1 {
					src[len(shape)-len(st)+i] = st[i]
				}
			}
			return copyKernel(out.DType, shape, contiguous(shape), 0, src, 0), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node { return []*Node{SumTo(dy, ShapeOf(x[0]))} },
		JVP: linear(func() *Primitive { return broadcastOp(shape) }),
	}
}

// SumTo sums x over the axes along which the given shape broadcasts to x's: the transpose of BroadcastTo.
func SumTo(x *Node, shape []int) *Node {
	s := ShapeOf(x)
	if slices.Equal(s, shape) {
		return x
	}
	if b, ok := broadcastShapes(s, shape); !ok || !slices.Equal(b, s) {
		panic(fail("sum_to", "shape", fmt.Sprintf("a shape that broadcasts to %v", s), shape))
	}
	var axes []int
	lead := len(s) - len(shape)
	for i := range s {
		if i < lead || shape[i-lead] == 1 && s[i] != 1 {
			axes = append(axes, i)
		}
	}
	if len(axes) > 0 {
		x = Sum(x, axes...)
	}
	return Reshape(x, shape...)
}

type sliceAttrs struct{ Axis, Start, Stop, Step int }

// Slice takes elements start, start+step, ... below stop along one axis. Step must be at least 1.
func Slice(x *Node, axis, start, stop, step int) *Node {
	return Apply(sliceOp(sliceAttrs{axisOf("slice", x, axis), start, stop, step}), x)
}

func sliceOp(a sliceAttrs) *Primitive {
	return &Primitive{
		Name:  "slice",
		Attrs: a,
		Type: func(in []Type) (Type, error) {
			n := in[0].Shape[a.Axis]
			if a.Step < 1 {
				return Type{}, fail("slice", "step", "at least 1", a.Step)
			}
			if a.Start < 0 || a.Start > a.Stop || a.Stop > n {
				return Type{}, fail("slice", "range", fmt.Sprintf("0 <= start <= stop <= %d", n), fmt.Sprintf("%d:%d", a.Start, a.Stop))
			}
			shape := slices.Clone(in[0].Shape)
			shape[a.Axis] = (a.Stop - a.Start + a.Step - 1) / a.Step
			return Type{in[0].DType, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			src := contiguous(in[0].Shape)
			offset := a.Start * src[a.Axis]
			src[a.Axis] *= a.Step
			return copyKernel(out.DType, out.Shape, contiguous(out.Shape), 0, src, offset), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			n, m := ShapeOf(x[0])[a.Axis], ShapeOf(y)[a.Axis]
			p := padAttrs{a.Axis, a.Start, 0, a.Step - 1}
			p.After = n - a.Start - max(0, (m-1)*a.Step+min(m, 1))
			return []*Node{Apply(padOp(p, 0), dy)}
		},
		JVP: linear(func() *Primitive { return sliceOp(a) }),
	}
}

type padAttrs struct{ Axis, Before, After, Between int }

// Pad puts before and after copies of value along an axis at its ends.
func Pad(x *Node, axis, before, after int, value float64) *Node {
	return Apply(padOp(padAttrs{axisOf("pad", x, axis), before, after, 0}, value), x)
}

// padOp pads with value, also between neighbours.
func padOp(a padAttrs, value float64) *Primitive {
	return &Primitive{
		Name: "pad",
		form: padForm{a, value},
		Attrs: struct {
			padAttrs
			Value float64
		}{a, value},
		Type: func(in []Type) (Type, error) {
			if a.Before < 0 || a.After < 0 {
				return Type{}, fail("pad", "widths", "at least 0", fmt.Sprintf("%d, %d", a.Before, a.After))
			}
			shape := slices.Clone(in[0].Shape)
			n := shape[a.Axis]
			shape[a.Axis] = a.Before + a.After + n + max(0, n-1)*a.Between
			return Type{in[0].DType, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			dst := contiguous(out.Shape)
			offset := a.Before * dst[a.Axis]
			dst[a.Axis] *= a.Between + 1
			move := copyKernel(out.DType, in[0].Shape, dst, offset, contiguous(in[0].Shape), 0)
			return func(out *Array, in []*Array) error {
				switch d := out.data.(type) {
				case []float32:
					fill(d, float32(value))
				case []float64:
					fill(d, value)
				case []int:
					fill(d, int(value))
				}
				return move(out, in)
			}, nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			n := ShapeOf(x[0])[a.Axis]
			stop := a.Before + n + max(0, n-1)*a.Between
			return []*Node{Apply(sliceOp(sliceAttrs{a.Axis, a.Before, stop, a.Between + 1}), dy)}
		},
		JVP: linear(func() *Primitive { return padOp(a, 0) }),
	}
}

func fill[T any](d []T, v T) {
	for i := range d {
		d[i] = v
	}
}

// Concat joins nodes along an axis; the other axes must agree.
func Concat(axis int, x ...*Node) *Node {
	if len(x) == 0 {
		panic(fail("concat", "operands", "at least one", "none"))
	}
	return Apply(concatOp(axisOf("concat", x[0], axis)), x...)
}

func concatOp(axis int) *Primitive {
	return &Primitive{
		Name:  "concat",
		Attrs: axis,
		form:  concatForm(axis),
		Type: func(in []Type) (Type, error) {
			shape := slices.Clone(in[0].Shape)
			for i, t := range in[1:] {
				s := slices.Clone(t.Shape)
				if len(s) == len(shape) {
					s[axis] = shape[axis]
				}
				if !(Type{t.DType, s}).Equal(Type{in[0].DType, shape}) {
					return Type{}, fail("concat", fmt.Sprintf("operand %d", i+1), fmt.Sprintf("%v %v but for axis %d", in[0].DType, in[0].Shape, axis), t)
				}
				shape[axis] += t.Shape[axis]
			}
			return Type{in[0].DType, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			dst := contiguous(out.Shape)
			moves := make([]Kernel, len(in))
			offset := 0
			for i, t := range in {
				moves[i] = copyKernel(out.DType, t.Shape, dst, offset, contiguous(t.Shape), 0)
				offset += t.Shape[axis] * dst[axis]
			}
			return func(out *Array, in []*Array) error {
				for i, move := range moves {
					if err := move(out, in[i:i+1]); err != nil {
						return err
					}
				}
				return nil
			}, nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			d := make([]*Node, len(x))
			at := 0
			for i, n := range x {
				size := ShapeOf(n)[axis]
				d[i] = Slice(dy, axis, at, at+size, 1)
				at += size
			}
			return d
		},
		JVP: func(y *Node, x, dx []*Node) *Node {
			d := make([]*Node, len(x))
			for i, n := range x {
				d[i] = dx[i]
				if d[i] == nil {
					d[i] = Fill(n, 0)
				}
			}
			return Concat(axis, d...)
		},
	}
}

// Stack joins nodes of equal shape along a new axis.
func Stack(axis int, x ...*Node) *Node {
	if len(x) == 0 {
		panic(fail("stack", "operands", "at least one", "none"))
	}
	s := ShapeOf(x[0])
	if axis < 0 {
		axis += len(s) + 1
	}
	if axis < 0 || axis > len(s) {
		panic(fail("stack", "axis", fmt.Sprintf("0 to %d", len(s)), axis))
	}
	shape := slices.Insert(slices.Clone(s), axis, 1)
	y := make([]*Node, len(x))
	for i, n := range x {
		if !slices.Equal(ShapeOf(n), s) {
			panic(fail("stack", fmt.Sprintf("operand %d", i), s, ShapeOf(n)))
		}
		y[i] = Reshape(n, shape...)
	}
	return Concat(axis, y...)
}

// Take picks along an axis by index: the result has idx's axes in place of that axis, as numpy.take. Idx is Int; an
// index out of range is an error of the run. An embedding lookup is Take(weight, idx, 0).
func Take(x, idx *Node, axis int) *Node { return Apply(takeOp(axisOf("take", x, axis)), x, idx) }

func takeOp(axis int) *Primitive {
	return &Primitive{
		Name:  "take",
		Attrs: axis,
		Type: func(in []Type) (Type, error) {
			if in[1].DType != Int {
				return Type{}, fail("take", "index", "int", in[1])
			}
			return Type{in[0].DType, slices.Concat(in[0].Shape[:axis], in[1].Shape, in[0].Shape[axis+1:])}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(in[0].Shape, axis)
			m := in[1].Size()
			return byDType(out.DType, takeKernel[float32](outer, n, inner, m), takeKernel[float64](outer, n, inner, m), takeKernel[int](outer, n, inner, m)), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			return []*Node{ScatterAdd(dy, x[1], axis, ShapeOf(x[0])[axis]), nil}
		},
		JVP: linear(func() *Primitive { return takeOp(axis) }),
	}
}

type scatterAttrs struct{ Axis, Size, Rank int }

// ScatterAdd is the transpose of Take: a node with size along axis in place of idx's axes, in which each part of x has
// been added at its index; parts nobody names are 0. Segment sums are ScatterAdd with axis 0.
func ScatterAdd(x, idx *Node, axis, size int) *Node {
	if r := len(ShapeOf(x)) - len(ShapeOf(idx)); axis < 0 || axis > r {
		panic(fail("scatter_add", "axis", fmt.Sprintf("0 to %d", r), axis))
	}
	return Apply(scatterOp(scatterAttrs{axis, size, len(ShapeOf(idx))}), x, idx)
}

func scatterOp(a scatterAttrs) *Primitive {
	return &Primitive{
		Name:  "scatter_add",
		Attrs: a,
		Type: func(in []Type) (Type, error) {
			if in[1].DType != Int {
				return Type{}, fail("scatter_add", "index", "int", in[1])
			}
			if a.Size < 0 {
				return Type{}, fail("scatter_add", "size", "at least 0", a.Size)
			}
			mid := in[0].Shape[a.Axis : a.Axis+a.Rank]
			if !slices.Equal(mid, in[1].Shape) {
				return Type{}, fail("scatter_add", "index", fmt.Sprintf("shape %v", mid), in[1])
			}
			return Type{in[0].DType, slices.Concat(in[0].Shape[:a.Axis], []int{a.Size}, in[0].Shape[a.Axis+a.Rank:])}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(out.Shape, a.Axis)
			m := in[1].Size()
			return byDType(out.DType, scatterKernel[float32](outer, n, inner, m), scatterKernel[float64](outer, n, inner, m), scatterKernel[int](outer, n, inner, m)), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node { return []*Node{Take(dy, x[1], a.Axis), nil} },
		JVP: linear(func() *Primitive { return scatterOp(a) }),
	}
}

func takeKernel[T float32 | float64 | int](outer, n, inner, m int) Kernel {
	return func(out *Array, in []*Array) error {
		o, x, idx := Data[T](out), Data[T](in[0]), Data[int](in[1])
		for i := range outer {
			for j, k := range idx {
				if k < 0 || k >= n {
					return fail("take", fmt.Sprintf("index[%d]", j), fmt.Sprintf("0 to %d", n-1), k)
				}
				copy(o[(i*m+j)*inner:(i*m+j+1)*inner], x[(i*n+k)*inner:])
			}
		}
		return nil
	}
}

func scatterKernel[T float32 | float64 | int](outer, n, inner, m int) Kernel {
	return func(out *Array, in []*Array) error {
		o, x, idx := Data[T](out), Data[T](in[0]), Data[int](in[1])
		clear(o)
		for i := range outer {
			for j, k := range idx {
				if k < 0 || k >= n {
					return fail("scatter_add", fmt.Sprintf("index[%d]", j), fmt.Sprintf("0 to %d", n-1), k)
				}
				to, from := o[(i*n+k)*inner:(i*n+k+1)*inner], x[(i*m+j)*inner:(i*m+j+1)*inner]
				for l, v := range from {
					to[l] += v
				}
			}
		}
		return nil
	}
}

// TakeAlong picks one element for each index along an axis: idx has x's rank and, but for that axis, x's sizes, as
// torch.gather and numpy.take_along_axis.
func TakeAlong(x, idx *Node, axis int) *Node {
	return Apply(takeAlongOp(axisOf("take_along", x, axis)), x, idx)
}

func takeAlongOp(axis int) *Primitive {
	return &Primitive{
		Name:  "take_along",
		Attrs: axis,
		Type: func(in []Type) (Type, error) {
			if err := alongType("take_along", axis, in); err != nil {
				return Type{}, err
			}
			return Type{in[0].DType, in[1].Shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(in[0].Shape, axis)
			m := in[1].Shape[axis]
			return byDType(out.DType, alongKernel[float32](outer, n, m, inner, false), alongKernel[float64](outer, n, m, inner, false), alongKernel[int](outer, n, m, inner, false)), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			return []*Node{Apply(putAlongOp(axis, ShapeOf(x[0])[axis]), dy, x[1]), nil}
		},
		JVP: linear(func() *Primitive { return takeAlongOp(axis) }),
	}
}

// PutAlong is the transpose of TakeAlong: size elements along the axis, in which each element of x has been added at
// its index.
func PutAlong(x, idx *Node, axis, size int) *Node {
	return Apply(putAlongOp(axisOf("put_along", x, axis), size), x, idx)
}

func putAlongOp(axis, size int) *Primitive {
	return &Primitive{
		Name:  "put_along",
		Attrs: [2]int{axis, size},
		Type: func(in []Type) (Type, error) {
			if in[1].DType != Int || !slices.Equal(in[0].Shape, in[1].Shape) {
				return Type{}, fail("put_along", "index", Type{Int, in[0].Shape}, in[1])
			}
			if size < 0 {
				return Type{}, fail("put_along", "size", "at least 0", size)
			}
			shape := slices.Clone(in[0].Shape)
			shape[axis] = size
			return Type{in[0].DType, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, m, inner := around(in[1].Shape, axis)
			return byDType(out.DType, alongKernel[float32](outer, size, m, inner, true), alongKernel[float64](outer, size, m, inner, true), alongKernel[int](outer, size, m, inner, true)), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node { return []*Node{TakeAlong(dy, x[1], axis), nil} },
		JVP: linear(func() *Primitive { return putAlongOp(axis, size) }),
	}
}

func alongType(op string, axis int, in []Type) error {
	if in[1].DType != Int {
		return fail(op, "index", "int", in[1])
	}
	want := slices.Clone(in[0].Shape)
	if len(in[1].Shape) == len(want) {
		want[axis] = in[1].Shape[axis]
	}
	if !slices.Equal(want, in[1].Shape) {
		return fail(op, "index", fmt.Sprintf("shape %v but for axis %d", in[0].Shape, axis), in[1])
	}
	return nil
}

// alongKernel serves TakeAlong (out[i,j,l] = x[i,idx,l]) and PutAlong (out[i,idx,l] += x[i,j,l]).
func alongKernel[T float32 | float64 | int](outer, n, m, inner int, put bool) Kernel {
	op := "take_along"
	if put {
		op = "put_along"
	}
	return func(out *Array, in []*Array) error {
		o, x, idx := Data[T](out), Data[T](in[0]), Data[int](in[1])
		if put {
			clear(o)
		}
		for i := range outer {
			for j := range m {
				for l := range inner {
					at := (i*m+j)*inner + l
					k := idx[at]
					if k < 0 || k >= n {
						return fail(op, fmt.Sprintf("index[%d]", at), fmt.Sprintf("0 to %d", n-1), k)
					}
					if put {
						o[(i*n+k)*inner+l] += x[at]
					} else {
						o[at] = x[(i*n+k)*inner+l]
					}
				}
			}
		}
		return nil
	}
}

// OneHot is 1 at each index along a new last axis and 0 elsewhere, in the floating-point type dtype. An index outside
// [0, classes) gives a row of zeros.
func OneHot(idx *Node, classes int, dtype DType) *Node {
	if err := (Type{DType: dtype}).check("one_hot", "dtype"); err != nil {
		panic(err)
	}
	return Apply(&Primitive{
		Name:  "one_hot",
		Attrs: fmt.Sprintf("{%d %v}", classes, dtype),
		Type: func(in []Type) (Type, error) {
			if in[0].DType != Int {
				return Type{}, fail("one_hot", "index", "int", in[0])
			}
			if classes < 0 {
				return Type{}, fail("one_hot", "classes", "at least 0", classes)
			}
			return Type{dtype, append(slices.Clone(in[0].Shape), classes)}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return func(out *Array, in []*Array) error {
				out.Zero()
				for i, k := range in[0].Ints() {
					if k >= 0 && k < classes {
						out.Set(i*classes+k, 1)
					}
				}
				return nil
			}, nil
		},
	}, idx)
}

// Cast converts elements to another type. From float to float the derivative passes; to Int it does not, and a value
// that is not finite is an error of the run; other values are truncated towards 0.
func Cast(x *Node, dtype DType) *Node {
	if err := (Type{DType: dtype}).check("cast", "dtype"); err != nil {
		panic(err)
	}
	if TypeOf(x).DType == dtype {
		return x
	}
	return Apply(castOp(dtype), x)
}

func castOp(dtype DType) *Primitive {
	p := &Primitive{
		Name:  "cast",
		Attrs: dtype.String(),
		Type:  func(in []Type) (Type, error) { return Type{dtype, in[0].Shape}, nil },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return func(out *Array, in []*Array) error {
				for i := range out.Size() {
					v := in[0].At(i)
					if dtype == Int && (math.IsNaN(v) || math.Abs(v) > 1<<53) {
						return fail("cast", fmt.Sprintf("element %d", i), "a finite whole number", v)
					}
					out.Set(i, v)
				}
				return nil
			}, nil
		},
	}
	if dtype != Int {
		p.VJP = func(y, dy *Node, x []*Node) []*Node {
			if x[0].Dtype() == Int {
				return []*Node{nil}
			}
			return []*Node{Cast(dy, x[0].Dtype())}
		}
		p.JVP = linear(func() *Primitive { return castOp(dtype) })
	}
	return p
}

// axisOf checks an axis of x and counts a negative one from the end.
func axisOf(op string, x *Node, axis int) int {
	n := len(ShapeOf(x))
	a := axis
	if a < 0 {
		a += n
	}
	if a < 0 || a >= n {
		e := fail(op, "axis", fmt.Sprintf("-%d to %d", n, n-1), axis)
		e.Operands = describe([]*Node{x})
		panic(e)
	}
	return a
}

// around is a shape seen from one axis: the sizes before it, of it, and after it.
func around(shape []int, axis int) (outer, n, inner int) {
	return sizeOf(shape[:axis]), shape[axis], sizeOf(shape[axis+1:])
}

func contiguous(shape []int) []int {
	st := make([]int, len(shape))
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		st[i] = step
		step *= shape[i]
	}
	return st
}

func byDType(t DType, f32, f64, ints Kernel) Kernel {
	switch t {
	case Float32:
		return f32
	case Float64:
		return f64
	}
	return ints
}

// copyKernel copies a block of the given shape between two strided layouts.
func copyKernel(t DType, shape, dst []int, dstOffset int, src []int, srcOffset int) Kernel {
	c := newStridedCopy(shape, dst, dstOffset, src, srcOffset)
	return byDType(t,
		func(out *Array, in []*Array) error { runCopy(c, Data[float32](out), Data[float32](in[0])); return nil },
		func(out *Array, in []*Array) error { runCopy(c, Data[float64](out), Data[float64](in[0])); return nil },
		func(out *Array, in []*Array) error { runCopy(c, Data[int](out), Data[int](in[0])); return nil })
}

// stridedCopy is a block of memory moves, its axes collapsed where both sides allow it, innermost first.
type stridedCopy struct {
	sizes, dst, src, index []int
	dstOffset, srcOffset   int
	empty                  bool
}

func newStridedCopy(shape, dst []int, dstOffset int, src []int, srcOffset int) *stridedCopy {
	c := &stridedCopy{dstOffset: dstOffset, srcOffset: srcOffset, empty: sizeOf(shape) == 0}
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] == 1 {
			continue
		}
		if last := len(c.sizes) - 1; last >= 0 && dst[i] == c.dst[last]*c.sizes[last] && src[i] == c.src[last]*c.sizes[last] {
			c.sizes[last] *= shape[i]
			continue
		}
		c.sizes = append(c.sizes, shape[i])
		c.dst = append(c.dst, dst[i])
		c.src = append(c.src, src[i])
	}
	if len(c.sizes) == 0 {
		c.sizes, c.dst, c.src = []int{1}, []int{1}, []int{1}
	}
	c.index = make([]int, len(c.sizes))
	return c
}

func runCopy[T any](c *stridedCopy, dst, src []T) {
	if c.empty {
		return
	}
	n, ds, ss := c.sizes[0], c.dst[0], c.src[0]
	d, s := c.dstOffset, c.srcOffset
	for {
		switch {
		case ds == 1 && ss == 1:
			copy(dst[d:d+n], src[s:s+n])
		case ds == 1 && ss == 0:
			fill(dst[d:d+n], src[s])
		default:
			for i := range n {
				dst[d+i*ds] = src[s+i*ss]
			}
		}
		axis := 1
		for ; axis < len(c.sizes); axis++ {
			c.index[axis]++
			d += c.dst[axis]
			s += c.src[axis]
			if c.index[axis] < c.sizes[axis] {
				break
			}
			d -= c.dst[axis] * c.sizes[axis]
			s -= c.src[axis] * c.sizes[axis]
			c.index[axis] = 0
		}
		if axis == len(c.sizes) {
			return
		}
	}
}
