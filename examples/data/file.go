package data

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"

	"github.com/pkg/errors"
)

// Load opens a file and reads it with one of this package's readers, as in Load("x.npy", ReadNPY).
func Load[T any](path string, read func(name string, r io.Reader) (T, error)) (T, error) {
	f, err := os.Open(path)
	if err != nil {
		var none T
		return none, errors.Wrap(err, "data")
	}
	defer f.Close()
	return read(path, f)
}

// plain returns the content of r, uncompressed if its first two bytes are gzip's.
func plain(name string, r io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	if magic, _ := b.Peek(2); string(magic) != "\x1f\x8b" {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, errors.Wrapf(err, "data: %s: gzip", name)
	}
	return bufio.NewReaderSize(z, 1<<16), nil
}

// exactly reads n bytes and the end of the file. Memory follows what arrives, not n.
func exactly(name string, r io.Reader, n int) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, int64(n)+1))
	switch {
	case err != nil:
		return nil, errors.Wrapf(err, "data: %s: after %d of %d bytes of values", name, len(raw), n)
	case len(raw) < n:
		return nil, errors.Errorf("data: %s: truncated: want %d bytes of values, got %d", name, n, len(raw))
	case len(raw) > n:
		return nil, errors.Errorf("data: %s: trailing bytes: want %d bytes of values, got more", name, n)
	}
	return raw, nil
}
