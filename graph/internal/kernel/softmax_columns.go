package kernel

import (
	"math"
	"unsafe"
)

// SoftmaxColumns32 writes the softmax, or its logarithm, of every column of x [n, width], of whose rows one begins every
// stride elements, to out, which may be x. Columns are done many at a time, row by row. It says whether this machine has
// the kernel; where it has none, nothing is done.
func SoftmaxColumns32(out, x []float32, n, width, stride int, log bool) bool {
	if vectors == nil {
		return false
	}
	if n == 0 || width == 0 {
		return true
	}
	s := getScratch(int(unsafe.Sizeof(columnNumbers{})))
	for at := 0; at < width; at += columns {
		(*columnNumbers)(s.at(0)).softmax(out[at:], x[at:], n, min(columns, width-at), stride, log)
	}
	putScratch(s)
	return true
}

const columns = 256

// columnNumbers are those of each column: its largest element, its sum, and the number its elements are divided by.
type columnNumbers struct {
	sums       [columns]float64
	most, each [columns]float32
}

func (c *columnNumbers) softmax(out, x []float32, n, width, stride int, log bool) {
	maximum, sub, div, exp := vectors.binary["maximum"][0], vectors.binary["sub"][0], vectors.binary["div"][0], vectors.unary["exp"]
	most, each := &c.most[0], c.each[:width]
	clear(c.sums[:])
	end := (n-1)*stride + width
	out, x = out[:end], x[:end]
	copy(c.most[:], x[:width])
	for at := stride; at < end; at += stride {
		maximum(most, most, &x[at], width)
	}
	for at := 0; at < end; at += stride {
		sub(&out[at], &x[at], most, width)
		e := &out[at]
		if log {
			e = &each[0]
		}
		exp(e, &out[at], width)
		vectors.addRows(&c.sums[0], e, 1, width, width)
	}
	for i, s := range c.sums[:width] {
		each[i] = float32(s)
		if log {
			each[i] = float32(math.Log(s))
		}
	}
	last := div
	if log {
		last = sub
	}
	for at := 0; at < end; at += stride {
		last(&out[at], &out[at], &each[0], width)
	}
}
