package graph_test

import (
	"math"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// Mistakes in model code are typed errors of Build, whatever is wrong: never another panic.
func TestNoOtherPanics(t *testing.T) {
	type build = func(s *graph.Scope, x, i *graph.Node)
	for name, c := range map[string]struct {
		f    build
		says string
	}{
		"input of negative size": {func(s *graph.Scope, x, i *graph.Node) { s.Input("z", graph.Float32, -2) }, "at least 0"},
		"input without dtype":    {func(s *graph.Scope, x, i *graph.Node) { s.Input("z", graph.DType{}, 2) }, "no dtype"},
		"two inputs of a name":   {func(s *graph.Scope, x, i *graph.Node) { s.Input("x", graph.Float32, 2) }, "new in the graph"},
		"input named as parameter": {func(s *graph.Scope, x, i *graph.Node) {
			s.Param("w", graph.Ones(), 2)
			s.Input("param/w", graph.Float32, 2)
		}, "param/w"},
		"parameter named as input": {func(s *graph.Scope, x, i *graph.Node) {
			s.Input("param/w", graph.Float32, 2)
			s.Param("w", graph.Ones(), 2)
		}, "param/w"},
		"input named as the clock": {func(s *graph.Scope, x, i *graph.Node) { s.Input("harpe/clock", graph.Int, 2); s.Uniform("u", 2) }, "harpe/clock"},
		"state as parameter":       {func(s *graph.Scope, x, i *graph.Node) { s.State("a", graph.Ones(), 3); s.Param("a", graph.Ones(), 3) }, "a state"},
		"parameter as state":       {func(s *graph.Scope, x, i *graph.Node) { s.Param("a", graph.Ones(), 3); s.State("a", graph.Ones(), 3) }, "a trained parameter"},
		"cast to no dtype":         {func(s *graph.Scope, x, i *graph.Node) { graph.Cast(x, graph.DType{}) }, "dtype"},
		"one-hot of no dtype":      {func(s *graph.Scope, x, i *graph.Node) { graph.OneHot(i, 3, graph.DType{}) }, "dtype"},
		"overflowing pad":          {func(s *graph.Scope, x, i *graph.Node) { graph.Pad(x, 0, math.MaxInt, 2, 0) }, "pad"},
		"no literal":               {func(s *graph.Scope, x, i *graph.Node) { graph.Literal(x, nil) }, "literal"},
		"derivative of nil":        {func(s *graph.Scope, x, i *graph.Node) { graph.Grad(nil, x) }, "nil"},
		"derivative by nil":        {func(s *graph.Scope, x, i *graph.Node) { graph.Grad(graph.Sum(x), nil) }, "nil"},
		"nil tangent": {func(s *graph.Scope, x, i *graph.Node) {
			graph.JVP([]*graph.Node{x}, []*graph.Node{x}, []*graph.Node{nil})
		}, "tangent 0"},
		"nil operand":   {func(s *graph.Scope, x, i *graph.Node) { graph.Scale(nil, 2) }, "nil"},
		"update of nil": {func(s *graph.Scope, x, i *graph.Node) { s.Update(nil, x) }, "nil"},
		"block without result": {func(s *graph.Scope, x, i *graph.Node) {
			s.Block("b", x, func(*graph.Scope, *graph.Node) *graph.Node { return nil })
		}, "nil"},
		"reshape to a wrong size": {func(s *graph.Scope, x, i *graph.Node) { graph.Reshape(x, 4, -1) }, "[4 -1]"},
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) {
			c.f(s, s.Input("x", graph.Float32, 2, 3), s.Input("i", graph.Int, 2))
		})
		var typed *graph.Error
		if !errors.As(err, &typed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: want a *graph.Error with %q, got %v", name, c.says, err)
		}
	}
	if err := (&graph.Params{}).Add(nil); err == nil {
		t.Error("adding no parameter: no error")
	}
}

func TestBindRefuses(t *testing.T) {
	params := &graph.Params{}
	var x, w, y *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x, w = s.Input("x", graph.Float32, 2), s.Param("w", graph.Ones(), 2)
		y = graph.Mul(graph.Mul(x, w), s.Uniform("u", 2))
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	a := graph.ArrayOf([]float32{7, 8}, 2)
	wantMention(t, p.Bind(w, a), "bind", "an input")
	wantMention(t, p.Bind(y, a), "bind", "an input")
	wantMention(t, p.Bind(x, nil), "bind", "x", "nil")
	wantMention(t, p.Bind(x, graph.NewArray(graph.Float64, 2)), "bind", "x", "float32 [2]", "float64 [2]")
	if v := params.Get("w").Value.At(0); v != 1 {
		t.Errorf("the parameter changed to %v", v)
	}
}

// A variable that is computed from another moves with it; forward and reverse mode agree on that.
func TestDependentVariables(t *testing.T) {
	var w *graph.Node
	var out []*graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		w = s.Input("w", graph.Float64)
		h := graph.Square(w)
		y := graph.Square(h)
		one, zero := graph.Const(w, 1), graph.Const(w, 0)
		x := []*graph.Node{w, h}
		out = append(out, graph.VJP([]*graph.Node{y}, []*graph.Node{one}, x)...)
		out = append(out, graph.JVP([]*graph.Node{y}, x, []*graph.Node{one, zero})[0])
		out = append(out, graph.JVP([]*graph.Node{y}, x, []*graph.Node{zero, one})[0])
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(out...)
	if err != nil {
		t.Fatal(err)
	}
	p.Array(w).Set(0, 3)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{108, 18, 108, 18} {
		if got := p.Array(out[i]).Scalar(); got != want {
			t.Errorf("derivative %d: want %v, got %v", i, want, got)
		}
	}
}

// The search for the node that spoilt a run names the cause and lets harmless infinities pass.
func TestFirstNonFiniteNamesTheCause(t *testing.T) {
	for name, c := range map[string]struct {
		x    []float64
		f    func(s *graph.Scope, x *graph.Node) *graph.Node
		says []string
	}{
		"a mask of -Inf": {[]float64{1, 2, 3, 4}, func(s *graph.Scope, x *graph.Node) *graph.Node {
			q := graph.Reshape(x, 2, 2)
			return graph.Attention(q, q, q, true)
		}, nil},
		"a masked logarithm of 0": {[]float64{0, 1, 2, 3}, func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Where(graph.Greater(x, graph.Const(x, 0)), graph.Log(x), graph.Const(x, 0))
		}, nil},
		"NaN made of finite numbers": {[]float64{1, -1, 2, 3}, func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Exp(graph.Log(x))
		}, []string{"log", "NaN at element 1"}},
		"overflow, then NaN": {[]float64{1, 800, 2, 3}, func(s *graph.Scope, x *graph.Node) *graph.Node {
			e := graph.Exp(x)
			return graph.Sub(e, graph.Scale(e, 2))
		}, []string{"exp", "+Inf at element 1", "then", "sub", "NaN"}},
		"overflow alone": {[]float64{1, 800, 2, 3}, func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Scale(graph.Exp(x), 2)
		}, []string{"exp", "+Inf at element 1"}},
		"a parameter read through a reshape": {[]float64{1, 2, 3, 4}, func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Mul(x, graph.Reshape(s.Param("w", graph.Constant(math.NaN()), 2, 2), 4))
		}, []string{"param/w", "element 0 is NaN"}},
	} {
		var x, y *graph.Node
		g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
			x = s.Input("x", graph.Float64, 4)
			y = c.f(s, x)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(y)
		if err != nil {
			t.Fatal(err)
		}
		copy(p.Array(x).Float64s(), c.x)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		err = p.FirstNonFinite()
		if c.says == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.says != nil {
			wantMention(t, err, c.says...)
		}
	}
}
