package objectives

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// Each loss of one example as written in its paper, from probabilities.
func TestNoisyLabelLosses(t *testing.T) {
	const n = 5
	x, y := gradcheck.Normal(1, 30, n), gradcheck.Ints(1, n, 30)
	for i := range x.Float64s() {
		x.Float64s()[i] *= 2
	}
	ce := func(p []float64, y int) float64 { return -math.Log(p[y]) }
	reverse := func(zero float64) func(p []float64, y int) float64 {
		return func(p []float64, y int) float64 { // -Σ p log y with a given log 0
			sum := 0.0
			for k, v := range p {
				if k != y {
					sum -= v * zero
				}
			}
			return sum
		}
	}
	nce := func(p []float64, y int) float64 {
		sum := 0.0
		for k := range p {
			sum += ce(p, k)
		}
		return ce(p, y) / sum
	}
	absolute := func(p []float64, y int) float64 {
		sum := 0.0
		for k, v := range p {
			if k == y {
				v -= 1
			}
			sum += math.Abs(v)
		}
		return sum
	}
	aul := func(a, q float64) func(p []float64, y int) float64 {
		return func(p []float64, y int) float64 { return (math.Pow(a-p[y], q) - math.Pow(a-1, q)) / q }
	}
	agce := func(a, q float64) func(p []float64, y int) float64 {
		return func(p []float64, y int) float64 { return (math.Pow(a+1, q) - math.Pow(a+p[y], q)) / q }
	}
	entropy := func(p []float64) float64 {
		h := 0.0
		for _, v := range p {
			h -= xlogx(v)
		}
		return h
	}
	js := func(pi float64) func(p []float64, y int) float64 {
		return func(p []float64, y int) float64 {
			m := make([]float64, len(p))
			for k, v := range p {
				m[k] = (1 - pi) * v
			}
			m[y] += pi
			return (entropy(m) - (1-pi)*entropy(p)) / (-(1 - pi) * math.Log(1-pi))
		}
	}
	for _, c := range []struct {
		name string
		f    Objective
		want func(p []float64, y int) float64
	}{
		{"sce", SCE, func(p []float64, y int) float64 { return .1*ce(p, y) + reverse(-4)(p, y) }},
		{"sce, other weights", SCEOptions{Alpha: .5, Beta: .25, A: 3}.Loss, func(p []float64, y int) float64 { return .5*ce(p, y) + .25*reverse(-3)(p, y) }},
		{"rce", RCE, reverse(math.Log(1e-4))},
		{"nce", NCE, nce},
		{"nce+rce", NCERCE, func(p []float64, y int) float64 { return nce(p, y) + reverse(math.Log(1e-4))(p, y) }},
		{"nce+mae", NCEMAE, func(p []float64, y int) float64 { return nce(p, y) + absolute(p, y) }},
		{"nce+aul", NCEAUL, func(p []float64, y int) float64 { return nce(p, y) + 4*aul(6.3, 1.5)(p, y) }},
		{"nce+agce", NCEAGCE, func(p []float64, y int) float64 { return nce(p, y) + 4*agce(6, 1.5)(p, y) }},
		{"aul", AUL, aul(5.5, 3)},
		{"agce", AGCE, agce(.6, .6)},
		{"phuber", PHuber, func(p []float64, y int) float64 {
			if p[y] > .1 {
				return ce(p, y)
			}
			return 1 + math.Log(10) - 10*p[y]
		}},
		{"robust log", RobustLog, func(p []float64, y int) float64 {
			loss := math.Log(101) - math.Log(1+100*p[y])
			for k, v := range p {
				if k != y {
					loss += math.Log(1+100*v) / (n - 1)
				}
			}
			return loss
		}},
		{"jensen-shannon", JensenShannon, js(.5)},
		{"jensen-shannon, 0.1", JensenShannonOptions{Pi: .1}.Loss, js(.1)},
	} {
		var want float64
		for i, label := range y.Ints() {
			p, sum := make([]float64, n), 0.0
			for k := range p {
				p[k] = math.Exp(x.At(n*i + k))
				sum += p[k]
			}
			for k := range p {
				p[k] /= sum
			}
			want += c.want(p, label) / 30
		}
		got, _ := losses(t, c.f, x, y)
		wantNear(t, c.name, 1e-12, got, []float64{want})
	}
}

func TestNoisyLabelLimits(t *testing.T) {
	x, y := gradcheck.Normal(1, 6, 5), gradcheck.Ints(1, 5, 6)
	of := func(f Objective) []float64 { l, d := losses(t, f, x, y); return append(l, d...) }
	ce := of(CrossEntropy)
	wantNear(t, "jensen-shannon near 0", 1e-5, of(JensenShannonOptions{Pi: 1e-7}.Loss), ce)
	wantNear(t, "robust log near 0, less its constant", 1e-6, of(Combination{{1, RobustLogOptions{Alpha: 1e-13}.Loss}}.Loss)[:1],
		of(func(x, y *graph.Node) *graph.Node {
			logp := graph.LogSoftmax(x, 1)
			own := graph.Mean(graph.Sum(graph.Mul(logp, graph.OneHot(y, 5, graph.Float64)), 1))
			all := graph.Mean(graph.Sum(logp, 1))
			return graph.Shift(graph.Add(graph.Neg(own), graph.Scale(graph.Sub(all, own), 0.25)), math.Log(1e13))
		})[:1])
	wantNear(t, "AUL of Q 1", 1e-12, of(AULOptions{Q: 1}.Loss), of(MAE))
	wantNear(t, "AGCE of Q 1", 1e-12, of(AGCEOptions{Q: 1}.Loss), of(MAE))
	wantNear(t, "partly Huber of a large tau", 1e-12, of(PHuberOptions{Tau: 1e9}.Loss), ce)
	wantNear(t, "a sum of one", 0, of(Combination{{1, CrossEntropy}}.Loss), ce)
	// Symmetric losses: the sum over all labels does not depend on the prediction.
	for name, c := range map[string]struct {
		f    Objective
		want float64
	}{
		"mae": {MAE, 4}, "rce": {RCE, 4 * math.Log(1e4)}, "nce": {NCE, 1}, "robust log": {RobustLog, 5 * math.Log(101)},
	} {
		sum := 0.0
		for label := range 5 {
			l, _ := losses(t, c.f, x, labelsOf(label, label, label, label, label, label))
			sum += l[0]
		}
		wantNear(t, name+", sum over labels", 1e-12, []float64{sum}, []float64{c.want})
	}
}

func TestNoisyLabelDerivatives(t *testing.T) {
	derivatives(t, map[string]Objective{
		"sce": SCE, "rce": RCE, "nce": NCEOptions{Reduction: ReduceNone}.Loss, "nce-rce": NCERCE, "nce-mae": NCEMAE, "nce-aul": NCEAUL,
		"nce-agce": NCEAGCE, "aul": AUL, "agce": AGCE, "phuber": PHuberOptions{Tau: 3}.Loss, "robust": RobustLog, "js": JensenShannon,
		"js 0.9": JensenShannonOptions{Pi: .9, Reduction: ReduceSum}.Loss,
	})
}

func TestNoisyLabelErrors(t *testing.T) {
	for _, c := range []struct {
		f   Objective
		arg string
	}{
		{GCEOptions{Q: 2}.Loss, "Q"}, {GCEOptions{Threshold: 1}.Loss, "Threshold"}, {CompSumOptions{Tau: -1}.Loss, "Tau"},
		{AULOptions{A: 1}.Loss, "A"}, {AULOptions{Q: -1}.Loss, "Q"}, {AGCEOptions{A: -1}.Loss, "A"}, {AGCEOptions{Q: -1}.Loss, "Q"},
		{PHuberOptions{Tau: 1}.Loss, "Tau"}, {RobustLogOptions{Alpha: -1}.Loss, "Alpha"}, {JensenShannonOptions{Pi: 1}.Loss, "Pi"},
		{Combination{}.Loss, "terms"}, {LogitClip{P: 3}.Of(MAE), "P"}, {LogitClip{Tau: -1}.Of(MAE), "Tau"},
		{PolyOptions{Eps: []float64{0, -.6}}.Loss, "Eps[1]"}, {PolyDropOptions{Terms: -1}.Loss, "Terms"},
		{PolySigmoidFocalOptions{Gamma: -1}.Loss, "Gamma"}, {PolySigmoidFocalOptions{Alpha: 1}.Loss, "Alpha"},
		{SpectralDecouplingOptions{Lambda: -1}.Loss, "Lambda"}, {SpectralDecouplingTargetOptions{}.Loss, "target"},
		{SCBCEOptions{Alpha: 2}.Loss, "target"}, {OddKOutOptions{K: 3}.Loss, "output"}, {OddKOutOptions{K: 2}.OddLoss, "K"},
		{CheckeredOptions{}.Loss, "Classes"}, {CheckeredOptions{Classes: 2}.Loss, "output"},
		{CheckeredOptions{Classes: 3, Reference: []float64{1}}.Loss, "Reference"},
	} {
		t.Run(fmt.Sprint(c.arg), func(t *testing.T) { wantError(t, c.f, c.arg) })
	}
}
