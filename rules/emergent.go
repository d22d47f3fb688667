package rules

import (
	"fmt"
	"math"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// EmergentForwardForward is forward-forward as N. Tosato et al. (2023, arXiv 2305.18353) study it: layer after layer, the
// goodness the Euclidean norm of the activities with threshold 3, inputs of length 1, the label over the first numbers
// of the example, wrong labels drawn uniformly, and each layer a vote for the label in prediction.
func EmergentForwardForward() ForwardForward {
	return ForwardForward{Order: Sequential, Goodness: objectives.L2Norm, Normalization: UnitLength, Negatives: WrongLabel,
		Readout: Votes, Label: OverwriteLabel, Peer: -1, Skip: -1}
}

// BackpropOnGoodness trains all hidden layers together, by backpropagation, to be active on examples with their true
// label and quiet on examples with a wrong one: the loss of forward-forward for the sum of the layers' goodness, the
// Euclidean norm of their activities (N. Tosato et al. 2023, arXiv 2305.18353, BP/FF). Each layer sees what is below it
// scaled to length 1; prediction is by Votes. Neither the objective nor the model's output layer has a part in it.
type BackpropOnGoodness struct {
	Optimizer     optim.Optimizer // nil means Adam with its defaults
	Options       optim.Options
	Label         LabelPlace
	LabelStrength float64 // size of the label's entry in the input; 0 means 1
	Threshold     float64 // of the sum; 0 means 3
}

// Name is "backprop-on-goodness".
func (BackpropOnGoodness) Name() string { return "backprop-on-goodness" }

// like is the forward-forward rule with the same passes.
func (r BackpropOnGoodness) like() ForwardForward {
	return ForwardForward{Optimizer: r.Optimizer, Options: r.Options, Goodness: objectives.L2Norm, Normalization: UnitLength,
		Negatives: WrongLabel, Readout: Votes, Label: r.Label, LabelStrength: r.LabelStrength, Skip: -1}
}

// Trainer compiles one program.
func (r BackpropOnGoodness) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective, append(r.like().settings(spec),
		setting{"Threshold", r.Threshold >= 0, "at least 0", r.Threshold})...); err != nil {
		return nil, err
	}
	n, eval, err := r.like().nets(r.Name(), model, spec, spec.params())
	if err == nil {
		err = n.unread(objective, spec)
	}
	if err != nil {
		return nil, err
	}
	return Plan{
		Name:   r.Name(),
		Params: n.params,
		Phases: []Phase{func(s *graph.Scope, x, y *graph.Node) []Goal {
			in := n.contrasts(s, x, y, nil)
			loss := contrast(n.total(s, in[0]), n.total(s, in[1]), orNumber(r.Threshold, 3), 1)
			return []Goal{Minimize(loss, s.Graph().Trainable(loss))}
		}},
		Predict:   eval.predict,
		Optimizer: n.Optimizer,
		Options:   r.Options,
	}.Trainer(spec)
}

// unread refuses what a rule without a readout cannot use: an objective that does not take class scores, and hidden
// layers without parameters.
func (n *ffNet) unread(objective objectives.Objective, spec Spec) error {
	if !slices.ContainsFunc(n.hidden, func(p *graph.Piece) bool { return len(p.Params) > 0 }) {
		return graph.Fail(n.name, "model", "hidden layers with parameters", "none")
	}
	_, err := graph.Build(spec.params(), func(s *graph.Scope) {
		objective(s.Input("scores", s.DType(), spec.Batch, spec.Classes), spec.target(s))
	})
	return errors.Wrapf(err, "%s: objective", n.name)
}

// Activities is the activity of each hidden layer, [examples, units], on all examples of d with their true label.
func (r BackpropOnGoodness) Activities(t Trainer, model layers.Layer, d Data) ([]*graph.Array, error) {
	return r.like().labelledActivities(r.Name(), t, model, d)
}

// Activities is the activity of each hidden layer, [examples, units], on all examples of d with their true label.
func (r ForwardForward) Activities(t Trainer, model layers.Layer, d Data) ([]*graph.Array, error) {
	if !r.labelled() {
		return nil, graph.Fail(r.Name(), "Negatives", "HardLabel or WrongLabel", "HybridImages")
	}
	return r.labelledActivities(r.Name(), t, model, d)
}

func (r ForwardForward) labelledActivities(name string, t Trainer, model layers.Layer, d Data) ([]*graph.Array, error) {
	n, err := r.trained(name, t, model)
	if err != nil {
		return nil, err
	}
	return collect(t.Spec(), n.params, d, func(s *graph.Scope, x, y *graph.Node) []*graph.Node {
		return n.activities(s, n.embed(x, n.label(s, y)))
	})
}

// LayerGoodness is that of each hidden layer under each label, [examples, classes], on all examples of d.
func (r ForwardForward) LayerGoodness(t Trainer, model layers.Layer, d Data) ([]*graph.Array, error) {
	if !r.labelled() {
		return nil, graph.Fail(r.Name(), "Negatives", "HardLabel or WrongLabel", "HybridImages")
	}
	n, err := r.trained(r.Name(), t, model)
	if err != nil {
		return nil, err
	}
	return collect(t.Spec(), n.params, d, func(s *graph.Scope, x, _ *graph.Node) []*graph.Node { return n.energies(s, x) })
}

// trained is the model cut for prediction, with a copy of the trainer's parameters.
func (r ForwardForward) trained(name string, t Trainer, model layers.Layer) (*ffNet, error) {
	if t.Name() != name {
		return nil, graph.Fail(name, "trainer", "one of this rule", t.Name())
	}
	params := t.Params().Clone()
	n, err := r.net(name, model, t.Spec(), params, false)
	if err == nil && params.Len() != t.Params().Len() {
		err = graph.Fail(name, "model", "the trainer's", "one with other parameters")
	}
	return n, err
}

// Activities is what each block of a model but its output layer puts out, [examples, ...], on all examples of d: the
// hidden layers of a model that was trained by backpropagation.
func Activities(t Trainer, model layers.Layer, d Data) ([]*graph.Array, error) {
	params := t.Params().Clone()
	pieces, err := cut(model, t.Spec(), params, false)
	if err == nil && params.Len() != t.Params().Len() {
		err = graph.Fail("activities", "model", "the trainer's", "one with other parameters")
	}
	if err != nil {
		return nil, err
	}
	hidden, _ := hiddenAndHead(pieces, t.Spec())
	return collect(t.Spec(), params, d, func(s *graph.Scope, x, _ *graph.Node) (list []*graph.Node) {
		for _, p := range hidden {
			x = p.Apply(s, x)
			list = append(list, x)
		}
		return list
	})
}

// collect is the values of nodes of a batch, [batch, ...], for all examples of d: [examples, ...].
func collect(spec Spec, params *graph.Params, d Data, build func(s *graph.Scope, x, y *graph.Node) []*graph.Node) ([]*graph.Array, error) {
	if err := spec.takes("data", d); err != nil {
		return nil, err
	}
	st := &stage{}
	var err error
	if st.g, err = graph.Build(params, func(s *graph.Scope) {
		st.x, st.y = spec.input(s), spec.target(s)
		st.out = build(s, st.x, st.y)
	}); err != nil {
		return nil, err
	}
	p, err := st.g.Compile(st.out...)
	if err != nil {
		return nil, err
	}
	all := make([]*graph.Array, len(st.out))
	for i, n := range st.out {
		all[i] = graph.NewArray(graph.TypeOf(n).DType, append([]int{d.Len()}, graph.ShapeOf(n)[1:]...)...)
	}
	batch, rows := NewBatch(spec), make([]int, 0, spec.Batch)
	for at := 0; at < d.Len(); at += spec.Batch {
		rows = rows[:0]
		for i := at; i < min(at+spec.Batch, d.Len()); i++ {
			rows = append(rows, i)
		}
		if err := first(batch.Fill(d, rows, 0), st.feed(p, batch), p.Run()); err != nil {
			return nil, err
		}
		for i, n := range st.out {
			width := all[i].Size() / d.Len()
			for j := range len(rows) * width {
				all[i].Set(at*width+j, p.Array(n).At(j))
			}
		}
	}
	return all, nil
}

// labels is those of all examples.
func labels(d Data) []int {
	list := make([]int, d.Len())
	x := make([]float32, graph.Type{Shape: d.InputShape()}.Size())
	for i := range list {
		list[i] = d.Read(i, 0, x, nil)
	}
	return list
}

// LayerContributions is the share of wrong predictions by each layer's goodness alone, and by the sum over the layers up
// to it, from each layer's goodness under each label [examples, classes] and the examples' labels: what a layer adds to
// those below (G. Lorberbom et al. 2023, arXiv 2305.12393).
func LayerContributions(goodness []*graph.Array, labels []int) (alone, upTo []float64) {
	wrong := func(a *graph.Array) (share float64) {
		classes := a.Size() / len(labels)
		for i, y := range labels {
			if best(a, i*classes, classes) != y {
				share += 1 / float64(len(labels))
			}
		}
		return share
	}
	var sum *graph.Array
	for _, g := range goodness {
		if sum == nil {
			sum = g.Clone()
		} else {
			for i := range g.Size() {
				sum.Set(i, sum.At(i)+g.At(i))
			}
		}
		alone, upTo = append(alone, wrong(g)), append(upTo, wrong(sum))
	}
	return alone, upTo
}

// Ensembles is, for each class, the units that stand out from their layer on its examples: those whose mean activity
// exceeds the mean over the other units by more than ratio times that (N. Tosato et al. 2023, arXiv 2305.18353, in the
// form of their code, with ratios of 1 and 2). A is [examples, units].
func Ensembles(a *graph.Array, labels []int, classes int, ratio float64) [][]int {
	units := a.Size() / a.Shape[0]
	list := make([][]int, classes)
	for c := range list {
		mean, total, count := make([]float64, units), 0.0, 0
		for i, y := range labels {
			if y != c {
				continue
			}
			count++
			for j := range mean {
				mean[j] += a.At(i*units + j)
			}
		}
		for _, m := range mean {
			total += m
		}
		for j, m := range mean {
			if others := (total - m) / float64(units-1); m-others > ratio*others {
				list[c] = append(list[c], j)
			}
		}
	}
	return list
}

// Overlap is how many units each two ensembles share, and on the diagonal how many each has. Ensembles are ascending.
func Overlap(ensembles [][]int) [][]int {
	table := make([][]int, len(ensembles))
	for i, a := range ensembles {
		table[i] = make([]int, len(ensembles))
		for j, b := range ensembles {
			for _, u := range a {
				if _, in := slices.BinarySearch(b, u); in {
					table[i][j]++
				}
			}
		}
	}
	return table
}

// A Representation is what a model's hidden layers look like on the examples that it classifies right.
type Representation struct {
	Accuracy  float64
	Hoyer     []float64 // sparsity of each layer: see objectives.Hoyer
	Active    []float64 // share of the units of each layer that are above 0
	Ensembles [][][]int // of each layer and class: see Ensembles
}

// Represent describes hidden activities, as Activities gives them, on all examples of d. Ratio is that of Ensembles.
func Represent(t Trainer, activities []*graph.Array, d Data, ratio float64) (*Representation, error) {
	spec := t.Spec()
	if err := spec.takes("data", d); err != nil {
		return nil, err
	}
	if spec.Classes == 0 {
		return nil, graph.Fail("represent", "data", "classes", "regression targets")
	}
	var right, of []int // examples and their labels
	all := labels(d)
	batch := NewBatch(spec)
	for i := 0; i < d.Len(); i += spec.Batch {
		rows := make([]int, min(spec.Batch, d.Len()-i))
		for k := range rows {
			rows[k] = i + k
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			return nil, err
		}
		out, err := t.Predict(batch)
		if err != nil {
			return nil, err
		}
		for k, row := range rows {
			if best(out, k*spec.Classes, spec.Classes) == all[row] {
				right, of = append(right, row), append(of, all[row])
			}
		}
	}
	if len(right) == 0 {
		return nil, graph.Fail("represent", "data", "an example that is classified right", "none")
	}
	r := &Representation{Accuracy: float64(len(right)) / float64(d.Len())}
	for _, a := range activities {
		if a.Shape[0] != d.Len() {
			return nil, graph.Fail("represent", "activities", fmt.Sprintf("of %d examples", d.Len()), a.Type)
		}
		width := a.Size() / a.Shape[0]
		rows, active := graph.NewArray(a.DType, len(right), width), 0
		for i, row := range right {
			for j := range width {
				v := a.At(row*width + j)
				if rows.Set(i*width+j, v); v > 0 {
					active++
				}
			}
		}
		r.Hoyer = append(r.Hoyer, objectives.Hoyer(rows))
		r.Active = append(r.Active, float64(active)/math.Max(float64(rows.Size()), 1))
		r.Ensembles = append(r.Ensembles, Ensembles(rows, of, spec.Classes, ratio))
	}
	return r, nil
}
