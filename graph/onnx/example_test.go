package onnx_test

import (
	"bytes"
	"fmt"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/graph/onnx"
	"github.com/harpe-ml/harpe/models"
)

// A model of images of 28 by 28 pixels, whatever the batch's size, as a file for an ONNX runtime.
func ExampleWrite() {
	model := models.CNN{Classes: 10}
	params := &graph.Params{Seed: 1} // of a trained model: trainer.Params()
	var file bytes.Buffer
	err := onnx.Write(&file, params, graph.Type{DType: graph.Float32, Shape: []int{1, 28, 28}}, model.Apply)
	fmt.Println(file.Len() > 4*params.Count(), err)
	// Output:
	// true <nil>
}
