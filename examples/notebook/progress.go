package notebook

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Progress shows how far a long piece of work is: on an interactive terminal as a moving bar with rate and remaining time,
// and in the end, on any terminal, as one line. It leaves nothing on the page's files. Several bars may run at once.
type Progress struct {
	page  *Page
	name  string
	total int
	start time.Time
	shown *mpb.Bar // nil where nothing moves
	done  bool     // guarded by the page's lock

	mu        sync.Mutex
	n         int
	note      string
	firstN    int       // of the first Set: work that was resumed counts from there
	firstTime time.Time // of the first Set
	drawn     time.Time
}

// Progress starts a bar that counts to total; total 0 means that the end is not known.
func (p *Page) Progress(name string, total int) *Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &Progress{page: p, name: oneLine(name), total: max(total, 0), start: time.Now()}
	if p.term.interactive && !p.closed {
		b.show(&p.term)
	}
	return b
}

// Set says that n pieces are done, with a short note such as the loss. It is cheap enough for every step.
func (b *Progress) Set(n int, note string) {
	now := time.Now()
	b.mu.Lock()
	b.n, b.note = n, note
	if b.firstTime.IsZero() {
		b.firstN, b.firstTime = n, now
	}
	draw := b.shown != nil && now.Sub(b.drawn) > 50*time.Millisecond
	if draw {
		b.drawn = now
	}
	b.mu.Unlock()
	if draw { // unlocked: the goroutine that draws the bar may be waiting for the lock
		b.shown.SetCurrent(int64(n))
	}
}

// Done ends the bar and leaves one line: how much was done, in what time, and the last note.
func (b *Progress) Done() {
	p := b.page
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.done {
		return
	}
	b.done = true
	p.term.hide(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	line := b.name + ": " + b.count() + " in " + duration(time.Since(b.start))
	if b.note != "" {
		line += ", " + oneLine(b.note)
	}
	if !p.closed {
		p.term.line(line)
	}
}

func (b *Progress) show(t *terminal) {
	if t.bars == nil {
		t.bars = mpb.New(mpb.WithOutput(t.out), mpb.WithWidth(24))
	}
	t.running[b] = true
	b.shown = t.bars.New(int64(b.total),
		mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("").Padding("┄"),
		mpb.BarFillerTrim(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(b.name+" ", decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return b.describe() })))
}

// hide takes the bar from the terminal.
func (t *terminal) hide(b *Progress) {
	if b.shown == nil {
		return
	}
	b.shown.Abort(true)
	b.shown.Wait()
	delete(t.running, b)
	if len(t.running) == 0 {
		t.bars.Wait()
		t.bars = nil
	}
}

// stopBars takes all bars from the terminal.
func (t *terminal) stopBars() {
	for b := range t.running {
		t.hide(b)
	}
}

// describe is what stands on the right of the bar.
func (b *Progress) describe() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := " " + b.count()
	if made, took := b.n-b.firstN, time.Since(b.firstTime); made > 0 && took > 0 {
		rate := float64(made) / took.Seconds()
		s += fmt.Sprintf(" · %.3g/s", rate)
		if b.total > b.n {
			s += " · " + duration(time.Duration(float64(b.total-b.n)/rate*float64(time.Second))) + " left"
		}
	}
	if b.note != "" {
		s += " · " + oneLine(b.note)
	}
	return s
}

func (b *Progress) count() string {
	if b.total == 0 {
		return strconv.Itoa(b.n)
	}
	return fmt.Sprintf("%d of %d", b.n, b.total)
}

// duration is d with two or three significant digits, such as 0.42 s, 4.2 s, 2m10s, 3h5m.
func duration(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 1:
		return fmt.Sprintf("%.2f s", s)
	case s < 60:
		return fmt.Sprintf("%.1f s", s)
	case s < 3600:
		return d.Round(time.Second).String()
	case s < 1e9:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return "a long time"
}
