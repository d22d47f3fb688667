package objectives

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// A Goodness says how active a layer is on an example. The conventions of the literature differ in more than a factor:
// they go with thresholds of their own.
type Goodness int

const (
	SumSquares    Goodness = iota // Σ a² (G. Hinton 2022, arXiv 2212.13345)
	MeanSquares                   // Σ a²/n, as in ports of Hinton's code
	NegSumSquares                 // -Σ a²: low activity is good (Hinton 2022)
	L2Norm                        // √Σ a² (N. Tosato et al. 2023, arXiv 2305.18353)
	SumActivity                   // Σ a, not squared (Hinton 2022)
)

var goodnessNames = [...]string{"SumSquares", "MeanSquares", "NegSumSquares", "L2Norm", "SumActivity"}

// Known says whether g is one of the constants.
func (g Goodness) Known() bool { return g >= SumSquares && g <= SumActivity }

// String is the constant's name.
func (g Goodness) String() string {
	if !g.Known() {
		return fmt.Sprintf("Goodness(%d)", int(g))
	}
	return goodnessNames[g]
}

// Of is the goodness of each example: a [batch, ...] to [batch].
func (g Goodness) Of(a *graph.Node) *graph.Node {
	a = graph.Flatten(a)
	switch g {
	case SumSquares:
		return graph.Sum(graph.Square(a), 1)
	case MeanSquares:
		return graph.Mean(graph.Square(a), 1)
	case NegSumSquares:
		return graph.Neg(graph.Sum(graph.Square(a), 1))
	case L2Norm:
		return graph.Norm(a, 1)
	case SumActivity:
		return graph.Sum(a, 1)
	}
	panic(graph.Fail("goodness", "Goodness", "SumSquares, MeanSquares, NegSumSquares, L2Norm or SumActivity", g))
}

// Threshold is the usual goodness at which an example of a layer of so many units counts as positive with probability
// one half: for the sums that of units of mean square 1, n and -n, or of mean 1/2, n/2; 2 for MeanSquares; 3 for L2Norm,
// whose layers see inputs of length 1.
func (g Goodness) Threshold(units int) float64 {
	n := float64(units)
	return map[Goodness]float64{SumSquares: n, MeanSquares: 2, NegSumSquares: -n, L2Norm: 3, SumActivity: n / 2}[g]
}

// CosineGoodness is the cosine of the angle between each row of h [batch, n] and a fixed direction [n]: [batch], 0 for a
// row of zeros. It does not change with the length of h, so it needs no normalisation and no threshold (A. Momeni et al.
// 2023, arXiv 2304.11042, who take the absolute values of h).
func CosineGoodness(h, direction *graph.Node) *graph.Node {
	const op = "cosine_goodness"
	if len(graph.ShapeOf(h)) != 2 {
		panic(graph.Fail(op, "h", "rows [batch, n]", graph.TypeOf(h)))
	}
	if d := graph.ShapeOf(direction); len(d) != 1 || d[0] != graph.ShapeOf(h)[1] {
		panic(graph.Fail(op, "direction", fmt.Sprintf("[%d]", graph.ShapeOf(h)[1]), graph.TypeOf(direction)))
	}
	const tiny = 1e-12
	return graph.MatMul(graph.Normalize(h, tiny, 1), graph.Normalize(direction, tiny, 0))
}

// GoodnessMargin is the mean of log(1 + e^(-sharpness·(good - bad))) over pairs of examples [batch]: the goodness of an
// example with its true label is to be larger than with a wrong one (A. Momeni et al. 2023, arXiv 2304.11042, in the form
// of their code).
func GoodnessMargin(good, bad *graph.Node, sharpness float64) *graph.Node {
	return graph.Mean(graph.Softplus(graph.Scale(graph.Sub(bad, good), sharpness)))
}

// FunctionalEntropy is E[h log h] - E[h] log E[h] for h >= 0, the mean taken over the axes (over all if none is given):
// 0 for a constant, E[h] times the relative entropy of h/E[h] to 1. It grows in proportion to h, and over samples and
// layers it is the entropy of the layers' means plus the mean of the layers' entropies (G. Lorberbom et al. 2023, arXiv
// 2305.12393). The derivative at an h of 0 is that at the smallest normal number.
func FunctionalEntropy(h *graph.Node, axes ...int) *graph.Node {
	smallest := 0x1p-126
	if graph.TypeOf(h).DType == graph.Float64 {
		smallest = 0x1p-1022
	}
	xlogx := func(x *graph.Node) *graph.Node {
		return graph.Mul(x, graph.Log(graph.Maximum(x, graph.Const(x, smallest))))
	}
	return graph.Sub(graph.Mean(xlogx(h), axes...), xlogx(graph.Mean(h, axes...)))
}

// Hoyer is the sparsity of the rows of a [n, units]: (√units - |v|₁/|v|₂)/(√units - 1), 1 for a single active unit and 0
// for equal ones, averaged over the rows that are not all zero; NaN if there is none (P. Hoyer 2004).
func Hoyer(a *graph.Array) float64 {
	units := a.Size() / a.Shape[0]
	root, sum, rows := math.Sqrt(float64(units)), 0.0, 0
	for r := range a.Shape[0] {
		var l1, squares float64
		for j := range units {
			v := a.At(r*units + j)
			l1 += math.Abs(v)
			squares += v * v
		}
		if squares > 0 {
			sum += (root - l1/math.Sqrt(squares)) / (root - 1)
			rows++
		}
	}
	return sum / float64(rows)
}
