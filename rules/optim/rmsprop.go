package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// RMSProp scales the gradient by a running mean of its square, less the square of its running mean if Centered:
//
//	g += WeightDecay p;  s = Alpha s + (1-Alpha) g^2;  a = Alpha a + (1-Alpha) g  (Centered; otherwise a = 0)
//	d = g / (sqrt(s - a^2) + Eps);  b = Momentum b + d;  p -= LR b
//
// Tieleman, Hinton (2012, lecture 6.5); centred: Graves (2013), arXiv:1308.0850, eq. 38-45, which has Eps inside the
// root. Where rounding makes s - a^2 negative it is taken as 0 (PyTorch: NaN). Defaults: LR 0.01, Alpha 0.99, Eps 1e-8,
// the others 0.
type RMSProp struct {
	LR, Alpha, Eps, WeightDecay, Momentum float64
	Centered                              bool
}

// Name is "rmsprop".
func (o RMSProp) Name() string { return "rmsprop" }

// Rate is the base learning rate.
func (o RMSProp) Rate() float64 { return or(o.LR, 0.01) }

// Slots is s, then b if there is momentum, then a if Centered.
func (o RMSProp) Slots() []Slot {
	slots := []Slot{{Name: "square"}}
	if or(o.Momentum, 0) != 0 {
		slots = append(slots, Slot{Name: "momentum"})
	}
	if o.Centered {
		slots = append(slots, Slot{Name: "mean"})
	}
	return slots
}

// Check refuses numbers out of range.
func (o RMSProp) Check() error {
	return check(o.Name(), limit{"LR", o.LR, 0}, limit{"Alpha", o.Alpha, 1}, limit{"Eps", o.Eps, 0},
		limit{"WeightDecay", o.WeightDecay, 0}, limit{"Momentum", o.Momentum, 0})
}

// Update makes one step.
func (o RMSProp) Update(u *Update) {
	if u.Value.DType == graph.Float32 {
		rmsprop[float32](o, u)
	} else {
		rmsprop[float64](o, u)
	}
}

func rmsprop[T graph.Float](o RMSProp, u *Update) {
	p := part[T](u, u.Value)
	grad, square := part[T](u, u.Grad)[:len(p)], part[T](u, u.Slots[0])[:len(p)]
	momentum := or(o.Momentum, 0) != 0
	buf, mean := square, square // not touched where the slot is missing
	if momentum {
		buf = part[T](u, u.Slots[1])
	}
	if o.Centered {
		mean = part[T](u, u.Slots[len(u.Slots)-1])
	}
	buf, mean = buf[:len(p)], mean[:len(p)]
	a := or(o.Alpha, 0.99)
	alpha, beta, eps, keep := T(a), T(1-a), T(or(o.Eps, 1e-8)), T(o.Momentum)
	scale, decay, lr := T(u.GradScale), T(or(o.WeightDecay, 0)), T(u.LR)
	for i, x := range p {
		g := scale*grad[i] + decay*x
		s := alpha*square[i] + beta*g*g
		square[i] = s
		if o.Centered {
			a := alpha*mean[i] + beta*g
			mean[i] = a
			s = max(s-a*a, 0)
		}
		d := g / (T(math.Sqrt(float64(s))) + eps)
		if momentum {
			d += keep * buf[i]
			buf[i] = d
		}
		p[i] = x - lr*d
	}
}

var _ Optimizer = RMSProp{}
