package graph_test

import (
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func near(t *testing.T, what string, got, want *graph.Array, tolerance float64) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) {
		t.Errorf("%s: want shape %v, got %v", what, want.Shape, got.Shape)
		return
	}
	for i := range want.Size() {
		if d := math.Abs(got.At(i) - want.At(i)); !(d <= tolerance*(1+math.Abs(want.At(i)))) {
			t.Errorf("%s: element %d: want %v, got %v", what, i, want.At(i), got.At(i))
			return
		}
	}
}

func ones(x *graph.Node) *graph.Node { return graph.Fill(x, 1) }

func TestStraightThrough(t *testing.T) {
	x := graph.ArrayOf([]float64{-1.6, -0.2, 0.4, 2.5}, 4)
	y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		y := graph.StraightThrough(graph.Round(x[0]), graph.Tanh(x[0]))
		loss := graph.Sum(graph.Square(y))
		return []*graph.Node{y, graph.Grad(loss, x[0])[0], graph.JVP([]*graph.Node{y}, x, []*graph.Node{ones(x[0])})[0]}
	}, x)
	var round, grad, tangent []float64
	for _, v := range x.Float64s() {
		r, d := math.RoundToEven(v), 1-math.Tanh(v)*math.Tanh(v)
		round, grad, tangent = append(round, r), append(grad, 2*r*d), append(tangent, d)
	}
	near(t, "value", y[0], graph.ArrayOf(round, 4), 0)
	near(t, "reverse", y[1], graph.ArrayOf(grad, 4), 1e-15)
	near(t, "forward", y[2], graph.ArrayOf(tangent, 4), 1e-15)
}

// TestCustomRules gives x·sin(x)·y its own derivatives as custom rules: everything must agree with central differences.
func TestCustomRules(t *testing.T) {
	f := func(x []*graph.Node) *graph.Node { return graph.Mul(graph.Mul(x[0], graph.Sin(x[0])), x[1]) }
	dx := func(x []*graph.Node) *graph.Node {
		return graph.Mul(graph.Add(graph.Sin(x[0]), graph.Mul(x[0], graph.Cos(x[0]))), x[1])
	}
	dy := func(x []*graph.Node) *graph.Node { return graph.Mul(x[0], graph.Sin(x[0])) }
	a, b := gradcheck.Normal(1, 2, 3), gradcheck.Normal(2, 2, 3)
	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
		return graph.CustomVJP(f(x), x, func(_, c *graph.Node, x []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.Mul(c, dx(x)), graph.Mul(c, dy(x))}
		})
	}, a, b)
	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
		return graph.CustomJVP(f(x), x, func(_ *graph.Node, x, d []*graph.Node) *graph.Node {
			var t *graph.Node
			if d[0] != nil {
				t = graph.Mul(d[0], dx(x))
			}
			if d[1] != nil {
				u := graph.Mul(d[1], dy(x))
				if t == nil {
					return u
				}
				t = graph.Add(t, u)
			}
			return t
		})
	}, a, b)
}

// TestGradientReversal is a rule that differs from the function's derivative: it must be what both modes give.
func TestGradientReversal(t *testing.T) {
	x := gradcheck.Normal(3, 4)
	y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		y := graph.CustomVJP(x[0], x, func(_, c *graph.Node, _ []*graph.Node) []*graph.Node { return []*graph.Node{graph.Scale(c, -0.5)} })
		return []*graph.Node{y, graph.Grad(graph.Sum(graph.Square(y)), x[0])[0], graph.JVP([]*graph.Node{y}, x, []*graph.Node{ones(x[0])})[0]}
	}, x)
	for i, v := range x.Float64s() {
		if y[0].At(i) != v || y[1].At(i) != -v || y[2].At(i) != -0.5 {
			t.Errorf("x = %v: got %v, %v, %v", v, y[0].At(i), y[1].At(i), y[2].At(i))
		}
	}
}

func TestJacobian(t *testing.T) {
	a, x := gradcheck.Normal(1, 3, 4), gradcheck.Normal(2, 4)
	y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		tall := graph.Concat(0, graph.Square(x[1]), graph.Exp(x[1]))
		return []*graph.Node{graph.Jacobian(graph.MatMul(x[0], x[1]), x[1]), graph.Jacobian(tall, x[1]),
			graph.Jacobian(graph.Grad(graph.Sum(graph.Exp(graph.MatMul(x[0], x[1]))), x[1])[0], x[1]),
			graph.Jacobian(graph.MatMul(x[0], x[1]), x[0]), graph.Jacobian(graph.Sum(x[1]), x[1]),
			graph.Jacobian(graph.Slice(x[1], 0, 0, 0, 1), x[0])}
	}, a, x)
	near(t, "linear", y[0], a, 1e-15)
	tall, wide := graph.NewArray(graph.Float64, 8, 4), graph.NewArray(graph.Float64, 3, 3, 4)
	for i, v := range x.Float64s() {
		tall.Set(i*4+i, 2*v)
		tall.Set((4+i)*4+i, math.Exp(v))
		for j := range 3 {
			wide.Set((j*3+j)*4+i, v)
		}
	}
	near(t, "tall", y[1], tall, 1e-15)
	near(t, "by the matrix", y[3], wide, 1e-15)
	hessian := graph.NewArray(graph.Float64, 4, 4)
	for r := range 3 {
		var s float64
		for i := range 4 {
			s += a.At(r*4+i) * x.At(i)
		}
		for i := range 4 {
			for j := range 4 {
				hessian.Set(i*4+j, hessian.At(i*4+j)+math.Exp(s)*a.At(r*4+i)*a.At(r*4+j))
			}
		}
	}
	near(t, "hessian", y[2], hessian, 1e-14)
	near(t, "scalar", y[4], graph.ArrayOf([]float64{1, 1, 1, 1}, 4), 0)
	near(t, "empty", y[5], graph.NewArray(graph.Float64, 0, 3, 4), 0)
}

func TestHVP(t *testing.T) {
	// loss = Σ x³ + (Σ y)²·x0 has the Hessian 6 diag(x), 2·x0 (all y, y), 2Σy (x0, y).
	x, y := []float64{1, -2, 3}, []float64{0.5, 4}
	v, w := []float64{2, 1, -1}, []float64{-3, 1}
	got := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		loss := graph.Add(graph.Sum(graph.Mul(x[0], graph.Square(x[0]))),
			graph.Mul(graph.Square(graph.Sum(x[1])), graph.Reshape(graph.Slice(x[0], 0, 0, 1, 1))))
		return graph.HVP(loss, x[:2], x[2:])
	}, graph.ArrayOf(x, 3), graph.ArrayOf(y, 2), graph.ArrayOf(v, 3), graph.ArrayOf(w, 2))
	sum, dsum := y[0]+y[1], w[0]+w[1]
	near(t, "x", got[0], graph.ArrayOf([]float64{6*x[0]*v[0] + 2*sum*dsum, 6 * x[1] * v[1], 6 * x[2] * v[2]}, 3), 1e-15)
	both := 2*sum*v[0] + 2*x[0]*dsum
	near(t, "y", got[1], graph.ArrayOf([]float64{both, both}, 2), 1e-15)
}

func TestCustomErrors(t *testing.T) {
	for name, f := range map[string]func(x, i *graph.Node){
		"straight_through": func(x, i *graph.Node) { graph.StraightThrough(x, graph.Sum(x)) },
		"custom_vjp":       func(x, i *graph.Node) { graph.CustomVJP(x, nil, nil) },
		"custom_jvp":       func(x, i *graph.Node) { graph.CustomJVP(i, []*graph.Node{x}, nil) },
		"checkpoint":       func(x, i *graph.Node) { graph.Checkpoint(nil) },
		"fixed_point": func(x, i *graph.Node) {
			graph.FixedPoint(func(z *graph.Node, _ []*graph.Node) *graph.Node { return graph.Sum(z) }, x, nil, graph.FixedPointOptions{})
		},
		"per_sample_grad": func(x, i *graph.Node) { graph.PerSampleGrad(graph.Sum(x), x) },
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) {
			f(s.Input("x", graph.Float32, 3), s.Input("i", graph.Int, 3))
		})
		if e, ok := err.(*graph.Error); !ok || e.Op != name {
			t.Errorf("%s: want an *Error of it, got %v", name, err)
		}
	}
}

// TestExamplePrimitive checks the primitive of the example.
func TestExamplePrimitive(t *testing.T) {
	for _, shape := range [][]int{{5}, {2, 3}, {}, {0, 2}} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return SoftThreshold(x[0], 0.42) }, gradcheck.Separated(1, shape...))
	}
}
