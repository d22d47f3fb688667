package kernel

import "unsafe"

// winograd computes a gather of 3x3 taps and unit steps in float32 by the algorithm F(4x4, 3x3) of Lavin and Gray (2016,
// arXiv:1509.09308): 36 multiplications for 16 outputs instead of 144. A tile of 4x4 outputs reads 6x6 inputs; both are
// transformed so that the convolution becomes, for each of 36 components, a product [tiles, channels]·[channels, rows].
//
// The transforms cancel digits. With normally distributed input and weights the root mean square error is 1.3e-6 of that
// of the outputs for 32 channels and 3.3e-6 for 256, four times that of the direct sum; winogradError bounds the largest.
// A NaN or Inf spreads over the tiles that read it.
type winograd struct {
	*gather
	tiling
	tileReader
	block  int  // tiles a task
	split  int  // panels of rows a task
	panels int  // of rows
	flip   bool // the taps fall
	local  bool // a task transforms the weights it needs, instead of all being transformed once

	component int // bytes of a component of the transformed weights
	offM      int // scratch: products, input pixels, output pixels, a panel's transformed weights
	offX      int
	offY      int
	offU      int
	scratch   int
	transform winogradWeights
}

// winogradWeights is the task that transforms the weights of a panel of rows for a few channels.
type winogradWeights struct{ w *winograd }

const (
	components = 36
	// winogradError times 2^-24 bounds an output's error, in units of the largest sum of absolute values of the terms of
	// any output; the direct sum stays below 6.
	winogradError = 40

	winogradChannels = 16      // channels and rows are multiples of this, and at least twice this
	winogradLargest  = 1 << 17 // most channels times rows whose transformed weights fit the cache; above, one block must do
	winogradTiles    = 24      // fewest tiles
	winogradBlock    = 48      // most tiles a task
	winogradBytes    = 1 << 20 // of the transformed tiles of a task
	weightChannels   = 16      // a winogradWeights task

	// spread bytes between components keep the components of a tile off the same lines of the cache.
	spread = 64
)

// planWinograd returns nil where the direct computation is better.
func (g *gather) planWinograd() *winograd {
	s := g.set
	c, m := g.srcChannels, g.m
	if g.groups > 1 || g.dstStepY != 1 || g.dstStepX != 1 || !g.suitsWinograd(c, m) {
		return nil
	}
	first := g.taps[0]
	w := &winograd{gather: g, tiling: newTiling(g.images, g.gridH, g.gridW)}
	if w.flip = g.taps[8].dy < first.dy; w.flip {
		first = g.taps[8]
	}
	w.tileReader = newTileReader(s, 6, c, g.srcH, g.srcW, -first.dy, -first.dx)
	if w.tiles < winogradTiles || w.wasteful(g.images*g.gridH*g.gridW) {
		return nil
	}
	if c*m > winogradLargest {
		if w.tiles > winogradBlock {
			return nil
		}
		w.local = true
	}
	w.block = even(w.tiles, max(min(winogradBytes/(components*w.line), winogradBlock)/s.mr, 1)*s.mr, s.mr)
	w.panels = ceilDiv(m, s.nr)
	w.component = w.panels*c*s.nr*s.size + spread
	if w.local {
		w.block = w.tiles
		w.component = c*s.nr*s.size + spread
	}
	w.split = w.panels
	if blocks := ceilDiv(w.tiles, w.block); blocks < wantTasks/4 {
		w.split = ceilDiv(w.panels*blocks, wantTasks/4)
	}
	w.offM = components * (w.block*w.line + spread)
	w.offX = w.offM + components*(w.block*s.nr*s.size+spread)
	widest := min(w.block, w.tilesX)
	w.offY = w.offX + w.bytes(widest)
	w.offU = w.offY + 16*widest*s.nr*s.size
	w.scratch = w.offU
	if w.local {
		w.scratch += components * w.component
	}
	w.transform.w = w
	return w
}

// suitsWinograd tells whether the taps are those of a plain 3x3 kernel, in rising or falling order, and the channels of
// both sides fill vectors and pay for the transforms.
func (p *patches) suitsWinograd(channels, rows int) bool {
	if p.set.winogradInput == nil || len(p.taps) != 9 || p.stepY != 1 || p.stepX != 1 {
		return false
	}
	first := p.taps[0]
	step := p.taps[8].dy - first.dy
	if step != 2 && step != -2 {
		return false
	}
	for t, q := range p.taps {
		if q.dy != first.dy+t/3*step/2 || q.dx != first.dx+t%3*step/2 {
			return false
		}
	}
	return channels%winogradChannels == 0 && rows%winogradChannels == 0 && min(channels, rows) >= 2*winogradChannels
}

// wasteful tells whether the tiles stand out so far over the outputs that less than half of the work would be saved.
func (t *tiling) wasteful(outputs int) bool { return t.tiles*components*2 > outputs*9 }

func (w *winograd) run() {
	tasks := ceilDiv(w.tiles, w.block) * ceilDiv(w.panels, w.split)
	if w.local {
		Parallel(w, tasks)
		return
	}
	w.packed = getScratch(components * w.component)
	Parallel(&w.transform, w.panels*ceilDiv(w.srcChannels, weightChannels))
	Parallel(w, tasks)
	putScratch(w.packed)
}

// Run transforms weights: U[component][panel][channel][row of the panel].
func (t *winogradWeights) Run(_, index int) {
	w := t.w
	chunks := ceilDiv(w.srcChannels, weightChannels)
	panel, c0 := index/chunks, index%chunks*weightChannels
	w.weights(w.packed.at(panel*w.srcChannels*w.set.nr*w.set.size), panel, c0, min(c0+weightChannels, w.srcChannels))
}

// weights transforms the weights of channels c0..c1-1 of a panel of rows to u[channel][row], components w.component bytes
// apart.
func (w *winograd) weights(u unsafe.Pointer, panel, c0, c1 int) {
	s := w.set
	mem := getScratch(9 * s.lanes * s.size)
	defer putScratch(mem)
	first, step := 0, s.lanes*s.size
	if w.flip {
		first, step = 8*step, -step
	}
	row0 := panel * s.nr
	for c := c0; c < c1; c++ {
		for r := 0; r < min(s.nr, w.m-row0); r += s.lanes {
			from, lds := ((row0+r)*w.srcChannels+c)*9, w.srcChannels*9
			if w.gather.transpose {
				from, lds = (c*w.m+row0+r)*9, 9
			}
			s.trans(mem.at(0), s.lanes*s.size, unsafe.Add(w.weight, from*s.size), lds*s.size, s.lanes, 9)
			s.winogradWeight(unsafe.Add(u, (c*s.nr+r)*s.size), w.component, mem.at(first), step)
		}
	}
}

// strip is a run of tiles in one row of tiles of an image.
type strip struct{ image, y, x, tiles int }

// tiling cuts images of outputs into tiles of 4x4.
type tiling struct {
	tilesY, tilesX int // of an image
	tiles          int // of all images
}

func newTiling(images, height, width int) tiling {
	y, x := ceilDiv(height, 4), ceilDiv(width, 4)
	return tiling{y, x, images * y * x}
}

// strip returns the longest run that begins with a tile and ends before another.
func (t *tiling) strip(tile, end int) strip {
	x := tile % t.tilesX
	return strip{tile / t.tilesX / t.tilesY, tile / t.tilesX % t.tilesY, x, min(t.tilesX-x, end-tile)}
}

// tileReader brings tiles of images into the transformed domain.
type tileReader struct {
	set           *kernelSet
	edge          int // pixels of a tile: 6, overlapping, or 4
	channels      int
	height, width int
	top, left     int // from a tile's first pixel to its first output
	line          int // bytes of the channels of a pixel or tile
}

func newTileReader(set *kernelSet, edge, channels, height, width, top, left int) tileReader {
	return tileReader{set, edge, channels, height, width, top, left, channels * set.size}
}

// bytes is the scratch that read needs for a strip of so many tiles.
func (r *tileReader) bytes(tiles int) int { return r.edge * (4*tiles + r.edge - 4) * r.line }

// read transforms the tiles of a strip to v, components step bytes apart, after putting the channels of each pixel next
// to each other at x.
func (r *tileReader) read(images unsafe.Pointer, p strip, x []byte, v unsafe.Pointer, step int) {
	s := r.set
	pixels := 4*p.tiles + r.edge - 4
	plane := r.height * r.width * s.size
	x0 := 4*p.x - r.left
	from := min(max(0, -x0), pixels)
	upto := max(from, min(pixels, r.width-x0))
	for i := range r.edge {
		y := 4*p.y - r.top + i
		row := x[i*pixels*r.line:][:pixels*r.line]
		if y < 0 || y >= r.height || from == upto {
			clear(row)
			continue
		}
		clear(row[:from*r.line])
		clear(row[upto*r.line:])
		src := unsafe.Add(images, p.image*r.channels*plane+(y*r.width+x0+from)*s.size)
		for c := 0; c < r.channels; c += s.lanes {
			s.trans(unsafe.Pointer(&row[from*r.line+c*s.size]), r.line, unsafe.Add(src, c*plane), plane, s.lanes, upto-from)
		}
	}
	transform := s.winogradInput
	if r.edge == 4 {
		transform = s.winogradGrad
	}
	for t := range p.tiles {
		transform(unsafe.Add(v, t*r.line), step, unsafe.Pointer(&x[4*t*r.line]), pixels*r.line, r.line, r.channels/s.lanes)
	}
}

// Run computes some panels of rows for some tiles.
func (w *winograd) Run(_, index int) {
	s := w.set
	mem := getScratch(w.scratch)
	defer putScratch(mem)
	splits := ceilDiv(w.panels, w.split)
	t0 := index / splits * w.block
	t1 := min(t0+w.block, w.tiles)
	stepV := (t1-t0)*w.line + spread
	for t := t0; t < t1; {
		p := w.strip(t, t1)
		w.read(w.src, p, mem.mem[w.offX:], mem.at((t-t0)*w.line), stepV)
		t += p.tiles
	}
	width := s.nr * s.size
	stepM := (t1-t0)*width + spread
	first := index % splits * w.split
	for panel := first; panel < min(first+w.split, w.panels); panel++ {
		vectors := min(w.m-panel*s.nr, s.nr) / s.lanes
		packed, offset := w.packed, panel*w.srcChannels*width
		if w.local {
			packed, offset = mem, w.offU
			w.weights(mem.at(offset), panel, 0, w.srcChannels)
		}
		for k := range components {
			u := packed.at(offset + k*w.component)
			for i := 0; i < t1-t0; i += s.mr {
				micro := s.micro[(vectors-1)*s.mr+min(s.mr, t1-t0-i)-1]
				micro(w.srcChannels, mem.at(k*stepV+i*w.line), w.line, s.size, u, width, mem.at(w.offM+k*stepM+i*width), width, nil, s.lanes, 0)
			}
		}
		for t := t0; t < t1; {
			p := w.strip(t, t1)
			w.output(mem, p, mem.at(w.offM+(t-t0)*width), stepM, panel, vectors)
			t += p.tiles
		}
	}
}

// output transforms the products of a strip for one panel of rows, and puts the pixels of each row next to each other.
func (w *winograd) output(mem *scratch, p strip, m unsafe.Pointer, stepM, panel, vectors int) {
	s := w.set
	width := s.nr * s.size
	pixels := 4 * p.tiles
	row0 := panel * s.nr
	var bias unsafe.Pointer
	flags := w.flags &^ flagRowBias
	if w.bias != nil {
		bias = unsafe.Add(w.bias, row0*s.size)
		flags |= flagBias
	}
	for t := range p.tiles {
		s.winogradOutput(mem.at(w.offY+4*t*width), pixels*width, width, unsafe.Add(m, t*width), stepM, bias, vectors, flags)
	}
	plane := w.dstH * w.dstW * s.size
	x0 := 4 * p.x
	pixels = min(pixels, w.gridW-x0)
	for r := range min(4, w.gridH-4*p.y) {
		dst := unsafe.Add(w.dst, (p.image*w.m+row0)*plane+((4*p.y+r)*w.dstW+x0)*s.size)
		for x := 0; x < pixels; x += s.lanes {
			src := mem.at(w.offY + (r*4*p.tiles+x)*width)
			s.transPart(unsafe.Add(dst, x*s.size), plane, src, width, min(s.lanes, pixels-x), vectors*s.lanes)
		}
	}
}
