package graph_test

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

// imageTest holds the tools that the tests of convolution and pooling share.
type imageTest struct{ *testing.T }

type imageFunc func(x []*graph.Node) *graph.Node

// program compiles what nodes makes of inputs of these types and returns it with its inputs and outputs.
func (t imageTest) program(inputs []*graph.Array, nodes func(x []*graph.Node) []*graph.Node) (p *graph.Program, in, out []*graph.Array) {
	t.Helper()
	var x, y []*graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		for i, a := range inputs {
			x = append(x, s.Input(fmt.Sprintf("x%d", i), a.DType, a.Shape...))
		}
		y = nodes(x)
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	// An input that the results do not depend on has no memory in a program of the results alone.
	if p, err = g.Compile(append(slices.Clone(x), y...)...); err != nil {
		t.Fatalf("%+v", err)
	}
	for i, n := range x {
		in = append(in, p.Array(n))
		if err := in[i].CopyFrom(inputs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range y {
		out = append(out, p.Array(n))
	}
	return p, in, out
}

// run computes nodes of inputs once.
func (t imageTest) run(inputs []*graph.Array, nodes func(x []*graph.Node) []*graph.Node) []*graph.Array {
	t.Helper()
	p, _, out := t.program(inputs, nodes)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return out
}

func (t imageTest) value(f imageFunc, inputs ...*graph.Array) *graph.Array {
	t.Helper()
	return t.run(inputs, func(x []*graph.Node) []*graph.Node { return []*graph.Node{f(x)} })[0]
}

// near compares element by element, relative to the largest wanted element or 1, so that sums are judged by their size.
func (t imageTest) near(what string, got, want *graph.Array, tol float64) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("%s: got shape %v, want %v", what, got.Shape, want.Shape)
	}
	scale := 1.0
	for i := range want.Size() {
		if v := math.Abs(want.At(i)); v <= math.MaxFloat64 {
			scale = max(scale, v)
		}
	}
	for i := range want.Size() {
		if d := math.Abs(got.At(i) - want.At(i)); got.At(i) != want.At(i) && !(d <= tol*scale) {
			t.Fatalf("%s: element %d: got %v, want %v (off by %.2g)", what, i, got.At(i), want.At(i), d/scale)
		}
	}
}

// derivatives checks both rules of every order up to the second, of f itself and of a function around and inside which
// nothing is linear, so that each rule's own derivatives matter. What is inside keeps the order of numbers and at least
// their distances.
func (t imageTest) derivatives(f imageFunc, inputs ...*graph.Array) {
	t.Helper()
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x) }, inputs...)
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node {
		bent := make([]*graph.Node, len(x))
		for i, n := range x {
			bent[i] = graph.Add(n, graph.Softplus(n))
		}
		return graph.Sin(f(bent))
	}, inputs...)
}

func castArray(a *graph.Array, dtype graph.DType) *graph.Array {
	b := graph.NewArray(dtype, a.Shape...)
	for i := range b.Size() {
		b.Set(i, a.At(i))
	}
	return b
}

// refused checks that model code fails with an *Error of the op, about the argument, that says what was wanted and got.
func (t imageTest) refused(op, arg, got string, model func(s *graph.Scope)) {
	t.Helper()
	_, err := graph.Build(nil, model)
	var e *graph.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s, wrong %s: got error %v, want a *graph.Error", op, arg, err)
	}
	if e.Op != op || e.Arg != arg || e.Want == "" || !strings.Contains(e.Got, got) || len(e.Operands) == 0 {
		t.Errorf("got op %q, arg %q, want %q, got %q, operands %q\nwant op %q, arg %q, got containing %q", e.Op, e.Arg, e.Want, e.Got, e.Operands, op, arg, got)
	}
}

// both is an attribute that is the same along both axes, 0 if it is not there.
func (c *goldenCase) both(name string) [2]int {
	v, _ := c.Attrs[name].(float64)
	return [2]int{int(v), int(v)}
}

func init() {
	perChannel := func(y, b *graph.Node) *graph.Node { return graph.Add(y, graph.Reshape(b, -1, 1, 1)) }
	goldenModels["conv2d"] = func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		o := graph.ConvOptions{Stride: c.both("stride"), Padding: c.both("padding"), Dilation: c.both("dilation"), Groups: c.both("groups")[0]}
		return perChannel(graph.Conv2D(in("x"), in("w"), o), in("b"))
	}
	goldenModels["conv_transpose2d"] = func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		o := graph.ConvTransposeOptions{Stride: c.both("stride"), Padding: c.both("padding"), OutputPadding: c.both("output_padding")}
		return perChannel(graph.ConvTranspose2D(in("x"), in("w"), o), in("b"))
	}
}

// plainConv visits, in seven loops, every (output, input, weight) index triple that meets in a convolution of x with w.
func plainConv(x, w []int, oh, ow int, o graph.ConvOptions, visit func(y, x, w int)) {
	og := w[0] / o.Groups
	for n := range x[0] {
		for oc := range w[0] {
			for i := range oh {
				for j := range ow {
					for c := range w[1] {
						for k := range w[2] {
							for l := range w[3] {
								r, s := i*o.Stride[0]+k*o.Dilation[0]-o.Padding[0], j*o.Stride[1]+l*o.Dilation[1]-o.Padding[1]
								if r < 0 || r >= x[2] || s < 0 || s >= x[3] {
									continue
								}
								visit(((n*w[0]+oc)*oh+i)*ow+j, ((n*x[1]+oc/og*w[1]+c)*x[2]+r)*x[3]+s, ((oc*w[1]+c)*w[2]+k)*w[3]+l)
							}
						}
					}
				}
			}
		}
	}
}

type convCase struct {
	name string
	x, w []int
	o    graph.ConvOptions
	y    []int // height and width of the result, by hand
}

var convCases = []convCase{
	{"plain", []int{2, 3, 5, 7}, []int{4, 3, 3, 2}, graph.ConvOptions{}, []int{3, 6}},
	{"padded", []int{2, 2, 5, 4}, []int{3, 2, 3, 3}, graph.ConvOptions{Padding: [2]int{1, 1}}, []int{5, 4}},
	{"strided", []int{1, 2, 7, 6}, []int{3, 2, 3, 3}, graph.ConvOptions{Stride: [2]int{2, 3}, Padding: [2]int{1, 0}}, []int{4, 2}},
	{"stride above kernel", []int{2, 1, 7, 8}, []int{2, 1, 2, 1}, graph.ConvOptions{Stride: [2]int{3, 4}}, []int{2, 2}},
	{"rest of a stride", []int{1, 2, 8, 9}, []int{2, 2, 3, 3}, graph.ConvOptions{Stride: [2]int{4, 5}}, []int{2, 2}},
	{"dilated", []int{1, 2, 7, 8}, []int{2, 2, 3, 2}, graph.ConvOptions{Dilation: [2]int{2, 3}, Padding: [2]int{1, 2}}, []int{5, 9}},
	{"dilated and strided", []int{2, 1, 9, 8}, []int{1, 1, 2, 3}, graph.ConvOptions{Dilation: [2]int{3, 2}, Stride: [2]int{2, 2}}, []int{3, 2}},
	{"groups", []int{2, 4, 4, 5}, []int{6, 2, 3, 3}, graph.ConvOptions{Groups: 2, Padding: [2]int{1, 1}}, []int{4, 5}},
	{"depthwise", []int{2, 3, 5, 5}, []int{3, 1, 3, 3}, graph.ConvOptions{Groups: 3, Stride: [2]int{2, 1}, Padding: [2]int{1, 1}}, []int{3, 5}},
	{"depthwise with multiplier", []int{1, 2, 4, 4}, []int{6, 1, 2, 2}, graph.ConvOptions{Groups: 2}, []int{3, 3}},
	{"padding above kernel", []int{1, 1, 2, 3}, []int{2, 1, 2, 2}, graph.ConvOptions{Padding: [2]int{3, 2}, Stride: [2]int{2, 1}}, []int{4, 6}},
	{"kernel above image", []int{1, 2, 1, 2}, []int{2, 2, 3, 4}, graph.ConvOptions{Padding: [2]int{1, 1}}, []int{1, 1}},
	{"pointwise", []int{2, 5, 3, 3}, []int{4, 5, 1, 1}, graph.ConvOptions{}, []int{3, 3}},
	{"one pixel", []int{1, 1, 1, 1}, []int{1, 1, 1, 1}, graph.ConvOptions{}, []int{1, 1}},
	{"empty batch", []int{0, 2, 4, 4}, []int{3, 2, 3, 3}, graph.ConvOptions{Padding: [2]int{1, 1}}, []int{4, 4}},
}

// explicit is o with its defaults written out.
func explicit(o graph.ConvOptions) graph.ConvOptions {
	for i := range 2 {
		o.Stride[i], o.Dilation[i] = max(o.Stride[i], 1), max(o.Dilation[i], 1)
	}
	o.Groups = max(o.Groups, 1)
	return o
}

func TestConvAgainstPlainLoops(t *testing.T) {
	for _, c := range convCases {
		t.Run(c.name, func(t *testing.T) {
			it := imageTest{t}
			x, w := gradcheck.Normal(1, c.x...), gradcheck.Normal(2, c.w...)
			g := gradcheck.Normal(3, c.x[0], c.w[0], c.y[0], c.y[1])
			y, dx, dw := graph.NewArray(graph.Float64, g.Shape...), graph.NewArray(graph.Float64, c.x...), graph.NewArray(graph.Float64, c.w...)
			plainConv(c.x, c.w, c.y[0], c.y[1], explicit(c.o), func(i, j, k int) {
				y.Set(i, y.At(i)+x.At(j)*w.At(k))
				dx.Set(j, dx.At(j)+g.At(i)*w.At(k))
				dw.Set(k, dw.At(k)+g.At(i)*x.At(j))
			})
			for _, d := range []struct {
				dtype graph.DType
				tol   float64
			}{{graph.Float64, 1e-13}, {graph.Float32, 1e-5}} {
				in := []*graph.Array{castArray(x, d.dtype), castArray(w, d.dtype), castArray(g, d.dtype)}
				got := it.run(in, func(n []*graph.Node) []*graph.Node {
					y := graph.Conv2D(n[0], n[1], c.o)
					return append(graph.VJP([]*graph.Node{y}, n[2:], n[:2]), y)
				})
				it.near("image gradient", got[0], dx, d.tol)
				it.near("weight gradient", got[1], dw, d.tol)
				it.near("value", got[2], y, d.tol)
			}
		})
	}
}

func TestConvDerivatives(t *testing.T) {
	for _, c := range convCases {
		t.Run(c.name, func(t *testing.T) {
			imageTest{t}.derivatives(func(x []*graph.Node) *graph.Node { return graph.Conv2D(x[0], x[1], c.o) },
				gradcheck.Normal(4, c.x...), gradcheck.Normal(5, c.w...))
		})
	}
}

// TestConvThirdOrder checks that rules go on for ever: <g, conv2d(x, w)> is linear in each of three arguments, so its
// mixed third derivative is the number itself and the derivative of that with respect to any of them again is 0.
func TestConvThirdOrder(t *testing.T) {
	it := imageTest{t}
	o := graph.ConvOptions{Stride: [2]int{2, 1}, Padding: [2]int{1, 2}, Dilation: [2]int{1, 2}, Groups: 2}
	x, w := gradcheck.Normal(6, 2, 4, 5, 6), gradcheck.Normal(7, 2, 2, 3, 3)
	g := gradcheck.Normal(8, 2, 2, 3, 6)
	got := it.run([]*graph.Array{x, w, g}, func(n []*graph.Node) []*graph.Node {
		s := graph.Dot(n[2], graph.Conv2D(n[0], n[1], o))
		nodes := []*graph.Node{s}
		for _, order := range [][3]int{{0, 1, 2}, {1, 0, 2}, {2, 1, 0}, {1, 2, 0}} {
			d, e := s, s
			for _, i := range order {
				d = graph.Dot(graph.Grad(d, n[i])[0], n[i])
				e = graph.JVP([]*graph.Node{e}, []*graph.Node{n[i]}, []*graph.Node{graph.Detach(n[i])})[0]
			}
			nodes = append(nodes, d, e)
		}
		return nodes
	})
	// Dot(grad, x) has x in it twice, so with <grad, x> = s each step of d gives s again; so do those of e.
	for i, a := range got[1:] {
		it.near(fmt.Sprintf("third derivative %d", i), a, got[0], 1e-12)
	}
}

type transposeCase struct {
	name string
	x, w []int
	o    graph.ConvTransposeOptions
	y    []int // height and width of the result, by hand
}

var transposeCases = []transposeCase{
	{"plain", []int{2, 3, 3, 4}, []int{3, 2, 3, 2}, graph.ConvTransposeOptions{}, []int{5, 5}},
	{"strided", []int{1, 2, 3, 2}, []int{2, 3, 3, 3}, graph.ConvTransposeOptions{Stride: [2]int{2, 3}, Padding: [2]int{1, 0}}, []int{5, 6}},
	{"output padding", []int{2, 2, 2, 3}, []int{2, 1, 3, 2}, graph.ConvTransposeOptions{Stride: [2]int{2, 3}, Padding: [2]int{1, 0}, OutputPadding: [2]int{1, 2}}, []int{4, 10}},
	{"output padding above stride", []int{1, 2, 3, 2}, []int{2, 2, 2, 3}, graph.ConvTransposeOptions{Stride: [2]int{1, 2}, Padding: [2]int{1, 1}, OutputPadding: [2]int{2, 3}, Dilation: [2]int{3, 4}}, []int{6, 12}},
	{"groups", []int{2, 4, 3, 3}, []int{4, 3, 2, 3}, graph.ConvTransposeOptions{Stride: [2]int{2, 1}, Groups: 2, Dilation: [2]int{1, 2}}, []int{6, 7}},
	{"depthwise", []int{1, 3, 2, 3}, []int{3, 1, 4, 4}, graph.ConvTransposeOptions{Stride: [2]int{2, 2}, Padding: [2]int{1, 1}, Groups: 3}, []int{4, 6}},
	{"stride above kernel", []int{1, 1, 2, 3}, []int{1, 2, 1, 2}, graph.ConvTransposeOptions{Stride: [2]int{3, 4}}, []int{4, 10}},
	{"empty batch", []int{0, 2, 3, 3}, []int{2, 3, 2, 2}, graph.ConvTransposeOptions{Stride: [2]int{2, 2}}, []int{6, 6}},
}

func TestConvTransposeAgainstPlainLoops(t *testing.T) {
	for _, c := range transposeCases {
		t.Run(c.name, func(t *testing.T) {
			it := imageTest{t}
			o := explicit(graph.ConvOptions{Stride: c.o.Stride, Padding: c.o.Padding, Dilation: c.o.Dilation, Groups: c.o.Groups})
			x, w := gradcheck.Normal(1, c.x...), gradcheck.Normal(2, c.w...)
			y := graph.NewArray(graph.Float64, c.x[0], c.w[1]*o.Groups, c.y[0], c.y[1])
			plainConv(y.Shape, c.w, c.x[2], c.x[3], o, func(i, j, k int) { y.Set(j, y.At(j)+x.At(i)*w.At(k)) })
			f := func(n []*graph.Node) *graph.Node { return graph.ConvTranspose2D(n[0], n[1], c.o) }
			it.near("float64", it.value(f, x, w), y, 1e-13)
			it.near("float32", it.value(f, castArray(x, graph.Float32), castArray(w, graph.Float32)), y, 1e-5)
			it.derivatives(f, x, w)
		})
	}
}

// TestConvNaN checks that nothing is skipped because a factor is 0.
func TestConvNaN(t *testing.T) {
	it := imageTest{t}
	x, w := gradcheck.Normal(1, 1, 2, 4, 4), graph.NewArray(graph.Float64, 2, 2, 3, 3)
	x.Set(5, math.NaN())
	y := it.value(func(n []*graph.Node) *graph.Node { return graph.Conv2D(n[0], n[1], graph.ConvOptions{}) }, x, w)
	for i := range y.Size() {
		if !math.IsNaN(y.At(i)) {
			t.Errorf("element %d: got %v, want NaN, for every window holds pixel (1, 1)", i, y.At(i))
		}
	}
}

func TestConvRunDoesNotAllocate(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		it := imageTest{t}
		p, _, _ := it.program([]*graph.Array{castArray(gradcheck.Normal(1, 2, 4, 9, 9), dtype), castArray(gradcheck.Normal(2, 4, 2, 3, 3), dtype)},
			func(x []*graph.Node) []*graph.Node {
				y := graph.Conv2D(x[0], x[1], graph.ConvOptions{Groups: 2, Padding: [2]int{1, 1}})
				return graph.Grad(graph.Sum(graph.Square(y)), x...)
			})
		it.noAllocations(p)
	}
}

func (t imageTest) noAllocations(p *graph.Program) {
	t.Helper()
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { p.Run() }); n != 0 {
		t.Errorf("a run allocates %v times, want 0", n)
	}
}

func TestConvFlops(t *testing.T) {
	it := imageTest{t}
	in := []*graph.Array{gradcheck.Normal(1, 2, 4, 9, 8), gradcheck.Normal(2, 6, 2, 3, 3)}
	o := graph.ConvOptions{Groups: 2}
	const one = 2 * (2 * 6 * 7 * 6) * (2 * 3 * 3) // two operations for each output and each tap of a group
	p, _, _ := it.program(in, func(x []*graph.Node) []*graph.Node { return []*graph.Node{graph.Conv2D(x[0], x[1], o)} })
	if got := p.Stats().Flops; got != one {
		t.Errorf("convolution: got %d flops, want %d", got, one)
	}
	p, _, _ = it.program(append(in, gradcheck.Normal(3, 2, 6, 7, 6)), func(x []*graph.Node) []*graph.Node {
		return graph.VJP([]*graph.Node{graph.Conv2D(x[0], x[1], o)}, x[2:], x[:2])
	})
	if got := p.Stats().Flops; got != 2*one {
		t.Errorf("both gradients: got %d flops, want %d", got, 2*one)
	}
}

func TestConvErrors(t *testing.T) {
	type mistake struct {
		op, arg, got string
		x, w         []int
		o            graph.ConvOptions
	}
	x, w := []int{2, 4, 5, 5}, []int{6, 4, 3, 3}
	for _, m := range []mistake{
		{"conv2d", "operand 0", "[4 5 5]", []int{4, 5, 5}, w, graph.ConvOptions{}},
		{"conv2d", "operand 0", "[2 4 0 5]", []int{2, 4, 0, 5}, w, graph.ConvOptions{}},
		{"conv2d", "operand 1", "[6 4 3]", x, []int{6, 4, 3}, graph.ConvOptions{}},
		{"conv2d", "operand 1", "[0 4 3 3]", x, []int{0, 4, 3, 3}, graph.ConvOptions{}},
		{"conv2d", "operand 1", "3 channels", x, []int{6, 3, 3, 3}, graph.ConvOptions{}},
		{"conv2d", "operand 1", "4 channels", x, w, graph.ConvOptions{Groups: 2}},
		{"conv2d", "groups", "4", x, []int{6, 1, 3, 3}, graph.ConvOptions{Groups: 4}},
		{"conv2d", "groups", "-1", x, w, graph.ConvOptions{Groups: -1}},
		{"conv2d", "stride", "[-1 1]", x, w, graph.ConvOptions{Stride: [2]int{-1, 1}}},
		{"conv2d", "dilation", "[1 -2]", x, w, graph.ConvOptions{Dilation: [2]int{1, -2}}},
		{"conv2d", "padding", "[0 -1]", x, w, graph.ConvOptions{Padding: [2]int{0, -1}}},
		{"conv2d", "operand 1 axis 3", "7 pixels", x, w, graph.ConvOptions{Dilation: [2]int{1, 3}}},
	} {
		imageTest{t}.refused(m.op, m.arg, m.got, func(s *graph.Scope) {
			graph.Conv2D(s.Input("x", graph.Float32, m.x...), s.Input("w", graph.Float32, m.w...), m.o)
		})
	}
	imageTest{t}.refused("conv2d", "operand 1", "float64", func(s *graph.Scope) {
		graph.Conv2D(s.Input("x", graph.Float32, x...), s.Input("w", graph.Float64, w...), graph.ConvOptions{})
	})
	imageTest{t}.refused("conv2d", "operand 0", "int", func(s *graph.Scope) {
		graph.Conv2D(s.Input("x", graph.Int, x...), s.Input("w", graph.Int, w...), graph.ConvOptions{})
	})
}

func TestConvTransposeErrors(t *testing.T) {
	type mistake struct {
		arg, got string
		x, w     []int
		o        graph.ConvTransposeOptions
	}
	x, w := []int{2, 4, 3, 3}, []int{4, 3, 3, 3}
	for _, m := range []mistake{
		{"operand 0", "[2 5 3 3]", []int{2, 5, 3, 3}, w, graph.ConvTransposeOptions{}},
		{"operand 1", "[4 3]", x, []int{4, 3}, graph.ConvTransposeOptions{}},
		{"groups", "3", x, w, graph.ConvTransposeOptions{Groups: 3}},
		{"stride", "[1 -3]", x, w, graph.ConvTransposeOptions{Stride: [2]int{0, -3}}},
		{"output padding", "[2 0]", x, w, graph.ConvTransposeOptions{Stride: [2]int{2, 2}, OutputPadding: [2]int{2, 0}}},
		{"output padding", "[0 -1]", x, w, graph.ConvTransposeOptions{OutputPadding: [2]int{0, -1}}},
		{"padding", "-1 along axis 3", x, w, graph.ConvTransposeOptions{Padding: [2]int{0, 3}}},
	} {
		imageTest{t}.refused("conv_transpose2d", m.arg, m.got, func(s *graph.Scope) {
			graph.ConvTranspose2D(s.Input("x", graph.Float32, m.x...), s.Input("w", graph.Float32, m.w...), m.o)
		})
	}
}
