package search

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// Split and Bits of four channels. Bits is the largest mutual information over all splits, found there.
func TestChannel(t *testing.T) {
	for _, c := range []struct{ target, gap, split, bits float64 }{
		{0.5, 0.1, 0.5, 0.0290494},
		{0.3, 0.1, 0.4835165, 0.0348890},
		{0.5, 0.2, 0.5, 0.1187091},
		{0.2, 0.05, 0.4841017, 0.0113803},
	} {
		s := Threshold{Places: 1000, Target: c.target, Gap: c.gap}
		got := s.Channel()
		name := fmt.Sprint(c.target, " ± ", c.gap)
		near(t, name+": split", got.Split, c.split, 5e-8)
		near(t, name+": bits", got.Bits, c.bits, 5e-8)
		best, at := 0.0, 0.0
		for i := 1; i < 1000; i++ {
			q := float64(i) / 1000
			low, high := c.target-c.gap, c.target+c.gap
			if info := entropy(q*high+(1-q)*low) - q*entropy(high) - (1-q)*entropy(low); info > best {
				best, at = info, q
			}
		}
		near(t, name+": largest information", best, got.Bits, 1e-6)
		near(t, name+": its split", at, got.Split, 1e-3)
		low, high := s.withDefaults().factors(got.Split, true)
		near(t, name+": weights after success", got.Split*low+(1-got.Split)*high, 1, 1e-14)
		low, high = s.withDefaults().factors(got.Split, false)
		near(t, name+": weights after failure", got.Split*low+(1-got.Split)*high, 1, 1e-14)
	}
	near(t, "1 - h(0.4)", Threshold{}.Channel().Bits, 1-entropy(0.4), 1e-12)
	near(t, "bound", Threshold{Places: 1000}.Bound(), 343.06, 0.01)
}

func TestFactors(t *testing.T) {
	s := Threshold{Target: 0.3, Gap: 0.1}
	q := s.Channel().Split
	low, high := s.factors(q, true)
	near(t, "success, below", low, 1.3481481, 5e-8)
	near(t, "success, above", high, 0.6740741, 5e-8)
	low, high = s.factors(q, false)
	near(t, "failure, below", low, 0.853125, 5e-8)
	near(t, "failure, above", high, 1.1375, 5e-8)
}

// Weights stay a distribution after any results, and without noise learning is bisection: 10 trials for 1024 answers.
func TestLearn(t *testing.T) {
	r := graph.Rand(1, "test", 0)
	s := Threshold{Target: 0.3, Gap: 0.1}
	_, weights, err := s.learn(50, 300, func(int) (bool, error) { return r.IntN(2) == 0, nil })
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, w := range weights {
		if !(w >= 0) {
			t.Fatalf("weight %v", w)
		}
		sum += w
	}
	near(t, "sum", sum, 1, 1e-12)
	s = Threshold{Target: 0.5, Gap: 0.5 - 1e-12}
	for _, answer := range []int{0, 1, 511, 777, 1023} {
		_, weights, err := s.learn(1025, 10, func(place int) (bool, error) { return place > answer, nil })
		if err != nil {
			t.Fatal(err)
		}
		if got := likeliest(weights); got != answer || weights[got] < 0.999 {
			t.Errorf("want %d, got %d of weight %v", answer, got, weights[got])
		}
	}
}

// found is in how many of runs the answer is right: chances p(place), right if they make it so.
func found(t *testing.T, s Threshold, runs int, p func(run, place int) float64) float64 {
	right := 0.0
	for run := range runs {
		r := graph.Rand(uint64(run), "test/flips", 0)
		trials := 0
		j, err := s.Run(t.Context(), func(_ context.Context, place int) (bool, error) {
			trials++
			return r.Float64() < p(run, place), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if trials > s.Trials {
			t.Fatalf("%d trials of %d", trials, s.Trials)
		}
		d := s.withDefaults()
		if p(run, j) < d.Target+d.Gap && p(run, j+1) > d.Target-d.Gap {
			right++
		}
	}
	return right / float64(runs)
}

// A step from 0.4 to 0.6 among 1000 places: at the bound of 343 trials, and at 1.5 and 2 times as many, learning finds it
// far more often than a bisection that repeats its questions. Ramps are easier, and screening passes them too.
func TestThreshold(t *testing.T) {
	if testing.Short() {
		t.Skip("needs many draws")
	}
	const n, runs = 1000, 120
	step := func(run, place int) float64 {
		if place <= graph.Rand(uint64(run), "test/step", 0).IntN(n-1) {
			return 0.4 - 1e-12 // no other place is right
		}
		return 0.6 + 1e-12
	}
	ramp := func(_, place int) float64 { return 0.1 + 0.8*float64(place)/(n-1) }
	early := func(_, place int) float64 { return 1 - 0.9*math.Exp(-float64(place)/30) }
	for _, c := range []struct {
		trials int
		bayes  float64 // at least: three and more standard deviations below 0.70, 0.90 and 0.95
	}{{343, 0.56}, {514, 0.81}, {686, 0.88}} {
		s := Threshold{Places: n, Trials: c.trials}
		bayes := found(t, s, runs, step)
		s.Strategy = Bisection
		naive := found(t, s, runs, step)
		s.Strategy = Screening
		screening := found(t, s, runs, step)
		t.Logf("%d trials: Bayes %.2f, screening %.2f, bisection %.2f", c.trials, bayes, screening, naive)
		if bayes < c.bayes || bayes < naive+0.15 {
			t.Errorf("%d trials: Bayes %v, bisection %v", c.trials, bayes, naive)
		}
		if s.Trials = 4 * c.trials; found(t, s, 20, step) < 0.7 {
			t.Errorf("screening with %d trials: less than 0.7", s.Trials)
		}
	}
	for _, strategy := range []Strategy{Bayes, Screening} {
		for name, p := range map[string]func(int, int) float64{"ramp": ramp, "early": early} {
			got := found(t, Threshold{Places: n, Trials: 514, Strategy: strategy}, runs, p)
			t.Logf("%s, strategy %d: %.2f", name, strategy, got)
			if got < 0.9 {
				t.Errorf("%s, strategy %d: %v", name, strategy, got)
			}
		}
	}
}

// Small and lopsided cases end, at the ends of the range too.
func TestThresholdCorners(t *testing.T) {
	for _, n := range []int{2, 3, 7} {
		for answer := range n - 1 {
			for _, strategy := range []Strategy{Bayes, Screening, Bisection} {
				s := Threshold{Places: n, Target: 0.3, Gap: 0.25, Trials: 80, Strategy: strategy}
				got, err := s.Run(t.Context(), func(_ context.Context, place int) (bool, error) { return place > answer, nil })
				if err != nil || got != answer {
					t.Errorf("%d places, strategy %d: want %d, got %d, %v", n, strategy, answer, got, err)
				}
			}
		}
	}
	for _, s := range []Threshold{{Places: 1}, {Places: 5, Gap: 0.6}, {Places: 5, Target: 1}, {Places: 5, Trials: -1}, {Places: 5, Strategy: 7}} {
		_, err := s.Run(t.Context(), func(context.Context, int) (bool, error) { return true, nil })
		wantError(t, err, "threshold")
	}
	_, err := Threshold{Places: 5}.Run(t.Context(), nil)
	wantError(t, err, "trial", "nil")
	broken := errors.New("broken")
	for _, strategy := range []Strategy{Bayes, Screening, Bisection} {
		calls := 0
		_, err := Threshold{Places: 50, Strategy: strategy}.Run(t.Context(), func(context.Context, int) (bool, error) {
			if calls++; calls > 20 {
				return false, broken
			}
			return calls%2 == 0, nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("strategy %d: %v", strategy, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Threshold{Places: 5}).Run(ctx, func(context.Context, int) (bool, error) { return true, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
