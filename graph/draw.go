package graph

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Drawings. A drawing has a box for each part of the graph (Parts), boxes around blocks and layers, and arrows with the
// shape of what flows. Constants and computations of parameters alone are folded away; a part names the parameters it
// reads.

// DrawOptions says what a drawing shows.
type DrawOptions struct {
	Detail Detail
	Cut    []*Piece // drawn as boxes with a dashed line where Graph.Cut parts them; nil for none
}

// A Drawing is the picture of a graph.
type Drawing struct {
	parts []Part
	root  *box
	cut   map[[2]int]bool // edges, from and to, that a cut crosses
}

// PrimitiveOf is the primitive of a node, nil for a leaf or an op of Gorgonia's. It must not be changed.
func PrimitiveOf(n *Node) *Primitive { return primitiveOf(n) }

// Draw makes the drawing of what the outputs are computed from.
func (g *Graph) Draw(o DrawOptions, outputs ...*Node) (*Drawing, error) {
	parts, err := g.Parts(o.Detail, outputs...)
	if err != nil {
		return nil, err
	}
	d := &Drawing{parts: parts, root: &box{part: -1}, cut: map[[2]int]bool{}}
	piece := map[*Node]int{}
	for i, p := range o.Cut {
		for _, n := range p.nodes {
			piece[n] = i + 1
		}
	}
	read := map[int]bool{}
	for _, p := range parts {
		for _, e := range p.Reads {
			read[e.From] = true
		}
	}
	at := make([]int, len(parts)) // the piece of each part, from 1
	for i, p := range parts {
		at[i] = piece[p.nodes[0]]
		place := d.root
		way := strings.FieldsFunc(p.Path, func(c rune) bool { return c == '/' })
		if at[i] > 0 {
			name := o.Cut[at[i]-1].Name
			place = place.kid(name, at[i])
			if len(way) > 0 && way[0] == name {
				way = way[1:]
			}
		}
		for _, name := range way {
			place = place.kid(name, 0)
		}
		lines := describePart(p)
		if !read[i] {
			lines = append(lines, "→ "+shapeText(p.Out[0]))
		}
		place.add(&box{title: path.Base(p.Name), lines: lines, part: i})
		for _, e := range p.Reads {
			if at[i] > 0 && at[e.From] != at[i] && at[e.From] > 0 {
				d.cut[[2]int{e.From, i}] = true
			}
		}
	}
	d.root.simplify()
	d.layout()
	return d, nil
}

// describePart is what a box says below its title: ops and parameters.
func describePart(p Part) (lines []string) {
	const most = 4
	ops := p.Ops
	if len(ops) > most {
		ops = append(slices.Clone(ops[:most-1]), fmt.Sprintf("… %d ops", len(p.Ops)))
	}
	if len(ops) > 1 || len(ops) == 1 && ops[0] != path.Base(p.Name) {
		lines = append(lines, strings.Join(ops, ", "))
	}
	const wide = 30
	of, text := "", ""
	for i, q := range p.Params {
		name, shape := path.Base(q.Name), shapeText(q.Value.Type)
		if shape == of && len(text)+len(name) < wide {
			text = strings.TrimSuffix(text, " "+shape) + ", " + name + " " + shape
			lines[len(lines)-1] = text
			continue
		}
		if i >= 2*most {
			return append(lines, fmt.Sprintf("… %d tensors", len(p.Params)))
		}
		of, text = shape, name+" "+shape
		lines = append(lines, text)
	}
	return lines
}

// shapeText is a type as in "32×784", with the element type where it is not float32.
func shapeText(t Type) string {
	var s []string
	for _, d := range t.Shape {
		s = append(s, strconv.Itoa(d))
	}
	text := strings.Join(s, "×")
	if text == "" {
		text = "scalar"
	}
	if t.DType != Float32 {
		text = t.DType.String() + " " + text
	}
	return text
}

// A box is a part, or a frame around boxes.
type box struct {
	title  string
	lines  []string
	part   int // -1 for a frame
	piece  int // number of the piece it frames, 0 for none
	kids   []*box
	parent *box

	x, y, w, h float64 // in the parent, then in the drawing
	in, out    map[int]float64
	routes     []route
}

// kid is the frame called name inside b.
func (b *box) kid(name string, piece int) *box {
	for _, k := range b.kids {
		if k.part < 0 && k.title == name && k.piece == piece {
			return k
		}
	}
	k := &box{title: name, part: -1, piece: piece}
	b.add(k)
	return k
}

func (b *box) add(k *box) {
	k.parent = b
	b.kids = append(b.kids, k)
}

// simplify takes away frames around a single part that is called as they are.
func (b *box) simplify() {
	for i, k := range b.kids {
		k.simplify()
		if k.part < 0 && k.piece == 0 && len(k.kids) == 1 && k.kids[0].part >= 0 && k.kids[0].title == k.title {
			b.kids[i] = k.kids[0]
			b.kids[i].parent = b
		}
	}
}

// inside lists the parts in b.
func (b *box) inside() (list []int) {
	if b.part >= 0 {
		return []int{b.part}
	}
	for _, k := range b.kids {
		list = append(list, k.inside()...)
	}
	return list
}

// DOT is the drawing in Graphviz's language.
func (d *Drawing) DOT() string {
	var s strings.Builder
	s.WriteString("digraph {\n\tnode [shape=box, style=rounded, fontname=sans, fontsize=11]\n\tedge [fontname=sans, fontsize=9]\n")
	frames := 0
	var write func(b *box, indent string)
	write = func(b *box, indent string) {
		if b.part >= 0 {
			label := strings.Join(append([]string{b.title}, b.lines...), "\n")
			fmt.Fprintf(&s, "%sn%d [label=%s]\n", indent, b.part, strconv.Quote(label))
			return
		}
		if b.parent != nil {
			frames++
			style := "rounded"
			if b.piece > 0 {
				style = "rounded,bold"
			}
			fmt.Fprintf(&s, "%ssubgraph cluster%d {\n%s\tlabel=%s style=%q\n", indent, frames, indent, strconv.Quote(b.title), style)
		}
		for _, k := range b.kids {
			write(k, indent+"\t")
		}
		if b.parent != nil {
			fmt.Fprintf(&s, "%s}\n", indent)
		}
	}
	write(d.root, "")
	for i, p := range d.parts {
		for _, e := range p.Reads {
			style := ""
			if e.Detached || d.cut[[2]int{e.From, i}] {
				style = ", style=dashed"
			}
			fmt.Fprintf(&s, "\tn%d -> n%d [label=%s%s]\n", e.From, i, strconv.Quote(shapeText(e.Type)), style)
		}
	}
	s.WriteString("}\n")
	return s.String()
}
