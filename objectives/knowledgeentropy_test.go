package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// Sums over equal steps of D from 0.5 to 0.9 tend to the difference of two coins' entropies, from below with z at a
// step's end, from above with z at its beginning.
func TestKnowledgeEntropyTendsToBinaryEntropy(t *testing.T) {
	for _, c := range []struct {
		steps       int
		right, left float64
	}{{10, -0.5957611, -0.4689641}, {100, -0.5373579, -0.5246782}, {1000, -0.5316385, -0.5303706}, {100000, -0.5310107, -0.5309981}} {
		logits, decisions, before := graph.NewArray(graph.Float64, c.steps), graph.NewArray(graph.Float64, c.steps), graph.NewArray(graph.Float64, c.steps)
		shifted := graph.NewArray(graph.Float64, c.steps)
		for i := range c.steps {
			a, b := 0.5+0.4*float64(i)/float64(c.steps), 0.5+0.4*float64(i+1)/float64(c.steps)
			before.Set(i, a)
			decisions.Set(i, b)
			logits.Set(i, math.Log(b/(1-b)))
			shifted.Set(i, math.Log(a/(1-a)))
		}
		var right, left *graph.Node
		g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
			node := func(a *graph.Array) *graph.Node { return graph.Literal(s.Const(0), a) }
			right = KnowledgeEntropy(node(logits), node(decisions), node(before))
			left = KnowledgeEntropy(node(shifted), node(decisions), node(before))
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(right, left)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		if r, l := p.Array(right).Scalar(), p.Array(left).Scalar(); math.Abs(r-c.right) > 1e-7 || math.Abs(l-c.left) > 1e-7 {
			t.Errorf("%d steps: %.7f and %.7f, want %v and %v", c.steps, r, l, c.right, c.left)
		}
	}
	coin := func(p float64) float64 { return -p*math.Log2(p) - (1-p)*math.Log2(1-p) }
	if want := coin(0.9) - coin(0.5); math.Abs(want+0.5310044064) > 1e-10 {
		t.Errorf("difference of the coins' entropies %v", want)
	}
}

// Three nodes of different shapes are refused by name.
func TestKnowledgeEntropyShapes(t *testing.T) {
	_, err := graph.Build(&graph.Params{}, func(s *graph.Scope) {
		z := s.Input("z", graph.Float32, 2, 3)
		KnowledgeEntropy(z, z, s.Input("d", graph.Float32, 3, 2))
	})
	if err == nil {
		t.Error("want an error")
	}
}
