package graph_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/harpe-ml/harpe/graph"
)

// store makes a store of the given tensors; a name that ends in "!" is a state without the "!".
func store(t testing.TB, tensors ...any) *graph.Params {
	t.Helper()
	p := &graph.Params{}
	for i := 0; i < len(tensors); i += 2 {
		name, state := strings.CutSuffix(tensors[i].(string), "!")
		if err := p.Add(&graph.Param{Name: name, Value: tensors[i+1].(*graph.Array), State: state}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// contents is everything of the stores, numbers as bits, so that NaN equals itself.
func contents(stores ...*graph.Params) string {
	var b strings.Builder
	for _, p := range stores {
		for q := range p.All() {
			fmt.Fprintf(&b, "%s %v %v:", q.Name, q.State, q.Value.Type)
			switch q.Value.DType {
			case graph.Float32:
				for _, v := range q.Value.Float32s() {
					fmt.Fprintf(&b, " %x", math.Float32bits(v))
				}
			case graph.Float64:
				for _, v := range q.Value.Float64s() {
					fmt.Fprintf(&b, " %x", math.Float64bits(v))
				}
			default:
				fmt.Fprintf(&b, " %x", q.Value.Ints())
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// file lays out a file by hand: the header as it is, then the numbers in little-endian order.
func file(header string, numbers ...any) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for _, n := range numbers {
		b, _ = binary.Append(b, binary.LittleEndian, n)
	}
	return b
}

func awkwardStores(t testing.TB) (*graph.Params, *graph.Params) {
	nan32, nan64 := math.Float32frombits(0x7fc12345), math.Float64frombits(0x7ff8000012345678)
	big := make([]float32, 40_001) // several buffers of the writer, and not a whole number of them
	for i := range big {
		big[i] = float32(i) / 7
	}
	return store(t,
			"dense1/weight", graph.ArrayOf([]float32{1, -2.5, nan32, float32(math.Inf(-1)), math.SmallestNonzeroFloat32, 0}, 2, 3),
			"scale", graph.ArrayOf([]float64{nan64}),
			"big", graph.ArrayOf(big, 40_001),
			"norm/mean!", graph.ArrayOf([]float32{float32(math.Copysign(0, -1))}, 1),
			"nothing", graph.NewArray(graph.Float32, 3, 0, 2),
			"naïve \"<name>\"\n", graph.ArrayOf([]float64{math.Pi, math.MaxFloat64}, 2)),
		store(t, "optim/step!", graph.ArrayOf([]int{math.MinInt, -1, math.MaxInt}, 3))
}

func TestCheckpointRoundTrip(t *testing.T) {
	a, b := awkwardStores(t)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	meta := map[string]string{"epoch": "3", "": "empty key", "history": `{"loss": [0.5, 0.25]}`, "ключ": "\x00\n"}
	if err := graph.SaveAll(path, meta, a, b); err != nil {
		t.Fatal(err)
	}
	want := contents(a, b)
	c, d := a.Clone(), b.Clone()
	for _, p := range []*graph.Params{c, d} {
		for q := range p.All() {
			q.Value.Zero()
		}
	}
	got, err := graph.LoadAll(path, d, c) // the order of the stores is the caller's
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(meta, got) {
		t.Errorf("metadata: want %q, got %q", meta, got)
	}
	if contents(c, d) != want {
		t.Errorf("want\n%.400s\ngot\n%.400s", want, contents(c, d))
	}
	if got, err := graph.Metadata(path); err != nil || !maps.Equal(meta, got) {
		t.Errorf("Metadata: %v, %v", got, err)
	}
	if err := a.Save(path); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(path); err != nil {
		t.Fatal(err)
	}
	if got, err := graph.Metadata(path); err != nil || len(got) != 0 {
		t.Errorf("metadata of Save: want none, got %v, %v", got, err)
	}
}

// TestCheckpointFormat reads what was written by the format's description only: a JSON header of a multiple of 8 bytes
// after its length, then the numbers, without holes, each tensor at a multiple of its element size.
func TestCheckpointFormat(t *testing.T) {
	p := store(t, "w", graph.ArrayOf([]float32{1, 2, 3}, 1, 3), "s!", graph.ArrayOf([]float64{0.5}), "n", graph.ArrayOf([]int{-7}, 1),
		"e", graph.NewArray(graph.Float32, 0))
	var b bytes.Buffer
	if err := graph.WriteAll(&b, map[string]string{"epoch": "3"}, p); err != nil {
		t.Fatal(err)
	}
	size := binary.LittleEndian.Uint64(b.Next(8))
	header := b.Next(int(size))
	data := b.Bytes()
	type tensor struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	var got struct {
		Meta map[string]string `json:"__metadata__"`
		W    tensor            `json:"w"`
		S    tensor            `json:"s"`
		N    tensor            `json:"n"`
		E    tensor            `json:"e"`
	}
	if err := json.Unmarshal(header, &got); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%08x", crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	if want := map[string]string{"epoch": "3", "harpe.state": `["s"]`, "harpe.crc32c": sum}; !maps.Equal(want, got.Meta) {
		t.Errorf("metadata: want %q, got %q", want, got.Meta)
	}
	for i, c := range []struct {
		tensor
		want tensor
		data any
	}{
		{got.S, tensor{"F64", []int{}, [2]int{0, 8}}, 0.5},
		{got.N, tensor{"I64", []int{1}, [2]int{8, 16}}, int64(-7)},
		{got.W, tensor{"F32", []int{1, 3}, [2]int{16, 28}}, []float32{1, 2, 3}},
		{got.E, tensor{"F32", []int{0}, [2]int{28, 28}}, []float32{}},
	} {
		if !reflect.DeepEqual(c.want, c.tensor) {
			t.Errorf("tensor %d: want %v, got %v", i, c.want, c.tensor)
		}
		want, _ := binary.Append(nil, binary.LittleEndian, c.data)
		if got := data[c.Offsets[0]:c.Offsets[1]]; !bytes.Equal(want, got) {
			t.Errorf("tensor %d: want % x, got % x", i, want, got)
		}
	}
	if size%8 != 0 || header[0] != '{' || len(data) != 28 {
		t.Errorf("want a header of a multiple of 8 bytes that starts with { and 28 bytes of numbers, got %d, %c, %d", size, header[0], len(data))
	}
	order := []int{bytes.Index(header, []byte(`"w":`)), bytes.Index(header, []byte(`"s":`)), bytes.Index(header, []byte(`"n":`))}
	if !slices.IsSorted(order) {
		t.Errorf("want the header in the order of the store, got %s", header)
	}
	for n := range 8 {
		var b bytes.Buffer
		if err := graph.WriteAll(&b, map[string]string{"epoch": strings.Repeat("3", n)}, p); err != nil || b.Bytes()[0]%8 != 0 {
			t.Errorf("want a header of a multiple of 8 bytes, got %d, %v", binary.LittleEndian.Uint64(b.Bytes()), err)
		}
	}
	var again bytes.Buffer
	if err := graph.WriteAll(&again, map[string]string{"epoch": "3"}, p); err != nil || !bytes.HasSuffix(again.Bytes(), append(header, data...)) {
		t.Errorf("want the same bytes twice, got %q, %v", again.Bytes(), err)
	}
}

// TestCheckpointForeign loads a file as another program may write it: other order, spaces, no flags.
func TestCheckpointForeign(t *testing.T) {
	p := store(t, "w", graph.NewArray(graph.Float32, 1, 2), "m!", graph.NewArray(graph.Float64), "n", graph.NewArray(graph.Int, 2))
	b := file(`{ "n" : { "data_offsets" : [ 16, 32 ], "shape" : [ 2 ], "dtype" : "I64" },
		"\u0077":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}, "__metadata__":{"format":"pt"},
		"m":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}   `, 2.5, []float32{1, -1}, []int64{5, -6})
	meta, err := graph.ReadAll(bytes.NewReader(b), p)
	if err != nil {
		t.Fatal(err)
	}
	want := store(t, "w", graph.ArrayOf([]float32{1, -1}, 1, 2), "m!", graph.ArrayOf([]float64{2.5}), "n", graph.ArrayOf([]int{5, -6}, 2))
	if contents(p) != contents(want) || meta["format"] != "pt" {
		t.Errorf("want\n%sgot\n%s%v", contents(want), contents(p), meta)
	}
}

func TestCheckpointRefuses(t *testing.T) {
	const (
		meta = `"__metadata__":{"harpe.state":"[\"m\"]"}`
		w    = `"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}`
		m    = `"m":{"dtype":"F32","shape":[],"data_offsets":[8,12]}`
		good = "{" + meta + "," + w + "," + m + "}"
	)
	numbers := []float32{1, 2, 3}
	with := func(old, new string) []byte {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the good header", old)
		}
		return file(strings.Replace(good, old, new, 1), numbers)
	}
	length := func(n uint64) []byte {
		b := file(good, numbers)
		binary.LittleEndian.PutUint64(b, n)
		return b
	}
	cases := []struct {
		name  string
		bytes []byte
		says  []string // what the error must name
	}{
		{"empty", nil, []string{"header length", "8 bytes", "got 0"}},
		{"short length", []byte{1, 0, 0}, []string{"header length", "8 bytes", "got 3"}},
		{"no header", length(0), []string{"header length", "got 0"}},
		{"huge header", length(1 << 62), []string{"header length", "100000000", "4611686018427387904"}},
		{"negative header", length(math.MaxUint64), []string{"header length", "18446744073709551615"}},
		{"header past the end", length(100_000_000), []string{"header", "100000000 bytes"}},
		{"header cut", length(30), []string{"__metadata__:", "EOF"}},
		{"header too long", length(uint64(len(good) + 4)), []string{"header"}},
		{"space first", file(" "+good, numbers), []string{"header", "JSON object"}},
		{"not UTF-8", with(`"m":`, "\"m\xff\":"), []string{"UTF-8"}},
		{"not an object", file("[]      ", numbers), []string{"header", "JSON object"}},
		{"two objects", file(good+"{}", numbers), []string{"header", "spaces"}},
		{"trailing comma", with(`}}`, `},}`), []string{"header"}},
		{"no data", file(good), []string{"data", "12 bytes", "got 0"}},
		{"data cut", file(good, []float32{1, 2}), []string{"data", "12 bytes", "got 8"}},
		{"data too long", file(good, []float32{1, 2, 3, 4}), []string{"data", "12 bytes", "more"}},
		{"missing tensor", file("{"+meta+","+m+"}", numbers), []string{"w:", "float32 [1 2]", "no such tensor"}},
		{"extra tensor", with(`"m":`, `"extra":{"dtype":"F32","shape":[0],"data_offsets":[8,8]},"m":`), []string{"extra"}},
		{"other name", with(`"w"`, `"v"`), []string{"v:", "do not have"}},
		{"tensor twice", with(w, w+","+w), []string{"w a second time"}},
		{"escaped tensor twice", with(w, w+`,"\u0077":{}`), []string{"w a second time"}},
		{"metadata twice", with(meta, meta+","+meta), []string{"__metadata__ a second time"}},
		{"metadata key twice", with(`{"harpe`, `{"a":"","a":"","harpe`), []string{"__metadata__:", "a a second time"}},
		{"metadata number", with(`{"harpe`, `{"a":1,"harpe`), []string{"__metadata__:", "a string", "got 1"}},
		{"shape twice", with(`"shape":[1,2]`, `"shape":[1,2],"shape":[1,2]`), []string{"w:", "shape a second time"}},
		{"unknown key", with(`"dtype"`, `"strides":[2,1],"dtype"`), []string{"w:", "strides"}},
		{"no dtype", with(`"dtype":"F32",`, ``), []string{"w:", "dtype, shape and data_offsets"}},
		{"no offsets", with(`,"data_offsets":[0,8]`, ``), []string{"w:", "dtype, shape and data_offsets"}},
		{"null tensor", with(w, `"w":null`), []string{"w:", "{"}},
		{"other dtype", with("F32", "F64"), []string{"w:", "float32 [1 2]", "float64 [1 2]"}},
		{"unknown dtype", with("F32", "BF16"), []string{"w:", "float32 [1 2]", "BF16 [1 2]"}},
		{"other shape", with("[1,2]", "[2,1]"), []string{"w:", "float32 [1 2]", "float32 [2 1]"}},
		{"other rank", with("[1,2]", "[2]"), []string{"w:", "float32 [1 2]", "float32 [2]"}},
		{"huge shape", with("[1,2]", "[4611686018427387904,4]"), []string{"w:", "[4611686018427387904 4]"}},
		{"overflowing shape", with("[1,2]", "[18446744073709551617,2]"), []string{"w:", "18446744073709551617"}},
		{"negative shape", with("[1,2]", "[-1,-2]"), []string{"w:", "whole number", "-1"}},
		{"fraction", with("[1,2]", "[1.0,2]"), []string{"w:", "whole number", "1.0"}},
		{"many axes", with("[1,2]", "["+strings.Repeat("1,", 64)+"2]"), []string{"w:", "64"}},
		{"negative offset", with("[0,8]", "[-8,0]"), []string{"w:", "whole number", "-8"}},
		{"offsets past the end", with("[0,8]", "[12,20]"), []string{"data_offsets [0 4]", "[8 12]"}},
		{"huge offsets", with("[0,8]", "[9223372036854775799,9223372036854775807]"), []string{"m:", "[8 12]"}},
		{"offsets reversed", with("[0,8]", "[8,0]"), []string{"w:", "[8 0]"}},
		{"three offsets", with("[0,8]", "[0,4,8]"), []string{"w:", "at most 2"}},
		{"one offset", with("[0,8]", "[0]"), []string{"w:", "two data_offsets"}},
		{"size and shape differ", with("[0,8]", "[0,4]"), []string{"w:", "data_offsets [0 8]", "[0 4]"}},
		{"overlap", with("[8,12]", "[4,8]"), []string{"m:", "data_offsets [8 12]", "[4 8]"}},
		{"same place", with("[8,12]", "[0,4]"), []string{"w:", "data_offsets [4 12]", "[0 8]"}},
		{"hole", file(strings.Replace(good, "[8,12]", "[12,16]", 1), []float32{1, 2, 0, 3}), []string{"m:", "data_offsets [8 12]", "[12 16]"}},
		{"state missing", with(`[\"m\"]`, `[]`), []string{"m:", "want a state", "got a trained parameter"}},
		{"state added", with(`[\"m\"]`, `[\"m\",\"w\"]`), []string{"w:", "want a trained parameter", "got a state"}},
		{"state unknown", with(`[\"m\"]`, `[\"m\",\"v\"]`), []string{"v:", "no such tensor"}},
		{"state not a list", with(`[\"m\"]`, `m`), []string{"harpe.state"}},
	}
	p := store(t, "w", graph.ArrayOf([]float32{7, 8}, 1, 2), "m!", graph.ArrayOf([]float32{9}))
	before := contents(p)
	folder := t.TempDir()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(folder, "bad.safetensors")
			if err := os.WriteFile(path, c.bytes, 0o666); err != nil {
				t.Fatal(err)
			}
			meta, err := graph.LoadAll(path, p)
			if err == nil {
				t.Fatal("want an error")
			}
			for _, s := range append(c.says, path) {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("want an error that says %q, got %v", s, err)
				}
			}
			if typed := (*graph.Error)(nil); !errors.As(err, &typed) {
				t.Errorf("want a *graph.Error, got %T", err)
			}
			if meta != nil || contents(p) != before {
				t.Errorf("want nothing changed, got %v, %s", meta, contents(p))
			}
			if _, err := graph.ReadAll(bytes.NewReader(c.bytes), p); err == nil || contents(p) != before {
				t.Errorf("ReadAll: want an error and nothing changed, got %v, %s", err, contents(p))
			}
		})
	}
	if _, err := graph.ReadAll(bytes.NewReader(file(good, numbers)), p); err != nil {
		t.Errorf("the good file: %v", err)
	}
	if want := contents(store(t, "w", graph.ArrayOf(numbers[:2], 1, 2), "m!", graph.ArrayOf(numbers[2:]))); contents(p) != want {
		t.Errorf("the good file: want\n%sgot\n%s", want, contents(p))
	}
}

// TestCheckpointLongNames: what a hostile file says does not make a hostile error message.
func TestCheckpointLongNames(t *testing.T) {
	name := strings.Repeat("x", 1<<17)
	for _, header := range []string{`{"` + name + `":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, `{"w":{"dtype":"` + name + `","shape":[],"data_offsets":[0,4]}}`,
		`{"w":{"shape":[` + strings.Repeat("1", 1<<17) + `]}}`} {
		_, err := graph.ReadAll(bytes.NewReader(file(header, float32(1))), store(t, "w", graph.NewArray(graph.Float32)))
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("want a short error, got %d bytes", len(fmt.Sprint(err)))
		}
	}
}

// TestCheckpointMemory: a small file that claims to be large makes Load allocate little.
func TestCheckpointMemory(t *testing.T) {
	p := store(t, "w", graph.NewArray(graph.Float32, 4))
	for _, b := range [][]byte{
		append(binary.LittleEndian.AppendUint64(nil, 99_999_999), `{"w":`...),
		file(`{"w":{"dtype":"F32","shape":[4000000000],"data_offsets":[0,16000000000]}}`, float32(1)),
		file(`{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16000000000]}}`, float32(1)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := graph.ReadAll(bytes.NewReader(b), p)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 1<<17 {
			t.Errorf("want an error and less than 128 KiB allocated, got %v, %d bytes", err, got)
		}
	}
}

// interrupted reads or writes n bytes and then fails.
type interrupted struct {
	r io.Reader
	n int
}

var errInterrupted = errors.New("interrupted")

func (i *interrupted) Read(b []byte) (int, error) {
	if i.n == 0 {
		return 0, errInterrupted
	}
	n, err := i.r.Read(b[:min(len(b), i.n)])
	i.n -= n
	return n, err
}

func (i *interrupted) Write(b []byte) (int, error) {
	n := min(len(b), i.n)
	i.n -= n
	if n < len(b) {
		return n, errInterrupted
	}
	return n, nil
}

func TestCheckpointInterrupted(t *testing.T) {
	p := store(t, "w", graph.ArrayOf([]float32{1, 2, 3}, 3), "n", graph.ArrayOf([]float64{4}))
	var whole bytes.Buffer
	if err := graph.WriteAll(&whole, nil, p); err != nil {
		t.Fatal(err)
	}
	q := store(t, "w", graph.NewArray(graph.Float32, 3), "n", graph.NewArray(graph.Float64))
	before := contents(q)
	for n := range whole.Len() + 1 { // also at the end: without an end of file, more could come
		_, err := graph.ReadAll(&interrupted{bytes.NewReader(whole.Bytes()), n}, q)
		if !errors.Is(err, errInterrupted) || contents(q) != before {
			t.Fatalf("reading stopped after %d bytes: want its error and nothing changed, got %v, %s", n, err, contents(q))
		}
		if n < whole.Len() {
			if err := graph.WriteAll(&interrupted{n: n}, nil, p); !errors.Is(err, errInterrupted) {
				t.Fatalf("writing stopped after %d bytes: want its error, got %v", n, err)
			}
		}
	}
}

func TestCheckpointSaveRefuses(t *testing.T) {
	value := graph.NewArray(graph.Float32, 1)
	folder := t.TempDir()
	path := filepath.Join(folder, "model.safetensors")
	good := store(t, "w", graph.ArrayOf([]float32{5}, 1))
	if err := good.Save(path); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		meta   map[string]string
		stores []*graph.Params
		says   string
	}{
		{"two stores with one name", nil, []*graph.Params{good, store(t, "v", value, "w", value)}, "w:"},
		{"one store twice", nil, []*graph.Params{good, good}, "w:"},
		{"nil store", nil, []*graph.Params{good, nil}, "store 1"},
		{"reserved name", nil, []*graph.Params{store(t, "__metadata__", value)}, "__metadata__"},
		{"name not UTF-8", nil, []*graph.Params{store(t, "w\xff", value)}, `w\xff`},
		{"reserved metadata", map[string]string{"harpe.state": "[]"}, []*graph.Params{good}, "harpe.state"},
		{"metadata not UTF-8", map[string]string{"a": "\xff"}, []*graph.Params{good}, "metadata a"},
		{"metadata key not UTF-8", map[string]string{"\xff": ""}, []*graph.Params{good}, `metadata "\xff"`},
	} {
		err := graph.SaveAll(path, c.meta, c.stores...)
		if typed := (*graph.Error)(nil); !errors.As(err, &typed) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: want a *graph.Error that says %q and %q, got %v", c.name, c.says, path, err)
		}
	}
	if _, err := graph.LoadAll(path, good, nil); err == nil {
		t.Error("loading into nil: want an error")
	}
	if err := good.Save(filepath.Join(folder, "no", "folder")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: want %v, got %v", os.ErrNotExist, err)
	}
	if err := good.Load(filepath.Join(folder, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: want %v, got %v", os.ErrNotExist, err)
	}
	if err := good.Save(folder); err == nil {
		t.Error("saving over a folder: want an error")
	}
	good.Get("w").Value.Zero()
	if err := good.Load(path); err != nil || good.Get("w").Value.Scalar() != 5 {
		t.Errorf("want the first file whole after all this, got %v, %v", good.Get("w").Value, err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(folder), "*", "*"))
	if err != nil || !slices.Equal(left, []string{path}) {
		t.Errorf("want no file but %s, got %v, %v", path, left, err)
	}
}

// saverVariable makes the test's own binary, started again, the process that TestCheckpointKilled kills.
const saverVariable = "HARPE_TEST_SAVER"

func savedStores() (*graph.Params, *graph.Params) {
	var a, b graph.Params
	for i := range 4 {
		a.Add(&graph.Param{Name: fmt.Sprintf("layer%d/weight", i), Value: graph.NewArray(graph.Float32, 100, 500)})
		b.Add(&graph.Param{Name: fmt.Sprintf("optim/layer%d/weight/m", i), Value: graph.NewArray(graph.Float64, 100, 500), State: true})
	}
	return &a, &b
}

// saveForever saves stores whose every number is the count in the metadata, counting up from the last file.
func saveForever(path string) {
	a, b := savedStores()
	count := 0
	if meta, err := graph.LoadAll(path, a, b); err == nil {
		count, _ = strconv.Atoi(meta["count"])
	}
	for {
		count++
		for _, p := range []*graph.Params{a, b} {
			for q := range p.All() {
				for i := range q.Value.Size() {
					q.Value.Set(i, float64(count))
				}
			}
		}
		if err := graph.SaveAll(path, map[string]string{"count": strconv.Itoa(count)}, a, b); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// TestCheckpointKilled kills a process that saves without pause, at random moments, and finds a whole file each time.
func TestCheckpointKilled(t *testing.T) {
	if path := os.Getenv(saverVariable); path != "" {
		saveForever(path)
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	a, b := savedStores()
	kills, last := 30, 0
	if testing.Short() {
		kills = 5
	}
	for range kills {
		saver := exec.Command(os.Args[0], "-test.run=^TestCheckpointKilled$")
		saver.Env = append(os.Environ(), saverVariable+"="+path)
		saver.Stderr = os.Stderr
		if err := saver.Start(); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); !advanced(path, last); { // let it save at least once
			if time.Since(start) > 30*time.Second {
				t.Fatal("the saver does not save")
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(30_000)) * time.Microsecond)
		if err := saver.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		saver.Wait()
		meta, err := graph.LoadAll(path, a, b)
		if err != nil {
			t.Fatal(err)
		}
		count, err := strconv.Atoi(meta["count"])
		if err != nil || count <= last {
			t.Fatalf("want a count above %d, got %q", last, meta["count"])
		}
		last = count
		for _, p := range []*graph.Params{a, b} {
			for q := range p.All() {
				for i := range q.Value.Size() {
					if q.Value.At(i) != float64(count) {
						t.Fatalf("%s: element %d: want %d, got %v", q.Name, i, count, q.Value.At(i))
					}
				}
			}
		}
	}
	t.Logf("%d kills, %d files saved", kills, last)
}

func advanced(path string, last int) bool {
	meta, err := graph.Metadata(path)
	if err != nil {
		return false
	}
	count, _ := strconv.Atoi(meta["count"])
	return count > last
}

func FuzzLoad(f *testing.F) {
	stores := func(f testing.TB) (*graph.Params, *graph.Params) {
		return store(f, "w", graph.ArrayOf([]float32{7, 8}, 1, 2), "s", graph.ArrayOf([]float64{9})), store(f, "n!", graph.ArrayOf([]int{1}, 1), "e", graph.NewArray(graph.Float32, 0))
	}
	a, b := stores(f)
	var whole bytes.Buffer
	if err := graph.WriteAll(&whole, map[string]string{"epoch": "1"}, a, b); err != nil {
		f.Fatal(err)
	}
	n := 8 + binary.LittleEndian.Uint64(whole.Bytes())
	f.Add(string(whole.Bytes()[8:n]), whole.Bytes()[n:])
	f.Add(`{"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"s":{"dtype":"F64","shape":[],"data_offsets":[8,16]},
		"n":{"dtype":"I64","shape":[1],"data_offsets":[16,24]},"e":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, make([]byte, 24))
	f.Fuzz(func(t *testing.T, head string, numbers []byte) {
		data := file(head, numbers)
		a, b := stores(t)
		before := contents(a, b)
		meta, err := graph.ReadAll(bytes.NewReader(data), a, b)
		if err != nil {
			if meta != nil || contents(a, b) != before {
				t.Fatalf("%v, but changed: %v %s", err, meta, contents(a, b))
			}
			return
		}
		// What was accepted must mean the same to a reader made of the JSON package and the format's description.
		n := binary.LittleEndian.Uint64(data)
		var header map[string]struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		raw := map[string]json.RawMessage{}
		if err := json.Unmarshal(data[8:8+n], &raw); err != nil {
			t.Fatal(err)
		}
		delete(raw, "__metadata__")
		tensors, _ := json.Marshal(raw)
		if err := json.Unmarshal(tensors, &header); err != nil {
			t.Fatal(err)
		}
		if len(header) != a.Len()+b.Len() {
			t.Fatalf("want %d tensors, got %v", a.Len()+b.Len(), header)
		}
		for _, p := range []*graph.Params{a, b} {
			for q := range p.All() {
				e := header[q.Name]
				var got any = q.Value.Ints
				switch q.Value.DType {
				case graph.Float32:
					got = q.Value.Float32s()
				case graph.Float64:
					got = q.Value.Float64s()
				default:
					got = int64(q.Value.Ints()[0])
				}
				b, err := binary.Append(nil, binary.LittleEndian, got)
				if want := data[8+n:][e.Offsets[0]:e.Offsets[1]]; err != nil || !slices.Equal(e.Shape, q.Value.Shape) || !bytes.Equal(b, want) {
					t.Fatalf("%s: want % x of %v, got % x, %v", q.Name, want, e, b, err)
				}
			}
		}
		var again bytes.Buffer
		if err := graph.WriteAll(&again, meta, a, b); err != nil {
			t.Fatal(err)
		}
		c, d := stores(t)
		meta2, err := graph.ReadAll(&again, c, d)
		if err != nil || !maps.Equal(meta, meta2) || contents(a, b) != contents(c, d) {
			t.Fatalf("written and read again: %v, %v, %s", err, meta2, contents(c, d))
		}
	})
}

func ExampleSaveAll() {
	folder, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "model.safetensors")

	var params, slots graph.Params
	params.Add(&graph.Param{Name: "dense1/bias", Value: graph.ArrayOf([]float32{0.5, -1}, 2)})
	slots.Add(&graph.Param{Name: "optim/step", Value: graph.ArrayOf([]int{100}, 1), State: true})
	err := graph.SaveAll(path, map[string]string{"epoch": "3"}, &params, &slots)
	fmt.Println(err)

	params.Get("dense1/bias").Value.Zero()
	meta, err := graph.LoadAll(path, &params, &slots)
	fmt.Println(params.Get("dense1/bias").Value, meta["epoch"], err)
	// Output:
	// <nil>
	// float32 [2] [0.5 -1] 3 <nil>
}

// One wrong bit among the numbers is found, and nothing is changed.
func TestCheckpointFindsFlippedBits(t *testing.T) {
	store := func(v float32) *graph.Params {
		p := &graph.Params{}
		if err := p.Add(&graph.Param{Name: "w", Value: graph.ArrayOf([]float32{v, 2, 3}, 3)}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var file bytes.Buffer
	if err := graph.WriteAll(&file, nil, store(1)); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * 12 {
		damaged := slices.Clone(file.Bytes())
		damaged[len(damaged)-12+bit/8] ^= 1 << (bit % 8)
		p := store(7)
		_, err := graph.ReadAll(bytes.NewReader(damaged), p)
		if err == nil || !strings.Contains(err.Error(), "CRC-32C") {
			t.Fatalf("bit %d: want an error with CRC-32C, got %v", bit, err)
		}
		if v := p.Get("w").Value.At(0); v != 7 {
			t.Fatalf("bit %d: the store changed to %v", bit, v)
		}
	}
}
