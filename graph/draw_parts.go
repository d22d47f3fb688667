package graph

import (
	"path"
	"slices"
	"strings"
)

// What a graph is made of, for people: parts. Words used here: a node is data if it is computed from an input, a random
// draw or a state that is no parameter's own; all others, constants and what is made of parameters only, are folded
// into the data that reads them. A node's layer is the scope of the parameters it reads ("block1/dense1"); what has
// none of its own belongs to the layer around it.

// Detail says how much of a graph becomes one part.
type Detail int

const (
	DetailChains Detail = iota // elementwise ops and reshapes go with the op they follow
	DetailLayers               // a layer with parameters is one part
	DetailOps                  // every op is a part
)

// A Part is a piece of a graph as a reader thinks of it: a layer, a chain of ops, or an input.
type Part struct {
	Name   string   // where it stands and what it is: "block1/dense1", "block1/max_pool2d", the name of an input
	Path   string   // the block and layer it stands in, "" outside
	Ops    []string // primitives in the order of the computation; none for an input
	Params []*Param // what it reads, in the order of the store
	Out    []Type   // results that other parts read, or that were asked for
	Reads  []Edge   // from other parts

	// Of the instructions that compute the outputs, once they are compiled:
	Flops        int // floating-point operations
	MultiplyAdds int // of products and convolutions, half their Flops

	nodes []*Node
}

// An Edge is a result of one part that another reads.
type Edge struct {
	From     int // index among the parts
	Type     Type
	Detached bool // no derivative passes
}

// Parts lists what the outputs are computed from, operands first.
func (g *Graph) Parts(detail Detail, outputs ...*Node) (parts []Part, err error) {
	defer rescue(&err)
	program, err := g.Compile(outputs...)
	if err != nil {
		return nil, err
	}
	s := g.survey(outputs)
	s.join(detail)
	parts = s.parts(outputs)
	s.count(program, parts)
	return parts, nil
}

type survey struct {
	g      *Graph
	nodes  []*Node // operands first
	data   map[*Node]bool
	users  map[*Node][]*Node
	params map[*Node][]*Param // that a data node reads, through folded nodes
	block  map[*Node]string
	scope  map[*Node]string // the layer, relative to nothing
	of     map[*Node]*Node  // the first node of the part it belongs to
}

// survey finds out where each node stands.
func (g *Graph) survey(outputs []*Node) *survey {
	s := &survey{g: g, nodes: byID(outputs), data: map[*Node]bool{}, params: map[*Node][]*Param{}, block: map[*Node]string{},
		scope: map[*Node]string{}, of: map[*Node]*Node{}}
	s.users = usersOf(outputs)
	for _, n := range s.nodes {
		random := slices.Contains(operands(n), g.clock) && g.clock != nil
		input := n.Op() == nil && g.owner[n] == nil && n != g.clock
		s.data[n] = random || input || slices.Contains(outputs, n) || slices.ContainsFunc(operands(n), func(x *Node) bool { return s.data[x] })
	}
	for _, n := range s.nodes {
		if s.data[n] {
			s.params[n] = s.read(n)
		}
	}
	s.findBlocks()
	s.findScopes()
	return s
}

// read lists the parameters that a data node reads, not through other data.
func (s *survey) read(n *Node) (list []*Param) {
	seen := map[*Node]bool{}
	var walk func(n *Node)
	walk = func(n *Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if q := s.g.owner[n]; q != nil {
			list = append(list, q)
		}
		for _, x := range operands(n) {
			if !s.data[x] {
				walk(x)
			}
		}
	}
	walk(n)
	return list
}

func (s *survey) findBlocks() {
	known := map[*Node]bool{}
	for _, n := range s.nodes {
		known[n] = true
	}
	for _, b := range s.g.blocks {
		if b.Out == nil || !known[b.Out] {
			continue
		}
		before := ancestors([]*Node{b.In})
		for n := range ancestors([]*Node{b.Out}) {
			if _, taken := s.block[n]; !taken && n.Op() != nil && s.data[n] && !before[n] {
				s.block[n] = b.Name
			}
		}
	}
}

// findScopes gives each data node its layer. A node that reads parameters stands in theirs. Another elementwise one
// stands where its operands stand. The rest stands in what is around both operands and readers, but for the statistics
// of a normalisation, which stand with its scale.
func (s *survey) findScopes() {
	up := map[*Node]string{}
	known := map[*Node]bool{}
	for _, n := range s.nodes {
		if !s.data[n] {
			continue
		}
		p := primitiveOf(n)
		var around []string
		settled := true
		for _, x := range operands(n) {
			if s.data[x] {
				if s.block[x] != s.block[n] || x.Op() == nil {
					around = append(around, "")
					continue
				}
				around = append(around, up[x])
				settled = settled && known[x]
			}
		}
		up[n] = common(around)
		switch {
		case len(s.params[n]) > 0:
			var scopes []string
			for _, q := range s.params[n] {
				scopes = append(scopes, path.Dir(q.Name))
			}
			up[n] = common(scopes)
			known[n] = true
		case p != nil && (p.Elementwise || p.View) && settled:
			known[n] = true
		}
		s.scope[n] = up[n]
	}
	pulled := map[*Node]bool{}
	for _, n := range slices.Backward(s.nodes) {
		if !s.data[n] || known[n] && s.reader(n) == nil || n.Op() == nil {
			continue
		}
		var below []string
		pull := !strings.Contains(OpName(n), "pool")
		if u := s.reader(n); u != nil && len(s.params[u]) > 0 && s.block[u] == s.block[n] {
			s.scope[n] = s.scope[u]
			continue
		}
		for _, u := range s.users[n] {
			if s.block[u] != s.block[n] {
				below, pull = append(below, ""), false
				continue
			}
			below = append(below, s.scope[u])
			p := primitiveOf(u)
			pull = pull && (pulled[u] || p != nil && p.Elementwise && len(s.params[u]) > 0)
		}
		if to := common(below); pull && len(below) > 0 && to != "" {
			pulled[n], s.scope[n] = true, to
		} else {
			s.scope[n] = common([]string{s.scope[n], to})
		}
	}
}

// reader is the only node that reads a reshape that is made for it, such as a product's, or nil.
func (s *survey) reader(n *Node) *Node {
	p := primitiveOf(n)
	if p == nil || !p.View || p == detachOp || len(s.users[n]) != 1 {
		return nil
	}
	if u := s.users[n][0]; !primitiveOf(u).Elementwise && !primitiveOf(u).View {
		return u
	}
	return nil
}

// common is the scope around all scopes.
func common(scopes []string) string {
	if len(scopes) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimPrefix(scopes[0], "."), "/")
	for _, t := range scopes[1:] {
		other := strings.Split(strings.TrimPrefix(t, "."), "/")
		n := 0
		for n < len(all) && n < len(other) && all[n] == other[n] {
			n++
		}
		all = all[:n]
	}
	return strings.Join(all, "/")
}

// path is where a node stands: its block and, inside, its layer.
func (s *survey) path(n *Node) string {
	block, scope := s.block[n], s.scope[n]
	if block == "" || scope == block || strings.HasPrefix(scope, block+"/") {
		return scope
	}
	return path.Join(block, scope)
}

// join makes parts of the data nodes.
func (s *survey) join(detail Detail) {
	layers := map[string]bool{}
	if detail == DetailLayers {
		for _, list := range s.params {
			for _, q := range list {
				layers[path.Dir(q.Name)] = true
			}
		}
	}
	for {
		first := map[string]*Node{}
		clear(s.of)
		for _, n := range s.nodes {
			if !s.data[n] {
				continue
			}
			s.of[n] = n
			if n.Op() == nil || detail == DetailOps {
				continue
			}
			if layers[s.scope[n]] {
				if at := s.path(n); first[at] == nil {
					first[at] = n
				}
				s.of[n] = first[s.path(n)]
				continue
			}
			p := primitiveOf(n)
			if p == nil || p == detachOp || s.reader(n) != nil {
				continue
			}
			if x := s.made(n); x != nil {
				s.of[n] = x
				continue
			}
			if !p.Elementwise && !p.View {
				continue
			}
			var before *Node
			same := true
			for _, x := range operands(n) {
				if s.data[x] {
					same = same && (before == nil || before == s.of[x]) && x.Op() != nil && s.path(x) == s.path(n)
					before = s.of[x]
				}
			}
			if before != nil && same {
				s.of[n] = before
			}
		}
		stuck := s.cycle()
		if len(stuck) == 0 {
			return
		}
		for _, n := range stuck { // a layer that is applied in two places is no part
			delete(layers, s.scope[n])
		}
	}
}

// made is the reshape that is made for n, if that is all the data it reads, or nil.
func (s *survey) made(n *Node) *Node {
	var data []*Node
	for _, x := range operands(n) {
		if s.data[x] {
			data = append(data, x)
		}
	}
	if len(data) == 1 && s.reader(data[0]) == n && s.path(data[0]) == s.path(n) {
		return data[0]
	}
	return nil
}

// cycle lists the nodes of the parts that read each other in a circle.
func (s *survey) cycle() (stuck []*Node) {
	order := s.order()
	done := map[*Node]bool{}
	for _, n := range order {
		done[n] = true
	}
	for _, n := range s.nodes {
		if s.data[n] && !done[s.of[n]] {
			stuck = append(stuck, n)
		}
	}
	return stuck
}

// order lists the parts' first nodes, operands first, as far as there is such an order.
func (s *survey) order() (order []*Node) {
	waits := map[*Node]map[*Node]bool{}
	readers := map[*Node][]*Node{}
	var ready []*Node
	for _, n := range s.nodes {
		if !s.data[n] {
			continue
		}
		to := s.of[n]
		if waits[to] == nil {
			waits[to] = map[*Node]bool{}
		}
		for _, x := range operands(n) {
			if from := s.of[x]; s.data[x] && from != to && !waits[to][from] {
				waits[to][from] = true
				readers[from] = append(readers[from], to)
			}
		}
	}
	for n, w := range waits {
		if len(w) == 0 {
			ready = append(ready, n)
		}
	}
	for len(ready) > 0 {
		slices.SortFunc(ready, func(a, b *Node) int { return int(a.ID() - b.ID()) })
		n := ready[0]
		ready = ready[1:]
		order = append(order, n)
		for _, to := range readers[n] {
			if delete(waits[to], n); len(waits[to]) == 0 {
				ready = append(ready, to)
			}
		}
	}
	return order
}

func (s *survey) parts(outputs []*Node) (parts []Part) {
	index := map[*Node]int{}
	for i, n := range s.order() {
		index[n] = i
		parts = append(parts, Part{Path: s.path(n)})
	}
	for _, n := range s.nodes {
		if !s.data[n] {
			continue
		}
		at := index[s.of[n]]
		p := &parts[at]
		p.nodes = append(p.nodes, n)
		if n.Op() == nil {
			p.Name = n.Name()
		} else {
			p.Ops = append(p.Ops, OpName(n))
		}
		for _, q := range s.params[n] {
			if !slices.Contains(p.Params, q) {
				p.Params = append(p.Params, q)
			}
		}
		outside := slices.Contains(outputs, n)
		for _, u := range s.users[n] {
			outside = outside || s.data[u] && s.of[u] != s.of[n]
		}
		if outside {
			p.Out = append(p.Out, TypeOf(n))
		}
		for i, x := range operands(n) {
			if s.data[x] && s.of[x] != s.of[n] && !slices.Contains(operands(n)[:i], x) {
				e := Edge{index[s.of[x]], TypeOf(x), primitiveOf(n) == detachOp || primitiveOf(x) == detachOp}
				if !slices.ContainsFunc(p.Reads, func(f Edge) bool { return f.From == e.From && f.Type.Equal(e.Type) && f.Detached == e.Detached }) {
					p.Reads = append(p.Reads, e)
				}
			}
		}
	}
	rank := map[string]int{}
	for q := range s.g.Params.All() {
		rank[q.Name] = len(rank)
	}
	for i := range parts {
		p := &parts[i]
		slices.SortFunc(p.Params, func(a, b *Param) int { return rank[a.Name] - rank[b.Name] })
		if p.Name == "" {
			p.Name = p.Path
			if len(p.Params) == 0 || p.Path == "" {
				op := slices.IndexFunc(p.Ops, func(name string) bool { return name != "reshape" })
				p.Name = path.Join(p.Path, p.Ops[max(op, 0)])
			}
		}
	}
	return parts
}

// count adds up the operations of the program's instructions. What is folded counts for the first part that reads it.
func (s *survey) count(program *Program, parts []Part) {
	index := map[*Node]int{}
	for i, p := range parts {
		for _, n := range p.nodes {
			index[n] = i
		}
	}
	for _, n := range slices.Backward(s.nodes) {
		if s.data[n] {
			continue
		}
		for _, u := range s.users[n] {
			at, known := index[n]
			if i, ok := index[u]; ok && (!known || i < at) {
				index[n] = i
			}
		}
	}
	var add func(o *operation)
	add = func(o *operation) {
		if o.fused != nil {
			for _, m := range o.fused.members {
				add(m)
			}
			return
		}
		p := &parts[index[o.node]]
		f := o.flops()
		p.Flops += f
		if strings.HasPrefix(o.prim.Name, "matmul") || strings.HasPrefix(o.prim.Name, "conv2d") {
			p.MultiplyAdds += f / 2
		}
	}
	for _, in := range program.instructions {
		add(in.op)
	}
}
