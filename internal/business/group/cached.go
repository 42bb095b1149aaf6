package group

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// cached keeps groups, and members and member sets of one version of a group.
//
// Why it is never older than the log (G3): only a group without a pending change is filled in, with a lease taken
// before it was read. A notice is appended after Begin and after a drop that follows Begin. A fill whose lease is older
// than that drop is removed or refused by it; one whose lease is younger was read after Begin, so it found the change
// pending and filled nothing, or found it committed. Members and sets name the version that they are of: they never
// change, and are used only with a group that holds.
//
// A group is there twice: fresh, for ttl, and kept, for a day, for when the database is away. Behind ttl the database is
// asked; if it fails, or takes longer than reloadWithin, the kept group is the answer, so that who wrote to a group within
// a day may go on however long the database is away. The proof above holds for both, as both are dropped. What it
// does not cover is a drop that is lost (a cache that failed over without it): the fresh group ends with ttl, and then the
// kept one is compared with the database and renewed, so that it does harm only if the database went away just then; and
// then too the log takes no message by a permission that is older than its newest notice.
//
// An error of the cache costs a read of the database; only a drop must not fail.
type cached struct {
	cache faststate.Cache
	ttl   time.Duration
	away  outage
	log   *slog.Logger
	quiet *obs.Limiter
}

const (
	keepFor      = 24 * time.Hour
	reloadWithin = 500 * time.Millisecond
	// askAgain is how often a database that is away is asked again, by one caller at a time; others do not wait for it.
	askAgain = 2 * time.Second
)

func groupKey(g chat.GroupID) string { return "group/g/" + string(g) }

func keptKey(g chat.GroupID) string { return "group/k/" + string(g) }

func memberKey(g chat.GroupID, u chat.UserID) string {
	return "group/of/" + string(g) + "/" + string(u)
}

func setKey(g chat.GroupID) string { return "group/all/" + string(g) }

func (c *cached) get(ctx context.Context, key string) ([]byte, faststate.Lease) {
	val, lease, err := c.cache.Get(ctx, key)
	if err != nil {
		c.warn(ctx, "the cache is not read", err)
		return nil, 0
	}
	return val, lease
}

func (c *cached) fill(ctx context.Context, key string, lease faststate.Lease, val []byte, ttl time.Duration) {
	if lease == 0 {
		return
	}
	if err := c.cache.Fill(ctx, key, lease, val, ttl); err != nil {
		c.warn(ctx, "the cache is not filled", err)
	}
}

func (c *cached) fillJSON(ctx context.Context, key string, lease faststate.Lease, v any, ttl time.Duration) {
	if data, err := json.Marshal(v); err == nil {
		c.fill(ctx, key, lease, data, ttl)
	}
}

func (c *cached) drop(ctx context.Context, g chat.GroupID) error {
	if err := c.cache.Drop(ctx, groupKey(g), keptKey(g)); err != nil {
		return fmt.Errorf("drop cached group %s: %w", g, err)
	}
	return nil
}

func (c *cached) warn(ctx context.Context, msg string, err error) {
	if n, ok := c.quiet.Allow("cache"); ok {
		c.log.WarnContext(ctx, msg, obs.Err, err, obs.Suppressed, n) //nolint:sloglint // each caller passes a constant
	}
}

// kept is a group for when the database is away, and when it was read; without an id it is none.
type kept struct {
	At    time.Time
	Group store.Group
}

func (k kept) there() bool { return k.Group.ID != "" }

// kept returns what is kept of a group, if anything, or else the lease to keep it.
func (c *cached) kept(ctx context.Context, id chat.GroupID) (kept, faststate.Lease) {
	var k kept
	val, lease := c.get(ctx, keptKey(id))
	if val != nil && json.Unmarshal(val, &k) != nil {
		return kept{}, 0
	}
	return k, lease
}

// keep keeps a group that has no pending change, unless old is of the same version and young. A value that is there gives
// no lease, and g was read without one: then it is read once more, by load.
func (c *cached) keep(ctx context.Context, g store.Group, lease faststate.Lease, old kept, load func() (store.Group, error)) {
	if lease == 0 {
		if !old.there() || stamp(old.Group) == stamp(g) && time.Since(old.At) < keepFor/2 {
			return
		}
		if c.cache.Drop(ctx, keptKey(g.ID)) != nil {
			return
		}
		var err error
		if _, lease = c.get(ctx, keptKey(g.ID)); lease == 0 {
			return
		}
		if g, err = load(); err != nil || len(g.Pending) > 0 {
			return
		}
	}
	c.fillJSON(ctx, keptKey(g.ID), lease, kept{time.Now(), g}, keepFor)
}

// stamp names a version of a group. The seq of its notice is for the case that the database was restored from a backup:
// versions then come again, seqs do not.
func stamp(g store.Group) string {
	return strconv.FormatUint(g.Version, 36) + "." + strconv.FormatUint(g.NoticeSeq, 36)
}

// ofVersion returns a value that is of g's version, or nil and a function that puts one there. As such values never
// change, they stay for a day, each in place of that of an earlier version; whose lease it is put with does not matter.
func (c *cached) ofVersion(ctx context.Context, key string, g store.Group) (val []byte, put func([]byte)) {
	entry, lease := c.get(ctx, key)
	of, val, ok := bytes.Cut(entry, []byte{' '})
	if ok && string(of) == stamp(g) {
		return val, nil
	}
	return nil, func(val []byte) {
		if entry != nil {
			if err := c.cache.Drop(ctx, key); err != nil {
				c.warn(ctx, "the cache is not filled", err)
				return
			}
			_, lease = c.get(ctx, key)
		}
		c.fill(ctx, key, lease, append([]byte(stamp(g)+" "), val...), keepFor)
	}
}

// errAway says that the database did not answer and that what is kept will do.
var errAway = errors.New("group: the database is away")

// unlessAway reads a group from the database. If old is there it does not wait long, and answers errAway if the database
// does not. An answer that nobody waits for any more says nothing about the database.
func (s *Service) unlessAway(ctx context.Context, id chat.GroupID, old kept) (store.Group, error) {
	within := ctx
	if old.there() {
		if !s.cache.away.ask() {
			return store.Group{}, errAway
		}
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, reloadWithin)
		defer cancel()
	}
	g, err := s.load(within, id)
	if ctx.Err() != nil {
		return g, err
	}
	away := err != nil && !fault.IsReason(err, fault.NotFoundReason)
	s.cache.away.heard(away)
	if away && old.there() {
		s.warn(ctx, "away", "the database does not answer, what was kept of it does", err)
		return g, errAway
	}
	return g, err
}

// outage remembers whether the database is away. The zero value says that it is not. It is safe for concurrent use.
type outage struct{ until atomic.Int64 } // when it is asked again, in ns; 0: it is there

// ask tells whether to ask the database: yes while it is there, else now and then.
func (o *outage) ask() bool {
	until, now := o.until.Load(), time.Now()
	return until == 0 || now.UnixNano() >= until && o.until.CompareAndSwap(until, now.Add(askAgain).UnixNano())
}

// heard takes in how an asking ended.
func (o *outage) heard(away bool) {
	if away {
		o.until.Store(time.Now().Add(askAgain).UnixNano())
	} else {
		o.until.Store(0)
	}
}
