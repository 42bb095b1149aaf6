package redis_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/faststatetest"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

// clock is a time that stands still until it is moved; then the keys of its client age.
type clock struct {
	t *testing.T
	c *redis.Client

	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	if err := c.c.Age(context.Background(), d); err != nil {
		c.t.Errorf("keys did not age: %v", err)
	}
}

// frozen returns a client whose time is that of the clock.
func frozen(t *testing.T, cfg redis.Config) (*redis.Client, *clock) {
	c := dial(t, cfg)
	k := &clock{t: t, c: c, now: time.Now()}
	c.Freeze(k.Now)
	return c, k
}

// suite runs a conformance suite on every kind of Redis.
func suite[S any](t *testing.T, test func(*testing.T, func(*testing.T) (S, faststatetest.Clock)), part func(*redis.Client) S) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			test(t, func(t *testing.T) (S, faststatetest.Clock) {
				c, k := frozen(t, kind.config(t))
				return part(c), k
			})
		})
	}
}

func TestPresence(t *testing.T) {
	suite(t, faststatetest.TestPresence, func(c *redis.Client) faststate.Presence { return c.Presence() })
}

func TestSessions(t *testing.T) {
	suite(t, faststatetest.TestSessions, func(c *redis.Client) faststate.Sessions { return c.Sessions() })
}

func TestLimits(t *testing.T) {
	suite(t, faststatetest.TestLimits, func(c *redis.Client) faststate.Limits { return c.Limits() })
}

func TestCache(t *testing.T) {
	suite(t, faststatetest.TestCache, func(c *redis.Client) faststate.Cache { return c.Cache() })
}
