package metric

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func init() {
	objectives.Provide("hyperbolic-pairwise-confusion", func(output, _ *graph.Node) *graph.Node { return PairwiseConfusionOptions{}.Loss(output) })
}

// Ball is hyperbolic space as the Poincaré ball: the points x with |x|² < 1/c, of curvature -c. Points and vectors are
// the last axis of a node. Its formulas are those of O. Ganea et al. 2018 (arXiv 1805.09112).
type Ball struct {
	Curvature float64 // c, above 0; 0 means 0.1
}

func (b Ball) c() float64 {
	c := or(b.Curvature, 0.1)
	if !(c > 0) {
		panic(graph.Fail("ball", "Curvature", "above 0, or 0 for 0.1", b.Curvature))
	}
	return c
}

// Add is the Möbius sum x ⊕ y = ((1 + 2c<x,y> + c|y|²) x + (1 - c|x|²) y)/(1 + 2c<x,y> + c²|x|²|y|²) of [..., features].
func (b Ball) Add(x, y *graph.Node) *graph.Node {
	c := b.c()
	xy, xx, yy := graph.Scale(inner(x, y), 2*c), graph.Scale(inner(x, x), c), graph.Scale(inner(y, y), c)
	top := graph.Add(graph.Mul(graph.Shift(graph.Add(xy, yy), 1), x), graph.Mul(graph.OneMinus(xx), y))
	return graph.Div(top, graph.Shift(graph.Add(xy, graph.Mul(xx, yy)), 1))
}

// Exp0 is the exponential map at the origin, tanh(√c|u|) u/(√c|u|), then Project: vectors u [..., features] to points.
func (b Ball) Exp0(u *graph.Node) *graph.Node {
	return b.Project(b.along(u, graph.Scale(norm(u), math.Sqrt(b.c()))))
}

// Exp is the exponential map at p, p ⊕ tanh(√c λ_p|u|/2) u/(√c|u|) with λ_p = 2/(1 - c|p|²), then Project.
func (b Ball) Exp(p, u *graph.Node) *graph.Node {
	c := b.c()
	half := graph.Reciprocal(graph.OneMinus(graph.Scale(inner(p, p), c))) // λ_p/2
	v := graph.Mul(u, half)
	return b.Project(b.Add(p, b.along(v, graph.Scale(norm(v), math.Sqrt(c)))))
}

// along is tanh(t)/t · u, for t = √c|u|, and u where t is 0.
func (b Ball) along(u, t *graph.Node) *graph.Node {
	zero := graph.Equal(t, graph.Const(t, 0))
	one := graph.Const(t, 1)
	safe := graph.Where(zero, one, t)
	return graph.Mul(u, graph.Where(zero, one, graph.Div(graph.Tanh(safe), safe)))
}

// Project brings points on or beyond (1 - 10⁻³)/√c to that distance from the origin.
func (b Ball) Project(x *graph.Node) *graph.Node {
	most := (1 - 1e-3) / math.Sqrt(b.c())
	n := norm(x)
	outside := graph.Greater(n, graph.Const(n, most))
	return graph.Mul(x, graph.Where(outside, graph.Div(graph.Const(n, most), graph.Where(outside, n, graph.Const(n, 1))), graph.Const(n, 1)))
}

// Distance is 2/√c artanh(√c|(-x) ⊕ y|) of points [..., features], [...]; artanh's argument is held below 1 - 10⁻⁵. At x
// = y its derivative is taken as 0.
func (b Ball) Distance(x, y *graph.Node) *graph.Node { return b.distance(x, y, graph.Atanh) }

func (b Ball) distance(x, y *graph.Node, inverse func(*graph.Node) *graph.Node) *graph.Node {
	root := math.Sqrt(b.c())
	t := graph.Norm(b.Add(graph.Neg(x), y), last(x))
	t = graph.Clip(graph.Scale(t, root), 0, 1-1e-5)
	return graph.Scale(inverse(t), 2/root)
}

// RiemannianScale is x [..., features]; its cotangent is multiplied by (1 - c|x|²)²/4, which turns the Euclidean gradient
// at points of the ball into the Riemannian one.
func (b Ball) RiemannianScale(x *graph.Node) *graph.Node {
	c := b.c()
	return graph.CustomVJP(x, []*graph.Node{x}, func(_, dy *graph.Node, x []*graph.Node) []*graph.Node {
		return []*graph.Node{graph.Mul(dy, graph.Scale(graph.Square(graph.OneMinus(graph.Scale(inner(x[0], x[0]), c))), 0.25))}
	})
}

// Logits are the distances of points x [batch, features] to the hyperplanes through p [classes, features] with normals a
// [classes, features], signed and scaled, [batch, classes]:
//
//	λ_p|a|/√c asinh(2√c <(-p)⊕x, a>/((1 - c|(-p)⊕x|²)|a|)),  λ_p = 2/(1 - c|p|²)
//
// (O. Ganea et al. 2018, arXiv 1805.09112, eq. 25), which tends to 4<x - p, a> as c tends to 0. As 1 - c|(-p)⊕x|² is (1 -
// c|p|²)(1 - c|x|²) over the Möbius sum's denominator, inner products are enough.
func (b Ball) Logits(x, p, a *graph.Node) *graph.Node {
	const op = "hyperbolic_logits"
	needMatrix(op, "points", x)
	needMatrix(op, "p", p)
	needSame(op, "a", p, a)
	if want, got := graph.ShapeOf(p)[1], graph.ShapeOf(x)[1]; want != got || x.Dtype() != p.Dtype() {
		panic(graph.Fail(op, "points", fmt.Sprintf("[batch, %d] of p's type", want), graph.TypeOf(x)))
	}
	c := b.c()
	root := math.Sqrt(c)
	row := func(v *graph.Node) *graph.Node { return graph.Reshape(v, 1, graph.ShapeOf(p)[0]) }
	xx := graph.Scale(inner(x, x), c) // [batch, 1]
	pp, pa, length := row(graph.Scale(inner(p, p), c)), row(inner(p, a)), row(norm(a))
	xp, xa := graph.MatMulT(x, p, false, true), graph.MatMulT(x, a, false, true)
	alpha := graph.Shift(graph.Sub(xx, graph.Scale(xp, 2*c)), 1)
	beta := graph.OneMinus(pp)
	none := graph.Equal(length, graph.Const(length, 0))
	safe := graph.Where(none, graph.Const(length, 1), length)
	top := graph.Scale(graph.Sub(graph.Mul(beta, xa), graph.Mul(alpha, pa)), 2*root)
	ratio := graph.Div(top, graph.Mul(graph.Mul(beta, graph.OneMinus(xx)), safe))
	return graph.Mul(graph.Scale(graph.Div(length, beta), 2/root), graph.Asinh(ratio))
}

// ClipFeatures is u·min(1, R/(|u| + 10⁻⁵)) for u [..., features]: features that stay where the ball's numbers are exact (Y.
// Guo et al. 2022, arXiv 2107.11472). R 0 means 2.
func ClipFeatures(u *graph.Node, r float64) *graph.Node {
	n := graph.Shift(norm(u), 1e-5)
	return graph.Mul(u, graph.Minimum(graph.Const(n, 1), graph.Div(graph.Const(n, or(r, 2)), n)))
}

// HyperbolicLogits is a layer that ends a model in hyperbolic space: ClipFeatures, Exp0, RiemannianScale, Logits; [batch,
// features] to logits [batch, classes] for objectives.CrossEntropy. Parameters are "point" and "normal" [classes,
// features]: p_k = Exp0(point_k) and a_k = normal_k (1 - c|p_k|²).
type HyperbolicLogits struct {
	Ball
	Classes int
	Clip    float64 // of ClipFeatures; 0 means 2, +Inf none
	Name    string  // of the layer; empty means "hyperbolic" and a number
}

// Apply makes the logits' node.
func (l HyperbolicLogits) Apply(s *graph.Scope, u *graph.Node) *graph.Node {
	points := l.points(u)
	return l.of(s.Layer("hyperbolic", l.Name), points)
}

// points are the features on the ball.
func (l HyperbolicLogits) points(u *graph.Node) *graph.Node {
	needMatrix("hyperbolic_logits", "features", u)
	if !math.IsInf(l.Clip, 1) {
		u = ClipFeatures(u, l.Clip)
	}
	return l.RiemannianScale(l.Exp0(u))
}

func (l HyperbolicLogits) of(s *graph.Scope, points *graph.Node) *graph.Node {
	if l.Classes < 1 {
		panic(graph.Fail("hyperbolic_logits", "Classes", "at least 1", l.Classes))
	}
	d := graph.ShapeOf(points)[1]
	init := graph.NormalInit(1 / math.Sqrt(float64(max(d, 1))))
	p := l.Exp0(s.Param("point", init, l.Classes, d))
	a := graph.Mul(s.Param("normal", init, l.Classes, d), graph.OneMinus(graph.Scale(inner(p, p), l.c())))
	return l.Logits(points, p, a)
}

// PairwiseConfusionOptions are the settings of the hyperbolic pairwise confusion loss.
type PairwiseConfusionOptions struct {
	Ball
	Clip     float64 // of ClipFeatures; 0 means 2, +Inf none
	Distance DistanceForm
}

// DistanceForm says which inverse function makes the distance.
type DistanceForm int

// The forms.
const (
	Artanh DistanceForm = iota // the hyperbolic distance
	Arctan                     // as in the code published with the paper
)

// Loss is that of Points for features [batch, features], after ClipFeatures and Exp0.
func (o PairwiseConfusionOptions) Loss(features *graph.Node) *graph.Node {
	return o.Points(HyperbolicLogits{Ball: o.Ball, Clip: o.Clip}.points(features))
}

// Points is 1/B Σ d(x_i, x_{i+B/2}) over the B/2 pairs of points x [B, features] of the ball, B even (K. Narayan, V. Patel
// 2024, arXiv 2404.14406): half the mean distance. It makes what tells examples of one class apart useless.
func (o PairwiseConfusionOptions) Points(x *graph.Node) *graph.Node {
	const op = "pairwise_confusion"
	needMatrix(op, "points", x)
	n := graph.ShapeOf(x)[0]
	if n%2 != 0 {
		panic(graph.Fail(op, "points", "an even number", n))
	}
	inverse := graph.Atanh
	switch o.Distance {
	case Artanh:
	case Arctan:
		inverse = graph.Atan
	default:
		panic(graph.Fail(op, "Distance", "Artanh or Arctan", int(o.Distance)))
	}
	d := o.distance(graph.Slice(x, 0, 0, n/2, 1), graph.Slice(x, 0, n/2, n, 1), inverse)
	return graph.Scale(mean(d), 0.5)
}

// PseudoNegatives draws examples of no class: n ~ N(μ, Std²) around the running mean μ ← Alpha μ + (1 - Alpha)·batch mean
// of normal features, the state "mean" [features], at first 0.
type PseudoNegatives struct {
	Std   float64 // 0 means 1
	Alpha float64 // 0 means 0.8
	Name  string  // of the scope of the mean; empty means "pseudo" and a number
}

// Draw makes constants of the type of the features [batch, features], new at each step. In training the mean moves first;
// the program must be compiled with the graph's Updates.
func (l PseudoNegatives) Draw(s *graph.Scope, features *graph.Node) *graph.Node {
	needMatrix("pseudo_negatives", "features", features)
	shape := graph.ShapeOf(features)
	s = s.Layer("pseudo", l.Name)
	state := s.State("mean", graph.Zeros(), shape[1])
	now := state
	if s.Training() {
		alpha := or(l.Alpha, 0.8)
		now = graph.Add(graph.Scale(state, alpha), graph.Scale(graph.Detach(graph.Mean(features, 0)), 1-alpha))
		s.Update(state, now)
	}
	return graph.Add(now, graph.Scale(s.Normal("pseudo", shape...), or(l.Std, 1)))
}

// OneClass learns from normal examples only (K. Narayan, V. Patel 2024, arXiv 2404.14406): their features and
// pseudo-negatives go through the head into hyperbolic space, where a linear classifier separates them (class 0 is
// normal), while pairs of normal ones are pulled together.
type OneClass struct {
	Head      func(s *graph.Scope, features *graph.Node) *graph.Node // [batch, features] to [batch, embedding]
	Negatives PseudoNegatives
	Ball
	Clip      float64 // of ClipFeatures; 0 means 2, +Inf none
	Confusion float64 // weight of the pairwise confusion; 0 means 1, near 0, as 1e-300, none
}

// Loss is the cross-entropy over both halves plus the pairwise confusion of the normal half, for normal features [batch,
// features], batch even.
func (o OneClass) Loss(s *graph.Scope, normals *graph.Node) *graph.Node {
	const op = "one_class"
	needMatrix(op, "features", normals)
	n := graph.ShapeOf(normals)[0]
	points, logits := o.forward(s, graph.Concat(0, normals, o.Negatives.Draw(s, normals)))
	labels := make([]int, 2*n)
	for i := range n {
		labels[n+i] = 1
	}
	ce := objectives.CrossEntropyOptions{Ignore: []int{}}.Loss(logits, graph.Literal(logits, graph.ArrayOf(labels, 2*n)))
	pc := PairwiseConfusionOptions{Ball: o.Ball}.Points(graph.Slice(points, 0, 0, n, 1))
	return graph.Add(ce, graph.Scale(pc, or(o.Confusion, 1)))
}

// Score is the probability of not being normal, [batch], for features [batch, features]. In a scope of another graph it
// finds the parameters that Loss made.
func (o OneClass) Score(s *graph.Scope, features *graph.Node) *graph.Node {
	needMatrix("one_class", "features", features)
	_, logits := o.forward(s, features)
	return graph.Sigmoid(graph.Sub(column(logits, 1), column(logits, 0)))
}

func (o OneClass) forward(s *graph.Scope, features *graph.Node) (points, logits *graph.Node) {
	l := HyperbolicLogits{Ball: o.Ball, Classes: 2, Clip: o.Clip}
	points = l.points(o.Head(s, features))
	return points, l.of(s.Layer("hyperbolic", ""), points)
}

// column is column i of a matrix.
func column(x *graph.Node, i int) *graph.Node {
	return graph.Reshape(graph.Slice(x, 1, i, i+1, 1), graph.ShapeOf(x)[0])
}

// inner is the inner product over the last axis, which stays with size 1.
func inner(x, y *graph.Node) *graph.Node {
	p := graph.Mul(x, y)
	return graph.KeepDims(graph.Sum(p, last(p)), graph.ShapeOf(p), last(p))
}

// norm is the Euclidean norm over the last axis, which stays with size 1; its derivative at 0 is 0.
func norm(x *graph.Node) *graph.Node {
	return graph.KeepDims(graph.Norm(x, last(x)), graph.ShapeOf(x), last(x))
}

// last is the last axis.
func last(x *graph.Node) int {
	n := len(graph.ShapeOf(x))
	if n == 0 {
		panic(graph.Fail("ball", "points", "[..., features]", graph.TypeOf(x)))
	}
	return n - 1
}
