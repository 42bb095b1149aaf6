package wire_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// FuzzUnmarshalJSON: whatever comes is a request or gets one of two answers; what is taken is JSON, and what was read is
// written and read back the same.
func FuzzUnmarshalJSON(f *testing.F) {
	for _, s := range []string{
		sendParams, `{}`, `[]`, `{"tags":["a"],"remark":null}`, `{"seq":1e3,"x":{"y":[]}}`, `{"kind":"text","text":{"text":"\ud83d\udc4d"}}`,
		`{"sentAt":"2026-01-31T08:30:00.120Z","reactions":[{"emoji":"x","userIds":[]}]}`, `{"peer":null,"maxSeq":7}`, `{"a":`, `{"a":"\u12"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []proto.Message{&messagev1.Entry{}, &messagev1.SendRequest{}, &queryv1.Conversation{}, &userv1.UpdateFriendRequest{}} {
			err := wire.UnmarshalJSON(data, m)
			checkFuzzed(t, data, m, err)
		}
	})
}

func checkFuzzed(t *testing.T, data []byte, m proto.Message, err error) {
	t.Helper()
	reason := fault.ReasonOf(err)
	if err != nil && reason != fault.InvalidFieldReason && reason != fault.Malformed {
		t.Fatalf("UnmarshalJSON(%q) = %v; want INVALID_FIELD or MALFORMED", data, err)
	}
	if reason != fault.Malformed && !(json.Valid(data) && utf8.Valid(data)) {
		t.Fatalf("UnmarshalJSON(%q) = %v; want MALFORMED", data, err)
	}
	if err != nil {
		return
	}
	encoded, err := wire.MarshalJSON(m)
	if err != nil || !json.Valid(encoded) || !utf8.Valid(encoded) {
		t.Fatalf("MarshalJSON(%v) = %q, %v; want JSON", m, encoded, err)
	}
	back := m.ProtoReflect().New().Interface()
	if err := wire.UnmarshalAnswer(encoded, back); err != nil {
		t.Fatalf("UnmarshalAnswer(%s) = %v; want no error", encoded, err)
	}
	again, err := wire.MarshalJSON(back)
	if err != nil || string(again) != string(encoded) {
		t.Fatalf("MarshalJSON after reading back = %s, %v; want %s", again, err, encoded)
	}
}

// FuzzAppendJSON: whatever message there is, what is written is JSON in UTF-8 and reads back as the same message.
func FuzzAppendJSON(f *testing.F) {
	for _, m := range []proto.Message{textEntry(), noticeEntry(), conversation()} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []proto.Message{&messagev1.Entry{}, &queryv1.Conversation{}, &userv1.UpdateFriendRequest{}} {
			if proto.Unmarshal(data, m) != nil {
				continue
			}
			encoded, err := wire.MarshalJSON(m)
			if err != nil {
				continue // a time that cannot be
			}
			checkFuzzed(t, encoded, m, wire.UnmarshalAnswer(encoded, m))
			if again, err := wire.MarshalJSON(m); err != nil || string(again) != string(encoded) {
				t.Fatalf("MarshalJSON after reading back = %s, %v; want %s", again, err, encoded)
			}
		}
	})
}

// FuzzParse: no packet of any form breaks the parser, what is taken keeps its id in the answer, and what is refused gets
// an answer that is a whole frame.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sendPacket))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"a\n","lane":1,"method":"ping","params":{}}`))
	f.Add([]byte("\x08\x01\x1a\x04ping"))
	var cases []requestCase
	readVectors(f, "requests", &cases)
	for _, c := range cases {
		raw, _ := hex.DecodeString(c.Hex)
		f.Add(append(raw, c.Frame...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzEnvelope(t, data)
		fuzzFrame(t, data)
	})
}

func fuzzEnvelope(t *testing.T, data []byte) {
	t.Helper()
	r, err := wire.JSON.Parse(data)
	if err != nil {
		id, number := refusalOf(t, data, err)
		answer := wire.JSON.Error(nil, id, wire.ErrorObject(err, "r"), number)
		if !json.Valid(answer) || !utf8.Valid(answer) {
			t.Fatalf("Parse(%q) is answered %q; want JSON", data, answer)
		}
		return
	}
	if !json.Valid(data) || r.Method == "" || r.Lane < 0 || r.Lane > 3 || !json.Valid(r.Params) || r.Params[0] != '{' {
		t.Fatalf("Parse(%q) = %+v; want a method, a lane and params", data, r)
	}
	if answer := wire.JSON.Result(nil, r.ID, r.Params); !json.Valid(answer) {
		t.Fatalf("Parse(%q) is answered %q; want JSON", data, answer)
	}
}

func fuzzFrame(t *testing.T, data []byte) {
	t.Helper()
	r, err := wire.Proto.Parse(data)
	var reply wirev1.ServerFrame
	if err != nil {
		id, number := refusalOf(t, data, err)
		answer := wire.Proto.Error(nil, id, wire.ErrorObject(err, "r"), number)
		if proto.Unmarshal(answer, &reply) != nil || reply.GetReply().GetError().GetReason() == "" {
			t.Fatalf("Parse(%x) is answered %x; want a reply with an error", data, answer)
		}
		return
	}
	var f wirev1.ClientFrame
	if proto.Unmarshal(data, &f) != nil || r.Method != f.GetMethod() || r.Lane != int(f.GetLane()) || r.ID.Present() != (f.Id != nil) {
		t.Fatalf("Parse(%x) = %+v; want what the frame says", data, r)
	}
	if proto.Unmarshal(wire.Proto.Result(nil, r.ID, r.Params), &reply) != nil || reply.GetReply().GetId() != f.GetId() ||
		string(reply.GetReply().GetResult()) != string(f.GetParams()) {
		t.Fatalf("Parse(%x) is answered %v; want its id and its params", data, &reply)
	}
}

func refusalOf(t *testing.T, data []byte, err error) (wire.ID, int) {
	t.Helper()
	var e *wire.EnvelopeError
	if !errors.As(err, &e) || e.Breaks() != (e.Number == wire.NumberNotJSON || e.Number == wire.NumberNotRPC) {
		t.Fatalf("Parse(%q) = %v; want an EnvelopeError", data, err)
	}
	return e.ID, e.Number
}
