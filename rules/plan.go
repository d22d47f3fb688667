package rules

import (
	"fmt"
	"maps"
	"strconv"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A Goal is one thing a step does: report Loss, and let the optimiser move each of Params against its direction in
// Grads. Goals have optimisers of their own, so clipping is local to each.
type Goal struct {
	Loss   *graph.Node // scalar
	Params []*graph.Node
	Grads  []*graph.Node // of the types of Params

	Optimizer optim.Optimizer // nil means the plan's
}

// Minimize is the goal of lowering loss by its reverse-mode gradient in the given parameters.
func Minimize(loss *graph.Node, params []*graph.Node) Goal {
	return Goal{Loss: loss, Params: params, Grads: graph.Grad(loss, params...)}
}

// A Phase builds the goals of a training step on a batch: x [batch, input...], y [batch] labels or [batch, target...].
type Phase func(s *graph.Scope, x, y *graph.Node) []Goal

// A Plan is what a rule has to say for itself; Trainer does the rest. A rule with several phases trains them one after
// the other, in equal shares of the epochs.
type Plan struct {
	Name      string
	Params    *graph.Params // the store to use; nil means a fresh one
	Phases    []Phase
	Predict   func(s *graph.Scope, x *graph.Node) *graph.Node // class scores or output
	Optimizer optim.Optimizer
	Options   optim.Options
	// Gain multiplies the learning rate as a function of the epoch, counted from 0, and the number of epochs. Nil
	// means 1.
	Gain func(epoch, epochs int) float64
}

// trainer is the Trainer of every Plan.
type trainer struct {
	plan   Plan
	spec   Spec
	params *graph.Params
	phases []*phase
	active int
	steps  *graph.Array // Int [1], saved with the state
	gain   float64

	predict *graph.Program
	px, out *graph.Node
	kept    []keptState // put back when a step fails
}

// keptState is a state of the store and what it was before the step.
type keptState struct{ value, before *graph.Array }

// phase is a compiled Phase.
type phase struct {
	program  *graph.Program
	x, y     *graph.Node
	losses   []*graph.Array
	params   [][]*graph.Param
	grads    [][]*graph.Array
	steppers []*optim.Stepper
}

// Trainer compiles the plan for data of the given spec.
func (p Plan) Trainer(spec Spec) (Trainer, error) {
	if err := spec.check(); err != nil {
		return nil, errors.Wrap(err, p.Name)
	}
	if p.Predict == nil {
		return nil, graph.Fail(p.Name, "plan", "a function Predict", "nil")
	}
	t := &trainer{plan: p, spec: spec, params: p.Params, steps: graph.NewArray(graph.Int, 1), gain: 1}
	if t.params == nil {
		t.params = spec.params()
	}
	for i, build := range p.Phases {
		ph, err := t.compile(build)
		if err != nil {
			return nil, errors.Wrapf(err, "%s: phase %d", p.Name, i+1)
		}
		t.phases = append(t.phases, ph)
	}
	g, err := graph.Build(t.params, func(s *graph.Scope) {
		t.px = spec.input(s)
		t.out = p.Predict(s, t.px)
	})
	if err == nil {
		t.predict, err = g.Compile(t.out)
	}
	if err != nil {
		return nil, errors.Wrapf(err, "%s: predict", p.Name)
	}
	for q := range t.params.All() {
		if q.State {
			t.kept = append(t.kept, keptState{q.Value, q.Value.Clone()})
		}
	}
	return t, nil
}

func (t *trainer) compile(build Phase) (*phase, error) {
	ph := &phase{}
	var goals []Goal
	g, err := graph.Build(t.params, func(s *graph.Scope) {
		ph.x, ph.y = t.spec.input(s), t.spec.target(s)
		goals = build(s.ForTraining(), ph.x, ph.y)
	})
	if err != nil {
		return nil, err
	}
	var nodes []*graph.Node
	for i, goal := range goals {
		if len(goal.Params) != len(goal.Grads) || goal.Loss == nil || len(graph.ShapeOf(goal.Loss)) != 0 {
			return nil, graph.Fail("plan", fmt.Sprintf("goal %d", i), "a scalar loss and a direction for each parameter", goal)
		}
		nodes = append(append(nodes, goal.Loss), goal.Grads...)
	}
	if ph.program, err = g.Compile(append(nodes, g.Updates()...)...); err != nil {
		return nil, err
	}
	for _, goal := range goals {
		var params []*graph.Param
		var grads []*graph.Array
		for i, n := range goal.Params {
			q := g.Param(n)
			if q == nil {
				return nil, graph.Fail("plan", fmt.Sprintf("parameter %d", i), "a node made by Scope.Param", n)
			}
			params, grads = append(params, q), append(grads, ph.program.Array(goal.Grads[i]))
		}
		options := t.plan.Options
		options.Schedule = gained{options.Schedule, &t.gain}
		optimizer := goal.Optimizer
		if optimizer == nil {
			optimizer = t.plan.Optimizer
		}
		s, err := optim.New(optimizer, params, options)
		if err != nil {
			return nil, err
		}
		ph.losses = append(ph.losses, ph.program.Array(goal.Loss))
		ph.params, ph.grads, ph.steppers = append(ph.params, params), append(ph.grads, grads), append(ph.steppers, s)
	}
	return ph, nil
}

// gained is a schedule times the trainer's gain.
type gained struct {
	of   optim.Schedule
	gain *float64
}

func (g gained) Rate(base float64, step int) float64 {
	if g.of != nil {
		base = g.of.Rate(base, step)
	}
	return base * *g.gain
}

func (t *trainer) Name() string          { return t.plan.Name }
func (t *trainer) Spec() Spec            { return t.spec }
func (t *trainer) Params() *graph.Params { return t.params }
func (t *trainer) Steps() int            { return t.steps.Ints()[0] }

func (t *trainer) StartEpoch(epoch, epochs int) {
	t.active = min(max(epoch, 0)*len(t.phases)/max(epochs, 1), len(t.phases)-1)
	if t.plan.Gain != nil {
		t.gain = t.plan.Gain(epoch, epochs)
	}
}

func (t *trainer) Step(b *Batch) (float64, error) {
	if b.N != t.spec.Batch {
		return 0, graph.Fail(t.plan.Name, "batch", fmt.Sprintf("%d examples", t.spec.Batch), b.N)
	}
	if len(t.phases) == 0 {
		return 0, graph.Fail(t.plan.Name, "plan", "at least one phase", "none")
	}
	t.keep()
	loss, err := t.step(t.phases[t.active], b)
	if err != nil {
		return loss, t.failed(err)
	}
	t.steps.Ints()[0]++
	return loss, nil
}

// keep remembers the states of the store before a step.
func (t *trainer) keep() {
	for _, k := range t.kept {
		k.before.CopyFrom(k.value) // of one type: no error
	}
}

// failed puts the states back after a step that failed, and says which one it was.
func (t *trainer) failed(err error) error {
	for _, k := range t.kept {
		k.value.CopyFrom(k.before)
	}
	return errors.Wrapf(err, "%s: step %d", t.plan.Name, t.Steps())
}

// step runs a phase and updates its parameters, all or none of them.
func (t *trainer) step(ph *phase, b *Batch) (loss float64, err error) {
	if err := ph.run(b, t.Steps()); err != nil {
		return 0, err
	}
	for _, l := range ph.losses {
		loss += l.Scalar()
	}
	if loss-loss != 0 {
		return loss, errors.Wrapf(ph.cause(), "loss %v", loss)
	}
	for i, grads := range ph.grads {
		if norm := optim.GlobalNorm(grads); norm-norm != 0 {
			return loss, errors.Wrapf(ph.cause(), "goal %d: gradient of norm %v", i, norm)
		}
	}
	for i, s := range ph.steppers {
		if err := s.Step(ph.grads[i]); err != nil {
			return loss, err
		}
	}
	return loss, nil
}

// cause says which node is to blame for a result that is not finite.
func (ph *phase) cause() error {
	if err := ph.program.FirstNonFinite(); err != nil {
		return err
	}
	return errors.New("every node is finite, their sum is not")
}

// run computes losses and directions of a batch at a step.
func (ph *phase) run(b *Batch, step int) error {
	if err := ph.feed(ph.program, b); err != nil {
		return err
	}
	ph.program.SetStep(step)
	return ph.program.Run()
}

// feed gives a batch to a program of the phase's graph.
func (ph *phase) feed(p *graph.Program, b *Batch) error {
	if p.Uses(ph.x) {
		if err := p.Bind(ph.x, b.X); err != nil {
			return err
		}
	}
	if p.Uses(ph.y) {
		return p.Bind(ph.y, b.Y)
	}
	return nil
}

func (t *trainer) Predict(b *Batch) (*graph.Array, error) {
	if err := t.predict.Bind(t.px, b.X); err != nil {
		return nil, err
	}
	if err := t.predict.Run(); err != nil {
		return nil, errors.Wrap(err, t.plan.Name)
	}
	return t.predict.Array(t.out), nil
}

func (t *trainer) ActivationBytes() int {
	most := 0
	for _, ph := range t.phases {
		s := ph.program.Stats()
		most = max(most, s.ArenaBytes+s.ConstBytes)
	}
	return most
}

func (t *trainer) Programs() []*graph.Program {
	list := make([]*graph.Program, len(t.phases))
	for i, ph := range t.phases {
		list[i] = ph.program
	}
	return list
}

// state is all that a resumed run needs beside the parameters, as one store: the step counter and each optimiser's
// state under the name of its phase and goal.
func (t *trainer) state() (*graph.Params, error) {
	all := &graph.Params{DType: t.spec.DType}
	if err := all.Add(&graph.Param{Name: "trainer/steps", Value: t.steps, State: true}); err != nil {
		return nil, err
	}
	for i, ph := range t.phases {
		for j, s := range ph.steppers {
			for q := range s.State().All() {
				name := fmt.Sprintf("trainer/%d/%d/%s", i, j, q.Name)
				if err := all.Add(&graph.Param{Name: name, Value: q.Value, State: true}); err != nil {
					return nil, err
				}
			}
		}
	}
	return all, nil
}

const (
	metaRule      = "harpe.rule"
	metaSeed      = "harpe.seed"
	metaOptimizer = "harpe.optimizer"
)

// about is what a checkpoint says of the trainer, and what must agree when it is loaded.
func (t *trainer) about() map[string]string {
	return map[string]string{
		metaRule:      t.plan.Name,
		metaSeed:      strconv.FormatUint(t.spec.Seed, 10),
		metaOptimizer: fmt.Sprintf("%T%+v", t.plan.Optimizer, t.plan.Optimizer),
	}
}

func (t *trainer) Save(path string, meta map[string]string) error {
	state, err := t.state()
	if err != nil {
		return err
	}
	all := maps.Clone(meta)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, t.about())
	return graph.SaveAll(path, all, t.params, state)
}

func (t *trainer) Load(path string) (map[string]string, error) {
	state, err := t.state()
	if err != nil {
		return nil, err
	}
	meta, err := graph.Metadata(path)
	if err != nil {
		return nil, err
	}
	for key, want := range t.about() {
		if meta[key] != want {
			return nil, graph.Fail("load", path+": "+key, want, strconv.Quote(meta[key]))
		}
	}
	return graph.LoadAll(path, t.params, state)
}
