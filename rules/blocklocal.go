package rules

import (
	"fmt"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// Order says when the blocks of a local rule learn.
type Order int

const (
	// Simultaneous trains all blocks in every step, one after the other, each by a program of its own. They share one
	// memory: a step keeps what one block needs and what blocks hand on, whatever the depth.
	Simultaneous Order = iota
	// Sequential trains block after block, in equal shares of the epochs; the blocks below are frozen by then.
	Sequential
	// SideBySide trains all blocks in every step by one program, whose parts may run at the same time: the same bits as
	// Simultaneous, for more memory.
	SideBySide
)

func (o Order) ok() bool { return o >= Simultaneous && o <= SideBySide }

// BlockLocal is a training step made of blocks that learn from losses of their own. A block sees what the one before
// hands on as plain numbers, so no derivative can cross their boundary, whatever the rule does inside. In a step that
// fails at one block, those before it have learnt.
type BlockLocal struct {
	N int // number of blocks, at least 1
	// Enter makes what the first block is given of a batch, and may have goals of its own, such as a readout's. Nil
	// hands on x alone.
	Enter func(s *graph.Scope, x, y *graph.Node) (out []*graph.Node, goals []Goal)
	// Block builds block i: its goals from what it is given and the labels or targets y, and what it hands on. It is
	// also built without its goals being used, where the block is frozen.
	Block func(s *graph.Scope, i int, in []*graph.Node, y *graph.Node) (out []*graph.Node, goals []Goal)
	Order Order
	// Repeat is how often a block with goals learns from what it is given before it hands on; 0 means once.
	Repeat int
}

// detached is the nodes without derivatives.
func detached(nodes []*graph.Node) []*graph.Node {
	out := make([]*graph.Node, len(nodes))
	for i, n := range nodes {
		out[i] = graph.Detach(n)
	}
	return out
}

func (b *BlockLocal) enter(s *graph.Scope, x, y *graph.Node) ([]*graph.Node, []Goal) {
	if b.Enter == nil {
		return []*graph.Node{x}, nil
	}
	out, goals := b.Enter(s, x, y)
	return detached(out), goals
}

// phases gives the trainer the phases of the order.
func (b *BlockLocal) phases(t *trainer) error {
	if b.N < 1 || b.Block == nil {
		return graph.Fail("blocks", "N, Block", "at least one block and a function that builds it", b.N)
	}
	if !b.Order.ok() {
		return graph.Fail("blocks", "Order", "Simultaneous, Sequential or SideBySide", b.Order)
	}
	switch b.Order {
	case Sequential:
		for i := range b.N {
			var spans [][2]int
			if i > 0 {
				spans = append(spans, [2]int{0, i})
			}
			if err := b.phase(t, i, append(spans, [2]int{i, i + 1})); err != nil {
				return err
			}
		}
		return nil
	case SideBySide:
		return b.phase(t, 0, [][2]int{{0, b.N}})
	}
	spans := make([][2]int, b.N)
	for i := range spans {
		spans[i] = [2]int{i, i + 1}
	}
	return b.phase(t, 0, spans)
}

// phase appends a phase that trains the blocks from learn on, with a stage for each span of blocks.
func (b *BlockLocal) phase(t *trainer, learn int, spans [][2]int) error {
	var ph phase
	var types []graph.Type
	for k, span := range spans {
		last := k == len(spans)-1
		st, err := t.stage(func(s *graph.Scope, st *stage) {
			st.y = t.spec.target(s)
			if k == 0 {
				st.x = t.spec.input(s)
				st.out, st.goals = b.enter(s, st.x, st.y)
			} else {
				for j, u := range types {
					st.in = append(st.in, s.Input(fmt.Sprintf("handed%d", j+1), u.DType, u.Shape...))
				}
				st.out = st.in
			}
			for i := span[0]; i < span[1]; i++ {
				out, goals := b.Block(s, i, st.out, st.y)
				st.out = detached(out)
				if i >= learn {
					st.goals = append(st.goals, goals...)
				}
			}
			if last {
				st.out = nil
			}
		})
		if err != nil {
			return errors.Wrapf(err, "block %d", span[0]+1)
		}
		if len(st.goals) > 0 && b.Repeat > 1 {
			st.repeat = b.Repeat
		}
		types = nil
		for _, n := range st.out {
			types = append(types, graph.TypeOf(n))
		}
		if k > 0 {
			ph.stages[k-1].next = st
		}
		ph.stages = append(ph.stages, st)
	}
	ph.stage = ph.stages[0]
	handOn(ph.stages)
	t.phases = append(t.phases, &ph)
	return nil
}

// handOn gives the stages the arrays that hold what the one before hands on. A stage reads one set of buffers and fills
// the other.
func handOn(stages []*stage) {
	type place struct {
		odd, slot int
		dtype     graph.DType
	}
	size := map[place]int{}
	at := func(k, j int, u graph.Type) place { return place{k % 2, j, u.DType} }
	for k, st := range stages {
		for j, n := range st.in {
			u := graph.TypeOf(n)
			size[at(k, j, u)] = max(size[at(k, j, u)], u.Size())
		}
	}
	buffers := map[place]*graph.Array{}
	for p, n := range size {
		buffers[p] = graph.NewArray(p.dtype, n)
	}
	for k, st := range stages {
		for j, n := range st.in {
			u := graph.TypeOf(n)
			st.handed = append(st.handed, prefix(buffers[at(k, j, u)], u.Shape...))
		}
	}
}

// prefix is the first elements of an array under a shape of its own.
func prefix(a *graph.Array, shape ...int) *graph.Array {
	n := graph.Type{Shape: shape}.Size()
	switch a.DType {
	case graph.Float32:
		return graph.ArrayOf(a.Float32s()[:n], shape...)
	case graph.Float64:
		return graph.ArrayOf(a.Float64s()[:n], shape...)
	}
	return graph.ArrayOf(a.Ints()[:n], shape...)
}

// handedBytes is the size of the distinct buffers between stages.
func handedBytes(stages []*stage) int {
	var most [2][]int
	for k, st := range stages {
		for j, a := range st.handed {
			if j == len(most[k%2]) {
				most[k%2] = append(most[k%2], 0)
			}
			most[k%2][j] = max(most[k%2][j], a.Bytes())
		}
	}
	total := 0
	for _, m := range most {
		for _, n := range m {
			total += n
		}
	}
	return total
}
