package rules

import (
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Alignment compares the directions in which a trainer would move with the reverse-mode gradient of the objective: a
// measurement, which trains nothing and which no rule sees.
type Alignment struct {
	of    *trainer
	phase func(step int) *phase // what a step runs
	all   []*phase              // between which steps change
	truth *phase
	mean  [][]float64 // for each parameter of the truth; nil if the trainer has no direction for it
}

// NewAlignment prepares the comparison for the trainer's model and objective. A trainer whose steps are not made of
// one program with all directions is refused.
func NewAlignment(t Trainer, model layers.Layer, objective objectives.Objective) (*Alignment, error) {
	a := &Alignment{}
	switch t := t.(type) {
	case *trainer:
		a.of, a.phase = t, func(int) *phase { return t.phases[t.active] }
	case *forwardSteps:
		of, err := t.stored()
		if err != nil {
			return nil, err
		}
		a.of, a.all, a.phase = of.trainer, of.phases, func(step int) *phase { return of.phases[of.draw.at(step)] }
	default:
		return nil, graph.Fail("alignment", "trainer", "one made of a Plan", t.Name())
	}
	truth, err := Plan{
		Name:   "alignment",
		Params: a.of.params,
		Phases: []Phase{func(s *graph.Scope, x, y *graph.Node) []Goal {
			loss := objective(model.Apply(s, x), y)
			return []Goal{Minimize(loss, s.Graph().Trainable(loss))}
		}},
		Predict:   model.Apply,
		Optimizer: optim.SGD{},
	}.Trainer(a.of.spec)
	if err != nil {
		return nil, err
	}
	a.truth = truth.(*trainer).phases[0]
	a.mean = make([][]float64, len(a.truth.params[0]))
	return a, nil
}

// Measure is the cosine between the trainer's direction on a batch, averaged over the random numbers of n steps from
// the given one on, and the gradient, and the ratio of their lengths, over the parameters that both have. The
// parameters stay as they are.
func (a *Alignment) Measure(b *Batch, step, n int) (cosine, ratio float64, err error) {
	kept := a.of.params.Clone() // running a step's program updates states
	defer func() {
		if e := a.of.params.CopyFrom(kept); err == nil {
			err = e
		}
	}()
	for i := range a.mean {
		a.mean[i] = nil
	}
	for _, ph := range a.all { // what a step leaves alone it moves by 0
		for _, p := range ph.params[0] {
			a.sum(p)
		}
	}
	for k := range n {
		ph := a.phase(step + k)
		for _, st := range ph.stages {
			if err := st.run(b, step+k); err != nil {
				return 0, 0, err
			}
			for i, params := range st.params {
				for j, p := range params {
					addMean(a.sum(p), st.grads[i][j], n)
				}
			}
			st.handOn()
		}
		if err := a.of.params.CopyFrom(kept); err != nil {
			return 0, 0, err
		}
	}
	if err := a.truth.run(b, step); err != nil {
		return 0, 0, err
	}
	var both, ours, theirs float64
	for i, sum := range a.mean {
		for j, v := range sum {
			g := a.truth.grads[0][i].At(j)
			both, ours, theirs = both+v*g, ours+v*v, theirs+g*g
		}
	}
	return both / math.Sqrt(ours*theirs), math.Sqrt(ours / theirs), nil
}

// sum is where a parameter's directions are added up, of zeros at first; nil if the truth does not have it.
func (a *Alignment) sum(p *graph.Param) []float64 {
	i := slices.Index(a.truth.params[0], p)
	if i < 0 {
		return nil
	}
	if a.mean[i] == nil {
		a.mean[i] = make([]float64, p.Value.Size())
	}
	return a.mean[i]
}

// addMean counts one direction of n.
func addMean(sum []float64, g *graph.Array, n int) {
	for j := range sum {
		sum[j] += g.At(j) / float64(n)
	}
}
