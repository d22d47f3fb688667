package onnx

import (
	"fmt"
	"slices"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/onnx/internal/onnxpb"
)

// A row is one primitive: the ONNX operators that stand for it, and how it is written.
type row struct {
	onnx  string // the operator; others behind a semicolon
	write func(e *exporter, c *call) error
}

// Table lists the primitives that can be written with the ONNX operators that stand for each, in the order of their
// names.
func Table() [][2]string {
	var list [][2]string
	for name, r := range table {
		list = append(list, [2]string{name, r.onnx})
	}
	slices.SortFunc(list, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	return list
}

var table map[string]row

func init() {
	table = map[string]row{
		"neg":        {"Neg", direct},
		"exp":        {"Exp", direct},
		"log":        {"Log", direct},
		"sqrt":       {"Sqrt", direct},
		"reciprocal": {"Reciprocal", direct},
		"sin":        {"Sin", direct},
		"cos":        {"Cos", direct},
		"tan":        {"Tan", direct},
		"asin":       {"Asin", direct},
		"acos":       {"Acos", direct},
		"atan":       {"Atan", direct},
		"sinh":       {"Sinh", direct},
		"cosh":       {"Cosh", direct},
		"tanh":       {"Tanh", direct},
		"asinh":      {"Asinh", direct},
		"acosh":      {"Acosh", direct},
		"atanh":      {"Atanh", direct},
		"sigmoid":    {"Sigmoid", direct},
		"softplus":   {"Softplus", direct},
		"erf":        {"Erf", direct},
		"abs":        {"Abs", direct},
		"sign":       {"Sign", direct},
		"floor":      {"Floor", direct},
		"round":      {"Round", direct},
		"relu":       {"Relu", direct},
		"square":     {"Mul", square},
		"rsqrt":      {"Sqrt, Reciprocal", rsqrt},
		"add":        {"Add; with what is before it Gemm, Conv or BatchNormalization", direct},
		"sub":        {"Sub", direct},
		"mul":        {"Mul; with a sum before it ReduceMean", direct},
		"div":        {"Div", direct},
		"pow":        {"Pow", direct},
		"maximum":    {"Max", direct},
		"minimum":    {"Min", direct},

		"equal":         {"Equal, Cast", compare("Equal")},
		"less":          {"Less, Cast", compare("Less")},
		"less_equal":    {"LessOrEqual, Cast", compare("LessOrEqual")},
		"greater":       {"Greater, Cast", compare("Greater")},
		"greater_equal": {"GreaterOrEqual, Cast", compare("GreaterOrEqual")},
		"not_equal":     {"Equal, Not, Cast", notEqual},
		"where":         {"Cast, Where", where},
		"cast":          {"Cast", cast},

		"sum":         {"ReduceSum", reduce},
		"max":         {"ReduceMax", reduce},
		"prod":        {"ReduceProd", reduce},
		"logsumexp":   {"ReduceLogSumExp", reduce},
		"softmax":     {"Softmax", axis},
		"log_softmax": {"LogSoftmax", axis},
		"argmax":      {"ArgMax", argMax},

		"detach":     {"Identity", direct},
		"reshape":    {"Reshape", reshape},
		"broadcast":  {"Expand", expand},
		"transpose":  {"Transpose", transpose},
		"slice":      {"Slice", slice},
		"pad":        {"Pad", pad},
		"concat":     {"Concat", axis},
		"take":       {"Gather", axis},
		"take_along": {"GatherElements", axis},

		"matmul":            {"Gemm; MatMul with Transpose for more than two axes", product},
		"conv2d":            {"Conv", conv},
		"conv2d_input_grad": {"ConvTranspose", convTranspose},
		"max_pool2d":        {"MaxPool; GlobalMaxPool", pool},
		"avg_pool2d":        {"AveragePool; GlobalAveragePool", pool},
		"avg_unpool2d":      {"Resize, for whole multiples", upsample},
	}
}

func direct(e *exporter, c *call) error { return c.is(c.onnx, c.all()) }

func square(e *exporter, c *call) error { return c.is("Mul", []string{c.in(0), c.in(0)}) }

func rsqrt(e *exporter, c *call) error {
	return c.is("Reciprocal", []string{e.temp("Sqrt", c.all())})
}

// compare writes a comparison, whose result is a number here.
func compare(kind string) func(*exporter, *call) error {
	return func(e *exporter, c *call) error {
		return c.is("Cast", []string{e.temp(kind, c.all())}, integer("to", int(dataType(c.dtype()))))
	}
}

func notEqual(e *exporter, c *call) error {
	not := e.temp("Not", []string{e.temp("Equal", c.all())})
	return c.is("Cast", []string{not}, integer("to", int(dataType(c.dtype()))))
}

func where(e *exporter, c *call) error {
	cond := e.temp("Cast", []string{c.in(0)}, integer("to", int(onnxpb.TensorProto_BOOL)))
	return c.is("Where", []string{cond, c.in(1), c.in(2)})
}

func cast(e *exporter, c *call) error {
	return c.is("Cast", c.all(), integer("to", int(dataType(c.dtype()))))
}

func reduce(e *exporter, c *call) error {
	if err := c.same(); err != nil {
		return err
	}
	axes := attr[[]int](c, "")
	in := c.all()
	if len(axes) == 0 {
		return c.is("Identity", in)
	}
	return c.is(c.onnx, append(in, e.list(axes...)), integer("keepdims", 0))
}

func axis(e *exporter, c *call) error {
	if err := c.same(); err != nil {
		return err
	}
	return c.is(c.onnx, c.all(), integer("axis", attr[int](c, "")))
}

func argMax(e *exporter, c *call) error {
	if err := c.same(); err != nil {
		return err
	}
	return c.is("ArgMax", c.all(), integer("axis", attr[int](c, "")), integer("keepdims", 0))
}

func reshape(e *exporter, c *call) error {
	sizes, err := e.sizes(c.n)
	if err != nil {
		return err
	}
	return c.is("Reshape", []string{c.in(0), e.shape(sizes, true)}, integer("allowzero", 1))
}

func expand(e *exporter, c *call) error {
	sizes, err := e.sizes(c.n)
	if err != nil {
		return err
	}
	return c.is("Expand", []string{c.in(0), e.shape(sizes, false)})
}

func transpose(e *exporter, c *call) error {
	return c.is("Transpose", c.all(), integers("perm", attr[[]int](c, "")...))
}

func slice(e *exporter, c *call) error {
	if err := c.same(); err != nil {
		return err
	}
	in := []string{c.in(0)}
	for _, field := range []string{"Start", "Stop", "Axis", "Step"} {
		in = append(in, e.list(attr[int](c, field)))
	}
	return c.is("Slice", in)
}

func pad(e *exporter, c *call) error {
	if err := c.same(); err != nil {
		return err
	}
	if attr[int](c, "Between") != 0 {
		return e.refuse(c.n, "padding at the ends", "padding between elements")
	}
	rank, at := len(c.shape(0)), attr[int](c, "Axis")
	pads := make([]int, 2*rank)
	pads[at], pads[rank+at] = attr[int](c, "Before"), attr[int](c, "After")
	return c.is("Pad", []string{c.in(0), e.list(pads...), e.number(c.dtype(), attr[float64](c, "Value"))})
}

// product writes op(A)·op(B).
func product(e *exporter, c *call) error {
	ta, tb := attr[bool](c, "TransA"), attr[bool](c, "TransB")
	if len(c.shape(0)) == 2 && len(c.shape(1)) == 2 {
		return c.is("Gemm", c.all(), integer("transA", int01(ta)), integer("transB", int01(tb)))
	}
	in := c.all()
	for i, t := range []bool{ta, tb} {
		if t {
			perm := make([]int, len(c.shape(i)))
			for j := range perm {
				perm[j] = j
			}
			last := len(perm) - 1
			perm[last-1], perm[last] = last, last-1
			in[i] = e.temp("Transpose", []string{in[i]}, integers("perm", perm...))
		}
	}
	return c.is("MatMul", in)
}

func int01(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ends is a padding of both ends as ONNX writes it.
func ends(p [2]int) []int { return []int{p[0], p[1], p[0], p[1]} }

func conv(e *exporter, c *call) error { return c.conv(c.all()) }

func (c *call) conv(in []string) error {
	o := attr[graph.ConvOptions](c, "")
	w := c.shape(1)
	return c.is("Conv", in, integers("kernel_shape", w[2], w[3]), integers("strides", o.Stride[:]...),
		integers("pads", ends(o.Padding)...), integers("dilations", o.Dilation[:]...), integer("group", o.Groups))
}

// convTranspose writes the transpose of a convolution, of a weight and a cotangent.
func convTranspose(e *exporter, c *call) error {
	o, size := attr[graph.ConvOptions](c, "ConvOptions"), attr[[2]int](c, "Size")
	dy, w := 0, 1
	if len(c.shape(w)) != 4 || len(c.shape(dy)) != 4 {
		return e.refuse(c.n, "images and weights of four axes", fmt.Sprint(c.shape(0), c.shape(1)))
	}
	k := c.shape(w)[2:]
	var beyond [2]int
	for i := range 2 {
		beyond[i] = size[i] - ((c.shape(dy)[2+i]-1)*o.Stride[i] + o.Dilation[i]*(k[i]-1) + 1 - 2*o.Padding[i])
	}
	return c.is("ConvTranspose", []string{c.in(dy), c.in(w)}, integers("kernel_shape", k...), integers("strides", o.Stride[:]...),
		integers("pads", ends(o.Padding)...), integers("dilations", o.Dilation[:]...), integers("output_padding", beyond[:]...),
		integer("group", o.Groups))
}

func pool(e *exporter, c *call) error {
	o, grid, size := attr[graph.PoolOptions](c, "PoolOptions"), attr[[2]int](c, "Grid"), attr[[2]int](c, "Size")
	kind := map[string]string{"max_pool2d": "MaxPool", "avg_pool2d": "AveragePool"}[graph.OpName(c.n)]
	if attr[bool](c, "Sum") {
		return e.refuse(c.n, "a mean or maximum of windows", "a sum")
	}
	if grid[0] > 0 {
		if grid == [2]int{1, 1} {
			return c.is("Global"+kind, c.all())
		}
		if size[0]%grid[0] != 0 || size[1]%grid[1] != 0 {
			return e.refuse(c.n, "a grid that divides the image", fmt.Sprintf("%v for %v", grid, size))
		}
		o = graph.PoolOptions{Kernel: [2]int{size[0] / grid[0], size[1] / grid[1]}, Dilation: [2]int{1, 1}}
		o.Stride = o.Kernel
	}
	attrs := []*onnxpb.AttributeProto{integers("kernel_shape", o.Kernel[:]...), integers("strides", o.Stride[:]...),
		integers("pads", ends(o.Padding)...)}
	if kind == "MaxPool" {
		attrs = append(attrs, integers("dilations", o.Dilation[:]...))
	} else {
		if o.Dilation != [2]int{1, 1} {
			return e.refuse(c.n, "neighbouring pixels", fmt.Sprintf("dilation %v", o.Dilation))
		}
		attrs = append(attrs, integer("count_include_pad", int01(!o.ExcludePadding)))
	}
	return c.is(kind, c.all(), attrs...)
}

// upsample writes the repetition of pixels, which is how UpsampleNearest2D uses the primitive.
func upsample(e *exporter, c *call) error {
	o := attr[graph.PoolOptions](c, "PoolOptions")
	if !attr[bool](c, "Sum") || o.Kernel != o.Stride || o.Padding != [2]int{} || attr[[2]int](c, "Grid") != [2]int{} {
		return e.refuse(c.n, "the repetition of pixels", "another transpose of pooling")
	}
	scales := e.initializer(e.fresh("scales"), graph.ArrayOf([]float32{1, 1, float32(o.Stride[0]), float32(o.Stride[1])}, 4))
	return c.is("Resize", []string{c.in(0), "", scales}, text("mode", "nearest"), text("coordinate_transformation_mode", "asymmetric"),
		text("nearest_mode", "floor"))
}

func text(name, v string) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: name, Type: onnxpb.AttributeProto_STRING, S: []byte(v)}
}
