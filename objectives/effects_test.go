package objectives_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Small experiments that show what some objectives are for. Each takes about a second; -short leaves them out.

// fit trains all parameters of a loss with Adam; next fills the inputs before each step.
func fit(t *testing.T, params *graph.Params, in []*graph.Array, steps int, lr float64, loss func(s *graph.Scope, x []*graph.Node) *graph.Node, next func()) {
	t.Helper()
	var x, out []*graph.Node
	var trained []*graph.Param
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = inputs(s, in)
		l := loss(s.ForTraining(), x)
		wrt := s.Graph().Trainable(l)
		for _, n := range wrt {
			trained = append(trained, s.Graph().Param(n))
		}
		out = graph.Grad(l, wrt...)
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p := compiled(t, g, x, in, append(out, g.Updates()...))
	stepper, err := optim.New(optim.Adam{LR: lr}, trained, optim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var slopes []*graph.Array
	for _, n := range out {
		slopes = append(slopes, p.Array(n))
	}
	for range steps {
		next()
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		if err := stepper.Step(slopes); err != nil {
			t.Fatal(err)
		}
	}
}

// compute is what a function gives, as it is outside training.
func compute(t *testing.T, params *graph.Params, f func(s *graph.Scope, x []*graph.Node) *graph.Node, in ...*graph.Array) *graph.Array {
	t.Helper()
	var x []*graph.Node
	var y *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = inputs(s, in)
		y = f(s, x)
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p := compiled(t, g, x, in, []*graph.Node{y})
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return p.Array(y)
}

func inputs(s *graph.Scope, in []*graph.Array) (x []*graph.Node) {
	for i, a := range in {
		x = append(x, s.Input(fmt.Sprint("input", i), a.DType, a.Shape...))
	}
	return x
}

func compiled(t *testing.T, g *graph.Graph, x []*graph.Node, in []*graph.Array, out []*graph.Node) *graph.Program {
	t.Helper()
	p, err := g.Compile(out...)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range x {
		if p.Uses(n) {
			if err := p.Bind(n, in[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

func nothing() {}

// digits are the digits in random order.
func digits(r *rand.Rand) (x *graph.Array, y []int) {
	d := data.Digits()
	x = graph.NewArray(graph.Float32, d.Len(), 64)
	for i, k := range r.Perm(d.Len()) {
		y = append(y, d.Read(k, 0, x.Float32s()[64*i:64*i+64], nil))
	}
	return x, y
}

// some is rows low to high-1 of a matrix.
func some(x *graph.Array, low, high int) *graph.Array {
	n := x.Shape[1]
	return graph.ArrayOf(x.Float32s()[low*n:high*n], high-low, n)
}

// largest is the column of the largest element of each row.
func largest(x *graph.Array) []int {
	n := x.Shape[1]
	best := make([]int, x.Shape[0])
	for i := range best {
		for j := range n {
			if x.At(i*n+j) > x.At(i*n+best[i]) {
				best[i] = j
			}
		}
	}
	return best
}

func agreement(x, y []int) float64 {
	hits := 0.0
	for i := range x {
		if x[i] == y[i] {
			hits++
		}
	}
	return hits / float64(len(x))
}

// Regression with outliers: bins do better than squared error, and worse without outliers.
func TestEffectOfBins(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	const n, bins, batch = 2000, 41, 64
	for _, outliers := range []float64{0, .2} {
		var wrong [2]float64
		for seed := uint64(1); seed <= 2; seed++ {
			r := rand.New(rand.NewPCG(seed, 1))
			examples := func(n int, outliers float64) (x, y *graph.Array) {
				x, y = graph.NewArray(graph.Float32, n, 4), graph.NewArray(graph.Float32, n)
				for i := range n {
					var v [4]float64
					for j := range v {
						v[j] = 2*r.Float64() - 1
						x.Set(4*i+j, v[j])
					}
					y.Set(i, math.Sin(2*v[0])+v[1]*v[2]-.5*math.Cos(3*v[3]))
					if r.Float64() < outliers {
						y.Set(i, 4*r.Float64()-2)
					}
				}
				return x, y
			}
			x, y := examples(n, outliers)
			cleanX, cleanY := examples(1000, 0)
			in := []*graph.Array{graph.NewArray(graph.Float32, batch, 4), graph.NewArray(graph.Float32, batch)}
			next := func() {
				for i := range batch {
					k := r.IntN(n)
					copy(in[0].Float32s()[4*i:4*i+4], x.Float32s()[4*k:])
					in[1].Float32s()[i] = y.Float32s()[k]
				}
			}
			number := func(x *graph.Node) *graph.Node { return graph.Reshape(x, -1) }
			hl := objectives.HLGaussOptions{Min: -2, Max: 2}
			for i, c := range []struct {
				units int
				loss  objectives.Objective
				value func(x *graph.Node) *graph.Node
			}{
				{1, func(x, y *graph.Node) *graph.Node { return objectives.MSE(number(x), y) }, number},
				{bins, hl.Loss, hl.Value},
			} {
				model := models.MLP{Hidden: []int{64, 64}, Classes: c.units}
				params := &graph.Params{Seed: seed}
				fit(t, params, in, 1500, 1e-3, func(s *graph.Scope, x []*graph.Node) *graph.Node { return c.loss(model.Apply(s, x[0]), x[1]) }, next)
				wrong[i] += compute(t, params, func(s *graph.Scope, x []*graph.Node) *graph.Node {
					return objectives.MSE(c.value(model.Apply(s, x[0])), x[1])
				}, cleanX, cleanY).Scalar() / 2
			}
		}
		t.Logf("%.0f%% outliers: mean squared error %.4f with mse, %.4f with hl-gauss", 100*outliers, wrong[0], wrong[1])
		if (wrong[1] < wrong[0]) != (outliers > 0) {
			t.Errorf("%.0f%% outliers: the order is not as expected", 100*outliers)
		}
	}
}

// Temperatures for a classifier of digits that saw 40 images: the correctness-aware loss does what cross-entropy does,
// both better than none, and its balanced form harms.
func TestEffectOfCorrectness(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	var brier [4]float64
	for seed := uint64(1); seed <= 2; seed++ {
		x, y := digits(rand.New(rand.NewPCG(seed, 2)))
		model := models.MLP{Hidden: []int{64}, Classes: 10}
		params := &graph.Params{Seed: seed}
		fit(t, params, []*graph.Array{some(x, 0, 40), graph.ArrayOf(y[:40], 40)}, 300, 5e-3, func(s *graph.Scope, x []*graph.Node) *graph.Node {
			return objectives.CrossEntropy(model.Apply(s, x[0]), x[1])
		}, nothing)
		logits := func(low, high int) *graph.Array {
			return compute(t, params, func(s *graph.Scope, x []*graph.Node) *graph.Node { return model.Apply(s, x[0]) }, some(x, low, high)).Clone()
		}
		seen, held := logits(40, 440), logits(440, 1797)
		for i, f := range []objectives.Objective{nil, objectives.CrossEntropy, objectives.CorrectnessAware, objectives.CorrectnessAwareOptions{Balanced: true}.Loss} {
			temperature := &graph.Params{}
			if f != nil {
				fit(t, temperature, []*graph.Array{seen, graph.ArrayOf(y[40:440], 400)}, 400, 1e-2, func(s *graph.Scope, x []*graph.Node) *graph.Node {
					return f(models.TemperatureScaling{}.Apply(s, x[0]), x[1])
				}, nothing)
			}
			// The Brier score of the confidence is the plain loss itself; here by loops.
			p := compute(t, temperature, func(s *graph.Scope, x []*graph.Node) *graph.Node {
				return graph.Softmax(models.TemperatureScaling{}.Apply(s, x[0]), 1)
			}, held)
			for k, best := range largest(p) {
				d := p.At(10*k + best)
				if best == y[440+k] {
					d--
				}
				brier[i] += d * d / 2 / float64(len(y)-440)
			}
		}
	}
	t.Logf("Brier score of the confidence: %.4f as it is, %.4f by cross-entropy, %.4f by correctness, %.4f balanced", brier[0], brier[1], brier[2], brier[3])
	if !(brier[2] < brier[0]-.003 && brier[2] < brier[1]+.002 && brier[3] > brier[2]+.01) {
		t.Errorf("the order is not as expected: %v", brier)
	}
}

// A classifier of digits from the mean and the covariance of each class, in features that were made for five of them.
func TestEffectOfClassGaussian(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	const train, units = 1297, 20
	x, y := digits(rand.New(rand.NewPCG(1, 3)))
	var old []float64
	for i, label := range y[:train] {
		if label < 5 {
			for j := range 64 {
				old = append(old, x.At(64*i+j))
			}
		}
	}
	var pc stat.PC
	if !pc.PrincipalComponents(mat.NewDense(len(old)/64, 64, old), nil) {
		t.Fatal("no principal components")
	}
	var axes mat.Dense
	pc.VectorsTo(&axes)
	features := graph.NewArray(graph.Float64, x.Shape[0], units)
	for i := range y {
		for k := range units {
			sum := 0.0
			for j := range 64 {
				sum += (x.At(64*i+j) - .3) * axes.At(j, k)
			}
			features.Set(units*i+k, sum)
		}
	}
	mean, covariance, err := objectives.ClassStatistics(graph.ArrayOf(features.Float64s()[:train*units], train, units), y[:train], 10)
	if err != nil {
		t.Fatal(err)
	}
	held := graph.ArrayOf(features.Float64s()[train*units:], len(y)-train, units)
	var accuracy []float64
	for _, cov := range []*graph.Array{graph.NewArray(graph.Float64, 10, units, units), covariance} {
		params := &graph.Params{Seed: 1, DType: graph.Float64}
		classifier := func(s *graph.Scope) (w, b *graph.Node) {
			return s.Param("weight", graph.NormalInit(.01), 10, units), s.Param("bias", graph.Zeros(), 10)
		}
		fit(t, params, []*graph.Array{mean, cov}, 600, 3e-2, func(s *graph.Scope, x []*graph.Node) *graph.Node {
			w, b := classifier(s)
			return objectives.ClassGaussianOptions{}.Loss(w, b, x[0], x[1])
		}, nothing)
		accuracy = append(accuracy, agreement(largest(compute(t, params, func(s *graph.Scope, x []*graph.Node) *graph.Node {
			w, b := classifier(s)
			return graph.Add(graph.MatMulT(x[0], w, false, true), b)
		}, held)), y[train:]))
	}
	nearest := largest(compute(t, nil, func(s *graph.Scope, x []*graph.Node) *graph.Node {
		square := graph.Sum(graph.Square(x[1]), 1)
		return graph.Sub(graph.MatMulT(x[0], x[1], false, true), graph.Scale(square, .5))
	}, held, mean))
	t.Logf("accuracy: %.3f from means, %.3f by the nearest mean, %.3f from means and covariances", accuracy[0], agreement(nearest, y[train:]), accuracy[1])
	if !(accuracy[1] > accuracy[0]+.05 && accuracy[1] > agreement(nearest, y[train:])+.03) {
		t.Errorf("the order is not as expected")
	}
}

// A model that writes all places at once learns from texts of which some are rotated: after cross-entropy the
// edit-invariant loss finds more of the right words than more cross-entropy.
func TestEffectOfEISL(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	const words, length, n, batch = 12, 8, 1000, 50
	r := rand.New(rand.NewPCG(1, 4))
	meaning := r.Perm(words)
	texts := func(n int, rotated float64) (x, y []int) {
		for range n {
			target := make([]int, length)
			for i := range target {
				word := r.IntN(words)
				x, target[i] = append(x, word), meaning[word]
			}
			if r.Float64() < rotated {
				k := 1 + r.IntN(3)
				target = append(target[k:len(target):len(target)], target[:k]...)
			}
			y = append(y, target...)
		}
		return x, y
	}
	x, y := texts(n, .3)
	cleanX, cleanY := texts(500, 0)
	in := []*graph.Array{graph.NewArray(graph.Int, batch, length), graph.NewArray(graph.Int, batch, length)}
	next := func() {
		for i := range batch {
			k := r.IntN(n) * length
			copy(in[0].Ints()[i*length:], x[k:k+length])
			copy(in[1].Ints()[i*length:], y[k:k+length])
		}
	}
	model := func(s *graph.Scope, x *graph.Node) *graph.Node {
		h := layers.Positions{Length: length}.Apply(s, layers.Embedding{Vocabulary: words, Units: 16}.Apply(s, x))
		return graph.Reshape(models.MLP{Hidden: []int{256}, Classes: length * words}.Apply(s, h), graph.ShapeOf(x)[0], length, words)
	}
	train := func(params *graph.Params, f objectives.Objective, steps int) {
		fit(t, params, in, steps, 2e-3, func(s *graph.Scope, x []*graph.Node) *graph.Node { return f(model(s, x[0]), x[1]) }, next)
	}
	ce := objectives.CrossEntropyOptions{Axis: -1}.Loss
	start := &graph.Params{Seed: 1}
	train(start, ce, 400)
	var right []float64
	for _, f := range []objectives.Objective{ce, objectives.EISLOptions{}.Loss} {
		params := start.Clone()
		train(params, f, 200)
		out := compute(t, params, func(s *graph.Scope, x []*graph.Node) *graph.Node { return graph.ArgMax(model(s, x[0]), 2) }, graph.ArrayOf(cleanX, 500, length))
		right = append(right, agreement(out.Ints(), cleanY))
	}
	t.Logf("right words: %.3f after cross-entropy, %.3f after eisl", right[0], right[1])
	if !(right[1] > right[0]+.02) {
		t.Errorf("the order is not as expected")
	}
}

// A classifier of digits that goes on to learn while the images are damaged more and more: the statistics of the batch
// help most, a mean teacher does a little more.
func TestEffectOfMeanTeacher(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	const batch, train = 100, 1200
	wrong := map[string]float64{}
	for seed := uint64(1); seed <= 2; seed++ {
		r := rand.New(rand.NewPCG(seed, 5))
		x, y := digits(r)
		logits := func(s *graph.Scope, x *graph.Node) *graph.Node {
			for range 2 {
				x = graph.ReLU(layers.BatchNorm{}.Apply(s, layers.Dense{Units: 64}.Apply(s, x)))
			}
			return layers.Dense{Units: 10}.Apply(s, x)
		}
		source := &graph.Params{Seed: seed}
		at, in := 0, []*graph.Array{graph.NewArray(graph.Float32, batch, 64), graph.NewArray(graph.Int, batch)}
		fit(t, source, in, 400, 3e-3, func(s *graph.Scope, x []*graph.Node) *graph.Node {
			return objectives.CrossEntropy(logits(s, x[0]), x[1])
		}, func() {
			copy(in[0].Float32s(), x.Float32s()[64*at:])
			copy(in[1].Ints(), y[at:])
			at = (at + batch) % train
		})
		// Noise, dim light, and a shift to the side, each in five steps.
		var stream []*graph.Array
		var labels [][]int
		for kind := range 3 {
			for level := 1; level <= 5; level++ {
				a, l := float32(level)/5, make([]int, batch)
				images := graph.NewArray(graph.Float32, batch, 64)
				for i := range batch {
					k := train + r.IntN(len(y)-train)
					l[i] = y[k]
					for j := range 64 {
						v := x.Float32s()[64*k+j]
						switch kind {
						case 0:
							v += a * .5 * float32(r.NormFloat64())
						case 1:
							v = .5 + (v-.5)*(1-.8*a)
						case 2:
							right := float32(0)
							if j%8 < 7 {
								right = x.Float32s()[64*k+j+1]
							}
							v = (1-a)*v + a*right
						}
						images.Float32s()[64*i+j] = v
					}
				}
				stream, labels = append(stream, images), append(labels, l)
			}
		}
		for name, o := range map[string]objectives.SymmetricCrossEntropyOptions{
			"as it is": {}, "batch statistics": {}, "teacher, cross-entropy": {Alpha: 1e-300}, "teacher, symmetric": {},
		} {
			student, teacher := source.Clone(), source.Clone()
			scores := graph.NewArray(graph.Float32, batch, 10)
			images := graph.NewArray(graph.Float32, batch, 64)
			step := 0
			next := func() { // predict with both, then learn from the teacher
				images.CopyFrom(stream[step])
				model := func(s *graph.Scope, x []*graph.Node) *graph.Node {
					if name != "as it is" {
						s = s.ForTraining()
					}
					return logits(s, x[0])
				}
				if err := objectives.UpdateTeacher(teacher, student, .99); err != nil {
					t.Fatal(err)
				}
				scores.CopyFrom(compute(t, teacher, model, images))
				sum := compute(t, student, model, images)
				for i := range sum.Size() {
					sum.Set(i, sum.At(i)+scores.At(i))
				}
				wrong[name] += (1 - agreement(largest(sum), labels[step])) / float64(2*len(stream))
				step++
			}
			if name == "as it is" || name == "batch statistics" {
				for range stream {
					next()
				}
				continue
			}
			fit(t, student, []*graph.Array{images, scores}, len(stream), 1e-3, func(s *graph.Scope, x []*graph.Node) *graph.Node {
				return o.Loss(logits(s, x[0]), x[1])
			}, next)
		}
	}
	for name, e := range wrong {
		t.Logf("errors, %s: %.3f", name, e)
	}
	if !(wrong["as it is"] > wrong["batch statistics"]+.03 && wrong["teacher, symmetric"] < wrong["batch statistics"]+.002) {
		t.Error("the order is not as expected")
	}
}

// Values of a corridor with noisy rewards, learned from random moves with a target network: bins find them better than
// squared error does.
func TestEffectOfBinsOnTDTargets(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	const states, actions, batch, bins, seeds, discount = 10, 2, 64, 41, 3, 0.9
	move := func(s, a int) (next int, reward float64, end bool) { // to the left or the right; the last state ends it
		next = min(states-1, max(0, s+2*a-1))
		if next == states-1 {
			return next, 1, true
		}
		return next, 0, false
	}
	exact := make([]float64, states*actions)
	for range 1000 {
		for i := range exact {
			next, reward, end := move(i/actions, i%actions)
			exact[i] = reward
			if !end {
				exact[i] += discount * max(exact[next*actions], exact[next*actions+1])
			}
		}
	}
	hl := objectives.HLGaussOptions{Min: -2, Max: 3}
	var square [2]float64
	for k, c := range []struct {
		units int
		loss  objectives.Objective
		value func(q *graph.Node) *graph.Node // of [batch, actions, units]
	}{
		{1, func(x, y *graph.Node) *graph.Node { return objectives.MSE(graph.Reshape(x, batch), y) }, func(q *graph.Node) *graph.Node {
			return graph.Reshape(q, graph.ShapeOf(q)[:2]...)
		}},
		{bins, hl.Loss, hl.Value},
	} {
		q := func(s *graph.Scope, x *graph.Node) *graph.Node {
			out := models.MLP{Hidden: []int{64}, Classes: actions * c.units}.Apply(s, graph.OneHot(x, states, s.DType()))
			return graph.Reshape(out, -1, actions, c.units)
		}
		for seed := uint64(1); seed <= seeds; seed++ {
			r := rand.New(rand.NewPCG(seed, 6))
			params := &graph.Params{Seed: seed}
			ints := func(n int) *graph.Array { return graph.NewArray(graph.Int, n) }
			in := []*graph.Array{ints(batch), ints(batch), graph.NewArray(graph.Float32, batch)}
			all := ints(states)
			for i := range states {
				all.Ints()[i] = i
			}
			// The targets of all moves, without the noise, are from the parameters as they were some steps ago.
			reward, on := graph.NewArray(graph.Float32, states*actions), graph.NewArray(graph.Float32, states*actions)
			after := ints(states * actions)
			for i := range states * actions {
				next, gain, end := move(i/actions, i%actions)
				after.Ints()[i] = next
				reward.Set(i, gain)
				if !end {
					on.Set(i, discount)
				}
			}
			var target *graph.Array
			step := 0
			fit(t, params, in, 2000, 1e-3, func(s *graph.Scope, x []*graph.Node) *graph.Node {
				chosen := graph.BroadcastTo(graph.Reshape(x[1], batch, 1, 1), batch, 1, c.units)
				return c.loss(graph.Reshape(graph.TakeAlong(q(s, x[0]), chosen, 1), batch, c.units), x[2])
			}, func() {
				if step%50 == 0 {
					target = compute(t, params.Clone(), func(s *graph.Scope, x []*graph.Node) *graph.Node {
						return objectives.TDTarget(x[1], x[2], c.value(q(s, x[0])))
					}, after, reward, on)
				}
				step++
				for i := range batch {
					s, a := r.IntN(states-1), r.IntN(actions)
					in[0].Ints()[i], in[1].Ints()[i] = s, a
					in[2].Set(i, target.At(s*actions+a)+.5*r.NormFloat64())
				}
			})
			got := compute(t, params, func(s *graph.Scope, x []*graph.Node) *graph.Node { return c.value(q(s, x[0])) }, all)
			for i := range (states - 1) * actions {
				square[k] += math.Pow(got.At(i)-exact[i], 2) / (seeds * (states - 1) * actions)
			}
		}
	}
	t.Logf("mean squared error of the values: %.5f with mse, %.5f with hl-gauss", square[0], square[1])
	if !(square[1] < square[0] && square[1] < .05*.05) {
		t.Errorf("the order is not as expected")
	}
}
