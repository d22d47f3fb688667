package rules

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// AdaptiveFeedbackAlignment is PEPITA to first order in its feedback F: the tangent of each layer's activity along the
// input's change F e takes the place of the difference of two passes, δ_1 = act'(a_1)·(W_1 F e), δ_l = act'(a_l)·(W_l
// δ_{l-1}), and a layer's direction is δ x with the activity x before it; the output layer's is e x (R. Srinivasan et
// al. 2023, arXiv 2302.05440). The effective feedback W_1 F adapts as W_1 learns. Error, layers and feedback are as in
// PEPITA ("adaptive-feedback-alignment/feedback"); nothing is propagated back through a layer.
type AdaptiveFeedbackAlignment struct {
	Optimizer     optim.Optimizer // nil means SGD with LR 0.01, momentum 0.9 and weight decay 1e-4
	Options       optim.Options
	Feedback      Feedback
	FeedbackScale float64 // 0 means 0.05: see Feedback
}

// Name is "adaptive-feedback-alignment".
func (AdaptiveFeedbackAlignment) Name() string { return "adaptive-feedback-alignment" }

// Trainer compiles the pass, its tangent and the products into one program.
func (r AdaptiveFeedbackAlignment) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective); err != nil {
		return nil, err
	}
	feedback, err := newFeedback(r.Name(), r.Feedback, r.FeedbackScale)
	if err != nil {
		return nil, err
	}
	return Plan{
		Name: r.Name(),
		Phases: []Phase{func(s *graph.Scope, x, y *graph.Node) []Goal {
			p := newPass(r.Name(), s, model, x)
			p.judge(objective, y)
			return []Goal{p.goal(s, p.loss, r.directions(p, feedback.project(s, p)))}
		}},
		Predict:   model.Apply,
		Optimizer: orPEPITA(r.Optimizer),
		Options:   r.Options,
	}.Trainer(spec)
}

// directions is the products with the tangents along the input's change.
func (r AdaptiveFeedbackAlignment) directions(p *firstPass, change *graph.Node) localProducts {
	var hidden []site
	var activities []*graph.Node
	d := localProducts{}
	for _, l := range p.sites {
		if l.head {
			d.add(l, graph.VJP([]*graph.Node{p.out}, []*graph.Node{p.e}, []*graph.Node{l.logit})[0], graph.Same)
			continue
		}
		hidden, activities = append(hidden, l), append(activities, l.activity)
	}
	for i, tangent := range graph.JVP(activities, []*graph.Node{p.x}, []*graph.Node{change}) {
		d.add(hidden[i], tangent, graph.Same)
	}
	return d
}

// orPEPITA is the optimiser, or the usual one of PEPITA.
func orPEPITA(o optim.Optimizer) optim.Optimizer {
	if o == nil {
		return optim.SGD{LR: 0.01, Momentum: 0.9, WeightDecay: 1e-4}
	}
	return o
}
