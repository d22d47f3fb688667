package graph

import (
	"cmp"
	"slices"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Instructions side by side. A large instruction uses all cores by itself. Small ones that do not depend on each other
// run at the same time: a stage is a stretch of the order of such operations, its lanes are the parts of it that have
// nothing to do with each other, and each lane runs in order on one thread. Stages are chosen when a program is compiled,
// by estimated times and not by the number of cores, and every kernel gives the same bits whatever runs beside it.
//
// What lives at the same time as a stage must not share memory with more than one of its lanes, so stages cost memory.
// A program whose arena would grow by more than spared gets fewer lanes, or none.

type stage struct {
	from, to int       // of the order
	parts    [][]int   // positions, the costliest part first
	cost     []float64 // of each part
	lanes    [][]int   // positions
}

const (
	longest   = 128     // operations of a stage
	mostLanes = 8       // lanes of a stage
	alone     = 100_000 // ns: from here on an operation is worth several threads of its own
)

// meeting is about how many ns it takes to start the lanes and to wait for the last. Tests want stages whatever they cost.
var meeting = 8_000.0

// spared is by how many bytes an arena may grow for stages.
func spared(size int) int { return max(size/32, 1<<18) }

// nanoseconds is about what an operation takes on one thread of a current machine.
func (o *operation) nanoseconds() float64 {
	bytes, speed := 0, 4.0
	for _, v := range o.out {
		bytes += v.t.Bytes()
	}
	for _, x := range o.in {
		bytes += x.v.t.Bytes()
	}
	switch o.prim.form.(type) {
	case matMulAttrs, ConvOptions, epilogue:
		speed = 256 / float64(o.out[0].t.DType.Size())
	}
	return 150 + float64(o.flops())/speed + float64(bytes)/32
}

// stages cuts the order into the stages that take the least time on two cores; what is in none runs alone.
func stages(order []*operation) []stage {
	n := len(order)
	at := make(map[*operation]int, n)
	cost := make([]float64, n)
	needs := make([][]int, n)
	sum := 0.0
	for i, o := range order {
		at[o], cost[i] = i, o.nanoseconds()
		sum += cost[i]
		o.before(func(x *operation) { needs[i] = append(needs[i], at[x]) })
	}
	if sum < 2*meeting {
		return nil
	}
	// time is that of the first operations, of which the last stage begins at start.
	time, start := make([]float64, n+1), make([]int, n+1)
	for i := range time[1:] {
		time[i+1] = -1
	}
	relax := func(from, to int, t float64) {
		if t += time[from]; time[to] < 0 || t < time[to] {
			time[to], start[to] = t, from
		}
	}
	var p parts
	for i := range n {
		relax(i, i+1, cost[i])
		p.reset(i)
		for j := i; j < min(n, i+longest) && order[j].prim != assignOp && cost[j] < alone; j++ {
			p.add(cost[j], needs[j])
			if p.count > 1 {
				relax(i, j+1, max(p.most, p.total/2)+meeting)
			}
		}
	}
	var list []stage
	for to := n; to > 0; to = start[to] {
		if from := start[to]; to-from > 1 {
			list = append(list, stage{from: from, to: to})
		}
	}
	slices.Reverse(list)
	for k := range list {
		s := &list[k]
		p.reset(s.from)
		for j := s.from; j < s.to; j++ {
			p.add(cost[j], needs[j])
		}
		s.parts, s.cost = p.list()
	}
	return list
}

// parts are the parts of a stretch of operations that do not depend on each other.
type parts struct {
	from        int
	of          []int     // forest of each operation
	cost        []float64 // of the part whose root it is
	count       int
	most, total float64
}

func (p *parts) reset(from int) { *p = parts{from: from, of: p.of[:0], cost: p.cost[:0]} }

func (p *parts) root(i int) int {
	for p.of[i] != i {
		p.of[i] = p.of[p.of[i]]
		i = p.of[i]
	}
	return i
}

// add appends the next operation, which needs others.
func (p *parts) add(cost float64, needs []int) {
	i := len(p.of)
	p.of, p.cost = append(p.of, i), append(p.cost, cost)
	p.count++
	p.total += cost
	for _, k := range needs {
		if k < p.from {
			continue
		}
		if r := p.root(k - p.from); r != i {
			p.of[r] = i
			p.cost[i] += p.cost[r]
			p.count--
		}
	}
	p.most = max(p.most, p.cost[i])
}

// list is the positions and the cost of each part, the costliest first.
func (p *parts) list() (positions [][]int, cost []float64) {
	var roots []int
	of := map[int][]int{}
	for i := range p.of {
		r := p.root(i)
		if of[r] == nil {
			roots = append(roots, r)
		}
		of[r] = append(of[r], p.from+i)
	}
	slices.SortStableFunc(roots, func(a, b int) int { return cmp.Compare(p.cost[b], p.cost[a]) })
	for _, r := range roots {
		positions, cost = append(positions, of[r]), append(cost, p.cost[r])
	}
	return positions, cost
}

// fillLanes puts the parts of each stage into at most count lanes: each part where there is least so far.
func fillLanes(list []stage, count int) {
	for k := range list {
		s := &list[k]
		s.lanes = make([][]int, min(count, len(s.parts)))
		cost := make([]float64, len(s.lanes))
		for i, part := range s.parts {
			least := slices.Index(cost, slices.Min(cost))
			s.lanes[least] = append(s.lanes[least], part...)
			cost[least] += s.cost[i]
		}
		for _, lane := range s.lanes {
			slices.Sort(lane)
		}
	}
}

// A timeline says when a position of the order runs.
type timeline struct {
	until []int // the last position of what runs at the same time
	lane  []int // number among all lanes, or -1
}

func timelineOf(n int, list []stage) timeline {
	t := timeline{make([]int, n), make([]int, n)}
	for i := range n {
		t.until[i], t.lane[i] = i, -1
	}
	lanes := 0
	for _, s := range list {
		for _, lane := range s.lanes {
			for _, i := range lane {
				t.until[i], t.lane[i] = s.to-1, lanes
			}
			lanes++
		}
	}
	return t
}

// shared are the values that several lanes of one stage are the last to read.
func (t timeline) shared(order []*operation, b lives) map[*value]bool {
	shared := map[*value]bool{}
	for i, o := range order {
		for _, x := range o.in {
			if last := b.last[x.v]; last < len(order) && t.until[i] == t.until[last] && t.lane[i] != t.lane[last] {
				shared[x.v] = true
			}
		}
	}
	return shared
}

// A stageTask is a stage of a program. It is a kernel.Task: piece i is lane i.
type stageTask struct {
	p        *Program
	from, to int
	lanes    [][]int
	failed   []failure // by lane
}

// A failure is the error of an instruction.
type failure struct {
	at  int
	err error
}

// Run does one lane, up to its first error.
func (s *stageTask) Run(_, lane int) {
	for _, i := range s.lanes[lane] {
		in := &s.p.instructions[i]
		if err := in.kernel(in.out, in.in); err != nil {
			s.failed[lane] = failure{i, err}
			return
		}
	}
}

// run does all lanes. Its error is the one that the instructions one after the other would have met first.
func (s *stageTask) run() error {
	kernel.Parallel(s, len(s.lanes))
	var first failure
	for i, f := range s.failed {
		if f.err != nil && (first.err == nil || f.at < first.at) {
			first = f
		}
		s.failed[i] = failure{}
	}
	if first.err != nil {
		return s.p.failed(&s.p.instructions[first.at], first.err)
	}
	return nil
}
