package graph

import (
	"fmt"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Primitives that reduce axes. Without axes they reduce all of them; negative axes count from the end. The reduced
// axes disappear from the shape. Sums are formed in a fixed order with float64 accumulators.

// Sum adds over the axes.
func Sum(x *Node, axes ...int) *Node { return reduce("sum", x, axes, sumOp) }

// Mean is the arithmetic mean over the axes; NaN over nothing.
func Mean(x *Node, axes ...int) *Node {
	n := 1
	for _, a := range axesOf("mean", x, axes) {
		n *= ShapeOf(x)[a]
	}
	return Scale(Sum(x, axes...), 1/float64(n))
}

// Prod multiplies over the axes. Its derivative is right also where factors are 0.
func Prod(x *Node, axes ...int) *Node { return reduce("prod", x, axes, prodOp) }

// Max is the largest element over the axes, NaN if there is one; equal maxima share the derivative equally. Over
// nothing it is -Inf.
func Max(x *Node, axes ...int) *Node { return reduce("max", x, axes, maxOp) }

// Min is the smallest element, otherwise as Max.
func Min(x *Node, axes ...int) *Node { return Neg(Max(Neg(x), axes...)) }

// LogSumExp is log(sum(exp(x))) over the axes, without overflow; -Inf over nothing.
func LogSumExp(x *Node, axes ...int) *Node { return reduce("logsumexp", x, axes, logSumExpOp) }

// KeepDims puts the axes that a reduction of a node of the given shape removed back, with size 1.
func KeepDims(y *Node, shape []int, axes ...int) *Node {
	s := slices.Clone(shape)
	if len(axes) == 0 {
		for i := range s {
			s[i] = 1
		}
	}
	for _, a := range axes {
		i := a
		if i < 0 {
			i += len(s)
		}
		if i < 0 || i >= len(s) {
			panic(fail("keep_dims", "axis", fmt.Sprintf("-%d to %d", len(s), len(s)-1), a))
		}
		s[i] = 1
	}
	return Reshape(y, s...)
}

func reduce(name string, x *Node, axes []int, op func(axes []int) *Primitive) *Node {
	axes = axesOf(name, x, axes)
	if len(axes) == 0 && len(ShapeOf(x)) > 0 {
		return x
	}
	return Apply(op(axes), x)
}

// axesOf checks axes and returns them sorted and counted from the front; none means all.
func axesOf(op string, x *Node, axes []int) []int {
	n := len(ShapeOf(x))
	var all []int
	if len(axes) == 0 {
		for i := range n {
			all = append(all, i)
		}
		return all
	}
	for _, a := range axes {
		a = axisOf(op, x, a)
		if slices.Contains(all, a) {
			panic(fail(op, "axes", "different axes", axes))
		}
		all = append(all, a)
	}
	slices.Sort(all)
	return all
}

// A reducer reduces runs of n elements a stride apart that start at offsets of x, all together; n is 0 for nothing.
type reducer[T Float] = func(x []T, offsets []int, n, stride int) float64

// reduction makes the primitive called name over axes. join combines the values of two parts; columns is
// the kernel for float32 where the innermost axis stays, or nil.
func reduction(name string, axes []int, f32 reducer[float32], f64 reducer[float64], join func(a, b float64) float64,
	columns func(reducedAxes) Kernel) *Primitive {
	return &Primitive{
		Name:  name,
		Attrs: axes,
		Type: func(in []Type) (Type, error) {
			var shape []int
			for i, d := range in[0].Shape {
				if !slices.Contains(axes, i) {
					shape = append(shape, d)
				}
			}
			return Type{in[0].DType, shape}, needFloat(name, in)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			r := newReducedAxes(in[0].Shape, axes)
			switch {
			case out.DType == Float64:
				return reduceKernel(r, f64, join), nil
			case columns != nil && r.outer():
				return columns(r), nil
			}
			return reduceKernel(r, f32, join), nil
		},
		Flops: func(_ Type, in []Type) int { return in[0].Size() },
	}
}

// reducedAxes is the memory layout of a reduction, neighbouring axes joined.
type reducedAxes struct {
	sizes, strides    []int // kept axes, outermost first
	results, elements int   // kept positions; reduced ones of each
	offsets           []int // of the reduced axes but the innermost one
	n, stride         int   // the innermost reduced axis
}

func newReducedAxes(shape, axes []int) reducedAxes {
	st := contiguous(shape)
	var r reducedAxes
	var sizes, strides []int // reduced axes
	for i, d := range shape {
		if d == 1 {
			continue
		}
		a, b := &r.sizes, &r.strides
		if slices.Contains(axes, i) {
			a, b = &sizes, &strides
		}
		if last := len(*a) - 1; last >= 0 && (*b)[last] == d*st[i] {
			(*a)[last] *= d
			(*b)[last] = st[i]
			continue
		}
		*a, *b = append(*a, d), append(*b, st[i])
	}
	r.results, r.elements = sizeOf(r.sizes), sizeOf(sizes)
	r.offsets, r.n, r.stride = []int{0}, 1, 1
	if r.elements == 0 {
		r.n = 0
		return r
	}
	if last := len(sizes) - 1; last >= 0 {
		r.n, r.stride = sizes[last], strides[last]
		for a, size := range sizes[:last] {
			longer := make([]int, 0, len(r.offsets)*size)
			for _, o := range r.offsets {
				for i := range size {
					longer = append(longer, o+i*strides[a])
				}
			}
			r.offsets = longer
		}
	}
	return r
}

// outer says whether the innermost axis stays.
func (r *reducedAxes) outer() bool {
	last := len(r.sizes) - 1
	return r.results > 0 && r.elements > 0 && last >= 0 && r.strides[last] == 1
}

// at is where the elements of result i start.
func (r *reducedAxes) at(i int) int {
	offset := 0
	for a := len(r.sizes) - 1; a > 0; a-- {
		offset += i % r.sizes[a] * r.strides[a]
		i /= r.sizes[a]
	}
	if len(r.sizes) > 0 {
		offset += i * r.strides[0]
	}
	return offset
}

// A reduceTask computes several results in each task, or cuts each result into parts, which are joined in order.
type reduceTask[T Float] struct {
	reducedAxes
	f      reducer[T]
	each   int       // results of a task
	cuts   int       // parts of a result, if more than 1
	runs   int       // whole runs of a part, or 0: each run is cut
	parts  []float64 // values of all parts
	out, x []T
}

func reduceKernel[T Float](r reducedAxes, f reducer[T], join func(a, b float64) float64) Kernel {
	t := &reduceTask[T]{reducedAxes: r, f: f, each: max(1, piece/max(1, r.elements)), cuts: 1}
	if r.elements >= 2*piece {
		t.runs, t.cuts = piece/r.n, len(r.offsets)*pieces(r.n)
		if t.runs > 0 {
			t.cuts = (len(r.offsets) + t.runs - 1) / t.runs
		}
		t.parts = make([]float64, r.results*t.cuts)
	}
	return func(out *Array, in []*Array) error {
		t.out, t.x = Data[T](out), Data[T](in[0])
		if t.cuts == 1 {
			kernel.Parallel(t, (r.results+t.each-1)/t.each)
			return nil
		}
		kernel.Parallel(t, len(t.parts))
		for i := range t.out {
			v := t.parts[i*t.cuts]
			for _, p := range t.parts[i*t.cuts+1 : (i+1)*t.cuts] {
				v = join(v, p)
			}
			t.out[i] = T(v)
		}
		return nil
	}
}

// Run does task i.
func (t *reduceTask[T]) Run(_, i int) {
	if t.cuts == 1 {
		for j := i * t.each; j < min((i+1)*t.each, t.results); j++ {
			if t.n == 0 {
				t.out[j] = T(t.f(nil, nil, 0, 1))
			} else {
				t.out[j] = T(t.f(t.x[t.at(j):], t.offsets, t.n, t.stride))
			}
		}
		return
	}
	x, part := t.x[t.at(i/t.cuts):], i%t.cuts
	if t.runs > 0 {
		t.parts[i] = t.f(x, t.offsets[part*t.runs:min((part+1)*t.runs, len(t.offsets))], t.n, t.stride)
		return
	}
	run, from := part/pieces(t.n), part%pieces(t.n)*piece
	t.parts[i] = t.f(x[from*t.stride:], t.offsets[run:run+1], min(piece, t.n-from), t.stride)
}

// A columnTask adds rows of kept elements: sums over outer axes in float32. A task takes some rows of some columns; the
// sums of different rows are added in order.
type columnTask struct {
	reducedAxes
	columns int // the innermost kept axis
	rows    int // reduced positions
	width   int // columns of a task
	height  int // rows of a task
	blocks  int // tasks side by side
	cuts    int // tasks below each other
	each    int // outer kept positions of a task, if it takes all rows and columns
	room    int // of the sums of a task
	sums    []float64
	out, x  []float32
}

func columnSums(r reducedAxes) Kernel {
	columns := r.sizes[len(r.sizes)-1]
	t := &columnTask{reducedAxes: r, columns: columns, rows: r.elements, width: min(columns, 512), each: 1}
	t.height = min(t.rows, piece/t.width)
	t.blocks, t.cuts = (columns+t.width-1)/t.width, (t.rows+t.height-1)/t.height
	outer := r.results / columns
	if t.blocks == 1 && t.cuts == 1 {
		t.each = max(1, piece/(t.rows*columns))
	}
	tasks := (outer + t.each - 1) / t.each * t.blocks * t.cuts
	t.room = (t.width + 15) / 16 * 16
	t.sums = make([]float64, tasks*t.room)
	return func(out *Array, in []*Array) error {
		t.out, t.x = out.Float32s(), in[0].Float32s()
		kernel.Parallel(t, tasks)
		if t.cuts > 1 {
			t.join()
		}
		return nil
	}
}

// Run does task i.
func (t *columnTask) Run(_, i int) {
	cut, block, outer := i%t.cuts, i/t.cuts%t.blocks, i/t.cuts/t.blocks*t.each
	sums, column := t.sums[i*t.room:(i+1)*t.room], block*t.width
	width := min(t.width, t.columns-column)
	for o := outer; o < min(outer+t.each, t.results/t.columns); o++ {
		clear(sums)
		x := t.x[t.at(o*t.columns)+column:]
		for row, to := cut*t.height, min((cut+1)*t.height, t.rows); row < to; {
			in := row % t.n
			rows := min(t.n-in, to-row)
			kernel.AddRows32(sums, x[t.offsets[row/t.n]+in*t.stride:], rows, t.stride, width)
			row += rows
		}
		if t.cuts == 1 {
			for j, v := range sums[:width] {
				t.out[o*t.columns+column+j] = float32(v)
			}
		}
	}
}

// join adds the sums of tasks below each other.
func (t *columnTask) join() {
	for i := 0; i < len(t.sums); i += t.cuts * t.room {
		block := i / t.room / t.cuts
		first := t.sums[i : i+t.room]
		for c := 1; c < t.cuts; c++ {
			for j, v := range t.sums[i+c*t.room : i+(c+1)*t.room] {
				first[j] += v
			}
		}
		column := block % t.blocks * t.width
		out := t.out[block/t.blocks*t.columns+column:]
		for j, v := range first[:min(t.width, t.columns-column)] {
			out[j] = float32(v)
		}
	}
}

func sumOp(axes []int) *Primitive {
	p := reduction("sum", axes, sum32, sumRuns[float64], plus64, columnSums)
	p.form = reduceForm{axes: axes}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		s := ShapeOf(x[0])
		return []*Node{broadcastTo(KeepDims(dy, s, axes...), s)}
	}
	p.JVP = linear(func() *Primitive { return sumOp(axes) })
	return p
}

func plus64(a, b float64) float64 { return a + b }

func sum32(x []float32, offsets []int, n, stride int) float64 {
	if stride != 1 {
		return sumRuns(x, offsets, n, stride)
	}
	var s float64
	for _, o := range offsets {
		s += kernel.Sum32(x[o : o+n])
	}
	return s
}

func sumRuns[T Float](x []T, offsets []int, n, stride int) float64 {
	var s float64
	for _, o := range offsets {
		for i := range n {
			s += float64(x[o+i*stride])
		}
	}
	return s
}

func maxOp(axes []int) *Primitive {
	p := reduction("max", axes, max32, maxRuns[float64], maximum, nil)
	p.form = reduceForm{axes: axes, maximum: true}
	weights := func(x, y *Node) *Node {
		s := ShapeOf(x)
		hit := Equal(x, broadcastTo(KeepDims(y, s, axes...), s))
		return Div(hit, broadcastTo(KeepDims(Sum(hit, axes...), s, axes...), s))
	}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		return []*Node{Mul(KeepDims(dy, ShapeOf(x[0]), axes...), weights(x[0], y))}
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node { return Sum(Mul(dx[0], weights(x[0], y)), axes...) }
	return p
}

func max32(x []float32, offsets []int, n, stride int) float64 {
	if stride != 1 {
		return maxRuns(x, offsets, n, stride)
	}
	most := kernel.Max32(nil)
	for _, o := range offsets {
		most = max(most, kernel.Max32(x[o:o+n]))
	}
	return float64(most)
}

func maxRuns[T Float](x []T, offsets []int, n, stride int) float64 {
	most := math.Inf(-1)
	for _, o := range offsets {
		most = max(most, maxRun(x[o:], n, stride))
	}
	return most
}

func maxRun[T Float](x []T, n, stride int) float64 {
	most := T(math.Inf(-1))
	for i := range n {
		most = max(most, x[i*stride])
	}
	return float64(most)
}

func logSumExpOp(axes []int) *Primitive {
	p := reduction("logsumexp", axes, logSumExp32, logSumExpRuns[float64], logAddExp, nil)
	// The weights e^x/sum(e^x) are formed from differences to the maximum: exp(x - y) would lose digits to large x.
	weights := func(x *Node) *Node {
		s := ShapeOf(x)
		m := Detach(Max(x, axes...))
		m = Where(Less(Abs(m), Const(m, math.Inf(1))), m, Const(m, 0))
		e := Exp(Sub(x, KeepDims(m, s, axes...)))
		return Div(e, KeepDims(Sum(e, axes...), s, axes...))
	}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		return []*Node{Mul(KeepDims(dy, ShapeOf(x[0]), axes...), weights(x[0]))}
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node { return Sum(Mul(dx[0], weights(x[0])), axes...) }
	p.Flops = func(_ Type, in []Type) int { return 4 * in[0].Size() }
	return p
}

func logSumExp32(x []float32, offsets []int, n, stride int) float64 {
	if stride != 1 || len(offsets) != 1 {
		return logSumExpRuns(x, offsets, n, stride)
	}
	return kernel.LogSumExp32(x[offsets[0] : offsets[0]+n])
}

func logSumExpRuns[T Float](x []T, offsets []int, n, stride int) float64 {
	m := maxRuns(x, offsets, n, stride)
	if math.IsInf(m, 0) || m != m {
		return m
	}
	var s float64
	for _, o := range offsets {
		for i := range n {
			s += math.Exp(float64(x[o+i*stride]) - m)
		}
	}
	return m + math.Log(s)
}

// Softmax is e^x normalised to sum 1 along an axis.
func Softmax(x *Node, axis int) *Node {
	return Apply(softmaxOp(axisOf("softmax", x, axis)), x)
}

func softmaxOp(axis int) *Primitive {
	d := func(y, t *Node) *Node { return Mul(y, Sub(t, KeepDims(Sum(Mul(y, t), axis), ShapeOf(y), axis))) }
	p := alongAxis("softmax", axis, kernel.Softmax32, softmaxColumns(false), softmaxRun[float32], softmaxRun[float64])
	p.form = softmaxForm{axis, false}
	p.VJP = func(y, dy *Node, x []*Node) []*Node { return []*Node{d(y, dy)} }
	p.JVP = func(y *Node, x, dx []*Node) *Node { return d(y, dx[0]) }
	return p
}

// LogSoftmax is x - logsumexp(x) along an axis, exact also for large x.
func LogSoftmax(x *Node, axis int) *Node {
	return Apply(logSoftmaxOp(axisOf("log_softmax", x, axis)), x)
}

func logSoftmaxOp(axis int) *Primitive {
	sum := func(x *Node) *Node { return KeepDims(Sum(x, axis), ShapeOf(x), axis) }
	p := alongAxis("log_softmax", axis, kernel.LogSoftmax32, softmaxColumns(true), logSoftmaxRun[float32], logSoftmaxRun[float64])
	p.form = softmaxForm{axis, true}
	p.VJP = func(y, dy *Node, x []*Node) []*Node { return []*Node{Sub(dy, Mul(Exp(y), sum(dy)))} }
	p.JVP = func(y *Node, x, dx []*Node) *Node { return Sub(dx[0], sum(Mul(Exp(y), dx[0]))) }
	return p
}

// alongAxis makes the primitive called name that computes each run of elements along an axis from the same run of its
// operand; rows is the kernel for contiguous runs of float32, columns, or nil, the one for runs side by side.
func alongAxis(name string, axis int, rows func(out, x []float32), columns columnsFunc, f32 func(out, x []float32, n, stride int),
	f64 func(out, x []float64, n, stride int)) *Primitive {
	return &Primitive{
		Name:  name,
		Attrs: axis,
		Type:  func(in []Type) (Type, error) { return in[0], needFloat(name, in) },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			_, n, inner := around(in[0].Shape, axis)
			switch {
			case out.DType == Float64:
				return axisKernel(n, inner, f64), nil
			case inner == 1:
				return axisKernel(n, inner, func(out, x []float32, n, _ int) { rows(out[:n], x[:n]) }), nil
			case columns != nil && inner >= fewColumns:
				return columnsKernel(n, inner, columns), nil
			}
			return axisKernel(n, inner, f32), nil
		},
		Flops: func(_ Type, in []Type) int { return 5 * in[0].Size() },
	}
}

// An axisTask computes several runs of n elements, inner apart, in each task.
type axisTask[T Float] struct {
	run            func(out, x []T, n, stride int)
	n, inner, each int
	out, x         []T
}

func axisKernel[T Float](n, inner int, run func(out, x []T, n, stride int)) Kernel {
	t := &axisTask[T]{run: run, n: n, inner: inner, each: max(1, piece/max(1, n))}
	return func(out *Array, in []*Array) error {
		t.out, t.x = Data[T](out), Data[T](in[0])
		if len(t.out) > 0 {
			kernel.Parallel(t, (len(t.out)/n+t.each-1)/t.each)
		}
		return nil
	}
}

// Run does task i.
func (t *axisTask[T]) Run(_, i int) {
	for j := i * t.each; j < min((i+1)*t.each, len(t.out)/t.n); j++ {
		at := j/t.inner*t.n*t.inner + j%t.inner
		t.run(t.out[at:], t.x[at:], t.n, t.inner)
	}
}

// A columnsFunc computes width columns of n elements, stride apart, side by side.
type columnsFunc func(out, x []float32, n, width, stride int)

// softmaxColumns is the kernel of softmax or its logarithm, nil if this machine has none.
func softmaxColumns(log bool) columnsFunc {
	if !kernel.SoftmaxColumns32(nil, nil, 0, 0, 0, log) {
		return nil
	}
	return func(out, x []float32, n, width, stride int) { kernel.SoftmaxColumns32(out, x, n, width, stride, log) }
}

// fewColumns are not worth a columnsFunc.
const fewColumns = 4

// A columnsTask computes the columns of one block of each task's rows, or some of them.
type columnsTask struct {
	f                columnsFunc
	n, inner         int
	width, cuts      int // columns of a task, tasks a block
	blocks, together int // blocks in all and of a task
	out, x           []float32
}

func columnsKernel(n, inner int, f columnsFunc) Kernel {
	t := &columnsTask{f: f, n: n, inner: inner, width: min(inner, max(16, piece/max(1, n)))}
	t.cuts = (inner + t.width - 1) / t.width
	t.together = max(1, piece/max(1, n*inner))
	return func(out *Array, in []*Array) error {
		t.out, t.x = Data[float32](out), Data[float32](in[0])
		if len(t.out) > 0 {
			t.blocks = len(t.out) / (n * inner)
			kernel.Parallel(t, (t.blocks+t.together-1)/t.together*t.cuts)
		}
		return nil
	}
}

// Run does task i.
func (t *columnsTask) Run(_, i int) {
	from := i % t.cuts * t.width
	first := i / t.cuts * t.together
	for b := first; b < min(first+t.together, t.blocks); b++ {
		at := b*t.n*t.inner + from
		t.f(t.out[at:], t.x[at:], t.n, min(t.width, t.inner-from), t.inner)
	}
}

func softmaxRun[T Float](out, x []T, n, stride int) {
	most, sum := maximumAndSum(x, n, stride)
	for i := range n {
		out[i*stride] = T(math.Exp(float64(x[i*stride])-most) / sum)
	}
}

func logSoftmaxRun[T Float](out, x []T, n, stride int) {
	most, sum := maximumAndSum(x, n, stride)
	log := math.Log(sum)
	for i := range n {
		out[i*stride] = T(float64(x[i*stride]) - most - log)
	}
}

// maximumAndSum gives the largest element and the sum of e^(x - largest).
func maximumAndSum[T Float](x []T, n, stride int) (most, sum float64) {
	most = maxRun(x, n, stride)
	for i := range n {
		sum += math.Exp(float64(x[i*stride]) - most)
	}
	return most, sum
}

func prodOp(axes []int) *Primitive {
	p := reduction("prod", axes, prodRuns[float32], prodRuns[float64], func(a, b float64) float64 { return a * b }, nil)
	// The product of all other factors is the product of those before and those after, which needs no division.
	others := func(x *Node) *Node {
		s := ShapeOf(x)
		perm, inverse := make([]int, 0, len(s)), make([]int, len(s))
		for i := range s {
			if !slices.Contains(axes, i) {
				perm = append(perm, i)
			}
		}
		keep := len(perm)
		perm = append(perm, axes...)
		moved := make([]int, len(s))
		for i, a := range perm {
			inverse[a], moved[i] = i, s[a]
		}
		r := Reshape(Transpose(x, perm...), sizeOf(moved[:keep]), sizeOf(moved[keep:]))
		n := ShapeOf(r)[1]
		var parts []*Node
		before := make([]*Node, n)
		var run *Node
		for i := range n {
			before[i] = run
			run = times(run, Slice(r, 1, i, i+1, 1))
		}
		run = nil
		parts = make([]*Node, n)
		for i := n - 1; i >= 0; i-- {
			parts[i] = times(before[i], run)
			if parts[i] == nil {
				parts[i] = Fill(Slice(r, 1, i, i+1, 1), 1)
			}
			run = times(run, Slice(r, 1, i, i+1, 1))
		}
		return Transpose(Reshape(Concat(1, parts...), moved...), inverse...)
	}
	p.VJP = func(y, dy *Node, x []*Node) []*Node {
		if TypeOf(x[0]).Size() == 0 {
			return []*Node{nil}
		}
		return []*Node{Mul(KeepDims(dy, ShapeOf(x[0]), axes...), others(x[0]))}
	}
	p.JVP = func(y *Node, x, dx []*Node) *Node {
		if TypeOf(x[0]).Size() == 0 {
			return nil
		}
		return Sum(Mul(dx[0], others(x[0])), axes...)
	}
	return p
}

func prodRuns[T Float](x []T, offsets []int, n, stride int) float64 {
	p := 1.0
	for _, o := range offsets {
		for i := range n {
			p *= float64(x[o+i*stride])
		}
	}
	return p
}

func times(a, b *Node) *Node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return Mul(a, b)
}

// ArgMax is the index of the first largest element along an axis, as Int; the axis disappears.
func ArgMax(x *Node, axis int) *Node {
	axis = axisOf("argmax", x, axis)
	return Apply(&Primitive{
		Name:  "argmax",
		Attrs: axis,
		Type: func(in []Type) (Type, error) {
			if in[0].Shape[axis] == 0 {
				return Type{}, fail("argmax", "axis", "at least one element", in[0])
			}
			return Type{Int, slices.Delete(slices.Clone(in[0].Shape), axis, axis+1)}, needFloat("argmax", in)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(in[0].Shape, axis)
			if in[0].DType == Float32 {
				return argMaxKernel[float32](outer, n, inner), nil
			}
			return argMaxKernel[float64](outer, n, inner), nil
		},
		Flops: func(_ Type, in []Type) int { return in[0].Size() },
	}, x)
}

func argMaxKernel[T Float](outer, n, inner int) Kernel {
	return func(out *Array, in []*Array) error {
		o, x := out.Ints(), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				best := 0
				for j := 1; j < n; j++ {
					v, b := x[(i*n+j)*inner+l], x[(i*n+best)*inner+l]
					if v > b || v != v && b == b {
						best = j
					}
				}
				o[i*inner+l] = best
			}
		}
		return nil
	}
}

type cumulativeAttrs struct {
	Axis    int
	Reverse bool
}

// CumSum is the running sum along an axis.
func CumSum(x *Node, axis int) *Node {
	return Apply(cumSumOp(cumulativeAttrs{axisOf("cumsum", x, axis), false}), x)
}

func cumSumOp(a cumulativeAttrs) *Primitive {
	return &Primitive{
		Name:  "cumsum",
		Attrs: a,
		Type:  func(in []Type) (Type, error) { return in[0], needFloat("cumsum", in) },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			outer, n, inner := around(in[0].Shape, a.Axis)
			if out.DType == Float32 {
				return cumSumKernel[float32](outer, n, inner, a.Reverse), nil
			}
			return cumSumKernel[float64](outer, n, inner, a.Reverse), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			return []*Node{Apply(cumSumOp(cumulativeAttrs{a.Axis, !a.Reverse}), dy)}
		},
		JVP: linear(func() *Primitive { return cumSumOp(a) }),
	}
}

func cumSumKernel[T Float](outer, n, inner int, reverse bool) Kernel {
	return func(out *Array, in []*Array) error {
		o, x := Data[T](out), Data[T](in[0])
		for i := range outer {
			for l := range inner {
				var s float64
				for j := range n {
					k := j
					if reverse {
						k = n - 1 - j
					}
					at := (i*n+k)*inner + l
					s += float64(x[at])
					o[at] = T(s)
				}
			}
		}
		return nil
	}
}
