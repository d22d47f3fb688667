// Package models holds whole architectures as compositions of layers. A model is a layers.Layer: a struct whose zero
// values are the usual sizes, applied in a graph.Scope. Its parts are marked as blocks, so that any training rule that
// works on parts of a model can cut it.
//
//	model := models.MLP{Hidden: []int{1000, 1000}, Classes: 10}
//
// The results are logits; objectives.CrossEntropy takes them as they are.
package models

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// MLP is a multi-layer perceptron: [batch, ...], flattened, to logits [batch, classes]. Each hidden layer with its
// activation is a block, and so is the last layer.
type MLP struct {
	Hidden     []int // sizes of the hidden layers; none makes the model linear
	Classes    int
	Activation layers.Layer // of the hidden layers; nil means ReLU
}

// Apply makes the logits' node.
func (m MLP) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	return m.layers().Apply(s, graph.Flatten(x))
}

func (m MLP) layers() layers.Sequential {
	activation := m.Activation
	if activation == nil {
		activation = layers.ReLU{}
	}
	var q layers.Sequential
	for _, units := range m.Hidden {
		q = append(q, layers.Dense{Units: units, Activation: activation})
	}
	return append(q, layers.Dense{Units: m.Classes})
}

// CNN is a plain convolutional network: [batch, channels, height, width] to logits [batch, classes]. Each stage, a 3x3
// convolution that keeps the size, ReLU and a maximum over 2x2 pixels, is a block; so is each dense layer.
type CNN struct {
	Channels []int // filters of each stage; nil means 32, 64
	Hidden   []int // sizes of the dense layers before the last; nil means 128
	Classes  int
}

// Apply makes the logits' node.
func (m CNN) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	channels, hidden := m.Channels, m.Hidden
	if channels == nil {
		channels = []int{32, 64}
	}
	if hidden == nil {
		hidden = []int{128}
	}
	var q layers.Sequential
	for _, c := range channels {
		q = append(q, layers.Block{
			layers.Conv2D{Filters: c, Padding: layers.Both(1), Activation: layers.ReLU{}},
			layers.MaxPool2D{},
		})
	}
	return MLP{Hidden: hidden, Classes: m.Classes}.Apply(s, q.Apply(s, x))
}
