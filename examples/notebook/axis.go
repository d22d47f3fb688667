package notebook

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// extent is the range of finite values seen.
type extent struct {
	low, high float64
	seen      bool
}

func (e *extent) add(v float64) {
	if !e.seen {
		*e = extent{v, v, true}
		return
	}
	e.low, e.high = min(e.low, v), max(e.high, v)
}

// setAxis gives an axis its range, scale and ticks. A range too narrow for them is widened.
func (e extent) setAxis(a *plot.Axis, logarithmic bool) {
	a.Padding = 4
	if logarithmic {
		if !e.seen {
			e.low, e.high = 1, 10
		}
		if e.high < e.low*1.001 {
			e.low, e.high = e.low/2, e.high*2
		}
		a.Scale, a.Tick.Marker = plot.LogScale{}, logTicks{}
	} else {
		if !e.seen {
			e.low, e.high = 0, 1
		}
		if size := max(math.Abs(e.low), math.Abs(e.high)); e.high-e.low <= 1e-9*size || e.high-e.low < 1e-200 {
			half := max(0.1*size, 1e-100)
			if size < 1e-100 {
				half = 1
			}
			e.low, e.high = e.low-half, e.high+half
		}
		a.Tick.Marker = linearTicks{}
	}
	a.Min, a.Max = e.low, e.high
}

// linearTicks are two to seven multiples of 1, 2 or 5 times a power of ten.
type linearTicks struct{}

func (linearTicks) Ticks(low, high float64) []plot.Tick {
	step := niceStep((high - low) / 6)
	first := math.Ceil(low/step - 1e-9)
	var ticks []plot.Tick
	for k := first; k*step <= high+1e-9*step && len(ticks) < 20; k++ {
		ticks = append(ticks, plot.Tick{Value: k * step, Label: tickLabel(k*step, step, max(math.Abs(low), math.Abs(high)))})
	}
	return ticks
}

// niceStep is the multiple of 1, 2 or 5 of a power of ten next above s.
func niceStep(s float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(s)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= s*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// tickLabel writes v, a multiple of step on an axis that reaches to size, with the digits that step needs.
func tickLabel(v, step, size float64) string {
	decimals := int(-math.Floor(math.Log10(step) + 1e-9))
	switch {
	case v == 0:
		return "0"
	case size < 1e6 && decimals <= 4:
		return minus(strconv.FormatFloat(v, 'f', max(0, decimals), 64))
	}
	digits := int(math.Floor(math.Log10(math.Abs(v))+1e-9)) + decimals
	return minus(strconv.FormatFloat(v, 'e', max(0, digits), 64))
}

// minus writes a number with the true minus sign and without zeros in its exponent.
func minus(s string) string {
	out := ""
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '-':
			out += "−"
		case s[i] == '+', s[i] == '0' && i > 1 && (s[i-1] == '+' || s[i-1] == '-') && s[i-2] == 'e' && i+1 < len(s):
		default:
			out += s[i : i+1]
		}
	}
	return out
}

// logTicks label the powers of ten; over less than three decades also 2 and 5 times them, and over less than one as
// on a linear axis.
type logTicks struct{}

func (logTicks) Ticks(low, high float64) []plot.Tick {
	decades := math.Log10(high / low)
	if decades < 1 {
		return linearTicks{}.Ticks(low, high)
	}
	every := int(math.Ceil(decades / 8))
	first := int(math.Floor(math.Log10(low)))
	var ticks []plot.Tick
	for e := first; e <= int(math.Ceil(math.Log10(high))); e++ {
		for m := 1.0; m < 10; m++ {
			v := m * math.Pow(10, float64(e))
			labelled := m == 1 && e%every == 0 || decades < 3 && (m == 2 || m == 5)
			switch {
			case v < low*(1-1e-9) || v > high*(1+1e-9):
			case labelled:
				ticks = append(ticks, plot.Tick{Value: v, Label: logLabel(v, e)})
			case every == 1:
				ticks = append(ticks, plot.Tick{Value: v})
			}
		}
	}
	return ticks
}

func logLabel(v float64, exponent int) string {
	if exponent >= -4 && exponent <= 5 {
		return strconv.FormatFloat(v, 'f', max(0, -exponent), 64)
	}
	return minus(strconv.FormatFloat(v, 'e', 0, 64))
}
