// Package objectives holds what training minimises and what evaluation measures: functions from nodes to a node.
//
// An Objective compares a model's output with its target. The plain functions CrossEntropy, MSE, ... are objectives with
// the usual settings; others are fields of a struct with the same name and Options, whose method Loss is an Objective:
//
//	objective := objectives.CrossEntropyOptions{LabelSmoothing: 0.1}.Loss
//
// Formulas, defaults and sub-gradients are PyTorch's unless a comment says otherwise. Class labels are Int nodes, all
// other targets have the output's type and shape; there is no broadcasting between output and target. An objective
// applied to nodes it cannot take panics with a *graph.Error, which graph.Build returns. GaussianNLL, CosineEmbedding and
// TripletMargin compare three nodes and so are no Objectives themselves.
//
// In the table x is the output (logits), y the label or target, p = softmax(x) or, of one logit, sigmoid(x), p_y the
// probability of the label, C the number of classes, d = x - y. A name is what ByName takes, unless the objective needs
// more than an output and a target.
//
//	name             formula                                    paper                           when to use it
//	bce-with-logits  -y log p - (1-y) log(1-p), p = sigmoid(x)  D. Cox 1958                     yes or no, several labels at once
//	cross-entropy    -log p_y                                   J. Bridle 1990                  classes; the default
//	focal            -(1-p_y)² log p_y                          T. Lin et al. 2017, 1708.02002  many easy examples, dense prediction
//	hinge-embedding  x if y = 1, max(0, 1 - x) if y = -1        R. Hadsell et al. 2006          distances of pairs
//	huber            d²/2 to |d| = 1, |d| - 1/2 beyond          P. Huber 1964                   regression with some outliers
//	kl-div           Σ y (log y - x)                            S. Kullback, R. Leibler 1951    soft targets, distillation
//	l1               |d|                                        P. Laplace 1774                 regression with outliers, medians
//	mse              d²                                         A. Legendre 1805                regression; the default
//	multi-margin     1/C Σ_{j≠y} max(0, 1 - x_y + x_j)          K. Crammer, Y. Singer 2001      margins rather than probabilities
//	nll              -x_y                                       J. Bridle 1990                  outputs that are log-probabilities
//	poisson-nll      e^x - y x                                  J. Nelder, R. Wedderburn 1972   counts
//	smooth-l1        d²/2 to |d| = 1, |d| - 1/2 beyond          R. Girshick 2015, 1504.08083    boxes
package objectives
