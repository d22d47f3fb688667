package graph

import (
	"fmt"
	"slices"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Convolution. With image x, weight w and output cotangent g, the number <g, conv2d(x, w)> is linear in each of the
// three, so there are three bilinear primitives, conv2d(x, w), conv2d_input_grad(g, w) and conv2d_weight_grad(g, x),
// and each one's derivatives are the other two. Transposed convolution is the second of them. Conv2D and ConvTranspose2D
// check the sizes; what the rules make of them fits.

// ConvOptions are the attributes of Conv2D; index 0 is the vertical axis, index 1 the horizontal one.
type ConvOptions struct {
	Stride   [2]int // pixels between neighbouring windows; 0 means 1
	Padding  [2]int // zeros at both ends of an axis; for different ends use Pad first
	Dilation [2]int // pixels between neighbouring taps of a window; 0 means 1
	Groups   int    // channels are split into groups that do not see each other; 0 means 1
}

// Conv2D is the two-dimensional convolution (cross-correlation, as in PyTorch) of x [batch, in, height, width] with
// w [out, in/groups, kh, kw]: [batch, out, (height + 2·padding - dilation·(kh-1) - 1)/stride + 1, ...]. A bias is
// added as Add(y, b) with b [out, 1, 1]. It panics with an *Error if the sizes do not fit.
func Conv2D(x, w *Node, o ConvOptions) *Node { return Apply(convOp(o.filled()), x, w) }

// ConvTransposeOptions are the attributes of ConvTranspose2D, those of the convolution it is the transpose of.
type ConvTransposeOptions struct {
	Stride        [2]int // 0 means 1
	Padding       [2]int // rows or columns taken off at both ends
	OutputPadding [2]int // rows or columns put on at the far end, fewer than the stride or the dilation
	Dilation      [2]int // 0 means 1
	Groups        int    // 0 means 1
}

// ConvTranspose2D is the transpose of Conv2D as a linear map, with PyTorch's layout: x [batch, in, height, width] and
// w [in, out/groups, kh, kw] give [batch, out, (height-1)·stride - 2·padding + dilation·(kh-1) + outputpadding + 1,
// ...]. It panics with an *Error if the sizes do not fit.
func ConvTranspose2D(x, w *Node, o ConvTransposeOptions) *Node {
	const op = "conv_transpose2d"
	a := convInputAttrs{ConvOptions: ConvOptions{o.Stride, o.Padding, o.Dilation, o.Groups}.filled()}
	must := func(err *Error) {
		if err != nil {
			err.Operands = describe([]*Node{x, w})
			panic(err)
		}
	}
	must(a.check(op, TypeOf(x), TypeOf(w)))
	sx, sw := ShapeOf(x), ShapeOf(w)
	if sx[1] != sw[0] {
		must(fail(op, "operand 0", fmt.Sprintf("%d channels, as the weight's axis 0", sw[0]), sx))
	}
	for i := range a.Size {
		extra := o.OutputPadding[i]
		if extra < 0 || extra >= max(a.Stride[i], a.Dilation[i]) {
			must(fail(op, "output padding", "at least 0, less than the stride or the dilation", o.OutputPadding))
		}
		a.Size[i] = (sx[2+i]-1)*a.Stride[i] - 2*a.Padding[i] + a.Dilation[i]*(sw[2+i]-1) + extra + 1
		if a.Size[i] < 1 {
			must(fail(op, "padding", "a result of at least one pixel", fmt.Sprintf("%d along axis %d", a.Size[i], 2+i)))
		}
		// The convolution of a result that much larger has more outputs: the transpose has more inputs, which are 0.
		if more := extra / a.Stride[i]; more > 0 {
			x = Pad(x, 2+i, 0, more, 0)
		}
	}
	return Apply(convInputOp(a), x, w)
}

func (o ConvOptions) filled() ConvOptions {
	for i := range 2 {
		if o.Stride[i] == 0 {
			o.Stride[i] = 1
		}
		if o.Dilation[i] == 0 {
			o.Dilation[i] = 1
		}
	}
	if o.Groups == 0 {
		o.Groups = 1
	}
	return o
}

// check looks at what a convolution and its transpose have in common: the attributes, an image and a weight.
func (o ConvOptions) check(op string, image, weight Type) *Error {
	for i, t := range []Type{image, weight} {
		if !t.IsFloat() || t.DType != image.DType {
			return fail(op, fmt.Sprintf("operand %d", i), "float32 or float64, both the same", t)
		}
		if len(t.Shape) != 4 || slices.Min(t.Shape[1:]) < 1 || i == 1 && t.Shape[0] < 1 {
			return fail(op, fmt.Sprintf("operand %d", i), [2]string{"[batch, channels, height, width]", "[channels, channels/groups, height, width]"}[i], t)
		}
	}
	switch {
	case min(o.Stride[0], o.Stride[1]) < 1:
		return fail(op, "stride", "at least 1", o.Stride)
	case min(o.Dilation[0], o.Dilation[1]) < 1:
		return fail(op, "dilation", "at least 1", o.Dilation)
	case min(o.Padding[0], o.Padding[1]) < 0:
		return fail(op, "padding", "at least 0", o.Padding)
	case o.Groups < 1:
		return fail(op, "groups", "at least 1", o.Groups)
	case weight.Shape[0]%o.Groups != 0:
		return fail(op, "groups", fmt.Sprintf("a divisor of %d, the weight's axis 0", weight.Shape[0]), o.Groups)
	}
	return nil
}

// outType is the type of the convolution of x with w, or an *Error.
func (o ConvOptions) outType(op string, x, w Type) (Type, error) {
	if err := o.check(op, x, w); err != nil {
		return Type{}, err
	}
	if x.Shape[1] != w.Shape[1]*o.Groups {
		return Type{}, fail(op, "operand 1", fmt.Sprintf("%d channels in %d groups, as operand 0", x.Shape[1], o.Groups), fmt.Sprintf("%d channels a group", w.Shape[1]))
	}
	shape := []int{x.Shape[0], w.Shape[0], 0, 0}
	for i := range 2 {
		padded, span := x.Shape[2+i]+2*o.Padding[i], o.Dilation[i]*(w.Shape[2+i]-1)+1
		if span > padded {
			return Type{}, fail(op, fmt.Sprintf("operand 1 axis %d", 2+i), fmt.Sprintf("a kernel within the %d padded pixels", padded), fmt.Sprintf("%d pixels", span))
		}
		shape[2+i] = (padded-span)/o.Stride[i] + 1
	}
	return Type{x.DType, shape}, nil
}

// kernel prepares the loops for an image and a weight of these shapes.
func (o ConvOptions) kernel(x, w []int) *kernel.Conv2D {
	return &kernel.Conv2D{
		Batch: x[0], InChannels: x[1], Height: x[2], Width: x[3], OutChannels: w[0], Kernel: [2]int{w[2], w[3]},
		Stride: o.Stride, Dilation: o.Dilation, PadBefore: o.Padding, PadAfter: o.Padding, Groups: o.Groups,
	}
}

// convFlops counts the multiplications and additions of all three primitives: each output of the convolution meets
// each element of one output channel's weight once.
func convFlops(y, w []int) int { return 2 * sizeOf(y) * sizeOf(w[1:]) }

func convOp(o ConvOptions) *Primitive {
	return &Primitive{
		Name:   "conv2d",
		Attrs:  o,
		form:   o,
		Type:   func(in []Type) (Type, error) { return o.outType("conv2d", in[0], in[1]) },
		Kernel: func(_ Type, in []Type) (Kernel, error) { return o.forward(in[0], in[1], false), nil },
		VJP: func(y, dy *Node, x []*Node) []*Node {
			return []*Node{Apply(o.inputGrad(x[0]), dy, x[1]), Apply(o.weightGrad(x[1]), dy, x[0])}
		},
		JVP:   bilinear(func() *Primitive { return convOp(o) }),
		Flops: func(out Type, in []Type) int { return convFlops(out.Shape, in[1].Shape) },
	}
}

// forward is the convolution's kernel. A third operand is a bias.
func (o ConvOptions) forward(x, w Type, relu bool) Kernel {
	p := o.kernel(x.Shape, w.Shape)
	p.ReLU = relu
	return byDType(x.DType,
		func(y *Array, in []*Array) error {
			var bias []float32
			if len(in) > 2 {
				bias = in[2].Float32s()
			}
			p.Forward32(y.Float32s(), in[0].Float32s(), in[1].Float32s(), bias)
			return nil
		},
		func(y *Array, in []*Array) error {
			var bias []float64
			if len(in) > 2 {
				bias = in[2].Float64s()
			}
			p.Forward64(y.Float64s(), in[0].Float64s(), in[1].Float64s(), bias)
			return nil
		}, nil)
}

type convInputAttrs struct {
	ConvOptions
	Size [2]int // height and width of the image
}

// inputGrad is the primitive that gives the cotangent of the image x.
func (o ConvOptions) inputGrad(x *Node) *Primitive {
	return convInputOp(convInputAttrs{o, [2]int(ShapeOf(x)[2:])})
}

func convInputOp(a convInputAttrs) *Primitive {
	return &Primitive{
		Name:  "conv2d_input_grad",
		Attrs: a,
		Type: func(in []Type) (Type, error) {
			return Type{in[0].DType, []int{in[0].Shape[0], in[1].Shape[1] * a.Groups, a.Size[0], a.Size[1]}}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			p := a.kernel(out.Shape, in[1].Shape)
			return byDType(out.DType,
				func(x *Array, in []*Array) error {
					p.InputGrad32(x.Float32s(), in[0].Float32s(), in[1].Float32s())
					return nil
				},
				func(x *Array, in []*Array) error {
					p.InputGrad64(x.Float64s(), in[0].Float64s(), in[1].Float64s())
					return nil
				}, nil), nil
		},
		VJP: func(x, dx *Node, in []*Node) []*Node {
			return []*Node{Conv2D(dx, in[1], a.ConvOptions), Apply(a.weightGrad(in[1]), in[0], dx)}
		},
		JVP:   bilinear(func() *Primitive { return convInputOp(a) }),
		Flops: func(_ Type, in []Type) int { return convFlops(in[0].Shape, in[1].Shape) },
	}
}

type convWeightAttrs struct {
	ConvOptions
	Kernel [2]int // height and width of the weight
}

// weightGrad is the primitive that gives the cotangent of the weight w.
func (o ConvOptions) weightGrad(w *Node) *Primitive {
	return convWeightOp(convWeightAttrs{o, [2]int(ShapeOf(w)[2:])})
}

func convWeightOp(a convWeightAttrs) *Primitive {
	return &Primitive{
		Name:  "conv2d_weight_grad",
		Attrs: a,
		Type: func(in []Type) (Type, error) {
			return Type{in[1].DType, []int{in[0].Shape[1], in[1].Shape[1] / a.Groups, a.Kernel[0], a.Kernel[1]}}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			p := a.kernel(in[1].Shape, out.Shape)
			return byDType(out.DType,
				func(w *Array, in []*Array) error {
					p.WeightGrad32(w.Float32s(), in[0].Float32s(), in[1].Float32s())
					return nil
				},
				func(w *Array, in []*Array) error {
					p.WeightGrad64(w.Float64s(), in[0].Float64s(), in[1].Float64s())
					return nil
				}, nil), nil
		},
		VJP: func(w, dw *Node, in []*Node) []*Node {
			return []*Node{Conv2D(in[1], dw, a.ConvOptions), Apply(a.inputGrad(in[1]), in[0], dw)}
		},
		JVP:   bilinear(func() *Primitive { return convWeightOp(a) }),
		Flops: func(out Type, in []Type) int { return convFlops(in[0].Shape, out.Shape) },
	}
}

// bilinear is the forward rule of an op that is linear in each of its two operands.
func bilinear(p func() *Primitive) func(y *Node, x, dx []*Node) *Node {
	return func(y *Node, x, dx []*Node) *Node {
		var d *Node
		if dx[0] != nil {
			d = Apply(p(), dx[0], x[1])
		}
		if dx[1] != nil {
			d = plus(d, Apply(p(), x[0], dx[1]))
		}
		return d
	}
}
