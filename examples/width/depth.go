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
	"github.com/harpe-ml/harpe/rules/width"
)

const (
	deepUnits  = 64
	baseBlocks = 4
)

// A deepening says how branches and their learning rates change with the number of blocks.
type deepening struct {
	name     string
	exponent float64 // of the branch
	scaled   bool    // rates in branches fall as 1/sqrt(blocks)
}

var deepenings = []deepening{
	{"standard: branches as they are", optim.Zero, false},
	{"branches over L, one rate", 1, false},
	{"depth-muP: branches over the root of L, their rates too", 0.5, true},
}

// fan draws with variance 1/inputs.
func fan(in, _ int) graph.Init { return graph.NormalInit(1 / math.Sqrt(float64(in))) }

// stream is the residual stream after some of the blocks of a network.
func (d deepening) stream(blocks, of int) layers.Sequential {
	q := layers.Sequential{layers.Dense{Units: deepUnits, Init: fan}}
	for range blocks {
		q = append(q, width.Branch{Body: layers.Dense{Units: deepUnits, Activation: layers.ReLU{}, Init: fan}, Blocks: of, Exponent: d.exponent})
	}
	return q
}

func (d deepening) model(blocks int) layers.Layer {
	return append(d.stream(blocks, blocks), layers.Dense{Units: 10, Init: fan})
}

func (d deepening) rule(blocks int, lr float64) rules.Rule {
	if !d.scaled {
		return rules.Backprop{Optimizer: optim.Adam{LR: lr}}
	}
	return width.MuP{Base: d.model(blocks), Depth: float64(blocks) / baseBlocks, Rule: func(o optim.Options) rules.Rule {
		return rules.Backprop{Optimizer: optim.Adam{LR: lr}, Options: o}
	}}
}

func depthPage(e *experiment) error {
	depths := []int{4, 16, 64}
	if e.quick {
		depths = depths[:2]
	}
	e.Text(fmt.Sprintf(`
		A residual network of L blocks, $x^l = x^{l-1} + c_L \cdot (\mathrm{relu}(W^l x^{l-1}) - \text{mean})$, of %d units. With $c_L = 1$ it explodes with
		the depth. With $c_L = 1/L$ it does not, but neighbouring blocks come to compute the same. *Depth-muP* takes $c_L = L^{-1/2}$ and lets Adam's
		rates in the blocks fall as $L^{-1/2}$ too: features, and what a step changes of them, keep their size.`, deepUnits))
	e.Heading("Size and change of the features")
	table := notebook.Table{Title: "Root mean square of the last features, and of their change in 3 steps of Adam", Header: []string{"", "blocks", "size", "change"}}
	for _, d := range deepenings {
		var size, change []float64
		for _, blocks := range depths {
			var at, by float64
			for run := range e.seeds {
				a, b, err := e.deepMoves(d, blocks, 3, e.seed+uint64(run))
				if err != nil {
					return err
				}
				at, by = at+a/float64(e.seeds), by+b/float64(e.seeds)
			}
			size, change = append(size, at), append(change, by)
			table.Rows = append(table.Rows, []string{d.name, fmt.Sprint(blocks), fmt.Sprintf("%.3g", at), fmt.Sprintf("%.3g", by)})
		}
		last := len(depths) - 1
		got := fmt.Sprintf("size %.3g to %.3g, change %.3g to %.3g", size[0], size[last], change[0], change[last])
		if d.scaled {
			e.expect("depth-muP: size and change stay, within a factor of 2", within(size[last]/size[0], 2) && within(change[last]/change[0], 2), got)
		} else if d.exponent == optim.Zero {
			e.expect("standard: the size grows more than a hundredfold", size[last] > 100*size[0], got)
		}
	}
	e.Table(table)
	if err := e.diversity(e.short(64, 16)); err != nil {
		return err
	}
	return e.deepSweep(depths)
}

func within(q, factor float64) bool { return q < factor && q > 1/factor }

// deepMoves is the size of the last features at the start, and how far some steps move them.
func (e *experiment) deepMoves(d deepening, blocks, steps int, seed uint64) (at, by float64, err error) {
	t, err := d.rule(blocks, 3e-3).Trainer(d.model(blocks), objectives.CrossEntropy, rules.SpecOf(e.train, 32, seed))
	if err != nil {
		return 0, 0, err
	}
	look := func() (*graph.Array, error) {
		v, err := e.evaluate(t.Params(), 64, func(s *graph.Scope, x *graph.Node) []*graph.Node {
			return []*graph.Node{d.stream(blocks, blocks).Apply(s, x)}
		})
		if err != nil {
			return nil, err
		}
		return v[0], nil
	}
	before, err := look()
	if err != nil {
		return 0, 0, err
	}
	if _, err := e.steps(t, steps); err != nil {
		return 0, 0, err
	}
	after, err := look()
	if err != nil {
		return 0, 0, err
	}
	return rms(before, nil), rms(after, before), nil
}

// diversity shows how far apart the features of blocks are that lie a part e of the depth apart: as e^(1-kappa).
func (e *experiment) diversity(blocks int) error {
	e.Heading("Diversity")
	n := e.short(100, 5)
	e.Text(fmt.Sprintf(`
		How different are the features of two blocks? If blocks that lie a part $\varepsilon$ of the depth apart differ by $\varepsilon^{1-\kappa}$, then
		$\kappa = 0$ means that each block goes on as the one before, and $\kappa = 1/2$ that every block does something of its own. %d blocks after %d steps:`, blocks, n))
	table := notebook.Table{Header: []string{"", "kappa at the start", "kappa after training"}}
	for _, d := range deepenings[1:] {
		var kappa [2]float64
		for run := range e.seeds {
			t, err := d.rule(blocks, 3e-3).Trainer(d.model(blocks), objectives.CrossEntropy, rules.SpecOf(e.train, 32, e.seed+uint64(run)))
			if err != nil {
				return err
			}
			for k := range kappa {
				v, err := e.kappa(t.Params(), d, blocks)
				if err != nil {
					return err
				}
				kappa[k] += v / float64(e.seeds)
				if k == 0 {
					if _, err := e.steps(t, n); err != nil {
						return err
					}
				}
			}
		}
		table.Rows = append(table.Rows, []string{d.name, fmt.Sprintf("%.2f", kappa[0]), fmt.Sprintf("%.2f", kappa[1])})
		if d.scaled {
			e.expect("depth-muP: kappa is near 1/2 after training", math.Abs(kappa[1]-0.5) < 0.15, fmt.Sprintf("%.2f", kappa[1]))
		} else {
			e.expect("branches over L: kappa falls below 0.3 in training", kappa[1] < 0.3, fmt.Sprintf("%.2f", kappa[1]))
		}
	}
	e.Table(table)
	return nil
}

// kappa is 1 minus the slope of the distance of features over that of their blocks.
func (e *experiment) kappa(params *graph.Params, d deepening, blocks int) (float64, error) {
	features, err := e.evaluate(params, 64, func(s *graph.Scope, x *graph.Node) (nodes []*graph.Node) {
		for _, l := range d.stream(blocks, blocks) {
			x = l.Apply(s, x)
			nodes = append(nodes, x)
		}
		return nodes
	})
	if err != nil {
		return 0, err
	}
	var distances []int
	var means []float64
	for distance := 1; distance <= blocks/4; distance *= 2 {
		sum, count := 0.0, 0.0
		for i := 0; i+distance < len(features); i++ {
			sum, count = sum+rms(features[i+distance], features[i]), count+1
		}
		distances, means = append(distances, distance), append(means, sum/count)
	}
	return 1 - slope(distances, means), nil
}

// deepSweep finds the best rate of each depth.
func (e *experiment) deepSweep(depths []int) error {
	e.Heading("The best learning rate")
	n := e.short(80, 5)
	shifts := map[bool]int{}
	for _, d := range []deepening{deepenings[0], deepenings[2]} {
		s, err := e.sweep(d.name, depths, powers(-14, -3), n, 32, func(blocks int, lr float64) (rules.Rule, layers.Layer) {
			return d.rule(blocks, lr), d.model(blocks)
		})
		if err != nil {
			return err
		}
		e.show(d.name, "blocks", s)
		shifts[d.scaled] = s.shift()
		if d.scaled {
			b := s.losses[len(depths)-1][s.best()[len(depths)-1]]
			a := s.kept()
			e.expect("depth-muP: the deepest network is as good at the shallowest's best rate as at its own, within a quarter", a < 1.25*b, fmt.Sprintf("%.4f and %.4f", a, b))
		}
	}
	e.expect("depth-muP: the best rate moves by a factor of 2 at most", shifts[true] <= 1, fmt.Sprintf("2^%d", shifts[true]))
	e.expect("standard: it moves by more", shifts[false] > shifts[true], fmt.Sprintf("2^%d", shifts[false]))
	return nil
}
