package graph

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// SVG is the drawing as a picture, made without another program: an svg element that stands by itself or in a page.
func (d *Drawing) SVG() string {
	var s strings.Builder
	w, h := math.Ceil(d.root.w), math.Ceil(d.root.h)
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" `, w, h, w, h)
	s.WriteString(`style="max-width:100%;height:auto" font-family="Helvetica,Arial,sans-serif" font-size="12">` + "\n")
	fmt.Fprintf(&s, `<title>%s</title><rect width="100%%" height="100%%" fill="#fff"/>`+"\n", escape(d.title()))
	d.boxes(&s, d.root, 0)
	d.arrows(&s, d.root)
	d.cuts(&s)
	d.labels(&s, d.root)
	s.WriteString("</svg>\n")
	return s.String()
}

func (d *Drawing) title() string {
	ops := 0
	for _, p := range d.parts {
		ops += len(p.Ops)
	}
	return fmt.Sprintf("graph of %d ops in %d parts", ops, len(d.parts))
}

func escape(text string) string {
	var s strings.Builder
	xml.EscapeText(&s, []byte(text))
	return s.String()
}

func (d *Drawing) boxes(s *strings.Builder, b *box, depth int) {
	switch {
	case b.parent == nil:
	case b.part < 0:
		fill, stroke, width := []string{"#f3f6fa", "#e8eef6"}[depth%2], "#9db2c9", 1.0
		if b.piece > 0 {
			fill, stroke, width = "#fdf6ec", "#c98a2b", 1.5
		}
		fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="7" fill="%s" stroke="%s" stroke-width="%g"/>`,
			b.x, b.y, b.w, b.h, fill, stroke, width)
		fmt.Fprintf(s, `<text x="%.1f" y="%.1f" fill="#4a6178">%s</text>`+"\n", b.x+8, b.y+14, escape(b.title))
	default:
		fill := "#fff"
		if len(d.parts[b.part].Ops) == 0 {
			fill = "#e9f5ec" // an input
		}
		fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="4" fill="%s" stroke="#333"/>`, b.x, b.y, b.w, b.h, fill)
		fmt.Fprintf(s, `<text x="%.1f" y="%.1f" text-anchor="middle" font-weight="bold">%s</text>`, b.x+b.w/2, b.y+lineHeight, escape(b.title))
		for i, l := range b.lines {
			fmt.Fprintf(s, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="11" fill="#444">%s</text>`,
				b.x+b.w/2, b.y+lineHeight*float64(i+2), escape(l))
		}
		s.WriteByte('\n')
	}
	for _, k := range b.kids {
		d.boxes(s, k, depth+1)
	}
}

// dashed says that no derivative passes a route: it crosses a cut or is detached.
func (d *Drawing) dashed(r route) bool {
	return slices.ContainsFunc(r.to, func(to int) bool {
		return d.cut[[2]int{r.from, to}] || slices.ContainsFunc(d.parts[to].Reads, func(e Edge) bool { return e.From == r.from && e.Detached })
	})
}

func (d *Drawing) arrows(s *strings.Builder, b *box) {
	for _, r := range b.routes {
		dash := ""
		if d.dashed(r) {
			dash = ` stroke-dasharray="5 4"`
		}
		at := r.points[0]
		fmt.Fprintf(s, `<path fill="none" stroke="#556"%s d="M%.1f %.1f`, dash, at.x, at.y)
		for _, p := range r.points[1:] {
			if p.x == at.x || math.Abs(p.x-at.x) < 0.05 {
				fmt.Fprintf(s, "L%.1f %.1f", p.x, p.y)
			} else {
				half := (p.y - at.y) / 2
				fmt.Fprintf(s, "C%.1f %.1f %.1f %.1f %.1f %.1f", at.x, at.y+half, p.x, p.y-half, p.x, p.y)
			}
			at = p
		}
		s.WriteString(`"/>`)
		if r.head {
			fmt.Fprintf(s, `<path fill="#556" d="M%.1f %.1fl-3.5 -7h7z"/>`, at.x, at.y)
		}
		s.WriteByte('\n')
	}
	for _, k := range b.kids {
		d.arrows(s, k)
	}
}

func (d *Drawing) labels(s *strings.Builder, b *box) {
	for _, r := range b.routes {
		if r.label != "" {
			at := r.points[0]
			fmt.Fprintf(s, `<text x="%.1f" y="%.1f" font-size="10" fill="#245" stroke="#fff" stroke-width="3" paint-order="stroke">%s</text>`+"\n",
				at.x+5, at.y+12, escape(r.label))
		}
	}
	for _, k := range b.kids {
		d.labels(s, k)
	}
}

// cuts draws a dashed line below each piece but the last.
func (d *Drawing) cuts(s *strings.Builder) {
	var pieces []*box
	for _, k := range d.root.kids {
		if k.piece > 0 {
			pieces = append(pieces, k)
		}
	}
	slices.SortFunc(pieces, func(a, b *box) int { return a.piece - b.piece })
	for i := 1; i < len(pieces); i++ {
		y := (pieces[i-1].y + pieces[i-1].h + pieces[i].y) / 2
		fmt.Fprintf(s, `<path stroke="#c0392b" stroke-width="1.5" stroke-dasharray="7 5" d="M0 %.1fH%.1f"/>`, y, d.root.w)
		fmt.Fprintf(s, `<text x="4" y="%.1f" font-size="10" fill="#c0392b">cut</text>`+"\n", y-3)
	}
}
