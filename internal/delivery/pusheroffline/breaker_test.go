package pusheroffline

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// These are tests from within, as breaker and guard are about time alone, which no test from outside can steer.

func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		open := false
		b := newBreaker(time.Second, func(yes bool) { open = yes })
		call := func(failed bool) {
			t.Helper()
			if err := b.enter(t.Context()); err != nil {
				t.Fatalf("enter = %v; want nil", err)
			}
			b.leave(failed)
		}
		for range breakerCalls/2 - 1 {
			call(true)
		}
		if open {
			t.Fatal("open after too few calls")
		}
		for range breakerCalls / 2 {
			call(false)
		}
		if open {
			t.Fatal("open, with less than half failed")
		}
		call(true)
		if !open {
			t.Fatal("closed, with half of enough calls failed")
		}
		began := time.Now()
		call(true) // the probe waits, and fails
		if waited := time.Since(began); waited != time.Second || !open {
			t.Fatalf("the probe waited %v, open %v; want 1s, true", waited, open)
		}
		var entered atomic.Int32
		for range 5 {
			go func() {
				if b.enter(t.Context()) == nil {
					entered.Add(1)
				}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := entered.Load(); got != 1 {
			t.Fatalf("%d calls while it is half open; want 1", got)
		}
		b.give() // that one was no call: another may try
		synctest.Wait()
		if got := entered.Load(); got != 2 {
			t.Fatalf("%d calls after one gave up; want 2", got)
		}
		b.leave(false)
		synctest.Wait()
		if got := entered.Load(); got != 5 || open {
			t.Fatalf("%d calls after a good one, open %v; want 5, false", got, open)
		}
	})
}

// A vendor that is down opens it also where a notification comes now and then, and one cut of a busy connection does not.
func TestBreakerOfTheQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		open := false
		b := newBreaker(time.Second, func(yes bool) { open = yes })
		for range breakerRow + 2 {
			b.leave(true)
		}
		if open {
			t.Fatal("open after failures of one moment")
		}
		time.Sleep(breakerSpan)
		b.leave(false)
		b.leave(true)
		if open {
			t.Fatal("open, with a good call among the last")
		}
		time.Sleep(time.Minute)
		b.leave(true)
		if open {
			t.Fatal("open after two")
		}
		time.Sleep(time.Minute)
		b.leave(true)
		if !open || !b.isOpen() {
			t.Fatal("closed after three in a row, a minute apart")
		}
	})
}

func TestBreakerEndsWithContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(time.Hour, func(bool) {})
		b.trip(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.enter(ctx); err == nil {
			t.Error("enter of an open breaker = nil; want the context's error")
		}
	})
}

func TestGuard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g guard
		die := func(n int) (believed int) {
			for range n {
				if g.dead() {
					believed++
				}
			}
			return believed
		}
		if got := die(30); got != maxDead {
			t.Errorf("%d of 30 deaths believed; want %d", got, maxDead)
		}
		g.accepted()
		if got := die(30); got != 30 {
			t.Errorf("%d of 30 deaths believed after one accepted; want all", got)
		}
		time.Sleep(61 * time.Second)
		if got := die(30); got != 30 {
			t.Errorf("%d of 30 deaths believed in the minute after; want all", got)
		}
		time.Sleep(3 * time.Minute)
		if got := die(30); got != maxDead {
			t.Errorf("%d of 30 deaths believed later; want %d", got, maxDead)
		}
	})
}

func TestUntilTomorrow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 15, 0, 0, 0, time.UTC) // 23:00 in China
	if got := untilTomorrow(now); got != 61*time.Minute {
		t.Errorf("untilTomorrow(%v) = %v; want 1h1m", now, got)
	}
}
