package wire_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
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

// FuzzParse: no packet of any form breaks the parser, and what is taken keeps its id in the answer.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sendPacket))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"a\n","lane":1,"method":"ping","params":{}}`))
	f.Add([]byte("\x08\x01\x1a\x04ping"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, form := range []wire.Form{wire.JSON, wire.Proto} {
			r, err := form.Parse(data)
			if err != nil {
				continue
			}
			if r.Method == "" || r.Lane < 0 || r.Lane > 3 {
				t.Fatalf("Parse(%q) = %+v; want a method and a lane", data, r)
			}
			if form == wire.JSON && !(json.Valid(data) && json.Valid(wire.AppendResult(nil, r.ID, r.Params))) {
				t.Fatalf("Parse(%q) = %+v; want an error", data, r)
			}
		}
	})
}
