package objectives

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestOddKOut(t *testing.T) {
	f := rows([]float64{1, 0, -1}, []float64{.5, .2, 0}, []float64{0, 2, -.5})
	y := labelsOf(0, 0, 1)
	hard, dx := losses(t, OddKOutOptions{}.Loss, f, y)
	wantNear(t, "hard", 1e-6, hard, []float64{1.119571})
	wantNear(t, "hard, derivative", 1e-6, dx, slices.Repeat([]float64{-0.673580, 0.657329, 0.016251}, 3))
	soft, _ := losses(t, OddKOutOptions{Soft: true}.Loss, f, y)
	wantNear(t, "soft", 1e-6, soft, []float64{0.886238})
	wantNear(t, "soft, less the entropy of the target", 1e-6, []float64{soft[0] + 2./3*math.Log(2./3) + 1./3*math.Log(1./3)}, []float64{0.249724})
	odd, _ := losses(t, OddKOutOptions{}.OddLoss, f, y)
	wantNear(t, "odd head", 1e-12, odd, []float64{math.Log(math.Exp(1.5)+math.Exp(2.2)+math.Exp(-1.5)) - 2.2})

	// The order of a set and a constant on one member do not matter.
	g := rows([]float64{0, 2, -.5}, []float64{3.5, 3.2, 3}, []float64{1, 0, -1})
	for name, o := range map[string]OddKOutOptions{"hard": {}, "soft": {Soft: true}} {
		a, da := losses(t, o.Loss, f, y)
		b, db := losses(t, o.Loss, g, labelsOf(1, 0, 0))
		wantNear(t, name+" in another order", 1e-12, append(b, db...), append(a, da...))
	}
	// Two sets of K = 2, by hand; and their mean.
	x, y2 := gradcheck.Normal(1, 8, 4), labelsOf(3, 1, 3, 0, 2, 0, 1, 2)
	var want []float64
	for set, pair := range []int{3, 2} {
		sums, total := make([]float64, 4), 0.0
		for i := range 4 {
			for c := range 4 {
				sums[c] += x.At(4*(4*set+i) + c)
			}
		}
		for _, v := range sums {
			total += math.Exp(v)
		}
		want = append(want, math.Log(total)-sums[pair])
	}
	each, _ := losses(t, OddKOutOptions{K: 2, Reduction: ReduceNone}.Loss, x, y2)
	wantNear(t, "two sets", 1e-12, each, want)
	// Two copies of one example and nobody else: cross-entropy of doubled logits.
	one, twice := gradcheck.Normal(2, 1, 4), graph.NewArray(graph.Float64, 3, 4)
	copy(twice.Float64s(), one.Float64s())
	copy(twice.Float64s()[4:], one.Float64s())
	a, _ := losses(t, OddKOutOptions{}.Loss, twice, labelsOf(2, 2, 1))
	b, _ := losses(t, func(x, y *graph.Node) *graph.Node { return CrossEntropy(graph.Scale(x, 2), y) }, one, labelsOf(2))
	wantNear(t, "copies", 1e-12, a, b)
}

func TestOddKOutDerivatives(t *testing.T) {
	for _, f := range []Objective{OddKOutOptions{}.Loss, OddKOutOptions{Soft: true, Reduction: ReduceNone}.Loss, OddKOutOptions{}.OddLoss, RelativeCrossEntropy} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) },
			gradcheck.Normal(1, 6, 4), labelsOf(3, 1, 3, 0, 2, 2))
	}
}

// Theorem 1 of the paper: an input that is always one class of two gets a confidence of 2/3 from the hard loss, 5/9 from
// the soft one, when most inputs could be either. Of inputs 0, 1 and 2 the first is ambiguous.
func TestOddKOutConfidence(t *testing.T) {
	given := func(x, class int, eps float64) float64 {
		switch x {
		case 0:
			return 1 - eps
		case class + 1:
			return eps
		}
		return 0
	}
	for _, c := range []struct {
		eps  float64
		soft bool
		want float64
	}{
		{.3, false, 0.72097}, {.1, false, 0.68128}, {.01, false, 0.66801}, {1e-3, true, 0.55559},
	} {
		var inputs, ys []int
		var weights []float64
		for pair := range 2 {
			for a := range 3 {
				for b := range 3 {
					for odd := range 3 {
						w := given(a, pair, c.eps) * given(b, pair, c.eps) * given(odd, 1-pair, c.eps) / 2
						if w > 0 {
							inputs, ys = append(inputs, a, b, odd), append(ys, pair, pair, 1-pair)
							weights = append(weights, w)
						}
					}
				}
			}
		}
		// By symmetry the logits are (0, 0), (v, 0) and (0, v).
		var v, loss *graph.Node
		g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
			v = s.Input("v", graph.Float64, 1, 1)
			one, two := graph.Literal(v, rows([]float64{0}, []float64{1}, []float64{0})), graph.Literal(v, rows([]float64{0}, []float64{0}, []float64{1}))
			table := graph.Mul(v, graph.Concat(1, one, two))
			in, y := graph.Literal(v, labelsOf(inputs...)), graph.Literal(v, labelsOf(ys...))
			each := OddKOutOptions{Soft: c.soft, Reduction: ReduceNone}.Loss(graph.Take(table, in, 0), y)
			loss = graph.Sum(graph.Mul(each, graph.Literal(v, graph.ArrayOf(weights, len(weights)))))
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(loss)
		if err != nil {
			t.Fatal(err)
		}
		at := func(x float64) float64 {
			p.Array(v).Set(0, x)
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			return p.Array(loss).Scalar()
		}
		low, high := -5.0, 5.0
		for range 60 {
			a, b := low+(high-low)*.4, low+(high-low)*.6
			if at(a) < at(b) {
				high = b
			} else {
				low = a
			}
		}
		wantNear(t, fmt.Sprintf("eps %v, soft %v", c.eps, c.soft), 2e-5, []float64{logistic(low)}, []float64{c.want})
	}
}

func TestOddKOutSampler(t *testing.T) {
	// Class 7 is rare and class 4 has a single example, so it is never the pair.
	labels := []int{7, 7, 4}
	for range 97 {
		labels = append(labels, 1)
	}
	for _, k := range []int{1, 2} {
		s, err := NewOddKOutSampler(labels, k)
		if err != nil {
			t.Fatal(err)
		}
		const sets = 6000
		indices := make([]int, sets*(k+2))
		if err := s.Sample(rand.New(rand.NewPCG(1, 1)), indices); err != nil {
			t.Fatal(err)
		}
		pairs, odds, first := map[int]int{}, map[int]int{}, 0
		for i := range sets {
			set := indices[i*(k+2) : (i+1)*(k+2)]
			count := map[int]int{}
			for _, e := range set {
				count[labels[e]]++
			}
			if unique := slices.Compact(slices.Sorted(slices.Values(set))); len(count) != k+1 || len(unique) != k+2 {
				t.Fatalf("K %d: set %v has labels %v", k, set, count)
			}
			for l, n := range count {
				if n == 2 {
					pairs[l]++
				} else {
					odds[l]++
				}
			}
			if count[labels[set[0]]] == 2 {
				first++
			}
		}
		// Half of the pairs each; odd classes evenly among those left; members in random order.
		want := map[int]float64{1: .5, 7: .5, 4: 0}
		for l, p := range want {
			if got := float64(pairs[l]) / sets; math.Abs(got-p) > .03 {
				t.Errorf("K %d: class %d is the pair in %v of the sets, want %v", k, l, got, p)
			}
		}
		if got, want := float64(odds[4])/sets, float64(k)/2; math.Abs(got-want) > .03 {
			t.Errorf("K %d: class 4 is odd in %v of the sets, want %v", k, got, want)
		}
		if got, want := float64(first)/sets, 2/float64(k+2); math.Abs(got-want) > .03 {
			t.Errorf("K %d: the first member is of the pair in %v of the sets, want %v", k, got, want)
		}
		again := make([]int, len(indices))
		if err := s.Sample(rand.New(rand.NewPCG(1, 1)), again); err != nil || !slices.Equal(indices, again) {
			t.Errorf("K %d: another run draws other sets, %v", k, err)
		}
		r := rand.New(rand.NewPCG(2, 2))
		if n := testing.AllocsPerRun(10, func() { s.Sample(r, indices) }); n > 0 {
			t.Errorf("K %d: %v allocations", k, n)
		}
		if err := s.Sample(r, indices[:k+1]); err == nil {
			t.Error("a part of a set was drawn")
		}
	}
	for _, labels := range [][]int{{1, 1, 1}, {1, 2}, nil} {
		if _, err := NewOddKOutSampler(labels, 1); err == nil {
			t.Errorf("labels %v make a sampler", labels)
		}
	}
}

func TestRelativeCrossEntropy(t *testing.T) {
	q := []float64{.7, .2, .1}
	x := rows([]float64{math.Log(.7), math.Log(.2), math.Log(.1)})
	mean := 0.0
	for y, p := range q {
		got, _ := losses(t, RelativeCrossEntropy, x, labelsOf(y))
		if y == 0 {
			wantNear(t, "label 0", 1e-6, got, []float64{-0.445144})
		}
		mean += p * got[0]
	}
	wantNear(t, "calibrated", 1e-12, []float64{mean}, []float64{0})
}
