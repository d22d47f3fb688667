package data

import (
	"math"

	"github.com/pkg/errors"
)

// Normalizer replaces features by (x - Mean) / Std. It holds one mean and one standard deviation for the whole example,
// for each channel, or for each feature; Normalizer{Mean: []float64{0}, Std: []float64{255}} is a plain scaling.
// It is made from the training set and applied to both.
type Normalizer struct {
	Mean, Std []float64
}

// PerFeature is the mean and the (population) standard deviation of every feature. The Std of a feature that is
// constant is 1, which makes it 0.
func PerFeature(s *Set) Normalizer { return moments(s, size(s.Shape)) }

// PerChannel is the mean and the (population) standard deviation of every channel, which is the first axis of an
// example's shape. The Std of a channel that is constant is 1, which makes it 0.
func PerChannel(s *Set) Normalizer { return moments(s, s.Shape[0]) }

func moments(s *Set, groups int) Normalizer {
	n := Normalizer{Mean: make([]float64, groups), Std: make([]float64, groups)}
	width := size(s.Shape) / groups
	values := float64(max(1, s.Len()*width))
	for i := 0; i < len(s.X); i += width {
		g := i / width % groups
		for _, v := range s.X[i : i+width] {
			n.Mean[g] += float64(v)
		}
	}
	for g := range n.Mean {
		n.Mean[g] /= values
	}
	for i := 0; i < len(s.X); i += width {
		g := i / width % groups
		for _, v := range s.X[i : i+width] {
			d := float64(v) - n.Mean[g]
			n.Std[g] += d * d
		}
	}
	for g, sum := range n.Std {
		n.Std[g] = math.Sqrt(sum / values)
		if n.Std[g] == 0 {
			n.Std[g] = 1
		}
	}
	return n
}

// Apply returns a normalised copy of s. A number of means that fits neither the example nor its channels nor its
// features, a Std that is not positive and a result that is not finite are errors.
func (n Normalizer) Apply(s *Set) (*Set, error) {
	features, groups := size(s.Shape), len(n.Mean)
	if len(n.Std) != groups || groups != 1 && groups != s.Shape[0] && groups != features {
		return nil, errors.Errorf("data: %s: normalize: want 1, %d or %d means and as many deviations for shape %v, got %d and %d",
			s.Name, s.Shape[0], features, s.Shape, groups, len(n.Std))
	}
	for g, std := range n.Std {
		if !(std > 0) {
			return nil, errors.Errorf("data: %s: normalize: want positive deviations, got %v for group %d", s.Name, std, g)
		}
	}
	t := *s
	t.X = make([]float32, len(s.X))
	width := features / groups
	for i := 0; i < len(s.X); i += width {
		mean, std := n.Mean[i/width%groups], n.Std[i/width%groups]
		for j, v := range s.X[i : i+width] {
			t.X[i+j] = float32((float64(v) - mean) / std)
		}
	}
	return checked(&t)
}

// Augmentation says how images [channels, height, width] are changed at random each time they are read. Pad > 0 crops
// the image from itself with Pad pixels of zeros around it (a normalised image's mean), that is, shifts it by up to
// Pad pixels either way; Flip mirrors every second one, left to right.
type Augmentation struct {
	Pad  int
	Flip bool
}

// Augmented is a set whose images are cropped and flipped at random when they are read.
type Augmented struct {
	*Set
	augmentation Augmentation
}

// Augment makes a source of changed images of s, for training. A set whose examples are not of rank 3 and a padding
// that is negative or as large as the image are errors.
func (s *Set) Augment(a Augmentation) (*Augmented, error) {
	if len(s.Shape) != 3 {
		return nil, errors.Errorf("data: %s: augment: want examples [channels, height, width], got shape %v", s.Name, s.Shape)
	}
	if a.Pad < 0 || a.Pad >= min(s.Shape[1], s.Shape[2]) {
		return nil, errors.Errorf("data: %s: augment: want a padding of 0..%d pixels, got %d", s.Name, min(s.Shape[1], s.Shape[2])-1, a.Pad)
	}
	return &Augmented{s, a}, nil
}

// Read writes a changed image of example i into x; the change depends on i and the key alone. See [Set.Read].
func (a *Augmented) Read(i int, key uint64, x, y []float32) (label int) {
	random := newStream(key, forAugment, uint64(i))
	pad, flip := a.augmentation.Pad, a.augmentation.Flip
	down := random.below(uint64(2*pad+1)) - pad
	right := random.below(uint64(2*pad+1)) - pad
	flip = flip && random.below(2) == 1

	label = a.Set.Read(i, key, x, y)
	channels, height, width := a.Shape[0], a.Shape[1], a.Shape[2]
	image := a.X[i*channels*height*width:]
	for row := range channels * height {
		to := x[row*width : (row+1)*width]
		if from := row%height + down; from < 0 || from >= height {
			clear(to)
			continue
		}
		shift(to, image[(row+down)*width:(row+down+1)*width], right)
		if flip {
			for l, r := 0, width-1; l < r; l, r = l+1, r-1 {
				to[l], to[r] = to[r], to[l]
			}
		}
	}
	return label
}

// shift writes from[k+by] to to[k], with zeros from outside.
func shift(to, from []float32, by int) {
	first, end := max(0, -by), min(len(to), len(to)-by)
	clear(to[:first])
	copy(to[first:end], from[first+by:])
	clear(to[end:])
}
