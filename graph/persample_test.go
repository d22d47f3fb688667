package graph_test

import (
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// TestPerSampleGrad compares with the gradient of each example's loss by itself.
func TestPerSampleGrad(t *testing.T) {
	const batch = 3
	perExample := func(y *graph.Node) *graph.Node { // to losses [batch]
		return graph.Sum(graph.Square(graph.Reshape(y, batch, -1)), 1)
	}
	w, b := gradcheck.Normal(1, 4, 5), gradcheck.Normal(2, 5)
	for name, c := range map[string]struct {
		losses func(x, idx *graph.Node, p []*graph.Node) *graph.Node
		x      *graph.Array
		params []*graph.Array
	}{
		"mlp": {func(x, _ *graph.Node, p []*graph.Node) *graph.Node {
			h := graph.Tanh(graph.Add(graph.MatMul(x, p[0]), p[1]))
			return perExample(graph.MatMul(h, p[2]))
		}, gradcheck.Normal(3, batch, 4), []*graph.Array{w, b, gradcheck.Normal(4, 5, 2)}},
		"sequence": {func(x, _ *graph.Node, p []*graph.Node) *graph.Node {
			return perExample(graph.Sin(graph.Add(graph.MatMul(x, p[0]), p[1])))
		}, gradcheck.Normal(3, batch, 7, 4), []*graph.Array{w, b}},
		"tied": {func(x, _ *graph.Node, p []*graph.Node) *graph.Node {
			h := graph.Tanh(graph.MatMul(x, p[0]))
			back := graph.MatMulT(h, p[0], false, true)
			again := graph.MatMul(h, graph.Transpose(p[0]))
			return perExample(graph.Sub(graph.Mul(back, again), x))
		}, gradcheck.Normal(3, batch, 4), []*graph.Array{w}},
		"norm": {func(x, _ *graph.Node, p []*graph.Node) *graph.Node {
			return perExample(graph.Div(graph.Mul(graph.Standardize(x, 1e-3, 1), p[0]), graph.Exp(graph.Reshape(p[1], 1, 5))))
		}, gradcheck.Normal(3, batch, 5), []*graph.Array{b, gradcheck.Positive(5, 5)}},
		"convolution": {func(x, _ *graph.Node, p []*graph.Node) *graph.Node {
			o := graph.ConvOptions{Stride: [2]int{2, 1}, Padding: [2]int{1, 0}, Groups: 2}
			h := graph.Tanh(graph.Add(graph.Conv2D(x, p[0], o), p[1]))
			return perExample(graph.Mul(graph.Conv2D(h, p[2], graph.ConvOptions{}), graph.Reshape(p[3], 1, 3, 1, 1)))
		}, gradcheck.Normal(3, batch, 4, 5, 4), []*graph.Array{gradcheck.Normal(4, 6, 2, 3, 2), gradcheck.Normal(5, 6, 1, 1),
			gradcheck.Normal(6, 3, 6, 2, 2), gradcheck.Normal(7, 3)}},
		"embedding": {func(_, idx *graph.Node, p []*graph.Node) *graph.Node {
			return perExample(graph.Sin(graph.MatMul(graph.Take(p[0], idx, 0), p[1])))
		}, gradcheck.Normal(3, batch), []*graph.Array{gradcheck.Normal(4, 6, 4), w}},
		"unused": {func(x, _ *graph.Node, p []*graph.Node) *graph.Node { return perExample(graph.Square(x)) },
			gradcheck.Normal(3, batch, 2), []*graph.Array{w}},
	} {
		inputs := append([]*graph.Array{c.x, gradcheck.Ints(9, 6, batch, 4)}, c.params...)
		y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
			p := x[2:]
			losses := c.losses(x[0], x[1], p)
			var out []*graph.Node
			each := make([][]*graph.Node, len(p))
			for i := range batch {
				for j, d := range graph.Grad(graph.Reshape(graph.Slice(losses, 0, i, i+1, 1)), p...) {
					each[j] = append(each[j], d)
				}
			}
			for j, d := range graph.PerSampleGrad(losses, p...) {
				out = append(out, d, graph.Stack(0, each[j]...))
			}
			return out
		}, inputs...)
		for j := range c.params {
			near(t, name, y[2*j], y[2*j+1], 1e-12)
		}
	}
	// With the gradient itself differentiated, as for penalties on its norm.
	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
		return graph.PerSampleGrad(perExample(graph.Tanh(graph.MatMul(x[0], x[1]))), x[1])[0]
	}, gradcheck.Normal(3, batch, 4), w)
}

func TestPerSampleGradRefuses(t *testing.T) {
	for name, f := range map[string]func(x, w *graph.Node) *graph.Node{
		"left operand":   func(x, w *graph.Node) *graph.Node { return graph.Sum(graph.MatMul(w, graph.Transpose(x)), 0) },
		"regulariser":    func(x, w *graph.Node) *graph.Node { return graph.Add(graph.Sum(x, 1), graph.Sum(graph.Square(w))) },
		"another batch":  func(x, w *graph.Node) *graph.Node { return graph.Slice(graph.Sum(graph.MatMul(x, w), 1), 0, 0, 2, 1) },
		"weights by row": func(x, w *graph.Node) *graph.Node { return graph.Sum(graph.Mul(w, graph.Slice(w, 0, 0, 1, 1)), 1) },
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) {
			w := s.Param("w", graph.Ones(), 3, 3)
			graph.PerSampleGrad(f(s.Input("x", graph.Float32, 3, 3), w), w)
		})
		if e, ok := err.(*graph.Error); !ok || e.Op != "per_sample_grad" {
			t.Errorf("%s: want an *Error of per_sample_grad, got %v", name, err)
		}
	}
}

// BenchmarkPerSampleGrad compares with the plain gradient of an MLP 784-256-10 at batch 64.
func BenchmarkPerSampleGrad(b *testing.B) {
	x, v, w := castArray(gradcheck.Normal(1, 64, 784), graph.Float32), castArray(gradcheck.Normal(2, 784, 256), graph.Float32), castArray(gradcheck.Normal(3, 256, 10), graph.Float32)
	for name, grad := range map[string]func(losses *graph.Node, p ...*graph.Node) []*graph.Node{
		"plain":      func(losses *graph.Node, p ...*graph.Node) []*graph.Node { return graph.Grad(graph.Sum(losses), p...) },
		"per_sample": graph.PerSampleGrad,
	} {
		b.Run(name, func(b *testing.B) {
			p, _, _ := compileOf(b, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
				h := graph.ReLU(graph.MatMul(x[0], x[1]))
				return grad(graph.LogSumExp(graph.MatMul(h, x[2]), 1), x[1], x[2])
			}, x, v, w)
			for b.Loop() {
				if err := p.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
