package graph

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// TestUnit checks the ends of the unit intervals: both are open.
func TestUnit(t *testing.T) {
	for _, w := range []uint32{0, math.MaxUint32} {
		for _, u := range []float64{kernel.Unit(w), unit53(w, w)} {
			if !(u > 0 && u < 1) {
				t.Errorf("word %x gives %v", w, u)
			}
		}
	}
}
