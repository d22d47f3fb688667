// Package onnx writes models as ONNX files, for runtimes outside Go.
//
//	err := onnx.Save("digits.onnx", trainer.Params(), graph.Type{graph.Float32, []int{1, 8, 8}}, model.Apply)
//
// The file holds the model's evaluation: one input, "input", and one output, "output", both with the dynamic axis
// "batch" in front; the parameters as initialisers under their own names ("block1/dense1/weight") with their present
// values; and nodes of the operator set Opset of ONNX's default domain, in the order of the computation. Dense layers
// become Gemm, convolutions Conv with their bias, batch normalisation BatchNormalization; everything else is written
// primitive by primitive, as Table lists. A primitive that is not in the table is refused by name, and so is a
// computation whose numbers (not only whose shapes) depend on the batch's size, such as a mean over the batch.
//
// The file's format is ONNX's own protobuf schema, as of ONNX 1.22, in IR version 8; runtimes since ONNX 1.13 read it.
package onnx

import (
	"io"
	"os"
	"slices"

	"github.com/pkg/errors"
	"google.golang.org/protobuf/proto"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/onnx/internal/onnxpb"
)

// Opset is the version of ONNX's operator set that the files use.
const Opset = 18

const (
	irVersion  = 8
	inputName  = "input"
	outputName = "output"
	batchName  = "batch"
)

// Save writes what Write writes to a file.
func Save(path string, params *graph.Params, input graph.Type, model func(s *graph.Scope, x *graph.Node) *graph.Node) error {
	b, err := encode(params, input, model)
	if err != nil {
		return errors.Wrapf(err, "save %s", path)
	}
	return errors.Wrap(os.WriteFile(path, b, 0o666), "onnx")
}

// Write writes the evaluation of a model with the parameters of a store; those that the store lacks are made in it.
// Input is the type of one example, without the batch's axis.
func Write(w io.Writer, params *graph.Params, input graph.Type, model func(s *graph.Scope, x *graph.Node) *graph.Node) error {
	b, err := encode(params, input, model)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return errors.Wrap(err, "onnx")
}

func encode(params *graph.Params, input graph.Type, model func(s *graph.Scope, x *graph.Node) *graph.Node) ([]byte, error) {
	g, err := export(params, input, model)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&onnxpb.ModelProto{
		IrVersion:    irVersion,
		ProducerName: "harpe",
		OpsetImport:  []*onnxpb.OperatorSetIdProto{{Version: Opset}},
		Graph:        g,
	})
}

// built is the model at one batch size.
type built struct {
	g     *graph.Graph
	x, y  *graph.Node
	nodes []*graph.Node // that y is computed from, operands first
}

func build(params *graph.Params, input graph.Type, model func(s *graph.Scope, x *graph.Node) *graph.Node, batch int) (m built, err error) {
	m.g, err = graph.Build(params, func(s *graph.Scope) {
		m.x = s.Input(inputName, input.DType, slices.Concat([]int{batch}, input.Shape)...)
		m.y = model(s, m.x)
	})
	if err != nil {
		return m, err
	}
	seen := map[*graph.Node]bool{}
	stack := []*graph.Node{m.y}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !seen[n] {
			seen[n] = true
			m.nodes = append(m.nodes, n)
			stack = append(stack, graph.Operands(n)...)
		}
	}
	slices.SortFunc(m.nodes, func(a, b *graph.Node) int { return int(a.ID() - b.ID()) })
	return m, nil
}

// export makes the model at two batch sizes; where the two differ in a size, that size is a multiple of the batch.
func export(params *graph.Params, input graph.Type, model func(s *graph.Scope, x *graph.Node) *graph.Node) (*onnxpb.GraphProto, error) {
	if params == nil {
		return nil, graph.Fail("onnx", "params", "a store", "nil")
	}
	var two [2]built
	for i, batch := range batches {
		var err error
		if two[i], err = build(params, input, model, batch); err != nil {
			return nil, err
		}
	}
	a, b := two[0], two[1]
	if len(a.nodes) != len(b.nodes) {
		return nil, graph.Fail("onnx", "model", "the same computation for every batch size",
			"another number of nodes for a batch of 3 than for 2")
	}
	e := &exporter{g: a.g, x: a.x, y: a.y, twin: map[*graph.Node]*graph.Node{}, users: map[*graph.Node]int{}, names: map[*graph.Node]string{},
		taken: map[string]bool{inputName: true, outputName: true}, ints: map[string]string{}}
	for i, n := range a.nodes {
		m := b.nodes[i]
		p, q := graph.PrimitiveOf(n), graph.PrimitiveOf(m)
		if (p == nil) != (q == nil) || p != nil && p.Name != q.Name {
			return nil, graph.Fail("onnx", "model", "the same computation for every batch size", "different ops for batches of 2 and 3")
		}
		e.twin[n] = m
		for _, x := range graph.Operands(n) {
			e.users[x]++
		}
	}
	e.users[a.y]++
	for q := range params.All() {
		if e.taken[q.Name] {
			return nil, graph.Fail("onnx", "params", "names other than "+inputName+" and "+outputName, q.Name)
		}
		e.taken[q.Name] = true
	}
	for _, n := range a.nodes {
		if err := e.node(n); err != nil {
			return nil, err
		}
	}
	return e.finish()
}

// finish names the output, drops what it does not need, and describes input and output.
func (e *exporter) finish() (*onnxpb.GraphProto, error) {
	e.op("Identity", []string{e.names[e.y]}, outputName)
	needed := map[string]bool{outputName: true}
	var nodes []*onnxpb.NodeProto
	for _, n := range slices.Backward(e.nodes) {
		if slices.ContainsFunc(n.Output, func(o string) bool { return needed[o] }) {
			nodes = append(nodes, n)
			for _, in := range n.Input {
				needed[in] = true
			}
		}
	}
	slices.Reverse(nodes)
	nodes = e.renamed(nodes)
	g := &onnxpb.GraphProto{Name: "model", Node: nodes}
	for _, t := range e.initializers {
		if needed[t.Name] {
			g.Initializer = append(g.Initializer, t)
		}
	}
	for _, v := range []struct {
		name string
		n    *graph.Node
		to   *[]*onnxpb.ValueInfoProto
	}{{inputName, e.x, &g.Input}, {outputName, e.y, &g.Output}} {
		info, err := e.info(v.name, v.n)
		if err != nil {
			return nil, err
		}
		*v.to = append(*v.to, info)
	}
	return g, nil
}

// renamed gives the value of the last node, the identity, to the node that makes it, if there is one.
func (e *exporter) renamed(nodes []*onnxpb.NodeProto) []*onnxpb.NodeProto {
	last := len(nodes) - 1
	at := nodes[last].Input[0]
	made := slices.IndexFunc(nodes, func(n *onnxpb.NodeProto) bool { return n.Output[0] == at })
	if made < 0 {
		return nodes
	}
	nodes = nodes[:last]
	nodes[made].Output[0] = outputName
	for _, n := range nodes {
		for i, in := range n.Input {
			if in == at {
				n.Input[i] = outputName
			}
		}
	}
	return nodes
}

// info is the type of an input or output.
func (e *exporter) info(name string, n *graph.Node) (*onnxpb.ValueInfoProto, error) {
	sizes, err := e.sizes(n)
	if err != nil {
		return nil, err
	}
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range sizes {
		dim := &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d.fixed)}}
		if d.perExample > 0 {
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d.String()}
		}
		shape.Dim = append(shape.Dim, dim)
	}
	return &onnxpb.ValueInfoProto{Name: name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: int32(dataType(graph.TypeOf(n).DType)), Shape: shape},
	}}}, nil
}
