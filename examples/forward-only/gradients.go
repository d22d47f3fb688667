package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// An entry is a rule in a comparison, with what it needs.
type entry struct {
	name   string
	rule   rules.Rule
	epochs int
}

// A score is what an entry reached with each seed.
type score struct {
	right, seconds, cosine []float64
	epochs                 int
}

// compete trains each entry with every seed and draws accuracy against time for the first one. The cosine is that of
// the entry's first direction to the gradient, over a whole batch.
func compete(s *story, title string, model layers.Layer, batch int, entries []entry) (map[string]*score, error) {
	scores := map[string]*score{}
	plot := notebook.Plot{Title: title, X: "seconds of training", Y: "test accuracy, %"}
	for _, e := range entries {
		sc := &score{}
		scores[e.name] = sc
		err := s.each(func(seed uint64) error {
			train, test, err := parts(s, seed)
			if err != nil {
				return err
			}
			t, err := e.rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, batch, seed))
			if err != nil {
				return err
			}
			cos, err := alignment(t, model, train, 5)
			if err != nil {
				return err
			}
			epochs := epochsOf(s, e, train)
			bar := s.Progress(e.name, epochs*(train.Len()/batch))
			defer bar.Done()
			h, err := rules.Fit(s.ctx, t, train, rules.Config{Epochs: epochs, Validation: test, OnStep: func(p rules.Progress) error {
				bar.Set(p.Step, fmt.Sprintf("loss %.3f", p.Loss))
				return nil
			}})
			if err != nil {
				return err
			}
			sc.right, sc.seconds, sc.cosine = append(sc.right, h.Last().Accuracy), append(sc.seconds, h.Last().Seconds), append(sc.cosine, cos)
			sc.epochs = epochs
			if seed == s.seed {
				line := notebook.Line{Name: e.name}
				for _, r := range h.Records {
					line.X, line.Y = append(line.X, r.Seconds), append(line.Y, 100*r.Accuracy)
				}
				plot.Lines = append(plot.Lines, line)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	t := notebook.Table{Title: title, Header: []string{"rule", "epochs", "test accuracy", "cosine at the start", "seconds"}}
	for _, e := range entries {
		sc := scores[e.name]
		t.Rows = append(t.Rows, []string{e.name, fmt.Sprint(sc.epochs), percent(sc.right), fmt.Sprintf("%.3f", mean(sc.cosine)), fmt.Sprintf("%.1f", mean(sc.seconds))})
	}
	s.Table(t)
	s.Plot(plot)
	return scores, nil
}

// title names the data set.
func title(s *story) string { return strings.ToUpper(s.data[:1]) + s.data[1:] }

// parts is the training and the test part of the data set that was asked for, as images.
func parts(s *story, seed uint64) (train, test *data.Set, err error) {
	if train, test, err = data.ByName(s.data, s.dir); err == nil && test == nil {
		train, test, err = train.Split(seed, 0.2)
	}
	if err != nil {
		return nil, nil, err
	}
	return image(train), image(test), nil
}

// epochsOf is how long an entry trains: on a large set a twentieth of what it does on the digits.
func epochsOf(s *story, e entry, d *data.Set) int {
	if d.Len() > 10000 {
		return s.steps(max(e.epochs/20, 1))
	}
	return s.steps(e.epochs)
}

// expect is Expect for what is known of the digits alone.
func expect(s *story, claim string, ok bool, got string) {
	if s.data == "digits" {
		s.Expect(claim, ok, got)
	}
}

// alignment is the mean size of the cosine of a trainer's next n directions on the first batch to the gradient.
func alignment(t rules.Trainer, model layers.Layer, d *data.Set, n int) (float64, error) {
	a, err := rules.NewAlignment(t, model, objectives.CrossEntropy)
	if err != nil {
		return 0, err
	}
	b := rules.NewBatch(t.Spec())
	if err := b.Fill(d, everything(t.Spec().Batch), 0); err != nil {
		return 0, err
	}
	sum := 0.0
	for step := range n {
		cos, _, err := a.Measure(b, step, 1)
		if err != nil {
			return 0, err
		}
		sum += math.Abs(cos) / float64(n)
	}
	return sum, nil
}

// functions are the test functions of the forward gradient's paper, with what their page needs.
var functions = []struct {
	name  string
	f     func(x, y *graph.Node) *graph.Node
	start []float64
	rate  float64
}{
	{"Beale", func(x, y *graph.Node) *graph.Node {
		term := func(c float64, y *graph.Node) *graph.Node {
			return graph.Square(graph.Add(graph.Shift(graph.Neg(x), c), graph.Mul(x, y)))
		}
		y2 := graph.Square(y)
		return graph.Add(graph.Add(term(1.5, y), term(2.25, y2)), term(2.625, graph.Mul(y2, y)))
	}, []float64{1, 0.5}, 0.01},
	{"Rosenbrock", func(x, y *graph.Node) *graph.Node {
		return graph.Add(graph.Square(graph.OneMinus(x)), graph.Scale(graph.Square(graph.Sub(y, graph.Square(x))), 100))
	}, []float64{-1, 0}, 5e-4},
}

func tellTangents(s *story) error {
	s.Heading("One tangent for a gradient")
	s.Text("Forward mode carries a value and its derivative along a direction $v$ through the model side by side. A. Baydin " +
		"and others (2022, arXiv 2202.08587) train with nothing else: $(\\nabla f \\cdot v)\\,v$ is an unbiased estimate of " +
		"$\\nabla f$ if $E\\,vv^T = I$. On two functions of two variables it goes where gradient descent goes, by a rougher way.")
	for _, f := range functions {
		if err := descend(s, f.name, f.f, f.start, f.rate); err != nil {
			return err
		}
	}
	if err := tangentVariance(s); err != nil {
		return err
	}
	if err := stepCosts(s); err != nil {
		return err
	}
	mlp := models.MLP{Hidden: []int{64, 64}, Classes: 10}
	forward := func(lr float64, k int, p rules.Perturbation) rules.Rule {
		return rules.ForwardGradient{Optimizer: optim.SGD{LR: lr}, Tangents: k, Perturbation: p, Options: clipped}
	}
	layer := rules.ForwardGradient{Optimizer: optim.SGD{LR: 6e-3}, Perturbation: rules.RankOne, OneLayer: true, Options: clipped}
	scores, err := compete(s, title(s)+", a perceptron, at equal steps", mlp, 64, []entry{
		{"backprop", rules.Backprop{Optimizer: optim.SGD{LR: 0.3}}, 60},
		{"1 Gaussian tangent", forward(6e-3, 1, rules.Gaussian), 60},
		{"1 rank-one tangent", forward(6e-3, 1, rules.RankOne), 60},
		{"1 rank-one tangent of one layer", layer, 60},
		{"8 Gaussian tangents", forward(1e-2, 8, rules.Gaussian), 60},
		{"32 Gaussian tangents", forward(3e-2, 32, rules.Gaussian), 60},
		{"8 orthogonal tangents", forward(1e-2, 8, rules.Orthogonal), 60},
	})
	if err != nil {
		return err
	}
	one, many, all := mean(scores["1 Gaussian tangent"].right), mean(scores["32 Gaussian tangents"].right), mean(scores["backprop"].right)
	expect(s, "at equal steps backprop reaches more than 32 tangents and 32 more than one", all > many && many > one,
		fmt.Sprintf("%.3f, %.3f, %.3f", all, many, one))
	for _, name := range []string{"1 rank-one tangent", "1 rank-one tangent of one layer"} {
		expect(s, name+" is worth a Gaussian one", mean(scores[name].right) > one-0.03, percent(scores[name].right))
	}
	return nil
}

// descend follows a function of two variables by gradients and by forward gradients.
func descend(s *story, name string, f func(x, y *graph.Node) *graph.Node, start []float64, rate float64) error {
	objective := func(out, _ *graph.Node) *graph.Node {
		return graph.Reshape(f(graph.Slice(out, 0, 0, 1, 1), graph.Slice(out, 0, 1, 2, 1)))
	}
	spec := rules.Spec{Input: []int{1}, Target: []int{1}, Batch: 1, Seed: s.seed, DType: graph.Float64}
	plot := notebook.Plot{Title: name, X: "steps", Y: "value", LogY: true}
	var last []float64
	for _, e := range []entry{
		{"gradient descent", rules.Backprop{Optimizer: optim.SGD{LR: rate}}, 0},
		{"forward gradient", rules.ForwardGradient{Optimizer: optim.SGD{LR: rate}}, 0},
		{"forward gradient, 2 orthogonal tangents", rules.ForwardGradient{Optimizer: optim.SGD{LR: rate}, Tangents: 2, Perturbation: rules.Orthogonal}, 0},
	} {
		t, err := e.rule.Trainer(place(start...), objective, spec)
		if err != nil {
			return err
		}
		b, line := rules.NewBatch(spec), notebook.Line{Name: e.name}
		for range 1000 {
			v, err := t.Step(b)
			if err != nil {
				return err
			}
			line.Y = append(line.Y, v)
		}
		plot.Lines = append(plot.Lines, line)
		last = append(last, line.Y[len(line.Y)-1])
	}
	s.Plot(plot)
	s.Check(name+": the forward gradient descends like the gradient", last[1] < plot.Lines[1].Y[0]/10, fmt.Sprintf("%.2g, from %.2g", last[1], plot.Lines[1].Y[0]))
	s.Check(name+": two orthogonal tangents of two variables are the gradient", math.Abs(last[2]-last[0]) <= 1e-9*(1+last[0]), fmt.Sprintf("%.6g and %.6g", last[2], last[0]))
	return nil
}

// tangentVariance compares the error of the estimate with theory.
func tangentVariance(s *story) error {
	model := models.MLP{Hidden: []int{16}, Classes: 10}
	train, _, err := split(s.seed)
	if err != nil {
		return err
	}
	plot := notebook.Plot{Title: "Error of the estimate", X: "tangents", Y: "E|estimate - gradient|² / |gradient|²", LogX: true, LogY: true}
	t := notebook.Table{Title: "Relative squared error of the estimate: measured / theory", Header: []string{"tangents", "Gaussian", "Rademacher", "sparse", "orthogonal", "rank one"}}
	counts := []int{1, 4, 16, 64}
	rows := make([][]string, len(counts))
	worst := 0.0
	for _, p := range []rules.Perturbation{rules.Gaussian, rules.Rademacher, rules.Sparse, rules.Orthogonal, rules.RankOne} {
		line := notebook.Line{Name: []string{"Gaussian", "Rademacher", "sparse", "orthogonal", "rank one"}[p]}
		for i, k := range counts {
			tr, err := rules.ForwardGradient{Perturbation: p, Tangents: k}.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 64, s.seed))
			if err != nil {
				return err
			}
			measured, size, err := errorOf(tr, model, train, s.steps(2000)/k+20)
			if err != nil {
				return err
			}
			theory := (size - 1) / float64(k)
			switch p {
			case rules.Gaussian:
				theory = (size + 1) / float64(k)
			case rules.Sparse:
				theory = (size - 2 + 10) / float64(k)
			case rules.Orthogonal:
				theory = size/float64(k) - 1
			}
			worst = max(worst, math.Abs(math.Log(measured/theory)))
			line.X, line.Y = append(line.X, float64(k)), append(line.Y, measured)
			if p == rules.Gaussian {
				rows[i] = []string{fmt.Sprint(k)}
			}
			rows[i] = append(rows[i], fmt.Sprintf("%.1f / %.1f", measured, theory))
		}
		plot.Lines = append(plot.Lines, line)
	}
	t.Rows = rows
	s.Table(t)
	s.Plot(plot)
	one, err := rules.ForwardGradient{Perturbation: rules.RankOne, OneLayer: true}.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 64, s.seed))
	if err != nil {
		return err
	}
	measured, size, err := errorOf(one, model, train, s.steps(8000))
	if err != nil {
		return err
	}
	s.Text("If each step moves one layer, drawn with its share of the parameters for a probability, and its estimate is divided " +
		"by that, the error is the same, and the tangent begins at that layer only.")
	s.Expect("the error of a rank-one tangent of one layer is P - 1 too", math.Abs(math.Log(measured/(size-1))) < 0.35, fmt.Sprintf("%.0f, %.0f", measured, size-1))
	s.Expect("the error of the estimate is what theory says", worst < 0.35, fmt.Sprintf("largest ratio %.2f", math.Exp(worst)))
	return nil
}

// errorOf is the mean relative squared error of a trainer's directions, and the number of parameters.
func errorOf(t rules.Trainer, model layers.Layer, d *data.Set, draws int) (measured, size float64, err error) {
	a, err := rules.NewAlignment(t, model, objectives.CrossEntropy)
	if err != nil {
		return 0, 0, err
	}
	b := rules.NewBatch(t.Spec())
	if err := b.Fill(d, everything(t.Spec().Batch), 0); err != nil {
		return 0, 0, err
	}
	for step := range draws {
		cos, ratio, err := a.Measure(b, step, 1)
		if err != nil {
			return 0, 0, err
		}
		measured += (1 + ratio*ratio - 2*ratio*cos) / float64(draws)
	}
	return measured, float64(t.Params().Count()), nil
}

// stepCosts is the paper's comparison of run times.
func stepCosts(s *story) error {
	image := layers.Reshape{Shape: []int{1, 28, 28}}
	perceptron := models.MLP{Hidden: []int{1000, 1000}, Classes: 10}
	sgd, adam := optim.SGD{LR: 1e-4}, optim.Adam{LR: 1e-4}
	for _, m := range []struct {
		name      string
		model     layers.Layer
		optimizer optim.Optimizer
		sparing   bool // a step of one layer is to take at most 0.6 of backprop's time
	}{
		{"logistic regression, SGD", layers.Dense{Units: 10}, sgd, false},
		{"perceptron 784-1000-1000-10, SGD", perceptron, sgd, true},
		{"perceptron 784-1000-1000-10, Adam", perceptron, adam, true},
		{"convolutional network, SGD", layers.Sequential{image, models.CNN{Channels: []int{16, 32}, Hidden: []int{128}, Classes: 10}}, sgd, false},
	} {
		forward := func(p rules.Perturbation, one bool) rules.Rule {
			return rules.ForwardGradient{Optimizer: m.optimizer, Perturbation: p, OneLayer: one}
		}
		names := []string{"backprop", "Gaussian tangent", "rank-one tangent", "Gaussian, one layer", "rank-one, one layer"}
		costs, err := rules.MeasureCost(m.model, objectives.CrossEntropy, rules.Spec{Input: []int{784}, Classes: 10, Batch: 128, Seed: s.seed}, s.steps(60),
			rules.Backprop{Optimizer: m.optimizer}, forward(rules.Gaussian, false), forward(rules.RankOne, false), forward(rules.Gaussian, true), forward(rules.RankOne, true))
		if err != nil {
			return err
		}
		back := costs[0]
		t := notebook.Table{Title: "A step of the " + m.name, Header: []string{"rule", "ms", "over a forward pass", "over backprop", "operations over a forward pass", "over backprop", "MB beside parameters"}}
		over := func(a, b int) string { return fmt.Sprintf("%.2f", float64(a)/float64(b)) }
		var reverse []string
		holds := true
		for i, c := range costs {
			t.Rows = append(t.Rows, []string{names[i], fmt.Sprintf("%.2f", 1e3*c.Step.Seconds()), fmt.Sprintf("%.2f", c.Ratio()), over(int(c.Step), int(back.Step)),
				over(c.StepFlops, c.ForwardFlops), over(c.StepFlops, back.StepFlops), fmt.Sprintf("%.1f", float64(c.StepMemory)/1e6)})
			reverse, holds = append(reverse, fmt.Sprint(c.Reverse)), holds && (c.Reverse == 0) == (i > 0)
		}
		s.Table(t)
		s.Check(m.name+": only backprop has instructions made by reverse rules", holds, strings.Join(reverse, ", "))
		if c := costs[4]; m.sparing {
			memory := func(c rules.Cost) float64 {
				return float64(c.StepMemory+c.Parameters) / float64(c.ForwardMemory+c.Parameters)
			}
			s.Check(m.name+": a step with a rank-one tangent of one layer makes at most half of backprop's operations", 2*c.StepFlops <= back.StepFlops,
				fmt.Sprintf("%.3f", float64(c.StepFlops)/float64(back.StepFlops)))
			s.Expect(m.name+": and takes at most 0.6 of its time", float64(c.Step) <= 0.6*float64(back.Step), fmt.Sprintf("%.3f", float64(c.Step)/float64(back.Step)))
			s.Check(m.name+": with its parameters it needs at most 1.1 times the memory of a forward pass", memory(c) <= 1.1,
				fmt.Sprintf("%.2f; backprop %.2f", memory(c), memory(back)))
		}
	}
	return nil
}

func tellGuesses(s *story) error {
	s.Heading("A guess for a tangent")
	s.Text("A random direction is almost at right angles to the gradient. L. Fournier and others (2023, arXiv 2306.06968) " +
		"ask forward mode about a better one: the gradient of a small loss that sees one block alone. The update is the " +
		"projection of the gradient on that guess, $\\frac{\\langle g, v\\rangle}{|v|^2} v$; no derivative passes from block " +
		"to block. (The blocks end in tanh: with ReLU a fixed guess, which always pushes the same way, can switch all units " +
		"of a block off for good.)")
	model := models.MLP{Hidden: []int{64, 64, 64}, Classes: 10, Activation: layers.Tanh{}}
	sgd := optim.SGD{LR: 0.1}
	small := optim.SGD{LR: 1e-3}
	guess := func(o optim.Optimizer, r rules.ForwardGuess) rules.Rule {
		r.Optimizer, r.Auxiliary, r.Options = o, rules.AuxMLP(32), clipped
		return r
	}
	const epochs = 60
	entries := []entry{
		{"backprop", rules.Backprop{Optimizer: sgd}, epochs},
		{"local loss alone", guess(sgd, rules.ForwardGuess{Target: rules.LocalTarget}), epochs},
		{"local guess, activations", guess(sgd, rules.ForwardGuess{}), epochs},
		{"local guess, activations, per batch", guess(sgd, rules.ForwardGuess{PerBatch: true}), epochs},
		{"local guess, weights", guess(sgd, rules.ForwardGuess{Space: rules.WeightSpace}), epochs},
		{"local guess, weights, per batch", guess(sgd, rules.ForwardGuess{Space: rules.WeightSpace, PerBatch: true}), epochs},
		{"NTK guess, activations", guess(sgd, rules.ForwardGuess{Guess: rules.NTKGuess}), epochs},
		{"fixed NTK guess, activations", guess(sgd, rules.ForwardGuess{Guess: rules.FixedNTKGuess}), epochs},
		{"random, activations", guess(sgd, rules.ForwardGuess{Guess: rules.GaussianGuess}), epochs},
		{"random, weights", guess(sgd, rules.ForwardGuess{Guess: rules.GaussianGuess, Space: rules.WeightSpace}), epochs},
		{"random, weights, per batch", guess(sgd, rules.ForwardGuess{Guess: rules.GaussianGuess, Space: rules.WeightSpace, PerBatch: true}), epochs},
		{"random, weights, unscaled", guess(small, rules.ForwardGuess{Guess: rules.RademacherGuess, Space: rules.WeightSpace, PerBatch: true, Unscaled: true}), epochs},
		{"random, local target, activations", guess(sgd, rules.ForwardGuess{Guess: rules.RademacherGuess, Target: rules.LocalTarget}), epochs},
	}
	scores, err := compete(s, title(s)+", three blocks of 64", model, 64, entries)
	if err != nil {
		return err
	}
	value := func(name string) float64 { return mean(scores[name].right) }
	back := value("backprop")
	for _, name := range []string{"local guess, activations", "local guess, weights"} {
		expect(s, name+": within 1.5 points of backprop", value(name) > back-0.015, fmt.Sprintf("%.3f, %.3f", value(name), back))
	}
	for _, name := range []string{"random, weights, per batch", "random, weights, unscaled"} {
		expect(s, name+": far behind a local guess", value(name) < value("local guess, weights")-0.05, fmt.Sprintf("%.3f", value(name)))
	}
	expect(s, "a local guess is far better aligned than a random one", mean(scores["local guess, weights, per batch"].cosine) > 5*mean(scores["random, weights, per batch"].cosine),
		fmt.Sprintf("%.3f, %.3f", mean(scores["local guess, weights, per batch"].cosine), mean(scores["random, weights, per batch"].cosine)))

	cnn := models.CNN{Channels: []int{8, 16}, Hidden: []int{32}, Classes: 10}
	adam := optim.Adam{LR: 2e-3}
	scores, err = compete(s, title(s)+", a convolutional network", cnn, 64, []entry{
		{"backprop", rules.Backprop{Optimizer: adam}, 15},
		{"local guess, activations", guess(adam, rules.ForwardGuess{}), 15},
		{"local guess, weights, per batch", guess(adam, rules.ForwardGuess{Space: rules.WeightSpace, PerBatch: true}), 15},
		{"random, activations", guess(adam, rules.ForwardGuess{Guess: rules.GaussianGuess}), 15},
	})
	if err != nil {
		return err
	}
	expect(s, "convolutional network: a local guess is ahead of a random one", value("local guess, activations") > value("random, activations"),
		fmt.Sprintf("%.3f, %.3f", value("local guess, activations"), value("random, activations")))
	return nil
}

func tellLikelihood(s *story) error {
	s.Heading("Noise for a tangent")
	s.Text("J. Jiang and others (2023, arXiv 2305.08960) add noise behind a layer and correlate it with the losses: " +
		"$\\nabla_\\theta E L(\\phi + \\sigma\\epsilon) = E[L\\, J^T\\epsilon/\\sigma]$. A pair of opposite draws takes away " +
		"most of the variance, and a layer's own forward passes the noise of the others. Nothing behind the noise need be " +
		"differentiable.")
	model := models.MLP{Hidden: []int{64, 64}, Classes: 10}
	adam := optim.Adam{LR: 3e-3}
	ratio := func(r rules.LikelihoodRatio) rules.Rule {
		r.Optimizer = adam
		return r
	}
	scores, err := compete(s, title(s)+", a perceptron", model, 100, []entry{
		{"backprop", rules.Backprop{Optimizer: adam}, 20},
		{"1 pair", ratio(rules.LikelihoodRatio{}), 20},
		{"5 pairs", ratio(rules.LikelihoodRatio{Draws: 5}), 20},
		{"20 pairs", ratio(rules.LikelihoodRatio{Draws: 20}), 20},
		{"5 pairs, Sobol points", ratio(rules.LikelihoodRatio{Draws: 5, Sampler: rules.SobolPoints}), 20},
		{"5 pairs, all layers at once", ratio(rules.LikelihoodRatio{Draws: 5, Joint: true}), 20},
		{"5 pairs, noise of the weights", ratio(rules.LikelihoodRatio{Draws: 5, Noise: rules.WeightNoise}), 5},
		{"40 draws without opposites", ratio(rules.LikelihoodRatio{Draws: 40, OneSided: true}), 20},
	})
	if err != nil {
		return err
	}
	value := func(name string) float64 { return mean(scores[name].right) }
	expect(s, "more pairs reach more", value("20 pairs") > value("1 pair"), fmt.Sprintf("%.3f, %.3f", value("20 pairs"), value("1 pair")))
	expect(s, "20 pairs come within 2 points of backprop", value("20 pairs") > value("backprop")-0.02, fmt.Sprintf("%.3f, %.3f", value("20 pairs"), value("backprop")))
	expect(s, "40 draws without opposites stay behind one pair", value("40 draws without opposites") < value("1 pair"), fmt.Sprintf("%.3f", value("40 draws without opposites")))

	sign := layers.Activation(graph.Sign)
	steps := layers.Sequential{layers.Dense{Units: 64, Activation: sign}, layers.Dense{Units: 64, Activation: sign}, layers.Dense{Units: 10}}
	scores, err = compete(s, title(s)+", a perceptron of steps", layers.Sequential{layers.Flatten{}, steps}, 100, []entry{
		{"backprop", rules.Backprop{Optimizer: adam}, 20}, // reaches the last layer alone
		{"20 pairs", ratio(rules.LikelihoodRatio{Draws: 20}), 20},
		{"20 pairs, wide noise", ratio(rules.LikelihoodRatio{Draws: 20, Sigma: 0.5}), 20},
	})
	if err != nil {
		return err
	}
	expect(s, "with steps for activations the likelihood ratio is 5 points ahead of training the last layer alone", value("20 pairs") > value("backprop")+0.05,
		fmt.Sprintf("%.3f, %.3f", value("20 pairs"), value("backprop")))

	cnn := models.CNN{Channels: []int{8, 16}, Hidden: []int{32}, Classes: 10}
	scores, err = compete(s, title(s)+", a convolutional network", cnn, 64, []entry{
		{"backprop", rules.Backprop{Optimizer: adam}, 8},
		{"5 pairs", ratio(rules.LikelihoodRatio{Draws: 5}), 8},
		{"5 pairs, learned deviations", ratio(rules.LikelihoodRatio{Draws: 5, LearnSigma: true, Baseline: true}), 8},
		{"1 pair above the last layers' cut", ratio(rules.LikelihoodRatio{Cut: "block2"}), 8},
	})
	if err != nil {
		return err
	}
	expect(s, "convolutional network: 5 pairs learn the digits", value("5 pairs") > 0.8, percent(scores["5 pairs"].right))
	return nil
}
