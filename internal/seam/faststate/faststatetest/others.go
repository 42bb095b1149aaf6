package faststatetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// TestSessions runs every rule of faststate.Sessions (APIGW-2, AUTH-2).
func TestSessions(t *testing.T, open func(t *testing.T) (faststate.Sessions, Clock)) {
	check := func(t *testing.T, s faststate.Sessions, want string, ids ...chat.SessionID) {
		t.Helper()
		got, err := s.Check(t.Context(), ids)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("Check(%v) = %v, %v; want %s", ids, got, err, want)
		}
	}
	allow := func(t *testing.T, s faststate.Sessions, until time.Time, ids ...chat.SessionID) {
		t.Helper()
		var list []faststate.Session
		for _, id := range ids {
			list = append(list, faststate.Session{ID: id, UserID: "ann", Expires: until})
		}
		if err := s.Allow(t.Context(), list); err != nil {
			t.Errorf("Allow(%v) = %v; want no error", ids, err)
		}
	}
	deny := func(t *testing.T, s faststate.Sessions, ids ...chat.SessionID) {
		t.Helper()
		if err := s.Deny(t.Context(), ids); err != nil {
			t.Errorf("Deny(%v) = %v; want no error", ids, err)
		}
	}
	t.Run("states in the order asked", func(t *testing.T) {
		s, clock := open(t)
		allow(t, s, clock.Now().Add(time.Hour), "s1", "s2")
		deny(t, s, "s2", "s3")
		check(t, s, "[0 1 2 2]", "s0", "s1", "s2", "s3") // unknown, allowed, denied, denied
		check(t, s, "[]")
	})
	t.Run("an allowed session expires", func(t *testing.T) {
		s, clock := open(t)
		allow(t, s, clock.Now().Add(time.Minute), "s1")
		clock.Advance(time.Minute + time.Second)
		check(t, s, "[0]", "s1")
		allow(t, s, clock.Now().Add(time.Minute), "s1")
		check(t, s, "[1]", "s1")
	})
	t.Run("Deny beats a later Allow", func(t *testing.T) { // invariant 5
		s, clock := open(t)
		deny(t, s, "s1")
		allow(t, s, clock.Now().Add(time.Hour), "s1")
		check(t, s, "[2]", "s1")
	})
	t.Run("Deny beats a racing Allow", func(t *testing.T) {
		s, clock := open(t)
		var wg sync.WaitGroup
		for i := range 50 {
			id := chat.SessionID(fmt.Sprintf("s%d", i))
			wg.Go(func() { deny(t, s, id) })
			wg.Go(func() { allow(t, s, clock.Now().Add(time.Hour), id) })
		}
		wg.Wait()
		for i := range 50 {
			check(t, s, "[2]", chat.SessionID(fmt.Sprintf("s%d", i)))
		}
	})
	t.Run("a denial outlives an access token", func(t *testing.T) {
		s, clock := open(t)
		deny(t, s, "s1")
		clock.Advance(15 * time.Minute)
		check(t, s, "[2]", "s1")
	})
}

// TestLimits runs every rule of faststate.Limits (APIGW-3, ROUTER-3).
func TestLimits(t *testing.T, open func(t *testing.T) (faststate.Limits, Clock)) {
	take := func(t *testing.T, l faststate.Limits, key string, rate float64, burst int) (bool, time.Duration) {
		t.Helper()
		ok, after, err := l.Take(t.Context(), key, rate, burst)
		if err != nil {
			t.Fatalf("Take(%s) = %v; want no error", key, err)
		}
		return ok, after
	}
	drain := func(t *testing.T, l faststate.Limits, key string, rate float64, burst int) (n int) {
		t.Helper()
		for ok, _ := take(t, l, key, rate, burst); ok && n <= 10*burst; ok, _ = take(t, l, key, rate, burst) {
			n++
		}
		return n
	}
	t.Run("burst, then the rate", func(t *testing.T) {
		l, clock := open(t)
		if n := drain(t, l, "k", 10, 5); n != 5 {
			t.Errorf("a full bucket gave %d tokens; want 5", n)
		}
		ok, after := take(t, l, "k", 10, 5)
		if ok || after <= 0 || after > 100*time.Millisecond {
			t.Errorf("Take from an empty bucket = %t, %v; want false and at most 100ms", ok, after)
		}
		clock.Advance(after)
		if n := drain(t, l, "k", 10, 5); n != 1 {
			t.Errorf("after retryAfter the bucket gave %d tokens; want 1", n)
		}
		clock.Advance(300 * time.Millisecond)
		if n := drain(t, l, "k", 10, 5); n != 3 {
			t.Errorf("after 300ms at 10/s the bucket gave %d tokens; want 3", n)
		}
		clock.Advance(time.Hour)
		if n := drain(t, l, "k", 10, 5); n != 5 {
			t.Errorf("after an hour the bucket gave %d tokens; want 5", n)
		}
	})
	t.Run("keys are apart", func(t *testing.T) {
		l, _ := open(t)
		drain(t, l, "a", 1, 3)
		if n := drain(t, l, "b", 1, 3); n != 3 {
			t.Errorf("another key gave %d tokens; want 3", n)
		}
	})
	t.Run("slow rates", func(t *testing.T) {
		l, _ := open(t)
		if n := drain(t, l, "k", 1.0/60, 2); n != 2 {
			t.Errorf("a bucket of one a minute gave %d tokens; want 2", n)
		}
		if ok, after := take(t, l, "k", 1.0/60, 2); ok || after < 59*time.Second || after > time.Minute {
			t.Errorf("Take = %t, %v; want false and about a minute", ok, after)
		}
	})
	t.Run("no rate is no limit", func(t *testing.T) {
		l, _ := open(t)
		for range 100 {
			if ok, after := take(t, l, "k", 0, 1); !ok || after != 0 {
				t.Fatalf("Take at rate 0 = %t, %v; want true, 0", ok, after)
			}
		}
	})
	t.Run("a burst below one is one", func(t *testing.T) {
		l, _ := open(t)
		if n := drain(t, l, "k", 0.1, 0); n != 1 {
			t.Errorf("burst 0 gave %d tokens; want 1", n)
		}
	})
	t.Run("racing takers share one bucket", func(t *testing.T) {
		l, _ := open(t)
		var got atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					if ok, _, err := l.Take(t.Context(), "k", 0.001, 40); err == nil && ok {
						got.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got.Load() != 40 {
			t.Errorf("160 racing takes got %d tokens of 40; want 40", got.Load())
		}
	})
}

// TestCache runs every rule of faststate.Cache. A value that was just filled is expected to be there still.
func TestCache(t *testing.T, open func(t *testing.T) (faststate.Cache, Clock)) {
	miss := func(t *testing.T, c faststate.Cache, key string) faststate.Lease {
		t.Helper()
		val, lease, err := c.Get(t.Context(), key)
		if err != nil || val != nil || lease == 0 {
			t.Fatalf("Get(%s) = %q, lease %d, %v; want a lease", key, val, lease, err)
		}
		return lease
	}
	hit := func(t *testing.T, c faststate.Cache, key, want string) []byte {
		t.Helper()
		val, lease, err := c.Get(t.Context(), key)
		if err != nil || val == nil || string(val) != want || lease != 0 {
			t.Fatalf("Get(%s) = %q, lease %d, %v; want %q", key, val, lease, err, want)
		}
		return val
	}
	fill := func(t *testing.T, c faststate.Cache, key string, lease faststate.Lease, val string) {
		t.Helper()
		if err := c.Fill(t.Context(), key, lease, []byte(val), time.Minute); err != nil {
			t.Fatalf("Fill(%s) = %v; want no error", key, err)
		}
	}
	drop := func(t *testing.T, c faststate.Cache, keys ...string) {
		t.Helper()
		if err := c.Drop(t.Context(), keys...); err != nil {
			t.Fatalf("Drop(%v) = %v; want no error", keys, err)
		}
	}
	t.Run("fill and get", func(t *testing.T) {
		c, clock := open(t)
		fill(t, c, "a", miss(t, c, "a"), "1")
		fill(t, c, "empty", miss(t, c, "empty"), "")
		hit(t, c, "a", "1")
		hit(t, c, "empty", "")
		clock.Advance(time.Minute + time.Second)
		miss(t, c, "a")
	})
	t.Run("drop", func(t *testing.T) {
		c, _ := open(t)
		fill(t, c, "a", miss(t, c, "a"), "1")
		fill(t, c, "b", miss(t, c, "b"), "2")
		drop(t, c, "a", "never there")
		fill(t, c, "a", miss(t, c, "a"), "3")
		hit(t, c, "a", "3")
		hit(t, c, "b", "2")
	})
	t.Run("a reader that was overtaken cannot fill", func(t *testing.T) {
		c, _ := open(t)
		old := miss(t, c, "a")
		drop(t, c, "a")
		fill(t, c, "a", old, "old")
		fresh := miss(t, c, "a")
		fill(t, c, "a", fresh, "new")
		fill(t, c, "a", old, "old")
		hit(t, c, "a", "new")
	})
	t.Run("without a lease nothing is filled", func(t *testing.T) {
		c, _ := open(t)
		fill(t, c, "a", 0, "x")
		miss(t, c, "a")
	})
	t.Run("arguments and answers are not shared", func(t *testing.T) {
		c, _ := open(t)
		val := []byte("one")
		if err := c.Fill(t.Context(), "a", miss(t, c, "a"), val, time.Minute); err != nil {
			t.Fatalf("Fill = %v; want no error", err)
		}
		val[0] = 'X'
		hit(t, c, "a", "one")[0] = 'Y'
		hit(t, c, "a", "one")
	})
	t.Run("racing readers never put back what is old", func(t *testing.T) { testCacheRace(t, open) })
}

// testCacheRace has one writer of a "database" and readers that cache it. After the last write and its Drop, no
// reader may ever find an older value.
func testCacheRace(t *testing.T, open func(t *testing.T) (faststate.Cache, Clock)) {
	c, _ := open(t)
	var db atomic.Int64
	read := func() string {
		val, lease, err := c.Get(t.Context(), "k")
		if err != nil {
			t.Errorf("Get = %v; want no error", err)
		}
		if val != nil {
			return string(val)
		}
		now := fmt.Sprint(db.Load())
		if err := c.Fill(t.Context(), "k", lease, []byte(now), time.Minute); err != nil {
			t.Errorf("Fill = %v; want no error", err)
		}
		return now
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				read()
			}
		})
	}
	for range 200 {
		n := db.Add(1)
		if err := c.Drop(t.Context(), "k"); err != nil {
			t.Fatalf("Drop = %v; want no error", err)
		}
		if got := read(); got != fmt.Sprint(n) {
			t.Errorf("read after write %d = %s; want %d", n, got, n)
		}
	}
	wg.Wait()
}
