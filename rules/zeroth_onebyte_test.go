package rules

import (
	"crypto/sha256"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Slopes, their codes and what arrives.
func TestCodes(t *testing.T) {
	for _, c := range []struct {
		code  Code
		slope float64
		bytes []byte
		value float64
	}{
		{Log16, 0.1, []byte{1, 0xDB}, 0.0990134084}, // -37
		{Log16, -3.7, []byte{2, 21}, -3.7154507379},
		{Log16, 1e-5, []byte{1, 0x81}, 3.571e-4}, // -127
		{Log16, 5000, []byte{1, 127}, 2800.3508727},
		{Log16, 1, []byte{1, 0}, 1},
		{Log16, 0, []byte{0, 0}, 0},
		{Byte8, 0.1, []byte{46}, 0.1053992246},
		{Byte8, -3.7, []byte{202}, -3.4903429575},
		{Byte8, 1e-5, []byte{1}, 3.801e-4},
		{Byte8, 5000, []byte{127}, 2630.6861902},
		{Byte8, 1, []byte{64}, 1},
		{Byte8, 0, []byte{0}, 0},
		{Byte8, math.NaN(), []byte{0}, 0},
		{Byte8, math.Inf(-1), []byte{0}, 0},
		{Log16, math.Inf(1), []byte{0, 0}, 0},
		{Plain, math.NaN(), []byte{0, 0, 0, 0}, 0},
		{Plain, -0.5, []byte{0, 0, 0, 0xBF}, -0.5},
	} {
		code := c.code.Append(nil, c.slope)
		if string(code) != string(c.bytes) || len(code) != c.code.Size() {
			t.Errorf("code %d of %v: want % x, got % x", c.code, c.slope, c.bytes, code)
		}
		if got := c.code.Value(code); math.Abs(got-c.value) > 5e-8*max(1e-3, math.Abs(c.value)) && math.Abs(got-c.value) > 5e-8 {
			t.Errorf("code %d of %v: want %v, got %v", c.code, c.slope, c.value, got)
		}
	}
	if v := Byte8.Value([]byte{128}); v != 0 {
		t.Errorf("byte 128: want 0, got %v", v)
	}
	for b := range 256 {
		if code := []byte{byte(b)}; b != 128 && string(Byte8.Append(nil, Byte8.Value(code))) != string(code) {
			t.Errorf("byte %d comes back as %v", b, Byte8.Append(nil, Byte8.Value(code)))
		}
		for sign := byte(1); sign <= 2 && b != 128; sign++ {
			if code := []byte{sign, byte(b)}; string(Log16.Append(nil, Log16.Value(code))) != string(code) {
				t.Errorf("% x comes back as % x", code, Log16.Append(nil, Log16.Value(code)))
			}
		}
	}
	// Relative errors are at most exp(1/16)-1 and exp(1/32)-1 in the range; the sign is always kept.
	for g := 4e-4; g < 2600; g *= 1.003 {
		for code, most := range map[Code]float64{Byte8: math.Expm1(1.0 / 16), Log16: math.Expm1(1.0 / 32)} {
			for _, v := range []float64{g, -g} {
				if e := math.Abs(code.Value(code.Append(nil, v))/v - 1); e > most {
					t.Errorf("code %d of %v: error %v, want at most %v", code, v, e, most)
				}
			}
		}
	}
}

func hashOf(p *graph.Params) (sum [32]byte) {
	h := sha256.New()
	for q := range p.All() {
		for i := range q.Value.Size() {
			b := math.Float64bits(q.Value.At(i))
			for j := range 8 {
				h.Write([]byte{byte(b >> (8 * j))})
			}
		}
	}
	h.Sum(sum[:0])
	return sum
}

// A team of peers, each on its own examples.
func team(t *testing.T, r OneByte, peers int) []*Peer {
	t.Helper()
	var list []*Peer
	for id := range peers {
		p, err := r.Peer(id, mlp(8), objectives.CrossEntropy, SpecOf(toy(64), 16, 9))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// exchange makes a step of those peers that take part, and returns the messages.
func exchange(t *testing.T, all []*Peer, d *toyData, part int) []Message {
	t.Helper()
	var messages []Message
	batch := NewBatch(all[0].Trainer().Spec())
	rows := make([]int, 16)
	for id, p := range all[:part] {
		for i := range rows {
			rows[i] = 16*id + i
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			t.Fatal(err)
		}
		before := hashOf(p.Trainer().Params())
		m, _, err := p.Probe(batch)
		if err != nil {
			t.Fatal(err)
		}
		if hashOf(p.Trainer().Params()) != before {
			t.Fatal("a probe changed the parameters")
		}
		m.Slopes = append([]byte(nil), m.Slopes...)
		messages = append(messages, m)
	}
	for _, p := range all { // in another order for each
		shuffled := append([]Message(nil), messages...)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if err := p.Apply(shuffled...); err != nil {
			t.Fatal(err)
		}
	}
	return messages
}

// Peers that exchange bytes, in any order of arrival, have the same parameters, to the bit, after every step, whoever
// takes part; and so has one that joins late and replays the messages.
func TestPeersStayBitIdentical(t *testing.T) {
	d := toy(64)
	for _, r := range []OneByte{
		{Optimizer: optim.SGD{LR: 0.02}},
		{Optimizer: optim.Adam{}, Directions: 3, Code: Log16, Perturbation: Rademacher},
		{Optimizer: optim.SGD{LR: 0.02, Momentum: 0.9}, Code: Plain, Options: optim.Options{Clip: optim.Clip{Norm: 1}}},
	} {
		all := team(t, r, 4)
		var log [][]Message
		seen := map[[32]byte]bool{}
		for step := range 40 {
			part := 4
			if step%7 == 3 {
				part = 2 // the others are away, but listen
			}
			messages := exchange(t, all, d, part)
			log = append(log, messages)
			n := 0
			for _, m := range messages {
				n += len(m.Slopes)
			}
			if want := part * max(r.Directions, 1) * r.Code.Size(); n != want {
				t.Errorf("step %d: %d bytes, want %d", step, n, want)
			}
			sum := hashOf(all[0].Trainer().Params())
			if seen[sum] {
				t.Fatalf("step %d: nothing moved", step)
			}
			seen[sum] = true
			for id, p := range all {
				if hashOf(p.Trainer().Params()) != sum {
					t.Fatalf("step %d: peer %d differs", step, id)
				}
			}
		}
		late := team(t, r, 5)[4]
		for _, messages := range log {
			if err := late.Apply(messages...); err != nil {
				t.Fatal(err)
			}
		}
		sameBits(t, "a peer that joined late", all[0].Trainer().Params(), late.Trainer().Params())
	}
}

// Trainer's peers, which share one copy of the parameters, are peers with a copy each.
func TestOneByteTrainerIsItsPeers(t *testing.T) {
	d := toy(64)
	r := OneByte{Optimizer: optim.SGD{LR: 0.05, Momentum: 0.5}, Peers: 4, Directions: 2}
	spec := SpecOf(d, 64, 9)
	tr, err := r.Trainer(mlp(8), objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	batch, rows := NewBatch(spec), make([]int, 64)
	for i := range rows {
		rows[i] = i
	}
	if err := batch.Fill(d, rows, 0); err != nil {
		t.Fatal(err)
	}
	all := team(t, r, 4)
	for range 10 {
		if _, err := tr.Step(batch); err != nil {
			t.Fatal(err)
		}
		exchange(t, all, d, 4)
	}
	sameBits(t, "one process", tr.Params(), all[3].Trainer().Params())
}

// A slope that is not finite arrives as 0 and moves nothing; those of the other peers count.
func TestPeerWithoutSlope(t *testing.T) {
	all := team(t, OneByte{Optimizer: optim.SGD{LR: 0.02, WeightDecay: 0.1}}, 2)
	before := hashOf(all[0].Trainer().Params())
	if err := all[0].Apply(Message{0, 0, []byte{0}}, Message{0, 1, []byte{0}}); err != nil {
		t.Fatal(err)
	}
	if hashOf(all[0].Trainer().Params()) != before || all[0].Trainer().Steps() != 1 {
		t.Error("a step without slopes is to count and to change nothing")
	}
	if err := all[0].Apply(Message{1, 0, []byte{0}}, Message{1, 1, []byte{64}}); err != nil {
		t.Fatal(err)
	}
	if hashOf(all[0].Trainer().Params()) == before {
		t.Error("the other peer's slope was ignored")
	}
	for _, m := range [][]Message{
		{{Step: 1, Peer: 0, Slopes: []byte{64}}},
		{{Step: 2, Peer: 0, Slopes: []byte{64, 64}}},
		{{Step: 2, Peer: 3, Slopes: []byte{64}}, {Step: 2, Peer: 3, Slopes: []byte{64}}},
		{{Step: 2, Peer: maxPeers, Slopes: []byte{64}}},
	} {
		sum := hashOf(all[0].Trainer().Params())
		wantError(t, all[0].Apply(m...), "one-byte")
		if hashOf(all[0].Trainer().Params()) != sum || all[0].Trainer().Steps() != 2 {
			t.Errorf("%v changed something", m)
		}
	}
	_, err := OneByte{Peers: 3}.Trainer(mlp(8), objectives.CrossEntropy, SpecOf(toy(64), 16, 9))
	wantError(t, err, "Batch", "3", "16")
}
