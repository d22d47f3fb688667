package graph

import (
	"fmt"
)

// Scope is where model code stands while it builds: the graph, the prefix of parameter names, and whether the model
// is being built for training. Layers ask it for their parameters by name, so one definition serves every batch size,
// rule and program.
type Scope struct {
	g        *Graph
	prefix   string
	counts   map[string]int
	training bool
	block    int // index of the enclosing block, -1 outside
}

// Graph is the graph being built.
func (s *Scope) Graph() *Graph { return s.g }

// DType is the floating-point type of the parameters.
func (s *Scope) DType() DType { return s.g.Params.dtype() }

// Training says whether dropout drops and batch normalisation uses the batch's statistics.
func (s *Scope) Training() bool { return s.training }

// ForTraining is this scope with Training true; the names continue.
func (s *Scope) ForTraining() *Scope {
	t := *s
	t.training = true
	return &t
}

// Root is a fresh scope at the root of the graph in the same mode: a model applied in it again shares its parameters.
func (s *Scope) Root() *Scope {
	r := s.g.Scope()
	r.training, r.block = s.training, s.block
	return r
}

// Layer opens the scope of a layer. An explicit name is used as it is; otherwise the kind is numbered: "dense1",
// "dense2", in the order in which the layers of this scope are applied.
func (s *Scope) Layer(kind, name string) *Scope {
	if name == "" {
		s.counts[kind]++
		name = fmt.Sprintf("%s%d", kind, s.counts[kind])
	}
	return s.Sub(name)
}

// Sub opens the scope called name inside this one.
func (s *Scope) Sub(name string) *Scope {
	t := *s
	t.prefix = s.prefix + name + "/"
	t.counts = map[string]int{}
	return &t
}

// Name is name inside this scope, as parameters and random streams are called: "block1/dense1/weight".
func (s *Scope) Name(name string) string { return s.prefix + name }

// Param is the node of the trained parameter called name in this scope. It is made with init if the store does not
// have it; if the store has it with another type, Param panics with an *Error.
func (s *Scope) Param(name string, init Init, shape ...int) *Node {
	return s.param(name, init, shape, false)
}

// State is the node of a tensor that training does not differentiate: running statistics, counters, fixed matrices.
func (s *Scope) State(name string, init Init, shape ...int) *Node {
	return s.param(name, init, shape, true)
}

func (s *Scope) param(name string, init Init, shape []int, state bool) *Node {
	name = s.Name(name)
	if err := (Type{s.DType(), shape}).check("param", name); err != nil {
		panic(err)
	}
	p := s.g.Params.param(name, Type{s.DType(), shape}, init, state)
	if n := s.g.params[name]; n != nil {
		return n
	}
	n := s.g.leaf("param", "param/"+name, p.Value.Type, p.Value)
	s.g.params[name], s.g.owner[n] = n, p
	return n
}

// Update registers that the state takes this value at the end of each run of a program compiled with Graph.Updates.
func (s *Scope) Update(state, value *Node) {
	if s.g.Param(needNode(state)) == nil {
		panic(fail("update", "state", "a node made by Scope.State or Scope.Param", label(state)))
	}
	of := value
	for q := primitiveOf(of); q != nil && q.View; q = primitiveOf(of) {
		of = operands(of)[0]
	}
	if of.Op() == nil { // another state, whose own update might come first
		value = Reshape(Concat(0, Reshape(value, -1)), ShapeOf(value)...)
	}
	s.g.updates = append(s.g.updates, update{Apply(assignOp, state, value), s.block})
}

// Input is a node whose value is given before each run, through Program.Array or Program.Bind. Its name must be new
// in the graph.
func (s *Scope) Input(name string, dtype DType, shape ...int) *Node {
	name = s.Name(name)
	n := s.g.leaf("input", name, Type{dtype, shape}, nil)
	s.g.inputs = append(s.g.inputs, n)
	return n
}

// Block marks f's part of the model as one block: a place where local rules cut. A block inside a block is not marked.
func (s *Scope) Block(name string, x *Node, f func(s *Scope, x *Node) *Node) *Node {
	if s.block >= 0 {
		return f(s, x)
	}
	t := *s
	t.block = len(s.g.blocks)
	b := &Block{Name: s.Name(name), In: x}
	s.g.blocks = append(s.g.blocks, b)
	b.Out = needNode(f(&t, x))
	return b.Out
}

// InBlock says whether a block encloses this scope, so that Block would mark nothing.
func (s *Scope) InBlock() bool { return s.block >= 0 }

// Const is a scalar constant of the parameters' type.
func (s *Scope) Const(v float64) *Node { return constant(s.g.ExprGraph, s.DType(), v) }

// Uniform draws numbers from (0, 1), new at each step of the program's clock; a function of the store's seed, the
// stream's name in this scope and the step.
func (s *Scope) Uniform(stream string, shape ...int) *Node {
	return Apply(uniformOp(s.DType(), s.Name(stream), shape), s.g.clockNode())
}

// Normal draws standard normal numbers, otherwise as Uniform.
func (s *Scope) Normal(stream string, shape ...int) *Node {
	return Apply(normalOp(s.DType(), s.Name(stream), shape), s.g.clockNode())
}

const clockName = "harpe/clock"

// clockNode is the input every random op depends on: seed and step, set by the program.
func (g *Graph) clockNode() *Node {
	if g.clock == nil {
		g.clock = g.leaf("clock", clockName, Type{Int, []int{2}}, ArrayOf([]int{int(g.Params.Seed), 0}, 2))
	}
	return g.clock
}
