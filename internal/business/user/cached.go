package user

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// cached reads through the cache. A cached value is one byte, absent or present, and then a message: the byte tells a
// message without fields from nothing, and lets it be remembered that something does not exist.
type cached struct {
	cache faststate.Cache
	ttl   time.Duration
	log   *slog.Logger
	quiet *obs.Limiter
}

const (
	absent  = 0
	present = 1
)

// get fills m from the cache, or else lets load fill it and keeps that; found is what load said, now or earlier. Without
// the cache it still answers, only slower.
func (c *cached) get(ctx context.Context, key string, m proto.Message, load func() (found bool, err error)) (bool, error) {
	val, lease, err := c.cache.Get(ctx, key)
	if err != nil {
		c.complain(ctx, "reading the cache failed", err)
		return load()
	}
	if found, ok := decode(val, m); ok {
		return found, nil
	}
	proto.Reset(m)
	found, err := load()
	if err != nil {
		return false, err
	}
	if val = encode(found, m); val != nil {
		if err := c.cache.Fill(ctx, key, lease, val, c.ttl); err != nil {
			c.complain(ctx, "filling the cache failed", err)
		}
	}
	return found, nil
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

func encode(found bool, m proto.Message) []byte {
	if !found {
		return []byte{absent}
	}
	val, err := proto.MarshalOptions{}.MarshalAppend([]byte{present}, m)
	if err != nil {
		return nil
	}
	return val
}

// dropWithin bounds the dropping of what changed, which goes on when the caller has gone away.
const dropWithin = 2 * time.Second

// drop forgets what was changed. If that fails the caller must hear of it: others may see the old state until it
// lapses, and repeating the command drops again.
func (c *cached) drop(ctx context.Context, keys ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
	defer cancel()
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
