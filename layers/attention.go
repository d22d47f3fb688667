package layers

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// SelfAttention is multi-head scaled dot-product attention of a sequence to itself (A. Vaswani et al. 2017, arXiv
// 1706.03762, section 3.2.2): [batch, time, features] to the same. Its parameters are those of two Dense layers: "qkv",
// whose 3·features outputs are the queries, keys and values, each head after head, and "out".
type SelfAttention struct {
	Heads  int  // a divisor of the features; 0 means 1
	Causal bool // a step sees itself and earlier ones only
	Init   Init // of both weights; nil: see Init
	Name   string
}

// Apply makes the result's node.
func (a SelfAttention) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	needRank("self_attention", x, 3, 3, "[batch, time, features]")
	batch, time, features := graph.ShapeOf(x)[0], graph.ShapeOf(x)[1], graph.ShapeOf(x)[2]
	heads := or(a.Heads, 1)
	if heads < 1 || features%heads != 0 {
		panic(graph.Fail("self_attention", "Heads", fmt.Sprintf("a divisor of %d features", features), heads))
	}
	s = s.Layer("attention", a.Name)
	qkv := Dense{Units: 3 * features, Name: "qkv", Init: a.Init}.Apply(s, x)
	part := func(i int) *graph.Node {
		p := graph.Slice(qkv, 2, i*features, (i+1)*features, 1)
		return graph.Transpose(graph.Reshape(p, batch, time, heads, features/heads), 0, 2, 1, 3)
	}
	y := graph.Transpose(graph.Attention(part(0), part(1), part(2), a.Causal), 0, 2, 1, 3)
	return Dense{Units: features, Name: "out", Init: a.Init}.Apply(s, graph.Reshape(y, batch, time, features))
}
