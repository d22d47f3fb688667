package kernel

import (
	"unsafe"

	"github.com/pkg/errors"
)

// Broadcast as a batch stride means that every matrix of the batch is the first one.
const Broadcast = -1

// MatMul is the product C = op(A)·op(B) of row-major matrices, op(A) [M, K], op(B) [K, N], C [M, N], for every matrix
// of a batch:
//
//	C = relu(op(A)·op(B) + C + bias)
//
// where C is added if Accumulate, bias [N] if it is given, and relu is applied if ReLU. With TransA A is stored [K, M],
// with TransB B is stored [N, K]. Set the fields, then call Run32 or Run64 as often as needed; the fields must not
// change after the first run.
type MatMul struct {
	Batch   int // number of products; 0 means 1
	M, N, K int

	TransA, TransB bool

	// Elements from one matrix of the batch to the next: 0 means densely packed, Broadcast the same matrix (A, B only).
	StrideA, StrideB, StrideC int
	// Elements from one stored row to the next; 0 means the row's length.
	LDA, LDB, LDC int

	Accumulate bool
	ReLU       bool

	task *matmulTask
}

// Run32 computes c from a, b and bias, which may be nil. It panics if a slice is too short for the shapes.
func (p *MatMul) Run32(c, a, b, bias []float32) {
	p.run(set32, slice(c), slice(a), slice(b), slice(bias), len(c), len(a), len(b), len(bias))
}

// Run64 is Run32 in double precision.
func (p *MatMul) Run64(c, a, b, bias []float64) {
	p.run(set64, slice(c), slice(a), slice(b), slice(bias), len(c), len(a), len(b), len(bias))
}

func slice[T any](s []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(s)) }

// view is a batch of matrices: element (i, j) of matrix n lies at ptr + n*batch + i*row + j*col bytes.
type view struct {
	ptr             unsafe.Pointer
	batch, row, col int
}

func (v view) at(n, i, j int) unsafe.Pointer {
	return unsafe.Add(v.ptr, n*v.batch+i*v.row+j*v.col)
}

// matmulTask is a prepared MatMul: shapes after folding, strides in bytes, and the cut into tasks.
type matmulTask struct {
	set            *kernelSet
	batch, m, n, k int
	a, b, c        view
	bias           unsafe.Pointer
	flags          int

	needA, needB, needC, needBias int // elements the slices must hold

	micro  []microFunc // the tiles in use
	mr, nr int
	dot    bool // one row times the stored rows of B

	blocking
	packA, packB     bool
	batches          int // matrices a task computes; more than one only if a matrix is one block
	gridM, gridN     int // blocks a matrix
	tasks            int
	sizeA, sizeBytes int // scratch: A's panels, all
}

// blocking is the shape of a task's block of C and the length of a run along K.
type blocking struct{ mc, nc, kc int }

func (p *MatMul) run(set *kernelSet, c, a, b, bias unsafe.Pointer, lenC, lenA, lenB, lenBias int) {
	t := p.task
	if t == nil || t.set != set {
		t = p.prepare(set)
		p.task = t
	}
	if lenC < t.needC || lenA < t.needA || lenB < t.needB || (bias != nil && lenBias < t.needBias) {
		panic(errors.Errorf("kernel: MatMul batch %d, %dx%dx%d: C, A, B, bias need %d, %d, %d, %d elements, got %d, %d, %d, %d",
			p.Batch, p.M, p.N, p.K, t.needC, t.needA, t.needB, t.needBias, lenC, lenA, lenB, lenBias))
	}
	t.c.ptr, t.a.ptr, t.b.ptr, t.bias = c, a, b, bias
	if bias != nil {
		t.flags |= flagBias
	} else {
		t.flags &^= flagBias
	}
	Parallel(t, t.tasks)
	t.c.ptr, t.a.ptr, t.b.ptr, t.bias = nil, nil, nil, nil
}

func (p *MatMul) prepare(set *kernelSet) *matmulTask {
	batch := max(p.Batch, 1)
	if p.Batch < 0 || p.M < 0 || p.N < 0 || p.K < 0 {
		panic(errors.Errorf("kernel: MatMul: negative size: batch %d, %dx%dx%d", p.Batch, p.M, p.N, p.K))
	}
	t := &matmulTask{set: set, batch: batch, m: p.M, n: p.N, k: p.K}
	if p.Accumulate {
		t.flags |= flagAdd
	}
	if p.ReLU {
		t.flags |= flagReLU
	}
	t.a, t.needA = operand("A", batch, p.M, p.K, p.TransA, p.StrideA, p.LDA, set.size)
	t.b, t.needB = operand("B", batch, p.K, p.N, p.TransB, p.StrideB, p.LDB, set.size)
	t.c, t.needC = operand("C", batch, p.M, p.N, false, p.StrideC, p.LDC, set.size)
	t.needBias = p.N
	if p.StrideC == Broadcast && batch > 1 {
		panic(errors.Errorf("kernel: MatMul: StrideC: wanted a stride, got Broadcast: the products of a batch of %d would overwrite each other", batch))
	}
	if p.M == 0 || p.N == 0 {
		return t
	}
	// One B for all: the batch is more rows of A.
	if t.b.batch == 0 && t.a.batch == p.M*t.a.row && t.c.batch == p.M*t.c.row {
		t.m *= batch
		t.batch = 1
	}
	t.plan()
	return t
}

// operand gives the view of op(X), rows x cols, and the elements its slice must hold.
func operand(name string, batch, rows, cols int, trans bool, stride, ld, size int) (view, int) {
	stored, length := rows, cols
	if trans {
		stored, length = cols, rows
	}
	if ld == 0 {
		ld = length
	}
	switch {
	case stride == 0:
		stride = stored * ld
	case stride == Broadcast:
		stride = 0
	}
	if ld < length || stride < 0 {
		panic(errors.Errorf("kernel: MatMul: %s: wanted a leading dimension of at least %d and a stride of at least 0, got %d and %d",
			name, length, ld, stride))
	}
	v := view{batch: stride * size, row: ld * size, col: size}
	if trans {
		v.row, v.col = v.col, v.row
	}
	if stored == 0 || length == 0 {
		return v, 0
	}
	return v, (batch-1)*stride + (stored-1)*ld + length
}

// Block sizes in elements. A task's packed panels, (maxMC + maxNC) x maxKC elements, fit a core's second-level cache;
// a task of fewer than smallTask multiply-adds is not worth a hand-over to another core, and smaller blocks than smallBlock
// elements spend too much on packing.
const (
	maxMC      = 264
	maxNC      = 256
	maxKC      = 320 // of float32; half as many float64
	smallTask  = 1 << 18
	smallBlock = 128 * 256
	wantTasks  = 32
	rowBytes   = 1 << 19 // of B, a task's share in the product of a single row
)

// even cuts n into equal parts of at most limit, each a multiple of unit but the last, and returns a part's size.
func even(n, limit, unit int) int {
	return roundUp(ceilDiv(n, ceilDiv(n, limit)), unit)
}

func (t *matmulTask) plan() {
	s := t.set
	t.micro, t.mr, t.nr = s.micro, s.mr, s.nr
	t.kc, t.batches = t.k, 1
	if t.m == 1 && (t.b.col == s.size || (t.b.row == s.size && t.a.col == s.size)) {
		t.planRow()
		return
	}
	if limit := maxKC * 4 / s.size; t.k > limit {
		t.kc = even(t.k, limit, 8)
	}
	mc, nc := even(t.m, maxMC, s.mr), even(t.n, maxNC, s.nr)
	// Smaller blocks until there are enough tasks for many cores, as long as each is worth it and its packing is not.
	for {
		tasks, block := t.batch*ceilDiv(t.m, mc)*ceilDiv(t.n, nc), min(mc, t.m)*min(nc, t.n)
		if tasks >= wantTasks || block*t.k <= 4*smallTask || (tasks >= wantTasks/4 && block <= smallBlock) {
			break
		}
		if min(nc, t.n) >= min(mc, t.m) && nc > s.nr {
			nc = even(t.n, (nc+1)/2, s.nr)
		} else if mc > s.mr {
			mc = even(t.m, (mc+1)/2, s.mr)
		} else {
			break
		}
	}
	t.grid(mc, nc)
	if work := t.m * t.n * max(t.k, 1); t.gridM*t.gridN == 1 && work < smallTask {
		t.batches = min(t.batch, ceilDiv(smallTask, work))
		t.tasks = ceilDiv(t.batch, t.batches)
	}

	// Packing a panel pays if it is read several times, or if its rows would fall on the same lines of the cache.
	t.packB = t.b.col != s.size || (min(mc, t.m) > 4*s.mr && t.n > s.nr)
	t.packA = (min(nc, t.n) >= 3*s.nr && t.m > 2) || (t.a.row%2048 == 0 && t.m > 4 && t.k > 64)
	if t.packA {
		t.sizeA = roundUp(ceilDiv(min(t.m, mc), s.mr)*(s.mr*t.kc*s.size+slack), 64)
	}
	t.sizeBytes = t.sizeA
	if t.packB {
		t.sizeBytes += roundUp(min(t.n, nc), s.nr) * t.kc * s.size
	}
}

// planRow is plan for a single row of A: all waits for B, which is read once as it lies.
func (t *matmulTask) planRow() {
	s := t.set
	t.dot = t.b.col != s.size
	t.micro, t.mr, t.nr = s.row, 1, len(s.row)*s.lanes
	if t.dot {
		t.nr = 32 / s.size
	}
	work := t.n * max(t.k, 1)
	share := max(rowBytes/(max(t.k, 1)*s.size), 1)
	t.grid(1, even(t.n, share, t.nr))
	if t.gridN == 1 && work < smallTask {
		t.batches = min(t.batch, ceilDiv(smallTask, work))
		t.tasks = ceilDiv(t.batch, t.batches)
	}
}

// grid cuts every C into blocks of mc x nc.
func (t *matmulTask) grid(mc, nc int) {
	t.mc, t.nc = mc, nc
	t.gridM, t.gridN = ceilDiv(t.m, mc), ceilDiv(t.n, nc)
	t.tasks = t.batch * t.gridM * t.gridN
}

// Run computes one block of C, or one block in each of several products of the batch.
func (t *matmulTask) Run(_, index int) {
	var mem *scratch
	if t.sizeBytes > 0 {
		mem = getScratch(t.sizeBytes)
		defer putScratch(mem)
	}
	j := index % t.gridN
	i := index / t.gridN % t.gridM
	first := index / t.gridN / t.gridM * t.batches
	for n := first; n < min(first+t.batches, t.batch); n++ {
		t.block(mem, n, i*t.mc, min(i*t.mc+t.mc, t.m), j*t.nc, min(j*t.nc+t.nc, t.n))
	}
}

// packRows is how many rows along K are packed at a time over all panels of a block, if the rows are contiguous: so the
// processor sees a few long streams instead of many short pieces far apart.
const packRows = 8

// block computes rows m0..m1-1, columns n0..n1-1 of product n.
func (t *matmulTask) block(mem *scratch, n, m0, m1, n0, n1 int) {
	s := t.set
	if t.dot {
		for j := n0; j < n1; j += t.nr {
			s.dot(t.k, 1, t.a.at(n, 0, 0), 0, t.b.at(n, 0, j), t.b.col, 0, t.c.at(n, 0, j), t.biasAt(j), min(t.nr, n1-j), t.flags)
		}
		return
	}
	if t.k == 0 {
		t.tiles(n, 0, m0, m1, n0, n1, t.flags, tileA{}, tileB{})
		return
	}
	for k0 := 0; k0 < t.k; k0 += t.kc {
		kc := min(t.kc, t.k-k0)
		flags := t.flags
		if k0 > 0 {
			flags |= flagAdd
		}
		if k0+kc < t.k {
			flags &^= flagBias | flagReLU
		}
		// A tile's rows and the step from a tile to the next.
		a := tileA{ptr: t.a.at(n, m0, k0), row: t.a.row, col: t.a.col, step: s.mr * t.a.row}
		if t.packA {
			a = tileA{ptr: mem.at(0), row: s.size, col: s.mr * s.size, step: s.mr*s.size*kc + slack}
			rows := t.packStep(t.a.row, kc)
			for p := 0; p < kc; p += rows {
				for i := m0; i < m1; i += s.mr {
					dst := unsafe.Add(a.ptr, (i-m0)/s.mr*a.step+p*a.col)
					s.packA(dst, view{ptr: t.a.at(n, i, k0+p), row: t.a.row, col: t.a.col}, min(s.mr, m1-i), min(rows, kc-p))
				}
			}
		}
		b := tileB{ptr: t.b.at(n, k0, n0), row: t.b.row, step: t.nr * s.size}
		if t.packB {
			b = tileB{ptr: mem.at(t.sizeA), row: s.nr * s.size, step: s.nr * s.size * kc}
			rows := t.packStep(t.b.col, kc)
			for p := 0; p < kc; p += rows {
				for j := n0; j < n1; j += s.nr {
					dst := unsafe.Add(b.ptr, (j-n0)/s.nr*b.step+p*b.row)
					s.packB(dst, view{ptr: t.b.at(n, k0+p, j), row: t.b.row, col: t.b.col}, min(s.nr, n1-j), min(rows, kc-p))
				}
			}
		}
		t.tiles(n, kc, m0, m1, n0, n1, flags, a, b)
	}
}

// packStep is the number of rows to pack at a time from an operand whose neighbours along the panel are step bytes apart.
func (t *matmulTask) packStep(step, kc int) int {
	if step == t.set.size {
		return packRows
	}
	return kc
}

// tileA is where the micro tiles of A lie: a tile's rows and columns, and the step from one tile to the next. tileB is
// the same for B, whose columns are contiguous.
type tileA struct {
	ptr            unsafe.Pointer
	row, col, step int
}

type tileB struct {
	ptr       unsafe.Pointer
	row, step int
}

// tiles runs the micro kernel over a block of C.
func (t *matmulTask) tiles(n, k, m0, m1, n0, n1, flags int, a tileA, b tileB) {
	lanes := t.set.lanes
	for j := n0; j < n1; j += t.nr {
		cols := min(t.nr, n1-j)
		vectors := ceilDiv(cols, lanes)
		tail := cols - (vectors-1)*lanes
		micro := t.micro[(vectors-1)*t.mr : vectors*t.mr]
		pb := unsafe.Add(b.ptr, (j-n0)/t.nr*b.step)
		bias := t.biasAt(j)
		for i := m0; i < m1; i += t.mr {
			pa := unsafe.Add(a.ptr, (i-m0)/t.mr*a.step)
			micro[min(t.mr, m1-i)-1](k, pa, a.row, a.col, pb, b.row, t.c.at(n, i, j), t.c.row, bias, tail, flags)
		}
	}
}

func (t *matmulTask) biasAt(j int) unsafe.Pointer {
	if t.bias == nil {
		return nil
	}
	return unsafe.Add(t.bias, j*t.set.size)
}

// packA packs a panel of at most mr rows of A: element (i, p) goes to dst + (p*mr + i)*size.
func (s *kernelSet) packA(dst unsafe.Pointer, a view, rows, k int) {
	if a.row == s.size {
		s.copyA(dst, s.mr*s.size, a.ptr, a.col, k, rows)
	} else {
		s.transpose(dst, s.mr*s.size, a.ptr, a.row, rows, k)
	}
}

// packB packs a panel of at most nr columns of B: element (p, j) goes to dst + (p*nr + j)*size.
func (s *kernelSet) packB(dst unsafe.Pointer, b view, cols, k int) {
	if b.col == s.size {
		s.copyB(dst, s.nr*s.size, b.ptr, b.row, k, cols)
	} else {
		s.transpose(dst, s.nr*s.size, b.ptr, b.col, cols, k)
	}
}

// transpose runs trans over groups of rows, the last one first because each overwrites what is right of it.
func (s *kernelSet) transpose(dst unsafe.Pointer, ldd int, src unsafe.Pointer, lds, rows, k int) {
	for i := (rows - 1) / s.lanes * s.lanes; i >= 0; i -= s.lanes {
		s.trans(unsafe.Add(dst, i*s.size), ldd, unsafe.Add(src, i*lds), lds, min(s.lanes, rows-i), k)
	}
}
