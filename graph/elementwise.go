package graph

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

func unaryKernel[T Float](loop func(out, x []T)) Kernel {
	return func(out *Array, in []*Array) error {
		loop(Data[T](out), Data[T](in[0]))
		return nil
	}
}

// unaryLoop is the loop of the op called name: its own where there is one, else f element by element.
func unaryLoop[T Float](name string, f func(float64) float64) func(out, x []T) {
	switch name {
	case "neg":
		return func(out, x []T) {
			for i, v := range x[:len(out)] {
				out[i] = -v
			}
		}
	case "square":
		return func(out, x []T) {
			for i, v := range x[:len(out)] {
				out[i] = v * v
			}
		}
	case "relu":
		return func(out, x []T) {
			for i, v := range x[:len(out)] {
				out[i] = max(v, 0)
			}
		}
	}
	return func(out, x []T) {
		for i, v := range x[:len(out)] {
			out[i] = T(f(float64(v)))
		}
	}
}

// A loop2 computes out[i] = f(a[i*sa], b[i*sb]) with sa, sb in {0, 1}.
type loop2[T Float] func(out, a, b []T, sa, sb int)

func binaryKernel[T Float](out Type, in []Type, loop loop2[T]) Kernel {
	w := newWalk(out.Shape, in[0].Shape, in[1].Shape)
	size := out.Size()
	return func(out *Array, in []*Array) error {
		o, a, b := Data[T](out), Data[T](in[0]), Data[T](in[1])
		for at := 0; at < size; at += w.n {
			loop(o[at:at+w.n], a[w.offsets[0]:], b[w.offsets[1]:], w.inner[0], w.inner[1])
			w.next()
		}
		return nil
	}
}

// binaryLoop is the loop of the op called name: its own where there is one, else f element by element.
func binaryLoop[T Float](name string, f func(a, b float64) float64) loop2[T] {
	switch name {
	case "add":
		return func(out, a, b []T, sa, sb int) {
			switch {
			case sa == 1 && sb == 1:
				a, b = a[:len(out)], b[:len(out)]
				for i := range out {
					out[i] = a[i] + b[i]
				}
			case sa == 1:
				a, c := a[:len(out)], b[0]
				for i := range out {
					out[i] = a[i] + c
				}
			default:
				b, c := b[:(len(out)-1)*sb+1], a[0]
				for i := range out {
					out[i] = c + b[i*sb]
				}
			}
		}
	case "sub":
		return func(out, a, b []T, sa, sb int) {
			if sa == 1 && sb == 1 {
				a, b = a[:len(out)], b[:len(out)]
				for i := range out {
					out[i] = a[i] - b[i]
				}
				return
			}
			for i := range out {
				out[i] = a[i*sa] - b[i*sb]
			}
		}
	case "mul":
		return func(out, a, b []T, sa, sb int) {
			switch {
			case sa == 1 && sb == 1:
				a, b = a[:len(out)], b[:len(out)]
				for i := range out {
					out[i] = a[i] * b[i]
				}
			case sa == 1:
				a, c := a[:len(out)], b[0]
				for i := range out {
					out[i] = a[i] * c
				}
			default:
				b, c := b[:(len(out)-1)*sb+1], a[0]
				for i := range out {
					out[i] = c * b[i*sb]
				}
			}
		}
	case "div":
		return func(out, a, b []T, sa, sb int) {
			for i := range out {
				out[i] = a[i*sa] / b[i*sb]
			}
		}
	case "greater":
		return func(out, a, b []T, sa, sb int) {
			for i := range out {
				var m T
				if a[i*sa] > b[i*sb] {
					m = 1
				}
				out[i] = m
			}
		}
	}
	return func(out, a, b []T, sa, sb int) {
		for i := range out {
			out[i] = T(f(float64(a[i*sa]), float64(b[i*sb])))
		}
	}
}

func ternaryKernel[C Float, T float32 | float64 | int](out Type, in []Type, f func(C, T, T) T) Kernel {
	w := newWalk(out.Shape, in[0].Shape, in[1].Shape, in[2].Shape)
	size := out.Size()
	return func(out *Array, in []*Array) error {
		o, c, a, b := Data[T](out), Data[C](in[0]), Data[T](in[1]), Data[T](in[2])
		s := w.inner
		for at := 0; at < size; at += w.n {
			c, a, b := c[w.offsets[0]:], a[w.offsets[1]:], b[w.offsets[2]:]
			for i := range w.n {
				o[at+i] = f(c[i*s[0]], a[i*s[1]], b[i*s[2]])
			}
			w.next()
		}
		return nil
	}
}
