package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestSymmetricCrossEntropy(t *testing.T) {
	student, teacher := rows([]float64{2, 1, 0}), rows([]float64{1, 1.5, -.5})
	loss, dx := losses(t, SymmetricCrossEntropy, student, teacher)
	wantNear(t, "half", 1e-9, loss, []float64{1.102366330})
	wantNear(t, "half, derivative", 1e-6, dx, []float64{.154299, -.227418, .073120})
	loss, dx = losses(t, SymmetricCrossEntropyOptions{Alpha: 1e-300}.Loss, student, teacher)
	wantNear(t, "cross-entropy", 1e-9, loss, []float64{1.137094116})
	wantNear(t, "cross-entropy, derivative", 1e-6, dx, []float64{.317034, -.329369, .012335})
	p := value(t, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }, teacher)
	ce, dce := losses(t, CrossEntropy, student, rows(p))
	wantNear(t, "as CrossEntropy", 1e-12, append(loss, dx...), append(ce, dce...))
	// The formula of the derivative: (1-a)(q-p) + a q (-log p - Σ q (-log p)).
	q := value(t, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }, student)
	mean := -q[0]*math.Log(p[0]) - q[1]*math.Log(p[1]) - q[2]*math.Log(p[2])
	want := make([]float64, 3)
	for i := range want {
		want[i] = .7*(q[i]-p[i]) + .3*q[i]*(-math.Log(p[i])-mean)
	}
	_, dx = losses(t, SymmetricCrossEntropyOptions{Alpha: .3}.Loss, student, teacher)
	wantNear(t, "formula", 1e-12, dx, want)
	// Where they agree it is the entropy H, with the derivative a p (-log p - H).
	entropy := -p[0]*math.Log(p[0]) - p[1]*math.Log(p[1]) - p[2]*math.Log(p[2])
	loss, dx = losses(t, SymmetricCrossEntropy, teacher, teacher.Clone())
	wantNear(t, "agreed", 1e-12, append(loss, dx...), []float64{entropy,
		.5 * p[0] * (-math.Log(p[0]) - entropy), .5 * p[1] * (-math.Log(p[1]) - entropy), .5 * p[2] * (-math.Log(p[2]) - entropy)})
	// The size of the derivative for students of growing confidence.
	norm := func(f Objective, c float64) float64 {
		_, dx := losses(t, f, rows([]float64{c, 0, 0}), rows([]float64{3, 0, 0}))
		return math.Sqrt(dx[0]*dx[0] + dx[1]*dx[1] + dx[2]*dx[2])
	}
	for i, c := range []float64{0, 1, 2, 4, 8} {
		got := []float64{norm(SymmetricCrossEntropy, c), norm(SymmetricCrossEntropyOptions{Alpha: 1e-300}.Loss, c)}
		wantNear(t, "profile", 5e-5, got, []float64{
			[]float64{.7610, .6528, .3830, .0288, .0538}[i], []float64{.7056, .4082, .1500, .0676, .1101}[i]})
	}
	other := rows([]float64{0, 1, 1})
	both, _ := losses(t, func(x, y *graph.Node) *graph.Node {
		return SymmetricCrossEntropyOptions{}.SelfTraining(x, graph.Literal(x, other), y)
	}, student, teacher)
	second, _ := losses(t, SymmetricCrossEntropy, other, teacher)
	wantNear(t, "self-training", 1e-9, both, []float64{(1.102366330 + second[0]) / 2})
	_, dteacher := evaluate(t, func(x []*graph.Node) *graph.Node { return SymmetricCrossEntropy(x[1], x[0]) }, teacher, student)
	wantNear(t, "teacher", 0, floats(dteacher), make([]float64, 3))
}

func TestUpdateTeacher(t *testing.T) {
	store := func(v ...float64) *graph.Params {
		p := &graph.Params{}
		p.Add(&graph.Param{Name: "w", Value: graph.ArrayOf(v, len(v))})
		p.Add(&graph.Param{Name: "n", Value: graph.ArrayOf([]int{int(v[0])}, 1), State: true})
		p.Add(&graph.Param{Name: "s", Value: graph.ArrayOf([]float32{float32(v[0])}, 1), State: true})
		return p
	}
	teacher, student := store(5, -1), store(2, 3)
	for range 7 {
		if err := UpdateTeacher(teacher, student, .9); err != nil {
			t.Fatal(err)
		}
	}
	m := math.Pow(.9, 7) // w + m^n (w0 - w)
	wantNear(t, "w", 1e-12, floats(teacher.Get("w").Value), []float64{2 + 3*m, 3 - 4*m})
	wantNear(t, "s", 1e-6, floats(teacher.Get("s").Value), []float64{2 + 3*m})
	wantNear(t, "n", 0, floats(teacher.Get("n").Value), []float64{2})
	wantNear(t, "student", 0, floats(student.Get("w").Value), []float64{2, 3})
	for _, err := range []error{UpdateTeacher(teacher, student, 1.5), UpdateTeacher(teacher, &graph.Params{}, .5), UpdateTeacher(teacher, store(1, 2, 3), .5)} {
		if err == nil {
			t.Error("want an error")
		}
	}
}

func TestNTXent(t *testing.T) {
	const n, views, units = 3, 3, 4
	f := gradcheck.Normal(1, n, views, units)
	got := value(t, NTXentOptions{Temperature: .5}.Loss, f)
	row := func(i int) []float64 { return f.Float64s()[i*units : (i+1)*units] }
	cosine := func(a, b []float64) float64 {
		ab, aa, bb := 0.0, 0.0, 0.0
		for i := range a {
			ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
		}
		return ab / math.Sqrt(aa*bb)
	}
	want := 0.0
	for i := range n * views {
		all, positive := 0.0, 0.0
		for k := range n * views {
			if k != i {
				s := cosine(row(i), row(k)) / .5
				all += math.Exp(s)
				if k/views == i/views {
					positive += s / (views - 1)
				}
			}
		}
		want += (math.Log(all) - positive) / (n * views)
	}
	wantNear(t, "loops", 1e-12, got, []float64{want})
	// A pair alone has nothing to be told from.
	wantNear(t, "one pair", 1e-12, value(t, NTXentOptions{}.Loss, gradcheck.Normal(1, 1, 2, 4)), []float64{0})
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return NTXentOptions{Temperature: .5}.Loss(x[0]) }, gradcheck.Normal(2, 2, 3, 4))
	// Features of 0 are at a right angle to all.
	zero, dx := evaluate(t, func(x []*graph.Node) *graph.Node { return NTXentOptions{}.Loss(x[0]) }, graph.NewArray(graph.Float32, 2, 2, 3))
	wantNear(t, "zeros", 1e-6, append(floats(zero), floats(dx)...), append([]float64{math.Log(3)}, make([]float64, 12)...))
	wantError(t, func(x, _ *graph.Node) *graph.Node { return NTXentOptions{}.Loss(x) }, "features")
}

func TestNearestPrototype(t *testing.T) {
	prototypes := rows([]float64{1, 0}, []float64{3, 3}, []float64{0, .1})
	features := rows([]float64{9, .1}, []float64{.1, .11}, []float64{-1, 5})
	got, df := evaluate(t, func(x []*graph.Node) *graph.Node { return NearestPrototype(x[0], x[1]) }, features, prototypes)
	wantNear(t, "nearest", 0, append(floats(got), floats(df)...), []float64{1, 0, 3, 3, 0, .1, 0, 0, 0, 0, 0, 0})
}

func TestSymmetricCrossEntropyDerivatives(t *testing.T) {
	f := SymmetricCrossEntropyOptions{Alpha: .3, Reduction: ReduceNone}.Loss
	for _, shape := range [][]int{{4, 3}, {1, 2}, {2, 3, 4}} {
		gradcheck.Options{Inputs: []int{0}}.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) },
			gradcheck.Normal(1, shape...), gradcheck.Normal(2, shape...))
	}
	finite(t, "to a sure teacher", func(x, y *graph.Node) *graph.Node {
		return SymmetricCrossEntropy(x, graph.Scale(graph.OneHot(y, 3, x.Dtype()), 1e4))
	}, 3)
	finite(t, "one class", func(x, y *graph.Node) *graph.Node { return SymmetricCrossEntropy(x, graph.Scale(x, -1)) }, 1)
}
