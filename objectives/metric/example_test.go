package metric_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives/metric"
)

// The loss of four embeddings of two classes, before and after two of them changed places.
func ExampleTripletOptions() {
	var x, y, loss *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x, y = s.Input("embeddings", graph.Float32, 4, 2), s.Input("labels", graph.Int, 4)
		loss = metric.TripletOptions{Mining: metric.Hard}.Loss(x, y)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := g.Compile(loss)
	if err != nil {
		fmt.Println(err)
		return
	}
	copy(p.Array(y).Ints(), []int{0, 0, 1, 1})
	for _, embeddings := range [][]float32{{1, 0, 1, 0, 0, 1, 0, 1}, {1, 0, 0, 1, 1, 0, 0, 1}} {
		copy(p.Array(x).Float32s(), embeddings)
		if err := p.Run(); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%.1f\n", p.Array(loss).Scalar())
	}
	// Output:
	// 0.0
	// 2.2
}

func ExampleNewRetrieval() {
	embeddings := graph.ArrayOf([]float64{0, 1, 5, 7}, 4, 1)
	r, err := metric.NewRetrieval(embeddings, []int{0, 0, 1, 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.RecallAt(1), r.MAPAtR())
	// Output:
	// 1 1
}
