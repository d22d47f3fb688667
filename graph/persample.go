package graph

import (
	"maps"
	"slices"
	"strings"
)

// PerSampleGrad is the derivative of each example's loss with respect to each parameter: for losses [batch] and a
// parameter [...] a node [batch, ...], whose sum over the batch is Grad of the sum. It takes the arithmetic
// of one gradient and the memory of a gradient for each example (I. Goodfellow 2015, arXiv 1510.01799).
//
// The examples must lie along the first axis of everything computed from them and must not be mixed, as batch
// normalisation mixes them. A parameter may be used as the right operand of MatMul, the weight of Conv2D, the table of
// Take along axis 0, and a broadcast operand of an elementwise op, itself or reshaped, transposed or through an
// elementwise function of one variable; any other use is refused by name.
func PerSampleGrad(losses *Node, params ...*Node) []*Node {
	shape := ShapeOf(losses)
	if len(shape) != 1 || !TypeOf(losses).IsFloat() {
		e := fail("per_sample_grad", "losses", "floating-point losses [batch]", TypeOf(losses))
		e.Operands = describe([]*Node{losses})
		panic(e)
	}
	b := &perSample{batch: shape[0], users: map[*Node][]*Node{}, cotangent: map[*Node]*Node{}, data: map[*Node]bool{}}
	b.findData(losses, params)
	on := active([]*Node{losses}, params)
	for _, n := range on {
		for _, x := range operands(n) {
			if u := b.users[x]; !slices.Contains(u, n) {
				b.users[x] = append(u, n)
			}
		}
	}
	for i, d := range VJP([]*Node{losses}, []*Node{Fill(losses, 1)}, on) {
		b.cotangent[on[i]] = d
	}
	out := make([]*Node, len(params))
	for i, w := range params {
		if b.batch > 0 {
			out[i] = b.grad(w)
		}
		if out[i] == nil {
			out[i] = constant(w.Graph(), w.Dtype(), 0, b.shape(w)...)
		}
	}
	return out
}

type perSample struct {
	batch     int
	users     map[*Node][]*Node
	cotangent map[*Node]*Node
	data      map[*Node]bool // depends on an input, and so has examples along its first axis
}

// findData marks what depends on a leaf that is not a parameter.
func (b *perSample) findData(losses *Node, params []*Node) {
	all := slices.SortedFunc(maps.Keys(ancestors([]*Node{losses})), func(a, b *Node) int { return int(a.ID() - b.ID()) })
	for _, n := range all {
		if n.Op() == nil {
			b.data[n] = !slices.Contains(params, n) && !strings.HasPrefix(n.Name(), "param/") // as Scope.Param calls them
		}
		for _, x := range operands(n) {
			b.data[n] = b.data[n] || b.data[x]
		}
	}
}

// shape is that of a node with the batch in front.
func (b *perSample) shape(w *Node) []int { return slices.Concat([]int{b.batch}, ShapeOf(w)) }

// grad adds up what each use of w contributes; nil is zero.
func (b *perSample) grad(w *Node) *Node {
	var sum *Node
	for _, n := range b.users[w] {
		for i, x := range operands(n) {
			if x != w {
				continue
			}
			d := b.use(n, i)
			if d == nil {
				e := fail("per_sample_grad", "use of "+label(w), "matmul, conv2d, take, broadcasting, a function of one variable, reshape or transpose", n.Op())
				e.Operands = describe(operands(n))
				panic(e)
			}
			sum = plus(sum, Reshape(d, b.shape(w)...))
		}
	}
	return sum
}

// use is the contribution of n's operand i, or nil if there is no rule for it.
func (b *perSample) use(n *Node, i int) *Node {
	p, x, dy := primitiveOf(n), operands(n), b.cotangent[n]
	w, s := x[i], ShapeOf(n)
	switch a := p.Attrs.(type) {
	case matMulAttrs:
		sx := ShapeOf(x[0])
		if i == 1 && !a.TransA && len(sx) == 2 && b.data[x[0]] && sx[0]%b.batch == 0 {
			left := Reshape(x[0], b.batch, sx[0]/b.batch, sx[1])
			right := Reshape(dy, b.batch, s[0]/b.batch, s[1])
			if a.TransB {
				left, right = right, left
			}
			return MatMulT(left, right, true, false)
		}
	case ConvOptions:
		if i == 1 && b.data[x[0]] && s[0] == b.batch {
			return b.conv(x[0], w, dy, a)
		}
	}
	switch {
	case p.Name == "reshape":
		return b.grad(n)
	case p.Name == "transpose":
		inverse := make([]int, len(s)+1)
		for j, a := range p.Attrs.([]int) {
			inverse[a+1] = j + 1
		}
		if d := b.grad(n); d != nil {
			return Transpose(d, inverse...)
		}
	case p.Name == "take" && i == 0 && p.Attrs == 0 && b.data[x[1]] && len(s) > 1 && s[0] == b.batch:
		idx := x[1]
		hot := OneHot(Reshape(idx, b.batch, -1), ShapeOf(w)[0], w.Dtype())
		return MatMulT(hot, Reshape(dy, b.batch, ShapeOf(hot)[1], -1), true, false)
	case p.Elementwise && !b.data[n] && len(x) == 1:
		return p.VJP(n, b.grad(n), x)[0] // broadcasts over the batch
	case p.Elementwise && b.data[n] && len(s) > 0 && s[0] == b.batch && (len(ShapeOf(w)) < len(s) || ShapeOf(w)[0] == 1):
		return b.elementwise(n, i)
	}
	return nil
}

// conv reads the batch as groups of one image: each example then has a weight of its own.
func (b *perSample) conv(x, w, dy *Node, o ConvOptions) *Node {
	sx, sw, sy := ShapeOf(x), ShapeOf(w), ShapeOf(dy)
	o.Groups *= b.batch
	image := Reshape(x, 1, b.batch*sx[1], sx[2], sx[3])
	each := Reshape(BroadcastTo(w, b.shape(w)...), b.batch*sw[0], sw[1], sw[2], sw[3])
	return VJP([]*Node{Conv2D(image, each, o)}, []*Node{Reshape(dy, 1, b.batch*sy[1], sy[2], sy[3])}, []*Node{each})[0]
}

// elementwise gives each example a copy of w to broadcast.
func (b *perSample) elementwise(n *Node, i int) *Node {
	p, x, s := primitiveOf(n), slices.Clone(operands(n)), ShapeOf(n)
	w := x[i]
	each := make([]int, len(s))
	fill(each, 1)
	copy(each[len(s)-len(ShapeOf(w)):], ShapeOf(w))
	one := Reshape(w, each...)
	each[0] = b.batch
	x[i] = BroadcastTo(one, each...)
	return p.VJP(n, b.cotangent[n], x)[i]
}
