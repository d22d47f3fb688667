package graph_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// runOnce compiles nodes and runs the program once; input is the value of the node x.
func runOnce(g *graph.Graph, x *graph.Node, input []float64, nodes ...*graph.Node) *graph.Program {
	p, err := g.Compile(nodes...)
	if err != nil {
		panic(err)
	}
	copy(p.Array(x).Float64s(), input)
	if err := p.Run(); err != nil {
		panic(err)
	}
	return p
}

// A model, its loss and its gradient: nodes of one graph, compiled to one program.
func Example() {
	params := &graph.Params{Seed: 1, DType: graph.Float64}
	var x, loss, dw *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 2, 2)
		w := s.Param("w", graph.Ones(), 2, 1)
		loss = graph.Mean(graph.Square(graph.MatMul(x, w)))
		dw = graph.Grad(loss, w)[0]
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p := runOnce(g, x, []float64{1, 2, 3, 4}, loss, dw)
	fmt.Println(p.Array(loss).Scalar(), p.Array(dw).Float64s())
	// Output: 29 [24 34]
}

// A shape mistake is an error of Build that says which op wanted what of which operand.
func ExampleBuild() {
	_, err := graph.Build(nil, func(s *graph.Scope) {
		x := s.Input("x", graph.Float32, 32, 8)
		graph.MatMul(x, s.Param("w", graph.Zeros(), 10, 4))
	})
	fmt.Println(err)
	// Output: matmul: operand 1: want inner size 8, to match [32 8], got inner size 10 of [10 4] (operands: x float32 [32 8]; param/w float32 [10 4])
}

// Forward mode: the value and its derivative along a direction, in one pass.
func ExampleJVP() {
	var x, y, dy *graph.Node
	g, _ := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 2)
		y = graph.Sum(graph.Mul(x, graph.Square(x))) // x³
		dy = graph.JVP([]*graph.Node{y}, []*graph.Node{x}, []*graph.Node{graph.Fill(x, 1)})[0]
	})
	p := runOnce(g, x, []float64{1, 2}, y, dy)
	fmt.Println(p.Array(y).Scalar(), p.Array(dy).Scalar())
	// Output: 9 15
}

// Derivatives are nodes, so they can be derived again: the third derivative of x⁵.
func ExampleGrad() {
	var x, d *graph.Node
	g, _ := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64)
		d = graph.Mul(x, graph.Square(graph.Square(x)))
		for range 3 {
			d = graph.Grad(d, x)[0]
		}
	})
	fmt.Println(runOnce(g, x, []float64{2}, d).Array(d).Scalar())
	// Output: 240
}

// A Hessian-vector product, without the Hessian: the curvature of x₀²x₁ along (1, 0) at (3, 5).
func ExampleHVP() {
	var x, h *graph.Node
	g, _ := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 2)
		x0, x1 := graph.Slice(x, 0, 0, 1, 1), graph.Slice(x, 0, 1, 2, 1)
		along := graph.Literal(x, graph.ArrayOf([]float64{1, 0}, 2))
		h = graph.HVP(graph.Sum(graph.Mul(graph.Square(x0), x1)), []*graph.Node{x}, []*graph.Node{along})[0]
	})
	fmt.Println(runOnce(g, x, []float64{3, 5}, h).Array(h).Float64s())
	// Output: [10 6]
}

// Rounding has no derivative; with StraightThrough it has that of the identity.
func ExampleStraightThrough() {
	var x, y, dx *graph.Node
	g, _ := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 2)
		y = graph.StraightThrough(graph.Round(x), x)
		dx = graph.Grad(graph.Sum(y), x)[0]
	})
	p := runOnce(g, x, []float64{0.2, 1.7}, y, dx)
	fmt.Println(p.Array(y).Float64s(), p.Array(dx).Float64s())
	// Output: [0 2] [1 1]
}

// Cut splits a model at its blocks; each piece is a function that can be applied again on an input of its own.
func ExampleGraph_Cut() {
	var x, y *graph.Node
	g, _ := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 4, 3)
		y = x
		for i, units := range []int{5, 2} {
			y = s.Block(fmt.Sprintf("layer%d", i+1), y, func(s *graph.Scope, h *graph.Node) *graph.Node {
				in := graph.ShapeOf(h)[1]
				return graph.Tanh(graph.MatMul(h, s.Param(fmt.Sprintf("w%d", i+1), graph.Glorot(in, units), in, units)))
			})
		}
	})
	pieces, err := g.Cut(x, y)
	fmt.Println(err)
	for _, p := range pieces {
		fmt.Println(p.Name, p.In.Shape, "to", p.Out.Shape, p.Params[0].Name)
	}
	// Output:
	// <nil>
	// layer1 [4 3] to [4 5] w1
	// layer2 [4 5] to [4 2] w2
}
