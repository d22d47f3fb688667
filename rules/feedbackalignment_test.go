package rules

import (
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

func init() {
	everyRule["feedback alignment"] = FeedbackAlignment{}
	everyRule["direct feedback"] = DirectFeedbackAlignment{Optimizer: optim.SGD{LR: 0.05, Momentum: 0.9}}
	everyRule["adaptive feedback"] = AdaptiveFeedbackAlignment{Feedback: Layerwise}
}

// barImages is a problem of three kinds of noisy 6x6 images.
type barImages struct{ n int }

func (d barImages) Len() int           { return d.n }
func (d barImages) InputShape() []int  { return []int{1, 6, 6} }
func (d barImages) Classes() int       { return 3 }
func (d barImages) TargetShape() []int { return nil }
func (d barImages) Read(i int, _ uint64, x, _ []float32) int {
	r := graph.Rand(5, "images", uint64(i))
	for j := range x {
		x[j] = 0.3 * float32(r.NormFloat64())
		switch i % 3 { // a horizontal, a vertical and a diagonal bar
		case 0:
			if j/6 == 2 {
				x[j]++
			}
		case 1:
			if j%6 == 3 {
				x[j]++
			}
		default:
			if j/6 == j%6 {
				x[j]++
			}
		}
	}
	return i % 3
}

// With the weights themselves as feedback, feedback alignment is backpropagation, also through convolutions, pooling,
// shortcuts, normalisation and dropout.
func TestFeedbackAlignmentWithWeightsIsBackprop(t *testing.T) {
	for name, c := range map[string]struct {
		model layers.Layer
		data  Data
		feeds int
	}{"dense": {withNoise(), toy(48), 2}, "convolutions": {convShortcut(), barImages{48}, 3}} {
		spec := SpecOf(c.data, 16, 3)
		spec.DType = graph.Float64
		var directions [][]*graph.Array
		for _, r := range []Rule{Backprop{}, FeedbackAlignment{}} {
			tr, err := r.Trainer(c.model, objectives.CrossEntropy, spec)
			if err != nil {
				t.Fatalf("%s: %+v", name, err)
			}
			feeds := 0
			for q := range tr.Params().All() {
				if of, ok := strings.CutPrefix(q.Name, "feedback-alignment/"); ok {
					feeds++
					if err := q.Value.CopyFrom(tr.Params().Get(of).Value); err != nil {
						t.Fatal(err)
					}
				}
			}
			if want := map[string]int{"backprop": 0, "feedback-alignment": c.feeds}[r.Name()]; feeds != want {
				t.Errorf("%s, %s: %d matrices of feedback, want %d", name, r.Name(), feeds, want)
			}
			b := NewBatch(spec)
			if err := b.Fill(c.data, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Step(b); err != nil {
				t.Fatal(err)
			}
			directions = append(directions, tr.(*trainer).phases[0].grads[0])
		}
		for i, g := range directions[0] {
			near(t, name, directions[1][i], 1e-14, g.Float64s()...)
		}
	}
}

// The directions of a network 2-3-2 with tanh, written out: δ = tanh'(a)·(B e).
func TestFeedbackAlignmentFormulas(t *testing.T) {
	feedback := []float64{0.7, -0.3, 0.2, 0.4, -0.6, 0.1} // of each hidden unit from each output
	for _, r := range []Rule{FeedbackAlignment{Optimizer: plainSGD}, DirectFeedbackAlignment{Optimizer: plainSGD}} {
		tr := handTrainer(t, r, layers.Tanh{}, 1)
		if r.Name() == "feedback-alignment" {
			setAll(t, tr.Params().Get(r.Name()+"/dense2/weight"), feedback)
		} else {
			setAll(t, tr.Params().Get(r.Name()+"/block1"), transposed(3, 2, feedback...))
		}
		var h [3]float64
		var z, y [2]float64
		for j := range h {
			h[j] = math.Tanh(handNet.x[0]*handNet.w1[j] + handNet.x[1]*handNet.w1[3+j])
			for k := range z {
				z[k] += h[j] * handNet.w2[2*j+k]
			}
		}
		y[0] = 1 / (1 + math.Exp(z[1]-z[0]))
		y[1] = 1 - y[0]
		e := [2]float64{y[0] - 1, y[1]}
		g1, g2 := make([]float64, 6), make([]float64, 6)
		for j := range h {
			delta := (1 - h[j]*h[j]) * (feedback[2*j]*e[0] + feedback[2*j+1]*e[1])
			for i := range 2 {
				g1[3*i+j] = delta * handNet.x[i]
				g2[2*j+i] = e[i] * h[j]
			}
		}
		a, b := change(t, tr)
		near(t, r.Name()+": G1", a, 1e-12, g1...)
		near(t, r.Name()+": G2", b, 1e-12, g2...)
	}
}

// In a deep linear network direct feedback by the product of the weights behind a block is backpropagation.
func TestDirectFeedbackByProductsIsBackprop(t *testing.T) {
	d := toy(16)
	model := layers.Sequential{layers.Dense{Units: 5}, layers.Dense{Units: 4}, layers.Dense{Units: 3}}
	spec := SpecOf(d, 16, 3)
	spec.DType = graph.Float64
	after := map[string]*graph.Params{}
	for _, r := range []Rule{Backprop{Optimizer: optim.SGD{LR: 0.5}}, DirectFeedbackAlignment{Optimizer: optim.SGD{LR: 0.5}}} {
		tr, err := r.Trainer(model, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatalf("%+v", err)
		}
		if r.Name() != "backprop" {
			w2, w3 := tr.Params().Get("dense2/weight").Value, tr.Params().Get("dense3/weight").Value
			setAll(t, tr.Params().Get(r.Name()+"/block2"), transposed(4, 3, w3.Float64s()...))
			both := make([]float64, 15)
			for i := range 5 {
				for k := range 3 {
					for j := range 4 {
						both[3*i+k] += w2.At(4*i+j) * w3.At(3*j+k)
					}
				}
			}
			setAll(t, tr.Params().Get(r.Name()+"/block1"), transposed(5, 3, both...))
			angles, err := FeedbackAngles(tr)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range angles {
				if len(angles) != 2 || a.Degrees > 1e-5 {
					t.Errorf("angles %v, want two of 0", angles)
				}
			}
		}
		if _, err := Fit(t.Context(), tr, d, Config{}); err != nil {
			t.Fatal(err)
		}
		after[r.Name()] = tr.Params()
	}
	for p := range after["backprop"].All() {
		near(t, p.Name, after["direct-feedback-alignment"].Get(p.Name).Value, 1e-14, p.Value.Float64s()...)
	}
}

// Angles by hand, and what has none.
func TestFeedbackAngles(t *testing.T) {
	// W1 W2 of the network by hand is [[.26, -.23], [-.3, .32]], F is [[.1, -.2], [.3, .05]].
	angles, err := FeedbackAngles(handTrainer(t, PEPITA{}, layers.ReLU{}, 1))
	want := math.Acos((0.26*0.1+0.23*0.2-0.3*0.3+0.32*0.05)/math.Sqrt((0.26*0.26+0.23*0.23+0.3*0.3+0.32*0.32)*(0.01+0.04+0.09+0.0025))) * 180 / math.Pi
	if err != nil || len(angles) != 1 || math.Abs(angles[0].Degrees-want) > 1e-9 {
		t.Errorf("%v (%v), want %v", angles, err, want)
	}
	spec := Spec{Input: []int{1, 6, 6}, Classes: 3, Batch: 2}
	for _, c := range []struct {
		rule  Rule
		words []string // of the error; nil for angles
	}{
		{FeedbackAlignment{}, nil}, {PEPITA{}, []string{"chain of dense layers", "conv"}}, {Backprop{}, []string{"feedback", "backprop"}},
		{DirectFeedbackAlignment{}, []string{"chain of dense layers", "conv"}},
	} {
		tr, err := c.rule.Trainer(convShortcut(), objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		angles, err := FeedbackAngles(tr)
		if c.words != nil {
			wantError(t, err, c.words...)
		} else if err != nil || len(angles) != 3 {
			t.Errorf("%v (%v), want three angles", angles, err)
		}
	}
}
