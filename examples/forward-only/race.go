package main

import (
	"fmt"
	"strings"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// racers are the rules that run against each other, with their epochs on the digits.
var racers = []struct {
	name   string
	rule   rules.Rule
	epochs int
}{
	{"backprop", rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}, 20},
	{"forward gradient, 8 tangents", rules.ForwardGradient{Optimizer: optim.SGD{LR: 8e-3}, Tangents: 8, Options: clipped}, 20},
	{"forward gradient, one layer a step", rules.ForwardGradient{Optimizer: optim.SGD{LR: 3e-3}, Perturbation: rules.RankOne, OneLayer: true, Options: clipped}, 60},
	{"zeroth order, 1 direction", rules.MeZO{Optimizer: optim.SGD{LR: 3e-3}, Options: clipped}, 60},
	{"zeroth order, 8 directions", rules.MeZO{Optimizer: optim.SGD{LR: 8e-3}, Directions: 8, Options: clipped}, 20},
	{"zeroth order, 8 directions, Adam", rules.MeZO{Optimizer: optim.Adam{LR: 3e-3}, Directions: 8}, 20},
}

var clipped = optim.Options{Clip: optim.Clip{Norm: 50}}

func tellRace(s *story) error {
	s.Heading("Accuracy against time")
	s.Text("A perceptron with two hidden layers of 64 units and a small convolutional network learn **" + strings.ReplaceAll(s.race, ",", ", ") + "** by " +
		"each rule. A forward-only step knows the gradient in one direction, or in eight, of many thousands; so its steps are " +
		"small, and the more parameters, the smaller.")
	for _, name := range strings.Split(s.race, ",") {
		train, test, err := data.ByName(name, s.dir)
		if err != nil {
			return err
		}
		if n := train.InputShape(); len(n) == 1 && n[0] != 64 || train.Classes() == 0 {
			return graph.Fail("forward-only", "-data", "digits or images with classes", name)
		}
		if test != nil { // a short run on a part of a large set
			train, test = train.Take(s.examples), test.Take(s.examples/5)
			s.Text(fmt.Sprintf("Of **%s**, %d examples to learn from and %d to test with, a quarter of the epochs, and one seed.", name, train.Len(), test.Len()))
		}
		for _, m := range []struct {
			name  string
			model layers.Layer
		}{
			{"perceptron", models.MLP{Hidden: []int{64, 64}, Classes: train.Classes()}},
			{"convolutional network", models.CNN{Channels: []int{8, 16}, Hidden: []int{32}, Classes: train.Classes()}},
		} {
			if err := race(s, m.name+" on "+name, m.model, train, test); err != nil {
				return err
			}
		}
	}
	return nil
}

func race(s *story, name string, model layers.Layer, all, test *data.Set) error {
	t := notebook.Table{Title: "The " + name, Header: []string{"rule", "test accuracy", "seconds", "kB of activations", "refused steps"}}
	plot := notebook.Plot{Title: "The " + name, X: "seconds of training", Y: "test accuracy, %"}
	var best []float64
	runs := s.each
	if test != nil {
		runs = func(f func(seed uint64) error) error { return f(s.seed) }
	}
	for i, r := range racers {
		var right, seconds []float64
		bytes, refused := 0, 0
		err := runs(func(seed uint64) error {
			a, b := all, test
			var err error
			if b == nil {
				if a, b, err = all.Split(seed, 0.2); err != nil {
					return err
				}
			}
			a, b = image(a), image(b)
			tr, err := r.rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(a, 32, seed))
			if err != nil {
				return err
			}
			epochs := s.steps(r.epochs)
			if test != nil {
				epochs = max(epochs/4, 1)
			}
			bar := s.Progress(r.name, epochs*(a.Len()/32))
			defer bar.Done()
			h, err := rules.Fit(s.ctx, tr, a, rules.Config{Epochs: epochs, Validation: b, OnStep: func(p rules.Progress) error {
				bar.Set(p.Step, fmt.Sprintf("loss %.3f", p.Loss))
				return nil
			}})
			if err != nil {
				return err
			}
			right, seconds = append(right, h.Last().Accuracy), append(seconds, h.Last().Seconds)
			bytes, refused = tr.ActivationBytes(), refused+rules.Refused(tr)
			if seed == s.seed {
				line := notebook.Line{Name: r.name}
				for _, rec := range h.Records {
					line.X, line.Y = append(line.X, rec.Seconds), append(line.Y, 100*rec.Accuracy)
				}
				plot.Lines = append(plot.Lines, line)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if i == 0 {
			best = right
		}
		t.Rows = append(t.Rows, []string{r.name, percent(right), fmt.Sprintf("%.1f", mean(seconds)), fmt.Sprint(bytes / 1000), fmt.Sprint(refused)})
		s.Expect(fmt.Sprintf("%s (%s) learns far more than the 10 %% of chance", r.name, name), mean(right) > 0.4, percent(right))
		if i > 0 {
			s.Expect(fmt.Sprintf("%s (%s) stays behind backprop", r.name, name), mean(right) <= mean(best), fmt.Sprintf("%s, %s", percent(right), percent(best)))
		}
	}
	s.Table(t)
	s.Plot(plot)
	return nil
}

// image gives the digits, which come as vectors, the shape of images; the other sets have it.
func image(d *data.Set) *data.Set {
	if len(d.Shape) > 1 {
		return d
	}
	c := *d
	c.Shape = []int{1, 8, 8}
	return &c
}
