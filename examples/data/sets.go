package data

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

//go:embed embedded/*.csv.gz
var embedded embed.FS

// Digits is the 1,797 handwritten digits of 8x8 pixels of the Optical Recognition of Handwritten Digits data (Alpaydin
// and Kaynak, 1998; UCI Machine Learning Repository, CC BY 4.0): 64 features, row-major, in 0..1 (sixteenths), 10
// classes. [Set.Split] makes its two parts.
func Digits() *Set {
	s := mustEmbedded("digits", CSV{ClassNames: numerals(10)})
	for i := range s.X {
		s.X[i] /= 16
	}
	return s
}

// Iris is 150 flowers with 4 lengths in cm, of 3 species (Fisher, 1936; UCI, CC BY 4.0).
func Iris() *Set { return mustEmbedded("iris", CSV{}) }

// Wine is 178 wines with 13 chemical measurements, from 3 cultivars (Aeberhard and Forina, 1991; UCI, CC BY 4.0).
func Wine() *Set { return mustEmbedded("wine", CSV{}) }

// BreastCancer is 569 tumours with 30 measurements of their cell nuclei, malignant or benign (Wolberg, Mangasarian,
// Street and Street, 1993; UCI, CC BY 4.0).
func BreastCancer() *Set { return mustEmbedded("breast-cancer", CSV{}) }

// Diabetes is 442 patients with 10 measurements in their own units, and the progression of their disease after one
// year, 25 to 346, as a regression target (Efron, Hastie, Johnstone and Tibshirani, 2004).
func Diabetes() *Set { return mustEmbedded("diabetes", CSV{Header: true, Regression: true}) }

// mustEmbedded reads a table of this package. It cannot fail: every one of them is read by the tests.
func mustEmbedded(name string, c CSV) *Set {
	s, err := readEmbedded(name, c)
	if err != nil {
		panic(err)
	}
	return s
}

// readEmbedded reads an embedded table. Where c expects neither a header nor classes, the first line holds the
// numbers of examples and of features, and the class names.
func readEmbedded(name string, c CSV) (*Set, error) {
	f, err := embedded.Open("embedded/" + strings.ReplaceAll(name, "-", "_") + ".csv.gz")
	if err != nil {
		return nil, err
	}
	b, err := plain(name, f)
	if err != nil {
		return nil, err
	}
	if !c.Header && c.ClassNames == nil {
		line, err := b.ReadString('\n')
		if err != nil {
			return nil, err
		}
		c.ClassNames = strings.Split(strings.TrimSpace(line), ",")[2:]
	}
	return c.Read(name, b)
}

// fashionFolder is where Debian's package dataset-fashion-mnist puts its files.
const fashionFolder = "/usr/share/datasets/fashion-mnist"

var fashionClasses = []string{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"}

var sets = []struct {
	name string
	load func(dir string) (train, test *Set, err error)
}{
	{"digits", whole(Digits)},
	{"iris", whole(Iris)},
	{"wine", whole(Wine)},
	{"breast-cancer", whole(BreastCancer)},
	{"diabetes", whole(Diabetes)},
	{"mnist", func(dir string) (train, test *Set, err error) { return mnistFolder("mnist", dir, numerals(10)) }},
	{"fashion-mnist", func(dir string) (train, test *Set, err error) {
		if dir == "" {
			dir = fashionFolder
		}
		return mnistFolder("fashion-mnist", dir, fashionClasses)
	}},
	{"cifar-10", func(dir string) (train, test *Set, err error) {
		var batches []string
		for i := range 5 {
			batches = append(batches, fmt.Sprintf("data_batch_%d.bin", i+1))
		}
		return cifarFolder("cifar-10", dir, cifar10, batches, "test_batch.bin")
	}},
	{"cifar-100", func(dir string) (train, test *Set, err error) {
		return cifarFolder("cifar-100", dir, cifar100, []string{"train.bin"}, "test.bin")
	}},
}

// Names is the names of the sets that ByName knows.
func Names() []string {
	names := make([]string, len(sets))
	for i, s := range sets {
		names[i] = s.name
	}
	return names
}

// ByName finds a set by the name that a flag gives. The embedded sets have no test part of their own: test is nil, and
// [Set.Split] makes one. The image sets are read from the folder dir with their usual file names, compressed with gzip
// (and then ending in .gz) or not, with pixels in 0..1; without dir, Fashion-MNIST is looked for where Debian's
// package dataset-fashion-mnist installs it. An unknown name is an error that lists the known ones.
func ByName(name, dir string) (train, test *Set, err error) {
	for _, s := range sets {
		if s.name == name {
			return s.load(dir)
		}
	}
	return nil, nil, errors.Errorf("data: want one of %s, got %q", strings.Join(Names(), ", "), name)
}

func whole(set func() *Set) func(dir string) (train, test *Set, err error) {
	return func(string) (train, test *Set, err error) { return set(), nil, nil }
}

func mnistFolder(name, dir string, classNames []string) (train, test *Set, err error) {
	part := func(prefix string) (*Set, error) {
		images, err := find(name, dir, prefix+"-images-idx3-ubyte", prefix+"-images.idx3-ubyte")
		if err != nil {
			return nil, err
		}
		labels, err := find(name, dir, prefix+"-labels-idx1-ubyte", prefix+"-labels.idx1-ubyte")
		if err != nil {
			return nil, err
		}
		return loadMNIST(name, images, labels, classNames)
	}
	if train, err = part("train"); err != nil {
		return nil, nil, err
	}
	if test, err = part("t10k"); err != nil {
		return nil, nil, err
	}
	if !slices.Equal(train.Shape, test.Shape) {
		return nil, nil, errors.Errorf("data: %s: %s: want test images of shape %v like the training images, got %v", name, dir, train.Shape, test.Shape)
	}
	return train, test, nil
}

func cifarFolder(name, dir string, c cifar, trainFiles []string, testFile string) (train, test *Set, err error) {
	part := func(files ...string) (*Set, error) {
		paths := make([]string, len(files))
		for i, file := range files {
			if paths[i], err = find(name, dir, file); err != nil {
				return nil, err
			}
		}
		return c.load(name, paths)
	}
	if train, err = part(trainFiles...); err != nil {
		return nil, nil, err
	}
	if test, err = part(testFile); err != nil {
		return nil, nil, err
	}
	return train, test, nil
}

// find is the path of the first of these files that the folder holds, plain or with the ending .gz.
func find(set, dir string, files ...string) (string, error) {
	if dir == "" {
		return "", errors.Errorf("data: %s: want the folder that holds %s (or .gz), got none", set, strings.Join(files, " or "))
	}
	for _, file := range files {
		for _, ending := range []string{"", ".gz"} {
			path := filepath.Join(dir, file+ending)
			if _, err := os.Stat(path); err == nil {
				return path, nil
			} else if !os.IsNotExist(err) {
				return "", errors.Wrapf(err, "data: %s", set)
			}
		}
	}
	return "", errors.Errorf("data: %s: want %s (or .gz) in %s, got no such file", set, strings.Join(files, " or "), dir)
}
