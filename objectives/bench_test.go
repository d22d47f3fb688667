package objectives

import (
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// BenchmarkStep is loss and gradients of an MLP 784-1000-1000-10 on 128 examples with each objective
// on a target that it takes, and the same with the logits as the only variable. An objective may cost 1.3 times cross-entropy's step.
func BenchmarkStep(b *testing.B) {
	for _, name := range Names() {
		f, _ := ByName(name)
		for what, sizes := range map[string][]int{"logits": {10}, "mlp": {784, 1000, 1000, 10}} {
			b.Run(what+"/"+name, func(b *testing.B) { benchmarkStep(b, f, sizes) })
		}
	}
}

func benchmarkStep(b *testing.B, f Objective, sizes []int) {
	labels, scores, numbers := gradcheck.Ints(1, 10, 128), gradcheck.Positive(1, 128, 10), gradcheck.Normal(1, 128)
	for _, target := range []*graph.Array{labels, scores, numbers} {
		if benchmarkTarget(b, f, sizes, target) == nil {
			return
		}
	}
	b.Error("takes no target")
}

// benchmarkTarget gives an error if the objective does not take the target.
func benchmarkTarget(b *testing.B, f Objective, sizes []int, target *graph.Array) error {
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
		return err
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
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Run(); err != nil {
			b.Fatal(err)
		}
	}
	return nil
}
