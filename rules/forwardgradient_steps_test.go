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
	everyRule["forward one layer"] = ForwardGradient{OneLayer: true, Perturbation: RankOne, Optimizer: optim.Adam{}}
	everyRule["forward one layer, sparse"] = ForwardGradient{OneLayer: true, Perturbation: Sparse, Tangents: 2, Options: optim.Options{Schedule: optim.Cosine{Steps: 30}}}
}

// twoLayers has 2·2+2 and 2·3 parameters.
var twoLayers = layers.Sequential{layers.Dense{Units: 2, Activation: layers.Tanh{}}, layers.Dense{Units: 3, NoBias: true}}

// Over both layers, with their probabilities, and all sign vectors of each, the mean of the estimate is the gradient and
// its mean square is P|g|², as without OneLayer; for directions with E v⁴ = m that of the paper's Gaussian ones (m = 3)
// is P Σ (1+(m-1)/P_l)|g_l|², and in place of P² components only those of one layer count.
func TestOneLayerEnumerated(t *testing.T) {
	p := newProblem(t, twoLayers, 4, 2)
	spec := Spec{Input: []int{2}, Classes: 3, Batch: 4, Seed: 1, DType: graph.Float64}
	store, parts, err := ForwardGradient{OneLayer: true}.parts(twoLayers, objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	if store.Count() != 12 || len(parts) != 2 || parts[0].share != 0.5 || parts[1].share != 0.5 {
		t.Fatalf("%d parameters, parts %v", store.Count(), parts)
	}
	all := p.given(t)
	want, count := map[string][]float64{}, 0
	var grad []float64
	mean, squares := map[string][]float64{}, 0.0
	for _, part := range parts {
		var nodes, v, grads []*graph.Node
		for _, q := range part.params {
			n := p.g.ParamNode(q.Name)
			nodes, v = append(nodes, n), append(v, all.v[slices.Index(p.params, n)])
		}
		u := direction{v: v, at: nodes, move: v}
		p.extend(t, func() { grads, _ = ForwardGradient{}.estimate(p.loss, nodes, []direction{u}, part.share) })
		q := p.compile(t, slices.Concat(grads, p.grads, v)...)
		run(t, q, 0)
		grad = flat(q, p.grads)
		for bits := range 1 << 6 {
			set(q, v, func(i int) float64 { return float64(bits>>i&1)*2 - 1 })
			run(t, q, 0)
			for i, n := range nodes {
				name, e := n.Name(), flat(q, grads[i:i+1])
				if mean[name] == nil {
					mean[name], count = make([]float64, len(e)), count+len(e)
					want[name] = flat(q, p.grads[slices.Index(p.params, n):][:1])
				}
				for j, x := range e {
					mean[name][j] += part.share * x / 64
				}
				squares += part.share * dot(e, e) / 64
			}
		}
	}
	for name := range want {
		closeTo(t, "mean of "+name, mean[name], want[name], 1e-12)
	}
	if count != 12 {
		t.Errorf("%d parameters moved", count)
	}
	closeTo(t, "mean square", []float64{squares}, []float64{12 * dot(grad, grad)}, 1e-12)
}

// What the rule draws: layers as often as their shares say, and in layer l estimates whose mean square, weighted so, is
// the documented one, for Gaussian, Rademacher, sparse, orthogonal and rank-one directions.
func TestOneLayerMoments(t *testing.T) {
	const steps = 20000
	model := layers.Sequential{layers.Dense{Units: 4, Activation: layers.Tanh{}}, layers.Dense{Units: 3, NoBias: true}}
	spec := Spec{Input: []int{4}, Classes: 3, Batch: 8, Seed: 3, DType: graph.Float64}
	sizes := []float64{20, 12}
	d, b := toy(8), NewBatch(spec)
	if err := b.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7}, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		r ForwardGradient
		m float64 // E v⁴
	}{
		{ForwardGradient{Perturbation: Gaussian}, 3},
		{ForwardGradient{Perturbation: Rademacher}, 1},
		{ForwardGradient{Perturbation: Sparse, Density: 0.25}, 4},
		{ForwardGradient{Perturbation: Orthogonal}, 1},
		{ForwardGradient{Perturbation: RankOne}, 1},
	} {
		c.r.OneLayer = true
		tr, err := c.r.Trainer(model, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		truth, err := Backprop{}.Trainer(model, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		g := truth.(*trainer).phases[0]
		if err := g.run(b, 0); err != nil {
			t.Fatal(err)
		}
		kept, err := tr.(*forwardSteps).stored()
		if err != nil {
			t.Fatal(err)
		}
		want := 0.0
		mean, seen := map[string][]float64{}, make([]float64, 2)
		reverse := map[string][]float64{}
		for i, q := range g.params[0] {
			reverse[q.Name] = floats(g.grads[0][i])
			l := 0
			if q.Name[:6] == "dense2" {
				l = 1
			}
			want += 32 * (1 + (c.m-1)/sizes[l]) * dot(reverse[q.Name], reverse[q.Name])
		}
		var sum, squares float64
		for step := range steps {
			i := kept.draw.at(step)
			seen[i]++
			ph := kept.phases[i]
			if err := ph.run(b, step); err != nil {
				t.Fatal(err)
			}
			square := 0.0
			for j, q := range ph.params[0] {
				e := floats(ph.grads[0][j])
				if mean[q.Name] == nil {
					mean[q.Name] = make([]float64, len(e))
				}
				for k, x := range e {
					mean[q.Name][k] += x / steps
				}
				square += dot(e, e)
			}
			sum, squares = sum+square/steps, squares+square*square/steps
		}
		what := fmt.Sprintf("perturbation %d", c.r.Perturbation)
		for i, n := range seen {
			p := sizes[i] / 32
			if margin := 4 * math.Sqrt(p*(1-p)/steps); math.Abs(n/steps-p) > margin {
				t.Errorf("%s: layer %d in %v of the steps, want %v within %v", what, i, n/steps, p, margin)
			}
		}
		if margin := 4 * math.Sqrt((squares-sum*sum)/steps); math.Abs(sum-want) > margin {
			t.Errorf("%s: mean square %v, want %v within %v", what, sum, want, margin)
		}
		// The mean misses the gradient by E|e|²/steps in the square, to a factor that is rarely above 3.
		miss := 0.0
		for name, g := range reverse {
			for k, v := range g {
				miss += (mean[name][k] - v) * (mean[name][k] - v)
			}
		}
		if miss > 3*want/steps {
			t.Errorf("%s: mean misses the gradient by %v in the square, want at most %v", what, miss, 3*want/steps)
		}
	}
}

func floats(a *graph.Array) []float64 {
	v := make([]float64, a.Size())
	for i := range v {
		v[i] = a.At(i)
	}
	return v
}

// A step moves one layer and nothing else, by the learning rate that the schedule has for the step of the run, whichever
// layer it is; redrawn directions move it as stored ones.
func TestOneLayerSteps(t *testing.T) {
	d := toy(64)
	spec := SpecOf(d, 16, 2)
	spec.DType = graph.Float64
	model := mlp(6, 5)
	schedule := optim.StepDecay{Every: 3, Factor: 0.5}
	for _, r := range []ForwardGradient{{Perturbation: RankOne}, {Perturbation: Gaussian, Tangents: 2}, {Perturbation: Sparse}} {
		r.OneLayer, r.Optimizer, r.Options.Schedule = true, optim.SGD{LR: 0.01}, schedule
		tr, err := r.Trainer(model, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := tr.(*forwardSteps).stored()
		if err != nil {
			t.Fatal(err)
		}
		b, rows := NewBatch(spec), make([]int, 16)
		layersMoved := map[string]bool{}
		for step := range 30 {
			for i := range rows {
				rows[i] = (7*step + 3*i) % 64
			}
			if err := b.Fill(d, rows, 0); err != nil {
				t.Fatal(err)
			}
			ph := kept.phases[kept.draw.at(step)]
			if err := ph.run(b, step); err != nil {
				t.Fatal(err)
			}
			want := tr.Params().Clone()
			layer := ph.params[0][0].Name[:6]
			layersMoved[layer] = true
			for i, q := range ph.params[0] {
				if q.Name[:6] != layer {
					t.Fatalf("a step moves %s and %s", layer, q.Name)
				}
				for j := range q.Value.Size() {
					w := want.Get(q.Name).Value
					w.Set(j, w.At(j)-schedule.Rate(0.01, step)*ph.grads[0][i].At(j))
				}
			}
			if _, err := tr.Step(b); err != nil {
				t.Fatal(err)
			}
			for q := range want.All() {
				closeTo(t, fmt.Sprintf("step %d: %s", step, q.Name), floats(tr.Params().Get(q.Name).Value), floats(q.Value), 1e-12)
			}
		}
		if len(layersMoved) < 2 {
			t.Errorf("layers %v were moved", layersMoved)
		}
	}
}
