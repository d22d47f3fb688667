package data

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"
)

// idx encodes an IDX file of unsigned bytes.
func idx(values []byte, shape ...uint32) []byte {
	b := []byte{0, 0, 8, byte(len(shape))}
	for _, d := range shape {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, values...)
}

func TestReadIDX(t *testing.T) {
	file := idx([]byte{0, 1, 2, 253, 254, 255}, 2, 1, 3)
	for _, content := range [][]byte{file, zipped(file)} {
		a, err := ReadIDX("f", bytes.NewReader(content))
		if err != nil || !slices.Equal(a.Shape, []int{2, 1, 3}) || !slices.Equal(a.Data, []float32{0, 1, 2, 253, 254, 255}) {
			t.Errorf("got %+v, %v", a, err)
		}
	}
}

func TestReadIDXErrors(t *testing.T) {
	good := idx([]byte{1, 2, 3, 4}, 2, 2)
	damaged := zipped(good)
	damaged[len(damaged)-5] ^= 1 // in the checksum
	for _, test := range []struct {
		content []byte
		words   []string
	}{
		{nil, []string{"magic", "want 4 bytes", "got 0"}},
		{good[:3], []string{"magic", "want 4 bytes", "got 3"}},
		{append([]byte{1}, good[1:]...), []string{"magic", "00 00 08", "01 00 08 02"}},
		{[]byte{0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0}, []string{"magic", "00 00 0d 01"}},
		{[]byte{0, 0, 8, 0, 1}, []string{"magic", "rank of at least 1"}},
		{good[:9], []string{"dimensions", "want 8 bytes", "got 5"}},
		{idx(nil, 3, 0), []string{"at least 1", "[3 0]"}},
		{good[:len(good)-1], []string{"truncated", "want 4 bytes", "got 3"}},
		{append(slices.Clip(good), 0), []string{"trailing", "want 4 bytes"}},
		{idx(nil, 1<<28+1), []string{"at most 268435456 values", "268435457"}},
		{idx(nil, 1<<31, 1<<31, 1<<31, 1<<31), []string{"at most 268435456 values"}},
		{idx(nil, 1<<32-1, 1<<32-1), []string{"at most 268435456 values"}},
		{zipped(good)[:20], []string{"gzip", "EOF"}},
		{zipped(good)[:len(zipped(good))-6], []string{"unexpected EOF"}},
		{damaged, []string{"checksum"}},
	} {
		_, err := ReadIDX("train-x", bytes.NewReader(test.content))
		if err == nil {
			t.Fatalf("want an error with %q", test.words)
		}
		if slices.Contains(test.words, "gzip") && !bytes.Contains([]byte(err.Error()), []byte("gzip")) {
			test.words = test.words[1:]
		}
		wantError(t, err, append(test.words, "train-x")...)
	}
}

// A header that promises the largest size and a compressed file that unpacks to much more than its header says must
// not make the reader allocate much.
func TestReadIDXMemory(t *testing.T) {
	bomb := idx(nil, 1, 1)
	bomb = zipped(append(bomb, make([]byte, 64<<20)...))
	for _, content := range [][]byte{idx([]byte{1, 2}, 1<<28), idx([]byte{1, 2}, 1<<14, 1<<14), bomb} {
		var err error
		n := allocated(func() { _, err = ReadIDX("f", bytes.NewReader(content)) })
		wantError(t, err, "f: tr") // truncated or trailing
		if n > 1<<20 {
			t.Errorf("want an error within 1 MiB of memory, got %d bytes for %v", n, err)
		}
	}
}

func FuzzIDX(f *testing.F) {
	f.Add(idx([]byte{1, 2, 3, 4}, 2, 2))
	f.Add(idx([]byte{9}, 1))
	f.Add(idx([]byte{9}, 1<<28, 16))
	f.Add(zipped(idx([]byte{1, 2, 3}, 1, 3, 1)))
	f.Add([]byte{0, 0, 8, 255})
	f.Fuzz(func(t *testing.T, content []byte) {
		a, err := ReadIDX("fuzz", bytes.NewReader(content))
		if err != nil {
			return
		}
		// What was accepted must be exactly what the values and the shape encode.
		values := make([]byte, len(a.Data))
		for i, v := range a.Data {
			values[i] = byte(v)
		}
		shape := make([]uint32, len(a.Shape))
		for i, d := range a.Shape {
			shape[i] = uint32(d)
		}
		b, err := plain("fuzz", bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if want := must(io.ReadAll(b)); !bytes.Equal(idx(values, shape...), want) {
			t.Errorf("%v of shape %v does not encode to % x", a.Data, a.Shape, want)
		}
	})
}
