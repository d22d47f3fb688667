package rules

import (
	"fmt"
	"maps"
	"slices"
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
	// Clean is the loss without the rule's perturbations, or Loss itself if it has none. A step whose losses or
	// directions are not finite while this is gets refused: nothing changes, and Refused counts it. Without Clean,
	// or if it is not finite either, the step is an error.
	Clean *graph.Node
}

// Minimize is the goal of lowering loss by its reverse-mode gradient in the given parameters.
func Minimize(loss *graph.Node, params []*graph.Node) Goal {
	return Goal{Loss: loss, Params: params, Grads: graph.Grad(loss, params...)}
}

// A Phase builds the goals of a training step on a batch: x [batch, input...], y [batch] labels or [batch, target...].
type Phase func(s *graph.Scope, x, y *graph.Node) []Goal

// A Plan is what a rule has to say for itself; Trainer does the rest. A rule with several phases trains them one after
// the other, in equal shares of the epochs. A rule whose step consists of blocks that learn on their own has Blocks, in
// place of Phases or as those that follow them.
type Plan struct {
	Name    string
	Params  *graph.Params // the store to use; nil means a fresh one
	Phases  []Phase
	Blocks  *BlockLocal
	Predict func(s *graph.Scope, x *graph.Node) *graph.Node // class scores or output
	// Layers builds the class scores of each block alone, with the blocks' names, for EvaluateLayers. Nil if blocks have none.
	Layers    func(s *graph.Scope, x *graph.Node) (blocks []string, scores []*graph.Node)
	Optimizer optim.Optimizer
	Options   optim.Options
	// Gain multiplies the learning rate as a function of the epoch, counted from 0, and the number of epochs. Nil
	// means 1.
	Gain func(epoch, epochs int) float64
}

// trainer is the Trainer of every Plan.
type trainer struct {
	plan    Plan
	spec    Spec
	params  *graph.Params
	phases  []*phase
	active  int
	steps   *graph.Array // Int [1], saved with the state
	refused *graph.Array // Int [1], saved with the state
	gain    float64

	predict *graph.Program
	px, out *graph.Node
	kept    []keptState // put back when a step fails
}

// keptState is a state of the store and what it was before the step.
type keptState struct{ value, before *graph.Array }

// phase is what the steps of a share of the epochs do, one stage after the other. The first is embedded: most rules
// have no other.
type phase struct {
	*stage
	stages []*stage
}

// stage is a program, the updates that follow it, and what it hands on to the next stage.
type stage struct {
	program  *graph.Program
	x, y     *graph.Node
	losses   []*graph.Array
	params   [][]*graph.Param
	grads    [][]*graph.Array
	steppers []*optim.Stepper

	in, out []*graph.Node
	handed  []*graph.Array // what in reads: copies of the out of the stage before
	next    *stage
	repeat  int // runs with updates

	g     *graph.Graph
	goals []Goal
}

// Trainer compiles the plan for data of the given spec.
func (p Plan) Trainer(spec Spec) (Trainer, error) {
	if err := spec.check(); err != nil {
		return nil, errors.Wrap(err, p.Name)
	}
	if p.Predict == nil {
		return nil, graph.Fail(p.Name, "plan", "a function Predict", "nil")
	}
	t := &trainer{plan: p, spec: spec, params: p.Params, steps: graph.NewArray(graph.Int, 1), refused: graph.NewArray(graph.Int, 1), gain: 1}
	if t.params == nil {
		t.params = spec.params()
	}
	for i, build := range p.Phases {
		ph, err := t.phase(build)
		if err != nil {
			return nil, errors.Wrapf(err, "%s: phase %d", p.Name, i+1)
		}
		t.phases = append(t.phases, ph)
	}
	if p.Blocks != nil {
		if err := p.Blocks.phases(t); err != nil {
			return nil, errors.Wrap(err, p.Name)
		}
	}
	if !slices.ContainsFunc(slices.Collect(t.params.All()), func(q *graph.Param) bool { return !q.State }) {
		return nil, graph.Fail(p.Name, "model", "at least one trained parameter", "none")
	}
	if err := t.link(t.phases); err != nil {
		return nil, errors.Wrap(err, p.Name)
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

// stage builds the graph of a stage and checks its goals.
func (t *trainer) stage(build func(s *graph.Scope, st *stage)) (st *stage, err error) {
	st = &stage{repeat: 1}
	if st.g, err = graph.Build(t.params, func(s *graph.Scope) { build(s.ForTraining(), st) }); err != nil {
		return nil, err
	}
	for i, goal := range st.goals {
		if len(goal.Params) != len(goal.Grads) || goal.Loss == nil || len(graph.ShapeOf(goal.Loss)) != 0 {
			return nil, graph.Fail("plan", fmt.Sprintf("goal %d", i), "a scalar loss and a direction for each parameter", goal)
		}
	}
	return st, nil
}

// phase is the phase of a single stage.
func (t *trainer) phase(build Phase) (*phase, error) {
	st, err := t.stage(func(s *graph.Scope, st *stage) {
		st.x, st.y = t.spec.input(s), t.spec.target(s)
		st.goals = build(s, st.x, st.y)
	})
	if err != nil {
		return nil, err
	}
	return &phase{st, []*stage{st}}, nil
}

// link makes the programs of all stages, which share their memory, and the optimisers.
func (t *trainer) link(phases []*phase) error {
	var jobs []graph.Job
	var stages []*stage
	for _, ph := range phases {
		for _, st := range ph.stages {
			nodes := slices.Clone(st.out)
			for _, goal := range st.goals {
				nodes = append(append(nodes, goal.Loss), goal.Grads...)
			}
			if len(st.goals) > 0 {
				nodes = append(nodes, st.g.Updates()...)
			}
			jobs, stages = append(jobs, graph.Job{Graph: st.g, Outputs: nodes}), append(stages, st)
		}
	}
	programs, err := graph.CompileShared(jobs...)
	if err != nil {
		return err
	}
	for i, st := range stages {
		st.program = programs[i]
		if err := st.bind(st.program); err != nil {
			return err
		}
		for _, goal := range st.goals {
			if err := t.pursue(st, goal); err != nil {
				return err
			}
		}
	}
	return nil
}

// pursue gives a stage a goal's arrays and optimiser.
func (t *trainer) pursue(st *stage, goal Goal) error {
	var params []*graph.Param
	var grads []*graph.Array
	for i, n := range goal.Params {
		q := st.g.Param(n)
		if q == nil {
			return graph.Fail("plan", fmt.Sprintf("parameter %d", i), "a node made by Scope.Param", n)
		}
		params, grads = append(params, q), append(grads, st.program.Array(goal.Grads[i]))
	}
	options := t.plan.Options
	options.Schedule = gained{options.Schedule, &t.gain}
	optimizer := goal.Optimizer
	if optimizer == nil {
		optimizer = t.plan.Optimizer
	}
	s, err := optim.New(optimizer, params, options)
	if err != nil {
		return err
	}
	st.losses = append(st.losses, st.program.Array(goal.Loss))
	st.params, st.grads, st.steppers = append(st.params, params), append(st.grads, grads), append(st.steppers, s)
	return nil
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

func (t *trainer) base() *trainer        { return t }
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
	if unfit, ok := err.(*notFinite); ok {
		if clean, ok := unfit.stage.cleanLoss(b, t.Steps()); ok {
			t.putBack()
			t.refused.Ints()[0]++
			loss, err = clean, nil
		} else {
			err = errors.Wrap(unfit.stage.cause(), unfit.what)
		}
	}
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

// putBack makes the states what they were before the step.
func (t *trainer) putBack() {
	for _, k := range t.kept {
		k.value.CopyFrom(k.before)
	}
}

// failed puts the states back after a step that failed, and says which one it was.
func (t *trainer) failed(err error) error {
	t.putBack()
	return errors.Wrapf(err, "%s: step %d", t.plan.Name, t.Steps())
}

// Refused is how many steps were refused.
func (t *trainer) Refused() int { return t.refused.Ints()[0] }

// step runs the stages of a phase, each with its updates. The updates of a stage are made together or not at all.
func (t *trainer) step(ph *phase, b *Batch) (loss float64, err error) {
	for _, st := range ph.stages {
		l, err := st.step(b, t.Steps())
		if loss += l; err != nil {
			return loss, err
		}
	}
	return loss, nil
}

// step runs a stage as often as it has to, and hands its results on. The loss is that of the first run.
func (st *stage) step(b *Batch, step int) (loss float64, err error) {
	for i := range st.repeat {
		if err := st.run(b, step); err != nil {
			return 0, err
		}
		l, err := st.update()
		if i == 0 {
			loss = l
		}
		if err != nil {
			return loss, err
		}
	}
	if st.repeat > 1 && st.next != nil {
		if err := st.run(b, step); err != nil {
			return loss, err
		}
	}
	st.handOn()
	return loss, nil
}

// handOn gives the next stage the results of a run.
func (st *stage) handOn() {
	for i, n := range st.out {
		st.next.handed[i].CopyFrom(st.program.Array(n)) // of one type: no error
	}
}

// update lets the optimisers move the parameters, if all is finite.
func (st *stage) update() (loss float64, err error) {
	for _, l := range st.losses {
		loss += l.Scalar()
	}
	if loss-loss != 0 {
		return loss, &notFinite{st, fmt.Sprintf("loss %v", loss)}
	}
	for i, grads := range st.grads {
		if norm := optim.GlobalNorm(grads); norm-norm != 0 {
			return loss, &notFinite{st, fmt.Sprintf("goal %d: gradient of norm %v", i, norm)}
		}
	}
	for i, s := range st.steppers {
		if err := s.Step(st.grads[i]); err != nil {
			return loss, err
		}
	}
	return loss, nil
}

// notFinite is the error of a stage whose losses or directions are not finite.
type notFinite struct {
	stage *stage
	what  string
}

func (e *notFinite) Error() string { return e.what }

// cause says which node is to blame for a result that is not finite.
func (st *stage) cause() error {
	if err := st.program.FirstNonFinite(); err != nil {
		return err
	}
	return errors.New("every node is finite, their sum is not")
}

// cleanLoss is the sum of the goals' losses without perturbation, if all have one and it is finite.
func (st *stage) cleanLoss(b *Batch, step int) (loss float64, ok bool) {
	var nodes []*graph.Node
	for _, goal := range st.goals {
		if goal.Clean == nil {
			return 0, false
		}
		nodes = append(nodes, goal.Clean)
	}
	p, err := st.g.Compile(nodes...)
	if err != nil || st.bind(p) != nil || st.feed(p, b) != nil {
		return 0, false
	}
	p.SetStep(step)
	if p.Run() != nil {
		return 0, false
	}
	for _, n := range nodes {
		loss += p.Array(n).Scalar()
	}
	return loss, loss-loss == 0
}

// bind makes a program of the stage's graph read what is handed to the stage.
func (st *stage) bind(p *graph.Program) error {
	for i, n := range st.in {
		if p.Uses(n) {
			if err := p.Bind(n, st.handed[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// run computes losses and directions of a batch at a step.
func (st *stage) run(b *Batch, step int) error {
	if err := st.feed(st.program, b); err != nil {
		return err
	}
	st.program.SetStep(step)
	return st.program.Run()
}

// feed gives a batch to a program of the stage's graph.
func (st *stage) feed(p *graph.Program, b *Batch) error {
	if st.x != nil && p.Uses(st.x) {
		if err := p.Bind(st.x, b.X); err != nil {
			return err
		}
	}
	if st.y != nil && p.Uses(st.y) {
		return p.Bind(st.y, b.Y)
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
		arena, rest := 0, 0
		for _, st := range ph.stages {
			s := st.program.Stats()
			arena, rest = max(arena, s.ArenaBytes), rest+s.ConstBytes
		}
		most = max(most, arena+rest+handedBytes(ph.stages))
	}
	return most
}

func (t *trainer) Programs() []*graph.Program {
	var list []*graph.Program
	for _, ph := range t.phases {
		for _, st := range ph.stages {
			list = append(list, st.program)
		}
	}
	return list
}

// state is all that a resumed run needs beside the parameters, as one store: the step counter and each optimiser's
// state under the name of its phase and goal.
func (t *trainer) state() (*graph.Params, error) {
	all := &graph.Params{DType: t.spec.DType}
	for _, q := range []*graph.Param{{Name: "trainer/steps", Value: t.steps}, {Name: "trainer/refused", Value: t.refused}} {
		q.State = true
		if err := all.Add(q); err != nil {
			return nil, err
		}
	}
	for i, ph := range t.phases {
		j := 0
		for _, st := range ph.stages {
			for _, s := range st.steppers {
				for q := range s.State().All() {
					name := fmt.Sprintf("trainer/%d/%d/%s", i, j, q.Name)
					if err := all.Add(&graph.Param{Name: name, Value: q.Value, State: true}); err != nil {
						return nil, err
					}
				}
				j++
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
