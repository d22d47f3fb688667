package graph_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// matrix i of a batch, as rows.
func matrixAt(a *graph.Array, i int) [][]float64 {
	m, n := a.Shape[len(a.Shape)-2], a.Shape[len(a.Shape)-1]
	rows := make([][]float64, m)
	for r := range rows {
		for c := range n {
			rows[r] = append(rows[r], a.At((i*m+r)*n+c))
		}
	}
	return rows
}

func product(a, b [][]float64) [][]float64 {
	y := make([][]float64, len(a))
	for i := range a {
		y[i] = make([]float64, len(b[0]))
		for j := range y[i] {
			for k := range b {
				y[i][j] += a[i][k] * b[k][j]
			}
		}
	}
	return y
}

func turned(a [][]float64) [][]float64 {
	y := make([][]float64, len(a[0]))
	for j := range y {
		for i := range a {
			y[j] = append(y[j], a[i][j])
		}
	}
	return y
}

func diagonalOf(d []float64) [][]float64 {
	y := make([][]float64, len(d))
	for i := range d {
		y[i] = make([]float64, len(d))
		y[i][i] = d[i]
	}
	return y
}

func identity(n int) [][]float64 {
	d := make([]float64, n)
	for i := range d {
		d[i] = 1
	}
	return diagonalOf(d)
}

func nearMatrix(t *testing.T, what string, got, want [][]float64, tolerance float64) {
	t.Helper()
	for i := range want {
		for j := range want[i] {
			if d := math.Abs(got[i][j] - want[i][j]); !(d <= tolerance) {
				t.Errorf("%s: [%d %d]: want %v, got %v", what, i, j, want[i][j], got[i][j])
				return
			}
		}
	}
}

// determinant by expansion along the first row.
func determinant(a [][]float64) float64 {
	if len(a) == 0 {
		return 1
	}
	var d float64
	for j, v := range a[0] {
		var minor [][]float64
		for _, row := range a[1:] {
			minor = append(minor, slices.Delete(slices.Clone(row), j, j+1))
		}
		d += v * determinant(minor) * float64(1-2*(j%2))
	}
	return d
}

// definite is a batch of positive definite matrices.
func definite(seed uint64, n int, lead ...int) *graph.Array {
	a := gradcheck.Normal(seed, append(lead, n, n)...)
	out := graph.NewArray(graph.Float64, a.Shape...)
	for b := range a.Size() / (n * n) {
		p := product(matrixAt(a, b), turned(matrixAt(a, b)))
		for i := range n {
			for j := range n {
				v := p[i][j]
				if i == j {
					v += 1
				}
				out.Set((b*n+i)*n+j, v)
			}
		}
	}
	return out
}

// TestLinalgValues checks what defines each decomposition, multiplied out by plain loops.
func TestLinalgValues(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		tol := map[graph.DType]float64{graph.Float32: 2e-5, graph.Float64: 1e-12}[dtype]
		for _, n := range []int{1, 2, 5} {
			a, s, b := castArray(gradcheck.Normal(1, 3, n, n), dtype), castArray(definite(2, n, 3), dtype), castArray(gradcheck.Normal(3, 3, n, 2), dtype)
			y := evaluate(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
				values, vectors := graph.Eigh(x[0])
				sign, logAbs := graph.SLogDet(x[0])
				return []*graph.Node{graph.Cholesky(x[1]), graph.Solve(x[0], x[2]), graph.Inverse(x[0]), sign, logAbs, graph.LogDet(x[1]), values, vectors}
			}, a, s, b)
			for i := range 3 {
				what := fmt.Sprintf("%v n=%d", dtype, n)
				l := matrixAt(y[0], i)
				for r := range n {
					for c := r + 1; c < n; c++ {
						if l[r][c] != 0 {
							t.Errorf("%s: cholesky is not lower triangular", what)
						}
					}
				}
				nearMatrix(t, what+" cholesky", product(l, turned(l)), matrixAt(s, i), 10*tol)
				ai := matrixAt(a, i)
				nearMatrix(t, what+" solve", product(ai, matrixAt(y[1], i)), matrixAt(b, i), 50*tol)
				nearMatrix(t, what+" inverse", product(matrixAt(y[2], i), ai), identity(n), 50*tol)
				d := determinant(ai)
				if got := y[3].At(i) * math.Exp(y[4].At(i)); math.Abs(got-d) > 10*tol*math.Max(1, math.Abs(d)) {
					t.Errorf("%s slogdet: want determinant %v, got %v", what, d, got)
				}
				if got, want := y[5].At(i), math.Log(determinant(matrixAt(s, i))); math.Abs(got-want) > 10*tol {
					t.Errorf("%s logdet: want %v, got %v", what, want, got)
				}
				sym := matrixAt(a, i)
				for r := range n {
					for c := range n {
						sym[r][c] = (ai[r][c] + ai[c][r]) / 2
					}
				}
				values, v := elements(y[6])[i*n:(i+1)*n], matrixAt(y[7], i)
				if !slices.IsSorted(values) {
					t.Errorf("%s eigh: want ascending values, got %v", what, values)
				}
				nearMatrix(t, what+" eigh", product(product(v, diagonalOf(values)), turned(v)), sym, 10*tol)
				nearMatrix(t, what+" eigh vectors", product(turned(v), v), identity(n), 10*tol)
			}
		}
		for _, shape := range [][]int{{4, 3}, {3, 4}, {3, 3}, {1, 5}, {5, 1}} {
			m, n := shape[0], shape[1]
			k := min(m, n)
			a := castArray(gradcheck.Normal(4, 2, m, n), dtype)
			y := evaluate(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
				u, s, vt := graph.SVD(x[0])
				q, r := graph.QR(x[0])
				return []*graph.Node{u, s, vt, q, r}
			}, a)
			for i := range 2 {
				what := fmt.Sprintf("%v %v", dtype, shape)
				u, s, vt, q, r := matrixAt(y[0], i), elements(y[1])[i*k:(i+1)*k], matrixAt(y[2], i), matrixAt(y[3], i), matrixAt(y[4], i)
				nearMatrix(t, what+" svd", product(product(u, diagonalOf(s)), vt), matrixAt(a, i), 10*tol)
				nearMatrix(t, what+" u", product(turned(u), u), identity(k), 10*tol)
				nearMatrix(t, what+" v", product(vt, turned(vt)), identity(k), 10*tol)
				if down := slices.Clone(s); s[k-1] < 0 || !slices.IsSortedFunc(down, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) {
					t.Errorf("%s: want descending singular values, got %v", what, s)
				}
				nearMatrix(t, what+" qr", product(q, r), matrixAt(a, i), 10*tol)
				nearMatrix(t, what+" q", product(turned(q), q), identity(k), 10*tol)
				for i := range k {
					for j := range min(i, n) {
						if math.Abs(r[i][j]) > 0 {
							t.Errorf("%s: r[%d %d] is %v", what, i, j, r[i][j])
						}
					}
				}
			}
		}
	}
}

func TestTriangularSolve(t *testing.T) {
	a, b := gradcheck.Normal(1, 4, 4), gradcheck.Normal(2, 4, 3)
	for i := range 4 {
		a.Set(i*5, 1+a.At(i*5)*a.At(i*5))
	}
	for _, o := range []graph.TriangularOptions{{}, {Upper: true}, {Transposed: true}, {Upper: true, Transposed: true}} {
		y := evaluate(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.TriangularSolve(x[0], x[1], o)}
		}, a, b)
		m := matrixAt(a, 0)
		for i := range 4 {
			for j := range 4 {
				if o.Upper && j < i || !o.Upper && j > i {
					m[i][j] = 0
				}
			}
		}
		if o.Transposed {
			m = turned(m)
		}
		nearMatrix(t, fmt.Sprint(o), product(m, matrixAt(y[0], 0)), matrixAt(b, 0), 1e-12)
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.TriangularSolve(x[0], x[1], o) }, a, b)
	}
}

func TestLinalgDerivatives(t *testing.T) {
	check := func(name string, f func(x []*graph.Node) *graph.Node, inputs ...*graph.Array) {
		t.Helper()
		if err := (gradcheck.Options{Tolerance: 1e-6}).Verify(func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x) }, inputs...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, lead := range [][]int{{}, {2}, {0}} {
		spd := definite(1, 3, lead...)
		a, b := gradcheck.Normal(2, append(lead, 3, 3)...), gradcheck.Normal(3, append(lead, 3, 2)...)
		for i := range a.Size() / 9 {
			for j := range 3 {
				a.Set(i*9+j*4, a.At(i*9+j*4)+3) // away from singular
			}
		}
		check("cholesky", func(x []*graph.Node) *graph.Node { return graph.Cholesky(x[0]) }, spd)
		check("solve", func(x []*graph.Node) *graph.Node { return graph.Solve(x[0], x[1]) }, a, b)
		check("inverse", func(x []*graph.Node) *graph.Node { return graph.Inverse(x[0]) }, a)
		check("logdet", func(x []*graph.Node) *graph.Node { return graph.LogDet(x[0]) }, spd)
		check("eigenvalues", func(x []*graph.Node) *graph.Node { v, _ := graph.Eigh(x[0]); return graph.Sin(v) }, spd)
		check("eigenvectors", func(x []*graph.Node) *graph.Node { _, v := graph.Eigh(x[0]); return graph.Sin(v) }, spd)
		for _, shape := range [][]int{{3, 3}, {4, 2}, {2, 4}, {1, 3}} {
			a := gradcheck.Normal(5, append(slices.Clone(lead), shape...)...)
			for part := range 3 {
				check(fmt.Sprint("svd ", shape, part), func(x []*graph.Node) *graph.Node {
					u, s, vt := graph.SVD(x[0])
					return graph.Sin([]*graph.Node{u, s, vt}[part])
				}, a)
			}
			for part := range 2 {
				check(fmt.Sprint("qr ", shape, part), func(x []*graph.Node) *graph.Node {
					q, r := graph.QR(x[0])
					return graph.Sin([]*graph.Node{q, r}[part])
				}, a)
			}
		}
	}
	check("broadcast solve", func(x []*graph.Node) *graph.Node { return graph.Solve(x[0], x[1]) }, definite(1, 3), gradcheck.Normal(2, 2, 3, 1))
	check("solve vector", func(x []*graph.Node) *graph.Node { return graph.Solve(x[0], x[1]) }, definite(1, 3, 2), gradcheck.Normal(2, 3))
}

// TestLinalgDegenerate differentiates functions that do not depend on the choice of vectors where that is not unique,
// and compares with derivatives known in closed form.
func TestLinalgDegenerate(t *testing.T) {
	// exp of a symmetric matrix with a double eigenvalue: the trace's derivative is the matrix's exponential.
	c, s := math.Cos(0.7), math.Sin(0.7)
	v := [][]float64{{c, -s, 0}, {s, c, 0}, {0, 0, 1}}
	spectral := func(d []float64) *graph.Array {
		m := product(product(v, diagonalOf(d)), turned(v))
		return graph.ArrayOf(slices.Concat(m...), 3, 3)
	}
	sum := func(f func(values, vectors *graph.Node) *graph.Node) func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		return func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
			y := f(graph.Eigh(x[0]))
			return []*graph.Node{y, graph.Grad(y, x[0])[0], graph.JVP([]*graph.Node{y}, x, []*graph.Node{x[0]})[0]}
		}
	}
	a := spectral([]float64{2, 2, -1})
	y := evaluate(t, sum(func(values, _ *graph.Node) *graph.Node { return graph.Sum(graph.Exp(values)) }), a)
	near(t, "trace of exp", y[1], spectral([]float64{math.Exp(2), math.Exp(2), math.Exp(-1)}), 1e-13)
	// The sum of the squares of all elements of V·diag(λ²)·Vᵀ is Σλ⁴, with derivative 4a³.
	y = evaluate(t, sum(func(values, vectors *graph.Node) *graph.Node {
		square := graph.MatMulT(graph.Mul(vectors, graph.Reshape(graph.Square(values), 1, 3)), vectors, false, true)
		return graph.Sum(graph.Square(square))
	}), a)
	near(t, "fourth power", y[1], spectral([]float64{32, 32, -4}), 1e-12)
	near(t, "fourth power, forward", y[2], graph.ArrayOf([]float64{4 * (16 + 16 + 1)}), 1e-12)
	// The identity, a zero matrix and one of rank 1: the nuclear norm's derivative is U·Vᵀ where it has one, and
	// everything stays finite where it has none.
	for name, m := range map[string]*graph.Array{
		"identity": graph.ArrayOf(slices.Concat(identity(3)...), 3, 3), "zero": graph.NewArray(graph.Float64, 3, 3),
		"rank one": graph.ArrayOf([]float64{1, 2, 3, 2, 4, 6}, 2, 3),
	} {
		y := evaluate(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
			u, s, vt := graph.SVD(x[0])
			norm := graph.Sum(s)
			d := graph.Grad(norm, x[0])[0]
			all := graph.Add(graph.Sum(u), graph.Sum(vt))
			return []*graph.Node{d, graph.Grad(graph.Sum(graph.Square(d)), x[0])[0], graph.Grad(all, x[0])[0]}
		}, m)
		for i, a := range y {
			for _, v := range elements(a) {
				if v-v != 0 {
					t.Errorf("%s: derivative %d: %v", name, i, a)
					break
				}
			}
		}
		if name == "identity" {
			near(t, name, y[0], m, 1e-15)
		}
	}
}

func TestLinalgErrors(t *testing.T) {
	run := func(name string, f func(x *graph.Node) *graph.Node, bad ...float64) {
		t.Helper()
		n := int(math.Sqrt(float64(len(bad))))
		good := identity(n)
		a := graph.ArrayOf(append(slices.Concat(good...), bad...), 2, n, n)
		p, x, _ := compileOf(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node { return []*graph.Node{f(x[0])} }, a)
		p.Array(x[0]).CopyFrom(a)
		if err, ok := p.Run().(*graph.Error); !ok || err.Op != name || err.Arg != "matrix 1" {
			t.Errorf("%s: want an *Error about matrix 1, got %v", name, err)
		}
	}
	nan := math.NaN()
	run("cholesky", graph.Cholesky, 1, 2, 2, 1)
	run("cholesky", graph.Cholesky, 1, nan, 2, 1)
	run("solve", graph.Inverse, 1, 2, 2, 4)
	run("triangular_solve", func(x *graph.Node) *graph.Node { return graph.TriangularSolve(x, x, graph.TriangularOptions{}) }, 1, 0, 1, 0)
	run("eigh", func(x *graph.Node) *graph.Node { v, _ := graph.Eigh(x); return v }, 1, nan, 2, 1)
	run("svd", func(x *graph.Node) *graph.Node { _, s, _ := graph.SVD(x); return s }, 1, math.Inf(1), 2, 1)
	y := evaluate(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		sign, l := graph.SLogDet(x[0])
		return []*graph.Node{sign, l, graph.LogDet(x[0])}
	}, graph.ArrayOf([]float64{1, 2, 2, 4, 0, 1, 1, 0}, 2, 2, 2))
	if y[0].At(0) != 0 || !math.IsInf(y[1].At(0), -1) || !math.IsInf(y[2].At(0), -1) || y[0].At(1) != -1 || y[1].At(1) != 0 || !math.IsNaN(y[2].At(1)) {
		t.Errorf("slogdet of a singular matrix and of an exchange: %v", y)
	}
	for name, f := range map[string]func(m, v, i *graph.Node){
		"cholesky": func(m, v, i *graph.Node) { graph.Cholesky(m) },
		"solve":    func(m, v, i *graph.Node) { graph.Inverse(v) },
		"triangular_solve": func(m, v, i *graph.Node) {
			graph.TriangularSolve(graph.MatMulT(m, m, true, false), m, graph.TriangularOptions{})
		},
		"svd":  func(m, v, i *graph.Node) { graph.SVD(i) },
		"qr":   func(m, v, i *graph.Node) { graph.QR(v) },
		"eigh": func(m, v, i *graph.Node) { graph.Eigh(m) },
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) {
			f(s.Input("m", graph.Float32, 2, 3), s.Input("v", graph.Float32, 3), s.Input("i", graph.Int, 2, 2))
		})
		if e, ok := err.(*graph.Error); !ok || e.Op != name || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: want an *Error of it, got %v", name, err)
		}
	}
}
