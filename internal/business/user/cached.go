package user

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// cached reads through the cache. A cached value is one byte, absent or present, and then a message: the byte tells a
// message without fields from nothing, and lets it be remembered that something does not exist.
//
// Each value is there twice: fresh, for ttl, and kept, for a day, for when the database is away. Behind ttl the database
// is asked; if it fails, or takes longer than reloadWithin, the kept value is the answer. So those who wrote to each other
// within a day may go on, and delivery, which asks about each direct message, does too, however long the database is away.
// A change drops both, and none can be made while the database is away. So a kept value is wrong only if its drop was
// lost (a crash between change and drop, a cache that failed over without it) and the database went away within ttl of
// that: the next reading behind ttl compares it with the database, and renews it.
type cached struct {
	cache faststate.Cache
	ttl   time.Duration
	away  outage
	log   *slog.Logger
	quiet *obs.Limiter
}

const (
	absent  = 0
	present = 1
)

// get fills m from the cache, or else lets load fill it and keeps that; found is what load said, now or earlier. Without
// the cache it still answers, only slower. load gets an empty m, perhaps more than once.
func (c *cached) get(ctx context.Context, key string, m proto.Message, load func(context.Context) (found bool, err error)) (bool, error) {
	val, lease, err := c.cache.Get(ctx, key)
	if err != nil {
		c.complain(ctx, "reading the cache failed", err)
		proto.Reset(m)
		return load(ctx)
	}
	if found, ok := decode(val, m); ok {
		return found, nil
	}
	val, err = c.behind(ctx, key, lease, func(ctx context.Context) ([]byte, error) {
		proto.Reset(m)
		found, err := load(ctx)
		if err != nil {
			return nil, err
		}
		return encode(found, m)
	})
	if err != nil {
		return false, err
	}
	found, ok := decode(val, m)
	if !ok {
		return false, fmt.Errorf("the cached value of %s cannot be read", key)
	}
	return found, nil
}

// behind returns the value of a key that has no fresh one: the database's, or the kept one if it is away.
func (c *cached) behind(ctx context.Context, key string, lease faststate.Lease, load loader) ([]byte, error) {
	old, keep := c.kept(ctx, key)
	if old.val != nil && !c.away.ask() {
		return old.val, nil
	}
	val, err := c.reload(ctx, old.val != nil, load)
	switch {
	case err == nil:
	case old.val == nil || ctx.Err() != nil:
		return nil, err
	default:
		if n, ok := c.quiet.Allow("away"); ok {
			c.log.WarnContext(ctx, "the database does not answer, what was kept of it does", obs.Err, err, obs.Suppressed, n)
		}
		return old.val, nil
	}
	c.fill(ctx, key, lease, val, c.ttl)
	c.keep(ctx, key, keep, old, val, load)
	return val, nil
}

func (c *cached) fill(ctx context.Context, key string, lease faststate.Lease, val []byte, ttl time.Duration) {
	if err := c.cache.Fill(ctx, key, lease, val, ttl); err != nil {
		c.complain(ctx, "filling the cache failed", err)
	}
}

func decode(val []byte, m proto.Message) (found, ok bool) {
	switch {
	case len(val) == 1 && val[0] == absent:
		return false, true
	case len(val) > 0 && val[0] == present && proto.Unmarshal(val[1:], m) == nil:
		return true, true
	}
	return false, false
}

func encode(found bool, m proto.Message) ([]byte, error) {
	if !found {
		return []byte{absent}, nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{present}, m)
}

// dropWithin bounds the dropping of what changed, which goes on when the caller has gone away.
const dropWithin = 2 * time.Second

// drop forgets what was changed. If that fails the caller must hear of it: others may see the old state until it
// lapses, and repeating the command drops again.
func (c *cached) drop(ctx context.Context, keys ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
	defer cancel()
	for _, k := range slices.Clone(keys) {
		keys = append(keys, keptKey(k))
	}
	err := c.cache.Drop(ctx, keys...)
	if err != nil {
		err = c.cache.Drop(ctx, keys...)
	}
	if err != nil {
		return fault.Wrap(err, fault.OutcomeUnknown, "the change may not be seen everywhere yet; repeat it").After(time.Second)
	}
	return nil
}

func (c *cached) complain(ctx context.Context, what string, err error) {
	if n, ok := c.quiet.Allow(what); ok && ctx.Err() == nil {
		c.log.WarnContext(ctx, "the cache does not answer, the database does", obs.Reason, what, obs.Err, err, obs.Suppressed, n)
	}
}
