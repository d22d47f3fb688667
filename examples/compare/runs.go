package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/experiment"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/events"
)

// comparing is an experiment under way.
type comparing struct {
	*experiment.Experiment
	options
	page   *notebook.Page
	memory *memory

	mu      sync.Mutex
	results map[job]*result
}

// A job is a rule, by its number, with a seed.
type job struct {
	rule int
	seed uint64
}

// A result is what a finished run leaves in its folder.
type result struct {
	Description string
	History     *rules.History
	Test        rules.Evaluation
	Classes     int // 0 for regression
	Parameters  int
	Bytes       int // activations and gradients
}

// Files of a run's folder.
const (
	checkpointFile  = "checkpoint.safetensors"
	descriptionFile = "description.json" // what the run is, from its start
	resultFile      = "result.json"      // from its end
)

func (c *comparing) jobs() (list []job) {
	for _, seed := range c.Seeds {
		for rule := range c.Rules {
			list = append(list, job{rule, seed})
		}
	}
	return list
}

func (c *comparing) name(j job) string { return fmt.Sprintf("%s, seed %d", c.Rules[j.rule], j.seed) }

func (c *comparing) folder(j job) string {
	return filepath.Join(c.out, "runs", c.Rules[j.rule], fmt.Sprintf("seed-%d", j.seed))
}

// prepare makes the folder ready: with runs in it, they are to be gone on with or to be deleted.
func (c *comparing) prepare() error {
	c.results = map[job]*result{}
	for _, j := range c.jobs() {
		var was struct{ Description string }
		err := readJSON(filepath.Join(c.folder(j), descriptionFile), &was)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case c.restart:
			if err := os.RemoveAll(c.folder(j)); err != nil {
				return errors.Wrap(err, "compare")
			}
		case !c.resume:
			return errors.Errorf("%s holds runs already: -resume goes on with them, -restart deletes them, -out is for another folder", c.out)
		case err != nil:
			return err
		case was.Description != c.describe(j):
			return errors.Errorf("%s is a run of another experiment: -restart deletes it, -out is for another folder", c.folder(j))
		}
	}
	text, err := c.Text()
	if err == nil {
		err = os.MkdirAll(c.out, 0o777)
	}
	if err == nil {
		err = replaceFile(filepath.Join(c.out, c.Name+".yaml"), []byte(text))
	}
	return err
}

func (c *comparing) describe(j job) string { return c.Describe(j.rule, j.seed) }

// train makes all runs that are not finished, several at a time. A run that fails does not stop the others.
func (c *comparing) train(ctx context.Context) error {
	list := make(chan job)
	failed := make([]error, 0)
	var workers sync.WaitGroup
	for range min(c.options.jobs, len(c.jobs())) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for j := range list {
				r, err := c.one(ctx, j)
				c.mu.Lock()
				if err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) {
					failed = append(failed, errors.Wrap(err, c.name(j)))
				} else if err == nil {
					c.results[j] = r
				}
				c.mu.Unlock()
			}
		}()
	}
	for _, j := range c.jobs() {
		if ctx.Err() == nil {
			list <- j
		}
	}
	close(list)
	workers.Wait()
	if len(failed) > 0 {
		var text []string
		for _, err := range failed {
			text = append(text, err.Error())
		}
		return errors.Errorf("%d of %d runs failed: %s", len(failed), len(c.jobs()), strings.Join(text, "; "))
	}
	return errors.Wrap(ctx.Err(), "compare")
}

// one makes a run, or reads what it left.
func (c *comparing) one(ctx context.Context, j job) (*result, error) {
	folder := c.folder(j)
	done := &result{}
	if err := readJSON(filepath.Join(folder, resultFile), done); err == nil || !errors.Is(err, os.ErrNotExist) {
		return done, err
	}
	r, leave, err := c.memory.enter(func() (*experiment.Run, error) { return c.Run(j.rule, j.seed) })
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return nil, errors.Wrap(err, "compare")
	}
	if err := writeJSON(filepath.Join(folder, descriptionFile), map[string]string{"Description": c.describe(j)}); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, checkpointFile)
	if _, err := os.Stat(path); err == nil { // Fit reads it again
		if _, err := r.Trainer.Load(path); err != nil {
			return nil, err
		}
	}
	log, err := events.Open(folder, r.Trainer.Steps())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	w := &watch{Run: r, log: log, histograms: c.Histograms, perEpoch: r.Train.Len() / r.Trainer.Spec().Batch}
	w.bar = c.page.Progress(c.name(j), r.Config.Epochs*w.perEpoch)
	defer w.bar.Done()
	w.remember(r.Trainer.Steps())
	r.Config.Checkpoint, r.Config.Resume, r.Config.OnStep, r.Config.OnEpoch = path, true, w.step, w.epoch
	history, err := rules.Fit(ctx, r.Trainer, r.Train, r.Config)
	if err != nil {
		return nil, err
	}
	test, err := rules.Evaluate(r.Trainer, r.Test)
	if err != nil {
		return nil, err
	}
	done = &result{c.describe(j), history, test, r.Test.Classes(), r.Trainer.Params().Count(), r.Trainer.ActivationBytes()}
	w.bar.Set(r.Trainer.Steps(), measure(r.Trainer.Spec().Classes > 0).text(test))
	return done, writeJSON(filepath.Join(folder, resultFile), done)
}

// watch shows and logs how a run goes.
type watch struct {
	*experiment.Run
	log        *events.Log
	bar        *notebook.Progress
	histograms bool
	perEpoch   int
	before     *graph.Params // before the last step of the epoch
}

// remember keeps the parameters when the next step is the last one of an epoch.
func (w *watch) remember(steps int) {
	if w.histograms && (steps+1)%w.perEpoch == 0 {
		w.before = w.Trainer.Params().Clone()
	}
}

func (w *watch) step(p rules.Progress) error {
	if p.Step%16 == 0 || p.Step == p.Steps {
		w.bar.Set(p.Step, fmt.Sprintf("epoch %d of %d, loss %.3g", p.Epoch, p.Epochs, p.Loss))
	}
	if every := p.Steps/1000 + 1; p.Step%every == 0 {
		if err := w.log.Scalar("train/loss", p.Step, p.Loss); err != nil {
			return err
		}
	}
	if p.Step%w.perEpoch != 0 { // else after the histograms
		w.remember(p.Step)
	}
	return nil
}

func (w *watch) epoch(r rules.Record) error {
	tag, value := "validation/accuracy", r.Accuracy
	if w.Trainer.Spec().Classes == 0 {
		tag, value = "validation/error", r.Error
	}
	if err := w.log.Scalar(tag, r.Step, value); err != nil {
		return err
	}
	if err := w.log.Scalar("train/epoch_loss", r.Step, r.Loss); err != nil {
		return err
	}
	if !w.histograms {
		return nil
	}
	for p := range w.Trainer.Params().All() {
		if err := w.log.Histogram("parameters/"+p.Name, r.Step, p.Value); err != nil {
			return err
		}
		update := w.before.Get(p.Name).Value
		for i := range update.Size() {
			update.Set(i, p.Value.At(i)-update.At(i))
		}
		if err := w.log.Histogram("updates/"+p.Name, r.Step, update); err != nil {
			return err
		}
	}
	w.remember(r.Step)
	return nil
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return errors.Wrap(json.Unmarshal(text, v), path)
}

func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return errors.Wrap(err, path)
	}
	return replaceFile(path, text)
}

// replaceFile puts a file in the place of another in one step.
func replaceFile(path string, content []byte) error {
	temporary := path + ".tmp"
	err := os.WriteFile(temporary, content, 0o666)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	return errors.Wrap(err, "compare")
}
