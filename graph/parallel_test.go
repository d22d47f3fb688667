package graph_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// wave is element i of a repeatable array.
func wave(k, i int) float64 { return math.Sin(float64(i*(2*k+3))*0.37 + float64(k)) }

// parallelCase is an op on arrays large enough for several tasks of the worker pool, with its value by plain loops.
type parallelCase struct {
	name   string
	shapes [][]int
	op     func(s *graph.Scope, x []*graph.Node) *graph.Node
	want   func(at []int, x func(k int, at ...int) float64) float64 // nil: only repeatability is tested
}

func total(n int, f func(i int) float64) float64 {
	sum := 0.0
	for i := range n {
		sum += f(i)
	}
	return sum
}

func variance(n int, f func(i int) float64) float64 {
	mean := total(n, f) / float64(n)
	return total(n, func(i int) float64 { return (f(i) - mean) * (f(i) - mean) }) / float64(n)
}

func onOne(f func(x *graph.Node) *graph.Node) func(*graph.Scope, []*graph.Node) *graph.Node {
	return func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0]) }
}

var parallelCases = []parallelCase{
	{"exp", [][]int{{70001}}, onOne(graph.Exp),
		func(at []int, x func(int, ...int) float64) float64 { return math.Exp(x(0, at...)) }},
	{"add row", [][]int{{300, 333}, {333}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Add(x[0], x[1]) },
		func(at []int, x func(int, ...int) float64) float64 { return x(0, at...) + x(1, at[1]) }},
	{"add long row", [][]int{{3, 70001}, {70001}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Add(x[0], x[1]) },
		func(at []int, x func(int, ...int) float64) float64 { return x(0, at...) + x(1, at[1]) }},
	{"sub long column", [][]int{{3, 1}, {3, 70001}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Sub(x[0], x[1]) },
		func(at []int, x func(int, ...int) float64) float64 { return x(0, at[0], 0) - x(1, at...) }},
	{"outer product", [][]int{{301, 1}, {1, 257}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Mul(x[0], x[1]) },
		func(at []int, x func(int, ...int) float64) float64 { return x(0, at[0], 0) * x(1, 0, at[1]) }},
	{"channels", [][]int{{20, 7, 31, 29}, {7, 1, 1}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Mul(x[0], x[1]) },
		func(at []int, x func(int, ...int) float64) float64 { return x(0, at...) * x(1, at[1], 0, 0) }},
	{"two odd axes", [][]int{{9, 1, 101, 1}, {11, 1, 13}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Sub(x[0], x[1]) },
		func(at []int, x func(int, ...int) float64) float64 {
			return x(0, at[0], 0, at[2], 0) - x(1, at[1], 0, at[3])
		}},
	{"where", [][]int{{40, 1, 60}, {31, 1}, {40, 31, 60}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node {
			return graph.Where(graph.Greater(x[0], graph.Const(x[0], 0)), x[1], x[2])
		},
		func(at []int, x func(int, ...int) float64) float64 {
			if x(0, at[0], 0, at[2]) > 0 {
				return x(1, at[1], 0)
			}
			return x(2, at...)
		}},
	{"where of a long column", [][]int{{2, 1}, {2, 70001}},
		func(_ *graph.Scope, x []*graph.Node) *graph.Node {
			return graph.Where(graph.Greater(x[0], graph.Const(x[0], 0)), x[1], graph.Const(x[0], 3))
		},
		func(at []int, x func(int, ...int) float64) float64 {
			if x(0, at[0], 0) > 0 {
				return x(1, at...)
			}
			return 3
		}},
	{"sum of all", [][]int{{3, 70001}}, onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(3, func(i int) float64 { return total(70001, func(j int) float64 { return x(0, i, j) }) })
		}},
	{"sum of long rows", [][]int{{3, 70001}}, onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(70001, func(j int) float64 { return x(0, at[0], j) })
		}},
	{"sum of short rows", [][]int{{9001, 10}}, onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(10, func(j int) float64 { return x(0, at[0], j) })
		}},
	{"sum of few columns", [][]int{{20001, 5}}, onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x, 0) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(20001, func(i int) float64 { return x(0, i, at[0]) })
		}},
	{"sum of many columns", [][]int{{150, 1100}}, onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x, 0) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(150, func(i int) float64 { return x(0, i, at[0]) })
		}},
	{"sum of middle axis", [][]int{{70, 33, 40}}, onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(33, func(i int) float64 { return x(0, at[0], i, at[1]) })
		}},
	{"sum of alternating axes", [][]int{{30, 7, 20, 600}},
		onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x, 0, 2) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(30, func(i int) float64 {
				return total(20, func(j int) float64 { return x(0, i, at[0], j, at[1]) })
			})
		}},
	{"sum over batch and image", [][]int{{90, 3, 28, 29}},
		onOne(func(x *graph.Node) *graph.Node { return graph.Sum(x, 0, 2, 3) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return total(90, func(i int) float64 {
				return total(28, func(j int) float64 {
					return total(29, func(k int) float64 { return x(0, i, at[0], j, k) })
				})
			})
		}},
	{"max over batch and image", [][]int{{90, 3, 28, 29}},
		onOne(func(x *graph.Node) *graph.Node { return graph.Max(x, 0, 2, 3) }),
		func(at []int, x func(int, ...int) float64) float64 {
			most := math.Inf(-1)
			for i := range 90 * 28 * 29 {
				most = max(most, x(0, i/28/29, at[0], i/29%28, i%29))
			}
			return most
		}},
	{"max of columns", [][]int{{150, 700}}, onOne(func(x *graph.Node) *graph.Node { return graph.Max(x, 0) }),
		func(at []int, x func(int, ...int) float64) float64 {
			most := math.Inf(-1)
			for i := range 150 {
				most = max(most, x(0, i, at[0]))
			}
			return most
		}},
	{"logsumexp of all", [][]int{{3, 70001}}, onOne(func(x *graph.Node) *graph.Node { return graph.LogSumExp(x) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return math.Log(total(3*70001, func(i int) float64 { return math.Exp(x(0, i/70001, i%70001)) }))
		}},
	{"softmax of rows", [][]int{{700, 100}}, onOne(func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return math.Exp(x(0, at...)) / total(100, func(j int) float64 { return math.Exp(x(0, at[0], j)) })
		}},
	{"log softmax of rows", [][]int{{700, 100}}, onOne(func(x *graph.Node) *graph.Node { return graph.LogSoftmax(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return x(0, at...) - math.Log(total(100, func(j int) float64 { return math.Exp(x(0, at[0], j)) }))
		}},
	{"softmax of a middle axis", [][]int{{30, 17, 80}}, onOne(func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return math.Exp(x(0, at...)) / total(17, func(j int) float64 { return math.Exp(x(0, at[0], j, at[2])) })
		}},
	{"variance of long rows", [][]int{{3, 70001}}, onOne(func(x *graph.Node) *graph.Node { return graph.Variance(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return variance(70001, func(j int) float64 { return x(0, at[0], j) })
		}},
	{"variance of short rows", [][]int{{9001, 10}}, onOne(func(x *graph.Node) *graph.Node { return graph.Variance(x, 1) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return variance(10, func(j int) float64 { return x(0, at[0], j) })
		}},
	{"variance of columns", [][]int{{150, 1100}}, onOne(func(x *graph.Node) *graph.Node { return graph.Variance(x, 0) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return variance(150, func(i int) float64 { return x(0, i, at[0]) })
		}},
	{"variance over batch and image", [][]int{{90, 3, 28, 29}},
		onOne(func(x *graph.Node) *graph.Node { return graph.Variance(x, 0, 2, 3) }),
		func(at []int, x func(int, ...int) float64) float64 {
			return variance(90*28*29, func(i int) float64 { return x(0, i/28/29, at[0], i/29%28, i%29) })
		}},
	{"normal", nil, func(s *graph.Scope, _ []*graph.Node) *graph.Node { return s.Normal("z", 300, 333) }, nil},
	{"uniform", nil, func(s *graph.Scope, _ []*graph.Node) *graph.Node { return s.Uniform("z", 300, 333) }, nil},
	{"gumbel", nil, func(s *graph.Scope, _ []*graph.Node) *graph.Node { return s.Gumbel("z", 300, 333) }, nil},
	{"rademacher", nil, func(s *graph.Scope, _ []*graph.Node) *graph.Node { return s.Rademacher("z", 300, 333) }, nil},
}

// TestLargeArrays compares ops on large arrays with plain loops, and wants the same bits from 1, 2 and 3 threads, and no
// allocation.
func TestLargeArrays(t *testing.T) {
	for _, c := range parallelCases {
		for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
			t.Run(fmt.Sprint(c.name, "/", dtype), func(t *testing.T) {
				var x []*graph.Node
				var y *graph.Node
				g, err := graph.Build(&graph.Params{DType: dtype}, func(s *graph.Scope) {
					for k, shape := range c.shapes {
						x = append(x, s.Input(fmt.Sprint("x", k), dtype, shape...))
					}
					y = c.op(s, x)
				})
				if err != nil {
					t.Fatal(err)
				}
				p, err := g.Compile(y)
				if err != nil {
					t.Fatal(err)
				}
				for k := range x {
					a := p.Array(x[k])
					for i := range a.Size() {
						a.Set(i, wave(k, i))
					}
				}
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
				var first *graph.Array
				for _, threads := range []int{1, 2, 3} {
					runtime.GOMAXPROCS(threads)
					p.Array(y).Zero()
					if err := p.Run(); err != nil {
						t.Fatal(err)
					}
					if first == nil {
						first = p.Array(y).Clone()
					}
					for i := range first.Size() {
						if math.Float64bits(first.At(i)) != math.Float64bits(p.Array(y).At(i)) {
							t.Fatalf("%d threads, element %d: %v, with one thread %v", threads, i, p.Array(y).At(i), first.At(i))
						}
					}
				}
				if n := testing.AllocsPerRun(3, func() { p.Run() }); n != 0 {
					t.Errorf("%v allocations a run", n)
				}
				if c.want != nil {
					checkLarge(t, c, first, p, x)
				}
			})
		}
	}
}

// checkLarge compares up to about 3000 elements.
func checkLarge(t *testing.T, c parallelCase, y *graph.Array, p *graph.Program, x []*graph.Node) {
	t.Helper()
	tolerance := 1e-12
	if y.DType == graph.Float32 {
		tolerance = 1e-6
	}
	value := func(k int, at ...int) float64 {
		a := p.Array(x[k])
		i := 0
		for axis, size := range a.Shape {
			i = i*size + at[axis]
		}
		return a.At(i)
	}
	at := make([]int, len(y.Shape))
	for i := 0; i < y.Size(); i += 1 + y.Size()/3000 {
		rest := i
		for axis := len(at) - 1; axis >= 0; axis-- {
			at[axis] = rest % y.Shape[axis]
			rest /= y.Shape[axis]
		}
		if want := c.want(at, value); !(math.Abs(y.At(i)-want) <= tolerance*max(1, math.Abs(want))) {
			t.Fatalf("element %v: want %v, got %v", at, want, y.At(i))
		}
	}
}
