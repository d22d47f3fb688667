package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/laws"
	"github.com/harpe-ml/harpe/rules/optim"
)

// hold keeps the rate and lets it fall along a line in the last part of the steps.
type hold struct {
	steps int
	part  float64
}

func (h hold) Rate(base float64, step int) float64 {
	return base * min(1, float64(h.steps-step)/(h.part*float64(h.steps)))
}

// drop multiplies the rate once.
type drop struct {
	at     int
	factor float64
}

func (d drop) Rate(base float64, step int) float64 {
	if step >= d.at {
		return base * d.factor
	}
	return base
}

func annealingPage(e *story) error {
	n := e.short(4000, 400)
	const lr, every = 0.3, 20
	e.Text(`
		Along a run the loss falls for two reasons: more steps, and a falling learning rate. The law

		$$L(s) = L_0 + A \cdot S_1(s)^{-\alpha} - C \cdot S_2(s)$$

		with the sum of the rates $S_1$ and the *annealing area* $S_2 = \sum_i m_i$, $m_i = \lambda m_{i-1} + (\eta_{i-1} - \eta_i)$, has four
		numbers. Here they are fitted to two runs, one of a constant rate and one of a cosine, and predict the whole course of
		runs under three other schedules.

		A perceptron learns the next symbol of a text by gradient descent, on new examples all the time. The text is a Markov
		chain, so the loss is computed exactly; what noise is left is that of the batches.`)
	schedules := []struct {
		name string
		s    optim.Schedule
		fit  bool
	}{
		{"constant", optim.Constant{}, true},
		{"cosine", optim.Cosine{Steps: n, Min: lr / 20}, true},
		{"hold, then a line to 0", hold{n, 0.3}, false},
		{"two stages", drop{n * 3 / 5, 0.2}, false},
		{"line to 0", hold{n, 1}, false},
	}
	source := newText(8, e.seed)
	curves := make([]laws.Curve, len(schedules))
	for k, s := range schedules {
		curves[k].Rates = laws.Rates(s.s, lr, n)
		bar := e.Progress(s.name, n*e.seeds)
		for run := range e.seeds {
			c, err := e.course(source, s.s, lr, n, every, e.seed+uint64(run), func(step int, loss float64) {
				bar.Set(run*n+step, fmt.Sprintf("loss %.4f", loss))
			})
			if err != nil {
				return err
			}
			if run == 0 {
				curves[k].Steps, curves[k].Loss = c.Steps, make([]float64, len(c.Loss))
			}
			for i, l := range c.Loss {
				curves[k].Loss[i] += l / float64(e.seeds)
			}
		}
		bar.Done()
	}
	var known []laws.Curve
	for k, s := range schedules {
		if s.fit {
			known = append(known, curves[k])
		}
	}
	// The memory λ is chosen by the fit too.
	var law laws.Annealing
	least := math.Inf(1)
	for _, lambda := range []float64{0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999} {
		l, err := laws.FitAnnealing(known, laws.AnnealingOptions{Lambda: lambda})
		if err != nil {
			return err
		}
		if d := deviation(l, known...); d < least {
			law, least = l, d
		}
	}
	e.Text(fmt.Sprintf("Fitted: $L(s) = %.4f + %.4f \\cdot S_1^{-%.3f} - %.5f \\cdot S_2$ with $\\lambda = %.3f$. The entropy of the text is %.4f.", law.L0, law.A, law.Alpha, law.C, law.Lambda, source.entropy()))
	table := notebook.Table{Title: fmt.Sprintf("Measured and predicted, mean of %d runs each", e.seeds),
		Header: []string{"schedule", "fitted", "final loss", "predicted", "error", "median error of the course"}}
	plot := notebook.Plot{Title: "Measured (lines) and predicted (points), without the first quarter", X: "step", Y: "loss, nats a symbol"}
	var claims []func()
	final := map[string][2]float64{}
	for k, s := range schedules {
		c := curves[k]
		predicted := law.Predict(c.Rates, 0)
		line, points := notebook.Line{Name: s.name}, notebook.Points{Name: s.name + ", predicted"}
		for i, step := range c.Steps {
			if step < n/4 {
				continue
			}
			line.X, line.Y = append(line.X, float64(step)), append(line.Y, c.Loss[i])
			if i%(len(c.Steps)/25+1) == 0 {
				points.X, points.Y = append(points.X, float64(step)), append(points.Y, predicted[step-1])
			}
		}
		if k == 0 || !s.fit {
			plot.Lines, plot.Points = append(plot.Lines, line), append(plot.Points, points)
		}
		last, guess := c.Loss[len(c.Loss)-1], predicted[n-1]
		final[s.name] = [2]float64{last, guess}
		course := deviation(law, c)
		table.Rows = append(table.Rows, []string{s.name, map[bool]string{true: "yes", false: "no"}[s.fit], fmt.Sprintf("%.4f", last), fmt.Sprintf("%.4f", guess),
			fmt.Sprintf("%.2f %%", 100*math.Abs(guess/last-1)), fmt.Sprintf("%.2f %%", 100*course)})
		if !s.fit {
			claims = append(claims, func() {
				e.expect("the final loss of \""+s.name+"\" is predicted within 1 %", math.Abs(guess/last-1) < 0.01, fmt.Sprintf("%.4f and %.4f", last, guess))
				e.expect("the course of \""+s.name+"\" is predicted within 2 % (median)", course < 0.02, fmt.Sprintf("%.2f %%", 100*course))
			})
		}
	}
	e.Table(table)
	e.Plot(plot)
	for _, claim := range claims {
		claim()
	}
	e.expect("the law ranks annealing above a constant rate, as the runs do", final["line to 0"][0] < final["constant"][0] && final["line to 0"][1] < final["constant"][1],
		fmt.Sprintf("measured %.4f and %.4f, predicted %.4f and %.4f", final["line to 0"][0], final["constant"][0], final["line to 0"][1], final["constant"][1]))
	e.best(law, lr, n)
	return nil
}

// best looks for the part of the run in which the rate should fall, by the law alone.
func (e *story) best(law laws.Annealing, lr float64, n int) {
	e.Heading("Asking the law")
	e.Text("With the law, a schedule costs nothing to try. Here is the final loss it predicts if the rate is held and then falls along a line.")
	plot := notebook.Plot{X: "part of the steps in which the rate falls", Y: "predicted final loss"}
	line := notebook.Line{Name: "predicted"}
	least, at := math.Inf(1), 0.0
	for part := 0.05; part <= 1.0001; part += 0.05 {
		p := law.Predict(laws.Rates(hold{n, part}, lr, n), 0)[n-1]
		line.X, line.Y = append(line.X, part), append(line.Y, p)
		if p < least {
			least, at = p, part
		}
	}
	plot.Lines = []notebook.Line{line}
	e.Plot(plot)
	e.Text(fmt.Sprintf("It is least, %.4f, if the rate falls in the last %.0f %% of the steps.", least, 100*at))
}

// deviation is the median relative error of a law on curves, of all steps but the first tenth.
func deviation(law laws.Annealing, curves ...laws.Curve) float64 {
	var errors []float64
	for _, c := range curves {
		predicted := law.Predict(c.Rates, 0)
		for i, s := range c.Steps {
			if s > len(c.Rates)/10 {
				errors = append(errors, math.Abs(predicted[s-1]/c.Loss[i]-1))
			}
		}
	}
	return median(errors)
}

// course trains by gradient descent under a schedule and measures the loss now and then.
func (e *story) course(source *text, s optim.Schedule, lr float64, n, every int, seed uint64, progress func(int, float64)) (laws.Curve, error) {
	c := laws.Curve{Rates: laws.Rates(s, lr, n)}
	rule := rules.Backprop{Optimizer: optim.SGD{LR: lr}, Options: optim.Options{Schedule: s}}
	t, err := rule.Trainer(models.MLP{Hidden: []int{64}, Classes: source.symbols}, objectives.CrossEntropy, rules.SpecOf(source, 32, seed))
	if err != nil {
		return c, err
	}
	batch, rows := rules.NewBatch(t.Spec()), make([]int, 32)
	for step := 1; step <= n; step++ {
		if err := e.ctx.Err(); err != nil {
			return c, err
		}
		for i := range rows {
			rows[i] = ((step-1)*32 + i) % source.Len()
		}
		if err := batch.Fill(source, rows, seed<<20+uint64(step*32/source.Len())); err != nil {
			return c, err
		}
		if _, err := t.Step(batch); err != nil {
			return c, err
		}
		if step%every == 0 {
			loss, err := source.loss(t)
			if err != nil {
				return c, err
			}
			c.Steps, c.Loss = append(c.Steps, step), append(c.Loss, loss)
			progress(step, loss)
		}
	}
	return c, nil
}
