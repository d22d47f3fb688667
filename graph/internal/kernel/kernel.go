// Package kernel holds the loops that do the arithmetic of a compiled program: a worker pool, matrix products,
// convolutions, and vector loops for elementwise functions, reductions, random numbers and optimiser steps.
//
// Every operation is a struct that describes shapes; it is made once, when a program is compiled, and run many times
// on plain slices without allocating (one precision a value: to change it prepares anew). A value must not be run by two
// goroutines at once; different values may.
//
// Work is cut into tasks by shape alone and every sum has one order, so results are the same bits for any GOMAXPROCS. Nothing is skipped because a factor is zero: NaN and Inf propagate as in plain
// loops. On amd64 the inner loops are assembly for AVX-512 or AVX2 with FMA, chosen at start-up; elsewhere, and with
// the build tag purego, they are portable Go. The instruction sets may differ in the last bits of a sum.
package kernel

import (
	"sync"
	"unsafe"
)

// microFunc multiplies an mr x k block of A with a k x nc block of B into an mr x nc block of C; mr belongs to the
// function. A's element (i, p) lies at a + i*rsa + p*csa, row p of B at b + p*ldb, row i of C at c + i*ldc (bytes).
// tail, 1..lanes, is the number of columns in the last vector of a row. flags are the flag bits; bias is a row of B's
// width.
type microFunc func(k int, a unsafe.Pointer, rsa, csa int, b unsafe.Pointer, ldb int, c unsafe.Pointer, ldc int, bias unsafe.Pointer, tail, flags int)

// dotFunc multiplies lines of A with rows series of lines of B, at most 32/size, and sums over all of them: element p of
// line l lies at a + l*stepA + p*size, that of series i at b + i*ldb + l*stepB + p*size, p < k. It finishes the sums as a
// microFunc does, into c.
type dotFunc func(k, lines int, a unsafe.Pointer, stepA int, b unsafe.Pointer, ldb, stepB int, c, bias unsafe.Pointer, rows, flags int)

// stencilFunc computes rows of width elements, dst(y, x) = sum over t of weights[t] * src(y, x + offsets[t]) with offsets
// in bytes; flags are flagReLU and flagRowBias with a single bias. It reads whole vectors: up to nr elements behind src's
// last.
type stencilFunc func(dst unsafe.Pointer, ldd int, src unsafe.Pointer, lds, rows, width int, offsets, weights unsafe.Pointer, taps int, bias unsafe.Pointer, flags int)

// piecesFunc copies count >= 1 rows of width elements, at most nr: in each of them the elements from..to-1 are read from
// src + offset (elements outside are not touched, so it may lie outside src), the others become zero.
type piecesFunc func(dst unsafe.Pointer, ldd int, src unsafe.Pointer, offset, lds, count, from, to, width int)

// The flags of microFunc, dotFunc and stencilFunc: what is done after the product, in this order.
const (
	flagAdd     = 1 << iota // add to C instead of replacing it
	flagBias                // add the bias row
	flagReLU                // replace what is below zero by zero, keeping NaN
	flagRowBias             // before ReLU: add bias[i] to row i
)

// copyFunc copies count >= 1 rows of cols elements, at most the panel width, from src (stride lds) to dst (stride ldd).
// It stores whole vectors, in the order of the rows: what is right of a row is overwritten, by less than a vector more
// than the panel width.
type copyFunc func(dst unsafe.Pointer, ldd int, src unsafe.Pointer, lds int, count, cols int)

// transFunc writes dst(p, i) = src(i, p) for i < rows, p < count, with 1 <= rows <= lanes; element (p, i) of dst lies at
// dst + p*ldd + i*size. It stores whole vectors, in the order of p: what is right of the rows is overwritten.
type transFunc func(dst unsafe.Pointer, ldd int, src unsafe.Pointer, lds int, rows, count int)

// kernelSet is what one instruction set offers for one element type.
type kernelSet struct {
	name   string
	lesser *kernelSet // the next best set of this machine, or nil
	size   int        // bytes an element
	lanes  int        // elements a vector
	mr, nr int        // rows and columns of the largest micro tile; nr is a multiple of lanes

	micro     []microFunc // [(vectors-1)*mr + rows-1]
	row       []microFunc // tiles of one row and 1, 2, ... vectors, for a single row of A
	dot       dotFunc
	copyA     copyFunc // panels mr wide
	copyB     copyFunc // panels nr wide
	trans     transFunc
	transPart transFunc // trans that writes nothing beside the rows

	pieces     piecesFunc
	evenPieces piecesFunc // reads every second element; or nil
	stencil    stencilFunc

	// The transforms of conv_winograd.go, or nil. A tile's element (i, j) of the transformed domain lies at
	// dst + (6*i+j)*dstStep, and vectors of channels next to each other.
	winogradInput  func(dst unsafe.Pointer, dstStep int, src unsafe.Pointer, row, pixel, vectors int)
	winogradWeight func(dst unsafe.Pointer, dstStep int, src unsafe.Pointer, srcStep int)
	winogradOutput func(dst unsafe.Pointer, row, pixel int, src unsafe.Pointer, srcStep int, bias unsafe.Pointer, vectors, flags int)
	winogradGrad   func(dst unsafe.Pointer, dstStep int, src unsafe.Pointer, row, pixel, vectors int)
	winogradKernel func(dst unsafe.Pointer, dstStep int, src unsafe.Pointer, srcStep int)
}

// slack is what packing may write behind a panel of A, in bytes. Panels of B are whole vectors wide and need none.
const slack = 64

// The sets in use. Tests put others here.
var (
	set32 = bestSet32()
	set64 = bestSet64()
)

// scratch is memory that a task borrows for packed panels.
type scratch struct {
	mem  []byte
	next *scratch
}

var scratchPool struct {
	sync.Mutex
	free *scratch
}

// getScratch borrows at least size bytes, aligned to a cache line; putScratch gives them back.
func getScratch(size int) *scratch {
	scratchPool.Lock()
	// The smallest that is large enough, or else the largest, which will grow.
	var best **scratch
	for p := &scratchPool.free; *p != nil; p = &(*p).next {
		if best == nil || fits(len((*p).mem), len((*best).mem), size) {
			best = p
		}
	}
	var s *scratch
	if best == nil {
		s = new(scratch)
	} else {
		s = *best
		*best, s.next = s.next, nil
	}
	scratchPool.Unlock()
	if len(s.mem) < size {
		// Allocations this large start on a page.
		s.mem = make([]byte, max(size, 1<<16))
	}
	return s
}

// fits tells whether a block of a bytes serves a need better than one of b bytes.
func fits(a, b, need int) bool {
	if a >= need {
		return b < need || a < b
	}
	return a > b && b < need
}

func putScratch(s *scratch) {
	scratchPool.Lock()
	s.next = scratchPool.free
	scratchPool.free = s
	scratchPool.Unlock()
}

func (s *scratch) at(offset int) unsafe.Pointer { return unsafe.Pointer(&s.mem[offset]) }

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func roundUp(a, b int) int { return ceilDiv(a, b) * b }
