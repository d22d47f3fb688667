// Package optim updates parameters from gradients: optimisers, learning-rate schedules and gradient clipping.
//
// An [Optimizer] is a struct of hyper-parameters whose zero value is the usual default:
//
//	stepper, err := optim.New(optim.Adam{LR: 3e-4}, params, optim.Options{
//		Schedule: optim.Warmup{Steps: 100, Then: optim.Cosine{Steps: 10000}},
//		Clip:     optim.Clip{Norm: 1},
//	})
//	...
//	err = stepper.Step(grads) // grads[i] belongs to params[i]
//
// A [Stepper] applies it to a list of parameters. Its state is a store of named tensors, so a checkpoint that holds the
// parameters and the state resumes a run bit for bit. After New nothing is allocated, and each step goes through the
// memory of a tensor once.
//
// The numbers are those of PyTorch 1.13 (torch.optim, torch.optim.lr_scheduler, torch.nn.utils); the comment of a type
// says where a later version or the paper differs.
//
// A hyper-parameter left at 0 takes its default. Where the default is another number and an exact zero is wanted, as in
// Adam without its first moment, write [Zero]: optim.Adam{Beta1: optim.Zero}.
package optim

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/harpe-ml/harpe/graph"
)

// Zero, as the value of a hyper-parameter, is an exact 0, where a plain 0 would mean the default.
const Zero = math.SmallestNonzeroFloat64

// Optimizer is a rule that turns gradients into updates. It holds hyper-parameters only; what it remembers of a
// parameter are the slots, arrays of the parameter's type that the Stepper keeps. An Optimizer may also have a method
// Check() error, which New calls to refuse hyper-parameters out of range.
type Optimizer interface {
	Name() string     // as ByName takes it
	Rate() float64    // the base learning rate, with the default filled in
	Slots() []Slot    // the state of one parameter
	Update(u *Update) // one step of one range of one tensor; it must not allocate
}

// Slot describes one state array of a parameter: its name in a checkpoint, and the value its elements start with.
type Slot struct {
	Name string
	Init float64
}

// Update is one step of elements Lo to Hi-1 of one parameter. Ranges of a tensor may be updated in any order or side by
// side: what happens to an element depends only on its own numbers, Step, LR and GradScale.
type Update struct {
	Value, Grad *graph.Array   // of one type, float32 or float64
	Slots       []*graph.Array // in the order of Optimizer.Slots, of Value's type
	Lo, Hi      int
	Step        int     // 1 in the first step
	LR          float64 // the learning rate of this step
	GradScale   float64 // what the gradient is multiplied with first, from clipping by norm; 1 if it stays as it is
}

var byName = []func(lr float64) Optimizer{
	func(lr float64) Optimizer { return SGD{LR: lr} },
	func(lr float64) Optimizer { return SGD{LR: lr, Momentum: 0.9} },
	func(lr float64) Optimizer { return SGD{LR: lr, Momentum: 0.9, Nesterov: true} },
	func(lr float64) Optimizer { return Adam{LR: lr} },
	func(lr float64) Optimizer { return Adam{LR: lr, AMSGrad: true} },
	func(lr float64) Optimizer { return AdamW{LR: lr} },
	func(lr float64) Optimizer { return RMSProp{LR: lr} },
	func(lr float64) Optimizer { return Adagrad{LR: lr} },
	func(lr float64) Optimizer { return Adadelta{LR: lr} },
	func(lr float64) Optimizer { return Adamax{LR: lr} },
	func(lr float64) Optimizer { return NAdam{LR: lr} },
	func(lr float64) Optimizer { return RAdam{LR: lr} },
}

// Names lists what ByName takes.
func Names() []string {
	names := make([]string, len(byName))
	for i, build := range byName {
		names[i] = build(0).Name()
	}
	return names
}

// ByName is the optimiser called name with learning rate lr (0: its default) and the other hyper-parameters at their
// defaults; "momentum" and "nesterov" are SGD with Momentum 0.9. The error of an unknown name lists the valid ones.
func ByName(name string, lr float64) (Optimizer, error) {
	for _, build := range byName {
		if o := build(lr); o.Name() == name {
			return o, nil
		}
	}
	return nil, graph.Fail("optim", "name", "one of "+strings.Join(Names(), ", "), strconv.Quote(name))
}

// or fills in the default of a hyper-parameter.
func or(v, standard float64) float64 {
	switch v {
	case 0:
		return standard
	case Zero:
		return 0
	}
	return v
}

// limit says that a hyper-parameter must be at least 0 and, if below is not 0, less than below.
type limit struct {
	field string
	value float64
	below float64
}

func check(op string, limits ...limit) error {
	for _, l := range limits {
		below, want := l.below, fmt.Sprintf("a number in [0, %v)", l.below)
		if below == 0 {
			below, want = math.Inf(1), "a finite number of at least 0"
		}
		if !(l.value >= 0 && l.value < below) {
			return graph.Fail(op, l.field, want, l.value)
		}
	}
	return nil
}

// part is the updated range of one of u's arrays.
func part[T graph.Float](u *Update, a *graph.Array) []T { return graph.Data[T](a)[u.Lo:u.Hi] }
