package graph_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// torchModel has a dense layer, batch normalisation's states, and a recurrent weight that is used transposed.
func torchModel(s *graph.Scope) *graph.Node {
	x := s.Input("x", graph.Float32, 2, 2)
	d := s.Sub("dense1")
	y := graph.Add(graph.MatMul(x, d.Param("weight", graph.Zeros(), 2, 3)), d.Param("bias", graph.Zeros(), 3))
	b := s.Sub("norm")
	y = graph.Add(graph.Mul(y, b.Param("weight", graph.Ones(), 3)), b.State("running_mean", graph.Zeros(), 3))
	return graph.MatMulT(y, s.Sub("block1").Sub("rnn1").Param("weight_ih_l0", graph.Zeros(), 4, 3), false, true)
}

func torchGraph(t *testing.T) (*graph.Graph, *graph.Params) {
	t.Helper()
	params := &graph.Params{}
	g, err := graph.Build(params, func(s *graph.Scope) {
		y := torchModel(s)
		graph.Grad(graph.Sum(y), s.Graph().Trainable(y)...) // which also uses the weights, in other ways
	})
	if err != nil {
		t.Fatal(err)
	}
	i := 0.0
	for q := range params.All() {
		for j := range q.Value.Size() {
			q.Value.Set(j, i)
			i++
		}
	}
	return g, params
}

func TestTorchFile(t *testing.T) {
	g, params := torchGraph(t)
	torch, err := g.Torch()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := torch.Save(path); err != nil {
		t.Fatal(err)
	}
	// Read back by the names, shapes and order of numbers that PyTorch has.
	want := []*graph.Param{
		{Name: "dense1.weight", Value: graph.ArrayOf([]float32{0, 3, 1, 4, 2, 5}, 3, 2)},
		{Name: "dense1.bias", Value: graph.ArrayOf([]float32{6, 7, 8}, 3)},
		{Name: "norm.weight", Value: graph.ArrayOf([]float32{9, 10, 11}, 3)},
		{Name: "norm.running_mean", Value: graph.ArrayOf([]float32{12, 13, 14}, 3), State: true},
		{Name: "norm.num_batches_tracked", Value: graph.NewArray(graph.Int), State: true},
		{Name: "block1.rnn1.weight_ih_l0", Value: graph.ArrayOf([]float32{15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26}, 4, 3)},
	}
	file := &graph.Params{}
	for _, q := range want {
		file.Add(&graph.Param{Name: q.Name, Value: graph.NewArray(q.Value.DType, q.Value.Shape...), State: q.State})
	}
	meta, err := graph.LoadAll(path, file)
	if err != nil || meta["format"] != "pt" {
		t.Fatal(meta, err)
	}
	for _, q := range want {
		if got := file.Get(q.Name).Value; got.String() != q.Value.String() {
			t.Errorf("%s: want %v, got %v", q.Name, q.Value, got)
		}
	}
	// And loaded again, with and without the counter.
	before := params.Clone()
	for _, keep := range []func(string) bool{
		func(string) bool { return true },
		func(name string) bool { return name != "norm.num_batches_tracked" },
	} {
		if err := file.Select(keep).Save(path); err != nil {
			t.Fatal(err)
		}
		for q := range params.All() {
			q.Value.Zero()
		}
		if err := torch.Load(path); err != nil {
			t.Fatal(err)
		}
		for q := range params.All() {
			if want := before.Get(q.Name).Value; q.Value.String() != want.String() {
				t.Errorf("%s: want %v, got %v", q.Name, want, q.Value)
			}
		}
	}
	// A tensor too few changes nothing.
	if err := file.Select(func(name string) bool { return name != "dense1.bias" }).Save(path); err != nil {
		t.Fatal(err)
	}
	params.Get("dense1/weight").Value.Set(0, 99)
	if err := torch.Load(path); err == nil || !strings.Contains(err.Error(), "dense1.bias") {
		t.Errorf("want an error that names dense1.bias, got %v", err)
	}
	if params.Get("dense1/weight").Value.At(0) != 99 {
		t.Error("a failed load changed a weight")
	}
	if err := torch.Load(path + "x"); err == nil {
		t.Error("want an error for no file")
	}
}

func TestTorchNames(t *testing.T) {
	g, _ := torchGraph(t)
	torch, err := g.Torch("0", "1", "2")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, q := range torch.Tensors {
		names = append(names, q.Name)
	}
	if want := []string{"0.weight", "0.bias", "1.weight", "1.running_mean", "2.weight_ih_l0"}; !slices.Equal(names, want) {
		t.Errorf("want %v, got %v", want, names)
	}
	if _, err := g.Torch("0", "1"); err == nil || !strings.Contains(err.Error(), "dense1, norm, block1/rnn1") {
		t.Errorf("want an error that lists the layers, got %v", err)
	}
	torch, err = g.Torch("0", "0", "0")
	if err != nil {
		t.Fatal(err)
	}
	if err := torch.Save(filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "0.weight") {
		t.Errorf("want an error that names 0.weight, got %v", err)
	}
	g, err = graph.Build(nil, func(s *graph.Scope) {
		w := s.Param("weight", graph.Zeros(), 2, 2)
		graph.MatMul(graph.MatMulT(s.Input("x", graph.Float32, 2, 2), w, false, true), w)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Torch(); err == nil || !strings.Contains(err.Error(), "weight") {
		t.Errorf("want an error for a weight used in both ways, got %v", err)
	}
}
