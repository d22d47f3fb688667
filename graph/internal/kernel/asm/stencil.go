package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// stencil writes the kernel of the depthwise convolution: rows of sums over taps of a weight times the source shifted by
// the tap's offset, u.nv vectors at a time. It reads whole vectors and stores width elements of each row.
func (u unit) stencil() {
	function("stencil"+u.suffix(), stencilArgs)
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	offsets := Load(Param("offsets"), GP64())
	weights := Load(Param("weights"), GP64())
	taps := Load(Param("taps"), GP64())
	flags := Load(Param("flags"), GP64())
	step := u.nv * u.lanes()

	start, relu := u.vector(), u.vector()
	u.zero(start)
	TESTQ(U32(8), flags)
	JZ(LabelRef("row"))
	bias := Load(Param("bias"), GP64())
	u.broadcast(Mem{Base: bias}, start)

	Label("row")
	left := Load(Param("width"), GP64())
	pd, ps := GP64(), GP64()
	MOVQ(dst, pd)
	MOVQ(src, ps)
	Label("vectors")
	acc := make([]VecVirtual, u.nv)
	for v := range acc {
		acc[v] = u.vector()
		u.load(start, acc[v])
	}
	t := GP64()
	XORQ(t, t)
	Label("tap")
	p := GP64()
	MOVQ(Mem{Base: offsets, Index: t, Scale: 8}, p)
	ADDQ(ps, p)
	w := u.vector()
	u.broadcast(Mem{Base: weights, Index: t, Scale: uint8(u.size())}, w)
	for v := range acc {
		u.fma(Mem{Base: p, Disp: v * u.bytes()}, w, acc[v])
	}
	INCQ(t)
	CMPQ(t, taps)
	JLT(LabelRef("tap"))
	TESTQ(U32(4), flags)
	JZ(LabelRef("store"))
	u.zero(relu)
	for v := range acc {
		u.max(acc[v], relu, acc[v])
	}
	Label("store")
	CMPQ(left, Imm(uint64(step)))
	JLT(LabelRef("part"))
	for v := range acc {
		u.load(acc[v], Mem{Base: pd, Disp: v * u.bytes()})
	}
	ADDQ(U32(uint32(u.nv*u.bytes())), pd)
	ADDQ(U32(uint32(u.nv*u.bytes())), ps)
	SUBQ(Imm(uint64(step)), left)
	JNZ(LabelRef("vectors"))
	JMP(LabelRef("next"))
	Label("part")
	zero, lanes := GP64(), GP64()
	XORQ(zero, zero)
	MOVQ(U32(uint32(u.lanes())), lanes)
	for v := range acc {
		n := GP64()
		MOVQ(left, n)
		SUBQ(Imm(uint64(v*u.lanes())), n)
		CMOVQLT(zero, n)
		CMPQ(n, lanes)
		CMOVQGT(lanes, n)
		u.storeMasked(acc[v], u.lanesMask(n), Mem{Base: pd, Disp: v * u.bytes()})
	}
	Label("next")
	ADDQ(paramMem("ldd"), dst)
	ADDQ(paramMem("lds"), src)
	DECQ(paramMem("rows"))
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
