package layers

import "github.com/harpe-ml/harpe/graph"

// MaxPool2D is the largest element of each window of an image. Sizes and attributes are those of graph.MaxPool2D.
type MaxPool2D struct {
	Kernel   [2]int // Both(0) means Both(2)
	Stride   [2]int // 0 means the kernel's size
	Padding  [2]int // at both ends of each axis
	Dilation [2]int // 0 means 1
}

// Apply makes the result's node.
func (p MaxPool2D) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.MaxPool2D(x, graph.PoolOptions{Kernel: or(p.Kernel, Both(2)), Stride: p.Stride, Padding: p.Padding, Dilation: p.Dilation})
}

// AvgPool2D is the mean of each window of an image. Sizes and attributes are those of graph.AvgPool2D.
type AvgPool2D struct {
	Kernel         [2]int // Both(0) means Both(2)
	Stride         [2]int // 0 means the kernel's size
	Padding        [2]int // at both ends of each axis
	ExcludePadding bool   // divide by the number of pixels inside the image
}

// Apply makes the result's node.
func (p AvgPool2D) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.AvgPool2D(x, graph.PoolOptions{Kernel: or(p.Kernel, Both(2)), Stride: p.Stride, Padding: p.Padding, ExcludePadding: p.ExcludePadding})
}

// GlobalAvgPool2D is the mean of each image plane: [batch, channels, height, width] to [batch, channels].
type GlobalAvgPool2D struct{}

// Apply makes the result's node.
func (GlobalAvgPool2D) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.GlobalAvgPool2D(x)
}

// GlobalMaxPool2D is the largest element of each image plane: [batch, channels, height, width] to [batch, channels].
type GlobalMaxPool2D struct{}

// Apply makes the result's node.
func (GlobalMaxPool2D) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.GlobalMaxPool2D(x)
}

// Upsample repeats each pixel of an image Scale times along both axes.
type Upsample struct {
	Scale int // 0 means 2
}

// Apply makes the result's node.
func (u Upsample) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.UpsampleNearest2D(x, or(u.Scale, 2))
}
