package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// function of one vector, and how it is called in the table
type unary struct {
	key, name string
	body      func(x Op) Op
}

func (g isa) elementwise() {
	one := func() Op { return g.reg(c(1)) }
	g.entry("lanes: %d,\n", g.lanes())
	g.entry("unary: map[string]func(out, x *float32, n int){\n")
	for _, f := range []unary{
		{"neg", "neg", func(x Op) Op { return g.xor(x, bits(signBit)) }},
		{"abs", "abs", g.abs},
		{"square", "square", func(x Op) Op { return g.mul(x, x) }},
		{"sqrt", "sqrt", g.sqrt},
		{"rsqrt", "rsqrt", func(x Op) Op { return g.div(one(), g.sqrt(x)) }},
		{"reciprocal", "reciprocal", func(x Op) Op { return g.div(one(), x) }},
		{"relu", "relu", func(x Op) Op { return g.max(g.zero(), x) }},
		{"sign", "sign", g.sign},
		{"floor", "floor", func(x Op) Op { return g.round(x, down) }},
		{"round", "round", func(x Op) Op { return g.round(x, toEven) }},
		{"exp", "exp", g.exp},
		{"expm1", "expm1", g.expm1},
		{"log", "log", g.log},
		{"log1p", "log1p", g.log1p},
		{"tanh", "tanh", g.tanh},
		{"atanh", "atanh", g.atanh},
		{"sigmoid", "sigmoid", g.sigmoid},
		{"softplus", "softplus", g.softplus},
		{"erf", "erf", g.erf},
	} {
		name := g.function(f.name, "(out, x *float32, n int)")
		g.entry("%q: %s,\n", f.key, name)
		out, x, n := pointer("out"), pointer("x"), pointer("n")
		g.loop(n, func(i Register, mask Op) {
			g.store(f.body(g.load(at(x, i), mask)), at(out, i), mask)
		})
		VZEROUPPER()
		RET()
	}
	g.entry("},\ntrig: map[string]func(out, x *float32, n int) int{\n")
	for _, f := range []unary{{"sin", "sin", g.sin}, {"cos", "cos", g.cos}, {"tan", "tan", g.tan}} {
		name := g.function(f.name, "(out, x *float32, n int) int")
		g.entry("%q: %s,\n", f.key, name)
		out, x, n := pointer("out"), pointer("x"), pointer("n")
		done := GP64()
		g.loop(n, func(i Register, mask Op) {
			MOVQ(i, done)
			v := g.load(at(x, i), mask)
			g.jumpIfAny(g.compare(g.abs(v), greater, c(trigLimit)), "large")
			g.store(f.body(v), at(out, i), mask)
		})
		MOVQ(pointer("n"), done)
		Label("large")
		VZEROUPPER()
		Store(done, ReturnIndex(0))
		RET()
	}
	g.entry("},\n")
	g.binaries()
	g.where()
	g.atFirst("putFirst", func(hit, out, d Op) Op { return g.add(out, g.choose(hit, d, c(0))) })
	g.atFirst("pickFirst", func(hit, out, d Op) Op { return g.choose(hit, d, out) })
}

// atFirst writes a function that changes out by d where left is 1 and x is m, and makes left 0 there.
func (g isa) atFirst(name string, change func(hit, out, d Op) Op) {
	g.entry("%s: %s,\n", name, g.function(name, "(out, x, m, d, left *float32, n int)"))
	out, x, m, d, left, n := pointer("out"), pointer("x"), pointer("m"), pointer("d"), pointer("left"), pointer("n")
	g.loop(n, func(i Register, mask Op) {
		was := g.load(at(left, i), mask)
		taken := g.choose(g.compare(g.load(at(x, i), mask), equal, g.load(at(m, i), mask)), was, c(0))
		g.store(g.sub(was, taken), at(left, i), mask)
		hit := g.compare(taken, notEqual, c(0))
		g.store(change(hit, g.load(at(out, i), mask), g.load(at(d, i), mask)), at(out, i), mask)
	})
	VZEROUPPER()
	RET()
}

func (g isa) jumpIfAny(mask Op, label string) {
	r := GP32()
	if g.wide {
		KORTESTW(mask, mask)
		JNZ(LabelRef(label))
		return
	}
	VMOVMSKPS(mask, r)
	TESTL(r, r)
	JNZ(LabelRef(label))
}

// maximum and minimum give NaN if either operand is NaN.
func (g isa) maximum(a, b Op) Op {
	a = g.reg(a)
	return g.choose(g.compare(a, unordered, a), a, g.max(a, b))
}

func (g isa) minimum(a, b Op) Op {
	a = g.reg(a)
	return g.choose(g.compare(a, unordered, a), a, g.min(a, b))
}

func (g isa) comparison(how int) func(a, b Op) Op {
	return func(a, b Op) Op { return g.ones(g.compare(a, how, b)) }
}

// forms says which operand of a binary function is one number for all elements.
var forms = []struct {
	name             string
	scalarA, scalarB bool
}{{"", false, false}, {"Right", false, true}, {"Left", true, false}}

func (g isa) binaries() {
	g.entry("binary: map[string][3]func(out, a, b *float32, n int){\n")
	for _, f := range []struct {
		key, name string
		commutes  bool
		body      func(a, b Op) Op
	}{
		{"add", "add", true, g.add},
		{"sub", "sub", false, g.sub},
		{"mul", "mul", true, g.mul},
		{"div", "div", false, g.div},
		{"maximum", "maximum", true, g.maximum},
		{"minimum", "minimum", true, g.minimum},
		{"equal", "equal", true, g.comparison(equal)},
		{"not_equal", "notEqual", true, g.comparison(notEqual)},
		{"greater", "greater", false, g.comparison(greater)},
		{"greater_equal", "greaterEqual", false, g.comparison(greaterEqual)},
	} {
		g.entry("%q: {", f.key)
		for _, form := range forms {
			if form.scalarA && f.commutes {
				continue
			}
			name := g.function(f.name+form.name, "(out, a, b *float32, n int)")
			g.entry("%s,", name)
			out, a, b, n := pointer("out"), pointer("a"), pointer("b"), pointer("n")
			var sa, sb Op
			if form.scalarA {
				sa = g.broadcast(Mem{Base: a})
			}
			if form.scalarB {
				sb = g.broadcast(Mem{Base: b})
			}
			g.loop(n, func(i Register, mask Op) {
				va, vb := sa, sb
				if va == nil {
					va = g.load(at(a, i), mask)
				}
				if vb == nil {
					vb = g.load(at(b, i), mask)
				}
				g.store(f.body(va, vb), at(out, i), mask)
			})
			VZEROUPPER()
			RET()
		}
		g.entry("},\n")
	}
	g.entry("},\n")
}

func (g isa) where() {
	g.entry("where: [4]func(out, cond, a, b *float32, n int){\n")
	for _, form := range append(forms, struct {
		name             string
		scalarA, scalarB bool
	}{"Both", true, true}) {
		name := g.function("where"+form.name, "(out, cond, a, b *float32, n int)")
		g.entry("%s,\n", name)
		out, cond, a, b, n := pointer("out"), pointer("cond"), pointer("a"), pointer("b"), pointer("n")
		var sa, sb Op
		if form.scalarA {
			sa = g.broadcast(Mem{Base: a})
		}
		if form.scalarB {
			sb = g.broadcast(Mem{Base: b})
		}
		g.loop(n, func(i Register, mask Op) {
			va, vb := sa, sb
			if va == nil {
				va = g.load(at(a, i), mask)
			}
			if vb == nil {
				vb = g.load(at(b, i), mask)
			}
			yes := g.compare(g.load(at(cond, i), mask), notEqual, c(0))
			g.store(g.choose(yes, va, vb), at(out, i), mask)
		})
		VZEROUPPER()
		RET()
	}
	g.entry("},\n")
}
