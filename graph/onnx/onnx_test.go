package onnx_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
	"github.com/harpe-ml/harpe/graph/onnx"
	"github.com/harpe-ml/harpe/graph/onnx/internal/onnxpb"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
)

type model = func(s *graph.Scope, x *graph.Node) *graph.Node

type testCase struct {
	name  string
	input graph.Type
	model model
	tol   float64 // of the results, relative to the largest; 0 means 1e-5
}

func float32s(shape ...int) graph.Type { return graph.Type{DType: graph.Float32, Shape: shape} }
func ints(shape ...int) graph.Type     { return graph.Type{DType: graph.Int, Shape: shape} }

var wholeModels = []testCase{
	{name: "MLP", input: float32s(20), model: models.MLP{Hidden: []int{32, 16}, Classes: 10}.Apply},
	{name: "CNN", input: float32s(1, 28, 28), model: models.CNN{Channels: []int{8, 16}, Hidden: []int{32}, Classes: 10}.Apply},
	{name: "ResNet18", input: float32s(3, 32, 32), model: models.ResNet18{Width: 16, Classes: 10}.Apply},
	{name: "CharLM", input: ints(12), model: models.CharLM{Vocabulary: 11, Units: 16, Depth: 2, Heads: 4, Context: 20}.Apply},
	{name: "LSTM", input: float32s(5, 3), model: layers.Sequential{layers.LSTM{Units: 4}, layers.LastStep{}, layers.Dense{Units: 2}}.Apply},
	{name: "GRU", input: float32s(5, 3), model: layers.Sequential{layers.GRU{Units: 4, Layers: 2}, layers.LastStep{}}.Apply},
	{name: "MLP in float64", input: graph.Type{DType: graph.Float64, Shape: []int{6}}, model: models.MLP{Hidden: []int{5}, Classes: 3}.Apply, tol: 1e-12},
	{name: "norms", input: float32s(4, 6, 6), model: layers.Sequential{
		layers.Conv2D{Filters: 8, Stride: layers.Both(2), Padding: [2]int{1, 2}, Dilation: [2]int{1, 2}, Groups: 2, Activation: layers.GELU{}},
		layers.GroupNorm{Groups: 4}, layers.Upsample{}, layers.AvgPool2D{Kernel: layers.Both(3), Stride: layers.Both(2), Padding: layers.Both(1)},
		layers.ConvTranspose2D{Filters: 3, Stride: layers.Both(2), Padding: layers.Both(1), OutputPadding: [2]int{0, 1}},
		layers.AvgPool2D{ExcludePadding: true, Padding: layers.Both(1)}, layers.GlobalMaxPool2D{},
		layers.LayerNorm{}, layers.BatchNorm{}, layers.RMSNorm{}, layers.Dropout{P: 0.5}, layers.Softmax{},
	}.Apply},
}

// one is a model of one op.
func one(f func(x *graph.Node) *graph.Node) model {
	return func(_ *graph.Scope, x *graph.Node) *graph.Node { return f(x) }
}

// positive makes numbers above 1/2 of any.
func positive(x *graph.Node) *graph.Node { return graph.Shift(graph.Abs(x), 0.5) }

// index makes whole numbers 0 to n-1.
func index(x *graph.Node, n float64) *graph.Node {
	return graph.Cast(graph.Clip(graph.Floor(graph.Abs(graph.Scale(x, 2))), 0, n-1), graph.Int)
}

// perOp has a model for each primitive of the table, called as the primitive is.
func perOp() (cases []testCase) {
	add := func(name string, input graph.Type, f func(x *graph.Node) *graph.Node) {
		cases = append(cases, testCase{name: name, input: input, model: one(f)})
	}
	v, image := float32s(3, 4), float32s(2, 6, 6)
	for name, f := range map[string]func(*graph.Node) *graph.Node{
		"neg": graph.Neg, "exp": graph.Exp, "sin": graph.Sin, "cos": graph.Cos, "tan": graph.Tan, "atan": graph.Atan,
		"sinh": graph.Sinh, "cosh": graph.Cosh, "tanh": graph.Tanh, "asinh": graph.Asinh, "sigmoid": graph.Sigmoid,
		"softplus": graph.Softplus, "erf": graph.Erf, "abs": graph.Abs, "sign": graph.Sign, "floor": graph.Floor,
		"relu": graph.ReLU, "square": graph.Square, "detach": graph.Detach,
	} {
		add(name, v, f)
	}
	for name, f := range map[string]func(*graph.Node) *graph.Node{
		"log": graph.Log, "sqrt": graph.Sqrt, "reciprocal": graph.Reciprocal, "rsqrt": graph.Rsqrt,
	} {
		add(name, v, func(x *graph.Node) *graph.Node { return f(positive(x)) })
	}
	for name, f := range map[string]func(*graph.Node) *graph.Node{"asin": graph.Asin, "acos": graph.Acos, "atanh": graph.Atanh} {
		add(name, v, func(x *graph.Node) *graph.Node { return f(graph.Scale(graph.Tanh(x), 0.9)) })
	}
	add("acosh", v, func(x *graph.Node) *graph.Node { return graph.Acosh(graph.Shift(positive(x), 1)) })
	add("round", v, func(x *graph.Node) *graph.Node { return graph.Round(graph.Scale(graph.Floor(graph.Scale(x, 4)), 0.5)) })
	for name, f := range map[string]func(a, b *graph.Node) *graph.Node{
		"add": graph.Add, "sub": graph.Sub, "mul": graph.Mul, "maximum": graph.Maximum, "minimum": graph.Minimum,
		"equal": graph.Equal, "not_equal": graph.NotEqual, "less": graph.Less, "less_equal": graph.LessEqual,
		"greater": graph.Greater, "greater_equal": graph.GreaterEqual,
	} {
		add(name, v, func(x *graph.Node) *graph.Node {
			whole := graph.Round(x)
			return f(whole, graph.Slice(whole, 2, 1, 2, 1))
		})
	}
	add("div", v, func(x *graph.Node) *graph.Node { return graph.Div(x, positive(graph.Sin(x))) })
	add("pow", v, func(x *graph.Node) *graph.Node { return graph.Pow(positive(x), x) })
	add("where", v, func(x *graph.Node) *graph.Node { return graph.Where(graph.Round(x), x, graph.Const(x, math.Inf(-1))) })
	add("cast", v, func(x *graph.Node) *graph.Node {
		return graph.Add(graph.Cast(graph.Cast(graph.Scale(x, 3), graph.Int), graph.Float32), x)
	})
	for name, f := range map[string]func(*graph.Node, ...int) *graph.Node{
		"sum": graph.Sum, "max": graph.Max, "prod": graph.Prod, "logsumexp": graph.LogSumExp,
	} {
		add(name, v, func(x *graph.Node) *graph.Node {
			return graph.Concat(1, f(x, 2), f(x, 1), graph.Reshape(f(x, 1, 2), -1, 1))
		})
	}
	add("softmax", v, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) })
	add("log_softmax", v, func(x *graph.Node) *graph.Node { return graph.LogSoftmax(x, -1) })
	add("argmax", v, func(x *graph.Node) *graph.Node { return graph.ArgMax(x, 1) })
	add("reshape", v, func(x *graph.Node) *graph.Node { return graph.Reshape(x, -1, 2, 3) })
	add("broadcast", v, func(x *graph.Node) *graph.Node { // the batch's axis is twice in the result, and once made of 1
		n := graph.ShapeOf(x)[0]
		return graph.Add(graph.BroadcastTo(graph.Reshape(x, 1, n, 12), n, n, 12), graph.BroadcastTo(graph.Const(x, 2), n, 12))
	})
	add("transpose", v, func(x *graph.Node) *graph.Node { return graph.Transpose(x, 0, 2, 1) })
	add("slice", v, func(x *graph.Node) *graph.Node { return graph.Slice(x, 2, 1, 4, 2) })
	add("pad", v, func(x *graph.Node) *graph.Node { return graph.Pad(x, 1, 2, 1, -1.5) })
	add("concat", v, func(x *graph.Node) *graph.Node { return graph.Concat(2, x, graph.Sin(x)) })
	add("take", v, func(x *graph.Node) *graph.Node {
		return graph.Take(graph.Literal(x, graph.ArrayOf([]float32{1, 2, 4, 8, 16, 32}, 3, 2)), index(x, 3), 0)
	})
	add("take_along", v, func(x *graph.Node) *graph.Node { return graph.TakeAlong(x, index(x, 4), 2) })
	add("matmul", v, func(x *graph.Node) *graph.Node {
		return graph.Add(graph.MatMulT(x, graph.Sin(x), false, true), graph.MatMulT(graph.Transpose(x, 0, 2, 1), graph.Cos(x), true, true))
	})
	weight := func(x *graph.Node, shape ...int) *graph.Node {
		return graph.Literal(x, float32Of(gradcheck.Normal(9, shape...)))
	}
	add("conv2d", image, func(x *graph.Node) *graph.Node {
		return graph.Conv2D(x, weight(x, 4, 1, 3, 2), graph.ConvOptions{Stride: [2]int{2, 1}, Padding: [2]int{1, 0}, Groups: 2})
	})
	add("conv2d_input_grad", image, func(x *graph.Node) *graph.Node {
		return graph.ConvTranspose2D(x, weight(x, 2, 3, 3, 2), graph.ConvTransposeOptions{Stride: [2]int{2, 3}, Padding: [2]int{1, 0},
			OutputPadding: [2]int{1, 0}, Dilation: [2]int{2, 1}})
	})
	add("max_pool2d", image, func(x *graph.Node) *graph.Node {
		return graph.MaxPool2D(x, graph.PoolOptions{Kernel: [2]int{3, 2}, Stride: [2]int{1, 2}, Padding: [2]int{1, 1}, Dilation: [2]int{1, 2}})
	})
	add("avg_pool2d", image, func(x *graph.Node) *graph.Node {
		return graph.Concat(1, graph.AdaptiveAvgPool2D(x, 3, 2), graph.AvgPool2D(x, graph.PoolOptions{Kernel: [2]int{2, 3}}))
	})
	add("avg_unpool2d", image, func(x *graph.Node) *graph.Node { return graph.UpsampleNearest2D(x, 3) })
	return cases
}

// float32Of turns numbers of the checker into Float32.
func float32Of(a *graph.Array) *graph.Array {
	b := graph.NewArray(graph.Float32, a.Shape...)
	for i := range a.Size() {
		b.Set(i, a.At(i))
	}
	return b
}

// store is a store in which running statistics and scales are not what they begin as.
func store(c testCase) *graph.Params {
	params := &graph.Params{Seed: 3}
	if c.input.DType == graph.Float64 {
		params.DType = graph.Float64
	}
	graph.Build(params, func(s *graph.Scope) {
		c.model(s, s.Input("x", c.input.DType, slices.Concat([]int{1}, c.input.Shape)...))
	})
	r := graph.Rand(5, "statistics", 0)
	for q := range params.All() {
		if len(q.Value.Shape) == 1 {
			for i := range q.Value.Size() {
				q.Value.Set(i, q.Value.At(i)+0.4*r.Float64())
			}
		}
	}
	return params
}

func batchOf(c testCase, n int) *graph.Array {
	a := graph.NewArray(c.input.DType, slices.Concat([]int{n}, c.input.Shape)...)
	r := graph.Rand(7, "input", uint64(n))
	for i := range a.Size() {
		if a.DType == graph.Int {
			a.Set(i, float64(r.IntN(10)))
		} else {
			a.Set(i, r.NormFloat64())
		}
	}
	return a
}

func compute(t *testing.T, c testCase, params *graph.Params, in *graph.Array) *graph.Array {
	t.Helper()
	var x, y *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", in.DType, in.Shape...)
		y = c.model(s, x)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	if p.Uses(x) {
		p.Array(x).CopyFrom(in)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return p.Array(y)
}

// The files run in a real ONNX runtime, for batches of 1 and 7.
func TestAgainstRuntime(t *testing.T) {
	library := runtimeFolder(t)
	cases := slices.Concat(wholeModels, perOp())
	folder := t.TempDir()
	var jobs []job
	for i, c := range cases {
		path := filepath.Join(folder, fmt.Sprint(i))
		if err := onnx.Save(path, store(c), c.input, c.model); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		jobs = append(jobs, job{path, []run{runOf(batchOf(c, 1)), runOf(batchOf(c, 7))}})
	}
	results := execute(t, library, jobs)
	var covered []string
	for i, c := range cases {
		covered = append(covered, c.name)
		if results[i].Error != "" {
			t.Errorf("%s: %s", c.name, results[i].Error)
			continue
		}
		for j, n := range []int{1, 7} {
			compare(t, c, compute(t, c, store(c), batchOf(c, n)), results[i].Runs[j])
		}
	}
	for _, r := range onnx.Table() {
		if !slices.Contains(covered, r[0]) {
			t.Errorf("no test for primitive %s", r[0])
		}
	}
}

func compare(t *testing.T, c testCase, want *graph.Array, got result) {
	if !slices.Equal(got.Shape, want.Shape) {
		t.Errorf("%s: want shape %v, got %v", c.name, want.Shape, got.Shape)
		return
	}
	largest, tol := 1e-3, c.tol
	for j := range want.Size() {
		if v := math.Abs(want.At(j)); !math.IsInf(v, 0) {
			largest = max(largest, v)
		}
	}
	if tol == 0 {
		tol = 1e-5
	}
	worst := 0.0
	for j, v := range got.Data {
		w := want.At(j)
		if float64(v) == w {
			continue
		}
		if worst = max(worst, math.Abs(float64(v)-w)/largest); !(worst <= tol) {
			t.Errorf("%s: batch of %d, element %d: want %v, got %v", c.name, want.Shape[0], j, w, v)
			return
		}
	}
	t.Logf("%s, batch of %d: largest difference %.1e of the largest result", c.name, want.Shape[0], worst)
}

// number reads what JSON has no number for from a string: "-Infinity".
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	*n = number(v)
	return err
}

type (
	run struct {
		Type  string    `json:"type"`
		Shape []int     `json:"shape"`
		Data  []float64 `json:"data"`
	}
	job struct {
		Model string `json:"model"`
		Runs  []run  `json:"runs"`
	}
	result struct {
		Shape []int
		Data  []number
	}
	report struct {
		Error string
		Runs  []result
	}
)

func runOf(a *graph.Array) run {
	r := run{Type: strings.Replace(a.DType.String(), "int", "int64", 1), Shape: a.Shape}
	for i := range a.Size() {
		r.Data = append(r.Data, a.At(i))
	}
	return r
}

// runtimeFolder finds onnxruntime-web among npm's global packages.
func runtimeFolder(t *testing.T) string {
	const install = "; apt-get install nodejs npm && npm install -g onnxruntime-web@1.30.0"
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("no node" + install)
	}
	root, err := exec.Command("npm", "root", "-g").Output()
	folder := filepath.Join(strings.TrimSpace(string(root)), "onnxruntime-web")
	if _, stat := os.Stat(folder); err != nil || stat != nil {
		t.Skip("no onnxruntime-web" + install)
	}
	return folder
}

// execute runs all files in one process.
func execute(t *testing.T, library string, jobs []job) (reports []report) {
	t.Helper()
	in, err := json.Marshal(map[string]any{"library": library, "jobs": jobs})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "testdata/run.mjs")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%.2000s", err, stderr.Bytes())
	}
	if err := json.Unmarshal(out, &reports); err != nil || len(reports) != len(jobs) {
		t.Fatalf("want %d results, got %d, %v", len(jobs), len(reports), err)
	}
	return reports
}

func written(t *testing.T, c testCase, params *graph.Params) *onnxpb.ModelProto {
	t.Helper()
	var b bytes.Buffer
	if err := onnx.Write(&b, params, c.input, c.model); err != nil {
		t.Fatal(err)
	}
	var m onnxpb.ModelProto
	if err := proto.Unmarshal(b.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

// What every file has to keep: names once, values before they are read, no value for nothing, initialisers with their
// bytes and the parameters' values, batch dynamic.
func TestStructure(t *testing.T) {
	for _, c := range slices.Concat(wholeModels, perOp()) {
		params := store(c)
		m := written(t, c, params)
		if len(m.OpsetImport) != 1 || m.OpsetImport[0].Domain != "" || m.OpsetImport[0].Version != onnx.Opset {
			t.Errorf("%s: operator sets %v", c.name, m.OpsetImport)
		}
		g := m.Graph
		known, read, nodes := map[string]bool{"": true}, map[string]bool{}, map[string]bool{}
		define := func(name string) {
			if name == "" || known[name] {
				t.Errorf("%s: value %q a second time", c.name, name)
			}
			known[name] = true
		}
		for _, in := range g.Input {
			define(in.Name)
		}
		for _, q := range g.Initializer {
			define(q.Name)
			size := map[int32]int64{1: 4, 11: 8, 7: 8}[q.DataType]
			for _, d := range q.Dims {
				size *= d
			}
			if int64(len(q.RawData)) != size || size == 0 {
				t.Errorf("%s: %s: want %d bytes, got %d", c.name, q.Name, size, len(q.RawData))
			}
		}
		for _, n := range g.Node {
			for _, in := range n.Input {
				read[in] = true
				if !known[in] {
					t.Errorf("%s: %s reads %s before it is there", c.name, n.Name, in)
				}
			}
			for _, out := range n.Output {
				define(out)
			}
			if n.Name == "" || nodes[n.Name] {
				t.Errorf("%s: node name %q a second time", c.name, n.Name)
			}
			nodes[n.Name] = true
		}
		for _, q := range g.Initializer {
			if !read[q.Name] {
				t.Errorf("%s: nothing reads %s", c.name, q.Name)
			}
		}
		if len(g.Output) != 1 || !known[g.Output[0].Name] || g.Output[0].Name != "output" {
			t.Errorf("%s: outputs %v", c.name, g.Output)
		}
		in := g.Input[0].Type.GetTensorType().Shape.Dim
		if len(g.Input) != 1 || g.Input[0].Name != "input" || in[0].GetDimParam() != "batch" || len(in) != 1+len(c.input.Shape) {
			t.Errorf("%s: inputs %v", c.name, g.Input)
		}
		for i, d := range c.input.Shape {
			if in[i+1].GetDimValue() != int64(d) {
				t.Errorf("%s: input axis %d is %v", c.name, i+1, in[i+1])
			}
		}
		for q := range params.All() {
			i := slices.IndexFunc(g.Initializer, func(t *onnxpb.TensorProto) bool { return t.Name == q.Name })
			if i < 0 {
				t.Errorf("%s: no initialiser %s", c.name, q.Name)
			} else if want, got := math.Float32bits(float32(q.Value.At(0))), g.Initializer[i].RawData; q.Value.DType == graph.Float32 &&
				!bytes.HasPrefix(got, []byte{byte(want), byte(want >> 8), byte(want >> 16), byte(want >> 24)}) {
				t.Errorf("%s: %s begins with % x, not %v", c.name, q.Name, got[:4], q.Value.At(0))
			}
		}
	}
}

// Layers become the operators that other tools look for, in the number in which the model has them.
func TestOperators(t *testing.T) {
	count := func(name string) string {
		i := slices.IndexFunc(wholeModels, func(c testCase) bool { return c.name == name })
		m := written(t, wholeModels[i], store(wholeModels[i]))
		ops := map[string]int{}
		for _, n := range m.Graph.Node {
			ops[n.OpType]++
		}
		return fmt.Sprint(ops)
	}
	for name, want := range map[string]string{
		"MLP":      "map[Gemm:3 Relu:2]",
		"CNN":      "map[Conv:2 Gemm:2 MaxPool:2 Relu:3 Reshape:1]",
		"ResNet18": "map[Add:8 BatchNormalization:20 Conv:20 Gemm:1 ReduceMean:1 Relu:17]",
	} {
		if got := count(name); got != want {
			t.Errorf("%s: want %s, got %s", name, want, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		model model
		words []string
	}{
		{"primitive", one(func(x *graph.Node) *graph.Node { return graph.Lgamma(x) }), []string{"lgamma"}},
		{"random", func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Add(x, s.Normal("noise", graph.ShapeOf(x)...))
		}, []string{"draws"}},
		{"training", func(s *graph.Scope, x *graph.Node) *graph.Node { return layers.BatchNorm{}.Apply(s.ForTraining(), x) }, []string{"batch's size"}},
		{"mean over the batch", one(func(x *graph.Node) *graph.Node { return graph.Mean(x) }), []string{"const", "batch's size"}},
		{"sizes", one(func(x *graph.Node) *graph.Node { return graph.Pad(x, 0, 1, 0, 0) }), []string{"multiple of the batch"}},
		{"attributes", one(func(x *graph.Node) *graph.Node { return graph.Slice(x, 0, 0, graph.ShapeOf(x)[0], 1) }), []string{"slice", "attributes"}},
		{"depth", one(func(x *graph.Node) *graph.Node {
			for range graph.ShapeOf(x)[0] {
				x = graph.Sin(x)
			}
			return x
		}), []string{"same computation"}},
		{"mistake", one(func(x *graph.Node) *graph.Node { return graph.MatMul(x, x) }), []string{"matmul"}},
	} {
		var b bytes.Buffer
		err := onnx.Write(&b, &graph.Params{}, float32s(4), c.model)
		var e *graph.Error
		if !errors.As(err, &e) || b.Len() > 0 {
			t.Errorf("%s: want a *graph.Error and nothing written, got %v and %d bytes", c.name, err, b.Len())
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: want %q in %v", c.name, w, err)
			}
		}
	}
	if err := onnx.Write(&bytes.Buffer{}, nil, float32s(4), one(graph.Sin)); err == nil {
		t.Error("want an error without a store")
	}
}
