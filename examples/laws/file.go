package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pkg/errors"
	"go.yaml.in/yaml/v3"

	"github.com/harpe-ml/harpe/examples/experiment"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/search"
)

// A searchFile is what -search reads: an experiment and what may change in it. The score of a trial is the accuracy, or
// minus the squared error, on the experiment's validation examples, averaged over its seeds.
type searchFile struct {
	Experiment string               // path of the experiment's file, from the folder of this one
	Rule       string               // of the experiment's; empty means its first
	Space      map[string]dimension // by key, as in the experiment: optimizer.adam.lr
	Rounds     int
	Population int
	Elite      float64
	Smoothing  float64
	Seed       uint64
	Parallel   int
	Log        string // where trials are kept, to go on after a stop; from the folder of this file
}

// A dimension is one of three kinds.
type dimension struct {
	Real, Integer *struct {
		Low, High, Start, Spread float64
		Log                      bool
	}
	Choice []string
}

// of makes the search's dimension.
func (d dimension) of(name string) (search.Dimension, error) {
	switch {
	case d.Real != nil && d.Integer == nil && d.Choice == nil:
		r := d.Real
		return search.Real{Name: name, Low: r.Low, High: r.High, Log: r.Log, Start: r.Start, Spread: r.Spread}, nil
	case d.Integer != nil && d.Real == nil && d.Choice == nil:
		r := d.Integer
		if r.Low != math.Trunc(r.Low) || r.High != math.Trunc(r.High) || math.Abs(r.Low)+math.Abs(r.High) > 1<<40 {
			return nil, graph.Fail("search", "space: "+name, "whole numbers low and high", fmt.Sprint(r.Low, ", ", r.High))
		}
		return search.Integer{Name: name, Low: int(r.Low), High: int(r.High), Log: r.Log, Start: r.Start, Spread: r.Spread}, nil
	case d.Choice != nil && d.Real == nil && d.Integer == nil:
		return search.Choice{Name: name, Values: d.Choice}, nil
	}
	return nil, graph.Fail("search", "space: "+name, "one of real, integer and choice", "none or several")
}

// readSearch reads a file and the experiment it names.
func readSearch(path string) (f searchFile, space search.Space, e *experiment.Experiment, rule int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return f, nil, nil, 0, errors.Wrap(err, "search")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil {
		return f, nil, nil, 0, errors.Wrap(err, path)
	}
	var names []string
	for name := range f.Space {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		d, err := f.Space[name].of(name)
		if err != nil {
			return f, nil, nil, 0, errors.Wrap(err, path)
		}
		space = append(space, d)
	}
	folder := filepath.Dir(path)
	if f.Log != "" && !filepath.IsAbs(f.Log) {
		f.Log = filepath.Join(folder, f.Log)
	}
	if !filepath.IsAbs(f.Experiment) {
		f.Experiment = filepath.Join(folder, f.Experiment)
	}
	if e, err = experiment.Read(f.Experiment); err != nil {
		return f, nil, nil, 0, err
	}
	if f.Rule != "" {
		if rule = slices.Index(e.Rules, f.Rule); rule < 0 {
			return f, nil, nil, 0, graph.Fail("search", path+": rule", strings.Join(e.Rules, ", "), f.Rule)
		}
	}
	return f, space, e, rule, nil
}

// with is the experiment with a configuration's values.
func with(e *experiment.Experiment, c search.Config) (*experiment.Experiment, error) {
	var names []string
	for name := range c {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var err error
		if e, err = e.With(name, fmt.Sprint(c[name])); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// scoreOf trains the experiment's rule with every seed.
func scoreOf(ctx context.Context, e *experiment.Experiment, rule int) (float64, error) {
	total := 0.0
	for _, seed := range e.Seeds {
		r, err := e.Run(rule, seed)
		if err != nil {
			return 0, err
		}
		valid := r.Config.Validation
		if valid == nil || valid == rules.Data(r.Test) {
			return 0, graph.Fail("search", "experiment", "validation examples, such as data: {name: digits, validation: 0.2}", "test examples only, which choose nothing")
		}
		r.Config.Validation = nil
		if _, err := rules.Fit(ctx, r.Trainer, r.Train, r.Config); err != nil {
			if ctx.Err() != nil {
				return 0, err
			}
			return math.NaN(), nil
		}
		v, err := rules.Evaluate(r.Trainer, valid)
		if err != nil {
			return 0, err
		}
		if r.Trainer.Spec().Classes > 0 {
			total += v.Accuracy
		} else {
			total -= v.Error
		}
	}
	return total / float64(len(e.Seeds)), nil
}

// searchFilePage searches what a file says and shows the outcome.
func searchFilePage(ctx context.Context, path, out string) error {
	f, space, base, rule, err := readSearch(path)
	if err != nil {
		return err
	}
	s := search.CrossEntropy{Rounds: f.Rounds, Population: f.Population, Elite: f.Elite, Smoothing: f.Smoothing}
	s.Seed, s.Parallel, s.Log = f.Seed, f.Parallel, f.Log
	page, err := notebook.New("Search: "+base.Name, notebook.Options{Dir: out, Name: "search-" + strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), Terminal: os.Stdout})
	if err != nil {
		return err
	}
	defer page.Close()
	page.Text(fmt.Sprintf("%s of `%s`, by cross-entropy.", base.Rules[rule], filepath.Base(f.Experiment)))
	bar, done := page.Progress("trials", 0), 0
	s.OnTrial = func(t search.Trial) {
		done++
		bar.Set(done, fmt.Sprintf("score %.4g", t.Score))
	}
	result, err := s.Run(ctx, space, func(ctx context.Context, c search.Config) (float64, error) {
		e, err := with(base, c)
		if err != nil {
			return 0, err
		}
		return scoreOf(ctx, e, rule)
	})
	bar.Done()
	if err != nil {
		if f.Log != "" && ctx.Err() != nil {
			page.Text("Stopped. The same command goes on from `" + filepath.Base(f.Log) + "`.")
		}
		return err
	}
	names := []string{"round", "best score"}
	for name := range result.Best.Config {
		names = append(names, name)
	}
	slices.Sort(names[2:])
	table := notebook.Table{Title: "Mode of the distribution and best score of each round", Header: names}
	for i, d := range result.Distributions[1:] {
		best := math.Inf(-1)
		for _, t := range result.Trials {
			if t.Round == i {
				best = math.Max(best, t.Score)
			}
		}
		row, mode := []string{fmt.Sprint(i + 1), fmt.Sprintf("%.4g", best)}, d.Mode()
		for _, name := range names[2:] {
			row = append(row, short(mode[name]))
		}
		table.Rows = append(table.Rows, row)
	}
	page.Table(table)
	best, err := with(base, result.Best.Config)
	if err != nil {
		return err
	}
	text, err := best.Text()
	if err != nil {
		return err
	}
	page.Text(fmt.Sprintf("The best of %d trials has score %.4g. As an experiment:\n\n```yaml\n%s\n```", len(result.Trials), result.Best.Score, strings.TrimSpace(text)))
	return page.Close()
}

func short(v any) string {
	if x, ok := v.(float64); ok {
		return fmt.Sprintf("%.3g", x)
	}
	return fmt.Sprint(v)
}
