package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// dot writes the kernel that multiplies lines of A with up to eight (float64: four) series of lines of B.
func (u unit) dot() {
	function("dot"+u.suffix(), dotArgs)
	rows := 32 / u.size() // the sums fill a YMM register
	k := Load(Param("k"), GP64())
	lines := Load(Param("lines"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	ldb := Load(Param("ldb"), GP64())
	count := Load(Param("rows"), GP64())
	pointers := []Register{b}
	for i := 1; i < rows; i++ {
		last := pointers[i-1]
		p, next := GP64(), GP64()
		MOVQ(last, p)
		LEAQ(Mem{Base: last, Index: ldb, Scale: 1}, next)
		CMPQ(count, Imm(uint64(i)))
		CMOVQGT(next, p)
		pointers = append(pointers, p)
	}
	sum := make([]VecVirtual, rows)
	for i := range sum {
		sum[i] = u.vector()
		u.zero(sum[i])
	}
	x, y := u.vector(), u.vector()
	n := GP64()
	MOVQ(k, n)
	ANDQ(Imm(uint64(u.lanes()-1)), n)
	m := u.lanesMask(n)
	SUBQ(Imm(uint64(u.lanes())), k)

	Label("line")
	XORQ(n, n)
	TESTQ(k, k)
	JLT(LabelRef("tail"))
	Label("loop")
	at := func(p Register) Mem { return Mem{Base: p, Index: n, Scale: uint8(u.size())} }
	u.load(at(a), x)
	for i := range sum {
		u.fma(at(pointers[i]), x, sum[i])
	}
	ADDQ(Imm(uint64(u.lanes())), n)
	CMPQ(n, k)
	JLE(LabelRef("loop"))
	Label("tail")
	SUBQ(Imm(uint64(u.lanes())), n)
	CMPQ(n, k)
	JEQ(LabelRef("next"))
	ADDQ(Imm(uint64(u.lanes())), n)
	u.loadMasked(at(a), m, x)
	for i := range sum {
		u.loadMasked(at(pointers[i]), m, y)
		u.fma(y, x, sum[i])
	}
	Label("next")
	ADDQ(paramMem("stepA"), a)
	for _, p := range pointers {
		ADDQ(paramMem("stepB"), p)
	}
	DECQ(lines)
	JNZ(LabelRef("line"))

	Label("sums")
	half := make([]Op, rows)
	for i := range sum {
		half[i] = sum[i]
		if u.wide() {
			high := YMM()
			VEXTRACTF64X4(Imm(1), sum[i], high)
			half[i] = YMM()
			u.add(sum[i].AsY(), high, half[i])
		}
	}
	// Pairs of neighbours, until a vector holds in each 128-bit part the part's sums of its rows.
	pairs := pick[three](u, func(a, b, c Op) { VHADDPS(a, b, c) }, func(a, b, c Op) { VHADDPD(a, b, c) })
	for len(half) > 2 {
		for i := range len(half) / 2 {
			pairs(half[2*i+1], half[2*i], half[i])
		}
		half = half[:len(half)/2]
	}
	low, total := YMM(), YMM()
	VPERM2F128(Imm(0x20), half[1], half[0], low)
	VPERM2F128(Imm(0x31), half[1], half[0], total)
	u.add(low, total, total)

	narrow := unit{isa: "avx2", double: u.double}
	c := Load(Param("c"), GP64())
	flags := Load(Param("flags"), GP64())
	full := GP64()
	MOVQ(count, full)
	ends := narrow.lanesMask(count.(GPVirtual))
	TESTQ(U32(1), flags)
	JZ(LabelRef("bias"))
	narrow.loadMasked(Mem{Base: c}, ends, low)
	u.add(low, total, total)
	Label("bias")
	TESTQ(U32(2), flags)
	JZ(LabelRef("relu"))
	bias := Load(Param("bias"), GP64())
	narrow.loadMasked(Mem{Base: bias}, ends, low)
	u.add(low, total, total)
	Label("relu")
	TESTQ(U32(4), flags)
	JZ(LabelRef("store"))
	narrow.zero(low)
	u.max(total, low, total)
	Label("store")
	CMPQ(full, Imm(uint64(rows)))
	JNE(LabelRef("part"))
	u.load(total, Mem{Base: c})
	VZEROUPPER()
	RET()
	Label("part")
	narrow.storeMasked(total, ends, Mem{Base: c})
	VZEROUPPER()
	RET()
}

// paramMem is the place of a parameter on the stack.
func paramMem(name string) Op {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return p.Addr
}
