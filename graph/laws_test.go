package graph_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// The laws of reverse derivatives (R. Cockett et al. 2019, arXiv 1910.07065, definition 13) and of lenses (G. Cruttwell
// et al. 2021, arXiv 2103.01931), checked on randomly composed graphs.
//
// The words: a smooth map sends a list of vectors to a list of vectors. R[f](a, b) = J_f(a)' b is its reverse
// derivative, D[f](a, v) = J_f(a) v its forward one; both are smooth maps again.
type smoothMap func(a []*graph.Node) []*graph.Node

// fresh makes new nodes of the same values, so that a derivative by them does not pass through one to another.
func fresh(a []*graph.Node) []*graph.Node {
	x := make([]*graph.Node, len(a))
	for i, n := range a {
		x[i] = graph.Add(n, graph.Const(n, 0))
	}
	return x
}

// R maps (a, b) to J'b; a are the first n of the list.
func R(f smoothMap, n int) smoothMap {
	return func(ab []*graph.Node) []*graph.Node {
		x := fresh(ab[:n])
		return graph.VJP(f(x), ab[n:], x)
	}
}

// D maps (a, v) to Jv.
func D(f smoothMap) smoothMap {
	return func(av []*graph.Node) []*graph.Node {
		n := len(av) / 2
		x := fresh(av[:n])
		return graph.JVP(f(x), x, av[n:])
	}
}

// fromReverse is D made of R alone: the second component of R[R[f]]((a, 0), v).
func fromReverse(f smoothMap) smoothMap {
	return func(av []*graph.Node) []*graph.Node {
		n := len(av) / 2
		a := av[:n]
		var zero []*graph.Node
		for _, y := range f(fresh(a)) {
			zero = append(zero, graph.Fill(y, 0))
		}
		rr := R(R(f, n), n+len(zero))
		return rr(slices.Concat(a, zero, av[n:]))[n:]
	}
}

// then is f followed by g.
func then(f, g smoothMap) smoothMap {
	return func(a []*graph.Node) []*graph.Node { return g(f(a)) }
}

// plus is the sum of two maps.
func plus(f, g smoothMap) smoothMap {
	return func(a []*graph.Node) []*graph.Node { return sums(f(a), g(a)) }
}

func sums(a, b []*graph.Node) []*graph.Node {
	c := make([]*graph.Node, len(a))
	for i := range a {
		c[i] = graph.Add(a[i], b[i])
	}
	return c
}

// randomMap is a random composition of primitives from vectors of the first sizes to vectors of the second.
func randomMap(seed uint64, from, to []int) smoothMap {
	return func(a []*graph.Node) []*graph.Node {
		c := &composition{r: rand.New(rand.NewPCG(seed, 2)), pool: slices.Clone(a)}
		for range 2 + c.r.IntN(4) {
			n := compositionSteps[c.r.IntN(len(compositionSteps))](c)
			if graph.TypeOf(n).Size() > 30 {
				n = graph.Mean(n, 0)
			}
			c.pool = append(c.pool, n)
		}
		var out []*graph.Node
		for _, m := range to {
			out = append(out, c.elements(m))
		}
		return out
	}
}

// A law says that two lists of nodes are equal.
type law struct {
	name        string
	left, right []*graph.Node
}

func TestReverseDerivativeLaws(t *testing.T) {
	const seeds = 50
	worst, nonzero := map[string]float64{}, map[string]int{}
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 3))
		sizes := func() []int {
			s := make([]int, 1+r.IntN(2))
			for i := range s {
				s[i] = 1 + r.IntN(4)
			}
			return s
		}
		A, B, C := sizes(), sizes(), sizes()
		f, f2, g, h := randomMap(seed, A, B), randomMap(seed+1000, A, B), randomMap(seed+2000, B, C), randomMap(seed+3000, A, C)
		// Points a and directions u, v, w of A; b, b2 of B; c of C.
		var inputs []*graph.Array
		var at []int
		for k, s := range [][]int{A, A, A, A, B, B, C} {
			at = append(at, len(inputs))
			for i, n := range s {
				inputs = append(inputs, gradcheck.Normal(100*seed+uint64(10*k+i), n))
			}
		}
		at = append(at, len(inputs))
		var laws []law
		values := computed(t, graph.Float64, inputs, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
			part := func(k int) []*graph.Node { return x[at[k]:at[k+1]] }
			laws = reverseLaws(f, f2, g, h, part(0), part(1), part(2), part(3), part(4), part(5), part(6))
			var all []*graph.Node
			for _, l := range laws {
				all = append(append(all, l.left...), l.right...)
			}
			return all
		})
		for _, l := range laws {
			if len(l.left) != len(l.right) {
				t.Fatalf("map %d: %s: %d against %d vectors", seed, l.name, len(l.left), len(l.right))
			}
			for i := range l.left {
				a, b := values[i], values[len(l.left)+i]
				for j := range a.Size() {
					if a.At(j) != 0 {
						nonzero[l.name]++
					}
					e := math.Abs(a.At(j)-b.At(j)) / (1 + math.Abs(a.At(j)))
					if worst[l.name] = max(worst[l.name], e); !(e <= 1e-9) {
						t.Errorf("map %d: %s: vector %d, element %d: %.15g is not %.15g", seed, l.name, i, j, a.At(j), b.At(j))
					}
				}
			}
			values = values[2*len(l.left):]
		}
	}
	if len(worst) != 19 {
		t.Errorf("want 19 laws, got %d", len(worst))
	}
	for name := range worst {
		if nonzero[name] < seeds/2 && !strings.HasSuffix(name, "= 0") {
			t.Errorf("%s: only %d numbers were not 0 on both sides", name, nonzero[name])
		}
	}
	t.Log(worst, nonzero)
}

func cat(a ...[]*graph.Node) []*graph.Node { return slices.Concat(a...) }

func zeros(a []*graph.Node) []*graph.Node {
	z := make([]*graph.Node, len(a))
	for i, n := range a {
		z[i] = graph.Fill(n, 0)
	}
	return z
}

// reverseLaws states the laws for f, f2: A to B, g: B to C, h: A to C.
func reverseLaws(f, f2, g, h smoothMap, a, u, v, w, b, b2, c []*graph.Node) []law {
	n, m := len(a), len(b)
	pair := func(x []*graph.Node) []*graph.Node { return cat(f(x), h(x)) }
	zero := func(x []*graph.Node) []*graph.Node { return zeros(f(x)) }
	swap := func(y []*graph.Node) []*graph.Node { return cat(y[n:], y[:n]) }
	first := func(x []*graph.Node) []*graph.Node { return x[:n] }
	identity := func(x []*graph.Node) []*graph.Node { return x }
	Rf, Df := R(f, n), D(f)
	DDf := D(Df)
	linear := func(x []*graph.Node) []*graph.Node { return Df(cat(a, x)) } // v to J_f(a) v
	dagger := func(y []*graph.Node) []*graph.Node { return R(linear, n)(cat(zeros(a), y)) }
	double := func(y []*graph.Node) []*graph.Node { return R(dagger, m)(cat(zeros(b), y)) }
	dot := func(x, y []*graph.Node) []*graph.Node {
		var s *graph.Node
		for i := range x {
			d := graph.Dot(x[i], y[i])
			if s == nil {
				s = d
			} else {
				s = graph.Add(s, d)
			}
		}
		return []*graph.Node{s}
	}
	return []law{
		{"RD.1 R[f+g] = R[f] + R[g]", R(plus(f, f2), n)(cat(a, b)), sums(Rf(cat(a, b)), R(f2, n)(cat(a, b)))},
		{"RD.1 R[0] = 0", R(zero, n)(cat(a, b)), zeros(a)},
		{"RD.2 R[f](a, b+b') = R[f](a, b) + R[f](a, b')", Rf(cat(a, sums(b, b2))), sums(Rf(cat(a, b)), Rf(cat(a, b2)))},
		{"RD.2 R[f](a, 0) = 0", Rf(cat(a, zeros(b))), zeros(a)},
		{"RD.3 R[1](a, u) = u", R(identity, n)(cat(a, u)), u},
		{"RD.3 R[first]((a, b), u) = (u, 0)", R(first, n+m)(cat(a, b, u)), cat(u, zeros(b))},
		{"RD.4 R[<f, h>](a, (b, c)) = R[f](a, b) + R[h](a, c)", R(pair, n)(cat(a, b, c)), sums(Rf(cat(a, b)), R(h, n)(cat(a, c)))},
		{"RD.5 R[f;g](a, c) = R[f](a, R[g](f(a), c))", R(then(f, g), n)(cat(a, c)), Rf(cat(a, R(g, m)(cat(f(a), c))))},
		{"RD.6 D[R[f]]((a, b), (0, b')) = R[f](a, b')", fromReverse(Rf)(cat(a, b, zeros(a), b2)), Rf(cat(a, b2))},
		{"RD.7 D[D[f]]((a, u), (v, w)) = D[D[f]]((a, v), (u, w))", DDf(cat(a, u, v, w)), DDf(cat(a, v, u, w))},
		{"RD.7 by reverse mode alone", fromReverse(fromReverse(f))(cat(a, u, v, w)), fromReverse(fromReverse(f))(cat(a, v, u, w))},
		{"forward from reverse", fromReverse(f)(cat(a, u)), Df(cat(a, u))},
		{"R[R[f]]((a, b), v) at any b", R(Rf, n+m)(cat(a, b, u))[n:], Df(cat(a, u))},
		{"adjoint <R[f](a, b), v> = <b, D[f](a, v)>", dot(Rf(cat(a, b)), u), dot(b, Df(cat(a, u)))},
		{"CD.5 D[f;g](a, v) = D[g](f(a), D[f](a, v))", D(then(f, g))(cat(a, u)), D(g)(cat(f(a), Df(cat(a, u))))},
		{"CD.6 D[D[f]]((a, b), (0, d)) = D[f](a, d)", DDf(cat(a, u, zeros(a), v)), Df(cat(a, v))},
		{"dagger of D[f](a, .) is R[f](a, .)", dagger(b), Rf(cat(a, b))},
		{"dagger twice", double(u), linear(u)},
		{"swapping the pair", R(then(func(x []*graph.Node) []*graph.Node { return cat(x, x) }, swap), n)(cat(a, u, v)), sums(u, v)},
	}
}

// The paper's laws on numbers worked out by hand: f(x, y) = (x²y, x + 3y) at (2, 5).
func TestReverseDerivativeByHand(t *testing.T) {
	f := func(a []*graph.Node) []*graph.Node {
		return []*graph.Node{graph.Mul(graph.Square(a[0]), a[1]), graph.Add(a[0], graph.Scale(a[1], 3))}
	}
	g := func(a []*graph.Node) []*graph.Node { return []*graph.Node{graph.Mul(a[0], a[1])} }
	in := func(x *graph.Node, v ...float64) (n []*graph.Node) {
		for _, c := range v {
			n = append(n, graph.Const(x, c))
		}
		return n
	}
	got := computed(t, graph.Float64, arrays(graph.ArrayOf([]float64{2}), graph.ArrayOf([]float64{5})), func(_ *graph.Scope, a []*graph.Node) []*graph.Node {
		x := a[0]
		return cat(
			R(f, 2)(cat(a, in(x, 1, -1))), D(f)(cat(a, in(x, 1, 2))), R(R(f, 2), 4)(cat(a, in(x, 1, -1, 1, 2))),
			D(D(f))(cat(a, in(x, 1, 2, 3, -1, 0.5, 0.25))), D(D(f))(cat(a, in(x, 3, -1, 1, 2, 0.5, 0.25))),
			R(then(f, g), 2)(cat(a, in(x, 1))))
	})
	for i, want := range []float64{19, 1, 28, 7, 18, 4, 28, 7, 61, 1.25, 61, 1.25, 360, 128} {
		if v := got[i].Scalar(); math.Abs(v-want) > 1e-12*want {
			t.Errorf("number %d: want %v, got %v", i, want, v)
		}
	}
}

// A softmax whose reverse rule forgets the row sum must break the laws that join both modes, else the laws test
// nothing.
func TestLawsFindABrokenRule(t *testing.T) {
	kernel := func(out graph.Type, in []graph.Type) (graph.Kernel, error) {
		return func(out *graph.Array, in []*graph.Array) error {
			var s float64
			for i := range out.Size() {
				out.Set(i, math.Exp(in[0].At(i)))
				s += out.At(i)
			}
			for i := range out.Size() {
				out.Set(i, out.At(i)/s)
			}
			return nil
		}, nil
	}
	broken := &graph.Primitive{
		Name: "broken", Type: func(in []graph.Type) (graph.Type, error) { return in[0], nil }, Kernel: kernel,
		VJP: func(y, dy *graph.Node, x []*graph.Node) []*graph.Node { return []*graph.Node{graph.Mul(dy, y)} },
		JVP: func(y *graph.Node, x, dx []*graph.Node) *graph.Node {
			return graph.Mul(y, graph.Sub(dx[0], graph.Dot(y, dx[0])))
		},
	}
	f := func(a []*graph.Node) []*graph.Node { return []*graph.Node{graph.Apply(broken, a[0])} }
	other := randomMap(1, []int{3}, []int{3})
	var laws []law
	var inputs []*graph.Array
	for i := range uint64(7) {
		inputs = append(inputs, gradcheck.Normal(i, 3))
	}
	values := computed(t, graph.Float64, inputs, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
		laws = reverseLaws(f, other, other, other, x[:1], x[1:2], x[2:3], x[3:4], x[4:5], x[5:6], x[6:])
		var all []*graph.Node
		for _, l := range laws {
			all = append(all, l.left[0], l.right[0])
		}
		return all
	})
	names := []string{"forward from reverse", "adjoint <R[f](a, b), v> = <b, D[f](a, v)>", "dagger of D[f](a, .) is R[f](a, .)"}
	found := 0
	for i, l := range laws {
		if !slices.Contains(names, l.name) {
			continue
		}
		found++
		var e float64
		for j := range values[2*i].Size() {
			e = max(e, math.Abs(values[2*i].At(j)-values[2*i+1].At(j)))
		}
		if e < 1e-3 {
			t.Errorf("%s does not find the broken rule: deviation %v", l.name, e)
		}
	}
	if found != len(names) {
		t.Errorf("%d of the laws %q were looked at", found, names)
	}
}

// A lens goes forward from a to b and back from (a, change of b) to a change of a.
type lens struct {
	n, m    int // how many vectors a and b are
	forward smoothMap
	back    func(a, db []*graph.Node) []*graph.Node
}

func smoothLens(f smoothMap, n, m int) lens {
	return lens{n, m, f, func(a, db []*graph.Node) []*graph.Node { return R(f, n)(cat(a, db)) }}
}

func (f lens) then(g lens) lens {
	return lens{f.n, g.m, then(f.forward, g.forward), func(a, dc []*graph.Node) []*graph.Node {
		return f.back(a, g.back(f.forward(a), dc))
	}}
}

func (f lens) beside(g lens) lens {
	return lens{f.n + g.n, f.m + g.m,
		func(a []*graph.Node) []*graph.Node { return cat(f.forward(a[:f.n]), g.forward(a[f.n:])) },
		func(a, db []*graph.Node) []*graph.Node {
			return cat(f.back(a[:f.n], db[:f.m]), g.back(a[f.n:], db[f.m:]))
		}}
}

func identityLens(n int) lens {
	return lens{n, n, func(a []*graph.Node) []*graph.Node { return a }, func(_, db []*graph.Node) []*graph.Node { return db }}
}

func TestLensLaws(t *testing.T) {
	for seed := range uint64(25) {
		sizes := [][]int{{2}, {3}, {1, 2}, {4}}
		maps := make([]smoothMap, 3)
		lenses := make([]lens, 3)
		for i := range maps {
			maps[i] = randomMap(50*seed+uint64(i), sizes[i], sizes[i+1])
			lenses[i] = smoothLens(maps[i], len(sizes[i]), len(sizes[i+1]))
		}
		f, g, h := lenses[0], lenses[1], lenses[2]
		copier := lens{1, 2, func(a []*graph.Node) []*graph.Node { return cat(a, a) }, func(_, db []*graph.Node) []*graph.Node { return sums(db[:1], db[1:]) }}
		adder := lens{2, 1, func(a []*graph.Node) []*graph.Node { return sums(a[:1], a[1:]) }, func(_, db []*graph.Node) []*graph.Node { return cat(db, db) }}
		equal := []struct {
			name        string
			left, right lens
			from, to    []int
		}{
			{"then is associative", f.then(g).then(h), f.then(g.then(h)), sizes[0], sizes[3]},
			{"identity before", identityLens(1).then(f), f, sizes[0], sizes[1]},
			{"identity after", f.then(identityLens(1)), f, sizes[0], sizes[1]},
			{"beside and then exchange", f.beside(g).then(g.beside(h)), f.then(g).beside(g.then(h)), slices.Concat(sizes[0], sizes[1]), slices.Concat(sizes[2], sizes[3])},
			{"identities beside", identityLens(1).beside(identityLens(2)), identityLens(3), []int{2, 3, 1}, []int{2, 3, 1}},
			{"the lens of a composition", smoothLens(then(then(maps[0], maps[1]), maps[2]), 1, 1), f.then(g).then(h), sizes[0], sizes[3]},
			{"copy is smooth", copier, smoothLens(copier.forward, 1, 2), []int{3}, []int{3, 3}},
			{"add is smooth", adder, smoothLens(adder.forward, 2, 1), []int{3, 3}, []int{3}},
			{"copy then add is doubling", copier.then(adder), smoothLens(func(a []*graph.Node) []*graph.Node { return []*graph.Node{graph.Scale(a[0], 2)} }, 1, 1), []int{3}, []int{3}},
			{"the sum of two maps", copier.then(f.beside(f)).then(adder), smoothLens(plus(maps[0], maps[0]), 1, 1), sizes[0], sizes[1]},
		}
		for _, c := range equal {
			var inputs []*graph.Array
			for i, n := range slices.Concat(c.from, c.to) {
				inputs = append(inputs, gradcheck.Normal(seed+uint64(i), n))
			}
			values := computed(t, graph.Float64, inputs, func(_ *graph.Scope, x []*graph.Node) []*graph.Node {
				a, db := x[:len(c.from)], x[len(c.from):]
				return cat(c.left.forward(a), c.left.back(a, db), c.right.forward(a), c.right.back(a, db))
			})
			half := len(values) / 2
			if half != len(inputs) {
				t.Fatalf("%s: want %d vectors, got %d", c.name, len(inputs), half)
			}
			for i := range half {
				if fmt.Sprint(values[i].Shape) != fmt.Sprint(values[half+i].Shape) {
					t.Fatalf("maps %d: %s: shapes %v and %v", seed, c.name, values[i].Shape, values[half+i].Shape)
				}
				for j := range values[i].Size() {
					if l, r := values[i].At(j), values[half+i].At(j); !(math.Abs(l-r) <= 1e-12*(1+math.Abs(l))) {
						t.Errorf("maps %d: %s: vector %d, element %d: %v is not %v", seed, c.name, i, j, l, r)
					}
				}
			}
		}
	}
}
