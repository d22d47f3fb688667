package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
)

// Options is what may surround an optimiser; the zero value is a constant rate and no clipping.
type Options struct {
	Schedule Schedule // nil means Constant
	Clip     Clip
	// Rates multiplies the learning rate of the parameters of these names in Stepper.Step; others keep it. Decoupled weight
	// decay, as AdamW's, is multiplied too.
	Rates map[string]float64
}

// Stepper applies an optimiser to a list of parameters. It is not safe for concurrent use.
type Stepper struct {
	optimizer Optimizer
	options   Options
	params    []*graph.Param
	state     graph.Params
	step      []int     // the one element of the array "optim/step": how many steps were made
	updates   []Update  // all ranges of all parameters
	of        []int     // the parameter of each update
	rates     []float64 // of each parameter, relative
}

// chunk is the number of elements that are updated together; different chunks may be updated side by side.
const chunk = 1 << 14

// New makes a Stepper with fresh state for params, which must be trainable, float32 or float64, and have different
// names. Hyper-parameters out of range are an error too.
func New(o Optimizer, params []*graph.Param, options Options) (*Stepper, error) {
	if o == nil {
		return nil, graph.Fail("optim", "optimizer", "an Optimizer", "nil")
	}
	if options.Schedule == nil {
		options.Schedule = Constant{}
	}
	for _, v := range []any{o, options.Schedule} {
		if err := checkAny(v); err != nil {
			return nil, err
		}
	}
	err := check("clip", limit{"Norm", options.Clip.Norm, 0}, limit{"Value", options.Clip.Value, 0})
	if err != nil {
		return nil, err
	}
	s := &Stepper{optimizer: o, options: options, params: params}
	steps := graph.NewArray(graph.Int, 1)
	s.step = steps.Ints()
	if err := s.state.Add(&graph.Param{Name: "optim/step", Value: steps, State: true}); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for i, p := range params {
		switch {
		case p == nil || p.Value == nil:
			return nil, graph.Fail(o.Name(), "params", "a parameter with a value", "nil")
		case names[p.Name]:
			return nil, graph.Fail(o.Name(), "params", "each parameter once", p.Name+" twice")
		case p.State:
			return nil, graph.Fail(o.Name(), p.Name, "a trained parameter", "a state")
		case !p.Value.IsFloat():
			return nil, graph.Fail(o.Name(), p.Name, "float32 or float64", p.Value.Type)
		}
		names[p.Name] = true
		rate, ok := options.Rates[p.Name]
		if !ok {
			rate = 1
		}
		if err := check("rates", limit{p.Name, rate, 0}); err != nil {
			return nil, err
		}
		s.rates = append(s.rates, rate)
		if err := s.add(i, p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// checkAny calls v's Check if it has one.
func checkAny(v any) error {
	if c, ok := v.(interface{ Check() error }); ok {
		return c.Check()
	}
	return nil
}

// add makes the slots and the updates of parameter i.
func (s *Stepper) add(i int, p *graph.Param) error {
	var slots []*graph.Array
	for _, slot := range s.optimizer.Slots() {
		a := graph.NewArray(p.Value.DType, p.Value.Shape...)
		if slot.Init != 0 {
			for j := range a.Size() {
				a.Set(j, slot.Init)
			}
		}
		slots = append(slots, a)
		err := s.state.Add(&graph.Param{Name: "optim/" + p.Name + "/" + slot.Name, Value: a, State: true})
		if err != nil {
			return err
		}
	}
	for lo, size := 0, p.Value.Size(); lo < size; lo += chunk {
		s.updates = append(s.updates, Update{Value: p.Value, Slots: slots, Lo: lo, Hi: min(lo+chunk, size)})
		s.of = append(s.of, i)
	}
	return nil
}

// LR is the learning rate of the next step.
func (s *Stepper) LR() float64 {
	return s.options.Schedule.Rate(s.optimizer.Rate(), s.step[0])
}

// State is the live state: the slots as "optim/<parameter>/<slot>", of the parameter's type, and the number of steps
// made as "optim/step" (int [1]). A checkpoint saves it; to resume, load or CopyFrom into the State of a new Stepper
// made with the same optimiser, parameters and options.
func (s *Stepper) State() *graph.Params { return &s.state }

// Step makes one step: clips, asks the schedule for the rate, updates each parameter in place. grads[i] is the gradient
// of params[i] and has its type. A gradient of another type or missing, a norm that is not finite where Clip.Norm is
// set, or a rate that is negative or not finite is an error, and then parameters, state and gradients are unchanged.
func (s *Stepper) Step(grads []*graph.Array) error {
	if len(grads) != len(s.params) {
		return s.fail("gradients", len(s.params), len(grads))
	}
	for i, p := range s.params {
		if grads[i] == nil {
			return s.fail("gradient of "+p.Name, p.Value.Type, "nil")
		}
		if !grads[i].Type.Equal(p.Value.Type) {
			return s.fail("gradient of "+p.Name, p.Value.Type, grads[i].Type)
		}
	}
	if s.step[0] < 0 {
		return s.fail("optim/step", "a count of at least 0", s.step[0])
	}
	lr := s.LR()
	if !(lr >= 0) || math.IsInf(lr, 1) {
		return s.fail("learning rate", "a finite number of at least 0", lr)
	}
	scale, err := s.clip(grads)
	if err != nil {
		return err
	}
	s.step[0]++
	for i := range s.updates {
		u := &s.updates[i]
		u.Grad, u.Step, u.LR, u.GradScale = grads[s.of[i]], s.step[0], lr*s.rates[s.of[i]], scale
	}
	compute.Parallel(updates{s}, len(s.updates))
	return nil
}

// updates is the work of one step.
type updates struct{ *Stepper }

// Run makes update i.
func (s updates) Run(_, i int) { s.optimizer.Update(&s.updates[i]) }

func (s *Stepper) fail(arg string, want, got any) error {
	return graph.Fail(s.optimizer.Name()+" step", arg, want, got)
}
