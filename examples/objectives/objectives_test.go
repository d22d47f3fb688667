package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
)

// One short page from start to end, and the refusal of what cannot be.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := run(context.Background(), []string{"-pages", "long-tail", "-seeds", "1", "-out", dir}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "long-tail.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"logit adjustment", "Reliability", "Accuracy by class", "adaptive ECE"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, args := range [][]string{{"-pages", "all,nonsense"}, {"-data", "diabetes"}, {"-data", "nonsense"}, {"-seeds", "0"}, {"nonsense"}} {
		if err := run(context.Background(), append(args, "-out", dir)); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(stopped, []string{"-pages", "long-tail", "-seeds", "1", "-out", dir}); err == nil {
		t.Error("a stopped run ends well")
	}
}

func TestFlipped(t *testing.T) {
	s := data.Digits()
	wrong := 0
	f := flipped(s, 0.4, 1)
	for i, l := range f.Labels {
		if l < 0 || l > 9 {
			t.Fatalf("label %d", l)
		}
		if l != s.Labels[i] {
			wrong++
		}
	}
	if part := float64(wrong) / float64(s.Len()); part < 0.36 || part > 0.44 {
		t.Errorf("%v of the labels are wrong", part)
	}
	if !slices.Equal(s.Labels, data.Digits().Labels) {
		t.Error("the set itself was changed")
	}
}

func TestRare(t *testing.T) {
	s := data.Digits()
	r, counts := rare(s, 50)
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	if counts[0] != 178 || counts[9] != 3 { // 180/50 rounded down
		t.Errorf("counts %v", counts)
	}
	for k := range 9 {
		if counts[k+1] >= counts[k] {
			t.Errorf("class %d has %d examples, class %d %d", k, counts[k], k+1, counts[k+1])
		}
	}
}

func TestBags(t *testing.T) {
	seen, unseen := bags(1)
	for _, s := range []*data.Set{seen, unseen} {
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		if s.Len() != 560 || s.Classes() != 28 {
			t.Errorf("%d examples of %d classes", s.Len(), s.Classes())
		}
	}
	for _, c := range seen.ClassNames {
		if slices.Contains(unseen.ClassNames, c) {
			t.Errorf("class %s is in both", c)
		}
	}
}
