package metric

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func init() {
	objectives.Provide("norm-softmax", NormSoftmaxOptions{}.Loss)
	objectives.Provide("cosface", CosFaceOptions{}.Loss)
	objectives.Provide("arcface", ArcFaceOptions{}.Loss)
	objectives.Provide("sphereface", SphereFaceOptions{}.Loss)
}

// NormSoftmaxOptions are the settings of the cross-entropy of cosines.
type NormSoftmaxOptions struct {
	Scale float64 // s; 0 means 30
}

// Loss is the mean cross-entropy of s·cos for cosines [batch, classes], as the layer Proxies makes them, and labels Int
// [batch] (F. Wang et al. 2017, arXiv 1704.06369; A. Zhai, H. Wu 2018, arXiv 1811.12649).
func (o NormSoftmaxOptions) Loss(cosines, labels *graph.Node) *graph.Node {
	needClasses("norm_softmax", cosines, labels)
	return marginSoftmax(cosines, labels, or(o.Scale, 30), nil)
}

// CosFaceOptions are the settings of the cross-entropy with an additive cosine margin, also called AM-softmax.
type CosFaceOptions struct {
	Scale  float64 // s; 0 means 30
	Margin float64 // m; 0 means 0.35, near 0, as 1e-300, it is NormSoftmax
}

// Loss is the mean cross-entropy of s·cos, the label's cosine replaced by cos - m, for cosines [batch, classes] and labels
// Int [batch] (H. Wang et al. 2018, arXiv 1801.09414, eq. 4; F. Wang et al. 2018, arXiv 1801.05599).
func (o CosFaceOptions) Loss(cosines, labels *graph.Node) *graph.Node {
	needClasses("cosface", cosines, labels)
	return marginSoftmax(cosines, labels, or(o.Scale, 30), func(own *graph.Node) *graph.Node {
		return graph.Shift(own, -or(o.Margin, 0.35))
	})
}

// ArcFaceOptions are the settings of the cross-entropy with an additive angular margin.
type ArcFaceOptions struct {
	Scale  float64 // s; 0 means 30
	Margin float64 // m in radians, below π; 0 means 0.5, near 0, as 1e-300, it is NormSoftmax
}

// Loss is the mean cross-entropy of s·cos, the label's cosine cos θ replaced by cos(θ + m) = cos m cos θ - sin m sin θ, for
// cosines [batch, classes] and labels Int [batch] (J. Deng et al. 2019, arXiv 1801.07698, eq. 3). The derivative of sin θ
// is taken as 0 where it is infinite, at |cos θ| = 1.
func (o ArcFaceOptions) Loss(cosines, labels *graph.Node) *graph.Node {
	needClasses("arcface", cosines, labels)
	m := or(o.Margin, 0.5)
	if !(m >= 0 && m < math.Pi) {
		panic(graph.Fail("arcface", "Margin", "0 to π", o.Margin))
	}
	return marginSoftmax(cosines, labels, or(o.Scale, 30), func(own *graph.Node) *graph.Node {
		sine := safeSqrt(graph.OneMinus(graph.Square(own)))
		return graph.Sub(graph.Scale(own, math.Cos(m)), graph.Scale(sine, math.Sin(m)))
	})
}

// SphereFaceOptions are the settings of the cross-entropy with a multiplied angle.
type SphereFaceOptions struct {
	Scale float64 // s; 0 means 30
	M     int     // the factor m; 0 means 4, 1 is NormSoftmax
}

// Loss is the mean cross-entropy of s·cos, the label's cosine cos θ replaced by ψ(θ) = (-1)^k cos mθ - 2k with k =
// ⌊mθ/π⌋, for cosines [batch, classes] and labels Int [batch] (W. Liu et al. 2017, arXiv 1704.08063, eq. 6; the paper has
// the embedding's norm for s).
func (o SphereFaceOptions) Loss(cosines, labels *graph.Node) *graph.Node {
	needClasses("sphereface", cosines, labels)
	if o.M < 0 {
		panic(graph.Fail("sphereface", "M", "at least 1, or 0 for 4", o.M))
	}
	return marginSoftmax(cosines, labels, or(o.Scale, 30), o.psi)
}

// psi is ψ as a function of c = cos θ: cos mθ is the Chebyshev polynomial T_m(c), and k the number of i in 1..m-1 with
// θ ≥ iπ/m, that is c ≤ cos(iπ/m).
func (o SphereFaceOptions) psi(c *graph.Node) *graph.Node {
	m := o.M
	if m == 0 {
		m = 4
	}
	before, cosine := graph.Fill(c, 1), c
	k, sign := graph.Fill(c, 0), graph.Fill(c, 1)
	for i := 1; i < m; i++ {
		before, cosine = cosine, graph.Sub(graph.Scale(graph.Mul(c, cosine), 2), before)
		past := graph.LessEqual(c, graph.Const(c, math.Cos(float64(i)*math.Pi/float64(m))))
		k, sign = graph.Add(k, past), graph.Mul(sign, graph.OneMinus(graph.Scale(past, 2)))
	}
	return graph.Sub(graph.Mul(sign, cosine), graph.Scale(k, 2))
}

// marginSoftmax is the mean cross-entropy of scale·cosines after own, if not nil, has changed the label's cosine.
func marginSoftmax(cosines, labels *graph.Node, scale float64, own func(c *graph.Node) *graph.Node) *graph.Node {
	if own != nil {
		at := graph.Reshape(labels, graph.ShapeOf(cosines)[0], 1)
		c := graph.TakeAlong(cosines, at, 1)
		change := graph.Sub(own(c), c)
		cosines = graph.Add(cosines, graph.PutAlong(change, at, 1, graph.ShapeOf(cosines)[1]))
	}
	return objectives.CrossEntropyOptions{Ignore: []int{}}.Loss(graph.Scale(cosines, scale), labels)
}

// needClasses panics unless cosines are [batch, classes] with labels Int [batch].
func needClasses(op string, cosines, labels *graph.Node) {
	needMatrix(op, "cosines", cosines)
	needLabels(op, cosines, labels)
	if graph.ShapeOf(cosines)[1] < 1 {
		panic(graph.Fail(op, "cosines", "at least one class", fmt.Sprint(graph.TypeOf(cosines))))
	}
}
