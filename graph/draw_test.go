package graph_test

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
)

type drawn struct {
	name  string
	input graph.Type
	model layers.Layer
}

var twice = layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node { // one layer in two places
	y := layers.Dense{Units: 4, Name: "shared"}.Apply(s, x)
	y = layers.Dense{Units: 4}.Apply(s, graph.Softmax(y, 1))
	return layers.Dense{Units: 4, Name: "shared"}.Apply(s, y)
})

// long has arrows over many ranks, into and out of frames.
var long = layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
	a := layers.Block{layers.Dense{Units: 4, Activation: layers.Tanh{}}, layers.LayerNorm{}}.Apply(s, x)
	b := layers.Block{layers.Dense{Units: 4}, layers.LayerNorm{}}.Apply(s, a)
	c := layers.Block{layers.LayerNorm{}}.Apply(s, graph.Concat(1, x, a, b))
	return graph.Concat(1, x, a, b, c, graph.Softmax(graph.Mul(a, b), 1))
})

var drawings = []drawn{
	{"MLP", graph.Type{DType: graph.Float32, Shape: []int{8, 20}}, models.MLP{Hidden: []int{6, 5}, Classes: 3}},
	{"CNN", graph.Type{DType: graph.Float32, Shape: []int{2, 1, 28, 28}}, models.CNN{Classes: 10}},
	{"ResNet18", graph.Type{DType: graph.Float32, Shape: []int{2, 3, 32, 32}}, models.ResNet18{Width: 4, Classes: 10}},
	{"CharLM", graph.Type{DType: graph.Int, Shape: []int{2, 12}}, models.CharLM{Units: 8, Heads: 2, Depth: 1}},
	{"LSTM", graph.Type{DType: graph.Float32, Shape: []int{2, 3, 4}}, layers.Sequential{layers.LSTM{Units: 4}, layers.LastStep{}, layers.Dense{Units: 2}}},
	{"twice", graph.Type{DType: graph.Float32, Shape: []int{2, 4}}, twice},
	{"long", graph.Type{DType: graph.Float32, Shape: []int{2, 4}}, long},
}

func (c drawn) build(t *testing.T) (g *graph.Graph, x, y *graph.Node) {
	t.Helper()
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", c.input.DType, c.input.Shape...)
		y = c.model.Apply(s, x)
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, x, y
}

// The DOT of a small model, written by hand.
func TestDOT(t *testing.T) {
	var x, y *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 2, 3)
		h := layers.Sequential{layers.Dense{Units: 4, Activation: layers.ReLU{}}, layers.Dense{Units: 5}}.Apply(s, x)
		y = graph.Softmax(graph.Scale(h, 2), 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	cut, err := g.Cut(x, y)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/draw.dot")
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.Draw(graph.DrawOptions{Cut: cut}, y)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.DOT(); got != string(want) {
		t.Errorf("want %s, got %s", want, got)
	}
}

type rect struct{ x, y, w, h float64 }

func (r rect) in(o rect) bool {
	const e = 0.2
	return r.x >= o.x-e && r.y >= o.y-e && r.x+r.w <= o.x+o.w+e && r.y+r.h <= o.y+o.h+e
}

func (r rect) apart(o rect) bool {
	const e = 0.2
	return r.x+r.w <= o.x+e || o.x+o.w <= r.x+e || r.y+r.h <= o.y+e || o.y+o.h <= r.y+e
}

// picture reads an SVG strictly.
func picture(t *testing.T, svg string) (size rect, boxes, frames []rect, texts []string, arrows [][2]float64, lines [][4]float64) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	inText := false
	for {
		token, err := decoder.Token()
		if token == nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			return
		}
		switch e := token.(type) {
		case xml.CharData:
			if inText {
				texts = append(texts, string(e))
			}
		case xml.EndElement:
			inText = false
		case xml.StartElement:
			attr := map[string]string{}
			for _, a := range e.Attr {
				attr[a.Name.Local] = a.Value
			}
			number := func(name string) float64 {
				v, err := strconv.ParseFloat(attr[name], 64)
				if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
					t.Fatalf("%s of %s is %q", name, e.Name.Local, attr[name])
				}
				return v
			}
			switch {
			case e.Name.Local == "svg":
				size = rect{0, 0, number("width"), number("height")}
			case e.Name.Local == "text":
				inText = true
				number("x")
				number("y")
			case e.Name.Local == "rect" && attr["rx"] == "4":
				boxes = append(boxes, rect{number("x"), number("y"), number("width"), number("height")})
			case e.Name.Local == "rect" && attr["rx"] == "7":
				frames = append(frames, rect{number("x"), number("y"), number("width"), number("height")})
			case e.Name.Local == "path" && attr["fill"] == "#556":
				var x, y float64
				if _, err := fmt.Sscanf(attr["d"], "M%f %fl", &x, &y); err != nil {
					t.Fatal(err)
				}
				arrows = append(arrows, [2]float64{x, y})
			case e.Name.Local == "path" && attr["fill"] == "none":
				at := strings.FieldsFunc(attr["d"], func(c rune) bool { return strings.ContainsRune("MLC ", c) })
				var l [4]float64
				for i, text := range append(at[:2:2], at[len(at)-2:]...) {
					if l[i], err = strconv.ParseFloat(text, 64); err != nil {
						t.Fatal(err)
					}
				}
				lines = append(lines, l)
				if strings.Contains(attr["d"], "NaN") || strings.Contains(attr["d"], "Inf") {
					t.Fatalf("path %s", attr["d"])
				}
			}
		}
	}
}

// Whatever is drawn, boxes do not overlap, frames nest, every part has its box, every arrow ends at the top of one, and
// all of it is inside the picture.
func TestSVG(t *testing.T) {
	for _, c := range drawings {
		g, x, y := c.build(t)
		cut, err := g.Cut(x, y)
		if err != nil {
			cut = nil // not a chain
		}
		for _, o := range []graph.DrawOptions{{}, {Detail: graph.DetailLayers}, {Detail: graph.DetailOps}, {Cut: cut}} {
			t.Run(fmt.Sprint(c.name, o.Detail, len(o.Cut)), func(t *testing.T) {
				d, err := g.Draw(o, y)
				if err != nil {
					t.Fatal(err)
				}
				parts, err := g.Parts(o.Detail, y)
				if err != nil {
					t.Fatal(err)
				}
				size, boxes, frames, texts, arrows, lines := picture(t, d.SVG())
				if len(boxes) != len(parts) {
					t.Errorf("want %d boxes, got %d", len(parts), len(boxes))
				}
				for i, b := range boxes {
					if !b.in(size) {
						t.Errorf("box %v is outside %v", b, size)
					}
					for _, o := range boxes[:i] {
						if !b.apart(o) {
							t.Errorf("boxes %v and %v overlap", b, o)
						}
					}
					for _, f := range frames {
						if !b.apart(f) && !b.in(f) {
							t.Errorf("box %v crosses frame %v", b, f)
						}
					}
				}
				for i, f := range frames {
					for _, o := range frames[:i] {
						if !f.apart(o) && !f.in(o) && !o.in(f) {
							t.Errorf("frames %v and %v cross", f, o)
						}
					}
				}
				reads := 0
				for _, p := range parts {
					from := map[int]bool{}
					for _, e := range p.Reads {
						from[e.From] = true
					}
					reads += len(from)
					base := p.Name[strings.LastIndex(p.Name, "/")+1:]
					if !slices.Contains(texts, base) {
						t.Errorf("no text %s", base)
					}
				}
				if len(arrows) != reads {
					t.Errorf("want %d arrows, got %d", reads, len(arrows))
				}
				for _, l := range lines { // each begins and ends at a box or where another goes on
					begins := slices.ContainsFunc(boxes, func(b rect) bool { return math.Abs(l[1]-b.y-b.h) < 0.2 && l[0] > b.x && l[0] < b.x+b.w })
					ends := slices.ContainsFunc(boxes, func(b rect) bool { return math.Abs(l[3]-b.y) < 0.2 && l[2] > b.x && l[2] < b.x+b.w })
					for _, o := range lines {
						begins = begins || math.Hypot(o[2]-l[0], o[3]-l[1]) < 0.3
						ends = ends || math.Hypot(o[0]-l[2], o[1]-l[3]) < 0.3
					}
					if !begins || !ends {
						t.Errorf("line %v begins or ends nowhere", l)
					}
				}
				for _, a := range arrows {
					if !slices.ContainsFunc(boxes, func(b rect) bool {
						return math.Abs(a[1]-b.y) < 0.2 && a[0] > b.x && a[0] < b.x+b.w
					}) {
						t.Errorf("arrow at %v ends nowhere", a)
					}
				}
			})
		}
	}
}

// A cut is a dashed line between the frames of two pieces, and the arrows from one piece to another are dashed; nothing
// else is.
func TestDrawnCut(t *testing.T) {
	frame := regexp.MustCompile(`<rect x="[^"]*" y="([^"]*)" width="[^"]*" height="([^"]*)" rx="7"[^>]* stroke-width="1.5"`)
	line := regexp.MustCompile(`d="M0 ([^"H]*)H`)
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range drawings[:4] {
		g, x, y := c.build(t)
		cut, err := g.Cut(x, y)
		if err != nil {
			t.Fatal(err)
		}
		d, err := g.Draw(graph.DrawOptions{Cut: cut}, y)
		if err != nil {
			t.Fatal(err)
		}
		frames, lines := frame.FindAllStringSubmatch(d.SVG(), -1), line.FindAllStringSubmatch(d.SVG(), -1)
		if len(frames) != len(cut) || len(lines) != len(cut)-1 {
			t.Fatalf("%s: %d pieces, %d frames, %d lines", c.name, len(cut), len(frames), len(lines))
		}
		slices.SortFunc(frames, func(a, b []string) int { return cmp.Compare(number(a[1]), number(b[1])) })
		for i, l := range lines {
			if at := number(l[1]); at <= number(frames[i][1])+number(frames[i][2]) || at >= number(frames[i+1][1]) {
				t.Errorf("%s: line %d at %v is not between its pieces", c.name, i, at)
			}
		}
		piece, at := map[string]int{}, 0
		dashed, crossing := 0, 0
		for _, text := range strings.Split(d.DOT(), "\n") {
			fields := strings.Fields(text)
			switch {
			case strings.Contains(text, "bold"):
				at++
			case len(fields) > 2 && fields[1] == "->":
				from, to := piece[fields[0]], piece[fields[2]]
				if from > 0 && from != to {
					crossing++
				}
				if got := strings.Contains(text, "dashed"); got != (from > 0 && from != to) {
					t.Errorf("%s: from piece %d to %d: %s", c.name, from, to, text)
				} else if got {
					dashed++
				}
			case len(fields) > 0 && strings.HasPrefix(fields[0], "n") && at > 0:
				piece[fields[0]] = at
			}
		}
		if crossing < len(cut)-1 || dashed != crossing {
			t.Errorf("%s: %d arrows cross, %d are dashed", c.name, crossing, dashed)
		}
		whole, err := g.Draw(graph.DrawOptions{}, y)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(whole.SVG(), "dasharray") || strings.Contains(whole.DOT(), "dashed") {
			t.Errorf("%s: dashes without a cut", c.name)
		}
	}
}

// No derivative passes where values are detached, and the drawing shows it.
func TestDrawnDetach(t *testing.T) {
	var y *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x := s.Input("x", graph.Float32, 2, 3)
		y = graph.Add(x, graph.Detach(graph.Softmax(x, 1)))
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.Draw(graph.DrawOptions{}, y)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(d.DOT(), "dashed"); n != 2 {
		t.Errorf("want 2 dashed arrows, into detach and out of it, got %d in %s", n, d.DOT())
	}
}

// Every operation of the compiled program is counted, in the part it belongs to.
func TestPartsFlops(t *testing.T) {
	for _, c := range drawings {
		g, _, y := c.build(t)
		p, err := g.Compile(y)
		if err != nil {
			t.Fatal(err)
		}
		for _, detail := range []graph.Detail{graph.DetailChains, graph.DetailLayers, graph.DetailOps} {
			parts, err := g.Parts(detail, y)
			if err != nil {
				t.Fatal(err)
			}
			sum := 0
			for i, part := range parts {
				sum += part.Flops
				for _, e := range part.Reads {
					if e.From >= i {
						t.Errorf("%s: part %d reads part %d", c.name, i, e.From)
					}
				}
			}
			if sum != p.Stats().Flops {
				t.Errorf("%s: want %d operations, got %d", c.name, p.Stats().Flops, sum)
			}
		}
	}
	g, _, y := drawings[1].build(t)
	parts, err := g.Parts(graph.DetailLayers, y)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{ // batch·outputs·taps
		"block1/conv1": 2 * 32 * 28 * 28 * 9, "block2/conv1": 2 * 64 * 14 * 14 * 32 * 9, "block3/dense1": 2 * 3136 * 128, "block4/dense2": 2 * 128 * 10,
	} {
		i := slices.IndexFunc(parts, func(p graph.Part) bool { return p.Name == name })
		if i < 0 || parts[i].MultiplyAdds != want {
			t.Errorf("%s: want %d multiply-adds, got %+v", name, want, parts)
		}
	}
}

// What the layers are, and that what stands between them is outside them.
func TestPartsNames(t *testing.T) {
	g, _, y := drawings[3].build(t)
	parts, err := g.Parts(graph.DetailLayers, y)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range parts {
		names = append(names, p.Name)
	}
	want := strings.Fields(`x block1/embedding1 block1/positions1 block2/layernorm1 block2/attention1/qkv
		block2/attention1/slice block2/attention1/transpose block2/attention1/slice block2/attention1/transpose
		block2/attention1/slice block2/attention1/transpose block2/attention1/matmul block2/attention1/softmax
		block2/attention1/matmul block2/attention1/transpose block2/attention1/out block2/add block2/layernorm2
		block2/dense1 block2/dense2 block2/add block3/layernorm1 block3/dense1`)
	if !slices.Equal(names, want) {
		t.Errorf("want %v, got %v", want, names)
	}
}
