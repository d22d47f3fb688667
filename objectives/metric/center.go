package metric

import "github.com/harpe-ml/harpe/graph"

// CenterOptions are the settings of the center loss.
type CenterOptions struct {
	Classes int
	Alpha   float64 // how fast the centers follow; 0 means 0.5
	Name    string  // of the scope of the centers; empty means "center" and a number
}

// Loss is the mean of |f - c_y|²/2 for embeddings f [batch, features] and labels Int [batch] (Y. Wen et al. 2016, "A
// discriminative feature learning approach for deep face recognition", eq. 2). The centers are the state "centers"
// [classes, features], at first 0; a training step moves each by Alpha Σ (f - c)/(1 + n), the sum over the n examples of
// its class (eq. 4), so the program must be compiled with the graph's Updates.
func (o CenterOptions) Loss(s *graph.Scope, embeddings, labels *graph.Node) *graph.Node {
	const op = "center"
	needMatrix(op, "embeddings", embeddings)
	needLabels(op, embeddings, labels)
	if o.Classes < 1 {
		panic(graph.Fail(op, "Classes", "at least 1", o.Classes))
	}
	s = s.Layer("center", o.Name)
	centers := s.State("centers", graph.Zeros(), o.Classes, graph.ShapeOf(embeddings)[1])
	apart := graph.Sub(embeddings, graph.Take(centers, labels, 0))
	if s.Training() {
		sum := graph.ScatterAdd(graph.Detach(apart), labels, 0, o.Classes)
		count := graph.Sum(graph.OneHot(labels, o.Classes, embeddings.Dtype()), 0)
		rate := graph.Scale(graph.Reciprocal(graph.Shift(count, 1)), or(o.Alpha, 0.5))
		s.Update(centers, graph.Add(centers, graph.Mul(sum, graph.Reshape(rate, o.Classes, 1))))
	}
	return graph.Scale(mean(graph.Sum(graph.Square(apart), 1)), 0.5)
}
