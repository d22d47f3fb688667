package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

func longTail(e *experiment) error {
	const ratio = 50
	names := []string{"cross-entropy", "class weights", "logit adjustment", "focal", "weighted focal", "poly", "multi-margin", "squentropy",
		"gce", "ldr-kl"}
	e.Text(fmt.Sprintf(`
		Of the first class of **%s** all training examples are kept, of the last one in %d, of those between something
		between; in the test all classes are equally frequent. A perceptron learns for 60 epochs.

		*Class weights* divide each example's loss by the frequency $\pi_y$ of its class; *logit adjustment* (A. Menon et al.
		2021, arXiv 2007.07314) is cross-entropy of $x + \log \pi$, so that frequent classes need no large logits. The others
		know nothing of frequencies.`, e.name, ratio))
	list, err := e.each(names, func(run int, name string) (*objectives.Predictions, error) {
		train, test, err := e.parts(run, 0.3)
		if err != nil {
			return nil, err
		}
		train, counts := rare(train, ratio)
		weights := make([]float64, len(counts))
		for i, n := range counts {
			weights[i] = 1 / float64(n)
		}
		f := map[string]objectives.Objective{
			"class weights":    objectives.CrossEntropyOptions{ClassWeights: weights}.Loss,
			"weighted focal":   objectives.FocalOptions{ClassWeights: weights}.Loss,
			"logit adjustment": adjusted(counts, objectives.CrossEntropy),
		}[name]
		if f == nil {
			f = named(name)
		}
		return e.learn(run, f, train, test, 60)
	})
	if err != nil {
		return err
	}
	e.report(list, "cross-entropy", "class weights", "logit adjustment", "squentropy")
	plot := notebook.Plot{Title: "Accuracy by class, frequent ones first", X: "class", Y: "accuracy, %"}
	for _, name := range []string{"cross-entropy", "class weights", "logit adjustment", "focal"} {
		plot.Lines = append(plot.Lines, notebook.Line{Name: name, Y: byClass(pick(list, name).pooled())})
	}
	e.Plot(plot)
	if !e.expectation {
		return nil
	}
	ce := pick(list, "cross-entropy")
	tail := func(c candidate) float64 {
		a := byClass(c.pooled())
		return (a[len(a)-1] + a[len(a)-2] + a[len(a)-3]) / 3
	}
	for _, name := range []string{"class weights", "logit adjustment", "weighted focal"} {
		c := pick(list, name)
		e.Check(name+": better than cross-entropy, most of all in the three rarest classes", c.accuracy() > ce.accuracy()+1 && tail(c) > tail(ce)+5,
			fmt.Sprintf("%.1f instead of %.1f %%, rarest %.1f instead of %.1f %%", c.accuracy(), ce.accuracy(), tail(c), tail(ce)))
	}
	focal := pick(list, "focal")
	e.Text(fmt.Sprintf("The focal loss by itself is no remedy for rare classes: %+.1f points, in the rarest three %+.1f.", focal.accuracy()-ce.accuracy(), tail(focal)-tail(ce)))
	return nil
}

// adjusted is an objective of the output plus the logarithms of the classes' counts.
func adjusted(counts []int, f objectives.Objective) objectives.Objective {
	return func(output, target *graph.Node) *graph.Node {
		prior := graph.NewArray(output.Dtype(), len(counts))
		for i, n := range counts {
			prior.Set(i, math.Log(float64(n)))
		}
		return f(graph.Add(output, graph.Literal(output, prior)), target)
	}
}

// byClass is the accuracy of each class, in percent.
func byClass(p *objectives.Predictions) []float64 {
	accuracy := make([]float64, p.Classes)
	for k := range accuracy {
		of := &objectives.Predictions{Classes: p.Classes}
		for i, l := range p.Labels {
			if l == k {
				of.LogP, of.Labels = append(of.LogP, p.LogP[i*p.Classes:(i+1)*p.Classes]...), append(of.Labels, l)
			}
		}
		accuracy[k] = 100 * of.Accuracy()
	}
	return accuracy
}

// rare leaves of class k the part ratio^(-k/(classes-1)), at least two examples; counts says how many.
func rare(s *data.Set, ratio float64) (train *data.Set, counts []int) {
	total := make([]int, s.Classes())
	for _, l := range s.Labels {
		total[l]++
	}
	counts = make([]int, s.Classes())
	var keep []int
	for i, l := range s.Labels {
		part := math.Pow(ratio, -float64(l)/float64(s.Classes()-1))
		if counts[l] < max(int(part*float64(total[l])), 2) {
			counts[l]++
			keep = append(keep, i)
		}
	}
	return rows(s, keep), counts
}
