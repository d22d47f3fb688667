package graph_test

import (
	"testing"
	"time"

	"github.com/harpe-ml/harpe/graph"
)

// BenchmarkRows times what goes along rows and columns of images and of strided axes, forward and its gradient.
func BenchmarkRows(b *testing.B) {
	three := graph.PoolOptions{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Padding: [2]int{1, 1}}
	dense := graph.PoolOptions{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Padding: [2]int{1, 1}}
	for _, c := range []struct {
		name  string
		shape []int
		op    func(x *graph.Node) *graph.Node
	}{
		{"max3x3stride2", []int{4, 32, 56, 56}, func(x *graph.Node) *graph.Node { return graph.MaxPool2D(x, three) }},
		{"max3x3stride1", []int{4, 32, 28, 28}, func(x *graph.Node) *graph.Node { return graph.MaxPool2D(x, dense) }},
		{"avg3x3stride2", []int{4, 32, 56, 56}, func(x *graph.Node) *graph.Node { return graph.AvgPool2D(x, three) }},
		{"avg3x3stride1", []int{4, 32, 28, 28}, func(x *graph.Node) *graph.Node { return graph.AvgPool2D(x, dense) }},
		{"globalmax", []int{4, 256, 28, 28}, graph.GlobalMaxPool2D},
		{"globalavg", []int{4, 256, 28, 28}, graph.GlobalAvgPool2D},
		{"upsample2", []int{4, 32, 28, 28}, func(x *graph.Node) *graph.Node { return graph.UpsampleNearest2D(x, 2) }},
		{"softmax/middle", []int{30, 17, 80}, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }},
		{"softmax/channels", []int{4, 21, 56, 56}, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }},
		{"logsoftmax/channels", []int{4, 21, 56, 56}, func(x *graph.Node) *graph.Node { return graph.LogSoftmax(x, 1) }},
	} {
		for _, way := range []string{"forward", "gradient"} {
			b.Run(c.name+"/"+way, func(b *testing.B) {
				var x, y *graph.Node
				g, err := graph.Build(nil, func(s *graph.Scope) {
					x = s.Input("x", graph.Float32, c.shape...)
					y = c.op(x)
					if way == "gradient" {
						d := s.Input("d", graph.Float32, graph.ShapeOf(y)...)
						y = graph.VJP([]*graph.Node{y}, []*graph.Node{d}, []*graph.Node{x})[0]
					}
				})
				if err != nil {
					b.Fatal(err)
				}
				p, err := g.Compile(y)
				if err != nil {
					b.Fatal(err)
				}
				if p.Uses(x) {
					a := p.Array(x)
					for i := range a.Size() {
						a.Set(i, wave(1, i))
					}
				}
				run(b, p)
				least := time.Hour
				for b.Loop() {
					start := time.Now()
					run(b, p)
					least = min(least, time.Since(start))
				}
				b.ReportMetric(float64(least.Nanoseconds())/float64(graph.TypeOf(x).Size()), "least-ns/element")
			})
		}
	}
}
