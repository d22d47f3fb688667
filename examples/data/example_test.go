package data_test

import (
	"bytes"
	"fmt"
	"log"
	"slices"

	"github.com/harpe-ml/harpe/examples/data"
)

func ExampleDigits() {
	digits := data.Digits()
	x := make([]float32, 64)
	label := digits.Read(0, 0, x, nil)
	for row := range slices.Chunk(x, 8) {
		for _, v := range row {
			fmt.Print(string(".:xoO@"[int(v*5)]))
		}
		fmt.Println()
	}
	fmt.Println(digits.Len(), "digits; the first is a", label)
	// Output:
	// ..:Ox...
	// ..OOoO:.
	// ..O..ox.
	// .:o..xx.
	// .:x..xx.
	// .:o..ox.
	// ..O:oo..
	// ..:Oo...
	// 1797 digits; the first is a 0
}

func ExampleSet_Split() {
	train, test, err := data.Digits().Split(1, 0.2)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(train.Len(), test.Len())
	// Output: 1437 360
}

func ExampleNormalizer() {
	train, test, err := data.Iris().Split(1, 0.2)
	if err != nil {
		log.Fatal(err)
	}
	normalizer := data.PerFeature(train)
	if train, err = normalizer.Apply(train); err != nil {
		log.Fatal(err)
	}
	if test, err = normalizer.Apply(test); err != nil {
		log.Fatal(err)
	}
	after := data.PerFeature(train)
	fmt.Printf("%.2f %.2f, %d to test on\n", max(after.Mean[0], 0), after.Std[0], test.Len())
	// Output: 0.00 1.00, 30 to test on
}

func ExampleReadIDX() {
	images := []byte{0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60}
	labels := []byte{0, 0, 8, 1, 0, 0, 0, 2, 1, 0}
	x, err := data.ReadIDX("images", bytes.NewReader(images))
	if err != nil {
		log.Fatal(err)
	}
	y, err := data.ReadIDX("labels", bytes.NewReader(labels))
	if err != nil {
		log.Fatal(err)
	}
	set, err := data.NewSet("tiny", x, y, []string{"cat", "dog"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Len(), "images of shape", set.Shape, "with labels", set.Labels)

	_, err = data.ReadIDX("images", bytes.NewReader(images[:20]))
	fmt.Println(err)
	// Output:
	// 2 images of shape [1 3] with labels [1 0]
	// data: images: truncated: want 6 bytes of values, got 4
}

func ExampleShuffle() {
	set := data.Digits()
	order := make([]int, set.Len())
	x, labels := make([]float32, 128*64), make([]int, 128)
	for epoch := range uint64(2) {
		data.Shuffle(order, 1, epoch)
		batches := 0
		for batch := range slices.Chunk(order, 128) {
			data.Batch(set, batch, epoch, x, nil, labels)
			batches++
		}
		fmt.Println(batches, "batches")
	}
	// Output:
	// 15 batches
	// 15 batches
}
