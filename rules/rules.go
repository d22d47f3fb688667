// Package rules trains models. A Rule is a struct of hyper-parameters that turns a model and an objective into a
// Trainer; Fit drives a trainer over data. One line changes between two rules, nothing else does:
//
//	rule := rules.MonoForward{Optimizer: optim.Adam{LR: 1e-3}} // or rules.Backprop{...}, rules.ForwardForward{...}
//	trainer, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 64, 1))
//	history, err := rules.Fit(ctx, trainer, train, rules.Config{Epochs: 10, Validation: test})
//
// A rule of your own is a function that names, for each step, what to report, which parameters to change and in which
// directions: see Plan; or one that learns from evaluations of the loss alone: see Probing.
package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
)

// A Rule is a training algorithm with its hyper-parameters. The zero value of every rule of this package works.
type Rule interface {
	// Name is what ByName and the -rules flags call it.
	Name() string
	// Trainer builds the programs that train the model for the objective on data of the given spec. A model that the
	// rule cannot train is an error that says why.
	Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error)
}

// A Trainer owns the compiled programs, the parameters and the state of one training run. It is not safe for
// concurrent use.
type Trainer interface {
	// Name is the rule's.
	Name() string
	// Spec is what the trainer was built for.
	Spec() Spec
	// Params is the model's parameters, and those of the rule's own heads, live.
	Params() *graph.Params
	// Step trains on one batch and returns the loss before the update. A loss that is not finite is an error that
	// names the first node that is not, or, where a rule's perturbations are to blame, a step that is refused (see
	// Refused); parameters and optimiser state are then unchanged, but for blocks of a BlockLocal below the failing one.
	Step(b *Batch) (loss float64, err error)
	// Steps is how many steps were made.
	Steps() int
	// StartEpoch tells rules whose course depends on it which epoch of how many begins. Fit calls it.
	StartEpoch(epoch, epochs int)
	// Predict is the class scores, [batch, classes], or the model's output, overwritten by the next call.
	Predict(b *Batch) (*graph.Array, error)
	// ActivationBytes is the most memory a step takes beside parameters and optimiser state: activations, gradients,
	// random directions and constants.
	ActivationBytes() int
	// Programs lists the compiled training programs, for inspection.
	Programs() []*graph.Program
	// Save writes parameters, optimiser state and counters to one file, atomically, with the given metadata.
	Save(path string, meta map[string]string) error
	// Load reads what Save wrote into a trainer of the same rule, model and spec, and returns the metadata. If anything
	// does not fit, the error names it and nothing is changed.
	Load(path string) (meta map[string]string, err error)
}

// Spec is what a trainer has to know of the data and the run.
type Spec struct {
	Input   []int       // shape of one example, such as [784] or [1 28 28]
	Classes int         // number of classes; 0 for regression
	Target  []int       // shape of one regression target; nil for class labels
	Batch   int         // examples a step
	Seed    uint64      // of initialisation and of everything random in the run
	DType   graph.DType // of the parameters; zero means Float32
}

// SpecOf is the spec of a data set. A batch larger than the data is cut to its size.
func SpecOf(d Data, batch int, seed uint64) Spec {
	return Spec{Input: d.InputShape(), Classes: d.Classes(), Target: d.TargetShape(), Batch: min(batch, d.Len()), Seed: seed}
}

func (s Spec) check() error {
	switch {
	case s.Batch < 1:
		return graph.Fail("spec", "Batch", "at least 1", s.Batch)
	case s.Classes < 0 || s.Classes == 1:
		return graph.Fail("spec", "Classes", "0 or at least 2", s.Classes)
	case slices.ContainsFunc(s.Input, func(d int) bool { return d < 1 }):
		return graph.Fail("spec", "Input", "sizes of at least 1", s.Input)
	}
	return nil
}

// takes refuses data of another kind than the spec's.
func (s Spec) takes(arg string, d Data) error {
	if d == nil {
		return graph.Fail("fit", arg, "a data set", "nil")
	}
	if !slices.Equal(d.InputShape(), s.Input) || d.Classes() != s.Classes || !slices.Equal(d.TargetShape(), s.Target) {
		return graph.Fail("fit", arg, fmt.Sprintf("examples %v, %d classes, targets %v", s.Input, s.Classes, s.Target),
			fmt.Sprintf("examples %v, %d classes, targets %v", d.InputShape(), d.Classes(), d.TargetShape()))
	}
	return nil
}

func (s Spec) params() *graph.Params { return &graph.Params{Seed: s.Seed, DType: s.DType} }

// input makes the node of a batch of examples.
func (s Spec) input(scope *graph.Scope) *graph.Node {
	return scope.Input("x", scope.DType(), append([]int{s.Batch}, s.Input...)...)
}

// target makes the node of a batch of labels or regression targets.
func (s Spec) target(scope *graph.Scope) *graph.Node {
	if s.Classes > 0 {
		return scope.Input("y", graph.Int, s.Batch)
	}
	return scope.Input("y", scope.DType(), append([]int{s.Batch}, s.Target...)...)
}

// Data is a source of examples. examples/data has sets and readers.
type Data interface {
	Len() int
	InputShape() []int
	Classes() int       // 0 for regression
	TargetShape() []int // nil for class labels
	// Read writes example i into x, its regression target, if it has one, into y, and returns its label. Random
	// augmentation is a function of (i, key). It does not allocate.
	Read(i int, key uint64, x, y []float32) (label int)
}

// A Batch is the examples of one step. X and Y have the trainer's types; only the first N rows count, which matters to
// Predict alone.
type Batch struct {
	X, Y *graph.Array
	N    int

	x, y []float32 // where Read writes when X is not Float32
}

// NewBatch makes an empty batch of a trainer's shape.
func NewBatch(s Spec) *Batch {
	dtype := s.DType
	if dtype.Type == nil {
		dtype = graph.Float32
	}
	b := &Batch{X: graph.NewArray(dtype, append([]int{s.Batch}, s.Input...)...), N: s.Batch}
	if s.Classes > 0 {
		b.Y = graph.NewArray(graph.Int, s.Batch)
	} else {
		b.Y = graph.NewArray(dtype, append([]int{s.Batch}, s.Target...)...)
		b.y = make([]float32, b.Y.Size()/s.Batch)
	}
	b.x = make([]float32, b.X.Size()/s.Batch)
	return b
}

// Fill reads the given examples, at most the batch's size, into the first rows.
func (b *Batch) Fill(d Data, indices []int, key uint64) error {
	rows := b.X.Shape[0]
	if len(indices) > rows {
		return graph.Fail("batch", "indices", fmt.Sprintf("at most %d", rows), len(indices))
	}
	b.N = len(indices)
	for r, i := range indices {
		x := b.x
		if b.X.DType == graph.Float32 {
			x = b.X.Float32s()[r*len(b.x) : (r+1)*len(b.x)]
		}
		label := d.Read(i, key, x, b.y)
		if b.X.DType != graph.Float32 {
			for j, v := range x {
				b.X.Set(r*len(x)+j, float64(v))
			}
		}
		if b.y == nil {
			b.Y.Ints()[r] = label
			continue
		}
		for j, v := range b.y {
			b.Y.Set(r*len(b.y)+j, float64(v))
		}
	}
	return nil
}

// all lists the rules ByName knows, in the order of their appearance in help texts.
var all = []Rule{
	Backprop{}, EntropySGD{}, MonoForward{}, ForwardForward{}, ScalableForwardForward{}, ForwardGradient{}, ForwardGuess{}, LikelihoodRatio{}, MeZO{}, OneByte{}, SMB{},
	PEPITA{}, AdaptiveFeedbackAlignment{}, FeedbackAlignment{}, DirectFeedbackAlignment{},
	BackpropOnGoodness{}, PhysicalForwardForward{}, RecurrentForwardForward{},
}

// Names lists what ByName takes.
func Names() []string {
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.Name()
	}
	return names
}

// ByName is the rule called name with its defaults; the error of an unknown name lists the valid ones.
func ByName(name string) (Rule, error) {
	for _, r := range all {
		if r.Name() == name {
			return r, nil
		}
	}
	return nil, graph.Fail("rules", "name", "one of "+strings.Join(Names(), ", "), fmt.Sprintf("%q", name))
}
