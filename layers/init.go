package layers

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Init chooses how a weight starts from the numbers of inputs and outputs that one unit sees; graph.Glorot is one.
// Where a layer's Init is nil, weights start by He if its Activation is ReLU or one of its relatives (ReLU6,
// LeakyReLU, ELU, GELU, SiLU, Mish, HardSwish), with variance 1/fan-in if it is SELU, and by Glorot otherwise. Biases
// start at 0.
type Init func(fanIn, fanOut int) graph.Init

// He is graph.He: N(0, 2/fan-in), for layers whose activation is not their own field.
func He(fanIn, _ int) graph.Init { return graph.He(fanIn) }

// LeCun is graph.LeCun, PyTorch's default: U(-b, b), b = 1/sqrt(fan-in).
func LeCun(fanIn, _ int) graph.Init { return graph.LeCun(fanIn) }

// Normal is N(0, std²) whatever the sizes.
func Normal(std float64) Init {
	return func(int, int) graph.Init { return graph.NormalInit(std) }
}

// initFor is init, or the default before this activation.
func initFor(init Init, activation Layer, fanIn, fanOut int) graph.Init {
	if init != nil {
		return init(fanIn, fanOut)
	}
	switch activation.(type) {
	case ReLU, ReLU6, LeakyReLU, ELU, GELU, GELUTanh, SiLU, Mish, HardSwish:
		return graph.He(fanIn)
	case SELU:
		return graph.NormalInit(1 / math.Sqrt(float64(max(fanIn, 1))))
	}
	return graph.Glorot(fanIn, fanOut)
}
