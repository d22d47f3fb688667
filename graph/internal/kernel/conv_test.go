package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// plainConv visits every pair of input and weight elements that meet, with the output element they go to.
func plainConv(p *Conv2D, visit func(out, in, weight int)) {
	or1 := func(v int) int { return max(v, 1) }
	oh, ow := p.OutSize()
	groups := or1(p.Groups)
	cg, og := p.InChannels/groups, p.OutChannels/groups
	for n := range p.Batch {
		for o := range p.OutChannels {
			for y := range oh {
				for x := range ow {
					for c := range cg {
						for i := range p.Kernel[0] {
							for j := range p.Kernel[1] {
								iy := y*or1(p.Stride[0]) + i*or1(p.Dilation[0]) - p.PadBefore[0]
								ix := x*or1(p.Stride[1]) + j*or1(p.Dilation[1]) - p.PadBefore[1]
								if iy >= 0 && iy < p.Height && ix >= 0 && ix < p.Width {
									visit(((n*p.OutChannels+o)*oh+y)*ow+x, ((n*p.InChannels+o/og*cg+c)*p.Height+iy)*p.Width+ix,
										((o*cg+c)*p.Kernel[0]+i)*p.Kernel[1]+j)
								}
							}
						}
					}
				}
			}
		}
	}
}

func convCases(r *rand.Rand) []Conv2D {
	cases := []Conv2D{
		{Batch: 1, InChannels: 1, Height: 1, Width: 1, OutChannels: 1, Kernel: [2]int{1, 1}},
		{Batch: 2, InChannels: 1, Height: 28, Width: 28, OutChannels: 32, Kernel: [2]int{3, 3}, PadBefore: [2]int{1, 1}, PadAfter: [2]int{1, 1}},
		{Batch: 3, InChannels: 17, Height: 4, Width: 4, OutChannels: 67, Kernel: [2]int{3, 3}, PadBefore: [2]int{1, 1}, PadAfter: [2]int{1, 1}},
		{Batch: 2, InChannels: 5, Height: 33, Width: 67, OutChannels: 7, Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, PadBefore: [2]int{1, 1}, PadAfter: [2]int{1, 1}},
		{Batch: 2, InChannels: 6, Height: 9, Width: 31, OutChannels: 8, Kernel: [2]int{1, 1}, Stride: [2]int{2, 2}},
		{Batch: 2, InChannels: 8, Height: 9, Width: 40, OutChannels: 8, Kernel: [2]int{3, 3}, Groups: 8, PadBefore: [2]int{1, 1}, PadAfter: [2]int{1, 1}},
		{Batch: 2, InChannels: 8, Height: 9, Width: 40, OutChannels: 24, Kernel: [2]int{3, 5}, Groups: 8, Stride: [2]int{1, 2}, PadBefore: [2]int{1, 2}, PadAfter: [2]int{0, 2}},
		{Batch: 300, InChannels: 2, Height: 2, Width: 3, OutChannels: 3, Kernel: [2]int{2, 3}},
	}
	for i := range 120 {
		groups := 1 + r.IntN(3)
		p := Conv2D{
			Batch: 1 + r.IntN(3), InChannels: groups * (1 + r.IntN(5)), OutChannels: groups * (1 + r.IntN(18)), Groups: groups,
			Kernel: [2]int{1 + r.IntN(4), 1 + r.IntN(4)}, Stride: [2]int{1 + r.IntN(3), 1 + r.IntN(3)},
			Dilation: [2]int{1 + r.IntN(2), 1 + r.IntN(3)}, PadBefore: [2]int{r.IntN(4), r.IntN(4)}, PadAfter: [2]int{r.IntN(4), r.IntN(4)},
			ReLU: r.IntN(2) == 0,
		}
		if i%4 == 0 {
			p.InChannels, p.OutChannels, p.Groups = 3, 3*(1+r.IntN(2)), 3
		}
		p.Height = max(1, (p.Kernel[0]-1)*p.Dilation[0]+1-p.PadBefore[0]-p.PadAfter[0]) + r.IntN(12)
		p.Width = max(1, (p.Kernel[1]-1)*p.Dilation[1]+1-p.PadBefore[1]-p.PadAfter[1]) + r.IntN(40)
		cases = append(cases, p)
	}
	return cases
}

func TestConv2D(t *testing.T) {
	t.Run("float32", testConv2D[float32])
	t.Run("float64", testConv2D[float64])
}

func testConv2D[T float](t *testing.T) {
	for _, set := range sets[T]() {
		t.Run(set.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			for _, p := range convCases(r) {
				g := p.prepare()
				name := fmt.Sprintf("%+v", p)
				in, weight, gradOut := random[T](r, g.lenIn), random[T](r, g.lenKern), random[T](r, g.lenOut)
				var bias []T
				if r.IntN(2) == 0 {
					bias = random[T](r, g.o)
				}
				out, outScale := make([]float64, g.lenOut), make([]float64, g.lenOut)
				gin, ginScale := make([]float64, g.lenIn), make([]float64, g.lenIn)
				gw, gwScale := make([]float64, g.lenKern), make([]float64, g.lenKern)
				plainConv(&p, func(o, i, w int) {
					v := float64(in[i]) * float64(weight[w])
					out[o] += v
					outScale[o] += math.Abs(v)
					v = float64(gradOut[o]) * float64(weight[w])
					gin[i] += v
					ginScale[i] += math.Abs(v)
					v = float64(gradOut[o]) * float64(in[i])
					gw[w] += v
					gwScale[w] += math.Abs(v)
				})
				for o := range out {
					if bias != nil {
						b := float64(bias[o/g.oh/g.ow%g.o])
						out[o] += b
						outScale[o] += math.Abs(b)
					}
					if p.ReLU {
						out[o] = max(out[o], 0)
					}
				}
				got, gotIn, gotW := make([]T, g.lenOut), make([]T, g.lenIn), make([]T, g.lenKern)
				for i := range got {
					got[i] = T(math.NaN())
				}
				for i := range gotIn {
					gotIn[i] = T(math.NaN())
				}
				p.forward(set, slice(got), slice(in), slice(weight), slice(bias))
				withinRounding(t, "forward "+name, got, out, outScale, g.cg*g.kh*g.kw)
				p.inputGrad(set, slice(gotIn), slice(gradOut), slice(weight))
				withinRounding(t, "input gradient "+name, gotIn, gin, ginScale, g.og*g.kh*g.kw)
				p.weightGrad(set, slice(gotW), slice(gradOut), slice(in))
				withinRounding(t, "weight gradient "+name, gotW, gw, gwScale, g.n*g.oh*g.ow)
			}
		})
	}
}

// TestConv2DWinograd compares the fast algorithm with the direct sum in float64, within its stated error.
func TestConv2DWinograd(t *testing.T) {
	one := [2]int{1, 1}
	r := rand.New(rand.NewPCG(9, 10))
	for i, p := range []Conv2D{
		{Batch: 3, InChannels: 32, Height: 16, Width: 12, OutChannels: 48, PadBefore: one, PadAfter: one, ReLU: true},
		{Batch: 25, InChannels: 48, Height: 4, Width: 4, OutChannels: 32, PadBefore: one, PadAfter: one},
		{Batch: 1, InChannels: 32, Height: 18, Width: 35, OutChannels: 32},
		{Batch: 1, InChannels: 64, Height: 13, Width: 31, OutChannels: 80, PadBefore: [2]int{2, 0}, PadAfter: [2]int{1, 2}, ReLU: true},
		{Batch: 1, InChannels: 32, Height: 14, Width: 67, OutChannels: 48, PadBefore: [2]int{0, 3}, PadAfter: [2]int{2, 1}},
		{Batch: 7, InChannels: 256, Height: 8, Width: 8, OutChannels: 32, PadBefore: one, PadAfter: one},
		{Batch: 5, InChannels: 32, Height: 63, Width: 64, OutChannels: 32, PadBefore: one, PadAfter: one}, // two rounds of the weight gradient
		{Batch: 27, InChannels: 400, Height: 4, Width: 3, OutChannels: 336, PadBefore: one, PadAfter: one},
	} {
		p.Kernel = [2]int{3, 3}
		g := p.prepare()
		in, weight, grad := random[float32](r, g.lenIn), random[float32](r, g.lenKern), random[float32](r, g.lenOut)
		var bias []float32
		if i%2 == 0 {
			bias = random[float32](r, g.o)
		}
		value := p.exactly(in, weight, bias, grad, func(v float32) float64 { return float64(v) })
		scale := p.exactly(in, weight, bias, grad, func(v float32) float64 { return math.Abs(float64(v)) })
		for _, set := range sets[float32]() {
			if set.winogradInput == nil {
				continue
			}
			name := fmt.Sprintf("%s: %+v", set.name, p)
			got, gotIn, gotW := make([]float32, g.lenOut), make([]float32, g.lenIn), make([]float32, g.lenKern)
			p.forward(set, slice(got), slice(in), slice(weight), slice(bias))
			p.inputGrad(set, slice(gotIn), slice(grad), slice(weight))
			p.weightGrad(set, slice(gotW), slice(grad), slice(in))
			if p.forwardTask.fast == nil || p.inputTasks[0].fast == nil || p.weightTask.fast == nil {
				t.Fatalf("%s: wanted the fast algorithm", name)
			}
			for i, g := range [][]float32{got, gotIn, gotW} {
				bound := winogradError * 0x1p-24 * slices.Max(scale[i])
				for j, v := range g {
					if d := math.Abs(float64(v) - value[i][j]); !(d <= bound) {
						t.Fatalf("%s, result %d: element %d: wanted %v, got %v", name, i, j, value[i][j], v)
					}
				}
			}
		}
		p.Direct, p.forwardTask = true, nil
		if p.forward(set32, slice(make([]float32, g.lenOut)), slice(in), slice(weight), nil); p.forwardTask.fast != nil {
			t.Fatal("Direct: wanted the direct sum")
		}
	}
}

// exactly computes forward, input gradient and weight gradient in float64 from f of every operand.
func (p Conv2D) exactly(in, weight, bias, grad []float32, f func(float32) float64) [3][]float64 {
	wide := func(x []float32) []float64 {
		if x == nil {
			return nil
		}
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = f(v)
		}
		return y
	}
	r := [3][]float64{make([]float64, len(grad)), make([]float64, len(in)), make([]float64, len(weight))}
	p.Forward64(r[0], wide(in), wide(weight), wide(bias))
	p.InputGrad64(r[1], wide(grad), wide(weight))
	p.WeightGrad64(r[2], wide(grad), wide(in))
	return r
}

// TestConv2DSpecialValues puts a NaN and an Inf into the input: what reads them, and nothing else, is not finite.
func TestConv2DSpecialValues(t *testing.T) {
	for _, set := range sets[float32]() {
		for _, groups := range []int{1, 4} {
			p := Conv2D{
				Batch: 2, InChannels: 4, Height: 9, Width: 40, OutChannels: 4, Groups: groups, Kernel: [2]int{3, 3}, Stride: [2]int{2, 1},
				PadBefore: [2]int{1, 1}, PadAfter: [2]int{1, 1}, ReLU: true,
			}
			g := p.prepare()
			in, weight, out := make([]float32, g.lenIn), make([]float32, g.lenKern), make([]float32, g.lenOut)
			for i := range weight {
				weight[i] = 1
			}
			in[5*40+17] = float32(math.NaN())
			in[(4*9+3)*40+39] = float32(math.Inf(1))
			wanted := make([]bool, g.lenOut)
			plainConv(&p, func(o, i, w int) {
				if in[i] != 0 {
					wanted[o] = true
				}
			})
			p.forward(set, slice(out), slice(in), slice(weight), nil)
			for i, v := range out {
				if got := math.IsNaN(float64(v)) || math.IsInf(float64(v), 1); got != wanted[i] {
					t.Fatalf("%s, %d groups: element %d: got %v", set.name, groups, i, v)
				}
			}
		}
	}
}

func TestConv2DSameBitsAndAllocations(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := rand.New(rand.NewPCG(7, 8))
	one := [2]int{1, 1}
	for _, p := range []Conv2D{
		{Batch: 5, InChannels: 9, Height: 20, Width: 21, OutChannels: 40, Stride: [2]int{1, 2}},
		{Batch: 5, InChannels: 9, Height: 20, Width: 21, OutChannels: 18, Groups: 9},
		{Batch: 5, InChannels: 48, Height: 20, Width: 21, OutChannels: 32},
		{Batch: 3, InChannels: 9, Height: 3, Width: 5, OutChannels: 150},
	} {
		p.Kernel, p.PadBefore, p.PadAfter = [2]int{3, 3}, one, one
		g := p.prepare()
		in, weight, grad := random[float32](r, g.lenIn), random[float32](r, g.lenKern), random[float32](r, g.lenOut)
		var first []float32
		for _, procs := range []int{1, 2, 3} {
			runtime.GOMAXPROCS(procs)
			all := make([]float32, g.lenOut+g.lenIn+g.lenKern)
			run := func() {
				p.Forward32(all, in, weight, nil)
				p.InputGrad32(all[g.lenOut:], grad, weight)
				p.WeightGrad32(all[g.lenOut+g.lenIn:], grad, in)
			}
			run()
			if first == nil {
				first = all
			}
			for i := range all {
				if math.Float32bits(all[i]) != math.Float32bits(first[i]) {
					t.Fatalf("%+v: GOMAXPROCS %d: element %d: %v, not %v", p, procs, i, all[i], first[i])
				}
			}
			if n := allocations(run); n != 0 {
				t.Errorf("%+v: GOMAXPROCS %d: wanted 0 allocations a run, got %v", p, procs, n)
			}
		}
	}
}

func BenchmarkConv2D(b *testing.B) {
	one := [2]int{1, 1}
	three := [2]int{3, 3}
	for _, p := range []Conv2D{
		{Batch: 128, InChannels: 1, Height: 28, Width: 28, OutChannels: 32, Kernel: three, PadBefore: one, PadAfter: one},
		{Batch: 128, InChannels: 32, Height: 14, Width: 14, OutChannels: 64, Kernel: three, PadBefore: one, PadAfter: one},
		{Batch: 32, InChannels: 3, Height: 32, Width: 32, OutChannels: 64, Kernel: three, PadBefore: one, PadAfter: one},
		{Batch: 32, InChannels: 64, Height: 32, Width: 32, OutChannels: 64, Kernel: three, PadBefore: one, PadAfter: one},
		{Batch: 32, InChannels: 64, Height: 32, Width: 32, OutChannels: 128, Kernel: three, Stride: [2]int{2, 2}, PadBefore: one, PadAfter: one},
		{Batch: 32, InChannels: 64, Height: 32, Width: 32, OutChannels: 128, Kernel: one, Stride: [2]int{2, 2}},
		{Batch: 32, InChannels: 128, Height: 16, Width: 16, OutChannels: 128, Kernel: three, PadBefore: one, PadAfter: one},
		{Batch: 32, InChannels: 256, Height: 8, Width: 8, OutChannels: 256, Kernel: three, PadBefore: one, PadAfter: one},
		{Batch: 32, InChannels: 512, Height: 4, Width: 4, OutChannels: 512, Kernel: three, PadBefore: one, PadAfter: one},
		{Batch: 8, InChannels: 96, Height: 32, Width: 32, OutChannels: 96, Groups: 96, Kernel: three, PadBefore: one, PadAfter: one},
	} {
		r := rand.New(rand.NewPCG(1, 1))
		g := p.prepare()
		flops := 2 * float64(g.lenOut) * float64(g.cg*g.kh*g.kw)
		name := fmt.Sprintf("%dx%dx%dx%d-%d-%dx%d-s%d", g.n, g.c, g.h, g.w, g.o, g.kh, g.kw, g.sh)
		if g.groups > 1 {
			name += "-depthwise"
		}
		in, weight, out := random[float32](r, g.lenIn), random[float32](r, g.lenKern), random[float32](r, g.lenOut)
		b.Run(name+"/forward", func(b *testing.B) { measure(b, flops, func() { p.Forward32(out, in, weight, nil) }) })
		b.Run(name+"/input", func(b *testing.B) { measure(b, flops, func() { p.InputGrad32(in, out, weight) }) })
		b.Run(name+"/weight", func(b *testing.B) { measure(b, flops, func() { p.WeightGrad32(weight, out, in) }) })
	}
}
