package objectives

import (
	"errors"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// rows is a float64 array of logits or targets, one row for each example.
func rows(x ...[]float64) *graph.Array {
	a := graph.NewArray(graph.Float64, len(x), len(x[0]))
	for i, r := range x {
		copy(a.Float64s()[i*len(r):], r)
	}
	return a
}

// labelsOf is an array of labels.
func labelsOf(y ...int) *graph.Array { return graph.ArrayOf(y, len(y)) }

// wantNear compares numbers with an absolute tolerance.
func wantNear(t *testing.T, what string, within float64, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: want %d numbers, got %d", what, len(want), len(got))
		return
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= within) {
			t.Errorf("%s, element %d: want %.12g, got %.12g", what, i, want[i], got[i])
		}
	}
}

// losses is the value of an objective and its derivative.
func losses(t *testing.T, f Objective, x, y *graph.Array) (loss, dx []float64) {
	t.Helper()
	l, d := evaluate(t, of(f), x, y)
	return floats(l), floats(d)
}

func floats(a *graph.Array) []float64 {
	v := make([]float64, a.Size())
	for i := range v {
		v[i] = a.At(i)
	}
	return v
}

// derivatives checks objectives in both modes and to second order on logits and labels of some shapes, kinks aside.
func derivatives(t *testing.T, fs map[string]Objective) {
	t.Helper()
	for name, f := range fs {
		for _, in := range [][]*graph.Array{
			{gradcheck.Separated(1, 4, 3), gradcheck.Ints(1, 3, 4)},
			{gradcheck.Separated(2, 1, 5), gradcheck.Ints(2, 5, 1)},
			{gradcheck.Separated(3, 2, 3, 4), gradcheck.Ints(3, 3, 2, 4)},
		} {
			t.Run(name, func(t *testing.T) {
				gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) }, in...)
			})
		}
	}
}

// wantError builds an objective on logits [4, 3] and labels and wants a *graph.Error that names the argument.
func wantError(t *testing.T, f Objective, arg string) {
	t.Helper()
	_, err := graph.Build(nil, func(s *graph.Scope) {
		f(s.Input("x", graph.Float32, 4, 3), s.Input("y", graph.Int, 4))
	})
	var e *graph.Error
	if !errors.As(err, &e) || e.Arg != arg || e.Want == "" || e.Got == "" {
		t.Errorf("want a *graph.Error that names %s, got %v", arg, err)
	}
}
