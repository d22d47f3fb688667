package graph

import (
	"slices"
)

// Fusion. A group is a set of elementwise operations, and of sums and maxima along rows, that run as one instruction:
// piece by piece of memory that fits a core's first cache. All its values have the same number of elements, or, behind
// a reduction, one for each row; the same element of each belongs together.
//
// Groups grow in the order of the operations: one joins the group of an operand where that makes no circle. A stage
// tells circles: an operation outside a group that reads it has a higher stage than the group, so what needs something
// of the group's own stage or above from elsewhere must not join it.

type group struct {
	stage   int
	closed  bool // a product or the like reads it: what comes later belongs to a later group
	dtype   DType
	size    int   // elements
	cuts    []int // places where some operand's way through memory bends: each divides the next, the last is size
	rows    *rowSplit
	members []*operation
	parent  *group // the one it was merged into
}

// mostMembers keeps groups, and the time to form them, small.
const mostMembers = 64

// A rowSplit is the space of a group with reductions: element (a, c, b) of [outer, kept, inner] is in row c.
type rowSplit struct{ outer, kept, inner int }

func (g *group) find() *group {
	for g.parent != nil {
		g = g.parent
	}
	return g
}

// A bend is one axis of an operand's way through the elements of a result: size steps of stride elements.
type bend struct{ size, stride int }

// pattern is the way of an operand of the given shape through a result of another, innermost axis first; neighbouring
// axes that continue each other are one.
func pattern(shape, result []int) []bend {
	var p []bend
	step := 1
	for i := len(result) - 1; i >= 0; i-- {
		d, stride := 1, 0
		if j := i - len(result) + len(shape); j >= 0 {
			d = shape[j]
		}
		if d != 1 {
			stride = step
		}
		step *= d
		if result[i] == 1 {
			continue
		}
		if last := len(p) - 1; last >= 0 && stride == p[last].stride*p[last].size {
			p[last].size *= result[i]
			continue
		}
		p = append(p, bend{result[i], stride})
	}
	if len(p) == 0 {
		p = []bend{{1, 1}}
	}
	return p
}

// cutsOf are the element counts at which the pattern bends.
func cutsOf(p []bend) []int {
	n := 1
	var cuts []int
	for _, b := range p {
		n *= b.size
		cuts = append(cuts, n)
	}
	return cuts
}

// joinCuts is the union of two lists, if each count divides the next.
func joinCuts(a, b []int) ([]int, bool) {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	all = slices.Compact(all)
	for i := 1; i < len(all); i++ {
		if all[i]%all[i-1] != 0 {
			return nil, false
		}
	}
	return all, true
}

// splitRows is the space of a reduction over axes of a shape, if its rows are contiguous or made of contiguous pieces.
func splitRows(shape, axes []int) (rowSplit, bool) {
	r := rowSplit{1, 1, 1}
	part := 0 // inner, kept, outer
	for i := len(shape) - 1; i >= 0; i-- {
		reduced := slices.Contains(axes, i)
		if shape[i] == 1 {
			continue
		}
		if (part == 1) == reduced {
			part++
		}
		switch part {
		case 0:
			r.inner *= shape[i]
		case 1:
			r.kept *= shape[i]
		case 2:
			r.outer *= shape[i]
		default:
			return r, false
		}
	}
	return r, r.inner > 1
}

// bearable says that reducing by rows leaves enough to do side by side.
func (r rowSplit) bearable() bool {
	size := r.outer * r.kept * r.inner
	return size <= 1<<14 || r.kept >= 16
}

// fuse makes groups and puts one operation in the place of each.
func (c *compiler) fuse(roots []operand) {
	var groups []*group
	for _, o := range c.ops {
		if g := c.join(o); g != nil && len(g.members) == 1 && g.members[0] == o {
			groups = append(groups, g)
		}
	}
	groups = slices.DeleteFunc(groups, func(g *group) bool { return g.parent != nil })
	for _, g := range groups {
		slices.SortFunc(g.members, func(a, b *operation) int { return a.id - b.id })
	}
	f := newFusion(c, groups, roots)
	if c.on.recompute {
		f.recompute()
	}
	f.replace()
}

// join puts o into a group, an old one or one of its own, or closes the groups it reads if it is of another kind.
func (c *compiler) join(o *operation) *group {
	var candidates []*group
	need := 0
	o.before(func(x *operation) {
		if x.group != nil {
			if g := x.group.find(); !g.closed && !slices.Contains(candidates, g) {
				candidates = append(candidates, g)
				return
			} else if !g.closed {
				return
			}
		}
		need = max(need, x.stageOf()+1)
	})
	g := newGroup(o)
	if g == nil {
		for _, d := range candidates {
			d.closed = true
			need = max(need, d.stage+1)
		}
		o.stage = need
		return nil
	}
	slices.SortFunc(candidates, func(a, b *group) int { return b.stage - a.stage })
	if len(candidates) > 0 && candidates[0].stage >= need {
		stage := candidates[0].stage
		into := candidates[0].copy()
		same := 0
		for same < len(candidates) && candidates[same].stage == stage {
			same++
		}
		ok := true
		for _, d := range candidates[1:same] {
			ok = ok && into.merge(d)
		}
		if ok && into.add(o) {
			for _, d := range candidates[1:same] {
				d.parent = candidates[0]
			}
			*candidates[0] = *into
			o.group = candidates[0]
			return candidates[0]
		}
	}
	for _, d := range candidates {
		need = max(need, d.stage+1)
	}
	g.stage = need
	o.group = g
	return g
}

func (o *operation) stageOf() int {
	if o.group != nil {
		return o.group.find().stage
	}
	return o.stage
}

func (g *group) copy() *group {
	c := *g
	c.members = slices.Clone(g.members)
	return &c
}

// newGroup is a group of o alone, or nil if o is not of the kind that fuses.
func newGroup(o *operation) *group {
	v := o.out[0]
	if o.prim == assignOp || !v.t.IsFloat() || v.t.Size() == 0 || len(o.in) == 0 {
		return nil
	}
	g := &group{dtype: v.t.DType, size: v.t.Size()}
	if r, ok := o.prim.form.(reduceForm); ok {
		s := o.in[0].shape
		g.size = sizeOf(s)
		if split, ok := splitRows(s, r.axes); !ok || !split.bearable() {
			return nil
		}
	} else if !elementwise(o.prim) {
		return nil
	}
	g.cuts = []int{g.size}
	if !g.add(o) {
		return nil
	}
	return g
}

// merge takes the members of another group into g, or reports that they do not fit.
func (g *group) merge(d *group) bool {
	if d.dtype != g.dtype || d.size != g.size || len(g.members)+len(d.members) > mostMembers || g.rows != nil && d.rows != nil && *g.rows != *d.rows {
		return false
	}
	cuts, ok := joinCuts(g.cuts, d.cuts)
	if !ok {
		return false
	}
	if g.rows == nil {
		g.rows = d.rows
	}
	g.cuts = cuts
	g.members = append(g.members, d.members...)
	return g.consistent()
}

// add takes o into the group, or reports that it does not fit.
func (g *group) add(o *operation) bool {
	v := o.out[0]
	if v.t.DType != g.dtype || len(g.members) == mostMembers {
		return false
	}
	if r, ok := o.prim.form.(reduceForm); ok {
		x := o.in[0]
		split, ok := splitRows(x.shape, r.axes)
		if !ok || !split.bearable() || x.v.t.Size() != g.size || g.rows != nil && *g.rows != split {
			return false
		}
		g.rows = &split
	}
	kept := g.rows != nil && g.rows.kept < g.size && v.t.Size() == g.rows.kept
	if !kept && v.t.Size() != g.size {
		return false
	}
	for _, x := range o.in {
		if x.v.t.DType != g.dtype {
			return false
		}
		if _, reduces := o.prim.form.(reduceForm); reduces {
			continue
		}
		p := pattern(x.shape, v.t.Shape)
		if kept {
			// One number a row, or one for all.
			if len(p) != 1 || p[0].stride > 1 || g.has(x.v) && x.v.t.Size() != g.rows.kept {
				return false
			}
			continue
		}
		if g.has(x.v) && x.v.t.Size() != g.size && !g.rows.is(p) {
			return false
		}
		if p[0].stride > 1 {
			return false
		}
		cuts, ok := joinCuts(g.cuts, cutsOf(p))
		if !ok {
			return false
		}
		g.cuts = cuts
	}
	g.members = append(g.members, o)
	return g.consistent()
}

// has says that v is computed in the group.
func (g *group) has(v *value) bool {
	return v.op != nil && slices.Contains(g.members, v.op)
}

// is says whether a pattern is that of one number a row.
func (r *rowSplit) is(p []bend) bool {
	if r == nil {
		return false
	}
	var want []bend
	for _, b := range []bend{{r.inner, 0}, {r.kept, 1}, {r.outer, 0}} {
		if b.size > 1 {
			want = append(want, b)
		}
	}
	return slices.Equal(p, want)
}

// consistent checks the cuts against the rows: within a row's inner part an operand must not bend.
func (g *group) consistent() bool {
	if g.rows == nil {
		return true
	}
	cuts, ok := joinCuts(g.cuts, []int{g.rows.inner, g.rows.inner * g.rows.kept})
	if !ok || cuts[0] != g.rows.inner {
		return false
	}
	g.cuts = cuts
	return true
}

// A fusion turns groups into operations.
type fusion struct {
	c      *compiler
	groups []*group
	users  map[*value][]*operation
	fixed  map[*value]bool // outputs, and what others wait for
	clones map[*group]map[*operation]*operation
}

func newFusion(c *compiler, groups []*group, roots []operand) *fusion {
	f := &fusion{c, groups, map[*value][]*operation{}, map[*value]bool{}, map[*group]map[*operation]*operation{}}
	for _, r := range roots {
		f.fixed[r.v] = true
	}
	for _, o := range c.ops {
		if o.group != nil {
			o.group = o.group.find()
		}
		for _, x := range o.in {
			f.users[x.v] = append(f.users[x.v], o)
			if x.after != nil {
				f.fixed[x.after] = true
			}
		}
	}
	return f
}

// stored says that a value of a group must be written to memory whatever the other groups do.
func (f *fusion) stored(v *value) bool {
	return f.fixed[v] || slices.ContainsFunc(f.users[v], func(u *operation) bool { return u.group == nil })
}

// recompute gives groups their own copies of cheap members of other groups, so that these need not be stored. The last
// groups come first: what they then read of the others may be copied as well.
func (f *fusion) recompute() {
	order := slices.Clone(f.groups)
	slices.SortStableFunc(order, func(a, b *group) int { return b.stage - a.stage })
	for _, g := range order {
		for _, m := range slices.Backward(slices.Clone(g.members)) {
			v := m.out[0]
			if v.t.Size() != g.size || f.stored(v) {
				continue
			}
			var into []*group
			for _, u := range f.users[v] {
				if u.group != g && !slices.Contains(into, u.group) {
					into = append(into, u.group)
				}
			}
			var parts []*operation
			ok := len(into) > 0 && f.collect(g, m, &parts)
			grown := make([]*group, len(into))
			for i, h := range into {
				ok = ok && f.worthwhile(g, h, parts)
				if ok {
					grown[i], ok = f.grow(h, parts)
				}
			}
			if !ok {
				continue
			}
			for i, h := range into {
				f.copy(h, grown[i], m, parts)
			}
		}
	}
}

const mostRecomputed = 12

// collect lists m and the members that it depends on but for those that are stored or hold one number a row.
func (f *fusion) collect(g *group, m *operation, parts *[]*operation) bool {
	if slices.Contains(*parts, m) {
		return true
	}
	if len(*parts) == mostRecomputed {
		return false
	}
	if _, reduces := m.prim.form.(reduceForm); reduces {
		return false
	}
	for _, x := range m.in {
		if g.has(x.v) && x.v.t.Size() == g.size && !f.stored(x.v) && !f.collect(g, x.v.op, parts) {
			return false
		}
	}
	*parts = append(*parts, m)
	return true
}

// worthwhile says that h, to compute the parts of g for itself, has to read at most one value that it does not read
// anyway.
func (f *fusion) worthwhile(g, h *group, parts []*operation) bool {
	var more []*value
	for _, p := range parts {
		for _, x := range p.in {
			if x.v.t.Size() < g.size || slices.Contains(parts, x.v.op) || slices.Contains(more, x.v) {
				continue
			}
			if !slices.ContainsFunc(f.users[x.v], func(u *operation) bool { return u.group == h }) {
				more = append(more, x.v)
			}
		}
	}
	return len(more) <= 1
}

// grow is h with copies of the parts, if they fit.
func (f *fusion) grow(h *group, parts []*operation) (*group, bool) {
	grown := h.copy()
	for _, p := range parts {
		if f.clones[h][p] == nil && !grown.add(p) {
			return nil, false
		}
	}
	grown.members = h.members
	return grown, true
}

// copy puts copies of the parts into h, whose members then read the copy of m.
func (f *fusion) copy(h, grown *group, m *operation, parts []*operation) {
	*h = *grown
	known := f.clones[h]
	if known == nil {
		known = map[*operation]*operation{}
		f.clones[h] = known
	}
	for _, p := range parts {
		if known[p] != nil {
			continue
		}
		o := &operation{id: p.id, prim: p.prim, node: p.node, in: slices.Clone(p.in), group: h, reverse: p.reverse}
		v := *p.out[0]
		v.op = o
		o.out = []*value{&v}
		for i, x := range o.in {
			if x.v.op != nil && known[x.v.op] != nil {
				o.in[i].v = known[x.v.op].out[0]
			}
			f.users[o.in[i].v] = append(f.users[o.in[i].v], o)
		}
		known[p] = o
		h.members = append(h.members, o)
	}
	slices.SortStableFunc(h.members, func(a, b *operation) int { return a.id - b.id })
	v, own := m.out[0], known[m].out[0]
	var others []*operation
	for _, u := range f.users[v] {
		if u.group != h {
			others = append(others, u)
			continue
		}
		for i := range u.in {
			if u.in[i].v == v {
				u.in[i].v = own
			}
		}
		f.users[own] = append(f.users[own], u)
	}
	f.users[v] = others
}

// replace puts one operation in the place of each group of at least two.
func (f *fusion) replace() {
	ops := slices.DeleteFunc(f.c.ops, func(o *operation) bool { return o.group != nil })
	dead := map[*operation]bool{}
	for _, g := range slices.Backward(f.byStage()) {
		var out []*value
		var members []*operation
		need := map[*value]bool{}
		for _, m := range slices.Backward(g.members) {
			v := m.out[0]
			outside := f.fixed[v] || slices.ContainsFunc(f.users[v], func(u *operation) bool { return u.group != g && !dead[u] })
			if outside {
				out = append(out, v)
			} else if !need[v] {
				dead[m] = true
				continue
			}
			members = append(members, m)
			for _, x := range m.in {
				need[x.v] = true
			}
		}
		slices.Reverse(members)
		slices.Reverse(out)
		switch len(members) {
		case 0:
		case 1:
			members[0].group = nil
			ops = append(ops, members[0])
		default:
			ops = append(ops, newRows(g, members, out))
		}
	}
	f.c.ops = ops
}

func (f *fusion) byStage() []*group {
	order := slices.Clone(f.groups)
	slices.SortStableFunc(order, func(a, b *group) int { return a.stage - b.stage })
	return order
}
