package rules

import (
	"github.com/harpe-ml/harpe/graph"
)

// Collaboration says which other layers' goodness on the same example, as a constant, is added to a layer's own before
// it is compared with the threshold (G. Lorberbom et al. 2023, arXiv 2305.12393). A layer then knows whether the rest of
// the network already tells an example apart: single layers get worse, their sum does not. The threshold is the sum of
// the thresholds of the layers whose goodness is compared; the paper's is one number, which leaves little to be done for
// those above once one layer has reached it.
type Collaboration int

const (
	None     Collaboration = iota // each layer for itself
	Previous                      // the layers below
	All                           // all other layers, from a forward pass with the same parameters
)

func (c Collaboration) ok() bool { return c >= None && c <= All }

// collaborate adds others' goodness to that of positive and negative examples, and says what the next layer is to know
// of it.
func (n *ffNet) collaborate(pos, neg *graph.Node, others []*graph.Node) (good, rest []*graph.Node) {
	good = []*graph.Node{pos, neg}
	switch {
	case n.Collaboration == Previous:
		for i, g := range others { // none in the first layer
			good[i] = graph.Add(good[i], g)
		}
		return good, good
	case n.Collaboration == All:
		for i, g := range others {
			good[i] = graph.Add(good[i], graph.Detach(graph.Sub(g, good[i])))
		}
	}
	return good, others
}

// shared is the threshold of hidden layer i and those that it collaborates with.
func (n *ffNet) shared(i int) (theta float64) {
	for t, p := range n.hidden {
		if t == i || n.Collaboration == All || n.Collaboration == Previous && t < i {
			theta += n.threshold(p)
		}
	}
	return theta
}

// total is the goodness over all hidden layers of examples with the label inside.
func (n *ffNet) total(s *graph.Scope, a *graph.Node) *graph.Node {
	var sum *graph.Node
	for _, h := range n.activities(s, a) {
		sum = plus(sum, n.Goodness.Of(h))
	}
	return sum
}
