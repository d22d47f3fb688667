// Package onnxpb is the Go form of ONNX's own protobuf schema. The schema, onnx.proto3, is that of ONNX 1.22.0,
// unchanged, under the Apache-2.0 licence in LICENSE; onnx.pb.go is generated from it.
package onnxpb

//go:generate go run -C gen .
