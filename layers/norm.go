package layers

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// BatchNorm brings each channel of x [batch, channels] or [batch, channels, height, width] to mean 0 and variance 1
// and then scales it by "weight" and shifts it by "bias", both [channels] (S. Ioffe, C. Szegedy 2015, arXiv
// 1502.03167). Training uses the mean and the biased variance of the batch, which needs two values a channel, and
// moves the states "running_mean" and "running_var" (the unbiased variance) towards them by
// running + Momentum·(batch - running); evaluation uses the states.
type BatchNorm struct {
	Momentum float64 // 0 means 0.1
	Eps      float64 // added to the variance; 0 means 1e-5
	Name     string
}

// Apply makes the result's node.
func (b BatchNorm) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	shape := graph.ShapeOf(x)
	if len(shape) != 2 && len(shape) != 4 {
		panic(graph.Fail("batch_norm", "input", "[batch, channels] or [batch, channels, height, width]", graph.TypeOf(x)))
	}
	momentum, eps := or(b.Momentum, 0.1), or(b.Eps, 1e-5)
	axes := []int{0, 2, 3}[:len(shape)-1]
	s = s.Layer("batchnorm", b.Name)
	c := shape[1]
	weight, bias := s.Param("weight", graph.Ones(), c), s.Param("bias", graph.Zeros(), c)
	mean, variance := s.State("running_mean", graph.Zeros(), c), s.State("running_var", graph.Ones(), c)
	if !s.Training() {
		scale := graph.Mul(weight, graph.Rsqrt(graph.Shift(variance, eps)))
		shift := graph.Sub(bias, graph.Mul(mean, scale))
		return graph.Add(graph.Mul(x, graph.KeepDims(scale, shape, axes...)), graph.KeepDims(shift, shape, axes...))
	}
	n := graph.TypeOf(x).Size() / max(c, 1)
	if n < 2 {
		panic(graph.Fail("batch_norm", "input", "at least two values a channel in training", graph.TypeOf(x)))
	}
	m := graph.Mean(x, axes...)
	centred := graph.Sub(x, graph.KeepDims(m, shape, axes...))
	v := graph.Mean(graph.Square(centred), axes...)
	towards := func(state, value *graph.Node) {
		s.Update(state, graph.Add(graph.Scale(state, 1-momentum), graph.Scale(graph.Detach(value), momentum)))
	}
	towards(mean, m)
	towards(variance, graph.Scale(v, float64(n)/float64(n-1)))
	scale := graph.Mul(weight, graph.Rsqrt(graph.Shift(v, eps)))
	return graph.Add(graph.Mul(centred, graph.KeepDims(scale, shape, axes...)), graph.KeepDims(bias, shape, axes...))
}

// LayerNorm brings the last axes of x to mean 0 and variance 1 and then scales by "weight" and shifts by "bias", both of
// the shape of those axes (J. Ba et al. 2016, arXiv 1607.06450).
type LayerNorm struct {
	Axes int     // how many of the last axes; 0 means 1
	Eps  float64 // added to the variance; 0 means 1e-5
	Name string
}

// Apply makes the result's node.
func (l LayerNorm) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	axes, shape := lastAxes("layer_norm", x, l.Axes)
	s = s.Layer("layernorm", l.Name)
	y := graph.Standardize(x, or(l.Eps, 1e-5), axes...)
	return graph.Add(graph.Mul(y, s.Param("weight", graph.Ones(), shape...)), s.Param("bias", graph.Zeros(), shape...))
}

// RMSNorm divides by the root mean square over the last axes and then scales by "weight", of the shape of those axes
// (B. Zhang, R. Sennrich 2019, arXiv 1910.07467).
type RMSNorm struct {
	Axes int     // how many of the last axes; 0 means 1
	Eps  float64 // added to the mean square; 0 means 1e-6
	Name string
}

// Apply makes the result's node.
func (l RMSNorm) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	axes, shape := lastAxes("rms_norm", x, l.Axes)
	y := graph.RMSNormalize(x, or(l.Eps, 1e-6), axes...)
	return graph.Mul(y, s.Layer("rmsnorm", l.Name).Param("weight", graph.Ones(), shape...))
}

// lastAxes are the last n axes of x, 0 meaning 1, and their sizes.
func lastAxes(layer string, x *graph.Node, n int) (axes, shape []int) {
	all := graph.ShapeOf(x)
	n = or(n, 1)
	if n < 1 || n > len(all) {
		panic(graph.Fail(layer, "Axes", fmt.Sprintf("1 to the %d axes of the input", len(all)), n))
	}
	for i := len(all) - n; i < len(all); i++ {
		axes = append(axes, i)
	}
	return axes, all[len(all)-n:]
}

// GroupNorm brings each group of channels of each example of x [batch, channels, ...] to mean 0 and variance 1 and then
// scales each channel by "weight" and shifts it by "bias", both [channels] (Y. Wu, K. He 2018, arXiv 1803.08494). One
// group for each channel is instance normalisation.
type GroupNorm struct {
	Groups int     // a divisor of the channels; 0 means 32
	Eps    float64 // added to the variance; 0 means 1e-5
	Name   string
}

// Apply makes the result's node.
func (l GroupNorm) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	shape := graph.ShapeOf(x)
	groups := or(l.Groups, 32)
	if len(shape) < 2 {
		panic(graph.Fail("group_norm", "input", "[batch, channels, ...]", graph.TypeOf(x)))
	}
	if groups < 1 || shape[1]%groups != 0 {
		panic(graph.Fail("group_norm", "Groups", fmt.Sprintf("a divisor of the %d channels", shape[1]), groups))
	}
	size := graph.TypeOf(x).Size() / max(shape[0]*groups, 1)
	y := graph.Standardize(graph.Reshape(x, shape[0], groups, size), or(l.Eps, 1e-5), 2)
	perChannel := make([]int, len(shape)-1)
	for i := range perChannel {
		perChannel[i] = 1
	}
	perChannel[0] = shape[1]
	s = s.Layer("groupnorm", l.Name)
	weight := graph.Reshape(s.Param("weight", graph.Ones(), shape[1]), perChannel...)
	bias := graph.Reshape(s.Param("bias", graph.Zeros(), shape[1]), perChannel...)
	return graph.Add(graph.Mul(graph.Reshape(y, shape...), weight), bias)
}
