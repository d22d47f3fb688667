package graph_test

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// SoftThreshold moves x towards 0 by the threshold, and to 0 what is nearer: the proximal operator of the L1 norm. It
// is an op made outside package graph: one Primitive holds its types, its value and both rules.
func SoftThreshold(x *graph.Node, threshold float64) *graph.Node {
	// The derivative is 1 outside the threshold and 0 inside, in both directions.
	pass := func(x, d *graph.Node) *graph.Node {
		return graph.Mul(d, graph.Greater(graph.Abs(x), graph.Const(x, threshold)))
	}
	return graph.Apply(&graph.Primitive{
		Name:  "soft_threshold",
		Attrs: threshold, // tells two thresholds apart
		Type: func(in []graph.Type) (graph.Type, error) {
			if !in[0].IsFloat() {
				return graph.Type{}, graph.Fail("soft_threshold", "x", "float32 or float64", in[0])
			}
			return in[0], nil
		},
		Kernel: func(out graph.Type, in []graph.Type) (graph.Kernel, error) {
			if out.DType == graph.Float32 {
				return softThreshold[float32](threshold), nil
			}
			return softThreshold[float64](threshold), nil
		},
		VJP:         func(y, dy *graph.Node, x []*graph.Node) []*graph.Node { return []*graph.Node{pass(x[0], dy)} },
		JVP:         func(y *graph.Node, x, dx []*graph.Node) *graph.Node { return pass(x[0], dx[0]) },
		Elementwise: true, // the result may be written over x
	}, x)
}

func softThreshold[T graph.Float](threshold float64) graph.Kernel {
	return func(out *graph.Array, in []*graph.Array) error {
		y := graph.Data[T](out)
		for i, v := range graph.Data[T](in[0]) {
			y[i] = T(math.Copysign(max(math.Abs(float64(v))-threshold, 0), float64(v)))
		}
		return nil
	}
}

func ExamplePrimitive() {
	var x, y, dx *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 4)
		y = SoftThreshold(x, 0.5)
		dx = graph.Grad(graph.Sum(graph.Square(y)), x)[0]
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := g.Compile(y, dx)
	if err != nil {
		fmt.Println(err)
		return
	}
	copy(p.Array(x).Float32s(), []float32{-2, -0.25, 0.25, 1})
	if err := p.Run(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Array(y))
	fmt.Println(p.Array(dx))
	// Output:
	// float32 [4] [-1.5 -0 0 0.5]
	// float32 [4] [-3 -0 0 1]
}
