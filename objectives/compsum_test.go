package objectives

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestCompSum(t *testing.T) {
	h := rows([]float64{2, 0, -1})
	sum := math.Exp(2) + 1 + math.Exp(-1)
	p := []float64{math.Exp(2) / sum, 1 / sum, math.Exp(-1) / sum}
	for _, c := range []struct{ tau, y0, y1 float64 }{
		{0, .185122, 7.756936}, {.5, .177266, 3.918424}, {1, .169846, 2.169846},
		{1.5, .162834, 1.324144}, {1.7, .160138, 1.115780}, {2, .156205, .885805},
	} {
		for y, want := range []float64{c.y0, c.y1} {
			o := CompSumOptions{Tau: c.tau}
			got, dx := losses(t, o.Loss, h, labelsOf(y))
			wantNear(t, fmt.Sprintf("tau %v, label %d", c.tau, y), 1e-6, got, []float64{want})
			for k := range p {
				slope := math.Pow(p[y], c.tau-1) * p[k]
				if k == y {
					slope = math.Pow(p[y], c.tau-1) * (p[k] - 1)
				}
				wantNear(t, fmt.Sprintf("tau %v, label %d, derivative %d", c.tau, y, k), 1e-12, dx[k:k+1], []float64{slope})
			}
		}
	}
	// The same from the definition, a function of u = Σ exp(x_j - x_y).
	x, y := gradcheck.Normal(1, 6, 5), gradcheck.Ints(1, 5, 6)
	for _, tau := range []float64{0, .3, .5, 1, 1.2, 1.7, 2, 3} {
		var want []float64
		for i, label := range y.Ints() {
			u := 0.0
			for j := range 5 {
				if j != label {
					u += math.Exp(x.At(5*i+j) - x.At(5*i+label))
				}
			}
			phi := math.Log1p(u)
			if tau != 1 {
				phi = (math.Pow(1+u, 1-tau) - 1) / (1 - tau)
			}
			want = append(want, phi)
		}
		got, _ := losses(t, CompSumOptions{Tau: tau, Reduction: ReduceNone}.Loss, x, y)
		wantNear(t, fmt.Sprint("definition, tau ", tau), 1e-12, got, want)
	}
}

// What coincides with what.
func TestCompSumLimits(t *testing.T) {
	x, y := gradcheck.Normal(1, 6, 5), gradcheck.Ints(1, 5, 6)
	of := func(f Objective) []float64 { l, d := losses(t, f, x, y); return append(l, d...) }
	ce := of(CrossEntropy)
	wantNear(t, "tau 1", 1e-12, of(CompSumOptions{Tau: 1}.Loss), ce)
	wantNear(t, "tau 1 - 1e-6", 1e-5, of(CompSumOptions{Tau: 1 - 1e-6}.Loss), ce)
	wantNear(t, "tau 1 + 1e-6", 1e-5, of(CompSumOptions{Tau: 1 + 1e-6}.Loss), ce)
	wantNear(t, "GCE", 1e-12, of(GCE), of(CompSumOptions{Tau: 1.7}.Loss))
	wantNear(t, "GCE of Q 1", 1e-12, of(GCEOptions{Q: 1}.Loss), of(MAE))
	wantNear(t, "GCE of Q 1e-9", 1e-7, of(GCEOptions{Q: 1e-9}.Loss), ce)
	wantNear(t, "MAE", 1e-12, of(func(x, y *graph.Node) *graph.Node {
		hot := graph.OneHot(y, 5, graph.Float64)
		return graph.Scale(graph.Mean(graph.Sum(graph.Abs(graph.Sub(graph.Softmax(x, 1), hot)), 1)), 0.5)
	}), of(MAE))
	last := math.Inf(1)
	for tau := 0.0; tau < 3; tau += 0.1 {
		l := of(CompSumOptions{Tau: tau}.Loss)[0]
		if !(l <= last) {
			t.Errorf("tau %v: the loss grew from %v to %v", tau, last, l)
		}
		last = l
	}
	// Examples below the threshold are worth the loss there, and nothing moves them.
	sure, unsure := rows([]float64{2, 0}), rows([]float64{-2, 0})
	got, dx := losses(t, GCEOptions{Threshold: 0.5}.Loss, unsure, labelsOf(0))
	wantNear(t, "truncated", 1e-12, append(got, dx...), []float64{(1 - math.Pow(.5, .7)) / .7, 0, 0})
	got, dx = losses(t, GCEOptions{Threshold: 0.5}.Loss, sure, labelsOf(0))
	want, wantDx := losses(t, GCE, sure, labelsOf(0))
	wantNear(t, "not truncated", 0, append(got, dx...), append(want, wantDx...))
}

func TestCompSumDerivatives(t *testing.T) {
	derivatives(t, map[string]Objective{
		"tau 0": SumExponential, "tau 0.5": CompSumOptions{Tau: 0.5, Reduction: ReduceSum}.Loss,
		"tau 1.5": CompSumOptions{Tau: 1.5, Reduction: ReduceNone}.Loss, "tau 2": MAE, "tau 3": CompSumOptions{Tau: 3}.Loss,
		"gce": GCE, "truncated": GCEOptions{Threshold: 0.3}.Loss,
	})
}

// Far from the label the sum-exponential loss goes on as a line of slope e^40.
func TestCompSumCap(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		x := graph.NewArray(dtype, 1, 2)
		x.Set(0, -1e4)
		loss, dx := evaluate(t, of(SumExponential), x, labelsOf(0))
		top := math.Exp(40)
		want := []float64{(1 + 1e4 - 40) * top, -top, top}
		for i, got := range append(floats(loss), floats(dx)...) {
			if math.Abs(got-want[i]) > 1e-5*math.Abs(want[i]) {
				t.Errorf("%v, number %d: want %v, got %v", dtype, i, want[i], got)
			}
		}
	}
}

func TestHConsistency(t *testing.T) {
	for _, c := range []struct {
		tau     float64
		classes int
		want    float64
	}{
		{0, 2, .1339746}, {.5, 2, .1256278}, {1, 2, .1308120}, {1.5, 2, .1669253}, {2, 2, .25}, {1.5, 10, .0746512}, {2, 10, .05},
	} {
		h := HConsistency{c.tau, c.classes}
		wantNear(t, fmt.Sprintf("T(0.5) of tau %v, %d classes", c.tau, c.classes), 5e-8, []float64{h.Transform(.5)}, []float64{c.want})
	}
	wantNear(t, "tau 0", 1e-15, []float64{HConsistency{0, 2}.Transform(.5)}, []float64{1 - math.Sqrt(.75)})

	// For two classes T is the risk of not knowing minus the least risk, here searched for.
	for _, tau := range []float64{0, .5, 1, 1.5, 2} {
		h := HConsistency{tau, 2}
		for _, beta := range []float64{0, .1, .5, .9, 1} {
			q := []float64{(1 + beta) / 2, (1 - beta) / 2}
			risk := func(p float64) float64 { return h.Risk([]float64{p, 1 - p}, q) }
			low, high := 1e-12, 1-1e-12
			for range 200 {
				a, b := low+(high-low)*0.4, low+(high-low)*0.6
				if risk(a) < risk(b) {
					high = b
				} else {
					low = a
				}
			}
			least := min(risk(low), risk(1-1e-15))
			wantNear(t, fmt.Sprintf("tau %v, beta %v", tau, beta), 1e-9, []float64{h.Transform(beta), h.Risk(h.Optimum(q), q)}, []float64{risk(.5) - least, least})
		}
	}

	// Inverse, and the closed forms above it.
	for _, tau := range []float64{0, .5, .9, 1, 1.3, 1.5, 1.9, 2, 3} {
		for _, n := range []int{2, 3, 10} {
			h := HConsistency{tau, n}
			for beta := 0.0; beta <= 1; beta += 0.05 {
				regret := h.Transform(beta)
				wantNear(t, fmt.Sprintf("Bound, tau %v, %d classes, beta %v", tau, n, beta), 1e-6, []float64{h.Bound(regret)}, []float64{beta})
				if simple := h.SimpleBound(regret); !(simple >= beta-1e-12) {
					t.Errorf("tau %v, %d classes: SimpleBound is %v at beta %v", tau, n, simple, beta)
				}
			}
		}
	}
	if got := (HConsistency{1, 3}).Bound(5); got != 1 {
		t.Errorf("Bound beyond T(1): want 1, got %v", got)
	}
	wantNear(t, "gap", 1e-15, []float64{MinimizabilityGap(0.7, []float64{0.2, 0.6})}, []float64{0.3})
}

// Whatever is predicted for whatever labels: T(zero-one regret) is at most the loss regret.
func TestHConsistencyHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		p, q := make([]float64, 4), make([]float64, 4)
		sp, sq := 0.0, 0.0
		for i := range p {
			p[i], q[i] = math.Exp(2*r.NormFloat64()), r.ExpFloat64()
			sp, sq = sp+p[i], sq+q[i]
		}
		said, best := 0, 0
		for i := range p {
			p[i], q[i] = p[i]/sp, q[i]/sq
			if p[i] > p[said] {
				said = i
			}
			if q[i] > q[best] {
				best = i
			}
		}
		for _, tau := range []float64{0, .5, 1, 1.5, 2, 2.5} {
			h := HConsistency{tau, 4}
			regret := h.Risk(p, q) - h.Risk(h.Optimum(q), q)
			if left := h.Transform(q[best] - q[said]); left > regret+1e-12 {
				t.Fatalf("tau %v, p %v, q %v: T is %v, the regret %v", tau, p, q, left, regret)
			}
		}
	}
}
