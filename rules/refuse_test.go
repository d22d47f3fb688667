package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
)

// Every rule that has a name: labels that are no class are an error and change nothing; batches of one class and of one
// example are trained on and leave finite parameters; where neither the model nor the rule has
// parameters, the error says so.
func TestEveryRuleAtTheEdges(t *testing.T) {
	d := toy(16)
	for _, r := range all {
		t.Run(r.Name(), func(t *testing.T) {
			tr := newTrainer(t, r, d)
			batch := firstBatch(t, d, tr.Spec())
			before := tr.Params().Clone()
			for _, label := range []int{3, -1, math.MaxInt} {
				batch.Y.Ints()[4] = label
				if loss, err := tr.Step(batch); err == nil {
					t.Errorf("label %d of 3 classes: no error, loss %v", label, loss)
				}
				if r.Name() != "mezo" { // which perturbs in place and takes back but for rounding
					sameBits(t, "after a label that is no class", before, tr.Params())
				}
			}
			for i := range batch.Y.Ints() {
				batch.Y.Ints()[i] = 2
			}
			for range 3 {
				if _, err := tr.Step(batch); err != nil {
					t.Fatalf("one class only: %v", err)
				}
			}
			finite(t, "one class only", tr.Params())

			one, err := r.Trainer(mlp(8, 8), objectives.CrossEntropy, SpecOf(d, 1, 7))
			if err != nil {
				t.Fatal(err)
			}
			single := firstBatch(t, d, one.Spec())
			for range 3 {
				if _, err := one.Step(single); err != nil {
					t.Fatalf("a batch of one: %v", err)
				}
			}
			finite(t, "a batch of one", one.Params())

			nothing := layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Slice(graph.Tanh(x), 1, 0, 3, 1) })
			if tr, err := r.Trainer(nothing, objectives.CrossEntropy, SpecOf(d, 4, 1)); err != nil {
				wantError(t, err, r.Name(), "parameter")
			} else if tr.Params().Len() == 0 {
				t.Error("nothing to train: no error")
			}
			wide := layers.Dense{Units: 5}
			if tr, err := r.Trainer(wide, objectives.MSE, SpecOf(d, 4, 1)); err == nil {
				if _, err := tr.Step(firstBatch(t, d, tr.Spec())); err == nil {
					t.Error("five outputs, squared error and class labels: no error")
				}
			}
		})
	}
}

func finite(t *testing.T, what string, p *graph.Params) {
	t.Helper()
	for q := range p.All() {
		for i := range q.Value.Size() {
			if v := q.Value.At(i); v-v != 0 {
				t.Fatalf("%s: %s[%d] is %v", what, q.Name, i, v)
			}
		}
	}
}
