package metric

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func list(t *testing.T, f func(x nodes) *graph.Node, inputs ...*graph.Array) []float64 {
	t.Helper()
	y, _ := evaluate(t, plain(f), inputs...)
	return y.Float64s()
}

// Worked examples of the ball's operations.
func TestBall(t *testing.T) {
	x, y := matrix(1, 0.3, 0.1), matrix(1, -0.2, 0.4)
	for _, c := range []struct {
		c              float64
		sum            []float64
		d, arctan, mlr float64
	}{
		{1, []float64{0.17142857, 0.48571429}, 1.2842718182, 1.0306217564, 2.6129689846},
		{0.1, []float64{0.10720739, 0.49949809}, 1.1771565002, 1.1508755989, 2.4205573892},
		{1e-9, []float64{0.1, 0.5}, 1.1661903790, 1.1661903790, 2.4},
	} {
		b := Ball{c.c}
		nearAll(t, fmt.Sprint("sum, c = ", c.c), c.sum, list(t, func(x nodes) *graph.Node { return b.Add(x[0], x[1]) }, x, y), 1e-8)
		near(t, fmt.Sprint("distance, c = ", c.c), c.d, value(t, func(x nodes) *graph.Node { return graph.Sum(b.Distance(x[0], x[1])) }, x, y), 1e-9)
		near(t, fmt.Sprint("arctan, c = ", c.c), c.arctan, value(t, func(x nodes) *graph.Node { return graph.Sum(b.distance(x[0], x[1], graph.Atan)) }, x, y), 1e-9)
		near(t, fmt.Sprint("logits, c = ", c.c), c.mlr, value(t, func(x nodes) *graph.Node { return graph.Sum(b.Logits(x[0], x[1], x[2])) }, x, matrix(1, 0.1, -0.1), matrix(1, 1, 2)), 1e-8)
		left := list(t, func(x nodes) *graph.Node { return b.Add(graph.Neg(x[0]), b.Add(x[0], x[1])) }, x, y)
		nearAll(t, "left cancellation", y.Float64s(), left, 1e-12)
		// A translation and a rotation keep distances.
		move := func(x nodes) *graph.Node {
			turn := graph.Literal(x[0], matrix(2, 0.6, 0.8, -0.8, 0.6))
			f := func(p *graph.Node) *graph.Node { return graph.MatMul(b.Add(x[2], p), turn) }
			return graph.Sum(b.Distance(f(x[0]), f(x[1])))
		}
		near(t, "isometry", c.d, value(t, move, x, y, matrix(1, -0.4, 0.55)), 1e-9)
		// The exponential map at p goes as far as the vector is long there.
		reach := value(t, func(x nodes) *graph.Node { return graph.Sum(b.Distance(x[0], b.Exp(x[0], x[1]))) }, x, y)
		near(t, "length of the exponential map", 2/(1-c.c*0.1)*math.Sqrt(0.2), reach, 1e-9)
	}
	b := Ball{}
	u := matrix(1, 3, 4)
	nearAll(t, "Exp0", []float64{1.74326164, 2.32434886}, list(t, func(x nodes) *graph.Node { return b.Exp0(x[0]) }, u), 1e-8)
	near(t, "distance from 0", 10, value(t, func(x nodes) *graph.Node { return graph.Sum(b.Distance(graph.Fill(x[0], 0), b.Exp0(x[0]))) }, u), 1e-9)
	nearAll(t, "ClipFeatures", []float64{1.1999976, 1.5999968}, list(t, func(x nodes) *graph.Node { return ClipFeatures(x[0], 0) }, u), 1e-7)
	nearAll(t, "clipped Exp0", []float64{1.06203170, 1.41604227}, list(t, func(x nodes) *graph.Node { return b.Exp0(ClipFeatures(x[0], 0)) }, u), 1e-8)
	nearAll(t, "Exp0 without the 1e-5", []float64{1.06203335, 1.41604447}, list(t, func(x nodes) *graph.Node { return b.Exp0(x[0]) }, matrix(1, 1.2, 1.6)), 1e-8)
	nearAll(t, "Project", []float64{0.999 / math.Sqrt(0.1), 0}, list(t, func(x nodes) *graph.Node { return b.Exp0(x[0]) }, matrix(1, 1e4, 0)), 1e-12)
	reparameterised := func(x nodes) *graph.Node {
		p := b.Exp0(x[1])
		return graph.Sum(b.Logits(x[0], p, graph.Mul(x[2], graph.OneMinus(graph.Scale(inner(p, p), 0.1)))))
	}
	near(t, "logits of the layer", 2.4154488740, value(t, reparameterised, x, matrix(1, 0.1, -0.1), matrix(1, 1, 2)), 1e-9)
	four := matrix(4, 0.3, 0.1, 0.5, -0.2, -0.2, 0.4, 0, 0.6)
	near(t, "pairwise confusion", 0.7744234712, value(t, func(x nodes) *graph.Node { return PairwiseConfusionOptions{}.Points(x[0]) }, four), 1e-9)
	wrong := value(t, func(x nodes) *graph.Node { return PairwiseConfusionOptions{Distance: Arctan}.Points(x[0]) }, four)
	second := value(t, func(x nodes) *graph.Node { return graph.Sum(b.distance(x[0], x[1], graph.Atan)) }, matrix(1, 0.5, -0.2), matrix(1, 0, 0.6))
	near(t, "pairwise confusion with arctan", (1.1508755989+second)/4, wrong, 1e-9)

	// The logits by the formula with Möbius sums.
	p, a, points := gradcheck.Uniform(1, -1, 1, 2, 3), gradcheck.Normal(2, 2, 3), gradcheck.Uniform(3, -1, 1, 4, 3)
	got := list(t, func(x nodes) *graph.Node { return b.Logits(x[0], x[1], x[2]) }, points, p, a)
	want := list(t, func(x nodes) *graph.Node {
		at, p, a := graph.Reshape(x[0], 4, 1, 3), graph.Reshape(x[1], 1, 2, 3), graph.Reshape(x[2], 1, 2, 3)
		m := b.Add(graph.Neg(p), at)
		root := math.Sqrt(0.1)
		ratio := graph.Div(graph.Scale(inner(m, a), 2*root), graph.Mul(graph.OneMinus(graph.Scale(inner(m, m), 0.1)), norm(a)))
		lambda := graph.Div(graph.Const(p, 2), graph.OneMinus(graph.Scale(inner(p, p), 0.1)))
		return graph.Reshape(graph.Scale(graph.Mul(graph.Mul(lambda, norm(a)), graph.Asinh(ratio)), 1/root), 4, 2)
	}, points, p, a)
	nearAll(t, "logits", want, got, 1e-12)
}

func TestBallDerivatives(t *testing.T) {
	b := Ball{0.3}
	for name, f := range map[string]func(x nodes) *graph.Node{
		"add":      func(x nodes) *graph.Node { return b.Add(x[0], x[1]) },
		"distance": func(x nodes) *graph.Node { return b.Distance(x[0], x[1]) },
		"exp0":     func(x nodes) *graph.Node { return b.Exp0(x[0]) },
		"exp":      func(x nodes) *graph.Node { return b.Exp(x[0], x[1]) },
		"logits":   func(x nodes) *graph.Node { return b.Logits(x[0], x[1], graph.Shift(x[1], 0.3)) },
		"clip":     func(x nodes) *graph.Node { return ClipFeatures(graph.Scale(x[0], 9), 0) },
		"confusion": func(x nodes) *graph.Node {
			return PairwiseConfusionOptions{Ball: b}.Points(graph.Concat(0, x[0], x[1]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			gradcheck.Check(t, plain(f), gradcheck.Uniform(1, -0.6, 0.6, 3, 4), gradcheck.Uniform(2, -0.6, 0.6, 3, 4))
		})
	}
	// The Riemannian scale: the value is x, the derivative (1 - c|x|²)²/4 times what comes.
	_, dx := evaluate(t, plain(func(x nodes) *graph.Node { return graph.Scale(b.RiemannianScale(x[0]), 3) }), matrix(1, 0.6, 0.8))
	nearAll(t, "Riemannian scale", []float64{3 * 0.49 / 4, 3 * 0.49 / 4}, dx[0].Float64s(), 1e-12)
	y := list(t, func(x nodes) *graph.Node { return b.RiemannianScale(x[0]) }, matrix(1, 0.6, 0.8))
	nearAll(t, "Riemannian scale", []float64{0.6, 0.8}, y, 0)
}

// Features of any size, equal points, points at 0 and hyperplanes without a normal give finite numbers.
func TestBallExtremes(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		x := graph.NewArray(dtype, 6, 2)
		for i, v := range []float64{0, 0, 1e4, -1e4, 1e-20, 0, 0, 0, 1e4, -1e4, 3, 4} {
			x.Set(i, v)
		}
		for name, f := range map[string]func(s *graph.Scope, x nodes) *graph.Node{
			"confusion": plain(func(x nodes) *graph.Node { return PairwiseConfusionOptions{Clip: math.Inf(1)}.Loss(x[0]) }),
			"clipped":   plain(func(x nodes) *graph.Node { return PairwiseConfusionOptions{}.Loss(x[0]) }),
			"logits": func(s *graph.Scope, x nodes) *graph.Node {
				return HyperbolicLogits{Classes: 3, Clip: math.Inf(1)}.Apply(s, x[0])
			},
			"no normal": plain(func(x nodes) *graph.Node {
				p := Ball{}.Exp0(x[0])
				return Ball{}.Logits(p, graph.Fill(p, 0), graph.Fill(p, 0))
			}),
			"one class": func(s *graph.Scope, x nodes) *graph.Node {
				head := func(s *graph.Scope, x *graph.Node) *graph.Node { return x }
				return OneClass{Head: head}.Loss(s, x[0])
			},
		} {
			y, dx := evaluate(t, f, x)
			for _, a := range append(dx, y) {
				for i := range a.Size() {
					if v := a.At(i); v-v != 0 {
						t.Errorf("%s, %v: %v", name, dtype, v)
						break
					}
				}
			}
		}
	}
}

// The mean that pseudo-negatives are drawn around is the running one, and they are drawn around it.
func TestPseudoNegatives(t *testing.T) {
	params := &graph.Params{DType: graph.Float64}
	var x, out *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 4000, 2)
		out = PseudoNegatives{Std: 0.5}.Draw(s.ForTraining(), x)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(append(nodes{out}, g.Updates()...)...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4000 {
		p.Array(x).Set(2*i, 1+float64(i%2))
		p.Array(x).Set(2*i+1, -5)
	}
	want := []float64{0, 0}
	for step := range 3 {
		p.SetStep(step)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for j, batch := range []float64{1.5, -5} {
			want[j] = 0.8*want[j] + 0.2*batch
			sum, squares := 0.0, 0.0
			for i := range 4000 {
				v := p.Array(out).At(2*i+j) - want[j]
				sum += v / 4000
				squares += v * v / 4000
			}
			near(t, "mean of the draws", 0, sum, 5*0.5/math.Sqrt(4000))
			near(t, "variance of the draws", 0.25, squares, 5*0.25*math.Sqrt(2.0/4000))
		}
		nearAll(t, "running mean", want, params.Get("pseudo1/mean").Value.Float64s(), 1e-12)
	}
}

// One-class training separates a cloud from what lies elsewhere.
func TestOneClass(t *testing.T) {
	params := &graph.Params{Seed: 1}
	head := func(s *graph.Scope, x *graph.Node) *graph.Node {
		w := s.Param("head", graph.NormalInit(0.5), 2, 4)
		return graph.Tanh(graph.Add(graph.MatMul(x, w), s.Param("bias", graph.Zeros(), 4)))
	}
	model := OneClass{Head: head, Negatives: PseudoNegatives{Std: 2}}
	var x, loss *graph.Node
	var grads, weights nodes
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 64, 2)
		loss = model.Loss(s.ForTraining(), x)
		weights = s.Graph().Trainable(loss)
		grads = graph.Grad(loss, weights...)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(append(append(nodes{loss}, grads...), g.Updates()...)...)
	if err != nil {
		t.Fatal(err)
	}
	normals := gradcheck.Normal(1, 64, 2)
	for i := range normals.Size() {
		p.Array(x).Set(i, 3+0.2*normals.At(i))
	}
	for step := range 400 {
		p.SetStep(step)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for i, n := range weights {
			w := g.Param(n).Value.Float32s()
			for j, d := range p.Array(grads[i]).Float32s() {
				w[j] -= 0.2 * d
			}
		}
	}
	var q, score *graph.Node
	e, err := graph.Build(params, func(s *graph.Scope) {
		q = s.Input("x", graph.Float32, 3, 2)
		score = model.Score(s, q)
	})
	if err != nil {
		t.Fatal(err)
	}
	predict, err := e.Compile(score)
	if err != nil {
		t.Fatal(err)
	}
	copy(predict.Array(q).Float32s(), []float32{3, 3, 0, 0, 3, -3})
	if err := predict.Run(); err != nil {
		t.Fatal(err)
	}
	if s := predict.Array(score).Float32s(); !(s[0] < 0.5 && s[1] > 0.5 && s[2] > 0.5) {
		t.Errorf("scores of a normal point and two others: %v", s)
	}
}
