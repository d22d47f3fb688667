package objectives

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(Entry{Name: "eisl",
		Summary: "cross-entropy of the n-grams of a text at whatever place of the output suits them",
		Formula: "-Σ q s, s = mean log p of an n-gram at each place, q = softmax(s)", Paper: "G. Liu et al. 2021, 2106.15078", Use: "texts with words moved, repeated or missing"})
}

// EISLOptions are the settings of the edit-invariant sequence loss. Begin with cross-entropy and fine-tune with it: it
// says which words stand next to each other, not where.
type EISLOptions struct {
	NGrams        []int     // lengths; 0 means the whole text, -1 one less and so on; longer ones are left out; nil means 1, 2
	Weights       []float64 // one for each length; nil means 0.8, 0.2 for nil NGrams and equal ones, of sum 1, for others
	DetachWeights bool      // hold q constant
	CEFactor      float64   // weight of the cross-entropy, place by place, to be added
	NGramFactor   float64   // weight of the n-grams; 0 means 1
	Ignore        []int     // labels that do not count, such as padding; nil means -100
}

// Loss is NGramFactor Σ_n w_n L_n + CEFactor · cross-entropy with L_n the mean over the target's n-grams j, then over the
// examples, of -Σ_i q_ij s_ij: s_ij is the mean log-probability of the n-gram at the output's place i, and q_ij = softmax
// of s_ij over i, the weights of the places, is differentiated too (G. Liu et al. 2021, arXiv 2106.15078, and its code).
// Output is logits [batch, places, vocabulary], target Int [batch, length], of the same length if CEFactor is not 0.
// Log-probabilities are held above -20, without a derivative below. An n-gram with an ignored label does not count, nor
// does an example without any other; the paper's code counts them as certain.
func (o EISLOptions) Loss(output, target *graph.Node) *graph.Node {
	return o.loss(output, target, func(_ int, s *graph.Node) *graph.Node { return s })
}

// NoisyLoss is Loss with Gumbel noise of the scope's clock added to s in the weights q: places are tried, as in the
// paper's training.
func (o EISLOptions) NoisyLoss(s *graph.Scope, output, target *graph.Node) *graph.Node {
	return o.loss(output, target, func(n int, score *graph.Node) *graph.Node {
		return graph.Add(score, graph.Cast(s.Gumbel(fmt.Sprintf("eisl/%d", n), graph.ShapeOf(score)...), score.Dtype()))
	})
}

func (o EISLOptions) loss(output, target *graph.Node, noise func(n int, s *graph.Node) *graph.Node) *graph.Node {
	const op = "eisl"
	lengths, weights := o.lengths(op, output, target)
	logp := sequences(op, output, target, o.Ignore)
	var sum *graph.Node
	add := func(x *graph.Node) {
		if sum != nil {
			x = graph.Add(sum, x)
		}
		sum = x
	}
	for k, n := range lengths {
		s, valid := logp.match(n)
		q := graph.Softmax(noise(n, s), 1)
		if o.DetachWeights {
			q = graph.Detach(q)
		}
		loss := graph.Mul(valid, graph.Sum(graph.Mul(q, s), 1))
		count := graph.Sum(valid, 1)
		each := graph.Div(graph.Sum(loss, 1), keepPositive(count))
		examples := graph.Sum(graph.Greater(count, graph.Const(count, 0)))
		add(graph.Scale(graph.Div(graph.Sum(each), keepPositive(examples)), -weights[k]*or(o.NGramFactor, 1)))
	}
	if o.CEFactor != 0 {
		add(graph.Scale(CrossEntropyOptions{Axis: -1, Ignore: o.Ignore}.Loss(output, target), o.CEFactor))
	}
	return sum
}

// lengths are the lengths of the n-grams that fit, and their weights.
func (o EISLOptions) lengths(op string, output, target *graph.Node) (lengths []int, weights []float64) {
	shape, labels := graph.TypeOf(output), graph.TypeOf(target)
	if len(shape.Shape) != 3 || !shape.IsFloat() || shape.Size() == 0 {
		panic(graph.Fail(op, "output", "logits [batch, places, vocabulary]", shape))
	}
	if len(labels.Shape) != 2 || labels.DType != graph.Int || labels.Shape[0] != shape.Shape[0] || labels.Shape[1] == 0 {
		panic(graph.Fail(op, "target", fmt.Sprintf("labels, Int [%d, length]", shape.Shape[0]), labels))
	}
	ngrams, all := o.NGrams, o.Weights
	if ngrams == nil {
		ngrams = []int{1, 2}
		if all == nil {
			all = []float64{0.8, 0.2}
		}
	}
	if all != nil && len(all) != len(ngrams) {
		panic(graph.Fail(op, "Weights", fmt.Sprintf("%d numbers", len(ngrams)), len(all)))
	}
	longest := min(shape.Shape[1], labels.Shape[1])
	for i, n := range ngrams {
		if n <= 0 {
			n += longest
		}
		if n < 1 {
			panic(graph.Fail(op, "NGrams", fmt.Sprintf("above %d for texts of length %d", -longest, longest), ngrams[i]))
		}
		if n <= longest {
			lengths = append(lengths, n)
			if all != nil {
				weights = append(weights, all[i])
			}
		}
	}
	if len(lengths) == 0 {
		return []int{longest}, []float64{1}
	}
	for len(weights) < len(lengths) {
		weights = append(weights, 1/float64(len(lengths)))
	}
	return lengths, weights
}

// scored is the log-probability of each word of the target at each place of the output.
type scored struct {
	logp  *graph.Node // [batch, places, length], at least -20
	valid *graph.Node // [batch, length]: 1 where the label counts
}

func sequences(op string, output, target *graph.Node, ignore []int) scored {
	if ignore == nil {
		ignore = []int{-100}
	}
	shape, length := graph.ShapeOf(output), graph.ShapeOf(target)[1]
	number := graph.Cast(target, output.Dtype())
	valid := graph.BroadcastTo(graph.Const(output, 1), shape[0], length)
	for _, i := range ignore {
		valid = graph.Mul(valid, graph.NotEqual(number, graph.Const(number, float64(i))))
	}
	safe := graph.Where(valid, target, graph.Const(target, 0))
	at := graph.BroadcastTo(graph.Reshape(safe, shape[0], 1, length), shape[0], shape[1], length)
	return scored{floored(graph.TakeAlong(logSoftmax(output, 2), at, 2)), valid}
}

// floored is log-probabilities held above -20, with derivative 0 at and below it.
func floored(logp *graph.Node) *graph.Node {
	floor := graph.Const(logp, -20)
	return graph.Where(graph.Greater(logp, floor), logp, floor)
}

// match is the mean log-probability of each n-gram at each place, [batch, places-n+1, length-n+1], and 1 for each n-gram
// all of whose labels count, [batch, length-n+1].
func (s scored) match(n int) (score, valid *graph.Node) {
	shape := graph.ShapeOf(s.logp)
	for k := range n {
		part := graph.Slice(graph.Slice(s.logp, 1, k, shape[1]-n+1+k, 1), 2, k, shape[2]-n+1+k, 1)
		counts := graph.Slice(s.valid, 1, k, shape[2]-n+1+k, 1)
		if k == 0 {
			score, valid = part, counts
			continue
		}
		score, valid = graph.Add(score, part), graph.Mul(valid, counts)
	}
	return graph.Scale(score, 1/float64(n)), valid
}

// NGramMatch is the mean log-probability of the target's n-gram j at the output's place i, held above -20 for each word:
// [batch, places-n+1, length-n+1], for log-probabilities [batch, places, vocabulary] and labels Int [batch, length] (G.
// Liu et al. 2021, arXiv 2106.15078).
func NGramMatch(logp, target *graph.Node, n int) *graph.Node {
	const op = "ngram_match"
	EISLOptions{}.lengths(op, logp, target)
	shape, length := graph.ShapeOf(logp), graph.ShapeOf(target)[1]
	if longest := min(shape[1], length); n < 1 || n > longest {
		panic(graph.Fail(op, "n", fmt.Sprintf("1 to %d", longest), n))
	}
	at := graph.BroadcastTo(graph.Reshape(target, shape[0], 1, length), shape[0], shape[1], length)
	score, _ := scored{floored(graph.TakeAlong(logp, at, 2)), graph.BroadcastTo(graph.Const(logp, 1), shape[0], length)}.match(n)
	return score
}

// TextNoise damages texts as the edit-invariant loss is tested with: each number is a rate in [0, 1], and what is not 0
// happens in the order of the fields. With all at one rate it is the paper's mixed noise (G. Liu et al. 2021, arXiv
// 2106.15078, sec. 4.1, from its code).
type TextNoise struct {
	Repeat  float64 // each word is followed by itself at this rate
	Blank   float64 // each word becomes BlankID at this rate
	Shuffle float64 // this part of the words, rounded up, takes part in swaps of two words at random places
	BlankID int
}

// Apply is a damaged copy of a text.
func (n TextNoise) Apply(r *rand.Rand, text []int) []int {
	var out []int
	for _, word := range text {
		out = append(out, word)
		if n.Repeat > 0 && r.Float64() < n.Repeat {
			out = append(out, word)
		}
	}
	for i := range out {
		if n.Blank > 0 && r.Float64() < n.Blank {
			out[i] = n.BlankID
		}
	}
	swaps := int(math.Ceil(n.Shuffle * float64(len(out))))
	if swaps < 2 {
		return out
	}
	places := r.Perm(len(out))
	for i := range min(swaps, len(out)-1) {
		a, b := places[i], places[i+1]
		out[a], out[b] = out[b], out[a]
	}
	return out
}
