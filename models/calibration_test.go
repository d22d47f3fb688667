package models

import (
	"errors"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestTemperatureScaling(t *testing.T) {
	for _, c := range []struct{ temperature, divisor float64 }{{1, 1}, {2.5, 2.5}, {-3, .1}, {99, 10}} {
		store := &graph.Params{DType: graph.Float64}
		var x, y *graph.Node
		g, err := graph.Build(store, func(s *graph.Scope) {
			x = s.Input("x", graph.Float64, 2, 3)
			y = TemperatureScaling{}.Apply(s, x)
		})
		if err != nil {
			t.Fatal(err)
		}
		temperature := store.Get("temperature_scaling1/temperature").Value
		if temperature.Scalar() != 1 {
			t.Errorf("the temperature begins at %v", temperature)
		}
		temperature.Set(0, c.temperature)
		p, err := g.Compile(y)
		if err != nil {
			t.Fatal(err)
		}
		in := gradcheck.Normal(1, 2, 3)
		p.Array(x).CopyFrom(in)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for i := range in.Size() {
			if want := in.At(i) / c.divisor; math.Abs(p.Array(y).At(i)-want) > 1e-12 {
				t.Errorf("temperature %v, element %d: want %v, got %v", c.temperature, i, want, p.Array(y).At(i))
			}
		}
	}
	gradcheck.Check(t, func(s *graph.Scope, x []*graph.Node) *graph.Node { return TemperatureScaling{}.Apply(s, x[0]) }, gradcheck.Normal(1, 4, 3))
}

// The temperature against the formula, worked out example by example.
func TestTransformCalibrator(t *testing.T) {
	store := &graph.Params{DType: graph.Float64, Seed: 1}
	logits := graph.ArrayOf([]float64{3, 1, 2, 0, -1, 0, 5, 1, 2, 4}, 2, 5)
	views := []*graph.Array{gradcheck.Normal(1, 2, 5), gradcheck.Normal(2, 2, 5), gradcheck.Normal(3, 2, 5)}
	var in []*graph.Node
	var y *graph.Node
	g, err := graph.Build(store, func(s *graph.Scope) {
		for _, name := range []string{"x", "a", "b", "c"} {
			in = append(in, s.Input(name, graph.Float64, 2, 5))
		}
		y = TransformCalibrator{}.Apply(s, in[0], in[1:]...)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	run := func() *graph.Array {
		for i, a := range append([]*graph.Array{logits}, views...) {
			p.Array(in[i]).CopyFrom(a)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return p.Array(y)
	}
	for i := range 10 {
		if got := run().At(i); got != logits.At(i) {
			t.Errorf("before training, element %d: want %v, got %v", i, logits.At(i), got)
		}
	}
	get := func(name string) *graph.Array { return store.Get("transform_calibrator1/" + name).Value }
	w1, b1, w2, b2 := get("dense1/weight"), get("dense1/bias"), get("weight"), get("bias")
	w2.CopyFrom(gradcheck.Positive(4, 5, 1))
	got := run()
	for n, likely := range [][]int{{0, 2, 1, 3}, {1, 4, 3, 2}} {
		var seen []float64
		for _, v := range views {
			sum := 0.0
			for k := range 5 {
				sum += math.Exp(v.At(5*n + k))
			}
			for _, k := range likely {
				seen = append(seen, math.Exp(v.At(5*n+k))/sum)
			}
		}
		temperature := b2.At(0)
		for j := range 5 {
			h := b1.At(j)
			for i, v := range seen {
				h += v * w1.At(5*i+j)
			}
			temperature += max(h, 0) * w2.At(j)
		}
		temperature = min(10, max(.1, temperature))
		for k := range 5 {
			if want := logits.At(5*n+k) / temperature; math.Abs(got.At(5*n+k)-want) > 1e-12 {
				t.Errorf("example %d, class %d: want %v, got %v", n, k, want, got.At(5*n+k))
			}
		}
	}
}

func TestCalibrationErrors(t *testing.T) {
	for arg, f := range map[string]func(s *graph.Scope, x *graph.Node){
		"Min, Max":       func(s *graph.Scope, x *graph.Node) { TemperatureScaling{Min: 2, Max: 1}.Apply(s, x) },
		"transformed":    func(s *graph.Scope, x *graph.Node) { TransformCalibrator{}.Apply(s, x) },
		"transformed[1]": func(s *graph.Scope, x *graph.Node) { TransformCalibrator{}.Apply(s, x, x, graph.Transpose(x)) },
		"logits":         func(s *graph.Scope, x *graph.Node) { TransformCalibrator{}.Apply(s, graph.Sum(x)) },
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) { f(s, s.Input("x", graph.Float32, 4, 3)) })
		var e *graph.Error
		if !errors.As(err, &e) || e.Arg != arg {
			t.Errorf("want a *graph.Error that names %s, got %v", arg, err)
		}
	}
}
