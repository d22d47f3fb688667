package objectives

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

func init() {
	Register(Entry{Name: "knowledge-entropy",
		Summary: "KnowledgeEntropy: what a layer's last change of decisions adds to its entropy, from two passes",
		Formula: "-1/ln 2 Σ z (D - D_before)", Paper: "B. Mahi 2025, 2503.13942", Use: "label-free dynamics of sigmoid layers"})
}

// KnowledgeEntropy is the entropy, in bits, that a layer of decisions D = sigmoid(z) gains in one step: -1/ln 2 Σ z·(D -
// before), with the decisions before, all of one shape (B. Mahi 2025, arXiv 2503.13942). Small steps from D = a to
// D = b add up to H(b) - H(a), the difference of the entropies of coins that show heads with probability b and a. Before
// counts as a constant.
func KnowledgeEntropy(z, decisions, before *graph.Node) *graph.Node {
	const op = "knowledge entropy"
	needSame(op, z, "decisions", decisions)
	needSame(op, z, "before", before)
	return graph.Scale(graph.Dot(z, graph.Sub(decisions, graph.Detach(before))), -1/math.Ln2)
}
