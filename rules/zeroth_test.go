package rules

import (
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

func init() {
	for name, r := range map[string]Rule{
		"mezo":              MeZO{},
		"mezo adam":         MeZO{Optimizer: optim.Adam{}, Directions: 3, Difference: OneSided, Perturbation: Rademacher, Sparsity: 0.3},
		"mezo sign history": MeZO{Form: SlopeSign, History: 0.9, Sparsity: 0.1, Mask: NormalThreshold, Snapshot: true},
		"mezo conservative": MeZO{Form: Conservative, Options: optim.Options{Clip: optim.Clip{Norm: 1}}},
		"mezo hybrid":       MeZO{Hybrid: FirstThenZeroth},
		"mezo hybrid last":  MeZO{Hybrid: ZerothThenFirst, FirstOrder: optim.SGD{LR: 0.1}},
		"one-byte":          OneByte{},
		"one-byte peers":    OneByte{Peers: 4, Directions: 2, Code: Log16, Optimizer: optim.SGD{LR: 0.01, Momentum: 0.5}},
		"smb":               SMB{},
		"smb independent":   SMB{LR: 4, Independent: true, BatchesPerEpoch: 3},
	} {
		everyRule[name] = r
	}
}

// point is a model without input whose output is its parameter; the objective is then any function of it.
func point(start ...float64) layers.Layer {
	return layers.Func("", func(s *graph.Scope, _ *graph.Node) *graph.Node {
		return s.Param("theta", func(_ uint64, _ string, a *graph.Array) {
			for i, v := range start {
				a.Set(i, v)
			}
		}, len(start))
	})
}

var onPoint = Spec{Input: []int{1}, Target: []int{1}, Batch: 1, Seed: 1, DType: graph.Float64}

// quadratic is θᵀAθ/2 + bᵀθ.
func quadratic(a []float64, b ...float64) objectives.Objective {
	return func(theta, _ *graph.Node) *graph.Node {
		n := len(b)
		at := graph.MatMul(graph.Literal(theta, graph.ArrayOf(a, n, n)), graph.Reshape(theta, n, 1))
		return graph.Add(graph.Scale(graph.Dot(theta, graph.Reshape(at, n)), 0.5), graph.Dot(theta, graph.Literal(theta, graph.ArrayOf(b, n))))
	}
}

// paper is the quadratic of the checks: gradient (1.5, -1.05) at its start.
func paper() (layers.Layer, objectives.Objective) {
	return point(0.3, -0.2), quadratic([]float64{2, 0.5, 0.5, 1}, 1, -1)
}

func proberOf(t *testing.T, r Rule, model layers.Layer, o objectives.Objective) *prober {
	t.Helper()
	tr, err := r.Trainer(model, o, onPoint)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return tr.(*prober)
}

// steered makes the directions of a trainer known ones.
func steered(p *prober, z func(key uint64, i int) float64) {
	p.probe.moves.(*directed[float64]).fill = func(_ graph.Stream, key uint64, first int, dst []float64) {
		for i := range dst {
			dst[i] = z(key, first+i)
		}
	}
}

func theta(p *prober) *graph.Array { return p.params.Get("theta").Value }

// moved takes a step from where the parameters stand, with SGD of rate 1, gives the direction it went against, and
// takes the step back.
func (p *prober) estimate(t *testing.T, into []float64) {
	t.Helper()
	a := theta(p)
	before := make([]float64, a.Size(), 16)
	for i := range before {
		before[i] = a.At(i)
	}
	if _, err := p.Step(NewBatch(onPoint)); err != nil {
		t.Fatalf("%+v", err)
	}
	for i, v := range before {
		into[i] = v - a.At(i)
		a.Set(i, v)
	}
}

// A = [[2, .5], [.5, 1]], b = (1, -1), θ = (.3, -.2). Along (1, -2) the slope is 3.6, and one-sided with ε = 1e-3 it is
// 3.602, as ε zᵀAz/2 is added; along (.5, -1.5) it is 2.325 for every ε.
func TestSlopesOfAQuadratic(t *testing.T) {
	model, objective := paper()
	for _, c := range []struct {
		z     [2]float64
		r     MeZO
		slope float64
	}{
		{[2]float64{1, -2}, MeZO{}, 3.6},
		{[2]float64{1, -2}, MeZO{Difference: OneSided}, 3.602},
		{[2]float64{0.5, -1.5}, MeZO{Eps: 1e-4}, 2.325},
		{[2]float64{0.5, -1.5}, MeZO{Eps: 0.1}, 2.325},
		{[2]float64{0.5, -1.5}, MeZO{Eps: 10}, 2.325},
		{[2]float64{0.5, -1.5}, MeZO{Form: SlopeSign}, 1},
	} {
		c.r.Optimizer, c.r.Snapshot = optim.SGD{LR: 1}, true
		p := proberOf(t, c.r, model, objective)
		steered(p, func(_ uint64, i int) float64 { return c.z[i] })
		var got [2]float64
		p.estimate(t, got[:])
		for i := range got {
			if math.Abs(got[i]-c.slope*c.z[i]) > 1e-9 {
				t.Errorf("%+v along %v: component %d: want %v, got %v", c.r, c.z, i, c.slope*c.z[i], got[i])
			}
		}
	}
}

// Over all 2^d vectors of signs the two-sided estimate of a quadratic averages to its gradient exactly, and its square
// to d times the gradient's.
func TestRademacherIsUnbiasedByEnumeration(t *testing.T) {
	for _, d := range []int{1, 2, 5, 9, 12} {
		a, b, start := make([]float64, d*d), make([]float64, d), make([]float64, d)
		gradient := make([]float64, d)
		for i := range d {
			b[i], start[i] = math.Sin(float64(3*i+1)), math.Cos(float64(i))
		}
		for i := range d {
			gradient[i] = b[i]
			for j := range d {
				a[i*d+j] = math.Cos(float64(i+j)) + float64((i-j)*(i-j))/10
				gradient[i] += a[i*d+j] * start[j]
			}
		}
		p := proberOf(t, MeZO{Optimizer: optim.SGD{LR: 1}, Perturbation: Rademacher, Snapshot: true, Eps: 0.5}, point(start...), quadratic(a, b...))
		steered(p, func(key uint64, i int) float64 { return float64(2*int(key/(maxPeers*maxDirections)>>i&1) - 1) })
		mean, one := make([]float64, d), make([]float64, d)
		var square, want float64
		n := 1 << d
		for range n {
			p.estimate(t, one)
			for i, v := range one {
				mean[i] += v / float64(n)
				square += v * v / float64(n)
			}
		}
		for i, g := range gradient {
			want += float64(d) * g * g
			if math.Abs(mean[i]-g) > 1e-9 {
				t.Errorf("d = %d: mean[%d]: want %v, got %v", d, i, g, mean[i])
			}
		}
		if math.Abs(square-want) > 1e-9*want {
			t.Errorf("d = %d: mean square: want %v, got %v", d, want, square)
		}
	}
}

// With Gaussian directions E|g|² is ((d+1)/q + 1)|∇|²: 13.41 for one and 5.866875 for four; and the mean of sign(slope)z
// is sqrt(2/π)∇/|∇|.
func TestGaussianMoments(t *testing.T) {
	const draws = 100000
	model, objective := paper()
	for _, c := range []struct {
		r      MeZO
		mean   [2]float64
		square float64
	}{
		{MeZO{}, [2]float64{1.5, -1.05}, 13.41},
		{MeZO{Directions: 4}, [2]float64{1.5, -1.05}, 5.866875},
		{MeZO{Form: SlopeSign}, [2]float64{0.6536525, -0.4575568}, 2},
	} {
		c.r.Optimizer, c.r.Snapshot, c.r.Eps = optim.SGD{LR: 1}, true, 0.5
		p := proberOf(t, c.r, model, objective)
		var mean, squares [3]float64
		for range draws {
			var v [3]float64
			p.estimate(t, v[:2])
			v[2] = v[0]*v[0] + v[1]*v[1]
			for i := range v {
				mean[i] += v[i] / draws
				squares[i] += v[i] * v[i] / draws
			}
		}
		for i, want := range []float64{c.mean[0], c.mean[1], c.square} {
			if margin := 4.5 * math.Sqrt((squares[i]-mean[i]*mean[i])/draws); math.Abs(mean[i]-want) > margin {
				t.Errorf("%+v: moment %d: want %v within %v, got %v", c.r, i, want, margin, mean[i])
			}
		}
	}
}

// A step of learning rate 0 restores the parameters: to rounding by moving back, to the bit from a copy.
func TestPerturbationIsUndone(t *testing.T) {
	d := toy(16)
	for _, snapshot := range []bool{false, true} {
		r := MeZO{Optimizer: optim.SGD{LR: optim.Zero}, Directions: 3, Snapshot: snapshot}
		tr, err := r.Trainer(mlp(8), objectives.CrossEntropy, SpecOf(d, 16, 7))
		if err != nil {
			t.Fatal(err)
		}
		before := tr.Params().Clone()
		if _, err := Fit(t.Context(), tr, d, Config{}); err != nil {
			t.Fatal(err)
		}
		if snapshot {
			sameBits(t, "after a step of rate 0", before, tr.Params())
			continue
		}
		for p := range before.All() {
			for i := range p.Value.Size() {
				if got := tr.Params().Get(p.Name).Value.At(i); math.Abs(got-p.Value.At(i)) > 9*0x1p-24 {
					t.Errorf("%s[%d]: %v became %v", p.Name, i, p.Value.At(i), got)
				}
			}
		}
	}
}

// A conservative step ends at θ, θ+Δ or θ-Δ, wherever the loss is lowest, so the loss of a fixed batch never rises. From
// θ = 0 on (θ-1)², any Δ that leaves the way down but beyond twice the distance is refused.
func TestConservativeTakesTheBest(t *testing.T) {
	objective := func(theta, _ *graph.Node) *graph.Node { return graph.Sum(graph.Square(graph.Shift(theta, -1))) }
	for _, c := range []struct{ slopeSign, lr, want float64 }{
		{1, 0.1, 0.2}, // gradient -2: the step is good
		{1, 0.9, 1.8}, // beyond the minimum but lower: 0.64 < 1
		{1, 1.5, 0},   // to 3: worse, and so is -3
	} {
		p := proberOf(t, MeZO{Form: Conservative, Optimizer: optim.SGD{LR: c.lr}}, point(0), objective)
		steered(p, func(uint64, int) float64 { return 1 })
		if _, err := p.Step(NewBatch(onPoint)); err != nil {
			t.Fatal(err)
		}
		if got := theta(p).At(0); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("rate %v: want %v, got %v", c.lr, c.want, got)
		}
	}
	// A slope measured far away has the wrong sign: x⁴-4x² has slope +4 at 0.5+-3 on average and -3.5 at 0.5.
	double := func(theta, _ *graph.Node) *graph.Node {
		x2 := graph.Square(theta)
		return graph.Sum(graph.Sub(graph.Square(x2), graph.Scale(x2, 4)))
	}
	p := proberOf(t, MeZO{Form: Conservative, Eps: 3, Optimizer: optim.SGD{LR: 0.01}}, point(0.5), double)
	steered(p, func(uint64, int) float64 { return 1 })
	if _, err := p.Step(NewBatch(onPoint)); err != nil {
		t.Fatal(err)
	}
	slope := (math.Pow(3.5, 4) - 4*3.5*3.5 - math.Pow(2.5, 4) + 4*2.5*2.5) / 6
	if got, want := theta(p).At(0), 0.5+0.01*slope; slope < 0 || math.Abs(got-want) > 1e-9 {
		t.Errorf("slope %v: want the mirror image %v, got %v", slope, want, got)
	}
	model, o := paper()
	p = proberOf(t, MeZO{Form: Conservative, Optimizer: optim.Adam{LR: 0.3}}, model, o)
	last := math.Inf(1)
	for step := range 200 {
		loss, err := p.Step(NewBatch(onPoint))
		if err != nil {
			t.Fatal(err)
		}
		if loss > last {
			t.Fatalf("step %d: loss rose from %v to %v", step, last, loss)
		}
		last = loss
	}
}

// Probing again after the step leaves the parameters where the step led, with a copy or without.
func TestProbeAfterDescend(t *testing.T) {
	model, objective := paper()
	for copies := range 2 {
		var at, after float64
		tr, err := Probing{Name: "late", Copies: copies, Optimizer: optim.SGD{LR: 1}, Step: func(p *Probe) (float64, error) {
			plus, minus, err := p.Pair(0, 0.1)
			if err == nil {
				err = p.Descend((plus - minus) / 0.2)
			}
			if err == nil {
				at, err = p.Loss()
			}
			if err == nil {
				_, err = p.At(1, 3)
			}
			if err == nil {
				after, err = p.Loss()
			}
			return after, err
		}}.Trainer(model, objective, onPoint)
		if err != nil {
			t.Fatal(err)
		}
		p := tr.(*prober)
		steered(p, func(key uint64, i int) float64 { return []float64{1, -2}[i] })
		if _, err := p.Step(NewBatch(onPoint)); err != nil {
			t.Fatal(err)
		}
		near(t, "parameters", theta(p), 1e-12, 0.3-3.6, -0.2+7.2)
		if math.Abs(at-after) > 1e-12 {
			t.Errorf("%d copies: the loss was %v and became %v", copies, at, after)
		}
	}
}

// A loss that is not finite under perturbation refuses the step: nothing moves, the step counts, and so does the
// refusal, also in a checkpoint. If it is not finite at all, that is an error that names the op.
func TestNonFiniteLossIsRefused(t *testing.T) {
	log := func(theta, _ *graph.Node) *graph.Node { return graph.Sum(graph.Log(theta)) }
	for _, r := range []Rule{
		MeZO{Snapshot: true, Optimizer: optim.Adam{}},
		MeZO{Form: Conservative},
		MeZO{Difference: OneSided, Directions: 8, Snapshot: true}, // some directions stay where the logarithm is defined
		OneByte{},
	} {
		tr, err := r.Trainer(point(1e-9), log, onPoint) // ε|z| is larger
		if err != nil {
			t.Fatal(err)
		}
		before := tr.Params().Clone()
		batch := NewBatch(onPoint)
		for step := range 10 {
			loss, err := tr.Step(batch)
			if err != nil {
				t.Fatalf("%s: %+v", r.Name(), err)
			}
			if loss != math.Log(1e-9) || tr.Steps() != step+1 || Refused(tr) != step+1 {
				t.Fatalf("%s: step %d: loss %v, %d steps, %d refused", r.Name(), step, loss, tr.Steps(), Refused(tr))
			}
		}
		sameBits(t, "after refused steps", before, tr.Params())
		path := filepath.Join(t.TempDir(), "refused.safetensors")
		if err := tr.Save(path, nil); err != nil {
			t.Fatal(err)
		}
		again, err := r.Trainer(point(1e-9), log, onPoint)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Load(path); err != nil {
			t.Fatal(err)
		}
		if Refused(again) != Refused(tr) {
			t.Errorf("%s: %d refused after loading, want %d", r.Name(), Refused(again), Refused(tr))
		}
		tr.Params().Get("theta").Value.Set(0, -1)
		_, err = tr.Step(batch)
		wantError(t, err, r.Name(), "log", "finite")
	}
}

// Running statistics are those of one evaluation, whatever the number of evaluations, and stay when a step is refused.
func TestStatesAreUpdatedOnce(t *testing.T) {
	count := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		n := s.State("count", graph.Zeros())
		s.Update(n, graph.Shift(n, 1))
		w := s.Param("w", graph.Ones(), 1)
		return graph.Add(graph.Sum(w), graph.Scale(n, 0))
	})
	objective := func(out, _ *graph.Node) *graph.Node { return graph.Log(out) }
	for _, r := range []Rule{MeZO{Directions: 3}, MeZO{Form: Conservative}, OneByte{Directions: 2}, SMB{LR: 1e3, C: 0.9}} {
		tr, err := r.Trainer(count, objective, onPoint)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Step(NewBatch(onPoint)); err != nil {
			t.Fatalf("%s: %+v", r.Name(), err)
		}
		want := 1.0
		if Refused(tr) > 0 {
			want = 0
		}
		if got := tr.Params().Get("count").Value.Scalar(); got != want {
			t.Errorf("%s: %v updates of the state, want %v", r.Name(), got, want)
		}
	}
}

// Nothing of reverse mode is in the programs.
func TestZerothOrderIsForwardOnly(t *testing.T) {
	d := toy(16)
	for name, r := range everyRule {
		if h, ok := r.(MeZO); !ok || h.Hybrid != ZerothOnly {
			if _, ok := r.(OneByte); !ok {
				continue
			}
		}
		for _, p := range newTrainer(t, r, d).Programs() {
			if n := p.Stats().Reverse; n != 0 || p.Stats().Instructions == 0 {
				t.Errorf("%s: %d of %d instructions made by reverse rules", name, n, p.Stats().Instructions)
			}
		}
	}
}

// liveBytes is what a trainer holds after a step.
func liveBytes(t *testing.T, batch *Batch, build func() (Trainer, error)) int {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tr, err := build()
	if err == nil {
		_, err = tr.Step(batch)
	}
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(tr)
	return int(after.HeapAlloc - before.HeapAlloc)
}

// Beyond what a trainer holds that only runs the forward pass, plain SGD needs less than 1 % of the parameters' memory
// by zeroth order, and by forward gradients of rank one less than a tenth of what that trainer holds. Tangents of one
// layer are no exception, though each layer has its program.
func TestForwardOnlyMemory(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // each worker has buffers of its own
	spec := Spec{Input: []int{784}, Classes: 10, Batch: 128, Seed: 1}
	model := layers.Sequential{mlp(1000)[0], mlp(1000)[0], layers.Dense{Units: 10}}
	batch := NewBatch(spec)
	forward := func(s *graph.Scope, x, y *graph.Node) []Goal {
		return []Goal{{Loss: objectives.CrossEntropy(model.Apply(s, x), y)}}
	}
	plain := func() (Trainer, error) {
		return Plan{Name: "forward", Phases: []Phase{forward}, Predict: model.Apply, Optimizer: optim.SGD{}}.Trainer(spec)
	}
	of := func(r Rule) func() (Trainer, error) {
		return func() (Trainer, error) { return r.Trainer(model, objectives.CrossEntropy, spec) }
	}
	liveBytes(t, batch, plain) // the engine starts
	want := liveBytes(t, batch, plain)
	const parameters = 4 * (784*1000 + 1000 + 1000*1000 + 1000 + 1000*10 + 10)
	for _, c := range []struct {
		rule Rule
		most int
	}{
		{MeZO{}, parameters / 100},
		{MeZO{Directions: 4, Difference: OneSided, Sparsity: 0.5}, parameters / 100},
		{ForwardGradient{Perturbation: RankOne}, want / 10},
		{ForwardGradient{Perturbation: RankOne, OneLayer: true}, want / 10},
	} {
		extra := liveBytes(t, batch, of(c.rule)) - want
		if extra > c.most {
			t.Errorf("%+v: %d bytes more than the forward pass, want at most %d", c.rule, extra, c.most)
		}
		t.Logf("%+v: %d bytes more than the forward pass, %.2f %% of the parameters", c.rule, extra, 100*float64(extra)/parameters)
	}
	for _, r := range []Rule{MeZO{Snapshot: true}, Backprop{Optimizer: optim.SGD{}}} {
		if copied := liveBytes(t, batch, of(r)) - want; copied < parameters*9/10 {
			t.Errorf("%+v: %d bytes more, want at least those of the parameters, %d: this measures nothing", r, copied, parameters)
		}
	}
}

// A new perturbation rule is its Step.
func ExampleProbing() {
	greedy := Probing{Name: "greedy", Copies: 1, Step: func(p *Probe) (float64, error) {
		here, err := p.Loss()
		if err != nil {
			return 0, err
		}
		there, err := p.At(0, 0.1)
		if err != nil || there >= here {
			return here, err
		}
		return here, p.Descend(-0.1)
	}, Optimizer: optim.SGD{LR: 1}}
	trainer, err := greedy.Trainer(point(3, 4), func(theta, _ *graph.Node) *graph.Node { return graph.Sum(graph.Square(theta)) }, onPoint)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 1000 {
		if _, err := trainer.Step(NewBatch(onPoint)); err != nil {
			fmt.Println(err)
			return
		}
	}
	loss, err := trainer.Step(NewBatch(onPoint))
	fmt.Println(loss < 0.1, err)
	// Output: true <nil>
}
