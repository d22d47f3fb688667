package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

var gaussian = []*graph.Array{
	rows([]float64{1, 0}, []float64{0, 1}, []float64{-1, -1}),
	numbers(0, .1, -.1),
	rows([]float64{1, .2}, []float64{.1, 1}, []float64{-.8, -.9}),
	graph.ArrayOf([]float64{.2, .05, .05, .1, .1, 0, 0, .3, .2, -.1, -.1, .2}, 3, 2, 2),
}

// each is the loss of one class at a time, by weights.
func (o ClassGaussianOptions) each(t *testing.T, in ...*graph.Array) []float64 {
	var all []float64
	for c := range 3 {
		o.ClassWeights = make([]float64, 3)
		o.ClassWeights[c] = 1
		y, _ := evaluate(t, func(x []*graph.Node) *graph.Node { return o.Loss(x[0], x[1], x[2], x[3]) }, in...)
		all = append(all, y.Scalar())
	}
	return all
}

func TestClassGaussian(t *testing.T) {
	w, b, mu, sigma := gaussian[0], gaussian[1], gaussian[2], gaussian[3]
	none := graph.NewArray(graph.Float64, 3, 2)
	wantNear(t, "no variance", 1e-8, ClassGaussianOptions{}.each(t, w, b, mu, none), []float64{.46802927, .38399513, .16673057})
	bound := ClassGaussianOptions{}.each(t, gaussian...)
	wantNear(t, "bound", 1e-8, bound, []float64{.54382641, .49553666, .21906553})
	// Against sampling: features mean + L·z, L from the Cholesky factor of the 2x2 covariance.
	r := graph.Rand(1, "features", 0)
	for c, want := range []float64{.5201, .4560, .2094} {
		s := sigma.Float64s()[4*c:]
		l00 := math.Sqrt(s[0])
		l10 := s[1] / l00
		l11 := math.Sqrt(s[3] - l10*l10)
		const n = 100000
		sum := 0.0
		for range n {
			z0, z1 := r.NormFloat64(), r.NormFloat64()
			f0, f1 := mu.At(2*c)+l00*z0, mu.At(2*c+1)+l10*z0+l11*z1
			own, all := 0.0, 0.0
			for k := range 3 {
				e := math.Exp(w.At(2*k)*f0 + w.At(2*k+1)*f1 + b.At(k))
				all += e
				if k == c {
					own = e
				}
			}
			sum += math.Log(all/own) / n
		}
		wantNear(t, "sampled", 5e-3, []float64{sum}, []float64{want})
		if !(bound[c] > sum) {
			t.Errorf("class %d: the bound %v is below %v", c, bound[c], sum)
		}
	}
	large := ClassGaussianOptions{Enlarge: []float64{.5, .5, 0}}
	wantNear(t, "enlarged", 1e-8, large.each(t, gaussian...), []float64{.59096413, .56666986, .21906553})
	margins, _ := evaluate(t, func(x []*graph.Node) *graph.Node { return large.Margins(x[0], x[1]) }, w, sigma)
	wantNear(t, "margins", 1e-12, floats(margins)[:3], []float64{0, .05, .275})
	// The margin form, and the covariance enlarged by hand.
	byMargin, _ := evaluate(t, func(x []*graph.Node) *graph.Node {
		logits := large.Logits(x[0], x[1], x[2], x[3])
		return AdaptiveMargin(logits, large.Margins(x[0], x[3]), graph.Literal(logits, labelsOf(0, 1, 2)))
	}, gaussian...)
	byHand := sigma.Clone()
	for i := range 8 {
		byHand.Set(i, 1.5*sigma.At(i))
	}
	whole := func(o ClassGaussianOptions, in ...*graph.Array) []float64 {
		y, dw := evaluate(t, func(x []*graph.Node) *graph.Node { return o.Loss(x[0], x[1], x[2], x[3]) }, in...)
		return append(floats(y), floats(dw)...)
	}
	wantNear(t, "margin form", 1e-12, floats(byMargin), whole(large, gaussian...)[:1])
	wantNear(t, "by hand", 1e-12, whole(large, gaussian...), whole(ClassGaussianOptions{}, w, b, mu, byHand))
	inflated := sigma.Clone()
	for i := range 3 {
		inflated.Set(4*i, sigma.At(4*i)+.3)
		inflated.Set(4*i+3, sigma.At(4*i+3)+.3)
	}
	wantNear(t, "inflated", 1e-12, whole(ClassGaussianOptions{Inflate: []float64{.3, .3, .3}}, gaussian...), whole(ClassGaussianOptions{}, w, b, mu, inflated))
	// Constants added to all weights and biases change nothing.
	moved, shifted := w.Clone(), numbers(5, 5.1, 4.9)
	for i := range 6 {
		moved.Set(i, w.At(i)+[]float64{.7, -2}[i%2])
	}
	wantNear(t, "moved", 1e-12, whole(large, moved, shifted, mu, sigma), whole(large, gaussian...))
	// A diagonal covariance in both forms.
	diagonal := rows([]float64{.2, .1}, []float64{.1, .3}, []float64{.2, .2})
	full := graph.NewArray(graph.Float64, 3, 2, 2)
	for i := range 6 {
		full.Set(i/2*4+i%2*3, diagonal.At(i))
	}
	wantNear(t, "diagonal", 1e-12, whole(large, w, b, mu, diagonal), whole(large, w, b, mu, full))
}

// The derivative by its formula, with the margins in it and held constant.
func TestClassGaussianFormula(t *testing.T) {
	w, b, mu, sigma := gaussian[0].Float64s(), gaussian[1].Float64s(), gaussian[2].Float64s(), gaussian[3].Float64s()
	lambda := []float64{.5, .5, 0}
	for _, detach := range []bool{false, true} {
		want := make([]float64, 6)
		for c := range 3 {
			var logits, p [3]float64
			var sd [3][2]float64 // Σ_c (w_k - w_c), of the plain covariance
			sum := 0.0
			for k := range 3 {
				d0, d1 := w[2*k]-w[2*c], w[2*k+1]-w[2*c+1]
				s := sigma[4*c:]
				sd[k] = [2]float64{s[0]*d0 + s[1]*d1, s[2]*d0 + s[3]*d1}
				logits[k] = w[2*k]*mu[2*c] + w[2*k+1]*mu[2*c+1] + b[k] + (1+lambda[c])/2*(d0*sd[k][0]+d1*sd[k][1])
				sum += math.Exp(logits[k])
			}
			for k := range 3 {
				p[k] = math.Exp(logits[k]) / sum
			}
			factor := 1 + lambda[c]
			if detach {
				factor = 1
			}
			for k := range 3 {
				e := p[k]
				if k == c {
					e--
				}
				for i := range 2 {
					want[2*k+i] += (e*mu[2*c+i] + p[k]*factor*sd[k][i]) / 3
					want[2*c+i] -= p[k] * factor * sd[k][i] / 3
				}
			}
		}
		o := ClassGaussianOptions{Enlarge: lambda, DetachMargins: detach}
		_, dw := evaluate(t, func(x []*graph.Node) *graph.Node { return o.Loss(x[0], x[1], x[2], x[3]) }, gaussian...)
		wantNear(t, "derivative", 1e-12, floats(dw), want)
	}
}

func TestClassGaussianDerivatives(t *testing.T) {
	o := ClassGaussianOptions{Enlarge: []float64{1, 0, .5, 2}, Inflate: []float64{0, .1, .2, 0}, ClassWeights: []float64{1, 2, 0, 1}}
	for _, cov := range []*graph.Array{gradcheck.Normal(4, 4, 3, 3), gradcheck.Positive(4, 4, 3)} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return o.Loss(x[0], x[1], x[2], x[3]) },
			gradcheck.Normal(1, 4, 3), gradcheck.Normal(2, 4), gradcheck.Normal(3, 4, 3), cov)
	}
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return AdaptiveMargin(x[0], x[1], x[2]) },
		gradcheck.Normal(1, 4, 3), gradcheck.Positive(2, 4, 3), gradcheck.Ints(1, 3, 4))
	finite(t, "margin", func(x, y *graph.Node) *graph.Node { return AdaptiveMargin(x, graph.Fill(x, 1e4), y) }, 3)
	finite(t, "margin", func(x, y *graph.Node) *graph.Node { return AdaptiveMargin(x, graph.Fill(x, 1e4), y) }, 1)
	// One class, and weights of 1e4.
	for _, n := range []int{1, 2} {
		in := []*graph.Array{graph.NewArray(graph.Float32, n, 2), graph.NewArray(graph.Float32, n), graph.NewArray(graph.Float32, n, 2), graph.NewArray(graph.Float32, n, 2)}
		for i := range in[0].Size() {
			in[0].Set(i, 1e4*float64(i))
			in[3].Set(i, 1)
		}
		y, dw := evaluate(t, func(x []*graph.Node) *graph.Node { return ClassGaussianOptions{}.Loss(x[0], x[1], x[2], x[3]) }, in...)
		for _, v := range append(floats(y), floats(dw)...) {
			if v-v != 0 {
				t.Errorf("%d classes: %v, %v", n, y, dw)
			}
		}
	}
}

func TestClassStatistics(t *testing.T) {
	f := rows([]float64{1, 2}, []float64{5, 5}, []float64{3, 8})
	mean, cov, err := ClassStatistics(f, []int{2, 0, 2}, 3)
	if err != nil {
		t.Fatal(err)
	}
	wantNear(t, "mean", 1e-12, floats(mean), []float64{5, 5, 0, 0, 2, 5})
	wantNear(t, "covariance", 1e-12, floats(cov), []float64{0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 9})
	if _, _, err := ClassStatistics(f, []int{0, 3, 0}, 3); err == nil {
		t.Error("want an error for label 3")
	}
	if _, _, err := ClassStatistics(f, []int{0}, 3); err == nil {
		t.Error("want an error for one label")
	}
}

func TestClassGaussianErrors(t *testing.T) {
	o := ClassGaussianOptions{}
	wantError(t, func(x, y *graph.Node) *graph.Node { return o.Loss(x, y, x, x) }, "bias")
	wantError(t, func(x, y *graph.Node) *graph.Node { return o.Loss(x, graph.Sum(x, 1), graph.Sum(x, 1), x) }, "mean")
	wantError(t, func(x, y *graph.Node) *graph.Node { return o.Loss(x, graph.Sum(x, 1), x, graph.Sum(x, 1)) }, "covariance")
	wantError(t, func(x, y *graph.Node) *graph.Node { return o.Loss(graph.Sum(x), graph.Sum(x, 1), x, x) }, "weight")
	wantError(t, func(x, y *graph.Node) *graph.Node {
		return ClassGaussianOptions{Enlarge: []float64{1}}.Loss(x, graph.Sum(x, 1), x, x)
	}, "Enlarge")
	wantError(t, func(x, y *graph.Node) *graph.Node { return AdaptiveMargin(x, y, y) }, "margins")
}
