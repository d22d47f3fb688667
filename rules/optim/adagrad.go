package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Adagrad scales the gradient by the root of the sum of its squares:
//
//	g += WeightDecay p;  s += g^2;  p -= LR / (1 + (t-1) LRDecay) g / (sqrt(s) + Eps)
//
// Duchi, Hazan, Singer (2011), JMLR 12, figure 1, diagonal. s starts at InitialSum. Defaults: LR 0.01, Eps 1e-10, the
// others 0.
type Adagrad struct{ LR, LRDecay, Eps, WeightDecay, InitialSum float64 }

// Name is "adagrad".
func (o Adagrad) Name() string { return "adagrad" }

// Rate is the base learning rate.
func (o Adagrad) Rate() float64 { return or(o.LR, 0.01) }

// Slots is s.
func (o Adagrad) Slots() []Slot { return []Slot{{Name: "sum", Init: or(o.InitialSum, 0)}} }

// Check refuses numbers out of range.
func (o Adagrad) Check() error {
	return check(o.Name(), limit{"LR", o.LR, 0}, limit{"LRDecay", o.LRDecay, 0}, limit{"Eps", o.Eps, 0},
		limit{"WeightDecay", o.WeightDecay, 0}, limit{"InitialSum", o.InitialSum, 0})
}

// Update makes one step.
func (o Adagrad) Update(u *Update) {
	if u.Value.DType == graph.Float32 {
		adagrad[float32](o, u)
	} else {
		adagrad[float64](o, u)
	}
}

func adagrad[T graph.Float](o Adagrad, u *Update) {
	p := part[T](u, u.Value)
	grad, sum := part[T](u, u.Grad)[:len(p)], part[T](u, u.Slots[0])[:len(p)]
	scale, decay, eps := T(u.GradScale), T(or(o.WeightDecay, 0)), T(or(o.Eps, 1e-10))
	lr := T(u.LR / (1 + float64(u.Step-1)*or(o.LRDecay, 0)))
	for i, x := range p {
		g := scale*grad[i] + decay*x
		s := sum[i] + g*g
		sum[i] = s
		p[i] = x - lr*g/(T(math.Sqrt(float64(s)))+eps)
	}
}

var _ Optimizer = Adagrad{}
