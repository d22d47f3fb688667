// Package compute opens the engine's worker pool and some of its vector loops to work that is not part of a compiled
// program: the optimisers, which update parameters in place, and rules that run programs side by side.
package compute

import "github.com/harpe-ml/harpe/graph/internal/kernel"

// Task is work in independent pieces: Run does piece index; worker is a number below GOMAXPROCS that no two pieces of
// one Parallel call have at the same time.
type Task = kernel.Task

// Parallel does pieces 0 to n-1 of t on the calling goroutine and on idle workers of the engine, at most GOMAXPROCS
// together, and returns when all are done. It allocates nothing and may be called from inside a piece. A panic of
// a piece is raised again in the caller.
func Parallel(t Task, n int) { kernel.Parallel(t, n) }

// SumSquares is the sum of x² in float64, in an order that depends on the length only.
func SumSquares(x []float32) float64 { return kernel.SumSquares32(x) }

// The steps below update slices of one length in one pass with vector instructions. An element's result depends on its
// own numbers only. They report whether this machine has the instructions; if not, nothing is done.

// SGD makes p -= lr (scale grad + decay p).
func SGD(p, grad []float32, scale, decay, lr float32) bool {
	return kernel.SGD32(p, grad, scale, decay, lr)
}

// MomentumStep holds the numbers of one Momentum step.
type MomentumStep = kernel.MomentumStep

// Momentum makes g = Scale grad + Decay p, buf = Keep buf + Add g, p -= LR (FromGrad g + FromBuf buf).
func Momentum(p, grad, buf []float32, s MomentumStep) bool {
	return kernel.Momentum32(p, grad, buf, s)
}

// AdamStep holds the numbers of one Adam step.
type AdamStep = kernel.AdamStep

// Adam makes g = Scale grad + Decay p, m = Beta1 m + Rest1 g, v = Beta2 v + Rest2 g², p = Keep p - Rate m /
// (Correct sqrt(v) + Eps). If largest is not nil, largest = max(largest, v) stands for v in the last.
func Adam(p, grad, m, v, largest []float32, s AdamStep) bool {
	return kernel.Adam32(p, grad, m, v, largest, s)
}
