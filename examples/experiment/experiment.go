// Package experiment reads experiments from files: which data, model and objective, which rules with which optimisers
// and schedules, how many epochs, and which seeds. A file is YAML, of which JSON is a part:
//
//	name: digits
//	data: {name: digits, shape: [1, 8, 8], test: 0.2}
//	model:
//	  - block: [{conv2d: {filters: 16, padding: 1, activation: relu}}, maxpool2d]
//	  - flatten
//	  - dense: {units: classes}
//	objective: {cross-entropy: {label_smoothing: 0.1}}
//	optimizer: {adam: {lr: 2e-3}}
//	schedule: {cosine: {steps: total}}
//	rules:
//	  - backprop
//	  - mono-forward: {readout: sum-layers}
//	  - forward-forward: {as: long, epochs: 20, optimizer: sgd}
//	epochs: 10
//	seeds: 3
//
// The keys are the fields of the Go structs in lower case with underscores: LabelSmoothing is label_smoothing. Names of
// types and constants are the Go names too, or those of the registries: conv2d, sum-layers, mono-forward. Case, hyphens
// and underscores do not count. What has options is a name, or a name with its options: adam, {adam: {lr: 2e-3}}; a list
// of layers is a model; functions take their arguments as options: {aux-mlp: [64]}. A number left out, or 0, is the
// default of the Go field; "zero" is an exact 0 for an optimiser. In place of a whole number, "classes" is the number of
// classes, "3 epochs" and "total" are numbers of steps. Help says what there is to choose and to set.
//
// A key, a name or a value that does not exist is an error with file, line and the nearest valid name.
package experiment

import (
	"crypto/sha256"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pkg/errors"
	"go.yaml.in/yaml/v3"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

//go:generate go run ./internal/table

// Data says where the examples come from. A name alone, as in data: digits, leaves the rest at its defaults.
type Data struct {
	Name string   // one of data.Names, unless File is set
	Dir  string   // folder of the set's files, for those that are not embedded
	File string   // a table to read in place of a named set, as CSV says
	CSV  data.CSV // how File is written
	// Shape is that of one example, such as [1, 8, 8] for the digits as images; none leaves it as it is.
	Shape []int
	// Test is the share of the examples that are held back where the set has no test part; 0 means 0.2. Each seed has
	// its own split.
	Test float64
	// Validation is the share of the training examples on which epochs are judged, needed by patience and best; 0 means
	// that the test examples show the course of the run, and decide nothing.
	Validation float64
	Take       int               // of the training examples, the first so many; 0 means all
	Normalize  string            // "none", "channel" or "feature": mean 0 and variance 1 over the training examples
	Augment    data.Augmentation // of the training images
}

// A description is what a file says.
type description struct {
	Name       string
	Data       Data
	Model      layers.Layer
	Objective  objectives.Objective
	Optimizer  optim.Optimizer // of every rule that has one and does not name its own, like the next two
	Schedule   optim.Schedule
	Clip       optim.Clip
	Rules      []entry
	Epochs     int
	Batch      int
	Seeds      seedList
	Dtype      graph.DType
	Patience   int
	MinDelta   float64
	Best       bool
	Every      int
	Keep       int
	Histograms bool
}

// entry is a rule of the list.
type entry struct {
	as     string
	epochs int
	rule   rules.Rule
	node   *yaml.Node
}

type seedList []uint64

// An Experiment is a file that has been read and found right.
type Experiment struct {
	Name       string
	Rules      []string // what the runs are called: the rules' names, or what the file calls them with "as"
	Seeds      []uint64
	Histograms bool // log histograms of parameters and their updates

	file    string
	root    *yaml.Node
	sets    *sets
	entries []entry
}

// sets are the data, read once for all variants of an experiment that have the same.
type sets struct {
	once        sync.Once
	train, test *data.Set
	err         error
}

// Read reads a file.
func Read(path string) (*Experiment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Wrap(err, "experiment")
	}
	defer f.Close()
	text := make([]byte, mostBytes+1)
	n := 0
	for n < len(text) {
		m, err := f.Read(text[n:])
		if n += m; err != nil || m == 0 {
			break
		}
	}
	return Parse(path, text[:n])
}

// Parse reads the text of a file; errors call it by the name file.
func Parse(file string, text []byte) (*Experiment, error) {
	root, err := parse(file, text)
	if err != nil {
		return nil, err
	}
	return load(file, root, &sets{})
}

// load checks a tree.
func load(file string, root *yaml.Node, s *sets) (*Experiment, error) {
	d, err := decoder{file: file, classes: 2, perEpoch: 1, epochs: 1}.describe(root)
	if err != nil {
		return nil, err
	}
	e := &Experiment{Name: d.Name, Seeds: d.Seeds, Histograms: d.Histograms, file: file, root: root, sets: s, entries: d.Rules}
	for _, r := range d.Rules {
		e.Rules = append(e.Rules, r.as)
	}
	return e, nil
}

// describe decodes a tree and fills in the defaults.
func (d decoder) describe(root *yaml.Node) (*description, error) {
	base := filepath.Base(d.file)
	x := &description{Name: strings.TrimSuffix(base, filepath.Ext(base)), Epochs: 10, Batch: 32, Seeds: seedList{1}}
	if err := d.decode(root, reflect.ValueOf(x).Elem(), "experiment"); err != nil {
		return nil, err
	}
	if x.Rules == nil {
		x.Rules = []entry{{as: "backprop", rule: rules.Backprop{}, node: &yaml.Node{Kind: yaml.ScalarNode, Value: "backprop"}}}
	}
	for _, c := range []struct {
		key  string
		ok   bool
		want string
	}{
		{"name", fileName.MatchString(x.Name), "letters, digits, spaces and . _ + = -, beginning with a letter or digit"},
		{"data", (x.Data.Name == "") != (x.Data.File == ""), "a name or a file"},
		{"data", x.Data.Test >= 0 && x.Data.Test < 1 && x.Data.Validation >= 0 && x.Data.Validation < 1, "test and validation in [0, 1)"},
		{"data", x.Data.Take >= 0, "take of at least 0"},
		{"data", slices.Contains([]string{"", "none", "channel", "feature"}, x.Data.Normalize), "normalize none, channel or feature"},
		{"data", !slices.ContainsFunc(x.Data.Shape, func(n int) bool { return n < 1 }), "a shape of at least 1 everywhere"},
		{"data", x.Data.Name == "" || slices.Contains(data.Names(), x.Data.Name),
			fmt.Sprintf("one of %s, such as %s", strings.Join(data.Names(), ", "), nearest(x.Data.Name, data.Names()))},
		{"model", x.Model != nil, "a model, such as {mlp: {hidden: [64]}}, or a list of layers"},
		{"epochs", x.Epochs >= 1, "at least 1"},
		{"batch", x.Batch >= 1, "at least 1"},
		{"patience", x.Patience >= 0, "at least 0"},
		{"min_delta", x.MinDelta >= 0, "at least 0"},
		{"every", x.Every >= 0, "at least 0"},
		{"keep", x.Keep >= 0, "at least 0"},
		{"patience", x.Patience == 0 && !x.Best || x.Data.Validation > 0,
			"data with validation examples for patience and best, such as {name: digits, validation: 0.1}: test examples choose nothing"},
	} {
		if !c.ok {
			return nil, d.fail(at(root, c.key), "%s: want %s", c.key, c.want)
		}
	}
	return x, nil
}

// fileName is what names that become files may be.
var fileName = regexp.MustCompile(`^[\pL\pN][\pL\pN ._+=-]{0,99}$`)

// at is the value of a key, else the mapping itself.
func at(root *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(root.Content) && root.Kind == yaml.MappingNode; i += 2 {
		if plain(root.Content[i].Value) == plain(key) {
			return root.Content[i+1]
		}
	}
	return root
}

// entries decodes the list of rules: names, or names with their fields and the keys "as" and "epochs".
func (d decoder) entries(n *yaml.Node, list *[]entry) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return d.want(n, "rules", "a list of rules")
	}
	for _, c := range n.Content {
		name, options, err := d.named(c, "rules")
		if err != nil {
			return err
		}
		e := entry{node: c}
		own := *name
		fields := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: name.Line}
		if options != nil && options.Kind != yaml.MappingNode {
			return d.want(options, name.Value, "keys and values")
		}
		for i := 0; options != nil && i < len(options.Content); i += 2 {
			key, value := options.Content[i], options.Content[i+1]
			switch key.Value {
			case "as":
				if !fileName.MatchString(value.Value) {
					return d.want(value, "as", "letters, digits, spaces and . _ + = -, beginning with a letter or digit")
				}
				e.as = value.Value
			case "epochs":
				if err := d.decode(value, reflect.ValueOf(&e.epochs).Elem(), "epochs"); err != nil {
					return err
				}
				if e.epochs < 1 {
					return d.want(value, "epochs", "at least 1")
				}
			default:
				fields.Content = append(fields.Content, key, value)
			}
		}
		whole := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: name.Line, Content: []*yaml.Node{&own, fields}}
		if err := d.choose(whole, reflect.ValueOf(&e.rule).Elem(), "rules"); err != nil {
			return err
		}
		if e.as == "" {
			e.as = e.rule.Name()
		}
		for _, other := range *list {
			if strings.EqualFold(other.as, e.as) {
				return d.fail(name, "rules: two are called %s; call one of them otherwise with {as: another name}", e.as)
			}
		}
		*list = append(*list, e)
	}
	return nil
}

// seeds decodes a number of seeds, 1, 2, ..., or a list of them.
func (d decoder) seeds(n *yaml.Node, list *seedList) error {
	const wanted = "a number of seeds from 1 to 1000, or a list of different ones"
	*list = nil
	if n.Kind == yaml.ScalarNode {
		count, err := strconv.Atoi(n.Value)
		if err != nil || count < 1 || count > mostSeeds {
			return d.want(n, "seeds", wanted)
		}
		for i := range count {
			*list = append(*list, uint64(i)+1)
		}
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || len(n.Content) > mostSeeds {
		return d.want(n, "seeds", wanted)
	}
	for _, c := range n.Content {
		seed, err := strconv.ParseUint(c.Value, 10, 64)
		if err != nil || slices.Contains(*list, seed) {
			return d.want(c, "seeds", wanted)
		}
		*list = append(*list, seed)
	}
	return nil
}

func (d decoder) dtype(n *yaml.Node, t *graph.DType) error {
	switch n.Value {
	case "float32":
		*t = graph.Float32
	case "float64":
		*t = graph.Float64
	default:
		return d.want(n, "dtype", "float32 or float64")
	}
	return nil
}

// With is the experiment with another value of one key, as it would stand in the file: With("optimizer.adam.lr",
// "1e-2"), With("rules.mono-forward.order", "sequential"), With("seeds", "5"). An element of a list is called by its name
// or by its number, from 0.
func (e *Experiment) With(key, value string) (*Experiment, error) {
	file := e.file + " with " + key
	parsed, err := parse(file, []byte(value))
	if err != nil {
		return nil, err
	}
	root := clone(e.root)
	n := root
	for _, part := range strings.Split(key, ".") {
		if n, err = child(n, part); err != nil {
			return nil, errors.Wrap(err, file)
		}
	}
	*n = *parsed
	s := e.sets
	if first, _, _ := strings.Cut(key, "."); plain(first) == "data" {
		s = &sets{}
	}
	return load(file, root, s)
}

// child is the value under a key or number, made if it is missing.
func child(n *yaml.Node, key string) (*yaml.Node, error) {
	if n.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], nil
		}
		for _, c := range n.Content {
			if named := c.Kind == yaml.MappingNode && len(c.Content) == 2 && plain(c.Content[0].Value) == plain(key); named ||
				c.Kind == yaml.ScalarNode && plain(c.Value) == plain(key) {
				return child(c, key)
			}
		}
		return nil, errors.Errorf("want a name in the list or a number below %d, got %q", len(n.Content), key)
	}
	if n.Kind == yaml.ScalarNode { // a name without options becomes one with, and nothing becomes a mapping
		name := *n
		*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line}
		if !null(&name) {
			n.Content = []*yaml.Node{&name, {Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", Line: n.Line}}
		}
	}
	if found := at(n, key); found != n {
		return found, nil
	}
	made := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", Line: n.Line}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: n.Line}, made)
	return made, nil
}

func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = nil
	for _, x := range n.Content {
		c.Content = append(c.Content, clone(x))
	}
	return &c
}

// Choose is the experiment with these rules: those of its own that are called so, and others with their defaults.
func (e *Experiment) Choose(names []string) (*Experiment, error) {
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, name := range names {
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}
		for _, own := range e.entries {
			if own.as == name {
				n = own.node
			}
		}
		list.Content = append(list.Content, clone(n))
	}
	root := clone(e.root)
	n, err := child(root, "rules")
	if err != nil {
		return nil, err
	}
	*n = *list
	return load(e.file, root, e.sets)
}

// Text is the experiment as a file.
func (e *Experiment) Text() (string, error) {
	text, err := yaml.Marshal(e.root)
	return string(text), errors.Wrap(err, "experiment")
}

// A Run is one rule with one seed, ready for rules.Fit.
type Run struct {
	Trainer rules.Trainer
	Train   rules.Data
	Test    *data.Set // for the result
	// Config has the epochs, the data that show the course of the run, patience, best, every and keep. The last two
	// count when there is a Checkpoint.
	Config rules.Config
}

// Run makes the trainer of a rule, by its number in Rules, with a seed.
func (e *Experiment) Run(rule int, seed uint64) (*Run, error) {
	d := decoder{file: e.file, classes: 2, perEpoch: 1, epochs: 1}
	x, err := d.describe(e.root)
	if err != nil {
		return nil, err
	}
	train, test, validation, err := e.split(x.Data, seed)
	if err != nil {
		return nil, err
	}
	epochs := x.Epochs
	if own := x.Rules[rule].epochs; own > 0 {
		epochs = own
	}
	spec := rules.SpecOf(train, x.Batch, seed)
	spec.DType = x.Dtype
	d.classes, d.perEpoch, d.epochs = outputs(spec), train.Len()/spec.Batch, epochs
	if x, err = d.describe(e.root); err != nil {
		return nil, err
	}
	r := &Run{Train: train, Test: test}
	if x.Data.Augment != (data.Augmentation{}) {
		if r.Train, err = train.Augment(x.Data.Augment); err != nil {
			return nil, err
		}
	}
	r.Config = rules.Config{Epochs: epochs, Validation: test, Patience: x.Patience, MinDelta: x.MinDelta, Best: x.Best, Every: x.Every, Keep: x.Keep}
	if validation != nil {
		r.Config.Validation = validation
	}
	objective := x.Objective
	if objective == nil {
		objective = objectives.CrossEntropy
		if spec.Classes == 0 {
			objective = objectives.MSE
		}
	}
	r.Trainer, err = withDefaults(x.Rules[rule].rule, x).Trainer(withClasses(x.Model, d.classes), objective, spec)
	return r, errors.Wrap(err, e.Rules[rule])
}

// outputs is how many numbers a model has to give.
func outputs(s rules.Spec) int {
	if s.Classes > 0 {
		return s.Classes
	}
	n := 1
	for _, d := range s.Target {
		n *= d
	}
	return n
}

// split is the data of a seed.
func (e *Experiment) split(d Data, seed uint64) (train, test, validation *data.Set, err error) {
	e.sets.once.Do(func() { e.sets.train, e.sets.test, e.sets.err = d.load() })
	if e.sets.err != nil {
		return nil, nil, nil, e.sets.err
	}
	train, test = e.sets.train, e.sets.test
	if test == nil {
		share := d.Test
		if share == 0 {
			share = 0.2
		}
		if train, test, err = train.Split(seed, share); err != nil {
			return nil, nil, nil, err
		}
	}
	if d.Validation > 0 {
		if train, validation, err = train.Split(seed^math.MaxUint64, d.Validation); err != nil {
			return nil, nil, nil, err
		}
	}
	if d.Take > 0 {
		train = train.Take(d.Take)
	}
	if d.Normalize != "channel" && d.Normalize != "feature" {
		return train, test, validation, nil
	}
	n := data.PerFeature(train)
	if d.Normalize == "channel" {
		n = data.PerChannel(train)
	}
	for _, s := range []**data.Set{&train, &test, &validation} {
		if *s != nil && err == nil {
			*s, err = n.Apply(*s)
		}
	}
	return train, test, validation, err
}

func (d Data) load() (train, test *data.Set, err error) {
	if d.File == "" {
		train, test, err = data.ByName(d.Name, d.Dir)
	} else {
		var f *os.File
		if f, err = os.Open(d.File); err != nil {
			return nil, nil, errors.Wrap(err, "data")
		}
		defer f.Close()
		train, err = d.CSV.Read(d.File, f)
	}
	for _, s := range []**data.Set{&train, &test} {
		if err == nil && *s != nil && d.Shape != nil {
			*s, err = (*s).Reshape(d.Shape...)
		}
	}
	return train, test, err
}

// withDefaults gives a rule the experiment's optimiser, schedule and clip where it has the fields and says nothing.
func withDefaults(r rules.Rule, x *description) rules.Rule {
	v := reflect.New(reflect.TypeOf(r)).Elem()
	v.Set(reflect.ValueOf(r))
	if v.Kind() != reflect.Struct {
		return r
	}
	if f := v.FieldByName("Optimizer"); f.IsValid() && f.Kind() == reflect.Interface && f.IsNil() && x.Optimizer != nil {
		f.Set(reflect.ValueOf(x.Optimizer))
	}
	if f := v.FieldByName("Options"); f.IsValid() {
		if o, ok := f.Addr().Interface().(*optim.Options); ok {
			if o.Schedule == nil {
				o.Schedule = x.Schedule
			}
			if o.Clip == (optim.Clip{}) {
				o.Clip = x.Clip
			}
		}
	}
	return v.Interface().(rules.Rule)
}

// withClasses gives a model that has a field Classes, and says nothing, the number of outputs.
func withClasses(m layers.Layer, n int) layers.Layer {
	v := reflect.New(reflect.TypeOf(m)).Elem()
	v.Set(reflect.ValueOf(m))
	if v.Kind() != reflect.Struct {
		return m
	}
	if f := v.FieldByName("Classes"); f.IsValid() && f.Kind() == reflect.Int && f.Int() == 0 {
		f.SetInt(int64(n))
	}
	return v.Interface().(layers.Layer)
}

// Describe is a sum over all that the file says of a run, and the seed: the same for runs that make the same bits.
func (e *Experiment) Describe(rule int, seed uint64) string {
	root := clone(e.root)
	for i := 0; i < len(root.Content); {
		switch plain(root.Content[i].Value) {
		case "name", "rules", "seeds", "histograms", "every", "keep":
			root.Content = slices.Delete(root.Content, i, i+2)
		default:
			i += 2
		}
	}
	root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "rule"}, e.entries[rule].node,
		&yaml.Node{Kind: yaml.ScalarNode, Value: "seed"}, &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatUint(seed, 10)})
	return fmt.Sprintf("%x", sha256.Sum256([]byte(canonical(root))))
}

// canonical is a tree as text, whatever its style, comments and order of keys.
func canonical(n *yaml.Node) string {
	var parts []string
	switch n.Kind {
	case yaml.ScalarNode:
		return strconv.Quote(n.Value)
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			parts = append(parts, plain(n.Content[i].Value)+":"+canonical(n.Content[i+1]))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	}
	for _, c := range n.Content {
		parts = append(parts, canonical(c))
	}
	return "[" + strings.Join(parts, ",") + "]"
}
