package physics

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// respond is a medium's answer to one batch.
func respond(t *testing.T, m layers.Medium, in *graph.Array) *graph.Array {
	t.Helper()
	f, err := m.Open(in.Type)
	if err != nil {
		t.Fatal(err)
	}
	out := graph.NewArray(in.DType, in.Shape[0], m.Outputs(in.Shape[1]))
	if err := f(out, in); err != nil {
		t.Fatal(err)
	}
	return out
}

func batch(rows, inputs int) *graph.Array {
	a := graph.NewArray(graph.Float64, rows, inputs)
	r := graph.Rand(5, "physics", 0)
	for i := range a.Size() {
		a.Set(i, r.NormFloat64())
	}
	return a
}

func scaled(a *graph.Array, c float64) *graph.Array {
	b := a.Clone()
	for i := range b.Size() {
		b.Set(i, c*b.At(i))
	}
	return b
}

// What each medium is known to do: its range, its symmetry, and its mean.
func TestMedia(t *testing.T) {
	const rows, inputs, units = 400, 20, 50
	x := batch(rows, inputs)
	mean := func(a *graph.Array) (m float64) {
		for i := range a.Size() {
			m += a.At(i) / float64(a.Size())
		}
		return m
	}
	same := func(what string, a, b *graph.Array, factor float64) {
		for i := range a.Size() {
			if math.Abs(factor*a.At(i)-b.At(i)) > 1e-9*(1+math.Abs(b.At(i))) {
				t.Fatalf("%s: element %d: %v and %v", what, i, a.At(i), b.At(i))
			}
		}
	}
	intensity := respond(t, RandomIntensity{Units: units, Seed: 3}, x)
	for i := range intensity.Size() {
		if v := intensity.At(i); v < 0 || v > 1 {
			t.Fatalf("an intensity of %v", v)
		}
	}
	// E sin²(z) = (1 - e^(-2))/2 for a standard normal z; rows share W, so the margin is wide.
	if m := mean(intensity); math.Abs(m-(1-math.Exp(-2))/2) > 0.03 {
		t.Errorf("mean intensity %v", m)
	}
	same("sin² is even", intensity, respond(t, RandomIntensity{Units: units, Seed: 3}, scaled(x, -1)), 1)
	same("gain", respond(t, RandomIntensity{Units: units, Seed: 3, Gain: 2}, x), respond(t, RandomIntensity{Units: units, Seed: 3}, scaled(x, 2)), 1)

	light := respond(t, MultimodeFibre{Units: units, Seed: 3}, x)
	same("a fibre is quadratic", light, respond(t, MultimodeFibre{Units: units, Seed: 3}, scaled(x, -3)), 9)
	if m := mean(light); math.Abs(m-1) > 0.1 {
		t.Errorf("mean intensity behind a fibre %v", m)
	}
	// Intensities of one input behind many entries are exponential: the deviation is the mean.
	one := graph.NewArray(graph.Float64, 1, inputs)
	one.Set(0, math.Sqrt(inputs))
	speckle := respond(t, MultimodeFibre{Units: 20000, Seed: 3}, one)
	var squares float64
	for i := range speckle.Size() {
		squares += speckle.At(i) * speckle.At(i) / float64(speckle.Size())
	}
	if m := mean(speckle); math.Abs(m-1) > 0.05 || math.Abs(squares-2) > 0.2 {
		t.Errorf("speckle: mean %v (1), mean square %v (2)", m, squares)
	}

	sound := respond(t, AcousticCavityMLP{Units: units, Seed: 3}, x)
	louder := respond(t, AcousticCavityMLP{Units: units, Seed: 3}, scaled(x, -50))
	for i := range sound.Size() {
		if math.Abs(sound.At(i)-louder.At(i)) > 1e-5 {
			t.Fatalf("the cavity hears the length or the sign: %v and %v", sound.At(i), louder.At(i))
		}
	}
	quiet := respond(t, AcousticCavityMLP{Units: units, Seed: 3, Gain: 1e-6}, x)
	twice := respond(t, AcousticCavityMLP{Units: units, Seed: 3, Gain: 2e-6}, x)
	same("a cavity at low gain is linear", quiet, twice, 2)
	if a, b := respond(t, AcousticCavityMLP{Units: units, Seed: 3, Gain: 8}, x), sound; math.Abs(a.At(0)-2*b.At(0)) < 1e-3 {
		t.Error("a cavity at high gain is linear")
	}
	other := respond(t, RandomIntensity{Units: units, Seed: 4}, x)
	if other.At(0) == intensity.At(0) {
		t.Error("the seed has no influence")
	}
}

// A layer is its medium's response and its input, through a dense layer.
func TestLayer(t *testing.T) {
	m := MultimodeFibre{Units: 3, Seed: 2}
	in := batch(4, 5)
	params := &graph.Params{Seed: 1, DType: graph.Float64}
	var x, y *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		x = s.Input("x", graph.Float64, 4, 5)
		y = layers.Sequential{Layer{Medium: m, Units: 2}}.Apply(s, x)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(g.Blocks()); n != 1 {
		t.Errorf("%d blocks", n)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Bind(x, in); err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	light, w := respond(t, m, in), params.Get("dense1/weight").Value
	for i := range 4 {
		for j := range 2 {
			var want float64
			for k := range 8 {
				v := 0.0
				if k < 3 {
					v = light.At(3*i + k)
				} else {
					v = in.At(5*i + k - 3)
				}
				want += v * w.At(2*k+j)
			}
			if math.Abs(p.Array(y).At(2*i+j)-want) > 1e-12 {
				t.Errorf("row %d, unit %d: want %v, got %v", i, j, want, p.Array(y).At(2*i+j))
			}
		}
	}
}
