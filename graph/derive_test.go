package graph_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// orders gives f and its derivatives at x up to the third, each by all ways of composing the two modes.
func orders(t *testing.T, x float64, f func(x *graph.Node) *graph.Node) [4][]float64 {
	t.Helper()
	counts := [4]int{1, 2, 4, 8}
	values := computed(t, graph.Float64, arrays(graph.ArrayOf([]float64{x})), func(_ *graph.Scope, in []*graph.Node) []*graph.Node {
		all := []*graph.Node{f(in[0])}
		one := graph.Const(in[0], 1)
		for level, from := 1, 0; level < 4; level++ {
			last := all[from:]
			from = len(all)
			for _, y := range last {
				all = append(all, graph.Grad(y, in[0])[0], graph.JVP([]*graph.Node{y}, in, []*graph.Node{one})[0])
			}
		}
		return all
	})
	var out [4][]float64
	for level, n := range counts {
		for range n {
			out[level] = append(out[level], values[0].Scalar())
			values = values[1:]
		}
	}
	return out
}

func TestHigherOrderClosedForms(t *testing.T) {
	const x = 0.7
	h, s := math.Tanh(x), 1/(1+math.Exp(-x))
	d := 1 - h*h // tanh'
	for name, c := range map[string]struct {
		f     func(x *graph.Node) *graph.Node
		want  [4]float64
		stock float64 // the second derivative stock Gorgonia 0.9.18 gives by gorgonia.Grad of gorgonia.Grad; NaN: not tried
	}{
		"x^5": {func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, 5)) },
			[4]float64{math.Pow(x, 5), 5 * math.Pow(x, 4), 20 * x * x * x, 60 * x * x}, math.NaN()},
		"x^5 by products": {func(x *graph.Node) *graph.Node { return graph.Mul(graph.Square(graph.Square(x)), x) },
			[4]float64{math.Pow(x, 5), 5 * math.Pow(x, 4), 20 * x * x * x, 60 * x * x}, math.NaN()},
		"exp(tanh x)": {func(x *graph.Node) *graph.Node { return graph.Exp(graph.Tanh(x)) },
			[4]float64{math.Exp(h), math.Exp(h) * d, math.Exp(h) * d * (d - 2*h), math.Exp(h) * d * (d*d - 6*h*d - 2*d + 4*h*h)}, 1.1616336326538237},
		"tanh": {graph.Tanh, [4]float64{h, d, -2 * h * d, d * (6*h*h - 2)}, 0.6347395899824586},
		"sigmoid": {graph.Sigmoid,
			[4]float64{s, s * (1 - s), s * (1 - s) * (1 - 2*s), s * (1 - s) * (1 - 6*s + 6*s*s)}, -0.14814583086672545},
		"exp(2x)": {func(x *graph.Node) *graph.Node { return graph.Exp(graph.Add(x, x)) },
			[4]float64{math.Exp(2 * x), 2 * math.Exp(2*x), 4 * math.Exp(2*x), 8 * math.Exp(2*x)}, 8.110399933689349},
		"exp(sin x)": {func(x *graph.Node) *graph.Node { return graph.Exp(graph.Sin(x)) },
			[4]float64{math.Exp(math.Sin(x)), math.Exp(math.Sin(x)) * math.Cos(x),
				math.Exp(math.Sin(x)) * (math.Cos(x)*math.Cos(x) - math.Sin(x)),
				math.Exp(math.Sin(x)) * math.Cos(x) * (math.Cos(x)*math.Cos(x) - 3*math.Sin(x) - 1)}, -1.226910352734817},
		"cube": {func(x *graph.Node) *graph.Node { return graph.Mul(graph.Square(x), x) },
			[4]float64{x * x * x, 3 * x * x, 6 * x, 6}, 2.0999999999999996},
	} {
		t.Run(name, func(t *testing.T) {
			for order, values := range orders(t, x, c.f) {
				for way, v := range values {
					if math.Abs(v-c.want[order]) > 1e-13*(1+math.Abs(c.want[order])) {
						t.Errorf("order %d, way %d: want %.16g, got %.16g (stock Gorgonia's second: %.16g)", order, way, c.want[order], v, c.stock)
					}
				}
			}
			if math.Abs(c.stock-c.want[2]) < 1e-3 {
				t.Error("stock Gorgonia is right here: no regression to guard against")
			}
		})
	}
}

// Two losses on one graph that share a node. Stock Gorgonia 0.9.18 keeps one derivative on each node and returns the
// first loss's 0.7672323100919166 for both.
func TestTwoLossesOnOneGraph(t *testing.T) {
	const x = 0.7
	h := math.Tanh(x)
	for _, swapped := range []bool{false, true} {
		got := computed(t, graph.Float64, arrays(graph.ArrayOf([]float64{x})), func(_ *graph.Scope, in []*graph.Node) []*graph.Node {
			shared := graph.Tanh(in[0])
			losses := []*graph.Node{graph.Square(shared), graph.Exp(shared)}
			if swapped {
				b := graph.Grad(losses[1], in[0])[0]
				return []*graph.Node{graph.Grad(losses[0], in[0])[0], b}
			}
			a := graph.Grad(losses[0], in[0])[0]
			return []*graph.Node{a, graph.Grad(losses[1], in[0])[0]}
		})
		for i, want := range []float64{2 * h * (1 - h*h), math.Exp(h) * (1 - h*h)} {
			if v := got[i].Scalar(); math.Abs(v-want) > 1e-14 {
				t.Errorf("loss %d: want %.16g, got %.16g", i, want, v)
			}
		}
	}
}

// The gradient-norm penalty |d/dx sum(tanh(x w1) w2)|² has a closed form: the gradient of one row is w1 (d∘w2) with
// d = 1 - tanh²(x w1), and that of the penalty by w2 is 2 d∘(w1' w1 (d∘w2)), summed over rows.
func TestGradientNormPenalty(t *testing.T) {
	const n, k, m = 3, 2, 4
	x, w1, w2 := gradcheck.Normal(1, n, k), gradcheck.Normal(2, k, m), gradcheck.Normal(3, m, 1)
	penalty, byW2 := 0.0, make([]float64, m)
	for i := range n {
		var d, dw [m]float64
		for j := range m {
			var a float64
			for l := range k {
				a += x.At(i*k+l) * w1.At(l*m+j)
			}
			d[j] = 1 - math.Tanh(a)*math.Tanh(a)
			dw[j] = d[j] * w2.At(j)
		}
		for l := range k {
			var g float64
			for j := range m {
				g += w1.At(l*m+j) * dw[j]
			}
			penalty += g * g
			for j := range m {
				byW2[j] += 2 * g * w1.At(l*m+j) * d[j]
			}
		}
	}
	model := func(x []*graph.Node) *graph.Node {
		y := graph.Sum(graph.MatMul(graph.Tanh(graph.MatMul(x[0], x[1])), x[2]))
		return graph.Sum(graph.Square(graph.Grad(y, x[0])[0]))
	}
	got := computed(t, graph.Float64, arrays(x, w1, w2), func(_ *graph.Scope, in []*graph.Node) []*graph.Node {
		p := model(in)
		return append(graph.Grad(p, in[2]), p)
	})
	if v := got[1].Scalar(); math.Abs(v-penalty) > 1e-12*penalty {
		t.Errorf("penalty: want %.15g, got %.15g", penalty, v)
	}
	for j, want := range byW2 {
		if v := got[0].At(j); math.Abs(v-want) > 1e-12*(1+math.Abs(want)) {
			t.Errorf("by w2[%d]: want %.15g, got %.15g", j, want, v)
		}
	}
	// Third order: the checker differentiates the penalty's gradient once more.
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return model(x) }, x, w1, w2)
}

// Hessian-vector products by composition: of a quadratic form x'Ax they are (A + A')v.
func TestHessianVectorProduct(t *testing.T) {
	const n = 4
	a, x, v := gradcheck.Normal(1, n, n), gradcheck.Normal(2, n), gradcheck.Normal(3, n)
	got := computed(t, graph.Float64, arrays(a, x, v), func(_ *graph.Scope, in []*graph.Node) []*graph.Node {
		g := graph.Grad(graph.Dot(in[1], graph.MatMul(in[0], in[1])), in[1])
		return []*graph.Node{
			graph.JVP(g, in[1:2], in[2:])[0], graph.VJP(g, in[2:], in[1:2])[0],
			graph.Grad(graph.JVP([]*graph.Node{graph.Dot(in[1], graph.MatMul(in[0], in[1]))}, in[1:2], in[2:])[0], in[1])[0],
		}
	})
	for way := range got {
		for i := range n {
			var want float64
			for j := range n {
				want += (a.At(i*n+j) + a.At(j*n+i)) * v.At(j)
			}
			if e := math.Abs(got[way].At(i) - want); e > 1e-13 {
				t.Errorf("way %d, element %d: want %.15g, got %.15g", way, i, want, got[way].At(i))
			}
		}
	}
}

// What does not depend on a variable has derivative 0, of the variable's shape.
func TestIndependence(t *testing.T) {
	got := computed(t, graph.Float64, arrays(gradcheck.Normal(1, 2, 3), gradcheck.Normal(2, 3)), func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		y := graph.Sum(graph.Tanh(x[0]))
		through := graph.Sum(graph.Mul(graph.Detach(x[1]), x[0]))
		return []*graph.Node{
			graph.Grad(y, x[1])[0], graph.JVP([]*graph.Node{y}, x[1:], x[1:])[0],
			graph.Grad(through, x[1])[0], graph.JVP([]*graph.Node{through}, x[1:], x[1:])[0],
			graph.Grad(graph.Sum(graph.OneHot(graph.ArgMax(x[0], 1), 3, graph.Float64)), x[0])[0],
		}
	})
	for i, shape := range [][]int{{3}, {}, {3}, {}, {2, 3}} {
		if fmt.Sprint(got[i].Shape) != fmt.Sprint(shape) && len(shape) > 0 {
			t.Errorf("derivative %d: want shape %v, got %v", i, shape, got[i].Shape)
		}
		for j := range got[i].Size() {
			if got[i].At(j) != 0 {
				t.Errorf("derivative %d: want 0, got %v", i, got[i])
			}
		}
	}
}

// A variable may lie on the way to another, be used several times, be a result itself, and be asked for twice.
func TestVariablesInsideTheGraph(t *testing.T) {
	const x = 0.3
	got := computed(t, graph.Float64, arrays(graph.ArrayOf([]float64{x})), func(_ *graph.Scope, in []*graph.Node) []*graph.Node {
		h := graph.Sin(in[0])
		y := graph.Mul(graph.Mul(h, h), in[0])
		return append(graph.Grad(y, in[0], h, y, in[0]), graph.JVP([]*graph.Node{y, h}, []*graph.Node{h}, []*graph.Node{graph.Const(h, 2)})...)
	})
	s, c := math.Sin(x), math.Cos(x)
	for i, want := range []float64{s*s + 2*s*c*x, 2 * s * x, 1, s*s + 2*s*c*x, 4 * s * x, 2} {
		if v := got[i].Scalar(); math.Abs(v-want) > 1e-15 {
			t.Errorf("derivative %d: want %v, got %v", i, want, v)
		}
	}
}

// network is a perceptron of equal layers: its result, its input and its parameters.
func network(s *graph.Scope, batch, width, depth int) (y, x *graph.Node, params []*graph.Node) {
	x = s.Input("x", graph.Float32, batch, width)
	y = x
	for range depth {
		l := s.Layer("dense", "")
		w, b := l.Param("weight", graph.Glorot(width, width), width, width), l.Param("bias", graph.Zeros(), width)
		params = append(params, w, b)
		y = graph.Tanh(graph.Add(graph.MatMul(y, w), b))
	}
	return graph.Mean(graph.Square(y)), x, params
}

// Forward mode along the input costs one more pass; along all parameters at once each layer has two products more, so
// the derivative costs twice the pass it comes with. It needs no stored activations: memory does not grow with depth.
func TestForwardModeCost(t *testing.T) {
	const batch, width = 16, 32
	stats := func(depth int, build func(s *graph.Scope, y, x *graph.Node, params []*graph.Node) *graph.Node) graph.Stats {
		var out []*graph.Node
		g, err := graph.Build(nil, func(s *graph.Scope) {
			y, x, params := network(s, batch, width, depth)
			out = []*graph.Node{y}
			if build != nil {
				out = append(out, build(s, y, x, params))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(out...)
		if err != nil {
			t.Fatal(err)
		}
		return p.Stats()
	}
	byInput := func(s *graph.Scope, y, x *graph.Node, _ []*graph.Node) *graph.Node {
		return graph.JVP([]*graph.Node{y}, []*graph.Node{x}, []*graph.Node{s.Input("dx", graph.Float32, batch, width)})[0]
	}
	byParams := func(s *graph.Scope, y, _ *graph.Node, params []*graph.Node) *graph.Node {
		var d []*graph.Node
		for i, p := range params {
			d = append(d, s.Input(fmt.Sprint("d", i), graph.Float32, graph.ShapeOf(p)...))
		}
		return graph.JVP([]*graph.Node{y}, params, d)[0]
	}
	byReverse := func(_ *graph.Scope, y, x *graph.Node, params []*graph.Node) *graph.Node {
		return graph.Grad(y, params[0])[0]
	}
	activation := 4 * batch * width
	for _, depth := range []int{1, 2, 8, 32} {
		pass, input, params := stats(depth, nil), stats(depth, byInput), stats(depth, byParams)
		if r := float64(input.Flops) / float64(pass.Flops); r > 2.5 {
			t.Errorf("depth %d: value and derivative along the input cost %.2f passes, want at most 2.5", depth, r)
		}
		if r := float64(params.Flops-pass.Flops) / float64(pass.Flops); r > 2.5 {
			t.Errorf("depth %d: the derivative along all parameters costs %.2f passes, want at most 2.5", depth, r)
		}
		for what, s := range map[string]graph.Stats{"input": input, "parameters": params} {
			if s.PeakBytes > 5*activation {
				t.Errorf("depth %d, along the %s: want at most 5 layers of %d bytes at one time, got %d bytes", depth, what, activation, s.PeakBytes)
			}
			if s.Reverse != 0 {
				t.Errorf("depth %d, along the %s: want no instruction of reverse mode, got %d", depth, what, s.Reverse)
			}
		}
		reverse := stats(depth, byReverse)
		if reverse.Reverse == 0 || reverse.PeakBytes < depth*activation {
			t.Errorf("depth %d: reverse mode: want %d stored layers of %d bytes, got %+v", depth, depth, activation, reverse)
		}
		t.Logf("depth %d: passes: input %.2f, parameters %.2f beside the value; peak bytes: value %d, input %d, parameters %d, reverse %d", depth,
			float64(input.Flops)/float64(pass.Flops), float64(params.Flops-pass.Flops)/float64(pass.Flops), pass.PeakBytes, input.PeakBytes, params.PeakBytes, reverse.PeakBytes)
	}
}
