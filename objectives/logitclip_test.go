package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestLogitClip(t *testing.T) {
	z, y := rows([]float64{3, 4, 0}), labelsOf(2)
	for _, c := range []struct {
		tau, loss float64
		clipped   []float64
		dx        []float64
	}{
		{1, 1.6189247159, []float64{.6, .8, 0}, []float64{.00387888, -.00290916, -.16037768}},
		{2.5, 2.5549569196, []float64{1.5, 2, 0}, []float64{-.0263569, .01976768, -.46115221}},
		{6, 4.3265626413, []float64{3, 4, 0}, []float64{.26538793, .72139918, -.98678711}},
		{5, 4.3265626413, []float64{3, 4, 0}, []float64{-.17642333, .1323175, -.98678711}},
	} {
		clip := LogitClip{Tau: c.tau}
		loss, dx := losses(t, clip.Of(CrossEntropy), z, y)
		wantNear(t, "loss", 1e-9, loss, []float64{c.loss})
		wantNear(t, "derivative", 1e-8, dx, c.dx)
		clipped, _ := losses(t, func(x, _ *graph.Node) *graph.Node { return clip.Clip(x) }, z, y)
		wantNear(t, "clipped", 1e-12, clipped, c.clipped)
		if c.tau <= 5 { // the norm gets no push
			wantNear(t, "z·dz", 1e-12, []float64{3*dx[0] + 4*dx[1]}, []float64{0})
		}
	}
	// Other norms, twice the same as once, longer the same as long, short untouched to the bit.
	x := gradcheck.Normal(1, 8, 4)
	for i := range 8 {
		for j := range 4 {
			x.Float64s()[4*i+j] *= float64(i) / 3
		}
	}
	for _, p := range []float64{1, 2, math.Inf(1)} {
		clip := LogitClip{Tau: 1.3, P: p}
		of := func(f func(x *graph.Node) *graph.Node) []float64 {
			v, _ := losses(t, func(x, _ *graph.Node) *graph.Node { return f(x) }, x, y)
			return v
		}
		once := of(clip.Clip)
		wantNear(t, "idempotent", 1e-12, of(func(x *graph.Node) *graph.Node { return clip.Clip(clip.Clip(x)) }), once)
		longer := of(func(x *graph.Node) *graph.Node { return clip.Clip(graph.Scale(x, 7)) })
		for i := range 8 {
			var want []float64
			norm := 0.0
			for _, v := range x.Float64s()[4*i : 4*i+4] {
				if math.IsInf(p, 1) {
					norm = max(norm, math.Abs(v))
				} else {
					norm += math.Pow(math.Abs(v), p)
				}
			}
			if !math.IsInf(p, 1) {
				norm = math.Pow(norm, 1/p)
			}
			for _, v := range x.Float64s()[4*i : 4*i+4] {
				if norm >= 1.3 {
					v *= 1.3 / norm
				}
				want = append(want, v)
			}
			within := 1e-12
			if norm < 1.3 {
				within = 0
			} else {
				wantNear(t, "longer", 1e-12, longer[4*i:4*i+4], want)
			}
			wantNear(t, "clipped", within, once[4*i:4*i+4], want)
		}
	}
}

func TestLogitClipBounds(t *testing.T) {
	low, high := LogitClip{}.CrossEntropyBounds(10)
	wantNear(t, "bounds", 1e-9, []float64{low, high}, []float64{1.4198685933, 3.2893093692})
	low, high = LogitClip{P: 1}.CrossEntropyBounds(10)
	wantNear(t, "loose bounds", 1e-9, []float64{low, high}, []float64{.7966138010, 4.2121498923})
	// They are reached at the corners, which no random logits pass.
	corner := make([]float64, 10)
	for i := range corner {
		corner[i] = 100 / math.Sqrt(90)
	}
	corner[3] = -100 * math.Sqrt(.9)
	loss, _ := losses(t, LogitClip{}.Of(CrossEntropy), rows(corner), labelsOf(3))
	wantNear(t, "largest", 1e-9, loss, []float64{3.2893093692})
	for i := range corner {
		corner[i] = -corner[i]
	}
	loss, _ = losses(t, LogitClip{}.Of(CrossEntropy), rows(corner), labelsOf(3))
	wantNear(t, "smallest", 1e-9, loss, []float64{1.4198685933})
	x := gradcheck.Normal(1, 500, 10)
	for _, p := range []float64{1, 2, math.Inf(1)} {
		low, high := LogitClip{P: p}.CrossEntropyBounds(10)
		each := LogitClip{P: p}.Of(CrossEntropyOptions{Reduction: ReduceNone}.Loss)
		all, _ := losses(t, each, x, gradcheck.Ints(1, 10, 500))
		for i, l := range all {
			if l < low || l > high {
				t.Errorf("norm %v, example %d: %v is not between %v and %v", p, i, l, low, high)
			}
		}
	}
}

func TestLogitClipDerivatives(t *testing.T) {
	derivatives(t, map[string]Objective{
		"2": LogitClip{Tau: .6}.Of(CrossEntropy), "1": LogitClip{Tau: .95, P: 1}.Of(CrossEntropy),
		"inf": LogitClip{Tau: .47, P: math.Inf(1)}.Of(CrossEntropy), "over GCE": LogitClip{}.Of(GCE),
	})
	zero := graph.NewArray(graph.Float64, 1, 3)
	loss, dx := losses(t, LogitClip{}.Of(CrossEntropy), zero, labelsOf(0))
	wantNear(t, "at 0", 1e-12, append(loss, dx...), []float64{math.Log(3), -2. / 3, 1. / 3, 1. / 3})
}
