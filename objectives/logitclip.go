package objectives

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(Entry{Name: "logit-clip", Objective: LogitClip{}.Of(CrossEntropy),
		Summary: "cross-entropy of logits whose norm is held at 1; LogitClip does it for any loss",
		Formula: "-log p_y of x min(1, 1/|x|)", Paper: "H. Wei et al. 2023, 2212.04055", Use: "wrong labels, with any loss"})
}

// LogitClip holds the norm of the logits of each example at Tau before an objective sees them, which bounds most losses
// and so what a wrong label can do: LogitClip{Tau: 1}.Of(objectives.CrossEntropy) (H. Wei et al. 2023, arXiv
// 2212.04055). Predictions are made with the logits as they are.
type LogitClip struct {
	Tau  float64 // 0 means 1; the paper chooses it by the validation accuracy
	P    float64 // the norm: 1, 2 or +Inf; 0 means 2
	Axis int     // of the classes in the output; 0 means 1, -1 the last one
}

// Of is the objective behind the clip.
func (c LogitClip) Of(objective Objective) Objective {
	return func(output, target *graph.Node) *graph.Node { return objective(c.Clip(output), target) }
}

// Clip is x where |x| < Tau and Tau x/|x| elsewhere, the norm taken over the classes, for x [batch, classes, ...]. At
// the edge the derivative is that of the clipped side.
func (c LogitClip) Clip(x *graph.Node) *graph.Node {
	const op = "logit_clip"
	axis := classAxis(op, x, c.Axis)
	tau := or(c.Tau, 1)
	if !(tau > 0) {
		panic(graph.Fail(op, "Tau", "above 0, or 0 for 1", c.Tau))
	}
	var norm *graph.Node
	switch or(c.P, 2) {
	case 1:
		norm = graph.Sum(graph.Abs(x), axis)
	case 2:
		norm = graph.Norm(x, axis)
	case math.Inf(1):
		norm = graph.Max(graph.Abs(x), axis)
	default:
		panic(graph.Fail(op, "P", "1, 2 or +Inf, or 0 for 2", c.P))
	}
	limit := graph.Const(x, tau)
	scale := graph.Div(limit, graph.Where(graph.Less(norm, limit), limit, norm))
	return graph.Mul(x, graph.KeepDims(scale, graph.ShapeOf(x), axis))
}

// CrossEntropyBounds are the least and the largest cross-entropy of clipped logits of at least two classes. They are
// reached for P 2; for other norms they hold but are not reached.
func (c LogitClip) CrossEntropyBounds(classes int) (low, high float64) {
	k, tau := float64(classes), or(c.Tau, 1)
	gap := 2 * tau
	if or(c.P, 2) == 2 {
		gap = tau * math.Sqrt(k/(k-1))
	}
	return math.Log1p((k - 1) * math.Exp(-gap)), math.Log1p((k - 1) * math.Exp(gap))
}
