package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A quick run tells all sections: the exact claims hold, and page and results are written.
func TestQuickRun(t *testing.T) {
	out := t.TempDir()
	results := filepath.Join(out, "RESULTS.md")
	var terminal bytes.Buffer
	if err := run(context.Background(), []string{"-quick", "-out", out, "-results", results}, &terminal); err != nil {
		t.Fatalf("%v\n%s", err, terminal.String())
	}
	for path, words := range map[string][]string{
		results:                                  {"# Forward only", "| rule |", "to the bit: holds"},
		filepath.Join(out, "forward-only.html"):  {"One byte a step", "What is sequential"},
		filepath.Join(out, "forward-only.ipynb"): {"One byte a step"},
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range words {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s: no %q", path, w)
			}
		}
	}
}

func TestFlags(t *testing.T) {
	for word, args := range map[string][]string{
		"-sections":  {"-sections", "races"},
		"-seeds":     {"-seeds", "0"},
		"-n":         {"-n", "100"},
		"flags only": {"digits"},
		"\"digit\"":  {"-quick", "-sections", "race", "-race", "digits,digit"},
		"-data":      {"-sections", "race", "-data", "wine"},
	} {
		err := run(context.Background(), append(args, "-out", t.TempDir()), nil)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v: want %q in the error, got %v", args, word, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(ctx, []string{"-quick", "-sections", "smb", "-out", t.TempDir()}, nil); err == nil {
		t.Error("a cancelled run returned no error")
	}
}
