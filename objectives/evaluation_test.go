package objectives

import (
	"errors"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// predictions are those of given probabilities.
func predictions(t *testing.T, classes int, labels []int, probabilities ...float64) *Predictions {
	t.Helper()
	logits := graph.NewArray(graph.Float64, len(labels), classes)
	for i, p := range probabilities {
		logits.Set(i, math.Log(p)+3) // a common shift of logits changes nothing
	}
	p, err := PredictionsOf(logits, labels)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPredictions(t *testing.T) {
	p := predictions(t, 3, []int{0, 1, 2, 2, 0},
		0.78, 0.12, 0.1, // right
		0.7, 0.2, 0.1, // wrong, second
		0.5, 0.3, 0.2, // wrong, third
		0.05, 0.05, 0.9, // right
		0, 1, 0) // sure and wrong
	near := func(what string, want, got float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-12) {
			t.Errorf("%s: want %v, got %v", what, want, got)
		}
	}
	near("accuracy", 0.4, p.Accuracy())
	near("top 2", 0.8, p.TopK(2)) // of the last one's two zeros the first is the label
	near("top 3", 1, p.TopK(3))
	if v := p.NLL(); !math.IsInf(v, 1) {
		t.Errorf("NLL of a label of probability 0: %v", v)
	}
	near("Brier", (0.0728+1.14+0.98+0.015+2)/5, p.Brier())
	// Five bins of equal width: 0.5 in (0.4, 0.6]; 0.78 and 0.7 in (0.6, 0.8]; 0.9 and 1 in (0.8, 1].
	near("ECE", (0.5+2*math.Abs(0.5-0.74)+2*math.Abs(0.5-0.95))/5, p.ECE(5))
	near("MCE", 0.5, p.MCE(5))
	near("ECE of one bin", 0.776-0.4, p.ECE(1))
	// Two bins of equal numbers: 0.5, 0.7; 0.78, 0.9, 1.
	near("adaptive ECE", (2*0.6+2.68-2)/5, p.AdaptiveECE(2))
	near("adaptive ECE of single examples", (0.22+0.7+0.5+0.1+1)/5, p.AdaptiveECE(99))
	bins := p.Reliability(5)
	if b := bins[3]; b.Count != 2 || math.Abs(b.Low-0.6) > 1e-12 || math.Abs(b.High-0.8) > 1e-12 || math.Abs(b.Confidence-0.74) > 1e-12 || b.Accuracy != 0.5 {
		t.Errorf("bin %+v", b)
	}
	if b := bins[0]; b.Count != 0 || b.Gap() != 0 {
		t.Errorf("empty bin %+v", b)
	}
	a := p.AdaptiveReliability(2)
	if b := a[1]; len(a) != 2 || b.Count != 3 || math.Abs(b.Low-0.78) > 1e-12 || math.Abs(b.High-1) > 1e-12 {
		t.Errorf("bin %+v", b)
	}

	// Logits of any size, and the graph's own cross-entropy and accuracy as second opinions.
	logits, labels := gradcheck.Normal(1, 40, 5), gradcheck.Ints(2, 5, 40)
	for i := range logits.Size() {
		logits.Set(i, 1e4*logits.At(i))
	}
	q, err := PredictionsOf(logits, labels.Ints())
	if err != nil {
		t.Fatal(err)
	}
	loss, _ := evaluate(t, of(CrossEntropy), logits, labels)
	if want := loss.Scalar(); math.Abs(q.NLL()-want) > 1e-12*want {
		t.Errorf("NLL: want %v, got %v", want, q.NLL())
	}
	for k := 1; k <= 5; k++ {
		hits, _ := evaluate(t, of(AccuracyOptions{TopK: k}.Metric), logits, labels)
		near("top k", hits.Scalar(), q.TopK(k))
	}
	// A calibrated forecaster has no gap; an empty set has no errors.
	near("calibrated", 0, predictions(t, 2, []int{0, 0, 0, 1}, 0.75, 0.25, 0.75, 0.25, 0.75, 0.25, 0.75, 0.25).ECE(15))
	empty := predictions(t, 2, nil)
	near("nothing", 0, empty.ECE(15)+empty.AdaptiveECE(15)+empty.NLL()+empty.Brier()+empty.Accuracy()+empty.MCE(15))
}

func TestPredictionsErrors(t *testing.T) {
	inf := math.Inf(1)
	for what, c := range map[string]struct {
		logits *graph.Array
		labels []int
	}{
		"shape":    {graph.ArrayOf([]float64{1, 2}, 2), []int{0, 0}},
		"labels":   {graph.ArrayOf([]float64{1, 2}, 1, 2), []int{0, 0}},
		"no class": {graph.ArrayOf([]float64{1, 2}, 1, 2), []int{2}},
		"negative": {graph.ArrayOf([]float64{1, 2}, 1, 2), []int{-1}},
		"NaN":      {graph.ArrayOf([]float64{1, math.NaN()}, 1, 2), []int{0}},
		"+Inf":     {graph.ArrayOf([]float64{1, inf}, 1, 2), []int{0}},
		"-Inf":     {graph.ArrayOf([]float64{-inf, -inf}, 1, 2), []int{0}},
		"Int":      {graph.ArrayOf([]int{1, 2}, 1, 2), []int{0}},
	} {
		var e *graph.Error
		if _, err := PredictionsOf(c.logits, c.labels); !errors.As(err, &e) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := PredictionsOf(graph.ArrayOf([]float64{1, -inf}, 1, 2), []int{1}); err != nil {
		t.Errorf("an excluded class: %v", err)
	}
}

func TestDetection(t *testing.T) {
	pos, neg := []float64{3, 1, 4, 4}, []float64{2, 0, 4, 1, -1}
	// Wins of each positive: 3 beats 4; 1 beats 2 and ties 1; each 4 beats 4 and ties 1.
	if want, got := (4+2.5+4.5+4.5)/20, AUROC(pos, neg); math.Abs(got-want) > 1e-15 {
		t.Errorf("AUROC: want %v, got %v", want, got)
	}
	if got := AUROC(neg, pos); math.Abs(got-(1-(4+2.5+4.5+4.5)/20)) > 1e-15 {
		t.Errorf("AUROC the other way round: %v", got)
	}
	for _, c := range []struct{ tpr, want float64 }{{0.95, 0.6}, {1, 0.6}, {0.75, 0.2}, {0.5, 0.2}, {0.1, 0.2}} {
		if got := FPRAt(pos, neg, c.tpr); math.Abs(got-c.want) > 1e-15 {
			t.Errorf("FPR at %v: want %v, got %v", c.tpr, c.want, got)
		}
	}
	twenty, one := make([]float64, 20), []float64{0.5, 1.5}
	for i := range twenty {
		twenty[i] = float64(i)
	}
	if got := FPR95(twenty, one); got != 0.5 { // the threshold is 1: 19 of 20 pass
		t.Errorf("FPR95: %v", got)
	}
	// At 3: 1 of 4 missed, 1 of 5 passed.
	if rate, at := EqualErrorRate(pos, neg); math.Abs(rate-0.225) > 1e-15 || at != 3 {
		t.Errorf("equal error rate %v at %v", rate, at)
	}
	if got := HalfTotalErrorRate(pos, neg, 2); math.Abs(got-(0.4+0.25)/2) > 1e-15 {
		t.Errorf("half total error rate %v", got)
	}
	rate, at := EqualErrorRate(nil, neg)
	for _, v := range []float64{AUROC(nil, neg), AUROC(pos, nil), FPRAt(nil, neg, 0.95), FPRAt(pos, nil, 0.95), rate, at} {
		if v == v {
			t.Errorf("of nothing: %v", v)
		}
	}
}
