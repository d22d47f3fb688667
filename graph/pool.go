package graph

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Pooling. Two families of primitives over the same windows. The average (or sum) of each window and its transpose are
// linear, so each is the other's reverse rule and its own forward rule. The maximum of each window has a derivative
// made of two more ops, linear in their second operand: pick reads a plane where the maximum of another one is, and put,
// its transpose, adds to it there.

// PoolOptions are the attributes of MaxPool2D and AvgPool2D; index 0 is the vertical axis, index 1 the horizontal one.
type PoolOptions struct {
	Kernel         [2]int // pixels of a window
	Stride         [2]int // pixels between neighbouring windows; 0 means the kernel's size
	Padding        [2]int // at both ends of an axis, at most half the window; -Inf for the maximum, 0 for the average
	Dilation       [2]int // pixels between neighbouring pixels of a window; 0 means 1
	ExcludePadding bool   // the average divides by the pixels inside the image only (count_include_pad=False)
}

// MaxPool2D is the largest element of each window of x [batch, channels, height, width], NaN if there is one. The
// result has (height + 2·padding - dilation·(kernel-1) - 1)/stride + 1 rows, and columns likewise. The derivative goes
// to the first maximum in reading order, as in PyTorch. It panics with an *Error if the sizes do not fit.
func MaxPool2D(x *Node, o PoolOptions) *Node {
	o.ExcludePadding = false
	return Apply(maxPoolOp(windowed("max_pool2d", x, o)), x)
}

// AvgPool2D is the mean of each window, of sizes as in MaxPool2D. Padding counts as zeros unless ExcludePadding. It
// panics with an *Error if the sizes do not fit.
func AvgPool2D(x *Node, o PoolOptions) *Node {
	return Apply(avgPoolOp(windowed("avg_pool2d", x, o)), x)
}

// AdaptiveAvgPool2D is the mean over a grid of height by width windows that cover the image: window i of n along an
// axis of size s reaches from floor(i·s/n) to ceil((i+1)·s/n), as in PyTorch.
func AdaptiveAvgPool2D(x *Node, height, width int) *Node {
	const op = "adaptive_avg_pool2d"
	size := imageSize(op, x)
	refuseUnless(min(height, width) >= 1, x, op, "grid", "at least 1 by 1", fmt.Sprintf("%d by %d", height, width))
	return Apply(avgPoolOp(poolAttrs{Grid: [2]int{height, width}, Size: size}), x)
}

// GlobalAvgPool2D is the mean over each image plane: [batch, channels, height, width] to [batch, channels].
func GlobalAvgPool2D(x *Node) *Node {
	imageSize("global_avg_pool2d", x)
	return Mean(x, 2, 3)
}

// GlobalMaxPool2D is the maximum over each image plane: [batch, channels, height, width] to [batch, channels]. The
// derivative goes to the first maximum.
func GlobalMaxPool2D(x *Node) *Node {
	y := Apply(maxPoolOp(poolAttrs{Grid: [2]int{1, 1}, Size: imageSize("global_max_pool2d", x)}), x)
	return Reshape(y, ShapeOf(x)[:2]...)
}

// UpsampleNearest2D repeats each pixel of x [batch, channels, height, width] scale times along both image axes.
func UpsampleNearest2D(x *Node, scale int) *Node {
	const op = "upsample_nearest2d"
	size := imageSize(op, x)
	refuseUnless(scale >= 1, x, op, "scale", "at least 1", scale)
	// The transpose of the sum over windows of scale by scale.
	k := [2]int{scale, scale}
	return Apply(unpoolOp(poolAttrs{
		PoolOptions: PoolOptions{Kernel: k, Stride: k, Dilation: [2]int{1, 1}},
		Size:        [2]int{size[0] * scale, size[1] * scale},
		Sum:         true,
	}), x)
}

// poolAttrs say where the windows lie: by options, or in a grid.
type poolAttrs struct {
	PoolOptions
	Grid [2]int // windows along each axis of an adaptive pooling, else 0
	Size [2]int // height and width of the image
	Sum  bool   // do not divide
}

// imageSize is the height and width of x, which must be images.
func imageSize(op string, x *Node) [2]int {
	s := ShapeOf(x)
	ok := len(s) == 4 && min(s[1], s[2], s[3]) >= 1 && TypeOf(x).IsFloat()
	refuseUnless(ok, x, op, "operand 0", "float32 or float64 [batch, channels, height, width]", TypeOf(x))
	return [2]int(s[2:])
}

// refuseUnless panics with an *Error of an op of x unless ok.
func refuseUnless(ok bool, x *Node, op, arg string, want, got any) {
	if !ok {
		e := fail(op, arg, want, got)
		e.Operands = describe([]*Node{x})
		panic(e)
	}
}

// windowed checks the options of a pooling of x and fills in the defaults.
func windowed(op string, x *Node, o PoolOptions) poolAttrs {
	a := poolAttrs{o, [2]int{}, imageSize(op, x), false}
	for i, size := range a.Size {
		if a.Stride[i] == 0 {
			a.Stride[i] = a.Kernel[i]
		}
		if a.Dilation[i] == 0 {
			a.Dilation[i] = 1
		}
		refuseUnless(a.Kernel[i] >= 1, x, op, "kernel", "at least 1", a.Kernel)
		refuseUnless(a.Stride[i] >= 1, x, op, "stride", "at least 1", a.Stride)
		refuseUnless(a.Dilation[i] >= 1, x, op, "dilation", "at least 1", a.Dilation)
		span := a.span(i)
		refuseUnless(a.Padding[i] >= 0 && a.Padding[i] <= span/2, x, op, "padding", fmt.Sprintf("0 to %d, half the window", span/2), a.Padding)
		refuseUnless(span <= size+2*a.Padding[i], x, op, "kernel", fmt.Sprintf("a window within the %d padded pixels of axis %d", size+2*a.Padding[i], 2+i), fmt.Sprintf("%d pixels", span))
	}
	return a
}

// span is how many pixels a window reaches over.
func (a poolAttrs) span(axis int) int { return a.Dilation[axis]*(a.Kernel[axis]-1) + 1 }

// A window is the pixels start, start+step, ... below stop along one axis; the average divides by count.
type window struct{ start, stop, step, count int }

// length is the number of windows along an axis.
func (a poolAttrs) length(axis int) int {
	if a.Grid[axis] > 0 {
		return a.Grid[axis]
	}
	return (a.Size[axis]+2*a.Padding[axis]-a.span(axis))/a.Stride[axis] + 1
}

// windows lists the windows along an axis, cut at the image's edges.
func (a poolAttrs) windows(axis int) []window {
	w := make([]window, a.length(axis))
	size, n := a.Size[axis], a.Grid[axis]
	for i := range w {
		if n > 0 {
			start, stop := i*size/n, ((i+1)*size+n-1)/n
			w[i] = window{start, stop, 1, stop - start}
			continue
		}
		start := i*a.Stride[axis] - a.Padding[axis]
		step, stop := a.Dilation[axis], start+a.span(axis)
		if start < 0 {
			start += (-start + step - 1) / step * step
		}
		stop = min(stop, size)
		w[i] = window{start, stop, step, a.Kernel[axis]}
		if a.ExcludePadding {
			w[i].count = max(1, (stop-start+step-1)/step)
		}
	}
	for i := range w {
		if a.Sum {
			w[i].count = 1
		}
	}
	return w
}

// pooled is the type of one element for each window of images of type t.
func (a poolAttrs) pooled(t Type) Type {
	return Type{t.DType, []int{t.Shape[0], t.Shape[1], a.length(0), a.length(1)}}
}

// image is the type of the images of which there is one element of t for each window.
func (a poolAttrs) image(t Type) Type {
	return Type{t.DType, []int{t.Shape[0], t.Shape[1], a.Size[0], a.Size[1]}}
}

// area is the number of pixels of a window, for counting operations.
func (a poolAttrs) area() int {
	n := 1
	for i := range 2 {
		if a.Grid[i] > 0 {
			n *= (a.Size[i] + a.Grid[i] - 1) / a.Grid[i]
		} else {
			n *= a.Kernel[i]
		}
	}
	return n
}

func avgPoolOp(a poolAttrs) *Primitive {
	return &Primitive{
		Name:  "avg_pool2d",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return a.pooled(in[0]), nil },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return byDType(out.DType, poolKernel(a, in[0], 1, a.avgPlanes()), poolKernel(a, in[0], 1, avgPlane[float64]), nil), nil
		},
		VJP:   func(y, dy *Node, x []*Node) []*Node { return []*Node{Apply(unpoolOp(a), dy)} },
		JVP:   linear(func() *Primitive { return avgPoolOp(a) }),
		Flops: func(out Type, _ []Type) int { return out.Size() * a.area() },
	}
}

func unpoolOp(a poolAttrs) *Primitive {
	return &Primitive{
		Name:  "avg_unpool2d",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return a.image(in[0]), nil },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return byDType(out.DType, poolKernel(a, out, 1, a.spreadPlanes()), poolKernel(a, out, 1, spreadPlane[float64]), nil), nil
		},
		VJP:   func(x, dx *Node, y []*Node) []*Node { return []*Node{Apply(avgPoolOp(a), dx)} },
		JVP:   linear(func() *Primitive { return unpoolOp(a) }),
		Flops: func(_ Type, in []Type) int { return in[0].Size() * a.area() },
	}
}

func maxPoolOp(a poolAttrs) *Primitive {
	return &Primitive{
		Name:  "max_pool2d",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return a.pooled(in[0]), nil },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			f64 := maxPlane[float64]
			if a.quarters() {
				f64 = maxQuarters[float64]
			}
			return byDType(out.DType, poolKernel(a, in[0], 1, a.maxPlanes()), poolKernel(a, in[0], 1, f64), nil), nil
		},
		VJP:   func(y, dy *Node, x []*Node) []*Node { return []*Node{Apply(maxPutOp(a), dy, x[0])} },
		JVP:   func(y *Node, x, dx []*Node) *Node { return Apply(maxPickOp(a), dx[0], x[0]) },
		Flops: func(out Type, _ []Type) int { return out.Size() * a.area() },
	}
}

// maxPickOp takes from operand 0, an image, what lies where the maximum of each window of operand 1 is; 0 for a window
// without pixels.
func maxPickOp(a poolAttrs) *Primitive {
	return &Primitive{
		Name:  "max_pool2d_pick",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return a.pooled(in[0]), nil },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return byDType(out.DType, poolKernel(a, in[0], 2, a.pickPlanes()), poolKernel(a, in[0], 2, pickPlane[float64]), nil), nil
		},
		VJP:   func(y, dy *Node, x []*Node) []*Node { return []*Node{Apply(maxPutOp(a), dy, x[1]), nil} },
		JVP:   linear(func() *Primitive { return maxPickOp(a) }),
		Flops: func(out Type, _ []Type) int { return out.Size() * a.area() },
	}
}

// maxPutOp is the transpose of maxPickOp: an image to which each element of operand 0 has been added where the maximum
// of its window of operand 1 is.
func maxPutOp(a poolAttrs) *Primitive {
	return &Primitive{
		Name:  "max_pool2d_put",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return a.image(in[0]), nil },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return byDType(out.DType, poolKernel(a, out, 2, a.putPlanes()), poolKernel(a, out, 2, putPlane[float64]), nil), nil
		},
		VJP:   func(x, dx *Node, y []*Node) []*Node { return []*Node{Apply(maxPickOp(a), dx, y[1]), nil} },
		JVP:   linear(func() *Primitive { return maxPutOp(a) }),
		Flops: func(_ Type, in []Type) int { return in[0].Size() * a.area() },
	}
}

// A planeFunc computes one plane of a pooling's result from one plane of each operand; b is nil for ops of one operand.
// Rows of windows and windows of a row are wy and wx; images are width wide.
type planeFunc[T Float] func(out, a, b []T, wy, wx []window, width int)

// poolKernel runs f over the planes of a batch of images, in parallel.
func poolKernel[T Float](a poolAttrs, image Type, operands int, f planeFunc[T]) Kernel {
	t := &poolTask[T]{f: f, wy: a.windows(0), wx: a.windows(1), width: a.Size[1], planes: image.Shape[0] * image.Shape[1]}
	const pixels = 1 << 13 // of a piece of work: some microseconds
	t.each = max(1, pixels/(a.Size[0]*a.Size[1]))
	pieces := (t.planes + t.each - 1) / t.each
	return func(out *Array, in []*Array) error {
		t.out, t.a = Data[T](out), Data[T](in[0])
		if operands == 2 {
			t.b = Data[T](in[1])
		}
		kernel.Parallel(t, pieces)
		return nil
	}
}

type poolTask[T Float] struct {
	f                   planeFunc[T]
	wy, wx              []window
	width, planes, each int
	out, a, b           []T
}

// Run does the planes of one piece.
func (t *poolTask[T]) Run(_, piece int) {
	n, m := len(t.out)/t.planes, len(t.a)/t.planes
	k := len(t.b) / t.planes
	for p := piece * t.each; p < min(t.planes, (piece+1)*t.each); p++ {
		t.f(t.out[p*n:(p+1)*n], t.a[p*m:(p+1)*m], t.b[p*k:(p+1)*k], t.wy, t.wx, t.width)
	}
}

func avgPlane[T Float](out, x, _ []T, wy, wx []window, width int) {
	for i, v := range wy {
		for j, h := range wx {
			var s float64
			for y := v.start; y < v.stop; y += v.step {
				row := x[y*width : (y+1)*width]
				for k := h.start; k < h.stop; k += h.step {
					s += float64(row[k])
				}
			}
			out[i*len(wx)+j] = T(s / float64(v.count*h.count))
		}
	}
}

func spreadPlane[T Float](out, dy, _ []T, wy, wx []window, width int) {
	clear(out)
	for i, v := range wy {
		for j, h := range wx {
			d := dy[i*len(wx)+j] / T(v.count*h.count)
			for y := v.start; y < v.stop; y += v.step {
				row := out[y*width : (y+1)*width]
				for k := h.start; k < h.stop; k += h.step {
					row[k] += d
				}
			}
		}
	}
}

func maxPlane[T Float](out, x, _ []T, wy, wx []window, width int) {
	for i, v := range wy {
		o := out[i*len(wx) : (i+1)*len(wx)]
		fill(o, T(math.Inf(-1)))
		for y := v.start; y < v.stop; y += v.step {
			row := x[y*width : (y+1)*width]
			for j, h := range wx {
				m := o[j]
				for k := h.start; k < h.stop; k += h.step {
					m = max(m, row[k])
				}
				o[j] = m
			}
		}
	}
}

func pickPlane[T Float](out, dx, x []T, wy, wx []window, width int) {
	for i, v := range wy {
		for j, h := range wx {
			var d T
			if at := windowArgMax(x, v, h, width); at >= 0 {
				d = dx[at]
			}
			out[i*len(wx)+j] = d
		}
	}
}

func putPlane[T Float](out, dy, x []T, wy, wx []window, width int) {
	clear(out)
	for i, v := range wy {
		for j, h := range wx {
			if at := windowArgMax(x, v, h, width); at >= 0 {
				out[at] += dy[i*len(wx)+j]
			}
		}
	}
}

// quarters says that the windows are the usual ones: 2 by 2 pixels side by side that cover the image.
func (a poolAttrs) quarters() bool {
	usual := PoolOptions{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Dilation: [2]int{1, 1}}
	return a.PoolOptions == usual && a.Grid[0] == 0 && a.Size[0]%2 == 0 && a.Size[1]%2 == 0
}

func maxQuarters[T Float](out, x, _ []T, wy, wx []window, width int) {
	n := len(wx)
	for i := range wy {
		o := out[i*n : (i+1)*n]
		top, bottom := x[2*i*width:][:2*len(o)], x[(2*i+1)*width:][:2*len(o)]
		for j := range o {
			o[j] = max(max(top[2*j], top[2*j+1]), max(bottom[2*j], bottom[2*j+1]))
		}
	}
}

// putQuarters writes each window whole, without a jump that depends on the data unless it is NaN.
func putQuarters(out, dy, x []float32, wy, wx []window, width int) {
	n := len(wx)
	for i := range wy {
		d := dy[i*n : (i+1)*n]
		top, bottom := x[2*i*width:][:2*len(d)], x[(2*i+1)*width:][:2*len(d)]
		outTop, outBottom := out[2*i*width:][:2*len(d)], out[(2*i+1)*width:][:2*len(d)]
		for j, v := range d {
			a, b, c, e := top[2*j], top[2*j+1], bottom[2*j], bottom[2*j+1]
			m := max(max(a, b), max(c, e))
			bits := math.Float32bits(v)
			var atA, atB, atC, atE uint32
			if a == m {
				atA = 1
			}
			if b == m {
				atB = 1
			}
			if c == m {
				atC = 1
			}
			if m != m { // the last NaN
				switch {
				case e != e:
				case c != c:
					atC = 1
				case b != b:
					atB = 1
				default:
					atA = 1
				}
			}
			atB &^= atA
			atC &^= atA | atB
			atE = 1 &^ (atA | atB | atC)
			outTop[2*j] = math.Float32frombits(bits & -atA)
			outTop[2*j+1] = math.Float32frombits(bits & -atB)
			outBottom[2*j] = math.Float32frombits(bits & -atC)
			outBottom[2*j+1] = math.Float32frombits(bits & -atE)
		}
	}
}

// windowArgMax is the place of a window's first maximum, or of its last NaN if there is one, as in PyTorch; -1 without
// pixels. Each condition guards one integer, so that the loop has no jump that depends on the data.
func windowArgMax[T Float](x []T, v, h window, width int) int {
	if v.start >= v.stop || h.start >= h.stop {
		return -1
	}
	if x32, ok := any(x).([]float32); ok && h.wide() {
		if at, ok := argMaxWide(x32, v, h, width); ok {
			return at
		}
	}
	at, m := v.start*width+h.start, T(math.Inf(-1))
	for y := v.start; y < v.stop; y += v.step {
		row := y * width
		for k := h.start; k < h.stop; k += h.step {
			e := x[row+k]
			if e > m {
				at = row + k
			}
			if e != e {
				at = row + k
			}
			m = max(m, e)
		}
	}
	return at
}
