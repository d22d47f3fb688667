package data

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"
)

// maxRecord is the largest number of bytes of one line of a CSV file, give or take a buffer.
const maxRecord = 1 << 20

// CSV says how a table of numbers is read: one example a line, one column the label, all others features. The zero
// value reads comma-separated lines without a header whose last column is the class.
type CSV struct {
	Comma  rune   // between columns; 0 is ','
	Header bool   // the first line holds the columns' names
	Label  string // the label's column: its name in the header, or its number, from 1; empty is the last
	// ClassNames are the classes that labels name, or number from 0. Without them, labels that are all numbers from 0
	// are themselves the classes; else the classes are the different labels in alphabetical order. To read a test set
	// like the training set, pass the latter's ClassNames.
	ClassNames []string
	Regression bool // the label is a real target
}

// Read reads a table. A line with another number of columns, a feature that is no finite float32 and a label that
// is no class are errors that name the line and the column.
func (c CSV) Read(name string, r io.Reader) (*Set, error) {
	b, err := plain(name, r)
	if err != nil {
		return nil, err
	}
	if bom, _ := b.Peek(3); string(bom) == "\ufeff" {
		b.Discard(3)
	}
	t := table{CSV: c, name: name, lines: &lineReader{r: b}, classes: map[string]int{}}
	t.csv = csv.NewReader(t.lines)
	t.csv.FieldsPerRecord, t.csv.ReuseRecord, t.csv.TrimLeadingSpace = -1, true, true
	if c.Comma != 0 {
		t.csv.Comma = c.Comma
	}
	for i, class := range c.ClassNames {
		t.classes[class] = i
	}
	if err := t.read(); err != nil {
		return nil, err
	}
	return t.set()
}

// table is a table while it is read.
type table struct {
	CSV
	name   string
	lines  *lineReader
	csv    *csv.Reader
	header []string
	width  int // number of columns, 0 before the first line
	label  int // index of the label's column

	x, y    []float32
	labels  []int          // index into names, or into ClassNames if there are any
	names   []string       // the labels in the order of their first appearance
	classes map[string]int // their indices
}

func (t *table) read() error {
	for {
		record, err := t.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if t.width == 0 {
			if err := t.start(record); err != nil {
				return err
			}
			if t.Header {
				continue
			}
		}
		if len(record) != t.width {
			return errors.Errorf("data: %s: line %d: want %d columns, got %d", t.name, t.line(0), t.width, len(record))
		}
		if len(t.x) > MaxValues-t.width {
			return errors.Errorf("data: %s: line %d: want at most %d values, got more", t.name, t.line(0), MaxValues)
		}
		for k, field := range record {
			if err := t.field(k, field); err != nil {
				return err
			}
		}
	}
}

// next is the next line's columns.
func (t *table) next() ([]string, error) {
	t.lines.left = maxRecord
	record, err := t.csv.Read()
	if err != nil && err != io.EOF {
		return nil, errors.Wrapf(err, "data: %s: after byte %d", t.name, t.csv.InputOffset())
	}
	return record, err
}

// start learns the columns from the first line.
func (t *table) start(record []string) error {
	t.width, t.label = len(record), len(record)-1
	if t.width < 2 {
		return errors.Errorf("data: %s: line %d: want at least 2 columns, got %d", t.name, t.line(0), t.width)
	}
	if t.Header {
		t.header = slices.Clone(record)
	}
	if t.Label == "" {
		return nil
	}
	if t.label = slices.Index(t.header, t.Label); t.label >= 0 {
		return nil
	}
	k, err := strconv.Atoi(t.Label)
	if err != nil || k < 1 || k > t.width {
		return errors.Errorf("data: %s: label column: want 1..%d or a name in the header %.40q, got %q", t.name, t.width, t.header, t.Label)
	}
	t.label = k - 1
	return nil
}

func (t *table) field(k int, field string) error {
	if k == t.label && !t.Regression {
		return t.class(k, strings.TrimSpace(field))
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(field), 32)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return t.errorf(k, "want a finite float32, got %.40q", field)
	}
	if k == t.label {
		t.y = append(t.y, float32(v))
	} else {
		t.x = append(t.x, float32(v))
	}
	return nil
}

// lineEnds makes every line end in a label a line feed, as the reader does with most.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func (t *table) class(k int, label string) error {
	label = lineEnds.Replace(label) // so that a label is the same after it has been written and read again
	i, known := t.classes[label]
	if n := len(t.ClassNames); !known && n > 0 {
		if i = numeral(label); i < 0 || i >= n {
			return t.errorf(k, "want a class 0..%d or its name, got %.40q", n-1, label)
		}
		known = true
	}
	if !known {
		if label == "" {
			return t.errorf(k, "want a class, got nothing")
		}
		if len(t.names) == MaxClasses {
			return t.errorf(k, "want at most %d classes, got more", MaxClasses)
		}
		label = strings.Clone(label) // or the map would keep the whole line
		i = len(t.names)
		t.names = append(t.names, label)
		t.classes[label] = i
	}
	t.labels = append(t.labels, i)
	return nil
}

func (t *table) set() (*Set, error) {
	if len(t.x) == 0 {
		return nil, errors.Errorf("data: %s: want at least one line of values, got none", t.name)
	}
	s := &Set{Name: t.name, Shape: []int{t.width - 1}, X: t.x}
	if t.Regression {
		s.Y, s.YShape = t.y, []int{1}
		return checked(s)
	}
	s.Labels, s.ClassNames = t.labels, t.ClassNames
	if len(t.ClassNames) == 0 {
		s.ClassNames = classNames(t.names)
		index := make([]int, len(t.names))
		for i, class := range s.ClassNames {
			if k, ok := t.classes[class]; ok {
				index[k] = i
			}
		}
		for i, k := range s.Labels {
			s.Labels[i] = index[k]
		}
	}
	return checked(s)
}

// classNames is the classes of these different labels: if all are numerals, 0 to the largest, else themselves, sorted.
func classNames(labels []string) []string {
	largest := 0
	for _, label := range labels {
		n := numeral(label)
		if n < 0 {
			return slices.Sorted(slices.Values(labels))
		}
		largest = max(largest, n)
	}
	return numerals(largest + 1)
}

// numeral is the number below MaxClasses that s writes in the shortest way, else -1.
func numeral(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n >= MaxClasses || strconv.Itoa(n) != s {
		return -1
	}
	return n
}

func (t *table) line(k int) int {
	line, _ := t.csv.FieldPos(k)
	return line
}

func (t *table) errorf(k int, format string, args ...any) error {
	column := strconv.Itoa(k + 1)
	if t.header != nil {
		column += fmt.Sprintf(" (%.40s)", t.header[k])
	}
	return errors.Errorf("data: %s: line %d, column %s: "+format, append([]any{t.name, t.line(k), column}, args...)...)
}

// lineReader hands out at most left bytes until it is set anew, so that no line can fill the memory.
type lineReader struct {
	r    io.Reader
	left int
}

func (l *lineReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.Errorf("want lines of at most %d bytes, got a longer one", maxRecord)
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}
