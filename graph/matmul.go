package graph

import (
	"fmt"
	"slices"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// MatMul is the matrix product of the last two axes, with NumPy's broadcasting of the axes before them: [..., m, k] by
// [..., k, n] gives [..., m, n]. A vector is a row on the left and a column on the right, and its axis disappears.
func MatMul(a, b *Node) *Node { return matMul(a, b, false, false) }

// MatMulT is MatMul with operands read transposed in their last two axes where transA or transB say so; nothing is
// moved in memory.
func MatMulT(a, b *Node, transA, transB bool) *Node { return matMul(a, b, transA, transB) }

// Dot is the sum of the elementwise product of two nodes of equal shape.
func Dot(a, b *Node) *Node { return Sum(Mul(a, b)) }

func matMul(a, b *Node, ta, tb bool) *Node {
	sa, sb := ShapeOf(a), ShapeOf(b)
	switch {
	case len(sa) == 0 || len(sb) == 0:
		e := fail("matmul", "operands", "at least one axis each", fmt.Sprintf("%v and %v", sa, sb))
		e.Operands = describe([]*Node{a, b})
		panic(e)
	case len(sa) == 1:
		y := matMul(Reshape(a, 1, sa[0]), b, false, tb)
		s := slices.Clone(ShapeOf(y))
		row := len(s) - min(len(sb), 2) // the axis of size 1, where b is a vector the last
		return Reshape(y, slices.Delete(s, row, row+1)...)
	case len(sb) == 1:
		y := matMul(a, Reshape(b, sb[0], 1), ta, false)
		s := ShapeOf(y)
		return Reshape(y, s[:len(s)-1]...)
	case len(sa) > 2 && len(sb) == 2 && !ta:
		// Rows of all batches are rows of one product; so its derivatives are single products as well.
		k := sa[len(sa)-1]
		y := Apply(matMulOp(matMulAttrs{false, tb}), Reshape(a, sizeOf(sa[:len(sa)-1]), k), b)
		return Reshape(y, append(slices.Clone(sa[:len(sa)-1]), ShapeOf(y)[1])...)
	}
	return Apply(matMulOp(matMulAttrs{ta, tb}), a, b)
}

type matMulAttrs struct{ TransA, TransB bool }

// dims are the sizes of op(A)·op(B) for shapes of at least two axes.
func (t matMulAttrs) dims(a, b []int) (m, k, k2, n int) {
	m, k = a[len(a)-2], a[len(a)-1]
	if t.TransA {
		m, k = k, m
	}
	k2, n = b[len(b)-2], b[len(b)-1]
	if t.TransB {
		k2, n = n, k2
	}
	return
}

func matMulOp(t matMulAttrs) *Primitive {
	return &Primitive{
		Name:  "matmul",
		Attrs: t,
		form:  t,
		Type: func(in []Type) (Type, error) {
			if err := needFloat("matmul", in); err != nil {
				return Type{}, err
			}
			a, b := in[0].Shape, in[1].Shape
			if in[0].DType != in[1].DType {
				return Type{}, fail("matmul", "operand 1", in[0].DType, in[1])
			}
			m, k, k2, n := t.dims(a, b)
			if k != k2 {
				return Type{}, fail("matmul", "operand 1", fmt.Sprintf("inner size %d, to match %v", k, a), fmt.Sprintf("inner size %d of %v", k2, b))
			}
			batch, ok := broadcastShapes(a[:len(a)-2], b[:len(b)-2])
			if !ok {
				return Type{}, fail("matmul", "operand 1", fmt.Sprintf("leading axes that broadcast with %v", a[:len(a)-2]), b[:len(b)-2])
			}
			return Type{in[0].DType, append(batch, m, n)}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) { return matMulKernel(t, out, in, nil), nil },
		VJP: func(y, dy *Node, x []*Node) []*Node {
			a, b := x[0], x[1]
			var da, db *Node
			if t.TransA {
				da = matMul(b, dy, t.TransB, true)
			} else {
				da = matMul(dy, b, false, !t.TransB)
			}
			if t.TransB {
				db = matMul(dy, a, true, t.TransA)
			} else {
				db = matMul(a, dy, !t.TransA, false)
			}
			return []*Node{SumTo(da, ShapeOf(a)), SumTo(db, ShapeOf(b))}
		},
		JVP: func(y *Node, x, dx []*Node) *Node {
			var d *Node
			if dx[0] != nil {
				d = matMul(dx[0], x[1], t.TransA, t.TransB)
			}
			if dx[1] != nil {
				d = plus(d, matMul(x[0], dx[1], t.TransA, t.TransB))
			}
			return d
		},
		Flops: func(out Type, in []Type) int {
			_, k, _, _ := t.dims(in[0].Shape, in[1].Shape)
			return 2 * out.Size() * k
		},
	}
}

// matMulKernel runs one product for each broadcast batch entry; equal strides make it a single batched product. A third
// operand is a bias. Set, if not nil, changes the product's options.
func matMulKernel(t matMulAttrs, out Type, in []Type, set func(*kernel.MatMul)) Kernel {
	a, b := in[0].Shape, in[1].Shape
	m, k, _, n := t.dims(a, b)
	w := newWalk(out.Shape[:len(out.Shape)-2], a[:len(a)-2], b[:len(b)-2])
	p := &kernel.MatMul{
		Batch: w.n, M: m, N: n, K: k, TransA: t.TransA, TransB: t.TransB,
		StrideA: batchStride(w.inner[0], m*k), StrideB: batchStride(w.inner[1], k*n),
	}
	if set != nil {
		set(p)
	}
	size, block := out.Size(), w.n*m*n
	if out.DType == Float32 {
		return func(out *Array, in []*Array) error {
			c, a, b := out.Float32s(), in[0].Float32s(), in[1].Float32s()
			var bias []float32
			if len(in) > 2 {
				bias = in[2].Float32s()
			}
			for at := 0; at < size; at += block {
				p.Run32(c[at:at+block], a[w.offsets[0]*m*k:], b[w.offsets[1]*k*n:], bias)
				w.next()
			}
			return nil
		}
	}
	return func(out *Array, in []*Array) error {
		c, a, b := out.Float64s(), in[0].Float64s(), in[1].Float64s()
		var bias []float64
		if len(in) > 2 {
			bias = in[2].Float64s()
		}
		for at := 0; at < size; at += block {
			p.Run64(c[at:at+block], a[w.offsets[0]*m*k:], b[w.offsets[1]*k*n:], bias)
			w.next()
		}
		return nil
	}
}

func batchStride(inner, size int) int {
	if inner == 0 {
		return kernel.Broadcast
	}
	return size
}
