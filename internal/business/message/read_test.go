package message_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// markRead returns "seq/ordinal unread" of the answer.
func (w *world) markRead(u, c string, seq uint64) string {
	w.t.Helper()
	r, err := w.pub.MarkRead(w.as(u), &messagev1.MarkReadRequest{ConversationId: c, Seq: seq})
	if err != nil {
		w.t.Fatalf("MarkRead(%s, %s, %d) = %v; want nil", u, c, seq, err)
	}
	return fmt.Sprintf("%d/%d %d", r.GetRead().GetSeq(), r.GetRead().GetOrdinal(), r.GetUnread())
}

// Forward only, clamped, and with the same answers whether the log or the database has the entries. team's log: 1 and 4
// are notices, which do not raise the ordinal.
func TestMarkRead(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored=%v", stored), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.groups.add("team", "ann", "bob", "cid")
			w.notice("team")
			w.send("ann", "g~team", "2")
			w.send("ann", "g~team", "3")
			w.notice("team")
			w.send("bob", "g~team", "5")
			w.send("ann", "g~team", "6")
			if stored {
				w.store()
			}
			for _, step := range []struct {
				u    string
				seq  uint64
				want string
			}{
				{"cid", 0, "0/0 4"},
				{"cid", 1, "1/0 4"},
				{"cid", 4, "4/2 2"},
				{"cid", 2, "4/2 2"}, // forward only
				{"cid", 0, "4/2 2"},
				{"cid", 5, "5/3 1"},
				{"cid", math.MaxUint64, "6/4 0"}, // clamped
				{"cid", 3, "6/4 0"},
				{"bob", 2, "5/3 1"}, // own messages are read
				{"bob", 6, "6/4 0"},
				{"ann", 1, "6/4 0"},
			} {
				if got := w.markRead(step.u, "g~team", step.seq); got != step.want {
					t.Errorf("MarkRead(%s, %d) = %s; want %s", step.u, step.seq, got, step.want)
				}
			}
			w.send("ann", "g~team", "7")
			if got := w.markRead("cid", "g~team", 6); got != "6/4 1" {
				t.Errorf("MarkRead behind a new message = %s; want 6/4 1", got)
			}
		})
	}
}

// A member's cursor begins where it joined, and ends where it left; what came before or after counts for nothing.
func TestMarkReadOfMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann", "bob", "cid")
	for range 10 {
		w.send("ann", "g~team", "hi")
	}
	w.groups.edit("team", func(g *team) {
		g.members["bob"] = &groupv1.Membership{GroupId: "team", JoinSeq: 4, JoinOrdinal: 4, Visible: []*userv1.SeqRange{{From: 4}}}
		g.members["cid"] = &groupv1.Membership{
			GroupId: "team", JoinSeq: 2, JoinOrdinal: 2, LeaveOrdinal: 7, Visible: []*userv1.SeqRange{{From: 2, To: 7}},
		}
	})
	for _, step := range []struct {
		u    string
		seq  uint64
		want string
	}{{"bob", 1, "4/4 6"}, {"bob", 9, "9/9 1"}, {"cid", 0, "2/2 5"}, {"cid", 6, "6/6 1"}, {"cid", 9, "7/7 0"}} {
		if got := w.markRead(step.u, "g~team", step.seq); got != step.want {
			t.Errorf("MarkRead(%s, %d) = %s; want %s", step.u, step.seq, got, step.want)
		}
	}
}

func TestMarkReadRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "bob")
	for c, want := range map[string]fault.Reason{
		"":           fault.InvalidFieldReason,
		"d~bob~ann":  fault.InvalidFieldReason,
		"d~bob~cid":  fault.NotFoundReason,
		"d~ann~bob":  "", // empty, but both are there
		"g~team":     fault.NotFoundReason,
		"g~none":     fault.NotFoundReason,
		"i~bob":      fault.NotFoundReason,
		"i~ann":      "",
		"d~a~nobody": fault.NotFoundReason,
	} {
		_, err := w.pub.MarkRead(w.as("ann"), &messagev1.MarkReadRequest{ConversationId: c, Seq: 5})
		wantReason(t, fmt.Sprintf("MarkRead(%q)", c), err, want)
		if f := fields(err); want == fault.InvalidFieldReason && !slices.Equal(f, []string{"conversationId"}) {
			t.Errorf("MarkRead(%q) names %q; want conversationId", c, f)
		}
	}
	if got := w.signals.take(); len(got) != 0 {
		t.Errorf("%d signals were sent; want none: no cursor moved", len(got))
	}
}

func receipt(to, c, u string, seq uint64) *flowv1.Signal {
	return &flowv1.Signal{Schema: 1, UserIds: []string{to}, Push: &flowv1.Signal_Receipt{
		Receipt: &wirev1.ReceiptPush{ConversationId: c, UserId: u, DeliveredSeq: seq, ReadSeq: seq},
	}}
}

func own(u, c string) *flowv1.Signal {
	return &flowv1.Signal{Schema: 1, UserIds: []string{u}, ExceptConnectionId: u + "-1", Push: &flowv1.Signal_Conversation{
		Conversation: &wirev1.ConversationPush{Conversation: &queryv1.Conversation{ConversationId: c}},
	}}
}

// The direct peer gets a receipt, the reader's other devices the conversation; who blocks or is blocked learns nothing.
func TestReadIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.groups.add("team", "ann", "bob")
	for _, c := range []string{"d~ann~bob", "d~ann~cid", "d~ann~dan", "g~team"} {
		w.send("ann", c, "hi")
		w.send("ann", c, "hi")
	}
	w.users.block("cid", "ann")
	w.users.block("ann", "dan")
	for _, step := range []struct {
		u, c string
		seq  uint64
		want []*flowv1.Signal
	}{
		{"bob", "d~ann~bob", 1, []*flowv1.Signal{receipt("ann", "d~ann~bob", "bob", 1), own("bob", "d~ann~bob")}},
		{"bob", "d~ann~bob", 1, nil},
		{"bob", "d~ann~bob", 0, nil},
		{"bob", "d~ann~bob", 9, []*flowv1.Signal{receipt("ann", "d~ann~bob", "bob", 2), own("bob", "d~ann~bob")}},
		{"cid", "d~ann~cid", 2, []*flowv1.Signal{own("cid", "d~ann~cid")}},
		{"dan", "d~ann~dan", 2, []*flowv1.Signal{own("dan", "d~ann~dan")}},
		{"bob", "g~team", 2, []*flowv1.Signal{own("bob", "g~team")}},
	} {
		w.markRead(step.u, step.c, step.seq)
		if d := cmp.Diff(step.want, w.signals.take(), protocmp.Transform()); d != "" {
			t.Errorf("signals of MarkRead(%s, %s, %d) (-want +got):\n%s", step.u, step.c, step.seq, d)
		}
	}
}

// Telling may fail; the cursor has moved all the same.
func TestReadIsNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("ann", "d~ann~bob", "hi")
	w.send("ann", "d~ann~bob", "hi")
	w.query.err = errors.New("down")
	w.signals.err = errors.New("no connection")
	if got := w.markRead("bob", "d~ann~bob", 1); got != "1/1 1" {
		t.Errorf("MarkRead = %s; want 1/1 1", got)
	}
	if got := w.markRead("bob", "d~ann~bob", 0); got != "1/1 1" {
		t.Errorf("MarkRead afterwards = %s; want 1/1 1", got)
	}
}

func TestTyping(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--max-typing-group=3")
	w.groups.add("team", "ann", "bob", "cid")
	w.groups.add("large", "ann", "bob", "cid", "dan")
	w.groups.add("alone", "ann")
	w.groups.add("theirs", "bob")
	w.groups.add("old", "ann", "bob")
	w.groups.edit("old", func(g *team) { g.members["ann"].Visible[0].To = 3 })
	w.users.block("cid", "ann")
	for _, tt := range []struct {
		c    string
		told int // users
		err  fault.Reason
	}{
		{c: "d~ann~bob", told: 1},
		{c: "g~team", told: 2},
		{c: "g~large"},
		{c: "g~alone"},
		{c: "g~theirs", err: fault.NotFoundReason},
		{c: "g~old", err: fault.NotMember},
		{c: "d~ann~cid", err: fault.NotAllowed},
		{c: "d~ann~nobody", err: fault.NotFoundReason},
		{c: "d~bob~cid", err: fault.NotFoundReason},
		{c: "i~ann", err: fault.NotFoundReason},
		{c: "team", err: fault.InvalidFieldReason},
		{c: "", err: fault.InvalidFieldReason},
	} {
		_, err := w.pub.Typing(w.as("ann"), &messagev1.TypingRequest{ConversationId: tt.c})
		wantReason(t, "Typing in "+tt.c, err, tt.err)
		var told []string
		for _, s := range w.signals.take() {
			if s.GetTyping().GetConversationId() != tt.c || s.GetTyping().GetUserId() != "ann" {
				t.Errorf("Typing in %s tells %v", tt.c, s)
			}
			told = append(told, s.GetUserIds()...)
		}
		for _, u := range told {
			if u == "ann" {
				t.Errorf("Typing in %s tells ann herself", tt.c)
			}
		}
		if len(told) != tt.told {
			t.Errorf("Typing in %s tells %q; want %d users", tt.c, told, tt.told)
		}
	}
}
