package graph

import (
	"fmt"
	"math"
	"slices"
)

// Primitives that reduce axes. Without axes they reduce all of them; negative axes count from the end. The reduced
// axes disappear from the shape. Sums are formed in a fixed order with float64 accumulators.

// Sum adds over the axes.
func Sum(x *Node, axes ...int) *Node { return reduce("sum", x, axes, sumOp) }

// Mean is the arithmetic mean over the axes; NaN over nothing.
func Mean(x *Node, axes ...int) *Node {
	n := 1
	for _, a := range axesOf("mean", x, axes) {
		n *= ShapeOf(x)[a]
	}
	return Scale(Sum(x, axes...), 1/float64(n))
}

// Prod multiplies over the axes. Its derivative is right also where factors are 0.
func Prod(x *Node, axes ...int) *Node { return reduce("prod", x, axes, prodOp) }

// Max is the largest element over the axes, NaN if there is one; equal maxima share the derivative equally. Over
// nothing it is -Inf.
func Max(x *Node, axes ...int) *Node { return reduce("max", x, axes, maxOp) }

// Min is the smallest element, otherwise as Max.
func Min(x *Node, axes ...int) *Node { return Neg(Max(Neg(x), axes...)) }

// LogSumExp is log(sum(exp(x))) over the axes, without overflow; -Inf over nothing.
func LogSumExp(x *Node, axes ...int) *Node { return reduce("logsumexp", x, axes, logSumExpOp) }

// KeepDims puts the axes that a reduction of a node of the given shape removed back, with size 1.
func KeepDims(y *Node, shape []int, axes ...int) *Node {
	s := slices.Clone(shape)
	if len(axes) == 0 {
		for i := range s {
			s[i] = 1
		}
	}
	for _, a := range axes {
		i := a
		if i < 0 {
			i += len(s)
		}
		if i < 0 || i >= len(s) {
			panic(fail("keep_dims", "axis", fmt.Sprintf("-%d to %d", len(s), len(s)-1), a))
		}
		s[i] = 1
	}
	return Reshape(y, s...)
}

func reduce(name string, x *Node, axes []int, op func(axes []int) *Primitive) *Node {
	axes = axesOf(name, x, axes)
	if len(axes) == 0 && len(ShapeOf(x)) > 0 {
		return x
	}
	return Apply(op(axes), x)
}

// axesOf checks axes and returns them sorted and counted from the front; none means all.
func axesOf(op string, x *Node, axes []int) []int {
	n := len(ShapeOf(x))
	var all []int
	if len(axes) == 0 {
		for i := range n {
			all = append(all, i)
		}
		return all
	}
	for _, a := range axes {
		a = axisOf(op, x, a)
		if slices.Contains(all, a) {
			panic(fail(op, "axes", "different axes", axes))
		}
		all = append(all, a)
	}
	slices.Sort(all)
	return all
}

// reduction makes the primitive called name over axes from the value of one run of elements.
func reduction(name string, axes []int, f32 func([]float32, int, int) float64, f64 func([]float64, int, int) float64) *Primitive {
	return &Primitive{
		Name:  name,
		Attrs: axes,
		Type: func(in []Type) (Type, error) {
			var shape []int
			for i, d := range in[0].Shape {
				if !slices.Contains(axes, i) {
					shape = append(shape, d)
				}
			}
			return Type{in[0].DType, shape}, needFloat(name, in)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			if out.DType == Float32 {
				return reduceKernel(in[0].Shape, axes, f32), nil
			}
			return reduceKernel(in[0].Shape, axes, f64), nil
		},
		Flops: func(_ Type, in []Type) int { return in[0].Size() },
	}
}

// reduceKernel gathers each result's elements by strides. f reduces n elements a stride apart, or, over several
// separate axes, elements gathered into one row.
func reduceKernel[T Float](shape, axes []int, f func(x []T, n, stride int) float64) Kernel {
	st := contiguous(shape)
	var keepSize, keepStride, redSize, redStride []int
	for i, d := range shape {
		sizes, strides := &keepSize, &keepStride
		if slices.Contains(axes, i) {
			sizes, strides = &redSize, &redStride
		}
		if last := len(*sizes) - 1; last >= 0 && (*strides)[last] == d*st[i] {
			(*sizes)[last] *= d
			(*strides)[last] = st[i]
			continue
		}
		*sizes, *strides = append(*sizes, d), append(*strides, st[i])
	}
	results, elements := sizeOf(keepSize), sizeOf(redSize)
	index := make([]int, len(keepSize))
	var row []T
	var gather *stridedCopy
	n, stride := elements, 1
	if len(redSize) == 1 {
		stride = redStride[0]
	}
	if len(redSize) > 1 {
		row = make([]T, elements)
		gather = newStridedCopy(redSize, contiguous(redSize), 0, redStride, 0)
	}
	return func(out *Array, in []*Array) error {
		o, x := Data[T](out), Data[T](in[0])
		at := 0
		for i := range results {
			if elements == 0 {
				o[i] = T(f(nil, 0, 1))
				continue
			}
			if gather != nil {
				runCopy(gather, row, x[at:])
				o[i] = T(f(row, n, 1))
			} else {
				o[i] = T(f(x[at:], n, stride))
			}
			for a := len(index) - 1; a >= 0; a-- {
				index[a]++
				at += keepStride[a]
				if index[a] < keepSize[a] {
					break
				}
				at -= keepStride[a] * keepSize[a]
				index[a] = 0
			}
		}
		return nil
	}
}

func sumOp(axes []int) *Primitive {
	p := reduction("sum", axes, sumRun[float32], sumRun[float64])
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		s := ShapeOf(x[0])
		return []*Node{broadcastTo(KeepDims(dy, s, axes...), s)}
	}
	p.JVP = linear(func() *Primitive { return sumOp(axes) })
	return p
}

func sumRun[T Float](x []T, n, stride int) float64 {
	var s float64
	for i := range n {
		s += float64(x[i*stride])
	}
	return s
}

func maxOp(axes []int) *Primitive {
	p := reduction("max", axes, maxRun[float32], maxRun[float64])
	weights := func(x, y *Node) *Node {
		s := ShapeOf(x)
		hit := Equal(x, broadcastTo(KeepDims(y, s, axes...), s))
		return Div(hit, broadcastTo(KeepDims(Sum(hit, axes...), s, axes...), s))
	}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		return []*Node{Mul(KeepDims(dy, ShapeOf(x[0]), axes...), weights(x[0], y))}
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node { return Sum(Mul(dx[0], weights(x[0], y)), axes...) }
	return p
}

func maxRun[T Float](x []T, n, stride int) float64 {
	m := math.Inf(-1)
	for i := range n {
		v := float64(x[i*stride])
		if v > m {
			m = v
		} else if v != v {
			return v
		}
	}
	return m
}

func logSumExpOp(axes []int) *Primitive {
	p := reduction("logsumexp", axes, logSumExpRun[float32], logSumExpRun[float64])
	// The weights e^x/sum(e^x) are formed from differences to the maximum: exp(x - y) would lose digits to large x.
	weights := func(x *Node) *Node {
		s := ShapeOf(x)
		m := Detach(Max(x, axes...))
		m = Where(Less(Abs(m), Const(m, math.Inf(1))), m, Const(m, 0))
		e := Exp(Sub(x, KeepDims(m, s, axes...)))
		return Div(e, KeepDims(Sum(e, axes...), s, axes...))
	}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		return []*Node{Mul(KeepDims(dy, ShapeOf(x[0]), axes...), weights(x[0]))}
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node { return Sum(Mul(dx[0], weights(x[0])), axes...) }
	p.Flops = func(_ Type, in []Type) int { return 4 * in[0].Size() }
	return p
}

func logSumExpRun[T Float](x []T, n, stride int) float64 {
	m := maxRun(x, n, stride)
	if math.IsInf(m, 0) || m != m {
		return m
	}
	var s float64
	for i := range n {
		s += math.Exp(float64(x[i*stride]) - m)
	}
	return m + math.Log(s)
}

// LogSoftmax is x - logsumexp(x) along an axis, exact also for large x.
func LogSoftmax(x *Node, axis int) *Node {
	return Apply(logSoftmaxOp(axisOf("log_softmax", x, axis)), x)
}

func logSoftmaxOp(axis int) *Primitive {
	sum := func(x *Node) *Node { return KeepDims(Sum(x, axis), ShapeOf(x), axis) }
	return &Primitive{
		Name:  "log_softmax",
		Attrs: axis,
		Type:  func(in []Type) (Type, error) { return in[0], needFloat("log_softmax", in) },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(in[0].Shape, axis)
			if out.DType == Float32 {
				return logSoftmaxKernel[float32](outer, n, inner), nil
			}
			return logSoftmaxKernel[float64](outer, n, inner), nil
		},
		VJP:   func(y, dy *Node, x []*Node) []*Node { return []*Node{Sub(dy, Mul(Exp(y), sum(dy)))} },
		JVP:   func(y *Node, x, dx []*Node) *Node { return Sub(dx[0], sum(Mul(Exp(y), dx[0]))) },
		Flops: func(_ Type, in []Type) int { return 5 * in[0].Size() },
	}
}

func logSoftmaxKernel[T Float](outer, n, inner int) Kernel {
	return func(out *Array, in []*Array) error {
		o, x := Data[T](out), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				from := i*n*inner + l
				m := maxRun(x[from:], n, inner)
				var s float64
				for j := range n {
					s += math.Exp(float64(x[from+j*inner]) - m)
				}
				s = math.Log(s)
				for j := range n {
					o[from+j*inner] = T(float64(x[from+j*inner]) - m - s)
				}
			}
		}
		return nil
	}
}

func prodOp(axes []int) *Primitive {
	p := reduction("prod", axes, prodRun[float32], prodRun[float64])
	// The product of all other factors is the product of those before and those after, which needs no division.
	others := func(x *Node) *Node {
		s := ShapeOf(x)
		perm, inverse := make([]int, 0, len(s)), make([]int, len(s))
		for i := range s {
			if !slices.Contains(axes, i) {
				perm = append(perm, i)
			}
		}
		keep := len(perm)
		perm = append(perm, axes...)
		moved := make([]int, len(s))
		for i, a := range perm {
			inverse[a], moved[i] = i, s[a]
		}
		r := Reshape(Transpose(x, perm...), sizeOf(moved[:keep]), sizeOf(moved[keep:]))
		n := ShapeOf(r)[1]
		var parts []*Node
		before := make([]*Node, n)
		var run *Node
		for i := range n {
			before[i] = run
			run = times(run, Slice(r, 1, i, i+1, 1))
		}
		run = nil
		parts = make([]*Node, n)
		for i := n - 1; i >= 0; i-- {
			parts[i] = times(before[i], run)
			if parts[i] == nil {
				parts[i] = Fill(Slice(r, 1, i, i+1, 1), 1)
			}
			run = times(run, Slice(r, 1, i, i+1, 1))
		}
		return Transpose(Reshape(Concat(1, parts...), moved...), inverse...)
	}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		if TypeOf(x[0]).Size() == 0 {
			return []*Node{nil}
		}
		return []*Node{Mul(KeepDims(dy, ShapeOf(x[0]), axes...), others(x[0]))}
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node {
		if TypeOf(x[0]).Size() == 0 {
			return nil
		}
		return Sum(Mul(dx[0], others(x[0])), axes...)
	}
	return p
}

func prodRun[T Float](x []T, n, stride int) float64 {
	p := 1.0
	for i := range n {
		p *= float64(x[i*stride])
	}
	return p
}

func times(a, b *Node) *Node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return Mul(a, b)
}

// ArgMax is the index of the first largest element along an axis, as Int; the axis disappears.
func ArgMax(x *Node, axis int) *Node {
	axis = axisOf("argmax", x, axis)
	return Apply(&Primitive{
		Name:  "argmax",
		Attrs: axis,
		Type: func(in []Type) (Type, error) {
			if in[0].Shape[axis] == 0 {
				return Type{}, fail("argmax", "axis", "at least one element", in[0])
			}
			return Type{Int, slices.Delete(slices.Clone(in[0].Shape), axis, axis+1)}, needFloat("argmax", in)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(in[0].Shape, axis)
			if in[0].DType == Float32 {
				return argMaxKernel[float32](outer, n, inner), nil
			}
			return argMaxKernel[float64](outer, n, inner), nil
		},
		Flops: func(_ Type, in []Type) int { return in[0].Size() },
	}, x)
}

func argMaxKernel[T Float](outer, n, inner int) Kernel {
	return func(out *Array, in []*Array) error {
		o, x := out.Ints(), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				best := 0
				for j := 1; j < n; j++ {
					v, b := x[(i*n+j)*inner+l], x[(i*n+best)*inner+l]
					if v > b || v != v && b == b {
						best = j
					}
				}
				o[i*inner+l] = best
			}
		}
		return nil
	}
}

type cumulativeAttrs struct {
	Axis    int
	Reverse bool
}

// CumSum is the running sum along an axis.
func CumSum(x *Node, axis int) *Node {
	return Apply(cumSumOp(cumulativeAttrs{axisOf("cumsum", x, axis), false}), x)
}

func cumSumOp(a cumulativeAttrs) *Primitive {
	return &Primitive{
		Name:  "cumsum",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return in[0], needFloat("cumsum", in) },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(in[0].Shape, a.Axis)
			if out.DType == Float32 {
				return cumSumKernel[float32](outer, n, inner, a.Reverse), nil
			}
			return cumSumKernel[float64](outer, n, inner, a.Reverse), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			return []*Node{Apply(cumSumOp(cumulativeAttrs{a.Axis, !a.Reverse}), dy)}
		},
		JVP: linear(func() *Primitive { return cumSumOp(a) }),
	}
}

func cumSumKernel[T Float](outer, n, inner int, reverse bool) Kernel {
	return func(out *Array, in []*Array) error {
		o, x := Data[T](out), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				var s float64
				for j := range n {
					k := j
					if reverse {
						k = n - 1 - j
					}
					at := (i*n+k)*inner + l
					s += float64(x[at])
					o[at] = T(s)
				}
			}
		}
		return nil
	}
}
