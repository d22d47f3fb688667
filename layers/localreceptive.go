package layers

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// LocallyConnected2D is a convolution without shared weights: every place of the image has filters of its own (K.
// Gregor, Y. LeCun 2010, arXiv 1006.0448; the local receptive fields of G. Hinton 2022, arXiv 2212.13345). It takes
// [batch, in, height, width] to [batch, filters, height', width'], sizes as in Conv2D, with parameters "weight"
// [height'·width', in·kernel height·kernel width, filters] and "bias" [filters, height', width'].
type LocallyConnected2D struct {
	Filters    int
	Kernel     [2]int // Both(0) means Both(3)
	Stride     [2]int // 0 means 1
	Padding    [2]int // zeros at both ends of each axis
	Activation Layer  // applied to the result; nil for none
	Name       string
	NoBias     bool
	Init       Init // of the weight; nil: see Init
}

// Apply makes the result's node.
func (l LocallyConnected2D) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	const layer = "locally connected"
	in, kernel, _ := convSizes(layer, x, l.Filters, l.Kernel, 1)
	for axis, p := range l.Padding {
		if p != 0 {
			x = graph.Pad(x, 2+axis, p, p, 0)
		}
	}
	shape := graph.ShapeOf(x)
	var out, stride [2]int
	for axis := range out {
		stride[axis] = or(l.Stride[axis], 1)
		needPositive(layer, "Stride", stride[axis])
		if out[axis] = (shape[2+axis]-kernel[axis])/stride[axis] + 1; kernel[axis] > shape[2+axis] {
			panic(graph.Fail(layer, "Kernel", fmt.Sprintf("at most the padded image %v", shape[2:]), kernel))
		}
	}
	places, taps := out[0]*out[1], in*kernel[0]*kernel[1]
	at := graph.NewArray(graph.Int, places, taps)
	for i := range places {
		row, column := i/out[1]*stride[0], i%out[1]*stride[1]
		for j := range taps {
			c, y, z := j/(kernel[0]*kernel[1]), j/kernel[1]%kernel[0], j%kernel[1]
			at.Ints()[i*taps+j] = (c*shape[2]+row+y)*shape[3] + column + z
		}
	}
	s = s.Layer("local", l.Name)
	w := s.Param("weight", initFor(l.Init, l.Activation, taps, l.Filters), places, taps, l.Filters)
	windows := graph.Take(graph.Flatten(x), graph.Literal(x, at), 1) // [batch, places, taps]
	y := graph.MatMul(graph.Transpose(windows, 1, 0, 2), w)          // [places, batch, filters]
	y = graph.Reshape(graph.Transpose(y, 1, 2, 0), shape[0], l.Filters, out[0], out[1])
	if !l.NoBias {
		y = graph.Add(y, s.Param("bias", graph.Zeros(), l.Filters, out[0], out[1]))
	}
	return activate(s, l.Activation, y)
}
