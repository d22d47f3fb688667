package graph

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// Linear algebra of the last two axes, one matrix for each index of the axes before them. The kernels are gonum's
// LAPACK in float64, also for float32 operands; they work in memory set aside when a program is compiled, but for
// matrices of more than some hundred rows gonum's products start goroutines and allocate. The derivatives are formulas
// of other ops, so they exist in both directions and every order (M. Giles 2008, "Collected matrix derivative results";
// J. Townsend 2016, "Differentiating the singular value decomposition").
//
// Where eigenvalues or singular values are equal their vectors are not unique, and the formulas divide by zero. That
// quotient is taken as 0: right for every function that does not depend on the choice, and never NaN.

// Cholesky is the lower triangular L with L·Lᵀ = a for the symmetric part of a [..., n, n]. A matrix that is not
// positive definite is an error of the run.
func Cholesky(a *Node) *Node { return Apply(choleskyOp, a) }

// TriangularOptions say how TriangularSolve reads its matrix; the other triangle is not read.
type TriangularOptions struct {
	Upper      bool // the matrix is upper triangular, otherwise lower
	Transposed bool // solve with its transpose
}

// TriangularSolve is the X with A·X = b, or Aᵀ·X = b, for a triangular a [..., n, n] and b [..., n, k]; leading axes
// broadcast. A zero on the diagonal is an error of the run.
func TriangularSolve(a, b *Node, o TriangularOptions) *Node {
	a, b = sameBatch("triangular_solve", a, b)
	return Apply(triangularOp(o), a, b)
}

// Solve is the X with a·X = b for a [..., n, n] and b [..., n, k] or [n]; leading axes broadcast. A singular matrix is
// an error of the run.
func Solve(a, b *Node) *Node {
	if s := ShapeOf(b); len(s) == 1 {
		y := Solve(a, Reshape(b, s[0], 1))
		return Reshape(y, ShapeOf(y)[:len(ShapeOf(y))-1]...)
	}
	a, b = sameBatch("solve", a, b)
	return Apply(solveOp, a, b)
}

// Inverse is the inverse of each matrix of a [..., n, n]. To multiply by it use Solve.
func Inverse(a *Node) *Node {
	s := ShapeOf(a)
	if len(s) < 2 {
		Apply(solveOp, a, a) // panics
	}
	return Solve(a, band(a, s[len(s)-1], 0, 1, 0))
}

// SLogDet is the sign of the determinant of a [..., n, n], 0 if it is singular, and the logarithm of its absolute
// value. The derivative of a singular matrix's is an error of the run.
func SLogDet(a *Node) (sign, logAbs *Node) {
	y := Apply(sLogDetOp, a)
	axis := len(ShapeOf(y)) - 1
	pick := func(i int) *Node { return Reshape(Slice(y, axis, i, i+1, 1), ShapeOf(y)[:axis]...) }
	return pick(0), pick(1)
}

// LogDet is the logarithm of the determinant of a [..., n, n]: NaN where that is negative, -Inf where it is 0.
func LogDet(a *Node) *Node {
	sign, logAbs := SLogDet(a)
	return Add(logAbs, Log(Detach(sign)))
}

// Eigh is the eigenvalues [..., n], ascending, and the eigenvectors [..., n, n], the columns, of the symmetric part of
// a [..., n, n].
func Eigh(a *Node) (values, vectors *Node) { return eighParts(Apply(eighOp, a)) }

// SVD is the thin singular value decomposition a = U·diag(s)·Vᵀ of a [..., m, n]: U [..., m, k], s [..., k] descending
// and Vᵀ [..., k, n], k the smaller of m and n.
func SVD(a *Node) (u, s, vt *Node) {
	y := Apply(svdOp, a)
	shape := ShapeOf(a)
	return svdParts(y, shape[len(shape)-2], shape[len(shape)-1])
}

// QR is the thin decomposition a = Q·R of a [..., m, n]: Q [..., m, k] with orthonormal columns and R [..., k, n] upper
// triangular, k the smaller of m and n. The derivative needs the first k columns of a to be independent; otherwise it
// is an error of the run.
func QR(a *Node) (q, r *Node) {
	s := ShapeOf(a)
	if len(s) < 2 {
		Apply(qrOp, a) // panics
	}
	axis := len(s) - 1
	m, n := s[axis-1], s[axis]
	if m < n {
		q, left := QR(Slice(a, axis, 0, m, 1))
		return q, Concat(axis, left, MatMul(mT(q), Slice(a, axis, m, n, 1)))
	}
	return qrParts(Apply(qrOp, a), m, n)
}

// mT is the transpose of the last two axes.
func mT(x *Node) *Node {
	perm := make([]int, len(ShapeOf(x)))
	for i := range perm {
		perm[i] = i
	}
	n := len(perm)
	perm[n-1], perm[n-2] = n-2, n-1
	return Transpose(x, perm...)
}

// symmetric is the symmetric part of a matrix.
func symmetric(x *Node) *Node { return Scale(Add(x, mT(x)), 0.5) }

// diagonal is the diagonal of a square matrix.
func diagonal(x *Node) *Node {
	n := len(ShapeOf(x))
	return Sum(Mul(x, band(x, ShapeOf(x)[n-1], 0, 1, 0)), n-1)
}

// row and column put an axis of size 1 into a vector [..., n]: [..., 1, n] and [..., n, 1].
func row(x *Node) *Node {
	s := ShapeOf(x)
	return Reshape(x, slices.Insert(slices.Clone(s), len(s)-1, 1)...)
}

func column(x *Node) *Node { return Reshape(x, append(slices.Clone(ShapeOf(x)), 1)...) }

type bandAttrs struct {
	N                      int
	Below, Diagonal, Above float64
	DType                  string
}

// band is a constant n by n matrix of three numbers: the identity, a triangular mask.
func band(like *Node, n int, below, diagonal, above float64) *Node {
	dtype := like.Dtype()
	return apply(like.Graph(), &Primitive{
		Name:  "band",
		Attrs: bandAttrs{n, below, diagonal, above, dtype.String()},
		Type:  func([]Type) (Type, error) { return Type{dtype, []int{n, n}}, nil },
		Kernel: func(Type, []Type) (Kernel, error) {
			return func(out *Array, _ []*Array) error {
				for i := range n {
					for j := range n {
						out.Set(i*n+j, [3]float64{below, diagonal, above}[1+compareInts(j, i)])
					}
				}
				return nil
			}, nil
		},
	}, nil)
}

func compareInts(a, b int) int { return min(max(a-b, -1), 1) }

// sameBatch broadcasts the leading axes of two matrices.
func sameBatch(op string, a, b *Node) (*Node, *Node) {
	sa, sb := ShapeOf(a), ShapeOf(b)
	if len(sa) < 2 || len(sb) < 2 {
		return a, b // refused by the op
	}
	batch, ok := broadcastShapes(sa[:len(sa)-2], sb[:len(sb)-2])
	if !ok {
		e := fail(op, "operand 1", fmt.Sprintf("leading axes that broadcast with %v", sa[:len(sa)-2]), sb)
		e.Operands = describe([]*Node{a, b})
		panic(e)
	}
	return broadcastTo(a, slices.Concat(batch, sa[len(sa)-2:])), broadcastTo(b, slices.Concat(batch, sb[len(sb)-2:]))
}

// A matrixFunc computes one result from one matrix of each operand, which it may overwrite. What it returns says what
// was wanted and got, empty if all is well.
type matrixFunc func(out []float64, in [][]float64) (want, got string)

// matrixOp makes the primitive called name. Out gives the shape of one result for one matrix of each operand, or an
// error; prepare sets aside memory. The first operand must be square if square says so.
func matrixOp(name string, square bool, out func(in [][]int) ([]int, error), prepare func(in [][]int) matrixFunc, flops func(in [][]int) int) *Primitive {
	last := func(in []Type) [][]int {
		s := make([][]int, len(in))
		for i, t := range in {
			s[i] = t.Shape[len(t.Shape)-2:]
		}
		return s
	}
	return &Primitive{
		Name: name,
		Type: func(in []Type) (Type, error) {
			for i, t := range in {
				if len(t.Shape) < 2 || !t.IsFloat() || t.DType != in[0].DType {
					return Type{}, fail(name, fmt.Sprintf("operand %d", i), "a float32 or float64 matrix [..., m, n]", t)
				}
			}
			s := last(in)
			if square && s[0][0] != s[0][1] {
				return Type{}, fail(name, "operand 0", "square matrices", in[0])
			}
			one, err := out(s)
			if err != nil {
				return Type{}, err
			}
			return Type{in[0].DType, append(slices.Clone(in[0].Shape[:len(in[0].Shape)-2]), one...)}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			f := prepare(last(in))
			if out.DType == Float32 {
				return matrixKernel[float32](name, out, in, f), nil
			}
			return matrixKernel[float64](name, out, in, f), nil
		},
		Flops: func(_ Type, in []Type) int {
			return flops(last(in)) * sizeOf(in[0].Shape[:len(in[0].Shape)-2])
		},
	}
}

func matrixKernel[T Float](name string, out Type, in []Type, f matrixFunc) Kernel {
	batch := sizeOf(in[0].Shape[:len(in[0].Shape)-2])
	result := make([]float64, out.Size()/max(batch, 1))
	work := make([][]float64, len(in))
	for i, t := range in {
		work[i] = make([]float64, t.Size()/max(batch, 1))
	}
	return func(out *Array, in []*Array) error {
		o := Data[T](out)
		for b := range batch {
			for k, w := range work {
				x := Data[T](in[k])[b*len(w):]
				for i := range w {
					w[i] = float64(x[i])
				}
			}
			if want, got := f(result, work); want != "" {
				return fail(name, fmt.Sprintf("matrix %d", b), want, got)
			}
			for i, v := range result {
				o[b*len(result)+i] = T(v)
			}
		}
		return nil
	}
}

// general reads a row-major matrix as LAPACK's.
func general(a []float64, rows, cols int) blas64.General {
	return blas64.General{Rows: rows, Cols: cols, Stride: max(cols, 1), Data: a}
}

func sameAs(i int) func(in [][]int) ([]int, error) {
	return func(in [][]int) ([]int, error) { return in[i], nil }
}

// rightSide checks that operand 1 fits on the right of a system.
func rightSide(op string) func(in [][]int) ([]int, error) {
	return func(in [][]int) ([]int, error) {
		if in[1][0] != in[0][0] {
			return nil, fail(op, "operand 1", fmt.Sprintf("%d rows", in[0][0]), fmt.Sprintf("%d by %d", in[1][0], in[1][1]))
		}
		return in[1], nil
	}
}

func finite(a []float64) bool {
	for _, v := range a {
		if v-v != 0 {
			return false
		}
	}
	return true
}

const wantFinite, gotNonFinite = "finite numbers", "NaN or Inf"

var choleskyOp, solveOp, sLogDetOp, eighOp, svdOp, qrOp *Primitive

func init() {
	choleskyOp = matrixOp("cholesky", true, sameAs(0), func(in [][]int) matrixFunc {
		n := in[0][0]
		return func(out []float64, in [][]float64) (want, got string) {
			symmetrize(out, in[0], n)
			if n == 0 {
				return
			}
			if _, ok := lapack64.Potrf(blas64.Symmetric{N: n, Stride: n, Data: out, Uplo: blas.Lower}); !ok {
				return "a positive definite matrix", "one that is not"
			}
			for i := range n {
				clear(out[i*n+i+1 : (i+1)*n])
			}
			return
		}
	}, func(in [][]int) int { return in[0][0] * in[0][0] * in[0][0] / 3 })
	choleskyOp.JVP = func(l *Node, _, da []*Node) *Node {
		var lower TriangularOptions
		p := TriangularSolve(l, mT(TriangularSolve(l, symmetric(da[0]), lower)), lower)
		return MatMul(l, Mul(p, band(p, ShapeOf(p)[len(ShapeOf(p))-1], 1, 0.5, 0)))
	}
	choleskyOp.VJP = transposed(choleskyOp.JVP)

	solveOp = matrixOp("solve", true, rightSide("solve"), func(in [][]int) matrixFunc {
		n, k := in[1][0], in[1][1]
		pivots := make([]int, n)
		return func(out []float64, in [][]float64) (want, got string) {
			copy(out, in[1])
			if n == 0 || k == 0 {
				return
			}
			a := general(in[0], n, n)
			if !lapack64.Getrf(a, pivots) {
				return "a regular matrix", "a singular one"
			}
			lapack64.Getrs(blas.NoTrans, a, general(out, n, k), pivots)
			return
		}
	}, func(in [][]int) int { n := in[0][0]; return 2*n*n*n/3 + 2*n*n*in[1][1] })
	solveOp.VJP = func(y, dy *Node, x []*Node) []*Node {
		db := Solve(mT(x[0]), dy)
		return []*Node{Neg(matMul(db, y, false, true)), db}
	}
	solveOp.JVP = func(y *Node, x, dx []*Node) *Node {
		d := dx[1]
		if dx[0] != nil {
			d = plus(d, Neg(MatMul(dx[0], y)))
		}
		return Solve(x[0], d)
	}

	sLogDetOp = matrixOp("slogdet", true, func([][]int) ([]int, error) { return []int{2}, nil }, func(in [][]int) matrixFunc {
		n := in[0][0]
		pivots := make([]int, n)
		return func(out []float64, in [][]float64) (want, got string) {
			out[0], out[1] = 1, 0
			if n == 0 {
				return
			}
			lapack64.Getrf(general(in[0], n, n), pivots)
			for i, p := range pivots {
				d := in[0][i*n+i]
				if p != i {
					out[0] = -out[0]
				}
				out[0] *= sign(d)
				out[1] += math.Log(math.Abs(d))
			}
			return
		}
	}, func(in [][]int) int { return 2 * in[0][0] * in[0][0] * in[0][0] / 3 })
	sLogDetOp.JVP = func(y *Node, x, dx []*Node) *Node {
		n := len(ShapeOf(x[0]))
		d := Sum(Mul(mT(Inverse(x[0])), dx[0]), n-2, n-1)
		return Stack(n-2, Fill(d, 0), d)
	}
	sLogDetOp.VJP = transposed(sLogDetOp.JVP)

	eighOp = matrixOp("eigh", true, func(in [][]int) ([]int, error) { return []int{in[0][0] + 1, in[0][0]}, nil }, func(in [][]int) matrixFunc {
		n := in[0][0]
		work := make([]float64, 1)
		lapack64.Syev(lapack.EVCompute, blas64.Symmetric{N: n, Stride: max(n, 1), Data: make([]float64, n*n), Uplo: blas.Lower}, make([]float64, n), work, -1)
		work = make([]float64, int(work[0]))
		return func(out []float64, in [][]float64) (want, got string) {
			values, vectors := out[:n], out[n:]
			symmetrize(vectors, in[0], n)
			if n == 0 {
				return
			}
			if !finite(vectors) {
				return wantFinite, gotNonFinite
			}
			if !lapack64.Syev(lapack.EVCompute, blas64.Symmetric{N: n, Stride: n, Data: vectors, Uplo: blas.Lower}, values, work, len(work)) {
				return "eigenvalues that converge", "none after LAPACK's most steps"
			}
			return
		}
	}, func(in [][]int) int { return 9 * in[0][0] * in[0][0] * in[0][0] })
	eighOp.JVP = func(y *Node, x, dx []*Node) *Node {
		values, v := eighParts(y)
		m := MatMul(matMul(v, symmetric(dx[0]), true, false), v)
		gap := Sub(row(values), column(values))
		dv := MatMul(v, Mul(m, safeReciprocal(gap, tolerance(values))))
		return Concat(len(ShapeOf(y))-2, row(diagonal(m)), dv)
	}
	eighOp.VJP = transposed(eighOp.JVP)

	svdOp = matrixOp("svd", false, func(in [][]int) ([]int, error) {
		m, n := in[0][0], in[0][1]
		k := min(m, n)
		return []int{m*k + k + k*n}, nil
	}, svdFunc, func(in [][]int) int { return 14 * in[0][0] * in[0][1] * min(in[0][0], in[0][1]) })
	svdOp.JVP = svdTangent
	svdOp.VJP = transposed(svdOp.JVP)

	qrOp = matrixOp("qr", false, func(in [][]int) ([]int, error) { return []int{in[0][0]*in[0][1] + in[0][1]*in[0][1]}, nil }, func(in [][]int) matrixFunc {
		m, n := in[0][0], in[0][1]
		tau, work := make([]float64, n), make([]float64, 1)
		a := make([]float64, m*n)
		lapack64.Geqrf(general(a, m, n), tau, work, -1)
		work = make([]float64, max(int(work[0]), n))
		return func(out []float64, in [][]float64) (want, got string) {
			q, r := out[:m*n], out[m*n:]
			clear(r)
			if n == 0 {
				return
			}
			copy(q, in[0])
			lapack64.Geqrf(general(q, m, n), tau, work, len(work))
			for i := range n {
				copy(r[i*n+i:(i+1)*n], q[i*n+i:(i+1)*n])
			}
			lapack64.Orgqr(general(q, m, n), tau, work, len(work))
			return
		}
	}, func(in [][]int) int { return 4 * in[0][0] * in[0][1] * in[0][1] })
	qrOp.JVP = func(y *Node, x, dx []*Node) *Node {
		s := ShapeOf(x[0])
		m, n := s[len(s)-2], s[len(s)-1]
		q, r := qrParts(y, m, n)
		c := mT(TriangularSolve(r, mT(dx[0]), TriangularOptions{Upper: true, Transposed: true}))
		inside := matMul(q, c, true, false)
		below := Mul(inside, band(inside, n, 1, 0, 0))
		turn := Sub(below, mT(below))
		dq := Add(Sub(c, MatMul(q, inside)), MatMul(q, turn))
		return pack(y, dq, MatMul(Sub(inside, turn), r))
	}
	qrOp.VJP = transposed(qrOp.JVP)
}

func triangularOp(o TriangularOptions) *Primitive {
	uplo, trans := blas.Lower, blas.NoTrans
	if o.Upper {
		uplo = blas.Upper
	}
	if o.Transposed {
		trans = blas.Trans
	}
	p := matrixOp("triangular_solve", true, rightSide("triangular_solve"), func(in [][]int) matrixFunc {
		n, k := in[1][0], in[1][1]
		return func(out []float64, in [][]float64) (want, got string) {
			copy(out, in[1])
			if n == 0 || k == 0 {
				return
			}
			for i := range n {
				if in[0][i*n+i] == 0 {
					return "no zero on the diagonal", fmt.Sprintf("one in row %d", i)
				}
			}
			blas64.Trsm(blas.Left, trans, 1, blas64.Triangular{N: n, Stride: n, Data: in[0], Uplo: uplo, Diag: blas.NonUnit}, general(out, n, k))
			return
		}
	}, func(in [][]int) int { return in[0][0] * in[0][0] * in[1][1] })
	p.Attrs = o
	triangle := func(a *Node) *Node {
		n := ShapeOf(a)[len(ShapeOf(a))-1]
		if o.Upper {
			return Mul(a, band(a, n, 0, 1, 1))
		}
		return Mul(a, band(a, n, 1, 1, 0))
	}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		db := TriangularSolve(x[0], dy, TriangularOptions{o.Upper, !o.Transposed})
		left, right := db, y
		if o.Transposed {
			left, right = y, db
		}
		return []*Node{Neg(triangle(matMul(left, right, false, true))), db}
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node {
		d := dx[1]
		if dx[0] != nil {
			d = plus(d, Neg(matMul(triangle(dx[0]), y, o.Transposed, false)))
		}
		return TriangularSolve(x[0], d, o)
	}
	return p
}

func symmetrize(out, a []float64, n int) {
	for i := range n {
		for j := range n {
			out[i*n+j] = (a[i*n+j] + a[j*n+i]) / 2
		}
	}
}

func svdFunc(in [][]int) matrixFunc {
	m, n := in[0][0], in[0][1]
	k := min(m, n)
	parts := func(out []float64) (u, vt blas64.General, s []float64) {
		return general(out[:m*k], m, k), general(out[m*k+k:], k, n), out[m*k : m*k+k]
	}
	if k == 0 {
		return func([]float64, [][]float64) (want, got string) { return }
	}
	work := make([]float64, 1)
	u, vt, s := parts(make([]float64, m*k+k+k*n))
	lapack64.Gesvd(lapack.SVDStore, lapack.SVDStore, general(make([]float64, m*n), m, n), u, vt, s, work, -1)
	work = make([]float64, int(work[0]))
	return func(out []float64, in [][]float64) (want, got string) {
		if !finite(in[0]) {
			return wantFinite, gotNonFinite
		}
		u, vt, s := parts(out)
		if !lapack64.Gesvd(lapack.SVDStore, lapack.SVDStore, general(in[0], m, n), u, vt, s, work, len(work)) {
			return "singular values that converge", "none after LAPACK's most steps"
		}
		return
	}
}

func svdTangent(y *Node, x, dx []*Node) *Node {
	shape := ShapeOf(x[0])
	m, n := shape[len(shape)-2], shape[len(shape)-1]
	u, s, vt := svdParts(y, m, n)
	da := dx[0]
	right := matMul(da, vt, false, true) // dA·V
	p := matMul(u, right, true, false)   // Uᵀ·dA·V
	tol := tolerance(s)
	f := Mul(safeReciprocal(Sub(row(s), column(s)), tol), safeReciprocal(Add(row(s), column(s)), tol))
	du := MatMul(u, Mul(f, Add(Mul(p, row(s)), Mul(column(s), mT(p)))))
	dv := matMul(vt, Mul(f, Add(Mul(column(s), p), Mul(mT(p), row(s)))), true, false)
	over := row(safeReciprocal(s, Reshape(tol, ShapeOf(tol)[:len(ShapeOf(tol))-1]...)))
	if m > n {
		du = Add(du, Mul(Sub(right, MatMul(u, p)), over))
	}
	if n > m {
		left := matMul(da, u, true, false) // dAᵀ·U
		dv = Add(dv, Mul(Sub(left, matMul(vt, MatMul(vt, left), true, false)), over))
	}
	return pack(y, du, diagonal(p), mT(dv))
}

// tolerance is the distance below which two of the numbers [..., n] count as equal, [..., 1, 1].
func tolerance(x *Node) *Node {
	s := ShapeOf(x)
	n := s[len(s)-1]
	eps := 0x1p-52
	if x.Dtype() == Float32 {
		eps = 0x1p-23
	}
	return column(KeepDims(Scale(Max(Abs(Detach(x)), len(s)-1), float64(n)*eps), s, len(s)-1))
}

// safeReciprocal is 1/x, and 0 where |x| is at most tol.
func safeReciprocal(x, tol *Node) *Node {
	big := Greater(Abs(x), tol)
	return Where(big, Reciprocal(Where(big, x, Const(x, 1))), Const(x, 0))
}

// eighParts takes eigh's result apart: row 0 is the eigenvalues, the others are the vectors.
func eighParts(y *Node) (values, vectors *Node) {
	s := ShapeOf(y)
	axis := len(s) - 2
	values = Reshape(Slice(y, axis, 0, 1, 1), slices.Delete(slices.Clone(s), axis, axis+1)...)
	return values, Slice(y, axis, 1, s[axis], 1)
}

func svdParts(y *Node, m, n int) (u, s, vt *Node) {
	k := min(m, n)
	p := unpack(y, []int{m, k}, []int{k}, []int{k, n})
	return p[0], p[1], p[2]
}

func qrParts(y *Node, m, n int) (q, r *Node) {
	p := unpack(y, []int{m, n}, []int{n, n})
	return p[0], p[1]
}

// unpack takes results apart that lie one after the other in the last axis.
func unpack(y *Node, shapes ...[]int) []*Node {
	lead := ShapeOf(y)[:len(ShapeOf(y))-1]
	parts := make([]*Node, len(shapes))
	at := 0
	for i, s := range shapes {
		parts[i] = Reshape(Slice(y, len(lead), at, at+sizeOf(s), 1), slices.Concat(lead, s)...)
		at += sizeOf(s)
	}
	return parts
}

// pack puts parts into the form of y.
func pack(y *Node, parts ...*Node) *Node {
	lead := ShapeOf(y)[:len(ShapeOf(y))-1]
	flat := make([]*Node, len(parts))
	for i, p := range parts {
		flat[i] = Reshape(p, append(slices.Clone(lead), sizeOf(ShapeOf(p)[len(lead):]))...)
	}
	return Concat(len(lead), flat...)
}
