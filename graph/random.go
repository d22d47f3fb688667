package graph

import (
	"hash/fnv"
	"math"
	"math/bits"
	"math/rand/v2"
)

// Randomness in Harpe is counter-based: every number is a pure function of (seed, stream name, step, index), computed
// with Philox4x32-10 (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// So a run repeats bit for bit whatever the number of threads, a resumed run continues bit for bit, and a
// perturbation can be made again from its step instead of being stored.

const (
	philoxM0, philoxM1 = 0xD2511F53, 0xCD9E8D57
	philoxW0, philoxW1 = 0x9E3779B9, 0xBB67AE85
)

// philox is ten rounds of Philox4x32 on the counter (c0..c3) under the key (k0, k1).
func philox(c0, c1, c2, c3, k0, k1 uint32) (uint32, uint32, uint32, uint32) {
	for range 10 {
		h0, l0 := bits.Mul32(philoxM0, c0)
		h1, l1 := bits.Mul32(philoxM1, c2)
		c0, c1, c2, c3 = h1^c1^k0, l1, h0^c3^k1, l0
		k0 += philoxW0
		k1 += philoxW1
	}
	return c0, c1, c2, c3
}

// A stream is one named sequence of random numbers at one step.
type stream struct{ k0, k1, s0, s1 uint32 }

// newStream derives the stream called name of the given seed at the given step.
func newStream(seed, name, step uint64) stream {
	k := mix(seed ^ mix(name))
	return stream{uint32(k), uint32(k >> 32), uint32(step), uint32(step >> 32)}
}

// four gives words 4i to 4i+3 of the stream.
func (s stream) four(i uint64) (uint32, uint32, uint32, uint32) {
	return philox(uint32(i), uint32(i>>32), s.s0, s.s1, s.k0, s.k1)
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

// unit maps a word into the open interval (0, 1).
func unit(w uint32) float64 { return (float64(w) + 0.5) * (1.0 / (1 << 32)) }

// gauss is the Box-Muller transform of two words: two independent standard normal numbers.
func gauss(a, b uint32) (float64, float64) {
	r := math.Sqrt(-2 * math.Log(unit(a)))
	s, c := math.Sincos(2 * math.Pi * unit(b))
	return r * c, r * s
}

// fillUniform fills dst with numbers from the open interval (0, 1).
func fillUniform[T Float](s stream, dst []T) {
	for i := 0; i < len(dst); i += 4 {
		a, b, c, d := s.four(uint64(i / 4))
		for j, w := range [4]uint32{a, b, c, d} {
			if i+j < len(dst) {
				u := T(unit(w))
				if u >= 1 { // rounding to float32 can reach 1
					u = T(math.Nextafter32(1, 0))
				}
				dst[i+j] = u
			}
		}
	}
}

// fillNormal fills dst with standard normal numbers.
func fillNormal[T Float](s stream, dst []T) {
	for i := 0; i < len(dst); i += 4 {
		a, b, c, d := s.four(uint64(i / 4))
		var n [4]float64
		n[0], n[1] = gauss(a, b)
		n[2], n[3] = gauss(c, d)
		for j := 0; j < 4 && i+j < len(dst); j++ {
			dst[i+j] = T(n[j])
		}
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
