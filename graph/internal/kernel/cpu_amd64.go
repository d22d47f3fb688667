//go:build amd64 && !purego

package kernel

import "golang.org/x/sys/cpu"

//go:generate go run -C asm . -out ../kernels_amd64.s -pkg kernel -tables ../kernels_amd64.go

func bestSet32() *kernelSet { return best(portableSet[float32](), &avx2f32, &avx512f32) }

func bestSet64() *kernelSet { return best(portableSet[float64](), &avx2f64, &avx512f64) }

// best links the sets that this processor has, the better ones first.
func best(portable, avx2, avx512 *kernelSet) *kernelSet {
	s := portable
	if x := &cpu.X86; x.HasAVX2 && x.HasFMA && x.HasBMI2 {
		avx2.lesser = s
		s = avx2
		if x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512BW {
			avx512.lesser = s
			s = avx512
		}
	}
	return s
}
