package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

const (
	pixels = 64
	hidden = 128
)

func tellParallel(s *story) error {
	s.Heading("What is sequential, all at once")
	s.Text("Y. Song and others (2021, arXiv 2002.03429) read a chain of computations $s_i = h_i(s_1, \\dots, s_{i-1})$ as a " +
		"system of equations and solve it by Jacobi iteration: every $s_i$ from the last values of the others, all at the same " +
		"time. It ends with the same bits as one after the other, after as many sweeps as there are states at most. How many " +
		"it really takes is the question.")
	if err := sampleInParallel(s); err != nil {
		return err
	}
	return rememberInParallel(s)
}

// made is a masked autoencoder for density estimation (M. Germain and others 2015, arXiv 1502.03509): from x [batch,
// pixels], mean and log-scale of a logistic distribution of each pixel given those before it, [batch, 2 pixels].
var made = layers.Func("made", func(s *graph.Scope, x *graph.Node) *graph.Node {
	degree := func(i int) int { return i % (pixels - 1) } // a unit of degree d sees pixels 0 to d
	dense := func(name string, x *graph.Node, in, out int, sees func(i, o int) bool) *graph.Node {
		s := s.Sub(name)
		mask := graph.NewArray(graph.Float32, in, out)
		for i := range in {
			for o := range out {
				if sees(i, o) {
					mask.Set(i*out+o, 1)
				}
			}
		}
		w := graph.Mul(s.Param("weight", graph.Glorot(in, out), in, out), graph.Literal(x, mask))
		return graph.Add(graph.MatMul(x, w), s.Param("bias", graph.Zeros(), out))
	}
	h := graph.ReLU(dense("first", x, pixels, hidden, func(i, o int) bool { return i <= degree(o) }))
	h = graph.ReLU(dense("second", h, hidden, hidden, func(i, o int) bool { return degree(i) <= degree(o) }))
	return dense("last", h, hidden, 2*pixels, func(i, o int) bool { return degree(i) < o%pixels })
})

// logistic separates mean and scale, which is at least e⁻³.
func logistic(out *graph.Node) (mean, logScale *graph.Node) {
	return graph.Slice(out, 1, 0, pixels, 1), graph.Shift(graph.Softplus(graph.Slice(out, 1, pixels, 2*pixels, 1)), -3)
}

// likelihood is the mean negative log-likelihood of a pixel.
func likelihood(out, target *graph.Node) *graph.Node {
	mean, logScale := logistic(out)
	z := graph.Mul(graph.Sub(target, mean), graph.Exp(graph.Neg(logScale)))
	return graph.Mean(graph.Add(graph.Add(z, graph.Scale(graph.Softplus(graph.Neg(z)), 2)), logScale))
}

func sampleInParallel(s *story) error {
	const samples = 16
	d := data.Digits()
	set, err := data.NewRegression("digits", data.Array{Shape: []int{d.Len(), pixels}, Data: d.X}, data.Array{Shape: []int{d.Len(), pixels}, Data: d.X})
	if err != nil {
		return err
	}
	spec := rules.SpecOf(set, 64, s.seed)
	t, err := rules.Backprop{Optimizer: optim.Adam{LR: 2e-3}}.Trainer(made, likelihood, spec)
	if err != nil {
		return err
	}
	h, err := rules.Fit(s.ctx, t, set, rules.Config{Epochs: s.steps(40)})
	if err != nil {
		return err
	}
	next, noise, err := sampler(t.Params(), samples)
	if err != nil {
		return err
	}
	x := graph.NewArray(graph.Float32, samples, pixels)
	sweeps, err := rules.JacobiSolve(next, x, pixels+1, 0)
	if err != nil {
		return err
	}
	one, out := graph.NewArray(graph.Float32, samples, pixels), graph.NewArray(graph.Float32, samples, pixels)
	for i := range pixels { // pixel after pixel
		if err := next(one, out); err != nil {
			return err
		}
		for k := range samples {
			one.Set(k*pixels+i, out.At(k*pixels+i))
		}
	}
	same := true
	for i := range x.Size() {
		same = same && x.At(i) == one.At(i)
	}
	s.Table(notebook.Table{Title: "Sampling 16 digits of 64 pixels from an autoregressive network", Header: []string{"method", "calls of the network"},
		Rows: [][]string{{"pixel after pixel", fmt.Sprint(pixels)}, {"Jacobi", fmt.Sprint(sweeps)}}})
	var images notebook.Images
	for k := range samples {
		images.Items = append(images.Items, notebook.Image{Shape: [3]int{1, 8, 8}, Pixels: x.Float32s()[k*pixels : (k+1)*pixels]})
	}
	images.Title = "The samples"
	s.Images(images)
	s.Check("both give the same digits, to the bit", same, fmt.Sprintf("%d numbers, noise from %.1f to %.1f", x.Size(), lowest(noise), -lowest(negative(noise))))
	s.Expect("Jacobi needs far fewer calls than there are pixels", sweeps < 45, fmt.Sprint(sweeps))
	s.Expect("the network has learned", h.Last().Loss < h.Records[0].Loss-0.3, fmt.Sprintf("%.2f to %.2f nats a pixel", h.Records[0].Loss, h.Last().Loss))
	return nil
}

func lowest(a *graph.Array) float64 {
	m := math.Inf(1)
	for i := range a.Size() {
		m = min(m, a.At(i))
	}
	return m
}

func negative(a *graph.Array) *graph.Array {
	b := a.Clone()
	for i := range b.Size() {
		b.Set(i, -b.At(i))
	}
	return b
}

// sampler is the map of pixels to mean + scale·noise, of which a sample is the fixed point.
func sampler(params *graph.Params, n int) (next func(x, out *graph.Array) error, noise *graph.Array, err error) {
	var x, u, y *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, n, pixels)
		mean, logScale := logistic(made.Apply(s, x))
		v := s.Uniform("noise", n, pixels)
		u = graph.Sub(graph.Log(v), graph.Log1p(graph.Neg(v)))
		y = graph.Add(mean, graph.Mul(graph.Exp(logScale), u))
	})
	if err != nil {
		return nil, nil, err
	}
	p, err := g.Compile(y, u)
	if err != nil {
		return nil, nil, err
	}
	return func(in, out *graph.Array) error {
		if err := p.Bind(x, in); err != nil {
			return err
		}
		if err := p.Run(); err != nil {
			return err
		}
		return out.CopyFrom(p.Array(y))
	}, p.Array(u), nil
}

// rememberInParallel trains a recurrent network to predict pixel after pixel, with adjoints from few sweeps.
func rememberInParallel(s *story) error {
	const units, batch = 32, 32
	s.Text("Backpropagation through time is such a chain too, run from the last step to the first. Each sweep of it is one " +
		"product over all steps of time, and carries the loss one step further back; a recurrent network that reads the digits " +
		"pixel by pixel learns as well with a few sweeps as with all 64.")
	phase := func(sweeps int) rules.Phase {
		return func(s *graph.Scope, x, _ *graph.Node) []rules.Goal {
			time := graph.Transpose(graph.Reshape(x, batch, pixels, 1), 1, 0, 2)
			wh, wx, bh := s.Param("wh", graph.NormalInit(0.1), units, units), s.Param("wx", graph.NormalInit(0.1), 1, units), s.Param("bh", graph.Zeros(), units)
			wo, bo := s.Param("wo", graph.NormalInit(0.1), units, 1), s.Param("bo", graph.Zeros(), 1)
			cell := func(h, x *graph.Node) *graph.Node {
				return graph.Softplus(graph.Add(graph.Add(graph.MatMul(h, wh), graph.MatMul(x, wx)), bh))
			}
			loss := func(states *graph.Node) *graph.Node {
				h := graph.Reshape(graph.Slice(states, 0, 0, pixels, 1), pixels*batch, units)
				return graph.Mean(graph.Square(graph.Sub(graph.Add(graph.MatMul(h, wo), bo), graph.Reshape(time, pixels*batch, 1))))
			}
			start := graph.Literal(x, graph.NewArray(graph.Float32, batch, units))
			return []rules.Goal{rules.JacobiBPTT(s, cell, loss, start, time, sweeps)}
		}
	}
	d := data.Digits()
	plot := notebook.Plot{Title: "Learning curves", X: "epoch", Y: "squared error of a pixel"}
	t := notebook.Table{Header: []string{"sweeps", "squared error at the end", "ms a step"}}
	var last []float64
	all := []int{1, 10, 30, pixels}
	for _, sweeps := range all {
		plan := rules.Plan{Name: "jacobi-bptt", Phases: []rules.Phase{phase(sweeps)}, Optimizer: optim.Adam{LR: 3e-3},
			Predict: func(_ *graph.Scope, x *graph.Node) *graph.Node { return x }}
		tr, err := plan.Trainer(rules.SpecOf(d, batch, s.seed))
		if err != nil {
			return err
		}
		h, err := rules.Fit(s.ctx, tr, d, rules.Config{Epochs: s.steps(5)})
		if err != nil {
			return err
		}
		line := notebook.Line{Name: fmt.Sprintf("%d sweeps", sweeps)}
		for _, r := range h.Records {
			line.Y = append(line.Y, r.Loss)
		}
		plot.Lines = append(plot.Lines, line)
		last = append(last, h.Last().Loss)
		t.Rows = append(t.Rows, []string{fmt.Sprint(sweeps), fmt.Sprintf("%.4f", h.Last().Loss), fmt.Sprintf("%.1f", 1000*h.Last().Seconds/float64(tr.Steps()))})
	}
	s.Table(t)
	s.Plot(plot)
	exact := last[len(last)-1]
	for i, sweeps := range all[1:3] {
		s.Expect(fmt.Sprintf("%d sweeps end within 5 %% of all %d", sweeps, pixels), math.Abs(last[i+1]/exact-1) < 0.05, fmt.Sprintf("%.4f and %.4f", last[i+1], exact))
	}
	return nil
}
