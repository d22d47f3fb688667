package layers

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// transported is the plan of a cost [m][n], and the derivative by the cost of its product with dx, if that is not nil.
func transported(t *testing.T, cost [][]float64, mass, gamma float64, dx []float64) (plan, slope []float64) {
	t.Helper()
	m, n := len(cost), len(cost[0])
	var c, x *graph.Node
	var out []*graph.Node
	g, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
		c = s.Input("cost", graph.Float64, 1, m, n)
		x = PartialTransport(c, mass, gamma)
		out = []*graph.Node{x}
		if dx != nil {
			out = append(out, graph.VJP(out, []*graph.Node{graph.Literal(x, graph.ArrayOf(dx, 1, m+1, n))}, []*graph.Node{c})...)
		}
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(out...)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Array(c).Float64s(), slices.Concat(cost...))
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if dx != nil {
		slope = p.Array(out[1]).Float64s()
	}
	return p.Array(x).Float64s(), slope
}

func closeTo(t *testing.T, what string, want, got []float64, within float64) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%s: want %d numbers, got %d", what, len(want), len(got))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= within) {
			t.Errorf("%s %d: want %.10g, got %.10g", what, i, want[i], got[i])
		}
	}
}

var cost2x4 = [][]float64{{0.1, 0.9, 1.2, 0.5}, {1, 0.2, 1.1, 0.6}}

func TestPartialTransport(t *testing.T) {
	plan, _ := transported(t, cost2x4, 0.3, 5, nil)
	closeTo(t, "plan", []float64{
		0.112623, 0.142547, 0.246777, 0.198052,
		0.135867, 0.003150, 0.001217, 0.032335,
		0.001509, 0.104303, 0.002006, 0.019612}, plan, 6e-7)
	dx := []float64{1, -2, 0.5, 0, 0.3, 1, -1, 2, -1, 0.5, 0, 1.5}
	_, slope := transported(t, cost2x4, 0.3, 5, dx)
	closeTo(t, "derivative", []float64{0.5407313, -0.0204873, 0.0155674, -0.1236254, 0.0158178, -0.4176887, 0.0156365, -0.0259516}, slope, 6e-8)
	dx = []float64{0.12573022, -0.13210486, 0.64042265, 0.10490012, -0.53566937, 0.36159505, 1.30400005, 0.94708096, -0.70373524, -1.26542147, -0.62327446, 0.04132598}
	_, slope = transported(t, cost2x4, 0.3, 5, dx)
	closeTo(t, "derivative for another cotangent", []float64{0.039687, -0.024705}, []float64{slope[0], slope[7]}, 6e-7)
	for _, c := range []struct {
		mass, gamma float64
	}{{0.3, 5}, {0.01, 1}, {0.999, 3}, {0.5, 50}, {0.25, 1e4}, {0.6, 1e-6}} {
		plan, _ := transported(t, cost2x4, c.mass, c.gamma, nil)
		moved := 0.0
		for i := range 4 {
			if sum := plan[i] + plan[i+4] + plan[i+8]; math.Abs(sum-0.25) > 1e-14 {
				t.Errorf("%v: position %d has %v", c, i, sum)
			}
			moved += plan[i+4] + plan[i+8]
		}
		if math.Abs(moved-c.mass) > 1e-13 {
			t.Errorf("%v: %v was moved", c, moved)
		}
		for i := range 4 { // stationary: γ c + log π - log ρ is one number
			for j := range 2 {
				if pi := plan[i+4*(j+1)]; plan[i] > 1e-12 && pi > 1e-12 {
					price := c.gamma*cost2x4[j][i] + math.Log(pi/plan[i])
					first := c.gamma*cost2x4[0][0] + math.Log(plan[4]/plan[0])
					if plan[0] > 1e-12 && math.Abs(price-first) > 1e-9*math.Max(1, math.Abs(first)) {
						t.Errorf("%v: prices %v and %v", c, first, price)
					}
				}
			}
		}
	}
	gradcheck.Check(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return PartialTransport(x[0], 0.4, 3) }, gradcheck.Positive(1, 2, 3, 4))
}

// pooled is what Pool gives in float64 with given prototypes.
func pooled(t *testing.T, l GeneralizedSumPooling, prototypes, x *graph.Array) (y, attributes, weights []float64) {
	t.Helper()
	params := &graph.Params{DType: graph.Float64}
	if err := params.Add(&graph.Param{Name: "sumpool1/prototypes", Value: prototypes}); err != nil {
		t.Fatal(err)
	}
	var in, out, a, w *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		in = s.Input("x", graph.Float64, x.Shape...)
		out, a, w = l.Pool(s, in)
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(out, a, w)
	if err != nil {
		t.Fatal(err)
	}
	p.Array(in).CopyFrom(x)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return p.Array(out).Float64s(), p.Array(a).Float64s(), p.Array(w).Float64s()
}

func TestGeneralizedSumPooling(t *testing.T) {
	// Weights and attributes of a worked plan.
	plan, _ := transported(t, cost2x4, 0.3, 5, nil)
	var weights, attributes []float64
	for i := range 4 {
		weights = append(weights, (1-4*plan[i])/0.3)
	}
	for j := range 2 {
		attributes = append(attributes, (plan[4*j+4]+plan[4*j+5]+plan[4*j+6]+plan[4*j+7])/0.3)
	}
	closeTo(t, "weights", []float64{1.831689, 1.432706, 0.042968, 0.692637}, weights, 6e-7)
	closeTo(t, "attributes", []float64{0.575230, 0.424770}, attributes, 6e-7)

	const n, d, m = 6, 3, 4
	x, w := gradcheck.Normal(1, 1, n, d), gradcheck.Normal(2, m, d)
	average := make([]float64, d)
	for i := range n * d {
		average[i%d] += x.At(i) / n
	}
	for _, l := range []GeneralizedSumPooling{{Gamma: 1e-9}, {Mass: 1 - 1e-9}} {
		l.Prototypes = m
		y, _, weights := pooled(t, l, w, x)
		closeTo(t, fmt.Sprint("average pooling, ", l), average, y, 1e-8)
		closeTo(t, fmt.Sprint("weights of average pooling, ", l), slices.Repeat([]float64{1}, n), weights, 1e-8)
	}
	l := GeneralizedSumPooling{Prototypes: m}
	y, a, weights := pooled(t, l, w, x)
	direct := make([]float64, d)
	mean := 0.0
	for i := range n {
		mean += weights[i] / n
		for j := range d {
			direct[j] += weights[i] * x.At(i*d+j) / n
		}
	}
	closeTo(t, "pooled", direct, y, 1e-14)
	closeTo(t, "sums", []float64{1, 1}, []float64{mean, a[0] + a[1] + a[2] + a[3]}, 1e-13)
	// The weights are those of the plan for distances of shortened vectors.
	cost := make([][]float64, m)
	short := func(v []float64) []float64 {
		r := math.Max(1, math.Sqrt(v[0]*v[0]+v[1]*v[1]+v[2]*v[2]))
		return []float64{v[0] / r, v[1] / r, v[2] / r}
	}
	for j := range m {
		for i := range n {
			p, q := short(w.Float64s()[j*d:j*d+d]), short(x.Float64s()[i*d:i*d+d])
			cost[j] = append(cost[j], math.Sqrt((p[0]-q[0])*(p[0]-q[0])+(p[1]-q[1])*(p[1]-q[1])+(p[2]-q[2])*(p[2]-q[2])))
		}
	}
	plan, _ = transported(t, cost, 0.3, 5, nil)
	for i := range n {
		closeTo(t, "weight", []float64{(1 - n*plan[i]) / 0.3}, weights[i:i+1], 1e-12)
	}
	// Every feature twice; positions in another order; images.
	double := graph.ArrayOf(slices.Concat(x.Float64s(), x.Float64s()), 1, 2*n, d)
	again, _, _ := pooled(t, l, w, double)
	closeTo(t, "doubled", y, again, 1e-13)
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	moved, image := graph.NewArray(graph.Float64, 1, n, d), graph.NewArray(graph.Float64, 1, d, 2, n/2)
	var want []float64
	for i, from := range order {
		copy(moved.Float64s()[i*d:i*d+d], x.Float64s()[from*d:from*d+d])
		want = append(want, weights[from])
	}
	for i := range n * d {
		image.Set(i%d*n+i/d, x.At(i))
	}
	_, _, permuted := pooled(t, l, w, moved)
	closeTo(t, "permuted weights", want, permuted, 1e-13)
	ofImage, _, _ := pooled(t, l, w, image)
	closeTo(t, "image", y, ofImage, 1e-13)
	// A prototype on one feature, the others far: that feature takes what it can, 1/μ.
	near := graph.ArrayOf([]float64{0, 0, 0.5, 0.9, 0, 0, -0.9, 0, 0, 0, 0.9, 0}, 1, 4, 3)
	_, _, sharp := pooled(t, GeneralizedSumPooling{Prototypes: 1, Gamma: 1e3}, graph.ArrayOf([]float64{0, 0, 0.5}, 1, 3), near)
	closeTo(t, "sharp weight", []float64{1 / 0.3}, sharp[:1], 1e-9)

	check := func(s *graph.Scope, x []*graph.Node) *graph.Node {
		y, a, w := GeneralizedSumPooling{Prototypes: 3}.Pool(s, x[0])
		return graph.Concat(1, y, a, w)
	}
	gradcheck.Check(t, check, gradcheck.Normal(1, 2, 4, 3))
	gradcheck.Check(t, check, gradcheck.Normal(1, 2, 3, 2, 2))
}

// Features at prototypes, of any size, and sharp decisions give finite numbers.
func TestGeneralizedSumPoolingExtremes(t *testing.T) {
	for _, gamma := range []float64{5, 1e6} {
		for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
			var x, y *graph.Node
			var slopes []*graph.Node
			g, err := graph.Build(&graph.Params{DType: dtype}, func(s *graph.Scope) {
				x = s.Input("x", dtype, 2, 4, 2)
				l := GeneralizedSumPooling{Prototypes: 2, Gamma: gamma}
				p, a, _ := l.Pool(s, x)
				y = graph.Add(graph.Sum(p), graph.Sum(graph.Square(a)))
				slopes = graph.Grad(y, x, s.Root().Layer("sumpool", "").Param("prototypes", nil, 2, 2))
			})
			if err != nil {
				t.Fatal(err)
			}
			p, err := g.Compile(append(slopes, y)...)
			if err != nil {
				t.Fatal(err)
			}
			copyInto(p.Array(x), 0, 0, 1e4, -1e4, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			for q := range g.Params.All() {
				copyInto(q.Value, 0, 0, 1, 0)
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			for _, n := range append(slopes, y) {
				for i := range p.Array(n).Size() {
					if v := p.Array(n).At(i); v-v != 0 {
						t.Errorf("γ = %v, %v: %v", gamma, dtype, p.Array(n))
						break
					}
				}
			}
		}
	}
}

func copyInto(a *graph.Array, values ...float64) {
	for i, v := range values {
		a.Set(i, v)
	}
}

func TestKCenters(t *testing.T) {
	x := graph.ArrayOf([]float64{0, 0, 1, 0, 10, 0, 10, 1, 0, 9}, 5, 2)
	got, err := KCenters(x, 3)
	if err != nil {
		t.Fatal(err)
	}
	// The mean is (4.2, 2): (0, 9) is farthest from it, (10, 0) from that, (0, 0) from both.
	closeTo(t, "centers", []float64{0, 9, 10, 0, 0, 0}, got.Float64s(), 0)
	var e *graph.Error
	if _, err := KCenters(x, 6); !errors.As(err, &e) {
		t.Errorf("too many centers: %v", err)
	}
}

func TestGeneralizedSumPoolingErrors(t *testing.T) {
	for arg, f := range map[string]func(s *graph.Scope, x *graph.Node){
		"mass":  func(s *graph.Scope, x *graph.Node) { GeneralizedSumPooling{Mass: 1}.Apply(s, x) },
		"gamma": func(s *graph.Scope, x *graph.Node) { GeneralizedSumPooling{Gamma: -1}.Apply(s, x) },
		"input": func(s *graph.Scope, x *graph.Node) { GeneralizedSumPooling{}.Apply(s, graph.Reshape(x, 8, 3)) },
	} {
		_, err := graph.Build(nil, func(s *graph.Scope) { f(s, s.Input("x", graph.Float32, 2, 4, 3)) })
		var e *graph.Error
		if !errors.As(err, &e) || e.Arg != arg {
			t.Errorf("%s: got %v", arg, err)
		}
	}
}
