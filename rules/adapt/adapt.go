// Package adapt lets a classifier go on learning after its training. RobustMeanTeacher learns from the unlabelled batches
// that it classifies, while what they show drifts away from what it was trained on:
//
//	teaching, err := adapt.RobustMeanTeacher{}.Start(model, trainer.Params(), rules.SpecOf(train, 200, 1), train)
//	err = teaching.WarmUp(50_000 / 200)
//	for each batch x {
//		scores, loss, err := teaching.Step(x)
//	}
//
// AMGC learns new classes, task after task, and keeps no examples of the old ones.
package adapt

import (
	"fmt"
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
	case source != nil:
		return enough(r.Name(), "source", source, spec)
	}
	return nil
}

// enough refuses data of another kind than the spec's and such that do not fill a batch.
func enough(rule, arg string, d rules.Data, spec rules.Spec) error {
	want := fmt.Sprintf("at least %d examples %v of %d classes", spec.Batch, spec.Input, spec.Classes)
	if d == nil {
		return graph.Fail(rule, arg, want, "nil")
	}
	if !slices.Equal(d.InputShape(), spec.Input) || d.Classes() != spec.Classes || d.Len() < spec.Batch {
		return graph.Fail(rule, arg, want, fmt.Sprintf("%d examples %v of %d classes", d.Len(), d.InputShape(), d.Classes()))
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
	t := &MeanTeacher{rule: r, spec: spec, source: source, student: params.Clone(), counters: graph.NewArray(graph.Int, 2), gain: 1}
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
	means  *graph.Array // features of the source's classes; nil without Contrast

	taught      *graph.Program // the teacher
	tx          *graph.Node
	adapt, warm *pass
	scores      *graph.Array

	counters *graph.Array // Int: steps made, batches drawn from the source
	gain     float64      // of the learning rate
}

// steps and drawn are the counters.
func (t *MeanTeacher) steps() *int { return &t.counters.Ints()[0] }
func (t *MeanTeacher) drawn() *int { return &t.counters.Ints()[1] }

// pass is a compiled loss with what it updates.
type pass struct {
	program      *graph.Program
	in           nodes
	taught       *graph.Array // the teacher's logits
	loss, logits *graph.Array
	grads        [][]*graph.Array // for each stepper
	steppers     []*optim.Stepper // of the model's parameters and of the rule's
}

// nodes are the inputs of the student's graph.
type nodes struct{ x, teacher, prototypes, sourceX, sourceY *graph.Node }

// gained is a constant schedule times a gain.
type gained struct{ gain *float64 }

func (g gained) Rate(base float64, _ int) float64 { return base * *g.gain }

// Student is the student's store: the model's parameters and those of the projection, called
// "robust-mean-teacher/...".
func (t *MeanTeacher) Student() *graph.Params { return t.student }

// Teacher is the teacher's store.
func (t *MeanTeacher) Teacher() *graph.Params { return t.teacher }

// Steps is how many steps were made, those of WarmUp among them.
func (t *MeanTeacher) Steps() int { return *t.steps() }

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

// build compiles the student's programs, and with them the teacher's.
func (t *MeanTeacher) build(model layers.Layer) error {
	r := t.rule
	var in nodes
	var logits, features, loss, warm *graph.Node
	known := t.student.Len()
	g, err := graph.Build(t.student, func(s *graph.Scope) {
		s = s.ForTraining()
		own := s.Sub(r.Name())
		in.x, in.teacher = t.input(s, "x"), s.Input("teacher", s.DType(), t.spec.Batch, t.spec.Classes)
		logits, features = t.apply(s, model, in.x)
		if n := t.student.Len(); n != known {
			panic(graph.Fail(r.Name(), "params", fmt.Sprintf("the model's, %d", n), known))
		}
		view, viewFeatures := t.apply(s, model, r.Augment(own, in.x))
		symmetric := objectives.SymmetricCrossEntropyOptions{Alpha: r.Alpha}
		warm, loss = symmetric.Loss(logits, in.teacher), s.Const(0)
		if r.SelfTraining > 0 {
			loss = graph.Add(loss, graph.Scale(symmetric.SelfTraining(logits, view, in.teacher), r.SelfTraining))
		}
		if r.Contrast > 0 {
			units := graph.ShapeOf(features)[1]
			in.prototypes = s.Input("prototypes", s.DType(), t.spec.Classes, units)
			views := graph.Stack(1, features, viewFeatures, objectives.NearestPrototype(features, in.prototypes))
			loss = graph.Add(loss, graph.Scale(t.contrast(own, views), r.Contrast))
		}
		if r.Replay > 0 {
			in.sourceX, in.sourceY = t.input(s, "source"), s.Input("labels", graph.Int, t.spec.Batch)
			again, _ := t.apply(s, model, in.sourceX)
			loss = graph.Add(loss, graph.Scale(objectives.CrossEntropy(again, in.sourceY), r.Replay))
		}
	})
	if err != nil {
		return err
	}
	shared := g.Trainable(logits)
	own := slices.DeleteFunc(g.Trainable(loss), func(n *graph.Node) bool { return slices.Contains(shared, n) })
	steppers := []*optim.Stepper{nil, nil}
	for i, list := range [][]*graph.Node{shared, own} {
		var params []*graph.Param
		for _, n := range list {
			params = append(params, g.Param(n))
		}
		if steppers[i], err = optim.New(r.Optimizer, params, optim.Options{Schedule: gained{&t.gain}}); err != nil {
			return err
		}
	}
	t.teacher = t.student.Clone()
	taught, err := t.teaching(model)
	if err != nil {
		return err
	}
	if t.adapt, err = compile(g, in, taught, steppers, loss, logits, shared, own); err != nil {
		return err
	}
	t.scores = graph.NewArray(logits.Dtype(), t.spec.Batch, t.spec.Classes)
	if t.source == nil {
		return nil
	}
	if t.warm, err = compile(g, in, taught, steppers, warm, logits, shared); err != nil || in.prototypes == nil {
		return err
	}
	if t.means, err = t.prototypes(g, in.x, features); err != nil {
		return err
	}
	return t.adapt.program.Bind(in.prototypes, t.means)
}

// contrast projects views [batch, 3, units] and contrasts them.
func (t *MeanTeacher) contrast(s *graph.Scope, views *graph.Node) *graph.Node {
	units := t.rule.Projection
	x := graph.Reshape(views, 3*t.spec.Batch, -1)
	x = layers.Dense{Units: units, Activation: layers.ReLU{}, Name: "projection1"}.Apply(s, x)
	x = layers.Dense{Units: units, Name: "projection2"}.Apply(s, x)
	return objectives.NTXentOptions{Temperature: t.rule.Temperature}.Loss(graph.Reshape(x, t.spec.Batch, 3, units))
}

// teaching compiles the teacher's program and returns its logits.
func (t *MeanTeacher) teaching(model layers.Layer) (*graph.Array, error) {
	var out *graph.Node
	g, err := graph.Build(t.teacher, func(s *graph.Scope) {
		t.tx = t.input(s, "x")
		out, _ = t.apply(s.ForTraining(), model, t.tx)
	})
	if err != nil {
		return nil, err
	}
	if t.taught, err = g.Compile(out); err != nil {
		return nil, err
	}
	return t.taught.Array(out), nil
}

// compile makes the pass that lowers loss by the first of the steppers, one for each list of parameters.
func compile(g *graph.Graph, in nodes, taught *graph.Array, steppers []*optim.Stepper, loss, logits *graph.Node, lists ...[]*graph.Node) (*pass, error) {
	outputs := []*graph.Node{loss, logits}
	var grads [][]*graph.Node
	err := g.Extend(func(*graph.Scope) {
		for _, list := range lists {
			grads = append(grads, graph.Grad(loss, list...))
			outputs = append(outputs, grads[len(grads)-1]...)
		}
	})
	if err != nil {
		return nil, err
	}
	program, err := g.Compile(outputs...)
	if err != nil {
		return nil, err
	}
	p := &pass{program: program, in: in, taught: taught, loss: program.Array(loss), logits: program.Array(logits), steppers: steppers[:len(lists)]}
	for _, list := range grads {
		var arrays []*graph.Array
		for _, n := range list {
			arrays = append(arrays, program.Array(n))
		}
		p.grads = append(p.grads, arrays)
	}
	return p, p.bind(in.teacher, taught)
}

// bind gives an array to an input, if the pass uses it.
func (p *pass) bind(n *graph.Node, a *graph.Array) error {
	if n == nil || !p.program.Uses(n) {
		return nil
	}
	return p.program.Bind(n, a)
}

// draw fills the batch with the source's next examples, in an order that is new in each pass over it.
func (t *MeanTeacher) draw() error {
	n, size := len(t.order)/t.spec.Batch, t.spec.Batch
	epoch, i := *t.drawn()/n, *t.drawn()%n
	if i == 0 {
		t.shuffle()
	}
	*t.drawn()++
	return t.batch.Fill(t.source, t.order[i*size:(i+1)*size], uint64(epoch))
}

// shuffle makes the order of this pass over the source.
func (t *MeanTeacher) shuffle() {
	for j := range t.order {
		t.order[j] = j
	}
	epoch := *t.drawn() / (len(t.order) / t.spec.Batch)
	graph.Rand(t.spec.Seed, "adapt/order", uint64(epoch)).Shuffle(len(t.order), func(a, b int) {
		t.order[a], t.order[b] = t.order[b], t.order[a]
	})
}

// prototypes are the mean features of each class of the source, in whole batches of a random order.
func (t *MeanTeacher) prototypes(g *graph.Graph, x, features *graph.Node) (*graph.Array, error) {
	p, err := g.Compile(features)
	if err != nil {
		return nil, err
	}
	f := p.Array(features)
	units := f.Shape[1]
	sum, count := make([]float64, t.spec.Classes*units), make([]float64, t.spec.Classes)
	for range len(t.order) / t.spec.Batch {
		if err := t.draw(); err != nil {
			return nil, err
		}
		if err := p.Bind(x, t.batch.X); err != nil {
			return nil, err
		}
		p.SetStep(*t.drawn())
		if err := p.Run(); err != nil {
			return nil, err
		}
		for row, y := range t.batch.Y.Ints() {
			count[y]++
			for j := range units {
				sum[y*units+j] += f.At(row*units + j)
			}
		}
	}
	means := graph.NewArray(f.DType, t.spec.Classes, units)
	for i, v := range sum {
		if count[i/units] == 0 {
			return nil, graph.Fail(t.rule.Name(), "source", "examples of each class", fmt.Sprintf("none of class %d", i/units))
		}
		means.Set(i, v/count[i/units])
	}
	return means, nil
}

// WarmUp makes steps of the symmetric cross-entropy alone on batches of the source, while the learning rate grows
// linearly to the optimiser's. The paper makes 50,000 examples' worth of them before the stream begins.
func (t *MeanTeacher) WarmUp(steps int) error {
	if t.source == nil || steps < 0 {
		return graph.Fail(t.rule.Name(), "warm-up", "a source and at least 0 steps", steps)
	}
	defer func() { t.gain = 1 }()
	for i := range steps {
		t.gain = float64(i+1) / float64(steps)
		if err := t.draw(); err != nil {
			return err
		}
		if err := t.step(t.warm, t.batch.X); err != nil {
			return errors.Wrapf(err, "%s: warm-up step %d", t.rule.Name(), i)
		}
	}
	return nil
}

// Step classifies a batch x [batch, input...] and adapts to it. The scores are the sum of both's logits [batch, classes]
// before the update, overwritten by the next call; so is the loss. If the loss or a gradient is not finite, the error
// names the first node that is not, and parameters and optimiser are unchanged.
func (t *MeanTeacher) Step(x *graph.Array) (scores *graph.Array, loss float64, err error) {
	if t.adapt.in.sourceX != nil {
		if err := t.draw(); err != nil {
			return nil, 0, err
		}
		if err := t.adapt.bind(t.adapt.in.sourceX, t.batch.X); err != nil {
			return nil, 0, err
		}
		if err := t.adapt.bind(t.adapt.in.sourceY, t.batch.Y); err != nil {
			return nil, 0, err
		}
	}
	if err := t.step(t.adapt, x); err != nil {
		return nil, t.adapt.loss.Scalar(), errors.Wrapf(err, "%s: step %d", t.rule.Name(), t.Steps())
	}
	for i := range t.scores.Size() {
		t.scores.Set(i, t.adapt.logits.At(i)+t.adapt.taught.At(i))
	}
	return t.scores, t.adapt.loss.Scalar(), nil
}

// step runs teacher and student on x and updates both, or neither.
func (t *MeanTeacher) step(p *pass, x *graph.Array) error {
	if err := t.taught.Bind(t.tx, x); err != nil {
		return err
	}
	if err := p.bind(p.in.x, x); err != nil {
		return err
	}
	t.taught.SetStep(t.Steps())
	p.program.SetStep(t.Steps())
	if err := t.taught.Run(); err != nil {
		return err
	}
	if err := p.program.Run(); err != nil {
		return err
	}
	if loss := p.loss.Scalar(); loss-loss != 0 {
		return errors.Wrapf(p.cause(), "loss %v", loss)
	}
	for _, grads := range p.grads {
		if norm := optim.GlobalNorm(grads); norm-norm != 0 {
			return errors.Wrapf(p.cause(), "gradient of norm %v", norm)
		}
	}
	for i, s := range p.steppers {
		if err := s.Step(p.grads[i]); err != nil {
			return err
		}
	}
	*t.steps()++
	return objectives.UpdateTeacher(t.teacher, t.student, t.rule.Momentum)
}

// cause says which node is to blame for a result that is not finite.
func (p *pass) cause() error {
	if err := p.program.FirstNonFinite(); err != nil {
		return err
	}
	return errors.New("every node is finite, their sum is not")
}
