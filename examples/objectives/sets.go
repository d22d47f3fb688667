package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A regime is how few examples there are to learn from, and for how long.
type regime struct {
	name   string
	counts func(class int) int
	steps  int
	decay  float64 // of the weights
}

func setLearning(e *experiment) error {
	even := func(n int) func(int) int { return func(int) int { return n } }
	tail := func(class int) int { // nine tenths of 200 in three classes
		if class < 3 {
			return 60
		}
		return 3
	}
	const held = "10 a class, weight decay"
	regimes := []regime{{"10 a class", even(10), 3000, 0}, {"most in three classes", tail, 3000, 0}, {held, even(10), 1500, 3e-3}}
	if e.name != "digits" {
		regimes = []regime{{"20 a class", even(20), 1500, 1e-3}, {"100 a class", even(100), 1500, 1e-3}, {"most in three classes", tail, 1500, 1e-3}}
	}
	methods := []string{"cross-entropy", "odd-k-out", "odd-k-out, soft", "odd-k-out, odd head"}
	e.Text(fmt.Sprintf(`
		*Odd-k-out learning* (L. Muttenthaler et al. 2023, arXiv 2307.02245) shows the model sets: two examples of one class and
		one of another, all classes equally often. The logits of a set are added, and the class of the pair must win,

		$$-\log \operatorname{softmax}\Big(\sum_{i \in \text{set}} x_i\Big)_{\text{pair}}.$$

		After training the model takes single examples as any other does. *Soft* names the odd class too, by its part of the
		set; the *odd head* is a second last layer that must find it, thrown away afterwards. Few examples of **%s**, a
		perceptron with two hidden layers, 64 sets or examples a step. The relative cross-entropy is
		$\overline{-\log p_y - H(p)}$: 0 for a calibrated model, above 0 for one that is too sure.`, e.name))
	var names []string
	for _, r := range regimes {
		for _, m := range methods {
			names = append(names, r.name+": "+m)
		}
	}
	of := map[string][2]int{}
	for i, n := range names {
		of[n] = [2]int{i / len(methods), i % len(methods)}
	}
	list, err := e.each(names, func(run int, name string) (*objectives.Predictions, error) {
		train, test, err := e.parts(run, 0.4)
		if err != nil {
			return nil, err
		}
		train, test = train.Flatten(), test.Flatten()
		r := regimes[of[name][0]]
		return e.learnSets(of[name][1], firstOf(train, r.counts), test, r, e.seed+uint64(run))
	})
	if err != nil {
		return err
	}
	e.table(list, measures[0], measures[2], measures[5], measure{"relative cross-entropy", "%.3f", relativeCrossEntropy})
	if !e.claims {
		return nil
	}
	nll := func(p *objectives.Predictions) float64 { return p.NLL() }
	ece := func(p *objectives.Predictions) float64 { return 100 * p.ECE(bins) }
	for i, r := range regimes {
		ce, set, soft, odd := list[4*i], list[4*i+1], list[4*i+2], list[4*i+3]
		if r.name == held {
			e.Check(r.name+": cross-entropy is not too sure, and odd-k-out is not sure enough", ce.mean(relativeCrossEntropy) < 0.05 && ce.mean(ece) < set.mean(ece),
				fmt.Sprintf("ECE %.1f and %.1f %%", ce.mean(ece), set.mean(ece)))
		} else {
			claim, holds := "is better calibrated", set.mean(ece) < ce.mean(ece) && set.mean(nll) < ce.mean(nll)
			if e.expectation {
				claim, holds = "is more accurate and better calibrated", holds && set.accuracy() > ce.accuracy()
			}
			e.Check(r.name+": odd-k-out "+claim+" than cross-entropy", holds,
				fmt.Sprintf("%.1f and %.1f %%, ECE %.1f and %.1f %%, NLL %.2f and %.2f", set.accuracy(), ce.accuracy(), set.mean(ece), ce.mean(ece), set.mean(nll), ce.mean(nll)))
		}
		e.Check(r.name+": soft targets make it far too unsure", soft.mean(relativeCrossEntropy) < -0.3, fmt.Sprintf("relative cross-entropy %.2f", soft.mean(relativeCrossEntropy)))
		e.Text(fmt.Sprintf("%s: no gain of the odd head is expected, and there is %+.1f points.", r.name, odd.accuracy()-set.accuracy()))
	}
	return nil
}

// firstOf is the first so many examples of each class.
func firstOf(s *data.Set, counts func(class int) int) *data.Set {
	taken := make([]int, s.Classes())
	var keep []int
	for i, l := range s.Labels {
		if taken[l] < counts(l) {
			taken[l]++
			keep = append(keep, i)
		}
	}
	return rows(s, keep)
}

// relativeCrossEntropy is the mean of -log p_y - H(p).
func relativeCrossEntropy(p *objectives.Predictions) float64 {
	sum := p.NLL()
	for _, l := range p.LogP {
		sum += math.Exp(l) * l / float64(len(p.Labels))
	}
	return sum
}

// sets is a source whose examples are sets of a data set's, drawn anew in each epoch. Their targets are the labels.
type sets struct {
	of      *data.Set
	sampler *objectives.OddKOutSampler
	n       int // of an epoch
	seed    uint64
	members [3]int
}

func (s *sets) Len() int           { return s.n }
func (s *sets) InputShape() []int  { return []int{len(s.members), len(s.of.X) / s.of.Len()} }
func (s *sets) Classes() int       { return 0 }
func (s *sets) TargetShape() []int { return []int{len(s.members)} }

func (s *sets) Read(i int, key uint64, x, y []float32) int {
	random := graph.Rand(s.seed, "sets", key*uint64(s.n)+uint64(i))
	if err := s.sampler.Sample(random, s.members[:]); err != nil {
		panic(err) // the number of members is right
	}
	width := len(x) / len(s.members)
	for k, m := range s.members {
		y[k] = float32(s.of.Read(m, key, x[k*width:(k+1)*width], nil))
	}
	return -1
}

// learnSets trains by one of the methods and predicts single test examples.
func (e *experiment) learnSets(method int, train, test *data.Set, r regime, seed uint64) (*objectives.Predictions, error) {
	const batch = 64
	units := [2]int{64, 64}
	optimizer := optim.SGD{LR: 0.05, Momentum: 0.9, Nesterov: true, WeightDecay: r.decay}
	options := optim.Options{Clip: optim.Clip{Value: 1}}
	if e.name != "digits" {
		units, options.Schedule = [2]int{256, 128}, optim.Cosine{Steps: r.steps}
	}
	body := layers.Sequential{
		layers.Dense{Units: units[0], Activation: layers.ReLU{}}, layers.Dense{Units: units[1], Activation: layers.ReLU{}},
	}
	head := func(s *graph.Scope, name string, h *graph.Node) *graph.Node {
		return layers.Dense{Units: train.Classes(), Name: name}.Apply(s.Root(), h)
	}
	model := func(s *graph.Scope, x *graph.Node) *graph.Node { return head(s, "classes", body.Apply(s, x)) }
	plan := rules.Plan{Name: "sets", Predict: model, Optimizer: optimizer, Options: options}
	single := rules.SpecOf(test, 250, seed)
	var source rules.Data = train
	spec := rules.SpecOf(train, batch, seed)
	if method == 0 {
		plan.Phases = []rules.Phase{func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
			loss := objectives.CrossEntropy(model(s, x), y)
			return []rules.Goal{rules.Minimize(loss, s.Graph().Trainable(loss))}
		}}
	} else {
		sampler, err := objectives.NewOddKOutSampler(train.Labels, 1)
		if err != nil {
			return nil, err
		}
		source = &sets{of: train, sampler: sampler, n: batch, seed: seed}
		spec = rules.SpecOf(source, batch, seed)
		o := objectives.OddKOutOptions{Soft: method == 2}
		plan.Phases = []rules.Phase{func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
			h := body.Apply(s, graph.Reshape(x, -1, graph.ShapeOf(x)[2]))
			labels := graph.Reshape(graph.Cast(y, graph.Int), -1)
			loss := o.Loss(head(s, "classes", h), labels)
			if method == 3 {
				loss = graph.Add(loss, o.OddLoss(head(s, "odd", h), labels))
			}
			return []rules.Goal{rules.Minimize(loss, s.Graph().Trainable(loss))}
		}}
		plan.Predict = func(s *graph.Scope, x *graph.Node) *graph.Node {
			shape := graph.ShapeOf(x)
			return graph.Reshape(model(s, graph.Reshape(x, -1, shape[2])), shape[0], -1)
		}
	}
	t, err := plan.Trainer(spec)
	if err != nil {
		return nil, err
	}
	if _, err := rules.Fit(e.ctx, t, source, rules.Config{Epochs: r.steps * spec.Batch / source.Len()}); err != nil {
		return nil, err
	}
	t, err = rules.Plan{Name: "sets", Params: t.Params(), Predict: model}.Trainer(single)
	if err != nil {
		return nil, err
	}
	out, err := outputs(t, test)
	if err != nil {
		return nil, err
	}
	return objectives.PredictionsOf(out, test.Labels)
}
