package metric

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
)

// ZeroShotOptions are the settings of the zero-shot regression loss.
type ZeroShotOptions struct {
	Classes  int
	Features int     // of the vector of a class; 0 means as many as attributes
	Ridge    float64 // 0 means 0.05
	Scale    float64 // 0 means 9.5
	Name     string  // of the scope of the class vectors; empty means "zeroshot" and a number
}

// Loss cuts attributes A [batch, attributes], batch even, in two halves, best of different classes. From each it regresses
// the trained class vectors V, W = Aᵀ(AAᵀ + Ridge)⁻¹V[y], and predicts those of the other half; the loss is the mean
// cross-entropy of Scale·(A'W)Vᵀ and the labels, Int [batch] (Y. Gürbüz et al. 2023, arXiv 2308.09228, sec. 4.3). The
// parameter is "weight" [classes, features]. The paper adds 0.1 times it to 0.9 times a loss of embeddings.
func (o ZeroShotOptions) Loss(s *graph.Scope, attributes, labels *graph.Node) *graph.Node {
	const op = "zero_shot"
	needMatrix(op, "attributes", attributes)
	needLabels(op, attributes, labels)
	n, d := graph.ShapeOf(attributes)[0], graph.ShapeOf(attributes)[1]
	if n%2 != 0 || n == 0 {
		panic(graph.Fail(op, "attributes", "an even number of rows, at least 2", n))
	}
	if o.Classes < 1 {
		panic(graph.Fail(op, "Classes", "at least 1", o.Classes))
	}
	if o.Features > 0 {
		d = o.Features
	}
	v := s.Layer("zeroshot", o.Name).Param("weight", graph.NormalInit(1/math.Sqrt(float64(d))), o.Classes, d)
	return o.of(attributes, labels, v)
}

func (o ZeroShotOptions) of(attributes, labels, v *graph.Node) *graph.Node {
	n := graph.ShapeOf(attributes)[0]
	half := func(x *graph.Node, i int) *graph.Node { return graph.Slice(x, 0, i*n/2, (i+1)*n/2, 1) }
	ridge := graph.Scale(graph.OneMinus(others(attributes, n/2)), or(o.Ridge, 0.05))
	var logits [2]*graph.Node
	for i := range logits {
		a, known, y := half(attributes, i), half(attributes, 1-i), half(labels, 1-i)
		gram := graph.Add(graph.MatMulT(known, known, false, true), ridge)
		weights := graph.MatMulT(known, graph.Solve(gram, graph.Take(v, y, 0)), true, false)
		logits[i] = graph.MatMulT(graph.MatMul(a, weights), v, false, true)
	}
	all := graph.Scale(graph.Concat(0, logits[0], logits[1]), or(o.Scale, 9.5))
	return objectives.CrossEntropyOptions{Ignore: []int{}}.Loss(all, labels)
}
