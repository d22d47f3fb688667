package graph_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// torch_special.json holds PyTorch's answers where they are not obvious: infinities, NaN, signed zeros, kinks, ties,
// zero factors, huge logits; and its values and whole Jacobians of the ops that move, pick and multiply. Each case
// states the formula that was evaluated.
type specialCase struct {
	Kind, Name, Formula string
	Inputs              []specialTensor
	Output              specialTensor
	Derivative          []specialTensor // elementwise: by each input
	Second              specialTensor   // elementwise: twice by input 0
	Jacobian            []specialTensor // others: by each input, [results, elements]
}

type specialTensor struct {
	Shape []int
	Data  []specialNumber
}

// A specialNumber is a float64 that may stand as "NaN", "+Inf" or "-Inf".
type specialNumber float64

func (n *specialNumber) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	*n = specialNumber(v)
	return err
}

func (t specialTensor) array(dtype graph.DType) *graph.Array {
	a := graph.NewArray(dtype, t.Shape...)
	for i, v := range t.Data {
		a.Set(i, float64(v))
	}
	return a
}

var specialUnary = map[string]func(x *graph.Node) *graph.Node{
	"neg": graph.Neg, "exp": graph.Exp, "log": graph.Log, "log1p": graph.Log1p, "expm1": graph.Expm1, "sqrt": graph.Sqrt,
	"rsqrt": graph.Rsqrt, "reciprocal": graph.Reciprocal, "square": graph.Square, "sin": graph.Sin, "cos": graph.Cos,
	"tan": graph.Tan, "tanh": graph.Tanh, "atanh": graph.Atanh, "sigmoid": graph.Sigmoid, "softplus": graph.Softplus,
	"erf": graph.Erf, "abs": graph.Abs, "sign": graph.Sign, "floor": graph.Floor, "round": graph.Round, "relu": graph.ReLU,
	"asin": graph.Asin, "acos": graph.Acos, "atan": graph.Atan, "sinh": graph.Sinh, "cosh": graph.Cosh, "asinh": graph.Asinh,
	"acosh": graph.Acosh, "erfc": graph.Erfc, "lgamma": graph.Lgamma, "digamma": graph.Digamma, "softsign": graph.Softsign,
	"leaky_relu": func(x *graph.Node) *graph.Node { return graph.LeakyReLU(x, 0.1) },
	"elu":        func(x *graph.Node) *graph.Node { return graph.ELU(x, 1) },
	"selu":       graph.SELU, "gelu": graph.GELU, "gelu_tanh": graph.GELUTanh, "silu": graph.SiLU, "mish": graph.Mish,
	"relu6": graph.ReLU6, "hardsigmoid": graph.HardSigmoid, "hardswish": graph.HardSwish, "log_sigmoid": graph.LogSigmoid,
	"clip":    func(x *graph.Node) *graph.Node { return graph.Clip(x, -1, 2.5) },
	"pow 0":   func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, 0)) },
	"pow 1":   func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, 1)) },
	"pow 2":   func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, 2)) },
	"pow 3":   func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, 3)) },
	"pow 0.5": func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, 0.5)) },
	"pow -1":  func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, -1)) },
	"base 0":  func(x *graph.Node) *graph.Node { return graph.Pow(graph.Const(x, 0), x) },
	"base 1":  func(x *graph.Node) *graph.Node { return graph.Pow(graph.Const(x, 1), x) },
	"base 2":  func(x *graph.Node) *graph.Node { return graph.Pow(graph.Const(x, 2), x) },
}

var specialBinary = map[string]func(a, b *graph.Node) *graph.Node{
	"add": graph.Add, "sub": graph.Sub, "mul": graph.Mul, "div": graph.Div, "pow": graph.Pow, "maximum": graph.Maximum,
	"minimum": graph.Minimum, "equal": graph.Equal, "not_equal": graph.NotEqual, "less": graph.Less,
	"less_equal": graph.LessEqual, "greater": graph.Greater, "greater_equal": graph.GreaterEqual,
	"atan2": graph.Atan2, "logaddexp": graph.LogAddExp,
}

func alongLast(f func(x *graph.Node, axes ...int) *graph.Node) func(x *graph.Node) *graph.Node {
	return func(x *graph.Node) *graph.Node { return f(x, -1) }
}

var specialRows = map[string]func(x *graph.Node) *graph.Node{
	"sum": alongLast(graph.Sum), "mean": alongLast(graph.Mean), "prod": alongLast(graph.Prod), "max": alongLast(graph.Max),
	"min": alongLast(graph.Min), "logsumexp": alongLast(graph.LogSumExp), "variance": alongLast(graph.Variance),
	"norm":        alongLast(graph.Norm),
	"softmax":     func(x *graph.Node) *graph.Node { return graph.Softmax(x, -1) },
	"log_softmax": func(x *graph.Node) *graph.Node { return graph.LogSoftmax(x, -1) },
	"cumsum":      func(x *graph.Node) *graph.Node { return graph.CumSum(x, -1) },
	"normalize":   func(x *graph.Node) *graph.Node { return graph.Normalize(x, 1e-12, -1) },
	"standardize": func(x *graph.Node) *graph.Node { return graph.Standardize(x, 1e-5, -1) },
	"argmax":      func(x *graph.Node) *graph.Node { return graph.ArgMax(x, -1) },
}

// ints is an index constant beside like.
func ints(like *graph.Node, shape []int, data ...int) *graph.Node {
	return graph.Literal(like, graph.ArrayOf(data, shape...))
}

var specialShapes = map[string]func(x []*graph.Node) *graph.Node{
	"transpose":          func(x []*graph.Node) *graph.Node { return graph.Transpose(x[0], 2, 0, 1) },
	"transpose reversed": func(x []*graph.Node) *graph.Node { return graph.Transpose(x[0]) },
	"broadcast":          func(x []*graph.Node) *graph.Node { return graph.BroadcastTo(x[0], 2, 3, 4) },
	"sum_to":             func(x []*graph.Node) *graph.Node { return graph.SumTo(x[0], []int{3, 1}) },
	"slice":              func(x []*graph.Node) *graph.Node { return graph.Slice(x[0], 1, 1, 6, 2) },
	"slice to the end":   func(x []*graph.Node) *graph.Node { return graph.Slice(x[0], -1, 2, 7, 3) },
	"slice nothing":      func(x []*graph.Node) *graph.Node { return graph.Slice(x[0], 1, 3, 3, 1) },
	"pad":                func(x []*graph.Node) *graph.Node { return graph.Pad(x[0], 1, 2, 1, -1.5) },
	"pad front axis":     func(x []*graph.Node) *graph.Node { return graph.Pad(x[0], 0, 1, 2, 0) },
	"concat":             func(x []*graph.Node) *graph.Node { return graph.Concat(1, x[0], x[1], x[0]) },
	"stack":              func(x []*graph.Node) *graph.Node { return graph.Stack(1, x[0], x[1]) },
	"take":               func(x []*graph.Node) *graph.Node { return graph.Take(x[0], ints(x[0], []int{2, 2}, 2, 0, 2, 1), 1) },
	"scatter_add":        func(x []*graph.Node) *graph.Node { return graph.ScatterAdd(x[0], ints(x[0], []int{3}, 2, 0, 2), 1, 4) },
	"take_along": func(x []*graph.Node) *graph.Node {
		return graph.TakeAlong(x[0], ints(x[0], []int{2, 2}, 2, 2, 0, 1), 1)
	},
	"put_along": func(x []*graph.Node) *graph.Node {
		return graph.PutAlong(x[0], ints(x[0], []int{2, 2}, 2, 2, 0, 1), 1, 3)
	},
	"matmul":                   func(x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) },
	"matmul vectors":           func(x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) },
	"matmul row":               func(x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) },
	"matmul column":            func(x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) },
	"matmul broadcast":         func(x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) },
	"matmul shared right":      func(x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) },
	"matmul transposed":        func(x []*graph.Node) *graph.Node { return graph.MatMulT(x[0], x[1], true, true) },
	"matmul transposed shared": func(x []*graph.Node) *graph.Node { return graph.MatMulT(x[0], x[1], true, false) },
	"sum separate axes":        func(x []*graph.Node) *graph.Node { return graph.Sum(x[0], 0, 2) },
	"max separate axes":        func(x []*graph.Node) *graph.Node { return graph.Max(x[0], -1, 0) },
	"prod separate axes":       func(x []*graph.Node) *graph.Node { return graph.Prod(x[0], 0, 2) },
	"logsumexp separate axes":  func(x []*graph.Node) *graph.Node { return graph.LogSumExp(x[0], 0, 2) },
	"max of all":               func(x []*graph.Node) *graph.Node { return graph.Max(x[0]) },
	"cumsum front axis":        func(x []*graph.Node) *graph.Node { return graph.CumSum(x[0], 0) },
	"center":                   func(x []*graph.Node) *graph.Node { return graph.Center(x[0], 0, 2) },
	"rms_normalize":            func(x []*graph.Node) *graph.Node { return graph.RMSNormalize(x[0], 1e-6, -1) },
	"flatten":                  func(x []*graph.Node) *graph.Node { return graph.Flatten(x[0]) },
	"attention":                func(x []*graph.Node) *graph.Node { return graph.Attention(x[0], x[1], x[1], true) },
	"where": func(x []*graph.Node) *graph.Node {
		cond := graph.Literal(x[0], graph.ArrayOf([]float64{1, 0, 1, 0, 0, 1}, 2, 3))
		return graph.Where(graph.Cast(cond, x[0].Dtype()), x[0], x[1])
	},
}

// specialDifferences lists what is not PyTorch's on purpose: NaN stays NaN, hardswish(-Inf) is its limit, the second
// derivative at a kink is that of the side the first one is taken from, and poles are poles (PyTorch has 1e25 to 1e32 for
// the second derivative of lgamma there, and one sign for a pole with two).
var specialDifferences = []string{
	"lgamma: reverse over reverse at [-10000]", "lgamma: reverse over reverse at [-100]", "lgamma: reverse over reverse at [-3]", "lgamma: reverse over reverse at [-1]",
	"lgamma: forward over forward at [-10000]", "lgamma: forward over forward at [-100]", "lgamma: forward over forward at [-3]", "lgamma: forward over forward at [-1]",
	"digamma: reverse over reverse at [-0]", "digamma: reverse over reverse at [0]", "digamma: forward over forward at [-0]", "digamma: forward over forward at [0]",
	"sign: value at [NaN]",
	"hardswish: value at [-Inf]", "hardswish: reverse over reverse at [-3]", "hardswish: forward over forward at [-3]",
	"elu: reverse over reverse at [0]", "elu: forward over forward at [0]", "elu: reverse over reverse at [-0]", "elu: forward over forward at [-0]",
	"selu: reverse over reverse at [0]", "selu: forward over forward at [0]", "selu: reverse over reverse at [-0]", "selu: forward over forward at [-0]",
}

func (c *specialCase) build(x []*graph.Node) *graph.Node {
	switch {
	case c.Kind == "shapes" && specialShapes[c.Name] != nil:
		return specialShapes[c.Name](x)
	case c.Kind == "rows" && specialRows[c.Name] != nil:
		return specialRows[c.Name](x[0])
	case c.Kind == "elementwise" && len(x) == 1 && specialUnary[c.Name] != nil:
		return specialUnary[c.Name](x[0])
	case c.Kind == "elementwise" && len(x) == 2 && specialBinary[c.Name] != nil:
		return specialBinary[c.Name](x[0], x[1])
	}
	panic(graph.Fail("special", c.Name, "a case somebody builds", c.Formula))
}

func TestSpecialPointsAgainstPyTorch(t *testing.T) {
	file, err := os.ReadFile("testdata/torch_special.json")
	if err != nil {
		t.Fatal(err)
	}
	var reference struct{ Cases []*specialCase }
	if err := json.Unmarshal(file, &reference); err != nil {
		t.Fatal(err)
	}
	cases := len(specialUnary) + len(specialBinary) + 16*len(specialRows) + len(specialShapes)
	if len(reference.Cases) != cases {
		t.Errorf("want %d cases, got %d", cases, len(reference.Cases))
	}
	for i, c := range reference.Cases {
		for _, dtype := range []graph.DType{graph.Float64, graph.Float32} {
			t.Run(fmt.Sprintf("%d %s %v", i, c.Name, dtype), func(t *testing.T) {
				switch {
				case c.Kind == "elementwise":
					c.elementwise(t, dtype)
				case c.Jacobian == nil:
					y := computed(t, dtype, c.arrays(dtype), func(s *graph.Scope, x []*graph.Node) []*graph.Node { return []*graph.Node{c.build(x)} })
					c.same(t, "value", y[0], c.Output, nil)
				default:
					c.jacobian(t, dtype)
				}
			})
		}
	}
}

func (c *specialCase) arrays(dtype graph.DType) []*graph.Array {
	var a []*graph.Array
	for _, in := range c.Inputs {
		a = append(a, in.array(dtype))
	}
	return a
}

func (c *specialCase) elementwise(t *testing.T, dtype graph.DType) {
	results := computed(t, dtype, c.arrays(dtype), func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		y := c.build(x)
		one := graph.Fill(y, 1)
		reverse := graph.VJP([]*graph.Node{y}, []*graph.Node{one}, x)
		out := append([]*graph.Node{y}, reverse...)
		for _, n := range x {
			out = append(out, graph.JVP([]*graph.Node{y}, []*graph.Node{n}, []*graph.Node{one})[0])
		}
		forward := out[1+len(x)]
		return append(out, graph.VJP(reverse[:1], []*graph.Node{one}, x[:1])[0], graph.JVP([]*graph.Node{forward}, x[:1], []*graph.Node{one})[0])
	})
	c.same(t, "value", results[0], c.Output, nil)
	for k := range c.Inputs {
		c.same(t, fmt.Sprintf("reverse %d", k), results[1+k], c.Derivative[k], c.Output.Data)
		c.same(t, fmt.Sprintf("forward %d", k), results[1+len(c.Inputs)+k], c.Derivative[k], c.Output.Data)
	}
	c.same(t, "reverse over reverse", results[len(results)-2], c.Second, c.Output.Data)
	c.same(t, "forward over forward", results[len(results)-1], c.Second, c.Output.Data)
}

// jacobian compares rows by reverse mode and columns by forward mode.
func (c *specialCase) jacobian(t *testing.T, dtype graph.DType) {
	inputs := c.arrays(dtype)
	n := len(c.Output.Data)
	results := computed(t, dtype, inputs, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		y := c.build(x)
		out := []*graph.Node{y}
		unit := func(like *graph.Node, i int) *graph.Node {
			u := graph.NewArray(dtype, graph.ShapeOf(like)...)
			u.Set(i, 1)
			return graph.Literal(like, u)
		}
		for i := range n {
			out = append(out, graph.VJP([]*graph.Node{y}, []*graph.Node{unit(y, i)}, x)...)
		}
		for k, a := range x {
			for j := range inputs[k].Size() {
				out = append(out, graph.JVP([]*graph.Node{y}, []*graph.Node{a}, []*graph.Node{unit(a, j)})[0])
			}
		}
		return out
	})
	c.same(t, "value", results[0], c.Output, nil)
	rows, columns := results[1:1+n*len(inputs)], results[1+n*len(inputs):]
	for k, a := range inputs {
		want, m := c.Jacobian[k].Data, a.Size()
		for i := range n {
			if c.nan(i) {
				continue
			}
			finite := !slices.ContainsFunc(want[i*m:(i+1)*m], func(v specialNumber) bool { return v-v != 0 })
			for j := range m {
				c.number(t, fmt.Sprintf("reverse: result %d by element %d of input %d", i, j, k), rows[i*len(inputs)+k].At(j), float64(want[i*m+j]), dtype, true)
				if !finite {
					continue // the directional derivative holds 0·Inf
				}
				c.number(t, fmt.Sprintf("forward: result %d by element %d of input %d", i, j, k), columns[j].At(i), float64(want[i*m+j]), dtype, true)
			}
		}
		columns = columns[m:]
	}
}

// nan says that PyTorch's result i is NaN, so that its derivative means nothing.
func (c *specialCase) nan(i int) bool { return math.IsNaN(float64(c.Output.Data[i])) }

// same compares element by element. Derivatives, for which values is given, are compared where PyTorch's value and
// derivative are numbers.
func (c *specialCase) same(t *testing.T, what string, got *graph.Array, want specialTensor, values []specialNumber) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) && got.Size()+len(want.Shape) > 1 {
		t.Errorf("%s: want shape %v, got %v", what, want.Shape, got.Shape)
		return
	}
	for i, w := range want.Data {
		if values == nil || !c.nan(i) {
			at := make([]float64, len(c.Inputs))
			for k, in := range c.Inputs {
				at[k] = float64(in.Data[i%len(in.Data)])
			}
			c.number(t, fmt.Sprintf("%s at %v", what, at), got.At(i), float64(w), got.DType, values != nil)
		}
	}
}

func (c *specialCase) number(t *testing.T, what string, got, want float64, dtype graph.DType, derivative bool) {
	t.Helper()
	tolerance, least := 1e-9, 1e-14
	if dtype == graph.Float32 {
		tolerance, least = 1e-5, 1e-6
		want = float64(float32(want))
		if derivative && (math.Abs(want) > 1e15 || math.IsInf(got, 0)) {
			return // float32 overflows on the way
		}
	}
	if c.Name == "standardize" {
		least = 1e-10 // PyTorch rounds the mean of equal numbers
	}
	switch {
	case derivative && math.IsNaN(want):
	case slices.Contains(specialDifferences, c.Name+": "+what):
	case got == want || math.IsNaN(got) && math.IsNaN(want):
	case !math.IsInf(want, 0) && math.Abs(got-want) <= tolerance*math.Abs(want)+least:
	default:
		t.Errorf("%s: %s: want %.12g, got %.12g", c.Formula, what, want, got)
	}
}

// computed builds nodes from inputs, which it gives their values, and returns the nodes' values.
func computed(t testing.TB, dtype graph.DType, inputs []*graph.Array, build func(s *graph.Scope, x []*graph.Node) []*graph.Node) []*graph.Array {
	t.Helper()
	var x, y []*graph.Node
	g, err := graph.Build(&graph.Params{DType: dtype}, func(s *graph.Scope) {
		for i, a := range inputs {
			x = append(x, s.Input(fmt.Sprintf("x%d", i), a.DType, a.Shape...))
		}
		y = build(s, x)
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(y...)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for i, n := range x {
		if p.Uses(n) {
			p.Array(n).CopyFrom(inputs[i])
		}
	}
	if err := p.Run(); err != nil {
		t.Fatalf("%+v", err)
	}
	out := make([]*graph.Array, len(y))
	for i, n := range y {
		out[i] = p.Array(n).Clone()
	}
	return out
}
