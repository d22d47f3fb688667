package graph

import "github.com/harpe-ml/harpe/graph/internal/kernel"

// Loops over broadcast operands. The axes of the result are collapsed: neighbouring axes along which every operand
// either advances contiguously or stays put become one, so that most cases are one or two loops.

// A walk visits the elements of a result with its operands: outer axes by an odometer, the innermost one by a loop in
// which operand k advances by inner[k], 0 or 1.
type walk struct {
	sizes   []int   // outer axes
	strides [][]int // of each operand along the outer axes
	n       int     // innermost length
	inner   []int
	index   []int // odometer
	offsets []int // of each operand
}

// newWalk plans the visit of a result of the given shape with operands that broadcast to it.
func newWalk(shape []int, operands ...[]int) *walk {
	// Strides of each operand over the result's axes, 0 where it is broadcast.
	full := make([][]int, len(operands))
	for k, s := range operands {
		st := make([]int, len(shape))
		step := 1
		for i := len(s) - 1; i >= 0; i-- {
			if s[i] != 1 {
				st[len(shape)-len(s)+i] = step
			}
			step *= s[i]
		}
		full[k] = st
	}
	// Collapse from the innermost axis outwards.
	var sizes []int
	strides := make([][]int, len(operands))
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] == 1 {
			continue
		}
		if last := len(sizes) - 1; last >= 0 {
			merge := true
			for k := range full {
				merge = merge && full[k][i] == strides[k][last]*sizes[last]
			}
			if merge {
				sizes[last] *= shape[i]
				continue
			}
		}
		sizes = append(sizes, shape[i])
		for k := range full {
			strides[k] = append(strides[k], full[k][i])
		}
	}
	w := &walk{n: 1, inner: make([]int, len(operands)), offsets: make([]int, len(operands))}
	if len(sizes) > 0 {
		w.n, w.sizes = sizes[0], sizes[1:]
		for k := range strides {
			w.inner[k], strides[k] = strides[k][0], strides[k][1:]
		}
	}
	w.strides, w.index = strides, make([]int, len(w.sizes))
	return w
}

// next moves the offsets to the next run of n elements; false after the last, when everything is back at 0.
func (w *walk) next() bool {
	for i := range w.sizes {
		w.index[i]++
		for k := range w.offsets {
			w.offsets[k] += w.strides[k][i]
		}
		if w.index[i] < w.sizes[i] {
			return true
		}
		for k := range w.offsets {
			w.offsets[k] -= w.strides[k][i] * w.sizes[i]
		}
		w.index[i] = 0
	}
	return false
}

// seek moves the offsets to run number i.
func (w *walk) seek(i int) {
	clear(w.offsets)
	for a, size := range w.sizes {
		w.index[a] = i % size
		i /= size
		for k := range w.offsets {
			w.offsets[k] += w.strides[k][a] * w.index[a]
		}
	}
}

// piece is the number of elements that one task computes; an array below it is the work of one goroutine.
const piece = 1 << 15

func pieces(n int) int { return (n + piece - 1) / piece }

// A walkTask visits the runs of a walk in tasks: several short runs, or a part of a long one.
type walkTask struct {
	runs  int     // runs in all
	each  int     // runs of a task, or 0: each run is cut
	walks []*walk // one of each task
	do    func(at, n int, offsets []int)
}

// newWalkTask plans the visit of a result of the given shape. do computes elements at to at+n-1 of the result, a part
// of one run, from elements of operand k that start at offsets[k] and advance by inner[k]; a task visits in order.
func newWalkTask(shape []int, operands ...[]int) (t *walkTask, inner []int) {
	w := newWalk(shape, operands...)
	size := sizeOf(shape)
	if size == 0 {
		return &walkTask{}, w.inner
	}
	t = &walkTask{runs: size / w.n, each: piece / w.n}
	tasks := t.runs * pieces(w.n)
	if t.each > 0 {
		tasks = (t.runs + t.each - 1) / t.each
	}
	for range tasks {
		own := *w
		own.index, own.offsets = make([]int, len(w.index)), make([]int, len(w.offsets))
		t.walks = append(t.walks, &own)
	}
	return t, w.inner
}

// Run does task i.
func (t *walkTask) Run(_, i int) {
	w := t.walks[i]
	if t.each == 0 {
		cuts := pieces(w.n)
		run, from := i/cuts, i%cuts*piece
		w.seek(run)
		for k, step := range w.inner {
			w.offsets[k] += step * from
		}
		t.do(run*w.n+from, min(piece, w.n-from), w.offsets)
		return
	}
	w.seek(i * t.each)
	for run := i * t.each; run < min((i+1)*t.each, t.runs); run++ {
		t.do(run*w.n, w.n, w.offsets)
		w.next()
	}
}

func (t *walkTask) run() { kernel.Parallel(t, len(t.walks)) }

type unaryTask[T Float] struct {
	loop   func(out, x []T)
	out, x []T
}

// Run does task i.
func (t *unaryTask[T]) Run(_, i int) {
	to := min((i+1)*piece, len(t.out))
	t.loop(t.out[i*piece:to], t.x[i*piece:to])
}

func unaryKernel[T Float](loop func(out, x []T)) Kernel {
	t := &unaryTask[T]{loop: loop}
	return func(out *Array, in []*Array) error {
		t.out, t.x = Data[T](out), Data[T](in[0])
		kernel.Parallel(t, pieces(len(t.out)))
		return nil
	}
}

// unaryLoop is the loop of the op called name: the vector kernel if there is one, else f element by element.
func unaryLoop[T Float](name string, f func(float64) float64) func(out, x []T) {
	if loop, ok := any(kernel.Unary32(name)).(func(out, x []T)); ok && loop != nil {
		return loop
	}
	return func(out, x []T) {
		for i, v := range x[:len(out)] {
			out[i] = T(f(float64(v)))
		}
	}
}

// A loop2 computes out[i] = f(a[i*sa], b[i*sb]) with sa, sb in {0, 1}.
type loop2[T Float] = func(out, a, b []T, sa, sb int)

func binaryKernel[T Float](out Type, in []Type, loop loop2[T]) Kernel {
	t, inner := newWalkTask(out.Shape, in[0].Shape, in[1].Shape)
	var o, a, b []T
	t.do = func(at, n int, offsets []int) {
		loop(o[at:at+n], a[offsets[0]:], b[offsets[1]:], inner[0], inner[1])
	}
	return func(out *Array, in []*Array) error {
		o, a, b = Data[T](out), Data[T](in[0]), Data[T](in[1])
		t.run()
		return nil
	}
}

// binaryLoop is the loop of the op called name: the vector kernel if there is one, else its own for the most used, else
// f element by element.
func binaryLoop[T Float](name string, f func(a, b float64) float64) loop2[T] {
	if loop, ok := any(kernel.Binary32(name)).(loop2[T]); ok && loop != nil {
		return loop
	}
	switch name {
	case "add":
		return func(out, a, b []T, sa, sb int) {
			for i := range out {
				out[i] = a[i*sa] + b[i*sb]
			}
		}
	case "sub":
		return func(out, a, b []T, sa, sb int) {
			for i := range out {
				out[i] = a[i*sa] - b[i*sb]
			}
		}
	case "mul":
		return func(out, a, b []T, sa, sb int) {
			for i := range out {
				out[i] = a[i*sa] * b[i*sb]
			}
		}
	}
	return func(out, a, b []T, sa, sb int) {
		for i := range out {
			out[i] = T(f(float64(a[i*sa]), float64(b[i*sb])))
		}
	}
}

// whereKernel picks a where the condition is not 0 and b elsewhere.
func whereKernel[C Float, T float32 | float64 | int](out Type, in []Type) Kernel {
	t, inner := newWalkTask(out.Shape, in[0].Shape, in[1].Shape, in[2].Shape)
	loop := whereLoop[C, T]
	if fast, ok := any(where32).(func(out []T, c []C, a, b []T, sc, sa, sb int)); ok {
		loop = fast
	}
	var o, a, b []T
	var c []C
	t.do = func(at, n int, offsets []int) {
		loop(o[at:at+n], c[offsets[0]:], a[offsets[1]:], b[offsets[2]:], inner[0], inner[1], inner[2])
	}
	return func(out *Array, in []*Array) error {
		o, c, a, b = Data[T](out), Data[C](in[0]), Data[T](in[1]), Data[T](in[2])
		t.run()
		return nil
	}
}

func where32(out, c, a, b []float32, sc, sa, sb int) {
	if sc == 1 {
		kernel.Where32(out, c, a, b, sa, sb)
	} else {
		whereLoop(out, c, a, b, sc, sa, sb)
	}
}

func whereLoop[C Float, T float32 | float64 | int](out []T, c []C, a, b []T, sc, sa, sb int) {
	for i := range out {
		if c[i*sc] != 0 {
			out[i] = a[i*sa]
		} else {
			out[i] = b[i*sb]
		}
	}
}
