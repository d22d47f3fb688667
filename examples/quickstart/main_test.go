package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/errors"
)

func TestUnknownValuesListTheValidOnes(t *testing.T) {
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"-rules", "backprop,back"}, []string{`"back"`, "backprop", "mono-forward", "forward-forward", "forward-gradient"}},
		{[]string{"-data", "digit"}, []string{`"digit"`, "digits", "fashion-mnist"}},
		{[]string{"-data", "diabetes"}, []string{"-data", "classes", "diabetes"}},
		{[]string{"-seeds", "0"}, []string{"-seeds", "at least 1"}},
		{[]string{"-epochs", "-1"}, []string{"-epochs", "at least 0"}},
		{[]string{"digits"}, []string{"flags only", "digits"}},
	} {
		err := run(context.Background(), append(c.args, "-out", t.TempDir()))
		if err == nil {
			t.Errorf("%v: no error", c.args)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v: want %q in the error %q", c.args, s, err)
			}
		}
	}
}

func TestPageIsWritten(t *testing.T) {
	out := t.TempDir()
	if err := run(context.Background(), []string{"-epochs", "1", "-rules", "backprop,mono-forward", "-seed", "3", "-out", out}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "quickstart.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"backprop", "mono-forward", "test accuracy", "<svg"} {
		if !strings.Contains(string(page), s) {
			t.Errorf("no %q on the page", s)
		}
	}
	if strings.Contains(string(page), "forward-forward") {
		t.Error("a rule that was not asked for is on the page")
	}
}

// A run that is interrupted says so and leaves its page.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := t.TempDir()
	if err := run(ctx, []string{"-rules", "backprop", "-out", out}); !errors.Is(err, context.Canceled) {
		t.Errorf("want the context's error, got %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, "quickstart.html")); err != nil {
		t.Error(err)
	}
}
