package models

import (
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// ResNet18 is the residual network of 18 layers for small images (K. He et al. 2015, arXiv 1512.03385, table 1, with
// the 3x3 stem of section 4.2): [batch, channels, height, width] to logits [batch, classes]. A stem of Width filters is
// followed by four stages of two basic blocks with 1, 2, 4 and 8 times as many, each stage but the first at half the
// size, the mean over the image and a dense layer. Each of these is a block.
type ResNet18 struct {
	Classes int
	Width   int // 0 means 64
}

// Apply makes the logits' node.
func (m ResNet18) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	width := or(m.Width, 64)
	q := layers.Sequential{layers.Block{convolution(width, 3, 1), layers.BatchNorm{}, layers.ReLU{}}}
	in := width
	for stage := range 4 {
		out, stride := width<<stage, min(stage+1, 2)
		q = append(q, basicBlock(in, out, stride), basicBlock(out, out, 1))
		in = out
	}
	return append(q, layers.GlobalAvgPool2D{}, layers.Dense{Units: m.Classes}).Apply(s, x)
}

// basicBlock is two 3x3 convolutions with a way around them, which is x itself where the shape stays.
func basicBlock(in, out, stride int) layers.Block {
	var shortcut layers.Layer
	if stride != 1 || in != out {
		shortcut = layers.Sequential{convolution(out, 1, stride), layers.BatchNorm{}}
	}
	return layers.Block{
		layers.Residual{
			Body: layers.Sequential{
				convolution(out, 3, stride), layers.BatchNorm{}, layers.ReLU{},
				convolution(out, 3, 1), layers.BatchNorm{},
			},
			Shortcut: shortcut,
		},
		layers.ReLU{},
	}
}

// convolution keeps the size but for the stride, and has no bias because normalisation follows.
func convolution(filters, kernel, stride int) layers.Conv2D {
	return layers.Conv2D{
		Filters: filters, Kernel: layers.Both(kernel), Stride: layers.Both(stride), Padding: layers.Both(kernel / 2),
		NoBias: true, Init: layers.He,
	}
}
