package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// outcomes lists all sequences of n draws from k outcomes as counts, with their probabilities under p.
func outcomes(p []float64, n int) (counts [][]float64, probability []float64) {
	total := 1
	for range n {
		total *= len(p)
	}
	for i := range total {
		c, q := make([]float64, len(p)), 1.0
		for j, rest := 0, i; j < n; j, rest = j+1, rest/len(p) {
			c[rest%len(p)]++
			q *= p[rest%len(p)]
		}
		counts, probability = append(counts, c), append(probability, q)
	}
	return counts, probability
}

// expectation is that of a loss over all n draws from p and m from q.
func expectation(t *testing.T, f Objective, p, q []float64, n, m int) float64 {
	t.Helper()
	cx, px := outcomes(p, n)
	cz, pz := outcomes(q, m)
	var x, z [][]float64
	var weight []float64
	for i := range cx {
		for j := range cz {
			x, z, weight = append(x, cx[i]), append(z, cz[j]), append(weight, px[i]*pz[j])
		}
	}
	loss, _ := losses(t, f, rows(x...), rows(z...))
	if len(loss) == 1 { // the objective averages: one row at a time
		loss = nil
		for i := range x {
			l, _ := losses(t, f, rows(x[i]), rows(z[i]))
			loss = append(loss, l...)
		}
	}
	sum := 0.0
	for i, l := range loss {
		sum += weight[i] * l
	}
	return sum
}

func TestBlackBoxL2(t *testing.T) {
	p, q := []float64{.5, .3, .2}, []float64{.2, .3, .5}
	each := BlackBoxL2Options{Reduction: ReduceNone}.Loss
	wantNear(t, "2 and 1", 1e-12, []float64{expectation(t, each, p, q, 2, 1)}, []float64{-.2})
	wantNear(t, "3 and 2", 1e-12, []float64{expectation(t, each, p, q, 3, 2)}, []float64{-.2})
	full := BlackBoxL2Options{Full: true, Reduction: ReduceNone}.Loss
	wantNear(t, "distance", 1e-12, []float64{expectation(t, full, p, q, 2, 2), expectation(t, full, q, q, 2, 2)}, []float64{.18, 0})
	// With one draw the expectation is linear in p: least at a vertex, not at q.
	one := expectation(t, each, q, q, 1, 1)
	wantNear(t, "one draw", 1e-12, []float64{one, expectation(t, each, []float64{0, 0, 1}, q, 1, 1)}, []float64{-.76, -1})
	// The plain squared distance of the frequencies is least at p = 2q - 1/3.
	plain := func(x, z *graph.Node) *graph.Node {
		return graph.Sum(graph.Square(graph.Sub(graph.Scale(x, .5), z)), 1)
	}
	at := func(p []float64) float64 { return expectation(t, plain, p, q, 2, 1) }
	best := []float64{2*.2 - 1.0/3, 2*.3 - 1.0/3, 2*.5 - 1.0/3}
	wantNear(t, "peakier", 1e-6, best, []float64{.066667, .266667, .666667})
	for _, d := range [][]float64{{.01, -.01, 0}, {-.01, .01, 0}, {.01, 0, -.01}, {0, -.01, .01}} {
		if !(at(best) < at([]float64{best[0] + d[0], best[1] + d[1], best[2] + d[2]})) {
			t.Errorf("the biased loss is lower off %v", best)
		}
	}
	if !(at(best) < at(q)-1e-3) {
		t.Error("the biased loss does not prefer the peakier law")
	}
}

func TestPolynomial(t *testing.T) {
	p, q := []float64{.6, .4}, []float64{.3, .7}
	l := Polynomial{{2, []int{2}, []int{0, 1}}, {-3, []int{1, 1}, nil}, {.5, []int{0, 3}, []int{1, 1}}, {7, nil, nil}}
	want := 2*.36*.7 - 3*.24 + .5*.064*.21 + 7
	wantNear(t, "value", 1e-12, []float64{l.Value(p, q)}, []float64{want})
	wantNear(t, "expectation", 1e-12, []float64{expectation(t, l.Loss, p, q, 3, 2)}, []float64{want})
	var square Polynomial
	for a := range 3 {
		x, y := make([]int, 3), make([]int, 3)
		x[a], y[a] = 2, 1
		square = append(square, Monomial{1, x, nil}, Monomial{-2, y, y})
	}
	x, z := rows([]float64{2, 0, 3}, []float64{1, 1, 2}), rows([]float64{1, 0, 1}, []float64{0, 4, 0})
	got, _ := losses(t, square.Loss, x, z)
	l2, _ := losses(t, BlackBoxL2, x, z)
	wantNear(t, "L2", 1e-12, got, l2)
	wantNear(t, "factorial", 0, value(t, func(x *graph.Node) *graph.Node { return FallingFactorial(x, 3) }, numbers(0, 1, 2, 3, 5)), []float64{0, 0, 0, 6, 60})
	wantNear(t, "empty factorial", 0, value(t, func(x *graph.Node) *graph.Node { return FallingFactorial(x, 0) }, numbers(0, 4)), []float64{1, 1})
	wantError(t, func(x, _ *graph.Node) *graph.Node { return Polynomial{{1, []int{0, 0, 0, 1}, nil}}.Loss(x, x) }, "monomial 0")
	wantError(t, BlackBoxL2, "target")
}

func TestHarmonicLog(t *testing.T) {
	j := make([]float64, 2000)
	for i := range j {
		j[i] = float64(i)
	}
	h := value(t, HarmonicLog, numbers(j...))
	sum := 0.0
	for i, v := range h {
		wantNear(t, "harmonic number", 1e-12, []float64{v}, []float64{sum})
		sum += 1 / float64(i+1)
	}
	for _, c := range []struct{ p, mean, variance float64 }{{.5, .693147, .582241}, {.2, 1.609438, 1.074795}} {
		mean, square, q := 0.0, 0.0, c.p
		for _, v := range h {
			mean, square = mean+q*v, square+q*v*v
			q *= 1 - c.p
		}
		wantNear(t, "mean and variance", 1e-6, []float64{mean, square - mean*mean}, []float64{c.mean, c.variance})
		wantNear(t, "mean", 1e-12, []float64{mean}, []float64{-math.Log(c.p)})
		series, q := 0.0, 1.0
		for k := 1; k < 2000; k++ {
			q *= 1 - c.p
			series += q / float64(k*k)
		}
		wantNear(t, "variance", 1e-10, []float64{square - mean*mean}, []float64{series})
	}
}

func TestPoissonLog(t *testing.T) {
	for _, mean := range []float64{5, 10} {
		for _, p := range []float64{.5, .8} {
			sum := 0.0
			for n := range int(mean + 12*math.Sqrt(mean) + 40) {
				lg, _ := math.Lgamma(float64(n) + 1)
				for hits := range n + 1 {
					l1, _ := math.Lgamma(float64(hits) + 1)
					l2, _ := math.Lgamma(float64(n-hits) + 1)
					binomial := math.Exp(lg-l1-l2) * math.Pow(p, float64(hits)) * math.Pow(1-p, float64(n-hits))
					sum += math.Exp(float64(n)*math.Log(mean)-mean-lg) * binomial * PoissonLog(n, hits, mean)
				}
			}
			wantNear(t, "expectation", 1e-11, []float64{sum}, []float64{-math.Log(p)})
		}
	}
	wantNear(t, "no draws", 0, []float64{PoissonLog(0, 0, 5)}, []float64{0})
}

// The expectation of the estimated derivative over all pairs of draws is the derivative of the expectation.
func TestScoreFunction(t *testing.T) {
	logits, cost := rows([]float64{.3, -.5, 1}), []float64{2, -1, .5}
	p := value(t, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }, logits)
	mean := p[0]*cost[0] + p[1]*cost[1] + p[2]*cost[2]
	want, got := make([]float64, 4), make([]float64, 4)
	want[0] = mean
	for i := range 3 {
		want[i+1] = p[i] * (cost[i] - mean)
	}
	for a := range 3 {
		for b := range 3 {
			value, dx := losses(t, func(x, y *graph.Node) *graph.Node {
				logp := graph.Take(graph.Reshape(graph.LogSoftmax(x, 1), 3), y, 0)
				return ScoreFunction(graph.Literal(x, numbers(cost[a], cost[b])), logp)
			}, logits, labelsOf(a, b))
			for i, v := range append(value, dx...) {
				got[i] += p[a] * p[b] * v
			}
		}
	}
	wantNear(t, "expectation", 1e-12, got, want)
	// Equal costs say nothing.
	_, dx := losses(t, func(x, y *graph.Node) *graph.Node {
		return ScoreFunction(graph.Literal(x, numbers(3, 3)), graph.Take(graph.Reshape(graph.LogSoftmax(x, 1), 3), y, 0))
	}, logits, labelsOf(0, 1))
	wantNear(t, "equal costs", 1e-12, dx, make([]float64, 3))
	// A single draw has no baseline.
	value, dx := losses(t, func(x, y *graph.Node) *graph.Node {
		return ScoreFunction(graph.Literal(x, numbers(3)), graph.Take(graph.Reshape(graph.LogSoftmax(x, 1), 3), y, 0))
	}, logits, labelsOf(0))
	wantNear(t, "one", 1e-12, append(value, dx...), []float64{3, 3 * (1 - p[0]), -3 * p[1], -3 * p[2]})
	wantError(t, func(x, y *graph.Node) *graph.Node { return ScoreFunction(x, x) }, "cost")
	wantError(t, func(x, y *graph.Node) *graph.Node { return ScoreFunction(x, y) }, "logp")
}

// A table of 8 outcomes learns a law from draws alone; with the biased loss it becomes too peaky, as worked out.
func TestBlackBoxTraining(t *testing.T) {
	const k, batch, steps = 8, 64, 1000
	q := []float64{.3, .22, .15, .12, .08, .06, .04, .03}
	sharp := make([]float64, k) // the least of ½|p|² - 2 p·q over the simplex: 2q minus a constant, held at 0
	for c := 0.0; ; c += 1e-5 {
		sum := 0.0
		for i := range sharp {
			sharp[i] = max(0, 2*q[i]-c)
			sum += sharp[i]
		}
		if sum <= 1 {
			break
		}
	}
	logq := make([]float64, k)
	for i, v := range q {
		logq[i] = math.Log(v)
	}
	counts := func(s *graph.Scope, name string, logits *graph.Node, n int) *graph.Node {
		x := s.Categorical(name, graph.BroadcastTo(logits, batch, n, k))
		return graph.Sum(graph.OneHot(x, k, graph.Float64), 1)
	}
	l2 := func(loss Objective, n int) func(s *graph.Scope, logits, target *graph.Node) *graph.Node {
		return func(s *graph.Scope, logits, target *graph.Node) *graph.Node {
			x, z := counts(s, "model", logits, n), counts(s, "data", target, n)
			return ScoreFunction(loss(x, z), graph.Sum(graph.Mul(x, graph.LogSoftmax(logits, 0)), 1))
		}
	}
	plain := func(x, z *graph.Node) *graph.Node {
		return graph.Scale(graph.Sum(graph.Square(graph.Sub(x, z)), 1), .25)
	}
	for _, c := range []struct {
		name string
		loss func(s *graph.Scope, logits, target *graph.Node) *graph.Node
		rate float64
		want []float64
	}{
		{"unbiased", l2(BlackBoxL2Options{Reduction: ReduceNone}.Loss, 8), 3, q},
		{"biased", l2(plain, 2), 3, sharp},
		{"harmonic", func(s *graph.Scope, logits, target *graph.Node) *graph.Node {
			y := s.Categorical("data", graph.BroadcastTo(target, batch, k))
			hit := graph.Take(graph.LogSoftmax(logits, 0), y, 0)
			miss := graph.Log(missing(hit))
			// Misses before a hit are geometric: floor(log u/log(1-p)).
			misses := graph.Detach(graph.Floor(graph.Div(graph.Log(s.Uniform("misses", batch)), miss)))
			return ScoreFunction(HarmonicLog(misses), graph.Add(hit, graph.Mul(misses, miss)))
		}, 1, q},
	} {
		var logits, loss, slope *graph.Node
		g, err := graph.Build(&graph.Params{Seed: 1, DType: graph.Float64}, func(s *graph.Scope) {
			logits = s.Input("logits", graph.Float64, k)
			loss = c.loss(s, logits, graph.Literal(logits, numbers(logq...)))
			slope = graph.Grad(loss, logits)[0]
		})
		if err != nil {
			t.Fatal(err)
		}
		program, err := g.Compile(slope)
		if err != nil {
			t.Fatal(err)
		}
		x := program.Array(logits).Float64s()
		for step := range steps {
			program.SetStep(step)
			if err := program.Run(); err != nil {
				t.Fatal(err)
			}
			for i, d := range program.Array(slope).Float64s() {
				x[i] -= c.rate * (1 - float64(step)/steps) * d
			}
		}
		sum, distance := 0.0, 0.0
		for _, v := range x {
			sum += math.Exp(v)
		}
		for i, v := range x {
			distance += math.Abs(math.Exp(v)/sum-c.want[i]) / 2
		}
		t.Logf("%s: total variation %.4f", c.name, distance)
		if !(distance < .05) {
			t.Errorf("%s: the total variation to the law it should learn is %.3f", c.name, distance)
		}
	}
	if d := math.Abs(sharp[0]-q[0]) + math.Abs(sharp[1]-q[1]); d < .2 {
		t.Errorf("the two laws are too near to tell apart: %v, %v", sharp, q)
	}
}

// Of samplers ever further from the data the mean loss gives the order.
func TestBlackBoxRanking(t *testing.T) {
	const n, repeats = 100, 200
	q := []float64{.4, .3, .2, .1}
	r := graph.Rand(1, "ranking", 0)
	draw := func(p []float64) []float64 {
		c := make([]float64, len(p))
		for range n {
			u, a := r.Float64(), 0
			for ; a < len(p)-1 && u >= p[a]; a++ {
				u -= p[a]
			}
			c[a]++
		}
		return c
	}
	last := math.Inf(-1)
	for _, mix := range []float64{0, .25, .5, .75, 1} {
		p := make([]float64, 4)
		for i := range p {
			p[i] = (1-mix)*q[i] + mix*q[3-i]
		}
		var x, z [][]float64
		for range repeats {
			x, z = append(x, draw(p)), append(z, draw(q))
		}
		loss, _ := losses(t, BlackBoxL2Options{Full: true}.Loss, rows(x...), rows(z...))
		distance := mix * mix * 2 * (.09 + .01)
		if !(loss[0] > last) || math.Abs(loss[0]-distance) > .01 {
			t.Errorf("mixture %v of distance %v: mean loss %v after %v", mix, distance, loss[0], last)
		}
		last = loss[0]
	}
}

func TestBlackBoxDerivatives(t *testing.T) {
	for _, f := range []Objective{BlackBoxL2, BlackBoxL2Options{Full: true, Reduction: ReduceNone}.Loss,
		Polynomial{{2, []int{2}, []int{0, 1}}, {-3, []int{1, 1}, nil}}.Loss} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) },
			gradcheck.Uniform(1, 1, 3, 4, 3), gradcheck.Uniform(2, 1, 3, 4, 3))
	}
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return HarmonicLog(x[0]) }, gradcheck.Positive(1, 5))
	for _, x := range [][]float64{{0, 0}, {1, 0}, {1e4, 0}} { // none, one and many draws, an outcome never drawn
		loss, dx := losses(t, BlackBoxL2Options{Full: true}.Loss, rows(x), rows(x))
		for _, v := range append(loss, dx...) {
			if v-v != 0 {
				t.Errorf("counts %v: %v, %v", x, loss, dx)
			}
		}
	}
}
