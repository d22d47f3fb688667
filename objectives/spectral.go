package objectives

import "github.com/harpe-ml/harpe/graph"

func init() {
	const paper = "M. Pezeshki et al. 2021, 2011.09468"
	Register(
		Entry{Name: "spectral-decoupling", Objective: SpectralDecoupling,
			Summary: "cross-entropy plus the squared logits, so that an easy feature does not keep others from being learnt",
			Formula: "-log p_y + 0.1/2 Σ_k x_k²", Paper: paper, Use: "spurious features; instead of weight decay"},
		Entry{Name: "spectral-decoupling-target", Objective: SpectralDecouplingTargetOptions{}.Loss,
			Summary: "binary cross-entropy plus the squared distances of the logits to a target for each answer",
			Formula: "bce(x, y) + 0.1 (x - γ_y)²", Paper: paper, Use: "spurious features in unbalanced groups"},
	)
}

// SpectralDecoupling is SpectralDecouplingOptions{}.Loss.
func SpectralDecoupling(output, target *graph.Node) *graph.Node {
	return SpectralDecouplingOptions{}.Loss(output, target)
}

// SpectralDecouplingOptions are the settings of the penalty on logits.
type SpectralDecouplingOptions struct {
	Objective Objective // what is penalised; nil means CrossEntropy; for single logits BCEWithLogits
	Lambda    float64   // weight of half the squared logits; 0 means 0.1
}

// Loss is Objective plus Lambda/2 times the mean over the batch of the squared norm of each example's logits, for output
// [batch, ...] and what target Objective takes (M. Pezeshki et al. 2021, arXiv 2011.09468).
func (o SpectralDecouplingOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "spectral_decoupling"
	if !(o.Lambda >= 0) {
		panic(graph.Fail(op, "Lambda", "above 0, or 0 for 0.1", o.Lambda))
	}
	objective := o.Objective
	if objective == nil {
		objective = CrossEntropy
	}
	penalty := ReduceBatchMean.of(op, graph.Square(output))
	return graph.Add(objective(output, target), graph.Scale(penalty, or(o.Lambda, 0.1)/2))
}

// SpectralDecouplingTargetOptions are the settings of the penalty on the logits of yes-or-no answers.
type SpectralDecouplingTargetOptions struct {
	Weight   float64 // of the squares; 0 means 0.1
	Positive float64 // logit aimed at for answers of 1, the authors' choice for CelebA being 2.5
	Negative float64 // logit aimed at for answers of 0, theirs being 0.44
}

// Loss is the binary cross-entropy plus Weight times the mean of (x - Positive)² over the answers of 1 and plus Weight
// times that of (x - Negative)² over those of 0, for logits x of any shape and targets, 0 or 1, of the same (M. Pezeshki
// et al. 2021, arXiv 2011.09468). The mean over no answers is 0.
func (o SpectralDecouplingTargetOptions) Loss(output, target *graph.Node) *graph.Node {
	const op = "spectral_decoupling_target"
	needSame(op, output, "target", target)
	if !(o.Weight >= 0) {
		panic(graph.Fail(op, "Weight", "above 0, or 0 for 0.1", o.Weight))
	}
	mean := func(of *graph.Node, aim float64) *graph.Node {
		square := graph.Square(graph.Shift(output, -aim))
		return graph.Div(graph.Sum(graph.Mul(of, square)), keepPositive(graph.Sum(of)))
	}
	penalty := graph.Add(mean(target, o.Positive), mean(graph.OneMinus(target), o.Negative))
	return graph.Add(BCEWithLogits(output, target), graph.Scale(penalty, or(o.Weight, 0.1)))
}
