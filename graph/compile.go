package graph

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/pkg/errors"
)

// Compilation. Words used here: an instruction is one primitive applied to arrays. A buffer is a piece of the arena,
// the program's one block of memory; it lives from the instruction that writes it to the last that reads it. A view is
// an array that shares a buffer. A leaf is a parameter, an input or the clock: its memory is not the arena's.
//
// Steps: order the nodes so that the peak of living buffers is small; merge equal computations; compute constants
// once; assign buffers, results overwriting operands where the op allows it; place buffers in the arena by best fit;
// bind kernels.

// Program is a compiled list of instructions over planned memory. After the first run a run allocates nothing on the
// heap. Programs that share a Params store may exist side by side; one program must not run twice at the same time.
type Program struct {
	instructions []instruction
	arrays       map[*Node]*Array    // inputs and outputs
	inputs       map[*Node]*Array    // leaves without a value of their own
	views        map[*Array][]*Array // of inputs
	clock        *Array
	stats        Stats
}

type instruction struct {
	node   *Node
	prim   *Primitive
	kernel Kernel
	out    *Array
	in     []*Array
}

// Stats says what a program is made of.
type Stats struct {
	Instructions int // kernels a run calls
	ArenaBytes   int // memory for intermediate values and outputs
	PeakBytes    int // most bytes alive at one time; the arena is at least as large
	ConstBytes   int // memory for constants, computed once
	Flops        int // floating-point operations a run
	Reverse      int // instructions made by reverse rules: 0 in a forward-only program
}

// Compile makes the program that computes the given nodes, and nothing they do not need. Nodes made by Scope.Update
// are stored at the end of each run.
func (g *Graph) Compile(outputs ...*Node) (p *Program, err error) {
	defer rescue(&err)
	if len(outputs) == 0 {
		return nil, fail("compile", "outputs", "at least one node", "none")
	}
	for i, n := range outputs {
		if n == nil || n.Graph() != g.ExprGraph {
			return nil, fail("compile", fmt.Sprintf("output %d", i), "a node of this graph", n)
		}
	}
	c := &compiler{g: g, same: map[*Node]*Node{}, constant: map[*Node]bool{}, array: map[*Node]*Array{}}
	if err := c.number(outputs); err != nil {
		return nil, err
	}
	return c.program(outputs)
}

type compiler struct {
	g        *Graph
	same     map[*Node]*Node // every node to the first that computes the same
	constant map[*Node]bool  // depends on no leaf
	array    map[*Node]*Array
}

// number merges equal computations and finds constants, operands before results.
func (c *compiler) number(outputs []*Node) error {
	var all []*Node
	for n := range ancestors(outputs) {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *Node) int { return int(a.ID() - b.ID()) })
	first := make(map[string]*Node, len(all))
	var key strings.Builder
	for _, n := range all {
		c.same[n] = n
		if n.Op() == nil {
			continue
		}
		p := primitiveOf(n)
		if p == nil {
			return fail("compile", "node "+n.Name(), "an op with rules in Harpe", n.Op())
		}
		c.constant[n] = true
		key.Reset()
		key.WriteString(p.String())
		for _, a := range operands(n) {
			a = c.same[a]
			fmt.Fprintf(&key, " %d", a.ID())
			c.constant[n] = c.constant[n] && c.constant[a]
		}
		if p == assignOp {
			continue
		}
		if m, ok := first[key.String()]; ok {
			c.same[n] = m
		} else {
			first[key.String()] = n
		}
	}
	return nil
}

func (c *compiler) operands(n *Node) []*Node {
	x := slices.Clone(operands(n))
	for i, a := range x {
		x[i] = c.same[a]
	}
	return x
}

func (c *compiler) program(outputs []*Node) (*Program, error) {
	p := &Program{arrays: map[*Node]*Array{}, inputs: map[*Node]*Array{}, views: map[*Array][]*Array{}}
	roots := make([]*Node, len(outputs))
	for i, n := range outputs {
		roots[i] = c.same[n]
	}
	order := c.schedule(roots)
	if err := c.leaves(p, order); err != nil {
		return nil, err
	}
	for _, n := range order {
		if c.constant[n] {
			if err := c.fold(p, n); err != nil {
				return nil, err
			}
		}
	}
	order = slices.DeleteFunc(order, func(n *Node) bool { return n.Op() == nil || c.constant[n] })
	plan := c.plan(order, roots)
	arena := newArena(plan.size)
	p.stats.ArenaBytes, p.stats.PeakBytes = plan.size, plan.peak
	for _, n := range order {
		if err := c.emit(p, n, plan, arena); err != nil {
			return nil, err
		}
	}
	for i, n := range outputs {
		p.arrays[n] = c.array[roots[i]]
	}
	return p, nil
}

// leaves gives parameters their stores' arrays and inputs arrays of their own.
func (c *compiler) leaves(p *Program, order []*Node) error {
	for _, n := range order {
		if n.Op() != nil {
			continue
		}
		switch q := c.g.owner[n]; {
		case q != nil:
			c.array[n] = q.Value
		case n == c.g.clock:
			p.clock = ArrayOf([]int{int(c.g.Params.Seed), 0}, 2)
			c.array[n] = p.clock
		case n.Value() != nil:
			a, err := FromValue(n.Value())
			if err != nil {
				return errors.Wrapf(err, "compile: leaf %s", n.Name())
			}
			c.array[n] = a
		default:
			c.array[n] = NewArray(n.Dtype(), ShapeOf(n)...)
			p.inputs[n] = c.array[n]
		}
		p.arrays[n] = c.array[n]
	}
	return nil
}

// fold computes a constant node once, in memory of its own.
func (c *compiler) fold(p *Program, n *Node) error {
	prim, t := primitiveOf(n), TypeOf(n)
	in := c.inputs(n)
	if prim.View {
		c.array[n] = ArrayLike(in[0], t.Shape)
		return nil
	}
	c.array[n] = NewArray(t.DType, t.Shape...)
	p.stats.ConstBytes += t.Bytes()
	k, err := prim.Kernel(t, types(in))
	if err == nil {
		err = k(c.array[n], in)
	}
	return errors.Wrapf(err, "compile: %s", label(n))
}

func (c *compiler) inputs(n *Node) []*Array {
	x := c.operands(n)
	in := make([]*Array, len(x))
	for i, a := range x {
		in[i] = c.array[a]
	}
	return in
}

func types(in []*Array) []Type {
	t := make([]Type, len(in))
	for i, a := range in {
		t[i] = a.Type
	}
	return t
}

// emit appends the instruction of n, or makes its view.
func (c *compiler) emit(p *Program, n *Node, plan *plan, arena []byte) error {
	prim, t, in := primitiveOf(n), TypeOf(n), c.inputs(n)
	switch {
	case prim.View:
		c.array[n] = ArrayLike(in[0], t.Shape)
		if leaf := plan.leaf[n]; leaf != nil {
			of := c.array[leaf]
			p.views[of] = append(p.views[of], c.array[n])
		}
		return nil
	case prim == assignOp:
		c.array[n] = in[0]
	default:
		c.array[n] = arenaArray(arena, plan.offset[n], t)
	}
	k, err := prim.Kernel(t, types(in))
	if err != nil {
		return errors.Wrapf(err, "compile: %s", label(n))
	}
	p.instructions = append(p.instructions, instruction{n, prim, k, c.array[n], in})
	p.stats.Instructions++
	if prim.Flops != nil {
		p.stats.Flops += prim.Flops(t, types(in))
	} else if t.IsFloat() {
		p.stats.Flops += t.Size()
	}
	if in, ok := n.Op().(*instance); ok && in.reverse {
		p.stats.Reverse++
	}
	return nil
}

// schedule orders the nodes, operands first. Of a few natural orders it takes the one with the lowest peak: the order
// of making suits reverse mode; depth first from the last output suits forward mode, whose tangents then follow their
// values layer by layer.
func (c *compiler) schedule(roots []*Node) []*Node {
	byID := slices.Clone(roots)
	slices.SortFunc(byID, func(a, b *Node) int { return int(a.ID() - b.ID()) })
	depthFirst := c.depthFirst(byID)
	created := slices.Clone(depthFirst)
	slices.SortFunc(created, func(a, b *Node) int { return int(a.ID() - b.ID()) })
	slices.Reverse(byID)
	best, peak := []*Node(nil), math.MaxInt
	for _, order := range [][]*Node{created, depthFirst, c.depthFirst(byID)} {
		order = assignsLast(order)
		if q := c.peak(order, roots); q < peak {
			best, peak = order, q
		}
	}
	return best
}

func (c *compiler) depthFirst(roots []*Node) []*Node {
	type frame struct {
		n    *Node
		x    []*Node
		next int
	}
	var order []*Node
	seen := map[*Node]bool{}
	var stack []frame
	push := func(n *Node) {
		if !seen[n] {
			seen[n] = true
			stack = append(stack, frame{n: n, x: c.operands(n)})
		}
	}
	for _, r := range roots {
		push(r)
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.next < len(f.x) {
				f.next++
				push(f.x[f.next-1])
				continue
			}
			order = append(order, f.n)
			stack = stack[:len(stack)-1]
		}
	}
	return order
}

// assignsLast moves state updates behind everything that reads the state.
func assignsLast(order []*Node) []*Node {
	isAssign := func(n *Node) bool { return primitiveOf(n) == assignOp }
	var assigns []*Node
	for _, n := range order {
		if isAssign(n) {
			assigns = append(assigns, n)
		}
	}
	return append(slices.DeleteFunc(order, isAssign), assigns...)
}

// buffers says which node's memory each node uses, and when that memory was last read.
type buffers struct {
	of   map[*Node]*Node // node to the one whose buffer it uses, in one or several steps
	last map[*Node]int   // owner to the index of its last reader
}

// owner is the node that owns n's buffer; a leaf or constant owns itself.
func (b buffers) owner(n *Node) *Node {
	for b.of[n] != nil {
		n = b.of[n]
	}
	return n
}

func (c *compiler) inArena(n *Node) bool { return n.Op() != nil && !c.constant[n] }

// buffers assigns buffers without overwriting.
func (c *compiler) buffers(order, roots []*Node) buffers {
	b := buffers{map[*Node]*Node{}, map[*Node]int{}}
	for i, n := range order {
		x := c.operands(n)
		if p := primitiveOf(n); p != nil && (p.View || p == assignOp) {
			b.of[n] = b.owner(x[0])
		}
		b.last[b.owner(n)] = i
		for _, a := range x {
			b.last[b.owner(a)] = i
		}
	}
	for _, r := range roots {
		b.last[b.owner(r)] = len(order)
	}
	return b
}

// peak is the most bytes alive at one time.
func (c *compiler) peak(order, roots []*Node) int {
	b := c.buffers(order, roots)
	dies := make([]int, len(order)+1)
	live, peak := 0, 0
	for i, n := range order {
		if c.inArena(n) && b.of[n] == nil {
			size := TypeOf(n).Bytes()
			live += size
			dies[b.last[n]] += size
		}
		peak = max(peak, live)
		live -= dies[i]
	}
	return peak
}

type plan struct {
	offset     map[*Node]int
	leaf       map[*Node]*Node // views to the input they share
	size, peak int
}

const alignment = 64

// plan decides overwriting and places the buffers: best fit among the gaps, freed pieces joined.
func (c *compiler) plan(order, roots []*Node) *plan {
	b := c.buffers(order, roots)
	for i, n := range order {
		p := primitiveOf(n)
		if !p.Elementwise {
			continue
		}
		t := TypeOf(n)
		for _, a := range c.operands(n) {
			own := b.owner(a)
			if c.inArena(own) && b.last[own] == i && TypeOf(own).Bytes() == t.Bytes() && t.Equal(TypeOf(a)) {
				b.of[n], b.last[own] = own, b.last[n]
				break
			}
		}
	}
	p := &plan{offset: map[*Node]int{}, leaf: map[*Node]*Node{}}
	dies := make([][]*Node, len(order)+1)
	var gaps []gap
	live := 0
	for i, n := range order {
		own := b.owner(n)
		switch {
		case !c.inArena(own):
			p.leaf[n] = own
		case own == n:
			size := (TypeOf(n).Bytes() + alignment - 1) / alignment * alignment
			p.offset[n], gaps = take(gaps, size, &p.size)
			live += size
			p.peak = max(p.peak, live)
			dies[b.last[n]] = append(dies[b.last[n]], n)
		default:
			p.offset[n] = p.offset[own]
		}
		for _, d := range dies[i] {
			size := (TypeOf(d).Bytes() + alignment - 1) / alignment * alignment
			gaps = give(gaps, gap{p.offset[d], size})
			live -= size
		}
	}
	return p
}

type gap struct{ offset, size int }

// take finds the smallest gap that holds size bytes, or makes the arena longer.
func take(gaps []gap, size int, end *int) (int, []gap) {
	best := -1
	for i, g := range gaps {
		if g.size >= size && (best < 0 || g.size < gaps[best].size) {
			best = i
		}
	}
	if best >= 0 {
		at := gaps[best].offset
		gaps[best].offset += size
		gaps[best].size -= size
		if gaps[best].size == 0 {
			gaps = slices.Delete(gaps, best, best+1)
		}
		return at, gaps
	}
	at := *end
	if n := len(gaps); n > 0 && gaps[n-1].offset+gaps[n-1].size == *end {
		at = gaps[n-1].offset
		gaps = gaps[:n-1]
	}
	*end = at + size
	return at, gaps
}

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

// newArena is zeroed memory that starts on a cache line.
func newArena(size int) []byte {
	b := make([]byte, size+alignment)
	skip := alignment - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%alignment)
	return b[skip : skip+size]
}

// arenaArray is the array of type t at an offset of the arena.
func arenaArray(arena []byte, offset int, t Type) *Array {
	if t.Size() == 0 {
		return NewArray(t.DType, t.Shape...)
	}
	at := unsafe.Pointer(&arena[offset])
	switch t.DType {
	case Float32:
		return &Array{t, unsafe.Slice((*float32)(at), t.Size())}
	case Float64:
		return &Array{t, unsafe.Slice((*float64)(at), t.Size())}
	}
	return &Array{t, unsafe.Slice((*int)(at), t.Size())}
}

// Array is the memory of an input or output of the program: fill an input's before a run, read an output's after it.
// An output's array is overwritten by the next run. It panics with an *Error for any other node.
func (p *Program) Array(n *Node) *Array {
	a := p.arrays[n]
	if a == nil {
		panic(fail("program", "node", "an input or output of the program", n))
	}
	return a
}

// Uses says whether n is an input, parameter or output of the program.
func (p *Program) Uses(n *Node) bool { return p.arrays[n] != nil }

// Bind makes the program read an input from a, such as another program's output, without a copy. The types must be
// equal. The binding holds until the next one.
func (p *Program) Bind(input *Node, a *Array) error {
	in := p.inputs[input]
	if in == nil {
		return fail("bind", "input", "an input of the program", input)
	}
	if a == nil {
		return fail("bind", input.Name(), in.Type, "nil")
	}
	if !in.Type.Equal(a.Type) {
		return fail("bind", input.Name(), in.Type, a.Type)
	}
	in.data = a.data
	for _, v := range p.views[in] {
		v.data = a.data
	}
	return nil
}

// SetStep sets the clock that every random op of the program depends on.
func (p *Program) SetStep(step int) {
	if p.clock != nil {
		p.clock.Ints()[1] = step
	}
}

// SetSeed sets the seed that every random op of the program depends on, which starts as the store's.
func (p *Program) SetSeed(seed uint64) {
	if p.clock != nil {
		p.clock.Ints()[0] = int(seed)
	}
}

// Run computes the outputs from the inputs, the parameters and the clock. An error names the op that failed.
func (p *Program) Run() error {
	for i := range p.instructions {
		in := &p.instructions[i]
		if err := in.kernel(in.out, in.in); err != nil {
			return p.failed(in, err)
		}
	}
	return nil
}

// FirstNonFinite runs the program once more to find out why its outputs are not finite: the error names the first node
// that became NaN, and the first that became infinite before it from finite operands; parameters and inputs are named
// as such. Infinite values that do no harm, as in a mask, are no error; nil means that all outputs are finite.
func (p *Program) FirstNonFinite() error {
	var infinite error
	found := func(nan bool, err error) error {
		if !nan {
			if infinite == nil {
				infinite = err
			}
			return nil
		}
		if infinite != nil {
			return errors.Wrapf(err, "%v; then", infinite)
		}
		return err
	}
	for i := range p.instructions {
		in := &p.instructions[i]
		clean := true
		for j, a := range in.in {
			k, nan, ok := nonFinite(a)
			clean = clean && !ok
			leaf := viewed(operands(in.node)[j])
			if !ok || leaf.Op() != nil {
				continue
			}
			if err := found(nan, errors.Errorf("%s %v: element %d is %v", leaf.Name(), TypeOf(leaf), k, a.At(k))); err != nil {
				return err
			}
		}
		if in.prim == assignOp {
			continue
		}
		if err := in.kernel(in.out, in.in); err != nil {
			return p.failed(in, err)
		}
		if k, nan, ok := nonFinite(in.out); ok && (nan || clean) {
			e := fail(in.prim.Name, "result "+label(in.node), "finite numbers", fmt.Sprintf("%v at element %d", in.out.At(k), k))
			e.Operands = describe(operands(in.node))
			if err := found(nan, e); err != nil {
				return err
			}
		}
	}
	for n, a := range p.arrays {
		if _, _, ok := nonFinite(a); ok && n.Op() != nil {
			return infinite
		}
	}
	return nil
}

// viewed is the node whose elements n shows: n itself, or what n is a view of.
func viewed(n *Node) *Node {
	for {
		p := primitiveOf(n)
		if p == nil || !p.View {
			return n
		}
		n = operands(n)[0]
	}
}

// nonFinite finds the first NaN of an array, else its first infinite element.
func nonFinite(a *Array) (at int, nan, ok bool) {
	if !a.IsFloat() {
		return 0, false, false
	}
	for i := range a.Size() {
		if v := a.At(i); v != v {
			return i, true, true
		} else if v-v != 0 && !ok {
			at, ok = i, true
		}
	}
	return at, false, ok
}

func (p *Program) failed(in *instruction, err error) error {
	if e, ok := err.(*Error); ok {
		e.Operands = describe(operands(in.node))
		return e
	}
	return errors.Wrapf(err, "%s", label(in.node))
}

// Stats says what the program is made of.
func (p *Program) Stats() Stats { return p.stats }
