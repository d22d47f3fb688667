package rules

import (
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A step that fails leaves everything as it was: parameters, running statistics, optimiser state and counter.
func TestFailedStepChangesNothing(t *testing.T) {
	d := toy(16)
	for name, r := range map[string]Rule{
		"backprop": Backprop{}, "mono-forward": MonoForward{}, "forward-forward": ForwardForward{}, "forward-gradient": ForwardGradient{},
	} {
		tr := newTrainer(t, r, d)
		batch := NewBatch(tr.Spec())
		if err := batch.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Step(batch); err != nil {
			t.Fatal(err)
		}
		state, err := tr.(interface{ state() (*graph.Params, error) }).state()
		if err != nil {
			t.Fatal(err)
		}
		params, slots := tr.Params().Clone(), state.Clone()
		batch.X.Set(5, math.NaN())
		if _, err := tr.Step(batch); err == nil {
			t.Errorf("%s: NaN in the data: no error", name)
		}
		sameBits(t, name+": parameters after a failed step", params, tr.Params())
		sameBits(t, name+": state after a failed step", slots, state)
	}
}

// A gradient that is not finite under a finite loss is refused, and the op that made it is named.
func TestNaNGradient(t *testing.T) {
	d := toy(32)
	model := layers.Sequential{
		layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Scale(x, 0) }),
		layers.Dense{Units: 4},
		layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Sqrt(x) }),
		layers.Dense{Units: 3},
	}
	tr, err := Backprop{}.Trainer(model, objectives.CrossEntropy, SpecOf(d, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	before := tr.Params().Clone()
	_, err = Fit(t.Context(), tr, d, Config{})
	wantError(t, err, "backprop", "step 0", "gradient", "Inf")
	sameBits(t, "after a gradient that is not finite", before, tr.Params())
}

// Data of another kind than the trainer was built for is refused before anything happens.
func TestOtherDataIsRefused(t *testing.T) {
	d := toy(32)
	tr := newTrainer(t, Backprop{}, d)
	before := tr.Params().Clone()
	_, err := Fit(t.Context(), tr, plane{64}, Config{})
	wantError(t, err, "data", "[4]", "3 classes", "[2]")
	_, err = Fit(t.Context(), tr, d, Config{Validation: plane{64}})
	wantError(t, err, "Validation", "[2]")
	_, err = Evaluate(tr, plane{64})
	wantError(t, err, "data", "[2]")
	_, err = Fit(t.Context(), tr, nil, Config{})
	wantError(t, err, "data", "nil")
	_, err = Fit(t.Context(), tr, d, Config{Epochs: -1})
	wantError(t, err, "Epochs", "-1")
	sameBits(t, "after refused data", before, tr.Params())
}

// A checkpoint of a run with another optimiser, batch or data is refused.
func TestResumeRefusesAnotherRun(t *testing.T) {
	d := toy(64)
	path := filepath.Join(t.TempDir(), "run.safetensors")
	fit := func(r Rule, d Data, batch int) error {
		tr, err := r.Trainer(mlp(4), objectives.CrossEntropy, SpecOf(d, batch, 1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Fit(t.Context(), tr, d, Config{Epochs: 2, Checkpoint: path, Resume: true})
		return err
	}
	if err := fit(Backprop{}, d, 16); err != nil {
		t.Fatal(err)
	}
	wantError(t, fit(Backprop{Optimizer: optim.Adam{LR: 3}}, d, 16), "optimizer", "LR:3")
	wantError(t, fit(Backprop{}, d, 32), "2 steps an epoch", "4 steps")
	wantError(t, fit(Backprop{}, toy(60), 16), "60 examples", "64 examples")
}

// Missing arguments and settings that do not exist are errors that name the rule and the field.
func TestSettingsAreChecked(t *testing.T) {
	d := toy(32)
	spec := SpecOf(d, 16, 1)
	for _, r := range all {
		if _, isBasic := map[string]bool{"backprop": true, "mono-forward": true, "forward-forward": true}[r.Name()]; !isBasic {
			continue
		}
		_, err := r.Trainer(nil, objectives.CrossEntropy, spec)
		wantError(t, err, r.Name(), "model")
		_, err = r.Trainer(mlp(4), nil, spec)
		wantError(t, err, r.Name(), "objective")
	}
	for field, r := range map[string]Rule{
		"Order": MonoForward{Order: 7}, "Readout": MonoForward{Readout: 9}, "Negatives": ForwardForward{Negatives: 7},
		"Label": ForwardForward{Label: 7}, "Threshold": ForwardForward{Threshold: -3}, "LabelStrength": ForwardForward{LabelStrength: -1},
		"Temperature": ForwardForward{Temperature: -1},
	} {
		_, err := r.Trainer(mlp(4), objectives.CrossEntropy, spec)
		wantError(t, err, r.Name(), field)
	}
	_, err := ForwardForward{}.Trainer(models28(), objectives.CrossEntropy, Spec{Input: []int{1, 6, 6}, Classes: 3, Batch: 4})
	wantError(t, err, "forward-forward", "label", "conv")
}

// models28 is a small convolutional network.
func models28() layers.Layer {
	return layers.Sequential{
		layers.Block{layers.Conv2D{Filters: 4, Padding: layers.Both(1), Activation: layers.ReLU{}}, layers.MaxPool2D{}},
		layers.Flatten{},
		layers.Dense{Units: 8, Activation: layers.ReLU{}},
		layers.Dense{Units: 3},
	}
}

// images are toy examples in the first pixels of 6x6 images.
type images struct{ *toyData }

func (images) InputShape() []int { return []int{1, 6, 6} }
func (d images) Read(i int, key uint64, x, y []float32) int {
	clear(x)
	return d.toyData.Read(i, key, x[12:], y)
}

// Every rule trains convolutions, forward-forward with the label in place of the first pixels, and gives the same bits
// at one and two threads, also where arrays are large enough to be split.
func TestConvolutionsAndWideLayersSameBits(t *testing.T) {
	d := images{toy(48)}
	wide := layers.Sequential{layers.Flatten{}, layers.Dense{Units: 700, Activation: layers.ReLU{}}, layers.Dense{Units: 300, Activation: layers.ReLU{}}, layers.Dense{Units: 3}}
	for name, r := range map[string]Rule{
		"backprop": Backprop{}, "mono-forward": MonoForward{}, "forward-forward": ForwardForward{Label: OverwriteLabel}, "forward-gradient": ForwardGradient{},
	} {
		for kind, model := range map[string]layers.Layer{"convolutions": models28(), "wide": wide} {
			var runs []*graph.Params
			for _, procs := range []int{1, 2} {
				old := runtime.GOMAXPROCS(procs)
				tr, err := r.Trainer(model, objectives.CrossEntropy, SpecOf(d, 24, 3))
				if err == nil {
					_, err = Fit(t.Context(), tr, d, Config{Epochs: 2})
				}
				runtime.GOMAXPROCS(old)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, kind, err)
				}
				runs = append(runs, tr.Params())
			}
			sameBits(t, name+", "+kind, runs[0], runs[1])
		}
	}
}

// Order of examples: a permutation, another one for each seed and each epoch.
func TestShuffle(t *testing.T) {
	order := func(seed uint64, epoch int) []int {
		o := make([]int, 50)
		shuffle(o, seed, epoch)
		return o
	}
	same := func(a, b []int) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	a := order(1, 0)
	seen := make([]bool, 50)
	for _, i := range a {
		seen[i] = true
	}
	for i, ok := range seen {
		if !ok {
			t.Errorf("example %d is missing", i)
		}
	}
	if !same(a, order(1, 0)) || same(a, order(1, 1)) || same(a, order(2, 0)) {
		t.Error("the order must be a function of seed and epoch, and of both")
	}
}

// The layers of forward-forward see unit mean square only: scaling the first layer's weights leaves the loss of the
// second as it is, while the first one's changes; the threshold counts per unit.
func TestForwardForwardLosses(t *testing.T) {
	losses := func(scale, threshold float64) []*graph.Array {
		params := &graph.Params{DType: graph.Float64, Seed: 2}
		n, err := ForwardForward{Threshold: threshold, Peer: -1}.net("forward-forward", mlp(6, 5),
			Spec{Input: []int{4}, Classes: 3, Batch: 1, DType: graph.Float64}, params, true)
		if err != nil {
			t.Fatal(err)
		}
		w := params.Get("dense1/weight").Value
		for i := range w.Size() {
			w.Set(i, scale*w.At(i))
		}
		return evaluate(t, params, func(s *graph.Scope) []*graph.Node {
			x := literal(s, []int{1, 4}, 1, -2, 3, 0.5)
			goals := hiddenGoals(n, s, x, literal(s, []int{1, 3}, 1, 0, 0), literal(s, []int{1, 3}, 0, 1, 0))
			return []*graph.Node{goals[0].Loss, goals[1].Loss}
		})
	}
	a, b, c := losses(1, 1), losses(3, 1), losses(1, 2)
	if a[0].Scalar() == b[0].Scalar() || math.Abs(a[1].Scalar()-b[1].Scalar()) > 1e-12 {
		t.Errorf("losses %v and %v for a first layer three times as large", a, b)
	}
	if a[0].Scalar() == c[0].Scalar() {
		t.Error("the threshold has no influence")
	}
}

// A model trained by a rule with parameters of its own can be saved without them and used as it is.
func TestTrainedModelStandsAlone(t *testing.T) {
	d := toy(32)
	tr, err := MonoForward{}.Trainer(mlp(4, 4), objectives.CrossEntropy, SpecOf(d, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	model := tr.Params().Select(func(name string) bool { return !strings.HasPrefix(name, "mono-forward/") })
	if err := model.Save(path); err != nil {
		t.Fatal(err)
	}
	plain, err := Backprop{}.Trainer(mlp(4, 4), objectives.CrossEntropy, SpecOf(d, 16, 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Params().Load(path); err != nil {
		t.Fatal(err)
	}
	sameBits(t, "the loaded model", model, plain.Params())
}
