// Width shows how to train a small model and keep its hyper-parameters for a large one. Standard initialisation and one
// learning rate for all parameters stand beside the maximal update parametrisation, in width (perceptrons), in depth
// (residual networks), and beside the scalings of transformers. Each of the pages coordinates, transfer, depth and transformer is an
// HTML page and a notebook.
//
//	go run ./examples/width
//	go run ./examples/width -pages transfer -seeds 5 -out /tmp
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

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
)

// pages are what the program can write.
var pages = []struct {
	name, title string
	write       func(e *experiment) error
}{
	{"coordinates", "Coordinate check: what a step changes, by width", coordinatesPage},
	{"transfer", "The best learning rate, by width", transferPage},
	{"depth", "Residual networks, by depth", depthPage},
	{"transformer", "Transformers, by width", transformerPage},
}

// An experiment is what a page needs to run.
type experiment struct {
	*notebook.Page
	ctx   context.Context
	train *data.Set
	seed  uint64
	seeds int
	quick bool
}

// expect checks a claim that needs the whole run.
func (e *experiment) expect(claim string, ok bool, got string) {
	if !e.quick {
		e.Check(claim, ok, got)
	}
}

// short is n, or less in a quick run.
func (e *experiment) short(n, quick int) int {
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
			fmt.Fprintln(os.Stderr, "width:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var known []string
	for _, p := range pages {
		known = append(known, p.name)
	}
	f := flag.NewFlagSet("width", flag.ContinueOnError)
	out := f.String("out", ".", "folder for the pages")
	seed := f.Uint64("seed", 1, "seed of everything random")
	seeds := f.Int("seeds", 3, "runs, with seeds seed, seed+1, ...; all numbers are means")
	quick := f.Bool("quick", false, "fewer sizes and steps, and no checks of what needs all")
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
		return graph.Fail("width", "arguments", "flags only", f.Args())
	case *seeds < 1:
		return graph.Fail("width", "-seeds", "at least 1", *seeds)
	}
	for _, c := range chosen {
		if !slices.Contains(known, c) {
			return graph.Fail("width", "-pages", strings.Join(known, ", "), fmt.Sprintf("%q", c))
		}
	}
	train, _, err := data.Digits().Split(*seed, 0.2)
	if err != nil {
		return err
	}
	if train, err = data.PerChannel(train).Apply(train); err != nil {
		return err
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
		e := &experiment{page, ctx, train, *seed, *seeds, *quick}
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

// steps makes steps on random batches and returns the mean loss of the last fifth; that of guessing, or more, if the
// run fails.
func (e *experiment) steps(t rules.Trainer, n int) (float64, error) {
	spec := t.Spec()
	batch, rows := rules.NewBatch(spec), make([]int, spec.Batch)
	var losses []float64
	for range n {
		if err := e.ctx.Err(); err != nil {
			return 0, err
		}
		r := graph.Rand(spec.Seed, "width/batch", uint64(t.Steps()))
		for i := range rows {
			rows[i] = r.IntN(e.train.Len())
		}
		if err := batch.Fill(e.train, rows, 0); err != nil {
			return 0, err
		}
		loss, err := t.Step(batch)
		if err != nil {
			return failedLoss, nil
		}
		losses = append(losses, loss)
	}
	sum, last := 0.0, losses[len(losses)-max(n/5, 1):]
	for _, l := range last {
		sum += l / float64(len(last))
	}
	return min(sum, failedLoss), nil
}

// failedLoss stands for runs that diverge.
const failedLoss = 5

// A sweep is the final losses of one kind of model for sizes and learning rates.
type sweep struct {
	sizes  []int
	rates  []float64
	losses [][]float64 // [sizes][rates], means over seeds
}

// sweep trains every size with every rate.
func (e *experiment) sweep(name string, sizes []int, rates []float64, steps, batch int, rule func(size int, lr float64) (rules.Rule, layers.Layer)) (*sweep, error) {
	s := &sweep{sizes: sizes, rates: rates}
	bar := e.Progress(name, len(sizes)*len(rates)*e.seeds)
	defer bar.Done()
	done := 0
	for _, size := range sizes {
		row := make([]float64, len(rates))
		for k, lr := range rates {
			for run := range e.seeds {
				r, model := rule(size, lr)
				t, err := r.Trainer(model, objectives.CrossEntropy, rules.SpecOf(e.train, batch, e.seed+uint64(run)))
				if err != nil {
					return nil, err
				}
				loss, err := e.steps(t, steps)
				if err != nil {
					return nil, err
				}
				row[k] += loss / float64(e.seeds)
				done++
				bar.Set(done, fmt.Sprintf("size %d, learning rate %.2g: loss %.3f", size, lr, row[k]))
			}
		}
		s.losses = append(s.losses, row)
	}
	return s, nil
}

// best is the number of the best rate of each size.
func (s *sweep) best() []int {
	best := make([]int, len(s.sizes))
	for i, row := range s.losses {
		for k, l := range row {
			if l < row[best[i]] {
				best[i] = k
			}
		}
	}
	return best
}

// shift is how many rates lie between the best of the first and of the last size.
func (s *sweep) shift() int {
	b := s.best()
	shift := b[0] - b[len(b)-1]
	return max(shift, -shift)
}

// kept is the loss of the largest size at the rate that is best for the smallest.
func (s *sweep) kept() float64 { return s.losses[len(s.sizes)-1][s.best()[0]] }

// show adds a plot and a table of a sweep.
func (e *experiment) show(title, size string, s *sweep) {
	plot := notebook.Plot{Title: title, X: "learning rate", Y: "training loss", LogX: true, LogY: true}
	table := notebook.Table{Title: title, Header: []string{size, "best learning rate", "loss", "loss at the smallest's best rate"}}
	b := s.best()
	for i, n := range s.sizes {
		plot.Lines = append(plot.Lines, notebook.Line{Name: fmt.Sprint(size, " ", n), X: s.rates, Y: s.losses[i]})
		table.Rows = append(table.Rows, []string{fmt.Sprint(n), fmt.Sprintf("2^%.0f", math.Log2(s.rates[b[i]])), fmt.Sprintf("%.4f", s.losses[i][b[i]]), fmt.Sprintf("%.4f", s.losses[i][b[0]])})
	}
	e.Plot(plot)
	e.Table(table)
}

// powers are 2^from, 2^(from+1), ..., 2^to.
func powers(from, to int) []float64 {
	var p []float64
	for k := from; k <= to; k++ {
		p = append(p, math.Exp2(float64(k)))
	}
	return p
}

// evaluate is the values of nodes that a function builds of the first examples, with the given parameters.
func (e *experiment) evaluate(params *graph.Params, examples int, f func(s *graph.Scope, x *graph.Node) []*graph.Node) ([]*graph.Array, error) {
	var nodes []*graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		nodes = f(s, graph.Literal(s.Const(0), graph.ArrayOf(e.train.X[:64*examples], examples, 64)))
	})
	if err != nil {
		return nil, err
	}
	p, err := g.Compile(nodes...)
	if err != nil {
		return nil, err
	}
	if err := p.Run(); err != nil {
		return nil, err
	}
	values := make([]*graph.Array, len(nodes))
	for i, n := range nodes {
		values[i] = p.Array(n).Clone()
	}
	return values, nil
}

// rms is the root mean square of a, or of a - b.
func rms(a, b *graph.Array) float64 {
	sum := 0.0
	for i := range a.Size() {
		v := a.At(i)
		if b != nil {
			v -= b.At(i)
		}
		sum += v * v / float64(a.Size())
	}
	return math.Sqrt(sum)
}

// slope is that of the logarithm of y over the logarithm of x.
func slope(x []int, y []float64) float64 {
	var mx, my, xx, xy float64
	for i := range x {
		mx, my = mx+math.Log(float64(x[i]))/float64(len(x)), my+math.Log(y[i])/float64(len(x))
	}
	for i := range x {
		dx := math.Log(float64(x[i])) - mx
		xx, xy = xx+dx*dx, xy+dx*(math.Log(y[i])-my)
	}
	return xy / xx
}
