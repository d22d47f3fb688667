package main

import (
	"context"
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

const side = 16 // of a picture of a disc

func segmentation(e *experiment) error {
	const epochs = 60
	e.Text(fmt.Sprintf(`
		Which pixels belong to the disc? Made-up pictures of %d × %d noisy pixels, and labels of each pixel; within 3 pixels of the
		border of a disc they are drawn by lot. A perceptron that is far too large for 300 pictures learns them for %d epochs.

		*Label perturbation* (J. Liu et al. 2023, arXiv 2307.13539) replaces, with a probability $\alpha_i$ for each picture, all
		its labels $y$ by $(1 - 2\beta)\,y + \beta$. A controller raises $\alpha_i$ where the model is surer than right, until the
		labels are as sure in the mean, $1 - \alpha\beta$, as the model is right on other pictures (*calibrated*), or as long as its
		accuracy there does not fall (*maximum entropy*). With $\alpha\beta$ fixed it is label smoothing.`, side, side, epochs))
	names := []string{"cross-entropy", "label smoothing 0.02", "label smoothing 0.2", "perturbed, calibrated", "perturbed, maximum entropy"}
	alphas := make([][2]float64, len(names)*e.seeds) // α β, and 1 less the accuracy
	number := map[string]int{}
	for i, n := range names {
		number[n] = i
	}
	list, err := e.each(names, func(run int, name string) (*objectives.Predictions, error) {
		d := discs{seed: e.seed + uint64(run), epochs: epochs, ctx: e.ctx}
		p, ab, wrong, err := d.learn(name)
		alphas[number[name]*e.seeds+run] = [2]float64{ab, wrong}
		return p, err
	})
	if err != nil {
		return err
	}
	e.table(list, measures[0], measures[2], measure{"over-confidence", "%.4f", overConfidence}, measures[5])
	e.reliability(list, names...)
	settled := means(alphas, e.seeds)
	table := notebook.Table{Title: "Where the controllers end", Header: []string{"labels", "mean α β, %", "mistakes on held-out pictures, %"}}
	for _, k := range []int{3, 4} {
		table.Rows = append(table.Rows, []string{names[k], fmt.Sprintf("%.2f", settled[k][0]), fmt.Sprintf("%.2f", settled[k][1])})
	}
	e.Table(table)
	if !e.claims {
		return nil
	}
	ece := func(c candidate) float64 { return c.mean(measures[2].of) }
	plain, smooth := list[0], list[2]
	e.Check("cross-entropy is too sure, label smoothing less so", ece(plain) > ece(smooth), fmt.Sprintf("ECE %.1f and %.1f %%", ece(plain), ece(smooth)))
	for _, c := range list[3:] {
		e.Check(c.name+": better calibrated than label smoothing", ece(c) < ece(smooth), fmt.Sprintf("ECE %.1f and %.1f %%", ece(c), ece(smooth)))
		e.Check(c.name+": less over-confident than label smoothing", c.mean(overConfidence) < smooth.mean(overConfidence), fmt.Sprintf("%.4f and %.4f", c.mean(overConfidence), smooth.mean(overConfidence)))
		e.Check(c.name+": accuracy within 2.5 points of cross-entropy", c.accuracy() > plain.accuracy()-2.5, fmt.Sprintf("%.1f and %.1f %%", c.accuracy(), plain.accuracy()))
	}
	e.Check("calibrated: the mean of αβ ends near the part of mistakes", math.Abs(settled[3][0]-settled[3][1]) < 3, fmt.Sprintf("%.1f and %.1f %%", settled[3][0], settled[3][1]))
	e.Text("The paper reports no loss of accuracy with a large network that was trained before; here fixed smoothing loses some as well. " +
		"How much there is to correct decides who wins: with 30 % wrong labels within one pixel of the border alone, and 200 pictures, " +
		"cross-entropy had an ECE of 8 % and perturbed labels, too unsure, one of 8 to 13 %.")
	return nil
}

// overConfidence is Σ_b n_b/N conf_b max(conf_b - acc_b, 0) over bins b of confidence.
func overConfidence(p *objectives.Predictions) (sum float64) {
	for _, b := range p.Reliability(bins) {
		sum += float64(b.Count) / float64(len(p.Labels)) * b.Confidence * max(b.Confidence-b.Accuracy, 0)
	}
	return sum
}

// discs is one run of the experiment.
type discs struct {
	ctx    context.Context
	seed   uint64
	epochs int
}

// pictures are n noisy discs. The last input of each is its number; the targets are the pixels' labels.
func (d discs) pictures(stream string, n int) *data.Set {
	random := graph.Rand(d.seed, stream, 0)
	s := &data.Set{Name: stream, Shape: []int{side*side + 1}, YShape: []int{side * side}}
	for i := range n {
		row, column, radius := 4+8*random.Float64(), 4+8*random.Float64(), 3+3*random.Float64()
		for k := range side * side {
			distance := math.Hypot(float64(k/side)-row, float64(k%side)-column)
			in := distance < radius
			label := in
			if math.Abs(distance-radius) < 3 && random.Float64() < 0.5 {
				label = !label
			}
			brightness := 0.3 * random.NormFloat64()
			if in {
				brightness++
			}
			s.X, s.Y = append(s.X, float32(brightness)), append(s.Y, number(label))
		}
		s.X = append(s.X, float32(i))
	}
	return s
}

func number(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

// learn gives the predictions of test pixels, the mean of α β, and the part of wrong pixels on held-out pictures.
func (d discs) learn(name string) (p *objectives.Predictions, ab, wrong float64, err error) {
	const start = 5
	const beta, rate, lambda = 0.5, 0.005, 200 // beta·rate·lambda is below 1: probabilities settle
	train, held, test := d.pictures("train", 300), d.pictures("held out", 100), d.pictures("test", 300)
	logits := func(s *graph.Scope, x *graph.Node) *graph.Node {
		return models.MLP{Hidden: []int{256, 256}, Classes: side * side}.Apply(s, graph.Slice(x, 1, 0, side*side, 1))
	}
	o := objectives.LabelPerturbation{Beta: beta, Rate: rate, Lambda: lambda, Entropy: name == "perturbed, maximum entropy"}
	adaptive := true
	loss := func(s *graph.Scope, x, y *graph.Node) *graph.Node {
		n := graph.ShapeOf(x)[0]
		ids := graph.Reshape(graph.Cast(graph.Slice(x, 1, side*side, side*side+1, 1), graph.Int), n)
		return o.Loss(s, logits(s, x), y, ids, train.Len())
	}
	if f := map[string]objectives.Objective{
		"cross-entropy":        objectives.BCEWithLogits,
		"label smoothing 0.02": objectives.SCBCEOptions{Alpha: 1, Beta: 0.01}.Loss,
		"label smoothing 0.2":  objectives.SCBCEOptions{Alpha: 1, Beta: 0.1}.Loss,
	}[name]; f != nil {
		adaptive = false
		loss = func(s *graph.Scope, x, y *graph.Node) *graph.Node { return f(logits(s, x), y) }
	}
	t, err := rules.Plan{Name: name, Predict: logits, Optimizer: optim.Adam{LR: 1e-3},
		Phases: []rules.Phase{func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
			l := loss(s, x, y)
			return []rules.Goal{rules.Minimize(l, s.Graph().Trainable(l))}
		}}}.Trainer(rules.SpecOf(train, 20, d.seed))
	if err != nil {
		return nil, 0, 0, err
	}
	_, err = rules.Fit(d.ctx, t, train, rules.Config{Epochs: d.epochs, OnEpoch: func(r rules.Record) error {
		if !adaptive || r.Epoch < start {
			return nil
		}
		p, err := pixels(t, held)
		if err != nil {
			return err
		}
		t.Params().Get("accuracy").Value.Set(0, p.Accuracy())
		if o.Entropy && r.Epoch == start {
			t.Params().Get("floor").Value.Set(0, p.Accuracy())
		}
		return nil
	}})
	if err != nil {
		return nil, 0, 0, err
	}
	if adaptive {
		for _, a := range t.Params().Get("alpha").Value.Float32s() {
			ab += float64(a) * beta / float64(train.Len())
		}
	}
	if p, err = pixels(t, held); err != nil {
		return nil, 0, 0, err
	}
	wrong = 1 - p.Accuracy()
	p, err = pixels(t, test)
	return p, ab, wrong, err
}

// pixels are the predictions of all pixels, as of two classes.
func pixels(t rules.Trainer, d *data.Set) (*objectives.Predictions, error) {
	out, err := outputs(t, d)
	if err != nil {
		return nil, err
	}
	both, labels := graph.NewArray(out.DType, out.Size(), 2), make([]int, out.Size())
	for i, y := range d.Y {
		both.Set(2*i+1, out.At(i))
		labels[i] = int(y)
	}
	return objectives.PredictionsOf(both, labels)
}
