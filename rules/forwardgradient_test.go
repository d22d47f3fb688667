package rules

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// problem is a model with its loss on a batch of three-class examples, in float64, and its reverse-mode gradients.
type problem struct {
	s            *graph.Scope
	g            *graph.Graph
	x, out, loss *graph.Node
	y            *graph.Node
	params       []*graph.Node
	grads        []*graph.Node
	data         *graph.Array // of x
}

func newProblem(t *testing.T, model layers.Layer, batch int, input ...int) *problem {
	t.Helper()
	p := &problem{}
	r := graph.Rand(5, "problem", 0)
	x := graph.NewArray(graph.Float64, append([]int{batch}, input...)...)
	for i := range x.Size() {
		x.Set(i, r.NormFloat64())
	}
	p.data = x
	y := graph.NewArray(graph.Int, batch)
	for i := range y.Ints() {
		y.Ints()[i] = r.IntN(3)
	}
	var err error
	p.g, err = graph.Build(&graph.Params{Seed: 4, DType: graph.Float64}, func(s *graph.Scope) {
		p.s = s
		p.x, p.y = s.Input("x", graph.Float64, x.Shape...), graph.Literal(s.Const(0), y)
		p.out = model.Apply(s, p.x)
		p.loss = objectives.CrossEntropy(p.out, p.y)
		p.params = s.Graph().Trainable(p.loss)
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for q := range p.g.Params.All() { // no zeros: biases count
		for i := range q.Value.Size() {
			q.Value.Set(i, q.Value.At(i)+0.3*r.NormFloat64())
		}
	}
	p.extend(t, func() { p.grads = graph.Grad(p.loss, p.params...) })
	return p
}

func (p *problem) extend(t *testing.T, f func()) {
	t.Helper()
	if err := p.g.Extend(func(*graph.Scope) { f() }); err != nil {
		t.Fatalf("%+v", err)
	}
}

// move adds by·v to the parameters.
func (p *problem) move(by float64, v []float64) {
	i := 0
	for _, n := range p.params {
		a := p.g.Param(n).Value
		for j := range a.Size() {
			a.Set(j, a.At(j)+by*v[i])
			i++
		}
	}
}

func (p *problem) compile(t *testing.T, nodes ...*graph.Node) *graph.Program {
	t.Helper()
	q, err := p.g.Compile(nodes...)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if q.Uses(p.x) {
		if err := q.Bind(p.x, p.data); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// flat lists the numbers of several nodes of a program that has run.
func flat(p *graph.Program, nodes []*graph.Node) (v []float64) {
	for _, n := range nodes {
		a := p.Array(n)
		for i := range a.Size() {
			v = append(v, a.At(i))
		}
	}
	return v
}

func run(t *testing.T, p *graph.Program, step int) {
	t.Helper()
	p.SetStep(step)
	if err := p.Run(); err != nil {
		t.Fatalf("%+v", err)
	}
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func closeTo(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: want %d numbers, got %d", what, len(want), len(got))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance*(1+math.Abs(want[i]))) {
			t.Fatalf("%s[%d]: want %v, got %v", what, i, want[i], got[i])
		}
	}
}

// forwardModels use every kind of layer whose tangents have code of their own.
var forwardModels = map[string]struct {
	model layers.Layer
	input []int
}{
	"mlp": {layers.Sequential{layers.Dense{Units: 4, Activation: layers.Tanh{}}, layers.LayerNorm{}, layers.Dense{Units: 3}}, []int{3}},
	"cnn": {layers.Sequential{
		layers.Conv2D{Filters: 3, Activation: layers.ReLU{}}, layers.Conv2D{Filters: 4, Stride: layers.Both(2), Padding: layers.Both(1), Groups: 1},
		layers.GELU{}, layers.Flatten{}, layers.Dense{Units: 3}}, []int{2, 5, 5}},
	"rnn":       {layers.Sequential{layers.RNN{Units: 4}, layers.LastStep{}, layers.Dense{Units: 3}}, []int{4, 2}},
	"lstm":      {layers.Sequential{layers.LSTM{Units: 3}, layers.LastStep{}, layers.Dense{Units: 3}}, []int{3, 2}},
	"attention": {layers.Sequential{layers.Dense{Units: 4}, layers.SelfAttention{Heads: 2}, layers.LastStep{}, layers.Dense{Units: 3}}, []int{3, 4}},
}

var everyPerturbation = []ForwardGradient{
	{Perturbation: Gaussian}, {Perturbation: Rademacher}, {Perturbation: Sparse, Density: 0.3},
	{Perturbation: Orthogonal, Tangents: 3}, {Perturbation: RankOne, Tangents: 2},
}

// The derivative that forward mode finds along each direction is the reverse-mode gradient times the direction, and the
// central difference of the loss.
func TestForwardGradientSlopes(t *testing.T) {
	for name, m := range forwardModels {
		p := newProblem(t, m.model, 5, m.input...)
		for _, r := range everyPerturbation {
			var along []direction
			var slopes []*graph.Node
			p.extend(t, func() {
				along = r.directions(p.s, p.loss, p.params)
				_, slopes = r.estimate(p.loss, p.params, along, 1)
			})
			nodes := slices.Concat([]*graph.Node{p.loss}, p.grads, slopes)
			for _, u := range along {
				nodes = append(nodes, u.v...)
			}
			q := p.compile(t, nodes...)
			for step := range 3 {
				run(t, q, step)
				g := flat(q, p.grads)
				for k, u := range along {
					closeTo(t, fmt.Sprintf("%s: perturbation %d", name, r.Perturbation), flat(q, slopes[k:k+1]), []float64{dot(g, flat(q, u.v))}, 1e-10)
				}
				if step == 0 {
					slope, v := flat(q, slopes[:1]), flat(q, along[0].v)
					loss := func(by float64) float64 {
						p.move(by, v)
						run(t, q, 0)
						value := q.Array(p.loss).Scalar()
						p.move(-by, v)
						return value
					}
					const e = 1e-6
					closeTo(t, name+": central difference", slope, []float64{(loss(e) - loss(-e)) / (2 * e)}, 1e-6)
				}
			}
		}
	}
}

// given is one direction whose components the test sets.
func (p *problem) given(t *testing.T) direction {
	u := direction{at: p.params}
	p.extend(t, func() {
		for i, w := range p.params {
			u.v = append(u.v, p.s.Input(fmt.Sprintf("v%d", i), graph.Float64, graph.ShapeOf(w)...))
		}
	})
	u.move = u.v
	return u
}

func set(p *graph.Program, nodes []*graph.Node, component func(i int) float64) {
	i := 0
	for _, n := range nodes {
		a := p.Array(n)
		for j := range a.Size() {
			a.Set(j, component(i))
			i++
		}
	}
}

// The average of the estimate over all 2^P Rademacher vectors is the gradient and its mean square P|g|²; the sum over
// the unit vectors is the gradient as well.
func TestForwardGradientEnumerated(t *testing.T) {
	for _, m := range []layers.Layer{
		layers.Dense{Units: 3},               // P = 9 for two inputs
		layers.Dense{Units: 3, NoBias: true}, // 6
		layers.Sequential{layers.Dense{Units: 2, Activation: layers.Tanh{}, NoBias: true}, layers.Dense{Units: 3}}, // 13: unit vectors only
	} {
		p := newProblem(t, m, 4, 2)
		u := p.given(t)
		var grads []*graph.Node
		p.extend(t, func() { grads, _ = ForwardGradient{}.estimate(p.loss, p.params, []direction{u}, 1) })
		q := p.compile(t, append(append(append([]*graph.Node{}, grads...), p.grads...), u.v...)...)
		run(t, q, 0)
		want := flat(q, p.grads)
		n := len(want)
		basis := make([]float64, n)
		for k := range n {
			set(q, u.v, func(i int) float64 {
				if i == k {
					return 1
				}
				return 0
			})
			run(t, q, 0)
			for i, v := range flat(q, grads) {
				basis[i] += v
			}
		}
		closeTo(t, "sum over unit vectors", basis, want, 1e-12)
		if n > 12 {
			continue
		}
		mean := make([]float64, n)
		var squares float64
		for bits := range 1 << n {
			set(q, u.v, func(i int) float64 { return float64(bits>>i&1)*2 - 1 })
			run(t, q, 0)
			g := flat(q, grads)
			for i := range g {
				mean[i] += g[i] / float64(int(1)<<n)
			}
			squares += dot(g, g) / float64(int(1)<<n)
		}
		closeTo(t, "mean over all sign vectors", mean, want, 1e-12)
		closeTo(t, "mean square", []float64{squares}, []float64{float64(n) * dot(want, want)}, 1e-12)
	}
}

// The average of the estimate over all 3⁶ sparse vectors, with their probabilities, is the gradient and its mean square
// (P-1+1/density)|g|². What is drawn has these values with these frequencies.
func TestForwardGradientSparse(t *testing.T) {
	const density, draws = 0.4, 400
	p := newProblem(t, layers.Dense{Units: 3, NoBias: true}, 4, 2)
	u := p.given(t)
	var grads []*graph.Node
	var drawn []direction
	p.extend(t, func() {
		grads, _ = ForwardGradient{}.estimate(p.loss, p.params, []direction{u}, 1)
		drawn = ForwardGradient{Perturbation: Sparse, Density: density}.directions(p.s, p.loss, p.params)
	})
	q := p.compile(t, slices.Concat(grads, p.grads, u.v, drawn[0].v)...)
	mean, squares := make([]float64, 6), 0.0
	for code := range 729 {
		weight, v := 1.0, [6]float64{}
		for i, c := 0, code; i < 6; i, c = i+1, c/3 {
			if c%3 == 0 {
				weight *= 1 - density
				continue
			}
			v[i] = float64(c%3*2-3) / math.Sqrt(density)
			weight *= density / 2
		}
		set(q, u.v, func(i int) float64 { return v[i] })
		run(t, q, 0)
		g := flat(q, grads)
		for i := range mean {
			mean[i] += weight * g[i]
		}
		squares += weight * dot(g, g)
	}
	want := flat(q, p.grads)
	closeTo(t, "mean", mean, want, 1e-12)
	closeTo(t, "mean square", []float64{squares}, []float64{(5 + 1/density) * dot(want, want)}, 1e-12)

	counts := map[float64]float64{}
	for step := range draws {
		run(t, q, step)
		for _, v := range flat(q, drawn[0].v) {
			counts[math.Round(v*1e6)/1e6]++
		}
	}
	side := math.Round(1e6/math.Sqrt(density)) / 1e6
	for v, want := range map[float64]float64{0: 1 - density, side: density / 2, -side: density / 2} {
		n := 6.0 * draws
		if margin := 4 * math.Sqrt(want*(1-want)/n); math.Abs(counts[v]/n-want) > margin {
			t.Errorf("component %v: frequency %v, want %v within %v", v, counts[v]/n, want, margin)
		}
	}
	if len(counts) != 3 {
		t.Errorf("components: %v", counts)
	}
}

// A rank-one direction of a 2 by 3 matrix is one of the 2⁵/2 products of sign vectors; the average of the estimate over
// them is the gradient and its mean square P|g|².
func TestForwardGradientRankOne(t *testing.T) {
	p := newProblem(t, layers.Dense{Units: 3, NoBias: true}, 4, 2)
	var one []direction
	var grads []*graph.Node
	p.extend(t, func() {
		one = ForwardGradient{Perturbation: RankOne}.directions(p.s, p.loss, p.params)
		grads, _ = ForwardGradient{}.estimate(p.loss, p.params, one, 1)
	})
	q := p.compile(t, slices.Concat(grads, p.grads, one[0].v)...)
	outcomes := map[[6]float64][]float64{}
	for step := range 400 {
		run(t, q, step)
		outcomes[[6]float64(flat(q, one[0].v))] = flat(q, grads)
	}
	if len(outcomes) != 16 {
		t.Fatalf("%d different directions, want 16", len(outcomes))
	}
	mean, squares := make([]float64, 6), 0.0
	for v, g := range outcomes {
		if v[0]*v[4] != v[1]*v[3] || v[0]*v[5] != v[2]*v[3] {
			t.Errorf("direction %v has not rank one", v)
		}
		for i := range mean {
			mean[i] += g[i] / 16
		}
		squares += dot(g, g) / 16
	}
	want := flat(q, p.grads)
	closeTo(t, "mean", mean, want, 1e-12)
	closeTo(t, "mean square", []float64{squares}, []float64{6 * dot(want, want)}, 1e-12)
}

// Orthogonal directions are orthogonal and of length √P; P of them give the gradient itself.
func TestForwardGradientOrthogonal(t *testing.T) {
	p := newProblem(t, layers.Dense{Units: 3}, 4, 2)
	r := ForwardGradient{Perturbation: Orthogonal, Tangents: 9}
	var along []direction
	var grads []*graph.Node
	p.extend(t, func() {
		along = r.directions(p.s, p.loss, p.params)
		grads, _ = r.estimate(p.loss, p.params, along, 1)
	})
	nodes := append(append([]*graph.Node{}, grads...), p.grads...)
	for _, u := range along {
		nodes = append(nodes, u.v...)
	}
	q := p.compile(t, nodes...)
	for step := range 3 {
		run(t, q, step)
		closeTo(t, "estimate", flat(q, grads), flat(q, p.grads), 1e-10)
		for i, a := range along {
			for j, b := range along {
				want := 0.0
				if i == j {
					want = 9
				}
				closeTo(t, "product of directions", []float64{dot(flat(q, a.v), flat(q, b.v))}, []float64{want}, 1e-10)
			}
		}
	}
	r.Tangents = 10
	_, err := r.Trainer(layers.Dense{Units: 3}, objectives.CrossEntropy, Spec{Input: []int{2}, Classes: 3, Batch: 2})
	wantError(t, err, "forward-gradient", "Tangents", "9", "10")
}

// The variance of an average of K tangents: |g|²(P+1)/K for independent Gaussian ones, |g|²(P/K - 1) for orthogonal.
func TestForwardGradientVarianceOfTangents(t *testing.T) {
	const draws = 4000
	g := []float64{1, 2, 3, 4, 5}
	for _, k := range []int{1, 2, 4} {
		for _, perturbation := range []Perturbation{Gaussian, Orthogonal} {
			r := ForwardGradient{Perturbation: perturbation, Tangents: k}
			var grads []*graph.Node
			built, err := graph.Build(&graph.Params{Seed: 2, DType: graph.Float64}, func(s *graph.Scope) {
				w := s.Param("w", graph.Zeros(), 5)
				loss := graph.Dot(w, literal(s, []int{5}, g...))
				grads, _ = r.estimate(loss, []*graph.Node{w}, r.directions(s, loss, []*graph.Node{w}), 1)
			})
			if err != nil {
				t.Fatal(err)
			}
			q, err := built.Compile(grads...)
			if err != nil {
				t.Fatal(err)
			}
			want := 55 * 6 / float64(k)
			if perturbation == Orthogonal {
				want = 55 * (5/float64(k) - 1)
			}
			var sum, squares float64
			for step := range draws {
				run(t, q, step)
				e := flat(q, grads)
				for i := range e {
					e[i] -= g[i]
				}
				v := dot(e, e)
				sum, squares = sum+v/draws, squares+v*v/draws
			}
			if margin := 4 * math.Sqrt((squares-sum*sum)/draws); math.Abs(sum-want) > margin {
				t.Errorf("perturbation %d, %d tangents: variance %v, want %v within %v", perturbation, k, sum, want, margin)
			}
		}
	}
}

// At Rosenbrock's minimum every direction has slope 0.
func TestForwardGradientAtTheMinimum(t *testing.T) {
	var slope *graph.Node
	g, err := graph.Build(&graph.Params{Seed: 2, DType: graph.Float64}, func(s *graph.Scope) {
		w := s.Param("w", graph.Ones(), 2)
		x, y := graph.Slice(w, 0, 0, 1, 1), graph.Slice(w, 0, 1, 2, 1)
		loss := graph.Sum(graph.Add(graph.Square(graph.OneMinus(x)), graph.Scale(graph.Square(graph.Sub(y, graph.Square(x))), 100)))
		_, slopes := ForwardGradient{}.estimate(loss, []*graph.Node{w}, ForwardGradient{}.directions(s, loss, []*graph.Node{w}), 1)
		slope = slopes[0]
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(slope)
	if err != nil {
		t.Fatal(err)
	}
	for step := range 20 {
		run(t, p, step)
		if d := p.Array(slope).Scalar(); d != 0 {
			t.Errorf("slope %v", d)
		}
	}
}

// No rule of this family has an instruction that a reverse rule made.
func TestForwardOnlyHasNoReverse(t *testing.T) {
	every := map[string]Rule{
		"guess activation":       ForwardGuess{Guess: GaussianGuess},
		"guess weight":           ForwardGuess{Guess: RademacherGuess, Space: WeightSpace},
		"guess weight, batch":    ForwardGuess{Guess: RademacherGuess, Space: WeightSpace, PerBatch: true},
		"likelihood ratio":       LikelihoodRatio{},
		"likelihood ratio joint": LikelihoodRatio{Joint: true, LearnSigma: true, OneSided: true, Baseline: true, Sampler: SobolPoints},
		"weight noise":           LikelihoodRatio{Noise: WeightNoise},
	}
	for _, r := range everyPerturbation {
		every[fmt.Sprintf("forward gradient %d", r.Perturbation)] = r
	}
	for name, r := range every {
		for of, m := range forwardModels {
			tr, err := r.Trainer(m.model, objectives.CrossEntropy, Spec{Input: m.input, Classes: 3, Batch: 2})
			if err != nil {
				t.Errorf("%s, %s: %v", name, of, err)
				continue
			}
			for _, p := range tr.Programs() {
				if n := p.Stats().Reverse; n != 0 {
					t.Errorf("%s, %s: %d instructions made by reverse rules", name, of, n)
				}
			}
		}
	}
}

// A trainer that draws its directions again moves the parameters as one that keeps directions and estimate in memory,
// whatever the optimiser and the clipping, and keeps neither.
func TestForwardGradientRedraws(t *testing.T) {
	d := toy(64)
	model := layers.Sequential{layers.Dense{Units: 130, Activation: layers.Tanh{}}, layers.Dense{Units: 90, Activation: layers.Tanh{}}, layers.Dense{Units: 3}}
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		for name, r := range map[string]ForwardGradient{
			"gaussian":        {},
			"rademacher adam": {Perturbation: Rademacher, Tangents: 3, Optimizer: optim.Adam{LR: 0.01}},
			"rank one":        {Perturbation: RankOne, Tangents: 2, Optimizer: optim.SGD{LR: 0.01, Momentum: 0.9}, Options: optim.Options{Clip: optim.Clip{Norm: 0.5}}},
			"rank one, plain": {Perturbation: RankOne, Optimizer: optim.SGD{LR: 0.01}},
			"one layer":       {OneLayer: true, Perturbation: RankOne, Optimizer: optim.Adam{LR: 0.01}, Options: optim.Options{Schedule: optim.Cosine{Steps: 9}}},
			"clipped":         {Perturbation: RankOne, Options: optim.Options{Clip: optim.Clip{Value: 0.01}, Schedule: optim.Cosine{Steps: 9}}},
		} {
			spec := SpecOf(d, 16, 5)
			spec.DType = dtype
			again, err := r.Trainer(model, objectives.CrossEntropy, spec)
			if err != nil {
				t.Fatalf("%s: %+v", name, err)
			}
			kept, err := again.(*forwardSteps).stored()
			if err != nil {
				t.Fatal(err)
			}
			start := again.Params().Clone()
			var ends []*graph.Params
			for _, tr := range []Trainer{again, kept} {
				if err := again.Params().CopyFrom(start); err != nil {
					t.Fatal(err)
				}
				if _, err := Fit(t.Context(), tr, d, Config{Epochs: 2}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				ends = append(ends, again.Params().Clone())
			}
			tolerance := map[graph.DType]float64{graph.Float32: 2e-5, graph.Float64: 1e-12}[dtype]
			for q := range ends[0].All() {
				for i := range q.Value.Size() {
					a, b, from := q.Value.At(i), ends[1].Get(q.Name).Value.At(i), start.Get(q.Name).Value.At(i)
					if math.Abs(a-b) > tolerance*(1+math.Abs(b)) || a == from && b != from {
						t.Fatalf("%s, %v: %s[%d]: %v, want %v from %v", name, dtype, q.Name, i, a, b, from)
					}
				}
			}
			if a, b := again.ActivationBytes(), kept.ActivationBytes(); a >= b {
				t.Errorf("%s: %d bytes, with everything kept %d", name, a, b)
			}
		}
	}
}
