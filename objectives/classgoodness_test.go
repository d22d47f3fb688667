package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// Three classes on 2x2 pixels, by hand: goodness, the log-sum-exp margin for class 0 and its derivative in the responses;
// neither depends on the sign of a channel or the order of pixels.
func TestClassGoodness(t *testing.T) {
	z := []float64{1, -1, 2, 0, 0, 1, 1, 0, .5, .5, .5, .5}
	run := func(z []float64) (g, loss, dz *graph.Array) {
		var x, y, a, b, c *graph.Node
		gr, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
			x, y = s.Input("z", graph.Float64, 1, 3, 2, 2), s.Input("y", graph.Int, 1)
			a = ClassGoodness(x)
			b = CrossEntropy(a, y)
			c = graph.Grad(b, x)[0]
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := gr.Compile(a, b, c)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range z {
			p.Array(x).Set(i, v)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return p.Array(a), p.Array(b), p.Array(c)
	}
	near := func(what string, got *graph.Array, tolerance float64, want ...float64) {
		t.Helper()
		for i, w := range want {
			if math.Abs(got.At(i)-w) > tolerance {
				t.Errorf("%s[%d]: want %v, got %v", what, i, w, got.At(i))
			}
		}
	}
	g, loss, dz := run(z)
	near("goodness", g, 1e-15, 1.5, .5, .25)
	near("loss", loss, 1e-9, 0.503428878)
	near("derivative", dz, 1e-6, -.197773, .197773, -.395545, 0, 0, .111183, .111183, 0, .043295, .043295, .043295, .043295)
	for _, same := range [][]float64{
		{-1, 1, -2, 0, 0, 1, 1, 0, .5, .5, .5, .5}, {0, 2, -1, 1, 1, 0, 0, 1, .5, .5, .5, .5},
	} {
		_, again, _ := run(same)
		near("loss of the same responses in other signs or order", again, 1e-15, loss.Scalar())
	}
	_, loss, dz = run(make([]float64, 12))
	near("loss without responses", loss, 1e-15, math.Log(3))
	near("derivative without responses", dz, 0, make([]float64, 12)...)
	for _, shape := range [][]int{{2, 3, 4, 5}, {3, 2, 7}, {4, 3}, {2, 1, 3, 3}} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return ClassGoodness(x[0]) }, gradcheck.Normal(1, shape...))
	}
	if _, err := graph.Build(nil, func(s *graph.Scope) { ClassGoodness(s.Input("z", graph.Float32, 3)) }); err == nil {
		t.Error("responses of one axis: no error")
	}
}

// One class: the loss is 0 whatever the responses are.
func TestClassGoodnessOfOneClass(t *testing.T) {
	var loss *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		z := graph.Literal(s.Const(0), graph.ArrayOf([]float32{3, -2, 1e4, 5}, 1, 1, 2, 2))
		loss = CrossEntropy(ClassGoodness(z), graph.Literal(s.Const(0), graph.ArrayOf([]int{0}, 1)))
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(loss)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if p.Array(loss).Scalar() != 0 {
		t.Errorf("loss %v, want 0", p.Array(loss).Scalar())
	}
}
