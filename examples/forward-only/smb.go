package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func tellSMB(s *story) error {
	s.Heading("A second look at the same batch")
	s.Text("Once a loss can be evaluated again at other parameters, a step can be tried first. S. Birbil and others (2021, " +
		"arXiv 2111.07058) keep a trial step that lowers the loss enough, and otherwise build a quadratic model from the " +
		"gradients at its two ends and go to its minimum. (This rule does use gradients; it shares the re-evaluated loss with " +
		"the others.) It is meant to forgive a learning rate that is too large.")
	type outcome struct{ loss, accuracy, share []float64 }
	narrow := func(in, _ int) graph.Init {
		return graph.UniformInit(-1/math.Sqrt(float64(in)), 1/math.Sqrt(float64(in)))
	}
	model := layers.Sequential{ // with PyTorch's initialisation, as in the paper's experiments
		layers.Dense{Units: 128, Activation: layers.ReLU{}, Init: narrow},
		layers.Dense{Units: 64, Activation: layers.ReLU{}, Init: narrow},
		layers.Dense{Units: 10, Init: narrow},
	}
	t := notebook.Table{Header: []string{"learning rate", "rule", "training loss", "test accuracy", "model steps"}}
	run := func(rule rules.Rule, rate string) (o outcome, err error) {
		err = s.each(func(seed uint64) error {
			a, b, err := split(seed)
			if err != nil {
				return err
			}
			tr, err := rule.Trainer(model, objectives.CrossEntropy, rules.SpecOf(a, 64, seed))
			if err != nil {
				return err
			}
			h, err := rules.Fit(s.ctx, tr, a, rules.Config{Epochs: s.steps(20) / 2, Validation: b})
			loss, right := math.Inf(1), 0.1 // a loss that is not finite is what too large a rate leads to
			if err == nil {
				loss, right = h.Last().Loss, h.Last().Accuracy
			} else if s.ctx.Err() != nil {
				return err
			}
			o.loss, o.accuracy = append(o.loss, loss), append(o.accuracy, right)
			o.share = append(o.share, float64(rules.ModelSteps(tr))/float64(max(tr.Steps(), 1)))
			return nil
		})
		t.Rows = append(t.Rows, []string{rate, rule.Name(), fmt.Sprintf("%.3f", mean(o.loss)), percent(o.accuracy), percent(o.share)})
		return o, err
	}
	var sgd, smb []outcome
	for _, lr := range []float64{0.05, 0.5, 1, 2, 8} {
		a, err := run(rules.Backprop{Optimizer: optim.SGD{LR: lr}}, fmt.Sprint(lr))
		if err != nil {
			return err
		}
		b, err := run(rules.SMB{LR: lr}, fmt.Sprint(lr))
		if err != nil {
			return err
		}
		sgd, smb = append(sgd, a), append(smb, b)
	}
	if _, err := run(rules.SMB{LR: 2, Independent: true}, "2, independent batches"); err != nil {
		return err
	}
	adam, err := run(rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}, "Adam, 0.001")
	if err != nil {
		return err
	}
	s.Table(t)
	s.Expect("at 0.05 model steps are rare and SMB is plain descent", mean(smb[0].share) < 0.05 && math.Abs(mean(smb[0].loss)-mean(sgd[0].loss)) < 0.05, percent(smb[0].share))
	s.Expect("at 0.5, where it makes many model steps, it is within 3 points of plain descent", math.Abs(mean(smb[1].accuracy)-mean(sgd[1].accuracy)) < 0.03 && mean(smb[1].share) > 0.2,
		fmt.Sprintf("%s, plain %s, %s model steps", percent(smb[1].accuracy), percent(sgd[1].accuracy), percent(smb[1].share)))
	s.Expect("at 1, the edge of what plain descent bears, SMB is ahead in loss and accuracy", mean(smb[2].loss) < mean(sgd[2].loss) && mean(smb[2].accuracy) > mean(sgd[2].accuracy),
		fmt.Sprintf("%s, plain %s", percent(smb[2].accuracy), percent(sgd[2].accuracy)))
	s.Expect("at 8 both fail", mean(smb[4].accuracy) < 0.5 && mean(sgd[4].accuracy) < 0.5, percent(smb[4].accuracy))
	s.Expect("at 2 plain descent fails and SMB beats Adam's loss", mean(sgd[3].accuracy) < 0.5 && mean(smb[3].loss) < mean(adam.loss),
		fmt.Sprintf("%.3f, plain %.3f, Adam %.3f", mean(smb[3].loss), mean(sgd[3].loss), mean(adam.loss)))
	return nil
}
