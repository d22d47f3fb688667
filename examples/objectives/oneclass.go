package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/objectives/metric"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A detector is trained on the features of normal examples and says how abnormal others are.
type detector struct {
	name  string
	loss  func(s *graph.Scope, features *graph.Node) *graph.Node
	score func(s *graph.Scope, features *graph.Node) *graph.Node
}

// detectors are those of flat and of hyperbolic space, which bring the features down to so many numbers.
func detectors(units int) []detector {
	head := func(s *graph.Scope, x *graph.Node) *graph.Node {
		return layers.Dense{Units: units}.Apply(s, layers.Dense{Units: 64, Activation: layers.ReLU{}}.Apply(s, x))
	}
	abnormal := func(s *graph.Scope, h *graph.Node) *graph.Node { return layers.Dense{Units: 1}.Apply(s, h) }
	flat := func(confusion float64) func(s *graph.Scope, x *graph.Node) *graph.Node {
		return func(s *graph.Scope, x *graph.Node) *graph.Node {
			n := graph.ShapeOf(x)[0]
			part := func(x *graph.Node, from, to int) *graph.Node { return graph.Slice(x, 0, from, to, 1) }
			h := head(s, graph.Concat(0, x, metric.PseudoNegatives{}.Draw(s, x)))
			z := abnormal(s, h)
			apart := graph.Mean(graph.Norm(graph.Sub(part(h, 0, n/2), part(h, n/2, n)), 1)) // what the hyperbolic one tends to
			return graph.Add(graph.Scale(apart, confusion), graph.Add(graph.Mean(graph.Softplus(part(z, 0, n))), graph.Mean(graph.Softplus(graph.Neg(part(z, n, 2*n))))))
		}
	}
	score := func(s *graph.Scope, x *graph.Node) *graph.Node { return abnormal(s, head(s, x)) }
	list := []detector{{"flat space", flat(0), score}, {"flat, with pairs confused", flat(1), score}}
	for _, m := range []struct {
		name  string
		model metric.OneClass
	}{
		{"hyperbolic", metric.OneClass{Head: head, Confusion: 1e-300}},
		{"hyperbolic, with pairs confused", metric.OneClass{Head: head}},
		{"hyperbolic, features not clipped", metric.OneClass{Head: head, Clip: math.Inf(1)}},
	} {
		list = append(list, detector{m.name, m.model.Loss, m.model.Score})
	}
	return list
}

func oneClass(e *experiment) error {
	const normals = 100
	e.Text(fmt.Sprintf(`
		Of **%s**, %d examples of one class are normal, and all that is known. Their features, made by a random layer that is
		never trained, are to be told from pseudo-negatives, drawn around the features' running mean; tested on examples of
		all classes. The *hyperbolic* detectors separate points of the Poincaré ball, and *pairwise confusion* pulls normal
		examples together (K. Narayan, V. Patel 2024, arXiv 2404.14406). AUROC: how often another class's example looks less
		normal than a normal one.`, e.name, normals))
	list := detectors(16)
	classes := e.all.Classes()
	results := make([][3]float64, len(list)*classes)
	err := e.together(len(results), func(i int) (string, error) {
		r, err := e.detect(list[i/classes], i%classes, normals)
		results[i] = r
		return list[i/classes].name, err
	})
	if err != nil {
		return err
	}
	table := notebook.Table{Title: fmt.Sprintf("Means and standard deviations over %d classes", classes), Header: []string{"detector", "AUROC", "FPR95, %", "equal error rate, %"}}
	for k, d := range list {
		row := []string{d.name}
		for m, format := range []string{"%.3f", "%.0f", "%.1f"} {
			mean, deviation := 0.0, 0.0
			for c := range classes {
				mean += results[k*classes+c][m] / float64(classes)
			}
			for c := range classes {
				deviation += math.Pow(results[k*classes+c][m]-mean, 2) / float64(classes-1)
			}
			row = append(row, fmt.Sprintf(format+" ± "+format, mean, math.Sqrt(deviation)))
			if m == 0 && e.name == "digits" {
				e.Check(d.name+": AUROC above 0.9", mean > 0.9, fmt.Sprintf("%.3f", mean))
			}
		}
		table.Rows = append(table.Rows, row)
	}
	e.Table(table)
	e.Text("On digits no gain of the hyperbolic detectors is expected, and none is claimed: the classes have no hierarchy that such a space would suit.")
	return nil
}

// detect gives AUROC, FPR95 and the equal error rate, the last two in percent, of examples of other classes.
func (e *experiment) detect(d detector, class, normals int) (r [3]float64, err error) {
	features, err := e.features()
	if err != nil {
		return r, err
	}
	var known, tests []int
	for i, l := range features.Labels {
		if l == class && len(known) < normals {
			known = append(known, i)
		} else if len(tests) < 2000 {
			tests = append(tests, i)
		}
	}
	return e.learnNormal(d, rows(features, known), rows(features, tests), class, 1e-3, 200, e.seed)
}

// learnNormal trains a detector on examples of a class, for so many steps, and tests it.
func (e *experiment) learnNormal(d detector, train, test *data.Set, class int, rate float64, steps int, seed uint64) (r [3]float64, err error) {
	step := func(s *graph.Scope, x, _ *graph.Node) []rules.Goal {
		loss := d.loss(s, x)
		return []rules.Goal{rules.Minimize(loss, s.Graph().Trainable(loss))}
	}
	predict := func(s *graph.Scope, x *graph.Node) *graph.Node { return graph.Reshape(d.score(s, x), -1, 1) }
	t, err := rules.Plan{Name: d.name, Phases: []rules.Phase{step}, Predict: predict, Optimizer: optim.Adam{LR: rate},
		Options: optim.Options{Clip: optim.Clip{Norm: 3}}}.Trainer(rules.SpecOf(train, 50, seed))
	if err != nil {
		return r, err
	}
	if _, err := rules.Fit(e.ctx, t, train, rules.Config{Epochs: steps / max(1, train.Len()/50)}); err != nil {
		return r, err
	}
	out, err := outputs(t, test)
	if err != nil {
		return r, err
	}
	var normal, other []float64
	for i, l := range test.Labels {
		if l == class {
			normal = append(normal, out.At(i))
		} else {
			other = append(other, out.At(i))
		}
	}
	equal, _ := objectives.EqualErrorRate(other, normal)
	return [3]float64{objectives.AUROC(other, normal), 100 * objectives.FPR95(other, normal), 100 * equal}, nil
}

// features are those of a random layer, of mean 0 and variance 1.
func (e *experiment) features() (*data.Set, error) {
	const width = 64
	random := graph.Rand(e.seed, "features", 0)
	in := len(e.all.X) / e.all.Len()
	weight := make([]float64, in*width)
	for i := range weight {
		weight[i] = random.NormFloat64()
	}
	c := rows(e.all, first(min(e.all.Len(), 4000)))
	n := c.Len()
	x := make([]float32, n*width)
	for i := range n {
		for j := range width {
			sum := 0.0
			for k, v := range c.X[i*in : (i+1)*in] {
				sum += (float64(v) - 0.5) * weight[k*width+j]
			}
			x[i*width+j] = float32(max(sum, 0))
		}
	}
	c.X, c.Shape = x, []int{width}
	return data.PerFeature(c).Apply(c)
}

func first(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}
