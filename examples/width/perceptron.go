package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
	"github.com/harpe-ml/harpe/rules/width"
)

// hidden is two hidden layers of n units, logits those with a linear layer on top.
func hidden(n int) layers.Sequential {
	return layers.Sequential{layers.Dense{Units: n, Activation: layers.ReLU{}}, layers.Dense{Units: n, Activation: layers.ReLU{}}}
}

func logits(n int) layers.Layer {
	return append(hidden(n), layers.Dense{Units: 10, Init: layers.LeCun})
}

// baseWidth is the width whose parametrisation is the standard one.
const baseWidth = 32

// A parametrisation makes the rule that trains a perceptron of width n by Adam or gradient descent.
type parametrisation struct {
	name string
	rule func(o optim.Optimizer, f width.Family) rules.Rule
}

var parametrisations = []parametrisation{
	{"standard", func(o optim.Optimizer, _ width.Family) rules.Rule { return rules.Backprop{Optimizer: o} }},
	{"muP", func(o optim.Optimizer, f width.Family) rules.Rule {
		return width.MuP{Base: logits(baseWidth), Family: f, Rule: func(options optim.Options) rules.Rule {
			return rules.Backprop{Optimizer: o, Options: options}
		}}
	}},
}

func coordinatesPage(e *experiment) error {
	sizes := []int{32, 64, 128, 256, 512, 1024}
	if e.quick {
		sizes = sizes[:4]
	}
	const n = 4
	e.Text(fmt.Sprintf(`
		A perceptron of two hidden layers makes %d steps on the digits. How far does that move its features and its logits? With
		*standard* initialisation and one learning rate, that grows with the width, and so wide networks need smaller rates. In the
		*maximal update parametrisation* it does not: the rate of a weight matrix falls with the number of its inputs, and the
		last layer starts smaller. At width %d both are the same.`, n, baseWidth))
	for _, family := range []struct {
		name      string
		family    width.Family
		optimizer optim.Optimizer
	}{{"Adam", width.Adaptive, optim.Adam{LR: 2e-3}}, {"Gradient descent", width.Gradient, optim.SGD{LR: 0.1}}} {
		e.Heading(family.name)
		plot := notebook.Plot{Title: family.name + ": change in " + fmt.Sprint(n) + " steps", X: "width", Y: "root mean square", LogX: true, LogY: true}
		table := notebook.Table{Title: "Slopes on logarithmic scales", Header: []string{"parametrisation", "features at the start", "logits at the start", "change of features", "change of logits"}}
		for _, p := range parametrisations {
			var start, moved [2][]float64
			for _, size := range sizes {
				var at, by [2]float64
				for run := range e.seeds {
					a, b, err := e.moves(p.rule(family.optimizer, family.family), size, n, e.seed+uint64(run))
					if err != nil {
						return err
					}
					for k := range 2 {
						at[k], by[k] = at[k]+a[k]/float64(e.seeds), by[k]+b[k]/float64(e.seeds)
					}
				}
				for k := range 2 {
					start[k], moved[k] = append(start[k], at[k]), append(moved[k], by[k])
				}
			}
			x := make([]float64, len(sizes))
			for i, s := range sizes {
				x[i] = float64(s)
			}
			row := []string{p.name}
			for k, name := range []string{"features", "logits"} {
				plot.Lines = append(plot.Lines, notebook.Line{Name: p.name + ", " + name, X: x, Y: moved[k]})
			}
			for _, y := range [][]float64{start[0], start[1], moved[0], moved[1]} {
				row = append(row, fmt.Sprintf("%.2f", slope(sizes, y)))
			}
			table.Rows = append(table.Rows, row)
			if p.name == "muP" {
				features, out := slope(sizes[2:], moved[0][2:]), slope(sizes[2:], moved[1][2:])
				e.expect("muP, "+family.name+": from width 128 on changes do not depend on the width, slopes within 0.2 of 0",
					max(features, -features) < 0.2 && max(out, -out) < 0.2, fmt.Sprintf("slopes %.2f and %.2f", features, out))
			} else {
				features, out := slope(sizes, moved[0]), slope(sizes, moved[1])
				got := fmt.Sprintf("slopes %.2f and %.2f", features, out)
				e.expect("standard, "+family.name+": the change of the logits grows, slope above 0.4", out > 0.4, got)
			}
		}
		e.Plot(plot)
		e.Table(table)
	}
	return nil
}

// moves is the size of features and logits at the start, and how far some steps move them.
func (e *experiment) moves(r rules.Rule, size, steps int, seed uint64) (at, by [2]float64, err error) {
	t, err := r.Trainer(logits(size), objectives.CrossEntropy, rules.SpecOf(e.train, 128, seed))
	if err != nil {
		return at, by, err
	}
	look := func() ([]*graph.Array, error) {
		return e.evaluate(t.Params(), 128, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			return []*graph.Node{hidden(size).Apply(s.Root(), x), logits(size).Apply(s.Root(), x)}
		})
	}
	before, err := look()
	if err != nil {
		return at, by, err
	}
	if _, err := e.steps(t, steps); err != nil {
		return at, by, err
	}
	after, err := look()
	if err != nil {
		return at, by, err
	}
	for k := range before {
		at[k], by[k] = rms(before[k], nil), rms(after[k], before[k])
	}
	return at, by, nil
}

func transferPage(e *experiment) error {
	sizes := []int{32, 128, 512}
	if e.quick {
		sizes = sizes[:2]
	}
	n := e.short(120, 10)
	e.Text(fmt.Sprintf("Perceptrons of three widths train for %d steps by Adam with learning rates a factor of 2 apart. If the best rate stays where it is, "+
		"it can be found with the smallest.", n))
	var results []*sweep
	for _, p := range parametrisations {
		s, err := e.sweep(p.name, sizes, powers(-12, -2), n, 32, func(size int, lr float64) (rules.Rule, layers.Layer) {
			return p.rule(optim.Adam{LR: lr}, width.Adaptive), logits(size)
		})
		if err != nil {
			return err
		}
		e.Heading(p.name)
		e.show(p.name, "width", s)
		results = append(results, s)
	}
	standard, mup := results[0], results[1]
	e.expect("muP: the best rate moves by a factor of 2 at most", mup.shift() <= 1, fmt.Sprintf("2^%d", mup.shift()))
	e.expect("standard: it moves by more", standard.shift() > mup.shift(), fmt.Sprintf("2^%d", standard.shift()))
	a, narrow := mup.kept(), mup.losses[0][mup.best()[0]]
	e.expect("muP: at the narrowest's best rate, the widest is better than the narrowest", a < narrow, fmt.Sprintf("%.4f and %.4f", a, narrow))
	e.expect("there it has less than half of the loss of the standard parametrisation", a < standard.kept()/2, fmt.Sprintf("%.4f and %.4f", a, standard.kept()))
	return nil
}
