package rules

import (
	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// LayerAccuracy is the share of examples whose highest score is their label's, for each block of a model trained by a
// local rule, from below.
type LayerAccuracy struct {
	Blocks []string  // names
	Alone  []float64 // by the scores of the block alone
	UpTo   []float64 // by the sum of the scores of all blocks up to it
}

// EvaluateLayers predicts every example of d from each block. A trainer whose rule gives blocks no scores of their own
// is refused by name.
func EvaluateLayers(t Trainer, d Data) (LayerAccuracy, error) {
	var e LayerAccuracy
	of, ok := t.(interface{ base() *trainer })
	if !ok || of.base().plan.Layers == nil {
		return e, graph.Fail("layer accuracy", "trainer", "one of a rule whose blocks have scores of their own", t.Name())
	}
	plan, spec := of.base().plan, t.Spec()
	if err := spec.takes("data", d); err != nil {
		return e, err
	}
	var x *graph.Node
	var alone, upTo []*graph.Node
	g, err := graph.Build(t.Params(), func(s *graph.Scope) {
		x = spec.input(s)
		var sum *graph.Node
		e.Blocks, alone = plan.Layers(s, x)
		for _, scores := range alone {
			sum = plus(sum, scores)
			upTo = append(upTo, sum)
		}
	})
	if err != nil {
		return e, errors.Wrap(err, plan.Name)
	}
	p, err := g.Compile(append(alone[:len(alone):len(alone)], upTo...)...)
	if err != nil {
		return e, errors.Wrap(err, plan.Name)
	}
	e.Alone, e.UpTo = make([]float64, len(alone)), make([]float64, len(alone))
	batch, rows := NewBatch(spec), make([]int, 0, spec.Batch)
	for at := 0; at < d.Len(); at += spec.Batch {
		rows = rows[:0]
		for i := at; i < min(at+spec.Batch, d.Len()); i++ {
			rows = append(rows, i)
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			return e, err
		}
		if err := p.Bind(x, batch.X); err != nil {
			return e, err
		}
		if err := p.Run(); err != nil {
			return e, errors.Wrap(err, plan.Name)
		}
		for i := range alone {
			e.Alone[i] += right(p.Array(alone[i]), batch, len(rows)) / float64(d.Len())
			e.UpTo[i] += right(p.Array(upTo[i]), batch, len(rows)) / float64(d.Len())
		}
	}
	return e, nil
}

// right counts the rows whose highest score is their label's.
func right(scores *graph.Array, b *Batch, rows int) float64 {
	width := scores.Size() / scores.Shape[0]
	n := 0.0
	for r := range rows {
		if best(scores, r*width, width) == b.Y.Ints()[r] {
			n++
		}
	}
	return n
}
