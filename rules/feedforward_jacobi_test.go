package rules

import (
	"fmt"
	"math"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

// chain is scalar states, each f of the one before it, which for the first is 0.
func chain(n int, f func(i int, before float64) float64) *Feedforward {
	c := &Feedforward{Function: func(i int, states []*graph.Array, out *graph.Array) error {
		before := 0.0
		if i > 0 {
			before = states[i-1].Scalar()
		}
		out.Set(0, f(i, before))
		return nil
	}}
	for range n {
		c.States = append(c.States, graph.NewArray(graph.Float64, 1))
	}
	return c
}

func (f *Feedforward) values() []float64 {
	v := make([]float64, len(f.States))
	for i, s := range f.States {
		v[i] = s.Scalar()
	}
	return v
}

// h_t = tanh(0.9 h_{t-1} + u_t): sweep by sweep one more state is exact, and after four all are, to the bit.
func TestJacobiSweeps(t *testing.T) {
	u := []float64{0.5, -0.3, 0.8, 0.1}
	f := func(i int, before float64) float64 { return math.Tanh(0.9*before + u[i]) }
	exact := chain(4, f)
	if err := exact.GaussSeidel(); err != nil {
		t.Fatal(err)
	}
	near(t, "exact", graph.ArrayOf(exact.values(), 4), 5e-9, 0.46211716, 0.11538919, 0.71816747, 0.63296680)
	for k, want := range map[int][]float64{
		1: {0.46211716, -0.29131261, 0.66403677, 0.09966799},
		2: {0.46211716, 0.11538919, 0.49133499},
		3: {0.46211716, 0.11538919, 0.71816747, 0.49465260},
	} {
		// The k-th sweep is observed by a function that stops in the next one.
		sweep := 0
		c := chain(4, f)
		inner := c.Function
		enough := errors.New("enough")
		c.Function = func(i int, states []*graph.Array, out *graph.Array) error {
			if i == 3 {
				sweep++
			}
			if sweep > k {
				return enough
			}
			return inner(i, states, out)
		}
		if _, err := c.Jacobi(); !errors.Is(err, enough) && k < 4 {
			t.Fatalf("want the function's error, got %v", err)
		}
		near(t, fmt.Sprint("sweep ", k), graph.ArrayOf(c.values()[:len(want)], len(want)), 5e-9, want...)
	}
	for name, solve := range map[string]func(f *Feedforward) (int, error){
		"Jacobi":    (*Feedforward).Jacobi,
		"JacobiGS2": func(f *Feedforward) (int, error) { return f.JacobiGS(2) },
		"JacobiGS3": func(f *Feedforward) (int, error) { return f.JacobiGS(3) },
		"GSJacobi2": func(f *Feedforward) (int, error) { return f.GSJacobi(2) },
		"GSJacobi9": func(f *Feedforward) (int, error) { return f.GSJacobi(9) },
	} {
		c := chain(4, f)
		n, err := solve(c)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"Jacobi": 4, "JacobiGS2": 2, "JacobiGS3": 2, "GSJacobi2": 4, "GSJacobi9": 4}[name]; n != want {
			t.Errorf("%s: %d sweeps, want %d", name, n, want)
		}
		for i, v := range c.values() {
			if v != exact.States[i].Scalar() {
				t.Errorf("%s: state %d: want the bits of %v, got %v", name, i, exact.States[i].Scalar(), v)
			}
		}
	}
	_, err := chain(4, f).JacobiGS(0)
	wantError(t, err, "JacobiGS", "0")
}

// Independent states are found in one sweep, and confirmed in a second; an early error ends the iteration.
// s_i = 0.1 s_{i-1} + u_i gains a decimal a sweep, whatever the length.
func TestJacobiStopsEarly(t *testing.T) {
	c := chain(50, func(i int, _ float64) float64 { return float64(i) })
	if n, err := c.Jacobi(); n != 2 || err != nil {
		t.Errorf("independent states: %d sweeps, %v; want 2", n, err)
	}
	for _, length := range []int{20, 200} {
		r := graph.Rand(1, "chain", 0)
		u := make([]float64, length)
		for i := range u {
			u[i] = r.NormFloat64()
		}
		f := func(i int, before float64) float64 { return 0.1*before + u[i] }
		exact, c := chain(length, f), chain(length, f)
		if err := exact.GaussSeidel(); err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		for _, v := range exact.values() {
			worst = max(worst, math.Abs(v))
		}
		c.Tolerance = 1e-6
		n, err := c.Jacobi()
		if err != nil {
			t.Fatal(err)
		}
		// The change of a sweep is at most 1.1 times the error before it, 0.1^(n-1) of the first.
		if want := 1 + int(math.Ceil(6+math.Log10(1.1*worst))); n > want || n < 6 {
			t.Errorf("length %d: %d sweeps, want 6 to %d", length, n, want)
		}
		for i, v := range c.values() {
			if math.Abs(v-exact.States[i].Scalar()) > 1e-6 {
				t.Errorf("length %d: state %d is off by %v", length, i, v-exact.States[i].Scalar())
			}
		}
	}
	unknown := math.NaN()
	nan := chain(5, func(i int, before float64) float64 { return before + unknown })
	if n, err := nan.Jacobi(); n != 5 || err != nil {
		t.Errorf("NaN: %d sweeps, %v; it never settles, so all 5 are needed", n, err)
	}
}

// recurrent is the network of the paper's experiment: softplus states, linear outputs that predict the next input.
type recurrent struct{ units, features int }

func (r recurrent) cell(s *graph.Scope) func(h, x *graph.Node) *graph.Node {
	w := s.Param("wh", graph.Glorot(r.units, r.units), r.units, r.units)
	v := s.Param("wx", graph.Glorot(r.features, r.units), r.features, r.units)
	b := s.Param("bh", graph.Zeros(), r.units)
	return func(h, x *graph.Node) *graph.Node {
		return graph.Softplus(graph.Add(graph.Add(graph.MatMul(h, w), graph.MatMul(x, v)), b))
	}
}

func (r recurrent) loss(s *graph.Scope, x *graph.Node) func(states *graph.Node) *graph.Node {
	o := s.Param("wo", graph.Glorot(r.units, r.features), r.units, r.features)
	b := s.Param("bo", graph.Zeros(), r.features)
	return func(states *graph.Node) *graph.Node {
		time := graph.ShapeOf(x)[0]
		h := graph.Reshape(graph.Slice(states, 0, 0, time, 1), -1, r.units)
		e := graph.Sub(graph.Add(graph.MatMul(h, o), b), graph.Reshape(x, -1, r.features))
		return graph.Scale(graph.Sum(graph.Square(e)), 1/float64(time))
	}
}

// With as many sweeps as steps of time, JacobiBPTT is the gradient through the unrolled network; with one, that of a
// network whose cells see the states as constants; and the products of each sweep are over all of time at once.
func TestJacobiBPTT(t *testing.T) {
	const time, batch = 7, 2
	r := recurrent{units: 5, features: 3}
	params := &graph.Params{Seed: 3, DType: graph.Float64}
	build := func(f func(s *graph.Scope, start, x *graph.Node) Goal) ([]*graph.Array, float64, *graph.Program) {
		var goal Goal
		g, err := graph.Build(params, func(s *graph.Scope) {
			x := s.Normal("x", time, batch, r.features)
			goal = f(s, graph.Literal(x, graph.NewArray(graph.Float64, batch, r.units)), x)
		})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		p, err := g.Compile(append([]*graph.Node{goal.Loss}, goal.Grads...)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		grads := map[string]*graph.Array{}
		for i, n := range goal.Params {
			grads[g.Param(n).Name] = p.Array(goal.Grads[i])
		}
		var list []*graph.Array
		for _, name := range []string{"wh", "wx", "bh", "wo", "bo"} {
			list = append(list, grads[name])
		}
		return list, p.Array(goal.Loss).Scalar(), p
	}
	unrolled := func(truncate bool) func(s *graph.Scope, start, x *graph.Node) Goal {
		return func(s *graph.Scope, start, x *graph.Node) Goal {
			cell, states := r.cell(s), []*graph.Node{start}
			for i := range time {
				h := states[i]
				if truncate {
					h = graph.Detach(h)
				}
				states = append(states, cell(h, graph.Reshape(graph.Slice(x, 0, i, i+1, 1), batch, r.features)))
			}
			loss := r.loss(s, x)(graph.Reshape(graph.Concat(0, states...), time+1, batch, r.units))
			return Minimize(loss, s.Graph().Trainable(loss))
		}
	}
	jacobi := func(sweeps int) func(s *graph.Scope, start, x *graph.Node) Goal {
		return func(s *graph.Scope, start, x *graph.Node) Goal {
			return JacobiBPTT(s, r.cell(s), r.loss(s, x), start, x, sweeps)
		}
	}
	last := math.Inf(1)
	exact, wantLoss, _ := build(unrolled(false))
	short, _, _ := build(unrolled(true))
	for sweeps := 1; sweeps <= time+1; sweeps++ {
		got, loss, _ := build(jacobi(sweeps))
		if math.Abs(loss-wantLoss) > 1e-12 {
			t.Errorf("loss: want %v, got %v", wantLoss, loss)
		}
		far := 0.0
		for i, a := range got {
			for j := range a.Size() {
				far = max(far, math.Abs(a.At(j)-exact[i].At(j)))
				if sweeps == 1 && math.Abs(a.At(j)-short[i].At(j)) > 1e-12 {
					t.Errorf("one sweep: gradient %d[%d]: want %v, got %v", i, j, short[i].At(j), a.At(j))
				}
			}
		}
		if sweeps >= time && far > 1e-12 {
			t.Errorf("%d sweeps: off by %v", sweeps, far)
		}
		// The last state is not in the loss, so one sweep less is exact too.
		if sweeps < time-1 && far < 1e-6 || far >= last && far > 1e-12 {
			t.Errorf("%d sweeps: off by %v, and one sweep before by %v", sweeps, far, last)
		}
		last = max(far, 1e-12)
	}
	for _, c := range []struct {
		shape  []int
		sweeps int
		word   string
	}{{[]int{time, batch + 1, 3}, 2, "x"}, {[]int{time, batch, 3}, 0, "sweeps"}} {
		_, err := graph.Build(params, func(s *graph.Scope) {
			x := s.Normal("x", c.shape...)
			JacobiBPTT(s, r.cell(s), r.loss(s, x), s.Normal("h", batch, r.units), x, c.sweeps)
		})
		wantError(t, err, "jacobi bptt", c.word)
	}
}

// JacobiBPTT is a goal like others. Of sequences (a, a/2) the network cannot know a, whose variance is the least loss,
// and learns the second number from the first.
func TestJacobiBPTTTrains(t *testing.T) {
	r := recurrent{units: 6, features: 1}
	phase := func(s *graph.Scope, x, _ *graph.Node) []Goal {
		sequence := graph.Transpose(graph.Reshape(x, 8, 2, 1), 1, 0, 2)
		start := graph.Literal(x, graph.NewArray(graph.Float32, 8, r.units))
		return []Goal{JacobiBPTT(s, r.cell(s), r.loss(s, sequence), start, sequence, 2)}
	}
	tr, err := Plan{Name: "jacobi", Phases: []Phase{phase}, Optimizer: optim.Adam{LR: 0.02},
		Predict: func(_ *graph.Scope, x *graph.Node) *graph.Node { return x }}.Trainer(Spec{Input: []int{2}, Target: []int{2}, Batch: 8, Seed: 1})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	h, err := Fit(t.Context(), tr, halves{}, Config{Epochs: 400})
	if err != nil {
		t.Fatal(err)
	}
	// The squares of (i-7.5)/8, i = 0 to 15, over two steps of time and two batches.
	const least = 340.0 / 64 / 2 / 2
	if first, last := h.Records[0].Loss, h.Last().Loss; first < 1.2*least || last > 1.03*least {
		t.Errorf("loss %v to %v, want above %v to at most %v", first, last, 1.2*least, 1.03*least)
	}
}

type halves struct{}

func (halves) Len() int           { return 16 }
func (halves) InputShape() []int  { return []int{2} }
func (halves) Classes() int       { return 0 }
func (halves) TargetShape() []int { return []int{2} }
func (halves) Read(i int, _ uint64, x, _ []float32) int {
	x[0] = float32(i)/8 - 1
	x[1] = x[0] / 2
	return -1
}

// The sweeps of a function of all states are those of the states one by one.
func TestJacobiSolve(t *testing.T) {
	u := []float64{0.5, -0.3, 0.8, 0.1}
	calls := 0
	f := func(x, next *graph.Array) error {
		calls++
		for i, v := range u {
			if i > 0 {
				v += 0.9 * x.At(i-1)
			}
			next.Set(i, math.Tanh(v))
		}
		return nil
	}
	for most, want := range map[int][]float64{
		1: {0.46211716, -0.29131261, 0.66403677, 0.09966799},
		9: {0.46211716, 0.11538919, 0.71816747, 0.63296680},
	} {
		x := graph.NewArray(graph.Float64, 4)
		calls = 0
		n, err := JacobiSolve(f, x, most, 0)
		if err != nil || n != calls || n != min(most, 5) { // the fifth confirms
			t.Errorf("at most %d: %d sweeps, %d calls, %v", most, n, calls, err)
		}
		near(t, fmt.Sprint("at most ", most), x, 5e-9, want...)
	}
	broken := errors.New("broken")
	if n, err := JacobiSolve(func(_, _ *graph.Array) error { return broken }, graph.NewArray(graph.Float64, 4), 4, 0); n != 0 || !errors.Is(err, broken) {
		t.Errorf("%d sweeps, %v; want the function's error", n, err)
	}
}
