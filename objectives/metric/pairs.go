package metric

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// Pairs are what the losses of this package are made of: each row is an example, each column another example or the
// proxy of a class, and each element how alike the two are.
type Pairs struct {
	Similarity *graph.Node // [rows, columns], inner products
	Squared    *graph.Node // [rows, columns], squared Euclidean distances
	Positive   *graph.Node // [rows, columns], 1 where both are of one class and not one example, 0 elsewhere
	Negative   *graph.Node // [rows, columns], 1 where they are of different classes, 0 elsewhere
}

// InBatch is the pairs of the examples of a batch: embeddings [batch, features], taken as they are, and labels Int
// [batch].
func InBatch(embeddings, labels *graph.Node) Pairs {
	p := Between(embeddings, labels, embeddings, labels)
	p.Positive = graph.Mul(p.Positive, others(embeddings, graph.ShapeOf(embeddings)[0]))
	return p
}

// Between is the pairs of rows x [rows, features] and columns y [columns, features] with their labels, Int [rows] and
// [columns]: queries and a gallery, or a batch and a memory of earlier embeddings.
func Between(x, xLabels, y, yLabels *graph.Node) Pairs {
	const op = "pairs"
	needMatrix(op, "embeddings", x)
	needMatrix(op, "embeddings", y)
	if a, b := graph.TypeOf(x), graph.TypeOf(y); a.DType != b.DType || a.Shape[1] != b.Shape[1] {
		panic(graph.Fail(op, "embeddings", fmt.Sprintf("two of one type and width, as %v", a), b))
	}
	needLabels(op, x, xLabels)
	needLabels(op, y, yLabels)
	rows, columns := graph.ShapeOf(x)[0], graph.ShapeOf(y)[0]
	a := graph.Reshape(graph.Cast(xLabels, x.Dtype()), rows, 1)
	b := graph.Reshape(graph.Cast(yLabels, x.Dtype()), 1, columns)
	return Pairs{
		Similarity: graph.MatMulT(x, y, false, true),
		Squared:    squaredDistances(x, y),
		Positive:   graph.Equal(a, b),
		Negative:   graph.NotEqual(a, b),
	}
}

// ToClasses is the pairs of examples and classes: cosines [batch, classes], as the layer Proxies makes them, and labels
// Int [batch]; a label that is no class is an error of the run. The squared distance of unit vectors is 2 - 2 cos.
func ToClasses(cosines, labels *graph.Node) Pairs {
	const op = "pairs"
	needMatrix(op, "cosines", cosines)
	needLabels(op, cosines, labels)
	rows, classes := graph.ShapeOf(cosines)[0], graph.ShapeOf(cosines)[1]
	ones := graph.BroadcastTo(graph.Const(cosines, 1), rows, 1)
	hot := graph.PutAlong(ones, graph.Reshape(labels, rows, 1), 1, classes)
	return Pairs{
		Similarity: cosines,
		Squared:    graph.Shift(graph.Scale(cosines, -2), 2),
		Positive:   hot,
		Negative:   graph.OneMinus(hot),
	}
}

// Unit is each row of x [batch, features] divided by its Euclidean norm, a norm below 1e-12 taken as 1e-12.
func Unit(x *graph.Node) *graph.Node {
	needMatrix("unit", "embeddings", x)
	return graph.Normalize(x, 1e-12, 1)
}

// inBatch is the pairs of a batch of embeddings brought to unit length, which is what Loss of every loss is of.
func inBatch(embeddings, labels *graph.Node) Pairs { return InBatch(Unit(embeddings), labels) }

// squaredDistances is |x_i - y_j|² [rows, columns], formed from inner products around the mean of x, so that little is
// lost when all points are far from the origin.
func squaredDistances(x, y *graph.Node) *graph.Node {
	origin := graph.Detach(graph.Mean(x, 0))
	squares := func(x *graph.Node) *graph.Node { return graph.Sum(graph.Square(x), 1) }
	same := x == y
	x = graph.Sub(x, origin)
	if same {
		y = x
	} else {
		y = graph.Sub(y, origin)
	}
	rows, columns := graph.ShapeOf(x)[0], graph.ShapeOf(y)[0]
	norms := graph.Add(graph.Reshape(squares(x), rows, 1), graph.Reshape(squares(y), 1, columns))
	return graph.ReLU(graph.Sub(norms, graph.Scale(graph.MatMulT(x, y, false, true), 2)))
}

// safeSqrt is sqrt(x), and 0 with derivative 0 where x is not above 0.
func safeSqrt(x *graph.Node) *graph.Node {
	zero := graph.Const(x, 0)
	positive := graph.Greater(x, zero)
	return graph.Where(positive, graph.Sqrt(graph.Where(positive, x, graph.Const(x, 1))), zero)
}

// others is 0 on the diagonal of [n, n] and 1 elsewhere, in like's type.
func others(like *graph.Node, n int) *graph.Node {
	a := graph.NewArray(like.Dtype(), n, n)
	for i := range a.Size() {
		if i%(n+1) != 0 {
			a.Set(i, 1)
		}
	}
	return graph.Literal(like, a)
}

// upper is 1 above the diagonal of [n, n] and 0 elsewhere, in like's type.
func upper(like *graph.Node, n int) *graph.Node {
	a := graph.NewArray(like.Dtype(), n, n)
	for i := range n {
		for j := i + 1; j < n; j++ {
			a.Set(i*n+j, 1)
		}
	}
	return graph.Literal(like, a)
}

// nothing stands for the logarithm of 0: a finite number, so that sums and products with it are never NaN.
const nothing = -1e30

// logSumExp is log Σ e^x over the elements of an axis where mask is 1, and nothing where there are none.
func logSumExp(x, mask *graph.Node, axis int) *graph.Node {
	return graph.LogSumExp(graph.Where(mask, x, graph.Const(x, nothing)), axis)
}

// largest is the maximum over the elements of an axis where mask is 1, and nothing where there are none.
func largest(x, mask *graph.Node, axis int) *graph.Node {
	return graph.Max(graph.Where(mask, x, graph.Const(x, nothing)), axis)
}

// smallest is the minimum over the elements of an axis where mask is 1, and -nothing where there are none.
func smallest(x, mask *graph.Node, axis int) *graph.Node {
	return graph.Min(graph.Where(mask, x, graph.Const(x, -nothing)), axis)
}

// meanWhere is the mean of x over the elements where weight is 1; 0 if there are none. x must be finite everywhere.
func meanWhere(x, weight *graph.Node) *graph.Node {
	total := graph.Sum(weight)
	return graph.Div(graph.Sum(graph.Mul(x, weight)), graph.Maximum(total, graph.Const(total, 1)))
}

// anyOf is 1 where a row of a mask has a 1.
func anyOf(mask *graph.Node, axis int) *graph.Node { return graph.Max(mask, axis) }

// only is x where mask is 1 and 0 elsewhere.
func only(mask, x *graph.Node) *graph.Node { return graph.Where(mask, x, graph.Const(x, 0)) }

// or is v, or the default if v is 0.
func or(v, otherwise float64) float64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// needMatrix panics unless x is [rows, columns] of a floating-point type.
func needMatrix(op, arg string, x *graph.Node) {
	if len(graph.ShapeOf(x)) != 2 || !graph.TypeOf(x).IsFloat() {
		panic(graph.Fail(op, arg, "[rows, columns] of a floating-point type", graph.TypeOf(x)))
	}
}

// needLabels panics unless labels are Int, one for each row of x.
func needLabels(op string, x, labels *graph.Node) {
	want := graph.Type{DType: graph.Int, Shape: graph.ShapeOf(x)[:1]}
	if got := graph.TypeOf(labels); !want.Equal(got) {
		panic(graph.Fail(op, "labels", want, got))
	}
}

// needSame panics unless y has x's type.
func needSame(op, arg string, x, y *graph.Node) {
	if want, got := graph.TypeOf(x), graph.TypeOf(y); !want.Equal(got) {
		panic(graph.Fail(op, arg, want, got))
	}
}

// needSquare panics unless the rows of pairs are their columns.
func needSquare(op string, p Pairs) int {
	s := graph.ShapeOf(p.Similarity)
	if s[0] != s[1] {
		panic(graph.Fail(op, "pairs", "those of one batch, [batch, batch]", s))
	}
	return s[0]
}
