package objectives

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Regression by classification: numbers become distributions over bins, which cross-entropy learns, and a prediction is
// the mean of its distribution.

func init() {
	const paper = "J. Farebrother et al. 2024, 2403.03950"
	Register(
		Entry{Name: "hl-gauss", Objective: HLGauss,
			Summary: "cross-entropy to a normal distribution around the target, cut into bins from -10 to 10",
			Formula: "-Σ_i t_i log p_i, t_i = N(y, σ²) in bin i", Paper: "E. Imani, M. White 2018, 1806.04613", Use: "values with noise or outliers, reinforcement learning"},
		Entry{Name: "two-hot", Objective: TwoHot,
			Summary: "cross-entropy to the two places next to the target, of places from -10 to 10",
			Formula: "-Σ_i max(0, 1 - |y - c_i|/w) log p_i", Paper: paper, Use: "values, where their mean must be exact"},
		Entry{Name: "c51",
			Summary: "cross-entropy to a distribution of returns, moved by reward and discount: TwoHotOptions.Project",
			Formula: "-Σ_i t_i log p_i, t = projection of r + γ c", Paper: "M. Bellemare et al. 2017, 1707.06887", Use: "distributional reinforcement learning"},
	)
}

// HLGauss is HLGaussOptions{}.Loss.
func HLGauss(output, target *graph.Node) *graph.Node { return HLGaussOptions{}.Loss(output, target) }

// HLGaussOptions are the settings of the histogram loss with a normal distribution. There are as many bins as the
// output's last axis has places.
type HLGaussOptions struct {
	Min, Max   float64 // of the values; both 0 means -10 and 10
	SigmaRatio float64 // standard deviation in bin widths, at least 1e-3; 0 means 0.75
	Reduction  Reduction
}

// Loss is -Σ_i t_i log softmax(output)_i for logits [..., bins] and numbers [...], with t = Target(target) held constant
// (J. Farebrother et al. 2024, arXiv 2403.03950; E. Imani, M. White 2018, arXiv 1806.04613). Its derivative
// by each logit is at most 1, however far off the target is.
func (o HLGaussOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "hl_gauss"
	return softEntropy(op, output, o.Target(binsOf(op, output, target), target), o.Reduction)
}

// Target is the part of the normal distribution around each number, held between Min and Max and cut off there, that
// falls into each of some equal bins: [...] to [..., bins]. Its mean is not the number but lies further inside: with 5
// bins from -1 to 1, 0.3 becomes 0.291 and 0.95 becomes 0.710. Let Min and Max leave room.
func (o HLGaussOptions) Target(bins int, value *graph.Node) *graph.Node {
	const op = "hl_gauss"
	low, high := binRange(op, o.Min, o.Max)
	ratio := or(o.SigmaRatio, 0.75)
	if !(ratio >= 1e-3 && ratio < math.Inf(1)) {
		panic(graph.Fail(op, "SigmaRatio", "at least 0.001, or 0 for 0.75", o.SigmaRatio))
	}
	if bins < 1 {
		panic(graph.Fail(op, "bins", "at least 1", bins))
	}
	width := (high - low) / float64(bins)
	edges := graph.Literal(value, equalSteps(value, low, high, bins+1))
	v, last := spread(value, low, high)
	below := graph.Erf(graph.Scale(graph.Sub(edges, v), 1/(ratio*width*math.Sqrt2)))
	part := graph.Sub(graph.Slice(below, last, 1, bins+1, 1), graph.Slice(below, last, 0, bins, 1))
	all := graph.Sub(graph.Slice(below, last, bins, bins+1, 1), graph.Slice(below, last, 0, 1, 1))
	return graph.Detach(graph.Div(part, all))
}

// Value is the number predicted by logits [..., bins]: the mean of the bins' centres under their softmax, [...].
func (o HLGaussOptions) Value(output *graph.Node) *graph.Node {
	low, high := binRange("hl_gauss", o.Min, o.Max)
	bins := lastAxis("hl_gauss", output)
	half := (high - low) / float64(2*bins)
	return meanPlace(output, low+half, high-half, bins)
}

// TwoHot is TwoHotOptions{}.Loss.
func TwoHot(output, target *graph.Node) *graph.Node { return TwoHotOptions{}.Loss(output, target) }

// TwoHotOptions are the settings of the two-hot loss and of C51. There are as many equally spaced places, Min and Max
// among them, as the output's last axis has, at least two.
type TwoHotOptions struct {
	Min, Max  float64 // both 0 means -10 and 10
	Reduction Reduction
}

// Loss is -Σ_i t_i log softmax(output)_i for logits [..., places] and numbers [...], with t = Target(target) held
// constant (J. Farebrother et al. 2024, arXiv 2403.03950, sec. 3.1).
func (o TwoHotOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "two_hot"
	return softEntropy(op, output, o.Target(binsOf(op, output, target), target), o.Reduction)
}

// Target is the distribution over the two places next to each number whose mean is the number, held between Min and
// Max: [...] to [..., places].
func (o TwoHotOptions) Target(places int, value *graph.Node) *graph.Node {
	return graph.Detach(o.near(places, value))
}

// near is max(0, 1 - |value - c_i|/width) for each place.
func (o TwoHotOptions) near(places int, value *graph.Node) *graph.Node {
	const op = "two_hot"
	low, high := binRange(op, o.Min, o.Max)
	if places < 2 {
		panic(graph.Fail(op, "places", "at least 2", places))
	}
	steps := float64(places-1) / (high - low)
	v, _ := spread(value, low, high)
	index := graph.Literal(value, equalSteps(value, 0, float64(places-1), places))
	return graph.ReLU(graph.OneMinus(graph.Abs(graph.Sub(graph.Scale(graph.Shift(v, -low), steps), index))))
}

// Value is the number predicted by logits [..., places]: the mean place under their softmax, [...].
func (o TwoHotOptions) Value(output *graph.Node) *graph.Node {
	low, high := binRange("two_hot", o.Min, o.Max)
	return meanPlace(output, low, high, lastAxis("two_hot", output))
}

// Project is C51's target: the distribution of reward + discount·c for a place c drawn from the next state's
// probabilities, each outcome held between Min and Max and spread over the two places next to it (M. Bellemare et al.
// 2017, arXiv 1707.06887, eq. 7). Next is [batch, places]; reward and discount, 0 where an episode ends, are [batch]. The
// loss is CrossEntropy of the logits and the result, which is [batch, places] and constant.
func (o TwoHotOptions) Project(next, reward, discount *graph.Node) *graph.Node {
	const op = "c51"
	shape := graph.ShapeOf(next)
	if len(shape) != 2 || !graph.TypeOf(next).IsFloat() {
		panic(graph.Fail(op, "next", "probabilities [batch, places]", graph.TypeOf(next)))
	}
	for arg, x := range map[string]*graph.Node{"reward": reward, "discount": discount} {
		if want := (graph.Type{DType: next.Dtype(), Shape: shape[:1]}); !want.Equal(graph.TypeOf(x)) {
			panic(graph.Fail(op, arg, want, graph.TypeOf(x)))
		}
	}
	low, high := binRange(op, o.Min, o.Max)
	column := func(x *graph.Node) *graph.Node { return graph.Reshape(x, shape[0], 1) }
	place := graph.Literal(next, equalSteps(next, low, high, shape[1]))
	outcome := graph.Add(column(reward), graph.Mul(column(discount), place))
	t := graph.MatMul(graph.Reshape(next, shape[0], 1, shape[1]), o.near(shape[1], outcome))
	return graph.Detach(graph.Reshape(t, shape...))
}

// TDTarget is reward + discount · max_a next, held constant: the target of the value of a state and action, in [batch].
// Reward and discount, 0 where an episode ends, are [batch]; next is the values of the next state's actions by the
// target network, [batch, actions], such as HLGaussOptions.Value of its logits [batch, actions, bins].
func TDTarget(reward, discount, next *graph.Node) *graph.Node {
	needSame("td_target", reward, "discount", discount)
	return graph.Detach(graph.Add(reward, graph.Mul(discount, graph.Max(next, -1))))
}

// softEntropy is the cross-entropy of logits to a distribution over the last axis.
func softEntropy(op string, output, target *graph.Node, r Reduction) *graph.Node {
	last := len(graph.ShapeOf(output)) - 1
	return r.of(op, graph.Neg(graph.Sum(graph.Mul(target, logSoftmax(output, last)), last)))
}

// binsOf is the size of the output's last axis; it panics unless the target has its type and other axes.
func binsOf(op string, output, target *graph.Node) int {
	bins := lastAxis(op, output)
	shape := graph.ShapeOf(output)
	if want := (graph.Type{DType: output.Dtype(), Shape: shape[:len(shape)-1]}); !want.Equal(graph.TypeOf(target)) {
		panic(graph.Fail(op, "target", want, graph.TypeOf(target)))
	}
	return bins
}

func lastAxis(op string, output *graph.Node) int {
	shape := graph.ShapeOf(output)
	if len(shape) == 0 || !graph.TypeOf(output).IsFloat() || shape[len(shape)-1] < 1 {
		panic(graph.Fail(op, "output", "logits [..., bins]", graph.TypeOf(output)))
	}
	return shape[len(shape)-1]
}

// binRange fills the defaults in.
func binRange(op string, low, high float64) (float64, float64) {
	if low == 0 && high == 0 {
		return -10, 10
	}
	if !(low < high) || math.IsInf(high-low, 0) {
		panic(graph.Fail(op, "Min, Max", "two numbers, the first lower, or 0 for -10 and 10", fmt.Sprintf("%v, %v", low, high)))
	}
	return low, high
}

// equalSteps is n numbers from low to high in the type of like.
func equalSteps(like *graph.Node, low, high float64, n int) *graph.Array {
	a := graph.NewArray(like.Dtype(), n)
	for i := range n {
		part := float64(i) / float64(max(n-1, 1))
		a.Set(i, low*(1-part)+high*part)
	}
	return a
}

// spread is values held between low and high, with a new last axis of size 1, and that axis.
func spread(value *graph.Node, low, high float64) (v *graph.Node, last int) {
	shape := graph.ShapeOf(value)
	held := graph.Maximum(graph.Minimum(value, graph.Const(value, high)), graph.Const(value, low))
	return graph.Reshape(held, append(append([]int{}, shape...), 1)...), len(shape)
}

// meanPlace is the mean of n equally spaced places under the softmax of logits.
func meanPlace(output *graph.Node, low, high float64, n int) *graph.Node {
	place := graph.Literal(output, equalSteps(output, low, high, n))
	return graph.Sum(graph.Mul(graph.Softmax(output, -1), place), -1)
}
