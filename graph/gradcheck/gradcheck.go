// Package gradcheck checks the derivatives of anything made of graph's ops: a primitive, a layer, an objective.
//
//	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
//		return graph.Softmax(graph.MatMul(x[0], x[1]), -1)
//	}, gradcheck.Normal(1, 3, 4), gradcheck.Normal(2, 4, 5))
//
// The words: f maps the variables x (the inputs given, and every trained parameter f makes) to y of any shape; J is the
// Jacobian of y; u is a random cotangent of y, v a random tangent of x. In float64 the following must hold, where D
// stands for central differences of five points, which use nothing but values:
//
//	reverse                 J'u           = D(<u, y>) for each element of x (at most 100 of each variable)
//	forward                 Jv            = D(y along v)
//	adjoint                 <u, Jv>       = <J'u, v>
//	reverse over reverse    d<J'u, v>/dx  = D(J'u along v)
//	forward over reverse    J'u along v   = D(J'u along v)
//	reverse over forward    d<u, Jv>/dx   = D(J'u along v)
//	forward over forward    Jv along v    = D(Jv along v)
//
// Everything must be finite. A program that computes all of these must leave its inputs alone, give the same bits when
// it is run again after other inputs, and allocate nothing; in float32 it must give the same numbers loosely.
//
// Central differences need a function that is smooth around x: at kinks, choose x with Separated or compare the
// sub-gradient with its definition.
package gradcheck

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// A Function builds the node to check from the nodes of the inputs. It is built once in float64 and once in float32,
// so constants of its own must have the type s.DType().
type Function func(s *graph.Scope, x []*graph.Node) *graph.Node

// Options change what is checked; the zero value is what Check and Verify use.
type Options struct {
	Tolerance   float64 // allowed error in float64, relative to the largest element of the derivative; 0 means 1e-7
	Tolerance32 float64 // the same for float32 against float64; 0 means 1e-3
	Step        float64 // of the central differences; 0 means 1e-4
	Inputs      []int   // the inputs to differentiate; nil means all that are not Int
	FirstOrder  bool    // leave the second derivatives out, for functions that have none
	Training    bool    // build f in a scope for training
}

// Check reports to t what Verify finds wrong with f at the inputs, which are float64 (or Int, for indices).
func Check(t testing.TB, f func(s *graph.Scope, x []*graph.Node) *graph.Node, inputs ...*graph.Array) {
	t.Helper()
	Options{}.Check(t, f, inputs...)
}

// Verify is Check for use outside tests: nil if everything holds, otherwise an error with a line for each mode that
// fails: the mode, the variable, the element, what was wanted and what was got.
func Verify(f func(s *graph.Scope, x []*graph.Node) *graph.Node, inputs ...*graph.Array) error {
	return Options{}.Verify(f, inputs...)
}

// Check is the function Check with these options.
func (o Options) Check(t testing.TB, f func(s *graph.Scope, x []*graph.Node) *graph.Node, inputs ...*graph.Array) {
	t.Helper()
	if err := o.Verify(f, inputs...); err != nil {
		t.Error(err)
	}
}

// Verify is the function Verify with these options.
func (o Options) Verify(f func(s *graph.Scope, x []*graph.Node) *graph.Node, inputs ...*graph.Array) error {
	if o.Tolerance == 0 {
		o.Tolerance = 1e-7
	}
	if o.Tolerance32 == 0 {
		o.Tolerance32 = 1e-3
	}
	if o.Step == 0 {
		o.Step = 1e-4
	}
	c := &checker{Options: o}
	wide, err := c.build(f, graph.Float64, inputs, nil)
	if err != nil {
		return err
	}
	if err := c.float64(wide); err != nil {
		return err
	}
	narrow, err := c.build(f, graph.Float32, inputs, wide.vars)
	if err != nil {
		return errors.Wrap(err, "in float32")
	}
	if err := c.float32(wide, narrow); err != nil {
		return err
	}
	if len(c.wrong) > 0 {
		return errors.Errorf("gradcheck: %s", strings.Join(c.wrong, "\n\t"))
	}
	return nil
}

type checker struct {
	Options
	wrong []string
}

// A variable is what f is differentiated by: an input or a trained parameter.
type variable struct {
	name     string
	node     *graph.Node
	value    *graph.Array // the point at which the derivatives are checked
	tangent  *graph.Array
	tangentN *graph.Node
}

// A model is f built in one type, with all its derivatives.
type model struct {
	inputs     []*graph.Node
	values     []*graph.Array
	vars       []variable
	y, u       *graph.Node
	cotangent  *graph.Array
	reverse    []*graph.Node
	forward    *graph.Node
	second     map[string][]*graph.Node // mode to J'u along v
	forward2   *graph.Node
	value      *graph.Program // y
	derivative *graph.Program // y, J'u, Jv
	all        *graph.Program
}

var secondModes = []string{"reverse over reverse", "forward over reverse", "reverse over forward"}

func (c *checker) build(f Function, dtype graph.DType, inputs []*graph.Array, from []variable) (*model, error) {
	m := &model{second: map[string][]*graph.Node{}}
	wanted := map[int]bool{}
	for _, i := range c.Inputs {
		if i < 0 || i >= len(inputs) {
			return nil, errors.Errorf("gradcheck: Inputs: want 0 to %d, got %d", len(inputs)-1, i)
		}
		wanted[i] = true
	}
	for i, a := range inputs {
		if a.DType == graph.Float32 {
			return nil, errors.Errorf("gradcheck: input %d: want float64 or int, got %v", i, a.Type)
		}
		m.values = append(m.values, rounded(a, dtype))
	}
	g, err := graph.Build(&graph.Params{Seed: 1, DType: dtype}, func(s *graph.Scope) {
		if c.Training {
			s = s.ForTraining()
		}
		for i, a := range m.values {
			name := fmt.Sprintf("input %d", i)
			n := s.Input(name, a.DType, a.Shape...)
			m.inputs = append(m.inputs, n)
			if a.IsFloat() && (c.Inputs == nil || wanted[i]) {
				m.vars = append(m.vars, variable{name: name, node: n, value: a})
			}
		}
		m.y = f(s, m.inputs)
		if t := graph.TypeOf(m.y); !t.IsFloat() {
			panic(graph.Fail("gradcheck", "result", "float32 or float64", t))
		}
		for _, n := range s.Graph().Trainable(m.y) {
			p := s.Graph().Param(n)
			v := variable{name: "parameter " + p.Name, node: n, value: rounded(p.Value, dtype)}
			if from != nil {
				v.value = rounded(from[len(m.vars)].value, dtype)
			}
			m.vars = append(m.vars, v)
		}
		m.u = s.Input("gradcheck cotangent", m.y.Dtype(), graph.ShapeOf(m.y)...)
		m.cotangent = rounded(Normal(101, graph.ShapeOf(m.y)...), m.y.Dtype())
		for i := range m.vars {
			v := &m.vars[i]
			v.tangentN = s.Input("gradcheck tangent of "+v.name, v.value.DType, v.value.Shape...)
			v.tangent = rounded(Normal(uint64(102+i), v.value.Shape...), v.value.DType)
		}
		m.differentiate(!c.FirstOrder)
	})
	if err != nil {
		return nil, err
	}
	return m, m.compile(g)
}

func (m *model) differentiate(second bool) {
	var x, v []*graph.Node
	for _, a := range m.vars {
		x, v = append(x, a.node), append(v, a.tangentN)
	}
	y, u := []*graph.Node{m.y}, []*graph.Node{m.u}
	m.reverse = graph.VJP(y, u, x)
	m.forward = graph.JVP(y, x, v)[0]
	if !second {
		return
	}
	m.second[secondModes[0]] = graph.VJP(m.reverse, v, x)
	m.second[secondModes[1]] = graph.JVP(m.reverse, x, v)
	m.second[secondModes[2]] = graph.VJP([]*graph.Node{m.forward}, u, x)
	m.forward2 = graph.JVP([]*graph.Node{m.forward}, x, v)[0]
}

func (m *model) compile(g *graph.Graph) (err error) {
	if m.value, err = g.Compile(m.y); err != nil {
		return err
	}
	first := append([]*graph.Node{m.y, m.forward}, m.reverse...)
	if m.derivative, err = g.Compile(first...); err != nil {
		return err
	}
	for _, r := range m.results() {
		first = append(first, r.node)
	}
	m.all, err = g.Compile(first...)
	return err
}

// A result is one derivative that is computed: of, with a variable's name where it belongs to one.
type result struct {
	mode, of string
	node     *graph.Node
}

func (m *model) results() []result {
	r := []result{{"value", "result", m.y}, {"forward", "result", m.forward}}
	for i, v := range m.vars {
		r = append(r, result{"reverse", v.name, m.reverse[i]})
	}
	for _, mode := range secondModes {
		for i, n := range m.second[mode] {
			r = append(r, result{mode, m.vars[i].name, n})
		}
	}
	if m.forward2 != nil {
		r = append(r, result{"forward over forward", "result", m.forward2})
	}
	return r
}

// run computes p at the point moved by step along the direction.
func (m *model) run(p *graph.Program, step float64, direction func(variable int) *graph.Array) error {
	for i, n := range m.inputs {
		if p.Uses(n) {
			p.Array(n).CopyFrom(m.values[i])
		}
	}
	if p.Uses(m.u) {
		p.Array(m.u).CopyFrom(m.cotangent)
	}
	for i, v := range m.vars {
		if p.Uses(v.tangentN) {
			p.Array(v.tangentN).CopyFrom(v.tangent)
		}
		if !p.Uses(v.node) {
			continue
		}
		a := p.Array(v.node)
		a.CopyFrom(v.value)
		if d := direction(i); d != nil {
			for j := range a.Size() {
				a.Set(j, v.value.At(j)+step*d.At(j))
			}
		}
	}
	return p.Run()
}

func (m *model) along(i int) *graph.Array { return m.vars[i].tangent }
func nowhere(int) *graph.Array            { return nil }

// difference is the derivative along a direction of what read appends, by central differences of five points.
func (c *checker) difference(m *model, p *graph.Program, direction func(int) *graph.Array, read func() []float64) ([]float64, error) {
	var d []float64
	for _, point := range []struct{ at, weight float64 }{{-2, 1}, {-1, -8}, {1, 8}, {2, -1}} {
		if err := m.run(p, point.at*c.Step, direction); err != nil {
			return nil, err
		}
		values := read()
		if d == nil {
			d = make([]float64, len(values))
		}
		for i, v := range values {
			d[i] += point.weight * v / (12 * c.Step)
		}
	}
	return d, nil
}

// float64 checks the derivatives in float64.
func (c *checker) float64(m *model) error {
	if err := c.run64(m); err != nil {
		return err
	}
	var scale float64 // of <u, y>
	for i := range m.cotangent.Size() {
		scale += math.Abs(m.cotangent.At(i) * m.all.Array(m.y).At(i))
	}
	for k := range m.vars {
		if err := c.elements(m, k, scale); err != nil {
			return err
		}
	}
	want, err := c.difference(m, m.value, m.along, func() []float64 { return list(m.value.Array(m.y)) })
	if err != nil {
		return err
	}
	c.compare("forward", "result", want, list(m.all.Array(m.forward)), c.Tolerance, largest(list(m.all.Array(m.y))))
	c.adjoint(m)
	if c.FirstOrder {
		return nil
	}
	for k, v := range m.vars {
		want, err := c.difference(m, m.derivative, m.along, func() []float64 { return list(m.derivative.Array(m.reverse[k])) })
		if err != nil {
			return err
		}
		scale := largest(list(m.all.Array(m.reverse[k])))
		for _, mode := range secondModes {
			c.compare(mode, v.name, want, list(m.all.Array(m.second[mode][k])), c.Tolerance, scale)
		}
	}
	want, err = c.difference(m, m.derivative, m.along, func() []float64 { return list(m.derivative.Array(m.forward)) })
	if err != nil {
		return err
	}
	c.compare("forward over forward", "result", want, list(m.all.Array(m.forward2)), c.Tolerance, largest(list(m.all.Array(m.forward))))
	return nil
}

// elements compares reverse mode with central differences of <u, y>, element by element.
func (c *checker) elements(m *model, k int, scale float64) error {
	const most = 100
	v := m.vars[k]
	size := v.value.Size()
	unit := graph.NewArray(v.value.DType, v.value.Shape...)
	direction := func(i int) *graph.Array {
		if i == k {
			return unit
		}
		return nil
	}
	var at []int
	var want, got []float64
	for j := range min(size, most) {
		e := j * size / min(size, most)
		unit.Set(e, 1)
		d, err := c.difference(m, m.value, direction, func() []float64 {
			return []float64{dot(m.cotangent, m.value.Array(m.y))}
		})
		if err != nil {
			return err
		}
		unit.Set(e, 0)
		at, want, got = append(at, e), append(want, d[0]), append(got, m.all.Array(m.reverse[k]).At(e))
	}
	c.compareAt("reverse", v.name, at, want, got, c.Tolerance, scale)
	return nil
}

// adjoint checks that both modes are the same linear map.
func (c *checker) adjoint(m *model) {
	forward := dot(m.cotangent, m.all.Array(m.forward))
	var reverse, scale float64
	for k, v := range m.vars {
		g := m.all.Array(m.reverse[k])
		for i := range g.Size() {
			reverse += g.At(i) * v.tangent.At(i)
			scale += math.Abs(g.At(i) * v.tangent.At(i))
		}
	}
	for i := range m.cotangent.Size() {
		scale += math.Abs(m.cotangent.At(i) * m.all.Array(m.forward).At(i))
	}
	if e := math.Abs(forward - reverse); !(e <= 1e-10*(scale+1e-3)) {
		c.report("adjoint: <u, Jv> is %.12g, <J'u, v> is %.12g, error %.3g", forward, reverse, e)
	}
}

// run64 computes everything at the point and checks what must hold of the program itself.
func (c *checker) run64(m *model) error {
	if err := m.run(m.all, 0, nowhere); err != nil {
		return err
	}
	results := m.results()
	first := make([]*graph.Array, len(results))
	for i, r := range results {
		first[i] = m.all.Array(r.node).Clone()
		for j := range first[i].Size() {
			if x := first[i].At(j); x-x != 0 {
				c.report("%s: %s, element %d: want a finite number, got %v", r.mode, r.of, j, x)
				break
			}
		}
	}
	for i, n := range m.inputs {
		if m.all.Uses(n) && !same(m.all.Array(n), m.values[i]) {
			c.report("run: input %d: want it unchanged, got another value", i)
		}
	}
	if err := m.run(m.all, c.Step, m.along); err != nil {
		return err
	}
	if err := m.run(m.all, 0, nowhere); err != nil {
		return err
	}
	for i, r := range results {
		if !same(first[i], m.all.Array(r.node)) {
			c.report("repeat: %s of %s: want the bits of the first run, got others", r.mode, r.of)
		}
	}
	if n := allocations(m.all); n > 0 {
		c.report("allocations: want 0 in a run after the first, got %d", n)
	}
	return nil
}

// float32 compares the float32 program with the float64 one.
func (c *checker) float32(wide, narrow *model) error {
	for _, m := range []*model{wide, narrow} {
		if err := m.run(m.all, 0, nowhere); err != nil {
			return err
		}
	}
	got := narrow.results()
	for i, r := range wide.results() {
		a := wide.all.Array(r.node)
		c.compare("float32 "+r.mode, r.of, list(a), list(narrow.all.Array(got[i].node)), c.Tolerance32, largest(list(wide.all.Array(wide.y))))
	}
	return nil
}

func (c *checker) compare(mode, of string, want, got []float64, tolerance, scale float64) {
	c.compareAt(mode, of, nil, want, got, tolerance, scale)
}

// compareAt reports the worst element. Scale is that of the numbers whose difference want was made of.
func (c *checker) compareAt(mode, of string, at []int, want, got []float64, tolerance, scale float64) {
	allowed := tolerance * (largest(want) + scale + 1e-3)
	worst, where := allowed, -1
	for i := range want {
		if e := math.Abs(want[i] - got[i]); !(e <= worst) {
			worst, where = e, i
		}
		if math.IsNaN(worst) {
			break
		}
	}
	if where < 0 {
		return
	}
	e := where
	if at != nil {
		e = at[where]
	}
	c.report("%s: %s, element %d: want %.12g, got %.12g, error %.3g (allowed %.3g)", mode, of, e, want[where], got[where], worst, allowed)
}

func (c *checker) report(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// allocations is the least number of heap allocations of a run, as other goroutines allocate at the same time.
func allocations(p *graph.Program) uint64 {
	least := uint64(math.MaxUint64)
	for range 20 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p.Run()
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
		if least == 0 {
			break
		}
	}
	return least
}

// rounded is a in the given type with values that float32 holds, so that both types see the same numbers.
func rounded(a *graph.Array, dtype graph.DType) *graph.Array {
	if !a.IsFloat() {
		return a
	}
	r := graph.NewArray(dtype, a.Shape...)
	for i := range a.Size() {
		r.Set(i, float64(float32(a.At(i))))
	}
	return r
}

func list(a *graph.Array) []float64 {
	v := make([]float64, a.Size())
	for i := range v {
		v[i] = a.At(i)
	}
	return v
}

func largest(v []float64) float64 {
	var m float64
	for _, x := range v {
		m = max(m, math.Abs(x))
	}
	return m
}

func dot(a, b *graph.Array) float64 {
	var s float64
	for i := range a.Size() {
		s += a.At(i) * b.At(i)
	}
	return s
}

func same(a, b *graph.Array) bool {
	for i := range a.Size() {
		if math.Float64bits(a.At(i)) != math.Float64bits(b.At(i)) {
			return false
		}
	}
	return true
}
