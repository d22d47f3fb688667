package data

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder makes a folder of files.
func folder(t *testing.T, files map[string][]byte) string {
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mnistFiles is three training and two test images of 1x2 pixels.
func mnistFiles() map[string][]byte {
	return map[string][]byte{
		"train-images-idx3-ubyte":    idx([]byte{0, 51, 102, 153, 204, 255}, 3, 1, 2),
		"train-labels-idx1-ubyte.gz": zipped(idx([]byte{9, 0, 5}, 3)),
		"t10k-images.idx3-ubyte":     idx([]byte{255, 0, 0, 255}, 2, 1, 2),
		"t10k-labels.idx1-ubyte.gz":  zipped(idx([]byte{1, 2}, 2)),
	}
}

func TestByNameEmbedded(t *testing.T) {
	for name, n := range map[string]int{"digits": 1797, "iris": 150, "wine": 178, "breast-cancer": 569, "diabetes": 442} {
		train, test, err := ByName(name, "")
		if err != nil || train.Len() != n || train.Name != name || test != nil {
			t.Errorf("%s: want %d examples and no test set, got %v, %v, %v", name, n, train, test, err)
		}
	}
	_, _, err := ByName("imagenet", "")
	wantError(t, err, append(Names(), "imagenet")...)
	if len(Names()) != 9 {
		t.Errorf("want 9 names, got %q", Names())
	}
}

func TestByNameMNIST(t *testing.T) {
	dir := folder(t, mnistFiles())
	for name, class := range map[string]string{"mnist": "9", "fashion-mnist": "Ankle boot"} {
		train, test, err := ByName(name, dir)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(train.Shape, []int{1, 1, 2}) || !slices.Equal(train.Labels, []int{9, 0, 5}) || train.Name != name ||
			train.ClassNames[9] != class || !slices.Equal(train.X, []float32{0, 0.2, 0.4, 0.6, 0.8, 1}) {
			t.Errorf("%s: got %+v", name, train)
		}
		if !slices.Equal(test.Labels, []int{1, 2}) || !slices.Equal(test.X, []float32{1, 0, 0, 1}) {
			t.Errorf("%s: got %+v", name, test)
		}
	}
}

func TestByNameMNISTErrors(t *testing.T) {
	for _, test := range []struct {
		file    string
		content []byte // nil: no such file
		words   []string
	}{
		{"train-images-idx3-ubyte", nil, []string{"train-images-idx3-ubyte or train-images.idx3-ubyte", "no such file"}},
		{"t10k-labels.idx1-ubyte.gz", nil, []string{"t10k-labels-idx1-ubyte", "no such file"}},
		{"train-images-idx3-ubyte", idx([]byte{1, 2, 3}, 3), []string{"train-images-idx3-ubyte", "[n, height, width]", "[3]"}},
		{"train-labels-idx1-ubyte.gz", idx([]byte{9, 0}, 2), []string{"train-labels-idx1-ubyte.gz", "3 examples", "got 2"}},
		{"train-labels-idx1-ubyte.gz", idx([]byte{9, 0, 10}, 3), []string{"train-labels-idx1-ubyte.gz", "example 2", "0..9", "got 10"}},
		{"t10k-images.idx3-ubyte", idx([]byte{1, 2}, 2, 1, 1), []string{"[1 1 2]", "[1 1 1]"}},
		{"t10k-images.idx3-ubyte", idx([]byte{1, 2}, 2, 1, 2), []string{"t10k-images.idx3-ubyte", "truncated"}},
	} {
		files := mnistFiles()
		files[test.file] = test.content
		if test.content == nil {
			delete(files, test.file)
		}
		_, _, err := ByName("mnist", folder(t, files))
		wantError(t, err, test.words...)
	}
	for _, name := range []string{"mnist", "cifar-10", "cifar-100"} {
		_, _, err := ByName(name, "")
		wantError(t, err, name, "folder")
	}
}

// Where Debian's package is installed this reads it; elsewhere it reads small files of the same form.
func TestByNameFashionMNIST(t *testing.T) {
	dir, trainLen, testLen, shape, first := "", 60000, 10000, []int{1, 28, 28}, 9
	if _, err := os.Stat(fashionFolder); err != nil {
		dir, trainLen, testLen, shape = folder(t, mnistFiles()), 3, 2, []int{1, 1, 2}
	}
	train, test, err := ByName("fashion-mnist", dir)
	if err != nil {
		t.Fatal(err)
	}
	if train.Len() != trainLen || test.Len() != testLen || !slices.Equal(train.Shape, shape) || train.Labels[0] != first {
		t.Errorf("want %d and %d images %v, first label %d, got %d, %d, %v, %d", trainLen, testLen, shape, first, train.Len(), test.Len(), train.Shape, train.Labels[0])
	}
	if dir != "" {
		return
	}
	if counts := classCounts(test); !slices.Equal(counts, slices.Repeat([]int{1000}, 10)) {
		t.Errorf("want 1000 test images of each class, got %v", counts)
	}
	// The mean and deviation of the training pixels by NumPy.
	if n := PerChannel(train); math.Abs(n.Mean[0]-0.2860405969887955) > 1e-7 || math.Abs(n.Std[0]-0.35302424451492237) > 1e-7 {
		t.Errorf("want mean 0.28604 and deviation 0.35302, got %v", n)
	}
}

func TestByNameCIFAR(t *testing.T) {
	files := map[string][]byte{
		"test_batch.bin": cifarRecord(0, 3),
		"train.bin":      slices.Concat(cifarRecord(0, 0, 7), cifarRecord(0, 1, 8)),
		"test.bin.gz":    zipped(cifarRecord(0, 2, 9)),
	}
	for i := range byte(5) {
		files["data_batch_"+string('1'+i)+".bin"] = cifarRecord(i, i+4)
	}
	dir := folder(t, files)
	train, test, err := ByName("cifar-10", dir)
	if err != nil || !slices.Equal(train.Labels, []int{4, 5, 6, 7, 8}) || !slices.Equal(test.Labels, []int{3}) ||
		train.X[4*cifarPixels] != float32(4)/255 || train.ClassNames[6] != "frog" {
		t.Errorf("cifar-10: got %v, %v, %v", train, test, err)
	}
	train, test, err = ByName("cifar-100", dir)
	if err != nil || !slices.Equal(train.Labels, []int{7, 8}) || !slices.Equal(test.Labels, []int{9}) || train.Classes() != 100 {
		t.Errorf("cifar-100: got %v, %v, %v", train, test, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data_batch_4.bin"), cifarRecord(0, 1)[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = ByName("cifar-10", dir)
	wantError(t, err, "data_batch_4.bin", "got 9 bytes")
	if err := os.Remove(filepath.Join(dir, "data_batch_2.bin")); err != nil {
		t.Fatal(err)
	}
	_, _, err = ByName("cifar-10", dir)
	wantError(t, err, "data_batch_2.bin", "no such file")
}

func TestLoadNamesTheFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.npy")
	_, err := Load(missing, ReadNPY)
	wantError(t, err, missing)
}

// The licence of the data is kept beside it and names every file.
func TestLicence(t *testing.T) {
	text := string(must(os.ReadFile("embedded/LICENSE.md")))
	for _, e := range must(embedded.ReadDir("embedded")) {
		if !strings.Contains(text, "| "+e.Name()+" |") {
			t.Errorf("want %s in LICENSE.md", e.Name())
		}
	}
}
