package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// RAdam is Adam that adapts only once the variance of its scaling is finite, and then rectified:
//
//	g += WeightDecay p;  m = Beta1 m + (1-Beta1) g;  v = Beta2 v + (1-Beta2) g^2
//	R = 2/(1-Beta2) - 1;  n = R - 2t Beta2^t/(1-Beta2^t)
//	n > 5:   p -= LR m/(1-Beta1^t) sqrt(1-Beta2^t)/(sqrt(v)+Eps) sqrt((n-4)(n-2)R / ((R-4)(R-2)n))
//	else:    p -= LR m/(1-Beta1^t)
//
// Liu et al. (2020), arXiv:1908.03265, Algorithm 2, whose threshold is 4 and which has no Eps. Defaults as Adam's.
type RAdam struct{ LR, Beta1, Beta2, Eps, WeightDecay float64 }

// Name is "radam".
func (o RAdam) Name() string { return "radam" }

// Rate is the base learning rate.
func (o RAdam) Rate() float64 { return or(o.LR, 1e-3) }

// Slots is m and v.
func (o RAdam) Slots() []Slot { return moments(false) }

// Check refuses numbers out of range.
func (o RAdam) Check() error {
	return checkAdam(o.Name(), o.LR, o.Beta1, o.Beta2, o.Eps, o.WeightDecay)
}

// Update makes one step.
func (o RAdam) Update(u *Update) {
	if u.Value.DType == graph.Float32 {
		radam[float32](o, u)
	} else {
		radam[float64](o, u)
	}
}

func radam[T graph.Float](o RAdam, u *Update) {
	p := part[T](u, u.Value)
	grad := part[T](u, u.Grad)[:len(p)]
	m, v := part[T](u, u.Slots[0])[:len(p)], part[T](u, u.Slots[1])[:len(p)]
	beta1, beta2, t := or(o.Beta1, 0.9), or(o.Beta2, 0.999), float64(u.Step)
	b1, c1, b2, c2, eps := T(beta1), T(1-beta1), T(beta2), T(1-beta2), T(or(o.Eps, 1e-8))
	scale, decay := T(u.GradScale), T(or(o.WeightDecay, 0))
	power := math.Pow(beta2, t)
	longest := 2/(1-beta2) - 1
	length := longest - 2*t*power/(1-power)
	adapt := length > 5
	rate := u.LR / (1 - math.Pow(beta1, t))
	if adapt {
		rate *= math.Sqrt((1 - power) * (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
	}
	lr := T(rate)
	for i, x := range p {
		g := scale*grad[i] + decay*x
		mi := b1*m[i] + c1*g
		vi := b2*v[i] + c2*g*g
		m[i], v[i] = mi, vi
		step := lr * mi
		if adapt {
			step /= T(math.Sqrt(float64(vi))) + eps
		}
		p[i] = x - step
	}
}

var _ Optimizer = RAdam{}
