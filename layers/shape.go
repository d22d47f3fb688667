package layers

import (
	"slices"

	"github.com/harpe-ml/harpe/graph"
)

// Flatten keeps the batch axis and joins the others: [batch, c, h, w] to [batch, c·h·w].
type Flatten struct{}

// Apply makes the result's node.
func (Flatten) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Flatten(x) }

// Reshape keeps the batch axis and gives each example another shape; one axis may be -1, which takes what is left.
type Reshape struct {
	Shape []int // of one example
}

// Apply makes the result's node.
func (r Reshape) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	if len(graph.ShapeOf(x)) == 0 {
		panic(graph.Fail("reshape", "input", "[batch, ...]", graph.TypeOf(x)))
	}
	return graph.Reshape(x, slices.Concat(graph.ShapeOf(x)[:1], r.Shape)...)
}

// LastStep takes the last step of a sequence: [batch, time, ...] to [batch, ...].
type LastStep struct{}

// Apply makes the result's node.
func (LastStep) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	shape := graph.ShapeOf(x)
	if len(shape) < 2 || shape[1] == 0 {
		panic(graph.Fail("last_step", "input", "[batch, time, ...] with at least one step", graph.TypeOf(x)))
	}
	return step(x, shape[1]-1)
}

// step is x[:, t].
func step(x *graph.Node, t int) *graph.Node {
	shape := graph.ShapeOf(x)
	return graph.Reshape(graph.Slice(x, 1, t, t+1, 1), slices.Delete(slices.Clone(shape), 1, 2)...)
}
