package layers

import "github.com/harpe-ml/harpe/graph"

// The activations have no parameters; each is the function of the same name in package graph, where the formulas are.

// Activation makes a layer of any function of a node: Activation(graph.Sin).
type Activation func(x *graph.Node) *graph.Node

// Apply is the function's value.
func (f Activation) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return f(x) }

// ReLU is max(x, 0).
type ReLU struct{}

// Apply is max(x, 0).
func (ReLU) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.ReLU(x) }

// ReLU6 is min(max(x, 0), 6).
type ReLU6 struct{}

// Apply is min(max(x, 0), 6).
func (ReLU6) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.ReLU6(x) }

// LeakyReLU is x where x > 0 and Alpha·x elsewhere.
type LeakyReLU struct {
	Alpha float64 // 0 means 0.01
}

// Apply is the leaky ReLU of x.
func (l LeakyReLU) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.LeakyReLU(x, or(l.Alpha, 0.01))
}

// ELU is x where x > 0 and Alpha(e^x - 1) elsewhere.
type ELU struct {
	Alpha float64 // 0 means 1
}

// Apply is the ELU of x.
func (l ELU) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.ELU(x, or(l.Alpha, 1)) }

// SELU is the self-normalising ELU.
type SELU struct{}

// Apply is the SELU of x.
func (SELU) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.SELU(x) }

// GELU is x·Φ(x).
type GELU struct{}

// Apply is x·Φ(x).
func (GELU) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.GELU(x) }

// GELUTanh is the tanh approximation of GELU.
type GELUTanh struct{}

// Apply is the tanh approximation of GELU.
func (GELUTanh) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.GELUTanh(x) }

// SiLU is x·sigmoid(x).
type SiLU struct{}

// Apply is x·sigmoid(x).
func (SiLU) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.SiLU(x) }

// Mish is x·tanh(softplus(x)).
type Mish struct{}

// Apply is x·tanh(softplus(x)).
func (Mish) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Mish(x) }

// HardSwish is x·relu6(x + 3)/6.
type HardSwish struct{}

// Apply is x·relu6(x + 3)/6.
func (HardSwish) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.HardSwish(x) }

// HardSigmoid is relu6(x + 3)/6.
type HardSigmoid struct{}

// Apply is relu6(x + 3)/6.
func (HardSigmoid) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.HardSigmoid(x) }

// Tanh is the hyperbolic tangent.
type Tanh struct{}

// Apply is tanh(x).
func (Tanh) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Tanh(x) }

// Sigmoid is 1/(1+e^-x).
type Sigmoid struct{}

// Apply is 1/(1+e^-x).
func (Sigmoid) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Sigmoid(x) }

// Softplus is log(1+e^x).
type Softplus struct{}

// Apply is log(1+e^x).
func (Softplus) Apply(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Softplus(x) }

// Softmax is e^x normalised to sum 1 along an axis.
type Softmax struct {
	Axis int // 0 means the last one
}

// Apply is the softmax of x.
func (l Softmax) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.Softmax(x, or(l.Axis, -1))
}

// LogSoftmax is the logarithm of Softmax.
type LogSoftmax struct {
	Axis int // 0 means the last one
}

// Apply is the log-softmax of x.
func (l LogSoftmax) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.LogSoftmax(x, or(l.Axis, -1))
}
