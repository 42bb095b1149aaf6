// Package storetest is the conformance suite of store.Store: an implementation is right when Test passes. It is
// published so that applications can bring stores of their own.
package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// Opener opens a store. Called again after Close, with the same t, it opens the same data, unless the store says that it
// forgets with the process.
type Opener func(t *testing.T) store.Store

// Test runs every rule of store.Store against fresh stores from open. durable says that what was applied is there again
// after Close and another open.
func Test(t *testing.T, open Opener, durable bool) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, open Opener)
	}{
		{"empty", testEmpty},
		{"everything comes back", testRoundTrip},
		{"entries are pages", testEntries},
		{"later writes replace", testReplace},
		{"truncate", testTruncate},
		{"forget", testForget},
		{"wipe", testWipe},
		{"concurrent use", testConcurrent},
		{"closed", testClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, open)
		})
	}
	if durable {
		t.Run("survives", func(t *testing.T) {
			t.Parallel()
			testSurvives(t, open)
		})
	}
}

func opened(t *testing.T, open Opener) store.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func apply(t *testing.T, s store.Store, b store.Batch) {
	t.Helper()
	if err := s.Apply(t.Context(), b); err != nil {
		t.Fatalf("Apply = %v; want nil", err)
	}
}

func load(t *testing.T, s store.Store) store.State {
	t.Helper()
	st, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load = %v; want nil", err)
	}
	slices.SortFunc(st.Conversations, func(a, b *queryv1.Conversation) int {
		return cmp.Compare(a.GetConversationId(), b.GetConversationId())
	})
	slices.SortFunc(st.Cursors, func(a, b store.Cursor) int {
		return cmp.Or(cmp.Compare(a.Reader, b.Reader), cmp.Compare(a.Conversation, b.Conversation))
	})
	return st
}

func want(t *testing.T, s store.Store, state store.State) {
	t.Helper()
	got := load(t, s)
	if len(got.Held) == 0 {
		got.Held = nil
	}
	equateTimes := gocmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	empty := gocmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) == 0 }, gocmp.Ignore())
	if d := gocmp.Diff(state, got, protocmp.Transform(), equateTimes, empty); d != "" {
		t.Errorf("Load (-want +got):\n%s", d)
	}
}

func entry(c string, seq uint64, text string) *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: c, Seq: seq, Ordinal: seq, MessageId: fmt.Sprint(c, seq), Kind: messagev1.EntryKind_ENTRY_KIND_TEXT,
		Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: text}},
	}
}

func wantEntries(t *testing.T, s store.Store, c string, after uint64, limit int, texts ...string) {
	t.Helper()
	entries, err := s.Entries(t.Context(), c, after, limit)
	if err != nil {
		t.Fatalf("Entries = %v; want nil", err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.GetText().GetText())
	}
	if d := gocmp.Diff(texts, got); d != "" {
		t.Errorf("Entries(%s, %d, %d) (-want +got):\n%s", c, after, limit, d)
	}
}

func testEmpty(t *testing.T, open Opener) {
	s := opened(t, open)
	want(t, s, store.State{})
	wantEntries(t, s, "g~1", 0, 10)
	apply(t, s, store.Batch{})
	apply(t, s, store.Batch{Truncate: map[string]uint64{"g~1": 3}, Forget: map[string]uint64{"g~1": 3}, Remove: []string{"x"}})
	want(t, s, store.State{})
}

// full is a batch that fills everything, and the state that it makes.
func full() (store.Batch, store.State) {
	meta := store.Meta{UserID: "u1", Epoch: 3, SyncToken: "t", Tokens: store.Tokens{
		Access: "a", Refresh: "r", Origin: "o", Expires: time.UnixMilli(1_700_000_000_123).UTC(),
	}}
	st := store.State{
		Meta: meta,
		Conversations: []*queryv1.Conversation{
			{ConversationId: "d~u1~u2", Head: &queryv1.Head{Seq: 2}, Unread: 1},
			{ConversationId: "g~1", Title: "G", Head: &queryv1.Head{Seq: 1 << 60}},
		},
		Held:    map[string]store.Ranges{"g~1": {{From: 1, To: 2}, {From: 5, To: 5}}},
		Outbox:  []store.Item{{ID: "m2", N: 1, Request: []byte{1}}, {ID: "m1", N: 2, Request: []byte{2}, Failed: []byte{3}}},
		Cursors: []store.Cursor{{Reader: "bot"}, {Reader: "bot", Conversation: "g~1", Seq: 4}, {Reader: "other", Conversation: "g~1", Seq: 1}},
	}
	b := store.Batch{
		Meta: &meta, Conversations: st.Conversations, Held: st.Held, Put: []store.Item{st.Outbox[1], st.Outbox[0]}, Cursors: st.Cursors,
		Entries: []*messagev1.Entry{entry("g~1", 5, "e"), entry("g~1", 1, "a"), entry("g~1", 2, "b"), entry("g~2", 1, "x")},
	}
	return b, st
}

func testRoundTrip(t *testing.T, open Opener) {
	s := opened(t, open)
	b, st := full()
	apply(t, s, b)
	want(t, s, st)
	wantEntries(t, s, "g~1", 0, 10, "a", "b", "e")
}

func testEntries(t *testing.T, open Opener) {
	s := opened(t, open)
	b, _ := full()
	apply(t, s, b)
	wantEntries(t, s, "g~1", 0, 2, "a", "b")
	wantEntries(t, s, "g~1", 1, 2, "b", "e")
	wantEntries(t, s, "g~1", 3, 2, "e")
	wantEntries(t, s, "g~1", 5, 2)
	wantEntries(t, s, "g~2", 0, 2, "x")
	wantEntries(t, s, "g~", 0, 2)
}

func testReplace(t *testing.T, open Opener) {
	s := opened(t, open)
	b, st := full()
	apply(t, s, b)
	st.Meta = store.Meta{UserID: "u1", SyncToken: "t2"}
	st.Conversations = []*queryv1.Conversation{st.Conversations[0], {ConversationId: "g~1", Title: "H"}}
	st.Held = map[string]store.Ranges{"g~1": {{From: 1, To: 5}}}
	st.Outbox = []store.Item{{ID: "m1", N: 7, Request: []byte{4}}}
	st.Cursors = []store.Cursor{{Reader: "bot"}, {Reader: "bot", Conversation: "g~1", Seq: 5}, {Reader: "other", Conversation: "g~1", Seq: 1}}
	apply(t, s, store.Batch{
		Meta: &st.Meta, Conversations: st.Conversations[1:], Held: st.Held, Put: st.Outbox, Remove: []string{"m2", "unknown"},
		Cursors: st.Cursors[1:2], Entries: []*messagev1.Entry{entry("g~1", 2, "B")},
	})
	want(t, s, st)
	wantEntries(t, s, "g~1", 0, 10, "a", "B", "e")
}

func testTruncate(t *testing.T, open Opener) {
	s := opened(t, open)
	b, st := full()
	apply(t, s, b)
	apply(t, s, store.Batch{Truncate: map[string]uint64{"g~1": 1}, Entries: []*messagev1.Entry{entry("g~1", 2, "new")}})
	st.Held = map[string]store.Ranges{"g~1": {{From: 1, To: 1}}}
	st.Cursors[1].Seq = 1
	want(t, s, st)
	wantEntries(t, s, "g~1", 0, 10, "a", "new")
	wantEntries(t, s, "g~2", 0, 10, "x")
}

func testForget(t *testing.T, open Opener) {
	s := opened(t, open)
	b, st := full()
	apply(t, s, b)
	apply(t, s, store.Batch{Forget: map[string]uint64{"g~1": 2}})
	want(t, s, st)
	wantEntries(t, s, "g~1", 0, 10, "b", "e")
}

func testWipe(t *testing.T, open Opener) {
	s := opened(t, open)
	b, st := full()
	apply(t, s, b)
	apply(t, s, store.Batch{Wipe: true, Entries: []*messagev1.Entry{entry("g~1", 9, "after")}})
	want(t, s, store.State{Meta: store.Meta{UserID: "u1"}, Outbox: st.Outbox, Cursors: st.Cursors})
	wantEntries(t, s, "g~1", 0, 10, "after")
}

// Readers see whole batches: an entry is there if and only if the ranges say so.
func testConcurrent(t *testing.T, open Opener) {
	s := opened(t, open)
	const n = 50
	done := make(chan error, 1)
	go func() {
		for seq := uint64(1); seq <= n; seq++ {
			err := s.Apply(context.Background(), store.Batch{
				Entries: []*messagev1.Entry{entry("g~1", seq, "x")}, Held: map[string]store.Ranges{"g~1": {{From: 1, To: seq}}},
			})
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for seen := uint64(0); seen < n; {
		st := load(t, s)
		seen = st.Held["g~1"].Len()
		entries, err := s.Entries(t.Context(), "g~1", 0, n)
		if err != nil || uint64(len(entries)) < seen {
			t.Fatalf("Entries = %d, %v; want %d at least", len(entries), err, seen)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Apply = %v; want nil", err)
	}
}

func testClosed(t *testing.T, open Opener) {
	s := open(t)
	if err := s.Close(); err != nil {
		t.Fatalf("Close = %v; want nil", err)
	}
	_, loadErr := s.Load(t.Context())
	_, entriesErr := s.Entries(t.Context(), "g~1", 0, 1)
	applyErr := s.Apply(t.Context(), store.Batch{Remove: []string{"x"}})
	for what, err := range map[string]error{"Load": loadErr, "Entries": entriesErr, "Apply": applyErr} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s of a closed store = %v; want ErrClosed", what, err)
		}
	}
}

func testSurvives(t *testing.T, open Opener) {
	s := open(t)
	b, st := full()
	apply(t, s, b)
	if err := s.Close(); err != nil {
		t.Fatalf("Close = %v; want nil", err)
	}
	s = opened(t, open)
	want(t, s, st)
	wantEntries(t, s, "g~1", 0, 10, "a", "b", "e")
}
