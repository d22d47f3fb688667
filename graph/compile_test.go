package graph_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"gorgonia.org/gorgonia"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// built is a graph with nodes by name.
type built struct {
	*graph.Graph
	node map[string]*graph.Node
}

func build(t testing.TB, params *graph.Params, f func(s *graph.Scope, node map[string]*graph.Node)) built {
	t.Helper()
	b := built{node: map[string]*graph.Node{}}
	g, err := graph.Build(params, func(s *graph.Scope) { f(s, b.node) })
	if err != nil {
		t.Fatalf("%+v", err)
	}
	b.Graph = g
	return b
}

func (b built) compile(t testing.TB, names ...string) *graph.Program {
	t.Helper()
	var nodes []*graph.Node
	for _, name := range names {
		nodes = append(nodes, b.node[name])
	}
	p, err := b.Compile(nodes...)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return p
}

func run(t testing.TB, p *graph.Program) {
	t.Helper()
	if err := p.Run(); err != nil {
		t.Fatalf("%+v", err)
	}
}

func wantValues(t testing.TB, what string, a *graph.Array, want ...float64) {
	t.Helper()
	if a.Size() != len(want) {
		t.Errorf("%s: want %v, got %v", what, want, a)
		return
	}
	for i, v := range want {
		if e := math.Abs(a.At(i) - v); !(e <= 1e-6*(1+math.Abs(v))) {
			t.Errorf("%s, element %d: want %v, got %v", what, i, v, a.At(i))
		}
	}
}

func set(a *graph.Array, v ...float64) {
	for i, x := range v {
		a.Set(i, x)
	}
}

// Gorgonia's own machine computes the same graph node by node, each result in new memory.
func TestProgramAgainstTapeMachine(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float64, graph.Float32} {
		tolerance := 1e-12
		if dtype == graph.Float32 {
			tolerance = 1e-5
		}
		compared := 0
		for seed := range uint64(60) {
			inputs := compositionInputs(1000 + seed)
			b := build(t, &graph.Params{DType: dtype}, func(s *graph.Scope, node map[string]*graph.Node) {
				var x []*graph.Node
				for i, a := range inputs {
					name := fmt.Sprint("x", i)
					node[name] = s.Input(name, dtype, a.Shape...)
					x = append(x, node[name])
				}
				node["y"], _ = compose(seed, x)
				node["loss"] = graph.Sum(graph.Sin(node["y"]))
				node["dx"] = graph.Grad(node["loss"], x[0])[0]
			})
			names := []string{"y", "loss", "dx"}
			p := b.compile(t, names...)
			for i, a := range inputs {
				n := b.node[fmt.Sprint("x", i)]
				v := graph.NewArray(dtype, a.Shape...)
				set(v, a.Float64s()...)
				if p.Uses(n) {
					p.Array(n).CopyFrom(v)
				}
				var value gorgonia.Value = v.Dense()
				if len(a.Shape) == 0 {
					value = gorgonia.NewF64(v.At(0))
					if dtype == graph.Float32 {
						value = gorgonia.NewF32(float32(v.At(0)))
					}
				}
				if err := gorgonia.Let(n, value); err != nil {
					t.Fatal(err)
				}
			}
			run(t, p)
			values := make([]gorgonia.Value, len(names))
			for i, name := range names {
				gorgonia.Read(b.node[name], &values[i])
			}
			m := gorgonia.NewTapeMachine(b.ExprGraph)
			if err := m.RunAll(); err != nil {
				t.Fatalf("composition %d: %v", seed, err)
			}
			m.Close()
			for i, name := range names {
				want, err := graph.FromValue(values[i])
				if err != nil {
					t.Fatal(err)
				}
				got := p.Array(b.node[name])
				for j := range got.Size() {
					compared++
					if e := math.Abs(got.At(j) - want.At(j)); !(e <= tolerance*(1+math.Abs(want.At(j)))) {
						t.Errorf("composition %d, %v, %s, element %d: TapeMachine has %v, the program %v", seed, dtype, name, j, want.At(j), got.At(j))
					}
				}
			}
		}
		if compared < 500 {
			t.Errorf("only %d numbers were compared", compared)
		}
	}
}

func TestEqualComputationsAreMerged(t *testing.T) {
	b := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		x := s.Input("x", graph.Float32, 4)
		node["x"] = x
		node["same"] = graph.Add(graph.Tanh(graph.Scale(x, 2)), graph.Tanh(graph.Scale(x, 2)))
		node["other attribute"] = graph.Add(graph.Slice(x, 0, 0, 2, 1), graph.Slice(x, 0, 2, 4, 1))
		node["other order"] = graph.Add(graph.Sub(x, graph.Const(x, 1)), graph.Sub(graph.Const(x, 1), x))
		node["other constant"] = graph.Add(graph.Scale(x, 3), graph.Scale(x, 5))
		node["same stream"] = graph.Sub(s.Normal("a", 4), s.Normal("a", 4))
		node["other stream"] = graph.Sub(s.Normal("a", 4), s.Normal("b", 4))
		node["other literal"] = graph.Add(graph.Literal(x, graph.ArrayOf([]float32{1})), graph.Literal(x, graph.ArrayOf([]float32{2})))
		node["twin"] = graph.Tanh(graph.Scale(x, 2))
	})
	// One operation for each element of each op that is left.
	for name, want := range map[string]int{"same": 12, "other attribute": 6, "other order": 12, "other constant": 12, "same stream": 8, "other stream": 12, "other literal": 0} {
		if got := b.compile(t, name).Stats().Flops; got != want {
			t.Errorf("%s: want %d operations, got %d", name, want, got)
		}
	}
	p := b.compile(t, "other literal")
	run(t, p)
	wantValues(t, "sum of literals", p.Array(b.node["other literal"]), 3)
	// Both of two equal outputs can be read.
	p = b.compile(t, "same", "twin")
	set(p.Array(b.node["x"]), 0, 0.25, -0.5, 1)
	run(t, p)
	for i, v := range []float64{0, 0.5, -1, 2} {
		if got := p.Array(b.node["twin"]).At(i); math.Abs(got-math.Tanh(v)) > 1e-6 {
			t.Errorf("want %v, got %v", math.Tanh(v), got)
		}
	}
}

func TestOnlyWhatIsNeededRuns(t *testing.T) {
	b := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		x := s.Input("x", graph.Float32, 3)
		s.Input("unused", graph.Float32, 3)
		node["x"], node["y"] = x, graph.Exp(x)
		node["dead"] = graph.Take(x, graph.Literal(x, graph.ArrayOf([]int{99}, 1)), 0) // would fail
		node["constant"] = graph.Exp(graph.Scale(graph.Const(x, 2), 3))
	})
	p := b.compile(t, "y")
	run(t, p)
	if s := p.Stats(); s.Instructions != 1 || p.Uses(b.Inputs()[1]) || !p.Uses(b.node["x"]) {
		t.Errorf("want one instruction and one input, got %+v", s)
	}
	p = b.compile(t, "constant")
	if s := p.Stats(); s.Instructions != 0 || s.ConstBytes == 0 {
		t.Errorf("want a constant computed when compiled, got %+v", s)
	}
	wantValues(t, "constant", p.Array(b.node["constant"]), math.Exp(6))
}

func TestResultsOverwriteOperands(t *testing.T) {
	const n, buffer = 1000, 4000/64*64 + 64
	b := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		x := s.Input("x", graph.Float32, n)
		node["x"] = x
		node["chain"] = graph.Sin(graph.Tanh(graph.Exp(x)))
		h := graph.Exp(x)
		node["h"] = h
		node["used again"] = graph.Sub(graph.Sin(h), h)
		node["broadcast"] = graph.Add(graph.Exp(graph.Mean(x)), h)
		view := graph.Reshape(h, 10, -1)
		node["view"] = view
		node["over a view"] = graph.Tanh(view)
	})
	x := gradcheck.Normal(1, n)
	value := func(p *graph.Program) {
		set(p.Array(b.node["x"]), x.Float64s()...)
		run(t, p)
		for i := range n {
			if got := p.Array(b.node["x"]).At(i); got != float64(float32(x.At(i))) {
				t.Fatalf("input element %d changed: %v", i, got)
			}
		}
	}
	check := func(p *graph.Program, name string, f func(x float64) float64) {
		t.Helper()
		for i := range n {
			want := f(float64(float32(x.At(i))))
			if got := p.Array(b.node[name]).At(i); math.Abs(got-want) > 1e-5*(1+math.Abs(want)) {
				t.Errorf("%s, element %d: want %v, got %v", name, i, want, got)
				return
			}
		}
	}
	p := b.compile(t, "chain")
	value(p)
	check(p, "chain", func(x float64) float64 { return math.Sin(math.Tanh(math.Exp(x))) })
	if s := p.Stats(); s.ArenaBytes != buffer || s.Instructions != 1 {
		t.Errorf("want one instruction in one buffer of %d bytes, got %+v", buffer, s)
	}
	used := func(x float64) float64 { return math.Sin(math.Exp(x)) - math.Exp(x) }
	p = b.compile(t, "used again")
	value(p)
	check(p, "used again", used)
	if s := p.Stats(); s.ArenaBytes != buffer {
		t.Errorf("want one buffer, got %+v", s)
	}
	// Outputs stay whole although they are read by what could overwrite them.
	p = b.compile(t, "h", "used again", "view", "over a view", "broadcast")
	value(p)
	check(p, "h", math.Exp)
	check(p, "view", math.Exp)
	check(p, "used again", used)
	check(p, "over a view", func(x float64) float64 { return math.Tanh(math.Exp(x)) })
	var mean float64
	for i := range n {
		mean += float64(float32(x.At(i))) / n
	}
	check(p, "broadcast", func(x float64) float64 { return math.Exp(mean) + math.Exp(x) })
}

func TestViewsFollowTheirInput(t *testing.T) {
	b := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		x := s.Input("x", graph.Float32, 2, 3)
		node["x"] = x
		node["flat"] = graph.Reshape(x, 6)
		node["twice"] = graph.Reshape(graph.Detach(graph.Reshape(x, 3, 2)), 1, 6)
		node["y"] = graph.Scale(node["twice"], 2)
		node["constant"] = graph.Reshape(graph.Fill(x, 7), 6)
	})
	p := b.compile(t, "flat", "twice", "y", "constant")
	if s := p.Stats(); s.Instructions != 1 {
		t.Errorf("want views without instructions, got %+v", s)
	}
	set(p.Array(b.node["x"]), 1, 2, 3, 4, 5, 6)
	run(t, p)
	wantValues(t, "flat", p.Array(b.node["flat"]), 1, 2, 3, 4, 5, 6)
	wantValues(t, "y", p.Array(b.node["y"]), 2, 4, 6, 8, 10, 12)
	wantValues(t, "constant", p.Array(b.node["constant"]), 7, 7, 7, 7, 7, 7)

	other := graph.ArrayOf([]float32{6, 5, 4, 3, 2, 1}, 2, 3)
	if err := p.Bind(b.node["x"], other); err != nil {
		t.Fatal(err)
	}
	run(t, p)
	wantValues(t, "flat, bound", p.Array(b.node["flat"]), 6, 5, 4, 3, 2, 1)
	wantValues(t, "twice, bound", p.Array(b.node["twice"]), 6, 5, 4, 3, 2, 1)
	other.Set(0, -6)
	run(t, p)
	wantValues(t, "y, bound", p.Array(b.node["y"]), -12, 10, 8, 6, 4, 2)
}

func TestBind(t *testing.T) {
	first := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		node["x"] = s.Input("x", graph.Float32, 2)
		node["h"] = graph.Exp(node["x"])
	})
	second := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		node["h"] = s.Input("h", graph.Float32, 2)
		node["w"] = s.Param("w", graph.Ones(), 2)
		node["y"] = graph.Mul(graph.Log(node["h"]), node["w"])
	})
	p, q := first.compile(t, "h"), second.compile(t, "y")
	if err := q.Bind(second.node["h"], p.Array(first.node["h"])); err != nil {
		t.Fatal(err)
	}
	for _, v := range []float64{1, -2} {
		set(p.Array(first.node["x"]), v, 2*v)
		run(t, p)
		run(t, q)
		wantValues(t, "through both", q.Array(second.node["y"]), v, 2*v)
	}
	for what, err := range map[string]error{
		"shape": q.Bind(second.node["h"], graph.NewArray(graph.Float32, 3)), "dtype": q.Bind(second.node["h"], graph.NewArray(graph.Float64, 2)),
		"output": q.Bind(second.node["y"], graph.NewArray(graph.Float32, 2)), "foreign": q.Bind(first.node["x"], graph.NewArray(graph.Float32, 2)),
	} {
		var e *graph.Error
		if !errors.As(err, &e) || e.Op != "bind" {
			t.Errorf("%s: want an error of bind, got %v", what, err)
		}
	}
}

func TestStateUpdates(t *testing.T) {
	params := &graph.Params{}
	b := build(t, params, func(s *graph.Scope, node map[string]*graph.Node) {
		x := s.Input("x", graph.Float32, 2)
		m := s.State("m", graph.Constant(10))
		node["x"] = x
		node["y"] = graph.Sub(x, m) // reads the state of before the run
		s.Update(m, graph.Add(graph.Scale(m, 0.5), graph.Mean(x)))
		p, q := s.State("p", graph.Constant(1), 2), s.State("q", graph.Constant(2), 2)
		s.Update(p, q) // a swap: both take the other's value of before the run
		s.Update(q, p)
		node["sum"] = graph.Add(p, graph.Scale(q, 10))
	})
	p, err := b.Compile(append(b.Updates(), b.node["y"], b.node["sum"])...)
	if err != nil {
		t.Fatal(err)
	}
	set(p.Array(b.node["x"]), 1, 3)
	run(t, p)
	wantValues(t, "y", p.Array(b.node["y"]), -9, -7)
	wantValues(t, "sum", p.Array(b.node["sum"]), 21, 21)
	wantValues(t, "m", params.Get("m").Value, 7)
	wantValues(t, "p", params.Get("p").Value, 2, 2)
	wantValues(t, "q", params.Get("q").Value, 1, 1)
	run(t, p)
	wantValues(t, "y", p.Array(b.node["y"]), -6, -4)
	wantValues(t, "sum", p.Array(b.node["sum"]), 12, 12)
	wantValues(t, "m", params.Get("m").Value, 5.5)

	// Without the updates the state stays; looking for bad numbers does not move it either.
	p = b.compile(t, "y")
	run(t, p)
	if err := p.FirstNonFinite(); err != nil {
		t.Error(err)
	}
	wantValues(t, "m", params.Get("m").Value, 5.5)
	if len(b.Updates()) != 3 || b.Param(b.ParamNode("m")) != params.Get("m") {
		t.Errorf("want 3 updates, got %d", len(b.Updates()))
	}
}

func TestFirstNonFinite(t *testing.T) {
	b := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) {
		node["x"] = s.Input("x", graph.Float32, 2)
		node["y"] = graph.Exp(graph.Log(graph.Scale(node["x"], 2)))
	})
	p := b.compile(t, "y")
	set(p.Array(b.node["x"]), 1, 2)
	if err := p.FirstNonFinite(); err != nil {
		t.Errorf("all is finite: %v", err)
	}
	set(p.Array(b.node["x"]), 1, -2)
	if err := p.FirstNonFinite(); err == nil || !strings.Contains(err.Error(), "log") || !strings.Contains(err.Error(), "NaN at element 1") {
		t.Errorf("want the log's element 1, got %v", err)
	}
	set(p.Array(b.node["x"]), math.Inf(1), 2)
	if err := p.FirstNonFinite(); err == nil || !strings.Contains(err.Error(), "x float32 [2]: element 0 is +Inf") {
		t.Errorf("want the input's element 0, got %v", err)
	}
}

func TestCompileRefuses(t *testing.T) {
	b := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) { node["x"] = s.Input("x", graph.Float32, 2) })
	other := build(t, nil, func(s *graph.Scope, node map[string]*graph.Node) { node["x"] = s.Input("x", graph.Float32, 2) })
	for what, nodes := range map[string][]*graph.Node{"nothing": nil, "nil": {nil}, "another graph's node": {other.node["x"]}} {
		_, err := b.Compile(nodes...)
		var e *graph.Error
		if !errors.As(err, &e) || e.Op != "compile" {
			t.Errorf("%s: want an error of compile, got %v", what, err)
		}
	}
	p := b.compile(t, "x")
	wantValues(t, "an input as output", p.Array(b.node["x"]), 0, 0)
	defer func() {
		if _, ok := recover().(*graph.Error); !ok {
			t.Error("want a panic with *graph.Error for a node the program does not know")
		}
	}()
	p.Array(other.node["x"])
}

// training is a graph of everything a step of training does but the update of the weights.
func training(t testing.TB, params *graph.Params, batch, width int) built {
	return build(t, params, func(s *graph.Scope, node map[string]*graph.Node) {
		s = s.ForTraining()
		x, labels := s.Input("x", graph.Float32, batch, width), s.Input("labels", graph.Int, batch)
		h := graph.Standardize(graph.Dropout(s, graph.ReLU(graph.Add(graph.MatMul(x, s.Param("w1", graph.He(width), width, width)), s.Param("b1", graph.Zeros(), width))), 0.2), 1e-5, 0)
		logits := graph.MatMul(h, s.Param("w2", graph.He(width), width, 10))
		loss := graph.Neg(graph.Mean(graph.Mul(graph.LogSoftmax(logits, 1), graph.OneHot(labels, 10, graph.Float32))))
		m := s.State("m", graph.Zeros())
		s.Update(m, graph.Add(graph.Scale(m, 0.9), graph.Scale(loss, 0.1)))
		node["x"], node["labels"], node["loss"] = x, labels, loss
		for i, d := range graph.Grad(loss, s.Graph().Trainable(loss)...) {
			node[fmt.Sprint("d", i)] = d
		}
	})
}

func TestRunDoesNotAllocate(t *testing.T) {
	b := training(t, &graph.Params{}, 32, 64)
	p, err := b.Compile(append(b.Updates(), b.node["loss"], b.node["d0"], b.node["d1"], b.node["d2"])...)
	if err != nil {
		t.Fatal(err)
	}
	run(t, p)
	step := 0
	if n := testing.AllocsPerRun(50, func() { step++; p.SetStep(step); run(t, p) }); n != 0 {
		t.Errorf("want no allocation a run, got %v", n)
	}
}

// The same seed gives the same bits, in another program and with another number of threads.
func TestRunsRepeatBitForBit(t *testing.T) {
	bits := func(threads int) (all []uint32) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
		b := training(t, &graph.Params{Seed: 5}, 64, 256) // large enough to be shared between threads
		names := []string{"loss", "d0", "d1", "d2"}
		p := b.compile(t, names...)
		set(p.Array(b.node["x"]), gradcheck.Normal(1, 64*256).Float64s()...)
		for step := range 2 {
			p.SetStep(step)
			run(t, p)
			for _, name := range names {
				for _, v := range p.Array(b.node[name]).Float32s() {
					all = append(all, math.Float32bits(v))
				}
			}
		}
		return all
	}
	one, again, two := bits(1), bits(1), bits(2)
	if !slices.Equal(one, again) {
		t.Error("two runs with the same seed differ")
	}
	if !slices.Equal(one, two) {
		t.Error("one and two threads differ")
	}
	if half := len(one) / 2; slices.Equal(one[:half], one[half:]) {
		t.Error("two steps have the same dropout")
	}
}

// A random op is a function of seed, stream and step, in both types.
func TestRandomStreams(t *testing.T) {
	draws := func(dtype graph.DType, seed uint64, step int, scope, stream string) []float64 {
		b := build(t, &graph.Params{Seed: seed, DType: dtype}, func(s *graph.Scope, node map[string]*graph.Node) {
			node["z"] = s.Sub(scope).Normal(stream, 7)
		})
		p := b.compile(t, "z")
		p.SetStep(step)
		run(t, p)
		var v []float64
		for i := range 7 {
			v = append(v, p.Array(b.node["z"]).At(i))
		}
		return v
	}
	base := draws(graph.Float64, 1, 2, "a", "noise")
	for what, other := range map[string][]float64{
		"seed": draws(graph.Float64, 2, 2, "a", "noise"), "step": draws(graph.Float64, 1, 3, "a", "noise"),
		"scope": draws(graph.Float64, 1, 2, "b", "noise"), "stream": draws(graph.Float64, 1, 2, "a", "other"),
	} {
		for i := range base {
			if base[i] == other[i] {
				t.Errorf("another %s: element %d is the same, %v", what, i, base[i])
			}
		}
	}
	if !slices.Equal(base, draws(graph.Float64, 1, 2, "a", "noise")) {
		t.Error("the same stream differs")
	}
	for i, v := range draws(graph.Float32, 1, 2, "a", "noise") {
		if math.Abs(v-base[i]) > 5e-7*max(1, math.Abs(base[i])) {
			t.Errorf("float32, element %d: want %v, got %v", i, base[i], v)
		}
	}
	// SetSeed is the store's seed from then on.
	b := build(t, &graph.Params{Seed: 9, DType: graph.Float64}, func(s *graph.Scope, node map[string]*graph.Node) {
		node["z"] = s.Sub("a").Normal("noise", 7)
	})
	p := b.compile(t, "z")
	p.SetSeed(1)
	p.SetStep(2)
	run(t, p)
	wantValues(t, "after SetSeed", p.Array(b.node["z"]), base...)
}

// Value is the output as Gorgonia's tensor: same shape, same memory, also for scalars.
func TestValueSharesMemory(t *testing.T) {
	var x, y, sum *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 2, 3)
		y, sum = graph.Scale(x, 2), graph.Sum(x)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y, sum)
	if err != nil {
		t.Fatal(err)
	}
	v := p.Value(y)
	copy(p.Value(x).Data().([]float32), []float32{1, 2, 3, 4, 5, 6})
	run(t, p)
	if got := v.Data().([]float32); !v.Shape().Eq([]int{2, 3}) || got[5] != 12 {
		t.Errorf("value of the output: %v %v", v.Shape(), got)
	}
	if got := p.Value(sum); !got.IsScalar() || got.ScalarValue() != float32(21) {
		t.Errorf("value of a scalar: %v", got)
	}
}

// Programs in shared memory compute what they compute alone, and their arenas are one.
func TestCompileShared(t *testing.T) {
	store := &graph.Params{Seed: 3}
	var jobs []graph.Job
	var in, out []*graph.Node
	for _, width := range []int{8, 300, 40} {
		var x, y *graph.Node
		g, err := graph.Build(store, func(s *graph.Scope) {
			x = s.Input("x", graph.Float32, 4, 5)
			h := graph.Tanh(graph.MatMul(x, s.Sub(fmt.Sprint(width)).Param("weight", graph.LeCun(5), 5, width)))
			y = graph.Sum(graph.Mul(h, graph.Softmax(h, 1)), 1)
		})
		if err != nil {
			t.Fatal(err)
		}
		jobs, in, out = append(jobs, graph.Job{g, []*graph.Node{y}}), append(in, x), append(out, y)
	}
	shared, err := graph.CompileShared(jobs...)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		for i, p := range shared {
			alone, err := jobs[i].Graph.Compile(out[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range []*graph.Program{p, alone} {
				for j := range 20 {
					q.Array(in[i]).Set(j, float64(j-round)/7)
				}
				if err := q.Run(); err != nil {
					t.Fatal(err)
				}
			}
			for j := range 4 {
				if a, b := p.Array(out[i]).At(j), alone.Array(out[i]).At(j); a != b {
					t.Errorf("round %d, program %d, result %d: alone %v, in shared memory %v", round, i, j, b, a)
				}
			}
		}
	}
	want := shared[0].Array(out[0]).At(0)
	if err := shared[1].Run(); err != nil {
		t.Fatal(err)
	}
	if shared[0].Array(out[0]).At(0) == want {
		t.Error("the larger program did not use the memory of the smaller one's result")
	}
	if _, err := graph.CompileShared(graph.Job{jobs[0].Graph, nil}); err == nil {
		t.Error("a job without outputs: no error")
	}
}
