package notebook

import (
	"bytes"
	"encoding/base64"
	"html"
	"image/color"
	"math"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Plot is a diagram of lines and points, or of bars. What is not finite (and, on a logarithmic axis, not positive) is
// left out and breaks a line there; a plot of nothing is an empty diagram.
type Plot struct {
	Title      string
	X, Y       string // what the axes show, with units; Y is the values' axis
	LogX, LogY bool   // logarithmic axes, of lines and points
	Lines      []Line
	Points     []Points
	Bars       []Bar // drawn from left to right, one below the other; not together with lines or points
}

// Line joins the points (X[i], Y[i]) in their order.
type Line struct {
	Name string
	X    []float64 // nil means 1, 2, 3, ...
	Y    []float64
	Band []float64 // half the width of a band around Y, such as a standard deviation; nil means none
}

// Points are drawn as dots at (X[i], Y[i]); of more than 3,000 an even selection.
type Points struct {
	Name string
	X    []float64 // nil means 1, 2, 3, ...
	Y    []float64
}

// Bar is a value with a name.
type Bar struct {
	Name   string
	Value  float64
	Spread float64 // half the length of an error bar; 0 means none
}

// Plot adds a diagram. Series of different lengths in X and Y are a mistake that [Page.Err] reports.
func (p *Page) Plot(d Plot) {
	p.add("plot", func() error {
		d = d.clean()
		if err := d.check(); err != nil {
			return err
		}
		drawing := d.layout()
		svg, err := drawing.svg()
		if err != nil {
			return err
		}
		png, err := drawing.png()
		if err != nil {
			return err
		}
		summary := d.summary(p.term.width)
		fragment := "<figure class=\"plot\">\n"
		if d.Title != "" {
			fragment += "<figcaption>" + html.EscapeString(d.Title) + "</figcaption>\n"
		}
		p.body.WriteString(fragment + svg + "</figure>\n")
		size := map[string]any{"width": int(plotWidth), "height": int(drawing.height)}
		p.outputCell(bundle{"image/png": base64.StdEncoding.EncodeToString(png), "text/plain": summary},
			map[string]any{"image/png": size})
		p.term.print("\n" + summary)
		return nil
	})
}

func (d Plot) clean() Plot {
	d.Title, d.X, d.Y = oneLine(d.Title), oneLine(d.X), oneLine(d.Y)
	d.Lines = append([]Line(nil), d.Lines...)
	for i := range d.Lines {
		l := &d.Lines[i]
		l.Name, l.X = oneLine(l.Name), numbered(l.X, len(l.Y))
	}
	d.Points = append([]Points(nil), d.Points...)
	for i := range d.Points {
		s := &d.Points[i]
		s.Name, s.X = oneLine(s.Name), numbered(s.X, len(s.Y))
	}
	d.Bars = append([]Bar(nil), d.Bars...)
	for i := range d.Bars {
		d.Bars[i].Name = oneLine(d.Bars[i].Name)
	}
	return d
}

// numbered is x, or 1..n where x is nil.
func numbered(x []float64, n int) []float64 {
	if x != nil {
		return x
	}
	x = make([]float64, n)
	for i := range x {
		x[i] = float64(i + 1)
	}
	return x
}

func (d Plot) check() error {
	for _, l := range d.Lines {
		if len(l.X) != len(l.Y) || l.Band != nil && len(l.Band) != len(l.Y) {
			return errors.Errorf("%q: line %q: wanted X, Y and Band of one length, got %d, %d and %d", d.Title, l.Name, len(l.X), len(l.Y), len(l.Band))
		}
	}
	for _, s := range d.Points {
		if len(s.X) != len(s.Y) {
			return errors.Errorf("%q: points %q: wanted X and Y of one length, got %d and %d", d.Title, s.Name, len(s.X), len(s.Y))
		}
	}
	if len(d.Bars) > 0 && (len(d.Lines) > 0 || len(d.Points) > 0 || d.LogX || d.LogY) {
		return errors.Errorf("%q: wanted bars alone on linear axes, got them with lines, points or a logarithmic axis", d.Title)
	}
	return nil
}

const (
	plotWidth  vg.Length = 460
	plotHeight vg.Length = 285
	pngDPI               = 144
	maxPoints            = 3000 // of one series
)

// The colours of a plot on white paper; page.css has those of the HTML page under the same names. The series' are
// those of Okabe and Ito (2008), which colour-blind readers can tell apart; when they come again, dashes and shapes differ.
var (
	ink     = color.NRGBA{0x22, 0x26, 0x2b, 255}
	faint   = color.NRGBA{0x5c, 0x63, 0x6b, 255}
	rule    = color.NRGBA{0xe1, 0xe4, 0xe8, 255}
	palette = []color.NRGBA{
		{0x00, 0x72, 0xb2, 255}, {0xd5, 0x5e, 0x01, 255}, {0x01, 0x9e, 0x73, 255}, {0xcc, 0x79, 0xa7, 255},
		{0xe6, 0x9f, 0x01, 255}, {0x56, 0xb4, 0xe9, 255}, {0x7a, 0x62, 0x4a, 255},
	}
	dashes = [][]vg.Length{nil, {6, 3}, {2, 2}, {8, 3, 2, 3}}
	shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.PyramidGlyph{}, draw.BoxGlyph{}, draw.CrossGlyph{}}
)

func seriesColour(i int) color.NRGBA { return palette[i%len(palette)] }

func lineStyle(i int) draw.LineStyle {
	return draw.LineStyle{Color: seriesColour(i), Width: 1.6, Dashes: dashes[i/len(palette)%len(dashes)]}
}

func translucent(c color.NRGBA) color.NRGBA {
	c.A = 45
	return c
}

// themeVariables maps the colours, as vgsvg writes them, to the page's variables.
var themeVariables = func() *strings.Replacer {
	written := func(c color.Color) string {
		r, g, b, a := c.RGBA()
		scale := 255.0 / float64(a)
		hex := func(v uint32) string {
			s := strings.ToUpper(strconv.FormatInt(int64(float64(v)*scale), 16))
			return strings.Repeat("0", 2-len(s)) + s
		}
		return "#" + hex(r) + hex(g) + hex(b)
	}
	pairs := []string{written(ink), "var(--ink)", written(faint), "var(--faint)", written(rule), "var(--rule)"}
	for i, c := range palette {
		name := "var(--series-" + strconv.Itoa(i) + ")"
		pairs = append(pairs, written(c), name, written(translucent(c)), name)
	}
	return strings.NewReplacer(pairs...)
}()

// layout is a plot made ready to be drawn.
type layout struct {
	Plot
	chart  *plot.Plot
	keys   []key
	height vg.Length
	blank  bool // nothing of the lines and points can be drawn
}

// key is an entry of the legend.
type key struct {
	name string
	draw func(c draw.Canvas, from, to vg.Point)
}

func textFont(size vg.Length, weight xfont.Weight) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size, Weight: weight}
}

// layout turns the plot into the parts of a gonum plot.
func (d Plot) layout() *layout {
	l := &layout{Plot: d, chart: plot.New(), height: plotHeight}
	l.chart.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&l.chart.X, &l.chart.Y} {
		axis.Color, axis.Width = faint, 0.8
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = textFont(11, 0), ink
		axis.Label.Padding = 5
		axis.Tick.Label.Font, axis.Tick.Label.Color = textFont(10, 0), faint
		axis.Tick.Color, axis.Tick.Width, axis.Tick.Length = faint, 0.8, 4
	}
	l.chart.Y.Width, l.chart.Y.Tick.Length = 0, 3 // the grid shows where it is
	l.chart.Y.Tick.Width = 0
	if len(d.Bars) > 0 {
		l.bars()
		return l
	}
	l.labels(d.X, d.Y)
	xs, ys := d.extents()
	l.blank = !xs.seen
	xs.setAxis(&l.chart.X, d.LogX)
	ys.setAxis(&l.chart.Y, d.LogY)
	l.chart.Add(grid{})
	for i, s := range d.Lines {
		l.line(i, s)
	}
	for i, s := range d.Points {
		l.points(len(d.Lines)+i, s)
	}
	return l
}

func (l *layout) labels(x, y string) {
	l.chart.X.Label.Text, l.chart.Y.Label.Text = shorten(x, plotWidth*3/4), shorten(y, l.height*3/4)
}

// extents are the ranges of what can be drawn.
func (d Plot) extents() (xs, ys extent) {
	add := func(x, y float64) {
		if d.drawable(x, y) {
			xs.add(x)
			ys.add(y)
		}
	}
	for _, s := range d.Lines {
		for i, y := range s.Y {
			add(s.X[i], y)
			if s.Band != nil && d.drawable(s.X[i], y) {
				add(s.X[i], y-s.Band[i])
				add(s.X[i], y+s.Band[i])
			}
		}
	}
	for _, s := range d.Points {
		for i, y := range s.Y {
			add(s.X[i], y)
		}
	}
	return xs, ys
}

func (l Line) band(i int) (low, high float64) {
	if l.Band == nil {
		return l.Y[i], l.Y[i]
	}
	return l.Y[i] - l.Band[i], l.Y[i] + l.Band[i]
}

// drawable says whether a point has a place on the axes.
func (d Plot) drawable(x, y float64) bool {
	return math.Abs(x) < 1e200 && math.Abs(y) < 1e200 && (!d.LogX || x > 1e-200) && (!d.LogY || y > 1e-200)
}

// line adds a series in runs of drawable points; a lonely one becomes a dot.
func (l *layout) line(i int, s Line) {
	style := lineStyle(i)
	var run, low, high plotter.XYs
	flush := func() {
		if s.Band != nil && len(run) > 1 {
			for k := len(high) - 1; k >= 0; k-- {
				low = append(low, high[k])
			}
			l.chart.Add(&plotter.Polygon{XYs: []plotter.XYs{low}, Color: translucent(seriesColour(i))})
		}
		switch len(run) {
		case 0:
		case 1:
			l.chart.Add(&plotter.Scatter{XYs: run, GlyphStyle: dot(i)})
		default:
			l.chart.Add(&plotter.Line{XYs: run, LineStyle: style})
		}
		run, low, high = nil, nil, nil
	}
	for _, k := range s.selection() {
		x, y := s.X[k], s.Y[k]
		if !l.drawable(x, y) {
			flush()
			continue
		}
		run = append(run, plotter.XY{X: x, Y: y})
		below, above := s.band(k)
		if !l.drawable(x, below) {
			below = y
		}
		if !l.drawable(x, above) {
			above = y
		}
		low, high = append(low, plotter.XY{X: x, Y: below}), append(high, plotter.XY{X: x, Y: above})
	}
	flush()
	l.keys = append(l.keys, key{s.Name, func(c draw.Canvas, from, to vg.Point) { c.StrokeLines(style, []vg.Point{from, to}) }})
}

// selection is the points of a line to draw: all, or of a very long line the lowest and the highest of each short
// stretch, which looks the same.
func (l Line) selection() []int {
	n := len(l.Y)
	stretch := 2 * (n + maxPoints - 1) / maxPoints
	if n <= maxPoints {
		stretch = 1
	}
	var chosen []int
	for from := 0; from < n; from += stretch {
		lowest, highest := from, from
		for i := from; i < min(from+stretch, n); i++ {
			if math.IsNaN(l.Y[i]) || l.Y[i] < l.Y[lowest] {
				lowest = i
			}
			if l.Y[i] > l.Y[highest] {
				highest = i
			}
		}
		chosen = append(chosen, min(lowest, highest))
		if lowest != highest {
			chosen = append(chosen, max(lowest, highest))
		}
	}
	return chosen
}

func dot(i int) draw.GlyphStyle {
	return draw.GlyphStyle{Color: seriesColour(i), Radius: 1.9, Shape: shapes[i/len(palette)%len(shapes)]}
}

func (l *layout) points(i int, s Points) {
	var xys plotter.XYs
	stride := (len(s.Y) + maxPoints - 1) / maxPoints
	for k := 0; k < len(s.Y); k += stride {
		if l.drawable(s.X[k], s.Y[k]) {
			xys = append(xys, plotter.XY{X: s.X[k], Y: s.Y[k]})
		}
	}
	l.chart.Add(&plotter.Scatter{XYs: xys, GlyphStyle: dot(i)})
	l.keys = append(l.keys, key{s.Name, func(c draw.Canvas, from, to vg.Point) {
		c.DrawGlyph(dot(i), vg.Point{X: (from.X + to.X) / 2, Y: from.Y})
	}})
}

// bars adds the bars, the first one on top, each with its value at its end.
func (l *layout) bars() {
	n := len(l.Bars)
	l.height = vg.Length(54 + 25*n)
	if l.Y == "" {
		l.height -= 20
	}
	xs := extent{}
	xs.add(0)
	names := make([]string, n)
	var places, ends plotter.XYs
	var spreads []plotter.XYs
	var labels []string
	for i, b := range l.Bars {
		y := float64(n - 1 - i)
		names[n-1-i] = shorten(b.Name, plotWidth/3)
		end := b.Value
		if !l.drawable(end, y) {
			end = 0
		}
		xs.add(end)
		places = append(places, plotter.XY{X: end, Y: y})
		if spread := math.Abs(b.Spread); spread > 0 && l.drawable(end-spread, end+spread) {
			xs.add(end - spread)
			xs.add(end + spread)
			spreads = append(spreads, plotter.XYs{{X: end - spread, Y: y}, {X: end + spread, Y: y}})
			end += math.Copysign(spread, end)
		}
		ends = append(ends, plotter.XY{X: end, Y: y})
		labels = append(labels, barLabel(b))
	}
	xs.setAxis(&l.chart.X, false)
	l.chart.NominalY(names...)
	l.chart.Y.Tick.Label.Color, l.chart.Y.Tick.Label.Font = ink, textFont(11, 0)
	l.chart.Y.Width, l.chart.Y.Tick.Width = 0, 0
	l.labels(l.Y, l.X)
	l.chart.Y.Min, l.chart.Y.Max = -0.5, float64(n)-0.5
	l.chart.Add(grid{horizontal: true}, barPlotter{places})
	for _, xys := range spreads {
		l.chart.Add(&plotter.Line{XYs: xys, LineStyle: draw.LineStyle{Color: ink, Width: 1.2}})
	}
	l.chart.Add(endLabels{ends, labels})
}

func barLabel(b Bar) string {
	if b.Spread != 0 {
		return number4(b.Value) + " ± " + number2(b.Spread)
	}
	return number4(b.Value)
}

func number4(v float64) string { return minus(strconv.FormatFloat(v, 'g', 4, 64)) }
func number2(v float64) string { return minus(strconv.FormatFloat(v, 'g', 2, 64)) }

// barPlotter draws horizontal bars from 0.
type barPlotter struct{ ends plotter.XYs }

func (b barPlotter) Plot(c draw.Canvas, chart *plot.Plot) {
	x, y := chart.Transforms(&c)
	half := (y(1) - y(0)) * 0.36
	for _, e := range b.ends {
		corner := vg.Rectangle{Min: vg.Point{X: min(x(0), x(e.X)), Y: y(e.Y) - half}, Max: vg.Point{X: max(x(0), x(e.X)), Y: y(e.Y) + half}}
		c.SetColor(seriesColour(0))
		c.Fill(corner.Path())
	}
	c.StrokeLine2(draw.LineStyle{Color: faint, Width: 0.8}, x(0), c.Min.Y, x(0), c.Max.Y)
}

// endLabels writes the values at the ends of the bars; their boxes make gonum leave room for them.
type endLabels struct {
	ends   plotter.XYs
	labels []string
}

var endStyle = draw.TextStyle{Color: ink, Font: textFont(10, 0), YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}

const endGap = 4

func (e endLabels) Plot(c draw.Canvas, chart *plot.Plot) {
	x, y := chart.Transforms(&c)
	for i, end := range e.ends {
		style, at := endStyle, vg.Point{X: x(end.X) + endGap, Y: y(end.Y) + 1}
		if end.X < 0 {
			style.XAlign, at.X = draw.XRight, x(end.X)-endGap
		}
		c.FillText(style, at, e.labels[i])
	}
}

func (e endLabels) GlyphBoxes(chart *plot.Plot) []plot.GlyphBox {
	boxes := make([]plot.GlyphBox, len(e.ends))
	for i, end := range e.ends {
		width := endStyle.Width(e.labels[i]) + endGap
		boxes[i] = plot.GlyphBox{X: chart.X.Norm(end.X), Y: chart.Y.Norm(end.Y), Rectangle: vg.Rectangle{Max: vg.Point{X: width}}}
		if end.X < 0 {
			boxes[i].Rectangle = vg.Rectangle{Min: vg.Point{X: -width}}
		}
	}
	return boxes
}

// grid draws a line at each labelled tick of the values' axis.
type grid struct{ horizontal bool }

func (g grid) Plot(c draw.Canvas, chart *plot.Plot) {
	x, y := chart.Transforms(&c)
	style := draw.LineStyle{Color: rule, Width: 0.8}
	axis := chart.Y
	if g.horizontal {
		axis = chart.X
	}
	for _, t := range axis.Tick.Marker.Ticks(axis.Min, axis.Max) {
		switch {
		case t.IsMinor():
		case g.horizontal:
			c.StrokeLine2(style, x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
		default:
			c.StrokeLine2(style, c.Min.X, y(t.Value), c.Max.X, y(t.Value))
		}
	}
}

// draw draws title, legend and chart.
func (l *layout) draw(canvas vg.CanvasSizer, title bool) {
	c := draw.Crop(draw.New(canvas), 6, -14, 6, -8)
	if title && l.Title != "" {
		style := draw.TextStyle{Color: ink, Font: textFont(12, xfont.WeightBold), YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
		c.FillText(style, vg.Point{X: c.Min.X, Y: c.Max.Y}, shorten(l.Title, plotWidth*4/5))
		c.Max.Y -= 20
	}
	c.Max.Y -= l.legend(c)
	l.chart.Draw(c)
	if l.blank {
		style := draw.TextStyle{Color: faint, Font: textFont(11, 0), XAlign: draw.XCenter, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
		c.FillText(style, c.Center(), "no finite values")
	}
}

// shorten cuts a name that is wider than the room for it.
func shorten(name string, room vg.Length) string {
	style := draw.TextStyle{Font: textFont(11, 0), Handler: plot.DefaultTextHandler}
	if style.Width(name) <= room {
		return name
	}
	runes := []rune(name)
	n := sort.Search(len(runes), func(n int) bool { return style.Width(string(runes[:n])+"…") > room })
	return string(runes[:max(0, n-1)]) + "…"
}

// legend writes the names of the series in rows above the chart and returns the height it took.
func (l *layout) legend(c draw.Canvas) vg.Length {
	const row, sample, gap = 17, 18, 14
	style := draw.TextStyle{Color: ink, Font: textFont(11, 0), YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
	x, used := c.Min.X, vg.Length(0)
	for _, k := range l.keys {
		if k.name == "" {
			continue
		}
		if used == 0 {
			used = row
		}
		name := shorten(k.name, c.Max.X-c.Min.X-sample-5)
		width := sample + 5 + style.Width(name)
		if x > c.Min.X && x+width > c.Max.X {
			x, used = c.Min.X, used+row
		}
		y := c.Max.Y - used + row/2
		k.draw(c, vg.Point{X: x, Y: y}, vg.Point{X: x + sample, Y: y})
		c.FillText(style, vg.Point{X: x + sample + 5, Y: y + 1}, name)
		x += width + gap
	}
	if used > 0 {
		used += 6
	}
	return used
}

var (
	svgHead = regexp.MustCompile(`(?s)^.*?<svg.*?>\n?`)
	svgFont = regexp.MustCompile(`font-family:[^;"]*;font-variant:[^;"]*;font-weight:[^;"]*;font-style:[^;"]*;`)
)

// svg is the drawing for the HTML page, in the page's font and colours.
func (l *layout) svg() (s string, err error) {
	defer recovered(&err)
	canvas := vgsvg.New(plotWidth, l.height)
	l.draw(canvas, false)
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	head := `<svg viewBox="0 0 ` + number4(float64(plotWidth)) + " " + number4(float64(l.height)) + `" role="img" aria-label="` +
		html.EscapeString(l.label()) + "\">\n"
	s = head + svgHead.ReplaceAllLiteralString(b.String(), "")
	return themeVariables.Replace(svgFont.ReplaceAllLiteralString(s, "")), nil
}

// png is the drawing for the notebook, on white.
func (l *layout) png() (data []byte, err error) {
	defer recovered(&err)
	canvas := vgimg.NewWith(vgimg.UseWH(plotWidth, l.height), vgimg.UseDPI(pngDPI), vgimg.UseBackgroundColor(color.White))
	l.draw(canvas, true)
	var b bytes.Buffer
	_, err = vgimg.PngCanvas{Canvas: canvas}.WriteTo(&b)
	return b.Bytes(), err
}

// recovered turns a panic of the drawing library into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = errors.Errorf("drawing failed: %v", r)
	}
}

// label describes the plot to those who cannot see it.
func (l *layout) label() string {
	s := l.Title
	if s == "" {
		s = "Plot"
	}
	if l.X != "" || l.Y != "" {
		s += ": " + l.Y + " against " + l.X
	}
	return s
}
