package layers_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// A model is a list of layers; sizes that follow from the input are not written.
func ExampleSequential() {
	model := layers.Sequential{
		layers.Conv2D{Filters: 8, Padding: layers.Both(1), Activation: layers.ReLU{}},
		layers.MaxPool2D{},
		layers.Flatten{},
		layers.Dense{Units: 10},
	}
	params := &graph.Params{Seed: 1}
	var logits *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		logits = model.Apply(s, s.Input("image", graph.Float32, 32, 1, 28, 28))
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("result", graph.ShapeOf(logits), "blocks", len(g.Blocks()))
	for p := range params.All() {
		fmt.Println(p.Name, p.Value.Shape)
	}
	// Output:
	// result [32 10] blocks 4
	// conv1/weight [8 1 3 3]
	// conv1/bias [8]
	// dense1/weight [1568 10]
	// dense1/bias [10]
}

// Highway mixes its input with a dense layer of it, by a trained gate: a layer of one's own.
type Highway struct{ Depth int }

func (h Highway) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	units := graph.ShapeOf(x)[1]
	for range h.Depth {
		gate := layers.Dense{Units: units, Activation: layers.Sigmoid{}}.Apply(s, x)
		body := layers.Dense{Units: units, Activation: layers.ReLU{}}.Apply(s, x)
		x = graph.Add(graph.Mul(gate, body), graph.Mul(graph.OneMinus(gate), x))
	}
	return x
}

// A model of one's own is a layer like any other.
func ExampleLayer() {
	model := layers.Sequential{layers.Dense{Units: 16}, Highway{Depth: 2}, layers.Dense{Units: 3}}
	var y *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) { y = model.Apply(s, s.Input("x", graph.Float32, 8, 4)) })
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(graph.ShapeOf(y), g.Params.Count(), "parameters in", len(g.Blocks()), "blocks")
	// Output: [8 3] 1219 parameters in 3 blocks
}

// A layer of one's own as a function.
func ExampleFunc() {
	film := layers.Func("film", func(s *graph.Scope, x *graph.Node) *graph.Node {
		c := graph.ShapeOf(x)[1]
		return graph.Add(graph.Mul(x, s.Param("scale", graph.Ones(), c)), s.Param("shift", graph.Zeros(), c))
	})
	params := &graph.Params{}
	_, err := graph.Build(params, func(s *graph.Scope) {
		layers.Sequential{film, layers.Tanh{}, film}.Apply(s, s.Input("x", graph.Float32, 4, 3))
	})
	for p := range params.All() {
		fmt.Println(p.Name, p.Value.Shape)
	}
	fmt.Println(err)
	// Output:
	// film1/scale [3]
	// film1/shift [3]
	// film2/scale [3]
	// film2/shift [3]
	// <nil>
}

// A mistake in a model is returned by graph.Build, with the layer's name and what it wanted.
func ExampleGroupNorm() {
	_, err := graph.Build(nil, func(s *graph.Scope) {
		layers.GroupNorm{Groups: 4}.Apply(s, s.Input("x", graph.Float32, 2, 6, 8, 8))
	})
	fmt.Println(err)
	// Output:
	// group_norm: Groups: want a divisor of the 6 channels, got 4
}
