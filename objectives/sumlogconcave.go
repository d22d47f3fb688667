package objectives

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(Entry{Name: "checkered",
		Summary: "cross-entropy of circularly convolved softmaxes, m planes for each class; CheckeredOptions.Loss",
		Formula: "-log (softmax(x_1) * ... * softmax(x_m))_y", Paper: "M. Achab 2023, 2309.15298", Use: "classes like fields of a chequerboard, XOR, cycles"})
}

// SumLogConcave is -log Σ_s exp(-l_s) along an axis: the loss of a sum of log-concave functions with l_s = -log p_s (M.
// Achab 2023, arXiv 2309.15298). Its derivative is Σ_s π_s ∇l_s with π = softmax(-l).
func SumLogConcave(components *graph.Node, axis int) *graph.Node {
	return graph.Neg(graph.LogSumExp(graph.Neg(components), axis))
}

// CrossGradient has the value of SumLogConcave and the derivative Σ_s w_s ∇l_s, for weights w of the components' type
// and shape, which are held fixed: the gradient seen from elsewhere. Descent by it minimises Σ_s w_s l_s; for w =
// softmax(-l) taken at the same place it is the gradient (M. Achab 2023, arXiv 2309.15298).
func CrossGradient(components, weights *graph.Node, axis int) *graph.Node {
	needSame("cross_gradient", components, "weights", weights)
	seen := graph.Sum(graph.Mul(graph.Detach(weights), components), axis)
	return graph.StraightThrough(graph.Detach(SumLogConcave(components, axis)), seen)
}

// Checkoid is (1 + Π_k tanh(z_k/2))/2 along an axis: the probability that of independent events of probabilities
// sigmoid(z_k) an even number fails (M. Achab 2023, arXiv 2309.15298). One z makes it the sigmoid.
func Checkoid(z *graph.Node, axis int) *graph.Node {
	return graph.Scale(graph.Shift(graph.Prod(graph.Tanh(graph.Scale(z, 0.5)), axis), 1), 0.5)
}

// SmoothXOR is 1 - Checkoid: the probability of an odd number of failures.
func SmoothXOR(z *graph.Node, axis int) *graph.Node { return graph.OneMinus(Checkoid(z, axis)) }

// CheckeredOptions are the settings of checkered regression.
type CheckeredOptions struct {
	Classes int // of each softmax; at least 2
	// Reference makes the derivative the cross-gradient seen from these logits, one for each column of the output,
	// which are the same for all examples; nil means the gradient.
	Reference []float64
	Reduction Reduction
}

// Loss is -log Ξ_y for output [batch, m·Classes], the logits of m softmaxes side by side, and labels Int [batch], with
// Ξ as in LogProbabilities: m hyperplanes for each class cut the space like a chequerboard (M. Achab 2023, arXiv
// 2309.15298). For two classes with logits (z_k, 0) Ξ_0 is Checkoid(z). Equal logits everywhere are a saddle.
func (o CheckeredOptions) Loss(output, target *graph.Node) *graph.Node {
	if o.Reference == nil {
		return NLLOptions{Ignore: []int{}, Reduction: o.Reduction}.Loss(o.LogProbabilities(output), target)
	}
	shape := graph.ShapeOf(output)
	if len(shape) != 2 || len(o.Reference) != shape[1] {
		panic(graph.Fail("checkered", "Reference", fmt.Sprintf("a number for each column of %v", graph.TypeOf(output)), len(o.Reference)))
	}
	row := vector("checkered", "Reference", output, o.Reference, shape[1], 2, 1)
	return o.SeenFrom(output, graph.BroadcastTo(row, shape...), target)
}

// LogProbabilities is log Ξ, [batch, Classes], of output [batch, m·Classes]: Ξ is the circular convolution softmax(x_1) *
// ... * softmax(x_m), (u * v)_k = Σ_{i+j = k mod Classes} u_i v_j.
func (o CheckeredOptions) LogProbabilities(output *graph.Node) *graph.Node {
	return o.convolve(o.logs(output))
}

// SeenFrom is Loss with the value at output and the cross-gradient seen from the logits reference, of its shape: -Σ_k Σ_j
// w_kj log softmax(x_k)_j, where w is the probability, under the reference, that the kth term of the label is j.
func (o CheckeredOptions) SeenFrom(output, reference, target *graph.Node) *graph.Node {
	const op = "checkered"
	needSame(op, output, "reference", reference)
	logs := o.logs(output)
	logp := o.convolve(logs)
	l := labels(op, logp, target, 1, []int{})
	// The derivative of log Ξ_y by log u_kj is that probability.
	from := o.logs(graph.Detach(reference))
	weights := graph.Grad(graph.Sum(l.pick(o.convolve(from))), from)[0]
	seen := graph.Neg(graph.Sum(graph.Mul(graph.Detach(weights), logs), 1, 2))
	return o.Reduction.of(op, graph.StraightThrough(graph.Detach(graph.Neg(l.pick(logp))), seen))
}

// logs is the log-softmaxes of the output, [batch, m, Classes].
func (o CheckeredOptions) logs(output *graph.Node) *graph.Node {
	const op = "checkered"
	if o.Classes < 2 {
		panic(graph.Fail(op, "Classes", "at least 2", o.Classes))
	}
	shape := graph.ShapeOf(output)
	if len(shape) != 2 || shape[1] == 0 || shape[1]%o.Classes != 0 {
		panic(graph.Fail(op, "output", fmt.Sprintf("[batch, m·%d]", o.Classes), graph.TypeOf(output)))
	}
	return logSoftmax(graph.Reshape(output, shape[0], shape[1]/o.Classes, o.Classes), 2)
}

// convolve is the logarithm of the circular convolution of [batch, m, Classes] along axis 1.
func (o CheckeredOptions) convolve(logs *graph.Node) *graph.Node {
	shape, c := graph.ShapeOf(logs), o.Classes
	difference := graph.NewArray(graph.Int, c, c) // k - i mod c at (k, i)
	for k := range c {
		for i := range c {
			difference.Set(k*c+i, float64((k-i+c)%c))
		}
	}
	index := graph.Literal(logs, difference)
	term := func(k int) *graph.Node {
		return graph.Reshape(graph.Slice(logs, 1, k, k+1, 1), shape[0], c)
	}
	sum := term(0)
	for k := 1; k < shape[1]; k++ {
		pairs := graph.Add(graph.Reshape(sum, shape[0], 1, c), graph.Take(term(k), index, 1))
		sum = graph.LogSumExp(pairs, 2)
	}
	return sum
}
