package main

import (
	"context"
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
	"github.com/harpe-ml/harpe/rules/search"
)

// space is what the search may choose.
var space = search.Space{
	search.Real{Name: "lr", Low: 1e-4, High: 10, Log: true, Start: 0.1, Spread: 10},
	search.Real{Name: "momentum", Low: 0, High: 0.99},
	search.Integer{Name: "units", Low: 4, High: 128, Log: true},
	search.Integer{Name: "batch", Low: 8, High: 128, Log: true},
	search.Choice{Name: "activation", Values: []string{"relu", "tanh", "sigmoid"}},
}

var activations = map[string]layers.Layer{"relu": layers.ReLU{}, "tanh": layers.Tanh{}, "sigmoid": layers.Sigmoid{}}

// trainer is the one that a configuration describes.
func trainerOf(c search.Config, train *data.Set, seed uint64) (rules.Trainer, error) {
	model := models.MLP{Hidden: []int{c["units"].(int)}, Classes: train.Classes(), Activation: activations[c["activation"].(string)]}
	rule := rules.Backprop{Optimizer: optim.SGD{LR: c["lr"].(float64), Momentum: c["momentum"].(float64)}}
	return rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, c["batch"].(int), seed))
}

// score is minus the validation loss after a short training, NaN if it diverges.
func score(ctx context.Context, c search.Config, train, valid *data.Set, epochs int, seed uint64) (float64, error) {
	t, err := trainerOf(c, train, seed)
	if err != nil {
		return 0, err
	}
	if _, err := rules.Fit(ctx, t, train, rules.Config{Epochs: epochs}); err != nil {
		if ctx.Err() == nil {
			return math.NaN(), nil
		}
		return 0, err
	}
	loss, err := lossOn(t, valid)
	return -loss, err
}

// lossOn is the mean cross-entropy on a set.
func lossOn(t rules.Trainer, d *data.Set) (float64, error) {
	spec := t.Spec()
	batch, rows := rules.NewBatch(spec), make([]int, 0, spec.Batch)
	sum, classes := 0.0, d.Classes()
	for at := 0; at < d.Len(); at += spec.Batch {
		rows = rows[:0]
		for i := at; i < min(at+spec.Batch, d.Len()); i++ {
			rows = append(rows, i)
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			return 0, err
		}
		logits, err := t.Predict(batch)
		if err != nil {
			return 0, err
		}
		for r := range rows {
			sum -= logSoftmax(logits.Float32s()[r*classes : (r+1)*classes])[batch.Y.Ints()[r]]
		}
	}
	return sum / float64(d.Len()), nil
}

func searchPage(e *story) error {
	rounds, population := e.short(5, 2), e.short(12, 4)
	epochs := 2
	e.Text(fmt.Sprintf(`
		Five hyper-parameters of a perceptron that has %d epochs to learn the digits: the learning rate, momentum, hidden units,
		examples a step and the activation. The *cross-entropy method* draws %d configurations from a distribution, keeps the best
		fifth, moves the distribution towards them, and repeats that %d times. *Random search* tries as many, drawn evenly. The score
		is minus the validation loss; the test examples are seen once, by the best of each.`, epochs, population, rounds))
	type outcome struct{ best, test, tail []float64 }
	var outcomes [2]outcome
	var shown *search.Result
	bar := e.Progress("trials", 2*e.seeds*rounds*population)
	defer bar.Done()
	done := 0
	for run := range e.seeds {
		seed := e.seed + uint64(run)
		rest, test, err := data.Digits().Split(seed, 0.2)
		if err != nil {
			return err
		}
		train, valid, err := rest.Split(seed+1, 0.25)
		if err != nil {
			return err
		}
		options := search.Options{Seed: seed, OnTrial: func(t search.Trial) {
			done++
			bar.Set(done, fmt.Sprintf("loss %.3f", -t.Score))
		}}
		f := func(ctx context.Context, c search.Config) (float64, error) {
			return score(ctx, c, train, valid, epochs, seed)
		}
		ce, err := search.CrossEntropy{Rounds: rounds, Population: population, Options: options}.Run(e.ctx, space, f)
		if err != nil {
			return err
		}
		random, err := search.Random{Trials: rounds * population, Options: options}.Run(e.ctx, space, f)
		if err != nil {
			return err
		}
		if shown == nil {
			shown = ce
		}
		for k, r := range []*search.Result{ce, random} {
			o := &outcomes[k]
			o.best = append(o.best, -r.Best.Score)
			final, err := score(e.ctx, r.Best.Config, train, test, epochs, seed)
			if err != nil {
				return err
			}
			o.test = append(o.test, -final)
			var tail []float64
			for _, t := range r.Trials[len(r.Trials)-population:] {
				tail = append(tail, -t.Score)
			}
			o.tail = append(o.tail, median(tail))
		}
	}
	table := notebook.Table{Title: fmt.Sprintf("Losses after %d trials, over %d seeds", rounds*population, e.seeds),
		Header: []string{"search", "best on validation", "the same on test", "median of the last round"}}
	for k, name := range []string{"cross-entropy", "random"} {
		o := outcomes[k]
		table.Rows = append(table.Rows, []string{name, spread(o.best, "%.3f"), spread(o.test, "%.3f"), spread(o.tail, "%.3f")})
	}
	e.Table(table)
	e.distributions(shown)
	e.trials(shown)
	ce, random := outcomes[0], outcomes[1]
	mean := func(x []float64) float64 { m, _ := moments(x); return m }
	e.expect("the median of the last round is less than half of random search's", mean(ce.tail) < mean(random.tail)/2, fmt.Sprintf("%.3f and %.3f", mean(ce.tail), mean(random.tail)))
	_, sd := moments(random.best)
	e.expect("the best is better than random search's, or as good within its deviation", mean(ce.best) < mean(random.best)+sd, fmt.Sprintf("%.3f and %.3f", mean(ce.best), mean(random.best)))
	if err := e.repeats(population); err != nil {
		return err
	}
	return e.online()
}

// distributions shows how the distribution moved.
func (e *story) distributions(r *search.Result) {
	e.Heading("How the distribution moved")
	table := notebook.Table{Title: "Mode after each round, of the first seed", Header: []string{"round", "lr", "momentum", "units", "batch", "activation"}}
	for i, d := range r.Distributions {
		m := d.Mode()
		table.Rows = append(table.Rows, []string{fmt.Sprint(i), fmt.Sprintf("%.3g", m["lr"]), fmt.Sprintf("%.2f", m["momentum"]), fmt.Sprint(m["units"]), fmt.Sprint(m["batch"]), fmt.Sprint(m["activation"])})
	}
	e.Table(table)
}

// trials shows the losses of all trials against the learning rate.
func (e *story) trials(r *search.Result) {
	plot := notebook.Plot{Title: "Trials of the first seed", X: "learning rate", Y: "validation loss", LogX: true, LogY: true}
	for _, t := range r.Trials {
		for len(plot.Points) <= t.Round {
			plot.Points = append(plot.Points, notebook.Points{Name: fmt.Sprint("round ", len(plot.Points)+1)})
		}
		p := &plot.Points[t.Round]
		p.X, p.Y = append(p.X, t.Config["lr"].(float64)), append(p.Y, -t.Score)
	}
	e.Plot(plot)
}

// repeats shows that the number of trials at a time does not matter.
func (e *story) repeats(population int) error {
	e.Heading("The same search, one trial at a time")
	train, valid, err := data.Digits().Take(400).Split(e.seed, 0.25)
	if err != nil {
		return err
	}
	var scores [2]string
	for k, parallel := range []int{1, 4} {
		s := search.CrossEntropy{Rounds: 2, Population: population, Options: search.Options{Seed: e.seed, Parallel: parallel}}
		r, err := s.Run(e.ctx, space, func(ctx context.Context, c search.Config) (float64, error) {
			return score(ctx, c, train, valid, 1, e.seed)
		})
		if err != nil {
			return err
		}
		for _, t := range r.Trials {
			scores[k] += fmt.Sprintf("%x ", math.Float64bits(t.Score))
		}
	}
	e.Check("one and four trials at a time give the same bits", scores[0] == scores[1] && scores[0] != "", fmt.Sprintf("%d trials", 2*population))
	return nil
}

// steered is a schedule that someone else sets.
type steered struct{ rate *float64 }

func (s steered) Rate(float64, int) float64 { return *s.rate }

// online draws the learning rate again and again during one run, and learns from what each did.
func (e *story) online() error {
	e.Heading("While it trains")
	rounds, draws, each := e.short(16, 2), 8, e.short(10, 2)
	const start = 1e-3
	e.Text(fmt.Sprintf("The same update also serves one run: every %d steps the learning rate is drawn anew, its score is by how much the loss on validation examples fell, and after %d draws "+
		"the distribution moves. It begins at %v, far too small.", each, draws, start))
	space := search.Space{search.Real{Name: "lr", Low: 1e-5, High: 10, Log: true, Start: start, Spread: 5}}
	method := search.CrossEntropy{Elite: 0.25}
	train, rest, err := split(e.seed)
	if err != nil {
		return err
	}
	valid := rest.Take(180)
	run := func(steer bool) (losses, rates []float64, err error) {
		rate := start
		t, err := rules.Backprop{Optimizer: optim.SGD{}, Options: optim.Options{Schedule: steered{&rate}}}.Trainer(
			models.MLP{Hidden: []int{32}, Classes: 10}, objectives.CrossEntropy, rules.SpecOf(train, 32, e.seed))
		if err != nil {
			return nil, nil, err
		}
		d, err := space.Start()
		if err != nil {
			return nil, nil, err
		}
		before, err := lossOn(t, valid)
		if err != nil {
			return nil, nil, err
		}
		for round := range rounds {
			var trials []search.Trial
			for i := range draws {
				if steer {
					c := d.Draw(graph.Rand(e.seed, "laws/online", uint64(round*draws+i)))
					rate = c["lr"].(float64)
				}
				if _, err := steps(e.ctx, t, train, each); err != nil {
					return nil, nil, err
				}
				after, err := lossOn(t, valid)
				if err != nil {
					return nil, nil, err
				}
				trials = append(trials, search.Trial{Config: search.Config{"lr": rate}, Score: before - after})
				losses, rates, before = append(losses, after), append(rates, rate), after
			}
			if d, err = method.Update(d, trials); err != nil {
				return nil, nil, err
			}
		}
		return losses, rates, nil
	}
	losses, rates, err := run(true)
	if err != nil {
		return err
	}
	fixed, _, err := run(false)
	if err != nil {
		return err
	}
	e.Plot(notebook.Plot{Title: "Rates drawn", X: "draw", Y: "learning rate", LogY: true, Points: []notebook.Points{{Name: "rate", Y: rates}}})
	e.Plot(notebook.Plot{Title: "Validation loss", X: "draw", Y: "loss", LogY: true, Lines: []notebook.Line{{Name: "drawn", Y: losses}, {Name: "first rate kept", Y: fixed}}})
	last := len(losses) - 1
	e.expect("the run that steers itself ends with less than three quarters of the loss of the first rate", losses[last] < 0.75*fixed[last], fmt.Sprintf("%.3f and %.3f", losses[last], fixed[last]))
	return nil
}

// split is the digits of a seed.
func split(seed uint64) (train, test *data.Set, err error) { return data.Digits().Split(seed, 0.2) }

// sgd is plain gradient descent on a perceptron.
func sgd(units int, lr float64, d *data.Set, batch int, seed uint64) (rules.Trainer, error) {
	rule := rules.Backprop{Optimizer: optim.SGD{LR: lr}}
	return rule.Trainer(models.MLP{Hidden: []int{units}, Classes: d.Classes()}, objectives.CrossEntropy, rules.SpecOf(d, batch, seed))
}

// steps makes steps on random batches and returns the mean loss of the last ten; NaN if a step fails.
func steps(ctx context.Context, t rules.Trainer, d *data.Set, n int) (float64, error) {
	spec := t.Spec()
	batch, rows := rules.NewBatch(spec), make([]int, spec.Batch)
	var last []float64
	for range n {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		r := graph.Rand(spec.Seed, "laws/batch", uint64(t.Steps()))
		for i := range rows {
			rows[i] = r.IntN(d.Len())
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			return 0, err
		}
		loss, err := t.Step(batch)
		if err != nil {
			return math.NaN(), nil
		}
		last = append(last, loss)
	}
	mean, _ := moments(last[max(len(last)-10, 0):])
	return mean, nil
}
