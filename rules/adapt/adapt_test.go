package adapt

import (
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// table is a small data set.
type table struct {
	x       [][]float32
	labels  []int
	classes int
}

func (d table) Len() int           { return len(d.x) }
func (d table) InputShape() []int  { return []int{len(d.x[0])} }
func (d table) Classes() int       { return d.classes }
func (d table) TargetShape() []int { return nil }
func (d table) Read(i int, _ uint64, x, _ []float32) int {
	copy(x, d.x[i])
	return d.labels[i]
}

var source = table{[][]float32{{1, -.5}, {.25, 2}, {-1, .5}, {.5, .5}}, []int{0, 1, 2, 1}, 3}

// linear is a model whose features are its input, in double precision, with weights that are its own.
var linear = layers.Sequential{layers.Dense{Units: 3}}

const weight, bias = "dense1/weight", "dense1/bias"

func linearParams(w, b []float64) *graph.Params {
	p := &graph.Params{DType: graph.Float64}
	p.Add(&graph.Param{Name: weight, Value: graph.ArrayOf(w, 2, 3)})
	p.Add(&graph.Param{Name: bias, Value: graph.ArrayOf(b, 3)})
	return p
}

func same(_ *graph.Scope, x *graph.Node) *graph.Node { return x }

func start(t *testing.T, r RobustMeanTeacher, params *graph.Params, d rules.Data, batch int) *MeanTeacher {
	t.Helper()
	spec := rules.Spec{Input: []int{2}, Classes: 3, Batch: batch, Seed: 3, DType: graph.Float64}
	m, err := r.Start(linear, params, spec, d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func near(t *testing.T, what string, eps float64, got, want []float64) {
	t.Helper()
	for i, w := range want {
		if !(math.Abs(got[i]-w) <= eps) {
			t.Fatalf("%s: want %v, got %v", what, want, got)
		}
	}
}

// A student of logits 2, 1, 0 after a teacher of 1, 1.5, -0.5: loss and derivative as in the symmetric cross-entropy's
// formula, the scores are the sum of both.
func TestOneStep(t *testing.T) {
	r := RobustMeanTeacher{Contrast: -1, Replay: -1, Augment: same, Optimizer: optim.SGD{LR: 1}, Momentum: .75}
	m := start(t, r, linearParams(make([]float64, 6), []float64{2, 1, 0}), nil, 1)
	copy(m.Teacher().Get(bias).Value.Float64s(), []float64{1, 1.5, -.5})
	scores, loss, err := m.Step(graph.ArrayOf([]float64{.5, -2}, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	g := []float64{.154299, -.227418, .073120}
	near(t, "loss", 1e-9, []float64{loss}, []float64{1.102366330})
	near(t, "scores", 1e-12, scores.Float64s(), []float64{3, 2.5, -.5})
	near(t, "bias", 1e-6, m.Student().Get(bias).Value.Float64s(), []float64{2 - g[0], 1 - g[1], -g[2]})
	near(t, "weight", 2e-6, m.Student().Get(weight).Value.Float64s(), []float64{-g[0] / 2, -g[1] / 2, -g[2] / 2, 2 * g[0], 2 * g[1], 2 * g[2]})
	near(t, "teacher", 1e-6, m.Teacher().Get(bias).Value.Float64s(), []float64{
		.75 + (2-g[0])/4, 1.125 + (1-g[1])/4, -.375 - g[2]/4})
}

// plain is the rule in loops for the linear model: self-training with a view that is twice the input, and replay.
type plain struct{ w, b, tw, tb []float64 }

func logits(w, b, x []float64) []float64 {
	y := make([]float64, 3)
	for j := range y {
		y[j] = b[j] + x[0]*w[j] + x[1]*w[3+j]
	}
	return y
}

func softmax(x []float64) []float64 {
	p, sum := make([]float64, len(x)), 0.0
	for i, v := range x {
		p[i] = math.Exp(v)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// symmetric is the symmetric cross-entropy of logits and its derivative by the student's.
func symmetric(alpha float64, student, teacher []float64) (loss float64, d []float64) {
	q, p := softmax(student), softmax(teacher)
	reverse := 0.0
	for i := range q {
		reverse -= q[i] * math.Log(p[i])
		loss -= (1 - alpha) * p[i] * math.Log(q[i])
	}
	for i := range q {
		d = append(d, (1-alpha)*(q[i]-p[i])+alpha*q[i]*(-math.Log(p[i])-reverse))
	}
	return loss + alpha*reverse, d
}

func (m *plain) step(lr, alpha, momentum, self, replay float64, x [][]float64) (loss float64) {
	dw, db := make([]float64, 6), make([]float64, 3)
	add := func(x, d []float64, c float64) {
		for j, v := range d {
			db[j] += c * v
			dw[j] += c * v * x[0]
			dw[3+j] += c * v * x[1]
		}
	}
	for _, x := range x {
		teacher := logits(m.tw, m.tb, x)
		for _, view := range [][]float64{x, {2 * x[0], 2 * x[1]}} {
			l, d := symmetric(alpha, logits(m.w, m.b, view), teacher)
			loss += self * l / 2 / 4
			add(view, d, self/2/4)
		}
	}
	for i, f := range source.x {
		x := []float64{float64(f[0]), float64(f[1])}
		p := softmax(logits(m.w, m.b, x))
		loss -= replay * math.Log(p[source.labels[i]]) / 4
		p[source.labels[i]]--
		add(x, p, replay/4)
	}
	for i, d := range dw {
		m.w[i] -= lr * d
		m.tw[i] = momentum*m.tw[i] + (1-momentum)*m.w[i]
	}
	for i, d := range db {
		m.b[i] -= lr * d
		m.tb[i] = momentum*m.tb[i] + (1-momentum)*m.b[i]
	}
	return loss
}

// Warm-up and steps are as in loops, and equal to the last bits in a second run.
func TestAgainstLoops(t *testing.T) {
	w, b := []float64{.3, -.2, .5, .1, .9, -1}, []float64{.1, 0, -.3}
	const lr, alpha, momentum, self, replay = .4, .3, .8, 1.5, .5
	double := func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Scale(x, 2) }
	r := RobustMeanTeacher{SelfTraining: self, Contrast: -1, Replay: replay, Optimizer: optim.SGD{LR: lr}, Momentum: momentum, Alpha: alpha, Augment: double}
	given := linearParams(append([]float64{}, w...), append([]float64{}, b...))
	m := start(t, r, given, source, 4)
	clone := func(x []float64) []float64 { return append([]float64{}, x...) }
	want := &plain{clone(w), clone(b), clone(w), clone(b)}
	// Warm-up: the plain symmetric cross-entropy on the source, at rates that grow to lr.
	for i := range 3 {
		rate := lr * float64(i+1) / 3
		dw, db := make([]float64, 6), make([]float64, 3)
		for _, f := range source.x {
			x := []float64{float64(f[0]), float64(f[1])}
			_, d := symmetric(alpha, logits(want.w, want.b, x), logits(want.tw, want.tb, x))
			for j, v := range d {
				db[j] += v / 4
				dw[j] += v * x[0] / 4
				dw[3+j] += v * x[1] / 4
			}
		}
		for j := range dw {
			want.w[j] -= rate * dw[j]
			want.tw[j] = momentum*want.tw[j] + (1-momentum)*want.w[j]
		}
		for j := range db {
			want.b[j] -= rate * db[j]
			want.tb[j] = momentum*want.tb[j] + (1-momentum)*want.b[j]
		}
	}
	if err := m.WarmUp(3); err != nil {
		t.Fatal(err)
	}
	near(t, "student after warm-up", 1e-12, m.Student().Get(weight).Value.Float64s(), want.w)
	near(t, "teacher after warm-up", 1e-12, m.Teacher().Get(bias).Value.Float64s(), want.tb)
	x := [][]float64{{1, 2}, {-.5, .25}, {0, 1}, {-2, -1}}
	var flat []float64
	for _, row := range x {
		flat = append(flat, row...)
	}
	for range 5 {
		var sums []float64
		for _, row := range x {
			s, u := logits(want.w, want.b, row), logits(want.tw, want.tb, row)
			for j := range s {
				sums = append(sums, s[j]+u[j])
			}
		}
		scores, loss, err := m.Step(graph.ArrayOf(flat, 4, 2))
		if err != nil {
			t.Fatal(err)
		}
		near(t, "scores", 1e-12, scores.Float64s(), sums)
		near(t, "loss", 1e-12, []float64{loss}, []float64{want.step(lr, alpha, momentum, self, replay, x)})
	}
	near(t, "student", 1e-12, m.Student().Get(weight).Value.Float64s(), want.w)
	near(t, "teacher", 1e-12, m.Teacher().Get(weight).Value.Float64s(), want.tw)
	near(t, "the given parameters", 0, given.Get(weight).Value.Float64s(), w)
	if m.Steps() != 8 {
		t.Errorf("want 8 steps, got %d", m.Steps())
	}
}

// The batches do not come to the end of a pass over the source, which makes a new order.
func TestNoAllocation(t *testing.T) {
	m := start(t, RobustMeanTeacher{}, linearParams(make([]float64, 6), make([]float64, 3)), source, 1)
	x := graph.ArrayOf([]float64{1, 2}, 1, 2)
	step := func() {
		if _, _, err := m.Step(x); err != nil {
			t.Fatal(err)
		}
	}
	step()
	if allocs := testing.AllocsPerRun(2, step); allocs > 0 {
		t.Errorf("a step allocates %v times", allocs)
	}
}

// A constant student w and its teacher w0 after n steps: w + m^n (w0 - w).
func TestTeacherOfAConstantStudent(t *testing.T) {
	r := RobustMeanTeacher{Contrast: -1, Replay: -1, Optimizer: optim.SGD{LR: 1e-300}, Momentum: .9}
	m := start(t, r, linearParams(make([]float64, 6), []float64{2, 1, 0}), nil, 2)
	copy(m.Teacher().Get(bias).Value.Float64s(), []float64{5, -1, .5})
	for range 7 {
		if _, _, err := m.Step(graph.NewArray(graph.Float64, 2, 2)); err != nil {
			t.Fatal(err)
		}
	}
	k := math.Pow(.9, 7)
	near(t, "teacher", 1e-12, m.Teacher().Get(bias).Value.Float64s(), []float64{2 + 3*k, 1 - 2*k, .5 * k})
	near(t, "student", 1e-290, m.Student().Get(bias).Value.Float64s(), []float64{2, 1, 0})
}

// The contrast is that of the projected features, views and nearest class means of the source.
func TestContrast(t *testing.T) {
	const units = 5
	r := RobustMeanTeacher{SelfTraining: -1, Replay: -1, Contrast: .7, Temperature: .5, Projection: units,
		Augment:   func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Shift(graph.Scale(x, 2), 1) },
		Optimizer: optim.SGD{LR: .1}}
	m := start(t, r, linearParams(make([]float64, 6), make([]float64, 3)), source, 4)
	copy(m.Student().Get("robust-mean-teacher/projection1/bias").Value.Float64s(), []float64{.5, -.2, .3, 1, .1})
	copy(m.Student().Get("robust-mean-teacher/projection2/bias").Value.Float64s(), []float64{-.1, .4, 0, .2, -.6})
	project := func(x []float64) []float64 {
		for i := range 2 {
			name := "robust-mean-teacher/projection" + string(rune('1'+i))
			w, b := m.Student().Get(name+"/weight").Value, m.Student().Get(name+"/bias").Value
			y := make([]float64, units)
			for j := range y {
				y[j] = b.At(j)
				for k, v := range x {
					y[j] += v * w.At(k*units+j)
				}
				if i == 0 {
					y[j] = max(y[j], 0)
				}
			}
			x = y
		}
		return x
	}
	cosine := func(a, b []float64) float64 {
		ab, aa, bb := 0.0, 0.0, 0.0
		for i := range a {
			ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
		}
		return ab / math.Sqrt(aa*bb)
	}
	means := [][]float64{{1, -.5}, {.375, 1.25}, {-1, .5}}
	x := [][]float64{{1, 2}, {-.5, .25}, {.5, -1}, {-2, -1}}
	nearest := []int{1, 2, 0, 2} // by cosine
	var views [][]float64
	var flat []float64
	for i, row := range x {
		for k := range means {
			if cosine(row, means[k]) > cosine(row, means[nearest[i]]) {
				t.Fatalf("example %d: class %d is nearer than %d", i, k, nearest[i])
			}
		}
		views = append(views, project(row), project([]float64{2*row[0] + 1, 2*row[1] + 1}), project(means[nearest[i]]))
		flat = append(flat, row...)
	}
	want := 0.0
	for i, a := range views {
		all, positive := 0.0, 0.0
		for k, b := range views {
			if k == i {
				continue
			}
			s := cosine(a, b) / .5
			all += math.Exp(s)
			if k/3 == i/3 {
				positive += s / 2
			}
		}
		want += .7 * (math.Log(all) - positive) / 12
	}
	_, loss, err := m.Step(graph.ArrayOf(flat, 4, 2))
	if err != nil {
		t.Fatal(err)
	}
	near(t, "loss", 1e-12, []float64{loss}, []float64{want})
	_, again, err := m.Step(graph.ArrayOf(flat, 4, 2))
	if err != nil {
		t.Fatal(err)
	}
	if again >= loss {
		t.Errorf("want a loss below %v after a step of the projection, got %v", loss, again)
	}
}

func TestRefusals(t *testing.T) {
	params := func() *graph.Params { return linearParams(make([]float64, 6), make([]float64, 3)) }
	spec := rules.Spec{Input: []int{2}, Classes: 3, Batch: 2, DType: graph.Float64}
	large, one, other := spec, spec, spec
	large.Batch, one.Classes, other.Input = 9, 1, []int{3}
	none := RobustMeanTeacher{Contrast: -1, Replay: -1, SelfTraining: -1}
	flat := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node { return layers.Dense{Units: 3}.Apply(s, x) })
	for _, c := range []struct {
		rule   RobustMeanTeacher
		model  layers.Layer
		params *graph.Params
		spec   rules.Spec
		source rules.Data
		want   string
	}{
		{RobustMeanTeacher{}, nil, params(), spec, source, "model"},
		{RobustMeanTeacher{}, linear, nil, spec, source, "params"},
		{RobustMeanTeacher{}, linear, &graph.Params{DType: graph.Float64, Seed: 1}, spec, source, "params"},
		{RobustMeanTeacher{}, layers.Sequential{layers.Dense{Units: 2}, linear}, params(), spec, source, "dense1/weight"},
		{RobustMeanTeacher{}, layers.Sequential{linear, layers.Dense{Units: 3}}, params(), spec, source, "params"},
		{RobustMeanTeacher{}, layers.Sequential{linear, layers.Flatten{}, layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Sum(x, 1) })}, params(), spec, source, "output"},
		{RobustMeanTeacher{}, flat, params(), spec, source, "blocks"},
		{RobustMeanTeacher{}, linear, params(), spec, nil, "source"},
		{RobustMeanTeacher{}, linear, params(), large, source, "source"},
		{RobustMeanTeacher{}, linear, params(), other, source, "source"},
		{RobustMeanTeacher{}, linear, params(), one, source, "spec"},
		{RobustMeanTeacher{}, linear, params(), spec, table{source.x, []int{0, 1, 0, 1}, 3}, "class 2"},
		{RobustMeanTeacher{Momentum: 1}, linear, params(), spec, source, "Momentum"},
		{RobustMeanTeacher{Alpha: 2}, linear, params(), spec, source, "Alpha"},
		{RobustMeanTeacher{Temperature: -1}, linear, params(), spec, source, "Temperature"},
		{RobustMeanTeacher{Projection: -1}, linear, params(), spec, source, "Projection"},
		{RobustMeanTeacher{Replay: math.NaN()}, linear, params(), spec, source, "weights"},
		{none, linear, params(), spec, source, "weights"},
	} {
		if _, err := c.rule.Start(c.model, c.params, c.spec, c.source); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error about %q, got %v", c.want, err)
		}
	}
	m := start(t, RobustMeanTeacher{Contrast: -1, Replay: -1}, params(), nil, 2)
	if err := m.WarmUp(1); err == nil {
		t.Error("warm-up without a source: want an error")
	}
	if _, _, err := m.Step(graph.NewArray(graph.Float64, 3, 2)); err == nil {
		t.Error("a batch of another size: want an error")
	}
	bad := graph.ArrayOf([]float64{1, math.NaN(), 0, 0}, 2, 2)
	if _, _, err := m.Step(bad); err == nil || m.Steps() != 0 {
		t.Errorf("NaN: want an error and no step, got %v, %d steps", err, m.Steps())
	}
	near(t, "after the refused step", 0, m.Student().Get(weight).Value.Float64s(), make([]float64, 6))
}

// The same stream gives the same bits, with noise and a random order of the source.
func TestReproducible(t *testing.T) {
	run := func() []float64 {
		m := start(t, RobustMeanTeacher{}, linearParams([]float64{1, 0, -1, 0, 1, 0}, make([]float64, 3)), source, 2)
		if err := m.WarmUp(2); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, _, err := m.Step(graph.ArrayOf([]float64{1, 2, -1, .5}, 2, 2)); err != nil {
				t.Fatal(err)
			}
		}
		return m.Teacher().Get(weight).Value.Float64s()
	}
	near(t, "second run", 0, run(), run())
}
