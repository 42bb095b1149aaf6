package message_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

func notice() *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: "g~team", SenderId: "ann", ClientMsgId: "n1", Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE,
		Body: &messagev1.Entry_Notice{Notice: &messagev1.Notice{Type: messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED}},
	}
}

func TestAppendBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		change func(*messagev1.Entry)
		want   []string
	}{
		{"conversation", func(e *messagev1.Entry) { e.ConversationId = "team" }, []string{"entry.conversationId"}},
		{"sender", func(e *messagev1.Entry) { e.SenderId = "" }, []string{"entry.senderId"}},
		{"clientMsgId", func(e *messagev1.Entry) { e.ClientMsgId = "" }, []string{"entry.clientMsgId"}},
		{"kind", func(e *messagev1.Entry) { e.Kind = 0 }, []string{"entry.kind"}},
		{"hidden", func(e *messagev1.Entry) { e.Kind = messagev1.EntryKind_ENTRY_KIND_HIDDEN }, []string{"entry.kind"}},
		{"body", func(e *messagev1.Entry) { e.Body = nil }, []string{"entry.kind"}},
		{"another's body", func(e *messagev1.Entry) { e.Kind = messagev1.EntryKind_ENTRY_KIND_TEXT }, []string{"entry.kind"}},
		{"all", func(e *messagev1.Entry) { proto.Reset(e) }, []string{"entry.conversationId", "entry.senderId", "entry.clientMsgId", "entry.kind"}},
	} {
		e := notice()
		tt.change(e)
		_, err := w.internal.Append(t.Context(), &messagev1.AppendRequest{Entry: e})
		wantReason(t, tt.name+": Append", err, fault.InvalidFieldReason)
		if got := fields(err); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Append names %q; want %q", tt.name, got, tt.want)
		}
	}
	_, err := w.internal.Append(t.Context(), &messagev1.AppendRequest{})
	wantReason(t, "Append of nothing", err, fault.InvalidFieldReason)
	if info, err := w.stream.Info(t.Context()); err != nil || info.Last != 0 {
		t.Errorf("the log has %d batches, %v; want none", info.Last, err)
	}
}

// A half-done command is repeated to completion: one effect, also when only the database remembers. Every kind passes,
// those of a newer version too (invariants 3, 10), and into an inbox.
func TestAppend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, err := w.internal.Append(t.Context(), &messagev1.AppendRequest{Entry: notice()})
	if err != nil {
		t.Fatal(err)
	}
	w.store()
	again, err := w.internal.Append(t.Context(), &messagev1.AppendRequest{Entry: notice()})
	if d := cmp.Diff(first, again, protocmp.Transform()); err != nil || d != "" {
		t.Errorf("the repeated Append: %v (-want +got):\n%s", err, d)
	}
	for n, e := range []*messagev1.Entry{
		{Kind: messagev1.EntryKind_ENTRY_KIND_FRIEND_REQUEST, Body: &messagev1.Entry_FriendRequest{FriendRequest: &messagev1.FriendRequest{UserId: "ann"}}},
		{Kind: messagev1.EntryKind_ENTRY_KIND_FRIEND_ADDED, Body: &messagev1.Entry_FriendAdded{FriendAdded: &messagev1.FriendAdded{UserId: "ann"}}},
		{Kind: messagev1.EntryKind_ENTRY_KIND_GROUP_INVITED, Body: &messagev1.Entry_GroupInvited{GroupInvited: &messagev1.GroupInvited{GroupId: "team"}}},
		{Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: "hi"}}},
		{Kind: 99},
	} {
		e.ConversationId, e.SenderId, e.ClientMsgId = "i~bob", "ann", string(rune('a'+n))
		r, err := w.internal.Append(t.Context(), &messagev1.AppendRequest{Entry: e})
		if err != nil || r.GetSeq() != uint64(n)+1 || r.GetOrdinal() != uint64(n)+1 {
			t.Errorf("Append of kind %d = seq %d, ordinal %d, %v; want %d, %d, nil", e.GetKind(), r.GetSeq(), r.GetOrdinal(), err, n+1, n+1)
		}
	}
}

// heads returns conversation → seq.
func (w *world) heads(req *messagev1.GetHeadsRequest) map[string]uint64 {
	w.t.Helper()
	r, err := w.internal.GetHeads(w.t.Context(), req)
	if err != nil {
		w.t.Fatalf("GetHeads(%v) = %v; want nil", req, err)
	}
	out := map[string]uint64{}
	for _, h := range r.GetHeads() {
		if _, ok := out[h.GetConversationId()]; ok {
			w.t.Errorf("GetHeads(%v) lists %s twice", req, h.GetConversationId())
		}
		out[h.GetConversationId()] = h.GetSeq()
	}
	return out
}

// What is stored is answered on demand only; what is not stored always.
func TestGetHeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann")
	w.send("ann", "d~ann~bob", "hi")
	w.send("ann", "g~team", "hi")
	w.store()
	eventually(t, "the log knows what is stored", func() bool {
		return len(w.heads(&messagev1.GetHeadsRequest{ConversationIds: []string{"d~ann~bob", "g~team"}})) == 0
	})
	w.send("bob", "d~ann~bob", "hi @ann")
	w.send("ann", "d~ann~cid", "hi")
	w.send("bob", "d~bob~cid", "hi")
	all := []string{"d~ann~bob", "g~team", "g~none", "d~ann~zed"}
	for _, tt := range []struct {
		name string
		req  *messagev1.GetHeadsRequest
		want map[string]uint64
	}{
		{"unstored", &messagev1.GetHeadsRequest{UserId: "ann", ConversationIds: all}, map[string]uint64{"d~ann~bob": 2}},
		{"stored too", &messagev1.GetHeadsRequest{UserId: "ann", ConversationIds: all, Stored: true}, map[string]uint64{"d~ann~bob": 2, "g~team": 1}},
		{"all direct", &messagev1.GetHeadsRequest{UserId: "ann", AllDirect: true}, map[string]uint64{"d~ann~bob": 2, "d~ann~cid": 1}},
		{
			"all direct and stored", &messagev1.GetHeadsRequest{UserId: "ann", AllDirect: true, Stored: true, ConversationIds: []string{"g~team", "d~ann~bob"}},
			map[string]uint64{"d~ann~bob": 2, "d~ann~cid": 1, "g~team": 1},
		},
		{"stranger", &messagev1.GetHeadsRequest{UserId: "eve", AllDirect: true}, map[string]uint64{}},
		{"nothing", &messagev1.GetHeadsRequest{}, map[string]uint64{}},
	} {
		if d := cmp.Diff(tt.want, w.heads(tt.req)); d != "" {
			t.Errorf("%s: GetHeads (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestReadTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 5 {
		w.send("ann", "d~ann~bob", "hi")
	}
	for _, tt := range []struct {
		name     string
		from, to uint64
		limit    uint32
		newest   bool
		want     []uint64
	}{
		{"all", 1, 1 << 62, 99, false, []uint64{1, 2, 3, 4, 5}},
		{"oldest", 2, 5, 2, false, []uint64{2, 3}},
		{"newest", 1, 4, 2, true, []uint64{3, 4}},
		{"beyond", 6, 9, 2, false, nil},
		{"reversed", 4, 2, 2, true, nil},
	} {
		r, err := w.internal.ReadTail(t.Context(), &messagev1.ReadTailRequest{
			ConversationId: "d~ann~bob", FromSeq: tt.from, ToSeq: tt.to, Limit: tt.limit, Newest: tt.newest,
		})
		var got []uint64
		for _, e := range r.GetEntries() {
			got = append(got, e.GetSeq())
		}
		if err != nil || !slices.Equal(got, tt.want) || r.GetHeadSeq() != 5 {
			t.Errorf("%s: ReadTail = %v, head %d, %v; want %v, 5, nil", tt.name, got, r.GetHeadSeq(), err, tt.want)
		}
	}
	_, err := w.internal.ReadTail(t.Context(), &messagev1.ReadTailRequest{ConversationId: "d~ann~bob", ToSeq: 9, Newest: true})
	wantReason(t, "ReadTail without a limit", err, fault.InvalidFieldReason)
}

func TestGetPositions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("ann", "d~ann~bob", "hi")
	r, err := w.internal.GetPositions(t.Context(), &messagev1.GetPositionsRequest{})
	if err != nil || r.GetEpoch() != 1 || !slices.Equal(r.GetPositions(), []uint64{1}) {
		t.Errorf("GetPositions = %v, %v; want epoch 1, positions [1]", r, err)
	}
}
