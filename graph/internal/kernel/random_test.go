package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// TestPhilox has the known answers of Random123 for Philox4x32-10.
func TestPhilox(t *testing.T) {
	const ones = math.MaxUint32
	for _, c := range []struct {
		counter uint64
		stream  Stream
		want    [4]uint32
	}{
		{0, Stream{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{math.MaxUint64, Stream{ones, ones, ones, ones}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{0x85a308d3_243f6a88, Stream{0xa4093822, 0x299f31d0, 0x13198a2e, 0x03707344},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := c.stream.Four(c.counter); got != c.want {
			t.Errorf("counter %#x: want %#x, got %#x", c.counter, c.want, got)
		}
	}
}

var fills = []struct {
	name string
	fill func(Stream, int, []float32)
	word func(w [4]uint32, i int) float64
}{
	{"uniform", Uniform32, func(w [4]uint32, i int) float64 { return Unit(w[i]) }},
	{"normal", Normal32, func(w [4]uint32, i int) float64 {
		a, b := Gauss(w[i&2], w[i&2+1])
		return [2]float64{a, b}[i&1]
	}},
}

// TestFills compares every length with the float64 numbers, and wants the same bits of every instruction set, and of
// a fill in pieces.
func TestFills(t *testing.T) {
	s := Stream{1, 2, 3, 4}
	for _, c := range fills {
		const n = 3000
		first := make([]float32, n)
		best := vectors
		vectors = nil
		c.fill(s, 0, first)
		vectors = best
		onEachSet(t, func(t *testing.T) {
			for length := range 200 {
				x := make([]float32, n+1)
				x[length] = 77
				c.fill(s, 0, x[:length])
				if x[length] != 77 {
					t.Fatalf("%s: wrote behind the end", c.name)
				}
				at := length &^ 3
				c.fill(s, at, x[at:n])
				for i := range n {
					if bitsOf(x[i]) != bitsOf(first[i]) {
						t.Fatalf("%s, a piece of %d: number %d is %v, with portable code %v", c.name, length, i, x[i], first[i])
					}
				}
			}
		})
		for i, v := range first {
			want := c.word(s.Four(uint64(i/4)), i%4)
			if !(math.Abs(float64(v)-want) <= 5e-7*max(1, math.Abs(want))) {
				t.Errorf("%s number %d: want %v, got %v", c.name, i, want, v)
			}
		}
	}
}

// TestFillsAtTheWrap crosses the end of the low word of the counter.
func TestFillsAtTheWrap(t *testing.T) {
	s := Stream{1, 2, 3, 4}
	first := 4*(1<<32) - 800
	for _, c := range fills {
		onEachSet(t, func(t *testing.T) {
			x := make([]float32, 1600)
			c.fill(s, first, x)
			for i, v := range x {
				want := c.word(s.Four(uint64(first+i)/4), i%4)
				if !(math.Abs(float64(v)-want) <= 5e-7*max(1, math.Abs(want))) {
					t.Fatalf("%s number %d: want %v, got %v", c.name, first+i, want, v)
				}
			}
		})
	}
}

// TestGaussExtremes takes the words at the ends, where log u is near 0 or largest and the angle near multiples of
// a quarter turn.
func TestGaussExtremes(t *testing.T) {
	ends := []uint32{0, 1, 2, 1 << 29, 1<<29 - 1, 1 << 30, 1<<30 - 1, 1 << 31, 1<<31 - 1, 3 << 30, 3<<30 - 1, 0xAAAAAAAA,
		0xAAAAAAAB, 0xAAAAAAAC, math.MaxUint32 - 1, math.MaxUint32}
	for _, a := range ends {
		for _, b := range ends {
			x, y := gauss32(a, b)
			u, v := Gauss(a, b)
			radius := math.Hypot(u, v)
			if !(math.Abs(float64(x)-u) <= 4e-7*radius) || !(math.Abs(float64(y)-v) <= 4e-7*radius) {
				t.Errorf("words %#x, %#x: want %v, %v, got %v, %v", a, b, u, v, x, y)
			}
		}
	}
}

// TestEdgesOfWords gives the vector kernels words where a conversion, rounding or branch changes, and wants the bits of
// plain Go.
func TestEdgesOfWords(t *testing.T) {
	var words []uint32
	for i := range 32 {
		for d := range uint32(7) {
			words = append(words, 1<<i+d-3, 3<<i+d-3, -(1<<i)+d-3, 0xAAAAAA80+d-3, 0xAAAAAA80-1<<i+d)
		}
	}
	onEachSet(t, func(t *testing.T) {
		if vectors == nil {
			return
		}
		lanes := vectors.lanes
		x := make([]float32, 4*lanes)
		for i, a := range words {
			// Counter c gets the words a, b, b, a with another b each; vector j holds the counters' words number j.
			var w [4][16]uint32
			for l := range lanes {
				b := words[(i*13+l*37)%len(words)]
				c := l%4*lanes/4 + l/4
				w[0][c], w[1][c], w[2][c], w[3][c] = a, b, b, a
				for j := range 4 {
					x[j*lanes+l] = math.Float32frombits([4]uint32{a, b, b, a}[j])
				}
			}
			y := slices.Clone(x)
			vectors.uniform(&x[0], 1)
			vectors.normal(&y[0], 1)
			for c := range lanes {
				var z [4]float32
				z[0], z[1] = gauss32(w[0][c], w[1][c])
				z[2], z[3] = gauss32(w[2][c], w[3][c])
				for j := range 4 {
					if want := unit32(w[j][c]); x[4*c+j] != want {
						t.Fatalf("word %#x: want %v, got %v", w[j][c], want, x[4*c+j])
					}
					if bitsOf(y[4*c+j]) != bitsOf(z[j]) {
						t.Fatalf("words %#x, %#x: want %v, got %v", w[0][c], w[1][c], z[j], y[4*c+j])
					}
				}
			}
		}
	})
}

// TestUniformInside wants numbers inside (0, 1), also for the largest and smallest word.
func TestUniformInside(t *testing.T) {
	for _, w := range []uint32{0, math.MaxUint32} {
		if u := unit32(w); !(u > 0 && u < 1) {
			t.Errorf("word %#x gives %v", w, u)
		}
	}
	onEachSet(t, func(t *testing.T) {
		x := make([]float32, 1<<20)
		Uniform32(Stream{Key0: 9}, 0, x)
		for i, u := range x {
			if !(u > 0 && u < 1) {
				t.Fatalf("number %d is %v", i, u)
			}
		}
	})
}

// TestMoments compares mean, variance, skewness and kurtosis of a million numbers with those of their distributions.
func TestMoments(t *testing.T) {
	const n = 1 << 20
	x := make([]float32, n)
	for _, c := range []struct {
		name string
		fill func(Stream, int, []float32)
		want [4]float64 // moments E x^k
	}{
		{"uniform", Uniform32, [4]float64{1. / 2, 1. / 3, 1. / 4, 1. / 5}},
		{"normal", Normal32, [4]float64{0, 1, 0, 3}},
	} {
		c.fill(Stream{Key0: 5}, 0, x)
		for k, want := range c.want {
			sum, squares := 0.0, 0.0
			for _, v := range x {
				p := math.Pow(float64(v), float64(k+1))
				sum += p
				squares += p * p
			}
			mean := sum / n
			sigma := math.Sqrt((squares/n - mean*mean) / n)
			if math.Abs(mean-want) > 4.5*sigma {
				t.Errorf("%s: want E x^%d = %v, got %v, standard error %v", c.name, k+1, want, mean, sigma)
			}
		}
	}
}

func BenchmarkFill(b *testing.B) {
	for _, n := range []int{1 << 14, 1 << 22} {
		x := make([]float32, n)
		for _, c := range fills {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				for b.Loop() {
					c.fill(Stream{}, 0, x)
				}
				rate(b, n, 4)
			})
		}
	}
}
