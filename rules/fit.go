package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// Config says how long and how to train. The zero value trains one epoch in silence.
type Config struct {
	Epochs     int  // passes over the data; 0 means 1
	Validation Data // evaluated after each epoch; nil means none

	// Patience ends the run after so many epochs in a row that were not better than the best one before them; 0 means
	// never. Better is a higher Accuracy, in regression a lower Error and without validation data a lower Loss, by more
	// than MinDelta (at least 0).
	Patience int
	MinDelta float64
	// Best ends the run with the parameters of its best epoch in the trainer. With a Checkpoint, they are also kept
	// beside it, in a file with "-best" before its ending, for Params.Load.
	Best bool

	// Bar is a terminal, such as os.Stderr, on which a bar with rate and remaining time moves. On a file that is no
	// terminal nothing is written; nil means none.
	Bar *os.File
	// OnStep is called after each step. Its error stops the training and is returned.
	OnStep func(Progress) error
	// OnEpoch is called after each epoch, after evaluation and before the checkpoint. Its error stops the training.
	OnEpoch func(Record) error

	// Checkpoint is a file that Fit writes, atomically, after each epoch and when the context ends. Empty means none.
	Checkpoint string
	// Every writes Checkpoint also after each so many steps; 0 means none.
	Every int
	// Keep leaves a copy of the checkpoint after each of the last so many epochs, with "-epoch3" before its ending.
	Keep int
	// Resume continues from Checkpoint if that file exists: the run ends with the same bits as one that was not
	// interrupted.
	Resume bool
}

func (c Config) check() error {
	for _, n := range []struct {
		name  string
		value int
	}{{"Epochs", c.Epochs}, {"Patience", c.Patience}, {"Every", c.Every}, {"Keep", c.Keep}} {
		if n.value < 0 {
			return graph.Fail("fit", n.name, "at least 0", n.value)
		}
	}
	if !(c.MinDelta >= 0) {
		return graph.Fail("fit", "MinDelta", "at least 0", c.MinDelta)
	}
	if c.Checkpoint == "" && (c.Every > 0 || c.Keep > 0 || c.Resume) {
		return graph.Fail("fit", "Checkpoint", "a file, for Every, Keep and Resume", "none")
	}
	return nil
}

// Progress is where a run is after a step.
type Progress struct {
	Rule          string
	Epoch, Epochs int // the current epoch, counted from 1
	Step, Steps   int // steps made and to be made in all
	Loss          float64
}

// Record is what is known after an epoch.
type Record struct {
	Epoch    int     // counted from 1
	Step     int     // steps made
	Loss     float64 // mean training loss of the epoch
	Accuracy float64 // on the validation data; 0 without, and for regression
	Error    float64 // mean squared error on the validation data; 0 without, and for classification
	Seconds  float64 // training time so far, without evaluation
}

// History is the course of a run.
type History struct {
	Rule    string
	Records []Record
}

// Last is the newest record; the zero Record if there is none.
func (h *History) Last() Record {
	if len(h.Records) == 0 {
		return Record{}
	}
	return h.Records[len(h.Records)-1]
}

// Fit trains for the configured epochs. Each epoch visits the examples in an order that is a function of the spec's
// seed and the epoch; examples that do not fill a batch are left out of that epoch. When ctx ends, Fit finishes its
// step, writes the checkpoint and returns the history so far with the context's error.
func Fit(ctx context.Context, t Trainer, train Data, c Config) (*History, error) {
	spec := t.Spec()
	if err := spec.takes("data", train); err != nil {
		return nil, err
	}
	if c.Validation != nil {
		if err := spec.takes("Validation", c.Validation); err != nil {
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	perEpoch := train.Len() / spec.Batch
	if perEpoch == 0 {
		return nil, graph.Fail("fit", "data", fmt.Sprintf("at least one batch of %d examples", spec.Batch), train.Len())
	}
	f := &fit{Config: c, t: t, train: train, perEpoch: perEpoch, history: &History{Rule: t.Name()}}
	f.Epochs = max(c.Epochs, 1)
	if err := f.resume(); err != nil {
		return nil, err
	}
	f.bar = newBar(c.Bar, f.at.Step)
	defer f.bar.clear()
	batch, order := NewBatch(spec), make([]int, train.Len())
	for epoch := f.at.Step / perEpoch; epoch < f.Epochs && !f.stale(); epoch++ {
		t.StartEpoch(epoch, f.Epochs)
		shuffle(order, spec.Seed, epoch)
		if err := f.epoch(ctx, epoch, batch, order); err != nil {
			return f.history, err
		}
	}
	return f.history, f.restore()
}

type fit struct {
	Config
	t        Trainer
	train    Data
	perEpoch int
	history  *History
	at       position
	bar      *bar
	best     *graph.Params // of the best epoch, where there is no checkpoint
}

// position is what a checkpoint has to know beside the trainer's own state.
type position struct {
	PerEpoch int     // steps an epoch
	Examples int     // in the training data
	Step     int     // steps made
	Sum      float64 // of the losses of the current epoch
	Seconds  float64
}

func (f *fit) epoch(ctx context.Context, epoch int, batch *Batch, order []int) error {
	for i := f.at.Step % f.perEpoch; i < f.perEpoch; i++ {
		if ctx.Err() != nil {
			return errors.Wrapf(first(f.save(), ctx.Err()), "fit: stopped after %d steps", f.at.Step)
		}
		start := time.Now()
		size := f.t.Spec().Batch
		if err := batch.Fill(f.train, order[i*size:(i+1)*size], uint64(epoch)); err != nil {
			return err
		}
		loss, err := f.t.Step(batch)
		if err != nil {
			return err
		}
		f.at.Step++
		f.at.Sum += loss
		f.at.Seconds += time.Since(start).Seconds()
		p := Progress{f.t.Name(), epoch + 1, f.Epochs, f.at.Step, f.Epochs * f.perEpoch, loss}
		f.bar.draw(p)
		if f.OnStep != nil {
			if err := f.OnStep(p); err != nil {
				return err
			}
		}
		if f.Every > 0 && f.at.Step%f.Every == 0 && i < f.perEpoch-1 {
			if err := f.save(); err != nil {
				return err
			}
		}
	}
	r := Record{Epoch: epoch + 1, Step: f.at.Step, Loss: f.at.Sum / float64(f.perEpoch), Seconds: f.at.Seconds}
	f.at.Sum = 0
	if f.Validation != nil {
		e, err := Evaluate(f.t, f.Validation)
		if err != nil {
			return err
		}
		r.Accuracy, r.Error = e.Accuracy, e.Error
	}
	f.history.Records = append(f.history.Records, r)
	if f.OnEpoch != nil {
		if err := f.OnEpoch(r); err != nil {
			return err
		}
	}
	// The checkpoint comes last: a run that is killed before it makes the other files again.
	if err := f.keepBest(); err != nil {
		return err
	}
	if err := f.keepCopy(); err != nil {
		return err
	}
	return f.save()
}

// bestEpoch is the index of the best record, -1 if there is none.
func (f *fit) bestEpoch() int {
	best := -1
	for i, r := range f.history.Records {
		if best < 0 || f.score(r) > f.score(f.history.Records[best])+f.MinDelta {
			best = i
		}
	}
	return best
}

// score is what the best epoch has most of.
func (f *fit) score(r Record) float64 {
	switch {
	case f.Validation == nil:
		return -r.Loss
	case f.t.Spec().Classes > 0:
		return r.Accuracy
	}
	return -r.Error
}

// stale says that patience is at its end.
func (f *fit) stale() bool {
	return f.Patience > 0 && len(f.history.Records)-1-f.bestEpoch() >= f.Patience
}

// keepBest keeps the parameters if the epoch that ended is the best.
func (f *fit) keepBest() error {
	last := len(f.history.Records) - 1
	if !f.Best || f.bestEpoch() != last {
		return nil
	}
	if f.Checkpoint == "" {
		f.best = f.t.Params().Clone()
		return nil
	}
	meta := map[string]string{metaEpoch: strconv.Itoa(f.history.Records[last].Epoch)}
	return graph.SaveAll(f.beside("-best"), meta, f.t.Params())
}

// restore puts the parameters of the best epoch into the trainer.
func (f *fit) restore() error {
	i := f.bestEpoch()
	switch {
	case !f.Best || i < 0:
		return nil
	case f.Checkpoint == "":
		return f.t.Params().CopyFrom(f.best)
	}
	path, epoch := f.beside("-best"), strconv.Itoa(f.history.Records[i].Epoch)
	meta, err := graph.Metadata(path)
	if err != nil {
		return err
	}
	if meta[metaEpoch] != epoch {
		return graph.Fail("fit", path, "parameters of epoch "+epoch, "those of epoch "+strconv.Quote(meta[metaEpoch]))
	}
	return f.t.Params().Load(path)
}

// keepCopy writes the numbered checkpoint of the epoch that ended, and removes the oldest.
func (f *fit) keepCopy() error {
	if f.Keep == 0 {
		return nil
	}
	epoch := f.history.Last().Epoch
	if err := f.saveTo(f.beside(fmt.Sprintf("-epoch%d", epoch))); err != nil {
		return err
	}
	err := os.Remove(f.beside(fmt.Sprintf("-epoch%d", epoch-f.Keep)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Wrap(err, "fit: checkpoint")
}

// beside is the path of the checkpoint with a mark before its ending.
func (f *fit) beside(mark string) string {
	ending := filepath.Ext(f.Checkpoint)
	return strings.TrimSuffix(f.Checkpoint, ending) + mark + ending
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// shuffle fills order with the permutation of an epoch.
func shuffle(order []int, seed uint64, epoch int) {
	for i := range order {
		order[i] = i
	}
	graph.Rand(seed, "fit/order", uint64(epoch)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
}

const (
	metaEpoch    = "harpe.fit.epoch"
	metaPosition = "harpe.fit.position"
	metaHistory  = "harpe.fit.history"
)

// save writes the checkpoint.
func (f *fit) save() error {
	if f.Checkpoint == "" {
		return nil
	}
	return f.saveTo(f.Checkpoint)
}

func (f *fit) saveTo(path string) error {
	f.at.PerEpoch, f.at.Examples = f.perEpoch, f.train.Len()
	at, err := json.Marshal(f.at)
	if err != nil {
		return errors.Wrap(err, "fit: checkpoint")
	}
	history, err := json.Marshal(f.history)
	if err != nil {
		return errors.Wrap(err, "fit: checkpoint")
	}
	return f.t.Save(path, map[string]string{metaPosition: string(at), metaHistory: string(history)})
}

// resume reads the checkpoint if it is wanted and there.
func (f *fit) resume() error {
	if !f.Resume {
		return nil
	}
	if err := f.sweep(); err != nil {
		return err
	}
	if _, err := os.Stat(f.Checkpoint); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	meta, err := f.t.Load(f.Checkpoint)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(meta[metaPosition]), &f.at); err != nil {
		return errors.Wrapf(err, "fit: %s: position", f.Checkpoint)
	}
	if f.at.PerEpoch != f.perEpoch || f.at.Examples != f.train.Len() {
		return graph.Fail("fit", f.Checkpoint, fmt.Sprintf("a run of %d steps an epoch on %d examples", f.perEpoch, f.train.Len()),
			fmt.Sprintf("%d steps on %d examples", f.at.PerEpoch, f.at.Examples))
	}
	if err := json.Unmarshal([]byte(meta[metaHistory]), f.history); err != nil {
		return errors.Wrapf(err, "fit: %s: history", f.Checkpoint)
	}
	return nil
}

// sweep removes what a killed process left of files that it had not finished.
func (f *fit) sweep() error {
	folder, name := filepath.Split(f.Checkpoint)
	ending := filepath.Ext(name)
	unfinished := regexp.MustCompile("^" + regexp.QuoteMeta(strings.TrimSuffix(name, ending)) + `(-best|-epoch\d+)?` +
		regexp.QuoteMeta(ending) + `\.[0-9a-f]{16}\.tmp$`)
	entries, err := os.ReadDir(filepath.Clean(folder))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if unfinished.MatchString(e.Name()) && err == nil {
			err = os.Remove(filepath.Join(folder, e.Name()))
		}
	}
	return errors.Wrap(err, "fit: resume")
}

// Evaluation is how well a trainer predicts a data set.
type Evaluation struct {
	Examples int
	Accuracy float64 // share of examples whose highest score is their label's; 0 for regression
	Error    float64 // mean squared error of regression; 0 for classification
}

// Evaluate predicts every example of d.
func Evaluate(t Trainer, d Data) (Evaluation, error) {
	spec := t.Spec()
	if err := spec.takes("data", d); err != nil {
		return Evaluation{}, err
	}
	e := Evaluation{Examples: d.Len()}
	batch, rows := NewBatch(spec), make([]int, 0, spec.Batch)
	var right, squares float64
	for at := 0; at < d.Len(); at += spec.Batch {
		rows = rows[:0]
		for i := at; i < min(at+spec.Batch, d.Len()); i++ {
			rows = append(rows, i)
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			return e, err
		}
		out, err := t.Predict(batch)
		if err != nil {
			return e, err
		}
		width := out.Size() / spec.Batch
		for r := range rows {
			if spec.Classes > 0 {
				if best(out, r*width, width) == batch.Y.Ints()[r] {
					right++
				}
				continue
			}
			for j := r * width; j < (r+1)*width; j++ {
				diff := out.At(j) - batch.Y.At(j)
				squares += diff * diff / float64(width)
			}
		}
	}
	if n := float64(d.Len()); n > 0 {
		e.Accuracy, e.Error = right/n, squares/n
	}
	return e, nil
}

// best is the index of the first largest of n numbers.
func best(a *graph.Array, from, n int) int {
	k := 0
	for j := 1; j < n; j++ {
		if a.At(from+j) > a.At(from+k) {
			k = j
		}
	}
	return k
}
