package kernel

import "unsafe"

// plane is the layout of one channel of an image copied with its padding, so that a tap's elements lie in contiguous
// rows: columns stepX apart stand side by side, one such series after the other.
type plane struct {
	minY, minX int
	rows       int
	pitch      int   // elements of a series
	lds        int   // bytes from what an output row reads to what the next reads
	offsets    []int // bytes, for each tap
	bytes      int
}

func (p *patches) plane() plane {
	size := p.set.size
	first := p.taps[0]
	l := plane{minY: first.dy, minX: first.dx}
	maxY, maxX := first.dy, first.dx
	for _, t := range p.taps {
		l.minY, l.minX = min(l.minY, t.dy), min(l.minX, t.dx)
		maxY, maxX = max(maxY, t.dy), max(maxX, t.dx)
	}
	l.rows = (p.gridH-1)*p.stepY + maxY - l.minY + 1
	l.pitch = ceilDiv((p.gridW-1)*p.stepX+maxX-l.minX+1, p.stepX)
	row := l.pitch * p.stepX * size
	l.lds = p.stepY * row
	for _, t := range p.taps {
		x := t.dx - l.minX
		l.offsets = append(l.offsets, (t.dy-l.minY)*row+(x%p.stepX*l.pitch+x/p.stepX)*size)
	}
	l.bytes = roundUp(l.rows*row+p.set.nr*size, 64)
	return l
}

// fill copies a channel of an image.
func fill[T float](p *patches, l *plane, to, channel unsafe.Pointer) {
	dst := unsafe.Slice((*T)(to), l.rows*l.pitch*p.stepX)
	if p.stepX == 1 {
		first := min(max(0, -l.minY), l.rows)
		last := max(first, min(l.rows, p.srcH-l.minY))
		clear(dst[:first*l.pitch])
		clear(dst[last*l.pitch:])
		for x := 0; x < l.pitch && first < last; x += p.set.nr {
			width := min(p.set.nr, l.pitch-x)
			from := min(max(0, -l.minX-x), width)
			upto := max(from, min(width, p.srcW-l.minX-x))
			offset := 0
			if from < upto {
				offset = ((l.minY+first)*p.srcW + l.minX + x) * p.set.size
			}
			p.set.pieces(unsafe.Pointer(&dst[first*l.pitch+x]), l.pitch*p.set.size, channel, offset, p.srcW*p.set.size, last-first, from, upto, width)
		}
		return
	}
	src := unsafe.Slice((*T)(channel), p.srcH*p.srcW)
	for r := range l.rows {
		for series := range p.stepX {
			line := dst[(r*p.stepX+series)*l.pitch:][:l.pitch]
			y, x := l.minY+r, l.minX+series
			if y < 0 || y >= p.srcH {
				clear(line)
				continue
			}
			from := min(max(0, ceilDiv(-x, p.stepX)), l.pitch)
			upto := max(from, min(l.pitch, ceilDiv(p.srcW-x, p.stepX)))
			clear(line[:from])
			clear(line[upto:])
			if from == upto {
				continue
			}
			in := src[y*p.srcW+x+from*p.stepX : (y+1)*p.srcW]
			for i := range line[from:upto] {
				line[from+i] = in[i*p.stepX]
			}
		}
	}
}

// depthwise is the gather of groups with one input channel each: a stencil on planes.
type depthwise struct {
	*gather
	plane
	perTask   int // planes
	offWeight int // scratch: the weights of a plane's rows, the unscattered result
	offResult int
	scratch   int
}

func (g *gather) planDepthwise() *depthwise {
	d := &depthwise{gather: g, plane: g.patches.plane()}
	grid := g.gridH * g.gridW
	d.perTask = min(g.images*g.groups, ceilDiv(smallTask, grid*g.m*len(g.taps)))
	d.offWeight = d.bytes
	d.offResult = d.offWeight + roundUp(len(g.taps)*g.set.size, 64)
	d.scratch = d.offResult
	if g.dstStepX != 1 || g.dstStepY != 1 {
		d.scratch += grid * g.set.size
	}
	return d
}

func (d *depthwise) tasks() int { return ceilDiv(d.images*d.groups, d.perTask) }

// Run computes some planes.
func (d *depthwise) Run(_, index int) {
	mem := getScratch(d.scratch)
	defer putScratch(mem)
	for i := index * d.perTask; i < min((index+1)*d.perTask, d.images*d.groups); i++ {
		if d.set.size == 4 {
			stencilPlane[float32](d, mem, i/d.groups, i%d.groups)
		} else {
			stencilPlane[float64](d, mem, i/d.groups, i%d.groups)
		}
	}
}

func stencilPlane[T float](d *depthwise, mem *scratch, n, group int) {
	s := d.set
	fill[T](&d.patches, &d.plane, mem.at(0), unsafe.Add(d.src, n*d.imageBytes+group*d.srcH*d.srcW*s.size))
	taps := len(d.taps)
	weights := unsafe.Slice((*T)(mem.at(d.offWeight)), taps)
	for i := range d.m {
		row := group*d.m + i
		if d.transpose {
			all := unsafe.Slice((*T)(unsafe.Add(d.weight, row*d.whole*s.size)), d.whole)
			for t, u := range d.use {
				weights[t] = all[u]
			}
		} else {
			copy(weights, unsafe.Slice((*T)(unsafe.Add(d.weight, row*taps*s.size)), taps))
		}
		var bias unsafe.Pointer
		if d.bias != nil {
			bias = unsafe.Add(d.bias, row*s.size)
		}
		to := unsafe.Add(d.dst, (n*d.groups*d.m+row)*d.dstH*d.dstW*s.size)
		if d.dstStepX == 1 && d.dstStepY == 1 {
			s.stencil(to, d.dstW*s.size, mem.at(0), d.lds, d.gridH, d.gridW, slice(d.offsets), slice(weights), taps, bias, d.flags)
			continue
		}
		s.stencil(mem.at(d.offResult), d.gridW*s.size, mem.at(0), d.lds, d.gridH, d.gridW, slice(d.offsets), slice(weights), taps, bias, d.flags)
		result := unsafe.Slice((*T)(mem.at(d.offResult)), d.gridH*d.gridW)
		out := unsafe.Slice((*T)(to), d.dstH*d.dstW)
		for y := range d.gridH {
			at := (d.y0+y*d.dstStepY)*d.dstW + d.x0
			for _, v := range result[y*d.gridW:][:d.gridW] {
				out[at] = v
				at += d.dstStepX
			}
		}
	}
}

// depthwiseWeights is the gradient of the weights of groups with one input channel, as products of planes: for each row of
// the kernel, gradOut times the plane shifted by each tap of the row. It needs stepX 1 and few columns.
type depthwiseWeights struct {
	*weightGradient
	plane
	kw int
}

func (w *weightGradient) planDepthwise(kw int) *depthwiseWeights {
	return &depthwiseWeights{weightGradient: w, plane: w.patches.plane(), kw: kw}
}

// Run computes the gradients of one group's weights.
func (d *depthwiseWeights) Run(_, group int) {
	s := d.set
	mem := getScratch(d.bytes)
	defer putScratch(mem)
	out := d.gridH * d.gridW * s.size
	for n := range d.images {
		channel := unsafe.Add(d.in, n*d.imageBytes+group*d.srcH*d.srcW*s.size)
		if s.size == 4 {
			fill[float32](&d.patches, &d.plane, mem.at(0), channel)
		} else {
			fill[float64](&d.patches, &d.plane, mem.at(0), channel)
		}
		flags := 0
		if n > 0 {
			flags = flagAdd
		}
		for o := range d.outputs {
			row := group*d.outputs + o
			grad := unsafe.Add(d.out, (n*d.groups*d.outputs+row)*out)
			for t := 0; t < len(d.taps); t += d.kw {
				ldb := 0
				if d.kw > 1 {
					ldb = d.offsets[t+1] - d.offsets[t]
				}
				to := unsafe.Add(d.grad, (row*len(d.taps)+t)*s.size)
				s.dot(d.gridW, d.gridH, grad, d.gridW*s.size, mem.at(d.offsets[t]), ldb, d.lds, to, nil, d.kw, flags)
			}
		}
	}
}
