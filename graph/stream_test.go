package graph_test

import (
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// A stream gives, in any pieces, the numbers that a program draws under the same name, seed and step.
func TestStreamIsTheProgramsOwn(t *testing.T) {
	const n, seed, step = 1000, 77, 5
	for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
		var normal, rademacher *graph.Node
		g, err := graph.Build(&graph.Params{Seed: seed, DType: dtype}, func(s *graph.Scope) {
			s = s.Sub("layer")
			normal, rademacher = s.Normal("z", n), s.Rademacher("r", n)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(normal, rademacher)
		if err != nil {
			t.Fatal(err)
		}
		p.SetStep(step)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		if dtype == graph.Float32 {
			sameStream(t, p.Array(normal).Float32s(), p.Array(rademacher).Float32s(), seed, step)
		} else {
			sameStream(t, p.Array(normal).Float64s(), p.Array(rademacher).Float64s(), seed, step)
		}
	}
}

func sameStream[T graph.Float](t *testing.T, normal, rademacher []T, seed, step uint64) {
	t.Helper()
	z, r := graph.NewStream(seed, "layer/z"), graph.NewStream(seed, "layer/r")
	buffer := make([]T, 256)
	for lo := 0; lo < len(normal); lo += len(buffer) {
		part := buffer[:min(len(buffer), len(normal)-lo)]
		graph.FillNormal(z, step, lo, part)
		for i, v := range part {
			if v != normal[lo+i] {
				t.Fatalf("normal %d: program %v, stream %v", lo+i, normal[lo+i], v)
			}
		}
		graph.FillRademacher(r, step, lo, part)
		for i, v := range part {
			if v != rademacher[lo+i] {
				t.Fatalf("sign %d: program %v, stream %v", lo+i, rademacher[lo+i], v)
			}
		}
	}
	if n := testing.AllocsPerRun(3, func() { graph.FillNormal(z, 3, 0, buffer) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
