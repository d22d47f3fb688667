// Objectives compares what the library can minimise where it matters which: when labels are wrong, when confidences must
// be right, when training goes on for too long, when some classes are rare or there are few examples, when a shortcut is
// too easy or an input is changed on purpose, for pixels and texts, when examples are to be found again, when there is one
// class only, when classes form a tree, and when there are no labels. Each page is an HTML file and a notebook; RESULTS.md
// has the tables of one run.
//
//	go run ./examples/objectives
//	go run ./examples/objectives -pages noisy-labels -seeds 5
//	go run ./examples/objectives -data fashion-mnist -out /tmp
//
// It ends with exit status 1 if something that a page claims does not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
)

// pages are what the program can write.
var pages = []struct {
	name, title string
	write       func(e *experiment) error
}{
	{"noisy-labels", "Objectives when labels are wrong", noisyLabels},
	{"calibration", "Objectives when confidence must be right", calibration},
	{"over-trained", "Objectives when a network is trained for too long", overTrained},
	{"long-tail", "Objectives when some classes are rare", longTail},
	{"retrieval", "Objectives for finding examples of classes never seen", retrieval},
	{"one-class", "Objectives with examples of one class only", oneClass},
	{"hyperbolic", "Objectives for classes that form a tree", hyperbolic},
	{"adversarial", "Objectives when inputs are changed on purpose", adversarial},
	{"chequerboard", "Objectives for classes like the fields of a chequerboard", chequerboard},
	{"sequences", "Objectives for texts", sequences},
	{"segmentation", "Objectives for pixels, with labels perturbed", segmentation},
	{"sets", "Objectives of sets, for few examples", setLearning},
	{"shortcuts", "Objectives when a shortcut is too easy", shortcuts},
	{"neighbours", "One objective of two distributions: maps and clusters", neighbours},
}

// An experiment is what a page needs to run.
type experiment struct {
	*notebook.Page
	ctx         context.Context
	all, test   *data.Set // test is nil if the set has no part for it
	name        string    // of the data set
	seed        uint64
	seeds       int
	expectation bool // whether what is known of digits can be expected of this run
	claims      bool // whether there are runs enough to expect what holds of any data
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "objectives:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var known []string
	for _, p := range pages {
		known = append(known, p.name)
	}
	f := flag.NewFlagSet("objectives", flag.ContinueOnError)
	name := f.String("data", "digits", "data set: digits or fashion-mnist, or another one with classes")
	dir := f.String("dir", "", "folder of the data set's files (default: where Debian's package puts them)")
	out := f.String("out", ".", "folder for the pages")
	seed := f.Uint64("seed", 1, "seed of the splits, the initialisations and everything random")
	seeds := f.Int("seeds", 3, "runs, with seeds seed, seed+1, ...; the tables show means")
	wanted := f.String("pages", "all", "pages, with commas: "+strings.Join(known, ", "))
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen := strings.Split(*wanted, ",")
	if *wanted == "all" {
		chosen = known
	}
	switch {
	case f.NArg() > 0:
		return graph.Fail("objectives", "arguments", "flags only", f.Args())
	case *seeds < 1:
		return graph.Fail("objectives", "-seeds", "at least 1", *seeds)
	}
	for _, c := range chosen {
		if !slices.Contains(known, c) {
			return graph.Fail("objectives", "-pages", strings.Join(known, ", "), fmt.Sprintf("%q", c))
		}
	}
	train, test, err := data.ByName(*name, *dir)
	if err != nil {
		return err
	}
	if train.Classes() == 0 {
		return graph.Fail("objectives", "-data", "a data set with classes", *name)
	}
	var failed error
	for _, p := range pages {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		page, err := notebook.New(p.title, notebook.Options{Dir: *out, Name: p.name, Terminal: os.Stdout})
		if err != nil {
			return err
		}
		e := &experiment{page, ctx, train, test, *name, *seed, *seeds, *name == "digits" && *seeds >= 3, *seeds >= 3}
		if err := p.write(e); err != nil {
			page.Close()
			return err
		}
		if err := page.Close(); err != nil && failed == nil {
			failed = errors.Wrap(err, p.name)
		}
	}
	return failed
}

// most is how many training examples of a large set a page uses, so that it stays within a minute.
const most = 2000

// parts are the training and the test examples of a run: a large set is cut down, one without a test part is split.
func (e *experiment) parts(run int, testFraction float64) (train, test *data.Set, err error) {
	seed := e.seed + uint64(run)
	if e.test == nil {
		return e.all.Split(seed, testFraction)
	}
	if e.all.Len() <= most {
		return e.all, e.test, nil
	}
	_, train, err = e.all.Split(seed, float64(most)/float64(e.all.Len()))
	return train, e.test, err
}

// rows is a copy of the examples with these numbers.
func rows(s *data.Set, numbers []int) *data.Set {
	c := *s
	width := len(s.X) / s.Len()
	c.X, c.Labels = make([]float32, 0, len(numbers)*width), make([]int, 0, len(numbers))
	for _, i := range numbers {
		c.X = append(c.X, s.X[i*width:(i+1)*width]...)
		c.Labels = append(c.Labels, s.Labels[i])
	}
	return &c
}
