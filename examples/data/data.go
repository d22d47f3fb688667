// Package data holds the data sets of the example programs and the readers that make more of them.
//
// A [Set] is a whole data set in memory: float32 features, one row an example, with class labels or real targets.
// Five small ones come with the package ([Digits], [Iris], [Wine], [BreastCancer], [Diabetes]); [ByName] finds those
// and the image sets MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 in a folder.
//
// Other files are read by [ReadIDX], [ReadCIFAR10], [ReadCIFAR100], [CSV.Read], [ReadNPY] and [ReadNPZ], each from an
// io.Reader or, through [Load], from a path; compressed with gzip or not is decided by the content:
//
//	x, err := data.Load("x.npy", data.ReadNPY)
//	s, err := data.Load("table.csv.gz", data.CSV{Header: true, Label: "species"}.Read)
//
// A reader trusts nothing it reads. A wrong magic, a missing or a surplus byte, a label out of range or a number that
// is not finite is an error that names the file, what was wanted and what was found. Memory stays in proportion to
// the bytes that really arrive, and one file holds at most [MaxValues] values, whatever its header or its
// compression claims.
//
// Nothing here keeps hidden state: a split, a permutation and an augmented image are functions of their seed or key.
package data

import (
	"strconv"

	"github.com/pkg/errors"
)

// MaxValues is the largest number of values one file may hold: 2^28, which is 1 GiB of float32.
const MaxValues = 1 << 28

// MaxClasses is the largest number of classes of a set.
const MaxClasses = 1 << 16

// Source is what training reads examples from. [Set] and [Augmented] are sources.
type Source interface {
	// Len is the number of examples.
	Len() int
	// InputShape is the shape of one example's features.
	InputShape() []int
	// Classes is the number of classes, 0 for regression.
	Classes() int
	// TargetShape is the shape of one regression target, nil for class labels.
	TargetShape() []int
	// Read writes the features of example i into x and its regression target, if there is one, into y, and returns
	// its class label, -1 for regression. The same i and key always give the same bits.
	Read(i int, key uint64, x, y []float32) (label int)
}

var (
	_ Source = (*Set)(nil)
	_ Source = (*Augmented)(nil)
)

// Set is a data set in memory: Len examples of Shape, each with a class label or a regression target. Reading it from
// several goroutines at once is safe.
type Set struct {
	Name  string
	Shape []int     // of one example, such as {64} or {channels, height, width}
	X     []float32 // [Len, Shape...], row-major

	Labels     []int    // [Len], each in 0..len(ClassNames)-1; nil for regression
	ClassNames []string // one a class; nil for regression

	Y      []float32 // [Len, YShape...], row-major; nil for classification
	YShape []int     // of one regression target; nil for classification
}

// Len is the number of examples.
func (s *Set) Len() int {
	if n := size(s.Shape); n > 0 {
		return len(s.X) / n
	}
	return 0
}

// InputShape is the shape of one example's features; the caller must not change it.
func (s *Set) InputShape() []int { return s.Shape }

// Classes is the number of classes, 0 for regression.
func (s *Set) Classes() int { return len(s.ClassNames) }

// TargetShape is the shape of one regression target, nil for class labels; the caller must not change it.
func (s *Set) TargetShape() []int { return s.YShape }

// Read writes example i's features into x and, for regression, its target into y, and returns its label, -1 for
// regression. The key plays no part: a Set reads the same every time. As with a slice, an i outside 0..Len-1 or a
// slice that is too short panics.
func (s *Set) Read(i int, key uint64, x, y []float32) (label int) {
	n := size(s.Shape)
	copy(x[:n], s.X[i*n:(i+1)*n])
	if s.YShape == nil {
		return s.Labels[i]
	}
	m := size(s.YShape)
	copy(y[:m], s.Y[i*m:(i+1)*m])
	return -1
}

// Check reports the first thing wrong with a set: sizes that do not fit each other, no examples, a label out of
// range, or a value that is not finite. Every set that this package returns has passed it.
func (s *Set) Check() error {
	n, err := count(s.Name, s.Shape)
	if err != nil {
		return err
	}
	if len(s.X) == 0 || len(s.X)%n != 0 {
		return errors.Errorf("data: %s: want a positive multiple of %d features for shape %v, got %d", s.Name, n, s.Shape, len(s.X))
	}
	if i := notFinite(s.X); i >= 0 {
		return errors.Errorf("data: %s: example %d, feature %d: want a finite float32, got %v", s.Name, i/n, i%n, s.X[i])
	}
	if s.YShape != nil {
		return s.checkTargets()
	}
	if len(s.Labels) != s.Len() {
		return errors.Errorf("data: %s: want one label for each of %d examples, got %d", s.Name, s.Len(), len(s.Labels))
	}
	for i, l := range s.Labels {
		if l < 0 || l >= len(s.ClassNames) {
			return errors.Errorf("data: %s: example %d: want a label in 0..%d, got %d", s.Name, i, len(s.ClassNames)-1, l)
		}
	}
	return nil
}

// checked is s, if it is sound.
func checked(s *Set) (*Set, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Set) checkTargets() error {
	m, err := count(s.Name, s.YShape)
	if err != nil {
		return err
	}
	if len(s.Labels) > 0 || len(s.ClassNames) > 0 {
		return errors.Errorf("data: %s: want labels or regression targets, got both", s.Name)
	}
	if len(s.Y) != s.Len()*m {
		return errors.Errorf("data: %s: want %d targets for %d examples of target shape %v, got %d", s.Name, s.Len()*m, s.Len(), s.YShape, len(s.Y))
	}
	if i := notFinite(s.Y); i >= 0 {
		return errors.Errorf("data: %s: example %d: want a finite float32 target, got %v", s.Name, i/m, s.Y[i])
	}
	return nil
}

// Take is the first n examples, or all of them if there are fewer. It shares the memory of s.
func (s *Set) Take(n int) *Set {
	n = min(n, s.Len())
	t := *s
	t.X = s.X[:n*size(s.Shape)]
	if s.YShape == nil {
		t.Labels = s.Labels[:n]
	} else {
		t.Y = s.Y[:n*size(s.YShape)]
	}
	return &t
}

// Subset is a copy of the examples with these indices, in this order. An index outside 0..Len-1 is an error.
func (s *Set) Subset(indices []int) (*Set, error) {
	for _, i := range indices {
		if i < 0 || i >= s.Len() {
			return nil, errors.Errorf("data: %s: subset: want indices in 0..%d, got %d", s.Name, s.Len()-1, i)
		}
	}
	return s.gather(indices), nil
}

func (s *Set) gather(indices []int) *Set {
	t := *s
	n, m := size(s.Shape), size(s.YShape)
	t.X = make([]float32, 0, len(indices)*n)
	if s.YShape == nil {
		t.Labels = make([]int, 0, len(indices))
	} else {
		t.Y = make([]float32, 0, len(indices)*m)
	}
	for _, i := range indices {
		t.X = append(t.X, s.X[i*n:(i+1)*n]...)
		if s.YShape == nil {
			t.Labels = append(t.Labels, s.Labels[i])
		} else {
			t.Y = append(t.Y, s.Y[i*m:(i+1)*m]...)
		}
	}
	return &t
}

// Reshape is the same set with examples of another shape, such as (1, 8, 8) for the digits. It shares the memory of s.
// A shape with another number of values is an error.
func (s *Set) Reshape(shape ...int) (*Set, error) {
	n, err := count(s.Name, shape)
	if err != nil {
		return nil, err
	}
	if n != size(s.Shape) {
		return nil, errors.Errorf("data: %s: reshape %v to %v: want %d values, got %d", s.Name, s.Shape, shape, size(s.Shape), n)
	}
	t := *s
	t.Shape = append([]int(nil), shape...)
	return &t, nil
}

// Flatten is the same set with examples that are vectors. It shares the memory of s.
func (s *Set) Flatten() *Set {
	t := *s
	t.Shape = []int{size(s.Shape)}
	return &t
}

// Array is what an IDX or a NumPy file holds: values of any numeric type as float32, row-major.
type Array struct {
	Shape []int
	Data  []float32 // as many as the product of Shape
}

// NewSet makes a set of x [n, shape...] and integral labels [n]. Without classNames the classes are 0 to the largest
// label. It keeps x.Data. Sizes that differ, a label out of range and a feature that is not finite are errors.
func NewSet(name string, x, labels Array, classNames []string) (*Set, error) {
	s, err := newSet(name, x, labels)
	if err != nil {
		return nil, err
	}
	if n := size(labels.Shape); n != labels.Shape[0] {
		return nil, errors.Errorf("data: %s: want one label an example, got an array of shape %v", name, labels.Shape)
	}
	limit := len(classNames)
	if limit == 0 {
		limit = MaxClasses
	}
	s.Labels = make([]int, len(labels.Data))
	largest := 0
	for i, v := range labels.Data {
		l := int(v)
		if !(v >= 0 && v < float32(limit)) || float32(l) != v {
			return nil, errors.Errorf("data: %s: example %d: want an integral label in 0..%d, got %v", name, i, limit-1, v)
		}
		s.Labels[i], largest = l, max(largest, l)
	}
	s.ClassNames = classNames
	if len(classNames) == 0 {
		s.ClassNames = numerals(largest + 1)
	}
	return checked(s)
}

// NewRegression makes a set of x [n, shape...] and targets y [n, targetShape...]; the shape of rank-1 targets is {1}.
// It keeps x.Data and y.Data. Sizes that differ and values that are not finite are errors.
func NewRegression(name string, x, y Array) (*Set, error) {
	s, err := newSet(name, x, y)
	if err != nil {
		return nil, err
	}
	s.Y, s.YShape = y.Data, exampleShape(y)
	return checked(s)
}

func newSet(name string, x, y Array) (*Set, error) {
	for _, a := range []Array{x, y} {
		if n, err := count(name, a.Shape); err != nil {
			return nil, err
		} else if n != len(a.Data) {
			return nil, errors.Errorf("data: %s: want %d values for shape %v, got %d", name, n, a.Shape, len(a.Data))
		}
	}
	if x.Shape[0] != y.Shape[0] {
		return nil, errors.Errorf("data: %s: want a label or target for each of %d examples, got %d", name, x.Shape[0], y.Shape[0])
	}
	return &Set{Name: name, Shape: exampleShape(x), X: x.Data}, nil
}

func exampleShape(a Array) []int {
	if len(a.Shape) == 1 {
		return []int{1}
	}
	return a.Shape[1:]
}

// size is the product of a shape that is known to be sound.
func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// count is the product of a shape that is not: it refuses an empty shape, a dimension below 1 and more than
// MaxValues values, without ever overflowing.
func count(name string, shape []int) (int, error) {
	if len(shape) == 0 {
		return 0, errors.Errorf("data: %s: want at least one dimension, got none", name)
	}
	n := 1
	for _, d := range shape {
		if d < 1 {
			return 0, errors.Errorf("data: %s: want dimensions of at least 1, got shape %v", name, shape)
		}
		if d > MaxValues/n {
			return 0, errors.Errorf("data: %s: want at most %d values, got shape %v", name, MaxValues, shape)
		}
		n *= d
	}
	return n, nil
}

func notFinite(x []float32) int {
	for i, v := range x {
		if v-v != 0 { // Inf and NaN give NaN
			return i
		}
	}
	return -1
}

// numerals is the class names "0" to "n-1".
func numerals(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}
