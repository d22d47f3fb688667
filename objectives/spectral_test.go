package objectives

import (
	"fmt"
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestSpectralDecoupling(t *testing.T) {
	x, y := gradcheck.Normal(1, 6, 5), gradcheck.Ints(1, 5, 6)
	of := func(f Objective) []float64 { l, d := losses(t, f, x, y); return append(l, d...) }
	ce := of(CrossEntropy)
	wantNear(t, "Lambda 0", 1e-12, of(SpectralDecouplingOptions{Lambda: 1e-300}.Loss), ce)
	want := append([]float64(nil), ce...)
	for i, v := range x.Float64s() {
		want[0] += .4 / 2 * v * v / 6
		want[1+i] += .4 * v / 6
	}
	wantNear(t, "by hand", 1e-12, of(SpectralDecouplingOptions{Lambda: .4}.Loss), want)
	// One logit: -y sigmoid(-y f)/n + 2 c f/n for y = ±1 and c = Lambda/2.
	f, target := graph.ArrayOf([]float64{1.5, -.3, .7}, 3), graph.ArrayOf([]float64{1, 1, 0}, 3)
	_, dx := losses(t, SpectralDecouplingOptions{Objective: BCEWithLogits, Lambda: .06}.Loss, f, target)
	var slope []float64
	for i, sign := range []float64{1, 1, -1} {
		v := f.At(i)
		slope = append(slope, (-sign*logistic(-sign*v)+2*.03*v)/3)
	}
	wantNear(t, "binary", 1e-12, dx, slope)

	o := SpectralDecouplingTargetOptions{Weight: .2, Positive: 2.5, Negative: .44}
	got, _ := losses(t, o.Loss, f, target)
	bce, _ := losses(t, BCEWithLogits, f, target)
	wantNear(t, "targets", 1e-12, got, []float64{bce[0] + .2*((1.0+2.8*2.8)/2+.26*.26)})
	got, _ = losses(t, o.Loss, f, graph.ArrayOf([]float64{1, 1, 1}, 3))
	bce, _ = losses(t, BCEWithLogits, f, graph.ArrayOf([]float64{1, 1, 1}, 3))
	wantNear(t, "no answers of 0", 1e-12, got, []float64{bce[0] + .2*(1.0+2.8*2.8+1.8*1.8)/3})
}

func TestSpectralDecouplingDerivatives(t *testing.T) {
	derivatives(t, map[string]Objective{"classes": SpectralDecoupling, "over GCE": SpectralDecouplingOptions{Objective: GCE, Lambda: 3}.Loss})
	pair := func(f Objective) gradcheck.Function {
		return func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) }
	}
	o := gradcheck.Options{Inputs: []int{0}}
	o.Check(t, pair(SpectralDecouplingTargetOptions{Positive: 2.5, Negative: .44}.Loss), gradcheck.Normal(1, 5), graph.ArrayOf([]float64{1, 0, 1, 1, 0}, 5))
	o.Check(t, pair(SpectralDecouplingOptions{Objective: BCEWithLogits}.Loss), gradcheck.Normal(1, 4, 2), gradcheck.Uniform(1, 0, 1, 4, 2))
}

func TestSpectralDecouplingOptimum(t *testing.T) {
	for lambda, want := range map[float64]float64{.002: 4.6651204, .01: 3.3592750, .1: 1.6335062, 1: 0.4010581} {
		wantNear(t, fmt.Sprint("lambda ", lambda), 5e-8, []float64{SpectralDecouplingOptimum(lambda)}, []float64{want})
	}
}

// Two examples whose features are mixed by U: the stronger one feature is, the less the other is learnt, unless the
// penalty is on the logits.
func TestStarvation(t *testing.T) {
	const d = .5
	u := mat.NewDense(2, 2, []float64{math.Sqrt(1 - d*d), -d, d, math.Sqrt(1 - d*d)})
	labels := []float64{1, 1}
	for i, want := range [][]float64{{6.12044, 1.63997}, {7.06815, 1.58311}, {7.81205, 1.46681}, {8.46519, 1.32902}, {9.07102, 1.18534}} {
		s1 := float64(i + 2)
		var phi mat.Dense
		phi.Mul(u, mat.NewDiagDense(2, []float64{s1, 2}))
		if s1 == 2 { // equal singular values have no order of their own
			phi.Mul(u, mat.NewDiagDense(2, []float64{s1 + 1e-9, 2}))
		}
		m, err := NewStarvation(&phi, labels, .01)
		if err != nil {
			t.Fatal(err)
		}
		best, err := m.Optimum()
		if err != nil {
			t.Fatal(err)
		}
		z := m.Response(best)
		wantNear(t, fmt.Sprint("ridge, s1 ", s1), 1e-5, z, want)
		// The optimum of the dual: log((1-α)/α) is the margin.
		curves, err := m.Flow(.01, 2e-5, 30000)
		if err != nil {
			t.Fatal(err)
		}
		wantNear(t, fmt.Sprint("end of the flow, s1 ", s1), 1e-4, curves[len(curves)-1], z)
		margin := SpectralDecouplingOptimum(.002)
		wantNear(t, fmt.Sprint("spectral decoupling, s1 ", s1), 1e-5, m.Response([]float64{margin, margin}), []float64{6.37267, 1.70755})
	}
	phi := mat.NewDense(2, 2, []float64{1, 2, 3, 4})
	for name, f := range map[string]func() (*Starvation, error){
		"labels": func() (*Starvation, error) { return NewStarvation(phi, []float64{1}, 1) },
		"a 0":    func() (*Starvation, error) { return NewStarvation(phi, []float64{1, 0}, 1) },
		"lambda": func() (*Starvation, error) { return NewStarvation(phi, []float64{1, 1}, 0) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Labels of both signs: the model is that of features with their sign.
	a, _ := NewStarvation(mat.NewDense(2, 2, []float64{1, 2, 3, 4}), []float64{1, -1}, .1)
	b, _ := NewStarvation(mat.NewDense(2, 2, []float64{1, 2, -3, -4}), []float64{1, 1}, .1)
	pa, _ := a.Optimum()
	pb, _ := b.Optimum()
	wantNear(t, "signs", 1e-12, []float64{pa[0], -pa[1]}, pb)
	wantNear(t, "signs, response", 1e-12, a.Response(pa), b.Response(pb))
}

// Spectral decoupling by descent on the parameters, of any invertible features, gives every example the same margin.
func TestSpectralDecouplingDescent(t *testing.T) {
	const lambda = .1
	phi := gradcheck.Normal(5, 3, 3)
	var loss, slope *graph.Node
	params := &graph.Params{DType: graph.Float64}
	var w, out *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		w = s.Param("w", graph.Constant(0), 3)
		out = graph.Reshape(graph.MatMul(graph.Literal(w, phi), graph.Reshape(w, 3, 1)), 3)
		y := graph.Literal(w, graph.ArrayOf([]float64{1, 0, 1}, 3))
		loss = SpectralDecouplingOptions{Objective: BCEWithLogits, Lambda: lambda}.Loss(out, y)
		slope = graph.Grad(loss, w)[0]
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(loss, slope, out)
	if err != nil {
		t.Fatal(err)
	}
	for range 200000 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for i, d := range p.Array(slope).Float64s() {
			params.Get("w").Value.Float64s()[i] -= .3 * d
		}
	}
	u := SpectralDecouplingOptimum(lambda)
	wantNear(t, "margins", 1e-6, floats(p.Array(out)), []float64{u, -u, u})
}
