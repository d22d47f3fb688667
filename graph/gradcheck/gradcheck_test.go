package gradcheck_test

import (
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

func TestRightDerivativesPass(t *testing.T) {
	for name, c := range map[string]struct {
		f      gradcheck.Function
		inputs []*graph.Array
	}{
		"product":   {func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[1]) }, arrays(gradcheck.Normal(1, 3, 4), gradcheck.Normal(2, 4, 2))},
		"scalar":    {func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Sum(graph.Exp(x[0])) }, arrays(gradcheck.Normal(1))},
		"empty":     {func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Tanh(x[0]) }, arrays(gradcheck.Normal(1, 0, 3))},
		"index":     {func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Take(x[0], x[1], 0) }, arrays(gradcheck.Normal(1, 5, 2), gradcheck.Ints(2, 5, 4))},
		"parameter": {dense, arrays(gradcheck.Normal(1, 3, 4))},
		"unused":    {func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Square(x[0]) }, arrays(gradcheck.Normal(1, 2), gradcheck.Normal(2, 2))},
		"detached":  {func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Floor(x[0]) }, arrays(gradcheck.Separated(1, 5))},
	} {
		t.Run(name, func(t *testing.T) { gradcheck.Check(t, c.f, c.inputs...) })
	}
}

func TestOptions(t *testing.T) {
	// The derivative by input 1 is missing: it is found unless only input 0 is asked for.
	half := func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Mul(x[0], graph.Detach(x[1])) }
	in := arrays(gradcheck.Normal(1, 3), gradcheck.Normal(2, 3))
	wants(t, gradcheck.Verify(half, in...), "reverse: input 1, element", "forward: result")
	if err := (gradcheck.Options{Inputs: []int{0}}).Verify(half, in...); err != nil {
		t.Error(err)
	}
	wants(t, gradcheck.Options{Inputs: []int{2}}.Verify(half, in...), "Inputs: want 0 to 1, got 2")

	// In training dropout has the derivative of its mask; outside it is the identity.
	drop := func(s *graph.Scope, x []*graph.Node) *graph.Node {
		if !s.Training() {
			return graph.Detach(x[0])
		}
		return graph.Dropout(s, x[0], 0.5)
	}
	gradcheck.Options{Training: true}.Check(t, drop, gradcheck.Normal(1, 4, 4))
	wants(t, gradcheck.Verify(drop, gradcheck.Normal(1, 4, 4)), "reverse")
}

// A kernel of x³ whose rules are given; c scales the derivative each rule builds.
func cube(reverse, forward func(x, t *graph.Node) *graph.Node) gradcheck.Function {
	op := &graph.Primitive{
		Name: "cube",
		Type: func(in []graph.Type) (graph.Type, error) { return in[0], nil },
		Kernel: func(out graph.Type, in []graph.Type) (graph.Kernel, error) {
			return func(out *graph.Array, in []*graph.Array) error {
				for i := range out.Size() {
					out.Set(i, math.Pow(in[0].At(i), 3))
				}
				return nil
			}, nil
		},
		VJP: func(y, dy *graph.Node, x []*graph.Node) []*graph.Node { return []*graph.Node{reverse(x[0], dy)} },
		JVP: func(y *graph.Node, x, dx []*graph.Node) *graph.Node { return forward(x[0], dx[0]) },
	}
	return func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Apply(op, x[0]) }
}

func right(x, t *graph.Node) *graph.Node { return graph.Mul(t, graph.Scale(graph.Square(x), 3)) }
func wrong(x, t *graph.Node) *graph.Node { return graph.Mul(t, graph.Scale(graph.Square(x), 3.001)) }

// bent has the right value and no derivative of its own.
func bent(x, t *graph.Node) *graph.Node {
	return graph.Mul(t, graph.Scale(graph.Square(graph.Detach(x)), 3))
}

func TestWrongRulesAreFound(t *testing.T) {
	x := gradcheck.Positive(1, 2, 3)
	gradcheck.Check(t, cube(right, right), x)
	for name, c := range map[string]struct {
		reverse, forward func(x, t *graph.Node) *graph.Node
		found, silent    []string
	}{
		"vjp":        {wrong, right, []string{"reverse: input 0, element", "adjoint"}, []string{"forward: "}},
		"jvp":        {right, wrong, []string{"forward: result, element", "adjoint"}, []string{"reverse: "}},
		"both":       {wrong, wrong, []string{"reverse: ", "forward: "}, []string{"adjoint"}},
		"second vjp": {bent, right, []string{"reverse over reverse: ", "forward over reverse: "}, []string{"reverse: ", "forward: ", "adjoint"}},
		"second jvp": {right, bent, []string{"reverse over forward: ", "forward over forward: "}, []string{"reverse: ", "forward: ", "adjoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := gradcheck.Verify(cube(c.reverse, c.forward), x)
			wants(t, err, c.found...)
			for _, mode := range c.silent {
				if strings.Contains("\t"+err.Error(), "\t"+mode) {
					t.Errorf("%s reported, though it is right: %v", mode, err)
				}
			}
		})
	}
	if err := (gradcheck.Options{FirstOrder: true}).Verify(cube(bent, bent), x); err != nil {
		t.Errorf("first order only: %v", err)
	}
}

func TestWrongKernelsAreFound(t *testing.T) {
	kernel := func(f func(out, x *graph.Array)) gradcheck.Function {
		op := &graph.Primitive{
			Name: "copy",
			Type: func(in []graph.Type) (graph.Type, error) { return in[0], nil },
			Kernel: func(graph.Type, []graph.Type) (graph.Kernel, error) {
				return func(out *graph.Array, in []*graph.Array) error { f(out, in[0]); return nil }, nil
			},
			VJP: func(y, dy *graph.Node, x []*graph.Node) []*graph.Node { return []*graph.Node{dy} },
			JVP: func(y *graph.Node, x, dx []*graph.Node) *graph.Node { return dx[0] },
		}
		return func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.Apply(op, x[0]) }
	}
	copyFirst := func(out, x *graph.Array) { out.CopyFrom(x) }
	gradcheck.Check(t, kernel(copyFirst), gradcheck.Normal(1, 3))

	runs := 0.0
	var kept any
	for name, c := range map[string]struct {
		f    func(out, x *graph.Array)
		want string
	}{
		"keeps state":    {func(out, x *graph.Array) { runs++; out.CopyFrom(x); out.Set(0, x.At(0)+runs) }, "repeat: "},
		"allocates":      {func(out, x *graph.Array) { kept = make([]byte, 100); out.CopyFrom(x) }, "allocations: want 0"},
		"writes operand": {func(out, x *graph.Array) { out.CopyFrom(x); x.Set(0, 7) }, "run: input 0: want it unchanged"},
		"not finite":     {func(out, x *graph.Array) { out.CopyFrom(x); out.Set(1, math.NaN()) }, "value: result, element 1: want a finite number, got NaN"},
		"wrong in float32": {func(out, x *graph.Array) {
			out.CopyFrom(x)
			if x.DType == graph.Float32 {
				out.Set(2, x.At(2)+0.1)
			}
		}, "float32 value: result, element 2"},
	} {
		t.Run(name, func(t *testing.T) { wants(t, gradcheck.Verify(kernel(c.f), gradcheck.Normal(1, 3)), c.want) })
	}
	_ = kept
}

func TestMistakesAreReturned(t *testing.T) {
	id := func(_ *graph.Scope, x []*graph.Node) *graph.Node { return x[0] }
	wants(t, gradcheck.Verify(id, graph.NewArray(graph.Float32, 2)), "input 0: want float64 or int")
	wants(t, gradcheck.Verify(id, gradcheck.Ints(1, 3, 2)), "gradcheck: result: want float32 or float64")
	bad := func(_ *graph.Scope, x []*graph.Node) *graph.Node { return graph.MatMul(x[0], x[0]) }
	wants(t, gradcheck.Verify(bad, gradcheck.Normal(1, 2, 3)), "matmul: operand 1: want inner size 3")
}

func TestInputs(t *testing.T) {
	if a, b := gradcheck.Normal(3, 4), gradcheck.Normal(3, 4); a.At(2) != b.At(2) || a.At(2) == gradcheck.Normal(4, 4).At(2) {
		t.Error("Normal: want a function of the seed")
	}
	for i, v := range gradcheck.Positive(1, 50).Float64s() {
		if v < 0.3 || v >= 3 {
			t.Errorf("Positive: element %d: %v", i, v)
		}
	}
	seen := map[int]bool{}
	for i, v := range gradcheck.Separated(1, 30).Float64s() {
		k := int(math.Round(v * 10))
		if seen[k] || math.Abs(v) < 0.03 || math.Abs(v-math.Floor(v)-0.5) < 0.03 {
			t.Errorf("Separated: element %d: %v is not apart", i, v)
		}
		seen[k] = true
	}
	for i, k := range gradcheck.Ints(1, 3, 40).Ints() {
		if k < 0 || k >= 3 {
			t.Errorf("Ints: element %d: %v", i, k)
		}
	}
}

func dense(s *graph.Scope, x []*graph.Node) *graph.Node {
	w := s.Param("weight", graph.Glorot(4, 2), 4, 2)
	b := s.Param("bias", graph.Constant(0.1), 2)
	return graph.Tanh(graph.Add(graph.MatMul(x[0], w), b))
}

func TestParametersAreChecked(t *testing.T) {
	f := func(s *graph.Scope, x []*graph.Node) *graph.Node {
		w := s.Param("weight", graph.Glorot(4, 2), 4, 2)
		return graph.MatMul(x[0], graph.Mul(w, graph.Detach(w)))
	}
	wants(t, gradcheck.Verify(f, gradcheck.Normal(1, 3, 4)), "reverse: parameter weight, element")
}

func arrays(a ...*graph.Array) []*graph.Array { return a }

// wants fails the test unless err has all the parts.
func wants(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("want an error with %q, got none", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("want an error with %q, got: %v", p, err)
		}
	}
}
