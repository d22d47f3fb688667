package rules

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// needle is a model whose loss is log 3 where its first layer's weights are, at 0, and not a number anywhere else, nor
// is a derivative there. It counts its evaluations in a state.
var needle = layers.Sequential{
	layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		n := s.State("count", graph.Zeros())
		s.Update(n, graph.Shift(n, 1))
		return graph.Add(x, graph.Scale(n, 0))
	}),
	layers.Dense{Units: 3, Init: func(int, int) graph.Init { return graph.Zeros() }, NoBias: true},
	layers.Func("", func(_ *graph.Scope, x *graph.Node) *graph.Node { return graph.Sqrt(graph.Neg(graph.Square(x))) }),
	layers.Dense{Units: 3},
}

// Where the loss is a number and what a rule of the family measures is not, the step is refused: parameters, states and
// optimisers stay, the step counts, Refused counts it, the clean loss is reported, and a checkpoint knows. A loss that
// is not finite by itself is an error that names the op.
func TestForwardOnlyRulesRefuse(t *testing.T) {
	rules := map[string]Rule{
		"guess, local":               ForwardGuess{Optimizer: optim.Adam{}},
		"guess, local, per batch":    ForwardGuess{PerBatch: true},
		"guess, local, weights":      ForwardGuess{Space: WeightSpace},
		"guess, random":              ForwardGuess{Guess: GaussianGuess},
		"guess, random, per batch":   ForwardGuess{Guess: RademacherGuess, PerBatch: true},
		"guess, random, weights":     ForwardGuess{Guess: RademacherGuess, Space: WeightSpace},
		"guess, NTK, local target":   ForwardGuess{Guess: NTKGuess, Target: LocalTarget},
		"likelihood ratio":           LikelihoodRatio{},
		"likelihood ratio, one side": LikelihoodRatio{OneSided: true, Baseline: true, LearnSigma: true},
		"likelihood ratio, joint":    LikelihoodRatio{Joint: true},
		"likelihood ratio, weights":  LikelihoodRatio{Noise: WeightNoise},
		"mezo":                       MeZO{Snapshot: true},
		"mezo, one side":             MeZO{Difference: OneSided, Snapshot: true, Optimizer: optim.Adam{}},
		"mezo, sign":                 MeZO{Form: SlopeSign, Snapshot: true},
		"mezo, conservative":         MeZO{Form: Conservative},
		"mezo, history":              MeZO{Snapshot: true, History: 0.9},
		"mezo, sparse":               MeZO{Snapshot: true, Sparsity: 0.5},
		"one byte":                   OneByte{},
		"one byte, four peers":       OneByte{Peers: 4, Directions: 2},
		"smb":                        SMB{},
	}
	for _, r := range everyPerturbation {
		r.Density = 0.9 // a sparse direction that moves nothing is no reason to refuse
		rules[fmt.Sprintf("forward gradient %d", r.Perturbation)] = r
	}
	d := toy(64)
	for name, r := range rules {
		build := func() Trainer {
			tr, err := r.Trainer(needle, objectives.CrossEntropy, SpecOf(d, 16, 1))
			if err != nil {
				t.Fatalf("%s: %+v", name, err)
			}
			return tr
		}
		tr := build()
		before := tr.Params().Clone()
		h, err := Fit(t.Context(), tr, d, Config{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := Refused(tr); n != 4 || tr.Steps() != 4 {
			t.Errorf("%s: %d of %d steps refused, want 4", name, n, tr.Steps())
		}
		if loss := h.Last().Loss; math.Abs(loss-math.Log(3)) > 1e-6 {
			t.Errorf("%s: loss %v, want log 3", name, loss)
		}
		sameBits(t, name+": after refused steps", before, tr.Params())
		path := filepath.Join(t.TempDir(), "refused.safetensors")
		if err := tr.Save(path, nil); err != nil {
			t.Fatal(err)
		}
		again := build()
		if _, err := again.Load(path); err != nil {
			t.Fatal(err)
		}
		if Refused(again) != 4 {
			t.Errorf("%s: %d refused after loading, want 4", name, Refused(again))
		}
		b := NewBatch(tr.Spec())
		b.X.Set(3, math.NaN())
		_, err = tr.Step(b)
		wantError(t, err, r.Name(), "step 4", "loss NaN", "x float32", "element 3")
		sameBits(t, name+": after a step with NaN in the data", before, tr.Params())
	}
}

// A step of one layer is refused when the tangent of that layer is not finite, and made when it is that of a layer
// behind.
func TestOneLayerRefuses(t *testing.T) {
	d := toy(64)
	tr, err := ForwardGradient{OneLayer: true, Perturbation: RankOne}.Trainer(needle, objectives.CrossEntropy, SpecOf(d, 16, 1))
	if err != nil {
		t.Fatal(err)
	}
	before := tr.Params().Clone()
	if _, err := Fit(t.Context(), tr, d, Config{Epochs: 4}); err != nil {
		t.Fatal(err)
	}
	bad := 0
	for step := range 16 {
		if tr.(*forwardSteps).draw.at(step) == 0 {
			bad++
		}
	}
	if Refused(tr) != bad || bad == 0 || bad == 16 || moved(before, tr.Params(), "dense1/weight") || !moved(before, tr.Params(), "dense2/bias") {
		t.Errorf("%d refused, %d steps of the first layer; moved: %v, %v", Refused(tr), bad, moved(before, tr.Params(), "dense1/weight"), moved(before, tr.Params(), "dense2/bias"))
	}
}

// Peers of which some have losses that are not finite send zeros in those steps and count them; all end with the bits of
// one that replays the messages.
func TestPeersRefuseAndReplay(t *testing.T) {
	r := OneByte{Optimizer: optim.SGD{LR: 0.5}, Directions: 2}
	spec := SpecOf(toy(64), 16, 9)
	// Not a number where the first feature is not 0, nor the parameter "still".
	trap := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		hit := graph.Mul(graph.Slice(x, 1, 0, 1, 1), s.Param("still", graph.Zeros(), 1))
		return graph.Add(layers.Dense{Units: 3}.Apply(s, x), graph.Sqrt(graph.Neg(graph.Square(hit))))
	})
	peer := func(id int) *Peer {
		p, err := r.Peer(id, trap, objectives.CrossEntropy, spec)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := []*Peer{peer(0), peer(1), peer(2)}
	late, b := peer(3), NewBatch(spec)
	sum := hashOf(late.Trainer().Params())
	for step := range 20 {
		var messages []Message
		for id, p := range all {
			for i := range b.X.Size() {
				b.X.Set(i, float64(min(i%4, 1))*float64(1+(i+id)%5))
			}
			bad := step%4 == id || step >= 16 // all of them
			if bad {
				b.X.Set(0, 1)
			}
			m, _, err := p.Probe(b)
			if err != nil {
				t.Fatal(err)
			}
			if zero := bytes.Equal(m.Slopes, []byte{0, 0}); zero != bad {
				t.Fatalf("step %d, peer %d: bytes %v", step, id, m.Slopes)
			}
			m.Slopes = bytes.Clone(m.Slopes)
			messages = append(messages, m)
		}
		for _, p := range append([]*Peer{late}, all...) {
			if err := p.Apply(messages...); err != nil {
				t.Fatal(err)
			}
			p.Trainer().Params().Get("still").Value.Zero()
		}
		after := hashOf(late.Trainer().Params())
		for id, p := range all {
			if hashOf(p.Trainer().Params()) != after {
				t.Fatalf("step %d: peer %d differs from the replay", step, id)
			}
		}
		if (sum == after) != (step >= 16) {
			t.Fatalf("step %d: same parameters: %v", step, sum == after)
		}
		sum = after
	}
	for id, p := range all {
		if n := Refused(p.Trainer()); n != 8 {
			t.Errorf("peer %d refused %d times, want 8", id, n)
		}
	}
}
