package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
)

// Adam scales a running mean of the gradient by a running mean of its square:
//
//	g += WeightDecay p;  m = Beta1 m + (1-Beta1) g;  v = Beta2 v + (1-Beta2) g^2
//	p -= LR m/(1-Beta1^t) / (sqrt(v/(1-Beta2^t)) + Eps)
//
// Kingma, Ba (2015), arXiv:1412.6980, Algorithm 1. With AMSGrad, v in the last line is the largest v so far (Reddi,
// Kale, Kumar (2018), arXiv:1904.09237, Algorithm 2, with PyTorch's bias corrections). Defaults: LR 1e-3, Beta1 0.9,
// Beta2 0.999, Eps 1e-8, WeightDecay 0.
type Adam struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	AMSGrad                            bool
}

// Name is "adam" or "amsgrad".
func (o Adam) Name() string {
	if o.AMSGrad {
		return "amsgrad"
	}
	return "adam"
}

// Rate is the base learning rate.
func (o Adam) Rate() float64 { return or(o.LR, 1e-3) }

// Slots is m and v, and with AMSGrad the largest v.
func (o Adam) Slots() []Slot { return moments(o.AMSGrad) }

// Check refuses numbers out of range.
func (o Adam) Check() error {
	return checkAdam(o.Name(), o.LR, o.Beta1, o.Beta2, o.Eps, o.WeightDecay)
}

// Update makes one step.
func (o Adam) Update(u *Update) {
	adamOf(u, o.Beta1, o.Beta2, o.Eps, or(o.WeightDecay, 0), 0)
}

// AdamW is Adam with decoupled weight decay: p *= 1 - LR WeightDecay comes before the step, and the gradient is left
// alone. Loshchilov, Hutter (2019), arXiv:1711.05101, Algorithm 2, whose schedule multiplier is inside LR here.
// Defaults as Adam's, but WeightDecay 0.01.
type AdamW struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	AMSGrad                            bool
}

// Name is "adamw".
func (o AdamW) Name() string { return "adamw" }

// Rate is the base learning rate.
func (o AdamW) Rate() float64 { return or(o.LR, 1e-3) }

// Slots is m and v, and with AMSGrad the largest v.
func (o AdamW) Slots() []Slot { return moments(o.AMSGrad) }

// Check refuses numbers out of range.
func (o AdamW) Check() error {
	return checkAdam(o.Name(), o.LR, o.Beta1, o.Beta2, o.Eps, o.WeightDecay)
}

// Update makes one step.
func (o AdamW) Update(u *Update) {
	adamOf(u, o.Beta1, o.Beta2, o.Eps, 0, u.LR*or(o.WeightDecay, 0.01))
}

func checkAdam(op string, lr, beta1, beta2, eps, weightDecay float64) error {
	return check(op, limit{"LR", lr, 0}, limit{"Beta1", beta1, 1}, limit{"Beta2", beta2, 1}, limit{"Eps", eps, 0},
		limit{"WeightDecay", weightDecay, 0})
}

func moments(largest bool) []Slot {
	if largest {
		return []Slot{{Name: "m"}, {Name: "v"}, {Name: "vmax"}}
	}
	return []Slot{{Name: "m"}, {Name: "v"}}
}

func adamOf(u *Update, beta1, beta2, eps, l2, shrink float64) {
	n := adamNumbers{scale: u.GradScale, decay: l2, keep: 1 - shrink,
		beta1: or(beta1, 0.9), beta2: or(beta2, 0.999), eps: or(eps, 1e-8)}
	n.rate = u.LR / (1 - math.Pow(n.beta1, float64(u.Step)))
	n.correct = 1 / math.Sqrt(1-math.Pow(n.beta2, float64(u.Step)))
	switch {
	case u.Value.DType == graph.Float64:
		adam[float64](u, n)
	case !adamVectors(u, n):
		adam[float32](u, n)
	}
}

// adamNumbers are the factors of one step: p = keep p - rate m / (correct sqrt(v) + eps).
type adamNumbers struct{ scale, decay, keep, beta1, beta2, rate, correct, eps float64 }

// adamVectors makes the step with vector instructions, if this machine has them.
func adamVectors(u *Update, n adamNumbers) bool {
	var largest []float32
	if len(u.Slots) == 3 {
		largest = part[float32](u, u.Slots[2])
	}
	return compute.Adam(part[float32](u, u.Value), part[float32](u, u.Grad), part[float32](u, u.Slots[0]),
		part[float32](u, u.Slots[1]), largest, compute.AdamStep{
			Scale: float32(n.scale), Decay: float32(n.decay), Keep: float32(n.keep),
			Beta1: float32(n.beta1), Rest1: float32(1 - n.beta1), Beta2: float32(n.beta2), Rest2: float32(1 - n.beta2),
			Rate: float32(n.rate), Correct: float32(n.correct), Eps: float32(n.eps)})
}

func adam[T graph.Float](u *Update, n adamNumbers) {
	p := part[T](u, u.Value)
	grad := part[T](u, u.Grad)[:len(p)]
	m, v := part[T](u, u.Slots[0])[:len(p)], part[T](u, u.Slots[1])[:len(p)]
	largest, amsgrad := v, len(u.Slots) == 3 // without AMSGrad, largest is not touched
	if amsgrad {
		largest = part[T](u, u.Slots[2])
	}
	largest = largest[:len(p)]
	scale, decay, keep, rate, correct, eps := T(n.scale), T(n.decay), T(n.keep), T(n.rate), T(n.correct), T(n.eps)
	b1, c1, b2, c2 := T(n.beta1), T(1-n.beta1), T(n.beta2), T(1-n.beta2)
	for i, x := range p {
		g := scale*grad[i] + decay*x
		mi := b1*m[i] + c1*g
		vi := b2*v[i] + c2*g*g
		m[i], v[i] = mi, vi
		if amsgrad {
			vi = max(largest[i], vi)
			largest[i] = vi
		}
		p[i] = keep*x - rate*mi/(T(math.Sqrt(float64(vi)))*correct+eps)
	}
}

var (
	_ Optimizer = Adam{}
	_ Optimizer = AdamW{}
)
