package objectives

import (
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

// Every objective that ByName knows gives a finite scalar with a finite derivative, for labels or for a target of the
// output's shape.
func TestByName(t *testing.T) {
	x := gradcheck.Positive(1, 4, 3)
	for _, name := range Names() {
		f, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		took := false
		for _, y := range []*graph.Array{gradcheck.Ints(1, 3, 4), softmaxed(2, 4, 3)} {
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
			t.Errorf("%s takes neither labels nor a target of the output's shape", name)
		}
	}
	_, err := ByName("crossentropy")
	if err == nil || !strings.Contains(err.Error(), `"crossentropy"`) || !strings.Contains(err.Error(), strings.Join(Names(), ", ")) {
		t.Errorf("want an error that lists the names, got %v", err)
	}
	for _, e := range Entries() {
		if _, err := ByName(e.Name); (err != nil) != (e.Objective == nil) {
			t.Errorf("%s: %v", e.Name, err)
		}
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
