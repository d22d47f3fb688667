package kernel

import (
	"fmt"
	"math"
	"testing"
)

// close32 wants a result of float32 operations, each of which may be off by half a unit of the largest number involved.
func close32(t *testing.T, what string, got float32, want, scale float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) <= 5e-7*scale) {
		t.Fatalf("%s: want %v, got %v", what, want, got)
	}
}

// TestSteps compares every length with the formulas in float64.
func TestSteps(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		if vectors == nil {
			if SGD32(nil, nil, 1, 1, 1) || Momentum32(nil, nil, nil, MomentumStep{}) || Adam32(nil, nil, nil, nil, nil, AdamStep{}) {
				t.Error("a kernel where there is none")
			}
			return
		}
		for n := range 70 {
			array := func(k int) []float32 {
				x := make([]float32, n+1)
				for i := range x {
					x[i] = float32(math.Sin(float64(3*i + k)))
				}
				return x
			}
			grad := array(1)
			p, was := array(2), array(2)
			const scale, decay, lr = 0.5, 0.25, 0.1
			SGD32(p[:n], grad, scale, decay, lr)
			for i := range n {
				close32(t, "sgd", p[i], float64(was[i])-lr*(scale*float64(grad[i])+decay*float64(was[i])), 1)
			}

			q, buf, bufWas := array(2), array(3), array(3)
			s := MomentumStep{Scale: scale, Decay: decay, Keep: 0.75, Add: 0.875, FromGrad: 0.5, FromBuf: 1.5, LR: 0.125}
			Momentum32(q[:n], grad, buf, s)
			for i := range n {
				g := scale*float64(grad[i]) + decay*float64(was[i])
				b := 0.75*float64(bufWas[i]) + 0.875*g
				close32(t, "buffer", buf[i], b, 1)
				close32(t, "momentum", q[i], float64(was[i])-0.125*(0.5*g+1.5*b), 1)
			}

			for _, amsgrad := range []bool{false, true} {
				r, m, v, mWas := array(2), array(4), array(5), array(4)
				for i := range v {
					v[i] *= v[i]
				}
				vWas := append([]float32{}, v...)
				var largest, largestWas []float32
				if amsgrad {
					largest, largestWas = array(6), array(6)
				}
				s := AdamStep{Scale: scale, Decay: decay, Keep: 0.75, Beta1: 0.875, Rest1: 0.125, Beta2: 0.9375, Rest2: 0.0625, Rate: 0.25, Correct: 1.25, Eps: 0.5}
				Adam32(r[:n], grad, m, v, largest, s)
				for i := range n {
					g := scale*float64(grad[i]) + decay*float64(was[i])
					mi := 0.875*float64(mWas[i]) + 0.125*g
					vi := 0.9375*float64(vWas[i]) + 0.0625*g*g
					close32(t, "m", m[i], mi, 1)
					close32(t, "v", v[i], vi, 1)
					if amsgrad {
						vi = max(vi, float64(largestWas[i]))
						close32(t, "largest", largest[i], vi, 1)
					}
					close32(t, "adam", r[i], 0.75*float64(was[i])-0.25*mi/(1.25*math.Sqrt(vi)+0.5), 1)
				}
				if r[n] != was[n] || m[n] != mWas[n] || v[n] != vWas[n] || amsgrad && largest[n] != largestWas[n] {
					t.Fatalf("%d elements: wrote behind the end", n)
				}
			}
			if p[n] != was[n] || q[n] != was[n] || buf[n] != bufWas[n] {
				t.Fatalf("%d elements: wrote behind the end", n)
			}
		}
	})
}

func BenchmarkStep(b *testing.B) {
	for _, n := range []int{1 << 14, 1 << 21} {
		p, grad, m, v := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		for _, c := range []struct {
			name  string
			bytes int
			step  func() bool
		}{
			{"sgd", 12, func() bool { return SGD32(p, grad, 1, 0.1, 0.1) }},
			{"momentum", 20, func() bool { return Momentum32(p, grad, m, MomentumStep{1, 0, 0.9, 1, 0, 1, 0.1}) }},
			{"adam", 28, func() bool {
				return Adam32(p, grad, m, v, nil, AdamStep{1, 0, 1, 0.9, 0.1, 0.999, 0.001, 0.001, 1, 1e-8})
			}},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				for b.Loop() {
					if !c.step() {
						b.Skip("no vector kernel")
					}
				}
				rate(b, n, c.bytes)
			})
		}
	}
}
