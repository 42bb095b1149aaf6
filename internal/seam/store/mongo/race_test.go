package mongo_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// What the conformance suite does not reach because only this implementation could get it wrong.

// TestMarkMovesOnce: of several writers that are at the same mark one moves it, also within an incarnation.
func TestMarkMovesOnce(t *testing.T) {
	t.Parallel()
	db := openDB(t, fresh(t))
	var work sync.WaitGroup
	mark := func(n uint64) store.Mark { return store.Mark{Incarnation: "a", Position: n} }
	must(t, db.Log().MoveMark(t.Context(), 3, store.Mark{}, mark(1), false))
	errs := make([]error, 20)
	for n := range errs {
		work.Go(func() {
			b := store.Batch{Partition: 3, From: mark(1), To: mark(uint64(n) + 2)}
			errs[n] = db.Log().Store(t.Context(), b)
		})
	}
	work.Wait()
	moved := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return errors.Is(err, store.ErrConflict) })
	if len(moved) != 1 || moved[0] != nil {
		t.Fatalf("of %d writers %d had no conflict: %v; want 1", len(errs), len(moved), moved)
	}
	won := slices.Index(errs, nil)
	if got, err := db.Log().Mark(t.Context(), 3); err != nil || got != mark(uint64(won)+2) {
		t.Errorf("Mark = %v, %v; want that of writer %d", got, err, won)
	}
}

// TestNoEventIsLost: events that are published are taken out of a document while others are added to it.
func TestNoEventIsLost(t *testing.T) {
	t.Parallel()
	db := openDB(t, fresh(t))
	const logins = 40
	var work sync.WaitGroup
	for n := range logins {
		work.Go(func() {
			device := chat.DeviceID(fmt.Sprint("d", n))
			s := store.Session{ID: chat.SessionID(device), UserID: "ann", DeviceID: device, ExpiresAt: time.Now().Add(time.Hour)}
			if _, err := db.Sessions().Start(t.Context(), s, store.Event{ID: fmt.Sprint("e", n), Subject: "s"}); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	seen := make(map[string]int)
	for ended := false; ; {
		es, err := db.Outbox().Pending(t.Context(), 100) // all, so that the document is emptied again and again
		must(t, err)
		if len(es) == 0 && ended {
			break
		}
		ids := make([]string, len(es))
		for i, e := range es {
			seen[e.ID]++
			ids[i] = e.ID
		}
		must(t, db.Outbox().Done(t.Context(), ids))
		select {
		case <-done:
			ended = true
		default:
		}
	}
	for n := range logins {
		if id := fmt.Sprint("e", n); seen[id] != 1 {
			t.Errorf("event %s was handed out %d times; want once", id, seen[id])
		}
	}
	if n, err := db.Outbox().Len(t.Context()); n != 0 || err != nil {
		t.Errorf("Len = %d, %v; want 0", n, err)
	}
}

// TestNamesThatBeginAlike: a range of keys takes in nothing of those whose name is longer.
func TestNamesThatBeginAlike(t *testing.T) {
	t.Parallel()
	db := openDB(t, fresh(t))
	b := store.Batch{To: store.Mark{Incarnation: "a", Position: 1}}
	for _, peer := range []string{"ann", "ann-", "ann0", "ann2", "ann_", "annA", "anna", "an"} {
		c := chat.ConversationID("d~" + peer + "~zed")
		b.Entries = append(b.Entries, store.Entry{ConversationID: c, Seq: 1, Dedupe: 5, Data: []byte("x")})
		for _, c := range []chat.ConversationID{c, c + "1", c + "_"} {
			b.Mentions = append(b.Mentions, store.Mention{UserID: "zed", ConversationID: c, Seq: 1})
		}
	}
	must(t, db.Log().Store(t.Context(), b))
	want := b.Entries[:1]
	c := want[0].ConversationID
	got, err := db.Log().ByDedupe(t.Context(), c, 5)
	must(t, err)
	all, err := db.Reader().Range(t.Context(), c, 0, 99, 99, false)
	must(t, err)
	for what, es := range map[string][]store.Entry{"ByDedupe": got, "Range": all} {
		if d := cmp.Diff(want, es); d != "" {
			t.Errorf("%s: (-want +got)\n%s", what, d)
		}
	}
	directs, err := db.Reader().Directs(t.Context(), "ann")
	must(t, err)
	if d := cmp.Diff([]chat.ConversationID{c}, directs); d != "" {
		t.Errorf("Directs: (-want +got)\n%s", d)
	}
	first, err := db.Reader().FirstMentions(t.Context(), "zed", map[chat.ConversationID]uint64{c: 0})
	must(t, err)
	if d := cmp.Diff(map[chat.ConversationID]uint64{c: 1}, first); d != "" {
		t.Errorf("FirstMentions: (-want +got)\n%s", d)
	}
}

// TestFirstAtOverHoles: what retention removed, at the start or amid, is passed over.
func TestFirstAtOverHoles(t *testing.T) {
	t.Parallel()
	db := openDB(t, fresh(t))
	at := func(seq uint64) time.Time { return time.UnixMilli(int64(seq) * 10).UTC() }
	b := store.Batch{To: store.Mark{Incarnation: "a", Position: 1}}
	for _, seq := range []uint64{1000, 1001, 5000, 5001, 5002, 90_000} {
		b.Entries = append(b.Entries, store.Entry{ConversationID: "g~t", Seq: seq, SentAt: at(seq), Data: []byte("x")})
	}
	must(t, db.Log().Store(t.Context(), b))
	for asked, want := range map[uint64]uint64{0: 1000, 1000: 1000, 1001: 1001, 1002: 5000, 4999: 5000, 5001: 5001, 5003: 90_000, 90_000: 90_000, 90_001: 0} {
		if got, err := db.Reader().FirstAt(t.Context(), "g~t", at(asked)); got != want || err != nil {
			t.Errorf("FirstAt(%d) = %d, %v; want %d", asked, got, err, want)
		}
	}
}

// TestNewestTokenOfSkewedClocks: the device's newest token counts though it was put by a process whose clock is behind.
func TestNewestTokenOfSkewedClocks(t *testing.T) {
	t.Parallel()
	uri := fresh(t)
	ahead, behind := openDB(t, uri), openDB(t, uri)
	mongo.Skew(ahead, time.Hour)
	token := store.PushToken{UserID: "ann", DeviceID: "phone", Provider: 1, Token: "first", RegisteredAt: time.UnixMilli(1).UTC()}
	must(t, ahead.PushTokens().Put(t.Context(), token))
	token.Token = "second"
	must(t, behind.PushTokens().Put(t.Context(), token))
	got, err := ahead.PushTokens().OfUsers(t.Context(), []chat.UserID{"ann"})
	must(t, err)
	if d := cmp.Diff([]store.PushToken{token}, got); d != "" {
		t.Errorf("OfUsers: (-want +got)\n%s", d)
	}
}

// TestEventsOfSkewedClocks: events of one document come in the order of its changes.
func TestEventsOfSkewedClocks(t *testing.T) {
	t.Parallel()
	uri := fresh(t)
	ahead, behind := openDB(t, uri), openDB(t, uri)
	mongo.Skew(ahead, time.Hour)
	must(t, ahead.Accounts().Create(t.Context(), store.Account{UserID: "ann", Username: "ann", PasswordHash: "1"}, store.Event{ID: "first"}))
	must(t, behind.Accounts().SetPassword(t.Context(), "ann", "1", "2", store.Event{ID: "second"}))
	es, err := behind.Outbox().Pending(t.Context(), 9)
	must(t, err)
	if len(es) != 2 || es[0].ID != "first" || es[1].ID != "second" {
		t.Errorf("Pending = %v; want first, second", es)
	}
}

func TestSeqTooHighForAKey(t *testing.T) {
	t.Parallel()
	db := openDB(t, fresh(t))
	b := store.Batch{To: store.Mark{Incarnation: "a", Position: 1}, Entries: []store.Entry{{ConversationID: "g~t", Seq: 1_000_000_000_000_000}}}
	if err := db.Log().Store(t.Context(), b); err == nil {
		t.Error("Store took an entry whose seq no key can hold; want an error")
	}
	if m, err := db.Log().Mark(t.Context(), 0); err != nil || m != (store.Mark{}) {
		t.Errorf("Mark = %v, %v; want none", m, err)
	}
}
