package graph_test

import (
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// chain builds x -> block1 (w1, running mean) -> block2 (no parameters) -> block3 (w3) -> tail, and returns the graph
// with its input and output.
func chain(t *testing.T, params *graph.Params) (g *graph.Graph, x, y *graph.Node) {
	t.Helper()
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 4, 3)
		h := s.Block("block1", x, func(s *graph.Scope, x *graph.Node) *graph.Node {
			w := s.Param("w1", graph.Glorot(3, 5), 3, 5)
			mean := s.State("mean", graph.Zeros(), 5)
			h := graph.MatMul(x, w)
			s.Update(mean, graph.Add(graph.Scale(mean, 0.9), graph.Scale(graph.Mean(h, 0), 0.1)))
			return graph.Sub(h, graph.Mul(mean, s.Uniform("noise", 4, 5)))
		})
		h = s.Block("block2", h, func(s *graph.Scope, x *graph.Node) *graph.Node { return graph.Tanh(x) })
		h = s.Block("block3", h, func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.MatMul(x, s.Param("w3", graph.Glorot(5, 2), 5, 2))
		})
		y = graph.Softplus(h) // outside every block: belongs to the last piece
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return g, x, y
}

func TestCutPieces(t *testing.T) {
	params := &graph.Params{Seed: 3, DType: graph.Float64}
	g, x, y := chain(t, params)
	pieces, err := g.Cut(x, y)
	if err != nil {
		t.Fatal(err)
	}
	if len(pieces) != 2 || pieces[0].Name != "block1" || pieces[1].Name != "block3" {
		t.Fatalf("want pieces block1 (with block2) and block3, got %d", len(pieces))
	}
	if len(pieces[0].Params) != 1 || pieces[0].Params[0].Name != "w1" || len(pieces[1].Params) != 1 || pieces[1].Params[0].Name != "w3" {
		t.Errorf("parameters of the pieces: %v, %v", pieces[0].Params, pieces[1].Params)
	}
	// Pieces applied one after the other, in another graph of the same store, compute what the whole did, with the
	// same random numbers and state updates; a derivative through a detached boundary is exactly zero.
	var a, b, z *graph.Node
	var across, within []*graph.Node
	h, err := graph.Build(params, func(s *graph.Scope) {
		a = s.Input("a", graph.Float64, 4, 3)
		b = pieces[0].Apply(s, a)
		z = pieces[1].Apply(s, graph.Detach(b))
		loss := graph.Sum(graph.Square(z))
		across = graph.Grad(loss, s.Graph().ParamNode("w1"))
		within = graph.Grad(loss, s.Graph().ParamNode("w3"))
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if n := len(h.Updates()); n != 1 {
		t.Fatalf("want one state update in the pieces, got %d", n)
	}
	whole, err := g.Compile(append(g.Updates(), y)...)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := h.Compile(append(append(h.Updates(), z), append(across, within...)...)...)
	if err != nil {
		t.Fatal(err)
	}
	mean := params.Get("mean").Value
	var want, after []float64
	for run, p := range []*graph.Program{whole, parts} {
		mean.CopyFrom(graph.ArrayOf([]float64{1, 2, 3, 4, 5}, 5))
		in, out := x, y
		if run == 1 {
			in, out = a, z
		}
		for i := range 12 {
			p.Array(in).Set(i, math.Sin(float64(i)))
		}
		p.SetStep(7)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			if v := p.Array(out).At(i); run == 0 {
				want = append(want, v)
			} else if v != want[i] {
				t.Errorf("output %d: whole %v, pieces %v", i, want[i], v)
			}
		}
		for i := range 5 {
			if run == 0 {
				after = append(after, mean.At(i))
			} else if mean.At(i) != after[i] {
				t.Errorf("state %d: whole %v, pieces %v", i, after[i], mean.At(i))
			}
		}
	}
	for i := range 15 {
		if v := parts.Array(across[0]).At(i); v != 0 {
			t.Errorf("a derivative crossed the boundary: %v", v)
		}
	}
	zero := true
	for i := range 10 {
		zero = zero && parts.Array(within[0]).At(i) == 0
	}
	if zero {
		t.Error("the derivative inside the piece is zero")
	}
}

func TestCutJoin(t *testing.T) {
	g, x, y := chain(t, &graph.Params{DType: graph.Float64})
	pieces, err := g.Cut(x, y)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := pieces[0].Join(pieces[1])
	if err != nil {
		t.Fatal(err)
	}
	if len(joined.Params) != 2 || !joined.In.Equal(pieces[0].In) || !joined.Out.Equal(pieces[1].Out) {
		t.Errorf("joined piece: %v to %v with %d parameters", joined.In, joined.Out, len(joined.Params))
	}
	if _, err := pieces[1].Join(pieces[0]); err == nil {
		t.Error("joining pieces in the wrong order: no error")
	}
}

// Without blocks the model is one piece; leading blocks without parameters belong to the first one that has some.
func TestCutWithoutBlocks(t *testing.T) {
	var x, y *graph.Node
	build := func(blocks bool) *graph.Graph {
		g, err := graph.Build(nil, func(s *graph.Scope) {
			x = s.Input("x", graph.Float32, 2, 2, 2)
			y = graph.Flatten(x)
			if blocks {
				y = s.Block("flatten", x, func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Flatten(x) })
			}
			w := func(s *graph.Scope, x *graph.Node) *graph.Node {
				return graph.MatMul(x, s.Param("w", graph.Ones(), 4, 3))
			}
			if blocks {
				y = s.Block("dense", y, w)
			} else {
				y = w(s, y)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for _, blocks := range []bool{false, true} {
		pieces, err := build(blocks).Cut(x, y)
		if err != nil {
			t.Fatal(err)
		}
		if len(pieces) != 1 || len(pieces[0].Params) != 1 || len(pieces[0].In.Shape) != 3 {
			t.Errorf("blocks %v: %d pieces, input %v", blocks, len(pieces), pieces[0].In)
		}
	}
}

func TestCutErrors(t *testing.T) {
	var x, other, skip, alone *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x, other = s.Input("x", graph.Float32, 2, 2), s.Input("other", graph.Float32, 2, 2)
		dense := func(name string) func(s *graph.Scope, x *graph.Node) *graph.Node {
			return func(s *graph.Scope, x *graph.Node) *graph.Node {
				return graph.MatMul(x, s.Param(name, graph.Ones(), 2, 2))
			}
		}
		h := s.Block("first", x, dense("a"))
		alone = s.Block("second", h, dense("b"))
		skip = graph.Add(alone, x) // a way around both blocks
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, y := range map[string]*graph.Node{"second": skip, "cut": other} {
		_, err := g.Cut(x, y)
		wantMention(t, err, name)
	}
	pieces, err := g.Cut(x, alone)
	if err != nil {
		t.Fatal(err)
	}
	// Another input type, and a store without the parameters.
	_, err = graph.Build(g.Params, func(s *graph.Scope) { pieces[0].Apply(s, s.Input("z", graph.Float32, 3, 2)) })
	wantMention(t, err, "first", "[2 2]", "[3 2]")
	_, err = graph.Build(nil, func(s *graph.Scope) { pieces[0].Apply(s, s.Input("z", graph.Float32, 2, 2)) })
	wantMention(t, err, "a in the store")
}

func wantMention(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("want an error with %q, got none", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("want %q in the error %q", w, err)
		}
	}
}
