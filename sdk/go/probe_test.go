package oceanchat_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
)

// A machine that slept has a wall clock that jumped: the connection is probed at once, and replaced if it is dead.
func TestClockJump(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var slept atomic.Int64
		c := w.client(w.options("ann"))
		c.SetClock(func() time.Time { return time.Now().Add(time.Duration(slept.Load())) })
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(7 * time.Second)
		if got := w.srv.Requests("ping"); got != 0 {
			t.Fatalf("pings without a jump = %d; want 0", got)
		}
		slept.Add(int64(8 * time.Hour))
		time.Sleep(5 * time.Second)
		if got := w.srv.Requests("ping"); got != 1 || c.State().Phase != oceanchat.Online {
			t.Errorf("pings after a jump = %d, state %+v; want 1, online", got, c.State())
		}
		w.srv.Play("lose reply ping")
		slept.Add(int64(8 * time.Hour))
		start := time.Now()
		phase(t, c, oceanchat.Waiting)
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("a dead connection was found after %v; want 5 s for the look at the clock and 3 s for the ping", took)
		}
		phase(t, c, oceanchat.Online)
		slept.Add(int64(-24 * time.Hour)) // a clock that is set back changes nothing
		before := w.srv.Requests("ping")
		time.Sleep(31 * time.Second)
		if got := w.srv.Requests("ping") - before; got != 1 {
			t.Errorf("pings in 31 s of silence after the clock was set back = %d; want 1", got)
		}
	})
}

// Probe cuts a wait short, but not the time that the server asked for, and not all the time.
func TestProbe(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		w.srv.Play("lose dial times=-1")
		w.srv.CutAll()
		time.Sleep(2 * time.Minute) // now it waits for up to 20 s
		st := phase(t, c, oceanchat.Waiting)
		for time.Until(st.RetryAt) < 5*time.Second {
			time.Sleep(time.Until(st.RetryAt) + time.Millisecond)
			st = phase(t, c, oceanchat.Waiting)
		}
		w.srv.Calm()
		c.Probe()
		synctest.Wait()
		if st := c.State(); st.Phase != oceanchat.Online {
			t.Errorf("state after Probe = %+v; want online", st)
		}
		w.srv.CloseAll(4006, time.Minute)
		start := time.Now()
		phase(t, c, oceanchat.Waiting)
		time.Sleep(6 * time.Second)
		c.Probe()
		phase(t, c, oceanchat.Online)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("after Probe within retryAfterMs it was back after %v; want 1m", took)
		}
		before := w.srv.Requests("ping")
		time.Sleep(5 * time.Second)
		for range 50 {
			c.Probe()
			synctest.Wait()
		}
		if got := w.srv.Requests("ping") - before; got != 1 {
			t.Errorf("pings after 50 probes at once = %d; want 1", got)
		}
	})
}

// A ping that is answered with an error is an answer: the watch goes on.
func TestPingRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		w.srv.Play("fail request ping RESOURCE_EXHAUSTED/RATE_LIMITED\nlose reply ping")
		time.Sleep(31 * time.Second)
		if st := c.State(); st.Phase != oceanchat.Online {
			t.Errorf("state after a refused ping = %+v; want online", st)
		}
		start := time.Now()
		phase(t, c, oceanchat.Waiting)
		if took := time.Since(start); took > 35*time.Second {
			t.Errorf("the silence after it was noticed after %v; want 34 s", took)
		}
	})
}

// A server that never answers a sync is left.
func TestSyncWithoutAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.srv.PageSize = 1
		w.srv.AddGroup("g1", "u1")
		w.srv.AddGroup("g2", "u1")
		w.srv.Append("g~g1", "u1", "1")
		w.srv.Append("g~g2", "u1", "2")
		w.srv.Play("lose reply query.sync")
		start := time.Now()
		w.start("ann")
		if took := time.Since(start); took > 31*time.Second {
			t.Errorf("Start took %v; want 30 s for the page that never came", took)
		}
	})
}
