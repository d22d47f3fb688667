package graph

import (
	"fmt"

	"github.com/pkg/errors"
	"gorgonia.org/tensor"
)

// Program is a compiled list of instructions over planned memory. After the first run a run allocates nothing on the
// heap. Programs that share a Params store may exist side by side, and run at the same time if none of them updates a state;
// one program must not run twice at the same time. Small instructions that do not depend on each other run side by side.
type Program struct {
	g            *Graph
	outputs      []*Node
	instructions []instruction
	stages       []stageTask
	arrays       map[*Node]*Array    // inputs, parameters and outputs
	leaf         map[*Node]*Array    // everything that is not computed
	inputs       map[*Node]*Array    // leaves without a value of their own
	views        map[*Array][]*Array // of inputs
	empty        []*Array            // inputs without memory so far
	clock        *Array
	stats        Stats
}

// An instruction is one kernel with its arrays. A fused one has several results, of which out is the first.
type instruction struct {
	op     *operation
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

// Stats says what the program is made of.
func (p *Program) Stats() Stats { return p.stats }

// Array is the memory of an input or output of the program: fill an input's before a run, read an output's after it.
// An output's array is overwritten by the next run. It panics with an *Error for any other node.
func (p *Program) Array(n *Node) *Array {
	a := p.arrays[n]
	if a == nil {
		panic(fail("program", "node", "an input or output of the program", n))
	}
	if a.data == nil {
		p.allocateInputs()
	}
	return a
}

// Value is the array of an input or output as Gorgonia's tensor, sharing its memory.
func (p *Program) Value(n *Node) *tensor.Dense { return p.Array(n).Dense() }

// allocateInputs gives memory of their own to the inputs that have been bound to none.
func (p *Program) allocateInputs() {
	for _, a := range p.empty {
		if a.data == nil {
			p.bind(a, NewArray(a.DType, a.Shape...))
		}
	}
	p.empty = nil
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
	p.bind(in, a)
	return nil
}

func (p *Program) bind(in, a *Array) {
	in.data = a.data
	for _, v := range p.views[in] {
		v.data = a.data
	}
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
	if p.empty != nil {
		p.allocateInputs()
	}
	at := 0
	for i := range p.stages {
		s := &p.stages[i]
		if err := p.runFrom(at, s.from); err != nil {
			return err
		}
		if err := s.run(); err != nil {
			return err
		}
		at = s.to
	}
	return p.runFrom(at, len(p.instructions))
}

// runFrom runs instructions one after the other.
func (p *Program) runFrom(from, to int) error {
	for i := from; i < to; i++ {
		in := &p.instructions[i]
		if err := in.kernel(in.out, in.in); err != nil {
			return p.failed(in, err)
		}
	}
	return nil
}

// FirstNonFinite computes the outputs once more, op by op and without updating states, to find out why they are not
// finite: the error names the first node that became NaN, and the first that became infinite before it from finite
// operands; parameters and inputs are named as such. Infinite values that do no harm, as in a mask, are no error; nil
// means that all outputs are finite.
func (p *Program) FirstNonFinite() error {
	p.allocateInputs()
	q, err := p.g.compile(p.outputs, passes{})
	if err != nil {
		return err
	}
	for n, a := range p.leaf {
		if b := q.leaf[n]; b != nil {
			q.bind(b, a)
		}
	}
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
	for i := range q.instructions {
		in := &q.instructions[i]
		clean := true
		for j, a := range in.in {
			k, nan, ok := nonFinite(a)
			clean = clean && !ok
			leaf := in.op.in[j].v
			if !ok || leaf.op != nil {
				continue
			}
			if err := found(nan, errors.Errorf("%s %v: element %d is %v", leaf.node.Name(), leaf.t, k, a.At(k))); err != nil {
				return err
			}
		}
		if in.prim == assignOp {
			continue
		}
		if err := in.kernel(in.out, in.in); err != nil {
			return q.failed(in, err)
		}
		if k, nan, ok := nonFinite(in.out); ok && (nan || clean) {
			n := in.op.node
			e := fail(in.prim.Name, "result "+label(n), "finite numbers", fmt.Sprintf("%v at element %d", in.out.At(k), k))
			e.Operands = describe(operands(n))
			if err := found(nan, e); err != nil {
				return err
			}
		}
	}
	for n, a := range q.arrays {
		if _, _, ok := nonFinite(a); ok && n.Op() != nil {
			return infinite
		}
	}
	return nil
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
		e.Operands = describe(operands(in.op.node))
		return e
	}
	return errors.Wrapf(err, "%s", label(in.op.node))
}
