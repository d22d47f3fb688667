package graph

// Passes is how many liberties the compiler takes; CompileWith takes those whose bits are set.
const Passes = 5

func (g *Graph) CompileWith(bits int, outputs ...*Node) (*Program, error) {
	on := func(i int) bool { return bits>>i&1 == 1 }
	return g.compile(outputs, passes{on(0), on(1), on(2), on(3), on(4)})
}
