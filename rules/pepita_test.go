package rules

import (
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

func init() {
	everyRule["pepita"] = PEPITA{}
	everyRule["pepita original"] = PEPITA{Mode: Forward, Sign: AddError, OutputError: SecondPass, Normalize: true, Optimizer: optim.SGD{LR: 0.1}}
	everyRule["pepita hebbian"] = PEPITA{Mode: Hebbian, Feedback: Layerwise}
	everyRule["pepita time-local"] = PEPITA{Mode: TimeLocal, Optimizer: optim.SGD{LR: 0.01}}
	everyRule["pepita mirror"] = PEPITA{Mode: TimeLocal, Feedback: Layerwise, Mirror: &WeightMirror{Epochs: 1, Every: 2}}
}

// handNet is a network 2-3-2 without biases whose numbers were computed by hand, and one example of it.
var handNet = struct {
	w1, w2, f, x []float64
	label        int
}{
	w1: []float64{0.5, 0.1, -0.3, -0.2, 0.4, 0.6}, // [in, out]
	w2: []float64{0.2, -0.4, 0.1, 0.3, -0.5, 0.2},
	f:  []float64{0.1, -0.2, 0.3, 0.05},
	x:  []float64{1, 2},
}

func handModel(activation layers.Layer) layers.Layer {
	return layers.Sequential{layers.Dense{Units: 3, Activation: activation, NoBias: true}, layers.Dense{Units: 2, NoBias: true}}
}

// handTrainer is a trainer of that network, in float64, with the feedback F times scale.
func handTrainer(t *testing.T, r Rule, activation layers.Layer, scale float64) Trainer {
	t.Helper()
	spec := Spec{Input: []int{2}, Classes: 2, Batch: 1, DType: graph.Float64}
	tr, err := r.Trainer(handModel(activation), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	setAll(t, tr.Params().Get("dense1/weight"), handNet.w1)
	setAll(t, tr.Params().Get("dense2/weight"), handNet.w2)
	if f := tr.Params().Get(r.Name() + "/feedback"); f != nil {
		setAll(t, f, handNet.f)
		for i := range f.Value.Size() {
			f.Value.Set(i, scale*f.Value.At(i))
		}
	}
	return tr
}

func setAll(t *testing.T, p *graph.Param, v []float64) {
	t.Helper()
	if err := p.Value.CopyFrom(graph.ArrayOf(v, p.Value.Shape...)); err != nil {
		t.Fatal(err)
	}
}

// change is what one step takes from each weight at learning rate 1: the directions.
func change(t *testing.T, tr Trainer) (w1, w2 *graph.Array) {
	t.Helper()
	before := tr.Params().Clone()
	b := NewBatch(tr.Spec())
	copy(b.X.Float64s(), handNet.x)
	b.Y.Ints()[0] = handNet.label
	if _, err := tr.Step(b); err != nil {
		t.Fatalf("%+v", err)
	}
	diff := func(name string) *graph.Array {
		a, b := before.Get(name).Value, tr.Params().Get(name).Value
		for i := range a.Size() {
			a.Set(i, a.At(i)-b.At(i))
		}
		return a
	}
	return diff("dense1/weight"), diff("dense2/weight")
}

// transposed is a matrix [rows, columns] in the order of its columns: papers write weights [out, in].
func transposed(rows, columns int, v ...float64) []float64 {
	out := make([]float64, len(v))
	for i := range rows {
		for j := range columns {
			out[j*rows+i] = v[i*columns+j]
		}
	}
	return out
}

var plainSGD = optim.SGD{LR: 1}

func TestPEPITAByHand(t *testing.T) {
	modulated2 := transposed(2, 3, -0.114046, -0.671228, -0.638938, 0.114046, 0.671228, 0.638938)
	for name, c := range map[string]struct {
		rule   Rule
		g1, g2 []float64
	}{
		"modulated": {PEPITA{Optimizer: plainSGD},
			transposed(3, 2, -0.081756, -0.147368, -0.106283, -0.191578, -0.049054, -0.088421), modulated2},
		"Hebbian": {PEPITA{Optimizer: plainSGD, Mode: Hebbian},
			transposed(3, 2, -0.102132, -0.164347, -0.289662, -0.344393, -0.232432, -0.241236),
			transposed(2, 3, -0.135836, -0.699554, -0.652012, 0.067918, 0.611261, 0.611261)},
		"AFA": {AdaptiveFeedbackAlignment{Optimizer: plainSGD},
			transposed(3, 2, -0.067918, -0.135836, -0.088293, -0.176586, -0.040751, -0.081501), nil},
		"backprop": {Backprop{Optimizer: plainSGD},
			transposed(3, 2, -0.407507, -0.815014, 0.135836, 0.271671, 0.475425, 0.95085), nil},
	} {
		g1, g2 := change(t, handTrainer(t, c.rule, layers.ReLU{}, 1))
		near(t, name+": G1", g1, 1e-6, c.g1...)
		if c.g2 != nil {
			near(t, name+": G2", g2, 1e-6, c.g2...)
		}
	}
}

// Every mode, sign and output error against the formulas written out for the network, in plain Go.
func TestPEPITAFormulas(t *testing.T) {
	forward := func(w1, w2, x []float64) (h, y []float64) {
		h, y = make([]float64, 3), make([]float64, 2)
		for j := range h {
			h[j] = math.Tanh(x[0]*w1[j] + x[1]*w1[3+j])
		}
		sum := 0.0
		for k := range y {
			for j := range h {
				y[k] += h[j] * w2[2*j+k]
			}
			y[k] = math.Exp(y[k])
			sum += y[k]
		}
		return h, []float64{y[0] / sum, y[1] / sum}
	}
	outer := func(dst []float64, sign float64, x, d []float64) {
		for i := range x {
			for j := range d {
				dst[i*len(d)+j] += sign * x[i] * d[j]
			}
		}
	}
	minus := func(a, b []float64) []float64 {
		d := make([]float64, len(a))
		for i := range a {
			d[i] = a[i] - b[i]
		}
		return d
	}
	target := []float64{1, 0}
	for _, mode := range []PEPITAMode{Modulated, Forward, Hebbian, TimeLocal} {
		for _, sign := range []ErrorSign{SubtractError, AddError} {
			for _, second := range []OutputError{FirstPass, SecondPass} {
				if second == SecondPass && mode > Forward {
					continue
				}
				w1, w2, x, f := handNet.w1, handNet.w2, handNet.x, handNet.f
				h, y := forward(w1, w2, x)
				e := minus(y, target)
				factor := -1.0
				if sign == AddError {
					factor = 1
				}
				x2 := []float64{x[0] + factor*(f[0]*e[0]+f[1]*e[1]), x[1] + factor*(f[2]*e[0]+f[3]*e[1])}
				g1, g2 := make([]float64, 6), make([]float64, 6)
				if mode == TimeLocal {
					outer(g1, 1, x, h)
					outer(g2, 1, h, y)
					w1, w2 = minus(w1, g1), minus(w2, g2)
				}
				h2, y2 := forward(w1, w2, x2)
				top := e
				if second == SecondPass {
					top = minus(y2, target)
				}
				switch mode {
				case Modulated:
					outer(g1, 1, x2, minus(h, h2))
					outer(g2, 1, h2, top)
				case Forward:
					outer(g1, 1, x, minus(h, h2))
					outer(g2, 1, h, top)
				case Hebbian:
					outer(g1, 1, x, h)
					outer(g2, 1, h, y)
					fallthrough
				case TimeLocal:
					outer(g1, -1, x2, h2)
					outer(g2, -1, h2, target)
				}
				r := PEPITA{Optimizer: plainSGD, Mode: mode, Sign: sign, OutputError: second}
				a, b := change(t, handTrainer(t, r, layers.Tanh{}, 1))
				near(t, "G1", a, 1e-12, g1...)
				near(t, "G2", b, 1e-12, g2...)
			}
		}
	}
}

// Adaptive feedback alignment is the first order of PEPITA in the feedback: tanh, F scaled by 10^-k.
func TestPEPITATendsToAdaptiveFeedbackAlignment(t *testing.T) {
	for k, want := range []float64{9.26e-2, 9.49e-3, 9.52e-4, 9.52e-5, 9.52e-6} {
		scale := math.Pow(10, -float64(k))
		p, _ := change(t, handTrainer(t, PEPITA{Optimizer: plainSGD}, layers.Tanh{}, scale))
		a, _ := change(t, handTrainer(t, AdaptiveFeedbackAlignment{Optimizer: plainSGD}, layers.Tanh{}, scale))
		var diff, norm float64
		for i := range p.Size() {
			diff, norm = diff+(p.At(i)-a.At(i))*(p.At(i)-a.At(i)), norm+a.At(i)*a.At(i)
		}
		if got := math.Sqrt(diff / norm); math.Abs(got-want) > 0.006*want {
			t.Errorf("F·10^-%d: relative distance %.4g, want %.3g", k, got, want)
		}
	}
}

// The same in a model with convolutions, pooling, a shortcut and dropout: a hundredth of the feedback, a hundredth of the
// distance, in every parameter. The bias of the output layer does not see the second pass.
func TestPEPITATendsToAdaptiveFeedbackAlignmentInConvolutions(t *testing.T) {
	spec := Spec{Input: []int{1, 6, 6}, Classes: 3, Batch: 16, DType: graph.Float64, Seed: 2}
	distances := map[string][2]float64{}
	for k, scale := range []float64{2e-3, 2e-5} {
		var directions [][]*graph.Array
		var params []*graph.Param
		var f *graph.Array
		for _, r := range []Rule{PEPITA{FeedbackScale: scale}, AdaptiveFeedbackAlignment{FeedbackScale: scale}} {
			tr, err := r.Trainer(convShortcut(), objectives.CrossEntropy, spec)
			if err != nil {
				t.Fatalf("%+v", err)
			}
			own := tr.Params().Get(r.Name() + "/feedback").Value
			if f == nil {
				f = own
			} else if err := own.CopyFrom(f); err != nil {
				t.Fatal(err)
			}
			b := NewBatch(spec)
			if err := b.Fill(barImages{16}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Step(b); err != nil {
				t.Fatal(err)
			}
			ph := tr.(*trainer).phases[0]
			directions, params = append(directions, ph.grads[0]), ph.params[0]
		}
		for i, q := range params {
			var diff, norm float64
			for j := range directions[0][i].Size() {
				p, a := directions[0][i].At(j), directions[1][i].At(j)
				diff, norm = diff+(p-a)*(p-a), norm+a*a
			}
			pair := distances[q.Name]
			pair[k] = math.Sqrt(diff / norm)
			distances[q.Name] = pair
		}
	}
	for name, d := range distances {
		exact := d[0] < 1e-9 && d[1] < 1e-9 // no activation function between the change and this parameter's unit
		if !exact && (d[0] > 0.02 || math.Abs(d[0]/d[1]-100) > 10) {
			t.Errorf("%s: relative distance %.3g, and %.3g with a hundredth of the feedback", name, d[0], d[1])
		}
	}
	if len(distances) != 8 {
		t.Errorf("%d parameters", len(distances))
	}
}

// Without feedback hidden layers do not move and the output layer follows the delta rule; without an error nothing
// moves.
func TestPEPITAWithoutFeedbackOrError(t *testing.T) {
	g1, g2 := change(t, handTrainer(t, PEPITA{Optimizer: plainSGD}, layers.ReLU{}, 0))
	_, delta := change(t, handTrainer(t, Backprop{Optimizer: plainSGD}, layers.ReLU{}, 0))
	near(t, "G1 without feedback", g1, 0, make([]float64, 6)...)
	near(t, "G2 without feedback", g2, 1e-15, delta.Float64s()...)

	tr := handTrainer(t, PEPITA{Optimizer: plainSGD}, layers.ReLU{}, 1)
	w := tr.Params().Get("dense2/weight").Value
	for j := range 3 { // such scores that softmax is exactly the label
		w.Set(2*j, 1000)
		w.Set(2*j+1, -1000)
	}
	g1, g2 = change(t, tr)
	near(t, "G1 without error", g1, 0, make([]float64, 6)...)
	near(t, "G2 without error", g2, 0, make([]float64, 6)...)
}

// The Hebbian direction is the gradient of (Σh² - Σh~²)/2 of each ReLU layer with its input held: forward-forward with
// clean examples as negative and changed ones as positive.
func TestPEPITAHebbianIsLocalGradient(t *testing.T) {
	const batch = 4
	params := &graph.Params{DType: graph.Float64, Seed: 5}
	model := layers.Sequential{
		layers.Dense{Units: 5, Activation: layers.ReLU{}}, layers.Dense{Units: 6, Activation: layers.ReLU{}}, layers.Dense{Units: 3},
	}
	r := PEPITA{Mode: Hebbian}
	f := feedback{rule: "pepita", scale: 20}
	v := evaluate(t, params, func(s *graph.Scope) (nodes []*graph.Node) {
		x := s.Normal("x", batch, 4)
		p := r.pass(s, model, x)
		p.judge(objectives.CrossEntropy, graph.Literal(s.Const(0), graph.ArrayOf([]int{0, 1, 2, 1}, batch)))
		d := r.directions(s, p, f)
		a, b := graph.Detach(x), graph.Detach(graph.Sub(x, f.project(s, p)))
		for i := 1; i <= 2; i++ {
			name := "dense" + string(rune('0'+i))
			w, bias := s.Graph().ParamNode(name+"/weight"), s.Graph().ParamNode(name+"/bias")
			a, b = graph.ReLU(graph.Add(graph.MatMul(a, w), bias)), graph.ReLU(graph.Add(graph.MatMul(b, w), bias))
			local := graph.Scale(graph.Sub(graph.Sum(graph.Square(a)), graph.Sum(graph.Square(b))), 0.5)
			nodes = append(nodes, d[w], d[bias])
			nodes = append(nodes, graph.Grad(local, w, bias)...)
			a, b = graph.Detach(a), graph.Detach(b)
		}
		return nodes
	})
	for i := 0; i < len(v); i += 4 {
		for j := range 2 {
			near(t, "direction", v[i+j], 1e-12, v[i+2+j].Float64s()...)
			if norm := optim.GlobalNorm(v[i+j : i+j+1]); norm < 0.1 {
				t.Errorf("direction %d of norm %v: nothing was compared", i+j, norm)
			}
		}
	}
}

// transposedReads lists the ops among those that the nodes are computed from which read a trained weight in another way
// than the forward pass does: what carries errors back through a layer.
func transposedReads(g *graph.Graph, of []*graph.Node) (found []string) {
	seen := map[*graph.Node]bool{}
	for stack := of; len(stack) > 0; {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		for i, a := range graph.Operands(n) {
			stack = append(stack, a)
			p := g.Param(a)
			if p == nil || p.State || !strings.HasSuffix(p.Name, "/weight") {
				continue
			}
			if op := n.Op().String(); i != 1 || graph.OpName(n) != "conv2d" && op != "matmul{TransA:false TransB:false}" {
				found = append(found, op+" reads "+p.Name)
			}
		}
	}
	return found
}

// Two convolutions with pooling and a shortcut, and two dense layers.
func convShortcut() layers.Layer {
	return layers.Sequential{
		layers.Conv2D{Filters: 3, Kernel: layers.Both(3), Padding: layers.Both(1), Activation: layers.ReLU{}},
		layers.MaxPool2D{},
		layers.Residual{Body: layers.Conv2D{Filters: 3, Kernel: layers.Both(3), Padding: layers.Both(1), Activation: layers.GELU{}}},
		layers.Flatten{},
		layers.Dense{Units: 7, Activation: layers.Tanh{}},
		layers.Dropout{P: 0.3},
		layers.Dense{Units: 3},
	}
}

// No rule of feedback carries an error back through a layer's weights, whatever the model; backpropagation does.
func TestFeedbackNeverReadsWeightsBackwards(t *testing.T) {
	for name, c := range map[string]struct {
		rule Rule
		want bool
	}{
		"backprop": {Backprop{}, true},
		"pepita":   {PEPITA{}, false}, "forward": {PEPITA{Mode: Forward, OutputError: SecondPass}, false},
		"hebbian": {PEPITA{Mode: Hebbian, Normalize: true}, false}, "time-local": {PEPITA{Mode: TimeLocal}, false},
		"adaptive": {AdaptiveFeedbackAlignment{}, false}, "fa": {FeedbackAlignment{}, false}, "dfa": {DirectFeedbackAlignment{}, false},
	} {
		tr, err := c.rule.Trainer(convShortcut(), objectives.CrossEntropy, Spec{Input: []int{1, 6, 6}, Classes: 3, Batch: 4})
		if err != nil {
			t.Fatalf("%s: %+v", name, err)
		}
		directions, found := 0, []string(nil)
		for _, ph := range tr.(*trainer).phases {
			for _, st := range ph.stages {
				for _, goal := range st.goals {
					directions += len(goal.Grads)
					found = append(found, transposedReads(st.g, goal.Grads)...)
				}
			}
		}
		if len(found) > 0 != c.want || directions < 8 {
			t.Errorf("%s: %d directions; against the forward direction: %v, want some: %v", name, directions, found, c.want)
		}
	}
}

// The activity of a convolution is what is behind the activation function, whatever that is made of, and before
// pooling; where a shortcut begins at the sum, it is the sum.
func TestPEPITAActivities(t *testing.T) {
	params := &graph.Params{}
	_, err := graph.Build(params, func(s *graph.Scope) {
		x := s.Input("x", graph.Float32, 2, 1, 6, 6)
		out := convShortcut().Apply(s.ForTraining(), x)
		var got []string
		for _, l := range sites(s, x, out) {
			got = append(got, graph.OpName(l.activity))
			if l.head != (l.logit == out) {
				t.Errorf("%v: head is %v", l.logit, l.head)
			}
		}
		if want := "relu mul mul add"; strings.Join(got, " ") != want { // GELU ends with mul, dropout too
			t.Errorf("activities %v, want %s", got, want)
		}
		h := s.Input("h", graph.Float32, 2, 4)
		sum := layers.Dense{Units: 4}.Apply(s, h)
		out = layers.Dense{Units: 3}.Apply(s, graph.Add(sum, graph.ReLU(sum)))
		if l := sites(s, h, out)[0]; graph.OpName(l.activity) != "add" || l.activity == sum {
			t.Errorf("sum and ReLU of it together are one elementwise function, got %v", l.activity)
		}
		out = layers.Dense{Units: 3}.Apply(s, graph.Concat(1, sum, graph.ReLU(sum)))
		if l := sites(s, h, out)[0]; l.activity != sum {
			t.Errorf("two results that leave: want the sum, got %v", l.activity)
		}
		relu := graph.ReLU(sum)
		out = layers.Dense{Units: 3}.Apply(s, graph.RMSNormalize(relu, 1e-6, 1))
		if l := sites(s, h, out)[0]; l.activity != relu {
			t.Errorf("a normalisation behind the activation: want the activation, got %v", l.activity)
		}
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

// What cannot be trained is refused by name, and labels out of range by the objective.
func TestFeedbackRefuses(t *testing.T) {
	d := toy(16)
	spec := SpecOf(d, 16, 1)
	deep, single := mlp(6, 5), layers.Sequential{layers.Dense{Units: 3}}
	for name, c := range map[string]struct {
		rule  Rule
		model layers.Layer
		spec  Spec
		words []string
	}{
		"one layer":        {PEPITA{}, single, spec, []string{"pepita", "at least two", "1"}},
		"one layer, AFA":   {AdaptiveFeedbackAlignment{}, single, spec, []string{"adaptive-feedback-alignment", "at least two", "1"}},
		"one block, DFA":   {DirectFeedbackAlignment{}, single, spec, []string{"direct-feedback-alignment", "two blocks", "1"}},
		"no weights":       {PEPITA{}, layers.Sequential{layers.ReLU{}}, spec, []string{"pepita", "at least two", "0"}},
		"mode":             {PEPITA{Mode: 9}, deep, spec, []string{"Mode", "TimeLocal", "9"}},
		"sign":             {PEPITA{Sign: 2}, deep, spec, []string{"Sign", "2"}},
		"output error":     {PEPITA{Mode: Hebbian, OutputError: SecondPass}, deep, spec, []string{"OutputError", "Modulated and Forward"}},
		"feedback":         {PEPITA{Feedback: 4}, deep, spec, []string{"Feedback", "Layerwise", "4"}},
		"scale":            {AdaptiveFeedbackAlignment{FeedbackScale: -1}, deep, spec, []string{"FeedbackScale", "-1"}},
		"NaN scale":        {PEPITA{FeedbackScale: math.NaN()}, deep, spec, []string{"FeedbackScale", "NaN"}},
		"mirror":           {PEPITA{Mirror: &WeightMirror{}}, deep, spec, []string{"Mirror", "Layerwise"}},
		"mirror's numbers": {PEPITA{Feedback: Layerwise, Mirror: &WeightMirror{LR: -1}}, deep, spec, []string{"Mirror", "at least 0"}},
		"layerwise convolutions": {PEPITA{Feedback: Layerwise}, convShortcut(), Spec{Input: []int{1, 6, 6}, Classes: 3, Batch: 2},
			[]string{"Layerwise", "dense", "[3 1 3 3]"}},
		"shared weights": {FeedbackAlignment{}, layers.Sequential{layers.Dense{Units: 4}, layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
			w := s.Param("shared", graph.Glorot(4, 4), 4, 4)
			return graph.MatMul(graph.MatMul(x, w), w)
		}), layers.Dense{Units: 3}}, spec, []string{"feedback-alignment", "shared"}},
		"odd use": {PEPITA{}, layers.Sequential{layers.Dense{Units: 4}, layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
			return graph.Pow(x, s.Param("power", graph.Ones(), 4))
		}), layers.Dense{Units: 3}}, spec, []string{"pepita", "power"}},
		"no model":     {PEPITA{}, nil, spec, []string{"pepita", "model"}},
		"no model, FA": {FeedbackAlignment{}, nil, spec, []string{"feedback-alignment", "model"}},
	} {
		if _, err := c.rule.Trainer(c.model, objectives.CrossEntropy, c.spec); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			wantError(t, err, c.words...)
		}
	}
	for _, r := range feedbackRules() {
		tr, err := r.Trainer(deep, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		before := tr.Params().Clone()
		b := NewBatch(spec)
		b.Y.Ints()[3] = 3
		_, err = tr.Step(b)
		wantError(t, err, r.Name(), "step 0", "3")
		sameBits(t, "after a wrong label", before, tr.Params())
	}
}

func feedbackRules() []Rule {
	return []Rule{PEPITA{}, PEPITA{Mode: TimeLocal}, PEPITA{Feedback: Layerwise, Mirror: &WeightMirror{}},
		AdaptiveFeedbackAlignment{}, FeedbackAlignment{}, DirectFeedbackAlignment{}}
}

// Every rule of feedback learns a convolutional model with a shortcut, and a regression through a hidden layer.
func TestFeedbackLearnsImagesAndRegression(t *testing.T) {
	sgd := func(lr float64) optim.Optimizer { return optim.SGD{LR: lr, Momentum: 0.9} }
	for _, c := range []struct {
		rule     Rule
		accuracy float64 // of images, at least; guessing has 0.33
	}{
		{PEPITA{Optimizer: sgd(0.005)}, 0.85}, {PEPITA{Optimizer: sgd(0.005), Mode: Hebbian}, 0.85},
		{AdaptiveFeedbackAlignment{Optimizer: sgd(0.005)}, 0.95},
		{FeedbackAlignment{Optimizer: sgd(0.05)}, 0.98}, {DirectFeedbackAlignment{Optimizer: sgd(0.05)}, 0.98},
	} {
		for _, task := range []struct {
			model     layers.Layer
			objective objectives.Objective
			data      Data
		}{
			{convShortcut(), objectives.CrossEntropy, barImages{240}},
			{layers.Sequential{layers.Dense{Units: 16, Activation: layers.Tanh{}}, layers.Dense{Units: 2}}, objectives.MSE, plane{240}},
		} {
			tr, err := c.rule.Trainer(task.model, task.objective, SpecOf(task.data, 16, 2))
			if err != nil {
				t.Fatalf("%s: %+v", c.rule.Name(), err)
			}
			first, err := Evaluate(tr, task.data)
			if err != nil {
				t.Fatal(err)
			}
			h, err := Fit(t.Context(), tr, task.data, Config{Epochs: 20, Validation: task.data})
			if err != nil {
				t.Fatalf("%s: %v", c.rule.Name(), err)
			}
			last := h.Last()
			if task.data.Classes() > 0 && last.Accuracy < c.accuracy || task.data.Classes() == 0 && last.Error > 0.1*first.Error {
				t.Errorf("%s: accuracy %.3f, error %.4f after %.4f", c.rule.Name(), last.Accuracy, last.Error, first.Error)
			}
		}
	}
}

// A mirrored matrix follows the formula, for all layers at once, and F keeps its standard deviation.
func TestPEPITAWeightMirror(t *testing.T) {
	d := toy(64)
	spec := SpecOf(d, 64, 3)
	spec.DType = graph.Float64
	m := &WeightMirror{Epochs: 30, LR: 0.2, Decay: 0.4, Noise: 0.3}
	r := PEPITA{Feedback: Layerwise, Mirror: m, FeedbackScale: 0.1}
	tr, err := r.Trainer(mlp(6, 5), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	names := []string{"dense1/weight", "dense2/weight", "dense3/weight"}
	matrices := func(prefix string, p *graph.Params) (list []*graph.Param) {
		for _, n := range names {
			list = append(list, p.Get(prefix+n))
		}
		return list
	}
	before := tr.Params().Clone()
	batch := NewBatch(spec)
	if err := batch.Fill(d, []int{0}, 0); err != nil {
		t.Fatal(err)
	}
	batch.N = spec.Batch
	if _, err := tr.Step(batch); err != nil {
		t.Fatalf("%+v", err)
	}
	// The same noise, drawn outside of programs.
	var mirrored []*graph.Param
	for i, n := range names {
		w, bias, b := before.Get(n).Value, before.Get(strings.TrimSuffix(n, "weight")+"bias").Value, before.Get("pepita/"+n).Value.Clone()
		in, out := w.Shape[0], w.Shape[1]
		xi := make([]float64, 64*in)
		graph.FillNormal(graph.NewStream(3, "pepita/mirror/"+n), 0, 0, xi)
		mean := 0.0
		for _, v := range xi {
			mean += v / float64(len(xi))
		}
		for j := range b.Size() {
			b.Set(j, b.At(j)*(1-m.LR*m.Decay))
		}
		for row := range 64 {
			for j := range out {
				sum := bias.At(j)
				for k := range in {
					sum += m.Noise * (xi[row*in+k] - mean) * w.At(k*out+j)
				}
				if i < 2 {
					sum = max(sum, 0)
				}
				for k := range in {
					b.Set(k*out+j, b.At(k*out+j)+m.LR/64*m.Noise*(xi[row*in+k]-mean)*sum)
				}
			}
		}
		mirrored = append(mirrored, &graph.Param{Name: n, Value: b})
	}
	std := func(v []float64) float64 {
		var sum, squares float64
		for _, x := range v {
			sum, squares = sum+x, squares+x*x
		}
		n := float64(len(v))
		return math.Sqrt(squares/n - sum*sum/n/n)
	}
	f, err := chainProduct(mirrored)
	if err != nil {
		t.Fatal(err)
	}
	wanted := 0.1 * math.Sqrt(2.0/4)
	gain := math.Cbrt(wanted / std(f))
	for i, q := range matrices("pepita/", tr.Params()) {
		want := mirrored[i].Value
		for j := range want.Size() {
			want.Set(j, want.At(j)*gain)
		}
		near(t, q.Name, q.Value, 1e-12, want.Float64s()...)
	}
	if f, err = chainProduct(matrices("pepita/", tr.Params())); err != nil || math.Abs(std(f)-wanted) > 1e-12 {
		t.Errorf("standard deviation of F %v, want %v (%v)", std(f), wanted, err)
	}
	for _, n := range names {
		near(t, "weight while its mirror moves", tr.Params().Get(n).Value, 0, before.Get(n).Value.Float64s()...)
	}
}

// Mirroring brings every matrix of feedback closer to its weight; then the weights learn and the matrices stay, but for
// the epochs that mirror too.
func TestPEPITAMirrorEpochs(t *testing.T) {
	d := toy(64)
	tr, err := PEPITA{Feedback: Layerwise, Mirror: &WeightMirror{Epochs: 10, Every: 13, Noise: 0.7}}.Trainer(mlp(6, 5), objectives.CrossEntropy, SpecOf(d, 16, 3))
	if err != nil {
		t.Fatal(err)
	}
	angles := func() []FeedbackAngle {
		a, err := FeedbackAngles(tr)
		if err != nil || len(a) != 4 || a[3].Name != "pepita/feedback" {
			t.Fatal(a, err)
		}
		return a
	}
	begin, snaps := angles(), []*graph.Params{tr.Params().Clone()}
	var mirrored []FeedbackAngle
	_, err = Fit(t.Context(), tr, d, Config{Epochs: 13, OnEpoch: func(r Record) error {
		snaps = append(snaps, tr.Params().Clone())
		if r.Epoch == 10 {
			mirrored = angles()
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if mirrored[i].Degrees > begin[i].Degrees-15 {
			t.Errorf("%s: angle %.0f, was %.0f", begin[i].Name, mirrored[i].Degrees, begin[i].Degrees)
		}
	}
	for epoch := 1; epoch <= 13; epoch++ {
		for _, n := range []string{"dense1/weight", "dense3/weight"} {
			if got, want := moved(snaps[epoch-1], snaps[epoch], "pepita/"+n), epoch <= 10 || epoch == 13; got != want {
				t.Errorf("epoch %d: the mirror of %s moved: %v", epoch, n, got)
			}
			if got, want := moved(snaps[epoch-1], snaps[epoch], n), epoch > 10; got != want {
				t.Errorf("epoch %d: %s moved: %v", epoch, n, got)
			}
		}
	}
}

// A layerwise F begins with the standard deviation that its scale says, whatever the depth.
func TestPEPITALayerwiseScale(t *testing.T) {
	for _, hidden := range [][]int{{300}, {200, 300}, {200, 100, 150}} {
		var model layers.Sequential
		for _, n := range hidden {
			model = append(model, layers.Dense{Units: n, Activation: layers.ReLU{}})
		}
		spec := Spec{Input: []int{100}, Classes: 10, Batch: 2, Seed: 1}
		tr, err := PEPITA{Feedback: Layerwise}.Trainer(append(model, layers.Dense{Units: 10}), objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		var factors []*graph.Param
		for q := range tr.Params().All() {
			if q.State {
				factors = append(factors, q)
			}
		}
		f, err := chainProduct(factors)
		if err != nil || len(f) != 1000 {
			t.Fatal(err, len(f))
		}
		sum := 0.0
		for _, v := range f {
			sum += v * v / 1000
		}
		if want := 0.05 * math.Sqrt(2.0/100); math.Abs(math.Sqrt(sum)-want) > 0.1*want {
			t.Errorf("hidden %v: standard deviation %.5f, want %.5f", hidden, math.Sqrt(sum), want)
		}
	}
}

// With Normalize each example's hidden activity has length 1, in both passes and in prediction.
func TestPEPITANormalize(t *testing.T) {
	params := &graph.Params{DType: graph.Float64, Seed: 2}
	r := PEPITA{Normalize: true}
	v := evaluate(t, params, func(s *graph.Scope) []*graph.Node {
		x := s.Normal("x", 3, 4)
		p := r.pass(s, mlp(6, 5), x)
		p.judge(objectives.CrossEntropy, graph.Literal(s.Const(0), graph.ArrayOf([]int{0, 1, 2}, 3)))
		_, copied := r.secondPass(s, p, feedback{rule: "pepita", scale: 1})
		h1, h2 := p.sites[0].activity, p.sites[1].activity
		w, b := s.Graph().ParamNode("dense2/weight"), s.Graph().ParamNode("dense2/bias")
		again := graph.ReLU(graph.Add(graph.MatMul(h1, w), b))
		again = graph.Div(again, graph.KeepDims(graph.Norm(again, 1), []int{3, 5}, 1))
		out := graph.Add(graph.MatMul(again, s.Graph().ParamNode("dense3/weight")), s.Graph().ParamNode("dense3/bias"))
		return []*graph.Node{graph.Norm(h1, 1), graph.Norm(h2, 1), graph.Norm(copied(h1), 1), graph.Norm(copied(h2), 1),
			graph.Sub(copied(h1), h1), graph.Sub(p.out, out)}
	})
	for i := range 4 {
		near(t, "norm", v[i], 1e-12, 1, 1, 1)
	}
	if optim.GlobalNorm(v[4:5]) < 1e-3 {
		t.Error("the second pass is the first")
	}
	near(t, "output", v[5], 1e-12, make([]float64, 9)...)
}

// The digits, three seeds: within three points of backpropagation by every rule of feedback, and F turns towards the
// product of the weights.
func TestFeedbackOnDigits(t *testing.T) {
	if testing.Short() {
		t.Skip("trains eighteen networks")
	}
	o := optim.SGD{LR: 0.03, Momentum: 0.9}
	model := layers.Sequential{layers.Dense{Units: 128, Activation: layers.ReLU{}, NoBias: true}, layers.Dense{Units: 10, NoBias: true}}
	mean := map[string]float64{}
	for name, r := range map[string]Rule{
		"backprop": Backprop{Optimizer: o}, "FA": FeedbackAlignment{Optimizer: o}, "DFA": DirectFeedbackAlignment{Optimizer: o},
		"AFA": AdaptiveFeedbackAlignment{Optimizer: o}, "PEPITA": PEPITA{Optimizer: o}, "Hebbian": PEPITA{Optimizer: o, Mode: Hebbian},
	} {
		for seed := range uint64(3) {
			train, test, err := data.Digits().Split(seed, 0.2)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := r.Trainer(model, objectives.CrossEntropy, SpecOf(train, 64, seed))
			if err != nil {
				t.Fatal(err)
			}
			h, err := Fit(t.Context(), tr, train, Config{Epochs: 30, Validation: test})
			if err != nil {
				t.Fatal(err)
			}
			mean[name] += h.Last().Accuracy / 3
			a, err := NewAlignment(tr, model, objectives.CrossEntropy)
			if err != nil {
				t.Fatal(err)
			}
			cosine, _, err := a.Measure(firstBatch(t, train, tr.Spec()), 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			if cosine < 0.3 {
				t.Errorf("%s, seed %d: cosine between its direction and the gradient %.3f", name, seed, cosine)
			}
			if name != "PEPITA" && name != "Hebbian" {
				continue
			}
			angles, err := FeedbackAngles(tr)
			if err != nil || len(angles) != 1 || angles[0].Degrees > 88 {
				t.Errorf("%s, seed %d: angle %v, want less than the 90 it began with (%v)", name, seed, angles, err)
			}
		}
	}
	for name, a := range mean {
		if a < mean["backprop"]-0.03 || a < 0.94 {
			t.Errorf("%s: accuracy %.4f, backpropagation %.4f", name, a, mean["backprop"])
		}
	}
	t.Log(mean)
}
