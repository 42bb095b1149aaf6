package wire_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

func TestUnmarshalJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   string
		want proto.Message
	}{
		{"plain", sendParams, &messagev1.SendRequest{ClientMsgId: "m1", GroupId: "g1", Text: textEntry().GetText()}},
		{"white space", " { \"seq\" :\t7 ,\r\n\"conversationId\": \"g~1\" } ", &messagev1.MarkReadRequest{ConversationId: "g~1", Seq: 7}},
		{"unknown members are ignored", `{"x":{"y":[1,{"z":null}]},"seq":7,"Seq":8}`, &messagev1.MarkReadRequest{Seq: 7}},
		{"names of the .proto file are unknown", `{"conversation_id":"g~1"}`, &messagev1.MarkReadRequest{}},
		{"an escaped name", `{"s\u0065q":7}`, &messagev1.MarkReadRequest{Seq: 7}},
		{"escapes", `{"conversationId":"\"\\\/\b\f\n\r\t\u00e9\ud83d\udc4d\u0000"}`, &messagev1.MarkReadRequest{ConversationId: "\"\\/\b\f\n\r\té👍\x00"}},
		{"null is unset", `{"seq":null,"conversationId":null}`, &messagev1.MarkReadRequest{}},
		{"null message and list", `{"text":null,"resend":null}`, &messagev1.SendRequest{}},
		{"null is not given where there is nothing to clear", `{"afterSeq":null,"limit":null,"beforeSeq":7}`, &queryv1.HistoryRequest{BeforeSeq: new(uint64(7))}},
		{"null clears what is optional", `{"nickname":null,"bio":"x"}`, &userv1.UpdateMeRequest{Nickname: new(""), Bio: new("x")}},
		{"null clears an enum", `{"lastSeen":null}`, &userv1.UpdateSettingsRequest{LastSeen: userv1.Audience_AUDIENCE_UNSPECIFIED.Enum()}},
		{"null clears a time", `{"mutedUntil":null}`, &groupv1.UpdateMemberRequest{MutedUntil: &timestamppb.Timestamp{}}},
		{"null clears a list", `{"tags":null}`, &userv1.UpdateFriendRequest{Tags: &userv1.TagList{}}},
		{"an empty list clears too", `{"tags":[]}`, &userv1.UpdateFriendRequest{Tags: &userv1.TagList{}}},
		{"a list of values is a plain list", `{"tags":["a","b"]}`, &userv1.UpdateFriendRequest{Tags: &userv1.TagList{Values: []string{"a", "b"}}}},
		{"absent leaves", `{}`, &userv1.UpdateFriendRequest{}},
		{"enum", `{"platform":"harmony"}`, &authv1.LoginRequest{Platform: authv1.Platform_PLATFORM_HARMONY}},
		{"enum of two words", `{"historyVisibility":"sinceJoin"}`, &groupv1.UpdateRequest{HistoryVisibility: groupv1.HistoryVisibility_HISTORY_VISIBILITY_SINCE_JOIN.Enum()}},
		{"empty enum is none", `{"platform":""}`, &authv1.LoginRequest{}},
		{"time with an offset", `{"atTime":"2026-01-31T16:30:00.12+08:00"}`, &queryv1.HistoryRequest{AtTime: sometime}},
		{"the greatest number", `{"seq":18446744073709551615}`, &messagev1.MarkReadRequest{Seq: 1<<64 - 1}},
		{"whole, written as a float", `{"seq":1.20e1}`, &messagev1.MarkReadRequest{Seq: 12}},
		{"minus zero", `{"seq":-0}`, &messagev1.MarkReadRequest{}},
		{"negative where allowed", `{"pageSize":-2147483648}`, &userv1.SearchRequest{PageSize: proto.Int32(-1 << 31)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := tt.want.ProtoReflect().New().Interface()
			if err := wire.UnmarshalJSON([]byte(tt.in), got); err != nil {
				t.Fatalf("UnmarshalJSON(%s) = %v; want no error", tt.in, err)
			}
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("UnmarshalJSON(%s), -want +got:\n%s", tt.in, diff)
			}
		})
	}
}

// Invariant 8: the field and the rule are named.
func TestUnmarshalJSONInvalid(t *testing.T) {
	t.Parallel()
	const (
		uintRule = "a whole number from 0"
		timeRule = "a time as in RFC 3339, such as 2026-01-31T08:30:00.000Z"
	)
	tests := []struct {
		into  proto.Message
		in    string
		field string
		rule  string
	}{
		{&messagev1.SendRequest{}, `{"text":{"mentions":[{},{},{"offset":-1}]}}`, "text.mentions[2].offset", uintRule},
		{&messagev1.SendRequest{}, `{"text":{"mentions":[{"offset":1.5}]}}`, "text.mentions[0].offset", uintRule},
		{&messagev1.SendRequest{}, `{"text":{"mentions":[{"offset":4294967296}]}}`, "text.mentions[0].offset", uintRule + " to 4294967295"},
		{&messagev1.SendRequest{}, `{"text":{"mentions":[null]}}`, "text.mentions[0]", "an object"},
		{&messagev1.SendRequest{}, `{"text":{"mentions":{}}}`, "text.mentions", "a list"},
		{&messagev1.SendRequest{}, `{"text":"hi"}`, "text", "an object"},
		{&messagev1.SendRequest{}, `{"text":{"text":5}}`, "text.text", "a string"},
		{&messagev1.SendRequest{}, `{"text":{"text":"\ud83d"}}`, "text.text", "text in Unicode, without lone surrogates"},
		{&messagev1.SendRequest{}, `{"text":{"text":"\udc4d\ud83d"}}`, "text.text", "text in Unicode, without lone surrogates"},
		{&messagev1.SendRequest{}, `{"resend":"true"}`, "resend", "true or false"},
		{&messagev1.SendRequest{}, `{"replyTo":[]}`, "replyTo", "a string"},
		{&messagev1.MarkReadRequest{}, `{"seq":"7"}`, "seq", uintRule},
		{&messagev1.MarkReadRequest{}, `{"seq":18446744073709551616}`, "seq", uintRule + " to 18446744073709551615"},
		{&messagev1.MarkReadRequest{}, `{"seq":1e400}`, "seq", uintRule + " to 18446744073709551615"},
		{&messagev1.MarkReadRequest{}, `{"seq":-1e400}`, "seq", uintRule},
		{&messagev1.MarkReadRequest{}, `{"seq":true}`, "seq", uintRule},
		{&userv1.SearchRequest{}, `{"pageSize":2147483648}`, "pageSize", "a whole number from -2147483648 to 2147483647"},
		{&userv1.SearchRequest{}, `{"pageSize":0.1}`, "pageSize", "a whole number"},
		{&authv1.LoginRequest{}, `{"platform":"palm"}`, "platform", "one of web, ios, android, harmony, desktop, bot"},
		{&authv1.LoginRequest{}, `{"platform":1}`, "platform", "one of web, ios, android, harmony, desktop, bot"},
		{&authv1.LoginRequest{}, `{"platform":"unknown7"}`, "platform", "one of web, ios, android, harmony, desktop, bot"},
		{&authv1.LoginRequest{}, `{"platform":"PLATFORM_WEB"}`, "platform", "one of web, ios, android, harmony, desktop, bot"},
		{&groupv1.CreateRequest{}, `{"memberIds":["a",null]}`, "memberIds[1]", "a string"},
		{&userv1.UpdateFriendRequest{}, `{"tags":["a",7]}`, "tags[1]", "a string"},
		{&userv1.UpdateFriendRequest{}, `{"tags":{"values":[]}}`, "tags", "a list"},
		{&queryv1.HistoryRequest{}, `{"atTime":5}`, "atTime", timeRule},
		{&queryv1.HistoryRequest{}, `{"atTime":"yesterday"}`, "atTime", timeRule},
		{&queryv1.HistoryRequest{}, `{"atTime":"2026-01-31T08:30:00"}`, "atTime", timeRule},
		{&queryv1.HistoryRequest{}, `{"atTime":"2026-02-30T08:30:00Z"}`, "atTime", timeRule},
		{&queryv1.HistoryRequest{}, `{"atTime":"0000-01-01T00:00:00Z"}`, "atTime", timeRule},
		{&messagev1.Entry{}, `{"text":{},"notice":{}}`, "notice", "at most one of text, notice, friendRequest, friendAdded, groupInvited"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			err := wire.UnmarshalJSON([]byte(tt.in), tt.into)
			if fault.ReasonOf(err) != fault.InvalidFieldReason {
				t.Fatalf("UnmarshalJSON(%s) = %v; want INVALID_FIELD", tt.in, err)
			}
			want := []fault.Field{{Field: tt.field, Rule: tt.rule}}
			if diff := cmp.Diff(want, fault.Of(err).Fields); diff != "" {
				t.Errorf("UnmarshalJSON(%s), fields -want +got:\n%s", tt.in, diff)
			}
		})
	}
}

func TestUnmarshalJSONMalformed(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return `{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	tests := []string{
		``, ` `, `null`, `[]`, `7`, `"x"`, `{`, `}`, `{"seq"}`, `{"seq":}`, `{"seq":1,}`, `{,}`, `{seq:1}`, `{'seq':1}`,
		`{"seq":1} x`, `{"seq":1}{}`, `{"seq":01}`, `{"seq":+1}`, `{"seq":.5}`, `{"seq":1.}`, `{"seq":1e}`, `{"seq":-}`,
		`{"seq":0x10}`, `{"seq":nul}`, `{"seq":NaN}`, `{"x":[1,]}`, `{"x":[,1]}`, `{"x":[1 2]}`, `{"x":"\x"}`, `{"x":"\u12"}`,
		`{"x":"\u+123"}`, "{\"x\":\"a\nb\"}", "{\"x\":\"\xff\"}", "{\"x\":\"\xed\xa0\x80\"}", `{"x":"`, `{"x":"\`, "\ufeff{}",
		`{"seq":1,"seq":2}`, `{"seq":"bad","x":}`, `{"seq":1 "x":2}`, "{\x00}", deep(32),
	}
	for _, in := range tests {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			err := wire.UnmarshalJSON([]byte(in), &messagev1.MarkReadRequest{})
			if got := fault.ReasonOf(err); got != fault.Malformed {
				t.Errorf("UnmarshalJSON(%q) = %v; want MALFORMED", in, err)
			}
		})
	}
	if err := wire.UnmarshalJSON([]byte(deep(31)), &messagev1.MarkReadRequest{}); err != nil {
		t.Errorf("UnmarshalJSON at 32 levels = %v; want no error", err)
	}
}

func TestUnmarshalAnswer(t *testing.T) {
	t.Parallel()
	var e messagev1.Entry
	if err := wire.UnmarshalAnswer([]byte(`{"kind":"poll","replyTo":null,"seq":3}`), &e); err != nil {
		t.Fatalf("UnmarshalAnswer of an unknown kind = %v; want no error", err)
	}
	if diff := cmp.Diff(&messagev1.Entry{Seq: 3}, &e, protocmp.Transform()); diff != "" {
		t.Errorf("UnmarshalAnswer of an unknown kind, -want +got:\n%s", diff)
	}
}

// What JSON cannot say is refused in protobuf too, with the same fault.
func TestDecodeProto(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		m     proto.Message
		field string // "" means that it is taken
	}{
		{"a word", &userv1.UpdateSettingsRequest{LastSeen: userv1.Audience_AUDIENCE_FRIENDS.Enum()}, ""},
		{"no word: cleared", &userv1.UpdateSettingsRequest{LastSeen: userv1.Audience_AUDIENCE_UNSPECIFIED.Enum()}, ""},
		{"a number without a word", &userv1.UpdateSettingsRequest{LastSeen: userv1.Audience(99).Enum()}, "lastSeen"},
		{"a time", &groupv1.UpdateMemberRequest{MutedUntil: sometime}, ""},
		{"time 0: cleared", &groupv1.UpdateMemberRequest{MutedUntil: &timestamppb.Timestamp{}}, ""},
		{"a time after the year 9999", &groupv1.UpdateMemberRequest{MutedUntil: &timestamppb.Timestamp{Seconds: 1 << 60}}, "mutedUntil"},
		{"negative nanoseconds", &queryv1.HistoryRequest{AtTime: &timestamppb.Timestamp{Nanos: -1}}, "atTime"},
		{"deep in a list", &queryv1.SyncResponse{Conversations: []*queryv1.Conversation{{}, {LastEntry: &messagev1.Entry{Kind: 99}}}}, "conversations[1].lastEntry.kind"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data, err := proto.Marshal(tt.m)
			if err != nil {
				t.Fatal(err)
			}
			got := tt.m.ProtoReflect().New().Interface()
			err = wire.Proto.Decode(data, got)
			switch {
			case tt.field == "" && (err != nil || !proto.Equal(got, tt.m)):
				t.Errorf("Decode(%v) = %v, %v; want the message", tt.m, got, err)
			case tt.field != "" && (fault.ReasonOf(err) != fault.InvalidFieldReason || fault.Of(err).Fields[0].Field != tt.field):
				t.Errorf("Decode(%v) = %v; want INVALID_FIELD of %s", tt.m, err, tt.field)
			}
		})
	}
}
