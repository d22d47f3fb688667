package graph_test

import (
	"bytes"
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
)

// The drawing of a perceptron, cut as local rules cut it, for Graphviz; SVG makes the picture itself.
func ExampleGraph_Draw() {
	var x, y *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 32, 64)
		y = models.MLP{Hidden: []int{100}, Classes: 10}.Apply(s, x)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	pieces, err := g.Cut(x, y)
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := g.Draw(graph.DrawOptions{Cut: pieces}, y)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(d.DOT())
	// Output:
	// digraph {
	// 	node [shape=box, style=rounded, fontname=sans, fontsize=11]
	// 	edge [fontname=sans, fontsize=9]
	// 	n0 [label="x"]
	// 	subgraph cluster1 {
	// 		label="block1" style="rounded,bold"
	// 		n1 [label="dense1\nmatmul, add, relu\nweight 64×100\nbias 100"]
	// 	}
	// 	subgraph cluster2 {
	// 		label="block2" style="rounded,bold"
	// 		n2 [label="dense2\nmatmul, add\nweight 100×10\nbias 10\n→ 32×10"]
	// 	}
	// 	n0 -> n1 [label="32×64"]
	// 	n1 -> n2 [label="32×100", style=dashed]
	// }
}

// The tensors as PyTorch has them: torch.Save writes what load_state_dict takes, torch.Load reads a saved state_dict.
func ExampleGraph_Torch() {
	g, err := graph.Build(nil, func(s *graph.Scope) {
		layers.Sequential{
			layers.Dense{Units: 8}, layers.BatchNorm{}, layers.ReLU{}, layers.Dense{Units: 3},
		}.Apply(s, s.Input("x", graph.Float32, 16, 4))
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	torch, err := g.Torch("0", "1", "3") // nn.Sequential(Linear, BatchNorm1d, ReLU, Linear)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range torch.Tensors {
		fmt.Println(t.Param.Name, t.Param.Value.Shape, "is", t.Name, "transposed:", t.Transposed)
	}
	// Output:
	// dense1/weight [4 8] is 0.weight transposed: true
	// dense1/bias [8] is 0.bias transposed: false
	// batchnorm1/weight [8] is 1.weight transposed: false
	// batchnorm1/bias [8] is 1.bias transposed: false
	// batchnorm1/running_mean [8] is 1.running_mean transposed: false
	// batchnorm1/running_var [8] is 1.running_var transposed: false
	// dense2/weight [8 3] is 3.weight transposed: true
	// dense2/bias [3] is 3.bias transposed: false
}

// A file for numpy.load, and back.
func ExampleReadNPY() {
	var file bytes.Buffer
	if err := graph.ArrayOf([]float32{1, 2, 3, 4, 5, 6}, 2, 3).WriteNPY(&file); err != nil {
		fmt.Println(err)
		return
	}
	a, err := graph.ReadNPY(&file)
	fmt.Println(a, err)
	// Output:
	// float32 [2 3] [1 2 3 4 5 6] <nil>
}
