package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// The tests of this file are about what an appender believes of others' work: heads it holds, heads it asked for, and
// the writer's mark, each while the log moves on under it (L3, L7).

// send is Append of a text to a conversation, within 10 s.
func send(t *testing.T, l *convlog.Log, c chat.ConversationID, id string) (convlog.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e := text("ann", id, "body of "+id)
	e.ConversationId = string(c)
	return l.Append(ctx, convlog.Draft{Entry: e, Permit: convlog.Any})
}

func wantSeq(t *testing.T, l *convlog.Log, id string, seq uint64) {
	t.Helper()
	if r, err := send(t, l, team, id); err != nil || r.Seq != seq {
		t.Errorf("Append(%s) = seq %d, %v; want %d", id, r.Seq, err, seq)
	}
}

// L3: the writer may be ahead of an appender. What it stored still counts for heads in memory, and for permissions.
func TestMarkAheadOfAppender(t *testing.T) { attackMarkAheadOfAppender(t, inMemory) }

func attackMarkAheadOfAppender(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	one, _ := open(t, s, d, nil)
	wantSeq(t, one, "m1", 1)
	two, _ := open(t, s, d, seldom)
	wantSeq(t, two, "m2", 2)
	if _, err := two.Append(t.Context(), convlog.Draft{Entry: notice("n3"), Permit: convlog.Any}); err != nil {
		t.Fatal(err)
	}
	d.store(t, s, 3)
	d.marksRead(t)
	_, err := one.Append(t.Context(), convlog.Draft{Entry: text("bob", "b4", "x"), Permit: 0})
	if !errors.Is(err, convlog.ErrStalePermit) {
		t.Errorf("a permission from before a stored notice = %v; want ErrStalePermit", err)
	}
	wantSeq(t, one, "m4", 4)
	contiguous(t, s, map[string]uint64{"m1": 1, "m2": 2, "n3": 3, "m4": 4})
}

// L2, L3: an abandoned batch arrives late and is stored by the writer before the appender has seen it.
func TestLatePublishIsStoredFirst(t *testing.T) { attackLatePublishIsStoredFirst(t, inMemory) }

func attackLatePublishIsStoredFirst(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	l, _ := open(t, s, d, nil)
	wantSeq(t, l, "m1", 1)
	var late []byte
	ctx, cancel := context.WithCancel(t.Context())
	s.script(func(n int, data []byte) error {
		if n != 2 {
			return nil
		}
		late = append([]byte(nil), data...)
		cancel()
		return errLost
	}, nil)
	_, err := l.Append(ctx, convlog.Draft{Entry: text("ann", "m2", "body of m2"), Permit: convlog.Any})
	if !fault.IsReason(err, fault.OutcomeUnknown) {
		t.Fatalf("Append = %v; want OUTCOME_UNKNOWN", err)
	}
	d.marksRead(t) // the loop has let go of the batch
	if _, err := s.store(late, 1); err != nil {
		t.Fatal(err)
	}
	d.store(t, s, 2)
	d.marksRead(t)
	wantSeq(t, l, "m3", 3)
	wantSeq(t, l, "m2", 2)
	contiguous(t, s, map[string]uint64{"m1": 1, "m2": 2, "m3": 3})
}

// L3: a head that was asked for is old when it comes: meanwhile others appended, the writer stored, and memory let
// go of it again.
func TestLateHead(t *testing.T) { attackLateHead(t, inMemory) }

func attackLateHead(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	one, _ := open(t, s, d, func(c *convlog.Config) { c.Heads = 1 })
	two, _ := open(t, s, d, seldom)
	asked, release := make(chan struct{}, 1), make(chan struct{})
	d.on(func(_ context.Context, c chat.ConversationID) {
		if c == team {
			asked <- struct{}{}
			<-release
		}
	}, nil)
	answer := make(chan convlog.Result, 1)
	go func() {
		r, err := send(t, one, team, "m3")
		if err != nil {
			t.Errorf("Append(m3) = %v", err)
		}
		answer <- r
	}()
	<-asked
	d.on(nil, nil)
	wantSeq(t, two, "m1", 1)
	wantSeq(t, two, "m2", 2)
	if _, _, err := one.Positions(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.store(t, s, 2)
	d.marksRead(t)
	for _, c := range []chat.ConversationID{"g~x", "g~y", "g~z"} { // push team's head out
		if _, err := send(t, two, c, "m"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := one.Positions(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if r := <-answer; r.Seq != 3 {
		t.Errorf("Append with an old answer of the database = seq %d; want 3", r.Seq)
	}
}

// L3: what was purged before an appender had read it was stored, but what memory knew of those conversations is old.
// n messages are passed unread; with keep, the newest of them is left.
func TestPurgedUnread(t *testing.T) { attackPurgedUnread(t, inMemory) }

func attackPurgedUnread(t *testing.T, newStream streams) {
	for _, n := range []int{2, 50} {
		for _, keep := range []uint64{0, 1} {
			t.Run(fmt.Sprintf("n=%d,keep=%d", n, keep), func(t *testing.T) {
				s, d := newStream(t, "a"), newDatabase()
				one, _ := open(t, s, d, seldom)
				wantSeq(t, one, "m1", 1)
				two, _ := open(t, s, d, seldom)
				for i := range n {
					wantSeq(t, two, fmt.Sprint("other", i), uint64(i+2))
				}
				d.store(t, s, s.end())
				s.purge(s.end() - keep)
				wantSeq(t, one, "m2", uint64(n+2))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if tail, err := one.Tail(ctx, team, 1, 100, 100, false); err != nil || tail.From != uint64(n+2)-keep {
					t.Errorf("Tail = from %d, %v; want %d: what was purged is stored", tail.From, err, uint64(n+2)-keep)
				}
			})
		}
	}
}

// L7: a start beside a running appender and writer does not take the mark of what came after its look at the stream
// for a log that was set back.
func TestStartBesideWriter(t *testing.T) { attackStartBesideWriter(t, inMemory) }

func attackStartBesideWriter(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	two, _ := open(t, s, d, seldom)
	wantSeq(t, two, "m1", 1)
	d.store(t, s, 1)
	between := &view{Log: s, info: func(n int, i backbone.LogInfo) (backbone.LogInfo, error) {
		if n == 1 {
			wantSeq(t, two, "m2", 2)
			d.store(t, s, 2)
		}
		return i, nil
	}}
	one, _ := open(t, between, d, nil)
	if epoch, _, err := one.Positions(t.Context()); err != nil || epoch != 1 {
		t.Errorf("epoch = %d, %v; want 1: nothing was lost", epoch, err)
	}
	wantSeq(t, one, "m3", 3)
}

// L7: what another one adopted, stored and purged after a start's look at the mark is not missing.
func TestStartBesidePurge(t *testing.T) {
	for _, old := range []convlog.Mark{{Incarnation: "a", Position: 1}, {Incarnation: "b", Position: 9}, {}} {
		t.Run(fmt.Sprint(old), func(t *testing.T) {
			s, d := newStream("a"), newDatabase()
			two, stop := open(t, s, d, seldom)
			for i := range 5 {
				wantSeq(t, two, fmt.Sprint("m", i), uint64(i+1))
			}
			stop()
			d.store(t, s, 5)
			now, once := d.mark, sync.Once{}
			d.mark = old
			d.on(nil, func(context.Context) {
				once.Do(func() {
					if moved, err := d.MoveMark(t.Context(), 0, old, now, false); err != nil || !moved {
						t.Errorf("MoveMark = %v, %v", moved, err)
					}
					s.purge(4)
				})
			})
			one, _ := open(t, s, d, nil)
			if epoch, _, err := one.Positions(t.Context()); err != nil || epoch != 1 {
				t.Errorf("epoch = %d, %v; want 1: nothing was lost", epoch, err)
			}
			wantSeq(t, one, "next", 6)
		})
	}
}

// L7: a stream that is made anew or set back under a running process ends it, also when it has grown since, and also
// when nobody sends.
func TestStreamReplacedWhileRunning(t *testing.T) {
	tests := []struct {
		name  string
		do    func(t *testing.T, l *convlog.Log) error
		quiet bool // only the mark tells
		back  bool // the same incarnation, set back and reconciled by another process
	}{
		{name: "send", do: func(t *testing.T, l *convlog.Log) error { _, err := send(t, l, team, "next"); return err }},
		{name: "read", do: func(t *testing.T, l *convlog.Log) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := l.Head(ctx, team)
			return err
		}},
		{name: "nothing", do: func(*testing.T, *convlog.Log) error { return nil }, quiet: true},
		{name: "nothing, set back", do: func(*testing.T, *convlog.Log) error { return nil }, quiet: true, back: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, d := newStream("a"), newDatabase()
			change := seldom
			if tt.quiet {
				change = nil
			}
			l := start(t, s, d, change)
			for i := range 4 {
				wantSeq(t, l.Log, fmt.Sprint("m", i), uint64(i+1))
			}
			d.store(t, s, 4)
			if change == nil {
				d.marksRead(t)
			}
			s.mu.Lock()
			if tt.back {
				s.msgs = s.msgs[:2]
			} else {
				s.incarnation, s.msgs = "b", nil
			}
			s.mu.Unlock()
			two, _ := open(t, s, d, seldom)
			for i := range 8 {
				wantSeq(t, two, fmt.Sprint("n", i), uint64(i+5))
			}
			if err := tt.do(t, l.Log); !tt.quiet && err == nil {
				t.Errorf("%s with another stream = nil; want an error", tt.name)
			}
			select {
			case <-l.over:
			case <-time.After(10 * time.Second):
				t.Fatal("Run goes on after 10 s")
			}
			if err := l.stop(); err == nil {
				t.Error("Run = nil; want an error: what it remembers is of another log")
			}
		})
	}
}

// Invariant 10: a newer version's kind of conversation shares batches with those that this one knows.
func TestUnknownKindOfConversation(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, nil)
	wantSeq(t, l, "m1", 1)
	var entries []*flowv1.LogEntry
	for seq, c := range []chat.ConversationID{team, "x~new"} {
		e := text("bob", "m", "hi")
		e.ConversationId, e.Seq, e.Ordinal = string(c), uint64(2-seq), uint64(2-seq)
		entries = append(entries, &flowv1.LogEntry{Entry: e})
	}
	data, err := convlog.EncodeBatch(convlog.BatchID{1}, entries)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store(data, 1); err != nil {
		t.Fatal(err)
	}
	wantSeq(t, l, "m3", 3)
}

// L2: a batch whose acknowledgement was lost may be stored and purged before its appender reads on. It is then found in
// the database; without an id to look for, its outcome is unknown.
func TestOwnBatchPurgedUnread(t *testing.T) { attackOwnBatchPurgedUnread(t, inMemory) }

func attackOwnBatchPurgedUnread(t *testing.T, newStream streams) {
	for _, id := range []string{"m1", ""} {
		t.Run("id="+id, func(t *testing.T) {
			s, d := newStream(t, "a"), newDatabase()
			l, _ := open(t, s, d, nil)
			s.script(nil, func(n int, _ []byte) error {
				if n > 1 {
					return nil
				}
				d.store(t, s, 1)
				s.purge(1)
				return errLost
			})
			r, err := send(t, l, team, id)
			if id != "" && (err != nil || r.Seq != 1) {
				t.Errorf("Append = seq %d, %v; want 1", r.Seq, err)
			}
			if id == "" && !fault.IsReason(err, fault.OutcomeUnknown) {
				t.Errorf("Append without an id = %v; want OUTCOME_UNKNOWN", err)
			}
			wantSeq(t, l, "m2", 2)
			contiguous(t, s, map[string]uint64{"m2": 2})
		})
	}
}

// L4: while a resend that was found nowhere is about to be numbered, its first attempt comes through another appender,
// and so much with it that the id is forgotten again at once.
func TestResendForgottenOnTheWay(t *testing.T) { attackResendForgottenOnTheWay(t, inMemory) }

func attackResendForgottenOnTheWay(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	one, _ := open(t, s, d, func(c *convlog.Config) { c.IDs = 4; c.MarkEvery = time.Hour })
	wantSeq(t, one, "m1", 1)
	two, _ := open(t, s, d, seldom)
	s.script(func(n int, _ []byte) error {
		if n == 2 {
			for i := range 9 {
				wantSeq(t, two, fmt.Sprint("x", i), uint64(i+2))
			}
		}
		return nil
	}, nil)
	r, err := one.Append(t.Context(), convlog.Draft{Entry: text("ann", "x0", "body of x0"), Permit: convlog.Any, Resend: true})
	if err != nil || r.Seq != 2 {
		t.Errorf("resend = seq %d, %v; want the first attempt's 2", r.Seq, err)
	}
	contiguous(t, s, map[string]uint64{"x0": 2})
}

// L3: a question to the database that failed teaches nothing about the head.
func TestFailedAnswer(t *testing.T) { attackFailedAnswer(t, inMemory) }

func attackFailedAnswer(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	l, stop := open(t, s, d, nil)
	wantSeq(t, l, "m1", 1)
	stop()
	d.store(t, s, 1)
	l, _ = open(t, s, d, nil)
	d.mu.Lock()
	d.heads[team], d.down = convlog.Head{}, errLost
	d.mu.Unlock()
	if _, err := send(t, l, team, "m2"); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Append with the database down = %v; want OVERLOADED", err)
	}
	d.mu.Lock()
	d.heads[team], d.down = convlog.Head{Seq: 1, Ordinal: 1, Position: 1}, nil
	d.mu.Unlock()
	wantSeq(t, l, "m2", 2)
}
