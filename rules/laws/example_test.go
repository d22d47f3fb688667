package laws_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/rules/laws"
)

func ExampleFitPower() {
	sizes := []float64{1e3, 1e4, 1e5, 1e6}
	losses := []float64{2.5, 1.8162, 1.6, 1.5316} // 1.5 + (1000/x)^0.5
	law, err := laws.FitPower(sizes, losses)
	if err != nil {
		panic(err)
	}
	fmt.Printf("limit %.2f, exponent %.2f, at 1e8 %.3f\n", law.Limit, law.Alpha, law.Predict(1e8))
	// Output: limit 1.50, exponent 0.50, at 1e8 1.503
}
