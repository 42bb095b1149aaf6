package memory_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/faststatetest"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
)

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestPresence(t *testing.T) {
	faststatetest.TestPresence(t, func(*testing.T) (faststate.Presence, faststatetest.Clock) {
		c := newClock()
		return memory.NewPresence(memory.Config{}, c.Now), c
	})
}

func TestSessions(t *testing.T) {
	faststatetest.TestSessions(t, func(*testing.T) (faststate.Sessions, faststatetest.Clock) {
		c := newClock()
		return memory.NewSessions(memory.Config{}, c.Now), c
	})
}

func TestLimits(t *testing.T) {
	faststatetest.TestLimits(t, func(*testing.T) (faststate.Limits, faststatetest.Clock) {
		c := newClock()
		return memory.NewLimits(memory.Config{}, c.Now), c
	})
}

func TestCache(t *testing.T) {
	faststatetest.TestCache(t, func(*testing.T) (faststate.Cache, faststatetest.Clock) {
		c := newClock()
		return memory.NewCache(memory.Config{}, c.Now), c
	})
}

// TestLimitsOverTime: whoever waits as told gets exactly the rate, by the real clock's type.
func TestLimitsOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.NewLimits(memory.Config{}, time.Now)
		start, got := time.Now(), 0
		for time.Since(start) < 10*time.Second {
			ok, after, err := l.Take(t.Context(), "k", 7, 3)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				got++
				continue
			}
			<-time.After(after)
		}
		if want := 7*10 + 3; got != want {
			t.Errorf("ten seconds at 7/s with a burst of 3 gave %d tokens; want %d", got, want)
		}
	})
}

// TestBounds: invariant 7: nothing grows past its bound, and what is forgotten answers as not known.
func TestBounds(t *testing.T) {
	t.Parallel()
	cfg := memory.Config{MaxLastSeen: 10, MaxSessions: 10, MaxDenied: 10, MaxBuckets: 160, CacheBytes: 2000}
	c := newClock()
	t.Run("sessions", func(t *testing.T) {
		s := memory.NewSessions(cfg, c.Now)
		var ids []chat.SessionID
		for i := range 100 {
			ids = append(ids, chat.SessionID(fmt.Sprint("s", i)))
			_ = s.Allow(t.Context(), []faststate.Session{{ID: ids[i], Expires: c.Now().Add(time.Hour)}})
		}
		states, _ := s.Check(t.Context(), ids)
		known := 0
		for _, st := range states {
			if st == faststate.Allowed {
				known++
			}
		}
		if known < 5 || known > 10 || states[99] != faststate.Allowed {
			t.Errorf("of 100 sessions %d are known, the last %d; want 5 to 10 and the last", known, states[99])
		}
	})
	t.Run("what is used stays", func(t *testing.T) {
		s := memory.NewSessions(cfg, c.Now)
		_ = s.Allow(t.Context(), []faststate.Session{{ID: "busy", Expires: c.Now().Add(time.Hour)}})
		for i := range 100 {
			_ = s.Allow(t.Context(), []faststate.Session{{ID: chat.SessionID(fmt.Sprint("s", i)), Expires: c.Now().Add(time.Hour)}})
			if got, _ := s.Check(t.Context(), []chat.SessionID{"busy"}); got[0] != faststate.Allowed {
				t.Fatalf("after %d others the used session is %d; want it allowed", i, got[0])
			}
		}
	})
	t.Run("cache", func(t *testing.T) {
		ch := memory.NewCache(cfg, c.Now)
		fill := func(key string, size int) {
			_, lease, _ := ch.Get(t.Context(), key)
			_ = ch.Fill(t.Context(), key, lease, make([]byte, size), time.Hour)
		}
		for i := range 100 {
			fill(fmt.Sprint("k", i), 100)
		}
		fill("huge", 1500)
		kept := 0
		for i := range 100 {
			if v, _, _ := ch.Get(t.Context(), fmt.Sprint("k", i)); v != nil {
				kept++
			}
		}
		if huge, _, _ := ch.Get(t.Context(), "huge"); kept < 4 || kept > 10 || huge != nil {
			t.Errorf("2000 bytes hold %d entries of 100 and the huge one %t; want 4 to 10, false", kept, huge != nil)
		}
	})
	t.Run("limits forget full buckets first", func(t *testing.T) {
		l := memory.NewLimits(memory.Config{MaxBuckets: 16 * 512}, c.Now)
		_, _, _ = l.Take(t.Context(), "slow", 0.0001, 1)
		for i := range 50_000 {
			_, _, _ = l.Take(t.Context(), fmt.Sprint("k", i), 1e6, 1)
			c.Advance(time.Microsecond)
		}
		if ok, _, _ := l.Take(t.Context(), "slow", 0.0001, 1); ok {
			t.Error("an empty bucket was forgotten among full ones; want it kept")
		}
	})
	t.Run("a flood of keys", func(t *testing.T) {
		l := memory.NewLimits(cfg, c.Now)
		for i := range 10_000 {
			if ok, _, _ := l.Take(t.Context(), fmt.Sprint("k", i), 0.001, 1); !ok {
				t.Fatalf("the first token of key %d was refused; want it", i)
			}
		}
		if n := l.Len(); n > 160 {
			t.Errorf("%d buckets are kept; want at most 160", n)
		}
	})
	t.Run("presence forgets nobody", func(t *testing.T) {
		p := memory.NewPresence(cfg, c.Now)
		_, _ = p.Renew(t.Context(), "g1", c.Now().Add(time.Hour))
		var users []chat.UserID
		for i := range 1000 {
			users = append(users, chat.UserID(fmt.Sprint("u", i)))
			_, _ = p.Put(t.Context(), []faststate.Conn{{UserID: users[i], DeviceID: "d", GatewayID: "g1", ConnectionID: chat.ConnectionID(fmt.Sprint(i))}})
		}
		if got, _ := p.Lookup(t.Context(), users); len(got) != 1000 {
			t.Errorf("Lookup of 1000 users = %d; want 1000", len(got))
		}
		c.Advance(2 * time.Hour)
		_, _ = p.Sweep(t.Context(), c.Now())
		if users, gateways := p.Counts(); users != 0 || gateways != 0 {
			t.Errorf("Counts after Sweep = %d, %d; want 0, 0", users, gateways)
		}
	})
}

// TestReplacedLease: what a gateway had registered before its lease ended is swept although the gateway is back.
func TestReplacedLease(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := memory.NewPresence(memory.Config{}, c.Now)
	_, _ = p.Renew(t.Context(), "g1", c.Now().Add(time.Second))
	_, _ = p.Put(t.Context(), []faststate.Conn{{UserID: "ann", DeviceID: "d", GatewayID: "g1", ConnectionID: "c1"}})
	c.Advance(2 * time.Second)
	_, _ = p.Renew(t.Context(), "g1", c.Now().Add(time.Second))
	_, _ = p.Sweep(t.Context(), c.Now())
	if users, gateways := p.Counts(); users != 0 || gateways != 1 {
		t.Errorf("Counts after Sweep = %d users, %d gateways; want 0, 1", users, gateways)
	}
}

// BenchmarkLookup is one batch of the orchestrator: 1,000 users of whom half are on line, while others come and go.
func BenchmarkLookup(b *testing.B) {
	p := memory.NewPresence(memory.Config{}, time.Now)
	_, _ = p.Renew(b.Context(), "g1", time.Now().Add(time.Hour))
	var users []chat.UserID
	for i := range 1000 {
		users = append(users, chat.UserID(fmt.Sprint("u", i)))
		if i%2 == 0 {
			_, _ = p.Put(b.Context(), []faststate.Conn{{UserID: users[i], DeviceID: "d", GatewayID: "g1", ConnectionID: "c"}})
		}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if got, err := p.Lookup(b.Context(), users); err != nil || len(got) != 500 {
				b.Fatal(len(got), err)
			}
		}
	})
}

// BenchmarkHello is a connection that comes and goes.
func BenchmarkHello(b *testing.B) {
	p := memory.NewPresence(memory.Config{}, time.Now)
	_, _ = p.Renew(b.Context(), "g1", time.Now().Add(time.Hour))
	c := []faststate.Conn{{UserID: "ann", DeviceID: "d", GatewayID: "g1", ConnectionID: "c"}}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = p.Put(b.Context(), c)
		_, _ = p.Remove(b.Context(), c, time.Now())
	}
}

func BenchmarkTake(b *testing.B) {
	l := memory.NewLimits(memory.Config{}, time.Now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _, _ = l.Take(b.Context(), "user:ann", 100, 200)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s := memory.NewSessions(memory.Config{}, time.Now)
	_ = s.Allow(b.Context(), []faststate.Session{{ID: "s1", Expires: time.Now().Add(time.Hour)}})
	ids := []chat.SessionID{"s1"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = s.Check(b.Context(), ids)
		}
	})
}
