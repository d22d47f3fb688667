package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestSquentropy(t *testing.T) {
	for _, c := range []struct {
		x      []float64
		y      int
		loss   float64
		dx     []float64
		within float64
	}{
		{make([]float64, 10), 4, math.Log(10), nil, 1e-9},
		{[]float64{1, 2, -1}, 0, 3.8490122168, []float64{-.7405035397, 2.7053845127, -.9648809730}, 1e-9},
		{[]float64{1, 2, -1}, 1, 1.3490122168, []float64{1.2594964603, -.2946154873, -.9648809730}, 1e-9},
		{[]float64{3, -1}, 0, 1.0181499279, []float64{-.01798621, -1.98201379}, 1e-8},
		{[]float64{2, 3, 0}, 0, 5.8490122168, nil, 1e-9}, // the logits of line 2 plus 1: a loss higher by 2
		{[]float64{20, 0, 0}, 0, 2 * math.Exp(-20), nil, 1e-14},
	} {
		loss, dx := losses(t, Squentropy, rows(c.x), labelsOf(c.y))
		wantNear(t, "loss", c.within, loss, []float64{c.loss})
		if c.dx != nil {
			wantNear(t, "derivative", c.within, dx, c.dx)
		}
	}
	x, y := gradcheck.Normal(1, 4, 5), gradcheck.Ints(1, 5, 4)
	tiny, _ := losses(t, SquentropyOptions{SquareWeight: 1e-300}.Loss, x, y)
	ce, _ := losses(t, CrossEntropy, x, y)
	wantNear(t, "without squares", 1e-12, tiny, ce)
	// The squared loss of K 1 and M 1 is the mean squared error to the one-hot label.
	square, _ := losses(t, RescaledSquare, x, y)
	mse, _ := losses(t, func(x, y *graph.Node) *graph.Node { return MSE(x, graph.OneHot(y, 5, graph.Float64)) }, x, y)
	wantNear(t, "rescaled square", 1e-12, square, mse)
	got, dx := losses(t, RescaledSquareOptions{K: 2, M: 3}.Loss, rows([]float64{1, 2, -1}), labelsOf(1))
	wantNear(t, "rescaled square, K 2, M 3", 1e-12, append(got, dx...), []float64{(2 + 1 + 1) / 3.0, 2 / 3.0, -4 / 3.0, -2 / 3.0})
}

func TestSquentropyDerivatives(t *testing.T) {
	derivatives(t, map[string]Objective{
		"squentropy": Squentropy, "weighted": SquentropyOptions{SquareWeight: 0.3, Reduction: ReduceNone}.Loss,
		"square": RescaledSquare, "rescaled": RescaledSquareOptions{K: 5, M: 15, Reduction: ReduceSum}.Loss,
	})
}
