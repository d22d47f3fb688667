package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// FeedbackAlignment is backpropagation that carries errors back through each dense or convolutional layer by a random
// matrix B in place of its weight: δ_{l-1} = act'(a_{l-1})·(B_l δ_l) (T. Lillicrap et al. 2014, arXiv 1411.0247).
// B has the weight's shape, is not trained, and is a state of the rule's own, "feedback-alignment/LAYER/weight"; the
// first layer needs none. Ops without weights, biases and the scales of normalisations are differentiated as usual. A
// weight that is used more than once, as in a recurrent layer, is refused.
type FeedbackAlignment struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults
	Options   optim.Options
	Init      layers.Init // of B; nil means layers.He
}

// Name is "feedback-alignment".
func (FeedbackAlignment) Name() string { return "feedback-alignment" }

// Trainer compiles one program: forward, backward through the matrices of feedback.
func (r FeedbackAlignment) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective); err != nil {
		return nil, err
	}
	if r.Init == nil {
		r.Init = layers.He
	}
	return Plan{
		Name: r.Name(),
		Phases: []Phase{func(s *graph.Scope, x, y *graph.Node) []Goal {
			loss := objective(r.substitute(s, model.Apply(s, x)), y)
			return []Goal{Minimize(loss, s.Graph().Trainable(loss))}
		}},
		Predict:   model.Apply,
		Optimizer: orAdam(r.Optimizer),
		Options:   r.Options,
	}.Trainer(spec)
}

// substitute is the output with the same value, whose reverse rule has feedback in place of weights.
func (r FeedbackAlignment) substitute(s *graph.Scope, out *graph.Node) *graph.Node {
	at, used := map[*graph.Node]graph.Injection{}, map[*graph.Node]bool{}
	for _, u := range s.Graph().Uses(out) {
		op := graph.OpName(u.Op)
		if op != "matmul" && op != "conv2d" {
			continue
		}
		param := s.Graph().Param(u.Param)
		if used[u.Param] {
			panic(graph.Fail(r.Name(), "model", "each weight used once", param.Name+" used again"))
		}
		used[u.Param] = true
		if len(s.Graph().Trainable(graph.Operands(u.Op)[0])) == 0 {
			continue // nothing below learns
		}
		shape := param.Value.Shape
		fanIn, fanOut := shape[0], shape[len(shape)-1]
		if op == "conv2d" {
			taps := shape[2] * shape[3]
			fanIn, fanOut = shape[1]*taps, shape[0]*taps
		}
		b := s.Root().Sub(r.Name()).State(param.Name, r.Init(fanIn, fanOut), shape...)
		at[u.Op] = func(n *graph.Node, _ func(*graph.Node) *graph.Node) *graph.Node {
			data := graph.Operands(n)[0]
			learns := inject(n, data, graph.Detach(data)) // to the weight
			carries := inject(n, u.Param, b)              // to the layers below
			return graph.StraightThrough(n, graph.Add(learns, carries))
		}
	}
	out, _ = graph.Inject(out, at)
	return out
}

// inject is y with one node replaced.
func inject(y, old, by *graph.Node) *graph.Node {
	y, _ = graph.Inject(y, map[*graph.Node]graph.Injection{
		old: func(*graph.Node, func(*graph.Node) *graph.Node) *graph.Node { return by },
	})
	return y
}

// DirectFeedbackAlignment trains each block from the error of the output, which a random matrix B carries straight to
// the block's end: the cotangent of its result is e B, from which the block's own parameters learn by its own reverse
// rule (A. Nøkland 2016, arXiv 1609.01596). E is the objective's derivative by the output. No error passes from
// block to block; a block of one dense layer has the paper's direction act'(a)·(e B) x. B, [outputs, units of the
// block], is not trained and is a state of the rule's own, "direct-feedback-alignment/BLOCK". The last block learns
// from e itself.
type DirectFeedbackAlignment struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults; each block has one of its own
	Options   optim.Options
	// Init of B, given the number of units as fan-in; nil means layers.LeCun, U(-1/sqrt(units), 1/sqrt(units)).
	Init layers.Init
}

// Name is "direct-feedback-alignment".
func (DirectFeedbackAlignment) Name() string { return "direct-feedback-alignment" }

// Trainer cuts the model at its blocks and compiles one program, whose parts share nothing but activations and e.
func (r DirectFeedbackAlignment) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	if err := arguments(r.Name(), model, objective); err != nil {
		return nil, err
	}
	if r.Init == nil {
		r.Init = layers.LeCun
	}
	params := spec.params()
	pieces, err := cut(model, spec, params, true)
	if err != nil {
		return nil, errors.Wrap(err, r.Name())
	}
	if len(pieces) < 2 {
		return nil, graph.Fail(r.Name(), "model", "at least two blocks with parameters", len(pieces))
	}
	return Plan{
		Name:   r.Name(),
		Params: params,
		Phases: []Phase{func(s *graph.Scope, x, y *graph.Node) []Goal {
			return r.goals(s, pieces, objective, x, y)
		}},
		Predict:   model.Apply,
		Optimizer: orAdam(r.Optimizer),
		Options:   r.Options,
	}.Trainer(spec)
}

// goals is one for each block; the last one reports the loss.
func (r DirectFeedbackAlignment) goals(s *graph.Scope, pieces []*graph.Piece, objective objectives.Objective, x, y *graph.Node) []Goal {
	ends := make([]*graph.Node, len(pieces))
	for i, p := range pieces {
		x = p.Apply(s, graph.Detach(x))
		ends[i] = x
	}
	loss := objective(x, y)
	e := graph.Grad(loss, x)[0]
	flat := graph.Reshape(e, graph.ShapeOf(e)[0], -1)
	var goals []Goal
	for i, end := range ends {
		goal := Goal{Loss: s.Const(0), Params: s.Graph().Trainable(end)}
		push := e
		if i == len(ends)-1 {
			goal.Loss = loss
		} else {
			outputs, units := graph.ShapeOf(flat)[1], graph.TypeOf(end).Size()/graph.ShapeOf(end)[0]
			b := s.Root().Sub(r.Name()).State(pieces[i].Name, r.Init(units, outputs), outputs, units)
			push = graph.Reshape(graph.MatMul(flat, b), graph.ShapeOf(end)...)
		}
		goal.Grads = graph.VJP([]*graph.Node{end}, []*graph.Node{push}, goal.Params)
		goals = append(goals, goal)
	}
	return goals
}

// A FeedbackAngle is the angle between a matrix of feedback and what it stands for, both as one long vector: 90° for a
// random one, 0° for backpropagation.
type FeedbackAngle struct {
	Name    string // of the state that holds the feedback
	Degrees float64
}

// FeedbackAngles measures a trainer's feedback as it is now. Feedback of a weight, as FeedbackAlignment's and the
// layerwise one of PEPITA, is compared with that weight; PEPITA's F and that of AdaptiveFeedbackAlignment also with the
// product of all weights from input to output; the feedback of DirectFeedbackAlignment with the product of the weights
// behind the block. Products need a chain of dense layers; without one it is an error.
func FeedbackAngles(t Trainer) ([]FeedbackAngle, error) {
	prefix := t.Name() + "/"
	var own, weights []*graph.Param
	for q := range t.Params().All() {
		switch {
		case q.State && strings.HasPrefix(q.Name, prefix):
			own = append(own, q)
		case !q.State && len(q.Value.Shape) > 1:
			weights = append(weights, q)
		}
	}
	var angles []FeedbackAngle
	add := func(name string, a, b []float64) {
		angles = append(angles, FeedbackAngle{name, angle(a, b)})
	}
	var factors []*graph.Param
	for _, q := range own {
		w := t.Params().Get(strings.TrimPrefix(q.Name, prefix))
		if w != nil {
			add(q.Name, numbers(q.Value), numbers(w.Value))
			factors = append(factors, q)
		}
	}
	if len(own) == 0 {
		return nil, graph.Fail("feedback angles", "trainer", "one of a rule with feedback", t.Name())
	}
	switch t.Name() {
	case PEPITA{}.Name(), AdaptiveFeedbackAlignment{}.Name():
		f := own
		if len(factors) > 0 {
			f = factors
		}
		a, err := chainProduct(f)
		if err != nil {
			return nil, err
		}
		b, err := chainProduct(weights)
		if err != nil {
			return nil, err
		}
		add(prefix+"feedback", a, b)
	case DirectFeedbackAlignment{}.Name():
		if len(own) != len(weights)-1 {
			return nil, graph.Fail("feedback angles", "model", "a dense layer in each block", fmt.Sprintf("%d weights in %d blocks", len(weights), len(own)+1))
		}
		for i, q := range own {
			b, err := chainProduct(weights[i+1:])
			if err != nil {
				return nil, err
			}
			outputs, units := q.Value.Shape[0], q.Value.Shape[1]
			a := make([]float64, q.Value.Size())
			for j := range a {
				a[j] = q.Value.At(j%outputs*units + j/outputs)
			}
			add(q.Name, a, b)
		}
	}
	return angles, nil
}

func numbers(a *graph.Array) []float64 {
	v := make([]float64, a.Size())
	for i := range v {
		v[i] = a.At(i)
	}
	return v
}

// chainProduct multiplies matrices, from the last to the first.
func chainProduct(list []*graph.Param) ([]float64, error) {
	last := list[len(list)-1].Value
	v, columns := numbers(last), last.Shape[len(last.Shape)-1]
	for i, q := range slices.Backward(list) {
		s := q.Value.Shape
		if len(s) != 2 || i < len(list)-1 && s[1] != list[i+1].Value.Shape[0] {
			return nil, graph.Fail("feedback angles", "model", "a chain of dense layers", fmt.Sprintf("%s %v", q.Name, s))
		}
		if i == len(list)-1 {
			continue
		}
		next := make([]float64, s[0]*columns)
		for r := range s[0] {
			for k := range s[1] {
				w := q.Value.At(r*s[1] + k)
				for c, b := range v[k*columns : (k+1)*columns] {
					next[r*columns+c] += w * b
				}
			}
		}
		v = next
	}
	return v, nil
}

// angle is that between two vectors, in degrees.
func angle(a, b []float64) float64 {
	var both, aa, bb float64
	for i := range a {
		both, aa, bb = both+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return math.Acos(min(1, max(-1, both/math.Sqrt(aa*bb)))) * 180 / math.Pi
}
