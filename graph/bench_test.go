package graph_test

import (
	"fmt"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// small is a multi-layer perceptron of 8, 16 and 4 units with a penalty on its gradient, in batches of 4: 53 nodes of
// tiny tensors.
func small(b testing.TB) *graph.Program {
	var loss *graph.Node
	var out []*graph.Node
	g, err := graph.Build(&graph.Params{}, func(s *graph.Scope) {
		x, y := s.Input("x", graph.Float32, 4, 8), s.Input("y", graph.Float32, 4, 4)
		w1, b1 := s.Param("w1", graph.Glorot(8, 16), 8, 16), s.Param("b1", graph.Zeros(), 16)
		w2, b2 := s.Param("w2", graph.Glorot(16, 4), 16, 4), s.Param("b2", graph.Zeros(), 4)
		h := graph.Tanh(graph.Add(graph.MatMul(x, w1), b1))
		error := graph.Mean(graph.Square(graph.Sub(graph.Add(graph.MatMul(h, w2), b2), y)))
		penalty := graph.Sum(graph.Square(graph.Grad(error, x)[0]))
		loss = graph.Add(error, graph.Scale(penalty, 0.1))
		out = append(graph.Grad(loss, w1, b1, w2, b2), loss)
	})
	if err != nil {
		b.Fatal(err)
	}
	p, err := g.Compile(out...)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func BenchmarkSmallGraph(b *testing.B) {
	p := small(b)
	run(b, p)
	b.ReportAllocs()
	b.ReportMetric(float64(p.Stats().Instructions), "instructions")
	for b.Loop() {
		run(b, p)
	}
}

// perceptron is a training step's gradients of a multi-layer perceptron of equal layers.
func perceptron(b testing.TB, batch, width, depth int) (*graph.Graph, []*graph.Node) {
	var out []*graph.Node
	g, err := graph.Build(&graph.Params{}, func(s *graph.Scope) {
		x := s.Input("x", graph.Float32, batch, width)
		for i := range depth {
			x = graph.ReLU(graph.Add(graph.MatMul(x, s.Param(fmt.Sprint("w", i), graph.He(width), width, width)), s.Param(fmt.Sprint("b", i), graph.Zeros(), width)))
		}
		loss := graph.Mean(graph.Square(x))
		out = append(graph.Grad(loss, s.Graph().Trainable(loss)...), loss)
	})
	if err != nil {
		b.Fatal(err)
	}
	return g, out
}

// BenchmarkCost shows that a run's time is linear in batch, width² and depth.
func BenchmarkCost(b *testing.B) {
	for _, size := range [][3]int{
		{64, 256, 4}, {128, 256, 4}, {256, 256, 4}, {512, 256, 4},
		{64, 512, 4}, {64, 1024, 4}, {64, 2048, 4},
		{64, 256, 8}, {64, 256, 16}, {64, 256, 32},
	} {
		b.Run(fmt.Sprintf("batch=%d/width=%d/depth=%d", size[0], size[1], size[2]), func(b *testing.B) {
			g, out := perceptron(b, size[0], size[1], size[2])
			p, err := g.Compile(out...)
			if err != nil {
				b.Fatal(err)
			}
			run(b, p)
			for b.Loop() {
				run(b, p)
			}
			b.ReportMetric(float64(p.Stats().Flops)/b.Elapsed().Seconds()*float64(b.N)/1e9, "GFLOP/s")
		})
	}
}

// BenchmarkCompile shows that compilation is linear in the number of nodes.
func BenchmarkCompile(b *testing.B) {
	for _, depth := range []int{25, 50, 100, 200, 400, 800} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			g, out := perceptron(b, 4, 8, depth)
			var p *graph.Program
			for b.Loop() {
				var err error
				if p, err = g.Compile(out...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(g.AllNodes())), "nodes")
			b.ReportMetric(float64(p.Stats().ArenaBytes)/float64(p.Stats().PeakBytes), "arena/peak")
		})
	}
}
