package physics_test

import (
	"context"
	"fmt"
	"log"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models/physics"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
)

// Two layers of a medium that cannot be differentiated learn digits.
func Example() {
	train, test, err := data.Digits().Split(1, 0.2)
	if err != nil {
		log.Fatal(err)
	}
	model := layers.Sequential{
		physics.Layer{Medium: physics.RandomIntensity{Units: 128, Seed: 1}, Units: 128},
		physics.Layer{Medium: physics.RandomIntensity{Units: 128, Seed: 2}, Units: 128},
	}
	trainer, err := rules.PhysicalForwardForward{}.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 128, 1))
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
