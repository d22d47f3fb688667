// Quickstart trains one model on one data set by several rules and shows what comes of it: a table in the terminal,
// and the learning curves in quickstart.html and quickstart.ipynb.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -rules backprop,mono-forward -seeds 5
//	go run ./examples/quickstart -data fashion-mnist -out /tmp
//
// It ends with exit status 1 if a rule misses the accuracy it is expected to reach.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// An experiment is a rule with how long it trains and what accuracy, in percent, is expected on digits: of a single
// run and of the mean of at least five.
type experiment struct {
	rule        rules.Rule
	epochs      int
	single, all float64
}

// The same model, objective and data under each of these. To swap the rule, change its line.
var experiments = []experiment{
	{rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}, 30, 95.5, 97},
	{rules.MonoForward{Optimizer: optim.Adam{LR: 1e-3}}, 30, 95, 96.5},
	{rules.ForwardForward{Optimizer: optim.Adam{LR: 1e-3}}, 60, 94.5, 96},
	{rules.ForwardGradient{Optimizer: optim.SGD{LR: 8e-3}, Tangents: 8, Options: optim.Options{Clip: optim.Clip{Norm: 50}}}, 60, 85, 88},
}

// names lists the rules of the experiments.
func names() []string {
	var list []string
	for _, e := range experiments {
		list = append(list, e.rule.Name())
	}
	return list
}

type options struct {
	data, dir, out string
	rules          []string
	seed           uint64
	seeds, epochs  int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	f.StringVar(&o.data, "data", "digits", "data set: "+strings.Join(data.Names(), ", "))
	f.StringVar(&o.dir, "dir", "", "folder of the data set's files (default: where Debian's package puts them)")
	f.StringVar(&o.out, "out", ".", "folder for quickstart.html and quickstart.ipynb")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the split, the initialisation and everything random")
	f.IntVar(&o.seeds, "seeds", 1, "runs, with seeds seed, seed+1, ...; the table shows means")
	f.IntVar(&o.epochs, "epochs", 0, "epochs of every rule (default: each rule's own)")
	chosen := f.String("rules", "all", "all, or some with commas: "+strings.Join(names(), ", "))
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, graph.Fail("quickstart", "arguments", "flags only", f.Args())
	case o.seeds < 1:
		return o, graph.Fail("quickstart", "-seeds", "at least 1", o.seeds)
	case o.epochs < 0:
		return o, graph.Fail("quickstart", "-epochs", "at least 0", o.epochs)
	}
	o.rules = strings.Split(*chosen, ",")
	if *chosen == "all" {
		o.rules = names()
	}
	slices.Sort(o.rules)
	o.rules = slices.Compact(o.rules)
	for _, name := range o.rules {
		if !slices.Contains(names(), name) {
			return o, graph.Fail("quickstart", "-rules", "some of "+strings.Join(names(), ", "), strconv.Quote(name))
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	train, test, err := data.ByName(o.data, o.dir)
	if err != nil {
		return err
	}
	if train.Classes() == 0 {
		return graph.Fail("quickstart", "-data", "a data set with classes", o.data)
	}
	page, err := notebook.New("Quickstart: one model, several rules", notebook.Options{Dir: o.out, Name: "quickstart", Terminal: os.Stdout})
	if err != nil {
		return err
	}
	defer page.Close()
	model := models.MLP{Hidden: []int{128, 128}, Classes: train.Classes()}
	page.Text(fmt.Sprintf("A perceptron with two hidden layers of 128 units learns **%s** by the same objective, "+
		"cross-entropy, under each of %d rules. Accuracy is on examples that were not trained on.", o.data, len(o.rules)))
	var results []result
	for _, e := range experiments {
		if !slices.Contains(o.rules, e.rule.Name()) {
			continue
		}
		r, err := repeat(ctx, page, e, model, train, test, o)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	report(page, results, o)
	return page.Close()
}

// A result is what all runs of one experiment gave.
type result struct {
	experiment
	accuracy []float64 // percent, one a seed
	seconds  float64   // mean training time
	bytes    int
	history  *rules.History // of the first seed
}

func repeat(ctx context.Context, page *notebook.Page, e experiment, model models.MLP, train, test *data.Set, o options) (result, error) {
	r := result{experiment: e}
	for i := range o.seeds {
		seed := o.seed + uint64(i)
		a, b := train, test
		if test == nil {
			var err error
			if a, b, err = train.Split(seed, 0.2); err != nil {
				return r, err
			}
		}
		trainer, err := e.rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(a, 32, seed))
		if err != nil {
			return r, err
		}
		history, err := fit(ctx, page, trainer, a, b, e.length(a.Len(), o.epochs))
		if err != nil {
			return r, err
		}
		r.accuracy = append(r.accuracy, 100*history.Last().Accuracy)
		r.seconds += history.Last().Seconds / float64(o.seeds)
		if i == 0 {
			r.history, r.bytes = history, trainer.ActivationBytes()
		}
	}
	return r, nil
}

// length is the number of epochs: as asked for, else the experiment's own, else, on large sets, fewer.
func (e experiment) length(examples, asked int) int {
	switch {
	case asked > 0:
		return asked
	case examples > 10000:
		return max(e.epochs/10, 1)
	}
	return e.epochs
}

func fit(ctx context.Context, page *notebook.Page, t rules.Trainer, train, test *data.Set, epochs int) (*rules.History, error) {
	bar := page.Progress(t.Name(), epochs*(train.Len()/t.Spec().Batch))
	defer bar.Done()
	return rules.Fit(ctx, t, train, rules.Config{
		Epochs:     epochs,
		Validation: test,
		OnStep: func(p rules.Progress) error {
			if p.Step%16 == 0 || p.Step == p.Steps {
				bar.Set(p.Step, fmt.Sprintf("epoch %d/%d loss %.3f", p.Epoch, p.Epochs, p.Loss))
			}
			return nil
		},
	})
}

// report shows the table and the curves, and checks the floors.
func report(page *notebook.Page, results []result, o options) {
	page.Heading("Results")
	table := notebook.Table{Header: []string{"rule", "test accuracy", "seconds", "activations and gradients"}}
	var accuracy, loss []notebook.Line
	for _, r := range results {
		mean, sd := meanAndDeviation(r.accuracy)
		shown := fmt.Sprintf("%.1f %%", mean)
		if len(r.accuracy) > 1 {
			shown = fmt.Sprintf("%.1f ± %.1f %%", mean, sd)
		}
		table.Rows = append(table.Rows, []string{r.rule.Name(), shown, fmt.Sprintf("%.1f", r.seconds), fmt.Sprintf("%d kB", r.bytes/1000)})
		a, l := notebook.Line{Name: r.rule.Name()}, notebook.Line{Name: r.rule.Name()}
		for _, rec := range r.history.Records {
			a.X, a.Y = append(a.X, rec.Seconds), append(a.Y, 100*rec.Accuracy)
			l.X, l.Y = append(l.X, float64(rec.Epoch)), append(l.Y, rec.Loss)
		}
		accuracy, loss = append(accuracy, a), append(loss, l)
	}
	page.Table(table)
	page.Plot(notebook.Plot{Title: "Test accuracy", X: "seconds of training", Y: "accuracy, %", Lines: accuracy})
	page.Plot(notebook.Plot{Title: "Training loss, as each rule defines it", X: "epoch", Y: "loss", LogY: true, Lines: loss})
	for _, r := range results {
		mean, _ := meanAndDeviation(r.accuracy)
		first, last := r.history.Records[0].Loss, r.history.Last().Loss
		if fifths := byFifths(r.history.Records); len(fifths) > 1 {
			steady := slices.IsSortedFunc(fifths, func(a, b float64) int { return cmp.Compare(b, a) })
			page.Check(r.rule.Name()+" lowers its loss in each fifth of the run", steady, fmt.Sprintf("%.3f to %.3f", first, last))
		}
		if floor := r.floor(o); floor > 0 {
			page.Check(fmt.Sprintf("%s reaches %.1f %%", r.rule.Name(), floor), mean >= floor, fmt.Sprintf("%.1f %%", mean))
		}
	}
}

// byFifths is the mean loss of each fifth of the epochs; nothing for fewer than five.
func byFifths(records []rules.Record) []float64 {
	var means []float64
	for i := 0; len(records) >= 5 && i < 5; i++ {
		part := records[i*len(records)/5 : (i+1)*len(records)/5]
		var sum float64
		for _, r := range part {
			sum += r.Loss
		}
		means = append(means, sum/float64(len(part)))
	}
	return means
}

// floor is the accuracy expected of the run; 0 if nothing is known of such a run.
func (r result) floor(o options) float64 {
	switch {
	case o.data != "digits" || o.epochs > 0 && o.epochs < r.epochs:
		return 0
	case o.seeds >= 5:
		return r.all
	}
	return r.single
}

func meanAndDeviation(x []float64) (mean, sd float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sd += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(sd / math.Max(float64(len(x)-1), 1))
}
