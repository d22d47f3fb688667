package objectives

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// golden is one case of testdata/torch_reference.json, which PyTorch computed in float64.
type golden struct {
	Name         string
	Attrs        json.RawMessage
	Inputs       map[string]values
	Output       values
	Cotangent    values
	VJP          map[string]values
	Tangents     map[string]values
	JVP          values
	ByDifference bool `json:"jvp_by_difference"`
}

type values struct {
	Shape []int
	Kind  string
	Data  []float64
}

func (v values) array(float graph.DType) *graph.Array {
	if v.Kind == "int" {
		float = graph.Int
	}
	a := graph.NewArray(float, v.Shape...)
	for i, x := range v.Data {
		a.Set(i, x)
	}
	return a
}

func readGolden(t *testing.T, into any) {
	t.Helper()
	file, err := os.ReadFile("testdata/torch_reference.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, into); err != nil {
		t.Fatal(err)
	}
}

// both runs a test in float64 and in float32 with the tolerance of each.
func both(t *testing.T, f func(t *testing.T, dtype graph.DType, tolerance float64)) {
	t.Run("float64", func(t *testing.T) { f(t, graph.Float64, 1e-9) })
	t.Run("float32", func(t *testing.T) { f(t, graph.Float32, 1e-4) })
}

// check compares the value of a case, its products with the cotangent and its derivative along the tangents. Build
// gets an input node for each input that is not named in params, which gives the parameter's name instead.
func (c golden) check(t *testing.T, dtype graph.DType, tolerance float64, params map[string]string, build func(s *graph.Scope, in map[string]*graph.Node) *graph.Node) {
	t.Helper()
	store := &graph.Params{DType: dtype}
	in := map[string]*graph.Node{}
	var y, jvp, cotangent *graph.Node
	var names []string
	var vjp, tangents []*graph.Node
	g, err := graph.Build(store, func(s *graph.Scope) {
		for name, v := range c.Inputs {
			if params[name] == "" {
				in[name] = s.Input(name, v.array(dtype).DType, v.Shape...)
			}
		}
		y = build(s, in)
		var x []*graph.Node
		for name := range c.VJP {
			n := in[name]
			if n == nil {
				n = s.Graph().ParamNode(params[name])
			}
			if n == nil {
				t.Fatalf("%s: no parameter %q", c.Name, params[name])
			}
			names, x = append(names, name), append(x, n)
			tangents = append(tangents, s.Input("tangent/"+name, dtype, graph.ShapeOf(n)...))
		}
		cotangent = s.Input("cotangent", dtype, graph.ShapeOf(y)...)
		vjp = graph.VJP([]*graph.Node{y}, []*graph.Node{cotangent}, x)
		jvp = graph.JVP([]*graph.Node{y}, x, tangents)[0]
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(append([]*graph.Node{y, jvp}, vjp...)...)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(a *graph.Array, v values) {
		t.Helper()
		if err := a.CopyFrom(v.array(dtype)); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	for name, v := range c.Inputs {
		if params[name] != "" {
			fill(store.Get(params[name]).Value, v)
		} else if p.Uses(in[name]) {
			fill(p.Array(in[name]), v)
		}
	}
	if p.Uses(cotangent) {
		fill(p.Array(cotangent), c.Cotangent)
	}
	for i, name := range names {
		if p.Uses(tangents[i]) {
			fill(p.Array(tangents[i]), c.Tangents[name])
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	near(t, c.Name+" value", p.Array(y), c.Output, tolerance)
	for i, name := range names {
		near(t, c.Name+" vjp of "+name, p.Array(vjp[i]), c.VJP[name], tolerance)
	}
	if c.ByDifference {
		tolerance = max(tolerance, 1e-7)
	}
	near(t, c.Name+" jvp", p.Array(jvp), c.JVP, tolerance)
}

// near compares every element, with errors relative to the largest one.
func near(t *testing.T, what string, got *graph.Array, want values, tolerance float64) {
	t.Helper()
	if got.Size() != len(want.Data) {
		t.Fatalf("%s: want shape %v, got %v", what, want.Shape, got.Shape)
	}
	scale := 0.0
	if tolerance > 1e-6 {
		scale = 1 // in float32 rounding is relative to the values in between, which are about 1
	}
	for _, v := range want.Data {
		scale = max(scale, math.Abs(v))
	}
	for i, v := range want.Data {
		if !(math.Abs(got.At(i)-v) <= tolerance*scale) {
			t.Errorf("%s: element %d: want %v, got %v", what, i, v, got.At(i))
			return
		}
	}
}

// attrs are the attributes of the loss cases.
type attrs struct {
	Target         json.RawMessage // labels as a list, or any target as values
	Probabilities  *values         `json:"target_probabilities"`
	Count          *values
	Sign           json.RawMessage
	Reduction      string
	LabelSmoothing float64   `json:"label_smoothing"`
	ClassWeight    []float64 `json:"class_weight"`
	PosWeight      []float64 `json:"pos_weight"`
	Ignore         *int
	LogTarget      bool  `json:"log_target"`
	LogInput       *bool `json:"log_input"`
	Full           bool
	P              int
	Margin         float64
	Beta, Delta    float64
	Gamma, Eps     float64
}

// constant is a node of values given as a list of numbers or with a shape.
func constant(t *testing.T, s *graph.Scope, raw json.RawMessage, list string) *graph.Node {
	var v values
	if json.Unmarshal(raw, &v) != nil {
		if err := json.Unmarshal(raw, &v.Data); err != nil {
			t.Fatal(err)
		}
		v.Shape, v.Kind = []int{len(v.Data)}, list
	}
	return graph.Literal(s.Const(0), v.array(s.DType()))
}

// goldenLoss builds the loss of a case.
func goldenLoss(t *testing.T, name string, a attrs, s *graph.Scope, in map[string]*graph.Node) *graph.Node {
	reduction, ok := map[string]Reduction{"": ReduceMean, "mean": ReduceMean, "sum": ReduceSum, "none": ReduceNone, "batchmean": ReduceBatchMean}[a.Reduction]
	if !ok {
		t.Fatalf("reduction %q", a.Reduction)
	}
	target := in["target"]
	switch {
	case a.Target != nil:
		target = constant(t, s, a.Target, "int")
	case a.Sign != nil:
		target = constant(t, s, a.Sign, "float")
	case a.Probabilities != nil:
		target = graph.Literal(s.Const(0), a.Probabilities.array(s.DType()))
	case a.Count != nil:
		target = graph.Literal(s.Const(0), a.Count.array(s.DType()))
	}
	var ignore []int
	if a.Ignore != nil {
		ignore = []int{*a.Ignore}
	}
	switch name {
	case "loss/cross_entropy", "loss/cross_entropy_smoothed", "loss/cross_entropy_weighted", "loss/cross_entropy_soft":
		return CrossEntropyOptions{LabelSmoothing: a.LabelSmoothing, ClassWeights: a.ClassWeight, Ignore: ignore, Reduction: reduction}.Loss(in["logits"], target)
	case "loss/nll":
		return NLLOptions{ClassWeights: a.ClassWeight, Ignore: ignore, Reduction: reduction}.Loss(in["logp"], target)
	case "loss/focal":
		return FocalOptions{Gamma: a.Gamma, ClassWeights: a.ClassWeight, Reduction: reduction}.Loss(in["logits"], target)
	case "loss/multi_margin":
		return MultiMarginOptions{Margin: a.Margin, Squared: a.P == 2, ClassWeights: a.ClassWeight, Reduction: reduction}.Loss(in["logits"], target)
	case "loss/bce_with_logits":
		return BCEWithLogitsOptions{PositiveWeights: a.PosWeight, Reduction: reduction}.Loss(in["logits"], target)
	case "loss/kl_div":
		return KLDivOptions{LogTarget: a.LogTarget, Reduction: reduction}.Loss(in["logq"], target)
	case "loss/mse":
		return MSE(in["input"], target)
	case "loss/l1":
		return L1(in["input"], target)
	case "loss/smooth_l1":
		return SmoothL1Options{Beta: a.Beta, Reduction: reduction}.Loss(in["input"], target)
	case "loss/huber":
		return HuberOptions{Delta: a.Delta, Reduction: reduction}.Loss(in["input"], target)
	case "loss/poisson_nll":
		return PoissonNLLOptions{Rate: !*a.LogInput, Full: a.Full, Reduction: reduction}.Loss(in["log_rate"], target)
	case "loss/gaussian_nll":
		return GaussianNLLOptions{Full: a.Full, Eps: a.Eps, Reduction: reduction}.Loss(in["mean"], in["var"], target)
	case "loss/hinge_embedding":
		return HingeEmbeddingOptions{Margin: a.Margin, Reduction: reduction}.Loss(in["input"], target)
	case "loss/cosine_embedding":
		return CosineEmbeddingOptions{Margin: a.Margin, Reduction: reduction}.Loss(in["x1"], in["x2"], target)
	case "loss/triplet_margin":
		return TripletMarginOptions{Margin: a.Margin, Eps: a.Eps, Reduction: reduction}.Loss(in["anchor"], in["positive"], in["negative"])
	}
	t.Fatalf("no objective for %s", name)
	return nil
}

func TestGolden(t *testing.T) {
	var file struct{ Cases []golden }
	readGolden(t, &file)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var a attrs
			if err := json.Unmarshal(c.Attrs, &a); err != nil {
				t.Fatal(err)
			}
			both(t, func(t *testing.T, dtype graph.DType, tolerance float64) {
				c.check(t, dtype, tolerance, nil, func(s *graph.Scope, in map[string]*graph.Node) *graph.Node {
					return goldenLoss(t, c.Name, a, s, in)
				})
			})
		})
	}
}
