package objectives

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

// softmaxed makes rows of probabilities.
func softmaxed(seed uint64, n, classes int) *graph.Array {
	a := gradcheck.Positive(seed, n, classes)
	for i := range n {
		row := a.Float64s()[i*classes : (i+1)*classes]
		sum := 0.0
		for _, v := range row {
			sum += v
		}
		for j := range row {
			row[j] /= sum
		}
	}
	return a
}

// signs are 1 and -1 in turn.
func signs(shape ...int) *graph.Array {
	a := graph.NewArray(graph.Float64, shape...)
	for i := range a.Size() {
		a.Set(i, float64(1-2*(i%2)))
	}
	return a
}

// Every objective in both modes of differentiation and to second order.
func TestDerivatives(t *testing.T) {
	n, k, ints := gradcheck.Normal, gradcheck.Separated, gradcheck.Ints
	weights := []float64{0.5, 2, 1}
	pair := func(f Objective) gradcheck.Function {
		return func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1]) }
	}
	triple := func(f func(a, b, c *graph.Node) *graph.Node) gradcheck.Function {
		return func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x[0], x[1], x[2]) }
	}
	for _, c := range []struct {
		name string
		f    gradcheck.Function
		sets [][]*graph.Array
	}{
		{"CrossEntropy", pair(CrossEntropy), [][]*graph.Array{
			{n(1, 4, 3), ints(1, 3, 4)}, {n(1, 1, 5), ints(1, 5, 1)}, {n(1, 2, 3, 4), ints(1, 3, 2, 4)}, {n(1, 3, 1), ints(1, 1, 3)},
			{n(1, 4, 3), softmaxed(2, 4, 3)}, {n(1, 2, 3, 4), gradcheck.Positive(2, 2, 3, 4)}}},
		{"CrossEntropy smoothed and weighted", pair(CrossEntropyOptions{LabelSmoothing: 0.1, ClassWeights: weights}.Loss), [][]*graph.Array{
			{n(1, 4, 3), ints(1, 3, 4)}, {n(1, 4, 3), softmaxed(2, 4, 3)}}},
		{"CrossEntropy over the last axis, some ignored", pair(CrossEntropyOptions{Ignore: []int{0, 2}, Axis: -1, Reduction: ReduceSum}.Loss), [][]*graph.Array{
			{n(1, 2, 3, 4), ints(1, 4, 2, 3)}}},
		{"CrossEntropy unreduced", pair(CrossEntropyOptions{ClassWeights: weights, Reduction: ReduceNone}.Loss), [][]*graph.Array{{n(1, 4, 3), ints(1, 3, 4)}}},
		{"NLL", pair(NLLOptions{ClassWeights: weights, Reduction: ReduceBatchMean}.Loss), [][]*graph.Array{{n(1, 4, 3), ints(1, 3, 4)}}},
		{"Focal", pair(FocalOptions{ClassWeights: weights}.Loss), [][]*graph.Array{{n(1, 4, 3), ints(1, 3, 4)}, {n(1, 2, 3, 2), ints(1, 3, 2, 2)}}},
		{"Focal of a low Gamma", pair(FocalOptions{Gamma: 0.5}.Loss), [][]*graph.Array{{n(1, 4, 2), ints(1, 2, 4)}}},
		{"MultiMargin", pair(MultiMargin), [][]*graph.Array{{n(1, 4, 3), ints(1, 3, 4)}}},
		{"MultiMargin squared", pair(MultiMarginOptions{Squared: true, Margin: 0.35, ClassWeights: weights}.Loss), [][]*graph.Array{{k(1, 4, 3), ints(1, 3, 4)}}},
		{"BCEWithLogits", pair(BCEWithLogits), [][]*graph.Array{{n(1, 4, 3), gradcheck.Uniform(2, 0, 1, 4, 3)}, {n(1), gradcheck.Uniform(2, 0, 1)}}},
		{"BCEWithLogits weighted", pair(BCEWithLogitsOptions{PositiveWeights: weights}.Loss), [][]*graph.Array{{n(1, 2, 2, 3), gradcheck.Uniform(2, 0, 1, 2, 2, 3)}}},
		{"KLDiv", pair(KLDiv), [][]*graph.Array{{n(1, 4, 3), softmaxed(2, 4, 3)}}},
		{"KLDiv of logarithms", pair(KLDivOptions{LogTarget: true}.Loss), [][]*graph.Array{{n(1, 4, 3), n(2, 4, 3)}}},
		{"MSE", pair(MSE), [][]*graph.Array{{n(1, 4, 3), n(2, 4, 3)}, {n(1), n(2)}}},
		{"MSE summed", pair(MSEOptions{Reduction: ReduceSum}.Loss), [][]*graph.Array{{n(1, 5), n(2, 5)}}},
		{"MSE by the batch", pair(MSEOptions{Reduction: ReduceBatchMean}.Loss), [][]*graph.Array{{n(1, 4, 3), n(2, 4, 3)}, {n(1), n(2)}}},
		{"L1", pair(L1), [][]*graph.Array{{k(1, 4, 3), n(2, 4, 3)}}},
		{"Huber", pair(HuberOptions{Delta: 0.5}.Loss), [][]*graph.Array{{n(1, 4, 3), n(2, 4, 3)}}},
		{"SmoothL1", pair(SmoothL1Options{Beta: 2}.Loss), [][]*graph.Array{{n(1, 4, 3), n(2, 4, 3)}}},
		{"PoissonNLL", pair(PoissonNLL), [][]*graph.Array{{n(1, 4, 3), gradcheck.Positive(2, 4, 3)}}},
		{"PoissonNLL of rates", pair(PoissonNLLOptions{Rate: true, Full: true}.Loss), [][]*graph.Array{{gradcheck.Positive(1, 4, 3), gradcheck.Positive(2, 4, 3)}}},
		{"GaussianNLL", triple(GaussianNLLOptions{Full: true}.Loss), [][]*graph.Array{{n(1, 4, 3), gradcheck.Positive(2, 4, 3), n(3, 4, 3)}}},
		{"HingeEmbedding", pair(HingeEmbedding), [][]*graph.Array{{k(1, 4, 3), signs(4, 3)}}},
		{"CosineEmbedding", triple(CosineEmbeddingOptions{Margin: -0.9}.Loss), [][]*graph.Array{{n(1, 4, 3), n(2, 4, 3), signs(4)}}},
		{"TripletMargin", triple(TripletMargin), [][]*graph.Array{{n(1, 4, 3), n(2, 4, 3), n(3, 4, 3)}}},
	} {
		for _, x := range c.sets {
			t.Run(fmt.Sprintf("%s %v", c.name, x[0].Shape), func(t *testing.T) {
				o := gradcheck.Options{}
				if strings.HasPrefix(c.name, "HingeEmbedding") || strings.HasPrefix(c.name, "CosineEmbedding") {
					o.Inputs = []int{0} // signs are no place to step away from
				}
				o.Check(t, c.f, x...)
			})
		}
	}
}

// evaluate is f and its derivative by the first of its arguments.
func evaluate(t *testing.T, f func(x []*graph.Node) *graph.Node, inputs ...*graph.Array) (y, dx *graph.Array) {
	t.Helper()
	return evaluateIn(t, func(_ *graph.Scope, x []*graph.Node) *graph.Node { return f(x) }, inputs...)
}

// evaluateIn is evaluate for an f that needs the scope.
func evaluateIn(t *testing.T, f gradcheck.Function, inputs ...*graph.Array) (y, dx *graph.Array) {
	t.Helper()
	var x []*graph.Node
	var value, slope *graph.Node
	g, err := graph.Build(&graph.Params{DType: inputs[0].DType}, func(s *graph.Scope) {
		for i, a := range inputs {
			x = append(x, s.Input(fmt.Sprint("x", i), a.DType, a.Shape...))
		}
		value = f(s, x)
		slope = graph.Grad(graph.Sum(value), x[0])[0]
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	p, err := g.Compile(value, slope)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range inputs {
		if p.Uses(x[i]) {
			if err := p.Array(x[i]).CopyFrom(a); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return p.Array(value), p.Array(slope)
}

func of(f Objective) func(x []*graph.Node) *graph.Node {
	return func(x []*graph.Node) *graph.Node { return f(x[0], x[1]) }
}

// Points where a formula written down carelessly gives NaN, Inf or a rounded-away result. The wanted numbers are limits
// worked out by hand.
func TestExtremes(t *testing.T) {
	f32 := func(data []float32, shape ...int) *graph.Array { return graph.ArrayOf(data, shape...) }
	ints := func(data ...int) *graph.Array { return graph.ArrayOf(data, len(data)) }
	ln2 := math.Ln2
	for _, c := range []struct {
		name   string
		f      Objective
		x, y   *graph.Array
		loss   float64
		dx     []float64
		within float64 // relative; 0 means 1e-6
	}{
		{"two equal logits of 1e4", CrossEntropy, f32([]float32{1e4, 1e4}, 1, 2), ints(0), ln2, []float64{-0.5, 0.5}, 0},
		{"sure and right", CrossEntropy, f32([]float32{1e4, -1e4}, 1, 2), ints(0), 0, []float64{0, 0}, 0},
		{"sure and wrong", CrossEntropy, f32([]float32{1e4, -1e4}, 1, 2), ints(1), 2e4, []float64{1, -1}, 0},
		{"all -1e4", CrossEntropy, f32([]float32{-1e4, -1e4, -1e4, -1e4}, 1, 4), ints(3), 2 * ln2, []float64{0.25, 0.25, 0.25, -0.75}, 0},
		{"an excluded class", CrossEntropy, f32([]float32{0, float32(math.Inf(-1)), 0}, 1, 3), ints(0), ln2, []float64{-0.5, 0, 0.5}, 0},
		{"probabilities of 0 and 1", CrossEntropy, f32([]float32{-1e4, 1e4}, 1, 2), f32([]float32{0, 1}, 1, 2), 0, []float64{0, 0}, 0},
		{"one class", CrossEntropy, f32([]float32{7}, 1, 1), ints(0), 0, []float64{0}, 0},
		{"all ignored", CrossEntropy, f32([]float32{1, 2, 3, 4}, 2, 2), ints(-100, -100), 0, []float64{0, 0, 0, 0}, 0},
		{"ignored beside a NaN-free one", CrossEntropy, f32([]float32{0, 0, 3, 4}, 2, 2), ints(1, -100), ln2, []float64{0.5, -0.5, 0, 0}, 0},
		{"a class of weight 0 only", CrossEntropyOptions{ClassWeights: []float64{0, 1}}.Loss, f32([]float32{1, 2}, 1, 2), ints(0), 0, []float64{0, 0}, 0},
		{"no examples", CrossEntropy, f32(nil, 0, 3), ints(), 0, nil, 0},
		{"focal, sure and right", Focal, f32([]float32{1e4, -1e4}, 1, 2), ints(0), 0, []float64{0, 0}, 0},
		{"focal of a low Gamma, sure and right", FocalOptions{Gamma: 0.5}.Loss, f32([]float32{200, 0}, 1, 2), ints(0), 0, []float64{0, 0}, 0},
		{"focal, sure and wrong", Focal, f32([]float32{1e4, -1e4}, 1, 2), ints(1), 2e4, []float64{1, -1}, 0},
		{"binary, right", BCEWithLogits, f32([]float32{1e4, -1e4}, 2), f32([]float32{1, 0}, 2), 0, []float64{0, 0}, 0},
		{"binary, wrong", BCEWithLogits, f32([]float32{1e4, -1e4}, 2), f32([]float32{0, 1}, 2), 1e4, []float64{0.5, -0.5}, 0},
		{"binary, nearly sure", BCEWithLogits, f32([]float32{-30}, 1), f32([]float32{0}, 1), math.Exp(-30), []float64{math.Exp(-30)}, 1e-5},
		{"divergence of a sure target", KLDiv, f32([]float32{float32(-ln2), float32(-ln2)}, 1, 2), f32([]float32{1, 0}, 1, 2), ln2, []float64{-1, 0}, 0},
		{"Huber, far", Huber, f32([]float32{1e30}, 1), f32([]float32{0}, 1), 1e30, []float64{1}, 0},
		{"L1 at 0", L1, f32([]float32{3}, 1), f32([]float32{3}, 1), 0, []float64{0}, 0},
		{"counts of 0", PoissonNLLOptions{Full: true}.Loss, f32([]float32{0}, 1), f32([]float32{0}, 1), 1, []float64{1}, 0},
		{"a rate of 0", PoissonNLLOptions{Rate: true}.Loss, f32([]float32{0}, 1), f32([]float32{0}, 1), 0, []float64{1}, 0},
		{"a variance of 0", func(x, y *graph.Node) *graph.Node { return GaussianNLLOptions{Eps: 0.5}.Loss(x, graph.Fill(x, 0), y) },
			f32([]float32{1}, 1), f32([]float32{0}, 1), 1 - ln2/2, []float64{2}, 0},
		{"the angle to a zero vector", func(x, y *graph.Node) *graph.Node { return CosineEmbedding(x, y, graph.Const(x, 1)) },
			f32([]float32{0, 0}, 2), f32([]float32{0, 0}, 2), 1, []float64{0, 0}, 0},
		{"a triplet of one point", func(x, y *graph.Node) *graph.Node { return TripletMarginOptions{Eps: 1e-300}.Loss(x, y, y) },
			f32([]float32{1, 2}, 1, 2), f32([]float32{1, 2}, 1, 2), 1, []float64{0, 0}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			loss, dx := evaluate(t, of(c.f), c.x, c.y)
			if c.within == 0 {
				c.within = 1e-6
			}
			ok := func(want, got float64) bool { return math.Abs(got-want) <= c.within*math.Abs(want) }
			if !ok(c.loss, loss.Scalar()) {
				t.Errorf("loss: want %v, got %v", c.loss, loss.Scalar())
			}
			for i, want := range c.dx {
				if !ok(want, dx.At(i)) {
					t.Errorf("derivative %d: want %v, got %v", i, want, dx.At(i))
				}
			}
		})
	}
}

// The mean over a batch is the weighted mean of the losses of its examples.
func TestBatches(t *testing.T) {
	x, y := gradcheck.Normal(1, 6, 4), graph.ArrayOf([]int{3, -100, 0, 1, 1, 2}, 6)
	weights := []float64{1, 0.5, 3, 0.1}
	o := CrossEntropyOptions{ClassWeights: weights, LabelSmoothing: 0.2}
	whole, _ := evaluate(t, of(o.Loss), x, y)
	sum, total := 0.0, 0.0
	for i, label := range y.Ints() {
		one, _ := evaluate(t, of(o.Loss), graph.ArrayOf(x.Float64s()[4*i:4*i+4], 1, 4), graph.ArrayOf([]int{label}, 1))
		if label >= 0 {
			sum += weights[label] * one.Scalar()
			total += weights[label]
		}
	}
	if math.Abs(whole.Scalar()-sum/total) > 1e-12 {
		t.Errorf("want %v, got %v", sum/total, whole.Scalar())
	}
	// Labels are probabilities of 0 and 1, and the class axis may be anywhere.
	hot := graph.NewArray(graph.Float64, 3, 4)
	for i, label := range []int{2, 0, 3} {
		hot.Set(4*i+label, 1)
	}
	x3, labels := gradcheck.Normal(2, 3, 4), graph.ArrayOf([]int{2, 0, 3}, 3)
	byLabel, _ := evaluate(t, of(CrossEntropy), x3, labels)
	byHot, _ := evaluate(t, of(CrossEntropy), x3, hot)
	last, _ := evaluate(t, of(CrossEntropyOptions{Axis: -1}.Loss), graph.ArrayOf(x3.Float64s(), 1, 3, 4), graph.ArrayOf(labels.Ints(), 1, 3))
	for what, got := range map[string]*graph.Array{"one-hot": byHot, "last axis": last} {
		if math.Abs(byLabel.Scalar()-got.Scalar()) > 1e-12 {
			t.Errorf("%s: want %v, got %v", what, byLabel.Scalar(), got.Scalar())
		}
	}
}

func TestAccuracy(t *testing.T) {
	nan := math.NaN()
	x := graph.ArrayOf([]float64{
		3, 1, 2, // labels by rank: 0, 2, 1
		1, 1, 1, // ties go to the first
		nan, nan, nan, // never right
		0, nan, 1, // NaN counts as largest
	}, 4, 3)
	for _, c := range []struct {
		name   string
		o      AccuracyOptions
		labels []int
		want   float64
	}{
		{"largest", AccuracyOptions{}, []int{0, 0, 0, 1}, 0.5},
		{"second", AccuracyOptions{}, []int{2, 1, 0, 2}, 0},
		{"two largest", AccuracyOptions{TopK: 2}, []int{2, 1, 0, 2}, 0.75},
		{"not among the two largest", AccuracyOptions{TopK: 2}, []int{1, 2, 0, 0}, 0},
		{"ignored", AccuracyOptions{}, []int{0, -100, -100, -100}, 1},
		{"all ignored", AccuracyOptions{Ignore: []int{0, 1}}, []int{0, 1, 0, 1}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, dx := evaluate(t, of(c.o.Metric), x, graph.ArrayOf(c.labels, 4))
			if got.Scalar() != c.want {
				t.Errorf("want %v, got %v", c.want, got.Scalar())
			}
			for i := range dx.Size() {
				if dx.At(i) != 0 {
					t.Errorf("derivative %d is %v", i, dx.At(i))
				}
			}
		})
	}
	// Against counting, with the classes in the middle of the shape and a target of probabilities.
	out, target := gradcheck.Normal(1, 5, 4, 3), gradcheck.Normal(2, 5, 4, 3)
	hits := 0
	for b := range 5 {
		for p := range 3 {
			best := func(a *graph.Array) int {
				m := 0
				for c := range 4 {
					if a.At((b*4+c)*3+p) > a.At((b*4+m)*3+p) {
						m = c
					}
				}
				return m
			}
			if best(out) == best(target) {
				hits++
			}
		}
	}
	if got, _ := evaluate(t, of(Accuracy), out, target); math.Abs(got.Scalar()-float64(hits)/15) > 1e-15 {
		t.Errorf("want %d of 15, got %v", hits, got.Scalar()*15)
	}
}

func TestErrors(t *testing.T) {
	f, i := graph.Float32, graph.Int
	type node struct {
		dtype graph.DType
		shape []int
	}
	for _, c := range []struct {
		name    string
		loss    Objective
		x, y    node
		op, arg string
	}{
		{"no class axis", CrossEntropy, node{f, []int{4}}, node{i, []int{4}}, "cross_entropy", "output"},
		{"whole numbers for logits", CrossEntropy, node{i, []int{4, 3}}, node{i, []int{4}}, "cross_entropy", "output"},
		{"labels of another batch", CrossEntropy, node{f, []int{4, 3}}, node{i, []int{5}}, "cross_entropy", "target"},
		{"labels with a class axis", CrossEntropy, node{f, []int{4, 3}}, node{i, []int{4, 1}}, "cross_entropy", "target"},
		{"labels as numbers", CrossEntropy, node{f, []int{4, 3}}, node{f, []int{4}}, "cross_entropy", "target"},
		{"weights for other classes", CrossEntropyOptions{ClassWeights: []float64{1, 2}}.Loss, node{f, []int{4, 3}}, node{i, []int{4}}, "cross_entropy", "ClassWeights"},
		{"too smooth", CrossEntropyOptions{LabelSmoothing: 1.5}.Loss, node{f, []int{4, 3}}, node{i, []int{4}}, "cross_entropy", "LabelSmoothing"},
		{"probabilities ignored", CrossEntropyOptions{Ignore: []int{1}}.Loss, node{f, []int{4, 3}}, node{f, []int{4, 3}}, "cross_entropy", "Ignore"},
		{"classes along the batch", CrossEntropyOptions{Axis: -2}.Loss, node{f, []int{4, 3}}, node{i, []int{3}}, "cross_entropy", "Axis"},
		{"an unknown reduction", CrossEntropyOptions{Reduction: 9}.Loss, node{f, []int{4, 3}}, node{i, []int{4}}, "cross_entropy", "Reduction"},
		{"log-probabilities", NLL, node{f, []int{4, 3}}, node{i, []int{3}}, "nll", "target"},
		{"one class", Focal, node{f, []int{4, 1}}, node{i, []int{4}}, "focal", "output"},
		{"focal with probabilities", Focal, node{f, []int{4, 2}}, node{f, []int{4, 2}}, "focal", "target"},
		{"images", MultiMargin, node{f, []int{4, 3, 2}}, node{i, []int{4, 2}}, "multi_margin", "output"},
		{"binary labels", BCEWithLogits, node{f, []int{4}}, node{i, []int{4}}, "bce_with_logits", "target"},
		{"binary weights", BCEWithLogitsOptions{PositiveWeights: []float64{1}}.Loss, node{f, nil}, node{f, nil}, "bce_with_logits", "output"},
		{"another shape", MSE, node{f, []int{4, 1}}, node{f, []int{4}}, "mse", "target"},
		{"another type", L1, node{f, []int{4}}, node{graph.Float64, []int{4}}, "l1", "target"},
		{"whole numbers", Huber, node{i, []int{4}}, node{i, []int{4}}, "huber", "target"},
		{"a negative Delta", HuberOptions{Delta: -1}.Loss, node{f, []int{4}}, node{f, []int{4}}, "huber", "Delta"},
		{"KL", KLDiv, node{f, []int{4, 3}}, node{f, []int{4, 2}}, "kl_div", "target"},
		{"counts", PoissonNLL, node{f, []int{4}}, node{i, []int{4}}, "poisson_nll", "target"},
		{"signs", HingeEmbedding, node{f, []int{4}}, node{f, []int{3}}, "hinge_embedding", "target"},
		{"cosine signs", func(x, y *graph.Node) *graph.Node { return CosineEmbedding(x, x, y) }, node{f, []int{4, 2}}, node{f, []int{4, 1}}, "cosine_embedding", "sign"},
		{"triplets of scalars", func(x, y *graph.Node) *graph.Node { return TripletMargin(x, y, y) }, node{f, nil}, node{f, nil}, "triplet_margin", "positive"},
		{"variance", func(x, y *graph.Node) *graph.Node { return GaussianNLL(x, y, x) }, node{f, []int{2}}, node{f, []int{1}}, "gaussian_nll", "variance"},
		{"accuracy", Accuracy, node{f, []int{4, 3}}, node{i, []int{3}}, "accuracy", "target"},
		{"accuracy's TopK", AccuracyOptions{TopK: -1}.Metric, node{f, []int{4, 3}}, node{i, []int{4}}, "accuracy", "TopK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := graph.Build(nil, func(s *graph.Scope) {
				c.loss(s.Input("x", c.x.dtype, c.x.shape...), s.Input("y", c.y.dtype, c.y.shape...))
			})
			var e *graph.Error
			if !errors.As(err, &e) {
				t.Fatalf("want a *graph.Error, got %v", err)
			}
			if e.Op != c.op || e.Arg != c.arg || e.Want == "" || e.Got == "" {
				t.Errorf("want op %q, argument %q, got %v", c.op, c.arg, e)
			}
		})
	}
}

// A label that is no class is an error of the run, not a wrong number.
func TestLabelOutOfRange(t *testing.T) {
	for _, label := range []int{3, -1} {
		var x, y, loss *graph.Node
		g, err := graph.Build(nil, func(s *graph.Scope) {
			x, y = s.Input("x", graph.Float32, 2, 3), s.Input("y", graph.Int, 2)
			loss = CrossEntropy(x, y)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(loss)
		if err != nil {
			t.Fatal(err)
		}
		p.Array(y).Set(1, float64(label))
		var e *graph.Error
		if err := p.Run(); !errors.As(err, &e) || e.Got != fmt.Sprint(label) {
			t.Errorf("label %d: want a *graph.Error that names it, got %v", label, err)
		}
	}
}
