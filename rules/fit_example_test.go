package rules_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
)

// A run that ends when three epochs in a row were not better than the best, with the parameters of the best one.
func ExampleConfig() {
	train, validation, err := data.Iris().Split(1, 0.3)
	if err != nil {
		panic(err)
	}
	folder, err := os.MkdirTemp("", "harpe")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	trainer, err := rules.Backprop{}.Trainer(models.MLP{Hidden: []int{16}, Classes: 3}, objectives.CrossEntropy, rules.SpecOf(train, 8, 1))
	if err != nil {
		panic(err)
	}
	history, err := rules.Fit(context.Background(), trainer, train, rules.Config{
		Epochs: 1000, Validation: validation, Patience: 3, Best: true,
		Checkpoint: filepath.Join(folder, "iris.safetensors"), Keep: 1,
		Bar: os.Stderr,
	})
	if err != nil {
		panic(err)
	}
	now, err := rules.Evaluate(trainer, validation)
	if err != nil {
		panic(err)
	}
	best := 0.0
	for _, r := range history.Records {
		best = max(best, r.Accuracy)
	}
	fmt.Println("stopped early:", len(history.Records) < 1000)
	fmt.Println("ends with the best epoch's parameters:", now.Accuracy == best)
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		panic(err)
	}
	fmt.Println("files:", len(files))
	// Output:
	// stopped early: true
	// ends with the best epoch's parameters: true
	// files: 3
}
