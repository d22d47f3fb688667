package graph_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// draw runs f at one step and returns what it makes.
func draw(t *testing.T, dtype graph.DType, seed uint64, step int, f func(s *graph.Scope) *graph.Node) *graph.Array {
	t.Helper()
	var y *graph.Node
	g, err := graph.Build(&graph.Params{Seed: seed, DType: dtype}, func(s *graph.Scope) { y = f(s) })
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	p.SetStep(step)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(2, func() { p.Run() }); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
	return p.Array(y).Clone()
}

// full is a node of the given shape filled with v.
func full(s *graph.Scope, v float64, shape ...int) *graph.Node {
	return graph.BroadcastTo(s.Const(v), shape...)
}

// TestContinuous compares each continuous distribution with its distribution function: Kolmogorov and Smirnov's
// distance, whose limit at level 0.001 is 1.9495/sqrt(n), and mean and variance within 4 standard errors.
func TestContinuous(t *testing.T) {
	const n, euler = 40000, 0.57721566490153286
	for name, c := range map[string]struct {
		draw           func(s *graph.Scope) *graph.Node
		cdf            func(x float64) float64
		mean, variance float64
		kurtosis       float64 // fourth central moment over variance squared
	}{
		"uniform": {func(s *graph.Scope) *graph.Node { return s.Uniform("z", n) },
			func(x float64) float64 { return x }, 0.5, 1.0 / 12, 1.8},
		"normal": {func(s *graph.Scope) *graph.Node { return s.Normal("z", n) },
			func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }, 0, 1, 3},
		"exponential": {func(s *graph.Scope) *graph.Node { return s.Exponential("z", n) },
			func(x float64) float64 { return -math.Expm1(-x) }, 1, 1, 9},
		"gumbel": {func(s *graph.Scope) *graph.Node { return s.Gumbel("z", n) },
			func(x float64) float64 { return math.Exp(-math.Exp(-x)) }, euler, math.Pi * math.Pi / 6, 5.4},
	} {
		z := draw(t, graph.Float64, 11, 3, c.draw).Float64s()
		z32 := draw(t, graph.Float32, 11, 3, c.draw)
		for i, v := range z {
			if got := z32.At(i); math.Abs(got-v) > 1e-6*(1+math.Abs(v)) {
				t.Fatalf("%s[%d]: %v in float64, %v in float32", name, i, v, got)
			}
		}
		var mean, variance float64
		for _, v := range z {
			mean += v / n
		}
		for _, v := range z {
			variance += (v - mean) * (v - mean) / n
		}
		if e := 4 * math.Sqrt(c.variance/n); math.Abs(mean-c.mean) > e {
			t.Errorf("%s: want mean %v ± %v, got %v", name, c.mean, e, mean)
		}
		if e := 4 * c.variance * math.Sqrt((c.kurtosis-1)/n); math.Abs(variance-c.variance) > e {
			t.Errorf("%s: want variance %v ± %v, got %v", name, c.variance, e, variance)
		}
		slices.Sort(z)
		distance := 0.0
		for i, v := range z {
			p := c.cdf(v)
			distance = max(distance, p-float64(i)/n, float64(i+1)/n-p)
		}
		if limit := 1.9495 / math.Sqrt(n); distance > limit {
			t.Errorf("%s: distance to the distribution function %v, want at most %v", name, distance, limit)
		}
	}
}

// chiSquare compares counts with expected ones, of which those below 5 are joined with their successors. The limit is
// the 0.999 quantile by E. Wilson and M. Hilferty's approximation (1931).
func chiSquare(t *testing.T, what string, counts []int, expected []float64) {
	t.Helper()
	var sum, e float64
	o, cells := 0, 0
	for i := range counts {
		o, e = o+counts[i], e+expected[i]
		rest := 0.0
		for _, v := range expected[i+1:] {
			rest += v
		}
		if e >= 5 && (rest >= 5 || i == len(counts)-1) {
			sum += (float64(o) - e) * (float64(o) - e) / e
			o, e = 0, 0
			cells++
		}
	}
	if e > 0 {
		sum += (float64(o) - e) * (float64(o) - e) / e
		cells++
	}
	k := float64(cells - 1)
	c := 2 / (9 * k)
	if limit := k * math.Pow(1-c+3.0902*math.Sqrt(c), 3); sum > limit {
		t.Errorf("%s: chi-square %v over %d cells, want at most %v", what, sum, cells, limit)
	}
}

func TestDiscrete(t *testing.T) {
	const n = 40000
	for _, p := range []float64{0, 0.02, 0.5, 0.9, 1} {
		y := draw(t, graph.Float64, 5, 0, func(s *graph.Scope) *graph.Node { return s.Bernoulli("b", full(s, p, n)) })
		ones := 0
		for i := range n {
			switch y.At(i) {
			case 1:
				ones++
			case 0:
			default:
				t.Fatalf("bernoulli gave %v", y.At(i))
			}
		}
		if e := 4 * math.Sqrt(p*(1-p)*n); math.Abs(float64(ones)-p*n) > e {
			t.Errorf("bernoulli %v: want %v ± %v ones, got %d", p, p*n, e, ones)
		}
	}
	logits := []float64{1, -2, 0, math.Inf(-1), 2.5, 1e-3}
	var total float64
	for _, l := range logits {
		total += math.Exp(l)
	}
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		y := draw(t, dtype, 6, 0, func(s *graph.Scope) *graph.Node {
			l := graph.Cast(graph.Literal(s.Const(0), graph.ArrayOf(logits, 6)), dtype)
			return s.Categorical("c", graph.BroadcastTo(l, n, 6))
		})
		counts, expected := make([]int, 6), make([]float64, 6)
		for _, k := range y.Ints() {
			counts[k]++
		}
		for i, l := range logits {
			expected[i] = n * math.Exp(l) / total
		}
		if counts[3] != 0 {
			t.Errorf("a class of probability 0 was drawn %d times", counts[3])
		}
		chiSquare(t, "categorical", counts, expected)
	}
	y := draw(t, graph.Float32, 7, 0, func(s *graph.Scope) *graph.Node { return s.Rademacher("r", n+5) })
	words := make([]int, 256) // eight neighbouring signs
	for i := 0; i < n; i += 8 {
		w := 0
		for j := range 8 {
			v := y.At(i + j)
			if v != 1 && v != -1 {
				t.Fatalf("rademacher gave %v", v)
			}
			w = w<<1 | int(v+1)/2
		}
		words[w]++
	}
	expected := make([]float64, 256)
	for i := range expected {
		expected[i] = n / 8 / 256.0
	}
	chiSquare(t, "rademacher", words, expected)
}

func TestPoisson(t *testing.T) {
	const n = 20000
	for _, rate := range []float64{1e-9, 0.3, 4, 9.99, 10, 31.5, 400, 1e7} {
		draws := draw(t, graph.Float64, 8, 1, func(s *graph.Scope) *graph.Node { return s.Poisson("p", full(s, rate, n)) })
		var mean, variance float64
		for i := range n {
			mean += draws.At(i) / n
		}
		for i := range n {
			d := draws.At(i) - rate
			variance += d * d / n
		}
		if e := 4 * math.Sqrt(rate/n); math.Abs(mean-rate) > e {
			t.Errorf("rate %v: want mean %v ± %v, got %v", rate, rate, e, mean)
		}
		if e := 4 * math.Sqrt((rate+2*rate*rate)/n); math.Abs(variance-rate) > e {
			t.Errorf("rate %v: want variance %v ± %v, got %v", rate, rate, e, variance)
		}
		if rate < 0.1 || rate > 1000 {
			continue
		}
		counts, expected := make([]int, int(2*rate)+40), make([]float64, int(2*rate)+40)
		for i := range n {
			counts[int(draws.At(i))]++
		}
		for k := range expected {
			lg, _ := math.Lgamma(float64(k) + 1)
			expected[k] = n * math.Exp(float64(k)*math.Log(rate)-rate-lg)
		}
		chiSquare(t, fmt.Sprint("poisson ", rate), counts, expected)
		f32 := draw(t, graph.Float32, 8, 1, func(s *graph.Scope) *graph.Node { return s.Poisson("p", full(s, rate, n)) })
		differ := 0
		for i := range n {
			if f32.At(i) != draws.At(i) {
				differ++
			}
		}
		if differ > n/1000 {
			t.Errorf("rate %v: %d of %d draws differ between float32 and float64", rate, differ, n)
		}
	}
	zero := draw(t, graph.Float64, 8, 1, func(s *graph.Scope) *graph.Node { return s.Poisson("p", full(s, 0, 10)) })
	for i := range 10 {
		if zero.At(i) != 0 {
			t.Errorf("rate 0 gave %v", zero.At(i))
		}
	}
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1)} {
		var y *graph.Node
		g, err := graph.Build(nil, func(s *graph.Scope) { y = s.Poisson("p", graph.Mul(full(s, bad, 2), s.Uniform("u", 2))) })
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(y)
		if err != nil {
			t.Fatal(err)
		}
		if err, ok := p.Run().(*graph.Error); !ok || err.Op != "poisson" {
			t.Errorf("rate %v: want an error of poisson, got %v", bad, err)
		}
	}
}

func TestPermutation(t *testing.T) {
	counts, expected := make([]int, 24), make([]float64, 24)
	const n = 6000
	var y *graph.Node
	g, err := graph.Build(&graph.Params{Seed: 2}, func(s *graph.Scope) { y = s.Permutation("p", 4) })
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	rank := map[[4]int]int{}
	for step := range n {
		p.SetStep(step)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		order := [4]int(p.Array(y).Ints())
		sorted := slices.Clone(order[:])
		slices.Sort(sorted)
		if !slices.Equal(sorted, []int{0, 1, 2, 3}) {
			t.Fatalf("not a permutation: %v", order)
		}
		if _, ok := rank[order]; !ok {
			rank[order] = len(rank)
		}
		counts[rank[order]]++
	}
	for i := range expected {
		expected[i] = n / 24.0
	}
	chiSquare(t, "permutation", counts, expected)
	for _, n := range []int{0, 1} {
		y := draw(t, graph.Float32, 1, 0, func(s *graph.Scope) *graph.Node { return s.Permutation("p", n) })
		if y.Size() != n {
			t.Errorf("permutation of %d: got %v", n, y)
		}
	}
}

// TestStreams checks what the numbers depend on: seed, step, stream and scope, and nothing else.
func TestStreams(t *testing.T) {
	for name, f := range map[string]func(s *graph.Scope, stream string) *graph.Node{
		"exponential": func(s *graph.Scope, stream string) *graph.Node { return s.Exponential(stream, 37) },
		"gumbel":      func(s *graph.Scope, stream string) *graph.Node { return s.Gumbel(stream, 37) },
		"rademacher":  func(s *graph.Scope, stream string) *graph.Node { return s.Rademacher(stream, 137) },
		"bernoulli":   func(s *graph.Scope, stream string) *graph.Node { return s.Bernoulli(stream, full(s, 0.5, 137)) },
		"poisson":     func(s *graph.Scope, stream string) *graph.Node { return s.Poisson(stream, full(s, 20, 37)) },
		"permutation": func(s *graph.Scope, stream string) *graph.Node { return s.Permutation(stream, 37) },
		"categorical": func(s *graph.Scope, stream string) *graph.Node { return s.Categorical(stream, full(s, 0, 137, 5)) },
	} {
		base := func(s *graph.Scope) *graph.Node { return f(s, "z") }
		want := elements(draw(t, graph.Float32, 1, 1, base))
		if got := elements(draw(t, graph.Float32, 1, 1, base)); !slices.Equal(got, want) {
			t.Errorf("%s: the same draw twice: %v and %v", name, want, got)
		}
		for what, got := range map[string]*graph.Array{
			"seed":   draw(t, graph.Float32, 2, 1, base),
			"step":   draw(t, graph.Float32, 1, 2, base),
			"stream": draw(t, graph.Float32, 1, 1, func(s *graph.Scope) *graph.Node { return f(s, "y") }),
			"scope":  draw(t, graph.Float32, 1, 1, func(s *graph.Scope) *graph.Node { return f(s.Sub("a"), "z") }),
		} {
			if slices.Equal(elements(got), want) {
				t.Errorf("%s: another %s gives the same numbers", name, what)
			}
		}
	}
}

func elements(a *graph.Array) []float64 {
	e := make([]float64, a.Size())
	for i := range e {
		e[i] = a.At(i)
	}
	return e
}
