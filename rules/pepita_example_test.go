package rules_test

import (
	"context"
	"fmt"
	"log"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// onDigits trains a perceptron of one hidden layer by a rule and returns its trainer and accuracy on the test set.
func onDigits(rule rules.Rule, epochs int) (rules.Trainer, float64) {
	train, test, err := data.Digits().Split(1, 0.2)
	if err != nil {
		log.Fatal(err)
	}
	model := models.MLP{Hidden: []int{128}, Classes: 10}
	trainer, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 64, 1))
	if err != nil {
		log.Fatal(err)
	}
	history, err := rules.Fit(context.Background(), trainer, train, rules.Config{Epochs: epochs, Validation: test})
	if err != nil {
		log.Fatal(err)
	}
	return trainer, history.Last().Accuracy
}

// Two forward passes and no backward pass; F turns towards the weights' product, from a right angle.
func ExamplePEPITA() {
	trainer, accuracy := onDigits(rules.PEPITA{Optimizer: optim.SGD{LR: 0.05, Momentum: 0.9}}, 30)
	angles, err := rules.FeedbackAngles(trainer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(accuracy > 0.93, angles[0].Name, angles[0].Degrees < 88)
	// Output: true pepita/feedback true
}

// The tangent of one pass in place of the difference of two.
func ExampleAdaptiveFeedbackAlignment() {
	_, accuracy := onDigits(rules.AdaptiveFeedbackAlignment{Optimizer: optim.SGD{LR: 0.05, Momentum: 0.9}}, 30)
	fmt.Println(accuracy > 0.93)
	// Output: true
}

// Backpropagation through random matrices.
func ExampleFeedbackAlignment() {
	_, accuracy := onDigits(rules.FeedbackAlignment{Optimizer: optim.Adam{LR: 2e-3}}, 15)
	fmt.Println(accuracy > 0.93)
	// Output: true
}

// The output's error goes straight to every block.
func ExampleDirectFeedbackAlignment() {
	_, accuracy := onDigits(rules.DirectFeedbackAlignment{Optimizer: optim.Adam{LR: 2e-3}}, 15)
	fmt.Println(accuracy > 0.93)
	// Output: true
}

// Fifty passes of one batch through sigmoid layers that lower their own entropies; the labels are not looked at.
func ExampleSKA() {
	train := data.Digits().Take(200)
	var model layers.Sequential
	for _, units := range []int{64, 32, 10} {
		model = append(model, layers.Dense{Units: units, Activation: layers.Sigmoid{}, Init: layers.Normal(0.01)})
	}
	trainer, err := rules.SKA{}.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, train.Len(), 1))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := rules.Fit(context.Background(), trainer, train, rules.Config{Epochs: 50}); err != nil {
		log.Fatal(err)
	}
	list, err := rules.SKALayers(trainer)
	if err != nil {
		log.Fatal(err)
	}
	for _, layer := range list {
		fmt.Println(layer.Name, layer.Total < 0, layer.Cosine > 0)
	}
	// Output:
	// dense1/weight true true
	// dense2/weight true true
	// dense3/weight true true
}
