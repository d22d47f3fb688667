package notebook

import (
	"fmt"
	"math"
	"strings"
)

// summary is the plot in text: a small curve a line, a bar a bar, the ranges of points.
func (d Plot) summary(width int) string {
	names := 0
	for _, name := range d.names() {
		names = max(names, textWidth(name))
	}
	names = min(names, width/3)
	var b strings.Builder
	b.WriteString(d.caption() + "\n")
	low, high := d.valueRange()
	for _, l := range d.Lines {
		b.WriteString("  " + pad(l.Name, names, false) + "  " + d.sparkline(l.Y, low, high, max(8, min(40, width-names-26))) + "  " + course(l.Y) + "\n")
	}
	for _, s := range d.Points {
		var xs, ys extent
		n := 0
		for i, y := range s.Y {
			if d.drawable(s.X[i], y) {
				n++
				xs.add(s.X[i])
				ys.add(y)
			}
		}
		fmt.Fprintf(&b, "  %s  %d points, x %s … %s, y %s … %s\n", pad(s.Name, names, false), n,
			number4(xs.low), number4(xs.high), number4(ys.low), number4(ys.high))
	}
	longest := 0.0
	for _, bar := range d.Bars {
		if v := math.Abs(bar.Value); v < 1e200 {
			longest = max(longest, v)
		}
	}
	for _, bar := range d.Bars {
		length := 0.0
		if v := math.Abs(bar.Value); longest > 0 && v < 1e200 {
			length = v / longest * float64(max(8, min(40, width-names-22)))
		}
		b.WriteString("  " + pad(bar.Name, names, false) + "  " + block(length) + " " + barLabel(bar) + "\n")
	}
	return b.String()
}

func (d Plot) names() []string {
	var names []string
	for _, l := range d.Lines {
		names = append(names, l.Name)
	}
	for _, s := range d.Points {
		names = append(names, s.Name)
	}
	for _, b := range d.Bars {
		names = append(names, b.Name)
	}
	return names
}

// caption is the title with what the axes show.
func (d Plot) caption() string {
	title := d.Title
	if title == "" {
		title = "Plot"
	}
	switch {
	case d.Y != "" && d.X != "":
		title += " (" + d.Y + " against " + d.X + ")"
	case d.Y != "" || d.X != "":
		title += " (" + d.Y + d.X + ")"
	}
	return title
}

// valueRange is the range of all lines, so that their small curves compare.
func (d Plot) valueRange() (low, high float64) {
	var e extent
	for _, l := range d.Lines {
		for i, y := range l.Y {
			if d.drawable(l.X[i], y) {
				e.add(y)
			}
		}
	}
	return e.low, e.high
}

// sparkline draws values in at most width columns, each the mean of its stretch; a column without values is blank.
func (d Plot) sparkline(values []float64, low, high float64, width int) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	scale := func(v float64) float64 { return v }
	if d.LogY {
		scale = math.Log
	}
	n := min(width, len(values))
	var b strings.Builder
	for c := 0; c < n; c++ {
		sum, count := 0.0, 0
		for _, v := range values[c*len(values)/n : (c+1)*len(values)/n] {
			if d.drawable(1, v) {
				sum += scale(v)
				count++
			}
		}
		if count == 0 {
			b.WriteByte(' ')
			continue
		}
		level := 0
		if high > low {
			level = int((sum/float64(count) - scale(low)) / (scale(high) - scale(low)) * float64(len(levels)))
		}
		b.WriteRune(levels[min(max(level, 0), len(levels)-1)])
	}
	return pad(b.String(), n, false)
}

// course is the first and the last value of a line.
func course(values []float64) string {
	if len(values) == 0 {
		return "no values"
	}
	return number4(values[0]) + " → " + number4(values[len(values)-1])
}

// block is a horizontal bar of a length in columns.
func block(length float64) string {
	eighths := int(length*8 + 0.5)
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return s
}
