package objectives

import (
	"fmt"
	"math"

	"github.com/pkg/errors"
	"gonum.org/v1/gonum/mat"
)

// Starvation is the linear model ŷ = Φθ under cross-entropy with a ridge, Σ_i log(1 + exp(-y_i ŷ_i)) + λ/2 |θ|², in
// which a strong feature keeps weaker ones from being learnt (M. Pezeshki et al. 2021, arXiv 2011.09468). With
// the singular value decomposition diag(y) Φ = U S V' the strength of feature j in the predictions is z_j = u_j'
// diag(y) ŷ; columns of U are signed so that their elements have a sum of at least 0.
type Starvation struct {
	labels []float64
	lambda float64
	gram   *mat.SymDense // diag(y) Φ Φ' diag(y)
	u      mat.Dense
	values []float64 // S², of the columns of u
}

// NewStarvation makes the model of features Φ, [examples, parameters], labels of -1 or 1 and a ridge of weight lambda
// above 0.
func NewStarvation(features *mat.Dense, labels []float64, lambda float64) (*Starvation, error) {
	n, _ := features.Dims()
	if len(labels) != n {
		return nil, errors.Errorf("starvation: want %d labels, got %d", n, len(labels))
	}
	if !(lambda > 0) {
		return nil, errors.Errorf("starvation: want lambda above 0, got %v", lambda)
	}
	var signed mat.Dense
	signed.CloneFrom(features)
	for i, y := range labels {
		if y != 1 && y != -1 {
			return nil, errors.Errorf("starvation: label %d: want -1 or 1, got %v", i, y)
		}
		row := signed.RawRowView(i)
		for j := range row {
			row[j] *= y
		}
	}
	s := &Starvation{labels: labels, lambda: lambda, gram: mat.NewSymDense(n, nil)}
	s.gram.SymOuterK(1, &signed)
	var svd mat.SVD
	if !svd.Factorize(&signed, mat.SVDThin) {
		return nil, errors.New("starvation: the singular value decomposition failed")
	}
	svd.UTo(&s.u)
	for j, v := range svd.Values(nil) {
		s.values = append(s.values, v*v)
		sum := 0.0
		for i := range n {
			sum += s.u.At(i, j)
		}
		if sum < 0 {
			for i := range n {
				s.u.Set(i, j, -s.u.At(i, j))
			}
		}
	}
	return s, nil
}

// Response is the strength of each feature in predictions ŷ, strongest feature first.
func (s *Starvation) Response(predictions []float64) []float64 {
	z := make([]float64, len(s.values))
	for j := range z {
		for i, y := range s.labels {
			z[j] += s.u.At(i, j) * y * predictions[i]
		}
	}
	return z
}

// Optimum is the best predictions ŷ, by Newton's method on the margins m = diag(y) ŷ, for which λ m = diag(y) Φ Φ'
// diag(y) sigmoid(-m).
func (s *Starvation) Optimum() ([]float64, error) {
	n := len(s.labels)
	m, f := mat.NewVecDense(n, nil), mat.NewVecDense(n, nil)
	jacobian := mat.NewDense(n, n, nil)
	for range 200 {
		largest := 0.0
		for i := range n {
			sum := 0.0
			for j := range n {
				a := logistic(-m.AtVec(j))
				sum += s.gram.At(i, j) * a
				jacobian.Set(i, j, s.gram.At(i, j)*a*(1-a)/s.lambda)
			}
			jacobian.Set(i, i, jacobian.At(i, i)+1)
			f.SetVec(i, m.AtVec(i)-sum/s.lambda)
		}
		var step mat.VecDense
		if err := step.SolveVec(jacobian, f); err != nil {
			return nil, errors.Wrap(err, "starvation")
		}
		m.SubVec(m, &step)
		for i := range n {
			largest = max(largest, math.Abs(step.AtVec(i))/(1+math.Abs(m.AtVec(i))))
		}
		if largest < 1e-14 {
			break
		}
		if largest != largest {
			return nil, errors.New("starvation: Newton's method diverged")
		}
	}
	predictions := make([]float64, n)
	for i, y := range s.labels {
		predictions[i] = y * m.AtVec(i)
	}
	return predictions, nil
}

// Flow is the strengths of the features while the dual variables α, at first all start, move by α' = log((1-α)/α) - 1/λ
// U S² U' α, after each of the given number of Euler steps: the learning curves. They end at Response(Optimum).
func (s *Starvation) Flow(start, step float64, steps int) ([][]float64, error) {
	if !(start > 0 && start < 1) {
		return nil, errors.Errorf("starvation: want start between 0 and 1, got %v", start)
	}
	n := len(s.labels)
	alpha, next := make([]float64, n), make([]float64, n)
	for i := range alpha {
		alpha[i] = start
	}
	curves := make([][]float64, steps)
	for t := range curves {
		for i := range n {
			sum := 0.0
			for j, a := range alpha {
				sum += s.gram.At(i, j) * a
			}
			a := alpha[i]
			next[i] = a + step*(math.Log1p(-a)-math.Log(a)-sum/s.lambda)
			if !(next[i] > 0 && next[i] < 1) {
				return nil, errors.Errorf("starvation: step %d leaves (0, 1): want a smaller step than %v, got %v", t, step, fmt.Sprint(next))
			}
		}
		alpha, next = next, alpha
		z := make([]float64, len(s.values))
		for j, v := range s.values {
			for i, a := range alpha {
				z[j] += s.u.At(i, j) * a
			}
			z[j] *= v / s.lambda
		}
		curves[t] = z
	}
	return curves, nil
}

// SpectralDecouplingOptimum is the margin y ŷ that Σ_i log(1 + exp(-y_i ŷ_i)) + lambda/2 |ŷ|² gives every example when Φ is
// invertible, whatever its singular values: the u with u (1 + e^u) = 1/lambda (M. Pezeshki et al. 2021, arXiv
// 2011.09468).
func SpectralDecouplingOptimum(lambda float64) float64 {
	low, high := 0.0, 1/lambda
	for range 200 {
		if mid := (low + high) / 2; mid*(1+math.Exp(mid)) < 1/lambda {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

func logistic(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + math.Exp(-x))
	}
	return math.Exp(x) / (1 + math.Exp(x))
}
