package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

const (
	valueMark = "V"
	leaseMark = "L"
	// leaseFor is how long a reader may take to fill what it missed.
	leaseFor = 30 * time.Second
)

// leaseScript returns what is there, or puts the offered lease there. KEYS: the entry. ARGV: lease, time to live.
var leaseScript = newScript(`
local v = redis.call('GET', KEYS[1])
if v then return v end
redis.call('SET', KEYS[1], '` + leaseMark + `' .. ARGV[1], 'PX', ARGV[2])
return '` + leaseMark + `' .. ARGV[1]
`)

// fillScript replaces a lease by a value. KEYS: the entry. ARGV: lease, value, time to live.
var fillScript = newScript(`
if redis.call('GET', KEYS[1]) ~= '` + leaseMark + `' .. ARGV[1] then return 0 end
redis.call('SET', KEYS[1], '` + valueMark + `' .. ARGV[2], 'PX', ARGV[3])
return 1
`)

// Cache implements faststate.Cache. Where a value is missing its key holds the lease, the same for all who ask; a Drop
// deletes value and lease alike. So nothing is left of a dropped key, and a lost one is only read again.
type Cache struct{ c *Client }

var _ faststate.Cache = (*Cache)(nil)

// Cache returns the cache that all clients with the same prefix share.
func (c *Client) Cache() *Cache { return &Cache{c} }

// Get implements faststate.Cache: one round trip for what is there, two for what is not.
func (ch *Cache) Get(ctx context.Context, key string) ([]byte, faststate.Lease, error) {
	k := command("GET", ch.c.cached(key))
	if err := ch.c.run(ctx, k); err != nil {
		return nil, 0, down("read cache", err)
	}
	if k.reply() == nil {
		offer, err := newLease()
		if err != nil {
			return nil, 0, err
		}
		k = &call{s: leaseScript, keys: []string{ch.c.cached(key)}, args: []any{offer, ms(leaseFor)}}
		if err := ch.c.run(ctx, k); err != nil {
			return nil, 0, down("read cache", err)
		}
	}
	entry, _ := k.reply().(string)
	return parseCached(key, entry)
}

func newLease() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make a lease: %w", err)
	}
	return strconv.FormatUint(binary.BigEndian.Uint64(b[:])|1, 36), nil // never 0
}

func parseCached(key, entry string) ([]byte, faststate.Lease, error) {
	switch {
	case entry == "":
	case entry[:1] == valueMark:
		return append(make([]byte, 0, len(entry)-1), entry[1:]...), 0, nil
	case entry[:1] == leaseMark:
		lease, err := strconv.ParseUint(entry[1:], 36, 64)
		if err == nil {
			return nil, faststate.Lease(lease), nil
		}
	}
	return nil, 0, fmt.Errorf("redis: cache entry %s is neither value nor lease", key)
}

// Fill implements faststate.Cache. A value above Config.MaxValue is not stored.
func (ch *Cache) Fill(ctx context.Context, key string, lease faststate.Lease, val []byte, ttl time.Duration) error {
	if lease == 0 || ttl <= 0 || len(val) > int(ch.c.cfg.MaxValue) {
		return nil
	}
	k := &call{
		s: fillScript, keys: []string{ch.c.cached(key)},
		args: []any{strconv.FormatUint(uint64(lease), 36), val, ms(ttl)},
	}
	return down("fill cache", ch.c.run(ctx, k))
}

// Drop implements faststate.Cache.
func (ch *Cache) Drop(ctx context.Context, keys ...string) error {
	calls := make([]*call, len(keys))
	for i, key := range keys {
		calls[i] = command("DEL", ch.c.cached(key))
	}
	return down("drop from cache", ch.c.inBatches(ctx, calls))
}
