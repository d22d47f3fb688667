package metric

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func init() {
	objectives.Provide("circle", CircleOptions{}.Loss)
	objectives.Provide("circle-class", CircleOptions{}.ClassLoss)
	objectives.Provide("unified-pair", UnifiedPairOptions{}.Loss)
}

// Grouping says which similarities of a batch are compared with each other.
type Grouping int

// The groupings.
const (
	PerAnchor Grouping = iota // those of each example; the mean over the examples that have both kinds
	AllPairs                  // those of all pairs of the batch, each pair once
)

// UnifiedPairOptions are the settings of the unified loss of similarity pairs.
type UnifiedPairOptions struct {
	Margin   float64 // m; 0 means 0.25
	Gamma    float64 // the scale γ; 0 means 80
	Grouping Grouping
}

// Loss is that of Of for embeddings [batch, features], brought to unit length, and labels Int [batch].
func (o UnifiedPairOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	return o.Of(inBatch(embeddings, labels))
}

// Of is log(1 + Σ_n Σ_p exp γ(s_n - s_p + m)) with the positive similarities s_p and the negative ones s_n of each row
// (Y. Sun et al. 2020, arXiv 2002.10857, eq. 1). With one positive a row it is the cross-entropy of γ·s with margin m;
// divided by γ it tends, for large γ, to the triplet loss max(0, max s_n - min s_p + m).
func (o UnifiedPairOptions) Of(p Pairs) *graph.Node {
	g, m := or(o.Gamma, 80), or(o.Margin, 0.25)
	return o.Grouping.compare("unified_pair", p,
		func(s *graph.Node) *graph.Node { return graph.Scale(s, -g) },
		func(s *graph.Node) *graph.Node { return graph.Scale(graph.Shift(s, m), g) })
}

// CircleOptions are the settings of the circle loss.
type CircleOptions struct {
	Margin   float64 // m: the goals are s_p above 1-m and s_n below m; 0 means 0.4 for pairs, 0.25 for classes
	Gamma    float64 // the scale γ; 0 means 80 for pairs, 256 for classes
	Grouping Grouping
}

// Loss is that of Of for embeddings [batch, features], brought to unit length, and labels Int [batch]. The paper divides
// nothing: with the scale of 80 take a small learning rate.
func (o CircleOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	return o.Of(inBatch(embeddings, labels))
}

// ClassLoss is the loss for cosines [batch, classes], as the layer Proxies makes them, and labels Int [batch]: the
// cross-entropy of the logits γ a_k (cos_k - Δ_k), with a = max(0, 1+m - cos) and Δ = 1-m for the label and a = max(0,
// cos + m) and Δ = m for the other classes.
func (o CircleOptions) ClassLoss(cosines, labels *graph.Node) *graph.Node {
	o.Margin, o.Gamma = or(o.Margin, 0.25), or(o.Gamma, 256)
	return o.Of(ToClasses(cosines, labels))
}

// Of is log(1 + Σ_n exp(γ a_n (s_n - m)) · Σ_p exp(-γ a_p (s_p - 1 + m))) with a_n = max(0, s_n + m) and a_p =
// max(0, 1 + m - s_p), which are constants to the derivative (Y. Sun et al. 2020, arXiv 2002.10857, eq. 8).
func (o CircleOptions) Of(p Pairs) *graph.Node {
	g, m := or(o.Gamma, 80), or(o.Margin, 0.4)
	return o.Grouping.compare("circle", p,
		func(s *graph.Node) *graph.Node {
			weight := graph.Detach(graph.Scale(graph.ReLU(graph.Shift(graph.Neg(s), 1+m)), -g))
			return graph.Mul(weight, graph.Shift(s, m-1))
		},
		func(s *graph.Node) *graph.Node {
			weight := graph.Detach(graph.Scale(graph.ReLU(graph.Shift(s, m)), g))
			return graph.Mul(weight, graph.Shift(s, -m))
		})
}

// compare is softplus(lse of the negative logits + lse of the positive logits), both functions of the similarities.
func (g Grouping) compare(op string, p Pairs, positive, negative func(s *graph.Node) *graph.Node) *graph.Node {
	pos, neg := p.Positive, p.Negative
	switch g {
	case PerAnchor:
	case AllPairs:
		n := needSquare(op, p)
		once := func(mask *graph.Node) *graph.Node { return graph.Reshape(graph.Mul(mask, upper(mask, n)), 1, n*n) }
		pos, neg = once(pos), once(neg)
		p.Similarity = graph.Reshape(p.Similarity, 1, n*n)
	default:
		panic(graph.Fail(op, "Grouping", "PerAnchor or AllPairs", int(g)))
	}
	s := p.Similarity
	loss := graph.Softplus(graph.Add(logSumExp(negative(s), neg, 1), logSumExp(positive(s), pos, 1)))
	return meanWhere(loss, graph.Mul(anyOf(pos, 1), anyOf(neg, 1)))
}
