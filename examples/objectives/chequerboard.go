package main

import (
	"fmt"
	"slices"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func chequerboard(e *experiment) error {
	e.Text(`
		A linear model draws one line between two classes. *Checkered regression* (M. Achab 2023, arXiv 2309.15298) draws $m$:
		the answer is 0 where an even number of them says no,

		$$\Xi_m(z) = \tfrac12 \Big(1 + \prod_{k=1}^m \tanh \tfrac{z_k}{2}\Big),$$

		so that lines cut the plane like a chequerboard. One $z$ makes it logistic regression. The loss is a sum of log-concave
		functions, no longer convex, and equal lines are a saddle.`)
	if err := e.xor(); err != nil {
		return err
	}
	return e.rockPaperScissors()
}

func (e *experiment) xor() error {
	e.Heading("Four clouds")
	e.Text(`
		Four normal clouds of variance 0.2 around $(\pm 1, \pm 1)$, opposite ones of one class; 300 points to learn from and
		2000 to test on; 600 full-batch steps of gradient descent with rate 0.5, from 5 starts.`)
	const starts = 5
	orders := []int{1, 2, 3}
	accuracy := make([]float64, len(orders)*starts)
	err := e.together(len(accuracy), func(i int) (string, error) {
		m, seed := orders[i/starts], e.seed+uint64(i%starts)
		name := fmt.Sprint("m = ", m)
		train, test := clouds(seed, 300), clouds(seed+1<<32, 2000)
		o := objectives.CheckeredOptions{Classes: 2}
		t, err := rules.Plan{Name: name, Optimizer: optim.SGD{LR: 0.5},
			Phases: []rules.Phase{func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
				loss := o.Loss(halfSpaces(s, x, m), y)
				return []rules.Goal{rules.Minimize(loss, s.Graph().Trainable(loss))}
			}},
			Predict: func(s *graph.Scope, x *graph.Node) *graph.Node { return o.LogProbabilities(halfSpaces(s, x, m)) },
		}.Trainer(rules.SpecOf(train, train.Len(), seed))
		if err != nil {
			return name, err
		}
		if _, err := rules.Fit(e.ctx, t, train, rules.Config{Epochs: 600}); err != nil {
			return name, err
		}
		out, err := rules.Evaluate(t, test)
		accuracy[i] = 100 * out.Accuracy
		return name, err
	})
	if err != nil {
		return err
	}
	table := notebook.Table{Title: "Test accuracy, %", Header: []string{"lines"}}
	for s := range starts {
		table.Header = append(table.Header, fmt.Sprint("start ", s+1))
	}
	for k, m := range orders {
		row := []string{fmt.Sprint(m)}
		for _, a := range accuracy[k*starts : (k+1)*starts] {
			row = append(row, fmt.Sprintf("%.1f", a))
		}
		table.Rows = append(table.Rows, row)
	}
	e.Table(table)
	e.Check("one line is no better than chance", slices.Max(accuracy[:starts]) < 70, fmt.Sprintf("at most %.1f %%", slices.Max(accuracy[:starts])))
	for k, m := range orders[1:] {
		a := accuracy[(k+1)*starts : (k+2)*starts]
		e.Check(fmt.Sprintf("%d lines are right from some starts", m), slices.Max(a) > 96, fmt.Sprintf("%.1f %% at best, %.1f %% at worst", slices.Max(a), slices.Min(a)))
	}
	e.Text("Starts from which fewer are right have ended in a local minimum: the loss is not convex.")
	return nil
}

// halfSpaces is m linear functions of x, as the logits of m softmaxes of two classes, the second of which is 0.
func halfSpaces(s *graph.Scope, x *graph.Node, m int) *graph.Node {
	z := layers.Dense{Units: m, Init: layers.Normal(1)}.Apply(s, x)
	return graph.Reshape(graph.Stack(2, z, graph.Fill(z, 0)), -1, 2*m)
}

// clouds is n points of four clouds.
func clouds(seed uint64, n int) *data.Set {
	random := graph.Rand(seed, "clouds", 0)
	s := &data.Set{Name: "clouds", Shape: []int{2}, ClassNames: []string{"same signs", "different signs"}}
	for range n {
		label, p := 0, [2]float64{}
		for k := range p {
			sign := random.IntN(2)
			label ^= sign
			p[k] = float64(1-2*sign) + 0.4472135955*random.NormFloat64()
		}
		s.X, s.Labels = append(s.X, float32(p[0]), float32(p[1])), append(s.Labels, label)
	}
	return s
}

func (e *experiment) rockPaperScissors() error {
	e.Heading("Rock, paper, scissors")
	const steps, rate, seeds = 5000, 0.6, 10
	e.Text(fmt.Sprintf(`
		Each of three beats one of the others. A model of strengths, $P(a \text{ beats } b) = \sigma(w_a - w_b)$ (R. Bradley, M.
		Terry 1952), cannot say so. Let $x$ be 1 at $a$ and -1 at $b$: the six games are the corners of a hexagon, and who wins changes
		from corner to corner, so it takes the three lines of $\Xi_3$ to part them, and two are not enough. %d steps of
		gradient descent with rate %v from %d starts.`, steps, rate, seeds))
	models := []struct {
		name string
		win  func(s *graph.Scope, x *graph.Node) *graph.Node // log P(a beats b) and log P(b beats a), [pairs, 2]
	}{
		{"strengths", func(s *graph.Scope, x *graph.Node) *graph.Node {
			z := graph.MatMul(x, s.Param("strength", graph.NormalInit(1), 3, 1))
			return graph.Concat(1, graph.LogSigmoid(graph.Neg(z)), graph.LogSigmoid(z))
		}},
		{"two lines", func(s *graph.Scope, x *graph.Node) *graph.Node {
			return objectives.CheckeredOptions{Classes: 2}.LogProbabilities(halfSpaces(s, x, 2))
		}},
		{"three lines", func(s *graph.Scope, x *graph.Node) *graph.Node {
			return objectives.CheckeredOptions{Classes: 2}.LogProbabilities(halfSpaces(s, x, 3))
		}},
	}
	games := &data.Set{Name: "games", Shape: []int{3}, ClassNames: []string{"loses", "wins"}}
	for a := range 3 {
		for label, b := range []int{(a + 1) % 3, (a + 2) % 3} { // paper, after rock, beats it
			x := [3]float32{}
			x[a], x[b] = 1, -1
			games.X, games.Labels = append(games.X, x[:]...), append(games.Labels, label)
		}
	}
	losses := make([]float64, len(models)*seeds)
	err := e.together(len(losses), func(i int) (string, error) {
		m, seed := models[i/seeds], e.seed+uint64(i%seeds)
		t, err := rules.Backprop{Optimizer: optim.SGD{LR: rate}}.Trainer(layers.Func("", m.win), objectives.NLLOptions{Ignore: []int{}}.Loss, rules.SpecOf(games, games.Len(), seed))
		if err != nil {
			return m.name, err
		}
		history, err := rules.Fit(e.ctx, t, games, rules.Config{Epochs: steps})
		if err == nil {
			losses[i] = history.Last().Loss
		}
		return m.name, err
	})
	if err != nil {
		return err
	}
	table := notebook.Table{Title: "Log-loss at the end", Header: []string{"model", "mean", "least", "most"}}
	for k, m := range models {
		l := losses[k*seeds : (k+1)*seeds]
		sum := 0.0
		for _, v := range l {
			sum += v / seeds
		}
		table.Rows = append(table.Rows, []string{m.name, fmt.Sprintf("%.4f", sum), fmt.Sprintf("%.4f", slices.Min(l)), fmt.Sprintf("%.4f", slices.Max(l))})
	}
	e.Table(table)
	of := func(k int) (least, most float64) {
		l := losses[k*seeds : (k+1)*seeds]
		return slices.Min(l), slices.Max(l)
	}
	least, most := of(0)
	e.Check("strengths stay at log 2", least > 0.6931 && most < 0.6932, fmt.Sprintf("%.4f to %.4f", least, most))
	least, _ = of(1)
	e.Check("two lines do not learn the game", least > 0.3, fmt.Sprintf("%.4f at best", least))
	_, most = of(2)
	e.Check("three lines do, from every start", most < 0.02, fmt.Sprintf("%.4f at worst", most))
	return nil
}
