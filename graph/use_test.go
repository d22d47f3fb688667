package graph_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	. "github.com/harpe-ml/harpe/graph"
)

// useCase is a small computation with one parameter w and data x.
type useCase struct {
	w, x  []int
	build func(w, x *Node) *Node
}

var useCases = map[string]useCase{
	"matmul":     {[]int{3, 2}, []int{4, 3}, func(w, x *Node) *Node { return Shift(MatMul(x, w), 1) }},
	"transposed": {[]int{2, 3}, []int{4, 3}, func(w, x *Node) *Node { return MatMulT(x, w, false, true) }},
	"sequence":   {[]int{3, 2}, []int{4, 5, 3}, func(w, x *Node) *Node { return MatMul(x, w) }},
	"conv":       {[]int{2, 3, 2, 2}, []int{4, 3, 5, 4}, func(w, x *Node) *Node { return Conv2D(x, w, ConvOptions{Stride: [2]int{2, 1}, Padding: [2]int{1, 0}}) }},
	"grouped":    {[]int{4, 1, 2, 2}, []int{4, 2, 3, 3}, func(w, x *Node) *Node { return Conv2D(x, w, ConvOptions{Groups: 2}) }},
	"factor":     {[]int{3}, []int{4, 2, 3}, func(w, x *Node) *Node { return Mul(x, w) }},
	"channel":    {[]int{3}, []int{4, 3, 2, 2}, func(w, x *Node) *Node { return Add(Mul(x, Reshape(w, 3, 1, 1)), Const(x, 2)) }},
	"summand":    {[]int{2, 3}, []int{4, 2, 3}, func(w, x *Node) *Node { return Add(x, w) }},
	"part":       {[]int{5, 3}, []int{4, 2, 3}, func(w, x *Node) *Node { return Add(x, Slice(w, 0, 1, 3, 1)) }},
	"scaled":     {[]int{3}, []int{4, 3}, func(w, x *Node) *Node { return Mul(x, Scale(w, 3)) }},
}

// A use's own gradient and tangents are those of reverse and forward mode through its logit.
func TestUses(t *testing.T) {
	for name, c := range useCases {
		var got, want []*Node
		g, err := Build(&Params{Seed: 1, DType: Float64}, func(s *Scope) {
			x := s.Normal("x", c.x...)
			w := s.Param("w", NormalInit(1), c.w...)
			y := Tanh(c.build(w, x))
			uses := s.Graph().Uses(y)
			if len(uses) != 1 || uses[0].Param != w {
				panic(Fail("test", name, "one use of w", uses))
			}
			u := uses[0]
			if u.Logit != Operands(y)[0] {
				panic(Fail("test", name, "the logit before tanh", u.Logit))
			}
			dz := s.Normal("dz", ShapeOf(u.Logit)...)
			got = append(got, u.Grad(dz, Same))
			want = append(want, VJP([]*Node{u.Logit}, []*Node{dz}, []*Node{w})[0])
			if name != "part" && name != "scaled" {
				v := s.Normal("v", append([]int{4}, c.w...)...)
				d := u.ExampleTangents(v, Same)
				for n := range 4 { // each example with its own tangent, by forward mode
					own := Reshape(Slice(v, 0, n, n+1, 1), c.w...)
					got = append(got, Slice(d, 0, n, n+1, 1))
					want = append(want, Slice(JVP([]*Node{u.Logit}, []*Node{w}, []*Node{own})[0], 0, n, n+1, 1))
				}
			}
			if len(c.w) > 1 {
				p, q := s.Normal("p", c.w[0]), s.Normal("q", c.w[1:]...)
				column := make([]int, len(c.w))
				for i := range column {
					column[i] = 1
				}
				column[0] = c.w[0]
				if d := u.OuterTangent(p, q); d != nil {
					got = append(got, d)
					want = append(want, JVP([]*Node{u.Logit}, []*Node{w}, []*Node{Mul(Reshape(p, column...), q)})[0])
				} else if strings.Contains("matmul transposed sequence conv", name) {
					panic(Fail("test", name, "a short cut for outer products", "none"))
				}
			}
		})
		if err != nil {
			t.Errorf("%s: %+v", name, err)
			continue
		}
		p, err := g.Compile(append(append([]*Node{}, got...), want...)...)
		if err != nil {
			t.Fatalf("%s: %+v", name, err)
		}
		if err := p.Run(); err != nil {
			t.Fatalf("%s: %+v", name, err)
		}
		for k := range got {
			a, b := p.Array(got[k]), p.Array(want[k])
			if !a.Type.Equal(b.Type) {
				t.Errorf("%s %d: %v, want %v", name, k, a.Type, b.Type)
				continue
			}
			for i := range a.Size() {
				if math.Abs(a.At(i)-b.At(i)) > 1e-12 {
					t.Fatalf("%s %d: element %d: %v, want %v", name, k, i, a.At(i), b.At(i))
				}
			}
		}
	}
}

// Recurrent uses are found at each step, parameters used in a way of their own are refused by name.
func TestUsesOfOneParameter(t *testing.T) {
	g, err := Build(&Params{DType: Float64}, func(s *Scope) {
		x := s.Input("x", Float64, 2, 3)
		w := s.Param("w", Ones(), 3, 3)
		h := x
		for range 4 {
			h = Tanh(Add(MatMul(h, w), s.Param("b", Zeros(), 3)))
		}
		if n := len(s.Graph().Uses(h)); n != 8 {
			panic(Fail("test", "uses", 8, n))
		}
		own := MatMul(x, Softmax(w, 0))
		if _, err := s.Graph().UsesOf(w, own); err == nil || !strings.Contains(err.Error(), "use of param/w") {
			panic(Fail("test", "error", "one that names w", err))
		}
	})
	if err != nil {
		t.Fatalf("%v: %+v", g, err)
	}
}

// Inject replaces nodes and builds only what depends on them.
func TestInject(t *testing.T) {
	var a, y, z, same, twice *Node
	var x *Node
	g, err := Build(&Params{DType: Float64}, func(s *Scope) {
		x = s.Input("x", Float64)
		before := Exp(x)
		a = Square(x)
		b := Add(Mul(a, before), a)
		y = Sin(Add(b, a))
		var copied func(*Node) *Node
		z, copied = Inject(y, map[*Node]Injection{
			a: func(n *Node, _ func(*Node) *Node) *Node { return Shift(n, 2) },
			b: func(n *Node, copied func(*Node) *Node) *Node { return Add(n, copied(a)) },
		})
		same, twice = copied(before), copied(a)
		if same != before || twice != a || copied(b) == b {
			panic(Fail("test", "copies", "only what depends on a replaced node", "others"))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(z)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []float64{0.3, -1.2} {
		p.Array(x).Set(0, v)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		shifted := v*v + 2
		b := shifted*math.Exp(v) + shifted + v*v
		if want := math.Sin(b + shifted); math.Abs(p.Array(z).Scalar()-want) > 1e-14 {
			t.Errorf("%v: %v, want %v", v, p.Array(z).Scalar(), want)
		}
	}
	_, err = Build(nil, func(s *Scope) {
		n := Exp(s.Input("x", Float64, 3))
		Inject(Sum(n), map[*Node]Injection{n: func(n *Node, _ func(*Node) *Node) *Node { return Sum(n) }})
	})
	if err == nil || !strings.Contains(fmt.Sprint(err), "inject") {
		t.Errorf("a replacement of another type: %v", err)
	}
}
