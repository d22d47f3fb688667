package objectives

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestCheckoid(t *testing.T) {
	of := func(f func(z *graph.Node, axis int) *graph.Node, z ...float64) []float64 {
		v, _ := losses(t, func(x, _ *graph.Node) *graph.Node { return f(x, 1) }, rows(z), labelsOf(0))
		return v
	}
	wantNear(t, "two", 1e-9, of(Checkoid, 1, 2), []float64{0.6759728632})
	wantNear(t, "two, by sigmoids", 1e-12, of(Checkoid, 1, 2), []float64{logistic(1) * logistic(2) / logistic(3)})
	wantNear(t, "three", 1e-9, of(Checkoid, 1, 2, -1), []float64{0.4186799207})
	wantNear(t, "one", 1e-9, of(Checkoid, .5), []float64{0.6224593312})
	wantNear(t, "another sign", 1e-12, of(Checkoid, 1, -2, -1), []float64{1 - of(Checkoid, 1, 2, -1)[0]})
	wantNear(t, "xor", 1e-9, append(of(SmoothXOR, .5, .5), append(of(SmoothXOR, 1, 0), of(SmoothXOR, 0, 1)...)...), []float64{0.4700074244, .5, .5})
	// The probability that an even number of independent events fails.
	z := []float64{.3, -1.2, .8, 2}
	even := 0.0
	for pattern := range 16 {
		p, fails := 1.0, 0
		for k, v := range z {
			if pattern>>k&1 == 1 {
				v, fails = -v, fails+1
			}
			p *= logistic(v)
		}
		if fails%2 == 0 {
			even += p
		}
	}
	wantNear(t, "events", 1e-12, of(Checkoid, z...), []float64{even})
	// The same from softmaxes of two classes.
	pairs := rows([]float64{.3, 0, -1.2, 0, .8, 0, 2, 0})
	logp, _ := losses(t, func(x, _ *graph.Node) *graph.Node { return CheckeredOptions{Classes: 2}.LogProbabilities(x) }, pairs, labelsOf(0))
	wantNear(t, "two classes", 1e-12, []float64{math.Exp(logp[0]), math.Exp(logp[1])}, []float64{even, 1 - even})
}

func TestCheckered(t *testing.T) {
	z, o := rows([]float64{1, 0, -1, .5, -.5, 0}), CheckeredOptions{Classes: 3}
	logp, _ := losses(t, func(x, _ *graph.Node) *graph.Node { return o.LogProbabilities(x) }, z, labelsOf(0))
	xi := []float64{0.4288859105, 0.2755573651, 0.2955567244}
	wantNear(t, "probabilities", 1e-9, []float64{math.Exp(logp[0]), math.Exp(logp[1]), math.Exp(logp[2])}, xi)
	loss, dx := losses(t, o.Loss, z, labelsOf(1))
	wantNear(t, "loss", 1e-9, loss, []float64{-math.Log(xi[1])})
	wantNear(t, "gradient", 1e-9, dx[:3], []float64{0.2154247381, -0.2050877466, -0.0103369915})
	o.Reference = make([]float64, 6)
	loss, dx = losses(t, o.Loss, z, labelsOf(1))
	wantNear(t, "loss of the cross-gradient", 1e-9, loss, []float64{-math.Log(xi[1])})
	wantNear(t, "cross-gradient from 0", 1e-9, dx[:3], []float64{0.3319076224, -0.0886048623, -0.2433027602})

	// Seen from where it stands, the cross-gradient is the gradient; elsewhere it is the formula of the paper.
	x, y := gradcheck.Normal(1, 5, 9), gradcheck.Ints(1, 3, 5)
	o = CheckeredOptions{Classes: 3}
	a, da := losses(t, o.Loss, x, y)
	b, db := losses(t, func(x, y *graph.Node) *graph.Node { return o.SeenFrom(x, x, y) }, x, y)
	wantNear(t, "from itself", 1e-12, append(b, db...), append(a, da...))
	// m = 1 is softmax regression.
	x1 := gradcheck.Normal(2, 5, 3)
	a, da = losses(t, CrossEntropy, x1, y)
	b, db = losses(t, o.Loss, x1, y)
	wantNear(t, "one softmax", 1e-12, append(b, db...), append(a, da...))
	// All terms of the sum over (i, j, k) with i+j+k = y mod 3.
	softmax := func(v []float64) []float64 {
		sum, p := 0.0, make([]float64, len(v))
		for i := range v {
			p[i] = math.Exp(v[i])
			sum += p[i]
		}
		for i := range p {
			p[i] /= sum
		}
		return p
	}
	var want []float64
	for e, label := range y.Ints() {
		r := x.Float64s()[9*e : 9*e+9]
		u, v, w := softmax(r[:3]), softmax(r[3:6]), softmax(r[6:])
		sum := 0.0
		for i := range 3 {
			for j := range 3 {
				sum += u[i] * v[j] * w[((label-i-j)%3+3)%3]
			}
		}
		want = append(want, -math.Log(sum))
	}
	o.Reduction = ReduceNone
	got, _ := losses(t, o.Loss, x, y)
	wantNear(t, "three softmaxes", 1e-12, got, want)
}

func TestSumLogConcave(t *testing.T) {
	// F(z) = -log Ξ_2(z) with components softplus(-z1)+softplus(-z2) and softplus(z1)+softplus(z2).
	components := func(z *graph.Node) *graph.Node {
		up, down := graph.Sum(graph.Softplus(graph.Neg(z)), 1), graph.Sum(graph.Softplus(z), 1)
		return graph.Stack(1, up, down)
	}
	seen := func(from []float64) Objective {
		return func(z, _ *graph.Node) *graph.Node {
			eta := graph.Literal(z, rows(from))
			return graph.Sum(CrossGradient(components(z), graph.Softmax(graph.Neg(components(eta)), 1), 1))
		}
	}
	theta, eta := []float64{1, -.5}, []float64{.3, .8}
	f, cross := losses(t, seen(eta), rows(theta), labelsOf(0))
	at, _ := losses(t, seen(eta), rows(eta), labelsOf(0))
	wantNear(t, "difference", 1e-9, []float64{at[0] - f[0]}, []float64{-0.1751411022})
	wantNear(t, "cross-gradient", 1e-9, cross, []float64{-0.0192015270, -0.3727194368})
	pi := func(z []float64) float64 { return 1 / (1 + math.Exp(-z[0]-z[1])) }
	kl := func(a, b float64) float64 { return a*math.Log(a/b) + (1-a)*math.Log((1-a)/(1-b)) }
	right := cross[0]*(eta[0]-theta[0]) + cross[1]*(eta[1]-theta[1]) + kl(pi(eta), pi(theta))
	wantNear(t, "right side", 1e-9, []float64{right}, []float64{-0.4341964765})
	// The inequality F(η) - F(θ) ≥ <cross-gradient, η-θ> + KL everywhere.
	many := gradcheck.Normal(1, 200, 4).Float64s()
	for i := 0; i < len(many); i += 4 {
		theta, eta := many[i:i+2], many[i+2:i+4]
		f, cross := losses(t, seen(eta), rows(theta), labelsOf(0))
		at, _ := losses(t, seen(eta), rows(eta), labelsOf(0))
		right := cross[0]*(eta[0]-theta[0]) + cross[1]*(eta[1]-theta[1]) + kl(pi(eta), pi(theta))
		if at[0]-f[0] < right-1e-12 {
			t.Errorf("from %v to %v: %v is below %v", theta, eta, at[0]-f[0], right)
		}
	}
	_, gradient := losses(t, func(z, _ *graph.Node) *graph.Node { return graph.Sum(SumLogConcave(components(z), 1)) }, rows(theta), labelsOf(0))
	_, cross = losses(t, seen(theta), rows(theta), labelsOf(0))
	wantNear(t, "from itself", 1e-12, cross, gradient)
}

// Descent by the cross-gradient goes to z_k = logit(μ_1) from any start: the logits of the reference decide only through
// their sum.
func TestCrossGradientDescent(t *testing.T) {
	for _, c := range []struct{ mu, loss float64 }{{logistic(1), 0.4995953640}, {.5, math.Ln2}} {
		goal := math.Log(c.mu / (1 - c.mu))
		o := CheckeredOptions{Classes: 2, Reference: []float64{goal + 3, 0, -3, 0}}
		params := &graph.Params{DType: graph.Float64}
		var loss, slope *graph.Node
		g, err := graph.Build(params, func(s *graph.Scope) {
			w := s.Param("z", graph.Constant(0), 1, 4)
			loss = o.Loss(w, graph.Literal(w, labelsOf(0)))
			slope = graph.Grad(loss, w)[0]
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(loss, slope)
		if err != nil {
			t.Fatal(err)
		}
		z := params.Get("z").Value.Float64s()
		for _, start := range [][]float64{{4, 0, -2, 0}, {0, 0, 0, 0}, {-5, 1, 3, 2}} {
			copy(z, start)
			for range 3000 {
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				for i, d := range p.Array(slope).Float64s() {
					z[i] -= .2 * d
				}
			}
			wantNear(t, fmt.Sprintf("mu %v from %v", c.mu, start), 1e-9, []float64{z[0] - z[1], z[2] - z[3], p.Array(loss).Scalar()}, []float64{goal, goal, c.loss})
		}
	}
}

func TestCheckeredDerivatives(t *testing.T) {
	x, y := gradcheck.Normal(1, 4, 6), gradcheck.Ints(1, 2, 4)
	for _, f := range []Objective{CheckeredOptions{Classes: 3}.Loss, CheckeredOptions{Classes: 2, Reduction: ReduceNone}.Loss, CheckeredOptions{Classes: 6}.Loss} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) }, x, y)
	}
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return Checkoid(x[0], 1) }, x)
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return SumLogConcave(x[0], 1) }, x)
	// Sure logits, right and wrong.
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		z := graph.NewArray(dtype, 2, 4)
		for i, v := range []float64{1e4, -1e4, 1e4, -1e4, 1e4, -1e4, -1e4, 1e4} {
			z.Set(i, v)
		}
		for _, o := range []CheckeredOptions{{Classes: 2, Reduction: ReduceNone}, {Classes: 2, Reduction: ReduceNone, Reference: make([]float64, 4)}} {
			loss, dx := evaluate(t, of(o.Loss), z, labelsOf(0, 0))
			wantNear(t, "sure", 1e-2, floats(loss), []float64{0, 2e4 - math.Ln2}) // two ways to be wrong once
			for _, v := range floats(dx) {
				if v-v != 0 {
					t.Errorf("derivative %v", v)
				}
			}
		}
	}
}
