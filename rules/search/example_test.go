package search_test

import (
	"context"
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/rules/search"
)

func ExampleCrossEntropy() {
	space := search.Space{
		search.Real{Name: "lr", Low: 1e-4, High: 1, Log: true},
		search.Choice{Name: "activation", Values: []string{"relu", "tanh"}},
	}
	// In place of a training: best at 0.01 with tanh.
	score := func(_ context.Context, c search.Config) (float64, error) {
		s := -math.Abs(math.Log10(c["lr"].(float64)) + 2)
		if c["activation"] == "relu" {
			s--
		}
		return s, nil
	}
	result, err := search.CrossEntropy{Rounds: 10}.Run(context.Background(), space, score)
	if err != nil {
		panic(err)
	}
	mode := result.Mode()
	fmt.Printf("%.3f %s, %d trials\n", mode["lr"], mode["activation"], len(result.Trials))
	// Output: 0.010 tanh, 240 trials
}

func ExampleThreshold() {
	s := search.Threshold{Places: 100, Target: 0.5, Gap: 0.45, Trials: 20}
	edge, err := s.Run(context.Background(), func(_ context.Context, place int) (bool, error) {
		return place > 37, nil // in place of a training that fails or not
	})
	fmt.Println(edge, err)
	// Output: 37 <nil>
}
