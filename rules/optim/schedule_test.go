package optim

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// TestSchedules checks single rates worked out by hand, where the reference rates do not reach.
func TestSchedules(t *testing.T) {
	table := []struct {
		name     string
		schedule Schedule
		step     int
		want     float64 // with base rate 0.8
	}{
		{"constant", Constant{}, 1000, 0.8},
		{"step decay, default factor", StepDecay{Every: 10}, 29, 0.008},
		{"cosine at the end", Cosine{Steps: 10, Min: 0.2}, 10, 0.2},
		{"cosine, half way back", Cosine{Steps: 10, Min: 0.2}, 15, 0.5},
		{"cosine, back", Cosine{Steps: 10, Min: 0.2}, 20, 0.8},
		{"restarts, third period starts at 4+8", WarmRestarts{Steps: 4, Mult: 2}, 12, 0.8},
		{"restarts, half way in 12..28", WarmRestarts{Steps: 4, Mult: 2}, 20, 0.4},
		{"restarts, default period", WarmRestarts{Steps: 4, Min: 0.2}, 4002, 0.5},
		{"one cycle starts", OneCycle{Steps: 20}, 0, 0.8 / 25},
		{"one cycle peaks at 0.3 20 - 1", OneCycle{Steps: 20}, 5, 0.8},
		{"one cycle ends", OneCycle{Steps: 20}, 19, 0.8 / 25 / 1e4},
		{"one cycle stays", OneCycle{Steps: 20}, 500, 0.8 / 25 / 1e4},
		{"one cycle, line up", OneCycle{Steps: 20, PctStart: 0.25, DivFactor: 4, Anneal: LinearAnneal}, 1, 0.2 + 0.6/4},
		{"one cycle, line down", OneCycle{Steps: 20, PctStart: 0.25, DivFactor: 4, FinalDivFactor: 2, Anneal: LinearAnneal},
			7, 0.8 - 0.7*3/15},
		{"one cycle, own maximum", OneCycle{Max: 3, Steps: 20}, 5, 3},
		{"one cycle without a rise", OneCycle{Steps: 20, PctStart: Zero, FinalDivFactor: 2, DivFactor: 4,
			Anneal: LinearAnneal}, 9, 0.8 - 0.7/2},
		{"one cycle whose rise is one step", OneCycle{Steps: 10, PctStart: 0.1}, 0, 0.8},
		{"one cycle of one step", OneCycle{Steps: 1}, 1, 0.8 / 25 / 1e4},
		{"warm-up starts", Warmup{Steps: 3}, 0, 0.2},
		{"warm-up", Warmup{Steps: 3}, 2, 0.6},
		{"warm-up over", Warmup{Steps: 3}, 3, 0.8},
		{"warm-up into cosine, start", Warmup{Steps: 3, Then: Cosine{Steps: 10}}, 3, 0.8},
		{"warm-up into cosine, middle", Warmup{Steps: 3, Then: Cosine{Steps: 10}}, 8, 0.4},
		{"warm-up to another maximum", Warmup{Steps: 4, Then: OneCycle{Max: 10, Steps: 10, PctStart: 0.1}}, 1, 4},
	}
	for _, c := range table {
		if err := checkAny(c.schedule); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := c.schedule.Rate(0.8, c.step); !(math.Abs(got-c.want) <= 1e-12) {
			t.Errorf("%s, step %d: want %.15g, got %.15g", c.name, c.step, c.want, got)
		}
	}
}

// TestScheduleInSteps: with gradient 1, SGD moves by the rate of each step.
func TestScheduleInSteps(t *testing.T) {
	p := &graph.Param{Name: "p", Value: graph.NewArray(graph.Float64)}
	s := stepper(t, SGD{LR: 0.5}, Options{Schedule: StepDecay{Every: 2, Factor: 0.5}}, p)
	one := graph.ArrayOf([]float64{1})
	for step, want := range []float64{0.5, 1, 1.25, 1.5, 1.625} {
		if rate := []float64{0.5, 0.5, 0.25, 0.25, 0.125}[step]; s.LR() != rate {
			t.Errorf("step %d: want rate %v, got %v", step, rate, s.LR())
		}
		stepOnce(t, s, one)
		if got := -p.Value.Scalar(); got != want {
			t.Errorf("step %d: want %v, got %v", step, want, got)
		}
	}
}
