package rules

import (
	"slices"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Cost is what a rule's training step takes, next to a forward pass alone: the ratios in which A. Baydin et al. 2022
// (section 5, arXiv 2202.08587) compare forward gradients with backpropagation.
type Cost struct {
	Step, Forward             time.Duration // medians
	StepFlops, ForwardFlops   int           // without the optimiser's
	StepMemory, ForwardMemory int           // bytes of values other than parameters: activations and directions
	Parameters                int           // bytes of parameters
	Reverse                   int           // instructions of the step made by reverse rules
}

// Ratio is the step's time over the forward pass's.
func (c Cost) Ratio() float64 { return float64(c.Step) / float64(c.Forward) }

// MeasureCost times steps of rules on a batch of random numbers, by turns with each other and with forward passes of
// the objective in training mode, so that other work on the machine makes all of them slower. Where steps differ, as
// those of ForwardGradient.OneLayer, Step and StepFlops are the means over the kinds of step, by their probabilities.
func MeasureCost(model layers.Layer, objective objectives.Objective, spec Spec, repeats int, of ...Rule) ([]Cost, error) {
	var all []*measuredRule
	for _, r := range of {
		m, err := newMeasuredRule(r, model, objective, spec)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	forward, err := Plan{
		Name: "forward",
		Phases: []Phase{func(s *graph.Scope, x, y *graph.Node) []Goal {
			return []Goal{{Loss: objective(model.Apply(s, x), y)}}
		}},
		Predict:   model.Apply,
		Optimizer: optim.SGD{},
	}.Trainer(spec)
	if err != nil {
		return nil, errors.Wrap(err, "cost")
	}
	b := randomBatch(spec)
	var passes []time.Duration
	for i := range max(repeats, 1) + 1 {
		start := time.Now()
		if _, err := forward.Step(b); err != nil {
			return nil, errors.Wrap(err, "cost")
		}
		passes = append(passes, time.Since(start))
		for _, m := range all {
			if err := m.steps(b); err != nil {
				return nil, err
			}
		}
		if i == 0 { // the first run warms up
			passes = passes[:0]
			for _, m := range all {
				clear(m.times)
			}
		}
	}
	costs := make([]Cost, len(all))
	for i, m := range all {
		stats := forward.Programs()[0].Stats()
		costs[i] = Cost{Forward: median(passes), ForwardFlops: stats.Flops, ForwardMemory: stats.ArenaBytes + stats.ConstBytes}
		m.sum(&costs[i])
	}
	return costs, nil
}

// randomBatch is a batch of normal numbers with random targets.
func randomBatch(spec Spec) *Batch {
	b := NewBatch(spec)
	random := graph.Rand(spec.Seed, "cost", 0)
	for i := range b.X.Size() {
		b.X.Set(i, random.NormFloat64())
	}
	for i := range b.Y.Size() {
		if spec.Classes > 0 {
			b.Y.Set(i, float64(random.IntN(spec.Classes)))
		} else {
			b.Y.Set(i, random.NormFloat64())
		}
	}
	return b
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// measuredRule is a rule's trainer with the times of its kinds of step.
type measuredRule struct {
	Trainer
	begin  *graph.Params
	layers *forwardSteps // nil if all steps are alike
	shares []float64     // the probabilities of the kinds
	times  [][]time.Duration
}

func newMeasuredRule(r Rule, model layers.Layer, objective objectives.Objective, spec Spec) (*measuredRule, error) {
	t, err := r.Trainer(model, objective, spec)
	if err != nil {
		return nil, err
	}
	m := &measuredRule{Trainer: t, begin: t.Params().Clone(), shares: []float64{1}}
	if s, ok := t.(*forwardSteps); ok {
		m.layers, m.shares = s, s.draw.shares()
	}
	m.times = make([][]time.Duration, len(m.shares))
	return m, nil
}

// steps makes one step of each kind.
func (m *measuredRule) steps(b *Batch) error {
	for kind := range m.times {
		if m.layers != nil {
			m.layers.draw.only(kind)
		}
		if err := m.Params().CopyFrom(m.begin); err != nil { // what is learned from random numbers may be anything
			return err
		}
		start := time.Now()
		if _, err := m.Step(b); err != nil {
			return err
		}
		m.times[kind] = append(m.times[kind], time.Since(start))
	}
	return nil
}

// sum fills in what the steps cost.
func (m *measuredRule) sum(c *Cost) {
	for kind, share := range m.shares {
		c.Step += time.Duration(share * float64(median(m.times[kind])))
	}
	var flops float64
	for i, p := range m.Programs() {
		share := 1.0
		if m.layers != nil {
			share = m.shares[i]
		}
		flops += share * float64(p.Stats().Flops)
		c.Reverse += p.Stats().Reverse
	}
	c.StepFlops, c.StepMemory = int(flops), m.ActivationBytes()
	for p := range m.Params().All() {
		c.Parameters += p.Value.Bytes()
	}
}
