package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestGoodnessDerivatives(t *testing.T) {
	for g := SumSquares; g <= SumActivity; g++ {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return g.Of(x[0]) }, gradcheck.Separated(1, 3, 2, 4))
	}
	cosine := func(_ *graph.Scope, x []*graph.Node) *graph.Node { return CosineGoodness(graph.Abs(x[0]), x[1]) }
	gradcheck.Check(t, cosine, gradcheck.Separated(2, 3, 5), gradcheck.Normal(3, 5))
	margin := func(_ *graph.Scope, x []*graph.Node) *graph.Node { return GoodnessMargin(x[0], x[1], 4) }
	gradcheck.Check(t, margin, gradcheck.Normal(4, 6), gradcheck.Normal(5, 6))
	for _, axes := range [][]int{nil, {0}, {1}} {
		entropy := func(_ *graph.Scope, x []*graph.Node) *graph.Node { return FunctionalEntropy(x[0], axes...) }
		gradcheck.Check(t, entropy, gradcheck.Positive(6, 4, 3))
	}
}

// [1, 2, 0] and [3, 4, 0] by hand.
func TestGoodness(t *testing.T) {
	x := rows([]float64{1, 2, 0}, []float64{3, 4, 0})
	for g, want := range map[Goodness][]float64{
		SumSquares: {5, 25}, MeanSquares: {5. / 3, 25. / 3}, NegSumSquares: {-5, -25}, L2Norm: {math.Sqrt(5), 5}, SumActivity: {3, 7},
	} {
		v, _ := evaluate(t, func(x []*graph.Node) *graph.Node { return g.Of(x[0]) }, x)
		wantNear(t, g.String(), 1e-14, floats(v), want)
	}
	for g, want := range map[Goodness]float64{SumSquares: 7, MeanSquares: 2, NegSumSquares: -7, L2Norm: 3, SumActivity: 3.5} {
		if got := g.Threshold(7); got != want {
			t.Errorf("%v: threshold of 7 units: want %v, got %v", g, want, got)
		}
	}
	if _, err := graph.Build(nil, func(s *graph.Scope) { Goodness(9).Of(s.Input("x", graph.Float32, 2, 3)) }); err == nil {
		t.Error("an unknown goodness is no error")
	}
}

// h = (3, -4), direction (1, 0): .6 with absolute values; the margin of .6 over .2 at 4 is log(1 + e^-1.6).
func TestCosineGoodness(t *testing.T) {
	of := func(h ...float64) []float64 {
		v, _ := evaluate(t, func(x []*graph.Node) *graph.Node { return CosineGoodness(graph.Abs(x[0]), x[1]) },
			rows(h), graph.ArrayOf([]float64{1, 0}, 2))
		return floats(v)
	}
	wantNear(t, "cosine", 1e-15, of(3, -4), []float64{0.6})
	wantNear(t, "other signs and length", 1e-15, of(-51, 68), []float64{0.6})
	wantNear(t, "zeros", 0, of(0, 0), []float64{0})
	pair := func(x []*graph.Node) *graph.Node { return GoodnessMargin(x[0], x[1], 4) }
	one := func(v float64) *graph.Array { return graph.ArrayOf([]float64{v}, 1) }
	v, _ := evaluate(t, pair, one(0.6), one(0.2))
	wantNear(t, "margin", 1e-9, floats(v), []float64{0.183900741})
	v, forth := evaluate(t, pair, one(0.3), one(0.3))
	wantNear(t, "margin of equals", 1e-15, floats(v), []float64{math.Ln2})
	wantNear(t, "its derivative", 1e-15, floats(forth), []float64{-2}) // 4·sigmoid(0); the other's is 2
	_, back := evaluate(t, func(x []*graph.Node) *graph.Node { return GoodnessMargin(x[1], x[0], 4) }, one(0.3), one(0.3))
	wantNear(t, "its derivative with the pair swapped", 1e-15, floats(back), []float64{2})
}

// The gradient of the norm has length 1, and 0 at 0.
func TestL2NormGradient(t *testing.T) {
	_, d := evaluate(t, func(x []*graph.Node) *graph.Node { return L2Norm.Of(x[0]) }, rows([]float64{3, 4, 0}, []float64{0, 0, 0}))
	wantNear(t, "gradient", 1e-15, floats(d), []float64{0.6, 0.8, 0, 0, 0, 0})
}

func TestFunctionalEntropy(t *testing.T) {
	entropy := func(h *graph.Array, axes ...int) []float64 {
		v, d := evaluate(t, func(x []*graph.Node) *graph.Node { return FunctionalEntropy(x[0], axes...) }, h)
		for _, g := range floats(d) {
			if g-g != 0 {
				t.Errorf("derivative %v", g)
			}
		}
		return floats(v)
	}
	wantNear(t, "constant", 1e-15, entropy(rows([]float64{3, 3, 3})), []float64{0})
	wantNear(t, "zeros", 0, entropy(rows([]float64{0, 0})), []float64{0})
	wantNear(t, "[0 4]", 1e-6, entropy(rows([]float64{0, 4})), []float64{1.386294})
	wantNear(t, "[1 2 3 4]", 1e-6, entropy(rows([]float64{1, 2, 3, 4})), []float64{0.266100})
	wantNear(t, "seven times", 1e-14, entropy(rows([]float64{7, 14, 21, 28})), []float64{7 * entropy(rows([]float64{1, 2, 3, 4}))[0]})
	// The chain rule over samples (rows) and layers (columns).
	h := rows([]float64{1, 2}, []float64{3, 4})
	within := entropy(h, 0)
	between := entropy(rows([]float64{2, 3}))[0]
	wantNear(t, "between layers", 1e-6, []float64{between}, []float64{0.050339})
	wantNear(t, "within layers", 1e-6, []float64{(within[0] + within[1]) / 2}, []float64{0.215761})
	wantNear(t, "chain rule", 1e-14, []float64{between + (within[0]+within[1])/2}, entropy(h))
}

func TestHoyer(t *testing.T) {
	for _, c := range []struct {
		row  []float64
		want float64
	}{
		{[]float64{1, 0, 0, 0}, 1}, {[]float64{1, 1, 1, 1}, 0}, {[]float64{3, 4, 0, 0}, 0.6}, {[]float64{1, 2, 3, 4}, 0.174258},
		{[]float64{-17, 34, 51, 68}, 0.174258},
	} {
		wantNear(t, "Hoyer", 1e-6, []float64{Hoyer(rows(c.row))}, []float64{c.want})
	}
	wantNear(t, "mean, without rows of zeros", 1e-12, []float64{Hoyer(rows([]float64{1, 0, 0, 0}, []float64{0, 0, 0, 0}, []float64{3, 4, 0, 0}))}, []float64{0.8})
	if v := Hoyer(rows([]float64{0, 0})); v == v {
		t.Errorf("of nothing: want NaN, got %v", v)
	}
}
