package graph_test

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// TestFixedPoint finds square roots by Heron's rule, z ← (z + x/z)/2, and compares with √x and its derivatives.
func TestFixedPoint(t *testing.T) {
	heron := func(z *graph.Node, x []*graph.Node) *graph.Node {
		return graph.Scale(graph.Add(z, graph.Div(x[0], z)), 0.5)
	}
	x := gradcheck.Positive(1, 2, 3)
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
			z := graph.FixedPoint(heron, ones(x[0]), x, graph.FixedPointOptions{})
			d := graph.Grad(graph.Sum(z), x[0])[0]
			dd := graph.Grad(graph.Sum(d), x[0])[0]
			return []*graph.Node{z, d, graph.JVP([]*graph.Node{z}, x, []*graph.Node{ones(x[0])})[0], dd, graph.Grad(graph.Sum(dd), x[0])[0]}
		}, castArray(x, dtype))
		tolerance := map[graph.DType]float64{graph.Float32: 1e-5, graph.Float64: 1e-11}[dtype]
		for i, power := range []float64{0.5, -0.5, -0.5, -1.5, -2.5} {
			want := graph.NewArray(graph.Float64, 2, 3)
			factor := []float64{1, 0.5, 0.5, -0.25, 0.375}[i]
			for j, v := range x.Float64s() {
				want.Set(j, factor*math.Pow(v, power))
			}
			near(t, dtype.String(), y[i], want, tolerance)
		}
	}
}

// TestFixedPointDerivatives checks a small equilibrium network z = tanh(W z + U x + b) in both modes and both orders.
func TestFixedPointDerivatives(t *testing.T) {
	small := gradcheck.Normal(1, 3, 3)
	for i := range small.Float64s() {
		small.Float64s()[i] *= 0.2
	}
	gradcheck.Options{Tolerance: 1e-6}.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
		return graph.FixedPoint(func(z *graph.Node, x []*graph.Node) *graph.Node {
			return graph.Tanh(graph.Add(graph.MatMul(z, x[0]), graph.Add(graph.MatMul(x[2], x[1]), x[3])))
		}, graph.Fill(x[4], 0), x[:4], graph.FixedPointOptions{})
	}, small, gradcheck.Normal(2, 4, 3), gradcheck.Normal(3, 2, 4), gradcheck.Normal(4, 3), gradcheck.Normal(5, 2, 3))
}

func TestFixedPointFails(t *testing.T) {
	for name, f := range map[string]func(z *graph.Node, x []*graph.Node) *graph.Node{
		"diverges":   func(z *graph.Node, x []*graph.Node) *graph.Node { return graph.Mul(graph.Scale(z, 2), x[0]) },
		"oscillates": func(z *graph.Node, x []*graph.Node) *graph.Node { return graph.Sub(x[0], z) },
		"nan":        func(z *graph.Node, x []*graph.Node) *graph.Node { return graph.Log(graph.Neg(graph.Square(z))) },
	} {
		for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
			p, in, _ := compileOf(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
				return []*graph.Node{graph.FixedPoint(f, graph.Fill(x[0], 0.3), x, graph.FixedPointOptions{MaxIterations: 50})}
			}, graph.NewArray(dtype, 2))
			p.Array(in[0]).Set(0, 1.5)
			p.Array(in[0]).Set(1, 1.5)
			if err, ok := p.Run().(*graph.Error); !ok || err.Op != "fixed_point" {
				t.Errorf("%s: want an error of fixed_point, got %v", name, err)
			}
		}
	}
}
