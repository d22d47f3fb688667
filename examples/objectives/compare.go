package main

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A candidate is one line of a table. Its training gives predictions of the test examples of a run.
type candidate struct {
	name string
	runs []*objectives.Predictions // one for each seed
}

// named is the objective of a name that ByName knows.
func named(name string) objectives.Objective {
	f, err := objectives.ByName(name)
	if err != nil {
		panic(err)
	}
	return f
}

// learn trains a perceptron by the objective and predicts the test examples.
func (e *experiment) learn(run int, f objectives.Objective, train, test *data.Set, epochs int) (*objectives.Predictions, error) {
	_, logits, err := e.fit(run, models.MLP{Hidden: []int{128}, Classes: train.Classes()}, f, train, test, epochs)
	if err != nil {
		return nil, err
	}
	return objectives.PredictionsOf(logits, test.Labels)
}

// fit trains a model and gives its outputs for the test examples.
func (e *experiment) fit(run int, model layers.Layer, f objectives.Objective, train, test *data.Set, epochs int) (rules.Trainer, *graph.Array, error) {
	rule := rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}
	t, err := rule.Trainer(model, f, rules.SpecOf(train, 32, e.seed+uint64(run)))
	if err != nil {
		return nil, nil, err
	}
	if _, err := rules.Fit(e.ctx, t, train, rules.Config{Epochs: epochs}); err != nil {
		return nil, nil, err
	}
	out, err := outputs(t, test)
	return t, out, err
}

// outputs is what the trainer's model makes of every example.
func outputs(t rules.Trainer, d *data.Set) (*graph.Array, error) {
	batch := rules.NewBatch(t.Spec())
	var all *graph.Array
	for at := 0; at < d.Len(); at += t.Spec().Batch {
		var numbers []int
		for i := at; i < min(at+t.Spec().Batch, d.Len()); i++ {
			numbers = append(numbers, i)
		}
		if err := batch.Fill(d, numbers, 0); err != nil {
			return nil, err
		}
		out, err := t.Predict(batch)
		if err != nil {
			return nil, err
		}
		width := out.Size() / out.Shape[0]
		if all == nil {
			all = graph.NewArray(out.DType, d.Len(), width)
		}
		for i := range numbers {
			for j := range width {
				all.Set((at+i)*width+j, out.At(i*width+j))
			}
		}
	}
	return all, nil
}

// bins of the calibration errors and of the reliability diagrams.
const bins = 15

// right and wrong are the confidences of right and of wrong answers.
func confidences(p *objectives.Predictions) (right, wrong []float64) {
	for i, c := range p.Confidences() {
		one := &objectives.Predictions{LogP: p.LogP[i*p.Classes : (i+1)*p.Classes], Labels: p.Labels[i : i+1], Classes: p.Classes}
		if one.Accuracy() == 1 {
			right = append(right, c)
		} else {
			wrong = append(wrong, c)
		}
	}
	return right, wrong
}

// A measure is a column of a table.
type measure struct {
	name   string
	format string
	of     func(p *objectives.Predictions) float64
}

// The measures of the usual table.
var measures = []measure{
	{"accuracy, %", "%.1f", func(p *objectives.Predictions) float64 { return 100 * p.Accuracy() }},
	{"top 2, %", "%.1f", func(p *objectives.Predictions) float64 { return 100 * p.TopK(2) }},
	{"ECE, %", "%.1f", func(p *objectives.Predictions) float64 { return 100 * p.ECE(bins) }},
	{"adaptive ECE, %", "%.1f", func(p *objectives.Predictions) float64 { return 100 * p.AdaptiveECE(bins) }},
	{"Brier", "%.3f", (*objectives.Predictions).Brier},
	{"NLL", "%.3f", (*objectives.Predictions).NLL},
	{"AUROC", "%.3f", func(p *objectives.Predictions) float64 { return objectives.AUROC(confidences(p)) }},
	{"FPR95, %", "%.0f", func(p *objectives.Predictions) float64 { r, w := confidences(p); return 100 * objectives.FPR95(r, w) }},
}

// mean is the mean over the runs of a candidate.
func (c candidate) mean(of func(p *objectives.Predictions) float64) float64 {
	m, _ := c.moments(of)
	return m
}

func (c candidate) accuracy() float64 { return c.mean(measures[0].of) }

func (c candidate) moments(of func(p *objectives.Predictions) float64) (mean, deviation float64) {
	n := float64(len(c.runs))
	for _, p := range c.runs {
		mean += of(p) / n
	}
	for _, p := range c.runs {
		deviation += (of(p) - mean) * (of(p) - mean)
	}
	return mean, math.Sqrt(deviation / math.Max(n-1, 1))
}

// table shows some measures of all candidates.
func (e *experiment) table(list []candidate, columns ...measure) {
	t := notebook.Table{Title: fmt.Sprintf("Test examples, means and standard deviations of %d runs", e.seeds), Header: []string{"objective"}}
	for _, m := range columns {
		t.Header = append(t.Header, m.name)
	}
	for _, c := range list {
		row := []string{c.name}
		for _, m := range columns {
			mean, deviation := c.moments(m.of)
			cell := fmt.Sprintf(m.format, mean)
			if e.seeds > 1 {
				cell += " ± " + fmt.Sprintf(m.format, deviation)
			}
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	e.Table(t)
}

// report is the table of all candidates and the reliability diagram of some.
func (e *experiment) report(list []candidate, shown ...string) {
	e.table(list, measures...)
	e.reliability(list, shown...)
}

// reliability is the diagram of some candidates.
func (e *experiment) reliability(list []candidate, shown ...string) {
	plot := notebook.Plot{Title: "Reliability: how often answers of a confidence are right", X: "confidence", Y: "accuracy",
		Lines: []notebook.Line{{Name: "calibrated", X: []float64{0, 1}, Y: []float64{0, 1}}}}
	for _, name := range shown {
		line := notebook.Line{Name: name}
		for _, b := range pick(list, name).pooled().AdaptiveReliability(10) {
			line.X, line.Y = append(line.X, b.Confidence), append(line.Y, b.Accuracy)
		}
		plot.Lines = append(plot.Lines, line)
	}
	e.Plot(plot)
}

// pooled is all runs together.
func (c candidate) pooled() *objectives.Predictions {
	all := &objectives.Predictions{Classes: c.runs[0].Classes}
	for _, p := range c.runs {
		all.LogP, all.Labels = append(all.LogP, p.LogP...), append(all.Labels, p.Labels...)
	}
	return all
}

func pick(list []candidate, name string) candidate {
	for _, c := range list {
		if c.name == name {
			return c
		}
	}
	panic(graph.Fail("objectives", "candidate", "one of the table", name))
}

// each trains every objective in every run, two at a time, and shows how far that is.
func (e *experiment) each(names []string, train func(run int, name string) (*objectives.Predictions, error)) ([]candidate, error) {
	list := make([]candidate, len(names))
	for i, name := range names {
		list[i] = candidate{name, make([]*objectives.Predictions, e.seeds)}
	}
	return list, e.together(len(names)*e.seeds, func(i int) (string, error) {
		c, run := &list[i/e.seeds], i%e.seeds
		p, err := train(run, c.name)
		c.runs[run] = p
		return c.name, err
	})
}

// together does n pieces of work, two at a time. Each says what it was.
func (e *experiment) together(n int, work func(i int) (string, error)) error {
	bar := e.Progress("training", n)
	defer bar.Done()
	var wait sync.WaitGroup
	var next, done atomic.Int64
	errs := make([]error, 2)
	for w := range errs {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				var name string
				if name, errs[w] = work(i); errs[w] == nil {
					bar.Set(int(done.Add(1)), name)
				}
			}
		}()
	}
	wait.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}
