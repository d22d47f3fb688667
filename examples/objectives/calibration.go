package main

import (
	"fmt"
	"slices"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func calibration(e *experiment) error {
	const epochs, grain = 100, 0.4
	own := map[string]objectives.Objective{
		"label smoothing": objectives.CrossEntropyOptions{LabelSmoothing: 0.1}.Loss,
		"less sure poly":  objectives.PolyOptions{Eps: []float64{-0.9}}.Loss,
	}
	trained := []string{"cross-entropy", "label smoothing", "focal", "poly", "less sure poly", "squentropy", "multi-margin"}
	scaled := map[string]string{"then a temperature": "cross-entropy", "then correctness-aware": "correctness-aware"}
	e.Text(fmt.Sprintf(`
		A model that says 80 %% should be right in 80 of 100 cases. A perceptron learns **%s**, made harder by noise of standard
		deviation %v on every pixel (white is 0, black 1), for %d epochs;
		afterwards the *expected calibration error* is the mean distance of confidence and accuracy over %d bins of
		confidence, of equal width (ECE) or of equal numbers (adaptive). AUROC and FPR95: how well confidence tells right
		answers from wrong ones, which is another matter.

		The last two lines take the model trained by cross-entropy and divide its logits by one number, fitted to other
		examples by cross-entropy or by the loss $\frac{1}{n}\sum_i (p_{\hat y} - [\hat y = y])^2$ of being right.`, e.name, grain, epochs, bins))
	names := append(slices.Clone(trained), "then a temperature", "then correctness-aware")
	list, err := e.each(names, func(run int, name string) (*objectives.Predictions, error) {
		train, test, err := e.parts(run, 0.5)
		if err != nil {
			return nil, err
		}
		train, test = grainy(train, grain, e.seed+uint64(run)), grainy(test, grain, e.seed+uint64(run)+1<<32)
		train, held, err := train.Split(e.seed+uint64(run), 0.4)
		if err != nil {
			return nil, err
		}
		if f := scaled[name]; f != "" {
			return e.scale(run, named(f), train, held, test, epochs)
		}
		if f := own[name]; f != nil {
			return e.learn(run, f, train, test, epochs)
		}
		return e.learn(run, named(name), train, test, epochs)
	})
	if err != nil {
		return err
	}
	e.report(list, "cross-entropy", "label smoothing", "squentropy", "then a temperature")
	if !e.expectation {
		return e.rightness()
	}
	ce := pick(list, "cross-entropy")
	sure := func(p *objectives.Predictions) float64 {
		sum := 0.0
		for _, c := range p.Confidences() {
			sum += c / float64(len(p.Labels))
		}
		return sum - p.Accuracy()
	}
	e.Check("cross-entropy is too sure", ce.mean(sure) > 0, fmt.Sprintf("confidence is %.1f points above accuracy", 100*ce.mean(sure)))
	ece := func(p *objectives.Predictions) float64 { return p.AdaptiveECE(bins) }
	for _, name := range []string{"label smoothing", "focal", "less sure poly", "squentropy"} {
		c := pick(list, name)
		e.Check(name+": a smaller calibration error", c.mean(ece) < ce.mean(ece), fmt.Sprintf("adaptive ECE %.1f instead of %.1f %%", 100*c.mean(ece), 100*ce.mean(ece)))
	}
	for _, name := range []string{"then a temperature", "then correctness-aware"} {
		c := pick(list, name)
		e.Check(name+": a smaller calibration error, the same answers", c.mean(ece) < ce.mean(ece) && c.accuracy() == ce.accuracy(),
			fmt.Sprintf("adaptive ECE %.1f instead of %.1f %%", 100*c.mean(ece), 100*ce.mean(ece)))
	}
	for _, name := range []string{"label smoothing", "squentropy"} {
		c := pick(list, name)
		e.Check(name+" errs to the other side: not sure enough", c.mean(sure) < 0, fmt.Sprintf("%.1f points", 100*c.mean(sure)))
	}
	poly, less := pick(list, "poly"), pick(list, "less sure poly")
	e.Check("PolyLoss makes surer with a positive coefficient, less sure with a negative one", less.mean(sure) < ce.mean(sure) && ce.mean(sure) < poly.mean(sure),
		fmt.Sprintf("%+.2f, %+.2f, %+.2f points", 100*less.mean(sure), 100*ce.mean(sure), 100*poly.mean(sure)))
	widest := 0.0
	for _, c := range list {
		widest = max(widest, ce.accuracy()-c.accuracy(), c.accuracy()-ce.accuracy())
	}
	e.Text(fmt.Sprintf("None of them is for accuracy, and no effect on it is reported: here all lie within %.1f points of cross-entropy.", widest))
	return e.rightness()
}

// scale trains by cross-entropy and then one temperature by the objective, on held-out examples.
func (e *experiment) scale(run int, f objectives.Objective, train, held, test *data.Set, epochs int) (*objectives.Predictions, error) {
	trainer, logits, err := e.fit(run, models.MLP{Hidden: []int{128}, Classes: train.Classes()}, objectives.CrossEntropy, train, test, epochs)
	if err != nil {
		return nil, err
	}
	of := func(logits *graph.Array, labels []int) *data.Set {
		return &data.Set{Name: "logits", Shape: []int{train.Classes()}, X: logits.Float32s(), Labels: labels, ClassNames: train.ClassNames}
	}
	known, err := outputs(trainer, held)
	if err != nil {
		return nil, err
	}
	set := of(known, held.Labels)
	t, err := rules.Backprop{Optimizer: optim.Adam{LR: 0.02}}.Trainer(models.TemperatureScaling{}, f, rules.SpecOf(set, set.Len(), e.seed))
	if err != nil {
		return nil, err
	}
	if _, err := rules.Fit(e.ctx, t, set, rules.Config{Epochs: 200}); err != nil {
		return nil, err
	}
	out, err := outputs(t, of(logits, test.Labels))
	if err != nil {
		return nil, err
	}
	return objectives.PredictionsOf(out, test.Labels)
}

// grainy adds normal noise to every feature.
func grainy(s *data.Set, deviation float64, seed uint64) *data.Set {
	c := *s
	c.X = make([]float32, len(s.X))
	random := graph.Rand(seed, "grain", 0)
	for i, v := range s.X {
		c.X[i] = v + float32(deviation*random.NormFloat64())
	}
	return &c
}
