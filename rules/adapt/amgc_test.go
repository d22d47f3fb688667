package adapt

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

var tasks = []table{
	{[][]float32{{1, -.5}, {.25, 2}, {1.5, .5}, {.5, .5}, {2, -1}, {0, 1}}, []int{2, 0, 2, 0, 2, 0}, 4},
	{[][]float32{{-1, .5}, {-2, 0}, {-1, -1}, {-.5, .25}}, []int{1, 1, 1, 1}, 4},
}

func incremental(t *testing.T, r AMGC, extractor layers.Layer, batch int) *ClassIncremental {
	t.Helper()
	c, err := r.Start(extractor, rules.Spec{Input: []int{2}, Classes: 4, Batch: batch, Seed: 5, DType: graph.Float64})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// descend makes steps of gradient descent by central differences.
func descend(loss func(p []float64) float64, p []float64, lr float64, steps int) {
	const h = 1e-5
	d := make([]float64, len(p))
	for range steps {
		for i, v := range p {
			p[i] = v + h
			up := loss(p)
			p[i] = v - h
			d[i] = (up - loss(p)) / (2 * h)
			p[i] = v
		}
		for i := range p {
			p[i] -= lr * d[i]
		}
	}
}

// moments is the mean and the covariance of the examples of a class.
func moments(d table, class int) (mean [2]float64, covariance [2][2]float64) {
	n := 0.0
	for i, y := range d.labels {
		if y == class {
			n++
			mean[0] += float64(d.x[i][0])
			mean[1] += float64(d.x[i][1])
		}
	}
	mean[0] /= n
	mean[1] /= n
	for i, y := range d.labels {
		if y == class {
			for j := range 2 {
				for k := range 2 {
					covariance[j][k] += (float64(d.x[i][j]) - mean[j]) * (float64(d.x[i][k]) - mean[k]) / n
				}
			}
		}
	}
	return mean, covariance
}

// With features that are the input, the classes' statistics are those of the examples, though the last batch is not
// full, and stay; the classifier descends the bound of the seen classes, the covariances of old ones enlarged.
func TestAMGCClassifier(t *testing.T) {
	const lambda, lr, steps = .5, .3, 6
	c := incremental(t, AMGC{Optimizer: optim.SGD{LR: lr}, Epochs: 1, Steps: steps, Enlarge: lambda}, layers.Flatten{}, 4)
	want := make([]float64, 12) // weight [4, 2], bias [4]
	seen := []int{}
	for i, classes := range [][]int{{0, 2}, {1}} {
		if err := c.Learn(t.Context(), tasks[i]); err != nil {
			t.Fatal(err)
		}
		old := len(seen)
		seen = append(seen, classes...)
		bound := func(p []float64) (loss float64) {
			for n, y := range seen {
				of, scale := tasks[1], 1.0
				if y != 1 {
					of = tasks[0]
				}
				if n < old {
					scale += lambda
				}
				mean, cov := moments(of, y)
				all, own := 0.0, 0.0
				for _, k := range seen {
					d0, d1 := p[2*k]-p[2*y], p[2*k+1]-p[2*y+1]
					logit := p[2*k]*mean[0] + p[2*k+1]*mean[1] + p[8+k] + scale/2*(d0*d0*cov[0][0]+2*d0*d1*cov[0][1]+d1*d1*cov[1][1])
					all += math.Exp(logit)
					if k == y {
						own = logit
					}
				}
				loss += (math.Log(all) - own) / float64(len(seen))
			}
			return loss
		}
		descend(bound, want, lr, steps)
		near(t, "weight", 1e-8, c.Params().Get("amgc/classifier/weight").Value.Float64s(), want[:8])
		near(t, "bias", 1e-8, c.Params().Get("amgc/classifier/bias").Value.Float64s(), want[8:])
		scores, err := c.Predict(graph.ArrayOf([]float64{1, 2, 0, 0, 0, 0, 0, 0}, 4, 2))
		if err != nil {
			t.Fatal(err)
		}
		for k := range 4 {
			s := math.Inf(-1)
			for _, y := range seen {
				if y == k {
					s = want[2*k] + 2*want[2*k+1] + want[8+k]
				}
			}
			if got := scores.At(k); got != s && !(math.Abs(got-s) < 1e-7) {
				t.Errorf("task %d, class %d: want the score %v, got %v", i, k, s, got)
			}
		}
	}
	mean, covariance := c.Statistics()
	for y := range 3 {
		m, s := moments(tasks[y%2], y)
		near(t, "mean", 1e-12, mean.Float64s()[2*y:], m[:])
		near(t, "covariance", 1e-12, covariance.Float64s()[4*y:], []float64{s[0][0], s[0][1], s[1][0], s[1][1]})
	}
	near(t, "not seen", 0, append(mean.Float64s()[6:8:8], covariance.Float64s()[12:]...), make([]float64, 6))
	for i, y := range []int{0, 2, 1} {
		if got := c.Seen(); len(got) != 3 || got[i] != y {
			t.Errorf("want classes 0, 2, 1, got %v", got)
		}
	}
}

// The extractor descends cross-entropy of a head that begins at 0 and, from the second task on, the weighted mean
// squared change of its features.
func TestAMGCExtractor(t *testing.T) {
	const distill, lr, epochs = 3, .2, 8
	c := incremental(t, AMGC{Optimizer: optim.SGD{LR: lr}, Epochs: epochs, Steps: 1, Distill: distill}, layers.Dense{Units: 2}, 4)
	extractor := func() []float64 {
		return append(append([]float64{}, c.Params().Get("dense1/weight").Value.Float64s()...), c.Params().Get("dense1/bias").Value.Float64s()...)
	}
	features := func(p []float64, x []float32) [2]float64 {
		a, b := float64(x[0]), float64(x[1])
		return [2]float64{a*p[0] + b*p[2] + p[4], a*p[1] + b*p[3] + p[5]}
	}
	second := table{append(append([][]float32{}, tasks[1].x[:2]...), []float32{3, 1}, []float32{2, 2}), []int{1, 1, 3, 3}, 4}
	first := table{tasks[0].x[:4], tasks[0].labels[:4], 4}
	want := extractor()
	for i, task := range []table{first, second} {
		before := append([]float64{}, want...)
		loss := func(p []float64) (sum float64) { // extractor, then the head's weight [2, 4] and bias
			for n, x := range task.x {
				f := features(p, x)
				scores := make([]float64, 4)
				for k := range scores {
					scores[k] = f[0]*p[6+k] + f[1]*p[10+k] + p[14+k]
				}
				sum -= math.Log(softmax(scores)[task.labels[n]]) / 4
				if i > 0 {
					was := features(before, x)
					sum += distill * ((f[0]-was[0])*(f[0]-was[0]) + (f[1]-was[1])*(f[1]-was[1])) / 8
				}
			}
			return sum
		}
		p := append(append([]float64{}, want...), make([]float64, 12)...)
		descend(loss, p, lr, epochs)
		want = p[:6:6]
		if err := c.Learn(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		near(t, "extractor", 1e-8, extractor(), want)
		if math.Abs(want[0]-before[0]) < 1e-3 {
			t.Error("the extractor does not move")
		}
	}
}

func TestAMGCRefusals(t *testing.T) {
	spec := rules.Spec{Input: []int{2}, Classes: 4, Batch: 2}
	one := spec
	one.Classes = 1
	for _, c := range []struct {
		rule      AMGC
		extractor layers.Layer
		spec      rules.Spec
		want      string
	}{
		{AMGC{}, nil, spec, "extractor"},
		{AMGC{}, layers.Flatten{}, one, "spec"},
		{AMGC{Epochs: -1}, layers.Flatten{}, spec, "Epochs"},
		{AMGC{Distill: math.NaN()}, layers.Flatten{}, spec, "Distill"},
		{AMGC{Enlarge: -1}, layers.Flatten{}, spec, "Enlarge"},
		{AMGC{}, layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Sum(x, 1) }), spec, "features"},
	} {
		if _, err := c.rule.Start(c.extractor, c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error about %q, got %v", c.want, err)
		}
	}
	c := incremental(t, AMGC{Epochs: 1, Steps: 1}, layers.Flatten{}, 4)
	for _, d := range []rules.Data{nil, source, table{tasks[0].x[:3], tasks[0].labels[:3], 4}} {
		if err := c.Learn(t.Context(), d); err == nil || !strings.Contains(err.Error(), "task") {
			t.Errorf("want an error about the task, got %v", err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := c.Learn(ended, tasks[0]); err == nil || len(c.Seen()) != 0 {
		t.Errorf("an ended context: want an error and no classes, got %v, %v", err, c.Seen())
	}
	if err := c.Learn(t.Context(), tasks[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Learn(t.Context(), tasks[0]); err == nil || !strings.Contains(err.Error(), "label") {
		t.Errorf("classes again: want an error, got %v", err)
	}
	if _, err := c.Predict(graph.NewArray(graph.Float64, 1, 2)); err == nil {
		t.Error("a batch of another size: want an error")
	}
}

// Digits 0 to 4, then 5 to 9, with an extractor that drifts, the mean of five runs: distillation matters most, and
// covariances that are enlarged somewhat keep more of the old classes. In all they gain less than runs differ.
func TestAMGCDriftingExtractor(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	const size, runs = 30, 5
	digits := data.Digits()
	var rows [3][]int // of old and new classes, and for the test
	for i := range digits.Len() {
		k := digits.Labels[i] / 5
		if i%3 == 0 {
			k = 2
		}
		rows[k] = append(rows[k], i)
	}
	var sets [3]*data.Set
	for i := range sets {
		var err error
		if sets[i], err = digits.Subset(rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	extractor := layers.Sequential{layers.Dense{Units: 64, Activation: layers.ReLU{}}, layers.Dense{Units: 20}}
	accuracy := func(r AMGC) (all, old float64) {
		test := sets[2]
		olds := 0.0
		for seed := range uint64(runs) {
			spec := rules.SpecOf(digits, size, seed)
			c, err := r.Start(extractor, spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, task := range sets[:2] {
				if err := c.Learn(t.Context(), task); err != nil {
					t.Fatal(err)
				}
			}
			batch := rules.NewBatch(spec)
			for i := range test.Len() {
				if err := batch.Fill(test, []int{i}, 0); err != nil {
					t.Fatal(err)
				}
				scores, err := c.Predict(batch.X)
				if err != nil {
					t.Fatal(err)
				}
				y := batch.Y.Ints()[:1]
				right := 1 - mistakes(scores, y)
				all += right / runs / float64(test.Len())
				if y[0] < 5 {
					old += right
					olds++
				}
			}
		}
		return all, old / olds
	}
	free, _ := accuracy(AMGC{})
	plain, plainOld := accuracy(AMGC{Distill: .5})
	margin, marginOld := accuracy(AMGC{Distill: .5, Enlarge: .5})
	t.Logf("accuracy %.3f without distillation, %.3f with (old classes %.3f), %.3f with enlarged covariances (%.3f)", free, plain, plainOld, margin, marginOld)
	if !(plain > free+.05 && margin > plain-.01 && marginOld > plainOld) {
		t.Error("the order is not as expected")
	}
}
