package graph_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// torch_reference.json holds values and derivatives computed by PyTorch in float64, printed with 15 digits. For each
// case: vjp is the gradient of sum(output * cotangent) by each input, jvp the derivative along all tangents together.

type goldenTensor struct {
	Shape []int
	Data  []float64
}

type goldenCase struct {
	Name      string
	Attrs     map[string]any
	Inputs    map[string]goldenTensor
	Output    goldenTensor
	Cotangent goldenTensor
	VJP       map[string]goldenTensor
	Tangents  map[string]goldenTensor
	JVP       *goldenTensor
}

func (t goldenTensor) array(dtype graph.DType) *graph.Array {
	a := graph.NewArray(dtype, t.Shape...)
	for i, v := range t.Data {
		a.Set(i, v)
	}
	return a
}

// A goldenModel builds a case's output; in returns the node of an input.
type goldenModel func(c *goldenCase, in func(name string) *graph.Node) *graph.Node

func onX(f func(x *graph.Node) *graph.Node) goldenModel {
	return func(_ *goldenCase, in func(string) *graph.Node) *graph.Node { return f(in("x")) }
}

func onAB(f func(a, b *graph.Node) *graph.Node) goldenModel {
	return func(_ *goldenCase, in func(string) *graph.Node) *graph.Node { return f(in("a"), in("b")) }
}

func overAxes(f func(x *graph.Node, axes ...int) *graph.Node) goldenModel {
	return func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		var axes []int
		for _, a := range c.Attrs["axes"].([]any) {
			axes = append(axes, int(a.(float64)))
		}
		return f(in("x"), axes...)
	}
}

var goldenModels = map[string]goldenModel{
	"activation/relu": onX(graph.ReLU),
	"activation/leaky_relu": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.LeakyReLU(in("x"), c.Attrs["alpha"].(float64))
	},
	"activation/elu":         onX(func(x *graph.Node) *graph.Node { return graph.ELU(x, 1) }),
	"activation/selu":        onX(graph.SELU),
	"activation/gelu":        onX(graph.GELU),
	"activation/gelu_tanh":   onX(graph.GELUTanh),
	"activation/silu":        onX(graph.SiLU),
	"activation/hardswish":   onX(graph.HardSwish),
	"activation/hardsigmoid": onX(graph.HardSigmoid),
	"activation/softplus":    onX(graph.Softplus),
	"activation/mish":        onX(graph.Mish),
	"activation/tanh":        onX(graph.Tanh),
	"activation/sigmoid":     onX(graph.Sigmoid),
	"activation/relu6":       onX(graph.ReLU6),
	"activation/softmax":     onX(func(x *graph.Node) *graph.Node { return graph.Softmax(x, -1) }),
	"activation/log_softmax": onX(func(x *graph.Node) *graph.Node { return graph.LogSoftmax(x, -1) }),
	"activation/logsumexp":   onX(func(x *graph.Node) *graph.Node { return graph.LogSumExp(x, -1) }),
	"activation/abs":         onX(graph.Abs),
	"activation/exp":         onX(graph.Exp),
	"activation/sin":         onX(graph.Sin),
	"stable/log_softmax":     onX(func(x *graph.Node) *graph.Node { return graph.LogSoftmax(x, -1) }),
	"stable/softplus":        onX(graph.Softplus),
	"stable/sigmoid":         onX(graph.Sigmoid),
	"broadcast/add":          onAB(graph.Add),
	"broadcast/sub":          onAB(graph.Sub),
	"broadcast/mul":          onAB(graph.Mul),
	"broadcast/div":          onAB(func(a, b *graph.Node) *graph.Node { return graph.Div(a, graph.Shift(graph.Mul(b, b), 1)) }),
	"reduce/sum":             overAxes(graph.Sum),
	"reduce/mean":            overAxes(graph.Mean),
	"reduce/amax":            overAxes(graph.Max),
	"reduce/var":             overAxes(graph.Variance),
	"matmul/2d":              onAB(graph.MatMul),
	"matmul/batched":         onAB(graph.MatMul),
	"linear": func(_ *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.Add(graph.MatMul(in("x"), in("w")), in("b"))
	},
	"layer_norm": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.Add(graph.Mul(graph.Standardize(in("x"), c.Attrs["eps"].(float64), -1), in("w")), in("b"))
	},
	"rms_norm": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.Mul(graph.RMSNormalize(in("x"), c.Attrs["eps"].(float64), -1), in("w"))
	},
	"batch_norm/train": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return scaleChannels(graph.Standardize(in("x"), c.Attrs["eps"].(float64), 0, 2, 3), in("w"), in("b"))
	},
	"batch_norm/eval": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		scale := graph.Mul(in("w"), graph.Rsqrt(graph.Shift(in("v"), c.Attrs["eps"].(float64))))
		return scaleChannels(in("x"), scale, graph.Sub(in("b"), graph.Mul(in("m"), scale)))
	},
	"group_norm": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		x := in("x")
		s, groups := graph.ShapeOf(x), int(c.Attrs["groups"].(float64))
		x = graph.Standardize(graph.Reshape(x, s[0], groups, -1), c.Attrs["eps"].(float64), 2)
		return scaleChannels(graph.Reshape(x, s...), in("w"), in("b"))
	},
	"embedding": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		var idx []int
		rows := c.Attrs["indices"].([]any)
		for _, r := range rows {
			for _, k := range r.([]any) {
				idx = append(idx, int(k.(float64)))
			}
		}
		w := in("w")
		return graph.Take(w, graph.Literal(w, graph.ArrayOf(idx, len(rows), len(idx)/len(rows))), 0)
	},
	"attention": func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.Attention(in("q"), in("k"), in("v"), c.Attrs["causal"].(bool))
	},
	"recurrent/rnn_tanh": recurrent(1, func(x, h []*graph.Node, state, _ *graph.Node) (*graph.Node, *graph.Node) {
		return graph.Tanh(graph.Add(x[0], h[0])), nil
	}),
	"recurrent/gru": recurrent(3, func(x, h []*graph.Node, state, _ *graph.Node) (*graph.Node, *graph.Node) {
		r := graph.Sigmoid(graph.Add(x[0], h[0]))
		z := graph.Sigmoid(graph.Add(x[1], h[1]))
		n := graph.Tanh(graph.Add(x[2], graph.Mul(r, h[2])))
		return graph.Add(graph.Mul(graph.OneMinus(z), n), graph.Mul(z, state)), nil
	}),
	"recurrent/lstm": recurrent(4, func(x, h []*graph.Node, _, cell *graph.Node) (*graph.Node, *graph.Node) {
		i := graph.Sigmoid(graph.Add(x[0], h[0]))
		f := graph.Sigmoid(graph.Add(x[1], h[1]))
		g := graph.Tanh(graph.Add(x[2], h[2]))
		o := graph.Sigmoid(graph.Add(x[3], h[3]))
		cell = graph.Add(graph.Mul(f, cell), graph.Mul(i, g))
		return graph.Mul(o, graph.Tanh(cell)), cell
	}),
	"second_order/gradient_norm": func(_ *goldenCase, in func(string) *graph.Node) *graph.Node {
		y := graph.Sum(graph.MatMul(graph.Tanh(graph.MatMul(in("x"), in("w1"))), in("w2")))
		return graph.Sum(graph.Square(graph.Grad(y, in("x"))[0]))
	},
}

// goldenElsewhere lists the cases that other tests run.
var goldenElsewhere = []string{
	"conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "global_avg_pool2d", "upsample_nearest2d", // conv_test.go, pool_test.go
	"loss/", // package objectives
}

// scaleChannels is x·w + b for images x [n, c, h, w] and one number of w and b a channel.
func scaleChannels(x, w, b *graph.Node) *graph.Node {
	c := graph.ShapeOf(w)[0]
	return graph.Add(graph.Mul(x, graph.Reshape(w, c, 1, 1)), graph.Reshape(b, c, 1, 1))
}

// recurrent runs a cell with PyTorch's packed weights over [batch, time, feature]: x and h are the input's and the
// state's share of each gate.
func recurrent(gates int, cell func(x, h []*graph.Node, state, memory *graph.Node) (*graph.Node, *graph.Node)) goldenModel {
	return func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		x, hidden := in("x"), int(c.Attrs["hidden"].(float64))
		s := graph.ShapeOf(x)
		share := func(x *graph.Node, kind string) []*graph.Node {
			y := graph.Add(graph.MatMulT(x, in("weight_"+kind+"_l0"), false, true), in("bias_"+kind+"_l0"))
			parts := make([]*graph.Node, gates)
			for i := range parts {
				parts[i] = graph.Slice(y, 1, i*hidden, (i+1)*hidden, 1)
			}
			return parts
		}
		zero := graph.BroadcastTo(graph.Const(x, 0), s[0], hidden)
		state, memory := zero, zero
		var steps []*graph.Node
		for i := range s[1] {
			at := graph.Reshape(graph.Slice(x, 1, i, i+1, 1), s[0], s[2])
			state, memory = cell(share(at, "ih"), share(state, "hh"), state, memory)
			steps = append(steps, state)
		}
		return graph.Stack(1, steps...)
	}
}

func TestGolden(t *testing.T) {
	file, err := os.ReadFile("testdata/torch_reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var reference struct{ Cases []*goldenCase }
	if err := json.Unmarshal(file, &reference); err != nil {
		t.Fatal(err)
	}
	run := map[string]bool{}
	for i, c := range reference.Cases {
		model := goldenModels[c.Name]
		if model == nil {
			if !slices.ContainsFunc(goldenElsewhere, func(p string) bool { return strings.HasPrefix(c.Name, p) }) {
				t.Errorf("case %d, %s: nobody runs it", i, c.Name)
			}
			continue
		}
		run[c.Name] = true
		for _, dtype := range []graph.DType{graph.Float64, graph.Float32} {
			t.Run(fmt.Sprintf("%d %s %v", i, c.Name, dtype), func(t *testing.T) { c.run(t, model, dtype) })
		}
	}
	for name := range goldenModels {
		if !run[name] {
			t.Errorf("%s is not in the reference", name)
		}
	}
}

func (c *goldenCase) run(t *testing.T, model goldenModel, dtype graph.DType) {
	names := slices.Sorted(maps.Keys(c.Inputs))
	vars := slices.Sorted(maps.Keys(c.VJP)) // running statistics are not differentiated
	// The second-order case has no forward direction of its own; for a scalar it follows from the gradient.
	if c.JVP == nil {
		c.Tangents, c.JVP = map[string]goldenTensor{}, &goldenTensor{Data: []float64{0}}
		for _, name := range vars {
			x := c.Inputs[name]
			c.Tangents[name] = x
			for i, v := range x.Data {
				c.JVP.Data[0] += v * c.VJP[name].Data[i]
			}
		}
	}
	var x, dx, reverse []*graph.Node
	nodes := map[string]*graph.Node{}
	var y, dy, forward *graph.Node
	value := map[*graph.Node]*graph.Array{}
	g, err := graph.Build(&graph.Params{DType: dtype}, func(s *graph.Scope) {
		input := func(name string, v goldenTensor) *graph.Node {
			n := s.Input(name, dtype, v.Shape...)
			value[n] = v.array(dtype)
			return n
		}
		for _, name := range names {
			nodes[name] = input(name, c.Inputs[name])
		}
		for _, name := range vars {
			x = append(x, nodes[name])
			dx = append(dx, input("tangent "+name, c.Tangents[name]))
		}
		y = model(c, func(name string) *graph.Node { return nodes[name] })
		dy = input("cotangent", c.Cotangent)
		reverse = graph.VJP([]*graph.Node{y}, []*graph.Node{dy}, x)
		forward = graph.JVP([]*graph.Node{y}, x, dx)[0]
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(append([]*graph.Node{y, forward}, reverse...)...)
	if err != nil {
		t.Fatal(err)
	}
	for n, v := range value {
		if p.Uses(n) {
			p.Array(n).CopyFrom(v)
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	nearGolden(t, "output", p.Array(y), c.Output)
	if c.Name == "activation/hardsigmoid" && dtype == graph.Float64 {
		c.correctSixth()
	}
	nearGolden(t, "jvp", p.Array(forward), *c.JVP)
	for i, name := range vars {
		nearGolden(t, "vjp "+name, p.Array(reverse[i]), c.VJP[name])
	}
}

// correctSixth undoes what PyTorch 1.13 does in the derivative of hardsigmoid, also in float64: it multiplies by 1/6
// rounded to float32.
func (c *goldenCase) correctSixth() {
	correction := 1.0 / 6 / float64(float32(1.0/6))
	for _, d := range []goldenTensor{*c.JVP, c.VJP["x"]} {
		for i := range d.Data {
			d.Data[i] *= correction
		}
	}
}

// nearGolden compares with 1e-9 relative in float64 and 1e-4 in float32; sums that nearly cancel are held against the
// largest element.
func nearGolden(t *testing.T, what string, got *graph.Array, want goldenTensor) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) && got.Size()+len(want.Shape) > 1 {
		t.Errorf("%s: want shape %v, got %v", what, want.Shape, got.Shape)
		return
	}
	relative, floor := 1e-9, 1e-12
	if got.DType == graph.Float32 {
		relative, floor = 1e-4, 1e-6
	}
	var largest float64
	for _, v := range want.Data {
		largest = max(largest, math.Abs(v))
	}
	for i, v := range want.Data {
		if e := math.Abs(got.At(i) - v); !(e <= relative*math.Abs(v)+floor*largest) {
			t.Errorf("%s, element %d: want %.15g, got %.15g", what, i, v, got.At(i))
		}
	}
}
