package graph

import (
	"cmp"
	"math"
	"slices"
)

// Layout, after K. Sugiyama, S. Tagawa, M. Toda (1981): boxes stand in ranks, so that every arrow points down; arrows
// over several ranks pass through bends of no size; the order inside a rank follows the mean place of the neighbours, and
// so do the places, by isotonic regression that keeps order and distance. A frame is laid out by itself first and then is
// one box of the frame around it; what enters or leaves it passes through gates at its upper and lower edge.

const (
	charWidth  = 6.7 // of the drawing's text, generously
	lineHeight = 15
	boxPad     = 9
	framePad   = 14
	titleSpace = 20
	rankGap    = 36
	sideGap    = 22
	bendGap    = 12
)

type point struct{ x, y float64 }

// A route is an arrow, or a part of one inside one frame.
type route struct {
	from   int // the part whose result it carries
	to     []int
	points []point
	label  string
	head   bool // ends at a part
}

// A spot is what stands in a rank: a box, a gate or a bend.
type spot struct {
	box   *box
	gate  int // the part whose result passes, for gates and bends
	kind  spotKind
	rank  int
	order float64
	x, w  float64 // centre and width
	y     float64 // upper edge
	up    []link
	down  []link
}

type spotKind int

const (
	isBox spotKind = iota
	isEntry
	isExit
	isBend
)

type link struct {
	to       *spot
	from, at float64 // where it leaves and ends, from the centres
	carries  int
}

func textWidth(s string) float64 { return charWidth * float64(len([]rune(s))) }

func (d *Drawing) layout() {
	for !d.frame(d.root) {
	}
	d.root.settle(0, 0)
}

// settle makes places absolute.
func (b *box) settle(x, y float64) {
	b.x, b.y = b.x+x, b.y+y
	for i := range b.routes {
		for j := range b.routes[i].points {
			b.routes[i].points[j].x += b.x
			b.routes[i].points[j].y += b.y
		}
	}
	for _, k := range b.kids {
		k.settle(b.x, b.y)
	}
}

// frame lays out b. If a frame inside it cannot stand in ranks, because what leaves it comes back, the frame is dissolved
// and the answer is false.
func (d *Drawing) frame(b *box) bool {
	if b.part >= 0 {
		b.w = textWidth(b.title)
		for _, l := range b.lines {
			b.w = max(b.w, textWidth(l))
		}
		b.w = max(b.w+2*boxPad, 40)
		b.h = float64(1+len(b.lines))*lineHeight + boxPad
		return true
	}
	for _, k := range b.kids {
		for !d.frame(k) {
		}
	}
	spots := d.spots(b)
	if stuck := rank(spots); len(stuck) > 0 {
		for _, s := range stuck {
			if s.kind == isBox && s.box.part < 0 {
				i := slices.Index(b.kids, s.box)
				for _, k := range s.box.kids {
					k.parent = b
				}
				b.kids = slices.Replace(b.kids, i, i+1, s.box.kids...)
				return false
			}
		}
	}
	ranks := bends(spots)
	arrange(ranks)
	d.place(b, ranks)
	return true
}

// spots makes the boxes and gates of a frame, linked by what flows.
func (d *Drawing) spots(b *box) []*spot {
	var spots []*spot
	of := map[int]*spot{} // by part
	for _, k := range b.kids {
		s := &spot{box: k, w: k.w, gate: -1}
		spots = append(spots, s)
		for _, i := range k.inside() {
			of[i] = s
		}
	}
	entries, exits := map[int]*spot{}, map[int]*spot{}
	gate := func(gates map[int]*spot, part int, kind spotKind) *spot {
		if gates[part] == nil {
			gates[part] = &spot{gate: part, kind: kind}
			spots = append(spots, gates[part])
		}
		return gates[part]
	}
	join := func(from, to *spot, part int) {
		if from == to || slices.ContainsFunc(from.down, func(l link) bool { return l.to == to && l.carries == part }) {
			return
		}
		leave, enter := 0.0, 0.0
		if from.kind == isBox && from.box.part < 0 {
			leave = from.box.out[part] - from.box.w/2
		}
		if to.kind == isBox && to.box.part < 0 {
			enter = to.box.in[part] - to.box.w/2
		}
		from.down = append(from.down, link{to, leave, enter, part})
		to.up = append(to.up, link{from, enter, leave, part})
	}
	for i, p := range d.parts {
		for _, e := range p.Reads {
			from, to := of[e.From], of[i]
			switch {
			case from != nil && to != nil:
				join(from, to, e.From)
			case from != nil:
				join(from, gate(exits, e.From, isExit), e.From)
			case to != nil:
				join(gate(entries, e.From, isEntry), to, e.From)
			}
		}
	}
	return spots
}

// rank gives each spot the length of the longest way to it, sources a place just above what they are for, and the exits
// the last rank. It returns the spots in circles.
func rank(spots []*spot) (stuck []*spot) {
	waits := map[*spot]int{}
	var ready []*spot
	for _, s := range spots {
		if waits[s] = len(s.up); len(s.up) == 0 {
			ready = append(ready, s)
		}
	}
	first := 0
	if slices.ContainsFunc(spots, func(s *spot) bool { return s.kind == isEntry }) {
		first = 1
	}
	last := 0
	done := 0
	for ; done < len(ready); done++ {
		s := ready[done]
		if s.kind != isEntry {
			s.rank = max(s.rank, first)
		}
		last = max(last, s.rank)
		for _, l := range s.down {
			l.to.rank = max(l.to.rank, s.rank+1)
			if waits[l.to]--; waits[l.to] == 0 {
				ready = append(ready, l.to)
			}
		}
	}
	for _, s := range spots {
		if waits[s] > 0 {
			stuck = append(stuck, s)
		}
	}
	exit := 0
	for _, s := range spots {
		if s.kind != isExit {
			exit = max(exit, s.rank+1)
		}
	}
	for _, s := range spots {
		if s.kind == isExit {
			s.rank = exit
		}
	}
	for _, s := range slices.Backward(ready) {
		if s.kind == isBox && len(s.up) == 0 && len(s.down) > 0 {
			s.rank = math.MaxInt
			for _, l := range s.down {
				s.rank = min(s.rank, l.to.rank-1)
			}
		}
	}
	return stuck
}

// bends puts bends where an arrow passes ranks; arrows of one result share them.
func bends(spots []*spot) (ranks [][]*spot) {
	shared := map[[3]int]*spot{}
	index := map[*spot]int{}
	for i, s := range spots {
		index[s] = i
	}
	for _, s := range spots[:len(spots):len(spots)] {
		down := s.down
		s.down = nil
		for _, l := range down {
			last, leave := s, l.from
			for r := s.rank + 1; r < l.to.rank; r++ {
				key := [3]int{index[s], l.carries, r}
				b := shared[key]
				if b == nil {
					b = &spot{gate: l.carries, kind: isBend, rank: r}
					shared[key] = b
					spots = append(spots, b)
					last.down = append(last.down, link{b, leave, 0, l.carries})
					b.up = append(b.up, link{last, 0, leave, l.carries})
				}
				last, leave = b, 0
			}
			last.down = append(last.down, link{l.to, leave, l.at, l.carries})
			for i, u := range l.to.up {
				if u.to == s && u.carries == l.carries {
					l.to.up[i] = link{last, l.at, leave, l.carries}
				}
			}
		}
	}
	for _, s := range spots {
		for len(ranks) <= s.rank {
			ranks = append(ranks, nil)
		}
		ranks[s.rank] = append(ranks[s.rank], s)
	}
	for _, r := range ranks {
		for i, s := range r {
			s.order = float64(i)
		}
	}
	return ranks
}

// arrange orders the ranks and gives the spots their x.
func arrange(ranks [][]*spot) {
	best, fewest := [][]*spot(nil), math.MaxInt
	for sweep := range 16 {
		for i := range ranks {
			r, links := ranks[i], func(s *spot) []link { return s.up }
			if sweep%2 == 1 {
				r, links = ranks[len(ranks)-1-i], func(s *spot) []link { return s.down }
			}
			mean := map[*spot]float64{}
			for _, s := range r {
				mean[s] = s.order
				if l := links(s); len(l) > 0 {
					sum := 0.0
					for _, l := range l {
						sum += l.to.order + (l.at / max(l.to.w, 1)) // where in a wide box
					}
					mean[s] = sum / float64(len(l))
				}
			}
			slices.SortStableFunc(r, func(a, b *spot) int { return cmp.Compare(mean[a], mean[b]) })
			for i, s := range r {
				s.order = float64(i)
			}
		}
		if n := crossings(ranks); n < fewest {
			fewest, best = n, nil
			for _, r := range ranks {
				best = append(best, slices.Clone(r))
			}
		}
	}
	copy(ranks, best)
	for _, r := range ranks {
		x := 0.0
		for i, s := range r {
			s.order = float64(i)
			s.x = x + s.w/2
			x += s.w + sideGap
		}
	}
	for sweep := range 24 {
		for i := range ranks {
			r, both := ranks[i], sweep >= 16
			if sweep%2 == 1 {
				r = ranks[len(ranks)-1-i]
			}
			want, weight := make([]float64, len(r)), make([]float64, len(r))
			for j, s := range r {
				links := s.up
				if sweep%2 == 1 {
					links = s.down
				}
				if both {
					links = slices.Concat(s.up, s.down)
				}
				want[j], weight[j] = s.x, 0.1
				if len(links) > 0 {
					sum, total := 0.0, 0.0
					for _, l := range links {
						w := 1.0
						if s.kind == isBend && l.to.kind == isBend {
							w = 4 // long arrows run straight
						}
						sum += w * (l.to.x + l.at - l.from)
						total += w
					}
					want[j], weight[j] = sum/total, total
				}
			}
			isotonic(r, want, weight)
		}
	}
}

func crossings(ranks [][]*spot) (n int) {
	for _, r := range ranks {
		type pair struct{ a, b float64 }
		var pairs []pair
		for _, s := range r {
			for _, l := range s.down {
				pairs = append(pairs, pair{s.order + l.from/max(s.w, 1), l.to.order + l.at/max(l.to.w, 1)})
			}
		}
		for i, p := range pairs {
			for _, q := range pairs[:i] {
				if (p.a-q.a)*(p.b-q.b) < 0 {
					n++
				}
			}
		}
	}
	return n
}

// isotonic moves a rank's spots as near as possible, in weighted squares, to where they want to be, keeping order and
// distance: pool adjacent violators.
func isotonic(r []*spot, want, weight []float64) {
	type pool struct{ sum, weight, n float64 }
	var pools []pool
	shift := make([]float64, len(r))
	for i, s := range r {
		if i > 0 {
			gap := sideGap + 0.0
			if s.kind == isBend && r[i-1].kind == isBend {
				gap = bendGap
			}
			shift[i] = shift[i-1] + (r[i-1].w+s.w)/2 + gap
		}
		pools = append(pools, pool{(want[i] - shift[i]) * weight[i], weight[i], 1})
		for len(pools) > 1 {
			p, q := pools[len(pools)-2], pools[len(pools)-1]
			if p.sum/p.weight <= q.sum/q.weight {
				break
			}
			pools = append(pools[:len(pools)-2], pool{p.sum + q.sum, p.weight + q.weight, p.n + q.n})
		}
	}
	i := 0
	for _, p := range pools {
		for range int(p.n) {
			r[i].x = p.sum/p.weight + shift[i]
			i++
		}
	}
}

// place gives the boxes of a frame their places in it, and the frame its size, gates and routes.
func (d *Drawing) place(b *box, ranks [][]*spot) {
	left, right := math.Inf(1), math.Inf(-1)
	for _, r := range ranks {
		for _, s := range r {
			left, right = min(left, s.x-s.w/2), max(right, s.x+s.w/2)
			for _, l := range s.down { // room for the label
				if s.kind == isBox && s.box.part >= 0 {
					right = max(right, s.x+l.from+5+textWidth(d.flow(l.carries))*0.85)
				}
			}
		}
	}
	b.w = max(right-left, textWidth(b.title)) + 2*framePad
	off := (b.w-(right-left))/2 - left
	y := 0.0
	if b.parent != nil {
		y = titleSpace
	} else {
		y = framePad
	}
	heights := make([]float64, len(ranks))
	for i, r := range ranks {
		for _, s := range r {
			s.x += off
			s.y = y
			if s.kind == isBox {
				heights[i] = max(heights[i], s.box.h)
			}
		}
		gates := len(r) > 0 && !slices.ContainsFunc(r, func(s *spot) bool { return s.kind != isEntry })
		switch {
		case gates:
			for _, s := range r {
				s.y = 0
			}
		case i+1 < len(ranks) && slices.ContainsFunc(ranks[i+1], func(s *spot) bool { return s.kind == isExit }):
			y += heights[i] + framePad + 4
		case i+1 < len(ranks):
			y += heights[i] + rankGap
		default:
			y += heights[i]
		}
	}
	b.h = y
	if !slices.ContainsFunc(ranks[len(ranks)-1], func(s *spot) bool { return s.kind == isExit }) {
		b.h += framePad
	}
	b.in, b.out = map[int]float64{}, map[int]float64{}
	for i, r := range ranks {
		for _, s := range r {
			switch s.kind {
			case isBox:
				s.y += (heights[i] - s.box.h) / 2
				s.box.x, s.box.y = s.x-s.box.w/2, s.y
			case isEntry:
				b.in[s.gate] = s.x
			case isExit:
				s.y = b.h
				b.out[s.gate] = s.x
			}
		}
	}
	b.routes = nil
	for _, r := range ranks {
		for _, s := range r {
			if s.kind == isBend {
				continue
			}
			labelled := false
			for _, l := range s.down {
				d.follow(b, s, l, nil, heights, s.kind != isBox || s.box.part < 0 || labelled)
				labelled = true
			}
		}
	}
}

// flow says what a part's result is, as those read it that are given.
func (d *Drawing) flow(from int, to ...int) string {
	for _, i := range to {
		for _, e := range d.parts[i].Reads {
			if e.From == from {
				return shapeText(e.Type)
			}
		}
	}
	return shapeText(d.parts[from].Out[0])
}

// follow makes routes of a link and of all it leads to through bends.
func (d *Drawing) follow(b *box, s *spot, l link, before []point, heights []float64, bare bool) {
	points := slices.Clone(before)
	if len(points) == 0 {
		y := s.y
		if s.kind == isBox {
			y += s.box.h
		}
		points = append(points, point{s.x + l.from, y})
	}
	to := l.to
	if to.kind == isBend { // straight through the rank
		points = append(points, point{to.x, to.y}, point{to.x, to.y + heights[to.rank]})
		for i, next := range to.down {
			d.follow(b, to, next, points, heights, bare || i > 0)
		}
		return
	}
	y := to.y
	points = append(points, point{to.x + l.at, y})
	r := route{from: l.carries, points: points, head: to.kind == isBox && to.box.part >= 0}
	if to.kind == isBox {
		for _, i := range to.box.inside() {
			if slices.ContainsFunc(d.parts[i].Reads, func(e Edge) bool { return e.From == l.carries }) {
				r.to = append(r.to, i)
			}
		}
	}
	if !bare {
		r.label = d.flow(l.carries, r.to...)
	}
	b.routes = append(b.routes, r)
}
