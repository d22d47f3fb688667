package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// sets returns every instruction set of this machine that has kernels for T.
func sets[T float]() []*kernelSet {
	var zero T
	all := []*kernelSet{portableSet[T]()}
	best := set32
	if any(zero) == any(float64(0)) {
		best = set64
	}
	for s := best; s != nil && s.name != "go"; s = s.lesser {
		all = append(all, s)
	}
	return all
}

func random[T float](r *rand.Rand, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = T(r.NormFloat64())
	}
	return s
}

// plainMatMul is C by the definition, in float64, and the sum of the absolute values of each element's terms.
func plainMatMul[T float](p *MatMul, c, a, b, bias []T) (want, scale []float64) {
	or := func(v, otherwise int) int {
		if v == 0 {
			return otherwise
		}
		return max(v, 0)
	}
	lda, ldb, ldc := or(p.LDA, p.K), or(p.LDB, p.N), or(p.LDC, p.N)
	rowsA, rowsB := p.M, p.K
	if p.TransA {
		lda, rowsA = or(p.LDA, p.M), p.K
	}
	if p.TransB {
		ldb, rowsB = or(p.LDB, p.K), p.N
	}
	sa, sb, sc := or(p.StrideA, rowsA*lda), or(p.StrideB, rowsB*ldb), or(p.StrideC, p.M*ldc)
	want, scale = make([]float64, len(c)), make([]float64, len(c))
	for i, v := range c {
		want[i] = float64(v)
	}
	for n := range max(p.Batch, 1) {
		for i := range p.M {
			for j := range p.N {
				var sum, abs float64
				for k := range p.K {
					x, y := n*sa+i*lda+k, n*sb+k*ldb+j
					if p.TransA {
						x = n*sa + k*lda + i
					}
					if p.TransB {
						y = n*sb + j*ldb + k
					}
					v := float64(a[x]) * float64(b[y])
					sum += v
					abs += math.Abs(v)
				}
				at := n*sc + i*ldc + j
				if p.Accumulate {
					sum += float64(c[at])
					abs += math.Abs(float64(c[at]))
				}
				if bias != nil {
					sum += float64(bias[j])
					abs += math.Abs(float64(bias[j]))
				}
				if p.ReLU && sum < 0 {
					sum = 0
				}
				want[at], scale[at] = sum, abs
			}
		}
	}
	return want, scale
}

// runMatMul runs p on a given instruction set.
func runMatMul[T float](p MatMul, set *kernelSet, c, a, b, bias []T) {
	p.run(set, slice(c), slice(a), slice(b), slice(bias), len(c), len(a), len(b), len(bias))
}

// withinRounding fails unless got lies within the rounding error of a sum of k terms whose absolute values add up to scale.
// Elements outside the result have scale 0 and must be untouched.
func withinRounding[T float](t *testing.T, name string, got []T, want, scale []float64, k int) {
	t.Helper()
	eps := 1.2e-7
	if any(T(0)) == any(float64(0)) {
		eps = 2.3e-16
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= eps*float64(k+4)*scale[i]) {
			t.Fatalf("%s: element %d: wanted %v, got %v", name, i, want[i], got[i])
		}
	}
}

func TestMatMul(t *testing.T) {
	t.Run("float32", testMatMul[float32])
	t.Run("float64", testMatMul[float64])
}

func testMatMul[T float](t *testing.T) {
	for _, set := range sets[T]() {
		t.Run(set.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			cases := []MatMul{
				{M: 1, N: 1, K: 1}, {M: 4, N: 16, K: 8}, {M: 67, N: 67, K: 67}, {M: 3, N: 5, K: 0}, {M: 3, N: 0, K: 4},
				{M: 200, N: 390, K: 3}, {M: 13, N: 33, K: 700}, {Batch: 3, M: 5, N: 40, K: 9, StrideB: Broadcast},
				{M: 1, N: 1000, K: 784}, {M: 1, N: 77, K: 300}, {M: 2, N: 64, K: 513}, {M: 210, N: 400, K: 70},
			}
			for range 200 {
				cases = append(cases, MatMul{Batch: r.IntN(4), M: 1 + r.IntN(67), N: 1 + r.IntN(67), K: 1 + r.IntN(67)})
			}
			for i := range 68 {
				cases = append(cases, MatMul{M: i, N: 67 - i, K: 31}, MatMul{M: 17, N: 35, K: i}, MatMul{M: 6, N: i, K: 67 - i})
			}
			for i, shape := range cases {
				for trans := range 4 {
					p := shape
					if i >= 12 && trans != i%4 {
						continue
					}
					p.TransA, p.TransB = trans&1 != 0, trans&2 != 0
					p.Accumulate, p.ReLU = r.IntN(2) == 0, r.IntN(2) == 0
					colsA, colsB := p.K, p.N
					rowsA, rowsB := p.M, p.K
					if p.TransA {
						colsA, rowsA = rowsA, colsA
					}
					if p.TransB {
						colsB, rowsB = rowsB, colsB
					}
					if r.IntN(2) == 0 {
						p.LDA, p.LDB, p.LDC = colsA+r.IntN(9), colsB+r.IntN(9), p.N+r.IntN(9)
						p.StrideA, p.StrideB = Broadcast, rowsB*p.LDB+r.IntN(20)
						p.StrideC = p.M*p.LDC + r.IntN(20)
					}
					batch := max(p.Batch, 1)
					a := random[T](r, batch*(rowsA*(colsA+9)+20))
					b := random[T](r, batch*(rowsB*(colsB+9)+20))
					c := random[T](r, batch*(p.M*(p.N+9)+20))
					var bias []T
					if r.IntN(2) == 0 {
						bias = random[T](r, p.N)
					}
					want, scale := plainMatMul(&p, c, a, b, bias)
					runMatMul(p, set, c, a, b, bias)
					withinRounding(t, fmt.Sprintf("%+v", p), c, want, scale, p.K)
				}
			}
		})
	}
}

func TestMatMulSameBits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := rand.New(rand.NewPCG(3, 4))
	for _, p := range []MatMul{{M: 130, N: 200, K: 333}, {M: 1, N: 1500, K: 700}, {Batch: 20, M: 30, N: 40, K: 50, TransB: true}, {M: 300, N: 400, K: 500, TransA: true}} {
		batch := max(p.Batch, 1)
		a, b := random[float32](r, batch*p.M*p.K), random[float32](r, batch*p.K*p.N)
		var first []float32
		for _, procs := range []int{1, 2, 3} {
			runtime.GOMAXPROCS(procs)
			for range 3 {
				c := make([]float32, batch*p.M*p.N)
				p.Run32(c, a, b, nil)
				if first == nil {
					first = c
				}
				for i := range c {
					if math.Float32bits(c[i]) != math.Float32bits(first[i]) {
						t.Fatalf("%dx%dx%d: GOMAXPROCS %d: element %d: %v, not %v", p.M, p.N, p.K, procs, i, c[i], first[i])
					}
				}
			}
		}
	}
}

// TestConcurrentRuns runs different values from several goroutines at once.
func TestConcurrentRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	a, b := random[float32](r, 1<<15), random[float32](r, 1<<15)
	one := [2]int{1, 1}
	product := func() []float32 {
		c := make([]float32, 100*110)
		p := MatMul{M: 100, N: 110, K: 290}
		p.Run32(c, a, b, nil)
		return c
	}
	convolution := func() []float32 {
		p := Conv2D{Batch: 6, InChannels: 32, Height: 12, Width: 12, OutChannels: 32, Kernel: [2]int{3, 3}, PadBefore: one, PadAfter: one}
		c := make([]float32, 6*32*12*12+32*32*9)
		p.Forward32(c, a, b, nil)
		p.WeightGrad32(c[6*32*12*12:], a, b)
		return c
	}
	want := [][]float32{product(), convolution()}
	var all sync.WaitGroup
	for range 4 {
		for i, f := range []func() []float32{product, convolution} {
			all.Add(1)
			go func() {
				defer all.Done()
				for range 5 {
					if !slices.Equal(f(), want[i]) {
						t.Errorf("computation %d: not the same bits as alone", i)
					}
				}
			}()
		}
	}
	all.Wait()
}

func TestMatMulSpecialValues(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, set := range sets[float32]() {
		for _, m := range []int{1, 2, 5, 40} {
			p := MatMul{M: m, N: 35, K: 20, ReLU: true}
			a, b := make([]float32, m*20), make([]float32, 20*35)
			for i := range b {
				b[i] = 1
			}
			b[3*35+7] = inf // meets a zero
			b[4*35+8] = nan
			a[0], a[1] = inf, -inf // row 0 meets both
			c := make([]float32, m*35)
			runMatMul(p, set, c, a, b, nil)
			for i := range m {
				for j := range 35 {
					got := c[i*35+j]
					if isNaN := got != got; isNaN != (i == 0 || j == 7 || j == 8) {
						t.Fatalf("%s: row %d, column %d of %d: got %v", set.name, i, j, m, got)
					}
				}
			}
		}
	}
}

func TestMatMulAllocations(t *testing.T) {
	p := MatMul{M: 65, N: 300, K: 400, TransB: true}
	c, a, b := make([]float32, 65*300), make([]float32, 65*400), make([]float32, 300*400)
	if n := allocations(func() { p.Run32(c, a, b, nil) }); n != 0 {
		t.Errorf("wanted 0 allocations a run, got %v", n)
	}
	tiny := MatMul{M: 4, N: 16, K: 8}
	if n := allocations(func() { tiny.Run32(c, a, b, nil) }); n != 0 {
		t.Errorf("wanted 0 allocations a run, got %v", n)
	}
}

// allocations is testing.AllocsPerRun without its GOMAXPROCS(1).
func allocations(f func()) float64 {
	const runs = 50
	for range 5 {
		f()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return math.Floor(float64(after.Mallocs-before.Mallocs) / runs)
}

func TestMatMulRefuses(t *testing.T) {
	c := make([]float32, 10)
	for name, f := range map[string]func(){
		"short A":       func() { (&MatMul{M: 2, N: 2, K: 20}).Run32(c, c, make([]float32, 100), nil) },
		"short bias":    func() { (&MatMul{M: 2, N: 2, K: 2}).Run32(c, c, c, c[:1]) },
		"negative size": func() { (&MatMul{M: -2, N: 2, K: 2}).Run32(c, c, c, nil) },
		"small LDA":     func() { (&MatMul{M: 2, N: 2, K: 2, LDA: 1}).Run32(c, c, c, nil) },
		"broadcast C":   func() { (&MatMul{Batch: 2, M: 1, N: 1, K: 1, StrideC: Broadcast}).Run32(c, c, c, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if _, isError := recover().(error); !isError {
					t.Error("wanted a panic with an error")
				}
			}()
			f()
		})
	}
}

func BenchmarkMatMul(b *testing.B) {
	for _, p := range []MatMul{
		{M: 1024, N: 1024, K: 1024}, {M: 1024, N: 1024, K: 1024, TransB: true}, {M: 1024, N: 1024, K: 1024, TransA: true}, {M: 512, N: 512, K: 512}, {M: 256, N: 256, K: 256},
		{M: 128, N: 1000, K: 784}, {M: 128, N: 1000, K: 784, TransB: true}, {M: 784, N: 1000, K: 128, TransA: true}, {M: 1000, N: 784, K: 128, TransA: true},
		{M: 128, N: 1000, K: 1000}, {M: 128, N: 10, K: 1000}, {M: 128, N: 10, K: 1000, TransB: true}, {M: 1000, N: 10, K: 128, TransA: true},
		{M: 1, N: 1000, K: 784}, {M: 1, N: 1000, K: 784, TransB: true}, {M: 1, N: 10, K: 1000}, {M: 8, N: 1000, K: 1000}, {M: 8, N: 1000, K: 1000, TransB: true},
		{M: 256, N: 2000, K: 2000}, {M: 2048, N: 768, K: 256}, {M: 2048, N: 256, K: 1024}, {M: 256, N: 1024, K: 2048, TransA: true},
		{Batch: 64, M: 128, N: 128, K: 64, TransB: true}, {Batch: 64, M: 128, N: 64, K: 128}, {M: 128, N: 128, K: 3136},
		{M: 4, N: 16, K: 8}, {M: 4, N: 4, K: 16}, {M: 32, N: 32, K: 32}, {M: 64, N: 64, K: 64},
	} {
		batch := max(p.Batch, 1)
		name := fmt.Sprintf("%dx%dx%dx%d", batch, p.M, p.N, p.K)
		if p.TransA {
			name += "-TA"
		}
		if p.TransB {
			name += "-TB"
		}
		b.Run(name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			c, x, y := make([]float32, batch*p.M*p.N), random[float32](r, batch*p.M*p.K), random[float32](r, batch*p.K*p.N)
			measure(b, 2*float64(batch*p.M*p.N*p.K), func() { p.Run32(c, x, y, nil) })
		})
	}
}

// measure reports the rate of the fastest of many samples: other programs share the machine.
func measure(b *testing.B, flops float64, f func()) {
	f()
	repeat := 1 + int(1e6/flops) // a sample is long against the clock
	best := math.Inf(1)
	for b.Loop() {
		start := time.Now()
		for range repeat {
			f()
		}
		best = min(best, float64(time.Since(start).Nanoseconds()))
	}
	b.ReportMetric(flops*float64(repeat)/best, "best-GFLOP/s")
	b.ReportMetric(best/float64(repeat), "best-ns")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkMatMul64(b *testing.B) {
	p := MatMul{M: 512, N: 512, K: 512}
	r := rand.New(rand.NewPCG(1, 1))
	c, x, y := make([]float64, p.M*p.N), random[float64](r, p.M*p.K), random[float64](r, p.K*p.N)
	measure(b, 2*float64(p.M*p.N*p.K), func() { p.Run64(c, x, y, nil) })
}
