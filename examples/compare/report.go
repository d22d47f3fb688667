package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"path/filepath"
	"strconv"

	"gonum.org/v1/gonum/stat"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/rules"
)

// measure is how results are judged: by accuracy in percent for classes (true), else by the mean squared error.
type measure bool

func (m measure) of(accuracy, err float64) float64 {
	if m {
		return 100 * accuracy
	}
	return err
}

func (m measure) name() string {
	if m {
		return "test accuracy, %"
	}
	return "test error"
}

func (m measure) text(e rules.Evaluation) string {
	return fmt.Sprintf("%s %.4g", m.name(), m.of(e.Accuracy, e.Error))
}

// introduce says what is compared.
func (c *comparing) introduce() error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	c.page.Text(fmt.Sprintf("%d rules, each with %d seeds: the same model, objective and data under each rule, the same "+
		"split of the data and initial weights under each seed. The results are on examples that were not trained on.", len(c.Rules), len(c.Seeds)))
	c.page.Text("```yaml\n" + text + "```")
	return nil
}

// outcome is what the finished runs of a rule gave.
type outcome struct {
	name    string
	seeds   []uint64
	scores  []float64 // one a seed
	results []*result
}

func (c *comparing) outcomes() (list []outcome, m measure) {
	for rule, name := range c.Rules {
		o := outcome{name: name}
		for _, seed := range c.Seeds {
			if r := c.results[job{rule, seed}]; r != nil {
				m = r.Classes > 0
				o.seeds, o.scores, o.results = append(o.seeds, seed), append(o.scores, m.of(r.Test.Accuracy, r.Test.Error)), append(o.results, r)
			}
		}
		if len(o.seeds) > 0 {
			list = append(list, o)
		}
	}
	return list, m
}

// report tells of the runs that are finished and writes the tables.
func (c *comparing) report() error {
	list, m := c.outcomes()
	if len(list) == 0 {
		return nil
	}
	c.page.Heading("Results")
	table := notebook.Table{Header: []string{"rule", m.name(), "seeds", "epochs", "seconds", "parameters", "memory"}}
	bars := notebook.Plot{Title: "Mean and standard deviation over the seeds", X: "rule", Y: m.name()}
	for _, o := range list {
		mean, sd := stat.MeanStdDev(o.scores, nil)
		shown := fmt.Sprintf("%.4g", mean)
		if len(o.scores) > 1 {
			shown = fmt.Sprintf("%.2f ± %.2f", mean, sd)
		} else {
			sd = 0
		}
		var epochs, seconds float64
		for _, r := range o.results {
			epochs += float64(len(r.History.Records)) / float64(len(o.results))
			seconds += r.History.Last().Seconds / float64(len(o.results))
		}
		table.Rows = append(table.Rows, []string{o.name, shown, strconv.Itoa(len(o.seeds)), fmt.Sprintf("%.4g", epochs),
			fmt.Sprintf("%.2f", seconds), strconv.Itoa(o.results[0].Parameters), fmt.Sprintf("%d kB", o.results[0].Bytes/1000)})
		bars.Bars = append(bars.Bars, notebook.Bar{Name: o.name, Value: mean, Spread: sd})
	}
	c.page.Table(table)
	c.page.Text("Seconds are of training, a run; memory is that of a step's activations and gradients.")
	c.page.Plot(bars)
	c.significance(list, m)
	c.curves(list, m)
	return c.tables(list, m)
}

// significance compares each rule with the first one, seed by seed.
func (c *comparing) significance(list []outcome, m measure) {
	var others []outcome
	var found []comparison
	var p []float64
	for _, o := range list[1:] {
		var a, b []float64
		for i, seed := range o.seeds {
			for k, other := range list[0].seeds {
				if other == seed {
					a, b = append(a, o.scores[i]), append(b, list[0].scores[k])
				}
			}
		}
		if len(a) > 1 {
			one := compare(a, b)
			others, found, p = append(others, o), append(found, one), append(p, one.tP)
		}
	}
	if len(found) == 0 {
		return
	}
	c.page.Heading("Is the difference real?")
	c.page.Text(fmt.Sprintf("Differences to **%s**, seed by seed. p is the probability of a difference as large if there were none: "+
		"by the paired t-test, by the same corrected for the number of comparisons (Holm), and by Wilcoxon's signed ranks, which "+
		"assume no distribution and with n pairs cannot be below $2^{1-n}$.", escape(list[0].name)))
	table := notebook.Table{Header: []string{"rule", "pairs", "difference", "t", "p (t-test)", "p (Holm)", "p (Wilcoxon)"}}
	corrected := holm(p)
	for i, one := range found {
		table.Rows = append(table.Rows, []string{others[i].name, strconv.Itoa(one.pairs), fmt.Sprintf("%+.3g", one.difference),
			number(one.t), number(one.tP), number(corrected[i]), number(one.wilcoxonP)})
	}
	c.page.Table(table)
}

func number(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.3g", v)
}

// curves shows the course of the runs: the mean over the seeds, with a band of the standard deviation.
func (c *comparing) curves(list []outcome, m measure) {
	c.page.Heading("How they learn")
	score := notebook.Plot{Title: "After each epoch, mean and standard deviation over the seeds", X: "epoch", Y: m.curveName()}
	loss := notebook.Plot{Title: "Training loss, as each rule defines it", X: "epoch", Y: "loss", LogY: true}
	clock := notebook.Plot{Title: "Against the clock, first seed", X: "seconds of training", Y: m.curveName()}
	for _, o := range list {
		line, lossLine := notebook.Line{Name: o.name}, notebook.Line{Name: o.name}
		for epoch := 0; ; epoch++ {
			var scores, losses []float64
			for _, r := range o.results {
				if records := r.History.Records; epoch < len(records) {
					scores = append(scores, m.of(records[epoch].Accuracy, records[epoch].Error))
					losses = append(losses, records[epoch].Loss)
				}
			}
			if len(scores) == 0 {
				break
			}
			mean, sd := stat.MeanStdDev(scores, nil)
			if len(scores) == 1 {
				sd = 0
			}
			x := float64(epoch + 1)
			line.X, line.Y, line.Band = append(line.X, x), append(line.Y, mean), append(line.Band, sd)
			lossLine.X, lossLine.Y = append(lossLine.X, x), append(lossLine.Y, stat.Mean(losses, nil))
		}
		timed := notebook.Line{Name: o.name}
		for _, r := range o.results[0].History.Records {
			timed.X, timed.Y = append(timed.X, r.Seconds), append(timed.Y, m.of(r.Accuracy, r.Error))
		}
		score.Lines, loss.Lines, clock.Lines = append(score.Lines, line), append(loss.Lines, lossLine), append(clock.Lines, timed)
	}
	c.page.Plot(score)
	c.page.Plot(loss)
	c.page.Plot(clock)
	c.page.Text("Each run has a folder in `" + filepath.ToSlash(filepath.Join(c.out, "runs")) + "` with its checkpoints and its event log: " +
		"`tensorboard --logdir " + filepath.ToSlash(filepath.Join(c.out, "runs")) + "` shows them.")
}

func (m measure) curveName() string {
	if m {
		return "accuracy, %"
	}
	return "mean squared error"
}

// tables writes the results of the runs and of the epochs as comma-separated values.
func (c *comparing) tables(list []outcome, m measure) error {
	value := "accuracy"
	if !m {
		value = "error"
	}
	runs := [][]string{{"rule", "seed", "test_" + value, "train_loss", "epochs", "steps", "seconds"}}
	curves := [][]string{{"rule", "seed", "epoch", "step", "train_loss", "validation_" + value, "seconds"}}
	text := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for _, o := range list {
		for i, r := range o.results {
			seed, last := strconv.FormatUint(o.seeds[i], 10), r.History.Last()
			score := r.Test.Accuracy
			if !m {
				score = r.Test.Error
			}
			runs = append(runs, []string{o.name, seed, text(score), text(last.Loss), strconv.Itoa(last.Epoch), strconv.Itoa(last.Step), text(last.Seconds)})
			for _, rec := range r.History.Records {
				score := rec.Accuracy
				if !m {
					score = rec.Error
				}
				curves = append(curves, []string{o.name, seed, strconv.Itoa(rec.Epoch), strconv.Itoa(rec.Step), text(rec.Loss), text(score), text(rec.Seconds)})
			}
		}
	}
	for name, rows := range map[string][][]string{c.Name + ".csv": runs, c.Name + "-curves.csv": curves} {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		if err := w.WriteAll(rows); err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(c.out, name), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
