package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

func trained(t *testing.T, r Rule, d Data, c Config, hidden ...int) Trainer {
	t.Helper()
	spec := SpecOf(d, 16, 7)
	spec.DType = graph.Float64
	tr, err := r.Trainer(mlp(hidden...), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	if c.Epochs > 0 {
		if _, err := Fit(t.Context(), tr, d, c); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// Block after block: the first half of the epochs moves the first block alone, the second half the second alone.
func TestSequentialOrder(t *testing.T) {
	d := toy(32)
	var tr Trainer
	var snaps []*graph.Params
	tr = trained(t, MonoForward{Order: Sequential}, d, Config{}, 8, 8)
	snaps = append(snaps, tr.Params().Clone())
	c := Config{Epochs: 2, OnEpoch: func(Record) error { snaps = append(snaps, tr.Params().Clone()); return nil }}
	if _, err := Fit(t.Context(), tr, d, c); err != nil {
		t.Fatal(err)
	}
	for epoch, names := range [][2]string{{"dense1/weight", "dense2/weight"}, {"dense2/weight", "dense1/weight"}} {
		if !moved(snaps[epoch], snaps[epoch+1], names[0]) || moved(snaps[epoch], snaps[epoch+1], names[1]) {
			t.Errorf("epoch %d: want %s to move and %s to stay", epoch+1, names[0], names[1])
		}
	}
}

// dense is relu(x·w + b), without relu if linear, of one row.
func dense(p *graph.Params, name string, x []float64, linear bool) []float64 {
	w, b := p.Get(name+"/weight").Value, p.Get(name+"/bias").Value
	y := make([]float64, w.Shape[1])
	for j := range y {
		y[j] = b.At(j)
		for i, v := range x {
			y[j] += v * w.At(i*len(y)+j)
		}
		if !linear {
			y[j] = max(y[j], 0)
		}
	}
	return y
}

func rms(x []float64) []float64 {
	var s float64
	for _, v := range x {
		s += v * v / float64(len(x))
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v / math.Sqrt(s)
	}
	return y
}

// Predictions written out for one example, for three hidden layers.
func TestPredictions(t *testing.T) {
	d := toy(32)
	for name, c := range map[string]struct {
		rule Rule
		want func(p *graph.Params, x []float64) []float64
	}{
		"mono-forward": {MonoForward{}, func(p *graph.Params, x []float64) []float64 {
			for _, l := range []string{"dense1", "dense2", "dense3"} {
				x = dense(p, l, x, false)
			}
			return dense(p, "dense4", x, true)
		}},
		"mono-forward, sum": {MonoForward{Readout: SumLayers}, func(p *graph.Params, x []float64) []float64 {
			sum := make([]float64, 3)
			for i, l := range []string{"dense1", "dense2", "dense3"} {
				x = dense(p, l, x, false)
				z := dense(p, "dense4", x, true)
				if i < 2 {
					m := p.Get([]string{"mono-forward/block1/projection", "mono-forward/block2/projection"}[i]).Value
					for j := range z {
						z[j] = 0
						for k, v := range x {
							z[j] += v * m.At(k*3+j)
						}
					}
				}
				for j := range sum {
					sum[j] += z[j]
				}
			}
			return sum
		}},
		"energy": {ForwardForward{Readout: Energy, LabelStrength: 2}, func(p *graph.Params, x []float64) []float64 {
			e := make([]float64, 3)
			for c := range e {
				a := append(append([]float64{}, x...), 0, 0, 0)
				a[len(x)+c] = 2
				a = rms(a)
				for i, l := range []string{"dense1", "dense2", "dense3"} {
					a = dense(p, l, a, false)
					for _, v := range a {
						if i > 0 {
							e[c] += v * v
						}
					}
					a = rms(a)
				}
			}
			return e
		}},
		"softmax readout": {ForwardForward{LabelStrength: 2}, func(p *graph.Params, x []float64) []float64 {
			a := rms(append(append([]float64{}, x...), 1./3, 1./3, 1./3))
			var middle []float64
			for i, l := range []string{"dense1", "dense2", "dense3"} {
				a = rms(dense(p, l, a, false))
				if i == 1 {
					middle = a
				}
			}
			z := dense(p, "dense4", a, true)
			w := p.Get("forward-forward/block2/readout").Value
			for j := range z {
				for k, v := range middle {
					z[j] += v * w.At(k*3+j)
				}
			}
			return z
		}},
	} {
		tr := trained(t, c.rule, d, Config{Epochs: 3}, 8, 8, 8)
		b := NewBatch(tr.Spec())
		if err := b.Fill(d, []int{5}, 0); err != nil {
			t.Fatal(err)
		}
		got, err := tr.Predict(b)
		if err != nil {
			t.Fatal(err)
		}
		for j, w := range c.want(tr.Params(), b.X.Float64s()[:4]) {
			if math.Abs(got.At(j)-w) > 1e-10*(1+math.Abs(w)) {
				t.Errorf("%s: score %d: want %v, got %v", name, j, w, got.At(j))
			}
		}
	}
}

// A schedule and a goal's own optimiser do what they say.
func TestOptionsReachTheOptimizer(t *testing.T) {
	d := toy(32) // two batches
	stop := optim.Options{Schedule: optim.StepDecay{Every: 1, Factor: optim.Zero}}
	var first *graph.Params
	tr := trained(t, Backprop{Optimizer: optim.SGD{LR: 0.1}, Options: stop}, d, Config{}, 4)
	if _, err := Fit(t.Context(), tr, d, Config{OnStep: func(p Progress) error {
		if p.Step == 1 {
			first = tr.Params().Clone()
		}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	if moved(first, tr.Params(), "dense1/weight") {
		t.Error("a rate of 0 in the second step moved a weight")
	}
	ff := ForwardForward{ReadoutOptimizer: optim.SGD{LR: optim.Zero}}
	start := trained(t, ff, d, Config{}, 8, 8).Params()
	end := trained(t, ff, d, Config{Epochs: 1}, 8, 8).Params()
	if moved(start, end, "dense3/weight") || !moved(start, end, "dense1/weight") {
		t.Error("want the readout to stay and the layers to move")
	}
}
