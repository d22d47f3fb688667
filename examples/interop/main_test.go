package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMistakesOfTheCommandLine(t *testing.T) {
	for _, c := range [][]string{{"-epochs", "0"}, {"digits"}} {
		err := run(context.Background(), append([]string{"-out", t.TempDir()}, c...))
		if err == nil || !strings.Contains(err.Error(), c[0]) {
			t.Errorf("%v: got %v", c, err)
		}
	}
}

// Without Node on the path the page is written all the same, and says what is missing.
func TestPageWithoutNode(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	out := t.TempDir()
	if err := run(context.Background(), []string{"-epochs", "1", "-out", out}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"interop.html", "interop.ipynb", "digits.dot", "digits.safetensors", "digits.npz", "digits.onnx"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	page, err := os.ReadFile(filepath.Join(out, "interop.html"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), "image/svg+xml"); n != 3 {
		t.Errorf("want 3 drawings, got %d", n)
	}
	if !strings.Contains(string(page), "npm install -g onnxruntime-web") {
		t.Error("the page does not say how to install an ONNX runtime")
	}
}
