package optim

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
)

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
	n := sgdNumbers{scale: u.GradScale, decay: or(o.WeightDecay, 0), lr: u.LR}
	n.keep, n.add, n.fromBuf = or(o.Momentum, 0), 1-or(o.Dampening, 0), 1
	if u.Step == 1 {
		n.add = 1
	}
	if o.Nesterov {
		n.fromGrad, n.fromBuf = 1, n.keep
	}
	switch {
	case u.Value.DType == graph.Float64:
		sgd[float64](u, n)
	case !sgdVectors(u, n):
		sgd[float32](u, n)
	}
}

// sgdNumbers are the factors of one step: b = keep b + add g; p -= lr (fromGrad g + fromBuf b).
type sgdNumbers struct{ scale, decay, keep, add, fromGrad, fromBuf, lr float64 }

// sgdVectors makes the step with vector instructions, if this machine has them.
func sgdVectors(u *Update, n sgdNumbers) bool {
	p, grad := part[float32](u, u.Value), part[float32](u, u.Grad)
	if len(u.Slots) == 0 {
		return compute.SGD(p, grad, float32(n.scale), float32(n.decay), float32(n.lr))
	}
	return compute.Momentum(p, grad, part[float32](u, u.Slots[0]), compute.MomentumStep{
		Scale: float32(n.scale), Decay: float32(n.decay), Keep: float32(n.keep), Add: float32(n.add),
		FromGrad: float32(n.fromGrad), FromBuf: float32(n.fromBuf), LR: float32(n.lr)})
}

func sgd[T graph.Float](u *Update, n sgdNumbers) {
	p := part[T](u, u.Value)
	grad := part[T](u, u.Grad)[:len(p)]
	scale, decay, lr := T(n.scale), T(n.decay), T(n.lr)
	if len(u.Slots) == 0 {
		for i, x := range p {
			p[i] = x - lr*(scale*grad[i]+decay*x)
		}
		return
	}
	buf := part[T](u, u.Slots[0])[:len(p)]
	keep, add, fromGrad, fromBuf := T(n.keep), T(n.add), T(n.fromGrad), T(n.fromBuf)
	for i, x := range p {
		g := scale*grad[i] + decay*x
		b := keep*buf[i] + add*g
		buf[i] = b
		p[i] = x - lr*(fromGrad*g+fromBuf*b)
	}
}

var _ Optimizer = SGD{}
