package graph_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

func names(p *graph.Params) (list []string) {
	for q := range p.All() {
		list = append(list, q.Name)
	}
	return list
}

func TestParamsKeepTheOrderOfMaking(t *testing.T) {
	p := &graph.Params{Seed: 1}
	b := build(t, p, func(s *graph.Scope, node map[string]*graph.Node) {
		z, a := s.Param("z", graph.NormalInit(1), 2, 2), s.Param("a", graph.Ones(), 3)
		m := s.State("m", graph.Zeros(), 5)
		node["again"], node["z"] = s.Param("z", graph.Zeros(), 2, 2), z
		node["y"] = graph.Add(graph.Sum(a), graph.Add(graph.Sum(z), graph.Sum(m)))
		node["part"] = graph.Sum(a)
	})
	if got := names(p); !slices.Equal(got, []string{"z", "a", "m"}) || p.Len() != 3 || p.Count() != 7 {
		t.Errorf("want z a m, 3 tensors, 7 trained numbers, got %v %d %d", got, p.Len(), p.Count())
	}
	if b.node["again"] != b.node["z"] {
		t.Error("want one node for one parameter")
	}
	if got := b.Trainable(b.node["y"]); !slices.Equal(got, []*graph.Node{b.ParamNode("z"), b.ParamNode("a")}) {
		t.Errorf("want the trained parameters in the store's order, got %v", got)
	}
	if got := b.Trainable(b.node["part"]); len(got) != 1 || got[0] != b.ParamNode("a") {
		t.Errorf("want a alone, got %v", got)
	}
	if p.Get("none") != nil || b.ParamNode("none") != nil {
		t.Error("want nil for a name nobody made")
	}
	for _, q := range []*graph.Param{{Name: "z", Value: graph.NewArray(graph.Float32, 1)}, {Value: graph.NewArray(graph.Float32, 1)}, {Name: "new"}} {
		if err := p.Add(q); err == nil {
			t.Errorf("want %+v refused", q)
		}
	}
}

// Two graphs of one store share values; the draw of a parameter depends on its name and the seed alone.
func TestParamsAreShared(t *testing.T) {
	make := func(p *graph.Params, batch int, before ...string) (built, *graph.Program) {
		b := build(t, p, func(s *graph.Scope, node map[string]*graph.Node) {
			for _, name := range before {
				s.Param(name, graph.NormalInit(1), 3)
			}
			node["x"] = s.Input("x", graph.Float32, batch, 2)
			node["y"] = graph.MatMul(node["x"], s.Param("w", graph.NormalInit(1), 2, 2))
		})
		return b, b.compile(t, "y")
	}
	store := &graph.Params{Seed: 3}
	small, p := make(store, 1)
	large, q := make(store, 4)
	set(store.Get("w").Value, 1, 2, 3, 4)
	set(p.Array(small.node["x"]), 1, 1)
	set(q.Array(large.node["x"]), 1, 1, 2, 2, 3, 3, 4, 4)
	run(t, p)
	run(t, q)
	wantValues(t, "batch of 1", p.Array(small.node["y"]), 4, 6)
	wantValues(t, "batch of 4", q.Array(large.node["y"]), 4, 6, 8, 12, 12, 18, 16, 24)

	first, second, third := &graph.Params{Seed: 3}, &graph.Params{Seed: 3}, &graph.Params{Seed: 4}
	make(first, 1)
	make(second, 1, "other")
	make(third, 1)
	w := first.Get("w").Value.Float32s()
	if !slices.Equal(w, second.Get("w").Value.Float32s()) {
		t.Error("another parameter before it changed w")
	}
	if slices.Equal(w, third.Get("w").Value.Float32s()) {
		t.Error("another seed gives the same w")
	}
}

func TestParamsCloneAndCopy(t *testing.T) {
	p := &graph.Params{Seed: 7, DType: graph.Float64}
	build(t, p, func(s *graph.Scope, _ map[string]*graph.Node) {
		s.Param("w", graph.NormalInit(1), 2)
		s.State("m", graph.Ones(), 1)
	})
	c := p.Clone()
	if !slices.Equal(names(c), names(p)) || c.Seed != 7 || c.DType != graph.Float64 || !c.Get("m").State || c.Get("w").State {
		t.Errorf("the clone differs: %+v", c)
	}
	before := p.Get("w").Value.At(0)
	c.Get("w").Value.Set(0, 42)
	if p.Get("w").Value.At(0) != before {
		t.Error("the clone shares memory")
	}
	if err := p.CopyFrom(c); err != nil || p.Get("w").Value.At(0) != 42 {
		t.Errorf("want 42, got %v, %v", p.Get("w").Value, err)
	}
	c.Get("w").Value.Set(0, 41)
	if p.Get("w").Value.At(0) != 42 {
		t.Error("after CopyFrom the stores share memory")
	}
	other := func(name string, shape ...int) *graph.Params {
		o := &graph.Params{}
		o.Add(&graph.Param{Name: "w", Value: graph.ArrayOf([]float64{1, 1}, 2)})
		o.Add(&graph.Param{Name: name, Value: graph.NewArray(graph.Float64, shape...)})
		return o
	}
	for what, o := range map[string]*graph.Params{"number": {}, "name": other("n", 1), "shape": other("m", 2)} {
		if err := p.CopyFrom(o); err == nil || p.Get("w").Value.At(0) != 42 {
			t.Errorf("%s: want an error and no change, got %v, %v", what, err, p.Get("w").Value)
		}
	}
}

func TestInitialisers(t *testing.T) {
	const n = 100000
	moments := func(init graph.Init) (mean, std, low, high float64) {
		p := &graph.Params{Seed: 11}
		build(t, p, func(s *graph.Scope, _ map[string]*graph.Node) { s.Param("w", init, n) })
		w := p.Get("w").Value
		low, high = math.Inf(1), math.Inf(-1)
		for i := range n {
			v := w.At(i)
			mean, std, low, high = mean+v/n, std+v*v/n, min(low, v), max(high, v)
		}
		return mean, math.Sqrt(std - mean*mean), low, high
	}
	root3 := math.Sqrt(3)
	for name, c := range map[string]struct {
		init            graph.Init
		mean, std, edge float64 // edge of a uniform draw, 0 for a normal one
	}{
		"normal":     {graph.NormalInit(0.5), 0, 0.5, 0},
		"uniform":    {graph.UniformInit(-1, 1), 0, 1 / root3, 1},
		"He":         {graph.He(50), 0, math.Sqrt(2.0 / 50), 0},
		"HeUniform":  {graph.HeUniform(50), 0, math.Sqrt(2.0 / 50), math.Sqrt(6.0 / 50)},
		"Glorot":     {graph.Glorot(20, 30), 0, math.Sqrt(2.0 / 50), math.Sqrt(6.0 / 50)},
		"LeCun":      {graph.LeCun(25), 0, 0.2 / root3, 0.2},
		"Constant 3": {graph.Constant(3), 3, 0, 0},
		"Ones":       {graph.Ones(), 1, 0, 0},
		"Zeros":      {graph.Zeros(), 0, 0, 0},
	} {
		mean, std, low, high := moments(c.init)
		if math.Abs(mean-c.mean) > 5*c.std/math.Sqrt(n)+1e-9 || math.Abs(std-c.std) > 0.01*c.std+1e-5 {
			t.Errorf("%s: want mean %v and deviation %v, got %v and %v", name, c.mean, c.std, mean, std)
		}
		if c.edge > 0 && (high > c.edge || low < -c.edge || high < 0.999*c.edge || low > -0.999*c.edge) {
			t.Errorf("%s: want the range ±%v filled, got %v to %v", name, c.edge, low, high)
		}
	}
}

func TestScopeNames(t *testing.T) {
	p := &graph.Params{}
	var got []string
	build(t, p, func(s *graph.Scope, _ map[string]*graph.Node) {
		say := func(s *graph.Scope) { got = append(got, s.Name("w")) }
		say(s)
		say(s.Layer("dense", ""))
		say(s.Layer("conv", ""))
		say(s.Layer("dense", ""))
		say(s.Layer("dense", "head"))
		say(s.ForTraining().Layer("dense", "")) // the numbers go on
		block := s.Sub("block1")
		say(block.Layer("dense", "")) // and begin anew inside
		say(block.Sub("deep").Layer("dense", ""))
		say(block.Root().Layer("dense", "")) // the root's first layer again: its parameters are shared
		if s.Training() || !s.ForTraining().Training() || !s.ForTraining().Root().Training() || !s.ForTraining().Sub("a").Layer("b", "").Training() {
			t.Error("training is not handed on")
		}
		block.Layer("dense", "").Param("weight", graph.Zeros(), 1)
		block.State("mean", graph.Zeros(), 1)
	})
	want := []string{"w", "dense1/w", "conv1/w", "dense2/w", "head/w", "dense3/w", "block1/dense1/w", "block1/deep/dense1/w", "dense1/w"}
	if !slices.Equal(got, want) {
		t.Errorf("want %v, got %v", want, got)
	}
	if got := names(p); !slices.Equal(got, []string{"block1/dense2/weight", "block1/mean"}) {
		t.Errorf("got parameters %v", got)
	}
}

func TestBlocks(t *testing.T) {
	b := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		x := s.Input("x", graph.Float32, 2)
		node["x"] = x
		x = s.Block("first", x, func(s *graph.Scope, x *graph.Node) *graph.Node {
			return s.Block("inner", graph.Exp(x), func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Sin(x) })
		})
		node["between"] = x
		node["y"] = s.Sub("part").Block("second", x, func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Cos(x) })
	})
	blocks := b.Blocks()
	if len(blocks) != 2 || blocks[0].Name != "first" || blocks[1].Name != "part/second" {
		t.Fatalf("want blocks first and part/second, got %v", fmt.Sprint(blocks))
	}
	if blocks[0].In != b.node["x"] || blocks[0].Out != b.node["between"] || blocks[1].In != b.node["between"] || blocks[1].Out != b.node["y"] {
		t.Errorf("blocks begin or end in the wrong place")
	}
}
