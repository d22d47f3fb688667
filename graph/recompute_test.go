package graph_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

type deepGrads struct {
	program *graph.Program
	outputs []*graph.Node
}

// deep is a network of blocks of tanh layers with dropout and residuals; its loss, and derivatives of all weights.
func deep(t *testing.T, blocks, layers, width int, block func(f func(x []*graph.Node) *graph.Node, x *graph.Node) *graph.Node) deepGrads {
	t.Helper()
	var d deepGrads
	g, err := graph.Build(&graph.Params{Seed: 3}, func(s *graph.Scope) {
		s = s.ForTraining()
		x := s.Input("x", graph.Float32, 64, width)
		h := x
		for i := range blocks {
			h = block(func(x []*graph.Node) *graph.Node {
				y := x[0]
				for j := range layers {
					s := s.Sub(fmt.Sprintf("%d.%d", i, j))
					y = graph.Tanh(graph.Add(graph.MatMul(y, s.Param("w", graph.Glorot(width, width), width, width)), s.Param("b", graph.Zeros(), width)))
					y = graph.Dropout(s, y, 0.1)
				}
				return graph.Add(y, x[0])
			}, h)
		}
		loss := graph.Mean(graph.Square(h))
		d.outputs = append([]*graph.Node{loss}, graph.Grad(loss, s.Graph().Trainable(loss)...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	if d.program, err = g.Compile(append(slices.Clone(d.outputs), g.Inputs()...)...); err != nil {
		t.Fatal(err)
	}
	copy(d.program.Array(g.Inputs()[0]).Float32s(), castArray(gradcheck.Normal(1, 64, width), graph.Float32).Float32s())
	d.program.SetStep(5)
	if err := d.program.Run(); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRecomputeMemory compares a deep network with and without: the same bits, less memory, a forward pass more.
func TestRecomputeMemory(t *testing.T) {
	const blocks, layers, width = 8, 8, 32
	plain := deep(t, blocks, layers, width, func(f func(x []*graph.Node) *graph.Node, x *graph.Node) *graph.Node { return f([]*graph.Node{x}) })
	saved := deep(t, blocks, layers, width, func(f func(x []*graph.Node) *graph.Node, x *graph.Node) *graph.Node { return graph.Checkpoint(f, x) })
	for i, n := range plain.outputs {
		if !slices.Equal(plain.program.Array(n).Float32s(), saved.program.Array(saved.outputs[i]).Float32s()) {
			t.Fatalf("output %d differs", i)
		}
	}
	grads := blocks * layers * (width*width + width) * 4
	a, b := plain.program.Stats(), saved.program.Stats()
	t.Logf("peak bytes without gradients: %d plain, %d with checkpoints; flops %d and %d", a.PeakBytes-grads, b.PeakBytes-grads, a.Flops, b.Flops)
	if 3*(b.PeakBytes-grads) > a.PeakBytes-grads {
		t.Errorf("peak beyond the gradients: want at most a third of %d, got %d", a.PeakBytes-grads, b.PeakBytes-grads)
	}
	if b.Flops > a.Flops*14/10 {
		t.Errorf("flops: want at most 1.4 times %d, got %d", a.Flops, b.Flops)
	}
}

func TestRecomputeDerivatives(t *testing.T) {
	w, x := gradcheck.Normal(1, 3, 3), gradcheck.Normal(2, 2, 3)
	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
		scale := graph.Exp(x[1]) // from outside the block
		inner := func(x []*graph.Node) *graph.Node { return graph.Sin(graph.Mul(x[0], x[0])) }
		return graph.Checkpoint(func(q []*graph.Node) *graph.Node {
			h := graph.Tanh(graph.MatMul(q[0], x[0]))
			h = graph.Checkpoint(inner, graph.Add(h, graph.Tanh(scale)))
			return graph.Add(graph.Mul(h, scale), graph.Shift(q[0], 1))
		}, graph.Square(x[1]))
	}, w, x)
	// A block that does nothing, and one that ignores its operand.
	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
		same := graph.Checkpoint(func(q []*graph.Node) *graph.Node { return q[0] }, x[0])
		return graph.Checkpoint(func(q []*graph.Node) *graph.Node { return graph.Exp(x[1]) }, same)
	}, w, x)
}
