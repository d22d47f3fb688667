package objectives

import (
	"math"
	"sort"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(Entry{Name: "correctness-aware", Objective: CorrectnessAware,
		Summary: "squared distance of the confidence from 1 for right and 0 for wrong predictions",
		Formula: "(max_k p_k - [argmax_k p_k = y])²", Paper: "Y. Liu et al. 2024, 2404.13016", Use: "calibrating a trained classifier, not training it"})
}

// CorrectnessAware is CorrectnessAwareOptions{}.Loss.
func CorrectnessAware(output, target *graph.Node) *graph.Node {
	return CorrectnessAwareOptions{}.Loss(output, target)
}

// CorrectnessAwareOptions are the settings of the correctness-aware calibration loss.
type CorrectnessAwareOptions struct {
	Balanced  bool // right and wrong predictions count alike in sum, as in the paper's code; harms accurate models
	Axis      int  // of the classes in the output; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is (max_k p_k - c)² with p = softmax(output) and c = 1 where the largest logit, the first of equal ones, is the
// label's, else 0, for logits [batch, classes, ...] and labels Int [batch, ...] (Y. Liu et al. 2024, arXiv 2404.13016).
// Unlike cross-entropy it never raises the confidence in a wrong answer. Balanced weights are 1 - accuracy of the batch
// for right predictions and accuracy for wrong ones, divided by their mean; where that is 0 so is the loss. Train what
// scales the logits with it: see models.TemperatureScaling.
func (o CorrectnessAwareOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "correctness_aware"
	axis := classAxis(op, output, o.Axis)
	labels(op, output, target, axis, []int{})
	most := graph.Max(logSoftmax(output, axis), axis)
	right := graph.Equal(graph.Cast(graph.ArgMax(output, axis), output.Dtype()), graph.Cast(target, output.Dtype()))
	// For right predictions the difference is p - 1, taken without rounding p to 1.
	loss := graph.Square(graph.Where(right, graph.Expm1(most), graph.Exp(most)))
	if o.Balanced {
		accuracy := graph.Mean(right)
		weight := graph.Where(right, graph.OneMinus(accuracy), accuracy)
		loss = graph.Mul(loss, graph.Div(weight, keepPositive(graph.Mean(weight))))
	}
	return o.Reduction.of(op, loss)
}

// KSCalibration is the Kolmogorov-Smirnov calibration error of confidences and whether their predictions were right: the
// largest distance between the running means of the two, in the order of the confidence, which no bins are needed for
// (K. Gupta et al. 2020, arXiv 2006.12800). Equal confidences are passed together. It is 0 for none.
func KSCalibration(confidence []float64, right []bool) float64 {
	n := len(confidence)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(i, j int) bool { return confidence[order[i]] < confidence[order[j]] })
	most, gap := 0.0, 0.0
	for k, i := range order {
		gap += confidence[i]
		if right[i] {
			gap--
		}
		if k+1 == n || confidence[order[k+1]] != confidence[i] {
			most = max(most, math.Abs(gap))
		}
	}
	return most / float64(max(n, 1))
}
