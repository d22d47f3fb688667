package graph

import (
	"math"
	"slices"
	"unsafe"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Poolings of float32 by vector kernels: first the rows of a window become one, then its columns. For that a row is
// split into as many parts as the horizontal stride: then what one column of all windows reads lies side by side.

// A rowPool pools planes row by row.
type rowPool struct {
	poolAttrs
	wy, wx        []window
	part          int   // elements of one part of a split row
	tap           []int // where in a split row what column k of the windows reads begins
	even          bool  // the windows of a row have one count
	max, add, div func(out, a, b []float32, sa, sb int)
}

// newRowPool is nil where the kernels of single elements do better.
func newRowPool(a poolAttrs) *rowPool {
	p := &rowPool{poolAttrs: a, wy: a.windows(0), wx: a.windows(1),
		max: kernel.Binary32("maximum"), add: kernel.Binary32("add"), div: kernel.Binary32("div")}
	if p.max == nil || a.Grid[0] > 0 || len(p.wx) < 4 {
		return nil
	}
	stride := a.Stride[1]
	p.part = len(p.wx) + (a.Kernel[1]-1)*a.Dilation[1]/stride
	p.even = !slices.ContainsFunc(p.wx, func(h window) bool { return h.count != p.wx[0].count })
	for k := range a.Kernel[1] {
		at := k * a.Dilation[1]
		p.tap = append(p.tap, at%stride*p.part+at/stride)
	}
	return p
}

// most32 is how many float32 numbers may be added in float32.
const most32 = 64

// maxPlanes, avgPlanes, spreadPlanes, pickPlanes and putPlanes are the fastest functions for float32.
func (a poolAttrs) maxPlanes() planeFunc[float32] {
	if a.quarters() {
		return maxQuarters[float32]
	}
	if p := newRowPool(a); p != nil {
		return p.maxPlane
	}
	return maxWide
}

func (a poolAttrs) avgPlanes() planeFunc[float32] {
	if p := newRowPool(a); p != nil && a.area() <= most32 {
		return p.avgPlane
	}
	return avgWide
}

func (a poolAttrs) spreadPlanes() planeFunc[float32] {
	if p := newRowPool(a); p != nil {
		return p.spreadPlane
	}
	return spreadPlane[float32]
}

func (a poolAttrs) pickPlanes() planeFunc[float32] {
	if p := newRowPool(a); p != nil {
		return p.pickPlane
	}
	return pickPlane[float32]
}

func (a poolAttrs) putPlanes() planeFunc[float32] {
	if a.quarters() {
		return putQuarters
	}
	if p := newRowPool(a); p != nil {
		return p.putPlane
	}
	return putPlane[float32]
}

// wide says that a window's rows are worth a vector kernel each.
func (h window) wide() bool { return h.step == 1 && h.stop-h.start >= 8 }

func maxWide(out, x, _ []float32, wy, wx []window, width int) {
	for i, v := range wy {
		for j, h := range wx {
			at := i*len(wx) + j
			if !h.wide() {
				maxPlane(out[at:at+1], x, nil, wy[i:i+1], wx[j:j+1], width)
				continue
			}
			m := float32(math.Inf(-1))
			for y := v.start; y < v.stop; y += v.step {
				m = max(m, kernel.Max32(x[y*width+h.start:y*width+h.stop]))
			}
			out[at] = m
		}
	}
}

func avgWide(out, x, _ []float32, wy, wx []window, width int) {
	for i, v := range wy {
		for j, h := range wx {
			at := i*len(wx) + j
			if !h.wide() {
				avgPlane(out[at:at+1], x, nil, wy[i:i+1], wx[j:j+1], width)
				continue
			}
			var s float64
			for y := v.start; y < v.stop; y += v.step {
				s += kernel.Sum32(x[y*width+h.start : y*width+h.stop])
			}
			out[at] = float32(s / float64(v.count*h.count))
		}
	}
}

// argMaxWide is windowArgMax of a wide window, row by row; of NaN it knows nothing, which is false.
func argMaxWide(x []float32, v, h window, width int) (int, bool) {
	at, m := -1, float32(math.Inf(-1))
	for y := v.start; y < v.stop; y += v.step {
		row := kernel.Max32(x[y*width+h.start : y*width+h.stop])
		if row != row {
			return 0, false
		}
		if at < 0 || row > m {
			at, m = y, row
		}
	}
	if at < 0 {
		return -1, true
	}
	return at*width + h.start + slices.Index(x[at*width+h.start:at*width+h.stop], m), true
}

// rowMemory is scratch memory of a plane. One row of it holds an element of each window, rounded up to whole vectors: to
// load what a masked instruction has just stored takes long.
type rowMemory struct {
	space          *workspace
	row            []float32 // of the image
	split          []float32 // a row in parts
	most, left, d  []float32 // one element a window
	image, pixels  []float32 // rows in parts
	windows, parts int       // elements of a row of windows and of a split row
}

// memory is for so many images in parts.
func (p *rowPool) memory(images int) rowMemory {
	const vector = 16
	m := rowMemory{windows: (len(p.wx) + vector - 1) / vector * vector, parts: p.Stride[1] * p.part}
	width, image := p.Size[1], m.parts*p.Size[0]+vector
	size := width + m.parts + 3*m.windows + images*image
	m.space = getWorkspace(4*size, 0, 0, 0)
	all := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(m.space.slots))), size)
	cut := func(n int) []float32 {
		piece := all[:n:n]
		all = all[n:]
		return piece
	}
	m.row, m.split, m.most, m.left, m.d = cut(width), cut(m.parts), cut(m.windows), cut(m.windows), cut(m.windows)
	if images > 0 {
		m.image = cut(image)
	}
	if images > 1 {
		m.pixels = cut(image)
	}
	return m
}

// each calls f for every part of a split row: count of its elements, from place on, are the columns column, column+step,
// ... of the image; what is before and behind them in [begin, end) is padding.
func (p *rowPool) each(f func(begin, place, end, column, step, count int)) {
	stride := p.Stride[1]
	for r := range stride {
		q := max(0, (p.Padding[1]-r+stride-1)/stride)
		column := q*stride + r - p.Padding[1]
		count := max(0, min(p.part-q, (p.Size[1]-column+stride-1)/stride))
		f(r*p.part, r*p.part+min(q, p.part), (r+1)*p.part, column, stride, count)
	}
}

// split writes a row in parts, with padding around them.
func (p *rowPool) split(dst, row []float32, padding float32) {
	p.each(func(begin, place, end, column, step, count int) {
		fill(dst[begin:place], padding)
		fill(dst[place+count:end], padding)
		if count == 0 {
			return
		}
		to, from := dst[place:][:count], row[column:]
		switch step {
		case 1:
			copy(to, from)
			return
		case 2:
			for ; len(to) >= 4 && len(from) >= 8; to, from = to[4:], from[8:] {
				t, f := to[:4:4], from[:8:8]
				t[0], t[1], t[2], t[3] = f[0], f[2], f[4], f[6]
			}
		}
		for i := range to {
			to[i] = from[i*step]
		}
	})
}

// join puts a row together from its parts.
func (p *rowPool) join(row, src []float32) {
	p.each(func(_, place, _, column, step, count int) {
		if count == 0 {
			return
		}
		from, to := src[place:][:count], row[column:]
		switch step {
		case 1:
			copy(to, from)
			return
		case 2:
			for ; len(from) >= 4 && len(to) >= 8; from, to = from[4:], to[8:] {
				f, t := from[:4:4], to[:8:8]
				t[0], t[2], t[4], t[6] = f[0], f[1], f[2], f[3]
			}
		}
		for i, v := range from {
			to[i*step] = v
		}
	})
}

// reduce joins the elements of each window of row i by f; empty is what padding is.
func (p *rowPool) reduce(f func(out, a, b []float32, sa, sb int), out, x []float32, i int, empty float32, m rowMemory) {
	v, width := p.wy[i], p.Size[1]
	if v.start >= v.stop {
		fill(out, empty)
		return
	}
	row := x[v.start*width:][:width]
	for y := v.start + v.step; y < v.stop; y += v.step {
		f(m.row, row, x[y*width:][:width], 1, 1)
		row = m.row
	}
	p.split(m.split, row, empty)
	n := len(p.wx)
	column := m.split[p.tap[0]:][:n]
	if len(p.tap) == 1 {
		copy(out, column)
	}
	for _, at := range p.tap[1:] {
		f(out, column, m.split[at:][:n], 1, 1)
		column = out
	}
}

func (p *rowPool) maxPlane(out, x, _ []float32, wy, wx []window, _ int) {
	m := p.memory(0)
	for i := range wy {
		p.reduce(p.max, out[i*len(wx):][:len(wx)], x, i, float32(math.Inf(-1)), m)
	}
	putWorkspace(m.space)
}

func (p *rowPool) avgPlane(out, x, _ []float32, wy, wx []window, _ int) {
	m := p.memory(0)
	for i := range wy {
		row := out[i*len(wx):][:len(wx)]
		p.reduce(p.add, row, x, i, 0, m)
		p.divide(row, row, i, m)
	}
	putWorkspace(m.space)
}

// divide divides by the count of each window of row i.
func (p *rowPool) divide(out, x []float32, i int, m rowMemory) {
	if p.even {
		m.left[0] = float32(p.wy[i].count * p.wx[0].count)
		p.div(out, x, m.left, 1, 0)
		return
	}
	for j, h := range p.wx {
		m.left[j] = float32(p.wy[i].count * h.count)
	}
	p.div(out, x, m.left, 1, 1)
}

func (p *rowPool) spreadPlane(out, dy, _ []float32, wy, wx []window, width int) {
	m := p.memory(1)
	clear(m.image)
	n := len(wx)
	for i, v := range wy {
		p.divide(m.d[:n], dy[i*n:][:n], i, m)
		clear(m.split)
		for _, at := range p.tap {
			part := m.split[at:][:n]
			p.add(part, part, m.d, 1, 1)
		}
		for y := v.start; y < v.stop; y += v.step {
			row := m.image[y*m.parts:][:m.parts]
			p.add(row, row, m.split, 1, 1)
		}
	}
	p.joinAll(out, m)
}

// joinAll writes the image and gives its memory back.
func (p *rowPool) joinAll(out []float32, m rowMemory) {
	width := p.Size[1]
	clear(out)
	for y := range p.Size[0] {
		p.join(out[y*width:][:width], m.image[y*m.parts:][:m.parts])
	}
	putWorkspace(m.space)
}

// splitAll splits the rows of an image.
func (p *rowPool) splitAll(dst, x []float32, padding float32, m rowMemory) {
	width := p.Size[1]
	for y := range p.Size[0] {
		p.split(dst[y*m.parts:][:m.parts], x[y*width:][:width], padding)
	}
}

// first calls f for every pixel of the windows of row i, column by column: from is where in the split images what the
// column reads begins, m.most the maxima, m.left is 1 for windows without a maximum so far. It says whether the row could
// be done so: not with NaN, of which the last counts.
func (p *rowPool) first(x []float32, i int, m rowMemory, f func(from int)) bool {
	v, n := p.wy[i], len(p.wx)
	p.reduce(p.max, m.most[:n], x, i, float32(math.Inf(-1)), m)
	if most := kernel.Max32(m.most[:n]); most != most {
		return false
	}
	fill(m.left[:n], 1)
	clear(m.left[n:])
	for y := v.start; y < v.stop; y += v.step {
		for _, at := range p.tap {
			f(y*m.parts + at)
		}
	}
	return true
}

func (p *rowPool) pickPlane(out, dx, x []float32, wy, wx []window, width int) {
	m := p.memory(2)
	n := len(wx)
	p.splitAll(m.pixels, x, float32(math.NaN()), m) // padding is no maximum
	p.splitAll(m.image, dx, 0, m)
	for i := range wy {
		clear(m.d)
		row := out[i*n:][:n]
		if p.first(x, i, m, func(from int) {
			kernel.PickFirst32(m.d, m.pixels[from:], m.most, m.image[from:], m.left)
		}) {
			copy(row, m.d)
		} else {
			pickPlane(row, dx, x, wy[i:i+1], wx, width)
		}
	}
	putWorkspace(m.space)
}

func (p *rowPool) putPlane(out, dy, x []float32, wy, wx []window, width int) {
	m := p.memory(2)
	n := len(wx)
	clear(m.image)
	p.splitAll(m.pixels, x, float32(math.NaN()), m)
	for i := range wy {
		copy(m.d, dy[i*n:][:n])
		if p.first(x, i, m, func(from int) {
			kernel.PutFirst32(m.image[from:][:m.windows], m.pixels[from:], m.most, m.d, m.left)
		}) {
			continue
		}
		for j, h := range wx {
			if at := windowArgMax(x, wy[i], h, width); at >= 0 {
				m.image[at/width*m.parts+p.place(at%width)] += dy[i*n+j]
			}
		}
	}
	p.joinAll(out, m)
}

// place is where in a split row a column of the image is.
func (p *rowPool) place(column int) int {
	column += p.Padding[1]
	return column%p.Stride[1]*p.part + column/p.Stride[1]
}
