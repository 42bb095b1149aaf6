package wire_test

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// message returns what a client reads of err, or "".
func message(err error) string {
	if err == nil {
		return ""
	}
	return fault.Of(err).Msg
}

func TestDecodeQuery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		query string
		want  proto.Message
		err   string
	}{
		{query: "afterSeq=0&limit=10", want: &queryv1.HistoryRequest{AfterSeq: proto.Uint64(0), Limit: proto.Int32(10)}},
		{query: "limit=-5", want: &queryv1.HistoryRequest{Limit: proto.Int32(-5)}},
		{query: "atTime=2026-01-31T08:30:00.120Z", want: &queryv1.HistoryRequest{AtTime: sometime}},
		{query: "utm_source=x&after_seq=7&conversationId.x=1", want: &queryv1.HistoryRequest{}},
		{query: "afterSeq=&atTime=", want: &queryv1.HistoryRequest{}},
		{query: "userIds=a,b&userIds=c&userIds=", want: &presencev1.GetRequest{UserIds: []string{"a", "b", "c"}}},
		{query: "query=a,b&pageToken=", want: &userv1.SearchRequest{Query: "a,b"}},
		{query: "direction=outgoing", want: &userv1.ListFriendRequestsRequest{Direction: userv1.Direction_DIRECTION_OUTGOING}},
		{query: "resend=true&text.text=hi&nothing.x=1", want: &messagev1.SendRequest{Resend: true, Text: &messagev1.Text{Text: "hi"}}},
		{query: "tags=a,b", want: &userv1.UpdateFriendRequest{Tags: &userv1.TagList{Values: []string{"a", "b"}}}},

		{query: "afterSeq=abc", want: &queryv1.HistoryRequest{}, err: "afterSeq: a whole number from 0"},
		{query: "afterSeq=-1", want: &queryv1.HistoryRequest{}, err: "afterSeq: a whole number from 0"},
		{query: "afterSeq=%201", want: &queryv1.HistoryRequest{}, err: "afterSeq: a whole number from 0"},
		{query: "limit=1.5", want: &queryv1.HistoryRequest{}, err: "limit: a whole number"},
		{query: "limit=1&limit=2", want: &queryv1.HistoryRequest{}, err: "limit: given once"},
		{query: "atTime=now", want: &queryv1.HistoryRequest{}, err: "atTime: a time as in RFC 3339, such as 2026-01-31T08:30:00.000Z"},
		{query: "query=%ff", want: &userv1.SearchRequest{}, err: "query: text in UTF-8"},
		{query: "direction=up", want: &userv1.ListFriendRequestsRequest{}, err: "direction: one of incoming, outgoing"},
		{query: "resend=1", want: &messagev1.SendRequest{}, err: "resend: true or false"},
		{query: "text=hi", want: &messagev1.SendRequest{}, err: "text: not given in a URL"},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			t.Parallel()
			values, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			got := tt.want.ProtoReflect().New().Interface()
			err = wire.DecodeQuery(got, values)
			if message(err) != tt.err || err != nil && fault.ReasonOf(err) != fault.InvalidFieldReason {
				t.Fatalf("DecodeQuery(%s) = %v; want %q", tt.query, err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); err == nil && diff != "" {
				t.Errorf("DecodeQuery(%s), -want +got:\n%s", tt.query, diff)
			}
		})
	}
}

func TestSetField(t *testing.T) {
	t.Parallel()
	var m groupv1.RemoveMemberRequest
	for path, value := range map[string]string{"group_id": "g1", "userId": "u1"} {
		if err := wire.SetField(&m, path, value); err != nil {
			t.Errorf("SetField(%s) = %v; want no error", path, err)
		}
	}
	want := &groupv1.RemoveMemberRequest{GroupId: "g1", UserId: "u1"}
	if diff := cmp.Diff(want, &m, protocmp.Transform()); diff != "" {
		t.Errorf("SetField, -want +got:\n%s", diff)
	}
	err := wire.SetField(&queryv1.EntriesRequest{}, "after_seq", "x")
	if got, want := message(err), "afterSeq: a whole number from 0"; got != want {
		t.Errorf("SetField(after_seq, x) = %q; want %q", got, want)
	}
	if err := wire.SetField(&m, "nothing", "x"); fault.ReasonOf(err) != fault.InternalReason {
		t.Errorf("SetField(nothing) = %v; want INTERNAL", err)
	}
}
