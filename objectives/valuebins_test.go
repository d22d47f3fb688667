package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func numbers(x ...float64) *graph.Array { return graph.ArrayOf(x, len(x)) }

func TestHLGauss(t *testing.T) {
	o := HLGaussOptions{Min: -1, Max: 1}
	target := func(o HLGaussOptions, bins int, y float64) []float64 {
		return value(t, func(x *graph.Node) *graph.Node { return o.Target(bins, x) }, numbers(y))
	}
	// The mean of a target is the value of logits that are its logarithm.
	mean := func(p []float64) float64 {
		logits := make([]float64, len(p))
		for i, v := range p {
			logits[i] = math.Log(v)
		}
		return value(t, o.Value, rows(logits))[0]
	}
	for _, c := range []struct {
		y    float64
		p    []float64
		mean float64
	}{
		{.3, []float64{.001356, .046901, .324842, .476585, .150316}, .291042},
		{.95, []float64{0, .000111, .010856, .203932, .785101}, .709609},
	} {
		p := target(o, 5, c.y)
		wantNear(t, "target", 1e-6, p, c.p)
		wantNear(t, "mean", 1e-6, []float64{mean(p)}, []float64{c.mean})
		// Against the distribution function with erfc.
		var want []float64
		phi := func(edge float64) float64 { return math.Erfc((c.y-edge)/(.75*.4)/math.Sqrt2) / 2 }
		for i := range 5 {
			low := -1 + .4*float64(i)
			want = append(want, (phi(low+.4)-phi(low))/(phi(1)-phi(-1)))
		}
		wantNear(t, "by erfc", 1e-12, p, want)
	}
	sharp := HLGaussOptions{Min: -1, Max: 1, SigmaRatio: 1e-3}
	wantNear(t, "sharp", 1e-12, target(sharp, 5, .3), []float64{0, 0, 0, 1, 0})
	wantNear(t, "sharp, at an edge", 1e-12, target(sharp, 4, 0), []float64{0, .5, .5, 0})
	wantNear(t, "far below", 1e-15, target(o, 5, -1e4), target(o, 5, -1))
	wantNear(t, "infinite", 1e-15, target(o, 5, math.Inf(1)), target(o, 5, 1))
	wantNear(t, "one bin", 0, target(o, 1, .3), []float64{1})
	// The derivative is softmax - target: it sums to 0 and stays below 1 for any outlier.
	x := gradcheck.Normal(1, 3, 7)
	y := numbers(.3, -4, 1e9)
	p := value(t, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }, x)
	goal := value(t, func(x *graph.Node) *graph.Node { return HLGaussOptions{Reduction: ReduceSum}.Target(7, x) }, y)
	loss, dx := losses(t, HLGaussOptions{Reduction: ReduceSum}.Loss, x, y)
	want, sum := make([]float64, 21), 0.0
	for i := range want {
		want[i] = p[i] - goal[i]
		sum -= goal[i] * math.Log(p[i])
		if math.Abs(dx[i]) > 1 {
			t.Errorf("derivative %d is %v", i, dx[i])
		}
	}
	wantNear(t, "loss", 1e-12, append(loss, dx...), append([]float64{sum}, want...))
}

func TestTwoHot(t *testing.T) {
	o := TwoHotOptions{Min: -1, Max: 1}
	target := func(o TwoHotOptions, places int, y float64) []float64 {
		return value(t, func(x *graph.Node) *graph.Node { return o.Target(places, x) }, numbers(y))
	}
	wantNear(t, "target", 1e-12, target(o, 5, .3), []float64{0, 0, .4, .6, 0})
	wantNear(t, "beyond", 1e-12, target(o, 5, 7), []float64{0, 0, 0, 0, 1})
	for _, y := range []float64{-1, -.77, -.5, 0, .1234, .999, 1} {
		mean, sum := 0.0, 0.0
		for i, p := range target(o, 5, y) {
			mean, sum = mean+p*(-1+.5*float64(i)), sum+p
		}
		wantNear(t, "mean", 1e-12, []float64{mean, sum}, []float64{y, 1})
	}
	wantNear(t, "value", 1e-12, value(t, o.Value, rows([]float64{0, 0, 0, math.Log(2), 0})), []float64{.5 / 6})
	x := gradcheck.Normal(1, 1, 5)
	p := value(t, func(x *graph.Node) *graph.Node { return graph.Softmax(x, 1) }, x)
	loss, dx := losses(t, o.Loss, x, numbers(.3))
	wantNear(t, "loss", 1e-12, append(loss, dx...), []float64{-.4*math.Log(p[2]) - .6*math.Log(p[3]), p[0], p[1], p[2] - .4, p[3] - .6, p[4]})
}

// C51's projection against its algorithm, place by place.
func TestProject(t *testing.T) {
	o := TwoHotOptions{Min: -2, Max: 2}
	next := softmaxed(1, 4, 5)
	reward, discount := numbers(.3, -5, 1, .25), numbers(.9, .9, 0, 1)
	got, _ := evaluate(t, func(x []*graph.Node) *graph.Node { return o.Project(x[0], x[1], x[2]) }, next, reward, discount)
	want := make([]float64, 20)
	for b := range 4 {
		for j := range 5 {
			outcome := min(2, max(-2, reward.At(b)+discount.At(b)*float64(j-2)))
			low := math.Floor(outcome + 2)
			high := math.Ceil(outcome + 2)
			p := next.At(5*b + j)
			if low == high {
				want[5*b+int(low)] += p
				continue
			}
			want[5*b+int(low)] += p * (high - (outcome + 2))
			want[5*b+int(high)] += p * (outcome + 2 - low)
		}
	}
	wantNear(t, "projection", 1e-12, floats(got), want)
	target, _ := evaluate(t, func(x []*graph.Node) *graph.Node { return TDTarget(x[0], x[1], x[2]) },
		reward, discount, rows([]float64{1, 2}, []float64{0, -1}, []float64{5, 5}, []float64{-3, -4}))
	wantNear(t, "target", 1e-12, floats(target), []float64{.3 + 1.8, -5, 1, .25 - 3})
}

func TestValueDerivatives(t *testing.T) {
	for _, f := range []Objective{HLGauss, HLGaussOptions{Min: -1, Max: 2, SigmaRatio: 2, Reduction: ReduceNone}.Loss, TwoHot} {
		for _, shape := range [][]int{{4, 3}, {1, 2}, {2, 3, 4}} {
			o := gradcheck.Options{Inputs: []int{0}}
			o.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) },
				gradcheck.Normal(1, shape...), gradcheck.Normal(2, shape[:len(shape)-1]...))
		}
	}
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node {
		return graph.Concat(0, HLGaussOptions{}.Value(x[0]), TwoHotOptions{Min: 0, Max: 3}.Value(x[0]))
	}, gradcheck.Normal(1, 4, 3))
	for _, f := range []Objective{HLGauss, TwoHot} {
		finite(t, "values", func(x, y *graph.Node) *graph.Node { return f(x, graph.Scale(graph.Cast(y, x.Dtype()), 1e4)) }, 3)
	}
}

func TestValueErrors(t *testing.T) {
	wantError(t, HLGauss, "target")
	wantError(t, TwoHot, "target")
	vector := func(f Objective) Objective {
		return func(x, y *graph.Node) *graph.Node { return f(x, graph.Cast(y, x.Dtype())) }
	}
	wantError(t, vector(HLGaussOptions{Min: 2, Max: 1}.Loss), "Min, Max")
	wantError(t, vector(HLGaussOptions{SigmaRatio: -1}.Loss), "SigmaRatio")
	wantError(t, func(x, y *graph.Node) *graph.Node { return TwoHot(graph.Reshape(x, 12, 1), graph.Reshape(x, 12)) }, "places")
	wantError(t, func(x, y *graph.Node) *graph.Node { return TwoHotOptions{}.Project(x, graph.Cast(y, x.Dtype()), x) }, "discount")
}
