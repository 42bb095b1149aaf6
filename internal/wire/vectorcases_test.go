package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func encodeJSON(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := wire.MarshalJSON(m)
	if err != nil {
		t.Fatalf("MarshalJSON(%v) = %v; want nil", m, err)
	}
	return b
}

func encodeProto(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatalf("Marshal(%v) = %v; want nil", m, err)
	}
	return b
}

// request returns a client's frame in both forms; params is JSON that decodes to m.
func request(t *testing.T, method string, params []byte, m proto.Message) (asJSON []byte, asHex string) {
	t.Helper()
	f := &wirev1.ClientFrame{Id: proto.Uint32(1), Method: method, Params: encodeProto(t, m)}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params), hex.EncodeToString(encodeProto(t, f))
}

func exchange(t *testing.T, name, method string, params []byte, req, resp proto.Message) methodCase {
	t.Helper()
	c := methodCase{Name: name}
	c.Request, c.RequestHex = request(t, method, params, req)
	c.Response = wire.JSON.Result(nil, wire.NumberID(1), encodeJSON(t, resp))
	c.ResponseHex = hex.EncodeToString(wire.Proto.Result(nil, wire.NumberID(1), encodeProto(t, resp)))
	return c
}

// nulls returns params in which every optional field is null, and the message that a PATCH makes of it; nil where there
// is nothing to clear.
func nulls(m wire.Method) ([]byte, proto.Message) {
	req := m.NewRequest()
	fields := req.ProtoReflect().Descriptor().Fields()
	var parts []string
	for i := range fields.Len() {
		if f := fields.Get(i); f.HasOptionalKeyword() {
			parts = append(parts, fmt.Sprintf("%q:null", f.JSONName()))
		}
	}
	params := []byte("{" + strings.Join(parts, ",") + "}")
	if err := wire.UnmarshalJSON(params, req); err != nil || proto.Size(req) == 0 {
		return nil, nil
	}
	return params, req
}

func methodVectors(t *testing.T, m wire.Method) methodFile {
	t.Helper()
	req, resp := m.NewRequest(), m.NewResponse()
	file := methodFile{m.Name, string(m.Descriptor.Input().FullName()), string(m.Descriptor.Output().FullName()), nil}
	n := max(variants(m.Descriptor.Input()), variants(m.Descriptor.Output()))
	for i := range n {
		name := "every field"
		if i > 0 {
			name = fmt.Sprintf("every field, other words %d", i)
		}
		full := sample(req, i)
		file.Cases = append(file.Cases, exchange(t, name, m.Name, encodeJSON(t, full), full, sample(resp, i)))
	}
	file.Cases = append(file.Cases, exchange(t, "nothing is set", m.Name, []byte("{}"), req, resp))
	if params, cleared := nulls(m); params != nil {
		file.Cases = append(file.Cases, exchange(t, "null clears", m.Name, params, cleared, sample(resp, 0)))
	}
	if m.Name == "message.send" {
		file.Cases = append(file.Cases, sendVectors(t)...)
	}
	return file
}

// sendVectors are texts that codecs get wrong, and the largest numbers.
func sendVectors(t *testing.T) []methodCase {
	t.Helper()
	const most = 1<<53 - 1 // of a number in JSON
	resp := &messagev1.SendResponse{MessageId: "0123456789abcvvvvvvvvvv", ConversationId: "g~g1", Seq: most, Ordinal: most, SentAt: sometime}
	var cases []methodCase
	for _, c := range []struct{ name, text string }{
		{"text of all planes", "aé漢🌊👩‍👩‍👧 e\u0301 \u202eيمين"},
		{"text of control characters", "\x00\x01\t\n\r\x1f\x7f\u0085\u2028\u2029\ufeff\ufffd"},
		{"text of JSON and HTML", `"\/{}[]<script>&amp;'`},
		{"the longest text", strings.Repeat("🌊", 5000)},
	} {
		req := &messagev1.SendRequest{
			ClientMsgId: strings.Repeat("m", 64), GroupId: "g1", Text: &messagev1.Text{Text: c.text},
		}
		cases = append(cases, exchange(t, c.name, "message.send", encodeJSON(t, req), req, resp))
	}
	return cases
}

// connectionVectors are the gateway's own methods.
func connectionVectors(t *testing.T) []methodFile {
	t.Helper()
	var files []methodFile
	for _, m := range []struct {
		name      string
		req, resp proto.Message
	}{
		{"connect", &wirev1.ConnectRequest{}, &wirev1.ConnectResponse{}},
		{"ping", &wirev1.PingRequest{}, &wirev1.PingResponse{}},
		{"ack", &wirev1.AckRequest{}, &wirev1.AckResponse{}},
	} {
		rd, sd := m.req.ProtoReflect().Descriptor(), m.resp.ProtoReflect().Descriptor()
		f := methodFile{m.name, string(rd.FullName()), string(sd.FullName()), nil}
		for i := range max(variants(rd), variants(sd)) {
			full := sample(m.req, i)
			f.Cases = append(f.Cases, exchange(t, fmt.Sprintf("every field %d", i), m.name, encodeJSON(t, full), full, sample(m.resp, i)))
		}
		f.Cases = append(f.Cases, exchange(t, "nothing is set", m.name, []byte("{}"), m.req, m.resp))
		if m.name == "ack" { // a notification: no id, no answer
			req := &wirev1.AckRequest{N: 7}
			frame := encodeProto(t, &wirev1.ClientFrame{Method: "ack", Params: encodeProto(t, req)})
			f.Cases = append(f.Cases, methodCase{
				Name: "without an id there is no answer", Request: json.RawMessage(`{"jsonrpc":"2.0","method":"ack","params":{"n":7}}`),
				RequestHex: hex.EncodeToString(frame), Response: json.RawMessage("null"),
			})
		}
		files = append(files, f)
	}
	return files
}

func pushVectors(t *testing.T) []pushCase {
	t.Helper()
	var cases []pushCase
	add := func(name, method string, m proto.Message) {
		cases = append(cases, pushCase{
			name, method, string(m.ProtoReflect().Descriptor().FullName()),
			wire.JSON.Push(nil, method, encodeJSON(t, m)), hex.EncodeToString(wire.Proto.Push(nil, method, encodeProto(t, m))),
		})
	}
	for i := range variants((&messagev1.Entry{}).ProtoReflect().Descriptor()) {
		e, _ := sample(&messagev1.Entry{}, i).(*messagev1.Entry)
		e.Kind = kindOf(e)
		add("entry: "+wordOf(t, e), "entry", &wirev1.EntryPush{N: uint64(i + 1), Entry: e})
	}
	hidden := goldens()["entry_hidden"].(*messagev1.Entry)
	add("entry: hidden has a seq and no body", "entry", &wirev1.EntryPush{N: math.MaxUint32, Entry: hidden})
	add("entry: of a kind that is not known yet", "entry", &wirev1.EntryPush{N: 1, Entry: goldens()["entry_unknown"].(*messagev1.Entry)})
	for _, p := range []struct {
		method string
		m      proto.Message
	}{
		{"typing", &wirev1.TypingPush{}},
		{"presence", &wirev1.PresencePush{}},
		{"receipt", &wirev1.ReceiptPush{}},
		{"conversation", &wirev1.ConversationPush{}},
		{"resync", &wirev1.ResyncPush{}},
	} {
		for i := range variants(p.m.ProtoReflect().Descriptor()) {
			add(fmt.Sprintf("%s %d", p.method, i), p.method, sample(p.m, i))
		}
		add(p.method+": nothing is set", p.method, p.m)
	}
	for code := int32(4001); code <= 4008; code++ {
		add(fmt.Sprint("disconnect ", code), "disconnect", &wirev1.DisconnectPush{
			Code: code, Reason: "why", Reconnect: code != 4002 && code != 4003 && code != 4004, RetryAfterMs: map[int32]int64{4006: 1500, 4008: 5000}[code],
		})
	}
	return cases
}

// kindOf returns the kind of e's body.
func kindOf(e *messagev1.Entry) messagev1.EntryKind {
	r := e.ProtoReflect()
	body := r.WhichOneof(r.Descriptor().Oneofs().ByName("body"))
	return messagev1.EntryKind(messagev1.EntryKind_value["ENTRY_KIND_"+strings.ToUpper(string(body.Name()))])
}

func wordOf(t *testing.T, e *messagev1.Entry) string {
	t.Helper()
	var got struct{ Kind string }
	if err := json.Unmarshal(encodeJSON(t, e), &got); err != nil {
		t.Fatal(err)
	}
	return got.Kind
}

func errorVectors(t *testing.T) []errorCase {
	t.Helper()
	var cases []errorCase
	add := func(name string, err error, id wire.ID) {
		f := fault.Of(err)
		object := wire.ErrorObject(err, "r1")
		cases = append(cases, errorCase{
			name, string(f.Reason), string(f.Code), f.HTTP(), wire.Number(err),
			wire.JSON.Error(nil, id, object, wire.Number(err)), hex.EncodeToString(wire.Proto.Error(nil, id, object, wire.Number(err))),
		})
	}
	for _, r := range allReasons(t) {
		add(string(r), fault.New(r, "why"), wire.NumberID(1))
	}
	add("with fields", fault.InvalidFields(
		fault.Field{Field: "text.text", Rule: "1 to 5000 code points"}, fault.Field{Field: "memberIds[1]", Rule: "a string"}), wire.NumberID(1))
	add("with advice to wait, in milliseconds rounded up", fault.New(fault.RateLimited, "why").After(1500*time.Microsecond), wire.NumberID(1))
	add("the largest id", fault.New(fault.NotFoundReason, "why"), wire.NumberID(math.MaxUint32))
	add("id 0 is an id", fault.New(fault.NotFoundReason, "why"), wire.NumberID(0))
	for number, packet := range map[int]string{-32700: `{"jsonrpc":`, -32600: `[]`, -32602: `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`} {
		_, err := wire.ParseEnvelope([]byte(packet))
		var e *wire.EnvelopeError
		if !errors.As(err, &e) || e.Number != number {
			t.Fatalf("ParseEnvelope(%s) = %v; want %d", packet, err, number)
		}
		add(fmt.Sprintf("envelope %d", number), err, e.ID)
	}
	slices.SortStableFunc(cases[len(cases)-3:], func(a, b errorCase) int { return a.Number - b.Number })
	return cases
}

// allReasons reads the list from its source, so that a new one is not forgotten here.
func allReasons(t *testing.T) []fault.Reason {
	t.Helper()
	src, err := os.ReadFile("../fault/code.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []fault.Reason
	for _, m := range regexp.MustCompile(`Reason += "([A-Z_]+)"|^\t\w+ += "([A-Z_]+)"`).FindAllSubmatch(src, -1) {
		all = append(all, fault.Reason(m[1]))
	}
	if len(all) < 27 {
		t.Fatalf("found %d reasons %q; want those of the contract", len(all), all)
	}
	return all
}

func requestVectors(t *testing.T) []requestCase {
	t.Helper()
	send := `"method":"message.send","params":`
	text := func(name, frame string) requestCase { return requestCase{Name: name, Form: "json", Frame: frame} }
	frame := func(name string, f *wirev1.ClientFrame, tail ...byte) requestCase {
		return requestCase{Name: name, Form: "proto", Hex: hex.EncodeToString(append(encodeProto(t, f), tail...))}
	}
	one := proto.Uint32(1)
	cases := []requestCase{
		text("members in any order, white space, unknown members", ` {"params" : {"n": 7, "later":{"x":[null]}} ,"method":"ack","id":1,"jsonrpc":"2.0","zzz":[]}`),
		text("no params", `{"jsonrpc":"2.0","id":1,"method":"ping"}`),
		text("id 0", `{"jsonrpc":"2.0","id":0,"method":"ping"}`),
		text("the largest id", `{"jsonrpc":"2.0","id":4294967295,"method":"ping"}`),
		text("id beyond 32 bits", `{"jsonrpc":"2.0","id":4294967296,"method":"ping"}`),
		text("id negative", `{"jsonrpc":"2.0","id":-1,"method":"ping"}`),
		text("id with a fraction", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`),
		text("id null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`),
		text("id of 64 code points", `{"jsonrpc":"2.0","id":"`+strings.Repeat("🌊", 64)+`","method":"ping"}`),
		text("id of 65", `{"jsonrpc":"2.0","id":"`+strings.Repeat("a", 65)+`","method":"ping"}`),
		text("id that is an empty text", `{"jsonrpc":"2.0","id":"","method":"ping"}`),
		text("lane 3", `{"jsonrpc":"2.0","id":1,"lane":3,"method":"ping"}`),
		text("lane 4", `{"jsonrpc":"2.0","id":1,"lane":4,"method":"ping"}`),
		text("batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`),
		text("no version", `{"id":1,"method":"ping"}`),
		text("no method", `{"jsonrpc":"2.0","id":1}`),
		text("a member twice", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`),
		text("not JSON", `{"jsonrpc":"2.0","id":1,"method":"ping"`),
		text("two values", `{"jsonrpc":"2.0","id":1,"method":"ping"} {}`),
		text("params no object", `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`),
		text("unknown method", `{"jsonrpc":"2.0","id":1,"method":"no.such","params":{}}`),
		text("absent", `{"jsonrpc":"2.0","id":1,"method":"user.updateMe","params":{}}`),
		text("null clears in a PATCH", `{"jsonrpc":"2.0","id":1,"method":"user.updateMe","params":{"bio":null}}`),
		text("empty is the same as null there", `{"jsonrpc":"2.0","id":1,"method":"user.updateMe","params":{"bio":""}}`),
		text("null is absent elsewhere", `{"jsonrpc":"2.0","id":1,"method":"query.history","params":{"conversationId":"g~g1","afterSeq":null,"limit":null}}`),
		text("zero is not absent", `{"jsonrpc":"2.0","id":1,"method":"query.history","params":{"conversationId":"g~g1","afterSeq":0}}`),
		text("a number as float", `{"jsonrpc":"2.0","id":1,"method":"ack","params":{"n":7.0}}`),
		text("a number with exponent", `{"jsonrpc":"2.0","id":1,"method":"ack","params":{"n":1e3}}`),
		text("the largest number that all languages have", `{"jsonrpc":"2.0","id":1,"method":"ack","params":{"n":9007199254740991}}`),
		text("a number as text", `{"jsonrpc":"2.0","id":1,"method":"ack","params":{"n":"7"}}`),
		text("a number with a fraction", `{"jsonrpc":"2.0","id":1,"method":"ack","params":{"n":7.5}}`),
		text("a number below zero", `{"jsonrpc":"2.0","id":1,"method":"ack","params":{"n":-1}}`),
		text("a word of no enum", `{"jsonrpc":"2.0","id":1,"method":"user.updateSettings","params":{"lastSeen":"aliens"}}`),
		text("the number of an enum", `{"jsonrpc":"2.0","id":1,"method":"user.updateSettings","params":{"lastSeen":1}}`),
		text("names in snake case are unknown names", `{"jsonrpc":"2.0","id":1,"method":"message.markRead","params":{"conversation_id":"g~g1","seq":3}}`),
		text("escapes", `{"jsonrpc":"2.0","id":1,`+send+`{"text":{"text":"\u0061\ud83c\udf0a\n\/\u0000"}}}`),
		text("half of a surrogate pair", `{"jsonrpc":"2.0","id":1,`+send+`{"text":{"text":"\ud83c"}}}`),
		text("a field of the wrong type, deep", `{"jsonrpc":"2.0","id":1,`+send+`{"text":{"text":"a","mentions":[{"offset":1},{"offset":"1"}]}}}`),
		text("a time with an offset", `{"jsonrpc":"2.0","id":1,"method":"query.history","params":{"atTime":"2026-01-31T16:30:00.12+08:00"}}`),
		text("a time without a zone", `{"jsonrpc":"2.0","id":1,"method":"query.history","params":{"atTime":"2026-01-31T16:30:00"}}`),

		{Name: "not UTF-8", Form: "json", Hex: hex.EncodeToString([]byte("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}"))},

		frame("no params, no lane", &wirev1.ClientFrame{Id: one, Method: "ping"}),
		frame("id 0 is an id", &wirev1.ClientFrame{Id: proto.Uint32(0), Method: "ping"}),
		frame("the largest id, lane 3", &wirev1.ClientFrame{Id: proto.Uint32(math.MaxUint32), Lane: 3, Method: "ping"}),
		frame("no id: no answer", &wirev1.ClientFrame{Method: "ack", Params: []byte{8, 7}}),
		frame("lane 4", &wirev1.ClientFrame{Id: one, Lane: 4, Method: "ping"}),
		frame("no method", &wirev1.ClientFrame{Id: one}),
		frame("unknown fields, in the frame and in the params", &wirev1.ClientFrame{Id: one, Method: "ack", Params: []byte{8, 7, 0xa2, 6, 1, 'x'}}, 0xa8, 6, 1),
		frame("unknown method", &wirev1.ClientFrame{Id: one, Method: "no.such"}),
		frame("params no message", &wirev1.ClientFrame{Id: one, Method: "ack", Params: []byte{0xff}}),
		frame("text not UTF-8 in the params", &wirev1.ClientFrame{Id: one, Method: "query.getConversation", Params: []byte{10, 1, 0xff}}),
		frame("an optional field with zero", &wirev1.ClientFrame{Id: one, Method: "user.updateMe", Params: encodeProto(t, &userv1.UpdateMeRequest{Bio: new("")})}),
		frame("an enum's number without a word", &wirev1.ClientFrame{Id: one, Method: "user.updateSettings", Params: []byte{0x20, 99}}),
		frame("a time that is none", &wirev1.ClientFrame{Id: one, Method: "query.history", Params: encodeProto(t, &queryv1.HistoryRequest{AtTime: &timestamppb.Timestamp{Seconds: 1 << 60}})}),
		{Name: "no ClientFrame", Form: "proto", Hex: "ff"},
		{Name: "cut off", Form: "proto", Hex: "08011a0470696e"},
		{Name: "empty", Form: "proto", Hex: ""},
	}
	for i := range cases {
		judge(t, &cases[i])
	}
	return cases
}

// judge writes down what a server makes of the frame, decoding as gateway and router do.
func judge(t *testing.T, c *requestCase) {
	t.Helper()
	form, packet := wire.JSON, []byte(c.Frame)
	if c.Form == "proto" {
		form = wire.Proto
	}
	if c.Frame == "" {
		packet, _ = hex.DecodeString(c.Hex)
	}
	r, err := form.Parse(packet)
	if err == nil {
		c.ID, c.Lane, c.Method = idOf(r.ID), r.Lane, r.Method
		err = decodeParams(form, r, c)
	}
	if err == nil {
		return
	}
	var e *wire.EnvelopeError
	if errors.As(err, &e) {
		c.ID = idOf(e.ID)
	}
	f := fault.Of(err)
	c.Refused, c.Equals, c.Method, c.Lane = &refusal{Number: wire.Number(err), Reason: string(f.Reason)}, "", "", 0
	if len(f.Fields) > 0 {
		c.Refused.Field = f.Fields[0].Field
	}
}

func decodeParams(form wire.Form, r wire.Request, c *requestCase) error {
	var m proto.Message
	switch r.Method {
	case "ping":
		m = &wirev1.PingRequest{}
	case "ack":
		m = &wirev1.AckRequest{}
	default:
		method, ok := wire.Lookup(r.Method)
		if !ok {
			return fault.New(fault.UnknownMethod, "no such method")
		}
		m = method.NewRequest()
	}
	if err := form.Decode(r.Params, m); err != nil {
		return err
	}
	text, err := wire.MarshalJSON(m)
	c.Equals = string(text)
	return err
}

func idOf(id wire.ID) any {
	if !id.Present() {
		return nil
	}
	return json.RawMessage(id.String())
}

// tcpVectors are written down by hand: the door itself is tested with them in ws-gateway.
func tcpVectors() []tcpCase {
	ping := []byte("\x08\x01\x1a\x04ping")
	framed := func(b []byte) string {
		return hex.EncodeToString(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	}
	long := bytes.Repeat([]byte{0x22}, 300)
	return []tcpCase{
		{Name: "one frame", Stream: framed(ping), Limit: 65536, Frames: []string{hex.EncodeToString(ping)}},
		{Name: "two frames at once", Stream: framed(ping) + framed(ping), Limit: 65536, Frames: []string{hex.EncodeToString(ping), hex.EncodeToString(ping)}},
		{Name: "a length of two bytes", Stream: framed(long), Limit: 65536, Frames: []string{hex.EncodeToString(long)}},
		{Name: "an empty frame", Stream: "00" + framed(ping), Limit: 65536, Frames: []string{"", hex.EncodeToString(ping)}},
		{Name: "the length has not arrived", Stream: "80", Limit: 65536, Frames: []string{}, Rest: 1},
		{Name: "the frame has not arrived", Stream: framed(ping)[:8], Limit: 65536, Frames: []string{}, Rest: 4},
		{Name: "longer than 64 KiB", Stream: "818004", Limit: 65536, Frames: []string{}, Broken: true},
		{Name: "exactly 64 KiB, its content still to come", Stream: "808004", Limit: 65536, Frames: []string{}, Rest: 3},
		{Name: "longer than 4 KiB before connect", Stream: "8120", Limit: 4096, Frames: []string{}, Broken: true},
		{Name: "a length without end", Stream: "808080808080", Limit: 65536, Frames: []string{}, Broken: true},
	}
}
