package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// The tests of this file are about who waits for whom: no send behind the database, no reader behind an answer that
// failed, nobody behind another's bad input, and nothing left behind when the log ends (invariants 6 to 8).

// Invariant 6: a database that hangs holds up no send to a conversation in memory.
func TestDatabaseHangs(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, func(c *convlog.Config) { c.PublishTimeout = time.Hour })
	wantSeq(t, l, "m1", 1)
	hangs := make(chan struct{}, 1)
	d.on(nil, func(ctx context.Context) {
		select {
		case hangs <- struct{}{}:
		default:
		}
		<-ctx.Done()
	})
	<-hangs
	wantSeq(t, l, "m2", 2)
	wantSeq(t, l, "m3", 3)
}

// A reader that waits for the log to catch up is served though a question of the catching-up failed; it need not wait
// for another reader to come.
func TestReaderOutlivesFailure(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	two, _ := open(t, s, d, nil)
	fail := 0
	one, _ := open(t, &view{Log: s, info: func(n int, i backbone.LogInfo) (backbone.LogInfo, error) {
		if n == fail {
			return i, errLost
		}
		return i, nil
	}}, d, func(c *convlog.Config) { fail = 3 }) // the first is the start's, the second the reader's
	wantSeq(t, two, "m1", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if tail, err := one.Tail(ctx, team, 1, 10, 10, false); err != nil || len(tail.Entries) != 1 {
		t.Errorf("Tail = %v, %v; want the one entry", tail.Entries, err)
	}
}

// Readers do not wait for a log that has ended.
func TestReadAfterEnd(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	one, stop := open(t, s, d, nil)
	two, _ := open(t, s, d, nil)
	stop()
	wantSeq(t, two, "m1", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := one.Head(ctx, team); !fault.IsReason(err, fault.Overloaded) || ctx.Err() != nil {
		t.Errorf("Head of a log that has ended = %v; want OVERLOADED at once", err)
	}
}

// Run waits for its questions to the database, and ends them; whoever waits for them gets an answer.
func TestEndWhileAsking(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l := start(t, s, d, func(c *convlog.Config) { c.PublishTimeout = time.Hour })
	asked := make(chan struct{}, 100)
	d.on(func(ctx context.Context, _ chat.ConversationID) {
		asked <- struct{}{}
		<-ctx.Done()
	}, nil)
	var wg sync.WaitGroup
	for i := range 40 { // more than are asked at a time, and two for each conversation
		wg.Go(func() {
			_, err := send(t, l.Log, chat.ConversationID(fmt.Sprint("g~", i%20)), fmt.Sprint("m", i))
			if !fault.IsReason(err, fault.Overloaded) && !fault.IsReason(err, fault.OutcomeUnknown) {
				t.Errorf("Append while the log ends = %v; want OVERLOADED or OUTCOME_UNKNOWN", err)
			}
		})
	}
	for range 16 {
		<-asked
	}
	if err := l.stop(); err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	d.mu.Lock()
	if d.busy != 0 {
		t.Errorf("%d questions are under way after Run; want none", d.busy)
	}
	d.mu.Unlock()
	wg.Wait()
}

// Invariant 7: an append that waited too long for the appender is refused, was never offered to the stream, and the next
// one is accepted.
func TestWaitIsBounded(t *testing.T) {
	const wait = time.Second
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, func(c *convlog.Config) { c.Wait, c.PublishTimeout = wait, time.Hour })
	wantSeq(t, l, "m1", 1) // the head is known from now on
	publishing, release := make(chan struct{}, 1), make(chan struct{})
	s.script(func(int, []byte) error {
		publishing <- struct{}{}
		<-release
		return nil
	}, nil)
	var wg sync.WaitGroup
	wg.Go(func() { wantSeq(t, l, "m2", 2) })
	<-publishing
	late := make(chan error, 10)
	for i := range cap(late) {
		wg.Go(func() {
			_, err := send(t, l, team, fmt.Sprint("late", i))
			late <- err
		})
	}
	queued := time.Now()
	eventually(t, "they wait for too long", func() bool { return waiting(t, l) == 1+cap(late) && time.Since(queued) > 2*wait })
	s.script(nil, nil)
	close(release)
	for range cap(late) {
		if f := fault.Of(<-late); f == nil || f.Reason != fault.Overloaded || f.RetryAfter <= 0 {
			t.Errorf("Append that waited too long = %v; want OVERLOADED with advice when to retry", f)
		}
	}
	wg.Wait()
	wantSeq(t, l, "m3", 3)
	if n := len(s.entries(t)); n != 3 {
		t.Errorf("the stream has %d entries; want 3: nothing that was refused", n)
	}
}

// waiting returns the metric of appends that are not answered yet.
func waiting(t *testing.T, l *convlog.Log) int {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(l.Gauges())
	families, err := reg.Gather()
	if err != nil {
		t.Fatalf("Gather() = %v", err)
	}
	for _, f := range families {
		if f.GetName() == "oceanchat_log_waiting_appends" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	t.Fatal("no metric of waiting appends")
	return 0
}

// Invariant 7: appends that wait for the database count as waiting.
func TestParkedIsBounded(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, func(c *convlog.Config) { c.Queue = 8 })
	asked, release := make(chan struct{}), make(chan struct{})
	d.on(func(_ context.Context, c chat.ConversationID) {
		if c == team {
			close(asked)
			<-release
		}
	}, nil)
	var wg sync.WaitGroup
	wg.Go(func() { wantSeq(t, l, "first", 1) })
	<-asked
	answers := make(chan error, 20)
	for i := range 20 {
		wg.Go(func() {
			_, err := send(t, l, team, fmt.Sprint("m", i))
			answers <- err
		})
	}
	for range 13 {
		if err := <-answers; !fault.IsReason(err, fault.Overloaded) {
			t.Errorf("Append = %v; want OVERLOADED for all but the 7 that fit behind the first", err)
		}
	}
	if _, err := send(t, l, team, "more"); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Append to a full house = %v; want OVERLOADED", err)
	}
	close(release)
	wg.Wait()
	for range 7 {
		if err := <-answers; err != nil {
			t.Errorf("Append that waited for the database = %v; want nil", err)
		}
	}
	wantSeq(t, l, "again", 9)
}

// Invariant 8: an entry that cannot be encoded fails alone.
func TestBadEntryFailsAlone(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, nil)
	hold, release := make(chan struct{}), make(chan struct{})
	s.script(func(n int, _ []byte) error {
		if n == 1 {
			close(hold)
			<-release
		}
		return nil
	}, nil)
	var wg sync.WaitGroup
	wg.Go(func() { wantSeq(t, l, "m1", 1) })
	<-hold
	var under sync.WaitGroup
	for i := range 4 { // they gather behind the first
		under.Add(2)
		wg.Go(func() {
			under.Done()
			if _, err := send(t, l, team, fmt.Sprint("good", i)); err != nil {
				t.Errorf("Append beside a bad one = %v; want nil", err)
			}
		})
		wg.Go(func() {
			e := text("ann", fmt.Sprint("bad", i), "\xff")
			under.Done()
			if _, err := l.Append(t.Context(), convlog.Draft{Entry: e, Permit: convlog.Any}); err == nil {
				t.Error("Append of a text that is not UTF-8 = nil; want an error")
			}
		})
	}
	under.Wait()
	close(release)
	wg.Wait()
	if got := len(s.entries(t)); got != 5 {
		t.Errorf("the log has %d entries; want 5", got)
	}
	contiguous(t, s, map[string]uint64{"m1": 1})
}

// One entry larger than a batch is a batch of its own; one that no message can hold is refused, alone.
func TestLargeEntries(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	s.script(func(_ int, data []byte) error {
		if len(data) > backbone.MaxData {
			return backbone.ErrRefused
		}
		return nil
	}, nil)
	l, _ := open(t, s, d, nil)
	var wg sync.WaitGroup
	for i, size := range []int{100, 300 << 10, 2 << 20, 300 << 10, 100, 2 << 20, 200 << 10, 200 << 10} {
		wg.Go(func() {
			e := text("ann", fmt.Sprint("m", i), strings.Repeat("x", size))
			_, err := l.Append(t.Context(), convlog.Draft{Entry: e, Permit: convlog.Any})
			if fits := size < backbone.MaxData; fits != (err == nil) || !fits && !errors.Is(err, backbone.ErrRefused) {
				t.Errorf("Append of %d bytes = %v", size, err)
			}
		})
	}
	wg.Wait()
	if got := len(s.entries(t)); got != 6 {
		t.Errorf("the log has %d entries; want 6", got)
	}
	contiguous(t, s, nil)
}

// L2: once an attempt has an unknown outcome, a refusal of a later one proves nothing.
func TestRefusedAfterUnknown(t *testing.T) { attackRefusedAfterUnknown(t, inMemory) }

func attackRefusedAfterUnknown(t *testing.T, newStream streams) {
	for _, refusal := range []error{backbone.ErrFull, backbone.ErrRefused} {
		t.Run(refusal.Error(), func(t *testing.T) {
			s, d := newStream(t, "a"), newDatabase()
			var late []byte
			s.script(func(n int, data []byte) error {
				switch n {
				case 1:
					late = append([]byte(nil), data...)
					return errLost
				case 2:
					return refusal
				}
				return nil
			}, nil)
			l, _ := open(t, s, d, nil)
			_, err := send(t, l, team, "m1")
			if !fault.IsReason(err, fault.OutcomeUnknown) {
				t.Errorf("Append = %v; want OUTCOME_UNKNOWN: the first attempt may still be stored", err)
			}
			if _, err := s.store(late, 0); err != nil {
				t.Fatal(err)
			}
			wantSeq(t, l, "m1", 1)
			contiguous(t, s, map[string]uint64{"m1": 1})
		})
	}
}

// The same, where the first attempt was stored before the refusal came.
func TestRefusedAfterStored(t *testing.T) { attackRefusedAfterStored(t, inMemory) }

func attackRefusedAfterStored(t *testing.T, newStream streams) {
	s, d := newStream(t, "a"), newDatabase()
	s.script(func(n int, data []byte) error {
		switch n {
		case 1:
			return errLost
		case 2:
			if _, err := s.store(data, 0); err != nil {
				t.Error(err)
			}
			return backbone.ErrFull
		}
		return nil
	}, nil)
	l, _ := open(t, s, d, nil)
	wantSeq(t, l, "m1", 1)
	contiguous(t, s, map[string]uint64{"m1": 1})
}

// L8: a server may say that it is full before it looks at the expected sequence. An appender that is behind then says of
// no entry that it was not stored which another one has committed; and what it cannot look for, it does not know.
func TestFullBeforeFence(t *testing.T) { attackFullBeforeFence(t, inMemory) }

func attackFullBeforeFence(t *testing.T, newStream streams) {
	for _, full := range []error{backbone.ErrFull, backbone.ErrRefused} {
		t.Run(full.Error(), func(t *testing.T) {
			s, d := newStream(t, "a"), newDatabase()
			var away atomic.Bool
			stale, _ := open(t, &view{Log: s, info: func(_ int, i backbone.LogInfo) (backbone.LogInfo, error) {
				if away.Load() {
					return i, errLost
				}
				return i, nil
			}}, d, seldom)
			two, _ := open(t, s, d, seldom)
			wantSeq(t, two, "m1", 1)
			wantSeq(t, two, "m2", 2)
			s.script(func(int, []byte) error { return full }, nil)
			wantSeq(t, stale, "m1", 1)
			r, err := stale.Append(t.Context(), convlog.Draft{Entry: text("ann", "m2", "body of m2"), Permit: convlog.Any, Resend: true})
			if err != nil || r.Seq != 2 {
				t.Errorf("resend = seq %d, %v; want 2, which is in the log", r.Seq, err)
			}
			if _, err := send(t, stale, team, "m3"); !errors.Is(err, full) {
				t.Errorf("Append of what is not in the log = %v; want %v", err, full)
			}
			away.Store(true)
			if _, err := send(t, stale, team, "m4"); !fault.IsReason(err, fault.OutcomeUnknown) {
				t.Errorf("Append where the log cannot be read = %v; want OUTCOME_UNKNOWN", err)
			}
			contiguous(t, s, map[string]uint64{"m1": 1, "m2": 2})
		})
	}
}

// L6 with a writer that is long down: a page of the tail reads what it shows, not all there is.
func TestTailReadsWhatItShows(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, _ := open(t, s, d, func(c *convlog.Config) { c.RecentBytes = 1 })
	const n = 2000
	for i := range n {
		if _, err := send(t, l, team, fmt.Sprint("m", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, newest := range []bool{true, false} {
		before := s.getCount()
		tail, err := l.Tail(t.Context(), team, 1, 1<<40, 10, newest)
		if err != nil || len(tail.Entries) != 10 {
			t.Fatalf("Tail = %d entries, %v; want 10", len(tail.Entries), err)
		}
		want := uint64(1)
		if newest {
			want = n - 9
		}
		if got := tail.Entries[0].GetSeq(); got != want || tail.From != want || tail.Entries[9].GetSeq() != want+9 || tail.Head != n {
			t.Errorf("newest %v: Tail begins at %d, from %d; want %d", newest, got, tail.From, want)
		}
		if reads := s.getCount() - before; reads > 20 {
			t.Errorf("newest %v: %d reads of the log for 10 entries", newest, reads)
		}
	}
}

// L6: a batch that is purged between the look at the tail and its reading is stored: the tail's answer says that it
// begins behind it.
func TestTailPurgedWhileRead(t *testing.T) {
	tests := []struct {
		purge, from, to uint64
		newest          bool
		want            []uint64
		wantFrom        uint64
	}{
		{purge: 3, from: 1, to: 9, want: []uint64{4, 5}, wantFrom: 4},
		{purge: 3, from: 1, to: 9, newest: true, want: []uint64{4, 5}, wantFrom: 4},
		{purge: 4, from: 2, to: 3, want: nil, wantFrom: 6},
		{purge: 5, from: 1, to: 9, newest: true, want: nil, wantFrom: 6},
	}
	for _, tt := range tests {
		s, d := newStream("a"), newDatabase()
		l, _ := open(t, s, d, func(c *convlog.Config) { c.RecentBytes, c.MarkEvery = 1, time.Hour })
		for i := range uint64(5) {
			wantSeq(t, l, fmt.Sprint("m", i), i+1)
		}
		d.store(t, s, 5)
		s.purge(tt.purge)
		tail, err := l.Tail(t.Context(), team, tt.from, tt.to, 9, tt.newest)
		if err != nil || tail.From != tt.wantFrom || tail.Head != 5 || fmt.Sprint(seqs(tail.Entries)) != fmt.Sprint(tt.want) {
			t.Errorf("%+v: Tail = %v from %d of %d, %v", tt, seqs(tail.Entries), tail.From, tail.Head, err)
		}
	}
}

func seqs(entries []*messagev1.Entry) []uint64 {
	var out []uint64
	for _, e := range entries {
		out = append(out, e.GetSeq())
	}
	return out
}
