package objectives

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize/convex/lp"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// with is an objective whose third argument is a constant array.
func with(f func(output, target, third *graph.Node) *graph.Node, third *graph.Array) Objective {
	return func(x, y *graph.Node) *graph.Node { return f(x, y, graph.Cast(graph.Literal(x, third), x.Dtype())) }
}

var (
	emoVectors = rows([]float64{1, 0}, []float64{1, 1}, []float64{0, 2})
	emoLogits  = rows([]float64{1, 2, 3})
)

func TestEMO(t *testing.T) {
	const s2 = math.Sqrt2 / 2
	wantNear(t, "costs", 1e-12, value(t, CosineCost, emoVectors), []float64{0, 1 - s2, 1, 1 - s2, 0, 1 - s2, 1, 1 - s2, 0})
	// By hand: D = (1-√2/2)(1 - p_1), dD/dx_k = p_k (c_k - D), dce/dx = p - e_1.
	e := []float64{math.Exp(-2), math.Exp(-1), 1}
	sum := e[0] + e[1] + e[2]
	p := []float64{e[0] / sum, e[1] / sum, e[2] / sum}
	ce, d := -math.Log(p[1]), (1-s2)*(p[0]+p[2])
	wantNear(t, "by hand", 1e-9, []float64{ce, d}, []float64{1.407605964, 0.221213909})
	slope := func(ofCE, ofD float64) []float64 {
		g := make([]float64, 3)
		for k, c := range []float64{1 - s2, 0, 1 - s2} {
			g[k] = ofD * p[k] * (c - d)
			g[k] += ofCE * p[k]
		}
		g[1] -= ofCE
		return g
	}
	in := d + p[1]
	for _, c := range []struct {
		name    string
		o       EMOOptions
		loss    float64
		dx      []float64
		catalog float64
		slope   []float64
	}{
		{"D", EMOOptions{Mode: EMOOnly}, d, slope(0, 1), 0.221213909, []float64{.006453, -.054137, .047684}},
		{"scaled to ce", EMOOptions{}, ce, slope(.5, ce/d/2), 1.407605964, []float64{.065547, -.549876, .484330}},
		{"scaled to D", EMOOptions{Mode: MLEScaled}, 2 * d, slope(d/ce, 1), 0.442427818, []float64{.020602, -.172833, .152231}},
		{"D, detached target", EMOOptions{Mode: EMOOnly, DetachTarget: true}, in, slope(0, 1), 0.465942380, []float64{.006453, -.054137, .047684}},
		{"scaled to ce, detached target", EMOOptions{DetachTarget: true}, ce, slope(.5, ce/in/2), 1.407605964, []float64{.054763, -.459410, .404647}},
		{"scaled to D, detached target", EMOOptions{Mode: MLEScaled, DetachTarget: true}, 2 * in, slope(in/ce, 1), 0.931884760, []float64{.036255, -.304146, .267890}},
		{"a limit of the weight", EMOOptions{MaxWeight: 3}, (ce + 3*d) / 2, slope(.5, 1.5), (ce + 3*d) / 2, nil},
	} {
		loss, dx := losses(t, with(c.o.LossWith, emoVectors), emoLogits, labelsOf(1))
		wantNear(t, c.name, 1e-9, loss, []float64{c.loss})
		wantNear(t, c.name, 1e-9, loss, []float64{c.catalog})
		wantNear(t, c.name+", derivative", 1e-9, dx, c.dx)
		if c.slope != nil {
			wantNear(t, c.name+", derivative", 1e-6, dx, c.slope)
		}
		c.o.Embedding = emoVectors
		fixed, _ := losses(t, c.o.Loss, emoLogits, labelsOf(1))
		wantNear(t, c.name+", fixed vectors", 1e-15, fixed, loss)
	}
	// Vectors of one direction cost nothing; those of different words at right angles cost the probability of an error.
	x, y := gradcheck.Normal(1, 2, 3, 4), gradcheck.Ints(1, 4, 2, 3)
	one := rows([]float64{1, 2}, []float64{2, 4}, []float64{.5, 1}, []float64{3, 6})
	loss, dx := losses(t, with(EMOOptions{Mode: EMOOnly}.LossWith, one), x, y)
	wantNear(t, "one direction", 1e-12, append(loss, dx...), make([]float64, 25))
	eye := rows([]float64{1, 0, 0, 0}, []float64{0, 2, 0, 0}, []float64{0, 0, 3, 0}, []float64{0, 0, 0, 4})
	loss, dx = losses(t, with(EMOOptions{Mode: EMOOnly}.LossWith, eye), x, y)
	mae, dmae := losses(t, CompSumOptions{Tau: 2, Axis: -1}.Loss, x, y)
	wantNear(t, "right angles", 1e-12, append(loss, dx...), append(mae, dmae...))
	// Ignored labels do not count.
	loss, dx = losses(t, with(EMOOptions{}.LossWith, emoVectors), rows([]float64{5, 6, 7}, []float64{1, 2, 3}), labelsOf(-100, 1))
	wantNear(t, "ignored", 1e-9, append(loss, dx...), append([]float64{ce, 0, 0, 0}, slope(.5, ce/d/2)...))
	// No derivative goes to the vectors.
	_, de := evaluate(t, func(in []*graph.Node) *graph.Node { return EMOOptions{}.LossWith(in[1], in[2], in[0]) }, emoVectors, emoLogits, labelsOf(1))
	wantNear(t, "derivative by the vectors", 0, floats(de), make([]float64, 6))
}

// value is what a function of one array gives.
func value(t *testing.T, f func(x *graph.Node) *graph.Node, x *graph.Array) []float64 {
	t.Helper()
	y, _ := evaluate(t, func(in []*graph.Node) *graph.Node { return f(in[0]) }, x)
	return floats(y)
}

// The bound against the linear program of optimal transport.
func TestDEMD(t *testing.T) {
	cost := value(t, CosineCost, emoVectors)
	emd := func(p, q []float64) float64 {
		a := mat.NewDense(5, 9, nil) // the sixth equation follows from the others
		b := []float64{p[0], p[1], p[2], q[0], q[1]}
		for i := range 3 {
			for j := range 3 {
				a.Set(i, 3*i+j, 1)
				if j < 2 {
					a.Set(3+j, 3*i+j, 1)
				}
			}
		}
		best, _, err := lp.Simplex(cost, a, b, 1e-12, nil)
		if err != nil {
			t.Fatal(err)
		}
		return best
	}
	q := value(t, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }, emoLogits)
	for _, c := range []struct {
		p          []float64
		emd, bound float64
	}{
		{[]float64{.5, .3, .2}, .324788, .467166},
		{[]float64{0, 1, 0}, .221214, .221214},
	} {
		got, _ := losses(t, with(DEMD, emoVectors), rows(c.p), rows(q))
		wantNear(t, "EMD and bound", 1e-6, []float64{emd(c.p, q), got[0]}, []float64{c.emd, c.bound})
		sum := 0.0
		for i := range 3 {
			for j := range 3 {
				sum += c.p[i] * cost[3*i+j] * q[j]
			}
		}
		wantNear(t, "bound", 1e-12, got, []float64{sum})
	}
	single, _ := losses(t, with(DEMD, emoVectors), rows([]float64{0, 1, 0}), rows(q))
	wantNear(t, "bound of a label", 1e-9, single, []float64{emd([]float64{0, 1, 0}, q)})
	r := graph.Rand(1, "test", 0)
	for range 20 {
		p, q := softmaxed(r.Uint64(), 1, 3), softmaxed(r.Uint64(), 1, 3)
		bound, _ := losses(t, with(DEMD, emoVectors), p, q)
		if d := emd(floats(p), floats(q)); !(bound[0] >= d-1e-12) {
			t.Errorf("the bound %v is below the distance %v", bound, d)
		}
	}
}

// MixCE and TaiLr are cross-entropy with weights.
func TestReweighted(t *testing.T) {
	x, y := gradcheck.Normal(1, 5, 4), gradcheck.Ints(1, 4, 5)
	ce, dce := losses(t, CrossEntropyOptions{Reduction: ReduceNone}.Loss, x, y)
	for _, c := range []struct {
		name   string
		f      Objective
		weight func(p float64) float64
	}{
		{"mixce", MixCEOptions{Reduction: ReduceNone}.Loss, func(p float64) float64 { return .5 + .5*p }},
		{"mixce at 1", MixCEOptions{Eta: 1, Reduction: ReduceNone}.Loss, func(p float64) float64 { return 1 }},
		{"tailr", TaiLrOptions{Gamma: .3, Reduction: ReduceNone}.Loss, func(p float64) float64 { return p / (.3 + .7*p) }},
		{"tailr near 0", TaiLrOptions{Gamma: 1e-300, Reduction: ReduceNone}.Loss, func(p float64) float64 { return 1 }},
		{"tailr at 1", TaiLrOptions{Gamma: 1, Reduction: ReduceNone}.Loss, func(p float64) float64 { return p }},
		{"tailr mixed", TaiLrOptions{Gamma: .9, MinWeight: .2, CEFactor: .1, Reduction: ReduceNone}.Loss,
			func(p float64) float64 { return .1 + .9*min(1, max(.2, p/(.9+.1*p))) }},
	} {
		loss, dx := losses(t, c.f, x, y)
		want, slope := make([]float64, 5), make([]float64, 20)
		for i, l := range ce {
			w := c.weight(math.Exp(-l))
			want[i] = w * l
			for k := range 4 {
				slope[4*i+k] = w * dce[4*i+k]
			}
		}
		wantNear(t, c.name, 1e-12, append(loss, dx...), append(want, slope...))
	}
	loss, dx := losses(t, TaiLr, rows([]float64{1, 2, 3, 4}, []float64{0, 0, 0, 0}), labelsOf(-100, 2))
	w := .25 / (1e-5 + (1-1e-5)*.25)
	wantNear(t, "ignored", 1e-12, append(loss, dx...), []float64{w * math.Log(4), 0, 0, 0, 0, w / 4, w / 4, -w * 3 / 4, w / 4})
}

func TestEMODerivatives(t *testing.T) {
	y := gradcheck.Ints(1, 4, 2, 3)
	o := EMOOptions{Mode: EMOOnly, Ignore: []int{1}}
	gradcheck.Options{Inputs: []int{0}}.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return o.LossWith(x[0], x[1], x[2]) },
		gradcheck.Normal(1, 2, 3, 4), y, gradcheck.Normal(2, 4, 5))
	gradcheck.Options{Inputs: []int{0, 1}}.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return DEMD(x[0], x[1], x[2]) },
		softmaxed(1, 3, 4), softmaxed(2, 3, 4), gradcheck.Normal(2, 4, 5))
}

func TestEMOExtremes(t *testing.T) {
	vectors := rows([]float64{1, 0}, []float64{0, 1}, []float64{0, 0})
	for name, f := range map[string]Objective{
		"emo": with(EMOOptions{}.LossWith, vectors), "mle": with(EMOOptions{Mode: MLEScaled}.LossWith, vectors),
		"detached": with(EMOOptions{DetachTarget: true}.LossWith, vectors), "mixce": MixCE, "tailr": TaiLr,
	} {
		finite(t, name, f, 3)
	}
	finite(t, "one word", with(EMOOptions{}.LossWith, rows([]float64{1, 2})), 1)
	// The small cost of a nearly sure answer in float32 as in float64.
	rough := gradcheck.Normal(3, 3, 5)
	wide, _ := losses(t, with(EMOOptions{Mode: EMOOnly}.LossWith, rough), rows([]float64{20, 0, 1}), labelsOf(0))
	narrow, _ := losses(t, with(EMOOptions{Mode: EMOOnly}.LossWith, rough), graph.ArrayOf([]float32{20, 0, 1}, 1, 3), labelsOf(0))
	wantNear(t, "nearly sure", 1e-5, []float64{narrow[0] / wide[0]}, []float64{1})
	// Sure and right, and sure and wrong with two vectors at a right angle.
	loss, dx := losses(t, with(EMOOptions{}.LossWith, vectors), rows([]float64{1e4, -1e4, -1e4}), labelsOf(0))
	wantNear(t, "right", 0, append(loss, dx...), make([]float64, 4))
	loss, dx = losses(t, with(EMOOptions{}.LossWith, vectors), rows([]float64{1e4, -1e4, -1e4}), labelsOf(1))
	wantNear(t, "wrong", 1e-5, append(loss, dx...), []float64{2e4, .5, -.5, 0})
}

// finite puts an objective of logits and labels to the points where NaN is near, in both types.
func finite(t *testing.T, name string, f Objective, classes int) {
	t.Helper()
	for _, scale := range []float64{0, 1, 1e4} {
		for _, y := range []int{0, classes - 1} {
			for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
				x := graph.NewArray(dtype, 1, classes)
				for i := range classes {
					x.Set(i, scale*(1-2*math.Min(1, float64(i))))
				}
				loss, dx := evaluate(t, of(f), x, labelsOf(y))
				for i, v := range append(floats(loss), floats(dx)...) {
					if v-v != 0 {
						t.Errorf("%s of %v, label %d: element %d is %v", name, x, y, i, v)
					}
				}
			}
		}
	}
}
