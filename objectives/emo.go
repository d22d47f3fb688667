package objectives

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// Losses of the next word of a text that forgive more than cross-entropy does.

func init() {
	Register(
		Entry{Name: "emo",
			Summary: "cross-entropy and the cost of moving the probabilities to the label, given word vectors",
			Formula: "½(ce + D ce/D), D = Σ_k p_k (1 - cos(e_k, e_y)), quotient constant", Paper: "S. Ren et al. 2023, 2310.04691", Use: "language models, also to tune them"},
		Entry{Name: "mixce", Objective: MixCE,
			Summary: "cross-entropy mixed with an estimate of the reverse one, which believes likely labels more",
			Formula: "-(η + (1-η) p_y) log p_y, weight constant, η = 1/2", Paper: "S. Zhang et al. 2023, 2305.16958", Use: "language models, noisy text"},
		Entry{Name: "tailr", Objective: TaiLr,
			Summary: "cross-entropy that counts unlikely labels less, between it and the total variation",
			Formula: "-p_y/(γ + (1-γ) p_y) log p_y, weight constant, γ = 1e-5", Paper: "H. Ji et al. 2023, 2302.13344", Use: "language models, noisy text"},
	)
}

// EMOMode says how EMOOptions puts cross-entropy ce and transport cost D together. The weights are constants to
// differentiation, so that one of the two keeps its derivative and the other is brought to its size.
type EMOMode int

// The modes.
const (
	EMOScaled EMOMode = iota // (ce + ce/D · D)/2, of the size of ce: for training and for a new domain
	MLEScaled                // D/ce · ce + D, of the size of D: to tune a good model lightly
	EMOOnly                  // D
)

// EMOOptions are the settings of earth mover distance optimisation. It is used in place of cross-entropy: with vectors
// of words from a trained model in Embedding, Loss is an Objective; for those of the model at hand there is LossWith.
type EMOOptions struct {
	Embedding    *graph.Array // word vectors [vocabulary, units], which stay as they are
	Mode         EMOMode
	DetachTarget bool    // add p_y to the cost that the weight is made of, as the code for large models does
	MaxWeight    float64 // limit of the weight; 0 means none; the paper's code takes 3 for large models
	Ignore       []int   // labels that do not count; nil means -100
	Reduction    Reduction
}

// Loss is LossWith the vectors of Embedding.
func (o EMOOptions) Loss(output, target *graph.Node) *graph.Node {
	if o.Embedding == nil {
		panic(graph.Fail("emo", "Embedding", "an array [vocabulary, units]", "nil"))
	}
	return o.LossWith(output, target, graph.Cast(graph.Literal(output, o.Embedding), output.Dtype()))
}

// LossWith joins ce = -log p_y and D = Σ_k p_k (1 - cos(e_k, e_y)), p = softmax(output), as Mode says, for logits [...,
// vocabulary], labels Int [...] and word vectors e [vocabulary, units], which get no derivative: the transpose of the
// last layer's weight, or the embedding (S. Ren, Z. Wu, K. Zhu 2023, arXiv 2310.04691, the weights from its code). D is the
// earth mover distance of p to the label; its derivative by the logits is p_k (cost_k - D). Work and memory are those of
// another last layer. The mean is over the labels that count. DetachTarget leaves the cost's derivative as it is; with
// MLEScaled it gives sure labels a weight of 1/ce, so that the others are soon given up.
func (o EMOOptions) LossWith(output, target, embedding *graph.Node) *graph.Node {
	const op = "emo"
	axis := classAxis(op, output, -1)
	l := labels(op, output, target, axis, o.Ignore)
	logp := logSoftmax(output, axis)
	ce := graph.Neg(l.only(l.pick(logp)))
	p := graph.Exp(logp)
	cost := l.only(graph.Sum(graph.Mul(p, l.costs(op, output, embedding)), axis))
	if o.DetachTarget {
		cost = graph.Add(cost, graph.Detach(l.only(l.pick(p))))
	}
	weight := func(a, b *graph.Node) *graph.Node {
		w := graph.Detach(graph.Div(a, graph.Shift(b, 1e-10)))
		if o.MaxWeight > 0 {
			w = graph.Minimum(w, graph.Const(w, o.MaxWeight))
		}
		return w
	}
	switch o.Mode {
	case EMOScaled:
		cost = graph.Scale(graph.Add(ce, graph.Mul(weight(ce, cost), cost)), 0.5)
	case MLEScaled:
		cost = graph.Add(graph.Mul(weight(cost, ce), ce), cost)
	case EMOOnly:
	default:
		panic(graph.Fail(op, "Mode", "EMOScaled, MLEScaled or EMOOnly", int(o.Mode)))
	}
	return l.reduce(op, o.Reduction, cost)
}

// costs is 1 - cos(e_k, e_y) for every class k, in the output's shape and at least 0; at the label it is 0 exactly, so
// that the cost of a sure and right answer does not drown in rounding.
func (l labelled) costs(op string, output, embedding *graph.Node) *graph.Node {
	e := directions(op, embedding, output, l.total)
	own := graph.Take(e, graph.Reshape(l.safe, -1), 0)
	c := graph.Reshape(graph.ReLU(graph.OneMinus(graph.MatMulT(own, e, false, true))), graph.ShapeOf(output)...)
	return graph.Where(l.hot(), graph.Const(c, 0), c)
}

// directions is the word vectors at length 1, without derivative; a vector of 0 stays 0.
func directions(op string, embedding, like *graph.Node, classes int) *graph.Node {
	if t := graph.TypeOf(embedding); t.DType != like.Dtype() || len(t.Shape) != 2 || t.Shape[0] != classes {
		panic(graph.Fail(op, "embedding", fmt.Sprintf("%v [%d, units]", like.Dtype(), classes), t))
	}
	return graph.Normalize(graph.Detach(embedding), 1e-12, 1)
}

// reduce is the reduction of losses that are 0 where the label is ignored; the mean is over the others.
func (l labelled) reduce(op string, r Reduction, loss *graph.Node) *graph.Node {
	if r != ReduceMean {
		return r.of(op, loss)
	}
	return graph.Div(graph.Sum(loss), keepPositive(graph.Sum(l.valid)))
}

// CosineCost is the matrix 1 - cos(e_i, e_j), [vocabulary, vocabulary], of word vectors e [vocabulary, units]. It has no
// derivative.
func CosineCost(embedding *graph.Node) *graph.Node {
	shape := graph.ShapeOf(embedding)
	if len(shape) != 2 {
		panic(graph.Fail("cosine_cost", "embedding", "[vocabulary, units]", graph.TypeOf(embedding)))
	}
	e := directions("cosine_cost", embedding, embedding, shape[0])
	return graph.ReLU(graph.OneMinus(graph.MatMulT(e, e, false, true)))
}

// DEMD is 1 - (Σ_i p_i e_i)·(Σ_j q_j e_j) with vectors e at length 1: the differentiable upper bound Σ_ij p_i cost_ij q_j
// of the earth mover distance of distributions p and q [..., vocabulary], with the cost 1 - cos of word vectors
// [vocabulary, units], in shape [...]. If p or q is sure it is the distance itself (S. Ren et al. 2023, arXiv 2310.04691).
func DEMD(p, q, embedding *graph.Node) *graph.Node {
	const op = "demd"
	needSame(op, p, "q", q)
	shape := graph.ShapeOf(p)
	if len(shape) == 0 {
		panic(graph.Fail(op, "p", "[..., vocabulary]", graph.TypeOf(p)))
	}
	last := len(shape) - 1
	e := directions(op, embedding, p, shape[last])
	mean := func(x *graph.Node) *graph.Node { return graph.MatMul(graph.Reshape(x, -1, shape[last]), e) }
	return graph.Reshape(graph.OneMinus(graph.Sum(graph.Mul(mean(p), mean(q)), 1)), shape[:last]...)
}

// MixCE is MixCEOptions{}.Loss.
func MixCE(output, target *graph.Node) *graph.Node { return MixCEOptions{}.Loss(output, target) }

// MixCEOptions are the settings of the mixture of forward and reverse cross-entropy.
type MixCEOptions struct {
	Eta       float64 // in (0, 1]: part of the forward one, at 1 cross-entropy; 0 means 0.5
	Ignore    []int   // labels that do not count; nil means -100
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is -(Eta + (1-Eta) p_y) log p_y, the weight held constant, for logits [batch, classes, ...] and labels Int [batch,
// ...]; its derivative is that of the mixture with the estimate p_y log p_y of the reverse part (S. Zhang et al. 2023,
// arXiv 2305.16958). The mean is over the labels that count.
func (o MixCEOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "mixce"
	eta := or(o.Eta, 0.5)
	if !(eta > 0 && eta <= 1) {
		panic(graph.Fail(op, "Eta", "above 0 to 1, or 0 for 0.5", o.Eta))
	}
	return reweighted(op, output, target, o.Axis, o.Ignore, o.Reduction, func(p *graph.Node) *graph.Node {
		return graph.Shift(graph.Scale(p, 1-eta), eta)
	})
}

// TaiLr is TaiLrOptions{}.Loss.
func TaiLr(output, target *graph.Node) *graph.Node { return TaiLrOptions{}.Loss(output, target) }

// TaiLrOptions are the settings of TaiLr. TaiLrOptions{Gamma: 1-g, MinWeight: 0.2, CEFactor: g} is the "TVD" that EMO's
// code compares with.
type TaiLrOptions struct {
	Gamma     float64 // in (0, 1]: near 0 cross-entropy, at 1 total variation; 0 means 1e-5, for large vocabularies
	MinWeight float64 // least weight of a label, in [0, 1]
	CEFactor  float64 // part of cross-entropy mixed in, in [0, 1]
	Ignore    []int   // labels that do not count; nil means -100
	Axis      int     // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is -w log p_y, the weight w = max(MinWeight, p_y/(Gamma + (1-Gamma) p_y)) held constant, for logits [batch,
// classes, ...] and labels Int [batch, ...] (H. Ji et al. 2023, arXiv 2302.13344). The mean is over the labels
// that count.
func (o TaiLrOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "tailr"
	gamma := or(o.Gamma, 1e-5)
	switch {
	case !(gamma > 0 && gamma <= 1):
		panic(graph.Fail(op, "Gamma", "above 0 to 1, or 0 for 1e-5", o.Gamma))
	case !(o.MinWeight >= 0 && o.MinWeight <= 1):
		panic(graph.Fail(op, "MinWeight", "0 to 1", o.MinWeight))
	case !(o.CEFactor >= 0 && o.CEFactor <= 1):
		panic(graph.Fail(op, "CEFactor", "0 to 1", o.CEFactor))
	}
	return reweighted(op, output, target, o.Axis, o.Ignore, o.Reduction, func(p *graph.Node) *graph.Node {
		w := graph.Div(p, graph.Shift(graph.Scale(p, 1-gamma), gamma))
		if o.MinWeight > 0 {
			w = graph.Maximum(w, graph.Const(w, o.MinWeight))
		}
		return graph.Shift(graph.Scale(w, 1-o.CEFactor), o.CEFactor)
	})
}

// reweighted is cross-entropy times a weight made of p_y, which is held constant.
func reweighted(op string, output, target *graph.Node, axis int, ignore []int, r Reduction, weight func(p *graph.Node) *graph.Node) *graph.Node {
	axis = classAxis(op, output, axis)
	l := labels(op, output, target, axis, ignore)
	logp := l.only(l.pick(logSoftmax(output, axis)))
	return l.reduce(op, r, graph.Neg(graph.Mul(graph.Detach(weight(graph.Exp(logp))), logp)))
}
