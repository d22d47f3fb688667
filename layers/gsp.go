package layers

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// GeneralizedSumPooling turns the features at n positions into one vector by weights that a small transport problem
// chooses: positions whose features are far from all of the trained prototypes count little (Y. Gürbüz et al. 2023,
// arXiv 2308.09228). It takes the place of GlobalAvgPool2D: x [batch, channels, height, width] or [batch, n, features]
// to [batch, features]. The parameter is "prototypes" [prototypes, features].
type GeneralizedSumPooling struct {
	Prototypes int     // 0 means 64
	Mass       float64 // μ, the part of the positions that counts, between 0 and 1; 0 means 0.3. Near 1 all count equally
	Gamma      float64 // how sharply distance decides; 0 means 5, near 0 all positions count equally
	Name       string
}

// Apply is the pooled features' node.
func (l GeneralizedSumPooling) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	pooled, _, _ := l.Pool(s, x)
	return pooled
}

// Pool is the pooled features [batch, features], (1/n) Σ_i w_i f_i; the attributes [batch, prototypes], how much of the
// mass went to each prototype, of sum 1; and the weights w [batch, n], of mean 1 and at most 1/Mass.
func (l GeneralizedSumPooling) Pool(s *graph.Scope, x *graph.Node) (pooled, attributes, weights *graph.Node) {
	const op = "generalized_sum_pooling"
	needRank(op, x, 3, 4, "[batch, n, features] or [batch, channels, height, width]")
	shape := graph.ShapeOf(x)
	channels := len(shape) == 4
	if channels {
		shape = []int{shape[0], shape[2] * shape[3], shape[1]}
		x = graph.Reshape(x, shape[0], shape[2], shape[1])
	}
	m, mass := or(l.Prototypes, 64), or(l.Mass, 0.3)
	n, d := shape[1], shape[2]
	s = s.Layer("sumpool", l.Name)
	w := s.Param("prototypes", graph.NormalInit(1/math.Sqrt(float64(max(d, 1)))), m, d)
	axis, perm := 2, []int{0, 1, 2}
	if channels {
		axis, perm = 1, []int{0, 2, 1}
	}
	f := graph.Transpose(LipschitzL2{Axis: axis}.Apply(s, x), perm...)
	plan := PartialTransport(prototypeDistances(LipschitzL2{}.Apply(s, w), f), mass, or(l.Gamma, 5))
	pi := graph.Slice(plan, 1, 1, m+1, 1)
	// 1 - n ρ is n Σ_j π_j, without the cancellation.
	weights = graph.Scale(graph.Sum(pi, 1), float64(n)/mass)
	attributes = graph.Scale(graph.Sum(pi, 2), 1/mass)
	if channels {
		pooled = graph.MatMul(x, graph.Reshape(weights, shape[0], n, 1))
	} else {
		pooled = graph.MatMul(graph.Reshape(weights, shape[0], 1, n), x)
	}
	return graph.Scale(graph.Reshape(pooled, shape[0], d), 1/float64(n)), attributes, weights
}

// prototypeDistances are the distances of w [m, features] and f [batch, n, features], [batch, m, n]; their derivative at
// 0 is taken as 0.
func prototypeDistances(w, f *graph.Node) *graph.Node {
	shape, m := graph.ShapeOf(f), graph.ShapeOf(w)[0]
	ww := graph.Reshape(graph.Sum(graph.Square(w), 1), 1, m, 1)
	ff := graph.Reshape(graph.Sum(graph.Square(f), 2), shape[0], 1, shape[1])
	squared := graph.Sub(graph.Add(ww, ff), graph.Scale(graph.MatMulT(w, f, false, true), 2))
	zero := graph.Const(squared, 0)
	apart := graph.Greater(squared, zero)
	return graph.Where(apart, graph.Sqrt(graph.Where(apart, squared, graph.Const(squared, 1))), zero)
}

// LipschitzL2 is x/max(1, |x|) along an axis: vectors are shortened to length 1, never stretched.
type LipschitzL2 struct {
	Axis int // 0 means the last one
}

// Apply makes the result's node.
func (l LipschitzL2) Apply(_ *graph.Scope, x *graph.Node) *graph.Node {
	return graph.Normalize(x, 1, or(l.Axis, -1))
}

// PartialTransport moves the part mass of n positions of 1/n each to m prototypes, at the cost of each to each [batch, m,
// n]: the plan [batch, m+1, n] whose row 0 is what stays, ρ, and whose other rows are what moves, π, is the minimum of
//
//	Σ cost·π + 1/gamma (Σ π log π + Σ ρ log ρ),  ρ_i + Σ_j π_ji = 1/n,  Σ π = mass,  0 < mass < 1
//
// (Y. Gürbüz et al. 2023, arXiv 2308.09228, eq. 4.1): ρ_i = sigmoid(-u_i)/n and π_ji = e^{τ - gamma·cost_ji} ρ_i with u_i =
// τ + log Σ_j e^{-gamma·cost_ji}, and τ such that the mass is right, found by Newton's method. The reverse rule is that of
// the solution (the paper's claim 4.2), not of the steps that led there.
func PartialTransport(cost *graph.Node, mass, gamma float64) *graph.Node {
	const op = "partial_transport"
	needRank(op, cost, 3, 3, "[batch, prototypes, n]")
	if !(mass > 0 && mass < 1) {
		panic(graph.Fail(op, "mass", "above 0 and below 1", mass))
	}
	if !(gamma > 0) {
		panic(graph.Fail(op, "gamma", "above 0", gamma))
	}
	plan := graph.Apply(transportOp(mass, gamma), cost)
	shape := graph.ShapeOf(plan)
	m, n := shape[1]-1, shape[2]
	// With w the column sums of π and q those of dX·π, and g = dX·X: b is the change of the common price, h that of a
	// position's.
	return graph.CustomVJP(plan, []*graph.Node{cost}, func(plan, dy *graph.Node, _ []*graph.Node) []*graph.Node {
		part := func(x *graph.Node) (stay, move *graph.Node) {
			return graph.Slice(x, 1, 0, 1, 1), graph.Slice(x, 1, 1, m+1, 1)
		}
		sum := func(x *graph.Node, axes ...int) *graph.Node {
			return graph.KeepDims(graph.Sum(x, axes...), graph.ShapeOf(x), axes...)
		}
		rho, pi := part(plan)
		g0, g := part(graph.Mul(plan, dy))
		w, q := sum(pi, 1), sum(g, 1)
		free := sum(graph.Mul(rho, w), 1, 2)
		stuck := graph.Equal(free, graph.Const(free, 0)) // every position stays or goes whole
		b := graph.Div(sum(graph.Sub(graph.Mul(rho, q), graph.Mul(g0, w)), 1, 2), graph.Where(stuck, graph.Const(free, 1), free))
		h := graph.Scale(graph.Add(graph.Add(g0, q), graph.Mul(b, rho)), float64(n))
		return []*graph.Node{graph.Scale(graph.Sub(g, graph.Mul(h, pi)), -gamma)}
	})
}

type transportAttrs struct{ Mass, Gamma float64 }

func transportOp(mass, gamma float64) *graph.Primitive {
	return &graph.Primitive{
		Name:  "partial_transport",
		Attrs: transportAttrs{mass, gamma},
		Type: func(in []graph.Type) (graph.Type, error) {
			s := in[0].Shape
			if len(s) != 3 || !in[0].IsFloat() || s[1] < 1 || s[2] < 1 {
				return graph.Type{}, graph.Fail("partial_transport", "cost", "[batch, prototypes, n] of a floating-point type", in[0])
			}
			return graph.Type{DType: in[0].DType, Shape: []int{s[0], s[1] + 1, s[2]}}, nil
		},
		Kernel: func(_ graph.Type, in []graph.Type) (graph.Kernel, error) {
			if in[0].DType == graph.Float32 {
				return transportKernel[float32](mass, gamma, in[0].Shape), nil
			}
			return transportKernel[float64](mass, gamma, in[0].Shape), nil
		},
	}
}

func transportKernel[T graph.Float](mass, gamma float64, shape []int) graph.Kernel {
	m, n := shape[1], shape[2]
	logS := make([]float64, n)
	return func(out *graph.Array, in []*graph.Array) error {
		costs, plans := graph.Data[T](in[0]), graph.Data[T](out)
		for at := range shape[0] {
			transport(plans[at*(m+1)*n:(at+1)*(m+1)*n], costs[at*m*n:(at+1)*m*n], logS, mass, gamma)
		}
		return nil
	}
}

// transport solves one problem; logS is room for log Σ_j e^{-gamma·cost_ji}.
func transport[T graph.Float](plan, cost []T, logS []float64, mass, gamma float64) {
	n := len(logS)
	low, high := math.Inf(1), math.Inf(-1)
	for i := range logS {
		least, sum := math.Inf(1), 0.0
		for j := i; j < len(cost); j += n {
			least = min(least, float64(cost[j]))
		}
		for j := i; j < len(cost); j += n {
			sum += math.Exp(-gamma * (float64(cost[j]) - least))
		}
		logS[i] = math.Log(sum) - gamma*least
		low, high = min(low, logS[i]), max(high, logS[i])
	}
	tau := price(logS, mass, low, high)
	for i, s := range logS {
		// log sigmoid(-u), without overflow
		u := tau + s
		logRho := -max(u, 0) - math.Log1p(math.Exp(-math.Abs(u))) - math.Log(float64(n))
		plan[i] = T(math.Exp(logRho))
		for j := i; j < len(cost); j += n {
			plan[j+n] = T(math.Exp(tau - gamma*float64(cost[j]) + logRho))
		}
	}
}

// price is the τ with mean_i sigmoid(τ + logS_i) = mass: Newton's method, with bisection where it leaves the interval that
// holds the solution.
func price(logS []float64, mass, low, high float64) float64 {
	odds := math.Log(mass) - math.Log1p(-mass)
	below, above := odds-high, odds-low
	tau := (below + above) / 2
	for range 200 {
		sum, slope := 0.0, 0.0
		for _, s := range logS {
			p := 1 / (1 + math.Exp(-tau-s))
			sum += p
			slope += p * (1 - p)
		}
		excess := sum - mass*float64(len(logS))
		if excess > 0 {
			above = tau
		} else {
			below = tau
		}
		next := tau - excess/slope
		if !(next > below && next < above) {
			next = (below + above) / 2
		}
		if next == tau || above-below <= 1e-15*math.Abs(tau) {
			break
		}
		tau = next
	}
	return tau
}

// KCenters chooses k rows of x [n, features] that cover the others: each next one is the row farthest from those chosen,
// after the one farthest from the mean (T. Gonzalez 1985). They are good first prototypes, [k, features].
func KCenters(x *graph.Array, k int) (*graph.Array, error) {
	if len(x.Shape) != 2 || !x.IsFloat() || k < 1 || k > x.Shape[0] {
		return nil, graph.Fail("k_centers", "k", "1 to the number of rows of x [n, features]", fmt.Sprintf("%d for %v", k, x.Type))
	}
	n, d := x.Shape[0], x.Shape[1]
	from := make([]float64, d)
	for i := range x.Size() {
		from[i%d] += x.At(i) / float64(n)
	}
	centers := graph.NewArray(x.DType, k, d)
	nearest := make([]float64, n)
	for c := range k {
		far := 0
		for i := range n {
			squared := 0.0
			for j, v := range from {
				squared += (x.At(i*d+j) - v) * (x.At(i*d+j) - v)
			}
			if c < 2 || squared < nearest[i] {
				nearest[i] = squared // the mean is no center
			}
			if nearest[i] > nearest[far] {
				far = i
			}
		}
		for j := range d {
			from[j] = x.At(far*d + j)
			centers.Set(c*d+j, from[j])
		}
	}
	return centers, nil
}
