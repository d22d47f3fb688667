package width

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, wanted one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

var spec = rules.Spec{Input: []int{6}, Classes: 3, Batch: 8, Seed: 1, DType: graph.Float64}

func backprop(o optim.Optimizer) func(optim.Options) rules.Rule {
	return func(options optim.Options) rules.Rule { return rules.Backprop{Optimizer: o, Options: options} }
}

// dense is a perceptron with LeCun's initialisation, whose variance is 1/inputs times 1/3, and hidden sizes n.
func dense(n ...int) layers.Layer {
	var q layers.Sequential
	for _, units := range n {
		q = append(q, layers.Dense{Units: units, Activation: layers.Tanh{}, Init: layers.LeCun})
	}
	return append(q, layers.Dense{Units: 3, Init: layers.LeCun})
}

// The lines of the table are those of table 3 of the paper: relative to the base model, inputs and biases, hidden
// weights and outputs of a network 16 times as wide.
func TestTable(t *testing.T) {
	for _, c := range []struct {
		name   string
		family Family
		rates  []float64 // input weight and bias, hidden weight and bias, output weight and bias
	}{
		{"Adam", Adaptive, []float64{1, 1, 1. / 16, 1, 1. / 16, 1}},
		{"SGD", Gradient, []float64{16, 16, 1, 16, 1. / 16, 1}},
	} {
		table, err := MuP{Base: dense(4, 4), Family: c.family}.Table(dense(64, 64), spec)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range table {
			near(t, c.name+": rate of "+s.Name, s.Rate, c.rates[i], 1e-15)
			init := 1.0
			if s.Name == "dense3/weight" {
				init = 0.25 // beside the 1/4 of the layer itself: variance 1/16² of the base model's
			}
			near(t, c.name+": init of "+s.Name, s.Init, init, 1e-15)
		}
		same, err := MuP{Base: dense(4, 4), Family: c.family, Depth: 9}.Table(dense(4, 4), spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range same {
			if s.Init != 1 || s.Rate != 1 {
				t.Errorf("the base model itself: %+v", s)
			}
		}
	}
	// Convolutions are [out, in, height, width]; normalisation's vectors are like biases.
	image := spec
	image.Input = []int{2, 8, 8}
	table, err := MuP{Base: models.CNN{Channels: []int{2, 4}, Hidden: []int{4}, Classes: 3}}.Table(models.CNN{Channels: []int{6, 20}, Hidden: []int{8}, Classes: 3}, image)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]float64{
		"block1/conv1/weight": {1, 3}, "block1/conv1/bias": {1, 3}, "block2/conv1/weight": {3, 5}, "dense1/weight": {5, 2}, "dense2/weight": {2, 1}, "dense2/bias": {1, 1},
	}
	found := 0
	for _, s := range table {
		if w, ok := want[s.Name]; ok {
			found++
			near(t, s.Name+": inputs", s.In, w[0], 0)
			near(t, s.Name+": outputs", s.Out, w[1], 0)
		}
	}
	if found != len(want) {
		t.Errorf("%d of %d names in %+v", found, len(want), table)
	}
}

// multiplied is a Dense whose result is multiplied by c, drawn with standard deviation std.
func multiplied(name string, units int, c, std float64) layers.Layer {
	return layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		in := graph.ShapeOf(x)[1]
		w := s.Param(name, graph.NormalInit(std), in, units)
		return graph.Scale(graph.MatMul(x, w), c)
	})
}

// The same parametrisation written with multipliers in place of initialisations and rates is the same run: a weight
// w = c·u, u trained at rate r, moves as a weight trained at c·r by Adam and at c²·r by gradient descent. The losses of 30
// steps agree to rounding.
func TestMultipliersAreEquivalent(t *testing.T) {
	const p, std = 8.0, 0.3
	network := func(c [3]float64, scale [3]float64, n int) layers.Layer {
		return layers.Sequential{
			multiplied("in", n, c[0], std*scale[0]), layers.Tanh{},
			multiplied("hidden", n, c[1], std*scale[1]/math.Sqrt(float64(n)/4)), layers.Tanh{},
			multiplied("out", 3, c[2], std*scale[2]/math.Sqrt(float64(n)/4)),
		}
	}
	one := [3]float64{1, 1, 1}
	for _, c := range []struct {
		name      string
		optimizer optim.Optimizer
		family    Family
		multiply  [3]float64 // of the other form, with a global rate
		init      [3]float64 // what its weights are drawn larger
	}{
		{"Adam", optim.Adam{LR: 0.01, Eps: optim.Zero}, Adaptive, [3]float64{1, 1 / p, 1 / p}, [3]float64{1, p, math.Sqrt(p)}},
		{"SGD", optim.SGD{LR: 0.05, Momentum: 0.9}, Gradient, [3]float64{math.Sqrt(p), 1, 1 / math.Sqrt(p)}, [3]float64{1 / math.Sqrt(p), 1, 1}},
	} {
		rule := MuP{Base: network(one, one, 4), Rule: backprop(c.optimizer), Family: c.family}
		a, err := rule.Trainer(network(one, one, 32), objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		b, err := rules.Backprop{Optimizer: c.optimizer}.Trainer(network(c.multiply, c.init, 32), objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		batch := rules.NewBatch(spec)
		for step := range 30 {
			r := graph.Rand(1, "batch", uint64(step))
			for i := range batch.X.Size() {
				batch.X.Set(i, r.NormFloat64())
			}
			for i := range batch.Y.Ints() {
				batch.Y.Ints()[i] = r.IntN(3)
			}
			la, err := a.Step(batch)
			if err != nil {
				t.Fatal(err)
			}
			lb, err := b.Step(batch)
			if err != nil {
				t.Fatal(err)
			}
			near(t, fmt.Sprintf("%s: loss of step %d", c.name, step), la, lb, 1e-8)
		}
	}
}

// linear is a deep linear residual network of n units.
func linear(blocks int, exponent float64) layers.Layer {
	var q layers.Sequential
	for range blocks {
		q = append(q, Branch{Body: layers.Dense{Units: 64, NoBias: true, Init: func(in, _ int) graph.Init { return graph.NormalInit(1 / math.Sqrt(float64(in))) }},
			Blocks: blocks, Exponent: exponent, KeepMean: true})
	}
	return q
}

// run evaluates a model on x.
func run(t *testing.T, params *graph.Params, model layers.Layer, x *graph.Array) *graph.Array {
	t.Helper()
	var out *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		out = model.Apply(s, graph.Literal(s.Const(0), x))
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return p.Array(out)
}

func normal(seed uint64, shape ...int) *graph.Array {
	a := graph.NewArray(graph.Float64, shape...)
	r := graph.Rand(seed, "test", 0)
	for i := range a.Size() {
		a.Set(i, r.NormFloat64())
	}
	return a
}

func meanSquare(a *graph.Array) (sum float64) {
	for i := range a.Size() {
		sum += a.At(i) * a.At(i) / float64(a.Size())
	}
	return sum
}

// In a linear network E|x^L|² = (1 + 1/L)^L·|x⁰|² with depth-muP's multiplier: 2.4414, 2.6379, ... towards e; and 2^L
// without. Four standard deviations of the mean over networks.
func TestDeepLinearNetworks(t *testing.T) {
	if testing.Short() {
		t.Skip("needs many draws")
	}
	for _, c := range []struct {
		blocks   int
		exponent float64
		want     float64
	}{{4, 0, 2.4414}, {16, 0, 2.6379}, {48, 0, math.Pow(1+1./48, 48)}, {5, optim.Zero, 32}} {
		const nets = 24
		var sum, square float64
		for seed := range uint64(nets) {
			x := normal(seed, 16, 64)
			y := run(t, &graph.Params{Seed: seed, DType: graph.Float64}, linear(c.blocks, c.exponent), x)
			q := meanSquare(y) / meanSquare(x)
			sum, square = sum+q/nets, square+q*q/nets
		}
		near(t, fmt.Sprint(c.blocks, " blocks"), sum, c.want, 4*math.Sqrt((square-sum*sum)/nets))
		if sd := math.Sqrt((square - sum*sum) / nets); sd > 0.2*c.want {
			t.Errorf("%d blocks: a spread of %v shows nothing", c.blocks, sd)
		}
	}
}

// A branch is x + A·L^-Exponent·(body - its mean); the gradient of its weight is proportional to the multiplier.
func TestBranch(t *testing.T) {
	x := normal(3, 2, 5)
	body := layers.Dense{Units: 5, Activation: layers.ReLU{}}
	value := func(b layers.Layer) *graph.Array {
		return run(t, &graph.Params{Seed: 4, DType: graph.Float64}, b, x)
	}
	params := &graph.Params{Seed: 4, DType: graph.Float64}
	value(Branch{Body: body, Blocks: 1}) // names: branch1/dense1/weight
	plain := run(t, params, layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		return body.Apply(s.Sub("branch1"), x)
	}), x)
	for _, c := range []struct {
		b    Branch
		c    float64
		mean bool
	}{
		{Branch{Blocks: 9}, 1. / 3, false}, {Branch{Blocks: 9, A: 2, KeepMean: true}, 2. / 3, true},
		{Branch{Blocks: 8, Exponent: 1}, 1. / 8, false}, {Branch{Blocks: 8, Exponent: optim.Zero}, 1, false},
	} {
		c.b.Body = body
		y := value(c.b)
		for row := range 2 {
			mean := 0.0
			for i := range 5 {
				if !c.mean {
					mean += plain.At(5*row+i) / 5
				}
			}
			for i := range 5 {
				near(t, fmt.Sprintf("%+v", c.b), y.At(5*row+i), x.At(5*row+i)+c.c*(plain.At(5*row+i)-mean), 1e-12)
			}
		}
	}
	gradient := func(a float64) *graph.Array {
		var g *graph.Node
		gr, err := graph.Build(&graph.Params{Seed: 4, DType: graph.Float64}, func(s *graph.Scope) {
			y := Branch{Body: body, Blocks: 4, A: a}.Apply(s, graph.Literal(s.Const(0), x))
			g = graph.Grad(graph.Dot(y, graph.Literal(s.Const(0), normal(5, 2, 5))), s.Graph().ParamNode("branch1/dense1/weight"))[0]
		})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		p, err := gr.Compile(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return p.Array(g)
	}
	one, three := gradient(1), gradient(3)
	for i := range one.Size() {
		near(t, "gradient", three.At(i), 3*one.At(i), 1e-12)
	}
	for name, want := range map[string]bool{"branch1/dense1/weight": true, "block2/branch3/w": true, "dense1/weight": false, "mybranch/w": false} {
		if InBranch(name) != want {
			t.Errorf("%s in a branch: %v", name, !want)
		}
	}
	var deep layers.Sequential
	for range 3 {
		deep = append(deep, Branch{Body: layers.Dense{Units: 6}, Blocks: 3})
	}
	g, err := graph.Build(&graph.Params{}, func(s *graph.Scope) { deep.Apply(s, s.Input("x", graph.Float32, 2, 6)) })
	if err != nil {
		t.Fatal(err)
	}
	if n := len(g.Blocks()); n != 3 {
		t.Errorf("%d blocks, want 3", n)
	}
}

// Depth multiplies Adam's rates in branches by 1/sqrt(Depth) and no others; gradient descent has no such factor.
func TestDepth(t *testing.T) {
	net := func(n int) layers.Layer {
		return layers.Sequential{layers.Dense{Units: n}, Branch{Body: layers.Dense{Units: n}, Blocks: 1}, layers.Dense{Units: 3}}
	}
	for family, want := range map[Family]float64{Adaptive: 1. / 2 / 4, Gradient: 1} {
		table, err := MuP{Base: net(4), Family: family, Depth: 16}.Table(net(8), spec)
		if err != nil {
			t.Fatal(err)
		}
		rates := table.Rates()
		near(t, "branch", rates["branch1/dense1/weight"], want, 1e-15)
		near(t, "head's bias", rates["dense2/bias"], 1, 0)
	}
}

func TestMistakes(t *testing.T) {
	rule := backprop(optim.Adam{})
	for _, c := range []struct {
		m     MuP
		model layers.Layer
		words []string
	}{
		{MuP{Base: dense(4)}, dense(8), []string{"Rule", "nil"}},
		{MuP{Rule: rule}, dense(8), []string{"Base", "nil"}},
		{MuP{Base: dense(4), Rule: rule}, nil, []string{"model", "nil"}},
		{MuP{Base: dense(4), Rule: rule}, dense(8, 8), []string{"Base", "dense3/weight"}},
		{MuP{Base: dense(4), Rule: rule, Depth: -1}, dense(8), []string{"Depth", "-1"}},
		{MuP{Base: dense(4), Rule: rule, Family: 3}, dense(8), []string{"Family", "3"}},
		{MuP{Base: dense(4), Rule: rule}, Branch{Blocks: 1}, []string{"branch", "Body"}},
	} {
		_, err := c.m.Trainer(c.model, objectives.CrossEntropy, spec)
		wantError(t, err, c.words...)
	}
	if got := (MuP{Rule: rule}).Name(); got != "mup-backprop" {
		t.Errorf("name %q", got)
	}
}
