package kernel

import "math"

// Sums are formed in float64 in an order that depends on the length only: element i is added to partial sum i mod 32,
// and these are added in a tree. So every instruction set, and portable Go, gives the same bits, but for the last ones
// of exponentials, which vectors form in float32.
const partials = 32

// total adds partial sums i and i+8, then those of i+16, then the halves of the eight that are left.
func total(s *[partials]float64) float64 {
	for i := range 8 {
		s[i] = (s[i] + s[i+8]) + (s[i+16] + s[i+24])
	}
	for _, half := range []int{4, 2, 1} {
		for i := range half {
			s[i] += s[i+half]
		}
	}
	return s[0]
}

// Sum32 is the sum of x.
func Sum32(x []float32) float64 {
	if vectors != nil && len(x) > 0 {
		return vectors.sum(&x[0], len(x))
	}
	var s [partials]float64
	for i, v := range x {
		s[i%partials] += float64(v)
	}
	return total(&s)
}

// SumSquares32 is the sum of the squares of x.
func SumSquares32(x []float32) float64 {
	if vectors != nil && len(x) > 0 {
		return vectors.sumSquares(&x[0], len(x))
	}
	var s [partials]float64
	for i, v := range x {
		s[i%partials] += float64(v) * float64(v) // exact product
	}
	return total(&s)
}

// SumExp32 is the sum of e^(x[i]-shift).
func SumExp32(x []float32, shift float32) float64 {
	if vectors != nil && len(x) > 0 {
		return vectors.sumExp(&x[0], len(x), shift)
	}
	var s [partials]float64
	for i, v := range x {
		s[i%partials] += math.Exp(float64(v - shift))
	}
	return total(&s)
}

// LogSumExp32 is log(sum(e^x)) without overflow, -Inf of nothing.
func LogSumExp32(x []float32) float64 {
	most := Max32(x)
	if math.IsInf(float64(most), 0) {
		return float64(most)
	}
	return float64(most) + math.Log(SumExp32(x, most))
}

// Softmax32 writes out = e^x / sum(e^x), for slices of one length, which may be the same.
func Softmax32(out, x []float32) {
	x = x[:len(out)]
	most := Max32(x)
	if vectors != nil && len(x) > 0 {
		s := vectors.exps(&out[0], &x[0], len(x), most)
		vectors.divide(&out[0], &out[0], len(x), float32(s))
		return
	}
	s := SumExp32(x, most)
	for i, v := range x {
		out[i] = float32(math.Exp(float64(v-most)) / s)
	}
}

// LogSoftmax32 writes out = x - log(sum(e^x)), for slices of one length, which may be the same. The largest element is
// taken off before the logarithm, so that large x lose nothing.
func LogSoftmax32(out, x []float32) {
	x = x[:len(out)]
	most := Max32(x)
	log := float32(math.Log(SumExp32(x, most)))
	if vectors != nil && len(x) > 0 {
		vectors.lower(&out[0], &x[0], len(x), most, log)
		return
	}
	for i, v := range x {
		out[i] = v - most - log
	}
}

// Max32 is the largest element, NaN if there is one, -Inf of nothing.
func Max32(x []float32) float32 {
	if vectors != nil && len(x) > 0 {
		return vectors.max(&x[0], len(x))
	}
	most := float32(math.Inf(-1))
	for _, v := range x {
		most = max(most, v)
	}
	return most
}

// AddRows32 adds rows rows of n elements, a stride of ld apart, to sums, row after row. sums must have room for n
// rounded up to a multiple of 16.
func AddRows32(sums []float64, x []float32, rows, ld, n int) {
	if rows == 0 || n == 0 {
		return
	}
	sums, x = sums[:roundUp(n, 16)], x[:(rows-1)*ld+n]
	if vectors != nil {
		vectors.addRows(&sums[0], &x[0], rows, ld, n)
		return
	}
	for r := range rows {
		for i, v := range x[r*ld : r*ld+n] {
			sums[i] += float64(v)
		}
	}
}
