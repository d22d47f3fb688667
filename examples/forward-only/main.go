// Forward-only trains without a backward pass, by what a few evaluations of the loss, or one forward-mode pass, tell
// about the gradient, and shows what that costs and what it gives, next to backpropagation.
//
//	go run ./examples/forward-only
//	go run ./examples/forward-only -sections race -data fashion-mnist
//	go run ./examples/forward-only -sections race -data fashion-mnist -n 60000
//	go run ./examples/forward-only -seeds 5 -race digits,fashion-mnist -results examples/forward-only/RESULTS.md
//
// It ends with exit status 1 if something it claims does not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules"
)

// A section is one part of the story.
type section struct {
	name string
	tell func(s *story) error
}

var sections = []section{
	{"zeroflow", tellZeroFlow},
	{"landscape", tellLandscape},
	{"one-byte", tellOneByte},
	{"race", tellRace},
	{"tangents", tellTangents},
	{"guess", tellGuesses},
	{"likelihood", tellLikelihood},
	{"smb", tellSMB},
	{"parallel", tellParallel},
}

func sectionNames() []string {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

type options struct {
	data, race, dir, out, results string
	sections                      []string
	seed                          uint64
	seeds, examples               int
	quick                         bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "forward-only:", err)
		}
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("forward-only", flag.ContinueOnError)
	f.StringVar(&o.data, "data", "digits", "data set: "+strings.Join(data.Names(), ", "))
	f.StringVar(&o.race, "race", "", "data sets of the race, with commas (default: that of -data)")
	f.StringVar(&o.dir, "dir", "", "folder of the data set's files (default: where Debian's package puts them)")
	f.StringVar(&o.out, "out", ".", "folder for forward-only.html and forward-only.ipynb")
	f.StringVar(&o.results, "results", "", "file to write tables and checks to, as Markdown")
	f.Uint64Var(&o.seed, "seed", 1, "seed of everything random")
	f.IntVar(&o.seeds, "seeds", 1, "runs, with seeds seed, seed+1, ...; tables show means")
	f.IntVar(&o.examples, "n", 10000, "examples of a large data set to race on (all of Fashion-MNIST: 60000)")
	f.BoolVar(&o.quick, "quick", false, "a twentieth of the steps, and no checks of what training reaches")
	names := f.String("sections", "all", "parts to tell, with commas: "+strings.Join(sectionNames(), ", "))
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, graph.Fail("forward-only", "arguments", "flags only", f.Args())
	case o.seeds < 1:
		return o, graph.Fail("forward-only", "-seeds", "at least 1", o.seeds)
	case o.examples < 1000:
		return o, graph.Fail("forward-only", "-n", "at least 1000", o.examples)
	}
	if o.race == "" {
		o.race = o.data
	}
	o.sections = strings.Split(*names, ",")
	if *names == "all" {
		o.sections = sectionNames()
	}
	for _, name := range o.sections {
		if !slices.Contains(sectionNames(), name) {
			return o, graph.Fail("forward-only", "-sections", "some of "+strings.Join(sectionNames(), ", "), name)
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, terminal io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	page, err := notebook.New("Forward only", notebook.Options{Dir: o.out, Name: "forward-only", Terminal: terminal})
	if err != nil {
		return err
	}
	defer page.Close()
	s := &story{Page: page, options: o, ctx: ctx}
	fmt.Fprintf(&s.file, "# Forward only: results\n\nWritten by `go run ./examples/forward-only -data %s -race %s -n %d -seed %d -seeds %d -sections %s` on %s/%s, "+
		"%d processors, %s. Means are over %d seeds where nothing else is said.\n", o.data, o.race, o.examples, o.seed, o.seeds, strings.Join(o.sections, ","),
		runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), runtime.Version(), o.seeds)
	s.Text("Backpropagation runs the model forward and then backward, and keeps every intermediate value for the way back. " +
		"The rules on this page never go back: they evaluate the loss at several places, and a few numbers are all they learn from.")
	for _, part := range sections {
		if !slices.Contains(o.sections, part.name) {
			continue
		}
		if err := part.tell(s); err != nil {
			return errors.Wrap(err, part.name)
		}
	}
	if o.results != "" {
		if err := os.WriteFile(o.results, []byte(s.file.String()), 0o644); err != nil {
			return errors.Wrap(err, "results")
		}
	}
	return page.Close()
}

// A story is the page, and what of it goes into the file of results.
type story struct {
	*notebook.Page
	options
	ctx  context.Context
	file strings.Builder
}

// Heading starts a section.
func (s *story) Heading(text string) {
	s.Page.Heading(text)
	fmt.Fprintf(&s.file, "\n## %s\n", text)
}

// Table adds a table.
func (s *story) Table(t notebook.Table) {
	s.Page.Table(t)
	row := func(cells []string) { fmt.Fprintf(&s.file, "| %s |\n", strings.Join(cells, " | ")) }
	fmt.Fprintln(&s.file)
	if t.Title != "" {
		fmt.Fprintf(&s.file, "%s\n\n", t.Title)
	}
	row(t.Header)
	rule := make([]string, len(t.Header))
	for i := range rule {
		rule[i] = "---"
	}
	row(rule)
	for _, cells := range t.Rows {
		row(cells)
	}
	fmt.Fprintln(&s.file)
}

// Check records a claim that does not depend on how long was trained.
func (s *story) Check(claim string, ok bool, got string) {
	s.Page.Check(claim, ok, got)
	holds := map[bool]string{true: "holds", false: "FAILS"}[ok]
	fmt.Fprintf(&s.file, "- %s: %s (%s)\n", claim, holds, got)
}

// Expect records a claim about what training reaches.
func (s *story) Expect(claim string, ok bool, got string) {
	if !s.quick {
		s.Check(claim, ok, got)
	}
}

// steps is how many of n steps are made.
func (s *story) steps(n int) int {
	if s.quick {
		return max(n/20, 2)
	}
	return n
}

// each runs f for every seed.
func (s *story) each(f func(seed uint64) error) error {
	for i := range s.seeds {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if err := f(s.seed + uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

// split is the digits' training and test part of a seed.
func split(seed uint64) (train, test *data.Set, err error) { return data.Digits().Split(seed, 0.2) }

// train makes steps on random batches of the given examples of a set. replay of each batch come from old ones.
func train(t rules.Trainer, d rules.Data, steps int, examples []int, replay int, old []int) (last float64, err error) {
	spec := t.Spec()
	batch, rows := rules.NewBatch(spec), make([]int, spec.Batch)
	for range steps {
		r := graph.Rand(spec.Seed, "forward-only/batch", uint64(t.Steps()))
		for i := range rows {
			from := examples
			if i < replay {
				from = old
			}
			rows[i] = from[r.IntN(len(from))]
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			return last, err
		}
		if last, err = t.Step(batch); err != nil {
			return last, err
		}
	}
	return last, nil
}

// everything is 0 to n-1.
func everything(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// percent writes a mean of shares, with its deviation if there are several.
func percent(x []float64) string {
	mean, sd := moments(x)
	if len(x) < 2 {
		return fmt.Sprintf("%.1f %%", 100*mean)
	}
	return fmt.Sprintf("%.1f ± %.1f %%", 100*mean, 100*sd)
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

func mean(x []float64) float64 {
	m, _ := moments(x)
	return m
}
