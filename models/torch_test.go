package models

import (
	"bytes"
	"errors"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// twin is a model that testdata/torch_exchange.py has too.
type twin struct {
	model   layers.Layer
	modules []string
	input   graph.Type

	params *graph.Params
	g      *graph.Graph
	x, y   *graph.Node
}

var twins = map[string]*twin{
	"mlp": {model: MLP{Hidden: []int{32, 16}, Classes: 10}, modules: []string{"0", "2", "4"}, input: graph.Type{DType: graph.Float32, Shape: []int{4, 20}}},
	"cnn": {
		model:   CNN{Channels: []int{4, 6}, Hidden: []int{16}, Classes: 10},
		modules: []string{"features.0", "features.3", "hidden", "head"}, input: graph.Type{DType: graph.Float32, Shape: []int{4, 1, 16, 16}},
	},
	"resnet18": {
		model: ResNet18{Width: 16, Classes: 10}, modules: ResNet18{}.TorchModules(),
		input: graph.Type{DType: graph.Float32, Shape: []int{4, 3, 32, 32}},
	},
	"recurrent": {
		model: layers.Sequential{
			layers.Embedding{Vocabulary: 11, Units: 6}, layers.LayerNorm{}, layers.LSTM{Units: 5, Layers: 2}, layers.LastStep{}, layers.Dense{Units: 3},
		},
		modules: []string{"embedding", "norm", "lstm", "head"}, input: graph.Type{DType: graph.Int, Shape: []int{4, 7}},
	},
	"attention": {
		model: layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Add(x, layers.SelfAttention{Heads: 2, Causal: true}.Apply(s, x))
		}),
		modules: []string{"attn.in_proj_", "attn.out_proj"}, input: graph.Type{DType: graph.Float32, Shape: []int{4, 7, 6}},
	},
	"generator": {
		model: layers.Sequential{
			layers.ConvTranspose2D{Filters: 4, Stride: layers.Both(2), Padding: layers.Both(1)}, layers.GroupNorm{Groups: 2},
		},
		modules: []string{"up", "norm"}, input: graph.Type{DType: graph.Float32, Shape: []int{4, 3, 5, 5}},
	},
}

func (w *twin) build(t *testing.T) *graph.Torch {
	t.Helper()
	w.params = &graph.Params{Seed: 4}
	var err error
	w.g, err = graph.Build(w.params, func(s *graph.Scope) {
		w.x = s.Input("x", w.input.DType, w.input.Shape...)
		w.y = w.model.Apply(s, w.x)
	})
	if err != nil {
		t.Fatal(err)
	}
	torch, err := w.g.Torch(w.modules...)
	if err != nil {
		t.Fatal(err)
	}
	return torch
}

// in is the same batch of numbers in both worlds.
func (w *twin) in() *graph.Array {
	a := graph.NewArray(w.input.DType, w.input.Shape...)
	r := graph.Rand(1, "input", 0)
	for i := range a.Size() {
		if a.DType == graph.Int {
			a.Set(i, float64(r.IntN(11)))
		} else {
			a.Set(i, r.NormFloat64())
		}
	}
	return a
}

// agrees compares the model's output with the one in a file, relative to the largest element.
func (w *twin) agrees(t *testing.T, path string) {
	t.Helper()
	p, err := w.g.Compile(w.y)
	if err != nil {
		t.Fatal(err)
	}
	p.Array(w.x).CopyFrom(w.in())
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	got, want := p.Array(w.y), graph.NewArray(graph.Float32, graph.ShapeOf(w.y)...)
	if err := storeOf(t, "y", want).Load(path); err != nil {
		t.Fatal(err)
	}
	largest, worst := 0.0, 0.0
	for i := range want.Size() {
		largest, worst = max(largest, math.Abs(want.At(i))), max(worst, math.Abs(want.At(i)-got.At(i)))
	}
	if largest < 1e-3 || !(worst <= 1e-5*largest) {
		t.Errorf("%s: largest difference %g, largest element %g", filepath.Base(path), worst, largest)
	}
	t.Logf("%s: largest difference %.1e of the largest element", filepath.Base(path), worst/largest)
}

func storeOf(t *testing.T, name string, a *graph.Array) *graph.Params {
	t.Helper()
	p := &graph.Params{}
	if err := p.Add(&graph.Param{Name: name, Value: a}); err != nil {
		t.Fatal(err)
	}
	return p
}

// Weights go to PyTorch and come from it, and both compute the same with them.
func TestExchangeWithPyTorch(t *testing.T) {
	folder := t.TempDir()
	for name, w := range twins {
		path := filepath.Join(folder, name) + "."
		torch := w.build(t)
		r := graph.Rand(2, name, 0)
		for q := range w.params.All() {
			if len(q.Value.Shape) == 1 { // scales, shifts and statistics that are not 1 and 0
				for i := range q.Value.Size() {
					q.Value.Set(i, q.Value.At(i)+0.3*r.Float64())
				}
			}
		}
		if err := torch.Save(path + "harpe.safetensors"); err != nil {
			t.Fatal(err)
		}
		if err := storeOf(t, "x", w.in()).Save(path + "input.safetensors"); err != nil {
			t.Fatal(err)
		}
	}
	runTorch(t, folder)
	for name, w := range twins {
		path := filepath.Join(folder, name) + "."
		w.agrees(t, path+"harpe-output.safetensors")
		if err := w.build(t).Load(path + "torch.safetensors"); err != nil {
			t.Fatal(err)
		}
		w.agrees(t, path+"torch-output.safetensors")
	}
}

// runTorch runs the script with the first Python that has PyTorch.
func runTorch(t *testing.T, folder string) {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		cmd := exec.Command(python, "testdata/torch_exchange.py", folder)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return
		case errors.As(err, &exit) && exit.ExitCode() != 77:
			t.Fatalf("%s: %v\n%s", python, err, said.Bytes())
		}
	}
	t.Skip("no PyTorch; apt-get install python3-torch python3-numpy")
}

// The names of torchvision's resnet18 that have to be right for its weights, from its documentation of 11,689,512
// parameters in 122 tensors, of which 20 are num_batches_tracked.
func TestTorchvisionNames(t *testing.T) {
	torch := twins["resnet18"].build(t)
	var names []string
	for _, q := range torch.Tensors {
		names = append(names, q.Name)
	}
	if len(names) != 122-20 {
		t.Errorf("want 102 tensors, got %d", len(names))
	}
	for _, name := range []string{
		"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer1.1.bn2.bias", "layer2.0.downsample.0.weight",
		"layer2.0.downsample.1.running_mean", "layer4.1.conv2.weight", "fc.weight", "fc.bias",
	} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s", name)
		}
	}
}
