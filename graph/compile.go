package graph

import (
	"fmt"
	"slices"
	"strconv"
	"unsafe"

	"github.com/pkg/errors"
)

// Compilation. Words used here: a value is what one op computes, a leaf, or a constant; an operand is a value under a
// shape, so reshapes and other views are no ops at all. A leaf is a parameter, an input or the clock: its memory is not
// the program's. A buffer is a piece of the arena, the program's one block of memory.
//
// Steps: merge equal computations and rewrite some of them (rewrite.go); compute constants once; join elementwise
// neighbours and row reductions into single passes over memory (fuse.go, rows.go); order the operations and place
// their buffers (plan.go); bind kernels.

// passes says which of the compiler's liberties are taken. Tests compare all with none.
type passes struct {
	rewrite   bool // equal values by other operations
	epilogue  bool // bias, activation and sums inside of products
	group     bool // elementwise neighbours in one pass
	recompute bool // cheap values again instead of storing them
	inPlace   bool // results over operands
	beside    bool // small independent operations at the same time
}

var allPasses = passes{true, true, true, true, true, true}

type value struct {
	id       int
	t        Type
	op       *operation // nil for a leaf
	node     *Node      // the node it stands for
	constant bool       // depends on no leaf
	array    *Array
}

// An operand is a value under a shape of its size.
type operand struct {
	v     *value
	shape []int
	after *value // nil, or what must be computed before the operand is used
}

func (o operand) t() Type { return Type{o.v.t.DType, o.shape} }

// whole says that the operand has its value's own shape.
func (o operand) whole() bool { return slices.Equal(o.shape, o.v.t.Shape) }

// An operation computes one value, or, when fused, several.
type operation struct {
	id      int
	prim    *Primitive
	node    *Node // the one it was made for, for messages
	in      []operand
	out     []*value
	fused   *rows // what it consists of, if it is fused
	group   *group
	stage   int
	reverse bool
	uses    int // of its value by other operations and as outputs
}

func (o *operation) types() []Type {
	t := make([]Type, len(o.in))
	for i, x := range o.in {
		t[i] = x.t()
	}
	return t
}

func (o *operation) flops() int {
	if o.fused != nil {
		n := 0
		for _, m := range o.fused.members {
			n += m.flops()
		}
		return n
	}
	t := o.out[0].t
	switch {
	case o.prim.Flops != nil:
		return o.prim.Flops(t, o.types())
	case t.IsFloat():
		return t.Size()
	}
	return 0
}

// Compile makes the program that computes the given nodes, and nothing they do not need. Nodes made by Scope.Update
// are stored at the end of each run.
func (g *Graph) Compile(outputs ...*Node) (p *Program, err error) {
	return g.compile(outputs, allPasses)
}

// A Job is what a program is to compute.
type Job struct {
	Graph   *Graph
	Outputs []*Node
}

// CompileShared makes programs that lie in the same memory, as much as the largest of them needs: a run of one destroys
// the outputs of the others. It suits the steps of a computation that hand on little, such as the blocks of a model that
// learn one after the other.
func CompileShared(jobs ...Job) ([]*Program, error) {
	programs := make([]*Program, len(jobs))
	laid := make([]*layout, len(jobs))
	size := 0
	for i, j := range jobs {
		l, err := j.Graph.lay(j.Outputs, allPasses)
		if err != nil {
			return nil, err
		}
		laid[i], size = l, max(size, l.plan.size)
	}
	arena := newArena(size)
	for i, l := range laid {
		p, err := l.finish(arena)
		if err != nil {
			return nil, err
		}
		programs[i] = p
	}
	return programs, nil
}

func (g *Graph) compile(outputs []*Node, on passes) (*Program, error) {
	l, err := g.lay(outputs, on)
	if err != nil {
		return nil, err
	}
	return l.finish(newArena(l.plan.size))
}

// A layout is a program without its memory.
type layout struct {
	c     *compiler
	roots []operand
	order []*operation
	plan  *plan
}

// lay does everything that needs no memory but the constants'.
func (g *Graph) lay(outputs []*Node, on passes) (l *layout, err error) {
	defer rescue(&err)
	if len(outputs) == 0 {
		return nil, fail("compile", "outputs", "at least one node", "none")
	}
	for i, n := range outputs {
		if n == nil || n.Graph() != g.ExprGraph {
			return nil, fail("compile", fmt.Sprintf("output %d", i), "a node of this graph", n)
		}
	}
	c := &compiler{
		g: g, on: on, known: map[string]*value{}, of: map[*Node]operand{}, softmax: map[*value][2]operand{},
		p: &Program{
			g: g, outputs: slices.Clone(outputs), arrays: map[*Node]*Array{}, inputs: map[*Node]*Array{}, leaf: map[*Node]*Array{},
			views: map[*Array][]*Array{},
		},
	}
	if err := c.number(outputs); err != nil {
		return nil, err
	}
	return c.layout(outputs)
}

type compiler struct {
	g       *Graph
	on      passes
	p       *Program
	known   map[string]*value // by what computes them
	of      map[*Node]operand
	softmax map[*value][2]operand // values of log-softmax to its exponentials and their sum
	ops     []*operation          // in the order of their making, operands first
	assigns []*operation
	values  int
	key     []byte
	prims   map[*Primitive]string
}

func byID(of []*Node) []*Node {
	var all []*Node
	for n := range ancestors(of) {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *Node) int { return int(a.ID() - b.ID()) })
	return all
}

// number makes the values of all nodes the outputs depend on.
func (c *compiler) number(outputs []*Node) error {
	c.prims = map[*Primitive]string{}
	for _, n := range byID(outputs) {
		if n.Op() == nil {
			if err := c.addLeaf(n); err != nil {
				return err
			}
			continue
		}
		p := primitiveOf(n)
		if p == nil {
			return fail("compile", "node "+n.Name(), "an op with rules in Harpe", n.Op())
		}
		x := operands(n)
		in := make([]operand, len(x))
		for i, a := range x {
			in[i] = c.of[a]
		}
		switch {
		case p.View:
			y := operand{in[0].v, ShapeOf(n), in[0].after}
			if p == holdOp {
				y.after = in[1].v
			}
			c.of[n] = y
		case p == assignOp:
			c.assign(n, in)
		default:
			c.of[n] = c.apply(n, p, in)
		}
	}
	return nil
}

// addLeaf gives a parameter its store's array and an input an array without memory.
func (c *compiler) addLeaf(n *Node) error {
	v := c.newValue(n, TypeOf(n))
	switch q := c.g.owner[n]; {
	case q != nil:
		v.array = q.Value
	case n == c.g.clock:
		v.array = ArrayOf([]int{int(c.g.Params.Seed), 0}, 2)
		c.p.clock = v.array
	case n.Value() != nil:
		a, err := FromValue(n.Value())
		if err != nil {
			return errors.Wrapf(err, "compile: leaf %s", n.Name())
		}
		v.array = a
	default:
		v.array = &Array{Type: v.t}
		c.p.inputs[n] = v.array
		c.p.empty = append(c.p.empty, v.array)
	}
	c.of[n] = operand{v, v.t.Shape, nil}
	return nil
}

func (c *compiler) newValue(n *Node, t Type) *value {
	c.values++
	return &value{id: c.values, t: t, node: n}
}

// assign appends a state update.
func (c *compiler) assign(n *Node, in []operand) {
	o := &operation{prim: assignOp, node: n, in: in, out: []*value{in[0].v}}
	c.assigns = append(c.assigns, o)
	c.of[n] = in[0]
}

// result is the value of p applied to in, computed once however often it is asked for.
func (c *compiler) result(n *Node, p *Primitive, in []operand, t Type) operand {
	name, ok := c.prims[p]
	if !ok {
		name = p.String()
		c.prims[p] = name
	}
	k := append(c.key[:0], name...)
	for _, x := range in {
		k = strconv.AppendInt(append(k, ' '), int64(x.v.id), 10)
		if !x.whole() {
			for _, d := range x.shape {
				k = strconv.AppendInt(append(k, ','), int64(d), 10)
			}
		}
		if x.after != nil {
			k = strconv.AppendInt(append(k, '>'), int64(x.after.id), 10)
		}
	}
	c.key = k
	if v := c.known[string(k)]; v != nil {
		return operand{v, t.Shape, nil}
	}
	v := c.newValue(n, t)
	v.constant = true
	for _, x := range in {
		v.constant = v.constant && x.v.constant
	}
	inst, _ := n.Op().(*instance)
	v.op = &operation{id: v.id, prim: p, node: n, in: slices.Clone(in), out: []*value{v}, reverse: inst != nil && inst.reverse}
	c.known[string(k)] = v
	c.ops = append(c.ops, v.op)
	return operand{v, t.Shape, nil}
}

func (c *compiler) layout(outputs []*Node) (*layout, error) {
	roots := make([]operand, len(outputs))
	for i, n := range outputs {
		roots[i] = c.of[n]
	}
	c.ops = append(c.ops, c.assigns...)
	c.live(roots)
	if err := c.fold(); err != nil {
		return nil, err
	}
	if c.on.epilogue {
		c.epilogues()
		c.live(roots)
	}
	if c.on.group {
		c.fuse(roots)
	}
	order := c.schedule(roots)
	return &layout{c, roots, order, c.plan(order, roots)}, nil
}

// finish binds the kernels to an arena of at least the plan's size.
func (l *layout) finish(arena []byte) (p *Program, err error) {
	defer rescue(&err)
	c := l.c
	c.p.stats.ArenaBytes, c.p.stats.PeakBytes = l.plan.size, l.plan.peak
	for _, o := range l.order {
		if err := c.emit(o, l.plan, arena); err != nil {
			return nil, err
		}
	}
	for _, s := range l.plan.stages {
		c.p.stages = append(c.p.stages, stageTask{c.p, s.from, s.to, s.lanes, make([]failure, len(s.lanes))})
	}
	for i, n := range c.p.outputs {
		c.p.arrays[n] = c.view(l.roots[i])
	}
	var empty []*Array
	for n, x := range c.of {
		if n.Op() == nil && c.p.arrays[n] == nil {
			c.p.arrays[n] = x.v.array
		}
		if n.Op() == nil {
			c.p.leaf[n] = x.v.array
		}
	}
	for _, a := range c.p.empty {
		if a.data == nil {
			empty = append(empty, a)
		}
	}
	c.p.empty = empty
	return c.p, nil
}

// live keeps the operations that the outputs and the state updates need, and counts the uses of their values.
func (c *compiler) live(roots []operand) {
	need := map[*operation]bool{}
	for _, o := range c.ops {
		o.uses = 0
		need[o] = o.prim == assignOp
	}
	for _, r := range roots {
		if r.v.op != nil {
			r.v.op.uses++
			need[r.v.op] = true
		}
	}
	for _, o := range slices.Backward(c.ops) {
		if !need[o] {
			continue
		}
		for _, x := range o.in {
			if x.v.op != nil {
				need[x.v.op] = true
				x.v.op.uses++
			}
			if x.after != nil && x.after.op != nil {
				need[x.after.op] = true
			}
		}
	}
	c.ops = slices.DeleteFunc(c.ops, func(o *operation) bool { return !need[o] })
}

// fold computes the constants once, in memory of their own, and drops their operations.
func (c *compiler) fold() error {
	for _, o := range c.ops {
		v := o.out[0]
		if o.prim == assignOp || !v.constant {
			continue
		}
		if a, ok := o.prim.form.(*Array); ok {
			v.array = a
			continue
		}
		v.array = NewArray(v.t.DType, v.t.Shape...)
		k, err := o.prim.Kernel(v.t, o.types())
		if err == nil {
			err = k(v.array, c.arrays(o))
		}
		if err != nil {
			return errors.Wrapf(err, "compile: %s", label(o.node))
		}
	}
	c.ops = slices.DeleteFunc(c.ops, func(o *operation) bool { return o.prim != assignOp && o.out[0].constant })
	kept := map[*value]bool{}
	count := func(v *value) {
		if v.constant && !kept[v] {
			kept[v] = true
			c.p.stats.ConstBytes += v.t.Bytes()
		}
	}
	for _, o := range c.ops {
		for _, x := range o.in {
			count(x.v)
		}
	}
	for _, n := range c.p.outputs {
		count(c.of[n].v)
	}
	return nil
}

// view is the operand's array: its value's, or one that shares the memory under another shape.
func (c *compiler) view(x operand) *Array {
	a := x.v.array
	if x.whole() {
		return a
	}
	b := ArrayLike(a, x.shape)
	if x.v.op == nil {
		c.p.views[a] = append(c.p.views[a], b)
	}
	return b
}

func (c *compiler) arrays(o *operation) []*Array {
	in := make([]*Array, len(o.in))
	for i, x := range o.in {
		in[i] = c.view(x)
	}
	return in
}

// emit appends an operation's instruction.
func (c *compiler) emit(o *operation, pl *plan, arena []byte) error {
	in := c.arrays(o)
	if o.prim != assignOp {
		for _, v := range o.out {
			v.array = arenaArray(arena, pl.offset[v], v.t)
		}
	}
	var k Kernel
	var err error
	if o.fused != nil {
		out := make([]*Array, len(o.out))
		for i, v := range o.out {
			out[i] = v.array
		}
		k = o.fused.kernel(out)
	} else {
		k, err = o.prim.Kernel(o.out[0].t, o.types())
	}
	if err != nil {
		return errors.Wrapf(err, "compile: %s", label(o.node))
	}
	c.p.instructions = append(c.p.instructions, instruction{o, o.prim, k, o.out[0].array, in})
	c.p.stats.Instructions++
	c.p.stats.Flops += o.flops()
	if o.reverse {
		c.p.stats.Reverse++
	}
	return nil
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
