package search

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// A Strategy is a way to spend the trials of a Threshold.
type Strategy int

// The strategies. Bayes answers with the largest weight, and needs the fewest trials where one place alone is right.
// Screening spends a part of its trials on making sure, as the paper's proof for all chances needs. Bisection asks each
// question of a bisection equally often.
const (
	Bayes Strategy = iota
	Screening
	Bisection
)

// Threshold finds where a chance of success p_0 ≤ p_1 ≤ ... ≤ p_{n-1}, which can only be sampled, crosses a target: a
// place j with p_j < Target+Gap and p_{j+1} > Target-Gap (L. Gretta, E. Price 2024, "Sharp noisy binary search with
// monotonic probabilities", ICALP). Each trial multiplies the weights of the n-1 answers by how likely they make its
// result, if chances are Target-Gap below the crossing and Target+Gap above it, and the next trial is where it tells
// most.
type Threshold struct {
	Places   int     // n
	Target   float64 // 0 means 0.5
	Gap      float64 // 0 means 0.1; Target ± Gap must be inside (0, 1)
	Trials   int     // 0 means twice Bound
	Strategy Strategy
}

// Channel is what one trial can tell of an answer: Split, the best weight of the answers below the place of a trial,
// and Bits, its capacity.
type Channel struct{ Split, Bits float64 }

// entropy is the binary entropy in bits.
func entropy(p float64) float64 {
	h := 0.0
	for _, q := range []float64{p, 1 - p} {
		if q > 0 {
			h -= q * math.Log2(q)
		}
	}
	return h
}

// Channel is the channel from "the crossing is below" to the result of a trial, whose chance of success is Target+Gap
// if it is and Target-Gap if not. With Z = 2^((h(t-e) - h(t+e))/2e): Split = (1 - t + e - 1/(1+Z))/2e and
// Bits = log2(1+Z) + (t-e)·h(t+e)/2e - (t+e)·h(t-e)/2e.
func (s Threshold) Channel() Channel {
	s = s.withDefaults()
	t, e := s.Target, s.Gap
	low, high := entropy(t-e), entropy(t+e)
	z := math.Exp2((low - high) / (2 * e))
	return Channel{
		Split: (1 - t + e - 1/(1+z)) / (2 * e),
		Bits:  math.Log2(1+z) + (t-e)*high/(2*e) - (t+e)*low/(2*e),
	}
}

// Bound is log2(n)/Bits: about as many trials are needed, whatever the strategy.
func (s Threshold) Bound() float64 { return math.Log2(float64(s.Places)) / s.Channel().Bits }

func (s Threshold) withDefaults() Threshold {
	if s.Target == 0 {
		s.Target = 0.5
	}
	if s.Gap == 0 {
		s.Gap = 0.1
	}
	return s
}

func (s Threshold) check() error {
	switch {
	case s.Places < 2:
		return graph.Fail("threshold", "Places", "at least 2", s.Places)
	case !(s.Gap > 0 && s.Target-s.Gap > 0 && s.Target+s.Gap < 1):
		return graph.Fail("threshold", "Target, Gap", "Target ± Gap inside (0, 1)", fmt.Sprint(s.Target, " ± ", s.Gap))
	case s.Trials < 0:
		return graph.Fail("threshold", "Trials", "at least 0", s.Trials)
	case s.Strategy < Bayes || s.Strategy > Bisection:
		return graph.Fail("threshold", "Strategy", "Bayes, Screening or Bisection", int(s.Strategy))
	}
	return nil
}

// Run finds the crossing by calling trial, which reports whether a trial at a place, 0 to Places-1, succeeds. It returns
// the place below the crossing, 0 to Places-2.
func (s Threshold) Run(ctx context.Context, trial func(ctx context.Context, place int) (bool, error)) (below int, err error) {
	s = s.withDefaults()
	if err := s.check(); err != nil {
		return 0, err
	}
	if trial == nil {
		return 0, graph.Fail("threshold", "trial", "a function", "nil")
	}
	if s.Trials == 0 {
		s.Trials = int(math.Ceil(2 * s.Bound()))
	}
	try := func(place int) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, errors.Wrap(err, "threshold")
		}
		return trial(ctx, place)
	}
	switch s.Strategy {
	case Bisection:
		return s.bisect(try)
	case Screening:
		return s.screen(try)
	}
	_, weights, err := s.learn(s.Places, s.Trials, try)
	if err != nil {
		return 0, err
	}
	return likeliest(weights), nil
}

// learn makes trials among n places. It returns the answers it had in mind, one a trial, and their weights in the end.
func (s Threshold) learn(n, trials int, try func(int) (bool, error)) (asked []int, weights []float64, err error) {
	weights = make([]float64, n-1)
	for i := range weights {
		weights[i] = 1 / float64(n-1)
	}
	q := s.Channel().Split
	for range trials {
		// Answer x holds the quantile q of the weights, at the share l of its own.
		x, before := 0, 0.0
		for ; x < n-2 && before+weights[x] < q; x++ {
			before += weights[x]
		}
		l := min(max((q-before)/weights[x], 0), 1)
		place := x
		if l > q {
			place = x + 1
		}
		success, err := try(place)
		if err != nil {
			return nil, nil, err
		}
		asked = append(asked, x)
		low, high := s.factors(q, success)
		total := 0.0
		for i := range weights {
			switch {
			case i < x:
				weights[i] *= low
			case i > x:
				weights[i] *= high
			default:
				weights[i] *= l*low + (1-l)*high
			}
			total += weights[i]
		}
		for i := range weights { // 1 but for rounding
			weights[i] /= total
		}
	}
	return asked, weights, nil
}

// factors are what a result multiplies the weights of the answers below and above a trial's place with; q·low +
// (1-q)·high is 1.
func (s Threshold) factors(q float64, success bool) (low, high float64) {
	chance := s.Target + (2*q-1)*s.Gap
	if success {
		return (s.Target + s.Gap) / chance, (s.Target - s.Gap) / chance
	}
	return (1 - s.Target - s.Gap) / (1 - chance), (1 - s.Target + s.Gap) / (1 - chance)
}

// screen spends its trials in the proportion of log n, 3 log log n and log log n: on learning, on learning among some
// log² n of the places that the first part asked about, and on the ends of the interval between two of these.
func (s Threshold) screen(try func(int) (bool, error)) (int, error) {
	logN := math.Log(float64(s.Places))
	loglog := math.Log(max(logN, math.E))
	second := int(float64(s.Trials) * 3 * loglog / (logN + 4*loglog))
	third := second / 3
	asked, weights, err := s.learn(s.Places, s.Trials-second-third, try)
	if err != nil {
		return 0, err
	}
	if second == 0 || third < 2 {
		return likeliest(weights), nil
	}
	slices.Sort(asked)
	places, count := []int{0}, int(logN*logN)
	for i := 1; i < count; i++ {
		places = append(places, asked[len(asked)*i/count])
	}
	places = slices.Compact(append(places, s.Places-1))
	// Places that always fail stand in front and places that always succeed behind, so that the ends are like others.
	n := len(places)
	asked, _, err = s.learn(3*n, second, func(i int) (bool, error) {
		switch {
		case i < n:
			return false, nil
		case i >= 2*n:
			return true, nil
		}
		return try(places[i-n])
	})
	if err != nil {
		return 0, err
	}
	slices.Sort(asked)
	i := min(max(asked[len(asked)/2]-n, 0), n-2)
	left, right := places[i], places[i+1]
	if right == left+1 {
		return left, nil
	}
	next, err := share(left+1, third/2, try)
	if err != nil {
		return 0, err
	}
	last, err := share(right-1, third-third/2, try)
	if err != nil {
		return 0, err
	}
	if next-(s.Target-s.Gap) > s.Target+s.Gap-last {
		return left, nil
	}
	return right - 1, nil
}

// share is the share of successes at a place.
func share(place, trials int, try func(int) (bool, error)) (float64, error) {
	n := 0.0
	for range trials {
		success, err := try(place)
		if err != nil {
			return 0, err
		}
		if success {
			n++
		}
	}
	return n / float64(trials), nil
}

// bisect asks each question of a bisection equally often.
func (s Threshold) bisect(try func(int) (bool, error)) (int, error) {
	each := max(s.Trials/int(math.Ceil(math.Log2(float64(s.Places)))), 1)
	low, high := 0, s.Places-1
	for high-low > 1 {
		middle := (low + high) / 2
		p, err := share(middle, each, try)
		if err != nil {
			return 0, err
		}
		if p < s.Target {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}
