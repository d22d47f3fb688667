package main

import (
	"fmt"
	"slices"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func noisyLabels(e *experiment) error {
	const noise, clean = 0.4, "cross-entropy, labels right"
	robust := []string{"mae", "gce", "sce", "nce-rce", "nce-agce", "poly-drop", "jensen-shannon", "aldr-kl", "logit-clip"}
	own := map[string]objectives.Objective{
		"poly, ε = -0.9": objectives.PolyOptions{Eps: []float64{-0.9}}.Loss,
		"poly, ε = 2":    objectives.PolyOptions{Eps: []float64{2}}.Loss,
	}
	names := slices.Concat([]string{clean, "cross-entropy", "focal", "phuber", "poly, ε = -0.9", "poly, ε = 2", "squentropy", "rescaled-square"}, robust)
	e.Text(fmt.Sprintf(`
		Of **%s**, %.0f %% of the training examples have a label drawn at random from the wrong classes. A perceptron with 128
		hidden units learns from them for 60 epochs, long enough to learn wrong labels by heart; test labels are right.

		Cross-entropy, $-\log p_y$, has no upper bound, so a wrong label pulls the harder the surer the model is that it is
		wrong. The losses for noisy labels are bounded: a mistake costs at most so much, such as

		$$\tfrac{1 - p_y^{\,q}}{q} \;\text{(gce)}, \qquad 2\,(1 - p_y) \;\text{(mae)}, \qquad
		\tfrac{\log p_y}{\sum_k \log p_k} + A\,(1 - p_y) \;\text{(nce-rce)}.$$`, e.name, 100*noise))
	list, err := e.each(names, func(run int, name string) (*objectives.Predictions, error) {
		train, test, err := e.parts(run, 0.2)
		if err != nil {
			return nil, err
		}
		if name == clean {
			name = "cross-entropy"
		} else {
			train = flipped(train, noise, e.seed+uint64(run))
		}
		if f := own[name]; f != nil {
			return e.learn(run, f, train, test, 60)
		}
		return e.learn(run, named(name), train, test, 60)
	})
	if err != nil {
		return err
	}
	e.report(list, clean, "cross-entropy", "gce", "nce-rce", "logit-clip")
	if !e.expectation {
		return e.family(noise)
	}
	ce := pick(list, "cross-entropy")
	drop := pick(list, clean).accuracy() - ce.accuracy()
	e.Check("wrong labels cost cross-entropy at least 3 points", drop >= 3, fmt.Sprintf("%.1f points", drop))
	for _, name := range append(robust, "squentropy") {
		gain := pick(list, name).accuracy() - ce.accuracy()
		e.Check(name+" is more accurate than cross-entropy", gain > 0, fmt.Sprintf("by %.1f points", gain))
	}
	for _, name := range []string{"focal", "phuber", "rescaled-square"} {
		e.Text(fmt.Sprintf("No gain is expected of %s, and there is %+.1f points.", name, pick(list, name).accuracy()-ce.accuracy()))
	}
	low, high := pick(list, "poly, ε = -0.9"), pick(list, "poly, ε = 2")
	nll := (*objectives.Predictions).NLL
	e.Check("PolyLoss is the better by its likelihood, the larger ε", low.mean(nll) > ce.mean(nll) && ce.mean(nll) > high.mean(nll),
		fmt.Sprintf("NLL %.2f, %.2f, %.2f", low.mean(nll), ce.mean(nll), high.mean(nll)))
	e.Text(fmt.Sprintf("Of its accuracy nothing is promised: %+.1f and %+.1f points.", low.accuracy()-ce.accuracy(), high.accuracy()-ce.accuracy()))
	return e.family(noise)
}

// family compares the comp-sum losses.
func (e *experiment) family(noise float64) error {
	taus := []float64{0, 0.5, 1, 1.7, 2}
	e.Heading("One family, from steep to bounded")
	e.Text(`
		The *comp-sum losses* $\frac{p_y^{\tau-1} - 1}{1 - \tau}$ hold the sum-exponential loss ($\tau = 0$), cross-entropy
		($\tau = 1$), the generalised one ($\tau = 1 + q$) and the mean absolute error ($\tau = 2$; A. Mao et al. 2023, arXiv
		2304.07288). The steeper where $p_y$ is small, the more a wrong label counts. Gradients are clipped to a norm of 5.`)
	results := make([][2]float64, len(taus)*e.seeds)
	err := e.together(len(results), func(i int) (string, error) {
		tau, run := taus[i/e.seeds], i%e.seeds
		name := fmt.Sprint("τ = ", tau)
		train, test, err := e.parts(run, 0.2)
		if err != nil {
			return name, err
		}
		rule := rules.Backprop{Optimizer: optim.Adam{LR: 2e-3}, Options: optim.Options{Clip: optim.Clip{Norm: 5}}}
		for k, d := range []*data.Set{train, flipped(train, noise, e.seed+uint64(run))} {
			t, err := rule.Trainer(models.MLP{Hidden: []int{128}, Classes: d.Classes()}, objectives.CompSumOptions{Tau: tau}.Loss, rules.SpecOf(d, 32, e.seed+uint64(run)))
			if err != nil {
				return name, err
			}
			if _, err := rules.Fit(e.ctx, t, d, rules.Config{Epochs: 40}); err != nil {
				return name, err
			}
			v, err := rules.Evaluate(t, test)
			if err != nil {
				return name, err
			}
			results[i][k] = v.Accuracy
		}
		return name, nil
	})
	if err != nil {
		return err
	}
	mean := means(results, e.seeds)
	table := notebook.Table{Title: fmt.Sprintf("Test accuracy, %%, means of %d runs", e.seeds), Header: []string{"τ", "labels right", "labels wrong"}}
	for i, tau := range taus {
		table.Rows = append(table.Rows, []string{fmt.Sprint(tau), fmt.Sprintf("%.1f", mean[i][0]), fmt.Sprintf("%.1f", mean[i][1])})
	}
	e.Table(table)
	if e.expectation {
		e.Check("with wrong labels the sum-exponential loss is worst, and both bounded ones are best",
			mean[0][1] < mean[1][1] && mean[1][1] < mean[2][1] && mean[2][1] < min(mean[3][1], mean[4][1]),
			fmt.Sprintf("%.1f, %.1f, %.1f, %.1f, %.1f %%", mean[0][1], mean[1][1], mean[2][1], mean[3][1], mean[4][1]))
	}
	return nil
}

// flipped gives a part of the examples a label drawn from the other classes.
func flipped(s *data.Set, part float64, seed uint64) *data.Set {
	c := *s
	c.Labels = append([]int(nil), s.Labels...)
	random := graph.Rand(seed, "wrong labels", 0)
	for i, label := range c.Labels {
		if random.Float64() < part {
			c.Labels[i] = (label + 1 + random.IntN(c.Classes()-1)) % c.Classes()
		}
	}
	return &c
}
