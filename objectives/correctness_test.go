package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

func TestCorrectnessAware(t *testing.T) {
	x := rows([]float64{2, 1, 0}, []float64{1, .8, 0}, []float64{.2, .1, 3})
	y := labelsOf(0, 1, 2)
	conf := []float64{.66524096, .45732888, .89619123}
	plain, _ := losses(t, CorrectnessAware, x, y)
	balanced, _ := losses(t, CorrectnessAwareOptions{Balanced: true}.Loss, x, y)
	wantNear(t, "losses", 1e-9, append(plain, balanced...), []float64{.1106631957, .1352848238})
	each, _ := losses(t, CorrectnessAwareOptions{Reduction: ReduceNone}.Loss, x, y)
	for i, right := range []float64{1, 0, 1} {
		wantNear(t, "confidence", 1e-8, []float64{math.Sqrt(each[i])}, []float64{math.Abs(conf[i] - right)})
	}
	// The derivative by the temperature at 1.
	byTemperature := func(f Objective, x *graph.Array, y ...int) []float64 {
		_, dt := evaluate(t, func(in []*graph.Node) *graph.Node {
			return f(graph.Div(in[1], graph.Reshape(in[0], len(y), 1)), in[2])
		}, graph.ArrayOf(ones(len(y)), len(y)), x, labelsOf(y...))
		return floats(dt)
	}
	sum := CorrectnessAwareOptions{Reduction: ReduceSum}.Loss
	ce := CrossEntropyOptions{Reduction: ReduceSum}.Loss
	wantNear(t, "by temperature", 1e-7, byTemperature(sum, x, 0, 1, 2), []float64{.1891974, -.1017002, .0550000})
	wantNear(t, "cross-entropy by temperature", 1e-7, byTemperature(ce, x, 0, 1, 2), []float64{.4247896, .0431277, .2955957})
	// Where the prediction is wrong cross-entropy may want more confidence, this loss wants less.
	for _, c := range []struct {
		p      []float64
		ce, ca float64
	}{{[]float64{.45, .40, .15}, .0941, -.0858}, {[]float64{.42, .41, .17}, .1395, -.0577}} {
		logits := []float64{math.Log(c.p[0]), math.Log(c.p[1]), math.Log(c.p[2])}
		wantNear(t, "wrong", 5e-5, append(byTemperature(ce, rows(logits), 1), byTemperature(sum, rows(logits), 1)...), []float64{c.ce, c.ca})
		// 2 (conf - c) conf (Σ p z - z_k) for c = 0
		mean := c.p[0]*logits[0] + c.p[1]*logits[1] + c.p[2]*logits[2]
		wantNear(t, "formula", 1e-12, byTemperature(sum, rows(logits), 1), []float64{2 * c.p[0] * c.p[0] * (mean - logits[0])})
	}
	moved, _ := losses(t, CorrectnessAware, rows([]float64{7, 6, 5}, []float64{-4, -4.2, -5}, []float64{.2, .1, 3}), y)
	wantNear(t, "a constant more", 1e-12, moved, plain)
	flat, _ := losses(t, CorrectnessAware, rows([]float64{2e-9, 1e-9, 0}), labelsOf(0))
	wantNear(t, "hot", 1e-8, flat, []float64{4.0 / 9})
	tie, _ := losses(t, CorrectnessAware, rows([]float64{1, 1, 1}), labelsOf(1))
	wantNear(t, "tie", 1e-12, tie, []float64{1.0 / 9})
	// Only right predictions have weight 0 when balanced.
	none, dx := losses(t, CorrectnessAwareOptions{Balanced: true}.Loss, x, labelsOf(0, 0, 2))
	wantNear(t, "all right", 0, append(none, dx...), make([]float64, 10))
}

func ones(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

func TestCorrectnessAwareDerivatives(t *testing.T) {
	fs := map[string]Objective{"plain": CorrectnessAware, "balanced": CorrectnessAwareOptions{Balanced: true, Reduction: ReduceSum}.Loss}
	derivatives(t, fs)
	for name, f := range fs {
		finite(t, name, f, 3)
		finite(t, name, f, 1)
	}
}

func TestKSCalibration(t *testing.T) {
	for _, c := range []struct {
		conf  []float64
		right []bool
		want  float64
	}{
		{nil, nil, 0},
		{[]float64{.7}, []bool{true}, .3},
		// In order: .2-0, .2+.6-1, .2+.6+.8-2
		{[]float64{.8, .2, .6}, []bool{true, false, true}, .4 / 3},
		// The two equal ones are passed at once, whatever their order is.
		{[]float64{.5, .5}, []bool{true, false}, 0},
		{[]float64{.9, .9, .9, .9}, []bool{true, false, false, true}, 1.6 / 4},
	} {
		wantNear(t, "KS", 1e-12, []float64{KSCalibration(c.conf, c.right)}, []float64{c.want})
	}
	// Of perfectly calibrated confidences it goes to 0.
	r := graph.Rand(1, "ks", 0)
	conf, right := make([]float64, 20000), make([]bool, 20000)
	for i := range conf {
		conf[i] = r.Float64()
		right[i] = r.Float64() < conf[i]
	}
	if ks := KSCalibration(conf, right); ks > 0.012 { // the deviation at the end is 0.0029
		t.Errorf("of calibrated predictions: %v", ks)
	}
}
