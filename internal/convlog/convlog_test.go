package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, backbonetest.ServerLeaks()...) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

const team = chat.ConversationID("g~team")

func text(sender, id, body string) *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: string(team), SenderId: sender, ClientMsgId: id, Kind: messagev1.EntryKind_ENTRY_KIND_TEXT,
		Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: body}},
	}
}

func notice(id string) *messagev1.Entry {
	return &messagev1.Entry{
		ConversationId: string(team), SenderId: "ann", ClientMsgId: id, Kind: messagev1.EntryKind_ENTRY_KIND_NOTICE,
		Body: &messagev1.Entry_Notice{Notice: &messagev1.Notice{Type: messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED}},
	}
}

func appendText(t *testing.T, l *convlog.Log, id string) convlog.Result {
	t.Helper()
	r, err := l.Append(t.Context(), convlog.Draft{Entry: text("ann", id, "body of "+id), Permit: convlog.Any})
	if err != nil {
		t.Fatalf("Append(%s) = %v", id, err)
	}
	return r
}

// contiguous fails unless the stream holds every id of want once, with seqs 1..n of team in order.
func contiguous(t *testing.T, s *stream, want map[string]uint64) {
	t.Helper()
	got := map[string]uint64{}
	var last uint64
	for _, e := range s.entries(t) {
		if e.GetSeq() != last+1 {
			t.Errorf("seq %d follows %d", e.GetSeq(), last)
		}
		last = e.GetSeq()
		id := e.GetClientMsgId()
		if e.GetSenderId() != "ann" {
			id = e.GetSenderId() + "'s " + id
		}
		if old, ok := got[id]; ok {
			t.Errorf("%s stands at seq %d and %d", id, old, e.GetSeq())
		}
		got[id] = e.GetSeq()
	}
	for id, seq := range want {
		if got[id] != seq {
			t.Errorf("%s was acknowledged at seq %d; the log has it at %d", id, seq, got[id])
		}
	}
}

func TestAppendNumbers(t *testing.T) {
	s := newStream("a")
	l, _ := open(t, s, newDatabase(), nil)
	if r := appendText(t, l, "m1"); r.Seq != 1 || r.Ordinal != 1 {
		t.Errorf("first Append = seq %d, ordinal %d; want 1, 1", r.Seq, r.Ordinal)
	}
	if r, err := l.Append(t.Context(), convlog.Draft{Entry: notice("n1"), Permit: convlog.Any}); err != nil || r.Seq != 2 || r.Ordinal != 1 {
		t.Errorf("a notice = seq %d, ordinal %d, %v; want 2, 1: it does not raise the unread number", r.Seq, r.Ordinal, err)
	}
	if r := appendText(t, l, "m2"); r.Seq != 3 || r.Ordinal != 2 {
		t.Errorf("third Append = seq %d, ordinal %d; want 3, 2", r.Seq, r.Ordinal)
	}
}

var errLost = errors.New("no answer")

// L1, L2: whatever becomes of an acknowledgement, an entry stands in the log once.
func TestUnknownOutcome(t *testing.T) { attackUnknownOutcome(t, inMemory) }

func attackUnknownOutcome(t *testing.T, newStream streams) {
	tests := []struct {
		name          string
		before, after func(n int, data []byte) error
	}{
		{name: "the acknowledgement is lost", after: func(n int, _ []byte) error {
			if n == 1 {
				return errLost
			}
			return nil
		}},
		{name: "the publish is lost", before: func(n int, _ []byte) error {
			if n == 1 {
				return errLost
			}
			return nil
		}},
		{name: "every second acknowledgement is lost", after: func(n int, _ []byte) error {
			if n%2 == 1 {
				return errLost
			}
			return nil
		}},
		{name: "publishes and acknowledgements are lost in turn", before: func(n int, _ []byte) error {
			if n%3 == 1 {
				return errLost
			}
			return nil
		}, after: func(n int, _ []byte) error {
			if n%3 == 2 {
				return errLost
			}
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStream(t, "a")
			s.script(tt.before, tt.after)
			l, _ := open(t, s, newDatabase(), nil)
			acked := map[string]uint64{}
			for i := range 6 {
				id := fmt.Sprint("m", i)
				acked[id] = appendText(t, l, id).Seq
			}
			contiguous(t, s, acked)
		})
	}
}

// L2: a publish that arrives after its time-out is fenced by the expected sequence, or found.
func TestLatePublish(t *testing.T) { attackLatePublish(t, inMemory) }

func attackLatePublish(t *testing.T, newStream streams) {
	s := newStream(t, "a")
	var late []byte
	s.script(func(n int, data []byte) error {
		if n == 1 {
			late = append([]byte(nil), data...)
			return errLost // it stays on the wire
		}
		if n == 2 {
			if _, err := s.store(late, 0); err != nil {
				t.Errorf("the late publish = %v; want it stored", err)
			}
		}
		return nil
	}, nil)
	l, _ := open(t, s, newDatabase(), nil)
	acked := map[string]uint64{"m1": appendText(t, l, "m1").Seq, "m2": appendText(t, l, "m2").Seq}
	contiguous(t, s, acked)
	if _, err := s.store(late, 0); !errors.Is(err, backbone.ErrConflict) {
		t.Errorf("the same publish, once more = %v; want ErrConflict", err)
	}
}

// A caller that gave up gets OUTCOME_UNKNOWN; repeating with the same id completes it, once.
func TestCallerGivesUp(t *testing.T) { attackCallerGivesUp(t, inMemory) }

func attackCallerGivesUp(t *testing.T, newStream streams) {
	s := newStream(t, "a")
	hang, release := make(chan struct{}), make(chan struct{})
	s.script(nil, func(n int, _ []byte) error {
		if n == 1 {
			close(hang)
			<-release
			return errLost
		}
		return nil
	})
	l, _ := open(t, s, newDatabase(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-hang; cancel() }()
	_, err := l.Append(ctx, convlog.Draft{Entry: text("ann", "m1", "body of m1"), Permit: convlog.Any})
	if !fault.IsReason(err, fault.OutcomeUnknown) {
		t.Errorf("Append = %v; want OUTCOME_UNKNOWN", err)
	}
	close(release)
	contiguous(t, s, map[string]uint64{"m1": appendText(t, l, "m1").Seq})
}

func TestFull(t *testing.T) {
	s := newStream("a")
	var full sync.Map
	full.Store("full", true)
	s.script(func(int, []byte) error {
		if v, _ := full.Load("full"); v == true {
			return backbone.ErrFull
		}
		return nil
	}, nil)
	l, _ := open(t, s, newDatabase(), nil)
	_, err := l.Append(t.Context(), convlog.Draft{Entry: text("ann", "m1", "x"), Permit: convlog.Any})
	if !fault.IsReason(err, fault.LogFull) {
		t.Errorf("Append to a full log = %v; want LOG_FULL", err)
	}
	full.Store("full", false)
	if r := appendText(t, l, "m1"); r.Seq != 1 {
		t.Errorf("after space is back seq = %d; want 1", r.Seq)
	}
}

// Two appenders on one stream, every batch a possible conflict: invariants 1 to 3.
func TestTwoAppenders(t *testing.T) { attackTwoAppenders(t, inMemory) }

func attackTwoAppenders(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	one, _ := open(t, s, d, nil)
	two, _ := open(t, s, d, nil)
	var mu sync.Mutex
	acked := map[string]uint64{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			l := []*convlog.Log{one, two}[w%2]
			for i := range 100 {
				id := fmt.Sprintf("w%d-%d", w, i)
				r, err := l.Append(t.Context(), convlog.Draft{Entry: text("ann", id, id), Permit: convlog.Any})
				if err != nil {
					t.Errorf("Append(%s) = %v", id, err)
					return
				}
				mu.Lock()
				acked[id] = r.Seq
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(acked) != 800 {
		t.Errorf("%d acknowledged; want 800", len(acked))
	}
	contiguous(t, s, acked)
}

// A permission that is older than the newest notice is refused, also when the notice is in the same batch or came
// from another appender.
func TestStalePermit(t *testing.T) { attackStalePermit(t, inMemory) }

func attackStalePermit(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	one, _ := open(t, s, d, nil)
	two, _ := open(t, s, d, nil)
	send := func(l *convlog.Log, id string, permit uint64) error {
		_, err := l.Append(t.Context(), convlog.Draft{Entry: text("bob", id, id), Permit: permit})
		return err
	}
	r, err := one.Append(t.Context(), convlog.Draft{Entry: notice("n1"), Permit: convlog.Any})
	if err != nil {
		t.Fatal(err)
	}
	if err := send(one, "m1", r.Seq-1); !errors.Is(err, convlog.ErrStalePermit) {
		t.Errorf("a permission from before the notice = %v; want ErrStalePermit", err)
	}
	if err := send(one, "m1", r.Seq); err != nil {
		t.Errorf("a permission that knows the notice = %v; want nil", err)
	}
	if r, err = two.Append(t.Context(), convlog.Draft{Entry: notice("n2"), Permit: convlog.Any}); err != nil {
		t.Fatal(err)
	}
	if err := send(one, "m2", 1); !errors.Is(err, convlog.ErrStalePermit) {
		t.Errorf("after another appender's notice = %v; want ErrStalePermit", err)
	}
	d.store(t, s, s.end())
	three, _ := open(t, s, d, nil)
	if err := send(three, "m2", r.Seq-1); !errors.Is(err, convlog.ErrStalePermit) {
		t.Errorf("after a restart with everything stored = %v; want ErrStalePermit", err)
	}
}

// L7: a log that is new or stands behind the database raises the epoch, and numbers never go back.
func TestLogBehindDatabase(t *testing.T) {
	tests := []struct {
		name      string
		lose      func(s *stream) *stream
		wantEpoch uint64
	}{
		{"nothing lost", func(s *stream) *stream { return s }, 1},
		{"set back", func(s *stream) *stream { s.msgs = s.msgs[:3]; return s }, 2},
		{"made anew", func(*stream) *stream { return newStream("b") }, 2},
		{"emptied", func(s *stream) *stream { s.msgs = nil; return s }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, d := newStream("a"), newDatabase()
			l, stop := open(t, s, d, nil)
			for i := range 6 {
				appendText(t, l, fmt.Sprint("m", i))
			}
			d.store(t, s, 6)
			stop()
			s = tt.lose(s)
			for range 2 { // the second start must not raise it again
				l, stop = open(t, s, d, nil)
				epoch, _, err := l.Positions(t.Context())
				if err != nil || epoch != tt.wantEpoch {
					t.Errorf("epoch = %d, %v; want %d", epoch, err, tt.wantEpoch)
				}
				stop()
			}
			l, _ = open(t, s, d, nil)
			if r := appendText(t, l, "after"); r.Seq != 7 || r.Ordinal != 7 {
				t.Errorf("the next entry = seq %d, ordinal %d; want 7, 7", r.Seq, r.Ordinal)
			}
			d.store(t, s, uint64(len(s.msgs)))
		})
	}
}

// L7: a database that was put back from a back-up is caught up from the log, if the log still has what it lacks. If it was purged, numbers
// would be given again: the start is refused.
func TestDatabaseBehindLog(t *testing.T) {
	for _, tt := range []struct {
		name   string
		purged uint64
		mark   convlog.Mark
		want   bool // it starts
	}{
		{"the log has it all", 0, convlog.Mark{Incarnation: "a", Position: 3}, true},
		{"up to where the database stands", 3, convlog.Mark{Incarnation: "a", Position: 3}, true},
		{"one is missing", 4, convlog.Mark{Incarnation: "a", Position: 3}, false},
		{"all is purged", 6, convlog.Mark{Incarnation: "a", Position: 3}, false},
		{"another log, which has it all", 0, convlog.Mark{Incarnation: "b", Position: 9}, true},
		{"another log, of which one is missing", 1, convlog.Mark{Incarnation: "b", Position: 9}, false},
		{"another log, all is purged", 6, convlog.Mark{Incarnation: "b", Position: 3}, false},
		{"nothing was stored, one is missing", 1, convlog.Mark{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, d := newStream("a"), newDatabase()
			l, stop := open(t, s, d, nil)
			for i := range 6 {
				appendText(t, l, fmt.Sprint("m", i))
			}
			d.store(t, s, 3)
			stop()
			s.purge(tt.purged)
			d.mark = tt.mark
			if !tt.want {
				ctx, cancel := context.WithCancel(t.Context())
				err := convlog.New(convlog.Defaults(1), []backbone.Log{s}, d, discard(), func(string) {}).Run(ctx, cancel)
				if err == nil || !strings.Contains(err.Error(), "oceanchat recover") {
					t.Errorf("Run = %v; want an error that says what to do", err)
				}
				if d.mark != tt.mark || d.epoch != 1 {
					t.Errorf("the mark is %v, the epoch %d; want nothing changed", d.mark, d.epoch)
				}
				return
			}
			l, _ = open(t, s, d, nil)
			if r := appendText(t, l, "after"); r.Seq != 7 || r.Ordinal != 7 {
				t.Errorf("the next entry = seq %d, ordinal %d; want 7, 7", r.Seq, r.Ordinal)
			}
		})
	}
}

// L3, L6: heads may leave memory, and what is not stored is readable, from memory or from the log.
func TestTailAndEviction(t *testing.T) { attackTailAndEviction(t, inMemory) }

func attackTailAndEviction(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	l, _ := open(t, s, d, func(c *convlog.Config) { c.Heads = 2; c.RecentBytes = 300 })
	ctx := t.Context()
	for i := range 30 {
		for _, c := range []string{"d~ann~bob", "d~ann~cid", "g~team", "i~ann"} {
			e := text("ann", fmt.Sprint("m", i), "hi @bob")
			e.ConversationId = c
			e.GetText().Mentions = []*messagev1.Mention{{UserId: "bob", Offset: 3, Length: 4}}
			r, err := l.Append(ctx, convlog.Draft{Entry: e, Permit: convlog.Any})
			if err != nil || r.Seq != uint64(i+1) {
				t.Fatalf("%s: seq %d, %v; want %d", c, r.Seq, err, i+1)
			}
		}
		if i%7 == 6 {
			d.store(t, s, s.end())
		}
	}
	eventually(t, "the stored part leaves memory", func() bool {
		tail, err := l.Tail(ctx, team, 1, 100, 100, false)
		return err == nil && tail.From == 29 && tail.Head == 30 && len(tail.Entries) == 2
	})
	tail, err := l.Tail(ctx, team, 1, 100, 1, true)
	if err != nil || len(tail.Entries) != 1 || tail.Entries[0].GetSeq() != 30 || tail.From != 30 {
		t.Errorf("the newest of the tail = %v from %d, %v; want seq 30", tail.Entries, tail.From, err)
	}
	heads, err := l.Heads(ctx, "bob", []chat.ConversationID{team, "i~ann"}, true)
	if err != nil || len(heads) != 3 {
		t.Fatalf("Heads = %v, %v; want team, i~ann and d~ann~bob", heads, err)
	}
	for _, h := range heads {
		if h.Seq != 30 || len(h.Mentions) != 2 || h.Mentions[0] != 29 || h.Own.Seq != 0 {
			t.Errorf("head of %s = %+v; want seq 30, mentions 29 and 30, nothing of bob's own", h.Conversation, h)
		}
	}
	d.store(t, s, s.end())
	eventually(t, "nothing is left to store", func() bool {
		heads, err := l.Heads(ctx, "ann", nil, true)
		return err == nil && len(heads) == 0
	})
}

// Invariant 6: with the head in memory a send touches no database at all; without it, it says that it cannot.
func TestDatabaseDown(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, nil)
	appendText(t, l, "m1")
	d.mu.Lock()
	d.down = errLost
	asked := d.asked
	d.mu.Unlock()
	if r := appendText(t, l, "m2"); r.Seq != 2 {
		t.Errorf("Append with the database down = seq %d; want 2", r.Seq)
	}
	if d.asked != asked {
		t.Errorf("the database was asked %d times for a cached head; want 0", d.asked-asked)
	}
	e := text("ann", "m1", "x")
	e.ConversationId = "g~other"
	if _, err := l.Append(t.Context(), convlog.Draft{Entry: e, Permit: convlog.Any}); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("Append to a conversation not in memory = %v; want UNAVAILABLE", err)
	}
}

func TestCorruptMessageIsPassed(t *testing.T) { attackCorruptMessageIsPassed(t, inMemory) }

func attackCorruptMessageIsPassed(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	l, stop := open(t, s, d, nil)
	appendText(t, l, "m1")
	stop()
	if _, err := s.store([]byte("not a batch"), 1); err != nil {
		t.Fatal(err)
	}
	l, _ = open(t, s, d, nil)
	if r := appendText(t, l, "m2"); r.Seq != 2 {
		t.Errorf("seq behind a corrupt message = %d; want 2", r.Seq)
	}
}

func TestQueueIsBounded(t *testing.T) {
	s := newStream("a")
	entered, release := make(chan struct{}), make(chan struct{})
	s.script(func(n int, _ []byte) error {
		if n == 1 {
			close(entered)
			<-release
		}
		return nil
	}, nil)
	l, _ := open(t, s, newDatabase(), func(c *convlog.Config) { c.Queue = 4 })
	var wg sync.WaitGroup
	send := func(id string) error {
		_, err := l.Append(t.Context(), convlog.Draft{Entry: text("ann", id, id), Permit: convlog.Any})
		return err
	}
	wg.Go(func() { _ = send("first") })
	<-entered
	full := make(chan error, 100)
	for i := range 10 {
		wg.Go(func() { full <- send(fmt.Sprint("m", i)) })
	}
	if err := <-full; !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("an append beyond the queue = %v; want OVERLOADED at once", err)
	}
	close(release)
	wg.Wait()
	contiguous(t, s, map[string]uint64{"first": 1})
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}
