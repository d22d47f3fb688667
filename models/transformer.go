package models

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// CharLM is a small causal transformer that predicts the next of a sequence of symbols: Int [batch, time] to logits
// [batch, time, vocabulary], for objectives.CrossEntropyOptions{Axis: -1}. Symbols and places are embedded; each of Depth
// layers adds causal self-attention and a two-layer perceptron with GELU, both of its normalised input (R. Xiong et al.
// 2020, arXiv 2002.04745, pre-LN); a normalised dense layer gives the logits. Embedding, each layer and the last part
// are blocks.
type CharLM struct {
	Vocabulary int // 0 means 96, printable ASCII and one more
	Units      int // 0 means 256
	Depth      int // 0 means 4
	Heads      int // 0 means 4
	Context    int // the longest sequence; 0 means 128
}

// Apply makes the logits' node.
func (m CharLM) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	vocabulary, units, depth := or(m.Vocabulary, 96), or(m.Units, 256), or(m.Depth, 4)
	q := layers.Sequential{layers.Block{
		layers.Embedding{Vocabulary: vocabulary, Units: units},
		layers.Positions{Length: or(m.Context, 128)},
	}}
	for range depth {
		q = append(q, layers.Block{
			layers.Residual{Body: layers.Sequential{
				layers.LayerNorm{},
				layers.SelfAttention{Heads: or(m.Heads, 4), Causal: true},
			}},
			layers.Residual{Body: layers.Sequential{
				layers.LayerNorm{},
				layers.Dense{Units: 4 * units, Activation: layers.GELU{}},
				layers.Dense{Units: units},
			}},
		})
	}
	return append(q, layers.Block{layers.LayerNorm{}, layers.Dense{Units: vocabulary}}).Apply(s, x)
}

// or is v, or the default if v is 0.
func or(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}
