package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// Config says how long and how to train. The zero value trains one epoch in silence.
type Config struct {
	Epochs     int  // passes over the data; 0 means 1
	Validation Data // evaluated after each epoch; nil means none

	// OnStep is called after each step. Its error stops the training and is returned.
	OnStep func(Progress) error
	// OnEpoch is called after each epoch, after evaluation and before the checkpoint. Its error stops the training.
	OnEpoch func(Record) error

	// Checkpoint is a file that Fit writes, atomically, after each epoch and when the context ends. Empty means none.
	Checkpoint string
	// Resume continues from Checkpoint if that file exists: the run ends with the same bits as one that was not
	// interrupted.
	Resume bool
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
	if c.Epochs < 0 {
		return nil, graph.Fail("fit", "Epochs", "at least 0", c.Epochs)
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
	batch, order := NewBatch(spec), make([]int, train.Len())
	for epoch := f.at.Step / perEpoch; epoch < f.Epochs; epoch++ {
		t.StartEpoch(epoch, f.Epochs)
		shuffle(order, spec.Seed, epoch)
		if err := f.epoch(ctx, epoch, batch, order); err != nil {
			return f.history, err
		}
	}
	return f.history, nil
}

type fit struct {
	Config
	t        Trainer
	train    Data
	perEpoch int
	history  *History
	at       position
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
		if f.OnStep != nil {
			p := Progress{f.t.Name(), epoch + 1, f.Epochs, f.at.Step, f.Epochs * f.perEpoch, loss}
			if err := f.OnStep(p); err != nil {
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
	return f.save()
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
	metaPosition = "harpe.fit.position"
	metaHistory  = "harpe.fit.history"
)

// save writes the checkpoint.
func (f *fit) save() error {
	if f.Checkpoint == "" {
		return nil
	}
	f.at.PerEpoch, f.at.Examples = f.perEpoch, f.train.Len()
	at, err := json.Marshal(f.at)
	if err != nil {
		return errors.Wrap(err, "fit: checkpoint")
	}
	history, err := json.Marshal(f.history)
	if err != nil {
		return errors.Wrap(err, "fit: checkpoint")
	}
	return f.t.Save(f.Checkpoint, map[string]string{metaPosition: string(at), metaHistory: string(history)})
}

// resume reads the checkpoint if it is wanted and there.
func (f *fit) resume() error {
	if !f.Resume || f.Checkpoint == "" {
		return nil
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
