package notebook

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a pseudo terminal of 90 columns.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 90}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestTerminalProgress looks at what a real terminal gets: moving bars, text above them, one line each in the end.
func TestTerminalProgress(t *testing.T) {
	master, slave := openTerminal(t)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	received := make(chan string)
	go func() {
		all, _ := io.ReadAll(master) // ends with an error when the other end closes
		received <- string(all)
	}()

	p := newPage(t, t.TempDir(), slave)
	a, b := p.Progress("backprop", 8), p.Progress("mono-forward", 8)
	for i := range 8 {
		time.Sleep(60 * time.Millisecond)
		a.Set(i+1, "loss 0.5")
		b.Set(i, "loss 0.7")
		if i == 4 {
			p.Text("said *meanwhile*")
		}
	}
	a.Done()
	b.Done()
	p.Progress("left open", 3)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	got := <-received
	master.Close()

	for _, want := range []string{"━", "┄", " of 8 · ", "/s · ", " left", "loss 0.5", "said \x1b[3mmeanwhile\x1b[0m\r\n", "left open"} {
		if !strings.Contains(got, want) {
			t.Errorf("the terminal did not get %q", want)
		}
	}
	if strings.Count(got, "\x1b[") < 10 {
		t.Error("the bars did not move")
	}
	first, second := strings.Index(got, "backprop: 8 of 8 in "), strings.Index(got, "mono-forward: 7 of 8 in ")
	if first < 0 || second < first {
		t.Errorf("final lines missing or out of order in %q", got)
	}
	if tail := got[second:]; strings.Contains(tail, "━") && strings.Contains(tail, "mono-forward ") {
		t.Error("a finished bar is drawn again")
	}
}

func TestDumbTerminal(t *testing.T) {
	_, slave := openTerminal(t)
	defer slave.Close()
	t.Setenv("TERM", "dumb")
	if newTerminal(slave).interactive {
		t.Error("a dumb terminal got bars")
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if term := newTerminal(slave); !term.interactive || term.colours || term.width != 90 {
		t.Errorf("got %+v, want bars without colours in 90 columns", term)
	}
}
