package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// pick chooses the single or double precision form of an instruction.
func pick[F any](u unit, single, double F) F {
	if u.double {
		return double
	}
	return single
}

type (
	two   func(a, b Op)
	three func(a, b, c Op)
)

func (u unit) load(src, dst Op) {
	pick[two](u, func(a, b Op) { VMOVUPS(a, b) }, func(a, b Op) { VMOVUPD(a, b) })(src, dst)
}

func (u unit) broadcast(src, dst Op) {
	pick[two](u, func(a, b Op) { VBROADCASTSS(a, b) }, func(a, b Op) { VBROADCASTSD(a, b) })(src, dst)
}

func (u unit) fma(a, b, sum Op) {
	pick[three](u, func(a, b, c Op) { VFMADD231PS(a, b, c) }, func(a, b, c Op) { VFMADD231PD(a, b, c) })(a, b, sum)
}

func (u unit) add(a, b, sum Op) {
	pick[three](u, func(a, b, c Op) { VADDPS(a, b, c) }, func(a, b, c Op) { VADDPD(a, b, c) })(a, b, sum)
}

// max keeps a NaN that is in x.
func (u unit) max(x, zero, dst Op) {
	pick[three](u, func(a, b, c Op) { VMAXPS(a, b, c) }, func(a, b, c Op) { VMAXPD(a, b, c) })(x, zero, dst)
}

func (u unit) zero(v Op) {
	if u.wide() {
		VPXORD(v, v, v)
	} else {
		VXORPS(v, v, v)
	}
}

// mask selects the first lanes of a vector.
type mask struct{ reg Op }

// lanesMask makes the mask of the first count lanes; count is consumed. 0 <= count <= lanes.
func (u unit) lanesMask(count GPVirtual) mask {
	if u.wide() {
		one := GP64()
		MOVQ(U32(1), one)
		SHLXQ(count, one, one)
		DECQ(one)
		k := K()
		KMOVW(one.As32(), k)
		return mask{k}
	}
	table := GP64()
	LEAQ(Mem{Symbol: Symbol{Name: "masks", Static: true}, Base: StaticBase}, table)
	NEGQ(count)
	v := YMM()
	VMOVUPS(Mem{Base: table, Index: count, Scale: uint8(u.size()), Disp: 32}, v)
	return mask{v}
}

// loadMasked reads the lanes of the mask and zeroes the others.
func (u unit) loadMasked(src Op, m mask, dst Op) {
	switch {
	case u.wide():
		pick(u, func() { VMOVUPS_Z(src, m.reg, dst) }, func() { VMOVUPD_Z(src, m.reg, dst) })()
	default:
		pick[three](u, func(a, b, c Op) { VMASKMOVPS(a, b, c) }, func(a, b, c Op) { VMASKMOVPD(a, b, c) })(src, m.reg, dst)
	}
}

func (u unit) storeMasked(src Op, m mask, dst Op) {
	switch {
	case u.wide():
		pick(u, func() { VMOVUPS(src, m.reg, dst) }, func() { VMOVUPD(src, m.reg, dst) })()
	default:
		pick[three](u, func(a, b, c Op) { VMASKMOVPS(a, b, c) }, func(a, b, c Op) { VMASKMOVPD(a, b, c) })(src, m.reg, dst)
	}
}
