package graph

import "slices"

// A Piece is a part of a built graph as a function of one node: the ops between two boundaries, to be applied again in
// this or another graph. A local rule trains a model piece by piece; since each piece is built on an input of its own,
// or on a detached node, no derivative crosses a boundary.
type Piece struct {
	Name   string
	In     Type     // of the input
	Out    Type     // of the output
	Params []*Param // trained parameters, in the order of the store

	g       *Graph
	in, out *Node
	nodes   []*Node // computed between in and out, operands first
	updates []update
}

// Cut splits the way from x to y at the blocks marked with Scope.Block. The pieces follow each other: each one's input
// is the output of the one before. A piece without trained parameters is joined to the one before it; a leading one, and
// one that makes rows of features of maps, such as a flattening or the mean over an image, to the one behind it. It is an error if a piece reads values from before its input other than parameters, constants and
// random numbers: then the blocks are not a chain, and need to be grouped into larger ones.
func (g *Graph) Cut(x, y *Node) ([]*Piece, error) {
	before := ancestors([]*Node{y})
	if !before[x] {
		return nil, fail("cut", "output", "a node computed from "+label(x), label(y))
	}
	var ends []*Block
	for _, b := range g.blocks {
		if b.Out != nil && before[b.Out] && b.Out != x {
			ends = append(ends, b)
		}
	}
	if len(ends) == 0 {
		ends = []*Block{{Name: "model", In: x, Out: y}}
	}
	if last := ends[len(ends)-1]; last.Out != y {
		ends[len(ends)-1] = &Block{Name: last.Name, In: last.In, Out: y}
	}
	var pieces []*Piece
	in := x
	for i, b := range ends {
		p, err := g.piece(b.Name, in, b.Out)
		if err != nil {
			return nil, err
		}
		last := i == len(ends)-1
		if len(p.Params) == 0 && !last && len(p.In.Shape) > 2 && len(p.Out.Shape) == 2 {
			continue // the next piece starts where it does
		}
		if len(p.Params) == 0 && len(pieces) > 0 {
			prev := pieces[len(pieces)-1]
			if p, err = g.piece(prev.Name, prev.in, b.Out); err != nil {
				return nil, err
			}
			pieces[len(pieces)-1] = p
		} else if len(p.Params) > 0 || last {
			pieces = append(pieces, p)
		} else {
			continue // a leading piece: the next one starts where it does
		}
		in = b.Out
	}
	return pieces, nil
}

// Join makes one piece of two that follow each other.
func (p *Piece) Join(next *Piece) (*Piece, error) {
	if next.g != p.g || next.in != p.out {
		return nil, fail("join", "next", "the piece that follows "+p.Name, next.Name)
	}
	return p.g.piece(p.Name, p.in, next.out)
}

func (g *Graph) piece(name string, in, out *Node) (*Piece, error) {
	p := &Piece{Name: name, In: TypeOf(in), Out: TypeOf(out), g: g, in: in, out: out}
	inside := map[*Node]bool{in: true}
	add := func(to *Node) error {
		stack := []*Node{to}
		for len(stack) > 0 {
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if inside[n] {
				continue
			}
			inside[n] = true
			if n.Op() == nil && g.owner[n] == nil && n != g.clock {
				return fail("cut", "block "+name, "a chain: values from "+label(in)+" only", "it also reads "+label(n))
			}
			p.nodes = append(p.nodes, n)
			stack = append(stack, operands(n)...)
		}
		return nil
	}
	if err := add(out); err != nil {
		return nil, err
	}
	for _, u := range g.updates {
		if p.owns(u, inside) {
			if err := add(u.assign); err != nil {
				return nil, err
			}
			p.updates = append(p.updates, u)
		}
	}
	slices.SortFunc(p.nodes, func(a, b *Node) int { return int(a.ID() - b.ID()) })
	for q := range g.Params.All() {
		if n := g.params[q.Name]; n != nil && inside[n] && !q.State {
			p.Params = append(p.Params, q)
		}
	}
	return p, nil
}

// owns says whether a state update belongs to the piece: made in one of its blocks, or, outside blocks, computed from
// its nodes.
func (p *Piece) owns(u update, inside map[*Node]bool) bool {
	if u.block >= 0 {
		out := p.g.blocks[u.block].Out
		return out != p.in && inside[out]
	}
	for n := range ancestors([]*Node{u.assign}) {
		if n != p.in && n.Op() != nil && inside[n] {
			return true
		}
	}
	return false
}

// Apply builds the piece once more, on x in the graph of s. Its parameters are those of the same names in s's store,
// which must have them; state updates are registered again. x must have the type of the piece's input.
func (p *Piece) Apply(s *Scope, x *Node) *Node {
	if !TypeOf(x).Equal(p.In) {
		panic(fail("piece "+p.Name, "input", p.In, TypeOf(x)))
	}
	made := map[*Node]*Node{p.in: x}
	for _, n := range p.nodes {
		if q := p.g.owner[n]; q != nil {
			made[n] = s.Root().param(q.Name, missing(q.Name), q.Value.Shape, q.State)
			continue
		}
		if n == p.g.clock {
			made[n] = s.g.clockNode()
			continue
		}
		args := slices.Clone(operands(n))
		for i, a := range args {
			args[i] = made[a]
		}
		made[n] = apply(s.g.ExprGraph, primitiveOf(n), args)
	}
	for _, u := range p.updates {
		s.g.updates = append(s.g.updates, update{made[u.assign], s.block})
	}
	return made[p.out]
}

// missing is the initialiser of a parameter that must already be there.
func missing(name string) Init {
	return func(uint64, string, *Array) {
		panic(fail("piece", "parameter", name+" in the store", "none"))
	}
}
