package rules_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Train a model on the embedded digits; to swap the rule, change one line.
func Example() {
	train, test, err := data.Digits().Split(1, 0.2)
	if err != nil {
		log.Fatal(err)
	}
	model := models.MLP{Hidden: []int{64}, Classes: 10}
	rule := rules.MonoForward{Optimizer: optim.Adam{LR: 2e-3}} // or rules.Backprop{...}, rules.ForwardForward{...}
	trainer, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 32, 1))
	if err != nil {
		log.Fatal(err)
	}
	history, err := rules.Fit(context.Background(), trainer, train, rules.Config{Epochs: 10, Validation: test})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(history.Last().Accuracy > 0.95)
	// Output: true
}

// Sign descends along the sign of the gradient: a rule of one's own is a function from a batch to goals.
type Sign struct{}

func (Sign) Name() string { return "sign" }

func (r Sign) Trainer(model layers.Layer, objective objectives.Objective, spec rules.Spec) (rules.Trainer, error) {
	step := func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
		loss := objective(model.Apply(s, x), y)
		goal := rules.Minimize(loss, s.Graph().Trainable(loss))
		for i, g := range goal.Grads {
			goal.Grads[i] = graph.Sign(g)
		}
		return []rules.Goal{goal}
	}
	return rules.Plan{
		Name: r.Name(), Phases: []rules.Phase{step}, Predict: model.Apply, Optimizer: optim.SGD{LR: 1e-3},
	}.Trainer(spec)
}

// A rule of one's own.
func ExamplePlan() {
	train := data.Iris()
	trainer, err := Sign{}.Trainer(models.MLP{Hidden: []int{16}, Classes: 3}, objectives.CrossEntropy, rules.SpecOf(train, 30, 1))
	if err != nil {
		log.Fatal(err)
	}
	history, err := rules.Fit(context.Background(), trainer, train, rules.Config{Epochs: 100})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(history.Last().Loss < history.Records[0].Loss/2)
	// Output: true
}

func ExampleByName() {
	rule, err := rules.ByName("mono-forward")
	fmt.Println(rule.Name(), err)
	_, err = rules.ByName("back-prop") // the error lists the valid names
	fmt.Println(err != nil)
	// Output:
	// mono-forward <nil>
	// true
}

// Stop a run and continue it: it ends with the bits of a run that was never stopped.
func ExampleFit_resume() {
	train := data.Iris()
	folder, err := os.MkdirTemp("", "harpe")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	for range 2 {
		trainer, err := rules.Backprop{}.Trainer(models.MLP{Hidden: []int{8}, Classes: 3}, objectives.CrossEntropy, rules.SpecOf(train, 30, 1))
		if err != nil {
			log.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		history, err := rules.Fit(ctx, trainer, train, rules.Config{
			Epochs: 3, Checkpoint: filepath.Join(folder, "iris.safetensors"), Resume: true,
			OnStep: func(p rules.Progress) error {
				if p.Step == 7 {
					cancel()
				}
				return nil
			},
		})
		fmt.Println(len(history.Records), err)
	}
	// Output:
	// 1 fit: stopped after 7 steps: context canceled
	// 3 <nil>
}
