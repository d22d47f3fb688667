package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func noisyLabels(e *experiment) error {
	const noise, clean = 0.4, "cross-entropy, labels right"
	robust := []string{"mae", "gce", "sce", "nce-rce", "nce-agce", "poly-drop", "jensen-shannon", "aldr-kl", "logit-clip"}
	names := append([]string{clean, "cross-entropy", "focal", "phuber"}, robust...)
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
		return e.learn(run, named(name), train, test, 60)
	})
	if err != nil {
		return err
	}
	e.report(list, clean, "cross-entropy", "gce", "nce-rce", "logit-clip")
	if !e.expectation {
		return nil
	}
	ce := pick(list, "cross-entropy")
	drop := pick(list, clean).accuracy() - ce.accuracy()
	e.Check("wrong labels cost cross-entropy at least 3 points", drop >= 3, fmt.Sprintf("%.1f points", drop))
	for _, name := range robust {
		gain := pick(list, name).accuracy() - ce.accuracy()
		e.Check(name+" is more accurate than cross-entropy", gain > 0, fmt.Sprintf("by %.1f points", gain))
	}
	for _, name := range []string{"focal", "phuber"} {
		e.Text(fmt.Sprintf("No gain is expected of %s, and there is %+.1f points.", name, pick(list, name).accuracy()-ce.accuracy()))
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
