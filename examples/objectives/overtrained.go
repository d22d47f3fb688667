package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func overTrained(e *experiment) error {
	const examples = 1000
	times := []int{5, 10, 20, 40, 80} // epochs after which the model is looked at
	names := []string{"cross-entropy", "rescaled-square", "squentropy"}
	last := times[len(times)-1]
	e.Text(fmt.Sprintf(`
		A convolutional network learns %d examples of **%s** for %d epochs, without any regularisation: long after it has no
		more training examples to get right, cross-entropy still lowers the loss by larger logits. *Squentropy* (L. Hui, M.
		Belkin, S. Wright 2023, arXiv 2302.03952) adds the squares of the wrong classes' logits,

		$$-\log p_y + \frac{1}{C - 1} \sum_{j \ne y} x_j^2,$$

		and is minimised with the same optimiser and rate. The rescaled square loss aims at a logit of 1 for the label and 0 for
		the other classes, of which a softmax makes a confidence of $e/(e + C - 1)$, %.0f %% here. *Surplus* is how far
		the mean confidence lies above accuracy: below 0 the model is not sure enough.`, examples, e.name, last, 100*math.E/(math.E+float64(e.all.Classes()-1))))
	byTime := make([][]candidate, len(times))
	for k := range times {
		for _, name := range names {
			byTime[k] = append(byTime[k], candidate{name, make([]*objectives.Predictions, e.seeds)})
		}
	}
	learned := make([]float64, len(names)*e.seeds)
	err := e.together(len(learned), func(i int) (string, error) {
		name, run := names[i/e.seeds], i%e.seeds
		train, test, err := e.parts(run, 0.4)
		if err != nil {
			return name, err
		}
		if train, err = pictures(train.Take(examples)); err != nil {
			return name, err
		}
		if test, err = pictures(test.Take(2000)); err != nil {
			return name, err
		}
		t, err := rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}.Trainer(models.CNN{Channels: []int{8, 16}, Hidden: []int{64}, Classes: train.Classes()},
			named(name), rules.SpecOf(train, 50, e.seed+uint64(run)))
		if err != nil {
			return name, err
		}
		epoch := 0
		_, err = rules.Fit(e.ctx, t, train, rules.Config{Epochs: last, OnEpoch: func(rules.Record) error {
			epoch++
			k := slices.Index(times, epoch)
			if k < 0 {
				return nil
			}
			out, err := outputs(t, test)
			if err != nil {
				return err
			}
			byTime[k][i/e.seeds].runs[run], err = objectives.PredictionsOf(out, test.Labels)
			return err
		}})
		if err != nil {
			return name, err
		}
		v, err := rules.Evaluate(t, train)
		learned[i] = 100 * v.Accuracy
		return name, err
	})
	if err != nil {
		return err
	}
	surplus := func(p *objectives.Predictions) float64 {
		sum := 0.0
		for _, c := range p.Confidences() {
			sum += c / float64(len(p.Labels))
		}
		return 100 * (sum - p.Accuracy())
	}
	ece := measures[2].of
	plot := notebook.Plot{Title: "Calibration error", X: "epochs", Y: "ECE, %"}
	for c, name := range names {
		line := notebook.Line{Name: name}
		for k, at := range times {
			line.X, line.Y = append(line.X, float64(at)), append(line.Y, byTime[k][c].mean(ece))
		}
		plot.Lines = append(plot.Lines, line)
	}
	e.Plot(plot)
	final := byTime[len(times)-1]
	e.table(final, measures[0], measures[2], measures[3], measures[5], measure{"surplus, points", "%.1f", surplus})
	e.reliability(final, names...)
	e.Check("every training example is learned", slices.Min(learned) > 99, fmt.Sprintf("at least %.1f %%", slices.Min(learned)))
	if !e.claims {
		return nil
	}
	ce, square := pick(final, "cross-entropy"), pick(final, "squentropy")
	found := fmt.Sprintf("ECE %.1f and %.1f %%, surplus %+.1f and %+.1f points", square.mean(ece), ce.mean(ece), square.mean(surplus), ce.mean(surplus))
	switch e.name {
	case "digits":
		e.Check("on so easy a set squentropy is less sure than cross-entropy, and not sure enough", square.mean(surplus) < min(0, ce.mean(surplus)), found)
	case "fashion-mnist":
		e.Check("squentropy is better calibrated than cross-entropy, which is too sure", square.mean(ece) < ce.mean(ece) && ce.mean(surplus) > 0, found)
	}
	e.Text(fmt.Sprintf("In accuracy squentropy is %+.1f points from cross-entropy.", square.accuracy()-ce.accuracy()))
	return nil
}

// pictures gives examples that are rows of pixels the shape of a square picture.
func pictures(s *data.Set) (*data.Set, error) {
	if len(s.Shape) != 1 {
		return s, nil
	}
	side := int(math.Round(math.Sqrt(float64(s.Shape[0]))))
	return s.Reshape(1, side, side)
}
