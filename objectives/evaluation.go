package objectives

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph"
)

// Predictions are what a classifier says about examples whose labels are known, for the measures that papers report. They
// are computed in float64, on arrays, outside of any graph.
type Predictions struct {
	LogP    []float64 // logarithms of the probabilities, [examples, Classes], row-major
	Labels  []int     // each in 0..Classes-1
	Classes int
}

// PredictionsOf is the softmax of logits [examples, classes] beside their labels; log-probabilities are logits. NaN, +Inf, a
// row of -Inf only, and a label that is no class are errors.
func PredictionsOf(logits *graph.Array, labels []int) (*Predictions, error) {
	const op = "predictions"
	if len(logits.Shape) != 2 || !logits.IsFloat() || logits.Shape[0] != len(labels) || logits.Shape[1] < 1 {
		return nil, graph.Fail(op, "logits", fmt.Sprintf("[%d, classes] of a floating-point type", len(labels)), logits.Type)
	}
	p := &Predictions{make([]float64, logits.Size()), slices.Clone(labels), logits.Shape[1]}
	for i, label := range labels {
		if label < 0 || label >= p.Classes {
			return nil, graph.Fail(op, fmt.Sprintf("label %d", i), fmt.Sprintf("0 to %d", p.Classes-1), label)
		}
		row := p.row(i)
		for k := range row {
			row[k] = logits.At(i*p.Classes + k)
		}
		largest := slices.Max(row)
		if largest-largest != 0 {
			return nil, graph.Fail(op, fmt.Sprintf("logits of example %d", i), "no NaN, no +Inf, not only -Inf", fmt.Sprint(row))
		}
		sum := 0.0
		for _, v := range row {
			sum += math.Exp(v - largest)
		}
		for k := range row {
			row[k] -= largest + math.Log(sum)
		}
	}
	return p, nil
}

func (p *Predictions) row(i int) []float64 { return p.LogP[i*p.Classes : (i+1)*p.Classes] }

// average is the mean of f over the examples; 0 of none.
func (p *Predictions) average(f func(row []float64, label int) float64) float64 {
	sum := 0.0
	for i, label := range p.Labels {
		sum += f(p.row(i), label)
	}
	return sum / math.Max(float64(len(p.Labels)), 1)
}

// Accuracy is TopK(1).
func (p *Predictions) Accuracy() float64 { return p.TopK(1) }

// TopK is the part of the examples whose label is among the k most probable classes; of equal ones the first counts as
// more probable.
func (p *Predictions) TopK(k int) float64 {
	return p.average(func(row []float64, label int) float64 {
		before := 0
		for j, v := range row {
			if v > row[label] || v == row[label] && j < label {
				before++
			}
		}
		if before < k {
			return 1
		}
		return 0
	})
}

// NLL is the mean of -log p_label; +Inf if a label has probability 0.
func (p *Predictions) NLL() float64 {
	return p.average(func(row []float64, label int) float64 { return -row[label] })
}

// Brier is the mean of Σ_k (p_k - [k = label])², in [0, 2] (G. Brier 1950).
func (p *Predictions) Brier() float64 {
	return p.average(func(row []float64, label int) float64 {
		sum := 0.0
		for k, v := range row {
			e := math.Exp(v)
			if k == label {
				e = -math.Expm1(v)
			}
			sum += e * e
		}
		return sum
	})
}

// Confidences are the probabilities of the most probable classes, [examples].
func (p *Predictions) Confidences() []float64 {
	c := make([]float64, len(p.Labels))
	for i := range c {
		c[i] = math.Exp(slices.Max(p.row(i)))
	}
	return c
}

// A Bin is one column of a reliability diagram: examples of similar confidence.
type Bin struct {
	Low, High  float64 // the range of confidences it stands for
	Count      int
	Confidence float64 // the mean; 0 of an empty bin
	Accuracy   float64 // the part that is right; 0 of an empty bin
}

// Gap is |Accuracy - Confidence|.
func (b Bin) Gap() float64 { return math.Abs(b.Accuracy - b.Confidence) }

// Reliability puts the examples in bins of equal width, (0, 1/bins], (1/bins, 2/bins], ..., by their confidence.
func (p *Predictions) Reliability(bins int) []Bin {
	list := make([]Bin, max(bins, 1))
	n := float64(len(list))
	for i := range list {
		list[i].Low, list[i].High = float64(i)/n, float64(i+1)/n
	}
	for i, c := range p.Confidences() {
		k := min(max(int(math.Ceil(c*n))-1, 0), len(list)-1)
		list[k].add(c, p.right(i))
	}
	for i := range list {
		list[i].average()
	}
	return list
}

// AdaptiveReliability puts the examples in bins of equal numbers, to within one, in order of confidence. There are no more
// bins than examples.
func (p *Predictions) AdaptiveReliability(bins int) []Bin {
	confidences := p.Confidences()
	order := make([]int, len(confidences))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(confidences[a], confidences[b]) })
	list := make([]Bin, min(max(bins, 1), len(order)))
	for k := range list {
		part := order[k*len(order)/len(list) : (k+1)*len(order)/len(list)]
		for _, i := range part {
			list[k].add(confidences[i], p.right(i))
		}
		list[k].average()
		list[k].Low, list[k].High = confidences[part[0]], confidences[part[len(part)-1]]
	}
	return list
}

// right says whether the first most probable class of example i is its label.
func (p *Predictions) right(i int) bool {
	row := p.row(i)
	return slices.Index(row, slices.Max(row)) == p.Labels[i]
}

func (b *Bin) add(confidence float64, right bool) {
	b.Count++
	b.Confidence += confidence
	if right {
		b.Accuracy++
	}
}

// average turns sums into means.
func (b *Bin) average() {
	n := math.Max(float64(b.Count), 1)
	b.Confidence /= n
	b.Accuracy /= n
}

// ECE is the expected calibration error Σ_b |b|/n |accuracy - confidence| over bins of equal width, usually 15 (M. Naeini
// et al. 2015; C. Guo et al. 2017, arXiv 1706.04599, eq. 3).
func (p *Predictions) ECE(bins int) float64 { return expectedGap(p.Reliability(bins)) }

// AdaptiveECE is ECE over bins of equal numbers, which does not leave most bins nearly empty (J. Nixon et al. 2019, arXiv
// 1904.01685, of the predicted class only).
func (p *Predictions) AdaptiveECE(bins int) float64 { return expectedGap(p.AdaptiveReliability(bins)) }

// MCE is the largest |accuracy - confidence| of the bins of ECE that are not empty.
func (p *Predictions) MCE(bins int) float64 {
	most := 0.0
	for _, b := range p.Reliability(bins) {
		most = math.Max(most, b.Gap())
	}
	return most
}

func expectedGap(bins []Bin) float64 {
	sum, n := 0.0, 0
	for _, b := range bins {
		sum += float64(b.Count) * b.Gap()
		n += b.Count
	}
	return sum / math.Max(float64(n), 1)
}

// AUROC is the area under the receiver operating characteristic: the probability that a score drawn from positive is above
// one drawn from negative, a tie counting half. It is NaN if one of them is empty.
func AUROC(positive, negative []float64) float64 {
	p, n := sorted(positive), sorted(negative)
	wins, below, upTo := 0.0, 0, 0
	for _, s := range p {
		for below < len(n) && n[below] < s {
			below++
		}
		for upTo < len(n) && n[upTo] <= s {
			upTo++
		}
		wins += float64(below+upTo) / 2
	}
	return wins / (float64(len(p)) * float64(len(n)))
}

// FPR95 is FPRAt(positive, negative, 0.95), as papers on unknown classes report it with the known ones positive.
func FPR95(positive, negative []float64) float64 { return FPRAt(positive, negative, 0.95) }

// FPRAt is the part of the negative scores that pass the highest threshold that at least the part tpr, above 0, of the
// positive scores pass; a score passes a threshold that it equals. It is NaN if positive or negative is empty.
func FPRAt(positive, negative []float64, tpr float64) float64 {
	p := sorted(positive)
	if len(p) == 0 {
		return math.NaN()
	}
	keep := min(max(int(math.Ceil(tpr*float64(len(p))-1e-9)), 1), len(p))
	return 1 - below(negative, p[len(p)-keep])
}

// EqualErrorRate is the threshold, one of the scores, at which the part of negative scores that pass it and the part of
// positive scores that do not are most nearly equal, and the mean of both parts there. Both are NaN if positive or negative
// is empty.
func EqualErrorRate(positive, negative []float64) (rate, threshold float64) {
	rate, threshold = math.NaN(), math.NaN()
	if len(positive) == 0 || len(negative) == 0 {
		return rate, threshold
	}
	apart := math.Inf(1)
	for _, t := range slices.Compact(sorted(slices.Concat(positive, negative))) {
		missed, passed := below(positive, t), 1-below(negative, t)
		if gap := math.Abs(missed - passed); gap < apart {
			apart, rate, threshold = gap, (missed+passed)/2, t
		}
	}
	return rate, threshold
}

// HalfTotalErrorRate is the mean of the part of negative scores that pass a threshold and the part of positive scores that
// do not. The threshold is chosen on other examples than these.
func HalfTotalErrorRate(positive, negative []float64, threshold float64) float64 {
	return (1 - below(negative, threshold) + below(positive, threshold)) / 2
}

// below is the part of the scores that are below a threshold; NaN of none.
func below(scores []float64, threshold float64) float64 {
	n := 0
	for _, s := range scores {
		if s < threshold {
			n++
		}
	}
	return float64(n) / float64(len(scores))
}

func sorted(x []float64) []float64 {
	s := slices.Clone(x)
	slices.Sort(s)
	return s
}
