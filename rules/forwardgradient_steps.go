package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// stepPart is what a step of ForwardGradient moves.
type stepPart struct {
	params []*graph.Param
	share  float64 // the probability that a step moves them
}

// parts makes the parameters, and divides them into layers if steps move one only.
func (r ForwardGradient) parts(model layers.Layer, objective objectives.Objective, spec Spec) (*graph.Params, []stepPart, error) {
	if err := spec.check(); err != nil {
		return nil, nil, err
	}
	store := spec.params()
	var all []*graph.Param
	_, err := graph.Build(store, func(s *graph.Scope) {
		x, y := spec.input(s), spec.target(s)
		for _, n := range s.Graph().Trainable(objective(model.Apply(s.ForTraining(), x), y)) {
			all = append(all, s.Graph().Param(n))
		}
	})
	if err != nil || !r.OneLayer || len(all) == 0 {
		return store, []stepPart{{all, 1}}, err
	}
	var names []string
	var parts []stepPart
	count := 0
	for _, q := range all {
		layer := q.Name[:strings.LastIndexByte(q.Name, '/')+1]
		i := slices.Index(names, layer)
		if i < 0 {
			i, names, parts = len(names), append(names, layer), append(parts, stepPart{})
		}
		parts[i].params = append(parts[i].params, q)
		count += q.Value.Size()
	}
	for i := range parts {
		for _, q := range parts[i].params {
			parts[i].share += float64(q.Value.Size()) / float64(count)
		}
	}
	return store, parts, nil
}

// partDraw draws the part of each step.
type partDraw struct {
	upTo   []float64 // the shares of the parts up to each, added
	stream graph.Stream
	normal [1]float64
}

func newPartDraw(parts []stepPart, seed uint64) partDraw {
	d := partDraw{stream: graph.NewStream(seed, "forward-gradient/layer")}
	sum := 0.0
	for _, p := range parts {
		sum += p.share
		d.upTo = append(d.upTo, sum)
	}
	return d
}

// at is the part of a step: that in which a uniform number, the distribution function of a normal one, falls.
func (d *partDraw) at(step int) int {
	last := len(d.upTo) - 1
	if last == 0 {
		return 0
	}
	graph.FillNormal(d.stream, uint64(step), 0, d.normal[:])
	u := math.Erfc(-d.normal[0]/math.Sqrt2) / 2
	for i, v := range d.upTo {
		if u < v {
			return i
		}
	}
	return last
}

// shares are the probabilities of the parts.
func (d *partDraw) shares() []float64 {
	list := slices.Clone(d.upTo)
	for i := len(list) - 1; i > 0; i-- {
		list[i] -= list[i-1]
	}
	return list
}

// only makes one part certain.
func (d *partDraw) only(part int) {
	for i := range d.upTo {
		d.upTo[i] = 0
		if i >= part {
			d.upTo[i] = 1
		}
	}
}

// forwardSteps is ForwardGradient's trainer: a Plan's with a phase for each part.
type forwardSteps struct {
	*trainer
	draw    partDraw
	updates []func(slopes []*graph.Array, step int) error // of each phase; none where goals have directions
	stored  func() (*forwardSteps, error)                 // the same with all directions in memory, to be looked at
	warm    bool                                          // all programs have run

	narrow redrawnBuffers[float32] // of the updates, for parameters of either type
	wide   redrawnBuffers[float64]
}

// redraw lets a phase move its part along directions that it draws again.
func (t *forwardSteps) redraw(r ForwardGradient, part stepPart, ph *phase) error {
	r.Options.Schedule = &runClock{r.Options.Schedule, t.steps.Ints()}
	stepper, err := optim.New(r.Optimizer, part.params, r.Options)
	if err != nil {
		return err
	}
	ph.steppers[0] = stepper
	if len(part.params) > 0 && part.params[0].Value.DType == graph.Float64 {
		t.updates = append(t.updates, newRedrawn(r, part, stepper, t.spec.Seed, &t.wide).update)
	} else {
		t.updates = append(t.updates, newRedrawn(r, part, stepper, t.spec.Seed, &t.narrow).update)
	}
	return nil
}

// Step trains on one batch.
func (t *forwardSteps) Step(b *Batch) (float64, error) {
	if b.N != t.spec.Batch {
		return 0, graph.Fail(t.plan.Name, "batch", fmt.Sprintf("%d examples", t.spec.Batch), b.N)
	}
	t.keep()
	if err := t.warmUp(b); err != nil {
		return 0, t.failed(err)
	}
	t.active = t.draw.at(t.Steps())
	if t.updates == nil {
		return t.trainer.Step(b)
	}
	loss, err := t.move(t.phases[t.active].stage, b)
	if err != nil {
		return loss, t.failed(err)
	}
	t.steps.Ints()[0]++
	return loss, nil
}

// warmUp runs all programs before the first step, so that none allocates in a later one.
func (t *forwardSteps) warmUp(b *Batch) error {
	if t.warm || len(t.phases) == 1 {
		return nil
	}
	for _, ph := range t.phases {
		if err := ph.run(b, t.Steps()); err != nil {
			return err
		}
	}
	t.putBack()
	t.warm = true
	return nil
}

// move runs the forward pass and moves the parameters, or changes none of them.
func (t *forwardSteps) move(st *stage, b *Batch) (float64, error) {
	if err := st.run(b, t.Steps()); err != nil {
		return 0, err
	}
	loss := st.losses[0].Scalar()
	if loss-loss != 0 {
		return loss, errors.Wrapf(st.cause(), "loss %v", loss)
	}
	for _, d := range st.losses[1:] {
		if v := d.Scalar(); v-v != 0 {
			t.putBack()
			t.refused.Ints()[0]++
			return loss, nil
		}
	}
	return loss, t.updates[t.active](st.losses[1:], t.Steps())
}

// runClock is a schedule by the steps of the run instead of those of one stepper.
type runClock struct {
	of    optim.Schedule // nil means a constant rate
	steps []int          // the one element of the trainer's count
}

func (c *runClock) Rate(base float64, _ int) float64 {
	if c.of == nil {
		return base
	}
	return c.of.Rate(base, c.steps[0])
}

// Check passes on what the schedule says of its numbers.
func (c *runClock) Check() error {
	if s, ok := c.of.(interface{ Check() error }); ok {
		return s.Check()
	}
	return nil
}
