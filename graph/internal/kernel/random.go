package kernel

import (
	"math"
	"math/bits"
)

// Random numbers are a pure function of a 128-bit counter and a 64-bit key: Philox4x32-10 of J. Salmon, M. Moraes, R.
// Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Counter i of a stream gives words 4i to 4i+3,
// and each word one number. Every instruction set, and portable Go, gives the same bits.

// A Stream is one sequence of random words.
type Stream struct{ Key0, Key1, Step0, Step1 uint32 }

const (
	philoxM0, philoxM1 = 0xD2511F53, 0xCD9E8D57
	philoxW0, philoxW1 = 0x9E3779B9, 0xBB67AE85
)

// Four gives words 4i to 4i+3.
func (s Stream) Four(i uint64) [4]uint32 {
	c0, c1, c2, c3, k0, k1 := uint32(i), uint32(i>>32), s.Step0, s.Step1, s.Key0, s.Key1
	for range 10 {
		h0, l0 := bits.Mul32(philoxM0, c0)
		h1, l1 := bits.Mul32(philoxM1, c2)
		c0, c1, c2, c3 = h1^c1^k0, l1, h0^c3^k1, l0
		k0 += philoxW0
		k1 += philoxW1
	}
	return [4]uint32{c0, c1, c2, c3}
}

// Unit maps a word into the open interval (0, 1).
func Unit(w uint32) float64 { return (float64(w) + 0.5) * (1.0 / (1 << 32)) }

// Gauss is the Box-Muller transform of two words: two independent standard normal numbers.
func Gauss(a, b uint32) (float64, float64) {
	r := math.Sqrt(-2 * math.Log(Unit(a)))
	s, c := math.Sincos(2 * math.Pi * Unit(b))
	return r * c, r * s
}

// Uniform32 fills dst with numbers first, first+1, ... of the stream from the open interval (0, 1): the float64 ones
// rounded, but below 1. first must be a multiple of 4.
func Uniform32(s Stream, first int, dst []float32) {
	if vectors != nil {
		first, dst = s.blocks(vectors.uniform, first, dst)
	}
	for ; len(dst) > 0; first += 4 {
		var z [4]float32
		for j, w := range s.Four(uint64(first) / 4) {
			z[j] = unit32(w)
		}
		dst = dst[copy(dst, z[:]):]
	}
}

// Normal32 fills dst with standard normal numbers, else as Uniform32. They are the float64 ones computed in float32.
func Normal32(s Stream, first int, dst []float32) {
	if vectors != nil {
		first, dst = s.blocks(vectors.normal, first, dst)
	}
	for ; len(dst) > 0; first += 4 {
		w := s.Four(uint64(first) / 4)
		var z [4]float32
		z[0], z[1] = gauss32(w[0], w[1])
		z[2], z[3] = gauss32(w[2], w[3])
		dst = dst[copy(dst, z[:]):]
	}
}

// blocks fills whole blocks by vectors and gives what is left. It does both passes piece by piece in the first cache.
func (s Stream) blocks(numbers func(out *float32, blocks int), first int, dst []float32) (int, []float32) {
	const piece = 32 // blocks
	i, n := uint64(first)/4, len(dst)/(4*vectors.lanes)
	if n == 0 || uint64(uint32(i))+uint64(len(dst)/4) > math.MaxUint32 { // vectors count in the low word only
		return first, dst
	}
	for n > 0 {
		k := min(n, piece)
		vectors.words(&dst[0], k, uint32(i), uint32(i>>32), s.Step0, s.Step1, s.Key0, s.Key1)
		numbers(&dst[0], k)
		n -= k
		i += uint64(k * vectors.lanes)
		dst = dst[4*k*vectors.lanes:]
	}
	return int(4 * i), dst
}

// unit32 is Unit in float32, below 1 also after rounding.
func unit32(w uint32) float32 { return min(float32(Unit(w)), 1-0x1p-24) }

// gauss32 is Gauss in float32. Every operation is rounded by a conversion, which forbids the compiler to fuse it with
// the next, and the vector code does the same operations in the same order.
func gauss32(a, b uint32) (float32, float32) {
	const third2 = 0x3F2AAAAB // 2/3 in single precision
	// log u = e ln 2 + log(1+f), 2/3 <= 1+f < 4/3; where u is near 1, f = u-1 is formed without rounding u.
	u := float32(Unit(a))
	e := int32(math.Float32bits(u)-third2) >> 23
	f := float32(math.Float32frombits(math.Float32bits(u)-uint32(e)<<23) - 1)
	if u >= math.Float32frombits(third2) {
		f = float32(Unit(a) - 1)
	}
	y := float32(float32(horner32(f, logCoefficients[:])*float32(f*f)) + f)
	y = float32(float32(float32(e)*math.Ln2) + y)
	radius := float32(math.Sqrt(float64(-2 * y)))
	// b is an angle in units of 2π/2^32: a number of quarter turns and up to half of one.
	q := (b + 1<<29) >> 30
	r := float32(float32(float32(int32(b-q<<30))+0.5) * float32(math.Pi/2/(1<<30)))
	s := float32(r * r)
	sin := float32(float32(float32(horner32(s, sinCoefficients[:])*s)*r) + r)
	cos := horner32(s, cosCoefficients[:])
	switch q {
	case 1:
		sin, cos = cos, -sin
	case 2:
		sin, cos = -sin, -cos
	case 3:
		sin, cos = -cos, sin
	}
	return float32(radius * cos), float32(radius * sin)
}

// Polynomials, the highest power first: (log(1+f) - f)/f², (sin(r)/r - 1)/r² and cos(r) in r².
var (
	logCoefficients = [...]float32{-0.1291662156581878662109375, 0.13758285343647003173828125,
		-0.121830053627490997314453125, 0.140540599822998046875, -0.1668014824390411376953125,
		0.200073182582855224609375, -0.2499981820583343505859375, 0.333332717418670654296875, -0.5}
	sinCoefficients = [...]float32{-1.958385691978037357330322265625e-4, 8.332717232406139373779296875e-3,
		-0.16666664183139801025390625}
	cosCoefficients = [...]float32{2.454394052620045840740203857421875e-5, -1.388827222399413585662841796875e-3,
		4.1666664183139801025390625e-2, -0.5, 1}
)

func horner32(x float32, coefficients []float32) float32 {
	p := coefficients[0]
	for _, c := range coefficients[1:] {
		p = float32(float32(p*x) + c)
	}
	return p
}
