package graph_test

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// TestFunctionValues compares with the standard library, with closed forms, and with known constants.
func TestFunctionValues(t *testing.T) {
	const euler, catalan, zeta3 = 0.5772156649015328606, 0.91596559417721901505, 1.2020569031595942854
	inf, nan := math.Inf(1), math.NaN()
	harmonic := func(n int) (h float64) { // ψ(n+1) = H_n - γ
		for i := range n {
			h += 1 / float64(i+1)
		}
		return h
	}
	trigamma := func(x *graph.Node) *graph.Node { return graph.Polygamma(1, x) }
	for name, c := range map[string]struct {
		f       func(x *graph.Node) *graph.Node
		x, want []float64
	}{
		"asin":   {graph.Asin, []float64{-1, 0, 0.5, 2}, []float64{-math.Pi / 2, 0, math.Pi / 6, nan}},
		"acos":   {graph.Acos, []float64{-1, 0, 0.5, 2}, []float64{math.Pi, math.Pi / 2, math.Pi / 3, nan}},
		"atan":   {graph.Atan, []float64{-inf, 0, 1, inf}, []float64{-math.Pi / 2, 0, math.Pi / 4, math.Pi / 2}},
		"sinh":   {graph.Sinh, []float64{-1, 0, 2}, []float64{(1/math.E - math.E) / 2, 0, (math.Exp(2) - math.Exp(-2)) / 2}},
		"cosh":   {graph.Cosh, []float64{-1, 0, 2}, []float64{(1/math.E + math.E) / 2, 1, (math.Exp(2) + math.Exp(-2)) / 2}},
		"asinh":  {graph.Asinh, []float64{-2, 0, 3}, []float64{-math.Log(2 + math.Sqrt(5)), 0, math.Log(3 + math.Sqrt(10))}},
		"acosh":  {graph.Acosh, []float64{0.5, 1, 3}, []float64{nan, 0, math.Log(3 + math.Sqrt(8))}},
		"erfc":   {graph.Erfc, []float64{-inf, 0, 10, inf}, []float64{2, 1, 2.0884875837625447570e-45, 0}},
		"lgamma": {graph.Lgamma, []float64{1, 0.5, 6, -0.5, 0}, []float64{0, math.Log(math.Pi) / 2, math.Log(120), math.Log(2 * math.Sqrt(math.Pi)), inf}},
		"digamma": {graph.Digamma, []float64{1, 2, 0.5, 0.25, 31, -0.5, 0, -2, inf, nan},
			[]float64{-euler, 1 - euler, -euler - 2*math.Ln2, -euler - math.Pi/2 - 3*math.Ln2, harmonic(30) - euler, 2 - euler - 2*math.Ln2, -inf, nan, inf, nan}},
		"trigamma": {trigamma, []float64{1, 0.5, 0.25, -0.5, 0, inf},
			[]float64{math.Pi * math.Pi / 6, math.Pi * math.Pi / 2, math.Pi*math.Pi + 8*catalan, math.Pi*math.Pi/2 + 4, inf, 0}},
		"polygamma": {func(x *graph.Node) *graph.Node { return graph.Polygamma(2, x) }, []float64{1, 0.5, -1, nan}, []float64{-2 * zeta3, -14 * zeta3, -inf, nan}},
		"is_finite": {graph.IsFinite, []float64{0, -1e300, inf, -inf, nan}, []float64{1, 1, 0, 0, 0}},
		"is_nan":    {graph.IsNaN, []float64{0, inf, nan}, []float64{0, 0, 1}},
		"softsign":  {graph.Softsign, []float64{-3, 0, 1}, []float64{-0.75, 0, 0.5}},
	} {
		y := evaluate(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node { return []*graph.Node{c.f(x[0])} }, graph.ArrayOf(c.x, len(c.x)))[0]
		for i, want := range c.want {
			if got := y.At(i); got != want && !(math.Abs(got-want) <= 1e-14*math.Abs(want)) && !(math.IsNaN(got) && math.IsNaN(want)) {
				t.Errorf("%s(%v): want %v, got %v", name, c.x[i], want, got)
			}
		}
	}
	y := evaluate(t, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		return []*graph.Node{graph.LogAddExp(x[0], x[1]), graph.Atan2(x[0], x[1])}
	}, graph.ArrayOf([]float64{1, 1e4, -inf, -inf, 0}, 5), graph.ArrayOf([]float64{-1, 1e4, 2, -inf, -1}, 5))
	for i, want := range []float64{math.Log(math.E + 1/math.E), 1e4 + math.Ln2, 2, -inf, math.Log(1 + 1/math.E)} {
		if got := y[0].At(i); got != want && !(math.Abs(got-want) <= 1e-15*math.Abs(want)) {
			t.Errorf("logaddexp %d: want %v, got %v", i, want, got)
		}
	}
	if y[1].At(0) != 3*math.Pi/4 || y[1].At(4) != math.Pi {
		t.Errorf("atan2: got %v", y[1])
	}
}

func TestFunctionDerivatives(t *testing.T) {
	for name, c := range map[string]struct {
		f func(x *graph.Node) *graph.Node
		x *graph.Array
	}{
		"asin": {graph.Asin, gradcheck.Uniform(1, -0.8, 0.8, 2, 3)}, "acos": {graph.Acos, gradcheck.Uniform(2, -0.8, 0.8, 5)},
		"atan": {graph.Atan, gradcheck.Normal(3, 6)}, "sinh": {graph.Sinh, gradcheck.Normal(3, 6)}, "cosh": {graph.Cosh, gradcheck.Normal(3, 6)},
		"asinh": {graph.Asinh, gradcheck.Normal(3, 6)}, "acosh": {graph.Acosh, gradcheck.Uniform(4, 1.3, 3, 6)},
		"erfc": {graph.Erfc, gradcheck.Normal(3, 6)}, "lgamma": {graph.Lgamma, gradcheck.Positive(5, 6)},
		"lgamma below 0": {graph.Lgamma, gradcheck.Uniform(5, -1.8, -1.2, 6)}, "digamma": {graph.Digamma, gradcheck.Positive(6, 6)},
		"polygamma": {func(x *graph.Node) *graph.Node { return graph.Polygamma(1, x) }, gradcheck.Uniform(7, 0.8, 12, 6)},
		"softsign":  {graph.Softsign, gradcheck.Separated(8, 6)},
	} {
		if err := gradcheck.Verify(func(_ *graph.Scope, x []*graph.Node) *graph.Node { return c.f(x[0]) }, c.x); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]func(a, b *graph.Node) *graph.Node{"atan2": graph.Atan2, "logaddexp": graph.LogAddExp} {
		for _, s := range [][2][]int{{{3}, {3}}, {{2, 3}, {3}}, {{2, 1}, {1, 3}}, {{}, {2}}} {
			if err := gradcheck.Verify(func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) },
				gradcheck.Positive(1, s[0]...), gradcheck.Normal(2, s[1]...)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
