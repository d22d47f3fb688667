package rules

import (
	"fmt"
	"math"
	"runtime"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/compute"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Forward gradients without gradients in memory: a direction is drawn once for the forward pass, where a layer's part
// is dropped as soon as it has been used, and again, piece by piece, when the optimiser moves along it.

// redraws says whether a rule's directions can be drawn again in pieces.
func (r ForwardGradient) redraws() bool {
	return r.Perturbation == Gaussian || r.Perturbation == Rademacher || r.Perturbation == RankOne
}

// redrawn moves parameters along directions that it draws again.
type redrawn[T graph.Float] struct {
	share   float64 // the probability of the step
	rule    optim.Optimizer
	options optim.Options
	stepper *optim.Stepper
	fill    func(s graph.Stream, step uint64, first int, dst []T)
	params  []*graph.Param
	tangent [][]tangentOf[T] // of each parameter, for each direction
	parts   []redrawnPart
	outer   bool // matrices move without an estimate being written down
	buffers *redrawnBuffers[T]

	// The step at hand.
	step    uint64
	slopes  []T
	lr      float64
	scale   float64
	squares []float64 // of each part's estimate
}

// tangentOf is a parameter's part of a direction: its own stream, or the two factors of a matrix of rank one.
type tangentOf[T graph.Float] struct {
	stream, left, right graph.Stream
	p, q                []T
}

// redrawnPart is a piece of a parameter.
type redrawnPart struct {
	param, lo, hi int
	update        optim.Update
}

// redrawnBuffers is what workers draw and estimate into.
type redrawnBuffers[T graph.Float] struct {
	size int // numbers of the largest piece that needs it
	of   []redrawnBuffer[T]
}

type redrawnBuffer[T graph.Float] struct {
	z, g []T
	grad *graph.Array // g
}

const redrawnPiece = 8192

func newRedrawn[T graph.Float](r ForwardGradient, part stepPart, stepper *optim.Stepper, seed uint64, buffers *redrawnBuffers[T]) *redrawn[T] {
	params := part.params
	d := &redrawn[T]{share: part.share, buffers: buffers, rule: r.Optimizer, options: r.Options, stepper: stepper, params: params, fill: graph.FillRademacher[T]}
	if r.Perturbation == Gaussian {
		d.fill = graph.FillNormal[T]
	}
	_, narrow := any(d).(*redrawn[float32])
	sgd, plain := r.Optimizer.(optim.SGD)
	d.outer = narrow && plain && sgd.Momentum == 0 && sgd.WeightDecay == 0 && r.Tangents <= 1 && r.Options.Clip == optim.Clip{} &&
		compute.SGD(nil, nil, 0, 0, 0) // on machines that have the instructions
	for j, q := range params {
		list := make([]tangentOf[T], max(r.Tangents, 1))
		for k := range list {
			name := tangentName(k, q.Name)
			list[k].stream = graph.NewStream(seed, name)
			if r.Perturbation == RankOne && len(q.Value.Shape) > 1 {
				list[k].left, list[k].right = graph.NewStream(seed, name+"/p"), graph.NewStream(seed, name+"/q")
				list[k].p, list[k].q = make([]T, q.Value.Shape[0]), make([]T, q.Value.Size()/q.Value.Shape[0])
			}
		}
		d.tangent = append(d.tangent, list)
		if !d.outer || list[0].p == nil {
			buffers.size = max(buffers.size, min(q.Value.Size(), redrawnPiece))
		}
		whole := []*graph.Array{q.Value}
		for _, s := range r.Optimizer.Slots() {
			whole = append(whole, stepper.State().Get("optim/"+q.Name+"/"+s.Name).Value)
		}
		for lo, n := 0, q.Value.Size(); lo < n; lo += redrawnPiece {
			hi := min(lo+redrawnPiece, n)
			part := redrawnPart{param: j, lo: lo, hi: hi, update: optim.Update{Hi: hi - lo}}
			part.update.Value = arrayOf(graph.Data[T](q.Value)[lo:hi])
			for _, a := range whole[1:] {
				part.update.Slots = append(part.update.Slots, arrayOf(graph.Data[T](a)[lo:hi]))
			}
			d.parts = append(d.parts, part)
		}
	}
	d.squares = make([]float64, len(d.parts))
	d.slopes = make([]T, max(r.Tangents, 1))
	return d
}

// tangentName is the stream of direction k of a parameter.
func tangentName(k int, param string) string { return fmt.Sprintf("tangent/%d/%s", k, param) }

// update makes a step of the optimiser along the mean of slope·v.
func (d *redrawn[T]) update(slopes []*graph.Array, step int) error {
	d.step, d.lr, d.scale = uint64(step), d.stepper.LR(), 1
	if !(d.lr >= 0) || math.IsInf(d.lr, 1) {
		return graph.Fail(d.rule.Name()+" step", "learning rate", "a finite number of at least 0", d.lr)
	}
	for k, s := range slopes {
		d.slopes[k] = T(s.Scalar() / (d.share * float64(len(slopes))))
	}
	for len(d.buffers.of) < runtime.GOMAXPROCS(0) {
		b := redrawnBuffer[T]{z: make([]T, d.buffers.size), g: make([]T, d.buffers.size)}
		b.grad = arrayOf(b.g)
		d.buffers.of = append(d.buffers.of, b)
	}
	for _, list := range d.tangent {
		for k := range list {
			if t := &list[k]; t.p != nil {
				graph.FillRademacher(t.left, d.step, 0, t.p)
				graph.FillRademacher(t.right, d.step, 0, t.q)
			}
		}
	}
	if d.options.Clip.Norm > 0 {
		compute.Parallel(redrawnNorm[T]{d}, len(d.parts))
		var sum float64
		for _, v := range d.squares {
			sum += v
		}
		norm := math.Sqrt(sum)
		if norm-norm != 0 {
			return graph.Fail("clip", "all gradients", "a finite norm", norm)
		}
		d.scale = min(1, d.options.Clip.Norm/(norm+1e-6))
	}
	d.stepper.State().Get("optim/step").Value.Ints()[0]++
	compute.Parallel(redrawnStep[T]{d}, len(d.parts))
	return nil
}

// estimate is a part of the mean of slope·v.
func (d *redrawn[T]) estimate(worker int, part *redrawnPart) []T {
	b := &d.buffers.of[worker]
	g := b.g[:part.hi-part.lo]
	clear(g)
	for k := range d.tangent[part.param] {
		t, slope := &d.tangent[part.param][k], d.slopes[k]
		if t.p != nil {
			t.addOuter(g, slope, part.lo)
			continue
		}
		z := b.z[:len(g)]
		d.fill(t.stream, d.step, part.lo, z)
		addTimes(g, slope, z)
	}
	return g
}

// addTimes makes g += c·z, by vector instructions if there are some.
func addTimes[T graph.Float](g []T, c T, z []T) {
	if z, ok := any(z).([]float32); ok && compute.SGD(any(g).([]float32)[:len(z)], z, float32(c), 0, -1) {
		return
	}
	for i := range z {
		g[i] = T(g[i] + T(c*z[i]))
	}
}

// addOuter adds c times entries lo, lo+1, ... of the outer product of p and q to g.
func (t *tangentOf[T]) addOuter(g []T, c T, lo int) {
	row, column := lo/len(t.q), lo%len(t.q)
	for len(g) > 0 {
		q := t.q[column:min(len(t.q), column+len(g))]
		addTimes(g[:len(q)], c*t.p[row], q)
		g, row, column = g[len(q):], row+1, 0
	}
}

type redrawnNorm[T graph.Float] struct{ *redrawn[T] }

// Run sums the squares of part i.
func (d redrawnNorm[T]) Run(worker, i int) {
	var sum float64
	for _, v := range d.estimate(worker, &d.parts[i]) {
		sum += float64(v) * float64(v)
	}
	d.squares[i] = sum
}

type redrawnStep[T graph.Float] struct{ *redrawn[T] }

// Run updates part i.
func (d redrawnStep[T]) Run(worker, i int) {
	part := &d.parts[i]
	if t := &d.tangent[part.param][0]; d.outer && t.p != nil {
		d.descendOuter(part, t)
		return
	}
	g, scale := d.estimate(worker, part), d.scale
	if most := T(d.options.Clip.Value); most > 0 {
		for j, v := range g {
			g[j] = min(max(T(T(scale)*v), -most), most)
		}
		scale = 1
	}
	u := &part.update
	u.Grad, u.Step, u.LR, u.GradScale = d.buffers.of[worker].grad, d.stepper.State().Get("optim/step").Value.Ints()[0], d.lr, scale
	d.rule.Update(u)
}

// descendOuter is Run for plain gradient descent along one direction of rank one: rows of the parameter move along q
// by vector instructions.
func (d redrawnStep[T]) descendOuter(part *redrawnPart, t *tangentOf[T]) {
	p, left, right := part.update.Value.Float32s(), any(t.p).([]float32), any(t.q).([]float32)
	row, column := part.lo/len(right), part.lo%len(right)
	for len(p) > 0 {
		q := right[column:min(len(right), column+len(p))]
		compute.SGD(p[:len(q)], q, float32(d.slopes[0])*left[row], 0, float32(d.lr))
		p, row, column = p[len(q):], row+1, 0
	}
}
