package objectives

import "github.com/harpe-ml/harpe/graph"

func init() {
	Register(
		Entry{Name: "squentropy", Objective: Squentropy,
			Summary: "cross-entropy plus the mean squared logit of the wrong classes",
			Formula: "-log p_y + 1/(C-1) Σ_{j≠y} x_j²", Paper: "L. Hui et al. 2023, 2302.03952", Use: "instead of cross-entropy, over-confident nets"},
		Entry{Name: "rescaled-square", Objective: RescaledSquare,
			Summary: "squared error of the logits to M for the label and 0 for the others",
			Formula: "1/C [(x_y - 1)² + Σ_{j≠y} x_j²]", Paper: "L. Hui, M. Belkin 2020, 2006.07322", Use: "few classes"},
	)
}

// Squentropy is SquentropyOptions{}.Loss.
func Squentropy(output, target *graph.Node) *graph.Node {
	return SquentropyOptions{}.Loss(output, target)
}

// SquentropyOptions are the settings of squentropy.
type SquentropyOptions struct {
	SquareWeight float64 // of the squared logits; 0 means 1, the paper's loss
	Axis         int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction    Reduction
}

// Loss is -log p_y + SquareWeight/(classes-1) Σ_{j≠y} x_j² with p = softmax(x), for logits x [batch, classes, ...] of at
// least two classes and labels Int [batch, ...] (L. Hui, M. Belkin, S. Wright 2023, arXiv 2302.03952). It takes
// the learning rates of cross-entropy. Unlike that it is not the same for logits that differ by a constant.
func (o SquentropyOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "squentropy"
	axis := classAxis(op, output, o.Axis)
	needClasses(op, output, axis)
	l := labels(op, output, target, axis, []int{})
	entropy := graph.Neg(l.pick(logSoftmax(output, axis)))
	square := graph.Sum(graph.Square(l.others(output)), axis)
	wrong := float64(l.total - 1)
	return o.Reduction.of(op, graph.Add(entropy, graph.Scale(square, or(o.SquareWeight, 1)/wrong)))
}

// RescaledSquare is RescaledSquareOptions{}.Loss.
func RescaledSquare(output, target *graph.Node) *graph.Node {
	return RescaledSquareOptions{}.Loss(output, target)
}

// RescaledSquareOptions are the settings of the squared loss of logits. From about 40 classes on both want tuning.
type RescaledSquareOptions struct {
	K         float64 // weight of the label; 0 means 1
	M         float64 // logit aimed at for the label; 0 means 1
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is 1/classes [K (x_y - M)² + Σ_{j≠y} x_j²] for logits x [batch, classes, ...] and labels Int [batch, ...] (L. Hui,
// M. Belkin 2020, arXiv 2006.07322).
func (o RescaledSquareOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "rescaled_square"
	axis := classAxis(op, output, o.Axis)
	l := labels(op, output, target, axis, []int{})
	own := graph.Scale(graph.Square(graph.Shift(l.pick(output), -or(o.M, 1))), or(o.K, 1))
	rest := graph.Sum(graph.Square(l.others(output)), axis)
	return o.Reduction.of(op, graph.Scale(graph.Add(own, rest), 1/float64(max(l.total, 1))))
}

// needClasses panics unless there are at least two classes.
func needClasses(op string, output *graph.Node, axis int) {
	if graph.ShapeOf(output)[axis] < 2 {
		panic(graph.Fail(op, "output", "at least two classes", graph.TypeOf(output)))
	}
}

// others is x, of the output's shape, with 0 at the labels.
func (l labelled) others(x *graph.Node) *graph.Node {
	return graph.Where(l.hot(), graph.Const(x, 0), x)
}
