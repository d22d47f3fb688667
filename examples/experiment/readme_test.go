package experiment

import (
	"os"
	"strings"
	"testing"
)

// The experiment that the README shows is one.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	file, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("no experiment in the README")
	}
	e, err := Parse("README.md", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(e.Rules); got != 3 {
		t.Errorf("%d rules, want 3", got)
	}
}
