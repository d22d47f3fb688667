package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

func sequences(e *experiment) error {
	e.Text(`
		Cross-entropy wants each word at its place, and no other word. Two objectives ask for less: one lets words stand at
		another place, the other counts wrong words by how unlike the right one they are.`)
	if err := e.rolled(); err != nil {
		return err
	}
	return e.unlike()
}

// ofLabels is an objective whose target holds labels as numbers.
func ofLabels(f objectives.Objective) objectives.Objective {
	return func(output, target *graph.Node) *graph.Node { return f(output, graph.Cast(target, graph.Int)) }
}

const (
	meanings = 12 // words of the language
	length   = 8  // words of a text
)

func (e *experiment) rolled() error {
	parts := []float64{0, 0.3, 0.6}
	ce := objectives.CrossEntropyOptions{Axis: -1}.Loss
	list := []struct {
		name string
		loss objectives.Objective
	}{
		{"cross-entropy", ce},
		{"eisl, words and pairs", objectives.EISLOptions{NGrams: []int{1, 2}, Weights: []float64{0.8, 0.2}}.Loss},
		{"eisl, pairs", objectives.EISLOptions{NGrams: []int{2}}.Loss},
	}
	e.Heading("Words at another place")
	e.Text(`
		A perceptron writes all 8 words of a translation at once; each word of the source has one translation. Of the 1000
		training texts some are rotated by one to three places. It learns by cross-entropy for 20 epochs, and then for 10 by
		the *edit-invariant* loss, which looks for each word, or pair of words, at all places (G. Liu et al. 2021, arXiv
		2106.15078). Tests are not rotated.`)
	results := make([][2]float64, len(parts)*len(list)*e.seeds)
	err := e.together(len(parts)*e.seeds, func(i int) (string, error) {
		part, run := parts[i/e.seeds], i%e.seeds
		name := fmt.Sprintf("%.0f %% rotated", 100*part)
		seed := e.seed + uint64(run)
		train, test := texts(seed, "train", 1000, part), texts(seed, "test", 500, 0)
		spec := rules.SpecOf(train, 50, seed)
		begin, err := e.translate(spec, train, ce, nil, 20)
		if err != nil {
			return name, err
		}
		for k, f := range list {
			t, err := e.translate(spec, train, f.loss, begin.Params(), 10)
			if err != nil {
				return name, err
			}
			if results[(i/e.seeds*len(list)+k)*e.seeds+run], err = translated(t, test); err != nil {
				return name, err
			}
		}
		return name, nil
	})
	if err != nil {
		return err
	}
	mean := means(results, e.seeds)
	table := notebook.Table{Title: fmt.Sprintf("Tests, means of %d runs", e.seeds), Header: []string{"training texts", "then by", "right words, %", "right pairs of words, %"}}
	for i, m := range mean {
		table.Rows = append(table.Rows, []string{fmt.Sprintf("%.0f %% rotated", 100*parts[i/len(list)]), list[i%len(list)].name, fmt.Sprintf("%.1f", m[0]), fmt.Sprintf("%.1f", m[1])})
	}
	e.Table(table)
	if !e.claims {
		return nil
	}
	none, some, most := mean[:3], mean[3:6], mean[6:]
	e.Check("no harm where nothing is rotated", none[1][0] > none[0][0]-2 && none[2][0] > none[0][0]-2,
		fmt.Sprintf("%.1f, %.1f and %.1f %%", none[0][0], none[1][0], none[2][0]))
	e.Check("words and pairs: more of both right where 30 % are rotated", some[1][0] > some[0][0]+2 && some[1][1] > some[0][1]+2,
		fmt.Sprintf("words %.1f and %.1f %%, pairs %.1f and %.1f %%", some[1][0], some[0][0], some[1][1], some[0][1]))
	e.Text(fmt.Sprintf(`
		Pairs alone gain %+.1f points of right words there. Where 60 %% are rotated most texts are wrong, and no gain is expected:
		it is %+.1f points with words and pairs and %+.1f with pairs alone.`, some[2][0]-some[0][0], most[1][0]-most[0][0], most[2][0]-most[0][0]))
	return nil
}

// texts are sources and their translations, the same language for one seed.
func texts(seed uint64, stream string, n int, rotated float64) *data.Set {
	meaning := graph.Rand(seed, "language", 0).Perm(meanings)
	random := graph.Rand(seed, stream, 0)
	s := &data.Set{Name: stream, Shape: []int{length}, YShape: []int{length}}
	for range n {
		target := make([]float32, length)
		for i := range target {
			word := random.IntN(meanings)
			s.X, target[i] = append(s.X, float32(word)), float32(meaning[word])
		}
		if random.Float64() < rotated {
			k := 1 + random.IntN(3)
			target = slices.Concat(target[k:], target[:k])
		}
		s.Y = append(s.Y, target...)
	}
	return s
}

// translate trains for some epochs, from these parameters if there are any.
func (e *experiment) translate(spec rules.Spec, train *data.Set, f objectives.Objective, from *graph.Params, epochs int) (rules.Trainer, error) {
	model := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
		h := layers.Embedding{Vocabulary: meanings, Units: 16}.Apply(s, graph.Cast(x, graph.Int))
		h = layers.Positions{Length: length}.Apply(s, h)
		return graph.Reshape(models.MLP{Hidden: []int{256}, Classes: length * meanings}.Apply(s, h), -1, length, meanings)
	})
	t, err := rules.Backprop{Optimizer: optim.Adam{LR: 2e-3}}.Trainer(model, ofLabels(f), spec)
	if err != nil {
		return nil, err
	}
	if from != nil {
		if err := t.Params().CopyFrom(from); err != nil {
			return nil, err
		}
	}
	_, err = rules.Fit(e.ctx, t, train, rules.Config{Epochs: epochs})
	return t, err
}

// translated is the part of right words, and of pairs of words that the target has as well.
func translated(t rules.Trainer, d *data.Set) (right [2]float64, err error) {
	out, err := outputs(t, d)
	if err != nil {
		return right, err
	}
	for i := range d.Len() {
		text, target := make([]int, length), d.Y[i*length:(i+1)*length]
		pairs := map[[2]int]int{}
		for j := range text {
			at := (i*length + j) * meanings
			for k := range meanings {
				if out.At(at+k) > out.At(at+text[j]) {
					text[j] = k
				}
			}
			if text[j] == int(target[j]) {
				right[0] += 1 / float64(length*d.Len())
			}
			if j > 0 {
				pairs[[2]int{int(target[j-1]), int(target[j])}]++
			}
		}
		for j := range length - 1 {
			if pair := [2]int{text[j], text[j+1]}; pairs[pair] > 0 {
				pairs[pair]--
				right[1] += 1 / float64((length-1)*d.Len())
			}
		}
	}
	return right, nil
}

// A language of categories of words: the category depends on the last one, the word on its category alone.
const (
	categories = 6
	synonyms   = 6 // words of a category
	vocabulary = categories * synonyms
)

func (e *experiment) unlike() error {
	e.Heading("Words unlike the right one")
	e.Text(`
		A language of 6 kinds of words with 6 words each. A perceptron learns from 1500 words to tell the next one from the last
		two. The *earth mover's* objective (S. Ren et al. 2023, arXiv 2310.04691) adds to cross-entropy the expected unlikeness of the
		model's word to the right one, $\sum_k p_k\,(1 - \cos(e_k, e_y))$, with vectors $e$ of a first model, trained by
		cross-entropy. Unlikeness is measured on 5000 further words; the divergence (of Jensen and Shannon) is that of pairs of
		words that the model writes by itself from those of the language.`)
	names := []string{"cross-entropy", "emo", "emo, scaled to the cost"}
	results := make([][3]float64, len(names)*e.seeds)
	err := e.together(e.seeds, func(run int) (string, error) {
		list, err := e.speak(e.seed + uint64(run))
		for k, r := range list {
			results[k*e.seeds+run] = r
		}
		return fmt.Sprint("seed ", e.seed+uint64(run)), err
	})
	if err != nil {
		return err
	}
	mean := make([][3]float64, len(names))
	for i, r := range results {
		for k, v := range r {
			mean[i/e.seeds][k] += v / float64(e.seeds)
		}
	}
	table := notebook.Table{Title: fmt.Sprintf("Means of %d runs", e.seeds), Header: []string{"objective", "perplexity", "unlikeness", "divergence of pairs"}}
	for i, m := range mean {
		table.Rows = append(table.Rows, []string{names[i], fmt.Sprintf("%.2f", m[0]), fmt.Sprintf("%.3f", m[1]), fmt.Sprintf("%.4f", m[2])})
	}
	e.Table(table)
	if !e.claims {
		return nil
	}
	e.Check("emo: words less unlike the right ones", mean[1][1] < mean[0][1], fmt.Sprintf("%.3f and %.3f", mean[1][1], mean[0][1]))
	e.Check("emo: perplexity within a tenth of cross-entropy's", mean[1][0] < 1.1*mean[0][0], fmt.Sprintf("%.2f and %.2f", mean[1][0], mean[0][0]))
	e.Text(fmt.Sprintf(`
		The paper reports texts much nearer to those of people (MAUVE 87 instead of 77) from a large model that was trained before.
		Nothing like it can be expected of this one: the divergence of pairs changes by %+.4f and %+.4f.`, mean[1][2]-mean[0][2], mean[2][2]-mean[0][2]))
	return nil
}

// speak gives perplexity, unlikeness and divergence for each of the objectives.
func (e *experiment) speak(seed uint64) (list [][3]float64, err error) {
	random := graph.Rand(seed, "grammar", 0)
	var next [categories][]float64 // probabilities of categories after one
	for c := range next {
		sum := 0.0
		for range categories {
			v := math.Pow(random.Float64(), 4)
			next[c], sum = append(next[c], v), sum+v
		}
		for k := range next[c] {
			next[c][k] /= sum
		}
	}
	words := make([]float64, synonyms)
	for k := range words {
		words[k] = 1 / float64(k+1)
	}
	write := func(n int) *data.Set {
		s := &data.Set{Name: "language", Shape: []int{2}, ClassNames: make([]string, vocabulary)}
		last := [2]int{}
		for range n {
			word := draw(random, next[last[1]/synonyms])*synonyms + draw(random, words)
			s.X, s.Labels = append(s.X, float32(last[0]), float32(last[1])), append(s.Labels, word)
			last = [2]int{last[1], word}
		}
		return s
	}
	train, test := write(1500), write(5000)
	var vectors *graph.Array
	for _, f := range []func() objectives.Objective{
		func() objectives.Objective { return objectives.CrossEntropy },
		func() objectives.Objective { return objectives.EMOOptions{Embedding: vectors}.Loss },
		func() objectives.Objective {
			return objectives.EMOOptions{Embedding: vectors, Mode: objectives.MLEScaled}.Loss
		},
	} {
		model := layers.Func("", func(s *graph.Scope, x *graph.Node) *graph.Node {
			h := layers.Embedding{Vocabulary: vocabulary, Units: 16}.Apply(s, graph.Cast(x, graph.Int))
			return models.MLP{Hidden: []int{64}, Classes: vocabulary}.Apply(s, h)
		})
		t, err := rules.Backprop{Optimizer: optim.Adam{LR: 1e-3}}.Trainer(model, f(), rules.SpecOf(train, 50, seed))
		if err != nil {
			return nil, err
		}
		if _, err := rules.Fit(e.ctx, t, train, rules.Config{Epochs: 30}); err != nil {
			return nil, err
		}
		if vectors == nil {
			if vectors, err = wordVectors(t.Params()); err != nil {
				return nil, err
			}
		}
		r, err := spoken(t, test, vectors, random)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// wordVectors are those that the last layer has for each word, [vocabulary, units].
func wordVectors(p *graph.Params) (*graph.Array, error) {
	for q := range p.All() {
		if shape := q.Value.Shape; strings.HasSuffix(q.Name, "/weight") && len(shape) == 2 && shape[1] == vocabulary {
			v := graph.NewArray(q.Value.DType, shape[1], shape[0])
			for i := range shape[0] {
				for j := range shape[1] {
					v.Set(j*shape[0]+i, q.Value.At(i*shape[1]+j))
				}
			}
			return v, nil
		}
	}
	return nil, graph.Fail("objectives", "model", "a last layer", "none")
}

// draw is an index, as likely as its weight.
func draw(r *rand.Rand, weights []float64) int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	at := r.Float64() * sum
	for i, w := range weights {
		if at -= w; at < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// spoken measures a model.
func spoken(t rules.Trainer, test *data.Set, vectors *graph.Array, random *rand.Rand) (r [3]float64, err error) {
	out, err := outputs(t, test)
	if err != nil {
		return r, err
	}
	p, err := objectives.PredictionsOf(out, test.Labels)
	if err != nil {
		return r, err
	}
	r[0] = math.Exp(p.NLL())
	unit(vectors)
	width := vectors.Shape[1]
	for i, y := range test.Labels {
		for k := range vocabulary {
			cos := 0.0
			for j := range width {
				cos += vectors.At(k*width+j) * vectors.At(y*width+j)
			}
			r[1] += math.Exp(p.LogP[i*vocabulary+k]) * (1 - cos) / float64(test.Len())
		}
	}
	// Many texts at once, each from two words of the test.
	var own, others [vocabulary * vocabulary]float64
	for i := range test.Len() {
		others[int(test.X[2*i+1])*vocabulary+test.Labels[i]]++
	}
	const steps = 100
	batch := rules.NewBatch(t.Spec())
	for i := range batch.N * 2 {
		batch.X.Set(i, float64(test.X[i]))
	}
	weights := make([]float64, vocabulary)
	for range steps {
		logits, err := t.Predict(batch)
		if err != nil {
			return r, err
		}
		for i := range batch.N {
			for k := range weights {
				weights[k] = math.Exp(logits.At(i*vocabulary + k))
			}
			last, word := batch.X.At(2*i+1), draw(random, weights)
			own[int(last)*vocabulary+word]++
			batch.X.Set(2*i, last)
			batch.X.Set(2*i+1, float64(word))
		}
	}
	for i := range own {
		a, b := own[i]/float64(steps*batch.N), others[i]/float64(test.Len())
		for _, v := range []float64{a, b} {
			if v > 0 {
				r[2] += v / 2 * math.Log(2*v/(a+b))
			}
		}
	}
	return r, nil
}
