package notebook

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestQuietProgress(t *testing.T) {
	var out bytes.Buffer
	p := newPage(t, t.TempDir(), &out)
	out.Reset()
	a, b := p.Progress("backprop", 30), p.Progress("search", 0)
	for i := range 12 {
		a.Set(i+1, "loss 0.5")
		b.Set(i+1, "")
	}
	if out.Len() > 0 {
		t.Errorf("a bar that moves on something else than a terminal: %q", out.String())
	}
	a.Done()
	a.Done()
	b.Done()
	if want := regexp.MustCompile(`^\nbackprop: 12 of 30 in \d\.\d\d s, loss 0\.5\nsearch: 12 in \d\.\d\d s\n$`); !want.MatchString(out.String()) {
		t.Errorf("got %q, want %s", out.String(), want)
	}
	if strings.Contains(string(p.htmlFile()), "backprop") {
		t.Error("the page holds a bar")
	}
}

// TestRate sets the clock of a bar: 40 pieces in 2 s after the first 10 are 20 a second, and 50 more take 2.5 s.
func TestRate(t *testing.T) {
	b := &Progress{name: "b", total: 100, n: 50, note: "loss\t1\x1b", firstN: 10, firstTime: time.Now().Add(-2 * time.Second)}
	if got, want := b.describe(), " 50 of 100 · 20/s · 2.5 s left · loss 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&Progress{total: 5}).describe(), " 0 of 5"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		420 * time.Millisecond: "0.42 s", 4200 * time.Millisecond: "4.2 s", 130 * time.Second: "2m10s", 11100 * time.Second: "3h5m", 1 << 62: "a long time",
	} {
		if got := duration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
