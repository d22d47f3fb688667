package main

import (
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/width"
)

// Patch 5 of a digit, in row 1 and column 1 of four, is pixels (2,2), (2,3), (3,2), (3,3).
func TestPatches(t *testing.T) {
	x := make([]float32, 2*64)
	for i := range x {
		x[i] = float32(i)
	}
	var y *graph.Node
	g, err := graph.Build(&graph.Params{}, func(s *graph.Scope) {
		y = patches(graph.Literal(s.Const(0), graph.ArrayOf(x, 2, 64)))
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for k, want := range []float64{64 + 18, 64 + 19, 64 + 26, 64 + 27} {
		if got := p.Array(y).At((16+5)*4 + k); got != want {
			t.Errorf("number %d: want %v, got %v", k, want, got)
		}
	}
}

// Each matrix of the transformer belongs to the group of its sizes, and has its variance.
func TestGroups(t *testing.T) {
	model := vit{sized(64, 1)}
	params := &graph.Params{Seed: 1}
	if _, err := graph.Build(params, func(s *graph.Scope) { model.Apply(s, s.Input("x", graph.Float32, 1, 64)) }); err != nil {
		t.Fatal(err)
	}
	shapes := map[width.Group]map[[2]int]bool{
		width.Patches: {{4, 64}: true}, width.Attention: {{64, 192}: true, {64, 64}: true}, width.Up: {{64, 256}: true},
		width.Down: {{256, 64}: true}, width.Head: {{64, 10}: true}, width.Vectors: {{16, 64}: true},
	}
	seen := map[width.Group]int{}
	for p := range params.All() {
		g, err := groupOf(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		seen[g]++
		if len(p.Value.Shape) == 2 {
			if !shapes[g][[2]int{p.Value.Shape[0], p.Value.Shape[1]}] {
				t.Errorf("%s %v is in group %d", p.Name, p.Value.Shape, g)
			}
			r := rms(p.Value, nil)
			if q := r * r / model.size.Variance(g); q < 0.8 || q > 1.25 {
				t.Errorf("%s: variance %v times what it should be", p.Name, q)
			}
		} else if g != width.Vectors && g != width.HeadBias {
			t.Errorf("%s %v is in group %d", p.Name, p.Value.Shape, g)
		}
	}
	if seen[width.Attention] != 4 || seen[width.Up] != 2 || seen[width.Down] != 2 || seen[width.HeadBias] != 1 {
		t.Errorf("groups %v", seen)
	}
}

// The best rates of a sweep, how far they move, and what is kept.
func TestSweep(t *testing.T) {
	s := &sweep{sizes: []int{1, 2}, rates: []float64{1, 2, 4}, losses: [][]float64{{3, 2, 1}, {0.5, 0.7, 2}}}
	if b := s.best(); b[0] != 2 || b[1] != 0 || s.shift() != 2 || s.kept() != 2 {
		t.Errorf("best %v, shift %v, kept %v", b, s.shift(), s.kept())
	}
	if got := slope([]int{1, 10, 100}, []float64{5, 0.05, 0.0005}); got < -2.0001 || got > -1.9999 {
		t.Errorf("slope %v", got)
	}
}
