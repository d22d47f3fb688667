package metric

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
	"github.com/harpe-ml/harpe/objectives"
)

type nodes = []*graph.Node

func ints(data ...int) *graph.Array { return graph.ArrayOf(data, len(data)) }

// matrix is an array [rows, features] of float64.
func matrix(rows int, data ...float64) *graph.Array {
	return graph.ArrayOf(data, rows, len(data)/rows)
}

// evaluate is f and the derivatives of its sum by those of its arguments that are not Int.
func evaluate(t *testing.T, f func(s *graph.Scope, x nodes) *graph.Node, inputs ...*graph.Array) (y *graph.Array, dx []*graph.Array) {
	t.Helper()
	var x, wrt, slopes nodes
	var value *graph.Node
	dtype := graph.Float64
	for _, a := range inputs {
		if a.IsFloat() {
			dtype = a.DType
		}
	}
	g, err := graph.Build(&graph.Params{DType: dtype, Seed: 1}, func(s *graph.Scope) {
		for i, a := range inputs {
			n := s.Input(fmt.Sprint("x", i), a.DType, a.Shape...)
			x = append(x, n)
			if a.IsFloat() {
				wrt = append(wrt, n)
			}
		}
		value = f(s, x)
		if len(wrt) > 0 {
			slopes = graph.Grad(graph.Sum(value), wrt...)
		}
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(append(nodes{value}, slopes...)...)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range inputs {
		if p.Uses(x[i]) {
			if err := p.Array(x[i]).CopyFrom(a); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for _, s := range slopes {
		dx = append(dx, p.Array(s))
	}
	return p.Array(value), dx
}

func plain(f func(x nodes) *graph.Node) func(s *graph.Scope, x nodes) *graph.Node {
	return func(_ *graph.Scope, x nodes) *graph.Node { return f(x) }
}

func pair(f objectives.Objective) func(s *graph.Scope, x nodes) *graph.Node {
	return plain(func(x nodes) *graph.Node { return f(x[0], x[1]) })
}

func value(t *testing.T, f func(x nodes) *graph.Node, inputs ...*graph.Array) float64 {
	t.Helper()
	y, _ := evaluate(t, plain(f), inputs...)
	return y.Scalar()
}

func near(t *testing.T, what string, want, got, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s: want %.12g, got %.12g", what, want, got)
	}
}

func nearAll(t *testing.T, what string, want, got []float64, within float64) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%s: want %d numbers, got %d", what, len(want), len(got))
	}
	for i := range want {
		near(t, fmt.Sprintf("%s %d", what, i), want[i], got[i], within)
	}
}

// The losses of embeddings, and of cosines, that ByName knows or that need one setting more.
var ofEmbeddings = map[string]objectives.Objective{
	"contrastive":        ContrastiveOptions{}.Loss,
	"n-pair":             NPair,
	"n-pair L2":          NPairOptions{L2: 0.1}.Loss,
	"lifted":             LiftedOptions{}.Loss,
	"multi-similarity":   MultiSimilarityOptions{}.Loss,
	"multi-similarity ∞": MultiSimilarityOptions{Epsilon: math.Inf(1)}.Loss,
	"triplet":            TripletOptions{Margin: 3}.Loss,
	"triplet-semi-hard":  TripletOptions{Margin: 3, Mining: SemiHard}.Loss,
	"triplet-hard":       TripletOptions{Mining: Hard}.Loss,
	"triplet-direction":  TripletOptions{Margin: 3, Direction: 0.1}.Loss,
	"unified-pair":       UnifiedPairOptions{Gamma: 3}.Loss,
	"unified all pairs":  UnifiedPairOptions{Gamma: 3, Grouping: AllPairs}.Loss,
	"supcon":             SupConOptions{}.Loss,
}

// Their weights are constants to the derivative, so central differences do not apply.
var weighted = map[string]objectives.Objective{
	"circle":           CircleOptions{}.Loss,
	"circle all pairs": CircleOptions{Grouping: AllPairs}.Loss,
}

var ofCosines = map[string]objectives.Objective{
	"proxy-nca":    ProxyNCAOptions{}.Loss,
	"proxy-nca++":  ProxyNCAOptions{Proxies: AllProxies, Temperature: 1.0 / 9}.Loss,
	"proxy-anchor": ProxyAnchorOptions{Alpha: 4}.Loss,
	"soft-triple":  SoftTripleOptions{}.Loss,
	"norm-softmax": NormSoftmaxOptions{Scale: 3}.Loss,
	"cosface":      CosFaceOptions{Scale: 3}.Loss,
	"arcface":      ArcFaceOptions{Scale: 3}.Loss,
	"sphereface":   SphereFaceOptions{Scale: 3}.Loss,
}

func TestDerivatives(t *testing.T) {
	labels := ints(0, 1, 0, 2, 1, 0)
	for name, f := range ofEmbeddings {
		t.Run(name, func(t *testing.T) { gradcheck.Check(t, pair(f), gradcheck.Normal(3, 6, 4), labels) })
	}
	for name, f := range ofCosines {
		t.Run(name, func(t *testing.T) {
			gradcheck.Check(t, pair(f), gradcheck.Uniform(2, -0.9, 0.9, 6, 3), labels)
		})
	}
	t.Run("soft-triple of several centers", func(t *testing.T) {
		gradcheck.Check(t, pair(SoftTripleOptions{}.Loss), gradcheck.Uniform(2, -0.9, 0.9, 3, 3, 2), ints(0, 2, 1))
		gradcheck.Check(t, plain(func(x nodes) *graph.Node { return SoftTripleOptions{}.Regularizer(x[0]) }), gradcheck.Normal(1, 2, 3, 4))
	})
	t.Run("triplets", func(t *testing.T) {
		f := TripletOptions{Margin: 9, Direction: 0.3}.Triplets
		gradcheck.Check(t, plain(func(x nodes) *graph.Node { return f(x[0], x[1], x[2]) }), gradcheck.Normal(1, 3, 4), gradcheck.Normal(2, 3, 4), gradcheck.Normal(3, 3, 4))
	})
	t.Run("proxies", func(t *testing.T) {
		f := func(s *graph.Scope, x nodes) *graph.Node {
			return graph.Add(ArcFaceOptions{}.Loss(Proxies{Classes: 3}.Apply(s, x[0]), x[1]), SoftTripleOptions{}.Loss(Proxies{Classes: 3, Centers: 2}.Apply(s, x[0]), x[1]))
		}
		gradcheck.Check(t, f, gradcheck.Normal(1, 4, 3), ints(0, 2, 1, 1))
	})
	t.Run("center", func(t *testing.T) {
		f := func(s *graph.Scope, x nodes) *graph.Node { return CenterOptions{Classes: 3}.Loss(s, x[0], x[1]) }
		gradcheck.Check(t, f, gradcheck.Normal(1, 4, 3), ints(0, 2, 1, 1))
	})
	t.Run("zero-shot", func(t *testing.T) {
		f := func(s *graph.Scope, x nodes) *graph.Node {
			return ZeroShotOptions{Classes: 4, Features: 3}.Loss(s, x[0], x[1])
		}
		gradcheck.Check(t, f, gradcheck.Positive(1, 4, 5), ints(0, 2, 1, 3))
	})
}

// Points at which a formula written down carelessly gives NaN, in both types: no loss and no derivative may.
func TestExtremes(t *testing.T) {
	check := func(t *testing.T, name string, f objectives.Objective, x *graph.Array, labels *graph.Array) {
		t.Helper()
		for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
			a := graph.NewArray(dtype, x.Shape...)
			for i := range a.Size() {
				a.Set(i, x.At(i))
			}
			loss, dx := evaluate(t, pair(f), a, labels)
			for i := range dx[0].Size() + 1 {
				v := loss.At(0)
				if i > 0 {
					v = dx[0].At(i - 1)
				}
				if v-v != 0 {
					t.Errorf("%s, %v: loss, or derivative %d, is %v", name, dtype, i-1, v)
					break
				}
			}
		}
	}
	all := func(set ...map[string]objectives.Objective) map[string]objectives.Objective {
		m := map[string]objectives.Objective{"circle-class": CircleOptions{}.ClassLoss}
		for _, s := range set {
			for k, v := range s {
				m[k] = v
			}
		}
		return m
	}
	same := matrix(4, 1, 2, 1, 2, 1, 2, 1, 2)
	for name, f := range all(ofEmbeddings, weighted) {
		if name == "circle-class" {
			continue
		}
		check(t, name+" of zeros", f, matrix(4, 0, 0, 0, 0, 0, 0, 0, 0), ints(0, 1, 0, 1))
		check(t, name+" of equal points", f, same, ints(0, 1, 0, 1))
		check(t, name+" of one class", f, same, ints(1, 1, 1, 1))
		check(t, name+" of classes of one", f, same, ints(0, 1, 2, 3))
		check(t, name+" of large numbers", f, matrix(4, 1e4, -1e4, 1e4, 1e4, -1e4, 1e4, 1e4, 0), ints(0, 1, 0, 1))
		check(t, name+" of one example", f, matrix(1, 1, 2), ints(3))
		check(t, name+" of opposite points", f, matrix(4, 1, 0, -1, 0, 1, 0, -1, 0), ints(0, 0, 1, 1))
	}
	for name, f := range all(ofCosines) {
		check(t, name+" of ones", f, matrix(2, 1, 1, 1, 1, 1, 1), ints(0, 2))
		check(t, name+" of minus ones", f, matrix(2, -1, 1, -1, 1, -1, 1), ints(0, 1))
		check(t, name+" of ±1e4", f, matrix(2, 1e4, -1e4, 0, -1e4, 1e4, 1e4), ints(0, 0))
		check(t, name+" of one example", f, matrix(1, 0.5, 0.5), ints(1))
		if name != "proxy-nca" { // it compares with the other classes
			check(t, name+" of one class", f, matrix(2, 0.3, -1), ints(0, 0))
		}
	}
	if loss := value(t, func(x nodes) *graph.Node { return CircleOptions{}.Loss(x[0], x[1]) }, same, ints(0, 1, 2, 3)); loss != 0 {
		t.Errorf("the loss without positives is %v", loss)
	}
}

// similarities is one row of given positive and negative similarities, as pairs.
func similarities(s *graph.Node, positives int) Pairs {
	n := graph.ShapeOf(s)[1]
	mask := graph.NewArray(s.Dtype(), 1, n)
	for i := range positives {
		mask.Set(i, 1)
	}
	p := graph.Literal(s, mask)
	return Pairs{Similarity: s, Squared: graph.Shift(graph.Scale(s, -2), 2), Positive: p, Negative: graph.OneMinus(p)}
}

// The numbers of worked examples, and of the formulas written out by hand.
func TestValues(t *testing.T) {
	cos := matrix(1, 0.8, 0.3, -0.1)
	hinge := func(o TripletOptions) float64 {
		return value(t, func(x nodes) *graph.Node { return o.Triplets(x[0], x[1], x[2]) }, matrix(1, 0, 0), matrix(1, 1, 0), matrix(1, 0, 1.2))
	}
	near(t, "triplet", 0.06, hinge(TripletOptions{Margin: 0.5}), 1e-12)
	near(t, "triplet with a right angle", 0.06, hinge(TripletOptions{Margin: 0.5, Direction: 0.3}), 1e-12)
	for _, c := range []struct {
		name string
		f    objectives.Objective
		want float64
	}{
		{"norm-softmax", NormSoftmaxOptions{Scale: 10}.Loss, 0.006837925},
		{"arcface", ArcFaceOptions{Scale: 10}.Loss, 0.280915592},
		{"cosface", CosFaceOptions{Scale: 10}.Loss, math.Log(1 + math.Exp(-1.5) + math.Exp(-5.5))},
		{"sphereface", SphereFaceOptions{Scale: 10}.Loss, math.Log(1 + math.Exp(10*(0.3+0.8432)) + math.Exp(10*(-0.1+0.8432)))},
	} {
		near(t, c.name, c.want, value(t, func(x nodes) *graph.Node { return c.f(x[0], x[1]) }, cos, ints(0)), 1e-9)
	}
	of := func(f func(p Pairs) *graph.Node, positives int, s ...float64) float64 {
		return value(t, func(x nodes) *graph.Node { return f(similarities(x[0], positives)) }, matrix(1, s...))
	}
	near(t, "multi-similarity", 0.423325302, of(MultiSimilarityOptions{Epsilon: math.Inf(1)}.Of, 2, 0.9, 0.6, 0.5, 0.1), 1e-9)
	// With mining only similarities nearer than 0.1 to the other kind's worst count: 0.6 and 0.55.
	near(t, "multi-similarity mined", math.Log(1+math.Exp(-0.2))/2+math.Log(1+math.Exp(2.5))/50, of(MultiSimilarityOptions{}.Of, 2, 0.9, 0.6, 0.55, 0.1), 1e-12)
	near(t, "n-pair", 0.479104498, of(NPairOptions{}.Of, 1, 0.8, 0, -1), 1e-9)
	near(t, "proxy-nca", -1.073071989, value(t, func(x nodes) *graph.Node { return ProxyNCAOptions{}.Loss(x[0], x[1]) }, matrix(1, 0.6, 0, -1), ints(0)), 1e-9)
	near(t, "proxy-nca of all", 0.294128561, value(t, func(x nodes) *graph.Node { return ProxyNCAOptions{Proxies: AllProxies}.Loss(x[0], x[1]) }, matrix(1, 0.6, 0, -1), ints(0)), 1e-9)
	anchor := value(t, func(x nodes) *graph.Node {
		p := similarities(x[0], 1)
		p.Similarity, p.Positive, p.Negative = graph.Transpose(p.Similarity), graph.Transpose(p.Positive), graph.Transpose(p.Negative)
		return ProxyAnchorOptions{}.Of(p)
	}, matrix(1, 0.7, 0.2))
	near(t, "proxy-anchor", 9.600067731, anchor, 1e-9)
	// Points on a line: i at 0 and j at 1 alike, others at distance 0.5 and 2 of one of them each only if they are far
	// from the other, so the sum is made of one row.
	inner := math.Log(math.Exp(0.5)+math.Exp(-1)) + 1
	near(t, "lifted's J", 1.701413278, inner, 1e-9)
	lifted := value(t, func(x nodes) *graph.Node {
		d := graph.Square(x[0])
		p := Pairs{Similarity: d, Squared: d, Positive: graph.Literal(d, matrix(4, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
			Negative: graph.Literal(d, matrix(4, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0))}
		return LiftedOptions{}.Of(p)
	}, matrix(4, 0, 1, 0.5, 9, 1, 0, 9, 2, 0.5, 9, 0, 9, 9, 2, 9, 0))
	near(t, "lifted", 1.701413278*1.701413278/2, lifted, 1e-9)
	near(t, "contrastive", (0.25+1+math.Pow(3-math.Sqrt(4.25), 2))/3, value(t, func(x nodes) *graph.Node {
		return ContrastiveOptions{Margin: 3}.Of(InBatch(x[0], x[1]))
	}, matrix(3, 0, 0, 0.5, 0, 0, 2), ints(0, 0, 1)), 1e-12)
	// SoftTriple with two centers a class, written out.
	g := func(a, b float64) float64 {
		wa, wb := math.Exp(a/0.1), math.Exp(b/0.1)
		return (wa*a + wb*b) / (wa + wb)
	}
	near(t, "soft-triple", math.Log(1+math.Exp(20*(g(0.3, -0.2)-g(0.8, 0.5)+0.01))),
		value(t, func(x nodes) *graph.Node { return SoftTripleOptions{}.Loss(x[0], x[1]) }, graph.ArrayOf([]float64{0.8, 0.5, 0.3, -0.2}, 1, 2, 2), ints(0)), 1e-12)
	near(t, "soft-triple's regulariser", math.Sqrt2/2, value(t, func(x nodes) *graph.Node { return SoftTripleOptions{}.Regularizer(x[0]) },
		graph.ArrayOf([]float64{2, 0, 0, 3}, 1, 2, 2)), 1e-12)
}

// SphereFace's ψ against its definition by the angle, over the whole range.
func TestSphereFacePsi(t *testing.T) {
	for _, m := range []int{1, 2, 3, 4, 5} {
		for c := -0.995; c < 1; c += 0.07 {
			theta := math.Acos(c)
			k := math.Floor(float64(m) * theta / math.Pi)
			want := math.Pow(-1, k)*math.Cos(float64(m)*theta) - 2*k
			got, _ := evaluate(t, plain(func(x nodes) *graph.Node { return SphereFaceOptions{M: m}.psi(x[0]) }), matrix(1, c))
			near(t, fmt.Sprintf("psi of %v, m = %d", c, m), want, got.At(0), 1e-12)
		}
	}
	got, _ := evaluate(t, plain(func(x nodes) *graph.Node { return SphereFaceOptions{}.psi(x[0]) }), matrix(1, 0.8))
	near(t, "psi", -0.8432, got.At(0), 1e-12)
}

// Every loss of a batch against the same thing in loops over pairs and triplets.
func TestAgainstLoops(t *testing.T) {
	const n, d = 7, 3
	x, labels := gradcheck.Normal(5, n, d), []int{0, 1, 0, 2, 1, 0, 3}
	unit := make([][]float64, n)
	for i := range unit {
		row := x.Float64s()[i*d : (i+1)*d]
		length := math.Sqrt(row[0]*row[0] + row[1]*row[1] + row[2]*row[2])
		unit[i] = []float64{row[0] / length, row[1] / length, row[2] / length}
	}
	s := func(i, j int) float64 {
		return unit[i][0]*unit[j][0] + unit[i][1]*unit[j][1] + unit[i][2]*unit[j][2]
	}
	d2 := func(i, j int) float64 { return squaredDistance(unit[i], unit[j]) }
	like := func(i, j int) bool { return i != j && labels[i] == labels[j] }
	unlike := func(i, j int) bool { return labels[i] != labels[j] }
	average := func(f func(add func(float64))) float64 {
		sum, count := 0.0, 0.0
		f(func(v float64) { sum += v; count++ })
		return sum / count
	}
	pairs := func(f func(i, j int, add func(float64))) float64 {
		return average(func(add func(float64)) {
			for i := range n {
				for j := range n {
					if i != j {
						f(i, j, add)
					}
				}
			}
		})
	}
	triplets := func(f func(a, p, n int, add func(float64))) float64 {
		return pairs(func(i, j int, add func(float64)) {
			for k := range n {
				if like(i, j) && unlike(i, k) {
					f(i, j, k, add)
				}
			}
		})
	}
	unified := func(g, m float64, pairsOf func(a int, use func(i, j int)), anchors int) float64 {
		return average(func(add func(float64)) {
			for a := range anchors {
				var pos, neg float64
				pairsOf(a, func(i, j int) {
					if like(i, j) {
						pos += math.Exp(-g * s(i, j))
					} else {
						neg += math.Exp(g * (s(i, j) + m))
					}
				})
				if pos > 0 && neg > 0 {
					add(math.Log(1 + pos*neg))
				}
			}
		})
	}
	ofAnchor := func(a int, use func(i, j int)) {
		for j := range n {
			if j != a {
				use(a, j)
			}
		}
	}
	once := func(_ int, use func(i, j int)) {
		for i := range n {
			for j := i + 1; j < n; j++ {
				use(i, j)
			}
		}
	}
	for _, c := range []struct {
		name string
		f    objectives.Objective
		want float64
	}{
		{"contrastive", ContrastiveOptions{Margin: 1.5}.Loss, pairs(func(i, j int, add func(float64)) {
			if like(i, j) {
				add(d2(i, j))
			} else {
				add(math.Pow(math.Max(0, 1.5-math.Sqrt(d2(i, j))), 2))
			}
		})},
		{"triplet", TripletOptions{}.Loss, triplets(func(a, p, n int, add func(float64)) { add(math.Max(0, d2(a, p)-d2(a, n)+0.2)) })},
		{"triplet-semi-hard", TripletOptions{Margin: 1, Mining: SemiHard}.Loss, triplets(func(a, p, n int, add func(float64)) {
			if d2(a, p) < d2(a, n) && d2(a, n) < d2(a, p)+1 {
				add(d2(a, p) - d2(a, n) + 1)
			}
		})},
		{"triplet-direction", TripletOptions{Direction: 0.3}.Loss, triplets(func(a, p, n int, add func(float64)) {
			dot := 0.0
			for k := range d {
				dot += (unit[p][k] - unit[a][k]) * (unit[n][k] - unit[a][k])
			}
			add(math.Max(0, d2(a, p)-d2(a, n)+0.2-0.3*dot/math.Sqrt(d2(a, p)*d2(a, n))))
		})},
		{"triplet-hard", TripletOptions{Mining: Hard}.Loss, average(func(add func(float64)) {
			for a := range n {
				far, close := -1.0, math.Inf(1)
				for j := range n {
					if like(a, j) {
						far = math.Max(far, d2(a, j))
					} else if j != a {
						close = math.Min(close, d2(a, j))
					}
				}
				if far >= 0 {
					add(math.Max(0, far-close+0.2))
				}
			}
		})},
		{"lifted", LiftedOptions{}.Loss, pairs(func(i, j int, add func(float64)) {
			if !like(i, j) {
				return
			}
			sum := 0.0
			for k := range n {
				if unlike(i, k) {
					sum += math.Exp(1-math.Sqrt(d2(i, k))) + math.Exp(1-math.Sqrt(d2(j, k)))
				}
			}
			add(math.Pow(math.Max(0, math.Log(sum)+math.Sqrt(d2(i, j))), 2) / 2)
		})},
		{"unified-pair", UnifiedPairOptions{Gamma: 5}.Loss, unified(5, 0.25, ofAnchor, n)},
		{"unified-pair of all", UnifiedPairOptions{Gamma: 5, Margin: 0.1, Grouping: AllPairs}.Loss, unified(5, 0.1, once, 1)},
		{"supcon", SupConOptions{Temperature: 0.3}.Loss, average(func(add func(float64)) {
			for a := range n {
				sum, all, count := 0.0, 0.0, 0.0
				for j := range n {
					if j != a {
						all += math.Exp(s(a, j) / 0.3)
					}
				}
				for j := range n {
					if like(a, j) {
						sum -= s(a, j)/0.3 - math.Log(all)
						count++
					}
				}
				if count > 0 {
					add(sum / count)
				}
			}
		})},
	} {
		near(t, c.name, c.want, value(t, func(x nodes) *graph.Node { return c.f(x[0], x[1]) }, x, ints(labels...)), 1e-12)
	}
	// N-pair uses the embeddings as they are.
	dot := func(i, j int) float64 {
		r := x.Float64s()
		return r[i*d]*r[j*d] + r[i*d+1]*r[j*d+1] + r[i*d+2]*r[j*d+2]
	}
	want := pairs(func(i, j int, add func(float64)) {
		if like(i, j) {
			sum := 1.0
			for k := range n {
				if unlike(i, k) {
					sum += math.Exp(dot(i, k) - dot(i, j))
				}
			}
			add(math.Log(sum))
		}
	})
	near(t, "n-pair", want, value(t, func(x nodes) *graph.Node { return NPair(x[0], x[1]) }, x, ints(labels...)), 1e-12)
	// Proxy anchor: per class, over the batch.
	cos := gradcheck.Uniform(4, -0.9, 0.9, 5, 4)
	y := []int{0, 1, 0, 2, 1}
	pull, push := 0.0, 0.0
	for k := range 4 {
		pos, neg, has := 1.0, 1.0, false
		for i := range y {
			if y[i] == k {
				has = true
				pos += math.Exp(-8 * (cos.At(i*4+k) - 0.2))
			} else {
				neg += math.Exp(8 * (cos.At(i*4+k) + 0.2))
			}
		}
		if has {
			pull += math.Log(pos) / 3
		}
		push += math.Log(neg) / 4
	}
	near(t, "proxy-anchor", pull+push, value(t, func(x nodes) *graph.Node { return ProxyAnchorOptions{Alpha: 8, Delta: 0.2}.Loss(x[0], x[1]) }, cos, ints(y...)), 1e-12)
}

// The circle loss: worked values and derivatives, and its derivative against central differences with frozen weights.
func TestCircle(t *testing.T) {
	of := func(f func(p Pairs) *graph.Node, positives int, s ...float64) (float64, []float64) {
		y, dx := evaluate(t, plain(func(x nodes) *graph.Node { return f(similarities(x[0], positives)) }), matrix(1, s...))
		return y.Scalar(), dx[0].Float64s()
	}
	loss, slope := of(CircleOptions{Margin: 0.25, Gamma: 1}.Of, 1, 0.8, 0.4)
	near(t, "one pair", 0.7313501408, loss, 1e-10)
	nearAll(t, "one pair, derivative", []float64{-0.23343355, 0.33718179}, slope, 1e-8)
	five := []float64{0.8, 0.5, 0.4, 0.1, -0.3}
	loss, slope = of(CircleOptions{Margin: 0.25, Gamma: 10}.Of, 2, five...)
	near(t, "γ = 10", 3.4674191503, loss, 1e-10)
	nearAll(t, "γ = 10, derivative", []float64{-0.47561976, -6.47331958, 3.93496721, 0.47277454, 0}, slope, 1e-8)
	loss, _ = of(CircleOptions{Margin: 0.25, Gamma: 64}.Of, 2, five...)
	near(t, "γ = 64", 18.2420170194, loss, 1e-10)
	loss, _ = of(CircleOptions{Margin: 0.25, Gamma: 256}.Of, 2, five...)
	near(t, "γ = 256", 72.96, loss, 1e-9)

	frozen := func(s, at []float64) float64 { // the loss at s with the weights of at, γ = 10, m = 0.25
		var pos, neg float64
		for i := range s {
			if i < 2 {
				pos += math.Exp(-10 * math.Max(0, 1.25-at[i]) * (s[i] - 0.75))
			} else {
				neg += math.Exp(10 * math.Max(0, at[i]+0.25) * (s[i] - 0.25))
			}
		}
		return math.Log(1 + pos*neg)
	}
	for i := range five {
		const h = 1e-5
		up, down := slices.Clone(five), slices.Clone(five)
		up[i], down[i] = up[i]+h, down[i]-h
		near(t, fmt.Sprint("frozen weights, derivative ", i), (frozen(up, five)-frozen(down, five))/(2*h), slope[i], 1e-7)
	}

	// Limits: the triplet loss for large γ; AM-softmax with one positive; the cross-entropy of the class form.
	loss, _ = of(UnifiedPairOptions{Gamma: 1000}.Of, 2, five...)
	near(t, "unified, γ = 1000", 0.15, loss/1000, 1e-6)
	for _, m := range []float64{0.25, -0.2} { // inside and outside the margin
		loss, _ = of(UnifiedPairOptions{Margin: m, Gamma: 1e13}.Of, 2, five...)
		near(t, "triplet limit", math.Max(0, 0.4-0.5+m), loss/1e13, 1e-12)
	}
	loss, _ = of(UnifiedPairOptions{Gamma: 10}.Of, 1, 0.8, 0.4, 0.1, -0.3)
	near(t, "AM-softmax", 0.2106195525, loss, 1e-10)
	loss, _ = of(CircleOptions{Margin: 0.25, Gamma: 10}.Of, 1, 0.8, 0.4, 0.1, -0.3)
	near(t, "circle with one positive", 1.4788468301, loss, 1e-10)

	cos, labels := gradcheck.Uniform(3, -0.9, 0.9, 6, 4), ints(0, 3, 1, 1, 2, 0)
	same := func(what string, f, g objectives.Objective) {
		t.Helper()
		a, da := evaluate(t, pair(f), cos, labels)
		b, db := evaluate(t, pair(g), cos, labels)
		near(t, what, b.Scalar(), a.Scalar(), 1e-12)
		nearAll(t, what+", derivative", db[0].Float64s(), da[0].Float64s(), 1e-12)
	}
	unified := func(m float64) objectives.Objective {
		return func(x, y *graph.Node) *graph.Node { return UnifiedPairOptions{Margin: m, Gamma: 7}.Of(ToClasses(x, y)) }
	}
	same("unified of classes is CosFace", unified(0.35), CosFaceOptions{Scale: 7}.Loss)
	same("unified without a margin is softmax", unified(1e-300), func(x, y *graph.Node) *graph.Node {
		return objectives.CrossEntropy(graph.Scale(x, 7), y)
	})
	same("circle of classes is a cross-entropy", CircleOptions{Gamma: 7}.ClassLoss, func(x, y *graph.Node) *graph.Node {
		hot := graph.OneHot(y, 4, x.Dtype())
		a := graph.Detach(graph.ReLU(graph.Where(hot, graph.Shift(graph.Neg(x), 1.25), graph.Shift(x, 0.25))))
		delta := graph.Where(hot, graph.Const(x, 0.75), graph.Const(x, 0.25))
		return objectives.CrossEntropy(graph.Scale(graph.Mul(a, graph.Sub(x, delta)), 7), y)
	})
	same("CosFace without a margin", CosFaceOptions{Margin: 1e-300}.Loss, NormSoftmaxOptions{}.Loss)
	same("ArcFace without a margin", ArcFaceOptions{Margin: 1e-300}.Loss, NormSoftmaxOptions{}.Loss)
	same("SphereFace of one angle", SphereFaceOptions{M: 1}.Loss, NormSoftmaxOptions{}.Loss)
	same("SoftTriple of one center", SoftTripleOptions{Scale: 30, Margin: 0.35}.Loss, CosFaceOptions{}.Loss)
	same("ProxyNCA of all proxies is a softmax", ProxyNCAOptions{Proxies: AllProxies, Temperature: 0.2}.Loss, NormSoftmaxOptions{Scale: 10}.Loss)
}

// A rotation of all embeddings changes no loss.
func TestRotation(t *testing.T) {
	x, labels := gradcheck.Normal(5, 6, 3), ints(0, 1, 0, 2, 1, 0)
	a, b := 0.7, -1.1
	turned := graph.NewArray(graph.Float64, 6, 3)
	for i := range 6 {
		p, q, r := x.At(3*i), x.At(3*i+1), x.At(3*i+2)
		p, q = p*math.Cos(a)-q*math.Sin(a), p*math.Sin(a)+q*math.Cos(a)
		q, r = q*math.Cos(b)-r*math.Sin(b), q*math.Sin(b)+r*math.Cos(b)
		turned.Set(3*i, p)
		turned.Set(3*i+1, q)
		turned.Set(3*i+2, r)
	}
	for _, set := range []map[string]objectives.Objective{ofEmbeddings, weighted} {
		for name, f := range set {
			g := func(x nodes) *graph.Node { return f(x[0], x[1]) }
			want := value(t, g, x, labels)
			near(t, name, want, value(t, g, turned, labels), 1e-11*math.Max(1, math.Abs(want)))
		}
	}
}

// The centers move by the paper's formula, and only in training.
func TestCenters(t *testing.T) {
	params := &graph.Params{DType: graph.Float64}
	var x, y, loss *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x, y = s.Input("x", graph.Float64, 3, 1), s.Input("y", graph.Int, 3)
		loss = CenterOptions{Classes: 3, Alpha: 0.25}.Loss(s.ForTraining(), x, y)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(append(nodes{loss}, g.Updates()...)...)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Array(x).Float64s(), []float64{3, 5, -2})
	copy(p.Array(y).Ints(), []int{1, 1, 2})
	want := []float64{0, 0, 0}
	for range 3 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		a, b, c := 3-want[1], 5-want[1], -2-want[2]
		near(t, "loss", (a*a+b*b+c*c)/6, p.Array(loss).Scalar(), 1e-12)
		want[1] += 0.25 * (a + b) / 3
		want[2] += 0.25 * c / 2
		nearAll(t, "centers", want, params.Get("center1/centers").Value.Float64s(), 1e-12)
	}
}

// Pairs of queries and a gallery are those of the two sets put together.
func TestBetween(t *testing.T) {
	x, labels := gradcheck.Normal(5, 6, 3), []int{0, 1, 0, 2, 1, 0}
	q := graph.ArrayOf(x.Float64s()[:6], 2, 3)
	got, _ := evaluate(t, plain(func(x nodes) *graph.Node {
		p := Between(x[0], x[1], x[2], x[3])
		return graph.Concat(0, p.Similarity, p.Squared, p.Positive, p.Negative)
	}), q, ints(labels[:2]...), x, ints(labels...))
	whole, _ := evaluate(t, plain(func(x nodes) *graph.Node {
		p := InBatch(x[0], x[1])
		rows := func(x *graph.Node) *graph.Node { return graph.Slice(x, 0, 0, 2, 1) }
		eye := graph.OneMinus(others(x[0], 6))
		return graph.Concat(0, rows(p.Similarity), rows(p.Squared), rows(graph.Add(p.Positive, eye)), rows(p.Negative))
	}), x, ints(labels...))
	nearAll(t, "pairs", whole.Float64s(), got.Float64s(), 1e-12)
}

// The ridge regression written out for one known example a half: W a' = (a·a')/(a·a + ridge) v.
func TestZeroShot(t *testing.T) {
	a, v := matrix(2, 0.2, 0.8, 0.5, 0.5), matrix(2, 1, 0, 0.6, 0.8)
	k := 0.5 / (0.68 + 0.05) // from the first to the second: v_0 k
	l := 0.5 / (0.5 + 0.05)  // back: v_1 l
	ce := func(own, other float64) float64 { return math.Log(1 + math.Exp(9.5*(other-own))) }
	want := (ce(l*0.6, l*1) + ce(k*0.6, k*1)) / 2
	got := value(t, func(x nodes) *graph.Node { return ZeroShotOptions{}.of(x[0], x[1], x[2]) }, a, ints(0, 1), v)
	near(t, "zero-shot", want, got, 1e-12)
}

func TestErrors(t *testing.T) {
	f, i := graph.Float32, graph.Int
	x := func(s *graph.Scope, dtype graph.DType, shape ...int) *graph.Node {
		return s.Input(fmt.Sprint("x", len(s.Graph().Inputs())), dtype, shape...)
	}
	for _, c := range []struct {
		op, arg string
		build   func(s *graph.Scope)
	}{
		{"unit", "embeddings", func(s *graph.Scope) { ContrastiveOptions{}.Loss(x(s, f, 4), x(s, i, 4)) }},
		{"pairs", "labels", func(s *graph.Scope) { ContrastiveOptions{}.Loss(x(s, f, 4, 2), x(s, i, 3)) }},
		{"pairs", "labels", func(s *graph.Scope) { CircleOptions{}.ClassLoss(x(s, f, 4, 2), x(s, f, 4)) }},
		{"pairs", "embeddings", func(s *graph.Scope) { Between(x(s, f, 4, 2), x(s, i, 4), x(s, f, 4, 3), x(s, i, 4)) }},
		{"lifted", "pairs", func(s *graph.Scope) { LiftedOptions{}.Of(ToClasses(x(s, f, 4, 2), x(s, i, 4))) }},
		{"circle", "Grouping", func(s *graph.Scope) { CircleOptions{Grouping: 7}.Loss(x(s, f, 4, 2), x(s, i, 4)) }},
		{"triplet", "Mining", func(s *graph.Scope) { TripletOptions{Mining: 7}.Loss(x(s, f, 4, 2), x(s, i, 4)) }},
		{"triplet", "Mining", func(s *graph.Scope) { TripletOptions{Mining: Hard, Direction: 1}.Loss(x(s, f, 4, 2), x(s, i, 4)) }},
		{"triplet", "positive", func(s *graph.Scope) { TripletOptions{}.Triplets(x(s, f, 4, 2), x(s, f, 4, 3), x(s, f, 4, 2)) }},
		{"arcface", "Margin", func(s *graph.Scope) { ArcFaceOptions{Margin: 4}.Loss(x(s, f, 4, 2), x(s, i, 4)) }},
		{"arcface", "cosines", func(s *graph.Scope) { ArcFaceOptions{}.Loss(x(s, f, 4, 2, 2), x(s, i, 4)) }},
		{"sphereface", "M", func(s *graph.Scope) { SphereFaceOptions{M: -1}.Loss(x(s, f, 4, 2), x(s, i, 4)) }},
		{"proxy_nca", "cosines", func(s *graph.Scope) { ProxyNCAOptions{}.Loss(x(s, f, 4, 1), x(s, i, 4)) }},
		{"proxy_nca", "Proxies", func(s *graph.Scope) { ProxyNCAOptions{Proxies: 7}.Loss(x(s, f, 4, 2), x(s, i, 4)) }},
		{"soft_triple", "cosines", func(s *graph.Scope) { SoftTripleOptions{}.Loss(x(s, f, 4), x(s, i, 4)) }},
		{"proxies", "Classes and Centers", func(s *graph.Scope) { Proxies{}.Apply(s, x(s, f, 4, 2)) }},
		{"center", "Classes", func(s *graph.Scope) { CenterOptions{}.Loss(s, x(s, f, 4, 2), x(s, i, 4)) }},
		{"zero_shot", "attributes", func(s *graph.Scope) { ZeroShotOptions{Classes: 2}.Loss(s, x(s, f, 3, 2), x(s, i, 3)) }},
		{"pairwise_confusion", "points", func(s *graph.Scope) { PairwiseConfusionOptions{}.Loss(x(s, f, 3, 2)) }},
		{"ball", "Curvature", func(s *graph.Scope) { Ball{-1}.Exp0(x(s, f, 3, 2)) }},
		{"neighbors", "alpha", func(s *graph.Scope) { Gaussian{}.Of(x(s, f, 3, 2)).Debias(1.5) }},
		{"knn_neighbors", "k", func(s *graph.Scope) { KNNNeighbors(x(s, f, 3, 2), 3) }},
		{"i_con", "q", func(s *graph.Scope) { ICon{}.Loss(LogitNeighbors(x(s, f, 3, 2)), LogitNeighbors(x(s, f, 3, 3))) }},
	} {
		_, err := graph.Build(nil, c.build)
		var e *graph.Error
		if !errors.As(err, &e) {
			t.Errorf("%s %s: want a *graph.Error, got %v", c.op, c.arg, err)
		} else if e.Op != c.op || e.Arg != c.arg || e.Want == "" || e.Got == "" {
			t.Errorf("want op %q, argument %q, got %v", c.op, c.arg, e)
		}
	}
}

// Every objective of the table is provided but those that need more than an output and a target.
func TestProvided(t *testing.T) {
	more := []string{"center", "hyperbolic-cross-entropy", "i-con", "zero-shot-regression"}
	n := 0
	for _, e := range objectives.Entries() {
		if e.Import == "" {
			continue
		}
		n++
		if (e.Objective == nil) != slices.Contains(more, e.Name) {
			t.Errorf("%s: provided: %v", e.Name, e.Objective != nil)
		}
	}
	if n != 25 {
		t.Errorf("want 25 entries, got %d", n)
	}
}

var write = flag.Bool("write", false, "write the table of the package comment instead of comparing it")

// The table of the package comment is that of the registry, of what this package adds.
func TestPackageComment(t *testing.T) {
	rows := [][]string{{"name", "formula", "paper", "when to use it"}}
	for _, e := range objectives.Entries() {
		if strings.HasSuffix(e.Import, "/metric") {
			rows = append(rows, []string{e.Name, e.Formula, e.Paper, e.Use})
		}
	}
	width := make([]int, 4)
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var table strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&table, "//\t%-*s  %-*s  %-*s  %s\n", width[0], r[0], width[1], r[1], width[2], r[2], r[3])
	}
	const file = "metric.go"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	start := strings.Index(string(text), "//\tname ")
	stop := strings.Index(string(text), "package metric")
	if start < 0 {
		t.Fatalf("%s has no table", file)
	}
	if *write {
		if err := os.WriteFile(file, []byte(string(text[:start])+table.String()+string(text[stop:])), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text[start:stop]) != table.String() {
		t.Errorf("the table of %s is not that of the registry; go test -run TestPackageComment -write", file)
	}
}
