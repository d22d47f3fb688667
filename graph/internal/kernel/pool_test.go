package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counter counts its pieces, and notices when two goroutines have the same worker number at once.
type counter struct {
	hits    []atomic.Int32
	busy    [64]atomic.Int32
	clashes atomic.Int32
	highest atomic.Int32
	inside  func(index int)
}

func (c *counter) Run(worker, index int) {
	if c.busy[worker].Add(1) != 1 {
		c.clashes.Add(1)
	}
	for h := c.highest.Load(); int32(worker) > h && !c.highest.CompareAndSwap(h, int32(worker)); h = c.highest.Load() {
	}
	if c.inside != nil {
		c.inside(index)
	}
	c.hits[index].Add(1)
	c.busy[worker].Add(-1)
}

func (c *counter) check(t *testing.T, wanted int32) {
	t.Helper()
	for i := range c.hits {
		if n := c.hits[i].Load(); n != wanted {
			t.Errorf("piece %d of %d ran %d times, wanted %d", i, len(c.hits), n, wanted)
		}
	}
	if n := c.clashes.Load(); n > 0 {
		t.Errorf("a worker number was shared %d times", n)
	}
}

func TestParallelRunsEveryPieceOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{1, 2, 3, 5} {
		runtime.GOMAXPROCS(procs)
		for _, n := range []int{0, 1, 2, 3, 100, 1000} {
			c := &counter{hits: make([]atomic.Int32, n)}
			for range 20 {
				Parallel(c, n)
			}
			c.check(t, 20)
			if h := int(c.highest.Load()); h >= procs {
				t.Fatalf("GOMAXPROCS %d: worker %d", procs, h)
			}
		}
	}
}

func TestParallelUsesWorkers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	// Each of the two pieces waits for the other to begin.
	var both sync.WaitGroup
	both.Add(2)
	c := &counter{hits: make([]atomic.Int32, 2), inside: func(int) { both.Done(); both.Wait() }}
	done := make(chan struct{})
	go func() { Parallel(c, 2); close(done) }()
	select {
	case <-done:
		c.check(t, 1)
	case <-time.After(10 * time.Second):
		t.Fatal("two pieces did not run side by side")
	}
}

func TestParallelConcurrentAndNested(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	var callers sync.WaitGroup
	for range 6 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for range 30 {
				inner := make([]*counter, 7)
				outer := &counter{hits: make([]atomic.Int32, len(inner)), inside: func(i int) {
					inner[i] = &counter{hits: make([]atomic.Int32, 20)}
					Parallel(inner[i], 20)
				}}
				Parallel(outer, len(inner))
				outer.check(t, 1)
				for _, c := range inner {
					c.check(t, 1)
				}
			}
		}()
	}
	callers.Wait()
}

func TestParallelPanic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	for bad := range 8 {
		func() {
			defer func() {
				if r := recover(); r != "bad piece" {
					t.Errorf("wanted the piece's panic, got %v", r)
				}
			}()
			Parallel(&counter{hits: make([]atomic.Int32, 8), inside: func(i int) {
				if i == bad {
					panic("bad piece")
				}
			}}, 8)
			t.Error("wanted a panic")
		}()
	}
	c := &counter{hits: make([]atomic.Int32, 50)}
	Parallel(c, 50)
	c.check(t, 1)
}

func TestParallelAllocations(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	c := &counter{hits: make([]atomic.Int32, 10)}
	if n := allocations(func() { Parallel(c, 10) }); n != 0 {
		t.Errorf("wanted 0 allocations a call, got %v", n)
	}
}

func BenchmarkParallel(b *testing.B) {
	c := &counter{hits: make([]atomic.Int32, 2)}
	for b.Loop() {
		Parallel(c, 2)
	}
}
