package laws

import (
	"math"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

func last(x []float64) float64 { return x[len(x)-1] }

// The areas of small schedules, by hand: no fall, one fall, a straight line; no memory and endless memory.
func TestAreas(t *testing.T) {
	drop := []float64{.3, .3, .3, .3, .1, .1, .1}
	line := []float64{1, .75, .5, .25, 0}
	for _, c := range []struct {
		name   string
		rates  []float64
		lambda float64
		s1, s2 float64
	}{
		{"constant", []float64{.2, .2, .2, .2}, 0.999, .8, 0},
		{"drop", drop, 0.9, 1.5, .542},
		{"line", line, 0.5, 2.5, 1.53125},
		{"no memory", drop, 0, 1.5, .2},
		{"endless memory", drop, 1, 1.5, 7*.3 - 1.5},
	} {
		s1, s2 := Areas(c.rates, c.lambda)
		near(t, c.name+": S1", last(s1), c.s1, 1e-15)
		near(t, c.name+": S2", last(s2), c.s2, 1e-15)
	}
	// n steps after a fall by D: D(1-λ^n)/(1-λ); and the double sum of the paper for a cosine.
	const lambda = 0.97
	rates := Rates(optim.Cosine{Steps: 40}, 0.3, 40)
	_, s2 := Areas(rates, lambda)
	sum := 0.0
	for i := range rates {
		for k := 1; k <= i; k++ {
			sum += (rates[k-1] - rates[k]) * math.Pow(lambda, float64(i-k))
		}
	}
	near(t, "double sum", last(s2), sum, 1e-13)
	_, s2 = Areas(append(Rates(nil, 0.5, 10), Rates(nil, 0.2, 25)...), lambda)
	near(t, "geometric sum", last(s2), 0.3*(1-math.Pow(lambda, 25))/(1-lambda), 1e-13)
}

func TestAnnealingValue(t *testing.T) {
	law := Annealing{L0: 2.5, A: .4, Alpha: .5, C: .4, Lambda: .9}
	near(t, "loss", last(law.Predict([]float64{.3, .3, .3, .3, .1, .1, .1}, 0)), 2.609798632, 5e-10)
}

// wsd holds the rate and lets it fall in the last fifth.
type wsd struct{ steps int }

func (w wsd) Rate(base float64, step int) float64 {
	return base * min(1, float64(w.steps-step)/(0.2*float64(w.steps)))
}

// Curves made from known laws under a cosine and a constant rate give the numbers back, and so every other schedule;
// thinned, with sizes, and with a tenth of the losses spoilt too.
func TestFitAnnealing(t *testing.T) {
	const steps = 600
	cosine, constant := Rates(optim.Cosine{Steps: steps, Min: 1e-4}, 1e-3, steps), Rates(nil, 1e-3, steps)
	unseen := Rates(wsd{steps}, 1e-3, steps)
	for _, law := range []Annealing{
		{L0: 2.628, A: 0.429, Alpha: 0.55, C: 0.411, Lambda: 0.999},
		{L0: 0.05, A: 1.3, Alpha: 0.31, C: 0.002, Lambda: 0.99},
		{L0: 1.2, A: 0.8, Alpha: 1.4, C: 0, Lambda: 0.95},
	} {
		curves := []Curve{{Rates: cosine, Loss: law.Predict(cosine, 0)}, {Rates: constant, Loss: law.Predict(constant, 0)}}
		got, err := FitAnnealing(curves, AnnealingOptions{Lambda: law.Lambda})
		if err != nil {
			t.Fatal(err)
		}
		agree(t, law, got, 1e-4)
		for i, want := range law.Predict(unseen, 0) {
			if p := got.Predict(unseen, 0)[i]; math.Abs(p/want-1) > 1e-6 {
				t.Fatalf("unseen schedule, step %d: want %v, got %v", i+1, want, p)
			}
		}
	}
	if testing.Short() {
		return
	}
	law := Annealing{L0: 2, A: 0.5, Alpha: 0.6, C: 0.1, B: 30, Beta: 0.4, Lambda: 0.99}
	var curves []Curve
	for _, size := range []float64{1e3, 1e4, 1e5} {
		for _, rates := range [][]float64{cosine, constant} {
			c := Curve{Rates: rates, Size: size}
			for i := 30; i <= steps; i += 30 {
				c.Steps, c.Loss = append(c.Steps, i), append(c.Loss, law.Predict(rates, size)[i-1])
			}
			curves = append(curves, c)
		}
	}
	got, err := FitAnnealing(curves, AnnealingOptions{Lambda: law.Lambda})
	if err != nil {
		t.Fatal(err)
	}
	agree(t, law, got, 1e-3)

	law.B, law.Beta = 0, 0
	spoilt := []Curve{{Rates: cosine, Loss: law.Predict(cosine, 0)}, {Rates: constant, Loss: law.Predict(constant, 0)}}
	r := graph.Rand(1, "test", 0)
	for _, c := range spoilt {
		for i := range c.Loss {
			if r.IntN(10) == 0 {
				c.Loss[i] *= 1.5
			}
		}
	}
	if got, err = FitAnnealing(spoilt, AnnealingOptions{Lambda: law.Lambda}); err != nil {
		t.Fatal(err)
	}
	agree(t, law, got, 0.02)
}

// agree compares what a fit found, relatively.
func agree(t *testing.T, want, got Annealing, tolerance float64) {
	t.Helper()
	for _, f := range []struct {
		name      string
		want, got float64
	}{{"L0", want.L0, got.L0}, {"A", want.A, got.A}, {"Alpha", want.Alpha, got.Alpha}, {"C", want.C, got.C}, {"B", want.B, got.B}, {"Beta", want.Beta, got.Beta}} {
		near(t, f.name, f.got, f.want, tolerance*max(1, math.Abs(f.want)))
	}
}

// Eight exact points from 1e3 to 1e9 give the law back; its value at 1e6 is 2.8053387945. Another unit of x scales Scale
// alone.
func TestFitPower(t *testing.T) {
	law := Power{Limit: 2.64, Scale: 280, Alpha: .22}
	near(t, "L(1e6)", law.Predict(1e6), 2.8053387945, 5e-11)
	near(t, "needs", law.Needs(law.Reducible(12345)), 12345, 1e-7)
	for _, unit := range []float64{1, 1e-6, 1e15} {
		var x, loss []float64
		for i := range 8 {
			size := math.Pow(10, 3+6*float64(i)/7)
			x, loss = append(x, unit*size), append(loss, law.Predict(size))
		}
		got, err := FitPower(x, loss)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "limit", got.Limit, law.Limit, 1e-6)
		near(t, "scale", got.Scale/unit/law.Scale, 1, 1e-5)
		near(t, "alpha", got.Alpha, law.Alpha, 1e-6)
	}
	for _, law := range []Power{{0, 3, 0.5}, {10, 1e4, 1}, {0.7, 0.01, 2}} {
		var x, loss []float64
		for i := range 10 {
			v := 2 * math.Pow(2, float64(i))
			x, loss = append(x, v), append(loss, law.Predict(v))
		}
		got, err := FitPower(x, loss)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "limit", got.Limit, law.Limit, 1e-5)
		near(t, "alpha", got.Alpha, law.Alpha, 1e-2)
		near(t, "prediction", got.Predict(1e4)/law.Predict(1e4), 1, 1e-4)
	}
}

// The closed form of the best split agrees with a search over sizes, its exponent with Envelope's sizes, and a fit
// returns the law.
func TestJoint(t *testing.T) {
	law := Joint{Limit: 1.69, A: 406.4, Alpha: .34, B: 410.7, Beta: .28}
	for _, c := range []float64{1e15, 1e18, 1e21} {
		n, d := law.Optimal(c)
		near(t, "operations", Operations(n, d)/c, 1, 1e-12)
		least, at := math.Inf(1), 0.0
		for i := range 200001 {
			size := n * math.Exp(float64(i-100000)/1e5)
			if l := law.Predict(size, c/6/size); l < least {
				least, at = l, size
			}
		}
		near(t, "size", math.Log(at/n), 0, 1e-4)
	}
	var n, d, loss []float64
	var runs []Run
	for i := range 8 {
		for j := range 8 {
			size, data := math.Pow(10, 6+float64(i)/2), math.Pow(10, 8+float64(j)/2)
			n, d, loss = append(n, size), append(d, data), append(loss, law.Predict(size, data))
			runs = append(runs, Run{size, Operations(size, data), law.Predict(size, data)})
		}
	}
	got, err := FitJoint(n, d, loss)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "limit", got.Limit, law.Limit, 1e-3)
	near(t, "alpha", got.Alpha, law.Alpha, 1e-3)
	near(t, "beta", got.Beta, law.Beta, 1e-3)
	near(t, "A", got.A/law.A, 1, 1e-2)
	near(t, "B", got.B/law.B, 1, 1e-2)
	e := Envelope(runs)
	for i, r := range e {
		if i > 0 && (r.Operations <= e[i-1].Operations || r.Loss >= e[i-1].Loss) {
			t.Errorf("envelope %d: %+v after %+v", i, r, e[i-1])
		}
		for _, other := range runs {
			if other.Operations <= r.Operations && other.Loss < r.Loss {
				t.Errorf("%+v is better than %+v", other, r)
			}
		}
		if i > 0 && i < len(e)-1 { // sizes on a grid of half decades
			best, _ := law.Optimal(r.Operations)
			if q := math.Log10(r.Size / best); math.Abs(q) > 0.75 {
				t.Errorf("%+v: best size %v", r, best)
			}
		}
	}
	near(t, "information gain", InfoGain(4, 3), 0.25, 0)
}

func TestMistakes(t *testing.T) {
	four := []float64{1, 2, 3, 4}
	ok := Curve{Rates: four, Loss: four}
	for name, err := range map[string]error{
		"a list too short": func() error { _, err := FitPower(four[:3], four[:3]); return err }(),
		"other lengths":    func() error { _, err := FitPower(four, four[:3]); return err }(),
		"a zero":           func() error { _, err := FitPower([]float64{0, 1, 2, 3}, four); return err }(),
		"NaN":              func() error { _, err := FitPower(four, []float64{1, 2, math.NaN(), 3}); return err }(),
		"few runs":         func() error { _, err := FitJoint(four, four, four); return err }(),
		"no curves":        func() error { _, err := FitAnnealing(nil, AnnealingOptions{}); return err }(),
		"lambda":           func() error { _, err := FitAnnealing([]Curve{ok}, AnnealingOptions{Lambda: 2}); return err }(),
		"losses missing":   func() error { _, err := FitAnnealing([]Curve{{Rates: four}}, AnnealingOptions{}); return err }(),
		"step 5 of 4": func() error {
			_, err := FitAnnealing([]Curve{{Rates: four, Steps: []int{1, 2, 3, 5}, Loss: four}}, AnnealingOptions{})
			return err
		}(),
		"a negative rate": func() error {
			_, err := FitAnnealing([]Curve{{Rates: []float64{1, -1, 1, 1}, Loss: four}}, AnnealingOptions{})
			return err
		}(),
		"a negative loss": func() error {
			_, err := FitAnnealing([]Curve{{Rates: four, Loss: []float64{1, -1, 1, 1}}}, AnnealingOptions{})
			return err
		}(),
		"two sizes": func() error {
			_, err := FitAnnealing([]Curve{ok, {Rates: four, Loss: four, Size: 7}}, AnnealingOptions{})
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), "law") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
