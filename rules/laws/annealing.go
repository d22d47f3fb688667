package laws

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Annealing is the scaling law with learning-rate annealing (H. Tissue, V. Wang, L. Wang 2024, arXiv 2408.11029): after
// s steps of rates η_1, ..., η_s the loss is
//
//	L(s) = L0 + A·S1(s)^-Alpha - C·S2(s) + B·N^-Beta
//
// with the sum of the rates S1 and the annealing area S2, see Areas, and N parameters; B is 0 for one size.
type Annealing struct {
	L0, A, Alpha, C float64
	B, Beta         float64
	Lambda          float64 // the memory of S2
}

// Areas are, after each step, the sum of the rates, S1(s) = η_1 + ... + η_s, and the annealing area, the sum of a
// momentum of the falls: m_i = λ·m_{i-1} + (η_{i-1} - η_i), S2(s) = m_1 + ... + m_s, with m_0 = 0 and η_0 = η_1.
func Areas(rates []float64, lambda float64) (forward, annealing []float64) {
	forward, annealing = make([]float64, len(rates)), make([]float64, len(rates))
	var s1, s2, m float64
	for i, rate := range rates {
		if i > 0 {
			m = lambda*m + rates[i-1] - rate
		}
		s1, s2 = s1+rate, s2+m
		forward[i], annealing[i] = s1, s2
	}
	return forward, annealing
}

// Rates are the rates of the first steps of a schedule, nil for constant. Leave a warm-up out, or hold the peak rate
// during it: a rise would count as negative annealing.
func Rates(s optim.Schedule, base float64, steps int) []float64 {
	if s == nil {
		s = optim.Constant{}
	}
	rates := make([]float64, steps)
	for i := range rates {
		rates[i] = s.Rate(base, i)
	}
	return rates
}

// Predict is the loss after each step of these rates, for a model of the given size; without B the size does not matter.
func (l Annealing) Predict(rates []float64, size float64) []float64 {
	s1, s2 := Areas(rates, l.Lambda)
	loss := make([]float64, len(rates))
	for i := range loss {
		loss[i] = l.L0 + l.A*math.Pow(s1[i], -l.Alpha) - l.C*s2[i]
		if l.B != 0 {
			loss[i] += l.B * math.Pow(size, -l.Beta)
		}
	}
	return loss
}

// A Curve is what one run measured: Loss[i] after Steps[i] steps of Rates.
type Curve struct {
	Rates []float64 // of every step
	Steps []int     // from 1 to len(Rates); nil means all
	Loss  []float64 // positive
	Size  float64   // parameters of the model; only needed for several sizes
}

func (c Curve) check(number int) error {
	arg := fmt.Sprintf("curve %d", number)
	n := len(c.Steps)
	if c.Steps == nil {
		n = len(c.Rates)
	}
	if len(c.Loss) != n || n == 0 {
		return graph.Fail("annealing law", arg, fmt.Sprintf("a loss for each of %d steps, at least one", n), len(c.Loss))
	}
	for _, s := range c.Steps {
		if s < 1 || s > len(c.Rates) {
			return graph.Fail("annealing law", arg, fmt.Sprintf("steps from 1 to %d", len(c.Rates)), s)
		}
	}
	for i, r := range c.Rates {
		if !(r >= 0) || math.IsInf(r, 1) || i == 0 && r == 0 {
			return graph.Fail("annealing law", arg, "rates that are finite and not negative, the first positive", fmt.Sprintf("%v in step %d", r, i+1))
		}
	}
	return nil
}

// AnnealingOptions is how the law is fitted; the zero value is the paper's way.
type AnnealingOptions struct {
	Lambda float64 // 0 means 0.999; at most 1. FitAnnealing does not search for it
	Delta  float64 // of Huber's loss of the logarithms' differences; 0 means 1e-3
}

// FitAnnealing fits the law to curves of at least two schedules, of which one should anneal; one constant rate and one
// cosine do. With curves of three sizes or more, B and Beta are fitted too. No coefficient is negative.
func FitAnnealing(curves []Curve, o AnnealingOptions) (Annealing, error) {
	if o.Lambda == 0 {
		o.Lambda = 0.999
	}
	if o.Delta == 0 {
		o.Delta = 1e-3
	}
	law := Annealing{Lambda: o.Lambda}
	if !(o.Lambda >= 0 && o.Lambda <= 1) || !(o.Delta > 0) {
		return law, graph.Fail("annealing law", "Lambda, Delta", "Lambda in [0, 1], Delta above 0", fmt.Sprint(o.Lambda, ", ", o.Delta))
	}
	sizes := map[float64]bool{}
	var s1, s2, size, loss, ones []float64
	for k, c := range curves {
		if err := c.check(k); err != nil {
			return law, err
		}
		sizes[c.Size] = true
		a, b := Areas(c.Rates, o.Lambda)
		for i, l := range c.Loss {
			at := i
			if c.Steps != nil {
				at = c.Steps[i] - 1
			}
			s1, s2, size, loss, ones = append(s1, a[at]), append(s2, -b[at]), append(size, c.Size), append(loss, l), append(ones, 1)
		}
	}
	needs, several := 4, len(sizes) > 1
	if several {
		if needs = 6; len(sizes) < 3 || sizes[0] {
			return law, graph.Fail("annealing law", "curves", "one size, or at least three, all given", fmt.Sprintf("%d sizes", len(sizes)))
		}
	}
	if len(loss) < needs {
		return law, graph.Fail("annealing law", "curves", fmt.Sprintf("at least %d losses", needs), len(loss))
	}
	f := separable{name: "annealing law", values: loss, delta: o.Delta, exponents: needs/2 - 1}
	f.columns = func(e []float64) [][]float64 {
		columns := [][]float64{ones, power(s1, -e[0]), s2}
		if several {
			columns = append(columns, power(size, -e[1]))
		}
		return columns
	}
	e, c, err := f.fit()
	if err != nil {
		return law, err
	}
	law.L0, law.A, law.Alpha, law.C = c[0], c[1], e[0], c[2]
	if several {
		law.B, law.Beta = c[3], e[1]
	}
	return law, nil
}

func power(x []float64, e float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = math.Pow(v, e)
	}
	return y
}
