package data

import (
	"math"
	"math/bits"
	"sort"

	"github.com/pkg/errors"
)

// Shuffle fills dst with a random permutation of 0..len(dst)-1 that depends on the seed and the epoch alone. It does
// not allocate; batches are slices of the result (slices.Chunk).
func Shuffle(dst []int, seed, epoch uint64) {
	permute(dst, newStream(seed, forShuffle, epoch))
}

// Batch reads the examples with these indices, one after the other, into x [len(indices), InputShape...], y
// [len(indices), TargetShape...] and labels [len(indices)]. Of y and labels, the one that the source has no use for
// may be nil. It does not allocate.
func Batch(src Source, indices []int, key uint64, x, y []float32, labels []int) {
	n, m := size(src.InputShape()), 0
	if shape := src.TargetShape(); shape != nil {
		m = size(shape)
	}
	for k, i := range indices {
		label := src.Read(i, key, x[k*n:(k+1)*n], y[k*m:(k+1)*m])
		if labels != nil {
			labels[k] = label
		}
	}
}

// Split divides a set at random into two: the second gets the fraction testFraction of the examples (rounded up), the
// first the others; 0.2 makes 1437 and 360 of the 1797 digits. Class labels are stratified: each class has its share
// of the test examples, to within one. Both parts are copies in random order that depend on the seed alone.
func (s *Set) Split(seed uint64, testFraction float64) (train, test *Set, err error) {
	n := s.Len()
	// The product of a decimal fraction may lie just above an integer that is meant exactly.
	tests := int(math.Ceil(testFraction*float64(n) - 1e-9))
	if !(testFraction > 0 && testFraction < 1) || tests < 1 || tests >= n {
		return nil, nil, errors.Errorf("data: %s: split: want a fraction that leaves examples in both parts of %d, got %v", s.Name, n, testFraction)
	}
	order := make([]int, n)
	permute(order, newStream(seed, forSplit, 0))

	left := s.quotas(tests)
	trainIdx, testIdx := make([]int, 0, n-tests), make([]int, 0, tests)
	for _, i := range order {
		class := 0
		if s.YShape == nil {
			class = s.Labels[i]
		}
		if left[class] > 0 {
			left[class]--
			testIdx = append(testIdx, i)
		} else {
			trainIdx = append(trainIdx, i)
		}
	}
	return s.gather(trainIdx), s.gather(testIdx), nil
}

// quotas divides a number of test examples among the classes in proportion to their sizes, by the method of largest
// remainders. Regression counts as one class.
func (s *Set) quotas(tests int) []int {
	counts := make([]int, max(1, s.Classes()))
	if s.YShape == nil {
		for _, l := range s.Labels {
			counts[l]++
		}
	} else {
		counts[0] = s.Len()
	}
	quota, byRemainder, left := make([]int, len(counts)), make([]int, len(counts)), tests
	for c, k := range counts {
		quota[c], byRemainder[c] = k*tests/s.Len(), c
		left -= quota[c]
	}
	sort.SliceStable(byRemainder, func(a, b int) bool {
		return counts[byRemainder[a]]*tests%s.Len() > counts[byRemainder[b]]*tests%s.Len()
	})
	for _, c := range byRemainder[:left] {
		quota[c]++
	}
	return quota
}

// permute fills dst with a permutation of its indices (Fisher and Yates, inside out).
func permute(dst []int, random stream) {
	for i := range dst {
		j := random.below(uint64(i + 1))
		dst[i] = dst[j]
		dst[j] = i
	}
}

// What random numbers are drawn for: equal seeds give unrelated numbers for different purposes.
const (
	forShuffle uint64 = iota
	forSplit
	forAugment
)

// stream is the random numbers of a seed, a purpose and an index: philox of block 0, 1, 2, ...
type stream struct {
	key          [2]uint64
	block, index uint64
	numbers      [4]uint64
	left         int
}

func newStream(seed, purpose, index uint64) stream {
	return stream{key: [2]uint64{seed, purpose}, index: index}
}

func (s *stream) next() uint64 {
	if s.left == 0 {
		s.numbers = philox([4]uint64{s.block, s.index}, s.key)
		s.block++
		s.left = len(s.numbers)
	}
	s.left--
	return s.numbers[len(s.numbers)-1-s.left]
}

// below draws a uniform integer in 0..n-1 without bias (Lemire 2019, arXiv:1805.10941, algorithm 5).
func (s *stream) below(n uint64) int {
	high, low := bits.Mul64(s.next(), n)
	if low < n {
		for threshold := -n % n; low < threshold; {
			high, low = bits.Mul64(s.next(), n)
		}
	}
	return int(high)
}

// philox is Philox4x64-10, four random numbers as a function of a counter and a key (Salmon, Moraes, Dror and Shaw,
// "Parallel Random Numbers: As Easy as 1, 2, 3", 2011). Unlike a generator of the standard library it needs no state
// on the heap.
func philox(c [4]uint64, key [2]uint64) [4]uint64 {
	for range 10 {
		high0, low0 := bits.Mul64(0xD2E7470EE14C6C93, c[0])
		high1, low1 := bits.Mul64(0xCA5A826395121157, c[2])
		c = [4]uint64{high1 ^ c[1] ^ key[0], low1, high0 ^ c[3] ^ key[1], low0}
		key[0] += 0x9E3779B97F4A7C15
		key[1] += 0xBB67AE8584CAA73B
	}
	return c
}
