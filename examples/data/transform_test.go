package data

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// Means and deviations of the iris measurements by NumPy.
func TestPerFeature(t *testing.T) {
	n := PerFeature(Iris())
	mean := []float64{5.843333333333335, 3.057333333333334, 3.7580000000000027, 1.199333333333334}
	std := []float64{0.8253012917851409, 0.43441096773549437, 1.7594040657753032, 0.7596926279021594}
	for j := range mean {
		if math.Abs(n.Mean[j]-mean[j]) > 1e-6 || math.Abs(n.Std[j]-std[j]) > 1e-6 {
			t.Errorf("feature %d: want %v and %v, got %v and %v", j, mean[j], std[j], n.Mean[j], n.Std[j])
		}
	}
	s := Iris()
	first := s.X[0]
	normal := must(n.Apply(s))
	if want := (float64(first) - mean[0]) / std[0]; math.Abs(float64(normal.X[0])-want) > 1e-6 || s.X[0] != first {
		t.Errorf("want %v and the original as it was, got %v and %v", want, normal.X[0], s.X[0])
	}
}

func TestPerChannel(t *testing.T) {
	// Channel 0 holds 0, 2, 4, 6 (mean 3, variance 5), channel 1 is constant.
	s := &Set{Name: "s", Shape: []int{2, 1, 2}, X: []float32{0, 2, 0.1, 0.1, 4, 6, 0.1, 0.1}, Labels: []int{0, 0}, ClassNames: []string{"a"}}
	n := PerChannel(s)
	if n.Mean[0] != 3 || n.Std[0] != math.Sqrt(5) || n.Mean[1] != float64(float32(0.1)) || n.Std[1] != 1 {
		t.Errorf("want means 3, 0.1 and deviations sqrt 5, 1, got %v", n)
	}
	d := float32(1 / math.Sqrt(5))
	got, want := must(n.Apply(s)).X, []float32{-3 * d, -d, 0, 0, d, 3 * d, 0, 0}
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1e-6 {
			t.Errorf("want %v, got %v", want, got)
		}
	}
	scaled := must(Normalizer{Mean: []float64{0}, Std: []float64{2}}.Apply(s))
	if !slices.Equal(scaled.X[:4], []float32{0, 1, 0.05, 0.05}) {
		t.Errorf("want the halves, got %v", scaled.X)
	}
}

func TestNormalizerErrors(t *testing.T) {
	s := must(Digits().Reshape(1, 8, 8))
	for _, test := range []struct {
		n     Normalizer
		words []string
	}{
		{Normalizer{}, []string{"1, 1 or 64 means", "got 0 and 0"}},
		{Normalizer{make([]float64, 8), make([]float64, 8)}, []string{"got 8 and 8"}},
		{Normalizer{[]float64{0}, nil}, []string{"got 1 and 0"}},
		{Normalizer{[]float64{0}, []float64{0}}, []string{"positive", "got 0"}},
		{Normalizer{[]float64{0}, []float64{math.NaN()}}, []string{"positive", "got NaN"}},
		{Normalizer{[]float64{0}, []float64{1e-300}}, []string{"finite"}},
	} {
		_, err := test.n.Apply(s)
		wantError(t, err, append(test.words, "digits")...)
	}
}

// Every image that Augment can make is computed here pixel by pixel from the definition; reading with many keys must
// give each of them, about equally often, and nothing else.
func TestAugment(t *testing.T) {
	const channels, height, width, pad = 2, 3, 4, 1
	s := &Set{Name: "s", Shape: []int{channels, height, width}, Labels: []int{0, 1}, ClassNames: numerals(2)}
	for i := range 2 * channels * height * width {
		s.X = append(s.X, float32(i+1))
	}
	for _, flip := range []bool{false, true} {
		want := map[string]int{}
		for down := -pad; down <= pad; down++ {
			for right := -pad; right <= pad; right++ {
				for _, mirror := range []bool{false, flip} {
					image := make([]float32, channels*height*width)
					for c := range channels {
						for h := range height {
							for w := range width {
								from := w
								if mirror {
									from = width - 1 - w
								}
								if r, k := h+down, from+right; r >= 0 && r < height && k >= 0 && k < width {
									image[(c*height+h)*width+w] = s.X[((channels+c)*height+r)*width+k]
								}
							}
						}
					}
					want[fmt.Sprint(image)] = 0
				}
			}
		}

		a := must(s.Augment(Augmentation{Pad: pad, Flip: flip}))
		x, again := make([]float32, len(s.X)/2), make([]float32, len(s.X)/2)
		const reads = 9000
		for key := range uint64(reads) {
			if label := a.Read(1, key, x, nil); label != 1 {
				t.Fatalf("want label 1, got %d", label)
			}
			if a.Read(1, key, again, nil); !slices.Equal(x, again) {
				t.Fatal("want the same image for the same key")
			}
			if _, ok := want[fmt.Sprint(x)]; !ok {
				t.Fatalf("key %d: got an image that is no crop: %v", key, x)
			}
			want[fmt.Sprint(x)]++
		}
		for image, n := range want {
			// Six standard deviations of a binomial count.
			if mean := float64(reads) / float64(len(want)); math.Abs(float64(n)-mean) > 6*math.Sqrt(mean) {
				t.Errorf("flip %v: want each of %d images about %v times, got %d times %s", flip, len(want), mean, n, image)
			}
		}
	}
}

// Different examples change differently under the same key.
func TestAugmentDependsOnExample(t *testing.T) {
	s := &Set{Name: "s", Shape: []int{1, 4, 4}, Labels: make([]int, 8), ClassNames: numerals(1)}
	for range 8 {
		for i := range 16 {
			s.X = append(s.X, float32(i+1))
		}
	}
	a := must(s.Augment(Augmentation{Pad: 3}))
	images := map[string]bool{}
	for i := range 8 {
		x := make([]float32, 16)
		a.Read(i, 1, x, nil)
		images[fmt.Sprint(x)] = true
	}
	if len(images) < 4 {
		t.Errorf("want different crops of 8 equal images, got %d", len(images))
	}
}

func TestAugmentErrors(t *testing.T) {
	_, err := Digits().Augment(Augmentation{})
	wantError(t, err, "digits", "channels", "[64]")
	image := must(Digits().Reshape(1, 8, 8))
	for _, pad := range []int{-1, 8} {
		_, err := image.Augment(Augmentation{Pad: pad})
		wantError(t, err, "digits", "0..7", fmt.Sprint(pad))
	}
}

func BenchmarkAugment(b *testing.B) {
	s := &Set{Shape: []int{3, 32, 32}, X: make([]float32, 3*32*32), Labels: []int{0}, ClassNames: numerals(1)}
	a := must(s.Augment(Augmentation{Pad: 4, Flip: true}))
	x := make([]float32, len(s.X))
	for i := 0; b.Loop(); i++ {
		a.Read(0, uint64(i), x, nil)
	}
}

func BenchmarkShuffle60000(b *testing.B) {
	order := make([]int, 60000)
	for i := 0; b.Loop(); i++ {
		Shuffle(order, 1, uint64(i))
	}
}
