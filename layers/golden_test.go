package layers

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// golden is one case of testdata/torch_reference.json, which PyTorch computed in float64.
type golden struct {
	Name         string
	Attrs        json.RawMessage
	Inputs       map[string]values
	Output       values
	Cotangent    values
	VJP          map[string]values
	Tangents     map[string]values
	JVP          values
	ByDifference bool `json:"jvp_by_difference"`
}

type values struct {
	Shape []int
	Kind  string
	Data  []float64
}

func (v values) array(float graph.DType) *graph.Array {
	if v.Kind == "int" {
		float = graph.Int
	}
	a := graph.NewArray(float, v.Shape...)
	for i, x := range v.Data {
		a.Set(i, x)
	}
	return a
}

func readGolden(t *testing.T, into any) {
	t.Helper()
	file, err := os.ReadFile("testdata/torch_reference.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, into); err != nil {
		t.Fatal(err)
	}
}

// both runs a test in float64 and in float32 with the tolerance of each.
func both(t *testing.T, f func(t *testing.T, dtype graph.DType, tolerance float64)) {
	t.Run("float64", func(t *testing.T) { f(t, graph.Float64, 1e-9) })
	t.Run("float32", func(t *testing.T) { f(t, graph.Float32, 1e-4) })
}

// check compares the value of a case, its products with the cotangent and its derivative along the tangents. Build
// gets an input node for each input that is not named in params, which gives the parameter's name instead.
func (c golden) check(t *testing.T, dtype graph.DType, tolerance float64, params map[string]string, build func(s *graph.Scope, in map[string]*graph.Node) *graph.Node) {
	t.Helper()
	store := &graph.Params{DType: dtype}
	in := map[string]*graph.Node{}
	var y, jvp, cotangent *graph.Node
	var names []string
	var vjp, tangents []*graph.Node
	g, err := graph.Build(store, func(s *graph.Scope) {
		for name, v := range c.Inputs {
			if params[name] == "" {
				in[name] = s.Input(name, v.array(dtype).DType, v.Shape...)
			}
		}
		y = build(s, in)
		var x []*graph.Node
		for name := range c.VJP {
			n := in[name]
			if n == nil {
				n = s.Graph().ParamNode(params[name])
			}
			if n == nil {
				t.Fatalf("%s: no parameter %q", c.Name, params[name])
			}
			names, x = append(names, name), append(x, n)
			tangents = append(tangents, s.Input("tangent/"+name, dtype, graph.ShapeOf(n)...))
		}
		cotangent = s.Input("cotangent", dtype, graph.ShapeOf(y)...)
		vjp = graph.VJP([]*graph.Node{y}, []*graph.Node{cotangent}, x)
		jvp = graph.JVP([]*graph.Node{y}, x, tangents)[0]
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(append([]*graph.Node{y, jvp}, vjp...)...)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(a *graph.Array, v values) {
		t.Helper()
		if err := a.CopyFrom(v.array(dtype)); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	for name, v := range c.Inputs {
		if params[name] != "" {
			fill(store.Get(params[name]).Value, v)
		} else if p.Uses(in[name]) {
			fill(p.Array(in[name]), v)
		}
	}
	if p.Uses(cotangent) {
		fill(p.Array(cotangent), c.Cotangent)
	}
	for i, name := range names {
		if p.Uses(tangents[i]) {
			fill(p.Array(tangents[i]), c.Tangents[name])
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	near(t, c.Name+" value", p.Array(y), c.Output, tolerance)
	for i, name := range names {
		near(t, c.Name+" vjp of "+name, p.Array(vjp[i]), c.VJP[name], tolerance)
	}
	if c.ByDifference {
		tolerance = max(tolerance, 1e-7)
	}
	near(t, c.Name+" jvp", p.Array(jvp), c.JVP, tolerance)
}

// near compares every element, with errors relative to the largest one.
func near(t *testing.T, what string, got *graph.Array, want values, tolerance float64) {
	t.Helper()
	if got.Size() != len(want.Data) {
		t.Fatalf("%s: want shape %v, got %v", what, want.Shape, got.Shape)
	}
	scale := 0.0
	if tolerance > 1e-6 {
		scale = 1 // in float32 rounding is relative to the values in between, which are about 1
	}
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

// attrs are the attributes of the layer cases.
type attrs struct {
	Stride, Padding, Dilation, Groups, Kernel, Scale, Hidden, Layers, Heads, Axes int
	OutputPadding                                                                 int `json:"output_padding"`
	Eps, Alpha                                                                    float64
	Causal, Rectangular                                                           bool
	Indices                                                                       [][]int
}

var affine = map[string]string{"w": "layer/weight", "b": "layer/bias"}

// goldenLayer is the layer of a case and the names of its parameters.
func goldenLayer(c golden, a attrs) (Layer, map[string]string) {
	const name = "layer"
	recurrent := map[string]string{}
	for in := range c.Inputs {
		if in != "x" {
			recurrent[in] = "layer/" + in
		}
	}
	if a.Rectangular {
		switch c.Name {
		case "conv2d":
			return Conv2D{Name: name, Filters: 6, Kernel: [2]int{3, 2}, Stride: [2]int{2, 1}, Padding: [2]int{1, 2}, Dilation: [2]int{1, 2}, Groups: 2}, affine
		case "conv_transpose2d":
			return ConvTranspose2D{Name: name, Filters: 6, Kernel: [2]int{3, 2}, Stride: [2]int{2, 1}, Padding: [2]int{1, 0}, OutputPadding: [2]int{1, 0}, Dilation: [2]int{1, 2}, Groups: 2}, affine
		}
	}
	switch c.Name {
	case "linear":
		return Dense{Name: name, Units: 2}, affine
	case "conv2d":
		return Conv2D{Name: name, Filters: 4, Stride: Both(a.Stride), Padding: Both(a.Padding), Dilation: Both(a.Dilation), Groups: a.Groups}, affine
	case "conv_transpose2d":
		return ConvTranspose2D{Name: name, Filters: 2, Stride: Both(a.Stride), Padding: Both(a.Padding), OutputPadding: Both(a.OutputPadding)}, affine
	case "max_pool2d":
		return MaxPool2D{Kernel: Both(a.Kernel), Stride: Both(a.Stride), Padding: Both(a.Padding)}, nil
	case "avg_pool2d":
		return AvgPool2D{Kernel: Both(a.Kernel), Stride: Both(a.Stride), Padding: Both(a.Padding)}, nil
	case "global_avg_pool2d":
		return GlobalAvgPool2D{}, nil
	case "upsample_nearest2d":
		return Upsample{Scale: a.Scale}, nil
	case "layer_norm":
		return LayerNorm{Name: name, Axes: a.Axes, Eps: a.Eps}, affine
	case "batch_norm/train", "batch_norm/eval":
		p := map[string]string{"m": "layer/running_mean", "v": "layer/running_var"}
		for k, v := range affine {
			p[k] = v
		}
		return BatchNorm{Name: name, Eps: a.Eps}, p
	case "group_norm":
		return GroupNorm{Name: name, Groups: a.Groups, Eps: a.Eps}, affine
	case "rms_norm":
		return RMSNorm{Name: name, Eps: a.Eps}, affine
	case "embedding":
		return Embedding{Name: name, Vocabulary: 5, Units: 3}, affine
	case "recurrent/rnn_tanh":
		return RNN{Name: name, Units: a.Hidden, Layers: a.Layers}, recurrent
	case "recurrent/gru":
		return GRU{Name: name, Units: a.Hidden, Layers: a.Layers}, recurrent
	case "recurrent/lstm":
		return LSTM{Name: name, Units: a.Hidden, Layers: a.Layers}, recurrent
	case "self_attention":
		return SelfAttention{Name: name, Heads: a.Heads, Causal: a.Causal}, map[string]string{
			"qkv_weight": "layer/qkv/weight", "qkv_bias": "layer/qkv/bias",
			"out_weight": "layer/out/weight", "out_bias": "layer/out/bias"}
	}
	return map[string]Layer{
		"activation/relu":        ReLU{},
		"activation/relu6":       ReLU6{},
		"activation/leaky_relu":  LeakyReLU{Alpha: a.Alpha},
		"activation/elu":         ELU{},
		"activation/selu":        SELU{},
		"activation/gelu":        GELU{},
		"activation/gelu_tanh":   GELUTanh{},
		"activation/silu":        SiLU{},
		"activation/mish":        Mish{},
		"activation/hardswish":   HardSwish{},
		"activation/hardsigmoid": HardSigmoid{},
		"activation/tanh":        Tanh{},
		"activation/sigmoid":     Sigmoid{},
		"activation/softplus":    Softplus{},
		"activation/softmax":     Softmax{},
		"activation/log_softmax": LogSoftmax{},
	}[c.Name], nil
}

func TestGolden(t *testing.T) {
	var file struct{ Cases []golden }
	readGolden(t, &file)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var a attrs
			if err := json.Unmarshal(c.Attrs, &a); err != nil {
				t.Fatal(err)
			}
			layer, params := goldenLayer(c, a)
			if layer == nil {
				t.Fatal("no layer for this case")
			}
			both(t, func(t *testing.T, dtype graph.DType, tolerance float64) {
				if c.Name == "activation/hardsigmoid" { // PyTorch's slope there is 1/6 rounded to float32
					tolerance = max(tolerance, 1e-7)
				}
				c.check(t, dtype, tolerance, params, func(s *graph.Scope, in map[string]*graph.Node) *graph.Node {
					x := in["x"]
					if a.Indices != nil {
						x = graph.Literal(s.Const(0), indices(a.Indices))
					}
					if c.Name == "batch_norm/train" {
						s = s.ForTraining()
					}
					return layer.Apply(s, x)
				})
			})
		})
	}
}

func indices(rows [][]int) *graph.Array {
	var all []int
	for _, r := range rows {
		all = append(all, r...)
	}
	return graph.ArrayOf(all, len(rows), len(rows[0]))
}

// The running statistics of PyTorch's BatchNorm2d over four steps, and its evaluation with them.
func TestRunningStatistics(t *testing.T) {
	var file struct {
		Statistics struct {
			Momentum float64
			Steps    []struct {
				X, Y     values
				Mean     values `json:"running_mean"`
				Variance values `json:"running_var"`
			}
			Eval struct{ X, Y values }
		} `json:"running_statistics"`
	}
	readGolden(t, &file)
	want := file.Statistics
	both(t, func(t *testing.T, dtype graph.DType, tolerance float64) {
		store := &graph.Params{DType: dtype}
		layer := BatchNorm{Momentum: want.Momentum}
		program := func(shape []int, training bool) (p *graph.Program, x, y *graph.Node) {
			g, err := graph.Build(store, func(s *graph.Scope) {
				if training {
					s = s.ForTraining()
				}
				x = s.Input("x", dtype, shape...)
				y = layer.Apply(s, x)
			})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(g.Updates()); training != (n == 2) || !training != (n == 0) {
				t.Fatalf("training %v: %d updates", training, n)
			}
			if p, err = g.Compile(append(g.Updates(), y)...); err != nil {
				t.Fatal(err)
			}
			return p, x, y
		}
		p, x, y := program(want.Steps[0].X.Shape, true)
		for _, step := range want.Steps {
			if err := p.Array(x).CopyFrom(step.X.array(dtype)); err != nil {
				t.Fatal(err)
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			near(t, "output", p.Array(y), step.Y, tolerance)
			near(t, "running mean", store.Get("batchnorm1/running_mean").Value, step.Mean, tolerance)
			near(t, "running variance", store.Get("batchnorm1/running_var").Value, step.Variance, tolerance)
		}
		p, x, y = program(want.Eval.X.Shape, false)
		if err := p.Array(x).CopyFrom(want.Eval.X.array(dtype)); err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		near(t, "evaluation", p.Array(y), want.Eval.Y, tolerance)
	})
}
