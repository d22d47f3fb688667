package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives/metric"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Losses of embeddings, and of cosines to proxies, by their names.
var (
	ofEmbeddings = []string{"contrastive", "triplet", "triplet-semi-hard", "triplet-hard", "triplet-direction", "n-pair", "lifted",
		"multi-similarity", "unified-pair", "circle", "supcon"}
	ofCosines = []string{"norm-softmax", "cosface", "arcface", "sphereface", "proxy-nca", "proxy-nca++", "proxy-anchor",
		"soft-triple", "circle-class"}
)

// A search is how well one method finds, the means over the runs.
type search struct {
	name      string
	of        [2]measured  // new examples of classes seen, examples of classes never seen
	embedding *graph.Array // of the latter, in one run
}

func retrieval(e *experiment) error {
	const features, steps = 16, 500
	half := e.all.Classes() / 2
	e.Text(fmt.Sprintf(`
		A perceptron turns examples of **%s** into %d numbers. It is trained for %d steps on the first %d classes. Then each
		example of a test set asks for its neighbours there: Recall@k, one of its class is among the k nearest; MAP@R looks at
		as many neighbours as the class has others; NMI, what k-means clusters tell of the classes. The test sets are new
		examples of the classes *seen*, and examples of the other classes, *unseen*.

		The losses differ in what they compare: examples with each other, such as the circle loss

		$$\log\Big(1 + \sum_n e^{\gamma\,[s_n + m]_+ (s_n - m)} \sum_p e^{-\gamma\,[1 + m - s_p]_+ (s_p - 1 + m)}\Big)$$

		of the similarities $s_p$ to examples of the class and $s_n$ to others, or examples with a trained proxy of each class.`,
		e.name, features, steps, half))
	methods := slices.Concat([]string{"pixels", "untrained"}, ofEmbeddings, ofCosines)
	list := make([]search, len(methods))
	first, unseen := e.byClass(half, 1000)
	results := make([][2]measured, len(methods)*e.seeds)
	err := e.together(len(results), func(i int) (string, error) {
		name, run := methods[i/e.seeds], i%e.seeds
		train, seen, err := first.Split(e.seed+uint64(run), 0.3)
		if err != nil {
			return name, err
		}
		embeddings, err := e.embed(name, run, features, steps, train, seen, unseen)
		if err != nil {
			return name, err
		}
		for k, test := range []*data.Set{seen, unseen} {
			if results[i][k], err = measureOf(embeddings[k], test); err != nil {
				return name, err
			}
		}
		list[i/e.seeds].embedding = embeddings[1]
		return name, nil
	})
	if err != nil {
		return err
	}
	for i, r := range results {
		s := &list[i/e.seeds]
		s.name = methods[i/e.seeds]
		for k := range r {
			for m, v := range r[k] {
				s.of[k][m] += 100 * v / float64(e.seeds)
			}
		}
	}
	e.retrieved(list, unseen)
	return e.pooling()
}

func (e *experiment) retrieved(list []search, unseen *data.Set) {
	table := notebook.Table{Title: fmt.Sprintf("Percent, means of %d runs", e.seeds),
		Header: []string{"loss", "seen: Recall@1", "MAP@R", "NMI", "unseen: Recall@1", "Recall@4", "MAP@R", "NMI"}}
	for _, s := range list {
		row := []string{s.name}
		for _, v := range []float64{s.of[0].recall1(), s.of[0].ap(), s.of[0].nmi(), s.of[1].recall1(), s.of[1].recall4(), s.of[1].ap(), s.of[1].nmi()} {
			row = append(row, fmt.Sprintf("%.1f", v))
		}
		table.Rows = append(table.Rows, row)
	}
	e.Table(table)
	at := func(name string) search {
		return list[slices.IndexFunc(list, func(s search) bool { return s.name == name })]
	}
	plot := notebook.Plot{Title: "Classes never seen: the most similar example of another class and of its own",
		X: "largest similarity to another class", Y: "largest similarity to its own class"}
	for _, name := range []string{"triplet-hard", "circle"} {
		x, y := nearest(at(name).embedding, unseen.Labels)
		plot.Points = append(plot.Points, notebook.Points{Name: name, X: x, Y: y})
	}
	e.Plot(plot)
	if !e.expectation {
		return
	}
	untrained, pixels := at("untrained"), at("pixels")
	better, best := 0, 0
	for _, s := range list[2:] {
		e.Check(s.name+" orders new examples of the classes it has seen better than an untrained model", s.of[0].ap() > untrained.of[0].ap()+10,
			fmt.Sprintf("MAP@R %.1f and %.1f %%", s.of[0].ap(), untrained.of[0].ap()))
		if s.of[1].recall1() > untrained.of[1].recall1() {
			better++
		}
		if s.of[1].recall1() > pixels.of[1].recall1() {
			best++
		}
	}
	e.Text(fmt.Sprintf(`
		Of classes never seen only %d of %d losses find more than the untrained model does, and %d find more than the pixels
		themselves by their cosines. That is no fault of the losses: %d classes of small pictures teach a model to forget all
		that does not tell these apart, and the others need it. The papers train on a hundred classes and more. No order of
		the losses is promised or checked.`, better, len(list)-2, best, len(unseen.ClassNames)))
}

// measured is Recall@1, Recall@4, MAP@R and NMI.
type measured [4]float64

func (m measured) recall1() float64 { return m[0] }
func (m measured) recall4() float64 { return m[1] }
func (m measured) ap() float64      { return m[2] }
func (m measured) nmi() float64     { return m[3] }

func measureOf(embedding *graph.Array, d *data.Set) (m measured, err error) {
	r, err := metric.NewRetrieval(embedding, d.Labels)
	if err != nil {
		return m, err
	}
	clusters, err := metric.KMeans(embedding, d.Classes(), 1)
	if err != nil {
		return m, err
	}
	nmi, err := metric.NMI(clusters, d.Labels)
	return measured{r.RecallAt(1), r.RecallAt(4), r.MAPAtR(), nmi}, err
}

// byClass is at most n examples each of the first classes and of the others.
func (e *experiment) byClass(classes, n int) (first, second *data.Set) {
	var numbers [2][]int
	for i, l := range e.all.Labels {
		k := 0
		if l >= classes {
			k = 1
		}
		if len(numbers[k]) < n {
			numbers[k] = append(numbers[k], i)
		}
	}
	first, second = rows(e.all, numbers[0]), rows(e.all, numbers[1])
	first.ClassNames, second.ClassNames = first.ClassNames[:classes], second.ClassNames[classes:]
	for i := range second.Labels {
		second.Labels[i] -= classes
	}
	return first, second
}

// embed trains by a loss and gives the unit vectors of the examples of two test sets.
func (e *experiment) embed(name string, run, features, steps int, train *data.Set, tests ...*data.Set) (list []*graph.Array, err error) {
	if name == "pixels" {
		for _, d := range tests {
			list = append(list, unit(graph.ArrayOf(slices.Clone(d.X), d.Len(), len(d.X)/d.Len())))
		}
		return list, nil
	}
	// The body is the first block of the model that ends in proxies, so its parameters have the same names by itself.
	body := layers.Sequential{models.MLP{Hidden: []int{32}, Classes: features}}
	model := body
	switch {
	case name == "soft-triple":
		model = append(model, metric.Proxies{Classes: train.Classes(), Centers: 3})
	case slices.Contains(ofCosines, name):
		model = append(model, metric.Proxies{Classes: train.Classes()})
	}
	objective := func(out, _ *graph.Node) *graph.Node { return graph.Mean(out) }
	if name != "untrained" {
		objective = named(name)
	}
	trainer, err := rules.Plan{
		Name: name,
		Phases: []rules.Phase{func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
			loss := objective(model.Apply(s, x), y)
			return []rules.Goal{rules.Minimize(loss, s.Graph().Trainable(loss))}
		}},
		Predict:   body.Apply,
		Optimizer: optim.Adam{LR: 1e-3},
	}.Trainer(rules.SpecOf(train, 64, e.seed+uint64(run)))
	if err != nil {
		return nil, err
	}
	if name != "untrained" {
		perEpoch := train.Len() / trainer.Spec().Batch
		if _, err := rules.Fit(e.ctx, trainer, train, rules.Config{Epochs: (steps + perEpoch - 1) / perEpoch}); err != nil {
			return nil, err
		}
	}
	for _, d := range tests {
		out, err := outputs(trainer, d)
		if err != nil {
			return nil, err
		}
		list = append(list, unit(out))
	}
	return list, nil
}

// unit brings the rows of an array to length 1.
func unit(a *graph.Array) *graph.Array {
	d := a.Shape[1]
	for i := range a.Shape[0] {
		sum := 0.0
		for j := range d {
			sum += a.At(i*d+j) * a.At(i*d+j)
		}
		for j := range d {
			a.Set(i*d+j, a.At(i*d+j)/max(math.Sqrt(sum), 1e-12))
		}
	}
	return a
}

// nearest is, for every fourth example, its largest similarity to another class and to its own.
func nearest(embedding *graph.Array, labels []int) (other, own []float64) {
	d := embedding.Shape[1]
	for i := 0; i < len(labels); i += 4 {
		best := [2]float64{-1, -1}
		for j := range labels {
			s := 0.0
			for k := range d {
				s += embedding.At(i*d+k) * embedding.At(j*d+k)
			}
			same := 0
			if labels[i] == labels[j] {
				same = 1
			}
			if i != j {
				best[same] = max(best[same], s)
			}
		}
		other, own = append(other, best[0]), append(own, best[1])
	}
	return other, own
}
