package metric

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func init() {
	objectives.Provide("contrastive", ContrastiveOptions{}.Loss)
	objectives.Provide("n-pair", NPair)
	objectives.Provide("lifted", LiftedOptions{}.Loss)
	objectives.Provide("multi-similarity", MultiSimilarityOptions{}.Loss)
}

// ContrastiveOptions are the settings of the contrastive loss.
type ContrastiveOptions struct {
	Margin float64 // 0 means 1
}

// Loss is that of Of for embeddings [batch, features], brought to unit length, and labels Int [batch].
func (o ContrastiveOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	return o.Of(inBatch(embeddings, labels))
}

// Of is the mean over all positive and negative pairs of D² and max(0, Margin - D)², with the Euclidean distance D
// (R. Hadsell et al. 2006, "Dimensionality reduction by learning an invariant mapping"; without the factor 1/2).
func (o ContrastiveOptions) Of(p Pairs) *graph.Node {
	hinge := graph.ReLU(graph.Shift(graph.Neg(safeSqrt(p.Squared)), or(o.Margin, 1)))
	loss := graph.Where(p.Positive, p.Squared, graph.Square(hinge))
	return meanWhere(loss, graph.Add(p.Positive, p.Negative))
}

// NPair is NPairOptions{}.Loss.
func NPair(embeddings, labels *graph.Node) *graph.Node {
	return NPairOptions{}.Loss(embeddings, labels)
}

// NPairOptions are the settings of the N-pair loss.
type NPairOptions struct {
	L2 float64 // weight of the mean squared norm of the embeddings
}

// Loss is that of Of for embeddings [batch, features] as they are, plus L2 times their mean squared norm, and labels Int
// [batch]. Lengths of embeddings are part of this loss.
func (o NPairOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	loss := o.Of(InBatch(embeddings, labels))
	if o.L2 == 0 {
		return loss
	}
	return graph.Add(loss, graph.Scale(graph.Mean(graph.Sum(graph.Square(embeddings), 1)), o.L2))
}

// Of is the mean over all positive pairs (a, p) of log(1 + Σ_n exp(f_a·f_n - f_a·f_p)) with the negatives n of a (K.
// Sohn 2016, "Improved deep metric learning with multi-class N-pair loss objective", eq. 6); of two examples a class
// it is the paper's.
func (NPairOptions) Of(p Pairs) *graph.Node {
	against := graph.KeepDims(logSumExp(p.Similarity, p.Negative, 1), graph.ShapeOf(p.Similarity), 1)
	return meanWhere(graph.Softplus(graph.Sub(against, p.Similarity)), p.Positive)
}

// LiftedOptions are the settings of the lifted structured loss.
type LiftedOptions struct {
	Margin float64 // 0 means 1
}

// Loss is that of Of for embeddings [batch, features], brought to unit length, and labels Int [batch].
func (o LiftedOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	return o.Of(inBatch(embeddings, labels))
}

// Of is the mean over the positive pairs (i, j) of a batch of max(0, J_ij)²/2 with J_ij = log(Σ_{n of i} e^{m - D_in} +
// Σ_{n of j} e^{m - D_jn}) + D_ij and the Euclidean distance D (H. Song et al. 2016, arXiv 1511.06452, eq. 4).
func (o LiftedOptions) Of(p Pairs) *graph.Node {
	n := needSquare("lifted", p)
	d := safeSqrt(p.Squared)
	of := logSumExp(graph.Shift(graph.Neg(d), or(o.Margin, 1)), p.Negative, 1)
	both := graph.LogAddExp(graph.Reshape(of, n, 1), graph.Reshape(of, 1, n))
	return meanWhere(graph.Scale(graph.Square(graph.ReLU(graph.Add(both, d))), 0.5), p.Positive)
}

// MultiSimilarityOptions are the settings of the multi-similarity loss.
type MultiSimilarityOptions struct {
	Alpha   float64 // sharpness of positives; 0 means 2
	Beta    float64 // sharpness of negatives; 0 means 50
	Lambda  float64 // the threshold; 0 means 0.5
	Epsilon float64 // of the mining; 0 means 0.1, +Inf turns it off
}

// Loss is that of Of for embeddings [batch, features], brought to unit length, and labels Int [batch].
func (o MultiSimilarityOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	return o.Of(inBatch(embeddings, labels))
}

// Of is the mean over the rows of 1/α log(1 + Σ_p exp -α(s - λ)) + 1/β log(1 + Σ_n exp β(s - λ)) (X. Wang et al. 2019,
// arXiv 1904.06627, eq. 15), over the negatives with s above the smallest positive similarity less ε and the positives
// with s below the largest negative one plus ε (eq. 10 and 11).
func (o MultiSimilarityOptions) Of(p Pairs) *graph.Node {
	alpha, beta, lambda, eps := or(o.Alpha, 2), or(o.Beta, 50), or(o.Lambda, 0.5), or(o.Epsilon, 0.1)
	s, shape := p.Similarity, graph.ShapeOf(p.Similarity)
	low := graph.KeepDims(smallest(s, p.Positive, 1), shape, 1)
	high := graph.KeepDims(largest(s, p.Negative, 1), shape, 1)
	negative := graph.Mul(p.Negative, graph.Greater(s, graph.Shift(low, -eps)))
	positive := graph.Mul(p.Positive, graph.Less(s, graph.Shift(high, eps)))
	above := graph.Shift(s, -lambda)
	pull := graph.Softplus(logSumExp(graph.Scale(above, -alpha), positive, 1))
	push := graph.Softplus(logSumExp(graph.Scale(above, beta), negative, 1))
	return mean(graph.Add(graph.Scale(pull, 1/alpha), graph.Scale(push, 1/beta)))
}

// mean is the mean of a vector; 0 of an empty one.
func mean(x *graph.Node) *graph.Node {
	return graph.Scale(graph.Sum(x), 1/float64(max(graph.TypeOf(x).Size(), 1)))
}
