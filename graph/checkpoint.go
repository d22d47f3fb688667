package graph

import (
	"cmp"
	endian "encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/pkg/errors"
)

// Checkpoints. A file is in the safetensors format, as PyTorch, JAX and others read and write it: the length of the
// header in 8 bytes, the header, the numbers. All is little-endian and row-major. The header is a JSON object padded
// with spaces; it holds for each tensor its type, shape and place among the numbers, and "__metadata__", strings by
// name. Here the header names the tensors in the order of the stores, and among the numbers those of 8 bytes come
// first, so that each tensor is aligned. The metadata entry "harpe.state" lists the names of the states; without it, as
// in files of other programs, a store's own flags stand. The entry "harpe.crc32c" is the CRC-32C of all numbers; without
// it they are not checked.
//
// A reader takes nothing of a file on trust: the stores say what must be there, and their values change only after the
// last byte has been read and found right.

const (
	metadataKey  = "__metadata__"
	stateKey     = "harpe.state"
	sumKey       = "harpe.crc32c"
	headerLimit  = 100_000_000 // bytes; the format's own limit
	mostAxes     = 64
	elementBytes = 8 // of the largest element type
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var dtypeNames = map[DType]string{Float32: "F32", Float64: "F64", Int: "I64"}

// Save writes the store to a file; see SaveAll.
func (p *Params) Save(path string) error { return SaveAll(path, nil, p) }

// Load reads the store's values from a file; see LoadAll.
func (p *Params) Load(path string) error {
	_, err := LoadAll(path, p)
	return err
}

// SaveAll writes the tensors of the stores, whose names must differ, and meta, which may be nil, to one file in the
// safetensors format. The file is replaced in one step: whenever the process or the machine stops, path holds either
// what it held before or all of the new file. What a killed process leaves behind is path with another ending, ".tmp".
func SaveAll(path string, meta map[string]string, stores ...*Params) error {
	temporary := fmt.Sprintf("%s.%016x.tmp", path, rand.Uint64())
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return errors.Wrapf(err, "save %s", path)
	}
	err = WriteAll(f, meta, stores...)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
		return errors.Wrapf(err, "save %s", path)
	}
	return errors.Wrapf(syncFolder(filepath.Dir(path)), "save %s", path)
}

// syncFolder makes a rename in the folder outlast a loss of power.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// LoadAll reads the values of all tensors of the stores, and the metadata, from a file in the safetensors format. The
// file must hold these tensors, with their types, shapes and State flags, and no others, in any order; if it does not,
// or is damaged, the error names the tensor and nothing is changed. Beside the stores, memory is needed for the file
// once, however large a damaged file claims to be.
func LoadAll(path string, stores ...*Params) (meta map[string]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Wrap(err, "load")
	}
	defer f.Close()
	meta, err = ReadAll(f, stores...)
	return meta, errors.Wrapf(err, "load %s", path)
}

// Metadata reads the metadata of a file in the safetensors format without its tensors, so that they can be checked
// before LoadAll changes a store.
func Metadata(path string) (meta map[string]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Wrap(err, "load")
	}
	defer f.Close()
	h := headerReader{visit: func(tensorEntry) error { return nil }}
	if err := h.read(f); err != nil {
		return nil, errors.Wrapf(err, "load %s", path)
	}
	return h.meta, nil
}

// WriteAll writes to w what SaveAll writes to a file.
func WriteAll(w io.Writer, meta map[string]string, stores ...*Params) error {
	header, layout, err := makeHeader(meta, stores)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return errors.Wrap(err, "checkpoint")
	}
	return writeNumbers(w, layout)
}

// writeNumbers writes the tensors one after another.
func writeNumbers(w io.Writer, layout []*Param) error {
	buffer := make([]byte, 0, 1<<16)
	for _, q := range layout {
		const most = 1 << 16 / elementBytes
		for at := 0; at < q.Value.Size(); at += most {
			b := appendElements(buffer, q.Value, at, min(at+most, q.Value.Size()))
			if _, err := w.Write(b); err != nil {
				return errors.Wrapf(err, "checkpoint: %s", q.Name)
			}
		}
	}
	return nil
}

// makeHeader is the head of a file up to the first number, and the tensors in the order in which their numbers follow.
func makeHeader(meta map[string]string, stores []*Params) (header []byte, layout []*Param, err error) {
	tensors, _, err := allTensors(stores)
	if err != nil {
		return nil, nil, err
	}
	states := []string{}
	for _, q := range tensors {
		if q.Name == metadataKey || !utf8.ValidString(q.Name) {
			return nil, nil, fail("checkpoint", brief(q.Name), "a name in UTF-8 other than "+metadataKey, "this one")
		}
		if q.State {
			states = append(states, q.Name)
		}
	}
	all := map[string]string{}
	for k, v := range meta {
		if k == stateKey || k == sumKey || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return nil, nil, fail("checkpoint", "metadata "+brief(k), "UTF-8 under a key other than "+stateKey+" and "+sumKey, brief(v))
		}
		all[k] = v
	}
	list, _ := json.Marshal(states)
	all[stateKey] = string(list)

	layout = slices.Clone(tensors)
	slices.SortStableFunc(layout, func(a, b *Param) int { return cmp.Compare(elementSize(b.Value), elementSize(a.Value)) })
	sum := crc32.New(castagnoli)
	if err := writeNumbers(sum, layout); err != nil {
		return nil, nil, err
	}
	all[sumKey] = fmt.Sprintf("%08x", sum.Sum32())
	begin := make(map[*Param]int, len(layout))
	end := 0
	for _, q := range layout {
		begin[q] = end
		end += q.Value.Bytes()
	}

	header, _ = json.Marshal(map[string]any{metadataKey: all})
	header = append(make([]byte, 8), header[:len(header)-1]...)
	for _, q := range tensors {
		name, _ := json.Marshal(q.Name)
		shape, _ := json.Marshal(append([]int{}, q.Value.Shape...))
		header = fmt.Appendf(header, `,%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			name, dtypeNames[q.Value.DType], shape, begin[q], begin[q]+q.Value.Bytes())
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	if len(header)-8 > headerLimit {
		return nil, nil, fail("checkpoint", "header", fmt.Sprintf("at most %d bytes of names and metadata", headerLimit), len(header)-8)
	}
	endian.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, layout, nil
}

// allTensors lists the tensors of all stores, and finds them by name.
func allTensors(stores []*Params) (list []*Param, byName map[string]*Param, err error) {
	byName = map[string]*Param{}
	for i, p := range stores {
		if p == nil {
			return nil, nil, fail("checkpoint", fmt.Sprintf("store %d", i), "a store", "nil")
		}
		for q := range p.All() {
			if byName[q.Name] != nil {
				return nil, nil, fail("checkpoint", brief(q.Name), "a name in one of the stores", "a name in two")
			}
			byName[q.Name] = q
			list = append(list, q)
		}
	}
	return list, byName, nil
}

func elementSize(a *Array) int {
	if a.DType == Float32 {
		return 4
	}
	return elementBytes
}

// appendElements appends a's elements from lo to hi-1 to b.
func appendElements(b []byte, a *Array, lo, hi int) []byte {
	switch d := a.data.(type) {
	case []float32:
		for _, v := range d[lo:hi] {
			b = endian.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	case []float64:
		for _, v := range d[lo:hi] {
			b = endian.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
	case []int:
		for _, v := range d[lo:hi] {
			b = endian.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	return b
}

// setElements is the reverse of appendElements, for all of a's elements.
func setElements(a *Array, b []byte) {
	switch d := a.data.(type) {
	case []float32:
		for i := range d {
			d[i] = math.Float32frombits(endian.LittleEndian.Uint32(b[4*i:]))
		}
	case []float64:
		for i := range d {
			d[i] = math.Float64frombits(endian.LittleEndian.Uint64(b[8*i:]))
		}
	case []int:
		for i := range d {
			d[i] = int(endian.LittleEndian.Uint64(b[8*i:]))
		}
	}
}

// ReadAll reads from r, to its end, what LoadAll reads from a file.
func ReadAll(r io.Reader, stores ...*Params) (meta map[string]string, err error) {
	tensors, byName, err := allTensors(stores)
	if err != nil {
		return nil, err
	}
	var found []tensorEntry
	h := headerReader{visit: func(e tensorEntry) error {
		q := byName[e.name]
		if q == nil {
			return fail("checkpoint", brief(e.name), "a tensor of the stores", "one that they do not have")
		}
		if e.dtype != dtypeNames[q.Value.DType] || !slices.Equal(e.shape, q.Value.Shape) {
			return fail("checkpoint", brief(e.name), q.Value.Type, e)
		}
		e.param = q
		found = append(found, e)
		return nil
	}}
	if err := h.read(r); err != nil {
		return nil, err
	}
	if err := sameTensors(tensors, found, h.states); err != nil {
		return nil, err
	}
	size, err := checkPlaces(found)
	if err != nil {
		return nil, err
	}
	data := make([]byte, size+1) // one more to see the end
	n, err := io.ReadFull(r, data)
	switch {
	case err == nil:
		return nil, fail("checkpoint", "data", fmt.Sprintf("%d bytes", size), "more")
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, errors.Wrap(err, "checkpoint: data")
	case n < size:
		return nil, fail("checkpoint", "data", fmt.Sprintf("%d bytes", size), n)
	}
	if got := fmt.Sprintf("%08x", crc32.Checksum(data[:size], castagnoli)); h.sum != "" && got != h.sum {
		return nil, fail("checkpoint", "data", "CRC-32C "+brief(h.sum), got)
	}
	for _, e := range found {
		setElements(e.param.Value, data[e.begin:e.end])
	}
	return h.meta, nil
}

// sameTensors checks that no tensor is missing and that the State flags agree; states is nil if the file has none.
func sameTensors(tensors []*Param, found []tensorEntry, states map[string]bool) error {
	if len(found) < len(tensors) {
		present := map[*Param]bool{}
		for _, e := range found {
			present[e.param] = true
		}
		for _, q := range tensors {
			if !present[q] {
				return fail("checkpoint", brief(q.Name), q.Value.Type, "no such tensor in the file")
			}
		}
	}
	if states == nil {
		return nil
	}
	kind := map[bool]string{true: "a state", false: "a trained parameter"}
	for _, q := range tensors {
		if q.State != states[q.Name] {
			return fail("checkpoint", brief(q.Name), kind[q.State], kind[states[q.Name]])
		}
		delete(states, q.Name)
	}
	for name := range states {
		return fail("checkpoint", brief(name), "a tensor, as it is among the states", "no such tensor in the file")
	}
	return nil
}

// checkPlaces checks that the tensors lie one after another without overlap or hole, and counts their bytes.
func checkPlaces(found []tensorEntry) (size int, err error) {
	slices.SortFunc(found, func(a, b tensorEntry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	for _, e := range found {
		if e.begin != size || e.end-e.begin != e.param.Value.Bytes() {
			return 0, fail("checkpoint", brief(e.name), fmt.Sprintf("data_offsets [%d %d]", size, size+e.param.Value.Bytes()),
				fmt.Sprintf("[%d %d]", e.begin, e.end))
		}
		size = e.end
	}
	return size, nil
}

// A tensorEntry is what a header says of one tensor.
type tensorEntry struct {
	name, dtype string
	shape       []int
	begin, end  int
	param       *Param // the tensor of the stores that it is
}

// String is the type as Harpe prints it, or as the file has it if Harpe lacks the element type.
func (e tensorEntry) String() string {
	for t, name := range dtypeNames {
		if name == e.dtype {
			return Type{t, e.shape}.String()
		}
	}
	return fmt.Sprintf("%s %v", brief(e.dtype), e.shape)
}

// brief is the start of a text of a file, fit for a message.
func brief(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	if strconv.CanBackquote(s) && s != "" {
		return s
	}
	return strconv.Quote(s)
}
