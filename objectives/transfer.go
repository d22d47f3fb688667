package objectives

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// A student learns from a teacher's labels, from their probabilities, or from all probabilities.

func init() {
	const paper = "Q. Zhao, B. Zhu 2023, 2310.07838"
	Register(
		Entry{Name: "partial-ce",
			Summary: "cross-entropy of the teacher's labels, weighted by its probability of each; biased",
			Formula: "-t_y log p_y", Paper: paper, Use: "comparison only: does not find the teacher"},
		Entry{Name: "squared-log",
			Summary: "squared distance of the log-probabilities of student and teacher at the teacher's label",
			Formula: "½ (log p_y - log t_y)²", Paper: paper, Use: "a teacher that tells the probability of its label only"},
		Entry{Name: "soft-labels", Objective: SoftLabels,
			Summary: "divergence of the softmax from the teacher's probabilities",
			Formula: "Σ t log t/p", Paper: "G. Hinton et al. 2015, 1503.02531", Use: "a teacher that tells all probabilities"},
	)
}

// PartialCE is -t log p_y for logits [batch, classes, ...], the teacher's labels Int [batch, ...] and its probabilities t
// of them [batch, ...], averaged (Q. Zhao, B. Zhu 2023, arXiv 2310.07838, sec. 4). The student tends to t²/Σt², not to
// the teacher.
func PartialCE(output, target, probability *graph.Node) *graph.Node {
	logp := logProbability("partial_ce", output, target, 1)
	needSame("partial_ce", logp, "probability", probability)
	return graph.Neg(graph.Mean(graph.Mul(probability, logp)))
}

// SquaredLog is ½ (log p_y - log t)² for logits [batch, classes, ...], the teacher's labels Int [batch, ...] and its
// probabilities t of them [batch, ...], averaged: the empirical squared error of the log-probabilities (Q. Zhao, B. Zhu
// 2023, arXiv 2310.07838, sec. 4). Its best student copies the teacher on the labels seen. Where t is 0 nothing counts.
func SquaredLog(output, target, probability *graph.Node) *graph.Node {
	logp := logProbability("squared_log", output, target, 1)
	needSame("squared_log", logp, "probability", probability)
	counts := graph.Greater(probability, graph.Const(probability, 0))
	gap := graph.Sub(logp, graph.Log(keepPositive(probability)))
	return graph.Scale(graph.Mean(graph.Square(graph.Where(counts, gap, graph.Const(gap, 0)))), 0.5)
}

// SoftLabels is KL(t, softmax(output)) for logits and the teacher's probabilities t, both [batch, classes, ...], averaged
// over all but the classes: CrossEntropy to t minus its entropy, 0 where the student agrees.
func SoftLabels(output, target *graph.Node) *graph.Node {
	needSame("soft_labels", output, "target", target)
	axis := classAxis("soft_labels", output, 1)
	gap := graph.Sub(graph.Log(keepPositive(target)), logSoftmax(output, axis))
	return graph.Mean(graph.Sum(graph.Mul(target, gap), axis))
}

// Transfer is the world of tables in which learning from a teacher can be worked out: Counts[s][a] is how often the
// teacher gave label a to input s, Teacher[s] its distribution of labels there (Q. Zhao, B. Zhu 2023, arXiv 2310.07838).
// Each method but the last two gives the student, a distribution for each input, that minimises one of the losses over
// all tables; for inputs never seen it is uniform.
type Transfer struct {
	Counts  [][]int
	Teacher [][]float64
}

// HardLabels minimises cross-entropy of the labels: the frequencies. Its error falls like sqrt(inputs·labels/n).
func (w Transfer) HardLabels() [][]float64 {
	return w.students(func(count int, _ float64) float64 { return float64(count) })
}

// PartialCE minimises PartialCE: frequencies times the teacher's probabilities. Its error does not go to 0.
func (w Transfer) PartialCE() [][]float64 {
	return w.students(func(count int, teacher float64) float64 { return float64(count) * teacher })
}

// PartialCELimit is what PartialCE tends to when all is seen often: t²/Σt².
func (w Transfer) PartialCELimit() [][]float64 {
	return w.students(func(_ int, teacher float64) float64 { return teacher * teacher })
}

// SquaredLog minimises SquaredLog: the teacher on the labels seen, and the rest of the probability spread evenly over
// the others, which minimise it in whatever way it is spread. Its error falls like inputs·labels/n.
func (w Transfer) SquaredLog() [][]float64 {
	students := w.students(func(int, float64) float64 { return 0 })
	for s, counts := range w.Counts {
		rest, unseen, seen := 1.0, 0, 0
		for a, c := range counts {
			if c == 0 {
				unseen++
				continue
			}
			seen++
			rest -= w.Teacher[s][a]
		}
		if seen == 0 {
			continue
		}
		for a, c := range counts {
			if c > 0 {
				students[s][a] = w.Teacher[s][a]
			} else {
				students[s][a] = max(rest, 0) / float64(unseen)
			}
		}
	}
	return students
}

// SoftLabels minimises SoftLabels: the teacher on the inputs seen. Its error falls like inputs/n.
func (w Transfer) SoftLabels() [][]float64 {
	students := w.students(func(int, float64) float64 { return 0 })
	for s, counts := range w.Counts {
		for _, c := range counts {
			if c > 0 {
				copy(students[s], w.Teacher[s])
				break
			}
		}
	}
	return students
}

// students normalises a weight of each label, to uniform where all are 0.
func (w Transfer) students(weight func(count int, teacher float64) float64) [][]float64 {
	all := make([][]float64, len(w.Teacher))
	for s, teacher := range w.Teacher {
		all[s] = make([]float64, len(teacher))
		sum := 0.0
		for a, t := range teacher {
			all[s][a] = weight(w.Counts[s][a], t)
			sum += all[s][a]
		}
		for a := range teacher {
			if sum > 0 {
				all[s][a] /= sum
			} else {
				all[s][a] = 1 / float64(len(teacher))
			}
		}
	}
	return all
}

// Error is the total variation Σ_s frequency_s ½ Σ_a |student - teacher| of a student.
func (w Transfer) Error(student [][]float64, frequency []float64) float64 {
	sum := 0.0
	for s, f := range frequency {
		for a, t := range w.Teacher[s] {
			sum += f / 2 * math.Abs(student[s][a]-t)
		}
	}
	return sum
}

// SoftLabelsError is the expected Error of SoftLabels after n examples whose inputs have the given frequencies: that of
// the uniform student on the inputs still unseen.
func (w Transfer) SoftLabelsError(frequency []float64, n int) float64 {
	sum := 0.0
	for s, f := range frequency {
		for _, t := range w.Teacher[s] {
			sum += f * math.Pow(1-f, float64(n)) / 2 * math.Abs(1/float64(len(w.Teacher[s]))-t)
		}
	}
	return sum
}
