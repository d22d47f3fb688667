package models

import (
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// imageNet is torchvision's resnet18.
func imageNet() layers.Layer {
	stem := convolution(64, 7, 2)
	return append(layers.Sequential{
		layers.Block{stem, layers.BatchNorm{}, layers.ReLU{}, layers.MaxPool2D{Kernel: layers.Both(3), Stride: layers.Both(2), Padding: layers.Both(1)}},
		basicBlock(64, 64, 1), basicBlock(64, 64, 1), basicBlock(64, 128, 2), basicBlock(128, 128, 1),
		basicBlock(128, 256, 2), basicBlock(256, 256, 1), basicBlock(256, 512, 2), basicBlock(512, 512, 1),
	}, layers.GlobalAvgPool2D{}, layers.Dense{Units: 1000})
}

// Totals of known networks. ResNet-18's parameters are those of torchvision's documentation, 11,689,512; its
// multiply-adds are added up from the sizes of its convolutions (1.814 G there), LeNet-5's from the table in LeCun et al.
// 1998 with all maps of one layer connected.
func TestSummaryTotals(t *testing.T) {
	conv := func(out, side, in, k int) int { return out * side * side * in * k * k }
	resnet := conv(64, 112, 3, 7) + 4*conv(64, 56, 64, 3) + 512*1000
	for i, c := range []int{128, 256, 512} {
		side := 28 >> i
		resnet += conv(c, side, c/2, 3) + conv(c, side, c/2, 1) + 3*conv(c, side, c, 3)
	}
	lenet := layers.Sequential{
		layers.Conv2D{Filters: 6, Kernel: layers.Both(5), Activation: layers.Tanh{}}, layers.AvgPool2D{},
		layers.Conv2D{Filters: 16, Kernel: layers.Both(5), Activation: layers.Tanh{}}, layers.AvgPool2D{}, layers.Flatten{},
		layers.Dense{Units: 120, Activation: layers.Tanh{}}, layers.Dense{Units: 84, Activation: layers.Tanh{}}, layers.Dense{Units: 10},
	}
	for _, c := range []struct {
		name            string
		model           layers.Layer
		input           graph.Type
		trained, states int
		multiplyAdds    int
	}{
		{"ResNet-18", imageNet(), graph.Type{DType: graph.Float32, Shape: []int{1, 3, 224, 224}}, 11689512, 9600, resnet},
		{"LeNet-5", lenet, graph.Type{DType: graph.Float32, Shape: []int{2, 1, 32, 32}}, 61706, 0, 2 * (117600 + 240000 + 48000 + 10080 + 840)},
		{"MLP", MLP{Hidden: []int{1000, 1000}, Classes: 10}, graph.Type{DType: graph.Float64, Shape: []int{8, 784}}, 1796010, 0, 8 * (784*1000 + 1000*1000 + 1000*10)},
		{"LSTM", layers.LSTM{Units: 5}, graph.Type{DType: graph.Float32, Shape: []int{3, 7, 4}}, 4 * 5 * (4 + 5 + 2), 0, 3 * 7 * 4 * 5 * (4 + 5)},
		{
			"attention", layers.SelfAttention{Heads: 2}, graph.Type{DType: graph.Float32, Shape: []int{2, 6, 8}}, 8*24 + 24 + 8*8 + 8, 0,
			2 * (6*8*24 + 6*8*8 + 2*6*6*8),
		},
	} {
		s, err := Summarize(c.model, c.input)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Total; got.Trained != c.trained || got.State != c.states || got.MultiplyAdds != c.multiplyAdds {
			t.Errorf("%s: want %d parameters, %d states, %d multiply-adds, got %+v", c.name, c.trained, c.states, c.multiplyAdds, got)
		}
		if s.ForwardBytes <= 0 || s.StepBytes <= s.ForwardBytes || s.Total.Flops < 2*s.Total.MultiplyAdds {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
	if resnet != 1_814_073_344 {
		t.Errorf("the sum of the convolutions is %d", resnet)
	}
}

// The rows of a small network, worked out by hand.
func TestSummaryRows(t *testing.T) {
	s, err := Summarize(CNN{Channels: []int{4}, Hidden: []int{5}, Classes: 3}, graph.Type{DType: graph.Float32, Shape: []int{2, 1, 6, 6}})
	if err != nil {
		t.Fatal(err)
	}
	want := []SummaryRow{
		{Name: "input", Out: graph.Type{DType: graph.Float32, Shape: []int{2, 1, 6, 6}}},
		{"block1/conv1", graph.Type{DType: graph.Float32, Shape: []int{2, 4, 6, 6}}, 40, 0, 2 * 4 * 36 * 9, 2 * 2 * 4 * 36 * 9, 4 * 2 * 4 * 36},
		{"block1/max_pool2d", graph.Type{DType: graph.Float32, Shape: []int{2, 4, 3, 3}}, 0, 0, 0, 2 * 4 * 36, 4 * 2 * 4 * 9},
		{"reshape", graph.Type{DType: graph.Float32, Shape: []int{2, 36}}, 0, 0, 0, 0, 4 * 2 * 36},
		{"block2/dense1", graph.Type{DType: graph.Float32, Shape: []int{2, 5}}, 36*5 + 5, 0, 2 * 36 * 5, 2 * 2 * 36 * 5, 4 * 2 * 5},
		{"block3/dense2", graph.Type{DType: graph.Float32, Shape: []int{2, 3}}, 5*3 + 3, 0, 2 * 5 * 3, 2 * 2 * 5 * 3, 4 * 2 * 3},
	}
	for i, r := range s.Rows {
		w := want[i]
		if r.Name != w.Name || !r.Out.Equal(w.Out) || r.Trained != w.Trained || r.State != w.State || r.MultiplyAdds != w.MultiplyAdds || r.Flops != w.Flops || r.Bytes != w.Bytes {
			t.Errorf("row %d: want %+v, got %+v", i, w, r)
		}
	}
	if len(s.Rows) != len(want) {
		t.Fatalf("want %d rows, got %d", len(want), len(s.Rows))
	}
	blocks := s.ByBlock().Rows
	if len(blocks) != 5 || blocks[1].Name != "block1" || blocks[2].Name != "reshape" || blocks[4].Trained != 18 {
		t.Errorf("by block: %+v", blocks)
	} else if b := blocks[1]; b.Trained != 40 || b.MultiplyAdds != want[1].MultiplyAdds || b.Flops != want[1].Flops+want[2].Flops ||
		b.Bytes != want[1].Bytes+want[2].Bytes || !b.Out.Equal(want[2].Out) {
		t.Errorf("block1: %+v", b)
	}
	cells := s.Cells()
	if got := cells[1]; !slices.Equal(got, []string{"block1/conv1", "2×4×6×6", "40", "0", "2,592", "5,184", "1,152"}) {
		t.Errorf("got %q", got)
	}
	text := s.String()
	for _, word := range append([]string{"total", "2,592", "in a step of backpropagation"}, SummaryHeader...) {
		if !strings.Contains(text, word) {
			t.Errorf("no %q in\n%s", word, text)
		}
	}
	lines := strings.Split(text, "\n")
	if n := len([]rune(lines[1])); len([]rune(lines[2])) != n || len([]rune(lines[0])) > n {
		t.Errorf("lines of different widths in\n%s", text)
	}
}

// A layer in two places has its parameters once.
func TestSummaryShared(t *testing.T) {
	twice := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		y := layers.Dense{Units: 4, Name: "shared"}.Apply(s, x)
		return layers.Dense{Units: 4, Name: "shared"}.Apply(s, graph.Softmax(y, 1))
	})
	s, err := Summarize(twice, graph.Type{DType: graph.Float32, Shape: []int{3, 4}})
	if err != nil || s.Total.Trained != 20 || s.Total.MultiplyAdds != 2*3*16 {
		t.Errorf("want 20 parameters and 96 multiply-adds, got %+v, %v", s, err)
	}
	if _, err := Summarize(MLP{}, graph.Type{DType: graph.Float32, Shape: []int{3, 4}}); err == nil {
		t.Error("want the model's error")
	}
}
