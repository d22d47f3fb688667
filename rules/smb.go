package rules

import (
	"fmt"
	"math"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// SMB is stochastic gradient descent with model building (S. Birbil, Ö. Martin, G. Onay, F. Öztoprak 2021, arXiv
// 2111.07058). A step s = -LR g is tried and kept if it lowers the same batch's loss by at least C·LR·|g|². If it does
// not, the gradients at its two ends make a quadratic model of every tensor, whose minimum
//
//	s_new = -|s|² (2σI + s yᵀ + y sᵀ)⁻¹ g,  y = g' - g,  2σ = |s|(|y| + |g|/Eta) - yᵀs
//
// is taken instead: never longer than Eta·|s|, and always downhill. It costs a forward pass more than backpropagation,
// and on failure a backward pass more; and the memory of the parameters twice.
type SMB struct {
	LR  float64 // of the trial step; 0 means 0.5
	Eta float64 // 0 means 0.99
	C   float64 // of the sufficient decrease; 0 means 0.1

	// Independent is SMBi: after a failure the parameters stay, and the model step is made on the next batch, with the old
	// gradient g and y from the new batch.
	Independent bool

	// BatchesPerEpoch switches the automatic schedule on: after so many steps, LR is multiplied by Beta if the share of
	// model steps was above Gamma (half of it for SMBi), and else divided by it, up to LRMax.
	BatchesPerEpoch    int
	Gamma, Beta, LRMax float64 // 0 means 0.05, 0.9, 20
}

// Name is "smb".
func (SMB) Name() string { return "smb" }

func (r SMB) withDefaults() (SMB, error) {
	for _, f := range []struct {
		name          string
		value         *float64
		standard, max float64
	}{{"LR", &r.LR, 0.5, math.Inf(1)}, {"Eta", &r.Eta, 0.99, 1}, {"C", &r.C, 0.1, 1}, {"Gamma", &r.Gamma, 0.05, 1}, {"Beta", &r.Beta, 0.9, 1}, {"LRMax", &r.LRMax, 20, math.Inf(1)}} {
		if *f.value == 0 {
			*f.value = f.standard
		}
		if !(*f.value > 0 && *f.value < f.max) {
			return r, graph.Fail(r.Name(), f.name, fmt.Sprintf("a number in (0, %v)", f.max), *f.value)
		}
	}
	if r.BatchesPerEpoch < 0 {
		return r, graph.Fail(r.Name(), "BatchesPerEpoch", "at least 0", r.BatchesPerEpoch)
	}
	return r, nil
}

// Trainer compiles two programs: loss and gradient, and the loss alone.
func (r SMB) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &smb{rule: r}
	var g *graph.Graph
	var loss *graph.Node
	phase := func(s *graph.Scope, x, y *graph.Node) []Goal {
		g, loss = s.Graph(), objective(model.Apply(s, x), y)
		goal := Minimize(loss, g.Trainable(loss))
		for _, n := range goal.Params {
			t.list = append(t.list, g.Param(n))
		}
		return []Goal{goal}
	}
	inner, err := Plan{Name: r.Name(), Phases: []Phase{phase}, Predict: model.Apply, Optimizer: optim.SGD{}}.Trainer(spec)
	if err != nil {
		return nil, err
	}
	t.trainer = inner.(*trainer)
	if t.trial, err = g.Compile(loss); err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	t.after = t.trial.Array(loss)
	if err := t.prepare(); err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	return t, nil
}

// smb is SMB's trainer.
type smb struct {
	*trainer
	rule   SMB
	list   []*graph.Param
	batch  batchLoss
	trial  *graph.Program // the loss alone
	after  *graph.Array   // its value
	start  []*graph.Array // parameters at the beginning of the step
	g      []*graph.Array // gradient there
	before []*graph.Array // the gradient of the batch that failed, for SMBi

	lr     []float64
	counts []int // model steps, those since LR was changed, steps since then, whether SMBi has failed
}

const (
	modelSteps = iota
	modelsOfEpoch
	stepsOfEpoch
	failed
	countsOfSMB
)

func (t *smb) prepare() error {
	ph := t.phases[0]
	t.batch = newBatchLoss(ph.program, ph.losses[0], t.params)
	lr, counts := graph.NewArray(graph.Float64, 1), graph.NewArray(graph.Int, countsOfSMB)
	t.lr, t.counts = lr.Float64s(), counts.Ints()
	t.lr[0] = t.rule.LR
	state := []*graph.Param{{Name: "smb/lr", Value: lr, State: true}, {Name: "smb/counts", Value: counts, State: true}}
	for _, q := range t.list {
		t.start, t.g = append(t.start, q.Value.Clone()), append(t.g, q.Value.Clone())
		if t.rule.Independent {
			b := q.Value.Clone()
			b.Zero()
			t.before = append(t.before, b)
			state = append(state, &graph.Param{Name: "smb/before/" + q.Name, Value: b, State: true})
		}
	}
	for _, q := range state {
		if err := ph.steppers[0].State().Add(q); err != nil {
			return err
		}
	}
	return nil
}

// ModelSteps is how many steps of a trainer of SMB were model steps; 0 for other trainers.
func ModelSteps(t Trainer) int {
	if s, ok := t.(*smb); ok {
		return s.counts[modelSteps]
	}
	return 0
}

// Programs lists both programs.
func (t *smb) Programs() []*graph.Program { return append(t.trainer.Programs(), t.trial) }

// ActivationBytes is the memory of both programs.
func (t *smb) ActivationBytes() int {
	s := t.trial.Stats()
	return t.trainer.ActivationBytes() + s.ArenaBytes + s.ConstBytes
}

// Step makes a trial step or a model step. A model that is not finite, as its gradient was not, is refused.
func (t *smb) Step(b *Batch) (float64, error) {
	if err := t.feed(b); err != nil {
		return 0, err
	}
	loss, err := t.step(b)
	if err != nil {
		return loss, errors.Wrapf(err, "%s: step %d", t.plan.Name, t.Steps())
	}
	t.schedule()
	t.steps.Ints()[0]++
	return loss, nil
}

func (t *smb) step(b *Batch) (float64, error) {
	ph := t.phases[0]
	if err := ph.feed(t.trial, b); err != nil {
		return 0, err
	}
	t.batch.begin(t.Steps())
	t.trial.SetStep(t.Steps())
	loss, err := t.batch.evaluate()
	if err == nil && loss-loss != 0 {
		err = t.batch.notFinite(loss)
		t.batch.restore()
	}
	if err != nil {
		return loss, err
	}
	var norm2 float64
	for i, q := range t.list {
		t.start[i].CopyFrom(q.Value)
		t.g[i].CopyFrom(ph.grads[0][i])
		norm2 += sumSquares(t.g[i])
		addScaled(q.Value, -t.lr[0], t.g[i])
	}
	pending := t.counts[failed] == 1
	if !pending {
		if err := t.trial.Run(); err != nil {
			return loss, err
		}
		if t.after.Scalar() <= loss-t.rule.C*t.lr[0]*norm2 || norm2 < 1e-16 {
			t.batch.keep()
			return loss, nil
		}
		if t.rule.Independent {
			for i, q := range t.list {
				q.Value.CopyFrom(t.start[i])
				t.before[i].CopyFrom(t.g[i])
			}
			t.counts[failed] = 1
			t.batch.keep()
			return loss, nil
		}
	}
	t.counts[failed] = 0
	return loss, t.model()
}

// model makes the model step from the gradient at the trial point, where the parameters are.
func (t *smb) model() error {
	if _, err := t.batch.evaluate(); err != nil {
		return err
	}
	refuse := false
	for i, q := range t.list {
		old := t.g[i]
		if t.rule.Independent {
			old = t.before[i]
		}
		g, g2 := t.g[i], t.phases[0].grads[0][i]
		q.Value.CopyFrom(t.start[i])
		if sumSquares(g) == 0 {
			continue
		}
		s, c, y := modelStep(measure(g, g2, old), t.lr[0], t.rule.Eta)
		if sum := s + c + y; sum-sum != 0 {
			refuse = true
			break
		}
		// s_new = s·(-LR g) + c·old + y·(g' - g)
		addScaled(q.Value, -s*t.lr[0]-y, g)
		addScaled(q.Value, c, old)
		addScaled(q.Value, y, g2)
	}
	if refuse {
		for i, q := range t.list {
			q.Value.CopyFrom(t.start[i])
		}
		t.batch.restore()
		t.refused.Ints()[0]++
		return nil
	}
	t.batch.keep()
	t.counts[modelSteps]++
	t.counts[modelsOfEpoch]++
	return nil
}

// schedule is the automatic schedule's part of a step.
func (t *smb) schedule() {
	r, n := t.rule, t.rule.BatchesPerEpoch
	if n == 0 {
		return
	}
	if t.counts[stepsOfEpoch]++; t.counts[stepsOfEpoch] < n {
		return
	}
	gamma := r.Gamma
	if r.Independent {
		gamma /= 2
	}
	if float64(t.counts[modelsOfEpoch]) > gamma*float64(n) {
		t.lr[0] *= r.Beta
	} else if t.lr[0]/r.Beta <= r.LRMax {
		t.lr[0] /= r.Beta
	}
	t.counts[stepsOfEpoch], t.counts[modelsOfEpoch] = 0, 0
}

// products are the inner products of gradients g and g' at the ends of the trial step, y = g' - g, and the gradient
// that the model starts from.
type products struct{ gg, yy, yg, yOld, gOld float64 }

func measure(g, g2, old *graph.Array) products {
	if g.DType == graph.Float64 {
		return measured[float64](g, g2, old)
	}
	return measured[float32](g, g2, old)
}

func measured[T graph.Float](g, g2, old *graph.Array) (p products) {
	a := graph.Data[T](g)
	b, c := graph.Data[T](g2)[:len(a)], graph.Data[T](old)[:len(a)]
	for i, v := range a {
		gi, oi := float64(v), float64(c[i])
		y := float64(b[i]) - gi
		p.gg += gi * gi
		p.yy += y * y
		p.yg += y * gi
		p.yOld += y * oi
		p.gOld += gi * oi
	}
	return p
}

// modelStep gives the coefficients of s, the old gradient and y in the minimum of the model, for s = -lr g.
func modelStep(p products, lr, eta float64) (cs, cg, cy float64) {
	ss, ys, sOld := lr*lr*p.gg, -lr*p.yg, -lr*p.gOld
	sigma := 0.5 * (math.Sqrt(ss)*(math.Sqrt(p.yy)+math.Sqrt(p.gg)/eta) - ys)
	mixed := ys + 2*sigma
	theta := mixed*mixed - ss*p.yy
	cg = -ss / (2 * sigma)
	cs = cg / theta * (p.yy*sOld - mixed*p.yOld)
	cy = cg / theta * (ss*p.yOld - mixed*sOld)
	return cs, cg, cy
}

func sumSquares(a *graph.Array) (sum float64) {
	if a.DType == graph.Float32 {
		return compute.SumSquares(a.Float32s())
	}
	for _, v := range a.Float64s() {
		sum += v * v
	}
	return sum
}

// addScaled adds c·b to a.
func addScaled(a *graph.Array, c float64, b *graph.Array) {
	if a.DType == graph.Float32 {
		x, y := a.Float32s(), b.Float32s()
		for i, v := range y[:len(x)] {
			x[i] += float32(c * float64(v))
		}
		return
	}
	x, y := a.Float64s(), b.Float64s()
	for i, v := range y[:len(x)] {
		x[i] += c * v
	}
}
