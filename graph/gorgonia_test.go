package graph_test

import (
	"math"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// must is for building with Gorgonia's functions.
func must(n *graph.Node, err error) *graph.Node {
	if err != nil {
		panic(err)
	}
	return n
}

type foreignCase struct {
	f      func(x []*graph.Node) *graph.Node
	inputs []*graph.Array
}

func on(f func(a *graph.Node) (*graph.Node, error), a *graph.Array) foreignCase {
	return foreignCase{func(x []*graph.Node) *graph.Node { return must(f(x[0])) }, []*graph.Array{a}}
}

func on2(f func(a, b *graph.Node) (*graph.Node, error), a, b *graph.Array) foreignCase {
	return foreignCase{func(x []*graph.Node) *graph.Node { return must(f(x[0], x[1])) }, []*graph.Array{a, b}}
}

// number is a constant of x's type.
func number(x *graph.Node, v float64) *graph.Node {
	if x.Dtype() == graph.Float32 {
		return gorgonia.NewConstant(float32(v))
	}
	return gorgonia.NewConstant(v)
}

func foreignCases() map[string]foreignCase {
	m, n, v, w := gradcheck.Normal(1, 3, 4), gradcheck.Normal(2, 3, 4), gradcheck.Normal(3, 4), gradcheck.Normal(4, 4)
	pos, sep := gradcheck.Positive(5, 3, 4), gradcheck.Separated(6, 3, 4)
	image := gradcheck.Separated(7, 2, 3, 6, 5)
	cases := map[string]foreignCase{
		"add": on2(gorgonia.Add, m, n), "add_self": on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Add(a, a) }, m),
		"sub": on2(gorgonia.Sub, m, n), "hadamard_prod": on2(gorgonia.HadamardProd, m, n),
		"hadamard_div": on2(gorgonia.HadamardDiv, m, pos), "div": on2(gorgonia.Div, m, pos), "pow": on2(gorgonia.Pow, pos, n),
		"min_between": on2(gorgonia.MinBetween, sep, n), "max_between": on2(gorgonia.MaxBetween, sep, n),
		"mul_matrices": on2(gorgonia.Mul, m, gradcheck.Normal(8, 4, 5)), "mul_matrix_vector": on2(gorgonia.Mul, m, v),
		"mul_vector_matrix": on2(gorgonia.Mul, v, gradcheck.Normal(9, 4, 2)), "mul_vectors": on2(gorgonia.Mul, v, w),
		"outer": on2(gorgonia.OuterProd, v, gradcheck.Normal(10, 3)),
		"batched": on2(func(a, b *graph.Node) (*graph.Node, error) { return gorgonia.BatchedMatMul(a, b) },
			gradcheck.Normal(11, 2, 3, 4), gradcheck.Normal(12, 2, 4, 2)),
		"batched_transposed": on2(func(a, b *graph.Node) (*graph.Node, error) { return gorgonia.BatchedMatMul(a, b, true, true) },
			gradcheck.Normal(11, 2, 4, 3), gradcheck.Normal(12, 2, 2, 4)),
		"broadcast_add": on2(func(a, b *graph.Node) (*graph.Node, error) {
			return gorgonia.BroadcastAdd(a, b, nil, []byte{0})
		}, m, gradcheck.Normal(13, 1, 4)),
		"broadcast_prod": on2(func(a, b *graph.Node) (*graph.Node, error) {
			return gorgonia.BroadcastHadamardProd(a, b, []byte{1}, nil)
		}, gradcheck.Normal(13, 3, 1), m),
		"broadcast_sub_vector": on2(func(a, b *graph.Node) (*graph.Node, error) {
			return gorgonia.BroadcastSub(a, b, nil, []byte{0})
		}, m, v),
		"scalar_times":   on2(func(a, b *graph.Node) (*graph.Node, error) { return gorgonia.Mul(must(gorgonia.Sum(b)), a) }, m, v),
		"constant":       on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.HadamardProd(a, number(a, 2.5)) }, m),
		"constant_first": on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Sub(number(a, 2.5), a) }, m),
		"pow_constant":   on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Pow(a, number(a, 3)) }, m),
		"sum":            on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Sum(a) }, m),
		"sum0":           on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Sum(a, 0) }, m),
		"sum1":           on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Sum(a, 1) }, m),
		"mean":           on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Mean(a) }, m),
		"mean1":          on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Mean(a, 1) }, m),
		"max":            on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Max(a) }, sep),
		"max1":           on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Max(a, 1) }, sep),
		"norm":           on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Norm(a, 1, 2) }, m),
		"softmax":        on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.SoftMax(a) }, m),
		"softmax0":       on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.SoftMax(a, 0) }, m),
		"softmax_vector": on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.SoftMax(a) }, v),
		"log_softmax":    on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.LogSoftMax(a) }, m),
		"reshape":        on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Reshape(a, tensor.Shape{2, 6}) }, m),
		"ravel":          on(gorgonia.Ravel, m),
		"transpose":      on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Transpose(a) }, m),
		"transpose3":     on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Transpose(a, 2, 0, 1) }, gradcheck.Normal(3, 2, 3, 4)),
		"slice":          on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Slice(a, gorgonia.S(1), gorgonia.S(0, 4, 2)) }, m),
		"slice_rows":     on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Slice(a, gorgonia.S(0, 2)) }, m),
		"slice_column":   on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Slice(a, nil, gorgonia.S(2)) }, m),
		"at":             on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.At(a, 1, 2) }, m),
		"concat":         on2(func(a, b *graph.Node) (*graph.Node, error) { return gorgonia.Concat(0, a, b, a) }, m, n),
		"concat1":        on2(func(a, b *graph.Node) (*graph.Node, error) { return gorgonia.Concat(1, a, b) }, m, gradcheck.Normal(3, 3, 2)),
		"tensordot": on2(func(a, b *graph.Node) (*graph.Node, error) { return gorgonia.Tensordot([]int{0, 2}, []int{1, 0}, a, b) },
			gradcheck.Normal(1, 2, 3, 4), gradcheck.Normal(2, 4, 2, 5)),
		"leaky_relu": on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.LeakyRelu(a, 0.1) }, sep),
		"rectify":    on(gorgonia.Rectify, sep), "mish": on(gorgonia.Mish, m),
		"binary_xent": on2(gorgonia.BinaryXent, gradcheck.Uniform(3, 0.2, 0.8, 5), gradcheck.Uniform(4, 0, 1, 5)),
		"greater": on2(func(a, b *graph.Node) (*graph.Node, error) {
			return gorgonia.HadamardProd(must(gorgonia.Gt(a, b, true)), a)
		}, sep, n),
		"less_equal": on2(func(a, b *graph.Node) (*graph.Node, error) {
			return gorgonia.HadamardProd(must(gorgonia.Lte(a, b, true)), b)
		}, sep, n),
		"equal": on(func(a *graph.Node) (*graph.Node, error) {
			return gorgonia.Add(must(gorgonia.Eq(a, a, true)), must(gorgonia.Ne(a, a, true)))
		}, m),
		"conv2d": on2(func(a, b *graph.Node) (*graph.Node, error) {
			return gorgonia.Conv2d(a, b, tensor.Shape{3, 2}, []int{1, 0}, []int{2, 1}, []int{1, 2})
		}, image, gradcheck.Normal(8, 4, 3, 3, 2)),
		"conv1d": on2(func(a, b *graph.Node) (*graph.Node, error) { return gorgonia.Conv1d(a, b, 3, 1, 1, 1) },
			gradcheck.Normal(1, 2, 2, 1, 6), gradcheck.Normal(2, 3, 2, 1, 3)),
		"max_pool2d": on(func(a *graph.Node) (*graph.Node, error) {
			return gorgonia.MaxPool2D(a, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 1})
		}, image),
		"max_pool2d_padded": on(func(a *graph.Node) (*graph.Node, error) {
			return gorgonia.MaxPool2D(a, tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2})
		}, image),
		"global_average_pool2d": on(gorgonia.GlobalAveragePool2D, image),
		"upsample2d":            on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.Upsample2D(a, 2) }, gradcheck.Normal(1, 2, 2, 3, 3)),
		"size":                  on(func(a *graph.Node) (*graph.Node, error) { return gorgonia.HadamardProd(a, must(gorgonia.SizeOf(1, a))) }, m),
	}
	for name, f := range map[string]func(*graph.Node) (*graph.Node, error){
		"neg": gorgonia.Neg, "square": gorgonia.Square, "exp": gorgonia.Exp, "tanh": gorgonia.Tanh, "sigmoid": gorgonia.Sigmoid,
		"softplus": gorgonia.Softplus, "sin": gorgonia.Sin, "cos": gorgonia.Cos, "cube": gorgonia.Cube, "expm1": gorgonia.Expm1,
	} {
		cases[name] = on(f, m)
	}
	for name, f := range map[string]func(*graph.Node) (*graph.Node, error){
		"sqrt": gorgonia.Sqrt, "log": gorgonia.Log, "log2": gorgonia.Log2, "inverse": gorgonia.Inverse,
		"inverse_sqrt": gorgonia.InverseSqrt, "log1p": gorgonia.Log1p,
	} {
		cases[name] = on(f, pos)
	}
	for name, f := range map[string]func(*graph.Node) (*graph.Node, error){
		"abs": gorgonia.Abs, "sign": gorgonia.Sign, "ceil": gorgonia.Ceil, "floor": gorgonia.Floor,
	} {
		cases[name] = on(f, sep)
	}
	return cases
}

// TestGorgoniaValues compares the engine with Gorgonia's own machine on a graph of its own.
func TestGorgoniaValues(t *testing.T) {
	for name, c := range foreignCases() {
		if name == "at" {
			continue // Gorgonia's machine leaves it without a value
		}
		g := gorgonia.NewGraph()
		var x []*graph.Node
		for i, a := range c.inputs {
			x = append(x, gorgonia.NewTensor(g, a.DType, len(a.Shape), gorgonia.WithShape(a.Shape...),
				gorgonia.WithName(string(rune('a'+i))), gorgonia.WithValue(a.Clone().Dense())))
		}
		y := c.f(x)
		vm := gorgonia.NewTapeMachine(g)
		if err := vm.RunAll(); err != nil {
			t.Errorf("%s: Gorgonia: %v", name, err)
			continue
		}
		want, err := graph.FromValue(y.Value())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		vm.Close()
		got := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node { return []*graph.Node{c.f(x)} }, c.inputs...)[0]
		if got.Size() != want.Size() {
			t.Errorf("%s: want %v, got %v", name, want, got)
			continue
		}
		for i := range got.Size() {
			if d := math.Abs(got.At(i) - want.At(i)); !(d <= 1e-12*(1+math.Abs(want.At(i)))) {
				t.Errorf("%s: element %d: want %v, got %v", name, i, want.At(i), got.At(i))
				break
			}
		}
	}
}

func TestGorgoniaDerivatives(t *testing.T) {
	for name, c := range foreignCases() {
		if err := gradcheck.Verify(func(s *graph.Scope, x []*graph.Node) *graph.Node { return c.f(x) }, c.inputs...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGorgoniaReplaced checks what Harpe computes in place of Gorgonia's own semantics.
func TestGorgoniaReplaced(t *testing.T) {
	y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		r := must(gorgonia.Rectify(x[0]))
		l := must(gorgonia.LogSumExp(x[0], 0))
		a := must(gorgonia.AveragePool2D(x[1], tensor.Shape{2, 2}, []int{0, 0}, []int{1, 2}))
		return []*graph.Node{must(gorgonia.At(x[1], 0, 0, 1, 2)), graph.Grad(graph.Sum(r), x[0])[0], graph.JVP([]*graph.Node{r}, x[:1], []*graph.Node{graph.Fill(x[0], 1)})[0],
			l, graph.Grad(l, x[0])[0], a}
	}, graph.ArrayOf([]float64{-1, 0, 2}, 3), graph.ArrayOf([]float64{1, 2, 3, 4, 5, 6, 7, 8}, 1, 1, 2, 4))
	total := math.Exp(-1) + 1 + math.Exp(2)
	for i, want := range [][]float64{{7}, {0, 0, 1}, {0, 0, 1}, {math.Log(total)}, {math.Exp(-1) / total, 1 / total, math.Exp(2) / total}, {3.5, 5.5}} {
		for j, w := range want {
			if math.Abs(y[i].At(j)-w) > 1e-15 {
				t.Errorf("%d: want %v, got %v", i, want, y[i])
			}
		}
	}
}

// TestGorgoniaLeaves checks that leaves made with Gorgonia are inputs with their values.
func TestGorgoniaLeaves(t *testing.T) {
	var w, y, dw *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		w = gorgonia.NewMatrix(s.Graph().ExprGraph, graph.Float32, gorgonia.WithName("w"), gorgonia.WithShape(2, 2),
			gorgonia.WithValue(tensor.New(tensor.WithBacking([]float32{1, 2, 3, 4}), tensor.WithShape(2, 2))))
		c := gorgonia.NewConstant(tensor.New(tensor.WithBacking([]float32{1, -1, 2, 0.5}), tensor.WithShape(2, 2)))
		y = must(gorgonia.Sum(must(gorgonia.HadamardProd(graph.Square(w), c))))
		dw = graph.Grad(y, w)[0]
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y, dw)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		a := p.Array(w).Float32s()
		c := []float32{1, -1, 2, 0.5}
		var want float32
		for i, v := range a {
			want += v * v * c[i]
			if got := p.Array(dw).Float32s()[i]; got != 2*v*c[i] {
				t.Errorf("derivative %d: want %v, got %v", i, 2*v*c[i], got)
			}
		}
		if got := p.Array(y).Scalar(); got != float64(want) {
			t.Errorf("want %v, got %v", want, got)
		}
		a[0] = 5
	}
}

// TestGorgoniaRefused checks that an op without rules is refused with its name, wherever it is met.
func TestGorgoniaRefused(t *testing.T) {
	for name, f := range map[string]func(x *graph.Node) *graph.Node{
		"DiagFlat":  func(x *graph.Node) *graph.Node { return must(gorgonia.DiagFlat(x)) },
		"Dropout":   func(x *graph.Node) *graph.Node { return must(gorgonia.Dropout(x, 0.5)) },
		"> false":   func(x *graph.Node) *graph.Node { return must(gorgonia.Gt(x, x, false)) },
		"Sparsemax": func(x *graph.Node) *graph.Node { return must(gorgonia.Sparsemax(x)) },
	} {
		var x, y *graph.Node
		g, err := graph.Build(nil, func(s *graph.Scope) {
			x = s.Input("x", graph.Float32, 3)
			y = f(x)
		})
		if err != nil {
			t.Fatal(err)
		}
		_, compile := g.Compile(y)
		errs := map[string]error{"compile": compile}
		errs["jvp"] = g.Extend(func(s *graph.Scope) { graph.JVP([]*graph.Node{y}, []*graph.Node{x}, []*graph.Node{x}) })
		if name != "> false" {
			errs["vjp"] = g.Extend(func(s *graph.Scope) { graph.VJP([]*graph.Node{y}, []*graph.Node{y}, []*graph.Node{x}) })
		}
		for what, err := range errs {
			if _, ok := err.(*graph.Error); !ok || !strings.Contains(err.Error(), name) {
				t.Errorf("%s of %s: want an *Error that names it, got %v", what, name, err)
			}
		}
	}
}
