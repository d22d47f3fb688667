package rules_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Hidden layers that learn from images and mixtures of images alone; only the linear readout learns from labels.
func ExampleForwardForward_unsupervised() {
	train, test, err := data.Digits().Split(1, 0.2)
	if err != nil {
		log.Fatal(err)
	}
	if train, err = train.Reshape(1, 8, 8); err != nil {
		log.Fatal(err)
	}
	if test, err = test.Reshape(1, 8, 8); err != nil {
		log.Fatal(err)
	}
	rule := rules.ForwardForward{Negatives: rules.HybridImages, Blur: 2}
	model := models.MLP{Hidden: []int{100, 100, 100}, Classes: 10}
	trainer, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 50, 1))
	if err != nil {
		log.Fatal(err)
	}
	history, err := rules.Fit(context.Background(), trainer, train, rules.Config{Epochs: 20, Validation: test})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(history.Last().Accuracy > 0.9)
	// Output: true
}

// What each hidden layer contributes to the prediction when all of them know of each other's goodness: the share of
// errors of each alone, and of the sum up to it.
func ExampleForwardForward_collaboration() {
	train, test, err := data.Digits().Split(1, 0.2)
	if err != nil {
		log.Fatal(err)
	}
	rule := rules.ForwardForward{Collaboration: rules.All, Readout: rules.Energy, Skip: -1, Optimizer: optim.Adam{LR: 3e-3}}
	model := models.MLP{Hidden: []int{64, 64}, Classes: 10}
	trainer, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 50, 1))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := rules.Fit(context.Background(), trainer, train, rules.Config{Epochs: 20}); err != nil {
		log.Fatal(err)
	}
	goodness, err := rule.LayerGoodness(trainer, model, test)
	if err != nil {
		log.Fatal(err)
	}
	alone, upTo := rules.LayerContributions(goodness, test.Labels)
	fmt.Println(upTo[1] < alone[1], upTo[1] < 0.15)
	// Output: true true
}

// Layers that learn from mixtures of images give a linear readout more than the random layers that they were.
func TestHybridImagesOnDigits(t *testing.T) {
	train, test, err := data.Digits().Split(1, 0.28)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []**data.Set{&train, &test} {
		if *s, err = (*s).Reshape(1, 8, 8); err != nil {
			t.Fatal(err)
		}
	}
	accuracy := func(lr float64) float64 {
		r := rules.ForwardForward{Negatives: rules.HybridImages, Blur: 2, Optimizer: optim.Adam{LR: lr}, ReadoutOptimizer: optim.Adam{}}
		tr, err := r.Trainer(models.MLP{Hidden: []int{80, 80, 80}, Classes: 10}, objectives.CrossEntropy, rules.SpecOf(train, 50, 1))
		if err != nil {
			t.Fatal(err)
		}
		h, err := rules.Fit(t.Context(), tr, train, rules.Config{Epochs: 20, Validation: test})
		if err != nil {
			t.Fatal(err)
		}
		return h.Last().Accuracy
	}
	learnt, random := accuracy(1e-3), accuracy(optim.Zero)
	t.Logf("accuracy %.3f, of random layers %.3f", learnt, random)
	if learnt < random+0.01 {
		t.Error("the hidden layers learnt nothing of use")
	}
}
