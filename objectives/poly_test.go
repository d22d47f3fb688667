package objectives

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestPoly(t *testing.T) {
	z, y := rows([]float64{2, 1, .1}, []float64{.5, -.5, 0}), labelsOf(0, 2)
	for _, c := range []struct {
		o    PolyOptions
		want []float64
	}{
		{PolyOptions{Eps: []float64{0}}, []float64{.4170300163, 1.1802696706}},
		{PolyOptions{}, []float64{.7580288774, 1.8730737849}},
		{PolyOptions{Eps: []float64{2}}, []float64{1.0990277385, 2.5658778992}},
		{PolyOptions{Eps: []float64{-1}}, []float64{.0760311552, .4874655564}},
		{PolyOptions{Eps: []float64{.5, .25}}, []float64{.6165995027, 1.6466661130}},
		{PolyOptions{Eps: []float64{2}, LabelSmoothing: .1}, []float64{1.2608279663, 2.5606504097}},
	} {
		c.o.Reduction = ReduceNone
		got, _ := losses(t, c.o.Loss, z, y)
		wantNear(t, fmt.Sprintf("%+v", c.o), 1e-9, got, c.want)
	}
	got, _ := losses(t, Poly, z, y)
	wantNear(t, "mean", 1e-9, got, []float64{1.3155513312})
	_, dx := losses(t, PolyOptions{Eps: []float64{2}, Reduction: ReduceSum}.Loss, z, y)
	wantNear(t, "derivative", 1e-9, dx, []float64{-.7904361368, .5619601783, .2284759585, .8176577757, .3007994856, -1.1184572613})

	for n, want := range map[int][]float64{
		1: {.3409988611, .6928041143}, 2: {.3991389728, .9327928847}, 10: {.4170290563, 1.1757930641}, 50: {.4170300163, 1.1802696706 - 4.6e-10},
	} {
		got, _ := losses(t, PolyDropOptions{Terms: n, Reduction: ReduceNone}.Loss, z, y)
		wantNear(t, fmt.Sprint("PolyDrop ", n), 2e-10, got, want)
	}
	got, _ = losses(t, PolyFocalOptions{Eps: 1, Reduction: ReduceNone}.Loss, z, y)
	wantNear(t, "focal", 1e-9, got, []float64{.0881437671, .8990333490})
}

func TestPolySigmoidFocal(t *testing.T) {
	z, y := graph.ArrayOf([]float64{1.2, -.7, .3}, 3), graph.ArrayOf([]float64{1, 0, 1}, 3)
	for _, c := range []struct {
		o    PolySigmoidFocalOptions
		want []float64
	}{
		{PolySigmoidFocalOptions{}, []float64{.0141068789, .0443905237, .1003932755}},
		{PolySigmoidFocalOptions{Eps: 1}, []float64{.0265095006, .0809228359, .1774613831}},
		{PolySigmoidFocalOptions{Eps: 1, Alpha: .25}, []float64{.0159293414, .0698252049, .1021664265}},
		{PolySigmoidFocalOptions{Eps: 1, Alpha: .25, WeightPolynomial: true}, []float64{.25 * .0265095006, .75 * .0809228359, .25 * .1774613831}},
	} {
		c.o.Reduction = ReduceNone
		got, _ := losses(t, c.o.Loss, z, y)
		wantNear(t, fmt.Sprintf("%+v", c.o), 1e-9, got, c.want)
	}
	_, dx := losses(t, PolySigmoidFocalOptions{Eps: 1, Reduction: ReduceSum}.Loss, z, y)
	wantNear(t, "derivative", 1e-9, dx, []float64{-.0626807602, .1690860552, -.3252220325})
	// Gamma 0 is the binary cross-entropy.
	x, target := gradcheck.Normal(1, 4, 3), gradcheck.Uniform(2, 0, 1, 4, 3)
	a, da := losses(t, PolySigmoidFocalOptions{Gamma: 1e-300}.Loss, x, target)
	b, db := losses(t, BCEWithLogits, x, target)
	wantNear(t, "Gamma 0", 1e-12, append(a, da...), append(b, db...))
}

func TestPolyLimits(t *testing.T) {
	x, y := gradcheck.Normal(1, 6, 5), gradcheck.Ints(1, 5, 6)
	of := func(f Objective) []float64 { l, d := losses(t, f, x, y); return append(l, d...) }
	weights := []float64{1, 2, .5, 3, .1}
	for _, r := range []Reduction{ReduceMean, ReduceSum, ReduceNone, ReduceBatchMean} {
		wantNear(t, "Eps 0 to the bit", 0, of(PolyOptions{Eps: []float64{0, 0}, Reduction: r}.Loss), of(CrossEntropyOptions{Reduction: r}.Loss))
	}
	wantNear(t, "focal of Gamma 0", 1e-12, of(PolyFocalOptions{Gamma: 1e-300}.Loss), of(CrossEntropy))
	wantNear(t, "focal without Eps", 0, of(PolyFocalOptions{Gamma: 1.5}.Loss), of(FocalOptions{Gamma: 1.5}.Loss))
	wantNear(t, "one term", 1e-12, of(PolyDropOptions{Terms: 1}.Loss), of(MAE))
	// Eps_j = -1/j takes the first terms away.
	both := Combination{{1, PolyOptions{Eps: []float64{-1, -1. / 2, -1. / 3}}.Loss}, {1, PolyDropOptions{Terms: 3}.Loss}}
	wantNear(t, "head and tail", 1e-12, of(both.Loss), of(CrossEntropy))
	// Labels are probabilities of 0 and 1; smoothed labels are a target too.
	hot, smooth := graph.NewArray(graph.Float64, 6, 5), graph.NewArray(graph.Float64, 6, 5)
	for i, label := range y.Ints() {
		hot.Set(5*i+label, 1)
		for c := range 5 {
			smooth.Set(5*i+c, .1/5+.9*hot.At(5*i+c))
		}
	}
	o := PolyOptions{Eps: []float64{2, .5}}
	a, da := losses(t, o.Loss, x, hot)
	wantNear(t, "one-hot", 1e-12, append(a, da...), of(o.Loss))
	a, da = losses(t, o.Loss, x, smooth)
	o.LabelSmoothing = .1
	wantNear(t, "smoothed", 1e-12, append(a, da...), of(o.Loss))
	// Weights of classes, by hand.
	logp, _ := losses(t, CrossEntropyOptions{Reduction: ReduceNone}.Loss, x, y)
	var ce, poly, wpoly, total float64
	for i, label := range y.Ints() {
		w, q := weights[label], 1-math.Exp(-logp[i])
		ce, poly, wpoly, total = ce+w*logp[i], poly+q, wpoly+w*q, total+w
	}
	wantNear(t, "weighted", 1e-12, of(PolyOptions{ClassWeights: weights}.Loss)[:1], []float64{ce/total + poly/6})
	wantNear(t, "all weighted", 1e-12, of(PolyOptions{ClassWeights: weights, WeightPolynomial: true}.Loss)[:1], []float64{(ce + wpoly) / total})
}

func TestPolyExtremes(t *testing.T) {
	z := rows([]float64{1000, -1000, 0}, []float64{1000, -1000, -1000})
	loss, dx := losses(t, PolyOptions{Eps: []float64{2}, Reduction: ReduceNone}.Loss, z, labelsOf(0, 2))
	wantNear(t, "sure", 0, append(loss, dx...), []float64{0, 2002, 0, 0, 0, 1, 0, -1})
	for _, gamma := range []float64{0.5, 1, 2, 3.5} {
		x := graph.ArrayOf([]float32{1e4, -1e4, 1e4, -1e4}, 4)
		loss, dx := evaluate(t, of(PolySigmoidFocalOptions{Gamma: gamma, Eps: 1, Reduction: ReduceNone}.Loss), x, graph.ArrayOf([]float32{1, 0, 0, 1}, 4))
		wantNear(t, fmt.Sprint("sure, Gamma ", gamma), 1e-9, append(floats(loss), floats(dx)...), []float64{0, 0, 1e4 + 1, 1e4 + 1, 0, 0, 1, -1})
	}
}

func TestPolyDerivatives(t *testing.T) {
	weights := []float64{0.5, 2, 1}
	derivatives(t, map[string]Objective{
		"poly": Poly, "three terms, smoothed": PolyOptions{Eps: []float64{2, -.5, 1}, LabelSmoothing: .1, Reduction: ReduceNone}.Loss,
		"drop": PolyDropOptions{Terms: 5}.Loss, "focal": PolyFocal, "focal 0.5": PolyFocalOptions{Gamma: .5, Eps: -.5}.Loss,
	})
	pair := func(f Objective) gradcheck.Function {
		return func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) }
	}
	gradcheck.Check(t, pair(PolyOptions{ClassWeights: weights, WeightPolynomial: true}.Loss), gradcheck.Normal(1, 4, 3), gradcheck.Ints(1, 3, 4))
	gradcheck.Check(t, pair(PolyOptions{Eps: []float64{1, 1}}.Loss), gradcheck.Normal(1, 4, 3), softmaxed(2, 4, 3))
	gradcheck.Check(t, pair(PolySigmoidFocalOptions{Gamma: 1.5, Eps: 1, Alpha: .25}.Loss), gradcheck.Normal(1, 4, 3), gradcheck.Uniform(2, 0, 1, 4, 3))
	gradcheck.Check(t, pair(PolySigmoidFocal), gradcheck.Normal(1, 5), gradcheck.Uniform(2, 0, 1, 5))
}
