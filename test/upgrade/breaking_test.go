package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	optionsv1 "github.com/oceanchat/oceanchat/gen/oceanchat/options/v1"
)

const (
	root     = "../.."
	released = root + "/api/released.binpb"
)

// buf runs the buf that the Makefile installs, or the one in PATH, in dir.
func buf(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	bin, err := exec.LookPath(root + "/.bin/buf")
	if err != nil {
		bin, err = exec.LookPath("buf")
	}
	if err != nil {
		t.Skip("no buf: make gen") // .ci/run makes it, and fails on a skip
	}
	if bin, err = filepath.Abs(bin); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "BUF_CACHE_DIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Invariant 10: make breaking lets pass what the last version understands, and nothing else. Each case is a change of the contract as it is.
func TestBreaking(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, from, to string
		want                 string // what buf says; "": the change may be made
	}{
		{"nothing", "message/v1/entry.proto", "", "", ""},
		{"a new field", "message/v1/entry.proto", "  uint32 length = 3;", "  uint32 length = 3;\n  string style = 4;", ""},
		{"a new kind of entry", "message/v1/entry.proto", "  ENTRY_KIND_GROUP_INVITED = 6;", "  ENTRY_KIND_GROUP_INVITED = 6;\n  ENTRY_KIND_VOICE = 7;", ""},
		{"a new method", "router/v1/router.proto", "service RouterService {", "service RouterService {\n  rpc More(RouteRequest) returns (RouteResponse);", ""},
		{"a field goes", "message/v1/entry.proto", "  uint32 length = 3;", "", "Previously present field"},
		{"a field goes and is reserved", "message/v1/entry.proto", "  uint32 length = 3;", "  reserved 3;", "Previously present field"},
		{"a field is renamed", "message/v1/entry.proto", "  uint32 length = 3;", "  uint32 size = 3;", "changed name"},
		{"a field gets another number", "flow/v1/flow.proto", "  fixed64 body_hash = 2;", "  fixed64 body_hash = 3;", "Previously present field"},
		{"a field of the log gets another type", "flow/v1/flow.proto", "  fixed64 body_hash = 2;", "  uint64 body_hash = 2;", "changed type"},
		{"a field of a task gets another type", "flow/v1/flow.proto", "  repeated OnlineItem items = 4;", "  OnlineItem items = 4;", "changed cardinality"},
		{"a field of a frame goes", "wire/v1/wire.proto", "  uint32 lane = 2;", "", "Previously present field"},
		{"a kind of entry goes", "message/v1/entry.proto", "  ENTRY_KIND_GROUP_INVITED = 6;", "", "Previously present enum value"},
		{"a kind of entry gets another number", "message/v1/entry.proto", "ENTRY_KIND_GROUP_INVITED = 6", "ENTRY_KIND_GROUP_INVITED = 7", "Previously present enum value"},
		{"a kind of entry is renamed", "message/v1/entry.proto", "ENTRY_KIND_GROUP_INVITED", "ENTRY_KIND_INVITED", "changed name"},
		{"a method goes", "message/v1/internal.proto", "  rpc Append(AppendRequest) returns (SendResponse);", "", "Previously present RPC"},
		{"a method of a gateway answers otherwise", "wsgateway/v1/gateway.proto", "returns (TellResponse)", "returns (DeliverResponse)", "changed response type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := contract(t)
			path := filepath.Join(dir, "api/oceanchat", tt.file)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), tt.from) {
				t.Fatalf("%s holds no %q (%v): mend this test", tt.file, tt.from, err)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), tt.from, tt.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := buf(t, dir, "breaking", "api", "--against", "api/released.binpb")
			if (err != nil) != (tt.want != "") || !strings.Contains(out, tt.want) {
				t.Errorf("buf breaking = %v\n%s\nwant %q", err, out, tt.want)
			}
		})
	}
}

// contract copies what buf reads.
func contract(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"api", "third_party"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(root + "/buf.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "buf.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// door is how a method is reached from outside. buf takes no notice of it, as it stands in options.
type door struct{ verb, path, body string }

// doors returns the doors of every method of an image, realtime as the verb CALL.
func doors(files *descriptorpb.FileDescriptorSet) map[string][]door {
	all := map[string][]door{}
	for _, f := range files.GetFile() {
		for _, s := range f.GetService() {
			for _, m := range s.GetMethod() {
				name := f.GetPackage() + "." + s.GetName() + "." + m.GetName()
				all[name] = append(doorsOf(m.GetOptions()), all[name]...)
			}
		}
	}
	return all
}

func doorsOf(o *descriptorpb.MethodOptions) (list []door) {
	rule, _ := proto.GetExtension(o, annotations.E_Http).(*annotations.HttpRule)
	rules := append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...)
	for _, r := range rules {
		for verb, path := range map[string]string{"GET": r.GetGet(), "PUT": r.GetPut(), "POST": r.GetPost(), "PATCH": r.GetPatch(), "DELETE": r.GetDelete()} {
			if path != "" {
				list = append(list, door{verb, path, r.GetBody()})
			}
		}
	}
	if at, _ := proto.GetExtension(o, optionsv1.E_Method).(*optionsv1.MethodOptions); at.GetRealtime() {
		list = append(list, door{verb: "CALL"})
	}
	return list
}

// Every door of the last release is still there.
func TestDoorsStay(t *testing.T) {
	t.Parallel()
	old := doors(image(t, released))
	path := filepath.Join(t.TempDir(), "now.binpb")
	if out, err := buf(t, root, "build", "api", "--exclude-source-info", "-o", path); err != nil {
		t.Fatalf("buf build = %v\n%s", err, out)
	}
	now := doors(image(t, path))
	count := 0
	for name, list := range old {
		for _, d := range list {
			count++
			if !slices.Contains(now[name], d) {
				t.Errorf("%s stood at %+v and does not now: %+v", name, d, now[name])
			}
		}
	}
	if count < 80 {
		t.Errorf("the image has %d doors; want some eighty: is it read?", count)
	}
}

func image(t *testing.T, path string) *descriptorpb.FileDescriptorSet {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, files); err != nil {
		t.Fatal(err)
	}
	return files
}
