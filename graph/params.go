package graph

import (
	"iter"
	"slices"

	"github.com/pkg/errors"
)

// Param is one named tensor of a store. Programs share its Value: an update is seen by all of them at once.
type Param struct {
	Name  string
	Value *Array
	State bool // not trained by gradients: running statistics and the like
}

// Params is an ordered store of named tensors, shared by every program compiled from graphs that were built with it:
// nothing is copied to switch between training and evaluation, another batch size or another rule. The zero value is
// an empty Float32 store with seed 0. It is not safe for concurrent change.
type Params struct {
	Seed  uint64 // of initialisations and of every random op
	DType DType  // of the parameters; zero means Float32

	list   []*Param
	byName map[string]*Param
}

func (p *Params) dtype() DType {
	if p.DType.Type == nil {
		return Float32
	}
	return p.DType
}

// Len is the number of tensors.
func (p *Params) Len() int { return len(p.list) }

// Count is the number of trained numbers; states are not counted.
func (p *Params) Count() int {
	n := 0
	for q := range p.All() {
		if !q.State {
			n += q.Value.Size()
		}
	}
	return n
}

// All goes through the tensors in the order of their creation.
func (p *Params) All() iter.Seq[*Param] { return slices.Values(p.list) }

// Get is the tensor called name, or nil.
func (p *Params) Get(name string) *Param { return p.byName[name] }

// Add puts a new tensor at the end of the store; it is an error if the name is taken or empty.
func (p *Params) Add(q *Param) error {
	if q == nil || q.Name == "" || q.Value == nil {
		return errors.New("params: a parameter needs a name and a value")
	}
	if p.byName[q.Name] != nil {
		return errors.Errorf("params: there is already a parameter %q", q.Name)
	}
	if p.byName == nil {
		p.byName = map[string]*Param{}
	}
	p.list = append(p.list, q)
	p.byName[q.Name] = q
	return nil
}

// Clone is an independent copy: same names, order, seed and values.
func (p *Params) Clone() *Params {
	c := &Params{Seed: p.Seed, DType: p.DType}
	for q := range p.All() {
		c.Add(&Param{Name: q.Name, Value: q.Value.Clone(), State: q.State})
	}
	return c
}

// Select is the store of those tensors whose names keep chooses, in the same order, sharing their values: to save a
// model without what its training rule added, for example.
func (p *Params) Select(keep func(name string) bool) *Params {
	c := &Params{Seed: p.Seed, DType: p.DType}
	for q := range p.All() {
		if keep(q.Name) {
			c.Add(q)
		}
	}
	return c
}

// CopyFrom copies the values of other into p. Names, types and order must agree; if they do not, nothing is changed.
func (p *Params) CopyFrom(other *Params) error {
	if p.Len() != other.Len() {
		return errors.Errorf("params: want %d tensors, got %d", p.Len(), other.Len())
	}
	for i, q := range p.list {
		o := other.list[i]
		if q.Name != o.Name || !q.Value.Type.Equal(o.Value.Type) {
			return errors.Errorf("params: want %s %v, got %s %v", q.Name, q.Value.Type, o.Name, o.Value.Type)
		}
	}
	for i, q := range p.list {
		q.Value.CopyFrom(other.list[i].Value)
	}
	return nil
}

// param finds or makes the tensor called name.
func (p *Params) param(name string, t Type, init Init, state bool) *Param {
	if q := p.Get(name); q != nil {
		if !q.Value.Type.Equal(t) {
			panic(fail("param", name, t, q.Value.Type))
		}
		if q.State != state {
			panic(fail("param", name, kinds[state], kinds[q.State]))
		}
		return q
	}
	q := &Param{Name: name, Value: NewArray(t.DType, t.Shape...), State: state}
	init(p.Seed, name, q.Value)
	if err := p.Add(q); err != nil {
		panic(fail("param", name, "a new name", err))
	}
	return q
}

var kinds = map[bool]string{false: "a trained parameter", true: "a state"}
