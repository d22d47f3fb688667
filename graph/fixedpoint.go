package graph

import (
	"fmt"
	"math"
	"slices"

	"github.com/pkg/errors"
)

// FixedPointOptions says when an iteration ends.
type FixedPointOptions struct {
	Tolerance     float64 // largest change of an element, relative to the largest seen; 0 means 1e-6, in float64 1e-12
	MaxIterations int     // 0 means 1000
}

// FixedPoint is the z with z = f(z, x), found in the run by z ← f(z, x) from z0. It is an error of the run if that does
// not settle. The derivatives follow the implicit function theorem and are fixed points themselves: they cost memory for
// one application of f, however many were made, and do not depend on z0 (S. Bai et al. 2019, arXiv 1909.01377, th. 1).
//
// F is also built in graphs of its own, so it must make its nodes of its arguments only.
func FixedPoint(f func(z *Node, x []*Node) *Node, z0 *Node, x []*Node, o FixedPointOptions) *Node {
	if o.Tolerance == 0 {
		o.Tolerance = 1e-6
		if z0.Dtype() == Float64 {
			o.Tolerance = 1e-12
		}
	}
	if o.MaxIterations == 0 {
		o.MaxIterations = 1000
	}
	operands := append([]*Node{z0}, x...)
	sub, err := newSubgraph(func(in []*Node) *Node { return f(in[0], in[1:]) }, typesOf(operands))
	if err != nil {
		panic(err)
	}
	return Apply(fixedPointOp(f, sub, o), operands...)
}

func fixedPointOp(f func(z *Node, x []*Node) *Node, sub *subgraph, o FixedPointOptions) *Primitive {
	return &Primitive{
		Name:  "fixed_point",
		Attrs: fmt.Sprintf("{%p %+v}", sub, o),
		Type: func(in []Type) (Type, error) {
			if t := TypeOf(sub.out); !t.Equal(in[0]) {
				return Type{}, fail("fixed_point", "result of f", in[0], t)
			}
			return in[0], needFloat("fixed_point", in[:1])
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			run, err := sub.compile()
			if err != nil {
				return nil, err
			}
			if out.DType == Float32 {
				return iterate[float32](run, o), nil
			}
			return iterate[float64](run, o), nil
		},
		VJP: func(z, dz *Node, x []*Node) []*Node {
			// With w = dz + w·∂f/∂z the cotangent of x is w·∂f/∂x.
			n := len(x)
			w := FixedPoint(func(w *Node, q []*Node) *Node {
				return Add(q[n], VJP([]*Node{f(q[0], q[1:n])}, []*Node{w}, q[:1])[0])
			}, dz, slices.Concat([]*Node{z}, x[1:], []*Node{dz}), o)
			out := make([]*Node, n)
			var at []int
			var wrt []*Node
			a := aliases(x[1:])
			for i, v := range a {
				if TypeOf(v).IsFloat() {
					at, wrt = append(at, i+1), append(wrt, v)
				}
			}
			for i, d := range VJP([]*Node{f(alias(z), a)}, []*Node{w}, wrt) {
				out[at[i]] = d
			}
			return out
		},
		JVP: func(z *Node, x, dx []*Node) *Node {
			// dz = ∂f/∂z·dz + ∂f/∂x·dx.
			n := len(x)
			a := aliases(x[1:])
			var wrt, d []*Node
			for i, v := range a {
				if dx[i+1] != nil {
					wrt, d = append(wrt, v), append(d, dx[i+1])
				}
			}
			if len(wrt) == 0 {
				return nil
			}
			b := JVP([]*Node{f(alias(z), a)}, wrt, d)[0]
			return FixedPoint(func(dz *Node, q []*Node) *Node {
				return Add(q[n], JVP([]*Node{f(q[0], q[1:n])}, q[:1], []*Node{dz})[0])
			}, b, slices.Concat([]*Node{z}, x[1:], []*Node{b}), o)
		},
	}
}

func iterate[T Float](run *subprogram, o FixedPointOptions) Kernel {
	return func(out *Array, in []*Array) error {
		if err := out.CopyFrom(in[0]); err != nil {
			return err
		}
		run.bind(0, out)
		for i, a := range in[1:] {
			run.bind(i+1, a)
		}
		z, next := Data[T](out), Data[T](run.out)
		var change, largest float64
		for range o.MaxIterations {
			if err := run.program.Run(); err != nil {
				return errors.Wrap(err, "fixed_point")
			}
			change = 0
			for i, v := range next {
				largest = max(largest, math.Abs(float64(z[i])), math.Abs(float64(v)))
				change = max(change, math.Abs(float64(v-z[i])))
			}
			copy(z, next)
			if change <= o.Tolerance*largest {
				return nil
			}
			if change != change || math.IsInf(change, 0) {
				break
			}
		}
		return fail("fixed_point", "iteration", fmt.Sprintf("a change of at most %.3g after at most %d steps", o.Tolerance*largest, o.MaxIterations), change)
	}
}

// A subgraph is a function of nodes built in a graph of its own, so that a kernel can run it.
type subgraph struct {
	g   *Graph
	in  []*Node
	out *Node
}

func newSubgraph(f func(x []*Node) *Node, in []Type) (*subgraph, error) {
	s := &subgraph{}
	var err error
	s.g, err = Build(nil, func(scope *Scope) {
		for i, t := range in {
			s.in = append(s.in, scope.Input(fmt.Sprint(i), t.DType, t.Shape...))
		}
		s.out = f(s.in)
	})
	return s, err
}

type subprogram struct {
	program *Program
	in      []*Array // nil where the operand is not used
	out     *Array
	nodes   []*Node
}

func (s *subgraph) compile() (*subprogram, error) {
	p, err := s.g.Compile(s.out)
	if err != nil {
		return nil, err
	}
	r := &subprogram{program: p, nodes: s.in, out: p.arrays[s.out]}
	for _, n := range s.in {
		r.in = append(r.in, p.arrays[n])
	}
	return r, nil
}

// bind makes the program read operand i from a.
func (r *subprogram) bind(i int, a *Array) {
	if r.in[i] != nil {
		r.program.Bind(r.nodes[i], a)
	}
}
