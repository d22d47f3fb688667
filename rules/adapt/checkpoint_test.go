package adapt

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/rules/optim"
)

// bits are all numbers of a store, by name.
func bits(p *graph.Params) map[string][]float64 {
	all := map[string][]float64{}
	for q := range p.All() {
		for i := range q.Value.Size() {
			all[q.Name] = append(all[q.Name], q.Value.At(i))
		}
	}
	return all
}

func sameBits(t *testing.T, what string, got, want map[string][]float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: want %d parameters, got %d", what, len(want), len(got))
	}
	for name, w := range want {
		if !slices.Equal(got[name], w) {
			t.Errorf("%s: %s: want %v, got %v", what, name, w, got[name])
		}
	}
}

// A stream that is saved after any of its steps and goes on in another MeanTeacher ends with the bits of one that was
// not interrupted: parameters, optimiser, random views and the order of the source.
func TestMeanTeacherResumes(t *testing.T) {
	fresh := func() *MeanTeacher {
		return start(t, RobustMeanTeacher{Projection: 4}, linearParams([]float64{1, 0, -1, 0, 1, 0}, make([]float64, 3)), source, 2)
	}
	step := func(m *MeanTeacher, i int) {
		x := graph.ArrayOf([]float64{1, 2 + float64(i), -1, .5}, 2, 2)
		if _, _, err := m.Step(x); err != nil {
			t.Fatal(err)
		}
	}
	whole := fresh()
	if err := whole.WarmUp(1); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		step(whole, i)
	}
	for stop := range 5 { // the source has two batches, so that some stops are within a pass over it
		path := filepath.Join(t.TempDir(), "teacher.safetensors")
		first := fresh()
		if err := first.WarmUp(1); err != nil {
			t.Fatal(err)
		}
		for i := range stop {
			step(first, i)
		}
		if err := first.Save(path, map[string]string{"note": "kept"}); err != nil {
			t.Fatal(err)
		}
		second := fresh()
		step(second, 7) // what it did before does not count
		meta, err := second.Load(path)
		if err != nil || meta["note"] != "kept" {
			t.Fatal(meta, err)
		}
		for i := stop; i < 5; i++ {
			step(second, i)
		}
		sameBits(t, "student", bits(second.Student()), bits(whole.Student()))
		sameBits(t, "teacher", bits(second.Teacher()), bits(whole.Teacher()))
		if second.Steps() != whole.Steps() {
			t.Errorf("want %d steps, got %d", whole.Steps(), second.Steps())
		}
	}
}

// A learner that is saved between two tasks and goes on in another one ends with the bits of one that was not
// interrupted.
func TestClassIncrementalResumes(t *testing.T) {
	extractor := layers.Dense{Units: 3, Activation: layers.Tanh{}}
	fresh := func(r AMGC) *ClassIncremental { return incremental(t, r, extractor, 4) }
	third := table{[][]float32{{0, -2}, {.5, -2}, {-.5, -1.5}, {0, -1}}, []int{3, 3, 3, 3}, 4}
	for _, r := range []AMGC{{Epochs: 2, Steps: 5, Distill: 1, Enlarge: .5}, {Epochs: 2, Steps: 5}} {
		all := []table{tasks[0], tasks[1], third}
		for stop := range len(all) + 1 {
			path := filepath.Join(t.TempDir(), "classes.safetensors")
			whole, first, second := fresh(r), fresh(r), fresh(r)
			for i, task := range all {
				if err := whole.Learn(t.Context(), task); err != nil {
					t.Fatal(err)
				}
				if i < stop {
					if err := first.Learn(t.Context(), task); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := first.Save(path, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := second.Load(path); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(second.Seen(), first.Seen()) {
				t.Errorf("want classes %v, got %v", first.Seen(), second.Seen())
			}
			for _, task := range all[stop:] {
				if err := second.Learn(t.Context(), task); err != nil {
					t.Fatal(err)
				}
			}
			sameBits(t, "parameters", bits(second.Params()), bits(whole.Params()))
			x := graph.ArrayOf([]float64{1, 2, 0, 0, -1, .5, 3, 0}, 4, 2)
			got, err := second.Predict(x)
			if err != nil {
				t.Fatal(err)
			}
			want, err := whole.Predict(x)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Float64s(), want.Float64s()) || !slices.Equal(second.Seen(), whole.Seen()) {
				t.Errorf("stopped after %d tasks: want scores %v, got %v", stop, want.Float64s(), got.Float64s())
			}
		}
	}
}

// A checkpoint of another run is refused by name, and changes nothing.
func TestForeignCheckpoints(t *testing.T) {
	dir := t.TempDir()
	params := linearParams([]float64{1, 0, -1, 0, 1, 0}, make([]float64, 3))
	m := start(t, RobustMeanTeacher{}, params, source, 2)
	teacher, classes := filepath.Join(dir, "teacher"), filepath.Join(dir, "classes")
	if err := m.Save(teacher, nil); err != nil {
		t.Fatal(err)
	}
	c := incremental(t, AMGC{}, layers.Flatten{}, 4)
	if err := c.Save(classes, nil); err != nil {
		t.Fatal(err)
	}
	other := start(t, RobustMeanTeacher{Optimizer: optim.SGD{}}, params, source, 2)
	before := bits(other.Student())
	for _, f := range []struct {
		load func() error
		want string
	}{
		{func() error { _, err := other.Load(teacher); return err }, metaOptimizer},
		{func() error { _, err := other.Load(classes); return err }, "robust-mean-teacher"},
		{func() error { _, err := other.Load(filepath.Join(dir, "none")); return err }, "none"},
		{func() error { _, err := c.Load(teacher); return err }, "amgc"},
		{func() error {
			_, err := incremental(t, AMGC{}, layers.Dense{Units: 2}, 4).Load(classes)
			return err
		}, "dense"},
	} {
		if err := f.load(); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("want an error about %q, got %v", f.want, err)
		}
	}
	sameBits(t, "after refusals", bits(other.Student()), before)
}
