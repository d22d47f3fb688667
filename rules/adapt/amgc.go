package adapt

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// AMGC learns classes task after task and keeps no examples: of each class it keeps the mean and the covariance of the
// features, and the one linear classifier over all classes learns from these (objectives.ClassGaussianOptions), with the
// covariances of classes of earlier tasks enlarged, which is a margin that adapts (Z. Yao, X. Chang 2024, arXiv
// 2409.13275; the settings are not the paper's).
type AMGC struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults; extractor and classifier have each their own
	Epochs    int             // passes of the extractor over a task; 0 means 10
	Steps     int             // of the classifier after a task; 0 means 600
	Distill   float64         // weight of the mean squared change of the features by a task after the first; 0 means none
	Enlarge   float64         // λ: the covariances of classes of earlier tasks count 1+λ times; 0 means as they are
}

// Name is "amgc".
func (AMGC) Name() string { return "amgc" }

// Start makes a learner of no classes yet from an extractor that gives features [batch, units]. The spec's Classes are
// those of all tasks.
func (r AMGC) Start(extractor layers.Layer, spec rules.Spec) (*ClassIncremental, error) {
	if r.Optimizer == nil {
		r.Optimizer = optim.Adam{}
	}
	if r.Epochs == 0 {
		r.Epochs = 10
	}
	if r.Steps == 0 {
		r.Steps = 600
	}
	switch {
	case extractor == nil:
		return nil, graph.Fail(r.Name(), "extractor", "a layer", "nil")
	case spec.Batch < 1 || spec.Classes < 2:
		return nil, graph.Fail(r.Name(), "spec", "a batch of at least 1, at least 2 classes", fmt.Sprintf("%d, %d", spec.Batch, spec.Classes))
	case r.Epochs < 0 || r.Steps < 0:
		return nil, graph.Fail(r.Name(), "Epochs, Steps", "at least 0", []int{r.Epochs, r.Steps})
	case !(r.Distill >= 0) || !(r.Enlarge >= 0) || math.IsInf(r.Distill+r.Enlarge, 1):
		return nil, graph.Fail(r.Name(), "Distill, Enlarge", "at least 0 and finite", []float64{r.Distill, r.Enlarge})
	}
	c := &ClassIncremental{rule: r, spec: spec, extractor: extractor, params: &graph.Params{Seed: spec.Seed, DType: spec.DType}}
	g, err := graph.Build(c.params, func(s *graph.Scope) {
		c.x = s.Input("x", s.DType(), append([]int{spec.Batch}, spec.Input...)...)
		c.features = extractor.Apply(s, c.x)
		shape := graph.ShapeOf(c.features)
		if len(shape) != 2 || shape[0] != spec.Batch {
			panic(graph.Fail(r.Name(), "features", fmt.Sprintf("[%d, units]", spec.Batch), graph.TypeOf(c.features)))
		}
		c.units = shape[1]
		w, b := c.classifier(s)
		c.unseen = s.Input("unseen", s.DType(), spec.Classes)
		c.scores = graph.Add(graph.Add(graph.MatMulT(c.features, w, false, true), b), c.unseen)
	})
	if err == nil {
		c.program, err = g.Compile(c.scores, c.features)
	}
	if err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	for i := range spec.Classes {
		c.program.Array(c.unseen).Set(i, math.Inf(-1))
	}
	c.mean = graph.NewArray(graph.Float64, spec.Classes, c.units)
	c.covariance = graph.NewArray(graph.Float64, spec.Classes, c.units, c.units)
	return c, nil
}

// ClassIncremental is a classifier that learns classes task after task. It is not safe for concurrent use.
type ClassIncremental struct {
	rule      AMGC
	spec      rules.Spec
	extractor layers.Layer
	params    *graph.Params
	units     int

	program                     *graph.Program
	x, unseen, features, scores *graph.Node

	seen             []int // classes of all tasks, in the order of the tasks
	mean, covariance *graph.Array
}

// Params is the extractor's parameters and the classifier's, "amgc/classifier/...", live; "amgc/head/..." trains the
// extractor and "amgc/previous/..." is the extractor before the last task.
func (c *ClassIncremental) Params() *graph.Params { return c.params }

// Seen is the classes learnt so far, in the order of their tasks.
func (c *ClassIncremental) Seen() []int { return slices.Clone(c.seen) }

// Statistics is the means [classes, units] and covariances [classes, units, units] of the features of each class when
// it was learnt; zeros of classes not seen.
func (c *ClassIncremental) Statistics() (mean, covariance *graph.Array) { return c.mean, c.covariance }

func (c *ClassIncremental) classifier(s *graph.Scope) (w, b *graph.Node) {
	s = s.Root().Sub(c.rule.Name()).Sub("classifier")
	return s.Param("weight", graph.Zeros(), c.spec.Classes, c.units), s.Param("bias", graph.Zeros(), c.spec.Classes)
}

// Predict is the class scores [batch, classes] of a batch x, -Inf of classes not seen, overwritten by the next call.
func (c *ClassIncremental) Predict(x *graph.Array) (*graph.Array, error) {
	if err := c.program.Bind(c.x, x); err != nil {
		return nil, errors.Wrap(err, c.rule.Name())
	}
	if err := c.program.Run(); err != nil {
		return nil, errors.Wrap(err, c.rule.Name())
	}
	return c.program.Array(c.scores), nil
}

// Learn learns the classes of a task, none of which may have been in an earlier one: first the extractor, from
// cross-entropy over the task's examples while Distill holds the features back, then the new classes' statistics, then
// the classifier. When ctx ends, its error is returned, the extractor keeps what it has learnt and no class is added.
func (c *ClassIncremental) Learn(ctx context.Context, task rules.Data) error {
	labels, err := c.labels(task)
	if err != nil {
		return err
	}
	if err := c.extract(ctx, task); err != nil {
		return err
	}
	old := len(c.seen)
	if err := c.measure(task, labels); err != nil {
		return err
	}
	return errors.Wrap(c.classify(old), c.rule.Name())
}

// labels are those of all the task's examples, none of a class seen.
func (c *ClassIncremental) labels(task rules.Data) ([]int, error) {
	if err := enough(c.rule.Name(), "task", task, c.spec); err != nil {
		return nil, err
	}
	labels, batch := make([]int, task.Len()), rules.NewBatch(c.spec)
	for i := range labels {
		if err := batch.Fill(task, []int{i}, 0); err != nil {
			return nil, err
		}
		if labels[i] = batch.Y.Ints()[0]; slices.Contains(c.seen, labels[i]) {
			return nil, graph.Fail(c.rule.Name(), fmt.Sprintf("label of example %d", i), "classes of no earlier task", labels[i])
		}
	}
	return labels, nil
}

// trained is the features of x, the logits of the head that trains them, and, after the first task and with Distill, the
// features before the task; else nil.
func (c *ClassIncremental) trained(s *graph.Scope, x *graph.Node, first bool) (features, logits, before *graph.Node) {
	s = s.Root()
	features = c.extractor.Apply(s, x)
	logits = layers.Dense{Units: c.spec.Classes, Name: "head"}.Apply(s.Sub(c.rule.Name()), features)
	if !first && c.rule.Distill > 0 {
		before = c.extractor.Apply(s.Graph().Scope().Sub(c.rule.Name()).Sub("previous"), x)
	}
	return features, logits, before
}

// extract trains the extractor with a head that begins at 0.
func (c *ClassIncremental) extract(ctx context.Context, task rules.Data) error {
	name := c.rule.Name()
	previous, first := name+"/previous/", len(c.seen) == 0
	phase := func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
		features, logits, before := c.trained(s, x, first)
		loss := objectives.CrossEntropy(logits, y)
		if before != nil {
			change := graph.Mean(graph.Square(graph.Sub(features, graph.Detach(before))))
			loss = graph.Add(loss, graph.Scale(change, c.rule.Distill))
		}
		g := s.Graph()
		params := slices.DeleteFunc(g.Trainable(loss), func(n *graph.Node) bool { return strings.HasPrefix(g.Param(n).Name, previous) })
		return []rules.Goal{rules.Minimize(loss, params)}
	}
	plan := rules.Plan{Name: name, Params: c.params, Phases: []rules.Phase{phase}, Optimizer: c.rule.Optimizer,
		Predict: func(s *graph.Scope, x *graph.Node) *graph.Node {
			_, logits, _ := c.trained(s, x, true)
			return logits
		}}
	trainer, err := plan.Trainer(c.spec)
	if err != nil {
		return err
	}
	c.params.Get(name + "/head/weight").Value.Zero()
	c.params.Get(name + "/head/bias").Value.Zero()
	for q := range c.params.All() {
		if of, ok := strings.CutPrefix(q.Name, previous); ok {
			if err := q.Value.CopyFrom(c.params.Get(of).Value); err != nil {
				return err
			}
		}
	}
	_, err = rules.Fit(ctx, trainer, task, rules.Config{Epochs: c.rule.Epochs})
	return err
}

// measure keeps the statistics of the classes of a task.
func (c *ClassIncremental) measure(task rules.Data, labels []int) error {
	batch, all := rules.NewBatch(c.spec), graph.NewArray(graph.Float64, len(labels), c.units)
	var rows []int
	for at := 0; at < len(labels); at += c.spec.Batch {
		rows = rows[:0]
		for i := at; i < min(at+c.spec.Batch, len(labels)); i++ {
			rows = append(rows, i)
		}
		if err := batch.Fill(task, rows, 0); err != nil {
			return err
		}
		if _, err := c.Predict(batch.X); err != nil {
			return err
		}
		f := c.program.Array(c.features)
		for i := range len(rows) * c.units {
			all.Set(at*c.units+i, f.At(i))
		}
	}
	mean, covariance, err := objectives.ClassStatistics(all, labels, c.spec.Classes)
	if err != nil {
		return errors.Wrap(err, c.rule.Name())
	}
	old := slices.Clone(c.seen)
	for _, y := range labels {
		if slices.Contains(c.seen, y) {
			continue
		}
		c.see(y)
		for _, a := range []struct{ to, from *graph.Array }{{c.mean, mean}, {c.covariance, covariance}} {
			n := a.to.Size() / c.spec.Classes
			copy(a.to.Float64s()[y*n:(y+1)*n], a.from.Float64s()[y*n:(y+1)*n])
		}
	}
	slices.Sort(c.seen[len(old):])
	return nil
}

// classify trains the classifier of the classes seen, of which the first are old.
func (c *ClassIncremental) classify(old int) error {
	enlarge := make([]float64, len(c.seen))
	for i := range old {
		enlarge[i] = c.rule.Enlarge
	}
	var grads []*graph.Node
	var params []*graph.Param
	g, err := graph.Build(c.params, func(s *graph.Scope) {
		w, b := c.classifier(s)
		seen := graph.Literal(w, graph.ArrayOf(c.seen, len(c.seen)))
		of := func(a *graph.Node) *graph.Node { return graph.Take(a, seen, 0) }
		kept := func(a *graph.Array) *graph.Node { return of(graph.Cast(graph.Literal(w, a.Clone()), w.Dtype())) }
		loss := objectives.ClassGaussianOptions{Enlarge: enlarge}.Loss(of(w), of(b), kept(c.mean), kept(c.covariance))
		grads = graph.Grad(loss, w, b)
		params = []*graph.Param{s.Graph().Param(w), s.Graph().Param(b)}
	})
	if err != nil {
		return err
	}
	program, err := g.Compile(grads...)
	if err != nil {
		return err
	}
	stepper, err := optim.New(c.rule.Optimizer, params, optim.Options{})
	if err != nil {
		return err
	}
	slopes := []*graph.Array{program.Array(grads[0]), program.Array(grads[1])}
	for range c.rule.Steps {
		if err := program.Run(); err != nil {
			return err
		}
		if norm := optim.GlobalNorm(slopes); norm-norm != 0 {
			return errors.Wrapf(program.FirstNonFinite(), "gradient of norm %v", norm)
		}
		if err := stepper.Step(slopes); err != nil {
			return err
		}
	}
	return nil
}
