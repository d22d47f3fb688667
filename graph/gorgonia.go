package graph

import (
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/pkg/errors"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Nodes made by Gorgonia's own functions. Each of its ops that stands below is read as a primitive or as a composition
// of primitives, and so has both derivatives of every order and runs in the engine; any other op is refused by name.
// Gorgonia's op types are not exported, so they are known by their names and looked into by reflection.
//
// Where Gorgonia's own semantics are wrong or differ from the field's, Harpe's hold: the derivative of Rectify at 0 is
// 0; equal maxima share the derivative; that of |x| at 0 is 0; LogSumExp is log(Σe^x) where Gorgonia computes
// log(Σe^(x-m) + m); average pooling divides by the window's size.
//
// What cannot be mended here: Gorgonia makes SoftMax and LogSoftMax of one node the same node, whichever came first.
//
// Not accepted: comparisons that give booleans (retSame false), Dropout, BatchNorm, GroupNorm, SparseMax, CTCLoss,
// YOLOv3, DiagFlat, random nodes and ops defined outside Gorgonia.

// foreignPrimitive is the primitive that a node of Gorgonia's own is read as, or nil if there is none.
func foreignPrimitive(n *Node) *Primitive {
	if d := n.Dtype(); d != Float32 && d != Float64 && d != Int {
		return nil
	}
	if logSumExpOperand(n) != nil {
		return composite(n, func(x []*Node) *Node { return LogSumExp(x[0]) })
	}
	op := reflect.Indirect(reflect.ValueOf(n.Op()))
	if op.Type().PkgPath() != "gorgonia.org/gorgonia" || op.Kind() != reflect.Struct {
		return nil
	}
	f := foreign{n, op, foreignOperands(n)}
	if direct := directly[op.Type().Name()]; direct != nil {
		p := direct(f)
		if p == nil {
			return nil
		}
		if t, err := p.Type(typesOf(f.x)); err == nil && t.Equal(TypeOf(n)) {
			return p
		}
		return composite(n, func(x []*Node) *Node { return Apply(p, x...) })
	}
	if composed := composed[op.Type().Name()]; composed != nil {
		return composite(n, func(x []*Node) *Node { return composed(f, x) })
	}
	return nil
}

// foreignOperands lists the operands of a node of Gorgonia's own in order.
func foreignOperands(n *Node) []*Node {
	if x := logSumExpOperand(n); x != nil {
		return []*Node{x}
	}
	return children(n)
}

// A foreign is one of Gorgonia's ops as it is used at a node.
type foreign struct {
	n  *Node
	op reflect.Value
	x  []*Node
}

func (f foreign) int(field string) int   { return int(f.op.FieldByName(field).Int()) }
func (f foreign) bool(field string) bool { return f.op.FieldByName(field).Bool() }

func (f foreign) ints(field string) []int {
	v := f.op.FieldByName(field)
	s := make([]int, v.Len())
	for i := range s {
		s[i] = int(v.Index(i).Int())
	}
	return s
}

// name is the first word of the op's own name, as in "+ false".
func (f foreign) name() string { return strings.Fields(f.n.Op().String())[0] }

// Gorgonia's names of elementwise ops.
var unaries = map[string]**Primitive{
	"abs": &absOp, "sign": &signOp, "floor": &floorOp, "sin": &sinOp, "cos": &cosOp, "exp": &expOp, "ln": &logOp,
	"neg": &negOp, "square": &squareOp, "sqrt": &sqrtOp, "inv": &reciprocalOp, "invSqrt": &rsqrtOp, "tanh": &tanhOp,
	"sigmoid": &sigmoidOp, "log1p": &log1pOp, "expm1": &expm1Op, "softplus": &softplusOp,
}

var binaries = map[string]**Primitive{
	"+": &addOp, "-": &subOp, "⊙": &mulOp, "÷": &divOp, "^": &powOp, "<": &lessOp, ">": &greaterOp, "<=": &lessEqualOp,
	">=": &greaterEqualOp, "==": &equalOp, "!=": &notEqualOp,
}

// directly lists the ops that are one of Harpe's primitives on the same operands.
var directly map[string]func(f foreign) *Primitive

// composed lists the ops that are compositions. The result is reshaped to what Gorgonia says its shape is.
var composed map[string]func(f foreign, x []*Node) *Node

func init() {
	directly = map[string]func(f foreign) *Primitive{
		"elemUnaryOp": func(f foreign) *Primitive {
			switch f.name() {
			case "ceil":
				return composite(f.n, func(x []*Node) *Node { return Neg(Floor(Neg(x[0]))) })
			case "log2":
				return composite(f.n, func(x []*Node) *Node { return Scale(Log(x[0]), 1/math.Ln2) })
			case "cube":
				return composite(f.n, func(x []*Node) *Node { return Mul(x[0], Square(x[0])) })
			}
			return *unaries[f.name()]
		},
		"elemBinOp": func(f foreign) *Primitive {
			if f.isRectify() {
				return composite(f.n, func(x []*Node) *Node { return ReLU(x[0]) })
			}
			return *binaries[f.name()]
		},
		"constantScalar": foreignConstant,
		"constantTensor": foreignConstant,
		"linAlgBinOp": func(f foreign) *Primitive {
			a := matMulAttrs{f.bool("transA"), f.bool("transB")}
			if kind := f.op.FieldByName("āBinaryOperator").Uint(); kind != foreignMatMul && kind != foreignBatched {
				return composite(f.n, func(x []*Node) *Node { return foreignProduct(kind, a, x[0], x[1]) })
			}
			return matMulOp(a)
		},
		"sumOp":       func(f foreign) *Primitive { return sumOp(axesOf("sum", f.x[0], f.ints("along"))) },
		"maxOp":       func(f foreign) *Primitive { return maxOp(axesOf("max", f.x[0], f.ints("along"))) },
		"reshapeOp":   func(f foreign) *Primitive { return reshapeOp(ShapeOf(f.n)) },
		"transposeOp": func(f foreign) *Primitive { return transposeOp(f.ints("pattern")) },
		"concatOp":    func(f foreign) *Primitive { return concatOp(f.int("axis")) },
		"minBetween":  func(f foreign) *Primitive { return minimumOp },
		"maxBetween":  func(f foreign) *Primitive { return maximumOp },
		"dtConvOp":    func(f foreign) *Primitive { return castOp(f.n.Dtype()) },
	}
	composed = map[string]func(f foreign, x []*Node) *Node{
		"softmaxOp":           foreignSoftmax,
		"sliceOp":             foreignSlice,
		"repeatOp":            foreignRepeat,
		"im2colOp":            foreignIm2Col,
		"tensordotOp":         foreignTensordot,
		"maxPoolOp":           func(f foreign, x []*Node) *Node { return MaxPool2D(f.padded(x[0], math.Inf(-1)), f.window()) },
		"avgPoolOp":           func(f foreign, x []*Node) *Node { return AvgPool2D(f.padded(x[0], 0), f.window()) },
		"globalAveragePoolOp": func(f foreign, x []*Node) *Node { return GlobalAvgPool2D(x[0]) },
		"upsampleOp":          func(f foreign, x []*Node) *Node { return UpsampleNearest2D(x[0], f.int("stride")+1) },
		"byIndicesOp":         func(f foreign, x []*Node) *Node { return Take(x[0], Reshape(x[1], -1), f.int("axis")) },
		"sizeOp": func(f foreign, x []*Node) *Node {
			size := 1.0
			if s, axis := ShapeOf(x[0]), f.int("axis"); axis < len(s) {
				size = float64(s[axis])
			}
			return Fill(Reshape(Slice(Reshape(x[0], -1), 0, 0, 1, 1)), size)
		},
		"atOp": func(f foreign, x []*Node) *Node {
			y := x[0]
			for axis, i := range f.ints("coordinates") {
				y = Slice(y, axis, i, i+1, 1)
			}
			return y
		},
	}
}

// isRectify says whether this is the product of x with x >= 0, which is how Gorgonia writes Rectify.
func (f foreign) isRectify() bool {
	if f.name() != "⊙" || primitiveOf(f.x[1]) != greaterEqualOp {
		return false
	}
	c := operands(f.x[1])
	return c[0] == f.x[0] && c[1].Value() != nil && isZero(c[1].Value())
}

func isZero(v gorgonia.Value) bool {
	a, err := FromValue(v)
	return err == nil && a.Size() == 1 && a.At(0) == 0
}

// logSumExpOperand is x if n is what Gorgonia's LogSumExp makes of x, log(Σexp(x - max x) + max x), and otherwise nil.
func logSumExpOperand(n *Node) *Node {
	sum, top := foreignArguments(foreignArgument(n, "ln"), "+")
	x, top2 := foreignArguments(foreignArgument(foreignArgument(sum, "Σ"), "exp"), "-")
	if of := foreignArgument(top, "MaxAlong"); of != nil && of == x && top == top2 {
		return x
	}
	return nil
}

// foreignArguments are the first two operands of a node of Gorgonia's own if its op is called so, otherwise nil.
func foreignArguments(n *Node, op string) (a, b *Node) {
	if n == nil || n.Op() == nil {
		return nil, nil
	}
	if _, ok := n.Op().(*instance); ok || !strings.HasPrefix(n.Op().String(), op) {
		return nil, nil
	}
	x := append(children(n), nil, nil)
	return x[0], x[1]
}

func foreignArgument(n *Node, op string) *Node {
	a, _ := foreignArguments(n, op)
	return a
}

// children reads a node's operands from the node itself: ExprGraph.From finds other nodes' once Gorgonia has removed a
// node from the graph, as it does to stabilise log(1-x).
func children(n *Node) []*Node {
	list := reflect.ValueOf(n).Elem().FieldByName("children")
	x := make([]*Node, list.Len())
	for i := range x {
		x[i] = (*Node)(list.Index(i).UnsafePointer())
	}
	return x
}

func foreignConstant(f foreign) *Primitive {
	v, err := FromValue(f.n.Value())
	if err != nil {
		return nil
	}
	return &Primitive{
		Name:  "gorgonia/const",
		Attrs: f.n.ID(),
		Type:  func([]Type) (Type, error) { return v.Type, nil },
		Kernel: func(Type, []Type) (Kernel, error) {
			return func(out *Array, _ []*Array) error { return out.CopyFrom(v) }, nil
		},
	}
}

// Gorgonia's kinds of products.
const (
	foreignMatMul = iota
	foreignMatVec
	foreignDot
	foreignOuter
	foreignBatched
)

func foreignProduct(kind uint64, t matMulAttrs, a, b *Node) *Node {
	switch kind {
	case foreignMatVec:
		return MatMulT(a, Reshape(b, -1), t.TransA, false)
	case foreignDot:
		return Dot(Reshape(a, -1), Reshape(b, -1))
	}
	return Mul(Reshape(a, -1, 1), Reshape(b, 1, -1))
}

func foreignSoftmax(f foreign, x []*Node) *Node {
	s, axis := ShapeOf(x[0]), f.int("axis")
	if axis == -1 && len(s) == 2 && s[1] == 1 {
		axis = 0 // a column is a vector there
	}
	if f.bool("isLog") {
		return LogSoftmax(x[0], axis)
	}
	return Softmax(x[0], axis)
}

func foreignSlice(f foreign, x []*Node) *Node {
	s := f.n.Op().(interface{ IsSlice() tensor.Slice }).IsSlice()
	if s == nil || s.End() <= s.Start() {
		return x[0]
	}
	along := f.int("along")
	return Slice(x[0], along, s.Start(), min(s.End(), ShapeOf(x[0])[along]), max(s.Step(), 1))
}

// foreignRepeat repeats each element along an axis, as numpy.repeat.
func foreignRepeat(f foreign, x []*Node) *Node {
	s, to, along := slices.Clone(ShapeOf(x[0])), ShapeOf(f.n), f.int("along")
	for len(s) <= along {
		s = append(s, 1)
	}
	s = slices.Insert(s, along+1, 1)
	y := Reshape(x[0], s...)
	s[along+1] = to[along] / max(s[along], 1)
	return BroadcastTo(y, s...)
}

// foreignIm2Col is [batch, rows, columns, channels·kh·kw]: the windows of each place side by side.
func foreignIm2Col(f foreign, x []*Node) *Node {
	rows, cols := ShapeOf(f.n)[1], ShapeOf(f.n)[2]
	p := Pad(Pad(x[0], 2, f.int("padH"), f.int("padH"), 0), 3, f.int("padW"), f.int("padW"), 0)
	strideH, strideW := f.int("strideH"), f.int("strideW")
	var taps []*Node
	for i := range f.int("h") {
		for j := range f.int("w") {
			top, left := i*f.int("dilationH"), j*f.int("dilationW")
			row := Slice(p, 2, top, top+(rows-1)*strideH+1, strideH)
			taps = append(taps, Slice(row, 3, left, left+(cols-1)*strideW+1, strideW))
		}
	}
	return Transpose(Stack(2, taps...), 0, 3, 4, 1, 2)
}

func foreignTensordot(f foreign, x []*Node) *Node {
	aAxes, bAxes := f.ints("aAxes"), f.ints("bAxes")
	var aPerm []int
	k := 1
	for i := range ShapeOf(x[0]) {
		if !slices.Contains(aAxes, i) {
			aPerm = append(aPerm, i)
		}
	}
	bPerm := slices.Clone(bAxes)
	for i, d := range ShapeOf(x[1]) {
		if slices.Contains(bAxes, i) {
			k *= d
		} else {
			bPerm = append(bPerm, i)
		}
	}
	a := Transpose(x[0], append(aPerm, aAxes...)...)
	return MatMul(Reshape(a, -1, k), Reshape(Transpose(x[1], bPerm...), k, -1))
}

// padded is the image of a pooling op with its padding.
func (f foreign) padded(x *Node, value float64) *Node {
	return Pad(Pad(x, 2, f.int("padNorth"), f.int("padSouth"), value), 3, f.int("padWest"), f.int("padEast"), value)
}

func (f foreign) window() PoolOptions {
	return PoolOptions{Kernel: [2]int{f.int("h"), f.int("w")}, Stride: [2]int{f.int("strideH"), f.int("strideW")}}
}

// composite is the primitive that a composition f of primitives makes, of the type that node n has: its kernel runs a
// program of its own, its derivatives are those of f.
func composite(n *Node, f func(x []*Node) *Node) *Primitive {
	want := TypeOf(n)
	name := "gorgonia/" + n.Op().String()
	build := func(x []*Node) *Node {
		y := f(x)
		if t := TypeOf(y); t.DType != want.DType || t.Size() != want.Size() {
			panic(fail(name, "result", want, t))
		}
		return Reshape(y, want.Shape...)
	}
	return &Primitive{
		Name:  name,
		Attrs: n.ID(),
		Type:  func([]Type) (Type, error) { return want, nil },
		Kernel: func(_ Type, in []Type) (Kernel, error) {
			sub, err := newSubgraph(build, in)
			if err != nil {
				return nil, err
			}
			run, err := sub.compile()
			if err != nil {
				return nil, err
			}
			return func(out *Array, in []*Array) error {
				for i, a := range in {
					run.bind(i, a)
				}
				if err := run.program.Run(); err != nil {
					return errors.Wrap(err, name)
				}
				return out.CopyFrom(run.out)
			}, nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			a := aliases(x)
			return VJP([]*Node{build(a)}, []*Node{dy}, a)
		},
		JVP: func(y *Node, x, dx []*Node) *Node {
			a := aliases(x)
			var v, dv []*Node
			for i, d := range dx {
				if d != nil {
					v, dv = append(v, a[i]), append(dv, d)
				}
			}
			return JVP([]*Node{build(a)}, v, dv)[0]
		},
	}
}
