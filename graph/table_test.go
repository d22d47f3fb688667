package graph_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

var everyShape = [][]int{{}, {1}, {5}, {2, 3}, {2, 1, 3}, {0, 3}, {2, 0}}

// between draws from the part of an op's domain in which it is smooth.
func between(low, high float64) func(seed uint64, shape ...int) *graph.Array {
	return func(seed uint64, shape ...int) *graph.Array { return gradcheck.Uniform(seed, low, high, shape...) }
}

func TestUnaryDerivatives(t *testing.T) {
	type unary = func(x *graph.Node) *graph.Node
	for name, c := range map[string]struct {
		f     unary
		input func(seed uint64, shape ...int) *graph.Array
	}{
		"neg":          {graph.Neg, gradcheck.Normal},
		"exp":          {graph.Exp, gradcheck.Normal},
		"log":          {graph.Log, gradcheck.Positive},
		"log1p":        {graph.Log1p, between(-0.5, 2)},
		"expm1":        {graph.Expm1, gradcheck.Normal},
		"sqrt":         {graph.Sqrt, gradcheck.Positive},
		"rsqrt":        {graph.Rsqrt, gradcheck.Positive},
		"reciprocal":   {graph.Reciprocal, between(-3, -0.4)},
		"square":       {graph.Square, gradcheck.Normal},
		"sin":          {graph.Sin, gradcheck.Normal},
		"cos":          {graph.Cos, gradcheck.Normal},
		"tan":          {graph.Tan, between(-1, 1)},
		"tanh":         {graph.Tanh, gradcheck.Normal},
		"atanh":        {graph.Atanh, between(-0.8, 0.8)},
		"sigmoid":      {graph.Sigmoid, gradcheck.Normal},
		"softplus":     {graph.Softplus, gradcheck.Normal},
		"erf":          {graph.Erf, gradcheck.Normal},
		"abs":          {graph.Abs, gradcheck.Separated},
		"sign":         {graph.Sign, gradcheck.Separated},
		"floor":        {graph.Floor, gradcheck.Separated},
		"round":        {graph.Round, gradcheck.Separated},
		"relu":         {graph.ReLU, gradcheck.Separated},
		"leaky_relu":   {func(x *graph.Node) *graph.Node { return graph.LeakyReLU(x, 0.2) }, gradcheck.Separated},
		"elu":          {func(x *graph.Node) *graph.Node { return graph.ELU(x, 1.3) }, gradcheck.Separated},
		"selu":         {graph.SELU, gradcheck.Separated},
		"gelu":         {graph.GELU, gradcheck.Normal},
		"gelu_tanh":    {graph.GELUTanh, gradcheck.Normal},
		"silu":         {graph.SiLU, gradcheck.Normal},
		"mish":         {graph.Mish, gradcheck.Normal},
		"relu6":        {graph.ReLU6, gradcheck.Separated},
		"hard_sigmoid": {graph.HardSigmoid, gradcheck.Normal},
		"hard_swish":   {graph.HardSwish, gradcheck.Normal},
		"log_sigmoid":  {graph.LogSigmoid, gradcheck.Normal},
		"scale":        {func(x *graph.Node) *graph.Node { return graph.Scale(x, -2.5) }, gradcheck.Normal},
		"shift":        {func(x *graph.Node) *graph.Node { return graph.Shift(x, 3) }, gradcheck.Normal},
		"one_minus":    {graph.OneMinus, gradcheck.Normal},
		"clip":         {func(x *graph.Node) *graph.Node { return graph.Clip(x, -0.2, 0.1) }, gradcheck.Separated},
		"pow 3":        {func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, 3)) }, gradcheck.Normal},
		"pow -2":       {func(x *graph.Node) *graph.Node { return graph.Pow(x, graph.Const(x, -2)) }, between(-3, -0.5)},
		"detach":       {func(x *graph.Node) *graph.Node { return graph.Mul(x, graph.Detach(graph.Fill(x, 2))) }, gradcheck.Normal},
		"fill":         {func(x *graph.Node) *graph.Node { return graph.Mul(x, graph.Fill(x, 2)) }, gradcheck.Normal},
		"cast": {func(x *graph.Node) *graph.Node {
			return graph.Square(graph.Cast(graph.Cast(graph.Scale(x, 2), graph.Float64), x.Dtype()))
		}, gradcheck.Normal},
		"sum of all":      {func(x *graph.Node) *graph.Node { return graph.Sum(graph.Square(x)) }, gradcheck.Normal},
		"product of all":  {func(x *graph.Node) *graph.Node { return graph.Prod(x) }, gradcheck.Normal},
		"flatten":         {func(x *graph.Node) *graph.Node { return graph.Square(graph.Flatten(x)) }, gradcheck.Normal},
		"reverse axes":    {func(x *graph.Node) *graph.Node { return graph.Square(graph.Transpose(x)) }, gradcheck.Normal},
		"dot with itself": {func(x *graph.Node) *graph.Node { return graph.Dot(x, graph.Sin(x)) }, gradcheck.Normal},
	} {
		for _, shape := range everyShape {
			t.Run(fmt.Sprint(name, shape), func(t *testing.T) {
				gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return c.f(x[0]) }, c.input(1, shape...))
			})
		}
	}
}

func TestBinaryDerivatives(t *testing.T) {
	away := func(seed uint64, shape ...int) *graph.Array { // numbers that no element of Separated is near
		a := gradcheck.Separated(seed, shape...)
		for i := range a.Float64s() {
			a.Float64s()[i] += 0.05
		}
		return a
	}
	type input = func(seed uint64, shape ...int) *graph.Array
	for name, c := range map[string]struct {
		f    func(a, b *graph.Node) *graph.Node
		a, b input
	}{
		"add":           {graph.Add, gradcheck.Normal, gradcheck.Normal},
		"sub":           {graph.Sub, gradcheck.Normal, gradcheck.Normal},
		"mul":           {graph.Mul, gradcheck.Normal, gradcheck.Normal},
		"div":           {graph.Div, gradcheck.Normal, gradcheck.Positive},
		"pow":           {graph.Pow, gradcheck.Positive, gradcheck.Normal},
		"maximum":       {graph.Maximum, gradcheck.Separated, away},
		"minimum":       {graph.Minimum, gradcheck.Separated, away},
		"equal":         {graph.Equal, gradcheck.Separated, away},
		"not_equal":     {graph.NotEqual, gradcheck.Separated, away},
		"less":          {graph.Less, gradcheck.Separated, away},
		"less_equal":    {graph.LessEqual, gradcheck.Separated, away},
		"greater":       {graph.Greater, gradcheck.Separated, away},
		"greater_equal": {graph.GreaterEqual, gradcheck.Separated, away},
		"where": {func(a, b *graph.Node) *graph.Node {
			return graph.Where(graph.Less(a, b), graph.Sin(a), graph.Square(b))
		}, gradcheck.Separated, away},
	} {
		for _, s := range [][2][]int{
			{{}, {}}, {{}, {3}}, {{3}, {}}, {{3, 4}, {3, 4}}, {{3, 4}, {4}}, {{4}, {3, 4}}, {{3, 1}, {1, 4}}, {{2, 3, 4}, {3, 1}},
			{{2, 1, 3}, {4, 1}}, {{1}, {5}}, {{0, 3}, {3}}, {{2, 0}, {2, 1}}, {{1, 1}, {0}},
		} {
			t.Run(fmt.Sprint(name, s), func(t *testing.T) {
				gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return c.f(x[0], x[1]) }, c.a(1, s[0]...), c.b(2, s[1]...))
			})
		}
	}
}

func TestOtherDerivatives(t *testing.T) {
	normal := gradcheck.Normal
	type model = func(x []*graph.Node) *graph.Node
	for name, c := range map[string]struct {
		f      model
		inputs [][]*graph.Array
	}{
		"reductions over one axis": {func(x []*graph.Node) *graph.Node {
			y := graph.Add(graph.Sum(x[0], 1), graph.Sin(graph.Mean(x[0], -2)))
			return graph.Mul(graph.Add(y, graph.Prod(x[0], 1)), graph.LogSumExp(x[0], 1))
		}, each(arrays(normal(1, 2, 3, 2)), arrays(normal(1, 1, 1, 1)), arrays(normal(1, 0, 2, 3)))},
		"reductions over separate axes": {func(x []*graph.Node) *graph.Node {
			y := graph.Mul(graph.Sum(x[0], 0, -1), graph.Prod(x[0], 0, 2))
			return graph.Mul(y, graph.LogSumExp(x[0], 2, 0))
		}, each(arrays(normal(1, 2, 3, 2)), arrays(normal(1, 1, 4, 1)), arrays(normal(1, 2, 0, 3)))},
		"largest and smallest": {func(x []*graph.Node) *graph.Node {
			return graph.Mul(graph.Add(graph.Max(x[0], 1), graph.Min(x[0], -2)), graph.Max(x[0]))
		}, each(arrays(gradcheck.Separated(1, 2, 3, 2)), arrays(gradcheck.Separated(1, 1, 1, 1)))},
		"prod with zeros": {func(x []*graph.Node) *graph.Node { return graph.Prod(x[0], 1) },
			each(arrays(graph.ArrayOf([]float64{0, 2, 3, 0, 5, 0, 1, 2, 0, 0, 0, 0}, 4, 3)))},
		"cumsum":       {func(x []*graph.Node) *graph.Node { return graph.Square(graph.CumSum(x[0], -1)) }, each(arrays(normal(1, 2, 4)), arrays(normal(1, 3, 1)), arrays(normal(1, 2, 0)))},
		"cumsum front": {func(x []*graph.Node) *graph.Node { return graph.Square(graph.CumSum(x[0], 0)) }, each(arrays(normal(1, 3, 2)))},
		"softmax":      {func(x []*graph.Node) *graph.Node { return graph.Softmax(x[0], 1) }, each(arrays(normal(1, 2, 3)), arrays(normal(1, 2, 3, 2)), arrays(normal(1, 2, 1)), arrays(normal(1, 2, 0)), arrays(normal(1, 0, 2)))},
		"log_softmax":  {func(x []*graph.Node) *graph.Node { return graph.LogSoftmax(x[0], 0) }, each(arrays(normal(1, 4)), arrays(normal(1, 3, 2)))},
		"variance":     {func(x []*graph.Node) *graph.Node { return graph.Variance(x[0], -1) }, each(arrays(normal(1, 2, 3)), arrays(normal(1, 2, 1)))},
		"standardize":  {func(x []*graph.Node) *graph.Node { return graph.Standardize(x[0], 0.1, 0, 2) }, each(arrays(normal(1, 2, 3, 2)), arrays(normal(1, 1, 3, 1)))},
		"rms":          {func(x []*graph.Node) *graph.Node { return graph.RMSNormalize(x[0], 0.1, -1) }, each(arrays(normal(1, 2, 3)))},
		"norm":         {func(x []*graph.Node) *graph.Node { return graph.Norm(x[0], 1) }, each(arrays(normal(1, 2, 3)), arrays(normal(1, 2, 1)))},
		"normalize":    {func(x []*graph.Node) *graph.Node { return graph.Normalize(x[0], 1e-3, 1) }, each(arrays(normal(1, 2, 3)))},
		"argmax": {func(x []*graph.Node) *graph.Node {
			return graph.Mul(x[0], graph.OneHot(graph.ArgMax(x[0], -1), 3, x[0].Dtype()))
		}, each(arrays(gradcheck.Separated(1, 2, 3)))},
		"center":  {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Center(x[0])) }, each(arrays(normal(1, 2, 3)))},
		"reshape": {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Reshape(x[0], 3, -1)) }, each(arrays(normal(1, 2, 3)), arrays(normal(1, 3)))},
		"keep_dims": {func(x []*graph.Node) *graph.Node {
			return graph.Mul(x[0], graph.KeepDims(graph.Sum(x[0], 1), graph.ShapeOf(x[0]), 1))
		}, each(arrays(normal(1, 2, 3)))},
		"transpose": {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Transpose(x[0], 2, 0, 1)) }, each(arrays(normal(1, 2, 3, 4)), arrays(normal(1, 1, 0, 4)))},
		"broadcast": {func(x []*graph.Node) *graph.Node { return graph.Square(graph.BroadcastTo(x[0], 2, 3, 4)) }, each(arrays(normal(1, 3, 1)), arrays(normal(1)), arrays(normal(1, 2, 3, 4)), arrays(normal(1, 4)))},
		"sum_to":    {func(x []*graph.Node) *graph.Node { return graph.Square(graph.SumTo(x[0], []int{3, 1})) }, each(arrays(normal(1, 2, 3, 4)), arrays(normal(1, 3, 1)))},
		"slice":     {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Slice(x[0], 1, 1, 6, 2)) }, each(arrays(normal(1, 2, 7)), arrays(normal(1, 2, 6)), arrays(normal(1, 0, 6)))},
		"slice none": {func(x []*graph.Node) *graph.Node {
			return graph.Concat(0, graph.Slice(x[0], 0, 1, 1, 1), graph.Square(x[0]))
		}, each(arrays(normal(1, 2, 3)))},
		"pad":    {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Pad(x[0], -1, 1, 2, 0.5)) }, each(arrays(normal(1, 2, 3)), arrays(normal(1, 2, 0)))},
		"concat": {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Concat(-1, x[0], x[1], x[0])) }, each(arrays(normal(1, 2, 3), normal(2, 2, 2)), arrays(normal(1, 2, 3), normal(2, 2, 0)))},
		"stack":  {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Stack(1, x[0], x[1])) }, each(arrays(normal(1, 2, 3), normal(2, 2, 3)), arrays(normal(1, 3), normal(2, 3)))},
		"take":   {func(x []*graph.Node) *graph.Node { return graph.Square(graph.Take(x[0], x[1], 1)) }, each(arrays(normal(1, 2, 3, 2), gradcheck.Ints(1, 3, 2, 2)), arrays(normal(1, 2, 3), gradcheck.Ints(1, 3)), arrays(normal(1, 2, 3), gradcheck.Ints(1, 3, 0)))},
		"scatter_add": {func(x []*graph.Node) *graph.Node { return graph.Square(graph.ScatterAdd(x[0], x[1], 1, 4)) },
			each(arrays(normal(1, 2, 5, 2), gradcheck.Ints(1, 4, 5)), arrays(normal(1, 2, 0), gradcheck.Ints(1, 4, 0)))},
		"take_along": {func(x []*graph.Node) *graph.Node { return graph.Square(graph.TakeAlong(x[0], x[1], 1)) }, each(arrays(normal(1, 2, 3), gradcheck.Ints(1, 3, 2, 4)))},
		"put_along":  {func(x []*graph.Node) *graph.Node { return graph.Square(graph.PutAlong(x[0], x[1], 0, 4)) }, each(arrays(normal(1, 2, 3), gradcheck.Ints(1, 4, 2, 3)))},
		"matmul": {func(x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) }, each(
			arrays(normal(1, 2, 3), normal(2, 3, 4)), arrays(normal(1, 1, 1), normal(2, 1, 1)), arrays(normal(1, 3), normal(2, 3)), arrays(normal(1, 3), normal(2, 3, 2)),
			arrays(normal(1, 2, 3), normal(2, 3)), arrays(normal(1, 3), normal(2, 2, 3, 2)), arrays(normal(1, 2, 2, 3), normal(2, 3)),
			arrays(normal(1, 2, 2, 3), normal(2, 3, 2)), arrays(normal(1, 2, 3), normal(2, 2, 3, 2)), arrays(normal(1, 2, 1, 2, 3), normal(2, 3, 3, 2)),
			arrays(normal(1, 0, 3), normal(2, 3, 2)), arrays(normal(1, 2, 0), normal(2, 0, 3)), arrays(normal(1, 2, 3), normal(2, 3, 0)), arrays(normal(1, 0, 2, 3), normal(2, 3, 2)))},
		"matmul a'": {func(x []*graph.Node) *graph.Node { return graph.MatMulT(x[0], x[1], true, false) }, each(arrays(normal(1, 3, 2), normal(2, 3, 4)), arrays(normal(1, 2, 3, 2), normal(2, 3, 4)))},
		"matmul b'": {func(x []*graph.Node) *graph.Node { return graph.MatMulT(x[0], x[1], false, true) }, each(arrays(normal(1, 2, 3), normal(2, 4, 3)), arrays(normal(1, 2, 2, 3), normal(2, 4, 3)), arrays(normal(1, 3), normal(2, 4, 3)))},
		"matmul a'b'": {func(x []*graph.Node) *graph.Node { return graph.MatMulT(x[0], x[1], true, true) },
			each(arrays(normal(1, 3, 2), normal(2, 4, 3)), arrays(normal(1, 2, 3, 2), normal(2, 1, 4, 3)))},
		"attention": {func(x []*graph.Node) *graph.Node { return graph.Attention(x[0], x[1], x[2], false) },
			each(arrays(normal(1, 2, 3, 2), normal(2, 2, 4, 2), normal(3, 2, 4, 3)))},
		"causal attention": {func(x []*graph.Node) *graph.Node { return graph.Attention(x[0], x[1], x[2], true) },
			each(arrays(normal(1, 3, 2), normal(2, 3, 2), normal(3, 3, 2)), arrays(normal(1, 1, 2), normal(2, 1, 2), normal(3, 1, 2)))},
	} {
		for _, in := range c.inputs {
			t.Run(fmt.Sprint(name, " ", in[0].Shape), func(t *testing.T) {
				gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return c.f(x) }, in...)
			})
		}
	}
}

func arrays(a ...*graph.Array) []*graph.Array        { return a }
func each(inputs ...[]*graph.Array) [][]*graph.Array { return inputs }

func TestDropoutDerivatives(t *testing.T) {
	drop := func(s *graph.Scope, x []*graph.Node) *graph.Node { return graph.Square(graph.Dropout(s, x[0], 0.3)) }
	gradcheck.Check(t, drop, gradcheck.Normal(1, 4, 5))
	gradcheck.Options{Training: true}.Check(t, drop, gradcheck.Normal(1, 4, 5))
}

// Over nothing: sums are 0, products 1, maxima -Inf, means NaN.
func TestReductionsOfNothing(t *testing.T) {
	got := computed(t, graph.Float64, arrays(graph.NewArray(graph.Float64, 2, 0)), func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		return []*graph.Node{graph.Sum(x[0], 1), graph.Prod(x[0], 1), graph.Max(x[0], 1), graph.Min(x[0], 1), graph.LogSumExp(x[0], 1), graph.Mean(x[0], 1), graph.Sum(x[0])}
	})
	for i, want := range []float64{0, 1, math.Inf(-1), math.Inf(1), math.Inf(-1), math.NaN(), 0} {
		for j := range got[i].Size() {
			if v := got[i].At(j); v != want && !(math.IsNaN(v) && math.IsNaN(want)) {
				t.Errorf("reduction %d: want %v, got %v", i, want, v)
			}
		}
	}
}

// Where keeps the derivative of what is not chosen out, and a guarded operand keeps its NaN out.
func TestWhereGuardsAgainstNaN(t *testing.T) {
	got := computed(t, graph.Float64, arrays(graph.ArrayOf([]float64{-1, 0, 4}, 3)), func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		positive := graph.Greater(x[0], graph.Const(x[0], 0))
		root := graph.Sqrt(graph.Where(positive, x[0], graph.Const(x[0], 1)))
		y := graph.Where(positive, root, graph.Const(x[0], 0))
		return append(graph.Grad(graph.Sum(y), x[0]), y)
	})
	want := [][]float64{{0, 0, 0.25}, {0, 0, 2}}
	for i := range want {
		if !slices.Equal(got[i].Float64s(), want[i]) {
			t.Errorf("want %v, got %v", want[i], got[i])
		}
	}
}

func TestMistakesAreTypedErrors(t *testing.T) {
	f32, f64 := graph.Float32, graph.Float64
	for name, c := range map[string]struct {
		f             func(s *graph.Scope)
		op, want, got string
	}{
		"add shapes":         {func(s *graph.Scope) { graph.Add(s.Input("a", f32, 2, 3), s.Input("b", f32, 2)) }, "add", "[2 3]", "[2]"},
		"add dtypes":         {func(s *graph.Scope) { graph.Add(s.Input("a", f32, 2), s.Input("b", f64, 2)) }, "add", "float32", "float64"},
		"mul int":            {func(s *graph.Scope) { graph.Mul(s.Input("a", graph.Int, 2), s.Input("b", graph.Int, 2)) }, "mul", "float", "int [2]"},
		"exp int":            {func(s *graph.Scope) { graph.Exp(s.Input("a", graph.Int, 2)) }, "exp", "float", "int"},
		"where cond int":     {func(s *graph.Scope) { x := s.Input("a", f32, 2); graph.Where(s.Input("c", graph.Int, 2), x, x) }, "where", "float", "int"},
		"where cond dtype":   {func(s *graph.Scope) { x := s.Input("a", f32, 2); graph.Where(s.Input("c", f64, 2), x, x) }, "where", "float32", "float64"},
		"where shapes":       {func(s *graph.Scope) { x := s.Input("a", f32, 2); graph.Where(s.Input("c", f32, 3), x, x) }, "where", "[3]", "[2]"},
		"where branches":     {func(s *graph.Scope) { x := s.Input("a", f32, 2); graph.Where(x, x, s.Input("b", f64, 2)) }, "where", "float32", "float64"},
		"sum axis":           {func(s *graph.Scope) { graph.Sum(s.Input("a", f32, 2, 3), 2) }, "sum", "-2 to 1", "2"},
		"sum negative axis":  {func(s *graph.Scope) { graph.Sum(s.Input("a", f32, 2, 3), -3) }, "sum", "-2 to 1", "-3"},
		"sum axis twice":     {func(s *graph.Scope) { graph.Sum(s.Input("a", f32, 2, 3), 1, -1) }, "sum", "different", "[1 -1]"},
		"mean axis":          {func(s *graph.Scope) { graph.Mean(s.Input("a", f32, 2, 3), 5) }, "mean", "-2 to 1", "5"},
		"sum int":            {func(s *graph.Scope) { graph.Sum(s.Input("a", graph.Int, 2)) }, "sum", "float", "int"},
		"keep_dims axis":     {func(s *graph.Scope) { graph.KeepDims(s.Input("a", f32, 2), []int{2, 3}, 4) }, "keep_dims", "-2 to 1", "4"},
		"argmax of scalar":   {func(s *graph.Scope) { graph.ArgMax(s.Input("a", f32), 0) }, "argmax", "axis", "0"},
		"argmax of nothing":  {func(s *graph.Scope) { graph.ArgMax(s.Input("a", f32, 2, 0), 1) }, "argmax", "at least one", "[2 0]"},
		"cumsum axis":        {func(s *graph.Scope) { graph.CumSum(s.Input("a", f32, 2), 1) }, "cumsum", "-1 to 0", "1"},
		"softmax axis":       {func(s *graph.Scope) { graph.Softmax(s.Input("a", f32, 2), 1) }, "softmax", "-1 to 0", "1"},
		"reshape":            {func(s *graph.Scope) { graph.Reshape(s.Input("a", f32, 2, 3), 4, -1) }, "reshape", "6 elements", "[4 -1]"},
		"reshape twice -1":   {func(s *graph.Scope) { graph.Reshape(s.Input("a", f32, 2, 3), -1, -1) }, "reshape", "-1", "-1"},
		"transpose":          {func(s *graph.Scope) { graph.Transpose(s.Input("a", f32, 2, 3), 0, 0) }, "transpose", "permutation of 2", "[0 0]"},
		"transpose long":     {func(s *graph.Scope) { graph.Transpose(s.Input("a", f32, 2, 3), 0, 1, 2) }, "transpose", "permutation of 2", "[0 1 2]"},
		"broadcast":          {func(s *graph.Scope) { graph.BroadcastTo(s.Input("a", f32, 2, 3), 2, 4) }, "broadcast", "[2 3]", "[2 4]"},
		"broadcast smaller":  {func(s *graph.Scope) { graph.BroadcastTo(s.Input("a", f32, 2, 3), 3) }, "broadcast", "[2 3]", "[3]"},
		"broadcast negative": {func(s *graph.Scope) { graph.BroadcastTo(s.Input("a", f32, 1), -2) }, "broadcast", "[1]", "[-2]"},
		"sum_to":             {func(s *graph.Scope) { graph.SumTo(s.Input("a", f32, 2, 3), []int{2}) }, "sum_to", "[2 3]", "[2]"},
		"slice range":        {func(s *graph.Scope) { graph.Slice(s.Input("a", f32, 4), 0, 2, 5, 1) }, "slice", "stop <= 4", "2:5"},
		"slice order":        {func(s *graph.Scope) { graph.Slice(s.Input("a", f32, 4), 0, 3, 2, 1) }, "slice", "start <= stop", "3:2"},
		"slice step":         {func(s *graph.Scope) { graph.Slice(s.Input("a", f32, 4), 0, 0, 2, 0) }, "slice", "at least 1", "0"},
		"slice axis":         {func(s *graph.Scope) { graph.Slice(s.Input("a", f32, 4), 1, 0, 2, 1) }, "slice", "-1 to 0", "1"},
		"pad":                {func(s *graph.Scope) { graph.Pad(s.Input("a", f32, 4), 0, -1, 0, 0) }, "pad", "at least 0", "-1"},
		"concat shapes":      {func(s *graph.Scope) { graph.Concat(0, s.Input("a", f32, 2, 3), s.Input("b", f32, 2, 4)) }, "concat", "[2 3]", "[2 4]"},
		"concat ranks":       {func(s *graph.Scope) { graph.Concat(0, s.Input("a", f32, 2, 3), s.Input("b", f32, 3)) }, "concat", "[2 3]", "[3]"},
		"concat dtypes":      {func(s *graph.Scope) { graph.Concat(0, s.Input("a", f32, 2), s.Input("b", f64, 2)) }, "concat", "float32", "float64"},
		"concat nothing":     {func(s *graph.Scope) { graph.Concat(0) }, "concat", "at least one", "none"},
		"stack shapes":       {func(s *graph.Scope) { graph.Stack(0, s.Input("a", f32, 2), s.Input("b", f32, 3)) }, "stack", "[2]", "[3]"},
		"stack axis":         {func(s *graph.Scope) { graph.Stack(3, s.Input("a", f32, 2)) }, "stack", "0 to 1", "3"},
		"take index dtype":   {func(s *graph.Scope) { x := s.Input("a", f32, 2); graph.Take(x, x, 0) }, "take", "int", "float32"},
		"take of scalar":     {func(s *graph.Scope) { graph.Take(s.Input("a", f32), s.Input("i", graph.Int, 2), 0) }, "take", "axis", "0"},
		"scatter axis":       {func(s *graph.Scope) { graph.ScatterAdd(s.Input("a", f32, 2), s.Input("i", graph.Int, 2), 1, 3) }, "scatter_add", "0 to 0", "1"},
		"scatter index":      {func(s *graph.Scope) { graph.ScatterAdd(s.Input("a", f32, 2), s.Input("i", graph.Int, 3), 0, 3) }, "scatter_add", "[2]", "[3]"},
		"scatter dtype":      {func(s *graph.Scope) { graph.ScatterAdd(s.Input("a", f32, 2), s.Input("i", f32, 2), 0, 3) }, "scatter_add", "int", "float32"},
		"scatter size":       {func(s *graph.Scope) { graph.ScatterAdd(s.Input("a", f32, 2), s.Input("i", graph.Int, 2), 0, -3) }, "scatter_add", "at least 0", "-3"},
		"take_along shape":   {func(s *graph.Scope) { graph.TakeAlong(s.Input("a", f32, 2, 3), s.Input("i", graph.Int, 3, 3), 1) }, "take_along", "[2 3]", "[3 3]"},
		"take_along rank":    {func(s *graph.Scope) { graph.TakeAlong(s.Input("a", f32, 2, 3), s.Input("i", graph.Int, 2), 1) }, "take_along", "[2 3]", "[2]"},
		"put_along shape":    {func(s *graph.Scope) { graph.PutAlong(s.Input("a", f32, 2, 3), s.Input("i", graph.Int, 2, 2), 1, 4) }, "put_along", "[2 3]", "[2 2]"},
		"put_along size":     {func(s *graph.Scope) { graph.PutAlong(s.Input("a", f32, 2), s.Input("i", graph.Int, 2), 0, -4) }, "put_along", "at least 0", "-4"},
		"one_hot dtype":      {func(s *graph.Scope) { graph.OneHot(s.Input("a", f32, 2), 3, f32) }, "one_hot", "int", "float32"},
		"one_hot classes":    {func(s *graph.Scope) { graph.OneHot(s.Input("a", graph.Int, 2), -3, f32) }, "one_hot", "at least 0", "-3"},
		"matmul inner":       {func(s *graph.Scope) { graph.MatMul(s.Input("a", f32, 2, 3), s.Input("b", f32, 4, 5)) }, "matmul", "inner size 3", "inner size 4"},
		"matmul batch":       {func(s *graph.Scope) { graph.MatMul(s.Input("a", f32, 2, 2, 3), s.Input("b", f32, 3, 3, 5)) }, "matmul", "[2]", "[3]"},
		"matmul dtype":       {func(s *graph.Scope) { graph.MatMul(s.Input("a", f32, 2, 3), s.Input("b", f64, 3, 5)) }, "matmul", "float32", "float64"},
		"matmul scalar":      {func(s *graph.Scope) { graph.MatMul(s.Input("a", f32), s.Input("b", f32, 3, 5)) }, "matmul", "at least one axis", "[]"},
		"matmul int":         {func(s *graph.Scope) { graph.MatMul(s.Input("a", graph.Int, 2, 3), s.Input("b", graph.Int, 3, 5)) }, "matmul", "float", "int"},
		"attention":          {func(s *graph.Scope) { x := s.Input("a", f32, 2, 3); graph.Attention(x, s.Input("k", f32, 3), x, false) }, "attention", "2 axes", "[3]"},
		"dropout":            {func(s *graph.Scope) { graph.Dropout(s, s.Input("a", f32, 2), 1) }, "dropout", "p < 1", "1"},
		"dropout NaN":        {func(s *graph.Scope) { graph.Dropout(s, s.Input("a", f32, 2), math.NaN()) }, "dropout", "p < 1", "NaN"},
		"nil operand":        {func(s *graph.Scope) { graph.Add(s.Input("a", f32, 2), nil) }, "add", "a node", "nil"},
		"input twice":        {func(s *graph.Scope) { s.Input("a", f32, 2); s.Input("a", f32, 2) }, "input", "new", "a"},
		"param shape":        {func(s *graph.Scope) { s.Param("w", graph.Zeros(), 2, -1) }, "param", "at least 0", "[2 -1]"},
		"param type":         {func(s *graph.Scope) { s.Param("w", graph.Zeros(), 2); s.Param("w", graph.Zeros(), 3) }, "param", "[3]", "[2]"},
		"grad of vector":     {func(s *graph.Scope) { x := s.Input("a", f32, 2); graph.Grad(x, x) }, "grad", "scalar", "[2]"},
		"vjp cotangent": {func(s *graph.Scope) {
			x := s.Input("a", f32, 2)
			graph.VJP([]*graph.Node{x}, []*graph.Node{s.Input("b", f32, 3)}, []*graph.Node{x})
		}, "vjp", "[2]", "[3]"},
		"jvp tangents": {func(s *graph.Scope) { x := s.Input("a", f32, 2); graph.JVP([]*graph.Node{x}, []*graph.Node{x}, nil) }, "jvp", "1 nodes", "0"},
		"jvp of int": {func(s *graph.Scope) {
			x := s.Input("a", graph.Int, 2)
			graph.JVP([]*graph.Node{x}, []*graph.Node{x}, []*graph.Node{x})
		}, "jvp", "int", "int"},
		"update of input": {func(s *graph.Scope) { x := s.Input("a", f32, 2); s.Update(x, x) }, "update", "State", "a"},
		"update shape":    {func(s *graph.Scope) { s.Update(s.State("m", graph.Zeros(), 2), s.Input("a", f32, 3)) }, "update", "[2]", "[3]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := graph.Build(nil, c.f)
			var e *graph.Error
			if !errors.As(err, &e) {
				t.Fatalf("want a *graph.Error, got %v", err)
			}
			if e.Op != c.op && !strings.HasSuffix(e.Op, c.op) || e.Arg == "" || !strings.Contains(e.Want+" "+e.Arg, c.want) || !strings.Contains(e.Got, c.got) {
				t.Errorf("want op %q, wanted ...%s..., got ...%s...; have %v", c.op, c.want, c.got, e)
			}
			if trace := fmt.Sprintf("%+v", e); !strings.Contains(trace, "table_test.go") {
				t.Errorf("the stack does not name the line of the mistake: %s", trace)
			}
		})
	}
	t.Run("node of another graph", func(t *testing.T) {
		var other *graph.Node
		graph.Build(nil, func(s *graph.Scope) { other = s.Input("x", f32, 2) })
		_, err := graph.Build(nil, func(s *graph.Scope) { graph.Add(s.Input("x", f32, 2), other) })
		var e *graph.Error
		if !errors.As(err, &e) || e.Op != "add" || !strings.Contains(e.Got, "another graph") {
			t.Errorf("got %v", err)
		}
	})
}

// What is only known when a program runs: indices, and values that are no numbers.
func TestMistakesOfARun(t *testing.T) {
	index := func(v ...int) *graph.Array { return graph.ArrayOf(v, len(v)) }
	x := gradcheck.Normal(1, 3)
	for name, c := range map[string]struct {
		f             func(x []*graph.Node) *graph.Node
		inputs        []*graph.Array
		op, want, got string
	}{
		"take high":       {func(x []*graph.Node) *graph.Node { return graph.Take(x[0], x[1], 0) }, arrays(x, index(0, 3)), "take", "0 to 2", "3"},
		"take low":        {func(x []*graph.Node) *graph.Node { return graph.Take(x[0], x[1], 0) }, arrays(x, index(-1, 0)), "take", "0 to 2", "-1"},
		"scatter high":    {func(x []*graph.Node) *graph.Node { return graph.ScatterAdd(x[0], x[1], 0, 2) }, arrays(x, index(0, 1, 2)), "scatter_add", "0 to 1", "2"},
		"take_along high": {func(x []*graph.Node) *graph.Node { return graph.TakeAlong(x[0], x[1], 0) }, arrays(x, index(0, 7)), "take_along", "0 to 2", "7"},
		"put_along low":   {func(x []*graph.Node) *graph.Node { return graph.PutAlong(x[0], x[1], 0, 5) }, arrays(x, index(0, 1, -2)), "put_along", "0 to 4", "-2"},
		"cast NaN":        {func(x []*graph.Node) *graph.Node { return graph.Cast(x[0], graph.Int) }, arrays(graph.ArrayOf([]float64{1, math.NaN()}, 2)), "cast", "finite", "NaN"},
		"cast Inf":        {func(x []*graph.Node) *graph.Node { return graph.Cast(x[0], graph.Int) }, arrays(graph.ArrayOf([]float64{math.Inf(1), 0}, 2)), "cast", "finite", "+Inf"},
		"NaN index": {func(x []*graph.Node) *graph.Node { return graph.Take(x[0], graph.Cast(x[1], graph.Int), 0) },
			arrays(x, graph.ArrayOf([]float64{math.NaN()}, 1)), "cast", "finite", "NaN"},
	} {
		t.Run(name, func(t *testing.T) {
			var in []*graph.Node
			var y *graph.Node
			g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
				for i, a := range c.inputs {
					in = append(in, s.Input(fmt.Sprint("x", i), a.DType, a.Shape...))
				}
				y = c.f(in)
			})
			if err != nil {
				t.Fatal(err)
			}
			p, err := g.Compile(y)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range c.inputs {
				p.Array(in[i]).CopyFrom(a)
			}
			err = p.Run()
			var e *graph.Error
			if !errors.As(err, &e) || e.Op != c.op || e.Arg == "" || !strings.Contains(e.Want, c.want) || !strings.Contains(e.Got, c.got) || len(e.Operands) == 0 {
				t.Errorf("want op %q, ...%s..., ...%s..., got %v", c.op, c.want, c.got, err)
			}
		})
	}
}
