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
	perTask       int // tiles a task transforms
	scratch       int

	first, count  int // the tiles of the current round
	stepV, stepD  int // bytes between components
	offD          int
	sum           int // bytes of the products of a component
	tilesOf       *scratch
	productTask   winogradProducts
	transformTask winogradKernels
}

// winogradProducts is the task that computes the products of one component. winogradKernels is the task that transforms
// the sums of one output to the gradient of its kernels.
type (
	winogradProducts struct{ w *winogradGradient }
	winogradKernels  struct{ w *winogradGradient }
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
	w.stepV, w.stepD = w.round*w.input.line+spread, w.round*w.output.line+spread
	w.offD = components * w.stepV
	w.sum = g.outputs*w.input.line + spread
	w.scratch = max(w.input.bytes(readTiles), w.output.bytes(readTiles))
	w.productTask.w, w.transformTask.w = w, w
	return w
}

func (w *winogradGradient) run() {
	w.tilesOf = getScratch(components * (w.stepV + w.stepD))
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
	s := w.set
	flags := 0
	if w.first > 0 {
		flags = flagAdd
	}
	for c := 0; c < w.channels; c += s.nr {
		vectors := min(w.channels-c, s.nr) / s.lanes
		v := w.tilesOf.at(k*w.stepV + c*s.size)
		for o := 0; o < w.outputs; o += s.mr {
			d := w.tilesOf.at(w.offD + k*w.stepD + o*s.size)
			micro := s.micro[(vectors-1)*s.mr+min(s.mr, w.outputs-o)-1]
			micro(w.count, d, s.size, w.output.line, v, w.input.line, w.sums.at(k*w.sum+o*w.input.line+c*s.size), w.input.line, nil, s.lanes, flags)
		}
	}
}

// Run transforms the sums of one output.
func (t *winogradKernels) Run(_, o int) {
	w := t.w
	s := w.set
	vector := s.lanes * s.size
	mem := getScratch(9 * vector)
	defer putScratch(mem)
	for c := 0; c < w.channels; c += s.lanes {
		s.winogradKernel(mem.at(0), vector, w.sums.at(o*w.input.line+c*s.size), w.sum)
		to := unsafe.Add(w.grad, (o*w.channels+c)*9*s.size)
		for first := 0; first < 9; first += s.lanes {
			s.transPart(unsafe.Add(to, first*s.size), 9*s.size, mem.at(first*vector), vector, min(s.lanes, 9-first), s.lanes)
		}
	}
}
