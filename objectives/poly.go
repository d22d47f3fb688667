package objectives

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	const paper = "Z. Leng et al. 2022, 2204.12511"
	Register(
		Entry{Name: "poly", Objective: Poly,
			Summary: "cross-entropy with another weight for the first terms of its series in 1-p_y",
			Formula: "-log p_y + 1-p_y", Paper: paper, Use: "surer predictions (Eps above 0) or less sure ones"},
		Entry{Name: "poly-drop", Objective: PolyDrop,
			Summary: "the first terms of the series of cross-entropy in 1-p_y, also called Taylor cross-entropy",
			Formula: "Σ_{j≤2} (1-p_y)^j/j", Paper: "L. Feng et al. 2020 (IJCAI)", Use: "wrong labels"},
		Entry{Name: "poly-focal", Objective: PolyFocal,
			Summary: "focal loss with another weight for the first term of its series",
			Formula: "-(1-p_y)² log p_y + (1-p_y)³", Paper: paper, Use: "many easy examples, dense prediction"},
		Entry{Name: "poly-sigmoid-focal", Objective: PolySigmoidFocal,
			Summary: "focal loss of each logit by itself with another weight for the first term of its series",
			Formula: "-(1-q)² log q + (1-q)³, q = y p + (1-y)(1-p)", Paper: paper, Use: "detection, several labels at once"},
	)
}

// Poly is PolyOptions{}.Loss: -log p_y + 1 - p_y.
func Poly(output, target *graph.Node) *graph.Node { return PolyOptions{}.Loss(output, target) }

// PolyOptions are the settings of PolyLoss.
type PolyOptions struct {
	Eps              []float64 // added to the weights 1/j of (1-p_y)^j, j = 1, 2, ...; each at least -1/j; nil means 1
	LabelSmoothing   float64   // in [0, 1]: this part of the target is spread evenly over all classes
	ClassWeights     []float64 // one for each class; nil means 1
	WeightPolynomial bool      // the weights of the classes hold for the polynomial too, not only the cross-entropy
	Axis             int       // of the classes in the output; 0 means 1, -1 the last one
	Reduction        Reduction
}

// Loss is the cross-entropy -Σ_c t_c log p_c plus Σ_j Eps_j q^j with q = Σ_c t_c (1-p_c), for logits [batch, classes,
// ...] and labels Int [batch, ...] or probabilities t of the output's type and shape; q is 1-p_y for a label (Z. Leng et
// al. 2022, arXiv 2204.12511). Means are weighted as in CrossEntropyOptions.Loss. Below 0 Eps makes predictions
// less confident, above 0 more.
func (o PolyOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "poly"
	eps := o.Eps
	if eps == nil {
		eps = []float64{1}
	}
	for j, e := range eps {
		if !(e >= -1/float64(j+1)) {
			panic(graph.Fail(op, fmt.Sprintf("Eps[%d]", j), fmt.Sprintf("at least -1/%d", j+1), e))
		}
	}
	axis := classAxis(op, output, o.Axis)
	logp := logSoftmax(output, axis)
	c := CrossEntropyOptions{LabelSmoothing: o.LabelSmoothing, ClassWeights: o.ClassWeights, Ignore: []int{}, Reduction: o.Reduction}
	if areProbabilities(op, output, target, axis) {
		c.Ignore = nil
	}
	loss := c.ofLogProbabilities(op, logp, target, axis)
	q, weight := o.missed(op, logp, target, axis)
	poly := polynomial(q, eps)
	switch {
	case poly == nil:
		return loss
	case weight == nil:
		return graph.Add(loss, o.Reduction.of(op, poly))
	case o.Reduction == ReduceMean:
		poly = graph.Div(graph.Sum(graph.Mul(weight, poly)), keepPositive(graph.Sum(weight)))
	default:
		poly = o.Reduction.of(op, graph.Mul(weight, poly))
	}
	return graph.Add(loss, poly)
}

// missed is Σ_c t_c (1-p_c), and the weights of the labels if they hold for it.
func (o PolyOptions) missed(op string, logp, target *graph.Node, axis int) (q, weight *graph.Node) {
	shape := graph.ShapeOf(logp)
	n := shape[axis]
	if areProbabilities(op, logp, target, axis) {
		if o.WeightPolynomial {
			panic(graph.Fail(op, "WeightPolynomial", "false for a target of probabilities", true))
		}
		q = graph.Sum(graph.Mul(target, missing(logp)), axis)
	} else {
		l := labels(op, logp, target, axis, []int{})
		q = missing(l.pick(logp))
		if w := vector(op, "ClassWeights", logp, o.ClassWeights, n, 1, 0); w != nil && o.WeightPolynomial {
			weight = graph.Take(w, target, 0)
		}
	}
	if a := o.LabelSmoothing; a > 0 {
		// The classes' 1-p_c have the sum n-1.
		q = graph.Shift(graph.Scale(q, 1-a), a*float64(n-1)/float64(n))
	}
	return q, weight
}

// missing is 1 - e^logp, exact also near p = 1.
func missing(logp *graph.Node) *graph.Node { return graph.Neg(graph.Expm1(logp)) }

// polynomial is Σ_j c[j-1] q^j, j from 1; nil if all its coefficients are 0.
func polynomial(q *graph.Node, c []float64) *graph.Node {
	var sum *graph.Node
	for j := len(c) - 1; j >= 0; j-- {
		switch {
		case sum != nil:
			sum = graph.Mul(q, graph.Shift(sum, c[j]))
		case c[j] != 0:
			sum = graph.Scale(q, c[j])
		}
	}
	return sum
}

// PolyDrop is PolyDropOptions{}.Loss.
func PolyDrop(output, target *graph.Node) *graph.Node { return PolyDropOptions{}.Loss(output, target) }

// PolyDropOptions are the settings of the truncated cross-entropy.
type PolyDropOptions struct {
	Terms     int // of the series that are kept: 1 is MAE, more come near to cross-entropy; 0 means 2
	Axis      int // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is Σ_{j≤Terms} (1-p_y)^j/j, the first terms of -log p_y, for logits [batch, classes, ...] and labels Int [batch,
// ...]: the Taylor cross-entropy of L. Feng et al. (IJCAI 2020), PolyLoss without its tail (Z. Leng et al. 2022, arXiv
// 2204.12511).
func (o PolyDropOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "poly_drop"
	n := o.Terms
	if n == 0 {
		n = 2
	}
	if n < 1 {
		panic(graph.Fail(op, "Terms", "at least 1, or 0 for 2", o.Terms))
	}
	c := make([]float64, n)
	for j := range c {
		c[j] = 1 / float64(j+1)
	}
	return o.Reduction.of(op, polynomial(missing(logProbability(op, output, target, o.Axis)), c))
}

// PolyFocal is PolyFocalOptions{Eps: 1}.Loss.
func PolyFocal(output, target *graph.Node) *graph.Node {
	return PolyFocalOptions{Eps: 1}.Loss(output, target)
}

// PolyFocalOptions are the settings of the focal PolyLoss of classes.
type PolyFocalOptions struct {
	Gamma        float64   // how little easy examples count; 0 means 2
	Eps          float64   // weight of the first term of the series is 1 + Eps
	ClassWeights []float64 // of the focal part, one for each class; nil means 1
	Axis         int       // of the classes in the output; 0 means 1, -1 the last one
	Reduction    Reduction
}

// Loss is -w (1-p_y)^Gamma log p_y + Eps (1-p_y)^(Gamma+1) for logits [batch, classes, ...] of at least two classes and
// labels Int [batch, ...] (Z. Leng et al. 2022, arXiv 2204.12511).
func (o PolyFocalOptions) Loss(output, target *graph.Node) *graph.Node {
	focal := FocalOptions{Gamma: o.Gamma, ClassWeights: o.ClassWeights, Axis: o.Axis, Reduction: o.Reduction}
	loss := focal.Loss(output, target)
	if o.Eps == 0 {
		return loss
	}
	_, others := focal.parts(output, target)
	poly := graph.Exp(graph.Scale(others, or(o.Gamma, 2)+1))
	return graph.Add(loss, graph.Scale(o.Reduction.of("poly_focal", poly), o.Eps))
}

// PolySigmoidFocal is PolySigmoidFocalOptions{Eps: 1}.Loss.
func PolySigmoidFocal(output, target *graph.Node) *graph.Node {
	return PolySigmoidFocalOptions{Eps: 1}.Loss(output, target)
}

// PolySigmoidFocalOptions are the settings of the focal PolyLoss of single logits.
type PolySigmoidFocalOptions struct {
	Gamma            float64 // how little easy examples count, at least 0; 0 means 2
	Eps              float64 // weight of the first term of the series is 1 + Eps
	Alpha            float64 // in (0, 1): the focal part of an answer of 1 weighs Alpha, that of 0 1-Alpha; 0 means no weights
	WeightPolynomial bool    // Alpha holds for the polynomial too, not only the focal part
	Reduction        Reduction
}

// Loss is w (1-q)^Gamma b + Eps (1-q)^(Gamma+1) with the binary cross-entropy b and q = t p + (1-t)(1-p), p =
// sigmoid(output), for logits of any shape and targets t in [0, 1] of the same (Z. Leng et al. 2022, arXiv 2204.12511;
// focal loss of T. Lin et al. 2017, arXiv 1708.02002).
func (o PolySigmoidFocalOptions) Loss(output, target *graph.Node) *graph.Node {
	const op, least = "poly_sigmoid_focal", 1e-30
	gamma := or(o.Gamma, 2)
	if !(gamma > 0) {
		panic(graph.Fail(op, "Gamma", "above 0, or 0 for 2", o.Gamma))
	}
	if !(o.Alpha >= 0 && o.Alpha < 1) {
		panic(graph.Fail(op, "Alpha", "from 0 to below 1", o.Alpha))
	}
	entropy := BCEWithLogitsOptions{Reduction: ReduceNone}.Loss(output, target)
	// 1-q as a sum of positive terms, so that nothing is lost near 0, and kept off 0 for powers below 1.
	not := graph.OneMinus(target)
	wrong := graph.Add(graph.Mul(target, graph.Sigmoid(graph.Neg(output))), graph.Mul(not, graph.Sigmoid(output)))
	wrong = graph.Maximum(wrong, graph.Const(wrong, least))
	power := graph.Square(wrong)
	if gamma != 2 {
		power = graph.Pow(wrong, graph.Const(wrong, gamma))
	}
	loss := graph.Mul(power, entropy)
	poly := graph.Scale(graph.Mul(power, wrong), o.Eps)
	if a := o.Alpha; a > 0 {
		weight := graph.Add(graph.Scale(target, a), graph.Scale(not, 1-a))
		loss = graph.Mul(weight, loss)
		if o.WeightPolynomial {
			poly = graph.Mul(weight, poly)
		}
	}
	if o.Eps != 0 {
		loss = graph.Add(loss, poly)
	}
	return o.Reduction.of(op, loss)
}
