package kernel

import "math"

// vectorSet is what one instruction set offers for float32 vectors. Pointers are to first elements, n counts elements.
type vectorSet struct {
	name  string
	lanes int

	unary  map[string]func(out, x *float32, n int)
	trig   map[string]func(out, x *float32, n int) int   // gives how many it did before it met a large x
	binary map[string][3]func(out, a, b *float32, n int) // both vectors, b one number, a one number; nil where a and b may change places
	where  [4]func(out, cond, a, b *float32, n int)      // both vectors, b one number, a one number, both

	putFirst, pickFirst func(out, x, m, d, left *float32, n int)

	sum, sumSquares func(x *float32, n int) float64
	sumExp          func(x *float32, n int, shift float32) float64
	exps            func(out, x *float32, n int, shift float32) float64 // sumExp that writes its terms
	divide          func(out, x *float32, n int, by float32)
	lower           func(out, x *float32, n int, by, then float32) // x - by - then
	max             func(x *float32, n int) float32
	addRows         func(sums *float64, x *float32, rows, ld, n int)

	words           func(out *float32, blocks int, counter0, counter1, counter2, counter3, key0, key1 uint32)
	uniform, normal func(out *float32, blocks int) // of words, in place

	sgd      func(p, grad *float32, n int, scale, decay, lr float32)
	momentum func(p, grad, buf *float32, n int, scale, decay, keep, add, fromGrad, fromBuf, lr float32)
	adam     func(p, grad, m, v *float32, n int, scale, decay, keep, beta1, rest1, beta2, rest2, rate, correct, eps float32)
	amsgrad  func(p, grad, m, v, largest *float32, n int, scale, decay, keep, beta1, rest1, beta2, rest2, rate, correct, eps float32)
}

// vectors is the set in use, nil where there is only portable Go. Tests put others here.
var vectors = bestVectors()

// Unary32 is the loop out[i] = f(x[i]) of the function called name, for slices of one length, which may be the same;
// nil if this machine has none. NaN, infinities, overflow, denormal numbers and the sign of 0 are as in package math.
// The largest errors over all x, in units in the last place: log, exp 1.1, erf 1.2, tanh, sin, cos, rsqrt 1.5, log1p,
// expm1 1.7, softplus 1.9, atanh 2.2, sigmoid 2.5, tan 3.3; the others are rounded correctly.
func Unary32(name string) func(out, x []float32) {
	if vectors == nil {
		return nil
	}
	if f := vectors.unary[name]; f != nil {
		return func(out, x []float32) {
			if len(out) > 0 {
				f(&out[0], &x[:len(out)][0], len(out))
			}
		}
	}
	f, slow := vectors.trig[name], trigonometric[name]
	if f == nil {
		return nil
	}
	return func(out, x []float32) {
		x = x[:len(out)]
		for len(out) > 0 {
			done := f(&out[0], &x[0], len(out))
			out, x = out[done:], x[done:]
			// A block with large elements: these one by one, the others as if they were not there.
			var block [16]float32
			n := copy(block[:], x)
			for i, v := range block[:n] {
				if math.Abs(float64(v)) > 1<<31 {
					v = 0
				}
				out[i] = v
			}
			if n > 0 {
				f(&out[0], &out[0], n)
			}
			for i, v := range block[:n] {
				if math.Abs(float64(v)) > 1<<31 {
					out[i] = float32(slow(float64(v)))
				}
			}
			out, x = out[n:], x[n:]
		}
	}
}

var trigonometric = map[string]func(float64) float64{"sin": math.Sin, "cos": math.Cos, "tan": math.Tan}

// mirrored are the comparisons that are others with their operands exchanged.
var mirrored = map[string]string{"less": "greater", "less_equal": "greater_equal"}

// Binary32 is the loop out[i] = f(a[i·sa], b[i·sb]) of the function called name, with sa and sb 0 or 1; nil if this
// machine has none. out may be a or b. Comparisons give 1 or 0.
func Binary32(name string) func(out, a, b []float32, sa, sb int) {
	if vectors == nil {
		return nil
	}
	if other, ok := mirrored[name]; ok {
		f := Binary32(other)
		return func(out, a, b []float32, sa, sb int) { f(out, b, a, sb, sa) }
	}
	f, ok := vectors.binary[name]
	if !ok {
		return nil
	}
	return func(out, a, b []float32, sa, sb int) {
		n := len(out)
		switch {
		case n == 0:
		case n == 1 || sa == 1 && sb == 1:
			f[0](&out[0], &a[:n][0], &b[:n][0], n)
		case sa == 1:
			f[1](&out[0], &a[:n][0], &b[0], n)
		case sb == 1 && f[2] == nil:
			f[1](&out[0], &b[:n][0], &a[0], n)
		case sb == 1:
			f[2](&out[0], &a[0], &b[:n][0], n)
		default:
			f[0](&out[0], &a[0], &b[0], 1)
			for i := range out {
				out[i] = out[0]
			}
		}
	}
}

// Where32 writes out[i] = a[i·sa] where cond[i] is not 0 and b[i·sb] elsewhere, with sa and sb 0 or 1. out may be one of
// the others.
func Where32(out, cond, a, b []float32, sa, sb int) {
	n := len(out)
	if n == 0 {
		return
	}
	cond, a, b = cond[:n], a[:(n-1)*sa+1], b[:(n-1)*sb+1]
	if vectors != nil {
		vectors.where[2*(1-sa)+1-sb](&out[0], &cond[0], &a[0], &b[0], n)
		return
	}
	for i, c := range cond {
		if c != 0 {
			out[i] = a[i*sa]
		} else {
			out[i] = b[i*sb]
		}
	}
}

// PutFirst32 adds d to out where left is 1 and x equals m, and makes left 0 there, for slices of one length.
func PutFirst32(out, x, m, d, left []float32) {
	n := len(out)
	x, m, d, left = x[:n], m[:n], d[:n], left[:n]
	if vectors != nil && n > 0 {
		vectors.putFirst(&out[0], &x[0], &m[0], &d[0], &left[0], n)
		return
	}
	for i := range out {
		if left[i] != 0 && x[i] == m[i] {
			out[i] += d[i]
			left[i] = 0
		}
	}
}

// PickFirst32 makes out d where PutFirst32 adds it.
func PickFirst32(out, x, m, d, left []float32) {
	n := len(out)
	x, m, d, left = x[:n], m[:n], d[:n], left[:n]
	if vectors != nil && n > 0 {
		vectors.pickFirst(&out[0], &x[0], &m[0], &d[0], &left[0], n)
		return
	}
	for i := range out {
		if left[i] != 0 && x[i] == m[i] {
			out[i] = d[i]
			left[i] = 0
		}
	}
}
