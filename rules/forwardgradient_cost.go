package rules

import (
	"math"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
)

// Cost is what a rule's training step takes, next to a forward pass alone: the ratios in which A. Baydin et al. 2022
// (section 5, arXiv 2202.08587) compare forward gradients with backpropagation.
type Cost struct {
	Step, Forward             time.Duration // the shortest of all repeats
	StepFlops, ForwardFlops   int           // without the optimiser's
	StepMemory, ForwardMemory int           // bytes of values other than parameters: activations and directions
	Parameters                int           // bytes of parameters
	Reverse                   int           // instructions of the step made by reverse rules
}

// Ratio is the step's time over the forward pass's.
func (c Cost) Ratio() float64 { return float64(c.Step) / float64(c.Forward) }

// MeasureCost times steps of a rule on a batch of random numbers, by turns with forward passes of the objective in
// training mode. Other work on the machine makes both slower.
func MeasureCost(r Rule, model layers.Layer, objective objectives.Objective, spec Spec, repeats int) (Cost, error) {
	t, err := r.Trainer(model, objective, spec)
	if err != nil {
		return Cost{}, err
	}
	spec = t.Spec()
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
	forward := trainer{plan: Plan{Name: "forward", Optimizer: orAdam(nil)}, spec: spec, params: t.Params().Clone(), gain: 1}
	ph, err := forward.compile(func(s *graph.Scope, x, y *graph.Node) []Goal {
		return []Goal{{Loss: objective(model.Apply(s, x), y)}}
	})
	if err != nil {
		return Cost{}, errors.Wrap(err, "cost")
	}
	c := Cost{Step: math.MaxInt64, Forward: math.MaxInt64, StepMemory: t.ActivationBytes()}
	for p := range t.Params().All() {
		c.Parameters += p.Value.Bytes()
	}
	for _, p := range t.Programs() {
		c.StepFlops += p.Stats().Flops
		c.Reverse += p.Stats().Reverse
	}
	stats := ph.program.Stats()
	c.ForwardFlops, c.ForwardMemory = stats.Flops, stats.ArenaBytes+stats.ConstBytes
	begin := t.Params().Clone()
	for range max(repeats, 1) + 1 { // the first run warms up
		if err := t.Params().CopyFrom(begin); err != nil { // what is learned from random numbers may be anything
			return c, err
		}
		start := time.Now()
		if _, err := t.Step(b); err != nil {
			return c, err
		}
		middle := time.Now()
		if err := ph.run(b, 0); err != nil {
			return c, errors.Wrap(err, "cost")
		}
		c.Step, c.Forward = min(c.Step, middle.Sub(start)), min(c.Forward, time.Since(middle))
	}
	return c, nil
}
