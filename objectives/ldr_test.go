package objectives

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestLDRKL(t *testing.T) {
	f := rows([]float64{2, .5, -1})
	for _, c := range []struct {
		o      LDRKLOptions
		y      int
		loss   float64
		within float64
		dx     []float64
	}{
		{LDRKLOptions{}, 0, -.8573009920, 1e-9, []float64{-.21440297, .17529039, .03911257}},
		{LDRKLOptions{Margin: .1}, 0, -.8350025048, 1e-9, nil},
		{LDRKLOptions{Lambda: 10, Margin: .1}, 0, -1.3634609190, 1e-9, nil},
		{LDRKLOptions{Lambda: 1e6, Margin: 1}, 0, -.8333330, 1e-7, nil},
		{LDRKLOptions{Lambda: 1e-3, Margin: 1}, 1, 2.4989014, 1e-7, []float64{1, -1, 0}},
		{LDRKLOptions{Margin: .1}, 1, .7258772255, 1e-9, []float64{.79892395, -.83870004, .03977608}},
		{LDRKLOptions{Lambda: 10, Margin: .1, Normalization: NormalizeSoftplus}, 0, -.7832019821, 1e-9, nil},
	} {
		loss, dx := losses(t, c.o.Loss, f, labelsOf(c.y))
		what := fmt.Sprintf("%+v, label %d", c.o, c.y)
		wantNear(t, what, c.within, loss, []float64{c.loss})
		if c.dx != nil {
			wantNear(t, what, 1e-8, dx, c.dx)
		}
	}
}

// What the family contains.
func TestLDRLimits(t *testing.T) {
	x, y := gradcheck.Normal(1, 6, 5), gradcheck.Ints(1, 5, 6)
	of := func(f Objective) []float64 { l, d := losses(t, f, x, y); return append(l, d...) }
	ce := of(CrossEntropy)
	ce[0] -= math.Log(5)
	wantNear(t, "cross-entropy", 1e-12, of(LDRKLOptions{}.Loss), ce)
	wantNear(t, "temperature near 0", 1e-6, of(LDRKLOptions{Lambda: 1e-7, Margin: .7}.Loss), of(MarginOptions{Margin: .7}.CrammerSinger))
	wantNear(t, "one weight", 1e-12, of(LDRKOptions{K: 1, Margin: .7}.Loss), of(MarginOptions{Margin: .7}.CrammerSinger))
	wantNear(t, "Weston-Watkins", 1e-12, of(Combination{{5, MultiMargin}}.Loss), of(WestonWatkins))
	mean := of(LDRKOptions{K: 5, Margin: .7}.Loss)
	wantNear(t, "high temperature", 1e-6, of(LDRKLOptions{Lambda: 1e7, Margin: .7}.Loss), mean)
	for _, lambda := range []float64{.3, 1, 7} {
		wantNear(t, "one weight with a penalty", 1e-12, of(LDRKOptions{K: 1, Lambda: lambda, Margin: .7}.Loss), of(LDRKLOptions{Lambda: lambda, Margin: .7}.Loss))
		wantNear(t, "all weights equal", 1e-12, of(LDRKOptions{K: 5, Lambda: lambda, Margin: .7}.Loss), mean)
		wantNear(t, "weights equal at a high temperature", 1e-5, of(LDRKOptions{K: 3, Lambda: 1e6, Margin: .7}.Loss), mean)
		wantNear(t, "no penalty", 1e-6, of(LDRKOptions{K: 3, Lambda: 1e-7, Margin: .7}.Loss), of(LDRKOptions{K: 3, Margin: .7}.Loss))
	}
	// A constant on all logits changes nothing, the derivative has sum 0, a higher temperature lowers the loss.
	moved := gradcheck.Normal(1, 6, 5)
	for i := range moved.Float64s() {
		moved.Float64s()[i] += 3
	}
	last := math.Inf(1)
	for _, lambda := range []float64{.01, .1, 1, 10, 100} {
		o := LDRKLOptions{Lambda: lambda, Margin: .1}
		l, d := losses(t, o.Loss, x, y)
		ml, md := losses(t, o.Loss, moved, y)
		wantNear(t, "shifted", 1e-12, append(ml, md...), append(l, d...))
		for i := range 6 {
			sum := 0.0
			for _, v := range d[5*i : 5*i+5] {
				sum += v
			}
			wantNear(t, "sum of the derivative", 1e-12, []float64{sum}, []float64{0})
		}
		if !(l[0] < last) {
			t.Errorf("lambda %v: the loss grew from %v to %v", lambda, last, l[0])
		}
		last = l[0]
	}
}

// The best weights p of at most 1/K found by bisection on their common factor, p = min(1/K, e^(m/lambda) s).
func TestLDRK(t *testing.T) {
	const n = 6
	x, y := gradcheck.Normal(3, 40, n), gradcheck.Ints(3, n, 40)
	for k := 1; k <= n; k++ {
		for _, lambda := range []float64{.05, .5, 2} {
			var want []float64
			for i, label := range y.Ints() {
				m := make([]float64, n)
				for j := range m {
					m[j] = x.At(n*i+j) - x.At(n*i+label) + .4
				}
				m[label] = 0
				weights := func(logs float64) (p []float64, sum float64) {
					for _, v := range m {
						p = append(p, min(1/float64(k), math.Exp(v/lambda+logs)))
						sum += p[len(p)-1]
					}
					return p, sum
				}
				low, high := -200.0, 200.0
				for range 200 {
					mid := (low + high) / 2
					if _, sum := weights(mid); sum < 1 {
						low = mid
					} else {
						high = mid
					}
				}
				p, _ := weights(high)
				loss := 0.0
				for j, v := range p {
					loss += v*m[j] - lambda*xlogx(v) - lambda*v*math.Log(n)
				}
				want = append(want, loss)
			}
			got, _ := losses(t, LDRKOptions{K: k, Lambda: lambda, Margin: .4, Reduction: ReduceNone}.Loss, x, y)
			wantNear(t, fmt.Sprintf("K %d, lambda %v", k, lambda), 1e-9, got, want)
		}
		var want []float64
		for i, label := range y.Ints() {
			m := make([]float64, n)
			for j := range m {
				m[j] = x.At(n*i+j) - x.At(n*i+label) + .4
			}
			m[label] = 0
			slices.Sort(m)
			sum := 0.0
			for _, v := range m[n-k:] {
				sum += v
			}
			want = append(want, sum/float64(k))
		}
		got, _ := losses(t, LDRKOptions{K: k, Margin: .4, Reduction: ReduceNone}.Loss, x, y)
		wantNear(t, fmt.Sprintf("K %d", k), 1e-12, got, want)
	}
}

// aldr is the objective of one example as a function of λ, for a search.
func aldr(m []float64, lambda, lambda0, alpha float64) float64 {
	top, sum := slices.Max(m), 0.0
	for _, v := range m {
		sum += math.Exp((v - top) / lambda)
	}
	n := float64(len(m))
	return top + lambda*math.Log(sum/n) - alpha*math.Log(n)/(2*lambda0)*(lambda-lambda0)*(lambda-lambda0)
}

func TestALDRKL(t *testing.T) {
	o := ALDRKLOptions{Lambda: 1, Margin: .1}
	got, _ := losses(t, o.Loss, rows([]float64{2, .5, -1}), labelsOf(0))
	wantNear(t, "inner maximum", 5e-6, got, []float64{-.76932})
	// Against a search, from nearly equal to very unequal logits.
	x, y := gradcheck.Normal(1, 200, 4), gradcheck.Ints(1, 4, 200)
	for i := range x.Float64s() {
		x.Float64s()[i] *= math.Pow(1.03, float64(i/4)) / 4
	}
	for _, o := range []ALDRKLOptions{{Lambda: 1, Margin: .1}, {Lambda: 10, Alpha: 1.5}, {Lambda: .3, Alpha: 3}} {
		o.Reduction = ReduceNone
		got, _ := losses(t, o.Loss, x, y)
		var want []float64
		for i, label := range y.Ints() {
			m := make([]float64, 4)
			for j := range m {
				m[j] = x.At(4*i+j) - x.At(4*i+label) + o.Margin
			}
			m[label] = 0
			alpha := or(o.Alpha, 2)
			f := func(lambda float64) float64 { return aldr(m, lambda, o.Lambda, alpha) }
			// The largest stationary point: from above, walk down while the function grows.
			best, step := o.Lambda, o.Lambda*1e-4
			for best-step > 0 && f(best-step) > f(best) {
				best -= step
			}
			low, high := best-step, min(best+step, o.Lambda)
			for range 200 {
				a, b := low+(high-low)*.4, low+(high-low)*.6
				if f(a) > f(b) {
					high = b
				} else {
					low = a
				}
			}
			want = append(want, f((low+high)/2))
		}
		wantNear(t, fmt.Sprintf("%+v", o), 1e-9, got, want)
	}
}

// The first visit of the authors' loop and what it leaves in the table.
func TestALDRKLTable(t *testing.T) {
	o := ALDRKLOptions{Lambda: 1, Margin: .1, Normalization: NormalizeL1, Reduction: ReduceNone}
	params := &graph.Params{DType: graph.Float64}
	var x, y, ids, loss *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x, y, ids = s.Input("x", graph.Float64, 2, 3), s.Input("y", graph.Int, 2), s.Input("ids", graph.Int, 2)
		loss = o.LossOf(s, x, y, ids, 4)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(append(g.Updates(), loss)...)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Array(x).Float64s(), []float64{2, .5, -1, 0, 0, 0})
	copy(p.Array(ids).Ints(), []int{2, 0})
	const lambda, c = .8232384536, .1
	for visit := range 2 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		table := params.Get("temperatures").Value.Float64s()
		if visit == 0 {
			wantNear(t, "table", 1e-9, table, []float64{1, 1, lambda, 1})
			wantNear(t, "loss", 1e-9, floats(p.Array(loss))[:1], []float64{-.7313259592})
			continue
		}
		// The second visit starts from the first one's temperature.
		logits := []float64{2 * 3 / 3.5, .5 * 3 / 3.5, -1 * 3 / 3.5}
		sum, kl := 0.0, math.Log(3)
		for _, v := range logits {
			sum += math.Exp(v / lambda)
		}
		for _, v := range logits {
			kl += xlogx(math.Exp(v/lambda) / sum)
		}
		wantNear(t, "table again", 1e-9, table[2:3], []float64{1 - kl/(2*math.Log(3))})
	}
	// An example that is twice in the batch counts once.
	copy(p.Array(ids).Ints(), []int{3, 3})
	copy(p.Array(x).Float64s(), []float64{2, .5, -1, 2, .5, -1})
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	wantNear(t, "twice", 1e-9, params.Get("temperatures").Value.Float64s()[3:], []float64{lambda})
}

func TestLDRDerivatives(t *testing.T) {
	derivatives(t, map[string]Objective{
		"ldr-kl": LDRKL, "aldr-kl": ALDRKL, "low temperature": LDRKLOptions{Lambda: .2, Margin: .3, Reduction: ReduceNone}.Loss,
		"softplus": LDRKLOptions{Normalization: NormalizeSoftplus}.Loss, "L1": LDRKLOptions{Normalization: NormalizeL1, Reduction: ReduceSum}.Loss,
		"crammer-singer": MarginOptions{Margin: .95}.CrammerSinger, "weston-watkins": MarginOptions{Margin: .95}.WestonWatkins,
		"ldr-k": LDRKOptions{Margin: .95}.Loss, "ldr-k with a penalty": LDRKOptions{K: 2, Lambda: .2, Margin: .33}.Loss,
		"aldr": ALDRKLOptions{Lambda: .7, Margin: .1}.Loss, "aldr high": ALDRKLOptions{Reduction: ReduceNone}.Loss,
		"aldr L1": ALDRKLOptions{Lambda: .7, Margin: .1, Normalization: NormalizeL1}.Loss,
	})
}

func TestLDRErrors(t *testing.T) {
	for arg, f := range map[string]Objective{
		"Lambda": LDRKLOptions{Lambda: -1}.Loss, "Alpha": ALDRKLOptions{Alpha: 1}.Loss, "K": LDRKOptions{K: 4}.Loss,
		"Normalization": LDRKLOptions{Normalization: 7}.Loss,
	} {
		wantError(t, f, arg)
	}
}
