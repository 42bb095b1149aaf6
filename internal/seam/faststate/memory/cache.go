package memory

import (
	"bytes"
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// dropSlots is how many slots remember drops. Keys that share one lapse each other's leases, which costs a read of the
// database and never a wrong value.
const dropSlots = 4096

// Cache implements faststate.Cache. Get and Drop count up; a lease is the count of its Get, and Fill is refused when
// a Drop of the same slot has a higher one. So drops need no entry per key.
type Cache struct {
	now  Clock
	seed maphash.Seed

	mu      sync.Mutex // guards what follows
	values  *recent[string, cached]
	counter uint64
	dropped [dropSlots]uint64
}

type cached struct {
	val     []byte
	expires time.Time
}

var _ faststate.Cache = (*Cache)(nil)

// entryOverhead is about what an entry takes besides its key and value.
const entryOverhead = 96

// NewCache returns an empty cache. now decides which values have expired.
func NewCache(cfg Config, now Clock) *Cache {
	weigh := func(k string, c cached) int { return len(k) + len(c.val) + entryOverhead }
	return &Cache{now: now, seed: maphash.MakeSeed(), values: newRecent(cfg.withDefaults().CacheBytes, weigh)}
}

// Get implements faststate.Cache.
func (c *Cache) Get(_ context.Context, key string) ([]byte, faststate.Lease, error) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.values.get(key); ok {
		if now.Before(v.expires) {
			return clone(v.val), 0, nil
		}
		c.values.remove(key)
	}
	c.counter++
	return nil, faststate.Lease(c.counter), nil
}

// clone returns a copy that is never nil.
func clone(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

// Fill implements faststate.Cache. A value of more than half the cache is not stored.
func (c *Cache) Fill(_ context.Context, key string, lease faststate.Lease, val []byte, ttl time.Duration) error {
	v := cached{bytes.Clone(val), c.now().Add(ttl)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if uint64(lease) > c.dropped[c.slot(key)] {
		c.values.put(key, v)
	}
	return nil
}

// Drop implements faststate.Cache.
func (c *Cache) Drop(_ context.Context, keys ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counter++
	for _, k := range keys {
		c.values.remove(k)
		c.dropped[c.slot(k)] = c.counter
	}
	return nil
}

func (c *Cache) slot(key string) uint64 { return maphash.String(c.seed, key) % dropSlots }
