package notebook

import (
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
)

// terminal is the view in the terminal. On anything else than a terminal it writes plain text without control
// characters and without moving bars.
type terminal struct {
	out         io.Writer // nil: no view
	interactive bool      // out is a terminal that can move its cursor
	colours     bool
	width       int
	bars        *mpb.Progress // not nil while bars are shown
	running     map[*Progress]bool
	listing     bool // the last piece was a line of a list
}

func newTerminal(out io.Writer) terminal {
	t := terminal{out: out, width: 80, running: map[*Progress]bool{}}
	f, ok := out.(*os.File)
	if !ok || !cwriter.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return t
	}
	t.interactive, t.colours = true, os.Getenv("NO_COLOR") == ""
	if w, _, err := cwriter.GetSize(int(f.Fd())); err == nil && w > 0 {
		t.width = min(max(w, 30), 100)
	}
	return t
}

// print writes text above the running bars. A terminal that has gone away is no reason to stop a training.
func (t *terminal) print(text string) {
	t.listing = false
	switch {
	case t.out == nil:
	case t.bars != nil:
		t.bars.Write([]byte(text))
	default:
		io.WriteString(t.out, text)
	}
}

// line writes a line of a list, whose first one has a blank line before it.
func (t *terminal) line(text string) {
	if !t.listing {
		text = "\n" + text
	}
	t.print(text + "\n")
	t.listing = true
}

func (t *terminal) style(code, s string) string {
	if !t.colours || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *terminal) bold(s string) string  { return t.style("1", s) }
func (t *terminal) faint(s string) string { return t.style("2", s) }
func (t *terminal) code(s string) string {
	if !t.colours {
		return "`" + s + "`"
	}
	return t.style("36", s)
}

func (t *terminal) verdict(ok bool, s string) string {
	if ok {
		return t.style("1;32", s)
	}
	return t.style("1;31", s)
}

var (
	styling = regexp.MustCompile("\x1b\\[[0-9;]*m")
	cells   = runewidth.Condition{}
)

// textWidth is the number of columns that s takes.
func textWidth(s string) int { return cells.StringWidth(styling.ReplaceAllString(s, "")) }

// pad fills s with blanks to a width, on its left if right is set.
func pad(s string, width int, right bool) string {
	blanks := strings.Repeat(" ", max(0, width-textWidth(s)))
	if right {
		return blanks + s
	}
	return s + blanks
}

// wrap breaks text at its blanks into lines of a width; each line break in text stays. The first line begins with
// first, the others with rest, which has the same width.
func wrap(text string, width int, first, rest string) string {
	var b strings.Builder
	indent := first
	for _, paragraph := range strings.Split(text, "\n") {
		line, used := indent, textWidth(indent)
		empty := true
		for _, word := range strings.Fields(paragraph) {
			w := textWidth(word)
			if !empty && used+1+w > width {
				b.WriteString(line + "\n")
				line, used, empty = rest, textWidth(rest), true
			}
			if !empty {
				line, used = line+" ", used+1
			}
			line, used, empty = line+word, used+w, false
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		indent = rest
	}
	return b.String()
}
