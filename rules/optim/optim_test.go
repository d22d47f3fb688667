package optim

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// variants has every optimiser with every option that changes its loop.
var variants = map[string]Optimizer{
	"sgd":                  SGD{LR: 0.1},
	"sgd decay":            SGD{LR: 0.1, WeightDecay: 0.1},
	"momentum":             SGD{LR: 0.1, Momentum: 0.9, Dampening: 0.3, WeightDecay: 0.1},
	"nesterov":             SGD{LR: 0.1, Momentum: 0.9, Nesterov: true},
	"adam":                 Adam{LR: 0.1, WeightDecay: 0.1},
	"amsgrad":              Adam{LR: 0.1, Beta2: 0.5, AMSGrad: true},
	"adamw":                AdamW{LR: 0.1},
	"adamw amsgrad":        AdamW{LR: 0.1, Beta2: 0.5, AMSGrad: true},
	"rmsprop":              RMSProp{LR: 0.1, WeightDecay: 0.1},
	"rmsprop momentum":     RMSProp{LR: 0.1, Momentum: 0.9},
	"rmsprop centered":     RMSProp{LR: 0.1, Centered: true},
	"rmsprop both":         RMSProp{LR: 0.1, Momentum: 0.9, Centered: true},
	"adagrad":              Adagrad{LR: 0.1, LRDecay: 0.1, InitialSum: 0.5, WeightDecay: 0.1},
	"adadelta":             Adadelta{LR: 0.5, WeightDecay: 0.1},
	"adamax":               Adamax{LR: 0.1, WeightDecay: 0.1},
	"nadam":                NAdam{LR: 0.1, WeightDecay: 0.1},
	"radam":                RAdam{LR: 0.1, WeightDecay: 0.1},
	"radam that adapts":    RAdam{LR: 0.1, Beta2: 0.9},
	"adam without moments": Adam{LR: 0.1, Beta1: Zero, Beta2: Zero},
}

// noise is a repeatable gradient of element i at step t, in [-1, 1).
func noise(t, i int) float64 {
	x := math.Sin(float64(t*7919+i*104729+1)) * 43758.5453
	return 2*(x-math.Floor(x)) - 1
}

func fill(a *graph.Array, t int) {
	for i := range a.Size() {
		a.Set(i, noise(t, i))
	}
}

func vector(name string, dtype graph.DType, n int) *graph.Param {
	p := &graph.Param{Name: name, Value: graph.NewArray(dtype, n)}
	fill(p.Value, 1000)
	return p
}

// weighted is first b^(t-1) g_1 + rest (b^(t-2) g_2 + ... + g_t), with f applied to each g: what the recursions of the
// optimisers add up to.
func weighted(g []float64, b, first, rest float64, f func(float64) float64) float64 {
	sum := 0.0
	for i, x := range g {
		c := rest
		if i == 0 {
			c = first
		}
		sum += c * math.Pow(b, float64(len(g)-1-i)) * f(x)
	}
	return sum
}

func mean(g []float64, b float64) float64 {
	return weighted(g, b, 1-b, 1-b, func(x float64) float64 { return x })
}

func meanSquare(g []float64, b float64) float64 {
	return weighted(g, b, 1-b, 1-b, func(x float64) float64 { return x * x })
}

// TestClosedForms compares each step with its closed form in the gradients so far: sums in place of recursions, and
// settings that the reference trajectories do not have.
func TestClosedForms(t *testing.T) {
	const lr = 0.1
	momentum := func(g []float64, damp float64) float64 {
		return weighted(g, 0.9, 1, 1-damp, func(x float64) float64 { return x })
	}
	rms := func(g []float64, centered bool) float64 {
		s := meanSquare(g, 0.8)
		if centered {
			s -= math.Pow(mean(g, 0.8), 2)
		}
		return g[len(g)-1] / (math.Sqrt(s) + 1e-8)
	}
	heavy := func(g []float64, centered bool) float64 {
		sum := 0.0
		for t := 1; t <= len(g); t++ {
			sum += math.Pow(0.7, float64(len(g)-t)) * rms(g[:t], centered)
		}
		return sum
	}
	adam := func(g []float64, b1, b2 float64) float64 {
		n := float64(len(g))
		return mean(g, b1) / (1 - math.Pow(b1, n)) / (math.Sqrt(meanSquare(g, b2)/(1-math.Pow(b2, n))) + 1e-8)
	}
	table := []struct {
		name      string
		optimizer Optimizer
		size      func(g []float64) float64 // the step divided by -lr
	}{
		{"dampening", SGD{LR: lr, Momentum: 0.9, Dampening: 0.3}, func(g []float64) float64 { return momentum(g, 0.3) }},
		{"nesterov", SGD{LR: lr, Momentum: 0.9, Nesterov: true}, func(g []float64) float64 {
			return g[len(g)-1] + 0.9*momentum(g, 0)
		}},
		{"adam", Adam{LR: lr, Beta1: 0.6, Beta2: 0.7}, func(g []float64) float64 { return adam(g, 0.6, 0.7) }},
		{"adam without m", Adam{LR: lr, Beta1: Zero, Beta2: 0.7}, func(g []float64) float64 { return adam(g, 0, 0.7) }},
		{"sign", Adam{LR: lr, Beta1: Zero, Beta2: Zero, Eps: Zero}, func(g []float64) float64 {
			return math.Copysign(1, g[len(g)-1])
		}},
		{"amsgrad", Adam{LR: lr, Beta1: 0.6, Beta2: 0.7, AMSGrad: true}, func(g []float64) float64 {
			n, v := float64(len(g)), 0.0
			for t := 1; t <= len(g); t++ {
				v = math.Max(v, meanSquare(g[:t], 0.7))
			}
			return mean(g, 0.6) / (1 - math.Pow(0.6, n)) / (math.Sqrt(v/(1-math.Pow(0.7, n))) + 1e-8)
		}},
		{"rmsprop", RMSProp{LR: lr, Alpha: 0.8}, func(g []float64) float64 { return rms(g, false) }},
		{"rmsprop centered", RMSProp{LR: lr, Alpha: 0.8, Centered: true}, func(g []float64) float64 { return rms(g, true) }},
		{"rmsprop momentum", RMSProp{LR: lr, Alpha: 0.8, Momentum: 0.7}, func(g []float64) float64 {
			return heavy(g, false)
		}},
		{"rmsprop both", RMSProp{LR: lr, Alpha: 0.8, Momentum: 0.7, Centered: true}, func(g []float64) float64 {
			return heavy(g, true)
		}},
		{"adagrad", Adagrad{LR: lr, LRDecay: 0.2, InitialSum: 0.5}, func(g []float64) float64 {
			s := 0.5 + weighted(g, 1, 1, 1, func(x float64) float64 { return x * x })
			return g[len(g)-1] / (1 + 0.2*float64(len(g)-1)) / (math.Sqrt(s) + 1e-10)
		}},
		{"adamax", Adamax{LR: lr, Beta1: 0.6, Beta2: 0.7}, func(g []float64) float64 {
			norm := 0.0
			for i, x := range g {
				norm = math.Max(norm, math.Pow(0.7, float64(len(g)-1-i))*(math.Abs(x)+1e-8))
			}
			return mean(g, 0.6) / (1 - math.Pow(0.6, float64(len(g)))) / norm
		}},
		{"nadam", NAdam{LR: lr, Beta1: 0.6, Beta2: 0.7, MomentumDecay: 0.5}, func(g []float64) float64 {
			mu := func(t int) float64 { return 0.6 * (1 - 0.5*math.Pow(0.96, float64(t)*0.5)) }
			n, product := len(g), 1.0
			for t := 1; t <= n; t++ {
				product *= mu(t)
			}
			top := (1-mu(n))/(1-product)*g[n-1] + mu(n+1)/(1-product*mu(n)*mu(n+1))*mean(g, 0.6)
			return top / (math.Sqrt(meanSquare(g, 0.7)/(1-math.Pow(0.7, float64(n)))) + 1e-8)
		}},
		{"radam", RAdam{LR: lr, Beta1: 0.6, Beta2: 0.9}, func(g []float64) float64 {
			n := float64(len(g))
			m := mean(g, 0.6) / (1 - math.Pow(0.6, n))
			most := 2/(1-0.9) - 1
			rho := most - 2*n*math.Pow(0.9, n)/(1-math.Pow(0.9, n))
			if rho <= 5 {
				return m
			}
			r := math.Sqrt((rho - 4) / (most - 4) * (rho - 2) / (most - 2) * most / rho)
			return r * m * math.Sqrt(1-math.Pow(0.9, n)) / (math.Sqrt(meanSquare(g, 0.9)) + 1e-8)
		}},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			p := vector("p", graph.Float64, 3)
			s := stepper(t, c.optimizer, Options{}, p)
			grad := graph.NewArray(graph.Float64, 3)
			history := make([][]float64, 3)
			for step := range 12 {
				fill(grad, step)
				before := p.Value.Clone()
				stepOnce(t, s, grad)
				for i := range history {
					history[i] = append(history[i], grad.At(i))
					want := before.At(i) - lr*c.size(history[i])
					if !(math.Abs(p.Value.At(i)-want) <= 1e-12) {
						t.Errorf("step %d element %d: want %.15g, got %.15g", step+1, i, want, p.Value.At(i))
					}
				}
			}
		})
	}
}

// TestWeightDecay: decay w of the L2 kind is the gradient g + w p; decay of the decoupled kind multiplies p first.
func TestWeightDecay(t *testing.T) {
	const w = 0.3
	table := []struct {
		name        string
		with, plain Optimizer
	}{
		{"sgd", SGD{WeightDecay: w}, SGD{}},
		{"momentum", SGD{Momentum: 0.9, WeightDecay: w}, SGD{Momentum: 0.9}},
		{"adam", Adam{WeightDecay: w}, Adam{}},
		{"rmsprop", RMSProp{WeightDecay: w}, RMSProp{}},
		{"adagrad", Adagrad{WeightDecay: w}, Adagrad{}},
		{"adadelta", Adadelta{WeightDecay: w}, Adadelta{}},
		{"adamax", Adamax{WeightDecay: w}, Adamax{}},
		{"nadam", NAdam{WeightDecay: w}, NAdam{}},
		{"radam", RAdam{WeightDecay: w}, RAdam{}},
		{"adamw", AdamW{WeightDecay: w}, AdamW{WeightDecay: Zero}},
		{"adamw default", AdamW{}, AdamW{WeightDecay: 0.01}},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			p, q := vector("p", graph.Float64, 5), vector("p", graph.Float64, 5)
			a, b := stepper(t, c.with, Options{}, p), stepper(t, c.plain, Options{}, q)
			grad, full := graph.NewArray(graph.Float64, 5), graph.NewArray(graph.Float64, 5)
			for step := range 8 {
				fill(grad, step)
				for i := range full.Size() {
					switch c.name {
					case "adamw":
						full.Set(i, grad.At(i))
						q.Value.Set(i, q.Value.At(i)*(1-1e-3*w))
					case "adamw default":
						full.Set(i, grad.At(i))
					default:
						full.Set(i, grad.At(i)+w*q.Value.At(i))
					}
				}
				stepOnce(t, a, grad)
				stepOnce(t, b, full)
			}
			for i := range 5 {
				if !(math.Abs(p.Value.At(i)-q.Value.At(i)) <= 1e-13) {
					t.Errorf("element %d: want %.15g, got %.15g", i, q.Value.At(i), p.Value.At(i))
				}
			}
		})
	}
}

// TestNAdamProduct compares the series with the product it stands for.
func TestNAdamProduct(t *testing.T) {
	for _, o := range []NAdam{{}, {Beta1: 0.999}, {MomentumDecay: 0.5}, {MomentumDecay: 100}, {MomentumDecay: Zero},
		{Beta1: Zero}} {
		product := 1.0
		for step := 1; step <= 3000; step++ {
			mu := or(o.Beta1, 0.9) * (1 - 0.5*math.Pow(0.96, float64(step)*or(o.MomentumDecay, 4e-3)))
			product *= mu
			gotMu, got := o.momentum(step)
			if !(math.Abs(gotMu-mu) <= 1e-15) || !(math.Abs(got-product) <= 1e-12*product+1e-300) {
				t.Fatalf("%+v step %d: want %.15g and %.15g, got %.15g and %.15g", o, step, mu, product, gotMu, got)
			}
		}
	}
}

// TestResume stops after three of six steps, carries the state over to a new Stepper, and wants the bits of six steps
// at once.
func TestResume(t *testing.T) {
	options := Options{Schedule: Warmup{Steps: 2, Then: Cosine{Steps: 9}}, Clip: Clip{Norm: 1.5, Value: 0.6}}
	for name, o := range variants {
		for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
			t.Run(fmt.Sprint(name, "/", dtype), func(t *testing.T) {
				run := func(stop int) []*graph.Param {
					params := []*graph.Param{vector("w", dtype, 7), vector("b", dtype, 2)}
					s := stepper(t, o, options, params...)
					for step := range 6 {
						if step == stop {
							saved := s.State().Clone()
							for _, p := range params { // the stopped Stepper must not matter any more
								s.State().Get("optim/step").Value.Zero()
								for _, slot := range o.Slots() {
									s.State().Get("optim/"+p.Name+"/"+slot.Name).Value.Set(0, math.NaN())
								}
							}
							s = stepper(t, o, options, params...)
							if err := s.State().CopyFrom(saved); err != nil {
								t.Fatal(err)
							}
						}
						grads := []*graph.Array{graph.NewArray(dtype, 7), graph.NewArray(dtype, 2)}
						fill(grads[0], step)
						fill(grads[1], step+100)
						stepOnce(t, s, grads...)
					}
					return params
				}
				want, got := run(-1), run(3)
				for i := range want {
					for j := range want[i].Value.Size() {
						if math.Float64bits(want[i].Value.At(j)) != math.Float64bits(got[i].Value.At(j)) {
							t.Errorf("%s %d: want %v, got %v", want[i].Name, j, want[i].Value.At(j), got[i].Value.At(j))
						}
					}
				}
			})
		}
	}
}

// TestRanges wants the bits of a whole step from ranges of it, the last one first.
func TestRanges(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			p, q := vector("p", graph.Float32, 21), vector("p", graph.Float32, 21)
			whole, ranges := stepper(t, o, Options{}, p), stepper(t, o, Options{}, q)
			grad := graph.NewArray(graph.Float32, 21)
			for step := range 3 {
				fill(grad, step)
				stepOnce(t, whole, grad)
				for _, r := range [][2]int{{16, 21}, {3, 16}, {3, 3}, {0, 3}} {
					u := ranges.updates[0]
					u.Grad, u.Step, u.LR, u.GradScale, u.Lo, u.Hi = grad, step+1, o.Rate(), 1, r[0], r[1]
					o.Update(&u)
				}
			}
			same(t, "p", p.Value, q.Value)
		})
	}
}

// TestThreads wants the bits of one range from a parameter that is updated in several ranges by 1, 2 and 3 threads.
func TestThreads(t *testing.T) {
	const n = 3*chunk + 77
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			p := vector("p", graph.Float32, n)
			start, whole := p.Value.Clone(), stepper(t, o, Options{}, p)
			grad := graph.NewArray(graph.Float32, n)
			for step := range 2 {
				fill(grad, step)
				u := whole.updates[0]
				u.Grad, u.Step, u.LR, u.GradScale, u.Lo, u.Hi = grad, step+1, o.Rate(), 1, 0, n
				o.Update(&u)
			}
			for _, threads := range []int{1, 2, 3} {
				runtime.GOMAXPROCS(threads)
				q := &graph.Param{Name: "p", Value: start.Clone()}
				s := stepper(t, o, Options{}, q)
				for step := range 2 {
					fill(grad, step)
					stepOnce(t, s, grad)
				}
				same(t, fmt.Sprint(threads, " threads"), p.Value, q.Value)
			}
		})
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	options := Options{Schedule: Warmup{Steps: 2, Then: OneCycle{Steps: 50, Anneal: LinearAnneal}}, Clip: Clip{Norm: 1, Value: 0.5}}
	for name, o := range variants {
		for _, n := range []int{10, 1000, 2*chunk + 1} {
			p := vector("p", graph.Float32, n)
			s := stepper(t, o, options, p)
			grads := []*graph.Array{p.Value.Clone()}
			if a := testing.AllocsPerRun(10, func() { stepOnce(t, s, grads...) }); a != 0 {
				t.Errorf("%s, %d elements: want 0 allocations, got %v", name, n, a)
			}
		}
	}
}

// TestNaN: without clipping by norm a NaN of the gradient shows in its own element of the parameter and in no other.
func TestNaN(t *testing.T) {
	for name, o := range variants {
		for _, clip := range []Clip{{}, {Value: 0.5}} {
			p := vector("p", graph.Float32, 3)
			s := stepper(t, o, Options{Clip: clip}, p)
			grad := graph.ArrayOf([]float32{0.5, float32(math.NaN()), -0.5}, 3)
			stepOnce(t, s, grad)
			for i := range 3 {
				if math.IsNaN(p.Value.At(i)) != (i == 1) {
					t.Errorf("%s %+v: element %d is %v", name, clip, i, p.Value.At(i))
				}
			}
		}
	}
}

// TestCenteredConstant: with a constant gradient s - a^2 falls to 0, where rounding must not make it negative.
func TestCenteredConstant(t *testing.T) {
	p := vector("p", graph.Float32, 64)
	s := stepper(t, RMSProp{Centered: true, Alpha: 0.5, Eps: 1}, Options{}, p)
	grad := graph.NewArray(graph.Float32, 64)
	fill(grad, 3)
	for range 200 {
		stepOnce(t, s, grad)
	}
	for i := range 64 {
		if v := p.Value.At(i); math.IsNaN(v) {
			t.Errorf("element %d is %v", i, v)
		}
	}
}

func TestByName(t *testing.T) {
	names := Names()
	want := "sgd momentum nesterov adam amsgrad adamw rmsprop adagrad adadelta adamax nadam radam"
	if strings.Join(names, " ") != want {
		t.Errorf("want %s, got %v", want, names)
	}
	standard := map[string]float64{"sgd": 1e-3, "momentum": 1e-3, "nesterov": 1e-3, "adam": 1e-3, "amsgrad": 1e-3,
		"adamw": 1e-3, "rmsprop": 1e-2, "adagrad": 1e-2, "adadelta": 1, "adamax": 2e-3, "nadam": 2e-3, "radam": 1e-3}
	for _, name := range names {
		for lr, want := range map[float64]float64{0: standard[name], 0.25: 0.25, Zero: 0} {
			o, err := ByName(name, lr)
			if err != nil {
				t.Fatal(err)
			}
			if o.Name() != name || o.Rate() != want {
				t.Errorf("%s, %v: want rate %v, got %s with rate %v", name, lr, want, o.Name(), o.Rate())
			}
			stepper(t, o, Options{}, vector("p", graph.Float32, 1))
		}
	}
	_, err := ByName("adma", 0)
	if err == nil {
		t.Fatal("want an error for an unknown name")
	}
	for _, name := range append(names, `"adma"`) {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}

// badSchedule gives a rate that no step can use.
type badSchedule float64

func (b badSchedule) Rate(base float64, step int) float64 { return float64(b) }

func TestNewErrors(t *testing.T) {
	nan := math.NaN()
	p := vector("w", graph.Float32, 2)
	table := []struct {
		optimizer Optimizer
		options   Options
		params    []*graph.Param
		want      string
	}{
		{nil, Options{}, nil, "optimizer"},
		{SGD{LR: -1}, Options{}, nil, "sgd: LR: want a finite number of at least 0, got -1"},
		{SGD{Momentum: nan}, Options{}, nil, "Momentum"},
		{SGD{Dampening: math.Inf(1)}, Options{}, nil, "Dampening"},
		{SGD{WeightDecay: -1}, Options{}, nil, "WeightDecay"},
		{SGD{Nesterov: true}, Options{}, nil, "nesterov: Momentum"},
		{SGD{Nesterov: true, Momentum: 0.9, Dampening: 0.1}, Options{}, nil, "nesterov: Dampening"},
		{Adam{Beta1: 1}, Options{}, nil, "adam: Beta1: want a number in [0, 1), got 1"},
		{Adam{AMSGrad: true, Beta2: -0.1}, Options{}, nil, "amsgrad: Beta2"},
		{AdamW{Eps: -1}, Options{}, nil, "adamw: Eps"},
		{RMSProp{Alpha: 1.5}, Options{}, nil, "rmsprop: Alpha"},
		{RMSProp{Momentum: -1}, Options{}, nil, "rmsprop: Momentum"},
		{Adagrad{InitialSum: -1}, Options{}, nil, "adagrad: InitialSum"},
		{Adagrad{LRDecay: -1}, Options{}, nil, "adagrad: LRDecay"},
		{Adadelta{Rho: 2}, Options{}, nil, "adadelta: Rho"},
		{Adamax{LR: nan}, Options{}, nil, "adamax: LR"},
		{NAdam{MomentumDecay: -1}, Options{}, nil, "nadam: MomentumDecay"},
		{NAdam{WeightDecay: -1}, Options{}, nil, "nadam: WeightDecay"},
		{RAdam{Beta2: 1}, Options{}, nil, "radam: Beta2"},
		{SGD{}, Options{Schedule: StepDecay{}}, nil, "step decay: Every"},
		{SGD{}, Options{Schedule: StepDecay{Every: 1, Factor: -1}}, nil, "step decay: Factor"},
		{SGD{}, Options{Schedule: Exponential{}}, nil, "exponential: Factor"},
		{SGD{}, Options{Schedule: Cosine{}}, nil, "cosine: Steps"},
		{SGD{}, Options{Schedule: Cosine{Steps: 3, Min: -1}}, nil, "cosine: Min"},
		{SGD{}, Options{Schedule: WarmRestarts{}}, nil, "warm restarts: Steps"},
		{SGD{}, Options{Schedule: WarmRestarts{Steps: 1, Mult: -1}}, nil, "warm restarts: Mult"},
		{SGD{}, Options{Schedule: OneCycle{}}, nil, "one cycle: Steps"},
		{SGD{}, Options{Schedule: OneCycle{Steps: 3, PctStart: 1}}, nil, "one cycle: PctStart"},
		{SGD{}, Options{Schedule: OneCycle{Steps: 3, DivFactor: Zero}}, nil, "one cycle: DivFactor"},
		{SGD{}, Options{Schedule: OneCycle{Steps: 3, FinalDivFactor: -1}}, nil, "one cycle: FinalDivFactor"},
		{SGD{}, Options{Schedule: OneCycle{Steps: 3, Anneal: 7}}, nil, "one cycle: Anneal"},
		{SGD{}, Options{Schedule: Warmup{}}, nil, "warmup: Steps"},
		{SGD{}, Options{Schedule: Warmup{Steps: 3, Then: Cosine{}}}, nil, "cosine: Steps"},
		{SGD{}, Options{Clip: Clip{Norm: nan}}, nil, "clip: Norm"},
		{SGD{}, Options{Clip: Clip{Value: -1}}, nil, "clip: Value"},
		{SGD{}, Options{}, []*graph.Param{p, nil}, "sgd: params"},
		{SGD{}, Options{}, []*graph.Param{p, p}, "w twice"},
		{SGD{}, Options{}, []*graph.Param{vector("labels", graph.Int, 2)}, "sgd: labels: want float32 or float64, got int [2]"},
		{SGD{}, Options{}, []*graph.Param{{Name: "mean", Value: p.Value, State: true}}, "sgd: mean"},
	}
	for _, c := range table {
		s, err := New(c.optimizer, c.params, c.options)
		if s != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v %+v: want an error with %q, got %v", c.optimizer, c.options, c.want, err)
		}
	}
}

// TestStepErrors: an error says what is wrong and leaves everything as it was.
func TestStepErrors(t *testing.T) {
	w, b := vector("w", graph.Float32, 3), vector("b", graph.Float32, 1)
	vec := func(x ...float32) *graph.Array { return graph.ArrayOf(x, len(x)) }
	ok := vec(1, 2, 3)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	table := []struct {
		name    string
		options Options
		steps   float64
		grads   []*graph.Array
		want    string
	}{
		{"count", Options{}, 1, []*graph.Array{ok}, "adam step: gradients: want 2, got 1"},
		{"nil", Options{}, 1, []*graph.Array{ok, nil}, "gradient of b: want float32 [1], got nil"},
		{"shape", Options{}, 1, []*graph.Array{ok, vec(1, 2)}, "gradient of b: want float32 [1], got float32 [2]"},
		{"dtype", Options{}, 1, []*graph.Array{graph.NewArray(graph.Float64, 3), vec(1)},
			"gradient of w: want float32 [3], got float64 [3]"},
		{"nan", Options{Clip: Clip{Norm: 1, Value: 0.1}}, 1, []*graph.Array{ok, vec(nan)}, "gradient of b: want a finite norm, got NaN"},
		{"inf", Options{Clip: Clip{Norm: 1, Value: 0.1}}, 1, []*graph.Array{vec(1, inf, 2), vec(1)}, "gradient of w: want a finite norm, got +Inf"},
		{"rate", Options{Schedule: badSchedule(math.NaN()), Clip: Clip{Value: 0.1}}, 1, []*graph.Array{ok, vec(1)}, "learning rate"},
		{"negative rate", Options{Schedule: badSchedule(-1)}, 1, []*graph.Array{ok, vec(1)}, "learning rate"},
		{"state", Options{}, -1, []*graph.Array{ok, vec(1)}, "optim/step"},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			params := []*graph.Param{{Name: "w", Value: w.Value.Clone()}, {Name: "b", Value: b.Value.Clone()}}
			s := stepper(t, Adam{}, c.options, params...)
			s.State().Get("optim/step").Value.Set(0, c.steps)
			state := s.State().Clone()
			err := s.Step(c.grads)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
			same(t, "w", w.Value, params[0].Value)
			same(t, "b", b.Value, params[1].Value)
			same(t, "gradient", vec(1, 2, 3), ok)
			for p := range state.All() {
				same(t, p.Name, p.Value, s.State().Get(p.Name).Value)
			}
		})
	}
}

func same(t *testing.T, name string, want, got *graph.Array) {
	t.Helper()
	for i := range want.Size() {
		if want.At(i) != got.At(i) {
			t.Errorf("%s element %d: want %v, got %v", name, i, want.At(i), got.At(i))
		}
	}
}

// TestState wants the documented names, in order, and the count of steps.
func TestState(t *testing.T) {
	s := stepper(t, Adagrad{InitialSum: 0.5}, Options{}, vector("a/weight", graph.Float64, 2), vector("a/bias", graph.Float32, 1))
	stepOnce(t, s, graph.NewArray(graph.Float64, 2), graph.NewArray(graph.Float32, 1))
	var got []string
	for p := range s.State().All() {
		got = append(got, fmt.Sprintf("%s %v %v", p.Name, p.Value.Type, p.Value.At(0)))
	}
	want := "optim/step int [1] 1, optim/a/weight/sum float64 [2] 0.5, optim/a/bias/sum float32 [1] 0.5"
	if strings.Join(got, ", ") != want {
		t.Errorf("want %s, got %s", want, strings.Join(got, ", "))
	}
	if n := s.State().Count(); n != 0 {
		t.Errorf("want no trained numbers in the state, got %d", n)
	}
}

func BenchmarkStep(b *testing.B) {
	const n = 1_800_000
	p := vector("p", graph.Float32, n)
	grads := []*graph.Array{p.Value.Clone()}
	for _, name := range Names() {
		o, _ := ByName(name, 0)
		s := stepper(b, o, Options{}, p)
		bytes := int64(4 * n * (3 + 2*len(o.Slots()))) // value and slots read and written, gradient read
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(bytes)
			for b.Loop() {
				stepOnce(b, s, grads...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/param")
		})
	}
	b.Run("GlobalNorm", func(b *testing.B) {
		b.SetBytes(4 * n)
		for b.Loop() {
			GlobalNorm(grads)
		}
	})
}
