package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Noise says where LikelihoodRatio adds its noise.
type Noise int

const (
	LogitNoise  Noise = iota // to each layer's logits
	WeightNoise              // to each parameter, for each example another: for layers with fewer weights than logits
)

// Sampler says how LikelihoodRatio draws its noise.
type Sampler int

const (
	Independent  Sampler = iota // independent normal numbers
	SobolPoints                 // Sobol's points, shifted at random in each step, as normal numbers
	HaltonPoints                // Halton's points, likewise
)

// LikelihoodRatio trains from losses alone: noise of standard deviation σ is added behind a layer, and the layer's
// gradient is the correlation of the examples' losses with their noise and the layer's input,
//
//	∂/∂θ E L(v) = E[L · (∂φ/∂θ)ᵀ ε/σ],  v = φ(x; θ) + σε,  ε ~ N(0, I)
//
// (J. Jiang et al. 2023, "One forward is enough for neural network training via likelihood ratio method", arXiv
// 2305.08960). What comes behind the noise need not be differentiable: steps, spikes and error counts do as well. The
// estimate is that of the smoothed loss E L, whose distance from the clean one falls like σ². Every layer whose
// parameters enter as those of graph.Uses can be trained: dense, convolutional, recurrent, graph and embedding layers
// and the scales and shifts of norms; several uses of one parameter, as in a recurrent layer, get noise together.
//
// Unless Joint, each layer's noise has forward passes of its own, which share everything before the layer, so that no
// layer's estimate has the variance of another's noise. A step refuses losses that are not finite. A model that mixes
// the examples of a batch, as batch normalisation does in training, gets each example's own share of the gradient only.
type LikelihoodRatio struct {
	Optimizer optim.Optimizer // nil means Adam with its defaults
	Options   optim.Options
	Noise     Noise
	Sampler   Sampler            // for LogitNoise
	Sigma     float64            // standard deviation of the noise; 0 means 0.1
	Scales    map[string]float64 // factors of Sigma by layer ("dense1"); the default is 1
	Draws     int                // of each layer's noise in a step; 0 means 1
	OneSided  bool               // no second pass with the opposite noise
	Baseline  bool               // subtract the loss without noise: for OneSided and LearnSigma
	Joint     bool               // all layers' noise in the same passes: one forward pass, or two, for everything
	// LearnSigma trains, for LogitNoise, a standard deviation for each unit or channel, from Sigma, as the parameters
	// "likelihood-ratio/LAYER/log_sigma".
	LearnSigma bool
	// Cut is the name of a block. It and those before it are trained by reverse mode from the estimate of the gradient of
	// the block's output; what comes behind may be a black box. Empty means that nothing is.
	Cut string
}

// Name is "likelihood-ratio".
func (LikelihoodRatio) Name() string { return "likelihood-ratio" }

// Trainer compiles one forward program with all noisy passes.
func (r LikelihoodRatio) Trainer(model layers.Layer, objective objectives.Objective, spec Spec) (Trainer, error) {
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	step := func(s *graph.Scope, x, y *graph.Node) []Goal {
		out := model.Apply(s, x)
		n := &noisy{LikelihoodRatio: r, s: s, out: out, batch: spec.Batch}
		n.losses = func(out *graph.Node) *graph.Node { return losses(objective, out, y) }
		n.draw = n.sample
		params, grads := n.estimate()
		clean := objective(out, y)
		return []Goal{{Loss: guard(clean, n.seen...), Clean: clean, Params: params, Grads: grads}}
	}
	return Plan{
		Name:      r.Name(),
		Phases:    []Phase{step},
		Predict:   model.Apply,
		Optimizer: r.Optimizer,
		Options:   r.Options,
	}.Trainer(spec)
}

func (r LikelihoodRatio) withDefaults() (LikelihoodRatio, error) {
	r.Optimizer = orAdam(r.Optimizer)
	if r.Sigma == 0 {
		r.Sigma = 0.1
	}
	r.Draws = max(r.Draws, 1)
	switch {
	case r.Noise < LogitNoise || r.Noise > WeightNoise:
		return r, graph.Fail(r.Name(), "Noise", "LogitNoise or WeightNoise", int(r.Noise))
	case r.Sampler < Independent || r.Sampler > HaltonPoints:
		return r, graph.Fail(r.Name(), "Sampler", "Independent, SobolPoints or HaltonPoints", int(r.Sampler))
	case !(r.Sigma > 0) || math.IsInf(r.Sigma, 1):
		return r, graph.Fail(r.Name(), "Sigma", "a positive number", r.Sigma)
	case r.Noise == WeightNoise && (r.Sampler != Independent || r.LearnSigma || r.Cut != ""):
		return r, graph.Fail(r.Name(), "Sampler, LearnSigma, Cut", "their defaults with WeightNoise", fmt.Sprintf("%d, %v, %q", r.Sampler, r.LearnSigma, r.Cut))
	}
	for layer, c := range r.Scales {
		if !(c > 0) || math.IsInf(c, 1) {
			return r, graph.Fail(r.Name(), "Scales["+layer+"]", "a positive number", c)
		}
	}
	return r, nil
}

// noisy is the model of a step, with all that its estimates need.
type noisy struct {
	LikelihoodRatio
	s      *graph.Scope
	out    *graph.Node
	batch  int
	losses func(out *graph.Node) *graph.Node                                          // of each example, [batch]
	draw   func(draw int, name string, shape []int, like *graph.Node) (e *graph.Node) // standard normal
	seen   []*graph.Node                                                              // all losses with noise
	params []*graph.Node
	grads  []*graph.Node
	clean  *graph.Node // losses without noise; nil unless there is a baseline
}

// A place is where noise is added: a logit, with the parameters that it trains.
type place struct {
	name     string
	stream   string // of its noise
	at       *graph.Node
	uses     []graph.Use
	below    []*graph.Node // the parameters trained through it by reverse mode
	logSigma *graph.Node   // nil unless learned
}

// pass is one noisy forward pass.
type pass struct {
	losses *graph.Node
	copied func(*graph.Node) *graph.Node
}

// estimate is the gradient of every parameter.
func (n *noisy) estimate() (params, grads []*graph.Node) {
	groups := n.groups()
	if n.Baseline {
		n.clean = n.losses(n.out)
	}
	n.params = n.s.Graph().Trainable(n.out)
	for _, group := range groups {
		for _, p := range group {
			if p.logSigma != nil {
				n.params = append(n.params, p.logSigma)
			}
		}
	}
	n.grads = make([]*graph.Node, len(n.params))
	if n.Joint {
		groups = [][]*place{slices.Concat(groups...)}
	}
	for _, group := range groups {
		n.group(group)
	}
	return n.params, n.grads
}

// groups lists the places, those that train the same parameter together.
func (n *noisy) groups() (groups [][]*place) {
	g := n.s.Graph()
	below, cut := n.cut()
	var places []*place
	for _, u := range g.Uses(n.out) {
		if slices.Contains(below, u.Param) {
			continue
		}
		i := slices.IndexFunc(places, func(p *place) bool { return p.at == u.Logit })
		if i < 0 {
			name := g.Param(u.Param).Name
			if end := strings.LastIndexByte(name, '/'); end >= 0 {
				name = name[:end]
			}
			i = len(places)
			places = append(places, &place{name: name, stream: fmt.Sprintf("%s/%d", name, i), at: u.Logit})
		}
		places[i].uses = append(places[i].uses, u)
	}
	if cut != nil {
		places = append(places, &place{name: n.Cut, stream: n.Cut, at: cut, below: below})
	}
	for layer := range n.Scales {
		if !slices.ContainsFunc(places, func(p *place) bool { return p.name == layer }) {
			panic(graph.Fail(n.Name(), "Scales", "layers of the model", layer))
		}
	}
	of := map[*graph.Node]int{} // parameters to groups
	for _, p := range places {
		if shape := graph.ShapeOf(p.at); len(shape) == 0 || shape[0] != n.batch {
			panic(graph.Fail(n.Name(), "layer "+p.name, fmt.Sprintf("a result for each of %d examples", n.batch), shape))
		}
		into := len(groups)
		groups = append(groups, nil)
		for _, u := range p.uses {
			if old, ok := of[u.Param]; ok && old != into {
				groups[into] = append(groups[old], groups[into]...)
				groups[old] = nil
				for q, i := range of {
					if i == old {
						of[q] = into
					}
				}
			}
			of[u.Param] = into
		}
		groups[into] = append(groups[into], p)
		if n.LearnSigma {
			n.learnSigma(p, len(groups))
		}
	}
	return slices.DeleteFunc(groups, func(g []*place) bool { return g == nil })
}

// learnSigma makes the logarithm of a standard deviation for each unit or channel.
func (n *noisy) learnSigma(p *place, number int) {
	shape := slices.Clone(graph.ShapeOf(p.at)[1:])
	if len(shape) == 3 {
		shape[1], shape[2] = 1, 1
	} else if len(shape) > 0 {
		shape = shape[len(shape)-1:]
	}
	s := n.s.Root().Sub(n.Name()).Sub(p.name)
	name := "log_sigma"
	if n.s.Graph().ParamNode(s.Name(name)) != nil {
		name = fmt.Sprintf("log_sigma%d", number)
	}
	p.logSigma = s.Param(name, graph.Constant(math.Log(n.sigma(p))), shape...)
}

func (n *noisy) sigma(p *place) float64 {
	if c, ok := n.Scales[p.name]; ok {
		return c * n.Sigma
	}
	return n.Sigma
}

// cut finds the block to cut behind, its output and the parameters up to there.
func (n *noisy) cut() (below []*graph.Node, out *graph.Node) {
	if n.Cut == "" {
		return nil, nil
	}
	var names []string
	for _, b := range n.s.Graph().Blocks() {
		if b.Name == n.Cut {
			return n.s.Graph().Trainable(b.Out), b.Out
		}
		names = append(names, b.Name)
	}
	panic(graph.Fail(n.Name(), "Cut", "one of the blocks "+strings.Join(names, ", "), n.Cut))
}

// group adds the estimates of places that have noise at the same time.
func (n *noisy) group(places []*place) {
	weights := 1 / float64(n.Draws*n.batch)
	pooled := map[*place]*graph.Node{}
	for k := range n.Draws {
		if n.Noise == WeightNoise {
			n.weightNoise(places, k, weights)
			continue
		}
		standard := make([]*graph.Node, len(places))
		sigma := make([]*graph.Node, len(places))
		for i, p := range places {
			standard[i] = n.draw(k, p.stream, graph.ShapeOf(p.at), n.out)
			sigma[i] = n.s.Const(n.sigma(p))
			if p.logSigma != nil {
				sigma[i] = graph.Exp(p.logSigma)
			}
		}
		passes := n.passes(func(sign float64) map[*graph.Node]graph.Injection {
			at := map[*graph.Node]graph.Injection{}
			for i, p := range places {
				noise := graph.Scale(graph.Mul(sigma[i], standard[i]), sign)
				at[p.at] = func(z *graph.Node, _ func(*graph.Node) *graph.Node) *graph.Node { return graph.Add(z, noise) }
			}
			return at
		})
		odd := n.half(passes, true)
		for i, p := range places {
			score := graph.Div(standard[i], sigma[i])
			if n.unmoved(p, passes) {
				u := graph.Scale(graph.Mul(perExample(odd, score), score), weights)
				pooled[p] = plus(pooled[p], u)
			} else {
				for j, run := range passes {
					u := graph.Scale(graph.Mul(perExample(run.losses, score), score), weights*[]float64{1, -1}[j]/float64(len(passes)))
					n.add(p, u, run.copied)
				}
			}
			if p.logSigma != nil {
				even := graph.Shift(graph.Square(standard[i]), -1)
				g := graph.Mul(perExample(n.half(passes, false), even), even)
				n.addTo(p.logSigma, graph.Scale(graph.SumTo(g, graph.ShapeOf(p.logSigma)), weights))
			}
		}
	}
	for _, p := range places {
		if u := pooled[p]; u != nil {
			n.add(p, u, graph.Same)
		}
	}
}

// passes runs the rest of the model with the noise and, unless OneSided, with its opposite.
func (n *noisy) passes(at func(sign float64) map[*graph.Node]graph.Injection) (passes []pass) {
	signs := []float64{1, -1}
	if n.OneSided {
		signs = signs[:1]
	}
	for _, sign := range signs {
		out, copied := graph.Inject(n.out, at(sign))
		l := n.losses(out)
		n.seen = append(n.seen, l)
		if n.clean != nil {
			l = graph.Sub(l, n.clean)
		}
		passes = append(passes, pass{l, copied})
	}
	return passes
}

// half is half the difference, or half the sum, of the losses under opposite noise.
func (n *noisy) half(passes []pass, difference bool) *graph.Node {
	switch {
	case len(passes) == 1:
		return passes[0].losses
	case difference:
		return graph.Scale(graph.Sub(passes[0].losses, passes[1].losses), 0.5)
	}
	return graph.Scale(graph.Add(passes[0].losses, passes[1].losses), 0.5)
}

// unmoved says whether a place's layer has the same input in all passes as without noise.
func (n *noisy) unmoved(p *place, passes []pass) bool {
	for _, run := range passes {
		for _, u := range p.uses {
			if run.copied(u.Op) != u.Op {
				return false
			}
		}
	}
	return true
}

// add gives a place's parameters their gradients for a cotangent of the logits.
func (n *noisy) add(p *place, u *graph.Node, copied func(*graph.Node) *graph.Node) {
	for _, use := range p.uses {
		n.addTo(use.Param, use.Grad(u, copied))
	}
	if len(p.below) > 0 {
		for i, g := range graph.VJP([]*graph.Node{p.at}, []*graph.Node{u}, p.below) {
			n.addTo(p.below[i], g)
		}
	}
}

func (n *noisy) addTo(param, g *graph.Node) {
	i := slices.Index(n.params, param)
	n.grads[i] = plus(n.grads[i], g)
}

// weightNoise is one draw of noise on the parameters of the places.
func (n *noisy) weightNoise(places []*place, k int, weight float64) {
	noise := map[*graph.Node]*graph.Node{}
	sigma := map[*graph.Node]float64{}
	for _, p := range places {
		for _, u := range p.uses {
			if noise[u.Param] == nil {
				shape := slices.Concat([]int{n.batch}, graph.ShapeOf(u.Param))
				noise[u.Param] = n.draw(k, n.s.Graph().Param(u.Param).Name, shape, n.out)
				sigma[u.Param] = n.sigma(p)
			}
		}
	}
	passes := n.passes(func(sign float64) map[*graph.Node]graph.Injection {
		at := map[*graph.Node]graph.Injection{}
		for _, p := range places {
			at[p.at] = func(z *graph.Node, copied func(*graph.Node) *graph.Node) *graph.Node {
				for _, u := range p.uses {
					z = graph.Add(z, graph.Scale(u.ExampleTangents(noise[u.Param], copied), sign*sigma[u.Param]))
				}
				return z
			}
		}
		return at
	})
	odd := n.half(passes, true)
	for _, p := range n.params {
		if e := noise[p]; e != nil {
			n.addTo(p, graph.Scale(contract(odd, e), weight/sigma[p]))
		}
	}
}

// sample draws standard normal noise.
func (n *noisy) sample(k int, name string, shape []int, like *graph.Node) *graph.Node {
	stream := fmt.Sprintf("%s/%d/%s", n.Name(), k, name)
	if n.Sampler == Independent {
		return n.s.Root().Normal(stream, shape...)
	}
	// Points k·batch to (k+1)·batch-1 of two coordinates a number, turned into normal numbers by G. Box and M. Muller 1958.
	size := graph.Type{Shape: shape[1:]}.Size()
	points := halton
	if n.Sampler == SobolPoints {
		points = sobol
	}
	all := points((k+1)*n.batch, 2*size)[k*n.batch*2*size:]
	a := graph.NewArray(n.s.DType(), n.batch, 2*size)
	for i, v := range all {
		a.Set(i, v)
	}
	u := graph.Add(graph.Literal(like, a), n.s.Root().Uniform(fmt.Sprintf("%s/shift/%s", n.Name(), name), 2*size))
	u = graph.Sub(u, graph.Floor(u))
	radius := graph.Sqrt(graph.Scale(graph.Log(graph.Maximum(graph.Slice(u, 1, 0, size, 1), graph.Const(u, 1e-12))), -2))
	e := graph.Mul(radius, graph.Cos(graph.Scale(graph.Slice(u, 1, size, 2*size, 1), 2*math.Pi)))
	return graph.Reshape(e, shape...)
}
