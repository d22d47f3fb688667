package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Adamax is Adam with the infinity norm of past gradients in place of their root mean square:
//
//	g += WeightDecay p;  m = Beta1 m + (1-Beta1) g;  n = max(Beta2 n, |g| + Eps);  p -= LR m/(1-Beta1^t) / n
//
// Kingma, Ba (2015), arXiv:1412.6980, Algorithm 2, which has no Eps. Defaults: LR 2e-3, Beta1 0.9, Beta2 0.999,
// Eps 1e-8, WeightDecay 0.
type Adamax struct{ LR, Beta1, Beta2, Eps, WeightDecay float64 }

// Name is "adamax".
func (o Adamax) Name() string { return "adamax" }

// Rate is the base learning rate.
func (o Adamax) Rate() float64 { return or(o.LR, 2e-3) }

// Slots is m and n.
func (o Adamax) Slots() []Slot { return []Slot{{Name: "m"}, {Name: "norm"}} }

// Check refuses numbers out of range.
func (o Adamax) Check() error {
	return checkAdam(o.Name(), o.LR, o.Beta1, o.Beta2, o.Eps, o.WeightDecay)
}

// Update makes one step.
func (o Adamax) Update(u *Update) {
	if u.Value.DType == graph.Float32 {
		adamax[float32](o, u)
	} else {
		adamax[float64](o, u)
	}
}

func adamax[T graph.Float](o Adamax, u *Update) {
	p := part[T](u, u.Value)
	grad := part[T](u, u.Grad)[:len(p)]
	m, norm := part[T](u, u.Slots[0])[:len(p)], part[T](u, u.Slots[1])[:len(p)]
	beta1 := or(o.Beta1, 0.9)
	b1, c1, b2, eps := T(beta1), T(1-beta1), T(or(o.Beta2, 0.999)), T(or(o.Eps, 1e-8))
	scale, decay := T(u.GradScale), T(or(o.WeightDecay, 0))
	rate := T(u.LR / (1 - math.Pow(beta1, float64(u.Step))))
	for i, x := range p {
		g := scale*grad[i] + decay*x
		mi := b1*m[i] + c1*g
		n := max(b2*norm[i], max(g, -g)+eps)
		m[i], norm[i] = mi, n
		p[i] = x - rate*mi/n
	}
}

var _ Optimizer = Adamax{}
