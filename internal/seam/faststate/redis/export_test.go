package redis

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Buckets is the number of parts of presence.
const Buckets = buckets

// Freeze has c and its scripts take now for the time.
func (c *Client) Freeze(now func() time.Time) { c.now, c.frozen = now, true }

// DB is the driver's client.
func (c *Client) DB() redis.UniversalClient { return c.db }

// Keys calls f with the keys of c on each server, and the times that they have to live.
func (c *Client) Keys(ctx context.Context, f func(m *redis.Client, keys []string, ttls []time.Duration) error) error {
	return c.masters(ctx, func(ctx context.Context, m *redis.Client) error {
		var keys []string
		scan := m.Scan(ctx, 0, c.cfg.Prefix+":*", 1000).Iterator()
		for scan.Next(ctx) {
			keys = append(keys, scan.Val())
		}
		if scan.Err() != nil || len(keys) == 0 {
			return scan.Err()
		}
		cmds, err := m.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range keys {
				p.PTTL(ctx, key)
			}
			return nil
		})
		if err != nil {
			return err
		}
		ttls := make([]time.Duration, len(keys))
		for i, cmd := range cmds {
			ttls[i] = cmd.(*redis.DurationCmd).Val()
		}
		return f(m, keys, ttls)
	})
}

// Age takes d from the time that every key has to live.
func (c *Client) Age(ctx context.Context, d time.Duration) error {
	return c.Keys(ctx, func(m *redis.Client, keys []string, ttls []time.Duration) error {
		_, err := m.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, key := range keys {
				if ttls[i] >= 0 {
					p.PExpire(ctx, key, ttls[i]-d) // a time that is over deletes
				}
			}
			return nil
		})
		return err
	})
}
