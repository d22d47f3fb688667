package rules

import (
	"math/bits"

	"github.com/harpe-ml/harpe/graph"
)

// Points of low discrepancy: n points of [0, 1) in dims dimensions that fill it more evenly than random ones.

// halton is the sequence of J. Halton (1960): coordinate d of point i is i+1 written in the d-th prime's digits, after
// a fixed random permutation of the digits, and mirrored at the point (E. Braaten, G. Weller 1979).
func halton(n, dims int) []float64 {
	x := make([]float64, n*dims)
	prime := 1
	for d := range dims {
		for prime++; !isPrime(prime); prime++ {
		}
		digit := graph.Rand(0, "halton", uint64(d)).Perm(prime - 1) // of 1 to prime-1; 0 stays
		for i := range n {
			scale := 1.0
			for k := i + 1; k > 0; k /= prime {
				scale /= float64(prime)
				if k%prime > 0 {
					x[i*dims+d] += float64(digit[k%prime-1]+1) * scale
				}
			}
		}
	}
	return x
}

func isPrime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

// sobol is the sequence of I. Sobol (1967) in the order of Gray codes (I. Antonov, V. Saleev 1979): each coordinate
// of the first 2ᵏ points falls once into each interval of length 2⁻ᵏ. The first direction numbers of each dimension
// are drawn (P. Jäckel 2002, section 8.3).
func sobol(n, dims int) []float64 {
	x := make([]float64, n*dims)
	degree, next := 0, uint64(0)
	for d := range dims {
		var v [32]uint64 // direction numbers, as fractions of 2³²
		if d == 0 {
			for k := range v {
				v[k] = 1 << (31 - k)
			}
		} else {
			for {
				if next++; next >= 1<<degree {
					degree, next = degree+1, 0
				}
				if next |= 1; isPrimitive(next|1<<degree, degree) {
					break
				}
			}
			directions(&v, next|1<<degree, degree, d)
		}
		at := uint64(0)
		for i := range n {
			x[i*dims+d] = float64(at) / (1 << 32)
			at ^= v[bits.TrailingZeros(uint(i+1))]
		}
	}
	return x
}

// directions fills in the direction numbers of a dimension from the coefficients of its polynomial.
func directions(v *[32]uint64, poly uint64, degree, d int) {
	r := graph.Rand(0, "sobol", uint64(d))
	for k := range v {
		if k < degree {
			v[k] = (uint64(r.Int64N(1<<k))*2 + 1) << (31 - k)
			continue
		}
		v[k] = v[k-degree] ^ v[k-degree]>>degree
		for j := 1; j < degree; j++ {
			if poly>>(degree-j)&1 == 1 {
				v[k] ^= v[k-j]
			}
		}
	}
}

// isPrimitive says whether x generates all nonzero elements modulo a polynomial over two elements, whose coefficients
// are its bits.
func isPrimitive(poly uint64, degree int) bool {
	order := uint64(1)<<degree - 1
	if powerOfX(order, poly, degree) != 1 {
		return false
	}
	for q, rest := uint64(2), order; rest > 1; q++ {
		if q*q > rest {
			q = rest
		}
		if rest%q > 0 {
			continue
		}
		for rest%q == 0 {
			rest /= q
		}
		if q < order && powerOfX(order/q, poly, degree) == 1 {
			return false
		}
	}
	return true
}

// powerOfX is x to the e modulo poly.
func powerOfX(e, poly uint64, degree int) uint64 {
	times := func(a, b uint64) (c uint64) {
		for ; b > 0; b >>= 1 {
			if b&1 == 1 {
				c ^= a
			}
			if a <<= 1; a>>degree&1 == 1 {
				a ^= poly
			}
		}
		return c
	}
	result, base := uint64(1), uint64(2)
	if degree == 1 {
		base = 1 // x modulo x+1
	}
	for ; e > 0; e >>= 1 {
		if e&1 == 1 {
			result = times(result, base)
		}
		base = times(base, base)
	}
	return result
}
