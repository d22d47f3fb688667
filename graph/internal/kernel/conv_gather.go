package kernel

import "unsafe"

// tap is one position of the kernel: where it reads, relative to the place of the output.
type tap struct{ dy, dx int }

// patches describes the matrix P [channels*len(taps), images*grid] of a convolution, which is never stored whole:
//
//	P[c*len(taps)+t, (n, y, x)] = src[n, c, y*stepY+taps[t].dy, x*stepX+taps[t].dx], or zero outside the image
type patches struct {
	set          *kernelSet
	taps         []tap
	gridH, gridW int // output places of an image
	stepY, stepX int
	srcH, srcW   int
	imageBytes   int // from one image to the next
}

// pack writes rows of P for count channels, columns q0..q1-1 in the order (n, y, x): element (r, q) goes to
// dst + r*ldd + (q-q0)*size. src is the first channel in image 0.
func (p *patches) pack(dst unsafe.Pointer, ldd int, src unsafe.Pointer, count, q0, q1 int) {
	s := p.set
	grid := p.gridH * p.gridW
	for q := q0; q < q1; {
		n, place := q/grid, q%grid
		y, x := place/p.gridW, place%p.gridW
		width := min(p.gridW-x, q1-q, s.nr)
		image := unsafe.Add(src, n*p.imageBytes)
		for t, tap := range p.taps {
			d := unsafe.Add(dst, t*ldd+(q-q0)*s.size)
			iy, ix := y*p.stepY+tap.dy, x*p.stepX+tap.dx
			from, to := 0, 0
			if iy >= 0 && iy < p.srcH {
				from = max(0, ceilDiv(-ix, p.stepX))
				to = min(width, ceilDiv(p.srcW-ix, p.stepX))
			}
			if from >= to {
				from, to = 0, 0
				iy, ix = 0, 0
			}
			offset := (iy*p.srcW + ix) * s.size
			lds := p.srcH * p.srcW * s.size
			switch {
			case p.stepX == 1:
				s.pieces(d, len(p.taps)*ldd, image, offset, lds, count, from, to, width)
			case p.stepX == 2 && s.evenPieces != nil:
				s.evenPieces(d, len(p.taps)*ldd, image, offset, lds, count, from, to, width)
			case s.size == 4:
				stridedPieces[float32](d, len(p.taps)*ldd, image, offset, lds, count, from, to, width, p.stepX)
			default:
				stridedPieces[float64](d, len(p.taps)*ldd, image, offset, lds, count, from, to, width, p.stepX)
			}
		}
		q += width
	}
}

// stridedPieces is a piecesFunc that reads every step-th element.
func stridedPieces[T float](dst unsafe.Pointer, ldd int, src unsafe.Pointer, offset, lds, count, from, to, width, step int) {
	size := int(unsafe.Sizeof(T(0)))
	for c := range count {
		d := unsafe.Slice((*T)(unsafe.Add(dst, c*ldd)), width)
		clear(d[:from])
		clear(d[to:])
		if from < to {
			in := unsafe.Slice((*T)(unsafe.Add(src, c*lds+offset+from*step*size)), (to-from-1)*step+1)
			j := 0
			for i := from; i < to; i++ {
				d[i] = in[j]
				j += step
			}
		}
	}
}

// gather is a product W·P per group, W [m, k] the weights in some order: the forward pass, and the input gradient
// of one residue of the strides. Row i of group g, column (n, y, x) of the result goes to
// dst[n, g*m+i, y0+y*stepY, x0+x*stepX], the steps being those of the result.
type gather struct {
	patches
	images, groups int
	m, k           int // rows of a group, channels of a group * taps
	srcChannels    int // of a group

	dstH, dstW                 int
	y0, x0, dstStepY, dstStepX int

	flags     int
	transpose bool  // W is the weights with rows and channels exchanged
	whole     int   // taps of the weights
	use       []int // for each tap its number in the weights

	panels, across int  // panels of columns in all; in an image, or 0 if panels run across images
	direct         bool // a panel is contiguous in the result
	perTask        int  // panels a task
	mTiles, mTasks int  // row tiles a task, and tasks they are cut into
	tasks          int
	tileBytes      int // a packed tile of W
	panelBytes     int

	src, dst, weight, bias unsafe.Pointer
	packed                 *scratch
	packer                 weightPacker
	depth                  *depthwise // does it all if there is one channel a group
	fast                   *winograd  // does it all if it pays
}

// weightPacker is the task that packs W, tile by tile.
type weightPacker struct{ g *gather }

// panelsBytes is a task's share of the second-level cache for packed columns.
const panelsBytes = 1 << 18

func (g *gather) plan(direct bool) {
	s := g.set
	g.k = g.srcChannels * len(g.taps)
	g.imageBytes = g.groups * g.srcChannels * g.srcH * g.srcW * s.size
	if g.srcChannels == 1 && g.groups > 1 && g.m <= 4 {
		g.depth = g.planDepthwise()
		return
	}
	grid := g.gridH * g.gridW
	if !direct {
		if g.fast = g.planWinograd(); g.fast != nil {
			return
		}
	}
	contiguous := g.dstStepY == 1 && g.dstStepX == 1
	if grid >= s.nr {
		g.across = ceilDiv(grid, s.nr)
		g.panels = g.images * g.across
		g.direct = contiguous
	} else {
		g.panels = ceilDiv(g.images*grid, s.nr)
	}
	g.tileBytes = roundUp(g.k*s.mr*s.size+slack, 64)
	g.panelBytes = g.k * s.nr * s.size
	tiles := ceilDiv(g.m, s.mr)
	g.perTask = max(min(panelsBytes/g.panelBytes, ceilDiv(g.groups*g.panels, wantTasks)), 1)
	g.perTask = max(g.perTask, min(g.panels, smallTask/(g.k*g.m*s.nr)))
	g.mTiles = tiles
	if few := g.groups * ceilDiv(g.panels, g.perTask); few < wantTasks/4 && tiles > 2 {
		g.mTiles = max(ceilDiv(tiles*few, wantTasks/4), 2)
	}
	g.mTasks = ceilDiv(tiles, g.mTiles)
	g.tasks = g.groups * ceilDiv(g.panels, g.perTask) * g.mTasks
	g.packer.g = g
}

func (g *gather) run(dst, src, weight, bias unsafe.Pointer) {
	g.dst, g.src, g.weight, g.bias = dst, src, weight, bias
	g.flags &^= flagRowBias
	if bias != nil {
		g.flags |= flagRowBias
	}
	switch {
	case g.depth != nil:
		Parallel(g.depth, g.depth.tasks())
	case g.fast != nil:
		g.fast.run()
	default:
		tiles := ceilDiv(g.m, g.set.mr)
		g.packed = getScratch(g.groups * tiles * g.tileBytes)
		Parallel(&g.packer, g.groups*tiles)
		Parallel(g, g.tasks)
		putScratch(g.packed)
	}
	g.dst, g.src, g.weight, g.bias, g.packed = nil, nil, nil, nil, nil
}

// Run packs one tile of W.
func (w *weightPacker) Run(_, index int) {
	g := w.g
	s := g.set
	tiles := ceilDiv(g.m, s.mr)
	group, first := index/tiles, index%tiles*s.mr
	rows := min(s.mr, g.m-first)
	dst := g.packed.at(index * g.tileBytes)
	ldd := s.mr * s.size
	if !g.transpose {
		s.transpose(dst, ldd, unsafe.Add(g.weight, (group*g.m+first)*g.k*s.size), g.k*s.size, rows, g.k)
		return
	}
	// The weights are [srcChannels, m, whole]; each channel's rows are transposed, and its wanted taps kept.
	all := len(g.use) == g.whole
	var mem *scratch
	if !all {
		mem = getScratch(g.whole*ldd + slack)
		defer putScratch(mem)
	}
	for c := range g.srcChannels {
		src := unsafe.Add(g.weight, ((group*g.srcChannels+c)*g.m+first)*g.whole*s.size)
		d := unsafe.Add(dst, c*len(g.use)*ldd)
		if all {
			s.transpose(d, ldd, src, g.whole*s.size, rows, g.whole)
			continue
		}
		s.transpose(mem.at(0), ldd, src, g.whole*s.size, rows, g.whole)
		for t, u := range g.use {
			copy(unsafe.Slice((*byte)(unsafe.Add(d, t*ldd)), ldd), mem.mem[u*ldd:(u+1)*ldd])
		}
	}
}

// columns returns the range of columns of a panel.
func (g *gather) columns(panel int) (q0, q1 int) {
	grid, nr := g.gridH*g.gridW, g.set.nr
	if g.across == 0 {
		return panel * nr, min(panel*nr+nr, g.images*grid)
	}
	n, i := panel/g.across, panel%g.across
	return n*grid + i*nr, n*grid + min(i*nr+nr, grid)
}

// Run computes some panels for some row tiles of one group.
func (g *gather) Run(_, index int) {
	s := g.set
	blocks := ceilDiv(g.panels, g.perTask)
	group := index / g.mTasks / blocks
	firstPanel := index / g.mTasks % blocks * g.perTask
	panels := min(g.perTask, g.panels-firstPanel)
	tile0 := index % g.mTasks * g.mTiles
	tiles := ceilDiv(g.m, s.mr)
	tile1 := min(tile0+g.mTiles, tiles)

	tmp := g.perTask * g.panelBytes
	mem := getScratch(tmp + s.mr*s.nr*s.size)
	defer putScratch(mem)
	src := unsafe.Add(g.src, group*g.srcChannels*g.srcH*g.srcW*s.size)
	for j := range panels {
		q0, q1 := g.columns(firstPanel + j)
		g.pack(mem.at(j*g.panelBytes), s.nr*s.size, src, g.srcChannels, q0, q1)
	}
	plane := g.dstH * g.dstW * s.size
	grid := g.gridH * g.gridW
	for tile := tile0; tile < tile1; tile++ {
		row := group*g.m + tile*s.mr
		rows := min(s.mr, g.m-tile*s.mr)
		a := g.packed.at((group*tiles + tile) * g.tileBytes)
		var bias unsafe.Pointer
		if g.bias != nil {
			bias = unsafe.Add(g.bias, row*s.size)
		}
		for j := range panels {
			q0, q1 := g.columns(firstPanel + j)
			vectors := ceilDiv(q1-q0, s.lanes)
			tail := q1 - q0 - (vectors-1)*s.lanes
			micro := s.micro[(vectors-1)*s.mr+rows-1]
			b := mem.at(j * g.panelBytes)
			if g.direct {
				c := unsafe.Add(g.dst, (q0/grid*g.groups*g.m+row)*plane+q0%grid*s.size)
				micro(g.k, a, s.size, s.mr*s.size, b, s.nr*s.size, c, plane, bias, tail, g.flags)
				continue
			}
			micro(g.k, a, s.size, s.mr*s.size, b, s.nr*s.size, mem.at(tmp), s.nr*s.size, bias, tail, g.flags)
			if s.size == 4 {
				scatter[float32](g, mem.at(tmp), row, rows, q0, q1)
			} else {
				scatter[float64](g, mem.at(tmp), row, rows, q0, q1)
			}
		}
	}
}

// scatter moves a finished tile to its places in the result.
func scatter[T float](g *gather, tile unsafe.Pointer, row, rows, q0, q1 int) {
	nr := g.set.nr
	from := unsafe.Slice((*T)(tile), rows*nr)
	grid, plane := g.gridH*g.gridW, g.dstH*g.dstW
	to := unsafe.Slice((*T)(g.dst), g.images*g.groups*g.m*plane)
	for q := q0; q < q1; {
		n, place := q/grid, q%grid
		y, x := place/g.gridW, place%g.gridW
		width := min(g.gridW-x, q1-q)
		at := (n*g.groups*g.m+row)*plane + (g.y0+y*g.dstStepY)*g.dstW + g.x0 + x*g.dstStepX
		for i := range rows {
			line := from[i*nr+q-q0:][:width]
			if g.dstStepX == 1 {
				copy(to[at+i*plane:], line)
				continue
			}
			k := at + i*plane
			for _, v := range line {
				to[k] = v
				k += g.dstStepX
			}
		}
		q += width
	}
}
