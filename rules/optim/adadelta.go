package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Adadelta steps by the ratio of the running sizes of past steps and of gradients:
//
//	g += WeightDecay p;  s = Rho s + (1-Rho) g^2;  d = sqrt(r + Eps) / sqrt(s + Eps) g
//	r = Rho r + (1-Rho) d^2;  p -= LR d
//
// Zeiler (2012), arXiv:1212.5701, Algorithm 1 (LR 1). Defaults: LR 1, Rho 0.9, Eps 1e-6, WeightDecay 0.
type Adadelta struct{ LR, Rho, Eps, WeightDecay float64 }

// Name is "adadelta".
func (o Adadelta) Name() string { return "adadelta" }

// Rate is the base learning rate.
func (o Adadelta) Rate() float64 { return or(o.LR, 1) }

// Slots is s and r.
func (o Adadelta) Slots() []Slot { return []Slot{{Name: "square"}, {Name: "delta"}} }

// Check refuses numbers out of range.
func (o Adadelta) Check() error {
	return check(o.Name(), limit{"LR", o.LR, 0}, limit{"Rho", o.Rho, 1}, limit{"Eps", o.Eps, 0},
		limit{"WeightDecay", o.WeightDecay, 0})
}

// Update makes one step.
func (o Adadelta) Update(u *Update) {
	if u.Value.DType == graph.Float32 {
		adadelta[float32](o, u)
	} else {
		adadelta[float64](o, u)
	}
}

func adadelta[T graph.Float](o Adadelta, u *Update) {
	p := part[T](u, u.Value)
	grad := part[T](u, u.Grad)[:len(p)]
	square, delta := part[T](u, u.Slots[0])[:len(p)], part[T](u, u.Slots[1])[:len(p)]
	r := or(o.Rho, 0.9)
	rho, rest, eps := T(r), T(1-r), T(or(o.Eps, 1e-6))
	scale, decay, lr := T(u.GradScale), T(or(o.WeightDecay, 0)), T(u.LR)
	for i, x := range p {
		g := scale*grad[i] + decay*x
		s := rho*square[i] + rest*g*g
		d := T(math.Sqrt(float64(delta[i]+eps))) / T(math.Sqrt(float64(s+eps))) * g
		square[i] = s
		delta[i] = rho*delta[i] + rest*d*d
		p[i] = x - lr*d
	}
}

var _ Optimizer = Adadelta{}
