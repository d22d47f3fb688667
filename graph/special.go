package graph

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// The special functions of the table that the standard library does not have.

func lgamma(x float64) float64 {
	if math.IsInf(x, 0) { // math.Lgamma(-Inf) is -Inf, C's lgamma +Inf
		return math.Inf(1)
	}
	y, _ := math.Lgamma(x)
	return y
}

// digamma is ψ: by reflection to positive x, by recurrence to x >= 10, there by its asymptotic series (NIST Digital
// Library of Mathematical Functions, 5.5.2, 5.5.4, 5.11.2). NaN at its poles but for 0, where it is infinite.
func digamma(x float64) float64 {
	switch {
	case x == 0:
		return math.Copysign(math.Inf(1), -x)
	case x < 0 && x == math.Floor(x):
		return math.NaN()
	case x < 0:
		_, r := math.Modf(x)
		return digamma(1-x) - math.Pi/math.Tan(math.Pi*r)
	}
	var y float64
	for ; x < 10; x++ {
		y -= 1 / x
	}
	z := 1 / (x * x)
	series := z * (1.0/12 - z*(1.0/120-z*(1.0/252-z*(1.0/240-z*(1.0/132-z*(691.0/32760-z/12))))))
	return y + math.Log(x) - 0.5/x - series
}

// polygammaOp is (-1)^(n+1)·n!·ζ(n+1, x), with Hurwitz' ζ.
func polygammaOp(n int) *Primitive {
	sign := float64(2*(n%2) - 1)
	f := func(x float64) float64 {
		switch {
		case x != x || math.IsInf(x, -1):
			return math.NaN()
		case x <= 0 && x == math.Floor(x):
			return math.Inf(int(sign)) // the limit from above
		}
		return sign * math.Gamma(float64(n+1)) * mathext.Zeta(float64(n+1), x)
	}
	p := unary("polygamma", f, func(x, y, t *Node) *Node { return Mul(t, Polygamma(n+1, x)) })
	p.Attrs = n
	return p
}

func logAddExp(a, b float64) float64 {
	if a == b {
		return a + math.Ln2 // also for infinities
	}
	return max(a, b) + math.Log1p(math.Exp(-math.Abs(a-b)))
}
