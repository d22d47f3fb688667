package graph

import (
	"slices"
)

// Random primitives. Their only operand is the program's clock (seed and step), so they are pure functions, repeat
// bit for bit, and the same stream at the same step is the same numbers wherever it is asked for. Float32 and Float64
// programs draw the same numbers up to rounding. All derivatives are zero; compositions in math.go (Gumbel, Bernoulli)
// differentiate through what is done with the noise.

type sampleAttrs struct {
	Stream string
	DType  string
	Shape  []int
}

func uniformOp(dtype DType, stream string, shape []int) *Primitive {
	return sampleOp("uniform", dtype, stream, shape, fillUniform[float32], fillUniform[float64])
}

func normalOp(dtype DType, stream string, shape []int) *Primitive {
	return sampleOp("normal", dtype, stream, shape, fillNormal[float32], fillNormal[float64])
}

func sampleOp(name string, dtype DType, streamName string, shape []int, f32 func(stream, []float32), f64 func(stream, []float64)) *Primitive {
	shape = slices.Clone(shape)
	hash := hashName(streamName)
	return &Primitive{
		Name:  name,
		Attrs: sampleAttrs{streamName, dtype.String(), shape},
		Type: func(in []Type) (Type, error) {
			if !in[0].Equal(Type{Int, []int{2}}) {
				return Type{}, fail(name, "clock", Type{Int, []int{2}}, in[0])
			}
			return Type{dtype, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return func(out *Array, in []*Array) error {
				clock := in[0].Ints()
				s := newStream(uint64(clock[0]), hash, uint64(clock[1]))
				if dtype == Float32 {
					f32(s, out.Float32s())
				} else {
					f64(s, out.Float64s())
				}
				return nil
			}, nil
		},
	}
}
