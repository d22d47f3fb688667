package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

// Darwin's fifteen pairs of plants, in eighths of an inch: Fisher's t is 2.148 with p = 0.0497 (The Design of
// Experiments, 1935, section 17), and the exact probability of the signed ranks, 24 against 96, is 1352/32768.
func TestDarwin(t *testing.T) {
	d := []float64{49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48}
	c := compare(d, make([]float64, len(d)))
	near(t, "difference", c.difference, 314.0/15, 1e-12)
	near(t, "t", c.t, 2.148, 5e-4)
	near(t, "p of t", c.tP, 0.0497, 5e-5)
	near(t, "p of the signed ranks", c.wilcoxonP, 1352.0/32768, 1e-15)
}

// With two pairs t is Cauchy's variable, whose probability is an arc tangent.
func TestTwoPairs(t *testing.T) {
	c := compare([]float64{3, 5}, []float64{1, 2})
	near(t, "t", c.t, 5, 1e-12)
	near(t, "p of t", c.tP, 1-2/math.Pi*math.Atan(5), 1e-12)
	near(t, "p of the signed ranks", c.wilcoxonP, 0.5, 1e-15)
	for what, c := range map[string]comparison{"one pair": compare([]float64{1}, []float64{2}), "equal": compare([]float64{2, 3}, []float64{1, 2})} {
		if !math.IsNaN(c.tP) {
			t.Errorf("%s: p %v", what, c.tP)
		}
	}
	near(t, "no difference", compare([]float64{1, 2}, []float64{1, 2}).wilcoxonP, 1, 0)
}

// The probability of the signed ranks against a count of all signs, with ties and zeros.
func TestWilcoxonAgainstEnumeration(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var d, sizes []float64
		for range 2 + r.IntN(9) {
			v := float64(r.IntN(9) - 4)
			d = append(d, v)
			if v != 0 {
				sizes = append(sizes, math.Abs(v))
			}
		}
		rank := func(x float64) (sum float64) { // the mean of the places that its equals take
			for _, s := range sizes {
				if s < x {
					sum++
				} else if s == x {
					sum += 0.5
				}
			}
			return sum + 0.5
		}
		distance := func(signs func(i int) bool) float64 {
			sum, i := 0.0, 0
			for _, v := range d {
				if v == 0 {
					continue
				}
				if signs(i) {
					sum += rank(math.Abs(v))
				} else {
					sum -= rank(math.Abs(v))
				}
				i++
			}
			return math.Abs(sum)
		}
		var positive []bool
		for _, v := range d {
			if v != 0 {
				positive = append(positive, v > 0)
			}
		}
		seen := distance(func(i int) bool { return positive[i] })
		count := 0
		for bits := range 1 << len(sizes) {
			if distance(func(i int) bool { return bits>>i&1 == 1 }) >= seen {
				count++
			}
		}
		near(t, "p", wilcoxon(d), float64(count)/float64(int(1)<<len(sizes)), 1e-12)
	}
}

// Holm's procedure by hand: 4 times the smallest, 3 times the next, and never less than the one before.
func TestHolm(t *testing.T) {
	got := holm([]float64{0.01, 0.04, math.NaN(), 0.03, 0.005, 0.9})
	for i, want := range []float64{0.04, 0.09, math.NaN(), 0.09, 0.025, 0.9} {
		if math.IsNaN(want) != math.IsNaN(got[i]) {
			t.Errorf("%d: want %v, got %v", i, want, got[i])
		} else if !math.IsNaN(want) {
			near(t, "corrected", got[i], want, 1e-15)
		}
	}
}
