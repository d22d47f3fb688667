package metric

import (
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
	"github.com/harpe-ml/harpe/objectives"
)

// BenchmarkStep is loss and gradients of an MLP 784-1000-1000-10 on 128 examples, its outputs taken as cosines or as
// embeddings, and the same with these outputs as the only variable; cross-entropy comes first.
func BenchmarkStep(b *testing.B) {
	names := []string{"cross-entropy"}
	for _, e := range objectives.Entries() {
		if e.Import != "" && e.Objective != nil {
			names = append(names, e.Name)
		}
	}
	for _, name := range names {
		f, err := objectives.ByName(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("outputs/"+name, func(b *testing.B) { benchmarkStep(b, f, []int{10}) })
		b.Run("mlp/"+name, func(b *testing.B) { benchmarkStep(b, f, []int{784, 1000, 1000, 10}) })
	}
}

func benchmarkStep(b *testing.B, f objectives.Objective, sizes []int) {
	var x, y *graph.Node
	var out []*graph.Node
	g, err := graph.Build(&graph.Params{Seed: 1}, func(s *graph.Scope) {
		x, y = s.Input("x", graph.Float32, 128, sizes[0]), s.Input("y", graph.Int, 128)
		h := x
		for i, in := range sizes[:len(sizes)-1] {
			if i > 0 {
				h = graph.ReLU(h)
			}
			h = graph.MatMul(h, s.Layer("dense", "").Param("weight", graph.Glorot(in, sizes[i+1]), in, sizes[i+1]))
		}
		loss := f(h, y)
		wrt := s.Graph().Trainable(loss)
		if len(wrt) == 0 {
			wrt = append(wrt, x)
		}
		out = append(graph.Grad(loss, wrt...), loss)
	})
	if err != nil {
		b.Fatal(err)
	}
	p, err := g.Compile(out...)
	if err != nil {
		b.Fatal(err)
	}
	for i, v := range gradcheck.Normal(1, x.Shape()...).Float64s() {
		p.Array(x).Set(i, v)
	}
	if p.Uses(y) {
		if err := p.Array(y).CopyFrom(gradcheck.Ints(1, 10, 128)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Run(); err != nil {
			b.Fatal(err)
		}
	}
}
