package optim

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// reference is testdata/torch_reference.json: trajectories and rates that PyTorch 1.13 computed in float64.
type reference struct {
	Optimisers []struct {
		Name        string
		Defaults    map[string]any
		A, B, Start []float64
		Trajectory  [][]float64
	}
	Schedules []struct {
		Name   string
		BaseLR float64 `json:"base_lr"`
		LR     []float64
	}
}

func load(t *testing.T) reference {
	t.Helper()
	file, err := os.ReadFile("testdata/torch_reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.Unmarshal(file, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// slope is the gradient of sum(a (p-b)^2)/2 + 0.1 sum(sin(3p)), the loss of the trajectories.
func slope(p, a, b float64) float64 { return a*(p-b) + 0.3*math.Cos(3*p) }

var referenceOptimizers = map[string]Optimizer{
	"sgd":              SGD{LR: 0.1},
	"momentum":         SGD{LR: 0.1, Momentum: 0.9},
	"nesterov":         SGD{LR: 0.1, Momentum: 0.9, Nesterov: true},
	"sgd_weight_decay": SGD{LR: 0.1, WeightDecay: 0.1},
	"adam":             Adam{LR: 0.1},
	"adam_amsgrad":     Adam{LR: 0.1, AMSGrad: true},
	"adamw":            AdamW{LR: 0.1, WeightDecay: 0.05},
	"rmsprop":          RMSProp{LR: 0.1},
	"adagrad":          Adagrad{LR: 0.1},
	"adadelta":         Adadelta{LR: 0.1},
	"adamax":           Adamax{LR: 0.1},
	"nadam":            NAdam{LR: 0.1},
	"radam":            RAdam{LR: 0.1},
}

func TestTrajectories(t *testing.T) {
	r := load(t)
	if len(r.Optimisers) != len(referenceOptimizers) {
		t.Fatalf("the reference has %d optimisers, the table %d", len(r.Optimisers), len(referenceOptimizers))
	}
	for _, c := range r.Optimisers {
		for _, kind := range []struct {
			dtype     graph.DType
			tolerance float64
		}{{graph.Float64, 1e-10}, {graph.Float32, 1e-4}} {
			t.Run(c.Name+"/"+kind.dtype.String(), func(t *testing.T) {
				o := referenceOptimizers[c.Name]
				if o == nil {
					t.Fatal("not in the table")
				}
				p := &graph.Param{Name: "p", Value: graph.NewArray(kind.dtype, len(c.Start))}
				for i, v := range c.Start {
					p.Value.Set(i, v)
				}
				s := stepper(t, o, Options{}, p)
				grad := graph.NewArray(kind.dtype, len(c.Start))
				for step, want := range c.Trajectory {
					for i := range c.A {
						grad.Set(i, slope(p.Value.At(i), c.A[i], c.B[i]))
					}
					stepOnce(t, s, grad)
					for i := range want {
						if d := math.Abs(p.Value.At(i) - want[i]); !(d <= kind.tolerance*max(1, math.Abs(want[i]))) {
							t.Errorf("step %d element %d: want %.15g, got %.15g, off by %.2g",
								step+1, i, want[i], p.Value.At(i), d)
						}
					}
				}
			})
		}
	}
}

func TestSchedulesFollowReference(t *testing.T) {
	table := map[string]Schedule{
		"step":          StepDecay{Every: 4, Factor: 0.5},
		"exponential":   Exponential{Factor: 0.9},
		"cosine":        Cosine{Steps: 10, Min: 0.001},
		"warm_restarts": WarmRestarts{Steps: 4, Mult: 2},
		"one_cycle":     OneCycle{Max: 0.5, Steps: 13},
	}
	r := load(t)
	if len(r.Schedules) != len(table) {
		t.Fatalf("the reference has %d schedules, the table %d", len(r.Schedules), len(table))
	}
	for _, c := range r.Schedules {
		s := table[c.Name]
		if s == nil {
			t.Fatalf("%s is not in the table", c.Name)
		}
		for step, want := range c.LR {
			if got := s.Rate(c.BaseLR, step); !(math.Abs(got-want) <= 1e-12) {
				t.Errorf("%s step %d: want %.17g, got %.17g", c.Name, step, want, got)
			}
		}
	}
}

func stepper(t testing.TB, o Optimizer, options Options, params ...*graph.Param) *Stepper {
	t.Helper()
	s, err := New(o, params, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stepOnce(t testing.TB, s *Stepper, grads ...*graph.Array) {
	t.Helper()
	if err := s.Step(grads); err != nil {
		t.Fatal(err)
	}
}
