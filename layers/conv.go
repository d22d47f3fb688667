package layers

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// Both is n for the vertical and the horizontal axis: Kernel: Both(3).
func Both(n int) [2]int { return [2]int{n, n} }

// Conv2D is a convolution with a bias: [batch, in, height, width] to [batch, filters, height', width'], with
// parameters "weight" [filters, in/groups, kernel height, kernel width] and "bias" [filters]. Sizes and attributes are
// those of graph.Conv2D.
type Conv2D struct {
	Filters    int
	Kernel     [2]int // Both(0) means Both(3)
	Stride     [2]int // 0 means 1
	Padding    [2]int // zeros at both ends of each axis
	Dilation   [2]int // 0 means 1
	Groups     int    // 0 means 1
	Activation Layer  // applied to the result; nil for none
	Name       string
	NoBias     bool
	Init       Init // of the weight; nil: see Init
}

// Apply makes the result's node.
func (c Conv2D) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	in, kernel, groups := convSizes("conv2d", x, c.Filters, c.Kernel, c.Groups)
	s = s.Layer("conv", c.Name)
	taps := kernel[0] * kernel[1]
	init := initFor(c.Init, c.Activation, in/groups*taps, c.Filters/groups*taps)
	w := s.Param("weight", init, c.Filters, in/groups, kernel[0], kernel[1])
	y := graph.Conv2D(x, w, graph.ConvOptions{Stride: c.Stride, Padding: c.Padding, Dilation: c.Dilation, Groups: groups})
	return activate(s, c.Activation, channelBias(s, y, c.NoBias))
}

// ConvTranspose2D is the transpose of a convolution with a bias: [batch, in, height, width] to [batch, filters,
// height', width'], with parameters "weight" [in, filters/groups, kernel height, kernel width] and "bias" [filters].
// Sizes and attributes are those of graph.ConvTranspose2D.
type ConvTranspose2D struct {
	Filters       int
	Kernel        [2]int // Both(0) means Both(3)
	Stride        [2]int // 0 means 1
	Padding       [2]int // taken off at both ends of each axis
	OutputPadding [2]int // put on at the far end of each axis
	Dilation      [2]int // 0 means 1
	Groups        int    // 0 means 1
	Activation    Layer  // applied to the result; nil for none
	Name          string
	NoBias        bool
	Init          Init // of the weight; nil: see Init
}

// Apply makes the result's node.
func (c ConvTranspose2D) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	in, kernel, groups := convSizes("conv_transpose2d", x, c.Filters, c.Kernel, c.Groups)
	s = s.Layer("convtranspose", c.Name)
	taps := kernel[0] * kernel[1]
	init := initFor(c.Init, c.Activation, in/groups*taps, c.Filters/groups*taps)
	w := s.Param("weight", init, in, c.Filters/groups, kernel[0], kernel[1])
	y := graph.ConvTranspose2D(x, w, graph.ConvTransposeOptions{Stride: c.Stride, Padding: c.Padding,
		OutputPadding: c.OutputPadding, Dilation: c.Dilation, Groups: groups})
	return activate(s, c.Activation, channelBias(s, y, c.NoBias))
}

// convSizes are the input channels, the kernel and the groups of a convolution.
func convSizes(layer string, x *graph.Node, filters int, kernel [2]int, groups int) (int, [2]int, int) {
	needPositive(layer, "Filters", filters)
	needRank(layer, x, 4, 4, "[batch, channels, height, width]")
	kernel, groups = or(kernel, Both(3)), or(groups, 1)
	needPositive(layer, "Kernel", min(kernel[0], kernel[1]))
	in := graph.ShapeOf(x)[1]
	if groups < 1 || in%groups != 0 || filters%groups != 0 {
		panic(graph.Fail(layer, "Groups", fmt.Sprintf("a divisor of %d channels and %d filters", in, filters), groups))
	}
	return in, kernel, groups
}

func channelBias(s *graph.Scope, y *graph.Node, none bool) *graph.Node {
	if none {
		return y
	}
	c := graph.ShapeOf(y)[1]
	return graph.Add(y, graph.Reshape(s.Param("bias", graph.Zeros(), c), c, 1, 1))
}
