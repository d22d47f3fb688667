package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// random writes the fills. A block of 4·lanes numbers comes from lanes counters; the counters are spread over
// the lanes such that unpacking puts each counter's four numbers side by side.
func (g isa) random() {
	const signature = "(out *float32, blocks int, counter0, counter1, counter2, counter3, key0, key1 uint32)"
	GLOBL("lanes"+g.name, RODATA|NOPTR)
	for i := range g.lanes() {
		DATA(4*i, U32(uint32(i%4*g.lanes()/4+i/4)))
	}
	g.fill("uniform", signature, func(w [4]Op) (z [4]Op) {
		for i := range w {
			z[i] = g.min(g.unit(w[i]), c(1-0x1p-24))
		}
		return z
	})
	g.fill("normal", signature, func(w [4]Op) (z [4]Op) {
		z[0], z[1] = g.gauss(w[0], w[1])
		z[2], z[3] = g.gauss(w[2], w[3])
		return z
	})
}

func (g isa) fill(name, signature string, numbers func(w [4]Op) [4]Op) {
	g.entry("%s: %s,\n", name, g.function(name, signature))
	out, blocks := pointer("out"), pointer("blocks")
	counter := g.number("counter0")
	spread := g.load(Mem{Symbol: Symbol{Name: "lanes" + g.name, Static: true}, Base: StaticBase}, nil)
	g.put(VPADDD, nil, counter, spread, counter)
	var oddLanes Op
	m0, m1, key0, key1 := Op(bits(0xD2511F53)), Op(bits(0xCD9E8D57)), Op(nil), Op(nil)
	if g.wide { // there are registers for all this
		r := GP32()
		MOVL(U32(0xAAAA), r)
		oddLanes = K()
		KMOVW(r, oddLanes)
		m0, m1, key0, key1 = g.reg(m0), g.reg(m1), g.number("key0"), g.number("key1")
	}
	Label("loop")
	// The words of even and of odd lanes apart, each in the low half of 64 bits, as the multiplication wants them; the
	// high halves hold anything.
	even := [4]Op{counter, g.number("counter1"), g.number("counter2"), g.number("counter3")}
	odd := even
	odd[0] = g.shift(VPSRLQ, counter, 32)
	for round := range uint32(10) {
		k0, k1 := key0, key1
		if !g.wide {
			k0, k1 = g.number("key0"), g.number("key1")
		}
		if round > 0 {
			k0, k1 = g.addI(k0, bits(round*0x9E3779B9)), g.addI(k1, bits(round*0xBB67AE85))
		}
		for _, w := range []*[4]Op{&even, &odd} {
			p0, p1 := g.op(VPMULUDQ, nil, w[0], m0), g.op(VPMULUDQ, nil, w[2], m1)
			w[0], w[1] = g.xor3(g.shift(VPSRLQ, p1, 32), w[1], k0), p1
			w[2], w[3] = g.xor3(g.shift(VPSRLQ, p0, 32), w[3], k1), p0
		}
	}
	var w [4]Op
	for i := range w {
		w[i] = g.interleave(oddLanes, g.shift(VPSLLQ, odd[i], 32), even[i])
	}
	z := numbers(w)
	unpack := func(f instruction, a, b Op) Op { return g.op(f, nil, a, b) }
	a, b := unpack(VUNPCKLPS, z[0], z[1]), unpack(VUNPCKLPS, z[2], z[3])
	d, e := unpack(VUNPCKHPS, z[0], z[1]), unpack(VUNPCKHPS, z[2], z[3])
	for i, v := range []Op{unpack(VUNPCKLPD, a, b), unpack(VUNPCKHPD, a, b), unpack(VUNPCKLPD, d, e), unpack(VUNPCKHPD, d, e)} {
		g.store(v, Mem{Base: out, Disp: 4 * i * g.lanes()}, nil)
	}
	g.put(VPADDD, VPADDD_BCST, counter, bits(uint32(g.lanes())), counter)
	ADDQ(I32(int32(16*g.lanes())), out)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func (g isa) xor3(a, b, c Op) Op {
	if !g.wide {
		return g.xor(g.xor(a, b), c)
	}
	VPTERNLOGD(Imm(0x96), c, b, a)
	return a
}

// interleave takes odd lanes from a and even ones from b.
func (g isa) interleave(oddLanes, a, b Op) Op {
	dst := g.vec()
	if g.wide {
		blend("VPBLENDMD", nil, a, b, oddLanes, dst)
	} else {
		VPBLENDD(Imm(0xAA), a, b, dst)
	}
	return dst
}

// plusHalf is w + 1/2 in two halves of float64.
func (g isa) plusHalf(w Op) (low, high Op) {
	low, high = g.halvesI(g.xor(w, bits(signBit)))
	return g.addD(low, d(1<<31+0.5)), g.addD(high, d(1<<31+0.5))
}

// unit is (w + 1/2)/2^32, rounded once.
func (g isa) unit(w Op) Op { return g.mul(g.join(g.plusHalf(w)), c(0x1p-32)) }

// gauss is the Box-Muller transform, without fused operations so that plain Go gives the same bits.
func (g isa) gauss(a, b Op) (Op, Op) {
	// log u, from 1-u where u is near 1.
	low, high := g.plusHalf(a)
	u := g.mul(g.join(low, high), c(0x1p-32))
	all := g.reg(d(-1 << 32))
	rest := g.mul(g.join(g.addD(all, low), g.addD(all, high)), c(0x1p-32)) // u - 1
	e := g.right(g.subI(u, twoThirds), 23)
	f := g.sub(g.subI(u, g.left(e, 23)), c(1))
	f = g.choose(g.compare(u, greaterEqual, twoThirds), rest, f)
	y := g.add(g.mul(g.hornerRounded(f, logCoefficients...), g.mul(f, f)), f)
	y = g.add(g.mul(g.toFloat(e), c(math.Ln2)), y)
	radius := g.sqrt(g.mul(y, c(-2)))
	// b is an angle in units of 2π/2^32: quadrant q and the rest, up to an eighth turn.
	q := g.shift(VPSRLD, g.addI(b, bits(1<<29)), 30)
	r := g.mul(g.add(g.toFloat(g.subI(b, g.left(q, 30))), c(0.5)), c(math.Pi/2/(1<<30)))
	s := g.mul(r, r)
	sin := g.add(g.mul(g.mul(g.hornerRounded(s, sinCoefficients[:3]...), s), r), r)
	cos := g.hornerRounded(s, cosCoefficients...)
	odd := g.odd(q)
	x := g.quarterTurn(g.choose(odd, sin, cos), g.addI(q, bits(1)))
	return g.mul(radius, x), g.mul(radius, g.quarterTurn(g.choose(odd, cos, sin), q))
}
