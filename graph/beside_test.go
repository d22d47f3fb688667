package graph_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/harpe-ml/harpe/graph"
)

// branches are the losses and gradients of perceptrons that share nothing but their input.
func branches(b testing.TB, count, batch, width int) (*graph.Graph, []*graph.Node) {
	var out []*graph.Node
	g, err := graph.Build(&graph.Params{}, func(s *graph.Scope) {
		x := s.Input("x", graph.Float32, batch, width)
		for i := range count {
			w1, b1 := s.Param(fmt.Sprint("w1", i), graph.He(width), width, width), s.Param(fmt.Sprint("b1", i), graph.Zeros(), width)
			w2, b2 := s.Param(fmt.Sprint("w2", i), graph.Glorot(width, 10), width, 10), s.Param(fmt.Sprint("b2", i), graph.Zeros(), 10)
			h := graph.ReLU(graph.Add(graph.MatMul(x, w1), b1))
			loss := graph.Mean(graph.LogSumExp(graph.Add(graph.MatMul(h, w2), b2), 1))
			out = append(append(out, loss), graph.Grad(loss, w1, b1, w2, b2)...)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return g, out
}

// BenchmarkBranches has instructions that are too small for several threads each, but independent.
func BenchmarkBranches(b *testing.B) {
	for _, size := range [][2]int{{8, 32}, {32, 64}, {32, 128}, {128, 128}} {
		b.Run(fmt.Sprintf("batch=%d/width=%d", size[0], size[1]), func(b *testing.B) {
			g, out := branches(b, 8, size[0], size[1])
			p, err := g.Compile(out...)
			if err != nil {
				b.Fatal(err)
			}
			run(b, p)
			least := time.Hour
			for b.Loop() {
				start := time.Now()
				run(b, p)
				least = min(least, time.Since(start))
			}
			b.ReportMetric(float64(least.Nanoseconds()), "least-ns")
			b.ReportMetric(float64(p.Stats().ArenaBytes)/1024, "arena-KB")
			b.ReportMetric(float64(p.Lanes()), "lanes")
		})
	}
}

// Whatever the number of threads, the bits are those of the instructions one after the other, and nothing that runs at
// the same time shares memory.
func TestBranchesKeepBits(t *testing.T) {
	defer graph.FreeStages()()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	const all, alone = 1<<graph.Passes - 1, 1<<(graph.Passes-1) - 1
	graphs, lanes := 80, 0
	if testing.Short() {
		graphs = 25
	}
	for seed := range uint64(graphs) {
		f := &fusible{r: rand.New(rand.NewPCG(seed, 11)), wide: seed%30 == 0}
		var out []*graph.Node
		g, err := graph.Build(&graph.Params{Seed: seed}, func(s *graph.Scope) {
			f.s = s.ForTraining()
			out = append(f.random(), f.random()...)
		})
		if err != nil {
			t.Fatalf("graph %d: %+v", seed, err)
		}
		for _, bits := range []int{alone, 0} {
			p, err := g.CompileWith(bits, out...)
			if err != nil {
				t.Fatalf("graph %d: %+v", seed, err)
			}
			if p.Lanes() != 0 {
				t.Fatalf("graph %d: want no lanes, got %d", seed, p.Lanes())
			}
			run(t, p)
			for _, threads := range []int{1, 2, 4} {
				runtime.GOMAXPROCS(threads)
				q, err := g.CompileWith(bits|(all&^alone), out...)
				if err != nil {
					t.Fatalf("graph %d: %+v", seed, err)
				}
				lanes += q.Lanes()
				if s := q.Clash(); s != "" {
					t.Fatalf("graph %d: %s", seed, s)
				}
				for range 3 {
					run(t, q)
					for i, n := range out {
						sameBits(t, fmt.Sprintf("graph %d, passes %06b, %d threads, output %d", seed, bits, threads, i), q.Array(n), p.Array(n))
					}
				}
			}
		}
	}
	if lanes < 10*graphs {
		t.Errorf("want at least %d lanes, got %d", 10*graphs, lanes)
	}
}

func sameBits(t *testing.T, what string, got, want *graph.Array) {
	t.Helper()
	for i := range want.Size() {
		if a, b := got.At(i), want.At(i); math.Float64bits(a) != math.Float64bits(b) {
			t.Fatalf("%s, element %d: want %v, got %v", what, i, b, a)
		}
	}
}

// Branches that are worth it run side by side, in little more memory, and allocate nothing.
func TestBranchesRunSideBySide(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	g, out := branches(t, 8, 128, 128)
	p, err := g.CompileWith(1<<(graph.Passes-1)-1, out...)
	if err != nil {
		t.Fatal(err)
	}
	q, err := g.Compile(out...)
	if err != nil {
		t.Fatal(err)
	}
	a, b := p.Stats(), q.Stats()
	if q.Lanes() < 2 || b.ArenaBytes > a.ArenaBytes+max(a.ArenaBytes/32, 1<<18) || b.Instructions != a.Instructions {
		t.Errorf("want some lanes in little more than %+v, got %d in %+v", a, q.Lanes(), b)
	}
	if s := q.Clash(); s != "" {
		t.Error(s)
	}
	for i := range 128 * 128 {
		p.Array(g.Inputs()[0]).Set(i, wave(1, i))
		q.Array(g.Inputs()[0]).Set(i, wave(1, i))
	}
	run(t, p)
	run(t, q)
	for i, n := range out {
		sameBits(t, fmt.Sprint("output ", i), q.Array(n), p.Array(n))
	}
	if n := testing.AllocsPerRun(20, func() { run(t, q) }); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
	tiny, out := branches(t, 8, 1, 2)
	if p, err = tiny.Compile(out...); err != nil || p.Lanes() != 0 {
		t.Errorf("want no lanes for tiny branches, got %d, %v", p.Lanes(), err)
	}
}

// Of two branches that fail, the error is the first one's, as if they ran one after the other.
func TestBranchesFail(t *testing.T) {
	defer graph.FreeStages()()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var out []*graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x := s.Input("x", graph.Float32, 3)
		for i := range 6 {
			at := s.Input(fmt.Sprint("at", i), graph.Int, 1)
			out = append(out, graph.CumSum(graph.Take(graph.CumSum(graph.Scale(x, float64(i)), 0), at, 0), 0))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.CompileWith(0, out...)
	if err != nil {
		t.Fatal(err)
	}
	q, err := g.CompileWith(1<<(graph.Passes-1), out...)
	if err != nil || q.Lanes() < 6 {
		t.Fatalf("want 6 lanes, got %d, %v", q.Lanes(), err)
	}
	for _, at := range g.Inputs()[1:] {
		for bad := range 2 {
			for _, r := range []*graph.Program{p, q} {
				r.Array(at).Set(0, float64(7*bad))
				r.Array(g.Inputs()[6]).Set(0, 9)
			}
			for range 5 {
				want, got := p.Run(), q.Run()
				if want == nil || got == nil || want.Error() != got.Error() {
					t.Errorf("want the error %v, got %v", want, got)
				}
			}
			p.Array(at).Set(0, 0)
			q.Array(at).Set(0, 0)
		}
	}
	p.Array(g.Inputs()[6]).Set(0, 0)
	q.Array(g.Inputs()[6]).Set(0, 0)
	for range 2 {
		if err := q.Run(); err != nil {
			t.Errorf("after the mistakes: %v", err)
		}
	}
}

// Several goroutines run programs of their own at the same time.
func TestProgramsAtTheSameTime(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	var programs []*graph.Program
	var outputs [][]*graph.Node
	for i := range 5 {
		g, out := branches(t, 3, 16+32*i, 64)
		p, err := g.Compile(out...)
		if err != nil {
			t.Fatal(err)
		}
		for j := range (16 + 32*i) * 64 {
			p.Array(g.Inputs()[0]).Set(j, wave(i, j))
		}
		programs, outputs = append(programs, p), append(outputs, out)
	}
	want := make([][]*graph.Array, len(programs))
	for i, p := range programs {
		run(t, p)
		for _, n := range outputs[i] {
			want[i] = append(want[i], p.Array(n).Clone())
		}
	}
	var all sync.WaitGroup
	for i, p := range programs {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 40 {
				if err := p.Run(); err != nil {
					t.Error(err)
				}
			}
			for j, n := range outputs[i] {
				for k := range want[i][j].Size() {
					if got := p.Array(n).At(k); got != want[i][j].At(k) {
						t.Errorf("program %d, output %d, element %d: want %v, got %v", i, j, k, want[i][j].At(k), got)
						return
					}
				}
			}
		}()
	}
	all.Wait()
}
