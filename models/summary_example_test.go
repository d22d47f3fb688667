package models_test

import (
	"fmt"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/models"
)

// What each layer of a perceptron has and costs, for one example. Printing the summary itself gives a table.
func ExampleSummarize() {
	s, err := models.Summarize(models.MLP{Hidden: []int{100}, Classes: 10}, graph.Type{DType: graph.Float32, Shape: []int{1, 784}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.Join(models.SummaryHeader, " | "))
	for _, row := range s.Cells() {
		fmt.Println(strings.Join(row, " | "))
	}
	// Output:
	// layer | output | parameters | states | multiply-adds | FLOPs | activation bytes
	// input | 1×784 | 0 | 0 | 0 | 0 | 0
	// block1/dense1 | 1×100 | 78,500 | 0 | 78,400 | 156,800 | 400
	// block2/dense2 | 1×10 | 1,010 | 0 | 1,000 | 2,000 | 40
	// total | 1×10 | 79,510 | 0 | 79,400 | 158,800 | 440
}
