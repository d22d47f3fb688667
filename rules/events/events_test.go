package events

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/graph"
)

// numbers are what the tests log as a histogram: 0 twice, both signs, and what no histogram can hold.
func numbers() *graph.Array {
	return graph.ArrayOf([]float64{0, 1, -2, 0.5, math.NaN(), 3, 1e30, math.Inf(-1), 0}, 9)
}

// fill logs loss 1/step and a histogram for the steps up to the last.
func fill(t *testing.T, folder string, from, to int) {
	t.Helper()
	l, err := Open(folder, from)
	if err != nil {
		t.Fatal(err)
	}
	for step := from + 1; step <= to; step++ {
		if err := l.Scalar("train/loss", step, 1/float64(step)); err != nil {
			t.Fatal(err)
		}
		if err := l.Histogram("weight", step, numbers()); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A second reader, written from the definitions of the formats with nothing of the package: an event is a step with
// the fields of its only value.

type field struct {
	number int
	bits   uint64 // of a number
	bytes  []byte
}

func fields(t *testing.T, b []byte) (list []field) {
	t.Helper()
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatalf("want a varint, got % x", b)
		}
		b = b[n:]
		return v
	}
	for len(b) > 0 {
		key := uvarint()
		f := field{number: int(key >> 3)}
		switch key & 7 {
		case 0:
			f.bits = uvarint()
		case 1:
			f.bits, b = binary.LittleEndian.Uint64(b), b[8:]
		case 2:
			n := uvarint()
			f.bytes, b = b[:n], b[n:]
		case 5:
			f.bits, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		default:
			t.Fatalf("wire type %d", key&7)
		}
		list = append(list, f)
	}
	return list
}

// crc is the CRC-32C bit by bit, masked as TFRecord files have it.
func crc(b []byte) uint32 {
	c := ^uint32(0)
	for _, v := range b {
		c ^= uint32(v)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0x82f63b78
			} else {
				c >>= 1
			}
		}
	}
	c = ^c
	return (c>>15 | c<<17) + 0xa282ead8
}

func messages(t *testing.T, b []byte) (list [][]byte) {
	t.Helper()
	for len(b) > 0 {
		n := binary.LittleEndian.Uint64(b)
		if got := binary.LittleEndian.Uint32(b[8:]); got != crc(b[:8]) {
			t.Fatalf("sum of the length %x", got)
		}
		list = append(list, b[12:12+n])
		if got := binary.LittleEndian.Uint32(b[12+n:]); got != crc(b[12:12+n]) {
			t.Fatalf("sum of the message %x", got)
		}
		b = b[16+n:]
	}
	return list
}

func contents(t *testing.T, folder string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, FileName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func doubles(b []byte) (list []float64) {
	for ; len(b) > 0; b = b[8:] {
		list = append(list, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	}
	return list
}

// The known answer of CRC-32C (RFC 3720, B.4: 32 bytes of zeros), for the test's own.
func TestCRC(t *testing.T) {
	known := uint32(0x8a9136aa)
	if want, got := (known>>15|known<<17)+0xa282ead8, crc(make([]byte, 32)); got != want {
		t.Errorf("want %x, got %x", want, got)
	}
}

func TestLog(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	fill(t, folder, 0, 3)
	list, big := messages(t, contents(t, folder)), 1e30
	if len(list) != 1+2*3 {
		t.Fatalf("want 7 events, got %d", len(list))
	}
	if f := fields(t, list[0]); len(f) != 3 || f[2].number != 3 || string(f[2].bytes) != "brain.Event:2" {
		t.Errorf("the first event is %v", f)
	}
	for i, m := range list[1:] {
		f := fields(t, m)
		step := uint64(i/2 + 1)
		if len(f) != 3 || f[0].number != 1 || f[1].number != 2 || f[1].bits != step || f[2].number != 5 {
			t.Fatalf("event %d: %v", i, f)
		}
		if wall := math.Float64frombits(f[0].bits); wall < 1.7e9 || wall > 1e11 {
			t.Errorf("event %d: time %v", i, wall)
		}
		s := fields(t, f[2].bytes)
		v := fields(t, s[0].bytes)
		if i%2 == 0 {
			if string(v[0].bytes) != "train/loss" || v[1].number != 2 || math.Float32frombits(uint32(v[1].bits)) != 1/float32(step) {
				t.Errorf("event %d: value %v", i, v)
			}
			continue
		}
		h := fields(t, v[1].bytes)
		if string(v[0].bytes) != "weight" || v[1].number != 5 || len(h) != 7 {
			t.Fatalf("event %d: value %v", i, v)
		}
		for j, want := range []float64{-2, 1e30, 7, 2.5 + 1e30, 14.25 + big*big} {
			if got := math.Float64frombits(h[j].bits); h[j].number != j+1 || got != want {
				t.Errorf("field %d of the histogram: want %v, got %v", j+1, want, got)
			}
		}
		checkBuckets(t, doubles(h[5].bytes), doubles(h[6].bytes), []float64{0, 1, -2, 0.5, 3, 1e30, 0})
	}
}

// checkBuckets counts the values again, one by one.
func checkBuckets(t *testing.T, limits, counts, values []float64) {
	t.Helper()
	if len(limits) != len(counts) || !slices.IsSorted(limits) || limits[len(limits)-1] != math.MaxFloat64 {
		t.Fatalf("limits %v, counts %v", limits, counts)
	}
	low := math.Inf(-1)
	for i, high := range limits {
		want := 0.0
		for _, v := range values {
			if low <= v && v < high {
				want++
			}
		}
		if counts[i] != want {
			t.Errorf("from %v to %v: want %v values, got %v", low, high, want, counts[i])
		}
		if i > 0 && counts[i] == 0 && counts[i-1] == 0 {
			t.Errorf("two empty buckets before %v", high)
		}
		if width := high - low; counts[i] > 0 && math.Abs(low) < 1e19 && math.Abs(high) < 1e19 && width > 0.11*max(math.Abs(low), math.Abs(high))+1e-12 {
			t.Errorf("the bucket from %v to %v is wider than a tenth", low, high)
		}
		low = high
	}
}

// withoutTimes is a log with all times at 0, to compare logs of different processes.
func withoutTimes(t *testing.T, b []byte) []byte {
	var all []byte
	for _, m := range messages(t, b) {
		all = append(append(all, make([]byte, 8)...), m[9:]...)
	}
	return all
}

// A log that was cut off anywhere, by a kill, goes on as if nothing had happened: the file is that of one process.
func TestGoOnAfterKill(t *testing.T) {
	whole := t.TempDir()
	fill(t, whole, 0, 6)
	want := withoutTimes(t, contents(t, whole))
	four := t.TempDir()
	fill(t, four, 0, 4)
	b := contents(t, four)
	for cut := 0; cut <= len(b); cut += 7 {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, FileName), b[:cut], 0o666); err != nil {
			t.Fatal(err)
		}
		// The steps that a checkpoint would know of: those before the cut.
		steps := 0
		for n := 0; ; n++ {
			end := 0
			for _, m := range messages(t, b)[:min(1+2*n, 9)] {
				end += 16 + len(m)
			}
			if end > cut || n > 4 {
				break
			}
			steps = n
		}
		fill(t, folder, steps, 6)
		if got := withoutTimes(t, contents(t, folder)); !bytes.Equal(got, want) {
			t.Fatalf("cut at byte %d, after step %d: the log is not the same", cut, steps)
		}
	}
	fill(t, four, 2, 6) // a checkpoint that is older than the log
	if got := withoutTimes(t, contents(t, four)); !bytes.Equal(got, want) {
		t.Error("from an earlier checkpoint: the log is not the same")
	}
	fill(t, four, 0, 6)
	if got := withoutTimes(t, contents(t, four)); !bytes.Equal(got, want) {
		t.Error("from the start: the log is not the same")
	}
	damaged := slices.Clone(b)
	damaged[len(b)/2] ^= 1
	if err := os.WriteFile(filepath.Join(four, FileName), damaged, 0o666); err != nil {
		t.Fatal(err)
	}
	fill(t, four, 1, 6)
	if got := withoutTimes(t, contents(t, four)); !bytes.Equal(got, want) {
		t.Error("after damage: the log is not the same")
	}
}

func TestErrors(t *testing.T) {
	folder := t.TempDir()
	l, err := Open(folder, 0)
	if err != nil {
		t.Fatal(err)
	}
	for arg, err := range map[string]error{"step": l.Scalar("a", -1, 1), "tag": l.Scalar("", 1, 1), `"\xff"`: l.Scalar("\xff", 1, 1)} {
		if err == nil || !strings.Contains(err.Error(), arg) {
			t.Errorf("want an error with %s, got %v", arg, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Scalar("a", 1, 1); err == nil {
		t.Error("a closed log takes a number")
	}
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, 0); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("want an error that names the file in the folder's place, got %v", err)
	}
}

// Google's decoder reads each event with TensorBoard's own definitions.
func TestProtoc(t *testing.T) {
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skip("needs protoc: apt-get install protobuf-compiler")
	}
	folder := t.TempDir()
	fill(t, folder, 0, 2)
	var text []string
	for _, m := range messages(t, contents(t, folder)) {
		c := exec.Command(protoc, "--decode=tensorboard.Event", "--proto_path=testdata", "testdata/tensorboard/compat/proto/event.proto")
		c.Stdin = bytes.NewReader(m)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text = append(text, strings.Join(strings.Fields(string(out)), " "))
	}
	for i, want := range []string{`file_version: "brain.Event:2"`, `step: 1 summary { value { tag: "train/loss" simple_value: 1 } }`,
		`step: 1 summary { value { tag: "weight" histo { min: -2 max: 1e+30 num: 7`, `step: 2 summary { value { tag: "train/loss" simple_value: 0.5 } }`} {
		if !strings.Contains(text[i], want) {
			t.Errorf("event %d: want %s, got %s", i, want, text[i])
		}
	}
	if strings.Count(text[2], "bucket_limit:") != strings.Count(text[2], "bucket:") || !strings.Contains(text[2], "bucket: 2") {
		t.Errorf("the buckets are %s", text[2])
	}
}

// TensorBoard itself reads the log.
func TestTensorBoard(t *testing.T) {
	const script = "testdata/read.py"
	if err := exec.Command("python3", "-c", "import tensorboard").Run(); err != nil {
		t.Skip("needs python3 with the package tensorboard")
	}
	folder := t.TempDir()
	fill(t, folder, 0, 5)
	out, err := exec.Command("python3", script, folder).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Scalars, Histograms map[string][][]float64 }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var scalars, histograms [][]float64
	for step := 1.0; step <= 5; step++ {
		scalars = append(scalars, []float64{step, float64(float32(1 / step))})
		histograms = append(histograms, []float64{step, 7, -2, 1e30, 7})
	}
	if want := fmt.Sprint(map[string][][]float64{"train/loss": scalars}); fmt.Sprint(got.Scalars) != want {
		t.Errorf("want %v, got %v", want, got.Scalars)
	}
	if want := fmt.Sprint(map[string][][]float64{"weight": histograms}); fmt.Sprint(got.Histograms) != want {
		t.Errorf("want %v, got %v", want, got.Histograms)
	}
}

// However damaged a file is, opening it makes a log that can be read and written.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{}, 3)
	f.Add([]byte("not a log at all"), 0)
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x29\x03\x98\x07\xd8\xea\x82\xa2"), 1)
	f.Fuzz(func(t *testing.T, file []byte, steps int) {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, FileName), file, 0o666); err != nil {
			t.Fatal(err)
		}
		l, err := Open(folder, steps)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Scalar("loss", 1, 2); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		list := messages(t, contents(t, folder))
		if last := fields(t, list[len(list)-1]); string(fields(t, fields(t, last[2].bytes)[0].bytes)[0].bytes) != "loss" {
			t.Errorf("the last event is %v", last)
		}
	})
}
