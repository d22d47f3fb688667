package kernel

import "unsafe"

// weightGradient is the gradient of the weights. Per group it computes the transposed gradient
//
//	D[(c, tap), o] = sum over (n, y, x) of P[(c, tap), (n, y, x)] * gradOut[n, o, y, x]
//
// in stretches along (n, y, x), each with its own D if there are too few blocks of D to keep all workers busy, and then
// adds and transposes the Ds.
type weightGradient struct {
	patches
	images, groups    int
	channels, outputs int // of a group
	rows              int // channels * taps

	channelBlock, outputBlock int
	splits, stretch           int // stretches, and their columns; a multiple of columnBlock
	lda                       int // bytes of a row of packed patches
	sizeA                     int
	tasks                     int

	grad, out, in unsafe.Pointer
	sums          *scratch // [splits, groups, rows, outputs]
	reduce        weightReducer
	depth         *depthwiseWeights // does it all if there is one channel a group
	fast          *winogradGradient // does it all if it pays
}

// weightReducer is the task that adds and transposes lanes rows of D.
type weightReducer struct{ w *weightGradient }

// columnBlock is how many columns of P are packed at a time.
const columnBlock = 256

func (w *weightGradient) plan(kw int, direct bool) {
	s := w.set
	w.rows = w.channels * len(w.taps)
	w.imageBytes = w.groups * w.channels * w.srcH * w.srcW * s.size
	if w.channels == 1 && w.groups > 1 && w.outputs <= 4 && w.stepX == 1 && kw <= 32/s.size {
		w.depth = w.planDepthwise(kw)
		return
	}
	if !direct {
		if w.fast = w.planWinograd(); w.fast != nil {
			return
		}
	}
	w.channelBlock = even(w.channels, max(maxMC/len(w.taps), 1), 1)
	w.outputBlock = even(w.outputs, 256, s.nr)
	blocks := w.groups * ceilDiv(w.channels, w.channelBlock) * ceilDiv(w.outputs, w.outputBlock)
	columns := ceilDiv(w.images*w.gridH*w.gridW, columnBlock)
	w.splits = min(ceilDiv(wantTasks, blocks), ceilDiv(columns, 2))
	w.stretch = ceilDiv(columns, w.splits) * columnBlock
	w.splits = ceilDiv(columns*columnBlock, w.stretch)
	w.tasks = blocks * w.splits
	w.lda = (columnBlock + 64/s.size) * s.size
	w.sizeA = w.channelBlock * len(w.taps) * w.lda
	w.reduce.w = w
}

func (w *weightGradient) run(grad, out, in unsafe.Pointer) {
	w.grad, w.out, w.in = grad, out, in
	switch {
	case w.depth != nil:
		Parallel(w.depth, w.groups)
	case w.fast != nil:
		w.fast.run()
	default:
		w.sums = getScratch(w.splits * w.groups * w.rows * w.outputs * w.set.size)
		Parallel(w, w.tasks)
		Parallel(&w.reduce, w.groups*ceilDiv(w.rows, w.set.lanes))
		putScratch(w.sums)
	}
	w.grad, w.out, w.in, w.sums = nil, nil, nil, nil
}

// Run computes one block of D over one stretch.
func (w *weightGradient) Run(_, index int) {
	s := w.set
	blocksO, blocksC := ceilDiv(w.outputs, w.outputBlock), ceilDiv(w.channels, w.channelBlock)
	split := index % w.splits
	index /= w.splits
	o0 := index % blocksO * w.outputBlock
	c0 := index / blocksO % blocksC * w.channelBlock
	group := index / blocksO / blocksC
	o1, channels := min(o0+w.outputBlock, w.outputs), min(w.channelBlock, w.channels-c0)
	rows := channels * len(w.taps)

	mem := getScratch(w.sizeA + w.outputBlock*columnBlock*s.size)
	defer putScratch(mem)
	src := unsafe.Add(w.in, (group*w.channels+c0)*w.srcH*w.srcW*s.size)
	ldc := w.outputs * s.size
	d := w.sums.at((((split*w.groups+group)*w.rows+c0*len(w.taps))*w.outputs + o0) * s.size)
	grid := w.gridH * w.gridW
	begin := split * w.stretch
	end := min(begin+w.stretch, w.images*grid)
	for q0 := begin; q0 < end; q0 += columnBlock {
		q1 := min(q0+columnBlock, end)
		w.pack(mem.at(0), w.lda, src, channels, q0, q1)
		flags := 0
		if q0 > begin {
			flags = flagAdd
		}
		for o := o0; o < o1; o += s.nr {
			cols := min(s.nr, o1-o)
			b := mem.at(w.sizeA + (o-o0)*columnBlock*s.size)
			for q := q0; q < q1; {
				n, place := q/grid, q%grid
				count := min(grid-place, q1-q)
				from := unsafe.Add(w.out, ((n*w.groups*w.outputs+group*w.outputs+o)*grid+place)*s.size)
				s.transpose(unsafe.Add(b, (q-q0)*s.nr*s.size), s.nr*s.size, from, grid*s.size, cols, count)
				q += count
			}
			vectors := ceilDiv(cols, s.lanes)
			tail := cols - (vectors-1)*s.lanes
			for r := 0; r < rows; r += s.mr {
				micro := s.micro[(vectors-1)*s.mr+min(s.mr, rows-r)-1]
				c := unsafe.Add(d, r*ldc+(o-o0)*s.size)
				micro(q1-q0, mem.at(r*w.lda), w.lda, s.size, b, s.nr*s.size, c, ldc, nil, tail, flags)
			}
		}
	}
}

// Run finishes lanes rows of D of one group.
func (r *weightReducer) Run(_, index int) {
	if r.w.set.size == 4 {
		reduceWeights[float32](r.w, index)
	} else {
		reduceWeights[float64](r.w, index)
	}
}

func reduceWeights[T float](w *weightGradient, index int) {
	s := w.set
	blocks := ceilDiv(w.rows, s.lanes)
	group, first := index/blocks, index%blocks*s.lanes
	rows := min(s.lanes, w.rows-first)
	all := unsafe.Slice((*T)(w.sums.at(0)), w.splits*w.groups*w.rows*w.outputs)
	start, size := (group*w.rows+first)*w.outputs, rows*w.outputs
	sum := all[start : start+size]
	for split := 1; split < w.splits; split++ {
		for i, v := range all[split*w.groups*w.rows*w.outputs+start:][:size] {
			sum[i] += v
		}
	}
	to := unsafe.Add(w.grad, (group*w.outputs*w.rows+first)*s.size)
	if rows == s.lanes { // whole vectors, so that nothing is written beside them
		s.trans(to, w.rows*s.size, unsafe.Pointer(&sum[0]), w.outputs*s.size, rows, w.outputs)
		return
	}
	for o := range w.outputs {
		line := unsafe.Slice((*T)(unsafe.Add(to, o*w.rows*s.size)), rows)
		for i := range line {
			line[i] = sum[i*w.outputs+o]
		}
	}
}
