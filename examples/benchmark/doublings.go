package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/harpe-ml/harpe/graph"
)

// A series is one size that doubles while all others stay. Ideal is by what factor the work grows with each doubling.
type series struct {
	name, text string
	first      int
	ideal      float64
	step       func(size int) (func() error, error)
}

// doublings is how often the size of a series doubles.
const doublings = 3

var allSeries = []series{
	{"batch", "gradients of a perceptron of 4 layers of 256 units", 64, 2,
		func(n int) (func() error, error) { return gradients(n, 256, 4) }},
	{"width", "gradients of a perceptron of 4 layers, batch 64", 128, 4,
		func(n int) (func() error, error) { return gradients(64, n, 4) }},
	{"depth", "gradients of a perceptron of layers of 256 units, batch 64", 4, 2,
		func(n int) (func() error, error) { return gradients(64, 256, n) }},
	{"tiny", "the same of layers of 8 units, batch 4: instructions that hardly compute", 25, 2,
		func(n int) (func() error, error) { return gradients(4, 8, n) }},
	{"compile", "compilation of these", 25, 2,
		func(n int) (func() error, error) {
			g, out, err := layered(4, 8, n)
			return func() error { _, err := g.Compile(out...); return err }, err
		}},
}

// A point is one measurement of a series.
type point struct {
	Peer   string  `json:"peer"`
	Series string  `json:"series"`
	Size   int     `json:"size"`
	NS     int64   `json:"ns"`
	Ratio  float64 `json:"ratio,omitempty"` // to the size before
	Ideal  float64 `json:"ideal"`
}

// showDoublings prints the shortest time of every size of every series.
func showDoublings(o options) error {
	if !o.json {
		fmt.Printf("%-10s%8s%16s%8s%8s\n", "series", "size", "ns", "ratio", "ideal")
	}
	for _, s := range allSeries {
		before := 0.0
		for i := range doublings + 1 {
			p := point{Peer: "harpe", Series: s.name, Size: s.first << i, Ideal: s.ideal}
			step, err := s.step(p.Size)
			if err != nil {
				return err
			}
			t, err := shortest(step, o.seconds)
			if err != nil {
				return err
			}
			p.NS = t.Nanoseconds()
			if i > 0 {
				p.Ratio = float64(p.NS) / before
			}
			before = float64(p.NS)
			if o.json {
				if err := json.NewEncoder(os.Stdout).Encode(p); err != nil {
					return err
				}
				continue
			}
			fmt.Printf("%-10s%8d%16d", p.Series, p.Size, p.NS)
			if i == 0 {
				fmt.Printf("%16s  %s\n", "", s.text)
			} else {
				fmt.Printf("%8.2f%8.0f\n", p.Ratio, p.Ideal)
			}
		}
	}
	return nil
}

// shortest is the time of the fastest step, of at least three after one to warm up.
func shortest(step func() error, seconds float64) (time.Duration, error) {
	if err := step(); err != nil {
		return 0, err
	}
	least, begin := time.Duration(0), time.Now()
	for n := 0; time.Since(begin).Seconds() < seconds || n < 3; n++ {
		at := time.Now()
		if err := step(); err != nil {
			return 0, err
		}
		if t := time.Since(at); n == 0 || t < least {
			least = t
		}
	}
	return least, nil
}

// gradients runs the program of layered.
func gradients(batch, width, depth int) (func() error, error) {
	g, out, err := layered(batch, width, depth)
	if err != nil {
		return nil, err
	}
	p, err := g.Compile(out...)
	if err != nil {
		return nil, err
	}
	fillNormal(p.Array(g.Inputs()[0]))
	return p.Run, nil
}

// layered is a perceptron of equal layers with the gradients of its mean square.
func layered(batch, width, depth int) (g *graph.Graph, out []*graph.Node, err error) {
	g, err = graph.Build(&graph.Params{Seed: 1}, func(s *graph.Scope) {
		x := s.Input("x", graph.Float32, batch, width)
		for range depth {
			l := s.Layer("layer", "")
			w, b := l.Param("weight", graph.He(width), width, width), l.Param("bias", graph.Zeros(), width)
			x = graph.ReLU(graph.Add(graph.MatMul(x, w), b))
		}
		loss := graph.Mean(graph.Square(x))
		out = append(graph.Grad(loss, s.Graph().Trainable(loss)...), loss)
	})
	return g, out, err
}
