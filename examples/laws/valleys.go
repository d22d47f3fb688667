package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func valleysPage(e *story) error {
	e.Text(`
		*Entropy-SGD* does not descend the loss $f$ but the *local entropy* $F(x) = \log \int e^{-f(x') - \frac{\gamma}{2}(x - x')^2} dx'$,
		which is high in valleys that are wide. Here is a loss with a narrow deep valley and a wide shallow one, and its
		local entropy for several $\gamma$.`)
	f := func(x float64) float64 {
		return -3*math.Exp(-(x+1)*(x+1)/(2*0.02*0.02)) - 2*math.Exp(-(x-1)*(x-1)/(2*0.4*0.4))
	}
	plot := notebook.Plot{X: "x", Y: "f and -F"}
	loss := notebook.Line{Name: "f"}
	for x := -2.0; x <= 2.5; x += 0.01 {
		loss.X, loss.Y = append(loss.X, x), append(loss.Y, f(x))
	}
	plot.Lines = append(plot.Lines, loss)
	lowest := map[float64]float64{}
	for _, gamma := range []float64{10, 100, 1e4} {
		line := notebook.Line{Name: fmt.Sprintf("-F, γ = %v", gamma)}
		least := math.Inf(1)
		for x := -2.0; x <= 2.5; x += 0.02 {
			v := -rules.LocalEntropy(f, x, gamma) + 0.5*math.Log(2*math.Pi/gamma)
			if line.X, line.Y = append(line.X, x), append(line.Y, v); v < least {
				least, lowest[gamma] = v, x
			}
		}
		plot.Lines = append(plot.Lines, line)
	}
	e.Plot(plot)
	e.Check("for γ = 10 the lowest place is in the wide valley", math.Abs(lowest[10]-1) < 0.1, fmt.Sprintf("x = %.2f", lowest[10]))
	e.Check("for γ = 10,000 it is in the deep one", math.Abs(lowest[1e4]+1) < 0.1, fmt.Sprintf("x = %.2f", lowest[1e4]))
	return e.digits()
}

// digits compares gradient descent and Entropy-SGD with as many gradients.
func (e *story) digits() error {
	e.Heading("On digits, with as many gradients")
	n := e.short(600, 60)
	e.Text(fmt.Sprintf("A perceptron with two hidden layers of 64 units on 600 digits, %d gradients of 128 examples each: 20 of them make one step of Entropy-SGD. Sharpness is the trace of "+
		"the loss's second derivative, estimated with random signs: $E[v^T H v]$.", n))
	model := models.MLP{Hidden: []int{64, 64}, Classes: 10}
	contenders := []struct {
		name string
		rule rules.Rule
	}{
		{"SGD", rules.Backprop{Optimizer: optim.SGD{LR: 0.05, Momentum: 0.9, Nesterov: true}}},
		{"Entropy-SGD, γ = 0.0001", rules.EntropySGD{Gamma: 1e-4, Noise: 1e-4, InnerLR: 0.05}},
		{"Entropy-SGD, γ = 0.03", rules.EntropySGD{InnerLR: 0.05}},
		{"Entropy-SGD, γ = 1", rules.EntropySGD{Gamma: 1, InnerLR: 0.05}},
	}
	table := notebook.Table{Title: fmt.Sprintf("Over %d seeds", e.seeds), Header: []string{"rule", "training loss", "test accuracy, %", "trace of the Hessian"}}
	var accuracy [][]float64
	for _, c := range contenders {
		var losses, right, traces []float64
		for run := range e.seeds {
			seed := e.seed + uint64(run)
			all, test, err := data.Digits().Split(seed, 0.3)
			if err != nil {
				return err
			}
			train := all.Take(600)
			t, err := c.rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 128, seed))
			if err != nil {
				return err
			}
			if _, err := steps(e.ctx, t, train, n); err != nil {
				return err
			}
			loss, err := lossOn(t, train)
			if err != nil {
				return err
			}
			v, err := rules.Evaluate(t, test)
			if err != nil {
				return err
			}
			trace, err := hessianTrace(t.Params(), model, train, e.short(60, 5))
			if err != nil {
				return err
			}
			losses, right, traces = append(losses, loss), append(right, 100*v.Accuracy), append(traces, trace)
		}
		accuracy = append(accuracy, right)
		table.Rows = append(table.Rows, []string{c.name, spread(losses, "%.4f"), spread(right, "%.1f"), spread(traces, "%.1f")})
	}
	e.Table(table)
	base, _ := moments(accuracy[0])
	for k, c := range contenders[1:3] {
		got, _ := moments(accuracy[k+1])
		e.expect(c.name+" is as good as SGD, within 1.5 points", math.Abs(got-base) < 1.5, fmt.Sprintf("%.1f and %.1f %%", got, base))
	}
	e.Text("At this size the rules tie in accuracy. The valleys that Entropy-SGD ends in are not wider: with as many gradients it has gone less far, and where the training loss is " +
		"larger, so is the curvature of the cross-entropy. A stiff spring between the inner loop and its start, γ = 1, goes least far.")
	return nil
}

// hessianTrace is the mean of v·Hv over random signs v, H the second derivative of the loss on a set (M. Hutchinson 1989).
func hessianTrace(params *graph.Params, model layers.Layer, d *data.Set, draws int) (float64, error) {
	x := graph.ArrayOf(d.X, d.Len(), 64)
	y := graph.ArrayOf(d.Labels, d.Len())
	var product *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		in := graph.Literal(s.Const(0), x)
		loss := objectives.CrossEntropy(model.Apply(s, in), graph.Literal(in, y))
		weights := s.Graph().Trainable(loss)
		signs := make([]*graph.Node, len(weights))
		for i, w := range weights {
			signs[i] = s.Rademacher(fmt.Sprint("trace", i), graph.ShapeOf(w)...)
		}
		for i, h := range graph.HVP(loss, weights, signs) {
			if dot := graph.Dot(h, signs[i]); product == nil {
				product = dot
			} else {
				product = graph.Add(product, dot)
			}
		}
	})
	if err != nil {
		return 0, err
	}
	p, err := g.Compile(product)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for k := range draws {
		p.SetStep(k)
		if err := p.Run(); err != nil {
			return 0, err
		}
		sum += p.Array(product).Scalar() / float64(draws)
	}
	return sum, nil
}
