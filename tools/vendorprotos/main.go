// Command vendorprotos prints the third-party .proto files that api/ imports into the folder named
// by its argument. The Go module proxy ships no .proto files, so they are printed from the
// descriptors that the compiled Go packages carry (comments are lost, wire meaning is not).
//
// It is its own module, so that its dependencies never reach the product's go.mod:
//
//	cd tools/vendorprotos && go run . ../../third_party
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jhump/protoreflect/v2/protoprint"
	_ "google.golang.org/genproto/googleapis/api/annotations" // registers google/api/*.proto
	"google.golang.org/protobuf/reflect/protoregistry"
)

// files are the vendored protos; google/protobuf/* comes with buf and is not among them.
var files = []string{"google/api/annotations.proto", "google/api/http.proto"}

const header = "// Printed from the Go descriptors of google.golang.org/genproto/googleapis/api by tools/vendorprotos.\n" +
	"// Copyright Google LLC, Apache License 2.0. Do not edit.\n\n"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vendorprotos FOLDER")
		os.Exit(2)
	}
	for _, name := range files {
		if err := vendor(os.Args[1], name); err != nil {
			fmt.Fprintf(os.Stderr, "vendor %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

// vendor prints the one registered file called name below dir.
func vendor(dir, name string) error {
	desc, err := protoregistry.GlobalFiles.FindFileByPath(name)
	if err != nil {
		return err
	}
	out := bytes.NewBufferString(header)
	if err := new(protoprint.Printer).PrintProtoFile(desc, out); err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
