package data

import (
	"encoding/binary"
	"io"

	"github.com/pkg/errors"
)

// ReadIDX reads an IDX file of unsigned bytes, the format of MNIST (LeCun, Cortes and Burges, 1998): two zero bytes, the
// type 8, the number of dimensions, each dimension as a big-endian 32-bit number, then the values. Images come as
// [n, height, width] and labels as [n], with values 0..255 as they stand in the file.
func ReadIDX(name string, r io.Reader) (Array, error) {
	b, err := plain(name, r)
	if err != nil {
		return Array{}, err
	}
	var magic [4]byte
	if n, err := io.ReadFull(b, magic[:]); err != nil {
		return Array{}, errors.Wrapf(err, "data: %s: IDX magic: want 4 bytes, got %d", name, n)
	}
	if magic[0] != 0 || magic[1] != 0 || magic[2] != 8 || magic[3] == 0 {
		return Array{}, errors.Errorf("data: %s: IDX magic: want 00 00 08 (unsigned bytes) and a rank of at least 1, got % x", name, magic)
	}
	dims := make([]byte, 4*int(magic[3]))
	if n, err := io.ReadFull(b, dims); err != nil {
		return Array{}, errors.Wrapf(err, "data: %s: IDX dimensions: want %d bytes, got %d", name, len(dims), n)
	}
	shape := make([]int, magic[3])
	for i := range shape {
		shape[i] = int(binary.BigEndian.Uint32(dims[4*i:]))
	}
	n, err := count(name, shape)
	if err != nil {
		return Array{}, err
	}
	raw, err := exactly(name, b, n)
	if err != nil {
		return Array{}, err
	}
	values := make([]float32, n)
	for i, v := range raw {
		values[i] = float32(v)
	}
	return Array{shape, values}, nil
}

// loadMNIST reads images and labels of the MNIST family: examples [1, height, width] in 0..1.
func loadMNIST(name, images, labels string, classNames []string) (*Set, error) {
	x, err := Load(images, ReadIDX)
	if err != nil {
		return nil, err
	}
	if len(x.Shape) != 3 {
		return nil, errors.Errorf("data: %s: want images [n, height, width], got shape %v", images, x.Shape)
	}
	y, err := Load(labels, ReadIDX)
	if err != nil {
		return nil, err
	}
	s, err := NewSet(labels, x, y, classNames)
	if err != nil {
		return nil, err
	}
	for i := range s.X {
		s.X[i] /= 255
	}
	s.Name = name
	return s.Reshape(1, x.Shape[1], x.Shape[2])
}
