package rules

import (
	"math"
	"sync/atomic"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// folded is a medium that answers with |sin| of sums of neighbours. It counts how often it is asked.
type folded struct {
	units int
	asked atomic.Int64
}

func (m *folded) Outputs(int) int { return m.units }

func (m *folded) Open(in graph.Type) (func(out, in *graph.Array) error, error) {
	inputs := in.Shape[1]
	return func(out, in *graph.Array) error {
		m.asked.Add(1)
		for i := range out.Size() {
			row, j := i/m.units*inputs, i%m.units
			out.Set(i, math.Abs(math.Sin(2*in.At(row+j%inputs)+in.At(row+(3*j+1)%inputs))))
		}
		return nil
	}, nil
}

// table answers what another medium answered to the same rows; it knows nothing else.
type table struct {
	units int
	known map[string][]float64
}

func key(a *graph.Array, row, width int) string {
	var k []byte
	for j := range width {
		k = append(k, []byte(string(rune(math.Float32bits(float32(a.At(row*width+j)))%0xd000)))...)
		k = append(k, byte(j))
	}
	return string(k)
}

func (m *table) Outputs(int) int { return m.units }

func (m *table) Open(in graph.Type) (func(out, in *graph.Array) error, error) {
	return func(out, in *graph.Array) error {
		for r := range in.Shape[0] {
			values, ok := m.known[key(in, r, in.Shape[1])]
			if !ok {
				return errors.Errorf("row %d is not in the table", r)
			}
			for j, v := range values {
				out.Set(r*m.units+j, v)
			}
		}
		return nil
	}, nil
}

// learning is a medium that fills a table.
type learning struct {
	*folded
	into *table
}

func (m learning) Open(in graph.Type) (func(out, in *graph.Array) error, error) {
	respond, err := m.folded.Open(in)
	return func(out, in *graph.Array) error {
		if err := respond(out, in); err != nil {
			return err
		}
		for r := range in.Shape[0] {
			var row []float64
			for j := range m.units {
				row = append(row, out.At(r*m.units+j))
			}
			m.into.known[key(in, r, in.Shape[1])] = row
		}
		return nil
	}, err
}

// behind is a medium in front of its input, and a linear map.
func behind(m layers.Medium, units int) layers.Layer {
	return layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		return layers.Dense{Units: units}.Apply(s, graph.Concat(1, layers.BlackBox{Medium: m}.Apply(s, x), x))
	})
}

// A medium is asked once a layer and step, however often the maps learn; it learns without any derivative through it.
func TestPhysicalAsksOnce(t *testing.T) {
	d := toy(96)
	m := &folded{units: 10}
	model := layers.Sequential{behind(m, 12), behind(m, 12)}
	tr, err := PhysicalForwardForward{InnerSteps: 7, Optimizer: optim.Adam{LR: 5e-3}}.Trainer(model, objectives.CrossEntropy, SpecOf(d, 24, 5))
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
	m.asked.Store(0)
	step()
	if n := m.asked.Load(); n != 2 {
		t.Errorf("the medium was asked %d times in a step of two layers", n)
	}
	if n := testing.AllocsPerRun(10, step); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
	h, err := Fit(t.Context(), tr, d, Config{Epochs: 40, Validation: d})
	if err != nil {
		t.Fatal(err)
	}
	if a := h.Last().Accuracy; a < 0.8 {
		t.Errorf("accuracy %v on the training data", a)
	}
	if first, last := h.Records[0].Loss, h.Last().Loss; last > 0.8*first {
		t.Errorf("loss %v, then %v", first, last)
	}
}

// Rules that need a derivative through the medium are refused by name; the first block's input needs none.
func TestBlackBoxIsRefused(t *testing.T) {
	d := toy(16)
	m := &folded{units: 5}
	model := layers.Sequential{behind(m, 6), layers.BlackBox{Medium: m, Name: "laser"}, layers.Dense{Units: 3}}
	for _, r := range []Rule{Backprop{}, BackpropOnGoodness{}, ForwardGradient{}} {
		_, err := r.Trainer(model, objectives.CrossEntropy, SpecOf(d, 16, 1))
		wantError(t, err, r.Name(), "laser", "derivative")
	}
	for _, r := range []Rule{ForwardForward{}, PhysicalForwardForward{}} {
		tr, err := r.Trainer(layers.Sequential{behind(m, 6), behind(m, 6)}, objectives.CrossEntropy, SpecOf(d, 16, 1))
		if err != nil {
			t.Fatalf("%s: %v", r.Name(), err)
		}
		if _, err := tr.Step(firstBatch(t, d, tr.Spec())); err != nil {
			t.Errorf("%s: %v", r.Name(), err)
		}
	}
}

// A table of what a medium answered takes its place: the same update, bit for bit.
func TestPhysicalIsModelFree(t *testing.T) {
	d := toy(16)
	first, second := &table{8, map[string][]float64{}}, &table{8, map[string][]float64{}}
	update := func(a, b layers.Medium) *graph.Params {
		model := layers.Sequential{behind(a, 6), behind(b, 6)}
		tr, err := PhysicalForwardForward{InnerSteps: 3}.Trainer(model, objectives.CrossEntropy, SpecOf(d, 16, 5))
		if err != nil {
			t.Fatal(err)
		}
		before := tr.Params().Clone()
		if _, err := tr.Step(firstBatch(t, d, tr.Spec())); err != nil {
			t.Fatal(err)
		}
		if !moved(before, tr.Params(), "dense1/weight") || !moved(before, tr.Params(), "dense2/weight") {
			t.Error("nothing was learnt")
		}
		return tr.Params()
	}
	physics := update(learning{&folded{units: 8}, first}, learning{&folded{units: 8}, second})
	sameBits(t, "physics and table", physics, update(first, second))
}

// The inner steps of a block by hand, with plain descent, from what the medium answered.
func TestPhysicalInnerSteps(t *testing.T) {
	d := toy(4)
	spec := SpecOf(d, 4, 5)
	spec.DType = graph.Float64
	r := PhysicalForwardForward{InnerSteps: 3, Optimizer: optim.SGD{LR: 0.1}}
	tr, err := r.Trainer(behind(&folded{units: 8}, 6), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	before := tr.Params().Clone()
	if _, err := tr.Step(firstBatch(t, d, spec)); err != nil {
		t.Fatal(err)
	}
	// The stage that learns second has what it was given: [x, physics and x].
	st := tr.(*trainer).phases[0].stages[1]
	u := st.handed[1]
	w, b := before.Get("dense1/weight").Value, before.Get("dense1/bias").Value
	p := before.Get("physical-forward-forward/model/direction").Value
	for range 3 {
		v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
			wn, bn := graph.Literal(s.Const(0), w), graph.Literal(s.Const(0), b)
			h := graph.Abs(graph.Add(graph.MatMul(graph.Literal(s.Const(0), u), wn), bn))
			direction := graph.Literal(s.Const(0), p)
			g := graph.Div(graph.MatMul(h, direction), graph.Mul(graph.Norm(h, 1), graph.Norm(direction)))
			margin := graph.Sub(graph.Slice(g, 0, 0, 4, 1), graph.Slice(g, 0, 4, 8, 1))
			loss := graph.Mean(graph.Log(graph.Shift(graph.Exp(graph.Scale(margin, -4)), 1)))
			return graph.Grad(loss, wn, bn)
		})
		for i := range w.Size() {
			w.Set(i, w.At(i)-0.1*v[0].At(i))
		}
		for i := range b.Size() {
			b.Set(i, b.At(i)-0.1*v[1].At(i))
		}
	}
	near(t, "weight", tr.Params().Get("dense1/weight").Value, 1e-12, w.Float64s()...)
	near(t, "bias", tr.Params().Get("dense1/bias").Value, 1e-12, b.Float64s()...)
	if u.Shape[0] != 8 || u.Shape[1] != 8+7 {
		t.Errorf("handed %v", u.Type)
	}
}

// The prediction written out: for each label the sum of both blocks' cosines.
func TestPhysicalPrediction(t *testing.T) {
	d := toy(8)
	spec := SpecOf(d, 8, 5)
	spec.DType = graph.Float64
	tr, err := PhysicalForwardForward{LabelStrength: 2}.Trainer(mlp(6, 5), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Fit(t.Context(), tr, d, Config{Epochs: 2}); err != nil {
		t.Fatal(err)
	}
	batch := firstBatch(t, d, spec)
	out, err := tr.Predict(batch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		for c := range 3 {
			a := append(append([]float64{}, batch.X.Float64s()[4*i:4*i+4]...), 0, 0, 0)
			a[4+c] = 2
			want := 0.0
			for l, name := range []string{"dense1", "dense2"} {
				a = dense(tr.Params(), name, a, false)
				p := tr.Params().Get([]string{"physical-forward-forward/block1/direction", "physical-forward-forward/block2/direction"}[l]).Value
				var dot, aa, pp float64
				for j, v := range a {
					dot, aa, pp = dot+math.Abs(v)*p.At(j), aa+v*v, pp+p.At(j)*p.At(j)
				}
				if aa > 0 {
					want += dot / math.Sqrt(aa*pp)
				}
			}
			if math.Abs(out.At(3*i+c)-want) > 1e-12 {
				t.Errorf("example %d, label %d: want %v, got %v", i, c, want, out.At(3*i+c))
			}
		}
	}
}

// No block's loss has a derivative in another's parameters.
func TestPhysicalIsLocal(t *testing.T) {
	d := toy(16)
	like := ForwardForward{Negatives: WrongLabel, Normalization: Unscaled, Skip: -1}
	spec := SpecOf(d, 8, 5)
	pairs := spec
	pairs.Batch = 16
	n, err := like.net("physical-forward-forward", layers.Sequential{behind(&folded{units: 8}, 6), behind(&folded{units: 8}, 5)}, pairs, spec.params(), true)
	if err != nil {
		t.Fatal(err)
	}
	b := PhysicalForwardForward{}.blocks(n)
	b.Order = SideBySide
	predict := func(_ *graph.Scope, x *graph.Node) *graph.Node { return x }
	tr, err := Plan{Name: n.name, Params: n.params, Blocks: b, Predict: predict, Optimizer: optim.SGD{}}.Trainer(spec)
	if err != nil {
		t.Fatal(err)
	}
	checkLocal(t, n.name, tr)
}

func TestPhysicalErrors(t *testing.T) {
	d := toy(16)
	spec := SpecOf(d, 8, 5)
	_, err := PhysicalForwardForward{InnerSteps: -1}.Trainer(mlp(4, 4), objectives.CrossEntropy, spec)
	wantError(t, err, "physical-forward-forward", "InnerSteps")
	_, err = PhysicalForwardForward{Sharpness: -1}.Trainer(mlp(4, 4), objectives.CrossEntropy, spec)
	wantError(t, err, "physical-forward-forward", "Sharpness")
	_, err = PhysicalForwardForward{}.Trainer(layers.BlackBox{Medium: &folded{units: 3}}, objectives.CrossEntropy, spec)
	wantError(t, err, "physical-forward-forward", "parameters")
	_, err = PhysicalForwardForward{}.Trainer(layers.Sequential{layers.BlackBox{}, layers.Dense{Units: 4}}, objectives.CrossEntropy, spec)
	wantError(t, err, "physical-forward-forward", "Medium", "nil")
	_, err = PhysicalForwardForward{}.Trainer(layers.Sequential{layers.BlackBox{Medium: &folded{}}, layers.Dense{Units: 4}}, objectives.CrossEntropy, spec)
	wantError(t, err, "physical-forward-forward", "Outputs", "0")
}
