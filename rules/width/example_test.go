package width_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/width"
)

func ExampleMuP_Table() {
	perceptron := func(n int) models.MLP { return models.MLP{Hidden: []int{n, n}, Classes: 10} }
	spec := rules.Spec{Input: []int{64}, Classes: 10, Batch: 1}
	table, err := width.MuP{Base: perceptron(32)}.Table(perceptron(512), spec)
	if err != nil {
		panic(err)
	}
	for _, s := range table {
		fmt.Printf("%-14s init x %.2f, rate x %.4f\n", s.Name, s.Init, s.Rate)
	}
	// Output:
	// dense1/weight  init x 1.00, rate x 1.0000
	// dense1/bias    init x 1.00, rate x 1.0000
	// dense2/weight  init x 1.00, rate x 0.0625
	// dense2/bias    init x 1.00, rate x 1.0000
	// dense3/weight  init x 0.25, rate x 0.0625
	// dense3/bias    init x 1.00, rate x 1.0000
}
