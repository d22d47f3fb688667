package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives/metric"
	"github.com/harpe-ml/harpe/rules/optim"
)

func neighbours(e *experiment) error {
	const n = 600
	e.Text(fmt.Sprintf(`
		Each example $i$ has neighbours $j$: by one distribution $p(j|i)$ that the data say, by another $q(j|i)$ that is to be
		learned. One objective,

		$$\frac{1}{n} \sum_i \sum_j p(j|i)\,\log\frac{p(j|i)}{q(j|i)},$$

		draws maps, finds clusters, or learns embeddings, as $p$ and $q$ are chosen (S. Alshammari et al. 2025, arXiv
		2504.16929). Here %d examples of **%s**, and no labels but to judge by.`, n, e.name))
	if err := e.clusters(n); err != nil {
		return err
	}
	return e.tsne(n)
}

// sample is n examples at random, their features brought to mean 0 and variance 1.
func (e *experiment) sample(run, n int) (*data.Set, *graph.Array, error) {
	_, s, err := e.all.Split(e.seed+uint64(run), min(float64(n)/float64(e.all.Len()), 0.9))
	if err != nil {
		return nil, nil, err
	}
	if s, err = data.PerFeature(s).Apply(s); err != nil {
		return nil, nil, err
	}
	return s, graph.ArrayOf(s.X, s.Len(), len(s.X)/s.Len()), nil
}

// A clustering is one way to find classes without labels, with the means of what came of it.
type clustering struct {
	name          string
	steps         int     // of walks on the neighbour graph; 0 means k-means
	alpha         float64 // of the debiasing
	accuracy, nmi float64
	sure          float64 // the largest probability of a cluster
}

func (e *experiment) clusters(n int) error {
	list := []clustering{
		{name: "k-means"},
		{name: "neighbours", steps: 1},
		{name: "neighbours, debiased", steps: 1, alpha: 0.4},
		{name: "neighbours of neighbours, debiased", steps: 2, alpha: 0.4},
	}
	e.Heading("Clusters")
	e.Text(`
		A linear model gives each example probabilities of clusters. $q(j|i)$: choose a cluster of $i$, then a member of it.
		$p(j|i)$: even over the 7 nearest in pixels, or over theirs as well. *Debiased* mixes a little of the even
		distribution into both, $(1-\alpha)\,p + \alpha/n$ with $\alpha = 0.4$, so that no pair is impossible.`)
	bar := e.Progress("clustering", len(list)*e.seeds)
	for run := range e.seeds {
		s, x, err := e.sample(run, n)
		if err != nil {
			return err
		}
		for i := range list {
			if err := e.cluster(&list[i], run, s, x); err != nil {
				return err
			}
			bar.Set(run*len(list)+i+1, list[i].name)
		}
	}
	bar.Done()
	table := notebook.Table{Title: fmt.Sprintf("Clusters against classes, means of %d runs", e.seeds),
		Header: []string{"clusters by", "accuracy, %", "NMI, %", "mean largest probability"}}
	for _, c := range list {
		table.Rows = append(table.Rows, []string{c.name, fmt.Sprintf("%.1f", 100*c.accuracy), fmt.Sprintf("%.1f", 100*c.nmi), fmt.Sprintf("%.3f", c.sure)})
	}
	e.Table(table)
	if !e.expectation {
		return nil
	}
	plain, debiased := list[1], list[2]
	e.Check("debiased clusters are no worse than plain ones", debiased.accuracy >= plain.accuracy, fmt.Sprintf("%.1f and %.1f %%", 100*debiased.accuracy, 100*plain.accuracy))
	e.Check("plain clusters of neighbours are no worse than k-means", plain.accuracy >= list[0].accuracy, fmt.Sprintf("%.1f and %.1f %%", 100*plain.accuracy, 100*list[0].accuracy))
	e.Check("debiasing makes the model less sure", debiased.sure < plain.sure, fmt.Sprintf("%.3f and %.3f", debiased.sure, plain.sure))
	return nil
}

func (e *experiment) cluster(c *clustering, run int, s *data.Set, x *graph.Array) error {
	var clusters []int
	sure := 1.0
	var err error
	if c.steps == 0 {
		clusters, err = metric.KMeans(x, s.Classes(), e.seed+uint64(run))
	} else {
		clusters, sure, err = e.assign(c, run, x, s.Classes())
	}
	if err != nil {
		return err
	}
	accuracy, err := metric.HungarianAccuracy(clusters, s.Labels)
	if err != nil {
		return err
	}
	nmi, err := metric.NMI(clusters, s.Labels)
	weight := 1 / float64(e.seeds)
	c.accuracy, c.nmi, c.sure = c.accuracy+weight*accuracy, c.nmi+weight*nmi, c.sure+weight*sure
	return err
}

// assign trains a linear model of clusters and gives the most probable one of each example, and the mean probability of
// that.
func (e *experiment) assign(c *clustering, run int, x *graph.Array, k int) (clusters []int, sure float64, err error) {
	params := &graph.Params{Seed: e.seed + uint64(run)}
	var phi *graph.Node
	probabilities := func(s *graph.Scope) *graph.Node {
		w, b := s.Param("weight", graph.NormalInit(0.01), x.Shape[1], k), s.Param("bias", graph.Zeros(), k)
		return graph.Softmax(graph.Add(graph.MatMul(graph.Literal(w, x), w), b), 1)
	}
	err = e.descend(params, func(s *graph.Scope) *graph.Node {
		phi = probabilities(s)
		p := metric.KNNNeighbors(graph.Literal(phi, x), 7).Propagate(c.steps)
		return metric.ICon{}.Loss(p.Debias(c.alpha), metric.ClusterNeighbors(phi, nil).Debias(c.alpha))
	}, 0.01, 300)
	if err != nil {
		return nil, 0, err
	}
	g, err := graph.Build(params, func(s *graph.Scope) { phi = probabilities(s) })
	if err != nil {
		return nil, 0, err
	}
	p, err := g.Compile(phi)
	if err != nil {
		return nil, 0, err
	}
	if err := p.Run(); err != nil {
		return nil, 0, err
	}
	clusters = make([]int, x.Shape[0])
	for i := range clusters {
		row := p.Array(phi).Float32s()[i*k : (i+1)*k]
		for j, v := range row {
			if v > row[clusters[i]] {
				clusters[i] = j
			}
		}
		sure += float64(row[clusters[i]]) / float64(len(clusters))
	}
	return clusters, sure, nil
}

func (e *experiment) tsne(n int) error {
	s, x, err := e.sample(0, n)
	if err != nil {
		return err
	}
	affinities, err := metric.Perplexity(x, 30)
	if err != nil {
		return err
	}
	e.Heading("A map")
	e.Text(`
		The same objective with $p$ a Gaussian around each example, as wide as it takes to hold 30 neighbours, and $q \propto
		1/(1 + |y_i - y_j|^2)$ of points $y$ in the plane, which are all that is trained: t-SNE, each row by itself.`)
	params := &graph.Params{Seed: e.seed}
	err = e.descend(params, func(s *graph.Scope) *graph.Node {
		points := s.Param("map", graph.NormalInit(0.01), x.Shape[0], 2)
		return metric.ICon{}.Loss(metric.WeightNeighbors(graph.Literal(points, affinities)), metric.StudentT{}.Of(points))
	}, 0.5, 300)
	if err != nil {
		return err
	}
	points := params.Get("map").Value
	r, err := metric.NewRetrieval(points, s.Labels)
	if err != nil {
		return err
	}
	plot := notebook.Plot{Title: "A map of examples that never saw a label", X: "first coordinate", Y: "second coordinate"}
	for k, name := range s.ClassNames {
		series := notebook.Points{Name: name}
		for i, l := range s.Labels {
			if l == k {
				series.X, series.Y = append(series.X, points.At(2*i)), append(series.Y, points.At(2*i+1))
			}
		}
		plot.Points = append(plot.Points, series)
	}
	e.Plot(plot)
	found := fmt.Sprintf("%.1f %%", 100*r.RecallAt(1))
	if e.name == "digits" {
		e.Check("on the map 9 of 10 examples lie beside one of their class", r.RecallAt(1) > 0.9, found)
	} else {
		e.Text("On the map " + found + " of the examples lie beside one of their class.")
	}
	return nil
}

// descend lowers a loss by Adam for some steps.
func (e *experiment) descend(params *graph.Params, build func(s *graph.Scope) *graph.Node, rate float64, steps int) error {
	var out, weights []*graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		loss := build(s)
		weights = s.Graph().Trainable(loss)
		out = graph.Grad(loss, weights...)
	})
	if err != nil {
		return err
	}
	p, err := g.Compile(out...)
	if err != nil {
		return err
	}
	var trained []*graph.Param
	var slopes []*graph.Array
	for i, w := range weights {
		trained, slopes = append(trained, g.Param(w)), append(slopes, p.Array(out[i]))
	}
	stepper, err := optim.New(optim.Adam{LR: rate}, trained, optim.Options{})
	if err != nil {
		return err
	}
	for range steps {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		if err := p.Run(); err != nil {
			return err
		}
		if err := stepper.Step(slopes); err != nil {
			return err
		}
	}
	return nil
}
