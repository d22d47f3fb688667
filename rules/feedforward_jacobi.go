package rules

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
)

// Feedforward is a feed-forward computation seen as a system of equations: state i is a function of the states before
// it. Solving it by fixed-point iteration lets states be computed side by side that would otherwise wait for each other
// (Y. Song, C. Meng, R. Liao, S. Ermon 2021, arXiv 2002.03429). In each sweep blocks of states are computed from the
// last sweep's values of the other blocks. After k sweeps the first k blocks are exact, so the result is, to the bit,
// that of computing state by state, in at most as many sweeps as there are blocks, and often far fewer.
type Feedforward struct {
	// States holds the starting guess, and after a call the solution.
	States []*graph.Array
	// Function computes state i from those before it and must not touch the others; out is not among states. Different
	// states are computed at the same time.
	Function func(i int, states []*graph.Array, out *graph.Array) error
	// Tolerance ends the iteration when no number changes by more; 0 asks for the exact solution.
	Tolerance float64

	next    []*graph.Array   // of the running sweep
	seen    [][]*graph.Array // what each block sees of the states
	errs    []error
	changes []float64
}

// GaussSeidel computes state by state.
func (f *Feedforward) GaussSeidel() error {
	_, err := f.JacobiGS(len(f.States))
	return err
}

// Jacobi computes all states side by side until they change no more, and returns the number of sweeps, the one that
// confirmed it included.
func (f *Feedforward) Jacobi() (sweeps int, err error) { return f.JacobiGS(1) }

// JacobiGS computes blocks of the given number of states side by side, and the states of a block one after the other.
func (f *Feedforward) JacobiGS(block int) (sweeps int, err error) {
	if err := f.prepare("JacobiGS", block); err != nil {
		return 0, err
	}
	return f.solve(0, len(f.States), block)
}

// GSJacobi solves blocks of the given number of states one after the other, the states of each side by side. The
// sweeps of all blocks are added.
func (f *Feedforward) GSJacobi(block int) (sweeps int, err error) {
	if err := f.prepare("GSJacobi", block); err != nil {
		return 0, err
	}
	for lo := 0; lo < len(f.States); lo += block {
		n, err := f.solve(lo, min(lo+block, len(f.States)), 1)
		if sweeps += n; err != nil {
			return sweeps, err
		}
	}
	return sweeps, nil
}

func (f *Feedforward) prepare(op string, block int) error {
	if block < 1 && len(f.States) > 0 {
		return graph.Fail("feedforward", op+" block", "at least 1", block)
	}
	for i, s := range f.States {
		if i == len(f.next) {
			f.next = append(f.next, nil)
			f.errs, f.changes = append(f.errs, nil), append(f.changes, 0)
			f.seen = append(f.seen, nil)
		}
		if f.next[i] == nil || !f.next[i].Type.Equal(s.Type) {
			f.next[i] = graph.NewArray(s.DType, s.Shape...)
		}
	}
	return nil
}

// solve iterates states lo to hi-1. The blocks that are exact already are not computed again.
func (f *Feedforward) solve(lo, hi, block int) (sweeps int, err error) {
	for lo < hi {
		blocks := (hi - lo + block - 1) / block
		compute.Parallel(sweep{f, lo, hi, block}, blocks)
		sweeps++
		var change float64
		for b := range blocks {
			if err := f.errs[b]; err != nil {
				return sweeps, err
			}
			if c := f.changes[b]; c > change || c != c {
				change = c
			}
		}
		for i := lo; i < hi; i++ {
			f.States[i].CopyFrom(f.next[i])
		}
		if change <= f.Tolerance {
			break
		}
		lo += block
	}
	return sweeps, nil
}

// sweep is one sweep over blocks.
type sweep struct {
	*Feedforward
	lo, hi, block int
}

// Run computes block b and how much it changed.
func (s sweep) Run(_, b int) {
	lo := s.lo + b*s.block
	hi := min(lo+s.block, s.hi)
	seen := append(s.seen[b][:0], s.States...)
	s.seen[b], s.errs[b], s.changes[b] = seen, nil, 0
	for i := lo; i < hi; i++ {
		if s.errs[b] = s.Function(i, seen[:i], s.next[i]); s.errs[b] != nil {
			return
		}
		seen[i] = s.next[i]
		for j := range s.next[i].Size() {
			c := math.Abs(s.next[i].At(j) - s.States[i].At(j))
			if c > s.changes[b] || c != c {
				s.changes[b] = c
			}
		}
	}
}

// JacobiBPTT is the goal of lowering the loss of a recurrent network by backpropagation through time whose adjoint
// states are found by parallel Jacobi sweeps: each sweep takes all steps of time at once, in one product, and carries
// the loss one step further back (Y. Song and others 2021, arXiv 2002.03429, section 5.1). sweeps is so the number of
// steps of time that a gradient looks back, 1 meaning none; with as many as there are it is exact.
//
// cell maps the states [rows, units] and the inputs [rows, features] of any number of rows, each for itself, to the
// next states [rows, units]. start is [batch, units], x [time, batch, features]; loss is of all states, start first,
// as [time+1, batch, units].
func JacobiBPTT(s *graph.Scope, cell func(h, x *graph.Node) *graph.Node, loss func(states *graph.Node) *graph.Node, start, x *graph.Node, sweeps int) Goal {
	in, h := graph.ShapeOf(x), graph.ShapeOf(start)
	if len(in) != 3 || len(h) != 2 || in[1] != h[0] || in[0] < 1 {
		panic(graph.Fail("jacobi bptt", "x", fmt.Sprintf("[time, %d, features] for start %v", h[0], h), in))
	}
	if sweeps < 1 {
		panic(graph.Fail("jacobi bptt", "sweeps", "at least 1", sweeps))
	}
	time, batch, units := in[0], h[0], h[1]
	states := []*graph.Node{start}
	for t := range time {
		step := graph.Reshape(graph.Slice(x, 0, t, t+1, 1), batch, in[2])
		states = append(states, cell(states[t], step))
	}
	all := graph.Detach(graph.Concat(0, states...))
	total := loss(graph.Reshape(all, time+1, batch, units))
	from := graph.Slice(all, 0, 0, time*batch, 1)
	next := cell(from, graph.Reshape(x, time*batch, in[2]))
	// The adjoint of states 1 to time: what the loss says of each, and what comes back from the next.
	direct := graph.Slice(graph.Grad(total, all)[0], 0, batch, (time+1)*batch, 1)
	adjoint := direct
	for range min(sweeps, time) - 1 {
		back := graph.VJP([]*graph.Node{next}, []*graph.Node{adjoint}, []*graph.Node{from})[0]
		back = graph.Slice(back, 0, batch, time*batch, 1)
		adjoint = graph.Add(direct, graph.Pad(back, 0, 0, batch, 0))
	}
	params := s.Graph().Trainable(total, next)
	grads := graph.VJP([]*graph.Node{next}, []*graph.Node{adjoint}, params)
	for i, g := range graph.Grad(total, params...) {
		grads[i] = graph.Add(grads[i], g)
	}
	return Goal{Loss: total, Params: params, Grads: grads}
}

// JacobiSolve is Jacobi for functions that compute all states in one call, as an autoregressive network does: it
// replaces x by f(x) until no number changes by more than tolerance, at most the given number of times, and returns how
// often f was called. f must not keep or change x. If number i of f(x) depends on the numbers before it only, as many
// sweeps as there are numbers give the exact solution.
func JacobiSolve(f func(x, next *graph.Array) error, x *graph.Array, most int, tolerance float64) (sweeps int, err error) {
	next := graph.NewArray(x.DType, x.Shape...)
	for sweeps < most {
		if err := f(x, next); err != nil {
			return sweeps, err
		}
		sweeps++
		settled := true
		for i := range x.Size() {
			settled = settled && math.Abs(next.At(i)-x.At(i)) <= tolerance
		}
		if err := x.CopyFrom(next); err != nil {
			return sweeps, err
		}
		if settled {
			break
		}
	}
	return sweeps, nil
}
