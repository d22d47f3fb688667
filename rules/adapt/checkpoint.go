package adapt

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

const (
	metaRule      = "harpe.rule"
	metaSeed      = "harpe.seed"
	metaOptimizer = "harpe.optimizer"
	metaLearnt    = "harpe.learnt" // tasks that an AMGC has begun to learn, at most 2: its parameters tell no more
)

// about is what must agree between a checkpoint and the learner that loads it.
func about(rule string, seed uint64, optimizer optim.Optimizer) map[string]string {
	return map[string]string{
		metaRule:      rule,
		metaSeed:      strconv.FormatUint(seed, 10),
		metaOptimizer: fmt.Sprintf("%T%+v", optimizer, optimizer),
	}
}

// check refuses a checkpoint of another learner and returns its metadata.
func check(path string, want map[string]string) (map[string]string, error) {
	meta, err := graph.Metadata(path)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{metaRule, metaSeed, metaOptimizer} {
		if meta[key] != want[key] {
			return nil, graph.Fail("load", path+": "+key, want[key], strconv.Quote(meta[key]))
		}
	}
	return meta, nil
}

// with adds the entries of about to the caller's metadata.
func with(meta, about map[string]string) map[string]string {
	all := maps.Clone(meta)
	if all == nil {
		return about
	}
	maps.Copy(all, about)
	return all
}

// state is all that a resumed stream needs beside the student, as one store.
func (t *MeanTeacher) state() (*graph.Params, error) {
	all := &graph.Params{}
	add := func(name string, value *graph.Array) error {
		return all.Add(&graph.Param{Name: t.rule.Name() + "/state/" + name, Value: value, State: true})
	}
	if err := add("counters", t.counters); err != nil {
		return nil, err
	}
	if t.means != nil {
		if err := add("prototypes", t.means); err != nil {
			return nil, err
		}
	}
	for q := range t.teacher.All() {
		if err := add("teacher/"+q.Name, q.Value); err != nil {
			return nil, err
		}
	}
	for i, s := range t.adapt.steppers {
		for q := range s.State().All() {
			if err := add(fmt.Sprintf("optimizer/%d/%s", i, q.Name), q.Value); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// Save writes student, teacher, optimiser state, prototypes and counters to one file, atomically, with the given
// metadata.
func (t *MeanTeacher) Save(path string, meta map[string]string) error {
	state, err := t.state()
	if err != nil {
		return err
	}
	return graph.SaveAll(path, with(meta, about(t.rule.Name(), t.spec.Seed, t.rule.Optimizer)), t.student, state)
}

// Load reads what Save wrote into a MeanTeacher of the same settings, model, spec and source, which then goes on with
// the same bits, and returns the metadata. If anything does not fit, the error names it and nothing is changed.
func (t *MeanTeacher) Load(path string) (map[string]string, error) {
	state, err := t.state()
	if err != nil {
		return nil, err
	}
	if _, err := check(path, about(t.rule.Name(), t.spec.Seed, t.rule.Optimizer)); err != nil {
		return nil, err
	}
	meta, err := graph.LoadAll(path, t.student, state)
	if err == nil && t.source != nil {
		t.shuffle()
	}
	return meta, err
}

// state is what the learner knows beside its parameters.
func (c *ClassIncremental) state(seen *graph.Array) (*graph.Params, error) {
	all := &graph.Params{}
	for _, q := range []struct {
		name  string
		value *graph.Array
	}{{"seen", seen}, {"mean", c.mean}, {"covariance", c.covariance}} {
		if err := all.Add(&graph.Param{Name: c.rule.Name() + "/state/" + q.name, Value: q.value, State: true}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Save writes parameters and statistics, as they are between two tasks, to one file, atomically, with the given
// metadata.
func (c *ClassIncremental) Save(path string, meta map[string]string) error {
	seen := graph.NewArray(graph.Int, c.spec.Classes)
	for i := range seen.Ints() {
		seen.Ints()[i] = -1
	}
	copy(seen.Ints(), c.seen)
	state, err := c.state(seen)
	if err != nil {
		return err
	}
	known := about(c.rule.Name(), c.spec.Seed, c.rule.Optimizer)
	known[metaLearnt] = strconv.Itoa(c.learnt())
	return graph.SaveAll(path, with(meta, known), c.params, state)
}

// Load reads what Save wrote into a learner of the same settings, extractor and spec, which then learns further tasks
// with the same bits, and returns the metadata. If anything does not fit, the error names it and what the learner
// predicts is unchanged.
func (c *ClassIncremental) Load(path string) (map[string]string, error) {
	seen := graph.NewArray(graph.Int, c.spec.Classes)
	state, err := c.state(seen)
	if err != nil {
		return nil, err
	}
	meta, err := check(path, about(c.rule.Name(), c.spec.Seed, c.rule.Optimizer))
	if err != nil {
		return nil, err
	}
	learnt, err := strconv.Atoi(meta[metaLearnt])
	if err != nil || learnt < 0 || learnt > 2 {
		return nil, graph.Fail("load", path+": "+metaLearnt, "0 to 2", strconv.Quote(meta[metaLearnt]))
	}
	// The parameters that training makes.
	_, err = graph.Build(c.params, func(s *graph.Scope) {
		for task := range learnt {
			c.trained(s, s.Input(fmt.Sprint("x", task), s.DType(), append([]int{c.spec.Batch}, c.spec.Input...)...), task == 0)
		}
	})
	if err != nil {
		return nil, err
	}
	if meta, err = graph.LoadAll(path, c.params, state); err != nil {
		return nil, err
	}
	for _, y := range c.seen {
		c.program.Array(c.unseen).Set(y, math.Inf(-1))
	}
	c.seen = nil
	for _, y := range seen.Ints() {
		if y >= 0 {
			c.see(y)
		}
	}
	return meta, nil
}

// learnt is how many tasks, of the first two, have left parameters behind.
func (c *ClassIncremental) learnt() int {
	learnt := 0
	for q := range c.params.All() {
		if strings.HasPrefix(q.Name, c.rule.Name()+"/head/") {
			learnt = max(learnt, 1)
		}
		if strings.HasPrefix(q.Name, c.rule.Name()+"/previous/") {
			learnt = 2
		}
	}
	return learnt
}

// see makes a class one of those that Predict chooses from.
func (c *ClassIncremental) see(y int) {
	if !slices.Contains(c.seen, y) {
		c.seen = append(c.seen, y)
		c.program.Array(c.unseen).Set(y, 0)
	}
}
