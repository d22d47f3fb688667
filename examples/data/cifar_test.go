package data

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// cifarRecord is a record with these label bytes and pixels that count up from first.
func cifarRecord(first byte, labels ...byte) []byte {
	for i := range cifarPixels {
		labels = append(labels, first+byte(i))
	}
	return labels
}

func TestReadCIFAR(t *testing.T) {
	check := func(s *Set, err error, labels []int, classes int) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.Shape, []int{3, 32, 32}) || !slices.Equal(s.Labels, labels) || s.Classes() != classes {
			t.Errorf("want shape [3 32 32], labels %v of %d, got %v, %v of %d", labels, classes, s.Shape, s.Labels, s.Classes())
		}
		for i, v := range s.X {
			first := []int{7, 100}[i/cifarPixels]
			if want := float32((first+i%cifarPixels)%256) / 255; v != want {
				t.Fatalf("value %d: want %v, got %v", i, want, v)
			}
		}
	}
	ten := slices.Concat(cifarRecord(7, 9), cifarRecord(100, 0))
	s, err := ReadCIFAR10("f", bytes.NewReader(ten))
	check(s, err, []int{9, 0}, 10)
	s, err = ReadCIFAR10("f", bytes.NewReader(zipped(ten)))
	check(s, err, []int{9, 0}, 10)
	s, err = ReadCIFAR100("f", bytes.NewReader(slices.Concat(cifarRecord(7, 19, 99), cifarRecord(100, 3, 0))))
	check(s, err, []int{99, 0}, 100)
	if !slices.IsSorted(cifar10.names) || !slices.IsSorted(cifar100.names) || len(slices.Compact(slices.Clone(cifar100.names))) != 100 {
		t.Error("want 10 and 100 class names in alphabetical order")
	}
}

func TestReadCIFARErrors(t *testing.T) {
	for _, test := range []struct {
		read    func(string, io.Reader) (*Set, error)
		content []byte
		words   []string
	}{
		{ReadCIFAR10, nil, []string{"3073 bytes", "got 0"}},
		{ReadCIFAR10, cifarRecord(0, 1)[:3000], []string{"3073 bytes", "got 3000"}},
		{ReadCIFAR10, append(cifarRecord(0, 1), 5), []string{"3073 bytes", "got 3074 bytes (1 over)"}},
		{ReadCIFAR10, slices.Concat(cifarRecord(0, 1), cifarRecord(0, 10)), []string{"record 1", "0..9", "got 10"}},
		{ReadCIFAR100, cifarRecord(0, 20, 99), []string{"record 0, label byte 0", "0..19", "got 20"}},
		{ReadCIFAR100, cifarRecord(0, 19, 100), []string{"record 0, label byte 1", "0..99", "got 100"}},
		{ReadCIFAR100, cifarRecord(0, 1), []string{"3074 bytes", "got 3073"}},
		{ReadCIFAR10, zipped(cifarRecord(0, 1))[:100], []string{"unexpected EOF"}},
	} {
		_, err := test.read("batch", bytes.NewReader(test.content))
		wantError(t, err, append(test.words, "batch")...)
	}
}

func FuzzCIFAR(f *testing.F) {
	f.Add(false, cifarRecord(0, 9))
	f.Add(true, cifarRecord(0, 19, 99))
	f.Add(true, zipped(slices.Concat(cifarRecord(0, 19, 99), cifarRecord(1, 0, 0))))
	f.Add(false, cifarRecord(0, 10))
	f.Fuzz(func(t *testing.T, hundred bool, content []byte) {
		read, labels := ReadCIFAR10, 1
		if hundred {
			read, labels = ReadCIFAR100, 2
		}
		s, err := read("fuzz", bytes.NewReader(content))
		if err != nil {
			return
		}
		b, err := plain("fuzz", bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		raw := must(io.ReadAll(b))
		if len(raw) != s.Len()*(labels+cifarPixels) {
			t.Fatalf("%d bytes gave %d examples", len(raw), s.Len())
		}
		for i, label := range s.Labels {
			record := raw[i*(labels+cifarPixels):]
			if label != int(record[labels-1]) || label >= s.Classes() {
				t.Fatalf("example %d: label %d from % x", i, label, record[:labels])
			}
			for j, v := range s.X[i*cifarPixels : (i+1)*cifarPixels] {
				if byte(v*255+0.5) != record[labels+j] {
					t.Fatalf("example %d, pixel %d: %v from %d", i, j, v, record[labels+j])
				}
			}
		}
	})
}
