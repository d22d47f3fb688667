package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives/metric"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// pooling compares ways to make one vector of the features at many positions, of which few matter.
func (e *experiment) pooling() error {
	e.Heading("Which positions count")
	e.Text(`
		Made-up pictures of 12 positions with 16 numbers each: 3 positions show the three attributes, of 8, that make the
		class; 9 show something else, and louder. Half of the 56 classes are trained on, the others are to be found.
		Average pooling takes all positions alike; *generalised sum pooling* weighs them by a transport problem between
		positions and trained prototypes, and tells which prototypes it has seen; a *zero-shot* loss ties these attributes to
		classes.`)
	names := []string{"average", "generalised sum", "generalised sum, zero-shot loss"}
	recall := make([]float64, len(names)*e.seeds)
	err := e.together(len(recall), func(i int) (name string, err error) {
		name = names[i/e.seeds]
		recall[i], err = e.pool(i/e.seeds, e.seed+uint64(i%e.seeds))
		return name, err
	})
	if err != nil {
		return err
	}
	table := notebook.Table{Title: "Recall@1 of classes never seen, %", Header: []string{"pooling"}}
	for run := range e.seeds {
		table.Header = append(table.Header, fmt.Sprint("seed ", e.seed+uint64(run)))
	}
	holds := true
	for k, name := range names {
		row := []string{name}
		for run := range e.seeds {
			r := recall[k*e.seeds+run]
			row = append(row, fmt.Sprintf("%.1f", 100*r))
			holds = holds && (k == 0 || r > 2*recall[run])
		}
		table.Rows = append(table.Rows, row)
	}
	e.Table(table)
	e.Check("generalised sum pooling finds at least twice as many as average pooling, for every seed", holds, fmt.Sprintf("%.1f and %.1f %% with the first", 100*recall[e.seeds], 100*recall[0]))
	e.Text("The zero-shot loss changes little here: the pooling itself has found the attributes.")
	return nil
}

func (e *experiment) pool(kind int, seed uint64) (recall float64, err error) {
	seen, unseen := bags(seed)
	body := func(s *graph.Scope, x *graph.Node) (pooled, attributes *graph.Node) {
		f := layers.Dense{Units: 16}.Apply(s, x)
		if kind == 0 {
			return graph.Mean(f, 1), nil
		}
		pooled, attributes, _ = layers.GeneralizedSumPooling{Prototypes: 16}.Pool(s, f)
		return pooled, attributes
	}
	step := func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
		pooled, attributes := body(s, x)
		loss := metric.NormSoftmaxOptions{Scale: 16}.Loss(metric.Proxies{Classes: seen.Classes()}.Apply(s, pooled), y)
		if kind == 2 {
			zero := metric.ZeroShotOptions{Classes: seen.Classes()}.Loss(s, attributes, y)
			loss = graph.Add(graph.Scale(loss, 0.9), graph.Scale(zero, 0.1))
		}
		return []rules.Goal{rules.Minimize(loss, s.Graph().Trainable(loss))}
	}
	trainer, err := rules.Plan{Name: "pooling", Phases: []rules.Phase{step}, Optimizer: optim.Adam{LR: 1e-2},
		Predict: func(s *graph.Scope, x *graph.Node) *graph.Node { pooled, _ := body(s, x); return pooled },
	}.Trainer(rules.SpecOf(seen, 56, seed))
	if err != nil {
		return 0, err
	}
	if _, err := rules.Fit(e.ctx, trainer, seen, rules.Config{Epochs: 600 * 56 / seen.Len()}); err != nil {
		return 0, err
	}
	out, err := outputs(trainer, unseen)
	if err != nil {
		return 0, err
	}
	r, err := metric.NewRetrieval(unit(out), unseen.Labels)
	if err != nil {
		return 0, err
	}
	return r.RecallAt(1), nil
}

// bags makes 20 examples of each of 56 classes, half of which come first.
func bags(seed uint64) (seen, unseen *data.Set) {
	const positions, width, each = 12, 16, 20
	random := graph.Rand(seed, "bags", 0)
	vector := func(length float64) []float32 {
		v, sum := make([]float32, width), 0.0
		for i := range v {
			v[i] = float32(random.NormFloat64())
			sum += float64(v[i]) * float64(v[i])
		}
		for i := range v {
			v[i] *= float32(length / math.Sqrt(sum))
		}
		return v
	}
	var attributes [8][]float32
	for i := range attributes {
		attributes[i] = vector(1)
	}
	var classes [][3]int
	for a := range 8 {
		for b := range a {
			for c := range b {
				classes = append(classes, [3]int{a, b, c})
			}
		}
	}
	random.Shuffle(len(classes), func(i, j int) { classes[i], classes[j] = classes[j], classes[i] })
	half := len(classes) / 2
	sets := [2]*data.Set{}
	for k := range sets {
		s := &data.Set{Name: "bags", Shape: []int{positions, width}}
		for class := range half {
			s.ClassNames = append(s.ClassNames, fmt.Sprint(classes[k*half+class]))
			for range each {
				for _, at := range random.Perm(positions) {
					v := vector(2)
					if at < 3 {
						noise := vector(0.3)
						for i, w := range attributes[classes[k*half+class][at]] {
							v[i] = w + noise[i]
						}
					}
					s.X = append(s.X, v...)
				}
				s.Labels = append(s.Labels, class)
			}
		}
		sets[k] = s
	}
	return sets[0], sets[1]
}
