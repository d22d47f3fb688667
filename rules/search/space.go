// Package search looks for good hyper-parameters, and for thresholds, where every look costs a training run.
//
// CrossEntropy moves a distribution over configurations towards the best of those that it has tried; Random tries them
// evenly and is what a search has to beat. Both take any function of a configuration:
//
//	space := search.Space{
//		search.Real{Name: "lr", Low: 1e-4, High: 1, Log: true},
//		search.Integer{Name: "units", Low: 8, High: 256, Log: true},
//		search.Choice{Name: "rule", Values: []string{"backprop", "mono-forward"}},
//	}
//	result, err := search.CrossEntropy{}.Run(ctx, space, func(ctx context.Context, c search.Config) (float64, error) {
//		return accuracy(ctx, c["rule"].(string), c["units"].(int), c["lr"].(float64))
//	})
//
// Trials run side by side, and the same seed tries the same configurations whatever their number at a time is. With
// Options.Log a search that was stopped, or killed, goes on where it was.
//
// Threshold is another kind of search: it finds where a chance of success, which can only be sampled, crosses a target.
package search

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/harpe-ml/harpe/graph"
)

// A Config is one point of a Space: by name a float64 for a Real, an int for an Integer, a string for a Choice.
type Config map[string]any

// A Space lists the hyper-parameters of a search. Their names must differ.
type Space []Dimension

// A Dimension is one hyper-parameter: Real, Integer or Choice.
type Dimension interface {
	name() string
	check() error
	start() Factor
	draw(f Factor, r *rand.Rand) any
	uniform(r *rand.Rand) any
	// number is the value on the scale of Mean and Std, or the number of the choice.
	number(v any) float64
}

// A Factor is the distribution of one hyper-parameter: a normal distribution of the value, or of its logarithm where
// Log is set, cut off at the ends of its range; or the shares of the choices.
type Factor struct {
	Mean, Std float64
	Shares    []float64 // of the choices; nil for numbers
}

// Real is a number in [Low, High].
type Real struct {
	Name      string
	Low, High float64
	Log       bool    // the search goes by ratios; Low must be above 0
	Start     float64 // the first mean, or geometric mean; 0 means the middle
	// Spread is the first standard deviation, as a factor above 1 if Log is set. 0 means that the range is four of them.
	Spread float64
}

// Integer is a whole number in [Low, High]; the other fields are those of Real.
type Integer struct {
	Name          string
	Low, High     int
	Log           bool
	Start, Spread float64
}

// Choice is one of several values. All are as likely at first.
type Choice struct {
	Name   string
	Values []string
}

func (d Real) name() string    { return d.Name }
func (d Integer) name() string { return d.Name }
func (d Choice) name() string  { return d.Name }

func (d Real) scale(v float64) float64 {
	if d.Log {
		return math.Log(v)
	}
	return v
}

func (d Real) unscale(v float64) float64 {
	if d.Log {
		v = math.Exp(v)
	}
	return min(max(v, d.Low), d.High)
}

func (d Real) check() error {
	op := "search: " + d.Name
	inside := func(v float64) bool { return v == 0 || v >= d.Low && v <= d.High }
	switch {
	case !(d.Low < d.High) || math.IsInf(d.Low, 0) || math.IsInf(d.High, 0):
		return graph.Fail(op, "Low, High", "finite numbers, Low below High", fmt.Sprint(d.Low, ", ", d.High))
	case d.Log && d.Low <= 0:
		return graph.Fail(op, "Low", "a number above 0 on a logarithmic scale", d.Low)
	case !inside(d.Start):
		return graph.Fail(op, "Start", fmt.Sprintf("a number in [%v, %v]", d.Low, d.High), d.Start)
	case !(d.Spread >= 0) || math.IsInf(d.Spread, 0) || d.Log && d.Spread != 0 && d.Spread <= 1:
		return graph.Fail(op, "Spread", "a positive number, above 1 on a logarithmic scale", d.Spread)
	}
	return nil
}

func (d Real) start() Factor {
	low, high := d.scale(d.Low), d.scale(d.High)
	f := Factor{Mean: (low + high) / 2, Std: (high - low) / 4}
	if d.Start != 0 {
		f.Mean = d.scale(d.Start)
	}
	if d.Spread != 0 {
		f.Std = d.scale(d.Spread)
	}
	return f
}

func (d Real) draw(f Factor, r *rand.Rand) any {
	return d.unscale(normalIn(f, d.scale(d.Low), d.scale(d.High), r.Float64()))
}

func (d Real) uniform(r *rand.Rand) any {
	low, high := d.scale(d.Low), d.scale(d.High)
	return d.unscale(low + (high-low)*r.Float64())
}

func (d Real) number(v any) float64 { return d.scale(v.(float64)) }

// normalIn is the quantile u of a normal distribution cut off at low and high. Its mean lies between them.
func normalIn(f Factor, low, high, u float64) float64 {
	if f.Std == 0 {
		return f.Mean
	}
	below := func(v float64) float64 { return math.Erf((v-f.Mean)/f.Std/math.Sqrt2) / 2 } // P(value < v) - 1/2
	a, b := below(low), below(high)
	return min(max(f.Mean+f.Std*math.Sqrt2*math.Erfinv(2*(a+u*(b-a))), low), high)
}

// real is the range of real numbers that round to the integers.
func (d Integer) real() Real {
	return Real{Low: float64(d.Low), High: float64(d.High), Log: d.Log, Start: d.Start, Spread: d.Spread, Name: d.Name}
}

// edges is real with half an integer more at both ends, so that the outermost integers are as likely as the others.
func (d Integer) edges() Real {
	e := d.real()
	e.Low, e.High = e.Low-0.5, e.High+0.5
	return e
}

func (d Integer) round(v any) any {
	return min(max(int(math.Round(v.(float64))), d.Low), d.High)
}

func (d Integer) check() error                    { return d.real().check() }
func (d Integer) start() Factor                   { return d.real().start() }
func (d Integer) draw(f Factor, r *rand.Rand) any { return d.round(d.edges().draw(f, r)) }
func (d Integer) uniform(r *rand.Rand) any        { return d.round(d.edges().uniform(r)) }
func (d Integer) number(v any) float64            { return d.real().scale(float64(v.(int))) }

func (d Choice) check() error {
	if len(d.Values) == 0 {
		return graph.Fail("search: "+d.Name, "Values", "at least one", "none")
	}
	seen := map[string]bool{}
	for _, v := range d.Values {
		if seen[v] {
			return graph.Fail("search: "+d.Name, "Values", "each value once", v+" twice")
		}
		seen[v] = true
	}
	return nil
}

func (d Choice) start() Factor {
	shares := make([]float64, len(d.Values))
	for i := range shares {
		shares[i] = 1 / float64(len(shares))
	}
	return Factor{Shares: shares}
}

func (d Choice) draw(f Factor, r *rand.Rand) any {
	u := r.Float64()
	for i, share := range f.Shares {
		if u -= share; u < 0 {
			return d.Values[i]
		}
	}
	return d.Values[likeliest(f.Shares)] // rounding
}

func (d Choice) uniform(r *rand.Rand) any { return d.Values[r.IntN(len(d.Values))] }

func (d Choice) number(v any) float64 {
	for i, w := range d.Values {
		if w == v {
			return float64(i)
		}
	}
	return math.NaN()
}

func likeliest(shares []float64) int {
	k := 0
	for i, s := range shares {
		if s > shares[k] {
			k = i
		}
	}
	return k
}

func (s Space) check() error {
	if len(s) == 0 {
		return graph.Fail("search", "space", "at least one hyper-parameter", "none")
	}
	seen := map[string]bool{}
	for i, d := range s {
		if d == nil || d.name() == "" {
			return graph.Fail("search", "space", "a name for each hyper-parameter", fmt.Sprintf("none for number %d", i))
		}
		if seen[d.name()] {
			return graph.Fail("search", "space", "each name once", d.name()+" twice")
		}
		seen[d.name()] = true
		if err := d.check(); err != nil {
			return err
		}
	}
	return nil
}

// Uniform draws each hyper-parameter evenly from its range, by ratios where Log is set.
func (s Space) Uniform(r *rand.Rand) Config {
	c := Config{}
	for _, d := range s {
		c[d.name()] = d.uniform(r)
	}
	return c
}

// Start is the distribution that a search begins with, or an error that names a hyper-parameter that makes no sense.
func (s Space) Start() (Distribution, error) {
	d := Distribution{Space: s}
	if err := s.check(); err != nil {
		return d, err
	}
	for _, dim := range s {
		d.Factors = append(d.Factors, dim.start())
	}
	return d, nil
}

// A Distribution over the configurations of a space draws each hyper-parameter from its own factor.
type Distribution struct {
	Space   Space
	Factors []Factor
}

// Draw draws a configuration.
func (d Distribution) Draw(r *rand.Rand) Config {
	c := Config{}
	for i, dim := range d.Space {
		c[dim.name()] = dim.draw(d.Factors[i], r)
	}
	return c
}

// Mode is the configuration of the means and the likeliest choices.
func (d Distribution) Mode() Config {
	c := Config{}
	for i, dim := range d.Space {
		f := d.Factors[i]
		switch dim := dim.(type) {
		case Real:
			c[dim.Name] = dim.unscale(f.Mean)
		case Integer:
			c[dim.Name] = dim.round(dim.edges().unscale(f.Mean))
		case Choice:
			c[dim.Name] = dim.Values[likeliest(f.Shares)]
		}
	}
	return c
}
