package layers

import (
	"errors"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestLocallyConnected2DDerivatives(t *testing.T) {
	for _, l := range []LocallyConnected2D{
		{Filters: 2, Padding: Both(1)},
		{Filters: 3, Kernel: [2]int{2, 1}, Stride: [2]int{1, 2}, NoBias: true, Activation: Tanh{}},
	} {
		f := func(s *graph.Scope, x []*graph.Node) *graph.Node { return l.Apply(s, x[0]) }
		gradcheck.Check(t, f, gradcheck.Normal(3, 2, 2, 3, 4))
	}
}

// With the same filters everywhere it is a convolution; with filters of its own a place is a dense layer on its window.
func TestLocallyConnected2D(t *testing.T) {
	local := LocallyConnected2D{Filters: 3, Kernel: [2]int{2, 3}, Stride: [2]int{2, 1}, Padding: [2]int{1, 0}}
	params := &graph.Params{Seed: 4, DType: graph.Float64}
	var x, shared, y, want *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 2, 2, 5, 4)
		shared = s.Input("w", graph.Float64, 3, 2, 2, 3)
		y = local.Apply(s, x)
		want = graph.Conv2D(x, shared, graph.ConvOptions{Stride: local.Stride, Padding: local.Padding})
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y, want)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Array(x).Size() {
		p.Array(x).Set(i, math.Sin(float64(3*i)))
	}
	const places, taps, filters = 6, 12, 3
	w := params.Get("local1/weight").Value
	for f := range filters {
		for j := range taps {
			v := math.Cos(float64(5*f + j))
			p.Array(shared).Set(f*taps+j, v)
			for place := range places {
				w.Set((place*taps+j)*filters+f, v)
			}
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for i := range p.Array(y).Size() {
		if math.Abs(p.Array(y).At(i)-p.Array(want).At(i)) > 1e-12 {
			t.Fatalf("element %d: want %v, got %v", i, p.Array(want).At(i), p.Array(y).At(i))
		}
	}
	// Changing the filters of place 4 changes that place alone.
	before := p.Array(y).Clone()
	for i := 4 * taps * filters; i < 5*taps*filters; i++ {
		w.Set(i, 0)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for i := range before.Size() {
		if same := p.Array(y).At(i) == before.At(i); same == (i%places == 4) {
			t.Errorf("place %d of filter %d: changed %v", i%places, i/places%filters, !same)
		}
	}
}

func TestLocallyConnected2DErrors(t *testing.T) {
	for arg, l := range map[string]LocallyConnected2D{
		"Filters": {}, "Kernel": {Filters: 1, Kernel: Both(6)}, "Stride": {Filters: 1, Stride: Both(-1)}, "widths": {Filters: 1, Padding: Both(-1)},
	} {
		_, _, _, err := build(l, graph.Float32, 2, 1, 5, 5)
		var e *graph.Error
		if !errors.As(err, &e) || e.Arg != arg {
			t.Errorf("want a *graph.Error that names %s, got %v", arg, err)
		}
	}
}
