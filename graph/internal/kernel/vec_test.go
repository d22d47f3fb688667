package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// onEachSet runs f with every vector set of this machine, the portable one last.
func onEachSet(t *testing.T, f func(t *testing.T)) {
	best := vectors
	defer func() { vectors = best }()
	for _, s := range vectorSets() {
		vectors = s
		name := "go"
		if s != nil {
			name = s.name
		}
		t.Run(name, f)
	}
}

// exact holds float64 references of the unary functions.
var exact = map[string]func(float64) float64{
	"neg":        func(x float64) float64 { return -x },
	"abs":        math.Abs,
	"square":     func(x float64) float64 { return x * x },
	"sqrt":       math.Sqrt,
	"rsqrt":      func(x float64) float64 { return 1 / math.Sqrt(x) },
	"reciprocal": func(x float64) float64 { return 1 / x },
	"relu": func(x float64) float64 {
		if x < 0 {
			return 0
		}
		return x
	},
	"sign": func(x float64) float64 {
		if x == 0 || x != x {
			return x
		}
		return math.Copysign(1, x)
	},
	"floor":   math.Floor,
	"round":   math.RoundToEven,
	"exp":     math.Exp,
	"expm1":   math.Expm1,
	"log":     math.Log,
	"log1p":   math.Log1p,
	"tanh":    math.Tanh,
	"atanh":   math.Atanh,
	"erf":     math.Erf,
	"sin":     math.Sin,
	"cos":     math.Cos,
	"tan":     math.Tan,
	"sigmoid": func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
	"softplus": func(x float64) float64 {
		if x > 0 {
			return x + math.Log1p(math.Exp(-x))
		}
		return math.Log1p(math.Exp(x))
	},
}

// most is the largest error allowed, in units in the last place: 1/2 for what is rounded once, or exact.
var most = map[string]float64{"neg": 0, "abs": 0, "square": 0.5, "sqrt": 0.5, "rsqrt": 1.5, "reciprocal": 0.5, "relu": 0,
	"sign": 0, "floor": 0, "round": 0, "exp": 1.1, "expm1": 2, "log": 1.5, "log1p": 2, "tanh": 2, "atanh": 3, "erf": 1.5,
	"sin": 1.5, "cos": 1.5, "tan": 4, "sigmoid": 2.5, "softplus": 2.5}

// ulps is the distance of got from want in units in the last place of want as a float32.
func ulps(got float32, want float64) float64 {
	near := float32(want)
	switch {
	case near != near || got != got:
		if near != near && got != got {
			return 0
		}
		return math.Inf(1)
	case got == near && math.Signbit(float64(got)) == math.Signbit(want):
		if math.IsInf(want, 0) || math.IsInf(float64(near), 0) {
			return 0
		}
	case math.IsInf(float64(near), 0) || math.IsInf(float64(got), 0):
		// Overflow: MaxFloat32 and infinity are neighbours.
		if max(math.Abs(want), math.Abs(float64(got))) == math.Inf(1) && min(math.Abs(want), math.Abs(float64(got))) < math.MaxFloat32*(1-0x1p-22) {
			return math.Inf(1)
		}
		return 1
	case got == 0 && near == 0:
		return math.Inf(1) // the sign of 0
	}
	_, e := math.Frexp(float64(near))
	ulp := math.Ldexp(1, max(e-24, -149))
	return math.Abs(float64(got)-want) / ulp
}

// TestUnaryAccuracy compares the functions with float64 on two million bit patterns, and near special values.
func TestUnaryAccuracy(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		if vectors == nil {
			t.Skip("no vector functions")
		}
		for name, want := range exact {
			f := Unary32(name)
			if f == nil {
				t.Fatalf("no function %s", name)
			}
			stride := uint64(2003)
			if testing.Short() {
				stride = 100003
			}
			worst, at := worstError(f, want, stride)
			t.Logf("%-10s worst %.3f ulp at %v (%#x)", name, worst, at, math.Float32bits(at))
			if !(worst <= most[name]) {
				t.Errorf("%s(%v): want at most %v ulp, got %.4g", name, at, most[name], worst)
			}
		}
	})
}

// worstError scans every stride-th float32, and all of the 64 next to special values.
func worstError(f func(out, x []float32), want func(float64) float64, stride uint64) (worst float64, at float32) {
	x, y := make([]float32, 0, 4099), make([]float32, 4099)
	flush := func() {
		f(y[:len(x)], x)
		for i, v := range x {
			e := ulps(y[i], want(float64(v)))
			if e > worst || e != e {
				worst, at = e, v
			}
		}
		x = x[:0]
	}
	add := func(v float32) {
		if x = append(x, v); len(x) == cap(x) {
			flush()
		}
	}
	for b := uint64(0); b < 1<<32; b += stride {
		add(math.Float32frombits(uint32(b)))
	}
	for _, v := range []float64{0, math.Copysign(0, -1), 0x1p-126, 0.35, 0.55, 2.0 / 3, 0.9, 1, 4.0 / 3, 1.5, math.Pi / 2, 2, math.Pi, 3.95, 10, 87.3, 88.72284, 103.97, 0x1p23,
		1 << 31, math.MaxFloat32, math.Inf(1)} {
		for _, s := range []float32{1, -1} {
			b := math.Float32bits(s * float32(v))
			for d := range uint32(64) {
				add(math.Float32frombits(b + d - 32))
			}
		}
	}
	flush()
	return worst, at
}

// TestUnaryTails wants the same numbers for every length and in place, and nothing written behind the end.
func TestUnaryTails(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 70)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	x[3], x[40], x[41] = 1e20, 1e21, -3e9 // large ones for the trigonometric functions
	onEachSet(t, func(t *testing.T) {
		if vectors == nil {
			t.Skip("no vector functions")
		}
		for name := range exact {
			f := Unary32(name)
			whole := make([]float32, len(x))
			f(whole, x)
			for n := range 68 {
				out := make([]float32, n+2)
				out[n] = 77
				f(out[:n], x)
				same := append([]float32{}, x...)
				f(same[:n], same)
				for i := range n {
					if bitsOf(out[i]) != bitsOf(whole[i]) || bitsOf(same[i]) != bitsOf(whole[i]) {
						t.Fatalf("%s, %d elements: element %d is %v, in place %v, in a longer vector %v", name, n, i, out[i], same[i], whole[i])
					}
				}
				if out[n] != 77 || bitsOf(same[n]) != bitsOf(x[n]) {
					t.Fatalf("%s, %d elements: wrote behind the end", name, n)
				}
			}
		}
	})
}

func bitsOf(x float32) uint32 { return math.Float32bits(x) }

func truth(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

var exactBinary = map[string]func(a, b float32) float32{
	"add":           func(a, b float32) float32 { return a + b },
	"sub":           func(a, b float32) float32 { return a - b },
	"mul":           func(a, b float32) float32 { return a * b },
	"div":           func(a, b float32) float32 { return a / b },
	"maximum":       func(a, b float32) float32 { return max(a, b) },
	"minimum":       func(a, b float32) float32 { return min(a, b) },
	"equal":         func(a, b float32) float32 { return truth(a == b) },
	"not_equal":     func(a, b float32) float32 { return truth(a != b) },
	"less":          func(a, b float32) float32 { return truth(a < b) },
	"less_equal":    func(a, b float32) float32 { return truth(a <= b) },
	"greater":       func(a, b float32) float32 { return truth(a > b) },
	"greater_equal": func(a, b float32) float32 { return truth(a >= b) },
}

// samples has ordinary and special numbers, so that pairs of special ones meet.
func samples(n int, seed uint64) []float32 {
	special := []float32{0, float32(math.Copysign(0, -1)), 1, -1, float32(math.NaN()), float32(math.Inf(1)),
		float32(math.Inf(-1)), 1e-40, -1e-45, math.MaxFloat32, -math.MaxFloat32, 0x1p-126}
	r := rand.New(rand.NewPCG(seed, 7))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
		if r.IntN(3) == 0 {
			x[i] = special[r.IntN(len(special))]
		}
	}
	return x
}

// equalNumbers treats all NaNs as equal, and zeros of either sign.
func equalNumbers(a, b float32) bool { return a == b || a != a && b != b }

func TestBinary(t *testing.T) {
	a, b := samples(2000, 1), samples(2000, 2)
	onEachSet(t, func(t *testing.T) {
		if vectors == nil {
			t.Skip("no vector functions")
		}
		for name, want := range exactBinary {
			f := Binary32(name)
			for _, n := range append(sequence(68), 2000) {
				for _, s := range [][2]int{{1, 1}, {1, 0}, {0, 1}, {0, 0}} {
					for start := range 12 { // which number the scalar is
						x, y := a, b
						if s[0] == 0 {
							x = a[start:]
						}
						if s[1] == 0 {
							y = b[start:]
						}
						out := make([]float32, n+1)
						out[n] = 77
						f(out[:n], x, y, s[0], s[1])
						for i := range n {
							if w := want(x[i*s[0]], y[i*s[1]]); !equalNumbers(out[i], w) {
								t.Fatalf("%s(%v, %v), strides %v: want %v, got %v", name, x[i*s[0]], y[i*s[1]], s, w, out[i])
							}
						}
						if out[n] != 77 {
							t.Fatalf("%s, %d elements: wrote behind the end", name, n)
						}
						if s[0]+s[1] == 2 || n > 100 {
							break
						}
					}
				}
			}
			in := append([]float32{}, a...)
			f(in, in, b, 1, 1)
			again := append([]float32{}, b...)
			f(again, a, again, 1, 1)
			for i := range in {
				if !equalNumbers(in[i], want(a[i], b[i])) || !equalNumbers(again[i], want(a[i], b[i])) {
					t.Fatalf("%s in place: element %d", name, i)
				}
			}
		}
	})
}

func sequence(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestWhere(t *testing.T) {
	c, a, b := samples(70, 3), samples(70, 1), samples(70, 2)
	onEachSet(t, func(t *testing.T) {
		for n := range 70 {
			for _, s := range [][2]int{{1, 1}, {1, 0}, {0, 1}, {0, 0}} {
				out := make([]float32, n+1)
				out[n] = 77
				Where32(out[:n], c, a, b, s[0], s[1])
				for i := range n {
					want := b[i*s[1]]
					if c[i] != 0 {
						want = a[i*s[0]]
					}
					if !equalNumbers(out[i], want) {
						t.Fatalf("where(%v) of %d, strides %v, element %d: want %v, got %v", c[i], n, s, i, want, out[i])
					}
				}
				if out[n] != 77 {
					t.Fatalf("%d elements: wrote behind the end", n)
				}
			}
		}
	})
}

func BenchmarkUnary(b *testing.B) {
	x, out := make([]float32, 1<<14), make([]float32, 1<<14)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for _, name := range []string{"neg", "square", "relu", "sqrt", "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "tanh", "sigmoid",
		"softplus", "erf", "sin", "cos", "tan"} {
		b.Run(name, func(b *testing.B) {
			f := Unary32(name)
			if f == nil {
				b.Skip("no vector functions")
			}
			for b.Loop() {
				f(out, x)
			}
			rate(b, len(x), 8)
		})
	}
}

func BenchmarkBinary(b *testing.B) {
	for _, n := range []int{16, 1 << 10, 1 << 14, 1 << 22} {
		x, y, out := make([]float32, n), make([]float32, n), make([]float32, n)
		for _, name := range []string{"add", "mul", "div", "maximum", "greater"} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				f := Binary32(name)
				if f == nil {
					b.Skip("no vector functions")
				}
				for b.Loop() {
					f(out, x, y, 1, 1)
				}
				rate(b, n, 12)
			})
		}
	}
}

// rate reports elements and bytes a second; bytes is what one element moves.
func rate(b *testing.B, elements, bytes int) {
	s := float64(elements) * float64(b.N) / b.Elapsed().Seconds() / 1e9
	b.ReportMetric(s, "Gelem/s")
	b.ReportMetric(s*float64(bytes), "GB/s")
	b.ReportMetric(0, "ns/op")
}

// TestFirst compares PutFirst32 and PickFirst32 with plain loops, for every length, and wants nothing behind it changed.
func TestFirst(t *testing.T) {
	nan := float32(math.NaN())
	onEachSet(t, func(t *testing.T) {
		for n := range 100 {
			x, m, d, left := normals(n+1), normals(n+1), normals(n+1), make([]float32, n+1)
			for i := range x {
				left[i] = float32(i % 5 / 2 % 2)
				switch i % 3 {
				case 0:
					m[i] = x[i]
				case 1:
					x[i], m[i], d[i] = nan, nan, nan
				}
			}
			put, pick := normals(n+1), normals(n+1)
			wantPut, wantPick, wantLeft := slices.Clone(put), slices.Clone(pick), slices.Clone(left)
			for i := range n {
				if left[i] == 1 && x[i] == m[i] {
					wantPut[i] += d[i]
					wantPick[i], wantLeft[i] = d[i], 0
				}
			}
			for what, c := range map[string]struct {
				f         func(out, x, m, d, left []float32)
				out, want []float32
			}{"put": {PutFirst32, put, wantPut}, "pick": {PickFirst32, pick, wantPick}} {
				l := slices.Clone(left)
				c.f(c.out[:n], x, m, d, l)
				if !slices.Equal(c.out, c.want) || !slices.Equal(l, wantLeft) {
					t.Fatalf("%s of %d: want %v and %v left, got %v and %v", what, n, c.want, wantLeft, c.out, l)
				}
			}
		}
	})
}
