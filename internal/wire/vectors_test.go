package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// The vectors are the public contract's frames as files, for codecs in other languages; api/vectors/README.md says how
// they are read. `go test ./internal/wire -update` rewrites them.
const vectorsDir = "../../api/vectors"

// methodFile is a file of methods/.
type methodFile struct {
	Method string       `json:"method"`
	Params string       `json:"params"` // full name of the message
	Result string       `json:"result"`
	Cases  []methodCase `json:"cases"`
}

// methodCase is a request and an answer, each in both forms.
type methodCase struct {
	Name        string          `json:"name"`
	Request     json.RawMessage `json:"request"`
	RequestHex  string          `json:"requestHex"`
	Response    json.RawMessage `json:"response"`
	ResponseHex string          `json:"responseHex"`
}

// pushCase is a push in both forms.
type pushCase struct {
	Name    string          `json:"name"`
	Method  string          `json:"method"`
	Params  string          `json:"params"`
	Push    json.RawMessage `json:"push"`
	PushHex string          `json:"pushHex"`
}

// errorCase is an answer that is an error, with the numbers that its reason has at the doors.
type errorCase struct {
	Name        string          `json:"name"`
	Reason      string          `json:"reason"`
	Code        string          `json:"code"`
	HTTP        int             `json:"http"`
	Number      int             `json:"number"`
	Response    json.RawMessage `json:"response"`
	ResponseHex string          `json:"responseHex"`
}

// requestCase is a frame as text or bytes, and what a server makes of it.
type requestCase struct {
	Name    string   `json:"name"`
	Form    string   `json:"form"` // json or proto
	Frame   string   `json:"frame,omitempty"`
	Hex     string   `json:"hex,omitempty"`
	Method  string   `json:"method,omitempty"` // of a frame that is taken
	ID      any      `json:"id"`
	Lane    int      `json:"lane,omitempty"`
	Equals  string   `json:"equals,omitempty"` // the params as the JSON codec writes them
	Refused *refusal `json:"refused,omitempty"`
}

type refusal struct {
	Number int    `json:"number"` // in JSON-RPC
	Reason string `json:"reason"`
	Field  string `json:"field,omitempty"`
}

// tcpCase is bytes on the TCP door and the frames in them.
type tcpCase struct {
	Name   string   `json:"name"`
	Stream string   `json:"stream"` // hex
	Limit  int      `json:"limit"`
	Frames []string `json:"frames"`           // hex, without their lengths
	Rest   int      `json:"rest,omitempty"`   // bytes of a frame that has not arrived whole
	Broken bool     `json:"broken,omitempty"` // what comes then closes the connection
}

// A vector file that another language reads must be what this code writes.
func TestVectors(t *testing.T) {
	files := map[string]any{}
	for _, m := range wire.Methods() {
		files["methods/"+m.Name] = methodVectors(t, m)
	}
	for _, f := range connectionVectors(t) {
		files["methods/"+f.Method] = f
	}
	files["pushes"] = pushVectors(t)
	files["errors"] = errorVectors(t)
	files["requests"] = requestVectors(t)
	files["tcp"] = tcpVectors()
	for name, content := range files {
		t.Run(name, func(t *testing.T) { compareVectors(t, name, content) })
	}
	found, err := filepath.Glob(filepath.Join(vectorsDir, "methods", "*.json"))
	if err != nil || len(found) != len(wire.Methods())+3 {
		t.Errorf("%d files of methods, %v; want %d: remove those of methods that are no more", len(found), err, len(wire.Methods())+3)
	}
}

func compareVectors(t *testing.T, name string, content any) {
	t.Helper()
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(content); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(vectorsDir, name+".json")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; `go test ./internal/wire -update` writes it", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("%s is not what the code writes; -update renews it; -want +got:\n%.2000s", file, diff)
	}
}

// The files are read as a client in another language does: by generated messages and a generic JSON library, without the
// code that wrote them. Both forms of a frame must say the same. Being parallel, it comes after an -update.
func TestVectorsFromOutside(t *testing.T) {
	t.Parallel()
	for _, m := range wire.Methods() {
		var f methodFile
		readVectors(t, "methods/"+m.Name, &f)
		for _, c := range f.Cases {
			checkRequest(t, f.Method+", "+c.Name, c, m.NewRequest)
			checkResponse(t, f.Method+", "+c.Name, c, m.NewResponse)
		}
	}
	var errs []errorCase
	readVectors(t, "errors", &errs)
	for _, c := range errs {
		var answer struct {
			Error struct{ Data json.RawMessage }
		}
		var fromJSON wirev1.Error
		sf := serverFrame(t, c.ResponseHex)
		if json.Unmarshal(c.Response, &answer) != nil || wire.UnmarshalAnswer(answer.Error.Data, &fromJSON) != nil ||
			!proto.Equal(&fromJSON, sf.GetReply().GetError()) {
			t.Errorf("%s: JSON %v, binary %v; want the same error", c.Name, &fromJSON, sf)
		}
	}
	var pushes []pushCase
	readVectors(t, "pushes", &pushes)
	for _, c := range pushes {
		if p := serverFrame(t, c.PushHex).GetPush(); p.GetMethod() != c.Method {
			t.Errorf("%s: binary push %q; want %q", c.Name, p.GetMethod(), c.Method)
		}
	}
}

func readVectors(t testing.TB, name string, out any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(vectorsDir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func serverFrame(t *testing.T, text string) *wirev1.ServerFrame {
	t.Helper()
	raw, err := hex.DecodeString(text)
	f := &wirev1.ServerFrame{}
	if err != nil || proto.Unmarshal(raw, f) != nil {
		t.Fatalf("%s is no ServerFrame: %v", text, err)
	}
	return f
}

func checkRequest(t *testing.T, name string, c methodCase, fresh func() proto.Message) {
	t.Helper()
	raw, _ := hex.DecodeString(c.RequestHex)
	var cf wirev1.ClientFrame
	fromProto, fromJSON := fresh(), fresh()
	if err := errors.Join(proto.Unmarshal(raw, &cf), proto.Unmarshal(cf.GetParams(), fromProto)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var rpc struct {
		ID     uint32
		Method string
		Params json.RawMessage
	}
	if err := errors.Join(json.Unmarshal(c.Request, &rpc), wire.UnmarshalJSON(rpc.Params, fromJSON)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if rpc.ID != cf.GetId() || rpc.Method != cf.GetMethod() {
		t.Errorf("%s: JSON asks %d %s, binary %d %s", name, rpc.ID, rpc.Method, cf.GetId(), cf.GetMethod())
	}
	if diff := cmp.Diff(fromJSON, fromProto, protocmp.Transform()); diff != "" {
		t.Errorf("%s: request, JSON - binary +:\n%s", name, diff)
	}
}

func checkResponse(t *testing.T, name string, c methodCase, fresh func() proto.Message) {
	t.Helper()
	reply := serverFrame(t, c.ResponseHex).GetReply()
	var rpc struct {
		ID     uint32
		Result json.RawMessage
	}
	fromProto, fromJSON := fresh(), fresh()
	if err := errors.Join(json.Unmarshal(c.Response, &rpc), wire.UnmarshalAnswer(rpc.Result, fromJSON), proto.Unmarshal(reply.GetResult(), fromProto)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if diff := cmp.Diff(fromJSON, fromProto, protocmp.Transform()); diff != "" || rpc.ID != reply.GetId() {
		t.Errorf("%s: answers %d and %d, JSON - binary +:\n%s", name, rpc.ID, reply.GetId(), diff)
	}
}
