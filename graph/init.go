package graph

import "math"

// An Init fills a new parameter. The draw is a function of the store's seed and the parameter's name only.
type Init func(seed uint64, name string, value *Array)

// Constant fills with v.
func Constant(v float64) Init {
	return func(_ uint64, _ string, a *Array) {
		for i := range a.Size() {
			a.Set(i, v)
		}
	}
}

// Zeros fills with 0.
func Zeros() Init { return func(_ uint64, _ string, a *Array) { a.Zero() } }

// Ones fills with 1.
func Ones() Init { return Constant(1) }

// NormalInit draws from a normal distribution of mean 0 and the given standard deviation.
func NormalInit(std float64) Init {
	return func(seed uint64, name string, a *Array) {
		draw(seed, name, a, fillNormal, func(z float64) float64 { return z * std })
	}
}

// UniformInit draws uniformly from (low, high).
func UniformInit(low, high float64) Init {
	return func(seed uint64, name string, a *Array) {
		draw(seed, name, a, fillUniform, func(u float64) float64 { return low + (high-low)*u })
	}
}

// He draws from N(0, 2/fan-in), made for ReLU (K. He et al. 2015, arXiv 1502.01852, eq. 10).
func He(fanIn int) Init { return NormalInit(math.Sqrt(2 / float64(max(fanIn, 1)))) }

// HeUniform draws from U(-b, b), b = sqrt(6/fan-in): the variance of He.
func HeUniform(fanIn int) Init {
	b := math.Sqrt(6 / float64(max(fanIn, 1)))
	return UniformInit(-b, b)
}

// Glorot draws from U(-b, b), b = sqrt(6/(fan-in + fan-out)) (X. Glorot, Y. Bengio 2010, eq. 16).
func Glorot(fanIn, fanOut int) Init {
	b := math.Sqrt(6 / float64(max(fanIn+fanOut, 1)))
	return UniformInit(-b, b)
}

// LeCun draws from U(-b, b), b = 1/sqrt(fan-in): PyTorch's default of linear and convolution layers.
func LeCun(fanIn int) Init {
	b := 1 / math.Sqrt(float64(max(fanIn, 1)))
	return UniformInit(-b, b)
}

func draw(seed uint64, name string, a *Array, fill func(stream, int, []float64), f func(float64) float64) {
	var block [1024]float64
	s := newStream(seed, hashName("init/"+name), 0)
	for i := 0; i < a.Size(); i += len(block) {
		z := block[:min(len(block), a.Size()-i)]
		fill(s, i, z)
		for j, v := range z {
			a.Set(i+j, f(v))
		}
	}
}
