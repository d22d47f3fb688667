package objectives

import (
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/gradcheck"
)

var write = flag.Bool("write", false, "write the table of the package comment instead of comparing it")

// The table of the package comment is that of the registry: go test -run TestPackageComment -write brings it up to date.
func TestPackageComment(t *testing.T) {
	const file = "doc.go"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The first preformatted lines are an example of code, the table is the last ones.
	start := strings.LastIndex(string(text), "//\n//\t") + len("//\n")
	stop := strings.LastIndex(string(text), "package objectives")
	var table strings.Builder
	for line := range strings.Lines(Describe()) {
		table.WriteString("//\t" + line)
	}
	if *write {
		all := string(text[:start]) + table.String() + string(text[stop:])
		if err := os.WriteFile(file, []byte(all), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := strings.Split(table.String(), "\n")
	for i, line := range strings.Split(string(text[start:stop]), "\n") {
		if i >= len(want) || line != want[i] {
			t.Fatalf("line %d of the table of %s is not that of the registry: %q; go test -run TestPackageComment -write", i, file, line)
		}
	}
}

// Every objective that ByName knows gives a finite scalar with a finite derivative, for labels, for a target of the
// output's shape, or for one number an example.
func TestByName(t *testing.T) {
	x := gradcheck.Positive(1, 4, 3)
	for _, name := range Names() {
		f, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		took := false
		for _, y := range []*graph.Array{gradcheck.Ints(1, 3, 4), softmaxed(2, 4, 3), gradcheck.Positive(2, 4)} {
			_, err := graph.Build(&graph.Params{DType: graph.Float64}, func(s *graph.Scope) {
				f(s.Input("x", x.DType, x.Shape...), s.Input("y", y.DType, y.Shape...))
			})
			if err != nil {
				continue
			}
			took = true
			loss, dx := evaluate(t, of(f), x, y)
			if len(loss.Shape) != 0 {
				t.Errorf("%s is not scalar: %v", name, loss.Shape)
			}
			for i, v := range append(slices.Clone(dx.Float64s()), loss.Scalar()) {
				if v-v != 0 {
					t.Errorf("%s: element %d of the derivative, or the loss, is %v", name, i, v)
				}
			}
		}
		if !took {
			t.Errorf("%s takes none of the targets", name)
		}
	}
	_, err := ByName("crossentropy")
	if err == nil || !strings.Contains(err.Error(), `"crossentropy"`) || !strings.Contains(err.Error(), strings.Join(Names(), ", ")) {
		t.Errorf("want an error that lists the names, got %v", err)
	}
	for _, e := range Entries() {
		_, err := ByName(e.Name)
		if (err != nil) != (e.Objective == nil) || err != nil && !strings.Contains(err.Error(), e.Import) {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
}

// What another package has is listed, and found when that package has provided it.
func TestProvide(t *testing.T) {
	if !strings.Contains(Describe(), "\ncircle (metric) ") || slices.Contains(Names(), "circle") {
		t.Error("want circle in the table, and not among the names")
	}
	if _, err := ByName("circle"); err == nil || !strings.Contains(err.Error(), "harpe/objectives/metric") {
		t.Errorf("want an error that names the package, got %v", err)
	}
	defer func(e Entry) { registry["circle"] = e }(registry["circle"])
	Provide("circle", MSE)
	if _, err := ByName("circle"); err != nil || !slices.Contains(Names(), "circle") {
		t.Errorf("circle is not found: %v", err)
	}
	for _, c := range []struct {
		name string
		f    Objective
	}{{"circle", MSE}, {"mse", MSE}, {"nothing", MSE}, {"triplet", nil}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was provided", c.name)
				}
			}()
			Provide(c.name, c.f)
		}()
	}
}

func TestRegister(t *testing.T) {
	for _, e := range []Entry{
		{Name: "mse", Objective: MSE, Summary: "s", Formula: "f", Paper: "p", Use: "u"},
		{Name: "new", Objective: MSE, Summary: "s", Formula: "f", Paper: "p"},
		{Name: "new", Objective: MSE, Summary: "two\nlines", Formula: "f", Paper: "p", Use: "u"},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was registered", e)
				}
			}()
			Register(e)
		}()
	}
}

// Points where a formula written down carelessly gives NaN or Inf: sure logits, right and wrong, ties, a single class, a
// single example, classes without examples, probabilities of exactly 0 and 1. Every objective must be finite there, with
// its derivative, in both types, or refuse the shape with a *graph.Error.
func TestExtremesOfAll(t *testing.T) {
	const far = 1e4
	noLogits := []string{"poisson-nll", "nll", "kl-div"} // their outputs are log-rates and log-probabilities
	took := map[string]bool{}
	for _, c := range []struct {
		name   string
		x      [][]float64
		labels []int
	}{
		{"sure and right", [][]float64{{far, -far, -far}, {-far, far, 0}}, []int{0, 1}},
		{"sure and wrong", [][]float64{{far, -far, -far}, {-far, far, 0}}, []int{1, 0}},
		{"ties", [][]float64{{0, 0, 0}, {far, far, far}, {-far, -far, -far}, {far, far, -far}}, []int{0, 1, 2, 0}},
		{"one example", [][]float64{{1, 2, -3}}, []int{2}},
		{"one class", [][]float64{{3}, {-far}, {0}}, []int{0, 0, 0}},
		{"two classes, one empty", [][]float64{{1, 2}, {far, 0}, {-far, 0}}, []int{0, 0, 0}},
	} {
		for _, dtype := range []graph.DType{graph.Float32, graph.Float64} {
			n := len(c.x[0])
			x, hot, values := graph.NewArray(dtype, len(c.x), n), graph.NewArray(dtype, len(c.x), n), graph.NewArray(dtype, len(c.x))
			for i, row := range c.x {
				for k, v := range row {
					x.Set(i*n+k, v)
				}
				hot.Set(i*n+c.labels[i], 1)
				values.Set(i, float64(c.labels[i]))
			}
			for _, name := range Names() {
				if slices.Contains(noLogits, name) {
					continue
				}
				f, _ := ByName(name)
				for _, y := range []*graph.Array{labelsOf(c.labels...), hot, values} {
					_, err := graph.Build(&graph.Params{DType: dtype}, func(s *graph.Scope) {
						f(s.Input("x", dtype, x.Shape...), s.Input("y", y.DType, y.Shape...))
					})
					var e *graph.Error
					if err != nil {
						if !errors.As(err, &e) {
							t.Errorf("%s, %s: want a *graph.Error, got %v", name, c.name, err)
						}
						continue
					}
					took[name] = true
					loss, dx := evaluate(t, of(f), x, y)
					for i, v := range append(floats(dx), loss.Scalar()) {
						if v-v != 0 {
							t.Errorf("%s, %s, %v: number %d is %v", name, c.name, dtype, i, v)
						}
					}
				}
			}
		}
	}
	for _, name := range Names() {
		if !took[name] && !slices.Contains(noLogits, name) {
			t.Errorf("%s takes none of the targets", name)
		}
	}
}
