package graph_test

import (
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func init() {
	options := func(c *goldenCase) graph.PoolOptions {
		return graph.PoolOptions{Kernel: c.both("kernel"), Stride: c.both("stride"), Padding: c.both("padding"), ExcludePadding: c.Attrs["count_include_pad"] == false}
	}
	goldenModels["max_pool2d"] = func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.MaxPool2D(in("x"), options(c))
	}
	goldenModels["avg_pool2d"] = func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.AvgPool2D(in("x"), options(c))
	}
	goldenModels["global_avg_pool2d"] = onX(graph.GlobalAvgPool2D)
	goldenModels["upsample_nearest2d"] = func(c *goldenCase, in func(string) *graph.Node) *graph.Node {
		return graph.UpsampleNearest2D(in("x"), c.both("scale")[0])
	}
}

type poolCase struct {
	name string
	x    []int
	o    graph.PoolOptions
	y    []int // height and width of the result, by hand
}

var poolCases = []poolCase{
	{"plain", []int{2, 3, 4, 6}, graph.PoolOptions{Kernel: [2]int{2, 2}}, []int{2, 3}},
	{"odd sizes", []int{1, 2, 5, 7}, graph.PoolOptions{Kernel: [2]int{2, 3}}, []int{2, 2}},
	{"overlapping", []int{2, 1, 5, 6}, graph.PoolOptions{Kernel: [2]int{3, 2}, Stride: [2]int{1, 1}}, []int{3, 5}},
	{"padded", []int{1, 2, 5, 5}, graph.PoolOptions{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Padding: [2]int{1, 1}}, []int{3, 3}},
	{"padded at one axis", []int{1, 1, 3, 8}, graph.PoolOptions{Kernel: [2]int{1, 5}, Stride: [2]int{1, 2}, Padding: [2]int{0, 2}}, []int{3, 4}},
	{"stride above kernel", []int{1, 2, 7, 9}, graph.PoolOptions{Kernel: [2]int{2, 1}, Stride: [2]int{3, 4}}, []int{2, 3}},
	{"dilated", []int{2, 2, 7, 8}, graph.PoolOptions{Kernel: [2]int{3, 2}, Stride: [2]int{1, 2}, Padding: [2]int{2, 1}, Dilation: [2]int{2, 3}}, []int{7, 4}},
	{"whole image", []int{3, 1, 3, 4}, graph.PoolOptions{Kernel: [2]int{3, 4}}, []int{1, 1}},
	{"one pixel", []int{1, 1, 1, 1}, graph.PoolOptions{Kernel: [2]int{1, 1}}, []int{1, 1}},
	{"window of padding only", []int{1, 1, 1, 3}, graph.PoolOptions{Kernel: [2]int{2, 1}, Padding: [2]int{2, 0}, Dilation: [2]int{4, 1}}, []int{1, 3}},
	{"several pieces of work", []int{3, 2, 63, 65}, graph.PoolOptions{Kernel: [2]int{4, 4}, Stride: [2]int{16, 15}, Padding: [2]int{1, 1}}, []int{4, 5}},
	{"3 by 3 with stride 2", []int{2, 3, 15, 17}, graph.PoolOptions{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Padding: [2]int{1, 1}}, []int{8, 9}},
	{"3 by 3 with stride 1", []int{1, 2, 9, 33}, graph.PoolOptions{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Padding: [2]int{1, 1}}, []int{9, 33}},
	{"stride 3, dilated", []int{1, 1, 20, 40}, graph.PoolOptions{Kernel: [2]int{5, 3}, Stride: [2]int{3, 3}, Padding: [2]int{2, 2}, Dilation: [2]int{1, 2}}, []int{7, 14}},
	{"wide stride above kernel", []int{1, 2, 6, 31}, graph.PoolOptions{Kernel: [2]int{2, 2}, Stride: [2]int{2, 5}}, []int{3, 6}},
	{"large window", []int{1, 1, 12, 25}, graph.PoolOptions{Kernel: [2]int{9, 10}, Stride: [2]int{1, 2}, Padding: [2]int{4, 5}}, []int{12, 13}},
	{"whole wide image", []int{2, 2, 6, 19}, graph.PoolOptions{Kernel: [2]int{6, 19}}, []int{1, 1}},
	{"wide windows", []int{1, 2, 10, 40}, graph.PoolOptions{Kernel: [2]int{4, 12}, Stride: [2]int{3, 14}, Padding: [2]int{1, 3}}, []int{3, 3}},
	{"empty batch", []int{0, 2, 4, 4}, graph.PoolOptions{Kernel: [2]int{2, 2}}, []int{2, 2}},
}

// eachWindow visits the windows by the definition: pixel (r, s) of the padded image belongs to window (i, j) as its tap
// (k, l). The pixel's index is -1 in the padding.
func (c poolCase) eachWindow(visit func(y int, pixels []int)) {
	o := c.o
	for i := range 2 {
		if o.Stride[i] == 0 {
			o.Stride[i] = o.Kernel[i]
		}
		o.Dilation[i] = max(o.Dilation[i], 1)
	}
	for plane := range c.x[0] * c.x[1] {
		for i := range c.y[0] {
			for j := range c.y[1] {
				var pixels []int
				for k := range o.Kernel[0] {
					for l := range o.Kernel[1] {
						r, s := i*o.Stride[0]+k*o.Dilation[0]-o.Padding[0], j*o.Stride[1]+l*o.Dilation[1]-o.Padding[1]
						if r < 0 || r >= c.x[2] || s < 0 || s >= c.x[3] {
							pixels = append(pixels, -1)
						} else {
							pixels = append(pixels, (plane*c.x[2]+r)*c.x[3]+s)
						}
					}
				}
				visit((plane*c.y[0]+i)*c.y[1]+j, pixels)
			}
		}
	}
}

// pooled runs f and its reverse rule with the cotangent g in both types and compares.
func (t imageTest) pooled(f func(x *graph.Node) *graph.Node, x, g, y, dx *graph.Array) {
	t.Helper()
	for _, d := range []struct {
		dtype graph.DType
		tol   float64
	}{{graph.Float64, 1e-14}, {graph.Float32, 1e-6}} {
		got := t.run([]*graph.Array{castArray(x, d.dtype), castArray(g, d.dtype)}, func(n []*graph.Node) []*graph.Node {
			y := f(n[0])
			return append(graph.VJP([]*graph.Node{y}, n[1:], n[:1]), y)
		})
		t.near("gradient", got[0], dx, d.tol)
		t.near("value", got[1], y, d.tol)
	}
}

func TestMaxPoolAgainstDefinition(t *testing.T) {
	for _, c := range poolCases {
		t.Run(c.name, func(t *testing.T) {
			// Few different numbers, so that most windows have ties.
			x := castArray(gradcheck.Ints(1, 4, c.x...), graph.Float64)
			g := gradcheck.Normal(2, c.x[0], c.x[1], c.y[0], c.y[1])
			y, dx := graph.NewArray(graph.Float64, g.Shape...), graph.NewArray(graph.Float64, c.x...)
			c.eachWindow(func(i int, pixels []int) {
				first := -1
				for _, p := range pixels {
					if p >= 0 && (first < 0 || x.At(p) > x.At(first)) {
						first = p
					}
				}
				y.Set(i, math.Inf(-1))
				if first >= 0 {
					y.Set(i, x.At(first))
					dx.Set(first, dx.At(first)+g.At(i))
				}
			})
			imageTest{t}.pooled(func(x *graph.Node) *graph.Node { return graph.MaxPool2D(x, c.o) }, x, g, y, dx)
		})
	}
}

func TestAvgPoolAgainstDefinition(t *testing.T) {
	for _, c := range poolCases {
		for _, exclude := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				c.o.ExcludePadding = exclude
				x, g := gradcheck.Normal(1, c.x...), gradcheck.Normal(2, c.x[0], c.x[1], c.y[0], c.y[1])
				y, dx := graph.NewArray(graph.Float64, g.Shape...), graph.NewArray(graph.Float64, c.x...)
				c.eachWindow(func(i int, pixels []int) {
					inside := slices.DeleteFunc(slices.Clone(pixels), func(p int) bool { return p < 0 })
					if exclude {
						pixels = inside
					}
					for _, p := range inside {
						y.Set(i, y.At(i)+x.At(p)/float64(len(pixels)))
						dx.Set(p, dx.At(p)+g.At(i)/float64(len(pixels)))
					}
				})
				imageTest{t}.pooled(func(x *graph.Node) *graph.Node { return graph.AvgPool2D(x, c.o) }, x, g, y, dx)
			})
		}
	}
}

func TestPoolDerivatives(t *testing.T) {
	for _, c := range poolCases {
		if c.name == "window of padding only" || c.x[2]*c.x[3] > 100 {
			continue // -Inf has no differences; too large for them
		}
		t.Run(c.name, func(t *testing.T) {
			it := imageTest{t}
			it.derivatives(func(x []*graph.Node) *graph.Node { return graph.MaxPool2D(x[0], c.o) }, gradcheck.Separated(1, c.x...))
			it.derivatives(func(x []*graph.Node) *graph.Node { return graph.AvgPool2D(x[0], c.o) }, gradcheck.Normal(2, c.x...))
			c.o.ExcludePadding = true
			it.derivatives(func(x []*graph.Node) *graph.Node { return graph.AvgPool2D(x[0], c.o) }, gradcheck.Normal(3, c.x...))
		})
	}
	for _, shape := range [][]int{{2, 3, 5, 4}, {1, 1, 1, 1}, {0, 1, 2, 3}} {
		it := imageTest{t}
		normal := gradcheck.Normal(4, shape...)
		it.derivatives(func(x []*graph.Node) *graph.Node { return graph.GlobalMaxPool2D(x[0]) }, gradcheck.Separated(5, shape...))
		it.derivatives(func(x []*graph.Node) *graph.Node { return graph.GlobalAvgPool2D(x[0]) }, normal)
		it.derivatives(func(x []*graph.Node) *graph.Node { return graph.AdaptiveAvgPool2D(x[0], 3, 2) }, normal)
		it.derivatives(func(x []*graph.Node) *graph.Node { return graph.UpsampleNearest2D(x[0], 3) }, normal)
	}
}

// TestMaxPoolTangentAtTies checks that forward mode follows the first maximum as reverse mode does: each is the other's
// transpose also where the maximum has no derivative.
func TestMaxPoolTangentAtTies(t *testing.T) {
	it := imageTest{t}
	o := graph.PoolOptions{Kernel: [2]int{2, 2}, Stride: [2]int{1, 2}}
	v := gradcheck.Normal(1, 1, 1, 3, 4)
	got := it.run([]*graph.Array{graph.NewArray(graph.Float64, 1, 1, 3, 4), v}, func(n []*graph.Node) []*graph.Node {
		return graph.JVP([]*graph.Node{graph.MaxPool2D(n[0], o)}, n[:1], n[1:])
	})
	// All zeros: the first pixel of each window.
	want := graph.ArrayOf([]float64{v.At(0), v.At(2), v.At(4), v.At(6)}, 1, 1, 2, 2)
	it.near("tangent", got[0], want, 0)
}

func TestMaxPoolNotFinite(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	x := graph.ArrayOf([]float64{
		1, 2, nan, 4, -inf, -inf, inf, inf,
		3, 0, 9, nan, -inf, -inf, inf, 5,
	}, 1, 1, 2, 8)
	g := graph.ArrayOf([]float64{1, 2, 3, 4}, 1, 1, 1, 4)
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		got := imageTest{t}.run([]*graph.Array{castArray(x, dtype), castArray(g, dtype)}, func(n []*graph.Node) []*graph.Node {
			y := graph.MaxPool2D(n[0], graph.PoolOptions{Kernel: [2]int{2, 2}})
			return append(graph.VJP([]*graph.Node{y}, n[1:], n[:1]), y)
		})
		for i, want := range []float64{3, nan, -inf, inf} {
			if v := got[1].At(i); v != want && !(v != v && want != want) {
				t.Errorf("%v, window %d: got %v, want %v", dtype, i, v, want)
			}
		}
		for i := range x.Size() {
			// The first maximum of each window, or the last NaN.
			if want := map[int]float64{8: 1, 11: 2, 4: 3, 6: 4}[i]; got[0].At(i) != want {
				t.Errorf("%v, gradient of pixel %d: got %v, want %v", dtype, i, got[0].At(i), want)
			}
		}
	}
}

// In windows that overlap a NaN is the maximum, the last one of several, and infinite elements are as others; value,
// derivative and tangent are those of the definition.
func TestMaxPoolNotFiniteOverlapping(t *testing.T) {
	for _, c := range poolCases {
		if c.x[0] == 0 || c.name == "window of padding only" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			x := castArray(gradcheck.Ints(1, 4, c.x...), graph.Float32)
			for i := range x.Size() {
				switch i * 7 % 43 {
				case 1:
					x.Set(i, math.NaN())
				case 2:
					x.Set(i, math.Inf(1))
				case 3, 4, 5, 6, 7, 8, 9, 10, 11:
					x.Set(i, math.Inf(-1))
				}
			}
			g := castArray(gradcheck.Ints(2, 9, c.x[0], c.x[1], c.y[0], c.y[1]), graph.Float32)
			v := castArray(gradcheck.Ints(3, 9, c.x...), graph.Float32)
			y, dy, dx := graph.NewArray(graph.Float32, g.Shape...), graph.NewArray(graph.Float32, g.Shape...), graph.NewArray(graph.Float32, c.x...)
			c.eachWindow(func(i int, pixels []int) {
				at := -1
				for _, p := range pixels {
					if p >= 0 && (at < 0 || x.At(p) > x.At(at) || x.At(p) != x.At(p)) && (at < 0 || x.At(at) == x.At(at) || x.At(p) != x.At(p)) {
						at = p
					}
				}
				y.Set(i, x.At(at))
				dy.Set(i, v.At(at))
				dx.Set(at, dx.At(at)+g.At(i))
			})
			got := imageTest{t}.run([]*graph.Array{x, g, v}, func(n []*graph.Node) []*graph.Node {
				y := graph.MaxPool2D(n[0], c.o)
				return append(graph.VJP([]*graph.Node{y}, n[1:2], n[:1]), y, graph.JVP([]*graph.Node{y}, n[:1], n[2:])[0])
			})
			for k, want := range []*graph.Array{dx, y, dy} {
				for i := range want.Size() {
					if a, b := got[k].At(i), want.At(i); a != b && !(a != a && b != b) {
						t.Fatalf("%s, element %d: want %v, got %v", []string{"gradient", "value", "tangent"}[k], i, b, a)
					}
				}
			}
		})
	}
}

func TestAdaptiveAvgPool(t *testing.T) {
	it := imageTest{t}
	// PyTorch's windows of 5 rows in 3: 0-1, 1-3, 3-4; of 4 columns in 2: 0-1, 2-3.
	x := gradcheck.Normal(1, 1, 1, 5, 4)
	mean := func(top, bottom, left, right int) (s float64) {
		for i := top; i <= bottom; i++ {
			for j := left; j <= right; j++ {
				s += x.At(4*i+j) / float64((bottom-top+1)*(right-left+1))
			}
		}
		return s
	}
	want := graph.ArrayOf([]float64{mean(0, 1, 0, 1), mean(0, 1, 2, 3), mean(1, 3, 0, 1), mean(1, 3, 2, 3), mean(3, 4, 0, 1), mean(3, 4, 2, 3)}, 1, 1, 3, 2)
	it.near("5x4 to 3x2", it.value(func(x []*graph.Node) *graph.Node { return graph.AdaptiveAvgPool2D(x[0], 3, 2) }, x), want, 1e-15)
	it.near("to its own size", it.value(func(x []*graph.Node) *graph.Node { return graph.AdaptiveAvgPool2D(x[0], 5, 4) }, x), x, 0)

	// More windows than pixels: of 2 in 3 they are 0, 0-1, 1.
	two := graph.ArrayOf([]float64{2, 5}, 1, 1, 1, 2)
	it.near("1x2 to 1x3", it.value(func(x []*graph.Node) *graph.Node { return graph.AdaptiveAvgPool2D(x[0], 1, 3) }, two),
		graph.ArrayOf([]float64{2, 3.5, 5}, 1, 1, 1, 3), 1e-15)

	// A grid that divides the image is an ordinary average pooling, and a grid of 1 the global one.
	y := gradcheck.Normal(2, 2, 3, 6, 9)
	got := it.run([]*graph.Array{y}, func(x []*graph.Node) []*graph.Node {
		return []*graph.Node{
			graph.AdaptiveAvgPool2D(x[0], 2, 3), graph.AvgPool2D(x[0], graph.PoolOptions{Kernel: [2]int{3, 3}}),
			graph.Reshape(graph.AdaptiveAvgPool2D(x[0], 1, 1), 2, 3), graph.GlobalAvgPool2D(x[0]),
		}
	})
	it.near("grid that divides", got[0], got[1], 1e-15)
	it.near("grid of 1", got[2], got[3], 1e-15)
}

func TestGlobalMaxPool(t *testing.T) {
	x := castArray(gradcheck.Ints(1, 5, 2, 3, 4, 5), graph.Float64)
	g := gradcheck.Normal(2, 2, 3)
	y, dx := graph.NewArray(graph.Float64, 2, 3), graph.NewArray(graph.Float64, 2, 3, 4, 5)
	for p := range 6 {
		plane := x.Float64s()[p*20 : (p+1)*20]
		y.Set(p, slices.Max(plane))
		dx.Set(p*20+slices.Index(plane, slices.Max(plane)), g.At(p))
	}
	imageTest{t}.pooled(graph.GlobalMaxPool2D, x, g, y, dx)
}

func TestUpsampleNearest(t *testing.T) {
	const scale = 3
	x, g := gradcheck.Normal(1, 2, 2, 3, 4), gradcheck.Normal(2, 2, 2, 9, 12)
	y, dx := graph.NewArray(graph.Float64, 2, 2, 9, 12), graph.NewArray(graph.Float64, 2, 2, 3, 4)
	for i := range y.Size() {
		plane, row, column := i/108, i/12%9, i%12
		from := plane*12 + row/scale*4 + column/scale
		y.Set(i, x.At(from))
		dx.Set(from, dx.At(from)+g.At(i))
	}
	imageTest{t}.pooled(func(x *graph.Node) *graph.Node { return graph.UpsampleNearest2D(x, scale) }, x, g, y, dx)
}

func TestPoolRunDoesNotAllocate(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		it := imageTest{t}
		p, _, _ := it.program([]*graph.Array{castArray(gradcheck.Normal(1, 4, 8, 32, 32), dtype)}, func(x []*graph.Node) []*graph.Node {
			o := graph.PoolOptions{Kernel: [2]int{2, 2}}
			y := graph.UpsampleNearest2D(graph.AvgPool2D(graph.MaxPool2D(x[0], o), o), 2)
			return graph.Grad(graph.Sum(graph.Square(y)), x...)
		})
		it.noAllocations(p)
	}
}

func TestPoolErrors(t *testing.T) {
	type mistake struct {
		arg, got string
		x        []int
		o        graph.PoolOptions
	}
	x, k := []int{2, 3, 5, 5}, [2]int{2, 2}
	for _, m := range []mistake{
		{"operand 0", "[3 5 5]", []int{3, 5, 5}, graph.PoolOptions{Kernel: k}},
		{"operand 0", "[2 3 5 0]", []int{2, 3, 5, 0}, graph.PoolOptions{Kernel: k}},
		{"kernel", "[0 0]", x, graph.PoolOptions{}},
		{"kernel", "[2 -1]", x, graph.PoolOptions{Kernel: [2]int{2, -1}}},
		{"kernel", "6 pixels", x, graph.PoolOptions{Kernel: [2]int{2, 6}}},
		{"kernel", "9 pixels", x, graph.PoolOptions{Kernel: [2]int{3, 2}, Dilation: [2]int{4, 1}, Padding: [2]int{1, 0}}},
		{"stride", "-1", x, graph.PoolOptions{Kernel: k, Stride: [2]int{-1, 0}}},
		{"dilation", "[1 -1]", x, graph.PoolOptions{Kernel: k, Dilation: [2]int{0, -1}}},
		{"padding", "[0 2]", x, graph.PoolOptions{Kernel: k, Padding: [2]int{0, 2}}},
		{"padding", "[-1 0]", x, graph.PoolOptions{Kernel: k, Padding: [2]int{-1, 0}}},
	} {
		imageTest{t}.refused("max_pool2d", m.arg, m.got, func(s *graph.Scope) { graph.MaxPool2D(s.Input("x", graph.Float32, m.x...), m.o) })
		imageTest{t}.refused("avg_pool2d", m.arg, m.got, func(s *graph.Scope) { graph.AvgPool2D(s.Input("x", graph.Float32, m.x...), m.o) })
	}
	for op, f := range map[string]func(x *graph.Node) *graph.Node{
		"max_pool2d":          func(x *graph.Node) *graph.Node { return graph.MaxPool2D(x, graph.PoolOptions{Kernel: k}) },
		"adaptive_avg_pool2d": func(x *graph.Node) *graph.Node { return graph.AdaptiveAvgPool2D(x, 2, 2) },
		"global_avg_pool2d":   graph.GlobalAvgPool2D,
		"global_max_pool2d":   graph.GlobalMaxPool2D,
		"upsample_nearest2d":  func(x *graph.Node) *graph.Node { return graph.UpsampleNearest2D(x, 2) },
	} {
		imageTest{t}.refused(op, "operand 0", "[5 5]", func(s *graph.Scope) { f(s.Input("x", graph.Float32, 5, 5)) })
		imageTest{t}.refused(op, "operand 0", "int", func(s *graph.Scope) { f(s.Input("x", graph.Int, x...)) })
	}
	imageTest{t}.refused("upsample_nearest2d", "scale", "0", func(s *graph.Scope) { graph.UpsampleNearest2D(s.Input("x", graph.Float32, x...), 0) })
	imageTest{t}.refused("adaptive_avg_pool2d", "grid", "0 by 2", func(s *graph.Scope) { graph.AdaptiveAvgPool2D(s.Input("x", graph.Float32, x...), 0, 2) })
}
