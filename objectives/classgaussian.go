package objectives

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// A linear classifier learns from a normal distribution of the features of each class instead of from examples.

func init() {
	const paper = "Z. Yao, X. Chang 2024, 2409.13275"
	Register(
		Entry{Name: "class-gaussian",
			Summary: "bound of the expected cross-entropy of a linear classifier on normal features: ClassGaussianOptions",
			Formula: "-log e^{m_c}/Σ_k e^{m_k + ½ d'Σ_c d}, m = wμ_c + b, d = w_k - w_c", Paper: paper, Use: "classes whose examples are gone"},
		Entry{Name: "adaptive-margin",
			Summary: "cross-entropy with a margin added to each wrong logit: AdaptiveMargin",
			Formula: "-log e^{x_y}/Σ_k e^{x_k + m_k}, m_y = 0", Paper: paper, Use: "margins that depend on the classes"},
	)
}

// ClassGaussianOptions are the settings of the distribution-based global classifier with enlarged variance.
type ClassGaussianOptions struct {
	Enlarge       []float64 // λ: a class's covariance counts 1+λ times, one for each class; nil means 0; for old classes
	Inflate       []float64 // γ: is added to the covariance's diagonal, one for each class; nil means 0
	DetachMargins bool      // hold the margins that λ and γ make constant
	ClassWeights  []float64 // one for each class, 0 for classes without statistics; nil means 1
}

// Loss is the mean over the classes c of -log e^{m_cc}/Σ_k e^{m_ck + ½ d'(Σ_c + λ_c Σ_c + γ_c I)d}, m_ck = w_k·μ_c + b_k
// and d = w_k - w_c: by Jensen's inequality at least the expected cross-entropy of features from N(μ_c, Σ_c + λ_c Σ_c +
// γ_c I), and with λ = γ = 0 and Σ = 0 that of the means. Each class counts once, however many examples it had. Weight
// is [classes, features], bias [classes], mean [classes, features], covariance [classes, features, features], symmetric,
// or [classes, features] if diagonal (Z. Yao, X. Chang 2024, arXiv 2409.13275; the closed form is that of Y. Wang et al.
// 2019, arXiv 1909.12220). The margin form AdaptiveMargin(Logits, Margins, classes) is the same.
func (o ClassGaussianOptions) Loss(weight, bias, mean, covariance *graph.Node) *graph.Node {
	n := o.check(weight, covariance)[0]
	classes := graph.NewArray(graph.Int, n)
	for i := range n {
		classes.Ints()[i] = i
	}
	logits := o.Logits(weight, bias, mean, covariance)
	logits = graph.Add(logits, o.Margins(weight, covariance))
	return CrossEntropyOptions{ClassWeights: o.ClassWeights, Ignore: []int{}}.Loss(logits, graph.Literal(logits, classes))
}

// Logits is m_ck + ½ d'Σ_c d, row c for the features of class c: [classes, classes].
func (o ClassGaussianOptions) Logits(weight, bias, mean, covariance *graph.Node) *graph.Node {
	shape := o.check(weight, covariance)
	if want, got := graph.TypeOf(weight), graph.TypeOf(mean); !want.Equal(got) {
		panic(graph.Fail("class_gaussian", "mean", want, got))
	}
	if want, got := (graph.Type{DType: weight.Dtype(), Shape: shape[:1]}), graph.TypeOf(bias); !want.Equal(got) {
		panic(graph.Fail("class_gaussian", "bias", want, got))
	}
	m := graph.Add(graph.MatMulT(mean, weight, false, true), bias)
	return graph.Add(m, graph.Scale(quadratic(weight, covariance), 0.5))
}

// Margins is ½ d'(λ_c Σ_c + γ_c I)d, at least 0 and 0 for the class itself: [classes, classes].
func (o ClassGaussianOptions) Margins(weight, covariance *graph.Node) *graph.Node {
	shape := o.check(weight, covariance)
	n := shape[0]
	sum := graph.Fill(graph.MatMulT(weight, weight, false, true), 0)
	if lambda := vector("class_gaussian", "Enlarge", weight, o.Enlarge, n, 2, 0); lambda != nil {
		sum = graph.Mul(lambda, quadratic(weight, covariance))
	}
	if gamma := vector("class_gaussian", "Inflate", weight, o.Inflate, n, 2, 0); gamma != nil {
		sum = graph.Add(sum, graph.Mul(gamma, quadratic(weight, graph.Fill(weight, 1))))
	}
	if o.DetachMargins {
		sum = graph.Detach(sum)
	}
	return graph.Scale(sum, 0.5)
}

func (o ClassGaussianOptions) check(weight, covariance *graph.Node) (shape []int) {
	const op = "class_gaussian"
	t := graph.TypeOf(weight)
	if len(t.Shape) != 2 || !t.IsFloat() {
		panic(graph.Fail(op, "weight", "[classes, features] of a floating-point type", t))
	}
	full := graph.Type{DType: t.DType, Shape: append(append([]int{}, t.Shape...), t.Shape[1])}
	if got := graph.TypeOf(covariance); !got.Equal(full) && !got.Equal(t) {
		panic(graph.Fail(op, "covariance", fmt.Sprintf("%v, or diagonal, %v", full, t), got))
	}
	return t.Shape
}

// quadratic is (w_k - w_c)'Σ_c(w_k - w_c) for each pair of classes c, k. Made of differences it is 0 exactly for c = k.
func quadratic(weight, covariance *graph.Node) *graph.Node {
	shape := graph.ShapeOf(weight)
	n, f := shape[0], shape[1]
	d := graph.Sub(graph.Reshape(weight, 1, n, f), graph.Reshape(weight, n, 1, f))
	if len(graph.ShapeOf(covariance)) == 2 {
		return graph.Sum(graph.Mul(graph.Square(d), graph.Reshape(covariance, n, 1, f)), 2)
	}
	return graph.Sum(graph.Mul(graph.MatMul(d, covariance), d), 2)
}

// AdaptiveMargin is the mean of -log e^{x_y}/(e^{x_y} + Σ_{k≠y} e^{x_k + m_k}) for logits x and margins m [batch, classes]
// and labels y, Int [batch]: AMarX (Z. Yao, X. Chang 2024, arXiv 2409.13275). The margins may be anything, such as rows
// of ClassGaussianOptions.Margins; those at the labels are not used.
func AdaptiveMargin(output, margins, target *graph.Node) *graph.Node {
	const op = "adaptive_margin"
	needSame(op, output, "margins", margins)
	axis := classAxis(op, output, 1)
	return CrossEntropy(graph.Add(output, labels(op, output, target, axis, []int{}).others(margins)), target)
}

// ClassStatistics is the mean [classes, units] and the covariance, divided by the number of examples, [classes, units,
// units] of the features [examples, units] of each class, in float64. A class without examples has zeros.
func ClassStatistics(features *graph.Array, labels []int, classes int) (mean, covariance *graph.Array, err error) {
	const op = "class_statistics"
	if len(features.Shape) != 2 || features.Shape[0] != len(labels) || !features.IsFloat() {
		return nil, nil, graph.Fail(op, "features", fmt.Sprintf("[%d, units] of a floating-point type", len(labels)), features.Type)
	}
	n := features.Shape[1]
	mean, covariance = graph.NewArray(graph.Float64, classes, n), graph.NewArray(graph.Float64, classes, n, n)
	m, s := mean.Float64s(), covariance.Float64s()
	count := make([]float64, classes)
	for i, y := range labels {
		if y < 0 || y >= classes {
			return nil, nil, graph.Fail(op, fmt.Sprintf("labels[%d]", i), fmt.Sprintf("0 to %d", classes-1), y)
		}
		count[y]++
		for j := range n {
			m[y*n+j] += features.At(i*n + j)
		}
	}
	for i := range m {
		m[i] /= max(count[i/n], 1)
	}
	for i, y := range labels {
		for j := range n {
			d := features.At(i*n+j) - m[y*n+j]
			for k := range n {
				s[(y*n+j)*n+k] += d * (features.At(i*n+k) - m[y*n+k]) / count[y]
			}
		}
	}
	return mean, covariance, nil
}
