package graph

import (
	"fmt"
	"math"
	"slices"
)

// This file is the table of the elementwise primitives. Each line holds what an op is called, its value, and its
// derivative; from these follow the reverse rule, the forward rule, every order and every shape. The other
// primitives stand, in the same form, in reduce.go (sums, maxima, cumulative ops), shape.go (moving and picking
// elements), matmul.go, conv.go, linalg.go and sample.go; everything else in math.go is a composition.
//
// A unary line is (name, f, d): d(x, y, t) is the node of f'(x)·t where y = f(x). Both directions of differentiation
// use it: the reverse rule with the cotangent as t, the forward rule with the tangent.
//
// A binary line is (name, f, d): d(a, b, y, t) gives the nodes of ∂f/∂a·t and ∂f/∂b·t before sums over broadcast axes.
//
// Sub-gradients at kinks are PyTorch's: 0 for |x|, relu and sign at 0; min and max share equally among equal operands.

// Neg is -x.
func Neg(x *Node) *Node { return Apply(negOp, x) }

// Exp is e^x.
func Exp(x *Node) *Node { return Apply(expOp, x) }

// Log is the natural logarithm: -Inf at 0, NaN below.
func Log(x *Node) *Node { return Apply(logOp, x) }

// Log1p is log(1+x), accurate near 0.
func Log1p(x *Node) *Node { return Apply(log1pOp, x) }

// Expm1 is e^x - 1, accurate near 0.
func Expm1(x *Node) *Node { return Apply(expm1Op, x) }

// Sqrt is the square root; its derivative at 0 is +Inf, as in PyTorch.
func Sqrt(x *Node) *Node { return Apply(sqrtOp, x) }

// Rsqrt is 1/sqrt(x).
func Rsqrt(x *Node) *Node { return Apply(rsqrtOp, x) }

// Reciprocal is 1/x.
func Reciprocal(x *Node) *Node { return Apply(reciprocalOp, x) }

// Square is x².
func Square(x *Node) *Node { return Apply(squareOp, x) }

// Sin is the sine of x in radians.
func Sin(x *Node) *Node { return Apply(sinOp, x) }

// Cos is the cosine of x in radians.
func Cos(x *Node) *Node { return Apply(cosOp, x) }

// Tan is the tangent of x in radians.
func Tan(x *Node) *Node { return Apply(tanOp, x) }

// Tanh is the hyperbolic tangent.
func Tanh(x *Node) *Node { return Apply(tanhOp, x) }

// Atanh is the inverse hyperbolic tangent.
func Atanh(x *Node) *Node { return Apply(atanhOp, x) }

// Sigmoid is 1/(1+e^-x).
func Sigmoid(x *Node) *Node { return Apply(sigmoidOp, x) }

// Softplus is log(1+e^x), without overflow.
func Softplus(x *Node) *Node { return Apply(softplusOp, x) }

// Asin is the inverse sine, in [-π/2, π/2]; NaN where |x| > 1.
func Asin(x *Node) *Node { return Apply(asinOp, x) }

// Acos is the inverse cosine, in [0, π]; NaN where |x| > 1.
func Acos(x *Node) *Node { return Apply(acosOp, x) }

// Atan is the inverse tangent, in (-π/2, π/2).
func Atan(x *Node) *Node { return Apply(atanOp, x) }

// Sinh is the hyperbolic sine.
func Sinh(x *Node) *Node { return Apply(sinhOp, x) }

// Cosh is the hyperbolic cosine.
func Cosh(x *Node) *Node { return Apply(coshOp, x) }

// Asinh is the inverse hyperbolic sine.
func Asinh(x *Node) *Node { return Apply(asinhOp, x) }

// Acosh is the inverse hyperbolic cosine; NaN where x < 1.
func Acosh(x *Node) *Node { return Apply(acoshOp, x) }

// Erfc is 1 - erf(x), accurate for large x.
func Erfc(x *Node) *Node { return Apply(erfcOp, x) }

// Lgamma is the logarithm of |Γ(x)|.
func Lgamma(x *Node) *Node { return Apply(lgammaOp, x) }

// Digamma is the derivative of Lgamma.
func Digamma(x *Node) *Node { return Apply(digammaOp, x) }

// Polygamma is the n-th derivative of Digamma; n must be at least 1.
func Polygamma(n int, x *Node) *Node {
	if n < 1 {
		panic(fail("polygamma", "n", "at least 1", n))
	}
	return Apply(polygammaOp(n), x)
}

// IsFinite is 1 where x is neither NaN nor infinite and 0 elsewhere.
func IsFinite(x *Node) *Node { return Apply(isFiniteOp, x) }

// IsNaN is 1 where x is NaN and 0 elsewhere.
func IsNaN(x *Node) *Node { return Apply(isNaNOp, x) }

// Erf is the error function.
func Erf(x *Node) *Node { return Apply(erfOp, x) }

// Abs is |x|, with derivative 0 at 0.
func Abs(x *Node) *Node { return Apply(absOp, x) }

// Sign is -1, 0 or 1, with derivative 0.
func Sign(x *Node) *Node { return Apply(signOp, x) }

// Floor rounds down, with derivative 0.
func Floor(x *Node) *Node { return Apply(floorOp, x) }

// Round rounds half to even as PyTorch does, with derivative 0.
func Round(x *Node) *Node { return Apply(roundOp, x) }

// ReLU is max(x, 0), with derivative 0 at 0.
func ReLU(x *Node) *Node { return Apply(reluOp, x) }

var negOp, expOp, logOp, log1pOp, expm1Op, sqrtOp, rsqrtOp, reciprocalOp, squareOp, sinOp, cosOp, tanOp,
	asinOp, acosOp, atanOp, sinhOp, coshOp, asinhOp, acoshOp, erfcOp, lgammaOp, digammaOp, isFiniteOp, isNaNOp,
	tanhOp, atanhOp, sigmoidOp, softplusOp, erfOp, absOp, signOp, floorOp, roundOp, reluOp *Primitive

func init() {
	negOp = unary("neg", func(x float64) float64 { return -x }, func(x, y, t *Node) *Node { return Neg(t) })
	expOp = unary("exp", math.Exp, func(x, y, t *Node) *Node { return Mul(t, y) })
	logOp = unary("log", math.Log, func(x, y, t *Node) *Node { return Div(t, x) })
	log1pOp = unary("log1p", math.Log1p, func(x, y, t *Node) *Node { return Div(t, Shift(x, 1)) })
	expm1Op = unary("expm1", math.Expm1, func(x, y, t *Node) *Node { return Mul(t, Shift(y, 1)) })
	sqrtOp = unary("sqrt", math.Sqrt, func(x, y, t *Node) *Node { return Div(t, Scale(y, 2)) })
	rsqrtOp = unary("rsqrt", rsqrt, func(x, y, t *Node) *Node { return Scale(Mul(t, Mul(y, Mul(y, y))), -0.5) })
	reciprocalOp = unary("reciprocal", func(x float64) float64 { return 1 / x }, func(x, y, t *Node) *Node { return Neg(Mul(t, Mul(y, y))) })
	squareOp = unary("square", func(x float64) float64 { return x * x }, func(x, y, t *Node) *Node { return Mul(t, Scale(x, 2)) })
	sinOp = unary("sin", math.Sin, func(x, y, t *Node) *Node { return Mul(t, Cos(x)) })
	cosOp = unary("cos", math.Cos, func(x, y, t *Node) *Node { return Neg(Mul(t, Sin(x))) })
	tanOp = unary("tan", math.Tan, func(x, y, t *Node) *Node { return Mul(t, Shift(Square(y), 1)) })
	asinOp = unary("asin", math.Asin, func(x, y, t *Node) *Node { return Mul(t, Rsqrt(OneMinus(Square(x)))) })
	acosOp = unary("acos", math.Acos, func(x, y, t *Node) *Node { return Neg(Mul(t, Rsqrt(OneMinus(Square(x))))) })
	atanOp = unary("atan", math.Atan, func(x, y, t *Node) *Node { return Div(t, Shift(Square(x), 1)) })
	sinhOp = unary("sinh", math.Sinh, func(x, y, t *Node) *Node { return Mul(t, Cosh(x)) })
	coshOp = unary("cosh", math.Cosh, func(x, y, t *Node) *Node { return Mul(t, Sinh(x)) })
	asinhOp = unary("asinh", math.Asinh, func(x, y, t *Node) *Node { return Mul(t, Rsqrt(Shift(Square(x), 1))) })
	acoshOp = unary("acosh", math.Acosh, func(x, y, t *Node) *Node { return Mul(t, Rsqrt(Shift(Square(x), -1))) })
	erfcOp = unary("erfc", math.Erfc, func(x, y, t *Node) *Node { return Mul(t, Scale(Exp(Neg(Square(x))), -2/math.SqrtPi)) })
	lgammaOp = unary("lgamma", lgamma, func(x, y, t *Node) *Node { return Mul(t, Digamma(x)) })
	digammaOp = unary("digamma", digamma, func(x, y, t *Node) *Node { return Mul(t, Polygamma(1, x)) })
	isFiniteOp = unary("is_finite", func(x float64) float64 { return oneIf(x-x == 0) }, nil)
	isNaNOp = unary("is_nan", func(x float64) float64 { return oneIf(x != x) }, nil)
	tanhOp = unary("tanh", math.Tanh, func(x, y, t *Node) *Node { return Mul(t, OneMinus(Square(y))) })
	atanhOp = unary("atanh", math.Atanh, func(x, y, t *Node) *Node { return Div(t, OneMinus(Square(x))) })
	sigmoidOp = unary("sigmoid", sigmoid, func(x, y, t *Node) *Node { return Mul(t, Mul(y, Sigmoid(Neg(x)))) })
	softplusOp = unary("softplus", softplus, func(x, y, t *Node) *Node { return Mul(t, Sigmoid(x)) })
	erfOp = unary("erf", math.Erf, func(x, y, t *Node) *Node { return Mul(t, Scale(Exp(Neg(Square(x))), 2/math.SqrtPi)) })
	absOp = unary("abs", math.Abs, func(x, y, t *Node) *Node { return Mul(t, Sign(x)) })
	signOp = unary("sign", sign, nil)
	floorOp = unary("floor", math.Floor, nil)
	roundOp = unary("round", math.RoundToEven, nil)
	reluOp = unary("relu", func(x float64) float64 { return max(x, 0) }, func(x, y, t *Node) *Node { return Mul(t, Greater(x, Const(x, 0))) })
}

// Add is a + b with NumPy broadcasting, as in all binary ops.
func Add(a, b *Node) *Node { return Apply(addOp, a, b) }

// Sub is a - b.
func Sub(a, b *Node) *Node { return Apply(subOp, a, b) }

// Mul is the elementwise product.
func Mul(a, b *Node) *Node { return Apply(mulOp, a, b) }

// Div is the elementwise quotient.
func Div(a, b *Node) *Node { return Apply(divOp, a, b) }

// Pow is a^b. Where b is 0 the derivative with respect to a is 0, and where a is 0 and b is not negative that with
// respect to b is 0, as in PyTorch.
func Pow(a, b *Node) *Node { return Apply(powOp, a, b) }

// Maximum is the larger of a and b, NaN if either is NaN.
func Maximum(a, b *Node) *Node { return Apply(maximumOp, a, b) }

// Minimum is the smaller of a and b, NaN if either is NaN.
func Minimum(a, b *Node) *Node { return Apply(minimumOp, a, b) }

// Atan2 is the angle in (-π, π] of the point with abscissa b and ordinate a; its derivative at the origin is NaN.
func Atan2(a, b *Node) *Node { return Apply(atan2Op, a, b) }

// LogAddExp is log(e^a + e^b), without overflow.
func LogAddExp(a, b *Node) *Node { return Apply(logAddExpOp, a, b) }

// Equal is 1 where a = b and 0 elsewhere, in the operands' type; so the other comparisons. Their derivative is 0.
func Equal(a, b *Node) *Node { return Apply(equalOp, a, b) }

// NotEqual is 1 where a ≠ b.
func NotEqual(a, b *Node) *Node { return Apply(notEqualOp, a, b) }

// Less is 1 where a < b.
func Less(a, b *Node) *Node { return Apply(lessOp, a, b) }

// LessEqual is 1 where a ≤ b.
func LessEqual(a, b *Node) *Node { return Apply(lessEqualOp, a, b) }

// Greater is 1 where a > b.
func Greater(a, b *Node) *Node { return Apply(greaterOp, a, b) }

// GreaterEqual is 1 where a ≥ b.
func GreaterEqual(a, b *Node) *Node { return Apply(greaterEqualOp, a, b) }

var addOp, subOp, mulOp, divOp, powOp, atan2Op, logAddExpOp, maximumOp, minimumOp, equalOp, notEqualOp, lessOp, lessEqualOp,
	greaterOp, greaterEqualOp *Primitive

func init() {
	addOp = binary("add", func(a, b float64) float64 { return a + b },
		func(a, b, y, t *Node) (*Node, *Node) { return t, t })
	subOp = binary("sub", func(a, b float64) float64 { return a - b },
		func(a, b, y, t *Node) (*Node, *Node) { return t, Neg(t) })
	mulOp = binary("mul", func(a, b float64) float64 { return a * b },
		func(a, b, y, t *Node) (*Node, *Node) { return Mul(t, b), Mul(t, a) })
	divOp = binary("div", func(a, b float64) float64 { return a / b },
		func(a, b, y, t *Node) (*Node, *Node) { return Div(t, b), Neg(Mul(t, Div(y, b))) })
	powOp = binary("pow", math.Pow,
		func(a, b, y, t *Node) (*Node, *Node) {
			zero := Const(a, 0)
			da := Where(Equal(b, zero), zero, Mul(b, Pow(a, Shift(b, -1))))
			db := Where(Mul(Equal(a, zero), GreaterEqual(b, zero)), zero, Mul(y, Log(a)))
			return Mul(t, da), Mul(t, db)
		})
	maximumOp = binary("maximum", maximum, func(a, b, y, t *Node) (*Node, *Node) { return Mul(t, share(a, b)), Mul(t, share(b, a)) })
	minimumOp = binary("minimum", minimum, func(a, b, y, t *Node) (*Node, *Node) { return Mul(t, share(b, a)), Mul(t, share(a, b)) })
	atan2Op = binary("atan2", math.Atan2, func(a, b, y, t *Node) (*Node, *Node) {
		u := Div(t, Add(Square(a), Square(b)))
		return Mul(u, b), Neg(Mul(u, a))
	})
	logAddExpOp = binary("logaddexp", logAddExp, func(a, b, y, t *Node) (*Node, *Node) {
		return Mul(t, Sigmoid(Sub(a, b))), Mul(t, Sigmoid(Sub(b, a)))
	})
	equalOp = comparison("equal", func(a, b float64) bool { return a == b })
	notEqualOp = comparison("not_equal", func(a, b float64) bool { return a != b })
	lessOp = comparison("less", func(a, b float64) bool { return a < b })
	lessEqualOp = comparison("less_equal", func(a, b float64) bool { return a <= b })
	greaterOp = comparison("greater", func(a, b float64) bool { return a > b })
	greaterEqualOp = comparison("greater_equal", func(a, b float64) bool { return a >= b })
}

// share is the weight of a in the derivative of max(a, b): 1 where it wins, 1/2 where they are equal.
func share(a, b *Node) *Node { return Scale(Add(Greater(a, b), GreaterEqual(a, b)), 0.5) }

// Where is a where cond is not 0 and b elsewhere, with broadcasting. What is not chosen has no influence on the
// derivative, but a NaN in its own derivative still spoils the product: guard the operand as well.
func Where(cond, a, b *Node) *Node { return Apply(whereOp, cond, a, b) }

var whereOp *Primitive

func init() {
	whereOp = &Primitive{
		Name:        "where",
		Elementwise: true,
		form:        whereForm{},
		Type: func(in []Type) (Type, error) {
			if !in[0].IsFloat() {
				return Type{}, fail("where", "cond", "float32 or float64", in[0])
			}
			t, err := broadcastType("where", in[1:])
			if err != nil {
				return Type{}, err
			}
			if t.IsFloat() && in[0].DType != t.DType {
				return Type{}, fail("where", "cond", t.DType, in[0])
			}
			return broadcastType("where", []Type{{t.DType, in[0].Shape}, t})
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			switch {
			case out.DType == Float32 && in[0].DType == Float32:
				return whereKernel[float32, float32](out, in), nil
			case out.DType == Float64 && in[0].DType == Float64:
				return whereKernel[float64, float64](out, in), nil
			case out.DType == Int && in[0].DType == Float32:
				return whereKernel[float32, int](out, in), nil
			}
			return whereKernel[float64, int](out, in), nil
		},
		VJP: func(y, dy *Node, x []*Node) []*Node {
			zero := Const(dy, 0)
			return []*Node{nil, SumTo(Where(x[0], dy, zero), ShapeOf(x[1])), SumTo(Where(x[0], zero, dy), ShapeOf(x[2]))}
		},
		JVP: func(y *Node, x, dx []*Node) *Node {
			if dx[1] == nil && dx[2] == nil {
				return nil
			}
			zero := Const(y, 0)
			return broadcastTo(Where(x[0], orZero(dx[1], zero), orZero(dx[2], zero)), ShapeOf(y))
		},
	}
}

func orZero(n, zero *Node) *Node {
	if n == nil {
		return zero
	}
	return n
}

// unary makes the primitive of a function of one variable.
func unary(name string, f func(float64) float64, d func(x, y, t *Node) *Node) *Primitive {
	p := &Primitive{
		Name:        name,
		Elementwise: true,
		form:        unaryForm{f},
		Type:        func(in []Type) (Type, error) { return in[0], needFloat(name, in) },
		Kernel: func(out Type, in []Type) (Kernel, error) {
			if out.DType == Float32 {
				return unaryKernel(unaryLoop[float32](name, f)), nil
			}
			return unaryKernel(unaryLoop[float64](name, f)), nil
		},
	}
	if d != nil {
		p.VJP = func(y, dy *Node, x []*Node) []*Node { return []*Node{d(x[0], y, dy)} }
		p.JVP = func(y *Node, x, dx []*Node) *Node { return d(x[0], y, dx[0]) }
	}
	return p
}

// binary makes the primitive of a function of two variables, with broadcasting.
func binary(name string, f func(a, b float64) float64, d func(a, b, y, t *Node) (*Node, *Node)) *Primitive {
	p := &Primitive{
		Name:        name,
		Elementwise: true,
		form:        binaryForm{f},
		Type: func(in []Type) (Type, error) {
			if err := needFloat(name, in); err != nil {
				return Type{}, err
			}
			return broadcastType(name, in)
		},
		Kernel: func(out Type, in []Type) (Kernel, error) {
			if out.DType == Float32 {
				return binaryKernel(out, in, binaryLoop[float32](name, f)), nil
			}
			return binaryKernel(out, in, binaryLoop[float64](name, f)), nil
		},
	}
	if d != nil {
		p.VJP = func(y, dy *Node, x []*Node) []*Node {
			da, db := d(x[0], x[1], y, dy)
			return []*Node{SumTo(da, ShapeOf(x[0])), SumTo(db, ShapeOf(x[1]))}
		}
		p.JVP = func(y *Node, x, dx []*Node) *Node {
			var t *Node
			if dx[0] != nil {
				t, _ = d(x[0], x[1], y, dx[0])
			}
			if dx[1] != nil {
				_, db := d(x[0], x[1], y, dx[1])
				t = plus(t, db)
			}
			return broadcastTo(t, ShapeOf(y))
		}
	}
	return p
}

func comparison(name string, f func(a, b float64) bool) *Primitive {
	return binary(name, func(a, b float64) float64 { return oneIf(f(a, b)) }, nil)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// plus adds two tangents or cotangents of which either may be nil, that is zero.
func plus(a, b *Node) *Node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return Add(a, b)
}

func needFloat(op string, in []Type) error {
	for i, t := range in {
		if !t.IsFloat() {
			return fail(op, fmt.Sprintf("operand %d", i), "float32 or float64", t)
		}
	}
	return nil
}

// broadcastType is the common type of operands under NumPy's broadcasting rules.
func broadcastType(op string, in []Type) (Type, error) {
	shape := in[0].Shape
	for i, t := range in {
		if t.DType != in[0].DType {
			return Type{}, fail(op, fmt.Sprintf("operand %d", i), in[0].DType, t)
		}
		s, ok := broadcastShapes(shape, t.Shape)
		if !ok {
			return Type{}, fail(op, fmt.Sprintf("operand %d", i), fmt.Sprintf("a shape that broadcasts with %v", shape), t.Shape)
		}
		shape = s
	}
	return Type{in[0].DType, shape}, nil
}

func broadcastShapes(a, b []int) ([]int, bool) {
	if len(a) < len(b) {
		a, b = b, a
	}
	s := slices.Clone(a)
	for i, d := range b {
		j := len(a) - len(b) + i
		switch {
		case s[j] == d || d == 1:
		case s[j] == 1:
			s[j] = d
		default:
			return nil, false
		}
	}
	return s, true
}

func rsqrt(x float64) float64 { return 1 / math.Sqrt(x) }

func sigmoid(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + math.Exp(-x))
	}
	e := math.Exp(x)
	return e / (1 + e)
}

func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x // ±0 and NaN stay
}

func maximum(a, b float64) float64 {
	if math.IsNaN(a) || math.IsNaN(b) {
		return math.NaN()
	}
	return max(a, b)
}

func minimum(a, b float64) float64 { return -maximum(-a, -b) }
