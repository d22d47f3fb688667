package main

import (
	"math"
	"slices"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A job is one thing that is timed. All of them are in float32; a training step is forward pass, gradient and update,
// by Adam with learning rate 1e-3 unless the text says otherwise.
type job struct {
	name  string
	text  string
	build func() (*task, error)
}

// A task is a job made ready: step is one step of it, programs what the step runs, one after the other.
type task struct {
	step     func() error
	programs []*graph.Program
}

var jobs = []job{
	{"mlp", "784-1000-1000-10, ReLU, biases, cross-entropy, batch 128", backprop(perceptron, 128, 784)},
	{"cnn", "1x28x28; conv 32 3x3 pad 1, ReLU, maxpool 2; conv 64 likewise; dense 128 ReLU; dense 10; batch 128",
		backprop(models.CNN{Classes: 10}, 128, 1, 28, 28)},
	{"resnet18", "3x32x32; stem of 64, four stages of two basic blocks (64, 128, 256, 512; strides 1, 2, 2, 2), batch norm; batch 32",
		backprop(models.ResNet18{Classes: 10}, 32, 3, 32, 32)},
	{"charlm", "vocabulary 96, width 256, 4 pre-norm blocks, 4 heads, causal, GELU, learned positions, 128 tokens, batch 16", charLM},
	{"mlp_infer", "mlp, forward only, batch 128", infer(perceptron, 128, 784)},
	{"mlp_infer1", "mlp, forward only, batch 1", infer(perceptron, 1, 784)},
	{"cnn_infer", "cnn, forward only, batch 128", infer(models.CNN{Classes: 10}, 128, 1, 28, 28)},
	{"mlp_forward_gradient", "mlp, plain update (learning rate 1e-4) from one forward pass with a Gaussian tangent, batch 128",
		train(rules.ForwardGradient{Optimizer: optim.SGD{LR: 1e-4}}, perceptron, 128, 784)},
	{"mlp_mono_forward", "mlp, every hidden layer trained through its own 10-way projection and cross-entropy, one Adam a layer, batch 128",
		train(rules.MonoForward{Optimizer: optim.Adam{LR: 1e-3}}, perceptron, 128, 784)},
	{"mlp_forward_forward", "784-2000-2000-2000-2000, goodness the mean square, softplus loss, inputs length-normalised, one Adam a layer, batch 128 positive + 128 negative", forwardForward},
}

var perceptron = models.MLP{Hidden: []int{1000, 1000}, Classes: 10}

func names() []string {
	var n []string
	for _, j := range jobs {
		n = append(n, j.name)
	}
	return n
}

func byName(name string) (job, error) {
	i := slices.IndexFunc(jobs, func(j job) bool { return j.name == name })
	if i < 0 {
		return job{}, graph.Fail("benchmark", "job", "one of "+strings.Join(names(), ", "), name)
	}
	return jobs[i], nil
}

func backprop(model layers.Layer, batch int, input ...int) func() (*task, error) {
	return train(rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}, model, batch, input...)
}

func train(rule rules.Rule, model layers.Layer, batch int, input ...int) func() (*task, error) {
	return func() (*task, error) {
		t, err := rule.Trainer(model, objectives.CrossEntropy, rules.Spec{Input: input, Classes: 10, Batch: batch, Seed: 1})
		return trainTask(t, err, 10)
	}
}

// trainTask steps on one random batch; integers below classes stand where the model wants labels.
func trainTask(t rules.Trainer, err error, classes int) (*task, error) {
	if err != nil {
		return nil, err
	}
	b := rules.NewBatch(t.Spec())
	fillNormal(b.X)
	fillLabels(b.Y, classes)
	return &task{
		step:     func() error { _, err := t.Step(b); return err },
		programs: t.Programs(),
	}, nil
}

func infer(model layers.Layer, batch int, input ...int) func() (*task, error) {
	return func() (*task, error) {
		var x, y *graph.Node
		g, err := graph.Build(&graph.Params{Seed: 1}, func(s *graph.Scope) {
			x = s.Input("x", graph.Float32, append([]int{batch}, input...)...)
			y = model.Apply(s, x)
		})
		if err != nil {
			return nil, err
		}
		p, err := g.Compile(y)
		if err != nil {
			return nil, err
		}
		fillNormal(p.Array(x))
		return &task{p.Run, []*graph.Program{p}}, nil
	}
}

// charLM trains by backpropagation. A trainer's batches hold floats; symbols up to 96 travel as such without loss.
func charLM() (*task, error) {
	const vocabulary, batch, length = 96, 16, 128
	model := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		return models.CharLM{Vocabulary: vocabulary}.Apply(s, graph.Cast(x, graph.Int))
	})
	objective := func(output, target *graph.Node) *graph.Node {
		return objectives.CrossEntropyOptions{Axis: -1}.Loss(output, graph.Cast(target, graph.Int))
	}
	spec := rules.Spec{Input: []int{length}, Target: []int{length}, Batch: batch, Seed: 1}
	t, err := rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}.Trainer(model, objective, spec)
	if err != nil {
		return nil, err
	}
	b := rules.NewBatch(spec)
	fillLabels(b.X, vocabulary)
	fillLabels(b.Y, vocabulary)
	return &task{func() error { _, err := t.Step(b); return err }, t.Programs()}, nil
}

// forwardForward is the plain form of the rule, without the embedding of labels and the readout that
// rules.ForwardForward adds: the first half of a batch is positive, the second negative.
func forwardForward() (*task, error) {
	const half, units, depth, threshold = 128, 2000, 4, 2
	layer := func(s *graph.Scope, x *graph.Node) *graph.Node {
		norm := graph.KeepDims(graph.Norm(x, 1), graph.ShapeOf(x), 1)
		return layers.Dense{Units: units, Activation: layers.ReLU{}}.Apply(s, graph.Div(x, graph.Shift(norm, 1e-4)))
	}
	phase := func(s *graph.Scope, x, _ *graph.Node) (goals []rules.Goal) {
		sign := graph.NewArray(graph.Float32, 2*half)
		for i := range 2 * half {
			sign.Set(i, math.Copysign(1, float64(i-half)))
		}
		for range depth {
			x = graph.Detach(x)
			x = layer(s, x)
			good := graph.Mean(graph.Square(x), 1)
			loss := graph.Mean(graph.Softplus(graph.Mul(graph.Literal(x, sign), graph.Shift(good, -threshold))))
			params := s.Graph().Trainable(loss)
			goals = append(goals, rules.Minimize(loss, params[len(params)-2:]))
		}
		return goals
	}
	t, err := rules.Plan{
		Name: "forward-forward", Phases: []rules.Phase{phase}, Optimizer: optim.Adam{LR: 1e-3},
		Predict: layer,
	}.Trainer(rules.Spec{Input: []int{784}, Classes: 10, Batch: 2 * half, Seed: 1})
	return trainTask(t, err, 10)
}

func fillNormal(a *graph.Array) {
	r := graph.Rand(1, "benchmark/x", 0)
	for i := range a.Size() {
		a.Set(i, r.NormFloat64())
	}
}

func fillLabels(a *graph.Array, classes int) {
	r := graph.Rand(1, "benchmark/y", 0)
	for i := range a.Size() {
		a.Set(i, float64(r.IntN(classes)))
	}
}
