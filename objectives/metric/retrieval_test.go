package metric

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestRetrieval(t *testing.T) {
	// On a line: the neighbours of 0 by distance are those at 1, 2, 4, 7.
	x, labels := matrix(5, 0, 1, 2, 4, 7), []int{0, 1, 0, 0, 2}
	r, err := NewRetrieval(x, labels)
	if err != nil {
		t.Fatal(err)
	}
	// Class 0 asks: 0 finds 1✗ 2✓ 4✓; 2 finds 1✗ 0✓ 4✓ (0 before 4, of equal distance); 4 finds 2✓ 1✗ 7✗ 0✓ (1 before 7).
	for k, want := range map[int]float64{1: 1.0 / 3, 2: 1, 9: 1} {
		near(t, "recall", want, r.RecallAt(k), 1e-15)
	}
	near(t, "R-precision", (0.5+0.5+0.5)/3, r.RPrecision(), 1e-15)
	near(t, "mean average precision at R", (0.25+0.25+0.5)/3, r.MAPAtR(), 1e-15)
	alone, err := NewRetrieval(x, []int{0, 1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "recall of nobody", 0, alone.RecallAt(1), 0)
	var e *graph.Error
	if _, err := NewRetrieval(x, labels[:4]); !errors.As(err, &e) {
		t.Errorf("labels of another number: %v", err)
	}
}

func TestClusterMeasures(t *testing.T) {
	a, b := []int{0, 0, 1, 1}, []int{5, 5, 7, 7}
	half := []int{0, 1, 0, 1}
	nmi := func(a, b []int) float64 {
		v, err := NMI(a, b)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	near(t, "NMI of equals", 1, nmi(a, b), 1e-15)
	near(t, "NMI of independents", 0, nmi(a, half), 1e-15)
	near(t, "NMI of one class", 1, nmi([]int{3, 3}, []int{4, 4}), 0)
	near(t, "NMI of one class and two", 0, nmi([]int{3, 3}, []int{4, 5}), 0)
	// I = log 2, H(a) = log 2, H(b) = 3/2 log 2.
	near(t, "NMI of a refinement", 2/2.5, nmi(a, []int{0, 0, 1, 2}), 1e-15)
	accuracy := func(a, b []int) float64 {
		v, err := HungarianAccuracy(a, b)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	near(t, "accuracy of equals", 1, accuracy(a, b), 0)
	near(t, "accuracy of a refinement", 0.75, accuracy([]int{0, 0, 1, 2}, a), 0)
	near(t, "accuracy of independents", 0.5, accuracy(a, half), 0)
	if _, err := NMI(a, b[:3]); err == nil {
		t.Error("NMI of lists of different lengths")
	}
	if _, err := HungarianAccuracy(a, b[:3]); err == nil {
		t.Error("HungarianAccuracy of lists of different lengths")
	}
}

// The assignment against all permutations.
func TestAssign(t *testing.T) {
	for n := range 6 {
		random := gradcheck.Normal(uint64(n), max(n, 1), max(n, 1))
		cost := make([][]float64, n)
		for i := range cost {
			cost[i] = random.Float64s()[i*n : (i+1)*n]
		}
		total := func(columns []int) float64 {
			s := 0.0
			for i, j := range columns {
				s += cost[i][j]
			}
			return s
		}
		best := math.Inf(1)
		var try func(columns, left []int)
		try = func(columns, left []int) {
			if len(left) == 0 {
				best = math.Min(best, total(columns))
			}
			for i, j := range left {
				try(append(slices.Clone(columns), j), slices.Delete(slices.Clone(left), i, i+1))
			}
		}
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		try(nil, all)
		columns := Assign(cost)
		near(t, "cost", best, total(columns), 1e-12)
		slices.Sort(columns)
		if !slices.Equal(columns, all) {
			t.Errorf("columns %v are no permutation", columns)
		}
	}
}

func TestKMeans(t *testing.T) {
	noise, labels := gradcheck.Normal(1, 60, 2), make([]int, 60)
	x := graph.NewArray(graph.Float32, 60, 2)
	for i := range 60 {
		labels[i] = i % 3
		x.Set(2*i, 0.1*noise.At(2*i)+float64(labels[i]))
		x.Set(2*i+1, 0.1*noise.At(2*i+1)+float64(labels[i]%2)*3)
	}
	clusters, err := KMeans(x, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := HungarianAccuracy(clusters, labels); a != 1 || err != nil {
		t.Errorf("accuracy %v, %v", a, err)
	}
	if _, err := KMeans(x, 61, 1); err == nil {
		t.Error("more clusters than points")
	}
}
