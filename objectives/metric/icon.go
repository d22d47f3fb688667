package metric

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func init() {
	objectives.Provide("supcon", SupConOptions{}.Loss)
}

// Divergence is the direction of a comparison of two distributions.
type Divergence int

// The directions.
const (
	Forward Divergence = iota // KL(p, q): p supervises q
	Reverse                   // KL(q, p), as k-means has it
)

// ICon is the objective of information contrastive learning: the mean, over examples i, of the divergence of a learned
// distribution q(·|i) over neighbours from a supervisory one p(·|i) (S. Alshammari et al. 2025, arXiv 2504.16929, eq. 1).
// With neighbours of the right kinds it is
//
//	SNE, t-SNE             Gaussian or Perplexity of data; StudentT of a map (Joint for t-SNE as published)
//	SimCLR, SupCon, CLIP   LabelNeighbors of views or classes, IdentityNeighbors; Cosine
//	cross-entropy          LabelProbabilities; LogitNeighbors
//	harmonic loss          LabelProbabilities; Harmonic to class vectors
//	PCA, VICReg            IdentityNeighbors, or views; Gaussian with Self and a large Sigma
//	k-means                Reverse; Gaussian of data with Self; ClusterNeighbors
//	spectral, cuts, PMI    WeightNeighbors or KNNNeighbors; ClusterNeighbors
type ICon struct {
	Divergence Divergence
}

// Loss is the mean of Σ_j p_j log(p_j/q_j), 0 log 0 = 0, over the rows that have neighbours. In both directions p
// is a constant to the derivative.
func (o ICon) Loss(p, q Neighbors) *graph.Node {
	const op = "i_con"
	needSame(op, "q", p.P, q.P)
	p = p.Detach()
	a, b := p, q
	switch o.Divergence {
	case Forward:
	case Reverse:
		a, b = q, p
	default:
		panic(graph.Fail(op, "Divergence", "Forward or Reverse", int(o.Divergence)))
	}
	return a.expect(graph.Sub(a.Log, b.Log))
}

// CrossEntropy is the mean of -Σ_j p_j log q_j, Loss plus the entropy of p: of the same derivative with respect to q, and
// the loss as papers of contrastive learning report it.
func (o ICon) CrossEntropy(p, q Neighbors) *graph.Node {
	needSame("i_con", "q", p.P, q.P)
	return p.Detach().expect(graph.Neg(q.Log))
}

// SupConOptions are the settings of the supervised contrastive loss.
type SupConOptions struct {
	Temperature float64 // τ of the cosines; 0 means 0.5
}

// Loss is the mean, over the examples that have a positive, of -1/|P| Σ_p log(e^{s_p/τ}/Σ_{j≠i} e^{s_j/τ}), for embeddings
// [batch, features], brought to unit length, and labels Int [batch] (P. Khosla et al. 2020, arXiv 2004.11362, eq. 2).
// Where each label stands for the two views of one example it is InfoNCE (T. Chen et al. 2020, arXiv 2002.05709, eq. 1).
func (o SupConOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	q := Cosine{Temperature: o.Temperature}.Of(embeddings)
	return ICon{}.CrossEntropy(LabelNeighbors(q.P, labels), q)
}

// Neighbors is a distribution over candidates for each row, which sums to 1, or to 0 where a row has no neighbours. Log is
// the logarithm of P, a large negative number where P is 0.
type Neighbors struct {
	P, Log *graph.Node // [rows, candidates]
}

// Detach is the same distribution, constant to the derivative.
func (n Neighbors) Detach() Neighbors { return Neighbors{graph.Detach(n.P), graph.Detach(n.Log)} }

// expect is the mean of Σ_j P_j x_j over the rows that have neighbours.
func (n Neighbors) expect(x *graph.Node) *graph.Node {
	rows := graph.Sum(graph.Mul(n.P, x), 1)
	return meanWhere(rows, graph.Detach(anyOf(graph.Greater(n.P, graph.Const(n.P, 0)), 1)))
}

// Entropy is the mean of -Σ_j P_j log P_j over the rows that have neighbours.
func (n Neighbors) Entropy() *graph.Node { return graph.Neg(n.expect(n.Log)) }

// Debias is (1 - alpha) P + alpha/candidates, of which 0 ≤ alpha ≤ 1: no candidate is impossible. Of a one-hot target it
// is label smoothing.
func (n Neighbors) Debias(alpha float64) Neighbors {
	if !(alpha >= 0 && alpha <= 1) {
		panic(graph.Fail("neighbors", "alpha", "0 to 1", alpha))
	}
	if alpha == 0 {
		return n
	}
	return fromP(graph.Shift(graph.Scale(n.P, 1-alpha), alpha/float64(max(graph.ShapeOf(n.P)[1], 1))))
}

// Mix is (1 - alpha) P + alpha other.
func (n Neighbors) Mix(other Neighbors, alpha float64) Neighbors {
	needSame("neighbors", "other", n.P, other.P)
	return fromP(graph.Add(graph.Scale(n.P, 1-alpha), graph.Scale(other.P, alpha)))
}

// Propagate is the neighbours of neighbours: P + P² + ... + P^steps with its rows brought to sum 1, for P [n, n].
func (n Neighbors) Propagate(steps int) Neighbors {
	return WeightNeighbors(n.walks(steps))
}

// PropagateEvenly is even over all that can be reached in at most steps steps: where Propagate is not 0.
func (n Neighbors) PropagateEvenly(steps int) Neighbors {
	w := n.walks(steps)
	return WeightNeighbors(graph.Greater(w, graph.Const(w, 0)))
}

func (n Neighbors) walks(steps int) *graph.Node {
	if s := graph.ShapeOf(n.P); s[0] != s[1] || steps < 1 {
		panic(graph.Fail("neighbors", "propagation", "at least 1 step, of a distribution [n, n]", fmt.Sprintf("%d, %v", steps, s)))
	}
	power, sum := n.P, n.P
	for range steps - 1 {
		power = graph.MatMul(power, n.P)
		sum = graph.Add(sum, power)
	}
	return sum
}

// Joint is the symmetric distribution over pairs, (P + Pᵀ)/2n as one row [1, n·n], for P [n, n] (L. van der Maaten, G.
// Hinton 2008).
func (n Neighbors) Joint() Neighbors {
	s := graph.ShapeOf(n.P)
	if s[0] != s[1] {
		panic(graph.Fail("neighbors", "Joint", "a distribution [n, n]", s))
	}
	p := graph.Scale(graph.Add(n.P, graph.Transpose(n.P)), 1/float64(max(2*s[0], 1)))
	return fromP(graph.Reshape(p, 1, s[0]*s[0]))
}

// fromP is a distribution of its probabilities. The logarithm of one below 1e-30 is taken as that of 1e-30, and constant.
func fromP(p *graph.Node) Neighbors {
	const least = 1e-30
	possible := graph.Greater(p, graph.Const(p, least))
	log := graph.Log(graph.Where(possible, p, graph.Const(p, 1)))
	return Neighbors{p, graph.Where(possible, log, graph.Const(p, math.Log(least)))}
}

// fromLogits is the softmax along axis 1 of the logits where mask, if not nil, is 1.
func fromLogits(logits, mask *graph.Node) Neighbors {
	if mask == nil {
		most := graph.KeepDims(graph.Max(logits, 1), graph.ShapeOf(logits), 1)
		log := graph.LogSoftmax(graph.Sub(logits, graph.Detach(most)), 1)
		return Neighbors{graph.Exp(log), log}
	}
	masked := graph.Where(mask, logits, graph.Const(logits, nothing))
	most := graph.KeepDims(graph.Max(masked, 1), graph.ShapeOf(logits), 1)
	log := graph.LogSoftmax(graph.Sub(masked, graph.Detach(most)), 1)
	return Neighbors{graph.Mul(graph.Exp(log), mask), log}
}

// LogitNeighbors is softmax(logits), [rows, candidates]: classes for the rows of a batch, words for a context.
func LogitNeighbors(logits *graph.Node) Neighbors {
	needMatrix("neighbors", "logits", logits)
	return fromLogits(logits, nil)
}

// LabelProbabilities is all on the label: classes candidates for labels Int [rows], in the type of like. A label that is no
// class is an error of the run.
func LabelProbabilities(like, labels *graph.Node, classes int) Neighbors {
	rows := graph.ShapeOf(labels)[0]
	ones := graph.BroadcastTo(graph.Const(like, 1), rows, 1)
	return fromP(graph.PutAlong(ones, graph.Reshape(labels, rows, 1), 1, classes))
}

// WeightNeighbors is each row of weights [rows, candidates], none negative, divided by its sum; a row of zeros stays.
func WeightNeighbors(weights *graph.Node) Neighbors {
	needMatrix("neighbors", "weights", weights)
	sum := graph.KeepDims(graph.Sum(weights, 1), graph.ShapeOf(weights), 1)
	return fromP(graph.Div(weights, graph.Where(graph.Greater(sum, graph.Const(sum, 0)), sum, graph.Const(sum, 1))))
}

// LabelNeighbors is even over the other rows of the same label, for labels Int [n], in the type of like, [n, n]: the same
// class, the other views of the same example, the same cluster. A row that is alone has no neighbours.
func LabelNeighbors(like, labels *graph.Node) Neighbors {
	n := graph.ShapeOf(labels)[0]
	number := graph.Cast(labels, like.Dtype())
	same := graph.Equal(graph.Reshape(number, n, 1), graph.Reshape(number, 1, n))
	return WeightNeighbors(graph.Mul(same, others(like, n)))
}

// IdentityNeighbors is all on the candidate of the row's own number, [n, n] in the type of like: the partner in another
// modality.
func IdentityNeighbors(like *graph.Node, n int) Neighbors {
	return fromP(graph.OneMinus(others(like, n)))
}

// ClusterNeighbors is q(j|i) = Σ_c φ_ic φ_jc/Σ_k φ_kc for soft assignments φ [n, clusters], rows of sum 1: choose a cluster
// of i, then a member. It is symmetric, and includes i itself. With weights d [n], not nil, a member is chosen by φ_jc d_j.
func ClusterNeighbors(assignments, weights *graph.Node) Neighbors {
	const op = "cluster_neighbors"
	needMatrix(op, "assignments", assignments)
	n := graph.ShapeOf(assignments)[0]
	members := assignments
	if weights != nil {
		if want, got := (graph.Type{DType: assignments.Dtype(), Shape: []int{n}}), graph.TypeOf(weights); !want.Equal(got) {
			panic(graph.Fail(op, "weights", want, got))
		}
		members = graph.Mul(assignments, graph.Reshape(weights, n, 1))
	}
	size := graph.KeepDims(graph.Sum(members, 0), graph.ShapeOf(members), 0)
	size = graph.Maximum(size, graph.Const(size, 1e-30))
	return fromP(graph.MatMulT(assignments, graph.Div(members, size), false, true))
}

// KNNNeighbors is even over the k nearest other rows of x [n, features] in Euclidean distance, constant to the
// derivative.
func KNNNeighbors(x *graph.Node, k int) Neighbors {
	const op = "knn_neighbors"
	needMatrix(op, "x", x)
	n := graph.ShapeOf(x)[0]
	if k < 1 || k >= n {
		panic(graph.Fail(op, "k", fmt.Sprintf("1 to %d", n-1), k))
	}
	d := squaredDistances(x, x)
	near := graph.Where(others(x, n), graph.Neg(d), graph.Const(d, nothing))
	_, at := graph.TopK(near, k, 1)
	each := graph.BroadcastTo(graph.Const(x, 1/float64(k)), n, k)
	return fromP(graph.PutAlong(each, at, 1, n))
}

// Gaussian is softmax_j(-|x_i - y_j|²/2σ²).
type Gaussian struct {
	Sigma float64 // σ; 0 means √½, so that 2σ² is 1
	Self  bool    // Of counts a point as its own neighbour
	Joint bool    // Of is one distribution over all pairs, [1, n·n]
}

// Of is the distribution over the other rows of x [n, features].
func (g Gaussian) Of(x *graph.Node) Neighbors {
	return kernel("gaussian", x, g.Self, g.Joint, g.logits)
}

// Between is the distribution over the rows of y [candidates, features] for those of x [rows, features].
func (g Gaussian) Between(x, y *graph.Node) Neighbors {
	return fromLogits(g.logits(between("gaussian", x, y)), nil)
}

func (g Gaussian) logits(squared *graph.Node) *graph.Node {
	if g.Sigma == 0 {
		return graph.Neg(squared)
	}
	return graph.Scale(squared, -0.5/(g.Sigma*g.Sigma))
}

// Cosine is softmax_j(cos(x_i, y_j)/τ): the Gaussian of unit vectors with σ² = τ.
type Cosine struct {
	Temperature float64 // τ; 0 means 0.5
	Self        bool    // Of counts a point as its own neighbour
}

// Of is the distribution over the other rows of x [n, features], brought to unit length.
func (g Cosine) Of(x *graph.Node) Neighbors {
	x = Unit(x)
	s := graph.Scale(graph.MatMulT(x, x, false, true), 1/or(g.Temperature, 0.5))
	if g.Self {
		return fromLogits(s, nil)
	}
	return fromLogits(s, others(x, graph.ShapeOf(x)[0]))
}

// Between is the distribution over the rows of y [candidates, features] for those of x [rows, features].
func (g Cosine) Between(x, y *graph.Node) Neighbors {
	between("cosine", x, y)
	return fromLogits(graph.Scale(graph.MatMulT(Unit(x), Unit(y), false, true), 1/or(g.Temperature, 0.5)), nil)
}

// StudentT is (1 + |x_i - y_j|²/(ν scale²))^{-(ν+1)/2}, normalised over j.
type StudentT struct {
	Nu    float64 // degrees of freedom ν; 0 means 1, the Cauchy distribution of t-SNE
	Scale float64 // 0 means 1
	Self  bool    // Of counts a point as its own neighbour
	Joint bool    // Of is one distribution over all pairs, [1, n·n], as t-SNE's
}

// Of is the distribution over the other rows of x [n, features].
func (t StudentT) Of(x *graph.Node) Neighbors {
	return kernel("student_t", x, t.Self, t.Joint, t.logits)
}

// Between is the distribution over the rows of y [candidates, features] for those of x [rows, features].
func (t StudentT) Between(x, y *graph.Node) Neighbors {
	return fromLogits(t.logits(between("student_t", x, y)), nil)
}

func (t StudentT) logits(squared *graph.Node) *graph.Node {
	nu, scale := or(t.Nu, 1), or(t.Scale, 1)
	return graph.Scale(graph.Log1p(graph.Scale(squared, 1/(nu*scale*scale))), -(nu+1)/2)
}

// Harmonic is |x_i - y_j|^{-2n}, normalised over j: StudentT with ν = 2n - 1 and a scale that tends to 0 (D. Baek et al.
// 2025, arXiv 2502.01628, "Harmonic loss trains interpretable AI models").
type Harmonic struct {
	Exponent float64 // n; 0 means 1
}

// Between is the distribution over the rows of y [candidates, features] for those of x [rows, features]; a squared
// distance below 1e-30 is taken as that.
func (h Harmonic) Between(x, y *graph.Node) Neighbors {
	d := between("harmonic", x, y)
	return fromLogits(graph.Scale(graph.Log(graph.Maximum(d, graph.Const(d, 1e-30))), -or(h.Exponent, 1)), nil)
}

// kernel is the distribution made of logits of the squared distances of the rows of x.
func kernel(op string, x *graph.Node, self, joint bool, logits func(*graph.Node) *graph.Node) Neighbors {
	needMatrix(op, "x", x)
	n := graph.ShapeOf(x)[0]
	l := logits(squaredDistances(x, x))
	var mask *graph.Node
	if !self {
		mask = others(x, n)
	}
	if joint {
		l = graph.Reshape(l, 1, n*n)
		if mask != nil {
			mask = graph.Reshape(mask, 1, n*n)
		}
	}
	return fromLogits(l, mask)
}

// between is the squared distances of the rows of x and y.
func between(op string, x, y *graph.Node) *graph.Node {
	needMatrix(op, "x", x)
	needMatrix(op, "y", y)
	if a, b := graph.TypeOf(x), graph.TypeOf(y); a.DType != b.DType || a.Shape[1] != b.Shape[1] {
		panic(graph.Fail(op, "y", fmt.Sprintf("rows of %d features of x's type", a.Shape[1]), b))
	}
	return squaredDistances(x, y)
}
