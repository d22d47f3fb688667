package kernel

import (
	"unsafe"

	"github.com/pkg/errors"
)

// Conv2D is a two-dimensional convolution (cross-correlation, as the field has it) of images [Batch, InChannels,
// Height, Width] with weights [OutChannels, InChannels/Groups, Kernel[0], Kernel[1]]:
//
//	out[n,o,y,x] = bias[o] + sum over c,i,j of weight[o,c,i,j] * in[n, c, y*Stride[0]+i*Dilation[0]-PadBefore[0],
//	                                                                 x*Stride[1]+j*Dilation[1]-PadBefore[1]]
//
// with zeros outside the image; index 0 is the vertical axis, index 1 the horizontal one. Set the fields, then call the
// methods as often as needed; the fields must not change after the first call.
//
// The zeros are multiplied like other values. In float32 and for many channels, 3x3 kernels with stride and dilation 1 go
// through a Winograd transform, which is about two to three times as fast, has about four times the rounding error and
// lets a NaN or Inf spread to outputs near by; Direct prevents it.
type Conv2D struct {
	Batch, InChannels, Height, Width int
	OutChannels                      int
	Kernel                           [2]int
	Stride, Dilation                 [2]int // 0 means 1
	PadBefore, PadAfter              [2]int // rows above and below, columns left and right
	Groups                           int    // 0 means 1
	ReLU                             bool   // applied by Forward
	Direct                           bool   // always sum the terms as written: see below

	geometry    *convGeometry
	forwardTask *gather
	inputTasks  []*gather
	inputZeros  bool // some inputs meet no output
	weightTask  *weightGradient
}

// OutSize returns the height and width of the result.
func (p *Conv2D) OutSize() (height, width int) {
	g := p.prepare()
	return g.oh, g.ow
}

// Forward32 computes out [Batch, OutChannels, OutHeight, OutWidth]; bias [OutChannels] may be nil.
// Like all methods here it panics if a slice is too short for the shapes.
func (p *Conv2D) Forward32(out, in, weight, bias []float32) {
	p.check("forward", len(out), len(in), len(weight), bias != nil, len(bias))
	p.forward(set32, slice(out), slice(in), slice(weight), slice(bias))
}

// Forward64 is Forward32 in double precision.
func (p *Conv2D) Forward64(out, in, weight, bias []float64) {
	p.check("forward", len(out), len(in), len(weight), bias != nil, len(bias))
	p.forward(set64, slice(out), slice(in), slice(weight), slice(bias))
}

// InputGrad32 computes the gradient of the input [Batch, InChannels, Height, Width] from the gradient of the output,
// which is also the transposed convolution of gradOut with weight.
func (p *Conv2D) InputGrad32(gradIn, gradOut, weight []float32) {
	p.check("input gradient", len(gradOut), len(gradIn), len(weight), false, 0)
	p.inputGrad(set32, slice(gradIn), slice(gradOut), slice(weight))
}

// InputGrad64 is InputGrad32 in double precision.
func (p *Conv2D) InputGrad64(gradIn, gradOut, weight []float64) {
	p.check("input gradient", len(gradOut), len(gradIn), len(weight), false, 0)
	p.inputGrad(set64, slice(gradIn), slice(gradOut), slice(weight))
}

// WeightGrad32 computes the gradient of the weights from the gradient of the output and the input.
func (p *Conv2D) WeightGrad32(gradWeight, gradOut, in []float32) {
	p.check("weight gradient", len(gradOut), len(in), len(gradWeight), false, 0)
	if p.Batch == 0 {
		clear(gradWeight[:p.geometry.lenKern])
		return
	}
	p.weightGrad(set32, slice(gradWeight), slice(gradOut), slice(in))
}

// WeightGrad64 is WeightGrad32 in double precision.
func (p *Conv2D) WeightGrad64(gradWeight, gradOut, in []float64) {
	p.check("weight gradient", len(gradOut), len(in), len(gradWeight), false, 0)
	if p.Batch == 0 {
		clear(gradWeight[:p.geometry.lenKern])
		return
	}
	p.weightGrad(set64, slice(gradWeight), slice(gradOut), slice(in))
}

// convGeometry is a Conv2D with its defaults filled in.
type convGeometry struct {
	n, c, h, w, o, kh, kw  int
	sh, sw, dh, dw         int
	top, left              int
	groups                 int
	oh, ow                 int
	cg, og                 int // channels a group
	lenIn, lenOut, lenKern int
}

func (p *Conv2D) prepare() *convGeometry {
	if p.geometry != nil {
		return p.geometry
	}
	g := &convGeometry{
		n: p.Batch, c: p.InChannels, h: p.Height, w: p.Width, o: p.OutChannels,
		kh: p.Kernel[0], kw: p.Kernel[1],
		sh: max(p.Stride[0], 1), sw: max(p.Stride[1], 1), dh: max(p.Dilation[0], 1), dw: max(p.Dilation[1], 1),
		top: p.PadBefore[0], left: p.PadBefore[1], groups: max(p.Groups, 1),
	}
	if g.n < 0 || min(g.c, g.h, g.w, g.o, g.kh, g.kw) < 1 || min(g.top, g.left, p.PadAfter[0], p.PadAfter[1]) < 0 {
		panic(errors.Errorf("kernel: Conv2D: wanted positive sizes and padding of at least 0, got %+v", *p))
	}
	if g.c%g.groups != 0 || g.o%g.groups != 0 {
		panic(errors.Errorf("kernel: Conv2D: wanted channels divisible by %d groups, got %d in, %d out", g.groups, g.c, g.o))
	}
	spanH, spanW := g.h+g.top+p.PadAfter[0]-(g.kh-1)*g.dh-1, g.w+g.left+p.PadAfter[1]-(g.kw-1)*g.dw-1
	if spanH < 0 || spanW < 0 {
		panic(errors.Errorf("kernel: Conv2D: wanted a padded image of at least the dilated kernel, got %+v", *p))
	}
	g.oh, g.ow = spanH/g.sh+1, spanW/g.sw+1
	g.cg, g.og = g.c/g.groups, g.o/g.groups
	g.lenIn, g.lenOut, g.lenKern = g.n*g.c*g.h*g.w, g.n*g.o*g.oh*g.ow, g.o*g.cg*g.kh*g.kw
	p.geometry = g
	return g
}

func (p *Conv2D) check(op string, out, in, weight int, hasBias bool, bias int) {
	g := p.prepare()
	if out < g.lenOut || in < g.lenIn || weight < g.lenKern || (hasBias && bias < g.o) {
		panic(errors.Errorf("kernel: Conv2D %s: output, input, weight, bias need %d, %d, %d, %d elements, got %d, %d, %d, %d",
			op, g.lenOut, g.lenIn, g.lenKern, g.o, out, in, weight, bias))
	}
}

func (p *Conv2D) forward(set *kernelSet, out, in, weight, bias unsafe.Pointer) {
	if p.forwardTask == nil || p.forwardTask.set != set {
		g := p.geometry
		t := &gather{
			patches: g.patches(set), images: g.n, groups: g.groups, m: g.og, srcChannels: g.cg,
			dstH: g.oh, dstW: g.ow, dstStepY: 1, dstStepX: 1,
		}
		if p.ReLU {
			t.flags = flagReLU
		}
		t.plan(p.Direct)
		p.forwardTask = t
	}
	p.forwardTask.run(out, in, weight, bias)
}

// patches returns the patches that the forward pass reads.
func (g *convGeometry) patches(set *kernelSet) patches {
	p := patches{set: set, gridH: g.oh, gridW: g.ow, stepY: g.sh, stepX: g.sw, srcH: g.h, srcW: g.w}
	for i := range g.kh {
		for j := range g.kw {
			p.taps = append(p.taps, tap{i*g.dh - g.top, j*g.dw - g.left})
		}
	}
	return p
}

func (p *Conv2D) inputGrad(set *kernelSet, gradIn, gradOut, weight unsafe.Pointer) {
	if len(p.inputTasks) == 0 || p.inputTasks[0].set != set {
		p.inputTasks = p.inputTasks[:0]
		g := p.geometry
		for ry := range min(g.sh, g.h) {
			for rx := range min(g.sw, g.w) {
				if t := g.residue(set, ry, rx, p.Direct); t != nil {
					p.inputTasks = append(p.inputTasks, t)
				} else {
					p.inputZeros = true
				}
			}
		}
	}
	if p.inputZeros {
		clear(unsafe.Slice((*byte)(gradIn), p.geometry.lenIn*set.size))
	}
	for _, t := range p.inputTasks {
		t.run(gradIn, gradOut, weight, nil)
	}
}

// residue is the gradient of the input rows ry, ry+sh, ... and columns rx, rx+sw, ...: those whose outputs lie the same
// way; nil if they meet no output. With y = ry + sh*u, tap i meets output row u + (ry+top-i*dh)/sh where that is whole, and none otherwise.
func (g *convGeometry) residue(set *kernelSet, ry, rx int, direct bool) *gather {
	t := &gather{
		patches: patches{
			set: set, gridH: ceilDiv(g.h-ry, g.sh), gridW: ceilDiv(g.w-rx, g.sw), stepY: 1, stepX: 1, srcH: g.oh, srcW: g.ow,
		},
		images: g.n, groups: g.groups, m: g.cg, srcChannels: g.og,
		dstH: g.h, dstW: g.w, y0: ry, x0: rx, dstStepY: g.sh, dstStepX: g.sw,
		transpose: true, whole: g.kh * g.kw,
	}
	for i := range g.kh {
		for j := range g.kw {
			y, x := ry+g.top-i*g.dh, rx+g.left-j*g.dw
			if y%g.sh == 0 && x%g.sw == 0 {
				t.taps = append(t.taps, tap{y / g.sh, x / g.sw})
				t.use = append(t.use, i*g.kw+j)
			}
		}
	}
	if len(t.taps) == 0 {
		return nil
	}
	t.plan(direct)
	return t
}

func (p *Conv2D) weightGrad(set *kernelSet, gradWeight, gradOut, in unsafe.Pointer) {
	if p.weightTask == nil || p.weightTask.set != set {
		g := p.geometry
		p.weightTask = &weightGradient{patches: g.patches(set), images: g.n, groups: g.groups, channels: g.cg, outputs: g.og}
		p.weightTask.plan(g.kw, p.Direct)
	}
	p.weightTask.run(gradWeight, gradOut, in)
}
