package theory

import (
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// smallFeedback is the start of the published curve: two students, two teachers.
func smallFeedback() *OrderParams {
	return &OrderParams{
		Q: [][]float64{{0.8455743164, 0.0276662144}, {0.0276662144, 1.0677882695}},
		R: [][]float64{{0.0522894343, -0.0272790654}, {-0.0031355086, 0.0014558545}},
		T: [][]float64{{1.0044541360, -0.0899263471}, {-0.0899263471, 1.0255496889}},
		P: []float64{0.0810741081, 0.1151594216}, Rho: []float64{-0.0000145580, 0.0025666463}, F2: 0.0297798626,
		V: []float64{0.3, 0.5}, Teacher: []float64{1, 1},
	}
}

// The equations against an independent integration of them.
func TestOrderParamsCurves(t *testing.T) {
	for rule, want := range map[Rule][]float64{
		Adaptive: {0.363577, 0.044879, 0.025436, 0.021356, 0.019807, 0.019030},
		PEPITA:   {0.363577, 0.045737, 0.025610, 0.021492, 0.019958, 0.019194},
	} {
		got, err := Learning{LR: 3, OutputLR: 0.5, Rule: rule}.Solve(smallFeedback(), 0.05, 0, 20, 40, 60, 80, 100)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if math.Abs(got[i]-w) > 1e-6 {
				t.Errorf("rule %d at time %d: %.6f, want %.6f", rule, 20*i, got[i], w)
			}
		}
	}
}

// facing is a student in 400 dimensions whose weights begin with a part along the feedback, of variance f2.
func facing(f2, part float64) *Student {
	s := NewStudent(7, 400, 1, math.Sqrt(f2), []float64{0.3, 0.5}, []float64{1, 1})
	for _, w := range s.W {
		for j, f := range s.F {
			w[j] += part * f
		}
	}
	return s
}

// simulated is the mean curve of several runs from the same start.
func simulated(t *testing.T, d Learning, start func() *Student, times ...float64) []float64 {
	t.Helper()
	const runs = 6
	mean := make([]float64, len(times))
	for seed := range uint64(runs) {
		curve, err := d.Simulate(start(), seed, times...)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range curve {
			mean[i] += v / runs
		}
	}
	return mean
}

// The equations against the training of students in 400 dimensions, for every rule.
func TestOrderParamsAgreeWithSimulation(t *testing.T) {
	if testing.Short() {
		t.Skip("trains students")
	}
	for rule := Backprop; rule <= PEPITA; rule++ {
		d := Learning{LR: 2, OutputLR: 0.5, Rule: rule, Direct: []float64{0.6, 0.4}}
		start := func() *Student { return facing(0.03, 3) }
		times := []float64{0, 5, 10, 20}
		theory, err := d.Solve(start().OrderParams(), 0.02, times...)
		if err != nil {
			t.Fatal(err)
		}
		if theory[3] > 0.5*theory[0] {
			t.Errorf("rule %d learned little: %v", rule, theory)
		}
		for i, v := range simulated(t, d, start, times...) {
			if math.Abs(v-theory[i]) > 0.06*theory[i] {
				t.Errorf("rule %d at time %v: simulation %.4f, equations %.4f", rule, times[i], v, theory[i])
			}
		}
	}
}

// With ten times the feedback (f² = 0.27) PEPITA and its linearisation separate, and only the corrected equations follow
// PEPITA.
func TestOrderParamsWithStrongFeedback(t *testing.T) {
	if testing.Short() {
		t.Skip("trains students")
	}
	const time = 10
	start := func() *Student { return facing(0.27, 0.5) }
	var theory, runs [2]float64
	for i, rule := range []Rule{Adaptive, PEPITA} {
		d := Learning{LR: 2, OutputLR: 0.5, Rule: rule}
		curve, err := d.Solve(start().OrderParams(), 0.02, time)
		if err != nil {
			t.Fatal(err)
		}
		theory[i], runs[i] = curve[0], simulated(t, d, start, time)[0]
	}
	apart := math.Abs(runs[1] - theory[0])
	t.Logf("equations %.4f, simulations %.4f", theory, runs)
	if apart < 0.05*theory[0] || math.Abs(runs[1]-theory[1]) > apart/3 || math.Abs(runs[0]-theory[0]) > apart/3 {
		t.Errorf("equations of adaptive feedback alignment and PEPITA %.4f, simulations %.4f", theory, runs)
	}
}

// The three integrals against sums over a million draws.
func TestGaussianIntegrals(t *testing.T) {
	root := [][]float64{{0.9, 0, 0, 0}, {0.3, 0.8, 0, 0}, {-0.4, 0.2, 1.1, 0}, {0.5, -0.6, 0.3, 0.7}}
	c := make([][]float64, 4)
	for i := range c {
		c[i] = make([]float64, 4)
		for j := range c {
			c[i][j] = dot(root[i], root[j])
		}
	}
	const draws = 1_000_000
	r := graph.Rand(1, "integrals", 0)
	var want [3]float64
	for range draws {
		var z, l, g, slope [4]float64
		for i := range z {
			z[i] = r.NormFloat64()
		}
		for i := range l {
			l[i] = dot(root[i], z[:])
			g[i], slope[i] = math.Erf(l[i]/math.Sqrt2), math.Sqrt(2/math.Pi)*math.Exp(-l[i]*l[i]/2)
		}
		want[0] += g[0] * g[3] / draws
		want[1] += slope[0] * l[2] * g[3] / draws
		want[2] += slope[0] * slope[1] * g[2] * g[3] / draws
	}
	for i, got := range []float64{i2(c, 0, 3), i3(c, 0, 2, 3), i4(c, 0, 1, 2, 3)} {
		if math.Abs(got-want[i]) > 2e-3 || math.Abs(want[i]) < 5e-3 {
			t.Errorf("I%d: %.5f, draws %.5f", i+2, got, want[i])
		}
	}
}

// Sizes that do not fit and settings that do not exist are refused.
func TestOrderParamsRefuses(t *testing.T) {
	p := smallFeedback()
	_, err := Learning{Rule: Direct, Direct: []float64{1}}.Solve(p, 0.1, 1)
	wantError(t, err, "Direct", "2 numbers", "1")
	_, err = Learning{Rule: 9}.Solve(p, 0.1, 1)
	wantError(t, err, "Rule", "9")
	_, err = Learning{}.Solve(p, 0, 1)
	wantError(t, err, "dt")
	p.R = p.R[:1]
	_, err = Learning{}.Solve(p, 0.1, 1)
	wantError(t, err, "R", "2 by 2")
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("want an error with %q, got none", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("want %q in the error %q", w, err)
		}
	}
}
