package objectives

import (
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// eislByLoops is the loss of one example without noise, from probabilities.
func eislByLoops(p [][]float64, y []int, n int) float64 {
	sum := 0.0
	for j := 0; j+n <= len(y); j++ {
		var s, weights []float64
		for i := 0; i+n <= len(p); i++ {
			m := 0.0
			for k := range n {
				m += max(-20, math.Log(p[i+k][y[j+k]])) / float64(n)
			}
			s, weights = append(s, m), append(weights, math.Exp(m))
		}
		top, bottom := 0.0, 0.0
		for i := range s {
			top, bottom = top+weights[i]*s[i], bottom+weights[i]
		}
		sum -= top / bottom
	}
	return sum / float64(len(y)-n+1)
}

var eislP = [][]float64{{.7, .2, .1}, {.1, .8, .1}, {.25, .25, .5}}

func logsOf(p [][]float64) *graph.Array {
	a := graph.NewArray(graph.Float64, 1, len(p), len(p[0]))
	for i, row := range p {
		for k, v := range row {
			a.Set(i*len(row)+k, math.Log(v))
		}
	}
	return a
}

func text(y ...int) *graph.Array { return graph.ArrayOf(y, 1, len(y)) }

func TestEISL(t *testing.T) {
	moved := [][]float64{eislP[2], eislP[0], eislP[1]}
	for _, c := range []struct {
		name    string
		p       [][]float64
		o       EISLOptions
		y       []int
		catalog float64
	}{
		{"3", eislP, EISLOptions{NGrams: []int{3}}, []int{0, 1, 2}, .4243218919},
		{"all", eislP, EISLOptions{NGrams: []int{0}}, []int{0, 1, 2}, .4243218919},
		{"1", eislP, EISLOptions{NGrams: []int{1}}, []int{0, 1, 2}, .8725715318},
		{"2", eislP, EISLOptions{NGrams: []int{2}}, []int{0, 1, 2}, .6464709510},
		{"all but one", eislP, EISLOptions{NGrams: []int{-1}}, []int{0, 1, 2}, .6464709510},
		{"too long", eislP, EISLOptions{NGrams: []int{4}}, []int{0, 1, 2}, .4243218919},
		{"one too long", eislP, EISLOptions{NGrams: []int{9, 2}, Weights: []float64{3, 1}}, []int{0, 1, 2}, .6464709510},
		{"1 and 2", eislP, EISLOptions{NGrams: []int{1, 2}}, []int{0, 1, 2}, .7595212414},
		{"usual", eislP, EISLOptions{}, []int{0, 1, 2}, .8273514157},
		{"rotated, 3", eislP, EISLOptions{NGrams: []int{3}}, []int{1, 2, 0}, 1.7661057888},
		{"rotated, 1", eislP, EISLOptions{NGrams: []int{1}}, []int{1, 2, 0}, .8725715318},
		{"rotated, 2", eislP, EISLOptions{NGrams: []int{2}}, []int{1, 2, 0}, 1.3769042567},
		{"places moved, 1", moved, EISLOptions{NGrams: []int{1}}, []int{0, 1, 2}, .8725715318},
		{"factors", eislP, EISLOptions{NGrams: []int{1}, NGramFactor: 2, CEFactor: 3}, []int{0, 1, 2}, 2*.8725715318 + 3*.4243218919},
	} {
		loss, _ := losses(t, c.o.Loss, logsOf(c.p), text(c.y...))
		wantNear(t, c.name, 1e-9, loss, []float64{c.catalog})
	}
	for n := 1; n <= 3; n++ {
		loss, _ := losses(t, EISLOptions{NGrams: []int{n}}.Loss, logsOf(eislP), text(2, 2, 0))
		wantNear(t, "by loops", 1e-12, loss, []float64{eislByLoops(eislP, []int{2, 2, 0}, n)})
	}
	// A target shorter or longer than the output.
	for _, y := range [][]int{{2, 1}, {2, 1, 0, 1, 1}} {
		loss, _ := losses(t, EISLOptions{NGrams: []int{2}}.Loss, logsOf(eislP), text(y...))
		wantNear(t, "other length", 1e-12, loss, []float64{eislByLoops(eislP, y, 2)})
	}
	_, dx := losses(t, EISLOptions{NGrams: []int{2}}.Loss, logsOf(eislP), text(0, 1, 2))
	wantNear(t, "derivative, 2", 1e-8, dx, []float64{-.08587521, .0606635, .02521172, .06235723, -.12259729, .06024006, .06197071, .07432794, -.13629865})
	_, dx = losses(t, EISLOptions{NGrams: []int{1}}.Loss, logsOf(eislP), text(0, 1, 2))
	wantNear(t, "derivative, 1", 1e-8, dx, []float64{-.09780743, .05924437, .03856307, .04504242, -.08084547, .03580305, .06788969, .08028431, -.148174})
	// Below -20 for every place.
	loss, dx := losses(t, EISLOptions{NGrams: []int{1}}.Loss, graph.ArrayOf([]float64{0, 50, 50}, 1, 1, 3), text(0))
	wantNear(t, "floor", 0, append(loss, dx...), []float64{20, 0, 0, 0})
	// With one n-gram at one place it is cross-entropy.
	x, y := gradcheck.Normal(1, 3, 4, 5), gradcheck.Ints(1, 5, 3, 4)
	whole, dwhole := losses(t, EISLOptions{NGrams: []int{4}}.Loss, x, y)
	ce, dce := losses(t, CrossEntropyOptions{Axis: -1}.Loss, x, y)
	wantNear(t, "cross-entropy", 1e-12, append(whole, dwhole...), append(ce, dce...))
}

// With q constant the derivative by s is -q alone.
func TestEISLDetached(t *testing.T) {
	_, dx := losses(t, EISLOptions{NGrams: []int{1}, DetachWeights: true}.Loss, logsOf(eislP), text(0, 1, 2))
	want := make([]float64, 9)
	for j, y := range []int{0, 1, 2} {
		column := eislP[0][y] + eislP[1][y] + eislP[2][y]
		for i := range 3 {
			q := eislP[i][y] / column
			for k := range 3 {
				hot := 0.0
				if k == j {
					hot = 1
				}
				want[3*i+k] -= q * (hot - eislP[i][k]) / 3
			}
		}
	}
	wantNear(t, "derivative", 1e-12, dx, want)
}

// Padding changes nothing but the places of the output, and an empty example does not count.
func TestEISLPadding(t *testing.T) {
	o := EISLOptions{NGrams: []int{1, 2}, Ignore: []int{7}}
	want := (eislByLoops(eislP, []int{0, 1}, 1) + eislByLoops(eislP, []int{0, 1}, 2)) / 2
	loss, _ := losses(t, o.Loss, logsOf(eislP), text(0, 1, 7))
	wantNear(t, "padded", 1e-12, loss, []float64{want})
	twice := graph.NewArray(graph.Float64, 2, 3, 3)
	copy(twice.Float64s(), logsOf(eislP).Float64s())
	loss, dx := losses(t, o.Loss, twice, graph.ArrayOf([]int{0, 1, 7, 7, 7, 7}, 2, 3))
	wantNear(t, "an empty one", 1e-12, append(loss, dx[9:]...), append([]float64{want}, make([]float64, 9)...))
	loss, dx = losses(t, o.Loss, logsOf(eislP), text(7, 7, 7))
	wantNear(t, "empty", 0, append(loss, dx...), make([]float64, 10))
	// A single word leaves no pair.
	loss, _ = losses(t, o.Loss, logsOf(eislP), text(7, 1, 7))
	wantNear(t, "a word", 1e-12, loss, []float64{eislByLoops(eislP, []int{1}, 1) / 2})
}

// The noise moves the weights of the places only: the loss is -Σ q s for a q that is the softmax of s and the noise.
func TestEISLNoise(t *testing.T) {
	o := EISLOptions{NGrams: []int{2}}
	var x, y, loss, noise *graph.Node
	g, err := graph.Build(&graph.Params{DType: graph.Float64, Seed: 3}, func(s *graph.Scope) {
		x, y = s.Input("x", graph.Float64, 1, 3, 3), s.Input("y", graph.Int, 1, 3)
		loss, noise = o.NoisyLoss(s, x, y), s.Gumbel("eisl/2", 1, 2, 2)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(loss, noise)
	if err != nil {
		t.Fatal(err)
	}
	p.Array(x).CopyFrom(logsOf(eislP))
	p.Array(y).CopyFrom(text(0, 1, 2))
	var seen []float64
	for step := range 3 {
		p.SetStep(step)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		want := 0.0
		for j, y := range [][]int{{0, 1}, {1, 2}} {
			top, bottom := 0.0, 0.0
			for i := range 2 {
				s := (math.Log(eislP[i][y[0]]) + math.Log(eislP[i+1][y[1]])) / 2
				w := math.Exp(s + p.Array(noise).At(2*i+j))
				top, bottom = top+w*s, bottom+w
			}
			want -= top / bottom / 2
		}
		wantNear(t, "noisy", 1e-12, floats(p.Array(loss)), []float64{want})
		seen = append(seen, want)
	}
	if seen[0] == seen[1] || seen[1] == seen[2] {
		t.Errorf("the noise is the same at each step: %v", seen)
	}
}

func TestEISLDerivatives(t *testing.T) {
	x, y := gradcheck.Normal(1, 2, 4, 3), gradcheck.Ints(1, 3, 2, 4)
	for _, o := range []EISLOptions{{}, {NGrams: []int{1, 2, 3, 4}, CEFactor: 0.5, Ignore: []int{1}}} {
		gradcheck.Check(t, func(_ *graph.Scope, in []*graph.Node) *graph.Node { return o.Loss(in[0], in[1]) }, x, y)
	}
	gradcheck.Check(t, func(_ *graph.Scope, in []*graph.Node) *graph.Node { return NGramMatch(in[0], in[1], 2) },
		gradcheck.Uniform(1, -3, 0, 2, 4, 3), gradcheck.Ints(1, 3, 2, 3))
	gradcheck.Options{Training: true}.Check(t, func(s *graph.Scope, in []*graph.Node) *graph.Node {
		return EISLOptions{}.NoisyLoss(s, in[0], in[1])
	}, x, y)
}

func TestEISLExtremes(t *testing.T) {
	f := func(x, y *graph.Node) *graph.Node {
		return EISLOptions{CEFactor: 1}.Loss(graph.Reshape(x, 1, 2, 3), graph.Reshape(y, 1, 2))
	}
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		for _, x := range [][]float64{{1e4, -1e4, 0, -1e4, 1e4, 0}, {0, 0, 0, 0, 0, 0}, {1e4, 1e4, 1e4, -1e4, -1e4, -1e4}} {
			a := graph.NewArray(dtype, 6)
			for i, v := range x {
				a.Set(i, v)
			}
			for _, y := range [][]int{{0, 1}, {1, 0}, {2, 2}} {
				loss, dx := losses(t, f, a, labelsOf(y...))
				for _, v := range append(loss, dx...) {
					if v-v != 0 {
						t.Errorf("%v, %v: %v, %v", x, y, loss, dx)
					}
				}
			}
		}
	}
}

func TestEISLErrors(t *testing.T) {
	for _, c := range []struct {
		o      EISLOptions
		target []int
		arg    string
	}{
		{EISLOptions{Weights: []float64{1}}, []int{4, 3}, "Weights"},
		{EISLOptions{NGrams: []int{-3}}, []int{4, 3}, "NGrams"},
		{EISLOptions{}, []int{5, 3}, "target"},
		{EISLOptions{CEFactor: 1}, []int{4, 2}, "target"},
	} {
		wantError(t, func(x, _ *graph.Node) *graph.Node {
			x = graph.BroadcastTo(graph.Reshape(x, 4, 1, 3), 4, 3, 3)
			return c.o.Loss(x, graph.Literal(x, graph.NewArray(graph.Int, c.target...)))
		}, c.arg)
	}
	wantError(t, EISLOptions{}.Loss, "output")
	wantError(t, func(x, y *graph.Node) *graph.Node {
		return NGramMatch(graph.Reshape(x, 1, 4, 3), graph.Reshape(y, 1, 4), 5)
	}, "n")
}

func TestTextNoise(t *testing.T) {
	words := []int{1, 2, 3, 4, 5, 6, 7, 8}
	r := graph.Rand(1, "noise", 0)
	apply := func(n TextNoise) []int { return n.Apply(r, words) }
	if got := apply(TextNoise{}); !slices.Equal(got, words) {
		t.Errorf("without noise: %v", got)
	}
	if got := apply(TextNoise{Repeat: 1}); !slices.Equal(got, []int{1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8}) {
		t.Errorf("all repeated: %v", got)
	}
	if got := apply(TextNoise{Blank: 1, BlankID: 9}); !slices.Equal(got, []int{9, 9, 9, 9, 9, 9, 9, 9}) {
		t.Errorf("all blank: %v", got)
	}
	blanks, repeats := 0, 0
	for range 1000 {
		got := apply(TextNoise{Shuffle: 0.5})
		if moved := differ(got, words); moved != 5 { // 4 swaps in a chain move 5 words
			t.Errorf("shuffled: %d words have moved: %v", moved, got)
		}
		slices.Sort(got)
		if !slices.Equal(got, words) {
			t.Errorf("shuffled: %v", got)
		}
		blanks += differ(apply(TextNoise{Blank: 0.25}), words)
		repeats += len(apply(TextNoise{Repeat: 0.25})) - 8
	}
	for _, n := range []int{blanks, repeats} { // 2000 expected, with a standard deviation of 39
		if n < 1800 || n > 2200 {
			t.Errorf("%d blanks and %d repeats in 8000 words", blanks, repeats)
		}
	}
	if got := (TextNoise{Shuffle: 1, Repeat: 1, Blank: 1, BlankID: 3}).Apply(r, nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
	if !slices.Equal(words, []int{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("the text itself has changed: %v", words)
	}
}

func differ(a, b []int) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
