package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// Frames as a server makes them, for each codec.
func frames(t *testing.T, name string, id uint32, m proto.Message, failure *wirev1.Error, push string) []byte {
	t.Helper()
	if name == "json" {
		body := func(m proto.Message) []byte {
			b, err := wire.MarshalJSON(m)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		switch {
		case push != "":
			return wire.AppendPush(nil, push, body(m))
		case failure != nil:
			return wire.AppendError(nil, wire.NumberID(id), failure, 14)
		}
		return wire.AppendResult(nil, wire.NumberID(id), body(m))
	}
	f := &wirev1.ServerFrame{}
	switch {
	case push != "":
		f.Kind = &wirev1.ServerFrame_Push{Push: &wirev1.Push{Method: push, Params: encoded(t, m)}}
	case failure != nil:
		f.Kind = &wirev1.ServerFrame_Reply{Reply: &wirev1.Reply{Id: id, Outcome: &wirev1.Reply_Error{Error: failure}}}
	default:
		f.Kind = &wirev1.ServerFrame_Reply{Reply: &wirev1.Reply{Id: id, Outcome: &wirev1.Reply_Result{Result: encoded(t, m)}}}
	}
	return encoded(t, f)
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a codec reads by hand is what the generated types and the server's own codec say.
func TestCodecParse(t *testing.T) {
	t.Parallel()
	ack := &messagev1.SendResponse{MessageId: "m42", ConversationId: "d~a~b", Seq: 42, Ordinal: 7}
	e := &messagev1.Entry{
		ConversationId: "d~a~b", Seq: 9, Ordinal: 8, MessageId: "m9", ClientMsgId: "run-3", SenderId: "a",
		Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: "xxx"}},
	}
	no := &wirev1.Error{Code: "UNAVAILABLE", Reason: "OVERLOADED", Message: "later", RetryAfterMs: 1500}
	for name, c := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.parse(frames(t, name, 7, ack, nil, ""))
			if err != nil || got.kind != answer || got.id != 7 || got.seq != 42 || string(got.messageID) != "m42" || got.refused {
				t.Errorf("parse of an answer = %+v, %v", got, err)
			}
			var back messagev1.SendResponse
			if err := c.result(got, &back); err != nil {
				t.Errorf("result = %v", err)
			}
			if d := cmp.Diff(ack, &back, protocmp.Transform()); d != "" {
				t.Errorf("result (-want +got):\n%s", d)
			}
			got, err = c.parse(frames(t, name, 8, nil, no, ""))
			if err != nil || got.kind != answer || got.id != 8 || !got.refused || got.reason != "OVERLOADED" || got.retryAfter != 1500 {
				t.Errorf("parse of a refusal = %+v, %v", got, err)
			}
			got, err = c.parse(frames(t, name, 0, &wirev1.EntryPush{N: 5, Entry: e}, nil, "entry"))
			if err != nil || got.kind != entry || got.n != 5 || got.seq != 9 || string(got.clientMsgID) != "run-3" {
				t.Errorf("parse of an entry = %+v, %v", got, err)
			}
			got, err = c.parse(frames(t, name, 0, &wirev1.ReceiptPush{UserId: "a", ReadSeq: 3}, nil, "receipt"))
			if err != nil || got.kind != other {
				t.Errorf("parse of a receipt = %+v, %v; want another", got, err)
			}
		})
	}
	if _, err := (protoCodec{}).parse([]byte{0x0a, 0xff}); err == nil {
		t.Error("parse of a broken frame: no error")
	}
}

// What a codec writes by hand is what the server reads.
func TestCodecWrites(t *testing.T) {
	t.Parallel()
	read := map[string]func(frame []byte, params proto.Message) (id uint32, method string, err error){
		"json": func(frame []byte, params proto.Message) (uint32, string, error) {
			r, err := wire.ParseEnvelope(frame)
			if err != nil {
				return 0, "", err
			}
			return 0, r.Method, wire.UnmarshalJSON(r.Params, params)
		},
		"proto": func(frame []byte, params proto.Message) (uint32, string, error) {
			f := &wirev1.ClientFrame{}
			if err := proto.Unmarshal(frame, f); err != nil {
				return 0, "", err
			}
			return f.GetId(), f.GetMethod(), proto.Unmarshal(f.GetParams(), params)
		},
	}
	for name, c := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, to := range []target{{userID: "u1"}, {groupID: "g1"}} {
				want := &messagev1.SendRequest{ClientMsgId: "run-12", ToUserId: to.userID, GroupId: to.groupID, Text: &messagev1.Text{Text: "hello"}}
				got := &messagev1.SendRequest{}
				_, method, err := read[name](c.sender(to, "hello")(nil, 13, []byte("run-12")), got)
				if d := cmp.Diff(want, got, protocmp.Transform()); err != nil || method != "message.send" || d != "" {
					t.Errorf("send = %s, %v (-want +got):\n%s", method, err, d)
				}
			}
			ack := &wirev1.AckRequest{}
			if _, method, err := read[name](c.ack(nil, 300), ack); err != nil || method != "ack" || ack.GetN() != 300 {
				t.Errorf("ack = %s %v, %v; want ack of 300", method, ack, err)
			}
			want, got := &queryv1.HistoryRequest{ConversationId: "d~a~b", AfterSeq: proto.Uint64(0)}, &queryv1.HistoryRequest{}
			frame, err := c.request(nil, 5, 1, "query.history", want)
			if err != nil {
				t.Fatal(err)
			}
			if _, method, err := read[name](frame, got); err != nil || method != "query.history" || !proto.Equal(want, got) {
				t.Errorf("request = %s %v, %v; want %v", method, got, err, want)
			}
		})
	}
}

func TestNumberAfter(t *testing.T) {
	t.Parallel()
	data := []byte(`{"seq":42,"id":"a1","open":"`)
	if n, ok := numberAfter(data, `"seq":`); n != 42 || !ok {
		t.Errorf("numberAfter(seq) = %d, %t; want 42, true", n, ok)
	}
	for _, key := range []string{`"id":`, `"none":`} {
		if _, ok := numberAfter(data, key); ok {
			t.Errorf("numberAfter(%s) = true; want false", key)
		}
	}
	for key, want := range map[string]string{`"id":"`: "a1", `"none":"`: "", `"open":"`: ""} {
		if got := string(bytesAfter(data, key)); got != want {
			t.Errorf("bytesAfter(%s) = %q; want %q", key, got, want)
		}
	}
}
