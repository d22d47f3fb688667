package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// NAdam is Adam with Nesterov momentum whose strength mu warms up:
//
//	g += WeightDecay p;  m = Beta1 m + (1-Beta1) g;  v = Beta2 v + (1-Beta2) g^2
//	mu_t = Beta1 (1 - 0.96^(t MomentumDecay) / 2)
//	p -= LR ((1-mu_t) / (1-M) g + mu_{t+1} / (1 - M mu_t mu_{t+1}) m) / (sqrt(v/(1-Beta2^t)) + Eps)
//
// with M = mu_1 mu_2...mu_t. Dozat (ICLR workshop 2016) and later versions of PyTorch have 1 - M mu_{t+1} where 1.13 has
// 1 - M mu_t mu_{t+1}; under a steady gradient that makes step 1 0.7 % smaller, and step 10 0.003 %. Defaults: LR 2e-3,
// Beta1 0.9, Beta2 0.999, Eps 1e-8, WeightDecay 0, MomentumDecay 4e-3.
type NAdam struct{ LR, Beta1, Beta2, Eps, WeightDecay, MomentumDecay float64 }

// Name is "nadam".
func (o NAdam) Name() string { return "nadam" }

// Rate is the base learning rate.
func (o NAdam) Rate() float64 { return or(o.LR, 2e-3) }

// Slots is m and v.
func (o NAdam) Slots() []Slot { return moments(false) }

// Check refuses numbers out of range.
func (o NAdam) Check() error {
	if err := check(o.Name(), limit{"MomentumDecay", o.MomentumDecay, 0}); err != nil {
		return err
	}
	return checkAdam(o.Name(), o.LR, o.Beta1, o.Beta2, o.Eps, o.WeightDecay)
}

// Update makes one step.
func (o NAdam) Update(u *Update) {
	if u.Value.DType == graph.Float32 {
		nadam[float32](o, u)
	} else {
		nadam[float64](o, u)
	}
}

// momentum is mu at step t and the product of all mu up to it. The product is a function of t, so that it need not be
// kept: with q = 0.96^decay,
//
//	sum_{i=1..t} log(1 - q^i/2) = -sum_{k>=1} (1/2)^k/k (q^k + q^2k + ... + q^tk)
//
// where the inner sum is geometric and the outer one has halved 60 times when it is cut off.
func (o NAdam) momentum(t int) (mu, product float64) {
	beta1, logq := or(o.Beta1, 0.9), or(o.MomentumDecay, 4e-3)*math.Log(0.96)
	n := float64(t)
	mu = beta1 * (1 - math.Exp(n*logq)/2)
	sum, half := 0.0, 1.0
	for k := 1.0; k <= 60; k++ {
		half /= 2
		geometric := n
		if logq != 0 {
			geometric = math.Exp(k*logq) * math.Expm1(n*k*logq) / math.Expm1(k*logq)
		}
		sum += half / k * geometric
	}
	return mu, math.Pow(beta1, n) * math.Exp(-sum)
}

func nadam[T graph.Float](o NAdam, u *Update) {
	p := part[T](u, u.Value)
	grad := part[T](u, u.Grad)[:len(p)]
	m, v := part[T](u, u.Slots[0])[:len(p)], part[T](u, u.Slots[1])[:len(p)]
	beta1, beta2 := or(o.Beta1, 0.9), or(o.Beta2, 0.999)
	b1, c1, b2, c2, eps := T(beta1), T(1-beta1), T(beta2), T(1-beta2), T(or(o.Eps, 1e-8))
	scale, decay := T(u.GradScale), T(or(o.WeightDecay, 0))
	mu, product := o.momentum(u.Step)
	next, _ := o.momentum(u.Step + 1)
	fromGrad := T(u.LR * (1 - mu) / (1 - product))
	fromMean := T(u.LR * next / (1 - product*mu*next))
	correct := T(1 / math.Sqrt(1-math.Pow(beta2, float64(u.Step))))
	for i, x := range p {
		g := scale*grad[i] + decay*x
		mi := b1*m[i] + c1*g
		vi := b2*v[i] + c2*g*g
		m[i], v[i] = mi, vi
		p[i] = x - (fromGrad*g+fromMean*mi)/(T(math.Sqrt(float64(vi)))*correct+eps)
	}
}

var _ Optimizer = NAdam{}
