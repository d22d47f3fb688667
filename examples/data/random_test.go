package data

import (
	"math"
	"slices"
	"testing"
)

// Expected numbers by NumPy's Philox.
func TestPhilox(t *testing.T) {
	const m = math.MaxUint64
	for _, test := range []struct {
		counter [4]uint64
		key     [2]uint64
		want    [4]uint64
	}{
		{[4]uint64{}, [2]uint64{}, [4]uint64{0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b}},
		{[4]uint64{m, m, m, m}, [2]uint64{m, m}, [4]uint64{0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0}},
		{[4]uint64{5, 7}, [2]uint64{1, 2}, [4]uint64{0xe6d7d1dbfe6d7cc, 0x9d0a6fc8f626946c, 0x8d6d5891f3a30d76, 0x8d23c6721aa9f581}},
	} {
		if got := philox(test.counter, test.key); got != test.want {
			t.Errorf("counter %x, key %x: want %x, got %x", test.counter, test.key, test.want, got)
		}
	}
	s := newStream(1, 2, 7)
	for i := range uint64(6) {
		for _, want := range philox([4]uint64{i, 7}, [2]uint64{1, 2}) {
			if got := s.next(); got != want {
				t.Errorf("block %d: want %x, got %x", i, want, got)
			}
		}
	}
}

func TestShuffle(t *testing.T) {
	a, b := make([]int, 100), make([]int, 100)
	Shuffle(a, 1, 2)
	Shuffle(b, 1, 2)
	if !slices.Equal(a, b) {
		t.Error("want the same permutation for the same seed and epoch")
	}
	sorted := slices.Sorted(slices.Values(a))
	for i, v := range sorted {
		if v != i {
			t.Fatalf("want a permutation of 0..99, got %v", a)
		}
	}
	for _, other := range [][2]uint64{{2, 2}, {1, 3}, {2, 1}} {
		if Shuffle(b, other[0], other[1]); slices.Equal(a, b) {
			t.Errorf("want another permutation for seed and epoch %v", other)
		}
	}
	Shuffle(nil, 1, 1)
}

// All 24 permutations of four come equally often: chi-square with 23 degrees of freedom, whose quantile at 1-1e-6 is 72.
func TestShuffleIsUniform(t *testing.T) {
	const draws = 24000
	seen := map[[4]int]int{}
	for epoch := range uint64(draws) {
		var p [4]int
		Shuffle(p[:], 3, epoch)
		seen[p]++
	}
	chi := 0.
	for _, k := range seen {
		chi += math.Pow(float64(k)-draws/24, 2) / (draws / 24)
	}
	if len(seen) != 24 || chi > 72 {
		t.Errorf("want 24 permutations with chi-square below 72, got %d with %v", len(seen), chi)
	}
}

// Without rejection, four random words would share three numbers when n = 3*2^62: the multiples of 3 would get two of
// the four, a half of the draws instead of a third.
func TestBelowIsUnbiased(t *testing.T) {
	random := newStream(1, forShuffle, 2)
	const draws = 100000
	multiples := 0
	for range draws {
		if uint64(random.below(3<<62))%3 == 0 {
			multiples++
		}
	}
	if share := float64(multiples) / draws; math.Abs(share-1./3) > 0.01 {
		t.Errorf("want 1/3 of the numbers to be multiples of 3, got %v", share)
	}
}

func TestSplit(t *testing.T) {
	s := Digits()
	for seed := range uint64(5) {
		train, test, err := s.Split(seed, 0.2)
		if err != nil {
			t.Fatal(err)
		}
		if train.Len() != 1437 || test.Len() != 360 || train.Check() != nil || test.Check() != nil {
			t.Errorf("want 1437 and 360 digits, got %d and %d", train.Len(), test.Len())
		}
		for class, n := range classCounts(test) {
			if share := 360. / 1797 * float64(classCounts(s)[class]); math.Abs(float64(n)-share) >= 1 {
				t.Errorf("class %d: want its share %v of the test set to within one, got %d", class, share, n)
			}
		}
	}
}

func TestSplitPartsAreWhole(t *testing.T) {
	s := counting(10)
	train, test, err := s.Split(1, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	again, _, _ := s.Split(1, 0.3)
	other, _, _ := s.Split(2, 0.3)
	if !slices.Equal(train.X, again.X) || slices.Equal(train.X, other.X) {
		t.Errorf("want the seed to decide, got %v, %v, %v", train.X, again.X, other.X)
	}
	if test.Len() != 3 || train.Len() != 7 {
		t.Errorf("want 7 and 3 examples, got %d and %d", train.Len(), test.Len())
	}
	all := slices.Concat(train.X, test.X)
	for i, label := range slices.Concat(train.Labels, test.Labels) {
		if all[2*i+1] != all[2*i]+1 || label != int(all[2*i])/2%3 {
			t.Errorf("want each example with its own label, got %v with %d", all[2*i:2*i+2], label)
		}
	}
	slices.Sort(all)
	if !slices.Equal(all, s.X) {
		t.Errorf("want every example once, got %v", all)
	}

	train, test, err = Diabetes().Split(1, 0.25)
	if err != nil || train.Len() != 331 || test.Len() != 111 || train.Check() != nil || test.Check() != nil {
		t.Errorf("want 331 and 111 patients, got %d, %d, %v", train.Len(), test.Len(), err)
	}
	for _, fraction := range []float64{0, 1, -0.1, 1.5, math.NaN(), math.Inf(1), 0.95} {
		_, _, err := s.Split(1, fraction)
		wantError(t, err, "counting", "split", "fraction")
	}
}

func TestBatch(t *testing.T) {
	s := counting(5)
	x, labels := make([]float32, 6), make([]int, 3)
	Batch(s, []int{3, 0, 4}, 1, x, nil, labels)
	if !slices.Equal(x, []float32{6, 7, 0, 1, 8, 9}) || !slices.Equal(labels, []int{0, 0, 1}) {
		t.Errorf("got %v, %v", x, labels)
	}
	y := make([]float32, 2)
	Batch(Diabetes(), []int{1, 0}, 1, make([]float32, 20), y, nil)
	if !slices.Equal(y, []float32{75, 151}) {
		t.Errorf("want targets 75 and 151, got %v", y)
	}
}
