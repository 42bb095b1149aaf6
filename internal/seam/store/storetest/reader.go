package storetest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// TestReader runs the rules of store.Reader.
func TestReader(t *testing.T, open Open) {
	t.Run("range", func(t *testing.T) { // QRY: history
		s, ctx := open(t), t.Context()
		must(t, s.Log.Store(ctx, batch(0, slices.Concat(entries(team, 1, 20), entries("g~team2", 1, 50))...)))
		for _, tt := range []struct {
			name     string
			c        chat.ConversationID
			from, to uint64
			limit    int
			newest   bool
			want     []store.Entry
		}{
			{"all", team, 1, 20, 99, false, entries(team, 1, 20)},
			{"all, newest", team, 1, 20, 99, true, entries(team, 1, 20)},
			{"oldest", team, 1, 20, 3, false, entries(team, 1, 3)},
			{"newest", team, 1, 20, 3, true, entries(team, 18, 20)},
			{"both ends included", team, 5, 7, 99, false, entries(team, 5, 7)},
			{"newest of the inside", team, 5, 15, 2, true, entries(team, 14, 15)},
			{"one", team, 7, 7, 1, true, entries(team, 7, 7)},
			{"open ends", team, 0, math.MaxUint64, 99, false, entries(team, 1, 20)},
			{"beyond", team, 21, math.MaxUint64, 99, false, nil},
			{"reversed", team, 9, 8, 99, false, nil},
			{"limit 0", team, 1, 20, 0, false, nil},
			{"unknown", "g~none", 1, 20, 99, true, nil},
		} {
			es := got[[]store.Entry](t)(s.Reader.Range(ctx, tt.c, tt.from, tt.to, tt.limit, tt.newest))
			same(t, tt.name, es, tt.want)
		}
	})
	t.Run("at", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Log.Store(ctx, batch(0, slices.Concat(entries(team, 1, 5), entries(direct, 1, 5))...)))
		at := func(c chat.ConversationID, seq uint64) store.EntryKey {
			return store.EntryKey{ConversationID: c, Seq: seq}
		}
		es := got[[]store.Entry](t)(s.Reader.At(ctx, []store.EntryKey{
			at(team, 5), at(direct, 2), at(team, 6), at("g~none", 1), at(team, 1), at(team, math.MaxUint64),
		}))
		key := func(e store.Entry) string { return fmt.Sprint(e.ConversationID, e.Seq) }
		sameSet(t, "At", es, []store.Entry{entry(team, 5), entry(direct, 2), entry(team, 1)}, key)
		same(t, "At of none", got[[]store.Entry](t)(s.Reader.At(ctx, nil)), []store.Entry(nil))
	})
	t.Run("first at a time", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		es := entries(team, 1, 100) // entry n at 10 n ms
		for n := 40; n < 60; n++ {
			es[n].SentAt = es[40].SentAt // seqs 41 to 60 at 410 ms
		}
		must(t, s.Log.Store(ctx, batch(0, es...)))
		for _, tt := range []struct {
			at   time.Time
			want uint64
		}{
			{time.Time{}, 1},
			{at(0), 1},
			{at(10), 1},
			{at(11), 2},
			{at(400), 40},
			{at(401), 41},
			{at(410), 41},
			{at(411), 61},
			{at(999), 100},
			{at(1000), 100},
			{at(1001), 0},
		} {
			if n := got[uint64](t)(s.Reader.FirstAt(ctx, team, tt.at)); n != tt.want {
				t.Errorf("FirstAt(%v) = %d; want %d", tt.at, n, tt.want)
			}
		}
		same(t, "unknown", got[uint64](t)(s.Reader.FirstAt(ctx, "g~none", at(0))), uint64(0))
	})
	t.Run("directs are listed for both", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Log.Store(ctx, batch(0, slices.Concat(entries(direct, 1, 2), entries("d~ann~cid", 1, 1), entries(team, 1, 1), entries("i~ann", 1, 1))...)))
		must(t, s.Log.Store(ctx, batch(1, entries(direct, 1, 3)...))) // once
		sort := func(cs []chat.ConversationID) []chat.ConversationID { slices.Sort(cs); return cs }
		same(t, "ann", sort(got[[]chat.ConversationID](t)(s.Reader.Directs(ctx, "ann"))), []chat.ConversationID{direct, "d~ann~cid"})
		same(t, "bob", got[[]chat.ConversationID](t)(s.Reader.Directs(ctx, "bob")), []chat.ConversationID{direct})
		same(t, "eve", got[[]chat.ConversationID](t)(s.Reader.Directs(ctx, "eve")), []chat.ConversationID(nil))
		sameSet(t, "Heads", got[[]store.Head](t)(s.Reader.Heads(ctx, []chat.ConversationID{direct, team})), []store.Head{head(direct, 3), head(team, 1)}, headID)
	})
	t.Run("first mentions", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		b := batch(0, entries(team, 1, 9)...)
		for _, seq := range []uint64{7, 3, 5} {
			b.Mentions = append(b.Mentions, store.Mention{UserID: "ann", ConversationID: team, Seq: seq})
		}
		b.Mentions = append(b.Mentions, store.Mention{UserID: "ann", ConversationID: direct, Seq: 2},
			store.Mention{UserID: "bob", ConversationID: team, Seq: 4}, b.Mentions[0])
		must(t, s.Log.Store(ctx, b))
		for _, tt := range []struct {
			after, want map[chat.ConversationID]uint64
		}{
			{map[chat.ConversationID]uint64{team: 0, direct: 0}, map[chat.ConversationID]uint64{team: 3, direct: 2}},
			{map[chat.ConversationID]uint64{team: 3, direct: 2}, map[chat.ConversationID]uint64{team: 5}},
			{map[chat.ConversationID]uint64{team: 6, "g~none": 0}, map[chat.ConversationID]uint64{team: 7}},
			{map[chat.ConversationID]uint64{team: math.MaxUint64}, nil},
			{nil, nil},
		} {
			same(t, fmt.Sprint("FirstMentions", tt.after), got[map[chat.ConversationID]uint64](t)(s.Reader.FirstMentions(ctx, "ann", tt.after)), tt.want)
		}
	})
}

// TestReopen stores something of every kind, has reopen close the database and open it again, and checks that all of it
// is still there. open is called once.
func TestReopen(t *testing.T, open Open, reopen Open) {
	s, ctx := open(t), t.Context()
	must(t, s.Accounts.Create(ctx, account("ann"), event("e1")))
	_, err := s.Sessions.Start(ctx, session("s1", "ann", "phone"), event("e2"))
	must(t, err)
	_, err = s.Keys.PutIfAbsent(ctx, "k", []byte("secret"))
	must(t, err)
	token := store.PushToken{UserID: "ann", DeviceID: "phone", Provider: 1, Token: "t", RegisteredAt: at(1)}
	must(t, s.PushTokens.Put(ctx, token))
	must(t, s.Profiles.Create(ctx, profile("ann", "Ann")))
	_, _, err = s.Relations.Update(ctx, "ann", "bob", func(ab, _ *store.Relation) error { ab.Remark = odd; return nil })
	must(t, err)
	must(t, s.Groups.Create(ctx, group("g1"), begun()))
	m := store.Member{GroupID: "g1", UserID: "ann", Spans: []store.Span{{From: 1}}}
	must(t, s.Groups.Commit(ctx, group("g1"), []store.Member{m}))
	b := batch(0, entries(direct, 1, 50)...)
	b.Mentions = []store.Mention{{UserID: "ann", ConversationID: direct, Seq: 9}}
	must(t, s.Log.Store(ctx, b))
	must(t, s.Log.MoveMark(ctx, 0, mark(1), mark(2), true))
	epoch := epochAbove(t, s, 1)
	_, _, err = s.Cursors.Advance(ctx, direct, "ann", store.Cursor{Seq: 7, Ordinal: 3}, at(1))
	must(t, err)

	s = reopen(t)
	same(t, "account", got[store.Account](t)(s.Accounts.ByUsername(ctx, "name.ann")), account("ann"))
	same(t, "session", got[[]store.Session](t)(s.Sessions.OfUser(ctx, "ann")), []store.Session{session("s1", "ann", "phone")})
	same(t, "events", got[[]store.Event](t)(s.Outbox.Pending(ctx, 9)), []store.Event{event("e1"), event("e2")})
	same(t, "key", got[[]byte](t)(s.Keys.PutIfAbsent(ctx, "k", []byte("x"))), []byte("secret"))
	same(t, "push token", got[[]store.PushToken](t)(s.PushTokens.OfUsers(ctx, []chat.UserID{"ann"})), []store.PushToken{token})
	same(t, "profile", got[store.Profile](t)(s.Profiles.ByUsername(ctx, "name.ann")), profile("ann", "Ann"))
	ab, _, err := s.Relations.Get(ctx, "ann", "bob")
	must(t, err)
	same(t, "remark", ab.Remark, odd)
	same(t, "group version", theGroup(t, s, "g1").Version, uint64(1))
	same(t, "members", got[[]store.Member](t)(s.Members.Present(ctx, "g1", 0, 9)), []store.Member{m})
	same(t, "entries", got[[]store.Entry](t)(s.Reader.Range(ctx, direct, 1, 99, 99, false)), b.Entries)
	same(t, "heads", got[[]store.Head](t)(s.Log.Heads(ctx, []chat.ConversationID{direct})), b.Heads)
	same(t, "directs", got[[]chat.ConversationID](t)(s.Reader.Directs(ctx, "bob")), []chat.ConversationID{direct})
	same(t, "mark", got[store.Mark](t)(s.Log.Mark(ctx, 0)), mark(2))
	same(t, "epoch", got[uint64](t)(s.Log.Epoch(ctx)), epoch)
	now, moved, err := s.Cursors.Advance(ctx, direct, "ann", store.Cursor{Seq: 5}, at(2))
	must(t, err)
	same(t, "cursor", now, store.Cursor{Seq: 7, Ordinal: 3})
	same(t, "cursor moved", moved, false)
	es := entries(direct, 51, 51)
	must(t, s.Log.Store(ctx, store.Batch{From: mark(2), To: mark(3), Entries: es, Heads: []store.Head{head(direct, 51)}}))
	same(t, "goes on", got[[]store.Entry](t)(s.Reader.Range(ctx, direct, 51, 99, 99, false)), es)
}
