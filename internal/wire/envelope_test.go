package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func TestParseEnvelope(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want wire.Request
	}{
		{sendPacket, wire.Request{ID: wire.NumberID(7), Method: "message.send", Params: []byte(sendParams)}},
		{`{"method":"ping","jsonrpc":"2.0"}`, wire.Request{Method: "ping", Params: []byte("{}")}},
		{` {"jsonrpc":"2.0", "id":"a\u0062", "lane":3, "method":"p\u0069ng", "params": { } , "x":[]} `, wire.Request{ID: wire.TextID("ab"), Lane: 3, Method: "ping", Params: []byte("{ }")}},
		{`{"jsonrpc":"2.0","id":4294967295,"method":"ping"}`, wire.Request{ID: wire.NumberID(4294967295), Method: "ping", Params: []byte("{}")}},
		{`{"jsonrpc":"2.0","id":0,"method":"ping"}`, wire.Request{ID: wire.NumberID(0), Method: "ping", Params: []byte("{}")}},
		{`{"jsonrpc":"2.0","id":"","method":"ping"}`, wire.Request{ID: wire.TextID(""), Method: "ping", Params: []byte("{}")}},
		{`{"jsonrpc":"2.0","id":"` + strings.Repeat("é", 64) + `","method":"ping"}`, wire.Request{ID: wire.TextID(strings.Repeat("é", 64)), Method: "ping", Params: []byte("{}")}},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := wire.JSON.Parse([]byte(tt.in))
			if err != nil {
				t.Fatalf("Parse(%s) = %v; want no error", tt.in, err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(wire.ID{})); diff != "" {
				t.Errorf("Parse(%s), -want +got:\n%s", tt.in, diff)
			}
		})
	}
}

// Invariant 8: each broken envelope has its number, its id when it is known, and says what would have been right.
func TestParseEnvelopeBroken(t *testing.T) {
	t.Parallel()
	const idRule = "id: a whole number from 0 to 4294967295, or a string of at most 64"
	one := wire.NumberID(1)
	tests := []struct {
		in       string
		number   int
		id       wire.ID
		msg      string
		answered bool
	}{
		{``, -32700, wire.ID{}, "not valid JSON", true},
		{`{`, -32700, wire.ID{}, "not valid JSON", true},
		{`hello`, -32700, wire.ID{}, "not valid JSON", true},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"} x`, -32700, wire.ID{}, "not valid JSON", true},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":}}`, -32700, wire.ID{}, "not valid JSON", true},
		{"{\"jsonrpc\":\"\xff\"}", -32700, wire.ID{}, "not valid UTF-8", true},
		{`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, -32600, wire.ID{}, "batches are not taken", true},
		{`[]`, -32600, wire.ID{}, "batches are not taken", true},
		{`7`, -32600, wire.ID{}, "one object", true},
		{`{}`, -32600, wire.ID{}, "not a JSON-RPC 2.0 request", true},
		{`{"id":1,"method":"ping"}`, -32600, one, "not a JSON-RPC 2.0 request", true},
		{`{"jsonrpc":"1.0","id":1,"method":"ping"}`, -32600, one, "not a JSON-RPC 2.0 request", true},
		{`{"jsonrpc":2.0,"id":1,"method":"ping"}`, -32600, one, "not a JSON-RPC 2.0 request", true},
		{`{"jsonrpc":"2.0","id":1}`, -32600, one, "method: the name of a method", true},
		{`{"jsonrpc":"2.0","id":1,"method":""}`, -32600, one, "method: the name of a method", true},
		{`{"jsonrpc":"2.0","id":1,"method":5}`, -32600, one, "method: the name of a method", true},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","lane":4}`, -32600, one, "lane: a whole number from 0 to 3", true},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","lane":"1"}`, -32600, one, "lane: a whole number from 0 to 3", true},
		{`{"jsonrpc":"2.0","method":"ping","lane":-1}`, -32600, wire.ID{}, "lane: a whole number from 0 to 3", true},
		{`{"jsonrpc":"2.0","id":null,"method":"ping"}`, -32600, wire.ID{}, idRule, true},
		{`{"jsonrpc":"2.0","id":-1,"method":"ping"}`, -32600, wire.ID{}, idRule, true},
		{`{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, -32600, wire.ID{}, idRule, true},
		{`{"jsonrpc":"2.0","id":4294967296,"method":"ping"}`, -32600, wire.ID{}, idRule, true},
		{`{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 65) + `","method":"ping"}`, -32600, wire.ID{}, idRule, true},
		{`{"jsonrpc":"2.0","id":"\ud83d","method":"ping"}`, -32600, wire.ID{}, idRule, true},
		{`{"jsonrpc":"2.0","id":{},"method":"ping"}`, -32600, wire.ID{}, idRule, true},
		{`{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, -32600, wire.ID{}, "a member stands twice in one object", true},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","params":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, -32600, wire.ID{}, "nested deeper than 32 levels", true},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`, -32602, one, "params: an object is needed", true},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`, -32602, one, "params: an object is needed", true},
		{`{"jsonrpc":"2.0","method":"ping","params":"x"}`, -32602, wire.ID{}, "params: an object is needed", false},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			_, err := wire.ParseEnvelope([]byte(tt.in))
			var e *wire.EnvelopeError
			if !errors.As(err, &e) {
				t.Fatalf("ParseEnvelope(%s) = %v; want an EnvelopeError", tt.in, err)
			}
			if e.Number != tt.number || e.ID != tt.id || e.Answered() != tt.answered || wire.Number(err) != tt.number {
				t.Errorf("ParseEnvelope(%s) = number %d, id %s, answered %v; want %d, %s, %v",
					tt.in, e.Number, e.ID, e.Answered(), tt.number, tt.id, tt.answered)
			}
			if !strings.Contains(message(err), tt.msg) || fault.CodeOf(err) != fault.Invalid {
				t.Errorf("ParseEnvelope(%s) = %v; want INVALID_ARGUMENT with %q", tt.in, err, tt.msg)
			}
		})
	}
}

func TestAnswersInJSON(t *testing.T) {
	t.Parallel()
	object := wire.ErrorObject(fault.New(fault.RateLimited, "slow \"down\"").After(1500*time.Microsecond), "r1")
	tests := []struct{ name, got, want string }{
		{"result", string(wire.JSON.Result(nil, wire.NumberID(1), []byte(`{"a":1}`))), `{"jsonrpc":"2.0","id":1,"result":{"a":1}}`},
		{"text id", string(wire.JSON.Result(nil, wire.TextID(`a"b`), []byte(`{}`))), `{"jsonrpc":"2.0","id":"a\"b","result":{}}`},
		{
			"error", string(wire.JSON.Error(nil, wire.ID{}, object, 8)),
			`{"jsonrpc":"2.0","id":null,"error":{"code":8,"message":"slow \"down\"","data":{"code":"RESOURCE_EXHAUSTED",` +
				`"reason":"RATE_LIMITED","message":"slow \"down\"","fields":[],"retryAfterMs":2,"requestId":"r1"}}}`,
		},
		{"push", string(wire.JSON.Push(nil, "resync", []byte(`{"epoch":2}`))), `{"jsonrpc":"2.0","method":"resync","params":{"epoch":2}}`},
		{"entry push", string(wire.JSON.EntryPush(nil, 7, []byte(`{"seq":1}`))), `{"jsonrpc":"2.0","method":"entry","params":{"n":7,"entry":{"seq":1}}}`},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s = %s; want %s", tt.name, tt.got, tt.want)
		}
	}
}

func TestNumberAndErrorObject(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err    error
		number int
		reason string
		msg    string
	}{
		{fault.New(fault.UnknownMethod, "x"), -32601, "UNKNOWN_METHOD", "x"},
		{fault.New(fault.Malformed, "x"), -32602, "MALFORMED", "x"},
		{fault.InvalidField("a", "b"), 3, "INVALID_FIELD", "a: b"},
		{fault.New(fault.NotFoundReason, "x"), 5, "NOT_FOUND", "x"},
		{io.ErrUnexpectedEOF, 13, "INTERNAL", "internal error"},
		{nil, 13, "INTERNAL", "internal error"},
		{fault.New(fault.Muted, "a\xff"), 7, "MUTED", "a\ufffd"},
	}
	for _, tt := range tests {
		e := wire.ErrorObject(tt.err, "r")
		if n := wire.Number(tt.err); n != tt.number || e.GetReason() != tt.reason || e.GetMessage() != tt.msg {
			t.Errorf("ErrorObject(%v) = %d, %v; want %d, %s, %s", tt.err, n, e, tt.number, tt.reason, tt.msg)
		}
	}
}

// The frames that are written by hand are those that the generated code writes.
func TestFrames(t *testing.T) {
	t.Parallel()
	entry := textEntry()
	body, err := wire.Proto.Append(nil, entry)
	if err != nil {
		t.Fatal(err)
	}
	push, err := proto.Marshal(&wirev1.EntryPush{N: 300, Entry: entry})
	if err != nil {
		t.Fatal(err)
	}
	object := wire.ErrorObject(fault.New(fault.NotFoundReason, "x"), "r1")
	tests := []struct {
		name string
		got  []byte
		want *wirev1.ServerFrame
	}{
		{"result", wire.Proto.Result(nil, wire.NumberID(300), body), reply(&wirev1.Reply{Id: 300, Outcome: &wirev1.Reply_Result{Result: body}})},
		{"empty result", wire.Proto.Result(nil, wire.NumberID(0), nil), reply(&wirev1.Reply{Outcome: &wirev1.Reply_Result{Result: []byte{}}})},
		{"error", wire.Proto.Error(nil, wire.NumberID(1), object, 5), reply(&wirev1.Reply{Id: 1, Outcome: &wirev1.Reply_Error{Error: object}})},
		{"push", wire.Proto.Push(nil, "resync", []byte{8, 2}), &wirev1.ServerFrame{Kind: &wirev1.ServerFrame_Push{Push: &wirev1.Push{Method: "resync", Params: []byte{8, 2}}}}},
		{"entry", wire.Proto.EntryPush(nil, 300, body), &wirev1.ServerFrame{Kind: &wirev1.ServerFrame_Push{Push: &wirev1.Push{Method: "entry", Params: push}}}},
	}
	for _, tt := range tests {
		var got wirev1.ServerFrame
		if err := proto.Unmarshal(tt.got, &got); err != nil {
			t.Errorf("%s is no ServerFrame: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, &got, protocmp.Transform()); diff != "" {
			t.Errorf("%s, -want +got:\n%s", tt.name, diff)
		}
	}
}

func reply(r *wirev1.Reply) *wirev1.ServerFrame {
	return &wirev1.ServerFrame{Kind: &wirev1.ServerFrame_Reply{Reply: r}}
}

func TestParseFrame(t *testing.T) {
	t.Parallel()
	frame := func(f *wirev1.ClientFrame) []byte {
		b, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, err := wire.Proto.Parse(frame(&wirev1.ClientFrame{Id: proto.Uint32(0), Lane: 2, Method: "ping", Params: []byte{1}}))
	want := wire.Request{ID: wire.NumberID(0), Lane: 2, Method: "ping", Params: []byte{1}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(wire.ID{})); err != nil || diff != "" {
		t.Errorf("Parse = %v, -want +got:\n%s", err, diff)
	}
	for name, tt := range map[string]struct {
		in     []byte
		number int
	}{
		"garbage":   {[]byte{0xff}, -32700},
		"empty":     {nil, -32600},
		"no method": {frame(&wirev1.ClientFrame{Id: proto.Uint32(1)}), -32600},
		"lane":      {frame(&wirev1.ClientFrame{Id: proto.Uint32(1), Method: "ping", Lane: 4}), -32600},
	} {
		if _, err := wire.Proto.Parse(tt.in); wire.Number(err) != tt.number {
			t.Errorf("Parse(%s) = %v; want number %d", name, err, tt.number)
		}
	}
	if err := wire.Proto.Decode([]byte{0xff}, &messagev1.SendRequest{}); fault.ReasonOf(err) != fault.Malformed {
		t.Errorf("Decode of garbage = %v; want MALFORMED", err)
	}
}
