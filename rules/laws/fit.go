// Package laws describes how the loss of training falls: along a run with a learning rate that changes (Annealing), and
// with the size of the model, the data or the computation (Power, Joint). Each law predicts, and each is fitted to
// measured losses by least deviations of the logarithm, so that what a small run tells can be used for a large one.
//
//	law, err := laws.FitAnnealing(curves, laws.AnnealingOptions{}) // of a constant rate and a cosine
//	loss := law.Predict(laws.Rates(optim.WarmRestarts{Steps: n}, 0.1, 3*n), 0) // of a schedule never tried
//
//	power, err := laws.FitPower(sizes, losses)
//	fmt.Println(power.Limit) // the loss that no size goes below: an estimate of the data's entropy
package laws

import (
	"fmt"
	"math"

	"github.com/pkg/errors"
	"gonum.org/v1/gonum/mat"

	"github.com/harpe-ml/harpe/graph"
)

// separable is a law that is linear, with coefficients that are not negative, in columns that depend on few exponents:
// prediction i = Σ_k coefficient_k·columns(exponents)[k][i].
type separable struct {
	name      string
	values    []float64 // measured, positive
	delta     float64   // of Huber's loss of the logarithms' differences; +Inf makes squares
	exponents int
	columns   func(exponents []float64) [][]float64
}

// Exponents are searched between these, at first at gridPoints even ratios.
const leastExponent, mostExponent, gridPoints = 0.01, 5, 24

// fit returns the exponents and coefficients of the least loss.
func (s separable) fit() (exponents, coefficients []float64, err error) {
	for i, v := range s.values {
		if !(v > 0) || math.IsInf(v, 1) {
			return nil, nil, graph.Fail(s.name, fmt.Sprintf("loss %d", i), "a positive number", v)
		}
	}
	ratio := math.Pow(mostExponent/leastExponent, 1./(gridPoints-1))
	grid, best, at := make([]float64, s.exponents), math.Inf(1), make([]float64, s.exponents)
	var walk func(k int)
	walk = func(k int) {
		if k == s.exponents {
			if _, v := s.solve(grid, 5); v < best {
				best = v
				copy(at, grid)
			}
			return
		}
		grid[k] = leastExponent
		for range gridPoints {
			walk(k + 1)
			grid[k] *= ratio
		}
	}
	walk(0)
	if math.IsInf(best, 1) {
		return nil, nil, errors.Errorf("%s: no fit: the losses do not fall", s.name)
	}
	exponents = make([]float64, s.exponents)
	s.refine(exponents, at, 0, ratio)
	coefficients, _ = s.solve(exponents, most)
	return exponents, coefficients, nil
}

// refine sets exponents k, k+1, ... to those of the least loss, which it returns, between around/ratio and around·ratio,
// by golden sections within golden sections.
func (s separable) refine(exponents, around []float64, k int, ratio float64) float64 {
	if k == len(exponents) {
		_, loss := s.solve(exponents, most)
		return loss
	}
	f := func(log float64) float64 {
		exponents[k] = math.Exp(log)
		return s.refine(exponents, around, k+1, ratio)
	}
	const golden = 0.6180339887498949
	low, high := math.Log(around[k]/ratio), math.Log(around[k]*ratio)
	a, b := high-golden*(high-low), low+golden*(high-low)
	fa, fb := f(a), f(b)
	for high-low > 1e-8 {
		if fa < fb {
			high, b, fb = b, a, fa
			a = high - golden*(high-low)
			fa = f(a)
		} else {
			low, a, fa = a, b, fb
			b = low + golden*(high-low)
			fb = f(b)
		}
	}
	return f((low + high) / 2)
}

// most is enough iterations for solve to converge.
const most = 30

// solve finds the coefficients for given exponents, by least squares weighted again and again until the logarithms'
// Huber loss is at its least, or as often as allowed, and returns that loss.
func (s separable) solve(exponents []float64, iterations int) (coefficients []float64, loss float64) {
	columns := s.columns(exponents)
	n := len(s.values)
	weights := make([]float64, n)
	for i, v := range s.values {
		weights[i] = 1 / v
	}
	target := make([]float64, n)
	copy(target, s.values)
	best, bestLoss := []float64(nil), math.Inf(1)
	for range iterations {
		c := nonNegative(columns, target, weights)
		if c == nil {
			break
		}
		loss := 0.0
		for i, v := range s.values {
			p := 0.0
			for k := range columns {
				p += c[k] * columns[k][i]
			}
			r := math.Log(p / v)
			// A Gauss-Newton step on the logarithm: log p' ≈ log p + (p'-p)/p, so p' aims at p·(1 - r).
			weights[i], target[i] = 1/p, p*(1-r)
			if a := math.Abs(r); a > s.delta {
				loss += s.delta * (a - s.delta/2)
				weights[i] *= math.Sqrt(s.delta / a)
			} else {
				loss += r * r / 2
			}
		}
		if loss-loss != 0 || loss >= bestLoss*(1-1e-10) {
			if best == nil || loss < bestLoss {
				best, bestLoss = c, loss
			}
			break
		}
		best, bestLoss = c, loss
	}
	if bestLoss-bestLoss != 0 {
		bestLoss = math.Inf(1)
	}
	return best, bestLoss
}

// nonNegative is the c ≥ 0 that minimises Σ_i (weights_i·(Σ_k c_k·columns_k,i - target_i))², found among the solutions
// of all subsets of the few columns; nil if there is none. One decomposition of all of them makes the others small.
func nonNegative(columns [][]float64, target, weights []float64) []float64 {
	k, n := len(columns), len(target)
	scale := make([]float64, k)
	all := mat.NewDense(max(n, k+1), k+1, nil)
	for j, column := range columns {
		for i, v := range column {
			scale[j] = math.Hypot(scale[j], weights[i]*v)
		}
		for i, v := range column {
			if scale[j] > 0 {
				all.Set(i, j, weights[i]*v/scale[j])
			}
		}
	}
	for i, v := range target {
		all.Set(i, k, weights[i]*v)
	}
	var qr mat.QR
	var r mat.Dense
	qr.Factorize(all)
	qr.RTo(&r)
	b := mat.NewVecDense(k+1, nil)
	for i := range k + 1 {
		b.SetVec(i, r.At(i, k))
	}
	var best []float64
	least := math.Inf(1)
	for subset := 1<<k - 1; subset > 0; subset-- {
		var chosen []int
		for j := range k {
			if subset>>j&1 == 1 {
				chosen = append(chosen, j)
			}
		}
		a := mat.NewDense(k+1, len(chosen), nil)
		for m, j := range chosen {
			for i := range k + 1 {
				a.Set(i, m, r.At(i, j))
			}
		}
		var x, rest mat.VecDense
		if err := x.SolveVec(a, b); err != nil { // columns that depend on each other: a smaller subset does
			continue
		}
		rest.MulVec(a, &x)
		rest.SubVec(&rest, b)
		c, ok := make([]float64, k), true
		for m, j := range chosen {
			c[j] = x.AtVec(m) / scale[j]
			ok = ok && c[j] >= 0
		}
		if sum := mat.Dot(&rest, &rest); ok && sum < least {
			best, least = c, sum
		}
		if ok && len(chosen) == k { // no bound holds the minimum back
			break
		}
	}
	return best
}
