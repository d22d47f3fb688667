package metric

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func init() {
	objectives.Provide("triplet", TripletOptions{}.Loss)
	objectives.Provide("triplet-semi-hard", TripletOptions{Mining: SemiHard}.Loss)
	objectives.Provide("triplet-hard", TripletOptions{Mining: Hard}.Loss)
	objectives.Provide("triplet-direction", TripletOptions{Direction: 0.3}.Loss)
}

// Mining says which triplets of a batch count.
type Mining int

// The minings.
const (
	All      Mining = iota // every anchor with each of its positives and negatives
	SemiHard               // those with D_p² < D_n² < D_p² + Margin
	Hard                   // of each anchor the farthest positive and the nearest negative
)

// TripletOptions are the settings of the triplet loss.
type TripletOptions struct {
	Margin    float64 // 0 means 0.2
	Mining    Mining
	Direction float64 // weight γ of the direction regularisation; needs embeddings, so Loss or Triplets
}

// Loss is the mean of max(0, D_ap² - D_an² + Margin) over the triplets of a batch that Mining chooses, 0 if there are
// none, for embeddings [batch, features], brought to unit length, and labels Int [batch] (F. Schroff et al. 2015, arXiv
// 1503.03832, eq. 2; the hard triplets are those of A. Hermans et al. 2017, arXiv 1703.07737, eq. 5). All and SemiHard
// take memory of batch³. With Direction each hinge holds -γ cos(f_n - f_a, f_p - f_a) as well.
func (o TripletOptions) Loss(embeddings, labels *graph.Node) *graph.Node {
	x := Unit(embeddings)
	p := InBatch(x, labels)
	if o.Direction == 0 {
		return o.Of(p)
	}
	if o.Mining == Hard {
		panic(graph.Fail("triplet", "Mining", "All or SemiHard, with Direction", "Hard"))
	}
	return o.all(p, o.directions(p))
}

// Of is the loss of pairs, without Direction.
func (o TripletOptions) Of(p Pairs) *graph.Node {
	const op = "triplet"
	switch {
	case o.Direction != 0:
		panic(graph.Fail(op, "Direction", "0, for pairs without embeddings", o.Direction))
	case o.Mining == All || o.Mining == SemiHard:
		return o.all(p, nil)
	case o.Mining == Hard:
		both := graph.Mul(anyOf(p.Positive, 1), anyOf(p.Negative, 1))
		gap := graph.Sub(largest(p.Squared, p.Positive, 1), smallest(p.Squared, p.Negative, 1))
		return meanWhere(graph.ReLU(graph.Shift(only(both, gap), or(o.Margin, 0.2))), both)
	}
	panic(graph.Fail(op, "Mining", "All, SemiHard or Hard", int(o.Mining)))
}

// all is the mean over triplets, laid out as [anchor, positive, negative].
func (o TripletOptions) all(p Pairs, direction *graph.Node) *graph.Node {
	m := or(o.Margin, 0.2)
	rows, columns := graph.ShapeOf(p.Squared)[0], graph.ShapeOf(p.Squared)[1]
	middle := func(x *graph.Node) *graph.Node { return graph.Reshape(x, rows, columns, 1) }
	last := func(x *graph.Node) *graph.Node { return graph.Reshape(x, rows, 1, columns) }
	gap := graph.Sub(middle(p.Squared), last(p.Squared))
	counts := graph.Mul(middle(p.Positive), last(p.Negative))
	if o.Mining == SemiHard {
		inside := graph.Mul(graph.Less(gap, graph.Const(gap, 0)), graph.Greater(gap, graph.Const(gap, -m)))
		counts = graph.Mul(counts, inside)
	}
	if direction != nil {
		gap = graph.Sub(gap, graph.Scale(direction, o.Direction))
	}
	return meanWhere(graph.ReLU(graph.Shift(gap, m)), counts)
}

// directions is cos(f_k - f_i, f_j - f_i) as [i, j, k], from the squared distances: with d the distance,
// <f_k - f_i, f_j - f_i> = (d_ik² + d_ij² - d_jk²)/2. It is 0 where a
// distance to f_i is below 10⁻³.
func (o TripletOptions) directions(p Pairs) *graph.Node {
	n := needSquare("triplet", p)
	ij := func(x *graph.Node) *graph.Node { return graph.Reshape(x, n, n, 1) }
	ik := func(x *graph.Node) *graph.Node { return graph.Reshape(x, n, 1, n) }
	apart := graph.Greater(p.Squared, graph.Const(p.Squared, 1e-6))
	safe := graph.Where(apart, p.Squared, graph.Const(p.Squared, 1))
	inverse := graph.Mul(apart, graph.Rsqrt(safe))
	twice := graph.Sub(graph.Add(ij(p.Squared), ik(p.Squared)), graph.Reshape(p.Squared, 1, n, n))
	return graph.Mul(twice, graph.Mul(ij(graph.Scale(inverse, 0.5)), ik(inverse)))
}

// Triplets is the mean of max(0, |a - p|² - |a - n|² + Margin - Direction cos(n - a, p - a)) for three nodes [batch,
// features], taken as they are. The direction term is that of D. Mohan et al. 2020 ("Moving in the right direction: a
// regularization for deep metric learning", CVPR), in whose
// experiments weights of 0.3 to 0.5 did well.
func (o TripletOptions) Triplets(anchor, positive, negative *graph.Node) *graph.Node {
	const op = "triplet"
	needMatrix(op, "anchor", anchor)
	needSame(op, "positive", anchor, positive)
	needSame(op, "negative", anchor, negative)
	p, n := graph.Sub(positive, anchor), graph.Sub(negative, anchor)
	dp, dn := graph.Sum(graph.Square(p), 1), graph.Sum(graph.Square(n), 1)
	gap := graph.Sub(dp, dn)
	if o.Direction != 0 {
		cos := graph.Sum(graph.Mul(Unit(p), Unit(n)), 1)
		gap = graph.Sub(gap, graph.Scale(cos, o.Direction))
	}
	return mean(graph.ReLU(graph.Shift(gap, or(o.Margin, 0.2))))
}
