package graph

import (
	"fmt"
	"slices"

	"gorgonia.org/tensor"
)

// DType is the element type of a node or an array: one of Float32, Float64 and Int.
type DType = tensor.Dtype

// The element types. Float32 is the working type; every op also works in Float64; Int holds labels and indices.
var (
	Float32 = tensor.Float32
	Float64 = tensor.Float64
	Int     = tensor.Int
)

// Float is the constraint of code that serves both floating-point types.
type Float interface{ float32 | float64 }

// Type is what is known of a node before it is computed: its element type and its shape. A scalar has shape [].
type Type struct {
	DType DType
	Shape []int
}

// Size is the number of elements; 1 for a scalar.
func (t Type) Size() int { return sizeOf(t.Shape) }

// Bytes is the memory the elements take.
func (t Type) Bytes() int {
	if t.DType == Float32 {
		return 4 * t.Size()
	}
	return 8 * t.Size()
}

// IsFloat says whether the elements are Float32 or Float64.
func (t Type) IsFloat() bool { return t.DType == Float32 || t.DType == Float64 }

// Equal says whether both element type and shape agree.
func (t Type) Equal(u Type) bool { return t.DType == u.DType && slices.Equal(t.Shape, u.Shape) }

// String is like "float32 [128 784]".
func (t Type) String() string {
	if t.DType.Type == nil {
		return fmt.Sprintf("no dtype %v", t.Shape)
	}
	return fmt.Sprintf("%v %v", t.DType, t.Shape)
}

// check refuses a type that no array can have, as an argument of an op.
func (t Type) check(op, arg string) *Error {
	if !t.IsFloat() && t.DType != Int {
		return fail(op, arg, "float32, float64 or int", t)
	}
	for _, d := range t.Shape {
		if d < 0 {
			return fail(op, arg, "sizes of at least 0", t)
		}
	}
	return nil
}

func sizeOf(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Array is a contiguous row-major block of numbers: the value of a parameter, of a program's input or of its output.
type Array struct {
	Type
	data any // []float32, []float64 or []int
}

// NewArray makes an array of zeros. It panics with an *Error for another dtype than the three or a negative size.
func NewArray(dtype DType, shape ...int) *Array {
	t := Type{dtype, slices.Clone(shape)}
	if err := t.check("array", "type"); err != nil {
		panic(err)
	}
	switch dtype {
	case Float32:
		return &Array{t, make([]float32, t.Size())}
	case Float64:
		return &Array{t, make([]float64, t.Size())}
	}
	return &Array{t, make([]int, t.Size())}
}

// ArrayOf makes an array that shares data. It panics with an *Error if the shape does not hold len(data) elements.
func ArrayOf[T float32 | float64 | int](data []T, shape ...int) *Array {
	a := &Array{Type{dtypeOf[T](), slices.Clone(shape)}, data}
	if a.Size() != len(data) {
		panic(fail("array", "data", fmt.Sprintf("%d elements for shape %v", a.Size(), shape), len(data)))
	}
	return a
}

func dtypeOf[T any]() DType {
	var zero T
	switch any(zero).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	}
	return Int
}

// Data is the array's elements in row-major order, shared. T must be the array's element type.
func Data[T float32 | float64 | int](a *Array) []T { return a.data.([]T) }

// Float32s is the shared elements of a Float32 array.
func (a *Array) Float32s() []float32 { return a.data.([]float32) }

// Float64s is the shared elements of a Float64 array.
func (a *Array) Float64s() []float64 { return a.data.([]float64) }

// Ints is the shared elements of an Int array.
func (a *Array) Ints() []int { return a.data.([]int) }

// At is element i in row-major order, as float64.
func (a *Array) At(i int) float64 {
	switch d := a.data.(type) {
	case []float32:
		return float64(d[i])
	case []float64:
		return d[i]
	default:
		return float64(d.([]int)[i])
	}
}

// Set stores v, converted to the array's element type, as element i in row-major order.
func (a *Array) Set(i int, v float64) {
	switch d := a.data.(type) {
	case []float32:
		d[i] = float32(v)
	case []float64:
		d[i] = v
	default:
		d.([]int)[i] = int(v)
	}
}

// Scalar is the value of an array of one element.
func (a *Array) Scalar() float64 {
	if a.Size() != 1 {
		panic(fail("scalar", "array", "one element", a.Type))
	}
	return a.At(0)
}

// CopyFrom copies b's elements into a; the types must be equal.
func (a *Array) CopyFrom(b *Array) error {
	if !a.Type.Equal(b.Type) {
		return fail("copy", "source", a.Type, b.Type)
	}
	switch d := a.data.(type) {
	case []float32:
		copy(d, b.data.([]float32))
	case []float64:
		copy(d, b.data.([]float64))
	case []int:
		copy(d, b.data.([]int))
	}
	return nil
}

// Clone is an independent copy.
func (a *Array) Clone() *Array {
	c := NewArray(a.DType, a.Shape...)
	c.CopyFrom(a)
	return c
}

// Zero sets every element to 0.
func (a *Array) Zero() {
	switch d := a.data.(type) {
	case []float32:
		clear(d)
	case []float64:
		clear(d)
	case []int:
		clear(d)
	}
}

// Dense is the array as Gorgonia's tensor, sharing its memory.
func (a *Array) Dense() *tensor.Dense {
	if len(a.Shape) == 0 {
		switch d := a.data.(type) {
		case []float32:
			return tensor.New(tensor.FromScalar(d[0]), tensor.WithBacking(d))
		case []float64:
			return tensor.New(tensor.FromScalar(d[0]), tensor.WithBacking(d))
		case []int:
			return tensor.New(tensor.FromScalar(d[0]), tensor.WithBacking(d))
		}
	}
	return tensor.New(tensor.WithShape(a.Shape...), tensor.WithBacking(a.data))
}

// String is the type and the first elements.
func (a *Array) String() string {
	const most = 8
	s := a.Type.String() + " ["
	for i := range min(a.Size(), most) {
		if i > 0 {
			s += " "
		}
		s += fmt.Sprintf("%.6g", a.At(i))
	}
	if a.Size() > most {
		s += " ..."
	}
	return s + "]"
}
