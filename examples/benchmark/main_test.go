package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The test binary stands for the benchmark when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("HARPE_BENCHMARK") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func benchmark(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "HARPE_BENCHMARK=1")
	out, err := c.CombinedOutput()
	return string(out), err
}

func TestLines(t *testing.T) {
	out, err := benchmark(t, "-jobs", "mlp_infer1,mlp_mono_forward", "-threads", "1,2", "-seconds", "0", "-json", "-against", "gorgonia")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []line
	for _, s := range strings.Split(strings.TrimSpace(out), "\n") {
		var l line
		if err := json.Unmarshal([]byte(s), &l); err != nil {
			t.Fatalf("%v: %s", err, s)
		}
		if l.StepMS <= 0 {
			t.Errorf("want a time, got %+v", l)
		}
		l.StepMS, l.PeakMB = 0, 0
		got = append(got, l)
	}
	var want []line
	for _, job := range []string{"mlp_infer1", "mlp_mono_forward"} {
		for threads := 1; threads <= 2; threads++ {
			want = append(want, line{Peer: "harpe", Job: job, Threads: threads}, line{Peer: "gorgonia", Job: job, Threads: threads})
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("want %+v, got %+v", want, got)
	}
}

func TestDoublings(t *testing.T) {
	out, err := benchmark(t, "-doublings", "-seconds", "0", "-json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(allSeries)*(doublings+1) {
		t.Fatalf("want %d lines, got %d", len(allSeries)*(doublings+1), len(lines))
	}
	var before point
	for i, s := range lines {
		var p point
		if err := json.Unmarshal([]byte(s), &p); err != nil {
			t.Fatalf("%v: %s", err, s)
		}
		if p.Series != allSeries[i/(doublings+1)].name || p.NS <= 0 {
			t.Errorf("line %d: want a time of %s, got %+v", i, allSeries[i/(doublings+1)].name, p)
		}
		if i%(doublings+1) > 0 && (p.Size != 2*before.Size || p.Ratio != float64(p.NS)/float64(before.NS)) {
			t.Errorf("after %+v: want twice its size and the times' ratio, got %+v", before, p)
		}
		before = p
	}
	if out, err = benchmark(t, "-doublings", "-seconds", "0"); err != nil {
		t.Fatal(err)
	}
	for _, s := range strings.Split(strings.TrimSpace(out), "\n") {
		// Numbers end where the headings do.
		if len(s) < 34 || s[33] == ' ' || s[17] == ' ' {
			t.Errorf("a line out of its columns: %q", s)
		}
	}
}

// The work of a series grows as it says, so that a time that does not is the program's fault.
func TestDoublingsOfWork(t *testing.T) {
	for _, s := range allSeries[:4] {
		size := map[string][3]int{"batch": {s.first, 256, 4}, "width": {64, s.first, 4}, "depth": {64, 256, s.first}, "tiny": {4, 8, s.first}}[s.name]
		axis := map[string]int{"batch": 0, "width": 1, "depth": 2, "tiny": 2}[s.name]
		var flops [2]float64
		for i := range flops {
			g, out, err := layered(size[0], size[1], size[2])
			if err != nil {
				t.Fatal(err)
			}
			p, err := g.Compile(out...)
			if err != nil {
				t.Fatal(err)
			}
			flops[i] = float64(p.Stats().Flops)
			size[axis] *= 2
		}
		if r := flops[1] / flops[0]; r < 0.9*s.ideal || r > 1.2*s.ideal {
			t.Errorf("%s: want %v times the operations, got %.3f", s.name, s.ideal, r)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, args := range [][]string{{"-jobs", "mlpp"}, {"-threads", "0"}, {"-threads", "two"}, {"-against", "numpy"}, {"-seconds", "-1"}, {"mlp"}} {
		out, err := benchmark(t, args...)
		if err == nil || !strings.Contains(out, "want") && !strings.Contains(out, "got") {
			t.Errorf("%v: want a mistake explained, got %v: %s", args, err, out)
		}
	}
}

// The programs do the arithmetic of the definitions: the products forward, for the weights and, behind the first
// layer, for the layer below, and hardly more.
func TestArithmetic(t *testing.T) {
	const first, rest = 784 * 1000, 1000*1000 + 1000*10
	for name, multiplications := range map[string]float64{
		"mlp": 128 * (2*first + 3*rest), "mlp_infer": 128 * (first + rest), "mlp_infer1": first + rest,
		"mlp_forward_gradient": 128 * (2*first + 3*rest), "mlp_mono_forward": 128 * (2*first + 2*1000*1000 + 3*2*1000*10),
	} {
		j, err := byName(name)
		if err != nil {
			t.Fatal(err)
		}
		k, err := j.build()
		if err != nil {
			t.Fatal(err)
		}
		if err := k.step(); err != nil {
			t.Fatal(err)
		}
		got := 0.0
		for _, p := range k.programs {
			got += float64(p.Stats().Flops)
		}
		if want := 2 * multiplications; got < want || got > 1.02*want {
			t.Errorf("%s: want %.4g operations, got %.4g", name, want, got)
		}
	}
}
