package optim

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// TestClip steps SGD with LR 1 from 0, so that the parameters become the negative clipped gradients.
func TestClip(t *testing.T) {
	third := 2 / (5 + 1e-6)
	table := []struct {
		name string
		clip Clip
		w, b []float64 // gradients
		x, y []float64 // clipped
	}{
		{"off", Clip{}, []float64{3, 0}, []float64{-4}, []float64{3, 0}, []float64{-4}},
		{"norm 5 to 2", Clip{Norm: 2}, []float64{3, 0}, []float64{-4}, []float64{3 * third, 0}, []float64{-4 * third}},
		{"norm below the bound", Clip{Norm: 6}, []float64{3, 0}, []float64{-4}, []float64{3, 0}, []float64{-4}},
		{"norm at the bound", Clip{Norm: 5}, []float64{3, 0}, []float64{-4},
			[]float64{3 * 5 / (5 + 1e-6), 0}, []float64{-4 * 5 / (5 + 1e-6)}},
		{"norm of zeros", Clip{Norm: 1}, []float64{0, 0}, []float64{0}, []float64{0, 0}, []float64{0}},
		{"value", Clip{Value: 2.5}, []float64{3, 1}, []float64{-4}, []float64{2.5, 1}, []float64{-2.5}},
		{"value and infinity", Clip{Value: 2.5}, []float64{math.Inf(1), 1}, []float64{math.Inf(-1)},
			[]float64{2.5, 1}, []float64{-2.5}},
		{"norm, then value", Clip{Norm: 2, Value: 1.3}, []float64{3, 0}, []float64{-4},
			[]float64{3 * third, 0}, []float64{-1.3}},
	}
	for _, c := range table {
		for _, kind := range []struct {
			dtype     graph.DType
			tolerance float64
		}{{graph.Float64, 1e-15}, {graph.Float32, 1e-6}} {
			w := &graph.Param{Name: "w", Value: graph.NewArray(kind.dtype, 2)}
			b := &graph.Param{Name: "b", Value: graph.NewArray(kind.dtype, 1)}
			s := stepper(t, SGD{LR: 1}, Options{Clip: c.clip}, w, b)
			gw, gb := graph.NewArray(kind.dtype, 2), graph.NewArray(kind.dtype, 1)
			for i, v := range c.w {
				gw.Set(i, v)
			}
			gb.Set(0, c.b[0])
			stepOnce(t, s, gw, gb)
			got := []float64{-w.Value.At(0), -w.Value.At(1), -b.Value.At(0)}
			for i, want := range append(append([]float64{}, c.x...), c.y...) {
				if !(math.Abs(got[i]-want) <= kind.tolerance*max(1, math.Abs(want))) {
					t.Errorf("%s %v element %d: want %v, got %v", c.name, kind.dtype, i, want, got[i])
				}
			}
		}
	}
}

// TestGlobalNorm: the squares of 1..n add up to n(n+1)(2n+1)/6, over any division into arrays.
func TestGlobalNorm(t *testing.T) {
	for _, split := range [][]int{{24}, {1, 23}, {2, 3, 19}, {7, 0, 17}, {4, 5, 6, 9}} {
		var grads []*graph.Array
		next := 1.0
		for k, n := range split {
			dtype := graph.Float32
			if k%2 == 1 {
				dtype = graph.Float64
			}
			a := graph.NewArray(dtype, n)
			for i := range n {
				a.Set(i, next)
				next++
			}
			grads = append(grads, a)
		}
		if got := GlobalNorm(grads); got != 70 { // 24 25 49/6 = 4900
			t.Errorf("%v: want 70, got %v", split, got)
		}
	}
}

// TestClipInEveryOptimizer: a step that clips by norm is a step without clipping on scaled gradients.
func TestClipInEveryOptimizer(t *testing.T) {
	const bound = 0.5
	for name, o := range variants {
		p, q := vector("p", graph.Float64, 5), vector("p", graph.Float64, 5)
		a, b := stepper(t, o, Options{Clip: Clip{Norm: bound}}, p), stepper(t, o, Options{}, q)
		grad, scaled := graph.NewArray(graph.Float64, 5), graph.NewArray(graph.Float64, 5)
		for step := range 5 {
			fill(grad, step)
			norm := 0.0
			for i := range 5 {
				norm = math.Hypot(norm, grad.At(i))
			}
			for i := range 5 {
				scaled.Set(i, grad.At(i)*min(1, bound/(norm+1e-6)))
			}
			stepOnce(t, a, grad)
			stepOnce(t, b, scaled)
			for i := range 5 {
				if !(math.Abs(p.Value.At(i)-q.Value.At(i)) <= 1e-12) {
					t.Errorf("%s step %d element %d: want %v, got %v", name, step, i, q.Value.At(i), p.Value.At(i))
				}
			}
		}
	}
}

// TestClipOverflow: squares that are finite one by one may not add up to a number.
func TestClipOverflow(t *testing.T) {
	p, q := vector("p", graph.Float64, 1), vector("q", graph.Float64, 1)
	s := stepper(t, SGD{}, Options{Clip: Clip{Norm: 1}}, p, q)
	big := graph.ArrayOf([]float64{1.2e154}, 1)
	err := s.Step([]*graph.Array{big, big})
	if err == nil || err.Error() != "clip: all gradients: want a finite norm, got +Inf" {
		t.Errorf("want an error about all gradients, got %v", err)
	}
}
