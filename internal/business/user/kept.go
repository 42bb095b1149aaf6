package user

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

const (
	keepFor      = 24 * time.Hour
	reloadWithin = 500 * time.Millisecond
	// askAgain is how often a database that is away is asked again, by one caller at a time; others do not wait for it.
	askAgain = 2 * time.Second
)

// loader reads a value from the database.
type loader func(context.Context) ([]byte, error)

// kept is a value for when the database is away, and when it was read.
type kept struct {
	val []byte
	at  time.Time
}

// keptKey names the kept value of a key. Ids hold no colon.
func keptKey(key string) string { return key + ":kept" }

// kept returns what is kept of key, if anything, or else the lease to keep something.
func (c *cached) kept(ctx context.Context, key string) (kept, faststate.Lease) {
	data, lease, err := c.cache.Get(ctx, keptKey(key))
	if err != nil {
		c.complain(ctx, "reading the cache failed", err)
	}
	if len(data) <= 8 {
		return kept{}, lease
	}
	return kept{val: data[8:], at: time.UnixMilli(int64(binary.BigEndian.Uint64(data)))}, 0
}

// keep keeps val, which load returned, unless old is the same and young.
func (c *cached) keep(ctx context.Context, key string, lease faststate.Lease, old kept, val []byte, load loader) {
	if lease == 0 {
		if old.val == nil || bytes.Equal(old.val, val) && time.Since(old.at) < keepFor/2 {
			return
		}
		// A value that is there gives no lease, and val was read without one: it is read once more.
		if c.cache.Drop(ctx, keptKey(key)) != nil {
			return
		}
		if old, lease = c.kept(ctx, key); old.val != nil || lease == 0 {
			return
		}
		var err error
		if val, err = load(ctx); err != nil {
			return
		}
	}
	data := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(val)), uint64(time.Now().UnixMilli()))
	c.fill(ctx, keptKey(key), lease, append(data, val...), keepFor)
}

// reload asks the database; where there is something kept it does not wait long. An answer that nobody waits for any more
// says nothing about the database.
func (c *cached) reload(ctx context.Context, spare bool, load loader) ([]byte, error) {
	within := ctx
	if spare {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, reloadWithin)
		defer cancel()
	}
	val, err := load(within)
	if ctx.Err() == nil {
		c.away.heard(err)
	}
	return val, err
}

// outage remembers whether the database is away. The zero value says that it is not. It is safe for concurrent use.
type outage struct{ until atomic.Int64 } // when it is asked again, in ns; 0: it is there

// ask tells whether to ask the database: yes while it is there, else now and then.
func (o *outage) ask() bool {
	until, now := o.until.Load(), time.Now()
	return until == 0 || now.UnixNano() >= until && o.until.CompareAndSwap(until, now.Add(askAgain).UnixNano())
}

// heard takes in how an asking ended.
func (o *outage) heard(err error) {
	if err == nil {
		o.until.Store(0)
	} else {
		o.until.Store(time.Now().Add(askAgain).UnixNano())
	}
}
