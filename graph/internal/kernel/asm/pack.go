package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// copyPanel writes the loop that copies rows of cols elements into rows of nv whole vectors.
func (u unit) copyPanel(name string, nv int) {
	function("copy"+name+u.suffix(), copyArgs)
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	src := Load(Param("src"), GP64())
	lds := Load(Param("lds"), GP64())
	count := Load(Param("count"), GP64())
	cols := Load(Param("cols"), GP64())
	m := make([]mask, nv)
	zero, lanes := GP64(), GP64()
	XORQ(zero, zero)
	MOVQ(U32(uint32(u.lanes())), lanes)
	for v := range m {
		n := GP64()
		MOVQ(cols, n)
		SUBQ(Imm(uint64(v*u.lanes())), n)
		CMOVQLT(zero, n)
		CMPQ(n, lanes)
		CMOVQGT(lanes, n)
		m[v] = u.lanesMask(n)
	}
	Label("loop")
	for v := range m {
		x := u.vector()
		u.loadMasked(Mem{Base: src, Disp: v * u.bytes()}, m[v], x)
		u.load(x, Mem{Base: dst, Disp: v * u.bytes()})
	}
	ADDQ(lds, src)
	ADDQ(ldd, dst)
	DECQ(count)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// evens is the index vector that picks the even elements of two vectors.
func evens() {
	GLOBL("evens", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(2*i)))
	}
}

// pieces writes the loop that copies lanes from..to-1 of count rows, and zeros into the other lanes below width, which
// is at most u.nv vectors. With a step of 2 it reads every second element.
func (u unit) pieces(name string, step int) {
	function(name+u.suffix(), piecesArgs)
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	src := Load(Param("src"), GP64())
	ADDQ(Load(Param("offset"), GP64()), src)
	lds := Load(Param("lds"), GP64())
	count := Load(Param("count"), GP64())
	zero, lanes := GP64(), GP64()
	XORQ(zero, zero)
	MOVQ(U32(uint32(u.lanes())), lanes)
	// below makes the mask of the elements of vector v that lie below limit.
	below := func(limit Register, v int) mask {
		c := GP64()
		MOVQ(limit, c)
		SUBQ(Imm(uint64(v*u.lanes())), c)
		CMOVQLT(zero, c)
		CMPQ(c, lanes)
		CMOVQGT(lanes, c)
		return u.lanesMask(c)
	}
	first, last := Load(Param("from"), GP64()), Load(Param("to"), GP64())
	if step == 2 {
		ADDQ(first, first)
		ADDQ(last, last)
		SUBQ(Imm(1), last)
	}
	load, store := make([]mask, step*u.nv), make([]mask, u.nv)
	for v := range load {
		m, from := below(last, v), below(first, v)
		if u.wide() {
			KANDNW(m.reg, from.reg, m.reg)
		} else {
			VANDNPS(m.reg, from.reg, m.reg)
		}
		load[v] = m
	}
	width := Load(Param("width"), GP64())
	for v := range store {
		store[v] = below(width, v)
	}
	var index VecVirtual
	if step == 2 && u.wide() {
		index = ZMM()
		VMOVUPS(Mem{Symbol: Symbol{Name: "evens", Static: true}, Base: StaticBase}, index)
	}
	read := func(v int) VecVirtual {
		x := u.vector()
		u.loadMasked(Mem{Base: src, Disp: v * u.bytes()}, load[v], x)
		return x
	}
	loop := func(label string, nv int) {
		Label(label)
		for v := range nv {
			var x VecVirtual
			switch {
			case step == 1:
				x = read(v)
			case u.wide():
				a, b := read(2*v), read(2*v+1)
				x = u.vector()
				VMOVAPS(index, x)
				VPERMI2PS(b, a, x)
			default:
				a, b := read(2*v), read(2*v+1)
				x = u.vector()
				VSHUFPS(Imm(0x88), b, a, x)
				VPERMPD(Imm(0xd8), x, x)
			}
			u.storeMasked(x, store[v], Mem{Base: dst, Disp: v * u.bytes()})
		}
		ADDQ(lds, src)
		ADDQ(ldd, dst)
		DECQ(count)
		JNZ(LabelRef(label))
		VZEROUPPER()
		RET()
	}
	CMPQ(width, lanes)
	JLE(LabelRef("one"))
	loop("all", u.nv)
	loop("one", 1)
}

// transpose writes the loop that turns up to lanes rows of src into columns of dst, lanes columns of src at a time.
// Missing rows are read as the last one. It stores whole vectors, or, if part is set, nothing beside the rows.
func (u unit) transpose(part bool) {
	name, store := "trans", func(x VecVirtual, dst Op) { u.load(x, dst) }
	if part {
		name = "transPart"
	}
	function(name+u.suffix(), transArgs)
	dst := Load(Param("dst"), GP64())
	ldd := Load(Param("ldd"), GP64())
	src := Load(Param("src"), GP64())
	lds := Load(Param("lds"), GP64())
	rows := Load(Param("rows"), GP64())
	count := Load(Param("count"), GP64())
	n := u.lanes()
	if part {
		r := GP64()
		MOVQ(rows, r)
		width := u.lanesMask(r)
		if !u.wide() { // no register is left for the mask
			spill := AllocLocal(32)
			VMOVUPS(width.reg, spill)
			store = func(x VecVirtual, dst Op) {
				w := YMM()
				VMOVUPS(spill, w)
				u.storeMasked(x, mask{w}, dst)
			}
		} else {
			store = func(x VecVirtual, dst Op) { u.storeMasked(x, width, dst) }
		}
	}

	block := func(masked bool, m mask) []VecVirtual {
		v := make([]VecVirtual, n)
		p, next := GP64(), GP64()
		MOVQ(src, p)
		for i := range v {
			v[i] = u.vector()
			if masked {
				u.loadMasked(Mem{Base: p}, m, v[i])
			} else {
				u.load(Mem{Base: p}, v[i])
			}
			if i < n-1 {
				LEAQ(Mem{Base: p, Index: lds, Scale: 1}, next)
				CMPQ(rows, Imm(uint64(i+1)))
				CMOVQGT(next, p)
			}
		}
		return u.transposed(v)
	}

	Label("loop")
	CMPQ(count, Imm(uint64(n)))
	JLT(LabelRef("part"))
	for _, x := range block(false, mask{}) {
		store(x, Mem{Base: dst})
		ADDQ(ldd, dst)
	}
	ADDQ(Imm(uint64(u.bytes())), src)
	SUBQ(Imm(uint64(n)), count)
	JMP(LabelRef("loop"))

	Label("part")
	TESTQ(count, count)
	JZ(LabelRef("done"))
	left := GP64()
	MOVQ(count, left)
	m := u.lanesMask(left)
	for i, x := range block(true, m) {
		store(x, Mem{Base: dst})
		CMPQ(count, Imm(uint64(i+1)))
		JE(LabelRef("done"))
		ADDQ(ldd, dst)
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// transposed returns the transpose of the square matrix whose rows are v.
func (u unit) transposed(v []VecVirtual) []VecVirtual {
	// Within 128-bit parts: afterwards w[i] holds, in part q, column q*per+i%per of rows i/per*per...
	per := 16 / u.size()
	w := make([]VecVirtual, len(v))
	new := func(op func(dst Op)) VecVirtual {
		d := u.vector()
		op(d)
		return d
	}
	for i := 0; i < len(v); i += per {
		if u.double {
			w[i] = new(func(d Op) { VUNPCKLPD(v[i+1], v[i], d) })
			w[i+1] = new(func(d Op) { VUNPCKHPD(v[i+1], v[i], d) })
			continue
		}
		lo01 := new(func(d Op) { VUNPCKLPS(v[i+1], v[i], d) })
		hi01 := new(func(d Op) { VUNPCKHPS(v[i+1], v[i], d) })
		lo23 := new(func(d Op) { VUNPCKLPS(v[i+3], v[i+2], d) })
		hi23 := new(func(d Op) { VUNPCKHPS(v[i+3], v[i+2], d) })
		w[i] = new(func(d Op) { VUNPCKLPD(lo23, lo01, d) })
		w[i+1] = new(func(d Op) { VUNPCKHPD(lo23, lo01, d) })
		w[i+2] = new(func(d Op) { VUNPCKLPD(hi23, hi01, d) })
		w[i+3] = new(func(d Op) { VUNPCKHPD(hi23, hi01, d) })
	}
	out := make([]VecVirtual, len(v))
	for i := range per {
		if !u.wide() {
			a, b := w[i], w[i+per]
			out[i] = new(func(d Op) { VPERM2F128(Imm(0x20), b, a, d) })
			out[i+per] = new(func(d Op) { VPERM2F128(Imm(0x31), b, a, d) })
			continue
		}
		// Four vectors of four parts: transpose the parts.
		a, b, c, e := w[i], w[i+per], w[i+2*per], w[i+3*per]
		ab02 := new(func(d Op) { VSHUFF32X4(Imm(0x88), b, a, d) }) // a0 a2 b0 b2
		ab13 := new(func(d Op) { VSHUFF32X4(Imm(0xdd), b, a, d) })
		ce02 := new(func(d Op) { VSHUFF32X4(Imm(0x88), e, c, d) })
		ce13 := new(func(d Op) { VSHUFF32X4(Imm(0xdd), e, c, d) })
		out[i] = new(func(d Op) { VSHUFF32X4(Imm(0x88), ce02, ab02, d) })
		out[i+2*per] = new(func(d Op) { VSHUFF32X4(Imm(0xdd), ce02, ab02, d) })
		out[i+per] = new(func(d Op) { VSHUFF32X4(Imm(0x88), ce13, ab13, d) })
		out[i+3*per] = new(func(d Op) { VSHUFF32X4(Imm(0xdd), ce13, ab13, d) })
	}
	return out
}
