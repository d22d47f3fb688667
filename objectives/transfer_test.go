package objectives

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestTransfer(t *testing.T) {
	w := Transfer{Counts: [][]int{{3, 1}}, Teacher: [][]float64{{.8, .2}}}
	wantNear(t, "hard", 1e-12, w.HardLabels()[0], []float64{.75, .25})
	wantNear(t, "partial", 1e-6, w.PartialCE()[0], []float64{.923077, .076923})
	wantNear(t, "squared", 1e-12, w.SquaredLog()[0], []float64{.8, .2})
	wantNear(t, "soft", 1e-12, w.SoftLabels()[0], []float64{.8, .2})
	wantNear(t, "limit", 1e-6, w.PartialCELimit()[0], []float64{.941176, .058824})
	wantNear(t, "bias", 1e-6, []float64{w.Error(w.PartialCELimit(), []float64{1})}, []float64{.141176})
	rare := Transfer{Counts: [][]int{{3, 0, 0}, {0, 0, 0}}, Teacher: [][]float64{{.8, .15, .05}, {1, 0, 0}}}
	wantNear(t, "squared, unseen", 1e-12, rare.SquaredLog()[0], []float64{.8, .1, .1})
	third := []float64{1.0 / 3, 1.0 / 3, 1.0 / 3}
	for name, s := range map[string][][]float64{"hard": rare.HardLabels(), "partial": rare.PartialCE(), "squared": rare.SquaredLog(), "soft": rare.SoftLabels()} {
		wantNear(t, name+", input unseen", 1e-12, s[1], third)
	}
	wantNear(t, "soft, seen", 1e-12, rare.SoftLabels()[0], rare.Teacher[0])
	wantNear(t, "error", 1e-12, []float64{rare.Error([][]float64{third, third}, []float64{.6, .4})}, []float64{.6*(.8-1.0/3) + .4*2.0/3})
	// A uniform or sure teacher makes no difference between hard and partial labels.
	for _, c := range []Transfer{{[][]int{{5, 2, 1}}, [][]float64{third}}, {[][]int{{0, 7, 0}}, [][]float64{{0, 1, 0}}}} {
		wantNear(t, "uniform or sure", 1e-12, c.PartialCE()[0], c.HardLabels()[0])
	}
	// The expected error of soft labels over all samples of 3 inputs.
	w = Transfer{Teacher: [][]float64{{.9, .1, 0}, {.2, .3, .5}}}
	frequency, want := []float64{.3, .7}, 0.0
	for sample := range 8 {
		p, counts := 1.0, [][]int{make([]int, 3), make([]int, 3)}
		for i := range 3 {
			s := sample >> i & 1
			p *= frequency[s]
			counts[s][0]++
		}
		c := Transfer{counts, w.Teacher}
		want += p * c.Error(c.SoftLabels(), frequency)
	}
	wantNear(t, "expected error", 1e-12, []float64{w.SoftLabelsError(frequency, 3)}, []float64{want})
}

// Each student has no derivative left under its loss, over all logits.
func TestTransferLosses(t *testing.T) {
	teacher := [][]float64{{.5, .3, .2}}
	w := Transfer{[][]int{{4, 3, 1}}, teacher}
	y := labelsOf(0, 0, 0, 0, 1, 1, 1, 2)
	prob := numbers(.5, .5, .5, .5, .3, .3, .3, .2)
	repeat := func(x *graph.Node) *graph.Node { return graph.BroadcastTo(x, 8, 3) }
	third := func(f func(x, y, p *graph.Node) *graph.Node) Objective {
		return func(x, y *graph.Node) *graph.Node { return f(repeat(x), y, graph.Literal(x, prob)) }
	}
	for _, c := range []struct {
		name    string
		f       Objective
		student []float64
	}{
		{"hard", func(x, y *graph.Node) *graph.Node { return CrossEntropy(repeat(x), y) }, w.HardLabels()[0]},
		{"partial", third(PartialCE), w.PartialCE()[0]},
		{"squared", third(SquaredLog), w.SquaredLog()[0]},
		{"soft", func(x, _ *graph.Node) *graph.Node {
			return SoftLabels(repeat(x), repeat(graph.Literal(x, rows(teacher[0]))))
		}, w.SoftLabels()[0]},
	} {
		logits := make([]float64, 3)
		for i, p := range c.student {
			logits[i] = math.Log(p) + 7
		}
		_, dx := losses(t, c.f, rows(logits), y)
		wantNear(t, c.name, 1e-12, dx, make([]float64, 3))
		_, dx = losses(t, c.f, rows([]float64{0, 0, 0}), y)
		if math.Abs(dx[0])+math.Abs(dx[1]) < 1e-3 {
			t.Errorf("%s: no derivative at the uniform student either: %v", c.name, dx)
		}
	}
	x := rows([]float64{1, 2, 3}, []float64{0, 0, 0})
	logp := []float64{2 - math.Log(math.Exp(1)+math.Exp(2)+math.Exp(3)), -math.Log(3)}
	p := numbers(.25, .5)
	partial, _ := losses(t, with(PartialCE, p), x, labelsOf(1, 0))
	squared, _ := losses(t, with(SquaredLog, p), x, labelsOf(1, 0))
	wantNear(t, "values", 1e-12, append(partial, squared...), []float64{
		-(.25*logp[0] + .5*logp[1]) / 2,
		(math.Pow(logp[0]-math.Log(.25), 2) + math.Pow(logp[1]-math.Log(.5), 2)) / 4})
	// Soft labels are cross-entropy minus the teacher's entropy.
	soft := softmaxed(1, 2, 3)
	kl, dkl := losses(t, SoftLabels, x, soft)
	ce, dce := losses(t, CrossEntropy, x, soft)
	for _, v := range soft.Float64s() {
		ce[0] += v * math.Log(v) / 2
	}
	wantNear(t, "soft labels", 1e-12, append(kl, dkl...), append(ce, dce...))
}

func TestTransferDerivatives(t *testing.T) {
	for _, f := range []func(x, y, p *graph.Node) *graph.Node{PartialCE, SquaredLog} {
		gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1], x[2]) },
			gradcheck.Normal(1, 4, 3), gradcheck.Ints(1, 3, 4), gradcheck.Uniform(1, .2, 1, 4))
		none, dx := losses(t, with(f, numbers(0)), rows([]float64{1, 2, 3}), labelsOf(0))
		wantNear(t, "a label the teacher never gives", 0, append(none, dx...), make([]float64, 4))
		for _, p := range []float64{0, 1} {
			finite(t, "partial", with(f, numbers(p)), 3)
		}
		finite(t, "partial", with(f, numbers(.5)), 1)
	}
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return SoftLabels(x[0], x[1]) },
		gradcheck.Normal(1, 2, 3, 4), gradcheck.Positive(2, 2, 3, 4))
	finite(t, "soft", func(x, y *graph.Node) *graph.Node { return SoftLabels(x, graph.OneHot(y, 3, x.Dtype())) }, 3)
}

// The order of the four students as the sample grows: partial labels by cross-entropy stop at their bias, the others
// get better in the order of what they are told.
func TestTransferOrder(t *testing.T) {
	const inputs, labels, repeats = 20, 8, 40
	mean := map[int][5]float64{}
	for run := range repeats {
		r := graph.Rand(uint64(run), "transfer", 0)
		w := Transfer{make([][]int, inputs), make([][]float64, inputs)}
		frequency := make([]float64, inputs)
		for s := range inputs {
			frequency[s] = 1.0 / inputs
			w.Counts[s], w.Teacher[s] = make([]int, labels), make([]float64, labels)
			sum := 0.0
			for a := range labels { // Dirichlet(1)
				w.Teacher[s][a] = r.ExpFloat64()
				sum += w.Teacher[s][a]
			}
			for a := range labels {
				w.Teacher[s][a] /= sum
			}
		}
		n := 0
		for _, upTo := range []int{200, 1000, 5000, 25000} {
			for ; n < upTo; n++ {
				s, u, a := r.IntN(inputs), r.Float64(), 0
				for ; a < labels-1 && u >= w.Teacher[s][a]; a++ {
					u -= w.Teacher[s][a]
				}
				w.Counts[s][a]++
			}
			m := mean[upTo]
			for i, student := range [][][]float64{w.HardLabels(), w.PartialCE(), w.SquaredLog(), w.SoftLabels(), w.PartialCELimit()} {
				m[i] += w.Error(student, frequency) / repeats
			}
			mean[upTo] = m
		}
	}
	for n, m := range mean {
		if !(m[3] <= m[2] && m[2] < m[0] && m[0] < m[1]) {
			t.Errorf("%d examples: the order is %v", n, m)
		}
	}
	// Hard labels: 25 times the examples, a fifth of the error. Squared: a 25th and less, as all labels get seen.
	if r := mean[25000][0] / mean[1000][0]; math.Abs(r-.2) > .02 {
		t.Errorf("hard labels: the error falls by %v", r)
	}
	if r := mean[5000][2] / mean[200][2]; !(r < 1.0/25) {
		t.Errorf("squared: the error falls by %v", r)
	}
	if m := mean[25000]; math.Abs(m[1]-m[4]) > .002 || m[4] < .15 {
		t.Errorf("partial labels end at %v, not at their limit %v", m[1], m[4])
	}
}
