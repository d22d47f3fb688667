package objectives_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

// The loss of two examples of three classes, and its derivative.
func ExampleCrossEntropyOptions() {
	var objective objectives.Objective = objectives.CrossEntropyOptions{LabelSmoothing: 0.1}.Loss
	var logits, labels, loss, slope *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		logits, labels = s.Input("logits", graph.Float32, 2, 3), s.Input("labels", graph.Int, 2)
		loss = objective(logits, labels)
		slope = graph.Grad(loss, logits)[0]
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := g.Compile(loss, slope)
	if err != nil {
		fmt.Println(err)
		return
	}
	copy(p.Array(logits).Float32s(), []float32{2, 0, 0, 0, 0, 0})
	copy(p.Array(labels).Ints(), []int{0, 2})
	if err := p.Run(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.4f %.4f\n", p.Array(loss).Scalar(), p.Array(slope).Float32s())
	// Output:
	// 0.7357 [-0.0732 0.0366 0.0366 0.1500 0.1500 -0.3000]
}

// An objective of one's own is a function of two nodes.
func ExampleObjective() {
	var logCosh objectives.Objective = func(output, target *graph.Node) *graph.Node {
		d := graph.Sub(output, target)
		return graph.Mean(graph.Sub(graph.Add(d, graph.Softplus(graph.Scale(d, -2))), graph.Softplus(graph.Fill(d, 0))))
	}
	var x, loss *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 2)
		loss = logCosh(x, graph.Fill(x, 0))
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
	copy(p.Array(x).Float64s(), []float64{1, -1})
	if err := p.Run(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("log cosh 1 = %.6f\n", p.Array(loss).Scalar())
	// Output:
	// log cosh 1 = 0.433781
}

// Objectives can be chosen by a flag.
func ExampleByName() {
	_, err := objectives.ByName("cross-entropy")
	fmt.Println(err)
	_, err = objectives.ByName("crossentropy")
	fmt.Println(err != nil)
	for _, e := range objectives.Entries() {
		if e.Name == "focal" {
			fmt.Printf("%s: %s (%s)\n", e.Name, e.Summary, e.Paper)
		}
	}
	// Output:
	// <nil>
	// true
	// focal: cross-entropy that counts easy examples less (T. Lin et al. 2017, 1708.02002)
}
