package graph_test

import (
	"math"
	"slices"
	"sort"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// evaluate compiles and runs what f makes of the inputs in their own types.
func evaluate(t testing.TB, f func(s *graph.Scope, x []*graph.Node) []*graph.Node, inputs ...*graph.Array) []*graph.Array {
	t.Helper()
	p, x, y := compileOf(t, f, inputs...)
	for i, a := range inputs {
		if err := p.Array(x[i]).CopyFrom(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Run(); err != nil {
		t.Fatalf("%+v", err)
	}
	out := make([]*graph.Array, len(y))
	for i, n := range y {
		out[i] = p.Array(n).Clone()
	}
	return out
}

// compileOf builds and compiles f; inputs that the program does not use are compiled as outputs.
func compileOf(t testing.TB, f func(s *graph.Scope, x []*graph.Node) []*graph.Node, inputs ...*graph.Array) (p *graph.Program, x, y []*graph.Node) {
	t.Helper()
	dtype := graph.Float64
	for _, a := range inputs {
		if a.IsFloat() {
			dtype = a.DType
		}
	}
	g, err := graph.Build(&graph.Params{Seed: 7, DType: dtype}, func(s *graph.Scope) {
		for i, a := range inputs {
			x = append(x, s.Input(string(rune('a'+i)), a.DType, a.Shape...))
		}
		y = f(s, x)
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if p, err = g.Compile(slices.Concat(y, x)...); err != nil {
		t.Fatalf("%+v", err)
	}
	return p, x, y
}

// wantSort is the specification: a stable sort of a row's indices with NaN last.
func wantSort(row []float64, descending bool) []int {
	idx := make([]int, len(row))
	for i := range idx {
		idx[i] = i
	}
	sort.SliceStable(idx, func(i, j int) bool {
		a, b := row[idx[i]], row[idx[j]]
		if math.IsNaN(a) || math.IsNaN(b) {
			return !math.IsNaN(a)
		}
		if descending {
			return a > b
		}
		return a < b
	})
	return idx
}

func TestArgSort(t *testing.T) {
	nan, inf, negZero := math.NaN(), math.Inf(1), math.Copysign(0, -1)
	special := []float64{0, nan, -inf, 3, negZero, inf, 3, -1e-300, nan, -2, 0, 5e-324, 1}
	ties := gradcheck.Ints(3, 5, 200)
	rows := map[string][]float64{"special": special, "one": {4}, "none": {}, "random": gradcheck.Normal(1, 301).Float64s()}
	for i := range ties.Size() {
		rows["ties"] = append(rows["ties"], ties.At(i))
	}
	for name, row := range rows {
		for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
			x := castArray(graph.ArrayOf(row, len(row)), dtype)
			for i := range row {
				row[i] = x.At(i)
			}
			for _, descending := range []bool{false, true} {
				y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
					y := []*graph.Node{graph.ArgSort(x[0], 0, descending), graph.Sort(x[0], -1, descending)}
					for k := range len(row) + 1 {
						_, idx := graph.TopK(x[0], k, 0)
						y = append(y, idx)
					}
					return y
				}, x)
				want := wantSort(row, descending)
				if !slices.Equal(y[0].Ints(), want) {
					t.Errorf("%s %v descending=%v: want %v, got %v", name, dtype, descending, want, y[0].Ints())
				}
				for i, k := range want {
					if got := y[1].At(i); got != row[k] && !(math.IsNaN(got) && math.IsNaN(row[k])) {
						t.Errorf("%s %v: sorted[%d]: want %v, got %v", name, dtype, i, row[k], got)
					}
				}
				top := wantSort(row, true)
				for k := range len(row) + 1 {
					if got := y[2+k].Ints(); !slices.Equal(got, top[:k]) {
						t.Errorf("%s %v top %d: want %v, got %v", name, dtype, k, top[:k], got)
					}
				}
			}
		}
	}
}

// TestSortAxis compares the middle axis with sorting each row by itself.
func TestSortAxis(t *testing.T) {
	x := gradcheck.Normal(5, 3, 4, 5)
	y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		values, indices := graph.TopK(x[0], 2, 1)
		return []*graph.Node{graph.Sort(x[0], 1, false), values, indices}
	}, x)
	at := func(a *graph.Array, n, i, j, l int) float64 { return a.At((i*n+j)*5 + l) }
	for i := range 3 {
		for l := range 5 {
			var row []float64
			for j := range 4 {
				row = append(row, at(x, 4, i, j, l))
			}
			sorted := slices.Sorted(slices.Values(row))
			for j, want := range sorted {
				if got := at(y[0], 4, i, j, l); got != want {
					t.Errorf("[%d %d %d]: want %v, got %v", i, j, l, want, got)
				}
			}
			for j := range 2 {
				if got, want := at(y[1], 2, i, j, l), sorted[3-j]; got != want {
					t.Errorf("top [%d %d %d]: want %v, got %v", i, j, l, want, got)
				}
				if k := int(at(y[2], 2, i, j, l)); row[k] != sorted[3-j] {
					t.Errorf("top index [%d %d %d]: %d is not the place of %v", i, j, l, k, sorted[3-j])
				}
			}
		}
	}
}

func TestSortDerivatives(t *testing.T) {
	for _, shape := range [][]int{{6}, {2, 5}, {1, 1}, {2, 3, 2}, {0, 3}} {
		x := gradcheck.Separated(2, shape...)
		w := gradcheck.Normal(3, shape...)
		axis := len(shape) / 2
		gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
			return graph.Mul(graph.Tanh(graph.Sort(x[0], axis, true)), x[1])
		}, x, w)
		gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
			values, _ := graph.TopK(graph.Mul(x[0], graph.Exp(x[0])), max(shape[axis]-1, 0), axis)
			return graph.Square(values)
		}, x)
	}
}

func TestCumulative(t *testing.T) {
	x := graph.ArrayOf([]float64{2, -1, 3, 0, 5, 1, 4, -2}, 2, 4)
	y := evaluate(t, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		return []*graph.Node{graph.CumProd(x[0], 1), graph.CumMax(x[0], 1), graph.ArgMin(x[0], 1), graph.CumProd(x[0], 0)}
	}, x)
	for i, want := range [][]float64{
		{2, -2, -6, 0, 5, 5, 20, -40},
		{2, 2, 3, 3, 5, 5, 5, 5},
		{1, 3},
		{2, -1, 3, 0, 10, -1, 12, 0},
	} {
		for j, v := range want {
			if y[i].At(j) != v {
				t.Errorf("case %d: want %v, got %v", i, want, y[i])
				break
			}
		}
	}
	for _, shape := range [][]int{{7}, {3, 5}, {1}, {2, 0}} {
		axis := len(shape) - 1
		gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node { return graph.CumProd(x[0], axis) }, gradcheck.Normal(1, shape...))
		gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node {
			return graph.CumMax(graph.Mul(x[0], x[0]), axis)
		}, gradcheck.Positive(4, shape...))
	}
	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node { return graph.CumProd(x[0], 0) },
		graph.ArrayOf([]float64{2, 0, -3, 0, 1.5}, 5))
}

func TestSortErrors(t *testing.T) {
	for name, f := range map[string]func(x, i *graph.Node){
		"axis":     func(x, i *graph.Node) { graph.ArgSort(x, 2, false) },
		"dtype":    func(x, i *graph.Node) { graph.Sort(i, 0, false) },
		"k":        func(x, i *graph.Node) { graph.TopK(x, 4, 1) },
		"negative": func(x, i *graph.Node) { graph.TopK(x, -1, 1) },
		"scalar":   func(x, i *graph.Node) { graph.CumProd(graph.Sum(x), 0) },
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) {
			f(s.Input("x", graph.Float32, 2, 3), s.Input("i", graph.Int, 3))
		})
		if _, ok := err.(*graph.Error); !ok {
			t.Errorf("%s: want an *Error, got %v", name, err)
		}
	}
}

func BenchmarkTopK(b *testing.B) {
	x := castArray(gradcheck.Normal(1, 1<<20), graph.Float32)
	p, in, _ := compileOf(b, func(s *graph.Scope, x []*graph.Node) []*graph.Node {
		values, _ := graph.TopK(x[0], 100, 0)
		return []*graph.Node{values}
	}, x)
	p.Array(in[0]).CopyFrom(x)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Run(); err != nil {
			b.Fatal(err)
		}
	}
}
