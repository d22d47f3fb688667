package models

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// MobileNetV3Small is the smaller network of A. Howard et al. 2019 (arXiv 1905.02244, table 2): [batch, channels, height,
// width] to logits [batch, classes]. A stem, eleven inverted residuals with depthwise convolutions and squeeze-excitation,
// a 1x1 convolution, the mean over the image and two dense layers, 2,542,856 parameters with 1,000 classes. The stem,
// each inverted residual, the last convolution and each dense layer is a block.
type MobileNetV3Small struct {
	Classes int
	// Keep is how many of the five halvings of the image, from the first on, are left out: 0 suits 224x224, 2 suits
	// 28x28 and 32x32.
	Keep    int
	Dropout float64 // before the last layer; 0 means 0.2, negative none
}

// inverted is a row of table 2.
type inverted struct {
	kernel, expanded, out int
	squeeze               bool
	activation            layers.Layer
	stride                int
}

// Apply makes the logits' node.
func (m MobileNetV3Small) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	if m.Keep < 0 || m.Keep > 5 {
		panic(graph.Fail("mobilenet", "Keep", "0 to 5", m.Keep))
	}
	keep := m.Keep
	stride := func(n int) int {
		if n == 2 && keep > 0 {
			keep--
			return 1
		}
		return n
	}
	relu, swish := layers.ReLU{}, layers.HardSwish{}
	q := layers.Sequential{layers.Block(normed(16, 3, stride(2), 1, swish))}
	in := 16
	for _, r := range []inverted{
		{3, 16, 16, true, relu, 2},
		{3, 72, 24, false, relu, 2}, {3, 88, 24, false, relu, 1},
		{5, 96, 40, true, swish, 2}, {5, 240, 40, true, swish, 1}, {5, 240, 40, true, swish, 1},
		{5, 120, 48, true, swish, 1}, {5, 144, 48, true, swish, 1},
		{5, 288, 96, true, swish, 2}, {5, 576, 96, true, swish, 1}, {5, 576, 96, true, swish, 1},
	} {
		r.stride = stride(r.stride)
		q = append(q, r.block(in))
		in = r.out
	}
	q = append(q, layers.Block(normed(576, 1, 1, 1, swish)), layers.GlobalAvgPool2D{}, layers.Dense{Units: 1024, Activation: swish})
	if m.Dropout == 0 {
		m.Dropout = 0.2
	}
	if m.Dropout > 0 {
		q = append(q, layers.Dropout{P: m.Dropout})
	}
	return append(q, layers.Dense{Units: m.Classes}).Apply(s, x)
}

// block widens, filters each channel, weighs the channels and narrows; with a way around where the shape stays.
func (r inverted) block(in int) layers.Layer {
	var body layers.Sequential
	if r.expanded != in {
		body = append(body, normed(r.expanded, 1, 1, 1, r.activation)...)
	}
	body = append(body, normed(r.expanded, r.kernel, r.stride, r.expanded, r.activation)...)
	if r.squeeze {
		body = append(body, SqueezeExcitation{})
	}
	body = append(body, normed(r.out, 1, 1, 1, nil)...)
	if r.stride == 1 && in == r.out {
		return layers.Block{layers.Residual{Body: body}}
	}
	return layers.Block(body)
}

// normed is a convolution that keeps the size but for the stride, batch normalisation and an activation.
func normed(filters, kernel, stride, groups int, activation layers.Layer) []layers.Layer {
	c := convolution(filters, kernel, stride)
	c.Groups = groups
	q := []layers.Layer{c, layers.BatchNorm{Eps: 1e-3, Momentum: 0.01}}
	if activation != nil {
		q = append(q, activation)
	}
	return q
}

// SqueezeExcitation scales each channel of x [batch, channels, height, width] by a number from 0 to 1 that two 1x1
// convolutions, with ReLU and hard sigmoid, read off the means of all channels (J. Hu et al. 2018, arXiv 1709.01507; A.
// Howard et al. 2019).
type SqueezeExcitation struct {
	Units int // between the convolutions; 0 means a quarter of the channels, to the nearest multiple of 8
}

// Apply makes the result's node.
func (l SqueezeExcitation) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	shape := graph.ShapeOf(x)
	if len(shape) != 4 {
		panic(graph.Fail("squeeze_excitation", "input", "[batch, channels, height, width]", graph.TypeOf(x)))
	}
	if l.Units < 0 {
		panic(graph.Fail("squeeze_excitation", "Units", "at least 0", fmt.Sprint(l.Units)))
	}
	units := or(l.Units, divisible(shape[1]/4))
	s = s.Layer("squeeze", "")
	m := graph.Reshape(layers.GlobalAvgPool2D{}.Apply(s, x), shape[0], shape[1], 1, 1)
	m = layers.Conv2D{Filters: units, Kernel: layers.Both(1), Activation: layers.ReLU{}}.Apply(s, m)
	m = layers.Conv2D{Filters: shape[1], Kernel: layers.Both(1), Activation: layers.HardSigmoid{}}.Apply(s, m)
	return graph.Mul(x, m)
}

// divisible is the multiple of 8 nearest to n, at least 8 and at least nine tenths of n.
func divisible(n int) int {
	d := max(8, (n+4)/8*8)
	if 10*d < 9*n {
		d += 8
	}
	return d
}
