package rules

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

func sigmoids(units ...int) layers.Sequential {
	var q layers.Sequential
	for _, n := range units {
		q = append(q, layers.Dense{Units: n, Activation: layers.Sigmoid{}, Init: layers.Normal(0.5)})
	}
	return q
}

func skaTrainer(t *testing.T, r SKA, batch, in int, units ...int) Trainer {
	t.Helper()
	spec := Spec{Input: []int{in}, Classes: max(2, units[len(units)-1]), Batch: batch, DType: graph.Float64, Seed: 4}
	tr, err := r.Trainer(sigmoids(units...), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return tr
}

// One layer by hand, over three passes.
func TestSKAByHand(t *testing.T) {
	tr := skaTrainer(t, SKA{Optimizer: optim.SGD{LR: 0.5}}, 2, 2, 2)
	w, b := tr.Params().Get("dense1/weight"), tr.Params().Get("dense1/bias")
	setAll(t, w, []float64{0.1, -0.2, 0.3, 0.4})
	batch := NewBatch(tr.Spec())
	copy(batch.X.Float64s(), []float64{1, 2, 0.5, -1})
	step := func() SKALayer {
		if _, err := tr.Step(batch); err != nil {
			t.Fatalf("%+v", err)
		}
		list, err := SKALayers(tr)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0]
	}
	close := func(what string, got, want float64) {
		if math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	step()
	near(t, "weight after the stored pass", w.Value, 0, 0.1, -0.2, 0.3, 0.4)
	l := step()
	close("H", l.Entropy, 0)
	close("cosine", l.Cosine, 0)
	near(t, "gradient times inputs", tr.(*trainer).phases[0].grads[0][0], 1e-6, -0.089759, -0.056640, -0.268292, -0.282799)
	near(t, "weight", w.Value, 1e-6, 0.144879, -0.171680, 0.434146, 0.541400)
	near(t, "bias", b.Value, 1e-6, 0.033783, 0.007130)
	l = step()
	close("H", l.Entropy, -0.2340823)
	close("total", l.Total, -0.2340823)
	close("cosine", l.Cosine, 0.9883211)
	close("tensor net", l.TensorNet, 0.1894610)
	// The bias has the mean of ∂H/∂z: -0.394347 + 0.142673 and -0.369719 + 0.243547, halved.
	near(t, "bias's gradient", tr.(*trainer).phases[0].grads[0][1], 1e-6, -0.125837, -0.063086)
}

// A network of three layers against the formulas written out in plain Go, over several steps, with all metrics.
func TestSKAFormulas(t *testing.T) {
	const n, eta, steps = 3, 0.3, 5
	sizes := []int{4, 5, 3, 2}
	tr := skaTrainer(t, SKA{Optimizer: optim.SGD{LR: eta}}, n, sizes[0], sizes[1:]...)
	batch := NewBatch(tr.Spec())
	r := graph.Rand(3, "x", 0)
	for i := range batch.X.Size() {
		batch.X.Set(i, r.NormFloat64())
	}
	x := append([]float64(nil), batch.X.Float64s()...)
	type layer struct {
		w, b, z, d, z0, d0 []float64
		total              float64
	}
	net := make([]*layer, 3)
	for i := range net {
		name := "dense" + string(rune('1'+i))
		net[i] = &layer{w: tr.Params().Get(name + "/weight").Value.Clone().Float64s(), b: tr.Params().Get(name + "/bias").Value.Clone().Float64s()}
	}
	for k := range steps {
		in := x
		for i, l := range net {
			a, b := sizes[i], sizes[i+1]
			l.z, l.d = make([]float64, n*b), make([]float64, n*b)
			for row := range n {
				for j := range b {
					sum := l.b[j]
					for m := range a {
						sum += in[row*a+m] * l.w[m*b+j]
					}
					l.z[row*b+j], l.d[row*b+j] = sum, 1/(1+math.Exp(-sum))
				}
			}
			in = l.d
		}
		if _, err := tr.Step(batch); err != nil {
			t.Fatal(err)
		}
		batch.X.Zero() // later batches are not looked at
		got, err := SKALayers(tr)
		if err != nil {
			t.Fatal(err)
		}
		below := x
		for i, l := range net {
			if k > 0 {
				a, b := sizes[i], sizes[i+1]
				var want SKALayer
				var zd, zz, dd, flow float64
				for j := range l.z {
					z, d, dz, shift := l.z[j], l.d[j], l.z[j]-l.z0[j], l.d[j]-l.d0[j]
					want.Entropy -= z * shift / math.Ln2
					want.TensorNet += dz * (d - z*d*(1-d)/math.Ln2)
					want.Lagrangian -= z * d * (1 - d) * dz / eta
					zd, zz, dd, flow = zd+z*shift, zz+z*z, dd+shift*shift, flow+dz*dz
					grad := -(z*d*(1-d) + shift) / math.Ln2 / n
					for m := range a {
						l.w[m*b+j%b] -= eta * below[j/b*a+m] * grad
					}
					l.b[j%b] -= eta * grad
				}
				l.total += want.Entropy
				want.Name, want.Total, want.Flow, want.Norm = got[i].Name, l.total, math.Sqrt(flow)/eta, math.Sqrt(zz)
				if k > 1 { // at the first change ΔD is 0
					want.Cosine = zd / math.Sqrt(zz*dd)
				}
				for _, pair := range [][2]float64{
					{got[i].Entropy, want.Entropy}, {got[i].Total, want.Total}, {got[i].Cosine, want.Cosine}, {got[i].TensorNet, want.TensorNet},
					{got[i].Flow, want.Flow}, {got[i].Lagrangian, want.Lagrangian}, {got[i].Norm, want.Norm},
				} {
					if math.Abs(pair[0]-pair[1]) > 1e-10 {
						t.Fatalf("step %d, layer %d: %+v, want %+v", k, i+1, got[i], want)
					}
				}
				below = l.d0
			} else {
				below = nil
			}
		}
		for i, l := range net {
			l.z0, l.d0 = l.z, l.d
			near(t, "weight", tr.Params().Get("dense"+string(rune('1'+i))+"/weight").Value, 1e-12, l.w...)
		}
	}
}

// The local gradient is the derivative of the entropy by z with the decisions before held.
func TestSKASlopeIsDerivativeOfEntropy(t *testing.T) {
	v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
		z, before := literal(s, []int{4}, 0.3, -2, 5, 0), literal(s, []int{4}, 0.5, 0.4, 0.9, 0.1)
		d := graph.Sigmoid(z)
		formula := graph.Scale(graph.Add(graph.Mul(z, graph.Mul(d, graph.OneMinus(d))), graph.Sub(d, before)), -1/math.Ln2)
		const h = 1e-6
		var differences []*graph.Node
		for i := range 4 {
			at := make([]float64, 4)
			at[i] = h
			up, down := graph.Add(z, literal(s, []int{4}, at...)), graph.Sub(z, literal(s, []int{4}, at...))
			differences = append(differences, graph.Scale(graph.Sub(objectives.KnowledgeEntropy(up, graph.Sigmoid(up), before),
				objectives.KnowledgeEntropy(down, graph.Sigmoid(down), before)), 1/(2*h)))
		}
		return []*graph.Node{formula, graph.Grad(objectives.KnowledgeEntropy(z, d, before), z)[0], graph.Stack(0, differences...)}
	})
	near(t, "reverse mode", v[1], 1e-14, v[0].Float64s()...)
	near(t, "central differences", v[2], 1e-8, v[0].Float64s()...)
}

// Labels change nothing, nothing is carried back through a layer, a step allocates nothing, and a resumed run ends with
// the same bits.
func TestSKATrainer(t *testing.T) {
	tr, permuted := skaTrainer(t, SKA{}, 8, 4, 5, 3), skaTrainer(t, SKA{}, 8, 4, 5, 3)
	a, b := NewBatch(tr.Spec()), NewBatch(tr.Spec())
	for _, batch := range []*Batch{a, b} {
		if err := batch.Fill(toy(8), []int{0, 1, 2, 3, 4, 5, 6, 7}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		b.Y.Ints()[i] = (a.Y.Ints()[i] + 1) % 3
	}
	run := func(tr Trainer, b *Batch) {
		if _, err := tr.Step(b); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		run(tr, a)
		run(permuted, b)
	}
	sameBits(t, "other labels", tr.Params(), permuted.Params())
	if n := testing.AllocsPerRun(5, func() { run(tr, a) }); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
	for _, st := range tr.(*trainer).phases[0].stages {
		for _, goal := range st.goals {
			if found := transposedReads(st.g, goal.Grads); len(found) > 0 {
				t.Errorf("against the forward direction: %v", found)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "ska.safetensors")
	if err := tr.Save(path, nil); err != nil {
		t.Fatal(err)
	}
	resumed := skaTrainer(t, SKA{}, 8, 4, 5, 3)
	if _, err := resumed.Load(path); err != nil {
		t.Fatal(err)
	}
	run(tr, a)
	run(resumed, a)
	sameBits(t, "resumed", tr.Params(), resumed.Params())
}

// Layers with another activation, or without one, are refused by name.
func TestSKARefuses(t *testing.T) {
	for name, c := range map[string]struct {
		model layers.Layer
		words []string
	}{
		"relu":  {mlp(4), []string{"ska", "dense1/weight", "Sigmoid", "relu"}},
		"none":  {layers.Sequential{sigmoids(4), layers.Dense{Units: 3}}, []string{"dense2/weight", "Sigmoid"}},
		"norm":  {layers.Sequential{sigmoids(4), layers.LayerNorm{}, sigmoids(3)}, []string{"norm", "dense and convolutional"}},
		"empty": {layers.Sequential{layers.Sigmoid{}}, []string{"at least one layer"}},
	} {
		_, err := SKA{}.Trainer(c.model, objectives.CrossEntropy, Spec{Input: []int{4}, Classes: 3, Batch: 4})
		t.Log(name)
		wantError(t, err, c.words...)
	}
	_, err := SKALayers(newTrainer(t, Backprop{}, toy(16)))
	wantError(t, err, "SKA", "backprop")
}

// The digits, 100 a class, with the paper's settings: entropies fall below 0 and reach their minima in the order of the
// paper's curves (near steps 49, 16, 25 and 49 in an independent run), the decisions of layers 2 to 4 turn along their
// knowledge, and behind the first layer all images end with almost the same decisions. A linear probe of standardised
// decisions says what the layers know of the classes: as much as the pixels in the first, less with each layer, and
// little in the last two. No layer knows more than the pixels: the rule does not learn classes.
func TestSKAOnDigits(t *testing.T) {
	if testing.Short() {
		t.Skip("fifty passes of a thousand images and five probes")
	}
	train, test := hundredEach(data.Digits())
	var model layers.Sequential
	units := []int{256, 128, 64, 10}
	for _, n := range units {
		model = append(model, layers.Dense{Units: n, Activation: layers.Sigmoid{}, Init: layers.Normal(0.01)})
	}
	tr, err := SKA{}.Trainer(model, objectives.CrossEntropy, SpecOf(train, train.Len(), 42))
	if err != nil {
		t.Fatal(err)
	}
	var lowest, cosine, best [4]float64
	_, err = Fit(t.Context(), tr, train, Config{Epochs: 50, OnStep: func(p Progress) error {
		list, err := SKALayers(tr)
		for i, l := range list {
			k := float64(p.Step - 1)
			if l.Entropy < lowest[i] {
				lowest[i], best[i] = l.Entropy, k
			}
			if k <= 1 && math.Abs(l.Entropy) > 1e-2 || k == 2 && l.Entropy >= 0 {
				t.Errorf("pass %v: entropy of layer %d is %v", k, i+1, l.Entropy)
			}
			if k < 15 {
				cosine[i] = max(cosine[i], l.Cosine)
			}
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{49, 16, 25, 49} {
		if math.Abs(best[i]-want) > 3 {
			t.Errorf("layer %d: lowest entropy %.0f at pass %v, want about %v", i+1, lowest[i], best[i], want)
		}
		if i > 0 && cosine[i] < 0.98 {
			t.Errorf("layer %d: cosine %.3f", i+1, cosine[i])
		}
	}
	var probes, spread []float64
	a, b := train, test
	probes = append(probes, probe(t, a, b))
	for i := range units {
		name := "dense" + string(rune('1'+i))
		a, b = through(a, tr.Params(), name), through(b, tr.Params(), name)
		probes = append(probes, probe(t, a, b))
		largest := 0.0
		for _, std := range data.PerFeature(a).Std {
			if std != 1 {
				largest = max(largest, std)
			}
		}
		spread = append(spread, largest)
	}
	t.Logf("lowest entropies %.0f at passes %v, cosines %.3f, probes %.3f, largest standard deviation of a decision %.1g",
		lowest, best, cosine, probes, spread)
	if math.Abs(probes[1]-probes[0]) > 0.03 || probes[2] > probes[1] || max(probes[3], probes[4]) > 0.3 {
		t.Errorf("accuracy of linear probes of pixels and layers: %.3f", probes)
	}
	if spread[0] < 0.01 || max(spread[1], spread[2], spread[3]) > 0.003 {
		t.Errorf("largest standard deviation of a decision in each layer: %.2g", spread)
	}
}

// hundredEach is the first hundred examples of each class, and the others.
func hundredEach(s *data.Set) (train, test *data.Set) {
	var in, out []int
	count := make([]int, s.Classes())
	for i, label := range s.Labels {
		if count[label]++; count[label] <= 100 {
			in = append(in, i)
		} else {
			out = append(out, i)
		}
	}
	train, err := s.Subset(in)
	if err != nil {
		panic(err)
	}
	if test, err = s.Subset(out); err != nil {
		panic(err)
	}
	return train, test
}

// through is a set behind a sigmoid layer.
func through(s *data.Set, p *graph.Params, name string) *data.Set {
	w, b := p.Get(name+"/weight").Value, p.Get(name+"/bias").Value
	in, out := w.Shape[0], w.Shape[1]
	h := *s
	h.Shape, h.X = []int{out}, make([]float32, s.Len()*out)
	for i := range s.Len() {
		for j := range out {
			sum := b.At(j)
			for k := range in {
				sum += float64(s.X[i*in+k]) * w.At(k*out+j)
			}
			h.X[i*out+j] = float32(1 / (1 + math.Exp(-sum)))
		}
	}
	return &h
}

// probe is the accuracy of a linear classifier.
func probe(t *testing.T, train, test *data.Set) float64 {
	t.Helper()
	n := data.PerFeature(train)
	train, err := n.Apply(train)
	if err != nil {
		t.Fatal(err)
	}
	if test, err = n.Apply(test); err != nil {
		t.Fatal(err)
	}
	tr, err := Backprop{Optimizer: optim.Adam{LR: 0.01}}.Trainer(layers.Dense{Units: 10}, objectives.CrossEntropy, SpecOf(train, 100, 1))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Fit(t.Context(), tr, train, Config{Epochs: 100, Validation: test})
	if err != nil {
		t.Fatal(err)
	}
	return h.Last().Accuracy
}
