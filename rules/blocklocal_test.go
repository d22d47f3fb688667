package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// noisyMLP has random parts and running statistics inside of its blocks.
func noisyMLP() layers.Layer {
	return layers.Sequential{
		layers.Block{layers.Dense{Units: 12}, layers.BatchNorm{}, layers.ReLU{}, layers.Dropout{P: 0.2}},
		layers.Block{layers.Dense{Units: 9}, layers.LayerNorm{}, layers.Tanh{}, layers.Dropout{P: 0.1}},
		layers.Dense{Units: 7, Activation: layers.ReLU{}},
		layers.Dense{Units: 3},
	}
}

func firstBatch(t *testing.T, d Data, spec Spec) *Batch {
	t.Helper()
	b := NewBatch(spec)
	indices := make([]int, spec.Batch)
	for i := range indices {
		indices[i] = i
	}
	if err := b.Fill(d, indices, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// One program for all blocks and one for each give the same bits.
func TestSimultaneousIsSideBySide(t *testing.T) {
	d := toy(64)
	run := func(o Order) *graph.Params {
		tr, err := MonoForward{Order: o}.Trainer(noisyMLP(), objectives.CrossEntropy, SpecOf(d, 16, 5))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Fit(t.Context(), tr, d, Config{Epochs: 3}); err != nil {
			t.Fatal(err)
		}
		if want := map[Order]int{Simultaneous: 3, SideBySide: 1}[o]; len(tr.Programs()) != want {
			t.Errorf("order %d: %d programs, want %d", o, len(tr.Programs()), want)
		}
		return tr.Params()
	}
	sameBits(t, "simultaneous and side by side", run(Simultaneous), run(SideBySide))
}

// The derivative of a block's loss in the parameters of another block is exactly 0, by the graph in which all of them
// stand side by side; in its own it is not.
func checkLocal(t *testing.T, name string, tr Trainer) {
	t.Helper()
	for _, st := range tr.(*trainer).phases[0].stages {
		for i, of := range st.goals {
			for k, in := range st.goals {
				if len(in.Params) == 0 {
					continue
				}
				var grads []*graph.Node
				if err := st.g.Extend(func(*graph.Scope) { grads = graph.Grad(of.Loss, in.Params...) }); err != nil {
					t.Fatal(err)
				}
				p, err := st.g.Compile(grads...)
				if err != nil {
					t.Fatal(err)
				}
				b := NewBatch(tr.Spec())
				for j := range b.X.Size() {
					b.X.Set(j, math.Sin(float64(j)))
				}
				if err := st.feed(p, b); err != nil {
					t.Fatal(err)
				}
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				largest := 0.0
				for _, n := range grads {
					for j := range p.Array(n).Size() {
						largest = max(largest, math.Abs(p.Array(n).At(j)))
					}
				}
				if (largest == 0) != (i != k) {
					t.Errorf("%s: d(loss of block %d)/d(parameters of block %d) is up to %v", name, i+1, k+1, largest)
				}
			}
		}
	}
}

func TestMonoForwardIsLocal(t *testing.T) {
	tr, err := MonoForward{Order: SideBySide}.Trainer(noisyMLP(), objectives.CrossEntropy, SpecOf(toy(16), 16, 5))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tr.(*trainer).phases[0].stages[0].goals); n != 3 {
		t.Fatalf("%d goals, want 3", n)
	}
	checkLocal(t, "mono-forward", tr)
}

// The memory of a step is that of one block, whatever the depth: at 12 blocks of 1000 units less than a quarter of
// backpropagation's.
func TestBlockMemory(t *testing.T) {
	spec := Spec{Input: []int{784}, Classes: 10, Batch: 128}
	bytes := func(r Rule, depth int) int {
		var hidden []int
		for range depth {
			hidden = append(hidden, 1000)
		}
		model := layers.Sequential{}
		for _, n := range hidden {
			model = append(model, layers.Dense{Units: n, Activation: layers.ReLU{}})
		}
		tr, err := r.Trainer(append(model, layers.Dense{Units: 10}), objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		return tr.ActivationBytes()
	}
	six, twelve, whole := bytes(MonoForward{}, 6), bytes(MonoForward{}, 12), bytes(Backprop{}, 12)
	t.Logf("6 blocks %d bytes, 12 blocks %d, backprop with 12 %d: %.1f %%", six, twelve, whole, 100*float64(twelve)/float64(whole))
	if twelve-six > 1024 { // the blocks' constants, which are scalars
		t.Errorf("the memory grows with depth: %d bytes for 6 blocks, %d for 12", six, twelve)
	}
	if 4*twelve > whole {
		t.Errorf("%d bytes, want at most a quarter of backpropagation's %d", twelve, whole)
	}
}

// A block that learns three times from what it is given hands on what it makes of it afterwards: two blocks with one
// weight each, losses (w1 x - 1)²/2 and (w2 h - 2)²/2 with h = w1 x, by hand.
func TestRepeat(t *testing.T) {
	b := &BlockLocal{N: 2, Repeat: 3, Block: func(s *graph.Scope, i int, in []*graph.Node, _ *graph.Node) ([]*graph.Node, []Goal) {
		w := s.Sub([]string{"one", "two"}[i]).Param("weight", graph.Constant(0.5), 1)
		h := graph.Mul(in[0], w)
		loss := graph.Scale(graph.Mean(graph.Square(graph.Shift(h, -float64(i+1)))), 0.5)
		return []*graph.Node{h}, []Goal{Minimize(loss, []*graph.Node{w})}
	}}
	predict := func(_ *graph.Scope, x *graph.Node) *graph.Node { return x }
	spec := Spec{Input: []int{1}, Target: []int{1}, Batch: 1, DType: graph.Float64}
	tr, err := Plan{Name: "repeat", Blocks: b, Predict: predict, Optimizer: optim.SGD{LR: 0.1}}.Trainer(spec)
	if err != nil {
		t.Fatal(err)
	}
	batch := NewBatch(spec)
	batch.X.Set(0, 2)
	loss, err := tr.Step(batch)
	if err != nil {
		t.Fatal(err)
	}
	w1, w2 := 0.5, 0.5
	for range 3 {
		w1 -= 0.1 * (w1*2 - 1) * 2
	}
	h := w1 * 2
	want := 0 + (w2*h-2)*(w2*h-2)/2
	for range 3 {
		w2 -= 0.1 * (w2*h - 2) * h
	}
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"first weight", tr.Params().Get("one/weight").Value.At(0), w1},
		{"second weight", tr.Params().Get("two/weight").Value.At(0), w2},
		{"loss", loss, want},
	} {
		if math.Abs(c.got-c.want) > 1e-14 {
			t.Errorf("%s: want %v, got %v", c.what, c.want, c.got)
		}
	}
}

func TestBlockLocalErrors(t *testing.T) {
	predict := func(_ *graph.Scope, x *graph.Node) *graph.Node { return x }
	block := func(s *graph.Scope, i int, in []*graph.Node, y *graph.Node) ([]*graph.Node, []Goal) { return in, nil }
	spec := Spec{Input: []int{1}, Target: []int{1}, Batch: 1}
	for want, b := range map[string]*BlockLocal{
		"N, Block": {N: 0, Block: block}, "function": {N: 2}, "Order": {N: 1, Block: block, Order: 7},
	} {
		_, err := Plan{Name: "broken", Blocks: b, Predict: predict, Optimizer: optim.SGD{}}.Trainer(spec)
		wantError(t, err, "broken", want)
	}
	_, err := MonoForward{Order: -1}.Trainer(mlp(4), objectives.CrossEntropy, SpecOf(toy(16), 16, 1))
	wantError(t, err, "mono-forward", "Order", "-1")
}

func TestBlockStepDoesNotAllocate(t *testing.T) {
	d := toy(16)
	tr, err := MonoForward{}.Trainer(noisyMLP(), objectives.CrossEntropy, SpecOf(d, 16, 5))
	if err != nil {
		t.Fatal(err)
	}
	batch := firstBatch(t, d, tr.Spec())
	step := func() {
		if _, err := tr.Step(batch); err != nil {
			t.Fatal(err)
		}
	}
	step()
	if n := testing.AllocsPerRun(20, step); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}

// A step of six layers of 512 by a program a block and by one program.
func BenchmarkMonoForwardOrders(b *testing.B) {
	spec := Spec{Input: []int{784}, Classes: 10, Batch: 128}
	for name, o := range map[string]Order{"simultaneous": Simultaneous, "side by side": SideBySide} {
		b.Run(name, func(b *testing.B) {
			model := layers.Sequential{}
			for range 6 {
				model = append(model, layers.Dense{Units: 512, Activation: layers.ReLU{}})
			}
			tr, err := MonoForward{Order: o}.Trainer(append(model, layers.Dense{Units: 10}), objectives.CrossEntropy, spec)
			if err != nil {
				b.Fatal(err)
			}
			batch := NewBatch(spec)
			for b.Loop() {
				if _, err := tr.Step(batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(tr.ActivationBytes()), "activation-bytes")
		})
	}
}
