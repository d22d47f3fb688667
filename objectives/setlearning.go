package objectives

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(Entry{Name: "odd-k-out",
		Summary: "set learning: cross-entropy of the summed logits of sets of examples; OddKOutOptions.Loss on OddKOutSampler's batches",
		Formula: "-log softmax(Σ_{i in set} x_i)_pair", Paper: "L. Muttenthaler et al. 2023, 2307.02245", Use: "few examples, unbalanced classes, calibration"})
}

// OddKOutOptions are the settings of odd-k-out set learning. A set is K+2 examples: two of the pair class and one each of
// K other classes. The model sees single examples, in training and after.
type OddKOutOptions struct {
	K         int  // odd classes of a set; 0 means 1
	Soft      bool // the target is the classes' parts of the set, not the pair class alone
	Reduction Reduction
}

func (o OddKOutOptions) size(op string) int {
	if o.K < 0 {
		panic(graph.Fail(op, "K", "at least 1, or 0 for 1", o.K))
	}
	return max(o.K, 1) + 2
}

// Loss is the cross-entropy of the logits summed over each set, for output [sets·(K+2), classes] and labels Int
// [sets·(K+2)], the members of a set one after the other, as OddKOutSampler orders them (L. Muttenthaler et al. 2023,
// arXiv 2307.02245). Its derivative is the same for all members of a set.
func (o OddKOutOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "odd_k_out"
	logits, counts := o.sets(op, output, target)
	c := CrossEntropyOptions{Reduction: o.Reduction}
	if o.Soft {
		return c.Loss(logits, graph.Scale(counts, 1/float64(o.size(op))))
	}
	return c.Loss(logits, graph.ArgMax(counts, 1))
}

// OddLoss is the cross-entropy of a second head that names the odd class of each set of K = 1, for its output and labels
// as in Loss. The paper adds it to Loss and drops the head after training.
func (o OddKOutOptions) OddLoss(output, target *graph.Node) *graph.Node {
	const op = "odd_k_out"
	if o.size(op) != 3 {
		panic(graph.Fail(op, "K", "1, for the odd class", o.K))
	}
	logits, counts := o.sets(op, output, target)
	odd := graph.Equal(counts, graph.Const(counts, 1))
	return CrossEntropyOptions{Reduction: o.Reduction}.Loss(logits, graph.ArgMax(odd, 1))
}

// sets is the sum of the logits and the number of labels of each class in each set, [sets, classes].
func (o OddKOutOptions) sets(op string, output, target *graph.Node) (logits, counts *graph.Node) {
	shape, size := graph.ShapeOf(output), o.size(op)
	if len(shape) != 2 || shape[0]%size != 0 {
		panic(graph.Fail(op, "output", fmt.Sprintf("[batch, classes] with whole sets of %d", size), graph.TypeOf(output)))
	}
	axis := classAxis(op, output, 1)
	l := labels(op, output, target, axis, []int{})
	sum := func(x *graph.Node) *graph.Node {
		return graph.Sum(graph.Reshape(x, shape[0]/size, size, shape[1]), 1)
	}
	return sum(output), sum(l.hot())
}

// OddKOutSampler draws sets: K+1 different classes that have examples, all equally likely, the first being the pair class
// and so one with two; then members of each, without replacement. Classes are balanced whatever the data set is.
type OddKOutSampler struct {
	k       int     // odd classes of a set
	members [][]int // examples of each class that has some
	paired  []int   // classes with two
	classes []int   // scratch
}

// NewOddKOutSampler makes the sampler of a data set with these labels. There must be K+1 classes, one of them with two
// examples; K 0 means 1.
func NewOddKOutSampler(labels []int, k int) (*OddKOutSampler, error) {
	s := &OddKOutSampler{k: max(k, 1)}
	byLabel := map[int][]int{}
	for i, l := range labels {
		byLabel[l] = append(byLabel[l], i)
	}
	var names []int
	for l := range byLabel {
		names = append(names, l)
	}
	slices.Sort(names)
	for c, l := range names {
		s.members, s.classes = append(s.members, byLabel[l]), append(s.classes, c)
		if len(byLabel[l]) > 1 {
			s.paired = append(s.paired, c)
		}
	}
	if k < 0 || len(names) < s.k+1 || len(s.paired) == 0 {
		return nil, errors.Errorf("odd-k-out: want %d classes, one with two examples, got %d, %d with two", s.k+1, len(names), len(s.paired))
	}
	return s, nil
}

// Sample fills indices, whose length is a multiple of K+2, with sets. It does not allocate.
func (s *OddKOutSampler) Sample(r *rand.Rand, indices []int) error {
	size := s.k + 2
	if len(indices)%size != 0 {
		return errors.Errorf("odd-k-out: want whole sets of %d, got %d indices", size, len(indices))
	}
	c := s.classes
	for i := range c {
		c[i] = i // so that what is drawn depends on r alone
	}
	for ; len(indices) > 0; indices = indices[size:] {
		set := indices[:size]
		pair := s.paired[r.IntN(len(s.paired))]
		// The pair class to the front, then K others behind it by the first steps of a shuffle.
		at := slices.Index(c, pair)
		c[0], c[at] = c[at], c[0]
		m := s.members[pair]
		i, j := r.IntN(len(m)), r.IntN(len(m)-1)
		if j >= i {
			j++
		}
		set[0], set[1] = m[i], m[j]
		for k := 1; k <= s.k; k++ {
			other := k + r.IntN(len(c)-k)
			c[k], c[other] = c[other], c[k]
			m := s.members[c[k]]
			set[k+1] = m[r.IntN(len(m))]
		}
		r.Shuffle(size, func(i, j int) { set[i], set[j] = set[j], set[i] })
	}
	return nil
}

// RelativeCrossEntropy is the mean of -log p_y - H(p) with the entropy H, for logits [batch, classes, ...] and labels Int
// [batch, ...]: 0 in the mean for a calibrated prediction, above 0 for an over-confident one, below 0 for an
// under-confident one (L. Muttenthaler et al. 2023, arXiv 2307.02245).
func RelativeCrossEntropy(output, target *graph.Node) *graph.Node {
	const op = "relative_cross_entropy"
	axis := classAxis(op, output, 1)
	l := labels(op, output, target, axis, []int{})
	logp := logSoftmax(output, axis)
	entropy := graph.Neg(graph.Sum(graph.Mul(graph.Exp(logp), logp), axis))
	return graph.Neg(graph.Mean(graph.Add(l.pick(logp), entropy)))
}
