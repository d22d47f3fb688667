package rules

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

func init() {
	everyRule["ff collaborating"] = ForwardForward{Collaboration: All, Order: SideBySide}
	everyRule["ff emergent"] = EmergentForwardForward()
	everyRule["backprop on goodness"] = BackpropOnGoodness{}
	everyRule["ff physical"] = PhysicalForwardForward{InnerSteps: 2}
	everyRule["ff recurrent"] = RecurrentForwardForward{Iterations: 3}
}

// hiddenGoals is the goals of all hidden layers in one graph, for examples with a right and a wrong label.
func hiddenGoals(n *ffNet, s *graph.Scope, x, right, wrong *graph.Node) (goals []Goal) {
	in := []*graph.Node{n.embed(x, right), n.embed(x, wrong)}
	if n.Collaboration == All {
		in = append(in, n.total(s, in[0]), n.total(s, in[1]))
	}
	for i := range n.hidden {
		out, g := n.block(s, i, detached(in), nil)
		in, goals = out, append(goals, g...)
	}
	return goals
}

// imageMLP is a perceptron for images.
func imageMLP(hidden ...int) layers.Layer {
	return append(layers.Sequential{layers.Flatten{}}, mlp(hidden...)...)
}

// shapes are models of other kinds than perceptrons, for 6x6 images.
var shapes = map[string]layers.Layer{
	"convolutions": layers.Sequential{
		layers.Block{layers.Conv2D{Filters: 6, Padding: layers.Both(1), Activation: layers.ReLU{}}, layers.MaxPool2D{}},
		layers.Flatten{},
		layers.Dense{Units: 24, Activation: layers.ReLU{}},
		layers.Dense{Units: 3},
	},
	"residual": layers.Sequential{
		layers.Conv2D{Filters: 4, Padding: layers.Both(1), Activation: layers.ReLU{}},
		layers.Block{layers.Residual{Body: layers.Conv2D{Filters: 4, Padding: layers.Both(1), Activation: layers.ReLU{}}}, layers.BatchNorm{}, layers.ReLU{}},
		layers.Flatten{},
		layers.Dense{Units: 3},
	},
	"local receptive fields": layers.Sequential{
		layers.LocallyConnected2D{Filters: 8, Stride: layers.Both(2), Activation: layers.ReLU{}},
		layers.LocallyConnected2D{Filters: 24, Kernel: layers.Both(2), Activation: layers.ReLU{}},
		layers.Flatten{},
		layers.Dense{Units: 3},
	},
	"one block": layers.Block{layers.Flatten{}, layers.Dense{Units: 20, Activation: layers.ReLU{}}},
}

// The derivative of a layer's loss in another layer's parameters is exactly 0, under every option and for every kind of
// model.
func TestForwardForwardIsLocal(t *testing.T) {
	d := images{toy(16)}
	for name, r := range map[string]ForwardForward{
		"plain": {}, "previous": {Collaboration: Previous}, "all": {Collaboration: All}, "hybrid": {Negatives: HybridImages},
		"norm": {Goodness: objectives.L2Norm, Normalization: UnitLength, Skip: -1},
	} {
		r.Label, r.Order = OverwriteLabel, SideBySide
		for kind, model := range shapes {
			tr, err := r.Trainer(model, objectives.CrossEntropy, SpecOf(d, 8, 5))
			if err != nil {
				t.Fatalf("%s, %s: %v", name, kind, err)
			}
			checkLocal(t, name+", "+kind, tr)
		}
	}
}

// One program a layer and one program for all give the same bits, with every kind of collaboration.
func TestForwardForwardOrders(t *testing.T) {
	d := toy(64)
	for c := None; c <= All; c++ {
		run := func(o Order) *graph.Params {
			tr, err := ForwardForward{Order: o, Collaboration: c}.Trainer(noisyMLP(), objectives.CrossEntropy, SpecOf(d, 16, 5))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Fit(t.Context(), tr, d, Config{Epochs: 3}); err != nil {
				t.Fatal(err)
			}
			return tr.Params()
		}
		sameBits(t, fmt.Sprintf("collaboration %d: simultaneous and side by side", c), run(Simultaneous), run(SideBySide))
	}
}

// Layer after layer: in each third of the epochs one hidden layer moves, and the readout always does.
func TestForwardForwardSequential(t *testing.T) {
	for c := None; c <= Previous; c++ {
		var tr Trainer
		d := toy(32)
		tr = trained(t, ForwardForward{Order: Sequential, Collaboration: c}, d, Config{}, 8, 8, 8)
		before := tr.Params().Clone()
		config := Config{Epochs: 3, OnEpoch: func(r Record) error {
			for i := 1; i <= 4; i++ {
				name := fmt.Sprintf("dense%d/weight", i)
				if want := i == r.Epoch || i == 4; moved(before, tr.Params(), name) != want {
					t.Errorf("epoch %d: %s moved: want %v", r.Epoch, name, want)
				}
			}
			before = tr.Params().Clone()
			return nil
		}}
		if _, err := Fit(t.Context(), tr, d, config); err != nil {
			t.Fatal(err)
		}
	}
}

// Hinton's course of the learning rate: 1 for a half, then linearly down; for layers one after the other, each its own.
func TestForwardForwardGain(t *testing.T) {
	for _, c := range []struct {
		order Order
		want  []float64
	}{
		{Simultaneous, []float64{1, 1, 1, 1, 7. / 8, 5. / 8, 3. / 8, 1. / 8}},
		{Sequential, []float64{1, 1, 1. / 3, 1, 1, 1. / 3, 1, 0.5}}, // 3, 3 and 2 epochs
	} {
		tr := trained(t, ForwardForward{Order: c.order}, toy(32), Config{}, 8, 8, 8).(*trainer)
		active := 0
		for epoch, want := range c.want {
			tr.StartEpoch(epoch, 8)
			if math.Abs(tr.gain-want) > 1e-15 {
				t.Errorf("order %d, epoch %d: want %v, got %v", c.order, epoch+1, want, tr.gain)
			}
			if first := epoch > 0 && want == 1 && c.want[epoch-1] < 1; first != (tr.active > active) {
				t.Errorf("order %d, epoch %d: layer %d after %d", c.order, epoch+1, tr.active, active)
			}
			active = tr.active
		}
	}
}

// Lorberbom et al. 2023: threshold 2, goodness 1.5 and 0.5 in two layers. The rule's loss is half the softplus.
func TestCollaborationNumbers(t *testing.T) {
	for c, want := range map[Collaboration][]float64{
		None:     {0.974077, 1.701413, -0.622459, -0.817574, 0.474077, 0.201413},
		Previous: {0.974077, math.Ln2, -0.622459, -0.5, 0.474077, math.Ln2},
		All:      {math.Ln2, math.Ln2, -0.5, -0.5, math.Ln2, math.Ln2},
	} {
		n := &ffNet{ForwardForward: ForwardForward{Collaboration: c}}
		v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
			g := []*graph.Node{literal(s, []int{1}, 1.5), literal(s, []int{1}, 0.5)}
			total := graph.Add(g[0], g[1])
			var others, pos, slope, neg []*graph.Node
			if c == All {
				others = []*graph.Node{total, total}
			}
			nothing := literal(s, []int{1}, math.Inf(-1)) // as a negative: softplus 0
			certain := literal(s, []int{1}, math.Inf(1))
			for _, own := range g {
				var good []*graph.Node
				good, others = n.collaborate(own, own, detached(others))
				p := graph.Scale(contrast(good[0], nothing, 2, 1), 2)
				pos, neg = append(pos, p), append(neg, graph.Scale(contrast(certain, good[1], 2, 1), 2))
				slope = append(slope, graph.Grad(p, own)[0])
			}
			return slices.Concat(pos, slope, neg)
		})
		for i, a := range v {
			near(t, fmt.Sprintf("collaboration %d, number %d", c, i), a, 1e-6, want[i])
		}
	}
}

// With one hidden layer there is nobody to collaborate with; with "previous" the first of several has nobody either.
func TestCollaborationAlone(t *testing.T) {
	d := toy(32)
	plain := trained(t, ForwardForward{}, d, Config{Epochs: 3}, 8).Params()
	for c := Previous; c <= All; c++ {
		sameBits(t, fmt.Sprintf("one layer, collaboration %d", c), plain, trained(t, ForwardForward{Collaboration: c}, d, Config{Epochs: 3}, 8).Params())
	}
	r := ForwardForward{Negatives: WrongLabel}
	plain = trained(t, r, d, Config{Epochs: 3}, 8, 8).Params()
	r.Collaboration = Previous
	with := trained(t, r, d, Config{Epochs: 3}, 8, 8).Params()
	first := func(name string) bool { return name == "dense1/weight" || name == "dense1/bias" }
	sameBits(t, "the first layer", plain.Select(first), with.Select(first))
	if !moved(plain, with, "dense2/weight") {
		t.Error("collaboration has no influence on the second layer")
	}
}

// The threshold is that of the layers whose goodness is added.
func TestCollaborationThresholds(t *testing.T) {
	for c, want := range map[Collaboration][]float64{None: {12, 10, 8}, Previous: {12, 22, 30}, All: {30, 30, 30}} {
		n, err := ForwardForward{Collaboration: c, Threshold: 2}.net("forward-forward", mlp(6, 5, 4), SpecOf(toy(6), 2, 1), &graph.Params{}, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := []float64{n.shared(0), n.shared(1), n.shared(2)}; !slices.Equal(got, want) {
			t.Errorf("collaboration %d: want %v, got %v", c, want, got)
		}
	}
}

// With all layers collaborating, the layers' gradients are those of one loss of the total goodness in the graph whose
// edges between layers are cut.
func TestCollaborationIsOneLoss(t *testing.T) {
	params := &graph.Params{DType: graph.Float64, Seed: 2}
	n, err := ForwardForward{Collaboration: All, Peer: -1}.net("forward-forward", mlp(6, 5, 4),
		Spec{Input: []int{4}, Classes: 3, Batch: 2, DType: graph.Float64}, params, true)
	if err != nil {
		t.Fatal(err)
	}
	v := evaluate(t, params, func(s *graph.Scope) []*graph.Node {
		x := literal(s, []int{2, 4}, 1, -2, 3, 0.5, 0.3, 2, -1, 1)
		right, wrong := literal(s, []int{2, 3}, 1, 0, 0, 0, 0, 1), literal(s, []int{2, 3}, 0, 1, 0, 0, 1, 0)
		const theta = 6 + 5 + 4
		sum := func(a *graph.Node) (g *graph.Node) {
			for _, p := range n.hidden {
				a = p.Apply(s, graph.Detach(a))
				g = plus(g, n.Goodness.Of(a))
				a = n.Normalization.Of(a)
			}
			return g
		}
		g, b := sum(n.embed(x, right)), sum(n.embed(x, wrong))
		var all []*graph.Node
		for _, goal := range hiddenGoals(n, s, x, right, wrong) {
			all = append(append(all, goal.Grads...), graph.Grad(contrast(g, b, theta, 1), goal.Params...)...)
		}
		return all
	})
	for i := 0; i < len(v); i += 4 { // weight, bias of the goal, then of the one loss
		near(t, "weight", v[i], 1e-14, v[i+2].Float64s()...)
		near(t, "bias", v[i+1], 1e-14, v[i+3].Float64s()...)
	}
	if len(v) != 12 || v[0].At(0) == 0 && v[0].At(1) == 0 {
		t.Error("no gradients")
	}
}

// Without labels in their input and goals, hidden layers do not depend on them by a bit.
func TestHybridImagesNeedNoLabels(t *testing.T) {
	d := images{toy(64)}
	other := images{&toyData{x: d.x, y: slices.Clone(d.y)}}
	for i := range other.y {
		other.y[i] = (d.y[i] + 1 + i%2) % 3
	}
	r := ForwardForward{Negatives: HybridImages, Blur: 1}
	run := func(d Data) (Trainer, *graph.Params) {
		tr, err := r.Trainer(imageMLP(20, 20), objectives.CrossEntropy, SpecOf(d, 16, 3))
		if err != nil {
			t.Fatal(err)
		}
		before := tr.Params().Clone()
		if _, err := Fit(t.Context(), tr, d, Config{Epochs: 4}); err != nil {
			t.Fatal(err)
		}
		if !moved(before, tr.Params(), "dense1/weight") || !moved(before, tr.Params(), "dense2/weight") {
			t.Error("the hidden layers do not learn")
		}
		return tr, tr.Params()
	}
	_, a := run(d)
	_, b := run(other)
	hidden := func(name string) bool { return name[:6] != "dense3" }
	sameBits(t, "hidden layers under other labels", a.Select(hidden), b.Select(hidden))
	if !moved(a, b, "dense3/weight") {
		t.Error("the readout does not depend on the labels")
	}
}

// The mask of no pass is the random bits; one pass is the product of both axes' weights; half of the pixels come from
// either image, and neighbours agree more often the more passes are made.
func TestHybridMask(t *testing.T) {
	near(t, "blur", evaluate(t, nil, func(s *graph.Scope) []*graph.Node { return []*graph.Node{blur(s, 4, 1)} })[0], 0,
		0.75, 0.25, 0, 0, 0.25, 0.5, 0.25, 0, 0, 0.25, 0.5, 0.25, 0, 0, 0.25, 0.75)
	near(t, "blur twice", evaluate(t, nil, func(s *graph.Scope) []*graph.Node { return []*graph.Node{blur(s, 3, 2)} })[0], 0,
		0.625, 0.3125, 0.0625, 0.3125, 0.375, 0.3125, 0.0625, 0.3125, 0.625)
	const count, side = 400, 12
	last := 0.0
	for _, passes := range []int{0, 1, 6} {
		v := evaluate(t, &graph.Params{DType: graph.Float64, Seed: 3}, func(s *graph.Scope) []*graph.Node {
			m := hybridMask(s, passes, []int{count, side, side})
			agree := graph.Equal(graph.Slice(m, 2, 1, side, 1), graph.Slice(m, 2, 0, side-1, 1))
			return []*graph.Node{graph.Mean(m), graph.Mean(agree), m}
		})
		if passes == 0 && math.Abs(v[1].Scalar()-0.5) > 0.02 || v[1].Scalar() < last+0.1 && passes > 0 {
			t.Errorf("%d passes: neighbours agree with probability %v, before %v", passes, v[1].Scalar(), last)
		}
		if last = v[1].Scalar(); math.Abs(v[0].Scalar()-0.5) > 0.06 { // ties go to the other image
			t.Errorf("%d passes: %v of the pixels from the first image", passes, v[0].Scalar())
		}
		for i := range v[2].Size() {
			if m := v[2].At(i); m != 0 && m != 1 {
				t.Fatalf("mask %v", m)
			}
		}
	}
}

// A hybrid has every pixel from its own image or the next one, in all channels alike.
func TestHybridImages(t *testing.T) {
	n := &ffNet{ForwardForward: ForwardForward{Blur: 2}}
	v := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
		x := graph.Literal(s.Const(0), graph.NewArray(graph.Float64, 3, 2, 5, 5))
		image := graph.Reshape(literal(s, []int{3}, 1, 2, 3), 3, 1, 1, 1)
		return []*graph.Node{n.hybrid(s, graph.Add(x, image))}
	})[0]
	var from [3][2]int
	for b := range 3 {
		for i := range 25 {
			one, two := v.At(b*50+i), v.At(b*50+25+i)
			own, next := float64(b+1), float64((b+1)%3+1)
			if one != two || one != own && one != next {
				t.Fatalf("image %d, pixel %d: %v and %v, want %v or %v", b, i, one, two, own, next)
			}
			if one == own {
				from[b][0]++
			} else {
				from[b][1]++
			}
		}
	}
	for b, f := range from {
		if f[0] == 0 || f[1] == 0 {
			t.Errorf("image %d is no mixture: %v", b, f)
		}
	}
}

// What cannot be trained is an error that names it.
func TestForwardForwardErrors(t *testing.T) {
	d := toy(32)
	spec := SpecOf(d, 16, 1)
	regression := Spec{Input: []int{4}, Target: []int{2}, Batch: 16}
	alone := Spec{Input: []int{6, 6}, Classes: 3, Batch: 1}
	for _, c := range []struct {
		rule  ForwardForward
		spec  Spec
		words []string
	}{
		{ForwardForward{}, regression, []string{"classes", "regression"}},
		{ForwardForward{Goodness: 9}, spec, []string{"Goodness", "9"}},
		{ForwardForward{Normalization: 9}, spec, []string{"Normalization", "9"}},
		{ForwardForward{Collaboration: 9}, spec, []string{"Collaboration", "9"}},
		{ForwardForward{Order: 9}, spec, []string{"Order", "9"}},
		{ForwardForward{Order: Sequential, Collaboration: All}, spec, []string{"Order", "Collaboration", "Sequential"}},
		{ForwardForward{Negatives: HybridImages}, spec, []string{"Negatives", "[height, width]", "[4]"}},
		{ForwardForward{Negatives: HybridImages}, alone, []string{"batch of at least 2", "1"}},
		{ForwardForward{Negatives: HybridImages, Readout: Energy}, Spec{Input: []int{6, 6}, Classes: 3, Batch: 4}, []string{"Readout", "HybridImages"}},
		{ForwardForward{Skip: 2}, spec, []string{"Skip", "2 hidden layers"}},
		{ForwardForward{Blur: -1}, spec, []string{"Blur"}},
		{ForwardForward{Label: OverwriteLabel}, Spec{Input: []int{2}, Classes: 3, Batch: 4}, []string{"overwrite", "[2]"}},
		{ForwardForward{Peer: math.NaN()}, spec, []string{"Peer"}},
	} {
		_, err := c.rule.Trainer(mlp(8, 8), objectives.CrossEntropy, c.spec)
		wantError(t, err, append(c.words, "forward-forward")...)
	}
	_, err := ForwardForward{}.Trainer(mlp(8, 8), objectives.MSE, spec)
	wantError(t, err, "forward-forward", "mse", "int")

	tr := trained(t, ForwardForward{}, d, Config{}, 8, 8)
	batch := firstBatch(t, d, tr.Spec())
	before := tr.Params().Clone()
	batch.Y.Ints()[3] = 3
	_, err = tr.Step(batch)
	wantError(t, err, "forward-forward", "step 0", "3")
	sameBits(t, "after a label out of range", before, tr.Params())
}

// A batch of one example, one class only in a batch, and a model of one block are trained like any other.
func TestForwardForwardCorners(t *testing.T) {
	d := toy(30)
	single := &toyData{}
	for i := range d.x {
		if d.y[i] == 1 {
			single.x, single.y = append(single.x, d.x[i]), append(single.y, 1)
		}
	}
	for name, c := range map[string]struct {
		data  Data
		batch int
		model layers.Layer
	}{
		"batch of one": {d, 1, mlp(8, 8)}, "one class": {single, 10, mlp(8, 8)}, "one block": {d, 10, mlp()},
		"one hidden layer without an output layer": {d, 10, layers.Dense{Units: 8, Activation: layers.ReLU{}}},
	} {
		for c2 := None; c2 <= All; c2++ {
			tr, err := ForwardForward{Collaboration: c2}.Trainer(c.model, objectives.CrossEntropy, SpecOf(c.data, c.batch, 4))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			h, err := Fit(t.Context(), tr, c.data, Config{Epochs: 40, Validation: c.data})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if a := h.Last().Accuracy; a < 0.6 {
				t.Errorf("%s, collaboration %d: accuracy %v", name, c2, a)
			}
		}
	}
}

// Models that are no perceptrons learn under every goodness.
func TestForwardForwardModels(t *testing.T) {
	d := images{toy(96)}
	for kind, model := range shapes {
		for g := objectives.SumSquares; g <= objectives.SumActivity; g++ {
			r := ForwardForward{Goodness: g, Label: OverwriteLabel, Optimizer: optim.Adam{LR: 5e-3}}
			if g == objectives.L2Norm {
				r.Normalization = UnitLength
			}
			tr, err := r.Trainer(model, objectives.CrossEntropy, SpecOf(d, 24, 2))
			if err != nil {
				t.Fatal(err)
			}
			h, err := Fit(t.Context(), tr, d, Config{Epochs: 50, Validation: d})
			if err != nil {
				t.Fatal(err)
			}
			if a := h.Last().Accuracy; a < 0.6 {
				t.Errorf("%s, %v: accuracy %v on the training data", kind, g, a)
			}
			if first, last := h.Records[0].Loss, h.Last().Loss; last > 0.8*first {
				t.Errorf("%s, %v: loss %v, then %v", kind, g, first, last)
			}
		}
	}
}

func TestForwardForwardDoesNotAllocate(t *testing.T) {
	d := images{toy(16)}
	for name, r := range map[string]ForwardForward{"all": {Collaboration: All}, "hybrid": {Negatives: HybridImages}} {
		tr, err := r.Trainer(imageMLP(8, 8), objectives.CrossEntropy, SpecOf(d, 16, 5))
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
			t.Errorf("%s: %v allocations a step", name, n)
		}
	}
}
