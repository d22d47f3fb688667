package data

import (
	"bytes"
	"io"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

// ReadNPY reads a NumPy .npy file of booleans, integers or real numbers of any byte order and memory order, as
// graph.ReadNPY. Values become float32: an integer beyond 2^24 is rounded, a number beyond float32 becomes an infinity.
func ReadNPY(name string, r io.Reader) (Array, error) {
	b, err := plain(name, r)
	if err != nil {
		return Array{}, err
	}
	a, err := graph.ReadNPYAs[float32](b, MaxValues)
	if err != nil {
		return Array{}, errors.Wrapf(err, "data: %s", name)
	}
	return filled(name, a)
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
	read, err := graph.ReadNPZAs[float32](bytes.NewReader(raw), int64(len(raw)), limit)
	if err != nil {
		return nil, errors.Wrapf(err, "data: %s", name)
	}
	arrays := make(map[string]Array, len(read))
	for key, a := range read {
		if arrays[key], err = filled(name+"["+key+".npy]", a); err != nil {
			return nil, err
		}
	}
	return arrays, nil
}

// filled refuses what no data set can be made of: an axis of size 0.
func filled(name string, a *graph.Array) (Array, error) {
	if len(a.Shape) > 0 {
		if _, err := count(name, a.Shape); err != nil {
			return Array{}, err
		}
	}
	return Array{a.Shape, a.Float32s()}, nil
}
