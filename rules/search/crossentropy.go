package search

import (
	"context"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph"
)

// CrossEntropy searches by the cross-entropy method (R. Rubinstein 1999; for hyper-parameters K. Li, F. Li 2024, arXiv
// 2409.09240): each round draws a population from a distribution v, keeps the elite E, those not worse than the
// ⌈Elite·Population⌉-th best, and moves v towards the distribution that makes the elite most likely,
//
//	v = Smoothing·argmax_w Σ_{c in E} log f(c; w) + (1-Smoothing)·v.
//
// For numbers the maximum is mean and (biased) standard deviation of the elite, of the logarithms where Log is set; for
// choices it is their shares. Only the order of the scores matters. A score that is NaN is the worst. The factors are
// independent: a narrow valley across several hyper-parameters holds the search up.
type CrossEntropy struct {
	Rounds     int     // 0 means 8
	Population int     // trials a round; 0 means 24
	Elite      float64 // 0 means 0.2
	Smoothing  float64 // of means, standard deviations and shares; 0 means 0.7
	Floor      float64 // least standard deviation, as a share of the first; 0 means 0.001
	// Tolerance ends the search early, once every standard deviation is below this share of its first and every choice
	// has a value of share above 1-Tolerance; 0 means never.
	Tolerance float64

	Options
}

func (s CrossEntropy) withDefaults() (CrossEntropy, error) {
	for _, f := range []struct {
		name     string
		value    *float64
		standard float64
	}{{"Elite", &s.Elite, 0.2}, {"Smoothing", &s.Smoothing, 0.7}, {"Floor", &s.Floor, 1e-3}, {"Tolerance", &s.Tolerance, 0}} {
		if *f.value == 0 {
			*f.value = f.standard
		}
		if !(*f.value >= 0 && *f.value <= 1) {
			return s, graph.Fail("cross-entropy", f.name, "a number in [0, 1]", *f.value)
		}
	}
	for _, f := range []struct {
		name     string
		value    *int
		standard int
	}{{"Rounds", &s.Rounds, 8}, {"Population", &s.Population, 24}} {
		if *f.value == 0 {
			*f.value = f.standard
		}
		if *f.value < 1 {
			return s, graph.Fail("cross-entropy", f.name, "at least 1", *f.value)
		}
	}
	return s, nil
}

// Update is one round's step: the distribution after these trials, drawn from d. It is what a run that changes its
// hyper-parameters as it trains needs, beside Distribution.Draw.
func (s CrossEntropy) Update(d Distribution, trials []Trial) (Distribution, error) {
	s, err := s.withDefaults()
	if err != nil {
		return d, err
	}
	start, err := d.Space.Start()
	if err != nil {
		return d, err
	}
	return refit(d, start, elite(trials, s.Elite), s.Smoothing, s.Floor), nil
}

// elite is the configurations that score no worse than the ⌈share·n⌉-th best of n; a score of -Inf or NaN never does.
func elite(trials []Trial, share float64) []Config {
	var scores []float64
	for _, t := range trials {
		if t.Score > math.Inf(-1) {
			scores = append(scores, t.Score)
		}
	}
	if len(scores) == 0 {
		return nil
	}
	slices.SortFunc(scores, func(a, b float64) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	k := max(int(math.Ceil(share*float64(len(trials))-1e-9)), 1)
	worst := scores[min(k, len(scores))-1]
	var best []Config
	for _, t := range trials {
		if t.Score >= worst {
			best = append(best, t.Config)
		}
	}
	return best
}

// refit moves d towards the maximum likelihood of the configurations; none leave it as it is.
func refit(d, start Distribution, elite []Config, smoothing, floor float64) Distribution {
	next := Distribution{Space: d.Space, Factors: slices.Clone(d.Factors)}
	n := float64(len(elite))
	if n == 0 {
		return next
	}
	mix := func(fit, old float64) float64 { return smoothing*fit + (1-smoothing)*old }
	for i, dim := range d.Space {
		old := d.Factors[i]
		if old.Shares != nil {
			shares := make([]float64, len(old.Shares))
			for _, c := range elite {
				shares[int(dim.number(c[dim.name()]))] += 1 / n
			}
			for j := range shares {
				shares[j] = mix(shares[j], old.Shares[j])
			}
			next.Factors[i] = Factor{Shares: shares}
			continue
		}
		var mean, square float64
		for _, c := range elite {
			mean += dim.number(c[dim.name()]) / n
		}
		for _, c := range elite {
			v := dim.number(c[dim.name()]) - mean
			square += v * v / n
		}
		std := mix(math.Sqrt(square), old.Std)
		next.Factors[i] = Factor{Mean: mix(mean, old.Mean), Std: max(std, floor*start.Factors[i].Std)}
	}
	return next
}

// settled says whether d has become narrow.
func settled(d, start Distribution, tolerance float64) bool {
	for i, f := range d.Factors {
		if f.Shares != nil && f.Shares[likeliest(f.Shares)] <= 1-tolerance || f.Shares == nil && f.Std >= tolerance*start.Factors[i].Std {
			return false
		}
	}
	return true
}

// Run searches the space for the highest score. If f fails or ctx ends, the result holds what was done until then.
func (s CrossEntropy) Run(ctx context.Context, space Space, f Objective) (*Result, error) {
	s, err := s.withDefaults()
	if err != nil {
		return nil, err
	}
	d, err := space.Start()
	if err != nil {
		return nil, err
	}
	settings := s
	settings.Options, settings.Rounds = Options{}, 0 // a longer search may go on from a shorter one
	e, err := newEngine(s.Options, "cross-entropy", settings, space, f)
	if err != nil {
		return nil, err
	}
	defer e.close()
	start := d
	e.result.Distributions = []Distribution{d}
	for round := range s.Rounds {
		configs := make([]Config, s.Population)
		for i := range configs {
			configs[i] = d.Draw(graph.Rand(s.Seed, "search/cross-entropy", uint64(round*s.Population+i)))
		}
		trials, err := e.run(ctx, round, configs)
		if err != nil {
			return e.result, err
		}
		d = refit(d, start, elite(trials, s.Elite), s.Smoothing, s.Floor)
		e.result.Distributions = append(e.result.Distributions, d)
		if s.Tolerance > 0 && settled(d, start, s.Tolerance) {
			break
		}
	}
	return e.result, e.close()
}

// Random tries configurations drawn evenly from the space.
type Random struct {
	Trials int // 0 means 192, as many as CrossEntropy

	Options
}

// Run searches the space for the highest score. If f fails or ctx ends, the result holds what was done until then.
func (s Random) Run(ctx context.Context, space Space, f Objective) (*Result, error) {
	if s.Trials == 0 {
		s.Trials = 192
	}
	if s.Trials < 1 {
		return nil, graph.Fail("random search", "Trials", "at least 1", s.Trials)
	}
	if err := space.check(); err != nil {
		return nil, err
	}
	e, err := newEngine(s.Options, "random", struct{}{}, space, f)
	if err != nil {
		return nil, err
	}
	defer e.close()
	configs := make([]Config, s.Trials)
	for i := range configs {
		configs[i] = space.Uniform(graph.Rand(s.Seed, "search/random", uint64(i)))
	}
	if _, err := e.run(ctx, 0, configs); err != nil {
		return e.result, err
	}
	return e.result, e.close()
}
