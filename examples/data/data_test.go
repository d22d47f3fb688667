package data

import (
	"bytes"
	"compress/gzip"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// wantError fails unless err holds every one of the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("want an error with %q, got none", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("want an error with %q, got %q", w, err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func zipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	must(w.Write(b))
	if err := w.Close(); err != nil {
		panic(err)
	}
	return z.Bytes()
}

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// counting is a set of n examples of two features that are 2i and 2i+1, with classes 0, 1, 2, 0, 1, ...
func counting(n int) *Set {
	s := &Set{Name: "counting", Shape: []int{2}, ClassNames: numerals(3)}
	for i := range n {
		s.X = append(s.X, float32(2*i), float32(2*i+1))
		s.Labels = append(s.Labels, i%3)
	}
	return s
}

func classCounts(s *Set) []int {
	counts := make([]int, s.Classes())
	for _, l := range s.Labels {
		counts[l]++
	}
	return counts
}

func sum(x []float32) (total float64) {
	for _, v := range x {
		total += float64(v)
	}
	return total
}

// The expected numbers were computed with NumPy from the source tables.
func TestEmbedded(t *testing.T) {
	tests := []struct {
		set     *Set
		counts  []int
		shape   int
		sum     float64
		classes []string
	}{
		{Digits(), []int{178, 182, 177, 183, 181, 182, 181, 179, 174, 180}, 64, 561718 / 16., numerals(10)},
		{Iris(), []int{50, 50, 50}, 4, 2078.7, []string{"setosa", "versicolor", "virginica"}},
		{Wine(), []int{59, 71, 48}, 13, 159975.295999, []string{"class_0", "class_1", "class_2"}},
		{BreastCancer(), []int{212, 357}, 30, 1056474.4596356, []string{"malignant", "benign"}},
		{Diabetes(), nil, 10, 442 * (48.51809955 + 1.46832579 + 26.37579186 + 94.64701357 + 189.14027149 + 115.43914027 +
			49.78846154 + 4.07024887 + 4.64141086 + 91.260181), nil},
	}
	for _, test := range tests {
		s := test.set
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		if !slices.Equal(s.Shape, []int{test.shape}) || !slices.Equal(s.ClassNames, test.classes) {
			t.Errorf("%s: want shape [%d] and classes %q, got %v and %q", s.Name, test.shape, test.classes, s.Shape, s.ClassNames)
		}
		if test.counts != nil && !slices.Equal(classCounts(s), test.counts) {
			t.Errorf("%s: want class counts %v, got %v", s.Name, test.counts, classCounts(s))
		}
		if got := sum(s.X); math.Abs(got-test.sum) > 1e-7*test.sum {
			t.Errorf("%s: want features that add up to %v, got %v", s.Name, test.sum, got)
		}
	}
}

func TestDigitsFirstRow(t *testing.T) {
	s := Digits()
	want := []float32{0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8, 8, 0,
		0, 5, 8, 0, 0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10, 12, 0, 0, 0, 0, 6, 13, 10, 0, 0, 0}
	x := make([]float32, 64)
	label := s.Read(0, 7, x, nil)
	for i := range x {
		x[i] *= 16
	}
	if s.Len() != 1797 || s.Classes() != 10 || s.TargetShape() != nil || label != 0 || !slices.Equal(x, want) {
		t.Errorf("want 1797 examples of 10 classes, label 0 and %v, got %d of %d, %d and %v", want, s.Len(), s.Classes(), label, x)
	}
}

func TestDiabetesTargets(t *testing.T) {
	s := Diabetes()
	x, y := make([]float32, 10), make([]float32, 1)
	label := s.Read(0, 0, x, y)
	if s.Len() != 442 || s.Classes() != 0 || !slices.Equal(s.TargetShape(), []int{1}) || label != -1 || y[0] != 151 {
		t.Errorf("want 442 examples, 0 classes, targets [1], label -1, first target 151, got %d, %d, %v, %d, %v", s.Len(), s.Classes(), s.TargetShape(), label, y)
	}
	if want := []float32{59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87}; !slices.Equal(x, want) {
		t.Errorf("want first features %v, got %v", want, x)
	}
	if mean := sum(s.Y) / 442; math.Abs(mean-152.13348416289594) > 1e-9 {
		t.Errorf("want targets of mean 152.13348, got %v", mean)
	}
}

func TestCheck(t *testing.T) {
	inf := float32(math.Inf(1))
	nan := float32(math.NaN())
	tests := []struct {
		change func(s *Set)
		words  []string
	}{
		{func(s *Set) { s.Shape = nil }, []string{"dimension", "none"}},
		{func(s *Set) { s.Shape = []int{2, 0} }, []string{"at least 1", "[2 0]"}},
		{func(s *Set) { s.Shape = []int{-2} }, []string{"at least 1", "[-2]"}},
		{func(s *Set) { s.Shape = []int{1 << 62, 1 << 62, 16} }, []string{"at most 268435456 values"}},
		{func(s *Set) { s.Shape = []int{16, 1 << 60} }, []string{"at most 268435456 values"}},
		{func(s *Set) { s.X = s.X[1:] }, []string{"multiple of 2", "got 11"}},
		{func(s *Set) { s.X, s.Labels = nil, nil }, []string{"positive multiple", "got 0"}},
		{func(s *Set) { s.X[5] = inf }, []string{"example 2, feature 1", "finite", "+Inf"}},
		{func(s *Set) { s.X[4] = nan }, []string{"example 2, feature 0", "finite", "NaN"}},
		{func(s *Set) { s.Labels = s.Labels[1:] }, []string{"6 examples", "got 5"}},
		{func(s *Set) { s.Labels[3] = 3 }, []string{"example 3", "0..2", "got 3"}},
		{func(s *Set) { s.Labels[3] = -1 }, []string{"example 3", "0..2", "got -1"}},
		{func(s *Set) { s.YShape = []int{1} }, []string{"got both"}},
		{func(s *Set) { s.Labels, s.ClassNames, s.YShape, s.Y = nil, nil, []int{2}, make([]float32, 11) }, []string{"12 targets", "got 11"}},
		{func(s *Set) {
			s.Labels, s.ClassNames, s.YShape, s.Y = nil, nil, []int{1}, []float32{0, 1, 2, 3, 4, nan}
		}, []string{"example 5", "finite"}},
		{func(s *Set) { s.Labels, s.ClassNames, s.YShape, s.Y = nil, nil, []int{0}, nil }, []string{"at least 1"}},
	}
	for i, test := range tests {
		s := counting(6)
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		test.change(s)
		t.Log(i)
		wantError(t, s.Check(), append(test.words, "counting")...)
	}
}

func TestNewSet(t *testing.T) {
	x := Array{[]int{2, 1, 3}, []float32{1, 2, 3, 4, 5, 6}}
	s, err := NewSet("s", x, Array{[]int{2, 1}, []float32{4, 0}}, nil)
	if err != nil || !slices.Equal(s.Shape, []int{1, 3}) || !slices.Equal(s.Labels, []int{4, 0}) || s.Classes() != 5 {
		t.Errorf("want shape [1 3], labels [4 0] of 5 classes, got %+v, %v", s, err)
	}
	s, err = NewRegression("s", x, Array{[]int{2}, []float32{4, -1}})
	if err != nil || !slices.Equal(s.YShape, []int{1}) || s.Classes() != 0 {
		t.Errorf("want target shape [1], got %+v, %v", s, err)
	}
	s, err = NewRegression("s", Array{[]int{2}, []float32{1, 2}}, Array{[]int{2, 3, 1}, make([]float32, 6)})
	if err != nil || !slices.Equal(s.Shape, []int{1}) || !slices.Equal(s.YShape, []int{3, 1}) {
		t.Errorf("want shape [1] and target shape [3 1], got %+v, %v", s, err)
	}
	for _, test := range []struct {
		labels Array
		names  []string
		words  []string
	}{
		{Array{[]int{3}, []float32{0, 1, 2}}, nil, []string{"2 examples", "got 3"}},
		{Array{[]int{2, 2}, []float32{0, 1, 2, 3}}, nil, []string{"one label", "[2 2]"}},
		{Array{[]int{2}, []float32{0, 0.5}}, nil, []string{"example 1", "integral", "0.5"}},
		{Array{[]int{2}, []float32{-1, 0}}, nil, []string{"example 0", "integral", "-1"}},
		{Array{[]int{2}, []float32{0, float32(math.NaN())}}, nil, []string{"example 1", "NaN"}},
		{Array{[]int{2}, []float32{0, 1 << 30}}, nil, []string{"example 1", "0..65535"}},
		{Array{[]int{2}, []float32{0, 2}}, []string{"a", "b"}, []string{"example 1", "0..1", "got 2"}},
		{Array{nil, []float32{0}}, nil, []string{"dimension", "none"}},
		{Array{[]int{2}, []float32{0}}, nil, []string{"want 2 values", "got 1"}},
	} {
		_, err := NewSet("s", x, test.labels, test.names)
		wantError(t, err, test.words...)
	}
}

func TestTakeSubsetReshape(t *testing.T) {
	s := counting(5)
	if got := s.Take(2); !slices.Equal(got.X, []float32{0, 1, 2, 3}) || !slices.Equal(got.Labels, []int{0, 1}) || s.Len() != 5 {
		t.Errorf("take 2: got %+v", got)
	}
	if got := s.Take(9); got.Len() != 5 {
		t.Errorf("take 9 of 5: want 5, got %d", got.Len())
	}
	got := must(s.Subset([]int{4, 0, 4}))
	if !slices.Equal(got.X, []float32{8, 9, 0, 1, 8, 9}) || !slices.Equal(got.Labels, []int{1, 0, 1}) {
		t.Errorf("subset: got %+v", got)
	}
	for _, i := range []int{-1, 5} {
		_, err := s.Subset([]int{0, i})
		wantError(t, err, "counting", "0..4")
	}
	d := Diabetes()
	if got := must(d.Subset([]int{441, 0})).Take(1); got.Y[0] != 57 || got.Len() != 1 || len(got.Y) != 1 {
		t.Errorf("subset of diabetes: want target 57, got %v", got.Y)
	}

	image := must(Digits().Reshape(1, 8, 8))
	if !slices.Equal(image.InputShape(), []int{1, 8, 8}) || image.Len() != 1797 || !slices.Equal(image.Flatten().Shape, []int{64}) {
		t.Errorf("reshape: got %v, %d", image.Shape, image.Len())
	}
	for _, shape := range [][]int{{8}, {}, {-8, -8}, {1 << 32, 1 << 32}} {
		_, err := image.Reshape(shape...)
		wantError(t, err, "digits")
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	image := must(must(Digits().Reshape(1, 8, 8)).Augment(Augmentation{Pad: 2, Flip: true}))
	order := make([]int, 1797)
	x, labels := make([]float32, 32*64), make([]int, 32)
	key := uint64(0)
	if n := testing.AllocsPerRun(20, func() {
		key++
		Shuffle(order, 1, key)
		Batch(image, order[:32], key, x, nil, labels)
		Batch(image.Set, order[:32], key, x, nil, labels)
	}); n != 0 {
		t.Errorf("want no allocations in an epoch's shuffle and batch, got %v", n)
	}
}
