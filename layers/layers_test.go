package layers

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// Every layer in both modes of differentiation and to second order, by its input and by its parameters.
func TestDerivatives(t *testing.T) {
	normal := func(shape ...int) *graph.Array { return gradcheck.Normal(3, shape...) }
	kinks := func(shape ...int) *graph.Array { return gradcheck.Separated(3, shape...) }
	for _, c := range []struct {
		name   string
		layer  Layer
		inputs []*graph.Array
	}{
		{"Dense", Dense{Units: 3}, []*graph.Array{normal(4, 2), normal(2, 3, 5), normal(1, 1), normal(2)}},
		{"Dense without bias", Dense{Units: 1, NoBias: true, Activation: Tanh{}}, []*graph.Array{normal(3, 2)}},
		{"Embedding", Embedding{Vocabulary: 4, Units: 3}, []*graph.Array{gradcheck.Ints(1, 4, 2, 5), gradcheck.Ints(1, 4, 3)}},
		{"Positions", Positions{Length: 4}, []*graph.Array{normal(2, 4, 3), normal(1, 2, 3)}},
		{"Conv2D", Conv2D{Filters: 2, Padding: Both(1)}, []*graph.Array{normal(2, 3, 4, 5), normal(1, 1, 1, 2)}},
		{"Conv2D in groups", Conv2D{Filters: 4, Kernel: [2]int{2, 1}, Stride: Both(2), Groups: 2, NoBias: true}, []*graph.Array{normal(2, 2, 5, 4)}},
		{"ConvTranspose2D", ConvTranspose2D{Filters: 2, Stride: Both(2), OutputPadding: Both(1)}, []*graph.Array{normal(2, 3, 2, 3)}},
		{"MaxPool2D", MaxPool2D{}, []*graph.Array{kinks(2, 2, 4, 5)}},
		{"AvgPool2D", AvgPool2D{Kernel: Both(3), Stride: Both(2), Padding: Both(1), ExcludePadding: true}, []*graph.Array{normal(2, 2, 4, 5)}},
		{"GlobalAvgPool2D", GlobalAvgPool2D{}, []*graph.Array{normal(2, 3, 3, 2)}},
		{"GlobalMaxPool2D", GlobalMaxPool2D{}, []*graph.Array{kinks(2, 3, 3, 2)}},
		{"Upsample", Upsample{}, []*graph.Array{normal(2, 2, 2, 3)}},
		{"Flatten", Flatten{}, []*graph.Array{normal(2, 3, 4), normal(3)}},
		{"Reshape", Reshape{Shape: []int{3, -1}}, []*graph.Array{normal(2, 6), normal(1, 3, 4)}},
		{"LastStep", LastStep{}, []*graph.Array{normal(2, 3, 4), normal(2, 1)}},
		{"BatchNorm", BatchNorm{}, []*graph.Array{normal(4, 3), normal(2, 3, 2, 2)}},
		{"LayerNorm", LayerNorm{}, []*graph.Array{normal(3, 5), normal(2, 3, 4), normal(6)}},
		{"LayerNorm over two axes", LayerNorm{Axes: 2}, []*graph.Array{normal(2, 3, 4)}},
		{"RMSNorm", RMSNorm{}, []*graph.Array{normal(3, 5), normal(2, 3, 4)}},
		{"GroupNorm", GroupNorm{Groups: 2}, []*graph.Array{normal(2, 4, 2, 3), normal(3, 4)}},
		{"ClassResponses", ClassResponses{Classes: 3, Kernel: 3, Group: 2, Scale: 3}, []*graph.Array{normal(2, 2, 3, 4), normal(3, 5)}},
		{"RNN", RNN{Units: 2, Layers: 2}, []*graph.Array{normal(2, 3, 2), normal(1, 1, 1)}},
		{"GRU", GRU{Units: 2}, []*graph.Array{normal(2, 3, 2)}},
		{"LSTM", LSTM{Units: 2}, []*graph.Array{normal(2, 3, 2)}},
		{"SelfAttention", SelfAttention{Heads: 2}, []*graph.Array{normal(2, 3, 4)}},
		{"causal SelfAttention", SelfAttention{Causal: true}, []*graph.Array{normal(2, 3, 2), normal(1, 1, 1)}},
		{"Dropout", Dropout{P: 0.4}, []*graph.Array{normal(4, 5)}},
		{"Residual", Residual{Body: Dense{Units: 3, Activation: Tanh{}}}, []*graph.Array{normal(2, 3)}},
		{"Residual with a shortcut", Residual{Body: Dense{Units: 2, Activation: Tanh{}}, Shortcut: Dense{Units: 2}}, []*graph.Array{normal(2, 3)}},
		{"Sequential", Sequential{Dense{Units: 3}, Block{Tanh{}, Dense{Units: 2}}}, []*graph.Array{normal(2, 3)}},
		{"Func", Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Square(x) }), []*graph.Array{normal(2, 3)}},
		{"Activation", Activation(graph.Sin), []*graph.Array{normal(2, 3)}},
		{"ReLU", ReLU{}, []*graph.Array{kinks(3, 4)}},
		{"ReLU6", ReLU6{}, []*graph.Array{kinks(3, 4)}},
		{"LeakyReLU", LeakyReLU{}, []*graph.Array{kinks(3, 4)}},
		{"ELU", ELU{Alpha: 0.7}, []*graph.Array{kinks(3, 4)}},
		{"SELU", SELU{}, []*graph.Array{kinks(3, 4)}},
		{"GELU", GELU{}, []*graph.Array{kinks(3, 4)}},
		{"GELUTanh", GELUTanh{}, []*graph.Array{kinks(3, 4)}},
		{"SiLU", SiLU{}, []*graph.Array{kinks(3, 4)}},
		{"Mish", Mish{}, []*graph.Array{kinks(3, 4)}},
		{"HardSwish", HardSwish{}, []*graph.Array{kinks(3, 4)}},
		{"HardSigmoid", HardSigmoid{}, []*graph.Array{kinks(3, 4)}},
		{"Tanh", Tanh{}, []*graph.Array{kinks(3, 4)}},
		{"Sigmoid", Sigmoid{}, []*graph.Array{kinks(3, 4)}},
		{"Softplus", Softplus{}, []*graph.Array{kinks(3, 4)}},
		{"Softmax", Softmax{}, []*graph.Array{normal(3, 4), normal(2, 3, 2)}},
		{"LogSoftmax", LogSoftmax{Axis: 1}, []*graph.Array{normal(3, 4), normal(2, 3, 2)}},
	} {
		for _, x := range c.inputs {
			t.Run(fmt.Sprintf("%s %v", c.name, x.Shape), func(t *testing.T) {
				f := func(s *graph.Scope, x []*graph.Node) *graph.Node { return c.layer.Apply(s, x[0]) }
				gradcheck.Options{Training: true}.Check(t, f, x)
				if c.name == "BatchNorm" {
					gradcheck.Check(t, f, x)
				}
			})
		}
	}
}

// build applies a layer to an input of the given type.
func build(layer Layer, dtype graph.DType, shape ...int) (*graph.Graph, *graph.Params, *graph.Node, error) {
	store := &graph.Params{Seed: 1}
	var y *graph.Node
	g, err := graph.Build(store, func(s *graph.Scope) {
		y = layer.Apply(s.ForTraining(), s.Input("x", dtype, shape...))
	})
	return g, store, y, err
}

var convolutional = Sequential{
	Conv2D{Filters: 8, Padding: Both(1), Groups: 1},
	BatchNorm{},
	ReLU{},
	Block{
		Residual{
			Body:     Sequential{Conv2D{Filters: 4, Kernel: [2]int{3, 1}, Stride: Both(2), Padding: [2]int{1, 0}}, BatchNorm{}, Block{ReLU{}}},
			Shortcut: Conv2D{Filters: 4, Kernel: Both(1), Stride: Both(2), NoBias: true, Name: "shortcut"},
		},
		Dropout{P: 0.1},
	},
	Sequential{Flatten{}, Dense{Units: 5, Activation: ReLU{}}},
	Dense{Units: 2, Name: "head"},
}

func TestParameters(t *testing.T) {
	g, store, y, err := build(convolutional, graph.Float32, 2, 3, 6, 6)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for p := range store.All() {
		got = append(got, fmt.Sprintf("%s%v%v", p.Name, p.Value.Shape, p.State))
	}
	want := []string{
		"conv1/weight[8 3 3 3]false", "conv1/bias[8]false",
		"batchnorm1/weight[8]false", "batchnorm1/bias[8]false", "batchnorm1/running_mean[8]true", "batchnorm1/running_var[8]true",
		"block4/conv1/weight[4 8 3 1]false", "block4/conv1/bias[4]false",
		"block4/batchnorm1/weight[4]false", "block4/batchnorm1/bias[4]false", "block4/batchnorm1/running_mean[4]true", "block4/batchnorm1/running_var[4]true",
		"block4/shortcut/weight[4 8 1 1]false",
		"dense1/weight[36 5]false", "dense1/bias[5]false",
		"head/weight[5 2]false", "head/bias[2]false",
	}
	if !slices.Equal(want, got) {
		t.Errorf("want %q\ngot  %q", want, got)
	}
	if got := graph.ShapeOf(y); !slices.Equal(got, []int{2, 2}) {
		t.Errorf("want [2 2], got %v", got)
	}
	if n := len(g.Updates()); n != 4 {
		t.Errorf("want 4 state updates, got %d", n)
	}
}

func TestBlocks(t *testing.T) {
	half := Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Scale(x, 0.5) })
	for _, c := range []struct {
		name  string
		layer Layer
		want  []string
	}{
		{"one a child, of inner Sequentials too", convolutional, []string{"block1", "block2", "block3", "block4", "block5", "block6", "block7"}},
		{"Block", Block{half, Sequential{half, Block{half}}}, []string{"block1"}},
		{"Residual", Residual{Body: Sequential{half, half}, Shortcut: half}, []string{"block1"}},
		{"Func", half, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, _, y, err := build(c.layer, graph.Float32, 2, 3, 6, 6)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			in := g.Inputs()[0]
			for _, b := range g.Blocks() {
				names = append(names, b.Name)
				if b.In != in {
					t.Errorf("%s does not start where the one before ends", b.Name)
				}
				in = b.Out
			}
			if !slices.Equal(c.want, names) {
				t.Errorf("want %q\ngot  %q", c.want, names)
			}
			if c.want != nil && in != y {
				t.Error("the last block does not end the model")
			}
		})
	}
}

// A model applied again in a fresh scope shares its parameters; layers of a function have scopes of their own.
func TestSharing(t *testing.T) {
	scaled := Func("film", func(s *graph.Scope, x *graph.Node) *graph.Node {
		return graph.Mul(x, s.Param("scale", graph.Constant(3), 1))
	})
	model := Sequential{scaled, scaled}
	store := &graph.Params{}
	var x, y, z *graph.Node
	g, err := graph.Build(store, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 1)
		y = model.Apply(s, x)
		z = model.Apply(s.Root(), y)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y, z)
	if err != nil {
		t.Fatal(err)
	}
	p.Array(x).Set(0, 1)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if store.Len() != 2 || store.Get("film1/scale") == nil || store.Get("film2/scale") == nil {
		t.Errorf("want film1/scale and film2/scale, got %d parameters", store.Len())
	}
	if p.Array(y).At(0) != 9 || p.Array(z).At(0) != 81 {
		t.Errorf("want 9 and 81, got %v and %v", p.Array(y).At(0), p.Array(z).At(0))
	}
}

func TestDropout(t *testing.T) {
	const n, rate = 20000, 0.3
	run := func(seed uint64, step int, training bool) []float64 {
		t.Helper()
		var x, y *graph.Node
		g, err := graph.Build(&graph.Params{Seed: seed}, func(s *graph.Scope) {
			if training {
				s = s.ForTraining()
			}
			x = s.Input("x", graph.Float32, n)
			y = Dropout{P: rate}.Apply(s, x)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(y)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			p.Array(x).Set(i, 1)
		}
		p.SetStep(step)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		out := make([]float64, n)
		for i := range out {
			out[i] = p.Array(y).At(i)
		}
		return out
	}
	first := run(1, 0, true)
	kept, sum := 0, 0.0
	for _, v := range first {
		if v != 0 {
			kept++
			if math.Abs(v-1/(1-rate)) > 1e-6 {
				t.Fatalf("want 0 or 1/(1-P), got %v", v)
			}
		}
		sum += v
	}
	// Four standard deviations of the mean of n draws.
	if bound := 4 * math.Sqrt(rate/(1-rate)/n); math.Abs(sum/n-1) > bound {
		t.Errorf("want the expectation to stay 1 within %v, got %v", bound, sum/n)
	}
	if !slices.Equal(first, run(1, 0, true)) {
		t.Error("the same seed and step differ")
	}
	for what, other := range map[string][]float64{"step": run(1, 1, true), "seed": run(2, 0, true)} {
		same := 0
		for i := range other {
			if other[i] == first[i] {
				same++
			}
		}
		// Independent draws agree with probability rate² + (1-rate)².
		p := rate*rate + (1-rate)*(1-rate)
		if math.Abs(float64(same)/n-p) > 4*math.Sqrt(p*(1-p)/n) {
			t.Errorf("another %s: %d of %d equal, want about %.0f", what, same, n, p*n)
		}
	}
	for _, v := range run(1, 0, false) {
		if v != 1 {
			t.Fatalf("evaluation drops: %v", v)
		}
	}
}

func TestInitialisation(t *testing.T) {
	const in, out = 300, 200
	for _, c := range []struct {
		name  string
		layer Layer
		std   float64
		bound float64 // of uniform draws, else 0
	}{
		{"Glorot by default", Dense{Units: out}, math.Sqrt(2.0 / (in + out)), math.Sqrt(6.0 / (in + out))},
		{"Glorot before tanh", Dense{Units: out, Activation: Tanh{}}, math.Sqrt(2.0 / (in + out)), math.Sqrt(6.0 / (in + out))},
		{"He before ReLU", Dense{Units: out, Activation: ReLU{}}, math.Sqrt(2.0 / in), 0},
		{"1/fan-in before SELU", Dense{Units: out, Activation: SELU{}}, math.Sqrt(1.0 / in), 0},
		{"LeCun as asked", Dense{Units: out, Activation: ReLU{}, Init: LeCun}, math.Sqrt(1.0 / 3 / in), 1 / math.Sqrt(in)},
		{"He as asked", Dense{Units: out, Init: He}, math.Sqrt(2.0 / in), 0},
		{"Normal", Dense{Units: out, Init: Normal(0.02)}, 0.02, 0},
		{"Conv2D", Conv2D{Filters: out, Kernel: [2]int{5, 4}, Groups: 10, Activation: ReLU{}}, math.Sqrt(2.0 / (in / 10 * 20)), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			shape := []int{1, in}
			if _, ok := c.layer.(Conv2D); ok {
				shape = []int{1, in, 5, 4}
			}
			_, store, _, err := build(c.layer, graph.Float32, shape...)
			if err != nil {
				t.Fatal(err)
			}
			for p := range store.All() {
				var s2, most float64
				for i := range p.Value.Size() {
					v := p.Value.At(i)
					s2 += v * v
					most = max(most, math.Abs(v))
				}
				std, n := math.Sqrt(s2/float64(p.Value.Size())), float64(p.Value.Size())
				if strings.HasSuffix(p.Name, "bias") {
					if std != 0 {
						t.Errorf("bias starts at %v", std)
					}
					continue
				}
				// The standard error of a standard deviation of normal draws is std/sqrt(2n).
				if math.Abs(std-c.std) > 4*c.std/math.Sqrt(2*n) {
					t.Errorf("standard deviation: want %v, got %v", c.std, std)
				}
				if c.bound > 0 && (most > c.bound*(1+1e-6) || most < 0.99*c.bound) {
					t.Errorf("largest: want just below %v, got %v", c.bound, most)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		layer Layer
		shape []int
		op    string
		arg   string
	}{
		{Dense{}, []int{2, 3}, "dense", "Units"},
		{Dense{Units: 2}, nil, "dense", "input"},
		{Embedding{Vocabulary: 3}, []int{2}, "embedding", "Units"},
		{Embedding{Units: 3}, []int{2}, "embedding", "Vocabulary"},
		{Embedding{Vocabulary: 3, Units: 2}, []int{2}, "take", "index"},
		{Positions{Length: 3}, []int{1, 4, 2}, "positions", "input"},
		{Positions{Length: 3}, []int{4, 2}, "positions", "input"},
		{Conv2D{Filters: 2}, []int{2, 3}, "conv2d", "input"},
		{Conv2D{}, []int{1, 2, 3, 3}, "conv2d", "Filters"},
		{Conv2D{Filters: 2, Kernel: [2]int{3, 0}}, []int{1, 2, 3, 3}, "conv2d", "Kernel"},
		{Conv2D{Filters: 3, Groups: 2}, []int{1, 2, 3, 3}, "conv2d", "Groups"},
		{ConvTranspose2D{Filters: 2, Groups: 2}, []int{1, 3, 3, 3}, "conv_transpose2d", "Groups"},
		{MaxPool2D{}, []int{2, 3}, "max_pool2d", ""},
		{AvgPool2D{Kernel: Both(9)}, []int{1, 1, 3, 3}, "avg_pool2d", ""},
		{GlobalAvgPool2D{}, []int{2, 3}, "global_avg_pool2d", ""},
		{GlobalMaxPool2D{}, []int{2, 3}, "global_max_pool2d", ""},
		{Upsample{Scale: -1}, []int{1, 1, 2, 2}, "upsample_nearest2d", ""},
		{Reshape{Shape: []int{4}}, []int{2, 3}, "reshape", ""},
		{Reshape{Shape: []int{1}}, nil, "reshape", "input"},
		{LastStep{}, []int{2, 0}, "last_step", "input"},
		{BatchNorm{}, []int{2, 3, 4}, "batch_norm", "input"},
		{BatchNorm{}, []int{1, 3}, "batch_norm", "input"},
		{LayerNorm{Axes: 3}, []int{2, 3}, "layer_norm", "Axes"},
		{RMSNorm{Axes: -1}, []int{2, 3}, "rms_norm", "Axes"},
		{GroupNorm{}, []int{2, 3}, "group_norm", "Groups"},
		{GroupNorm{Groups: 1}, []int{2}, "group_norm", "input"},
		{RNN{Units: 2}, []int{2, 3}, "rnn", "input"},
		{GRU{Units: 2}, []int{2, 0, 3}, "gru", "input"},
		{LSTM{}, []int{2, 3, 4}, "lstm", "Units"},
		{SelfAttention{Heads: 2}, []int{2, 3, 5}, "self_attention", "Heads"},
		{SelfAttention{}, []int{2, 3}, "self_attention", "input"},
		{Dropout{P: 1}, []int{2}, "dropout", "p"},
		{Residual{}, []int{2}, "residual", "Body"},
		{Residual{Body: Dense{Units: 2}}, []int{2, 3}, "residual", "shortcut"},
		{Sequential{Flatten{}, Softmax{Axis: 2}}, []int{2, 3}, "softmax", "axis"},
	} {
		t.Run(fmt.Sprintf("%T %v", c.layer, c.shape), func(t *testing.T) {
			_, _, _, err := build(c.layer, graph.Float32, c.shape...)
			var e *graph.Error
			if !errors.As(err, &e) {
				t.Fatalf("want a *graph.Error, got %v", err)
			}
			if e.Op != c.op || c.arg != "" && e.Arg != c.arg || e.Want == "" || e.Got == "" {
				t.Errorf("want op %q, argument %q, got %v", c.op, c.arg, e)
			}
		})
	}
	if _, _, _, err := build(Dense{Units: 2}, graph.Int, 2, 3); err == nil {
		t.Error("Dense takes integers")
	}
	// A parameter that the store has with another shape.
	store := &graph.Params{}
	for i, shape := range [][]int{{2, 3}, {2, 4}} {
		_, err := graph.Build(store, func(s *graph.Scope) { Dense{Units: 2}.Apply(s, s.Input("x", graph.Float32, shape...)) })
		var e *graph.Error
		if wrong := errors.As(err, &e) && e.Arg == "dense1/weight"; wrong != (i == 1) {
			t.Errorf("input %v: %v", shape, err)
		}
	}
}
