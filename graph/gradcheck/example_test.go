package gradcheck_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// An op of one's own, whose reverse rule forgets a factor.
func ExampleVerify() {
	quartic := &graph.Primitive{
		Name: "quartic",
		Type: func(in []graph.Type) (graph.Type, error) { return in[0], nil },
		Kernel: func(graph.Type, []graph.Type) (graph.Kernel, error) {
			return func(out *graph.Array, in []*graph.Array) error {
				for i := range out.Size() {
					x := in[0].At(i)
					out.Set(i, x*x*x*x)
				}
				return nil
			}, nil
		},
		VJP: func(y, dy *graph.Node, x []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.Mul(dy, graph.Mul(x[0], graph.Square(x[0])))}
		},
		JVP: func(y *graph.Node, x, dx []*graph.Node) *graph.Node {
			return graph.Scale(graph.Mul(dx[0], graph.Mul(x[0], graph.Square(x[0]))), 4)
		},
	}
	f := func(s *graph.Scope, x []*graph.Node) *graph.Node { return graph.Apply(quartic, x[0]) }
	err := gradcheck.Options{FirstOrder: true}.Verify(f, graph.ArrayOf([]float64{1}))
	fmt.Println(err != nil)
	fmt.Println(gradcheck.Verify(func(_ *graph.Scope, x []*graph.Node) *graph.Node {
		return graph.Softmax(graph.MatMul(x[0], x[1]), -1)
	}, gradcheck.Normal(1, 3, 4), gradcheck.Normal(2, 4, 5)))
	// Output:
	// true
	// <nil>
}
