package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/onnx/internal/onnxpb"
)

// batches are the two sizes at which the model is built.
var batches = [2]int{2, 3}

// An exporter collects nodes and initialisers. Its graph is that of the first batch size; a node's twin is the same node
// at the second.
type exporter struct {
	g     *graph.Graph
	x, y  *graph.Node
	twin  map[*graph.Node]*graph.Node
	users map[*graph.Node]int    // how many operands each node is
	names map[*graph.Node]string // of the values

	taken        map[string]bool
	ints         map[string]string // names of lists of integers, by what they hold
	batch        string            // the value that holds the batch's size, once it is needed
	nodes        []*onnxpb.NodeProto
	initializers []*onnxpb.TensorProto
}

// A size is fixed or a multiple of the batch.
type size struct{ fixed, perExample int }

func (s size) String() string {
	switch s.perExample {
	case 0:
		return strconv.Itoa(s.fixed)
	case 1:
		return batchName
	}
	return fmt.Sprintf("%d*%s", s.perExample, batchName)
}

// sizes are those of a node's axes.
func (e *exporter) sizes(n *graph.Node) ([]size, error) {
	a, b := graph.ShapeOf(n), graph.ShapeOf(e.twin[n])
	if len(a) != len(b) {
		return nil, e.refuse(n, "as many axes for every batch size", fmt.Sprintf("%v and %v for batches of 2 and 3", a, b))
	}
	s := make([]size, len(a))
	for i := range a {
		c := b[i] - a[i]
		switch {
		case c == 0:
			s[i].fixed = a[i]
		case a[i] == c*batches[0]:
			s[i].perExample = c
		default:
			return nil, e.refuse(n, "sizes that are fixed or a multiple of the batch", fmt.Sprintf("%v and %v for batches of 2 and 3", a, b))
		}
	}
	return s, nil
}

// refuse is the error of a node that cannot be written.
func (e *exporter) refuse(n *graph.Node, want, got string) error {
	name := graph.OpName(n)
	if p := graph.PrimitiveOf(n); p != nil && p.Attrs != nil {
		name = fmt.Sprintf("%s %+v", name, p.Attrs)
	}
	return graph.Fail("onnx", name, want, got)
}

// node writes one node of the graph.
func (e *exporter) node(n *graph.Node) error {
	switch p := graph.PrimitiveOf(n); {
	case n == e.x:
		e.names[n] = inputName
	case e.g.Param(n) != nil:
		q := e.g.Param(n)
		e.names[n] = e.initializer(q.Name, q.Value)
	case p == nil:
		return graph.Fail("onnx", "node "+n.Name(), "an input, parameter or primitive op", "a value that the model draws or reads from elsewhere")
	case len(graph.Operands(n)) == 0:
		return e.constant(n)
	default:
		if done, err := e.pattern(n); done || err != nil {
			return err
		}
		r, ok := table[p.Name]
		if !ok {
			return e.refuse(n, "a primitive in the table of package onnx", "one that ONNX has no counterpart for here")
		}
		kind, _, _ := strings.Cut(r.onnx, ";")
		return r.write(e, &call{e: e, n: n, onnx: kind})
	}
	return nil
}

// constant writes what depends on nothing: numbers, masks, literals.
func (e *exporter) constant(n *graph.Node) error {
	sizes, err := e.sizes(n)
	if err != nil {
		return err
	}
	var v [2]*graph.Array
	for i, m := range []*graph.Node{n, e.twin[n]} {
		if v[i], err = evaluate(m); err != nil {
			return err
		}
	}
	one := func(a *graph.Array) bool { // all elements are one number
		for i := range a.Size() {
			if math.Float64bits(a.At(i)) != math.Float64bits(a.At(0)) {
				return false
			}
		}
		return a.Size() > 0
	}
	dynamic := slices.ContainsFunc(sizes, func(s size) bool { return s.perExample > 0 })
	same := v[0].Size() > 0 && one(v[0]) && one(v[1]) && math.Float64bits(v[0].At(0)) == math.Float64bits(v[1].At(0))
	if dynamic && same {
		number := graph.NewArray(v[0].DType, 1)
		number.Set(0, v[0].At(0))
		shape := e.shape(sizes, false)
		value := &onnxpb.AttributeProto{Name: "value", Type: onnxpb.AttributeProto_TENSOR, T: tensor("", number)}
		e.names[n] = e.temp("ConstantOfShape", []string{shape}, value)
		return nil
	}
	for i := range v[0].Size() {
		if dynamic || math.Float64bits(v[0].At(i)) != math.Float64bits(v[1].At(i)) {
			return e.refuse(n, "numbers that do not depend on the batch's size", fmt.Sprintf("%v and %v for batches of 2 and 3", v[0], v[1]))
		}
	}
	e.names[n] = e.initializer(e.fresh("constant"), v[0])
	return nil
}

// evaluate computes a node that has no operands.
func evaluate(n *graph.Node) (*graph.Array, error) {
	t, p := graph.TypeOf(n), graph.PrimitiveOf(n)
	v := graph.NewArray(t.DType, t.Shape...)
	k, err := p.Kernel(t, nil)
	if err == nil {
		err = k(v, nil)
	}
	return v, errors.Wrap(err, p.Name)
}

// op appends a node with one result.
func (e *exporter) op(kind string, in []string, out string, attrs ...*onnxpb.AttributeProto) {
	name := ""
	for _, x := range in {
		if q := e.g.Params.Get(x); q != nil && name == "" {
			name = path.Join(path.Dir(x), kind)
		}
	}
	if name == "" || e.taken["node "+name] {
		name = fmt.Sprintf("%s_%d", kind, len(e.nodes)+1)
	}
	e.taken["node "+name] = true
	e.nodes = append(e.nodes, &onnxpb.NodeProto{OpType: kind, Name: name, Input: in, Output: []string{out}, Attribute: attrs})
}

// temp appends a node with a result of a new name.
func (e *exporter) temp(kind string, in []string, attrs ...*onnxpb.AttributeProto) string {
	out := e.fresh(strings.ToLower(kind))
	e.op(kind, in, out, attrs...)
	return out
}

func (e *exporter) fresh(kind string) string {
	for i := 1; ; i++ {
		name := fmt.Sprintf("%s_%d", kind, i+len(e.nodes)+len(e.initializers))
		if !e.taken[name] {
			e.taken[name] = true
			return name
		}
	}
}

func (e *exporter) initializer(name string, a *graph.Array) string {
	e.initializers = append(e.initializers, tensor(name, a))
	return name
}

// list is the value that holds these integers.
func (e *exporter) list(v ...int) string {
	key := fmt.Sprint(v)
	if e.ints[key] == "" {
		e.ints[key] = e.initializer(e.fresh("ints"), graph.ArrayOf(slices.Clone(v), len(v)))
	}
	return e.ints[key]
}

// number is the value that holds one number of a type.
func (e *exporter) number(dtype graph.DType, v float64) string {
	a := graph.NewArray(dtype)
	a.Set(0, v)
	return e.initializer(e.fresh("number"), a)
}

// shape is the value that holds sizes; with infer, a single one that is a multiple of the batch is -1.
func (e *exporter) shape(sizes []size, infer bool) string {
	var fixed []int
	varying := 0
	for _, s := range sizes {
		fixed = append(fixed, s.fixed)
		if s.perExample > 0 {
			fixed[len(fixed)-1] = -1
			varying++
		}
	}
	if varying == 0 || varying == 1 && infer && !slices.Contains(fixed, 0) {
		return e.list(fixed...)
	}
	if e.batch == "" {
		e.batch = e.temp("Shape", []string{inputName}, integer("start", 0), integer("end", 1))
	}
	var parts []string
	for _, s := range sizes {
		switch s.perExample {
		case 0:
			parts = append(parts, e.list(s.fixed))
		case 1:
			parts = append(parts, e.batch)
		default:
			parts = append(parts, e.temp("Mul", []string{e.batch, e.list(s.perExample)}))
		}
	}
	return e.temp("Concat", parts, integer("axis", 0))
}

func dataType(t graph.DType) onnxpb.TensorProto_DataType {
	switch t {
	case graph.Float32:
		return onnxpb.TensorProto_FLOAT
	case graph.Float64:
		return onnxpb.TensorProto_DOUBLE
	}
	return onnxpb.TensorProto_INT64
}

// tensor is an array as ONNX has it: little-endian and row-major, as safetensors too.
func tensor(name string, a *graph.Array) *onnxpb.TensorProto {
	t := &onnxpb.TensorProto{Name: name, DataType: int32(dataType(a.DType)), RawData: make([]byte, 0, a.Bytes())}
	for _, d := range a.Shape {
		t.Dims = append(t.Dims, int64(d))
	}
	switch a.DType {
	case graph.Float32:
		for _, v := range a.Float32s() {
			t.RawData = binary.LittleEndian.AppendUint32(t.RawData, math.Float32bits(v))
		}
	case graph.Float64:
		for _, v := range a.Float64s() {
			t.RawData = binary.LittleEndian.AppendUint64(t.RawData, math.Float64bits(v))
		}
	default:
		for _, v := range a.Ints() {
			t.RawData = binary.LittleEndian.AppendUint64(t.RawData, uint64(v))
		}
	}
	return t
}

func integer(name string, v int) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: name, Type: onnxpb.AttributeProto_INT, I: int64(v)}
}

func integers(name string, v ...int) *onnxpb.AttributeProto {
	a := &onnxpb.AttributeProto{Name: name, Type: onnxpb.AttributeProto_INTS}
	for _, i := range v {
		a.Ints = append(a.Ints, int64(i))
	}
	return a
}

func float(name string, v float64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: name, Type: onnxpb.AttributeProto_FLOAT, F: float32(v)}
}

// A call is a node that is being written.
type call struct {
	e    *exporter
	n    *graph.Node
	onnx string
}

func (c *call) in(i int) string { return c.e.names[graph.Operands(c.n)[i]] }

func (c *call) all() []string {
	var in []string
	for i := range graph.Operands(c.n) {
		in = append(in, c.in(i))
	}
	return in
}

func (c *call) shape(i int) []int { return graph.ShapeOf(graph.Operands(c.n)[i]) }

func (c *call) dtype() graph.DType { return graph.TypeOf(c.n).DType }

// is makes the node's value the result of an ONNX op.
func (c *call) is(kind string, in []string, attrs ...*onnxpb.AttributeProto) error {
	c.e.names[c.n] = c.e.temp(kind, in, attrs...)
	return nil
}

// same refuses the node if its attributes depend on the batch's size.
func (c *call) same() error {
	a, b := graph.PrimitiveOf(c.n).String(), graph.PrimitiveOf(c.e.twin[c.n]).String()
	if a != b {
		return c.e.refuse(c.n, "attributes that do not depend on the batch's size", b+" for a batch of 3")
	}
	return nil
}

// attr is a field of the node's attributes, or the attributes themselves for field "".
func attr[T any](c *call, field string) T {
	v := reflect.ValueOf(graph.PrimitiveOf(c.n).Attrs)
	if field != "" {
		v = v.FieldByName(field)
	}
	return v.Interface().(T)
}
