package rules

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Code says how a slope is sent. Zero and what is not finite arrive as exactly 0.
type Code int

const (
	// Byte8 is one byte: the sign in bit 7 and 64 + p in the others, for ±exp(p/8) with p from -63 to 63. Errors are at
	// most 6.5 % from 3.8e-4 to 2.6e3.
	Byte8 Code = iota
	// Log16 is two bytes: 1 or 2 for the sign, and p for ±exp(p/16) with p from -127 to 127. Errors are at most 3.2 % from
	// 3.6e-4 to 2.8e3.
	Log16
	// Plain is the four bytes of a float32.
	Plain
)

// Size is the number of bytes of a slope.
func (c Code) Size() int {
	switch c {
	case Byte8:
		return 1
	case Log16:
		return 2
	}
	return 4
}

// Append appends the code of a slope.
func (c Code) Append(dst []byte, slope float64) []byte {
	if slope == 0 || slope-slope != 0 {
		slope = 0
	}
	step := func(per, most float64) int8 {
		return int8(min(max(math.RoundToEven(per*math.Log(math.Abs(slope))), -most), most))
	}
	negative := byte(0)
	if slope < 0 {
		negative = 1
	}
	switch {
	case c == Plain:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(slope)))
	case c == Byte8 && slope == 0:
		return append(dst, 0)
	case c == Byte8:
		return append(dst, negative<<7|byte(64+step(8, 63)))
	case slope == 0:
		return append(dst, 0, 0)
	}
	return append(dst, 1+negative, byte(step(16, 127)))
}

// Value is the slope of a code of Size bytes; 0 for what Append does not make.
func (c Code) Value(code []byte) float64 {
	var negative bool
	var size float64
	switch c {
	case Byte8:
		m := code[0] & 127
		if m == 0 {
			return 0
		}
		negative, size = code[0]>>7 == 1, math.Exp((float64(m)-64)/8)
	case Log16:
		if code[0] != 1 && code[0] != 2 {
			return 0
		}
		negative, size = code[0] == 2, math.Exp(float64(int8(code[1]))/16)
	default:
		v := float64(math.Float32frombits(binary.LittleEndian.Uint32(code)))
		if v-v != 0 {
			return 0
		}
		return v
	}
	if negative {
		return -size
	}
	return size
}

// OneByte is MeZO by peers that send each other one byte a direction and step (E. Zelikman and others 2023, arXiv
// 2306.10015). Each measures the slope along directions of its own on its own share of the batch; as all of them can
// draw everybody's directions from the shared seed, all make the same update, and end with the same bits. Trainer runs
// all peers in one process; Peer makes one of them, for any kind of bus. A peer with a loss that is not finite sends
// zeros, and Refused counts the step; if all slopes of a step are 0, it changes nothing.
type OneByte struct {
	Optimizer    optim.Optimizer // nil means SGD with learning rate 0.001
	Options      optim.Options
	Eps          float64 // as in MeZO; 0 means 1e-3
	Peers        int     // of Trainer, which gives each an equal share of the batch; 0 means 1
	Directions   int     // of each peer in a step; 0 means 1
	Code         Code
	Perturbation Perturbation
}

// Name is "one-byte".
func (OneByte) Name() string { return "one-byte" }

func (r OneByte) prober(model layers.Layer, objective objectives.Objective, spec Spec) (*prober, error) {
	switch {
	case !(r.Eps > 0) || math.IsInf(r.Eps, 1):
		return nil, graph.Fail(r.Name(), "Eps", "a finite number above 0", r.Eps)
	case r.Directions > maxDirections:
		return nil, graph.Fail(r.Name(), "Directions", maxDirections, r.Directions)
	case r.Code < Byte8 || r.Code > Plain:
		return nil, graph.Fail(r.Name(), "Code", "Byte8, Log16 or Plain", int(r.Code))
	}
	return Probing{
		Name:         r.Name(),
		Optimizer:    r.Optimizer,
		Options:      r.Options,
		Perturbation: r.Perturbation,
		Copies:       1, // peers probe along different directions, so rounding errors would set them apart
	}.prober(model, objective, spec)
}

func (r OneByte) withDefaults() OneByte {
	if r.Eps == 0 {
		r.Eps = 1e-3
	}
	r.Peers, r.Directions = max(r.Peers, 1), max(r.Directions, 1)
	return r
}

// A Message is what a peer tells the others after a step.
type Message struct {
	Step, Peer int
	Slopes     []byte // the codes of its slopes
}

// A Peer is one of those that train together: with its own copy of the parameters, its own data, and the seed of all.
type Peer struct {
	rule    OneByte
	id      int
	trainer *prober
	out     []byte
	order   []Message
}

// Peer makes the peer of a number below 4096; spec.Batch is its own share, spec.Seed the seed of all. A peer that
// joins late applies the messages of all steps so far, in their order.
func (r OneByte) Peer(id int, model layers.Layer, objective objectives.Objective, spec Spec) (*Peer, error) {
	r = r.withDefaults()
	if id < 0 || id >= maxPeers {
		return nil, graph.Fail(r.Name(), "id", fmt.Sprintf("a number below %d", maxPeers), id)
	}
	t, err := r.prober(model, objective, spec)
	if err != nil {
		return nil, err
	}
	return &Peer{rule: r, id: id, trainer: t}, nil
}

// Trainer is the peer's parameters, steps and predictions. Its Step is that of a peer alone.
func (p *Peer) Trainer() Trainer { return alone{p.trainer, p} }

// alone is a peer without others.
type alone struct {
	*prober
	peer *Peer
}

func (t alone) Step(b *Batch) (float64, error) {
	m, loss, err := t.peer.Probe(b)
	if err != nil {
		return loss, err
	}
	return loss, t.peer.Apply(m)
}

// Probe measures the slopes of this step on a batch. The message's Slopes are overwritten by the next call. Parameters
// do not change before Apply; running statistics do, and are each peer's own.
func (p *Peer) Probe(b *Batch) (m Message, loss float64, err error) {
	t := p.trainer
	if err := t.feed(b); err != nil {
		return m, 0, err
	}
	if err := t.probe.begin(t.Steps(), p.id); err != nil {
		return m, 0, errors.Wrap(err, p.rule.Name())
	}
	p.out = p.out[:0]
	for k := range p.rule.Directions {
		plus, minus, err := t.probe.Pair(k, p.rule.Eps)
		if err != nil {
			return m, loss, errors.Wrapf(err, "%s: peer %d, step %d", p.rule.Name(), p.id, t.Steps())
		}
		p.out = p.rule.Code.Append(p.out, (plus-minus)/(2*p.rule.Eps))
		loss += (plus + minus) / 2 / float64(p.rule.Directions)
	}
	if loss, err = t.probe.end(loss); err != nil {
		return m, loss, errors.Wrapf(err, "%s: peer %d, step %d", p.rule.Name(), p.id, t.Steps())
	}
	if t.probe.refuse {
		clear(p.out)
	}
	return Message{t.Steps(), p.id, p.out}, loss, nil
}

// Apply makes the update of a step from the messages of the peers that took part, in any order. If one does not belong
// to the step, or comes twice, or has not one slope a direction, that is an error and nothing changes.
func (p *Peer) Apply(messages ...Message) error {
	t, size := p.trainer, p.rule.Code.Size()
	p.order = append(p.order[:0], messages...)
	slices.SortFunc(p.order, func(a, b Message) int { return cmp.Compare(a.Peer, b.Peer) })
	for i, m := range p.order {
		switch {
		case m.Step != t.Steps():
			return graph.Fail(p.rule.Name(), fmt.Sprintf("message of peer %d", m.Peer), fmt.Sprintf("step %d", t.Steps()), m.Step)
		case m.Peer < 0 || m.Peer >= maxPeers || i > 0 && m.Peer == p.order[i-1].Peer:
			return graph.Fail(p.rule.Name(), "peers", fmt.Sprintf("different numbers below %d", maxPeers), m.Peer)
		case len(m.Slopes) != p.rule.Directions*size:
			return graph.Fail(p.rule.Name(), fmt.Sprintf("message of peer %d", m.Peer), fmt.Sprintf("%d bytes", p.rule.Directions*size), len(m.Slopes))
		}
	}
	pr := t.probe
	pr.keys, pr.slopes = pr.keys[:0], pr.slopes[:0]
	nothing := true
	for _, m := range p.order {
		for k := range p.rule.Directions {
			v := p.rule.Code.Value(m.Slopes[k*size : (k+1)*size])
			nothing = nothing && v == 0
			pr.keys, pr.slopes = append(pr.keys, originOf(m.Step, m.Peer)+uint64(k)), append(pr.slopes, v)
		}
	}
	if !nothing {
		if err := pr.moves.descend(shift{}, pr.keys, pr.slopes); err != nil {
			return err
		}
	}
	t.steps.Ints()[0]++
	return nil
}

// Trainer runs all peers in this process. As they have the same parameters at every step, one copy serves them all.
func (r OneByte) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	r = r.withDefaults()
	if err := spec.check(); err != nil {
		return nil, err
	}
	if r.Peers > maxPeers || spec.Batch%r.Peers != 0 {
		return nil, graph.Fail(r.Name(), "Batch", fmt.Sprintf("a multiple of %d peers", r.Peers), spec.Batch)
	}
	share := spec
	share.Batch /= r.Peers
	p, err := r.prober(model, objective, share)
	if err != nil {
		return nil, err
	}
	whole, err := Plan{Name: r.Name(), Params: p.params, Predict: model.Apply}.Trainer(spec)
	if err != nil {
		return nil, err
	}
	t := &together{prober: p, whole: whole, share: NewBatch(share)}
	for id := range r.Peers {
		t.peers = append(t.peers, &Peer{rule: r, id: id, trainer: p})
	}
	t.messages = make([]Message, r.Peers)
	return t, nil
}

// together is all peers in one process.
type together struct {
	*prober
	whole    Trainer
	peers    []*Peer
	share    *Batch
	messages []Message
}

func (t *together) Spec() Spec                             { return t.whole.Spec() }
func (t *together) Predict(b *Batch) (*graph.Array, error) { return t.whole.Predict(b) }

func (t *together) Step(b *Batch) (sum float64, err error) {
	if b.N != t.Spec().Batch {
		return 0, graph.Fail(t.Name(), "batch", fmt.Sprintf("%d examples", t.Spec().Batch), b.N)
	}
	refused := t.probe.refused[0]
	for i, p := range t.peers {
		copyRows(t.share.X, b.X, i*t.share.N)
		copyRows(t.share.Y, b.Y, i*t.share.N)
		var loss float64
		if t.messages[i], loss, err = p.Probe(t.share); err != nil {
			return loss, err
		}
		sum += loss / float64(len(t.peers))
	}
	t.probe.refused[0] = min(t.probe.refused[0], refused+1) // the step, not its peers
	return sum, t.peers[0].Apply(t.messages...)
}

// copyRows fills dst with the rows of src from the given one on.
func copyRows(dst, src *graph.Array, from int) {
	at := from * (dst.Size() / dst.Shape[0])
	switch dst.DType {
	case graph.Float32:
		copy(dst.Float32s(), src.Float32s()[at:])
	case graph.Float64:
		copy(dst.Float64s(), src.Float64s()[at:])
	default:
		copy(dst.Ints(), src.Ints()[at:])
	}
}
