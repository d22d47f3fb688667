package optim_test

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A parameter with a rate of its own moves as under an optimiser of that learning rate, a schedule included; the others,
// and names of parameters elsewhere, change nothing.
func TestRates(t *testing.T) {
	param := func(name string, v float64) *graph.Param {
		return &graph.Param{Name: name, Value: graph.ArrayOf([]float64{v, -v}, 2)}
	}
	grad := graph.ArrayOf([]float64{0.3, 2}, 2)
	for _, o := range []func(lr float64) optim.Optimizer{
		func(lr float64) optim.Optimizer { return optim.SGD{LR: lr, Momentum: 0.9, WeightDecay: 0.1} },
		func(lr float64) optim.Optimizer { return optim.AdamW{LR: lr} },
	} {
		options := optim.Options{Schedule: optim.StepDecay{Every: 2, Factor: 0.5}}
		run := func(lr float64, options optim.Options, params ...*graph.Param) {
			s, err := optim.New(o(lr), params, options)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				grads := []*graph.Array{grad.Clone(), grad.Clone()}[:len(params)]
				if err := s.Step(grads); err != nil {
					t.Fatal(err)
				}
			}
		}
		a, b, alone, fast := param("a", 1), param("b", 1), param("a", 1), param("b", 1)
		run(0.01, options, alone)
		run(0.04, options, fast)
		options.Rates = map[string]float64{"b": 4, "elsewhere": 7}
		run(0.01, options, a, b)
		for i := range 2 {
			if a.Value.At(i) != alone.Value.At(i) || math.Abs(b.Value.At(i)-fast.Value.At(i)) > 1e-15 {
				t.Errorf("%s: want %v and %v, got %v and %v", o(0).Name(), alone.Value, fast.Value, a.Value, b.Value)
			}
		}
		for _, bad := range []float64{-1, math.NaN(), math.Inf(1)} {
			if _, err := optim.New(o(1), []*graph.Param{a}, optim.Options{Rates: map[string]float64{"a": bad}}); err == nil {
				t.Errorf("rate %v: no error", bad)
			}
		}
	}
}
