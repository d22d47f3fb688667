package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
)

// Clip bounds the gradients before a step; 0 switches a bound off. Norm bounds the Euclidean norm n of all gradients
// together: they are multiplied with min(1, Norm/(n + 1e-6)) (Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063,
// Algorithm 1, as in PyTorch's clip_grad_norm_). Value bounds each element to [-Value, Value], after Norm, and leaves
// the bounded numbers in the gradient arrays, as clip_grad_value_ does.
type Clip struct{ Norm, Value float64 }

// GlobalNorm is the Euclidean norm of all elements of floating-point arrays together, summed in float64 in a fixed
// order.
func GlobalNorm(grads []*graph.Array) float64 {
	total := 0.0
	for _, g := range grads {
		if g.DType == graph.Float32 {
			total += compute.SumSquares(graph.Data[float32](g))
		} else {
			total += squares(g.Float64s())
		}
	}
	return math.Sqrt(total)
}

// squares is the sum of squares, in four interleaved sums so that an addition need not wait for the one before.
func squares(x []float64) float64 {
	var a, b, c, d float64
	for len(x) >= 4 {
		a += x[0] * x[0]
		b += x[1] * x[1]
		c += x[2] * x[2]
		d += x[3] * x[3]
		x = x[4:]
	}
	for _, v := range x {
		a += v * v
	}
	return (a + b) + (c + d)
}

// bound limits the elements of scale*x to [-most, most]. A NaN stays.
func bound[T graph.Float](x []T, scale, most T) {
	for i, v := range x {
		x[i] = min(max(scale*v, -most), most)
	}
}

// clip applies Value and returns the factor that is left for the update. A norm that is not finite is an error, and
// then nothing has changed.
func (s *Stepper) clip(grads []*graph.Array) (scale float64, err error) {
	scale = 1
	if s.options.Clip.Norm > 0 {
		norm := GlobalNorm(grads)
		if math.IsNaN(norm) || math.IsInf(norm, 0) {
			return 0, s.normError(grads, norm)
		}
		scale = min(1, s.options.Clip.Norm/(norm+1e-6))
	}
	if most := s.options.Clip.Value; most > 0 {
		for _, g := range grads {
			if g.DType == graph.Float32 {
				bound(graph.Data[float32](g), float32(scale), float32(most))
			} else {
				bound(graph.Data[float64](g), scale, most)
			}
		}
		scale = 1
	}
	return scale, nil
}

func (s *Stepper) normError(grads []*graph.Array, norm float64) error {
	for i, g := range grads {
		if n := GlobalNorm([]*graph.Array{g}); math.IsNaN(n) || math.IsInf(n, 0) {
			return graph.Fail("clip", "gradient of "+s.params[i].Name, "a finite norm", n)
		}
	}
	return graph.Fail("clip", "all gradients", "a finite norm", norm)
}
