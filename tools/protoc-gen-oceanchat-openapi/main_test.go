package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/oceanchat/oceanchat/gen/openapi"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// sample reads testdata/sample.txtpb, a compiled .proto, and lets change alter it.
func sample(t *testing.T, change func(*descriptorpb.FileDescriptorProto)) *protogen.Plugin {
	t.Helper()
	raw, err := os.ReadFile("testdata/sample.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	file := &descriptorpb.FileDescriptorProto{}
	if err := prototext.Unmarshal(raw, file); err != nil {
		t.Fatal(err)
	}
	for _, m := range file.GetService()[0].GetMethod() {
		switch m.GetName() {
		case "Send":
			setOptions(m, true, false)
		case "Login":
			setOptions(m, false, true)
		}
	}
	if change != nil {
		change(file)
	}
	req := &pluginpb.CodeGeneratorRequest{FileToGenerate: []string{file.GetName()}}
	for _, dep := range []protoreflect.FileDescriptor{
		descriptorpb.File_google_protobuf_descriptor_proto, timestamppb.File_google_protobuf_timestamp_proto,
		annotations.File_google_api_http_proto, annotations.File_google_api_annotations_proto,
	} {
		req.ProtoFile = append(req.ProtoFile, protodesc.ToFileDescriptorProto(dep))
	}
	req.ProtoFile = append(req.ProtoFile, file)
	gen, err := protogen.Options{}.New(req)
	if err != nil {
		t.Fatal(err)
	}
	return gen
}

// setOptions adds oceanchat.options.v1.method as it comes over the wire: unknown to this program.
func setOptions(m *descriptorpb.MethodDescriptorProto, realtime, public bool) {
	var nested []byte
	nested = protowire.AppendVarint(protowire.AppendTag(nested, 1, protowire.VarintType), protowire.EncodeBool(realtime))
	nested = protowire.AppendVarint(protowire.AppendTag(nested, 2, protowire.VarintType), protowire.EncodeBool(public))
	raw := protowire.AppendBytes(protowire.AppendTag(nil, optionsField, protowire.BytesType), nested)
	m.GetOptions().ProtoReflect().SetUnknown(raw)
}

func TestGenerateGolden(t *testing.T) {
	t.Parallel()
	gen := sample(t, nil)
	if err := generate(gen); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range gen.Response().GetFile() {
		files[f.GetName()] = f.GetContent()
	}
	if !strings.Contains(files["openapi.go"], "DO NOT EDIT") {
		t.Errorf("openapi.go is not marked as generated:\n%s", files["openapi.go"])
	}
	golden := filepath.Join("testdata", "sample.openapi.json")
	if *update {
		if err := os.WriteFile(golden, []byte(files["openapi.json"]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), files["openapi.json"]); diff != "" {
		t.Errorf("openapi.json (-want +got), renew with -update if it is right:\n%s", diff)
	}
}

func TestGenerateRefuses(t *testing.T) {
	t.Parallel()
	rule := func(f *descriptorpb.FileDescriptorProto, method int) *annotations.HttpRule {
		return proto.GetExtension(f.GetService()[0].GetMethod()[method].GetOptions(), annotations.E_Http).(*annotations.HttpRule)
	}
	tests := []struct {
		name   string
		change func(*descriptorpb.FileDescriptorProto)
		want   string
	}{
		{"unknown field in path", func(f *descriptorpb.FileDescriptorProto) {
			rule(f, 1).Pattern = &annotations.HttpRule_Get{Get: "/x/{nobody}"}
		}, `"nobody" is no field of the request`},
		{"open brace", func(f *descriptorpb.FileDescriptorProto) {
			rule(f, 1).Pattern = &annotations.HttpRule_Get{Get: "/x/{page_size"}
		}, "brace is not closed"},
		{"two methods on one route", func(f *descriptorpb.FileDescriptorProto) {
			rule(f, 1).Pattern = &annotations.HttpRule_Post{Post: "/login"}
		}, "POST /login is bound twice"},
		{"two bindings of the same name", func(f *descriptorpb.FileDescriptorProto) {
			rule(f, 0).GetAdditionalBindings()[0].Pattern = &annotations.HttpRule_Post{Post: "/elsewhere"}
		}, "two operations would be called sample.send"},
		{"unknown body field", func(f *descriptorpb.FileDescriptorProto) { rule(f, 2).Body = "nothing" }, "body: "},
		{"streaming", func(f *descriptorpb.FileDescriptorProto) {
			f.GetService()[0].GetMethod()[0].ServerStreaming = new(true)
		}, "streaming"},
		{"no verb", func(f *descriptorpb.FileDescriptorProto) { rule(f, 1).Pattern = nil }, "no verb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := generate(sample(t, tt.change)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("generate = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

func TestEnumNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"EntryKind": "ENTRY_KIND", "Kind": "KIND", "HTTPCode": "HTTP_CODE", "JoinV2": "JOIN_V2", "": "",
	} {
		if got := upperSnake(in); got != want {
			t.Errorf("upperSnake(%q) = %q; want %q", in, got, want)
		}
	}
}

// TestCommittedDocument checks what clients read: references resolve and operation ids are unique.
func TestCommittedDocument(t *testing.T) {
	t.Parallel()
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components map[string]map[string]any
	}
	if err := json.Unmarshal(openapi.JSON, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) == 0 {
		t.Fatalf("openapi = %q with %d paths; want 3.1.0 with some", doc.OpenAPI, len(doc.Paths))
	}
	var ids []string
	for _, verbs := range doc.Paths {
		for _, op := range verbs {
			ids = append(ids, op.OperationID)
		}
	}
	slices.Sort(ids)
	if unique := slices.Compact(slices.Clone(ids)); len(unique) != len(ids) || unique[0] == "" {
		t.Errorf("operation ids are not unique and set: %q", ids)
	}
	for _, part := range strings.Split(string(openapi.JSON), `"$ref": "#/components/`)[1:] {
		ref, _, _ := strings.Cut(part, `"`)
		kind, name, _ := strings.Cut(ref, "/")
		if doc.Components[kind][name] == nil {
			t.Errorf("reference to %s leads nowhere", ref)
		}
	}
}
