package graph

import (
	"slices"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// What the compiler knows of a primitive beside its kernel: Primitive.form is one of these, or nil.
type (
	unaryForm  struct{ f func(float64) float64 }
	binaryForm struct{ f func(a, b float64) float64 }
	// whereForm is Where, of floats.
	whereForm struct{}
	// fillForm is a constant array with one value in every element.
	fillForm float64
	// broadcastForm repeats its operand.
	broadcastForm struct{}
	// transposeForm is the permutation of a transpose.
	transposeForm []int
	// padForm is a padding with a value.
	padForm struct {
		padAttrs
		value float64
	}
	// concatForm is the axis of a concatenation.
	concatForm int
	// reduceForm is a sum or maximum over axes.
	reduceForm struct {
		axes    []int
		maximum bool
	}
	// softmaxForm is a softmax along an axis, or its logarithm.
	softmaxForm struct {
		axis int
		log  bool
	}
)

// A literal's form is its *Array; that of a product is a matMulAttrs, that of a convolution its ConvOptions.

// elementwise says that the op is one of those that fuse.
func elementwise(p *Primitive) bool {
	switch p.form.(type) {
	case unaryForm, binaryForm, whereForm, broadcastForm:
		return true
	}
	return false
}

// apply is the value of p applied to in, or another operation with the same value that is cheaper.
func (c *compiler) apply(n *Node, p *Primitive, in []operand) operand {
	t := TypeOf(n)
	if !c.on.rewrite {
		return c.result(n, p, in, t)
	}
	switch f := p.form.(type) {
	case fillForm:
		if t.Size() > 1 {
			one := c.result(n, fillOp(Type{t.DType, nil}, float64(f)), nil, Type{t.DType, nil})
			return c.result(n, broadcastOp(t.Shape), []operand{one}, t)
		}
	case unaryForm:
		if y, ok := c.exponential(n, p, in, t); ok {
			return y
		}
		return c.pointwise(n, p, in, t)
	case binaryForm, whereForm:
		if y, ok := c.joined(n, p, in, t); ok {
			return y
		}
		return c.pointwise(n, p, in, t)
	case matMulAttrs:
		in = slices.Clone(in)
		in[0], f.TransA = untransposed(in[0], f.TransA)
		in[1], f.TransB = untransposed(in[1], f.TransB)
		if f != p.form {
			p = matMulOp(f)
		}
	case softmaxForm:
		if f.axis == len(t.Shape)-1 && t.Size() > 0 {
			return c.softmaxOf(n, in[0], t, f.log)
		}
	}
	return c.result(n, p, in, t)
}

// pointwise applies an elementwise op to what its operands repeat, where the result's shape stays the same.
func (c *compiler) pointwise(n *Node, p *Primitive, in []operand, t Type) operand {
	in = slices.Clone(in)
	for i, x := range in {
		y, ok := repeated(x)
		if !ok {
			continue
		}
		shape := y.shape
		for j, z := range in {
			if j != i {
				shape, _ = broadcastShapes(shape, z.shape)
			}
		}
		if slices.Equal(shape, t.Shape) {
			in[i] = y
		}
	}
	// If all operands repeat something, the result repeats what comes of that.
	small := slices.Clone(in)
	var shape []int
	repeats := false
	for i, x := range in {
		if y, ok := repeated(x); ok {
			small[i], repeats = y, true
		}
		shape, _ = broadcastShapes(shape, small[i].shape)
	}
	if repeats && sizeOf(shape) < t.Size() {
		y := c.pointwise(n, p, small, Type{t.DType, shape})
		return c.result(n, broadcastOp(t.Shape), []operand{y}, t)
	}
	switch p {
	case greaterOp: // the derivative of ReLU asks where x > 0, which is where ReLU(x) > 0: x itself need not be kept
		if isFill(in[1], 0) {
			if y := c.find(reluOp, in[:1]); y != nil {
				in[0] = operand{y, in[0].shape, in[0].after}
			}
		}
	case mulOp:
		for i, x := range in {
			if isFill(x, 1) && slices.Equal(in[1-i].shape, t.Shape) {
				return in[1-i]
			}
		}
	}
	return c.result(n, p, in, t)
}

// joined is the sum of two arrays of which one is 0 where the other is not, as the derivatives of neighbouring slices
// are, by putting one behind the other.
func (c *compiler) joined(n *Node, p *Primitive, in []operand, t Type) (operand, bool) {
	if p != addOp {
		return operand{}, false
	}
	a, okA := padded(in[0])
	b, okB := padded(in[1])
	if !okA || !okB || a.Axis != b.Axis || !in[0].whole() || !in[1].whole() {
		return operand{}, false
	}
	total := t.Shape[a.Axis]
	first, second := in[0].v.op.in[0], in[1].v.op.in[0]
	if b.Before < a.Before {
		a, b, first, second = b, a, second, first
	}
	if total-a.After != b.Before {
		return operand{}, false
	}
	parts := append(concatenated(first, a.Axis), concatenated(second, a.Axis)...)
	shape := slices.Clone(t.Shape)
	shape[a.Axis] = total - a.Before - b.After
	y := c.result(n, concatOp(a.Axis), parts, Type{t.DType, shape})
	if a.Before > 0 || b.After > 0 {
		y = c.result(n, padOp(padAttrs{a.Axis, a.Before, b.After, 0}, 0), []operand{y}, t)
	}
	return y, true
}

// padded are the attributes of an operand that is padded with zeros at its ends.
func padded(x operand) (padAttrs, bool) {
	if x.v.op == nil || x.after != nil {
		return padAttrs{}, false
	}
	f, ok := x.v.op.prim.form.(padForm)
	return f.padAttrs, ok && f.value == 0 && f.Between == 0
}

// concatenated are the parts of a concatenation along the axis, or x alone.
func concatenated(x operand, axis int) []operand {
	if x.v.op != nil && x.after == nil && x.whole() {
		if f, ok := x.v.op.prim.form.(concatForm); ok && int(f) == axis {
			return slices.Clone(x.v.op.in)
		}
	}
	return []operand{x}
}

// repeated is what a broadcast operand repeats.
func repeated(x operand) (operand, bool) {
	if x.v.op == nil || !x.whole() || x.after != nil {
		return x, false
	}
	if _, ok := x.v.op.prim.form.(broadcastForm); !ok {
		return x, false
	}
	return x.v.op.in[0], true
}

func isFill(x operand, v float64) bool {
	if x.v.op == nil {
		return false
	}
	f, ok := x.v.op.prim.form.(fillForm)
	return ok && float64(f) == v
}

// find is the known value of p applied to in, or nil. Operands under another shape do not count.
func (c *compiler) find(p *Primitive, in []operand) *value {
	n := len(c.ops)
	values := c.values
	y := c.result(in[0].v.node, p, in, in[0].t())
	if len(c.ops) == n {
		return y.v
	}
	delete(c.known, string(c.key))
	c.ops, c.values = c.ops[:n], values
	return nil
}

// untransposed folds a transpose of the last two axes into the product that reads it.
func untransposed(x operand, trans bool) (operand, bool) {
	if x.v.op == nil || !x.whole() || x.after != nil {
		return x, trans
	}
	perm, ok := x.v.op.prim.form.(transposeForm)
	last := len(perm) - 1
	if !ok || last < 1 || perm[last] != last-1 || perm[last-1] != last {
		return x, trans
	}
	for i, a := range perm[:last-1] {
		if a != i {
			return x, trans
		}
	}
	return x.v.op.in[0], !trans
}

// softmaxOf writes the softmax along the last axis as exp(x - max)/sum(exp(x - max)), and its logarithm as
// x - max - log(sum(exp(x - max))): one pass once they are fused.
func (c *compiler) softmaxOf(n *Node, x operand, t Type, log bool) operand {
	axis := len(t.Shape) - 1
	row := slices.Clone(t.Shape)
	row[axis] = 1
	column := Type{t.DType, row[:axis]}
	m := c.result(n, maxOp([]int{axis}), []operand{x}, column)
	m.shape = row
	d := c.result(n, subOp, []operand{x, m}, t)
	e := c.result(n, expOp, []operand{d}, t)
	s := c.result(n, sumOp([]int{axis}), []operand{e}, column)
	total := operand{s.v, row, nil}
	if !log {
		return c.result(n, divOp, []operand{e, total}, t)
	}
	l := c.result(n, logOp, []operand{s}, column)
	l.shape = row
	y := c.result(n, subOp, []operand{d, l}, t)
	c.softmax[y.v] = [2]operand{e, total}
	return y
}

// exponential is exp of a log-softmax, by a division.
func (c *compiler) exponential(n *Node, p *Primitive, in []operand, t Type) (operand, bool) {
	es, ok := c.softmax[in[0].v]
	if p != expOp || !ok || !in[0].whole() || in[0].after != nil {
		return operand{}, false
	}
	return c.result(n, divOp, es[:], t), true
}

// Epilogues: what a product's kernel can do with its sums before it stores them.

// An epilogue is a product or convolution with more operands.
type epilogue struct {
	product any  // matMulAttrs or ConvOptions
	bias    bool // the third operand is added to each row, or channel
	sum     bool // the last operand is added; the result is formed in its memory
	relu    bool
}

// epilogues moves the sum with a bias or with another product, and ReLU, into the products they follow.
func (c *compiler) epilogues() {
	for _, o := range c.ops {
		switch o.prim {
		case addOp:
			for i := range 2 {
				if e, p := productOf(o.in[i]); p != nil && e.moveSum(o, p, o.in[i], o.in[1-i]) {
					break
				}
			}
		case reluOp:
			if e, p := productOf(o.in[0]); p != nil && !e.relu {
				e.relu = true
				e.replace(o, p, p.in)
			}
		}
	}
}

// productOf is the product whose value is used only here.
func productOf(x operand) (epilogue, *operation) {
	p := x.v.op
	if p == nil || p.uses != 1 || x.after != nil || x.v.constant || p.prim == assignOp {
		return epilogue{}, nil
	}
	switch f := p.prim.form.(type) {
	case matMulAttrs, ConvOptions:
		return epilogue{product: f}, p
	case epilogue:
		return f, p
	}
	return epilogue{}, nil
}

// moveSum makes o = x + y a product with a bias or a sum, if y is one of these.
func (e epilogue) moveSum(o, p *operation, x, y operand) bool {
	s := x.v.t.Shape
	if e.relu || len(x.shape) == 0 || !slices.Equal(x.shape, o.out[0].t.Shape) || x.shape[len(x.shape)-1] != s[len(s)-1] {
		return false
	}
	_, matrix := e.product.(matMulAttrs)
	bias := s[len(s)-1:]
	if !matrix {
		if !x.whole() {
			return false
		}
		bias = []int{s[1], 1, 1}
	}
	shape := y.shape
	for len(shape) > len(bias) && shape[0] == 1 {
		shape = shape[1:]
	}
	in := slices.Clone(p.in)
	switch {
	case !e.bias && slices.Equal(shape, bias):
		e.bias = true
		in = slices.Insert(in, 2, y)
	case matrix && !e.sum && slices.Equal(y.shape, x.shape) && x.v != y.v && y.after == nil:
		if _, q := productOf(y); q == nil {
			return false
		}
		e.sum = true
		in = append(in, y)
	default:
		return false
	}
	e.replace(o, p, in)
	return true
}

// replace makes o the product p with more operands.
func (e epilogue) replace(o, p *operation, in []operand) {
	o.in, o.prim, o.out[0].t = in, e.primitive(), p.out[0].t
	o.reverse = o.reverse && p.reverse
}

func (e epilogue) primitive() *Primitive {
	p := &Primitive{Name: "conv2d", form: e}
	if t, ok := e.product.(matMulAttrs); ok {
		p.Name, p.Flops = "matmul", matMulOp(t).Flops
		p.Kernel = func(out Type, in []Type) (Kernel, error) {
			product := matMulKernel(t, out, in, func(m *kernel.MatMul) { m.ReLU, m.Accumulate = e.relu, e.sum })
			if !e.sum {
				return product, nil
			}
			last := len(in) - 1
			return func(out *Array, in []*Array) error {
				if !sameMemory(out, in[last]) {
					copyData(out, in[last])
				}
				return product(out, in[:last])
			}, nil
		}
	} else {
		o := e.product.(ConvOptions)
		p.Flops = convOp(o).Flops
		p.Kernel = func(_ Type, in []Type) (Kernel, error) { return o.forward(in[0], in[1], e.relu), nil }
	}
	for _, part := range []struct {
		on   bool
		name string
	}{{e.bias, "+bias"}, {e.sum, "+sum"}, {e.relu, "+relu"}} {
		if part.on {
			p.Name += part.name
		}
	}
	return p
}

func sameMemory(a, b *Array) bool {
	if a.Size() == 0 {
		return true
	}
	switch d := a.data.(type) {
	case []float32:
		return &d[0] == &b.data.([]float32)[0]
	case []float64:
		return &d[0] == &b.data.([]float64)[0]
	}
	return false
}

// copyData copies between arrays of one size.
func copyData(to, from *Array) {
	switch d := to.data.(type) {
	case []float32:
		copy(d, from.data.([]float32))
	case []float64:
		copy(d, from.data.([]float64))
	case []int:
		copy(d, from.data.([]int))
	}
}
