package graph

import (
	"fmt"
	"math"
)

// Compositions of primitives. They inherit both derivatives of every order.

// Scale is c·x for a number c.
func Scale(x *Node, c float64) *Node {
	if c == 1 {
		return x
	}
	return Mul(x, Const(x, c))
}

// Shift is x + c for a number c.
func Shift(x *Node, c float64) *Node {
	if c == 0 {
		return x
	}
	return Add(x, Const(x, c))
}

// OneMinus is 1 - x.
func OneMinus(x *Node) *Node { return Sub(Const(x, 1), x) }

// Clip limits x to [low, high]. The derivative passes where low ≤ x ≤ high, as in PyTorch's clamp.
func Clip(x *Node, low, high float64) *Node {
	inside := Mul(GreaterEqual(x, Const(x, low)), LessEqual(x, Const(x, high)))
	return Where(inside, x, Detach(Minimum(Maximum(x, Const(x, low)), Const(x, high))))
}

// LeakyReLU is x where x > 0 and alpha·x elsewhere.
func LeakyReLU(x *Node, alpha float64) *Node {
	return Where(Greater(x, Const(x, 0)), x, Scale(x, alpha))
}

// ELU is x where x > 0 and alpha(e^x - 1) elsewhere (D. Clevert et al. 2015, arXiv 1511.07289).
func ELU(x *Node, alpha float64) *Node {
	zero := Const(x, 0)
	positive := Greater(x, zero)
	return Where(positive, x, Scale(Expm1(Where(positive, zero, x)), alpha))
}

// SELU is the self-normalising ELU (G. Klambauer et al. 2017, arXiv 1706.02515, eq. 2).
func SELU(x *Node) *Node {
	const alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
	return Scale(ELU(x, alpha), scale)
}

// GELU is x·Φ(x) with the normal distribution function Φ (D. Hendrycks, K. Gimpel 2016, arXiv 1606.08415).
func GELU(x *Node) *Node {
	return Mul(x, Scale(Shift(Erf(Scale(x, 1/math.Sqrt2)), 1), 0.5))
}

// GELUTanh is the tanh approximation of GELU.
func GELUTanh(x *Node) *Node {
	inner := Scale(Add(x, Scale(Mul(x, Square(x)), 0.044715)), math.Sqrt(2/math.Pi))
	return Mul(x, Scale(Shift(Tanh(inner), 1), 0.5))
}

// SiLU is x·sigmoid(x), also called swish.
func SiLU(x *Node) *Node { return Mul(x, Sigmoid(x)) }

// Softsign is x/(1 + |x|).
func Softsign(x *Node) *Node { return Div(x, Shift(Abs(x), 1)) }

// Mish is x·tanh(softplus(x)) (D. Misra 2019, arXiv 1908.08681).
func Mish(x *Node) *Node { return Mul(x, Tanh(Softplus(x))) }

// ReLU6 is min(max(x, 0), 6), with derivative 0 at 0 and at 6.
func ReLU6(x *Node) *Node {
	zero, six := Const(x, 0), Const(x, 6)
	inside := Mul(Greater(x, zero), Less(x, six))
	return Where(inside, x, Detach(Minimum(ReLU(x), six)))
}

// HardSigmoid is relu6(x + 3)/6 (A. Howard et al. 2019, arXiv 1905.02244).
func HardSigmoid(x *Node) *Node { return Scale(ReLU6(Shift(x, 3)), 1.0/6) }

// HardSwish is x·hardsigmoid(x) (A. Howard et al. 2019, arXiv 1905.02244), with derivatives -1/2 at -3 and 1 at 3.
func HardSwish(x *Node) *Node {
	low, high := Less(x, Const(x, -3)), GreaterEqual(x, Const(x, 3))
	middle := Where(Add(low, high), Const(x, 0), x)
	return Where(high, x, Mul(middle, Scale(Shift(middle, 3), 1.0/6)))
}

// LogSigmoid is log(sigmoid(x)), without overflow.
func LogSigmoid(x *Node) *Node { return Neg(Softplus(Neg(x))) }

// Variance is the biased variance over the axes.
func Variance(x *Node, axes ...int) *Node {
	return Mean(Square(Center(x, axes...)), axes...)
}

// Center is x minus its mean over the axes.
func Center(x *Node, axes ...int) *Node {
	return Sub(x, KeepDims(Mean(x, axes...), ShapeOf(x), axes...))
}

// Standardize is (x - mean)/sqrt(variance + eps) over the axes: the core of the normalisation layers.
func Standardize(x *Node, eps float64, axes ...int) *Node {
	c := Center(x, axes...)
	v := KeepDims(Mean(Square(c), axes...), ShapeOf(x), axes...)
	return Mul(c, Rsqrt(Shift(v, eps)))
}

// RMSNormalize is x/sqrt(mean(x²) + eps) over the axes (B. Zhang, R. Sennrich 2019, arXiv 1910.07467).
func RMSNormalize(x *Node, eps float64, axes ...int) *Node {
	return Mul(x, Rsqrt(Shift(KeepDims(Mean(Square(x), axes...), ShapeOf(x), axes...), eps)))
}

// Norm is the Euclidean norm over the axes; its derivative at 0 is taken as 0, as PyTorch does.
func Norm(x *Node, axes ...int) *Node {
	s := Sum(Square(x), axes...)
	zero := Equal(s, Const(s, 0))
	return Where(zero, Const(s, 0), Sqrt(Where(zero, Const(s, 1), s)))
}

// Attention is scaled dot-product attention (A. Vaswani et al. 2017, arXiv 1706.03762, eq. 1): q [..., t, d], k
// [..., s, d], v [..., s, e] to [..., t, e]. Causal lets position i see positions up to i only.
func Attention(q, k, v *Node, causal bool) *Node {
	sq, sk := ShapeOf(q), ShapeOf(k)
	if len(sq) < 2 || len(sk) != len(sq) {
		e := fail("attention", "k", fmt.Sprintf("%d axes, at least 2", len(sq)), sk)
		e.Operands = describe([]*Node{q, k, v})
		panic(e)
	}
	t, d, s := sq[len(sq)-2], sq[len(sq)-1], sk[len(sk)-2]
	scores := Scale(MatMulT(q, k, false, true), 1/math.Sqrt(float64(max(d, 1))))
	if causal {
		scores = Where(causalMask(scores, t, s), scores, Const(scores, math.Inf(-1)))
	}
	return MatMul(Softmax(scores, -1), v)
}

// causalMask is 1 on and below the diagonal of [t, s] and 0 above.
func causalMask(like *Node, t, s int) *Node {
	dtype := like.Dtype()
	return apply(like.Graph(), &Primitive{
		Name:  "causal_mask",
		Attrs: fmt.Sprintf("{%d %d %v}", t, s, dtype),
		Type:  func([]Type) (Type, error) { return Type{dtype, []int{t, s}}, nil },
		Kernel: func(Type, []Type) (Kernel, error) {
			return func(out *Array, _ []*Array) error {
				out.Zero()
				for i := range t {
					for j := 0; j <= i && j < s; j++ {
						out.Set(i*s+j, 1)
					}
				}
				return nil
			}, nil
		},
	}, nil)
}

// Dropout is x with each element zeroed with probability p and the others scaled by 1/(1-p), new at each step; outside
// training it is x. The stream's name must be the layer's own.
func Dropout(s *Scope, x *Node, p float64) *Node {
	if p < 0 || p >= 1 || p != p {
		panic(fail("dropout", "p", "0 <= p < 1", p))
	}
	if !s.Training() || p == 0 {
		return x
	}
	u := s.Uniform("dropout", ShapeOf(x)...)
	keep := Scale(GreaterEqual(u, Const(u, p)), 1/(1-p))
	return Mul(x, keep)
}

// Normalize is x divided by its Euclidean norm over the axes, the norm held above eps.
func Normalize(x *Node, eps float64, axes ...int) *Node {
	n := Norm(x, axes...)
	return Div(x, KeepDims(Maximum(n, Const(n, eps)), ShapeOf(x), axes...))
}
