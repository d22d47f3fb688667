package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

// The text's shares of contexts stay under one symbol more, its entropy is below that of independent symbols, examples
// have the stated frequencies, and the loss of a model that knows nothing is log 8.
func TestText(t *testing.T) {
	s := newText(8, 3)
	after := make([]float64, len(s.share))
	total, first := 0.0, make([]float64, 8)
	for c, p := range s.share {
		total += p
		for j, q := range s.next[c*8 : (c+1)*8] {
			after[(c*8+j)%512] += p * q
			first[j] += p * q
		}
	}
	near(t, "shares", total, 1, 1e-12)
	for c := range after {
		near(t, "share after a symbol", after[c], s.share[c], 1e-9)
	}
	if h := s.entropy(); h < 0.5 || h > math.Log(8)-0.1 {
		t.Errorf("entropy %v", h)
	}
	const n = 20000
	x, count := make([]float32, 24), make([]float64, 8)
	for i := range n {
		count[s.Read(i, 0, x, nil)]++
	}
	for j, p := range first {
		near(t, "frequency", count[j]/n, p, 5*math.Sqrt(p/n))
	}
	tr, err := rules.Backprop{}.Trainer(models.MLP{Classes: 8}, objectives.CrossEntropy, rules.SpecOf(s, 100, 1))
	if err != nil {
		t.Fatal(err)
	}
	for p := range tr.Params().All() {
		p.Value.Zero()
	}
	loss, err := s.loss(tr)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "loss", loss, math.Log(8), 1e-6)
}

// A pixel's logit depends on the pixels before it only, and on each of them.
func TestAutoregressive(t *testing.T) {
	var out *graph.Node
	var in *graph.Node
	g, err := graph.Build(&graph.Params{Seed: 1}, func(s *graph.Scope) {
		in = s.Input("x", graph.Float32, 65, 64)
		out = autoregressive(200).Apply(s, in)
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(out)
	if err != nil {
		t.Fatal(err)
	}
	x := p.Array(in)
	for j := range 64 { // row j has pixel j set, row 64 none
		x.Set(j*64+j, 1)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	y := p.Array(out)
	for j := range 64 {
		for i := range 64 {
			if changed := y.At(j*64+i) != y.At(64*64+i); changed != (i > j) {
				t.Fatalf("pixel %d changes logit %d: %v", j, i, changed)
			}
		}
	}
}

// The trace of a linear classifier's Hessian is the mean of (|x|² + 1)·Σ p(1-p).
func TestHessianTrace(t *testing.T) {
	d := data.Digits().Take(50)
	params := &graph.Params{Seed: 1}
	model := layers.Dense{Units: 10}
	trace, err := hessianTrace(params, model, d, 400)
	if err != nil {
		t.Fatal(err)
	}
	w, want := params.Get("dense1/weight").Value, 0.0
	for i := range 50 {
		row, norm := make([]float32, 10), 1.0
		for k := range 64 {
			v := d.X[i*64+k]
			norm += float64(v) * float64(v)
			for j := range row {
				row[j] += v * w.Float32s()[k*10+j]
			}
		}
		for _, l := range logSoftmax(row) {
			want += norm * math.Exp(l) * (1 - math.Exp(l)) / 50
		}
	}
	near(t, "trace", trace/want, 1, 0.05)
}

// A search file runs, its log makes the second run free, and mistakes name the file and what is wrong.
func TestSearchFile(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("e.yaml", "data: {name: digits, validation: 0.2, take: 200}\nmodel: {mlp: {hidden: [8]}}\noptimizer: {sgd: {lr: 0.1}}\nepochs: 1\n")
	write("unvalidated.yaml", "data: {name: digits, take: 200}\nmodel: {mlp: {hidden: [8]}}\noptimizer: {sgd: {lr: 0.1}}\nepochs: 1\n")
	space := "space:\n  optimizer.sgd.lr: {real: {low: 1e-5, high: 10, log: true}}\n  batch: {integer: {low: 8, high: 64}}\nrounds: 2\npopulation: 4\n"
	path := write("s.yaml", "experiment: e.yaml\nlog: s.jsonl\n"+space)
	if err := run(t.Context(), []string{"-search", path, "-out", folder}); err != nil {
		t.Fatalf("%+v", err)
	}
	first, err := os.ReadFile(filepath.Join(folder, "s.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(first), "\n"); n != 9 {
		t.Errorf("%d lines in the log", n)
	}
	page, err := os.ReadFile(filepath.Join(folder, "search-s.html"))
	if err != nil || !strings.Contains(string(page), "best of 8 trials") {
		t.Errorf("page: %v", err)
	}
	if err := run(t.Context(), []string{"-search", path, "-out", folder}); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(filepath.Join(folder, "s.jsonl")); string(again) != string(first) {
		t.Error("a finished search made trials")
	}
	for text, words := range map[string][]string{
		"experiment: e.yaml\nspeed: 3\n" + space:                                                {"s2.yaml", "speed"},
		"experiment: none.yaml\n" + space:                                                       {"none.yaml"},
		"experiment: e.yaml\nrule: forward\n" + space:                                           {"rule", "backprop", "forward"},
		"experiment: e.yaml\nspace: {batch: {choice: [\"8\"], real: {low: 1}}}\n":               {"batch", "one of real"},
		"experiment: e.yaml\nspace: {batch: {integer: {low: 1.5, high: 2}}}\n":                  {"batch", "whole"},
		"experiment: e.yaml\nspace: {optimizer.sgd.rate: {real: {low: 1, high: 2}}}\nrounds: 1": {"rate"},
		"experiment: unvalidated.yaml\n" + space:                                                {"validation"},
		"experiment: e.yaml\n":                                                                  {"space", "none"},
	} {
		err := run(t.Context(), []string{"-search", write("s2.yaml", text), "-out", folder})
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: error %q does not say %q", text, err, w)
			}
		}
	}
	for _, args := range [][]string{{"x"}, {"-seeds", "0"}, {"-pages", "none"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
