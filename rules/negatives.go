package rules

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Negatives says what forward-forward takes as the negative of an example.
type Negatives int

const (
	HardLabel    Negatives = iota // a wrong label from the readout's own mistakes: softmax of its scores without the true class
	WrongLabel                    // a wrong label, drawn uniformly from the other classes
	HybridImages                  // a mixture of two images of the batch; hidden layers then see no label: unsupervised
)

// wrongLabel draws a label other than the true one for each example.
func (n *ffNet) wrongLabel(s *graph.Scope, scores, label *graph.Node) *graph.Node {
	u := s.Root().Sub(n.name).Uniform("negatives", graph.ShapeOf(label)...)
	z := graph.Neg(graph.Log(graph.Neg(graph.Log(u)))) // Gumbel noise: the largest of z + log p is drawn from p
	if n.Negatives == HardLabel {
		z = graph.Add(z, graph.LogSoftmax(graph.Detach(scores), 1))
	}
	z = graph.Where(label, graph.Const(z, math.Inf(-1)), z)
	return graph.OneHot(graph.ArgMax(z, 1), n.classes, s.DType())
}

// hybrid mixes each image of a batch with the next by a mask of large regions, so that only correlations over a long
// range tell the mixture from an image: x [batch, height, width] or [batch, channels, height, width].
func (n *ffNet) hybrid(s *graph.Scope, x *graph.Node) *graph.Node {
	shape := graph.ShapeOf(x)
	size := append([]int{}, shape...)
	if len(size) == 4 {
		size[1] = 1
	}
	other := graph.Concat(0, graph.Slice(x, 0, 1, shape[0], 1), graph.Slice(x, 0, 0, 1, 1))
	return graph.Where(hybridMask(s.Root().Sub(n.name), n.Blur, size), x, other)
}

// hybridMask blurs random bits, in passes with the weights 1/4, 1/2, 1/4 along both axes, the outermost pixels being
// repeated beyond the edges, and is 1 where more than a half is left.
func hybridMask(s *graph.Scope, passes int, size []int) *graph.Node {
	bits := s.Bernoulli("mask", graph.BroadcastTo(s.Const(0.5), size...))
	down, right := blur(s, size[len(size)-2], passes), blur(s, size[len(size)-1], passes)
	soft := graph.MatMul(graph.MatMul(down, bits), right)
	return graph.Greater(soft, graph.Const(soft, 0.5))
}

// blur is the symmetric matrix [n, n] of passes of the blur along an axis of n pixels.
func blur(s *graph.Scope, n, passes int) *graph.Node {
	a := graph.NewArray(s.DType(), n, n)
	for i := range n {
		row, next := make([]float64, n), make([]float64, n)
		row[i] = 1
		for range passes {
			for j := range row {
				next[j] = row[max(j-1, 0)]/4 + row[j]/2 + row[min(j+1, n-1)]/4
			}
			row, next = next, row
		}
		for j, v := range row {
			a.Set(i*n+j, v)
		}
	}
	return graph.Literal(s.Const(0), a)
}
