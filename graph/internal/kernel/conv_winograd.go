package kernel

import "unsafe"

// winograd computes a gather of 3x3 taps and unit steps in float32 by the algorithm F(4x4, 3x3) of Lavin and Gray (2016,
// arXiv:1509.09308): 36 multiplications for 16 outputs instead of 144. A tile of 4x4 outputs reads 6x6 inputs; both are
// transformed so that the convolution becomes, for each of 36 components, a product [tiles, channels]·[channels, rows].
//
// The transforms cancel digits: an error is up to about ten times that of the direct sum, measured against the sum of
// the absolute values of the terms in a tile; winogradError bounds it. NaN and Inf spread to the whole tile.
type winograd struct {
	*gather
	tilesY, tilesX int // of an image
	tiles          int // of all images
	block          int // tiles a task
	split          int // panels of rows a task
	panels         int // of rows
	flip           bool
	top, left      int // the first tap, in negative

	component int // bytes of a component of the transformed weights
	line      int // bytes of the channels of a pixel or tile
	offM      int // scratch: products, input pixels, output pixels
	offX      int
	offY      int
	scratch   int
	transform winogradWeights
}

// winogradWeights is the task that transforms the weights of a panel of rows for a few channels.
type winogradWeights struct{ w *winograd }

const (
	components = 36
	// winogradError bounds the error of an output, in units of the rounding unit 2^-24 times the square root of the number
	// of channels times the largest sum of absolute values of the terms of an output that reads the same tile.
	winogradError = 32

	winogradChannels = 16      // channels and rows are multiples of this, and at least twice this
	winogradWeight   = 1 << 17 // most channels times rows: more transformed weights do not fit the cache
	winogradTiles    = 24      // fewest tiles
	winogradBytes    = 1 << 20 // of the transformed tiles of a task
	weightChannels   = 16      // a winogradWeights task

	// spread bytes between components keep the components of a tile off the same lines of the cache.
	spread = 64
)

// planWinograd returns nil where the direct computation is better.
func (g *gather) planWinograd() *winograd {
	s := g.set
	if s.winogradInput == nil || g.groups > 1 || len(g.taps) != 9 || g.stepY != 1 || g.stepX != 1 || g.dstStepY != 1 || g.dstStepX != 1 {
		return nil
	}
	c, m := g.srcChannels, g.m
	if c%winogradChannels != 0 || m%winogradChannels != 0 || min(c, m) < 2*winogradChannels || c*m > winogradWeight {
		return nil
	}
	w := &winograd{gather: g, flip: g.taps[8].dy < g.taps[0].dy}
	for t, p := range g.taps {
		first := g.taps[0]
		if w.flip {
			first = g.taps[8]
			t = 8 - t
		}
		if p.dy != first.dy+t/3 || p.dx != first.dx+t%3 {
			return nil // dilated
		}
		w.top, w.left = -first.dy, -first.dx
	}
	w.tilesY, w.tilesX = ceilDiv(g.gridH, 4), ceilDiv(g.gridW, 4)
	w.tiles = g.images * w.tilesY * w.tilesX
	if w.tiles < winogradTiles || w.tilesY*w.tilesX*components*2 > g.gridH*g.gridW*9 {
		return nil
	}
	w.line = c * s.size
	w.block = even(w.tiles, max(min(winogradBytes/(components*w.line), 4*s.mr)/s.mr, 1)*s.mr, s.mr)
	w.panels = ceilDiv(m, s.nr)
	w.split = w.panels
	if blocks := ceilDiv(w.tiles, w.block); blocks < wantTasks/4 {
		w.split = ceilDiv(w.panels*blocks, wantTasks/4)
	}
	w.component = w.panels*c*s.nr*s.size + spread
	w.offM = components * (w.block*w.line + spread)
	w.offX = w.offM + components*(w.block*s.nr*s.size+spread)
	widest := min(w.block, w.tilesX)
	w.offY = w.offX + 6*(4*widest+2)*w.line
	w.scratch = w.offY + 16*widest*s.nr*s.size
	w.transform.w = w
	return w
}

func (w *winograd) run() {
	w.packed = getScratch(components * w.component)
	Parallel(&w.transform, w.panels*ceilDiv(w.srcChannels, weightChannels))
	Parallel(w, ceilDiv(w.tiles, w.block)*ceilDiv(w.panels, w.split))
	putScratch(w.packed)
}

// Run transforms weights: U[component][panel][channel][row of the panel].
func (t *winogradWeights) Run(_, index int) {
	w := t.w
	s := w.set
	mem := getScratch(9 * s.lanes * s.size)
	defer putScratch(mem)
	first, step := 0, s.lanes*s.size
	if w.flip {
		first, step = 8*step, -step
	}
	chunks := ceilDiv(w.srcChannels, weightChannels)
	panel := index / chunks
	c0 := index % chunks * weightChannels
	for c := c0; c < min(c0+weightChannels, w.srcChannels); c++ {
		to := panel*w.srcChannels + c
		for r := panel * s.nr; r < min(panel*s.nr+s.nr, w.m); r += s.lanes {
			from, lds := (r*w.srcChannels+c)*9, w.srcChannels*9
			if w.gather.transpose {
				from, lds = (c*w.m+r)*9, 9
			}
			s.trans(mem.at(0), s.lanes*s.size, unsafe.Add(w.weight, from*s.size), lds*s.size, s.lanes, 9)
			s.winogradWeight(w.packed.at((to*s.nr+r%s.nr)*s.size), w.component, mem.at(first), step)
		}
	}
}

// strip is a run of tiles in one row of tiles of an image.
type strip struct{ image, y, x, tiles int }

func (w *winograd) strip(tile, end int) strip {
	x := tile % w.tilesX
	return strip{tile / w.tilesX / w.tilesY, tile / w.tilesX % w.tilesY, x, min(w.tilesX-x, end-tile)}
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
		w.input(mem, p, mem.at((t-t0)*w.line), stepV)
		t += p.tiles
	}
	width := s.nr * s.size
	stepM := (t1-t0)*width + spread
	first := index % splits * w.split
	for panel := first; panel < min(first+w.split, w.panels); panel++ {
		vectors := min(w.m-panel*s.nr, s.nr) / s.lanes
		for k := range components {
			u := w.packed.at(k*w.component + panel*w.srcChannels*width)
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

// input transforms the tiles of a strip, after putting the channels of each pixel next to each other.
func (w *winograd) input(mem *scratch, p strip, v unsafe.Pointer, stepV int) {
	s := w.set
	pixels := 4*p.tiles + 2
	plane := w.srcH * w.srcW * s.size
	x0 := 4*p.x - w.left
	from := min(max(0, -x0), pixels)
	upto := max(from, min(pixels, w.srcW-x0))
	for i := range 6 {
		y := 4*p.y - w.top + i
		row := mem.mem[w.offX+i*pixels*w.line:][:pixels*w.line]
		if y < 0 || y >= w.srcH || from == upto {
			clear(row)
			continue
		}
		clear(row[:from*w.line])
		clear(row[upto*w.line:])
		src := unsafe.Add(w.src, p.image*w.imageBytes+(y*w.srcW+x0+from)*s.size)
		for c := 0; c < w.srcChannels; c += s.lanes {
			s.trans(unsafe.Pointer(&row[from*w.line+c*s.size]), w.line, unsafe.Add(src, c*plane), plane, s.lanes, upto-from)
		}
	}
	for t := range p.tiles {
		s.winogradInput(unsafe.Add(v, t*w.line), stepV, mem.at(w.offX+4*t*w.line), pixels*w.line, w.line, w.srcChannels/s.lanes)
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
