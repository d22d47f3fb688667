package models

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
	"github.com/harpe-ml/harpe/layers"
)

type values struct {
	Shape []int
	Kind  string
	Data  []float64
}

func (v values) array(dtype graph.DType) *graph.Array {
	if v.Kind == "int" {
		dtype = graph.Int
	}
	a := graph.NewArray(dtype, v.Shape...)
	for i, x := range v.Data {
		a.Set(i, x)
	}
	return a
}

var small = map[string]layers.Layer{
	"mlp":      MLP{Hidden: []int{4, 5}, Classes: 3},
	"cnn":      CNN{Channels: []int{3, 4}, Hidden: []int{5}, Classes: 3},
	"resnet18": ResNet18{Width: 1, Classes: 3},
	"charlm":   CharLM{Vocabulary: 7, Units: 6, Depth: 2, Heads: 2, Context: 5},
}

// Whole models with PyTorch's parameters: the result and the gradient by every parameter, training mode.
func TestAgainstPyTorch(t *testing.T) {
	text, err := os.ReadFile("testdata/torch_models.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Models []struct {
			Name                     string
			Input, Output, Cotangent values
			Params, Gradients        map[string]values
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Models) != len(small) {
		t.Fatalf("want %d models, got %d", len(small), len(file.Models))
	}
	for _, m := range file.Models {
		for _, kind := range []struct {
			dtype     graph.DType
			tolerance float64
		}{{graph.Float64, 1e-9}, {graph.Float32, 1e-4}} {
			t.Run(m.Name+"/"+kind.dtype.String(), func(t *testing.T) {
				store := &graph.Params{DType: kind.dtype}
				var x, y, u *graph.Node
				var trained, slopes []*graph.Node
				g, err := graph.Build(store, func(s *graph.Scope) {
					in := m.Input.array(kind.dtype)
					x = s.Input("x", in.DType, in.Shape...)
					y = small[m.Name].Apply(s.ForTraining(), x)
					u = s.Input("cotangent", kind.dtype, graph.ShapeOf(y)...)
					trained = s.Graph().Trainable(y)
					slopes = graph.VJP([]*graph.Node{y}, []*graph.Node{u}, trained)
				})
				if err != nil {
					t.Fatalf("%+v", err)
				}
				if len(trained) != len(m.Params) {
					t.Fatalf("want %d parameters, got %d", len(m.Params), len(trained))
				}
				for name, v := range m.Params {
					p := store.Get(name)
					if p == nil {
						t.Fatalf("no parameter %s", name)
					}
					if err := p.Value.CopyFrom(v.array(kind.dtype)); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
				}
				p, err := g.Compile(append([]*graph.Node{y}, slopes...)...)
				if err != nil {
					t.Fatal(err)
				}
				for n, v := range map[*graph.Node]values{x: m.Input, u: m.Cotangent} {
					if err := p.Array(n).CopyFrom(v.array(kind.dtype)); err != nil {
						t.Fatal(err)
					}
				}
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				near(t, "output", p.Array(y), m.Output, kind.tolerance)
				for i, n := range trained {
					name := g.Param(n).Name
					near(t, name, p.Array(slopes[i]), m.Gradients[name], kind.tolerance)
				}
				run := func() {
					if err := p.Run(); err != nil {
						t.Fatal(err)
					}
				}
				if n := testing.AllocsPerRun(3, run); n != 0 {
					t.Errorf("a run makes %v allocations", n)
				}
			})
		}
	}
}

// near compares every element, with errors relative to the largest one.
func near(t *testing.T, what string, got *graph.Array, want values, tolerance float64) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("%s: want shape %v, got %v", what, want.Shape, got.Shape)
	}
	scale := 1.0
	for _, v := range want.Data {
		scale = max(scale, math.Abs(v))
	}
	for i, v := range want.Data {
		if !(math.Abs(got.At(i)-v) <= tolerance*scale) {
			t.Errorf("%s: element %d: want %v, got %v", what, i, v, got.At(i))
			return
		}
	}
}

// The usual sizes: numbers of parameters counted by hand from the tables of the papers, results, and parts.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		name   string
		model  layers.Layer
		dtype  graph.DType
		in     []int
		out    []int
		params int
		pieces int // with parameters of their own
	}{
		{"MLP", MLP{Hidden: []int{1000, 1000}, Classes: 10}, graph.Float32, []int{2, 784}, []int{2, 10}, 1796010, 3},
		{"MLP of images", MLP{Hidden: []int{7}, Classes: 10}, graph.Float32, []int{2, 3, 4, 4}, []int{2, 10}, 49*7 + 8*10, 2},
		{"linear MLP", MLP{Classes: 3}, graph.Float32, []int{5, 4}, []int{5, 3}, 15, 1},
		{"CNN", CNN{Classes: 10}, graph.Float32, []int{2, 1, 28, 28}, []int{2, 10}, 421642, 4},
		{"ResNet18", ResNet18{Classes: 10}, graph.Float32, []int{2, 3, 32, 32}, []int{2, 10}, 11173962, 10},
		{"CharLM", CharLM{}, graph.Int, []int{2, 128}, []int{2, 128, 96}, 3241568, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := &graph.Params{}
			var x, y *graph.Node
			g, err := graph.Build(store, func(s *graph.Scope) {
				x = s.Input("x", c.dtype, c.in...)
				y = c.model.Apply(s, x)
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(graph.ShapeOf(y), c.out) {
				t.Errorf("want a result of shape %v, got %v", c.out, graph.ShapeOf(y))
			}
			if n := store.Count(); n != c.params {
				t.Errorf("want %d parameters, got %d", c.params, n)
			}
			pieces, err := g.Cut(x, y)
			if err != nil {
				t.Fatal(err)
			}
			if len(pieces) != c.pieces {
				t.Errorf("want %d pieces, got %d", c.pieces, len(pieces))
			}
			n := 0
			for _, p := range pieces {
				if len(p.Params) == 0 {
					t.Errorf("piece %s has no parameters", p.Name)
				}
				for _, q := range p.Params {
					n += q.Value.Size()
				}
			}
			if n != c.params {
				t.Errorf("the pieces have %d of %d parameters", n, c.params)
			}
		})
	}
}

// Both modes of differentiation, and to second order where the activation has one.
func TestDerivatives(t *testing.T) {
	for _, c := range []struct {
		name  string
		model layers.Layer
		x     *graph.Array
	}{
		{"MLP", MLP{Hidden: []int{4, 3}, Classes: 2, Activation: layers.Tanh{}}, gradcheck.Normal(1, 3, 5)},
		{"CNN", CNN{Channels: []int{2}, Hidden: []int{3}, Classes: 2}, gradcheck.Normal(2, 2, 1, 4, 4)},
		{"CharLM", CharLM{Vocabulary: 5, Units: 4, Depth: 1, Heads: 2, Context: 3}, gradcheck.Ints(1, 5, 2, 3)},
	} {
		t.Run(c.name, func(t *testing.T) {
			gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node { return c.model.Apply(s, x[0]) }, c.x)
		})
	}
}

// A causal model's prediction depends on the past only.
func TestCausal(t *testing.T) {
	var x, y *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Int, 1, 5)
		y = small["charlm"].Apply(s, x)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	run := func(symbols ...int) []float32 {
		copy(p.Array(x).Ints(), symbols)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(p.Array(y).Float32s())
	}
	a, b := run(1, 2, 3, 4, 5), run(1, 2, 3, 0, 5)
	if !slices.Equal(a[:3*7], b[:3*7]) {
		t.Error("a prediction changed with a later symbol")
	}
	for step := 3; step < 5; step++ {
		if slices.Equal(a[step*7:(step+1)*7], b[step*7:(step+1)*7]) {
			t.Errorf("prediction %d did not change with symbol 3", step)
		}
	}
}

// A model is a layer: it is applied in a scope, and its parameters belong to the store.
func ExampleMLP() {
	model := MLP{Hidden: []int{32, 16}, Classes: 10}
	params := &graph.Params{Seed: 1}
	_, err := graph.Build(params, func(s *graph.Scope) {
		logits := model.Apply(s, s.Input("image", graph.Float32, 64, 8, 8))
		fmt.Println(graph.ShapeOf(logits))
	})
	fmt.Println(params.Count(), "parameters", err)
	// Output:
	// [64 10]
	// 2778 parameters <nil>
}
