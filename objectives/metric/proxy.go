package metric

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func init() {
	objectives.Provide("proxy-nca", ProxyNCAOptions{}.Loss)
	objectives.Provide("proxy-nca++", ProxyNCAOptions{Proxies: AllProxies, Temperature: 1.0 / 9}.Loss)
	objectives.Provide("proxy-anchor", ProxyAnchorOptions{}.Loss)
	objectives.Provide("soft-triple", SoftTripleOptions{}.Loss)
}

// Proxies is a layer that ends a model for the losses of cosines: the cosines of x [batch, features] to trained vectors,
// one for each class, [batch, classes], or several, [batch, classes, centers]. The parameter is "weight" [classes,
// features] or [classes, centers, features].
type Proxies struct {
	Classes int
	Centers int    // vectors of each class; 0 means one, and no third axis
	Name    string // of the layer; empty means "proxies" and a number
}

// Apply makes the cosines' node.
func (l Proxies) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	const op = "proxies"
	needMatrix(op, "input", x)
	if l.Classes < 1 || l.Centers < 0 {
		panic(graph.Fail(op, "Classes and Centers", "at least 1 class, at least 0 centers", []int{l.Classes, l.Centers}))
	}
	rows, d := graph.ShapeOf(x)[0], graph.ShapeOf(x)[1]
	init := graph.NormalInit(1 / math.Sqrt(float64(max(d, 1))))
	s = s.Layer("proxies", l.Name)
	if l.Centers == 0 {
		return graph.MatMulT(Unit(x), Unit(s.Param("weight", init, l.Classes, d)), false, true)
	}
	w := graph.Reshape(s.Param("weight", init, l.Classes, l.Centers, d), l.Classes*l.Centers, d)
	return graph.Reshape(graph.MatMulT(Unit(x), Unit(w), false, true), rows, l.Classes, l.Centers)
}

// Denominator says which proxies an example's own is compared with.
type Denominator int

// The denominators.
const (
	OtherProxies Denominator = iota // those of the other classes: the loss may be negative
	AllProxies                      // all: the loss is a cross-entropy
)

// ProxyNCAOptions are the settings of the proxy NCA loss.
type ProxyNCAOptions struct {
	Proxies     Denominator
	Temperature float64 // divides the squared distances; 0 means 1
}

// Loss is the mean of D_y²/T + log Σ_k exp(-D_k²/T) for cosines [batch, classes] and labels Int [batch], with the squared
// distance D² = 2 - 2 cos of unit vectors and T the temperature (Y. Movshovitz-Attias et al. 2017, arXiv 1703.07464, eq.
// 8; over all proxies it is E. Teh et al. 2020, arXiv 2004.01113, eq. 6).
func (o ProxyNCAOptions) Loss(cosines, labels *graph.Node) *graph.Node {
	const op = "proxy_nca"
	p := ToClasses(cosines, labels)
	logits := graph.Scale(p.Squared, -1/or(o.Temperature, 1))
	own := graph.Sum(graph.Mul(logits, p.Positive), 1)
	switch o.Proxies {
	case AllProxies:
		return mean(graph.Sub(graph.LogSumExp(logits, 1), own))
	case OtherProxies:
		if classes := graph.ShapeOf(cosines)[1]; classes < 2 {
			panic(graph.Fail(op, "cosines", "at least 2 classes, for OtherProxies", graph.TypeOf(cosines)))
		}
		return mean(graph.Sub(logSumExp(logits, p.Negative, 1), own))
	}
	panic(graph.Fail(op, "Proxies", "OtherProxies or AllProxies", int(o.Proxies)))
}

// ProxyAnchorOptions are the settings of the proxy anchor loss.
type ProxyAnchorOptions struct {
	Alpha float64 // sharpness α; 0 means 32
	Delta float64 // margin δ; 0 means 0.1
}

// Loss is that of Of for cosines [batch, classes] and labels Int [batch].
func (o ProxyAnchorOptions) Loss(cosines, labels *graph.Node) *graph.Node {
	return o.Of(ToClasses(cosines, labels))
}

// Of is the mean, over the columns that have positives, of log(1 + Σ_p exp -α(s - δ)), plus the mean over all columns of
// log(1 + Σ_n exp α(s + δ)), each sum over the rows (S. Kim et al. 2020, arXiv 2003.13911, eq. 4).
func (o ProxyAnchorOptions) Of(p Pairs) *graph.Node {
	alpha, delta := or(o.Alpha, 32), or(o.Delta, 0.1)
	s := p.Similarity
	pull := graph.Softplus(logSumExp(graph.Scale(graph.Shift(s, -delta), -alpha), p.Positive, 0))
	push := graph.Softplus(logSumExp(graph.Scale(graph.Shift(s, delta), alpha), p.Negative, 0))
	return graph.Add(meanWhere(pull, anyOf(p.Positive, 0)), mean(push))
}

// SoftTripleOptions are the settings of the SoftTriple loss.
type SoftTripleOptions struct {
	Scale  float64 // λ; 0 means 20
	Margin float64 // δ, subtracted from the label's similarity; 0 means 0.01
	Gamma  float64 // γ: how soft the choice among the centers of a class is; 0 means 0.1
}

// Loss is the mean cross-entropy of λ(s_k - δ [k = y]) with s_k = Σ_c softmax(cos_kc/γ) cos_kc for cosines [batch, classes,
// centers], as the layer Proxies makes them, and labels Int [batch] (Q. Qian et al. 2019, arXiv 1909.05235, eq. 8).
// Cosines [batch, classes] count as one center a class.
func (o SoftTripleOptions) Loss(cosines, labels *graph.Node) *graph.Node {
	s := o.Similarity(cosines)
	needLabels("soft_triple", s, labels)
	return marginSoftmax(s, labels, or(o.Scale, 20), func(own *graph.Node) *graph.Node {
		return graph.Shift(own, -or(o.Margin, 0.01))
	})
}

// Similarity is the classes' scores s [batch, classes] of Loss.
func (o SoftTripleOptions) Similarity(cosines *graph.Node) *graph.Node {
	if shape := graph.ShapeOf(cosines); len(shape) == 2 {
		return cosines
	} else if len(shape) != 3 || !graph.TypeOf(cosines).IsFloat() {
		panic(graph.Fail("soft_triple", "cosines", "[batch, classes, centers] of a floating-point type", graph.TypeOf(cosines)))
	}
	choice := graph.Softmax(graph.Scale(cosines, 1/or(o.Gamma, 0.1)), 2)
	return graph.Sum(graph.Mul(choice, cosines), 2)
}

// Regularizer is the mean distance of the centers of a class, over classes, for the weight [classes, centers, features]
// of a Proxies layer: Σ_k Σ_{c<e} |w_kc - w_ke| / (classes·centers·(centers - 1)), the w brought to unit length. It makes
// superfluous centers coincide; the paper adds 0.2 times it (Q. Qian et al. 2019, arXiv 1909.05235, eq. 9).
func (o SoftTripleOptions) Regularizer(weight *graph.Node) *graph.Node {
	shape := graph.ShapeOf(weight)
	if len(shape) != 3 || !graph.TypeOf(weight).IsFloat() {
		panic(graph.Fail("soft_triple", "weight", "[classes, centers, features] of a floating-point type", graph.TypeOf(weight)))
	}
	w := graph.Normalize(weight, 1e-12, 2)
	gram := graph.MatMulT(w, w, false, true)
	above := upper(weight, shape[1])
	d := safeSqrt(graph.Mul(above, graph.Shift(graph.Scale(gram, -2), 2)))
	return graph.Scale(graph.Sum(d), 1/float64(max(shape[0]*shape[1]*(shape[1]-1), 1)))
}
