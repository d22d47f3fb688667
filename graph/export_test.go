package graph

import (
	"fmt"
	"unsafe"
)

// Passes is how many liberties the compiler takes; CompileWith takes those whose bits are set.
const Passes = 6

func (g *Graph) CompileWith(bits int, outputs ...*Node) (*Program, error) {
	on := func(i int) bool { return bits>>i&1 == 1 }
	return g.compile(outputs, passes{on(0), on(1), on(2), on(3), on(4), on(5)})
}

// FreeStages makes the compiler choose stages however small, until undone.
func FreeStages() (undo func()) {
	before := meeting
	meeting = 0
	return func() { meeting = before }
}

// Lanes is how many lanes the program's stages have in all.
func (p *Program) Lanes() int {
	n := 0
	for _, s := range p.stages {
		n += len(s.lanes)
	}
	return n
}

// Clash says which instructions of different lanes of a stage may meet in memory that one of them writes, and whether a
// stage's lanes are not its instructions in order, each once.
func (p *Program) Clash() string {
	p.allocateInputs()
	for _, s := range p.stages {
		lane := map[int]int{}
		for l, list := range s.lanes {
			for k, i := range list {
				if _, ok := lane[i]; ok || i < s.from || i >= s.to || k > 0 && list[k-1] >= i {
					return fmt.Sprintf("instruction %d of the stage %d to %d in the lanes %v", i, s.from, s.to, s.lanes)
				}
				lane[i] = l
			}
		}
		if len(lane) != s.to-s.from {
			return fmt.Sprintf("the stage %d to %d has the lanes %v", s.from, s.to, s.lanes)
		}
		for i := s.from; i < s.to; i++ {
			for j := s.from; j < s.to; j++ {
				if lane[i] == lane[j] {
					continue
				}
				for _, v := range p.instructions[i].op.out {
					a, b := &p.instructions[i], &p.instructions[j]
					for _, x := range b.in {
						if meet(v.array, x) {
							return fmt.Sprintf("%s writes what %s reads", label(a.op.node), label(b.op.node))
						}
					}
					for _, w := range b.op.out {
						if meet(v.array, w.array) {
							return fmt.Sprintf("%s writes what %s writes", label(a.op.node), label(b.op.node))
						}
					}
				}
			}
		}
	}
	return ""
}

// meet says whether two arrays share memory.
func meet(a, b *Array) bool {
	at := func(a *Array) uintptr {
		switch d := a.data.(type) {
		case []float32:
			return uintptr(unsafe.Pointer(unsafe.SliceData(d)))
		case []float64:
			return uintptr(unsafe.Pointer(unsafe.SliceData(d)))
		}
		return uintptr(unsafe.Pointer(unsafe.SliceData(a.data.([]int))))
	}
	return at(a) < at(b)+uintptr(b.Bytes()) && at(b) < at(a)+uintptr(a.Bytes())
}
