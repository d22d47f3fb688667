package search

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// An Objective trains with a configuration and returns a score, the higher the better, such as the accuracy on
// validation data. A run that diverges returns NaN; an error ends the search. It is called from several goroutines, and
// for a repeatable search its score must be a function of the configuration.
type Objective func(ctx context.Context, c Config) (score float64, err error)

// Options are what all searches have in common.
type Options struct {
	Seed     uint64
	Parallel int // trials at a time; 0 means GOMAXPROCS
	// Log is a file to which each trial is added, as a line of JSON, when it ends. A search of the same settings, seed and
	// space reads it and does not repeat its trials; of another search it is an error. Empty means none.
	Log string
	// OnTrial is called after each trial, one at a time, in the order in which they end.
	OnTrial func(Trial)
}

// A Trial is one configuration and what came of it.
type Trial struct {
	Round, Index int // counted from 0; Index within the round
	Config       Config
	Score        float64 // -Inf for NaN
	Seconds      float64
}

// A Result is the course of a search.
type Result struct {
	Best   Trial   // the first of the highest score
	Trials []Trial // in the order of their rounds and indices
	// Distributions are those of CrossEntropy, before the first round and after each.
	Distributions []Distribution
}

// Mode is the mode of the last distribution; nil without one.
func (r *Result) Mode() Config {
	if len(r.Distributions) == 0 {
		return nil
	}
	return r.Distributions[len(r.Distributions)-1].Mode()
}

// engine runs trials side by side and keeps the log.
type engine struct {
	Options
	objective Objective
	result    *Result
	known     map[[2]int]record
	file      *os.File
	mu        sync.Mutex
}

// record is a line of the log.
type record struct {
	Round   int             `json:"round"`
	Index   int             `json:"index"`
	Config  json.RawMessage `json:"config"`
	Score   *float64        `json:"score"` // null for -Inf
	Seconds float64         `json:"seconds"`
}

func newEngine(o Options, kind string, settings any, space Space, f Objective) (*engine, error) {
	switch {
	case f == nil:
		return nil, graph.Fail("search", "objective", "a function", "nil")
	case o.Parallel < 0:
		return nil, graph.Fail("search", "Parallel", "at least 0", o.Parallel)
	case o.Parallel == 0:
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	e := &engine{Options: o, objective: f, result: &Result{Best: Trial{Score: math.Inf(-1)}}, known: map[[2]int]record{}}
	if o.Log == "" {
		return e, nil
	}
	head, err := json.Marshal(fmt.Sprintf("%s %+v seed %d space %+v", kind, settings, o.Seed, []Dimension(space)))
	if err != nil {
		return nil, errors.Wrap(err, "search")
	}
	if err := e.open(append(head, '\n')); err != nil {
		return nil, errors.Wrapf(err, "search: log %s", o.Log)
	}
	return e, nil
}

// open reads the log, or starts it with its first line. A last line that was cut off is taken away.
func (e *engine) open(head []byte) (err error) {
	if e.file, err = os.OpenFile(e.Log, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			e.file.Close()
		}
	}()
	var end int64
	lines := bufio.NewReader(e.file)
	for number := 0; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if number == 0 {
			if !bytes.Equal(line, head) {
				return graph.Fail("search", "log", string(bytes.TrimSpace(head)), string(bytes.TrimSpace(line)))
			}
		} else {
			var r record
			if err := json.Unmarshal(line, &r); err != nil {
				return errors.Wrapf(err, "line %d", number+1)
			}
			e.known[[2]int{r.Round, r.Index}] = r
		}
		end += int64(len(line))
	}
	if err := e.file.Truncate(end); err != nil {
		return err
	}
	if _, err := e.file.Seek(end, io.SeekStart); err != nil {
		return err
	}
	if end == 0 {
		_, err = e.file.Write(head)
	}
	return err
}

func (e *engine) close() error {
	if e.file == nil {
		return nil
	}
	file := e.file
	e.file = nil
	return errors.Wrap(file.Close(), "search: log")
}

// run makes the trials of a round, but for those in the log, and adds them all to the result.
func (e *engine) run(ctx context.Context, round int, configs []Config) ([]Trial, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	trials, done := make([]Trial, len(configs)), make([]bool, len(configs))
	var group sync.WaitGroup
	slots := make(chan struct{}, e.Parallel)
	for i, c := range configs {
		trials[i] = Trial{Round: round, Index: i, Config: c}
		if found, err := e.recall(&trials[i]); err != nil {
			cancel(err)
			break
		} else if found {
			done[i] = true
			continue
		}
		select {
		case <-ctx.Done():
		case slots <- struct{}{}:
		}
		if ctx.Err() != nil {
			break
		}
		group.Add(1)
		go func() {
			defer group.Done()
			if err := e.try(ctx, &trials[i]); err != nil {
				cancel(errors.Wrapf(err, "search: round %d, trial %d, %v", round, i, c))
			} else {
				done[i] = true
			}
			<-slots
		}()
	}
	group.Wait()
	for i, t := range trials {
		if !done[i] {
			continue
		}
		if e.result.Trials = append(e.result.Trials, t); t.Score > e.result.Best.Score {
			e.result.Best = t
		}
	}
	return trials, context.Cause(ctx)
}

// recall takes a trial from the log if it is there.
func (e *engine) recall(t *Trial) (bool, error) {
	r, ok := e.known[[2]int{t.Round, t.Index}]
	if !ok {
		return false, nil
	}
	config, err := json.Marshal(t.Config)
	if err != nil {
		return false, errors.Wrap(err, "search")
	}
	if !bytes.Equal(config, r.Config) {
		return false, graph.Fail("search: log "+e.Log, fmt.Sprintf("round %d, trial %d", t.Round, t.Index), string(config), string(r.Config))
	}
	t.Score, t.Seconds = math.Inf(-1), r.Seconds
	if r.Score != nil {
		t.Score = *r.Score
	}
	return true, nil
}

// try makes a trial and adds it to the log.
func (e *engine) try(ctx context.Context, t *Trial) (err error) {
	begin := time.Now()
	if t.Score, err = e.objective(ctx, t.Config); err != nil {
		return err
	}
	t.Seconds = time.Since(begin).Seconds()
	if t.Score != t.Score {
		t.Score = math.Inf(-1)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.file != nil {
		if err := e.write(t); err != nil {
			return errors.Wrap(err, "log")
		}
	}
	if e.OnTrial != nil {
		e.OnTrial(*t)
	}
	return nil
}

func (e *engine) write(t *Trial) error {
	config, err := json.Marshal(t.Config)
	if err != nil {
		return err
	}
	r := record{Round: t.Round, Index: t.Index, Config: config, Seconds: t.Seconds}
	switch {
	case math.IsInf(t.Score, 1):
		return graph.Fail("search", "score", "a number below +Inf", t.Score)
	case !math.IsInf(t.Score, -1):
		r.Score = &t.Score
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = e.file.Write(append(line, '\n'))
	}
	return err
}
