package rules

import (
	"fmt"
	"math"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/optim"
)

// vectors is two float64 parameters, one of several blocks, with values that repeat.
func vectors() []*graph.Param {
	var list []*graph.Param
	for k, n := range []int{2*block + 100, 3} {
		q := &graph.Param{Name: fmt.Sprint("p", k), Value: graph.NewArray(graph.Float64, n)}
		for i := range n {
			q.Value.Set(i, math.Sin(float64(i+k)))
		}
		list = append(list, q)
	}
	return list
}

func newTestPerturber(t *testing.T, p Probing, params []*graph.Param, seed uint64) perturber {
	t.Helper()
	stepper, err := optim.New(p.Optimizer, params, p.Options)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newPerturber(p, params, stepper, seed)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A step along regenerated directions is the optimiser's own step on the estimate written out in full.
func TestDescendIsTheOptimisersStep(t *testing.T) {
	const seed = 3
	slopes := [][]float64{{0.7}, {-0.2, 1.5, 0.1}, {3, -1}}
	for name, p := range map[string]Probing{
		"sgd":         {Optimizer: optim.SGD{LR: 0.1}},
		"decay":       {Optimizer: optim.SGD{LR: 0.1, WeightDecay: 0.3}},
		"no decay":    {Optimizer: optim.SGD{LR: 0.1, WeightDecay: optim.Zero}},
		"momentum":    {Optimizer: optim.SGD{LR: 0.1, Momentum: 0.9}},
		"adam":        {Optimizer: optim.Adam{LR: 0.01}},
		"schedule":    {Optimizer: optim.SGD{LR: 0.1}, Options: optim.Options{Schedule: optim.Exponential{Factor: 0.5}}},
		"clip norm":   {Optimizer: optim.SGD{LR: 0.1}, Options: optim.Options{Clip: optim.Clip{Norm: 2}}},
		"clip value":  {Optimizer: optim.Adam{}, Options: optim.Options{Clip: optim.Clip{Value: 0.3}}},
		"clip both":   {Optimizer: optim.SGD{LR: 0.1}, Options: optim.Options{Clip: optim.Clip{Norm: 20, Value: 0.3}}},
		"rademacher":  {Optimizer: optim.SGD{LR: 0.1}, Perturbation: Rademacher},
		"history":     {Optimizer: optim.SGD{LR: 0.1}, History: 0.9},
		"history adm": {Optimizer: optim.Adam{LR: 0.1}, History: 0.5},
	} {
		params, copies := vectors(), vectors()
		d := newTestPerturber(t, p, params, seed)
		stepper, err := optim.New(p.Optimizer, copies, p.Options)
		if err != nil {
			t.Fatal(err)
		}
		average := make([][]float64, len(copies))
		for step, s := range slopes {
			keys := make([]uint64, len(s))
			for k := range keys {
				keys[k] = originOf(step, 5) + uint64(k)
			}
			// A move before the step is made first, along one of its directions or another.
			move := shift{keys[0] + uint64(step), 0.25}
			if err := d.descend(move, keys, s); err != nil {
				t.Fatal(err)
			}
			for _, q := range copies {
				z := directionOf(p, q, seed, move.key)
				for j, v := range z {
					q.Value.Set(j, q.Value.At(j)+move.by*v)
				}
			}
			var grads []*graph.Array
			for i, q := range copies {
				g := graph.NewArray(graph.Float64, q.Value.Shape...)
				for k, key := range keys {
					z := directionOf(p, q, seed, key)
					for j := range z {
						if p.History > 0 {
							if average[i] == nil {
								average[i] = append(average[i], z...)
							}
							average[i][j] = p.History*average[i][j] + (1-p.History)*z[j]
							z[j] = average[i][j]
						}
						g.Set(j, g.At(j)+s[k]*z[j]/float64(len(s)))
					}
				}
				grads = append(grads, g)
			}
			if err := stepper.Step(grads); err != nil {
				t.Fatal(err)
			}
			for i, q := range params {
				for j := range q.Value.Size() {
					if got, want := q.Value.At(j), copies[i].Value.At(j); math.Abs(got-want) > 1e-12*max(1, math.Abs(want)) {
						t.Fatalf("%s: step %d, %s[%d]: want %v, got %v", name, step, q.Name, j, want, got)
					}
				}
			}
		}
	}
}

func directionOf(p Probing, q *graph.Param, seed, key uint64) []float64 {
	z, stream := make([]float64, q.Value.Size()), graph.NewStream(seed, "perturb/"+q.Name)
	if p.Perturbation == Rademacher {
		graph.FillRademacher(stream, key, 0, z)
	} else {
		graph.FillNormal(stream, key, 0, z)
	}
	return z
}

// An exact mask holds the same round(share·n) entries in every direction; the threshold mask holds a share of Φ(ratio),
// which is 0.8159 for 0.9 and 0.5398 for 0.1.
func TestMasks(t *testing.T) {
	still := func(p Probing, n int) int {
		q := &graph.Param{Name: "q", Value: graph.NewArray(graph.Float64, n)}
		p.Optimizer = optim.SGD{}
		d := newTestPerturber(t, p, []*graph.Param{q}, 1)
		held := make([]bool, n)
		count := 0
		for key := range uint64(2) {
			q.Value.Zero()
			d.move(key, 1)
			for i := range n {
				zero := q.Value.At(i) == 0
				if key == 0 {
					held[i] = zero
					if zero {
						count++
					}
				} else if zero != held[i] {
					t.Fatalf("%+v: entry %d is held in one direction and not in the other", p, i)
				}
			}
		}
		return count
	}
	for _, n := range []int{1, 2, 3, 64, 100, 1000, 5000} {
		for _, share := range []float64{0.1, 0.5, 0.9} {
			if got, want := still(Probing{Sparsity: share}, n), int(math.Round(share*float64(n))); got != want {
				t.Errorf("%d entries, share %v: want %d held, got %d", n, share, want, got)
			}
		}
	}
	const n = 40000
	for ratio, share := range map[float64]float64{0.9: 0.815940, 0.1: 0.539828} {
		got := float64(still(Probing{Sparsity: ratio, Mask: NormalThreshold}, n)) / n
		if margin := 5 * math.Sqrt(share*(1-share)/n); math.Abs(got-share) > margin {
			t.Errorf("threshold %v: want a share of %v within %v, got %v", ratio, share, margin, got)
		}
	}
}

func TestPerturbationErrors(t *testing.T) {
	for word, p := range map[string]Probing{
		"Perturbation": {Perturbation: 9},
		"Sparsity":     {Sparsity: 1},
		"Mask":         {Mask: 7},
		"History":      {History: -0.1},
		"Clip.Norm":    {History: 0.1, Options: optim.Options{Clip: optim.Clip{Norm: 1}}},
	} {
		p.Name, p.Optimizer = "probing", optim.SGD{}
		params := vectors()
		stepper, err := optim.New(p.Optimizer, params, p.Options)
		if err != nil {
			t.Fatal(err)
		}
		_, err = newPerturber(p, params, stepper, 1)
		wantError(t, err, "probing", word)
	}
}
