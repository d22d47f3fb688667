package main

import (
	"fmt"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func tellOneByte(s *story) error {
	s.Heading("One byte a step")
	s.Text("E. Zelikman and others (2023, arXiv 2306.10015): if all peers can draw each other's random directions from a " +
		"shared seed, the slope along a direction is all that has to be sent, and a byte is enough for it. Every peer makes " +
		"everybody's update, so all stay alike to the last bit; a peer that comes late needs the bytes so far and nothing " +
		"else. Softmax regression on the digits has 650 parameters; a gradient would be 2,600 bytes.")
	const batch, pretrained = 64, "1 byte, 1 peer, perceptron that knows 0 to 4"
	regression := layers.Dense{Units: 10, Init: func(int, int) graph.Init { return graph.Zeros() }}
	perceptron := models.MLP{Hidden: []int{64}, Classes: 10}
	runs := []struct {
		name  string
		peers int
		code  rules.Code
		model layers.Layer
	}{
		{"float, 1 peer", 1, rules.Plain, regression},
		{"9 bits, 1 peer", 1, rules.Log16, regression},
		{"1 byte, 1 peer", 1, rules.Byte8, regression},
		{"float, 8 peers", 8, rules.Plain, regression},
		{"1 byte, 8 peers", 8, rules.Byte8, regression},
		{"1 byte, 1 peer, perceptron", 1, rules.Byte8, perceptron},
		{pretrained, 1, rules.Byte8, perceptron},
	}
	got := make([][]float64, len(runs))
	t := notebook.Table{Header: []string{"run", "parameters", "bytes sent by a peer in a step", "test accuracy"}}
	for i, r := range runs {
		parameters := 0
		err := s.each(func(seed uint64) error {
			a, b, err := split(seed)
			if err != nil {
				return err
			}
			rule := rules.OneByte{Optimizer: optim.SGD{LR: 0.02}, Peers: r.peers, Code: r.code}
			tr, err := rule.Trainer(r.model, objectives.CrossEntropy, rules.SpecOf(a, batch*r.peers, seed))
			if err != nil {
				return err
			}
			if r.name == pretrained {
				first, err := rules.Backprop{}.Trainer(r.model, objectives.CrossEntropy, rules.SpecOf(a, batch, seed))
				if err != nil {
					return err
				}
				if _, err = train(first, a, s.steps(500), of(a, 0), 0, nil); err != nil {
					return err
				}
				if err := tr.Params().CopyFrom(first.Params()); err != nil {
					return err
				}
			}
			if _, err := train(tr, a, s.steps(1500), everything(a.Len()), 0, nil); err != nil {
				return err
			}
			parameters = tr.Params().Count()
			e, err := rules.Evaluate(tr, b)
			got[i] = append(got[i], e.Accuracy)
			return err
		})
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, []string{r.name, fmt.Sprint(parameters), fmt.Sprint(r.code.Size()), percent(got[i])})
	}
	s.Table(t)
	away := mean(got[2]) - mean(got[0])
	s.Expect("a byte is as good as a float, within 1.5 points", away < 0.015 && away > -0.015, fmt.Sprintf("%+.1f points", 100*away))
	s.Expect("8 peers are better than 1", mean(got[4]) >= mean(got[2]), fmt.Sprintf("%s and %s", percent(got[4]), percent(got[2])))
	s.Expect("with more parameters the same steps bring less", mean(got[5]) < mean(got[2]), percent(got[5]))
	s.Expect("what was learned of other digits helps", mean(got[6]) > mean(got[5]), fmt.Sprintf("%s and %s", percent(got[6]), percent(got[5])))
	return peersAgree(s)
}

// peersAgree runs peers with a copy of the parameters each, and one that joins late.
func peersAgree(s *story) error {
	a, _, err := split(s.seed)
	if err != nil {
		return err
	}
	const peers = 4
	var all []*rules.Peer
	for id := range peers + 1 {
		p, err := rules.OneByte{Optimizer: optim.SGD{LR: 0.02}}.Peer(id, layers.Dense{Units: 10}, objectives.CrossEntropy, rules.SpecOf(a, 64, s.seed))
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	late := all[peers]
	all = all[:peers]
	batch, rows := rules.NewBatch(all[0].Trainer().Spec()), make([]int, 64)
	var log [][]rules.Message
	sent, same := 0, true
	for step := range s.steps(200) {
		var messages []rules.Message
		for id, p := range all {
			r := graph.Rand(uint64(id), "forward-only/peer", uint64(step))
			for i := range rows {
				rows[i] = r.IntN(a.Len())
			}
			if err := batch.Fill(a, rows, 0); err != nil {
				return err
			}
			m, _, err := p.Probe(batch)
			if err != nil {
				return err
			}
			m.Slopes = append([]byte(nil), m.Slopes...)
			sent += len(m.Slopes)
			messages = append(messages, m)
		}
		for _, p := range all {
			if err := p.Apply(messages...); err != nil {
				return err
			}
			same = same && equal(p, all[0])
		}
		log = append(log, messages)
	}
	for _, messages := range log {
		if err := late.Apply(messages...); err != nil {
			return err
		}
	}
	s.Check("4 peers have the same bits after every step", same, fmt.Sprintf("%d steps", len(log)))
	s.Check("each sends one byte a step", sent == peers*len(log), fmt.Sprintf("%d bytes", sent))
	s.Check("a peer that replays the bytes ends with the same bits", equal(late, all[0]), fmt.Sprintf("%d bytes replayed", sent))
	return nil
}

// equal says whether two peers have the same parameters.
func equal(a, b *rules.Peer) bool {
	for p := range a.Trainer().Params().All() {
		q := b.Trainer().Params().Get(p.Name)
		for i := range p.Value.Size() {
			if p.Value.At(i) != q.Value.At(i) {
				return false
			}
		}
	}
	return true
}
