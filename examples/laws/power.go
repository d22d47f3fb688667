package main

import (
	"fmt"
	"math"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/laws"
	"github.com/harpe-ml/harpe/rules/optim"
)

func powerPage(e *story) error {
	e.Text(`
		Models of growing size predict the next symbol of a text whose entropy is known. If their losses follow

		$$L(N) = L_\infty + (N_0/N)^\alpha$$

		then the constant that no size goes below estimates the entropy of the text, and the rest the divergence
		$\mathrm{KL}(\text{text} \| \text{model})$. Only the losses go into the fit.`)
	source := newText(8, e.seed)
	n := e.short(6000, 300)
	widths := []int{4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128}
	if e.quick {
		widths = []int{4, 8, 16, 32, 64}
	}
	bar := e.Progress("models", len(widths)*e.seeds)
	var sizes, losses, deviations []float64
	courses := notebook.Plot{Title: "Loss along training, first seed", X: "operations, 6·N·examples", Y: "loss, nats a symbol", LogX: true}
	var runs []laws.Run
	for k, width := range widths {
		var final []float64
		var size float64
		for run := range e.seeds {
			t, course, err := e.predictor(source, width, n, e.seed+uint64(run))
			if err != nil {
				return err
			}
			size = float64(t.Params().Count())
			line := notebook.Line{Name: fmt.Sprintf("%.0f parameters", size)}
			for _, p := range course {
				operations := laws.Operations(size, float64(p.examples))
				line.X, line.Y = append(line.X, operations), append(line.Y, p.loss)
				runs = append(runs, laws.Run{Size: size, Operations: operations, Loss: p.loss})
			}
			if run == 0 && k%2 == 0 {
				courses.Lines = append(courses.Lines, line)
			}
			final = append(final, course[len(course)-1].loss)
			bar.Set(k*e.seeds+run+1, fmt.Sprintf("%.0f parameters, loss %.4f", size, final[run]))
		}
		mean, sd := moments(final)
		sizes, losses, deviations = append(sizes, size), append(losses, mean), append(deviations, sd)
	}
	bar.Done()
	law, err := laws.FitPower(sizes, losses)
	if err != nil {
		return err
	}
	h := source.entropy()
	table := notebook.Table{Title: fmt.Sprintf("Losses after %d steps, over %d seeds", n, e.seeds), Header: []string{"parameters", "loss", "law", "above the entropy", "above the law's limit"}}
	measured, fitted := notebook.Points{Name: "loss - entropy"}, notebook.Line{Name: "law - its limit"}
	var logs [2][]float64
	falls := true
	for i, size := range sizes {
		table.Rows = append(table.Rows, []string{fmt.Sprintf("%.0f", size), fmt.Sprintf("%.4f ± %.4f", losses[i], deviations[i]), fmt.Sprintf("%.4f", law.Predict(size)),
			fmt.Sprintf("%.4f", losses[i]-h), fmt.Sprintf("%.4f", law.Reducible(size))})
		measured.X, measured.Y = append(measured.X, size), append(measured.Y, losses[i]-h)
		fitted.X, fitted.Y = append(fitted.X, size), append(fitted.Y, law.Reducible(size))
		logs[0], logs[1] = append(logs[0], math.Log(size)), append(logs[1], math.Log(losses[i]-h))
		falls = falls && (i == 0 || losses[i] < losses[i-1])
	}
	e.Text(fmt.Sprintf("Fitted: $L(N) = %.4f + (%.3g/N)^{%.3f}$. The entropy of the text is %.4f.", law.Limit, law.Scale, law.Alpha, h))
	e.Table(table)
	e.Plot(notebook.Plot{Title: "The part of the loss that a larger model takes away", X: "parameters", Y: "nats a symbol", LogX: true, LogY: true, Points: []notebook.Points{measured}, Lines: []notebook.Line{fitted}})
	slope := slopeOf(logs[0], logs[1])
	e.expect("the law's limit is within 3 % of the entropy", math.Abs(law.Limit/h-1) < 0.03, fmt.Sprintf("%.4f and %.4f", law.Limit, h))
	e.expect("it is nearer than any measured loss", math.Abs(law.Limit-h) < losses[len(losses)-1]-h, fmt.Sprintf("%.4f and %.4f away", math.Abs(law.Limit-h), losses[len(losses)-1]-h))
	e.expect("larger models have smaller losses", falls, fmt.Sprintf("%.4f to %.4f", losses[0], losses[len(losses)-1]))
	e.expect("the divergence falls as a power: slope below -0.3 on logarithmic scales", slope < -0.3, fmt.Sprintf("%.2f", slope))
	e.compute(courses, runs)
	return e.pixels()
}

// compute shows which size is best for each amount of computation.
func (e *story) compute(courses notebook.Plot, runs []laws.Run) {
	e.Heading("The best size for an amount of computation")
	e.Plot(courses)
	var sizes, operations []float64
	for _, r := range laws.Envelope(runs) {
		sizes, operations = append(sizes, math.Log(r.Size)), append(operations, math.Log(r.Operations))
	}
	slope := slopeOf(operations, sizes)
	e.Text(fmt.Sprintf("Of all models and moments, those that no other beats with fewer operations are the envelope. Along it the size grows as operations$^{%.2f}$.", slope))
	e.expect("more computation is best spent on a larger model", slope > 0.1 && slope < 1, fmt.Sprintf("exponent %.2f", slope))
}

func slopeOf(x, y []float64) float64 {
	mx, _ := moments(x)
	my, _ := moments(y)
	var xx, xy float64
	for i := range x {
		xx, xy = xx+(x[i]-mx)*(x[i]-mx), xy+(x[i]-mx)*(y[i]-my)
	}
	return xy / xx
}

// point is the loss after so many examples.
type point struct {
	examples int
	loss     float64
}

// predictor trains a model of the given width and measures its loss at steps that double.
func (e *story) predictor(source *text, width, n int, seed uint64) (rules.Trainer, []point, error) {
	const size = 64
	rule := rules.Backprop{Optimizer: optim.Adam{LR: 1e-2}, Options: optim.Options{Schedule: optim.Cosine{Steps: n}}}
	t, err := rule.Trainer(models.MLP{Hidden: []int{width}, Classes: source.symbols}, objectives.CrossEntropy, rules.SpecOf(source, size, seed))
	if err != nil {
		return nil, nil, err
	}
	batch, rows := rules.NewBatch(t.Spec()), make([]int, size)
	var course []point
	for step, next := 1, 16; step <= n; step++ {
		if err := e.ctx.Err(); err != nil {
			return nil, nil, err
		}
		for i := range rows {
			rows[i] = ((step-1)*size + i) % source.Len()
		}
		if err := batch.Fill(source, rows, seed<<20+uint64(step*size/source.Len())); err != nil {
			return nil, nil, err
		}
		if _, err := t.Step(batch); err != nil {
			return nil, nil, err
		}
		if step == next || step == n {
			loss, err := source.loss(t)
			if err != nil {
				return nil, nil, err
			}
			course = append(course, point{step * size, loss})
			next *= 2
		}
	}
	return t, course, nil
}

// strokes is the digits as black and white pixels, to be predicted from themselves.
type strokes struct{ *data.Set }

func (strokes) Classes() int       { return 0 }
func (strokes) TargetShape() []int { return []int{64} }
func (s strokes) Read(i int, key uint64, x, y []float32) int {
	s.Set.Read(i, key, x, nil)
	for j, v := range x {
		x[j] = 0
		if v > 0.5 {
			x[j] = 1
		}
	}
	copy(y, x)
	return -1
}

// autoregressive is a network whose logit of pixel i sees the pixels before i only (M. Germain et al. 2015, arXiv
// 1502.03509): hidden unit k sees pixels below its degree d_k and is seen by pixels from d_k on.
func autoregressive(units int) layers.Layer {
	return layers.Func("made", func(s *graph.Scope, x *graph.Node) *graph.Node {
		const n = 64
		in, out, skip := graph.NewArray(s.DType(), n, units), graph.NewArray(s.DType(), units, n), graph.NewArray(s.DType(), n, n)
		for k := range units {
			degree := 1 + k*(n-1)/units
			for i := range n {
				if i < degree {
					in.Set(i*units+k, 1)
				} else {
					out.Set(k*n+i, 1)
				}
			}
		}
		for i := range n {
			for j := i + 1; j < n; j++ {
				skip.Set(i*n+j, 1)
			}
		}
		masked := func(name string, mask *graph.Array) *graph.Node {
			shape := mask.Shape
			return graph.Mul(s.Param(name, graph.Glorot(shape[0], shape[1]), shape...), graph.Literal(x, mask))
		}
		h := graph.ReLU(graph.Add(graph.MatMul(x, masked("in", in)), s.Param("bias", graph.Zeros(), units)))
		logits := graph.Add(graph.MatMul(h, masked("out", out)), graph.MatMul(x, masked("skip", skip)))
		return graph.Add(logits, s.Param("prior", graph.Zeros(), n))
	})
}

// pixelLoss is the mean cross-entropy of a pixel.
func pixelLoss(logits, target *graph.Node) *graph.Node {
	return graph.Mean(graph.Sub(graph.Softplus(logits), graph.Mul(logits, target)))
}

// pixels fits models of growing width to pictures.
func (e *story) pixels() error {
	e.Heading("Pictures, pixel by pixel")
	e.Text("Autoregressive networks of growing width predict each pixel of a black-and-white digit from those before it. Of pictures nobody knows the entropy, and the " +
		"data end at 1,437 digits; but the loss on digits not seen falls with the width here too.")
	train, test, err := split(e.seed)
	if err != nil {
		return err
	}
	widths := []int{1, 4, 16, 64, 256}
	table := notebook.Table{Title: "Loss on the test digits", Header: []string{"hidden units", "nats a pixel"}}
	var losses []float64
	for _, width := range widths {
		var final []float64
		for run := range e.seeds {
			rule := rules.Backprop{Optimizer: optim.Adam{LR: 3e-3}, Options: optim.Options{Schedule: optim.Cosine{Steps: e.short(15, 2) * (train.Len() / 32)}}}
			t, err := rule.Trainer(autoregressive(width), pixelLoss, rules.SpecOf(strokes{train}, 32, e.seed+uint64(run)))
			if err != nil {
				return err
			}
			if _, err := rules.Fit(e.ctx, t, strokes{train}, rules.Config{Epochs: e.short(15, 2)}); err != nil {
				return err
			}
			loss, err := pixelLossOn(t, strokes{test})
			if err != nil {
				return err
			}
			final = append(final, loss)
		}
		mean, _ := moments(final)
		losses = append(losses, mean)
		table.Rows = append(table.Rows, []string{fmt.Sprint(width), spread(final, "%.4f")})
	}
	e.Table(table)
	falls := true
	for i := range losses[1:] {
		falls = falls && losses[i+1] < losses[i]
	}
	e.expect("wider networks have smaller test losses", falls, fmt.Sprintf("%.4f", losses))
	return nil
}

func pixelLossOn(t rules.Trainer, d strokes) (float64, error) {
	spec := t.Spec()
	batch, rows := rules.NewBatch(spec), make([]int, 0, spec.Batch)
	sum := 0.0
	for at := 0; at < d.Len(); at += spec.Batch {
		rows = rows[:0]
		for i := at; i < min(at+spec.Batch, d.Len()); i++ {
			rows = append(rows, i)
		}
		if err := batch.Fill(d, rows, 0); err != nil {
			return 0, err
		}
		logits, err := t.Predict(batch)
		if err != nil {
			return 0, err
		}
		for i := range 64 * len(rows) {
			z, y := logits.At(i), batch.Y.At(i)
			sum += math.Max(z, 0) + math.Log1p(math.Exp(-math.Abs(z))) - z*y
		}
	}
	return sum / float64(64*d.Len()), nil
}
