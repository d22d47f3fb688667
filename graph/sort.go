package graph

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Sorting. The derivative of a sorted node is that of picking its elements by the permutation found, which is held
// fixed; the permutation itself, being Int, has none. Equal elements keep their order, and NaN comes last in both
// directions.

// ArgSort is the permutation, as Int, that sorts x along an axis: x's element at result[i] is the i-th smallest, or the
// i-th largest if descending.
func ArgSort(x *Node, axis int, descending bool) *Node {
	axis = axisOf("argsort", x, axis)
	return Apply(argSortOp(sortAttrs{axis, ShapeOf(x)[axis], descending}), x)
}

// Sort is x in ascending order along an axis, in descending order if asked.
func Sort(x *Node, axis int, descending bool) *Node {
	return TakeAlong(x, ArgSort(x, axis, descending), axis)
}

// TopK is the k largest elements along an axis, the largest first, and their indices as Int. A NaN is only taken when
// there are fewer than k numbers.
func TopK(x *Node, k, axis int) (values, indices *Node) {
	axis = axisOf("topk", x, axis)
	if n := ShapeOf(x)[axis]; k < 0 || k > n {
		e := fail("topk", "k", fmt.Sprintf("0 to %d", n), k)
		e.Operands = describe([]*Node{x})
		panic(e)
	}
	indices = Apply(argSortOp(sortAttrs{axis, k, true}), x)
	return TakeAlong(x, indices, axis), indices
}

// ArgMin is the index of the first smallest element along an axis, as Int; the axis disappears.
func ArgMin(x *Node, axis int) *Node { return ArgMax(Neg(x), axis) }

// CumProd is the running product along an axis. Its derivative is right also where factors are 0.
func CumProd(x *Node, axis int) *Node {
	return scan(x, axisOf("cumprod", x, axis), 1, Mul)
}

// CumMax is the running maximum along an axis; equal maxima share the derivative.
func CumMax(x *Node, axis int) *Node {
	return scan(x, axisOf("cummax", x, axis), math.Inf(-1), Maximum)
}

// scan is the running result of an associative op with the given neutral element, by doubling the reach log2(n) times
// (W. Hillis, G. Steele 1986).
func scan(x *Node, axis int, neutral float64, op func(a, b *Node) *Node) *Node {
	n := ShapeOf(x)[axis]
	for reach := 1; reach < n; reach *= 2 {
		x = op(x, Pad(Slice(x, axis, 0, n-reach, 1), axis, reach, 0, neutral))
	}
	return x
}

type sortAttrs struct {
	Axis, Keep int // of the sorted indices the first Keep are wanted
	Descending bool
}

func argSortOp(a sortAttrs) *Primitive {
	return &Primitive{
		Name:  "argsort",
		Attrs: a,
		Type: func(in []Type) (Type, error) {
			shape := slices.Clone(in[0].Shape)
			shape[a.Axis] = a.Keep
			return Type{Int, shape}, needFloat("argsort", in)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			if in[0].DType == Float32 {
				return argSortKernel[float32](in[0].Shape, a), nil
			}
			return argSortKernel[float64](in[0].Shape, a), nil
		},
		Flops: func(_ Type, in []Type) int {
			n := in[0].Shape[a.Axis]
			return in[0].Size() * int(math.Ceil(math.Log2(float64(max(n, 2)))))
		},
	}
}

// ranked is an element's place in the order, made so that no two of a row are equal and comparing them is comparing
// integers.
type ranked struct {
	key   uint64
	index int
}

func (r ranked) compare(q ranked) int {
	if c := cmp.Compare(r.key, q.key); c != 0 {
		return c
	}
	return r.index - q.index
}

// sortKey maps a number to an integer of the same order; NaN is above all.
func sortKey(v float64, descending bool) uint64 {
	if v != v {
		return math.MaxUint64
	}
	bits := math.Float64bits(v + 0) // -0 becomes 0
	if bits>>63 == 1 {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	if descending {
		return ^bits
	}
	return bits
}

func argSortKernel[T Float](shape []int, a sortAttrs) Kernel {
	outer, n, inner := around(shape, a.Axis)
	row := make([]ranked, n)
	return func(out *Array, in []*Array) error {
		o, x := out.Ints(), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				for j := range row {
					row[j] = ranked{sortKey(float64(x[(i*n+j)*inner+l]), a.Descending), j}
				}
				first := smallest(row, a.Keep)
				slices.SortFunc(first, ranked.compare)
				for j, r := range first {
					o[(i*a.Keep+j)*inner+l] = r.index
				}
			}
		}
		return nil
	}
}

// smallest moves the k smallest to the front, in any order, and returns them: Hoare's selection.
func smallest(row []ranked, k int) []ranked {
	low, high := 0, len(row)-1
	for low < high && k < len(row) {
		pivot := row[low+(high-low)/2]
		i, j := low, high
		for i <= j {
			for row[i].compare(pivot) < 0 {
				i++
			}
			for row[j].compare(pivot) > 0 {
				j--
			}
			if i <= j {
				row[i], row[j] = row[j], row[i]
				i++
				j--
			}
		}
		switch {
		case k-1 <= j:
			high = j
		case k-1 >= i:
			low = i
		default:
			return row[:k]
		}
	}
	return row[:k]
}
