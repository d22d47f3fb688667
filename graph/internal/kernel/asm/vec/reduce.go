package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func (g isa) reductions() {
	g.rowSum("sum", "(x *float32, n int) float64", func(low, high, sumLow, sumHigh Op) {
		g.put(VADDPD, nil, sumLow, low, sumLow)
		g.put(VADDPD, nil, sumHigh, high, sumHigh)
	})
	g.rowSum("sumSquares", "(x *float32, n int) float64", func(low, high, sumLow, sumHigh Op) {
		VFMADD231PD(low, low, sumLow)
		VFMADD231PD(high, high, sumHigh)
	})
	g.sumExp("sumExp", false)
	g.sumExp("exps", true)
	g.rowMax()
	g.addRows()
	g.withNumbers("divide", "(out, x *float32, n int, by float32)", func(x Op) Op { return g.div(x, g.number("by")) })
	g.withNumbers("lower", "(out, x *float32, n int, by, then float32)", func(x Op) Op {
		return g.sub(g.sub(x, g.number("by")), g.number("then"))
	})
}

// withNumbers writes a function of one vector that has numbers among its parameters.
func (g isa) withNumbers(name, signature string, body func(x Op) Op) {
	g.entry("%s: %s,\n", name, g.function(name, signature))
	out, x, n := pointer("out"), pointer("x"), pointer("n")
	g.loop(n, func(i Register, mask Op) {
		g.store(body(g.load(at(x, i), mask)), at(out, i), mask)
	})
	VZEROUPPER()
	RET()
}

// Sums of a row have 32 partial sums in float64; element i goes to partial sum i mod 32, and these are added in
// a tree. So every instruction set, and portable Go, gives the same bits.
const partials = 32

func (g isa) sums() []VecVirtual {
	s := make([]VecVirtual, 2*partials/g.lanes())
	for i := range s {
		s[i] = g.zero()
	}
	return s
}

// rows writes body for blocks of 32 elements and for what is left: vector j of the block at element i.
func (g isa) rows(n Register, body func(j int, i Register, mask Op)) {
	i := GP64()
	XORQ(i, i)
	SUBQ(Imm(partials), n)
	JLT(LabelRef("rest"))
	Label("block")
	for j := range partials / g.lanes() {
		body(j, i, nil)
		ADDQ(Imm(uint64(g.lanes())), i)
	}
	SUBQ(Imm(partials), n)
	JGE(LabelRef("block"))
	Label("rest")
	ADDQ(Imm(partials), n)
	JZ(LabelRef("finish"))
	for j := range partials / g.lanes() {
		CMPQ(n, Imm(uint64(g.lanes())))
		JLT(LabelRef("part" + string(rune('0'+j))))
		body(j, i, nil)
		ADDQ(Imm(uint64(g.lanes())), i)
		SUBQ(Imm(uint64(g.lanes())), n)
		JZ(LabelRef("finish"))
	}
	for j := range partials / g.lanes() {
		Label("part" + string(rune('0'+j)))
		body(j, i, g.tailMask(n))
		JMP(LabelRef("finish"))
	}
	Label("finish")
}

// total adds the partial sums: those of element i and i+8, then of i+16, then halves of the eight that are left.
func (g isa) total(s []VecVirtual) Op {
	add := func(a, b Op) { VADDPD(b, a, a) }
	var y Register
	if g.wide {
		add(s[0], s[1])
		add(s[2], s[3])
		add(s[0], s[2])
		high := YMM()
		VEXTRACTF64X4(Imm(1), s[0], high)
		y = s[0].AsY()
		add(y, high)
	} else {
		for i := range 2 {
			add(s[i], s[i+2])
			add(s[i+4], s[i+6])
			add(s[i], s[i+4])
		}
		add(s[0], s[1])
		y = s[0]
	}
	high, x := XMM(), y.(Vec).AsX()
	VEXTRACTF128(Imm(1), y, high)
	add(x, high)
	VPERMILPD(Imm(1), x, high)
	VADDSD(high, x, x)
	return x
}

func (g isa) rowSum(name, signature string, accumulate func(low, high, sumLow, sumHigh Op)) {
	g.entry("%s: %s,\n", name, g.function(name, signature))
	x, n := pointer("x"), pointer("n")
	s := g.sums()
	g.rows(n, func(j int, i Register, mask Op) {
		low, high := g.halves(g.load(at(x, i), mask))
		accumulate(low, high, s[2*j], s[2*j+1])
	})
	Store(g.total(s).(Register), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// sumExp gives the sum of e^(x-shift), and writes them to out if it has one.
func (g isa) sumExp(name string, store bool) {
	signature := "(x *float32, n int, shift float32) float64"
	if store {
		signature = "(out, x *float32, n int, shift float32) float64"
	}
	g.entry("%s: %s,\n", name, g.function(name, signature))
	x, n := pointer("x"), pointer("n")
	var out Register
	if store {
		out = pointer("out")
	}
	shift := g.number("shift")
	s := g.sums()
	g.rows(n, func(j int, i Register, mask Op) {
		e := g.exp(g.sub(g.load(at(x, i), mask), shift))
		if store {
			g.store(e, at(out, i), mask)
		}
		if mask != nil {
			e = g.choose(mask, e, c(0))
		}
		low, high := g.halves(e)
		VADDPD(low, s[2*j], s[2*j])
		VADDPD(high, s[2*j+1], s[2*j+1])
	})
	Store(g.total(s).(Register), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// rowMax gives the largest element, or NaN.
func (g isa) rowMax() {
	g.entry("max: %s,\n", g.function("max", "(x *float32, n int) float32"))
	x, n := pointer("x"), pointer("n")
	var most []Op
	for range partials / g.lanes() {
		most = append(most, g.reg(c(math.Inf(-1))))
	}
	g.rows(n, func(j int, i Register, mask Op) {
		v := g.load(at(x, i), mask)
		if mask != nil {
			v = g.choose(mask, v, c(math.Inf(-1))).(VecVirtual)
		}
		VMOVAPS(g.maximum(most[j], v), most[j])
	})
	for len(most) > 1 {
		most = append(most[2:], g.maximum(most[0], most[1]))
	}
	y := most[0].(Vec).AsY().(Op)
	narrow := isa{"AVX2", false}
	if g.wide {
		high := YMM()
		VEXTRACTF64X4(Imm(1), most[0], high)
		y = narrow.maximum(y, high)
	}
	other := YMM()
	VPERM2F128(Imm(1), y, y, other)
	y = narrow.maximum(y, other)
	for _, order := range []uint64{0x4E, 0xB1} {
		other = YMM()
		VPERMILPS(Imm(order), y, other)
		y = narrow.maximum(y, other)
	}
	Store(y.(Vec).AsX(), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// addRows adds rows rows of n elements, a stride of ld apart, to n sums in float64, behind which there is room up to
// a multiple of 16.
func (g isa) addRows() {
	g.entry("addRows: %s,\n", g.function("addRows", "(sums *float64, x *float32, rows, ld, n int)"))
	sums, x, rows, ld := pointer("sums"), pointer("x"), pointer("rows"), pointer("ld")
	SHLQ(Imm(2), ld)
	Label("row")
	n := pointer("n")
	g.loop(n, func(i Register, mask Op) {
		low, high := g.halves(g.load(at(x, i), mask))
		for k, v := range []Op{low, high} {
			m := Mem{Base: sums, Index: i, Scale: 8, Disp: 4 * g.lanes() * k}
			VADDPD(m, v, v)
			VMOVUPD(v, m)
		}
	})
	ADDQ(ld, x)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// paramMem is the place of a parameter on the stack.
func paramMem(name string) Mem {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return p.Addr
}
