package graph_test

import (
	"math"
	"math/cmplx"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// dft is the definition.
func dft(x []complex128, sign float64) []complex128 {
	y := make([]complex128, len(x))
	for k := range y {
		for j, v := range x {
			y[k] += v * cmplx.Exp(complex(0, sign*2*math.Pi*float64(j*k)/float64(len(x))))
		}
	}
	return y
}

// TestFFT compares with the definition along the first, middle and last axis, for sizes with several prime factors.
func TestFFT(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		tol := map[graph.DType]float64{graph.Float32: 1e-5, graph.Float64: 1e-13}[dtype]
		for _, n := range []int{1, 2, 3, 4, 7, 8, 12, 15} {
			for axis := range 3 {
				shape := []int{2, 3, 2}
				shape[axis] = n
				z, x := castArray(gradcheck.Normal(1, append(shape, 2)...), dtype), castArray(gradcheck.Normal(2, shape...), dtype)
				y := evaluate(t, func(_ *graph.Scope, in []*graph.Node) []*graph.Node {
					r := graph.RFFT(in[1], axis)
					return []*graph.Node{graph.FFT(in[0], axis), graph.IFFT(in[0], axis-3), r, graph.IRFFT(r, n, axis)}
				}, z, x)
				outer, inner := 1, 1
				for i, d := range shape {
					if i < axis {
						outer *= d
					} else if i > axis {
						inner *= d
					}
				}
				at := func(a *graph.Array, n, o, j, l int) complex128 {
					i := 2 * ((o*n+j)*inner + l)
					return complex(a.At(i), a.At(i+1))
				}
				for o := range outer {
					for l := range inner {
						row, real := make([]complex128, n), make([]complex128, n)
						for j := range n {
							row[j], real[j] = at(z, n, o, j, l), complex(x.At((o*n+j)*inner+l), 0)
						}
						forward, backward, half := dft(row, -1), dft(row, 1), dft(real, -1)
						for j := range n {
							for what, d := range map[string]float64{
								"fft":   cmplx.Abs(at(y[0], n, o, j, l) - forward[j]),
								"ifft":  cmplx.Abs(at(y[1], n, o, j, l) - backward[j]/complex(float64(n), 0)),
								"irfft": math.Abs(y[3].At((o*n+j)*inner+l) - x.At((o*n+j)*inner+l)),
							} {
								if !(d <= tol*float64(n)) {
									t.Fatalf("%s of %v along %d, %v: off by %v", what, shape, axis, dtype, d)
								}
							}
							if j <= n/2 {
								if d := cmplx.Abs(at(y[2], n/2+1, o, j, l) - half[j]); !(d <= tol*float64(n)) {
									t.Fatalf("rfft of %v along %d, %v: off by %v", shape, axis, dtype, d)
								}
							}
						}
					}
				}
			}
		}
	}
}

// TestFFTDerivatives includes adjointness, <u, Fv> = <F'u, v>, which gradcheck tests; and IRFFT of spectra that are not
// those of real numbers.
func TestFFTDerivatives(t *testing.T) {
	for _, n := range []int{1, 2, 5, 6} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Sin(graph.FFT(x[0], 0)) }, gradcheck.Normal(1, n, 2, 2))
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Sin(graph.IFFT(x[0], 1)) }, gradcheck.Normal(1, 2, n, 2))
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Sin(graph.RFFT(x[0], -1)) }, gradcheck.Normal(1, 2, n))
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Sin(graph.IRFFT(x[0], n, 0)) }, gradcheck.Normal(1, n/2+1, 2, 2))
	}
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.RFFT(x[0], 1) }, gradcheck.Normal(1, 0, 4))
}

func TestFFTErrors(t *testing.T) {
	for name, f := range map[string]func(x, i *graph.Node){
		"fft":   func(x, i *graph.Node) { graph.FFT(x, 0) },
		"ifft":  func(x, i *graph.Node) { graph.IFFT(graph.Reshape(x, 3, 2), 1) },
		"rfft":  func(x, i *graph.Node) { graph.RFFT(i, 0) },
		"irfft": func(x, i *graph.Node) { graph.IRFFT(graph.Reshape(x, 3, 2), 6, 0) },
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) { f(s.Input("x", graph.Float32, 6), s.Input("i", graph.Int, 6)) })
		if e, ok := err.(*graph.Error); !ok || e.Op != name {
			t.Errorf("%s: want an *Error of it, got %v", name, err)
		}
	}
}
