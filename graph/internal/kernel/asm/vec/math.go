package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// The functions below are polynomials on a small interval with an exact reduction to it. The polynomials were found
// by Remez iteration for these intervals with coefficients in single precision; the comment gives the largest relative
// error of the polynomial itself.

const (
	log2e = 1.4426950408889634
	ln2Hi = 0.693147182464599609375 // ln 2 in single precision, and what is missing
	ln2Lo = math.Ln2 - ln2Hi
)

// expm1Reduced gives n and e^r - 1 with x = n ln 2 + r, |r| ≤ ln 2/2; x must be in about [-104, 89] or NaN.
func (g isa) expm1Reduced(x Op) (n, q Op) {
	n = g.round(g.mul(x, c(log2e)), toEven)
	r := g.fnma(n, c(ln2Hi), x)
	r = g.fnma(n, c(ln2Lo), r)
	// (e^r - 1 - r)/r², 2^-26
	p := g.horner(r, 1.39361782930791378021240234375e-3, 8.363780565559864044189453125e-3,
		4.1666455566883087158203125e-2, 0.166665732860565185546875, 0.5)
	return n, g.fma(p, g.mul(r, r), r)
}

// limit is x held in [low, high]; NaN stays.
func (g isa) limit(x Op, low, high float64) Op { return g.min(c(high), g.max(c(low), x)) }

func (g isa) exp(x Op) Op { return g.expLimited(g.limit(x, -104, 89)) }

func (g isa) expLimited(x Op) Op {
	n, q := g.expm1Reduced(x)
	p := g.add(q, c(1))
	if g.wide {
		return g.op(VSCALEFPS, nil, p, n)
	}
	// In two steps, because 2^n may lie outside the normal numbers.
	i := g.toInt(n)
	h := g.right(i, 1)
	p = g.mul(p, g.left(g.addI(h, bits(127)), 23))
	return g.mul(p, g.left(g.addI(g.subI(i, h), bits(127)), 23))
}

func (g isa) expm1(x Op) Op {
	n, q := g.expm1Reduced(g.limit(x, -30, 89))
	half := g.left(g.addI(g.toInt(n), bits(126)), 23) // 2^(n-1), which exists for n = 128
	y := g.fma(q, half, g.sub(half, c(0.5)))
	return g.or(g.add(y, y), g.and(x, bits(signBit)))
}

// log1pReduced is log(1+f) for -1/3 ≤ f ≤ 1/3, 2^-26.8.
func (g isa) log1pReduced(f Op) Op {
	p := g.horner(f, logCoefficients...)
	return g.fma(p, g.mul(f, f), f)
}

var logCoefficients = []float64{-0.1291662156581878662109375, 0.13758285343647003173828125,
	-0.121830053627490997314453125, 0.140540599822998046875, -0.1668014824390411376953125,
	0.200073182582855224609375, -0.2499981820583343505859375, 0.333332717418670654296875, -0.5}

var twoThirds = bits(math.Float32bits(2.0 / 3))

func (g isa) log(x Op) Op {
	small := g.compare(x, less, c(0x1p-126))
	scaled := g.choose(small, g.mul(x, c(0x1p23)), x)
	e := g.right(g.subI(scaled, twoThirds), 23)
	m := g.subI(scaled, g.left(e, 23))
	y := g.log1pReduced(g.sub(m, c(1)))
	ef := g.toFloat(e)
	ef = g.choose(small, g.sub(ef, c(23)), ef)
	y = g.fma(ef, c(math.Ln2), y)
	y = g.choose(g.compare(x, notLess, c(math.Inf(1))), x, y)
	y = g.choose(g.compare(x, less, c(0)), bits(0x7FC00000), y)
	return g.choose(g.compare(x, equal, c(0)), c(math.Inf(-1)), y)
}

func (g isa) log1p(x Op) Op {
	y := g.log1pFinite(x)
	y = g.choose(g.compare(x, notLess, c(math.Inf(1))), x, y)
	y = g.choose(g.compare(x, less, c(-1)), bits(0x7FC00000), y)
	y = g.choose(g.compare(x, equal, c(-1)), c(math.Inf(-1)), y)
	return g.or(y, g.and(x, bits(signBit)))
}

// log1pFinite is log(1+x) for -1 < x < +Inf. With 1+x = 2^e m it is e ln 2 + log(1+f), where f = m - 1 is formed
// as 2^-e x + (2^-e - 1), without the rounding of 1+x.
func (g isa) log1pFinite(x Op) Op {
	e := g.right(g.subI(g.add(x, c(1)), twoThirds), 23)
	down := g.left(e, 23)
	scale := g.subI(g.reg(c(4)), down) // 4·2^-e, which is a normal number also for e = 128
	f := g.add(g.subI(x, down), g.fma(scale, c(0.25), c(-1)))
	return g.fma(g.toFloat(e), c(math.Ln2), g.log1pReduced(f))
}

func (g isa) sigmoid(x Op) Op {
	t := g.exp(g.or(x, bits(signBit)))
	top := g.choose(g.compare(x, less, c(0)), t, c(1))
	return g.div(top, g.add(t, c(1)))
}

func (g isa) softplus(x Op) Op {
	t := g.exp(g.or(x, bits(signBit)))
	return g.add(g.max(g.zero(), x), g.log1pFinite(t))
}

func (g isa) tanh(x Op) Op {
	a := g.abs(x)
	// Far from 0: 1 - 2/(e^2a + 1).
	t := g.min(c(10), a)
	e := g.expLimited(g.add(t, t))
	far := g.sub(g.reg(c(1)), g.div(c(2), g.add(e, c(1))))
	// Near 0: (tanh(x)/x - 1)/x² in x², 2^-27.9.
	p := g.horner(g.mul(x, x), -6.5971179865300655364990234375e-3, 2.129960246384143829345703125e-2,
		-5.39069436490535736083984375e-2, 0.13333089649677276611328125, -0.333333313465118408203125, 0)
	return g.choose(g.compare(a, less, c(0.55)), g.fma(p, x, x), g.withSign(far, x))
}

func (g isa) atanh(x Op) Op {
	a := g.abs(x)
	t := g.div(g.add(a, a), g.sub(g.reg(c(1)), a))
	return g.or(g.mul(g.log1p(t), c(0.5)), g.and(x, bits(signBit)))
}

func (g isa) erf(x Op) Op {
	a := g.abs(x)
	// Far from 0: 1 - e^(a p(a)), log(erfc(a))/a in a, 2^-27.9 of erf.
	t := g.min(c(3.95), a)
	p := g.horner(t, -1.043289739754982292652130126953125e-5, 3.14856064505875110626220703125e-4,
		-3.61033412627875804901123046875e-3, 2.369455061852931976318359375e-2, -0.106159031391143798828125,
		-0.635198056697845458984375, -1.1286370754241943359375)
	far := g.sub(g.reg(c(1)), g.expLimited(g.mul(p, t)))
	// Near 0: erf(x)/x - 1 in x², 2^-30.
	q := g.horner(g.mul(x, x), 8.3930543041788041591644287109375e-5, -8.144308230839669704437255859375e-4,
		5.2007311023771762847900390625e-3, -2.685902453958988189697265625e-2, 0.112836815416812896728515625,
		-0.3761263191699981689453125, 0.128379166126251220703125)
	return g.choose(g.compare(a, less, c(0.9)), g.fma(q, x, x), g.withSign(far, x))
}

// trigLimit is the largest |x| of the vector sine; larger ones are left to the caller.
const trigLimit = 1 << 31

// quadrant gives q and r with x = q π/2 + r, |r| ≤ π/4, for |x| ≤ trigLimit, in double precision.
func (g isa) quadrant(x Op) (q, r Op) {
	const hi, lo = math.Pi / 2, 6.123233995736766e-17 // π/2 to 106 bits
	low, high := g.halves(x)
	var n [2]Op
	var s [2]Op
	for i, v := range []Op{low, high} {
		n[i] = g.roundD(g.mulD(v, d(2/math.Pi)))
		s[i] = g.fnmaD(n[i], d(lo), g.fnmaD(n[i], d(hi), v))
	}
	return g.joinI(n[0], n[1]), g.join(s[0], s[1])
}

// Coefficients of sin(r)/r - 1 in r², 2^-26, and of cos(r) in r², 2^-29.8.
var (
	sinCoefficients = []float64{-1.958385691978037357330322265625e-4, 8.332717232406139373779296875e-3,
		-0.16666664183139801025390625, 0}
	cosCoefficients = []float64{2.454394052620045840740203857421875e-5, -1.388827222399413585662841796875e-3,
		4.1666664183139801025390625e-2, -0.5, 1}
)

func (g isa) sinCosReduced(r Op) (sin, cos Op) {
	s := g.mul(r, r)
	return g.fma(g.horner(s, sinCoefficients...), r, r), g.horner(s, cosCoefficients...)
}

// keepZero is y, but x where x is ±0.
func (g isa) keepZero(x, y Op) Op { return g.choose(g.compare(x, equal, g.zero()), x, y) }

// quarterTurn is y with its sign changed in quadrants 2 and 3.
func (g isa) quarterTurn(y, q Op) Op { return g.xor(y, g.left(g.and(q, bits(2)), 30)) }

func (g isa) sin(x Op) Op {
	q, r := g.quadrant(x)
	s, c := g.sinCosReduced(r)
	return g.keepZero(x, g.quarterTurn(g.choose(g.odd(q), c, s), q))
}

func (g isa) cos(x Op) Op {
	q, r := g.quadrant(x)
	s, c := g.sinCosReduced(r)
	return g.quarterTurn(g.choose(g.odd(q), s, c), g.addI(q, bits(1)))
}

func (g isa) tan(x Op) Op {
	q, r := g.quadrant(x)
	s, c := g.sinCosReduced(r)
	odd := g.odd(q)
	y := g.div(g.choose(odd, c, s), g.choose(odd, s, c))
	return g.keepZero(x, g.xor(y, g.left(q, 31)))
}

func (g isa) sign(x Op) Op {
	return g.choose(g.compare(x, different, c(0)), g.withSign(g.reg(c(1)), x), x)
}
