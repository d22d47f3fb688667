package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/models/physics"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
	"github.com/harpe-ml/harpe/rules/theory"
)

// tellMedia trains networks with parts that nobody can differentiate.
func tellMedia(s *story) error {
	s.Heading("Through a medium that cannot be differentiated")
	s.Text("Each of two layers sends its input through a simulated physical system, measures what comes out, and learns a linear map of the " +
		"measurement by a local contrast of cosines (arXiv 2304.11042). The rule never asks the medium for a derivative; it would refuse.")
	train, test, err := data.Digits().Split(s.seed, 0.2)
	if err != nil {
		return err
	}
	t := notebook.Table{Header: []string{"medium", "test accuracy"}}
	for _, m := range []struct {
		name   string
		medium func(seed uint64) layers.Medium
	}{
		{"none", nil},
		{"intensity of a random projection", func(seed uint64) layers.Medium { return physics.RandomIntensity{Units: 128, Seed: seed} }},
		{"multimode fibre", func(seed uint64) layers.Medium { return physics.MultimodeFibre{Units: 128, Seed: seed} }},
		{"acoustic cavity", func(seed uint64) layers.Medium { return physics.AcousticCavityMLP{Units: 128, Seed: seed} }},
	} {
		var model layers.Sequential
		for i := range uint64(2) {
			if m.medium == nil {
				model = append(model, layers.Dense{Units: 128})
				continue
			}
			model = append(model, physics.Layer{Medium: m.medium(i + 1), Units: 128})
		}
		tr, err := rules.PhysicalForwardForward{Optimizer: optim.Adam{LR: 1e-3}, InnerSteps: 5}.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 50, s.seed))
		if err != nil {
			return err
		}
		h, err := s.fit(m.name, tr, train, test, 20)
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, []string{m.name, percent([]float64{h.Last().Accuracy})})
		if err := s.expect("through "+m.name+": at least 85 %", h.Last().Accuracy >= 0.85, percent([]float64{h.Last().Accuracy})); err != nil {
			return err
		}
	}
	return s.show(t)
}

// tellFeedback follows the angles between feedback and weights.
func tellFeedback(s *story) error {
	s.Heading("Feedback that is not the transpose")
	s.Text("Feedback alignment sends the error back through fixed random matrices, direct feedback alignment straight to each block, PEPITA to the " +
		"input, where it changes what a second forward pass sees (arXiv 2302.05440). The weights turn towards the feedback while they learn; 90° is chance.")
	train, test, err := data.Digits().Split(s.seed, 0.2)
	if err != nil {
		return err
	}
	model := models.MLP{Hidden: []int{256}, Classes: 10}
	t := notebook.Table{Header: []string{"rule", "test accuracy", "angle at the start", "angle at the end"}}
	plot := notebook.Plot{Title: "Angle between feedback and weights", X: "epoch", Y: "degrees"}
	base := 0.0
	for _, r := range []struct {
		name string
		rule rules.Rule
	}{
		{"backprop", rules.Backprop{Optimizer: sgd}},
		{"feedback alignment", rules.FeedbackAlignment{Optimizer: sgd}},
		{"direct feedback alignment", rules.DirectFeedbackAlignment{Optimizer: sgd}},
		{"adaptive feedback alignment", rules.AdaptiveFeedbackAlignment{Optimizer: sgd}},
		{"PEPITA", rules.PEPITA{Optimizer: sgd}},
		{"PEPITA, Hebbian", rules.PEPITA{Optimizer: sgd, Mode: rules.Hebbian}},
		{"PEPITA, time-local", rules.PEPITA{Optimizer: optim.SGD{LR: 0.01}, Mode: rules.TimeLocal}}, // momentum would mix its two halves
	} {
		tr, err := r.rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 64, s.seed))
		if err != nil {
			return err
		}
		line := notebook.Line{Name: r.name}
		measure := func(epoch int) {
			if angles, err := rules.FeedbackAngles(tr); err == nil {
				line.X, line.Y = append(line.X, float64(epoch)), append(line.Y, angles[len(angles)-1].Degrees)
			}
		}
		measure(0)
		bar := s.Progress(r.name, s.length(60))
		h, err := rules.Fit(s.ctx, tr, train, rules.Config{Epochs: s.length(60), Validation: test, OnEpoch: func(rec rules.Record) error {
			measure(rec.Epoch)
			bar.Set(rec.Epoch, fmt.Sprintf("accuracy %.3f", rec.Accuracy))
			return nil
		}})
		bar.Done()
		if err != nil {
			return err
		}
		accuracy := h.Last().Accuracy
		row := []string{r.name, percent([]float64{accuracy}), "", ""}
		if base == 0 {
			base = accuracy
		} else if r.name == "PEPITA, time-local" {
			if err := s.expect("PEPITA, time-local, learns, but less: its weights change between the passes", accuracy > 0.5, row[1]); err != nil {
				return err
			}
		} else if err := s.expect(r.name+" is within 3 points of backprop", accuracy > base-0.03, row[1]); err != nil {
			return err
		}
		if n := len(line.Y); n > 0 {
			row[2], row[3] = fmt.Sprintf("%.0f°", line.Y[0]), fmt.Sprintf("%.0f°", line.Y[n-1])
			plot.Lines = append(plot.Lines, line)
			if err := s.expect("the angle of "+r.name+" falls", line.Y[n-1] < line.Y[0], row[2]+" to "+row[3]); err != nil {
				return err
			}
		}
		t.Rows = append(t.Rows, row)
	}
	s.Plot(plot)
	if err := s.show(t); err != nil {
		return err
	}
	return s.tellTheory()
}

// tellTheory puts the equations of a high-dimensional student beside a simulation.
func (s *story) tellTheory() error {
	start := &theory.OrderParams{
		Q: [][]float64{{.8455743164, .0276662144}, {.0276662144, 1.0677882695}}, R: [][]float64{{.0522894343, -.0272790654}, {-.0031355086, .0014558545}},
		T: [][]float64{{1.0044541360, -.0899263471}, {-.0899263471, 1.0255496889}}, P: []float64{.0810741081, .1151594216},
		Rho: []float64{-.0000145580, .0025666463}, F2: .0297798626, V: []float64{.3, .5}, Teacher: []float64{1, 1},
	}
	times := []float64{0, 10, 20, 40, 60, 80, 100}
	plot := notebook.Plot{Title: "A student of two hidden units in high dimension", X: "time, steps/D", Y: "generalisation error", LogY: true}
	for _, r := range []struct {
		name string
		rule theory.Rule
	}{{"backprop", theory.Backprop}, {"adaptive feedback alignment", theory.Adaptive}, {"PEPITA", theory.PEPITA}} {
		e, err := theory.Learning{LR: 3, OutputLR: 0.5, Rule: r.rule}.Solve(start, 0.05, times...)
		if err != nil {
			return err
		}
		plot.Lines = append(plot.Lines, notebook.Line{Name: r.name, X: times, Y: e})
		if r.rule == theory.PEPITA {
			s.Check("PEPITA's equation gives .019194 at time 100", math.Abs(e[len(e)-1]-.019194) < 1e-5, fmt.Sprintf("%.6f", e[len(e)-1]))
		}
	}
	s.Plot(plot)
	return nil
}

// tellKnowledge runs a rule without labels.
func tellKnowledge(s *story) error {
	s.Heading("Entropy without labels")
	s.Text("*Structured knowledge accumulation* (arXiv 2503.13942) passes one batch through sigmoid layers again and again; each layer descends its own " +
		"entropy, $H=-\\frac{1}{\\ln 2}\\sum z\\,\\Delta D$. The curves are the paper's. Labels are no input, and no class information comes of it at its " +
		"defaults: the layers behind the first end with the same decisions for every image.")
	d := data.Digits()
	var q layers.Sequential
	for _, n := range []int{256, 128, 64, 10} {
		q = append(q, layers.Dense{Units: n, Activation: layers.Sigmoid{}, Init: layers.Normal(0.01)})
	}
	tr, err := rules.SKA{}.Trainer(q, objectives.CrossEntropy, rules.SpecOf(d, 1000, s.seed))
	if err != nil {
		return err
	}
	batch := rules.NewBatch(tr.Spec())
	rows := make([]int, 1000)
	for i := range rows {
		rows[i] = i
	}
	if err := batch.Fill(d, rows, 0); err != nil {
		return err
	}
	lines := make([]notebook.Line, len(q))
	cosines := make([]notebook.Line, len(q))
	for range 50 {
		if _, err := tr.Step(batch); err != nil {
			return err
		}
		list, err := rules.SKALayers(tr)
		if err != nil {
			return err
		}
		for i, l := range list {
			lines[i].Name, cosines[i].Name = fmt.Sprintf("layer %d", i+1), fmt.Sprintf("layer %d", i+1)
			lines[i].Y, cosines[i].Y = append(lines[i].Y, l.Entropy), append(cosines[i].Y, l.Cosine)
		}
	}
	s.Plot(notebook.Plot{Title: "Entropy of each layer", X: "step", Y: "bits", Lines: lines})
	s.Plot(notebook.Plot{Title: "Cosine of knowledge and change of decisions", X: "step", Y: "cosine", Lines: cosines})
	for i, l := range lines {
		low := 0
		for k, v := range l.Y {
			if v < l.Y[low] {
				low = k
			}
		}
		s.Check(fmt.Sprintf("layer %d: entropy 0 in the first two passes, then below", i+1), l.Y[0] == 0 && math.Abs(l.Y[1]) < 1e-3 && l.Y[low] < -10,
			fmt.Sprintf("lowest %.0f bits at step %d", l.Y[low], low))
	}
	return nil
}
