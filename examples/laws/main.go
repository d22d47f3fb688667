// Laws shows what small runs tell about others: a search over hyper-parameters, the edge of the learning rates that still
// train, how the loss follows the schedule, how it falls with the size of the model, and what a wide valley is. Each of the
// pages search, threshold, annealing, power and valleys is an HTML page and a notebook.
//
//	go run ./examples/laws
//	go run ./examples/laws -pages annealing,power -seeds 5 -out /tmp
//	go run ./examples/laws -search examples/laws/search.yaml
//
// It ends with exit status 1 if something that a page claims does not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
)

// pages are what the program can write.
var pages = []struct {
	name, title string
	write       func(e *story) error
}{
	{"search", "Searching hyper-parameters by cross-entropy", searchPage},
	{"threshold", "The largest learning rate, by noisy binary search", thresholdPage},
	{"annealing", "A law for every learning-rate schedule", annealingPage},
	{"power", "The loss of larger models", powerPage},
	{"valleys", "Wide valleys", valleysPage},
}

// A story is what a page needs to run.
type story struct {
	*notebook.Page
	ctx   context.Context
	seed  uint64
	seeds int
	quick bool
}

// expect checks a claim that needs the whole run.
func (e *story) expect(claim string, ok bool, got string) {
	if !e.quick {
		e.Check(claim, ok, got)
	}
}

// short is n, or less in a quick run.
func (e *story) short(n, quick int) int {
	if e.quick {
		return quick
	}
	return n
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "laws:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var known []string
	for _, p := range pages {
		known = append(known, p.name)
	}
	f := flag.NewFlagSet("laws", flag.ContinueOnError)
	out := f.String("out", ".", "folder for the pages")
	seed := f.Uint64("seed", 1, "seed of everything random")
	seeds := f.Int("seeds", 3, "runs, with seeds seed, seed+1, ...")
	quick := f.Bool("quick", false, "a part of the steps, and no checks of what needs all")
	file := f.String("search", "", "search what this file says, in place of the pages; search.yaml beside the program is one")
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
		return graph.Fail("laws", "arguments", "flags only", f.Args())
	case *seeds < 1:
		return graph.Fail("laws", "-seeds", "at least 1", *seeds)
	}
	if *file != "" {
		return searchFilePage(ctx, *file, *out)
	}
	for _, c := range chosen {
		if !slices.Contains(known, c) {
			return graph.Fail("laws", "-pages", strings.Join(known, ", "), fmt.Sprintf("%q", c))
		}
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
		e := &story{page, ctx, *seed, *seeds, *quick}
		if err := p.write(e); err != nil {
			page.Close()
			return errors.Wrap(err, p.name)
		}
		if err := page.Close(); err != nil && failed == nil {
			failed = errors.Wrap(err, p.name)
		}
	}
	return failed
}

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	if len(s) == 0 {
		return math.NaN()
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func moments(x []float64) (mean, sd float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sd += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(sd / math.Max(float64(len(x)-1), 1))
}

func spread(x []float64, format string) string {
	mean, sd := moments(x)
	return fmt.Sprintf(format+" ± "+format, mean, sd)
}
