package kernel

import "unsafe"

// winogradGradient computes the gradient of 3x3 kernels by the transpose of the algorithm in conv_winograd.go: the tiles of
// the input and of the output's gradient are brought into the transformed domain, where the gradient is, for each
// component, a product [outputs, tiles]·[tiles, channels]. The tiles are taken in rounds that bound the memory.
type winogradGradient struct {
	*weightGradient
	tiling
	input, output tileReader
	round         int // tiles
	scratch       int

	first, count  int // the tiles of the current round
	stepV, stepD  int // bytes between components
	offD          int
	sum           int // bytes of the products of a component
	tilesOf       *scratch
	productTask   winogradProducts
	transformTask winogradKernels
	blockTask     winogradBlocks
	blocks        bool // by blockTask
}

// winogradProducts is the task that computes the products of one component. winogradKernels is the task that transforms
// the sums of one output to the gradient of its kernels. Where there is only one round, winogradBlocks does both for a block
// of outputs and channels, so that the sums never leave the cache.
type (
	winogradProducts struct{ w *winogradGradient }
	winogradKernels  struct{ w *winogradGradient }
	winogradBlocks   struct{ w *winogradGradient }
)

const (
	roundBytes = 10 << 20 // of transformed tiles
	readTiles  = 16       // that a task transforms
)

// planWinograd returns nil where the direct computation is better.
func (g *weightGradient) planWinograd() *winogradGradient {
	s := g.set
	if g.groups > 1 || !g.suitsWinograd(g.channels, g.outputs) {
		return nil
	}
	w := &winogradGradient{
		weightGradient: g, tiling: newTiling(g.images, g.gridH, g.gridW),
		input:  newTileReader(s, 6, g.channels, g.srcH, g.srcW, -g.taps[0].dy, -g.taps[0].dx),
		output: newTileReader(s, 4, g.outputs, g.gridH, g.gridW, 0, 0),
	}
	if w.tiles < winogradTiles || w.wasteful(g.images*g.gridH*g.gridW) {
		return nil
	}
	w.round = even(w.tiles, max(roundBytes/(components*(w.input.line+w.output.line)), readTiles), readTiles)
	w.productTask.w, w.transformTask.w, w.blockTask.w = w, w, w
	w.blocks = w.round >= w.tiles && w.blockTask.count() >= wantTasks/4
	if g.channels*g.outputs > winogradLargest && !w.blocks {
		return nil
	}
	w.stepV, w.stepD = w.round*w.input.line+spread, w.round*w.output.line+spread
	w.offD = components * w.stepV
	w.sum = g.outputs*w.input.line + spread
	w.scratch = max(w.input.bytes(readTiles), w.output.bytes(readTiles))
	return w
}

func (w *winogradGradient) run() {
	w.tilesOf = getScratch(components * (w.stepV + w.stepD))
	if w.blocks {
		w.first, w.count = 0, w.tiles
		Parallel(w, ceilDiv(w.count, readTiles))
		Parallel(&w.blockTask, w.blockTask.count())
		putScratch(w.tilesOf)
		w.tilesOf = nil
		return
	}
	w.sums = getScratch(components * w.sum)
	for w.first = 0; w.first < w.tiles; w.first += w.round {
		w.count = min(w.round, w.tiles-w.first)
		Parallel(w, ceilDiv(w.count, readTiles))
		Parallel(&w.productTask, components)
	}
	Parallel(&w.transformTask, w.outputs)
	putScratch(w.sums)
	putScratch(w.tilesOf)
	w.tilesOf = nil
}

// Run transforms some tiles of this round.
func (w *winogradGradient) Run(_, index int) {
	mem := getScratch(w.scratch)
	defer putScratch(mem)
	t0 := index * readTiles
	t1 := min(t0+readTiles, w.count)
	for t := t0; t < t1; {
		p := w.strip(w.first+t, w.first+t1)
		w.input.read(w.in, p, mem.mem, w.tilesOf.at(t*w.input.line), w.stepV)
		w.output.read(w.out, p, mem.mem, w.tilesOf.at(w.offD+t*w.output.line), w.stepD)
		t += p.tiles
	}
}

// Run adds a component's products of this round.
func (p *winogradProducts) Run(_, k int) {
	w := p.w
	flags := 0
	if w.first > 0 {
		flags = flagAdd
	}
	w.products(k, 0, w.outputs, 0, w.channels, w.sums.at(k*w.sum), w.input.line, flags)
}

// products computes a component's products for outputs o0..o1-1 and channels c0..c1-1 in this round.
func (w *winogradGradient) products(k, o0, o1, c0, c1 int, to unsafe.Pointer, ld, flags int) {
	s := w.set
	for c := c0; c < c1; c += s.nr {
		vectors := min(c1-c, s.nr) / s.lanes
		v := w.tilesOf.at(k*w.stepV + c*s.size)
		for o := o0; o < o1; o += s.mr {
			d := w.tilesOf.at(w.offD + k*w.stepD + o*s.size)
			micro := s.micro[(vectors-1)*s.mr+min(s.mr, o1-o)-1]
			micro(w.count, d, s.size, w.output.line, v, w.input.line, unsafe.Add(to, (o-o0)*ld+(c-c0)*s.size), ld, nil, s.lanes, flags)
		}
	}
}

// Run transforms the sums of one output.
func (t *winogradKernels) Run(_, o int) {
	w := t.w
	mem := getScratch(9 * w.set.lanes * w.set.size)
	defer putScratch(mem)
	for c := 0; c < w.channels; c += w.set.lanes {
		w.kernels(o, c, w.sums.at(o*w.input.line+c*w.set.size), w.sum, mem.at(0))
	}
}

// kernels transforms the sums of output o and a vector of channels to the gradient.
func (w *winogradGradient) kernels(o, c int, sums unsafe.Pointer, component int, tmp unsafe.Pointer) {
	s := w.set
	vector := s.lanes * s.size
	s.winogradKernel(tmp, vector, sums, component)
	to := unsafe.Add(w.grad, (o*w.channels+c)*9*s.size)
	for tap := 0; tap < 9; tap += s.lanes {
		s.transPart(unsafe.Add(to, tap*s.size), 9*s.size, unsafe.Add(tmp, tap*vector), vector, min(s.lanes, 9-tap), s.lanes)
	}
}

func (b *winogradBlocks) count() int {
	return ceilDiv(b.w.outputs, 2*b.w.set.mr) * ceilDiv(b.w.channels, 2*b.w.set.nr)
}

// Run computes the gradient of a block of kernels.
func (b *winogradBlocks) Run(_, index int) {
	w := b.w
	s := w.set
	rows, cols := 2*s.mr, 2*s.nr
	across := ceilDiv(w.channels, cols)
	o0, c0 := index/across*rows, index%across*cols
	o1, c1 := min(o0+rows, w.outputs), min(c0+cols, w.channels)
	component := rows*cols*s.size + spread
	mem := getScratch(components*component + 9*s.lanes*s.size)
	defer putScratch(mem)
	for k := range components {
		w.products(k, o0, o1, c0, c1, mem.at(k*component), cols*s.size, 0)
	}
	for o := o0; o < o1; o++ {
		for c := c0; c < c1; c += s.lanes {
			w.kernels(o, c, mem.at(((o-o0)*cols+c-c0)*s.size), component, mem.at(components*component))
		}
	}
}
