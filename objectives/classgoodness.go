package objectives

import "github.com/harpe-ml/harpe/graph"

// ClassGoodness is the mean squared response of each class: z [batch, classes, ...] to [batch, classes], at least 0. With
// cross-entropy on top, -g_y + log Σ_c exp(g_c), it is the local loss of the scalable forward-forward algorithm
// (A. Krutsylo 2025, arXiv 2501.03176).
func ClassGoodness(z *graph.Node) *graph.Node {
	shape := graph.ShapeOf(z)
	if len(shape) < 2 {
		panic(graph.Fail("class_goodness", "responses", "[batch, classes, ...]", graph.TypeOf(z)))
	}
	if len(shape) == 2 {
		return graph.Square(z)
	}
	per := graph.TypeOf(z).Size() / max(shape[0]*shape[1], 1)
	return graph.Mean(graph.Square(graph.Reshape(z, shape[0], shape[1], per)), 2)
}
