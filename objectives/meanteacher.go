package objectives

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	const paper = "M. Döbler et al. 2022, 2211.13081"
	Register(
		Entry{Name: "symmetric-cross-entropy", Objective: SymmetricCrossEntropy,
			Summary: "cross-entropy of student and teacher logits in both directions",
			Formula: "-½ Σ t log p - ½ Σ p log t, t = softmax(y)", Paper: paper, Use: "a student after a mean teacher, on drifting data"},
		Entry{Name: "nt-xent",
			Summary: "contrast of several views of each example with all others: NTXentOptions",
			Formula: "-log exp(s_ij/T)/Σ_{k≠i} exp(s_ik/T), s = cos, T = 0.1", Paper: "T. Chen et al. 2020, 2002.05709", Use: "features of several views"},
	)
}

// SymmetricCrossEntropy is SymmetricCrossEntropyOptions{}.Loss.
func SymmetricCrossEntropy(output, target *graph.Node) *graph.Node {
	return SymmetricCrossEntropyOptions{}.Loss(output, target)
}

// SymmetricCrossEntropyOptions are the settings of the symmetric cross-entropy of a student and its teacher. That of a
// student and labels is SCE.
type SymmetricCrossEntropyOptions struct {
	Alpha     float64 // part of the reverse direction, in (0, 1]; 0 means 0.5, near 0, as 1e-300, it is cross-entropy
	Axis      int     // of the classes; 0 means 1, -1 the last one
	Reduction Reduction
}

// Loss is -(1-Alpha) Σ t log p - Alpha Σ p log t with p = softmax(output) and t = softmax(target), for the logits of
// student and teacher [batch, classes, ...]; the teacher gets no derivative (M. Döbler, R. Marsden, B. Yang 2022, arXiv
// 2211.13081). It moves unsure students more than cross-entropy, and sure ones less.
func (o SymmetricCrossEntropyOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "symmetric_cross_entropy"
	alpha := or(o.Alpha, 0.5)
	if !(alpha > 0 && alpha <= 1) {
		panic(graph.Fail(op, "Alpha", "above 0 to 1, or 0 for 0.5", o.Alpha))
	}
	needSame(op, output, "target", target)
	axis := classAxis(op, output, o.Axis)
	logp, logt := logSoftmax(output, axis), graph.Detach(logSoftmax(target, axis))
	cross := func(a, logb *graph.Node) *graph.Node { return graph.Sum(graph.Mul(graph.Exp(a), logb), axis) }
	sum := graph.Add(graph.Scale(cross(logt, logp), 1-alpha), graph.Scale(cross(logp, logt), alpha))
	return o.Reduction.of(op, graph.Neg(sum))
}

// SelfTraining is the mean of Loss for the student's logits of examples and of their augmented views, both to the
// teacher's logits of the examples (M. Döbler et al. 2022, arXiv 2211.13081).
func (o SymmetricCrossEntropyOptions) SelfTraining(student, augmented, teacher *graph.Node) *graph.Node {
	return graph.Scale(graph.Add(o.Loss(student, teacher), o.Loss(augmented, teacher)), 0.5)
}

// UpdateTeacher moves each parameter and state of a teacher to momentum·teacher + (1-momentum)·student, momentum in [0,
// 1], such as 0.999 (A. Tarvainen, H. Valpola 2017, arXiv 1703.01780). The stores must hold the same; whole numbers are
// copied. To be called after each of the student's steps.
func UpdateTeacher(teacher, student *graph.Params, momentum float64) error {
	const op = "update_teacher"
	if !(momentum >= 0 && momentum <= 1) {
		return graph.Fail(op, "momentum", "0 to 1", momentum)
	}
	if teacher.Len() != student.Len() {
		return graph.Fail(op, "student", fmt.Sprintf("%d parameters", teacher.Len()), student.Len())
	}
	for t := range teacher.All() {
		if s := student.Get(t.Name); s == nil || !s.Value.Type.Equal(t.Value.Type) {
			return graph.Fail(op, "student", fmt.Sprintf("a parameter %s, %v", t.Name, t.Value.Type), "none or another type")
		}
	}
	for t := range teacher.All() {
		s := student.Get(t.Name).Value
		switch s.DType {
		case graph.Float32:
			average(t.Value.Float32s(), s.Float32s(), float32(momentum))
		case graph.Float64:
			average(t.Value.Float64s(), s.Float64s(), momentum)
		default:
			copy(t.Value.Ints(), s.Ints())
		}
	}
	return nil
}

func average[T float32 | float64](to, from []T, momentum T) {
	for i, v := range from {
		to[i] += (1 - momentum) * (v - to[i])
	}
}

// NTXentOptions are the settings of the contrast of views.
type NTXentOptions struct {
	Temperature float64 // 0 means 0.1
}

// Loss is the mean over all views i and the other views j of the same example of -log exp(s_ij/T)/Σ_{k≠i} exp(s_ik/T)
// with s the cosine, for features [examples, views, units] of at least two views (T. Chen et al. 2020, arXiv 2002.05709,
// eq. 1; P. Khosla et al. 2020, arXiv 2004.11362, eq. 2). With the features of an example, of its augmented view and its
// NearestPrototype it is the contrastive part of the robust mean teacher.
func (o NTXentOptions) Loss(features *graph.Node) *graph.Node {
	const op = "nt_xent"
	shape := graph.ShapeOf(features)
	if len(shape) != 3 || shape[1] < 2 || shape[0] < 1 || !graph.TypeOf(features).IsFloat() {
		panic(graph.Fail(op, "features", "[examples, at least 2 views, units]", graph.TypeOf(features)))
	}
	temperature := or(o.Temperature, 0.1)
	if !(temperature > 0) {
		panic(graph.Fail(op, "Temperature", "above 0, or 0 for 0.1", o.Temperature))
	}
	n, views := shape[0]*shape[1], shape[1]
	self, partner := graph.NewArray(features.Dtype(), n, n), graph.NewArray(features.Dtype(), n, n)
	for i := range n {
		self.Set(i*n+i, 1)
		for j := i / views * views; j < (i/views+1)*views; j++ {
			if j != i {
				partner.Set(i*n+j, 1)
			}
		}
	}
	f := graph.Normalize(graph.Reshape(features, n, shape[2]), 1e-12, 1)
	s := graph.Scale(graph.MatMulT(f, f, false, true), 1/temperature)
	all := graph.LogSumExp(graph.Where(graph.Literal(s, self), graph.Const(s, math.Inf(-1)), s), 1)
	attracted := graph.Sum(graph.Mul(s, graph.Literal(s, partner)))
	return graph.Sub(graph.Mean(all), graph.Scale(attracted, 1/float64(n*(views-1))))
}

// NearestPrototype is, for each of the features [examples, units], that row of the prototypes [classes, units], such as
// the source features' class means, whose cosine with it is the largest. It has no derivative by the features.
func NearestPrototype(features, prototypes *graph.Node) *graph.Node {
	f, p := graph.Normalize(features, 1e-12, 1), graph.Normalize(prototypes, 1e-12, 1)
	return graph.Take(prototypes, graph.ArgMax(graph.MatMulT(f, p, false, true), 1), 0)
}
