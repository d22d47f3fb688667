package objectives

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// An Objective turns a model's output and its target into a scalar.
type Objective func(output, target *graph.Node) *graph.Node

// Reduction says how the losses of a batch become one number.
type Reduction int

// The reductions. ReduceNone gives every loss by itself, and so no Objective for training.
const (
	ReduceMean      Reduction = iota // over all losses; for weighted classes the weighted mean
	ReduceSum                        // over all losses
	ReduceNone                       // no reduction
	ReduceBatchMean                  // the sum divided by the size of the first axis
)

// of reduces losses. The mean over nothing is NaN, as in PyTorch.
func (r Reduction) of(op string, loss *graph.Node) *graph.Node {
	switch r {
	case ReduceMean:
		return graph.Mean(loss)
	case ReduceSum:
		return graph.Sum(loss)
	case ReduceNone:
		return loss
	case ReduceBatchMean:
		if shape := graph.ShapeOf(loss); len(shape) > 0 {
			return graph.Scale(graph.Sum(loss), 1/float64(shape[0]))
		}
		return loss
	}
	panic(graph.Fail(op, "Reduction", "ReduceMean, ReduceSum, ReduceNone or ReduceBatchMean", int(r)))
}

// needSame panics unless two nodes have the same floating-point type and shape.
func needSame(op string, output *graph.Node, arg string, other *graph.Node) {
	if want, got := graph.TypeOf(output), graph.TypeOf(other); !want.Equal(got) || !want.IsFloat() {
		panic(graph.Fail(op, arg, fmt.Sprintf("%v, as the output, of a floating-point type", want), got))
	}
}

// vector is a constant of n numbers along one axis of nodes of the given rank; nil if there are no values.
func vector(op, field string, like *graph.Node, values []float64, n, rank, axis int) *graph.Node {
	if values == nil {
		return nil
	}
	if len(values) != n {
		panic(graph.Fail(op, field, fmt.Sprintf("%d numbers", n), len(values)))
	}
	shape := make([]int, rank)
	for i := range shape {
		shape[i] = 1
	}
	shape[axis] = n
	a := graph.NewArray(like.Dtype(), shape...)
	for i, v := range values {
		a.Set(i, v)
	}
	return graph.Literal(like, a)
}

// or is v, or the default if v is 0.
func or(v, otherwise float64) float64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// keepPositive is x where it is above 0 and 1 elsewhere: a safe operand for logarithms and divisions.
func keepPositive(x *graph.Node) *graph.Node {
	return graph.Where(graph.Greater(x, graph.Const(x, 0)), x, graph.Const(x, 1))
}
