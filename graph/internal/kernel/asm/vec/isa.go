package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// isa is an instruction set. Its methods write one operation each and return the register with the result, so that
// bodies read like formulas. An operand is a vector register or a constant; of a and b only b may be memory.
type isa struct {
	name string
	wide bool
}

func (g isa) lanes() int {
	if g.wide {
		return 16
	}
	return 8
}

func (g isa) vec() VecVirtual {
	if g.wide {
		return ZMM()
	}
	return YMM()
}

// half is a register of half the width.
func (g isa) half() VecVirtual {
	if g.wide {
		return YMM()
	}
	return XMM()
}

// constant is a number in the table of constants, repeated over 32 bytes; it lies at its index times 32.
type constant struct {
	index  int
	double bool
}

// Asm makes a constant an operand for these methods; no instruction sees it.
func (constant) Asm() string { panic("a constant was not loaded") }

type word struct {
	bits   uint64
	double bool
}

var (
	constants []word
	indexOf   = map[word]int{}
)

func constantOf(w word) constant {
	i, ok := indexOf[w]
	if !ok {
		i = len(constants)
		constants, indexOf[w] = append(constants, w), i
	}
	return constant{i, w.double}
}

// c is a float32 constant, bits one given as an integer, d a float64 one.
func c(x float64) constant { return bits(math.Float32bits(float32(x))) }

func bits(x uint32) constant { return constantOf(word{uint64(x), false}) }

func d(x float64) constant { return constantOf(word{math.Float64bits(x), true}) }

func (k constant) mem() Mem {
	return Mem{Symbol: Symbol{Name: "constants", Static: true}, Base: StaticBase, Disp: 32 * k.index}
}

func writeConstants() {
	GLOBL("constants", RODATA|NOPTR)
	for i, w := range constants {
		for j := 0; j < 32; j += 4 {
			v := w.bits
			if w.double && j%8 == 4 {
				v >>= 32
			}
			DATA(32*i+j, U32(uint32(v)))
		}
	}
}

// laneMasks is the table that AVX2 masks are read from: eight words of ones, eight of zeros.
func laneMasks() {
	GLOBL("laneMasks", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(map[bool]uint32{true: ^uint32(0)}[i < 8]))
	}
}

// reg is a in a register.
func (g isa) reg(a Op) Op {
	k, ok := a.(constant)
	if !ok {
		return a
	}
	v := g.vec()
	if k.double {
		VBROADCASTSD(k.mem(), v)
	} else {
		VBROADCASTSS(k.mem(), v)
	}
	return v
}

type instruction = func(...Op)

// put writes an instruction with operands a and b and the result in dst; bcst is its form with a broadcast from memory.
func (g isa) put(plain, bcst instruction, a, b, dst Op) {
	k, ok := b.(constant)
	switch {
	case ok && g.wide:
		bcst(k.mem(), a, dst)
	case ok:
		plain(k.mem(), a, dst)
	default:
		plain(b, a, dst)
	}
}

func (g isa) op(plain, bcst instruction, a, b Op) Op {
	a = g.reg(a)
	dst := g.vec()
	g.put(plain, bcst, a, b, dst)
	return dst
}

func three(f func(a, b, c Op)) instruction { return func(o ...Op) { f(o[0], o[1], o[2]) } }

func (g isa) add(a, b Op) Op { return g.op(VADDPS, VADDPS_BCST, a, b) }
func (g isa) sub(a, b Op) Op { return g.op(VSUBPS, VSUBPS_BCST, a, b) }
func (g isa) mul(a, b Op) Op { return g.op(VMULPS, VMULPS_BCST, a, b) }
func (g isa) div(a, b Op) Op { return g.op(VDIVPS, VDIVPS_BCST, a, b) }

// max and min give b if either is NaN.
func (g isa) max(a, b Op) Op { return g.op(VMAXPS, VMAXPS_BCST, a, b) }
func (g isa) min(a, b Op) Op { return g.op(VMINPS, VMINPS_BCST, a, b) }

func (g isa) addD(a, b Op) Op { return g.op(VADDPD, VADDPD_BCST, a, b) }
func (g isa) mulD(a, b Op) Op { return g.op(VMULPD, VMULPD_BCST, a, b) }

func (g isa) sqrt(a Op) Op {
	dst := g.vec()
	VSQRTPS(a, dst)
	return dst
}

func (g isa) and(a, b Op) Op {
	if g.wide {
		return g.op(VPANDD, VPANDD_BCST, a, b)
	}
	return g.op(three(VPAND), nil, a, b)
}

func (g isa) or(a, b Op) Op {
	if g.wide {
		return g.op(VPORD, VPORD_BCST, a, b)
	}
	return g.op(three(VPOR), nil, a, b)
}

func (g isa) xor(a, b Op) Op {
	if g.wide {
		return g.op(VPXORD, VPXORD_BCST, a, b)
	}
	return g.op(three(VPXOR), nil, a, b)
}

func (g isa) addI(a, b Op) Op { return g.op(VPADDD, VPADDD_BCST, a, b) }
func (g isa) subI(a, b Op) Op { return g.op(VPSUBD, VPSUBD_BCST, a, b) }

func (g isa) shift(f instruction, a Op, n int) Op {
	dst := g.vec()
	f(Imm(uint64(n)), a, dst)
	return dst
}

func (g isa) left(a Op, n int) Op  { return g.shift(VPSLLD, a, n) }
func (g isa) right(a Op, n int) Op { return g.shift(VPSRAD, a, n) } // with the sign

// fma is a·b + c, fnma c - a·b.
func (g isa) fma(a, b, c Op) Op { return g.fused(VFMADD231PS, VFMADD231PS_BCST, a, b, c) }

func (g isa) fnma(a, b, c Op) Op { return g.fused(VFNMADD231PS, VFNMADD231PS_BCST, a, b, c) }

func (g isa) fnmaD(a, b, c Op) Op { return g.fused(VFNMADD231PD, VFNMADD231PD_BCST, a, b, c) }

func (g isa) fused(plain, bcst instruction, a, b, c Op) Op {
	dst := g.reg(c)
	if dst == c {
		dst = g.vec()
		VMOVAPS(c, dst)
	}
	g.put(plain, bcst, g.reg(a), b, dst)
	return dst
}

// horner is the polynomial in x with the given coefficients, the highest first.
func (g isa) horner(x Op, coefficients ...float64) Op {
	p := g.reg(c(coefficients[0]))
	for _, k := range coefficients[1:] {
		g.put(VFMADD213PS, VFMADD213PS_BCST, x, c(k), p)
	}
	return p
}

// hornerRounded is horner with every product and sum rounded, the same bits as in plain Go.
func (g isa) hornerRounded(x Op, coefficients ...float64) Op {
	p := g.reg(c(coefficients[0]))
	for _, k := range coefficients[1:] {
		p = g.add(g.mul(p, x), c(k))
	}
	return p
}

func (g isa) toFloat(a Op) Op {
	dst := g.vec()
	VCVTDQ2PS(a, dst)
	return dst
}

func (g isa) toInt(a Op) Op {
	dst := g.vec()
	VCVTPS2DQ(a, dst)
	return dst
}

// Ways of rounding.
const (
	toEven = 8
	down   = 9
)

func (g isa) round(a Op, how int) Op {
	dst := g.vec()
	if g.wide {
		VRNDSCALEPS(Imm(uint64(how)), a, dst)
	} else {
		VROUNDPS(Imm(uint64(how)), a, dst)
	}
	return dst
}

func (g isa) roundD(a Op) Op {
	dst := g.vec()
	if g.wide {
		VRNDSCALEPD(Imm(toEven), a, dst)
	} else {
		VROUNDPD(Imm(toEven), a, dst)
	}
	return dst
}

// Comparisons. All but notEqual and notLess are false for NaN.
const (
	equal        = 0x00
	unordered    = 0x03
	notEqual     = 0x04
	less         = 0x11
	notLess      = 0x15
	different    = 0x0C
	greaterEqual = 0x1D
	greater      = 0x1E
)

// compare is the mask of a ? b.
func (g isa) compare(a Op, how int, b Op) Op {
	a = g.reg(a)
	if !g.wide {
		dst := g.vec()
		if k, ok := b.(constant); ok {
			b = k.mem()
		}
		VCMPPS(Imm(uint64(how)), b, a, dst)
		return dst
	}
	k := K()
	if m, ok := b.(constant); ok {
		VCMPPS_BCST(Imm(uint64(how)), m.mem(), a, k)
	} else {
		VCMPPS(Imm(uint64(how)), b, a, k)
	}
	return k
}

// odd is the mask of the odd integers.
func (g isa) odd(a Op) Op {
	if !g.wide {
		return g.left(a, 31)
	}
	k := K()
	VPTESTMD_BCST(bits(1).mem(), a, k)
	return k
}

// choose is yes where the mask is set and no elsewhere.
func (g isa) choose(mask, yes, no Op) Op {
	no = g.reg(no)
	dst := g.vec()
	k, ok := yes.(constant)
	switch {
	case !g.wide && ok:
		VBLENDVPS(mask, k.mem(), no, dst)
	case !g.wide:
		VBLENDVPS(mask, yes, no, dst)
	case ok:
		blend("VBLENDMPS", []string{"BCST"}, k.mem(), no, mask, dst)
	default:
		blend("VBLENDMPS", nil, yes, no, mask, dst)
	}
	return dst
}

// blend writes a blend under a mask. The package build believes that it reads dst, which would keep dst alive from
// the function's start.
func blend(opcode string, suffixes []string, yes, no, mask, dst Op) {
	Instruction(&ir.Instruction{
		Opcode:   opcode,
		Suffixes: suffixes,
		Operands: []Op{yes, no, mask, dst},
		Inputs:   []Op{yes, no, mask},
		Outputs:  []Op{dst},
		ISA:      []string{"AVX512F"},
	})
}

// ones is 1 where the mask is set and 0 elsewhere.
func (g isa) ones(mask Op) Op {
	if !g.wide {
		return g.and(mask, c(1))
	}
	dst := g.vec()
	VBROADCASTSS_Z(c(1).mem(), mask, dst)
	return dst
}

const signBit = 0x80000000

func (g isa) abs(x Op) Op { return g.and(x, bits(signBit-1)) }

// withSign is y ≥ 0 with the sign of x.
func (g isa) withSign(y, x Op) Op { return g.or(y, g.and(x, bits(signBit))) }

func (g isa) zero() VecVirtual {
	v := g.vec()
	g.clear(v)
	return v
}

func (g isa) clear(v Op) {
	if g.wide {
		VPXORD(v, v, v)
	} else {
		VPXOR(v, v, v)
	}
}

func (g isa) broadcast(m Mem) Op {
	v := g.vec()
	VBROADCASTSS(m, v)
	return v
}

// halves are the low and the high half of x as float64.
func (g isa) halves(x Op) (low, high Op) {
	a, b, top := g.vec(), g.vec(), g.half()
	if g.wide {
		VCVTPS2PD(x.(Vec).AsY(), a)
		VEXTRACTF64X4(Imm(1), x, top)
	} else {
		VCVTPS2PD(x.(Vec).AsX(), a)
		VEXTRACTF128(Imm(1), x, top)
	}
	VCVTPS2PD(top, b)
	return a, b
}

// join is the float32 vector of two halves of float64.
func (g isa) join(low, high Op) Op {
	if g.wide {
		return g.joinBy(VCVTPD2PS, low, high)
	}
	return g.joinBy(func(o ...Op) { VCVTPD2PSY(o[0], o[1]) }, low, high)
}

// joinI is the integer vector of two halves of float64.
func (g isa) joinI(low, high Op) Op {
	if g.wide {
		return g.joinBy(VCVTPD2DQ, low, high)
	}
	return g.joinBy(func(o ...Op) { VCVTPD2DQY(o[0], o[1]) }, low, high)
}

func (g isa) joinBy(convert instruction, low, high Op) Op {
	// Clearing a first tells the register allocator that the upper half is not older than this.
	a, b, dst := g.zero(), g.half(), g.vec()
	convert(high, b)
	if g.wide {
		convert(low, a.AsY())
		VINSERTF64X4(Imm(1), b, a, dst)
	} else {
		convert(low, a.AsX())
		VINSERTF128(Imm(1), b, a, dst)
	}
	return dst
}

// tailMask is the mask of the first n lanes, 0 < n < lanes.
func (g isa) tailMask(n Register) Op {
	if g.wide {
		one := GP64()
		MOVQ(U32(1), one)
		SHLXQ(n, one, one)
		DECQ(one)
		k := K()
		KMOVW(one.As32(), k)
		return k
	}
	table, at := GP64(), GP64()
	LEAQ(Mem{Symbol: Symbol{Name: "laneMasks", Static: true}, Base: StaticBase}, table)
	MOVQ(n, at)
	NEGQ(at)
	v := YMM()
	VMOVUPS(Mem{Base: table, Index: at, Scale: 4, Disp: 32}, v)
	return v
}

// load reads a vector, or, with a mask, its lanes and zeros for the others.
func (g isa) load(m Mem, mask Op) Op {
	v := g.vec()
	switch {
	case mask == nil:
		VMOVUPS(m, v)
	case g.wide:
		VMOVUPS_Z(m, mask, v)
	default:
		VMASKMOVPS(m, mask, v)
	}
	return v
}

func (g isa) store(v Op, m Mem, mask Op) {
	switch {
	case mask == nil:
		VMOVUPS(v, m)
	case g.wide:
		VMOVUPS(v, mask, m)
	default:
		VMASKMOVPS(v, mask, m)
	}
}

// loop writes body for whole vectors and, with a mask, once more for what is left of n elements; i counts elements.
func (g isa) loop(n Register, body func(i Register, mask Op)) {
	i, whole := GP64(), GP64()
	MOVQ(n, whole)
	ANDQ(I32(int32(-g.lanes())), whole)
	XORQ(i, i)
	CMPQ(i, whole)
	JGE(LabelRef("tail"))
	Label("loop")
	body(i, nil)
	ADDQ(Imm(uint64(g.lanes())), i)
	CMPQ(i, whole)
	JLT(LabelRef("loop"))
	Label("tail")
	SUBQ(i, n)
	JZ(LabelRef("done"))
	body(i, g.tailMask(n))
	Label("done")
}

func at(base, index Register) Mem { return Mem{Base: base, Index: index, Scale: 4} }

func pointer(name string) Register { return Load(Param(name), GP64()) }
