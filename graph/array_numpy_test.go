package graph_test

import (
	"archive/zip"
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

func upTo(n int, step float64) (x []float64) {
	for i := range n {
		x = append(x, step*float64(i))
	}
	return x
}

// The files were written by NumPy 1.24.
func TestReadNPY(t *testing.T) {
	for _, c := range []struct {
		file  string
		dtype graph.DType
		shape []int
		data  []float64
	}{
		{"f4", graph.Float32, []int{2, 3}, []float64{0.5, -1.25, 3, float64(float32(1e-40)), math.Inf(1), math.Copysign(0, -1)}},
		{"f4_fortran", graph.Float32, []int{2, 3, 4}, upTo(24, 1)},
		{"f8_scalar", graph.Float64, nil, []float64{0.1}},
		{"f8_rank5", graph.Float64, []int{1, 2, 2, 2, 1}, upTo(8, 1)},
		{"f8_big_fortran", graph.Float64, []int{2, 3}, upTo(6, 0.25)},
		{"i8", graph.Int, []int{3}, []float64{1, -2, 1 << 62}},
		{"i2_big", graph.Int, []int{2, 2}, []float64{-300, 2, 3, 32767}},
		{"bool", graph.Int, []int{3}, []float64{1, 0, 1}},
		{"f2", graph.Float32, []int{5}, []float64{1, -0.5, 65504, math.Ldexp(1, -24), math.Inf(1)}},
		{"empty", graph.Float32, []int{0, 3}, nil},
	} {
		raw, err := os.ReadFile("testdata/numpy/" + c.file + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		a, err := graph.ReadNPY(bytes.NewReader(raw))
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if a.DType != c.dtype || !slices.Equal(a.Shape, c.shape) || a.Size() != len(c.data) {
			t.Errorf("%s: got %v", c.file, a)
			continue
		}
		for i, v := range c.data {
			if math.Float64bits(a.At(i)) != math.Float64bits(v) {
				t.Errorf("%s: element %d: want %v, got %v", c.file, i, v, a.At(i))
			}
		}
		// What NumPy writes of an array in its plain form is what Harpe writes, byte by byte.
		var b bytes.Buffer
		if err := a.WriteNPY(&b); err != nil {
			t.Error(err)
		}
		if plain := []string{"f4", "f8_scalar", "f8_rank5", "i8", "empty"}; slices.Contains(plain, c.file) && !bytes.Equal(b.Bytes(), raw) {
			t.Errorf("%s: want %q, got %q", c.file, raw, b.Bytes())
		}
		if again, err := graph.ReadNPY(&b); err != nil || again.String() != a.String() {
			t.Errorf("%s: %v came back as %v, %v", c.file, a, again, err)
		}
	}
	for file, word := range map[string]string{"c8": `"<c8"`, "u8": "2^63"} {
		raw, err := os.ReadFile("testdata/numpy/" + file + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := graph.ReadNPY(bytes.NewReader(raw)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: want an error with %s, got %v", file, word, err)
		}
	}
}

// Every number of 16 bits against the definition of IEEE 754.
func TestHalfFloats(t *testing.T) {
	header := "{'descr': '>f2', 'fortran_order': False, 'shape': (65536,), }\n"
	raw := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0)
	raw = append(raw, header...)
	for i := range 1 << 16 {
		raw = append(raw, byte(i>>8), byte(i))
	}
	a, err := graph.ReadNPY(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range a.Float32s() {
		sign, exponent, fraction := 1-2*float64(i>>15), i>>10&31, float64(i&1023)/1024
		want := sign * math.Pow(2, float64(exponent-15)) * (1 + fraction)
		switch {
		case exponent == 0:
			want = sign * math.Pow(2, -14) * fraction
		case exponent == 31 && fraction == 0:
			want = math.Inf(int(sign))
		case exponent == 31:
			want = math.NaN()
		}
		if float64(got) != want && !(want != want && got != got) {
			t.Fatalf("%04x: want %v, got %v", i, want, got)
		}
	}
}

func TestNPZ(t *testing.T) {
	raw, err := os.ReadFile("testdata/numpy/two.npz")
	if err != nil {
		t.Fatal(err)
	}
	arrays, err := graph.ReadNPZ(bytes.NewReader(raw), int64(len(raw)))
	if err != nil || len(arrays) != 2 || !slices.Equal(arrays["labels"].Ints(), []int{2, 0, 1}) || arrays["x"].At(1) != -1.25 {
		t.Fatalf("got %v, %v", arrays, err)
	}
	var b bytes.Buffer
	if err := graph.WriteNPZ(&b, arrays); err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(archive.File) != 2 || archive.File[1].Name != "x.npy" {
		t.Fatalf("got %v, %v", archive, err)
	}
	f, err := archive.File[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	member, err := io.ReadAll(f)
	want, _ := os.ReadFile("testdata/numpy/f4.npy")
	if err != nil || !bytes.Equal(member, want) {
		t.Errorf("want %q, got %q, %v", want, member, err)
	}
	if _, err := graph.ReadNPZAs[float64](bytes.NewReader(raw), int64(len(raw)), 8); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("want an error for 9 values of at most 8, got %v", err)
	}
}

func FuzzNPY(f *testing.F) {
	files, _ := filepath.Glob("testdata/numpy/*.npy")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := graph.ReadNPY(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := a.WriteNPY(&b); err != nil {
			t.Fatal(err)
		}
		again, err := graph.ReadNPY(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.Size() {
			if math.Float64bits(a.At(i)) != math.Float64bits(again.At(i)) && a.At(i) == a.At(i) {
				t.Fatalf("element %d: %v came back as %v", i, a.At(i), again.At(i))
			}
		}
	})
}
