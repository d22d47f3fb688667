package graph

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/dsp/fourier"
)

// Fourier transforms. A complex number is a last axis of size 2, its real and its imaginary part, which counts as no
// axis of the transform's argument: axis -1 of a complex [batch, n, 2] is the one of size n. As in NumPy the forward
// transforms are plain sums and the inverse ones divide by n. All are linear, and each one's reverse rule is another.
// The kernels are gonum's; they run in float64.

// FFT is y_k = Σ_j x_j·e^(-2πi·jk/n) along an axis of a complex x [..., n, ..., 2].
func FFT(x *Node, axis int) *Node {
	return Apply(fftOp(fftAttrs{Axis: complexAxis("fft", x, axis)}), x)
}

// IFFT is the inverse of FFT: x_j = Σ_k y_k·e^(2πi·jk/n)/n.
func IFFT(y *Node, axis int) *Node {
	axis = complexAxis("ifft", y, axis)
	return Scale(Apply(fftOp(fftAttrs{axis, true}), y), 1/float64(ShapeOf(y)[axis]))
}

// RFFT is the first n/2+1 numbers of the FFT of a real x [..., n, ...], as complex [..., n/2+1, ..., 2]; the others are
// their conjugates.
func RFFT(x *Node, axis int) *Node {
	axis = axisOf("rfft", x, axis)
	return Apply(rfftOp(rfftAttrs{axis, ShapeOf(x)[axis]}), x)
}

// IRFFT is the inverse of RFFT for a result of n real numbers along the axis. The imaginary parts of number 0 and, if n
// is even, of number n/2 do not matter.
func IRFFT(y *Node, n, axis int) *Node {
	axis = complexAxis("irfft", y, axis)
	return Scale(Apply(irfftOp(rfftAttrs{axis, n}), y), 1/float64(n))
}

// complexAxis is axisOf for complex numbers.
func complexAxis(op string, x *Node, axis int) int {
	s := ShapeOf(x)
	n := len(s) - 1
	if n < 1 || s[n] != 2 {
		e := fail(op, "operand 0", "complex numbers: [..., n, ..., 2]", s)
		e.Operands = describe([]*Node{x})
		panic(e)
	}
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

type fftAttrs struct {
	Axis    int
	Inverse bool // the sign of the exponent; no division
}

func fftOp(a fftAttrs) *Primitive {
	transpose := func() *Primitive { return fftOp(fftAttrs{a.Axis, !a.Inverse}) }
	return &Primitive{
		Name:  "fft",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return in[0], fftType("fft", in, a.Axis) },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			if out.DType == Float32 {
				return fftKernel[float32](in[0].Shape, a), nil
			}
			return fftKernel[float64](in[0].Shape, a), nil
		},
		VJP:   func(y, dy *Node, x []*Node) []*Node { return []*Node{Apply(transpose(), dy)} },
		JVP:   linear(func() *Primitive { return fftOp(a) }),
		Flops: func(_ Type, in []Type) int { return fftFlops(in[0].Size()/2, in[0].Shape[a.Axis]) },
	}
}

type rfftAttrs struct{ Axis, N int }

// rfftOp has the transpose irfft, with the numbers that stand for two conjugates halved.
func rfftOp(a rfftAttrs) *Primitive {
	return &Primitive{
		Name:  "rfft",
		Attrs: a,
		Type: func(in []Type) (Type, error) {
			shape := append(slices.Clone(in[0].Shape), 2)
			shape[a.Axis] = a.N/2 + 1
			return Type{in[0].DType, shape}, fftType("rfft", in, a.Axis)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			if out.DType == Float32 {
				return rfftKernel[float32](in[0].Shape, a), nil
			}
			return rfftKernel[float64](in[0].Shape, a), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			return []*Node{Apply(irfftOp(a), Mul(dy, conjugates(dy, a, 0.5)))}
		},
		JVP:   linear(func() *Primitive { return rfftOp(a) }),
		Flops: func(_ Type, in []Type) int { return fftFlops(in[0].Size(), a.N) / 2 },
	}
}

// irfftOp is n times the inverse of rfft.
func irfftOp(a rfftAttrs) *Primitive {
	return &Primitive{
		Name:  "irfft",
		Attrs: a,
		Type: func(in []Type) (Type, error) {
			shape := slices.Clone(in[0].Shape[:len(in[0].Shape)-1])
			if a.N < 1 || shape[a.Axis] != a.N/2+1 {
				return Type{}, fail("irfft", "n", fmt.Sprintf("at least 1, with n/2+1 = %d", shape[a.Axis]), a.N)
			}
			shape[a.Axis] = a.N
			return Type{in[0].DType, shape}, needFloat("irfft", in)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			if out.DType == Float32 {
				return irfftKernel[float32](out.Shape, a), nil
			}
			return irfftKernel[float64](out.Shape, a), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			dx := Apply(rfftOp(a), dy)
			return []*Node{Mul(dx, conjugates(dx, a, 2))}
		},
		JVP:   linear(func() *Primitive { return irfftOp(a) }),
		Flops: func(out Type, _ []Type) int { return fftFlops(out.Size(), a.N) / 2 },
	}
}

// conjugates is v for the numbers of a half spectrum that stand for themselves and their conjugates, 1 for the others.
func conjugates(like *Node, a rfftAttrs, v float64) *Node {
	half := NewArray(like.Dtype(), a.N/2+1)
	for i := range half.Size() {
		half.Set(i, v)
		if i == 0 || 2*i == a.N {
			half.Set(i, 1)
		}
	}
	shape := make([]int, len(ShapeOf(like)))
	fill(shape, 1)
	shape[a.Axis] = half.Size()
	return Reshape(Literal(like, half), shape...)
}

func fftType(op string, in []Type, axis int) error {
	if in[0].Shape[axis] < 1 {
		return fail(op, "axis", "at least one element", in[0])
	}
	return needFloat(op, in)
}

// fftFlops is the usual count, 5·log2(n) for each complex number.
func fftFlops(size, n int) int {
	log := 0
	for 1<<log < n {
		log++
	}
	return 5 * size * log
}

func fftKernel[T Float](shape []int, a fftAttrs) Kernel {
	outer, n, inner := around(shape[:len(shape)-1], a.Axis)
	plan, row := fourier.NewCmplxFFT(n), make([]complex128, n)
	return func(out *Array, in []*Array) error {
		o, x := Data[T](out), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				for j := range row {
					at := 2 * ((i*n+j)*inner + l)
					row[j] = complex(float64(x[at]), float64(x[at+1]))
				}
				if a.Inverse {
					plan.Sequence(row, row)
				} else {
					plan.Coefficients(row, row)
				}
				for j, v := range row {
					at := 2 * ((i*n+j)*inner + l)
					o[at], o[at+1] = T(real(v)), T(imag(v))
				}
			}
		}
		return nil
	}
}

func rfftKernel[T Float](shape []int, a rfftAttrs) Kernel {
	outer, n, inner := around(shape, a.Axis)
	plan, row, half := fourier.NewFFT(n), make([]float64, n), make([]complex128, n/2+1)
	return func(out *Array, in []*Array) error {
		o, x := Data[T](out), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				for j := range row {
					row[j] = float64(x[(i*n+j)*inner+l])
				}
				plan.Coefficients(half, row)
				for j, v := range half {
					at := 2 * ((i*len(half)+j)*inner + l)
					o[at], o[at+1] = T(real(v)), T(imag(v))
				}
			}
		}
		return nil
	}
}

func irfftKernel[T Float](shape []int, a rfftAttrs) Kernel {
	outer, n, inner := around(shape, a.Axis)
	plan, row, half := fourier.NewFFT(n), make([]float64, n), make([]complex128, n/2+1)
	return func(out *Array, in []*Array) error {
		o, x := Data[T](out), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				for j := range half {
					at := 2 * ((i*len(half)+j)*inner + l)
					half[j] = complex(float64(x[at]), float64(x[at+1]))
				}
				plan.Sequence(row, half)
				for j, v := range row {
					o[(i*n+j)*inner+l] = T(v)
				}
			}
		}
		return nil
	}
}
