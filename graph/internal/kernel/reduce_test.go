package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// normals are standard normal numbers, some of them large so that sums cancel.
func normals(n int) []float32 {
	r := rand.New(rand.NewPCG(5, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * math.Pow(10, r.Float64()*4))
	}
	return x
}

// TestSums compares with sums in the plain order, whose rounding in float64 is far below what is allowed, and wants
// every instruction set to give the same bits.
func TestSums(t *testing.T) {
	bits := map[string]float64{}
	onEachSet(t, func(t *testing.T) {
		for _, n := range append(sequence(140), 1000, 4099) {
			x := normals(n)
			var sum, squares, size float64
			for _, v := range x {
				sum += float64(v)
				squares += float64(v) * float64(v)
				size += math.Abs(float64(v))
			}
			for name, c := range map[string][3]float64{"sum": {Sum32(x), sum, size}, "squares": {SumSquares32(x), squares, squares}} {
				if !(math.Abs(c[0]-c[1]) <= 1e-14*c[2]) {
					t.Fatalf("%s of %d: want %v, got %v", name, n, c[1], c[0])
				}
				key := fmt.Sprint(name, n)
				if first, ok := bits[key]; ok && math.Float64bits(first) != math.Float64bits(c[0]) {
					t.Fatalf("%s of %d: %v, but %v with another instruction set", name, n, c[0], first)
				}
				bits[key] = c[0]
			}
		}
	})
}

func TestSumSpecial(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	onEachSet(t, func(t *testing.T) {
		for n := 1; n < 70; n++ {
			for i := range n {
				x := make([]float32, n)
				x[i] = inf
				if s, q := Sum32(x), SumSquares32(x); s != math.Inf(1) || q != math.Inf(1) {
					t.Fatalf("%d elements, +Inf at %d: got %v and %v", n, i, s, q)
				}
				x[i] = nan
				if s, q := Sum32(x), SumSquares32(x); s == s || q == q {
					t.Fatalf("%d elements, NaN at %d: got %v and %v", n, i, s, q)
				}
			}
		}
	})
}

func TestMax(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		if m := Max32(nil); !math.IsInf(float64(m), -1) {
			t.Errorf("want -Inf of nothing, got %v", m)
		}
		for n := 1; n < 140; n++ {
			x := normals(n)
			for i := range x {
				x[i] = -float32(math.Abs(float64(x[i])))
			}
			for i := range n {
				was := x[i]
				x[i] = 3
				if m := Max32(x); m != 3 {
					t.Fatalf("%d elements, 3 at %d: got %v", n, i, m)
				}
				x[i] = float32(math.NaN())
				if m := Max32(x); m == m {
					t.Fatalf("%d elements, NaN at %d: got %v", n, i, m)
				}
				x[i] = was
			}
			most := x[0]
			for _, v := range x {
				most = max(most, v)
			}
			if m := Max32(x); m != most {
				t.Fatalf("%d elements: want %v, got %v", n, most, m)
			}
		}
	})
}

// TestSoftmax compares sum, logarithm, softmax and its logarithm with float64, also for large numbers.
func TestSoftmax(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		for _, offset := range []float32{0, -1e4, 1e4} {
			for n := 1; n < 140; n++ {
				x := normals(n)
				for i := range x {
					x[i] = x[i]/1000 + offset
				}
				most := float64(x[0])
				for _, v := range x {
					most = max(most, float64(v))
				}
				sum := 0.0
				for _, v := range x {
					sum += math.Exp(float64(v) - most)
				}
				if got := SumExp32(x, float32(most)); !(math.Abs(got-sum) <= 2e-7*sum) {
					t.Fatalf("sum of %d: want %v, got %v", n, sum, got)
				}
				if got := LogSumExp32(x); !(math.Abs(got-most-math.Log(sum)) <= 2e-7) {
					t.Fatalf("logsumexp of %d: want %v, got %v", n, most+math.Log(sum), got)
				}
				y, log := make([]float32, n+1), make([]float32, n+1)
				y[n], log[n] = 77, 77
				Softmax32(y[:n], x)
				LogSoftmax32(log[:n], x)
				for i, v := range x {
					want := math.Exp(float64(v)-most) / sum
					l := float64(v) - most - math.Log(sum)
					// Where e^x is tiny, its exponent has been rounded to float32.
					if !(math.Abs(float64(y[i])-want) <= (3e-7+1.2e-7*math.Abs(l))*want) || !(math.Abs(float64(log[i])-l) <= 2e-7*max(1, math.Abs(l))) {
						t.Fatalf("%d of %d: want %v and %v, got %v and %v", i, n, want, l, y[i], log[i])
					}
				}
				if y[n] != 77 || log[n] != 77 {
					t.Fatalf("%d elements: wrote behind the end", n)
				}
			}
		}
	})
}

// TestLogSumExpSpecial: -Inf of nothing and of all -Inf, +Inf and NaN if there is one.
func TestLogSumExpSpecial(t *testing.T) {
	inf := float32(math.Inf(1))
	onEachSet(t, func(t *testing.T) {
		for _, c := range []struct {
			x    []float32
			want float64
		}{{nil, math.Inf(-1)}, {[]float32{-inf, -inf}, math.Inf(-1)}, {[]float32{0, inf}, math.Inf(1)},
			{[]float32{-inf, 2}, 2}, {[]float32{0, float32(math.NaN())}, math.NaN()}} {
			if got := LogSumExp32(c.x); got != c.want && !(got != got && c.want != c.want) {
				t.Errorf("%v: want %v, got %v", c.x, c.want, got)
			}
		}
	})
}

func TestAddRows(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		for n := 1; n < 50; n++ {
			for _, rows := range []int{0, 1, 3, 8} {
				ld := n + 5
				x := normals(ld * 8)
				sums := make([]float64, roundUp(n, 16))
				want := make([]float64, n)
				for i := range want {
					sums[i] = float64(i)
					want[i] = float64(i)
					for r := range rows {
						want[i] += float64(x[r*ld+i])
					}
				}
				AddRows32(sums, x, rows, ld, n)
				for i := range want {
					if math.Float64bits(sums[i]) != math.Float64bits(want[i]) {
						t.Fatalf("%d rows of %d, column %d: want %v, got %v", rows, n, i, want[i], sums[i])
					}
				}
			}
		}
	})
}

func BenchmarkReduce(b *testing.B) {
	for _, n := range []int{10, 1 << 10, 1 << 14, 1 << 22} {
		x, out := normals(n), make([]float32, n)
		sums := make([]float64, roundUp(n, 16))
		for name, f := range map[string]func(){
			"sum":     func() { Sum32(x) },
			"squares": func() { SumSquares32(x) },
			"max":     func() { Max32(x) },
			"softmax": func() { Softmax32(out, x) },
			"addrows": func() { AddRows32(sums, x, 1, n, n) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					f()
				}
				rate(b, n, 4)
			})
		}
	}
}

// TestSoftmaxColumns compares with float64, over widths and strides, and with numbers that are not finite.
func TestSoftmaxColumns(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		for _, size := range [][3]int{{1, 1, 1}, {5, 3, 3}, {7, 16, 20}, {3, 67, 67}, {17, 80, 81}, {4, 600, 601}} {
			n, width, stride := size[0], size[1], size[2]
			for _, offset := range []float32{0, 1e4} {
				x := normals(n * stride)
				for i := range x {
					x[i] += offset
				}
				if width > 3 {
					x[stride*(n-1)+1], x[2] = float32(math.Inf(-1)), float32(math.NaN())
				}
				for _, log := range []bool{false, true} {
					out := slices.Clone(x)
					if !SoftmaxColumns32(out, out, n, width, stride, log) {
						if vectors != nil {
							t.Fatal("want the kernel")
						}
						return
					}
					for j := range stride {
						most, sum := math.Inf(-1), 0.0
						for i := range n {
							most = max(most, float64(x[i*stride+j]))
						}
						for i := range n {
							sum += math.Exp(float64(x[i*stride+j]) - most)
						}
						for i := range n {
							v := float64(x[i*stride+j])
							want := math.Exp(v-most) / sum
							if log {
								want = v - most - math.Log(sum)
							}
							if j >= width {
								want = v
							}
							got := float64(out[i*stride+j])
							if !(math.Abs(got-want) <= 5e-7*max(1, math.Abs(want))) && !(want != want && got != got) && got != want {
								t.Fatalf("%v, log %v, row %d, column %d: want %v, got %v", size, log, i, j, want, got)
							}
						}
					}
				}
			}
		}
	})
}
