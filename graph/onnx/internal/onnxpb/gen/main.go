// Command gen makes onnx.pb.go from onnx.proto3, without protoc.
package main

import (
	"context"
	"log"
	"os"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	log.SetFlags(0)
	const schema = "onnx.proto3"
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{".."}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), schema)
	if err != nil {
		log.Fatal(err)
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{schema},
		Parameter:      proto.String("paths=source_relative,M" + schema + "=github.com/harpe-ml/harpe/graph/onnx/internal/onnxpb"),
	}
	request.ProtoFile = append(request.ProtoFile, protodesc.ToFileDescriptorProto(files[0]))
	plugin, err := protogen.Options{}.New(request)
	if err != nil {
		log.Fatal(err)
	}
	internal_gengo.GenerateFile(plugin, plugin.Files[0])
	response := plugin.Response()
	if response.Error != nil {
		log.Fatal(*response.Error)
	}
	if err := os.WriteFile("../onnx.pb.go", []byte(response.File[0].GetContent()), 0o666); err != nil {
		log.Fatal(err)
	}
}
