package objectives

import (
	"math"
	"testing"
	"time"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// BenchmarkStep is loss and gradients of an MLP 784-1000-1000-10 on 128 examples with each objective on a target that it
// takes, and the same with the logits as the only variable. Beside each run is one with cross-entropy: best-ns is the
// fastest run, x-ce its quotient to cross-entropy's, which on the MLP is at most 1.3 where nothing else runs.
func BenchmarkStep(b *testing.B) {
	for what, sizes := range map[string][]int{"logits": {10}, "mlp": {784, 1000, 1000, 10}} {
		reference := step(b, CrossEntropy, sizes)
		for _, name := range Names() {
			f, _ := ByName(name)
			b.Run(what+"/"+name, func(b *testing.B) {
				own, other := step(b, f, sizes), time.Duration(math.MaxInt64)
				best := other
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					other = min(other, duration(b, reference))
					b.StartTimer()
					best = min(best, duration(b, own))
				}
				b.ReportMetric(float64(best)/float64(other), "x-ce")
				b.ReportMetric(float64(best.Nanoseconds()), "best-ns")
			})
		}
	}
}

func duration(b *testing.B, p *graph.Program) time.Duration {
	start := time.Now()
	if err := p.Run(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// step is the program of a step with the first kind of target that the objective takes.
func step(b *testing.B, f Objective, sizes []int) *graph.Program {
	labels, scores, numbers := gradcheck.Ints(1, 10, 128), gradcheck.Positive(1, 128, 10), gradcheck.Normal(1, 128)
	for _, target := range []*graph.Array{labels, scores, numbers} {
		if p := stepOn(b, f, sizes, target); p != nil {
			return p
		}
	}
	b.Fatal("takes no target")
	return nil
}

// stepOn gives nil if the objective does not take the target.
func stepOn(b *testing.B, f Objective, sizes []int, target *graph.Array) *graph.Program {
	var x, y *graph.Node
	var out []*graph.Node
	g, err := graph.Build(&graph.Params{Seed: 1}, func(s *graph.Scope) {
		dtype := graph.Float32
		if target.DType == graph.Int {
			dtype = graph.Int
		}
		x, y = s.Input("x", graph.Float32, 128, sizes[0]), s.Input("y", dtype, target.Shape...)
		h, wrt := x, []*graph.Node{x}
		for i, in := range sizes[:len(sizes)-1] {
			w := s.Layer("dense", "").Param("weight", graph.Glorot(in, sizes[i+1]), in, sizes[i+1])
			if i == 0 {
				wrt = nil
			} else {
				h = graph.ReLU(h)
			}
			h, wrt = graph.MatMul(h, w), append(wrt, w)
		}
		loss := f(h, y)
		out = append(graph.Grad(loss, wrt...), loss)
	})
	if err != nil {
		return nil
	}
	p, err := g.Compile(out...)
	if err != nil {
		b.Fatal(err)
	}
	for i, v := range gradcheck.Normal(1, x.Shape()...).Float64s() {
		p.Array(x).Set(i, v)
	}
	for i := range target.Size() {
		p.Array(y).Set(i, target.At(i))
	}
	return p
}
