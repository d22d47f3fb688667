package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"

	"github.com/harpe-ml/harpe/examples/experiment"
)

// memory lets runs in while there is room for them; one is always let in.
type memory struct {
	door sync.Mutex // held while a run is built and waits: only one at a time is built but not counted

	mu    sync.Mutex
	left  *sync.Cond
	limit int
	used  int
	runs  int
}

// newMemory has four fifths of what is available now, or of the limit that GOMEMLIMIT sets.
func newMemory() *memory {
	m := &memory{limit: int(min(available(), debug.SetMemoryLimit(-1)) / 5 * 4)}
	m.left = sync.NewCond(&m.mu)
	return m
}

// available is the free memory in bytes, without limit where the system does not say.
func available() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return math.MaxInt64
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kilobytes int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return math.MaxInt64
}

// enter builds a run and waits until there is room for it; leave gives the room back.
func (m *memory) enter(build func() (*experiment.Run, error)) (r *experiment.Run, leave func(), err error) {
	m.door.Lock()
	defer m.door.Unlock()
	if r, err = build(); err != nil {
		return nil, nil, err
	}
	// Training and prediction each have activations; parameters have optimiser state, copies and checkpoints.
	size := 2*r.Trainer.ActivationBytes() + 6*r.Trainer.Params().Count()*8
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.runs > 0 && m.used+size > m.limit {
		m.left.Wait()
	}
	m.used += size
	m.runs++
	return r, func() {
		m.mu.Lock()
		m.used -= size
		m.runs--
		m.mu.Unlock()
		m.left.Broadcast()
	}, nil
}
