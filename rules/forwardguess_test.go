package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// The projection of g = (3, 4) on v = (1, 1) is (3.5, 3.5), at cosine .989949; it is idempotent, does not depend on the
// length of v, is g for parallel v, 0 for orthogonal v, never longer than g and never against it. Averaged over the
// four sign vectors the unscaled estimate is g and the projection g/2.
func TestForwardGuessProjection(t *testing.T) {
	g := []float64{3, 4}
	project := func(g, v []float64, unscaled bool) []float64 {
		n := &guessNet{ForwardGuess: ForwardGuess{Unscaled: unscaled}}
		a := evaluate(t, nil, func(s *graph.Scope) []*graph.Node {
			slope := graph.Dot(literal(s, []int{2}, g...), literal(s, []int{2}, v...))
			move := literal(s, []int{2}, v...)
			return []*graph.Node{graph.Mul(n.coefficient(slope, graph.Sum(graph.Square(move))), move)}
		})[0]
		return []float64{a.At(0), a.At(1)}
	}
	p := project(g, []float64{1, 1}, false)
	closeTo(t, "projection", p, []float64{3.5, 3.5}, 1e-12)
	closeTo(t, "cosine", []float64{dot(p, g) / math.Sqrt(dot(p, p)*dot(g, g))}, []float64{.989949}, 1e-6)
	closeTo(t, "twice", project(p, []float64{1, 1}, false), p, 1e-12)
	closeTo(t, "longer guess", project(g, []float64{-7, -7}, false), p, 1e-12)
	closeTo(t, "parallel", project(g, []float64{.3, .4}, false), g, 1e-12)
	closeTo(t, "orthogonal", project(g, []float64{4, -3}, false), []float64{0, 0}, 1e-12)
	r := graph.Rand(1, "guess", 0)
	for range 20 {
		p := project(g, []float64{r.NormFloat64(), r.NormFloat64()}, false)
		if dot(p, p) > 25*(1+1e-12) || dot(p, g) < 0 {
			t.Errorf("projection %v of %v", p, g)
		}
	}
	mean, plain := make([]float64, 2), make([]float64, 2)
	for _, v := range [][]float64{{1, 1}, {1, -1}, {-1, 1}, {-1, -1}} {
		p, q := project(g, v, false), project(g, v, true)
		for i := range mean {
			mean[i] += p[i] / 4
			plain[i] += q[i] / 4
		}
	}
	closeTo(t, "mean of projections", mean, []float64{1.5, 2}, 1e-12)
	closeTo(t, "mean of unscaled estimates", plain, g, 1e-12)
}

// In all four variants the estimate is what reverse mode gives for the projection of the target's gradient on the
// guess; a guess that is the gradient itself gives the gradient.
func TestForwardGuessAgainstReverse(t *testing.T) {
	models := map[string]layers.Layer{
		"mlp": layers.Sequential{layers.Dense{Units: 4, Activation: layers.Tanh{}}, layers.LayerNorm{}},
		"cnn": layers.Sequential{
			layers.Reshape{Shape: []int{2, 3, 3}}, layers.Conv2D{Filters: 3, Kernel: layers.Both(2), Activation: layers.GELU{}},
			layers.Conv2D{Filters: 4, Padding: layers.Both(1), Stride: layers.Both(2), NoBias: true}, layers.Tanh{}, layers.Flatten{}},
		"rnn": layers.Sequential{layers.Reshape{Shape: []int{3, 6}}, layers.RNN{Units: 4}, layers.LastStep{}},
	}
	for name, hidden := range models {
		const batch = 4
		var h *graph.Node
		keep := layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { h = x; return x })
		p := newProblem(t, layers.Sequential{layers.Block{hidden, keep}, layers.Dense{Units: 3}}, batch, 18)
		var params []*graph.Node
		var target, guess judged
		n := &guessNet{s: p.s, objective: objectives.CrossEntropy, y: p.y, like: p.out}
		p.extend(t, func() {
			params = p.g.Trainable(h)
			target = n.judge(p.out)
			guess = n.judge(layers.Dense{Units: 3}.Apply(p.s.Root().Sub("aux"), h))
		})
		for _, space := range []Space{ActivationSpace, WeightSpace} {
			for _, perBatch := range []bool{true, false} {
				for _, self := range []bool{true, false} {
					what := fmt.Sprintf("%s: space %d, per batch %v, own guess %v", name, space, perBatch, self)
					v := guess
					if self {
						v = target
					}
					var got, want []*graph.Node
					p.extend(t, func() {
						n.ForwardGuess = ForwardGuess{Space: space, PerBatch: perBatch}
						if space == WeightSpace {
							got = n.inWeights(params, target, v)
							want = n.byReverseWeights(params, target, v)
						} else {
							got = n.inActivations(params, h, target, v)
							want = n.byReverseLogits(params, h, target, v)
						}
					})
					q := p.compile(t, slices.Concat(got, want, p.grads)...)
					run(t, q, 0)
					if space == WeightSpace || name != "rnn" {
						closeTo(t, what, flat(q, got), flat(q, want), 1e-7)
					}
					if self {
						for i, w := range params {
							closeTo(t, what+": "+w.Name(), flat(q, got[i:i+1]), flat(q, p.grads[slices.Index(p.params, w):][:1]), 1e-6)
						}
					}
				}
			}
		}
	}
}

// project is the projection of rows of g on rows of v, all as one row or one row an example.
func (n *guessNet) project(g, v *graph.Node, rows int) *graph.Node {
	shape := graph.ShapeOf(v)
	g, v = graph.Reshape(g, rows, -1), graph.Reshape(v, rows, -1)
	c := graph.Div(graph.Sum(graph.Mul(g, v), 1), graph.Sum(graph.Square(v), 1))
	return graph.Reshape(graph.Mul(graph.Reshape(c, rows, 1), v), shape...)
}

func (n *guessNet) byReverseWeights(params []*graph.Node, target, guess judged) []*graph.Node {
	grads := make([]*graph.Node, len(params))
	for i, p := range params {
		if n.PerBatch {
			grads[i] = n.project(graph.Grad(target.loss, p)[0], graph.Grad(guess.loss, p)[0], 1)
			continue
		}
		each := func(of judged) *graph.Node { // one example after the other
			var rows []*graph.Node
			for k := range graph.ShapeOf(of.scores)[0] {
				row := graph.Slice(losses(n.objective, of.scores, n.y), 0, k, k+1, 1)
				rows = append(rows, graph.Grad(graph.Sum(row), p)[0])
			}
			return graph.Stack(0, rows...)
		}
		batch := graph.ShapeOf(target.scores)[0]
		grads[i] = graph.Mean(n.project(each(target), each(guess), batch), 0)
	}
	return grads
}

// byReverseLogits goes from each logit to its parameters by reverse mode; right where no logit depends on an earlier
// use of the same parameter.
func (n *guessNet) byReverseLogits(params []*graph.Node, out *graph.Node, target, guess judged) []*graph.Node {
	grads := make([]*graph.Node, len(params))
	for _, u := range n.s.Graph().Uses(out) {
		rows := 1
		if !n.PerBatch {
			rows = graph.ShapeOf(u.Logit)[0]
		}
		z := n.project(graph.Grad(target.loss, u.Logit)[0], graph.Grad(guess.loss, u.Logit)[0], rows)
		grads[slices.Index(params, u.Param)] = graph.VJP([]*graph.Node{u.Logit}, []*graph.Node{z}, []*graph.Node{u.Param})[0]
	}
	return grads
}

// With one block the rule is gradient descent, and a local guess never sees what comes behind its block: other weights
// there change its length only.
func TestForwardGuessBlocks(t *testing.T) {
	d := toy(64)
	sgd := optim.SGD{LR: 0.1}
	spec := SpecOf(d, 16, 3)
	spec.DType = graph.Float64
	var stores []*graph.Params
	for _, r := range []Rule{Backprop{Optimizer: sgd}, ForwardGuess{Optimizer: sgd}, ForwardGuess{Optimizer: sgd, Space: WeightSpace, Guess: NTKGuess}} {
		tr, err := r.Trainer(layers.Block{mlp(5)}, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Fit(t.Context(), tr, d, Config{}); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, tr.Params())
	}
	for _, other := range stores[1:] {
		for p := range stores[0].All() {
			for i := range p.Value.Size() {
				if a, b := p.Value.At(i), other.Get(p.Name).Value.At(i); math.Abs(a-b) > 1e-12 {
					t.Fatalf("%s[%d]: backprop %v, one block %v", p.Name, i, a, b)
				}
			}
		}
	}

	tr, err := ForwardGuess{Space: WeightSpace, PerBatch: true}.Trainer(mlp(5, 5), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBatch(spec)
	if err := b.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 0); err != nil {
		t.Fatal(err)
	}
	ph := tr.(*trainer).phases[0]
	first := func() (v []float64) {
		if err := ph.run(b, 0); err != nil {
			t.Fatal(err)
		}
		for i, p := range ph.params[0] {
			if p.Name == "dense1/weight" {
				for j := range p.Value.Size() {
					v = append(v, ph.grads[0][i].At(j))
				}
			}
		}
		return v
	}
	before := first()
	w := tr.Params().Get("dense2/weight").Value
	for i := range w.Size() {
		w.Set(i, -2*w.At(i)+0.1)
	}
	after := first()
	cos := dot(before, after) / math.Sqrt(dot(before, before)*dot(after, after))
	if math.Abs(math.Abs(cos)-1) > 1e-12 || math.Abs(dot(before, before)-dot(after, after)) < 1e-12 {
		t.Errorf("cosine of the directions %v, squared lengths %v and %v", cos, dot(before, before), dot(after, after))
	}
}

// An untrained auxiliary net is drawn anew in each step or stays; it is never trained.
func TestForwardGuessUntrained(t *testing.T) {
	d := toy(64)
	for _, guess := range []Guess{NTKGuess, FixedNTKGuess} {
		tr, err := ForwardGuess{Guess: guess, Auxiliary: AuxMLP(50)}.Trainer(mlp(40, 5), objectives.CrossEntropy, SpecOf(d, 16, 3))
		if err != nil {
			t.Fatal(err)
		}
		const name = "forward-guess/block1/guess/dense1/weight"
		q := tr.Params().Get(name)
		if q == nil {
			t.Fatalf("no parameter %s", name)
		}
		first := q.Value.Clone()
		if _, err := Fit(t.Context(), tr, d, Config{}); err != nil {
			t.Fatal(err)
		}
		var same, product, a2, b2 float64
		n := first.Size()
		for i := range n {
			a, b := first.At(i), q.Value.At(i)
			if a == b {
				same++
			}
			product, a2, b2 = product+a*b, a2+a*a, b2+b*b
		}
		if guess == FixedNTKGuess {
			if int(same) != n {
				t.Errorf("fixed guess: %d of %d weights changed", n-int(same), n)
			}
			continue
		}
		if cos := product / math.Sqrt(a2*b2); math.Abs(cos) > 4/math.Sqrt(float64(n)) || math.Abs(b2/a2-1) > 4*math.Sqrt(2/float64(n)) {
			t.Errorf("redrawn guess: cosine %v to the first one, squared length %v of it", cos, b2/a2)
		}
	}
}

// Every target with every guess, in either space, per example or per batch, scaled or not, trains models of every kind;
// a scaled guess of a whole parameter for the model's loss never goes against the gradient.
func TestForwardGuessGrid(t *testing.T) {
	d := toy(32)
	spec := SpecOf(d, 16, 3)
	sequence := layers.Reshape{Shape: []int{2, 2}}
	models := map[string]layers.Layer{
		"mlp":  mlp(5, 4),
		"cnn":  layers.Sequential{layers.Reshape{Shape: []int{1, 2, 2}}, layers.Conv2D{Filters: 3, Kernel: layers.Both(2), Padding: layers.Both(1), Activation: layers.Tanh{}}, layers.Flatten{}, layers.Dense{Units: 3}},
		"lstm": layers.Sequential{layers.Block{sequence, layers.LSTM{Units: 3}, layers.LastStep{}}, layers.Dense{Units: 3}},
	}
	b, rows := NewBatch(spec), make([]int, 16)
	for i := range rows {
		rows[i] = i
	}
	if err := b.Fill(d, rows, 0); err != nil {
		t.Fatal(err)
	}
	for name, model := range models {
		for code := range 2 * 5 * 2 * 2 * 2 {
			r := ForwardGuess{Target: Target(code % 2), Guess: Guess(code / 2 % 5), Space: Space(code / 10 % 2), PerBatch: code/20%2 == 1, Unscaled: code/40 == 1, Optimizer: optim.SGD{LR: 1e-3}}
			what := fmt.Sprintf("%s, %+v", name, r)
			tr, err := r.Trainer(model, objectives.CrossEntropy, spec)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			if r.Target == GlobalTarget && r.Space == WeightSpace && r.PerBatch && !r.Unscaled {
				for i, g := range gradientsOf(t, tr, model, b) {
					own := floats(tr.(*trainer).phases[0].grads[0][i])
					if g != nil && dot(own, g) < -1e-6*math.Sqrt(dot(own, own)*dot(g, g)) {
						t.Errorf("%s: direction of %s against the gradient", what, tr.(*trainer).phases[0].params[0][i].Name)
					}
				}
			}
			before := tr.Params().Clone()
			for range 2 {
				if _, err := tr.Step(b); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			for q := range before.All() {
				trained := !strings.Contains(q.Name, "/guess/") && !q.State
				if trained && !moved(before, tr.Params(), q.Name) {
					t.Errorf("%s: %s did not move", what, q.Name)
				}
			}
		}
	}
}

// gradientsOf runs a trainer's program on a batch and returns, for each of its parameters, the reverse-mode gradient;
// nil for those of its own.
func gradientsOf(t *testing.T, tr Trainer, model layers.Layer, b *Batch) [][]float64 {
	t.Helper()
	a, err := NewAlignment(tr, model, objectives.CrossEntropy)
	if err != nil {
		t.Fatal(err)
	}
	ph := tr.(*trainer).phases[0]
	if err := ph.run(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := a.truth.run(b, 0); err != nil {
		t.Fatal(err)
	}
	list := make([][]float64, len(ph.params[0]))
	for i, q := range ph.params[0] {
		if j := slices.Index(a.truth.params[0], q); j >= 0 {
			list[i] = floats(a.truth.grads[0][j])
		}
	}
	return list
}

// Random guesses of the logits or weights are unbiased without scaling: their mean points along the gradient.
func TestForwardGuessUnbiased(t *testing.T) {
	d := toy(8)
	spec := SpecOf(d, 8, 7)
	spec.DType = graph.Float64
	b := NewBatch(spec)
	if err := b.Fill(d, []int{0, 1, 2, 3, 4, 5, 6, 7}, 0); err != nil {
		t.Fatal(err)
	}
	for _, guess := range []Guess{GaussianGuess, RademacherGuess} {
		for _, space := range []Space{ActivationSpace, WeightSpace} {
			for _, perBatch := range []bool{true, false} {
				tr, err := ForwardGuess{Guess: guess, Space: space, PerBatch: perBatch, Unscaled: true}.Trainer(mlp(4), objectives.CrossEntropy, spec)
				if err != nil {
					t.Fatal(err)
				}
				a, err := NewAlignment(tr, mlp(4), objectives.CrossEntropy)
				if err != nil {
					t.Fatal(err)
				}
				cos, ratio, err := a.Measure(b, 0, 8000)
				if err != nil {
					t.Fatal(err)
				}
				if cos < 0.98 || math.Abs(ratio-1) > 0.05 {
					t.Errorf("guess %d, space %d, per batch %v: cosine %.4f, length %.4f", guess, space, perBatch, cos, ratio)
				}
			}
		}
	}
}

func TestForwardGuessErrors(t *testing.T) {
	d := toy(8)
	for name, r := range map[string]ForwardGuess{"Guess": {Guess: 9}, "Target": {Target: -1}, "Space": {Space: 3}} {
		_, err := r.Trainer(mlp(4), objectives.CrossEntropy, SpecOf(d, 8, 1))
		wantError(t, err, "forward-guess", name)
	}
	own := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		return graph.MatMul(x, graph.Softmax(s.Param("mixing", graph.Zeros(), 4, 4), 0))
	})
	_, err := ForwardGuess{}.Trainer(layers.Sequential{own, layers.Dense{Units: 4}, layers.Dense{Units: 3}}, objectives.CrossEntropy, SpecOf(d, 8, 1))
	wantError(t, err, "forward-guess", "mixing", "matmul, conv2d")
	if _, err := (ForwardGuess{Space: WeightSpace, PerBatch: true}).Trainer(layers.Sequential{own, layers.Dense{Units: 4}, layers.Dense{Units: 3}}, objectives.CrossEntropy, SpecOf(d, 8, 1)); err != nil {
		t.Errorf("one coefficient a parameter needs no formula of the layer: %v", err)
	}
}
