// Package layers turns hyper-parameters into model code. A layer is a plain struct whose zero values are the usual
// defaults; applied in a graph.Scope, it asks the scope for its parameters by name and returns a node:
//
//	model := layers.Sequential{
//		layers.Conv2D{Filters: 32, Padding: layers.Both(1), Activation: layers.ReLU{}},
//		layers.MaxPool2D{},
//		layers.Flatten{},
//		layers.Dense{Units: 10},
//	}
//	g, err := graph.Build(params, func(s *graph.Scope) {
//		logits = model.Apply(s, s.Input("image", graph.Float32, 128, 1, 28, 28))
//	})
//
// One definition serves every batch size, training and evaluation: sizes that follow from the input are not fields.
// Parameters are called by layer and number, as "conv1/weight" and "dense1/bias", counted in the order of application
// in each scope; a layer's Name replaces kind and number.
//
// Sequential marks each of its children as a block, a place where a model may be cut and its parts trained by
// themselves; Block makes one block of several layers. Layers without parameters, such as Flatten, may stand as
// children of their own: a cut adds them to the part before them.
//
// Images are [batch, channels, height, width], sequences [batch, time, features]. A layer applied to a node it cannot
// take panics with a *graph.Error, which graph.Build returns.
package layers

import (
	"fmt"

	"github.com/harpe-ml/harpe/graph"
)

// A Layer turns a node into a node, with the parameters it asks the scope for. A model is a layer.
type Layer interface {
	Apply(s *graph.Scope, x *graph.Node) *graph.Node
}

// Sequential applies its layers one after the other and marks one block for each: "block1", "block2", ... A
// Sequential inside a Sequential is the same as its layers written out.
type Sequential []Layer

// Apply applies the layers in order; of none it is x.
func (q Sequential) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	if s.InBlock() {
		return chain(q, s, x)
	}
	for _, l := range q {
		switch l := l.(type) {
		case Sequential, Block:
			x = l.Apply(s, x)
		default:
			x = s.Block(blockName(s), x, l.Apply)
		}
	}
	return x
}

// Block applies its layers one after the other as one block, in a scope of its own: "block1/dense1/weight". A block
// inside a block is a scope only.
type Block []Layer

// Apply applies the layers in order.
func (b Block) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	name := blockName(s)
	return s.Block(name, x, func(s *graph.Scope, x *graph.Node) *graph.Node {
		return chain(b, s.Sub(name), x)
	})
}

// blockName is the next of the scope's names "block1", "block2", ...
func blockName(s *graph.Scope) string {
	full := s.Layer("block", "").Name("")
	return full[len(s.Name("")) : len(full)-1]
}

// chain applies layers one after the other without marking blocks.
func chain(layers []Layer, s *graph.Scope, x *graph.Node) *graph.Node {
	for _, l := range layers {
		x = l.Apply(s, x)
	}
	return x
}

// Residual adds a way around its body: body(x) + shortcut(x) (K. He et al. 2015, arXiv 1512.03385, eq. 1 and 2). The
// two results must have the same shape.
type Residual struct {
	Body     Layer
	Shortcut Layer // nil: x itself
}

// Apply is body(x) + shortcut(x).
func (r Residual) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	if r.Body == nil {
		panic(graph.Fail("residual", "Body", "a layer", "nil"))
	}
	if !s.InBlock() { // the two ways cannot be cut apart
		return s.Block(blockName(s), x, r.Apply)
	}
	y := r.Body.Apply(s, x)
	if r.Shortcut != nil {
		x = r.Shortcut.Apply(s, x)
	}
	if want, got := graph.TypeOf(y), graph.TypeOf(x); !want.Equal(got) {
		panic(graph.Fail("residual", "shortcut", fmt.Sprintf("%v, as the body's result", want), got))
	}
	return graph.Add(y, x)
}

// Func makes a layer of a function. With a kind the function gets a scope of its own, numbered as all layers are:
// parameter "scale" of kind "film" is "film1/scale". Without one it gets the scope the layer is applied in.
func Func(kind string, f func(s *graph.Scope, x *graph.Node) *graph.Node) Layer {
	return function{kind, f}
}

type function struct {
	kind string
	f    func(s *graph.Scope, x *graph.Node) *graph.Node
}

func (f function) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	if f.kind != "" {
		s = s.Layer(f.kind, "")
	}
	return f.f(s, x)
}

// needRank panics unless x has at least low and at most high axes.
func needRank(layer string, x *graph.Node, low, high int, shape string) {
	if n := len(graph.ShapeOf(x)); n < low || n > high {
		panic(graph.Fail(layer, "input", shape, graph.TypeOf(x)))
	}
}

// needPositive panics unless a hyper-parameter that has no default is at least 1.
func needPositive(layer, field string, v int) {
	if v < 1 {
		panic(graph.Fail(layer, field, "at least 1", v))
	}
}

// or is v, or the default if v is the zero value.
func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
