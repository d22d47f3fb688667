// Local-learning trains the same networks by every rule that learns block by block, or from a feedback that is not the
// backward pass, and shows accuracy by layer, memory and time, and what the rules make of a network.
//
//	go run ./examples/local-learning
//	go run ./examples/local-learning -sections race,layers -data fashion-mnist
//	go run ./examples/local-learning -sections long -runs mono-forward-mlp,backprop-mlp -results results.md
//
// It ends with exit status 1 if something it claims does not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
)

// A section is one part of the story.
type section struct {
	name string
	tell func(s *story) error
}

// sections are told in this order; long takes hours and is told when asked for.
var sections = []section{
	{"race", tellRace},
	{"memory", tellMemory},
	{"collaboration", tellCollaboration},
	{"sparsity", tellSparsity},
	{"media", tellMedia},
	{"feedback", tellFeedback},
	{"knowledge", tellKnowledge},
	{"long", tellLong},
}

func sectionNames() []string {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

type options struct {
	data, dir, out, results string
	sections, runs          []string
	seed                    uint64
	seeds, epochs           int
	quick                   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "local-learning:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("local-learning", flag.ContinueOnError)
	f.StringVar(&o.data, "data", "digits", "data set of the short sections: "+strings.Join(data.Names(), ", "))
	f.StringVar(&o.dir, "dir", "", "folder of the data set's files (default: where Debian's package puts them)")
	f.StringVar(&o.out, "out", ".", "folder for local-learning.html and local-learning.ipynb")
	f.StringVar(&o.results, "results", "", "file that tables and checks are appended to, as Markdown")
	f.Uint64Var(&o.seed, "seed", 1, "seed of everything random")
	f.IntVar(&o.seeds, "seeds", 1, "runs, with seeds seed, seed+1, ...; tables show means")
	f.IntVar(&o.epochs, "epochs", 0, "epochs of the long runs (default: each run's own)")
	f.BoolVar(&o.quick, "quick", false, "a fraction of the epochs, and no checks of what training reaches")
	names := f.String("sections", "all", "all, which leaves out long, or some with commas: "+strings.Join(sectionNames(), ", "))
	runs := f.String("runs", "all", "of the long section, with commas: "+strings.Join(longNames(), ", "))
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, graph.Fail("local-learning", "arguments", "flags only", f.Args())
	case o.seeds < 1:
		return o, graph.Fail("local-learning", "-seeds", "at least 1", o.seeds)
	case o.epochs < 0:
		return o, graph.Fail("local-learning", "-epochs", "at least 0", o.epochs)
	}
	all := slices.DeleteFunc(sectionNames(), func(n string) bool { return n == "long" })
	if o.sections, err = some("-sections", *names, all, sectionNames()); err != nil {
		return o, err
	}
	o.runs, err = some("-runs", *runs, longNames(), longNames())
	return o, err
}

// some is the list in a flag, whose "all" means all.
func some(name, text string, all, known []string) ([]string, error) {
	if text == "all" {
		return all, nil
	}
	list := strings.Split(text, ",")
	for _, n := range list {
		if !slices.Contains(known, n) {
			return nil, graph.Fail("local-learning", name, "some of "+strings.Join(known, ", "), n)
		}
	}
	return list, nil
}

func run(ctx context.Context, args []string, terminal io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	page, err := notebook.New("Local learning", notebook.Options{Dir: o.out, Name: "local-learning", Terminal: terminal})
	if err != nil {
		return err
	}
	defer page.Close()
	s := &story{Page: page, options: o, ctx: ctx}
	s.Text("Backpropagation carries one error from the last layer to the first and keeps every activation for it. The rules " +
		"on this page let each block of a network learn from what it sees itself, or from an error that takes another way.")
	for _, part := range sections {
		if !slices.Contains(o.sections, part.name) {
			continue
		}
		if err := part.tell(s); err != nil {
			return errors.Wrap(err, part.name)
		}
	}
	if s.failed != nil {
		return s.failed
	}
	return page.Close()
}

// A story is the page, and what of it goes into the file of results.
type story struct {
	*notebook.Page
	options
	ctx     context.Context
	written bool
	failed  error // of writing a heading
}

// write appends to the file of results; the first time it says what wrote it.
func (s *story) write(format string, args ...any) error {
	if s.results == "" {
		return nil
	}
	f, err := os.OpenFile(s.results, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return errors.Wrap(err, "results")
	}
	if !s.written {
		fmt.Fprintf(f, "\nWritten by `go run ./examples/local-learning %s` on %s/%s, %d processors, %s.\n", s.command(), runtime.GOOS,
			runtime.GOARCH, runtime.GOMAXPROCS(0), runtime.Version())
		s.written = true
	}
	fmt.Fprintf(f, format, args...)
	if err := f.Sync(); err != nil {
		f.Close()
		return errors.Wrap(err, "results")
	}
	return errors.Wrap(f.Close(), "results")
}

// command is the flags that give these results.
func (s *story) command() string {
	c := fmt.Sprintf("-sections %s -data %s -seed %d -seeds %d", strings.Join(s.sections, ","), s.data, s.seed, s.seeds)
	if slices.Contains(s.sections, "long") {
		c += " -runs " + strings.Join(s.runs, ",")
	}
	if s.epochs > 0 {
		c += fmt.Sprintf(" -epochs %d", s.epochs)
	}
	if s.quick {
		c += " -quick"
	}
	return c
}

// Heading starts a section, also in the file of results.
func (s *story) Heading(text string) {
	s.Page.Heading(text)
	if err := s.write("\n## %s\n", text); err != nil && s.failed == nil {
		s.failed = err
	}
}

// show adds a table to the page and to the file of results.
func (s *story) show(t notebook.Table) error {
	s.Table(t)
	var b strings.Builder
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	if t.Title != "" {
		fmt.Fprintf(&b, "\n%s\n", t.Title)
	}
	b.WriteByte('\n')
	row(t.Header)
	row(slices.Repeat([]string{"---"}, len(t.Header)))
	for _, cells := range t.Rows {
		row(cells)
	}
	return s.write("%s", b.String())
}

// expect records a claim about what training reaches.
func (s *story) expect(claim string, ok bool, got string) error {
	if s.quick {
		return nil
	}
	s.Check(claim, ok, got)
	return s.write("\n- %s: %s (%s)\n", claim, map[bool]string{true: "holds", false: "FAILS"}[ok], got)
}

// length is how many of n epochs are made.
func (s *story) length(n int) int {
	if s.quick {
		return max(n/20, 2)
	}
	return n
}
