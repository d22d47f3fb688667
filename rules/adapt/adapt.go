// Package adapt lets a trained classifier go on learning from the unlabelled batches that it classifies, while what they
// show drifts away from what it was trained on:
//
//	rule := adapt.RobustMeanTeacher{}
//	teaching, err := rule.Start(model, trainer.Params(), rules.SpecOf(train, 200, 1), train)
//	err = teaching.WarmUp(train.Len() / 200)
//	for each batch x {
//		scores, loss, err := teaching.Step(x)
//	}
package adapt

import (
	"fmt"
	"math"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// RobustMeanTeacher adapts a classifier to a stream of unlabelled batches: a student learns all its parameters from the
// symmetric cross-entropy to a teacher, its moving average, from the contrast that ties the features of an example, of
// its augmented view and of the nearest class mean of the source together, and from labelled source examples played
// again (M. Döbler, R. Marsden, B. Yang 2022, arXiv 2211.13081). The sum of both's logits is the prediction. The weights
// of the three parts: 0 means 1, below 0 leaves the part out.
type RobustMeanTeacher struct {
	SelfTraining float64 // weight of the symmetric cross-entropy
	Contrast     float64 // weight of the contrast of features, which are what the model's last block takes
	Replay       float64 // weight of the cross-entropy on the source

	Optimizer   optim.Optimizer // nil means Adam with LR 1e-3
	Momentum    float64         // of the teacher, in [0, 1); 0 means 0.999
	Alpha       float64         // reverse part of the symmetric cross-entropy, in (0, 1]; 0 means 0.5
	Temperature float64         // of the contrast; 0 means 0.1
	Projection  int             // units of both layers that project the features for the contrast; 0 means 128
	// Augment makes the second view of a batch. Nil means to add normal noise of a tenth of the batch's standard
	// deviation.
	Augment func(s *graph.Scope, x *graph.Node) *graph.Node
}

// Name is "robust-mean-teacher".
func (RobustMeanTeacher) Name() string { return "robust-mean-teacher" }

func (r RobustMeanTeacher) withDefaults() RobustMeanTeacher {
	for _, f := range []struct {
		field *float64
		value float64
	}{{&r.SelfTraining, 1}, {&r.Contrast, 1}, {&r.Replay, 1}, {&r.Momentum, 0.999}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if r.Optimizer == nil {
		r.Optimizer = optim.Adam{LR: 1e-3}
	}
	if r.Projection == 0 {
		r.Projection = 128
	}
	if r.Augment == nil {
		r.Augment = noise
	}
	return r
}

// noise adds normal noise of a tenth of the standard deviation of all of x.
func noise(s *graph.Scope, x *graph.Node) *graph.Node {
	sd := graph.Sqrt(graph.Mean(graph.Square(graph.Sub(x, graph.Mean(x)))))
	return graph.Add(x, graph.Mul(graph.Scale(sd, 0.1), s.Normal("noise", graph.ShapeOf(x)...)))
}

func (r RobustMeanTeacher) check(model layers.Layer, params *graph.Params, spec rules.Spec, source rules.Data) error {
	finite := func(v float64) bool { return v-v == 0 }
	switch {
	case model == nil:
		return graph.Fail(r.Name(), "model", "a layer", "nil")
	case params == nil || params.Len() == 0:
		return graph.Fail(r.Name(), "params", "those of the trained model", "none")
	case spec.Batch < 1 || spec.Classes < 2:
		return graph.Fail(r.Name(), "spec", "a batch of at least 1, at least 2 classes", fmt.Sprintf("%d, %d", spec.Batch, spec.Classes))
	case !finite(r.SelfTraining) || !finite(r.Contrast) || !finite(r.Replay) || r.SelfTraining < 0 && r.Contrast < 0 && r.Replay < 0:
		return graph.Fail(r.Name(), "weights", "finite, one of at least 0", []float64{r.SelfTraining, r.Contrast, r.Replay})
	case !(r.Momentum >= 0 && r.Momentum < 1):
		return graph.Fail(r.Name(), "Momentum", "0 to below 1", r.Momentum)
	case r.Projection < 1:
		return graph.Fail(r.Name(), "Projection", "at least 1", r.Projection)
	case source == nil && (r.Contrast > 0 || r.Replay > 0):
		return graph.Fail(r.Name(), "source", "the data of the training, for Contrast and Replay", "nil")
	case source != nil && (!slices.Equal(source.InputShape(), spec.Input) || source.Classes() != spec.Classes || source.Len() < spec.Batch):
		return graph.Fail(r.Name(), "source", fmt.Sprintf("at least %d examples %v of %d classes", spec.Batch, spec.Input, spec.Classes),
			fmt.Sprintf("%d examples %v of %d classes", source.Len(), source.InputShape(), source.Classes()))
	}
	return nil
}

// Start makes student and teacher from copies of the parameters that the model was trained to, and the mean features of
// the source's classes, which stay as they are. The layers are applied as in training: batch normalisation uses the
// batch's statistics, dropout drops. The source is needed for Contrast, for Replay and for WarmUp; else it may be nil.
func (r RobustMeanTeacher) Start(model layers.Layer, params *graph.Params, spec rules.Spec, source rules.Data) (*MeanTeacher, error) {
	r = r.withDefaults()
	if err := r.check(model, params, spec, source); err != nil {
		return nil, err
	}
	t := &MeanTeacher{rule: r, spec: spec, source: source, student: params.Clone(), gain: 1}
	t.student.Seed = spec.Seed
	if source != nil {
		t.batch, t.order = rules.NewBatch(spec), make([]int, source.Len())
	}
	if err := t.build(model); err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	return t, nil
}

// MeanTeacher is a student and its teacher while they adapt. It is not safe for concurrent use.
type MeanTeacher struct {
	rule             RobustMeanTeacher
	spec             rules.Spec
	student, teacher *graph.Params

	source rules.Data
	batch  *rules.Batch // of the source
	order  []int        // of the source's examples in this pass
	drawn  int          // batches of the source

	taught      *graph.Program // the teacher's logits
	tx          *graph.Node
	adapt, warm *pass
	scores      *graph.Array

	steps int
	gain  float64 // of the learning rate
}

// pass is a compiled loss with what it updates.
type pass struct {
	program      *graph.Program
	in           nodes
	loss, logits *graph.Array
	grads        [][]*graph.Array // for each stepper
	steppers     []*optim.Stepper
}

// nodes are the inputs of the student's graph.
type nodes struct{ x, teacher, sourceX, sourceY *graph.Node }

// gained is a constant schedule times a gain.
type gained struct{ gain *float64 }

func (g gained) Rate(base float64, _ int) float64 { return base * *g.gain }

// Student is the student's store: the model's parameters and those of the projection, called
// "robust-mean-teacher/...".
func (t *MeanTeacher) Student() *graph.Params { return t.student }

// Teacher is the teacher's store.
func (t *MeanTeacher) Teacher() *graph.Params { return t.teacher }

// Steps is how many steps were made, those of WarmUp among them.
func (t *MeanTeacher) Steps() int { return t.steps }

func (t *MeanTeacher) input(s *graph.Scope, name string) *graph.Node {
	return s.Input(name, s.DType(), append([]int{t.spec.Batch}, t.spec.Input...)...)
}

// apply is the model's logits of x and the features that its last block takes.
func (t *MeanTeacher) apply(s *graph.Scope, model layers.Layer, x *graph.Node) (logits, features *graph.Node) {
	s = s.Root()
	n := len(s.Graph().Blocks())
	logits = model.Apply(s, x)
	if want := []int{t.spec.Batch, t.spec.Classes}; !slices.Equal(graph.ShapeOf(logits), want) {
		panic(graph.Fail(t.rule.Name(), "model's output", fmt.Sprintf("class scores %v", want), graph.TypeOf(logits)))
	}
	blocks := s.Graph().Blocks()
	if len(blocks) > n {
		features = graph.Flatten(blocks[len(blocks)-1].In)
	} else if t.rule.Contrast > 0 {
		panic(graph.Fail(t.rule.Name(), "model", "blocks, as of a layers.Sequential, for Contrast", "none"))
	}
	return logits, features
}

func (t *MeanTeacher) build(model layers.Layer) error {
	r := t.rule
	var in nodes
	var logits, features, loss, warm *graph.Node
	var prototypes *graph.Node
	known := t.student.Len()
	g, err := graph.Build(t.student, func(s *graph.Scope) {
		s = s.ForTraining()
		in.x = t.input(s, "x")
		in.teacher = s.Input("teacher", s.DType(), t.spec.Batch, t.spec.Classes)
		logits, features = t.apply(s, model, in.x)
		if t.student.Len() != known {
			panic(graph.Fail(r.Name(), "params", "all parameters of the model", fmt.Sprintf("%d of %d", known, t.student.Len())))
		}
		symmetric := objectives.SymmetricCrossEntropyOptions{Alpha: r.Alpha}
		warm = symmetric.Loss(logits, in.teacher)
		own := s.Root().Sub(r.Name())
		view, viewFeatures := t.apply(s, model, r.Augment(own, in.x))
		loss = s.Const(0)
		add := func(weight float64, part *graph.Node) { loss = graph.Add(loss, graph.Scale(part, weight)) }
		if r.SelfTraining > 0 {
			add(r.SelfTraining, symmetric.SelfTraining(logits, view, in.teacher))
		}
		if r.Contrast > 0 {
			units := graph.ShapeOf(features)[1]
			prototypes = s.Input("prototypes", s.DType(), t.spec.Classes, units)
			views := graph.Stack(1, features, viewFeatures, objectives.NearestPrototype(features, prototypes))
			projected := layers.Block{layers.Dense{Units: r.Projection, Activation: layers.ReLU{}}, layers.Dense{Units: r.Projection}}.
				Apply(own.Sub("projection"), graph.Reshape(views, 3*t.spec.Batch, units))
			projected = graph.Reshape(projected, t.spec.Batch, 3, r.Projection)
			add(r.Contrast, objectives.NTXentOptions{Temperature: r.Temperature}.Loss(projected))
		}
		if r.Replay > 0 {
			in.sourceX, in.sourceY = t.input(s, "source"), s.Input("labels", graph.Int, t.spec.Batch)
			again, _ := t.apply(s, model, in.sourceX)
			add(r.Replay, objectives.CrossEntropy(again, in.sourceY))
		}
	})
	if err != nil {
		return err
	}
	if t.adapt, err = t.compile(g, in, loss, logits); err != nil {
		return err
	}
	if prototypes != nil {
		means, err := t.prototypes(g, in.x, features)
		if err == nil {
			err = t.adapt.program.Bind(prototypes, means)
		}
		if err != nil {
			return err
		}
	}
	if t.source != nil {
		if t.warm, err = t.compile(g, in, warm, logits); err != nil {
			return err
		}
		t.warm.steppers = t.adapt.steppers[:1]
		if len(t.warm.grads) != 1 || len(t.warm.grads[0]) != len(t.adapt.grads[0]) {
			return graph.Fail(r.Name(), "model", "logits that all parameters act on", "others")
		}
	}
	t.teacher = t.student.Clone()
	t.scores = graph.NewArray(logits.Dtype(), t.spec.Batch, t.spec.Classes)
	return t.buildTeacher(model)
}

func (t *MeanTeacher) buildTeacher(model layers.Layer) error {
	var out *graph.Node
	g, err := graph.Build(t.teacher, func(s *graph.Scope) {
		s = s.ForTraining()
		t.tx = t.input(s, "x")
		out, _ = t.apply(s, model, t.tx)
	})
	if err != nil {
		return err
	}
	if t.taught, err = g.Compile(out); err != nil {
		return err
	}
	for _, p := range []*pass{t.adapt, t.warm} {
		if p != nil && p.program.Uses(p.in.teacher) {
			if err := p.program.Bind(p.in.teacher, t.taught.Array(out)); err != nil {
				return err
			}
		}
	}
	if !t.adapt.program.Uses(t.adapt.in.teacher) {
		t.adapt.in.teacher = nil
	}
	return nil
}
