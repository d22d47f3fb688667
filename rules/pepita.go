package rules

import (
	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// PEPITAMode says which activities PEPITA multiplies. In these formulas h is the activity of a layer in the first pass,
// h~ in the second, x and x~ the activity (or input) before it, t the target, and y = t + e the output with its error;
// directions are means over the batch. TimeLocal's two changes nearly cancel, so what is left depends on the learning
// rate too: it needs a stronger feedback than the others, such as FeedbackScale 0.3.
type PEPITAMode int

const (
	Modulated PEPITAMode = iota // (h - h~) x~, output layer e x~
	Forward                     // (h - h~) x, output layer e x
	Hebbian                     // h x - h~ x~, output layer y x - t x~
	TimeLocal                   // h x (output layer y x) at once, then -h~ x~ (-t x~) from a pass with the changed weights
)

// ErrorSign says how the projected error changes the input of PEPITA's second pass.
type ErrorSign int

const (
	SubtractError ErrorSign = iota // x - F e (Srinivasan et al.)
	AddError                       // x + F e (Dellaferrera, Kreiman)
)

// OutputError says which pass's error trains PEPITA's output layer.
type OutputError int

const (
	FirstPass  OutputError = iota // Srinivasan et al.
	SecondPass                    // Dellaferrera, Kreiman
)

// PEPITA trains by two forward passes: the error e of the first, projected to the input by a matrix F that is not
// trained, changes the input to x - F e for the second, and each weight changes by a product of the activities before
// and behind it in the two passes (G. Dellaferrera, G. Kreiman 2022, arXiv 2201.11665; in the form of R. Srinivasan et
// al. 2023, arXiv 2302.05440). Nothing is propagated back through a layer. Both passes have the same dropout masks.
//
// The error is the objective's derivative by the output times the batch size: softmax - onehot for cross-entropy. The
// activity of a layer of weights, dense or convolutional, is its result behind the activation function and before
// pooling, as in the authors' code; before a bias it is 1. A model needs at least two layers of weights. The matrices
// of feedback belong to the rule and are states of its store: "pepita/feedback", or "pepita/LAYER/weight" by layers.
type PEPITA struct {
	Optimizer     optim.Optimizer // nil means SGD with LR 0.01, momentum 0.9 and weight decay 1e-4
	Options       optim.Options
	Mode          PEPITAMode
	Feedback      Feedback
	FeedbackScale float64 // 0 means 0.05: see Feedback
	Sign          ErrorSign
	OutputError   OutputError // SecondPass in the modes Modulated and Forward only
	Normalize     bool        // divide each example's activity of a hidden layer by its Euclidean norm, in prediction too
	Mirror        *WeightMirror
}

// Name is "pepita".
func (PEPITA) Name() string { return "pepita" }

// Trainer compiles both passes and the products into one program; two programs for TimeLocal, whose weights change
// between the passes.
func (r PEPITA) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective,
		setting{"Mode", r.Mode >= Modulated && r.Mode <= TimeLocal, "Modulated, Forward, Hebbian or TimeLocal", r.Mode},
		setting{"Sign", r.Sign == SubtractError || r.Sign == AddError, "SubtractError or AddError", r.Sign},
		setting{"OutputError", r.OutputError == FirstPass || r.OutputError == SecondPass && r.Mode <= Forward,
			"FirstPass, or SecondPass in the modes Modulated and Forward", r.OutputError},
		setting{"Mirror", r.Mirror == nil || r.Feedback == Layerwise, "nil unless Feedback is Layerwise", r.Mirror}); err != nil {
		return nil, err
	}
	feedback, err := newFeedback(r.Name(), r.Feedback, r.FeedbackScale)
	if err != nil {
		return nil, err
	}
	plan := Plan{
		Name: r.Name(),
		Predict: func(s *graph.Scope, x *graph.Node) *graph.Node {
			return r.pass(s, model, x).out
		},
		Optimizer: orPEPITA(r.Optimizer),
		Options:   r.Options,
	}
	if r.Mirror != nil {
		plan.Phases = append(plan.Phases, r.Mirror.phase(r, feedback, model, objective))
	}
	if r.Mode == TimeLocal {
		plan.Blocks = r.timeLocal(feedback, model, objective)
	} else {
		plan.Phases = append(plan.Phases, func(s *graph.Scope, x, y *graph.Node) []Goal {
			p := r.pass(s, model, x)
			p.judge(objective, y)
			return []Goal{p.goal(s, p.loss, r.directions(s, p, feedback))}
		})
	}
	t, err := plan.Trainer(spec)
	if err != nil || r.Mirror == nil {
		return t, err
	}
	return r.Mirror.trainer(t.(*trainer))
}

// timeLocal is the two passes as blocks, each of which learns before the next one begins.
func (r PEPITA) timeLocal(feedback feedback, model layers.Layer, objective objectives.Objective) *BlockLocal {
	return &BlockLocal{N: 2, Block: func(s *graph.Scope, i int, in []*graph.Node, y *graph.Node) ([]*graph.Node, []Goal) {
		p := r.pass(s, model, in[0])
		d := localProducts{}
		if i == 0 {
			p.judge(objective, y)
			r.hebbian(p, d, 1, graph.Add(p.ideal(), p.e), p.out, graph.Same)
			return []*graph.Node{p.x, p.e}, []Goal{p.goal(s, p.loss, d)}
		}
		p.target, p.e = y, in[1]
		out, copied := r.secondPass(s, p, feedback)
		r.hebbian(p, d, -1, p.ideal(), out, copied)
		return nil, []Goal{p.goal(s, s.Const(0), d)}
	}}
}

// pass builds the model with its layers of weights.
func (r PEPITA) pass(s *graph.Scope, model layers.Layer, x *graph.Node) *firstPass {
	p := newPass(r.Name(), s, model, x)
	if r.Normalize {
		p.normalize(s)
	}
	return p
}

// secondPass is the output for the changed input, with the counterparts of the first pass's nodes.
func (r PEPITA) secondPass(s *graph.Scope, p *firstPass, feedback feedback) (out *graph.Node, copied func(*graph.Node) *graph.Node) {
	push := feedback.project(s, p)
	if r.Sign == SubtractError {
		push = graph.Neg(push)
	}
	changed := graph.Add(p.x, push)
	return graph.Inject(p.out, map[*graph.Node]graph.Injection{
		p.x: func(*graph.Node, func(*graph.Node) *graph.Node) *graph.Node { return changed },
	})
}

// directions is the products of one program's two passes.
func (r PEPITA) directions(s *graph.Scope, p *firstPass, feedback feedback) localProducts {
	out, copied := r.secondPass(s, p, feedback)
	d := localProducts{}
	if r.Mode == Hebbian {
		r.hebbian(p, d, 1, graph.Add(p.ideal(), p.e), p.out, graph.Same)
		r.hebbian(p, d, -1, p.ideal(), out, copied)
		return d
	}
	e, errorOut, errorOf := p.e, p.out, graph.Same
	if r.OutputError == SecondPass {
		e, errorOut, errorOf = outputError(p.objective(out, p.target), out), out, copied
	}
	before := copied
	if r.Mode == Forward {
		before = graph.Same
	}
	for _, l := range p.sites {
		if l.head {
			d.add(l, graph.VJP([]*graph.Node{errorOut}, []*graph.Node{e}, []*graph.Node{errorOf(l.logit)})[0], before)
			continue
		}
		d.add(l, graph.Sub(l.activity, copied(l.activity)), before)
	}
	return d
}

// hebbian adds the products of one pass with a sign; top is the activity behind the output layer.
func (r PEPITA) hebbian(p *firstPass, d localProducts, sign float64, top, out *graph.Node, copied func(*graph.Node) *graph.Node) {
	for _, l := range p.sites {
		h := copied(l.activity)
		if l.head {
			h = graph.VJP([]*graph.Node{out}, []*graph.Node{top}, []*graph.Node{copied(l.logit)})[0]
		}
		d.add(l, graph.Scale(h, sign), copied)
	}
}

// A WeightMirror brings PEPITA's layerwise feedback closer to the weights before training begins: each layer is driven
// by noise, and its matrix of feedback B moves along the correlation of noise ξ and response, B += LR (ξᵀr/batch -
// Decay B), after which all B are scaled alike so that F keeps its standard deviation (M. Akrout et al. 2019, arXiv
// 1904.05391; R. Srinivasan et al. 2023, arXiv 2302.05440). The response is the layer's activity, of the output layer
// its sum. Weights do not change meanwhile.
type WeightMirror struct {
	Epochs int     // before training; 0 means 2
	Every  int     // and beside training in each so-manieth epoch; 0 means never
	LR     float64 // 0 means 0.1
	Decay  float64 // 0 means 0.5
	Noise  float64 // standard deviation of ξ; 0 means 0.1
}

// phase mirrors all layers once.
func (m WeightMirror) phase(r PEPITA, feedback feedback, model layers.Layer, objective objectives.Objective) Phase {
	rate, decay, noise := orDefault(m.LR, 0.1), orDefault(m.Decay, 0.5), orDefault(m.Noise, 0.1)
	return func(s *graph.Scope, x, y *graph.Node) []Goal {
		p := r.pass(s, model, x)
		p.judge(objective, y)
		var mirrored []*graph.Node
		old := feedback.layers(s, p)
		for i, l := range p.dense(r.Name()) {
			data := graph.Operands(l.weight().Op)[0]
			xi := graph.Scale(s.Root().Sub(r.Name()).Normal("mirror/"+l.name(s), graph.ShapeOf(data)...), noise)
			xi = graph.Sub(xi, graph.Mean(xi))
			response := l.activity
			if l.head {
				response = l.logit
			}
			response, _ = graph.Inject(response, map[*graph.Node]graph.Injection{
				data: func(*graph.Node, func(*graph.Node) *graph.Node) *graph.Node { return xi },
			})
			batch := float64(graph.ShapeOf(x)[0])
			seen := graph.Scale(graph.MatMulT(xi, graph.Reshape(response, graph.ShapeOf(l.logit)...), true, false), rate/batch)
			mirrored = append(mirrored, graph.Add(graph.Scale(old[i], 1-rate*decay), seen))
		}
		std := graph.Sqrt(graph.Variance(product(mirrored)))
		wanted := s.Const(feedback.std(p))
		gain := graph.Pow(graph.Div(wanted, std), s.Const(1/float64(len(mirrored))))
		for i, b := range mirrored {
			s.Update(old[i], graph.Mul(b, gain))
		}
		return []Goal{{Loss: p.loss}}
	}
}

func orDefault(v, otherwise float64) float64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// trainer makes the first epochs those of mirroring.
func (m WeightMirror) trainer(t *trainer) (Trainer, error) {
	if m.Epochs < 0 || m.Every < 0 || m.LR < 0 || m.Decay < 0 || m.Noise < 0 {
		return nil, graph.Fail(t.Name(), "Mirror", "numbers of at least 0", m)
	}
	if m.Epochs == 0 {
		m.Epochs = 2
	}
	w := &mirroring{trainer: t, WeightMirror: m}
	w.StartEpoch(0, 1)
	return w, nil
}

// mirroring is a trainer of weights in phase 1 and of their mirrors in phase 0.
type mirroring struct {
	*trainer
	WeightMirror
	beside bool
}

// StartEpoch chooses what the epoch does.
func (t *mirroring) StartEpoch(epoch, epochs int) {
	t.trainer.StartEpoch(epoch, epochs)
	t.active, t.beside = 1, t.Every > 0 && (epoch+1)%t.Every == 0
	if epoch < t.Epochs {
		t.active, t.beside = 0, false
	}
}

// Step mirrors, or trains, or does both.
func (t *mirroring) Step(b *Batch) (float64, error) {
	step := t.Steps()
	loss, err := t.trainer.Step(b)
	if err != nil || !t.beside {
		return loss, err
	}
	if err := t.phases[0].run(b, step); err != nil {
		return loss, errors.Wrapf(err, "%s: step %d: mirror", t.Name(), step)
	}
	return loss, nil
}
