//go:build amd64 && !purego

package kernel

import "golang.org/x/sys/cpu"

//go:generate go run -C asm ./vec -out ../vec_amd64.s -pkg kernel -tables ../vec_amd64.go

// bestVectors is the best set that this processor has.
func bestVectors() *vectorSet {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasFMA || !x.HasBMI2:
		return nil
	case x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512BW:
		return &vecAVX512
	}
	return &vecAVX2
}
