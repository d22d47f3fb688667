package graph

import (
	"bytes"
	endian "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/pkg/errors"
)

// headerReader reads a header strictly: no key twice, no unknown key, whole numbers of at least 0.
type headerReader struct {
	visit  func(tensorEntry) error // called for each tensor in the header's order
	meta   map[string]string       // without Harpe's own entry
	states map[string]bool         // Harpe's own entries
	sum    string
	tokens *json.Decoder
	at     string // what is being read, for errors
}

func (h *headerReader) read(r io.Reader) error {
	var length [8]byte
	if n, err := io.ReadFull(r, length[:]); err == io.EOF || err == io.ErrUnexpectedEOF {
		return fail("checkpoint", "header length", "8 bytes", n)
	} else if err != nil {
		return errors.Wrap(err, "checkpoint: header length")
	}
	size := endian.LittleEndian.Uint64(length[:])
	if size < 2 || size > headerLimit {
		return fail("checkpoint", "header length", fmt.Sprintf("2 to %d", headerLimit), size)
	}
	var text bytes.Buffer // grows as bytes arrive, so a wrong length costs nothing
	if n, err := io.CopyN(&text, r, int64(size)); err == io.EOF {
		return fail("checkpoint", "header", fmt.Sprintf("%d bytes", size), n)
	} else if err != nil {
		return errors.Wrap(err, "checkpoint: header")
	}
	if text.Bytes()[0] != '{' || !utf8.Valid(text.Bytes()) {
		return fail("checkpoint", "header", "a JSON object in UTF-8", brief(string(text.Next(16))))
	}
	h.meta = map[string]string{}
	h.tokens = json.NewDecoder(&text)
	h.tokens.UseNumber()
	h.at = "header"
	if err := h.object(h.entry); err != nil {
		return err
	}
	if t, err := h.tokens.Token(); err != io.EOF {
		return h.unexpected("spaces to the end", t, err)
	}
	return h.takeOwn()
}

// takeOwn moves Harpe's own entries out of the metadata.
func (h *headerReader) takeOwn() error {
	h.sum = h.meta[sumKey]
	delete(h.meta, sumKey)
	text, ok := h.meta[stateKey]
	if !ok {
		return nil
	}
	var names []string
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return fail("checkpoint", "metadata "+stateKey, "a JSON list of names", brief(text))
	}
	h.states = map[string]bool{}
	for _, n := range names {
		h.states[n] = true
	}
	delete(h.meta, stateKey)
	return nil
}

func (h *headerReader) entry(key string) error {
	h.at = brief(key)
	defer func() { h.at = "header" }()
	if key == metadataKey {
		return h.object(func(k string) (err error) {
			h.meta[k], err = h.text()
			return err
		})
	}
	e := tensorEntry{name: key, begin: -1}
	if err := h.object(func(k string) error { return h.property(&e, k) }); err != nil {
		return err
	}
	if e.dtype == "" || e.shape == nil || e.begin < 0 {
		return fail("checkpoint", h.at, "dtype, shape and data_offsets", "not all three")
	}
	return h.visit(e)
}

// property reads one of the three things that a header says of a tensor.
func (h *headerReader) property(e *tensorEntry, key string) (err error) {
	switch key {
	case "dtype":
		e.dtype, err = h.text()
	case "shape":
		e.shape, err = h.numbers(mostAxes)
	case "data_offsets":
		var at []int
		if at, err = h.numbers(2); err == nil {
			if len(at) < 2 {
				return fail("checkpoint", h.at, "two data_offsets", at)
			}
			e.begin, e.end = at[0], at[1]
		}
	default:
		return fail("checkpoint", h.at, "dtype, shape and data_offsets", brief(key))
	}
	return err
}

// object reads a JSON object, calling value for each key to read its value.
func (h *headerReader) object(value func(key string) error) error {
	if err := h.delimiter('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for h.tokens.More() {
		key, err := h.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fail("checkpoint", h.at, "each name once", brief(key)+" a second time")
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return h.delimiter('}')
}

// numbers reads a JSON array of at most most whole numbers of at least 0.
func (h *headerReader) numbers(most int) ([]int, error) {
	if err := h.delimiter('['); err != nil {
		return nil, err
	}
	list := []int{}
	for h.tokens.More() {
		t, err := h.tokens.Token()
		number, ok := t.(json.Number)
		if err != nil || !ok || len(list) == most {
			return nil, h.unexpected(fmt.Sprintf("at most %d whole numbers", most), t, err)
		}
		n, err := strconv.ParseUint(number.String(), 10, strconv.IntSize-1)
		if err != nil {
			return nil, h.unexpected("a whole number of at least 0", t, nil)
		}
		list = append(list, int(n))
	}
	return list, h.delimiter(']')
}

func (h *headerReader) text() (string, error) {
	t, err := h.tokens.Token()
	if s, ok := t.(string); ok && err == nil {
		return s, nil
	}
	return "", h.unexpected("a string", t, err)
}

func (h *headerReader) delimiter(d json.Delim) error {
	if t, err := h.tokens.Token(); err != nil || t != d {
		return h.unexpected(d.String(), t, err)
	}
	return nil
}

// unexpected is the error of a token that is not what was wanted, or could not be read.
func (h *headerReader) unexpected(want string, got json.Token, err error) error {
	if err != nil {
		return fail("checkpoint", h.at, want, err)
	}
	return fail("checkpoint", h.at, want, brief(fmt.Sprint(got)))
}
