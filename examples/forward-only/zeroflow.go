package main

import (
	"fmt"
	"strings"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// learners are the ways of training a head, with the learning rates that suit them.
var learners = []struct {
	name   string
	rule   rules.Rule
	replay int // old examples in a batch of the second task
}{
	{"first order", rules.Backprop{Optimizer: optim.SGD{LR: 0.5}}, 16},
	{"zeroth order, 1 direction", rules.MeZO{Optimizer: optim.SGD{LR: 0.02}}, 16},
	{"zeroth order, 4 directions", rules.MeZO{Optimizer: optim.SGD{LR: 0.05}, Directions: 4}, 16},
	{"sign of the slope", rules.MeZO{Optimizer: optim.SGD{LR: 0.01}, Form: rules.SlopeSign}, 16},
	{"conservative", rules.MeZO{Optimizer: optim.SGD{LR: 0.05}, Form: rules.Conservative}, 16},
	{"zeroth order, Adam", rules.MeZO{Optimizer: optim.Adam{LR: 0.02}, Directions: 4}, 16},
	{"sparse, a tenth of the entries held", rules.MeZO{Optimizer: optim.SGD{LR: 0.02}, Sparsity: 0.1}, 16},
	{"first, then zeroth order", rules.MeZO{Optimizer: optim.SGD{LR: 0.02}, Hybrid: rules.FirstThenZeroth, FirstOrder: optim.SGD{LR: 0.5}}, 16},
	{"zeroth, then first order", rules.MeZO{Optimizer: optim.SGD{LR: 0.02}, Hybrid: rules.ZerothThenFirst, FirstOrder: optim.SGD{LR: 0.5}}, 16},
	{"forward gradient", rules.ForwardGradient{Optimizer: optim.SGD{LR: 0.02}}, 16},
	{"first order, no old examples", rules.Backprop{Optimizer: optim.SGD{LR: 0.5}}, 0},
	{"zeroth order, no old examples", rules.MeZO{Optimizer: optim.SGD{LR: 0.02}}, 0},
}

// A course is what a learner could after each task.
type course struct {
	learned, kept, second, forgotten []float64
}

func tellZeroFlow(s *story) error {
	s.Heading("Two tasks, one after the other, without gradients")
	s.Text("T. Feng and others (2025, arXiv 2501.01045) ask whether forward passes are enough to learn a sequence of tasks " +
		"on top of a frozen network. Here the frozen network is a projection of the digits to their 16 principal " +
		"components; a linear head learns 0 to 4, then 5 to 9, with 16 old examples in each batch of 80, or none. The slope along a " +
		"random direction $z$ is $p = (L(\\theta + \\epsilon z) - L(\\theta - \\epsilon z)) / 2\\epsilon$, and $p z$ stands for " +
		"the gradient. *Sign* takes $\\operatorname{sign}(p) z$; *conservative* keeps the best of $\\theta$, " +
		"$\\theta + \\Delta$ and $\\theta - \\Delta$.")
	courses := make([]course, len(learners))
	err := s.each(func(seed uint64) error {
		a, b, err := components(seed)
		if err != nil {
			return err
		}
		for i, l := range learners {
			if err := courses[i].take(s, l.rule, l.replay, a, b, seed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := notebook.Table{Header: []string{"rule", "task 1 learned", "task 1 after task 2", "task 2", "forgotten"}}
	for i, l := range learners {
		c := courses[i]
		t.Rows = append(t.Rows, []string{l.name, percent(c.learned), percent(c.kept), percent(c.second), percent(c.forgotten)})
	}
	s.Table(t)
	first := courses[0]
	s.Text("Forward passes alone come close to the first order on each task. They do not forget less: where the paper finds " +
		"so, with a pretrained transformer, the reason is not that forward-only steps forget less by nature.")
	for i, l := range learners[1:] {
		c := courses[i+1]
		if l.replay == 0 {
			s.Expect(l.name+": a third of task 1 or more is forgotten", mean(c.forgotten) > mean(c.learned)/3, fmt.Sprintf("%s of %s", percent(c.kept), percent(c.learned)))
			continue
		}
		gap := max(mean(first.learned)-mean(c.learned), mean(first.second)-mean(c.second))
		s.Expect(l.name+" learns either task within 8 points of the first order", gap < 0.08, fmt.Sprintf("%.1f points", 100*gap))
		s.Expect(l.name+" does not forget less", mean(c.forgotten) > mean(first.forgotten)-0.02, fmt.Sprintf("%s, first order %s", percent(c.forgotten), percent(first.forgotten)))
	}
	return nil
}

// take trains a head on both tasks and examines it.
func (c *course) take(s *story, rule rules.Rule, replay int, a, b *data.Set, seed uint64) error {
	spec := rules.SpecOf(a, 80, seed)
	t, err := rule.Trainer(layers.Dense{Units: 10}, objectives.CrossEntropy, spec)
	if err != nil {
		return err
	}
	one, two := of(a, 0), of(a, 5)
	half := s.steps(500)
	task := func(examples []int, replay int) error {
		for epoch := range 2 { // a hybrid rule's two halves
			t.StartEpoch(epoch, 2)
			if _, err := train(t, a, half, examples, replay, one); err != nil {
				return err
			}
		}
		return nil
	}
	if err := task(one, 0); err != nil {
		return err
	}
	learned, err := accuracy(t, b, of(b, 0))
	if err != nil {
		return err
	}
	if err := task(two, replay); err != nil {
		return err
	}
	kept, err := accuracy(t, b, of(b, 0))
	if err != nil {
		return err
	}
	second, err := accuracy(t, b, of(b, 5))
	c.learned, c.kept = append(c.learned, learned), append(c.kept, kept)
	c.second, c.forgotten = append(c.second, second), append(c.forgotten, learned-kept)
	return err
}

// of lists the examples of the five classes from the given one on.
func of(d *data.Set, first int) (list []int) {
	for i, label := range d.Labels {
		if label >= first && label < first+5 {
			list = append(list, i)
		}
	}
	return list
}

// accuracy is the share of the given examples that a trainer gets right.
func accuracy(t rules.Trainer, d *data.Set, examples []int) (float64, error) {
	part, err := d.Subset(examples)
	if err != nil {
		return 0, err
	}
	e, err := rules.Evaluate(t, part)
	return e.Accuracy, err
}

// components is the digits by their first 16 principal components, divided by the first one's deviation.
func components(seed uint64) (train, test *data.Set, err error) {
	train, test, err = split(seed)
	if err != nil {
		return nil, nil, err
	}
	const keep = 16
	width := train.Shape[0]
	x := mat.NewDense(train.Len(), width, nil)
	for i, v := range train.X {
		x.Set(i/width, i%width, float64(v))
	}
	var pc stat.PC
	if !pc.PrincipalComponents(x, nil) {
		return nil, nil, fmt.Errorf("no principal components of %s", strings.TrimSpace(train.Name))
	}
	var vectors mat.Dense
	pc.VectorsTo(&vectors)
	centre := make([]float64, width)
	for i := range centre {
		centre[i] = stat.Mean(mat.Col(nil, i, x), nil)
	}
	scale := stat.StdDev(projection(train, &vectors, centre, 0), nil)
	for _, d := range []*data.Set{train, test} {
		out := make([]float32, d.Len()*keep)
		for k := range keep {
			for i, v := range projection(d, &vectors, centre, k) {
				out[i*keep+k] = float32(v / scale)
			}
		}
		d.X, d.Shape = out, []int{keep}
	}
	return train, test, nil
}

// projection is component k of every example.
func projection(d *data.Set, vectors *mat.Dense, centre []float64, k int) []float64 {
	width := len(centre)
	p := make([]float64, d.Len())
	for i := range p {
		for j, c := range centre {
			p[i] += (float64(d.X[i*width+j]) - c) * vectors.At(j, k)
		}
	}
	return p
}
