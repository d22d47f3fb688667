package main

import (
	"context"
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/search"
)

// rateAt is the learning rate of a place: 20 a decade from 0.1 to 100. Smaller ones are too slow for a short training.
func rateAt(place int) float64 { return 0.1 * math.Pow(10, float64(place)/20) }

const places = 61

func thresholdPage(e *story) error {
	e.Text(`
		Above some learning rate gradient descent no longer trains. Where that is depends on the initialisation and on the
		batches, so each rate only has a *chance* to fail, which grows with the rate. Where is it one half? Each trial is a short
		training of a perceptron on the digits, with a seed of its own, that fails if its loss ends above that of guessing,
		$\log 10$. A *noisy binary search* keeps a weight for each answer, tries the rate that tells most, and multiplies the weights
		by how likely they make the result.`)
	train, _, err := split(e.seed)
	if err != nil {
		return err
	}
	n := 30
	fails := func(ctx context.Context, place int, seed uint64) (bool, error) {
		t, err := sgd(32, rateAt(place), train, 32, seed)
		if err != nil {
			return false, err
		}
		loss, err := steps(ctx, t, train, n)
		return !(loss < math.Log(10)), err
	}
	s := search.Threshold{Places: places, Target: 0.5, Gap: 0.2, Trials: e.short(100, 15)}
	c := s.Channel()
	e.Text(fmt.Sprintf("With failures at most %.0f %% of the time below the edge and at least %.0f %% above, a trial tells at most $C = %.4f$ bits, and "+
		"%d rates need about $\\log_2 n / C = %.0f$ trials. This search has %d.", 100*(s.Target-s.Gap), 100*(s.Target+s.Gap), c.Bits, places, s.Bound(), s.Trials))
	var found []float64
	plot := notebook.Plot{Title: "What the search tried", X: "trial", Y: "learning rate", LogY: true}
	for run := range e.seeds {
		line := notebook.Line{Name: fmt.Sprint("seed ", e.seed+uint64(run))}
		place, err := s.Run(e.ctx, func(ctx context.Context, place int) (bool, error) {
			line.Y = append(line.Y, rateAt(place))
			return fails(ctx, place, graph.Rand(e.seed+uint64(run), "laws/trial", uint64(len(line.Y))).Uint64())
		})
		if err != nil {
			return err
		}
		found = append(found, float64(place))
		plot.Lines = append(plot.Lines, line)
	}
	e.Plot(plot)
	// What a search cannot afford: the chance at every fourth rate, and at those around the answers.
	each := e.short(60, 4)
	chance := notebook.Line{Name: "share of failures"}
	for place := 0; place < places; place += 4 {
		p, err := e.chance(place, each, fails)
		if err != nil {
			return err
		}
		chance.X, chance.Y = append(chance.X, rateAt(place)), append(chance.Y, p)
	}
	answers := notebook.Points{Name: "answers"}
	table := notebook.Table{Title: "Answers", Header: []string{"seed", "edge between", "and", "failures below", "failures above"}}
	holds := true
	for run, at := range found {
		place := int(at)
		below, err := e.chance(place, 2*each, fails)
		if err != nil {
			return err
		}
		above, err := e.chance(place+1, 2*each, fails)
		if err != nil {
			return err
		}
		// Three standard deviations of a share of 120.
		holds = holds && below < s.Target+s.Gap+0.13 && above > s.Target-s.Gap-0.13
		answers.X, answers.Y = append(answers.X, rateAt(place)), append(answers.Y, below)
		table.Rows = append(table.Rows, []string{fmt.Sprint(e.seed + uint64(run)), fmt.Sprintf("%.3g", rateAt(place)), fmt.Sprintf("%.3g", rateAt(place+1)),
			fmt.Sprintf("%.0f %%", 100*below), fmt.Sprintf("%.0f %%", 100*above)})
	}
	e.Table(table)
	e.Plot(notebook.Plot{Title: "The chance of failure", X: "learning rate", Y: "share of trainings that fail", LogX: true, Lines: []notebook.Line{chance}, Points: []notebook.Points{answers}})
	e.expect("every answer's chances, measured by many trainings, are those of the edge", holds, fmt.Sprintf("%d answers", len(found)))
	e.expect("small rates train and large ones fail", chance.Y[0] < 0.05 && chance.Y[len(chance.Y)-1] > 0.95, fmt.Sprintf("%.2f and %.2f fail", chance.Y[0], chance.Y[len(chance.Y)-1]))
	return e.coins()
}

// chance is the share of trainings that fail at a place.
func (e *story) chance(place, n int, fails func(ctx context.Context, place int, seed uint64) (bool, error)) (float64, error) {
	count := 0.0
	for i := range n {
		bad, err := fails(e.ctx, place, graph.Rand(e.seed, "laws/chance", uint64(place*1000+i)).Uint64())
		if err != nil {
			return 0, err
		}
		if bad {
			count++
		}
	}
	return count / float64(n), nil
}

// coins compares the strategies where the answer is known: a step from 0.4 to 0.6 among a thousand coins.
func (e *story) coins() error {
	e.Heading("How few trials do")
	const n = 1000
	runs := e.short(200, 20)
	e.Text("A thousand coins, of which those below a random one fall heads 40 % of the time and the others 60 %. Bayes weighs every answer; " +
		"screening spends a part on making sure, as the proof for all monotone chances needs; bisection repeats each question equally often.")
	table := notebook.Table{Title: fmt.Sprintf("Share of %d searches that find the step", runs), Header: []string{"tosses", "Bayes", "screening", "bisection"}}
	plot := notebook.Plot{Title: "Tosses and success", X: "tosses", Y: "share that find the step"}
	names := []string{"Bayes", "screening", "bisection"}
	plot.Lines = make([]notebook.Line, len(names))
	better := true
	for _, trials := range []int{172, 343, 514, 686, 1372} {
		row := []string{fmt.Sprint(trials)}
		var right [3]float64
		for k, strategy := range []search.Strategy{search.Bayes, search.Screening, search.Bisection} {
			for run := range runs {
				r := graph.Rand(e.seed, "laws/coins", uint64(run))
				step := r.IntN(n - 1)
				s := search.Threshold{Places: n, Trials: trials, Strategy: strategy}
				got, err := s.Run(e.ctx, func(_ context.Context, place int) (bool, error) {
					p := 0.4
					if place > step {
						p = 0.6
					}
					return r.Float64() < p, nil
				})
				if err != nil {
					return err
				}
				if got == step {
					right[k] += 1 / float64(runs)
				}
			}
			plot.Lines[k].Name = names[k]
			plot.Lines[k].X, plot.Lines[k].Y = append(plot.Lines[k].X, float64(trials)), append(plot.Lines[k].Y, right[k])
			row = append(row, fmt.Sprintf("%.0f %%", 100*right[k]))
		}
		better = better && right[0] >= right[2]
		table.Rows = append(table.Rows, row)
	}
	e.Table(table)
	e.Plot(plot)
	e.expect("Bayes finds it at least as often as bisection, at every number of tosses", better, fmt.Sprintf("bound: %.0f tosses", search.Threshold{Places: n}.Bound()))
	return nil
}
