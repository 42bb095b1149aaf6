package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog/convlogtest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
)

// PERS-1, PERS-2: what is in the log is in the database, with heads, senders' cursors and mentions.
func TestStores(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	s.Put(encode(t, notice(team, 1, "ann"), text(direct, 1, "ann", "bob", "bob", "ann"), text(team, 2, "bob")), time.Now())
	s.Put(encode(t, text(direct, 2, "bob"), text(direct, 3, "ann", "bob"), notice(team, 3, "cid"), text("i~ann", 1, "bob", "ann")), time.Now())
	w := run(t, config(), persistence.Retention{}, db.Log(), s)
	eventually(t, "both are stored", func() bool { return position(t, db.Log(), 0) == 2 })
	ends := map[chat.ConversationID]uint64{team: 3, direct: 3, "i~ann": 1}
	wantStored(t, db, ends)
	heads, err := db.Log().Heads(t.Context(), []chat.ConversationID{team})
	want := []store.Head{{ConversationID: team, Seq: 3, Ordinal: 3, NoticeSeq: 3, SentAt: time.UnixMilli(1e12 + 3).UTC(), Position: 2}}
	if d := cmp.Diff(want, heads); err != nil || d != "" {
		t.Errorf("Heads: %v (-want +got):\n%s", err, d)
	}
	all := []chat.ConversationID{team, direct, "i~ann"}
	for u, want := range map[chat.UserID]map[chat.ConversationID]uint64{
		"ann": {direct: 3}, // notices move nobody's cursor
		"bob": {direct: 2, team: 2},
		"cid": {},
	} {
		got := map[chat.ConversationID]uint64{}
		cursors, err := db.Reader().Cursors(t.Context(), u, all)
		for _, c := range cursors {
			got[c.ConversationID] = c.Seq
		}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("cursors of %s: %v (-want +got):\n%s", u, err, d)
		}
	}
	for u, want := range map[chat.UserID]uint64{"bob": 1, "ann": 0} { // never of oneself
		got, err := db.Reader().FirstMentions(t.Context(), u, map[chat.ConversationID]uint64{direct: 0})
		if err != nil || got[direct] != want {
			t.Errorf("FirstMentions(%s) = %v, %v; want %d", u, got, err, want)
		}
	}
	for _, u := range []chat.UserID{"ann", "bob"} {
		if got, err := db.Reader().Directs(t.Context(), u); err != nil || len(got) != 1 {
			t.Errorf("Directs(%s) = %v, %v; want d~ann~bob", u, got, err)
		}
	}
	eventually(t, "7 entries are counted", func() bool { return w.metric("entries_stored_total") == 7 })
}

// Mentions are made once per user, and none of the sender.
func TestMentions(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	s.Put(encode(t, text(team, 1, "ann", "bob", "ann", "cid", "bob")), time.Now())
	spy := &mentions{Log: db.Log(), got: make(chan []store.Mention, 1)}
	run(t, config(), persistence.Retention{}, spy, s)
	got := <-spy.got
	want := []store.Mention{{UserID: "bob", ConversationID: team, Seq: 1}, {UserID: "cid", ConversationID: team, Seq: 1}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("mentions (-want +got):\n%s", d)
	}
}

type mentions struct {
	store.Log
	got chan []store.Mention
}

func (m *mentions) Store(ctx context.Context, b store.Batch) error {
	m.got <- b.Mentions
	return m.Log.Store(ctx, b)
}

// L5: runs that were stored, or overlap with what was, change nothing; a start forgets what memory held.
func TestRedelivery(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	data, ends := batches(t, 9)
	var msgs []backbone.Message
	for i, b := range data {
		s.Put(b, time.Now())
		msgs = append(msgs, backbone.Message{Seq: uint64(i) + 1, Time: time.Now(), Data: b})
	}
	spy := newDatabase(db.Log())
	r, _ := drive(t, s, spy)
	start := func(want uint64) {
		t.Helper()
		if got, err := r.Start(t.Context()); got != want || err != nil {
			t.Fatalf("Start = %d, %v; want %d", got, err, want)
		}
	}
	start(0)
	for _, run := range [][2]int{{0, 3}, {0, 3}, {1, 2}, {2, 5}, {4, 5}, {0, 6}} {
		if err := r.Handle(t.Context(), msgs[run[0]:run[1]]); err != nil {
			t.Fatalf("Handle(%v) = %v; want nil", run, err)
		}
	}
	start(6)
	for _, run := range [][2]int{{5, 6}, {6, 8}, {0, 9}, {8, 9}} {
		if err := r.Handle(t.Context(), msgs[run[0]:run[1]]); err != nil {
			t.Fatalf("Handle(%v) = %v; want nil", run, err)
		}
	}
	start(9)
	wantStored(t, db, ends)
	spy.wantOnce(t)
}

// L5: two writers that do not know of each other, with stale memories and lost answers: the mark lets one of them store
// each message, and what one of them cannot store the other has.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			db, s := openDB(t), convlogtest.NewStream("a")
			adopt(t, db.Log(), 0, s)
			data, ends := batches(t, 60)
			var msgs []backbone.Message
			for i, b := range data {
				s.Put(b, time.Now())
				msgs = append(msgs, backbone.Message{Seq: uint64(i) + 1, Time: time.Now(), Data: b})
			}
			spy := newDatabase(db.Log())
			down := errors.New("down")
			spy.fail = func(int) (before, after error) {
				switch rng.IntN(8) {
				case 0:
					return down, nil
				case 1:
					return nil, down // stored, and nobody knows
				}
				return nil, nil
			}
			type writer struct {
				backbone.Reader
				at int
			}
			var ws [2]writer
			for i := range ws {
				r, svc := drive(t, s, spy)
				at, err := r.Start(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ws[i] = writer{r, int(at)}
				defer func() {
					if svc.metric("sequence_gaps_total") != 0 {
						t.Error("a writer saw a hole where there is none")
					}
				}()
			}
			for ws[0].at < len(msgs) || ws[1].at < len(msgs) {
				w := &ws[rng.IntN(2)]
				if rng.IntN(10) == 0 { // it loses the pin and gets it again
					if at, err := w.Start(t.Context()); err == nil {
						w.at = int(at)
					}
				}
				end := min(len(msgs), w.at+1+rng.IntN(6))
				if w.at < end && w.Handle(t.Context(), msgs[w.at:end]) == nil {
					w.at = end
				}
			}
			wantStored(t, db, ends)
			spy.wantOnce(t)
			if got := position(t, db.Log(), 0); got != 60 {
				t.Errorf("the mark is at %d; want 60", got)
			}
		})
	}
}

// PERS-2: a database that is down for a while delays the writer and costs nothing.
func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	data, ends := batches(t, 40)
	for _, b := range data[:10] {
		s.Put(b, time.Now())
	}
	spy := newDatabase(db.Log())
	spy.setDown(errors.New("down"))
	w := run(t, config(), persistence.Retention{}, spy, s)
	eventually(t, "the writer tries in vain", func() bool { return w.metric("failures_total") > 3 })
	for _, b := range data[10:30] {
		s.Put(b, time.Now())
	}
	spy.setDown(nil)
	eventually(t, "30 are stored", func() bool { return position(t, db.Log(), 0) == 30 })
	spy.setDown(errors.New("down again"))
	for _, b := range data[30:] {
		s.Put(b, time.Now())
	}
	tried := w.metric("failures_total")
	eventually(t, "the writer tries in vain again", func() bool { return w.metric("failures_total") > tried+3 })
	spy.setDown(nil)
	eventually(t, "all are stored", func() bool { return position(t, db.Log(), 0) == 40 })
	wantStored(t, db, ends)
	spy.wantOnce(t)
}

// L5: behind a hole a conversation is not stored any more, and nothing is purged; the others go on. The mark stays below
// the hole, so that the log's readers still find what is not stored (L6), its numbers are not used again (L3), and the
// next start meets the hole and halts again.
func TestHole(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	old := time.Now().Add(-time.Hour)
	s.Put(encode(t, text(team, 1, "ann"), text(direct, 1, "ann")), old)
	s.Put(encode(t, text(direct, 2, "ann")), old)
	s.Put(encode(t, text(direct, 3, "bob"), text(team, 3, "ann")), old) // 2 is missing
	s.Put(encode(t, text(team, 4, "ann"), text("i~ann", 1, "bob")), old)
	s.Put(encode(t, text(direct, 4, "bob")), old)
	ends := map[chat.ConversationID]uint64{team: 1, direct: 4, "i~ann": 1}
	for _, start := range []string{"first", "second"} {
		w := run(t, config(), persistence.Retention{}, db.Log(), s)
		eventually(t, start+" start: all but team is stored", func() bool {
			heads, err := db.Log().Heads(t.Context(), []chat.ConversationID{direct})
			floor, _ := s.Floor(t.Context(), persistence.Reader)
			return err == nil && len(heads) == 1 && heads[0].Seq == ends[direct] && floor >= 5 && w.metric("purging_halted") == 1 && w.metric("sequence_gaps_total") >= 2
		})
		wantStored(t, db, ends)
		if got := w.metric("sequence_gaps_total"); got != 2 {
			t.Errorf("%s start: sequence_gaps_total = %v; want 2", start, got)
		}
		if got := position(t, db.Log(), 0); got != 2 {
			t.Errorf("%s start: the mark is at %d; want 2, below the hole", start, got)
		}
		w.stop()
	}
	// The log that message runs still has what is not stored.
	l := convlogtest.Open(t, db.Log(), s)
	if h, err := l.Head(t.Context(), team); err != nil || h.Seq != 4 {
		t.Errorf("the log's head of team is %d, %v; want 4", h.Seq, err)
	}
	tail, err := l.Tail(t.Context(), team, 1, 9, 9, false)
	if err != nil || len(tail.Entries) != 2 {
		t.Errorf("the log's tail of team has %d entries, %v; want 3 and 4", len(tail.Entries), err)
	}
}

// A hole in a run that fails and comes again is still the same hole, and what is before it is stored.
func TestHoleWhileDown(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	for _, b := range [][]byte{encode(t, text(direct, 1, "ann")), encode(t, text(direct, 2, "ann")), encode(t, text(team, 7, "ann"))} {
		s.Put(b, time.Now())
	}
	spy := newDatabase(db.Log())
	spy.fail = func(call int) (before, after error) {
		if call < 3 {
			return errors.New("down"), nil
		}
		return nil, nil
	}
	run(t, config(), persistence.Retention{}, spy, s)
	eventually(t, "what is below the hole is stored", func() bool { return position(t, db.Log(), 0) == 2 })
	wantStored(t, db, map[chat.ConversationID]uint64{direct: 2, team: 0})
}

// What cannot be decoded is stored raw, and passed.
func TestRaw(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	s.Put(encode(t, text(team, 1, "ann")), time.Now())
	s.Put([]byte("\xff junk"), time.Now())
	s.Put(nil, time.Now())
	s.Put(encode(t, text(team, 2, "ann")), time.Now())
	spy := newDatabase(db.Log())
	w := run(t, config(), persistence.Retention{}, spy, s)
	eventually(t, "all is stored", func() bool { return position(t, db.Log(), 0) == 4 })
	wantStored(t, db, map[chat.ConversationID]uint64{team: 2})
	if d := cmp.Diff(map[uint64]string{2: "\xff junk", 3: ""}, spy.rawMessages()); d != "" {
		t.Errorf("raw messages (-want +got):\n%s", d)
	}
	eventually(t, "2 raw messages are counted", func() bool { return w.metric("raw_messages_total") == 2 })
}

// Invariant 10: an entry of a kind and with fields that this version does not know is stored as it is, and counted.
func TestLaterEntry(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	later := text(team, 2, "ann")
	later.Entry.Kind, later.Entry.Body = 4242, nil
	unknown := protowire.AppendString(protowire.AppendTag(nil, 4243, protowire.BytesType), "later")
	later.ProtoReflect().SetUnknown(unknown)
	later.Entry.ProtoReflect().SetUnknown(unknown)
	s.Put(encode(t, text(team, 1, "ann"), later, text(team, 3, "ann")), time.Now())
	run(t, config(), persistence.Retention{}, newDatabase(db.Log()), s)
	eventually(t, "all is stored", func() bool { return position(t, db.Log(), 0) == 1 })
	wantStored(t, db, map[chat.ConversationID]uint64{team: 3})
	got, err := db.Reader().Range(t.Context(), team, 2, 2, 1, false)
	if err != nil || len(got) != 1 {
		t.Fatalf("Range = %v, %v; want the entry", got, err)
	}
	var le flowv1.LogEntry
	if err := proto.Unmarshal(got[0].Data, &le); err != nil || !proto.Equal(&le, later) || got[0].Kind != 4242 {
		t.Errorf("stored = kind %d, %v, %v; want %v", got[0].Kind, &le, err, later)
	}
}

// The memory of heads is bounded; what it forgets is read again.
func TestFewHeads(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	ends := map[chat.ConversationID]uint64{}
	for n := range 300 {
		c := chat.ConversationID(fmt.Sprint("g~g", n%7))
		ends[c]++
		s.Put(encode(t, text(c, ends[c], "ann")), time.Now())
	}
	cfg := config()
	cfg.Heads, cfg.BatchRuns = 2, 3
	run(t, cfg, persistence.Retention{}, db.Log(), s)
	eventually(t, "all is stored", func() bool { return position(t, db.Log(), 0) == 300 })
	wantStored(t, db, ends)
}

// L7: over a log that the mark does not speak of the writer waits until message has brought them together.
func TestWaitsForReconciliation(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("b")
	before := store.Mark{Incarnation: "a", Position: 9}
	if err := db.Log().MoveMark(t.Context(), 0, store.Mark{}, before, false); err != nil {
		t.Fatal(err)
	}
	s.Put(encode(t, text(team, 1, "ann")), time.Now().Add(-time.Hour))
	w := run(t, config(), persistence.Retention{}, db.Log(), s)
	eventually(t, "the writer waits", func() bool { return w.metric("failures_total") > 3 })
	wantStored(t, db, map[chat.ConversationID]uint64{team: 0})
	if info, err := s.Info(t.Context()); err != nil || info.First != 1 {
		t.Errorf("the log begins at %d, %v; want 1: a foreign mark purges nothing", info.First, err)
	}
	if err := db.Log().MoveMark(t.Context(), 0, before, store.Mark{Incarnation: "b"}, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stored", func() bool { return position(t, db.Log(), 0) == 1 })
	wantStored(t, db, map[chat.ConversationID]uint64{team: 1})
}

// L7: over a log that was purged beyond the mark the writer waits: if it went on, nothing would tell a start of message of what is missing.
func TestWaitsOverGap(t *testing.T) {
	t.Parallel()
	db, s := openDB(t), convlogtest.NewStream("a")
	adopt(t, db.Log(), 0, s)
	before := store.Mark{Incarnation: "a"}
	for range 3 {
		s.Put(encode(t, text(direct, 1, "ann")), time.Now().Add(-time.Hour))
	}
	s.Put(encode(t, text(team, 1, "ann")), time.Now()) // which does not show it
	if err := s.Purge(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	w := run(t, config(), persistence.Retention{}, db.Log(), s)
	eventually(t, "the writer waits", func() bool { return w.metric("failures_total") > 3 })
	wantStored(t, db, map[chat.ConversationID]uint64{team: 0})
	to := store.Mark{Incarnation: "a", Position: 3}
	if err := db.Log().MoveMark(t.Context(), 0, before, to, true); err != nil { // as recover does
		t.Fatal(err)
	}
	eventually(t, "it is stored", func() bool { return position(t, db.Log(), 0) == 4 })
	wantStored(t, db, map[chat.ConversationID]uint64{team: 1})
}

// Batches of a partition are at least Linger apart, and what came meanwhile is stored together; a lone message waits
// for nothing.
func TestLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger = 20 * time.Millisecond
		s, db := convlogtest.NewStream("a"), &timedDatabase{mark: store.Mark{Incarnation: "a"}}
		cfg := config()
		cfg.Linger, cfg.BatchRuns, cfg.PurgeEvery = linger, 100, time.Hour
		run(t, cfg, persistence.Retention{}, db, s)
		synctest.Wait()
		began := time.Now()
		for seq := uint64(1); seq <= 50; seq++ {
			s.Put(encode(t, text(team, seq, "ann")), time.Now())
			synctest.Wait()
			pass(2 * time.Millisecond)
		}
		pass(time.Second)
		alone := time.Now()
		s.Put(encode(t, text(team, 51, "ann")), time.Now())
		synctest.Wait()
		at, sizes := db.batches()
		if len(at) == 0 || at[0] != began || at[len(at)-1] != alone {
			t.Fatalf("batches were stored at %v; want the first at %v and the last at %v, at once", at, began, alone)
		}
		stored := 0
		for i := range at {
			if stored += sizes[i]; i > 0 && at[i].Sub(at[i-1]) < linger {
				t.Errorf("batch %d came %v after the one before it; want at least %v", i, at[i].Sub(at[i-1]), linger)
			}
		}
		if stored != 51 || len(at) > 10 {
			t.Errorf("%d entries in %d batches; want 51 in at most 10", stored, len(at))
		}
	})
}

// pass lets time go by within a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }

// timedDatabase remembers when it stored how much.
type timedDatabase struct {
	store.Log
	mark  store.Mark
	at    []time.Time
	sizes []int
}

func (d *timedDatabase) Mark(context.Context, int) (store.Mark, error) { return d.mark, nil }

func (d *timedDatabase) Heads(context.Context, []chat.ConversationID) ([]store.Head, error) {
	return nil, nil
}

func (d *timedDatabase) Store(_ context.Context, b store.Batch) error {
	d.mark, d.at, d.sizes = b.To, append(d.at, time.Now()), append(d.sizes, len(b.Entries))
	return nil
}

func (d *timedDatabase) batches() ([]time.Time, []int) { return d.at, d.sizes }

// L5 with the real backbone: what was delivered and not acknowledged comes again late and in any order; a new writer, and
// one behind a restarted server, goes on from the mark.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir, db := t.TempDir(), openDB(t)
	data, ends := batches(t, 90)
	spy := newDatabase(db.Log())
	appended := uint64(0)
	put := func(l backbone.Log, n int) {
		t.Helper()
		for range n {
			if _, err := l.Append(t.Context(), data[appended], appended); err != nil {
				t.Fatal(err)
			}
			appended++
		}
	}
	for life := range 3 {
		b, stop := backbonetest.OpenDir(t, dir)
		l, err := b.Log(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			adopt(t, db.Log(), 0, l)
		}
		first := run(t, config(), persistence.Retention{}, spy, l)
		put(l, 10)
		eventually(t, "the first part is stored", func() bool { return position(t, db.Log(), 0) == appended })
		spy.setDown(errors.New("down"))
		put(l, 10)
		failures := first.metric("failures_total")
		eventually(t, "a run was delivered in vain", func() bool { return first.metric("failures_total") > failures })
		first.stop()
		if life == 1 { // die with the run unacknowledged
			stop()
			spy.setDown(nil)
			b, stop = backbonetest.OpenDir(t, dir)
			if l, err = b.Log(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		put(l, 10)
		spy.setDown(nil)
		second := run(t, config(), persistence.Retention{}, spy, l)
		eventually(t, "everything is stored", func() bool { return position(t, db.Log(), 0) == appended })
		second.stop()
		if n := second.metric("sequence_gaps_total"); n != 0 {
			t.Errorf("life %d: %v gaps; want none", life, n)
		}
		stop()
	}
	wantStored(t, db, ends)
	spy.wantOnce(t)
}
