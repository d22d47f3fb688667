package objectives

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(Entry{Name: "smooth-adversarial",
		Summary: "comp-sum loss plus the largest change of the margins in a ball around the input; SmoothAdversarialOptions.Loss",
		Formula: "comp-sum + ν sup_{|x'-x|≤γ} |Δ(x') - Δ(x)|, Δ_j = x_y - x_j", Paper: "A. Mao et al. 2023, 2304.07288", Use: "robustness to small changes of the input"})
}

// Attack is projected gradient ascent in a ball around the input, from a random start (A. Madry et al. 2018, arXiv
// 1706.06083).
type Attack struct {
	Radius    float64 // of the ball; 0 means 8/255
	Euclidean bool    // the ball is |x'-x|_2 ≤ Radius for each example, not |x'-x|_∞ ≤ Radius
	Steps     int     // 0 means 10
	StepSize  float64 // 0 means 2.5 Radius/Steps
	Low, High float64 // limits of the input's values; both 0 means none
}

// Find is the input near x, [batch, ...], for which loss is large; loss builds a node of one number or one for each
// example. Its steps are part of the graph, each costs a gradient by x; no derivative passes through the result. It
// draws from the scope's stream "attack".
func (a Attack) Find(s *graph.Scope, x *graph.Node, loss func(x *graph.Node) *graph.Node) *graph.Node {
	const op = "attack"
	shape := graph.ShapeOf(x)
	if len(shape) < 2 || !graph.TypeOf(x).IsFloat() {
		panic(graph.Fail(op, "x", "[batch, ...] of a floating-point type", graph.TypeOf(x)))
	}
	radius := or(a.Radius, 8.0/255)
	steps := a.Steps
	if steps == 0 {
		steps = 10
	}
	if !(radius > 0) || steps < 0 || a.High < a.Low {
		panic(graph.Fail(op, "settings", "Radius and Steps above 0, Low below High", a))
	}
	size := or(a.StepSize, 2.5*radius/float64(steps))
	x = graph.Detach(x)
	noise := graph.Cast(s.Uniform("attack", shape...), x.Dtype())
	at := a.project(x, graph.Scale(graph.Shift(graph.Scale(noise, 2), -1), radius), radius)
	for range steps {
		slope := graph.Grad(graph.Sum(loss(at)), at)[0]
		step := graph.Sub(graph.Add(at, graph.Scale(a.direction(slope), size)), x)
		at = graph.Detach(a.project(x, step, radius))
	}
	return at
}

// direction is the longest ascent in the ball's norm.
func (a Attack) direction(slope *graph.Node) *graph.Node {
	if !a.Euclidean {
		return graph.Sign(slope)
	}
	return graph.Normalize(slope, 1e-20, featureAxes(slope)...)
}

// project is the nearest allowed point to x + change.
func (a Attack) project(x, change *graph.Node, radius float64) *graph.Node {
	limit := graph.Const(x, radius)
	if a.Euclidean {
		axes := featureAxes(change)
		norm := graph.KeepDims(graph.Norm(change, axes...), graph.ShapeOf(change), axes...)
		change = graph.Mul(change, graph.Div(limit, graph.Maximum(norm, limit)))
	} else {
		change = graph.Minimum(graph.Maximum(change, graph.Neg(limit)), limit)
	}
	at := graph.Add(x, change)
	if a.Low != 0 || a.High != 0 {
		at = graph.Minimum(graph.Maximum(at, graph.Const(x, a.Low)), graph.Const(x, a.High))
	}
	return at
}

// featureAxes is all axes but the first.
func featureAxes(x *graph.Node) []int {
	axes := make([]int, len(graph.ShapeOf(x))-1)
	for i := range axes {
		axes[i] = i + 1
	}
	return axes
}

// SmoothAdversarialOptions are the settings of the smooth adversarial comp-sum loss.
type SmoothAdversarialOptions struct {
	Tau    float64 // of the comp-sum loss, as in CompSumOptions; 1 is cross-entropy
	Nu     float64 // weight of the change of the margins; 0 means sqrt(classes-1), for the margin loss of ρ = 1
	Attack Attack
}

// Loss is the comp-sum loss plus Nu times the largest |Δ(x') - Δ(x)|_2 in the attack's ball around the input x, [batch,
// ...], where Δ is the margins of the label, Int [batch], to the other classes; model gives logits [batch, classes] and
// must share its parameters when it is applied again, as in s.Root(). The attack finds x' and is not differentiated.
// From Nu = sqrt(classes-1)/ρ on it bounds the adversarial comp-sum ρ-margin loss, ρ ≤ 1 (A. Mao, M. Mohri, Y. Zhong
// 2023, arXiv 2304.07288).
func (o SmoothAdversarialOptions) Loss(s *graph.Scope, model func(x *graph.Node) *graph.Node, x, target *graph.Node) *graph.Node {
	const op = "smooth_adversarial"
	logits := model(x)
	shape := graph.ShapeOf(logits)
	if len(shape) != 2 {
		panic(graph.Fail(op, "model", "logits [batch, classes]", graph.TypeOf(logits)))
	}
	clean := CompSumOptions{Tau: o.Tau}.Loss(logits, target)
	l := labels(op, logits, target, 1, []int{})
	change := func(from *graph.Node) func(x *graph.Node) *graph.Node {
		return func(x *graph.Node) *graph.Node {
			return graph.Norm(l.margins(graph.Sub(model(x), from), 0), 1)
		}
	}
	worst := o.Attack.Find(s, x, change(graph.Detach(logits)))
	nu := or(o.Nu, math.Sqrt(float64(shape[1]-1)))
	return graph.Add(clean, graph.Scale(graph.Mean(change(logits)(worst)), nu))
}
