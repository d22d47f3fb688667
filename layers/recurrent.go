package layers

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// The recurrent layers run over the time axis of x [batch, time, features] from a zero state and give every step's
// hidden state, [batch, time, units]; LastStep takes the last. They are unrolled in the graph. Parameters are named and
// laid out as PyTorch's: "weight_ih_l0" [gates·units, features], "weight_hh_l0" [gates·units, units], "bias_ih_l0" and
// "bias_hh_l0" [gates·units], l1 for the second of several layers, all drawn from U(-b, b), b = 1/sqrt(units).

// RNN is the plain recurrent network: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).
type RNN struct {
	Units  int
	Layers int // on top of each other; 0 means 1
	Name   string
}

// Apply makes the result's node.
func (r RNN) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	return recur("rnn", s.Layer("rnn", r.Name), x, r.Units, r.Layers, 1, func(s []*graph.Node, in, rec *graph.Node) []*graph.Node {
		return []*graph.Node{graph.Tanh(graph.Add(in, rec))}
	})
}

// GRU is the gated recurrent unit, gates in the order r, z, n: n = tanh(W_in x + b_in + r(W_hn h + b_hn)),
// h' = (1-z)n + z h (K. Cho et al. 2014, arXiv 1406.1078, with the reset gate after the product).
type GRU struct {
	Units  int
	Layers int // on top of each other; 0 means 1
	Name   string
}

// Apply makes the result's node.
func (r GRU) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	n := r.Units
	return recur("gru", s.Layer("gru", r.Name), x, n, r.Layers, 3, func(s []*graph.Node, in, rec *graph.Node) []*graph.Node {
		gates := graph.Sigmoid(graph.Add(gate(in, 0, 2*n), gate(rec, 0, 2*n)))
		reset, keep := gate(gates, 0, n), gate(gates, n, 2*n)
		fresh := graph.Tanh(graph.Add(gate(in, 2*n, 3*n), graph.Mul(reset, gate(rec, 2*n, 3*n))))
		return []*graph.Node{graph.Add(fresh, graph.Mul(keep, graph.Sub(s[0], fresh)))}
	})
}

// LSTM is the long short-term memory, gates in the order i, f, g, o: c' = f c + i g, h' = o tanh(c') (S. Hochreiter,
// J. Schmidhuber 1997; F. Gers et al. 2000).
type LSTM struct {
	Units  int
	Layers int // on top of each other; 0 means 1
	Name   string
}

// Apply makes the result's node.
func (r LSTM) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	n := r.Units
	return recur("lstm", s.Layer("lstm", r.Name), x, n, r.Layers, 4, func(s []*graph.Node, in, rec *graph.Node) []*graph.Node {
		z := graph.Add(in, rec)
		input, forget := graph.Sigmoid(gate(z, 0, n)), graph.Sigmoid(gate(z, n, 2*n))
		fresh, output := graph.Tanh(gate(z, 2*n, 3*n)), graph.Sigmoid(gate(z, 3*n, 4*n))
		cell := graph.Add(graph.Mul(forget, s[1]), graph.Mul(input, fresh))
		return []*graph.Node{graph.Mul(output, graph.Tanh(cell)), cell}
	})
}

func gate(x *graph.Node, from, to int) *graph.Node { return graph.Slice(x, 1, from, to, 1) }

// recur unrolls a cell over time, for each of several layers. The cell gets its state, of which the first is the hidden
// one, and the input's and the hidden state's parts of its gates, [batch, gates·units].
func recur(layer string, s *graph.Scope, x *graph.Node, units, layers, gates int,
	cell func(state []*graph.Node, in, rec *graph.Node) []*graph.Node) *graph.Node {
	needPositive(layer, "Units", units)
	needRank(layer, x, 3, 3, "[batch, time, features]")
	if graph.ShapeOf(x)[1] == 0 {
		panic(graph.Fail(layer, "input", "at least one step", graph.TypeOf(x)))
	}
	for l := range or(layers, 1) {
		suffix := fmt.Sprintf("_l%d", l)
		batch, time, features := graph.ShapeOf(x)[0], graph.ShapeOf(x)[1], graph.ShapeOf(x)[2]
		init := graph.LeCun(units)
		wi := s.Param("weight_ih"+suffix, init, gates*units, features)
		wh := s.Param("weight_hh"+suffix, init, gates*units, units)
		bi := s.Param("bias_ih"+suffix, init, gates*units)
		bh := s.Param("bias_hh"+suffix, init, gates*units)
		in := graph.Add(graph.MatMulT(x, wi, false, true), bi)
		zero := graph.BroadcastTo(s.Const(0), batch, units)
		state := []*graph.Node{zero, zero}
		hidden := make([]*graph.Node, time)
		for t := range time {
			rec := graph.Add(graph.MatMulT(state[0], wh, false, true), bh)
			state = cell(state, step(in, t), rec)
			hidden[t] = state[0]
		}
		x = graph.Stack(1, hidden...)
	}
	return x
}
