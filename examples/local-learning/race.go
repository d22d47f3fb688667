package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A racer is a rule as it runs on the two networks of the race, with its epochs on the digits and how many points it may
// stay behind backpropagation.
type racer struct {
	name     string
	mlp, cnn rules.Rule // nil: not for this network
	epochs   int
	behind   float64
}

var (
	adam = optim.Adam{LR: 1e-3}
	sgd  = optim.SGD{LR: 0.05, Momentum: 0.9}
	slow = optim.SGD{LR: 0.01, Momentum: 0.9}
)

var racers = []racer{
	{"backprop", rules.Backprop{Optimizer: adam}, rules.Backprop{Optimizer: adam}, 20, 0},
	{"mono-forward", rules.MonoForward{Optimizer: adam}, rules.MonoForward{Optimizer: adam}, 20, 5},
	{"mono-forward, block after block", rules.MonoForward{Optimizer: adam, Order: rules.Sequential}, rules.MonoForward{Optimizer: adam, Order: rules.Sequential}, 60, 5},
	{"scalable forward-forward", rules.ScalableForwardForward{Optimizer: optim.Adam{LR: 2e-3}}, rules.ScalableForwardForward{Optimizer: optim.Adam{LR: 2e-3}}, 20, 5},
	{"forward-forward", rules.ForwardForward{Optimizer: adam}, rules.ForwardForward{Optimizer: adam, Label: rules.OverwriteLabel, LabelStrength: 2}, 40, 5},
	{"forward-forward, all collaborate", rules.ForwardForward{Optimizer: adam, Collaboration: rules.All, Readout: rules.Energy, Skip: -1}, nil, 40, 5},
	{"forward-forward without labels", nil, rules.ForwardForward{Optimizer: adam, Negatives: rules.HybridImages}, 20, 10},
	{"recurrent forward-forward", rules.RecurrentForwardForward{Optimizer: adam}, nil, 20, 5},
	{"backprop on goodness", rules.BackpropOnGoodness{Optimizer: adam}, nil, 40, 5},
	{"physical forward-forward", rules.PhysicalForwardForward{Optimizer: adam}, nil, 20, 5},
	{"feedback alignment", rules.FeedbackAlignment{Optimizer: slow}, rules.FeedbackAlignment{Optimizer: adam}, 20, 5},
	{"direct feedback alignment", rules.DirectFeedbackAlignment{Optimizer: slow}, rules.DirectFeedbackAlignment{Optimizer: adam}, 20, 5},
	{"adaptive feedback alignment", rules.AdaptiveFeedbackAlignment{Optimizer: slow}, nil, 40, 5},
	{"PEPITA", rules.PEPITA{Optimizer: optim.SGD{LR: 0.03}}, nil, 60, 8},
}

// networks are the same for every rule.
func networks(classes int) (mlp, cnn layers.Layer) {
	return models.MLP{Hidden: []int{128, 128, 128}, Classes: classes},
		layers.Sequential{
			layers.Block{layers.Conv2D{Filters: 16, Padding: layers.Both(1), Activation: layers.ReLU{}}},
			layers.Block{layers.Conv2D{Filters: 32, Padding: layers.Both(1), Activation: layers.ReLU{}}, layers.MaxPool2D{}},
			layers.Block{layers.Residual{Body: layers.Conv2D{Filters: 32, Padding: layers.Both(1), Activation: layers.ReLU{}}}},
			layers.Flatten{},
			layers.Dense{Units: classes},
		}
}

// sets are the training and test part of a seed: the whole of the digits, or the first 10,000 and 2,000 images of a
// larger set.
func (s *story) sets(seed uint64) (train, test *data.Set, err error) {
	train, test, err = data.ByName(s.data, s.dir)
	if err != nil {
		return nil, nil, err
	}
	if test == nil {
		train, test, err = train.Split(seed, 0.2)
	} else {
		train, test = train.Take(10000), test.Take(2000)
	}
	return train, test, err
}

func tellRace(s *story) error {
	s.Heading("The same network under every rule")
	s.Text("A perceptron with three hidden layers of 128 units, and a network of three convolutional blocks, the last one " +
		"residual, learn **" + s.data + "** by each rule. Memory is what a step keeps beside parameters and optimiser state.")
	for _, images := range []bool{false, true} {
		if err := s.raceOn(images); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) raceOn(images bool) error {
	name := map[bool]string{false: "perceptron", true: "convolutional network"}[images]
	t := notebook.Table{Title: "The " + name, Header: []string{"rule", "test accuracy", "each block alone", "blocks up to", "seconds", "kB a step"}}
	plot := notebook.Plot{Title: "The " + name + ", block by block", X: "block", Y: "test accuracy of its scores alone, %"}
	base := 0.0
	for _, r := range racers {
		rule := r.mlp
		if images {
			rule = r.cnn
		}
		if rule == nil {
			continue
		}
		var accuracy []float64
		var by rules.LayerAccuracy
		seconds, bytes := 0.0, 0
		for i := range s.seeds {
			seed := s.seed + uint64(i)
			train, test, err := s.sets(seed)
			if err != nil {
				return err
			}
			if images {
				train, test = image(train), image(test)
			} else {
				train, test = train.Flatten(), test.Flatten()
			}
			mlp, cnn := networks(train.Classes())
			model := mlp
			if images {
				model = cnn
			}
			tr, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 32, seed))
			if err != nil {
				return err
			}
			h, err := s.fit(r.name, tr, train, test, r.epochs)
			if err != nil {
				return err
			}
			accuracy = append(accuracy, h.Last().Accuracy)
			seconds, bytes = seconds+h.Last().Seconds/float64(s.seeds), tr.ActivationBytes()
			if e, err := rules.EvaluateLayers(tr, test); err == nil && i == 0 {
				by = e
			}
		}
		t.Rows = append(t.Rows, []string{r.name, percent(accuracy), percents(by.Alone), percents(by.UpTo), fmt.Sprintf("%.1f", seconds), fmt.Sprint(bytes / 1000)})
		if len(by.Alone) > 0 {
			line := notebook.Line{Name: r.name}
			for _, v := range by.Alone {
				line.Y = append(line.Y, 100*v)
			}
			plot.Lines = append(plot.Lines, line)
		}
		if base == 0 {
			base = mean(accuracy)
			continue
		}
		if err := s.expect(fmt.Sprintf("%s is within %.0f points of backprop on the %s", r.name, r.behind, name), mean(accuracy) > base-r.behind/100, percent(accuracy)); err != nil {
			return err
		}
	}
	s.Plot(plot)
	return s.show(t)
}

// fit trains with a bar; larger sets than the digits get a quarter of the epochs.
func (s *story) fit(name string, t rules.Trainer, train, test *data.Set, epochs int) (*rules.History, error) {
	if train.Len() > 5000 {
		epochs = max(epochs/4, 2)
	}
	epochs = s.length(epochs)
	bar := s.Progress(name, epochs*(train.Len()/t.Spec().Batch))
	defer bar.Done()
	return rules.Fit(s.ctx, t, train, rules.Config{Epochs: epochs, Validation: test, OnStep: func(p rules.Progress) error {
		if p.Step%16 == 0 || p.Step == p.Steps {
			bar.Set(p.Step, fmt.Sprintf("loss %.3f", p.Loss))
		}
		return nil
	}})
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

// percent writes a mean of shares, with its deviation if there are several.
func percent(x []float64) string {
	if len(x) < 2 {
		return fmt.Sprintf("%.1f %%", 100*mean(x))
	}
	sum := 0.0
	for _, v := range x {
		sum += (v - mean(x)) * (v - mean(x))
	}
	return fmt.Sprintf("%.1f ± %.1f %%", 100*mean(x), 100*math.Sqrt(sum/float64(len(x)-1)))
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v / float64(len(x))
	}
	return sum
}
