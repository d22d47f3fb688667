package graph

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// schedule orders the operations, operands first and state updates last. Of a few natural orders it takes the one with
// the lowest peak: the order of making suits reverse mode; depth first from the last output, and to the latest operand, suits
// forward mode, whose tangents then follow their values layer by layer.
func (c *compiler) schedule(roots []operand) []*operation {
	var ends, assigns []*operation
	for _, r := range roots {
		if inArena(r.v) {
			ends = append(ends, r.v.op)
		}
	}
	slices.SortStableFunc(ends, func(a, b *operation) int { return a.id - b.id })
	for _, o := range c.ops {
		if o.prim == assignOp {
			assigns = append(assigns, o)
		}
	}
	first := append(slices.Clone(ends), assigns...)
	slices.Reverse(ends)
	last := append(slices.Clone(ends), assigns...)
	deep := depthFirst(first, false)
	best, peak := []*operation(nil), math.MaxInt
	for _, order := range [][]*operation{made(deep), deep, depthFirst(last, false), depthFirst(last, true), depthFirst(first, true)} {
		order = slices.DeleteFunc(order, func(o *operation) bool { return o.prim == assignOp })
		order = append(order, assigns...)
		if q := c.lives(order, roots).peak(order); q < peak {
			best, peak = order, q
		}
	}
	return best
}

// before lists what an operation needs to have run.
func (o *operation) before(f func(*operation)) {
	for _, x := range o.in {
		if x.v.op != nil && !x.v.constant {
			f(x.v.op)
		}
		if x.after != nil && x.after.op != nil && !x.after.constant {
			f(x.after.op)
		}
	}
}

// depthFirst goes from the ends to their operands and theirs, to the latest made first or as they stand.
func depthFirst(ends []*operation, latest bool) []*operation {
	var order []*operation
	state := map[*operation]int{} // 1: its operands are on their way, 2: done
	var stack []*operation
	for _, e := range ends {
		stack = append(stack, e)
		for len(stack) > 0 {
			o := stack[len(stack)-1]
			switch state[o] {
			case 0:
				state[o] = 1
				at := len(stack)
				o.before(func(x *operation) {
					if state[x] == 0 {
						stack = append(stack, x)
					}
				})
				if latest || o.fused != nil { // a fused operation's operands are in no order
					slices.SortFunc(stack[at:], func(a, b *operation) int { return a.id - b.id })
				} else {
					slices.Reverse(stack[at:])
				}
				continue
			case 1:
				state[o] = 2
				order = append(order, o)
			}
			stack = stack[:len(stack)-1]
		}
	}
	return order
}

// made is the order of making as far as operands allow it.
func made(ops []*operation) []*operation {
	wait := map[*operation]int{}
	next := map[*operation][]*operation{}
	var ready operationHeap
	for _, o := range ops {
		seen := map[*operation]bool{}
		o.before(func(x *operation) {
			if !seen[x] {
				seen[x] = true
				wait[o]++
				next[x] = append(next[x], o)
			}
		})
		if wait[o] == 0 {
			ready = append(ready, o)
		}
	}
	heap.Init(&ready)
	order := make([]*operation, 0, len(ops))
	for len(ready) > 0 {
		o := heap.Pop(&ready).(*operation)
		order = append(order, o)
		for _, u := range next[o] {
			if wait[u]--; wait[u] == 0 {
				heap.Push(&ready, u)
			}
		}
	}
	return order
}

type operationHeap []*operation

func (h operationHeap) Len() int           { return len(h) }
func (h operationHeap) Less(i, j int) bool { return h[i].id < h[j].id }
func (h operationHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *operationHeap) Push(x any)        { *h = append(*h, x.(*operation)) }
func (h *operationHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// lives says which value's buffer each value uses, when the buffer was last read, and whether several lanes read it then.
type lives struct {
	of    map[*value]*value
	last  map[*value]int
	lanes map[*value]bool
}

func (b lives) owner(v *value) *value {
	for b.of[v] != nil {
		v = b.of[v]
	}
	return v
}

// inArena says that a value has a buffer.
func inArena(v *value) bool { return v.op != nil && !v.constant }

func (c *compiler) lives(order []*operation, roots []operand) lives {
	b := lives{map[*value]*value{}, make(map[*value]int, len(order)), nil}
	for i, o := range order {
		for _, v := range o.out {
			b.last[v] = i
		}
		for _, x := range o.in {
			b.last[x.v] = i
		}
	}
	for _, r := range roots {
		b.last[r.v] = len(order)
	}
	return b
}

func (b lives) peak(order []*operation) int {
	dies := make([]int, len(order)+1)
	live, peak := 0, 0
	for i, o := range order {
		for _, v := range o.out {
			if inArena(v) {
				live += v.t.Bytes()
				dies[b.last[v]] += v.t.Bytes()
			}
		}
		peak = max(peak, live)
		live -= dies[i]
	}
	return peak
}

// A plan says where in the arena each value lies.
type plan struct {
	offset     map[*value]int
	size, peak int
	stages     []stage
}

const alignment = 64

// A buffer lives from the operation that writes it to the last of those that run at the same time as its last reader.
type buffer struct {
	v           *value
	size        int
	first, last int
	offset      int
	lane        int // of the writer
	end, ends   int // the last reader, and the lane of all last readers if it is one
}

// precedes says that u is done with before w is begun.
func (u *buffer) precedes(w *buffer) bool {
	return u.last < w.first || u.ends >= 0 && u.ends == w.lane && u.end < w.first
}

// plan decides overwriting, places the buffers and chooses stages that cost little memory.
func (c *compiler) plan(order []*operation, roots []operand) *plan {
	p := c.place(order, roots, nil)
	if !c.on.beside {
		return p
	}
	list := stages(order)
	for lanes := mostLanes; lanes > 1 && len(list) > 0; lanes /= 2 {
		fillLanes(list, lanes)
		if q := c.place(order, roots, list); q.size <= p.size+spared(p.size) {
			return q
		}
	}
	return p
}

// place decides overwriting and places the buffers.
func (c *compiler) place(order []*operation, roots []operand, list []stage) *plan {
	b := c.lives(order, roots)
	t := timelineOf(len(order), list)
	b.lanes = t.shared(order, b)
	if c.on.inPlace {
		for i, o := range order {
			c.overwrite(b, i, o)
		}
	}
	var buffers []*buffer
	byValue := map[*value]*buffer{}
	for i, o := range order {
		for _, v := range o.out {
			if !inArena(v) || b.owner(v) != v {
				continue
			}
			at := b.last[v]
			u := &buffer{v: v, size: (v.t.Bytes() + alignment - 1) / alignment * alignment, first: i, last: at, lane: t.lane[i], end: at, ends: -1}
			if at < len(order) {
				u.last = t.until[at]
				if !b.lanes[v] {
					u.ends = t.lane[at]
				}
			}
			buffers, byValue[v] = append(buffers, u), u
		}
	}
	p := &plan{offset: map[*value]int{}, peak: peakOf(buffers, len(order)), stages: list}
	p.size = layOut(buffers, p.peak)
	for _, o := range order {
		for _, v := range o.out {
			if inArena(v) {
				p.offset[v] = byValue[b.owner(v)].offset
			}
		}
	}
	return p
}

// overwrite gives results of operation i the buffers of operands that nobody reads later.
func (c *compiler) overwrite(b lives, i int, o *operation) {
	taken := map[*value]bool{}
	for j, v := range o.out {
		if !inArena(v) {
			continue
		}
		for k, x := range o.in {
			own := b.owner(x.v)
			if !inArena(own) || b.last[own] != i || b.lanes[own] || taken[own] || own.t.Bytes() != v.t.Bytes() || x.v.t.DType != v.t.DType {
				continue
			}
			if o.overwrites(j, k) {
				taken[own] = true
				b.of[v], b.last[own], b.lanes[own] = own, b.last[v], b.lanes[v]
				break
			}
		}
	}
}

// overwrites says whether result j may lie where operand k does.
func (o *operation) overwrites(j, k int) bool {
	if o.fused != nil {
		return o.fused.overwrites(j, k)
	}
	if e, ok := o.prim.form.(epilogue); ok {
		return e.sum && k == len(o.in)-1
	}
	return o.prim.Elementwise && slices.Equal(o.in[k].shape, o.out[j].t.Shape)
}

func peakOf(buffers []*buffer, n int) int {
	change := make([]int, n+2)
	for _, u := range buffers {
		change[u.first] += u.size
		change[u.end+1] -= u.size
	}
	live, peak := 0, 0
	for _, d := range change {
		live += d
		peak = max(peak, live)
	}
	return peak
}

// mostFitted bounds the time of firstFit, which is quadratic.
const mostFitted = 1000

// layOut chooses offsets, in several ways until one needs hardly more than the peak, and gives the arena's size. Of very
// many buffers the smallest lie behind the others.
func layOut(buffers []*buffer, peak int) int {
	if len(buffers) > mostFitted {
		bySize := slices.Clone(buffers)
		slices.SortStableFunc(bySize, func(a, b *buffer) int { return b.size - a.size })
		size := layOut(bySize[:mostFitted], peak)
		return size + bestFit(bySize[mostFitted:], size)
	}
	best := math.MaxInt
	offsets := make([]int, len(buffers))
	orders := []func(a, b *buffer) int{
		func(a, b *buffer) int { return cmp.Or(b.size-a.size, a.first-b.first) },
		func(a, b *buffer) int { return cmp.Or((b.last-b.first)-(a.last-a.first), b.size-a.size) },
		func(a, b *buffer) int { return cmp.Or(a.first-b.first, b.last-a.last) },
	}
	at := make(map[*buffer]int, len(buffers))
	for i, u := range buffers {
		at[u] = i
	}
	for _, order := range orders {
		if best <= peak+peak/64 {
			break
		}
		sorted := slices.Clone(buffers)
		slices.SortStableFunc(sorted, order)
		if size := firstFit(sorted); size < best {
			best = size
			for i, u := range buffers {
				offsets[i] = u.offset
			}
		}
	}
	for i, u := range buffers {
		u.offset = offsets[i]
	}
	if len(buffers) == 0 {
		return 0
	}
	return best
}

// firstFit places buffers one after the other, each at the lowest offset that no buffer alive with it covers. Buffers
// are found by the moment: those alive at any time stand in a list for each stretch of it.
func firstFit(buffers []*buffer) int {
	const stretch = 32
	n := 0
	for _, u := range buffers {
		n = max(n, u.last)
	}
	alive := make([][]*buffer, n/stretch+1)
	size := 0
	var near []*buffer
	for _, u := range buffers {
		near = near[:0]
		if u.size > 0 {
			for s := u.first / stretch; s <= u.last/stretch; s++ {
				for _, w := range alive[s] {
					if !u.precedes(w) && !w.precedes(u) && max(w.first/stretch, u.first/stretch) == s {
						near = append(near, w)
					}
				}
			}
			slices.SortFunc(near, func(a, b *buffer) int { return a.offset - b.offset })
		}
		u.offset = 0
		for _, w := range near {
			if w.offset-u.offset >= u.size {
				break
			}
			u.offset = max(u.offset, w.offset+w.size)
		}
		size = max(size, u.offset+u.size)
		if u.size > 0 {
			for s := u.first / stretch; s <= u.last/stretch; s++ {
				alive[s] = append(alive[s], u)
			}
		}
	}
	return size
}

// bestFit places buffers in the order of time, each in the smallest gap that holds it, from base on, and gives the
// memory it needs.
func bestFit(buffers []*buffer, base int) int {
	slices.SortStableFunc(buffers, func(a, b *buffer) int { return a.first - b.first })
	ends := slices.Clone(buffers)
	slices.SortStableFunc(ends, func(a, b *buffer) int { return a.last - b.last })
	var gaps []gap
	end := 0
	for _, u := range buffers {
		for ; ends[0].last < u.first; ends = ends[1:] {
			gaps = give(gaps, gap{ends[0].offset - base, ends[0].size})
		}
		best := -1
		for i, g := range gaps {
			if g.size >= u.size && (best < 0 || g.size < gaps[best].size) {
				best = i
			}
		}
		if best < 0 {
			u.offset = base + end
			end += u.size
			continue
		}
		u.offset = base + gaps[best].offset
		gaps[best].offset += u.size
		if gaps[best].size -= u.size; gaps[best].size == 0 {
			gaps = slices.Delete(gaps, best, best+1)
		}
	}
	return end
}

type gap struct{ offset, size int }

// give returns a piece; gaps stay sorted by offset and neighbours are joined.
func give(gaps []gap, g gap) []gap {
	if g.size == 0 {
		return gaps
	}
	i, _ := slices.BinarySearchFunc(gaps, g.offset, func(a gap, o int) int { return a.offset - o })
	gaps = slices.Insert(gaps, i, g)
	if i+1 < len(gaps) && gaps[i].offset+gaps[i].size == gaps[i+1].offset {
		gaps[i].size += gaps[i+1].size
		gaps = slices.Delete(gaps, i+1, i+2)
	}
	if i > 0 && gaps[i-1].offset+gaps[i-1].size == gaps[i].offset {
		gaps[i-1].size += gaps[i].size
		gaps = slices.Delete(gaps, i, i+1)
	}
	return gaps
}
