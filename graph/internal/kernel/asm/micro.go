package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// rowVectors is the width in vectors of the kernel for a single row of A, which only waits for memory.
const rowVectors = 8

// ahead is how many rows of B that kernel asks for in advance.
const ahead = 8

func (u unit) microName(mr, nv int) string { return fmt.Sprintf("micro%dx%d%s", mr, nv, u.suffix()) }

// micro writes the kernel of a tile of mr rows and nv vectors: all sums stay in registers, one row of B and one element
// of A at a time are multiplied into them.
func (u unit) micro(mr, nv int) {
	function(u.microName(mr, nv), microArgs)
	k := Load(Param("k"), GP64())
	b := Load(Param("b"), GP64())
	ldb := Load(Param("ldb"), GP64())
	csa := Load(Param("csa"), GP64())
	rsa := Load(Param("rsa"), GP64())
	rsa3 := GP64()
	LEAQ(Mem{Base: rsa, Index: rsa, Scale: 2}, rsa3)
	// A base for every four rows.
	bases := []Register{Load(Param("a"), GP64())}
	for len(bases)*4 < mr {
		next := GP64()
		LEAQ(Mem{Base: bases[len(bases)-1], Index: rsa, Scale: 4}, next)
		bases = append(bases, next)
	}
	rowA := func(i int) Mem {
		m := Mem{Base: bases[i/4]}
		switch i % 4 {
		case 1, 2:
			m.Index, m.Scale = rsa, uint8(i%4)
		case 3:
			m.Index, m.Scale = rsa3, 1
		}
		return m
	}
	acc := make([][]VecVirtual, mr)
	for i := range acc {
		acc[i] = make([]VecVirtual, nv)
		for v := range acc[i] {
			acc[i][v] = u.vector()
			u.zero(acc[i][v])
		}
	}
	tail := Load(Param("tail"), GP64()).(GPVirtual)
	full := GP64()
	MOVQ(tail, full)
	m := u.lanesMask(tail)

	prefetch := mr == 1
	next := GP64()
	if prefetch {
		LEAQ(Mem{Base: b, Index: ldb, Scale: ahead}, next)
	}
	loop := func(label string, masked bool) {
		TESTQ(k, k)
		JZ(LabelRef(label + "Done"))
		Label(label)
		if prefetch {
			for v := 0; v < nv; v += 64 / u.bytes() {
				PREFETCHT0(Mem{Base: next, Disp: v * u.bytes()})
			}
			ADDQ(ldb, next)
		}
		loadB := func(v int) VecVirtual {
			x := u.vector()
			u.loadTail(Mem{Base: b, Disp: v * u.bytes()}, m, masked && v == nv-1, x)
			return x
		}
		if mr == 1 {
			x := u.vector()
			u.broadcast(rowA(0), x)
			for v := range nv {
				u.fma(loadB(v), x, acc[0][v])
			}
		} else {
			bv := make([]VecVirtual, nv)
			for v := range bv {
				bv[v] = loadB(v)
			}
			for i := range acc {
				x := u.vector()
				u.broadcast(rowA(i), x)
				for v := range bv {
					u.fma(bv[v], x, acc[i][v])
				}
			}
		}
		for _, base := range bases {
			ADDQ(csa, base)
		}
		ADDQ(ldb, b)
		DECQ(k)
		JNZ(LabelRef(label))
		Label(label + "Done")
	}
	if u.wide() {
		loop("loop", true)
	} else {
		CMPQ(full, Imm(uint64(u.lanes())))
		JNE(LabelRef("part"))
		loop("loop", false)
		JMP(LabelRef("sums"))
		Label("part")
		loop("partLoop", true)
		Label("sums")
	}

	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	flags := Load(Param("flags"), GP64())
	TESTQ(U32(1), flags)
	JZ(LabelRef("bias"))
	pc := GP64()
	MOVQ(c, pc)
	for i := range acc {
		for v := range acc[i] {
			x := u.vector()
			u.loadTail(Mem{Base: pc, Disp: v * u.bytes()}, m, v == nv-1, x)
			u.add(x, acc[i][v], acc[i][v])
		}
		ADDQ(ldc, pc)
	}
	Label("bias")
	TESTQ(U32(2), flags)
	JZ(LabelRef("rowBias"))
	bias := Load(Param("bias"), GP64())
	for v := range nv {
		x := u.vector()
		u.loadTail(Mem{Base: bias, Disp: v * u.bytes()}, m, v == nv-1, x)
		for i := range acc {
			u.add(x, acc[i][v], acc[i][v])
		}
	}
	Label("rowBias")
	TESTQ(U32(8), flags)
	JZ(LabelRef("relu"))
	rowBias := Load(Param("bias"), GP64())
	for i := range acc {
		x := u.vector()
		u.broadcast(Mem{Base: rowBias, Disp: i * u.size()}, x)
		for v := range acc[i] {
			u.add(x, acc[i][v], acc[i][v])
		}
	}
	Label("relu")
	TESTQ(U32(4), flags)
	JZ(LabelRef("store"))
	zero := u.vector()
	u.zero(zero)
	for i := range acc {
		for v := range acc[i] {
			u.max(acc[i][v], zero, acc[i][v])
		}
	}
	Label("store")
	store := func(masked bool) {
		for i := range acc {
			for v := range acc[i] {
				dst := Mem{Base: c, Disp: v * u.bytes()}
				if masked && v == nv-1 {
					u.storeMasked(acc[i][v], m, dst)
				} else {
					u.load(acc[i][v], dst)
				}
			}
			if i < mr-1 {
				ADDQ(ldc, c)
			}
		}
		VZEROUPPER()
		RET()
	}
	CMPQ(full, Imm(uint64(u.lanes())))
	JNE(LabelRef("storePart"))
	store(false)
	Label("storePart")
	store(true)
}

// loadTail reads a whole vector, or the lanes of the mask if it is the last of a row.
func (u unit) loadTail(src Op, m mask, last bool, dst Op) {
	if last {
		u.loadMasked(src, m, dst)
	} else {
		u.load(src, dst)
	}
}
