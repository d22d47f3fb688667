package objectives_test

import (
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// The opening of L. Carroll's "Alice's Adventures in Wonderland" (1865).
const alice = "alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: " +
	"once or twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, " +
	"\"and what is the use of a book,\" thought alice \"without pictures or conversations?\" so she was considering in her " +
	"own mind (as well as she could, for the hot day made her feel very sleepy and stupid), whether the pleasure of making " +
	"a daisy-chain would be worth the trouble of getting up and picking the daisies, when suddenly a white rabbit with " +
	"pink eyes ran close by her. there was nothing so very remarkable in that; nor did alice think it so very much out of " +
	"the way to hear the rabbit say to itself, \"oh dear! oh dear! i shall be late!\""

// characterModel trains a small character transformer for some steps with an objective of logits [batch, time,
// vocabulary] and labels [batch, time], beginning with the given parameters, and gives the parameters and the losses.
func characterModel(t *testing.T, objective func(g *graph.Graph) objectives.Objective, from *graph.Params, rate float64, steps int) (*graph.Params, []float64) {
	t.Helper()
	const batch, time = 8, 24
	symbols := " abcdefghijklmnopqrstuvwxyz.,;:!?()\"-"
	var text []int
	for _, c := range alice {
		text = append(text, strings.IndexRune(symbols, c))
	}
	var inside *graph.Graph // that the objective's nodes are in
	model := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		inside = s.Graph()
		return models.CharLM{Vocabulary: len(symbols), Units: 32, Depth: 1, Heads: 2, Context: time}.Apply(s, graph.Cast(x, graph.Int))
	})
	spec := rules.Spec{Input: []int{time}, Target: []int{time}, Batch: batch, Seed: 1}
	trainer, err := rules.Backprop{Optimizer: optim.Adam{LR: rate}}.Trainer(model, func(output, target *graph.Node) *graph.Node {
		return objective(inside)(output, graph.Cast(target, graph.Int))
	}, spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if from != nil {
		if err := trainer.Params().CopyFrom(from); err != nil {
			t.Fatal(err)
		}
	}
	r := graph.Rand(1, "text", 0)
	b := rules.NewBatch(spec)
	var losses []float64
	for range steps {
		for i := range batch {
			at := r.IntN(len(text) - time)
			for j := range time {
				b.X.Set(i*time+j, float64(text[at+j]))
				b.Y.Set(i*time+j, float64(text[at+j+1]))
			}
		}
		loss, err := trainer.Step(b)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, loss)
	}
	return trainer.Params(), losses
}

// The losses of texts take the place of cross-entropy in a character model: beginning with a model that cross-entropy
// has trained for a while, training with a loss lowers it, and cross-entropy too where it is a part of it.
func TestCharacterModel(t *testing.T) {
	ce := objectives.CrossEntropyOptions{Axis: -1}.Loss
	plain := func(f objectives.Objective) func(*graph.Graph) objectives.Objective {
		return func(*graph.Graph) objectives.Objective { return f }
	}
	start, first := characterModel(t, plain(ce), nil, 3e-3, 60)
	if !(mean(first[50:]) < mean(first[:3])-.7) {
		t.Fatalf("cross-entropy does not train: %v", first)
	}
	var vectors *graph.Array
	for p := range start.All() {
		if strings.HasSuffix(p.Name, "embedding1/weight") {
			vectors = p.Value.Clone()
		}
	}
	before := characterModelLoss(t, plain(ce), start)
	for _, c := range []struct {
		name      string
		objective func(g *graph.Graph) objectives.Objective
		likely    bool // cross-entropy is to go down too
	}{
		{"emo, fixed vectors", plain(objectives.EMOOptions{Embedding: vectors}.Loss), true},
		{"emo, scaled to the cost", plain(objectives.EMOOptions{Embedding: vectors, Mode: objectives.MLEScaled}.Loss), false},
		{"emo, the model's own vectors", func(g *graph.Graph) objectives.Objective {
			return func(output, target *graph.Node) *graph.Node {
				var last *graph.Node
				for _, n := range g.Trainable(output) {
					if shape := graph.ShapeOf(n); len(shape) == 2 && shape[1] == graph.ShapeOf(output)[2] {
						last = graph.Transpose(n)
					}
				}
				return objectives.EMOOptions{}.LossWith(output, target, last)
			}
		}, true},
		{"mixce", plain(objectives.MixCEOptions{Axis: -1}.Loss), true},
		{"tailr", plain(objectives.TaiLrOptions{Axis: -1}.Loss), true},
		{"eisl with cross-entropy", plain(objectives.EISLOptions{CEFactor: 1, NGramFactor: .1}.Loss), true},
		{"eisl", plain(objectives.EISLOptions{}.Loss), false},
	} {
		old := characterModelLoss(t, c.objective, start)
		params, _ := characterModel(t, c.objective, start, 1e-3, 40)
		loss, after := characterModelLoss(t, c.objective, params), characterModelLoss(t, plain(ce), params)
		t.Logf("%s: loss %.4f to %.4f, cross-entropy %.4f to %.4f", c.name, old, loss, before, after)
		if !(loss < old-.05) {
			t.Errorf("%s: the loss goes from %.4f to %.4f", c.name, old, loss)
		}
		if c.likely && !(after < before-.05) {
			t.Errorf("%s: cross-entropy goes from %.4f to %.4f", c.name, before, after)
		}
	}
}

// characterModelLoss is the mean of a loss over some batches that change nothing.
func characterModelLoss(t *testing.T, objective func(*graph.Graph) objectives.Objective, params *graph.Params) float64 {
	_, losses := characterModel(t, objective, params, optim.Zero, 10)
	return mean(losses)
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v / float64(len(x))
	}
	return m
}
