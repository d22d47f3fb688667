package models

import (
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// The numbers of parameters, of multiply-additions and of blocks of the published network (torchvision's
// mobilenet_v3_small: 2,542,856 parameters, 12,000-odd running statistics apart, and 56.5 million multiply-additions).
func TestMobileNetV3Small(t *testing.T) {
	store := &graph.Params{Seed: 1}
	var x, y *graph.Node
	g, err := graph.Build(store, func(s *graph.Scope) {
		x = s.Input("x", graph.Float32, 1, 3, 224, 224)
		y = MobileNetV3Small{Classes: 1000}.Apply(s, x)
	})
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for q := range store.All() {
		if !q.State {
			count += q.Value.Size()
		}
	}
	if count != 2542856 {
		t.Errorf("%d parameters, want 2542856", count)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	if n := p.Stats().Flops; n < 2*56.5e6 || n > 2*56.5e6*1.15 {
		t.Errorf("%d operations, want twice 56.5 million multiply-additions and a little for activations", n)
	}
	pieces, err := g.Cut(x, y)
	if err != nil {
		t.Fatal(err)
	}
	var maps [][]int
	for _, q := range pieces {
		maps = append(maps, q.Out.Shape[1:])
	}
	want := [][]int{
		{16, 112, 112}, {16, 56, 56}, {24, 28, 28}, {24, 28, 28}, {40, 14, 14}, {40, 14, 14}, {40, 14, 14}, {48, 14, 14},
		{48, 14, 14}, {96, 7, 7}, {96, 7, 7}, {96, 7, 7}, {576, 7, 7}, {1024}, {1000},
	}
	if !slices.EqualFunc(maps, want, slices.Equal) {
		t.Errorf("blocks put out %v, want %v", maps, want)
	}
}

func TestMobileNetSmallImages(t *testing.T) {
	for keep, size := range map[int]int{0: 1, 2: 4, 5: 28} {
		var last []int
		_, err := graph.Build(nil, func(s *graph.Scope) {
			x := s.Input("x", graph.Float32, 2, 1, 28, 28)
			y := MobileNetV3Small{Classes: 10, Keep: keep}.Apply(s, x)
			pieces, err := s.Graph().Cut(x, y)
			if err != nil {
				t.Fatal(err)
			}
			last = pieces[12].Out.Shape
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(last, []int{2, 576, size, size}) {
			t.Errorf("Keep %d: last map %v, want size %d", keep, last, size)
		}
	}
	_, err := graph.Build(nil, func(s *graph.Scope) {
		MobileNetV3Small{Classes: 2, Keep: 6}.Apply(s, s.Input("x", graph.Float32, 2, 1, 28, 28))
	})
	if err == nil {
		t.Error("Keep 6: no error")
	}
}
