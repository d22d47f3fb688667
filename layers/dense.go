package layers

import "github.com/harpe-ml/harpe/graph"

// Dense is x·weight + bias: [..., in] to [..., units], with parameters "weight" [in, units] and "bias" [units].
type Dense struct {
	Units      int
	Activation Layer // applied to the result; nil for none
	Name       string
	NoBias     bool
	Init       Init // of the weight; nil: see Init
}

// Apply makes the result's node.
func (d Dense) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	needPositive("dense", "Units", d.Units)
	shape := graph.ShapeOf(x)
	if len(shape) == 0 {
		panic(graph.Fail("dense", "input", "[..., features]", graph.TypeOf(x)))
	}
	s = s.Layer("dense", d.Name)
	in := shape[len(shape)-1]
	y := graph.MatMul(x, s.Param("weight", initFor(d.Init, d.Activation, in, d.Units), in, d.Units))
	if !d.NoBias {
		y = graph.Add(y, s.Param("bias", graph.Zeros(), d.Units))
	}
	return activate(s, d.Activation, y)
}

func activate(s *graph.Scope, activation Layer, x *graph.Node) *graph.Node {
	if activation == nil {
		return x
	}
	return activation.Apply(s, x)
}

// Embedding looks up rows of a table: Int [...] to [..., units], with parameter "weight" [vocabulary, units], drawn from
// N(0, 1). An index outside [0, vocabulary) is an error of the run.
type Embedding struct {
	Vocabulary, Units int
	Name              string
	Init              Init // of the weight; nil: N(0, 1)
}

// Apply makes the result's node.
func (e Embedding) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	needPositive("embedding", "Vocabulary", e.Vocabulary)
	needPositive("embedding", "Units", e.Units)
	init := e.Init
	if init == nil {
		init = Normal(1)
	}
	s = s.Layer("embedding", e.Name)
	return graph.Take(s.Param("weight", init(e.Vocabulary, e.Units), e.Vocabulary, e.Units), x, 0)
}

// Positions adds a trained vector for each place of a sequence: x [batch, time, units] + weight[:time], with parameter
// "weight" [length, units], drawn from N(0, 0.02²). Time must not be longer than Length.
type Positions struct {
	Length int
	Name   string
}

// Apply makes the result's node.
func (p Positions) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	needPositive("positions", "Length", p.Length)
	needRank("positions", x, 3, 3, "[batch, time, units]")
	shape := graph.ShapeOf(x)
	if shape[1] > p.Length {
		panic(graph.Fail("positions", "input", "at most Length steps", graph.TypeOf(x)))
	}
	w := s.Layer("positions", p.Name).Param("weight", graph.NormalInit(0.02), p.Length, shape[2])
	if shape[1] < p.Length {
		w = graph.Slice(w, 0, 0, shape[1], 1)
	}
	return graph.Add(x, w)
}

// Dropout zeroes each element with probability P during training and scales the others by 1/(1-P), so that the
// expectation stays (N. Srivastava et al. 2014). The choice is a function of the store's seed, the layer's name and the
// step. P zero drops nothing.
type Dropout struct {
	P    float64 // 0 <= P < 1
	Name string
}

// Apply makes the result's node.
func (d Dropout) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	return graph.Dropout(s.Layer("dropout", d.Name), x, d.P)
}
