package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
)

func tellMemory(s *story) error {
	s.Heading("Memory and depth")
	s.Text("What a step keeps beside parameters and optimiser state, read from the compiled programs: perceptrons with layers of " +
		"1,000 units on 784 numbers, 128 examples a step. A block's memory is given to the next one when it has learnt.")
	depths := []int{1, 2, 4, 8, 12, 16, 24}
	plot := notebook.Plot{Title: "Activations, gradients and constants of a step", X: "hidden layers", Y: "MB"}
	table := notebook.Table{Header: []string{"rule"}}
	for _, d := range depths {
		table.Header = append(table.Header, fmt.Sprint(d))
	}
	at := map[string]map[int]int{}
	for _, r := range []rules.Rule{rules.Backprop{}, rules.MonoForward{}, rules.MonoForward{Order: rules.SideBySide}, rules.ScalableForwardForward{}, rules.ForwardForward{}} {
		name := r.Name()
		if m, ok := r.(rules.MonoForward); ok && m.Order == rules.SideBySide {
			name += ", side by side"
		}
		line, row := notebook.Line{Name: name}, []string{name}
		at[name] = map[int]int{}
		for _, d := range depths {
			b, err := stepBytes(r, d)
			if err != nil {
				return err
			}
			at[name][d] = b
			line.X, line.Y = append(line.X, float64(d)), append(line.Y, float64(b)/1e6)
			row = append(row, fmt.Sprintf("%.1f MB", float64(b)/1e6))
		}
		plot.Lines, table.Rows = append(plot.Lines, line), append(table.Rows, row)
	}
	s.Plot(plot)
	if err := s.show(table); err != nil {
		return err
	}
	mono, back := at["mono-forward"], at["backprop"]
	s.Check("mono-forward at 12 layers keeps at most a quarter of what backprop does", 4*mono[12] <= back[12], fmt.Sprintf("%.1f %%", 100*float64(mono[12])/float64(back[12])))
	s.Check("its memory does not grow from 4 layers to 24, scalar constants apart", mono[24]-mono[4] < 4096, fmt.Sprintf("%d bytes more", mono[24]-mono[4]))
	return nil
}

// stepBytes is the memory of a step on a perceptron with the given number of hidden layers.
func stepBytes(r rules.Rule, depth int) (int, error) {
	m := models.MLP{Classes: 10}
	for range depth {
		m.Hidden = append(m.Hidden, 1000)
	}
	var model layers.Layer = m
	tr, err := r.Trainer(model, objectives.CrossEntropy, rules.Spec{Input: []int{784}, Classes: 10, Batch: 128})
	if err != nil {
		return 0, err
	}
	return tr.ActivationBytes(), nil
}
