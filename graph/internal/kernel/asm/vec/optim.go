package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Optimiser steps: p is the parameter, grad its gradient, the rest state; all are read and written once.
func (g isa) optimisers() {
	g.entry("sgd: %s,\n", g.function("sgd", "(p, grad *float32, n int, scale, decay, lr float32)"))
	p, grad, n := pointer("p"), pointer("grad"), pointer("n")
	scale, decay, lr := g.number("scale"), g.number("decay"), g.number("lr")
	g.loop(n, func(i Register, mask Op) {
		x := g.load(at(p, i), mask)
		d := g.fma(decay, x, g.mul(scale, g.load(at(grad, i), mask)))
		g.store(g.fnma(lr, d, x), at(p, i), mask)
	})
	VZEROUPPER()
	RET()

	g.entry("momentum: %s,\n", g.function("momentum",
		"(p, grad, buf *float32, n int, scale, decay, keep, add, fromGrad, fromBuf, lr float32)"))
	p, grad, n = pointer("p"), pointer("grad"), pointer("n")
	buf := pointer("buf")
	scale, decay, lr = g.number("scale"), g.number("decay"), g.number("lr")
	keep, add, fromGrad, fromBuf := g.number("keep"), g.number("add"), g.number("fromGrad"), g.number("fromBuf")
	g.loop(n, func(i Register, mask Op) {
		x := g.load(at(p, i), mask)
		d := g.fma(decay, x, g.mul(scale, g.load(at(grad, i), mask)))
		b := g.fma(keep, g.load(at(buf, i), mask), g.mul(add, d))
		g.store(b, at(buf, i), mask)
		g.store(g.fnma(lr, g.fma(fromBuf, b, g.mul(fromGrad, d)), x), at(p, i), mask)
	})
	VZEROUPPER()
	RET()

	g.adam("adam", "", nil)
	g.adam("amsgrad", ", largest", func(i Register, v, mask Op) Op {
		largest := pointer("largest")
		v = g.maximum(g.load(at(largest, i), mask), v)
		g.store(v, at(largest, i), mask)
		return v
	})
}

func (g isa) adam(name, more string, second func(i Register, v, mask Op) Op) {
	g.entry("%s: %s,\n", name, g.function(name, "(p, grad, m, v"+more+
		" *float32, n int, scale, decay, keep, beta1, rest1, beta2, rest2, rate, correct, eps float32)"))
	p, grad, m, v, n := pointer("p"), pointer("grad"), pointer("m"), pointer("v"), pointer("n")
	g.loop(n, func(i Register, mask Op) {
		x := g.load(at(p, i), mask)
		d := g.mul(g.number("scale"), g.load(at(grad, i), mask))
		d = g.fma(g.number("decay"), x, d)
		mi := g.fma(g.number("beta1"), g.load(at(m, i), mask), g.mul(g.number("rest1"), d))
		g.store(mi, at(m, i), mask)
		vi := g.fma(g.number("beta2"), g.load(at(v, i), mask), g.mul(g.mul(g.number("rest2"), d), d))
		g.store(vi, at(v, i), mask)
		if second != nil {
			vi = second(i, vi, mask)
		}
		root := g.fma(g.sqrt(vi), g.number("correct"), g.number("eps"))
		y := g.div(g.mul(g.number("rate"), mi), root)
		g.store(g.sub(g.mul(g.number("keep"), x), y), at(p, i), mask)
	})
	VZEROUPPER()
	RET()
}

// number is a parameter in all lanes.
func (g isa) number(name string) Op { return g.broadcast(paramMem(name)) }
