// Package theory predicts how training rules learn: the order parameters of a student in high dimension that learns a
// teacher online by backpropagation, by direct or adaptive feedback alignment, or by PEPITA, and the ordinary
// differential equations they obey.
//
// Student and teacher are Σ_k v_k g(w_k·x/√D) with g(u) = erf(u/√2), each step sees a new example x ~ N(0, I) of D
// numbers, and the error err is student minus teacher. A step is
//
//	w_k -= η/√D b_k g'(w_k·x/√D) err x        v_k -= η_v/D g(w_k·x/√D) err
//
// with b_k = v_k in backpropagation, b_k = w_k·f/D in adaptive feedback alignment with the feedback vector f, and
// constant b_k in direct feedback alignment. In PEPITA the difference of two passes, the second on x - f err/√D, takes
// the place of b_k g' err/√D, and that changed input the place of x. As D grows, with time = steps/D, the course of a run
// becomes that of the overlaps between weights (D. Saad, S. Solla 1995, "On-line learning in soft committee machines";
// for direct feedback alignment M. Refinetti et al. 2021, arXiv 2011.12428; for the input-driven rules R. Srinivasan et
// al. 2023, arXiv 2302.05440, derived here anew).
package theory

import (
	"fmt"
	"math"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// OrderParams is the state of a student in the limit of high dimension.
type OrderParams struct {
	Q [][]float64 // w_k·w_l/D, [students, students]
	R [][]float64 // w_k·w*_n/D, [students, teachers]
	T [][]float64 // w*_m·w*_n/D, [teachers, teachers]
	P []float64   // w_k·f/D
	// Rho is w*_n·f/D, F2 is f·f/D: they matter to the correction of PEPITA alone.
	Rho     []float64
	F2      float64
	V       []float64 // the student's output weights
	Teacher []float64 // the teacher's output weights
}

// A Learning is a student's way of learning. LR is η, OutputLR η_v; 0 means that these weights stay.
type Learning struct {
	LR, OutputLR float64
	Rule         Rule
	Direct       []float64 // b of Direct, one for each hidden unit
}

// Rule says how the error reaches the hidden units.
type Rule int

const (
	Backprop Rule = iota
	Direct        // direct feedback alignment
	Adaptive      // adaptive feedback alignment
	PEPITA        // PEPITA; in the equations to first order in f
)

// check refuses sizes that do not fit.
func (d Learning) check(p *OrderParams) error {
	k, m := len(p.V), len(p.Teacher)
	for _, c := range []struct {
		name          string
		rows, columns int
		got           [][]float64
	}{{"Q", k, k, p.Q}, {"R", k, m, p.R}, {"T", m, m, p.T}, {"P", 1, k, [][]float64{p.P}}, {"Rho", 1, m, [][]float64{p.Rho}}} {
		ok := len(c.got) == c.rows
		for _, row := range c.got {
			ok = ok && len(row) == c.columns
		}
		if !ok {
			return graph.Fail("order parameters", c.name, fmt.Sprintf("%d by %d numbers, for %d students and %d teachers", c.rows, c.columns, k, m), c.got)
		}
	}
	switch {
	case d.Rule < Backprop || d.Rule > PEPITA:
		return graph.Fail("order parameters", "Rule", "Backprop, Direct, Adaptive or PEPITA", int(d.Rule))
	case d.Rule == Direct && len(d.Direct) != k:
		return graph.Fail("order parameters", "Direct", fmt.Sprintf("%d numbers", k), len(d.Direct))
	}
	return nil
}

// Clone is an independent copy.
func (p *OrderParams) Clone() *OrderParams {
	rows := func(m [][]float64) [][]float64 {
		out := make([][]float64, len(m))
		for i, row := range m {
			out[i] = append([]float64(nil), row...)
		}
		return out
	}
	vector := func(v []float64) []float64 { return append([]float64(nil), v...) }
	return &OrderParams{rows(p.Q), rows(p.R), rows(p.T), vector(p.P), vector(p.Rho), p.F2, vector(p.V), vector(p.Teacher)}
}

// Fields of the joint Gaussian: the students' w_k·x/√D, the teachers', and the feedback's f·x/√D.
type fields struct {
	c        [][]float64 // covariance
	s        []float64   // weights of g in the error: v, -v*
	students int
}

func newFields(p *OrderParams) *fields {
	k, m := len(p.V), len(p.Teacher)
	n := k + m + 1
	c := make([][]float64, n)
	for i := range c {
		c[i] = make([]float64, n)
	}
	set := func(i, j int, v float64) { c[i][j], c[j][i] = v, v }
	for i := range k {
		copy(c[i], p.Q[i])
		for j, v := range p.R[i] {
			set(i, k+j, v)
		}
		set(i, n-1, p.P[i])
	}
	for i := range m {
		for j, v := range p.T[i] {
			c[k+i][k+j] = v
		}
		set(k+i, n-1, p.Rho[i])
	}
	c[n-1][n-1] = p.F2
	s := append(append([]float64(nil), p.V...), p.Teacher...)
	for i := k; i < n-1; i++ {
		s[i] = -s[i]
	}
	return &fields{c, s, k}
}

// i2 is E[g_a g_b].
func i2(c [][]float64, a, b int) float64 {
	return 2 / math.Pi * math.Asin(c[a][b]/math.Sqrt((1+c[a][a])*(1+c[b][b])))
}

// i3 is E[g'_a l_b g_c].
func i3(c [][]float64, a, b, d int) float64 {
	return 2 / math.Pi * (c[b][d]*(1+c[a][a]) - c[a][b]*c[a][d]) /
		((1 + c[a][a]) * math.Sqrt((1+c[a][a])*(1+c[d][d])-c[a][d]*c[a][d]))
}

// i4 is E[g'_a g'_b g_c g_d].
func i4(c [][]float64, a, b, i, j int) float64 {
	l4 := (1+c[a][a])*(1+c[b][b]) - c[a][b]*c[a][b]
	cross := func(i, j int, cov float64) float64 {
		return l4*cov - c[b][i]*c[b][j]*(1+c[a][a]) - c[a][i]*c[a][j]*(1+c[b][b]) +
			c[a][b]*c[a][i]*c[b][j] + c[a][b]*c[a][j]*c[b][i]
	}
	return 4 / (math.Pi * math.Pi * math.Sqrt(l4)) *
		math.Asin(cross(i, j, c[i][j])/math.Sqrt(cross(i, i, 1+c[i][i])*cross(j, j, 1+c[j][j])))
}

// GeneralizationError is the mean of half the squared error over all x.
func (p *OrderParams) GeneralizationError() float64 {
	f, sum := newFields(p), 0.0
	for i, a := range f.s {
		for j, b := range f.s {
			sum += a * b * i2(f.c, i, j)
		}
	}
	return sum / 2
}

// slope is E[g'_k z err] for field z; with the correction of PEPITA, whose input has z - c_zf err in place of z.
func (f *fields) slope(k, z int, corrected bool) float64 {
	sum := 0.0
	for j, s := range f.s {
		sum += s * i3(f.c, k, z, j)
	}
	if corrected {
		sum -= f.c[z][len(f.c)-1] * f.squared(k)
	}
	return sum
}

// squared is E[g'_k err²]: g' is a Gaussian, under which the fields have another covariance.
func (f *fields) squared(k int) float64 {
	v := 1 + f.c[k][k]
	tilted := func(i, j int) float64 { return f.c[i][j] - f.c[k][i]*f.c[k][j]/v }
	sum := 0.0
	for i, a := range f.s {
		for j, b := range f.s {
			sum += a * b * 2 / math.Pi * math.Asin(tilted(i, j)/math.Sqrt((1+tilted(i, i))*(1+tilted(j, j))))
		}
	}
	return math.Sqrt(2/(math.Pi*v)) * sum
}

// square is E[g'_k g'_l err²].
func (f *fields) square(k, l int) float64 {
	sum := 0.0
	for i, a := range f.s {
		for j, b := range f.s {
			sum += a * b * i4(f.c, k, l, i, j)
		}
	}
	return sum
}

// factors is b.
func (d Learning) factors(p *OrderParams) []float64 {
	switch d.Rule {
	case Backprop:
		return p.V
	case Direct:
		return d.Direct
	}
	return p.P
}

// Derivative is the change of the order parameters in a unit of time: D steps.
func (d Learning) Derivative(p *OrderParams) (*OrderParams, error) {
	if err := d.check(p); err != nil {
		return nil, err
	}
	f, b, corrected, last := newFields(p), d.factors(p), d.Rule == PEPITA, len(p.V)+len(p.Teacher)
	change := p.Clone()
	for k := range p.V {
		for l := range p.V {
			change.Q[k][l] = -d.LR*(b[k]*f.slope(k, l, corrected)+b[l]*f.slope(l, k, corrected)) + d.LR*d.LR*b[k]*b[l]*f.square(k, l)
		}
		for n := range p.Teacher {
			change.R[k][n] = -d.LR * b[k] * f.slope(k, len(p.V)+n, corrected)
		}
		change.P[k] = -d.LR * b[k] * f.slope(k, last, corrected)
		change.V[k] = 0
		for j, s := range f.s {
			change.V[k] -= d.OutputLR * s * i2(f.c, k, j)
		}
	}
	for n := range p.Teacher {
		change.Rho[n], change.Teacher[n] = 0, 0
		clear(change.T[n])
	}
	change.F2 = 0
	return change, nil
}

// Solve integrates from time 0 in steps of dt by Euler's method and returns the generalisation error at the given
// times, which must ascend. Start is not changed.
func (d Learning) Solve(start *OrderParams, dt float64, times ...float64) ([]float64, error) {
	if !(dt > 0) {
		return nil, graph.Fail("order parameters", "dt", "more than 0", dt)
	}
	p, at := start.Clone(), 0
	var curve []float64
	for _, t := range times {
		for n := int(math.Round(t / dt)); at < n; at++ {
			change, err := d.Derivative(p)
			if err != nil {
				return nil, err
			}
			p.add(change, dt)
		}
		eg := p.GeneralizationError()
		if eg-eg != 0 {
			return curve, errors.Errorf("order parameters: error %v at time %v; a smaller dt or LR may help", eg, t)
		}
		curve = append(curve, eg)
	}
	return curve, nil
}

func (p *OrderParams) add(change *OrderParams, dt float64) {
	vector := func(a, b []float64) {
		for i := range a {
			a[i] += dt * b[i]
		}
	}
	for k := range p.Q {
		vector(p.Q[k], change.Q[k])
		vector(p.R[k], change.R[k])
	}
	vector(p.P, change.P)
	vector(p.V, change.V)
}

// A Student and its teacher in a finite number of dimensions D.
type Student struct {
	W, TeacherW [][]float64 // [hidden units][D]
	F           []float64   // [D], the feedback vector
	V, TeacherV []float64
}

// NewStudent draws the weights of k students from N(0, scale²), of the teachers from N(0, 1), and the feedback from N(0,
// feedback²): functions of the seed.
func NewStudent(seed uint64, dimension int, scale, feedback float64, v, teacher []float64) *Student {
	draw := func(name string, i int, scale float64) []float64 {
		r, w := graph.Rand(seed, name, uint64(i)), make([]float64, dimension)
		for j := range w {
			w[j] = scale * r.NormFloat64()
		}
		return w
	}
	s := &Student{F: draw("feedback", 0, feedback), V: append([]float64(nil), v...), TeacherV: append([]float64(nil), teacher...)}
	for k := range v {
		s.W = append(s.W, draw("student", k, scale))
	}
	for m := range teacher {
		s.TeacherW = append(s.TeacherW, draw("teacher", m, 1))
	}
	return s
}

// OrderParams measures the student.
func (s *Student) OrderParams() *OrderParams {
	d := float64(len(s.F))
	overlaps := func(a, b [][]float64) [][]float64 {
		m := make([][]float64, len(a))
		for i := range a {
			for j := range b {
				m[i] = append(m[i], dot(a[i], b[j])/d)
			}
		}
		return m
	}
	with := func(a [][]float64) (v []float64) {
		for _, w := range a {
			v = append(v, dot(w, s.F)/d)
		}
		return v
	}
	return &OrderParams{
		Q: overlaps(s.W, s.W), R: overlaps(s.W, s.TeacherW), T: overlaps(s.TeacherW, s.TeacherW),
		P: with(s.W), Rho: with(s.TeacherW), F2: dot(s.F, s.F) / d,
		V: append([]float64(nil), s.V...), Teacher: append([]float64(nil), s.TeacherV...),
	}
}

func dot(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// Simulate trains the student itself on examples that are a function of the seed, PEPITA by its two passes, and returns
// the generalisation error at the given times (steps/D), which must ascend.
func (d Learning) Simulate(s *Student, seed uint64, times ...float64) ([]float64, error) {
	if err := d.check(s.OrderParams()); err != nil {
		return nil, err
	}
	g := func(u float64) float64 { return math.Erf(u / math.Sqrt2) }
	slope := func(u float64) float64 { return math.Sqrt(2/math.Pi) * math.Exp(-u*u/2) }
	n := len(s.F)
	root := math.Sqrt(float64(n))
	r, x, changed := graph.Rand(seed, "examples", 0), make([]float64, n), make([]float64, n)
	fields, act, push := make([]float64, len(s.W)), make([]float64, len(s.W)), make([]float64, len(s.W))
	var curve []float64
	step := 0
	for _, t := range times {
		for ; step < int(math.Round(t*float64(n))); step++ {
			for i := range x {
				x[i] = r.NormFloat64()
			}
			err := 0.0
			for k, w := range s.W {
				fields[k] = dot(w, x) / root
				act[k] = g(fields[k])
				err += s.V[k] * act[k]
			}
			for m, w := range s.TeacherW {
				err -= s.TeacherV[m] * g(dot(w, x)/root)
			}
			b, before := []float64(nil), x
			switch d.Rule {
			case Backprop:
				b = s.V
			case Direct:
				b = d.Direct
			case PEPITA:
				for i, f := range s.F {
					changed[i] = x[i] - f*err/root
				}
				before = changed
			}
			for k, w := range s.W {
				switch d.Rule {
				case PEPITA:
					push[k] = act[k] - g(dot(w, changed)/root)
				case Adaptive:
					push[k] = slope(fields[k]) * dot(w, s.F) / float64(n) * err
				default:
					push[k] = slope(fields[k]) * b[k] * err
				}
			}
			for k, w := range s.W {
				for i, v := range before {
					w[i] -= d.LR / root * push[k] * v
				}
				s.V[k] -= d.OutputLR / float64(n) * act[k] * err
			}
		}
		curve = append(curve, s.OrderParams().GeneralizationError())
	}
	return curve, nil
}
