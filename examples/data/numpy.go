package data

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"regexp"
	"strings"

	"github.com/pkg/errors"
	"github.com/sbinet/npyio/npy"
)

// ReadNPY reads a NumPy .npy file (format versions 1 and 2) of booleans, integers or real numbers of any byte order and
// memory order. Values become float32: an integer beyond 2^24 is rounded, a number beyond float32 becomes an infinity.
func ReadNPY(name string, r io.Reader) (Array, error) {
	b, err := plain(name, r)
	if err != nil {
		return Array{}, err
	}
	return readNPY(name, b, MaxValues)
}

// ReadNPZ reads a NumPy .npz archive, compressed or not: its arrays by name, without the ending ".npy". All of them
// together hold at most MaxValues values.
func ReadNPZ(name string, r io.Reader) (map[string]Array, error) { return readNPZ(name, r, MaxValues) }

func readNPZ(name string, r io.Reader, limit int) (map[string]Array, error) {
	raw, err := io.ReadAll(io.LimitReader(r, 8*MaxValues+1))
	if err != nil {
		return nil, errors.Wrapf(err, "data: %s: after %d bytes", name, len(raw))
	}
	if len(raw) > 8*MaxValues {
		return nil, errors.Errorf("data: %s: want an archive of at most %d bytes, got more", name, 8*MaxValues)
	}
	archive, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, errors.Wrapf(err, "data: %s", name)
	}
	arrays := make(map[string]Array)
	for _, file := range archive.File {
		member := name + "[" + file.Name + "]"
		key, ok := strings.CutSuffix(file.Name, ".npy")
		if _, twice := arrays[key]; !ok || twice {
			return nil, errors.Errorf("data: %s: want members with different names that end in .npy", member)
		}
		f, err := file.Open()
		if err != nil {
			return nil, errors.Wrapf(err, "data: %s", member)
		}
		a, err := readNPY(member, f, limit)
		f.Close()
		if err != nil {
			return nil, err
		}
		arrays[key] = a
		limit -= len(a.Data)
	}
	return arrays, nil
}

// npyHeader is the dictionary that NumPy writes. npyio takes it apart, but only after this has found it sound,
// because it indexes into a malformed one without looking.
var npyHeader = regexp.MustCompile(`^\{'descr': '[<>|=]?[a-zA-Z]\d{1,3}', 'fortran_order': (True|False), 'shape': \((\d+,|\d+(, \d+)+)?\), \} *\n$`)

// maxNPYHeader is the largest header in bytes; NumPy's own are 118 unless there are very many dimensions.
const maxNPYHeader = 1 << 12

func readNPY(name string, r io.Reader, limit int) (Array, error) {
	header, err := readNPYHeader(name, r)
	if err != nil {
		return Array{}, err
	}
	h, err := npy.NewReader(bytes.NewReader(header))
	if err != nil {
		return Array{}, errors.Wrapf(err, "data: %s", name)
	}
	shape, dtype := h.Header.Descr.Shape, h.Header.Descr.Type
	n := 1
	if len(shape) > 0 {
		if n, err = count(name, shape); err != nil {
			return Array{}, err
		}
	}
	if n > limit {
		return Array{}, errors.Errorf("data: %s: want at most %d values after the members before it, got shape %v", name, limit, shape)
	}
	kind, ok := npyTypes[strings.TrimLeft(dtype, "<>|=")]
	if !ok {
		return Array{}, errors.Errorf("data: %s: want booleans, integers, float32 or float64, got type %q", name, dtype)
	}
	raw, err := exactly(name, r, n*kind.size)
	if err != nil {
		return Array{}, err
	}
	body, err := npy.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(raw)))
	if err != nil {
		return Array{}, errors.Wrapf(err, "data: %s", name)
	}
	values := make([]float32, n)
	if err := kind.read(body, values); err != nil {
		return Array{}, errors.Wrapf(err, "data: %s: type %q", name, dtype)
	}
	if h.Header.Descr.Fortran {
		values = rowMajor(shape, values)
	}
	return Array{shape, values}, nil
}

// readNPYHeader reads everything before the values.
func readNPYHeader(name string, r io.Reader) ([]byte, error) {
	header := make([]byte, 8, 128)
	if n, err := io.ReadFull(r, header); err != nil {
		return nil, errors.Wrapf(err, "data: %s: NumPy magic: want 8 bytes, got %d", name, n)
	}
	if string(header[:6]) != "\x93NUMPY" || header[6] != 1 && header[6] != 2 {
		return nil, errors.Errorf("data: %s: NumPy magic: want \"\\x93NUMPY\" and version 1 or 2, got %q", name, header)
	}
	lengthSize := 2 * int(header[6])
	header = header[:8+lengthSize]
	if n, err := io.ReadFull(r, header[8:]); err != nil {
		return nil, errors.Wrapf(err, "data: %s: NumPy header's length: want %d bytes, got %d", name, lengthSize, n)
	}
	length := int64(binary.LittleEndian.Uint16(header[8:]))
	if lengthSize == 4 {
		length = int64(binary.LittleEndian.Uint32(header[8:]))
	}
	if length > maxNPYHeader {
		return nil, errors.Errorf("data: %s: NumPy header: want at most %d bytes, got %d", name, maxNPYHeader, length)
	}
	dictionary := make([]byte, length)
	if n, err := io.ReadFull(r, dictionary); err != nil {
		return nil, errors.Wrapf(err, "data: %s: NumPy header: want %d bytes, got %d", name, length, n)
	}
	if !npyHeader.Match(dictionary) {
		return nil, errors.Errorf("data: %s: NumPy header: want {'descr': ..., 'fortran_order': ..., 'shape': ..., } of a plain type, got %.200q", name, dictionary)
	}
	return append(header, dictionary...), nil
}

// npyType is how values of a NumPy type are read.
type npyType struct {
	size int
	read func(r *npy.Reader, dst []float32) error
}

var npyTypes = map[string]npyType{
	"b1": {1, readBools},
	"i1": {1, readNumbers[int8]}, "i2": {2, readNumbers[int16]}, "i4": {4, readNumbers[int32]}, "i8": {8, readNumbers[int64]},
	"u1": {1, readNumbers[uint8]}, "u2": {2, readNumbers[uint16]}, "u4": {4, readNumbers[uint32]}, "u8": {8, readNumbers[uint64]},
	"f4": {4, readNumbers[float32]}, "f8": {8, readNumbers[float64]},
}

func readNumbers[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64](r *npy.Reader, dst []float32) error {
	chunk := make([]T, min(4096, len(dst)))
	for len(dst) > 0 {
		chunk = chunk[:min(len(chunk), len(dst))]
		if err := r.Read(&chunk); err != nil {
			return err
		}
		for i, v := range chunk {
			dst[i] = float32(v)
		}
		dst = dst[len(chunk):]
	}
	return nil
}

func readBools(r *npy.Reader, dst []float32) error {
	bools := make([]bool, len(dst))
	if err := r.Read(&bools); err != nil {
		return err
	}
	for i, v := range bools {
		if v {
			dst[i] = 1
		}
	}
	return nil
}

// rowMajor reorders values whose first index runs fastest so that the last one does.
func rowMajor(shape []int, values []float32) []float32 {
	out := make([]float32, len(values))
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
