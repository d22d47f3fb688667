package theory_test

import (
	"fmt"
	"log"

	"github.com/harpe-ml/harpe/rules/theory"
)

// The equations predict the course of a student in 300 dimensions whose hidden units see the error through a feedback
// vector.
func Example() {
	student := theory.NewStudent(1, 300, 1, 0.2, []float64{0.3, 0.5}, []float64{1, 1})
	for _, w := range student.W { // weights with a part along the feedback
		for i, f := range student.F {
			w[i] += 3 * f
		}
	}
	learning := theory.Learning{LR: 2, OutputLR: 0.5, Rule: theory.PEPITA}
	predicted, err := learning.Solve(student.OrderParams(), 0.02, 0, 10)
	if err != nil {
		log.Fatal(err)
	}
	measured, err := learning.Simulate(student, 1, 0, 10)
	if err != nil {
		log.Fatal(err)
	}
	ratio := measured[1] / predicted[1]
	fmt.Println(predicted[1] < predicted[0]/2, ratio > 0.8 && ratio < 1.2)
	// Output: true true
}
