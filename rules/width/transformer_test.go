package width

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// The paper's factors at n = 64, M = 4, and the interpolation's ends.
func TestTransformerRates(t *testing.T) {
	a := Transformer{Units: 64, Patch: 16, Outputs: 100}
	for _, c := range []struct {
		name string
		got  float64
		want float64
	}{
		{"attention, AdamW", a.Rate(Attention, Adaptive), .001953125},
		{"up, AdamW", a.Rate(Up, Adaptive), .0009765625},
		{"down, AdamW", a.Rate(Down, Adaptive), .00048828125},
		{"vectors, AdamW", a.Rate(Vectors, Adaptive), .125},
		{"patches, AdamW", a.Rate(Patches, Adaptive), 1. / 16 / 8},
		{"head, AdamW", a.Rate(Head, Adaptive), 1. / 64 / 10},
		{"head's bias, AdamW", a.Rate(HeadBias, Adaptive), 0.1},
		{"attention, SGD", a.Rate(Attention, Gradient), 1. / 64},
		{"down, SGD", a.Rate(Down, Gradient), 1. / 256},
		{"vectors, SGD", a.Rate(Vectors, Gradient), 1},
		{"head, SGD", a.Rate(Head, Gradient), 1. / 64},
		{"variance of down", a.Variance(Down), 1. / 256},
		{"variance of the head", a.Variance(Head), 1. / 64},
	} {
		near(t, c.name, c.got, c.want, 1e-15)
	}
	// At S = 1 the dependence on the width is muP's, relative to another width: hidden 1/n and outputs 1/n under Adam; and
	// 1, n, 1/n under gradient descent, with a head of standard deviation 1/n.
	b := a
	a.S, b.S, b.Units = 1, 1, 64*9
	for g, want := range map[Group]float64{Attention: 1. / 9, Up: 1. / 9, Down: 1. / 9, Vectors: 1, Patches: 1, Head: 1. / 9, HeadBias: 1} {
		near(t, fmt.Sprint("Adam, group ", g), b.Rate(g, Adaptive)/a.Rate(g, Adaptive), want, 1e-12)
	}
	for g, want := range map[Group]float64{Attention: 1, Up: 1, Down: 1, Vectors: 9, Patches: 9, Head: 1. / 9, HeadBias: 1} {
		near(t, fmt.Sprint("SGD, group ", g), b.Rate(g, Gradient)/a.Rate(g, Gradient), want, 1e-12)
	}
	near(t, "head's deviation", math.Sqrt(b.Variance(Head)/a.Variance(Head)), 1./9, 1e-12)
}

// ReLU's increment of a token is up·down/2, another activation's that of its integral; erf has Williams' closed form.
func TestMLPKernel(t *testing.T) {
	k := Kernel{{1, 0.3, 1}, {0.3, 1, 0.3}, {1, 0.3, 1}}
	relu := k.MLP(0.7, 3, nil)
	near(t, "token", relu[0][0]-1, 0.7*3/2, 2e-5) // of eps
	near(t, "equal tokens", relu[0][2]-1, 0.7*3/2, 2e-5)
	near(t, "two tokens", relu[0][1], k.MLP(0.7, 3, func(x float64) float64 { return max(x, 0) })[0][1], 0.01)
	f := k.Normalized(1e-5)
	erf := k.MLP(0.7, 3, math.Erf)
	for i := range k {
		for j := range k {
			a, b, c := 0.7*f[i][i], 0.7*f[j][j], 0.7*f[i][j]
			want := k[i][j] + 3*2/math.Pi*math.Asin(2*c/math.Sqrt((1+2*a)*(1+2*b)))
			near(t, "erf", erf[i][j], want, 1e-6)
		}
	}
}

// Equal tokens: rows of the softmax sum to 1, so the increment is out·value exactly. Attention that sees all tokens
// alike averages independent ones: 1/T.
func TestAttentionKernel(t *testing.T) {
	const n = 5
	same, eye := make(Kernel, n), make(Kernel, n)
	for i := range n {
		same[i], eye[i] = make([]float64, n), make([]float64, n)
		for j := range n {
			same[i][j] = 2
		}
		eye[i][i] = 1
	}
	got, err := same.Attention(1.5, 0.8, 0.7, 3, 20, 1)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "equal tokens", got[1][3]-2, 0.7*3, 2e-5)
	if got, err = eye.Attention(0, 1, 1, 1, 1, 1); err != nil {
		t.Fatal(err)
	}
	near(t, "flat attention", got[0][0]-1, 1./n, 1e-5)
	near(t, "flat attention, two tokens", got[0][1], 1./n, 1e-5)
	_, err = Kernel{{1, 2}, {2, 1}}.Attention(1, 1, 1, 1, 1, 1)
	wantError(t, err, "semidefinite")
}

// block is a pre-normalised attention block and a perceptron, of weights of the given variances times 1/inputs.
func block(n, heads int) (attention, perceptron layers.Layer) {
	fan := func(in, _ int) graph.Init { return graph.NormalInit(1 / math.Sqrt(float64(in))) }
	attention = layers.Block{layers.Residual{Body: layers.Sequential{
		layers.LayerNorm{}, layers.SelfAttention{Heads: heads, Init: fan},
	}}}
	perceptron = layers.Block{layers.Residual{Body: layers.Sequential{
		layers.LayerNorm{},
		layers.Dense{Units: 4 * n, Activation: layers.ReLU{}, Init: fan, Name: "up"},
		layers.Dense{Units: n, Init: fan, Name: "down"},
	}}}
	return attention, perceptron
}

// Simulated networks of 96 and 192 units against the kernel: two blocks over independent tokens of unit variance.
func TestKernelsPredictNetworks(t *testing.T) {
	if testing.Short() {
		t.Skip("needs many draws")
	}
	const tokens, nets = 8, 8
	k := make(Kernel, tokens)
	for i := range k {
		k[i] = make([]float64, tokens)
		k[i][i] = 1
	}
	var predicted []Kernel
	for range 2 {
		next, err := k.Attention(1, 1, 1, 1, 500, 1)
		if err != nil {
			t.Fatal(err)
		}
		k = next.MLP(1, 1, nil)
		predicted = append(predicted, next, k)
	}
	for _, n := range []int{96, 192} {
		a, b := block(n, 4)
		q := layers.Sequential{a, b, a, b}
		for depth := 1; depth <= 4; depth++ {
			var diagonal, outside float64
			for seed := range uint64(nets) {
				y := run(t, &graph.Params{Seed: seed, DType: graph.Float64}, q[:depth], normal(seed, 1, tokens, n))
				for i := range tokens {
					for j := range tokens {
						dot := 0.0
						for c := range n {
							dot += y.At(i*n+c) * y.At(j*n+c) / float64(n)
						}
						if i == j {
							diagonal += dot / nets / tokens
						} else {
							outside += dot / nets / (tokens * (tokens - 1))
						}
					}
				}
			}
			p := predicted[depth-1]
			near(t, fmt.Sprintf("%d units, depth %d: variance", n, depth), diagonal/p[0][0], 1, 0.05)
			near(t, fmt.Sprintf("%d units, depth %d: covariance", n, depth), outside, p[0][1], 0.05*p[0][0])
		}
	}
}

// groupOf is the group of a parameter of a network of blocks.
func groupOf(name string) (Group, error) {
	switch {
	case strings.HasSuffix(name, "bias"), strings.Contains(name, "norm"):
		return Vectors, nil
	case strings.Contains(name, "qkv"), strings.Contains(name, "out/"):
		return Attention, nil
	case strings.Contains(name, "up/"):
		return Up, nil
	case strings.Contains(name, "down/"):
		return Down, nil
	case strings.Contains(name, "head"):
		return Head, nil
	}
	return 0, errors.New("unknown")
}

// The squared gradient of an output, summed over a group and times its rate, does not depend on the width: the slope of
// its logarithm over that of n is near 0.
func TestTangentKernelOfGroups(t *testing.T) {
	if testing.Short() {
		t.Skip("needs many draws")
	}
	widths := []int{32, 64, 128, 256}
	const tokens, nets = 4, 16
	sums := map[Group][]float64{}
	for k, n := range widths {
		fan := func(in, _ int) graph.Init { return graph.NormalInit(1 / math.Sqrt(float64(in))) }
		a, b := block(n, 2)
		q := layers.Sequential{a, b, layers.LayerNorm{}, layers.Dense{Units: 1, Init: fan, Name: "head"}}
		size := Transformer{Units: n, Patch: 1, Outputs: 1}
		for seed := range uint64(nets) {
			var grads []*graph.Node
			var names []string
			g, err := graph.Build(&graph.Params{Seed: seed, DType: graph.Float64}, func(s *graph.Scope) {
				y := graph.Slice(q.Apply(s, graph.Literal(s.Const(0), normal(seed, 1, tokens, n))), 1, 0, 1, 1)
				params := s.Graph().Trainable(y)
				for _, p := range params {
					names = append(names, s.Graph().Param(p).Name)
				}
				grads = graph.Grad(graph.Sum(y), params...)
			})
			if err != nil {
				t.Fatalf("%+v", err)
			}
			p, err := g.Compile(grads...)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			for i, node := range grads {
				group, err := groupOf(names[i])
				if err != nil {
					t.Fatal(names[i], err)
				}
				if sums[group] == nil {
					sums[group] = make([]float64, len(widths))
				}
				a := p.Array(node)
				sums[group][k] += size.Rate(group, Gradient) * meanSquare(a) * float64(a.Size()) / nets
			}
		}
	}
	for group, s := range sums {
		var sxx, sxy float64
		for k, v := range s {
			x := float64(k) - 1.5 // log2 of the width, centred
			sxx, sxy = sxx+x*x, sxy+x*math.Log2(v)
		}
		t.Logf("group %d: %.3g, slope %.3f", group, s, sxy/sxx)
		near(t, fmt.Sprint("slope of group ", group), sxy/sxx, 0, 0.1)
	}
	if len(sums) != 5 {
		t.Errorf("%d groups", len(sums))
	}
}

func TestRatesOfAModel(t *testing.T) {
	params := &graph.Params{}
	if _, err := graph.Build(params, func(s *graph.Scope) {
		a, b := block(8, 2)
		layers.Sequential{a, b}.Apply(s, s.Input("x", graph.Float32, 1, 3, 8))
	}); err != nil {
		t.Fatal(err)
	}
	size := Transformer{Units: 8, Outputs: 1}
	rates, err := size.Rates(params, Gradient, groupOf)
	if err != nil {
		t.Fatal(err)
	}
	if len(rates) != params.Len() {
		t.Errorf("%d rates of %d parameters", len(rates), params.Len())
	}
	for name, rate := range rates {
		g, _ := groupOf(name)
		near(t, name, rate, map[Group]float64{Vectors: 1, Attention: 1. / 8, Up: 1. / 8, Down: 1. / 32}[g], 1e-15)
	}
	_, err = size.Rates(params, Gradient, func(string) (Group, error) { return 0, errors.New("unknown") })
	wantError(t, err, "unknown")
	_, err = Transformer{}.Rates(params, Adaptive, groupOf)
	wantError(t, err, "positive rate")
}
