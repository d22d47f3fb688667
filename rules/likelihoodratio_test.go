package rules

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// hermite is n standard normal quadrature nodes and their weights (C. Gauss, C. Hermite).
func hermite(n int) (x, w []float64) {
	x, w = make([]float64, n), make([]float64, n)
	quad.Hermite{}.FixedLocations(x, w, math.Inf(-1), math.Inf(1))
	for i := range x {
		x[i] *= math.Sqrt2
		w[i] /= math.Sqrt(math.Pi)
	}
	return x, w
}

// grid is the n^d nodes and weights of d independent numbers: row r holds the d nodes of one point.
func grid(n, d int) (x [][]float64, w []float64) {
	node, weight := hermite(n)
	size := int(math.Pow(float64(n), float64(d)))
	for r := range size {
		row, product := make([]float64, d), 1.0
		for j, c := 0, r; j < d; j, c = j+1, c/n {
			row[j], product = node[c%n], product*weight[c%n]
		}
		x, w = append(x, row), append(w, product)
	}
	return x, w
}

// expectation is the estimates of r with the given noise in place of a random one, row n counted w[n] times, and the
// expected loss: the parameters' gradients by name. Noise has for each place, in the order of the model, [batch, ...].
func expectation(t *testing.T, r LikelihoodRatio, values map[string][]float64, model func(s *graph.Scope, batch int) *graph.Node,
	loss func(v *graph.Node) *graph.Node, noise [][]float64, w []float64) (grads map[string][]float64, mean float64) {
	t.Helper()
	r, err := r.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	batch := len(w)
	params := &graph.Params{DType: graph.Float64}
	var n *noisy
	var nodes, estimates []*graph.Node
	var expected *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		out := model(s, batch)
		n = &noisy{LikelihoodRatio: r, s: s, out: out, batch: batch}
		weight := graph.Literal(out, graph.ArrayOf(w, batch))
		n.losses = func(out *graph.Node) *graph.Node {
			return graph.Scale(graph.Mul(loss(out), weight), float64(batch))
		}
		place := 0
		n.draw = func(_ int, _ string, shape []int, like *graph.Node) *graph.Node {
			place++
			return graph.Literal(like, graph.ArrayOf(noise[place-1], shape...))
		}
		nodes, estimates = n.estimate()
		expected = graph.Mean(n.seen[0])
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for name, v := range values {
		params.Get(name).Value.CopyFrom(graph.ArrayOf(v, params.Get(name).Value.Shape...))
	}
	p, err := g.Compile(append([]*graph.Node{expected}, estimates...)...)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	run(t, p, 0)
	grads = map[string][]float64{}
	for i, q := range nodes {
		grads[g.Param(q).Name] = flat(p, estimates[i:i+1])
	}
	return grads, p.Array(expected).Scalar()
}

// rows repeats one example.
func rows(s *graph.Scope, batch int, x ...float64) *graph.Node {
	return graph.BroadcastTo(literal(s, []int{1, len(x)}, x...), batch, len(x))
}

// L = |v-t|²/2 behind a dense layer: the expected estimate is the exact gradient, and σ² for each log σ. One antithetic
// pair gives ((z-t)·ε)ε whatever σ is.
func TestLikelihoodRatioQuadratic(t *testing.T) {
	model := func(s *graph.Scope, batch int) *graph.Node {
		return layers.Dense{Units: 2}.Apply(s, rows(s, batch, 1, 2))
	}
	loss := func(v *graph.Node) *graph.Node {
		d := graph.Sub(v, graph.Literal(v, graph.ArrayOf([]float64{1, 0}, 1, 2)))
		return graph.Scale(graph.Sum(graph.Square(d), 1), 0.5)
	}
	values := map[string][]float64{"dense1/weight": {.5, .1, -.2, .3}, "dense1/bias": {.1, -.1}} // weight [in, out]
	points, w := grid(6, 2)
	var noise []float64
	for _, p := range points {
		noise = append(noise, p...)
	}
	for _, r := range []LikelihoodRatio{
		{OneSided: true}, {}, {Baseline: true}, {OneSided: true, Baseline: true},
	} {
		r.Sigma, r.LearnSigma = 0.3, true
		g, _ := expectation(t, r, values, model, loss, [][]float64{noise}, w)
		closeTo(t, "weight", g["dense1/weight"], []float64{-.8, .6, -1.6, 1.2}, 1e-12)
		closeTo(t, "bias", g["dense1/bias"], []float64{-.8, .6}, 1e-12)
		closeTo(t, "log sigma", g["likelihood-ratio/dense1/log_sigma"], []float64{.09, .09}, 1e-12)
	}
	for _, sigma := range []float64{0.01, 0.3, 2} {
		g, l := expectation(t, LikelihoodRatio{Sigma: sigma}, values, model, loss, [][]float64{{1, -.5}}, []float64{1})
		closeTo(t, "one pair", g["dense1/bias"], []float64{-1.1, .55}, 1e-9)
		if sigma == 0.3 {
			closeTo(t, "loss", []float64{l}, []float64{.22625}, 1e-12)
		}
	}
}

// shifted is a model of one number, v = b.
func shifted(s *graph.Scope, batch int) *graph.Node {
	return graph.Add(graph.BroadcastTo(s.Const(0), batch, 1), s.Param("layer/b", graph.Zeros(), 1))
}

// A step has a gradient: for 1[v > 0], μ = .3, σ = .5 it is φ(.6)/.5.
func TestLikelihoodRatioStep(t *testing.T) {
	const n, side = 160000, 8.0 // midpoints, with the jump at -.6 between two cells
	noise, w := make([]float64, n), make([]float64, n)
	for i := range noise {
		noise[i] = (float64(i)+0.5)*2*side/n - side
		w[i] = math.Exp(-noise[i]*noise[i]/2) / math.Sqrt(2*math.Pi) * 2 * side / n
	}
	step := func(v *graph.Node) *graph.Node { return graph.Reshape(graph.Greater(v, graph.Const(v, 0)), -1) }
	g, _ := expectation(t, LikelihoodRatio{Sigma: .5, OneSided: true}, map[string][]float64{"layer/b": {.3}}, shifted, step, [][]float64{noise}, w)
	closeTo(t, "gradient", g["layer/b"], []float64{0.6664492057836}, 1e-7)
}

// (tanh v - 1)², μ = .3, σ = .5: the gradient of the smoothed loss, not of the clean one.
func TestLikelihoodRatioSmoothed(t *testing.T) {
	noise, w := hermite(80)
	loss := func(v *graph.Node) *graph.Node {
		return graph.Reshape(graph.Square(graph.Shift(graph.Tanh(v), -1)), -1)
	}
	for _, oneSided := range []bool{false, true} {
		g, l := expectation(t, LikelihoodRatio{Sigma: .5, OneSided: oneSided, LearnSigma: true}, map[string][]float64{"layer/b": {.3}}, shifted, loss, [][]float64{noise}, w)
		closeTo(t, "loss", []float64{l}, []float64{.7300127879}, 1e-9)
		closeTo(t, "gradient", g["layer/b"], []float64{-1.2842538861}, 1e-9)
		closeTo(t, "log sigma", g["likelihood-ratio/layer/log_sigma"], []float64{.3465814651}, 1e-9)
	}
}

// Variance of one draw for L = v²/2, z = 1, σ = .1: plain 28.5375, with the clean loss as baseline 2.0375, antithetic 2.
// For a linear loss g·v, g = (3, 4), the antithetic covariance is |g|² I + g gᵀ.
func TestLikelihoodRatioVariance(t *testing.T) {
	node, w := hermite(20)
	half := func(v *graph.Node) *graph.Node { return graph.Scale(graph.Reshape(graph.Square(v), -1), .5) }
	for _, c := range []struct {
		r    LikelihoodRatio
		want float64
	}{
		{LikelihoodRatio{OneSided: true}, 28.5375},
		{LikelihoodRatio{OneSided: true, Baseline: true}, 2.0375},
		{LikelihoodRatio{}, 2},
	} {
		var mean, squares float64
		for i, e := range node {
			g, _ := expectation(t, c.r, map[string][]float64{"layer/b": {1}}, shifted, half, [][]float64{{e}}, []float64{1})
			mean += w[i] * g["layer/b"][0]
			squares += w[i] * g["layer/b"][0] * g["layer/b"][0]
		}
		closeTo(t, "variance", []float64{mean, squares - mean*mean}, []float64{1, c.want}, 1e-9)
	}
	linear := func(v *graph.Node) *graph.Node {
		return graph.MatMul(v, graph.Literal(v, graph.ArrayOf([]float64{3, 4}, 2)))
	}
	model := func(s *graph.Scope, batch int) *graph.Node {
		return graph.Add(rows(s, batch, 0, 0), s.Param("layer/b", graph.Zeros(), 2))
	}
	points, weight := grid(4, 2)
	var cov [4]float64
	for i, e := range points {
		g, _ := expectation(t, LikelihoodRatio{Sigma: 1}, nil, model, linear, [][]float64{e}, []float64{1})
		d := []float64{g["layer/b"][0] - 3, g["layer/b"][1] - 4}
		for j := range cov {
			cov[j] += weight[i] * d[j/2] * d[j%2]
		}
	}
	closeTo(t, "covariance", cov[:], []float64{34, 12, 12, 41}, 1e-9)
}

// h_t = tanh(w h_{t-1} + u x_t + σ ε_t): noise at each step, parameters shared. The estimate uses the noisy states of
// its own pass; with σ → 0 it becomes that of backpropagation through time.
func TestLikelihoodRatioRecurrent(t *testing.T) {
	const nodes = 40
	points, w := grid(nodes, 3)
	noise := make([][]float64, 3)
	for _, p := range points {
		for i := range noise {
			noise[i] = append(noise[i], p[i])
		}
	}
	model := func(s *graph.Scope, batch int) *graph.Node {
		h := rows(s, batch, 0)
		for _, x := range []float64{1, -.5, .8} {
			z := graph.Add(graph.MatMul(h, s.Param("rnn/w", graph.Zeros(), 1, 1)), graph.MatMul(rows(s, batch, x), s.Param("rnn/u", graph.Zeros(), 1, 1)))
			h = graph.Tanh(z)
		}
		return h
	}
	loss := func(h *graph.Node) *graph.Node { return graph.Reshape(graph.Square(graph.Shift(h, -1)), -1) }
	values := map[string][]float64{"rnn/w": {.7}, "rnn/u": {.4}}
	for _, c := range []struct {
		r    LikelihoodRatio
		w, u float64
	}{
		{LikelihoodRatio{Sigma: .3, OneSided: true}, -.1809516010, -1.0422570081},
		{LikelihoodRatio{Sigma: .3}, -.1809516010, -1.0422570081},
		{LikelihoodRatio{Sigma: .3, Joint: true}, -.1809516010, -1.0422570081},
	} {
		g, l := expectation(t, c.r, values, model, loss, noise, w)
		closeTo(t, "loss", []float64{l}, []float64{.5796350096}, 1e-8)
		closeTo(t, "w, u", []float64{g["rnn/w"][0], g["rnn/u"][0]}, []float64{c.w, c.u}, 1e-8)
	}
	g, _ := expectation(t, LikelihoodRatio{Sigma: .03}, values, model, loss, noise, w)
	closeTo(t, "w at a small sigma", g["rnn/w"], []float64{-.3739183547}, 1e-8)
}

// The average of N antithetic estimates of a kernel's gradient is off by sqrt((1 + |g|²|J|²/|Jᵀg|²)/N), for g the
// output's gradient and J the Jacobian of the output with respect to the kernel.
func TestLikelihoodRatioConvolution(t *testing.T) {
	const draws = 3000
	model := layers.Conv2D{Filters: 3, Padding: layers.Both(1)}
	for _, noise := range []Noise{LogitNoise, WeightNoise} {
		p := newProblem(t, layers.Sequential{model, layers.Flatten{}}, 1, 2, 6, 6)
		var want, got []*graph.Node
		var g, j *graph.Node
		p.extend(t, func() {
			z := graph.Operands(p.out)[0]
			square := func(out *graph.Node) *graph.Node {
				return graph.Scale(graph.Sum(graph.Square(graph.Shift(out, -0.5)), 1), 0.5)
			}
			want = graph.Grad(graph.Sum(square(p.out)), p.params...)
			r, err := LikelihoodRatio{Noise: noise}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			n := &noisy{LikelihoodRatio: r, s: p.s, out: p.out, batch: 1, losses: square}
			n.draw = n.sample
			_, got = n.estimate()
			g = graph.Sum(graph.Square(graph.Shift(p.out, -0.5)))
			j = graph.Sum(graph.Square(graph.Jacobian(graph.Flatten(z), p.params[0])))
		})
		q := p.compile(t, want[0], got[0], g, j)
		mean := make([]float64, graph.TypeOf(want[0]).Size())
		for step := range draws {
			run(t, q, step)
			for i, v := range flat(q, got[:1]) {
				mean[i] += v / draws
			}
		}
		exact := flat(q, want[:1])
		for i := range mean {
			mean[i] -= exact[i]
		}
		relative := math.Sqrt(dot(mean, mean) / dot(exact, exact))
		bound := math.Sqrt((1 + q.Array(g).Scalar()*q.Array(j).Scalar()/dot(exact, exact)) / draws)
		if noise == WeightNoise { // noise of the kernel and of the bias: covariance |g|² I + g gᵀ in both together
			all := 0.0
			for i := range want {
				a := want[i]
				for range graph.TypeOf(a).Size() {
					all++
				}
			}
			bound = math.Sqrt((all + 1) * 1.2 / draws) // the bias's gradient adds at most a fifth to the kernel's here
		}
		if relative > 1.3*bound || relative < bound/3 {
			t.Errorf("noise %d: relative error %v, want about %v", noise, relative, bound)
		}
	}
}

// For every kind of layer the average estimate points along the reverse-mode gradient.
func TestLikelihoodRatioMatchesReverse(t *testing.T) {
	d := toy(8)
	embedding := layers.Sequential{
		layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Cast(graph.Greater(x, graph.Const(x, 0.5)), graph.Int)
		}),
		layers.Embedding{Vocabulary: 2, Units: 3}, layers.Positions{Length: 4}, layers.Flatten{}, layers.Dense{Units: 3},
	}
	ring := layers.Sequential{ // a graph convolution on four nodes with one feature each
		layers.Reshape{Shape: []int{4, 1}},
		layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
			a := literal(s, []int{4, 4}, .5, .25, 0, .25, .25, .5, .25, 0, 0, .25, .5, .25, .25, 0, .25, .5)
			return graph.MatMul(a, x)
		}),
		layers.Dense{Units: 3, Activation: layers.Tanh{}}, layers.Flatten{}, layers.Dense{Units: 3},
	}
	image := layers.Sequential{
		layers.Reshape{Shape: []int{1, 2, 2}}, layers.Conv2D{Filters: 2, Kernel: layers.Both(2), Padding: layers.Both(1), Stride: layers.Both(2)},
		layers.Tanh{}, layers.Flatten{}, layers.Dense{Units: 3},
	}
	sequence := layers.Sequential{layers.Reshape{Shape: []int{4, 1}}, layers.GRU{Units: 2}, layers.LastStep{}, layers.Dense{Units: 3}}
	for name, c := range map[string]struct {
		model layers.Layer
		r     LikelihoodRatio
	}{
		"mlp":             {layers.Sequential{layers.Dense{Units: 4, Activation: layers.Tanh{}}, layers.LayerNorm{}, layers.Dense{Units: 3}}, LikelihoodRatio{Draws: 4}},
		"mlp one-sided":   {mlp(4), LikelihoodRatio{Draws: 8, OneSided: true, Baseline: true}},
		"mlp joint":       {mlp(4), LikelihoodRatio{Draws: 8, Joint: true}},
		"mlp sobol":       {mlp(4), LikelihoodRatio{Draws: 4, Sampler: SobolPoints}},
		"mlp halton":      {mlp(4), LikelihoodRatio{Draws: 4, Sampler: HaltonPoints}},
		"mlp cut":         {layers.Sequential{layers.Dense{Units: 4, Activation: layers.Tanh{}}, layers.Dense{Units: 3}}, LikelihoodRatio{Draws: 4, Cut: "block1"}},
		"mlp scaled":      {mlp(4), LikelihoodRatio{Draws: 4, Scales: map[string]float64{"dense1": 0.3}}},
		"weights":         {mlp(4), LikelihoodRatio{Draws: 8, Noise: WeightNoise}},
		"cnn":             {image, LikelihoodRatio{Draws: 4}},
		"cnn weights":     {image, LikelihoodRatio{Draws: 8, Noise: WeightNoise}},
		"gru":             {sequence, LikelihoodRatio{Draws: 8}},
		"gru weights":     {sequence, LikelihoodRatio{Draws: 8, Noise: WeightNoise}},
		"graph":           {ring, LikelihoodRatio{Draws: 4}},
		"embedding":       {embedding, LikelihoodRatio{Draws: 4}},
		"embedding noise": {embedding, LikelihoodRatio{Draws: 8, Noise: WeightNoise}},
	} {
		spec := SpecOf(d, 8, 7)
		spec.DType = graph.Float64
		c.r.Sigma = 0.02
		lr, err := c.r.Trainer(c.model, objectives.CrossEntropy, spec)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		oracle, err := NewAlignment(lr, c.model, objectives.CrossEntropy)
		if err != nil {
			t.Fatal(err)
		}
		b := NewBatch(spec)
		if err := b.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7}, 0); err != nil {
			t.Fatal(err)
		}
		cos, ratio, err := oracle.Measure(b, 0, 600)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if cos < 0.98 || math.Abs(ratio-1) > 0.1 {
			t.Errorf("%s: cosine %.4f to the gradient, length %.3f of it", name, cos, ratio)
		}
	}
}

// The points are even: each coordinate of Sobol's first 2ᵏ falls once into each interval, Halton's within a few of n/m.
func TestQuasiRandom(t *testing.T) {
	const n, dims = 64, 200
	x := sobol(n, dims)
	for d := range dims {
		var seen [n]bool
		for i := range n {
			seen[int(x[i*dims+d]*n)] = true
		}
		for i, ok := range seen {
			if !ok {
				t.Fatalf("Sobol dimension %d: no point in interval %d", d, i)
			}
		}
	}
	closeTo(t, "van der Corput", []float64{x[0], x[dims], x[2*dims], x[3*dims]}, []float64{0, .5, .75, .25}, 0)
	h := halton(n, 4)
	for i, p := range []int{2, 3, 5, 7} {
		counts := make([]int, p)
		for k := range n / p * p {
			counts[int(h[k*4+i]*float64(p)+1e-9)]++
		}
		for c, k := range counts {
			if k != n/p {
				t.Errorf("Halton base %d: %d points in interval %d, want %d", p, k, c, n/p)
			}
		}
	}
	for _, c := range []struct {
		poly   uint64
		degree int
		want   bool
	}{{3, 1, true}, {7, 2, true}, {5, 2, false}, {11, 3, true}, {13, 3, true}, {15, 3, false}, {19, 4, true}, {25, 4, true}, {31, 4, false}} {
		if got := isPrimitive(c.poly, c.degree); got != c.want {
			t.Errorf("polynomial %b primitive: %v", c.poly, got)
		}
	}
}

// Even points average the noise of a smooth loss better than random ones: a tenth of the variance for one unit.
func TestQuasiRandomVariance(t *testing.T) {
	variance := map[Sampler]float64{}
	const steps = 300
	for _, sampler := range []Sampler{Independent, SobolPoints, HaltonPoints} {
		r, err := LikelihoodRatio{Sampler: sampler, Sigma: .3, OneSided: true}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		var grads []*graph.Node
		g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
			out := shifted(s, 64)
			n := &noisy{LikelihoodRatio: r, s: s, out: out, batch: 64, losses: func(v *graph.Node) *graph.Node {
				return graph.Reshape(graph.Square(graph.Shift(graph.Tanh(v), -1)), -1)
			}}
			n.draw = n.sample
			_, grads = n.estimate()
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(grads...)
		if err != nil {
			t.Fatal(err)
		}
		var mean, squares float64
		for step := range steps {
			run(t, p, step)
			v := p.Array(grads[0]).At(0)
			mean, squares = mean+v/steps, squares+v*v/steps
		}
		variance[sampler] = squares - mean*mean
		if wide := 5 * math.Sqrt(variance[sampler]/steps); math.Abs(mean-(-1.8437)) > wide+0.02 {
			t.Errorf("sampler %d: mean %v", sampler, mean)
		}
	}
	for _, s := range []Sampler{SobolPoints, HaltonPoints} {
		if variance[s] > variance[Independent]/4 {
			t.Errorf("sampler %d: variance %v, independent noise %v", s, variance[s], variance[Independent])
		}
	}
}

// Step and spiking activations, through which backpropagation learns nothing, are trained.
func TestLikelihoodRatioTrainsSteps(t *testing.T) {
	d := toy(96)
	sign := layers.Activation(graph.Sign)
	spikes := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node { // three steps of leaky integration and firing
		shape := graph.ShapeOf(x)
		potential := graph.BroadcastTo(s.Const(0), shape[0], 8)
		var rate *graph.Node
		for range 3 {
			current := layers.Dense{Units: 8, Name: "in"}.Apply(s, x)
			potential = graph.Add(graph.Scale(potential, 0.5), current)
			fired := graph.Greater(potential, graph.Const(potential, 0.5))
			potential = graph.Sub(potential, graph.Scale(fired, 0.5))
			rate = plus(rate, fired)
		}
		return rate
	})
	for name, model := range map[string]layers.Layer{
		"sign":  layers.Sequential{layers.Dense{Units: 8, Activation: sign}, layers.Dense{Units: 3}},
		"spike": layers.Sequential{spikes, layers.Dense{Units: 3}},
	} {
		moved := func(r Rule) (change, accuracy float64) {
			tr, err := r.Trainer(model, objectives.CrossEntropy, SpecOf(d, 32, 3))
			if err != nil {
				t.Fatalf("%s: %+v", name, err)
			}
			before := tr.Params().Clone()
			h, err := Fit(t.Context(), tr, d, Config{Epochs: 40, Validation: d})
			if err != nil {
				t.Fatal(err)
			}
			for q := range tr.Params().All() {
				if q.Value.Shape[0] != 4 { // of the first layer
					continue
				}
				for i := range q.Value.Size() {
					change += math.Abs(q.Value.At(i) - before.Get(q.Name).Value.At(i))
				}
			}
			return change, h.Last().Accuracy
		}
		if change, _ := moved(Backprop{}); change != 0 {
			t.Errorf("%s: backpropagation moved the first layer by %v", name, change)
		}
		change, accuracy := moved(LikelihoodRatio{Optimizer: optim.Adam{LR: 0.02}, Draws: 4, Sigma: 0.3})
		if change == 0 || accuracy < 0.85 {
			t.Errorf("%s: first layer moved by %v, accuracy %v", name, change, accuracy)
		}
	}
}

func TestLikelihoodRatioErrors(t *testing.T) {
	d := toy(8)
	for name, c := range map[string]struct {
		r     LikelihoodRatio
		model layers.Layer
		words []string
	}{
		"sigma":   {LikelihoodRatio{Sigma: -1}, mlp(4), []string{"Sigma", "positive", "-1"}},
		"noise":   {LikelihoodRatio{Noise: 7}, mlp(4), []string{"Noise", "7"}},
		"sampler": {LikelihoodRatio{Sampler: -1}, mlp(4), []string{"Sampler", "-1"}},
		"both":    {LikelihoodRatio{Noise: WeightNoise, LearnSigma: true}, mlp(4), []string{"LearnSigma", "WeightNoise"}},
		"cut":     {LikelihoodRatio{Cut: "dense9"}, mlp(4), []string{"Cut", "block1", "dense9"}},
		"scale":   {LikelihoodRatio{Scales: map[string]float64{"dense9": 2}}, mlp(4), []string{"Scales", "dense9"}},
		"factor":  {LikelihoodRatio{Scales: map[string]float64{"dense1": 0}}, mlp(4), []string{"Scales[dense1]", "0"}},
		"use": {LikelihoodRatio{}, layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.MatMul(x, graph.Softmax(s.Param("w", graph.Zeros(), 4, 3), 0))
		}), []string{"w", "matmul, conv2d"}},
	} {
		_, err := c.r.Trainer(c.model, objectives.CrossEntropy, SpecOf(d, 8, 1))
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantError(t, err, append(c.words, "likelihood-ratio")...)
	}
}

// The losses of the examples, taken from the objective's sum, are those of each example alone, and their mean is the
// objective.
func TestLossesOfExamples(t *testing.T) {
	p := newProblem(t, layers.Dense{Units: 3}, 5, 2)
	for name, objective := range map[string]objectives.Objective{
		"cross-entropy": objectives.CrossEntropy,
		"smoothed":      objectives.CrossEntropyOptions{LabelSmoothing: 0.1}.Loss,
		"focal":         objectives.Focal,
		"mse": func(out, y *graph.Node) *graph.Node {
			return objectives.MSE(out, graph.OneHot(y, 3, out.Dtype()))
		},
		"penalised": func(out, y *graph.Node) *graph.Node { // no sum at its end: built for each example
			return graph.Add(objectives.CrossEntropy(out, y), graph.Mean(graph.Square(out)))
		},
	} {
		var each, whole *graph.Node
		alone := make([]*graph.Node, 5)
		p.extend(t, func() {
			each, whole = losses(objective, p.out, p.y), objective(p.out, p.y)
			for i := range alone {
				alone[i] = objective(graph.Slice(p.out, 0, i, i+1, 1), graph.Slice(p.y, 0, i, i+1, 1))
			}
		})
		q := p.compile(t, append([]*graph.Node{each, whole}, alone...)...)
		run(t, q, 0)
		closeTo(t, name, flat(q, []*graph.Node{each}), flat(q, alone), 1e-12)
		mean := 0.0
		for _, v := range flat(q, alone) {
			mean += v / 5
		}
		closeTo(t, name+" mean", []float64{mean}, flat(q, []*graph.Node{whole}), 1e-12)
		if found := summands(whole, p.out, 5) != nil; found != (name != "penalised") {
			t.Errorf("%s: summands found: %v", name, found)
		}
	}
}
