package search

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%+v", err)
		}
		return v
	}
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Errorf("%s: want %+v, got %+v", what, want, got)
	}
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, wanted one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// trials of one Real called b.
func trials(score func(float64) float64, values ...float64) []Trial {
	var list []Trial
	for i, v := range values {
		list = append(list, Trial{Index: i, Config: Config{"b": v}, Score: score(v)})
	}
	return list
}

// Of samples 1 to 5 and the performance -(b-3.2)^2, the elite of two is 3 and 4, of mean 3.5 and standard deviation 0.5;
// with smoothing 0.7 from mean 0 and deviation 1 that makes 2.45 and 0.65. An increasing function of the performance
// changes nothing.
func TestUpdateOfANumber(t *testing.T) {
	space := Space{Real{Name: "b", Low: -10, High: 10, Spread: 1}}
	d := must[Distribution](t)(space.Start())
	if d.Factors[0].Mean != 0 || d.Factors[0].Std != 1 {
		t.Fatalf("start: %+v", d.Factors[0])
	}
	p := func(b float64) float64 { return -(b - 3.2) * (b - 3.2) }
	for name, score := range map[string]func(float64) float64{
		"p": p, "exp p": func(b float64) float64 { return math.Exp(p(b)) }, "p^3 - 7": func(b float64) float64 { return math.Pow(p(b), 3) - 7 },
	} {
		next := must[Distribution](t)(CrossEntropy{Elite: 0.4}.Update(d, trials(score, 1, 2, 3, 4, 5)))
		near(t, name+": mean", next.Factors[0].Mean, 2.45, 1e-12)
		near(t, name+": deviation", next.Factors[0].Std, 0.65, 1e-12)
	}
	all := elite(trials(p, 1, 2, 3, 4, 5), 1)
	whole := refit(d, d, all, 1, 0) // all of them: the moments of the sample
	near(t, "mean of all", whole.Factors[0].Mean, 3, 1e-12)
	near(t, "deviation of all", whole.Factors[0].Std, math.Sqrt2, 1e-12)
	equal(t, "smoothing 0", d.Factors, refit(d, d, all, 0, 0).Factors)
	same := refit(d, d, elite(trials(p, 2, 2, 2), 1), 1, 0.25)
	near(t, "deviation of equal elites", same.Factors[0].Std, 0.25, 0)
	lost := must[Distribution](t)(CrossEntropy{}.Update(d, trials(func(float64) float64 { return math.NaN() }, 1, 2)))
	equal(t, "a round without a score", d.Factors, lost.Factors)
}

// A factor on a logarithmic scale is log-normal: of the elite 0.01 and 1 the mean is log 0.1 and the deviation log 10.
func TestUpdateOnALogarithmicScale(t *testing.T) {
	for _, space := range []Space{
		{Real{Name: "b", Low: 1e-4, High: 1e4, Log: true, Start: 5, Spread: 2}},
		{Integer{Name: "b", Low: 1, High: 10000, Log: true}},
	} {
		d := must[Distribution](t)(space.Start())
		elite := []Config{{"b": 0.01}, {"b": 1.0}}
		want := math.Log(0.1)
		if _, ok := space[0].(Integer); ok {
			elite, want = []Config{{"b": 10}, {"b": 1000}}, math.Log(100)
		}
		f := refit(d, d, elite, 1, 0).Factors[0]
		near(t, "mean", f.Mean, want, 1e-12)
		near(t, "deviation", f.Std, math.Log(10), 1e-12)
	}
	f := must[Distribution](t)(Space{Real{Name: "b", Low: 1e-4, High: 1e4, Log: true, Start: 5, Spread: 2}}.Start()).Factors[0]
	near(t, "start", f.Mean, math.Log(5), 1e-15)
	near(t, "spread", f.Std, math.Log(2), 1e-15)
}

// Elites 1, 1, 2 of four values make shares 0, 2/3, 1/3, 0.
func TestUpdateOfAChoice(t *testing.T) {
	space := Space{Choice{Name: "c", Values: []string{"0", "1", "2", "3"}}}
	d := must[Distribution](t)(space.Start())
	fit := refit(d, d, []Config{{"c": "1"}, {"c": "1"}, {"c": "2"}}, 1, 0)
	for i, want := range []float64{0, 2. / 3, 1. / 3, 0} {
		near(t, "share", fit.Factors[0].Shares[i], want, 1e-15)
	}
	if got := fit.Mode()["c"]; got != "1" {
		t.Errorf("mode: want 1, got %v", got)
	}
}

// Draws follow the cut-off normal distribution: moments of N(0, 1) on [-1, 2] from the textbook formula, and integers
// have the probabilities of their unit intervals.
func TestDraw(t *testing.T) {
	const n = 40000
	pdf := func(z float64) float64 { return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) }
	cdf := func(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }
	mass := cdf(2) - cdf(-1)
	mean := (pdf(-1) - pdf(2)) / mass
	variance := 1 + (-1*pdf(-1)-2*pdf(2))/mass - mean*mean
	space := Space{
		Real{Name: "x", Low: -1, High: 2, Start: math.SmallestNonzeroFloat64, Spread: 1},
		Integer{Name: "k", Low: 0, High: 3, Start: 1, Spread: 1},
		Choice{Name: "c", Values: []string{"a", "b"}},
	}
	d := must[Distribution](t)(space.Start())
	d.Factors[2].Shares = []float64{0.25, 0.75}
	var sum, square, b float64
	var count [4]float64
	r := graph.Rand(1, "test", 0)
	for range n {
		c := d.Draw(r)
		x := c["x"].(float64)
		if x < -1 || x > 2 {
			t.Fatalf("%v is outside", x)
		}
		sum, square = sum+x/n, square+x*x/n
		count[c["k"].(int)]++
		if c["c"] == "b" {
			b++
		}
	}
	five := 5 / math.Sqrt(n)
	near(t, "mean", sum, mean, five)
	near(t, "variance", square-sum*sum, variance, 2*five)
	total := cdf(2.5) - cdf(-1.5)
	for k, got := range count {
		near(t, fmt.Sprint("share of ", k), got/n, (cdf(float64(k)-0.5)-cdf(float64(k)-1.5))/total, five)
	}
	near(t, "share of b", b/n, 0.75, five)
}

// Even draws have even moments on the scale of the dimension.
func TestUniform(t *testing.T) {
	const n = 40000
	space := Space{Real{Name: "x", Low: 0.01, High: 100, Log: true}, Integer{Name: "k", Low: 1, High: 4}}
	r := graph.Rand(1, "test", 0)
	var sum, square float64
	var count [5]float64
	for range n {
		c := space.Uniform(r)
		v := math.Log10(c["x"].(float64))
		sum, square = sum+v/n, square+v*v/n
		count[c["k"].(int)]++
	}
	near(t, "mean of log10", sum, 0, 5*2/math.Sqrt(n))
	near(t, "variance of log10", square, 16./12, 0.05)
	for k := 1; k <= 4; k++ {
		near(t, "share", count[k]/n, 0.25, 5/math.Sqrt(n))
	}
}

func quadratic(_ context.Context, c Config) (float64, error) {
	x, y := c["x"].(float64)-0.3, c["y"].(float64)+0.7
	return -(x*x + 4*y*y + x*y), nil
}

var plane = Space{Real{Name: "x", Low: -2, High: 2}, Real{Name: "y", Low: -2, High: 2}}

// 30 rounds of 50 bring the mean within 1e-2 of a quadratic's optimum, for every seed.
func TestOptima(t *testing.T) {
	for seed := range uint64(10) {
		s := CrossEntropy{Rounds: 30, Population: 50, Options: Options{Seed: seed}}
		r := must[*Result](t)(s.Run(t.Context(), plane, quadratic))
		near(t, "quadratic x", r.Mode()["x"].(float64), 0.3, 1e-2)
		near(t, "quadratic y", r.Mode()["y"].(float64), -0.7, 1e-2)
	}
}

// A mixed space: the best is found in all kinds of dimensions, and Tolerance ends the search early.
func TestMixedSpace(t *testing.T) {
	space := Space{
		Real{Name: "lr", Low: 1e-5, High: 10, Log: true},
		Integer{Name: "units", Low: 1, High: 512, Log: true},
		Integer{Name: "depth", Low: 1, High: 8},
		Choice{Name: "rule", Values: []string{"a", "b", "c"}},
	}
	f := func(_ context.Context, c Config) (float64, error) {
		score := -math.Pow(math.Log10(c["lr"].(float64))+2, 2) - math.Pow(math.Log2(float64(c["units"].(int)))-6, 2)/4
		score -= math.Abs(float64(c["depth"].(int) - 3))
		if c["rule"] != "c" {
			score -= 0.5
		}
		return score, nil
	}
	s := CrossEntropy{Rounds: 60, Population: 40, Tolerance: 0.05}
	r := must[*Result](t)(s.Run(t.Context(), space, f))
	m := r.Mode()
	if n := len(r.Distributions) - 1; n >= 60 {
		t.Errorf("not settled after %d rounds: %+v", n, r.Distributions[n])
	}
	near(t, "log10 lr", math.Log10(m["lr"].(float64)), -2, 0.2)
	near(t, "log2 units", math.Log2(float64(m["units"].(int))), 6, 0.5)
	if m["depth"] != 3 || m["rule"] != "c" {
		t.Errorf("want depth 3 and rule c, got %v", m)
	}
}

// timeless is the result without its times.
func timeless(r *Result) Result {
	c := *r
	c.Best.Seconds, c.Trials = 0, slices.Clone(r.Trials)
	for i := range c.Trials {
		c.Trials[i].Seconds = 0
	}
	return c
}

// The number of trials at a time changes nothing, nor does being stopped at any trial and continued from the log, whose
// last line may be cut off.
func TestSameBitsParallelAndResumed(t *testing.T) {
	base := CrossEntropy{Rounds: 4, Population: 10, Options: Options{Seed: 3, Parallel: 1}}
	want := must[*Result](t)(base.Run(t.Context(), plane, quadratic))
	wide := base
	wide.Parallel = 7
	got := must[*Result](t)(wide.Run(t.Context(), plane, func(ctx context.Context, c Config) (float64, error) {
		time.Sleep(time.Duration(1e5 * (2 + c["x"].(float64)))) // end in another order
		return quadratic(ctx, c)
	}))
	equal(t, "seven at a time", timeless(want), timeless(got))
	for stop := 1; stop < 40; stop += 6 {
		s := wide
		s.Log = filepath.Join(t.TempDir(), "log")
		ctx, cancel := context.WithCancel(t.Context())
		ended := 0
		s.OnTrial = func(Trial) {
			if ended++; ended == stop {
				cancel()
			}
		}
		if _, err := s.Run(ctx, plane, quadratic); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %d: %v", stop, err)
		}
		log := must[[]byte](t)(os.ReadFile(s.Log))
		cut := strings.LastIndex(strings.TrimSpace(string(log)), "\n") + 10
		if err := os.WriteFile(s.Log, log[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		s.OnTrial = nil
		var again atomic.Int64
		got := must[*Result](t)(s.Run(t.Context(), plane, func(ctx context.Context, c Config) (float64, error) {
			again.Add(1)
			return quadratic(ctx, c)
		}))
		equal(t, fmt.Sprint("stopped at ", stop), timeless(want), timeless(got))
		if n := int(again.Load()); n != 40-(ended-1) {
			t.Errorf("stopped at %d: want %d trials more, got %d", stop, 40-(ended-1), n)
		}
		longer := s // more rounds go on from there
		longer.Rounds = 5
		again.Store(0)
		must[*Result](t)(longer.Run(t.Context(), plane, func(ctx context.Context, c Config) (float64, error) {
			again.Add(1)
			return quadratic(ctx, c)
		}))
		if again.Load() != 10 {
			t.Errorf("a round more made %d trials", again.Load())
		}
	}
}

// Runs that diverge count as the worst, also after they are read from the log; random search takes the same functions.
func TestDivergedRunsAndRandom(t *testing.T) {
	f := func(ctx context.Context, c Config) (float64, error) {
		if c["x"].(float64) > 0.2 {
			return math.NaN(), nil
		}
		return quadratic(ctx, c)
	}
	log := filepath.Join(t.TempDir(), "log")
	s := Random{Trials: 60, Options: Options{Log: log}}
	a := must[*Result](t)(s.Run(t.Context(), plane, f))
	b := must[*Result](t)(s.Run(t.Context(), plane, func(context.Context, Config) (float64, error) {
		return 0, errors.New("tried again")
	}))
	equal(t, "read from the log", a, b)
	worst := 0
	for _, r := range a.Trials {
		if math.IsInf(r.Score, -1) != (r.Config["x"].(float64) > 0.2) {
			t.Errorf("%+v", r)
		}
		if math.IsInf(r.Score, -1) {
			worst++
		}
		if r.Score > a.Best.Score {
			t.Errorf("%+v is better than the best", r)
		}
	}
	if worst < 10 || worst > 50 {
		t.Errorf("%d of 60 diverged", worst)
	}
	ce := must[*Result](t)(CrossEntropy{Rounds: 12}.Run(t.Context(), plane, f))
	near(t, "x at the edge", ce.Best.Config["x"].(float64), 0.2, 0.1)
}

func TestMistakes(t *testing.T) {
	ok := func(context.Context, Config) (float64, error) { return 0, nil }
	for _, c := range []struct {
		space Space
		words []string
	}{
		{nil, []string{"space", "none"}},
		{Space{Real{Low: 0, High: 1}}, []string{"name"}},
		{Space{nil}, []string{"number 0"}},
		{Space{Real{Name: "a", High: 1}, Real{Name: "a", High: 1}}, []string{"a twice"}},
		{Space{Real{Name: "lr", High: 1, Log: true}}, []string{"lr", "above 0"}},
		{Space{Real{Name: "lr", Low: 2, High: 1}}, []string{"lr", "2, 1"}},
		{Space{Real{Name: "lr", Low: 1, High: math.Inf(1)}}, []string{"lr", "finite"}},
		{Space{Real{Name: "lr", Low: 1, High: 2, Start: 3}}, []string{"lr", "[1, 2]", "3"}},
		{Space{Real{Name: "lr", Low: 1, High: 2, Log: true, Spread: 0.5}}, []string{"lr", "above 1", "0.5"}},
		{Space{Integer{Name: "n", Low: 4, High: 4}}, []string{"n", "4, 4"}},
		{Space{Choice{Name: "rule"}}, []string{"rule", "none"}},
		{Space{Choice{Name: "rule", Values: []string{"x", "x"}}}, []string{"rule", "x twice"}},
	} {
		_, err := CrossEntropy{}.Run(t.Context(), c.space, ok)
		wantError(t, err, c.words...)
		_, err = Random{}.Run(t.Context(), c.space, ok)
		wantError(t, err, c.words...)
	}
	for word, s := range map[string]CrossEntropy{
		"Elite": {Elite: 2}, "Smoothing": {Smoothing: -1}, "Floor": {Floor: math.NaN()}, "Rounds": {Rounds: -1},
		"Population": {Population: -3}, "Parallel": {Options: Options{Parallel: -1}},
	} {
		_, err := s.Run(t.Context(), plane, ok)
		wantError(t, err, word)
	}
	_, err := CrossEntropy{}.Run(t.Context(), plane, nil)
	wantError(t, err, "objective", "nil")
	_, err = Random{Trials: -1}.Run(t.Context(), plane, ok)
	wantError(t, err, "Trials", "-1")
	broken := errors.New("no such data")
	_, err = CrossEntropy{}.Run(t.Context(), plane, func(context.Context, Config) (float64, error) { return 0, broken })
	wantError(t, err, "round 0, trial", "x:", "no such data")
	if !errors.Is(err, broken) {
		t.Errorf("%v does not wrap the cause", err)
	}
}

// A log of another search, or one that is damaged, is refused and left as it is.
func TestForeignLogs(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	s := Random{Trials: 4, Options: Options{Log: log}}
	must[*Result](t)(s.Run(t.Context(), plane, quadratic))
	before := must[[]byte](t)(os.ReadFile(log))
	other := s
	other.Seed = 9
	_, err := other.Run(t.Context(), plane, quadratic)
	wantError(t, err, log, "seed 9", "seed 0")
	_, err = s.Run(t.Context(), plane[:1], quadratic)
	wantError(t, err, log, "space")
	_, err = CrossEntropy{Options: s.Options}.Run(t.Context(), plane, quadratic)
	wantError(t, err, log, "cross-entropy", "random")
	if after := must[[]byte](t)(os.ReadFile(log)); string(after) != string(before) {
		t.Error("a refused log was changed")
	}
	lines := strings.SplitAfter(string(before), "\n")
	var r record
	if err := json.Unmarshal([]byte(lines[1]), &r); err != nil {
		t.Fatal(err)
	}
	r.Config = json.RawMessage(`{"x":1,"y":2}`)
	wrong := must[[]byte](t)(json.Marshal(r))
	for text, words := range map[string][]string{
		lines[0] + string(wrong) + "\n":    {fmt.Sprintf("trial %d", r.Index), `{"x":1,"y":2}`},
		lines[0] + "nonsense\n" + lines[1]: {"line 2"},
	} {
		if err := os.WriteFile(log, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err = s.Run(t.Context(), plane, quadratic)
		wantError(t, err, append(words, log)...)
	}
	s.Log = t.TempDir() // a folder
	_, err = s.Run(t.Context(), plane, quadratic)
	wantError(t, err, s.Log)
}
