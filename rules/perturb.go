package rules

import (
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Perturbing parameters in place. A direction z is a function of (seed, parameter name, key), drawn again in pieces of
// a few kilobytes whenever it is added or averaged, and so never stored. Every product and sum below is rounded by a
// conversion, so no compiler fuses two of them and parameters move by the same bits on every machine.

// Mask says which of a tensor's entries a sparse perturbation leaves alone. The choice is a function of the seed and
// the same in all steps: the others train, these keep their values.
type Mask int

const (
	ExactShare      Mask = iota // Sparsity·size of them, rounded
	NormalThreshold             // those whose own standard normal draw is below Sparsity, a share of Φ(Sparsity)
)

const (
	block = 1024      // numbers drawn together
	piece = 8 * block // numbers one task goes through
)

// A perturber moves parameters along directions and lets an optimiser use their mean.
type perturber interface {
	// move adds by·z of the key to the parameters.
	move(key uint64, by float64)
	// descend first makes a move, and then a step of the optimiser along the mean of slope·z over the keys; in one pass
	// if the move is along one of them.
	descend(first shift, keys []uint64, slopes []float64) error
}

// A shift is a move to be made; along nothing if by is 0.
type shift struct {
	key uint64
	by  float64
}

// directed is a perturber of parameters of type T.
type directed[T graph.Float] struct {
	params  []*graph.Param
	streams []graph.Stream
	fill    func(s graph.Stream, key uint64, first int, z []T)
	mask    mask

	stepper *optim.Stepper // owner of the state
	steps   []int          // the one element of the stepper's count
	rule    optim.Optimizer
	clip    optim.Clip
	updates [][]optim.Update // of each parameter's blocks; nil for plain SGD
	keep    T                // of the average of directions; 0 for none
	average []*graph.Array

	buffers []buffer[T]

	// The task at hand.
	tensor       int
	key          uint64
	by           T // 0 in descend if there is nothing to move
	keys         []uint64
	slopes       []T
	squares      []float64 // of each piece's estimate, for clipping
	decay        T
	rate, factor float64
}

// buffer is what one worker draws into.
type buffer[T graph.Float] struct {
	z, g, m []T
	grad    *graph.Array // g
}

// newPerturber prepares the perturbation of params; stepper was made for them with the optimiser and the options.
func newPerturber(p Probing, params []*graph.Param, stepper *optim.Stepper, seed uint64) (perturber, error) {
	if len(params) > 0 && params[0].Value.DType == graph.Float64 {
		return newDirected[float64](p, params, stepper, seed)
	}
	return newDirected[float32](p, params, stepper, seed)
}

func newDirected[T graph.Float](p Probing, params []*graph.Param, stepper *optim.Stepper, seed uint64) (perturber, error) {
	d := &directed[T]{params: params, stepper: stepper, rule: p.Optimizer, clip: p.Options.Clip, keep: T(p.History)}
	d.steps = stepper.State().Get("optim/step").Value.Ints()
	switch p.Perturbation {
	case Gaussian:
		d.fill = graph.FillNormal[T]
	case Rademacher:
		d.fill = graph.FillRademacher[T]
	default:
		return nil, graph.Fail(p.Name, "Perturbation", "Gaussian or Rademacher", p.Perturbation)
	}
	switch {
	case !(p.Sparsity >= 0 && p.Sparsity < 1):
		return nil, graph.Fail(p.Name, "Sparsity", "a share in [0, 1)", p.Sparsity)
	case p.Mask != ExactShare && p.Mask != NormalThreshold:
		return nil, graph.Fail(p.Name, "Mask", "ExactShare or NormalThreshold", p.Mask)
	case !(p.History >= 0 && p.History < 1):
		return nil, graph.Fail(p.Name, "History", "a share in [0, 1)", p.History)
	case p.History > 0 && d.clip.Norm > 0:
		return nil, graph.Fail(p.Name, "Clip.Norm", "none together with History", d.clip.Norm)
	}
	d.mask = newMask(p, params, seed)
	for _, q := range params {
		d.streams = append(d.streams, graph.NewStream(seed, "perturb/"+q.Name))
		if d.keep == 0 {
			continue
		}
		h := &graph.Param{Name: "perturb/" + q.Name + "/average", Value: graph.NewArray(q.Value.DType, q.Value.Shape...), State: true}
		if err := stepper.State().Add(h); err != nil {
			return nil, err
		}
		d.average = append(d.average, h.Value)
	}
	if sgd, ok := p.Optimizer.(optim.SGD); ok && len(sgd.Slots()) == 0 {
		if sgd.WeightDecay != optim.Zero {
			d.decay = T(sgd.WeightDecay)
		}
		return d, nil
	}
	d.prepare()
	return d, nil
}

// prepare makes the optimiser's updates, one a block.
func (d *directed[T]) prepare() {
	for _, q := range d.params {
		whole := []*graph.Array{q.Value}
		for _, s := range d.rule.Slots() {
			whole = append(whole, d.stepper.State().Get("optim/"+q.Name+"/"+s.Name).Value)
		}
		var list []optim.Update
		for lo, n := 0, q.Value.Size(); lo < n; lo += block {
			hi := min(lo+block, n)
			parts := make([]*graph.Array, len(whole))
			for i, a := range whole {
				parts[i] = arrayOf(graph.Data[T](a)[lo:hi])
			}
			list = append(list, optim.Update{Value: parts[0], Slots: parts[1:], Hi: hi - lo})
		}
		d.updates = append(d.updates, list)
	}
}

func arrayOf[T graph.Float](data []T) *graph.Array {
	switch v := any(data).(type) {
	case []float32:
		return graph.ArrayOf(v, len(v))
	default:
		return graph.ArrayOf(v.([]float64), len(data))
	}
}

// ready makes a buffer for every worker there may be.
func (d *directed[T]) ready() {
	for len(d.buffers) < runtime.GOMAXPROCS(0) {
		b := buffer[T]{z: make([]T, block), g: make([]T, block)}
		b.grad = arrayOf(b.g)
		if d.mask.kind == NormalThreshold && d.mask.share > 0 {
			b.m = make([]T, block)
		}
		d.buffers = append(d.buffers, b)
	}
}

// each does a task on the pieces of every tensor.
func (d *directed[T]) each(t compute.Task) {
	d.ready()
	for d.tensor = range d.params {
		compute.Parallel(t, (d.params[d.tensor].Value.Size()+piece-1)/piece)
	}
}

// draw gives entries lo to hi-1 of the direction of a key in the present tensor.
func (d *directed[T]) draw(b *buffer[T], key uint64, lo, hi int) []T {
	z := b.z[:hi-lo]
	d.fill(d.streams[d.tensor], key, lo, z)
	if d.mask.share == 0 {
		return z
	}
	if d.mask.kind == NormalThreshold {
		m := b.m[:len(z)]
		graph.FillNormal(d.mask.streams[d.tensor], 0, lo, m)
		for i, v := range m {
			if float64(v) < d.mask.share {
				z[i] = 0
			}
		}
		return z
	}
	for i := range z {
		if d.mask.tensors[d.tensor].holds(uint64(lo + i)) {
			z[i] = 0
		}
	}
	return z
}

func (d *directed[T]) move(key uint64, by float64) {
	d.key, d.by = key, T(by)
	d.each(moving[T]{d})
}

type moving[T graph.Float] struct{ *directed[T] }

// Run moves piece i of the present tensor.
func (d moving[T]) Run(worker, i int) {
	p := graph.Data[T](d.params[d.tensor].Value)
	for lo, end := i*piece, min((i+1)*piece, len(p)); lo < end; lo += block {
		hi := min(lo+block, end)
		z, part := d.draw(&d.buffers[worker], d.key, lo, hi), p[lo:hi]
		for j, v := range z[:len(part)] {
			part[j] = T(part[j] + T(d.by*v))
		}
	}
}

func (d *directed[T]) descend(first shift, keys []uint64, slopes []float64) error {
	d.rate = d.stepper.LR()
	bad := !(d.rate >= 0) || math.IsInf(d.rate, 1)
	if first.by != 0 && (bad || d.clip.Norm > 0 || !slices.Contains(keys, first.key)) {
		d.move(first.key, first.by)
		first.by = 0 // done
	}
	if bad {
		return graph.Fail(d.rule.Name()+" step", "learning rate", "a finite number of at least 0", d.rate)
	}
	d.key, d.by = first.key, T(first.by)
	d.keys, d.slopes = keys, d.slopes[:0]
	for _, v := range slopes {
		d.slopes = append(d.slopes, T(v/float64(len(slopes))))
	}
	d.factor = 1
	if d.clip.Norm > 0 {
		norm := d.norm()
		if math.IsNaN(norm) || math.IsInf(norm, 0) {
			return graph.Fail("clip", "all gradients", "a finite norm", norm)
		}
		d.factor = min(1, d.clip.Norm/(norm+1e-6))
	}
	d.steps[0]++
	d.each(stepping[T]{d})
	return nil
}

// norm is the Euclidean norm of the estimate.
func (d *directed[T]) norm() float64 {
	d.ready()
	var sum float64
	for d.tensor = range d.params {
		n := (d.params[d.tensor].Value.Size() + piece - 1) / piece
		for len(d.squares) < n {
			d.squares = append(d.squares, 0)
		}
		compute.Parallel(squaring[T]{d}, n)
		for _, v := range d.squares[:n] {
			sum += v
		}
	}
	return math.Sqrt(sum)
}

type squaring[T graph.Float] struct{ *directed[T] }

// Run sums the squares of piece i of the present tensor's estimate.
func (d squaring[T]) Run(worker, i int) {
	size := d.params[d.tensor].Value.Size()
	var sum float64
	for lo, end := i*piece, min((i+1)*piece, size); lo < end; lo += block {
		for _, v := range d.estimate(&d.buffers[worker], lo, min(lo+block, end), nil) {
			sum += float64(v) * float64(v)
		}
	}
	d.squares[i] = sum
}

// estimate is entries lo to hi-1 of the mean of slope·z in the present tensor. It moves the average of directions, and
// part, which is those entries of the parameters, if they are still to be moved.
func (d *directed[T]) estimate(b *buffer[T], lo, hi int, part []T) []T {
	g := b.g[:hi-lo]
	clear(g)
	for k, key := range d.keys {
		z, slope := d.draw(b, key, lo, hi)[:len(g)], d.slopes[k]
		if d.by != 0 && key == d.key {
			for i, v := range z[:len(part)] {
				part[i] = T(part[i] + T(d.by*v))
			}
		}
		if d.keep != 0 {
			h, keep := graph.Data[T](d.average[d.tensor])[lo:hi], d.keep
			if k == 0 && d.steps[0] == 1 {
				keep = 0 // the average begins with the first direction
			}
			for i, v := range z {
				h[i] = T(T(keep*h[i]) + T((1-keep)*v))
			}
			z = h
		}
		for i, v := range z {
			g[i] = T(g[i] + T(slope*v))
		}
	}
	return g
}

type stepping[T graph.Float] struct{ *directed[T] }

// Run updates piece i of the present tensor.
func (d stepping[T]) Run(worker, i int) {
	b := &d.buffers[worker]
	p := graph.Data[T](d.params[d.tensor].Value)
	for lo, end := i*piece, min((i+1)*piece, len(p)); lo < end; lo += block {
		hi := min(lo+block, end)
		part := p[lo:hi]
		g, factor := d.estimate(b, lo, hi, part), d.factor
		if most := T(d.clip.Value); most > 0 {
			for i, v := range g {
				g[i] = min(max(T(T(factor)*v), -most), most)
			}
			factor = 1
		}
		if d.updates == nil {
			scale, lr := T(factor), T(d.rate)
			for j, v := range g[:len(part)] {
				part[j] = T(part[j] - T(lr*T(T(scale*v)+T(d.decay*part[j]))))
			}
			continue
		}
		u := &d.updates[d.tensor][lo/block]
		u.Grad, u.Step, u.LR, u.GradScale = b.grad, d.steps[0], d.rate, factor
		d.rule.Update(u)
	}
}

// mask is which entries of the parameters do not move.
type mask struct {
	kind    Mask
	share   float64
	streams []graph.Stream // of NormalThreshold
	tensors []exactMask
}

func newMask(p Probing, params []*graph.Param, seed uint64) mask {
	m := mask{kind: p.Mask, share: p.Sparsity}
	for _, q := range params {
		name := "perturb/mask/" + q.Name
		r, n := graph.Rand(seed, name, 0), uint64(q.Value.Size())
		e := exactMask{n: n, held: uint64(math.Round(m.share * float64(n))), bits: bits.Len64(n - 1)}
		for i := range e.factor {
			e.factor[i], e.offset[i] = r.Uint64()|1, r.Uint64()
		}
		m.tensors, m.streams = append(m.tensors, e), append(m.streams, graph.NewStream(seed, name))
	}
	return m
}

// exactMask holds exactly held of n entries: those that a pseudo-random permutation of 0..n-1 puts first. The
// permutation is computed for one entry at a time: a bijection of the next power of two, repeated until it hits n (J.
// Black, P. Rogaway 2002, "Ciphers with arbitrary finite domains").
type exactMask struct {
	n, held        uint64
	bits           int
	factor, offset [3]uint64
}

func (e *exactMask) holds(i uint64) bool {
	domain := uint64(1)<<e.bits - 1
	for {
		for r := range e.factor {
			i = (i*e.factor[r] + e.offset[r]) & domain
			i ^= i >> ((e.bits + 1) / 2)
		}
		if i < e.n {
			return i < e.held
		}
	}
}

// String names the mask.
func (m Mask) String() string {
	switch m {
	case ExactShare:
		return "ExactShare"
	case NormalThreshold:
		return "NormalThreshold"
	}
	return fmt.Sprintf("Mask(%d)", int(m))
}
