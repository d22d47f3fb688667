package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

// smbAt makes a trainer of SMB on a point.
func smbAt(t *testing.T, r SMB, o objectives.Objective, start ...float64) *smb {
	t.Helper()
	tr, err := r.Trainer(point(start...), o, onPoint)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return tr.(*smb)
}

// The paper's step on quadratics: the trial step is refused and the model's minimum taken.
func TestSMBOnQuadratics(t *testing.T) {
	for _, c := range []struct {
		name      string
		objective objectives.Objective
		start     []float64
		want      []float64
	}{
		{"5x²", quadratic([]float64{10}, 0), []float64{1}, []float64{0.5458715596}},
		{"(x²+10y²)/2", quadratic([]float64{1, 0, 0, 10}, 0, 0), []float64{1, 1}, []float64{1 - 0.24772808, 1 - 0.44507024}},
	} {
		tr := smbAt(t, SMB{LR: 0.5}, c.objective, c.start...)
		if _, err := tr.Step(NewBatch(onPoint)); err != nil {
			t.Fatal(err)
		}
		if n := ModelSteps(tr); n != 1 {
			t.Errorf("%s: %d model steps, want 1", c.name, n)
		}
		near(t, c.name, tr.Params().Get("theta").Value, 1e-8, c.want...)
	}
	// Twice 5x²: x shrinks by the same factor.
	tr := smbAt(t, SMB{LR: 0.5}, quadratic([]float64{10}, 0), 1)
	for range 2 {
		if _, err := tr.Step(NewBatch(onPoint)); err != nil {
			t.Fatal(err)
		}
	}
	near(t, "two steps", tr.Params().Get("theta").Value, 1e-9, 0.5458715596*0.5458715596)
	// A small enough trial step is kept: f falls from 5 to 5·0.81 <= 5 - 0.1·0.01·100.
	tr = smbAt(t, SMB{LR: 0.01}, quadratic([]float64{10}, 0), 1)
	if _, err := tr.Step(NewBatch(onPoint)); err != nil {
		t.Fatal(err)
	}
	near(t, "trial step", tr.Params().Get("theta").Value, 1e-12, 0.9)
	if n := ModelSteps(tr); n != 0 {
		t.Errorf("%d model steps, want 0", n)
	}
}

// newStep is s_new from the coefficients.
func newStep(g, g2 []float64, lr, eta float64) (s []float64, p products) {
	p = measure(graph.ArrayOf(g, len(g)), graph.ArrayOf(g2, len(g)), graph.ArrayOf(g, len(g)))
	cs, cg, cy := modelStep(p, lr, eta)
	s = make([]float64, len(g))
	for i := range g {
		s[i] = -cs*lr*g[i] + cg*g[i] + cy*(g2[i]-g[i])
	}
	return s, p
}

// g = (1, 2, -1), g' = (-1, 0, 2), s = -g/2, as in the paper's formulas; and the linear system they solve.
func TestSMBModelStep(t *testing.T) {
	g, g2 := []float64{1, 2, -1}, []float64{-1, 0, 2}
	s, _ := newStep(g, g2, 0.5, 0.99)
	near(t, "s_new", graph.ArrayOf(s, 3), 1e-8, -0.07841908, -0.38304101, -0.03468234)
	near(t, "|s_new|", graph.ArrayOf([]float64{math.Sqrt(s[0]*s[0] + s[1]*s[1] + s[2]*s[2])}), 1e-9, 0.3925211267)
	same := []float64{0.3, -0.7, 2}
	s, _ = newStep(same, same, 0.5, 0.99)
	near(t, "y = 0", graph.ArrayOf(s, 3), 1e-12, -0.495*0.3, 0.495*0.7, -0.495*2)
	for seed := range 200 {
		r := graph.Rand(uint64(seed), "smb", 0)
		n := 1 + seed%6
		lr, eta := 0.01+3*r.Float64(), 0.05+0.94*r.Float64()
		g, g2 := make([]float64, n), make([]float64, n)
		for i := range n {
			g[i], g2[i] = r.NormFloat64(), 3*r.NormFloat64()
		}
		s, p := newStep(g, g2, lr, eta)
		ss, ys := lr*lr*p.gg, -lr*p.yg
		sigma := 0.5 * (math.Sqrt(ss)*(math.Sqrt(p.yy)+math.Sqrt(p.gg)/eta) - ys)
		var sDot, yDot, length, down float64 // sᵀs_new, yᵀs_new
		for i := range n {
			sDot += -lr * g[i] * s[i]
			yDot += (g2[i] - g[i]) * s[i]
			length += s[i] * s[i]
			down += s[i] * g[i]
		}
		for i := range n {
			residual := 2*sigma*s[i] - lr*g[i]*yDot + (g2[i]-g[i])*sDot + ss*g[i]
			if math.Abs(residual) > 1e-12*(ss+1)*(math.Sqrt(p.gg)+sigma) {
				t.Errorf("case %d: residual %v", seed, residual)
			}
		}
		if math.Sqrt(length) > eta*math.Sqrt(ss)*(1+1e-12) || down >= 0 {
			t.Errorf("case %d: |s_new| = %v with eta|s| = %v, s_new·g = %v", seed, math.Sqrt(length), eta*math.Sqrt(ss), down)
		}
	}
}

// SMBi on 5x² from 1 with rate 0.5: the failure of the first step moves nothing; the second, on the same batch, makes
// the model step of SMB.
func TestSMBIndependent(t *testing.T) {
	tr := smbAt(t, SMB{LR: 0.5, Independent: true}, quadratic([]float64{10}, 0), 1)
	for _, want := range []float64{1, 0.5458715596} {
		if _, err := tr.Step(NewBatch(onPoint)); err != nil {
			t.Fatal(err)
		}
		near(t, "x", tr.Params().Get("theta").Value, 1e-9, want)
	}
}

// Two batches of one rate that never fails raise it by 1/Beta, two that fail lower it by Beta.
func TestSMBSchedule(t *testing.T) {
	for _, c := range []struct{ lr, want float64 }{{0.01, 0.01 / 0.9}, {0.5, 0.5 * 0.9}} {
		tr := smbAt(t, SMB{LR: c.lr, BatchesPerEpoch: 2}, quadratic([]float64{10}, 0), 1)
		for range 2 {
			if _, err := tr.Step(NewBatch(onPoint)); err != nil {
				t.Fatal(err)
			}
		}
		if math.Abs(tr.lr[0]-c.want) > 1e-15 {
			t.Errorf("rate %v became %v, want %v", c.lr, tr.lr[0], c.want)
		}
	}
	tr := smbAt(t, SMB{LR: 0.01, LRMax: 0.0105, BatchesPerEpoch: 1}, quadratic([]float64{10}, 0), 1)
	if _, err := tr.Step(NewBatch(onPoint)); err != nil {
		t.Fatal(err)
	}
	if tr.lr[0] != 0.01 {
		t.Errorf("rate %v above LRMax", tr.lr[0])
	}
}

// A trial step into a region where neither loss nor gradient is a number is refused and undone.
func TestSMBRefuses(t *testing.T) {
	log := func(theta, _ *graph.Node) *graph.Node { return graph.Sum(graph.Log(theta)) }
	tr := smbAt(t, SMB{LR: 1e30, C: 0.5}, func(theta, y *graph.Node) *graph.Node {
		return graph.Square(log(graph.Shift(theta, 1), y)) // 1e30 back leads to log of a negative number, infinite squared
	}, 1)
	before := tr.Params().Clone()
	for range 3 {
		if _, err := tr.Step(NewBatch(onPoint)); err != nil {
			t.Fatalf("%+v", err)
		}
	}
	if Refused(tr) != 3 || tr.Steps() != 3 {
		t.Errorf("%d of %d steps refused, want 3", Refused(tr), tr.Steps())
	}
	sameBits(t, "after refused steps", before, tr.Params())
	tr.Params().Get("theta").Value.Set(0, -5)
	_, err := tr.Step(NewBatch(onPoint))
	wantError(t, err, "smb", "log", "finite")
	for _, r := range []SMB{{LR: -1}, {Eta: 1}, {C: math.NaN()}, {Beta: 2}, {BatchesPerEpoch: -1}} {
		if _, err := r.Trainer(point(1), log, onPoint); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}
