// Compare trains a model by several rules with several seeds, as an experiment file says, and tells which is better.
//
//	go run ./examples/compare                                  # four rules on the digits
//	go run ./examples/compare my.yaml                          # an experiment of your own
//	go run ./examples/compare -rules backprop,mono-forward -seeds 10 -set optimizer.adam.lr=1e-2
//	go run ./examples/compare -help-on mono-forward            # what can be set
//
// It writes, in the folder -out, a page (NAME.html and NAME.ipynb), NAME.csv with a line for each run, NAME-curves.csv
// with a line for each epoch, and for each run a folder with its checkpoints and the event log that TensorBoard shows.
// Ctrl-C finishes the step, saves and says how to go on; whatever ends the program, -resume goes on from the last
// checkpoints, to the same bits.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/experiment"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
)

//go:embed default.yaml
var standard []byte

type options struct {
	out             string
	resume, restart bool
	jobs            int
	helpOn          *string
	again           string // the command that goes on
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends at once
	}()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string) (o options, e *experiment.Experiment, err error) {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "compare [experiment.yaml] [flags]: trains by several rules with several seeds and compares them.")
		f.PrintDefaults()
	}
	f.StringVar(&o.out, "out", "", "folder of the results (default out/NAME)")
	f.BoolVar(&o.resume, "resume", false, "go on with the runs in the folder")
	f.BoolVar(&o.restart, "restart", false, "delete the experiment's runs in the folder and start again")
	f.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "most runs at a time; memory may allow fewer")
	var settings [][2]string
	set := func(key string) func(string) error {
		return func(value string) error { settings = append(settings, [2]string{key, value}); return nil }
	}
	names := f.String("rules", "", "rules with commas: names in the file, or of any rule with its defaults")
	f.Func("seeds", "number of seeds, or a list as in [3, 5]", set("seeds"))
	f.Func("epochs", "epochs of the rules that have none of their own", set("epochs"))
	f.BoolFunc("histograms", "log histograms of the parameters and their updates", set("histograms"))
	f.Func("set", "another value for any key, as in -set optimizer.adam.lr=1e-2; may be repeated", func(text string) error {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.Errorf("want key=value, got %q", text)
		}
		return set(key)(value)
	})
	f.Func("help-on", `tell what a file can say and end: "" for all keys and names, or a name`, func(topic string) error {
		o.helpOn = &topic
		return nil
	})
	files, rest := []string{}, args
	for { // flags may stand before and behind the file
		if err := f.Parse(rest); err != nil {
			return o, nil, err
		}
		if f.NArg() == 0 {
			break
		}
		files, rest = append(files, f.Arg(0)), f.Args()[1:]
	}
	o.again = again(args)
	switch {
	case o.helpOn != nil:
		return o, nil, nil
	case len(files) > 1:
		return o, nil, graph.Fail("compare", "arguments", "one file", strings.Join(files, " "))
	case o.jobs < 1:
		return o, nil, graph.Fail("compare", "-jobs", "at least 1", o.jobs)
	case o.resume && o.restart:
		return o, nil, graph.Fail("compare", "-resume, -restart", "one of them", "both")
	case len(files) == 1:
		e, err = experiment.Read(files[0])
	default:
		e, err = experiment.Parse("default.yaml", standard)
	}
	if err == nil && *names != "" {
		e, err = e.Choose(strings.Split(*names, ","))
	}
	for _, s := range settings {
		if err == nil {
			e, err = e.With(s[0], s[1])
		}
	}
	if err == nil && o.out == "" {
		o.out = filepath.Join("out", e.Name)
	}
	return o, e, err
}

// again is the command line that goes on with what this one began.
func again(args []string) string {
	words := []string{os.Args[0]}
	if strings.Contains(os.Args[0], "go-build") { // go run's
		words = []string{"go", "run", "./examples/compare"}
	}
	for _, a := range args {
		switch strings.TrimLeft(a, "-") {
		case "resume", "restart":
			continue
		}
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$&|;<>(){}[]*?#~`!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(append(words, "-resume"), " ")
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, e, err := parse(args)
	if err != nil {
		return err
	}
	if o.helpOn != nil {
		text, err := experiment.Help(*o.helpOn)
		fmt.Fprint(out, text)
		return err
	}
	c := &comparing{Experiment: e, options: o, memory: newMemory()}
	if err := c.prepare(); err != nil {
		return err
	}
	page, err := notebook.New(e.Name+": "+strings.Join(e.Rules, ", "), notebook.Options{Dir: o.out, Name: e.Name, Terminal: out})
	if err != nil {
		return err
	}
	defer page.Close()
	c.page = page
	if err := c.introduce(); err != nil {
		return err
	}
	err = c.train(ctx)
	if failed := c.report(); err == nil {
		err = failed
	}
	switch {
	case errors.Is(err, context.Canceled):
		page.Text(fmt.Sprintf("**Stopped and saved**, %d of %d runs finished. To go on:\n\n    %s", len(c.results), len(c.jobs()), o.again))
	case err != nil:
		page.Text("**Not finished.** " + escape(err.Error()))
	}
	if failed := page.Close(); err == nil {
		err = failed
	}
	return err
}

// escape keeps text from being Markdown.
func escape(text string) string {
	return strings.NewReplacer("\\", "\\\\", "*", "\\*", "_", "\\_", "`", "\\`", "$", "\\$", "[", "\\[", "|", "\\|", "<", "\\<").Replace(text)
}
