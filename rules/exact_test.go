package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// The exact numbers of the papers' checks, computed by hand from the formulas.

// evaluate builds a graph in float64 and returns the values of the nodes.
func evaluate(t *testing.T, params *graph.Params, f func(s *graph.Scope) []*graph.Node) []*graph.Array {
	t.Helper()
	if params == nil {
		params = &graph.Params{DType: graph.Float64}
	}
	var nodes []*graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) { nodes = f(s) })
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(nodes...)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if err := p.Run(); err != nil {
		t.Fatalf("%+v", err)
	}
	values := make([]*graph.Array, len(nodes))
	for i, n := range nodes {
		values[i] = p.Array(n).Clone()
	}
	return values
}

func near(t *testing.T, what string, got *graph.Array, tolerance float64, want ...float64) {
	t.Helper()
	if got.Size() != len(want) {
		t.Fatalf("%s: want %d numbers, got %v", what, len(want), got.Type)
	}
	for i, w := range want {
		if math.Abs(got.At(i)-w) > tolerance {
			t.Errorf("%s[%d]: want %v, got %v", what, i, w, got.At(i))
		}
	}
}

// literal is a constant node of float64 numbers.
func literal(s *graph.Scope, shape []int, v ...float64) *graph.Node {
	return graph.Literal(s.Const(0), graph.ArrayOf(v, shape...))
}

// Hinton 2022: s = [1, 2, 0], threshold 3: goodness 5, p = 0.880797, loss 0.126928; the gradient of log p is
// 2(1-p)s, and the update is half of that.
func TestForwardForwardGoodness(t *testing.T) {
	v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
		a := literal(s, []int{1, 3}, 1, 2, 0)
		quiet := literal(s, []int{1, 3}, 0, 0, 0) // softplus(0-3) has no gradient here
		good := objectives.SumSquares.Of(a)
		loss := contrast(good, objectives.SumSquares.Of(quiet), 3, 1)
		return []*graph.Node{good, loss, graph.Neg(graph.Grad(loss, a)[0])}
	})
	near(t, "goodness", v[0], 0, 5)
	near(t, "loss", v[1], 1e-6, (0.126928+math.Log1p(math.Exp(-3)))/2)
	near(t, "update", v[2], 1e-6, 0.119203, 0.238406, 0)
}

func TestForwardForwardNormalisation(t *testing.T) {
	v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
		a := literal(s, []int{2, 4}, 3, 4, 0, 0, 0, 0, 0, 0)
		n := UnitRMS.Of(a)
		return []*graph.Node{n, UnitRMS.Of(graph.Scale(a, 17)), UnitRMS.Of(n), graph.Grad(graph.Sum(n), a)[0], UnitLength.Of(a)}
	})
	want := []float64{1.2, 1.6, 0, 0, 0, 0, 0, 0}
	for i, what := range []string{"unit RMS", "of a multiple", "twice"} {
		near(t, what, v[i], 1e-8, want...)
	}
	near(t, "unit length", v[4], 1e-15, 0.6, 0.8, 0, 0, 0, 0, 0, 0)
	for i := range v[3].Size() {
		if g := v[3].At(i); g-g != 0 {
			t.Errorf("derivative at element %d of a zero row: %v", i, g)
		}
	}
}

// The wrong label is never the true one, even if the readout is sure of it, and uniform over the others for a readout
// of zeros.
func TestForwardForwardWrongLabels(t *testing.T) {
	const batch, classes = 30000, 4
	n := &ffNet{classes: classes}
	for _, scores := range [][]float64{{0, 0, 0, 0}, {1e4, 0, 0, 0}} {
		v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
			z := graph.BroadcastTo(literal(s, []int{1, classes}, scores...), batch, classes)
			label := graph.BroadcastTo(literal(s, []int{1, classes}, 1, 0, 0, 0), batch, classes)
			return []*graph.Node{graph.Sum(n.wrongLabel(s, z, label), 0)}
		})
		if v[0].At(0) != 0 {
			t.Errorf("scores %v: the true label was drawn %v times", scores, v[0].At(0))
		}
		// Each count is binomial(30000, 1/3): standard deviation 81.6.
		near(t, "counts", v[0], 5*81.6, 0, 1e4, 1e4, 1e4)
	}
}

// A unit that is off on all data gets no gradient from its goodness, but is raised by peer normalisation; so it does
// not stay dead.
func TestForwardForwardPeer(t *testing.T) {
	model := layers.Sequential{layers.Dense{Units: 2, Activation: layers.ReLU{}}, layers.Dense{Units: 2}}
	gradients := func(peer float64) *graph.Array {
		params := &graph.Params{DType: graph.Float64}
		spec := Spec{Input: []int{1}, Classes: 2, Batch: 1, DType: graph.Float64}
		n, err := ForwardForward{Peer: peer}.net("forward-forward", model, spec, params, true)
		if err != nil {
			t.Fatal(err)
		}
		params.Get("dense1/weight").Value.CopyFrom(graph.ArrayOf([]float64{1, -1, 1, -1, 1, -1}, 3, 2)) // unit 1 is off
		return evaluate(t, params, func(s *graph.Scope) []*graph.Node {
			x := literal(s, []int{1, 1}, 1)
			label := literal(s, []int{1, 2}, 1, 0)
			return hiddenGoals(n, s, x, label, label)[0].Grads[:1]
		})[0]
	}
	with, without := gradients(0.03), gradients(-1)
	// Input (1, 1, 0) scaled to unit mean square is (c, c, 0); the hand term is 0.03(mean(m)-m_j) an input.
	c := math.Sqrt(1.5)
	m0, m1 := 0.9*0.5+0.1*2*c, 0.9*0.5
	push := 0.03 * ((m0+m1)/2 - m1)
	for i, in := range []float64{c, c, 0} {
		if g := without.At(2*i + 1); g != 0 {
			t.Errorf("dead unit, weight %d: want gradient 0, got %v", i, g)
		}
		if g := with.At(2*i + 1); math.Abs(g+push*in) > 1e-12 {
			t.Errorf("dead unit with peer term, weight %d: want %v, got %v", i, -push*in, g)
		}
	}
}

// Mono-forward: a = [1, 0, 2], M = [[.5, -.2, .1], [0, .3, .4]], label 1: scores [.7, .8], loss 0.644396660.
func TestMonoForwardLocalGradient(t *testing.T) {
	v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
		a := literal(s, []int{1, 3}, 1, 0, 2)
		m := literal(s, []int{3, 2}, 0.5, 0, -0.2, 0.3, 0.1, 0.4)
		scores := graph.MatMul(a, m)
		loss := objectives.CrossEntropy(scores, graph.Literal(s.Const(0), graph.ArrayOf([]int{1}, 1)))
		return append(graph.Grad(loss, m, a), scores, loss)
	})
	near(t, "dM", v[0], 1e-6, 0.475021, -0.475021, 0, 0, 0.950042, -0.950042)
	near(t, "da", v[1], 1e-6, 0.237510, -0.237510, -0.142506)
	near(t, "scores", v[2], 1e-12, 0.7, 0.8)
	near(t, "loss", v[3], 1e-9, 0.644396660)
}

// toy is a small classification problem.
func toy(n int) *toyData {
	r := graph.Rand(3, "toy", 0)
	d := &toyData{}
	for i := range n {
		label := i % 3
		var x [4]float32
		for j := range x {
			x[j] = float32(r.NormFloat64())
		}
		x[label] += 2
		d.x, d.y = append(d.x, x), append(d.y, label)
	}
	return d
}

type toyData struct {
	x [][4]float32
	y []int
}

func (d *toyData) Len() int           { return len(d.x) }
func (d *toyData) InputShape() []int  { return []int{4} }
func (d *toyData) Classes() int       { return 3 }
func (d *toyData) TargetShape() []int { return nil }
func (d *toyData) Read(i int, _ uint64, x, _ []float32) int {
	copy(x, d.x[i][:])
	return d.y[i]
}

func mlp(hidden ...int) layers.Sequential {
	var q layers.Sequential
	for _, h := range hidden {
		q = append(q, layers.Dense{Units: h, Activation: layers.ReLU{}})
	}
	return append(q, layers.Dense{Units: 3})
}

// With one hidden layer the model's output layer is that layer's projection: mono-forward is backpropagation.
func TestMonoForwardOneLayerIsBackprop(t *testing.T) {
	d := toy(48)
	spec := SpecOf(d, 16, 7)
	spec.DType = graph.Float64
	var stores []*graph.Params
	for _, r := range []Rule{Backprop{}, MonoForward{}} {
		tr, err := r.Trainer(mlp(8), objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Fit(t.Context(), tr, d, Config{Epochs: 5}); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, tr.Params())
	}
	for p := range stores[0].All() {
		q := stores[1].Get(p.Name)
		for i := range p.Value.Size() {
			if math.Abs(p.Value.At(i)-q.Value.At(i)) > 1e-12 {
				t.Fatalf("%s[%d]: backprop %v, mono-forward %v", p.Name, i, p.Value.At(i), q.Value.At(i))
			}
		}
	}
}

// Blocks learn from their own losses only: perturbing the parameters of the last block leaves the first update of the
// others as it was, bit for bit; and with a projection of zeros the first step moves the projection, not the layer.
func TestLocalRulesAreLocal(t *testing.T) {
	d := toy(16)
	batch := NewBatch(SpecOf(d, 16, 7))
	if err := batch.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Rule{MonoForward{}, ForwardForward{Negatives: WrongLabel}} {
		after := func(disturb string) *graph.Params {
			tr, err := r.Trainer(mlp(8, 8, 8), objectives.CrossEntropy, SpecOf(d, 16, 7))
			if err != nil {
				t.Fatal(err)
			}
			if disturb != "" {
				q := tr.Params().Get(disturb)
				for i := range q.Value.Size() {
					q.Value.Set(i, q.Value.At(i)+1)
				}
			}
			if _, err := tr.Step(batch); err != nil {
				t.Fatal(err)
			}
			return tr.Params()
		}
		plain, disturbed := after(""), after("dense3/weight")
		for _, name := range []string{"dense1/weight", "dense1/bias", "dense2/weight", "dense2/bias"} {
			a, b := plain.Get(name).Value, disturbed.Get(name).Value
			for i := range a.Size() {
				if a.At(i) != b.At(i) {
					t.Fatalf("%s: %s[%d] depends on block 3: %v, %v", r.Name(), name, i, a.At(i), b.At(i))
				}
			}
		}
	}
}

func TestMonoForwardZeroProjection(t *testing.T) {
	d := toy(16)
	spec := SpecOf(d, 16, 7)
	tr, err := MonoForward{Optimizer: optim.SGD{LR: 0.1}}.Trainer(mlp(8, 8), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	projection := tr.Params().Get("mono-forward/block1/projection")
	if projection == nil {
		t.Fatal("no projection of block1")
	}
	projection.Value.Zero()
	before := tr.Params().Clone()
	batch := NewBatch(spec)
	if err := batch.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
		t.Fatal(err)
	}
	first := tr.(*trainer).phases[0].stages[0]
	if err := first.run(batch, 0); err != nil {
		t.Fatal(err)
	}
	if loss := first.losses[0].Scalar(); math.Abs(loss-math.Log(3)) > 1e-6 {
		t.Errorf("loss of a zero projection: want log 3, got %v", loss)
	}
	if _, err := tr.Step(batch); err != nil {
		t.Fatal(err)
	}
	if moved(before, tr.Params(), "dense1/weight") {
		t.Error("the layer moved although its projection was zero")
	}
	if !moved(before, tr.Params(), "mono-forward/block1/projection") {
		t.Error("the projection did not move")
	}
}

func moved(a, b *graph.Params, name string) bool {
	x, y := a.Get(name).Value, b.Get(name).Value
	for i := range x.Size() {
		if x.At(i) != y.At(i) {
			return true
		}
	}
	return false
}

// Baydin et al. 2022: Beale's and Rosenbrock's functions at (0.5, -1) along (0.6, -0.8).
func TestForwardGradientTestFunctions(t *testing.T) {
	functions := map[string]struct {
		f            func(x, y *graph.Node) *graph.Node
		value, slope float64
	}{
		"beale": {func(x, y *graph.Node) *graph.Node {
			term := func(c float64, y *graph.Node) *graph.Node {
				return graph.Square(graph.Add(graph.Shift(graph.Neg(x), c), graph.Mul(x, y)))
			}
			y2 := graph.Square(y)
			return graph.Add(graph.Add(term(1.5, y), term(2.25, y2)), term(2.625, graph.Mul(y2, y)))
		}, 7.953125, -5.8},
		"rosenbrock": {func(x, y *graph.Node) *graph.Node {
			return graph.Add(graph.Square(graph.OneMinus(x)), graph.Scale(graph.Square(graph.Sub(y, graph.Square(x))), 100))
		}, 156.5, 349.4},
	}
	for name, c := range functions {
		v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
			x, y := literal(s, nil, 0.5), literal(s, nil, -1)
			dx, dy := s.Const(0.6), s.Const(-0.8)
			f := c.f(x, y)
			d := graph.JVP([]*graph.Node{f}, []*graph.Node{x, y}, []*graph.Node{dx, dy})[0]
			return []*graph.Node{f, d, graph.Mul(d, dx), graph.Mul(d, dy)}
		})
		near(t, name, v[0], 1e-12, c.value)
		near(t, name+" slope", v[1], 1e-9, c.slope)
		near(t, name+" gradient x", v[2], 1e-9, 0.6*c.slope)
		near(t, name+" gradient y", v[3], 1e-9, -0.8*c.slope)
	}
}

// For a gradient g of P components, E|estimate|² is (P+2)|g|² under Gaussian, (P-1+1/density)|g|² under sparse and
// P|g|² under other directions. g = (1, 2, 3, 4, 5): 385, 330 and 275; the covariance of the Gaussian estimate is g gᵀ + |g|² I: 56 and 2.
func TestForwardGradientMoments(t *testing.T) {
	const draws = 100000
	for _, c := range []struct {
		perturbation Perturbation
		second       float64 // E|estimate|²
	}{{Gaussian, 385}, {Rademacher, 275}, {Sparse, 330}, {Orthogonal, 275}, {RankOne, 275}} {
		r := ForwardGradient{Perturbation: c.perturbation, Density: 0.5}
		params := &graph.Params{Seed: 11, DType: graph.Float64}
		var norm, g0g0, g0g1 *graph.Node
		var sums [5]float64
		var mean *graph.Node
		g, err := graph.Build(params, func(s *graph.Scope) {
			w := s.Param("w", graph.Zeros(), 5)
			loss := graph.Dot(w, literal(s, []int{5}, 1, 2, 3, 4, 5))
			v := r.directions(s, loss, []*graph.Node{w})[0].v
			d := graph.JVP([]*graph.Node{loss}, []*graph.Node{w}, v)[0]
			mean = graph.Mul(d, v[0])
			norm = graph.Sum(graph.Square(mean))
			first := graph.Slice(mean, 0, 0, 1, 1)
			g0g0 = graph.Sum(graph.Square(first))
			g0g1 = graph.Sum(graph.Mul(first, graph.Slice(mean, 0, 1, 2, 1)))
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(mean, norm, g0g0, g0g1)
		if err != nil {
			t.Fatal(err)
		}
		var second, squares, c00, c01 float64
		for step := range draws {
			p.SetStep(step)
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			n := p.Array(norm).Scalar()
			second += n / draws
			squares += n * n / draws
			c00 += p.Array(g0g0).Scalar() / draws
			c01 += p.Array(g0g1).Scalar() / draws
			for i := range sums {
				sums[i] += p.Array(mean).At(i) / draws
			}
		}
		margin := 4 * math.Sqrt((squares-second*second)/draws)
		if math.Abs(second-c.second) > margin {
			t.Errorf("%v: E|g|² = %v, want %v within %v", c.perturbation, second, c.second, margin)
		}
		for i := range sums { // standard deviation of a component is at most sqrt(2·55), of sparse ones
			if sd := math.Sqrt(110.0 / draws); math.Abs(sums[i]-float64(i+1)) > 4*sd {
				t.Errorf("%v: mean[%d] = %v, want %d within %v", c.perturbation, i, sums[i], i+1, 4*sd)
			}
		}
		if c.perturbation == Gaussian {
			// E g0² = var + mean² = 56 + 1, E g0 g1 = 2 + 2; fourth moments bound the margins.
			if math.Abs(c00-57) > 4*math.Sqrt(3*57*57*5.0/draws) || math.Abs(c01-4) > 4*math.Sqrt(3*57*60*5.0/draws) {
				t.Errorf("covariance: E g0² = %v (57), E g0 g1 = %v (4)", c00, c01)
			}
		}
	}
}

// On |x|²/2 with P = 10 and step 1/12 a step multiplies the expected loss by 1 - 2/12 + 12/144 = 11/12.
func TestForwardGradientContraction(t *testing.T) {
	const runs = 40000
	params := &graph.Params{Seed: 5, DType: graph.Float64}
	var next *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x := literal(s, []int{10}, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
		v := s.Normal("v", 10)
		loss := graph.Scale(graph.Sum(graph.Square(x)), 0.5)
		d := graph.JVP([]*graph.Node{loss}, []*graph.Node{x}, []*graph.Node{v})[0]
		y := graph.Sub(x, graph.Scale(graph.Mul(d, v), 1.0/12))
		next = graph.Div(graph.Sum(graph.Square(y)), graph.Sum(graph.Square(x)))
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(next)
	if err != nil {
		t.Fatal(err)
	}
	var mean, squares float64
	for step := range runs {
		p.SetStep(step)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		v := p.Array(next).Scalar()
		mean += v / runs
		squares += v * v / runs
	}
	if margin := 4 * math.Sqrt((squares-mean*mean)/runs); math.Abs(mean-11.0/12) > margin {
		t.Errorf("contraction %v, want %v within %v", mean, 11.0/12, margin)
	}
}

// The estimate averaged over 20,000 directions points along the reverse-mode gradient, and its program has no
// instruction that a reverse rule made.
func TestForwardGradientMatchesReverse(t *testing.T) {
	d := toy(16)
	spec := SpecOf(d, 16, 7)
	spec.DType = graph.Float64
	model := mlp(4)
	batch := NewBatch(spec)
	if err := batch.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
		t.Fatal(err)
	}
	gradients := func(r Rule) (*trainer, []*graph.Array) {
		tr, err := r.Trainer(model, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		if again, ok := tr.(*forwardSteps); ok {
			kept, err := again.stored()
			if err != nil {
				t.Fatal(err)
			}
			tr = kept.trainer
		}
		ph := tr.(*trainer).phases[0]
		if err := ph.program.Bind(ph.x, batch.X); err != nil {
			t.Fatal(err)
		}
		if err := ph.program.Bind(ph.y, batch.Y); err != nil {
			t.Fatal(err)
		}
		return tr.(*trainer), ph.grads[0]
	}
	bp, want := gradients(Backprop{})
	if err := bp.phases[0].program.Run(); err != nil {
		t.Fatal(err)
	}
	fg, got := gradients(ForwardGradient{})
	if n := fg.phases[0].program.Stats().Reverse; n != 0 {
		t.Errorf("%d instructions of the forward gradient were made by reverse rules", n)
	}
	if bp.phases[0].program.Stats().Reverse == 0 {
		t.Error("backprop's instructions are not marked as made by reverse rules")
	}
	var dot, gg, ww float64
	mean := make([][]float64, len(got))
	for step := range 20000 {
		fg.phases[0].program.SetStep(step)
		if err := fg.phases[0].program.Run(); err != nil {
			t.Fatal(err)
		}
		for i, a := range got {
			if mean[i] == nil {
				mean[i] = make([]float64, a.Size())
			}
			for j := range mean[i] {
				mean[i][j] += a.At(j)
			}
		}
	}
	for i, a := range want {
		for j := range mean[i] {
			dot += a.At(j) * mean[i][j]
			ww += a.At(j) * a.At(j)
			gg += mean[i][j] * mean[i][j]
		}
	}
	if cos := dot / math.Sqrt(ww*gg); cos < 0.99 {
		t.Errorf("cosine %v, want > 0.99", cos)
	} else {
		t.Logf("cosine %.5f", cos)
	}
}
