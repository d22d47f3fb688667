package gradcheck

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Normal is a float64 array of standard normal numbers, a function of the seed and the shape.
func Normal(seed uint64, shape ...int) *graph.Array {
	r := graph.Rand(seed, "gradcheck/normal", 0)
	return fill(shape, func(int) float64 { return r.NormFloat64() })
}

// Uniform is a float64 array of numbers in [low, high).
func Uniform(seed uint64, low, high float64, shape ...int) *graph.Array {
	r := graph.Rand(seed, "gradcheck/uniform", 0)
	return fill(shape, func(int) float64 { return low + (high-low)*r.Float64() })
}

// Positive is a float64 array of numbers around 1, none below 0.3 or above 3: log-uniform.
func Positive(seed uint64, shape ...int) *graph.Array {
	a := Uniform(seed, math.Log(0.3), math.Log(3), shape...)
	for i, v := range a.Float64s() {
		a.Float64s()[i] = math.Exp(v)
	}
	return a
}

// Separated is a float64 array of distinct numbers around 0 in random order, at distances of 0.1: away from the kinks
// of maxima, sorting, |x|, relu and rounding.
func Separated(seed uint64, shape ...int) *graph.Array {
	a := graph.NewArray(graph.Float64, shape...)
	for i, k := range graph.Rand(seed, "gradcheck/separated", 0).Perm(a.Size()) {
		a.Set(i, 0.1*float64(k-a.Size()/2)+0.037)
	}
	return a
}

// Ints is an Int array of numbers in [0, n).
func Ints(seed uint64, n int, shape ...int) *graph.Array {
	r := graph.Rand(seed, "gradcheck/ints", 0)
	a := graph.NewArray(graph.Int, shape...)
	for i := range a.Ints() {
		a.Ints()[i] = r.IntN(n)
	}
	return a
}

func fill(shape []int, f func(i int) float64) *graph.Array {
	a := graph.NewArray(graph.Float64, shape...)
	for i := range a.Float64s() {
		a.Float64s()[i] = f(i)
	}
	return a
}
