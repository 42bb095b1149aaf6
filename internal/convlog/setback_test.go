package convlog_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

// The tests of this file are about an appender that was idle while the log lost what it had read and grew again (L7).

func looking(c *convlog.Config) { c.MarkEvery, c.LookEvery = time.Hour, time.Millisecond }

func lookingAtMarks(c *convlog.Config) { c.LookEvery = time.Millisecond }

// cut plays a power cut with log.sync: interval, or an older copy that was put back.
func (s *stream) cut(last int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.msgs = s.msgs[:last]
}

// ends fails unless l ends by itself with an error.
func ends(t *testing.T, l running) {
	t.Helper()
	select {
	case <-l.over:
	case <-time.After(10 * time.Second):
		t.Fatal("Run goes on after 10 s")
	}
	if err := l.stop(); err == nil {
		t.Error("Run = nil; want an error: what it remembers is not in the log")
	}
}

// L7: whatever an idle appender is asked, and also if it is asked nothing, it neither numbers behind entries that are
// lost nor shows them, and clients that hold them are told to synchronise.
func TestSetBackUnseen(t *testing.T) {
	send := func(ctx context.Context, l *convlog.Log) error {
		_, err := l.Append(ctx, convlog.Draft{Entry: text("ann", "next", "body of next"), Permit: convlog.Any})
		return err
	}
	tail := func(ctx context.Context, l *convlog.Log) error {
		_, err := l.Tail(ctx, team, 1, 100, 100, false)
		return err
	}
	head := func(ctx context.Context, l *convlog.Log) error { _, err := l.Head(ctx, team); return err }
	tests := []struct {
		name      string
		stored    uint64 // of the 20 entries that there were; 15 are left
		grow      int    // entries that a fresh start adds
		lags      bool   // it had read only what is left
		change    func(*convlog.Config)
		do        func(context.Context, *convlog.Log) error
		wantEpoch uint64 // before the next start
	}{
		{"send, shorter", 10, 0, false, seldom, send, 2},
		{"send, grown less", 10, 3, false, seldom, send, 2},
		{"send, grown beyond", 10, 11, false, seldom, send, 2},
		{"send, grown far beyond", 10, 60, false, seldom, send, 2},
		{"read, shorter", 10, 0, false, seldom, tail, 2},
		{"read, grown less", 10, 3, false, seldom, head, 2},
		{"read, grown beyond", 10, 11, false, seldom, tail, 2},
		{"look, shorter", 10, 0, false, looking, nil, 2},
		{"look, grown as far", 10, 5, false, looking, nil, 2},
		{"look, grown beyond", 10, 11, false, looking, nil, 2},
		{"send, shorter than stored", 18, 0, true, nil, send, 1},
		{"look, shorter than stored", 18, 0, true, lookingAtMarks, nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, d := newStream("a"), newDatabase()
			first, stop := open(t, s, d, nil)
			add := func(l *convlog.Log, what string, from, to int) {
				for i := from; i < to; i++ {
					wantSeq(t, l, fmt.Sprint(what, i), uint64(i))
				}
			}
			add(first, "m", 1, 16)
			var away atomic.Bool
			idle := &view{Log: s, info: func(_ int, i backbone.LogInfo) (backbone.LogInfo, error) {
				if away.Load() {
					return i, errLost
				}
				return i, nil
			}}
			l := start(t, idle, d, tt.change)
			away.Store(tt.lags)
			add(first, "m", 16, 21)
			stop()
			if !tt.lags {
				if _, at, err := l.Positions(t.Context()); err != nil || at[0] != 20 {
					t.Fatalf("Positions = %v, %v; want 20", at, err)
				}
			}
			away.Store(true)
			d.store(t, s, tt.stored)
			if tt.lags {
				d.marksRead(t)
			}
			s.cut(15)
			if tt.grow > 0 {
				two, stop := open(t, s, d, seldom)
				add(two, "n", 16, 16+tt.grow)
				stop()
			}
			away.Store(false)
			if tt.do != nil {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := tt.do(ctx, l.Log); err == nil {
					t.Error("the answer is nil; want an error")
				}
			}
			ends(t, l)
			if epoch, _ := d.Epoch(t.Context()); epoch != tt.wantEpoch {
				t.Errorf("epoch = %d; want %d", epoch, tt.wantEpoch)
			}
			again, _ := open(t, s, d, nil)
			wantSeq(t, again, "last", max(uint64(16+tt.grow), tt.stored+1))
			if epoch, _, err := again.Positions(t.Context()); err != nil || epoch != 2 {
				t.Errorf("epoch after the next start = %d, %v; want 2", epoch, err)
			}
		})
	}
}

// L7: the log was set back and has grown again exactly as far as an appender had read that could not look at it meanwhile.
// The expected sequence is right then, so it has to look first.
func TestSetBackUnseenByTheBlind(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	var away atomic.Bool
	l := start(t, &view{Log: s, info: func(_ int, i backbone.LogInfo) (backbone.LogInfo, error) {
		if away.Load() {
			return i, errLost
		}
		return i, nil
	}}, d, seldom)
	for i := range 20 {
		wantSeq(t, l.Log, fmt.Sprint("m", i), uint64(i+1))
	}
	s.cut(15)
	away.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, convlog.Draft{Entry: text("ann", "x", "x"), Permit: convlog.Any}); !fault.IsReason(err, fault.OutcomeUnknown) {
		t.Errorf("Append while nobody can look = %v; want OUTCOME_UNKNOWN", err)
	}
	two, _ := open(t, s, d, seldom)
	for i := range 5 {
		wantSeq(t, two, fmt.Sprint("n", i), uint64(i+16))
	}
	away.Store(false)
	if r, err := send(t, l.Log, team, "y"); err == nil {
		t.Errorf("Append behind what is lost = seq %d; want an error", r.Seq)
	}
	ends(t, l)
	if got := s.end(); got != 20 {
		t.Errorf("the log ends at %d; want 20", got)
	}
}

// L7 with a real server: it comes back with an older copy of its files while two appenders run that had read more. Each
// finds out by what it does next; then one starts anew, and the other comes behind it.
func TestRestoredWhileRunning(t *testing.T) {
	t.Parallel()
	c, copied, d := backbonetest.StartCluster(t, 1), t.TempDir(), newDatabase()
	var logs []backbone.Log
	for range 3 {
		b, _ := c.Open(t, 0)
		l, _ := openLog(t, b, 1)
		logs = append(logs, l)
	}
	change := func(c *convlog.Config) { c.MarkEvery, c.PublishTimeout = time.Hour, 5*time.Second }
	one, idle := start(t, logs[0], d, change), start(t, logs[1], d, change)
	add := func(l *convlog.Log, what string, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			wantSeq(t, l, fmt.Sprint(what, i), uint64(i))
		}
	}
	restart := func(files func() error) {
		t.Helper()
		c.Stop(0)
		if err := files(); err != nil {
			t.Fatal(err)
		}
		c.Start(t, 0)
		c.WaitUsable(t)
		eventually(t, "all are connected again", func() bool {
			ok := true
			for _, l := range logs {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := l.Info(ctx)
				cancel()
				ok = ok && err == nil
			}
			return ok
		})
	}
	add(one.Log, "m", 1, 6)
	restart(func() error { return os.CopyFS(copied, os.DirFS(c.Dir(0))) })
	add(one.Log, "m", 6, 11)
	for _, l := range []running{one, idle} {
		if _, at, err := l.Positions(t.Context()); err != nil || at[0] != 10 {
			t.Fatalf("Positions = %v, %v; want 10", at, err)
		}
	}
	restart(func() error {
		if err := os.RemoveAll(c.Dir(0)); err != nil {
			return err
		}
		return os.CopyFS(c.Dir(0), os.DirFS(copied))
	})
	if _, err := send(t, one.Log, team, "m11"); err == nil {
		t.Error("Append behind what was lost = nil; want an error")
	}
	ends(t, one)
	again, _ := open(t, logs[2], d, change)
	add(again, "n", 6, 16)
	if tail, err := idle.Tail(t.Context(), team, 1, 100, 100, false); err == nil {
		t.Errorf("Tail of what was lost = %d entries; want an error", len(tail.Entries))
	}
	ends(t, idle)
	if epoch, _ := d.Epoch(t.Context()); epoch < 2 {
		t.Errorf("epoch = %d; want it raised", epoch)
	}
	contiguous(t, &stream{Log: logs[2]}, map[string]uint64{"m5": 5, "n6": 6, "n15": 15})
}

// L7: the log was set back, grew beyond what an idle appender had read, and that was stored and purged. Nothing is left
// to compare with: of what memory knows nothing counts any more, neither a head nor an id that is lost.
func TestSetBackAndPurged(t *testing.T) {
	for _, keep := range []uint64{0, 3, 40} {
		t.Run(fmt.Sprint("keep=", keep), func(t *testing.T) {
			s, d := newStream("a"), newDatabase()
			first, stop := open(t, s, d, nil)
			wantSeq(t, first, "m1", 1)
			for i := range 10 {
				if _, err := send(t, first, "g~lost", fmt.Sprint("m", i)); err != nil {
					t.Fatal(err)
				}
			}
			l, _ := open(t, s, d, seldom)
			stop()
			d.store(t, s, 1)
			s.cut(3) // two of ten are left
			two, stop := open(t, s, d, seldom)
			for i := range 60 {
				wantSeq(t, two, fmt.Sprint("n", i), uint64(i+2))
			}
			stop()
			d.store(t, s, s.end())
			s.purge(s.end() - keep)
			if _, at, err := l.Positions(t.Context()); err != nil || at[0] != s.end() {
				t.Fatalf("Positions = %v, %v; want %d", at, err, s.end())
			}
			for want, id := range []string{"m9", "m8", "m2"} { // they are lost; their senders send them again
				if r, err := send(t, l, "g~lost", id); err != nil || r.Seq != uint64(want+3) {
					t.Errorf("Append(%s) = seq %d, %v; want %d", id, r.Seq, err, want+3)
				}
			}
			wantSeq(t, l, "m3", 62)
		})
	}
}
