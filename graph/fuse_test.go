package graph_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// A fusible is a random graph made of what the compiler rewrites and fuses: elementwise chains, reductions along rows
// and channels, softmax, norms, products and convolutions with bias and ReLU, transposed operands, repeated computation.
type fusible struct {
	s    *graph.Scope
	r    *rand.Rand
	pool []*graph.Node // the values so far
	many int           // parameters so far
	wide bool          // rows longer than a block
}

func (f *fusible) pick() *graph.Node {
	return f.pool[max(f.r.IntN(len(f.pool)), f.r.IntN(len(f.pool)))]
}

func (f *fusible) param(shape ...int) *graph.Node {
	f.many++
	return f.s.Param(fmt.Sprint("p", f.many), graph.NormalInit(0.5), shape...)
}

// like is a value, parameter or constant that broadcasts with x to x's shape.
func (f *fusible) like(x *graph.Node) *graph.Node {
	s := graph.ShapeOf(x)
	for _, n := range f.r.Perm(len(f.pool)) {
		if y := f.pool[n]; slices.Equal(graph.ShapeOf(y), s) && y != x && f.r.IntN(2) == 0 {
			return y
		}
	}
	shape := slices.Clone(s)
	for i := range shape {
		if f.r.IntN(2) == 0 {
			shape[i] = 1
		}
	}
	switch f.r.IntN(4) {
	case 0:
		return graph.Const(x, 0.7)
	case 1:
		return graph.Fill(x, 1)
	case 2:
		return graph.BroadcastTo(f.param(shape...), s...)
	}
	return f.param(shape[f.r.IntN(len(shape)+1):]...)
}

// fusibleSteps keep values within a few units, so that rounding errors stay small.
var fusibleSteps = []func(f *fusible) *graph.Node{
	func(f *fusible) *graph.Node { return graph.Tanh(f.pick()) },
	func(f *fusible) *graph.Node { return graph.GELU(graph.Tanh(f.pick())) },
	func(f *fusible) *graph.Node { return graph.ReLU(f.pick()) },
	func(f *fusible) *graph.Node { return graph.Exp(graph.Neg(graph.Square(f.pick()))) },
	func(f *fusible) *graph.Node { x := f.pick(); return graph.Add(graph.Scale(x, 0.5), f.like(x)) },
	func(f *fusible) *graph.Node { x := f.pick(); return graph.Mul(graph.Sin(x), f.like(x)) },
	func(f *fusible) *graph.Node { x := f.pick(); return graph.Sub(f.like(x), graph.Sigmoid(x)) },
	func(f *fusible) *graph.Node {
		x := f.pick()
		return graph.Div(x, graph.Shift(graph.Square(f.like(x)), 1))
	},
	func(f *fusible) *graph.Node {
		x := f.pick()
		return graph.Where(graph.Greater(x, f.like(x)), graph.Tanh(x), f.like(x))
	},
	func(f *fusible) *graph.Node { return graph.Softmax(f.pick(), -1) },
	func(f *fusible) *graph.Node { return graph.Scale(graph.LogSoftmax(f.pick(), -1), 0.3) },
	func(f *fusible) *graph.Node { return graph.Exp(graph.LogSoftmax(f.pick(), -1)) },
	func(f *fusible) *graph.Node { return graph.Standardize(f.pick(), 0.1, -1) },
	func(f *fusible) *graph.Node { // batch normalisation
		x := f.pick()
		if len(graph.ShapeOf(x)) == 4 {
			return graph.Standardize(x, 0.1, 0, 2, 3)
		}
		return graph.Standardize(x, 0.1, 0)
	},
	func(f *fusible) *graph.Node {
		x := f.pick()
		m := graph.KeepDims(graph.Max(x, -1), graph.ShapeOf(x), -1)
		return graph.Add(graph.Sub(x, m), graph.Mul(m, f.like(m)))
	},
	func(f *fusible) *graph.Node {
		x := f.pick()
		return graph.Add(x, graph.BroadcastTo(graph.Mean(graph.Mul(x, f.like(x))), graph.ShapeOf(x)...))
	},
	func(f *fusible) *graph.Node { // all but the first axis as one, and back
		x := f.pick()
		return graph.Reshape(graph.Tanh(graph.Mul(graph.Flatten(x), f.param(1, graph.TypeOf(x).Size()/graph.ShapeOf(x)[0]))), graph.ShapeOf(x)...)
	},
	func(f *fusible) *graph.Node { // slices, whose derivatives are put together again
		x := f.pick()
		axis := f.r.IntN(len(graph.ShapeOf(x)))
		n := graph.ShapeOf(x)[axis]
		if n < 3 {
			return graph.Cos(x)
		}
		a := 1 + f.r.IntN(n-2)
		b := a + 1 + f.r.IntN(n-a-1)
		first := graph.Sin(graph.Slice(x, axis, 0, a, 1))
		return graph.Concat(axis, graph.Tanh(graph.Slice(x, axis, b, n, 1)), first, graph.Slice(x, axis, a, b, 1))
	},
	func(f *fusible) *graph.Node { // dense layer
		x := f.pick()
		in, out := graph.ShapeOf(x)[len(graph.ShapeOf(x))-1], 1+f.r.IntN(7)
		y := graph.Add(graph.MatMul(x, f.param(in, out)), f.param(out))
		if f.r.IntN(2) == 0 {
			y = graph.ReLU(y)
		}
		return graph.Tanh(graph.MatMul(y, f.param(out, in)))
	},
	func(f *fusible) *graph.Node { // a sum of products of transposed operands
		x := graph.Flatten(f.pick())
		a, b := graph.ShapeOf(x)[0], graph.ShapeOf(x)[1]
		if a > 100 {
			return graph.Neg(x)
		}
		y := graph.MatMul(graph.Transpose(f.param(a, a)), x)
		z := graph.MatMul(x, graph.Transpose(f.param(3, b)))
		return graph.Tanh(graph.Scale(graph.Add(y, graph.MatMul(z, f.param(3, b))), 1/math.Sqrt(float64(b))))
	},
	func(f *fusible) *graph.Node { // convolution
		x := f.pick()
		if len(graph.ShapeOf(x)) != 4 {
			return graph.Neg(x)
		}
		c := graph.ShapeOf(x)[1]
		y := graph.Add(graph.Conv2D(x, f.param(c, c, 3, 3), graph.ConvOptions{Padding: [2]int{1, 1}}), f.param(c, 1, 1))
		return graph.Tanh(graph.ReLU(y))
	},
	func(f *fusible) *graph.Node { // attention over the last two axes
		x := f.pick()
		if len(graph.ShapeOf(x)) < 2 {
			return x
		}
		return graph.Attention(x, graph.Tanh(x), x, f.r.IntN(2) == 0)
	},
	func(f *fusible) *graph.Node {
		return graph.Checkpoint(func(x []*graph.Node) *graph.Node { return graph.Tanh(graph.Mul(graph.Sin(x[0]), x[0])) }, f.pick())
	},
	func(f *fusible) *graph.Node { return graph.Dropout(f.s.Layer("dropout", ""), f.pick(), 0.3) },
}

// random fills a graph and names its outputs: values, gradients, directional derivatives, gradients of gradients.
func (f *fusible) random() (out []*graph.Node) {
	shapes := [][]int{{6, 5}, {4, 3, 7}, {2, 3, 4, 4}, {33, 17}, {1, 9}, {8, 1}, {2, 3, 1, 5}, {7}}
	shape := shapes[f.r.IntN(len(shapes))]
	if f.wide {
		shape = [][]int{{3, 5003}, {40, 600}, {2, 17, 40, 30}, {70000}}[f.r.IntN(4)]
	}
	x := f.param(shape...)
	f.pool = []*graph.Node{x, f.param(shape...)}
	for range 4 + f.r.IntN(8) {
		step := f.r.IntN(len(fusibleSteps))
		y := fusibleSteps[step](f)
		if graph.TypeOf(y).Size() <= 1<<17 {
			f.pool = append(f.pool, y)
		}
	}
	last := f.pool[len(f.pool)-1]
	loss := graph.Mean(graph.Mul(graph.Sin(last), f.pool[len(f.pool)-1]))
	wrt := f.s.Graph().Trainable(loss)
	wrt = wrt[:min(len(wrt), 4)]
	out = append(out, last, f.pick(), loss)
	out = append(out, graph.Grad(loss, wrt...)...)
	if f.r.IntN(3) == 0 {
		v := make([]*graph.Node, len(wrt))
		for i, n := range wrt {
			v[i] = graph.Cos(n)
		}
		out = append(out, graph.JVP([]*graph.Node{loss, last}, wrt, v)...)
	}
	if f.r.IntN(3) == 0 && !f.wide {
		out = append(out, graph.Grad(graph.Sum(graph.Square(out[3])), wrt[0])...)
	}
	return out
}

// Whatever the compiler does, alone or together, the values stay those of plain op-by-op computation and of Gorgonia's
// machine; and a run allocates nothing.
func TestFusionKeepsValues(t *testing.T) {
	graphs := 300
	if testing.Short() {
		graphs = 60
	}
	const all = 1<<graph.Passes - 1
	choices := []int{1<<2 | 1<<3, 1<<2 | 1<<4}
	for i := range graph.Passes {
		choices = append(choices, 1<<i, all-1<<i)
	}
	var plain, fused int
	for seed := range uint64(graphs) {
		for _, dtype := range []graph.DType{graph.Float64, graph.Float32} {
			tolerance := 1e-12
			if dtype == graph.Float32 {
				tolerance = 1e-5
			}
			f := &fusible{r: rand.New(rand.NewPCG(seed, 7)), wide: seed%15 == 0}
			var out []*graph.Node
			g, err := graph.Build(&graph.Params{Seed: seed, DType: dtype}, func(s *graph.Scope) {
				f.s = s.ForTraining()
				out = f.random()
			})
			if err != nil {
				t.Fatalf("graph %d: %+v", seed, err)
			}
			p, err := g.CompileWith(0, out...)
			if err != nil {
				t.Fatalf("graph %d: %+v", seed, err)
			}
			p.SetStep(3)
			run(t, p)
			r, err := p.Reference()
			if err != nil {
				t.Fatalf("graph %d: %+v", seed, err)
			}
			want, err := r.Run()
			if err != nil {
				t.Fatalf("graph %d: %+v", seed, err)
			}
			r.Close()
			plain += p.Stats().Instructions
			compare := func(what string, q *graph.Program) {
				for i, n := range out {
					if e := farthest(q.Array(n), want[i]); !(e <= tolerance) {
						t.Errorf("graph %d, %v, %s, output %d %v: off by %.3g", seed, dtype, what, i, graph.TypeOf(n), e)
					}
				}
			}
			compare("nothing", p)
			for _, bits := range []int{all, choices[seed%uint64(len(choices))], choices[(seed+5)%uint64(len(choices))]} {
				q, err := g.CompileWith(bits, out...)
				if err != nil {
					t.Fatalf("graph %d, passes %06b: %+v", seed, bits, err)
				}
				q.SetStep(3)
				run(t, q)
				run(t, q)
				compare(fmt.Sprintf("passes %06b", bits), q)
				if bits == all {
					fused += q.Stats().Instructions
					if n := testing.AllocsPerRun(1, func() { run(t, q) }); n != 0 {
						t.Errorf("graph %d: %v allocations a run", seed, n)
					}
				}
			}
		}
	}
	t.Logf("%d instructions without, %d with fusion", plain, fused)
	if fused*2 > plain {
		t.Errorf("want at most half of the instructions with fusion, got %d of %d", fused, plain)
	}
}

// farthest is the largest difference relative to the largest element, or to 1.
func farthest(got, want *graph.Array) float64 {
	if !got.Type.Equal(want.Type) {
		return math.Inf(1)
	}
	scale, worst := 1.0, 0.0
	for i := range want.Size() {
		scale = max(scale, math.Abs(want.At(i)))
		d := math.Abs(got.At(i) - want.At(i))
		if d != d || d > worst {
			worst = d
		}
		if d != d {
			return d
		}
	}
	return worst / scale
}

// NaN and infinities come out where op-by-op computation has them.
func TestFusionKeepsNonFiniteValues(t *testing.T) {
	bad := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1e30, -1e30}
	for seed := range uint64(40) {
		f := &fusible{r: rand.New(rand.NewPCG(seed, 11))}
		var out []*graph.Node
		params := &graph.Params{Seed: seed, DType: graph.Float64}
		g, err := graph.Build(params, func(s *graph.Scope) {
			f.s = s
			out = f.random()
		})
		if err != nil {
			t.Fatalf("graph %d: %+v", seed, err)
		}
		for p := range params.All() {
			for range 1 + p.Value.Size()/20 {
				p.Value.Set(f.r.IntN(p.Value.Size()), bad[f.r.IntN(len(bad))])
			}
		}
		p, err := g.CompileWith(0, out...)
		if err != nil {
			t.Fatal(err)
		}
		q, err := g.Compile(out...)
		if err != nil {
			t.Fatal(err)
		}
		run(t, p)
		run(t, q)
		for i, n := range out {
			a, b := p.Array(n), q.Array(n)
			for j := range a.Size() {
				x, y := a.At(j), b.At(j)
				if (x-x == 0) != (y-y == 0) {
					t.Errorf("graph %d, output %d, element %d: want %v, got %v", seed, i, j, x, y)
					break
				}
			}
		}
	}
}

// The bits do not depend on the number of threads.
func TestFusionIsRepeatable(t *testing.T) {
	for seed := uint64(0); seed < 150; seed += 15 {
		var first [][]float64
		for _, threads := range []int{1, 2, 3} {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
			f := &fusible{r: rand.New(rand.NewPCG(seed, 7)), wide: true}
			var out []*graph.Node
			g, err := graph.Build(&graph.Params{Seed: seed}, func(s *graph.Scope) {
				f.s = s
				out = f.random()
			})
			if err != nil {
				t.Fatal(err)
			}
			p, err := g.Compile(out...)
			if err != nil {
				t.Fatal(err)
			}
			run(t, p)
			var all [][]float64
			for _, n := range out {
				a := p.Array(n)
				v := make([]float64, a.Size())
				for i := range v {
					v[i] = a.At(i)
				}
				all = append(all, v)
			}
			if first == nil {
				first = all
			}
			for i := range all {
				if !slices.Equal(all[i], first[i]) {
					t.Errorf("graph %d, output %d differs with %d threads", seed, i, threads)
				}
			}
		}
	}
}

// What is expected to be one instruction is one.
func TestFused(t *testing.T) {
	const rows, n = 8, 24
	for _, c := range []struct {
		name string
		want []string
		f    func(s *graph.Scope, x *graph.Node) []*graph.Node
	}{
		{"dense", []string{"matmul+bias+relu"}, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			return []*graph.Node{graph.ReLU(graph.Add(graph.MatMul(x, s.Param("w", graph.Ones(), n, 5)), s.Param("b", graph.Ones(), 5)))}
		}},
		{"layer norm", []string{"sum+mul+sub+square+sum+mul+add+rsqrt+mul"}, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			return []*graph.Node{graph.Standardize(x, 1e-5, 1)}
		}},
		{"softmax", []string{"max+sub+exp+sum+div"}, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			return []*graph.Node{graph.Softmax(x, 1)}
		}},
		{"transposed", []string{"matmul"}, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			return []*graph.Node{graph.MatMul(graph.Transpose(x), x)}
		}},
		{"two products", []string{"matmul", "matmul+sum"}, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			w, v := s.Param("w", graph.Ones(), n, 5), s.Param("v", graph.Ones(), n, 5)
			return []*graph.Node{graph.Add(graph.MatMul(graph.Detach(x), w), graph.MatMul(x, v))}
		}},
		{"constants", []string{"mul+add"}, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			return []*graph.Node{graph.Add(graph.Mul(graph.Fill(x, 2), graph.Mul(x, graph.Fill(x, 1))), graph.Mul(graph.Fill(x, 2), graph.Fill(x, 3)))}
		}},
		{"GELU and its derivative", []string{"mul+erf+add+mul+mul+sum+mul+mul+mul+square+neg+exp+mul+mul+mul+add"}, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			y := graph.Sum(graph.GELU(x), 1)
			return []*graph.Node{y, graph.Grad(graph.Sum(y), x)[0]}
		}},
	} {
		var x *graph.Node
		var out []*graph.Node
		g, err := graph.Build(nil, func(s *graph.Scope) {
			x = s.Input("x", graph.Float32, rows, n)
			out = c.f(s, x)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(out...)
		if err != nil {
			t.Fatal(err)
		}
		if c.name == "constants" && p.Stats().ConstBytes > 3*4 {
			t.Errorf("%s: want three numbers, got %d bytes", c.name, p.Stats().ConstBytes)
		}
		profile, err := p.Profile(1)
		if err != nil {
			t.Fatal(err)
		}
		if len(profile.Ops) > len(c.want) {
			t.Errorf("%s: want %v, got\n%v", c.name, c.want, profile)
		}
		for _, name := range c.want {
			if !strings.Contains(profile.String(), " "+name+" ") {
				t.Errorf("%s: want %v, got\n%v", c.name, c.want, profile)
			}
		}
	}
}

// The arena of a deep network is hardly larger than what is alive at one time, also where there are too many buffers to
// try much, and no buffer overlaps another: the values are those of plain computation.
func TestPlanOfDeepNetwork(t *testing.T) {
	for _, depth := range []int{25, 200, 700} {
		g, out := perceptron(t, 4, 8, depth)
		p, err := g.Compile(out...)
		if err != nil {
			t.Fatal(err)
		}
		if s := p.Stats(); float64(s.ArenaBytes) > 1.05*float64(s.PeakBytes) {
			t.Errorf("depth %d: want an arena close to the peak, got %+v", depth, s)
		}
		plain, err := g.CompileWith(0, out...)
		if err != nil {
			t.Fatal(err)
		}
		set(p.Array(g.Inputs()[0]), gradcheck.Normal(1, 32).Float64s()...)
		set(plain.Array(g.Inputs()[0]), gradcheck.Normal(1, 32).Float64s()...)
		run(t, p)
		run(t, plain)
		for i, n := range out {
			if e := farthest(p.Array(n), plain.Array(n)); !(e <= 1e-5) {
				t.Errorf("depth %d, output %d: off by %g", depth, i, e)
			}
		}
	}
}
