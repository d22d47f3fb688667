package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/onnx"
)

//go:embed elsewhere.go
var elsewhere string

//go:embed classifier.py
var torchProgram string

//go:embed classifier.mjs
var nodeProgram string

// torchModules are the modules of classifier.py that have parameters, in the order of the layers.
var torchModules = []string{"features.0", "features.3", "hidden", "head"}

func saveForTorch(g *graph.Graph, path string) error {
	torch, err := g.Torch(torchModules...)
	if err != nil {
		return err
	}
	return torch.Save(path)
}

func loadFromTorch(g *graph.Graph, path string) error {
	torch, err := g.Torch(torchModules...)
	if err != nil {
		return err
	}
	return torch.Load(path)
}

// torch exchanges the weights with PyTorch.
func (s *story) torch(ctx context.Context) error {
	s.Heading("PyTorch")
	s.Text("Weights go through files in the safetensors format. Harpe holds a dense layer's weight as [in, out], PyTorch as [out, in]; " +
		"all else is the same but for the names, which follow from the names of PyTorch's modules in the order of the layers:")
	s.Source(elsewhere, "torchModules", "saveForTorch", "loadFromTorch")
	torch, err := s.g.Torch(torchModules...)
	if err != nil {
		return err
	}
	names := notebook.Table{Header: []string{"Harpe", "shape", "PyTorch", "transposed"}}
	for _, t := range torch.Tensors {
		transposed := "no"
		if t.Transposed {
			transposed = "yes"
		}
		names.Rows = append(names.Rows, []string{t.Param.Name, fmt.Sprint(t.Param.Value.Shape), t.Name, transposed})
	}
	s.Table(names)
	s.Text("On the other side:\n\n    from safetensors.torch import load_file, save_file\n    model.load_state_dict(load_file(\"digits.safetensors\"))\n" +
		"    save_file(model.state_dict(), \"torch.safetensors\")")
	path := filepath.Join(s.out, "digits.safetensors")
	if err := saveForTorch(s.g, path); err != nil {
		return err
	}
	again := &graph.Params{Seed: s.seed + 1}
	other, err := graph.Build(again, func(sc *graph.Scope) { model.Apply(sc, sc.Input("x", graph.Float32, s.images.Shape...)) })
	if err != nil {
		return err
	}
	if err := loadFromTorch(other, path); err != nil {
		return err
	}
	logits, err := s.predict(again)
	if err != nil {
		return err
	}
	s.Check("written and read again, the weights give the same bits", slices.Equal(logits.Float32s(), s.logits.Float32s()), "compared")
	return s.askTorch(ctx, path, again, other)
}

// askTorch runs classifier.py with the first Python that has PyTorch.
func (s *story) askTorch(ctx context.Context, path string, store *graph.Params, g *graph.Graph) error {
	folder, err := os.MkdirTemp("", "interop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	script, in := filepath.Join(folder, "classifier.py"), filepath.Join(folder, "images.npy")
	if err := os.WriteFile(script, []byte(torchProgram), 0o666); err != nil {
		return err
	}
	if err := writeNPY(in, s.images); err != nil {
		return err
	}
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		said, err := exec.CommandContext(ctx, python, script, path, folder).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() != 77 {
			return errors.Errorf("%s: %v: %s", python, err, said)
		}
		if err != nil {
			continue // no Python, or one without PyTorch
		}
		logits, err := readNPY(filepath.Join(folder, "logits.npy"))
		if err != nil {
			return err
		}
		s.agree("PyTorch, with Harpe's weights,", logits)
		if err := loadFromTorch(g, filepath.Join(folder, "torch.safetensors")); err != nil {
			return err
		}
		want, err := readNPY(filepath.Join(folder, "torch_logits.npy"))
		if err != nil {
			return err
		}
		got, err := s.predict(store)
		if err != nil {
			return err
		}
		d := difference(want, got)
		s.Check("Harpe, with PyTorch's weights, computes PyTorch's logits, to 1e-5 of the largest", d <= 1e-5, fmt.Sprintf("largest difference %.1e", d))
		return nil
	}
	s.Text("PyTorch is not installed here (`apt-get install python3-torch`), so nothing was computed there.")
	return nil
}

func writeNPY(path string, a *graph.Array) error {
	var b bytes.Buffer
	if err := a.WriteNPY(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}

func readNPY(path string) (*graph.Array, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return graph.ReadNPY(f)
}

// numpy writes the predictions as an archive for numpy.load and reads it again.
func (s *story) numpy(context.Context) error {
	s.Heading("NumPy")
	var b bytes.Buffer
	err := graph.WriteNPZ(&b, map[string]*graph.Array{"images": s.images, "labels": graph.ArrayOf(s.labels, len(s.labels)), "logits": s.logits})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.out, "digits.npz"), b.Bytes(), 0o666); err != nil {
		return err
	}
	arrays, err := graph.ReadNPZ(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		return err
	}
	s.Text("`digits.npz` holds the test images, their labels and the logits: `numpy.load(\"digits.npz\")[\"logits\"]`. " +
		"`graph.ReadNPY` and `graph.ReadNPZ` read what NumPy writes, in any byte order and memory order.")
	same := slices.Equal(arrays["labels"].Ints(), s.labels) && slices.Equal(arrays["logits"].Float32s(), s.logits.Float32s())
	s.Check("what is written comes back", same && len(arrays) == 3, fmt.Sprintf("%d arrays, %d bytes", len(arrays), b.Len()))
	return nil
}

func exportONNX(params *graph.Params, path string) error {
	return onnx.Save(path, params, graph.Type{DType: graph.Float32, Shape: []int{1, 8, 8}}, model.Apply)
}

// onnx exports the model and runs it in a runtime.
func (s *story) onnx(ctx context.Context) error {
	s.Heading("ONNX")
	s.Text(fmt.Sprintf("The exported file has a dynamic batch axis, the parameters under their names, and operators of opset %d.", onnx.Opset))
	s.Source(elsewhere, "exportONNX")
	path := filepath.Join(s.out, "digits.onnx")
	if err := exportONNX(s.params, path); err != nil {
		return err
	}
	table := notebook.Table{Title: "Primitives and the operators that stand for them", Header: []string{"Harpe", "ONNX"}}
	for _, row := range onnx.Table() {
		table.Rows = append(table.Rows, row[:])
	}
	s.Table(table)
	refused := onnx.Save(filepath.Join(s.out, "refused.onnx"), s.params, graph.Type{DType: graph.Float32, Shape: []int{4}},
		func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Lgamma(x) })
	s.Check("an op that ONNX lacks is refused by name", refused != nil && strings.Contains(refused.Error(), "lgamma"), fmt.Sprint(refused))
	return s.askRuntime(ctx, path)
}

// askRuntime runs the file in onnxruntime-web under Node.
func (s *story) askRuntime(ctx context.Context, path string) error {
	root, err := exec.CommandContext(ctx, "npm", "root", "-g").Output()
	library := filepath.Join(strings.TrimSpace(string(root)), "onnxruntime-web")
	if _, stat := os.Stat(library); err != nil || stat != nil {
		s.Text("No ONNX runtime is installed here (`npm install -g onnxruntime-web@1.30.0`), so the file was not run.")
		return nil
	}
	in, err := json.Marshal(map[string]any{"library": library, "model": path, "shape": s.images.Shape, "data": s.images.Float32s()})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "node", "--input-type=module", "-e", nodeProgram)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &said
	out, err := cmd.Output()
	if err != nil {
		return errors.Errorf("node: %v: %.1000s", err, said.Bytes())
	}
	var logits []float32
	if err := json.Unmarshal(out, &logits); err != nil {
		return errors.Wrap(err, "node")
	}
	s.agree("ONNX Runtime", graph.ArrayOf(logits, len(logits)))
	return nil
}
