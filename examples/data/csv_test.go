package data

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestReadCSV(t *testing.T) {
	for _, test := range []struct {
		name    string
		csv     CSV
		content string
		x       []float32
		labels  []int
		classes []string
		y       []float32
	}{
		{"numerals", CSV{}, "1,-2.5,0\n3e2,.5,2\n", []float32{1, -2.5, 300, .5}, []int{0, 2}, []string{"0", "1", "2"}, nil},
		{"names in alphabetical order", CSV{}, "1,pear\n2,apple\n3,pear", []float32{1, 2, 3}, []int{1, 0, 1}, []string{"apple", "pear"}, nil},
		{"numerals among names", CSV{}, "1,10\n2,9\n3,x\n4,9", []float32{1, 2, 3, 4}, []int{0, 1, 2, 1}, []string{"10", "9", "x"}, nil},
		{"not in the shortest way", CSV{}, "1,01\n2,1\n", []float32{1, 2}, []int{0, 1}, []string{"01", "1"}, nil},
		{"given classes, by name and number", CSV{ClassNames: []string{"b", "a"}}, "1,a\n2,b\n3,1\n", []float32{1, 2, 3}, []int{1, 0, 1}, []string{"b", "a"}, nil},
		{"header and named label", CSV{Header: true, Label: "kind"}, "kind,a,b\n1,2,3\n0,5,6\n", []float32{2, 3, 5, 6}, []int{1, 0}, []string{"0", "1"}, nil},
		{"numbered label", CSV{Label: "2"}, "7,1,8\n9,0,10\n", []float32{7, 8, 9, 10}, []int{1, 0}, []string{"0", "1"}, nil},
		{"regression", CSV{Label: "1", Regression: true}, "-1.5,1\n2,2\n", []float32{1, 2}, nil, nil, []float32{-1.5, 2}},
		{"spaces, CRLF, quotes, blank lines, byte-order mark", CSV{Comma: ';'}, "\ufeff\"1\"; 2 ;\"a;b\"\r\n\r\n3;4; c \r\n", []float32{1, 2, 3, 4}, []int{0, 1}, []string{"a;b", "c"}, nil},
		{"byte-order mark and header", CSV{Header: true, Label: "y"}, "\ufeffy,x\n0,1\n", []float32{1}, []int{0}, []string{"0"}, nil},
	} {
		for _, content := range [][]byte{[]byte(test.content), zipped([]byte(test.content))} {
			s, err := test.csv.Read(test.name, bytes.NewReader(content))
			if err != nil {
				t.Error(err)
				continue
			}
			if !slices.Equal(s.X, test.x) || !slices.Equal(s.Labels, test.labels) || !slices.Equal(s.ClassNames, test.classes) || !slices.Equal(s.Y, test.y) {
				t.Errorf("%s: want %v, %v, %q, %v, got %v, %v, %q, %v", test.name, test.x, test.labels, test.classes, test.y, s.X, s.Labels, s.ClassNames, s.Y)
			}
		}
	}
}

func TestReadCSVErrors(t *testing.T) {
	many := new(strings.Builder)
	for i := range MaxClasses + 1 {
		fmt.Fprintf(many, "1,c%d\n", i)
	}
	for _, test := range []struct {
		csv     CSV
		content string
		words   []string
	}{
		{CSV{}, "", []string{"at least one line", "none"}},
		{CSV{Header: true}, "a,b\n", []string{"at least one line", "none"}},
		{CSV{}, "5\n", []string{"line 1", "at least 2 columns", "got 1"}},
		{CSV{}, "1,2,0\n1,2,0\n\n1,0\n", []string{"line 4", "want 3 columns", "got 2"}},
		{CSV{}, "1,2,0\n1,2,0,4\n", []string{"line 2", "want 3 columns", "got 4"}},
		{CSV{}, "a,b,c\n1,2,0\n", []string{"line 1, column 1", "finite", `"a"`}},
		{CSV{Header: true}, "a,b,c\n1,2,0\n1,?,0\n", []string{"line 3, column 2 (b)", "finite", `"?"`}},
		{CSV{}, "1,,0\n", []string{"line 1, column 2", "finite", `""`}},
		{CSV{}, "1,NaN,0\n", []string{"line 1, column 2", "finite", "NaN"}},
		{CSV{}, "1,2,0\n-inf,1,0\n", []string{"line 2, column 1", "finite", "-inf"}},
		{CSV{}, "1,1e39,0\n", []string{"line 1, column 2", "finite float32", "1e39"}},
		{CSV{}, "1,2,\n", []string{"line 1, column 3", "want a class", "nothing"}},
		{CSV{ClassNames: []string{"a", "b"}}, "1,a\n1,2\n", []string{"line 2, column 2", "0..1", `"2"`}},
		{CSV{ClassNames: []string{"a", "b"}}, "1,-1\n", []string{"line 1, column 2", "0..1", `"-1"`}},
		{CSV{Regression: true}, "1,NaN\n", []string{"line 1, column 2", "finite", "NaN"}},
		{CSV{Label: "x"}, "1,2\n", []string{"label column", "1..2", `"x"`}},
		{CSV{Label: "3"}, "1,2\n", []string{"label column", "1..2", `"3"`}},
		{CSV{Label: "0"}, "1,2\n", []string{"label column", "1..2", `"0"`}},
		{CSV{Header: true, Label: "z"}, "a,b\n1,2\n", []string{"label column", "1..2", `"a"`, `"z"`}},
		{CSV{}, "1,\"2\n", []string{"line 1", "quote"}},
		{CSV{Comma: '\n'}, "1,2\n", []string{"delimiter"}},
		{CSV{}, many.String(), []string{"line 65537, column 2", "at most 65536 classes"}},
		{CSV{}, string(zipped([]byte("1,2,0\n1,2,0\n"))[:25]), []string{"unexpected EOF"}},
	} {
		_, err := test.csv.Read("table.csv", strings.NewReader(test.content))
		wantError(t, err, append(test.words, "table.csv")...)
	}
}

// A line without an end, a field without a closing quote and blank lines without end must be given up early.
func TestReadCSVMemory(t *testing.T) {
	for _, pattern := range []string{"1", "1,", "\"1\n", "\n"} {
		bomb := zipped(bytes.Repeat([]byte(pattern), 32<<20/len(pattern)))
		if pattern == "\"1\n" {
			bomb = zipped(append([]byte{'"'}, bytes.Repeat([]byte("1\n"), 16<<20)...))
		}
		var err error
		n := allocated(func() { _, err = CSV{}.Read("f", bytes.NewReader(bomb)) })
		wantError(t, err, "lines of at most 1048576 bytes")
		if n > 128<<20 {
			t.Errorf("%q: want an error within 128 MiB of memory, got %d bytes", pattern, n)
		}
	}
}

func FuzzCSV(f *testing.F) {
	f.Add(false, false, "", "1,2,0\n3,4,1\n")
	f.Add(true, false, "b", "a,b\n1,x\n2,y\n")
	f.Add(true, true, "1", "a;b\r\n1.5;2\n")
	f.Add(false, true, "", "\ufeff1e-3,0x1p4\n\n 5 ,\"6\"\n")
	f.Add(false, false, "", "1,\"a,b\"\n2,\"c\"\"d\"\n")
	f.Add(false, false, "", "1,nan\n")
	f.Fuzz(func(t *testing.T, header, regression bool, label, content string) {
		s, err := CSV{Header: header, Regression: regression, Label: label}.Read("fuzz", strings.NewReader(content))
		if err != nil {
			return
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		// Written out plainly, with the label last, the set must read the same.
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		for i := range s.Len() {
			var record []string
			for _, v := range s.X[i*s.Shape[0] : (i+1)*s.Shape[0]] {
				record = append(record, strconv.FormatFloat(float64(v), 'g', -1, 32))
			}
			if regression {
				record = append(record, strconv.FormatFloat(float64(s.Y[i]), 'g', -1, 32))
			} else {
				record = append(record, s.ClassNames[s.Labels[i]])
			}
			must(0, w.Write(record))
		}
		w.Flush()
		again, err := CSV{Regression: regression}.Read("again", &out)
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }
		if !slices.EqualFunc(s.X, again.X, same) || !slices.EqualFunc(s.Y, again.Y, same) ||
			!slices.Equal(s.Labels, again.Labels) || !slices.Equal(s.ClassNames, again.ClassNames) {
			t.Errorf("%+v came back as %+v", s, again)
		}
	})
}
