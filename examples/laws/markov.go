package main

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules"
)

// A text is an endless source of symbols, each drawn from a distribution that depends on the three before it. All that a
// language model can be asked about it is known: its entropy, and the loss of any model.
type text struct {
	symbols  int
	next     []float64 // [contexts, symbols]
	share    []float64 // of the contexts, in the long run
	examples int       // an epoch
	seed     uint64
}

const order = 3

// newText makes a text whose next symbol has the logits of a random network of the context, which leave something like
// half of the entropy of independent symbols.
func newText(symbols int, seed uint64) *text {
	contexts := 1
	for range order {
		contexts *= symbols
	}
	t := &text{symbols: symbols, next: make([]float64, contexts*symbols), share: make([]float64, contexts), seed: seed, examples: 1 << 14}
	r := graph.Rand(seed, "laws/text", 0)
	const hidden = 64
	in, out := make([]float64, order*symbols*hidden), make([]float64, hidden*symbols)
	for i := range in {
		in[i] = r.NormFloat64()
	}
	for i := range out {
		out[i] = 1.6 * r.NormFloat64() / math.Sqrt(hidden)
	}
	for c := range contexts {
		row := t.next[c*symbols : (c+1)*symbols]
		for h := range hidden {
			z := 0.0
			for k, s := range t.context(c) {
				z += in[(k*symbols+s)*hidden+h]
			}
			for j := range row {
				row[j] += math.Max(z, 0) * out[h*symbols+j]
			}
		}
		sum := 0.0
		for j, v := range row {
			row[j] = math.Exp(v)
			sum += row[j]
		}
		for j := range row {
			row[j] /= sum
		}
		t.share[c] = 1 / float64(contexts)
	}
	for range 500 { // the share of each context after one symbol more
		after := make([]float64, contexts)
		for c, p := range t.share {
			for j, q := range t.next[c*symbols : (c+1)*symbols] {
				after[(c*symbols+j)%contexts] += p * q
			}
		}
		t.share = after
	}
	return t
}

// context is the symbols of a context's number, the oldest first.
func (t *text) context(c int) (s [order]int) {
	for k := order - 1; k >= 0; k-- {
		s[k] = c % t.symbols
		c /= t.symbols
	}
	return s
}

// entropy is that of a symbol given those before, in nats: no model's loss is lower.
func (t *text) entropy() float64 {
	h := 0.0
	for c, p := range t.share {
		for _, q := range t.next[c*t.symbols : (c+1)*t.symbols] {
			if q > 0 {
				h -= p * q * math.Log(q)
			}
		}
	}
	return h
}

func (t *text) Len() int           { return t.examples }
func (t *text) InputShape() []int  { return []int{order * t.symbols} }
func (t *text) Classes() int       { return t.symbols }
func (t *text) TargetShape() []int { return nil }

// Read draws example i of epoch key: the context's symbols, one-hot, and the next one.
func (t *text) Read(i int, key uint64, x, _ []float32) int {
	u := graph.Rand(t.seed+1, "laws/example", key*uint64(t.examples)+uint64(i))
	c := pick(t.share, u.Float64())
	t.write(c, x)
	return pick(t.next[c*t.symbols:(c+1)*t.symbols], u.Float64())
}

func (t *text) write(c int, x []float32) {
	clear(x)
	for k, s := range t.context(c) {
		x[k*t.symbols+s] = 1
	}
}

func pick(shares []float64, u float64) int {
	for i, p := range shares {
		if u -= p; u < 0 {
			return i
		}
	}
	return len(shares) - 1
}

// loss is the expected loss of a trained model, over all contexts, in nats a symbol: exact but for rounding.
func (t *text) loss(tr rules.Trainer) (float64, error) {
	spec := tr.Spec()
	batch := rules.NewBatch(spec)
	width := order * t.symbols
	sum := 0.0
	for from := 0; from < len(t.share); from += spec.Batch {
		n := min(spec.Batch, len(t.share)-from)
		for r := range n {
			t.write(from+r, batch.X.Float32s()[r*width:(r+1)*width])
		}
		batch.N = n
		logits, err := tr.Predict(batch)
		if err != nil {
			return 0, err
		}
		for r := range n {
			row := logits.Float32s()[r*t.symbols : (r+1)*t.symbols]
			for j, l := range logSoftmax(row) {
				sum -= t.share[from+r] * t.next[(from+r)*t.symbols+j] * l
			}
		}
	}
	return sum, nil
}

func logSoftmax(row []float32) []float64 {
	largest, sum := math.Inf(-1), 0.0
	for _, v := range row {
		largest = math.Max(largest, float64(v))
	}
	for _, v := range row {
		sum += math.Exp(float64(v) - largest)
	}
	out := make([]float64, len(row))
	for i, v := range row {
		out[i] = float64(v) - largest - math.Log(sum)
	}
	return out
}
