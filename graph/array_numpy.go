package graph

import (
	"archive/zip"
	endian "encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"
)

// NumPy's files (NumPy Enhancement Proposal 1 and its successors in the documentation of numpy.lib.format): a magic, a
// version, the length of the header, the header, which is a Python dictionary padded with spaces, and the elements.

// ReadNPY reads a NumPy .npy file, of version 1, 2 or 3, to its end: booleans and integers become Int, float16 and
// float32 become Float32, float64 stays. Either byte order and either memory order will do. Memory stays in proportion
// to the bytes that arrive, whatever the header claims.
func ReadNPY(r io.Reader) (*Array, error) {
	h, err := readNPYHeader(r, math.MaxInt/16)
	if err != nil {
		return nil, err
	}
	switch {
	case h.kind == "f2" || h.kind == "f4":
		return npyValues[float32](h, r)
	case h.kind == "f8":
		return npyValues[float64](h, r)
	}
	a, err := npyValues[int](h, r)
	if err == nil && h.kind == "u8" && slices.ContainsFunc(a.Ints(), func(v int) bool { return v < 0 }) {
		return nil, fail("npy", "values", "at most 2^63 - 1", "larger ones")
	}
	return a, err
}

// ReadNPYAs is ReadNPY with the elements converted to T, as Go converts numbers, and at most most of them.
func ReadNPYAs[T float32 | float64 | int](r io.Reader, most int) (*Array, error) {
	h, err := readNPYHeader(r, most)
	if err != nil {
		return nil, err
	}
	return npyValues[T](h, r)
}

// ReadNPZ reads a NumPy .npz archive of size bytes, compressed or not: its arrays by name, without the ending ".npy".
func ReadNPZ(r io.ReaderAt, size int64) (map[string]*Array, error) {
	return readNPZ(r, size, func(r io.Reader) (*Array, error) { return ReadNPY(r) })
}

// ReadNPZAs is ReadNPZ with the elements converted to T, and at most most of them in all arrays together.
func ReadNPZAs[T float32 | float64 | int](r io.ReaderAt, size int64, most int) (map[string]*Array, error) {
	return readNPZ(r, size, func(r io.Reader) (*Array, error) {
		a, err := ReadNPYAs[T](r, most)
		if err == nil {
			most -= a.Size()
		}
		return a, err
	})
}

func readNPZ(r io.ReaderAt, size int64, read func(io.Reader) (*Array, error)) (map[string]*Array, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, errors.Wrap(err, "npz")
	}
	arrays := make(map[string]*Array)
	for _, file := range archive.File {
		key, ok := strings.CutSuffix(file.Name, ".npy")
		if _, twice := arrays[key]; !ok || twice {
			return nil, fail("npz", "member", "different names that end in .npy", "["+brief(file.Name)+"]")
		}
		f, err := file.Open()
		if err != nil {
			return nil, errors.Wrapf(err, "npz: [%s]", brief(file.Name))
		}
		arrays[key], err = read(f)
		f.Close()
		if err != nil {
			return nil, errors.Wrapf(err, "npz: [%s]", brief(file.Name))
		}
	}
	return arrays, nil
}

// WriteNPY writes the array as a NumPy .npy file: float32, float64 or int64, little-endian and row-major.
func (a *Array) WriteNPY(w io.Writer) error {
	shape := ""
	for _, d := range a.Shape {
		shape += strconv.Itoa(d) + ", "
	}
	if len(a.Shape) > 1 {
		shape = strings.TrimSuffix(shape, ", ")
	}
	descr := map[DType]string{Float32: "<f4", Float64: "<f8", Int: "<i8"}[a.DType]
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, strings.TrimSuffix(shape, " "))
	const before = 10 // bytes of magic, version and length
	header += strings.Repeat(" ", 63-(before+len(header))%64) + "\n"
	b := endian.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(header)))
	if _, err := w.Write(append(b, header...)); err != nil {
		return errors.Wrap(err, "npy")
	}
	return errors.Wrap(writeNumbers(w, []*Param{{Name: "npy", Value: a}}), "npy")
}

// WriteNPZ writes arrays as a NumPy .npz archive, uncompressed, in the order of their names: numpy.load(path)[name].
func WriteNPZ(w io.Writer, arrays map[string]*Array) error {
	archive := zip.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(arrays)) {
		f, err := archive.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store})
		if err == nil {
			err = arrays[name].WriteNPY(f)
		}
		if err != nil {
			return errors.Wrapf(err, "npz: %s", name)
		}
	}
	return errors.Wrap(archive.Close(), "npz")
}

// npyHeaderForm is the dictionary that NumPy writes.
var npyHeaderForm = regexp.MustCompile(`^\{'descr': '([<>|])([a-zA-Z]\d{1,3})', 'fortran_order': (True|False), 'shape': \((\d+,|\d+(?:, \d+)+)?\), \} *\n$`)

// npyHeaderLimit is the largest header in bytes; NumPy's own are 118 unless there are very many axes.
const npyHeaderLimit = 1 << 12

type npyHeader struct {
	order   endian.ByteOrder
	kind    string // as in "f4"
	fortran bool   // the first index runs fastest
	shape   []int
	count   int
}

// readNPYHeader reads everything before the elements.
func readNPYHeader(r io.Reader, most int) (h npyHeader, err error) {
	read := func(what string, n int) []byte {
		b := make([]byte, n)
		if err == nil {
			var got int
			if got, err = io.ReadFull(r, b); err == io.EOF || err == io.ErrUnexpectedEOF {
				err = fail("npy", what, fmt.Sprintf("%d bytes", n), got)
			}
		}
		return b
	}
	magic := read("magic", 8)
	if err != nil {
		return h, err
	}
	version := magic[6]
	if string(magic[:6]) != "\x93NUMPY" || version < 1 || version > 3 {
		return h, fail("npy", "magic", `"\x93NUMPY" and version 1, 2 or 3`, strconv.Quote(string(magic)))
	}
	length := 0
	if version == 1 {
		length = int(endian.LittleEndian.Uint16(read("header length", 2)))
	} else {
		length = int(endian.LittleEndian.Uint32(read("header length", 4)))
	}
	if err == nil && length > npyHeaderLimit {
		return h, fail("npy", "header", fmt.Sprintf("at most %d bytes", npyHeaderLimit), length)
	}
	text := string(read("header", length))
	if err != nil {
		return h, err
	}
	parts := npyHeaderForm.FindStringSubmatch(text)
	if parts == nil {
		return h, fail("npy", "header", "{'descr': ..., 'fortran_order': ..., 'shape': ..., } of a plain type", fmt.Sprintf("%.200q", text))
	}
	h = npyHeader{order: endian.LittleEndian, kind: parts[2], fortran: parts[3] == "True", count: 1}
	if parts[1] == ">" {
		h.order = endian.BigEndian
	}
	for _, d := range strings.FieldsFunc(parts[4], func(c rune) bool { return c == ',' || c == ' ' }) {
		size, err := strconv.Atoi(d)
		if err != nil {
			return h, fail("npy", "shape", "sizes of 63 bits", d+", out of range")
		}
		h.shape = append(h.shape, size)
	}
	for _, d := range h.shape {
		if d > 0 && h.count > most/d {
			return h, fail("npy", "shape", fmt.Sprintf("at most %d values", most), fmt.Sprint(h.shape))
		}
		h.count *= d
	}
	if h.count > most {
		return h, fail("npy", "shape", fmt.Sprintf("at most %d values", most), fmt.Sprint(h.shape))
	}
	if npyKinds[h.kind] == 0 {
		return h, fail("npy", "type", "booleans, integers, float16, float32 or float64", strconv.Quote(parts[1]+parts[2]))
	}
	return h, nil
}

// npyKinds are the bytes of an element.
var npyKinds = map[string]int{
	"b1": 1, "i1": 1, "i2": 2, "i4": 4, "i8": 8, "u1": 1, "u2": 2, "u4": 4, "u8": 8, "f2": 2, "f4": 4, "f8": 8,
}

// npyValues reads the elements and the end of the file.
func npyValues[T float32 | float64 | int](h npyHeader, r io.Reader) (*Array, error) {
	size := npyKinds[h.kind]
	buffer := make([]byte, min(h.count*size, 1<<15))
	values := make([]T, 0, min(h.count, 1<<15))
	for len(values) < h.count {
		b := buffer[:min(len(buffer), (h.count-len(values))*size)]
		if n, err := io.ReadFull(r, b); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, fail("npy", "values", fmt.Sprintf("%d bytes", h.count*size), fmt.Sprintf("%d, truncated", len(values)*size+n))
		} else if err != nil {
			return nil, errors.Wrapf(err, "npy: after %d of %d values", len(values), h.count)
		}
		values = appendNPY(values, h, b)
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return nil, fail("npy", "values", fmt.Sprintf("%d bytes", h.count*size), "trailing bytes as well")
	} else if err != io.EOF {
		return nil, errors.Wrap(err, "npy: after the values")
	}
	if h.fortran {
		values = rowMajor(h.shape, values)
	}
	return ArrayOf(values, h.shape...), nil
}

func appendNPY[T float32 | float64 | int](values []T, h npyHeader, b []byte) []T {
	switch h.kind {
	case "b1":
		for _, v := range b {
			values = append(values, T(min(v, 1)))
		}
		return values
	case "i1":
		return appendAs[int8](values, h, b)
	case "i2":
		return appendAs[int16](values, h, b)
	case "i4":
		return appendAs[int32](values, h, b)
	case "i8":
		return appendAs[int64](values, h, b)
	case "u1":
		return appendAs[uint8](values, h, b)
	case "u2":
		return appendAs[uint16](values, h, b)
	case "u4":
		return appendAs[uint32](values, h, b)
	case "u8":
		return appendAs[uint64](values, h, b)
	case "f2":
		for ; len(b) > 0; b = b[2:] {
			values = append(values, T(halfFloat(h.order.Uint16(b))))
		}
		return values
	case "f4":
		return appendAs[float32](values, h, b)
	}
	return appendAs[float64](values, h, b)
}

func appendAs[S int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64, T float32 | float64 | int](values []T, h npyHeader, b []byte) []T {
	from := make([]S, len(b)/npyKinds[h.kind])
	endian.Decode(b, h.order, from) // cannot fail: b holds them all
	for _, v := range from {
		values = append(values, T(v))
	}
	return values
}

// halfFloat is the value of an IEEE 754 binary16.
func halfFloat(b uint16) float64 {
	exponent, fraction := int(b>>10&31), float64(b&1023)
	v := 0.0
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -24)
	case 31:
		if v = math.Inf(1); fraction > 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(1024+fraction, exponent-25)
	}
	if b>>15 == 1 {
		return -v
	}
	return v
}

// rowMajor reorders elements whose first index runs fastest so that the last one does.
func rowMajor[T any](shape []int, values []T) []T {
	out := make([]T, len(values))
	index := make([]int, len(shape))
	for i := range out {
		from := 0
		for axis := len(shape) - 1; axis >= 0; axis-- {
			from = from*shape[axis] + index[axis]
		}
		out[i] = values[from]
		for axis := len(shape) - 1; axis >= 0; axis-- {
			if index[axis]++; index[axis] < shape[axis] {
				break
			}
			index[axis] = 0
		}
	}
	return out
}
