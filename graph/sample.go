package graph

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/harpe-ml/harpe/graph/internal/kernel"
)

// Random primitives. Each depends on the program's clock (seed and step), so it is a pure function, repeats bit for
// bit, and the same stream at the same step is the same numbers wherever it is asked for. Float32 and Float64 programs
// draw the same numbers up to rounding. All derivatives are zero: what is done with the noise is differentiated, the
// noise is not.

// Exponential draws from the exponential distribution of mean 1, new at each step as Uniform does.
func (s *Scope) Exponential(stream string, shape ...int) *Node {
	return Apply(exponentialOp(s.DType(), s.Name(stream), shape), s.g.clockNode())
}

// Gumbel draws from the standard Gumbel distribution, whose mean is 0.5772, otherwise as Uniform.
func (s *Scope) Gumbel(stream string, shape ...int) *Node {
	return Apply(gumbelOp(s.DType(), s.Name(stream), shape), s.g.clockNode())
}

// Rademacher draws -1 or 1 with equal probability, otherwise as Uniform.
func (s *Scope) Rademacher(stream string, shape ...int) *Node {
	return Apply(rademacherOp(s.DType(), s.Name(stream), shape), s.g.clockNode())
}

// Bernoulli draws 1 with probability p and 0 otherwise, in p's shape and type.
func (s *Scope) Bernoulli(stream string, p *Node) *Node {
	return Less(Apply(uniformOp(p.Dtype(), s.Name(stream), ShapeOf(p)), s.g.clockNode()), p)
}

// Categorical draws a class from softmax(logits) over the last axis, as Int [...] for logits [..., classes]: the
// largest of logits plus Gumbel noise (E. Gumbel 1954; C. Maddison et al. 2014, arXiv 1411.0030).
func (s *Scope) Categorical(stream string, logits *Node) *Node {
	axis := axisOf("categorical", logits, -1)
	noise := Apply(gumbelOp(logits.Dtype(), s.Name(stream), ShapeOf(logits)), s.g.clockNode())
	return ArgMax(Add(logits, noise), axis)
}

// Permutation draws an order of 0 to n-1, as Int [n], all being equally likely.
func (s *Scope) Permutation(stream string, n int) *Node {
	return Apply(sampleOp("permutation", Int, s.Name(stream), []int{n}, nil, nil), s.g.clockNode())
}

// Poisson draws counts of the given mean for each element of rate, in rate's shape and type. A rate that is negative
// or not finite is an error of the run.
func (s *Scope) Poisson(stream string, rate *Node) *Node {
	name := s.Name(stream)
	hash := hashName(name)
	return Apply(&Primitive{
		Name:  "poisson",
		Attrs: name,
		Type: func(in []Type) (Type, error) {
			return in[0], needFloat("poisson", in[:1])
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			return func(out *Array, in []*Array) error {
				st := clockStream(in[1], hash)
				for i := range out.Size() {
					rate := in[0].At(i)
					if !(rate >= 0 && rate <= math.MaxFloat64) {
						return fail("poisson", fmt.Sprintf("rate[%d]", i), "a finite number of at least 0", rate)
					}
					out.Set(i, poisson(rate, st, uint64(i)))
				}
				return nil
			}, nil
		},
		Flops: func(out Type, _ []Type) int { return 10 * out.Size() },
	}, rate, s.g.clockNode())
}

type sampleAttrs struct {
	Stream string
	DType  string
	Shape  []int
}

func uniformOp(dtype DType, stream string, shape []int) *Primitive {
	return sampleOp("uniform", dtype, stream, shape, fillUniform32, fillUniform)
}

func normalOp(dtype DType, stream string, shape []int) *Primitive {
	return sampleOp("normal", dtype, stream, shape, fillNormal32, fillNormal)
}

func exponentialOp(dtype DType, stream string, shape []int) *Primitive {
	return sampleOp("exponential", dtype, stream, shape, fillInverse[float32](exponential), fillInverse[float64](exponential))
}

func gumbelOp(dtype DType, stream string, shape []int) *Primitive {
	return sampleOp("gumbel", dtype, stream, shape, fillInverse[float32](gumbel), fillInverse[float64](gumbel))
}

func rademacherOp(dtype DType, stream string, shape []int) *Primitive {
	return sampleOp("rademacher", dtype, stream, shape, fillRademacher[float32], fillRademacher[float64])
}

func sampleOp(name string, dtype DType, streamName string, shape []int, f32 filler[float32], f64 filler[float64]) *Primitive {
	shape = slices.Clone(shape)
	hash := hashName(streamName)
	return &Primitive{
		Name:  name,
		Attrs: sampleAttrs{streamName, dtype.String(), shape},
		Type: func(in []Type) (Type, error) {
			if slices.ContainsFunc(shape, func(d int) bool { return d < 0 }) {
				return Type{}, fail(name, "shape", "sizes of at least 0", shape)
			}
			return Type{dtype, shape}, nil
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			switch dtype {
			case Float32:
				return sampleKernel(hash, f32), nil
			case Float64:
				return sampleKernel(hash, f64), nil
			}
			return func(out *Array, in []*Array) error {
				fillPermutation(clockStream(in[0], hash), out.Ints())
				return nil
			}, nil
		},
	}
}

// A filler writes numbers first, first+1, ... of a stream; first is a multiple of 128.
type filler[T Float] = func(s stream, first int, dst []T)

type sampleTask[T Float] struct {
	fill   filler[T]
	stream stream
	dst    []T
}

func sampleKernel[T Float](name uint64, fill filler[T]) Kernel {
	t := &sampleTask[T]{fill: fill}
	return func(out *Array, in []*Array) error {
		t.stream, t.dst = clockStream(in[0], name), Data[T](out)
		kernel.Parallel(t, pieces(len(t.dst)))
		return nil
	}
}

// Run does task i.
func (t *sampleTask[T]) Run(_, i int) {
	t.fill(t.stream, i*piece, t.dst[i*piece:min((i+1)*piece, len(t.dst))])
}

// clockStream is the stream of the given name at the program's seed and step.
func clockStream(clock *Array, name uint64) stream {
	c := clock.Ints()
	return newStream(uint64(c[0]), name, uint64(c[1]))
}

// fillInverse draws by the inverse of a distribution function.
func fillInverse[T Float](quantile func(u float64) float64) filler[T] {
	return func(s stream, first int, dst []T) {
		for i := 0; i < len(dst); i += 4 {
			a, b, c, d := s.four(uint64(first+i) / 4)
			for j, w := range [4]uint32{a, b, c, d} {
				if i+j < len(dst) {
					dst[i+j] = T(quantile(kernel.Unit(w)))
				}
			}
		}
	}
}

func exponential(u float64) float64 { return -math.Log(u) }

func gumbel(u float64) float64 { return -math.Log(-math.Log(u)) }

// fillRademacher takes one bit for each number.
func fillRademacher[T Float](s stream, first int, dst []T) {
	for i := 0; i < len(dst); i += 128 {
		a, b, c, d := s.four(uint64(first+i) / 128)
		for j, w := range [4]uint32{a, b, c, d} {
			at := min(i+32*j, len(dst))
			for k := range dst[at:min(at+32, len(dst))] {
				dst[at+k] = T(int(w>>k&1)*2 - 1)
			}
		}
	}
}

// fillPermutation is the shuffle of R. Fisher and F. Yates (1938), each place chosen by 64 random bits.
func fillPermutation(s stream, dst []int) {
	for i := range dst {
		dst[i] = i
	}
	for i := len(dst) - 1; i > 0; i-- {
		a, b, _, _ := s.four(uint64(i))
		j, _ := bits.Mul64(uint64(a)<<32|uint64(b), uint64(i)+1)
		dst[i], dst[j] = dst[j], dst[i]
	}
}

// poisson draws a count of the given mean with numbers of its own: block j of element i is four(i + j·2⁴⁰). Small
// rates search the distribution function; large ones are drawn by PTRS, transformed rejection with a squeeze
// (W. Hörmann 1993, "The transformed rejection method for generating Poisson random variables").
func poisson(rate float64, s stream, element uint64) float64 {
	if rate < 10 {
		a, b, _, _ := s.four(element)
		u := unit53(a, b)
		p := math.Exp(-rate)
		k, sum := 0.0, p
		for u > sum && sum+p > sum {
			k++
			p *= rate / k
			sum += p
		}
		return k
	}
	b := 0.931 + 2.53*math.Sqrt(rate)
	a := -0.059 + 0.02483*b
	inverseAlpha := 1.1239 + 1.1328/(b-3.4)
	vr := 0.9277 - 3.6224/(b-2)
	logRate := math.Log(rate)
	for block := element; ; block += 1 << 40 {
		w0, w1, w2, w3 := s.four(block)
		u, v := unit53(w0, w1)-0.5, unit53(w2, w3)
		us := 0.5 - math.Abs(u)
		k := math.Floor((2*a/us+b)*u + rate + 0.43)
		if us >= 0.07 && v <= vr {
			return k
		}
		if k < 0 || us < 0.013 && v > us {
			continue
		}
		lg, _ := math.Lgamma(k + 1)
		if math.Log(v*inverseAlpha/(a/(us*us)+b)) <= k*logRate-rate-lg {
			return k
		}
	}
}

// unit53 maps two words into the open interval (0, 1) at double precision.
func unit53(a, b uint32) float64 {
	return (float64(uint64(a)<<20|uint64(b)>>12) + 0.5) * (1.0 / (1 << 52))
}
