package objectives

import (
	"fmt"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(
		Entry{Name: "cross-entropy", Objective: CrossEntropy,
			Summary: "negative log-likelihood of the label under the softmax of the logits",
			Formula: "-log p_y", Paper: "J. Bridle 1990", Use: "classes; the default"},
		Entry{Name: "nll", Objective: NLL,
			Summary: "negative log-likelihood of the label for an output of log-probabilities",
			Formula: "-x_y", Paper: "J. Bridle 1990", Use: "outputs that are log-probabilities"},
		Entry{Name: "focal", Objective: Focal,
			Summary: "cross-entropy that counts easy examples less",
			Formula: "-(1-p_y)² log p_y", Paper: "T. Lin et al. 2017, 1708.02002", Use: "many easy examples, dense prediction"},
		Entry{Name: "multi-margin", Objective: MultiMargin,
			Summary: "hinge loss of the margins to all other classes",
			Formula: "1/C Σ_{j≠y} max(0, 1 - x_y + x_j)", Paper: "K. Crammer, Y. Singer 2001", Use: "margins rather than probabilities"},
		Entry{Name: "bce-with-logits", Objective: BCEWithLogits,
			Summary: "binary cross-entropy of logits",
			Formula: "-y log p - (1-y) log(1-p), p = sigmoid(x)", Paper: "D. Cox 1958", Use: "yes or no, several labels at once"},
		Entry{Name: "kl-div", Objective: KLDiv,
			Summary: "divergence of the target from an output of log-probabilities",
			Formula: "Σ y (log y - x)", Paper: "S. Kullback, R. Leibler 1951", Use: "soft targets, distillation"},
	)
}

// CrossEntropy is CrossEntropyOptions{}.Loss: the mean of -log softmax(output)[label].
func CrossEntropy(output, target *graph.Node) *graph.Node {
	return CrossEntropyOptions{}.Loss(output, target)
}

// CrossEntropyOptions are the settings of the cross-entropy of logits.
type CrossEntropyOptions struct {
	LabelSmoothing float64   // in [0, 1]: this part of the target is spread evenly over all classes
	ClassWeights   []float64 // one for each class; nil means 1
	Ignore         []int     // labels that do not count; nil means -100, as in PyTorch; for Int targets only
	Axis           int       // of the classes in the output; 0 means 1, -1 the last one
	Reduction      Reduction
}

// Loss is -Σ_c w_c t_c log softmax(output)_c for output [batch, classes, ...] and either labels, Int [batch, ...], or
// probabilities t of the output's type and shape. The mean of labelled losses is weighted, Σ loss / Σ w_label, and 0 if
// every label is ignored (PyTorch: NaN); that of losses of probabilities is over the batch. A label that is neither a
// class nor ignored is an error of the run.
func (o CrossEntropyOptions) Loss(output, target *graph.Node) *graph.Node {
	axis := classAxis("cross_entropy", output, o.Axis)
	return o.ofLogProbabilities("cross_entropy", logSoftmax(output, axis), target, axis)
}

// NLL is NLLOptions{}.Loss: the mean of -output[label].
func NLL(output, target *graph.Node) *graph.Node { return NLLOptions{}.Loss(output, target) }

// NLLOptions are the settings of the negative log-likelihood, as in CrossEntropyOptions.
type NLLOptions struct {
	ClassWeights []float64
	Ignore       []int
	Axis         int
	Reduction    Reduction
}

// Loss is the cross-entropy of an output that holds log-probabilities, otherwise as CrossEntropyOptions.Loss.
func (o NLLOptions) Loss(output, target *graph.Node) *graph.Node {
	c := CrossEntropyOptions{ClassWeights: o.ClassWeights, Ignore: o.Ignore, Axis: o.Axis, Reduction: o.Reduction}
	return c.ofLogProbabilities("nll", output, target, classAxis("nll", output, o.Axis))
}

func (o CrossEntropyOptions) ofLogProbabilities(op string, logp, target *graph.Node, axis int) *graph.Node {
	shape := graph.ShapeOf(logp)
	classes := shape[axis]
	if !(o.LabelSmoothing >= 0 && o.LabelSmoothing <= 1) {
		panic(graph.Fail(op, "LabelSmoothing", "0 to 1", o.LabelSmoothing))
	}
	weights := vector(op, "ClassWeights", logp, o.ClassWeights, classes, len(shape), axis)
	weighted := logp
	if weights != nil {
		weighted = graph.Mul(logp, weights)
	}
	if areProbabilities(op, logp, target, axis) {
		if o.Ignore != nil {
			panic(graph.Fail(op, "Ignore", "nil for a target of probabilities", o.Ignore))
		}
		target = graph.Shift(graph.Scale(target, 1-o.LabelSmoothing), o.LabelSmoothing/float64(classes))
		return o.Reduction.of(op, graph.Neg(graph.Sum(graph.Mul(target, weighted), axis)))
	}
	l := labels(op, logp, target, axis, o.Ignore)
	weight := l.valid
	if weights != nil {
		weight = graph.Mul(weight, graph.Take(graph.Reshape(weights, classes), l.safe, 0))
	}
	loss := graph.Neg(graph.Mul(weight, l.only(l.pick(logp))))
	if e := o.LabelSmoothing; e > 0 {
		even := l.only(graph.Sum(weighted, axis))
		loss = graph.Sub(graph.Scale(loss, 1-e), graph.Scale(even, e/float64(classes)))
	}
	if o.Reduction != ReduceMean {
		return o.Reduction.of(op, loss)
	}
	return graph.Div(graph.Sum(loss), keepPositive(graph.Sum(weight)))
}

// Focal is FocalOptions{}.Loss.
func Focal(output, target *graph.Node) *graph.Node { return FocalOptions{}.Loss(output, target) }

// FocalOptions are the settings of the focal loss.
type FocalOptions struct {
	Gamma        float64   // how little easy examples count; 0 means 2, near 0, as 1e-300, it is cross-entropy
	ClassWeights []float64 // the paper's alpha, one for each class; nil means 1
	Axis         int       // of the classes in the output; 0 means 1, -1 the last one
	Reduction    Reduction
}

// Loss is -w (1-p)^Gamma log p with p = softmax(output)[label], for output [batch, classes, ...] of at least two classes
// and labels Int [batch, ...] (T. Lin et al. 2017, arXiv 1708.02002, eq. 5).
func (o FocalOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "focal"
	logp, others := o.parts(output, target)
	loss := graph.Neg(graph.Mul(graph.Exp(graph.Scale(others, or(o.Gamma, 2))), logp))
	if w := vector(op, "ClassWeights", output, o.ClassWeights, graph.ShapeOf(output)[classAxis(op, output, o.Axis)], 1, 0); w != nil {
		loss = graph.Mul(loss, graph.Take(w, target, 0))
	}
	return o.Reduction.of(op, loss)
}

// parts are log p and log(1-p) of the labels. The second is the log-sum-exp of the other classes: exact near p = 1, and
// finite there.
func (o FocalOptions) parts(output, target *graph.Node) (logp, others *graph.Node) {
	const op = "focal"
	axis := classAxis(op, output, o.Axis)
	needClasses(op, output, axis)
	l := labels(op, output, target, axis, []int{})
	all := logSoftmax(output, axis)
	return l.pick(all), graph.LogSumExp(graph.Where(l.hot(), graph.Const(all, math.Inf(-1)), all), axis)
}

// MultiMargin is MultiMarginOptions{}.Loss.
func MultiMargin(output, target *graph.Node) *graph.Node {
	return MultiMarginOptions{}.Loss(output, target)
}

// MultiMarginOptions are the settings of the multi-class hinge loss.
type MultiMarginOptions struct {
	Margin       float64   // 0 means 1
	Squared      bool      // square each term
	ClassWeights []float64 // one for each class; nil means 1
	Reduction    Reduction
}

// Loss is w_y/classes · Σ_{j≠y} max(0, Margin - x_y + x_j) for output x [batch, classes] and labels y, Int [batch]
// (K. Crammer, Y. Singer 2001).
func (o MultiMarginOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "multi_margin"
	shape := graph.ShapeOf(output)
	if len(shape) != 2 {
		panic(graph.Fail(op, "output", "[batch, classes]", graph.TypeOf(output)))
	}
	l := labels(op, output, target, 1, []int{})
	own := graph.KeepDims(l.pick(output), shape, 1)
	term := graph.ReLU(graph.Shift(graph.Sub(output, own), or(o.Margin, 1)))
	if o.Squared {
		term = graph.Square(term)
	}
	loss := graph.Scale(graph.Sum(graph.Mul(term, graph.OneMinus(l.hot())), 1), 1/float64(max(shape[1], 1)))
	if w := vector(op, "ClassWeights", output, o.ClassWeights, shape[1], 1, 0); w != nil {
		loss = graph.Mul(loss, graph.Take(w, target, 0))
	}
	return o.Reduction.of(op, loss)
}

// BCEWithLogits is BCEWithLogitsOptions{}.Loss.
func BCEWithLogits(output, target *graph.Node) *graph.Node {
	return BCEWithLogitsOptions{}.Loss(output, target)
}

// BCEWithLogitsOptions are the settings of the binary cross-entropy of logits.
type BCEWithLogitsOptions struct {
	PositiveWeights []float64 // of the positive answers, one for each place of the last axis; nil means 1
	Reduction       Reduction
}

// Loss is -w t log sigmoid(x) - (1-t) log(1 - sigmoid(x)) for logits x of any shape and targets t in [0, 1] of the same.
func (o BCEWithLogitsOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "bce_with_logits"
	needSame(op, output, "target", target)
	positive := graph.Mul(target, graph.Softplus(graph.Neg(output)))
	if o.PositiveWeights != nil {
		shape := graph.ShapeOf(output)
		if len(shape) == 0 {
			panic(graph.Fail(op, "output", "at least one axis, for PositiveWeights", graph.TypeOf(output)))
		}
		last := len(shape) - 1
		positive = graph.Mul(positive, vector(op, "PositiveWeights", output, o.PositiveWeights, shape[last], 1, 0))
	}
	negative := graph.Mul(graph.OneMinus(target), graph.Softplus(output))
	return o.Reduction.of(op, graph.Add(positive, negative))
}

// KLDiv is KLDivOptions{Reduction: ReduceBatchMean}.Loss: the mean divergence of the batch's distributions.
func KLDiv(output, target *graph.Node) *graph.Node {
	return KLDivOptions{Reduction: ReduceBatchMean}.Loss(output, target)
}

// KLDivOptions are the settings of the Kullback-Leibler divergence. As in PyTorch ReduceMean is over all elements, not
// distributions.
type KLDivOptions struct {
	LogTarget bool // the target holds log-probabilities
	Reduction Reduction
}

// Loss is Σ t (log t - output) for log-probabilities output and probabilities t of the same shape, [batch, ...], with
// 0 log 0 = 0: KL(target, e^output).
func (o KLDivOptions) Loss(output, target *graph.Node) *graph.Node {
	needSame("kl_div", output, "target", target)
	p, logp := target, target
	if o.LogTarget {
		p = graph.Exp(target)
	} else {
		logp = graph.Log(keepPositive(target))
	}
	return o.Reduction.of("kl_div", graph.Mul(p, graph.Sub(logp, output)))
}

// logSoftmax is graph.LogSoftmax of logits shifted to maximum 0, so that nothing is lost to cancellation.
func logSoftmax(logits *graph.Node, axis int) *graph.Node {
	m := graph.KeepDims(graph.Max(logits, axis), graph.ShapeOf(logits), axis)
	return graph.LogSoftmax(graph.Sub(logits, graph.Detach(m)), axis)
}

// classAxis is the axis of the classes, counted from the front; 0 means 1.
func classAxis(op string, output *graph.Node, axis int) int {
	n := len(graph.ShapeOf(output))
	if n < 2 || !graph.TypeOf(output).IsFloat() {
		panic(graph.Fail(op, "output", "[batch, classes, ...] of a floating-point type", graph.TypeOf(output)))
	}
	a := axis
	if a == 0 {
		a = 1
	}
	if a < 0 {
		a += n
	}
	if a < 1 || a >= n {
		panic(graph.Fail(op, "Axis", fmt.Sprintf("0, for 1, to %d, or %d to -1", n-1, 1-n), axis))
	}
	return a
}

// labelType is the type of the labels of an output: its shape without the classes.
func labelType(output *graph.Node, axis int) graph.Type {
	return graph.Type{DType: graph.Int, Shape: slices.Delete(slices.Clone(graph.ShapeOf(output)), axis, axis+1)}
}

// areProbabilities tells a target of probabilities from one of labels, and panics if it is neither.
func areProbabilities(op string, output, target *graph.Node, axis int) bool {
	got, like, labels := graph.TypeOf(target), graph.TypeOf(output), labelType(output, axis)
	if !got.Equal(like) && !got.Equal(labels) {
		panic(graph.Fail(op, "target", fmt.Sprintf("labels, %v, or probabilities, %v", labels, like), got))
	}
	return got.Equal(like)
}

// labelled is a node of labels seen from an output with a class axis.
type labelled struct {
	safe  *graph.Node // the labels, 0 where they are ignored
	valid *graph.Node // 1 where they count, 0 where they are ignored, in the output's type
	kept  []int       // the output's shape with 1 class
	axis  int
	total int // classes
}

// labels checks labels against an output and finds the ignored ones; nil ignores -100.
func labels(op string, output, target *graph.Node, axis int, ignore []int) labelled {
	want := labelType(output, axis)
	if got := graph.TypeOf(target); !want.Equal(got) {
		panic(graph.Fail(op, "target", fmt.Sprintf("labels, %v", want), got))
	}
	shape := graph.ShapeOf(output)
	if ignore == nil {
		ignore = []int{-100}
	}
	l := labelled{safe: target, kept: slices.Clone(shape), axis: axis, total: shape[axis]}
	l.kept[axis] = 1
	l.valid = graph.BroadcastTo(graph.Const(output, 1), want.Shape...)
	number := graph.Cast(target, output.Dtype())
	for _, i := range ignore {
		l.valid = graph.Mul(l.valid, graph.NotEqual(number, graph.Const(number, float64(i))))
	}
	if len(ignore) > 0 {
		l.safe = graph.Where(l.valid, target, graph.Const(target, 0))
	}
	return l
}

// pick is x, of the output's shape, at the labels.
func (l labelled) pick(x *graph.Node) *graph.Node {
	return graph.Reshape(graph.TakeAlong(x, graph.Reshape(l.safe, l.kept...), l.axis), graph.ShapeOf(l.safe)...)
}

// only is x where the labels count and 0 elsewhere.
func (l labelled) only(x *graph.Node) *graph.Node { return graph.Where(l.valid, x, graph.Const(x, 0)) }

// hot is 1 at the labels and 0 elsewhere, in the output's shape.
func (l labelled) hot() *graph.Node {
	ones := graph.BroadcastTo(graph.Const(l.valid, 1), l.kept...)
	return graph.PutAlong(ones, graph.Reshape(l.safe, l.kept...), l.axis, l.total)
}
