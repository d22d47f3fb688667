package rules

import (
	"fmt"
	"math"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Probing is what a rule that learns from losses alone has to say for itself, as Plan is for rules with gradients.
// Its programs hold the forward pass and nothing else. A rule is its Step:
//
//	Step: func(p *Probe) (float64, error) { // two-sided differences along one random direction
//		plus, minus, err := p.Pair(0, 1e-3)
//		if err != nil {
//			return 0, err
//		}
//		return (plus + minus) / 2, p.Descend((plus - minus) / 2e-3)
//	}
//
// A loss that is not finite makes Descend refuse the step: nothing moves, the step counts and is reported by Refused.
// If the loss is not finite without perturbation either, Trainer.Step returns the error that names the first node.
type Probing struct {
	Name string
	// Step evaluates the batch's loss where it wants, calls Descend at most once, and returns the loss to report.
	Step      func(p *Probe) (loss float64, err error)
	Optimizer optim.Optimizer // nil means SGD with its defaults; plain SGD needs no memory for it
	Options   optim.Options

	Perturbation Perturbation
	Sparsity     float64 // share of the entries that never move; 0 for none
	Mask         Mask    // which they are
	// History is the share that an average of directions keeps at each step; 0 for none. The estimate has the average in
	// place of the direction; the loss is still probed along the direction. It takes the memory of the parameters.
	History float64
	// Copies is how many copies of the parameters there are room for. Copy 0 is where the step began, and parameters are
	// restored from it, exactly; without one, perturbing forth and back leaves the rounding errors of three sums.
	Copies int

	// Before and After are phases of another kind of training, before or after this one; see Plan.Phases.
	Before, After []Phase
}

// A Probe is the loss of one batch as a function of the parameters, and the parameters to move. Direction k of a step,
// k = 0, 1, ..., is random, the same whenever it is asked for within the step.
type Probe struct {
	rule      string
	batch     batchLoss
	moves     perturber
	params    []*graph.Param
	copies    [][]*graph.Array
	undo      shift  // the last move back, put off until it can be made together with the step
	origin    uint64 // of the present step's keys
	keys      []uint64
	slopes    []float64
	refuse    bool
	descended bool  // since the step began
	refused   []int // the one element of the count
}

// Loss is the batch's loss at the present parameters. Within a step every evaluation sees the same random numbers, as
// of dropout, and the same running statistics; those that the first one left are kept.
func (p *Probe) Loss() (float64, error) {
	p.settle()
	loss, err := p.batch.evaluate()
	p.refuse = p.refuse || loss-loss != 0
	return loss, err
}

// At is the loss with by times direction k added to the parameters, which are then as before.
func (p *Probe) At(k int, by float64) (float64, error) {
	p.move(k, by)
	loss, err := p.Loss()
	return loss, first(err, p.back(k, -by))
}

// Pair is the losses with by times direction k added and subtracted; the parameters are then as before.
func (p *Probe) Pair(k int, by float64) (plus, minus float64, err error) {
	p.move(k, by)
	if plus, err = p.Loss(); err == nil {
		p.move(k, -2*by)
		minus, err = p.Loss()
		by = -by
	}
	return plus, minus, first(err, p.back(k, -by))
}

// back undoes a move.
func (p *Probe) back(k int, by float64) error {
	if len(p.copies) > 0 && !p.descended {
		return p.Restore(0)
	}
	p.undo = shift{p.key(k), by}
	return nil
}

func (p *Probe) move(k int, by float64) {
	p.settle()
	p.moves.move(p.key(k), by)
}

// settle makes a move that was put off.
func (p *Probe) settle() {
	if p.undo.by != 0 {
		p.moves.move(p.undo.key, p.undo.by)
		p.undo.by = 0
	}
}

// Descend makes one step of the optimiser against the mean of slope·direction over directions 0, 1, ..., one slope
// each; or none, if a loss of this step or a slope was not finite.
func (p *Probe) Descend(slopes ...float64) error {
	p.keys, p.slopes = p.keys[:0], append(p.slopes[:0], slopes...)
	for k, s := range p.slopes {
		p.keys = append(p.keys, p.key(k))
		p.refuse = p.refuse || s-s != 0
	}
	if p.refuse {
		return nil
	}
	undo := p.undo
	p.undo.by, p.descended = 0, true
	return p.moves.descend(undo, p.keys, p.slopes)
}

// Save makes copy i of the present parameters. It is an error if the rule has no room for it.
func (p *Probe) Save(i int) error { return p.copy("Save", i, false) }

// Restore gives the parameters the values of copy i. It is an error if the rule has no such copy.
func (p *Probe) Restore(i int) error { return p.copy("Restore", i, true) }

func (p *Probe) copy(op string, i int, back bool) error {
	p.settle()
	if i < 0 || i >= len(p.copies) {
		return graph.Fail(p.rule+": "+op, "i", fmt.Sprintf("a copy below %d", len(p.copies)), i)
	}
	for j, q := range p.params {
		to, from := p.copies[i][j], q.Value
		if back {
			to, from = from, to
		}
		if err := to.CopyFrom(from); err != nil {
			return err
		}
	}
	return nil
}

// Reflect puts the parameters at the mirror image of their present place about copy 0, which the rule must have.
func (p *Probe) Reflect() error {
	p.settle()
	if len(p.copies) == 0 {
		return graph.Fail(p.rule+": Reflect", "Copies", "at least 1", 0)
	}
	for j, q := range p.params {
		for i := range q.Value.Size() {
			q.Value.Set(i, 2*p.copies[0][j].At(i)-q.Value.At(i))
		}
	}
	return nil
}

// key identifies direction k of the present step.
func (p *Probe) key(k int) uint64 { return p.origin + uint64(k) }

// maxDirections and maxPeers bound what the keys of a step are made of.
const maxDirections, maxPeers = 1 << 12, 1 << 12

func originOf(step, peer int) uint64 {
	return uint64(step)*maxPeers*maxDirections + uint64(peer)*maxDirections
}

// begin readies the probe for the step of a peer.
func (p *Probe) begin(step, peer int) error {
	p.origin, p.refuse, p.descended = originOf(step, peer), false, false
	p.batch.begin(step)
	if len(p.copies) == 0 {
		return nil
	}
	return p.Save(0)
}

// end finishes the step that reports loss: a refused one is counted, puts the states back and reports the loss
// without perturbation, whose not being finite is an error.
func (p *Probe) end(loss float64) (float64, error) {
	p.settle()
	if !p.refuse {
		p.batch.keep()
		return loss, nil
	}
	loss, err := p.batch.evaluate()
	p.batch.restore()
	if err == nil && loss-loss != 0 {
		err = p.batch.notFinite(loss)
	}
	if err == nil {
		p.refused[0]++
	}
	return loss, err
}

// batchLoss is the loss of one batch, to be evaluated any number of times.
type batchLoss struct {
	program       *graph.Program
	loss          *graph.Array
	states        []*graph.Param // running statistics and the like
	before, after []*graph.Array // their values when the step began and after its first evaluation
	evaluations   int
}

func newBatchLoss(program *graph.Program, loss *graph.Array, params *graph.Params) batchLoss {
	l := batchLoss{program: program, loss: loss}
	for q := range params.All() {
		if q.State {
			l.states = append(l.states, q)
			l.before, l.after = append(l.before, q.Value.Clone()), append(l.after, q.Value.Clone())
		}
	}
	return l
}

func (l *batchLoss) begin(step int) {
	l.program.SetStep(step)
	l.evaluations = 0
	for i, q := range l.states {
		l.before[i].CopyFrom(q.Value)
	}
}

func (l *batchLoss) evaluate() (float64, error) {
	l.restore()
	if err := l.program.Run(); err != nil {
		return math.NaN(), err
	}
	if l.evaluations == 0 {
		for i, q := range l.states {
			l.after[i].CopyFrom(q.Value)
		}
	}
	l.evaluations++
	return l.loss.Scalar(), nil
}

// restore puts the states back to where the step began.
func (l *batchLoss) restore() {
	for i, q := range l.states {
		q.Value.CopyFrom(l.before[i])
	}
}

// keep leaves the states as after the step's first evaluation.
func (l *batchLoss) keep() {
	for i, q := range l.states {
		if l.evaluations > 0 {
			q.Value.CopyFrom(l.after[i])
		}
	}
}

func (l *batchLoss) notFinite(loss float64) error {
	if err := l.program.FirstNonFinite(); err != nil {
		return errors.Wrapf(err, "loss %v", loss)
	}
	return errors.Errorf("loss %v", loss)
}

// Trainer compiles the forward program.
func (p Probing) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	t, err := p.prober(model, objective, spec)
	if err != nil { // a nil *prober must not become a Trainer
		return nil, err
	}
	return t, nil
}

func (p Probing) prober(model layers.Layer, objective objectives.Objective, spec Spec) (*prober, error) {
	if p.Optimizer == nil {
		p.Optimizer = optim.SGD{}
	}
	var params []*graph.Param
	forward := func(s *graph.Scope, x, y *graph.Node) []Goal {
		loss := objective(model.Apply(s, x), y)
		for _, n := range s.Graph().Trainable(loss) {
			params = append(params, s.Graph().Param(n))
		}
		return []Goal{{Loss: loss}}
	}
	plan := Plan{Name: p.Name, Predict: model.Apply, Optimizer: p.Optimizer, Options: p.Options}
	plan.Phases = append(append(append(plan.Phases, p.Before...), forward), p.After...)
	inner, err := plan.Trainer(spec)
	if err != nil {
		return nil, err
	}
	t := &prober{trainer: inner.(*trainer), step: p.Step, at: len(p.Before)}
	if err := t.prepare(p, params); err != nil {
		return nil, errors.Wrap(err, p.Name)
	}
	return t, nil
}

// prober is the Trainer of every Probing: a Plan's whose phase of number at steps by probing.
type prober struct {
	*trainer
	step  func(*Probe) (float64, error)
	at    int
	probe *Probe
}

func (t *prober) prepare(p Probing, params []*graph.Param) error {
	ph := t.phases[t.at]
	stepper, err := optim.New(p.Optimizer, params, p.Options)
	if err != nil {
		return err
	}
	ph.steppers[0] = stepper
	t.probe = &Probe{rule: p.Name, params: params, refused: t.refused.Ints()}
	t.probe.batch = newBatchLoss(ph.program, ph.losses[0], t.params)
	for range p.Copies {
		var arrays []*graph.Array
		for _, q := range params {
			arrays = append(arrays, q.Value.Clone())
		}
		t.probe.copies = append(t.probe.copies, arrays)
	}
	t.probe.moves, err = newPerturber(p, params, stepper, t.spec.Seed)
	return err
}

// Step makes a step of the active phase.
func (t *prober) Step(b *Batch) (float64, error) {
	if t.active != t.at {
		return t.trainer.Step(b)
	}
	if err := t.feed(b); err != nil {
		return 0, err
	}
	if err := t.probe.begin(t.Steps(), 0); err != nil {
		return 0, errors.Wrap(err, t.plan.Name)
	}
	loss, err := t.step(t.probe)
	if err == nil {
		loss, err = t.probe.end(loss)
	}
	if err != nil {
		t.probe.settle()
		t.probe.batch.restore()
		return loss, errors.Wrapf(err, "%s: step %d", t.plan.Name, t.Steps())
	}
	t.steps.Ints()[0]++
	return loss, nil
}

// feed gives a batch to the program of the active phase.
func (t *trainer) feed(b *Batch) error {
	ph := t.phases[t.active]
	if b.N != t.spec.Batch {
		return graph.Fail(t.plan.Name, "batch", fmt.Sprintf("%d examples", t.spec.Batch), b.N)
	}
	return ph.feed(ph.program, b)
}

// Refused is how many steps were made without an update because a loss under perturbation, or a direction, was not finite.
func Refused(t Trainer) int {
	if r, ok := t.(interface{ Refused() int }); ok {
		return r.Refused()
	}
	return 0
}
