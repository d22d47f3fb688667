package objectives

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Losses of a sampler that tells no probabilities, from counts of what it and the data drew.

func init() {
	const paper = "D. Kimpara et al. 2023, 2211.03761"
	Register(
		Entry{Name: "black-box-l2", Objective: BlackBoxL2,
			Summary: "unbiased squared distance of two distributions from counts of their draws, up to a constant",
			Formula: "Σ x(x-1)/(n(n-1)) - 2 Σ x y/(n m), x, y counts", Paper: paper, Use: "samplers without probabilities"},
		Entry{Name: "harmonic-log",
			Summary: "unbiased cross-entropy from how often a sampler missed before it drew the label: HarmonicLog",
			Formula: "Σ_{k≤J} 1/k, J misses", Paper: "after " + paper, Use: "samplers without probabilities"},
	)
}

// BlackBoxL2 is BlackBoxL2Options{}.Loss.
func BlackBoxL2(output, target *graph.Node) *graph.Node {
	return BlackBoxL2Options{}.Loss(output, target)
}

// BlackBoxL2Options are the settings of the squared distance from counts.
type BlackBoxL2Options struct {
	Full      bool // add the target's term, so that the expectation is the distance itself; wants two target draws
	Reduction Reduction
}

// Loss is Σ_a X_a(X_a-1)/(n(n-1)) - 2 Σ_a X_a Z_a/(nm) for the counts X of n draws of the model, at least 2, and Z of m of
// the target's, both [batch, outcomes]. For independent draws its expectation is |p - q|² - |q|², least at p = q alone (D.
// Kimpara, R. Frongillo, B. Waggoner 2023, arXiv 2211.03761); the plain squared distance of the frequencies prefers a
// peakier p. With one draw no loss can do it: the first term is left out and the best p is the mode of q. Counts have no
// useful derivative: train with ScoreFunction.
func (o BlackBoxL2Options) Loss(output, target *graph.Node) *graph.Node {
	const op = "black_box_l2"
	n, m := draws(op, output, target)
	loss := graph.Sub(pairs(output, n), graph.Scale(graph.Div(graph.Sum(graph.Mul(output, target), 1), keepPositive(graph.Mul(n, m))), 2))
	if o.Full {
		loss = graph.Add(loss, pairs(target, m))
	}
	return o.Reduction.of(op, loss)
}

// pairs is Σ x(x-1)/(n(n-1)), 0 for n below 2.
func pairs(x, n *graph.Node) *graph.Node {
	return graph.Div(graph.Sum(FallingFactorial(x, 2), 1), keepPositive(FallingFactorial(n, 2)))
}

// draws checks counts and adds them up.
func draws(op string, output, target *graph.Node) (n, m *graph.Node) {
	needSame(op, output, "target", target)
	if len(graph.ShapeOf(output)) != 2 {
		panic(graph.Fail(op, "output", "counts [batch, outcomes]", graph.TypeOf(output)))
	}
	return graph.Sum(output, 1), graph.Sum(target, 1)
}

// FallingFactorial is x(x-1)...(x-j+1), 1 for j = 0; for a whole number x below j it is 0. Of counts X of n draws,
// FallingFactorial(X_a, j)/FallingFactorial(n, j) has the expectation p_a^j.
func FallingFactorial(x *graph.Node, j int) *graph.Node {
	y := graph.Fill(x, 1)
	for i := range j {
		y = graph.Mul(y, graph.Shift(x, -float64(i)))
	}
	return y
}

// A Monomial is Coefficient Π_a p_a^Model[a] Π_a q_a^Target[a] of two distributions; powers left out are 0.
type Monomial struct {
	Coefficient   float64
	Model, Target []int
}

// Polynomial is a sum of monomials of the model's distribution p and the target's q: the losses that can be estimated
// from fixed numbers of draws, as many as the degrees in p and in q (D. Kimpara et al. 2023, arXiv 2211.03761).
type Polynomial []Monomial

// Value is the polynomial of two distributions.
func (l Polynomial) Value(p, q []float64) float64 {
	sum := 0.0
	for _, m := range l {
		term := m.Coefficient
		for a, j := range m.Model {
			term *= math.Pow(p[a], float64(j))
		}
		for a, j := range m.Target {
			term *= math.Pow(q[a], float64(j))
		}
		sum += term
	}
	return sum
}

// Loss is the mean over the batch of the unbiased estimate of Value from counts of draws of the model and the target,
// both [batch, outcomes]. Monomials of a higher degree than there are draws are left out.
func (l Polynomial) Loss(output, target *graph.Node) *graph.Node {
	const op = "polynomial"
	n, m := draws(op, output, target)
	outcomes := graph.ShapeOf(output)[1]
	sum := graph.Fill(n, 0)
	for i, monomial := range l {
		term := graph.Mul(estimate(op, i, output, n, monomial.Model, outcomes), estimate(op, i, target, m, monomial.Target, outcomes))
		sum = graph.Add(sum, graph.Scale(term, monomial.Coefficient))
	}
	return graph.Mean(sum)
}

// estimate is the unbiased estimate of Π_a p_a^powers[a] from counts of n draws.
func estimate(op string, i int, counts, n *graph.Node, powers []int, outcomes int) *graph.Node {
	y, degree := graph.Fill(n, 1), 0
	for a, j := range powers {
		if j < 0 || a >= outcomes && j > 0 {
			panic(graph.Fail(op, fmt.Sprintf("monomial %d", i), fmt.Sprintf("powers of at least 0 of %d outcomes", outcomes), powers))
		}
		if j > 0 {
			x := graph.Reshape(graph.Slice(counts, 1, a, a+1, 1), graph.ShapeOf(n)...)
			y = graph.Mul(y, FallingFactorial(x, j))
			degree += j
		}
	}
	return graph.Div(y, keepPositive(FallingFactorial(n, degree)))
}

// HarmonicLog is Σ_{k≤J} 1/k for numbers J of draws of a model that missed before one hit the target, in J's shape: for
// independent draws its expectation is -log p and its variance Σ_k (1-p)^k/k², at most π²/6, so that cross-entropy is
// estimated without bias though no fixed number of draws could do it. To be trained with ScoreFunction.
func HarmonicLog(misses *graph.Node) *graph.Node {
	return graph.Shift(graph.Digamma(graph.Shift(misses, 1)), eulerGamma)
}

const eulerGamma = 0.57721566490153286060651209008240243

// PoissonLog is the same for a number of draws that was itself drawn from a Poisson distribution of the given mean: Σ_{j
// ≤ draws-hits} C(draws-hits, j)/(C(draws, j) j P(N ≥ j)), whose expectation is -log p for every mean. Its variance is
// infinite: for scoring in theory; use HarmonicLog to train.
func PoissonLog(draws, hits int, mean float64) float64 {
	last := max(float64(draws), mean)
	var tail []float64 // P(N ≥ j) from the far end, where the terms are small
	p := 0.0
	for k := int(last + 20*math.Sqrt(last) + 60); k >= 0; k-- {
		factorial, _ := math.Lgamma(float64(k) + 1)
		p += math.Exp(float64(k)*math.Log(mean) - mean - factorial)
		tail = append(tail, p)
	}
	sum, ratio := 0.0, 1.0
	for j := 1; j <= draws-hits; j++ {
		ratio *= float64(draws-hits-j+1) / float64(draws-j+1)
		sum += ratio / (float64(j) * tail[len(tail)-1-j])
	}
	return sum
}

// ScoreFunction is the mean of costs [batch] that has the derivative Σ (cost - baseline)·d logp of their expectation,
// for costs of draws with log-probabilities logp [batch], such as Σ_a X_a log p_a of counts (R. Williams 1992; J. Foerster
// et al. 2018, arXiv 1802.05098). The baseline is the mean cost of the other draws of the batch. The costs get no
// derivative of their own.
func ScoreFunction(cost, logp *graph.Node) *graph.Node {
	const op = "score_function"
	needSame(op, cost, "logp", logp)
	shape := graph.ShapeOf(cost)
	if len(shape) != 1 || shape[0] < 1 {
		panic(graph.Fail(op, "cost", "[batch]", graph.TypeOf(cost)))
	}
	cost = graph.Detach(cost)
	base := graph.Fill(cost, 0)
	if n := float64(shape[0]); n > 1 {
		base = graph.Scale(graph.Sub(graph.Sum(cost), cost), 1/(n-1))
	}
	one := graph.Exp(graph.Sub(logp, graph.Detach(logp)))
	return graph.Mean(graph.Add(graph.Mul(graph.Sub(cost, base), one), base))
}
