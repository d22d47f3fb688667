package rules

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Difference says how the slope of the loss along a direction is measured.
type Difference int

const (
	TwoSided Difference = iota // (L(θ+εz) - L(θ-εz)) / 2ε: two evaluations
	OneSided                   // (L(θ+εz) - L(θ)) / ε: one more than there are directions
)

// ZerothForm says what MeZO makes of the slopes.
type ZerothForm int

const (
	Slope        ZerothForm = iota // the estimate is the mean of slope·z, unbiased as ε goes to 0
	SlopeSign                      // the mean of sign(slope)·z
	Conservative                   // of θ, θ+Δ and θ-Δ, where Δ is a step on the mean of slope·z, the lowest loss wins
)

// Hybrid says in which part of the epochs MeZO gives way to backpropagation: the other half of them.
type Hybrid int

const (
	ZerothOnly      Hybrid = iota // MeZO in all epochs
	FirstThenZeroth               // backpropagation in the first half, MeZO in the second
	ZerothThenFirst               // MeZO in the first half, backpropagation in the second
)

// MeZO trains by forward passes alone: differences of the loss along random directions estimate the gradient
// (simultaneous perturbation, J. Spall 1992), and the directions are drawn again from their seeds instead of being
// stored, so that plain SGD needs no memory beside the parameters and a forward pass (S. Malladi et al. 2023, arXiv
// 2305.17333, algorithm 1). The forms are those of the comparison by T. Feng et al. 2025, arXiv 2501.01045. The
// variance, and with it the inverse of the usable learning rate, grows with the number of parameters.
type MeZO struct {
	Optimizer optim.Optimizer // nil means SGD with learning rate 0.001
	Options   optim.Options

	Eps        float64 // ε; 0 means 1e-3
	Directions int     // averaged in a step; 0 means 1
	Difference Difference
	Form       ZerothForm

	Perturbation Perturbation
	Sparsity     float64 // as in Probing, like the next two
	Mask         Mask
	History      float64
	Snapshot     bool // keeps a copy of the parameters to restore them exactly; Conservative keeps two in any case

	Hybrid     Hybrid
	FirstOrder optim.Optimizer // of Hybrid's other half; nil means Adam with its defaults
}

// Name is "mezo".
func (MeZO) Name() string { return "mezo" }

// Trainer compiles a forward program, and a hybrid's backward one.
func (r MeZO) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if r.Eps == 0 {
		r.Eps = 1e-3
	}
	r.Directions = max(r.Directions, 1)
	switch {
	case !(r.Eps > 0) || math.IsInf(r.Eps, 1):
		return nil, graph.Fail(r.Name(), "Eps", "a finite number above 0", r.Eps)
	case r.Directions > maxDirections:
		return nil, graph.Fail(r.Name(), "Directions", maxDirections, r.Directions)
	case r.Difference < TwoSided || r.Difference > OneSided:
		return nil, graph.Fail(r.Name(), "Difference", "TwoSided or OneSided", int(r.Difference))
	case r.Form < Slope || r.Form > Conservative:
		return nil, graph.Fail(r.Name(), "Form", "Slope, SlopeSign or Conservative", int(r.Form))
	}
	slopes := make([]float64, r.Directions)
	p := Probing{
		Name:         r.Name(),
		Step:         func(p *Probe) (float64, error) { return r.step(p, slopes) },
		Optimizer:    r.Optimizer,
		Options:      r.Options,
		Perturbation: r.Perturbation,
		Sparsity:     r.Sparsity,
		Mask:         r.Mask,
		History:      r.History,
	}
	switch {
	case r.Form == Conservative:
		p.Copies = 2
	case r.Snapshot:
		p.Copies = 1
	}
	first := func(s *graph.Scope, x, y *graph.Node) []Goal {
		loss := objective(model.Apply(s, x), y)
		goal := Minimize(loss, s.Graph().Trainable(loss))
		goal.Optimizer = orAdam(r.FirstOrder)
		return []Goal{goal}
	}
	switch r.Hybrid {
	case ZerothOnly:
	case FirstThenZeroth:
		p.Before = []Phase{first}
	case ZerothThenFirst:
		p.After = []Phase{first}
	default:
		return nil, graph.Fail(r.Name(), "Hybrid", "ZerothOnly, FirstThenZeroth or ZerothThenFirst", int(r.Hybrid))
	}
	return p.Trainer(model, objective, spec)
}

func (r MeZO) step(p *Probe, slopes []float64) (float64, error) {
	loss, err := r.probe(p, slopes)
	if err != nil {
		return loss, err
	}
	switch r.Form {
	case SlopeSign:
		for k, v := range slopes {
			if v != 0 {
				slopes[k] = math.Copysign(1, v)
			}
		}
	case Conservative:
		return r.conserve(p, slopes)
	}
	return loss, p.Descend(slopes...)
}

// probe measures the slopes and gives the loss at, or between, the places.
func (r MeZO) probe(p *Probe, slopes []float64) (loss float64, err error) {
	if r.Difference == OneSided {
		if loss, err = p.Loss(); err != nil {
			return loss, err
		}
	}
	for k := range slopes {
		if r.Difference == OneSided {
			plus, err := p.At(k, r.Eps)
			if err != nil {
				return loss, err
			}
			slopes[k] = (plus - loss) / r.Eps
			continue
		}
		plus, minus, err := p.Pair(k, r.Eps)
		if err != nil {
			return loss, err
		}
		slopes[k] = (plus - minus) / (2 * r.Eps)
		loss += (plus + minus) / 2 / float64(len(slopes))
	}
	return loss, nil
}

// conserve keeps the best of three places. The step back is left out if it is not strictly better than the step on.
func (r MeZO) conserve(p *Probe, slopes []float64) (float64, error) {
	stay, err := p.Loss()
	if err == nil {
		err = p.Descend(slopes...)
	}
	if err != nil || p.refuse {
		return stay, err
	}
	down, err := p.candidate()
	if err == nil {
		err = first(p.Save(1), p.Reflect())
	}
	if err != nil {
		return stay, err
	}
	up, err := p.candidate()
	switch {
	case err != nil:
		return stay, err
	case stay < min(down, up):
		return stay, p.Restore(0)
	case down < up:
		return stay, p.Restore(1)
	}
	return stay, nil
}

// candidate is the loss of a place that need not be taken: infinite if it is not a number.
func (p *Probe) candidate() (float64, error) {
	loss, err := p.batch.evaluate()
	if loss != loss {
		loss = math.Inf(1)
	}
	return loss, err
}
