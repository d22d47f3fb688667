package objectives

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(
		Entry{Name: "sum-exponential", Objective: SumExponential,
			Summary: "comp-sum loss of tau 0: the sum of the exponentials of the margins",
			Formula: "1/p_y - 1", Paper: "A. Mao et al. 2023, 2304.07288", Use: "clean labels; wants clipped gradients"},
		Entry{Name: "gce", Objective: GCE,
			Summary: "generalised cross-entropy, the comp-sum loss of tau 1.7, between cross-entropy and mae",
			Formula: "(1 - p_y^0.7)/0.7", Paper: "Z. Zhang, M. Sabuncu 2018, 1805.07836", Use: "wrong labels"},
		Entry{Name: "mae", Objective: MAE,
			Summary: "probability of an error, the comp-sum loss of tau 2: half the L1 distance to the label",
			Formula: "1 - p_y", Paper: "A. Ghosh et al. 2017, 1712.09482", Use: "many wrong labels, few classes"},
	)
}

// SumExponential is CompSumOptions{}.Loss: 1/p_y - 1.
func SumExponential(output, target *graph.Node) *graph.Node {
	return CompSumOptions{}.Loss(output, target)
}

// MAE is CompSumOptions{Tau: 2}.Loss, 1 - p_y: half the absolute error of the probabilities. The absolute error of
// regression is L1.
func MAE(output, target *graph.Node) *graph.Node { return CompSumOptions{Tau: 2}.Loss(output, target) }

// GCE is GCEOptions{}.Loss.
func GCE(output, target *graph.Node) *graph.Node { return GCEOptions{}.Loss(output, target) }

// GCEOptions are the settings of the generalised cross-entropy.
type GCEOptions struct {
	Q         float64 // in (0, 1]: near 0 cross-entropy, at 1 MAE; 0 means 0.7
	Threshold float64 // in [0, 1): examples with p_y up to it count as lost and give no derivative; the paper takes 0.5
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is (1 - p_y^Q)/Q, and (1 - Threshold^Q)/Q where p_y ≤ Threshold, for logits [batch, classes, ...] and labels Int
// [batch, ...] (Z. Zhang, M. Sabuncu 2018, arXiv 1805.07836): the comp-sum loss of tau 1+Q.
func (o GCEOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "gce"
	q := or(o.Q, 0.7)
	if !(q > 0 && q <= 1) {
		panic(graph.Fail(op, "Q", "above 0 to 1, or 0 for 0.7", o.Q))
	}
	if !(o.Threshold >= 0 && o.Threshold < 1) {
		panic(graph.Fail(op, "Threshold", "from 0 to below 1", o.Threshold))
	}
	logp := logProbability(op, output, target, o.Axis)
	loss := compSum(1+q, logp)
	if k := o.Threshold; k > 0 {
		lost := graph.LessEqual(logp, graph.Const(logp, math.Log(k)))
		loss = graph.Where(lost, graph.Const(loss, (1-math.Pow(k, q))/q), loss)
	}
	return o.Reduction.of(op, loss)
}

// CompSumOptions are the settings of the comp-sum losses: compositions of a function with Σ_{j≠y} exp(x_j - x_y).
type CompSumOptions struct {
	Tau       float64 // at least 0: 0 sum-exponential, 1 cross-entropy, 1+q generalised cross-entropy, 2 MAE
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is (p_y^(Tau-1) - 1)/(1-Tau), at Tau 1 its limit -log p_y, with p = softmax(output), for logits [batch, classes,
// ...] and labels Int [batch, ...] (A. Mao, M. Mohri, Y. Zhong 2023, arXiv 2304.07288). The larger Tau is, the less it
// minds a wrong label. Below 1 its derivative grows without bound as p_y goes to 0: it is held at e^40 of the
// cross-entropy's, beyond which the loss goes on as a line; train with clipped gradients.
func (o CompSumOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "comp_sum"
	if !(o.Tau >= 0 && o.Tau < math.Inf(1)) {
		panic(graph.Fail(op, "Tau", "at least 0", o.Tau))
	}
	return o.Reduction.of(op, compSum(o.Tau, logProbability(op, output, target, o.Axis)))
}

// compSum is the comp-sum loss of log p_y.
func compSum(tau float64, logp *graph.Node) *graph.Node {
	if tau == 1 {
		return graph.Neg(logp)
	}
	t := graph.Scale(logp, tau-1)
	if tau > 1 {
		return graph.Scale(graph.Expm1(t), 1/(1-tau))
	}
	const most = 40
	beyond := graph.Scale(graph.ReLU(graph.Shift(t, -most)), math.Exp(most))
	return graph.Scale(graph.Add(graph.Expm1(graph.Minimum(t, graph.Const(t, most))), beyond), 1/(1-tau))
}

// logProbability is log softmax(output) at the labels, in the labels' shape.
func logProbability(op string, output, target *graph.Node, axis int) *graph.Node {
	a := classAxis(op, output, axis)
	return labels(op, output, target, a, []int{}).pick(logSoftmax(output, a))
}

// HConsistency turns the regret of a comp-sum loss into a bound on the regret of the zero-one loss, for hypothesis sets
// that are symmetric and complete (A. Mao, M. Mohri, Y. Zhong 2023, arXiv 2304.07288). Tau below 2 needs
// Classes only from Tau 1 on.
type HConsistency struct {
	Tau     float64 // of the loss, at least 0
	Classes int     // at least 2
}

// Transform is T(beta), for beta in [0, 1]: a loss regret of at least T(beta) belongs to a zero-one regret of beta.
func (h HConsistency) Transform(beta float64) float64 {
	tau, n := h.Tau, math.Pow(float64(h.Classes), h.Tau-1)
	if tau >= 2 {
		return beta / ((tau - 1) * n)
	}
	if tau == 1 {
		return (xlogx(1+beta) + xlogx(1-beta)) / 2
	}
	s := 1 / (2 - tau)
	mean := (math.Pow(1+beta, s) + math.Pow(1-beta, s)) / 2
	if tau < 1 {
		return math.Pow(2, 1-tau) / (1 - tau) * (1 - math.Pow(mean, 2-tau))
	}
	return (math.Pow(mean, 2-tau) - 1) / ((tau - 1) * n)
}

// Bound is the largest zero-one regret, in [0, 1], that a regret of the loss allows: the inverse of Transform. With
// minimizability gaps, R01 - R01* + M01 ≤ Bound(R - R* + M).
func (h HConsistency) Bound(regret float64) float64 {
	low, high := 0.0, 1.0
	if regret >= h.Transform(1) {
		return 1
	}
	for range 100 {
		if mid := (low + high) / 2; h.Transform(mid) < regret {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// SimpleBound is a closed form at or above Bound: sqrt(2^Tau (2-Tau) regret) for Tau below 1, sqrt(2 n^(Tau-1) regret)
// from 1 to 2, and Bound itself from 2 on; n is the number of classes.
func (h HConsistency) SimpleBound(regret float64) float64 {
	n := math.Pow(float64(h.Classes), h.Tau-1)
	switch {
	case h.Tau < 1:
		return math.Sqrt(math.Pow(2, h.Tau) * (2 - h.Tau) * regret)
	case h.Tau < 2:
		return math.Sqrt(2 * n * regret)
	}
	return (h.Tau - 1) * n * regret
}

// Optimum is the distribution p that minimises the expected loss when the label has distribution q: p proportional to
// q^(1/(2-Tau)) for Tau below 2, and all on the most likely label from there on.
func (h HConsistency) Optimum(q []float64) []float64 {
	p := make([]float64, len(q))
	if h.Tau >= 2 {
		best := 0
		for i, v := range q {
			if v > q[best] {
				best = i
			}
		}
		p[best] = 1
		return p
	}
	sum := 0.0
	for i, v := range q {
		p[i] = math.Pow(v, 1/(2-h.Tau))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// Risk is the expected loss of predicting p when the label has distribution q; labels of probability 0 do not count.
func (h HConsistency) Risk(p, q []float64) float64 {
	risk := 0.0
	for i, v := range q {
		switch {
		case v == 0:
		case h.Tau == 1:
			risk -= v * math.Log(p[i])
		default:
			risk += v * (math.Pow(p[i], h.Tau-1) - 1) / (1 - h.Tau)
		}
	}
	return risk
}

// MinimizabilityGap is the least risk in a hypothesis set minus the mean over examples of the least risks that the set
// could reach on each alone; it is 0 for the set of all functions. The least risk of all functions at a label
// distribution q is Risk(Optimum(q), q).
func MinimizabilityGap(least float64, pointwise []float64) float64 {
	sum := 0.0
	for _, v := range pointwise {
		sum += v
	}
	return least - sum/float64(len(pointwise))
}

func xlogx(x float64) float64 {
	if x == 0 {
		return 0
	}
	return x * math.Log(x)
}
