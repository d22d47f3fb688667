package graph

import (
	"hash/fnv"
	"math/rand/v2"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Randomness in Harpe is counter-based: every number is a pure function of (seed, stream name, step, index), computed
// with Philox4x32-10 (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Float32 uniform and normal numbers come from vector kernels, which give the same bits on every machine; Float64 ones
// are the same numbers with more digits.
// So a run repeats bit for bit whatever the number of threads, a resumed run continues bit for bit, and a
// perturbation can be made again from its step instead of being stored.

// A stream is one named sequence of random numbers at one step.
type stream kernel.Stream

// newStream derives the stream called name of the given seed at the given step.
func newStream(seed, name, step uint64) stream {
	k := mix(seed ^ mix(name))
	return stream{Key0: uint32(k), Key1: uint32(k >> 32), Step0: uint32(step), Step1: uint32(step >> 32)}
}

// four gives words 4i to 4i+3 of the stream.
func (s stream) four(i uint64) (uint32, uint32, uint32, uint32) {
	w := kernel.Stream(s).Four(i)
	return w[0], w[1], w[2], w[3]
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads every bit.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

func hashName(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

func fillUniform32(s stream, first int, dst []float32) {
	kernel.Uniform32(kernel.Stream(s), first, dst)
}

func fillNormal32(s stream, first int, dst []float32) {
	kernel.Normal32(kernel.Stream(s), first, dst)
}

// fillUniform fills dst with numbers from the open interval (0, 1).
func fillUniform(s stream, first int, dst []float64) {
	for i := 0; i < len(dst); i += 4 {
		a, b, c, d := s.four(uint64(first+i) / 4)
		for j, w := range [4]uint32{a, b, c, d} {
			if i+j < len(dst) {
				dst[i+j] = kernel.Unit(w)
			}
		}
	}
}

// fillNormal fills dst with standard normal numbers.
func fillNormal(s stream, first int, dst []float64) {
	for i := 0; i < len(dst); i += 4 {
		a, b, c, d := s.four(uint64(first+i) / 4)
		var n [4]float64
		n[0], n[1] = kernel.Gauss(a, b)
		n[2], n[3] = kernel.Gauss(c, d)
		copy(dst[i:], n[:])
	}
}

// Rand is a generator of math/rand/v2 for work outside programs (shuffling, splits, search): a function of the seed,
// the stream's name and the step, independent of every other stream.
func Rand(seed uint64, name string, step uint64) *rand.Rand {
	var key [32]byte
	k := mix(seed ^ mix(hashName(name)))
	for i := range 4 {
		k = mix(k ^ mix(step+uint64(i)))
		for j := range 8 {
			key[8*i+j] = byte(k >> (8 * j))
		}
	}
	return rand.New(rand.NewChaCha8(key))
}
