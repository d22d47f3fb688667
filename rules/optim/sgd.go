package optim

import "github.com/harpe-ml/harpe/graph"

// SGD is stochastic gradient descent, with momentum if Momentum is not 0:
//
//	g += WeightDecay p;  b = Momentum b + (1 - Dampening) g  (b = g in the first step)
//	p -= LR b,  or with Nesterov  p -= LR (g + Momentum b)
//
// after Polyak (1964) and Sutskever, Martens, Dahl, Hinton (ICML 2013), in whose form LR is inside b. LR is 1e-3 by
// default, as in later versions of PyTorch (1.13 has no default); the others are 0.
type SGD struct {
	LR, Momentum, Dampening, WeightDecay float64
	Nesterov                             bool // needs Momentum, and no Dampening
}

// Name is "sgd", "momentum" or "nesterov".
func (o SGD) Name() string {
	switch {
	case o.Nesterov:
		return "nesterov"
	case or(o.Momentum, 0) != 0:
		return "momentum"
	}
	return "sgd"
}

// Rate is the base learning rate.
func (o SGD) Rate() float64 { return or(o.LR, 1e-3) }

// Slots is b, if there is momentum.
func (o SGD) Slots() []Slot {
	if or(o.Momentum, 0) == 0 {
		return nil
	}
	return []Slot{{Name: "momentum"}}
}

// Check refuses numbers below 0, and Nesterov without Momentum or with Dampening.
func (o SGD) Check() error {
	switch {
	case o.Nesterov && or(o.Momentum, 0) == 0:
		return graph.Fail(o.Name(), "Momentum", "more than 0 with Nesterov", o.Momentum)
	case o.Nesterov && or(o.Dampening, 0) != 0:
		return graph.Fail(o.Name(), "Dampening", "0 with Nesterov", o.Dampening)
	}
	return check(o.Name(), limit{"LR", o.LR, 0}, limit{"Momentum", o.Momentum, 0},
		limit{"Dampening", o.Dampening, 0}, limit{"WeightDecay", o.WeightDecay, 0})
}

// Update makes one step.
func (o SGD) Update(u *Update) {
	if u.Value.DType == graph.Float32 {
		sgd[float32](o, u)
	} else {
		sgd[float64](o, u)
	}
}

func sgd[T graph.Float](o SGD, u *Update) {
	p := part[T](u, u.Value)
	grad := part[T](u, u.Grad)[:len(p)]
	scale, decay, lr := T(u.GradScale), T(or(o.WeightDecay, 0)), T(u.LR)
	if len(u.Slots) == 0 {
		for i, x := range p {
			p[i] = x - lr*(scale*grad[i]+decay*x)
		}
		return
	}
	buf := part[T](u, u.Slots[0])[:len(p)]
	keep, add := T(o.Momentum), T(1-or(o.Dampening, 0))
	if u.Step == 1 {
		add = 1
	}
	fromGrad, fromBuf := T(0), T(1)
	if o.Nesterov {
		fromGrad, fromBuf = 1, keep
	}
	for i, x := range p {
		g := scale*grad[i] + decay*x
		b := keep*buf[i] + add*g
		buf[i] = b
		p[i] = x - lr*(fromGrad*g+fromBuf*b)
	}
}

var _ Optimizer = SGD{}
