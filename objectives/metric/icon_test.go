package metric

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
	"github.com/harpe-ml/harpe/objectives"
)

// circlePoints are unit vectors at angles.
func circlePoints(angles ...float64) *graph.Array {
	a := graph.NewArray(graph.Float64, len(angles), 2)
	for i, v := range angles {
		a.Set(2*i, math.Cos(v))
		a.Set(2*i+1, math.Sin(v))
	}
	return a
}

func twice(f func(x nodes) (p, q Neighbors)) (loss, cross, entropy func(x nodes) *graph.Node) {
	return func(x nodes) *graph.Node { return ICon{}.Loss(f(x)) },
		func(x nodes) *graph.Node { return ICon{}.CrossEntropy(f(x)) },
		func(x nodes) *graph.Node { p, _ := f(x); return p.Entropy() }
}

// The worked examples.
func TestIConValues(t *testing.T) {
	check := func(what string, f func(x nodes) (p, q Neighbors), loss, cross, entropy float64, inputs ...*graph.Array) {
		t.Helper()
		l, c, h := twice(f)
		near(t, what, loss, value(t, l, inputs...), 1e-10)
		near(t, what+", cross-entropy", cross, value(t, c, inputs...), 1e-10)
		near(t, what+", entropy", entropy, value(t, h, inputs...), 1e-10)
	}
	data, maps := matrix(4, 0, 0, 1, 0, 0, 2, 3, 1), matrix(4, 0, 0.5, -1, 2)
	check("SNE", func(x nodes) (p, q Neighbors) { return Gaussian{Sigma: 1}.Of(x[0]), Gaussian{}.Of(x[1]) },
		0.1196130122, 0.7371458090, 0.6175327968, data, maps)
	near(t, "t-SNE by rows", 0.1606652404, value(t, func(x nodes) *graph.Node {
		return ICon{}.Loss(Gaussian{Sigma: 1}.Of(x[0]), StudentT{}.Of(x[1]))
	}, data, maps), 1e-10)
	_, dx := evaluate(t, plain(func(x nodes) *graph.Node { return ICon{}.Loss(Gaussian{Sigma: 1}.Of(x[0]), Gaussian{}.Of(x[1])) }), data, maps)
	nearAll(t, "derivative of SNE", []float64{-0.10548867, 0.13718335, -0.10245817, 0.07076349}, dx[1].Float64s(), 1e-8)
	nearAll(t, "derivative by the data", make([]float64, 8), dx[0].Float64s(), 0)

	views := circlePoints(0.1, 0.4, 2.0, 2.5)
	of := ints(0, 0, 1, 1)
	near(t, "InfoNCE", 0.1515394662, value(t, func(x nodes) *graph.Node { return SupConOptions{}.Loss(x[0], x[1]) }, views, of), 1e-10)
	debiased := value(t, func(x nodes) *graph.Node {
		return ICon{}.CrossEntropy(LabelNeighbors(x[0], x[1]).Debias(0.2), Cosine{Self: true}.Of(x[0]))
	}, views, of)
	near(t, "debiased", 1.1080671703, debiased, 1e-10)
	gauss := list(t, func(x nodes) *graph.Node { return Gaussian{Sigma: math.Sqrt(0.5)}.Of(x[0]).P }, views)
	nearAll(t, "Gaussian of unit vectors", list(t, func(x nodes) *graph.Node { return Cosine{Temperature: 0.5}.Of(x[0]).P }, views), gauss, 1e-15)

	check("SupCon", func(x nodes) (p, q Neighbors) { return LabelNeighbors(x[0], x[1]), Cosine{}.Of(x[0]) },
		0.2219156638, 0.6378039721, 0.4158883083, circlePoints(0.1, 0.4, 0.8, 2.0, 2.5), ints(0, 0, 0, 1, 1))
	logits, labels := matrix(2, 2, 0.5, -1, 0, 1, 0.3), ints(0, 2)
	classes := func(alpha float64) func(x nodes) (p, q Neighbors) {
		return func(x nodes) (p, q Neighbors) {
			return LabelProbabilities(x[0], x[1], 3).Debias(alpha), LogitNeighbors(x[0])
		}
	}
	check("cross-entropy", classes(0), 0.7821426543, 0.7821426543, 0, logits, labels)
	check("label smoothing", classes(0.1), 0.5593361488, 0.8504759876, 0.8504759876-0.5593361488, logits, labels)

	x, prototypes := matrix(1, 0.5, 0.2), matrix(3, 1, 0, 0, 1, -1, -1)
	harmonic := Harmonic{Exponent: 2}
	nearAll(t, "harmonic", []float64{0.89899764, 0.09544969, 0.00555267}, list(t, func(x nodes) *graph.Node { return harmonic.Between(x[0], x[1]).P }, x, prototypes), 1e-8)
	near(t, "harmonic loss", 0.1064748717, value(t, func(x nodes) *graph.Node {
		return ICon{}.Loss(LabelProbabilities(x[0], x[2], 3), harmonic.Between(x[0], x[1]))
	}, x, prototypes, ints(0)), 1e-10)
	small := list(t, func(x nodes) *graph.Node { return StudentT{Nu: 3, Scale: 1e-5}.Between(x[0], x[1]).P }, x, prototypes)
	nearAll(t, "Student's t of a small scale", []float64{0.89899764, 0.09544969, 0.00555267}, small, 1e-8)

	a, b := matrix(2, 1, 0, 0, 1), matrix(2, 0.8, 0.6, 0.6, 0.8)
	for i := range 2 {
		near(t, "CLIP", 0.5130152524, value(t, func(x nodes) *graph.Node {
			return ICon{}.Loss(IdentityNeighbors(x[0], 2), Cosine{}.Between(x[i], x[1-i]))
		}, a, b), 1e-10)
	}
	for sigma, want := range map[float64]float64{1: 0.7981388694, 0.5: 0.2927751665, 0.1: 0.2} {
		got := value(t, func(x nodes) *graph.Node {
			q := Gaussian{Sigma: sigma / math.Sqrt2}.Between(x[0], x[1])
			return graph.Scale(ICon{}.Loss(LabelProbabilities(x[0], x[2], 2), q), sigma*sigma)
		}, matrix(1, 0), matrix(2, 1, math.Sqrt(0.8)), ints(0))
		near(t, "triplet", want, got, 1e-10)
		if hinge := 0.2; !(got >= hinge-1e-12 && got <= hinge+sigma*sigma*math.Ln2) {
			t.Errorf("σ = %v: %v is not between the hinge and the hinge + σ² log 2", sigma, got)
		}
	}
	// Two steps of a walk on the path 1-2-3-4.
	path := matrix(4, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0)
	nearAll(t, "two steps", []float64{0.25, 0.5, 0.25, 0, 0.25, 0.375, 0.25, 0.125},
		list(t, func(x nodes) *graph.Node { return WeightNeighbors(x[0]).Propagate(2).P }, path)[:8], 1e-15)
	nearAll(t, "two even steps", []float64{1. / 3, 1. / 3, 1. / 3, 0, 0.25, 0.25, 0.25, 0.25},
		list(t, func(x nodes) *graph.Node { return WeightNeighbors(x[0]).PropagateEvenly(2).P }, path)[:8], 1e-15)
	// The same distribution twice.
	loss, dx := evaluate(t, plain(func(x nodes) *graph.Node { return ICon{}.Loss(Cosine{}.Of(x[0]), Cosine{}.Of(x[0])) }), views)
	near(t, "p = q", 0, loss.Scalar(), 1e-15)
	nearAll(t, "p = q, derivative", make([]float64, 8), dx[0].Float64s(), 1e-15)
}

// k-means, spectral clustering and cuts: KL(q, p) with q of clusters is the within-cluster scatter over σ², less the
// entropy of q, plus the logarithm of p's normaliser.
func TestIConClusters(t *testing.T) {
	x := matrix(5, 0, 0, 0.2, 0.1, 2, 2, 2.1, 1.8, 1, 1)
	phi := matrix(5, 0.9, 0.1, 0.8, 0.2, 0.1, 0.9, 0.3, 0.7, 0.5, 0.5)
	const s2 = 0.7
	loss := func(x nodes) *graph.Node {
		return graph.Scale(ICon{Reverse}.Loss(Gaussian{Sigma: math.Sqrt(s2), Self: true}.Of(x[0]), ClusterNeighbors(x[1], nil)), 5)
	}
	got := value(t, loss, x, phi)
	near(t, "k-means", 3.1219595540, got, 1e-10)
	scatter := 0.0
	for c := range 2 {
		var mass float64
		mu := []float64{0, 0}
		for i := range 5 {
			mass += phi.At(2*i + c)
			mu[0] += phi.At(2*i+c) * x.At(2*i)
			mu[1] += phi.At(2*i+c) * x.At(2*i+1)
		}
		mu[0], mu[1] = mu[0]/mass, mu[1]/mass
		for i := range 5 {
			scatter += phi.At(2*i+c) * squaredDistance(x.Float64s()[2*i:2*i+2], mu)
		}
	}
	near(t, "scatter", 4.7874198718, scatter, 1e-10)
	logZ := 0.0
	for i := range 5 {
		z := 0.0
		for j := range 5 {
			z += math.Exp(-squaredDistance(x.Float64s()[2*i:2*i+2], x.Float64s()[2*j:2*j+2]) / (2 * s2))
		}
		logZ += math.Log(z)
	}
	h := 5 * value(t, func(x nodes) *graph.Node { return ClusterNeighbors(x[0], nil).Entropy() }, phi)
	near(t, "identity", scatter/s2-h+logZ, got, 1e-12)

	q := list(t, func(x nodes) *graph.Node { return ClusterNeighbors(x[0], nil).P }, phi)
	for i := range 5 {
		sum := 0.0
		for j := range 5 {
			sum += q[5*i+j]
			near(t, "symmetry", q[5*j+i], q[5*i+j], 1e-15)
		}
		near(t, "row sum", 1, sum, 1e-15)
	}
	// With weights: Σ_c φ_ic φ_jc d_j / Σ_k φ_kc d_k.
	d := []float64{1, 2, 3, 4, 5}
	q = list(t, func(x nodes) *graph.Node { return ClusterNeighbors(x[0], x[1]).P }, phi, graph.ArrayOf(d, 5))
	for i := range 5 {
		for j := range 5 {
			want := 0.0
			for c := range 2 {
				mass := 0.0
				for k := range 5 {
					mass += phi.At(2*k+c) * d[k]
				}
				want += phi.At(2*i+c) * phi.At(2*j+c) * d[j] / mass
			}
			near(t, "weighted cluster", want, q[5*i+j], 1e-15)
		}
	}
	// Hard clusters are the neighbours of one label, with oneself: normalised pointwise mutual information.
	hard := list(t, func(x nodes) *graph.Node { return ClusterNeighbors(x[0], nil).P }, matrix(3, 1, 0, 1, 0, 0, 1))
	nearAll(t, "hard clusters", []float64{0.5, 0.5, 0, 0.5, 0.5, 0, 0, 0, 1}, hard, 0)
}

// The rest of the table: each row of it against the loss written by itself.
func TestIConTable(t *testing.T) {
	x, labels := gradcheck.Normal(1, 6, 3), ints(0, 1, 0, 2, 1, 0)
	near(t, "cross-entropy", value(t, func(x nodes) *graph.Node { return objectives.CrossEntropy(x[0], x[1]) }, x, labels),
		value(t, func(x nodes) *graph.Node { return ICon{}.Loss(LabelProbabilities(x[0], x[1], 3), LogitNeighbors(x[0])) }, x, labels), 1e-12)
	near(t, "label smoothing", value(t, func(x nodes) *graph.Node {
		return objectives.CrossEntropyOptions{LabelSmoothing: 0.3}.Loss(x[0], x[1])
	}, x, labels), value(t, func(x nodes) *graph.Node {
		return ICon{}.CrossEntropy(LabelProbabilities(x[0], x[1], 3).Debias(0.3), LogitNeighbors(x[0]))
	}, x, labels), 1e-12)
	clip := func(x nodes) *graph.Node {
		logits := graph.Scale(graph.MatMulT(Unit(x[0]), Unit(x[1]), false, true), 1/0.07)
		return graph.Add(objectives.CrossEntropy(logits, x[2]), objectives.CrossEntropy(graph.Transpose(logits), x[2]))
	}
	both := func(x nodes) *graph.Node {
		p, q := IdentityNeighbors(x[0], 6), Cosine{Temperature: 0.07}
		return graph.Add(ICon{}.Loss(p, q.Between(x[0], x[1])), ICon{}.Loss(p, q.Between(x[1], x[0])))
	}
	order, z := ints(0, 1, 2, 3, 4, 5), gradcheck.Normal(3, 6, 3)
	near(t, "CLIP", value(t, clip, x, z, order), value(t, both, x, z, order), 1e-12)

	// t-SNE as published, by its definition.
	data, perplexity := gradcheck.Normal(4, 8, 5), 3.0
	p, err := Perplexity(data, perplexity)
	if err != nil {
		t.Fatal(err)
	}
	maps := gradcheck.Normal(5, 8, 2)
	kl, norm := 0.0, 0.0
	cauchy := func(i, j int) float64 {
		return 1 / (1 + squaredDistance(maps.Float64s()[2*i:2*i+2], maps.Float64s()[2*j:2*j+2]))
	}
	for i := range 8 {
		h := 0.0
		for j := range 8 {
			if i != j {
				norm += cauchy(i, j)
				h -= p.At(8*i+j) * math.Log(p.At(8*i+j))
			}
		}
		near(t, "perplexity", perplexity, math.Exp(h), 1e-9)
	}
	for i := range 8 {
		for j := range 8 {
			if i != j {
				joint := (p.At(8*i+j) + p.At(8*j+i)) / 16
				kl += joint * math.Log(joint*norm/cauchy(i, j))
			}
		}
	}
	near(t, "t-SNE", kl, value(t, func(x nodes) *graph.Node {
		return ICon{}.Loss(WeightNeighbors(x[0]).Joint(), StudentT{Joint: true}.Of(x[1]))
	}, p, maps), 1e-12)

	// t-SimCLR and LGSimCLR, by their definitions.
	q := list(t, func(x nodes) *graph.Node { return StudentT{Nu: 5, Scale: 2}.Of(x[0]).P }, x)
	knn := list(t, func(x nodes) *graph.Node { return KNNNeighbors(x[0], 2).P }, x)
	for i := range 6 {
		row := func(j int) []float64 { return x.Float64s()[3*j : 3*j+3] }
		student := func(j int) float64 { return math.Pow(1+squaredDistance(row(i), row(j))/20, -3) }
		sum := 0.0
		for j := range 6 {
			if j != i {
				sum += student(j)
			}
		}
		for j := range 6 {
			nearer := 0
			for k := range 6 {
				if k != i && squaredDistance(row(i), row(k)) < squaredDistance(row(i), row(j)) {
					nearer++
				}
			}
			want, is := student(j)/sum, 0.0
			if j == i {
				want = 0
			} else if nearer < 2 {
				is = 0.5
			}
			near(t, "Student's t", want, q[6*i+j], 1e-14)
			near(t, "2 nearest", is, knn[6*i+j], 0)
		}
	}
	// PCA and VICReg: the limit of wide Gaussians with oneself, (CE - log n) σ², for 2σ² in place of the σ² of the papers.
	variance := 0.0
	for j := range 3 {
		m := 0.0
		for i := range 6 {
			m += x.At(3*i+j) / 6
		}
		for i := range 6 {
			variance += math.Pow(x.At(3*i+j)-m, 2) / 6
		}
	}
	cohesion, threes := 0.0, []int{0, 1, 0, 1, 1, 0}
	for i := range 6 {
		for j := range 6 {
			if threes[i] == threes[j] {
				cohesion += squaredDistance(x.Float64s()[3*i:3*i+3], x.Float64s()[3*j:3*j+3]) / 2 / 6
			}
		}
	}
	for _, c := range []struct {
		name string
		p    func(x nodes) Neighbors
		want float64
	}{
		{"PCA", func(x nodes) Neighbors { return IdentityNeighbors(x[0], 6) }, -variance},
		{"cohesion - variance", func(x nodes) Neighbors { return LabelNeighbors(x[0], x[1]) }, cohesion/2 - variance},
	} {
		previous := math.Inf(1)
		for _, sigma := range []float64{10, 20, 40, 80} {
			got := value(t, func(x nodes) *graph.Node {
				return ICon{}.CrossEntropy(c.p(x), Gaussian{Sigma: sigma, Self: true}.Of(x[0]))
			}, x, ints(threes...))
			miss := math.Abs((got-math.Log(6))*sigma*sigma - c.want)
			if !(miss < previous/3.5) || miss > 30/(sigma*sigma) {
				t.Errorf("%s, σ = %v: off by %v, before %v", c.name, sigma, miss, previous)
			}
			previous = miss
		}
	}
	// Points in another order.
	perm := []int{3, 0, 5, 1, 4, 2}
	moved, order2 := graph.NewArray(graph.Float64, 6, 3), graph.NewArray(graph.Int, 6)
	for i, from := range perm {
		copy(moved.Float64s()[3*i:3*i+3], x.Float64s()[3*from:3*from+3])
		order2.Set(i, labels.At(from))
	}
	f := func(x nodes) *graph.Node {
		return ICon{}.Loss(LabelNeighbors(x[0], x[1]).Debias(0.1), Cosine{Self: true}.Of(x[0]))
	}
	near(t, "permutation", value(t, f, x, labels), value(t, f, moved, order2), 1e-14)
}

func TestIConDerivatives(t *testing.T) {
	labels, weights := ints(0, 1, 0, 2, 1, 0), gradcheck.Positive(7, 6, 6)
	fixed := func(x *graph.Node) Neighbors { return WeightNeighbors(graph.Literal(x, cast(weights, x))) }
	for name, f := range map[string]func(x nodes) *graph.Node{
		"Gaussian":    func(x nodes) *graph.Node { return ICon{}.Loss(fixed(x[0]), Gaussian{Sigma: 1.3}.Of(x[0])) },
		"Student's t": func(x nodes) *graph.Node { return ICon{}.Loss(LabelNeighbors(x[0], x[1]), StudentT{Nu: 3}.Of(x[0])) },
		"joint":       func(x nodes) *graph.Node { return ICon{}.Loss(fixed(x[0]).Joint(), StudentT{Joint: true}.Of(x[0])) },
		"debiased":    func(x nodes) *graph.Node { return ICon{}.Loss(fixed(x[0]).Debias(0.2), Cosine{}.Of(x[0]).Debias(0.2)) },
		"mixed": func(x nodes) *graph.Node {
			return ICon{}.CrossEntropy(fixed(x[0]), Cosine{}.Of(x[0]).Mix(Gaussian{}.Of(x[0]), 0.3))
		},
		"propagated": func(x nodes) *graph.Node { return ICon{}.Loss(fixed(x[0]), Cosine{Self: true}.Of(x[0]).Propagate(2)) },
		"harmonic": func(x nodes) *graph.Node {
			return ICon{}.Loss(LabelProbabilities(x[0], x[1], 3), Harmonic{}.Between(x[0], graph.Slice(graph.Scale(x[0], 0.5), 0, 1, 4, 1)))
		},
		"clusters": func(x nodes) *graph.Node {
			return ICon{}.Loss(fixed(x[0]), ClusterNeighbors(graph.Softmax(x[0], 1), nil))
		},
		"k-means": func(x nodes) *graph.Node {
			return ICon{Reverse}.Loss(fixed(x[0]), ClusterNeighbors(graph.Softmax(x[0], 1), nil))
		},
		"entropy": func(x nodes) *graph.Node { return Cosine{}.Of(x[0]).Entropy() },
	} {
		t.Run(name, func(t *testing.T) { gradcheck.Check(t, plain(f), gradcheck.Normal(3, 6, 4), labels) })
	}
}

// cast is an array in the type of a node.
func cast(a *graph.Array, like *graph.Node) *graph.Array {
	b := graph.NewArray(like.Dtype(), a.Shape...)
	for i := range a.Size() {
		b.Set(i, a.At(i))
	}
	return b
}

// Rows without neighbours, probabilities of 0, equal points and sure clusters give finite numbers.
func TestIConExtremes(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		sure := graph.NewArray(dtype, 4, 2)
		for i, v := range []float64{1e4, -1e4, 1e4, -1e4, -1e4, 1e4, 1e4, -1e4} {
			sure.Set(i, v)
		}
		for name, f := range map[string]func(x nodes) *graph.Node{
			"clusters": func(x nodes) *graph.Node {
				return ICon{}.Loss(LabelNeighbors(x[0], x[1]), ClusterNeighbors(graph.Softmax(x[0], 1), nil))
			},
			"k-means": func(x nodes) *graph.Node {
				return ICon{Reverse}.Loss(LabelNeighbors(x[0], x[1]), ClusterNeighbors(graph.Softmax(x[0], 1), nil))
			},
			"Gaussian":    func(x nodes) *graph.Node { return ICon{}.Loss(LabelNeighbors(x[0], x[1]), Gaussian{}.Of(x[0])) },
			"Student's t": func(x nodes) *graph.Node { return ICon{}.Loss(LabelNeighbors(x[0], x[1]), StudentT{}.Of(x[0])) },
			"harmonic": func(x nodes) *graph.Node {
				return ICon{}.Loss(LabelProbabilities(x[0], x[1], 4), Harmonic{}.Between(x[0], x[0]))
			},
			"alone": func(x nodes) *graph.Node {
				one := graph.Slice(x[0], 0, 0, 1, 1)
				return ICon{}.Loss(LabelNeighbors(one, graph.Slice(x[1], 0, 0, 1, 1)), Cosine{}.Of(one))
			},
			"reverse of 0": func(x nodes) *graph.Node {
				return ICon{Reverse}.Loss(LabelNeighbors(x[0], x[1]), Gaussian{Sigma: 1e5}.Of(x[0]))
			},
		} {
			y, dx := evaluate(t, plain(f), sure, ints(0, 0, 0, 3))
			for _, a := range append(dx, y) {
				for i := range a.Size() {
					if v := a.At(i); v-v != 0 {
						t.Errorf("%s, %v: %v", name, dtype, v)
						break
					}
				}
			}
		}
	}
}
