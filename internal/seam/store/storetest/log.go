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

const (
	direct = chat.ConversationID("d~ann~bob")
	team   = chat.ConversationID("g~team")
)

func entry(c chat.ConversationID, seq uint64) store.Entry {
	return store.Entry{
		ConversationID: c, Seq: seq, Ordinal: seq / 2, SenderID: "ann", SentAt: at(int(seq) * 10), Kind: 1,
		Dedupe: math.MaxUint64 - seq, Data: fmt.Append(nil, "entry ", c, " ", seq),
	}
}

func entries(c chat.ConversationID, from, to uint64) (es []store.Entry) {
	for seq := from; seq <= to; seq++ {
		es = append(es, entry(c, seq))
	}
	return es
}

func head(c chat.ConversationID, seq uint64) store.Head {
	return store.Head{ConversationID: c, Seq: seq, Ordinal: seq / 2, NoticeSeq: seq / 3, SentAt: at(int(seq) * 10), Position: seq + 100}
}

func headID(h store.Head) string { return string(h.ConversationID) }

func mark(position uint64) store.Mark { return store.Mark{Incarnation: "first", Position: position} }

// batch returns a batch of partition 0 that moves the mark from position from (0: the zero Mark) one up.
func batch(from uint64, es ...store.Entry) store.Batch {
	b := store.Batch{From: mark(from), To: mark(from + 1), Entries: es}
	if from == 0 {
		b.From = store.Mark{}
	}
	for _, e := range es {
		b.Heads = slices.DeleteFunc(b.Heads, func(h store.Head) bool { return h.ConversationID == e.ConversationID })
		b.Heads = append(b.Heads, head(e.ConversationID, e.Seq))
	}
	return b
}

// epochAbove returns the epoch, which must be above another one.
func epochAbove(t *testing.T, s Stores, before uint64) uint64 {
	t.Helper()
	now := got[uint64](t)(s.Log.Epoch(t.Context()))
	if now <= before {
		t.Fatalf("epoch = %d; want it above %d", now, before)
	}
	return now
}

// TestLog runs the rules of store.Log.
func TestLog(t *testing.T, open Open) {
	t.Run("store and read back", func(t *testing.T) { // PERS-1
		s, ctx := open(t), t.Context()
		es := slices.Concat(entries(direct, 1, 3), entries(team, 1, 600))
		es[0].SenderID, es[0].Data, es[0].Kind = "bob", []byte(odd+"\x00\xff"), 77
		es[1].Data = nil
		es[2].Data = make([]byte, 1<<20)
		must(t, s.Log.Store(ctx, batch(0, es...)))
		same(t, "direct", got[[]store.Entry](t)(s.Reader.Range(ctx, direct, 1, 9, 9, false)), es[:3])
		same(t, "team", got[[]store.Entry](t)(s.Reader.Range(ctx, team, 1, 999, 999, false)), es[3:])
		same(t, "Mark", got[store.Mark](t)(s.Log.Mark(ctx, 0)), mark(1))
		same(t, "Mark elsewhere", got[store.Mark](t)(s.Log.Mark(ctx, 1)), store.Mark{})
		hs := got[[]store.Head](t)(s.Log.Heads(ctx, []chat.ConversationID{team, "g~none", direct}))
		sameSet(t, "Heads", hs, []store.Head{head(direct, 3), head(team, 600)}, headID)
		same(t, "Heads of none", got[[]store.Head](t)(s.Log.Heads(ctx, nil)), []store.Head(nil))
	})
	t.Run("an empty batch moves the mark", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Log.Store(ctx, batch(0)))
		same(t, "Mark", got[store.Mark](t)(s.Log.Mark(ctx, 0)), mark(1))
	})
	t.Run("what nobody can decode is taken", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		b := batch(0)
		b.Raw = []store.Raw{{Position: 1, Data: []byte("junk")}, {Position: 2}}
		must(t, s.Log.Store(ctx, b))
		again := batch(1)
		again.Raw = b.Raw
		must(t, s.Log.Store(ctx, again))
		same(t, "Mark", got[store.Mark](t)(s.Log.Mark(ctx, 0)), mark(2))
	})
	t.Run("a repeated batch conflicts and changes nothing", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		b := batch(0, entries(team, 1, 5)...)
		must(t, s.Log.Store(ctx, b))
		wantErr(t, "again", s.Log.Store(ctx, b), store.ErrConflict)
		wantErr(t, "from elsewhere", s.Log.Store(ctx, batch(7)), store.ErrConflict)
		other := batch(1)
		other.From.Incarnation = "second"
		wantErr(t, "from another incarnation", s.Log.Store(ctx, other), store.ErrConflict)
		same(t, "entries", got[[]store.Entry](t)(s.Reader.Range(ctx, team, 1, 99, 99, false)), b.Entries)
		same(t, "Mark", got[store.Mark](t)(s.Log.Mark(ctx, 0)), mark(1))
	})
	t.Run("what is stored already stays", func(t *testing.T) { // invariant 1
		s, ctx := open(t), t.Context()
		b := batch(0, entries(team, 1, 5)...)
		b.Read = []store.CursorOf{{ConversationID: team, UserID: "ann", Cursor: store.Cursor{Seq: 5, Ordinal: 2}, ChangedAt: at(1)}}
		b.Mentions = []store.Mention{{UserID: "bob", ConversationID: team, Seq: 3}}
		must(t, s.Log.Store(ctx, b))
		again := batch(1, entries(team, 3, 4)...) // a redelivery that overlaps, under another mark
		again.Entries[0].Data = []byte("changed")
		again.Read = []store.CursorOf{{ConversationID: team, UserID: "ann", Cursor: store.Cursor{Seq: 4, Ordinal: 2}, ChangedAt: at(9)}}
		again.Mentions = b.Mentions
		must(t, s.Log.Store(ctx, again))
		same(t, "entries", got[[]store.Entry](t)(s.Reader.Range(ctx, team, 1, 99, 99, false)), b.Entries)
		same(t, "Heads", got[[]store.Head](t)(s.Log.Heads(ctx, []chat.ConversationID{team})), []store.Head{head(team, 5)})
		same(t, "Cursors", got[[]store.CursorOf](t)(s.Reader.Cursors(ctx, "ann", []chat.ConversationID{team})), b.Read)
	})
	t.Run("a racing batch is stored once", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		b := batch(0, entries(team, 1, 5)...)
		oneWins(t, race(func(int) error { return s.Log.Store(ctx, b) }), store.ErrConflict)
		same(t, "entries", got[[]store.Entry](t)(s.Reader.Range(ctx, team, 1, 99, 99, false)), b.Entries)
	})
	t.Run("partitions do not meet", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		noErrors(t, race(func(n int) error {
			b := batch(0, entries(chat.ConversationID(fmt.Sprint("g~", n)), 1, 3)...)
			b.Partition = n
			return s.Log.Store(ctx, b)
		}))
		for n := range racers {
			same(t, "Mark", got[store.Mark](t)(s.Log.Mark(ctx, n)), mark(1))
		}
	})
	t.Run("move mark and epoch", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		same(t, "first epoch", got[uint64](t)(s.Log.Epoch(ctx)), uint64(1))
		second := store.Mark{Incarnation: "second"}
		must(t, s.Log.MoveMark(ctx, 0, store.Mark{}, mark(4), false))
		same(t, "epoch", got[uint64](t)(s.Log.Epoch(ctx)), uint64(1))
		must(t, s.Log.MoveMark(ctx, 0, mark(4), second, true))
		raised := epochAbove(t, s, 1)
		wantErr(t, "from an old mark", s.Log.MoveMark(ctx, 0, mark(4), mark(5), true), store.ErrConflict)
		wantErr(t, "from a mark that never was", s.Log.MoveMark(ctx, 1, mark(4), mark(5), true), store.ErrConflict)
		same(t, "epoch after conflicts", got[uint64](t)(s.Log.Epoch(ctx)), raised)
		same(t, "Mark", got[store.Mark](t)(s.Log.Mark(ctx, 0)), second)
		oneWins(t, race(func(int) error { return s.Log.MoveMark(ctx, 0, second, mark(9), true) }), store.ErrConflict)
		epochAbove(t, s, raised)
	})
	t.Run("each raise takes the epoch up", func(t *testing.T) { // L7
		s, ctx := open(t), t.Context()
		from, epoch := store.Mark{}, uint64(1)
		for range 20 { // faster than the clock
			must(t, s.Log.MoveMark(ctx, 0, from, mark(1), true))
			from, epoch = mark(1), epochAbove(t, s, epoch)
		}
	})
	t.Run("what is put back raises to another epoch", func(t *testing.T) { // L7
		epoch := uint64(time.Now().UnixMilli())
		for range 3 { // each time the same database
			s := open(t)
			noErrors(t, race(func(n int) error { return s.Log.MoveMark(t.Context(), n, store.Mark{}, mark(1), true) }))
			epoch = epochAbove(t, s, epoch)
			if now := uint64(time.Now().UnixMilli()); epoch > now+racers {
				t.Errorf("epoch = %d at %d ms; ahead of the clock the next ones only count, and are given again", epoch, now)
			}
			for uint64(time.Now().UnixMilli()) <= epoch {
				<-time.After(time.Millisecond)
			}
		}
	})
	t.Run("by hash", func(t *testing.T) { // invariant 3
		s, ctx := open(t), t.Context()
		var want []store.Entry
		var position uint64
		for seq := uint64(1); seq <= 10_000; seq += 1000 { // enough that an implementation may file old ones elsewhere
			es := entries(team, seq, seq+999)
			es[7].Dedupe, es[8].Dedupe = 1<<63, 1<<63
			want = append(want, es[7], es[8])
			must(t, s.Log.Store(ctx, batch(position, es...)))
			position++
		}
		elsewhere := entry(direct, 1)
		elsewhere.Dedupe = 1 << 63
		must(t, s.Log.Store(ctx, batch(position, elsewhere)))
		slices.Reverse(want)
		same(t, "shared hash", got[[]store.Entry](t)(s.Log.ByDedupe(ctx, team, 1<<63)), want[:16])
		for _, seq := range []uint64{1, 5_000, 9_999} {
			same(t, "own hash", got[[]store.Entry](t)(s.Log.ByDedupe(ctx, team, math.MaxUint64-seq)), []store.Entry{entry(team, seq)})
		}
		same(t, "elsewhere", got[[]store.Entry](t)(s.Log.ByDedupe(ctx, direct, 1<<63)), []store.Entry{elsewhere})
		same(t, "unknown hash", got[[]store.Entry](t)(s.Log.ByDedupe(ctx, team, 5)), []store.Entry(nil))
		same(t, "unknown conversation", got[[]store.Entry](t)(s.Log.ByDedupe(ctx, "g~none", 1<<63)), []store.Entry(nil))
	})
}

// TestCursors runs the rules of store.Cursors.
func TestCursors(t *testing.T, open Open) {
	t.Run("never moves back", func(t *testing.T) { // MSG-2
		s, ctx := open(t), t.Context()
		for _, step := range []struct {
			to, now store.Cursor
			moved   bool
		}{
			{store.Cursor{}, store.Cursor{}, false},
			{store.Cursor{Seq: 5, Ordinal: 4}, store.Cursor{Seq: 5, Ordinal: 4}, true},
			{store.Cursor{Seq: 5, Ordinal: 4}, store.Cursor{Seq: 5, Ordinal: 4}, false},
			{store.Cursor{Seq: 3, Ordinal: 2}, store.Cursor{Seq: 5, Ordinal: 4}, false},
			{store.Cursor{Seq: 6, Ordinal: 4}, store.Cursor{Seq: 6, Ordinal: 4}, true},
			{store.Cursor{Seq: 1 << 53, Ordinal: 1 << 52}, store.Cursor{Seq: 1 << 53, Ordinal: 1 << 52}, true},
		} {
			now, moved, err := s.Cursors.Advance(ctx, team, "ann", step.to, at(int(step.to.Seq%100)))
			must(t, err)
			if now != step.now || moved != step.moved {
				t.Fatalf("Advance(%v) = %v, %v; want %v, %v", step.to, now, moved, step.now, step.moved)
			}
		}
	})
	t.Run("races end at the furthest", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		noErrors(t, race(func(n int) error {
			to := store.Cursor{Seq: uint64(n + 1), Ordinal: uint64(n)}
			now, _, err := s.Cursors.Advance(ctx, team, "ann", to, at(n))
			if err == nil && now.Seq < to.Seq {
				err = fmt.Errorf("Advance(%v) = %v; want no less", to, now)
			}
			return err
		}))
		want := []store.CursorOf{{ConversationID: team, UserID: "ann", Cursor: store.Cursor{Seq: racers, Ordinal: racers - 1}, ChangedAt: at(racers - 1)}}
		same(t, "Cursors", got[[]store.CursorOf](t)(s.Cursors.Cursors(ctx, "ann", []chat.ConversationID{team})), want)
	})
	t.Run("of a user among conversations", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		var want []store.CursorOf
		for _, c := range []chat.ConversationID{direct, team, "g~other"} {
			k := store.CursorOf{ConversationID: c, UserID: "ann", Cursor: store.Cursor{Seq: 3}, ChangedAt: at(3)}
			want = append(want, k)
			for _, u := range []chat.UserID{"ann", "bob"} {
				_, _, err := s.Cursors.Advance(ctx, c, u, k.Cursor, k.ChangedAt)
				must(t, err)
			}
		}
		key := func(k store.CursorOf) string { return string(k.ConversationID) }
		sameSet(t, "Cursors", got[[]store.CursorOf](t)(s.Cursors.Cursors(ctx, "ann", []chat.ConversationID{team, "g~none", direct})), want[:2], key)
		same(t, "none asked", got[[]store.CursorOf](t)(s.Cursors.Cursors(ctx, "ann", nil)), []store.CursorOf(nil))
		same(t, "none stored", got[[]store.CursorOf](t)(s.Cursors.Cursors(ctx, "eve", []chat.ConversationID{team})), []store.CursorOf(nil))
	})
	t.Run("of the peers", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		bobs := store.CursorOf{ConversationID: direct, UserID: "bob", Cursor: store.Cursor{Seq: 4, Ordinal: 2}, ChangedAt: at(4)}
		for c, u := range map[chat.ConversationID]chat.UserID{direct: "bob", "d~ann~cid": "ann", "d~ann~dan": "dan"} {
			for _, u := range []chat.UserID{u, "ann"} {
				_, _, err := s.Cursors.Advance(ctx, c, u, bobs.Cursor, bobs.ChangedAt)
				must(t, err)
			}
		}
		ks := got[[]store.CursorOf](t)(s.Reader.PeerCursors(ctx, "ann", []chat.ConversationID{direct, "d~ann~cid", "d~ann~eve"}))
		same(t, "PeerCursors", ks, []store.CursorOf{bobs})
		dans := bobs
		dans.ConversationID, dans.UserID = "d~ann~dan", "dan"
		key := func(k store.CursorOf) string { return string(k.ConversationID) }
		ks = got[[]store.CursorOf](t)(s.Reader.PeerCursors(ctx, "ann", []chat.ConversationID{"d~ann~dan", "d~ann~cid", direct}))
		sameSet(t, "PeerCursors of several", ks, []store.CursorOf{bobs, dans}, key)
		anns := bobs
		anns.UserID = "ann"
		ks = got[[]store.CursorOf](t)(s.Reader.PeerCursors(ctx, "bob", []chat.ConversationID{direct}))
		same(t, "PeerCursors from the other end", ks, []store.CursorOf{anns})
		b := batch(0, entries(direct, 1, 6)...)
		bobs.Cursor, bobs.ChangedAt = store.Cursor{Seq: 6, Ordinal: 5}, at(9)
		b.Read = []store.CursorOf{bobs}
		must(t, s.Log.Store(ctx, b))
		ks = got[[]store.CursorOf](t)(s.Reader.PeerCursors(ctx, "ann", []chat.ConversationID{direct}))
		same(t, "PeerCursors that the writer moved", ks, []store.CursorOf{bobs})
		same(t, "PeerCursors of none", got[[]store.CursorOf](t)(s.Reader.PeerCursors(ctx, "ann", nil)), []store.CursorOf(nil))
	})
	t.Run("the writer moves it too", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		_, _, err := s.Cursors.Advance(ctx, team, "ann", store.Cursor{Seq: 2, Ordinal: 2}, at(1))
		must(t, err)
		b := batch(0, entries(team, 1, 4)...)
		b.Read = []store.CursorOf{{ConversationID: team, UserID: "ann", Cursor: store.Cursor{Seq: 4, Ordinal: 3}, ChangedAt: at(2)}}
		must(t, s.Log.Store(ctx, b))
		now, moved, err := s.Cursors.Advance(ctx, team, "ann", store.Cursor{Seq: 3, Ordinal: 3}, at(3))
		must(t, err)
		if moved || now != b.Read[0].Cursor {
			t.Fatalf("Advance = %v, %v; want %v, false", now, moved, b.Read[0].Cursor)
		}
	})
	t.Run("entry", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Log.Store(ctx, batch(0, entries(team, 1, 3)...)))
		same(t, "Entry", got[store.Entry](t)(s.Cursors.Entry(ctx, team, 2)), entry(team, 2))
		for _, k := range []store.EntryKey{{ConversationID: team, Seq: 4}, {ConversationID: team}, {ConversationID: direct, Seq: 1}, {ConversationID: team, Seq: math.MaxUint64}} {
			_, err := s.Cursors.Entry(ctx, k.ConversationID, k.Seq)
			wantErr(t, fmt.Sprint("Entry", k), err, store.ErrNotFound)
		}
	})
}
