package system

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/history"
)

// sendDirect sends over REST and returns the place of the message.
func sendDirect(t *testing.T, from, to *client.User, id string) history.Entry {
	t.Helper()
	var got struct {
		MessageID, ConversationID string
		Seq                       uint64
	}
	err := from.Do(t.Context(), "POST", "/messages", client.Object{"clientMsgId": id, "toUserId": to.ID, "text": client.Object{"text": id}}, &got)
	if err != nil {
		t.Fatalf("send %s: %v", id, err)
	}
	return history.Entry{Conversation: got.ConversationID, Seq: got.Seq, MessageID: got.MessageID, ClientMsgID: id, Sender: from.ID}
}

type synced struct {
	Epoch         uint64
	Resync        bool
	SyncToken     string
	Conversations []struct {
		ConversationID string
		Head           struct{ Seq uint64 }
	}
}

func syncAs(t *testing.T, u *client.User, token string) synced {
	t.Helper()
	var got synced
	if err := u.Do(t.Context(), "POST", "/sync", client.Object{"syncToken": token}, &got); err != nil {
		t.Fatalf("sync: %v", err)
	}
	return got
}

// QRY-2, PERS-2: reads are complete before the writer has stored anything.
func TestReadBeforeStored(t *testing.T) {
	s := start(t, "--persistence-linger", "1s")
	ann, bob := s.user("ann"), s.user("bob")
	var check history.Checker
	first := sendDirect(t, ann, bob, "m0") // stored at once: nothing lingers before it
	check.Acked(first)
	for i := range 5 {
		e := sendDirect(t, ann, bob, fmt.Sprint("m", i+1))
		check.Acked(e)
		var page struct{ Entries []client.Entry }
		err := bob.Do(t.Context(), "GET", "/conversations/"+e.Conversation+"/messages", nil, &page)
		if err != nil || len(page.Entries) != i+2 {
			t.Fatalf("history right after message %d = %d entries, %v; want %d", i+2, len(page.Entries), err, i+2)
		}
		got := syncAs(t, bob, "")
		if len(got.Conversations) != 1 || got.Conversations[0].Head.Seq != e.Seq {
			t.Fatalf("sync right after message %d = %+v; want its conversation at seq %d", i+2, got.Conversations, e.Seq)
		}
	}
	check.Log(first.Conversation, readAll(t, bob, first.Conversation))
	for _, v := range check.Violations() {
		t.Error(v)
	}
}

// L7 of docs/log.md: the broker's data is lost and the database has everything. Numbers go on, the epoch is raised, and
// clients with an older epoch are told to resync.
func TestLogLost(t *testing.T) {
	s := start(t)
	ann, bob := s.user("ann"), s.user("bob")
	var check history.Checker
	for i := range 3 {
		check.Acked(sendDirect(t, ann, bob, fmt.Sprint("before", i)))
	}
	eventually(t, "all is stored", func() bool { return s.metric("oceanchat_persistence_entries_stored_total") == 3 })
	old := syncAs(t, bob, "")
	if again := syncAs(t, bob, old.SyncToken); again.Resync || old.Epoch != 1 {
		t.Errorf("before the loss epoch %d, resync %v; want 1, false", old.Epoch, again.Resync)
	}
	if code := s.stop(); code != 0 {
		t.Fatalf("exit code = %d; want 0", code)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "nats")); err != nil {
		t.Fatal(err)
	}
	s.up()
	ann.Base, bob.Base = s.base, s.base
	e := sendDirect(t, ann, bob, "after")
	check.Acked(e)
	if e.Seq != 4 {
		t.Errorf("the next seq = %d; want 4", e.Seq)
	}
	// A repetition of what only the database remembers has one effect.
	var again struct{ Seq uint64 }
	err := ann.Do(t.Context(), "POST", "/messages", client.Object{
		"clientMsgId": "before1", "toUserId": bob.ID, "text": client.Object{"text": "before1"}, "resend": true,
	}, &again)
	if err != nil || again.Seq != 2 {
		t.Errorf("resend of the second message = seq %d, %v; want 2", again.Seq, err)
	}
	got := syncAs(t, bob, old.SyncToken)
	if got.Epoch <= old.Epoch || !got.Resync || len(got.Conversations) != 1 || got.Conversations[0].Head.Seq != 4 {
		t.Errorf("sync with the old token = %+v; want an epoch above %d, resync, head 4", got, old.Epoch)
	}
	eventually(t, "what came after is stored", func() bool { return s.metric("oceanchat_persistence_entries_stored_total") == 1 })
	check.Log(e.Conversation, readAll(t, bob, e.Conversation))
	for _, v := range check.Violations() {
		t.Error(v)
	}
}

// WSGW-2, invariant 5: a session that ends is refused by REST at once and its connection is closed within a second.
func TestRevokedSession(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	phone := *ann
	phone.Device = "phone"
	if err := phone.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := connect(t, &phone)
	var list struct {
		Sessions []struct {
			SessionID, DeviceID string
			Current             bool
		}
	}
	if err := ann.Do(t.Context(), "GET", "/auth/sessions", nil, &list); err != nil || len(list.Sessions) != 2 {
		t.Fatalf("sessions = %+v, %v; want two", list, err)
	}
	for _, session := range list.Sessions {
		if session.DeviceID == "phone" {
			if err := ann.Do(t.Context(), "DELETE", "/auth/sessions/"+session.SessionID, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := phone.Do(t.Context(), "GET", "/users/me", nil, nil); client.ReasonOf(err) != "SESSION_ENDED" {
		t.Errorf("the next request = %v; want SESSION_ENDED", err)
	}
	if code, err := c.Closed(within(t, 5*time.Second)); err != nil || code != 4002 {
		t.Errorf("the connection closed with %d, %v; want 4002", code, err)
	}
	if err := ann.Do(t.Context(), "GET", "/users/me", nil, nil); err != nil {
		t.Errorf("the other session: %v; want it open", err)
	}
}
