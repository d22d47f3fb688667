package graph

import (
	"github.com/pkg/errors"
	"gorgonia.org/gorgonia"
)

// A Reference computes a program's outputs on Gorgonia's own TapeMachine: every op for itself, in the order Gorgonia
// chooses, in memory of its own, without any of the engine's planning and fusion. It is slow, and the second opinion
// that tests compare the engine with.
type Reference struct {
	program *Program
	leaves  map[*Node]*Node // the program's to the copy's
	values  []gorgonia.Value
	vm      gorgonia.VM
}

// Reference copies the program's nodes into a graph of Gorgonia's. Close it after use.
func (p *Program) Reference() (r *Reference, err error) {
	defer rescue(&err)
	g := gorgonia.NewGraph()
	r = &Reference{program: p, leaves: map[*Node]*Node{}, values: make([]gorgonia.Value, len(p.outputs))}
	copied := map[*Node]*Node{}
	for _, n := range byID(p.outputs) {
		x := operands(n)
		prim := primitiveOf(n)
		t := TypeOf(n)
		switch {
		case prim == nil:
			copied[n] = gorgonia.NewTensor(g, t.DType, len(t.Shape), gorgonia.WithShape(t.Shape...), gorgonia.WithName(label(n)))
			if len(t.Shape) == 0 {
				copied[n] = gorgonia.NewScalar(g, t.DType, gorgonia.WithName(label(n)))
			}
			r.leaves[n] = copied[n]
		case len(x) == 0:
			a := NewArray(t.DType, t.Shape...)
			k, err := prim.Kernel(t, nil)
			if err == nil {
				err = k(a, nil)
			}
			if err != nil {
				return nil, errors.Wrapf(err, "reference: %s", label(n))
			}
			copied[n] = gorgonia.NodeFromAny(g, valueOf(a), gorgonia.WithName(label(n)))
		case prim == assignOp:
			copied[n] = copied[x[1]]
		default:
			y := make([]*Node, len(x))
			for i, a := range x {
				y[i] = copied[a]
			}
			copied[n] = apply(g, prim, y)
		}
	}
	for i, n := range p.outputs {
		gorgonia.Read(copied[n], &r.values[i])
	}
	r.vm = gorgonia.NewTapeMachine(g)
	return r, nil
}

// Run computes the outputs, in the order Compile was given them, from the program's present inputs, parameters and
// clock. States are not updated.
func (r *Reference) Run() ([]*Array, error) {
	r.program.allocateInputs()
	for n, c := range r.leaves {
		if err := gorgonia.Let(c, valueOf(r.program.leaf[n])); err != nil {
			return nil, errors.Wrapf(err, "reference: %s", label(n))
		}
	}
	r.vm.Reset()
	if err := r.vm.RunAll(); err != nil {
		return nil, errors.Wrap(err, "reference")
	}
	out := make([]*Array, len(r.values))
	for i, v := range r.values {
		a, err := FromValue(v)
		if err != nil {
			return nil, errors.Wrap(err, "reference")
		}
		out[i] = ArrayLike(a, TypeOf(r.program.outputs[i]).Shape)
	}
	return out, nil
}

// Close ends the machine.
func (r *Reference) Close() error { return r.vm.Close() }
