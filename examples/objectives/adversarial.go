package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// A defence is a way to train against attacks; logits applies the model, always the same one.
type defence struct {
	name string
	loss func(s *graph.Scope, logits func(x *graph.Node) *graph.Node, x, y *graph.Node) *graph.Node
}

func adversarial(e *experiment) error {
	const epochs = 30
	radius := 0.1
	if e.name != "digits" {
		radius = 0.05
	}
	attack := objectives.Attack{Radius: radius, Steps: 7, Low: 0, High: 1}
	e.Text(fmt.Sprintf(`
		Each pixel of **%s** may be changed by %v of the range from white to black. An *attack* looks for the change that makes
		the loss largest, by steps along the sign of its gradient. A perceptron learns for %d epochs, and is then tested under an
		attack of 20 steps from a new random start.

		*Adversarial training* learns from attacked examples (A. Madry et al. 2018, arXiv 1706.06083). *TRADES* adds to the clean
		cross-entropy $6\,\mathrm{KL}(p(x), p(x'))$ at the worst $x'$ (H. Zhang et al. 2019, arXiv 1901.08573). The *smooth adversarial*
		loss (A. Mao et al. 2023, arXiv 2304.07288) adds $\nu$ times the largest change of the margins,
		$\sup_{x'} |\Delta(x') - \Delta(x)|_2$, to cross-entropy ($\tau = 1$) or to another loss of its family.`, e.name, radius, epochs))
	smooth := func(tau, nu float64) func(*graph.Scope, func(*graph.Node) *graph.Node, *graph.Node, *graph.Node) *graph.Node {
		o := objectives.SmoothAdversarialOptions{Tau: tau, Nu: nu, Attack: attack}
		return o.Loss
	}
	list := []defence{
		{"cross-entropy", func(_ *graph.Scope, logits func(*graph.Node) *graph.Node, x, y *graph.Node) *graph.Node {
			return objectives.CrossEntropy(logits(x), y)
		}},
		{"adversarial training", func(s *graph.Scope, logits func(*graph.Node) *graph.Node, x, y *graph.Node) *graph.Node {
			worst := attack.Find(s, x, func(x *graph.Node) *graph.Node { return objectives.CrossEntropy(logits(x), y) })
			return objectives.CrossEntropy(logits(worst), y)
		}},
		{"trades", func(s *graph.Scope, logits func(*graph.Node) *graph.Node, x, y *graph.Node) *graph.Node {
			clean := logits(x)
			p := graph.Softmax(clean, 1)
			away := func(p *graph.Node) func(x *graph.Node) *graph.Node {
				return func(x *graph.Node) *graph.Node { return objectives.SoftLabels(logits(x), p) }
			}
			worst := attack.Find(s, x, away(graph.Detach(p)))
			return graph.Add(objectives.CrossEntropy(clean, y), graph.Scale(away(p)(worst), 6))
		}},
		{"smooth adversarial, τ = 0.5", smooth(0.5, 0.3)},
		{"smooth adversarial, τ = 1", smooth(1, 0.3)},
		{"smooth adversarial, ν = 1", smooth(1, 1)},
	}
	results := make([][2]float64, len(list)*e.seeds)
	err := e.together(len(results), func(i int) (string, error) {
		d, run := list[i/e.seeds], i%e.seeds
		train, test, err := e.parts(run, 0.2)
		if err == nil {
			results[i], err = e.defend(d, train, test, attack, epochs, e.seed+uint64(run))
		}
		return d.name, err
	})
	if err != nil {
		return err
	}
	mean := means(results, e.seeds)
	table := notebook.Table{Title: fmt.Sprintf("Test accuracy, %%, means of %d runs", e.seeds), Header: []string{"trained by", "clean", "under attack"}}
	for i, d := range list {
		table.Rows = append(table.Rows, []string{d.name, fmt.Sprintf("%.1f", mean[i][0]), fmt.Sprintf("%.1f", mean[i][1])})
	}
	e.Table(table)
	if !e.claims {
		return nil
	}
	ce, trades, smoothed := mean[0], mean[2], mean[3:5]
	e.Check("an attack costs cross-entropy at least 20 points", ce[1] < ce[0]-20, fmt.Sprintf("%.1f points", ce[0]-ce[1]))
	for i, d := range list[1:5] {
		e.Check(d.name+": at least 15 points more under attack than cross-entropy", mean[i+1][1] > ce[1]+15, fmt.Sprintf("%.1f and %.1f %%", mean[i+1][1], ce[1]))
	}
	e.Text(fmt.Sprintf(`
		The paper reports that its loss is ahead of TRADES with and without attack, for large networks. Here it is, with $\tau$
		of 0.5 and 1, %+.1f and %+.1f points clean and %+.1f and %+.1f under attack: no clear winner, and none is claimed. With $\nu = 1$,
		which is far below the theory's $\sqrt{9}$, it takes more from the clean examples than it gives.`,
		smoothed[0][0]-trades[0], smoothed[1][0]-trades[0], smoothed[0][1]-trades[1], smoothed[1][1]-trades[1]))
	return nil
}

// defend gives the accuracy on test examples, clean and under attack.
func (e *experiment) defend(d defence, train, test *data.Set, attack objectives.Attack, epochs int, seed uint64) (accuracy [2]float64, err error) {
	model := models.MLP{Hidden: []int{128}, Classes: train.Classes()}
	on := func(s *graph.Scope) func(x *graph.Node) *graph.Node {
		return func(x *graph.Node) *graph.Node { return model.Apply(s.Root(), x) }
	}
	t, err := rules.Plan{Name: d.name, Predict: model.Apply, Optimizer: optim.Adam{LR: 1e-3},
		Phases: []rules.Phase{func(s *graph.Scope, x, y *graph.Node) []rules.Goal {
			loss := d.loss(s, on(s), x, y)
			return []rules.Goal{rules.Minimize(loss, s.Graph().Trainable(loss))}
		}}}.Trainer(rules.SpecOf(train, 32, seed))
	if err != nil {
		return accuracy, err
	}
	if _, err := rules.Fit(e.ctx, t, train, rules.Config{Epochs: epochs}); err != nil {
		return accuracy, err
	}
	attack.Steps = 20
	var hits []*graph.Node
	g, err := graph.Build(t.Params(), func(s *graph.Scope) {
		width := len(test.X) / test.Len()
		x := s.Const(0)
		x = graph.Literal(x, graph.ArrayOf(test.X, test.Len(), width))
		y := graph.Literal(x, graph.ArrayOf(test.Labels, test.Len()))
		worst := attack.Find(s.Sub("test"), x, func(x *graph.Node) *graph.Node { return objectives.CrossEntropy(on(s)(x), y) })
		hits = []*graph.Node{objectives.Accuracy(on(s)(x), y), objectives.Accuracy(on(s)(worst), y)}
	})
	if err != nil {
		return accuracy, err
	}
	p, err := g.Compile(hits...)
	if err != nil {
		return accuracy, err
	}
	if err := p.Run(); err != nil {
		return accuracy, err
	}
	return [2]float64{p.Array(hits[0]).Scalar(), p.Array(hits[1]).Scalar()}, nil
}
