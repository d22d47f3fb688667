package rules

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// EntropySGD descends the local entropy F(x) = log ∫ exp(-f(x') - γ/2·|x - x'|²) dx' of the loss f, which is high where a
// minimum is wide (P. Chaudhari et al. 2016, arXiv 1611.01838, algorithm 1, with the averaging of its published code). Its
// gradient γ(x - ⟨x'⟩) is estimated by Langevin dynamics. Each step is one gradient evaluation of the inner loop
//
//	d = ∇f(x') + WeightDecay·x',  v = Momentum·v + d,  d = d + Momentum·v
//	x' -= InnerLR·(d - γ(x - x') + Noise·sqrt(2/InnerLR)·N(0, 1)),  μ = Average·μ + (1 - Average)·x'
//
// begun at x' = μ = x, v = 0; after each L of them x moves by -LR·(x - μ), and γ = Gamma·(1 + Scoping)^t grows. Momentum
// does not act on γ's part, as in that code: the loop samples as with γ·(1 - Momentum). Between moves of x the trainer's
// parameters are x', so make the number of steps a multiple of L. Memory: four times the parameters. A field of 0 means
// its default, optim.Zero an exact 0.
type EntropySGD struct {
	L             int     // steps of the inner loop; 0 means 20
	LR            float64 // of the outer step, in which γ is included; 0 means 1: x jumps to μ
	InnerLR       float64 // 0 means 0.1
	Gamma         float64 // of the first loop; 0 means 0.03
	Scoping       float64 // 0 means 1e-3
	Noise         float64 // 0 means 1e-4
	Average       float64 // 0 means 0.75
	Momentum      float64 // Nesterov's, inside; 0 means 0.9
	OuterMomentum float64 // of x - μ, Nesterov's, as in the published PyTorch code; 0 means none
	WeightDecay   float64 // 0 means none

	Schedule optim.Schedule // of LR, by steps, that is gradient evaluations; nil means constant
}

// Name is "entropy-sgd".
func (EntropySGD) Name() string { return "entropy-sgd" }

func (r EntropySGD) withDefaults() (EntropySGD, error) {
	if r.L == 0 {
		r.L = 20
	}
	if r.L < 1 {
		return r, graph.Fail(r.Name(), "L", "at least 1", r.L)
	}
	for _, f := range []struct {
		name     string
		value    *float64
		standard float64
		below    float64 // 0 means that there is no limit
	}{
		{"LR", &r.LR, 1, 0}, {"InnerLR", &r.InnerLR, 0.1, 0}, {"Gamma", &r.Gamma, 0.03, 0}, {"Scoping", &r.Scoping, 1e-3, 0},
		{"Noise", &r.Noise, 1e-4, 0}, {"Average", &r.Average, 0.75, 1}, {"Momentum", &r.Momentum, 0.9, 1},
		{"OuterMomentum", &r.OuterMomentum, 0, 1}, {"WeightDecay", &r.WeightDecay, 0, 0},
	} {
		switch *f.value {
		case 0:
			*f.value = f.standard
		case optim.Zero:
			*f.value = 0
		}
		if v := *f.value; !(v >= 0) || math.IsInf(v, 1) || f.below > 0 && v >= f.below {
			return r, graph.Fail(r.Name(), f.name, "a finite number of at least 0, and below 1 for averages", v)
		}
	}
	if r.InnerLR == 0 {
		return r, graph.Fail(r.Name(), "InnerLR", "a number above 0", r.InnerLR)
	}
	return r, nil
}

// Trainer compiles one program, as Backprop does.
func (r EntropySGD) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective); err != nil {
		return nil, err
	}
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	// One goal a parameter, each with noise of its own; the first reports the loss.
	step := func(s *graph.Scope, x, y *graph.Node) (goals []Goal) {
		loss := objective(model.Apply(s, x), y)
		params := s.Graph().Trainable(loss)
		for i, g := range graph.Grad(loss, params...) {
			name := s.Graph().Param(params[i]).Name
			goals = append(goals, Goal{Loss: loss, Params: params[i : i+1], Grads: []*graph.Node{g},
				Optimizer: langevin{r, graph.NewStream(spec.Seed, "entropy-sgd/"+name)}})
			loss = graph.Const(loss, 0)
		}
		return goals
	}
	return Plan{
		Name: r.Name(), Phases: []Phase{step}, Predict: model.Apply,
		Optimizer: langevin{EntropySGD: r}, Options: optim.Options{Schedule: r.Schedule},
	}.Trainer(spec)
}

// langevin is the optimiser of one parameter.
type langevin struct {
	EntropySGD
	stream graph.Stream
}

// Rate is the learning rate of the outer step.
func (o langevin) Rate() float64 { return o.LR }

// Slots is x, its estimate, the inner velocity, and the outer one and the noise if there are any.
func (o langevin) Slots() []optim.Slot {
	slots := []optim.Slot{{Name: "x"}, {Name: "mu"}, {Name: "v"}}
	if o.OuterMomentum > 0 {
		slots = append(slots, optim.Slot{Name: "outer"})
	}
	if o.Noise > 0 {
		slots = append(slots, optim.Slot{Name: "noise"})
	}
	return slots
}

// Update makes one step of the inner loop, and in the last one the outer step.
func (o langevin) Update(u *optim.Update) {
	if u.Value.DType == graph.Float32 {
		langevinStep[float32](o, u)
	} else {
		langevinStep[float64](o, u)
	}
}

func langevinStep[T graph.Float](o langevin, u *optim.Update) {
	part := func(a *graph.Array) []T { return graph.Data[T](a)[u.Lo:u.Hi] }
	p, g := part(u.Value), part(u.Grad)
	x, mu, v := part(u.Slots[0]), part(u.Slots[1]), part(u.Slots[2])
	loop, inner := (u.Step-1)/o.L, (u.Step-1)%o.L
	if inner == 0 {
		copy(x, p)
		copy(mu, p)
		clear(v)
	}
	var noise []T
	if o.Noise > 0 {
		noise = part(u.Slots[len(u.Slots)-1])
		graph.FillNormal(o.stream, uint64(u.Step), u.Lo, noise)
	}
	gamma := T(o.Gamma * math.Pow(1+o.Scoping, float64(loop)))
	scale, decay, momentum := T(u.GradScale), T(o.WeightDecay), T(o.Momentum)
	lr, keep, spread := T(o.InnerLR), T(o.Average), T(o.Noise*math.Sqrt(2/o.InnerLR))
	for i, now := range p {
		d := T(scale*g[i]) + T(decay*now)
		v[i] = T(momentum*v[i]) + d
		d += T(momentum * v[i])
		d -= T(gamma * (x[i] - now))
		if noise != nil {
			d += T(spread * noise[i])
		}
		p[i] = now - T(lr*d)
		mu[i] = T(keep*mu[i]) + T((1-keep)*p[i])
	}
	if inner < o.L-1 {
		return
	}
	rate, outer := T(u.LR), T(o.OuterMomentum)
	var w []T
	if outer > 0 {
		w = part(u.Slots[3])
	}
	for i := range p {
		d := x[i] - mu[i]
		if w != nil {
			w[i] = T(outer*w[i]) + d
			d += T(outer * w[i])
		}
		p[i] = x[i] - T(rate*d)
	}
}

// LocalEntropy is log ∫ exp(-f(x') - γ/2·(x - x')²) dx' of a function of one variable, by the trapezoidal rule over
// 12/sqrt(γ) to either side, in steps of 1/(500·sqrt(γ)); f should not change much within one.
func LocalEntropy(f func(x float64) float64, x, gamma float64) float64 {
	const reach, steps = 12, 500
	h := 1 / (steps * math.Sqrt(gamma))
	least, sum := math.Inf(1), 0.0
	energy := func(k int) float64 {
		at := float64(k) * h
		return f(x+at) + gamma/2*at*at
	}
	for k := -reach * steps; k <= reach*steps; k++ {
		least = min(least, energy(k))
	}
	for k := -reach * steps; k <= reach*steps; k++ {
		sum += math.Exp(least - energy(k))
	}
	return math.Log(sum*h) - least
}
