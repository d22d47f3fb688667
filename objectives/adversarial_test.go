package objectives

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// linear is a model without bias of the given weights, [features, classes].
func linear(weight *graph.Node) func(x *graph.Node) *graph.Node {
	return func(x *graph.Node) *graph.Node { return graph.MatMul(x, weight) }
}

// For a linear model of two classes the margin changes by at most the radius times the dual norm of w_0 - w_1.
func TestSmoothAdversarial(t *testing.T) {
	w, x, y := gradcheck.Normal(1, 5, 2), gradcheck.Normal(2, 3, 5), labelsOf(1, 0, 1)
	const radius = .3
	var one, two float64
	for i := range 5 {
		d := w.At(2*i) - w.At(2*i+1)
		one, two = one+math.Abs(d), two+d*d
	}
	for _, c := range []struct {
		o    SmoothAdversarialOptions
		rise float64
	}{
		{SmoothAdversarialOptions{Tau: 1, Attack: Attack{Radius: radius}}, radius * one},
		{SmoothAdversarialOptions{Tau: 1.5, Nu: .2, Attack: Attack{Radius: radius, Steps: 3}}, .2 * radius * one},
		{SmoothAdversarialOptions{Tau: 0, Nu: 2, Attack: Attack{Radius: radius, Euclidean: true, Steps: 40, StepSize: radius}}, 2 * radius * math.Sqrt(two)},
	} {
		f := func(s *graph.Scope, n []*graph.Node) *graph.Node { return c.o.Loss(s, linear(n[0]), n[1], n[2]) }
		plain := func(n []*graph.Node) *graph.Node {
			return CompSumOptions{Tau: c.o.Tau}.Loss(linear(n[0])(n[1]), n[2])
		}
		got, slope := evaluateIn(t, f, w, x, y)
		want, plainSlope := evaluate(t, plain, w, x, y)
		wantNear(t, fmt.Sprintf("%+v", c.o), 1e-9, floats(got), []float64{want.Scalar() + c.rise})
		if !c.o.Attack.Euclidean { // the derivative of the 1-norm is the sign
			for i := range w.Size() {
				d := (1 - 2*float64(i%2)) * math.Copysign(c.rise/one, w.At(i-i%2)-w.At(i-i%2+1))
				wantNear(t, fmt.Sprint("derivative ", i), 1e-9, []float64{slope.At(i)}, []float64{plainSlope.At(i) + d})
			}
		}
	}
}

// With more classes the worst corner of the cube is found by trying all.
func TestAttackFindsTheWorstCorner(t *testing.T) {
	const features, classes, radius = 6, 4, .2
	w, x, y := gradcheck.Normal(3, features, classes), gradcheck.Normal(4, 8, features), gradcheck.Ints(4, classes, 8)
	o := SmoothAdversarialOptions{Tau: 1, Attack: Attack{Radius: radius, Steps: 20}}
	f := func(s *graph.Scope, n []*graph.Node) *graph.Node { return o.Loss(s, linear(n[0]), n[1], n[2]) }
	got, _ := evaluateIn(t, f, w, x, y)
	plain, _ := evaluate(t, func(n []*graph.Node) *graph.Node { return CrossEntropy(linear(n[0])(n[1]), n[2]) }, w, x, y)
	worst := 0.0
	for _, label := range y.Ints() {
		best := 0.0
		for corner := range 1 << features {
			change := make([]float64, classes)
			for i := range features {
				for k := range classes {
					change[k] += radius * float64(1-2*(corner>>i&1)) * w.At(i*classes+k)
				}
			}
			sum := 0.0
			for _, v := range change {
				sum += (change[label] - v) * (change[label] - v)
			}
			best = max(best, math.Sqrt(sum))
		}
		worst += best / 8
	}
	rise := (got.Scalar() - plain.Scalar()) / math.Sqrt(classes-1)
	if rise > worst+1e-9 || rise < .9*worst {
		t.Errorf("the attack changes margins by %v, the most is %v", rise, worst)
	}
}

func TestAttackStaysInside(t *testing.T) {
	x := gradcheck.Uniform(1, 0.2, 1, 20, 3, 4)
	for _, a := range []Attack{{Radius: .1, Low: 0, High: 1}, {Radius: .1}, {Radius: .5, Euclidean: true}, {}} {
		f := func(s *graph.Scope, n []*graph.Node) *graph.Node {
			return a.Find(s, n[0], func(x *graph.Node) *graph.Node { return graph.Sum(graph.Square(x), 1, 2) })
		}
		at, slope := evaluateIn(t, f, x)
		moved := 0.0
		for i := range 20 {
			far, far2 := 0.0, 0.0
			for k := i * 12; k < i*12+12; k++ {
				d := at.At(k) - x.At(k)
				far, far2 = max(far, math.Abs(d)), far2+d*d
				if a.High > 0 && (at.At(k) < 0 || at.At(k) > 1) {
					t.Errorf("%+v: element %d is %v", a, k, at.At(k))
				}
				if slope.At(k) != 0 {
					t.Errorf("%+v: a derivative passes: %v", a, slope.At(k))
				}
				if !a.Euclidean && a.High == 0 && d < 0 { // growing is what the loss wants
					t.Errorf("%+v: element %d went down by %v", a, k, d)
				}
			}
			if a.Euclidean {
				far = math.Sqrt(far2)
			}
			if far > or(a.Radius, 8.0/255)+1e-12 {
				t.Errorf("%+v: example %d is at a distance of %v", a, i, far)
			}
			moved = max(moved, far)
		}
		if moved < .9*or(a.Radius, 8.0/255) {
			t.Errorf("%+v: it went no further than %v", a, moved)
		}
	}
	for _, a := range []Attack{{Radius: -1}, {Steps: -1}, {Low: 1}} {
		_, err := graph.Build(nil, func(s *graph.Scope) {
			a.Find(s, s.Input("x", graph.Float32, 2, 3), func(x *graph.Node) *graph.Node { return x })
		})
		if err == nil {
			t.Errorf("%+v is taken", a)
		}
	}
}

// A feature that is always right but small, beside one that is mostly right and large: under attack only the second
// helps. Cross-entropy takes both, the smooth adversarial loss the second alone.
func TestSmoothAdversarialTraining(t *testing.T) {
	const n, radius = 40, .2
	x, y := graph.NewArray(graph.Float32, n, 2), graph.NewArray(graph.Int, n)
	for i := range n {
		label := i % 2
		sign := float64(1 - 2*label)
		y.Set(i, float64(label))
		x.Set(2*i, .1*sign)
		if i%20 < 18 {
			x.Set(2*i+1, sign)
		} else {
			x.Set(2*i+1, -sign)
		}
	}
	robust := map[string]float64{}
	for name, nu := range map[string]float64{"cross-entropy": 1e-9, "smooth adversarial": 1} {
		params := &graph.Params{}
		var loss, slope, hits *graph.Node
		g, err := graph.Build(params, func(s *graph.Scope) {
			in, labels := graph.Literal(s.Const(0), x), graph.Literal(s.Const(0), y)
			w := s.Param("w", graph.Constant(0), 2, 2)
			a := Attack{Radius: radius, Steps: 5}
			loss = SmoothAdversarialOptions{Tau: 1, Nu: nu, Attack: a}.Loss(s, linear(w), in, labels)
			slope = graph.Grad(loss, w)[0]
			worst := a.Find(s, in, func(x *graph.Node) *graph.Node { return CrossEntropy(linear(w)(x), labels) })
			hits = Accuracy(linear(w)(worst), labels)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(loss, slope, hits)
		if err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			for i, d := range p.Array(slope).Float32s() {
				params.Get("w").Value.Float32s()[i] -= d
			}
		}
		robust[name] = p.Array(hits).Scalar()
	}
	if robust["smooth adversarial"] < .899 || robust["cross-entropy"] > .5 {
		t.Errorf("accuracy under attack: %v", robust)
	}
}
