package objectives

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// The losses that papers on wrong labels compare with, beside GCE, MAE, PolyDrop (Taylor) and the LDR family.

func init() {
	const (
		normalized = "X. Ma et al. 2020, 2006.13554"
		asymmetric = "X. Zhou et al. 2021, 2106.03110"
		use        = "wrong labels"
	)
	Register(
		Entry{Name: "sce", Objective: SCE,
			Summary: "symmetric cross-entropy: cross-entropy plus reverse cross-entropy",
			Formula: "-0.1 log p_y + 4 (1 - p_y)", Paper: "Y. Wang et al. 2019, 1908.06112", Use: use},
		Entry{Name: "rce", Objective: RCE,
			Summary: "reverse cross-entropy, with a probability of 0 taken as 1e-4",
			Formula: "-log 1e-4 (1 - p_y)", Paper: "Y. Wang et al. 2019, 1908.06112", Use: "a part of other losses"},
		Entry{Name: "nce", Objective: NCE,
			Summary: "cross-entropy as its part of the cross-entropies of all labels",
			Formula: "log p_y/Σ_k log p_k", Paper: normalized, Use: "a part of other losses"},
		Entry{Name: "nce-rce", Objective: NCERCE,
			Summary: "normalised plus reverse cross-entropy",
			Formula: "nce + rce", Paper: normalized, Use: use},
		Entry{Name: "nce-mae", Objective: NCEMAE,
			Summary: "normalised cross-entropy plus mean absolute error",
			Formula: "nce + 2 (1 - p_y)", Paper: normalized, Use: use},
		Entry{Name: "nce-aul", Objective: NCEAUL,
			Summary: "normalised cross-entropy plus asymmetric unhinged loss, with the weights for CIFAR-10",
			Formula: "nce + 4 aul, a = 6.3, q = 1.5", Paper: asymmetric, Use: use},
		Entry{Name: "nce-agce", Objective: NCEAGCE,
			Summary: "normalised cross-entropy plus asymmetric generalised cross-entropy, with the weights for CIFAR-10",
			Formula: "nce + 4 agce, a = 6, q = 1.5", Paper: asymmetric, Use: use},
		Entry{Name: "aul", Objective: AUL,
			Summary: "asymmetric unhinged loss",
			Formula: "((a - p_y)^q - (a - 1)^q)/q, a = 5.5, q = 3", Paper: asymmetric, Use: use},
		Entry{Name: "agce", Objective: AGCE,
			Summary: "asymmetric generalised cross-entropy",
			Formula: "((a + 1)^q - (a + p_y)^q)/q, a = q = 0.6", Paper: asymmetric, Use: use},
		Entry{Name: "phuber", Objective: PHuber,
			Summary: "cross-entropy that goes on as a line in p_y below 1/tau",
			Formula: "-log p_y, for p_y < 1/10 its tangent", Paper: "A. Menon et al. 2020 (ICLR)", Use: use},
		Entry{Name: "robust-log", Objective: RobustLog,
			Summary: "log loss that is the same for all labels in sum",
			Formula: "l(1) - l(p_y) + 1/(C-1) Σ_{k≠y} l(p_k), l(p) = log(1+100p)", Paper: "H. Kumar, P. Sastry 2018", Use: use},
		Entry{Name: "jensen-shannon", Objective: JensenShannon,
			Summary: "Jensen-Shannon divergence of prediction and label, scaled to lie between cross-entropy and mae",
			Formula: "JS_{π,1-π}(y, p)/Z, π = 1/2", Paper: "E. Englesson, H. Azizpour 2021, 2105.04522", Use: use},
	)
}

// A Term is one summand of a Combination.
type Term struct {
	Weight    float64
	Objective Objective
}

// A Combination is a weighted sum of objectives; what they have in common is computed once.
type Combination []Term

// Loss is Σ Weight · Objective(output, target).
func (c Combination) Loss(output, target *graph.Node) *graph.Node {
	var sum *graph.Node
	for _, t := range c {
		loss := graph.Scale(t.Objective(output, target), t.Weight)
		if sum != nil {
			loss = graph.Add(sum, loss)
		}
		sum = loss
	}
	if sum == nil {
		panic(graph.Fail("combination", "terms", "at least one", "none"))
	}
	return sum
}

// SCE is SCEOptions{}.Loss.
func SCE(output, target *graph.Node) *graph.Node { return SCEOptions{}.Loss(output, target) }

// SCEOptions are the settings of the symmetric cross-entropy.
type SCEOptions struct {
	Alpha     float64 // weight of the cross-entropy; 0 means 0.1
	Beta      float64 // weight of the reverse cross-entropy; 0 means 1
	A         float64 // minus the logarithm of 0 in the reverse cross-entropy; 0 means 4
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is -Alpha log p_y + Beta A (1 - p_y) for logits [batch, classes, ...] and labels Int [batch, ...] (Y. Wang et al.
// 2019, arXiv 1908.06112).
func (o SCEOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "sce"
	logp := logProbability(op, output, target, o.Axis)
	reverse := graph.Scale(missing(logp), or(o.Beta, 1)*or(o.A, 4))
	return o.Reduction.of(op, graph.Sub(reverse, graph.Scale(logp, or(o.Alpha, 0.1))))
}

// RCE is the mean of the reverse cross-entropy -Σ_k p_k log y_k with log 0 taken as log 1e-4, that is -log 1e-4 (1 -
// p_y), for logits [batch, classes, ...] and labels Int [batch, ...] (Y. Wang et al. 2019, arXiv 1908.06112; the
// number is that of X. Ma et al. 2020).
func RCE(output, target *graph.Node) *graph.Node {
	return graph.Scale(MAE(output, target), -math.Log(1e-4))
}

// NCE is NCEOptions{}.Loss.
func NCE(output, target *graph.Node) *graph.Node { return NCEOptions{}.Loss(output, target) }

// NCEOptions are the settings of the normalised cross-entropy.
type NCEOptions struct {
	Axis      int // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is log p_y/Σ_k log p_k, in [0, 1], for logits [batch, classes, ...] of at least two classes and labels Int
// [batch, ...] (X. Ma et al. 2020, arXiv 2006.13554). It learns slowly by itself.
func (o NCEOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "nce"
	axis := classAxis(op, output, o.Axis)
	needClasses(op, output, axis)
	l := labels(op, output, target, axis, []int{})
	logp := logSoftmax(output, axis)
	return o.Reduction.of(op, graph.Div(l.pick(logp), graph.Sum(logp, axis)))
}

// NCERCE is NCE + RCE, the "active passive" loss of X. Ma et al. 2020 (arXiv 2006.13554) with the weights for 10
// classes; for 100 take Combination{{10, NCE}, {1, RCE}}.
func NCERCE(output, target *graph.Node) *graph.Node {
	return Combination{{1, NCE}, {1, RCE}}.Loss(output, target)
}

// NCEMAE is NCE + 2 MAE, the absolute error of the probabilities (X. Ma et al. 2020, arXiv 2006.13554).
func NCEMAE(output, target *graph.Node) *graph.Node {
	return Combination{{1, NCE}, {2, MAE}}.Loss(output, target)
}

// NCEAUL is NCE + 4 AULOptions{A: 6.3, Q: 1.5}.Loss (X. Zhou et al. 2021, arXiv 2106.03110).
func NCEAUL(output, target *graph.Node) *graph.Node {
	return Combination{{1, NCE}, {4, AULOptions{A: 6.3, Q: 1.5}.Loss}}.Loss(output, target)
}

// NCEAGCE is NCE + 4 AGCEOptions{A: 6, Q: 1.5}.Loss (X. Zhou et al. 2021, arXiv 2106.03110).
func NCEAGCE(output, target *graph.Node) *graph.Node {
	return Combination{{1, NCE}, {4, AGCEOptions{A: 6, Q: 1.5}.Loss}}.Loss(output, target)
}

// AUL is AULOptions{}.Loss.
func AUL(output, target *graph.Node) *graph.Node { return AULOptions{}.Loss(output, target) }

// AULOptions are the settings of the asymmetric unhinged loss.
type AULOptions struct {
	A         float64 // above 1; 0 means 5.5
	Q         float64 // above 0; 0 means 3
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is ((A - p_y)^Q - (A - 1)^Q)/Q for logits [batch, classes, ...] and labels Int [batch, ...] (X. Zhou et al. 2021,
// arXiv 2106.03110).
func (o AULOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "aul"
	a, q := or(o.A, 5.5), or(o.Q, 3)
	if !(a > 1) {
		panic(graph.Fail(op, "A", "above 1, or 0 for 5.5", o.A))
	}
	if !(q > 0) {
		panic(graph.Fail(op, "Q", "above 0, or 0 for 3", o.Q))
	}
	// With u = 1-p_y it is (a-1)^q ((1 + u/(a-1))^q - 1)/q, exact near u = 0.
	u := missing(logProbability(op, output, target, o.Axis))
	power := graph.Expm1(graph.Scale(graph.Log1p(graph.Scale(u, 1/(a-1))), q))
	return o.Reduction.of(op, graph.Scale(power, math.Pow(a-1, q)/q))
}

// AGCE is AGCEOptions{}.Loss.
func AGCE(output, target *graph.Node) *graph.Node { return AGCEOptions{}.Loss(output, target) }

// AGCEOptions are the settings of the asymmetric generalised cross-entropy.
type AGCEOptions struct {
	A         float64 // above 0; 0 means 0.6
	Q         float64 // above 0; 0 means 0.6
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is ((A + 1)^Q - (A + p_y)^Q)/Q for logits [batch, classes, ...] and labels Int [batch, ...] (X. Zhou et al. 2021,
// arXiv 2106.03110).
func (o AGCEOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "agce"
	a, q := or(o.A, 0.6), or(o.Q, 0.6)
	if !(a > 0) {
		panic(graph.Fail(op, "A", "above 0, or 0 for 0.6", o.A))
	}
	if !(q > 0) {
		panic(graph.Fail(op, "Q", "above 0, or 0 for 0.6", o.Q))
	}
	// With u = 1-p_y it is -(a+1)^q ((1 - u/(a+1))^q - 1)/q, exact near u = 0.
	u := missing(logProbability(op, output, target, o.Axis))
	power := graph.Expm1(graph.Scale(graph.Log1p(graph.Scale(u, -1/(a+1))), q))
	return o.Reduction.of(op, graph.Scale(power, -math.Pow(a+1, q)/q))
}

// PHuber is PHuberOptions{}.Loss.
func PHuber(output, target *graph.Node) *graph.Node { return PHuberOptions{}.Loss(output, target) }

// PHuberOptions are the settings of the partially Huberised cross-entropy.
type PHuberOptions struct {
	Tau       float64 // above 1: cross-entropy where p_y > 1/Tau; 0 means 10
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is -log p_y where p_y > 1/Tau and the tangent there, 1 + log Tau - Tau p_y, elsewhere, for logits [batch, classes,
// ...] and labels Int [batch, ...] (A. Menon et al. 2020, "Can gradient clipping mitigate label noise?", ICLR).
func (o PHuberOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "phuber"
	tau := or(o.Tau, 10)
	if !(tau > 1) {
		panic(graph.Fail(op, "Tau", "above 1, or 0 for 10", o.Tau))
	}
	logp := logProbability(op, output, target, o.Axis)
	line := graph.Shift(graph.Scale(graph.Exp(logp), -tau), 1+math.Log(tau))
	sure := graph.Greater(logp, graph.Const(logp, -math.Log(tau)))
	return o.Reduction.of(op, graph.Where(sure, graph.Neg(logp), line))
}

// RobustLog is RobustLogOptions{}.Loss.
func RobustLog(output, target *graph.Node) *graph.Node {
	return RobustLogOptions{}.Loss(output, target)
}

// RobustLogOptions are the settings of the robust log loss.
type RobustLogOptions struct {
	Alpha     float64 // above 0: large near MAE, small near cross-entropy; 0 means 0.01
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is l(1) - l(p_y) + 1/(classes-1) Σ_{k≠y} l(p_k) with l(p) = log(1 + p/Alpha), whose sum over all labels is the
// same whatever p is, for logits [batch, classes, ...] of at least two classes and labels Int [batch, ...] (H. Kumar, P.
// Sastry 2018, "Robust loss functions for learning multi-class classifiers").
func (o RobustLogOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "robust_log"
	alpha := or(o.Alpha, 0.01)
	if !(alpha > 0) {
		panic(graph.Fail(op, "Alpha", "above 0, or 0 for 0.01", o.Alpha))
	}
	axis := classAxis(op, output, o.Axis)
	needClasses(op, output, axis)
	l := labels(op, output, target, axis, []int{})
	logs := graph.Log1p(graph.Scale(graph.Exp(logSoftmax(output, axis)), 1/alpha))
	others := graph.Scale(graph.Sum(l.others(logs), axis), 1/float64(l.total-1))
	return o.Reduction.of(op, graph.Shift(graph.Sub(others, l.pick(logs)), math.Log1p(1/alpha)))
}

// JensenShannon is JensenShannonOptions{}.Loss.
func JensenShannon(output, target *graph.Node) *graph.Node {
	return JensenShannonOptions{}.Loss(output, target)
}

// JensenShannonOptions are the settings of the generalised Jensen-Shannon loss of one prediction.
type JensenShannonOptions struct {
	Pi        float64 // weight of the label, in (0, 1): near 0 cross-entropy, near 1 MAE; 0 means 0.5
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is [H(m) - (1-Pi) H(p)]/Z with the entropy H, m = Pi e_y + (1-Pi) p and Z = -(1-Pi) log(1-Pi), for logits [batch,
// classes, ...] and labels Int [batch, ...] (E. Englesson, H. Azizpour 2021, arXiv 2105.04522). It is a function
// of p_y alone.
func (o JensenShannonOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "jensen_shannon"
	pi := or(o.Pi, 0.5)
	if !(pi > 0 && pi < 1) {
		panic(graph.Fail(op, "Pi", "between 0 and 1, or 0 for 0.5", o.Pi))
	}
	logp := logProbability(op, output, target, o.Axis)
	p, u := graph.Exp(logp), missing(logp)
	// With m_y = 1 - (1-Pi) u the divergence is Pi KL(e_y, m) + (1-Pi) KL(p, m).
	logm := graph.Log1p(graph.Scale(u, pi-1))
	toLabel := graph.Scale(logm, -pi)
	own := graph.Mul(p, graph.Sub(logp, logm))
	toPrediction := graph.Scale(graph.Sub(own, graph.Scale(u, math.Log1p(-pi))), 1-pi)
	z := -(1 - pi) * math.Log1p(-pi)
	return o.Reduction.of(op, graph.Scale(graph.Add(toLabel, toPrediction), 1/z))
}
