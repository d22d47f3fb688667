package layers

import (
	"github.com/harpe-ml/harpe/graph"
)

// A Medium turns numbers into other numbers in a way that nobody has to know: a physical system that is measured, or its
// simulation. Nothing can be differentiated through it. As part of a model a medium is told from another one by its
// value, so media that hold a device are pointers.
type Medium interface {
	// Outputs is how many numbers are measured of an example of so many inputs.
	Outputs(inputs int) int
	// Open prepares measurements of batches of one type, [batch, inputs]. Respond measures each row of in into the same
	// row of out, [batch, outputs], of in's element type. What is opened is used by one program, one call at a time;
	// several programs may be open.
	Open(in graph.Type) (respond func(out, in *graph.Array) error, err error)
}

// BlackBox is the response of a medium to each flattened example: [batch, ...] to [batch, outputs]. Rules that need a
// derivative through it are refused with an *graph.Error that names it; see rules.PhysicalForwardForward for one that
// needs none.
type BlackBox struct {
	Medium Medium
	Name   string // in errors; "" means "black box"
}

// Apply makes the response's node.
func (b BlackBox) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	name := or(b.Name, "black box")
	if b.Medium == nil {
		panic(graph.Fail(name, "Medium", "a medium", "nil"))
	}
	refuse := func() {
		panic(graph.Fail(name, "derivative", "none: a medium is not differentiable", "a request for one"))
	}
	return graph.Apply(&graph.Primitive{
		Name:  name,
		Attrs: struct{ Medium Medium }{b.Medium},
		Type: func(in []graph.Type) (graph.Type, error) {
			if len(in[0].Shape) != 2 || !in[0].IsFloat() {
				return graph.Type{}, graph.Fail(name, "x", "numbers [batch, inputs]", in[0])
			}
			n := b.Medium.Outputs(in[0].Shape[1])
			if n < 1 {
				return graph.Type{}, graph.Fail(name, "Outputs", "at least 1", n)
			}
			return graph.Type{DType: in[0].DType, Shape: []int{in[0].Shape[0], n}}, nil
		},
		Kernel: func(_ graph.Type, in []graph.Type) (graph.Kernel, error) {
			respond, err := b.Medium.Open(in[0])
			if err != nil {
				return nil, err
			}
			return func(out *graph.Array, in []*graph.Array) error { return respond(out, in[0]) }, nil
		},
		VJP: func(_, _ *graph.Node, _ []*graph.Node) []*graph.Node { refuse(); return nil },
		JVP: func(_ *graph.Node, _, _ []*graph.Node) *graph.Node { refuse(); return nil },
	}, graph.Flatten(x))
}
