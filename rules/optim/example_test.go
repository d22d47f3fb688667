package optim_test

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Adam finds the minimum of (p-3)^2, whose gradient is 2(p-3).
func ExampleAdam() {
	p := &graph.Param{Name: "p", Value: graph.ArrayOf([]float64{0}, 1)}
	stepper, err := optim.New(optim.Adam{LR: 0.1}, []*graph.Param{p}, optim.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	grad := graph.NewArray(graph.Float64, 1)
	for range 500 {
		grad.Set(0, 2*(p.Value.At(0)-3))
		if err := stepper.Step([]*graph.Array{grad}); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Printf("%.3f\n", p.Value.At(0))
	// Output: 3.000
}

// Four steps of warm-up, then half a cosine down to 0.
func ExampleWarmup() {
	schedule := optim.Warmup{Steps: 4, Then: optim.Cosine{Steps: 4}}
	for step := range 9 {
		fmt.Printf("%.3f ", schedule.Rate(1, step))
	}
	// Output: 0.200 0.400 0.600 0.800 1.000 0.854 0.500 0.146 0.000
}

// The gradient (30, 40) has norm 50; with Clip.Norm 5 it acts as (3, 4).
func ExampleClip() {
	p := &graph.Param{Name: "p", Value: graph.NewArray(graph.Float64, 2)}
	stepper, err := optim.New(optim.SGD{LR: 1}, []*graph.Param{p}, optim.Options{Clip: optim.Clip{Norm: 5}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := stepper.Step([]*graph.Array{graph.ArrayOf([]float64{30, 40}, 2)}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.4f %.4f\n", p.Value.At(0), p.Value.At(1))
	// Output: -3.0000 -4.0000
}

// The error of a misspelt flag says what there is.
func ExampleByName() {
	o, err := optim.ByName("nesterov", 0.05)
	fmt.Println(o.Name(), o.Rate(), err)
	_, err = optim.ByName("adma", 0)
	fmt.Println(err)
	// Output:
	// nesterov 0.05 <nil>
	// optim: name: want one of sgd, momentum, nesterov, adam, amsgrad, adamw, rmsprop, adagrad, adadelta, adamax, nadam, radam, got "adma"
}
