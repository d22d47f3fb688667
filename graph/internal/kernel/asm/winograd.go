package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The transforms of F(4x4, 3x3) of Lavin and Gray (2016, arXiv:1509.09308, section 4.3). Each applies a one-dimensional
// transform to the columns of a tile, keeps the result in memory, and applies it to the rows of that. Vectors hold one
// element of the tile for neighbouring channels.

var winogradNumbers = []float64{4, 5, 2, 8, 1. / 4, 1. / 6, 1. / 12, 1. / 24}

func winogradConstants() {
	GLOBL("winograd", RODATA|NOPTR)
	for i, x := range winogradNumbers {
		DATA(4*i, U32(math.Float32bits(float32(x))))
	}
}

// constant loads one of winogradNumbers.
func (u unit) constant(x float64) VecVirtual {
	for i, y := range winogradNumbers {
		if x == y {
			v := u.vector()
			VBROADCASTSS(Mem{Symbol: Symbol{Name: "winograd", Static: true}, Base: StaticBase, Disp: 4 * i}, v)
			return v
		}
	}
	panic("no such constant")
}

func (u unit) sum(a, b VecVirtual) VecVirtual {
	d := u.vector()
	VADDPS(b, a, d)
	return d
}

func (u unit) difference(a, b VecVirtual) VecVirtual {
	d := u.vector()
	VSUBPS(b, a, d)
	return d
}

func (u unit) product(a, b VecVirtual) VecVirtual {
	d := u.vector()
	VMULPS(b, a, d)
	return d
}

// plus is a + c*b, minus is a - c*b.
func (u unit) plus(a, c, b VecVirtual) VecVirtual {
	d := u.vector()
	VMOVAPS(a, d)
	VFMADD231PS(c, b, d)
	return d
}

func (u unit) minus(a, c, b VecVirtual) VecVirtual {
	d := u.vector()
	VMOVAPS(a, d)
	VFNMADD231PS(c, b, d)
	return d
}

func (u unit) winograd() {
	u.winogradInput()
	u.winogradWeight()
	u.winogradOutput()
	u.winogradGrad()
	u.winogradKernel()
}

// steps addresses up to six places a step apart.
type steps struct{ one, three, five Register }

func stepsOf(step Register) steps {
	s := steps{step, GP64(), GP64()}
	LEAQ(Mem{Base: step, Index: step, Scale: 2}, s.three)
	LEAQ(Mem{Base: step, Index: step, Scale: 4}, s.five)
	return s
}

func (s steps) at(base Register, i int) Mem {
	m := Mem{Base: base}
	switch i {
	case 1, 2, 4:
		m.Index, m.Scale = s.one, uint8(i)
	case 3:
		m.Index, m.Scale = s.three, 1
	case 5:
		m.Index, m.Scale = s.five, 1
	}
	return m
}

// line reads n vectors.
func (u unit) line(n int, at func(i int) Mem) []VecVirtual {
	d := make([]VecVirtual, n)
	for i := range d {
		d[i] = u.vector()
		u.load(at(i), d[i])
	}
	return d
}

// sixTimes returns 6*step.
func sixTimes(step Register) Register {
	six := GP64()
	LEAQ(Mem{Base: step, Index: step, Scale: 2}, six)
	ADDQ(six, six)
	return six
}

func copied(r Register) Register {
	c := GP64()
	MOVQ(r, c)
	return c
}

// winogradInput writes the transform of 6x6 tiles of the input: B'dB.
func (u unit) winogradInput() {
	u.winogradTile("winogradInput", 6, u.inputTransform)
}

func (u unit) inputTransform() func(d []VecVirtual) []VecVirtual {
	two, four, five := u.constant(2), u.constant(4), u.constant(5)
	return func(d []VecVirtual) []VecVirtual {
		a, b := u.minus(d[4], four, d[2]), u.minus(d[3], four, d[1])
		c, e := u.difference(d[4], d[2]), u.difference(d[3], d[1])
		return []VecVirtual{
			u.plus(u.minus(d[4], five, d[2]), four, d[0]),
			u.sum(a, b), u.difference(a, b), u.plus(c, two, e), u.minus(c, two, e),
			u.plus(u.minus(d[5], five, d[3]), four, d[1]),
		}
	}
}

// winogradGrad writes the transform of 4x4 tiles of the output's gradient: AyA'.
func (u unit) winogradGrad() {
	u.winogradTile("winogradGrad", 4, func() func(y []VecVirtual) []VecVirtual {
		two, four := u.constant(2), u.constant(4)
		return func(y []VecVirtual) []VecVirtual {
			a, b := u.sum(y[0], y[2]), u.sum(y[1], y[3])
			c, d := u.plus(y[0], four, y[2]), u.product(two, u.plus(y[1], four, y[3]))
			return []VecVirtual{y[0], u.sum(a, b), u.difference(a, b), u.sum(c, d), u.difference(c, d), y[3]}
		}
	})
}

// winogradTile writes the transform of edge x edge tiles to 36 components.
func (u unit) winogradTile(name string, edge int, prepare func() func([]VecVirtual) []VecVirtual) {
	function(name+u.suffix(), winogradInputArgs)
	dst := Load(Param("dst"), GP64())
	dstStep := Load(Param("dstStep"), GP64())
	src := Load(Param("src"), GP64())
	transform := prepare()
	Label("loop")
	{
		from, to := copied(src), copied(dst)
		rows, results := stepsOf(Load(Param("row"), GP64())), stepsOf(sixTimes(dstStep))
		for range edge {
			d := u.line(edge, func(i int) Mem { return rows.at(from, i) })
			for i, v := range transform(d) {
				u.load(v, results.at(to, i))
			}
			ADDQ(paramMem("pixel"), from)
			ADDQ(dstStep, to)
		}
	}
	row, six, columns := copied(dst), sixTimes(dstStep), stepsOf(dstStep)
	for range 6 {
		d := u.line(edge, func(j int) Mem { return columns.at(row, j) })
		for j, v := range transform(d) {
			u.load(v, columns.at(row, j))
		}
		ADDQ(six, row)
	}
	ADDQ(Imm(uint64(u.bytes())), src)
	ADDQ(Imm(uint64(u.bytes())), dst)
	DECQ(paramMem("vectors"))
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// winogradWeight writes the transform of 3x3 kernels: GgG'.
func (u unit) winogradWeight() {
	function("winogradWeight"+u.suffix(), winogradWeightArgs)
	dst := Load(Param("dst"), GP64())
	dstStep := Load(Param("dstStep"), GP64())
	src := Load(Param("src"), GP64())
	srcStep := Load(Param("srcStep"), GP64())
	quarter, sixth, twelfth, last := u.constant(1./4), u.constant(1./6), u.constant(1./12), u.constant(1./24)
	transform := func(g []VecVirtual) []VecVirtual {
		a := u.product(sixth, u.sum(g[0], g[2]))
		b := u.plus(u.product(sixth, g[2]), last, g[0])
		zero := u.vector()
		u.zero(zero)
		return []VecVirtual{
			u.product(quarter, g[0]),
			u.minus(u.difference(zero, a), sixth, g[1]), u.plus(u.difference(zero, a), sixth, g[1]),
			u.plus(b, twelfth, g[1]), u.minus(b, twelfth, g[1]), g[2],
		}
	}
	{
		to := copied(dst)
		three, results := GP64(), stepsOf(sixTimes(dstStep))
		LEAQ(Mem{Base: srcStep, Index: srcStep, Scale: 2}, three)
		for range 3 {
			g := u.line(3, func(i int) Mem {
				m := Mem{Base: src}
				if i > 0 {
					m.Index, m.Scale = three, uint8(i)
				}
				return m
			})
			for i, v := range transform(g) {
				u.load(v, results.at(to, i))
			}
			ADDQ(srcStep, src)
			ADDQ(dstStep, to)
		}
	}
	row, six, columns := copied(dst), sixTimes(dstStep), stepsOf(dstStep)
	for range 6 {
		g := u.line(3, func(j int) Mem { return columns.at(row, j) })
		for j, v := range transform(g) {
			u.load(v, columns.at(row, j))
		}
		ADDQ(six, row)
	}
	VZEROUPPER()
	RET()
}

// winogradOutput writes the transform of the products to 4x4 tiles of the output: A'mA, bias and ReLU. It overwrites the
// products.
func (u unit) winogradOutput() {
	function("winogradOutput"+u.suffix(), winogradOutputArgs)
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	srcStep := Load(Param("srcStep"), GP64())
	bias := Load(Param("bias"), GP64())
	flags := Load(Param("flags"), GP64())
	two, four, eight := u.constant(2), u.constant(4), u.constant(8)
	transform := func(m []VecVirtual) []VecVirtual {
		a, b := u.sum(m[1], m[2]), u.difference(m[1], m[2])
		c, d := u.sum(m[3], m[4]), u.difference(m[3], m[4])
		return []VecVirtual{u.sum(m[0], u.sum(a, c)), u.plus(b, two, d), u.plus(a, four, c), u.sum(u.plus(b, eight, d), m[5])}
	}
	Label("loop")
	{
		p := copied(src)
		rows := stepsOf(sixTimes(srcStep))
		for range 6 {
			m := u.line(6, func(i int) Mem { return rows.at(p, i) })
			for i, v := range transform(m) {
				u.load(v, rows.at(p, i))
			}
			ADDQ(srcStep, p)
		}
	}
	add, floor := u.vector(), u.vector()
	u.zero(add)
	TESTQ(U32(2), flags)
	JZ(LabelRef("noBias"))
	u.load(Mem{Base: bias}, add)
	Label("noBias")
	p, six, columns := copied(src), sixTimes(srcStep), stepsOf(srcStep)
	to := copied(dst)
	pixels := stepsOf(Load(Param("pixel"), GP64()))
	for i := range 4 {
		m := u.line(6, func(j int) Mem { return columns.at(p, j) })
		y := transform(m)
		for j := range y {
			y[j] = u.sum(y[j], add)
		}
		end := string(rune('0' + i))
		TESTQ(U32(4), flags)
		JZ(LabelRef("store" + end))
		u.zero(floor)
		for j := range y {
			u.max(y[j], floor, y[j])
		}
		Label("store" + end)
		for j := range y {
			u.load(y[j], pixels.at(to, j))
		}
		ADDQ(six, p)
		ADDQ(paramMem("row"), to)
	}
	ADDQ(Imm(uint64(u.bytes())), src)
	ADDQ(Imm(uint64(u.bytes())), dst)
	ADDQ(Imm(uint64(u.bytes())), bias)
	DECQ(paramMem("vectors"))
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// winogradKernel writes the transform of the products to the gradient of 3x3 kernels: G'mG. It overwrites the products.
func (u unit) winogradKernel() {
	function("winogradKernel"+u.suffix(), winogradWeightArgs)
	dst := Load(Param("dst"), GP64())
	dstStep := Load(Param("dstStep"), GP64())
	src := Load(Param("src"), GP64())
	srcStep := Load(Param("srcStep"), GP64())
	quarter, sixth, twelfth, last := u.constant(1./4), u.constant(1./6), u.constant(1./12), u.constant(1./24)
	transform := func(m []VecVirtual) []VecVirtual {
		a, b := u.sum(m[1], m[2]), u.sum(m[3], m[4])
		return []VecVirtual{
			u.plus(u.minus(u.product(quarter, m[0]), sixth, a), last, b),
			u.plus(u.product(sixth, u.difference(m[2], m[1])), twelfth, u.difference(m[3], m[4])),
			u.plus(m[5], sixth, u.difference(b, a)),
		}
	}
	{
		p, rows := copied(src), stepsOf(sixTimes(srcStep))
		for range 6 {
			m := u.line(6, func(i int) Mem { return rows.at(p, i) })
			for i, v := range transform(m) {
				u.load(v, rows.at(p, i))
			}
			ADDQ(srcStep, p)
		}
	}
	six, columns := sixTimes(srcStep), stepsOf(srcStep)
	for range 3 {
		m := u.line(6, func(j int) Mem { return columns.at(src, j) })
		for _, v := range transform(m) {
			u.load(v, Mem{Base: dst})
			ADDQ(dstStep, dst)
		}
		ADDQ(six, src)
	}
	VZEROUPPER()
	RET()
}
