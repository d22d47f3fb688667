package data

import (
	"io"
	"os"
	"strings"

	"github.com/pkg/errors"
)

// cifar is a binary format of Krizhevsky (2009): records of label bytes and 3x32x32 pixels. The last label byte is
// the class.
type cifar struct {
	names  []string
	labels []int // number of values of each label byte
}

const cifarPixels = 3 * 32 * 32

var (
	cifar10  = cifar{strings.Fields("airplane automobile bird cat deer dog frog horse ship truck"), []int{10}}
	cifar100 = cifar{strings.Fields(`apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge
		bus butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
		dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
		lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
		pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew
		skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
		tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm`), []int{20, 100}}
)

// ReadCIFAR10 reads CIFAR-10's binary format (Krizhevsky 2009): examples [3, 32, 32] in 0..1 with their classes.
func ReadCIFAR10(name string, r io.Reader) (*Set, error) { return cifar10.read(name, r) }

// ReadCIFAR100 reads CIFAR-100's binary format (Krizhevsky 2009): examples [3, 32, 32] in 0..1 with their fine
// classes. The coarse ones are checked and left out.
func ReadCIFAR100(name string, r io.Reader) (*Set, error) { return cifar100.read(name, r) }

func (c cifar) read(name string, r io.Reader) (*Set, error) {
	raw, err := c.records(nil, name, r)
	if err != nil {
		return nil, err
	}
	return c.set(name, raw)
}

// load reads files one after the other into one set.
func (c cifar) load(name string, paths []string) (*Set, error) {
	var raw []byte
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, errors.Wrap(err, "data")
		}
		raw, err = c.records(raw, path, f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return c.set(name, raw)
}

// records appends a file's records to raw after checking them.
func (c cifar) records(raw []byte, name string, r io.Reader) ([]byte, error) {
	b, err := plain(name, r)
	if err != nil {
		return nil, err
	}
	width := len(c.labels) + cifarPixels
	limit := MaxValues / cifarPixels * width
	more, err := io.ReadAll(io.LimitReader(b, int64(limit-len(raw))+1))
	switch {
	case err != nil:
		return nil, errors.Wrapf(err, "data: %s: after %d bytes", name, len(more))
	case len(raw)+len(more) > limit:
		return nil, errors.Errorf("data: %s: want at most %d records of %d bytes in all, got more", name, limit/width, width)
	case len(more) == 0 || len(more)%width != 0:
		return nil, errors.Errorf("data: %s: want whole records of %d bytes, at least one, got %d bytes (%d over)", name, width, len(more), len(more)%width)
	}
	for at := 0; at < len(more); at += width {
		for k, n := range c.labels {
			if l := int(more[at+k]); l >= n {
				return nil, errors.Errorf("data: %s: record %d, label byte %d: want 0..%d, got %d", name, at/width, k, n-1, l)
			}
		}
	}
	return append(raw, more...), nil
}

func (c cifar) set(name string, raw []byte) (*Set, error) {
	width := len(c.labels) + cifarPixels
	n := len(raw) / width
	s := &Set{Name: name, Shape: []int{3, 32, 32}, ClassNames: c.names, X: make([]float32, 0, n*cifarPixels), Labels: make([]int, n)}
	for i := range n {
		record := raw[i*width : (i+1)*width]
		s.Labels[i] = int(record[len(c.labels)-1])
		for _, v := range record[len(c.labels):] {
			s.X = append(s.X, float32(v)/255)
		}
	}
	return checked(s)
}
