package rules_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every line of Go in the README stands, in the same order, in an Example that is compiled and run.
func TestReadmeIsCompiled(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("../*/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var examples [][]string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, lines(string(text)))
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("want at least 4 blocks of Go in the README, got %d", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		found := false
		for _, e := range examples {
			found = found || inOrder(lines(block), e)
		}
		if !found {
			t.Errorf("not compiled by any Example:\n%s", block)
		}
		if n := len(lines(block)); n >= 20 {
			t.Errorf("%d lines, want fewer than 20:\n%s", n, block)
		}
	}
}

// lines are the lines with something on them, without indentation.
func lines(text string) []string {
	var list []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" {
			list = append(list, l)
		}
	}
	return list
}

// inOrder says whether all of a stand in b in their order.
func inOrder(a, b []string) bool {
	for _, l := range b {
		if len(a) > 0 && a[0] == l {
			a = a[1:]
		}
	}
	return len(a) == 0
}
