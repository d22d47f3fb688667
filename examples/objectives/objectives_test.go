package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/objectives"
)

// One short page from start to end, and the refusal of what cannot be.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := run(context.Background(), []string{"-pages", "long-tail", "-seeds", "1", "-out", dir}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "long-tail.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"logit adjustment", "Reliability", "Accuracy by class", "adaptive ECE"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, args := range [][]string{{"-pages", "all,nonsense"}, {"-data", "diabetes"}, {"-data", "nonsense"}, {"-seeds", "0"}, {"nonsense"}} {
		if err := run(context.Background(), append(args, "-out", dir)); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(stopped, []string{"-pages", "long-tail", "-seeds", "1", "-out", dir}); err == nil {
		t.Error("a stopped run ends well")
	}
}

func TestFlipped(t *testing.T) {
	s := data.Digits()
	wrong := 0
	f := flipped(s, 0.4, 1)
	for i, l := range f.Labels {
		if l < 0 || l > 9 {
			t.Fatalf("label %d", l)
		}
		if l != s.Labels[i] {
			wrong++
		}
	}
	if part := float64(wrong) / float64(s.Len()); part < 0.36 || part > 0.44 {
		t.Errorf("%v of the labels are wrong", part)
	}
	if !slices.Equal(s.Labels, data.Digits().Labels) {
		t.Error("the set itself was changed")
	}
}

func TestRare(t *testing.T) {
	s := data.Digits()
	r, counts := rare(s, 50)
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	if counts[0] != 178 || counts[9] != 3 { // 180/50 rounded down
		t.Errorf("counts %v", counts)
	}
	for k := range 9 {
		if counts[k+1] >= counts[k] {
			t.Errorf("class %d has %d examples, class %d %d", k, counts[k], k+1, counts[k+1])
		}
	}
}

func TestBags(t *testing.T) {
	seen, unseen := bags(1)
	for _, s := range []*data.Set{seen, unseen} {
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		if s.Len() != 560 || s.Classes() != 28 {
			t.Errorf("%d examples of %d classes", s.Len(), s.Classes())
		}
	}
	for _, c := range seen.ClassNames {
		if slices.Contains(unseen.ClassNames, c) {
			t.Errorf("class %s is in both", c)
		}
	}
}

// Heights of both moons do not meet, also when they are mirrored, and shapes do not depend on that.
func TestMoons(t *testing.T) {
	up, down := moons(1, 200, 1), moons(1, 200, -1)
	for i, y := range up.Y {
		sign := 1 - 2*y
		if h := sign * up.X[2*i+1]; h < 0.1 || h > 1.1 {
			t.Errorf("height %v", h)
		}
		if up.X[2*i] != down.X[2*i] || up.X[2*i+1] != -down.X[2*i+1] {
			t.Errorf("point %d is not mirrored", i)
		}
	}
}

// The picture stands in the half of its colour; labels and colours are wrong as often as asked for.
func TestColoured(t *testing.T) {
	s := data.Digits()
	c := coloured(s, 0.25, 0.1, 1)
	wrong, flips := 0, 0
	for i, class := range s.Labels {
		label, colour := c.Y[i] == 1, -1
		for k := range 2 {
			if slices.Equal(c.X[(2*i+k)*64:(2*i+k+1)*64], s.X[i*64:(i+1)*64]) {
				colour = k
			}
		}
		if colour < 0 {
			t.Fatalf("example %d has lost its picture", i)
		}
		if (class < 5) != label {
			wrong++
		}
		if (colour == 1) != label {
			flips++
		}
	}
	n := float64(s.Len())
	if a, b := float64(wrong)/n, float64(flips)/n; a < 0.22 || a > 0.28 || b < 0.08 || b > 0.12 {
		t.Errorf("%v of the labels and %v of the colours are wrong", a, b)
	}
}

// A set has two members of one class and one of another, the same ones when it is read again, others in the next epoch.
func TestSets(t *testing.T) {
	d := firstOf(data.Digits(), func(int) int { return 10 })
	sampler, err := objectives.NewOddKOutSampler(d.Labels, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := &sets{of: d, sampler: sampler, n: 64, seed: 1}
	x, again, y := make([]float32, 3*64), make([]float32, 3*64), make([]float32, 3)
	for i := range s.Len() {
		s.Read(i, 3, x, y)
		labels := map[float32]bool{y[0]: true, y[1]: true, y[2]: true}
		if len(labels) != 2 {
			t.Errorf("set of labels %v", y)
		}
		s.Read(i, 3, again, y)
		if !slices.Equal(x, again) {
			t.Errorf("set %d changes", i)
		}
		s.Read(i, 4, again, y)
		if slices.Equal(x, again) {
			t.Errorf("set %d is the same in the next epoch", i)
		}
	}
}

// A quarter turn by six turns of 15 degrees moves the one bright pixel where it belongs; a blurred picture keeps its sum
// away from the border, a pale one has half its range.
func TestTransformed(t *testing.T) {
	s := &data.Set{Name: "dot", Shape: []int{81}, X: make([]float32, 81), Labels: []int{0}, ClassNames: []string{"dot"}}
	s.X[4*9+7] = 1 // three to the right of the centre
	turned := s
	for range 6 {
		turned = transformed(turned, turn)
	}
	row, column, sum := 0.0, 0.0, 0.0
	for k, v := range turned.X {
		row, column, sum = row+float64(v)*float64(k/9), column+float64(v)*float64(k%9), sum+float64(v)
	}
	if r, c := row/sum-4, column/sum-4; math.Abs(math.Abs(r)-3) > 0.3 || math.Abs(c) > 0.3 {
		t.Errorf("the dot is at %.2f, %.2f from the centre", r, c)
	}
	total := float32(0)
	for _, v := range transformed(s, blur).X {
		total += v
	}
	if p := transformed(s, pale).X; math.Abs(float64(total)-1) > 1e-6 || p[0] != 0.25 || p[4*9+7] != 0.75 {
		t.Errorf("sum %v, pale %v and %v", total, p[0], p[4*9+7])
	}
}

// Edges between nodes of the tree, counted by hand; a step down has variance 1 in each feature, so an example lies
// levels + 1 from the root, two of a leaf lie 2 apart, and those of the first and the last leaf 2 (levels + 1).
func TestTree(t *testing.T) {
	for _, c := range [][3]int{{5, 5, 0}, {1, 2, 1}, {2, 3, 2}, {4, 5, 2}, {4, 3, 3}, {32, 33, 2}, {32, 63, 10}, {63, 1, 5}} {
		if a, b := apart(c[0], c[1]), apart(c[1], c[0]); a != c[2] || b != c[2] {
			t.Errorf("nodes %d and %d are %d and %d apart, wanted %d", c[0], c[1], a, b, c[2])
		}
	}
	const seeds = 100
	var own, other, root float64
	for seed := range uint64(seeds) {
		s := tree(seed, 2)
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		if s.Len() != 2*leaves || s.Classes() != leaves || s.Labels[2*leaves-1] != leaves-1 {
			t.Fatalf("%d examples of %d classes, the last one of %d", s.Len(), s.Classes(), s.Labels[2*leaves-1])
		}
		for k := range width {
			at := func(example int) float64 { return float64(s.X[example*width+k]) }
			own += math.Pow(at(0)-at(1), 2) / (seeds * width)
			other += math.Pow(at(0)-at(2*leaves-1), 2) / (seeds * width)
			root += math.Pow(at(0), 2) / (seeds * width)
		}
	}
	if math.Abs(own/2-1) > 0.15 || math.Abs(other/(2*levels+2)-1) > 0.15 || math.Abs(root/(levels+1)-1) > 0.15 {
		t.Errorf("mean squares %.2f, %.2f and %.2f", own, other, root)
	}
}

// Without rotation each word has one translation; the language is the same in both parts.
func TestTexts(t *testing.T) {
	meaning := map[float32]float32{}
	for _, s := range []*data.Set{texts(1, "train", 50, 0), texts(1, "test", 50, 0)} {
		for i, x := range s.X {
			if m, ok := meaning[x]; ok && m != s.Y[i] {
				t.Fatalf("word %v means %v and %v", x, m, s.Y[i])
			}
			meaning[x] = s.Y[i]
		}
	}
	rolled := texts(1, "train", 50, 1)
	for i := range rolled.Len() {
		found := false
		want := make([]float32, length)
		for j := range want {
			want[j] = meaning[rolled.X[i*length+j]]
		}
		for k := 1; k <= 3; k++ {
			found = found || slices.Equal(rolled.Y[i*length:(i+1)*length], slices.Concat(want[k:], want[:k]))
		}
		if !found {
			t.Errorf("text %d is not rotated", i)
		}
	}
}
