package data

import (
	"archive/zip"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sbinet/npyio/npy"
)

// npyFile encodes a version-1 .npy file.
func npyFile(descr, order, shape string, values ...byte) []byte {
	return rawNPY(fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape), values...)
}

func rawNPY(header string, values ...byte) []byte {
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(b, header...), values...)
}

func npz(members map[string][]byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range members {
		must(must(w.Create(name)).Write(content))
	}
	must(0, w.Close())
	return b.Bytes()
}

// The files of testdata were written by NumPy 1.24.
func TestReadNumPyOwnFiles(t *testing.T) {
	upTo := func(n int) (x []float32) {
		for i := range n {
			x = append(x, float32(i))
		}
		return x
	}
	for _, test := range []struct {
		file string
		want Array
	}{
		{"f8.npy", Array{[]int{2, 3}, []float32{-0.5, -0.25, 0, 0.25, 0.5, 0.75}}},
		{"f4_fortran.npy", Array{[]int{2, 3, 4}, upTo(24)}},
		{"i2_big.npy", Array{[]int{2, 2}, []float32{-300, 2, 3, 32767}}},
		{"bool.npy", Array{[]int{3}, []float32{1, 0, 1}}},
		{"scalar.npy", Array{nil, []float32{2.5}}},
	} {
		a, err := Load(filepath.Join("testdata", test.file), ReadNPY)
		if err != nil || !slices.Equal(a.Shape, test.want.Shape) || !slices.Equal(a.Data, test.want.Data) {
			t.Errorf("%s: want %v, got %v, %v", test.file, test.want, a, err)
		}
	}
	_, err := Load("testdata/c8.npy", ReadNPY)
	wantError(t, err, "c8.npy", "float32", `"<c8"`)

	arrays, err := Load("testdata/images.npz", ReadNPZ)
	if err != nil || len(arrays) != 2 {
		t.Fatalf("images.npz: want 2 arrays, got %v, %v", arrays, err)
	}
	s, err := NewSet("images", arrays["x_train"], arrays["y_train"], nil)
	if err != nil || !slices.Equal(s.Shape, []int{2, 2}) || !slices.Equal(s.Labels, []int{2, 0, 1}) || s.X[11] != 220 {
		t.Errorf("images.npz: got %+v, %v", s, err)
	}
}

func testNPYType[T any](t *testing.T, values []T, want []float32) {
	var b bytes.Buffer
	must(0, npy.Write(&b, values))
	for _, content := range [][]byte{b.Bytes(), zipped(b.Bytes())} {
		a, err := ReadNPY("f", bytes.NewReader(content))
		if err != nil || !slices.Equal(a.Shape, []int{len(want)}) || !slices.Equal(a.Data, want) {
			t.Errorf("%T: want %v, got %v, %v", values, want, a, err)
		}
	}
}

func TestReadNPYTypes(t *testing.T) {
	testNPYType(t, []bool{true, false}, []float32{1, 0})
	testNPYType(t, []int8{-128, 127}, []float32{-128, 127})
	testNPYType(t, []int16{-32768, 32767}, []float32{-32768, 32767})
	testNPYType(t, []int32{-1 << 31, 5}, []float32{-1 << 31, 5})
	testNPYType(t, []int64{-1 << 63, 5}, []float32{-1 << 63, 5})
	testNPYType(t, []uint8{0, 255}, []float32{0, 255})
	testNPYType(t, []uint16{0, 65535}, []float32{0, 65535})
	testNPYType(t, []uint32{1 << 31}, []float32{1 << 31})
	testNPYType(t, []uint64{1 << 63}, []float32{1 << 63})
	testNPYType(t, []float32{-1.5, float32(math.Inf(1))}, []float32{-1.5, float32(math.Inf(1))})
	testNPYType(t, []float64{0.1, 1e300}, []float32{0.1, float32(math.Inf(1))})
	long, want := make([]uint16, 10001), make([]float32, 10001)
	for i := range long {
		long[i], want[i] = uint16(i), float32(i)
	}
	testNPYType(t, long, want)
}

func TestReadNPYVersion2(t *testing.T) {
	file := npyFile("|u1", "False", "(2, 1)", 3, 4)
	file[6] = 2
	file = slices.Insert(file, 10, 0, 0)
	a, err := ReadNPY("f", bytes.NewReader(file))
	if err != nil || !slices.Equal(a.Shape, []int{2, 1}) || !slices.Equal(a.Data, []float32{3, 4}) {
		t.Errorf("got %v, %v", a, err)
	}
}

func TestReadNPYErrors(t *testing.T) {
	good := npyFile("|u1", "False", "(2,)", 1, 2)
	version := slices.Clone(good)
	version[6] = 4
	for _, test := range []struct {
		content []byte
		words   []string
	}{
		{nil, []string{"magic", "want 8 bytes", "got 0"}},
		{[]byte("not a NumPy file"), []string{"magic", "not a Nu"}},
		{version, []string{"version 1, 2 or 3", `\x04`}},
		{good[:9], []string{"length", "want 2 bytes", "got 1"}},
		{good[:20], []string{"header", "got 10"}},
		{[]byte("\x93NUMPY\x02\x00\xff\xff\xff\x7f{"), []string{"at most 4096 bytes", "got 2147483647"}},
		{rawNPY(""), []string{"header", `""`}},
		{rawNPY("\n"), []string{"header"}},
		{rawNPY("{}\n"), []string{"header", "{}"}},
		{rawNPY("}{'shape': (1,), 'fortran_order': False, 'descr': '|u1'\n", 1), []string{"header"}},
		{npyFile("|u1", "Maybe", "(1,)", 1), []string{"header", "Maybe"}},
		{npyFile("|u1", "False", "(-1,)", 1), []string{"header", "(-1,)"}},
		{npyFile("|u1", "False", "(99999999999999999999,)", 1), []string{"out of range"}},
		{npyFile("|u1", "False", "(0, 3)"), []string{"at least 1", "[0 3]"}},
		{npyFile("|u1", "False", "(268435457,)"), []string{"at most 268435456 values"}},
		{npyFile("|u1", "False", "(4294967296, 4294967296)"), []string{"at most 268435456 values"}},
		{npyFile("|O", "False", "(1,)", 1), []string{"header"}},
		{npyFile("<U3", "False", "(1,)", make([]byte, 12)...), []string{"float64", `"<U3"`}},
		{npyFile("<f3", "False", "(1,)", 0, 0, 0), []string{"float64", `"<f3"`}},
		{npyFile("=u1", "False", "(1,)", 0), []string{"header", "=u1"}},
		{good[:len(good)-1], []string{"truncated", "want 2 bytes", "got 1"}},
		{append(slices.Clone(good), 0), []string{"trailing", "want 2 bytes"}},
	} {
		_, err := ReadNPY("x.npy", bytes.NewReader(test.content))
		wantError(t, err, append(test.words, "x.npy")...)
	}
}

func TestReadNPZErrors(t *testing.T) {
	good := npyFile("|u1", "False", "(2,)", 1, 2)
	var twice bytes.Buffer
	w := zip.NewWriter(&twice)
	for range 2 {
		must(must(w.Create("x.npy")).Write(good))
	}
	must(0, w.Close())
	archive := npz(map[string][]byte{"x.npy": good})
	damaged := slices.Clone(archive)
	damaged[bytes.Index(damaged, []byte("\x93NUMPY"))+8] ^= 1
	for _, test := range []struct {
		content []byte
		words   []string
	}{
		{nil, []string{"zip"}},
		{archive[:len(archive)-5], []string{"zip"}},
		{npz(map[string][]byte{"x.txt": good}), []string{"[x.txt]", ".npy"}},
		{twice.Bytes(), []string{"[x.npy]", "different names"}},
		{npz(map[string][]byte{"x.npy": good[:len(good)-1]}), []string{"[x.npy]", "truncated"}},
		{npz(map[string][]byte{"x.npy": append(slices.Clone(good), 0)}), []string{"[x.npy]", "trailing"}},
	} {
		_, err := ReadNPZ("a.npz", bytes.NewReader(test.content))
		wantError(t, err, append(test.words, "a.npz")...)
	}

	two := npz(map[string][]byte{"x.npy": good, "y.npy": good})
	if arrays, err := readNPZ("a.npz", bytes.NewReader(two), 4); err != nil || len(arrays) != 2 {
		t.Errorf("want two arrays of two values within the limit 4, got %v, %v", arrays, err)
	}
	_, err := readNPZ("a.npz", bytes.NewReader(two), 3)
	wantError(t, err, "a.npz", "[", "at most 1 values", "[2]")
}

func TestReadNumPyMemory(t *testing.T) {
	promise := npyFile("<f8", "False", "(268435456,)", 1, 2, 3)
	bomb := append(npyFile("|u1", "False", "(1,)"), make([]byte, 64<<20)...)
	var compressed bytes.Buffer
	w := zip.NewWriter(&compressed)
	must(must(w.Create("x.npy")).Write(bomb))
	must(0, w.Close())
	for name, read := range map[string]func() error{
		"promise": func() error { _, err := ReadNPY("f", bytes.NewReader(promise)); return err },
		"gzip":    func() error { _, err := ReadNPY("f", bytes.NewReader(zipped(bomb[:1<<20]))); return err },
		"zip":     func() error { _, err := ReadNPZ("f", bytes.NewReader(compressed.Bytes())); return err },
	} {
		var err error
		n := allocated(func() { err = read() })
		wantError(t, err, "values: want")
		if n > 4<<20 {
			t.Errorf("%s: want an error within 4 MiB of memory, got %d bytes", name, n)
		}
	}
}

func FuzzNumPy(f *testing.F) {
	for _, file := range must(filepath.Glob("testdata/*.np[yz]")) {
		f.Add(must(os.ReadFile(file)))
	}
	f.Add(npyFile("|u1", "True", "(2, 3)", 1, 2, 3, 4, 5, 6))
	f.Add(zipped(npyFile(">f4", "False", "(1,)", 1, 2, 3, 4)))
	f.Add(npz(map[string][]byte{"x.npy": npyFile("|b1", "False", "(1,)", 2)}))
	f.Fuzz(func(t *testing.T, content []byte) {
		if a, err := ReadNPY("fuzz", bytes.NewReader(content)); err == nil {
			checkNumPy(t, a)
		}
		if arrays, err := ReadNPZ("fuzz", bytes.NewReader(content)); err == nil {
			for _, a := range arrays {
				checkNumPy(t, a)
			}
		}
	})
}

// checkNumPy writes an array with npyio and reads it again.
func checkNumPy(t *testing.T, a Array) {
	if len(a.Data) != size(a.Shape) {
		t.Fatalf("%d values for shape %v", len(a.Data), a.Shape)
	}
	var b bytes.Buffer
	must(0, npy.Write(&b, a.Data))
	again, err := ReadNPY("again", &b)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(a.Data, again.Data, func(x, y float32) bool { return x == y || x != x && y != y }) {
		t.Errorf("%v came back as %v", a.Data, again.Data)
	}
}
