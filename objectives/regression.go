package objectives

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(
		Entry{Name: "mse", Objective: MSE,
			Summary: "squared error",
			Formula: "d²", Paper: "A. Legendre 1805", Use: "regression; the default"},
		Entry{Name: "l1", Objective: L1,
			Summary: "absolute error",
			Formula: "|d|", Paper: "P. Laplace 1774", Use: "regression with outliers, medians"},
		Entry{Name: "huber", Objective: Huber,
			Summary: "squared error near 0, absolute error beyond",
			Formula: "d²/2 to |d| = 1, |d| - 1/2 beyond", Paper: "P. Huber 1964", Use: "regression with some outliers"},
		Entry{Name: "smooth-l1", Objective: SmoothL1,
			Summary: "Huber's loss with slope 1 beyond its Beta",
			Formula: "d²/2 to |d| = 1, |d| - 1/2 beyond", Paper: "R. Girshick 2015, 1504.08083", Use: "boxes"},
		Entry{Name: "poisson-nll", Objective: PoissonNLL,
			Summary: "negative log-likelihood of counts whose log-rate is the output",
			Formula: "e^x - y x", Paper: "J. Nelder, R. Wedderburn 1972", Use: "counts"},
	)
}

// MSE is the mean of (output - target)².
func MSE(output, target *graph.Node) *graph.Node { return MSEOptions{}.Loss(output, target) }

// MSEOptions are the settings of the squared error.
type MSEOptions struct{ Reduction Reduction }

// Loss is (output - target)².
func (o MSEOptions) Loss(output, target *graph.Node) *graph.Node {
	needSame("mse", output, "target", target)
	return o.Reduction.of("mse", graph.Square(graph.Sub(output, target)))
}

// L1 is the mean of |output - target|.
func L1(output, target *graph.Node) *graph.Node { return L1Options{}.Loss(output, target) }

// L1Options are the settings of the absolute error.
type L1Options struct{ Reduction Reduction }

// Loss is |output - target|, with derivative 0 at 0.
func (o L1Options) Loss(output, target *graph.Node) *graph.Node {
	needSame("l1", output, "target", target)
	return o.Reduction.of("l1", graph.Abs(graph.Sub(output, target)))
}

// Huber is HuberOptions{}.Loss.
func Huber(output, target *graph.Node) *graph.Node { return HuberOptions{}.Loss(output, target) }

// HuberOptions are the settings of Huber's loss.
type HuberOptions struct {
	Delta     float64 // where the square becomes a line; 0 means 1
	Reduction Reduction
}

// Loss is d²/2 where |d| ≤ Delta and Delta(|d| - Delta/2) elsewhere, d = output - target (P. Huber 1964).
func (o HuberOptions) Loss(output, target *graph.Node) *graph.Node {
	return o.Reduction.of("huber", huber("huber", output, target, "Delta", o.Delta))
}

// SmoothL1 is SmoothL1Options{}.Loss.
func SmoothL1(output, target *graph.Node) *graph.Node { return SmoothL1Options{}.Loss(output, target) }

// SmoothL1Options are the settings of the smoothed absolute error.
type SmoothL1Options struct {
	Beta      float64 // where the square becomes a line of slope 1; 0 means 1
	Reduction Reduction
}

// Loss is d²/(2 Beta) where |d| < Beta and |d| - Beta/2 elsewhere, d = output - target (R. Girshick 2015, arXiv
// 1504.08083, eq. 3): Huber's loss divided by Beta.
func (o SmoothL1Options) Loss(output, target *graph.Node) *graph.Node {
	loss := huber("smooth_l1", output, target, "Beta", o.Beta)
	return o.Reduction.of("smooth_l1", graph.Scale(loss, 1/or(o.Beta, 1)))
}

func huber(op string, output, target *graph.Node, field string, delta float64) *graph.Node {
	needSame(op, output, "target", target)
	if delta = or(delta, 1); !(delta > 0) {
		panic(graph.Fail(op, field, "above 0, or 0 for 1", delta))
	}
	d := graph.Sub(output, target)
	a := graph.Abs(d)
	line := graph.Scale(graph.Shift(a, -delta/2), delta)
	return graph.Where(graph.LessEqual(a, graph.Const(a, delta)), graph.Scale(graph.Square(d), 0.5), line)
}

// PoissonNLL is PoissonNLLOptions{}.Loss.
func PoissonNLL(output, target *graph.Node) *graph.Node {
	return PoissonNLLOptions{}.Loss(output, target)
}

// PoissonNLLOptions are the settings of the negative log-likelihood of counts.
type PoissonNLLOptions struct {
	Rate      bool    // the output is the rate, not its logarithm
	Full      bool    // add Stirling's approximation of log target!, for counts above 1
	Eps       float64 // added to a rate before its logarithm; 0 means 1e-8
	Reduction Reduction
}

// Loss is e^output - target·output, or with Rate output - target·log(output + Eps), for counts in the target.
func (o PoissonNLLOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "poisson_nll"
	needSame(op, output, "target", target)
	rate, log := output, output
	if o.Rate {
		log = graph.Log(graph.Shift(output, or(o.Eps, 1e-8)))
	} else {
		rate = graph.Exp(output)
	}
	loss := graph.Sub(rate, graph.Mul(target, log))
	if o.Full {
		many := graph.Greater(target, graph.Const(target, 1))
		n := graph.Where(many, target, graph.Const(target, 1))
		stirling := graph.Add(graph.Sub(graph.Mul(n, graph.Log(n)), n), graph.Scale(graph.Log(graph.Scale(n, 2*math.Pi)), 0.5))
		loss = graph.Add(loss, graph.Mul(many, stirling))
	}
	return o.Reduction.of(op, loss)
}

// GaussianNLL is GaussianNLLOptions{}.Loss.
func GaussianNLL(mean, variance, target *graph.Node) *graph.Node {
	return GaussianNLLOptions{}.Loss(mean, variance, target)
}

// GaussianNLLOptions are the settings of the negative log-likelihood of a normal distribution.
type GaussianNLLOptions struct {
	Full      bool    // add the constant log(2π)/2
	Eps       float64 // lower limit of the variance, through which its derivative passes; 0 means 1e-6
	Reduction Reduction
}

// Loss is (log v + (mean - target)²/v)/2 with v = max(variance, Eps), for three nodes of one shape (D. Nix, A. Weigend
// 1994).
func (o GaussianNLLOptions) Loss(mean, variance, target *graph.Node) *graph.Node {
	const op = "gaussian_nll"
	needSame(op, mean, "variance", variance)
	needSame(op, mean, "target", target)
	lift := graph.Sub(graph.Maximum(variance, graph.Const(variance, or(o.Eps, 1e-6))), variance)
	v := graph.Add(variance, graph.Detach(lift))
	loss := graph.Scale(graph.Add(graph.Log(v), graph.Div(graph.Square(graph.Sub(mean, target)), v)), 0.5)
	if o.Full {
		loss = graph.Shift(loss, 0.5*math.Log(2*math.Pi))
	}
	return o.Reduction.of(op, loss)
}
