package main

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// A comparison is what paired numbers, of the same seeds, say of the differences of two rules. A number that cannot be
// known from so few pairs is NaN.
type comparison struct {
	pairs      int
	difference float64 // mean
	t, tP      float64 // Student's t and its two-sided probability under no difference
	wilcoxonP  float64 // the two-sided probability of the signed ranks
}

func compare(a, b []float64) comparison {
	d := make([]float64, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	c := comparison{pairs: len(d), difference: stat.Mean(d, nil), t: math.NaN(), tP: math.NaN(), wilcoxonP: wilcoxon(d)}
	if len(d) < 2 {
		return c
	}
	if sd := stat.StdDev(d, nil); sd > 0 {
		c.t = c.difference / (sd / math.Sqrt(float64(len(d))))
		c.tP = 2 * distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(len(d) - 1)}.CDF(-math.Abs(c.t))
	}
	return c
}

// wilcoxon is the exact two-sided probability of signed ranks as far apart as those of d, if each sign is as likely as
// the other (F. Wilcoxon 1945). Differences of 0 are left out, equal ones share the mean of their ranks.
func wilcoxon(d []float64) float64 {
	d = slices.DeleteFunc(slices.Clone(d), func(v float64) bool { return v == 0 })
	slices.SortFunc(d, func(a, b float64) int { return compareFloats(math.Abs(a), math.Abs(b)) })
	twice := make([]int, len(d)) // the ranks, doubled: whole numbers
	for i := 0; i < len(d); {
		j := i
		for j < len(d) && math.Abs(d[j]) == math.Abs(d[i]) {
			j++
		}
		for k := i; k < j; k++ {
			twice[k] = i + 1 + j
		}
		i = j
	}
	total, positive := 0, 0
	for i, r := range twice {
		total += r
		if d[i] > 0 {
			positive += r
		}
	}
	chance := make([]float64, total+1) // of each sum of the positive ranks
	chance[0] = 1
	for _, r := range twice {
		for s := total; s >= 0; s-- {
			chance[s] /= 2
			if s >= r {
				chance[s] += chance[s-r] / 2
			}
		}
	}
	tail := 0.0
	for s := 0; s <= min(positive, total-positive); s++ {
		tail += chance[s]
	}
	return min(1, 2*tail)
}

func compareFloats(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// holm corrects probabilities for their number, so that the chance of one false alarm among them is no more than what
// each says (S. Holm 1979). NaN stays and does not count.
func holm(p []float64) []float64 {
	order := []int{}
	for i, v := range p {
		if !math.IsNaN(v) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return compareFloats(p[i], p[j]) })
	corrected := slices.Clone(p)
	most := 0.0
	for k, i := range order {
		most = max(most, min(1, float64(len(order)-k)*p[i]))
		corrected[i] = most
	}
	return corrected
}
