package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A long run trains on the 60,000 images of Fashion-MNIST.
type long struct {
	name   string
	about  string
	model  layers.Layer
	rule   func(steps int) rules.Rule // steps of the whole run, for the schedule
	epochs int
	batch  int
	images pixels
	want   float64 // percent on the 10,000 test images; 0 for none
}

// pixels says what is done to the images, whose pixels are from 0 to 1.
type pixels int

const (
	plain      pixels = iota
	normalised        // to mean 0 and deviation 1 over the training images
	augmented         // normalised, and every second one mirrored each time it is read
)

// convolutional is 64, 128 and 256 channels with batch normalisation, halved twice, grouped into blocks by joined: the second
// and the third convolution are one block, as the residual blocks of larger networks are, or two.
func convolutional(joined bool) layers.Layer {
	conv := func(filters int) layers.Block {
		return layers.Block{layers.Conv2D{Filters: filters, Padding: layers.Both(1), NoBias: true, Init: layers.He}, layers.BatchNorm{}, layers.ReLU{}}
	}
	first, second, third := append(conv(64), layers.MaxPool2D{}), append(conv(128), layers.MaxPool2D{}), conv(256)
	if joined {
		return layers.Sequential{first, append(second, third...), layers.Flatten{}, layers.Dense{Units: 10}}
	}
	return layers.Sequential{first, second, third, layers.Flatten{}, layers.Dense{Units: 10}}
}

// cosine is Adam whose rate falls along half a cosine.
func cosine(steps int) optim.Options { return optim.Options{Schedule: optim.Cosine{Steps: steps}} }

var (
	twoLayers   = models.MLP{Hidden: []int{1000, 1000}, Classes: 10}
	threeLayers = models.MLP{Hidden: []int{500, 500, 500}, Classes: 10}
	fourLayers  = models.MLP{Hidden: []int{2000, 2000, 2000, 2000}, Classes: 10}
)

// contrastive is forward-forward as its collaborating form is compared with it: wrong labels drawn uniformly, activities of
// length 1, all layers in the sum that predicts.
func contrastive(c rules.Collaboration) rules.Rule {
	return rules.ForwardForward{Collaboration: c, Negatives: rules.WrongLabel, Normalization: rules.UnitLength, Threshold: 2. / 500,
		Readout: rules.Energy, Skip: -1, Peer: -1, Optimizer: optim.Adam{LR: 3e-3}}
}

var longs = []long{
	{"backprop-mlp", "784-1000-1000-10", twoLayers, func(n int) rules.Rule {
		return rules.Backprop{Optimizer: optim.Adam{LR: 5e-4}, Options: cosine(n)}
	}, 12, 128, normalised, 0},
	{"mono-forward-mlp", "784-1000-1000", twoLayers, func(n int) rules.Rule {
		return rules.MonoForward{Optimizer: optim.Adam{LR: 5e-4}, Options: cosine(n)}
	}, 20, 128, normalised, 90},
	{"backprop-cnn", "64, 128, 256 channels", convolutional(false), func(n int) rules.Rule {
		return rules.Backprop{Optimizer: optim.Adam{LR: 2e-3}, Options: cosine(n)}
	}, 5, 128, augmented, 0},
	{"mono-forward-cnn", "64, 128, 256 channels", convolutional(false), func(n int) rules.Rule {
		return rules.MonoForward{Optimizer: optim.Adam{LR: 2e-3}, Options: cosine(n)}
	}, 8, 128, augmented, 92.5},
	{"scalable-forward-forward-cnn", "64, 128, 256 channels", convolutional(false), func(n int) rules.Rule {
		return rules.ScalableForwardForward{Optimizer: optim.Adam{LR: 2e-3}, Options: cosine(n)}
	}, 5, 128, augmented, 0},
	{"scalable-forward-forward-cnn2", "64, (128, 256) channels", convolutional(true), func(n int) rules.Rule {
		return rules.ScalableForwardForward{Optimizer: optim.Adam{LR: 2e-3}, Options: cosine(n), Readout: rules.LastBlock}
	}, 5, 128, augmented, 0},
	{"pepita-mlp", "784-1024-10, dropout 0.1", layers.Sequential{layers.Flatten{}, layers.Dense{Units: 1024, Activation: layers.ReLU{}, Init: layers.He}, layers.Dropout{P: 0.1}, layers.Dense{Units: 10}}, func(n int) rules.Rule {
		return rules.PEPITA{Optimizer: optim.SGD{LR: 0.1, Momentum: 0.9}, Options: cosine(n)}
	}, 10, 64, plain, 85},
	{"backprop-mlp1", "784-1024-10, dropout 0.1", layers.Sequential{layers.Flatten{}, layers.Dense{Units: 1024, Activation: layers.ReLU{}, Init: layers.He}, layers.Dropout{P: 0.1}, layers.Dense{Units: 10}}, func(n int) rules.Rule {
		return rules.Backprop{Optimizer: optim.SGD{LR: 0.02, Momentum: 0.9}, Options: cosine(n)}
	}, 10, 64, plain, 0},
	{"backprop-mlp4", "784-2000-2000-2000-2000-10", fourLayers, func(n int) rules.Rule {
		return rules.Backprop{Optimizer: optim.Adam{LR: 3e-4}, Options: cosine(n)}
	}, 8, 128, plain, 0},
	{"forward-forward-mlp4", "784-2000-2000-2000-2000", fourLayers, func(n int) rules.Rule {
		return rules.ForwardForward{Optimizer: optim.Adam{LR: 1e-3}, Temperature: 80}
	}, 12, 128, plain, 88.5},
	{"forward-forward-mlp3", "784-500-500-500", threeLayers, func(n int) rules.Rule { return contrastive(rules.None) }, 10, 128, plain, 0},
	{"forward-forward-collaboration-mlp3", "784-500-500-500", threeLayers, func(n int) rules.Rule { return contrastive(rules.All) }, 10, 128, plain, 0},
}

func longNames() []string {
	var names []string
	for _, l := range longs {
		names = append(names, l.name)
	}
	return names
}

func tellLong(s *story) error {
	s.Heading("Fashion-MNIST, 60,000 images")
	table := notebook.Table{Header: []string{"run", "network", "epochs", "batch", "seed", "test accuracy", "by layer alone", "layers up to", "seconds", "MB a step"}}
	for _, l := range longs {
		if !slices.Contains(s.runs, l.name) {
			continue
		}
		for i := range s.seeds {
			row, err := l.run(s, s.seed+uint64(i))
			if err != nil {
				return err
			}
			table.Rows = append(table.Rows, row)
			if err := s.write("\n| %s |\n", join(table.Header)); err != nil {
				return err
			}
			if err := s.write("| %s |\n| %s |\n", join(slices.Repeat([]string{"---"}, len(row))), join(row)); err != nil {
				return err
			}
		}
	}
	s.Table(table)
	return nil
}

func join(cells []string) string {
	text := cells[0]
	for _, c := range cells[1:] {
		text += " | " + c
	}
	return text
}

// run trains, resuming from a checkpoint beside the page if there is one, and gives a row of the table.
func (l long) run(s *story, seed uint64) ([]string, error) {
	train, test, err := data.ByName("fashion-mnist", s.dir)
	if err != nil {
		return nil, err
	}
	if l.images != plain {
		norm := data.PerChannel(train)
		if train, err = norm.Apply(train); err != nil {
			return nil, err
		}
		if test, err = norm.Apply(test); err != nil {
			return nil, err
		}
	}
	var d rules.Data = train
	if l.images == augmented {
		if d, err = train.Augment(data.Augmentation{Flip: true}); err != nil {
			return nil, err
		}
	}
	epochs := l.epochs
	if s.epochs > 0 {
		epochs = s.epochs
	}
	perEpoch := train.Len() / l.batch
	tr, err := l.rule(epochs*perEpoch).Trainer(l.model, objectives.CrossEntropy, rules.SpecOf(d, l.batch, seed))
	if err != nil {
		return nil, err
	}
	bar := s.Progress(l.name, epochs*perEpoch)
	defer bar.Done()
	h, err := rules.Fit(s.ctx, tr, d, rules.Config{
		Epochs: epochs, Validation: test, Resume: true,
		Checkpoint: filepath.Join(s.out, fmt.Sprintf("%s-%d.safetensors", l.name, seed)),
		OnStep: func(p rules.Progress) error {
			if p.Step%50 == 0 {
				bar.Set(p.Step, fmt.Sprintf("epoch %d/%d loss %.3f", p.Epoch, p.Epochs, p.Loss))
			}
			return nil
		},
		OnEpoch: func(r rules.Record) error {
			s.Text(fmt.Sprintf("%s, epoch %d: loss %.4f, test accuracy %.2f %%, %.0f s", l.name, r.Epoch, r.Loss, 100*r.Accuracy, r.Seconds))
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	alone, upTo := "", ""
	if e, err := rules.EvaluateLayers(tr, test); err == nil {
		alone, upTo = percents(e.Alone), percents(e.UpTo)
	}
	last := h.Last()
	if l.want > 0 && s.epochs == 0 {
		if err := s.expect(fmt.Sprintf("%s reaches %.1f %%", l.name, l.want), 100*last.Accuracy >= l.want, fmt.Sprintf("%.2f %%", 100*last.Accuracy)); err != nil {
			return nil, err
		}
	}
	return []string{l.name, l.about, fmt.Sprint(epochs), fmt.Sprint(l.batch), fmt.Sprint(seed), fmt.Sprintf("%.2f %%", 100*last.Accuracy), alone, upTo,
		fmt.Sprintf("%.0f", last.Seconds), fmt.Sprintf("%.1f", float64(tr.ActivationBytes())/1e6)}, nil
}

// percents lists shares as percentages.
func percents(x []float64) string {
	text := ""
	for i, v := range x {
		if i > 0 {
			text += " "
		}
		text += fmt.Sprintf("%.1f", 100*v)
	}
	return text
}
