package query_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// tiers runs a test with the writer stopped and with everything stored.
func tiers(t *testing.T, test func(t *testing.T, w *world, settle func())) {
	t.Helper()
	t.Run("unstored", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t), func() {})
	})
	t.Run("stored", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		test(t, w, w.storeAll)
	})
}

// QRY-1: the whole object, of each kind.
func TestConversation(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		w.say("d~ann~bob", "ann", "hi")
		last := w.say("d~ann~bob", "bob", "hi back", "ann")
		w.say("g~team", "bob", "")
		w.say("g~team", "bob", "before")
		w.say("g~team", "cid", "")
		w.say("g~team", "bob", "one")
		two := w.say("g~team", "bob", "two", "ann", "ann")
		inbox := w.say("i~ann", "bob", "asks")
		w.see("team", "ann", span(3, 0))
		settle()
		want := []*queryv1.Conversation{
			{
				ConversationId: "i~ann", Kind: queryv1.ConversationKind_CONVERSATION_KIND_INBOX, MinSeq: 1, Unread: 1,
				Head: &queryv1.Head{Seq: 1, Ordinal: 1, SentAt: inbox.GetSentAt()}, Read: &messagev1.Cursor{}, LastEntry: inbox,
			},
			{
				ConversationId: "g~team", Kind: queryv1.ConversationKind_CONVERSATION_KIND_GROUP, Title: "The team", Avatar: "team.png",
				MinSeq: 3, Head: &queryv1.Head{Seq: 5, Ordinal: 3, SentAt: two.GetSentAt()}, Read: &messagev1.Cursor{Seq: 3, Ordinal: 1},
				Unread: 2, MentionSeq: 5, LastEntry: two,
			},
			{
				ConversationId: "d~ann~bob", Kind: queryv1.ConversationKind_CONVERSATION_KIND_DIRECT, Title: "Nick bob", Avatar: "bob.png",
				Peer:   &userv1.User{UserId: "bob", Nickname: "Nick bob", Avatar: "bob.png"},
				MinSeq: 1, Head: &queryv1.Head{Seq: 2, Ordinal: 2, SentAt: last.GetSentAt()}, Read: &messagev1.Cursor{Seq: 1, Ordinal: 1},
				PeerReadSeq: 2, Unread: 1, MentionSeq: 2, LastEntry: last,
			},
		}
		got := w.list("ann")
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Errorf("ListConversations (-want +got):\n%s", d)
		}
		for _, c := range got {
			if d := cmp.Diff(c, w.get("ann", chat.ConversationID(c.GetConversationId())), protocmp.Transform()); d != "" {
				t.Errorf("GetConversation(%s) is not what is listed (-want +got):\n%s", c.GetConversationId(), d)
			}
		}
	})
}

// Unread is what raised the ordinal behind the cursor; own messages never are, and sending reads what is before.
func TestUnread(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		const team = chat.ConversationID("g~team")
		w.say(team, "ann", "") // groupCreated
		for _, u := range []string{"ann", "bob", "cid"} {
			w.see("team", u, span(1, 0))
		}
		want := func(what, u string, unread, mention, read uint64) {
			t.Helper()
			settle()
			c := w.get(u, team)
			if c.GetUnread() != unread || c.GetMentionSeq() != mention || c.GetRead().GetSeq() != read {
				t.Errorf("%s: %s has unread %d, mentionSeq %d, read %d; want %d, %d, %d", what, u,
					c.GetUnread(), c.GetMentionSeq(), c.GetRead().GetSeq(), unread, mention, read)
			}
		}
		w.say(team, "ann", "one", "bob") // 2
		w.say(team, "ann", "")
		w.say(team, "ann", "two", "bob", "cid") // 4
		want("fresh", "bob", 2, 2, 1)
		want("own", "ann", 0, 0, 4)
		w.read("bob", team, 2)
		want("read the first", "bob", 1, 4, 2)
		w.read("bob", team, 3)
		want("read the notice", "bob", 1, 4, 3)
		w.say(team, "cid", "three", "cid", "bob") // 5
		want("cid answers", "cid", 0, 0, 5)
		want("cid answered", "bob", 2, 4, 3)
		want("cid answered", "ann", 1, 0, 4)
		w.read("bob", team, 4)
		want("read the second mention", "bob", 1, 5, 4)
		w.read("bob", team, 5)
		want("read all", "bob", 0, 0, 5)
		w.say(team, "ann", "")
		want("a notice", "bob", 0, 0, 5)
	})
}

// A conversation that is read shows no mention, also when another one on the page is not.
func TestMentionOfRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say("d~ann~bob", "bob", "hi", "ann")
	w.say("d~ann~cid", "cid", "hi")
	w.read("ann", "d~ann~bob", 1)
	for _, c := range w.list("ann") {
		if c.GetMentionSeq() != 0 {
			t.Errorf("%s has mentionSeq %d; want 0", c.GetConversationId(), c.GetMentionSeq())
		}
	}
}

// Who joined late has nothing unread from before; who left sees its end; who came back counts from its return.
func TestMemberships(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		const team = chat.ConversationID("g~team")
		for n := range 10 {
			w.say(team, "ann", fmt.Sprint(n+1), "late", "left", "back")
		}
		left := w.see("team", "left", span(2, 6))
		w.see("team", "late", span(8, 0))
		w.see("team", "back", span(1, 3), span(7, 0))
		settle()
		type row struct{ Min, Max, Head, Ordinal, Read, Unread, Mention, Last uint64 }
		for u, want := range map[string]row{
			"left": {2, 6, 6, 6, 2, 4, 3, 6},
			"late": {8, 0, 10, 10, 8, 2, 9, 10},
			"back": {1, 0, 10, 10, 7, 3, 8, 10},
		} {
			c := w.get(u, team)
			got := row{
				c.GetMinSeq(), c.GetMaxSeq(), c.GetHead().GetSeq(), c.GetHead().GetOrdinal(), c.GetRead().GetSeq(), c.GetUnread(),
				c.GetMentionSeq(), c.GetLastEntry().GetSeq(),
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", u, d)
			}
			if c.GetLastEntry().GetKind() != messagev1.EntryKind_ENTRY_KIND_TEXT {
				t.Errorf("%s sees the last entry as %v; want its text", u, c.GetLastEntry().GetKind())
			}
			if (c.MaxSeq == nil) != (want.Max == 0) {
				t.Errorf("%s has maxSeq %v; want %d", u, c.MaxSeq, want.Max)
			}
		}
		if at := w.get("left", team).GetHead().GetSentAt(); !proto.Equal(at, left.GetLeftAt()) {
			t.Errorf("who left sees a head of %v; want of its leaving, %v", at.AsTime(), left.GetLeftAt().AsTime())
		}
		if got := w.list("eve"); len(got) != 0 {
			t.Errorf("a stranger's list has %v", got)
		}
		w.groups.members["team/odd"] = &groupv1.Membership{GroupId: "team"}
		if got := w.list("odd"); len(got) != 0 {
			t.Errorf("the list of a member without a stay has %v", got)
		}
	})
}

// Invariant 4: what the peer sent while it was blocked shows as hidden in the list too, but not one's own. A peer that
// is gone takes nothing away.
func TestLastEntryWithheld(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		w.say("d~ann~bob", "bob", "hi")
		w.say("d~ann~bob", "bob", "secret")
		w.say("d~ann~cid", "cid", "hi")
		w.users.withheld["bob>ann"] = []*userv1.SeqRange{span(2, 0)}
		w.users.gone["cid"] = true
		settle()
		all := w.list("ann")
		if d := cmp.Diff([]string{"d~ann~cid", "d~ann~bob"}, ids(all)); d != "" {
			t.Fatalf("ListConversations (-want +got):\n%s", d)
		}
		if got := all[0].GetLastEntry().GetText().GetText(); got != "hi" || all[0].GetPeer() != nil {
			t.Errorf("of who is gone the list has %q, peer %v; want hi, none", got, all[0].GetPeer())
		}
		if got := all[1].GetLastEntry(); got.GetKind() != messagev1.EntryKind_ENTRY_KIND_HIDDEN || got.GetBody() != nil || got.GetSeq() != 2 || got.GetSenderId() != "" {
			t.Errorf("of who is blocked the list has %v; want seq 2 hidden", got)
		}
		if got := w.get("bob", "d~ann~bob").GetLastEntry().GetText().GetText(); got != "secret" {
			t.Errorf("bob sees its own last entry as %q", got)
		}
		w.say("d~ann~bob", "ann", "mine")
		settle()
		if got := w.get("ann", "d~ann~bob").GetLastEntry().GetText().GetText(); got != "mine" {
			t.Errorf("ann sees its own last entry as %q", got)
		}
	})
}

// Newest activity first; equal times by id; pages go on while messages arrive: what did not change is listed once.
func TestListPages(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		var want []string
		for n := range 25 {
			c := chat.ConversationID(fmt.Sprintf("d~ann~b%02d", n))
			if n%3 == 0 {
				w.now = w.now.Add(time.Millisecond) // the others share a time
			}
			w.add(c, "ann", "hi")
			w.flush(c.Partition(partitions))
			want = append(want, string(c))
		}
		at := func(c string) int64 { return w.log[chat.ConversationID(c)][0].GetSentAt().AsTime().UnixMilli() }
		slices.SortStableFunc(want, func(a, b string) int { return int(at(b) - at(a)) })
		settle()
		for _, size := range []int32{1, 2, 7, 25, 100} {
			var got []string
			for token := ""; ; {
				r, err := w.query.ListConversations(w.as("ann"), &queryv1.ListConversationsRequest{PageSize: &size, PageToken: token})
				if err != nil || len(r.GetConversations()) > int(size) {
					t.Fatalf("ListConversations(%d, %q) = %d of them, %v", size, token, len(r.GetConversations()), err)
				}
				got = append(got, ids(r.GetConversations())...)
				if token = r.GetNextPageToken(); token == "" {
					break
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("pages of %d (-want +got):\n%s", size, d)
			}
		}
		var got []string
		changed := want[20]
		for token, n := "", 0; n == 0 || token != ""; n++ {
			r, err := w.query.ListConversations(w.as("ann"), &queryv1.ListConversationsRequest{PageSize: proto.Int32(4), PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			got, token = append(got, ids(r.GetConversations())...), r.GetNextPageToken()
			w.say(chat.ConversationID(changed), "ann", "again")
			settle()
		}
		rest := slices.DeleteFunc(slices.Clone(want), func(c string) bool { return c == changed })
		if d := cmp.Diff(rest, got); d != "" {
			t.Errorf("pages while %s moves to the top (-want +got):\n%s", changed, d)
		}
		if first := ids(w.list("ann"))[0]; first != changed {
			t.Errorf("the list begins with %s; want %s", first, changed)
		}
	})
}

func TestListRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say("d~ann~bob", "ann", "hi")
	bad := []string{"x", "%%%", "bnVsbA", base64.RawURLEncoding.EncodeToString([]byte(`{}`)), base64.RawURLEncoding.EncodeToString([]byte(`[1]`))}
	field := func(what string, err error, want string) {
		t.Helper()
		wantReason(t, what, err, fault.InvalidFieldReason)
		if f := fields(err); len(f) != 1 || f[0] != want {
			t.Errorf("%s names %v; want %s", what, f, want)
		}
	}
	for _, size := range []int32{0, -1} {
		_, err := w.query.ListConversations(w.as("ann"), &queryv1.ListConversationsRequest{PageSize: &size})
		field(fmt.Sprintf("ListConversations(%d)", size), err, "pageSize")
	}
	for _, token := range bad {
		_, err := w.query.ListConversations(w.as("ann"), &queryv1.ListConversationsRequest{PageToken: token})
		field("ListConversations("+token+")", err, "pageToken")
		_, err = w.query.Sync(w.as("ann"), &queryv1.SyncRequest{PageToken: token})
		field("Sync with page "+token, err, "pageToken")
	}
	for _, token := range append(bad[:2:2], bad[4]) {
		_, err := w.query.Sync(w.as("ann"), &queryv1.SyncRequest{SyncToken: token})
		field("Sync("+token+")", err, "syncToken")
	}
	for _, c := range []string{"", "team", "d~bob~ann"} {
		_, err := w.query.GetConversation(w.as("ann"), &queryv1.GetConversationRequest{ConversationId: c})
		field("GetConversation("+c+")", err, "conversationId")
	}
}

// What changed since the token is told, and nothing else: an entry, a cursor of one's own or the peer's, a membership.
func TestSync(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		w.say("d~ann~bob", "bob", "hi")
		w.say("d~ann~cid", "cid", "hi")
		w.say("g~team", "bob", "hi")
		w.say("g~old", "bob", "hi")
		w.see("team", "ann", span(1, 0))
		w.see("old", "ann", span(1, 0))
		settle()
		first := w.sync("ann", "", "")
		if d := cmp.Diff([]string{"g~old", "g~team", "d~ann~cid", "d~ann~bob"}, ids(first.GetConversations())); d != "" || first.GetResync() || first.GetEpoch() != 1 {
			t.Fatalf("the first Sync: epoch %d, resync %v (-want +got):\n%s", first.GetEpoch(), first.GetResync(), d)
		}
		token := first.GetSyncToken()
		for _, step := range []struct {
			name string
			do   func()
			want []string
		}{
			{"nothing", func() {}, []string{}},
			{"an entry", func() { w.say("d~ann~cid", "cid", "again") }, []string{"d~ann~cid"}},
			{"a new conversation", func() { w.say("d~ann~dan", "dan", "hello") }, []string{"d~ann~dan", "d~ann~cid"}},
			{"own cursor", func() { w.read("ann", "d~ann~bob", 1) }, []string{"d~ann~dan", "d~ann~cid", "d~ann~bob"}},
			{"a membership", func() {
				w.see("team", "ann", span(1, 1)).ChangedAt = timestamppb.Now()
			}, []string{"d~ann~dan", "d~ann~cid", "g~team", "d~ann~bob"}},
			{"what is behind leaving", func() { w.say("g~team", "bob", "secret") }, []string{"d~ann~dan", "d~ann~cid", "g~team", "d~ann~bob"}},
		} {
			step.do()
			settle()
			r := w.sync("ann", token, "")
			if d := cmp.Diff(step.want, ids(r.GetConversations())); d != "" || r.GetResync() {
				t.Errorf("Sync after %s: resync %v (-want +got):\n%s", step.name, r.GetResync(), d)
			}
		}
		w.read("bob", "d~ann~bob", 1)
		bob := w.sync("bob", "", "")
		w.storeAll()
		if got := ids(w.sync("bob", bob.GetSyncToken(), "").GetConversations()); len(got) != 1 {
			t.Errorf("Sync of bob = %v; want d~ann~bob: ann's cursor moved within the overlap", got)
		}
	})
}

// Ann learns from the sync that bob has read, also if the receipt was lost.
func TestSyncTellsReceipts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say("d~ann~bob", "ann", "hi")
	w.say("d~ann~cid", "ann", "hi")
	w.storeAll()
	token := w.sync("ann", "", "").GetSyncToken()
	w.read("bob", "d~ann~bob", 1)
	got := w.sync("ann", token, "").GetConversations()
	if len(got) != 1 || got[0].GetConversationId() != "d~ann~bob" || got[0].GetPeerReadSeq() != 1 {
		t.Errorf("Sync after bob has read = %v; want d~ann~bob with peerReadSeq 1", got)
	}
}

// The token is taken before anything is read: an entry that comes in between is told by the next sync at the latest.
func TestSyncTokenIsTakenFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say("d~ann~bob", "bob", "hi")
	said := false
	w.messages.afterTail = func() {
		if !said {
			said = true
			w.say("d~ann~cid", "cid", "in between") // ann's direct conversations were asked for already
		}
	}
	first := w.sync("ann", "", "")
	if got := ids(first.GetConversations()); len(got) != 1 || !said {
		t.Fatalf("the first Sync = %v; want d~ann~bob only", got)
	}
	if got := ids(w.sync("ann", first.GetSyncToken(), "").GetConversations()); len(got) != 1 || got[0] != "d~ann~cid" {
		t.Errorf("the second Sync = %v; want d~ann~cid", got)
	}
}

// All pages carry one token, that of the first: what comes while they are read is told by the next sync.
func TestSyncPages(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, w *world, settle func()) {
		for n := range 230 {
			w.now = w.now.Add(time.Millisecond)
			w.add(chat.ConversationID(fmt.Sprintf("d~ann~b%03d", n)), "ann", "hi")
		}
		w.flush(0)
		w.flush(1)
		settle()
		seen := map[string]bool{}
		first := w.sync("ann", "", "")
		r := first
		for pages := 1; ; pages++ {
			for _, c := range ids(r.GetConversations()) {
				seen[c] = true
			}
			if r.GetSyncToken() != first.GetSyncToken() {
				t.Fatalf("page %d has another token", pages)
			}
			if r.GetNextPageToken() == "" {
				if pages != 3 || len(seen) != 230 {
					t.Errorf("%d pages with %d conversations; want 3, 230", pages, len(seen))
				}
				break
			}
			if pages == 1 {
				w.say("d~ann~b000", "ann", "moves to the top unseen")
				settle()
				delete(seen, "d~ann~b000")
			}
			next := r.GetNextPageToken()
			r = w.sync("ann", "", next)
			if pages == 2 {
				seen["d~ann~b000"] = true // it is told by the next sync, below
			}
		}
		if got := ids(w.sync("ann", first.GetSyncToken(), "").GetConversations()); len(got) != 1 || got[0] != "d~ann~b000" {
			t.Errorf("the next Sync = %v; want d~ann~b000", got)
		}
	})
}

// L7: a token of another epoch, or of a log with another number of partitions, says nothing: resync, with everything.
func TestSyncEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.say("d~ann~bob", "ann", "hi")
	first := w.sync("ann", "", "")
	for name, now := range map[string]*messagev1.GetPositionsResponse{
		"epoch raised":    {Epoch: 2, Positions: []uint64{9, 9}},
		"more partitions": {Epoch: 1, Positions: []uint64{9, 9, 9}},
		"one partition":   {Epoch: 1, Positions: []uint64{9}},
	} {
		w.messages.positions = now
		r := w.sync("ann", first.GetSyncToken(), "")
		if !r.GetResync() || r.GetEpoch() != now.GetEpoch() || len(r.GetConversations()) != 1 {
			t.Errorf("%s: Sync = resync %v, epoch %d, %d conversations; want true, %d, 1", name, r.GetResync(), r.GetEpoch(), len(r.GetConversations()), now.GetEpoch())
		}
		again := w.sync("ann", r.GetSyncToken(), "")
		if again.GetResync() || len(again.GetConversations()) != 0 {
			t.Errorf("%s: the next Sync = resync %v, %v; want false, nothing", name, again.GetResync(), ids(again.GetConversations()))
		}
	}
	w.messages.positions = nil
	empty := w.sync("ann", base64.RawURLEncoding.EncodeToString([]byte(`{}`)), "")
	if !empty.GetResync() || len(empty.GetConversations()) != 1 {
		t.Errorf("Sync with an empty token = resync %v, %v; want true, all", empty.GetResync(), ids(empty.GetConversations()))
	}
}
