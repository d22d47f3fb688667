package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// twoTasks is the losses of two tasks with two parameters whose gradients conflict, from the paper's figures.
func twoTasks(x *graph.Node) (f1, f2 *graph.Node) {
	x1 := graph.Reshape(graph.Slice(x, 0, 0, 1, 1))
	x2 := graph.Reshape(graph.Slice(x, 0, 1, 2, 1))
	valley := func(v *graph.Node) *graph.Node {
		return graph.Shift(graph.Log(graph.Maximum(graph.Abs(v), graph.Const(v, 5e-6))), 6)
	}
	bowl := func(centre float64) *graph.Node {
		far := graph.Add(graph.Square(graph.Shift(graph.Neg(x1), centre)), graph.Scale(graph.Square(graph.Shift(x2, 8)), 0.1))
		return graph.Shift(graph.Scale(far, 0.1), -20)
	}
	half := graph.Scale(x1, -0.5)
	upper, lower := graph.ReLU(graph.Tanh(graph.Scale(x2, 0.5))), graph.ReLU(graph.Tanh(graph.Scale(x2, -0.5)))
	mix := func(v, bowl *graph.Node) *graph.Node {
		return graph.Add(graph.Mul(valley(v), upper), graph.Mul(bowl, lower))
	}
	t := graph.Tanh(x2) // -tanh(-x2)
	return mix(graph.Add(graph.Shift(half, -3.5), t), bowl(7)), mix(graph.Shift(graph.Sub(graph.Shift(half, 1.5), t), 2), bowl(-7))
}

// place is a model without input whose output is its parameters.
func place(start ...float64) layers.Layer {
	return layers.Func("", func(s *graph.Scope, _ *graph.Node) *graph.Node {
		return s.Param("place", func(_ uint64, _ string, a *graph.Array) {
			for i, v := range start {
				a.Set(i, v)
			}
		}, len(start))
	})
}

func tellLandscape(s *story) error {
	s.Heading("Two parameters, two tasks")
	s.Text("The paper draws what its optimisers do on a landscape of two tasks that share two parameters. All start at " +
		"$(-8.5, 5)$ and follow the sum of the losses with Adam.")
	spec := rules.Spec{Input: []int{1}, Target: []int{1}, Batch: 1, DType: graph.Float64}
	worst := 0.0
	for _, c := range [][4]float64{
		{0, 0, 0, 0}, {-8.5, 5, 6.4717595366, 7.8036809982}, {0, -8.3552, -15.0916384452, -15.0916384452},
	} {
		f, err := values(c[0], c[1])
		if err != nil {
			return err
		}
		worst = max(worst, math.Abs(f[0]-c[2]), math.Abs(f[1]-c[3]))
	}
	s.Check("the two losses have the paper's values at three places", worst < 1e-9, fmt.Sprintf("largest error %.1e", worst))
	sum := func(x, _ *graph.Node) *graph.Node {
		f1, f2 := twoTasks(x)
		return graph.Add(f1, f2)
	}
	plot := notebook.Plot{Title: "Paths", X: "first parameter", Y: "second parameter"}
	t := notebook.Table{Header: []string{"rule", "sum of losses at the end, mean", "lowest"}}
	adam := optim.Adam{LR: 0.1}
	for _, l := range []struct {
		name string
		rule rules.Rule
	}{
		{"first order", rules.Backprop{Optimizer: adam}},
		{"zeroth order", rules.MeZO{Optimizer: adam}},
		{"sign of the slope", rules.MeZO{Optimizer: adam, Form: rules.SlopeSign}},
		{"conservative", rules.MeZO{Optimizer: adam, Form: rules.Conservative}},
		{"with history", rules.MeZO{Optimizer: adam, History: 0.9}},
	} {
		var last []float64
		err := s.each(func(seed uint64) error {
			spec.Seed = seed
			tr, err := l.rule.Trainer(place(-8.5, 5), sum, spec)
			if err != nil {
				return err
			}
			batch, at := rules.NewBatch(spec), tr.Params().Get("place").Value
			line := notebook.Line{Name: l.name}
			n := s.steps(10000)
			var loss float64
			for step := range n {
				if step%max(n/100, 1) == 0 {
					line.X, line.Y = append(line.X, at.At(0)), append(line.Y, at.At(1))
				}
				if loss, err = tr.Step(batch); err != nil {
					return err
				}
			}
			last = append(last, loss)
			if seed == s.seed {
				plot.Lines = append(plot.Lines, line)
			}
			return nil
		})
		if err != nil {
			return err
		}
		lowest := math.Inf(1)
		for _, v := range last {
			lowest = min(lowest, v)
		}
		t.Rows = append(t.Rows, []string{l.name, fmt.Sprintf("%.2f", mean(last)), fmt.Sprintf("%.2f", lowest)})
		s.Expect(l.name+" ends lower than it began", mean(last) < 6.4717595366+7.8036809982, fmt.Sprintf("%.2f", mean(last)))
	}
	s.Table(t)
	s.Plot(plot)
	return nil
}

// values is both losses at a place.
func values(x1, x2 float64) (f [2]float64, err error) {
	var f1, f2 *graph.Node
	g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
		f1, f2 = twoTasks(graph.Literal(s.Const(0), graph.ArrayOf([]float64{x1, x2}, 2)))
	})
	if err != nil {
		return f, err
	}
	p, err := g.Compile(f1, f2)
	if err != nil {
		return f, err
	}
	err = p.Run()
	return [2]float64{p.Array(f1).Scalar(), p.Array(f2).Scalar()}, err
}
