package layers

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// ClassResponses is the auxiliary head of a block in the scalable forward-forward algorithm (A. Krutsylo 2025, arXiv
// 2501.03176): a convolution without bias that keeps the size and has one channel a class, [batch, channels, height,
// width] to [batch, classes, height, width], with parameter "weight" [classes, channels, kernel, kernel]; or, of rows of
// features [batch, features], a product that gives each class a group of responses, [batch, classes, Group], with
// "weight" [features, classes·Group]. Its weights must not begin at 0: a squared response would have no derivative.
type ClassResponses struct {
	Classes int
	Kernel  int     // odd; 0 means 1
	Group   int     // responses a class, of rows; 0 means 8
	Scale   float64 // of the initial weights, in standard deviations 1/√fan-in; 0 means 1
	Name    string
}

// Apply makes the responses' node.
func (l ClassResponses) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	const op = "class_responses"
	shape, kernel := graph.ShapeOf(x), or(l.Kernel, 1)
	needPositive(op, "Classes", l.Classes)
	if kernel < 1 || kernel%2 == 0 {
		panic(graph.Fail(op, "Kernel", "an odd number", kernel))
	}
	if l.Scale < 0 || l.Group < 0 {
		panic(graph.Fail(op, "Scale, Group", "at least 0", fmt.Sprintf("%v, %d", l.Scale, l.Group)))
	}
	s = s.Layer("responses", l.Name)
	scaled := func(fanIn int) graph.Init {
		return func(seed uint64, name string, a *graph.Array) {
			graph.LeCun(fanIn)(seed, name, a)
			for i := range a.Size() {
				a.Set(i, a.At(i)*or(l.Scale, 1))
			}
		}
	}
	switch len(shape) {
	case 2:
		group := or(l.Group, 8)
		w := s.Param("weight", scaled(shape[1]), shape[1], l.Classes*group)
		return graph.Reshape(graph.MatMul(x, w), shape[0], l.Classes, group)
	case 4:
		w := s.Param("weight", scaled(shape[1]*kernel*kernel), l.Classes, shape[1], kernel, kernel)
		return graph.Conv2D(x, w, graph.ConvOptions{Padding: Both(kernel / 2)})
	}
	panic(graph.Fail(op, "input", "[batch, features] or [batch, channels, height, width]", graph.TypeOf(x)))
}
