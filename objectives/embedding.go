package objectives

import (
	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(
		Entry{Name: "hinge-embedding", Objective: HingeEmbedding,
			Summary: "distances small for like pairs, above a margin for unlike ones",
			Formula: "x if y = 1, max(0, 1 - x) if y = -1", Paper: "R. Hadsell et al. 2006", Use: "distances of pairs"},
	)
}

// HingeEmbedding is HingeEmbeddingOptions{}.Loss.
func HingeEmbedding(output, target *graph.Node) *graph.Node {
	return HingeEmbeddingOptions{}.Loss(output, target)
}

// HingeEmbeddingOptions are the settings of the hinge loss of distances.
type HingeEmbeddingOptions struct {
	Margin    float64 // 0 means 1
	Reduction Reduction
}

// Loss is x where the target is 1 and max(0, Margin - x) where it is -1, for distances x of any shape.
func (o HingeEmbeddingOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "hinge_embedding"
	needSame(op, output, "target", target)
	near := graph.NotEqual(target, graph.Const(target, -1))
	far := graph.NotEqual(target, graph.Const(target, 1))
	hinge := graph.ReLU(graph.Shift(graph.Neg(output), or(o.Margin, 1)))
	return o.Reduction.of(op, graph.Add(graph.Mul(near, output), graph.Mul(far, hinge)))
}

// CosineEmbedding is CosineEmbeddingOptions{}.Loss.
func CosineEmbedding(x1, x2, sign *graph.Node) *graph.Node {
	return CosineEmbeddingOptions{}.Loss(x1, x2, sign)
}

// CosineEmbeddingOptions are the settings of the cosine loss of pairs.
type CosineEmbeddingOptions struct {
	Margin    float64 // of unlike pairs
	Reduction Reduction
}

// Loss is 1 - cos(x1, x2) where sign is 1 and max(0, cos(x1, x2) - Margin) where it is -1, for x1 and x2 [batch,
// features] and sign [batch] of their type.
func (o CosineEmbeddingOptions) Loss(x1, x2, sign *graph.Node) *graph.Node {
	const op, eps = "cosine_embedding", 1e-12
	last := needVectors(op, x1, "x2", x2)
	want := graph.Type{DType: x1.Dtype(), Shape: graph.ShapeOf(x1)[:last]}
	if got := graph.TypeOf(sign); !want.Equal(got) {
		panic(graph.Fail(op, "sign", want, got))
	}
	norm := func(x *graph.Node) *graph.Node { return graph.Shift(graph.Sum(graph.Square(x), last), eps) }
	cos := graph.Mul(graph.Sum(graph.Mul(x1, x2), last), graph.Rsqrt(graph.Mul(norm(x1), norm(x2))))
	like := graph.Equal(sign, graph.Const(sign, 1))
	unlike := graph.Equal(sign, graph.Const(sign, -1))
	apart := graph.ReLU(graph.Shift(cos, -o.Margin))
	return o.Reduction.of(op, graph.Add(graph.Mul(like, graph.OneMinus(cos)), graph.Mul(unlike, apart)))
}

// TripletMargin is TripletMarginOptions{}.Loss.
func TripletMargin(anchor, positive, negative *graph.Node) *graph.Node {
	return TripletMarginOptions{}.Loss(anchor, positive, negative)
}

// TripletMarginOptions are the settings of the triplet loss.
type TripletMarginOptions struct {
	Margin    float64 // 0 means 1
	Eps       float64 // added to each difference; 0 means 1e-6
	Reduction Reduction
}

// Loss is max(0, |anchor - positive| - |anchor - negative| + Margin) in Euclidean distances, for three nodes [batch,
// features] (V. Balntas et al. 2016).
func (o TripletMarginOptions) Loss(anchor, positive, negative *graph.Node) *graph.Node {
	const op = "triplet_margin"
	last := needVectors(op, anchor, "positive", positive)
	needVectors(op, anchor, "negative", negative)
	distance := func(x *graph.Node) *graph.Node {
		return graph.Norm(graph.Shift(graph.Sub(anchor, x), or(o.Eps, 1e-6)), last)
	}
	d := graph.Sub(distance(positive), distance(negative))
	return o.Reduction.of(op, graph.ReLU(graph.Shift(d, or(o.Margin, 1))))
}

// needVectors panics unless x and y are of one type with at least one axis; it gives the last.
func needVectors(op string, x *graph.Node, arg string, y *graph.Node) int {
	needSame(op, x, arg, y)
	shape := graph.ShapeOf(x)
	if len(shape) == 0 {
		panic(graph.Fail(op, arg, "[..., features]", graph.TypeOf(y)))
	}
	return len(shape) - 1
}
