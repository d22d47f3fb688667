package graph

import (
	"math"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Execution of a group. Memory is a sequence of runs of equal length, along which every operand is contiguous or one
// number. Without reductions each block of a run is computed for itself. With reductions the unit is a row: the runs of
// all outer indices at one kept index. What a reduction gives is known when its row has been read, so a row is passed
// several times, once a level: a value's level is the number of reductions, one after the other, that it waits for.
// Short rows keep their values between levels; otherwise a level computes again what it needs. Short rows of several
// runs are gathered into one piece of scratch memory first, and their results scattered.

type rows struct {
	members []*operation
	size    int // elements
	run     int
	split   *rowSplit
	out     []*value
	in      []operand
	way     [][]bend // of each operand of in
	block   int      // elements computed at once
	keeps   bool     // a row's values stay in scratch memory from level to level
	packed  bool     // and its operands and results are there as well

	place   map[*value]place
	numbers int // row numbers: results of reductions and what is computed from them
	sums    int
	slots   int
	levels  []level
}

// A place says where an operand or result is found while a block is computed.
type place struct {
	kind  placeKind
	index int
}

type placeKind uint8

const (
	inSlot   placeKind = iota // a block of scratch memory
	inMemory                  // an operand
	inResult                  // a result's block
	inNumber                  // the row's number
)

type level struct {
	numbers []step // one element each
	blocks  []step
}

type step struct {
	op     *operation
	dst    place
	src    [3]place
	sum    int // of a reduction: index of the accumulator
	reduce bool
}

const (
	blockBytes = 8 << 10
	rowBytes   = 16 << 10 // a row of at most so much keeps its values
	taskSize   = 1 << 14  // elements a task computes, at least
)

// newRows makes the operation of a group's members with the given results.
func newRows(g *group, members []*operation, out []*value) *operation {
	r := &rows{members: members, size: g.size, run: g.cuts[0], split: g.rows, out: out, place: map[*value]place{}}
	if r.split != nil && !slices.ContainsFunc(members, isReduction) {
		r.split = nil
	}
	size := out[0].t.DType.Size()
	r.block = min(r.run, blockBytes/int(size))
	if row := r.row(); r.split != nil && row*int(size) <= rowBytes && (row == r.run || r.packable()) {
		r.keeps, r.packed, r.block = true, row > r.run, row
	}
	o := &operation{fused: r, out: out, node: members[len(members)-1].node, in: r.in}
	name := make([]string, len(members))
	for i, m := range members {
		name[i] = m.prim.Name
		o.id = max(o.id, m.id)
		o.reverse = o.reverse || m.reverse
	}
	r.lower()
	o.in = r.in
	o.prim = &Primitive{Name: strings.Join(name, "+")}
	for _, m := range members {
		m.out[0].op = o
	}
	return o
}

func isReduction(o *operation) bool {
	_, ok := o.prim.form.(reduceForm)
	return ok
}

// row is the number of elements of a row.
func (r *rows) row() int {
	if r.split == nil {
		return r.run
	}
	return r.split.outer * r.split.inner
}

// shortRun is a run too short for loops of its own.
const shortRun = 128

// packable says that a row of several short runs can be gathered: each operand has one number for each element, for
// each row, or for all.
func (r *rows) packable() bool {
	if r.run >= shortRun {
		return false
	}
	for _, m := range r.members {
		if r.number(m.out[0]) && !isReduction(m) {
			continue
		}
		for _, x := range m.in {
			if n := x.v.t.Size(); n != r.size && n != 1 && !(n == r.split.kept && r.split.is(pattern(x.shape, m.out[0].t.Shape))) {
				return false
			}
		}
	}
	return true
}

// A move gathers an operand's row, or scatters a result's.
type move struct {
	result bool
	index  int
}

// number says that a value holds one number a row.
func (r *rows) number(v *value) bool { return r.split != nil && v.t.Size() != r.size }

// lower makes the lists of steps.
func (r *rows) lower() {
	inside := map[*value]*operation{}
	at := map[*value]int{} // level
	most := 0
	var moves []*operation
	if r.packed {
		for _, m := range r.members {
			inside[m.out[0]] = m
		}
		for _, m := range r.members {
			for _, x := range m.in {
				if x.v.t.Size() == r.size && inside[x.v] == nil {
					if x.after != nil && inside[x.after] != nil {
						x.after = nil
					}
					x.shape = x.v.t.Shape
					at := r.operand(x, []bend{{r.size, 1}})
					inside[x.v] = &operation{prim: &Primitive{form: move{false, at}}, out: []*value{x.v}}
					moves = append(moves, inside[x.v])
				}
			}
		}
	}
	for _, m := range r.members {
		v := m.out[0]
		inside[v] = m
		for _, x := range m.in {
			at[v] = max(at[v], at[x.v])
		}
		if isReduction(m) {
			at[v]++
		}
		most = max(most, at[v])
	}
	for i, v := range r.out {
		if !r.number(v) && !r.packed {
			r.place[v] = place{inResult, i}
		}
	}
	for _, m := range r.members {
		if v := m.out[0]; r.number(v) {
			r.place[v] = place{inNumber, r.numbers}
			r.numbers++
		}
	}
	r.levels = make([]level, most+1)
	sum := map[*value]int{}
	for _, m := range moves {
		r.levels[0].blocks = append(r.levels[0].blocks, step{op: m})
	}
	for l := range r.levels {
		// What this level computes: its own members and, unless they were kept, those that these need.
		need := map[*value]bool{}
		for _, m := range slices.Backward(r.members) {
			v := m.out[0]
			own := at[v] == l
			if isReduction(m) {
				own = at[v] == l+1
			}
			switch {
			case r.number(v) && !isReduction(m):
				continue
			case own && (r.keeps || isReduction(m) || r.place[v].kind == inResult && slices.Contains(r.out, v)):
				need[v] = true
			case r.keeps || isReduction(m) || at[v] < l && slices.Contains(r.out, v):
				continue
			}
			if need[v] {
				for _, x := range m.in {
					if y := inside[x.v]; y != nil && !r.number(x.v) && !(slices.Contains(r.out, x.v) && at[x.v] < l) {
						need[x.v] = need[x.v] || !r.keeps || at[x.v] == l
					}
				}
			}
		}
		for _, m := range r.members {
			v := m.out[0]
			switch {
			case r.number(v) && !isReduction(m):
				if at[v] == l {
					r.levels[l].numbers = append(r.levels[l].numbers, r.step(m, inside))
				}
			case isReduction(m) && at[v] == l+1:
				s := r.step(m, inside)
				if _, ok := sum[v]; !ok {
					sum[v] = r.sums
					r.sums++
				}
				s.reduce, s.sum = true, sum[v]
				r.levels[l].blocks = append(r.levels[l].blocks, s)
			case need[v] && !isReduction(m):
				r.levels[l].blocks = append(r.levels[l].blocks, r.step(m, inside))
				if i := slices.Index(r.out, v); r.packed && i >= 0 {
					o := &operation{prim: &Primitive{form: move{true, i}}, in: []operand{{v: v}}, out: []*value{{}}}
					r.levels[l].blocks = append(r.levels[l].blocks, step{op: o})
				}
			}
		}
	}
	r.allocate()
}

// step is the computation of one member. The places of values in scratch memory are set by allocate.
func (r *rows) step(m *operation, inside map[*value]*operation) step {
	s := step{op: m}
	v := m.out[0]
	for i, x := range m.in {
		if inside[x.v] == nil {
			shape := v.t.Shape
			if isReduction(m) {
				shape = x.shape
			}
			if x.after != nil && inside[x.after] != nil {
				x.after = nil
			}
			s.src[i] = place{inMemory, r.operand(x, pattern(x.shape, shape))}
		}
	}
	return s
}

// operand is the index of an operand of the group.
func (r *rows) operand(x operand, way []bend) int {
	for i, y := range r.in {
		if y.v == x.v && y.after == x.after && slices.Equal(r.way[i], way) {
			return i
		}
	}
	r.in, r.way = append(r.in, x), append(r.way, way)
	return len(r.in) - 1
}

// allocate gives values that are not results slots of scratch memory, which they share one after the other.
func (r *rows) allocate() {
	var lists [][]*step
	var list []*step
	for l := range r.levels {
		for i := range r.levels[l].numbers {
			s := &r.levels[l].numbers[i]
			r.resolve(s)
		}
		for i := range r.levels[l].blocks {
			list = append(list, &r.levels[l].blocks[i])
		}
		if !r.keeps {
			lists, list = append(lists, list), nil
		}
	}
	if r.keeps {
		lists = append(lists, list)
	}
	for _, list := range lists {
		last := map[*value]int{}
		for i, s := range list {
			for _, x := range s.op.in {
				last[x.v] = i
			}
		}
		var free []int
		slots := 0
		for i, s := range list {
			v := s.op.out[0]
			if f, ok := s.op.prim.form.(move); !s.reduce && !(ok && f.result) {
				if p, ok := r.place[v]; !ok || p.kind == inSlot {
					if n := len(free); n > 0 {
						r.place[v] = place{inSlot, free[n-1]}
						free = free[:n-1]
					} else {
						r.place[v] = place{inSlot, slots}
						slots++
					}
				}
			}
			r.resolve(s)
			var gone []*value
			for _, x := range s.op.in {
				if p, ok := r.place[x.v]; ok && p.kind == inSlot && last[x.v] == i && !slices.Contains(gone, x.v) {
					gone = append(gone, x.v)
					free = append(free, p.index)
				}
			}
			if _, ok := last[v]; !ok && !s.reduce {
				if p, ok := r.place[v]; ok && p.kind == inSlot {
					free = append(free, p.index)
				}
			}
		}
		r.slots = max(r.slots, slots)
	}
}

// resolve fills in the places of a step's result and of its operands inside the group.
func (r *rows) resolve(s *step) {
	s.dst = r.place[s.op.out[0]]
	for i, x := range s.op.in {
		if p, ok := r.place[x.v]; ok {
			s.src[i] = p
		}
	}
}

// overwrites says whether result j may lie in the memory of operand k: both must be visited in the same order, and no
// step may read the operand after the result's has written.
func (r *rows) overwrites(j, k int) bool {
	v := r.out[j]
	if r.number(v) || r.in[k].v.t.Size() != r.size || len(r.way[k]) != 1 || r.way[k][0].stride != 1 {
		return false
	}
	if r.packed {
		return true // a row is read whole before it is written
	}
	written := false
	for l := range r.levels {
		for _, s := range r.levels[l].blocks {
			if written && r.reads(s, k) {
				return false
			}
			if s.op.out[0] == v {
				written = true
			}
		}
		for _, s := range r.levels[l].numbers {
			if r.reads(s, k) {
				return false
			}
		}
	}
	return true
}

// reads says whether a step reads the value that operand k is of.
func (r *rows) reads(s step, k int) bool {
	for i := range s.op.in {
		if p := s.src[i]; p.kind == inMemory && r.in[p.index].v == r.in[k].v {
			return true
		}
	}
	return false
}

// kernel binds the group to its results' memory.
func (r *rows) kernel(out []*Array) Kernel {
	if r.out[0].t.DType == Float32 {
		return bindRows[float32](r, out)
	}
	return bindRows[float64](r, out)
}

// A rowKernel is a group ready to run. It is a kernel.Task: piece i is a range of units.
type rowKernel[T Float] struct {
	*rows
	levels  []boundLevel[T]
	outs    []*Array
	results [][]T // of a run
	memory  [][]T
	width   int // pieces of a run
	units   int
	share   int // units a task
	tasks   int
}

type boundLevel[T Float] struct{ numbers, blocks []boundStep[T] }

type boundStep[T Float] struct {
	unary   func(out, x []T)
	binary  loop2[T]
	ternary func(out, c, a, b []T, sc, sa, sb int)
	reduce  bool
	maximum bool
	total   func(x []T) float64 // sum or maximum of a piece
	move    *move
	sum     int
	dst     place
	src     [3]place
	stride  [3]int  // along the run
	result  int     // of a number: the result it is stored to, or -1
	fixed   [3]bool // an operand in memory that is one number for all rows
}

func bindRows[T Float](r *rows, out []*Array) Kernel {
	k := &rowKernel[T]{rows: r, outs: out, results: make([][]T, len(out)), memory: make([][]T, len(r.in))}
	for _, l := range r.levels {
		var b boundLevel[T]
		for _, s := range l.numbers {
			b.numbers = append(b.numbers, bindStep[T](r, s))
		}
		for _, s := range l.blocks {
			b.blocks = append(b.blocks, bindStep[T](r, s))
		}
		k.levels = append(k.levels, b)
	}
	each := k.run
	k.width, k.units = 1, r.size/r.run
	if r.split != nil {
		each, k.units = r.row(), r.split.kept
	} else if r.block < r.run {
		k.width = (r.run + r.block - 1) / r.block
		each, k.units = r.block, k.units*k.width
	}
	k.share = max(1, taskSize/each)
	k.tasks = (k.units + k.share - 1) / k.share
	return func(_ *Array, in []*Array) error {
		for i, a := range k.outs {
			k.results[i] = Data[T](a)
		}
		for i, a := range in {
			k.memory[i] = Data[T](a)
		}
		kernel.Parallel(k, k.tasks)
		return nil
	}
}

func bindStep[T Float](r *rows, s step) boundStep[T] {
	b := boundStep[T]{dst: s.dst, src: s.src, sum: s.sum, reduce: s.reduce, result: -1}
	switch f := s.op.prim.form.(type) {
	case unaryForm:
		b.unary = unaryLoop[T](s.op.prim.Name, f.f)
	case binaryForm:
		b.binary = binaryLoop[T](s.op.prim.Name, f.f)
	case move:
		b.move = &f
	case whereForm:
		b.ternary = whereLoop[T, T]
		if fast, ok := any(where32).(func(out, c, a, b []T, sc, sa, sb int)); ok {
			b.ternary = fast
		}
	case reduceForm:
		b.maximum, b.total = f.maximum, pieceLoop[T](f.maximum)
	}
	for i := range s.op.in {
		switch p := s.src[i]; p.kind {
		case inNumber:
		case inMemory:
			b.stride[i] = r.way[p.index][0].stride
			b.fixed[i] = len(r.way[p.index]) == 1 && b.stride[i] == 0 || r.in[p.index].v.t.Size() == 1
			if b.fixed[i] {
				b.stride[i] = 0
			}
		default:
			b.stride[i] = 1
		}
	}
	if s.dst.kind == inNumber {
		b.result = slices.Index(r.out, s.op.out[0])
	}
	return b
}

// Run computes the units of task index.
func (k *rowKernel[T]) Run(_, index int) {
	w := getWorkspace(k.slots*k.block*int(unsafe.Sizeof(T(0))), k.numbers*int(unsafe.Sizeof(T(0))), k.sums, len(k.in))
	c := cursor[T]{
		offsets: w.offsets[:len(k.in)], sums: w.sums[:k.sums],
		slots:   unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(w.slots))), k.slots*k.block),
		numbers: unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(w.numbers))), k.numbers),
	}
	for u := index * k.share; u < min((index+1)*k.share, k.units); u++ {
		if k.split != nil {
			k.row(&c, u)
			continue
		}
		k.seek(&c, u/k.width)
		at := u % k.width * k.block
		k.blockAt(&c, k.levels[0].blocks, at, min(k.block, k.run-at))
	}
	putWorkspace(w)
}

// A cursor is a task's place in memory and its scratch memory.
type cursor[T Float] struct {
	run     int   // index of the run
	offsets []int // of each operand at the run's start
	slots   []T
	numbers []T
	sums    []float64
}

// seek moves to the start of a run.
func (k *rowKernel[T]) seek(c *cursor[T], run int) {
	c.run = run
	e := run * k.run
	for i, way := range k.way {
		if len(way) == 1 {
			c.offsets[i] = e * way[0].stride
			continue
		}
		low, at := 1, 0
		for _, b := range way {
			at += e / low % b.size * b.stride
			low *= b.size
		}
		c.offsets[i] = at
	}
}

// row computes everything at one kept index.
func (k *rowKernel[T]) row(c *cursor[T], kept int) {
	for l := range k.levels {
		level := &k.levels[l]
		if l > 0 {
			k.finish(c, k.levels[l-1].blocks, kept)
		}
		for i := range level.numbers {
			k.number(c, &level.numbers[i], kept)
		}
		if len(level.blocks) == 0 {
			continue
		}
		for i := range level.blocks {
			if s := &level.blocks[i]; s.reduce {
				c.sums[s.sum] = 0
				if s.maximum {
					c.sums[s.sum] = math.Inf(-1)
				}
			}
		}
		if k.packed {
			k.seek(c, kept)
			k.blockAt(c, level.blocks, 0, k.block)
			continue
		}
		for a := range k.split.outer {
			k.seek(c, a*k.split.kept+kept)
			for at := 0; at < k.run; at += k.block {
				k.blockAt(c, level.blocks, at, min(k.block, k.run-at))
			}
		}
	}
}

// finish turns accumulators into the row's numbers.
func (k *rowKernel[T]) finish(c *cursor[T], blocks []boundStep[T], kept int) {
	for i := range blocks {
		s := &blocks[i]
		if !s.reduce {
			continue
		}
		c.numbers[s.dst.index] = T(c.sums[s.sum])
		if s.result >= 0 {
			k.results[s.result][kept] = c.numbers[s.dst.index]
		}
	}
}

// number computes one of the row's numbers from others.
func (k *rowKernel[T]) number(c *cursor[T], s *boundStep[T], kept int) {
	var x [3][]T
	for i, p := range s.src {
		switch {
		case p.kind == inNumber:
			x[i] = c.numbers[p.index : p.index+1]
		case s.fixed[i]:
			x[i] = k.memory[p.index][:1]
		case p.kind == inMemory:
			x[i] = k.memory[p.index][kept : kept+1]
		}
	}
	out := c.numbers[s.dst.index : s.dst.index+1]
	switch {
	case s.unary != nil:
		s.unary(out, x[0])
	case s.binary != nil:
		s.binary(out, x[0], x[1], 1, 1)
	case s.ternary != nil:
		s.ternary(out, x[0], x[1], x[2], 1, 1, 1)
	default:
		out[0] = x[0][0]
	}
	if s.result >= 0 {
		k.results[s.result][kept] = out[0]
	}
}

// blockAt computes n elements of the run, from at on.
func (k *rowKernel[T]) blockAt(c *cursor[T], steps []boundStep[T], at, n int) {
	for i := range steps {
		s := &steps[i]
		if s.move != nil {
			k.move(c, s)
			continue
		}
		a := k.source(c, s, 0, at, n)
		if s.reduce {
			if s.maximum {
				c.sums[s.sum] = max(c.sums[s.sum], s.total(a))
			} else {
				c.sums[s.sum] += s.total(a)
			}
			continue
		}
		var out []T
		if s.dst.kind == inSlot {
			out = c.slots[s.dst.index*k.block:][:n]
		} else {
			out = k.results[s.dst.index][c.run*k.run+at:][:n]
		}
		switch {
		case s.unary != nil && s.stride[0] == 1:
			s.unary(out, a)
		case s.unary != nil:
			s.unary(out[:1], a)
			fill(out[1:], out[0])
		case s.binary != nil:
			s.binary(out, a, k.source(c, s, 1, at, n), s.stride[0], s.stride[1])
		case s.ternary != nil:
			s.ternary(out, a, k.source(c, s, 1, at, n), k.source(c, s, 2, at, n), s.stride[0], s.stride[1], s.stride[2])
		case s.stride[0] == 1:
			copy(out, a)
		default:
			fill(out, a[0])
		}
	}
}

// move gathers or scatters the row that the cursor is at.
func (k *rowKernel[T]) move(c *cursor[T], s *boundStep[T]) {
	step := k.split.kept * k.run
	at := c.run * k.run
	if s.move.result {
		row := c.slots[s.src[0].index*k.block:][:k.block]
		for ; len(row) > 0; row, at = row[k.run:], at+step {
			copy(k.results[s.move.index][at:at+k.run], row)
		}
		return
	}
	row := c.slots[s.dst.index*k.block:][:k.block]
	for ; len(row) > 0; row, at = row[k.run:], at+step {
		copy(row, k.memory[s.move.index][at:at+k.run])
	}
}

// source is operand i of a step at a block: n elements, or one that counts for all.
func (k *rowKernel[T]) source(c *cursor[T], s *boundStep[T], i, at, n int) []T {
	p := s.src[i]
	switch p.kind {
	case inSlot:
		return c.slots[p.index*k.block:][:n]
	case inResult:
		return k.results[p.index][c.run*k.run+at:][:n]
	case inNumber:
		return c.numbers[p.index : p.index+1]
	}
	from := c.offsets[p.index]
	if s.stride[i] == 0 {
		return k.memory[p.index][from : from+1]
	}
	return k.memory[p.index][from+at:][:n]
}

// pieceLoop is the sum or the maximum of a piece of a row.
func pieceLoop[T Float](maximum bool) func(x []T) float64 {
	if maximum {
		if f, ok := any(func(x []float32) float64 { return float64(kernel.Max32(x)) }).(func(x []T) float64); ok {
			return f
		}
		return func(x []T) float64 { return maxRun(x, len(x), 1) }
	}
	if f, ok := any(kernel.Sum32).(func(x []T) float64); ok {
		return f
	}
	return func(x []T) (s float64) {
		for _, v := range x {
			s += float64(v)
		}
		return s
	}
}

// A workspace is scratch memory of one task.
type workspace struct {
	slots, numbers []uint64
	sums           []float64
	offsets        []int
	next           *workspace
}

var workspaces struct {
	sync.Mutex
	free *workspace
}

// getWorkspace borrows a workspace with at least so many bytes, sums and offsets.
func getWorkspace(slots, numbers, sums, offsets int) *workspace {
	workspaces.Lock()
	w := workspaces.free
	if w != nil {
		workspaces.free, w.next = w.next, nil
	}
	workspaces.Unlock()
	if w == nil {
		w = &workspace{}
	}
	if n := (slots + 7) / 8; len(w.slots) < n {
		w.slots = make([]uint64, n)
	}
	if n := (numbers + 7) / 8; len(w.numbers) < n {
		w.numbers = make([]uint64, n)
	}
	if len(w.sums) < sums {
		w.sums = make([]float64, sums)
	}
	if len(w.offsets) < offsets {
		w.offsets = make([]int, offsets)
	}
	return w
}

func putWorkspace(w *workspace) {
	workspaces.Lock()
	w.next = workspaces.free
	workspaces.free = w
	workspaces.Unlock()
}
