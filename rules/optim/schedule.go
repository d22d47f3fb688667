package optim

import (
	"math"

	"github.com/harpe-ml/harpe/graph"
)

// Schedule gives the learning rate of each step. base is the optimiser's own rate, step counts from 0. A Schedule may
// also have a method Check() error, which New calls to refuse settings that make no sense.
type Schedule interface {
	Rate(base float64, step int) float64
}

// Constant keeps the base rate.
type Constant struct{}

// Rate is base.
func (Constant) Rate(base float64, step int) float64 { return base }

// StepDecay multiplies the rate with Factor (default 0.1) after each Every steps: PyTorch's StepLR.
type StepDecay struct {
	Every  int
	Factor float64
}

// Rate is base Factor^floor(step/Every).
func (s StepDecay) Rate(base float64, step int) float64 {
	return base * math.Pow(or(s.Factor, 0.1), float64(step/s.Every))
}

// Check refuses Every below 1 and a Factor that is negative or not finite.
func (s StepDecay) Check() error {
	if s.Every < 1 {
		return graph.Fail("step decay", "Every", "at least 1 step", s.Every)
	}
	return check("step decay", limit{"Factor", s.Factor, 0})
}

// Exponential multiplies the rate with Factor, which has no default, after each step: PyTorch's ExponentialLR.
type Exponential struct{ Factor float64 }

// Rate is base Factor^step.
func (s Exponential) Rate(base float64, step int) float64 {
	return base * math.Pow(s.Factor, float64(step))
}

// Check refuses a Factor that is not a positive finite number.
func (s Exponential) Check() error {
	if s.Factor == 0 {
		return graph.Fail("exponential", "Factor", "a number above 0", s.Factor)
	}
	return check("exponential", limit{"Factor", s.Factor, 0})
}

// Cosine falls from the base rate to Min along half a cosine in Steps steps: PyTorch's CosineAnnealingLR. After Steps
// it rises again along the same curve and is back at the base rate at 2 Steps, as PyTorch's does up to rounding.
// Loshchilov, Hutter (2017), arXiv:1608.03983, eq. 5, without restarts.
type Cosine struct {
	Steps int
	Min   float64
}

// Rate is Min + (base-Min) (1 + cos(pi step/Steps)) / 2.
func (s Cosine) Rate(base float64, step int) float64 {
	return halfCosine(base, s.Min, float64(step)/float64(s.Steps))
}

// Check refuses Steps below 1 and a Min that is negative or not finite.
func (s Cosine) Check() error { return checkCosine("cosine", s.Steps, s.Min) }

func checkCosine(op string, steps int, least float64) error {
	if steps < 1 {
		return graph.Fail(op, "Steps", "at least 1 step", steps)
	}
	return check(op, limit{"Min", least, 0})
}

// halfCosine goes from a at t = 0 to b at t = 1.
func halfCosine(a, b, t float64) float64 { return b + (a-b)*(1+math.Cos(math.Pi*t))/2 }

// WarmRestarts is Cosine that jumps back to the base rate at the end of each period. The first period has Steps steps,
// each further one Mult times (default 1) as many: PyTorch's CosineAnnealingWarmRestarts. Loshchilov, Hutter (2017),
// arXiv:1608.03983, eq. 5.
type WarmRestarts struct {
	Steps, Mult int
	Min         float64
}

// Rate is Min + (base-Min) (1 + cos(pi t/n)) / 2 in step t of a period of n steps.
func (s WarmRestarts) Rate(base float64, step int) float64 {
	t, n := step, s.Steps
	if s.Mult < 2 {
		t %= n
	}
	for t >= n {
		t -= n
		n *= s.Mult
	}
	return halfCosine(base, s.Min, float64(t)/float64(n))
}

// Check refuses Steps below 1, Mult below 0 and a Min that is negative or not finite.
func (s WarmRestarts) Check() error {
	if s.Mult < 0 {
		return graph.Fail("warm restarts", "Mult", "at least 1 (0: default)", s.Mult)
	}
	return checkCosine("warm restarts", s.Steps, s.Min)
}

// Anneal is the shape of a change of the rate.
type Anneal int

// The shapes: half a cosine, or a straight line.
const (
	CosineAnneal Anneal = iota
	LinearAnneal
)

// OneCycle rises from Max/DivFactor to Max in the first PctStart of Steps steps and then falls to
// Max/(DivFactor FinalDivFactor), where it stays (PyTorch's OneCycleLR fails after Steps). It leaves the optimiser's
// momentum alone, as PyTorch's does with cycle_momentum=False. Smith, Topin (2018), arXiv:1708.07120. Defaults: Max the
// base rate, PctStart 0.3, DivFactor 25, FinalDivFactor 1e4, CosineAnneal.
type OneCycle struct {
	Max                                 float64
	Steps                               int
	PctStart, DivFactor, FinalDivFactor float64
	Anneal                              Anneal
}

// Rate rises until step PctStart Steps - 1 and falls until step Steps - 1.
func (s OneCycle) Rate(base float64, step int) float64 {
	top := or(s.Max, base)
	first := top / or(s.DivFactor, 25)
	last := first / or(s.FinalDivFactor, 1e4)
	end := float64(s.Steps - 1)
	peak := or(s.PctStart, 0.3)*float64(s.Steps) - 1
	t := float64(step)
	between := halfCosine
	if s.Anneal == LinearAnneal {
		between = func(a, b, t float64) float64 { return a + (b-a)*t }
	}
	switch {
	case t > end:
		return last
	case t <= peak && peak > 0:
		return between(first, top, t/peak)
	}
	return between(top, last, (t-peak)/(end-peak))
}

// Check refuses Steps below 1, PctStart outside [0, 1), factors that are not positive and an unknown Anneal.
func (s OneCycle) Check() error {
	switch {
	case s.Steps < 1:
		return graph.Fail("one cycle", "Steps", "at least 1 step", s.Steps)
	case s.DivFactor == Zero:
		return graph.Fail("one cycle", "DivFactor", "a number above 0", 0)
	case s.FinalDivFactor == Zero:
		return graph.Fail("one cycle", "FinalDivFactor", "a number above 0", 0)
	case s.Anneal != CosineAnneal && s.Anneal != LinearAnneal:
		return graph.Fail("one cycle", "Anneal", "CosineAnneal or LinearAnneal", int(s.Anneal))
	}
	return check("one cycle", limit{"Max", s.Max, 0}, limit{"PctStart", s.PctStart, 1},
		limit{"DivFactor", s.DivFactor, 0}, limit{"FinalDivFactor", s.FinalDivFactor, 0})
}

// Warmup rises in equal increments during the first Steps steps, from the first increment to one increment below the
// rate that Then starts with, and goes on with Then (default Constant), whose step 0 is step Steps. Goyal et al. (2017),
// arXiv:1706.02677, section 2.2; PyTorch: SequentialLR of LinearLR(1/(Steps+1), total_iters=Steps) and Then.
type Warmup struct {
	Steps int
	Then  Schedule
}

// Rate is Then's first rate times (step+1)/(Steps+1), then Then's.
func (s Warmup) Rate(base float64, step int) float64 {
	then := s.Then
	if then == nil {
		then = Constant{}
	}
	if step < s.Steps {
		return then.Rate(base, 0) * float64(step+1) / float64(s.Steps+1)
	}
	return then.Rate(base, step-s.Steps)
}

// Check refuses Steps below 1, and what Then refuses.
func (s Warmup) Check() error {
	if s.Steps < 1 {
		return graph.Fail("warmup", "Steps", "at least 1 step", s.Steps)
	}
	return checkAny(s.Then)
}

var (
	_ Schedule = Constant{}
	_ Schedule = StepDecay{}
	_ Schedule = Exponential{}
	_ Schedule = Cosine{}
	_ Schedule = WarmRestarts{}
	_ Schedule = OneCycle{}
	_ Schedule = Warmup{}
)
