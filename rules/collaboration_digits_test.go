package rules_test

import (
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// On digits, over five seeds: with all layers collaborating, single layers behind the first get worse than without, and
// the sum of all does not by more than a point (G. Lorberbom et al. 2023, arXiv 2305.12393).
func TestCollaborationOnDigits(t *testing.T) {
	const seeds, depth, units = 5, 3, 60
	errors := func(c rules.Collaboration) (single, total float64) {
		model := models.MLP{Hidden: []int{units, units, units}, Classes: 10}
		r := rules.ForwardForward{Collaboration: c, Negatives: rules.WrongLabel, Normalization: rules.UnitLength,
			Threshold: 2. / units, Readout: rules.Energy, Skip: -1, Peer: -1, Optimizer: optim.Adam{LR: 2e-2}}
		for seed := range uint64(seeds) {
			train, test, err := data.Digits().Split(seed+1, 0.28)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := r.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 100, seed+1))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rules.Fit(t.Context(), tr, train, rules.Config{Epochs: 40}); err != nil {
				t.Fatal(err)
			}
			g, err := r.LayerGoodness(tr, model, test)
			if err != nil {
				t.Fatal(err)
			}
			alone, upTo := rules.LayerContributions(g, test.Labels)
			t.Logf("collaboration %d, seed %d: alone %.3f, up to %.3f", c, seed+1, alone, upTo)
			for _, e := range alone[1:] {
				single += e / seeds / (depth - 1)
			}
			total += upTo[depth-1] / seeds
		}
		return single, total
	}
	single, total := errors(rules.None)
	singleAll, totalAll := errors(rules.All)
	t.Logf("error of single layers %.3f, with collaboration %.3f; of their sum %.3f, with collaboration %.3f", single, singleAll, total, totalAll)
	if singleAll <= single {
		t.Error("single layers are no worse with collaboration")
	}
	if totalAll > total+0.01 {
		t.Error("the sum is worse with collaboration")
	}
}
