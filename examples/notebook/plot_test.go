package notebook

import (
	"bytes"
	"fmt"
	"image/png"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot"
)

var (
	nan, inf  = math.NaN(), math.Inf(1)
	pathData  = regexp.MustCompile(`^[MLAQCZ0-9eE,. +-]*$`)
	variables = regexp.MustCompile(`var\((--[a-z0-9-]+)\)`)
)

// checkDrawing draws a plot both ways and returns the number of paths of the SVG.
func checkDrawing(t *testing.T, d Plot) (paths int, svg string) {
	t.Helper()
	d = d.clean()
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	svg, err := d.layout().svg()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range elements(t, svg) {
		if e.name == "path" {
			paths++
			if !pathData.MatchString(e.attr["d"]) {
				t.Errorf("path with %.80q", e.attr["d"])
			}
		}
		for _, name := range []string{"x", "y"} {
			if v, ok := e.attr[name]; ok {
				if f, err := strconv.ParseFloat(v, 64); err != nil || math.IsNaN(f) || math.Abs(f) > 1000 {
					t.Errorf("<%s> at %s=%q", e.name, name, v)
				}
			}
		}
	}
	data, err := d.layout().png()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(data)); err != nil {
		t.Error(err)
	}
	if s := d.summary(80); clean(s) != s || !strings.HasSuffix(s, "\n") {
		t.Errorf("summary %q", s)
	}
	return paths, svg
}

// TestHardPlots draws what training makes of a plot when it goes wrong.
func TestHardPlots(t *testing.T) {
	values := map[string][]float64{
		"nothing": {}, "one": {3}, "constant": {2, 2, 2}, "zero": {0, 0}, "NaN": {nan, nan}, "infinite": {inf, -inf},
		"gaps": {1, nan, 2, 3, inf, 4, -inf}, "negative": {-1, -2, 3}, "huge": {1e300, -1e300, 1}, "float32": {3e38, -3e38},
		"tiny": {1e-300, 2e-300}, "denormal": {5e-324, 1e-323}, "close": {1, 1 + 1e-15}, "offset": {1e9, 1e9 + 1, 1e9 + 2},
		"wide": {1e-190, 1e190}, "steps": {0.1, 0.2, 0.30000000000000004},
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			for _, log := range []bool{false, true} {
				checkDrawing(t, Plot{LogX: log, LogY: log, Lines: []Line{{Name: name, Y: v, Band: v}, {X: v, Y: v}}, Points: []Points{{Y: v}, {X: v, Y: v}}})
			}
			var bars []Bar
			for _, x := range v {
				bars = append(bars, Bar{strings.Repeat(name, 10), x, x})
			}
			checkDrawing(t, Plot{Bars: bars})
		})
	}
	checkDrawing(t, Plot{})
	long := strings.Repeat("a very long name ", 40)
	checkDrawing(t, Plot{Title: long, X: long, Y: long, Lines: []Line{{Name: long, Y: []float64{1, 2}}}})
	var many []Line
	for range 40 {
		many = append(many, Line{Name: "a series", Y: []float64{1, 2}})
	}
	checkDrawing(t, Plot{Lines: many[:25]})
}

// TestSeriesDiffer: the first 28 lines, and points, are told apart by colour or by dashes or shape.
func TestSeriesDiffer(t *testing.T) {
	lines, points := map[string]int{}, map[string]int{}
	for i := range 28 {
		l, p := lineStyle(i), dot(i)
		for kind, seen := range map[string]map[string]int{
			fmt.Sprint(l.Color, l.Dashes): lines, fmt.Sprintf("%v %T", p.Color, p.Shape): points,
		} {
			if j, ok := seen[kind]; ok {
				t.Errorf("series %d looks like series %d: %s", i, j, kind)
			}
			seen[kind] = i
		}
	}
}

func TestBlankPlotSaysSo(t *testing.T) {
	_, blank := checkDrawing(t, Plot{Lines: []Line{{Y: []float64{nan}}}})
	_, full := checkDrawing(t, Plot{Lines: []Line{{Y: []float64{1}}}})
	if !strings.Contains(blank, "no finite values") || strings.Contains(full, "no finite values") {
		t.Error("only a plot of nothing should say so")
	}
}

// TestGapsBreakLines compares the number of paths: a gap makes two lines of one.
func TestGapsBreakLines(t *testing.T) {
	whole, _ := checkDrawing(t, Plot{Lines: []Line{{Y: []float64{1, 2, 3, 4, 5}}}})
	broken, _ := checkDrawing(t, Plot{Lines: []Line{{Y: []float64{1, 2, nan, 4, 5}}}})
	if broken != whole+1 {
		t.Errorf("%d paths with a gap, %d without", broken, whole)
	}
	logarithmic, _ := checkDrawing(t, Plot{LogY: true, Lines: []Line{{Y: []float64{1, 2, -3, 1, 2}}}})
	straight, _ := checkDrawing(t, Plot{LogY: true, Lines: []Line{{Y: []float64{1, 2, 2, 1, 2}}}})
	if logarithmic != straight+1 {
		t.Errorf("%d paths with a negative value on a logarithmic axis, %d without", logarithmic, straight)
	}
}

// TestPlotPosition checks that a line ends where its axes say: values proportional to x give a straight path, equal
// steps on a linear axis and equal ratios on a logarithmic one are equally far apart.
func TestPlotPosition(t *testing.T) {
	for _, c := range []struct {
		log bool
		y   []float64
	}{{false, []float64{0, 5, 10}}, {true, []float64{1, 10, 100}}} {
		_, svg := checkDrawing(t, Plot{LogY: c.log, Lines: []Line{{Y: c.y}}})
		for _, e := range elements(t, svg) {
			if !strings.Contains(e.attr["style"], "var(--series-0)") {
				continue
			}
			var p [3][2]float64
			for i, s := range strings.Split(strings.TrimPrefix(e.attr["d"], "M"), "L") {
				x, y, _ := strings.Cut(s, ",")
				p[i][0], _ = strconv.ParseFloat(x, 64)
				p[i][1], _ = strconv.ParseFloat(y, 64)
			}
			for k := range 2 {
				if a, b := p[1][k]-p[0][k], p[2][k]-p[1][k]; a < 10 || math.Abs(a-b) > 0.1 {
					t.Errorf("log %v: steps of %g and %g in direction %d", c.log, a, b, k)
				}
			}
		}
	}
}

// TestTheme checks that every colour of a plot follows the page's theme and that the style sheet has it.
func TestTheme(t *testing.T) {
	var lines []Line
	for range len(palette) + 1 {
		lines = append(lines, Line{Name: "n", Y: []float64{1, 2}, Band: []float64{1, 1}})
	}
	_, a := checkDrawing(t, Plot{X: "x", Lines: lines, Points: []Points{{Y: []float64{1}}}})
	_, b := checkDrawing(t, Plot{Y: "y", Bars: []Bar{{"b", 1, 1}}})
	if strings.Contains(a+b, "#") {
		t.Errorf("a colour of the plot does not follow the theme: %s", regexp.MustCompile(`.{30}#.{10}`).FindString(a+b))
	}
	used := variables.FindAllStringSubmatch(a+b+stylesheet, -1)
	if len(used) < 20 {
		t.Fatalf("only %d variables are used", len(used))
	}
	for _, v := range used {
		if got := strings.Count(stylesheet, v[1]+":"); got != 3 {
			t.Errorf("%s has %d values, want 3: light, dark and printed", v[1], got)
		}
	}
}

func TestLongSeries(t *testing.T) {
	n := 200000
	y := make([]float64, n)
	for i := range y {
		y[i] = math.Sin(float64(i) / 5000)
	}
	y[77777], y[123456] = 9, -9 // spikes must stay
	_, svg := checkDrawing(t, Plot{Lines: []Line{{Y: y}}, Points: []Points{{Y: y}}})
	if len(svg) > 1<<20 {
		t.Errorf("a plot of %d points takes %d bytes", n, len(svg))
	}
	chosen := map[int]bool{}
	for _, i := range (Line{Y: y}).selection() {
		chosen[i] = true
	}
	if !chosen[77777] || !chosen[123456] || len(chosen) > maxPoints+2 {
		t.Errorf("%d of %d points are drawn, spikes: %v %v", len(chosen), n, chosen[77777], chosen[123456])
	}
	y[500] = nan
	found := false
	for _, i := range (Line{Y: y}).selection() {
		found = found || i == 500
	}
	if !found {
		t.Error("a gap in a long line is not drawn")
	}
}

// TestTicks checks labels against what they stand for, on random ranges of all sizes.
func TestTicks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	superscript := strings.NewReplacer("−", "-")
	for i := range 20000 {
		low := (random.Float64() - 0.5) * math.Pow(10, float64(random.IntN(24)-12))
		high := low + math.Abs(low)*math.Pow(10, float64(random.IntN(8)-5)) + 1e-13
		var ticks []plot.Tick
		if i%2 == 0 {
			ticks = linearTicks{}.Ticks(low, high)
		} else {
			low = math.Abs(low) + 1e-13
			high = low * (1.01 + math.Pow(10, random.Float64()*15))
			ticks = logTicks{}.Ticks(low, high)
		}
		seen := map[string]bool{}
		labels := 0
		for _, k := range ticks {
			if k.Value < low-1e-6*(high-low) || k.Value > high*(1+1e-6) && k.Value > high+1e-6*(high-low) {
				t.Fatalf("tick %g outside %g … %g", k.Value, low, high)
			}
			if k.Label == "" {
				continue
			}
			labels++
			if seen[k.Label] {
				t.Fatalf("label %s twice on %g … %g", k.Label, low, high)
			}
			seen[k.Label] = true
			v, err := strconv.ParseFloat(superscript.Replace(k.Label), 64)
			if err != nil || math.Abs(v-k.Value) > 1e-6*math.Abs(k.Value)+1e-9*(high-low) {
				t.Fatalf("label %s for %g on %g … %g", k.Label, k.Value, low, high)
			}
		}
		if labels < 2 || labels > 13 {
			t.Fatalf("%d labels on %g … %g: %v", labels, low, high, ticks)
		}
	}
}

func TestTickLabels(t *testing.T) {
	for _, c := range []struct {
		ticker    plot.Ticker
		low, high float64
		want      string
	}{
		{linearTicks{}, 0, 1, "0 0.2 0.4 0.6 0.8 1.0"},
		{linearTicks{}, -10, 35, "−10 0 10 20 30"},
		{linearTicks{}, 0, 3e-6, "0 5e−7 1.0e−6 1.5e−6 2.0e−6 2.5e−6 3.0e−6"},
		{linearTicks{}, 0, 2.5e7, "0 5e6 1.0e7 1.5e7 2.0e7 2.5e7"},
		{logTicks{}, 0.01, 20, "0.01 0.1 1 10"},
		{logTicks{}, 1, 30, "1 2 5 10 20"},
		{logTicks{}, 1e-9, 1, "1e−8 1e−6 0.0001 0.01 1"},
		{logTicks{}, 0.5, 0.9, "0.5 0.6 0.7 0.8 0.9"},
	} {
		var labels []string
		for _, k := range c.ticker.Ticks(c.low, c.high) {
			if k.Label != "" {
				labels = append(labels, k.Label)
			}
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("%T on %g … %g: %s, want %s", c.ticker, c.low, c.high, got, c.want)
		}
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		plot Plot
		want string
	}{
		{Plot{Title: "T", X: "epoch", Y: "loss", Lines: []Line{{Name: "a", Y: []float64{0, 1, 2, 3, 4, 5, 6, 7, 8}}, {Name: "bb", Y: []float64{8, nan, 0}}}},
			"T (loss against epoch)\n  a   ▁▂▃▄▅▆▇██  0 → 8\n  bb  █ ▁  8 → 0\n"},
		{Plot{LogY: true, Lines: []Line{{Y: []float64{1, 10, 100}}}}, "Plot\n    ▁▅█  1 → 100\n"},
		{Plot{Points: []Points{{Name: "p", X: []float64{1, 2, nan}, Y: []float64{5, -5, 1}}}}, "Plot\n  p  2 points, x 1 … 2, y −5 … 5\n"},
		{Plot{Y: "v", Bars: []Bar{{"a", 40, 0}, {"b", 20.5, 1}, {"c", 0, 0}}},
			"Plot (v)\n  a  " + strings.Repeat("█", 40) + " 40\n  b  " + strings.Repeat("█", 20) + "▌ 20.5 ± 1\n  c   0\n"},
	} {
		if got := c.plot.clean().summary(80); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}
