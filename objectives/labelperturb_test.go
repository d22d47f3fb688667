package objectives

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestSCBCE(t *testing.T) {
	logit := func(p float64) float64 { return math.Log(p / (1 - p)) }
	z, one := graph.ArrayOf([]float64{logit(.9)}, 1), graph.ArrayOf([]float64{1}, 1)
	for _, c := range []struct{ alpha, beta, want float64 }{{.2, .5, 0.3250829734}, {.1, 2, 0.5448054311}} {
		got, dx := losses(t, SCBCEOptions{Alpha: c.alpha, Beta: c.beta}.Loss, z, one)
		wantNear(t, "loss", 1e-9, got, []float64{c.want})
		wantNear(t, "p - y_eff", 1e-12, dx, []float64{.9 - (1 - c.alpha*c.beta)})
		// The mean over the two labels.
		plain, _ := losses(t, BCEWithLogits, z, one)
		moved, _ := losses(t, BCEWithLogits, z, graph.ArrayOf([]float64{1 - c.beta}, 1))
		wantNear(t, "mean over perturbations", 1e-12, got, []float64{(1-c.alpha)*plain[0] + c.alpha*moved[0]})
	}
	x, y := gradcheck.Normal(1, 4, 3), gradcheck.Uniform(2, 0, 1, 4, 3)
	of := func(f Objective) []float64 { l, d := losses(t, f, x, y); return append(l, d...) }
	wantNear(t, "alpha 0", 1e-12, of(SCBCEOptions{Beta: 2}.Loss), of(BCEWithLogits))
	wantNear(t, "beta 0", 1e-12, of(SCBCEOptions{Alpha: 1}.Loss), of(BCEWithLogits))
	wantNear(t, "label smoothing of 0.1", 1e-12, of(SCBCEOptions{Alpha: 1, Beta: .05}.Loss),
		of(func(x, y *graph.Node) *graph.Node { return BCEWithLogits(x, graph.Shift(graph.Scale(y, .9), .05)) }))
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return SCBCE(x[0], x[1]) }, x, y)
	for _, o := range []SCBCEOptions{{Alpha: 2}, {Beta: -1}} {
		if _, err := graph.Build(nil, func(s *graph.Scope) { o.Loss(s.Input("x", graph.Float32, 3), s.Input("y", graph.Float32, 3)) }); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func TestControllerSteps(t *testing.T) {
	const bce, cal = .1053605157, 2.4079456087 // of p = 0.9, y = 1
	next := func(o LabelPerturbation, alpha, bce, cal, accuracy float64) float64 {
		row := func(v float64) *graph.Array { return graph.ArrayOf([]float64{v}, 1) }
		got, _ := evaluate(t, func(x []*graph.Node) *graph.Node { return o.Next(x[0], x[1], x[2], x[3]) }, row(alpha), row(bce), row(cal), row(1-accuracy-2*alpha))
		return got.At(0)
	}
	wantNear(t, "from 0", 1e-9, []float64{next(LabelPerturbation{}, 0, bce, cal, .95)}, []float64{0.0021972246})
	// From 0.03 the move is to -0.0078027754, below 0.
	wantNear(t, "from 0.03", 1e-9, []float64{next(LabelPerturbation{}, .03, bce, cal, .95)}, []float64{0})
	wantNear(t, "below 1, from 0.03", 1e-9, []float64{next(LabelPerturbation{Lambda: 200}, .03, bce, cal, .95)},
		[]float64{.03 + .002*((cal-2*bce)/2+200*(.05-.06))})
	wantNear(t, "far up", 1e-12, []float64{next(LabelPerturbation{Rate: 10}, 0, bce, cal, .5)}, []float64{.24})
	// It settles at 2α = (1-acc) + (cal-2bce)/(2 Lambda) where the gain is below 1.
	alpha := 0.0
	for range 500 {
		alpha = next(LabelPerturbation{Lambda: 200}, alpha, bce, cal, .9)
	}
	wantNear(t, "equilibrium", 1e-12, []float64{2 * alpha}, []float64{.1 + (cal-2*bce)/(2*200)})
}

// All places of an example are perturbed together, with its own probability.
func TestPerturbLabels(t *testing.T) {
	const n, places = 4000, 3
	var y, alpha, out *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		y, alpha = s.Input("y", graph.Float32, n, places), s.Input("alpha", graph.Float32, n)
		out = PerturbLabels(s, y, alpha, 2)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(out)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		p.Array(alpha).Set(i, float64(i%4)/4)
		for k := range places {
			p.Array(y).Set(i*places+k, float64((i+k)%2))
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	hits := make([]float64, 4)
	for i := range n {
		moved := 0
		for k := range places {
			was, is := p.Array(y).At(i*places+k), p.Array(out).At(i*places+k)
			switch is {
			case was:
			case 2 - 3*was:
				moved++
			default:
				t.Fatalf("label %v became %v", was, is)
			}
		}
		if moved != 0 && moved != places {
			t.Fatalf("example %d: %d of %d places moved", i, moved, places)
		}
		hits[i%4] += float64(moved) / places / (n / 4)
	}
	wantNear(t, "part of the examples", .05, hits, []float64{0, .25, .5, .75})
}

// The table moves once the accuracy is known, and only where the batch's examples are.
func TestLabelPerturbation(t *testing.T) {
	params := &graph.Params{DType: graph.Float64, Seed: 3}
	var x, y, ids, loss, slope *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x, y, ids = s.Input("x", graph.Float64, 2, 3), s.Input("y", graph.Float64, 2, 3), s.Input("ids", graph.Int, 2)
		loss = LabelPerturbation{}.Loss(s, x, y, ids, 5)
		slope = graph.Grad(loss, x)[0]
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(append(g.Updates(), loss, slope)...)
	if err != nil {
		t.Fatal(err)
	}
	logit := math.Log(9)
	copy(p.Array(x).Float64s(), []float64{logit, -logit, logit, 1e4, -1e4, 0})
	copy(p.Array(y).Float64s(), []float64{1, 0, 1, 1, 0, 1})
	copy(p.Array(ids).Ints(), []int{3, 1})
	for _, c := range []struct {
		accuracy float64
		want     []float64
	}{
		{-1, make([]float64, 5)},
		{.95, []float64{0, .002 * (2e4 + 2*math.Ln2 - 2*math.Ln2) / 3 / 2, 0, 0.0021972246, 0}},
	} {
		params.Get("accuracy").Value.Set(0, c.accuracy)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for i := range c.want {
			c.want[i] = min(c.want[i], .24)
		}
		wantNear(t, fmt.Sprint("table at accuracy ", c.accuracy), 1e-9, params.Get("alpha").Value.Float64s(), c.want)
		for _, v := range append(floats(p.Array(slope)), p.Array(loss).Scalar()) {
			if v-v != 0 {
				t.Errorf("loss or derivative is %v", v)
			}
		}
	}
}

// The variant of maximum entropy raises the probabilities of sure and right examples while the accuracy is at its floor
// or above, and lowers all of them below it.
func TestLabelPerturbationEntropy(t *testing.T) {
	params := &graph.Params{DType: graph.Float64, Seed: 3}
	o := LabelPerturbation{Entropy: true, Lambda: 200, Rate: .01}
	var x, y, ids *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x, y, ids = s.Input("x", graph.Float64, 2), s.Input("y", graph.Float64, 2), s.Input("ids", graph.Int, 2)
		o.Loss(s, x, y, ids, 2)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(g.Updates()...)
	if err != nil {
		t.Fatal(err)
	}
	// The slope of the mean loss by beta·alpha is that of bce(x, (1-2b) y + b) by b: (1-2y) x, of either sign.
	copy(p.Array(x).Float64s(), []float64{3, -2})
	copy(p.Array(y).Float64s(), []float64{1, 1})
	copy(p.Array(ids).Ints(), []int{0, 1})
	up := []float64{.01 * 3 / 2, .01 * -2 / 2}
	for _, c := range []struct {
		accuracy float64
		want     []float64
	}{
		{-1, []float64{.1, .1}},
		{.9, []float64{.1 + up[0], .1 + up[1]}},
		{.8, []float64{.1 + up[0], .1 + up[1]}},
		{.79, []float64{.1 + up[0] - .01*200*.01, .1 + up[1] - .01*200*.01}},
		{.5, []float64{0, 0}},
	} {
		copy(params.Get("alpha").Value.Float64s(), []float64{.1, .1})
		params.Get("accuracy").Value.Set(0, c.accuracy)
		params.Get("floor").Value.Set(0, .8)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		wantNear(t, fmt.Sprint("accuracy ", c.accuracy), 1e-12, params.Get("alpha").Value.Float64s(), c.want)
	}
}
