package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// random writes the fills. A block of 4·lanes numbers comes from lanes counters; the counters are spread over the lanes
// such that unpacking puts each counter's four numbers side by side. First words writes each block's first words as one
// vector, the second ones as the next, and so on; then uniform and normal turn the words into numbers in place. Such short
// loops keep the arithmetic units busy: the processor looks ahead over several blocks.
func (g isa) random() {
	GLOBL("lanes"+g.name, RODATA|NOPTR)
	for i := range g.lanes() {
		DATA(4*i, U32(uint32(i%4*g.lanes()/4+i/4)))
	}
	g.words()
	g.numbers("uniform", func(w [4]Op) (z [4]Op) {
		for i := range w {
			z[i] = g.min(g.unit(w[i]), c(1-0x1p-24))
		}
		return z
	})
	g.numbers("normal", func(w [4]Op) (z [4]Op) {
		z[0], z[1] = g.gauss(w[0], w[1])
		z[2], z[3] = g.gauss(w[2], w[3])
		return z
	})
}

const rounds = 10

func (g isa) words() {
	g.entry("words: %s,\n", g.function("words", "(out *float32, blocks int, counter0, counter1, counter2, counter3, key0, key1 uint32)"))
	out, blocks := pointer("out"), pointer("blocks")
	keys := AllocLocal(8 * rounds)
	k0, k1 := Load(Param("key0"), GP32()), Load(Param("key1"), GP32())
	for round := range rounds {
		MOVL(k0, keys.Offset(8*round))
		MOVL(k1, keys.Offset(8*round+4))
		ADDL(U32(0x9E3779B9), k0)
		ADDL(U32(0xBB67AE85), k1)
	}
	counter := g.number("counter0")
	spread := g.load(Mem{Symbol: Symbol{Name: "lanes" + g.name, Static: true}, Base: StaticBase}, nil)
	g.put(VPADDD, nil, counter, spread, counter)
	m0, m1, counter1, counter2, counter3 := g.reg(bits(0xD2511F53)), g.reg(bits(0xCD9E8D57)), g.number("counter1"), g.number("counter2"), g.number("counter3")
	var oddLanes Op
	if g.wide {
		r := GP32()
		MOVL(U32(0xAAAA), r)
		oddLanes = K()
		KMOVW(r, oddLanes)
	}
	Label("loop")
	// The words of even and of odd lanes apart, each in the low half of 64 bits, as the multiplication wants them; the
	// high halves hold anything.
	even := [4]Op{counter, counter1, counter2, counter3}
	odd := even
	odd[0] = g.shift(VPSRLQ, counter, 32)
	for round := range rounds {
		for _, w := range []*[4]Op{&even, &odd} {
			p0, p1 := g.op(VPMULUDQ, nil, w[0], m0), g.op(VPMULUDQ, nil, w[2], m1)
			w[0], w[1] = g.xor3(g.shift(VPSRLQ, p1, 32), w[1], keys.Offset(8*round)), p1
			w[2], w[3] = g.xor3(g.shift(VPSRLQ, p0, 32), w[3], keys.Offset(8*round+4)), p0
		}
	}
	for i := range even {
		w := g.interleave(oddLanes, g.shift(VPSLLQ, odd[i], 32), even[i])
		g.store(w, Mem{Base: out, Disp: 4 * i * g.lanes()}, nil)
	}
	g.put(VPADDD, VPADDD_BCST, counter, bits(uint32(g.lanes())), counter)
	ADDQ(I32(int32(16*g.lanes())), out)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// numbers writes the function that turns blocks of words into numbers.
func (g isa) numbers(name string, transform func(w [4]Op) [4]Op) {
	g.entry("%s: %s,\n", name, g.function(name, "(out *float32, blocks int)"))
	out, blocks := pointer("out"), pointer("blocks")
	Label("loop")
	var w [4]Op
	for i := range w {
		w[i] = g.load(Mem{Base: out, Disp: 4 * i * g.lanes()}, nil)
	}
	z := transform(w)
	unpack := func(f instruction, a, b Op) Op { return g.op(f, nil, a, b) }
	a, b := unpack(VUNPCKLPS, z[0], z[1]), unpack(VUNPCKLPS, z[2], z[3])
	d, e := unpack(VUNPCKHPS, z[0], z[1]), unpack(VUNPCKHPS, z[2], z[3])
	for i, v := range []Op{unpack(VUNPCKLPD, a, b), unpack(VUNPCKHPD, a, b), unpack(VUNPCKLPD, d, e), unpack(VUNPCKHPD, d, e)} {
		g.store(v, Mem{Base: out, Disp: 4 * i * g.lanes()}, nil)
	}
	ADDQ(I32(int32(16*g.lanes())), out)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// xor3 is a ^ b ^ a number in memory; a is overwritten.
func (g isa) xor3(a, b Op, number Mem) Op {
	if !g.wide {
		return g.xor(g.xor(a, b), g.broadcast(number))
	}
	VPTERNLOGD_BCST(Imm(0x96), number, b, a)
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

// unit is (w + 1/2)/2^32, rounded once: both halves of w are exact in single precision.
func (g isa) unit(w Op) Op {
	low := g.fma(g.toFloat(g.and(w, bits(0xFFFF))), c(0x1p-32), c(0x1p-33))
	return g.fma(g.toFloat(g.shift(VPSRLD, w, 16)), c(0x1p-16), low)
}

// gauss is the Box-Muller transform, without fused operations so that plain Go gives the same bits.
func (g isa) gauss(a, b Op) (Op, Op) {
	// log u, from 1-u where u is near 1: that is the number of the inverted word.
	const nearOne = 0xAAAAAA80 // the first word whose u, rounded, is 2/3 or more
	near := g.atLeast(a, nearOne)
	u := g.unit(g.inverted(near, a))
	e := g.right(g.subI(u, twoThirds), 23)
	f := g.sub(g.subI(u, g.left(e, 23)), c(1))
	f = g.choose(near, g.xor(u, bits(signBit)), f)
	e = g.choose(near, bits(0), e)
	y := g.add(g.mul(g.hornerRounded(f, logCoefficients...), g.mul(f, f)), f)
	y = g.add(g.mul(g.toFloat(e), c(math.Ln2)), y)
	radius := g.sqrt(g.mul(y, c(-2)))
	// b is an angle in units of 2π/2^32: a quadrant, the highest two bits of t, and the rest, up to an eighth turn.
	t := g.addI(b, bits(1<<29))
	r := g.subI(g.and(t, bits(1<<30-1)), bits(1<<29))
	r = g.mul(g.add(g.toFloat(r), c(0.5)), c(math.Pi/2/(1<<30)))
	s := g.mul(r, r)
	sin := g.add(g.mul(g.mul(g.hornerRounded(s, sinCoefficients[:3]...), s), r), r)
	cos := g.hornerRounded(s, cosCoefficients...)
	odd := g.bit30(t)
	x, z := g.choose(odd, sin, cos), g.choose(odd, cos, sin)
	return g.mul(radius, g.turned(x, g.addI(t, bits(1<<30)))), g.mul(radius, g.turned(z, t))
}

// atLeast is the mask of the words that are n or more.
func (g isa) atLeast(w Op, n uint32) Op {
	if !g.wide {
		return g.op(VPCMPGTD, nil, g.xor(w, bits(signBit)), bits((n-1)^signBit))
	}
	k := K()
	VPCMPUD_BCST(Imm(5), bits(n).mem(), w, k)
	return k
}

// bit30 is the mask of the words with that bit.
func (g isa) bit30(w Op) Op {
	if !g.wide {
		return g.left(w, 1)
	}
	k := K()
	VPTESTMD_BCST(bits(1<<30).mem(), w, k)
	return k
}

// inverted is w with all its bits changed where the mask is set.
func (g isa) inverted(mask, w Op) Op {
	if !g.wide {
		return g.xor(w, mask)
	}
	return g.choose(mask, g.xor(w, bits(math.MaxUint32)), w)
}

// turned is y with its sign changed where the highest bit of t is set.
func (g isa) turned(y, t Op) Op {
	if !g.wide {
		return g.xor(y, g.and(t, bits(signBit)))
	}
	VPTERNLOGD_BCST(Imm(0x78), bits(signBit).mem(), t, y) // y ^ (t & sign)
	return y
}
