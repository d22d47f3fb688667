package objectives

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	const paper = "D. Zhu et al. 2023, 2112.14869"
	Register(
		Entry{Name: "ldr-kl", Objective: LDRKL,
			Summary: "worst case over label weights near the uniform ones: cross-entropy of temperature 10 of scaled logits",
			Formula: "λ log 1/C Σ_k exp((x_k - x_y + c_k)/λ), mean |x| = 1", Paper: paper, Use: "wrong labels; with weight decay"},
		Entry{Name: "ldr-k", Objective: LDRK,
			Summary: "worst case over label weights of at most 1/K: the mean of the K = 2 largest margins",
			Formula: "1/K Σ_{k≤K} (x - x_y + c)_[k]", Paper: paper, Use: "errors among the first K count"},
		Entry{Name: "aldr-kl", Objective: ALDRKL,
			Summary: "LDR-KL with a temperature for each example, higher where the prediction is unsure",
			Formula: "max_λ ldr-kl(λ) - (λ - λ0)² α log C/(2 λ0)", Paper: paper, Use: "wrong labels"},
		Entry{Name: "crammer-singer", Objective: CrammerSinger,
			Summary: "hinge loss of the margin to the best other class",
			Formula: "max(0, 1 + max_{j≠y} x_j - x_y)", Paper: "K. Crammer, Y. Singer 2001", Use: "margins rather than probabilities"},
		Entry{Name: "weston-watkins", Objective: WestonWatkins,
			Summary: "sum of the hinge losses of the margins to all other classes",
			Formula: "Σ_{j≠y} max(0, 1 + x_j - x_y)", Paper: "J. Weston, C. Watkins 1998", Use: "margins rather than probabilities"},
	)
}

// Normalization is what is done to the scores of a label-distributionally robust loss first, so that its temperature
// means the same whatever their scale is.
type Normalization int

// The normalizations. Divisors are held above 1e-3: scores that shrink to nothing do not matter beyond that. Train
// normalized scores with weight decay.
const (
	NormalizeNone     Normalization = iota
	NormalizeSoftplus               // softplus(x) divided by its mean over the classes
	NormalizeL1                     // x divided by the mean of |x| over the classes
)

func (n Normalization) of(op string, x *graph.Node, axis int) *graph.Node {
	size := x
	switch n {
	case NormalizeNone:
		return x
	case NormalizeSoftplus:
		x = graph.Softplus(x)
		size = x
	case NormalizeL1:
		size = graph.Abs(x)
	default:
		panic(graph.Fail(op, "Normalization", "NormalizeNone, NormalizeSoftplus or NormalizeL1", int(n)))
	}
	mean := graph.Maximum(graph.Mean(size, axis), graph.Const(x, 1e-3))
	return graph.Div(x, graph.KeepDims(mean, graph.ShapeOf(x), axis))
}

// margins is x_k - x_y + margin[k≠y] for each class k.
func (l labelled) margins(x *graph.Node, margin float64) *graph.Node {
	own := graph.KeepDims(graph.Shift(l.pick(x), -margin), graph.ShapeOf(x), l.axis)
	m := graph.Sub(x, own)
	if margin == 0 {
		return m
	}
	return graph.Where(l.hot(), graph.Const(x, 0), m)
}

// LDRKL is LDRKLOptions{Lambda: 10, Margin: 0.1, Normalization: NormalizeL1}.Loss.
func LDRKL(output, target *graph.Node) *graph.Node {
	return LDRKLOptions{Lambda: 10, Margin: 0.1, Normalization: NormalizeL1}.Loss(output, target)
}

// LDRKLOptions are the settings of the label-distributionally robust loss with a Kullback-Leibler penalty.
type LDRKLOptions struct {
	Lambda        float64       // temperature: near 0 CrammerSinger, 1 cross-entropy, large the mean margin; 0 means 1
	Margin        float64       // c of the wrong classes
	Normalization Normalization // of the scores; the authors use NormalizeSoftplus, which without weight decay diverges
	Axis          int           // of the classes in the output; 0 means 1, -1 the last one
	Reduction     Reduction
}

// Loss is max_p Σ_k p_k (x_k - x_y + c_k) - Lambda KL(p, 1/C) over all distributions p, c_y = 0, which is Lambda log 1/C
// Σ_k exp((x_k - x_y + c_k)/Lambda): at Lambda 1 without margin the cross-entropy minus log C. For logits [batch,
// classes, ...] and labels Int [batch, ...] (D. Zhu, Y. Ying, T. Yang 2023, arXiv 2112.14869).
func (o LDRKLOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "ldr_kl"
	lambda := or(o.Lambda, 1)
	if !(lambda > 0 && lambda < math.Inf(1)) {
		panic(graph.Fail(op, "Lambda", "above 0, or 0 for 1", o.Lambda))
	}
	axis := classAxis(op, output, o.Axis)
	x := o.Normalization.of(op, output, axis)
	l := labels(op, x, target, axis, []int{})
	return o.Reduction.of(op, graph.Scale(logMeanExp(graph.Scale(l.margins(x, o.Margin), 1/lambda), axis), lambda))
}

// logMeanExp is log 1/n Σ e^x along an axis.
func logMeanExp(x *graph.Node, axis int) *graph.Node {
	return graph.Shift(graph.LogSumExp(x, axis), -math.Log(float64(graph.ShapeOf(x)[axis])))
}

// LDRK is LDRKOptions{Margin: 1}.Loss.
func LDRK(output, target *graph.Node) *graph.Node {
	return LDRKOptions{Margin: 1}.Loss(output, target)
}

// LDRKOptions are the settings of the label-distributionally robust loss whose label weights are at most 1/K.
type LDRKOptions struct {
	K             int           // 1 to the number of classes; 0 means 2
	Lambda        float64       // weight of the Kullback-Leibler penalty; 0 means none
	Margin        float64       // c of the wrong classes
	Normalization Normalization // of the scores
	Axis          int           // of the classes in the output; 0 means 1, -1 the last one
	Reduction     Reduction
}

// Loss is max_p Σ_k p_k m_k - Lambda KL(p, 1/C), m_k = x_k - x_y + c_k and c_y = 0, over the distributions p with p_k ≤
// 1/K, for logits [batch, classes, ...] and labels Int [batch, ...] (D. Zhu, Y. Ying, T. Yang 2023, arXiv 2112.14869).
// Without Lambda it is the mean of the K largest margins, CrammerSinger for K = 1; with K = 1 it is LDRKL; with K equal
// to the number of classes it is the mean margin.
func (o LDRKOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "ldr_k"
	axis := classAxis(op, output, o.Axis)
	n, k := graph.ShapeOf(output)[axis], o.K
	if k == 0 {
		k = min(2, n)
	}
	if k < 1 || k > n {
		panic(graph.Fail(op, "K", fmt.Sprintf("1 to %d, or 0 for 2", n), o.K))
	}
	if !(o.Lambda >= 0 && o.Lambda < math.Inf(1)) {
		panic(graph.Fail(op, "Lambda", "at least 0", o.Lambda))
	}
	x := o.Normalization.of(op, output, axis)
	m := labels(op, x, target, axis, []int{}).margins(x, o.Margin)
	if o.Lambda == 0 {
		largest, _ := graph.TopK(m, k, axis)
		return o.Reduction.of(op, graph.Mean(largest, axis))
	}
	return o.Reduction.of(op, cappedKL(graph.Sort(m, axis, true), axis, k, o.Lambda))
}

// cappedKL is the maximum of Σ p m - lambda KL(p, 1/n) over p ≤ 1/k for margins sorted downwards. The first j of the
// best p are at the cap and the others share the rest r like a softmax; j is the smallest number for which these keep
// below the cap.
func cappedKL(m *graph.Node, axis, k int, lambda float64) *graph.Node {
	n := graph.ShapeOf(m)[axis]
	cap := 1 / float64(k)
	var loss *graph.Node
	for j := min(k, n) - 1; j >= 0; j-- {
		r := 1 - float64(j)*cap
		rest := graph.LogSumExp(graph.Scale(graph.Slice(m, axis, j, n, 1), 1/lambda), axis)
		constant := xlogx(r) + r*math.Log(float64(n)) + float64(j)*cap*math.Log(float64(n)*cap)
		value := graph.Shift(graph.Scale(rest, lambda*r), -lambda*constant)
		if j > 0 {
			value = graph.Add(value, graph.Scale(graph.Sum(graph.Slice(m, axis, 0, j, 1), axis), cap))
		}
		if loss == nil {
			loss = value
			continue
		}
		first := graph.Reshape(graph.Slice(m, axis, j, j+1, 1), graph.ShapeOf(rest)...)
		share := graph.Sub(graph.Scale(first, 1/lambda), rest)
		loss = graph.Where(graph.LessEqual(share, graph.Const(share, math.Log(cap/r))), value, loss)
	}
	return loss
}

// ALDRKL is ALDRKLOptions{Margin: 0.1, Normalization: NormalizeL1}.Loss.
func ALDRKL(output, target *graph.Node) *graph.Node {
	return ALDRKLOptions{Margin: 0.1, Normalization: NormalizeL1}.Loss(output, target)
}

// ALDRKLOptions are the settings of the adaptive LDR-KL loss.
type ALDRKLOptions struct {
	Lambda        float64       // temperature of the least sure predictions; 0 means 10
	Alpha         float64       // above 1: temperatures are at least Lambda(1 - 1/Alpha); 0 means 2
	Margin        float64       // c of the wrong classes; the paper's experiments use 0.1
	Normalization Normalization // of the scores; the paper's experiments use NormalizeL1
	Axis          int           // of the classes in the output; 0 means 1, -1 the last one
	Reduction     Reduction
}

func (o ALDRKLOptions) check(op string, output *graph.Node) (axis int, filled ALDRKLOptions) {
	o.Lambda, o.Alpha = or(o.Lambda, 10), or(o.Alpha, 2)
	if !(o.Lambda > 0 && o.Lambda < math.Inf(1)) {
		panic(graph.Fail(op, "Lambda", "above 0, or 0 for 10", o.Lambda))
	}
	if !(o.Alpha > 1) {
		panic(graph.Fail(op, "Alpha", "above 1, or 0 for 2", o.Alpha))
	}
	axis = classAxis(op, output, o.Axis)
	needClasses(op, output, axis)
	return axis, o
}

// Loss is max_λ LDRKL(λ) - Alpha log C/(2 Lambda) (λ - Lambda)², the maximum found for each example by itself, for logits
// [batch, classes, ...] of at least two classes and labels Int [batch, ...] (D. Zhu, Y. Ying, T. Yang 2023, arXiv
// 2112.14869). There λ = Lambda - Lambda KL(p, 1/C)/(Alpha log C) with p = softmax((x + c)/λ). Where more than
// one λ is stationary it is the largest one's.
func (o ALDRKLOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "aldr_kl"
	axis, o := o.check(op, output)
	x := o.Normalization.of(op, output, axis)
	m := labels(op, x, target, axis, []int{}).margins(x, o.Margin)
	lambda := o.stationary(m, axis)
	return o.Reduction.of(op, o.at(m, lambda, axis))
}

// at is the loss of margins at temperatures, which have the labels' shape.
func (o ALDRKLOptions) at(m, lambda *graph.Node, axis int) *graph.Node {
	soft := logMeanExp(graph.Div(m, graph.KeepDims(lambda, graph.ShapeOf(m), axis)), axis)
	far := graph.Square(graph.Shift(lambda, -o.Lambda))
	return graph.Sub(graph.Mul(lambda, soft), graph.Scale(far, o.curvature(m, axis)/(2*o.Lambda)))
}

// curvature is Alpha log C.
func (o ALDRKLOptions) curvature(m *graph.Node, axis int) float64 {
	return o.Alpha * math.Log(float64(graph.ShapeOf(m)[axis]))
}

// next is the right side of the equation for λ, and its derivative by λ, which is never negative.
func (o ALDRKLOptions) next(m, lambda *graph.Node, axis int) (next, slope *graph.Node) {
	shape := graph.ShapeOf(m)
	scaled := graph.Div(m, graph.KeepDims(lambda, shape, axis))
	logp := logSoftmax(scaled, axis)
	p := graph.Exp(logp)
	kl := graph.Shift(graph.Sum(graph.Mul(p, logp), axis), math.Log(float64(shape[axis])))
	mean := graph.KeepDims(graph.Sum(graph.Mul(p, scaled), axis), shape, axis)
	variance := graph.Sum(graph.Mul(p, graph.Square(graph.Sub(scaled, mean))), axis)
	c := o.Lambda / o.curvature(m, axis)
	return graph.Shift(graph.Scale(kl, -c), o.Lambda), graph.Scale(graph.Div(variance, lambda), c)
}

// stationary is the λ of each example: by Newton's method from above, held between the limits of λ, each step no longer
// than ten of the plain iteration. The last step is differentiated, which makes the derivative of λ exact.
func (o ALDRKLOptions) stationary(m *graph.Node, axis int) *graph.Node {
	const steps = 8
	still := graph.Detach(m)
	lambda := graph.Fill(graph.Sum(still, axis), o.Lambda)
	low, high := graph.Const(m, o.Lambda*(1-1/o.Alpha)), graph.Const(m, o.Lambda)
	newton := func(m *graph.Node) *graph.Node {
		next, slope := o.next(m, lambda, axis)
		descent := graph.OneMinus(graph.Detach(slope))
		return graph.Add(lambda, graph.Div(graph.Sub(next, lambda), graph.Maximum(descent, graph.Const(m, 0.1))))
	}
	for range steps {
		lambda = graph.Minimum(graph.Maximum(newton(still), low), high)
	}
	lambda = graph.Detach(lambda)
	return newton(m)
}

// LossOf is Loss as the authors train it, with a table that keeps the temperature of every example of the data set in a
// state of the scope, "temperatures" [examples], and makes one step of the iteration for it each time the example is
// seen, without the margin. Ids, Int [batch, ...] like the labels, are the examples' places in the data set; compile
// Graph.Updates with the step.
func (o ALDRKLOptions) LossOf(s *graph.Scope, output, target, ids *graph.Node, examples int) *graph.Node {
	const op = "aldr_kl"
	axis, o := o.check(op, output)
	if got, want := graph.TypeOf(ids), labelType(output, axis); !want.Equal(got) {
		panic(graph.Fail(op, "ids", want, got))
	}
	x := o.Normalization.of(op, output, axis)
	table := s.State("temperatures", graph.Constant(o.Lambda), examples)
	old := graph.Cast(graph.Take(table, ids, 0), output.Dtype())
	next, _ := o.next(graph.Detach(x), old, axis)
	next = graph.Detach(next)
	s.Update(table, replace(table, ids, graph.Cast(next, table.Dtype())))
	m := labels(op, x, target, axis, []int{}).margins(x, o.Margin)
	return o.Reduction.of(op, o.at(m, next, axis))
}

// replace is a table [n] with new values at the given places; a place named more than once gets their mean.
func replace(table, ids, values *graph.Node) *graph.Node {
	n := graph.ShapeOf(table)[0]
	count := graph.ScatterAdd(graph.Fill(values, 1), ids, 0, n)
	sum := graph.ScatterAdd(values, ids, 0, n)
	return graph.Where(count, graph.Div(sum, keepPositive(count)), table)
}

// CrammerSinger is MarginOptions{}.CrammerSinger.
func CrammerSinger(output, target *graph.Node) *graph.Node {
	return MarginOptions{}.CrammerSinger(output, target)
}

// WestonWatkins is MarginOptions{}.WestonWatkins.
func WestonWatkins(output, target *graph.Node) *graph.Node {
	return MarginOptions{}.WestonWatkins(output, target)
}

// MarginOptions are the settings of the hinge losses of several classes.
type MarginOptions struct {
	Margin    float64 // 0 means 1
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// CrammerSinger is max(0, Margin + max_{j≠y} x_j - x_y) for logits x [batch, classes, ...] and labels Int [batch, ...]
// (K. Crammer, Y. Singer 2001): the limit of LDRKL at temperature 0.
func (o MarginOptions) CrammerSinger(output, target *graph.Node) *graph.Node {
	const op = "crammer_singer"
	axis := classAxis(op, output, o.Axis)
	m := labels(op, output, target, axis, []int{}).margins(output, or(o.Margin, 1))
	return o.Reduction.of(op, graph.Max(m, axis))
}

// WestonWatkins is Σ_{j≠y} max(0, Margin + x_j - x_y) for logits x [batch, classes, ...] and labels Int [batch, ...] (J.
// Weston, C. Watkins 1998): MultiMargin without the division by the number of classes.
func (o MarginOptions) WestonWatkins(output, target *graph.Node) *graph.Node {
	const op = "weston_watkins"
	axis := classAxis(op, output, o.Axis)
	m := labels(op, output, target, axis, []int{}).margins(output, or(o.Margin, 1))
	return o.Reduction.of(op, graph.Sum(graph.ReLU(m), axis))
}
