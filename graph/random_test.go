package graph

import (
	"math"
	"testing"
)

// TestPhilox compares with the known answers of Random123 (J. Salmon et al. 2011) for philox4x32-10.
func TestPhilox(t *testing.T) {
	const all = math.MaxUint32
	for _, c := range []struct {
		counter, want [4]uint32
		key           [2]uint32
	}{
		{[4]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, [2]uint32{}},
		{[4]uint32{all, all, all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}, [2]uint32{all, all}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}, [2]uint32{0xa4093822, 0x299f31d0}},
	} {
		a, b, d, e := philox(c.counter[0], c.counter[1], c.counter[2], c.counter[3], c.key[0], c.key[1])
		if got := [4]uint32{a, b, d, e}; got != c.want {
			t.Errorf("philox(%x, %x): want %x, got %x", c.counter, c.key, c.want, got)
		}
	}
}

// TestUnit checks the ends of the unit intervals: both are open.
func TestUnit(t *testing.T) {
	for _, w := range []uint32{0, math.MaxUint32} {
		for _, u := range []float64{unit(w), unit53(w, w)} {
			if !(u > 0 && u < 1) {
				t.Errorf("word %x gives %v", w, u)
			}
		}
	}
}
