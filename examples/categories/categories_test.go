package main

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTell(t *testing.T) {
	dir := t.TempDir()
	var said strings.Builder
	if err := tell([]string{"-out", dir, "-epochs", "2"}, &said); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"categories.html", "categories.ipynb"} {
		if page, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(page), "Learner") {
			t.Errorf("%s: want the story, got %d bytes, %v", name, len(page), err)
		}
	}
	if n := strings.Count(said.String(), "✓"); n != 9 {
		t.Errorf("want 9 checks that hold, got %d", n)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-epochs", "1"}, {"extra"}, {"-nothing"}} {
		if err := tell(append(args, "-out", t.TempDir()), io.Discard); err == nil {
			t.Errorf("%v: want an error", args)
		}
	}
}

// The derivatives of xy + x over the integers modulo 2 are y + 1 and x.
func TestDerivativeOfBits(t *testing.T) {
	l := Bits(2, Polynomial{{1, 1}, {1, 0}})
	for k := range 8 {
		b := bitsOf(k, 3)
		x, y, c := b[0], b[1], b[2]
		if got, want := l.Back([]bool{x, y}, []bool{c}), []bool{!y && c, x && c}; !slices.Equal(got, want) {
			t.Errorf("at %v %v, change %v: want %v, got %v", x, y, c, want, got)
		}
	}
}

func random(r *rand.Rand, variables int) (p Polynomial) {
	for range 1 + r.IntN(4) {
		m := make([]int, variables)
		for i := range m {
			m[i] = r.IntN(3)
		}
		p = append(p, m)
	}
	return p
}

func times(p, q Polynomial) (product Polynomial) {
	for _, a := range p {
		for _, b := range q {
			m := slices.Clone(a)
			for i := range m {
				m[i] += b[i]
			}
			product = append(product, m)
		}
	}
	return product
}

// copies sends n wires to two sets of n; changes that come back are added.
func copies(n int) Lens[bool] {
	return Lens[bool]{n, 2 * n, func(a []bool) []bool { return join(a, a) }, func(_, db []bool) []bool {
		d := make([]bool, n)
		for i := range d {
			d[i] = db[i] != db[n+i]
		}
		return d
	}}
}

// The lens of a composition of polynomials, multiplied out, is the composition of their lenses: the chain rule modulo 2.
// The additivity laws hold with them.
func TestLawsOfBits(t *testing.T) {
	const n = 3
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		f1, f2, g := random(r, n), random(r, n), random(r, 2)
		var whole Polynomial
		for _, m := range g {
			term := Polynomial{make([]int, n)}
			for range m[0] {
				term = times(term, f1)
			}
			for range m[1] {
				term = times(term, f2)
			}
			whole = append(whole, term...)
		}
		pair := copies(n).Then(Bits(n, f1).Beside(Bits(n, f2)))
		composed, expanded := pair.Then(Bits(2, g)), Bits(n, whole)
		sum := Bits(n, append(slices.Clone(f1), f2...))
		for k := range 1 << n {
			x := bitsOf(k, n)
			if a, b := composed.Forward(x), expanded.Forward(x); !slices.Equal(a, b) {
				t.Fatalf("polynomials %d at %v: values %v and %v", seed, x, a, b)
			}
			for _, c := range [][]bool{{false}, {true}} {
				if a, b := composed.Back(x, c), expanded.Back(x, c); !slices.Equal(a, b) {
					t.Errorf("RD.5, polynomials %d at %v: %v and %v", seed, x, a, b)
				}
				d1, d2 := Bits(n, f1).Back(x, c), Bits(n, f2).Back(x, c)
				both := copies(n).Back(x, join(d1, d2))
				if a := sum.Back(x, c); !slices.Equal(a, both) {
					t.Errorf("RD.1, polynomials %d at %v: %v and %v", seed, x, a, both)
				}
				if a := pair.Back(x, join(c, c)); !slices.Equal(a, both) {
					t.Errorf("RD.4, polynomials %d at %v: %v and %v", seed, x, a, both)
				}
			}
		}
	}
}

// XOR is the table 0110, whatever the parameters were.
func TestExclusiveOr(t *testing.T) {
	for start := range 16 {
		after, right := sweep(LookUp(2), 2, bitsOf(start, 4), func(x []bool) bool { return x[0] != x[1] })
		if table(after) != "0110" || right != 4 {
			t.Errorf("from %v: want 0110, got %s", bitsOf(start, 4), table(after))
		}
	}
}

// Composition of models: associative, parameters of the first before those of the second, identities without effect.
func TestModelsCompose(t *testing.T) {
	and := Model[bool]{1, Bits(2, Polynomial{{1, 1}})}                // p·x
	or := Model[bool]{1, Bits(2, Polynomial{{1, 1}, {1, 0}, {0, 1}})} // px + p + x
	none := Model[bool]{0, Identity[bool](1)}
	left, right := and.Then(or).Then(and), and.Then(or.Then(and))
	padded := none.Then(and).Then(none).Then(or.Then(and)).Then(none)
	for k := range 16 {
		a := bitsOf(k, 4)
		want := (a[0] && a[3] || a[1]) && a[2]
		for _, m := range []Model[bool]{left, right, padded} {
			if m.Params != 3 || m.In != 4 || m.Out != 1 || m.Forward(a)[0] != want {
				t.Errorf("at %v: want %v of 3 parameters, got %v of %d", a, want, m.Forward(a), m.Params)
			}
			if got := m.Back(a, []bool{true}); !slices.Equal(got, left.Back(a, []bool{true})) {
				t.Errorf("at %v: changes %v", a, got)
			}
		}
		p, q, r, x := a[0], a[1], a[2], a[3]
		inner := p && x
		dy := inner || q // by the last parameter
		dz := r && !q    // by the or's input; by q it is 1 + the or's other input
		if got, want := left.Back(a, []bool{true}), []bool{dz && x, r && !inner, dy, dz && p}; !slices.Equal(got, want) {
			t.Errorf("at %v: want changes %v, got %v", a, want, got)
		}
	}
}
