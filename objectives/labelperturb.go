package objectives

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	const paper = "J. Liu et al. 2023, 2307.13539"
	Register(
		Entry{Name: "self-calibrating-bce", Objective: SCBCE,
			Summary: "binary cross-entropy with the label that perturbation gives in the mean",
			Formula: "bce(x, (1-2αβ) y + αβ), α = 0.1, β = 0.5", Paper: paper, Use: "yes or no, calibrated"},
		Entry{Name: "label-perturbation",
			Summary: "binary cross-entropy with labels perturbed with a probability learnt for each example; LabelPerturbation.Loss",
			Formula: "bce(x, y or (1-2β) y + β)", Paper: paper, Use: "dense yes or no, calibrated"},
	)
}

// SCBCE is SCBCEOptions{Alpha: 0.1, Beta: 0.5}.Loss.
func SCBCE(output, target *graph.Node) *graph.Node {
	return SCBCEOptions{Alpha: 0.1, Beta: 0.5}.Loss(output, target)
}

// SCBCEOptions are the settings of the self-calibrating binary cross-entropy. Alpha 1 is label smoothing of 2 Beta, Beta
// 1 label flipping, Beta 1/2 moderation, Beta from 1/2 to 1 soft and from 1 on hard inversion.
type SCBCEOptions struct {
	Alpha     float64 // probability of a perturbation
	Beta      float64 // its strength; Alpha·Beta below 1/2 keeps the answer
	Reduction Reduction
}

// Loss is the binary cross-entropy of logits with the target (1 - 2 Alpha Beta) t + Alpha Beta: the mean over the
// perturbations of labels t (J. Liu et al. 2023, arXiv 2307.13539). Its best p is (1 - 2 Alpha Beta) η + Alpha Beta where η is the true probability.
func (o SCBCEOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "self_calibrating_bce"
	needSame(op, output, "target", target)
	if !(o.Alpha >= 0 && o.Alpha <= 1) {
		panic(graph.Fail(op, "Alpha", "0 to 1", o.Alpha))
	}
	if !(o.Beta >= 0) {
		panic(graph.Fail(op, "Beta", "at least 0", o.Beta))
	}
	return BCEWithLogitsOptions{Reduction: o.Reduction}.Loss(output, soften(target, o.Alpha*o.Beta))
}

// soften is (1-2b) t + b.
func soften(t *graph.Node, b float64) *graph.Node {
	return graph.Shift(graph.Scale(t, 1-2*b), b)
}

// PerturbLabels replaces targets t, [batch, ...], by (1 - 2 beta) t + beta for a part of the examples: each one, with all
// its places, with its probability in alpha, [batch]. Results lie outside [0, 1] when beta is above 1, which
// BCEWithLogits, linear in its target, takes.
func PerturbLabels(s *graph.Scope, target, alpha *graph.Node, beta float64) *graph.Node {
	const op = "perturb_labels"
	shape := graph.ShapeOf(target)
	if len(shape) == 0 || !graph.TypeOf(target).IsFloat() {
		panic(graph.Fail(op, "target", "[batch, ...] of a floating-point type", graph.TypeOf(target)))
	}
	if want, got := (graph.Type{DType: target.Dtype(), Shape: shape[:1]}), graph.TypeOf(alpha); !want.Equal(got) {
		panic(graph.Fail(op, "alpha", want, got))
	}
	drawn := make([]int, len(shape))
	for i := range drawn {
		drawn[i] = 1
	}
	drawn[0] = shape[0]
	hit := graph.Reshape(s.Bernoulli("perturb_labels", alpha), drawn...)
	return graph.Where(hit, soften(target, beta), target)
}

// LabelPerturbation is adaptive stochastic label perturbation: a table of one probability for each example of the data
// set, which a controller moves after each batch until the labels are, in the mean, as sure as the model is right; or,
// with Entropy, as unsure as they can be without loss of accuracy.
type LabelPerturbation struct {
	Beta    float64 // strength of a perturbation; 0 means 2
	Rate    float64 // of the controller; 0 means 0.002
	Lambda  float64 // weight of the limit that the accuracy sets; 0 means 2000
	Entropy bool    // the limit is that the accuracy stay above the state "floor"

	// With the authors' Rate and Lambda, for which Rate·Lambda·Beta is 8, probabilities jump between 0 and values above
	// their goal; below 1, as with Lambda 200, they settle.
}

func (o LabelPerturbation) filled(op string) LabelPerturbation {
	o.Beta, o.Rate, o.Lambda = or(o.Beta, 2), or(o.Rate, 0.002), or(o.Lambda, 2000)
	if !(o.Beta > 0 && o.Rate > 0 && o.Lambda > 0) {
		panic(graph.Fail(op, "settings", "Beta, Rate and Lambda above 0, or 0 for their defaults", fmt.Sprintf("%+v", o)))
	}
	return o
}

// Loss is the binary cross-entropy of logits [batch, ...] with perturbed targets of the same type and shape. Ids, Int
// [batch], are the examples' places in the data set of the given size. The probabilities are the scope's state "alpha"
// [examples], at first 0; the accuracy on held-out data is its state "accuracy", at first -1: the controller rests until
// the caller, some epochs later, sets it to a number from 0 to 1 in the store of parameters; with Entropy also the state
// "floor", the accuracy to keep, at first 0. Compile Graph.Updates with the step (J. Liu et al. 2023, arXiv 2307.13539,
// whose code has the first variant alone; of the second, the abstract says what it is for).
func (o LabelPerturbation) Loss(s *graph.Scope, output, target, ids *graph.Node, examples int) *graph.Node {
	const op = "label_perturbation"
	o = o.filled(op)
	needSame(op, output, "target", target)
	shape := graph.ShapeOf(output)
	if len(shape) == 0 {
		panic(graph.Fail(op, "output", "[batch, ...]", graph.TypeOf(output)))
	}
	if want, got := (graph.Type{DType: graph.Int, Shape: shape[:1]}), graph.TypeOf(ids); !want.Equal(got) {
		panic(graph.Fail(op, "ids", want, got))
	}
	table := s.State("alpha", graph.Constant(0), examples)
	accuracy := s.State("accuracy", graph.Constant(-1))
	alpha := graph.Take(table, ids, 0)
	x, t := graph.Cast(graph.Detach(output), table.Dtype()), graph.Cast(target, table.Dtype())
	perExample := func(x *graph.Node) *graph.Node {
		return graph.Mean(graph.Reshape(x, shape[0], -1), 1)
	}
	entropy := perExample(BCEWithLogitsOptions{Reduction: ReduceNone}.Loss(x, t))
	// -log p - log(1-p)
	sure := perExample(graph.Add(graph.Softplus(x), graph.Softplus(graph.Neg(x))))
	room := graph.Sub(graph.OneMinus(accuracy), graph.Scale(alpha, o.Beta))
	if o.Entropy {
		room = graph.Sub(accuracy, s.State("floor", graph.Constant(0)))
	}
	moved := o.Next(alpha, entropy, sure, room)
	running := graph.GreaterEqual(accuracy, graph.Const(accuracy, 0))
	s.Update(table, graph.Where(running, replace(table, ids, moved), table))
	return BCEWithLogits(output, PerturbLabels(s, target, graph.Cast(alpha, output.Dtype()), o.Beta))
}

// Next is where the controller moves probabilities alpha to, all nodes having one element for each example or one for
// all: alpha + Rate [(sure - 2 entropy)/Beta + Lambda min(room, 0)], held in [0, 1/(2 Beta) - 0.01]. Entropy is the mean
// binary cross-entropy with the clean labels and sure that of -log p - log(1-p). Room is 1 - accuracy - Beta alpha, or
// with Entropy the accuracy less its floor.
func (o LabelPerturbation) Next(alpha, entropy, sure, room *graph.Node) *graph.Node {
	o = o.filled("label_perturbation")
	push := graph.Scale(graph.Sub(sure, graph.Scale(entropy, 2)), 1/o.Beta)
	limit := graph.Scale(graph.Minimum(room, graph.Const(room, 0)), o.Lambda)
	moved := graph.Add(alpha, graph.Scale(graph.Add(push, limit), o.Rate))
	return graph.Clip(moved, 0, 1/(2*o.Beta)-0.01)
}
