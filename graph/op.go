package graph

import (
	"fmt"
	"hash"
	"sync/atomic"

	"github.com/chewxy/hm"
	"github.com/pkg/errors"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Node is a node of a Gorgonia expression graph. What Harpe makes can be handed to Gorgonia, and the other way round.
type Node = gorgonia.Node

// A Kernel computes out from in. All arrays are contiguous and row-major. Kernels must not keep or allocate memory,
// and must give the same bits whatever the number of threads. An error stops the program's run.
type Kernel func(out *Array, in []*Array) error

// A Primitive is one operation with everything Harpe wants to know of it, side by side: what comes out, how it is
// computed, and its derivative in both directions. Harpe's own ops are Primitives; so are yours: fill one in and hand
// it to Apply. Name and Attrs together must tell two different operations apart.
type Primitive struct {
	Name  string // as in errors, profiles and drawings: "matmul"
	Attrs any    // attributes, printed with %+v; nil if there are none

	// Type is the result's type, or an *Error that names the argument, what was wanted and what was got.
	Type func(in []Type) (Type, error)

	// Kernel prepares the computation for operands of these types. It runs once, when a program is compiled.
	Kernel func(out Type, in []Type) (Kernel, error)

	// VJP is the reverse rule: for each operand the node of its cotangent given the result's cotangent dy, or nil
	// where it is zero. If only one of VJP and JVP is nil, it is the transpose of the other; if both are, the derivative
	// is zero everywhere.
	VJP func(y, dy *Node, x []*Node) []*Node

	// JVP is the forward rule: the result's tangent given the operands' tangents, of which some, not all, may be nil
	// (zero). It may return nil for zero.
	JVP func(y *Node, x, dx []*Node) *Node

	// Elementwise says that element i of the result depends only on element i of each operand (after broadcasting),
	// so that the result may be written over an operand of its own type.
	Elementwise bool

	// View says that the result is operand 0 under another shape: nothing is computed, memory is shared.
	View bool

	// Flops is the number of floating-point operations; nil means one for each element of the result.
	Flops func(out Type, in []Type) int

	form any // what the compiler knows of it: see rewrite.go
}

// String is the name with its attributes.
func (p *Primitive) String() string {
	if p.Attrs == nil {
		return p.Name
	}
	return fmt.Sprintf("%s%+v", p.Name, p.Attrs)
}

// Apply makes the node of p applied to x. It panics with an *Error if p refuses the operands' types.
func Apply(p *Primitive, x ...*Node) *Node {
	if p == nil || p.Type == nil || p.Kernel == nil && !p.View {
		panic(fail("apply", "primitive", "a Primitive with Type and Kernel", "nil or without them"))
	}
	if len(x) == 0 {
		panic(fail(p.Name, "operands", "at least one", "none"))
	}
	for i, n := range x {
		if n == nil {
			panic(fail(p.Name, fmt.Sprintf("operand %d", i), "a node", "nil"))
		}
		if n.Graph() != x[0].Graph() {
			e := fail(p.Name, fmt.Sprintf("operand %d", i), "a node of the first operand's graph", "a node of another graph")
			e.Operands = describe(x)
			panic(e)
		}
	}
	return apply(x[0].Graph(), p, x)
}

func apply(g *gorgonia.ExprGraph, p *Primitive, x []*Node) *Node {
	t, err := p.Type(typesOf(x))
	if err != nil {
		if e, ok := err.(*Error); ok {
			e.Operands = describe(x)
			panic(e)
		}
		e := fail(p.Name, "operands", "operands it takes", err)
		e.Operands = describe(x)
		panic(e)
	}
	if err := t.check(p.Name, "result"); err != nil {
		err.Operands = describe(x)
		panic(err)
	}
	return gorgonia.NewUniqueNode(gorgonia.WithType(nodeType(t)), gorgonia.WithOp(newInstance(p, x)),
		gorgonia.WithChildren(x), gorgonia.In(g), gorgonia.WithShape(t.Shape...))
}

func nodeType(t Type) hm.Type {
	if len(t.Shape) == 0 {
		return t.DType
	}
	return gorgonia.TensorType{Dims: len(t.Shape), Of: t.DType}
}

// TypeOf is the element type and the shape of a node.
func TypeOf(n *Node) Type { return Type{needNode(n).Dtype(), []int(n.Shape())} }

// ShapeOf is the shape of a node.
func ShapeOf(n *Node) []int { return []int(needNode(n).Shape()) }

func needNode(n *Node) *Node {
	if n == nil {
		panic(fail("graph", "node", "a node", "nil"))
	}
	return n
}

func typesOf(x []*Node) []Type {
	t := make([]Type, len(x))
	for i, n := range x {
		t[i] = TypeOf(n)
	}
	return t
}

func describe(x []*Node) []string {
	s := make([]string, len(x))
	for i, n := range x {
		s[i] = fmt.Sprintf("%s %v", label(n), TypeOf(n))
	}
	return s
}

// label is a short name of a node: its own name if it has one, else its op and number.
func label(n *Node) string {
	if in, ok := n.Op().(*instance); ok {
		return fmt.Sprintf("%s#%d", in.prim.Name, n.ID())
	}
	return n.Name()
}

// An instance is one use of a primitive: the Gorgonia op of exactly one node. Gorgonia merges nodes whose ops hash
// alike, so the hash is a number of its own; equal computations are merged when a program is compiled, by comparing
// them in full.
type instance struct {
	prim     *Primitive
	operands []*Node
	serial   uint32
	reverse  bool // made by a reverse rule
}

var serials atomic.Uint32

func newInstance(p *Primitive, x []*Node) *instance {
	return &instance{prim: p, operands: x, serial: serials.Add(1)}
}

// operands lists a node's operands in order, for Harpe's and Gorgonia's nodes alike.
func operands(n *Node) []*Node {
	if in, ok := n.Op().(*instance); ok {
		return in.operands
	}
	if n.Op() == nil {
		return nil
	}
	return foreignOperands(n)
}

func (in *instance) Arity() int           { return len(in.operands) }
func (in *instance) ReturnsPtr() bool     { return true }
func (in *instance) CallsExtern() bool    { return false }
func (in *instance) OverwritesInput() int { return -1 }
func (in *instance) Hashcode() uint32     { return in.serial }
func (in *instance) String() string       { return in.prim.String() }

func (in *instance) WriteHash(h hash.Hash) { fmt.Fprintf(h, "harpe/%d", in.serial) }

// Type is the op's type in Gorgonia's type system: its operands' types to its result's.
func (in *instance) Type() hm.Type {
	t, err := in.prim.Type(typesOf(in.operands))
	if err != nil {
		panic(err)
	}
	var ts []hm.Type
	for _, x := range in.operands {
		ts = append(ts, x.Type())
	}
	return hm.NewFnType(append(ts, nodeType(t))...)
}

// InferShape serves Gorgonia.
func (in *instance) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) {
	t, err := in.prim.Type(typesOf(in.operands))
	return tensor.Shape(t.Shape), err
}

// Do lets Gorgonia's machines run the op: one operand at a time, freshly allocated, slowly. Tests use it as a second
// opinion on the engine.
func (in *instance) Do(values ...gorgonia.Value) (gorgonia.Value, error) {
	args := make([]*Array, len(values))
	types := make([]Type, len(values))
	for i, v := range values {
		a, err := FromValue(v)
		if err != nil {
			return nil, errors.Wrapf(err, "%s: operand %d", in.prim.Name, i)
		}
		args[i], types[i] = a, a.Type
	}
	t, err := in.prim.Type(types)
	if err != nil {
		return nil, err
	}
	out := NewArray(t.DType, t.Shape...)
	if in.prim.View {
		return valueOf(ArrayLike(args[0], t.Shape)), nil
	}
	k, err := in.prim.Kernel(t, types)
	if err != nil {
		return nil, err
	}
	if err := k(out, args); err != nil {
		return nil, err
	}
	return valueOf(out), nil
}

// ArrayLike shares a's memory under another shape of equal size.
func ArrayLike(a *Array, shape []int) *Array { return &Array{Type{a.DType, shape}, a.data} }

// FromValue shares the memory of a Gorgonia value that is a dense, contiguous tensor, and copies a scalar.
func FromValue(v gorgonia.Value) (*Array, error) {
	switch s := v.(type) {
	case *gorgonia.F32:
		return ArrayOf([]float32{float32(*s)}), nil
	case *gorgonia.F64:
		return ArrayOf([]float64{float64(*s)}), nil
	case *gorgonia.I:
		return ArrayOf([]int{int(*s)}), nil
	}
	d, ok := v.(*tensor.Dense)
	if !ok {
		return nil, errors.Errorf("value: want a dense tensor, got %T", v)
	}
	if d.RequiresIterator() || !d.DataOrder().IsRowMajor() || d.DataOrder().IsNotContiguous() {
		d = d.Materialize().(*tensor.Dense)
	}
	shape := []int(d.Shape().Clone())
	switch data := d.Data().(type) {
	case []float32:
		return ArrayOf(data, shape...), nil
	case []float64:
		return ArrayOf(data, shape...), nil
	case []int:
		return ArrayOf(data, shape...), nil
	case float32:
		return ArrayOf([]float32{data}, shape...), nil
	case float64:
		return ArrayOf([]float64{data}, shape...), nil
	case int:
		return ArrayOf([]int{data}, shape...), nil
	}
	return nil, fail("value", "dtype", "float32, float64 or int", d.Dtype())
}

// valueOf is an array as Gorgonia's machines want it: scalars are not tensors there.
func valueOf(a *Array) gorgonia.Value {
	if len(a.Shape) > 0 {
		return a.Dense()
	}
	switch d := a.data.(type) {
	case []float32:
		return gorgonia.NewF32(d[0])
	case []float64:
		return gorgonia.NewF64(d[0])
	default:
		return gorgonia.NewI(d.([]int)[0])
	}
}

// Operands lists a node's operands in order; none for a leaf.
func Operands(n *Node) []*Node { return operands(n) }

// OpName is the name of a node's primitive, "" for a leaf or an op of Gorgonia's.
func OpName(n *Node) string {
	if p := primitiveOf(n); p != nil {
		return p.Name
	}
	return ""
}
