package adapt_test

import (
	"context"
	"fmt"
	"log"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/adapt"
	"github.com/harpe-ml/harpe/rules/optim"
)

// clouds is points of two classes, left and right, drifted by some way.
type clouds struct{ drift float32 }

func (clouds) Len() int           { return 64 }
func (clouds) InputShape() []int  { return []int{2} }
func (clouds) Classes() int       { return 2 }
func (clouds) TargetShape() []int { return nil }
func (d clouds) Read(i int, _ uint64, x, _ []float32) int {
	r := graph.Rand(1, "clouds", uint64(i))
	label := i % 2
	x[0] = 2*float32(label) - 1 + 0.2*float32(r.NormFloat64()) + d.drift
	x[1] = 0.2 * float32(r.NormFloat64())
	return label
}

func ExampleRobustMeanTeacher() {
	train, model := clouds{}, layers.Sequential{layers.BatchNorm{}, layers.Dense{Units: 8, Activation: layers.ReLU{}}, layers.Dense{Units: 2}}
	spec := rules.SpecOf(train, 32, 1)
	trainer, err := rules.Backprop{Optimizer: optim.Adam{LR: 1e-2}}.Trainer(model, objectives.CrossEntropy, spec)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := rules.Fit(context.Background(), trainer, train, rules.Config{Epochs: 30}); err != nil {
		log.Fatal(err)
	}
	drifted := clouds{drift: 3}
	before, err := rules.Evaluate(trainer, drifted)
	if err != nil {
		log.Fatal(err)
	}
	teaching, err := adapt.RobustMeanTeacher{Projection: 8}.Start(model, trainer.Params(), spec, train)
	if err != nil {
		log.Fatal(err)
	}
	batch, right := rules.NewBatch(spec), 0
	for i := 0; i < drifted.Len(); i += spec.Batch {
		rows := make([]int, spec.Batch)
		for j := range rows {
			rows[j] = i + j
		}
		if err := batch.Fill(drifted, rows, 0); err != nil {
			log.Fatal(err)
		}
		scores, _, err := teaching.Step(batch.X)
		if err != nil {
			log.Fatal(err)
		}
		for j, label := range batch.Y.Ints() {
			if (scores.At(2*j+1) > scores.At(2*j)) == (label == 1) {
				right++
			}
		}
	}
	fmt.Printf("right of the drifted %d: %.0f without adaptation, %d with\n", drifted.Len(), 64*before.Accuracy, right)
	// Output: right of the drifted 64: 32 without adaptation, 64 with
}
