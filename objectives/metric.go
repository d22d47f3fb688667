package objectives

import "github.com/harpe-ml/harpe/graph"

// Accuracy is AccuracyOptions{}.Metric: the part of the labels that the largest logit names.
func Accuracy(output, target *graph.Node) *graph.Node {
	return AccuracyOptions{}.Metric(output, target)
}

// AccuracyOptions are the settings of the accuracy.
type AccuracyOptions struct {
	TopK   int   // an answer is right if the label is among the TopK largest logits; 0 means 1
	Ignore []int // labels that do not count; nil means -100
	Axis   int   // of the classes in the output; 0 means 1, -1 the last one
}

// Metric is the part of right answers, in [0, 1], for output [batch, classes, ...] and labels, Int [batch, ...], or
// probabilities of the output's type and shape, of which the largest is the label. Of equal logits the first is the
// larger; a NaN is never right; if no label counts the accuracy is 0. Its derivative is 0.
func (o AccuracyOptions) Metric(output, target *graph.Node) *graph.Node {
	const op = "accuracy"
	axis := classAxis(op, output, o.Axis)
	k := o.TopK
	if k == 0 {
		k = 1
	}
	if k < 1 {
		panic(graph.Fail(op, "TopK", "at least 1, or 0 for 1", o.TopK))
	}
	if areProbabilities(op, output, target, axis) {
		target = graph.ArgMax(target, axis)
	}
	l := labels(op, output, target, axis, o.Ignore)
	shape := graph.ShapeOf(output)
	own := graph.KeepDims(l.pick(output), shape, axis)
	larger := graph.OneMinus(graph.LessEqual(output, own))
	// The running sum of the one-hot label is 0 before the label.
	before := graph.OneMinus(graph.CumSum(l.hot(), axis))
	rank := graph.Sum(graph.Add(larger, graph.Mul(before, graph.Equal(output, own))), axis)
	hit := graph.Mul(l.valid, graph.Less(rank, graph.Const(rank, float64(k))))
	return graph.Div(graph.Sum(hit), keepPositive(graph.Sum(l.valid)))
}
