package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// tellCollaboration compares forward-forward whose layers know of each other with the plain one.
func tellCollaboration(s *story) error {
	s.Heading("Layers that collaborate")
	s.Text("In forward-forward each layer tells examples with the true label from those with a wrong one, for itself. With " +
		"*collaboration* (arXiv 2305.12393) a layer's probability also holds, as a constant, the goodness of the layers below it, or " +
		"of all others: it stops fighting for what the rest of the network already knows. Single layers then get worse, the sum of their " +
		"goodness, which predicts, does not.")
	model := models.MLP{Hidden: []int{200, 200, 200}, Classes: 10}
	t := notebook.Table{Header: []string{"collaboration", "error of each layer alone", "of the sum up to it", "functional entropy of each layer, true labels", "wrong labels"}}
	plot := notebook.Plot{Title: "Error of the layers", X: "layer", Y: "test error, %"}
	total, single := map[string]float64{}, map[string]float64{}
	for _, c := range []struct {
		name string
		how  rules.Collaboration
	}{{"none", rules.None}, {"previous layers", rules.Previous}, {"all layers", rules.All}} {
		var alone, upTo, pos, neg []float64
		for i := range s.seeds {
			seed := s.seed + uint64(i)
			train, test, err := s.sets(seed)
			if err != nil {
				return err
			}
			train, test = train.Flatten(), test.Flatten()
			rule := rules.ForwardForward{Optimizer: optim.Adam{LR: 1e-3}, Collaboration: c.how, Readout: rules.Energy, Skip: -1}
			tr, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 50, seed))
			if err != nil {
				return err
			}
			if _, err := s.fit(c.name, tr, train, test, 60); err != nil {
				return err
			}
			goodness, err := rule.LayerGoodness(tr, model, test)
			if err != nil {
				return err
			}
			labels := make([]int, test.Len())
			x := make([]float32, len(train.X)/train.Len())
			for i := range labels {
				labels[i] = test.Read(i, 0, x, nil)
			}
			a, u := rules.LayerContributions(goodness, labels)
			alone, upTo = add(alone, a, s.seeds), add(upTo, u, s.seeds)
			p, n, err := entropies(goodness, labels)
			if err != nil {
				return err
			}
			pos, neg = add(pos, p, s.seeds), add(neg, n, s.seeds)
		}
		t.Rows = append(t.Rows, []string{c.name, percents(alone), percents(upTo), numbers(pos), numbers(neg)})
		line, sum := notebook.Line{Name: c.name + ", alone"}, notebook.Line{Name: c.name + ", sum"}
		for i := range alone {
			line.Y, sum.Y = append(line.Y, 100*alone[i]), append(sum.Y, 100*upTo[i])
		}
		plot.Lines = append(plot.Lines, line, sum)
		total[c.name], single[c.name] = upTo[len(upTo)-1], alone[len(alone)-1]
	}
	s.Plot(plot)
	if err := s.show(t); err != nil {
		return err
	}
	for _, name := range []string{"previous layers", "all layers"} {
		if err := s.expect("with "+name+" the last layer alone is worse than without collaboration", single[name] > single["none"],
			fmt.Sprintf("%.1f %%, %.1f %%", 100*single[name], 100*single["none"])); err != nil {
			return err
		}
		if err := s.expect("with "+name+" the error of the sum is not above the plain one's by more than a point", total[name] <= total["none"]+0.01,
			fmt.Sprintf("%.1f %%, %.1f %%", 100*total[name], 100*total["none"])); err != nil {
			return err
		}
	}
	return nil
}

// entropies is the functional entropy of each layer's goodness over the examples, under the true labels and under all
// others.
func entropies(goodness []*graph.Array, labels []int) (pos, neg []float64, err error) {
	for _, g := range goodness {
		classes := g.Size() / len(labels)
		var right, wrong []float32
		for i, y := range labels {
			for c := range classes {
				if v := float32(g.At(i*classes + c)); c == y {
					right = append(right, v)
				} else {
					wrong = append(wrong, v)
				}
			}
		}
		for _, part := range []struct {
			of  []float32
			out *[]float64
		}{{right, &pos}, {wrong, &neg}} {
			e, err := entropy(part.of)
			if err != nil {
				return nil, nil, err
			}
			*part.out = append(*part.out, e)
		}
	}
	return pos, neg, nil
}

func entropy(values []float32) (float64, error) {
	var e *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		e = objectives.FunctionalEntropy(graph.Literal(s.Const(0), graph.ArrayOf(values, len(values))))
	})
	if err != nil {
		return 0, err
	}
	p, err := g.Compile(e)
	if err != nil {
		return 0, err
	}
	if err := p.Run(); err != nil {
		return 0, err
	}
	return p.Array(e).Scalar(), nil
}

// add is sum + x/n, element by element; sum may not have begun.
func add(sum, x []float64, n int) []float64 {
	if sum == nil {
		sum = make([]float64, len(x))
	}
	for i, v := range x {
		sum[i] += v / float64(n)
	}
	return sum
}

func numbers(x []float64) string {
	text := ""
	for i, v := range x {
		if i > 0 {
			text += " "
		}
		text += fmt.Sprintf("%.3g", v)
	}
	return text
}

// tellSparsity looks at the hidden layers that three ways of training give the same network.
func tellSparsity(s *story) error {
	s.Heading("Representations that emerge")
	s.Text("The same perceptron, three layers of 200 units, learns by forward-forward with the Euclidean norm as goodness, by backpropagation of " +
		"the same goodness, and by backpropagation of cross-entropy (arXiv 2305.18353). *Hoyer's sparsity* of a layer is 1 if one unit is active and " +
		"0 if all are alike. An *ensemble* is the units that stand out on the examples of a class.")
	t := notebook.Table{Header: []string{"rule", "test accuracy", "Hoyer sparsity by layer", "share of active units", "mean ensemble, first layer", "mean overlap of two"}}
	plot := notebook.Plot{Title: "Sparsity of the layers", X: "layer", Y: "Hoyer sparsity"}
	seen := map[string]*rules.Representation{}
	ff, ffBP, bp := rules.EmergentForwardForward(), rules.BackpropOnGoodness{Optimizer: optim.Adam{LR: 1e-3}}, rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}
	ff.Optimizer = optim.Adam{LR: 3e-3}
	ff.Label, ffBP.Label = rules.AppendLabel, rules.AppendLabel
	for _, c := range []struct {
		name   string
		rule   rules.Rule
		epochs int
	}{{"forward-forward", ff, 180}, {"backprop on goodness", ffBP, 60}, {"backprop", bp, 30}} {
		train, test, err := s.sets(s.seed)
		if err != nil {
			return err
		}
		train, test = train.Flatten(), test.Flatten()
		model := models.MLP{Hidden: []int{200, 200, 200}, Classes: train.Classes()}
		tr, err := c.rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 50, s.seed))
		if err != nil {
			return err
		}
		if _, err := s.fit(c.name, tr, train, test, c.epochs); err != nil {
			return err
		}
		var active []*graph.Array
		switch r := c.rule.(type) {
		case rules.ForwardForward:
			active, err = r.Activities(tr, model, test)
		case rules.BackpropOnGoodness:
			active, err = r.Activities(tr, model, test)
		default:
			active, err = rules.Activities(tr, model, test)
		}
		if err != nil {
			return err
		}
		r, err := rules.Represent(tr, active, test, 1)
		if err != nil {
			return err
		}
		seen[c.name] = r
		size, shared := ensembleSizes(rules.Overlap(r.Ensembles[0]))
		t.Rows = append(t.Rows, []string{c.name, percent([]float64{r.Accuracy}), numbers(r.Hoyer), numbers(r.Active), fmt.Sprintf("%.1f units", size), fmt.Sprintf("%.1f units", shared)})
		plot.Lines = append(plot.Lines, notebook.Line{Name: c.name, Y: r.Hoyer})
	}
	s.Plot(plot)
	if err := s.show(t); err != nil {
		return err
	}
	plain := seen["backprop"].Hoyer
	for _, name := range []string{"forward-forward", "backprop on goodness"} {
		h := seen[name].Hoyer
		if err := s.expect("the first layer of "+name+" is sparser than backprop's by at least 0.2", h[0] > plain[0]+0.2,
			fmt.Sprintf("%.2f, %.2f", h[0], plain[0])); err != nil {
			return err
		}
	}
	return s.expect("accuracy: backprop, then backprop on goodness, then forward-forward, each within a point of the order",
		seen["backprop"].Accuracy > seen["backprop on goodness"].Accuracy-0.01 && seen["backprop on goodness"].Accuracy > seen["forward-forward"].Accuracy-0.01,
		fmt.Sprintf("%.3f, %.3f, %.3f", seen["backprop"].Accuracy, seen["backprop on goodness"].Accuracy, seen["forward-forward"].Accuracy))
}

// ensembleSizes is the mean size of an ensemble and of what two of them share.
func ensembleSizes(overlap [][]int) (size, shared float64) {
	n := len(overlap)
	for i, row := range overlap {
		for j, v := range row {
			if i == j {
				size += float64(v) / float64(n)
			} else {
				shared += float64(v) / float64(n*(n-1))
			}
		}
	}
	return size, shared
}
