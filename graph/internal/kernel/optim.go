package kernel

// Steps of optimisers on float32 in one pass over memory. An element's result depends on its own numbers only. Each
// says whether this machine has the kernel; where it has none, nothing is done.

// SGD32 makes p -= lr (scale grad + decay p), for slices of one length.
func SGD32(p, grad []float32, scale, decay, lr float32) bool {
	if vectors == nil {
		return false
	}
	if n := len(p); n > 0 {
		vectors.sgd(&p[0], &grad[:n][0], n, scale, decay, lr)
	}
	return true
}

// MomentumStep holds the numbers of Momentum32.
type MomentumStep struct{ Scale, Decay, Keep, Add, FromGrad, FromBuf, LR float32 }

// Momentum32 makes g = Scale grad + Decay p, buf = Keep buf + Add g, p -= LR (FromGrad g + FromBuf buf), for slices of
// one length.
func Momentum32(p, grad, buf []float32, s MomentumStep) bool {
	if vectors == nil {
		return false
	}
	if n := len(p); n > 0 {
		vectors.momentum(&p[0], &grad[:n][0], &buf[:n][0], n, s.Scale, s.Decay, s.Keep, s.Add, s.FromGrad, s.FromBuf, s.LR)
	}
	return true
}

// AdamStep holds the numbers of Adam32.
type AdamStep struct{ Scale, Decay, Keep, Beta1, Rest1, Beta2, Rest2, Rate, Correct, Eps float32 }

// Adam32 makes g = Scale grad + Decay p, m = Beta1 m + Rest1 g, v = Beta2 v + Rest2 g², p = Keep p - Rate m /
// (Correct sqrt(v) + Eps), for slices of one length. With largest, which may be nil, largest = max(largest, v) stands
// for v in the last.
func Adam32(p, grad, m, v, largest []float32, s AdamStep) bool {
	if vectors == nil {
		return false
	}
	n := len(p)
	switch {
	case n == 0:
	case largest == nil:
		vectors.adam(&p[0], &grad[:n][0], &m[:n][0], &v[:n][0], n,
			s.Scale, s.Decay, s.Keep, s.Beta1, s.Rest1, s.Beta2, s.Rest2, s.Rate, s.Correct, s.Eps)
	default:
		vectors.amsgrad(&p[0], &grad[:n][0], &m[:n][0], &v[:n][0], &largest[:n][0], n,
			s.Scale, s.Decay, s.Keep, s.Beta1, s.Rest1, s.Beta2, s.Rest2, s.Rate, s.Correct, s.Eps)
	}
	return true
}
