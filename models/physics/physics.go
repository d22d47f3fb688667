// Package physics holds simulated media, which stand for physical systems as parts of neural networks, and the layer
// that is made of one: the response of a medium that nobody has to understand or differentiate, followed by a small
// linear map that is trained (A. Momeni et al. 2023, arXiv 2304.11042).
//
//	model := layers.Sequential{
//		physics.Layer{Medium: physics.RandomIntensity{Units: 128, Seed: 1}, Units: 128},
//		physics.Layer{Medium: physics.RandomIntensity{Units: 128, Seed: 2}, Units: 128},
//	}
//	trainer, err := rules.PhysicalForwardForward{}.Trainer(model, objectives.CrossEntropy, spec)
//
// A real device takes a simulation's place by implementing layers.Medium.
package physics

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// Layer is the response of a medium to its input, put in front of the input itself, and a linear map of both: [batch,
// ...] to [batch, units], with the parameters of layers.Dense. It is one block.
type Layer struct {
	Medium     layers.Medium
	Units      int
	Activation layers.Layer // nil for none
}

// Apply makes the result's node.
func (l Layer) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	x = graph.Flatten(x)
	both := graph.Concat(1, layers.BlackBox{Medium: l.Medium}.Apply(s, x), x)
	return layers.Dense{Units: l.Units, Activation: l.Activation}.Apply(s, both)
}

// RandomIntensity is sin²(gain·x·W) with normal numbers W of variance 1/inputs that are never told: an intensity behind a
// fixed random projection.
type RandomIntensity struct {
	Units int
	Gain  float64 // 0 means 1
	Seed  uint64
}

// Outputs is Units.
func (m RandomIntensity) Outputs(int) int { return m.Units }

// Open draws W.
func (m RandomIntensity) Open(in graph.Type) (func(out, in *graph.Array) error, error) {
	return simulate(m.Seed, in, func(s *graph.Scope, x *graph.Node) *graph.Node {
		return graph.Square(graph.Sin(graph.Scale(random(s, "w", x, m.Units), or(m.Gain, 1))))
	})
}

// MultimodeFibre is the intensity |x·T|² behind a complex transmission matrix T, x being the amplitudes of the light that
// enters; the entries of T are independent, their real and imaginary parts normal with variance 1/(2·inputs), so that the
// mean intensity is the mean of x².
type MultimodeFibre struct {
	Units int // pixels of the camera
	Seed  uint64
}

// Outputs is Units.
func (m MultimodeFibre) Outputs(int) int { return m.Units }

// Open draws T.
func (m MultimodeFibre) Open(in graph.Type) (func(out, in *graph.Array) error, error) {
	return simulate(m.Seed, in, func(s *graph.Scope, x *graph.Node) *graph.Node {
		re, im := random(s, "re", x, m.Units), random(s, "im", x, m.Units)
		return graph.Scale(graph.Add(graph.Square(re), graph.Square(im)), 0.5)
	})
}

// AcousticCavityMLP is what microphones record in a cavity with scatterers, as a fixed random perceptron with one hidden
// layer of tanh; the speakers play |x|/(|x|₂ + 1e-6), scaled by Gain.
type AcousticCavityMLP struct {
	Units  int     // microphones
	Hidden int     // 0 means 4·Units
	Gain   float64 // 0 means 4: the hidden layer is driven into its non-linear range
	Seed   uint64
}

// Outputs is Units.
func (m AcousticCavityMLP) Outputs(int) int { return m.Units }

// Open draws the perceptron.
func (m AcousticCavityMLP) Open(in graph.Type) (func(out, in *graph.Array) error, error) {
	return simulate(m.Seed, in, func(s *graph.Scope, x *graph.Node) *graph.Node {
		loud := graph.KeepDims(graph.Shift(graph.Norm(x, 1), 1e-6), graph.ShapeOf(x), 1)
		played := graph.Scale(graph.Div(graph.Abs(x), loud), or(m.Gain, 4)*math.Sqrt(float64(in.Shape[1])))
		return random(s, "out", graph.Tanh(random(s, "in", played, or(m.Hidden, 4*m.Units))), m.Units)
	})
}

// random is x·W with normal numbers W of variance 1/inputs.
func random(s *graph.Scope, name string, x *graph.Node, units int) *graph.Node {
	inputs := graph.ShapeOf(x)[1]
	return graph.MatMul(x, s.State(name, graph.NormalInit(1/math.Sqrt(float64(inputs))), inputs, units))
}

// simulate compiles a medium's response.
func simulate(seed uint64, in graph.Type, medium func(s *graph.Scope, x *graph.Node) *graph.Node) (func(out, in *graph.Array) error, error) {
	var x, y *graph.Node
	g, err := graph.Build(&graph.Params{Seed: seed, DType: in.DType}, func(s *graph.Scope) {
		x = s.Input("x", in.DType, in.Shape...)
		y = medium(s.Sub("medium"), x)
	})
	if err != nil {
		return nil, err
	}
	p, err := g.Compile(y)
	if err != nil {
		return nil, err
	}
	return func(out, in *graph.Array) error {
		if err := p.Bind(x, in); err != nil {
			return err
		}
		if err := p.Run(); err != nil {
			return err
		}
		return out.CopyFrom(p.Array(y))
	}, nil
}

func or[T int | float64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
