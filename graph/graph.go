// Package graph builds, differentiates, cuts, compiles and runs Gorgonia expression graphs.
//
// A model is one Gorgonia graph. Its nodes are made by ops that read like mathematics,
//
//	h := graph.ReLU(graph.Add(graph.MatMul(x, w), b))
//
// inside Build, the only door through which model code runs: a shape mistake makes the op panic with an *Error, and
// Build returns it with the stack of the line that made it. Parameters live in a Params store that all programs
// share. Grad, VJP and JVP are transformations of the graph: their results are ordinary nodes, so derivatives of any
// order and in either direction compose. Compile turns nodes into a Program over one planned block of memory; a run
// allocates nothing.
//
//	params := &graph.Params{Seed: 1}
//	g, err := graph.Build(params, func(s *graph.Scope) {
//		x = s.Input("x", graph.Float32, 32, 8)
//		w := s.Param("w", graph.Glorot(8, 1), 8, 1)
//		loss = graph.Mean(graph.Square(graph.MatMul(x, w)))
//		dw = graph.Grad(loss, w)[0]
//	})
//	program, err := g.Compile(loss, dw)
//	copy(program.Array(x).Float32s(), data)
//	err = program.Run()
//	fmt.Println(program.Array(loss).Scalar())
//
// Every op is a Primitive (table.go) or a composition of primitives (math.go); a Primitive of your own is as good as
// one of Harpe's.
package graph

import (
	"gorgonia.org/gorgonia"
)

// Graph is a built expression graph with what Gorgonia does not keep: its store, inputs, blocks and state updates.
type Graph struct {
	*gorgonia.ExprGraph
	Params *Params

	params  map[string]*Node
	leaves  map[string]bool // the names of all leaves
	owner   map[*Node]*Param
	inputs  []*Node
	clock   *Node
	blocks  []*Block
	updates []update
}

// A Block is a marked part of a model, from its input to its output: what local training rules train separately.
type Block struct {
	Name    string
	In, Out *Node
}

type update struct {
	assign *Node
	block  int // index of the block it belongs to, -1 outside blocks
}

// Build runs model code. Parameters are found in params or made there. An op's panic becomes the returned *Error.
func Build(params *Params, model func(s *Scope)) (g *Graph, err error) {
	if params == nil {
		params = &Params{}
	}
	g = &Graph{ExprGraph: gorgonia.NewGraph(), Params: params, params: map[string]*Node{}, leaves: map[string]bool{}, owner: map[*Node]*Param{}}
	defer rescue(&err)
	model(g.Scope())
	return g, nil
}

// Extend runs more model code on a graph that has been built, as for another head or another derivative.
func (g *Graph) Extend(f func(s *Scope)) (err error) {
	defer rescue(&err)
	f(g.Scope())
	return nil
}

// Scope is a fresh scope at the root of the graph: applying a model twice, each time in a fresh scope, shares its
// parameters.
func (g *Graph) Scope() *Scope {
	return &Scope{g: g, counts: map[string]int{}, block: -1}
}

// Blocks lists the blocks in the order in which they were marked.
func (g *Graph) Blocks() []*Block { return g.blocks }

// Inputs lists the inputs in the order in which they were made.
func (g *Graph) Inputs() []*Node { return g.inputs }

// Param is the parameter a node stands for, or nil.
func (g *Graph) Param(n *Node) *Param { return g.owner[n] }

// ParamNode is the node of the parameter called name, or nil if this graph does not use it.
func (g *Graph) ParamNode(name string) *Node { return g.params[name] }

// Trainable lists the nodes of the trained parameters that the given nodes depend on, through differentiable ops or
// others but not through Detach, in the order of the store.
func (g *Graph) Trainable(of ...*Node) []*Node {
	reached := reachable(of, func(n *Node) bool { return primitiveOf(n) == detachOp })
	var nodes []*Node
	for p := range g.Params.All() {
		if n := g.params[p.Name]; n != nil && !p.State && reached[n] {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Updates lists the state updates registered with Scope.Update. Compile them beside a training step's outputs.
func (g *Graph) Updates() []*Node {
	nodes := make([]*Node, len(g.updates))
	for i, u := range g.updates {
		nodes[i] = u.assign
	}
	return nodes
}

// ancestors is the set of the nodes that the given ones are computed from, themselves included.
func ancestors(of []*Node) map[*Node]bool {
	return reachable(of, func(*Node) bool { return false })
}

// reachable is the ancestors of the given nodes without those that lie behind nodes for which end holds.
func reachable(of []*Node, end func(*Node) bool) map[*Node]bool {
	seen := map[*Node]bool{}
	stack := append([]*Node(nil), of...)
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		if !end(n) {
			stack = append(stack, operands(n)...)
		}
	}
	return seen
}

// leaf makes a leaf. Gorgonia merges leaves of equal names, so a name must be new in its graph.
func (g *Graph) leaf(op, name string, t Type, value *Array) *Node {
	if err := t.check(op, name); err != nil {
		panic(err)
	}
	if g.leaves[name] {
		panic(fail(op, "name", "a name that is new in the graph", name))
	}
	g.leaves[name] = true
	opts := []gorgonia.NodeConsOpt{gorgonia.WithName(name), gorgonia.WithShape(t.Shape...)}
	if value != nil && value.Size() > 0 {
		opts = append(opts, gorgonia.WithValue(value.Dense()))
	}
	if len(t.Shape) == 0 {
		return gorgonia.NewScalar(g.ExprGraph, t.DType, opts...)
	}
	return gorgonia.NewTensor(g.ExprGraph, t.DType, len(t.Shape), opts...)
}
