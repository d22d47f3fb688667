package rules

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8/cwriter"
)

// bar is the line on a terminal that says how far a run is; nil draws nothing.
type bar struct {
	out   *os.File
	from  int // steps that were made before
	begun time.Time
	drawn time.Time
}

// newBar is nil where nothing is to be drawn.
func newBar(out *os.File, from int) *bar {
	if out == nil || os.Getenv("TERM") == "dumb" || !cwriter.IsTerminal(int(out.Fd())) {
		return nil
	}
	return &bar{out: out, from: from, begun: time.Now()}
}

// draw replaces the line, at most twenty times a second. A terminal that has gone away is no reason to stop a training.
func (b *bar) draw(p Progress) {
	if b == nil {
		return
	}
	if now := time.Now(); now.Sub(b.drawn) > 50*time.Millisecond {
		b.drawn = now
		b.out.WriteString("\r" + p.line(p.Step-b.from, now.Sub(b.begun)) + "\x1b[K")
	}
}

// clear removes the line.
func (b *bar) clear() {
	if b != nil {
		b.out.WriteString("\r\x1b[K")
	}
}

// line is the text of the bar when so many steps took so long.
func (p Progress) line(made int, took time.Duration) string {
	const width = 20
	full := width * p.Step / max(p.Steps, 1)
	rate := float64(made) / math.Max(took.Seconds(), 1e-9)
	left := time.Duration(float64(p.Steps-p.Step) / rate * float64(time.Second))
	return fmt.Sprintf("%s %s%s epoch %d of %d · %.3g steps/s · %v left · loss %.4g", p.Rule, strings.Repeat("━", full),
		strings.Repeat("┄", width-full), p.Epoch, p.Epochs, rate, left.Round(time.Second), p.Loss)
}
