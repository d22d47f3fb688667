package models

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// TemperatureScaling divides the logits of a trained classifier by one number, its parameter "temperature", which begins
// at 1 and is held within limits: [..., classes] to the same. Predictions stay what they are, confidences become right
// if it is fitted to examples that were not trained on (C. Guo et al. 2017, arXiv 1706.04599), with cross-entropy or
// objectives.CorrectnessAware.
type TemperatureScaling struct {
	Min, Max float64 // limits of the temperature; 0 means 0.1 and 10
}

// Apply makes the scaled logits' node.
func (m TemperatureScaling) Apply(s *graph.Scope, logits *graph.Node) *graph.Node {
	t := s.Layer("temperature_scaling", "").Param("temperature", graph.Ones(), 1)
	return graph.Div(logits, within(t, m.Min, m.Max))
}

// within holds a temperature between its limits; the derivative passes where it is inside.
func within(t *graph.Node, low, high float64) *graph.Node {
	if low == 0 {
		low = 0.1
	}
	if high == 0 {
		high = 10
	}
	if !(0 < low && low < high) {
		panic(graph.Fail("temperature", "Min, Max", "0 < Min < Max, or 0 for 0.1 and 10", fmt.Sprintf("%v, %v", low, high)))
	}
	return graph.Clip(t, low, high)
}

// TransformCalibrator divides the logits of each example by a temperature of its own, which a small perceptron reads off
// what some transforms of the input, such as a turn, a loss of colour and a change of contrast, do to the probabilities
// of the classes that were most likely before (Y. Liu et al. 2024, arXiv 2404.13016, from its code). It is to be trained
// with objectives.CorrectnessAware on examples that the classifier was not trained on.
type TransformCalibrator struct {
	Classes  int     // how many of the most likely classes are looked at; 0 means 4, or all if there are fewer
	Hidden   int     // 0 means 5
	Min, Max float64 // limits of the temperature; 0 means 0.1 and 10
}

// Apply makes the scaled logits' node from the logits of the examples, [batch, classes], and those of their transforms,
// of the same shape. The last bias begins at 1 and the last weights at 0, so that the logits are scaled by 1 at first.
func (m TransformCalibrator) Apply(s *graph.Scope, logits *graph.Node, transformed ...*graph.Node) *graph.Node {
	const op = "transform_calibrator"
	shape := graph.ShapeOf(logits)
	if len(shape) != 2 || shape[1] < 1 {
		panic(graph.Fail(op, "logits", "[batch, classes]", graph.TypeOf(logits)))
	}
	if len(transformed) == 0 {
		panic(graph.Fail(op, "transformed", "the logits of at least one transform", "none"))
	}
	s = s.Layer(op, "")
	_, likely := graph.TopK(logits, min(or(m.Classes, 4), shape[1]), 1)
	var seen []*graph.Node
	for i, x := range transformed {
		if want, got := graph.TypeOf(logits), graph.TypeOf(x); !want.Equal(got) {
			panic(graph.Fail(op, fmt.Sprintf("transformed[%d]", i), want, got))
		}
		seen = append(seen, graph.TakeAlong(graph.Softmax(x, 1), likely, 1))
	}
	h := layers.Dense{Units: or(m.Hidden, 5), Activation: layers.ReLU{}}.Apply(s, graph.Concat(1, seen...))
	weight := s.Param("weight", graph.Zeros(), or(m.Hidden, 5), 1)
	t := graph.Add(graph.MatMul(h, weight), s.Param("bias", graph.Ones(), 1))
	return graph.Div(logits, within(t, m.Min, m.Max))
}
