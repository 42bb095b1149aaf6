package convlog_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

func sole(c *convlog.Config) { c.Sole, c.MarkEvery = true, time.Hour }

// counted counts what is asked of a stream.
type counted struct {
	backbone.Log
	infos int
}

func (c *counted) Info(ctx context.Context) (backbone.LogInfo, error) {
	c.infos++
	return c.Log.Info(ctx)
}

// L6 with one appender: readers have all that was acknowledged, at the start too, and do not ask the stream for it.
func TestSoleReads(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	first, stop := open(t, s, d, nil)
	for i := range 5 {
		appendText(t, first, fmt.Sprint("m", i))
	}
	stop()
	c := &counted{Log: s}
	l, _ := open(t, c, d, sole)
	asked := c.infos
	for i := range 5 {
		r := appendText(t, l, fmt.Sprint("n", i))
		tail, err := l.Tail(t.Context(), team, 1, math.MaxInt64, 100, false)
		if err != nil || len(tail.Entries) != int(r.Seq) || tail.Head != r.Seq {
			t.Errorf("Tail behind seq %d = %d entries, head %d, %v", r.Seq, len(tail.Entries), tail.Head, err)
		}
	}
	if c.infos != asked {
		t.Errorf("the stream was asked %d times where it ends; want never", c.infos-asked)
	}
}

// L6: what is stored and not acknowledged yet may have been delivered already. A reader waits for it.
func TestSoleReadWaitsForPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newStream("a"), newDatabase()
		stored := make(chan struct{})
		s.script(nil, func(int, []byte) error { <-stored; return nil })
		l, stop := open(t, s, d, sole)
		sent := make(chan error, 1)
		go func() {
			_, err := l.Append(context.Background(), convlog.Draft{Entry: text("ann", "m1", "hi"), Permit: convlog.Any})
			sent <- err
		}()
		synctest.Wait()
		head := make(chan convlog.Head, 1)
		go func() {
			h, err := l.Head(context.Background(), team)
			if err != nil {
				t.Error(err)
			}
			head <- h
		}()
		synctest.Wait()
		select {
		case h := <-head:
			t.Errorf("Head while the first entry is stored = %d; want to wait", h.Seq)
		default:
		}
		close(stored)
		if h := <-head; h.Seq != 1 {
			t.Errorf("Head = %d; want 1", h.Seq)
		}
		if err := <-sent; err != nil {
			t.Errorf("Append = %v; want nil", err)
		}
		stop()
	})
}

// L6, L2: after an attempt that failed and was stored all the same, readers ask the stream, until it is certain.
func TestSoleReadsAfterUnknown(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	down := func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.infoErr = err
	}
	lost := errors.New("lost")
	ctx, giveUp := context.WithCancel(t.Context())
	s.script(nil, func(n int, _ []byte) error {
		if n == 1 { // stored; then the server is away, and so is the caller
			down(lost)
			giveUp()
			return lost
		}
		return nil
	})
	l, _ := open(t, s, d, sole)
	_, err := l.Append(ctx, convlog.Draft{Entry: text("ann", "m1", "hi"), Permit: convlog.Any})
	if !fault.IsReason(err, fault.OutcomeUnknown) {
		t.Fatalf("Append of one who gave up = %v; want OUTCOME_UNKNOWN", err)
	}
	eventually(t, "readers are refused while nobody knows", func() bool {
		_, err := l.Head(t.Context(), team)
		return fault.IsReason(err, fault.Overloaded)
	})
	down(nil)
	if h, err := l.Head(t.Context(), team); err != nil || h.Seq != 1 {
		t.Errorf("Head when the server is back = %d, %v; want 1, which may have been delivered", h.Seq, err)
	}
	if r := appendText(t, l, "m2"); r.Seq != 2 {
		t.Errorf("next Append = seq %d; want 2", r.Seq)
	}
}

// A log that has ended, or has not begun, does not answer from what it has.
func TestSoleEnds(t *testing.T) {
	s, d := newStream("a"), newDatabase()
	l, stop := open(t, s, d, sole)
	appendText(t, l, "m1")
	stop()
	if _, err := l.Head(t.Context(), team); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Head of a log that has ended = %v; want OVERLOADED", err)
	}
	cfg := convlog.Defaults(1)
	cfg.Sole = true
	unborn := convlog.New(cfg, []backbone.Log{s}, d, discard(), func(string) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := unborn.Head(ctx, team); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Head of a log that has not begun = %v; want OVERLOADED", err)
	}
}
