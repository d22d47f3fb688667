package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
	"github.com/harpe-ml/harpe/rules/width"
)

const (
	tokens    = 16 // patches of 2x2 pixels
	patchSize = 4
	depthViT  = 2
)

// patches cuts digits [batch, 64] into [batch, tokens, patchSize].
func patches(x *graph.Node) *graph.Node {
	batch := graph.ShapeOf(x)[0]
	x = graph.Transpose(graph.Reshape(x, batch, 4, 2, 4, 2), 0, 1, 3, 2, 4)
	return graph.Reshape(x, batch, tokens, patchSize)
}

// vit is a small vision transformer of n units, with weights of the variances of size.
type vit struct{ size width.Transformer }

func sized(n int, s float64) width.Transformer {
	return width.Transformer{Units: n, Patch: patchSize, Outputs: 10, S: s}
}

// draw is the initialisation of a group.
func (v vit) draw(g width.Group) layers.Init { return layers.Normal(math.Sqrt(v.size.Variance(g))) }

// embed is the sum of embedded patches and places.
func (v vit) embed(s *graph.Scope, x *graph.Node) *graph.Node {
	x = layers.Dense{Units: v.size.Units, Init: v.draw(width.Patches), Name: "patches"}.Apply(s, patches(x))
	return graph.Add(x, s.Param("places", graph.NormalInit(math.Sqrt(v.size.Variance(width.Vectors))), tokens, v.size.Units))
}

// blocks are attention, perceptron, attention, ...
func (v vit) blocks() (q []layers.Layer) {
	for range depthViT {
		q = append(q,
			layers.Block{layers.Residual{Body: layers.Sequential{layers.LayerNorm{}, layers.SelfAttention{Heads: 4, Init: v.draw(width.Attention)}}}},
			layers.Block{layers.Residual{Body: layers.Sequential{
				layers.LayerNorm{},
				layers.Dense{Units: 4 * v.size.Units, Activation: layers.ReLU{}, Init: v.draw(width.Up), Name: "up"},
				layers.Dense{Units: v.size.Units, Init: v.draw(width.Down), Name: "down"},
			}}})
	}
	return q
}

// Apply makes the logits' node.
func (v vit) Apply(s *graph.Scope, x *graph.Node) *graph.Node {
	x = v.embed(s, x)
	for _, b := range v.blocks() {
		x = b.Apply(s, x)
	}
	x = graph.Mean(layers.LayerNorm{}.Apply(s, x), 1)
	return layers.Dense{Units: 10, Init: v.draw(width.Head), Name: "head"}.Apply(s, x)
}

// groupOf is the group of a parameter of vit.
func groupOf(name string) (width.Group, error) {
	switch {
	case strings.HasPrefix(name, "patches/weight"):
		return width.Patches, nil
	case name == "head/weight":
		return width.Head, nil
	case name == "head/bias":
		return width.HeadBias, nil
	case strings.HasSuffix(name, "up/weight"):
		return width.Up, nil
	case strings.HasSuffix(name, "down/weight"):
		return width.Down, nil
	case strings.Contains(name, "attention") && strings.HasSuffix(name, "weight"):
		return width.Attention, nil
	}
	return width.Vectors, nil
}

func transformerPage(e *experiment) error {
	e.Text(`
		A small vision transformer reads the digits as 16 patches of 2x2 pixels. Its weights start with variance 1/inputs. How the
		variance of the residual stream grows from block to block then follows from a *kernel*: the covariance of one
		coordinate between pairs of tokens, in the limit of infinite width.`)
	if err := e.variances(e.short(256, 64)); err != nil {
		return err
	}
	e.Heading("The best learning rate")
	e.Text(`
		With one learning rate for all parameters, and with that multiplied for each group by what the theory of wide transformers
		says for AdamW: for embeddings $n^{-1/2}$, for attention $n^{-3/2}$, for the perceptrons $n^{-3/2} M^{-1/2}$ and $n^{-3/2} M^{-1}$, for the head
		$n^{-1}$ times constants (the *neural tangent* scaling), all but the head's times $n^{1/2}$ for the *maximal update*, whose head starts smaller.`)
	sizes := []int{32, 64, 128}
	if e.quick {
		sizes = sizes[:2]
	}
	n := e.short(120, 4)
	shifts := map[string]int{}
	for _, c := range []struct {
		name     string
		s        float64
		scaled   bool
		from, to int
	}{{"one rate", 0, false, -12, -6}, {"neural tangent", 0, true, -4, 2}, {"maximal update", 1, true, -7, -1}} {
		s, err := e.sweep(c.name, sizes, powers(c.from, c.to), n, 8, func(size int, lr float64) (rules.Rule, layers.Layer) {
			model := vit{sized(size, c.s)}
			return scaled{model, c.scaled, lr}, model
		})
		if err != nil {
			return err
		}
		e.show(c.name, "width", s)
		shifts[c.name] = s.shift()
	}
	e.expect("maximal update: the best rate moves by a factor of 2 at most", shifts["maximal update"] <= 1, fmt.Sprintf("2^%d", shifts["maximal update"]))
	e.expect("one rate: it moves at least as far", shifts["one rate"] >= shifts["maximal update"], fmt.Sprintf("2^%d", shifts["one rate"]))
	return nil
}

// scaled trains a vit by AdamW with the rates of its groups.
type scaled struct {
	model vit
	on    bool
	lr    float64
}

func (scaled) Name() string { return "scaled" }

func (r scaled) Trainer(model layers.Layer, o objectives.Objective, spec rules.Spec) (rules.Trainer, error) {
	rule := rules.Backprop{Optimizer: optim.AdamW{LR: r.lr}}
	if r.on {
		params := &graph.Params{}
		_, err := graph.Build(params, func(s *graph.Scope) {
			model.Apply(s, s.Input("x", graph.Float32, append([]int{1}, spec.Input...)...))
		})
		if err != nil {
			return nil, err
		}
		if rule.Options.Rates, err = r.model.size.Rates(params, width.Adaptive, groupOf); err != nil {
			return nil, err
		}
	}
	return rule.Trainer(model, o, spec)
}

// variances compares the residual stream with the kernel.
func (e *experiment) variances(units int) error {
	const images = 4
	model := vit{sized(units, 0)}
	sums := make([]float64, 2*depthViT+1)
	for run := range e.seeds {
		values, err := e.evaluate(&graph.Params{Seed: e.seed + uint64(run)}, images, func(s *graph.Scope, x *graph.Node) (nodes []*graph.Node) {
			x = model.embed(s, x)
			nodes = append(nodes, x)
			for _, b := range model.blocks() {
				x = b.Apply(s, x)
				nodes = append(nodes, x)
			}
			return nodes
		})
		if err != nil {
			return err
		}
		for i, v := range values {
			r := rms(v, nil)
			sums[i] += r * r / float64(e.seeds)
		}
	}
	predicted := make([]float64, len(sums))
	for image := range images {
		x := e.train.X[64*image : 64*(image+1)]
		at := func(token, k int) float64 { return float64(x[(token/4*2+k/2)*8+token%4*2+k%2]) }
		kernel := make(width.Kernel, tokens)
		for i := range kernel {
			kernel[i] = make([]float64, tokens)
			for j := range tokens {
				for k := range patchSize {
					kernel[i][j] += at(i, k) * at(j, k) / patchSize
				}
			}
			kernel[i][i]++ // the places
		}
		for block := range predicted {
			var err error
			switch {
			case block == 0:
			case block%2 == 1:
				if kernel, err = kernel.Attention(1, 1, 1, 1, e.short(200, 20), e.seed); err != nil {
					return err
				}
			default:
				kernel = kernel.MLP(1, 1, nil)
			}
			for i := range tokens {
				predicted[block] += kernel[i][i] / tokens / images
			}
		}
	}
	table := notebook.Table{Title: fmt.Sprintf("Variance of the residual stream, %d units", units), Header: []string{"after", "measured", "kernel"}}
	off := 0.0
	for i := range sums {
		name := "embedding"
		if i > 0 {
			name = []string{"attention", "perceptron"}[(i-1)%2] + fmt.Sprintf(" %d", (i+1)/2)
		}
		table.Rows = append(table.Rows, []string{name, fmt.Sprintf("%.3f", sums[i]), fmt.Sprintf("%.3f", predicted[i])})
		off = max(off, math.Abs(sums[i]/predicted[i]-1))
	}
	e.Table(table)
	e.expect("the kernel predicts every variance within 10 %", off < 0.1, fmt.Sprintf("%.1f %%", 100*off))
	return nil
}
