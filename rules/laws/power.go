package laws

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph"
)

// Power is a power law above a constant (T. Henighan et al. 2020, arXiv 2010.14701, eq. 1.1): of a model with x
// parameters, trained on x examples or by x operations, the loss is
//
//	L(x) = Limit + (Scale/x)^Alpha.
//
// For a loss in nats a symbol, Limit estimates the entropy of the data and the rest the divergence from the model to it.
type Power struct{ Limit, Scale, Alpha float64 }

// Predict is L(x).
func (p Power) Predict(x float64) float64 { return p.Limit + p.Reducible(x) }

// Reducible is L(x) - Limit: the estimate of the Kullback-Leibler divergence KL(data‖model).
func (p Power) Reducible(x float64) float64 { return math.Pow(p.Scale/x, p.Alpha) }

// Needs is the x at which the reducible loss has fallen to the given one.
func (p Power) Needs(reducible float64) float64 { return p.Scale * math.Pow(reducible, -1/p.Alpha) }

// FitPower fits a law with a Limit that is not negative to at least four sizes and losses, all positive, by least squares
// of the logarithm of the loss.
func FitPower(x, loss []float64) (Power, error) {
	if err := check("power law", 4, x, loss); err != nil {
		return Power{}, err
	}
	// In units of the middle size the columns have similar lengths whatever the exponent.
	unit := geometricMean(x)
	f := separable{name: "power law", values: loss, delta: math.Inf(1), exponents: 1}
	relative := make([]float64, len(x))
	for i, v := range x {
		relative[i] = v / unit
	}
	f.columns = func(e []float64) [][]float64 { return [][]float64{power(x, 0), power(relative, -e[0])} }
	e, c, err := f.fit()
	if err != nil {
		return Power{}, err
	}
	return Power{Limit: c[0], Scale: unit * math.Pow(c[1], 1/e[0]), Alpha: e[0]}, nil
}

// check refuses lists that a law cannot be fitted to.
func check(law string, least int, lists ...[]float64) error {
	for i, list := range lists {
		if len(list) != len(lists[0]) || len(list) < least {
			return graph.Fail(law, "data", fmt.Sprintf("%d numbers a list, at least %d", len(lists[0]), least), len(list))
		}
		for _, v := range list {
			if !(v > 0) || math.IsInf(v, 1) {
				return graph.Fail(law, fmt.Sprintf("list %d", i+1), "positive numbers", v)
			}
		}
	}
	return nil
}

func geometricMean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += math.Log(v) / float64(len(x))
	}
	return math.Exp(sum)
}

// Joint is the law of model and data together (J. Hoffmann et al. 2022, arXiv 2203.15556, eq. 2): with n parameters and
// d symbols of data
//
//	L(n, d) = Limit + A·n^-Alpha + B·d^-Beta.
type Joint struct{ Limit, A, Alpha, B, Beta float64 }

// Predict is L(n, d).
func (j Joint) Predict(n, d float64) float64 {
	return j.Limit + j.A*math.Pow(n, -j.Alpha) + j.B*math.Pow(d, -j.Beta)
}

// Operations is 6·n·d: about what training on d symbols takes with n parameters besides embeddings, 2·n·d forward and
// twice that backward.
func Operations(n, d float64) float64 { return 6 * n * d }

// Optimal is how many parameters and how much data make the least loss of so many operations:
//
//	n = ((A·Alpha)/(B·Beta))^(1/(Alpha+Beta))·(operations/6)^(Beta/(Alpha+Beta)), d = operations/(6·n).
func (j Joint) Optimal(operations float64) (n, d float64) {
	sum := j.Alpha + j.Beta
	n = math.Pow(j.A*j.Alpha/(j.B*j.Beta), 1/sum) * math.Pow(operations/6, j.Beta/sum)
	return n, operations / (6 * n)
}

// FitJoint fits the law to at least six runs by least deviations in the sense of Huber, of the logarithm of the loss, with
// the paper's delta of 1e-3.
func FitJoint(n, d, loss []float64) (Joint, error) {
	if err := check("joint law", 6, n, d, loss); err != nil {
		return Joint{}, err
	}
	un, ud := geometricMean(n), geometricMean(d)
	rn, rd := make([]float64, len(n)), make([]float64, len(d))
	for i := range n {
		rn[i], rd[i] = n[i]/un, d[i]/ud
	}
	f := separable{name: "joint law", values: loss, delta: 1e-3, exponents: 2}
	f.columns = func(e []float64) [][]float64 { return [][]float64{power(n, 0), power(rn, -e[0]), power(rd, -e[1])} }
	e, c, err := f.fit()
	if err != nil {
		return Joint{}, err
	}
	return Joint{Limit: c[0], A: c[1] * math.Pow(un, e[0]), Alpha: e[0], B: c[2] * math.Pow(ud, e[1]), Beta: e[1]}, nil
}

// A Run is one trained model.
type Run struct{ Size, Operations, Loss float64 }

// Envelope is, for each amount of operations of the runs and in ascending order, the run of the least loss among those
// that took no more; runs that are never best are left out. Its sizes are the optimal ones of the law N ~ C^beta.
func Envelope(runs []Run) []Run {
	order := slices.Clone(runs)
	slices.SortStableFunc(order, func(a, b Run) int {
		return cmp.Or(cmp.Compare(a.Operations, b.Operations), cmp.Compare(a.Loss, b.Loss))
	})
	var best []Run
	for _, r := range order {
		if len(best) == 0 || r.Loss < best[len(best)-1].Loss {
			best = append(best, r)
		}
	}
	return best
}

// InfoGain is the share of a text's loss that a condition, such as a picture, explains: (text - conditional)/text, with
// the mutual information as numerator (arXiv 2010.14701).
func InfoGain(text, conditional float64) float64 { return (text - conditional) / text }
