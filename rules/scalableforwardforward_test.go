package rules

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// imageData is images of 8x8 pixels with stripes, whose direction is the class.
type imageData struct{ n int }

func (d imageData) Len() int           { return d.n }
func (d imageData) InputShape() []int  { return []int{1, 8, 8} }
func (d imageData) Classes() int       { return 3 }
func (d imageData) TargetShape() []int { return nil }
func (d imageData) Read(i int, _ uint64, x, _ []float32) int {
	c := i % 3
	for j := range x {
		row, col := j/8, j%8
		at := []int{row, col, row + col}[c] // stripes along, across and aslant
		x[j] = float32(math.Sin(float64(at)*1.5+float64(i))) + 0.3*float32(math.Sin(float64(i*64+j)*12.9898))
	}
	return c
}

func stripesCNN() layers.Layer {
	return layers.Sequential{
		layers.Conv2D{Filters: 8, Padding: layers.Both(1), Activation: layers.ReLU{}},
		layers.Block{layers.Residual{Body: layers.Conv2D{Filters: 8, Padding: layers.Both(1), Activation: layers.ReLU{}}}},
		layers.Block{layers.Conv2D{Filters: 12, Padding: layers.Both(1), Activation: layers.ReLU{}}, layers.MaxPool2D{}},
		layers.GlobalAvgPool2D{},
		layers.Dense{Units: 3},
	}
}

// Blocks learn on their own, from responses whose map is that of the block, not of the mean behind it.
func TestScalableForwardForwardIsLocal(t *testing.T) {
	tr, err := ScalableForwardForward{Order: SideBySide}.Trainer(stripesCNN(), objectives.CrossEntropy, SpecOf(imageData{12}, 12, 5))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tr.(*trainer).phases[0].stages[0].goals); n != 3 {
		t.Fatalf("%d goals, want one a convolutional block", n)
	}
	if q := tr.Params().Get("scalable-forward-forward/block3/responses/weight"); q == nil || q.Value.Shape[1] != 12 || q.Value.Shape[2] != 3 {
		t.Errorf("the head of the third block is %v", q)
	}
	checkLocal(t, "scalable-forward-forward", tr)
}

// With auxiliary weights of zero every goodness is 0: the loss of each block is log of the number of classes, and
// nothing moves.
func TestScalableForwardForwardZeroHead(t *testing.T) {
	d := imageData{12}
	tr, err := ScalableForwardForward{Optimizer: optim.SGD{LR: 1}}.Trainer(stripesCNN(), objectives.CrossEntropy, SpecOf(d, 12, 5))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range []string{"block1", "block2", "block3"} {
		tr.Params().Get("scalable-forward-forward/" + block + "/responses/weight").Value.Zero()
	}
	before := tr.Params().Clone()
	loss, err := tr.Step(firstBatch(t, d, tr.Spec()))
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(loss-3*math.Log(3)) > 1e-6 {
		t.Errorf("loss %v, want 3 log 3", loss)
	}
	sameBits(t, "after a step with heads of zeros", before, tr.Params())
}

// It learns with every kind of block. MobileNetV3's running statistics need hundreds of steps, so its loss is looked at.
func TestScalableForwardForwardLearns(t *testing.T) {
	d := imageData{96}
	for name, c := range map[string]struct {
		model    layers.Layer
		epochs   int
		accuracy float64
	}{
		"cnn":              {stripesCNN(), 6, 0.85},
		"mlp":              {models.MLP{Hidden: []int{32, 32}, Classes: 3}, 6, 0.85},
		"resnet18":         {models.ResNet18{Width: 4, Classes: 3}, 6, 0.85},
		"mobilenetv3small": {models.MobileNetV3Small{Classes: 3, Keep: 5}, 2, 0},
	} {
		tr, err := ScalableForwardForward{Optimizer: optim.Adam{LR: 5e-3}}.Trainer(c.model, objectives.CrossEntropy, SpecOf(d, 32, 1))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h, err := Fit(t.Context(), tr, d, Config{Epochs: c.epochs})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if first, last := h.Records[0].Loss, h.Last().Loss; last >= 0.9*first {
			t.Errorf("%s: the loss fell from %v to %v only", name, first, last)
		}
		e, err := Evaluate(tr, d)
		if err != nil {
			t.Fatal(err)
		}
		if e.Accuracy < c.accuracy {
			t.Errorf("%s: accuracy %.2f on the training data", name, e.Accuracy)
		}
	}
}

func TestScalableForwardForwardReadout(t *testing.T) {
	d := imageData{12}
	scores := func(r GoodnessReadout) *graph.Array {
		tr, err := ScalableForwardForward{Readout: r}.Trainer(stripesCNN(), objectives.CrossEntropy, SpecOf(d, 12, 5))
		if err != nil {
			t.Fatal(err)
		}
		y, err := tr.Predict(firstBatch(t, d, tr.Spec()))
		if err != nil {
			t.Fatal(err)
		}
		return y.Clone()
	}
	mean, last := scores(AverageBlocks), scores(LastBlock)
	differ := false
	for i := range mean.Size() {
		differ = differ || mean.At(i) != last.At(i)
		if mean.At(i) < last.At(i)/3 { // the others' goodness is at least 0
			t.Errorf("score %d: mean %v, last %v", i, mean.At(i), last.At(i))
		}
	}
	if !differ {
		t.Error("both readouts are the same")
	}
}

func TestScalableForwardForwardErrors(t *testing.T) {
	d := imageData{12}
	for want, r := range map[string]ScalableForwardForward{
		"Kernel": {Kernel: 2}, "Scale": {Scale: -1}, "Readout": {Readout: 5}, "Order": {Order: 9}, "Group": {Group: -1},
	} {
		_, err := r.Trainer(stripesCNN(), objectives.CrossEntropy, SpecOf(d, 12, 5))
		wantError(t, err, "scalable-forward-forward", want)
	}
	_, err := ScalableForwardForward{}.Trainer(mlp(4), objectives.MSE, SpecOf(plane{8}, 8, 1))
	wantError(t, err, "scalable-forward-forward", "regression targets")
}
